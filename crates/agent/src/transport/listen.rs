//! The side that is dialled.

use super::dial::tune;
use super::frame;
use super::hello::{FORMAT, Hello, Purpose, Welcome};
use super::here::{Here, Stream};
use super::lane::{Lane, Lanes, Numbered};
use crate::tls::{self, OPERATOR};
use regent_core::id::NodeId;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

/// How many connections may be greeted at once: every member's on every purpose several times over.
const GREETING_MAX: usize = 64;

/// A connection for a request, a bulk transfer or an operator.
pub struct Incoming {
    /// The member who dialled; none for an operator's certificate.
    pub from: Option<NodeId>,
    /// For what.
    pub purpose: Purpose,
    /// The connection, greeted.
    pub stream: Stream,
}

pub(crate) async fn run(here: Arc<Here>, lanes: Arc<Lanes>, incoming: mpsc::Sender<Incoming>) {
    let Some(address) = here.members.iter().find(|m| m.id == here.me).map(|m| m.address) else {
        return;
    };
    let listener = bind(address).await;
    let greeting = Arc::new(Semaphore::new(GREETING_MAX));
    loop {
        let Ok(permit) = Arc::clone(&greeting).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, or the peer was gone already: neither is helped by haste.
                crate::log::warning(&format!("failed to take a connection: {error}"));
                sleep(Duration::from_millis(20)).await;
                continue;
            }
        };
        let (here, lanes, incoming) = (Arc::clone(&here), Arc::clone(&lanes), incoming.clone());
        tokio::spawn(async move {
            let greeted = timeout(here.pace.greet, greet(&here, stream)).await;
            drop(permit);
            let Ok(Some((hello, from, stream))) = greeted else { return };
            match (hello.purpose, from) {
                (Purpose::Register, Some(from)) => {
                    lanes.carry(from, Lane::Register, stream, Numbered::of(&hello)).await;
                }
                (Purpose::Report, Some(from)) => {
                    lanes.carry(from, Lane::Report, stream, Numbered::of(&hello)).await;
                }
                (purpose, from) => {
                    incoming.send(Incoming { from, purpose, stream }).await.ok();
                }
            }
        });
    }
}

/// The address may not be there yet when a host boots.
async fn bind(address: SocketAddr) -> TcpListener {
    let mut told = false;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) if !told => {
                crate::log::warning(&format!("failed to listen on {address}, trying on: {error}"));
                told = true;
            }
            Err(_) => {}
        }
        sleep(Duration::from_millis(20)).await;
    }
}

async fn greet(here: &Here, stream: TcpStream) -> Option<(Hello, Option<NodeId>, Stream)> {
    stream.set_nodelay(true).ok()?;
    let acceptor = TlsAcceptor::from(here.identity.server.clone());
    let mut stream = Stream::from(acceptor.accept(stream).await.ok()?);
    let hello: Hello = frame::read_json(&mut stream).await.ok()?;
    match admit(here, &hello, &stream) {
        Ok(from) => {
            tune(stream.get_ref().0, hello.purpose, here.pace.unacknowledged).ok()?;
            let welcome = match hello.series {
                Some(_) => Welcome::Numbered { series: here.series, packed: hello.packed },
                None => Welcome::Taken,
            };
            frame::write_json(&mut stream, &welcome).await.ok()?;
            Some((hello, from, stream))
        }
        Err(reason) => {
            frame::write_json(&mut stream, &Welcome::Refused(reason)).await.ok()?;
            None
        }
    }
}

/// The name must stand in the certificate, the number in our configuration, the cluster must be ours.
fn admit(here: &Here, hello: &Hello, stream: &Stream) -> Result<Option<NodeId>, String> {
    if hello.format != FORMAT {
        return Err(format!("greeting of format {}, {FORMAT} is spoken here", hello.format));
    }
    let certificate = stream
        .get_ref()
        .1
        .peer_certificates()
        .and_then(|c| c.first())
        .ok_or("no certificate was shown")?;
    if !tls::is_named(certificate, &hello.node) {
        return Err(format!("the certificate shown does not name {}", hello.node));
    }
    if hello.cluster != here.cluster {
        return Err(format!("this is cluster {}, not {}", here.cluster, hello.cluster));
    }
    let own = *here.cluster_id.lock().expect("nothing panics while it holds this");
    if let (Some(own), Some(theirs)) = (own, hello.cluster_id)
        && own != theirs
    {
        if let Some(member) = here.members.iter().find(|m| m.name == hello.node) {
            let mut others = here.others.lock().expect("nothing panics while it holds this");
            others.insert(member.id, (theirs, Instant::now()));
        }
        return Err(format!("another cluster's id: {theirs}, here {own}"));
    }
    let member = here.members.iter().find(|m| m.name == hello.node);
    match (hello.purpose, member) {
        (Purpose::Operator, None) if hello.node == OPERATOR => Ok(None),
        (_, None) => Err(format!("{} is no member of cluster {}", hello.node, here.cluster)),
        (Purpose::Operator, Some(member)) => Ok(Some(member.id)),
        (_, Some(member)) if hello.id == Some(member.id.0) && member.id != here.me => {
            Ok(Some(member.id))
        }
        (_, Some(member)) => Err(format!(
            "{} is node {} here, and not {}: the configurations differ",
            member.name,
            member.id.0,
            hello.id.map_or("none".into(), |id| id.to_string())
        )),
    }
}

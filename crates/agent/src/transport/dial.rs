//! The side that dials.

use super::hello::{FORMAT, Hello, Purpose, Welcome};
use super::lane::{Lane, Lanes};
use super::{Here, Stream, frame};
use crate::config::settings::Member;
use regent_core::id::ClusterId;
use rustls::pki_types::ServerName;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// Nobody answers there, or not in time.
    #[error("failed to reach it: {0}")]
    Unreachable(io::Error),
    /// It is not who it should be, or does not believe who we are.
    #[error("failed to agree on who is who: {0}")]
    Identity(io::Error),
    /// It does not want this connection.
    #[error("it refuses: {0}")]
    Refused(String),
}

/// Keeps one lane to one peer dialled for as long as the process lives.
pub(crate) async fn keep(here: &Here, lanes: &Lanes, member: &Member, lane: Lane) {
    let mut told = String::new();
    loop {
        let began = Instant::now();
        match open(here, member, lane.purpose()).await {
            Ok(stream) => {
                told.clear();
                lanes.carry(member.id, lane, stream).await;
            }
            Err(DialError::Unreachable(_)) => {}
            Err(error @ (DialError::Identity(_) | DialError::Refused(_))) => {
                let text = format!("{} {lane:?}: {error}", member.name);
                if text != told {
                    crate::log::warning(&text);
                    told = text;
                }
            }
        }
        // A try that took its time waits no longer: a host that returns is heard at once.
        sleep(here.pace.again.saturating_sub(began.elapsed())).await;
    }
}

/// Opens a connection and greets.
pub(crate) async fn open(
    here: &Here,
    member: &Member,
    purpose: Purpose,
) -> Result<Stream, DialError> {
    let cluster_id = *here.cluster_id.lock().expect("nothing panics while it holds this");
    open_as(here, member, purpose, cluster_id).await
}

/// The same, greeting by this register's id or by none.
pub(crate) async fn open_as(
    here: &Here,
    member: &Member,
    purpose: Purpose,
    cluster_id: Option<ClusterId>,
) -> Result<Stream, DialError> {
    let own = here.members.iter().find(|m| m.id == here.me).map(|m| m.address);
    let stream = timeout(here.pace.connect, connect(own, member.address))
        .await
        .map_err(|_| DialError::Unreachable(io::ErrorKind::TimedOut.into()))?
        .map_err(DialError::Unreachable)?;
    tune(&stream, patience(purpose, here.pace.unacknowledged)).map_err(DialError::Unreachable)?;
    timeout(here.pace.greet, greet(here, member, purpose, cluster_id, stream))
        .await
        .map_err(|_| DialError::Unreachable(io::ErrorKind::TimedOut.into()))?
}

async fn greet(
    here: &Here,
    member: &Member,
    purpose: Purpose,
    cluster_id: Option<ClusterId>,
    stream: TcpStream,
) -> Result<Stream, DialError> {
    let name = ServerName::try_from(member.name.clone())
        .map_err(|e| DialError::Refused(format!("{} is no name: {e}", member.name)))?;
    let connector = TlsConnector::from(here.identity.client.clone());
    let stream = connector.connect(name, stream).await.map_err(lost_or_unknown)?;
    let mut stream = Stream::from(stream);
    let hello = Hello {
        format: FORMAT,
        cluster: here.cluster.clone(),
        cluster_id,
        node: here.identity.name.clone(),
        id: Some(here.me.0),
        run: format!("{:016x}", here.run),
        purpose,
    };
    // Under TLS 1.3 it is only now that the other side has judged our certificate.
    frame::write_json(&mut stream, &hello).await.map_err(lost_or_unknown)?;
    match frame::read_json(&mut stream).await.map_err(lost_or_unknown)? {
        Welcome::Taken => Ok(stream),
        Welcome::Refused(reason) => Err(DialError::Refused(reason)),
    }
}

/// TLS alerts come as invalid data; a connection that breaks on the way is merely lost.
fn lost_or_unknown(error: io::Error) -> DialError {
    if error.kind() == io::ErrorKind::InvalidData {
        DialError::Identity(error)
    } else {
        DialError::Unreachable(error)
    }
}

/// From the own configured address: the virtual IP may stand on the same interface, and is never ours to speak from.
async fn connect(own: Option<SocketAddr>, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(own) = own.filter(|own| own.is_ipv4() == to.is_ipv4()) {
        socket.bind(SocketAddr::new(own.ip(), 0))?;
    }
    socket.connect(to).await
}

/// A copy of a database may wait for a slow disk; messages may not wait.
pub(super) fn patience(purpose: Purpose, lane: Duration) -> Duration {
    match purpose {
        Purpose::Register | Purpose::Report => lane,
        Purpose::Request | Purpose::Bulk | Purpose::Operator => Duration::from_secs(10),
    }
}

pub(super) fn tune(stream: &TcpStream, unacknowledged: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let ms = u32::try_from(unacknowledged.as_millis()).unwrap_or(u32::MAX);
    rustix::net::sockopt::set_tcp_user_timeout(stream, ms)?;
    // Without bytes under way only these find a peer that vanished.
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    rustix::net::sockopt::set_tcp_keepidle(stream, Duration::from_secs(2))?;
    rustix::net::sockopt::set_tcp_keepintvl(stream, Duration::from_secs(1))?;
    Ok(())
}

//! The side that dials.

use super::frame;
use super::hello::{FORMAT, Hello, Purpose, Welcome};
use super::here::{Here, Stream};
use super::lane::{Lane, Lanes, Numbered};
use regent_config::settings::Member;
use regent_core::id::ClusterId;
use rustls::pki_types::ServerName;
use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;

/// For bytes that wait for a disk at the other end.
const PATIENCE: Duration = Duration::from_secs(10);

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

/// Keeps one connection of a lane to one peer dialled for as long as the process lives. The lane's first is dialled
/// whatever happens; the others only while there is one to a peer that takes copies, so that a host that is away or
/// refuses costs one try at a time.
pub(crate) async fn keep(here: &Here, lanes: &Lanes, member: &Member, lane: Lane, first: bool) {
    let mut told = String::new();
    loop {
        if !first && !lanes.takes_copies(member.id, lane) {
            sleep(here.pace.again).await;
            continue;
        }
        let began = Instant::now();
        match greeted(here, member, lane.purpose()).await {
            Ok((stream, numbered)) => {
                told.clear();
                lanes.carry(member.id, lane, stream, numbered).await;
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
    greeted(here, member, purpose).await.map(|(stream, _)| stream)
}

/// The same, with the series of the peer's numbers.
async fn greeted(
    here: &Here,
    member: &Member,
    purpose: Purpose,
) -> Result<(Stream, Option<Numbered>), DialError> {
    let cluster_id = *here.cluster_id.lock().expect("nothing panics while it holds this");
    open_as(here, member, purpose, cluster_id).await
}

/// The same, greeting by this register's id or by none.
pub(crate) async fn open_as(
    here: &Here,
    member: &Member,
    purpose: Purpose,
    cluster_id: Option<ClusterId>,
) -> Result<(Stream, Option<Numbered>), DialError> {
    let own = here.members.iter().find(|m| m.id == here.me).map(|m| m.address);
    let stream = timeout(here.pace.connect, connect(own, member.address))
        .await
        .map_err(|_| DialError::Unreachable(io::ErrorKind::TimedOut.into()))?
        .map_err(DialError::Unreachable)?;
    tune(&stream, purpose, here.pace.unacknowledged).map_err(DialError::Unreachable)?;
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
) -> Result<(Stream, Option<Numbered>), DialError> {
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
        series: purpose.is_lane().then_some(here.series),
        packed: purpose.is_lane(),
    };
    // Under TLS 1.3 it is only now that the other side has judged our certificate.
    frame::write_json(&mut stream, &hello).await.map_err(lost_or_unknown)?;
    match frame::read_json(&mut stream).await.map_err(lost_or_unknown)? {
        Welcome::Taken => Ok((stream, None)),
        Welcome::Numbered { series, packed } => Ok((stream, Some(Numbered { series, packed }))),
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

/// What this socket has to do. A copy of a database may wait for a slow disk; messages may not wait.
pub(super) fn tune(
    stream: &TcpStream,
    purpose: Purpose,
    unacknowledged: Duration,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let patience = if purpose.is_lane() { unacknowledged } else { PATIENCE };
    let ms = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX);
    rustix::net::sockopt::set_tcp_user_timeout(stream, ms)?;
    // Without bytes under way only these find a peer that vanished.
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    rustix::net::sockopt::set_tcp_keepidle(stream, Duration::from_secs(2))?;
    rustix::net::sockopt::set_tcp_keepintvl(stream, Duration::from_secs(1))?;
    if purpose.is_lane() {
        // Six repetitions without TCP's doubling of the time between them: 200 ms where the round trip is short.
        rustix::net::sockopt::set_tcp_thin_linear_timeouts(stream, true)?;
        // Nothing waits in the kernel behind a segment that was lost: it waits here, where newer messages replace it.
        socket2::SockRef::from(stream).set_tcp_notsent_lowat(1)?;
    }
    Ok(())
}

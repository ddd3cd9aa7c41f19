//! Connections: to an address or a name, opened with as few system calls as will do.
//!
//! On this host a connection is there, or refused, when the call returns; only what takes longer is waited for. It
//! ends with a reset, so that a thousand probes leave no sockets waiting (TIME_WAIT) behind.

use crate::probe::result::CheckResult;
use crate::probe::threads::{Flight, Late, Threads};
use regent_config::probe::{Endpoint, Host};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout_at;

/// A name is looked up again after this long; meanwhile, and while that fails, what is known is used.
const NAME_MAX: Duration = Duration::from_secs(30);

/// Where something is.
pub(crate) struct Place {
    /// As it was written.
    pub(crate) endpoint: Endpoint,
    known: Vec<SocketAddr>,
    /// When the name was looked up; none for an address.
    looked_up: Option<Instant>,
    flight: Flight<io::Result<Vec<SocketAddr>>>,
}

impl Place {
    /// Nothing is looked up yet.
    pub(crate) fn new(endpoint: Endpoint) -> Place {
        let known = match &endpoint.host {
            Host::Address(address) => vec![SocketAddr::new(*address, endpoint.port)],
            Host::Name(_) => Vec::new(),
        };
        Place { endpoint, known, looked_up: None, flight: Flight::new() }
    }

    /// Its addresses, as far as they are known.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.known
    }

    /// Finds its addresses.
    pub(crate) async fn find(
        &mut self,
        threads: &Threads,
        deadline: Instant,
    ) -> Result<(), CheckResult> {
        let Host::Name(name) = &self.endpoint.host else { return Ok(()) };
        if self.looked_up.is_some_and(|at| at.elapsed() < NAME_MAX) {
            return Ok(());
        }
        let question = (name.clone(), self.endpoint.port);
        let launch = |sender: tokio::sync::oneshot::Sender<_>| {
            threads.run(move || {
                let found = question.to_socket_addrs().map(Iterator::collect);
                // If nobody waits, the probe is gone.
                let _ = sender.send(found);
            });
        };
        // What is known is good enough not to wait for.
        let left = deadline.saturating_duration_since(Instant::now());
        let bound = if self.known.is_empty() { left } else { Duration::ZERO };
        match self.flight.take(bound, launch).await {
            Ok(Ok(found)) => {
                self.known = found;
                self.looked_up = Some(Instant::now());
                Ok(())
            }
            _ if !self.known.is_empty() => Ok(()),
            Ok(Err(error)) => {
                Err(CheckResult::Unknown(format!("the name {name} is not found: {error}")))
            }
            Err(Late::NoAnswer | Late::Slow | Late::Broken) => {
                Err(CheckResult::Unknown(format!("the name {name} was not found in time")))
            }
        }
    }
}

/// A connection, ready or soon to be.
pub(crate) struct Opened {
    socket: Socket,
    /// It stands.
    is_ready: bool,
    /// As much of the first words went out already.
    pub(crate) sent: usize,
}

impl Opened {
    /// Waits until it stands.
    pub(crate) async fn stream(self) -> io::Result<TcpStream> {
        let stream = TcpStream::from_std(self.socket.into())?;
        if !self.is_ready {
            stream.writable().await?;
            if let Some(error) = stream.take_error()? {
                return Err(error);
            }
        }
        Ok(stream)
    }
}

/// Opens a connection, and says the first words on it, as far as that goes without waiting.
fn open(address: SocketAddr, words: &[u8]) -> io::Result<Opened> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)?;
    socket.set_linger(Some(Duration::ZERO))?;
    let to = SockAddr::from(address);
    match socket.connect(&to) {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
        Ok(()) | Err(_) => {}
    }
    // The answer of this host is there already: the next call shows it, whatever it is for.
    let answer =
        if words.is_empty() { socket.connect(&to).map(|()| 0) } else { socket.send(words) };
    match answer {
        Ok(sent) => Ok(Opened { socket, is_ready: true, sent }),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EALREADY | libc::EAGAIN)) => {
            Ok(Opened { socket, is_ready: false, sent: 0 })
        }
        Err(error) if error.raw_os_error() == Some(libc::EISCONN) => {
            Ok(Opened { socket, is_ready: true, sent: 0 })
        }
        Err(error) => Err(error),
    }
}

/// Can somebody be connected to?
pub(crate) async fn look(place: &mut Place, threads: &Threads, bound: Duration) -> CheckResult {
    let deadline = Instant::now() + bound;
    let connected = connect(place, threads, deadline, bound, &[], |opened| async {
        if opened.is_ready { Ok(()) } else { opened.stream().await.map(|_| ()) }
    });
    match connected.await {
        Ok(()) => CheckResult::Passed,
        Err(seen) => seen,
    }
}

/// Is one who connects greeted? Any byte will do: who speaks is not stopped.
pub(crate) async fn greeted(place: &mut Place, threads: &Threads, bound: Duration) -> CheckResult {
    let deadline = Instant::now() + bound;
    let connected = connect(place, threads, deadline, bound, &[], Opened::stream).await;
    let mut stream = match connected {
        Ok(stream) => stream,
        Err(seen) => return seen,
    };
    let endpoint = &place.endpoint;
    match timeout_at(deadline.into(), stream.read(&mut [0])).await {
        Ok(Ok(1..)) => CheckResult::Passed,
        Ok(Ok(0)) => CheckResult::Failed(format!("{endpoint} ends connections without a word")),
        Ok(Err(error)) => failure(endpoint, &error),
        Err(_) => {
            let bound = bound.as_millis();
            CheckResult::Failed(format!(
                "{endpoint} takes connections, and says nothing for {bound} ms"
            ))
        }
    }
}

/// Connects to the first of the place's addresses that takes it, says the first words, and does something with the
/// connection until it stands; all until the deadline.
pub(crate) async fn connect<T, F: Future<Output = io::Result<T>>>(
    place: &mut Place,
    threads: &Threads,
    deadline: Instant,
    bound: Duration,
    words: &[u8],
    ready: impl Fn(Opened) -> F,
) -> Result<T, CheckResult> {
    place.find(threads, deadline).await?;
    let mut failed = None;
    for address in &place.known {
        let error = match open(*address, words) {
            Ok(opened) => match timeout_at(deadline.into(), ready(opened)).await {
                Ok(Ok(done)) => return Ok(done),
                Ok(Err(error)) => error,
                Err(_) => {
                    let bound = bound.as_millis();
                    let why = format!("no connection to {} within {bound} ms", place.endpoint);
                    return Err(CheckResult::Failed(why));
                }
            },
            Err(error) => error,
        };
        failed = failed.or(Some(error));
    }
    match failed {
        Some(error) => Err(failure(&place.endpoint, &error)),
        None => Err(CheckResult::Unknown(format!("{} has no address", place.endpoint.host))),
    }
}

/// Why there is no connection. What this process lacks says nothing about the other side.
fn failure(endpoint: &Endpoint, error: &io::Error) -> CheckResult {
    match error.raw_os_error() {
        Some(libc::ECONNREFUSED) => {
            CheckResult::Failed(format!("connection refused by {endpoint}"))
        }
        Some(libc::ECONNRESET) => CheckResult::Failed(format!("connection reset by {endpoint}")),
        Some(libc::EHOSTUNREACH | libc::ENETUNREACH) => {
            CheckResult::Failed(format!("no route to {endpoint}"))
        }
        Some(libc::EPERM | libc::EACCES) => {
            CheckResult::Failed(format!("this host's own packet filter refuses {endpoint}"))
        }
        Some(libc::EMFILE | libc::ENFILE | libc::ENOMEM | libc::ENOBUFS | libc::EADDRNOTAVAIL) => {
            CheckResult::Unknown(format!("no socket for {endpoint}: {error}"))
        }
        Some(_) | None => CheckResult::Failed(format!("no connection to {endpoint}: {error}")),
    }
}

//! The database as its clients see it: over TCP, signed in as an ordinary account that read-only binds.
//!
//! A conversation that got its connection is never broken off (D9: the wait of a commit must not end by us, and what
//! waits on the server must not grow with every look): it is late, and until it is answered every look says so.

use crate::database::account::{HEARTBEAT, PROBE_USER, probe_password};
use crate::database::sql::{Client, SqlError};
use crate::probe::connect::{Opened, Place, connect};
use crate::probe::line::Accounts;
use crate::probe::result::CheckResult;
use crate::probe::threads::{Flight, Late, Threads};
use regent_config::probe::{Endpoint, Host, Sql};
use regent_core::id::NodeId;
use socket2::{SockRef, TcpKeepalive};
use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::rc::Rc;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::task::spawn_local;

/// A conversation with a host that is gone ends after five seconds: two of silence, and three questions, each a second
/// (the kernel counts in seconds).
const SILENCE: Duration = Duration::from_secs(2);
const BETWEEN: Duration = Duration::from_secs(1);
const QUESTIONS: u32 = 3;
/// Without an account the server is asked no more often than this: it writes each refusal into its log.
const REFUSED_EVERY: Duration = Duration::from_secs(2);
/// A statement is awaited for as long as its connection lives: longer than any server waits for a lock.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);

/// Talks to the database, again and again.
pub(crate) struct SqlCheck {
    sql: Sql,
    node: NodeId,
    place: Place,
    accounts: Accounts,
    /// Known once it was read; forgotten when it is refused.
    password: Rc<RefCell<Option<String>>>,
    secret: Flight<io::Result<String>>,
    flight: Flight<CheckResult>,
    /// When the server had no account for us.
    refused: Rc<Cell<Option<Instant>>>,
    /// Makes the row of each look another.
    count: u64,
}

impl SqlCheck {
    /// For this way of asking.
    pub(crate) fn new(sql: Sql, accounts: Accounts) -> SqlCheck {
        let address = match sql {
            Sql::Read | Sql::Write => IpAddr::V4(Ipv4Addr::LOCALHOST),
            Sql::Client => accounts.vip,
        };
        let endpoint = Endpoint { host: Host::Address(address), port: accounts.port };
        SqlCheck {
            sql,
            node: accounts.node,
            place: Place::new(endpoint),
            accounts,
            password: Rc::default(),
            secret: Flight::new(),
            flight: Flight::new(),
            refused: Rc::default(),
            count: 0,
        }
    }

    /// Asks once, or waits for what was asked before.
    pub(crate) async fn look(&mut self, threads: &Threads, bound: Duration) -> CheckResult {
        let deadline = Instant::now() + bound;
        if let Some(late) = self.flight.wait(bound).await {
            return CheckResult::late(late, bound);
        }
        if self.refused.get().is_some_and(|at| at.elapsed() < REFUSED_EVERY) {
            return not_made();
        }
        let password = match self.find_password(threads, bound).await {
            Ok(password) => password,
            Err(seen) => return seen,
        };
        let ready = |opened: Opened| opened.stream();
        let connected = connect(&mut self.place, threads, deadline, bound, &[], ready).await;
        let stream = match connected {
            Ok(stream) => stream,
            Err(seen) => return seen,
        };
        self.count += 1;
        let talk = Talk {
            sql: self.sql,
            node: self.node,
            token: format!("{:x}-{:x}", std::process::id(), self.count),
            password,
            known: Rc::clone(&self.password),
            refused: Rc::clone(&self.refused),
        };
        let launch = |sender: tokio::sync::oneshot::Sender<CheckResult>| {
            spawn_local(async move {
                // If nobody waits, the probe is gone.
                let _ = sender.send(talk.to(stream).await);
            });
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let seen = self.flight.take(left, launch).await;
        seen.unwrap_or_else(|late| CheckResult::late(late, bound))
    }

    async fn find_password(
        &mut self,
        threads: &Threads,
        bound: Duration,
    ) -> Result<String, CheckResult> {
        if let Some(password) = self.password.borrow().as_ref() {
            return Ok(password.clone());
        }
        let state_dir = self.accounts.state_dir.clone();
        let launch = |sender: tokio::sync::oneshot::Sender<_>| {
            threads.run(move || {
                // If nobody waits, the probe is gone.
                let _ = sender.send(probe_password(&state_dir));
            });
        };
        match self.secret.take(bound, launch).await {
            Ok(Ok(password)) => Ok(self.password.borrow_mut().insert(password).clone()),
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => Err(not_made()),
            Ok(Err(error)) => Err(CheckResult::Unknown(format!(
                "the probe account's secret cannot be read: {error}"
            ))),
            Err(Late::NoAnswer | Late::Slow | Late::Broken) => Err(CheckResult::Unknown(
                "the probe account's secret cannot be read in time".into(),
            )),
        }
    }
}

fn not_made() -> CheckResult {
    CheckResult::Unknown("the probe account is not made yet".into())
}

/// One conversation.
struct Talk {
    sql: Sql,
    node: NodeId,
    token: String,
    password: String,
    known: Rc<RefCell<Option<String>>>,
    refused: Rc<Cell<Option<Instant>>>,
}

impl Talk {
    async fn to(self, stream: TcpStream) -> CheckResult {
        let keepalive = TcpKeepalive::new();
        let keepalive = keepalive.with_time(SILENCE).with_interval(BETWEEN).with_retries(QUESTIONS);
        if let Err(error) = SockRef::from(&stream).set_tcp_keepalive(&keepalive) {
            return CheckResult::Unknown(format!("no connection can be watched: {error}"));
        }
        match self.converse(stream).await {
            Ok(seen) => seen,
            Err(error) => self.words(&error),
        }
    }

    async fn converse(&self, stream: TcpStream) -> Result<CheckResult, SqlError> {
        let mut client = Client::login(stream, PROBE_USER, &self.password).await?;
        let seen = self.ask(&mut client).await;
        client.quit().await;
        seen
    }

    async fn ask(&self, client: &mut Client<TcpStream>) -> Result<CheckResult, SqlError> {
        let (node, token) = (self.node, &self.token);
        let name = match self.sql {
            Sql::Read => {
                client.one(&format!("SELECT token FROM {HEARTBEAT} LIMIT 1"), PATIENCE).await?;
                return Ok(CheckResult::Passed);
            }
            Sql::Write => "write",
            Sql::Client => "client",
        };
        // One row for each node and way: the table never grows.
        let write = format!(
            "INSERT INTO {HEARTBEAT} (node, name, token) VALUES ({}, '{name}', '{token}') \
             ON DUPLICATE KEY UPDATE token=VALUES(token)",
            node.0
        );
        client.one(&write, PATIENCE).await?;
        if self.sql == Sql::Write {
            return Ok(CheckResult::Passed);
        }
        let read = format!("SELECT token FROM {HEARTBEAT} WHERE node={} AND name='{name}'", node.0);
        let rows = client.one(&read, PATIENCE).await?;
        Ok(match rows.scalar() {
            Some(found) if found == token => CheckResult::Passed,
            Some(_) => CheckResult::Failed("the row read back is not the one written".into()),
            None => CheckResult::Failed("the row written is not there".into()),
        })
    }

    /// What the server's refusal means. Not to have an account of ours says nothing about the database.
    fn words(&self, error: &SqlError) -> CheckResult {
        const ACCESS: [u16; 2] = [1045, 1698];
        const NOT_MADE: [u16; 6] = [1044, 1049, 1130, 1142, 1143, 1146];
        const TOO_MANY_OF_OURS: u16 = 1226;
        const READ_ONLY: u16 = 1290;
        const FULL: [u16; 2] = [1040, 1203];
        match error {
            SqlError::Server { code, .. } if ACCESS.contains(code) => {
                *self.known.borrow_mut() = None;
                self.refused.set(Some(Instant::now()));
                not_made()
            }
            SqlError::Server { code, .. } if NOT_MADE.contains(code) => {
                self.refused.set(Some(Instant::now()));
                not_made()
            }
            SqlError::Server { code: TOO_MANY_OF_OURS, .. } => {
                CheckResult::Unknown("the probe account has too many connections".into())
            }
            // It lives and says so; a move would help nobody. The peer's check is a client's, and calls it a failure.
            SqlError::Server { code, text } if FULL.contains(code) && self.sql != Sql::Client => {
                CheckResult::Unknown(format!("it lives and takes nobody in: ERROR {code} {text}"))
            }
            SqlError::Server { code: READ_ONLY, .. } => {
                CheckResult::Failed("the database is read-only".into())
            }
            SqlError::Server { code, text } => CheckResult::Failed(format!("ERROR {code} {text}")),
            SqlError::Lost(error) | SqlError::Absent(error) => {
                let kind = error.kind();
                CheckResult::Failed(if kind == io::ErrorKind::UnexpectedEof {
                    "the database closed the connection".into()
                } else if kind == io::ErrorKind::ConnectionReset {
                    "the database reset the connection".into()
                } else {
                    format!("the connection broke: {error}")
                })
            }
            SqlError::Late(bound) => CheckResult::Failed(format!("no answer within {bound:?}")),
        }
    }
}

//! One look of one probe, whatever its kind, and what it keeps from one look to the next.

use crate::probe::connect::Place;
use crate::probe::http::HttpEye;
use crate::probe::line::Accounts;
use crate::probe::sql::SqlEye;
use crate::probe::threads::{Flight, Late, Threads};
use crate::probe::{connect, dns, exec, gateway, host, link};
use regent_config::probe::Kind;
use std::sync::Arc;
use std::time::Duration;

/// What one look saw.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Seen {
    /// It is as it should be.
    Well,
    /// It is not, in an operator's words.
    Unwell(String),
    /// It cannot be told, in an operator's words.
    Unknown(String),
}

impl Seen {
    /// The words for a look that was not answered in time.
    pub(crate) fn late(late: Late, bound: Duration) -> Seen {
        let bound = bound.as_millis();
        match late {
            Late::NoAnswer => Seen::Unwell(format!("no answer within {bound} ms")),
            Late::Slow => Seen::Unwell(format!("the answer took longer than {bound} ms")),
            Late::Broken => Seen::Unknown("the look itself broke, or had no thread".into()),
        }
    }
}

/// What looks.
pub(crate) enum Eye {
    /// A connection.
    Tcp(Place),
    /// A connection on which the other side speaks first.
    Greeting(Place),
    /// A question to a name server.
    Dns(Place),
    /// A request.
    Http(Box<HttpEye>),
    /// The database.
    Sql(Box<SqlEye>),
    /// What may block, on a thread; a program has a moment more, to die.
    Host(Look, Flight<Seen>, Duration),
    /// The kernel, on a thread: that it is late says nothing about the link, only about a lock of some driver.
    Link(Look, Flight<Seen>),
    /// What lacks something.
    Blind(&'static str),
}

/// A look that may block.
type Look = Arc<dyn Fn(Duration) -> Seen + Send + Sync>;

impl Eye {
    /// An eye for this kind.
    pub(crate) fn new(kind: &Kind, accounts: Option<&Accounts>, groups: &exec::Groups) -> Eye {
        let blocking = |look: Look| Eye::Host(look, Flight::new(), Duration::ZERO);
        match kind.clone() {
            Kind::Tcp(endpoint) => Eye::Tcp(Place::new(endpoint)),
            Kind::Greeting(endpoint) => Eye::Greeting(Place::new(endpoint)),
            Kind::Dns(endpoint) => Eye::Dns(Place::new(endpoint)),
            Kind::Http(http) => Eye::Http(Box::new(HttpEye::new(http))),
            Kind::Sql(sql) => match accounts {
                Some(accounts) => Eye::Sql(Box::new(SqlEye::new(sql, accounts.clone()))),
                None => Eye::Blind("no database is configured"),
            },
            Kind::File(file) => blocking(Arc::new(move |_| host::look_at_file(&file))),
            Kind::Exec(command) => {
                let groups = groups.clone();
                let look = Arc::new(move |bound| exec::look(&command, &groups, bound));
                Eye::Host(look, Flight::new(), exec::DEATH_MAX)
            }
            Kind::Disk(disk) => blocking(Arc::new(move |_| host::look_at_disk(&disk))),
            Kind::Memory(most) => blocking(Arc::new(move |_| host::look_at_memory(most))),
            Kind::Link(name) => Eye::Link(Arc::new(move |_| link::look(&name)), Flight::new()),
            Kind::Gateway(router) => blocking(Arc::new(move |bound| gateway::look(router, bound))),
        }
    }

    /// Looks once, for at most `bound`.
    pub(crate) async fn look(&mut self, threads: &Threads, bound: Duration) -> Seen {
        match self {
            Eye::Tcp(place) => connect::look(place, threads, bound).await,
            Eye::Greeting(place) => connect::greeted(place, threads, bound).await,
            Eye::Dns(place) => dns::look(place, threads, bound).await,
            Eye::Http(eye) => eye.look(threads, bound).await,
            Eye::Sql(eye) => eye.look(threads, bound).await,
            Eye::Host(look, flight, more) => {
                let seen = on_thread(look, flight, threads, bound, *more).await;
                seen.unwrap_or_else(|late| Seen::late(late, bound))
            }
            Eye::Link(look, flight) => {
                let seen = on_thread(look, flight, threads, bound, Duration::ZERO).await;
                seen.unwrap_or_else(|_| Seen::Unknown("the kernel is slow to tell".into()))
            }
            Eye::Blind(why) => Seen::Unknown((*why).to_owned()),
        }
    }

    /// What will go wrong, as of the last look.
    pub(crate) fn warning(&self) -> Option<&str> {
        match self {
            Eye::Http(eye) => eye.warning(),
            Eye::Tcp(_)
            | Eye::Greeting(_)
            | Eye::Dns(_)
            | Eye::Sql(_)
            | Eye::Host(..)
            | Eye::Link(..)
            | Eye::Blind(_) => None,
        }
    }
}

/// One look on a thread, for at most `bound` and as much more.
async fn on_thread(
    look: &Look,
    flight: &mut Flight<Seen>,
    threads: &Threads,
    bound: Duration,
    more: Duration,
) -> Result<Seen, Late> {
    let job = Arc::clone(look);
    let launch = |sender: tokio::sync::oneshot::Sender<Seen>| {
        threads.run(move || {
            // If nobody waits, the probe is gone.
            let _ = sender.send(job(bound));
        });
    };
    flight.take(bound + more, launch).await
}

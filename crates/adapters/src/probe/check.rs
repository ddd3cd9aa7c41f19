//! One look of one probe, whatever its kind, and what it keeps from one look to the next.

use crate::probe::connect::Place;
use crate::probe::http::HttpCheck;
use crate::probe::line::Accounts;
use crate::probe::result::CheckResult;
use crate::probe::sql::SqlCheck;
use crate::probe::threads::{Flight, Late, Threads};
use crate::probe::{connect, dns, exec, gateway, host, link};
use regent_config::probe::Kind;
use std::sync::Arc;
use std::time::Duration;

/// How a probe looks.
pub(crate) enum Check {
    /// A connection.
    Tcp(Place),
    /// A connection on which the other side speaks first.
    Greeting(Place),
    /// A question to a name server.
    Dns(Place),
    /// A request.
    Http(Box<HttpCheck>),
    /// The database.
    Sql(Box<SqlCheck>),
    /// What may block, on a thread; a program has a moment more, to die.
    Host(Look, Flight<CheckResult>, Duration),
    /// The kernel, on a thread: that it is late says nothing about the link, only about a lock of some driver.
    Link(Look, Flight<CheckResult>),
    /// Something that it needs is not configured.
    Impossible(&'static str),
}

/// A look that may block.
type Look = Arc<dyn Fn(Duration) -> CheckResult + Send + Sync>;

impl Check {
    /// The check for this kind.
    pub(crate) fn new(kind: &Kind, accounts: Option<&Accounts>, groups: &exec::Groups) -> Check {
        let blocking = |look: Look| Check::Host(look, Flight::new(), Duration::ZERO);
        match kind.clone() {
            Kind::Tcp(endpoint) => Check::Tcp(Place::new(endpoint)),
            Kind::Greeting(endpoint) => Check::Greeting(Place::new(endpoint)),
            Kind::Dns(endpoint) => Check::Dns(Place::new(endpoint)),
            Kind::Http(http) => Check::Http(Box::new(HttpCheck::new(http))),
            Kind::Sql(sql) => match accounts {
                Some(accounts) => Check::Sql(Box::new(SqlCheck::new(sql, accounts.clone()))),
                None => Check::Impossible("no database is configured"),
            },
            Kind::File(file) => blocking(Arc::new(move |_| host::look_at_file(&file))),
            Kind::Exec(command) => {
                let groups = groups.clone();
                let look = Arc::new(move |bound| exec::look(&command, &groups, bound));
                Check::Host(look, Flight::new(), exec::DEATH_MAX)
            }
            Kind::Disk(disk) => blocking(Arc::new(move |_| host::look_at_disk(&disk))),
            Kind::Memory(most) => blocking(Arc::new(move |_| host::look_at_memory(most))),
            Kind::Link(name) => Check::Link(Arc::new(move |_| link::look(&name)), Flight::new()),
            Kind::Gateway(router) => blocking(Arc::new(move |bound| gateway::look(router, bound))),
        }
    }

    /// Looks once, for at most `bound`.
    pub(crate) async fn look(&mut self, threads: &Threads, bound: Duration) -> CheckResult {
        match self {
            Check::Tcp(place) => connect::look(place, threads, bound).await,
            Check::Greeting(place) => connect::greeted(place, threads, bound).await,
            Check::Dns(place) => dns::look(place, threads, bound).await,
            Check::Http(check) => check.look(threads, bound).await,
            Check::Sql(check) => check.look(threads, bound).await,
            Check::Host(look, flight, more) => {
                let seen = on_thread(look, flight, threads, bound, *more).await;
                seen.unwrap_or_else(|late| CheckResult::late(late, bound))
            }
            Check::Link(look, flight) => {
                let seen = on_thread(look, flight, threads, bound, Duration::ZERO).await;
                seen.unwrap_or_else(|_| CheckResult::Unknown("the kernel is slow to tell".into()))
            }
            Check::Impossible(why) => CheckResult::Unknown((*why).to_owned()),
        }
    }

    /// What will go wrong, as of the last look.
    pub(crate) fn warning(&self) -> Option<&str> {
        match self {
            Check::Http(check) => check.warning(),
            Check::Tcp(_)
            | Check::Greeting(_)
            | Check::Dns(_)
            | Check::Sql(_)
            | Check::Host(..)
            | Check::Link(..)
            | Check::Impossible(_) => None,
        }
    }
}

/// One look on a thread, for at most `bound` and as much more.
async fn on_thread(
    look: &Look,
    flight: &mut Flight<CheckResult>,
    threads: &Threads,
    bound: Duration,
    more: Duration,
) -> Result<CheckResult, Late> {
    let job = Arc::clone(look);
    let launch = |sender: tokio::sync::oneshot::Sender<CheckResult>| {
        threads.run(move || {
            // If nobody waits, the probe is gone.
            let _ = sender.send(job(bound));
        });
    };
    flight.take(bound + more, launch).await
}

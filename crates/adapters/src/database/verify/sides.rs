//! The two sides of a look: the active here, the standby over there.
//!
//! ```text
//!  here   A            P                              settled   A2
//!         │ look       │ end of the log               │         │ look, if B differs
//!  there  ·            └─► applied P ─► B             ·         ·
//! ```
//! A is in P, and so in what B sees; whatever B sees is logged here before it is looked for A2, and shown by it: so
//! what is the same in A and A2, and not in B, differs, unless it went away and came back meanwhile. Whoever needs to
//! be sure looks again ([`mod@super::prove`]).

use super::look::{Index, Key, Look, Part, Seen, Span, Trouble};
use super::pace::Pace;
use super::read::{self, Fault, QUICK};
use super::text;
use crate::database::end::Place;
use crate::database::facts;
use crate::database::gtid::{self, Gtid};
use crate::database::keep;
use crate::database::local::{expect_stay, log_index_by};
use crate::database::peer::{Peer, PeerAnswer, PeerRequest};
use crate::database::settings::WorkerSettings;
use crate::database::sql::Client;
use regent_core::id::{Incarnation, NodeId};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// One question to the standby waits so long for what must be applied there; then it is asked again.
const WAIT: Duration = Duration::from_secs(2);
/// A lock is held no longer than this for the standby's answer, of which it may wait this long.
const HELD: Duration = Duration::from_millis(500);
const HELD_WAIT: Duration = Duration::from_millis(300);
/// A commit that was logged is shown within this, or it waits for the standby.
const SETTLE: Duration = Duration::from_secs(1);
/// A rest is no longer.
const REST_MAX: Duration = Duration::from_secs(10);
/// Where the log stands says nothing before the first commit of a file: then so many looks at who waits, found nobody.
const QUIET: u32 = 2;
const WAITING: &str = "SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_master_wait_sessions'";

/// Both sides.
pub(super) struct Sides<'a, P> {
    client: Client,
    settings: &'a WorkerSettings,
    peer: &'a P,
    node: NodeId,
    ours: Incarnation,
    theirs: Incarnation,
    pace: Pace,
    /// Time that reads took since the last rest.
    busy: Duration,
}

/// What three looks brought.
pub(super) enum Looked {
    /// The standby has what the active has.
    Same(Seen),
    /// It has not.
    Other {
        /// A.
        ours: Seen,
        /// B.
        theirs: Seen,
        /// A2.
        again: Seen,
        /// All that B could see is shown by A2.
        settled: bool,
    },
}

impl<'a, P: Peer> Sides<'a, P> {
    /// Connects here.
    pub(super) async fn open(
        settings: &'a WorkerSettings,
        peer: &'a P,
        node: NodeId,
        [ours, theirs]: [Incarnation; 2],
        pace: Pace,
    ) -> Result<Sides<'a, P>, String> {
        let client = read::connect(settings).await.map_err(|fault| fault.to_string())?;
        Ok(Sides { client, settings, peer, node, ours, theirs, pace, busy: Duration::ZERO })
    }

    /// The data here are still those that were to be compared.
    pub(super) async fn expect_ours(&mut self) -> Result<(), String> {
        let index = log_index_by(&mut self.client).await?;
        if expect_stay(self.settings, self.ours, &index)?.mark {
            return Err("the data here are a follower's".into());
        }
        Ok(())
    }

    /// Nothing more is looked at.
    pub(super) async fn close(self) {
        // It waits for the server's goodbye only.
        let _ = timeout(QUICK, self.client.quit()).await;
    }

    /// The connection here, for what is asked of one side only.
    pub(super) fn client(&mut self) -> &mut Client {
        &mut self.client
    }

    /// Looks here and there, and here once more if that is not the same.
    pub(super) async fn look(&mut self, look: &Look) -> Result<Looked, Fault> {
        let ours = self.ours(look).await?;
        let end = self.end().await?;
        let theirs = self.theirs(look, &end).await?;
        if ours == theirs {
            return Ok(Looked::Same(ours));
        }
        let settled = self.settled().await?;
        let again = self.ours(look).await?;
        if again == theirs {
            return Ok(Looked::Same(again));
        }
        Ok(Looked::Other { ours, theirs, again, settled })
    }

    /// Looks at a row here, keeps it so, and looks there: exact, whatever goes on. None if the lock, or the answer,
    /// does not come in time. Dropped at any point, the connection closes, and the lock is gone.
    pub(super) async fn look_locked(&mut self, look: &Look) -> Result<Option<[Seen; 2]>, Fault> {
        self.client.query("START TRANSACTION", QUICK).await?;
        let looked = self.locked(look).await;
        self.client.query("ROLLBACK", QUICK).await?;
        match looked {
            Err(Fault::Trouble(Trouble::Locked | Trouble::Slow | Trouble::Late { .. })) => Ok(None),
            looked => looked,
        }
    }

    async fn locked(&mut self, look: &Look) -> Result<Option<[Seen; 2]>, Fault> {
        let ours = read::look_locked(&mut self.client, look).await?;
        let answered = async {
            let end = self.end().await?;
            self.ask(look, &end, HELD_WAIT).await
        };
        // An end of the log that does not come in time is a lost connection, told by the ROLLBACK.
        match timeout(HELD, answered).await {
            Ok(theirs) => Ok(Some([ours, theirs?])),
            Err(_) => Ok(None),
        }
    }

    /// The key of the row number `nth` of a part here.
    pub(super) async fn boundary(&mut self, part: &Part, nth: u64) -> Result<Option<Key>, Fault> {
        let begun = Instant::now();
        let statement = text::boundary(part, nth)?;
        let found = read::bounded(&mut self.client, &statement).await;
        self.busy += begun.elapsed();
        let found = found?;
        let key = found.each().next().and_then(|row| row.iter().cloned().collect::<Option<Key>>());
        Ok(key)
    }

    /// Rests, so that reading is no more than its part of the time.
    pub(super) async fn rest(&mut self) {
        let busy = std::mem::take(&mut self.busy);
        sleep(rest_after(busy, self.pace.duty)).await;
    }

    /// What reading took since the last rest.
    pub(super) fn busy(&self) -> Duration {
        self.busy
    }

    /// About this long, never in step with anybody.
    pub(super) async fn pause(&self, about: Duration) -> Result<(), String> {
        let [drawn] = keep::random::<1>().map_err(|fault| fault.to_string())?;
        sleep(about / 2 + about * u32::from(drawn) / 256).await;
        Ok(())
    }

    async fn ours(&mut self, look: &Look) -> Result<Seen, Fault> {
        let begun = Instant::now();
        let seen = read::look(&mut self.client, look).await;
        self.busy += begun.elapsed();
        seen
    }

    /// Everything that this server shows is logged up to here.
    async fn end(&mut self) -> Result<Vec<Gtid>, Fault> {
        let end = self.client.one("SELECT @@global.gtid_binlog_pos", QUICK).await?;
        Ok(gtid::list(end.scalar().unwrap_or_default())?)
    }

    /// Looks there as soon as all of this is applied; within the bound that the operator has set.
    async fn theirs(&mut self, look: &Look, end: &[Gtid]) -> Result<Seen, Fault> {
        let until = Instant::now() + self.pace.patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.ask(look, end, left.min(WAIT)).await {
                Err(Fault::Trouble(Trouble::Late { .. })) if Instant::now() < until => {}
                Err(Fault::Trouble(Trouble::Late { applied })) => {
                    return Err(Fault::Stop(format!(
                        "the standby has not applied what was logged here: {applied} instead of {} within {:?}",
                        gtid::text(end),
                        self.pace.patience
                    )));
                }
                answer => return answer,
            }
        }
    }

    async fn ask(&self, look: &Look, end: &[Gtid], wait: Duration) -> Result<Seen, Fault> {
        let request = PeerRequest::Checksum {
            incarnation: self.theirs,
            reached: end.to_vec(),
            patience_ms: u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
            chunk: look.clone(),
        };
        let answer = self.peer.ask(self.node, request).await;
        match answer.map_err(|why| format!("the standby is not reached: {why}"))? {
            PeerAnswer::Checksum { seen } => seen.map_err(Fault::Trouble),
            PeerAnswer::Refused { reason } => {
                Err(Fault::Stop(format!("the standby does not answer: {reason}")))
            }
            other @ (PeerAnswer::Survey { .. }
            | PeerAnswer::Found { .. }
            | PeerAnswer::State { .. }
            | PeerAnswer::Follow(_)) => {
                Err(Fault::Stop(format!("not an answer to a look: {other:?}")))
            }
        }
    }

    /// Waits until all that is logged by now is shown: the standby may have been quicker. False if a commit waits for
    /// the standby's word, which can have been lost.
    async fn settled(&mut self) -> Result<bool, Fault> {
        let status = self.client.one("SHOW MASTER STATUS", QUICK).await?;
        let at = status.first("Position").and_then(|at| at.parse().ok());
        let logged = status.first("File").zip(at).map(|(file, at)| Place { file: file.into(), at });
        let until = Instant::now() + SETTLE;
        // Between a log's write and the wait for it lies an instant.
        let mut quiet = 0;
        loop {
            let shown = facts::place(&mut self.client, QUICK).await?;
            let is_shown =
                logged.as_ref().zip(shown.as_ref()).is_some_and(|(l, s)| is_behind(l, s));
            let waiting = self.client.one(WAITING, QUICK).await?;
            let is_quiet = waiting.value("Rpl_semi_sync_master_wait_sessions") == Some("0");
            quiet = if is_quiet { quiet + 1 } else { 0 };
            if is_shown || quiet >= QUIET {
                return Ok(true);
            }
            if Instant::now() >= until {
                return Ok(false);
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}

/// After so much work, for so many per cent of the time.
fn rest_after(busy: Duration, duty: u8) -> Duration {
    let duty = u32::from(duty.clamp(1, 100));
    (busy * (100 - duty) / duty).min(REST_MAX)
}

/// Is the first place not behind the second one in the log?
fn is_behind(logged: &Place, shown: &Place) -> bool {
    let number = |place: &Place| place.file.rsplit('.').next().and_then(|n| n.parse::<u64>().ok());
    match (number(logged), number(shown)) {
        (Some(l), Some(s)) => (l, logged.at) <= (s, shown.at),
        (None, _) | (_, None) => false,
    }
}

/// The row with this key.
pub(super) fn row(part: &Part, key: &Key) -> Look {
    Look::Rows(part.of(Span::Row(key.clone())))
}

/// For people.
pub(super) fn show(index: Option<&Index>, key: &Key) -> String {
    index.map_or_else(|| key.join(" "), |index| index.show(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_is_its_part_of_the_time() {
        let after = |ms, duty| rest_after(Duration::from_millis(ms), duty).as_millis();
        assert_eq!(
            [after(100, 20), after(100, 50), after(100, 100), after(7, 20)],
            [400, 100, 0, 28]
        );
        assert_eq!([after(100, 0), after(4_000, 1), after(100, 255)], [9_900, 10_000, 0]);
    }

    #[test]
    fn places_are_in_the_order_of_the_log() {
        let place = |file: &str, at| Place { file: file.into(), at };
        let shown = place("binlog.000009", 400);
        assert!(is_behind(&place("binlog.000009", 400), &shown));
        assert!(is_behind(&place("binlog.000008", 500), &shown));
        assert!(!is_behind(&place("binlog.000010", 4), &shown));
        assert!(is_behind(&place("binlog.999999", 4), &place("binlog.1000000", 4)));
        assert!(!is_behind(&place("binlog", 4), &shown));
    }
}

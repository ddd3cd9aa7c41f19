//! Who may acknowledge a write (protocol section 4). Every guard here is a function of the register's record and
//! of the database's facts alone: no clock decides about data.

use crate::id::{Epoch, Incarnation, NodeId};
use crate::observe::{DatabaseFacts, DatabaseReport, Thread};
use crate::state::{DataCopy, State, Sync};

/// Eligible to succeed or to rule: my present incarnation is the one recorded for me, as writer or beside it.
pub fn is_eligible(sync: &Sync, me: NodeId, incarnation: Option<Incarnation>) -> bool {
    incarnation.is_some_and(|incarnation| sync.names(DataCopy { node: me, incarnation }))
}

/// The recorded writer's data under another name, or none yet: its log began anew, and they have everything (D12).
pub fn is_renamed(sync: &Sync, me: NodeId, was: &[Incarnation]) -> bool {
    was.iter().any(|name| sync.writer == DataCopy { node: me, incarnation: *name })
}

/// D2: the won swap that allows this run to turn its database writable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Licence {
    /// The epoch in which solo or join was won.
    pub epoch: Epoch,
    /// The incarnation it named.
    pub incarnation: Incarnation,
    /// The start of the server it was won for: a restart recovers a tail that may be unconfirmed (D10).
    pub start: u64,
}

/// D2: does this licence hold for the database as it is, in this epoch?
pub fn is_licensed(licence: Option<Licence>, epoch: Epoch, facts: &DatabaseFacts) -> bool {
    licence.is_some_and(|licence| {
        licence.epoch == epoch
            && facts.incarnation == Some(licence.incarnation)
            && facts.start == licence.start
    })
}

/// The guard of solo and join: I hold (asked by the caller), I am eligible, and I carry no follower's mark (D6).
pub fn may_record_myself(state: &State, me: NodeId, facts: &DatabaseFacts) -> bool {
    let mine = is_eligible(&state.sync, me, facts.incarnation);
    (mine || is_renamed(&state.sync, me, &facts.was)) && !facts.mark && !facts.broken
}

/// D3, D5: may the master side be off? Only when the register says (me, None) by a swap known won, and no join of
/// this run is unanswered. A read-only database with no commit open may always be.
pub fn may_be_loose(
    sync: &Sync,
    me: DataCopy,
    join_unanswered: bool,
    facts: &DatabaseFacts,
) -> bool {
    facts.is_quiet() || (sync.writer == me && sync.with.is_none() && !join_unanswered)
}

/// A follower that can be joined: whole, following the writer with both threads, read-only.
pub fn can_join(report: &DatabaseReport, writer: NodeId) -> bool {
    report.incarnation.is_some()
        && report.source == Some(writer)
        && report.receiver == Thread::Running
        && report.applier == Thread::Running
        && report.read_only
        && report.confirms
}

/// D4: may somebody beside the follower confirm? More confirm than the follower, and somebody who is no member's
/// database is attached. MariaDB waits for one replica, whichever it is: what that one confirmed, the follower may
/// lack.
pub fn another_confirms(facts: &DatabaseFacts, follower: Option<&DatabaseReport>) -> bool {
    let one = u32::from(follower.is_some_and(|f| f.confirms && f.receiver == Thread::Running));
    !facts.others.is_empty() && facts.confirming > one
}

/// Is the recorded follower still one? Any other answer means that the holder goes on alone, by solo (D5).
pub fn is_following(report: &DatabaseReport, with: DataCopy, writer: NodeId) -> bool {
    report.incarnation == Some(with.incarnation)
        && report.source == Some(writer)
        && report.receiver == Thread::Running
        && report.applier == Thread::Running
        && report.confirms
}

/// D8: the recorded writer in its recorded incarnation, as that node reports itself.
pub fn is_recorded_writer(sync: &Sync, node: NodeId, report: &DatabaseReport) -> bool {
    sync.writer.node == node && report.incarnation == Some(sync.writer.incarnation)
}

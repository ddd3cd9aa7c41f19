//! Wall clocks of the members, compared. Nothing is decided by a wall clock; logs of two nodes are read side by side,
//! and certificates have dates, so an offset is worth an alarm.
//!
//! Every word on the lane of reports carries the sender's wall clock. The least of (received here - sent there) over
//! some seconds is the offset plus the shortest way; each member tells its peers what it found, so that half of the
//! difference of the two is the offset alone, however long the way (RFC 5905 section 8, with the minimum filter of
//! section 10).

use regent_core::id::NodeId;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

/// For how many seconds the shortest way is remembered.
const WINDOW: u64 = 8;

/// A step of the wall clock against the kernel's steady one that is called a jump: slewing stays far below it.
const JUMP_US: i64 = 100_000;

/// What travels between members beside reports.
pub type Leads = BTreeMap<NodeId, i64>;

/// The wall clock of this machine, in microseconds since 1970.
pub fn wall_us() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_micros() as i64
}

/// What is known of the members' clocks.
#[derive(Default)]
pub struct Clocks {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    peers: BTreeMap<NodeId, Peer>,
    /// The wall clock minus the steady one, when it was last looked at.
    step: Option<i64>,
}

#[derive(Default)]
struct Peer {
    /// The least of (here - there) of each second, the newest last.
    least: VecDeque<(u64, i64)>,
    /// What the peer found the other way.
    theirs: Option<(u64, i64)>,
}

impl Clocks {
    /// A word came from a peer, sent at its `sent_us`, with what it found of this node's clock. `second` counts
    /// seconds of a steady clock.
    pub fn take(&self, from: NodeId, sent_us: i64, theirs: Option<i64>, wall_us: i64, second: u64) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let peer = inner.peers.entry(from).or_default();
        let lead = wall_us.saturating_sub(sent_us);
        match peer.least.back_mut() {
            Some((at, least)) if *at == second => *least = lead.min(*least),
            Some(_) | None => peer.least.push_back((second, lead)),
        }
        while peer.least.front().is_some_and(|(at, _)| at + WINDOW < second) {
            peer.least.pop_front();
        }
        if let Some(theirs) = theirs {
            peer.theirs = Some((second, theirs));
        }
    }

    /// What this node found of each peer's clock, for them.
    pub fn leads(&self) -> Leads {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.peers.iter().filter_map(|(node, peer)| Some((*node, peer.lead()?))).collect()
    }

    /// By how many microseconds this node's clock is ahead of each peer that was heard lately.
    pub fn offsets(&self, second: u64) -> Vec<(NodeId, i64)> {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let offset = |peer: &Peer| {
            let (heard, theirs) = peer.theirs?;
            (heard + WINDOW >= second).then_some((peer.lead()? - theirs) / 2)
        };
        inner.peers.iter().filter_map(|(node, peer)| Some((*node, offset(peer)?))).collect()
    }

    /// Looks whether this node's own clock jumped since the last look; by how many microseconds. What was known of
    /// the offsets is then forgotten.
    pub fn jump(&self, wall_us: i64, steady_us: i64) -> Option<i64> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let step = wall_us.saturating_sub(steady_us);
        let by = step.saturating_sub(inner.step.replace(step)?);
        if by.abs() < JUMP_US {
            return None;
        }
        inner.peers.clear();
        Some(by)
    }
}

impl Peer {
    fn lead(&self) -> Option<i64> {
        self.least.iter().map(|(_, least)| *least).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THERE: NodeId = NodeId(2);

    /// Words both ways: the other clock is behind by `behind`, the ways take so long.
    fn heard(behind: i64, here: &[i64], there: &[i64]) -> Clocks {
        let clocks = Clocks::default();
        let least = there.iter().min().map(|way| way - behind);
        for (n, way) in here.iter().enumerate() {
            let sent = 1_000_000 * n as i64;
            clocks.take(THERE, sent - behind, least, sent + way, n as u64 / 4);
        }
        clocks
    }

    #[test]
    fn an_offset_is_found_however_long_the_way_is() {
        let clocks = heard(5_000_000, &[900, 400, 70_000], &[500_400, 800_000]);
        let (node, offset) = clocks.offsets(0)[0];
        // Half of the difference of the two ways is what cannot be known.
        assert_eq!(node, THERE);
        assert!((offset - 5_000_000).abs() <= 250_000, "{offset}");
        let clocks = heard(-3_600_000_000, &[400], &[400]);
        assert_eq!(clocks.offsets(0), [(THERE, -3_600_000_000)]);
    }

    #[test]
    fn one_way_alone_tells_nothing_and_old_words_are_forgotten() {
        let clocks = Clocks::default();
        clocks.take(THERE, 0, None, 400, 0);
        assert_eq!((clocks.offsets(0), clocks.leads()), (vec![], Leads::from([(THERE, 400)])));
        clocks.take(THERE, 0, Some(0), 700, WINDOW + 1);
        assert_eq!(clocks.leads(), Leads::from([(THERE, 700)]));
        assert_eq!(clocks.offsets(WINDOW * 2 + 2), vec![]);
    }

    #[test]
    fn a_jump_is_told_once_and_slewing_is_none() {
        let clocks = heard(0, &[400], &[400]);
        assert_eq!(clocks.jump(1_000_000, 0), None);
        assert_eq!(clocks.jump(2_000_500, 1_000_000), None);
        assert_eq!(clocks.jump(3_603_000_500, 2_000_000), Some(3_600_000_000));
        assert_eq!(clocks.jump(3_604_000_500, 3_000_000), None);
        assert!(clocks.leads().is_empty());
    }
}

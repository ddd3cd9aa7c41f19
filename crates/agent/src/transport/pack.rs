//! A message made small, as a rule for one TCP segment: raw DEFLATE (RFC 1951).
//!
//! A swap carries the whole State, some 3 kB of JSON. In two segments, the loss of either holds it up; in one, only
//! the loss of that one (ADR 0021).

use miniz_oxide::{deflate, inflate};
use regent_api::frame::LENGTH_MAX;

/// zlib's usual one. It matters little: a State of 2.9 kB takes some 80 us at any level, and becomes 1.1 kB at the
/// first and 1.0 kB from the second on.
const LEVEL: u8 = 6;

/// The packed bytes.
pub(super) fn pack(body: &[u8]) -> Vec<u8> {
    deflate::compress_to_vec(body, LEVEL)
}

/// What was packed; nothing if it is damaged, or would be longer than a frame may be.
pub(super) fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    inflate::decompress_to_vec_with_limit(packed, LENGTH_MAX).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use regent_core::id::{AttemptId, BootId, ClusterId, Epoch, Incarnation, NodeId, RunId};
    use regent_core::reason::{Cause, MoveReason, Vital};
    use regent_core::state::{
        Bounded, Data, DataCopy, FORMAT, HISTORY_MAX, Intent, Lease, Member, MemberRole, Move,
        Phase, State, Sync, Timing,
    };
    use regent_core::time::Span;
    use regent_store::cell::{self, Attempt, Ballot, Body, Message, Seat, Value, VoterId};
    use regent_store::splitmix::SplitMix;

    #[test]
    fn what_was_packed_is_unpacked() {
        for body in [&b""[..], b"a", &[7; 100_000], &b"no two bytes alike".repeat(3)] {
            assert_eq!(unpack(&pack(body)).as_deref(), Some(body));
        }
    }

    #[test]
    fn what_is_damaged_or_beyond_a_frame_is_nothing() {
        let whole = pack(&b"the same again and again ".repeat(50));
        for length in 0..whole.len() {
            assert_eq!(unpack(&whole[..length]), None, "cut to {length}");
        }
        assert!(unpack(&pack(&vec![0; LENGTH_MAX])).is_some());
        assert_eq!(unpack(&pack(&vec![0; LENGTH_MAX + 1])), None);
    }

    /// Digits that a packer makes nothing of, as identities have them.
    fn drawn(n: u64) -> u64 {
        SplitMix(n).draw()
    }

    fn attempt(node: u16, n: u64) -> AttemptId {
        AttemptId {
            node: NodeId(node),
            boot: BootId(drawn(u64::from(node))),
            run: RunId(drawn(u64::from(node) + 10)),
            n,
        }
    }

    /// Years old: a full history with reasons of every kind, everything asked for that can be.
    fn old_state() -> State {
        let probe = |n: u16| Cause::Probe {
            probe: "management-http".into(),
            why: format!("GET http://127.0.0.1:{n}/ answers 503"),
        };
        let reason = |n: u16| match n % 5 {
            0 => MoveReason::NotRenewed(Span::millis(u64::from(n))),
            1 => MoveReason::VitalFails(Vital::Service("management-node".into()), probe(n)),
            2 => MoveReason::Unable(format!("probe link: eth0.{n} has no carrier")),
            3 => MoveReason::VitalFails(Vital::Service(format!("mariadb-{n}")), Cause::Down),
            _ => MoveReason::DatabaseFails(probe(n)),
        };
        let step = |n: usize| Move {
            epoch: Epoch(1200 + n as u64),
            from: NodeId(1 + (n % 2) as u16),
            to: NodeId(2 - (n % 2) as u16),
            why: reason(drawn(n as u64) as u16),
        };
        let member = |node: u16, role| Member {
            name: format!("management-{node}.example"),
            speaks: FORMAT,
            role,
            by: Some(attempt(node, 4321)),
        };
        let copy = |node: u16| DataCopy {
            node: NodeId(node),
            incarnation: Incarnation(drawn(u64::from(node) + 20)),
        };
        let bounded = |node| Bounded { since: attempt(node, 17), length: Span::millis(3_600_000) };
        State {
            format: FORMAT,
            cluster: ClusterId(u128::from(drawn(30)) << 64 | u128::from(drawn(31))),
            replaces: None,
            lease: Lease {
                epoch: Epoch(1216),
                holder: NodeId(1),
                phase: Phase::Ruling,
                ttl: Span::millis(700),
                by: attempt(1, 123_456_789),
            },
            sync: Sync { writer: copy(1), with: Some(copy(2)) },
            data: Data::Clear,
            intent: Intent {
                maintenance: [(NodeId(2), bounded(1))].into(),
                pause: Some(bounded(2)),
                ..Intent::default()
            },
            members: [
                (NodeId(1), member(1, MemberRole::Node)),
                (NodeId(2), member(2, MemberRole::Node)),
                (NodeId(3), member(3, MemberRole::Witness)),
            ]
            .into(),
            timing: Timing { ttl: Span::millis(700), margin: Span::millis(90), drift_ppm: 10_000 },
            history: (0..HISTORY_MAX).map(step).collect(),
            kept: Default::default(),
        }
    }

    /// What a frame may have: a segment on Ethernet (1500 bytes; 40 of IPv6, 20 of TCP, 12 of its time stamps), less a
    /// TLS 1.3 record's head, type and tag (RFC 8446 5.2: 22), the length of the frame and the number.
    const SEGMENT: usize = 1500 - 40 - 20 - 12 - 22 - 4 - 8;

    #[test]
    fn a_swap_of_a_state_with_a_full_history_fits_in_one_segment() {
        let state = old_state().encode();
        let attempts = [1, 2, 3].map(|node| Attempt {
            node,
            boot: drawn(u64::from(node)),
            run: drawn(u64::from(node) + 10),
            n: 123_456_789,
        });
        let ballot = Ballot { n: 123_456_790, node: cell::NodeId(1), run: drawn(11) };
        let voters = [1, 2, 3].map(|node| Seat {
            voter: VoterId(drawn(u64::from(node) + 40)),
            node: cell::NodeId(node),
        });
        let value = Value {
            version: 123_456_790,
            voters: voters.to_vec(),
            recent: attempts.to_vec(),
            bytes: state,
        };
        let cluster = cell::ClusterId(u128::from(drawn(30)));
        let message = Message { cluster, body: Body::Accept { ballot, value, next: ballot } };
        let body = regent_store::encode_message(&message);
        assert!(body.len() > 2 * SEGMENT, "{} bytes: too easy", body.len());
        let packed = pack(&body);
        assert!(packed.len() <= SEGMENT, "{} bytes of {}", packed.len(), body.len());
    }
}

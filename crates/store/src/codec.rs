//! The bytes of messages and records: fixed little-endian numbers, counted lists, a format first.
//!
//! Small on purpose, so that the record stays readable by the release before it: a new format is
//! read in one release and written in the next (R7's habit, for our own bytes).

use crate::cell::{
    Attempt, BYTES_MAX, Ballot, Body, ClusterId, Message, NodeId, Record, SEATS_MAX, Seat,
    Standing, Value, VoterId,
};

/// The format of messages and records.
const FORMAT: u8 = 1;

/// The most attempts a value remembers: one per node that ever won.
const RECENT_MAX: usize = 64;

/// Bytes that are no message and no record of a known format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Ends too early, or goes on after its end.
    #[error("wrong length")]
    Length,
    /// Written by a release that is not known here.
    #[error("format {0} is not known")]
    Format(u8),
    /// A kind of thing that this format does not have.
    #[error("kind {0} is not known")]
    Kind(u8),
    /// A list longer than it may be.
    #[error("a list of {0} is too long")]
    TooLong(u32),
}

/// The bytes of a message.
pub fn encode_message(message: &Message) -> Vec<u8> {
    let mut out = Writer::new();
    out.u128(message.cluster.0);
    match &message.body {
        Body::Prepare { ballot } => {
            out.u8(1);
            out.ballot(*ballot);
        }
        Body::Promise { ballot, voter, accepted, value } => {
            out.u8(2);
            out.ballot(*ballot);
            out.u64(voter.0);
            out.ballot(*accepted);
            out.value(value);
        }
        Body::Accept { ballot, value, next } => {
            out.u8(3);
            out.ballot(*ballot);
            out.value(value);
            out.ballot(*next);
        }
        Body::Accepted { ballot, voter } => {
            out.u8(4);
            out.ballot(*ballot);
            out.u64(voter.0);
        }
        Body::Refuse { ballot, voter, promised } => {
            out.u8(5);
            out.ballot(*ballot);
            out.u64(voter.0);
            out.ballot(*promised);
        }
        Body::Learn { ballot, next, value, by } => {
            out.u8(6);
            out.ballot(*ballot);
            out.ballot(*next);
            out.value(value);
            out.list(by, |out, voter| out.u64(voter.0));
        }
        Body::Ask { admission, version, voters } => {
            out.u8(7);
            out.attempt(*admission);
            out.u64(*version);
            out.list(voters, |out, seat| out.seat(*seat));
        }
        Body::Named { admission, voter, newcomer } => {
            out.u8(8);
            out.attempt(*admission);
            out.u64(voter.0);
            out.u8(u8::from(*newcomer));
        }
    }
    out.0
}

/// The message that these bytes are.
pub fn decode_message(bytes: &[u8]) -> Result<Message, Malformed> {
    let mut from = Reader::new(bytes)?;
    let cluster = ClusterId(from.u128()?);
    let body = match from.u8()? {
        1 => Body::Prepare { ballot: from.ballot()? },
        2 => Body::Promise {
            ballot: from.ballot()?,
            voter: VoterId(from.u64()?),
            accepted: from.ballot()?,
            value: from.value()?,
        },
        3 => Body::Accept { ballot: from.ballot()?, value: from.value()?, next: from.ballot()? },
        4 => Body::Accepted { ballot: from.ballot()?, voter: VoterId(from.u64()?) },
        5 => Body::Refuse {
            ballot: from.ballot()?,
            voter: VoterId(from.u64()?),
            promised: from.ballot()?,
        },
        6 => Body::Learn {
            ballot: from.ballot()?,
            next: from.ballot()?,
            value: from.value()?,
            by: from.list(SEATS_MAX, |from| Ok(VoterId(from.u64()?)))?,
        },
        7 => Body::Ask {
            admission: from.attempt()?,
            version: from.u64()?,
            voters: from.list(SEATS_MAX, Reader::seat)?,
        },
        8 => Body::Named {
            admission: from.attempt()?,
            voter: VoterId(from.u64()?),
            newcomer: from.u8()? != 0,
        },
        kind => return Err(Malformed::Kind(kind)),
    };
    from.end()?;
    Ok(Message { cluster, body })
}

/// The bytes of what a node keeps: its standing as a voter, and the highest version it saw.
pub(crate) fn encode_kept(standing: &Standing, high: u64) -> Vec<u8> {
    let mut out = Writer::new();
    out.u64(high);
    match standing {
        Standing::Vacant => out.u8(0),
        Standing::Newcomer { cluster, voter, admission } => {
            out.u8(1);
            out.u128(cluster.0);
            out.u64(voter.0);
            out.attempt(*admission);
        }
        Standing::Seated(record) => {
            out.u8(2);
            out.u128(record.cluster.0);
            out.u64(record.voter.0);
            out.ballot(record.promised);
            out.ballot(record.accepted);
            out.value(&record.value);
        }
    }
    out.0
}

/// What these bytes keep.
pub(crate) fn decode_kept(bytes: &[u8]) -> Result<(Standing, u64), Malformed> {
    let mut from = Reader::new(bytes)?;
    let high = from.u64()?;
    let standing = match from.u8()? {
        0 => Standing::Vacant,
        1 => Standing::Newcomer {
            cluster: ClusterId(from.u128()?),
            voter: VoterId(from.u64()?),
            admission: from.attempt()?,
        },
        2 => Standing::Seated(Record {
            cluster: ClusterId(from.u128()?),
            voter: VoterId(from.u64()?),
            promised: from.ballot()?,
            accepted: from.ballot()?,
            value: from.value()?,
        }),
        kind => return Err(Malformed::Kind(kind)),
    };
    from.end()?;
    Ok((standing, high))
}

struct Writer(Vec<u8>);

impl Writer {
    fn new() -> Self {
        Writer(vec![FORMAT])
    }

    fn u8(&mut self, number: u8) {
        self.0.push(number);
    }

    fn u16(&mut self, number: u16) {
        self.0.extend(number.to_le_bytes());
    }

    fn u32(&mut self, number: u32) {
        self.0.extend(number.to_le_bytes());
    }

    fn u64(&mut self, number: u64) {
        self.0.extend(number.to_le_bytes());
    }

    fn u128(&mut self, number: u128) {
        self.0.extend(number.to_le_bytes());
    }

    fn list<T>(&mut self, list: &[T], write: impl Fn(&mut Self, &T)) {
        self.u32(list.len() as u32);
        for item in list {
            write(self, item);
        }
    }

    fn ballot(&mut self, ballot: Ballot) {
        self.u64(ballot.n);
        self.u16(ballot.node.0);
        self.u64(ballot.run);
    }

    fn attempt(&mut self, attempt: Attempt) {
        self.u16(attempt.node);
        self.u64(attempt.boot);
        self.u64(attempt.run);
        self.u64(attempt.n);
    }

    fn seat(&mut self, seat: Seat) {
        self.u64(seat.voter.0);
        self.u16(seat.node.0);
    }

    fn value(&mut self, value: &Value) {
        self.u64(value.version);
        self.list(&value.voters, |out, seat| out.seat(*seat));
        self.list(&value.recent, |out, attempt| out.attempt(*attempt));
        self.u32(value.bytes.len() as u32);
        self.0.extend(&value.bytes);
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut from = Reader(bytes);
        match from.u8()? {
            FORMAT => Ok(from),
            other => Err(Malformed::Format(other)),
        }
    }

    fn end(self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::Length) }
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.0.split_at_checked(count).ok_or(Malformed::Length)?;
        self.0 = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Malformed::Length)?;
        self.0 = rest;
        Ok(*head)
    }

    fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(u8::from_le_bytes(self.array()?))
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    fn u32(&mut self) -> Result<u32, Malformed> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn u128(&mut self) -> Result<u128, Malformed> {
        Ok(u128::from_le_bytes(self.array()?))
    }

    fn count(&mut self, most: usize) -> Result<usize, Malformed> {
        let count = self.u32()?;
        if count as usize > most { Err(Malformed::TooLong(count)) } else { Ok(count as usize) }
    }

    fn list<T>(
        &mut self,
        most: usize,
        read: impl Fn(&mut Self) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let count = self.count(most)?;
        (0..count).map(|_| read(self)).collect()
    }

    fn ballot(&mut self) -> Result<Ballot, Malformed> {
        Ok(Ballot { n: self.u64()?, node: NodeId(self.u16()?), run: self.u64()? })
    }

    fn attempt(&mut self) -> Result<Attempt, Malformed> {
        Ok(Attempt { node: self.u16()?, boot: self.u64()?, run: self.u64()?, n: self.u64()? })
    }

    fn seat(&mut self) -> Result<Seat, Malformed> {
        Ok(Seat { voter: VoterId(self.u64()?), node: NodeId(self.u16()?) })
    }

    fn value(&mut self) -> Result<Value, Malformed> {
        let version = self.u64()?;
        let voters = self.list(SEATS_MAX, Reader::seat)?;
        let recent = self.list(RECENT_MAX, Reader::attempt)?;
        let length = self.count(BYTES_MAX)?;
        Ok(Value { version, voters, recent, bytes: self.take(length)?.to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages() -> Vec<Message> {
        let ballot = Ballot { n: 7, node: NodeId(2), run: 9 };
        let next = Ballot { n: 8, ..ballot };
        let attempt = Attempt { node: 2, boot: 3, run: 4, n: 5 };
        let voter = VoterId(11);
        let voters = vec![Seat { voter, node: NodeId(1) }];
        let value = Value {
            version: 6,
            voters: voters.clone(),
            recent: vec![attempt],
            bytes: b"state".to_vec(),
        };
        let bodies = vec![
            Body::Prepare { ballot },
            Body::Promise { ballot, voter, accepted: ballot, value: value.clone() },
            Body::Accept { ballot, value: value.clone(), next },
            Body::Accepted { ballot, voter },
            Body::Refuse { ballot, voter, promised: next },
            Body::Learn { ballot, next, value, by: vec![voter, VoterId(12)] },
            Body::Ask { admission: attempt, version: 6, voters },
            Body::Named { admission: attempt, voter, newcomer: true },
        ];
        bodies.into_iter().map(|body| Message { cluster: ClusterId(u128::MAX - 1), body }).collect()
    }

    #[test]
    fn every_kind_of_message_survives_the_wire() {
        for message in messages() {
            assert_eq!(decode_message(&encode_message(&message)), Ok(message));
        }
    }

    #[test]
    fn every_message_cut_short_or_lengthened_is_malformed() {
        for message in messages() {
            let whole = encode_message(&message);
            for length in 0..whole.len() {
                assert!(decode_message(&whole[..length]).is_err(), "{message:?} cut to {length}");
            }
            let longer = [whole, vec![0]].concat();
            assert_eq!(decode_message(&longer), Err(Malformed::Length));
        }
    }

    #[test]
    fn an_unknown_format_or_kind_and_an_endless_list_are_refused_by_name() {
        let mut bytes = encode_message(&messages()[0]);
        bytes[17] = 99;
        assert_eq!(decode_message(&bytes), Err(Malformed::Kind(99)));
        bytes[0] = 2;
        assert_eq!(decode_message(&bytes), Err(Malformed::Format(2)));
        let ask = encode_message(&messages()[6]);
        let list = 1 + 16 + 1 + 26 + 8;
        let endless = [&ask[..list], &u32::MAX.to_le_bytes(), &ask[list + 4..]].concat();
        assert_eq!(decode_message(&endless), Err(Malformed::TooLong(u32::MAX)));
    }

    #[test]
    fn what_a_node_keeps_survives_the_disk() {
        let attempt = Attempt { node: 2, boot: 3, run: 4, n: 5 };
        let seat = Seat { voter: VoterId(1), node: NodeId(1) };
        let (_, record) = crate::cell::initial_records(ClusterId(5), &[seat], b"x").remove(0);
        let newcomer =
            Standing::Newcomer { cluster: ClusterId(5), voter: VoterId(77), admission: attempt };
        for standing in [Standing::Vacant, newcomer, Standing::Seated(record)] {
            assert_eq!(decode_kept(&encode_kept(&standing, 42)), Ok((standing, 42)));
        }
    }
}

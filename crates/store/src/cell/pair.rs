//! Two voters and no third: how one of them makes a register of its own, and how the other one gets a seat again.
//!
//! ```text
//!  of {A, B} or {A}  ── alone ───────►  another register, of {A'}     B is off, by somebody's word
//!  {A} or {A, B}     ── seat_beside ─►  the same register, of {A, C}  B's node is back, or lost its record
//! ```
//! Both are steps between two lives: the voter says nothing while it is taken, and its old record is never voted with
//! again. What they rest on: of two voters a majority is both, and of one it is that one, so that a seated voter
//! of such
//! a list accepted all that was ever decided. What it accepted last misses nothing, though it may be in doubt.
//!
//! - **alone**: the old register decides nothing any more that this record does not hold, since each majority contains
//!   this voter. So the content of the new one must be made of *this very record*, not of one that was read before. And
//!   the word is void if this voter holds a version that was not known when it was given: nobody gets a value accepted
//!   without a promise of both, so the other one may be on again.
//! - **seat_beside**: the value that names the newcomer stands on all that was decided, and is decided at once, by
//!   this voter's acceptance and by the newcomer's first record (R2: it never starts empty).

use super::ballot::{Ballot, ClusterId, VoterId};
use super::value::{Record, Seat, Value, initial_records};

/// Why a record is no ground for either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotOfAPair {
    /// With more than two voters a majority decides without this one.
    #[error("the register has {0} voters, and only one of at most two knows all that was decided")]
    More(usize),
    /// Its id left the list.
    #[error("this voter is not in the list of its own register")]
    NotListed,
    /// Version `accepted` was not known when the word was given, at version `seen`: it came after it, or just before.
    #[error(
        "version {accepted} was not known when the word was given, at version {seen}: the other one may have voted \
         since; if it is still off, give the word once more"
    )]
    VotedSince {
        /// The newest version that was known when the word was given.
        seen: u64,
        /// What this voter accepted last.
        accepted: u64,
    },
}

/// The first record of another register, with this voter alone under a fresh id. `bytes` is made of the content of
/// `own`; `seen` is the newest version that was known *before* it was looked whether the word is to be believed.
pub fn alone(
    own: &Record,
    cluster: ClusterId,
    fresh: VoterId,
    seen: u64,
    bytes: &[u8],
) -> Result<Record, NotOfAPair> {
    let seat = Seat { voter: fresh, ..own_seat(own)? };
    let accepted = own.value.version;
    if accepted > seen {
        return Err(NotOfAPair::VotedSince { seen, accepted });
    }
    let first = initial_records(cluster, &[seat], bytes).into_iter().next();
    first.map(|(_, record)| record).ok_or(NotOfAPair::NotListed)
}

/// A seat for the newcomer beside this voter: the records of both, this voter's own first. None if it is named already.
/// `run` is drawn anew each time, so that no ballot is used twice. The newcomer's record is kept with the intention
/// before this voter's own is stored: then a crash between the two only means another try.
pub fn seat_beside(
    own: &Record,
    newcomer: Seat,
    run: u64,
) -> Result<Option<[Record; 2]>, NotOfAPair> {
    let seat = own_seat(own)?;
    if own.value.has_voter(newcomer.voter) {
        return Ok(None);
    }
    let mut value = own.value.clone();
    value.version += 1;
    value.voters = vec![seat, newcomer];
    let ballot = Ballot { n: own.promised.n.max(own.accepted.n) + 1, node: seat.node, run };
    let record = |voter| Record {
        cluster: own.cluster,
        voter,
        promised: ballot,
        accepted: ballot,
        value: value.clone(),
    };
    Ok(Some([record(own.voter), record(newcomer.voter)]))
}

/// The newcomer of this first record has voted, as a later value shows, which nobody decides without it: then the
/// record is never given again (R2). One that is given again all the same only puts a voter back that every majority
/// contains beside this one, which was never put back.
pub fn has_voted(known: &Value, first: &Record) -> bool {
    known.version > first.value.version
}

fn own_seat(own: &Record) -> Result<Seat, NotOfAPair> {
    match own.value.voters.len() {
        0..=2 => {
            let own = own.value.voters.iter().find(|seat| seat.voter == own.voter);
            own.copied().ok_or(NotOfAPair::NotListed)
        }
        more => Err(NotOfAPair::More(more)),
    }
}

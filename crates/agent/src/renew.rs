//! How two hosts without a third get another register, each change between two lives of an agent: nothing votes then.
//!
//! ```text
//!  register of both ──(an operator: the other one is off)──► Alone: a new one, with this voter alone
//!  register of one  ──(the other one is back)─────────────► Admit: the same one, with both voters
//!  a register that the other one replaced ────────────────► Leave: none; it waits to be admitted
//! ```
//! What is to become of the register is written down first, whole and synced, and carried out when the next life
//! begins; every step may be done twice. An old register's file is kept beside the new one, and never read again.
//!
//! What the records become, and why it is safe, stands in [`regent_store::cell::alone`] and
//! [`regent_store::cell::seat_beside`], what a new register holds first in [`regent_core::pair`]: here are the files.

use crate::durable;
use crate::peer::Hex;
use crate::place::Place;
use crate::random;
use crate::register::cluster_of;
use regent_adapters::durable::sync_directory;
use regent_core::id::{ClusterId, NodeId};
use regent_core::pair::Word;
use regent_core::state::State;
use regent_store::cell::{self, NodeId as StoreNode, Record, Seat, Standing, VoterId};
use regent_store::embedded::{Disk, Kept, OpenError, RecordFile};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What is to become of this node's register.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Turn {
    /// A new register with this voter alone takes the place of the one of this cluster id.
    Alone {
        /// The one that is replaced.
        old: ClusterId,
        /// The new one.
        cluster: ClusterId,
        /// Under which id this node votes there.
        voter: Hex,
        /// What its first State is made of, with what this voter accepted last.
        #[serde(default)]
        word: Option<Word>,
        /// Its first State, encoded, as an older release wrote it down.
        #[serde(default)]
        state: Option<String>,
    },
    /// The other node gets a seat beside this one. It stays written down until the other one has its record.
    Admit {
        /// In which register.
        cluster: ClusterId,
        /// Whose seat.
        node: NodeId,
        /// Under which id.
        voter: Hex,
        /// The newcomer's first record, once this voter has accepted the value that names it.
        record: Option<Box<Record>>,
    },
    /// The register of this cluster id was replaced: this node waits to be admitted.
    Leave {
        /// Which.
        old: ClusterId,
        /// The newest version that was known when everything was down here: with a later one it is not left. An older
        /// release does not say it.
        #[serde(default)]
        seen: Option<u64>,
    },
}

impl Turn {
    /// What is written down, if anything.
    pub fn read(place: &Place) -> io::Result<Option<Turn>> {
        let path = place.turn();
        let Some(text) = durable::read(&path)? else { return Ok(None) };
        serde_json::from_str(&text).map(Some).map_err(|e| {
            let text = format!("{} is not understood: {e}; move it away", path.display());
            io::Error::new(io::ErrorKind::InvalidData, text)
        })
    }

    /// Writes it down; it is carried out when the next life begins.
    pub fn write(&self, place: &Place) -> io::Result<()> {
        durable::write(&place.turn(), &serde_json::to_vec_pretty(self)?)
    }

    /// It is over.
    pub fn end(place: &Place) -> io::Result<()> {
        match fs::remove_file(place.turn()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => sync_directory(&place.state),
        }
    }
}

/// Carries out what is written down; to be called while no register is open. Tells what was done, if anything.
pub fn carry_out(place: &Place) -> io::Result<Option<String>> {
    match Turn::read(place)? {
        None => Ok(None),
        Some(Turn::Alone { old, cluster, voter, word, state }) => {
            let told = match seated(place, old)? {
                None => None,
                Some(own) => Some(match first_record(&own, cluster, voter, word, state) {
                    Ok(record) => {
                        replace(place, old, Some(record))?;
                        format!("the register {cluster}, with this voter alone, replaced {old}")
                    }
                    Err(why) => format!("the register {old} is not replaced: {why}"),
                }),
            };
            Turn::end(place)?;
            Ok(told)
        }
        Some(Turn::Leave { old, seen }) => {
            let told = leave(place, old, seen)?;
            Turn::end(place)?;
            Ok(told)
        }
        Some(Turn::Admit { cluster, node, voter, .. }) => {
            let seat = Seat { voter: VoterId(voter.0), node: StoreNode(node.0) };
            admit(place, cluster, seat)
        }
    }
}

/// This node leaves a register that was replaced, unless its record holds a version that was not known then: the data
/// may be in use here again, and nobody would stop what runs.
fn leave(place: &Place, old: ClusterId, seen: Option<u64>) -> io::Result<Option<String>> {
    if !is_of(&place.record(), old)? {
        return Ok(None);
    }
    let accepted = seated(place, old)?.map(|own| own.value.version);
    if let (Some(seen), Some(accepted)) = (seen, accepted)
        && accepted > seen
    {
        return Ok(Some(format!(
            "the register {old} is not left: version {accepted} came after version {seen}, at which everything was down here"
        )));
    }
    replace(place, old, None)?;
    Ok(Some(format!("left the register {old}, which was replaced")))
}

/// Is this file a record of this cluster's register?
fn is_of(path: &Path, cluster: ClusterId) -> io::Result<bool> {
    let (_, kept) = open(path)?;
    Ok(match kept.standing {
        Standing::Seated(record) => record.cluster == cluster_of(cluster),
        Standing::Newcomer { cluster: of, .. } => of == cluster_of(cluster),
        Standing::Vacant => false,
    })
}

/// Under which name a register that was replaced here is kept.
fn archive(place: &Place, old: ClusterId) -> PathBuf {
    place.state.join(format!("register.replaced-{old}"))
}

/// Was this register replaced on this node, whenever that was?
pub(crate) fn was_replaced(place: &Place, cluster: ClusterId) -> bool {
    archive(place, cluster).exists()
}

/// This node's record of this cluster's register, if it votes there.
fn seated(place: &Place, cluster: ClusterId) -> io::Result<Option<Record>> {
    let (_, kept) = open(&place.record())?;
    Ok(match kept.standing {
        Standing::Seated(record) => Some(record).filter(|own| own.cluster == cluster_of(cluster)),
        Standing::Newcomer { .. } | Standing::Vacant => None,
    })
}

/// The record with which a register of one begins.
fn first_record(
    own: &Record,
    cluster: ClusterId,
    voter: Hex,
    word: Option<Word>,
    state: Option<String>,
) -> Result<Record, String> {
    // An older release does not say at which version it was told.
    let seen = word.as_ref().and_then(|word| word.seen).unwrap_or(own.value.version);
    let bytes = match (word, state) {
        (Some(word), _) => {
            let old = State::decode(&own.value.bytes).map_err(|e| e.to_string())?;
            word.found(old).encode()
        }
        (None, Some(state)) => state.into_bytes(),
        (None, None) => return Err("what is written down for it says nothing".into()),
    };
    let (cluster, voter) = (cluster_of(cluster), VoterId(voter.0));
    cell::alone(own, cluster, voter, seen, &bytes).map_err(|e| e.to_string())
}

/// A new file in place of the old one, which is kept under the name of its register.
fn replace(place: &Place, old: ClusterId, record: Option<Record>) -> io::Result<()> {
    let (path, beside) = (place.record(), place.state.join("register.next"));
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let (mut file, _) = open(&beside)?;
    if let Some(record) = record {
        file.store(&Kept { standing: Standing::Seated(record), high: 0 })?;
    }
    let archive = archive(place, old);
    if !archive.exists() {
        fs::hard_link(&path, &archive)?;
    }
    fs::rename(&beside, &path)?;
    sync_directory(&place.state)
}

/// This voter accepts the value that names both, alone, and the newcomer's record is written down beside it.
fn admit(place: &Place, cluster: ClusterId, seat: Seat) -> io::Result<Option<String>> {
    let (mut file, kept) = open(&place.record())?;
    let own = match kept.standing {
        Standing::Seated(record) if record.cluster == cluster_of(cluster) => record,
        Standing::Seated(_) | Standing::Newcomer { .. } | Standing::Vacant => {
            Turn::end(place)?;
            return Ok(None);
        }
    };
    let [mine, theirs] = match cell::seat_beside(&own, seat, random::draw_half()?) {
        Ok(Some(records)) => records,
        Ok(None) => return Ok(None),
        Err(why) => {
            Turn::end(place)?;
            return Ok(Some(format!("node {} gets no seat: {why}", seat.node.0)));
        }
    };
    let high = kept.high.max(mine.value.version);
    let turn = Turn::Admit {
        cluster,
        node: NodeId(seat.node.0),
        voter: Hex(seat.voter.0),
        record: Some(Box::new(theirs)),
    };
    turn.write(place)?;
    file.store(&Kept { standing: Standing::Seated(mine), high })?;
    Ok(Some(format!("the register {cluster} has a seat for node {} again", seat.node.0)))
}

fn open(path: &Path) -> io::Result<(RecordFile, Kept)> {
    RecordFile::open(path).map_err(|error| match error {
        OpenError::Io { source, .. } => source,
        other
        @ (OpenError::InUse { .. } | OpenError::Damaged { .. } | OpenError::Format { .. }) => {
            io::Error::other(other.to_string())
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;
    use regent_core::id::{AttemptId, BootId, Epoch, Incarnation, RunId};
    use regent_core::state::{Data, DataCopy, FORMAT, Intent, Lease, Phase, Sync, Timing};
    use regent_core::time::Span;
    use regent_store::cell::{Ballot, Value, initial_records};

    fn place(dir: &Scratch) -> Place {
        let place = Place::under(dir.path());
        fs::create_dir_all(&place.state).unwrap();
        place
    }

    fn seat(voter: u64, node: u16) -> Seat {
        Seat { voter: VoterId(voter), node: StoreNode(node) }
    }

    fn state(epoch: u64) -> State {
        let ttl = Span::millis(700);
        let writer = DataCopy { node: NodeId(2), incarnation: Incarnation(3) };
        State {
            format: FORMAT,
            cluster: ClusterId(7),
            replaces: None,
            lease: Lease {
                epoch: Epoch(epoch),
                holder: NodeId(2),
                phase: Phase::Ruling,
                ttl,
                by: AttemptId::default(),
            },
            sync: Sync { writer, with: None },
            data: Data::InUse { node: NodeId(2), epoch: Epoch(epoch), watchdog: None },
            intent: Intent::default(),
            members: Default::default(),
            timing: Timing { ttl, margin: Span::millis(90), drift_ppm: 10_000 },
            history: Vec::new(),
            kept: Default::default(),
        }
    }

    fn word() -> Word {
        let by = AttemptId { node: NodeId(1), boot: BootId(1), run: RunId(2), n: 3 };
        let (cluster, seen) = (ClusterId(8), Some(9));
        Word {
            cluster,
            by,
            seen,
            claimed: None,
            said: regent_core::command::Word::IsOff(NodeId(2)),
        }
    }

    fn store(place: &Place, cluster: u128, seats: &[Seat], version: u64) {
        let bytes = state(version).encode();
        let records = initial_records(cluster_of(ClusterId(cluster)), seats, &bytes);
        let mut record = records.into_iter().next().unwrap().1;
        record.value.version = version;
        let (mut file, _) = open(&place.record()).unwrap();
        file.store(&Kept { standing: Standing::Seated(record), high: version }).unwrap();
    }

    fn stored(path: &Path) -> Kept {
        open(path).unwrap().1
    }

    fn value(place: &Place) -> Value {
        let Standing::Seated(record) = stored(&place.record()).standing else { panic!("vacant") };
        record.value
    }

    #[test]
    fn a_new_register_of_one_replaces_the_old_which_is_kept() {
        let dir = Scratch::new("alone");
        let place = place(&dir);
        store(&place, 7, &[seat(1, 1), seat(2, 2)], 9);
        let old = stored(&place.record());
        let (old_id, cluster) = (ClusterId(7), ClusterId(8));
        let word = Some(word());
        let turn = Turn::Alone { old: old_id, cluster, voter: Hex(5), word, state: None };
        turn.write(&place).unwrap();
        let told = carry_out(&place).unwrap().unwrap();
        assert!(told.contains("replaced"), "{told}");
        let new = value(&place);
        let first = self::word().found(state(9));
        assert_eq!((new.version, new.voters, new.bytes), (1, vec![seat(5, 1)], first.encode()));
        assert_eq!(stored(&place.record()).high, 0);
        let archive = place.state.join(format!("register.replaced-{old_id}"));
        assert_eq!(stored(&archive), old);
        assert_eq!(Turn::read(&place).unwrap(), None);
        // A second time, as after a crash before the end was written.
        turn.write(&place).unwrap();
        assert_eq!(carry_out(&place).unwrap(), None);
        assert_eq!(value(&place).voters, [seat(5, 1)]);
    }

    #[test]
    fn a_word_is_void_once_the_other_one_voted_again() {
        let dir = Scratch::new("late");
        let place = place(&dir);
        store(&place, 7, &[seat(1, 1), seat(2, 2)], 9);
        let old = ClusterId(7);
        let word = Some(word());
        let turn = Turn::Alone { old, cluster: ClusterId(8), voter: Hex(5), word, state: None };
        turn.write(&place).unwrap();
        // This voter lives on until the next life begins, and the other one is switched on again.
        store(&place, 7, &[seat(1, 1), seat(2, 2)], 10);
        let before = stored(&place.record());
        let told = carry_out(&place).unwrap().unwrap();
        assert!(told.contains("is not replaced: version 10 was not known"), "{told}");
        assert_eq!(stored(&place.record()), before);
        assert_eq!(Turn::read(&place).unwrap(), None);
    }

    #[test]
    fn what_an_older_release_wrote_down_is_carried_out() {
        let dir = Scratch::new("older");
        let place = place(&dir);
        store(&place, 7, &[seat(1, 1), seat(2, 2)], 9);
        let old = format!(
            r#"{{"alone":{{"old":"{}","cluster":"{}","voter":"5","state":"new"}}}}"#,
            ClusterId(7),
            ClusterId(8)
        );
        durable::write(&place.turn(), old.as_bytes()).unwrap();
        carry_out(&place).unwrap().unwrap();
        assert_eq!(value(&place).bytes, b"new");
    }

    #[test]
    fn one_of_three_replaces_nothing() {
        let dir = Scratch::new("three");
        let place = place(&dir);
        store(&place, 7, &[seat(1, 1), seat(2, 2), seat(3, 3)], 9);
        let before = stored(&place.record());
        let (old, cluster, word) = (ClusterId(7), ClusterId(8), Some(word()));
        Turn::Alone { old, cluster, voter: Hex(5), word, state: None }.write(&place).unwrap();
        let told = carry_out(&place).unwrap().unwrap();
        assert!(told.contains("is not replaced: the register has 3 voters"), "{told}");
        assert_eq!(stored(&place.record()), before);
        assert_eq!(Turn::read(&place).unwrap(), None);
    }

    #[test]
    fn a_node_that_leaves_waits_with_an_empty_seat() {
        let dir = Scratch::new("leave");
        let place = place(&dir);
        store(&place, 7, &[seat(1, 1), seat(2, 2)], 9);
        Turn::Leave { old: ClusterId(6), seen: Some(9) }.write(&place).unwrap();
        assert_eq!(carry_out(&place).unwrap(), None, "another register is not left");
        Turn::Leave { old: ClusterId(7), seen: Some(9) }.write(&place).unwrap();
        assert!(carry_out(&place).unwrap().is_some());
        assert_eq!(stored(&place.record()).standing, Standing::Vacant);
    }

    #[test]
    fn a_register_in_which_something_was_decided_since_is_not_left() {
        let dir = Scratch::new("stay");
        let place = place(&dir);
        store(&place, 7, &[seat(1, 1)], 10);
        let before = stored(&place.record());
        Turn::Leave { old: ClusterId(7), seen: Some(9) }.write(&place).unwrap();
        let told = carry_out(&place).unwrap().unwrap();
        assert!(told.contains("is not left: version 10 came after version 9"), "{told}");
        assert_eq!(stored(&place.record()), before);
        assert_eq!(Turn::read(&place).unwrap(), None);
        let older = format!(r#"{{"leave":{{"old":"{}"}}}}"#, ClusterId(7));
        durable::write(&place.turn(), older.as_bytes()).unwrap();
        assert!(carry_out(&place).unwrap().unwrap().contains("left the register"));
    }

    #[test]
    fn both_start_with_the_value_that_names_them_and_a_crash_between_changes_nothing() {
        let dir = Scratch::new("admit");
        let place = place(&dir);
        store(&place, 7, &[seat(1, 1)], 9);
        let cluster = ClusterId(7);
        let turn = Turn::Admit { cluster, node: NodeId(2), voter: Hex(3), record: None };
        turn.write(&place).unwrap();
        assert!(carry_out(&place).unwrap().is_some());
        let new = value(&place);
        assert_eq!((new.version, new.voters.as_slice()), (10, &[seat(1, 1), seat(3, 2)][..]));
        let Some(Turn::Admit { record: Some(record), .. }) = Turn::read(&place).unwrap() else {
            panic!("the newcomer's record is not kept");
        };
        assert_eq!((record.value, record.voter), (new.clone(), VoterId(3)));
        assert!(record.accepted > Ballot::INITIAL);
        assert_eq!(record.promised, record.accepted);
        assert_eq!(carry_out(&place).unwrap(), None, "once is enough");
        assert_eq!(value(&place), new);
        // A voter that lost its record is another one.
        Turn::Admit { cluster, node: NodeId(2), voter: Hex(4), record: None }
            .write(&place)
            .unwrap();
        carry_out(&place).unwrap().unwrap();
        assert_eq!(value(&place).voters, [seat(1, 1), seat(4, 2)]);
    }
}

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
//! Why Admit is safe: in the old list this voter alone was a majority, or the other one has lost its record; so all
//! that was decided is in the record here. The new list's majority is both, and contains this voter. The newcomer
//! starts with the very value that names it (R2), and not before this voter has accepted it.

use crate::durable;
use crate::peer::Hex;
use crate::place::Place;
use crate::random;
use crate::register::cluster_of;
use regent_core::id::{ClusterId, NodeId};
use regent_store::cell::{
    Ballot, NodeId as StoreNode, Record, Seat, Standing, VoterId, initial_records,
};
use regent_store::embedded::{Disk, Kept, OpenError, RecordFile};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io;
use std::path::Path;

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
        /// Its first State, encoded.
        state: String,
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
            Ok(()) | Err(_) => File::open(&place.state)?.sync_all(),
        }
    }
}

/// Carries out what is written down; to be called while no register is open. Tells what was done, if anything.
pub fn carry_out(place: &Place, me: NodeId) -> io::Result<Option<String>> {
    match Turn::read(place)? {
        None => Ok(None),
        Some(Turn::Alone { old, cluster, voter, state }) => {
            let done = is_of(&place.record(), old)?;
            if done {
                let seat = Seat { voter: VoterId(voter.0), node: StoreNode(me.0) };
                let records = initial_records(cluster_of(cluster), &[seat], state.as_bytes());
                let record = records.into_iter().next().map(|(_, record)| record);
                let record = record.ok_or_else(|| io::Error::other("a list of one has one"))?;
                replace(place, old, Some(record))?;
            }
            Turn::end(place)?;
            Ok(done
                .then(|| format!("the register {cluster}, with this voter alone, replaced {old}")))
        }
        Some(Turn::Leave { old }) => {
            let done = is_of(&place.record(), old)?;
            if done {
                replace(place, old, None)?;
            }
            Turn::end(place)?;
            Ok(done.then(|| format!("left the register {old}, which was replaced")))
        }
        Some(Turn::Admit { cluster, node, voter, .. }) => {
            let seat = Seat { voter: VoterId(voter.0), node: StoreNode(node.0) };
            admit(place, me, cluster, seat)
        }
    }
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
    let archive = place.state.join(format!("register.replaced-{old}"));
    if !archive.exists() {
        fs::hard_link(&path, &archive)?;
    }
    fs::rename(&beside, &path)?;
    File::open(&place.state)?.sync_all()
}

/// This voter accepts the value that names both, alone, and the newcomer's record is written down beside it.
fn admit(place: &Place, me: NodeId, cluster: ClusterId, seat: Seat) -> io::Result<Option<String>> {
    let (mut file, kept) = open(&place.record())?;
    let own = match kept.standing {
        Standing::Seated(record) if record.cluster == cluster_of(cluster) => record,
        Standing::Seated(_) | Standing::Newcomer { .. } | Standing::Vacant => {
            Turn::end(place)?;
            return Ok(None);
        }
    };
    if own.value.has_voter(seat.voter) {
        return Ok(None);
    }
    let mut value = own.value.clone();
    value.version += 1;
    value.voters.retain(|other| other.voter == own.voter);
    value.voters.push(seat);
    let ballot = Ballot {
        n: own.promised.n.max(own.accepted.n) + 1,
        node: StoreNode(me.0),
        run: random::draw_half()?,
    };
    let record = |voter| Record {
        cluster: own.cluster,
        voter,
        promised: ballot,
        accepted: ballot,
        value: value.clone(),
    };
    let theirs = Some(Box::new(record(seat.voter)));
    let turn = Turn::Admit {
        cluster,
        node: NodeId(seat.node.0),
        voter: Hex(seat.voter.0),
        record: theirs,
    };
    turn.write(place)?;
    let high = kept.high.max(value.version);
    file.store(&Kept { standing: Standing::Seated(record(own.voter)), high })?;
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
    use regent_store::cell::Value;

    fn place(dir: &Scratch) -> Place {
        let place = Place::under(dir.path());
        fs::create_dir_all(&place.state).unwrap();
        place
    }

    fn seat(voter: u64, node: u16) -> Seat {
        Seat { voter: VoterId(voter), node: StoreNode(node) }
    }

    fn store(place: &Place, cluster: u128, seats: &[Seat], version: u64) {
        let records = initial_records(cluster_of(ClusterId(cluster)), seats, b"state");
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
        let turn = Turn::Alone { old: old_id, cluster, voter: Hex(5), state: "new".into() };
        turn.write(&place).unwrap();
        let told = carry_out(&place, NodeId(1)).unwrap().unwrap();
        assert!(told.contains("replaced"), "{told}");
        let new = value(&place);
        assert_eq!((new.version, new.voters, new.bytes), (1, vec![seat(5, 1)], b"new".to_vec()));
        assert_eq!(stored(&place.record()).high, 0);
        let archive = place.state.join(format!("register.replaced-{old_id}"));
        assert_eq!(stored(&archive), old);
        assert_eq!(Turn::read(&place).unwrap(), None);
        // A second time, as after a crash before the end was written.
        turn.write(&place).unwrap();
        assert_eq!(carry_out(&place, NodeId(1)).unwrap(), None);
        assert_eq!(value(&place).voters, [seat(5, 1)]);
    }

    #[test]
    fn a_node_that_leaves_waits_with_an_empty_seat() {
        let dir = Scratch::new("leave");
        let place = place(&dir);
        store(&place, 7, &[seat(1, 1), seat(2, 2)], 9);
        Turn::Leave { old: ClusterId(6) }.write(&place).unwrap();
        assert_eq!(carry_out(&place, NodeId(1)).unwrap(), None, "another register is not left");
        Turn::Leave { old: ClusterId(7) }.write(&place).unwrap();
        assert!(carry_out(&place, NodeId(1)).unwrap().is_some());
        assert_eq!(stored(&place.record()).standing, Standing::Vacant);
    }

    #[test]
    fn both_start_with_the_value_that_names_them_and_a_crash_between_changes_nothing() {
        let dir = Scratch::new("admit");
        let place = place(&dir);
        store(&place, 7, &[seat(1, 1)], 9);
        let cluster = ClusterId(7);
        let turn = Turn::Admit { cluster, node: NodeId(2), voter: Hex(3), record: None };
        turn.write(&place).unwrap();
        assert!(carry_out(&place, NodeId(1)).unwrap().is_some());
        let new = value(&place);
        assert_eq!((new.version, new.voters.as_slice()), (10, &[seat(1, 1), seat(3, 2)][..]));
        let Some(Turn::Admit { record: Some(record), .. }) = Turn::read(&place).unwrap() else {
            panic!("the newcomer's record is not kept");
        };
        assert_eq!((record.value, record.voter), (new.clone(), VoterId(3)));
        assert!(record.accepted > Ballot::INITIAL);
        assert_eq!(record.promised, record.accepted);
        assert_eq!(carry_out(&place, NodeId(1)).unwrap(), None, "once is enough");
        assert_eq!(value(&place), new);
        // A voter that lost its record is another one.
        Turn::Admit { cluster, node: NodeId(2), voter: Hex(4), record: None }
            .write(&place)
            .unwrap();
        carry_out(&place, NodeId(1)).unwrap().unwrap();
        assert_eq!(value(&place).voters, [seat(1, 1), seat(4, 2)]);
    }
}

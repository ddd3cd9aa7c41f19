//! Thing by thing: is it the same on both sides, or does it surely differ?
//!
//! One look is enough for a thing that is the same. One that is not is looked at again, with pauses, until it was seen
//! the same, or has stood still on both sides, differing, [`CONFIRM`] times. One that does not stand still is locked
//! here for a moment, which makes one look exact: this is done to single rows only.

use super::look::{Key, Look, Part, Seen, Trouble};
use super::read::Fault;
use super::sides::{Looked, Sides, row};
use crate::database::peer::Peer;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// So many looks, one after the other, must show the same difference. A row that goes to and fro between two values
/// looks so once in four times, and then once in eight: in all of them, once in ten million times.
const CONFIRM: u32 = 8;
/// After so many it is not waited any longer that a thing stands still.
const LOOKS: u32 = 20;
/// So many looks, one after the other, during each of which a commit waits for the standby.
const UNSETTLED: u32 = 4;
/// So often a lock is tried, or its answer waited for.
const LOCKS: u32 = 5;
/// Between two looks; it grows.
const PAUSE: Duration = Duration::from_millis(25);
/// Up to this for rows, and up to the next for what may be seen before it is logged: definitions, and rows that no
/// transaction holds together.
const PAUSE_ROWS: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_millis(400);

/// What came out.
pub(super) enum Proof {
    /// All of it is the same: this many things.
    Same(u64),
    /// There are more things here than can be listed: halve it.
    Grown,
    /// Not all of it.
    Other(Other),
}

/// What is not the same, or not known to be.
#[derive(Default)]
pub(super) struct Other {
    /// These differ: what is here, what is there.
    pub(super) differing: BTreeMap<Key, [Option<String>; 2]>,
    /// There are more of them there.
    pub(super) more: bool,
    /// These did not stand still for long enough.
    pub(super) restless: Vec<Key>,
}

/// A thing that was not seen the same.
struct Doubt {
    sides: [Option<String>; 2],
    /// It stood so this many times, one after the other.
    looks: u32,
    /// It had stood otherwise before.
    moved: bool,
}

/// What is known of all things of a look.
#[derive(Default)]
struct Known {
    same: BTreeSet<Key>,
    doubts: BTreeMap<Key, Doubt>,
    more: bool,
}

/// Looks until it is known. `lockable`: these are rows of this table, whose engine locks single ones.
pub(super) async fn prove<P: Peer>(
    sides: &mut Sides<'_, P>,
    look: &Look,
    lockable: Option<&Part>,
) -> Result<Proof, Fault> {
    let mut known = Known::default();
    let longest = if lockable.is_some() { PAUSE_ROWS } else { PAUSE_MAX };
    let mut pause = PAUSE;
    let mut unsettled = 0;
    for _ in 0..LOOKS {
        match sides.look(look).await? {
            Looked::Same(seen) => {
                let rows = seen.rows();
                return Ok(if seen.list().more { Proof::Grown } else { Proof::Same(rows) });
            }
            Looked::Other { ours, theirs, again, settled } => {
                let rows = again.rows();
                if !known.take([ours, theirs, again], settled) {
                    return Ok(Proof::Grown);
                }
                unsettled = if settled { 0 } else { unsettled + 1 };
                if known.doubts.is_empty() && !known.more {
                    return Ok(Proof::Same(rows));
                }
            }
        }
        if known.is_decided(lockable.is_some()) || unsettled >= UNSETTLED {
            break;
        }
        sides.pause(pause).await?;
        pause = (pause * 2).min(longest);
    }
    if unsettled > 0 && !known.is_decided(lockable.is_some()) {
        return Err(Fault::Stop(
            "a commit on the active waits for the standby, which may have applied it".into(),
        ));
    }
    Ok(Proof::Other(known.decide(sides, lockable).await?))
}

impl Known {
    /// Takes three looks in. False if not all that is here was listed.
    fn take(&mut self, looks: [Seen; 3], settled: bool) -> bool {
        let [ours, theirs, again] = looks.map(Seen::list);
        if ours.more || again.more {
            return false;
        }
        let [a, b, a2] = [&ours, &theirs, &again].map(|list| list.map());
        self.more = theirs.more;
        let old: Vec<Key> = self.doubts.keys().cloned().collect();
        let keys: BTreeSet<&Key> =
            a.keys().chain(b.keys()).chain(a2.keys()).copied().chain(&old).collect();
        for key in keys {
            // What is beyond the listed ones there is not known.
            if self.same.contains(key) || (theirs.more && !b.contains_key(key)) {
                continue;
            }
            let [a, b, a2] =
                [&a, &b, &a2].map(|map| map.get(key).map(|thing| (*thing).to_string()));
            if b == a || b == a2 {
                self.doubts.remove(key);
                self.same.insert(key.clone());
            } else if a != a2 || settled {
                self.doubt(key, [a, b], a2);
            } else {
                let unknown = Doubt { sides: [a, b], looks: 0, moved: false };
                self.doubts.entry(key.clone()).or_insert(unknown);
            }
        }
        true
    }

    fn doubt(&mut self, key: &Key, sides: [Option<String>; 2], again: Option<String>) {
        let stands = u32::from(sides[0] == again);
        let (looks, moved) = match self.doubts.get(key) {
            None => (stands, stands == 0),
            Some(known) if stands == 1 && known.sides == sides => (known.looks + 1, known.moved),
            Some(_) => (stands, true),
        };
        self.doubts.insert(key.clone(), Doubt { sides, looks, moved });
    }

    /// Nothing is on its way to being confirmed any more.
    fn is_decided(&self, lockable: bool) -> bool {
        let decided = |doubt: &Doubt| doubt.is_confirmed(lockable) || (doubt.moved && lockable);
        !self.doubts.is_empty() && self.doubts.values().all(decided)
    }

    async fn decide<P: Peer>(
        self,
        sides: &mut Sides<'_, P>,
        lockable: Option<&Part>,
    ) -> Result<Other, Fault> {
        let mut other = Other { more: self.more, ..Other::default() };
        for (key, doubt) in self.doubts {
            if doubt.is_confirmed(lockable.is_some()) {
                other.differing.insert(key, doubt.sides);
                continue;
            }
            let exact = match lockable {
                Some(part) => exact(sides, part, &key).await?,
                None => None,
            };
            match exact {
                None => other.restless.push(key),
                Some([ours, theirs]) if ours == theirs => {}
                Some(exact) => {
                    other.differing.insert(key, exact);
                }
            }
        }
        Ok(other)
    }
}

impl Doubt {
    /// What moved may stand still by chance while it is looked at, and is locked if it can be.
    fn is_confirmed(&self, lockable: bool) -> bool {
        match (self.moved, lockable) {
            (false, _) => self.looks >= CONFIRM,
            (true, false) => self.looks >= 2 * CONFIRM,
            (true, true) => false,
        }
    }
}

/// One row, under a lock.
async fn exact<P: Peer>(
    sides: &mut Sides<'_, P>,
    part: &Part,
    key: &Key,
) -> Result<Option<[Option<String>; 2]>, Fault> {
    for _ in 0..LOCKS {
        match sides.look_locked(&row(part, key)).await {
            Ok(Some(seen)) => {
                let thing = |seen: Seen| seen.list().things.pop().map(|(_, thing)| thing);
                return Ok(Some(seen.map(thing)));
            }
            Ok(None) => sides.pause(PAUSE_MAX).await?,
            Err(fault @ (Fault::Stop(_) | Fault::Trouble(Trouble::Gone { .. }))) => {
                return Err(fault);
            }
            Err(Fault::Trouble(Trouble::Slow | Trouble::Locked | Trouble::Late { .. })) => {}
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::super::look::List;
    use super::*;

    fn seen(things: &[(&str, &str)]) -> Seen {
        let thing = |(key, thing): &(&str, &str)| (vec![(*key).to_string()], (*thing).to_string());
        Seen::List(List { things: things.iter().map(thing).collect(), more: false })
    }

    fn doubts(known: &Known) -> Vec<(&str, u32, bool)> {
        known.doubts.iter().map(|(key, d)| (key[0].as_str(), d.looks, d.moved)).collect()
    }

    #[test]
    fn a_thing_that_was_once_the_same_is_the_same() {
        let mut known = Known::default();
        // 1 is new on both, 2 has not come there yet, 3 counts on, 4 differs, 5 is there only.
        let looks = [
            seen(&[("2", "x"), ("3", "7"), ("4", "a")]),
            seen(&[("1", "n"), ("2", "x"), ("3", "8"), ("4", "b"), ("5", "e")]),
            seen(&[("1", "n"), ("2", "y"), ("3", "9"), ("4", "a")]),
        ];
        assert!(known.take(looks, true));
        assert_eq!(doubts(&known), [("3", 0, true), ("4", 1, false), ("5", 1, false)]);
        assert!(!known.is_decided(true));
        let looks = [
            seen(&[("3", "11"), ("4", "a")]),
            seen(&[("3", "11"), ("4", "b")]),
            seen(&[("4", "a")]),
        ];
        assert!(known.take(looks, true));
        assert_eq!(doubts(&known), [("4", 2, false)]);
    }

    #[test]
    fn only_what_stands_still_on_both_sides_is_confirmed() {
        let mut known = Known::default();
        let looks = |b: &str| [seen(&[("1", "a")]), seen(&[("1", b)]), seen(&[("1", "a")])];
        for _ in 0..CONFIRM - 1 {
            assert!(known.take(looks("b"), true));
        }
        assert!(known.take(looks("b"), false), "what is not settled does not count");
        assert_eq!(doubts(&known), [("1", CONFIRM - 1, false)]);
        assert!(!known.is_decided(true));
        assert!(known.take(looks("b"), true));
        assert!(known.is_decided(true) && known.is_decided(false));
        // What moved is locked, or looked at for longer.
        assert!(known.take(looks("c"), true));
        assert_eq!(doubts(&known), [("1", 1, true)]);
        assert!(known.is_decided(true) && !known.is_decided(false));
    }

    #[test]
    fn what_a_waiting_commit_may_explain_is_neither_the_same_nor_different() {
        let mut known = Known::default();
        let looks = || [seen(&[("1", "a")]), seen(&[("1", "b")]), seen(&[("1", "a")])];
        for _ in 0..2 * CONFIRM {
            assert!(known.take(looks(), false));
        }
        assert_eq!(doubts(&known), [("1", 0, false)]);
        assert!(!known.is_decided(true) && !known.is_decided(false));
    }
}

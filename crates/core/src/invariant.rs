//! What must hold at every instant, as predicates over one snapshot of the whole cluster (protocol section 8).
//!
//! Nothing in a node reads this: it is the judge. The snapshot is taken from outside by somebody who sees every
//! host at once (the simulator), so a predicate never asks what a node believes where it can ask what is so.

use crate::id::{Incarnation, NodeId};
use crate::state::{DataCopy, Phase, State};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// A set of writes, numbered densely in the order in which they were made anywhere.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct WriteSet {
    words: Vec<u64>,
}

impl WriteSet {
    /// Adds all of another.
    pub fn add(&mut self, other: &WriteSet) {
        if self.words.len() < other.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        for (word, more) in self.words.iter_mut().zip(&other.words) {
            *word |= more;
        }
    }

    /// Adds a write.
    pub fn insert(&mut self, id: u32) {
        let word = (id / 64) as usize;
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (id % 64);
    }

    /// Takes a write out.
    pub fn remove(&mut self, id: u32) {
        if let Some(word) = self.words.get_mut((id / 64) as usize) {
            *word &= !(1 << (id % 64));
        }
    }

    /// Is it in?
    pub fn contains(&self, id: u32) -> bool {
        self.words.get((id / 64) as usize).is_some_and(|word| word & (1 << (id % 64)) != 0)
    }

    /// The first write of this set that none of the others has.
    pub fn first_missing(&self, others: &[&WriteSet]) -> Option<u32> {
        self.words.iter().enumerate().find_map(|(place, word)| {
            let covered = others
                .iter()
                .fold(0, |bits, other| bits | other.words.get(place).copied().unwrap_or(0));
            let missing = word & !covered;
            (missing != 0).then(|| place as u32 * 64 + missing.trailing_zeros())
        })
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// None at all?
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }
}

/// One instant of the whole cluster.
#[derive(Clone, Copy, Debug)]
pub struct Cluster<'a> {
    /// The time that no host knows, in nanoseconds.
    pub now: u64,
    /// The newest decided value of the register.
    pub register: &'a State,
    /// The decided value before it.
    pub before: Option<&'a State>,
    /// What swaps that expect the newest value would make of it, if they won.
    pub pending: &'a [State],
    /// Every write that any database ever answered with OK, or showed while its node served (D9).
    pub acknowledged: &'a WriteSet,
    /// The nodes that run resources.
    pub nodes: &'a [NodeView<'a>],
    /// What was taken out of logs in this step.
    pub removals: &'a [Removal],
    /// The data are shared: no node has a database of its own.
    pub shared: bool,
    /// What nodes began to start on shared data in this step.
    pub starts: &'a [Start],
}

/// One node, as it is.
#[derive(Clone, Copy, Debug)]
pub struct NodeView<'a> {
    /// Which.
    pub node: NodeId,
    /// Its clocks stood still since the proposal that its right is counted from was dated (C7): for what that right
    /// had left it is outside the assumption.
    pub thawed: bool,
    /// The kernel's two slots.
    pub gate: [SlotView; 2],
    /// By its own account a right of its own runs and has started.
    pub rules: bool,
    /// Its database.
    pub database: DatabaseView<'a>,
    /// Something on it uses the shared data: a process of a unit, at work or frozen, or a file that is open.
    pub shared: bool,
    /// Every vital step of its stack on shared data is up.
    pub whole: bool,
}

impl NodeView<'_> {
    /// Packets of the VIP pass: some slot has both a living ticket and the VIP in `held`.
    pub fn is_open(&self) -> bool {
        self.gate.iter().any(SlotView::is_open)
    }

    /// C7: the same by a ticket that was armed since its clocks last stood still.
    pub fn is_open_awake(&self) -> bool {
        self.gate.iter().any(|slot| slot.is_open() && slot.thawed.is_none())
    }

    fn rules_awake(&self) -> bool {
        self.rules && !self.thawed
    }

    fn copy(&self, incarnation: Incarnation) -> DataCopy {
        DataCopy { node: self.node, incarnation }
    }

    fn is_living(&self, copy: DataCopy) -> bool {
        self.database.living.is_some_and(|incarnation| self.copy(incarnation) == copy)
    }
}

/// One slot of the kernel's gate.
#[derive(Clone, Copy, Debug, Default)]
pub struct SlotView {
    /// The VIP's ticket has not timed out.
    pub ticket: bool,
    /// The VIP is in `held`.
    pub held: bool,
    /// When it was last armed.
    pub armed: u64,
    /// A swap of this node, as holder, sent after that, is decided.
    pub earned: bool,
    /// The host's clocks stood still since it was armed.
    pub thawed: Option<Thawed>,
}

/// A ticket over a time in which the clocks of its host stood still (C7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Thawed {
    /// How long they did, since it was armed.
    pub stood: u64,
    /// The ttl of the first proposal that was sent under it, which it may not outlast.
    pub ttl: u64,
}

impl SlotView {
    fn is_open(&self) -> bool {
        self.ticket && self.held
    }
}

/// One database, as it is.
#[derive(Clone, Copy, Debug)]
pub struct DatabaseView<'a> {
    /// The server runs.
    pub up: bool,
    /// Clients may write.
    pub writable: bool,
    /// Commits that are begun and not answered.
    pub open: usize,
    /// Commits do not wait.
    pub loose: bool,
    /// A replica is attached whose confirmations would count.
    pub confirmed_by: Option<NodeId>,
    /// The incarnation of its data, if that stay is unbroken.
    pub living: Option<Incarnation>,
    /// What its data have: by its log, or from before the log began.
    pub logged: &'a WriteSet,
    /// What it received and has not applied.
    pub received: &'a WriteSet,
    /// What its tables show.
    pub visible: &'a WriteSet,
}

impl DatabaseView<'_> {
    /// Could it answer a commit with OK?
    pub fn is_able(&self) -> bool {
        self.up && (self.writable || self.open > 0) && (self.loose || self.confirmed_by.is_some())
    }
}

/// Something was taken out of a log.
#[derive(Clone, Copy, Debug)]
pub struct Removal {
    /// Where.
    pub node: NodeId,
    /// To become like whom.
    pub towards: DataCopy,
    /// All of it had been saved and counted before.
    pub saved: bool,
}

/// A node begins to start something on shared data.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Which.
    pub node: NodeId,
    /// A record that it rules under this grant was decided before.
    pub ruled: bool,
    /// A record that the data are in use by it under this grant was decided before.
    pub occupied: bool,
}

/// A property that does not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// `V1` to `V11`.
    pub id: &'static str,
    /// Who and what.
    pub text: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.id, self.text)
    }
}

/// The answer of a predicate.
pub type Verdict = Result<(), Violation>;

/// V1 to V10, in order; the first that does not hold.
pub fn check(cluster: &Cluster<'_>) -> Verdict {
    v1(cluster)?;
    v2(cluster)?;
    v3(cluster)?;
    v4(cluster)?;
    v5(cluster)?;
    v6(cluster)?;
    v7(cluster)?;
    v8(cluster)?;
    v9(cluster)?;
    v10(cluster)
}

/// V1: not two open gates; at most one node's right running and started (S1, S2).
pub fn v1(cluster: &Cluster<'_>) -> Verdict {
    let open = cluster.nodes.iter().filter(|node| node.is_open_awake()).count();
    let rules = cluster.nodes.iter().filter(|node| node.rules_awake()).count();
    holds("V1", open < 2, || format!("{open} gates are open"))?;
    holds("V1", rules < 2, || format!("the rights of {rules} nodes run and have started"))
}

/// V2: not two databases able to acknowledge (S1).
pub fn v2(cluster: &Cluster<'_>) -> Verdict {
    let able = cluster.nodes.iter().filter(|node| node.database.is_able()).count();
    holds("V2", able < 2, || format!("{able} databases can acknowledge"))
}

/// V3: a node that serves has every acknowledged write applied (S3).
pub fn v3(cluster: &Cluster<'_>) -> Verdict {
    let serving = cluster.nodes.iter().filter(|n| n.is_open_awake() && n.database.up);
    for node in serving {
        covers("V3", cluster, node, "serves and does not show", &[node.database.visible])?;
    }
    Ok(())
}

/// V4: every acknowledged write is in the data of `sync.writer` while its recorded incarnation lives.
pub fn v4(cluster: &Cluster<'_>) -> Verdict {
    let writer = cluster.register.sync.writer;
    match cluster.nodes.iter().find(|node| node.is_living(writer)) {
        Some(node) => {
            covers("V4", cluster, node, "is the writer and lacks", &[node.database.logged])
        }
        None => Ok(()),
    }
}

/// V5: if `with` names a living incarnation, every acknowledged write is there, received or applied.
pub fn v5(cluster: &Cluster<'_>) -> Verdict {
    let Some(with) = cluster.register.sync.with else { return Ok(()) };
    match cluster.nodes.iter().find(|node| node.is_living(with)) {
        Some(node) => {
            let sets = [node.database.logged, node.database.received];
            covers("V5", cluster, node, "is recorded beside the writer and lacks", &sets)
        }
        None => Ok(()),
    }
}

/// V6: loose, and writable or a commit open, implies that the register's sync is (me, None), and no swap that says
/// otherwise can still win.
pub fn v6(cluster: &Cluster<'_>) -> Verdict {
    for node in cluster.nodes {
        let database = &node.database;
        if !(database.up && database.loose && (database.writable || database.open > 0)) {
            continue;
        }
        let solo = |state: &State| state.sync.with.is_none() && state.sync.writer.node == node.node;
        holds("V6", solo(cluster.register), || {
            format!("{} is loose, and the register says {:?}", node.node, cluster.register.sync)
        })?;
        for state in cluster.pending {
            holds("V6", solo(state), || {
                format!("{} is loose, and a swap to {:?} may still win", node.node, state.sync)
            })?;
        }
    }
    Ok(())
}

/// V7: epochs grow, one holder per epoch; under a Free record no right runs, under a Ruling one only the holder's (S5).
pub fn v7(cluster: &Cluster<'_>) -> Verdict {
    let lease = cluster.register.lease;
    if let Some(before) = cluster.before.map(|state| state.lease) {
        let grows = lease.epoch > before.epoch
            || (lease.epoch == before.epoch && lease.holder == before.holder);
        holds("V7", grows, || {
            format!(
                "epoch {} of {} follows epoch {} of {}",
                lease.epoch, lease.holder, before.epoch, before.holder
            )
        })?;
    }
    let rightful = |node: &NodeView<'_>| match lease.phase {
        Phase::Free => false,
        Phase::Heir => true,
        Phase::Ruling => node.node == lease.holder,
    };
    let stray = cluster.nodes.iter().find(|n| n.rules_awake() && !rightful(n));
    holds("V7", stray.is_none(), || {
        let phase = lease.phase;
        let who = stray.map(|node| node.node).unwrap_or_default();
        format!("a right of {who} runs beside the record, {phase:?} of {}", lease.holder)
    })
}

/// V8: a gate is open only until its ticket was armed + ttl, and armed precedes sent, whatever the agent does. Where
/// clocks stood still, that time does not count: the ticket has left what it had (C7).
pub fn v8(cluster: &Cluster<'_>) -> Verdict {
    for node in cluster.nodes {
        for slot in node.gate.iter().filter(|slot| slot.is_open()) {
            let awake = Thawed { stood: 0, ttl: cluster.register.lease.ttl.0 };
            let Thawed { stood, ttl } = slot.thawed.unwrap_or(awake);
            let length = cluster.now - slot.armed - stood;
            holds("V8", length <= ttl, || {
                format!("{} answers {} us after arming", node.node, length / 1000)
            })?;
            holds("V8", slot.earned, || {
                format!("{} answers without a win that was sent after arming", node.node)
            })?;
        }
    }
    Ok(())
}

/// V9: shared data: units run only on the node in InUse, and never on two; they are started only under a grant in
/// which the node ruled, and with its use recorded before (S4).
pub fn v9(cluster: &Cluster<'_>) -> Verdict {
    use crate::state::Data;
    for node in cluster.nodes.iter().filter(|node| node.shared) {
        let recorded = match cluster.register.data {
            Data::Clear => false,
            Data::InUse { node: user, .. } => user == node.node,
        };
        holds("V9", recorded, || format!("{} uses shared data without a record", node.node))?;
    }
    for start in cluster.starts {
        holds("V9", start.ruled, || format!("{} starts before it ruled", start.node))?;
        holds("V9", start.occupied, || format!("{} starts before its use is known", start.node))?;
    }
    Ok(())
}

/// V10: nothing is removed from a log before its tail is saved and counted, and only towards `sync.writer` (S6).
pub fn v10(cluster: &Cluster<'_>) -> Verdict {
    for removal in cluster.removals {
        holds("V10", removal.saved, || {
            format!("{} lost a part of its log that was not saved", removal.node)
        })?;
        holds("V10", removal.towards == cluster.register.sync.writer, || {
            let writer = cluster.register.sync.writer;
            format!("{} went towards {:?}, not {writer:?}", removal.node, removal.towards)
        })?;
    }
    Ok(())
}

/// V11, at the end of a run whose faults are over: one node serves with a writable database, and two copies have
/// every acknowledged write.
pub fn v11(cluster: &Cluster<'_>) -> Verdict {
    if cluster.shared {
        return v11_shared(cluster);
    }
    let server = cluster
        .nodes
        .iter()
        .find(|n| n.is_open() && n.database.up && n.database.writable && n.database.is_able());
    let Some(server) = server else {
        return holds("V11", false, || String::from("nobody serves"));
    };
    holds("V11", cluster.register.lease.holder == server.node, || {
        format!("{} serves and does not hold", server.node)
    })?;
    holds("V11", cluster.register.sync.with.is_some(), || {
        format!("not in sync: {:?}", cluster.register.sync)
    })
}

/// V11 with shared data: the holder serves with every vital step up, under a record of its use.
fn v11_shared(cluster: &Cluster<'_>) -> Verdict {
    let Some(server) = cluster.nodes.iter().find(|node| node.is_open() && node.whole) else {
        return holds("V11", false, || {
            let State { lease, data, .. } = cluster.register;
            format!("nobody serves; epoch {} of {}, {data:?}", lease.epoch, lease.holder)
        });
    };
    holds("V11", cluster.register.lease.holder == server.node, || {
        format!("{} serves and does not hold", server.node)
    })?;
    holds("V11", server.shared, || format!("{} serves and runs nothing", server.node))
}

/// S1: at no instant do two nodes answer for the VIP, nor can two databases acknowledge.
pub fn s1(cluster: &Cluster<'_>) -> Verdict {
    v1(cluster)?;
    v2(cluster)
}

/// S2: a node clears before another's right begins.
pub fn s2(cluster: &Cluster<'_>) -> Verdict {
    let Some(ruler) = cluster.nodes.iter().find(|n| n.rules_awake()) else { return Ok(()) };
    let other = cluster.nodes.iter().find(|n| n.node != ruler.node && n.is_open_awake());
    holds("S2", other.is_none(), || format!("{} rules and another gate is open", ruler.node))
}

/// S3: an acknowledged write is never lost by a failover or a switchover.
pub fn s3(cluster: &Cluster<'_>) -> Verdict {
    v3(cluster)?;
    v4(cluster)?;
    v5(cluster)
}

/// S4: nothing is started on shared data unless the previous active is proven clear.
pub fn s4(cluster: &Cluster<'_>) -> Verdict {
    v9(cluster)
}

/// S5: every epoch has one holder, and epochs only grow.
pub fn s5(cluster: &Cluster<'_>) -> Verdict {
    v7(cluster)
}

/// S6: divergent data is saved, counted and reported before anything replaces it.
pub fn s6(cluster: &Cluster<'_>) -> Verdict {
    v10(cluster)
}

fn covers(
    id: &'static str,
    cluster: &Cluster<'_>,
    node: &NodeView<'_>,
    what: &str,
    sets: &[&WriteSet],
) -> Verdict {
    match cluster.acknowledged.first_missing(sets) {
        None => Ok(()),
        Some(write) => Err(Violation { id, text: format!("{} {what} write {write}", node.node) }),
    }
}

fn holds(id: &'static str, good: bool, text: impl FnOnce() -> String) -> Verdict {
    if good { Ok(()) } else { Err(Violation { id, text: text() }) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{AttemptId, ClusterId, Epoch};
    use crate::state::{Data, FORMAT, Intent, Lease, Sync, Timing};
    use crate::time::Span;
    use alloc::collections::BTreeMap;

    const A: DataCopy = DataCopy { node: NodeId(1), incarnation: Incarnation(10) };
    const B: DataCopy = DataCopy { node: NodeId(2), incarnation: Incarnation(20) };
    static NONE: WriteSet = WriteSet { words: Vec::new() };

    fn state(phase: Phase, sync: Sync) -> State {
        let lease = Lease {
            epoch: Epoch(3),
            holder: A.node,
            phase,
            ttl: Span::millis(700),
            by: AttemptId::default(),
        };
        State {
            replaces: None,
            format: FORMAT,
            cluster: ClusterId(1),
            lease,
            sync,
            data: Data::Clear,
            intent: Intent::default(),
            members: BTreeMap::new(),
            timing: Timing { ttl: lease.ttl, margin: Span::millis(90), drift_ppm: 10_000 },
            history: Vec::new(),
            kept: Default::default(),
        }
    }

    fn node(copy: DataCopy, writes: &WriteSet) -> NodeView<'_> {
        let database = DatabaseView {
            up: true,
            writable: false,
            open: 0,
            loose: false,
            confirmed_by: None,
            living: Some(copy.incarnation),
            logged: writes,
            received: &NONE,
            visible: writes,
        };
        let gate = [SlotView::default(); 2];
        NodeView {
            node: copy.node,
            thawed: false,
            gate,
            rules: false,
            database,
            shared: false,
            whole: false,
        }
    }

    fn open() -> SlotView {
        SlotView { ticket: true, held: true, armed: 0, earned: true, thawed: None }
    }

    fn cluster<'a>(
        register: &'a State,
        nodes: &'a [NodeView<'a>],
        acknowledged: &'a WriteSet,
    ) -> Cluster<'a> {
        let now = Span::millis(100).0;
        Cluster {
            now,
            register,
            before: None,
            pending: &[],
            acknowledged,
            nodes,
            removals: &[],
            shared: false,
            starts: &[],
        }
    }

    fn some_writes() -> WriteSet {
        let mut writes = WriteSet::default();
        writes.insert(3);
        writes.insert(70);
        writes
    }

    fn id(verdict: Verdict) -> &'static str {
        verdict.err().map_or("none", |violation| violation.id)
    }

    #[test]
    fn a_write_set_names_the_first_write_that_nobody_else_has() {
        let writes = some_writes();
        let mut other = WriteSet::default();
        other.insert(3);
        assert_eq!(writes.first_missing(&[&other]), Some(70));
        assert_eq!(writes.first_missing(&[&other, &writes]), None);
        assert_eq!((writes.len(), other.contains(3), other.contains(70)), (2, true, false));
        other.remove(3);
        assert!(other.is_empty());
        other.add(&writes);
        assert_eq!(other, writes);
    }

    #[test]
    fn two_open_gates_break_v1_unless_one_was_paused() {
        let register = state(Phase::Ruling, Sync { writer: A, with: Some(B) });
        let mut nodes = [node(A, &NONE), node(B, &NONE)];
        nodes[0].gate[0] = open();
        assert_eq!(id(check(&cluster(&register, &nodes, &NONE))), "none");
        nodes[1].gate[1] = open();
        assert_eq!(id(check(&cluster(&register, &nodes, &NONE))), "V1");
        nodes[1].gate[1].thawed = Some(Thawed { stood: 0, ttl: Span::millis(700).0 });
        assert_eq!(id(check(&cluster(&register, &nodes, &NONE))), "none");
        // It arms the other slot: what was armed after the thaw counts in full.
        nodes[1].gate[0] = open();
        assert_eq!(id(check(&cluster(&register, &nodes, &NONE))), "V1");
    }

    #[test]
    fn a_thawed_heir_rules_for_what_its_right_had_left_and_its_next_win_counts_in_full() {
        let register = state(Phase::Heir, Sync { writer: A, with: Some(B) });
        let mut nodes = [node(A, &NONE), node(B, &NONE)];
        (nodes[0].rules, nodes[1].rules, nodes[1].thawed) = (true, true, true);
        assert_eq!(id(check(&cluster(&register, &nodes, &NONE))), "none");
        nodes[1].thawed = false;
        assert_eq!(id(check(&cluster(&register, &nodes, &NONE))), "V1");
    }

    #[test]
    fn a_thawed_gate_answers_for_what_its_ticket_had_left() {
        let register = state(Phase::Ruling, Sync { writer: A, with: Some(B) });
        let mut nodes = [node(A, &NONE), node(B, &NONE)];
        let thawed = Thawed { stood: Span::millis(5_000).0, ttl: Span::millis(1_400).0 };
        nodes[1].gate[0] = SlotView { thawed: Some(thawed), ..open() };
        let after = |ms| Cluster { now: Span::millis(ms).0, ..cluster(&register, &nodes, &NONE) };
        assert_eq!(id(v8(&after(6_400))), "none");
        assert_eq!(id(v8(&after(6_401))), "V8");
        nodes[1].gate[0].earned = false;
        assert_eq!(
            id(v8(&Cluster { now: thawed.stood, ..cluster(&register, &nodes, &NONE) })),
            "V8"
        );
    }

    #[test]
    fn a_thawed_node_has_no_leave_with_data() {
        let register = state(Phase::Ruling, Sync { writer: A, with: None });
        let mut nodes = [node(A, &NONE), node(B, &NONE)];
        (nodes[1].rules, nodes[1].thawed) = (true, true);
        (nodes[1].database.writable, nodes[1].database.loose) = (true, true);
        assert_eq!(id(check(&cluster(&register, &nodes, &NONE))), "V6");
        (nodes[1].database.writable, nodes[1].shared) = (false, true);
        assert_eq!(id(check(&cluster(&register, &nodes, &NONE))), "V9");
    }

    #[test]
    fn ticket_and_held_must_stand_in_the_same_slot() {
        let mut view = node(A, &NONE);
        view.gate = [
            SlotView { ticket: true, ..SlotView::default() },
            SlotView { held: true, ..SlotView::default() },
        ];
        assert!(!view.is_open());
        view.gate[1].ticket = true;
        assert!(view.is_open());
    }

    #[test]
    fn two_databases_that_can_acknowledge_break_v2() {
        let register = state(Phase::Ruling, Sync { writer: A, with: None });
        let mut nodes = [node(A, &NONE), node(B, &NONE)];
        nodes[0].database.writable = true;
        nodes[0].database.loose = true;
        nodes[1].database.open = 1;
        assert_eq!(id(v2(&cluster(&register, &nodes, &NONE))), "none");
        nodes[1].database.confirmed_by = Some(A.node);
        assert_eq!(id(v2(&cluster(&register, &nodes, &NONE))), "V2");
    }

    #[test]
    fn a_lost_write_breaks_v3_v4_or_v5_by_where_it_is_missed() {
        let writes = some_writes();
        let register = state(Phase::Ruling, Sync { writer: A, with: Some(B) });
        let mut nodes = [node(A, &writes), node(B, &NONE)];
        assert_eq!(id(check(&cluster(&register, &nodes, &writes))), "V5");
        nodes[1].database.received = &writes;
        assert_eq!(id(check(&cluster(&register, &nodes, &writes))), "none");
        nodes[0].database.logged = &NONE;
        assert_eq!(id(check(&cluster(&register, &nodes, &writes))), "V4");
        nodes[1].gate[0] = open();
        assert_eq!(id(check(&cluster(&register, &nodes, &writes))), "V3");
        nodes[0].database.living = None;
        nodes[1].gate[0] = SlotView::default();
        assert_eq!(id(check(&cluster(&register, &nodes, &writes))), "none");
    }

    #[test]
    fn loose_needs_a_solo_record_that_no_pending_swap_can_undo() {
        let solo = state(Phase::Ruling, Sync { writer: A, with: None });
        let joined = state(Phase::Ruling, Sync { writer: A, with: Some(B) });
        let mut nodes = [node(A, &NONE), node(B, &NONE)];
        nodes[0].database.loose = true;
        assert_eq!(id(v6(&cluster(&joined, &nodes, &NONE))), "none");
        nodes[0].database.writable = true;
        assert_eq!(id(v6(&cluster(&joined, &nodes, &NONE))), "V6");
        assert_eq!(id(v6(&cluster(&solo, &nodes, &NONE))), "none");
        let pending = [joined];
        let late = Cluster { pending: &pending, ..cluster(&solo, &nodes, &NONE) };
        assert_eq!(id(v6(&late)), "V6");
    }

    #[test]
    fn an_epoch_has_one_holder_and_only_the_holder_rules() {
        let sync = Sync { writer: A, with: None };
        let register = state(Phase::Ruling, sync);
        let mut other = register.clone();
        other.lease.holder = B.node;
        let mut nodes = [node(A, &NONE), node(B, &NONE)];
        let plain = cluster(&register, &nodes, &NONE);
        assert_eq!(id(v7(&Cluster { before: Some(&other), ..plain })), "V7");
        assert_eq!(id(v7(&Cluster { before: Some(&register), ..plain })), "none");
        nodes[1].rules = true;
        assert_eq!(id(v7(&cluster(&register, &nodes, &NONE))), "V7");
        nodes[1].rules = false;
        nodes[0].rules = true;
        assert_eq!(id(v7(&cluster(&register, &nodes, &NONE))), "none");
        let free = state(Phase::Free, sync);
        assert_eq!(id(v7(&cluster(&free, &nodes, &NONE))), "V7");
    }

    #[test]
    fn a_gate_past_its_ttl_or_without_a_win_breaks_v8() {
        let register = state(Phase::Ruling, Sync { writer: A, with: Some(B) });
        let mut nodes = [node(A, &NONE), node(B, &NONE)];
        nodes[0].gate[0] = open();
        let plain = cluster(&register, &nodes, &NONE);
        assert_eq!(id(v8(&plain)), "none");
        assert_eq!(id(v8(&Cluster { now: Span::millis(701).0, ..plain })), "V8");
        nodes[0].gate[0].earned = false;
        assert_eq!(id(v8(&cluster(&register, &nodes, &NONE))), "V8");
    }

    #[test]
    fn shared_data_is_used_only_under_a_record() {
        let mut register = state(Phase::Ruling, Sync { writer: A, with: Some(B) });
        let mut nodes = [node(A, &NONE), node(B, &NONE)];
        nodes[1].shared = true;
        assert_eq!(id(v9(&cluster(&register, &nodes, &NONE))), "V9");
        register.data = Data::InUse { node: B.node, epoch: Epoch(3), watchdog: None };
        assert_eq!(id(v9(&cluster(&register, &nodes, &NONE))), "none");
    }

    #[test]
    fn shared_data_are_started_on_only_by_who_ruled_and_had_recorded_its_use() {
        let register = state(Phase::Ruling, Sync { writer: A, with: None });
        let nodes = [node(A, &NONE), node(B, &NONE)];
        let plain = cluster(&register, &nodes, &NONE);
        let start = |ruled, occupied| [Start { node: A.node, ruled, occupied }];
        assert_eq!(id(v9(&Cluster { starts: &start(true, true), ..plain })), "none");
        assert_eq!(id(v9(&Cluster { starts: &start(false, true), ..plain })), "V9");
        assert_eq!(id(v9(&Cluster { starts: &start(true, false), ..plain })), "V9");
    }

    #[test]
    fn healed_with_shared_data_means_that_the_holder_serves_with_its_stack_up() {
        let register = state(Phase::Ruling, Sync { writer: A, with: None });
        let mut nodes = [node(A, &NONE), node(B, &NONE)];
        nodes[0].gate[0] = open();
        (nodes[0].shared, nodes[0].whole) = (true, false);
        let verdict = |nodes: &[NodeView<'_>]| {
            id(v11(&Cluster { shared: true, ..cluster(&register, nodes, &NONE) }))
        };
        assert_eq!(verdict(&nodes), "V11");
        nodes[0].whole = true;
        assert_eq!(verdict(&nodes), "none");
        nodes.swap(0, 1);
        nodes[0].node = A.node;
        nodes[1].node = B.node;
        assert_eq!(verdict(&nodes), "V11");
    }

    #[test]
    fn a_log_is_cut_only_after_saving_and_only_towards_the_writer() {
        let register = state(Phase::Ruling, Sync { writer: A, with: None });
        let nodes = [node(A, &NONE), node(B, &NONE)];
        let plain = cluster(&register, &nodes, &NONE);
        let cut = |towards, saved| [Removal { node: B.node, towards, saved }];
        assert_eq!(id(v10(&Cluster { removals: &cut(A, true), ..plain })), "none");
        assert_eq!(id(v10(&Cluster { removals: &cut(A, false), ..plain })), "V10");
        assert_eq!(id(v10(&Cluster { removals: &cut(B, true), ..plain })), "V10");
    }

    #[test]
    fn healed_means_served_by_the_holder_and_in_sync() {
        let register = state(Phase::Ruling, Sync { writer: A, with: Some(B) });
        let mut nodes = [node(A, &NONE), node(B, &NONE)];
        assert_eq!(id(v11(&cluster(&register, &nodes, &NONE))), "V11");
        nodes[0].gate[0] = open();
        nodes[0].database.writable = true;
        nodes[0].database.confirmed_by = Some(B.node);
        assert_eq!(id(v11(&cluster(&register, &nodes, &NONE))), "none");
    }
}

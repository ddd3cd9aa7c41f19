//! The exit code of `regent status` is decided by the API, over its own words, and once more by core, over what it
//! knows: both say the same of the same status, whatever is wrong in it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use regent_agent::config;
use regent_agent::status::{Frame, Heard};
use regent_api::exit::Exit;
use regent_core::health::{Health, Subject, Weight};
use regent_core::id::{AttemptId, ClusterId, Epoch, Incarnation, NodeId, RunId, Version};
use regent_core::node::{NodeStatus, PeerStatus};
use regent_core::observe::{
    Ailment, DatabaseFacts, DatabaseReport, Position, Report, ServiceReport, Thread, UnitState,
};
use regent_core::role::Role;
use regent_core::state::{Data, DataCopy, FORMAT, Intent, Lease, Phase, State, Sync, Timing};
use regent_core::time::Span;
use std::collections::BTreeMap;

const ME: NodeId = NodeId(1);
const PEER: NodeId = NodeId(2);
const WITNESS: NodeId = NodeId(3);

fn state() -> State {
    let copy = |node, incarnation| DataCopy { node, incarnation: Incarnation(incarnation) };
    let ttl = Span::millis(700);
    State {
        format: FORMAT,
        cluster: ClusterId(7),
        replaces: None,
        lease: Lease {
            epoch: Epoch(1),
            holder: ME,
            phase: Phase::Ruling,
            ttl,
            by: AttemptId::default(),
        },
        sync: Sync { writer: copy(ME, 11), with: Some(copy(PEER, 22)) },
        data: Data::Clear,
        intent: Intent::default(),
        members: BTreeMap::new(),
        timing: Timing { ttl, margin: Span::millis(90), drift_ppm: 10_000 },
        history: Vec::new(),
        kept: Default::default(),
    }
}

fn services() -> Vec<ServiceReport> {
    let well = ServiceReport {
        unit: UnitState::Up { start: 1 },
        health: Health::Passing,
        cause: None,
        given_up: false,
    };
    vec![well.clone(), well]
}

fn facts() -> DatabaseFacts {
    let json = serde_json::json!({
        "start": 1, "read_only": false, "strict": true, "waiting": 0, "confirming": 1,
        "receiver": "Stopped", "applier": "Stopped", "source": null, "drained": true, "end": "0-1-1",
        "applied": "0-1-1", "shows": null, "unconfirmed": 0, "incarnation": null, "mark": false, "broken": false,
    });
    serde_json::from_value(json).unwrap()
}

fn report() -> Report {
    Report {
        node: PEER,
        run: RunId(9),
        n: 1,
        speaks: FORMAT,
        version: Version(5),
        epoch: Epoch(1),
        role: Role::Standby,
        serving: false,
        unable: None,
        database: Some(DatabaseReport {
            incarnation: Some(Incarnation(22)),
            start: 5,
            read_only: true,
            strict: false,
            receiver: Thread::Running,
            applier: Thread::Running,
            source: Some(ME),
            applied: Position(String::new()),
            shows: None,
            confirms: true,
            behind: None,
            backlog: 0,
            renewed: false,
            held: None,
        }),
        stack: None,
        services: services(),
        ailments: Vec::new(),
        concerns: Vec::new(),
        link: None,
        configuration: 0,
        leaving: false,
        distrusts: None,
        comparison: None,
        look_for: None,
        moving_to: None,
    }
}

/// An active node in sync, with nothing wrong.
fn healthy() -> NodeStatus {
    NodeStatus {
        role: Role::Active,
        serving: true,
        reasons: Vec::new(),
        view: Some((Version(5), state())),
        right_left: None,
        wait_left: None,
        database: Some(facts()),
        stack: None,
        services: services(),
        probes: Vec::new(),
        ailments: Vec::new(),
        concerns: Vec::new(),
        comparison: None,
        comparison_stopped: None,
        copy_fails: None,
        pause_left: None,
        maintenance_left: BTreeMap::new(),
        stopped: false,
        stranger: None,
        peers: vec![PeerStatus {
            node: PEER,
            report: Some(report()),
            age: Span::ZERO,
            reachable: true,
        }],
        blocked: None,
    }
}

fn ailment(weight: Weight) -> Ailment {
    let (probe, why) = ("disk-data".into(), "3 % free".into());
    Ailment { probe, subject: Subject::Host, weight, why }
}

/// What changes in a status, on the node that is asked or in what its peer reports.
type Change = (&'static str, bool, fn(&mut NodeStatus));

fn theirs(status: &mut NodeStatus) -> &mut Report {
    status.peers[0].report.as_mut().unwrap()
}

/// And whether all is well with it.
fn changes() -> Vec<Change> {
    vec![
        ("nothing", true, |_| {}),
        ("a pause", true, |s| s.pause_left = Some(Span::millis(1))),
        ("maintenance", true, |s| theirs(s).role = Role::Maintenance),
        ("a warning", true, |s| s.ailments = vec![ailment(Weight::Degraded)]),
        ("starting", true, |s| theirs(s).services[0].health = Health::Unknown),
        ("no view", false, |s| s.view = None),
        ("solo", false, |s| s.view.as_mut().unwrap().1.sync.with = None),
        ("nobody active", false, |s| (s.role, s.serving) = (Role::Activating, false)),
        ("active and dark", false, |s| s.serving = false),
        ("isolated", false, |s| theirs(s).role = Role::Isolated),
        ("failed", false, |s| theirs(s).role = Role::Failed),
        ("unheard", false, |s| s.peers[0].reachable = false),
        ("a database down", false, |s| s.database = None),
        ("theirs down", false, |s| theirs(s).database = None),
        ("a service down", false, |s| s.services[1].unit = UnitState::Down),
        ("theirs fails", false, |s| theirs(s).services[0].health = Health::Failing),
        ("an unknown unit", false, |s| theirs(s).services[0].unit = UnitState::Unknown),
        ("a concern", false, |s| s.concerns = vec!["it is late".into()]),
        ("theirs", false, |s| theirs(s).concerns = vec!["it is late".into()]),
        ("a vital probe", false, |s| s.ailments = vec![ailment(Weight::Vital)]),
        ("theirs vital", false, |s| theirs(s).ailments = vec![ailment(Weight::Vital)]),
        ("stopped", false, |s| {
            s.stopped = true;
            (s.role, s.serving) = (Role::Stopped, false);
        }),
        ("the peer is active", true, |s| {
            (s.role, s.serving) = (Role::Standby, false);
            (theirs(s).role, theirs(s).serving) = (Role::Active, true);
        }),
    ]
}

#[test]
fn core_and_the_api_say_the_same_of_the_same_status() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/tests/config/good.toml");
    let settings = config::load(file.as_ref()).unwrap();
    let spec = settings.spec();
    for (what, well, change) in changes() {
        let mut core = healthy();
        change(&mut core);
        let heard = Heard::default();
        heard.note(WITNESS);
        let frame = Frame {
            settings: &settings,
            me: ME,
            heard: &heard,
            spec: &spec,
            configuration: 0,
            claimed: None,
            cluster: None,
        };
        // The peer's reports are heard, too.
        if core.peers[0].reachable {
            heard.note(PEER);
        }
        let (exit, found) = frame.of_node(&core, None, &BTreeMap::new()).verdict();
        assert_eq!((exit == Exit::Ok, core.trouble().is_none()), (well, well), "{what}: {found:?}");
    }
}

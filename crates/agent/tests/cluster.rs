//! Three agents in one process, on loopback, with the kernel and the database replaced: how a cluster comes to be,
//! renews, answers, and is found again after a restart.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::wildcard_enum_match_arm, reason = "any other answer fails the test")]

#[path = "../../adapters/tests/skipped/mod.rs"]
mod skipped;

use regent_adapters::database::peer::{PeerAnswer, PeerRequest};
use regent_agent::agent::{Ending, Life, live};
use regent_agent::events::Events;
use regent_agent::host::Gate;
use regent_agent::host::{Host, Later, Opened, Planned};
use regent_agent::inputs::Inputs;
use regent_agent::place::Place;
use regent_agent::transport::{Pace, Stream, Transport};
use regent_agent::{ca, config, tls};
use regent_api::call::{Ask, Call, FenceTested, RefusalKind, Reply};
use regent_api::frame;
use regent_api::history::History;
use regent_api::status::{Role, Status};
use regent_core::command::{
    AddressStep, DatabaseStep, Fenced, GateStep, LifeSigns, Outcome, ServiceStep, StepResult,
};
use regent_core::health::ProbeId;
use regent_core::id::{ClusterId, CommandId, Epoch, Incarnation, NodeId};
use regent_core::node::Input;
use regent_core::observe::{DatabaseFacts, Position, ServiceId, Thread, UnitState};
use regent_core::stack::StackStep;
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Two whole terms of a lease, which is 600 ms.
const TWO_TERMS: Duration = Duration::from_millis(1500);

/// A gate that lets nothing pass, and says it is done.
struct NoGate;

impl Gate for NoGate {
    fn step(&mut self, _: GateStep) -> Result<(), String> {
        Ok(())
    }
}

/// A host whose database is a handful of settings.
struct ToyHost {
    inputs: OnceLock<Inputs>,
    facts: Mutex<DatabaseFacts>,
}

impl ToyHost {
    fn new(start: u64) -> ToyHost {
        let facts = DatabaseFacts {
            start,
            read_only: true,
            strict: true,
            waiting: 0,
            confirming: 0,
            others: Box::default(),
            confirms: true,
            receiver: Thread::Stopped,
            applier: Thread::Stopped,
            source: None,
            unreached: None,
            behind: None,
            backlog: 0,
            locked: None,
            drift: Box::default(),
            comparison: None,
            renewed: false,
            shut_out: None,
            drained: true,
            end: Position("0-1-1".into()),
            applied: Position("0-1-1".into()),
            shows: None,
            unconfirmed: 0,
            was: Box::default(),
            incarnation: None,
            mark: false,
            broken: false,
        };
        ToyHost { inputs: OnceLock::new(), facts: Mutex::new(facts) }
    }

    fn say(&self, input: Input) {
        if let Some(inputs) = self.inputs.get() {
            inputs.put(input);
        }
    }

    fn done(&self, id: CommandId) {
        self.say(Input::Outcome { id, outcome: Outcome::Done });
    }
}

impl Host for ToyHost {
    fn gate(&self) -> Result<Opened, String> {
        Ok((Box::new(NoGate), [None, None]))
    }

    fn begin(&self, _: Option<ClusterId>, inputs: Inputs, _: Transport, _: Events) {
        inputs.put(Input::DatabaseUnit(UnitState::Up { start: 1 }));
        for service in 0..2 {
            let state = UnitState::Up { start: 1 };
            inputs.put(Input::ServiceUnit { service: ServiceId(service), state, asked: false });
        }
        self.inputs.set(inputs).ok();
    }

    fn address(&self, id: CommandId, _: AddressStep) {
        self.done(id);
    }

    fn database(&self, id: CommandId, step: DatabaseStep) {
        let mut facts = self.facts.lock().unwrap();
        let mut result = StepResult::Done;
        match step {
            DatabaseStep::TakeControl | DatabaseStep::Observe { .. } => {}
            DatabaseStep::Keep { incarnation, mark } => {
                facts.incarnation = Some(incarnation);
                facts.mark = mark;
            }
            DatabaseStep::Strict => facts.strict = true,
            DatabaseStep::Loose => facts.strict = false,
            DatabaseStep::ReadOnly => facts.read_only = true,
            DatabaseStep::Writable => facts.read_only = false,
            DatabaseStep::Start
            | DatabaseStep::Kill
            | DatabaseStep::Stop
            | DatabaseStep::Marker { .. }
            | DatabaseStep::StopReceiver
            | DatabaseStep::StartReceiver
            | DatabaseStep::EndSession { .. }
            | DatabaseStep::EndFollowing => {}
            DatabaseStep::Distrust { .. }
            | DatabaseStep::Rename { .. }
            | DatabaseStep::MayCopy { .. }
            | DatabaseStep::Verify { .. }
            | DatabaseStep::Compare { .. }
            | DatabaseStep::SaveTail { .. }
            | DatabaseStep::Rewind { .. }
            | DatabaseStep::Reclone { .. }
            | DatabaseStep::Follow { .. } => {
                result = StepResult::Failed("this database is a toy".into());
            }
        }
        let outcome = Outcome::Database { result, facts: Some(facts.clone()) };
        drop(facts);
        self.say(Input::Outcome { id, outcome });
    }

    fn service(&self, id: CommandId, _: ServiceId, _: ServiceStep) {
        self.done(id);
    }

    fn fence(&self, id: CommandId, node: NodeId, _: Epoch) {
        let outcome = Outcome::Fence(Fenced::Confirmed(format!("{node} is a toy, and off")));
        self.say(Input::Outcome { id, outcome });
    }

    fn fence_bound(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn test_fences(&self, node: Option<NodeId>, _: Epoch) -> Later<Vec<FenceTested>> {
        let tested = node.map(|node| FenceTested {
            node: node.to_string(),
            device: "toy".into(),
            works: true,
            answer: "on".into(),
            took_ms: 0,
        });
        Box::pin(async move { tested.into_iter().collect() })
    }

    fn serving(&self, _: bool) {}

    fn link(&self) -> Option<[u8; 6]> {
        None
    }

    fn peer_link(&self, _: NodeId, _: [u8; 6]) {}

    fn warnings(&self) -> BTreeMap<ProbeId, String> {
        BTreeMap::new()
    }

    fn stack(&self, _: CommandId, step: StackStep) {
        unreachable!("this cluster has no stack: {step:?}");
    }

    fn probe(&self, id: CommandId, _: NodeId) {
        let outcome = Outcome::Peer(LifeSigns::SILENT);
        self.say(Input::Outcome { id, outcome });
    }

    fn vip_used(&self) -> Later<Result<Option<String>, String>> {
        Box::pin(async { Ok(None) })
    }

    fn vip_answered(&self) -> Later<Result<Option<String>, String>> {
        Box::pin(async { Ok(None) })
    }

    fn plan(&self, _: bool) -> Later<Result<Planned, String>> {
        Box::pin(async { Err("this cluster has no stack".into()) })
    }

    fn prepare(&self, incarnation: Incarnation) -> Later<Result<(), String>> {
        self.facts.lock().unwrap().incarnation = Some(incarnation);
        Box::pin(async { Ok(()) })
    }

    fn restart_database(&self) -> Later<Result<(), String>> {
        Box::pin(async { Err("this database is a toy".into()) })
    }

    fn serve(&self, request: PeerRequest) -> Later<PeerAnswer> {
        if request == PeerRequest::Survey {
            return Box::pin(async { PeerAnswer::Survey { amiss: Vec::new() } });
        }
        Box::pin(async { PeerAnswer::Refused { reason: "this database is a toy".into() } })
    }

    fn send_backup(&self, _: Stream) -> Later<Result<(), String>> {
        Box::pin(async { Err("this database is a toy".into()) })
    }
}

/// One member, begun again whenever its life ends with that wish, as the process does.
struct Running {
    place: Place,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

struct Lab {
    root: PathBuf,
    settings: regent_config::Settings,
    text: String,
    facts: [DatabaseFacts; 2],
}

impl Lab {
    fn new(name: &str) -> Lab {
        let root = std::env::temp_dir().join(format!("regent-{name}-{}", std::process::id()));
        std::fs::remove_dir_all(&root).ok();
        // Held together, so that they differ; free again when this returns.
        let listeners: Vec<std::net::TcpListener> =
            (0..3).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<u16> = listeners.iter().map(|l| l.local_addr().unwrap().port()).collect();
        let text = std::fs::read_to_string(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/tests/config/good.toml"),
        )
        .unwrap()
        .replace("10.77.0.11\"", &format!("127.0.0.1:{}\"", ports[0]))
        .replace("10.77.0.12\"", &format!("127.0.0.1:{}\"", ports[1]))
        .replace("10.77.0.13\"", &format!("127.0.0.1:{}\"", ports[2]));
        let settings = config::parse("lab", &text).unwrap();
        ca::init(&root.join("ca")).unwrap();
        for member in &settings.members {
            let out = Place::under(&root.join(&member.name)).tls;
            ca::issue(&member.name, &root.join("ca"), &out).unwrap();
            std::fs::write(root.join(&member.name).join("regent.toml"), &text).unwrap();
        }
        let facts = [1, 2].map(|n| ToyHost::new(n).facts.into_inner().unwrap());
        Lab { root, settings, text, facts }
    }

    fn start(&self, name: &str) -> Running {
        let place = Place::under(&self.root.join(name));
        let (stop, stopped) = watch::channel(false);
        let settings = self.settings.clone();
        let (name, its_place) = (name.to_string(), place.clone());
        let its_file = self.root.join(&name).join("regent.toml");
        let toy = settings.member(&name).filter(|m| !m.witness).map(|m| {
            let host = ToyHost::new(1);
            *host.facts.lock().unwrap() = self.facts[usize::from(m.id.0) - 1].clone();
            host
        });
        let facts = toy.map(|t| t.facts.into_inner().unwrap());
        let thread = std::thread::spawn(move || {
            let kept = facts.map(|f| Arc::new(Mutex::new(f)));
            let mut hosts: Vec<Arc<ToyHost>> = Vec::new();
            loop {
                if let (Some(kept), Some(last)) = (&kept, hosts.last()) {
                    // The database outlives the agent.
                    *kept.lock().unwrap() = last.facts.lock().unwrap().clone();
                }
                let host = kept.as_ref().map(|kept| {
                    let host = ToyHost::new(1);
                    *host.facts.lock().unwrap() = kept.lock().unwrap().clone();
                    let host = Arc::new(host);
                    hosts.push(Arc::clone(&host));
                    host as Arc<dyn Host>
                });
                let known = settings.members.iter().map(|m| m.name.as_str());
                let life = Life {
                    settings: settings.clone(),
                    file: its_file.clone(),
                    configuration: regent_config::digest(
                        &std::fs::read_to_string(&its_file).unwrap(),
                    ),
                    identity: tls::load(&its_place.tls, known).unwrap(),
                    place: its_place.clone(),
                    host,
                    stop: stopped.clone(),
                    pace: Pace::default(),
                    owns_process: false,
                };
                match live(life).unwrap_or_else(|e| panic!("{name}: {e}")) {
                    Ending::Stop => return,
                    Ending::Again => {}
                }
            }
        });
        Running { place, stop, thread: Some(thread) }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.root).ok();
    }
}

impl Running {
    fn ask(&self, ask: Ask) -> Option<Reply> {
        let mut stream = UnixStream::connect(self.place.socket()).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        frame::write(&mut stream, &serde_json::to_vec(&Call::new(ask)).unwrap()).ok()?;
        loop {
            match serde_json::from_slice(&frame::read(&mut stream).ok()?).unwrap() {
                Reply::Progress(_) => {}
                reply => return Some(reply),
            }
        }
    }

    fn status(&self) -> Option<Status> {
        match self.ask(Ask::Status)? {
            Reply::Status(status) => Some(*status),
            // It is about to begin anew.
            Reply::Refused(refusal) if refusal.kind == RefusalKind::Unreachable => None,
            other => panic!("{other:?}"),
        }
    }

    fn expect(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            let status = self.status();
            if let Some(status) = status.clone().filter(|s| wanted(s)) {
                return status;
            }
            assert!(Instant::now() < deadline, "{what}: {status:#?}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn stop(mut self) {
        self.stop.send(true).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn node<'s>(status: &'s Status, name: &str) -> &'s regent_api::status::NodeStatus {
    status.nodes.iter().find(|n| n.name == name).unwrap()
}

#[test]
fn a_cluster_is_founded_renews_and_outlives_a_restart() {
    let lab = Lab::new("founded");
    let [mn1, mn2, w1] = ["mn1", "mn2", "w1"].map(|name| lab.start(name));
    for running in [&mn1, &mn2, &w1] {
        running.expect("nobody invents a cluster", |s| !s.initialised && s.epoch.is_none());
    }
    mn1.expect("links", |s| {
        s.nodes.iter().all(|n| n.name == "mn1" || n.reachable || n.age_ms.is_some())
    });
    match mn1.ask(Ask::Init) {
        Some(Reply::Done(text)) => assert!(text.contains("mn1 holds"), "{text}"),
        other => panic!("{other:?}"),
    }
    let active = mn1.expect("mn1 serves", |s| node(s, "mn1").role == Role::Active);
    assert_eq!((active.epoch, active.holder.as_deref()), (Some(1), Some("mn1")));
    mn2.expect("mn2 hears it", |s| {
        s.holder.as_deref() == Some("mn1") && node(s, "mn1").reachable && node(s, "w1").reachable
    });
    w1.expect("the witness hears it", |s| s.initialised && s.holder.as_deref() == Some("mn1"));

    match mn2.ask(Ask::Init) {
        Some(Reply::Refused(refusal)) => assert_eq!(refusal.kind, RefusalKind::Guard),
        other => panic!("{other:?}"),
    }
    match mn1.ask(Ask::Switchover { to: Some("mn9".into()), away: false }) {
        Some(Reply::Refused(refusal)) => assert_eq!(refusal.kind, RefusalKind::Usage),
        other => panic!("{other:?}"),
    }

    w1.stop();
    let began = Instant::now();
    assert!(mn1.status().is_some());
    assert!(began.elapsed() < Duration::from_secs(1), "status waits for nobody");
    mn1.expect("the witness is missed, nothing else", |s| {
        !node(s, "w1").reachable && node(s, "mn1").role == Role::Active && s.epoch == Some(1)
    });
    let w1 = lab.start("w1");
    w1.expect("a witness that restarts votes on", |s| s.initialised);
    mn1.expect("and is heard", |s| node(s, "w1").reachable);
    for running in [mn1, mn2, w1] {
        running.stop();
    }
}

fn expect_done(reply: Option<Reply>, part: &str) {
    match reply {
        Some(Reply::Done(text)) => assert!(text.contains(part), "{text}"),
        other => panic!("{other:?}"),
    }
}

fn expect_refused(reply: Option<Reply>, kind: RefusalKind, part: &str) {
    match reply {
        Some(Reply::Refused(refusal)) => {
            assert_eq!(refusal.kind, kind, "{refusal:?}");
            let text = format!("{}; {}", refusal.reason, refusal.remedy);
            assert!(text.contains(part), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_operators_ask_for_is_done_or_refused_with_a_remedy() {
    let lab = Lab::new("operators");
    let [mn1, mn2, w1] = ["mn1", "mn2", "w1"].map(|name| lab.start(name));
    let maintenance =
        |node: Option<&str>, for_ms| Ask::Maintenance { node: node.map(String::from), for_ms };
    for running in [&mn1, &mn2, &w1] {
        running.expect("it listens", |s| !s.initialised);
    }
    let before = mn1.ask(Ask::Pause { for_ms: Some(60_000) });
    expect_refused(before, RefusalKind::NotInitialised, "regent init");
    assert!(matches!(mn1.ask(Ask::Init), Some(Reply::Done(_))));
    mn1.expect("mn1 serves", |s| node(s, "mn1").role == Role::Active);
    mn2.expect("mn2 stands by", |s| node(s, "mn2").role == Role::Standby && s.epoch == Some(1));
    w1.expect("the witness votes", |s| s.initialised);

    expect_done(mn2.ask(maintenance(None, Some(60_000))), "mn2 is in maintenance for 60 s");
    let there = mn1.expect("everybody sees it", |s| {
        node(s, "mn2").maintenance_left_ms.is_some_and(|left| left > 50_000 && left <= 60_000)
    });
    assert_eq!(there.pause_left_ms, None);
    expect_done(mn1.ask(maintenance(Some("mn2"), None)), "no more");
    mn2.expect("it is over", |s| node(s, "mn2").maintenance_left_ms.is_none());
    expect_done(mn1.ask(Ask::Pause { for_ms: Some(3_600_000) }), "paused for 3600 s");
    mn2.expect("it counts down", |s| s.pause_left_ms.is_some_and(|left| left < 3_600_000));
    expect_done(mn2.ask(Ask::Pause { for_ms: None }), "over");
    mn1.expect("it is over", |s| s.pause_left_ms.is_none());

    let unknown = mn1.ask(maintenance(Some("mn9"), Some(60_000)));
    expect_refused(unknown, RefusalKind::Usage, "one of mn1, mn2");
    let witness = mn1.ask(maintenance(Some("w1"), Some(60_000)));
    expect_refused(witness, RefusalKind::Usage, "w1 is the witness");
    let blink = mn1.ask(Ask::Pause { for_ms: Some(10) });
    expect_refused(blink, RefusalKind::Usage, "10 ms is out of bounds; from 1 s");
    let there = w1.ask(Ask::Pause { for_ms: Some(60_000) });
    expect_refused(there, RefusalKind::Guard, "--node mn1 or --node mn2");

    // Only the holder fences, and nobody itself.
    let other = mn2.ask(Ask::Fence { node: "mn1".into() });
    expect_refused(other, RefusalKind::Guard, "ask mn1");
    let own = mn1.ask(Ask::Fence { node: "mn1".into() });
    expect_refused(own, RefusalKind::Guard, "does not fence itself");
    expect_done(mn1.ask(Ask::Fence { node: "mn2".into() }), "mn2 is fenced, confirmed");
    match mn2.ask(Ask::FenceTest { node: Some("mn1".into()) }) {
        Some(Reply::Fences(fences)) => assert!(fences.tested[0].works, "{fences:?}"),
        other => panic!("{other:?}"),
    }

    // One timeline, told by anybody, the witness included.
    let timeline = |running: &Running| match running.ask(Ask::History { last: 500, cluster: true })
    {
        Some(Reply::History(history)) => history,
        other => panic!("{other:?}"),
    };
    for running in [&mn1, &w1] {
        // Events go to the disk on a thread of their own, after the answer.
        let deadline = Instant::now() + Duration::from_secs(10);
        let told = |history: &History| history.events.iter().any(|e| e.code == "fence.confirmed");
        let mut history = timeline(running);
        while !told(&history) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(10));
            history = timeline(running);
        }
        assert!(history.missing.is_empty(), "{:?}", history.missing);
        let of =
            |name: &str| history.events.iter().filter(|e| e.node.as_deref() == Some(name)).count();
        assert!(of("mn1") > 0 && of("mn2") > 0, "{history:?}");
        assert!(history.events.is_sorted_by_key(|e| e.at_ms));
        assert!(told(&history), "{history:?}");
    }
    mn2.stop();
    let began = Instant::now();
    let history = timeline(&mn1);
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert_eq!(history.missing.iter().map(|m| m.node.as_str()).collect::<Vec<_>>(), ["mn2"]);
    for running in [mn1, w1] {
        running.stop();
    }
}

/// The disk of the event log takes what a pipe holds and then hangs: nobody reads it.
#[test]
fn an_event_log_whose_disk_hangs_delays_no_proposal() {
    use rustix::fs::{CWD, Mode, OFlags, mkfifoat, open};
    let lab = Lab::new("hung-log");
    let mut held = Vec::new();
    let [mn1, mn2, w1] = ["mn1", "mn2", "w1"].map(|name| {
        let path = Place::under(&lab.root.join(name)).events();
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        if name == "mn1" {
            mkfifoat(CWD, &path, Mode::RWXU).unwrap();
            // Both ends, so that the agent can open it, and full, so that it can write nothing to it.
            let ends = open(&path, OFlags::RDWR | OFlags::NONBLOCK, Mode::empty()).unwrap();
            while rustix::io::write(&ends, &[0; 4096]).is_ok() {}
            held.push(ends);
        }
        lab.start(name)
    });
    for running in [&mn1, &mn2, &w1] {
        running.expect("it listens", |s| !s.initialised);
    }
    assert!(matches!(mn1.ask(Ask::Init), Some(Reply::Done(_))));
    mn1.expect("mn1 serves", |s| node(s, "mn1").role == Role::Active);
    mn2.expect("mn2 stands by", |s| node(s, "mn2").role == Role::Standby && s.epoch == Some(1));
    // Each of them tells an event, and is a swap like a renewal.
    for _ in 0..3 {
        expect_done(mn1.ask(Ask::Pause { for_ms: Some(60_000) }), "paused for 60 s");
        mn2.expect("it is paused", |s| s.pause_left_ms.is_some());
        expect_done(mn1.ask(Ask::Pause { for_ms: None }), "over");
        mn2.expect("it is over", |s| s.pause_left_ms.is_none());
    }
    let status = mn1.status().unwrap();
    assert_eq!((status.epoch, node(&status, "mn1").role), (Some(1), Role::Active));
    match mn1.ask(Ask::History { last: 5, cluster: false }) {
        Some(Reply::Refused(refusal)) => assert!(refusal.reason.contains("disk"), "{refusal:?}"),
        other => panic!("{other:?}"),
    }
    for running in [mn1, mn2, w1] {
        running.stop();
    }
    drop(held);
}

#[test]
fn a_key_is_set_on_every_member_or_on_none() {
    let lab = Lab::new("configuration");
    let [mn1, mn2, w1] = ["mn1", "mn2", "w1"].map(|name| lab.start(name));
    for running in [&mn1, &mn2, &w1] {
        running.expect("it listens", |s| !s.initialised);
    }
    assert!(matches!(mn1.ask(Ask::Init), Some(Reply::Done(_))));
    mn1.expect("mn1 serves", |s| node(s, "mn1").role == Role::Active);
    let before = mn2.expect("mn2 stands by", |s| node(s, "mn2").role == Role::Standby);
    assert_eq!(before.drift(), None);
    w1.expect("the witness votes", |s| s.initialised);
    let file = |name: &str| lab.root.join(name).join("regent.toml");
    let text = |name: &str| std::fs::read_to_string(file(name)).unwrap();
    let set = |value: &str, apply| Ask::ConfigSet {
        key: "policy.tries".into(),
        value: Some(value.into()),
        apply,
    };
    let lines = |reply: Option<Reply>| match reply {
        Some(Reply::Text(lines)) => lines.join("; "),
        other => panic!("{other:?}"),
    };

    let preview = lines(mn1.ask(set("5", false)));
    assert!(preview.contains("policy.tries"), "{preview}");
    assert_eq!(text("mn1"), lab.text, "a preview changes nothing");
    expect_refused(mn1.ask(set("many", true)), RefusalKind::Configuration, "policy.tries");
    expect_refused(w1.ask(set("5", true)), RefusalKind::Guard, "--node mn1");

    expect_done(mn1.ask(set("5", true)), "changed on mn1, mn2, w1");
    for name in ["mn1", "mn2", "w1"] {
        assert!(text(name).contains("tries = 5"), "{name}");
    }
    let after = mn1.expect("every agent began anew", |s| {
        let of = |name| node(s, name).configuration.clone();
        s.epoch == Some(1)
            && node(s, "mn1").role == Role::Active
            && node(s, "mn2").reachable
            && of("mn1").is_some()
            && of("mn1") == of("mn2")
            && of("mn1") != node(&before, "mn1").configuration
    });
    assert_eq!(after.drift(), None);
    assert!(
        lines(mn2.ask(Ask::ConfigDiff { node: None })).contains("mn1 has the configuration of")
    );
    assert!(lines(mn1.ask(Ask::ConfigShow { effective: true })).contains("policy.tries"));

    // Somebody edits one by hand: nothing is overwritten, and it is named.
    std::fs::write(file("mn2"), text("mn2").replace("tries = 5", "tries = 6")).unwrap();
    expect_refused(mn1.ask(set("7", true)), RefusalKind::Unreachable, "mn2 does not take it");
    let difference = lines(mn1.ask(Ask::ConfigDiff { node: Some("mn2".into()) }));
    assert!(difference.contains("policy.tries"), "{difference}");
    assert!(text("mn1").contains("tries = 5"));
    std::fs::write(file("mn2"), text("mn1")).unwrap();

    w1.stop();
    let missing = mn1.ask(set("7", true));
    expect_refused(missing, RefusalKind::Unreachable, "w1 does not take it");
    for name in ["mn1", "mn2"] {
        assert!(text(name).contains("tries = 5"), "{name}");
        assert!(!file(name).with_extension("toml.next").exists(), "{name}");
    }
    for running in [mn1, mn2] {
        running.stop();
    }
}

#[test]
fn a_voter_that_lost_its_disk_votes_only_once_admitted() {
    let lab = Lab::new("admit");
    let [mn1, mn2, w1] = ["mn1", "mn2", "w1"].map(|name| lab.start(name));
    for running in [&mn1, &mn2, &w1] {
        running.expect("it listens", |s| !s.initialised);
    }
    assert!(matches!(mn1.ask(Ask::Init), Some(Reply::Done(_))));
    mn1.expect("mn1 serves", |s| node(s, "mn1").role == Role::Active);
    mn2.expect("mn2 stands by", |s| node(s, "mn2").role == Role::Standby);
    // One that has not heard of the cluster yet is admitted as if its disk were new.
    w1.expect("it votes", |s| s.initialised);
    match mn1.ask(Ask::AdmitVoter { node: "w1".into() }) {
        Some(Reply::Done(text)) => assert!(text.contains("votes already"), "{text}"),
        other => panic!("{other:?}"),
    }
    let record = w1.place.record();
    w1.stop();
    std::fs::remove_file(&record).unwrap();
    let w1 = lab.start("w1");
    w1.expect("it says nothing as a voter", |s| !s.initialised && s.reason.contains("admit w1"));
    match mn1.ask(Ask::AdmitVoter { node: "w1".into() }) {
        Some(Reply::Done(text)) => assert!(text.contains("votes again"), "{text}"),
        other => panic!("{other:?}"),
    }
    w1.expect("it votes", |s| s.initialised && s.holder.as_deref() == Some("mn1"));
    // The proof: with the other node gone, its vote is the second of two.
    mn2.stop();
    mn1.expect("mn2 is missed", |s| !node(s, "mn2").reachable);
    // On one vote alone the right would be over within a term of the lease, and mn1 would say so.
    let watched = Instant::now();
    while watched.elapsed() < TWO_TERMS {
        let status = mn1.status().expect("it answers");
        assert_eq!(node(&status, "mn1").role, Role::Active, "{status:#?}");
        std::thread::sleep(Duration::from_millis(10));
    }
    for running in [mn1, w1] {
        running.stop();
    }
}

#[test]
fn a_voter_of_another_cluster_is_never_overwritten() {
    let lab = Lab::new("taken");
    let [mn1, mn2, w1] = ["mn1", "mn2", "w1"].map(|name| lab.start(name));
    for running in [&mn1, &mn2, &w1] {
        running.expect("it listens", |s| !s.initialised);
    }
    assert!(matches!(mn1.ask(Ask::Init), Some(Reply::Done(_))));
    w1.expect("it votes", |s| s.initialised && s.holder.is_some());
    for running in [mn1, mn2] {
        let state = running.place.state.clone();
        running.stop();
        std::fs::remove_dir_all(state).unwrap();
    }
    let [mn1, mn2] = ["mn1", "mn2"].map(|name| lab.start(name));
    mn2.expect("it listens", |s| !s.initialised);
    mn1.expect("it listens", |s| !s.initialised);
    match mn1.ask(Ask::Init) {
        Some(Reply::Refused(refusal)) => {
            assert_eq!(refusal.kind, RefusalKind::Guard, "{refusal:?}");
            assert!(refusal.reason.contains("w1 votes already"), "{refusal:?}");
        }
        other => panic!("{other:?}"),
    }
    mn2.expect("and nobody else was made a voter", |s| !s.initialised);
    for running in [mn1, mn2, w1] {
        running.stop();
    }
}

#[test]
fn another_node_is_asked_over_mutual_tls_and_a_stranger_is_not_answered() {
    let lab = Lab::new("remote");
    let w1 = lab.start("w1");
    w1.expect("it listens", |s| !s.initialised);
    let config = lab.root.join("regent.toml");
    std::fs::write(&config, &lab.text).unwrap();
    let patience = Duration::from_secs(1);
    let tls = Place::under(&lab.root.join("mn1")).tls;
    let mut stream = regent_agent::remote::open("w1", &config, &tls, patience).unwrap();
    frame::write(&mut stream, &serde_json::to_vec(&Call::new(Ask::Status)).unwrap()).unwrap();
    match serde_json::from_slice(&frame::read(&mut stream).unwrap()).unwrap() {
        Reply::Status(status) => {
            assert_eq!((status.now_node.as_str(), status.initialised), ("w1", false))
        }
        other => panic!("{other:?}"),
    }

    let operator = lab.root.join("operator");
    ca::issue("operator", &lab.root.join("ca"), &operator).unwrap();
    assert!(regent_agent::remote::open("w1", &config, &operator, patience).is_ok());

    let stranger = lab.root.join("stranger");
    ca::init(&lab.root.join("other-ca")).unwrap();
    ca::issue("mn1", &lab.root.join("other-ca"), &stranger).unwrap();
    let refusal = regent_agent::remote::open("w1", &config, &stranger, patience).err().unwrap();
    assert_eq!(refusal.kind, RefusalKind::Unreachable, "{refusal:?}");
    assert!(refusal.remedy.contains("one authority"), "{refusal:?}");

    let unknown = regent_agent::remote::open("w9", &config, &tls, patience).err().unwrap();
    assert_eq!(unknown.kind, RefusalKind::Usage);
    let nobody = regent_agent::remote::open("mn2", &config, &tls, patience).err().unwrap();
    assert_eq!(nobody.kind, RefusalKind::Unreachable);
    w1.stop();
}

#[test]
fn init_without_a_voter_says_whom_it_misses_and_goes_on_later() {
    let lab = Lab::new("missing");
    let [mn1, mn2] = ["mn1", "mn2"].map(|name| lab.start(name));
    mn1.expect("it listens", |s| !s.initialised);
    match mn1.ask(Ask::Init) {
        Some(Reply::Refused(refusal)) => {
            assert_eq!(refusal.kind, RefusalKind::Unreachable);
            assert!(refusal.reason.starts_with("w1 is needed"), "{refusal:?}");
        }
        other => panic!("{other:?}"),
    }
    let planned = std::fs::read_to_string(mn1.place.plan()).unwrap();
    let w1 = lab.start("w1");
    w1.expect("it listens", |s| !s.initialised);
    assert!(matches!(mn1.ask(Ask::Init), Some(Reply::Done(_))));
    mn1.expect("mn1 serves", |s| node(s, "mn1").role == Role::Active);
    let plan: serde_json::Value = serde_json::from_str(&planned).unwrap();
    let cluster = plan["cluster"].as_str().unwrap().to_string();
    let explained = format!("{:?}", mn1.ask(Ask::History { last: 100, cluster: false }));
    assert!(explained.contains(&cluster), "the first plan was carried out: {explained}");
    for running in [mn1, mn2, w1] {
        running.stop();
    }
}

/// Runs this test again where it may mount a small disk; true in the run that has it.
fn may_mount(test: &str) -> bool {
    const INSIDE: &str = "REGENT_OWN_MOUNTS";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let unshare = || std::process::Command::new("unshare");
    if !unshare().args(["-m", "true"]).status().is_ok_and(|status| status.success()) {
        skipped::skipped(&format!("{test}: needs root, to mount a small disk"));
        return false;
    }
    let mut again = unshare();
    again.arg("-m").arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
    assert!(again.env(INSIDE, "1").status().unwrap().success(), "{test}");
    false
}

#[test]
fn an_agent_that_starts_anew_on_a_full_disk_comes_back_and_says_so() {
    if !may_mount("an_agent_that_starts_anew_on_a_full_disk_comes_back_and_says_so") {
        return;
    }
    let lab = Lab::new("full");
    let state = Place::under(&lab.root.join("mn2")).state;
    std::fs::create_dir_all(&state).unwrap();
    let mut mount = std::process::Command::new("mount");
    mount.args(["-t", "tmpfs", "-o", "size=16m,nr_inodes=600", "tmpfs"]).arg(&state);
    assert!(mount.status().unwrap().success());
    let [mn1, mut mn2, w1] = ["mn1", "mn2", "w1"].map(|name| lab.start(name));
    mn1.expect("links", |s| s.nodes.iter().all(|n| n.name == "mn1" || n.age_ms.is_some()));
    expect_done(mn1.ask(Ask::Init), "mn1 holds");
    let told = |s: &Status| node(s, "mn2").concerns.iter().any(|c| c.contains("is full: "));
    let there = |s: &Status| s.initialised && s.epoch == Some(1);
    let well = mn2.expect("mn2 is a member", there);
    assert!(!told(&well), "{well:#?}");
    // As it would be after some seconds in any case.
    let reserved = || state.join("reserve").exists() && state.join("runs.json.new").exists();
    let deadline = Instant::now() + Duration::from_secs(15);
    while !reserved() {
        assert!(Instant::now() < deadline, "nothing is reserved");
        std::thread::sleep(Duration::from_millis(10));
    }
    let filler = |n: u32| std::fs::File::create(state.join(format!("filler{n}")));
    let mut first = filler(0).unwrap();
    while std::io::Write::write_all(&mut first, &[1; 4096]).is_ok() {}
    drop(first);
    let files = (1..).take_while(|n| filler(*n).is_ok()).count() as u32;
    for _ in 0..5 {
        mn2.expect("it is there and says that its disk is full", |s| there(s) && told(s));
        mn1.expect("the other one knows it", told);
        mn2.stop();
        mn2 = lab.start("mn2");
    }
    mn2.expect("it is there again", there);
    for n in 0..=files {
        std::fs::remove_file(state.join(format!("filler{n}"))).unwrap();
    }
    mn1.expect("the alarm is over", |s| node(s, "mn2").reachable && !told(s));
    for running in [mn1, mn2, w1] {
        running.stop();
    }
}

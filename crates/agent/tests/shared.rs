//! Two agents in one process, on loopback, whose stack on shared data is a list of switches: what operators ask of it,
//! what they are told, and how it ends.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::wildcard_enum_match_arm, reason = "any other answer fails the test")]

use regent_adapters::database::peer::{PeerAnswer, PeerRequest};
use regent_agent::agent::{Ending, Life, live};
use regent_agent::events::Events;
use regent_agent::host::Gate;
use regent_agent::host::{Host, Later, Opened, Planned, PlannedStep};
use regent_agent::inputs::Inputs;
use regent_agent::place::Place;
use regent_agent::transport::{Pace, Stream, Transport};
use regent_agent::{ca, config, tls};
use regent_api::call::{Ask, Call, FenceTested, RefusalKind, Reply};
use regent_api::exit::Exit;
use regent_api::frame;
use regent_api::stack::{Moved, Plan, StackShown, StepDone, StepNews};
use regent_api::status::{Role, Status};
use regent_core::command::{
    AddressStep, DatabaseStep, Fenced, GateStep, LifeSigns, Outcome, ServiceStep, StepResult,
};
use regent_core::health::ProbeId;
use regent_core::id::{ClusterId, CommandId, Epoch, Incarnation, NodeId};
use regent_core::node::Input;
use regent_core::observe::{ServiceId, UnitState};
use regent_core::stack::{Claim, StackResult, StackStep, StepState, Survey};
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// A gate that lets nothing pass, and says it is done.
struct NoGate;

impl Gate for NoGate {
    fn step(&mut self, _: GateStep) -> Result<(), String> {
        Ok(())
    }
}

/// What outlives an agent: the host's stack.
#[derive(Clone, Default)]
struct Switches {
    up: Vec<bool>,
    permit: bool,
    /// This step does not come up.
    broken: Option<usize>,
    /// This one does not go down.
    stuck: Option<usize>,
    problems: Vec<String>,
    /// Who uses a directory that is to go, and is stopped by no step.
    busy: Option<String>,
    /// Who answers for the virtual IP.
    stranger: Option<String>,
    /// How often something was changed.
    changes: usize,
}

/// The shared data: nothing but the claim.
type Disk = Arc<Mutex<Option<Claim>>>;

struct ToyHost {
    me: NodeId,
    names: Vec<String>,
    services: u16,
    cluster: OnceLock<ClusterId>,
    inputs: OnceLock<Inputs>,
    switches: Arc<Mutex<Switches>>,
    disk: Disk,
}

impl ToyHost {
    fn say(&self, input: Input) {
        if let Some(inputs) = self.inputs.get() {
            inputs.put(input);
        }
    }

    fn done(&self, id: CommandId) {
        self.say(Input::Outcome { id, outcome: Outcome::Done });
    }

    fn survey(&self) -> Survey {
        let switches = self.switches.lock().unwrap();
        let state = |up: &bool| if *up { StepState::Up } else { StepState::Down };
        Survey {
            steps: switches.up.iter().map(state).collect(),
            permit: switches.permit,
            problems: switches.problems.clone(),
            drift: Vec::new(),
            claim: *self.disk.lock().unwrap(),
            claimant: None,
            unsettled: false,
        }
    }

    fn carry(&self, step: StackStep) -> StackResult {
        let mut switches = self.switches.lock().unwrap();
        // A claim that stands is written again by the next run.
        let renewed = matches!(step, StackStep::Claim { .. }) && switches.permit;
        switches.changes += usize::from(step != StackStep::Survey && !renewed);
        match step {
            StackStep::Survey | StackStep::Repair => {}
            StackStep::Claim { epoch, .. } => {
                let cluster = *self.cluster.get().unwrap();
                let claim = Claim { cluster, epoch, node: self.me, clear: false };
                *self.disk.lock().unwrap() = Some(claim);
                switches.permit = true;
            }
            StackStep::Unclaim { .. } => {
                if let Some(claim) = self.disk.lock().unwrap().as_mut() {
                    claim.clear = true;
                }
            }
            StackStep::Revoke => switches.permit = false,
            StackStep::Up { step } => {
                let at = usize::from(step.0);
                if switches.broken == Some(at) {
                    return StackResult::Failed("it ended at once, status 1".into());
                }
                assert!(switches.up[..at].iter().all(|up| *up), "{at} before what it needs");
                switches.up[at] = true;
            }
            StackStep::Down { step } => {
                let at = usize::from(step.0);
                if switches.stuck == Some(at) {
                    return StackResult::Failed("process 4711 is left".into());
                }
                assert!(switches.up[at + 1..].iter().all(|up| !up), "{at} under what needs it");
                switches.up[at] = false;
            }
        }
        StackResult::Done
    }
}

impl Host for ToyHost {
    fn gate(&self) -> Result<Opened, String> {
        Ok((Box::new(NoGate), [None, None]))
    }

    fn begin(&self, cluster: Option<ClusterId>, inputs: Inputs, _: Transport, _: Events) {
        if let Some(cluster) = cluster {
            self.cluster.set(cluster).ok();
        }
        for service in 0..self.services {
            let state = UnitState::Down;
            inputs.put(Input::ServiceUnit { service: ServiceId(service), state, asked: false });
        }
        self.inputs.set(inputs).ok();
    }

    fn stack(&self, id: CommandId, step: StackStep) {
        let result = self.carry(step);
        let up = matches!(step, StackStep::Up { .. }) && result == StackResult::Done;
        let down = matches!(step, StackStep::Down { .. });
        for service in 0..self.services {
            // Whatever a step starts or stops, its unit is seen to run or not to run.
            let state = if up { UnitState::Up { start: 1 } } else { UnitState::Down };
            if up || down {
                self.say(Input::ServiceUnit { service: ServiceId(service), state, asked: false });
            }
        }
        let survey = Some(self.survey());
        self.say(Input::Outcome { id, outcome: Outcome::Stack { result, survey } });
    }

    fn plan(&self, up: bool) -> Later<Result<Planned, String>> {
        let survey = self.survey();
        let busy = self.switches.lock().unwrap().busy.clone();
        let problems = if up { survey.problems } else { busy.into_iter().collect() };
        let steps = self.names.iter().zip(survey.steps).map(|(name, state)| PlannedStep {
            name: name.clone(),
            what: format!("the switch of {name}"),
            state,
        });
        let planned = Planned { steps: steps.collect(), problems };
        Box::pin(async move { Ok(planned) })
    }

    fn vip_answered(&self) -> Later<Result<Option<String>, String>> {
        let stranger = self.switches.lock().unwrap().stranger.clone();
        Box::pin(async move { Ok(stranger) })
    }

    fn vip_used(&self) -> Later<Result<Option<String>, String>> {
        Box::pin(async { Ok(None) })
    }

    fn address(&self, id: CommandId, _: AddressStep) {
        self.done(id);
    }

    fn database(&self, id: CommandId, _: DatabaseStep) {
        let result = StepResult::Failed("there is no database".into());
        self.say(Input::Outcome { id, outcome: Outcome::Database { result, facts: None } });
    }

    fn service(&self, id: CommandId, _: ServiceId, _: ServiceStep) {
        self.done(id);
    }

    fn fence(&self, id: CommandId, node: NodeId, _: Epoch) {
        let outcome = Outcome::Fence(Fenced::Failed(format!("{node} has no fence")));
        self.say(Input::Outcome { id, outcome });
    }

    fn fence_bound(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn test_fences(&self, _: Option<NodeId>, _: Epoch) -> Later<Vec<FenceTested>> {
        Box::pin(async { Vec::new() })
    }

    fn serving(&self, _: bool) {}

    fn link(&self) -> Option<[u8; 6]> {
        None
    }

    fn peer_link(&self, _: NodeId, _: [u8; 6]) {}

    fn warnings(&self) -> BTreeMap<ProbeId, String> {
        BTreeMap::new()
    }

    fn probe(&self, id: CommandId, _: NodeId) {
        let outcome = Outcome::Peer(LifeSigns::SILENT);
        self.say(Input::Outcome { id, outcome });
    }

    fn prepare(&self, _: Incarnation) -> Later<Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    fn restart_database(&self) -> Later<Result<(), String>> {
        Box::pin(async { Err("this database is a toy".into()) })
    }

    fn serve(&self, _: PeerRequest) -> Later<PeerAnswer> {
        Box::pin(async { PeerAnswer::Refused { reason: "there is no database".into() } })
    }

    fn send_backup(&self, _: Stream) -> Later<Result<(), String>> {
        Box::pin(async { Err("there is no database".into()) })
    }
}

/// One member, begun again whenever its life ends with that wish, as the process does.
struct Running {
    place: Place,
    switches: Arc<Mutex<Switches>>,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

struct Lab {
    root: PathBuf,
    settings: regent_config::Settings,
    disk: Disk,
}

impl Lab {
    fn new(name: &str) -> Lab {
        let root = std::env::temp_dir().join(format!("regent-{name}-{}", std::process::id()));
        std::fs::remove_dir_all(&root).ok();
        // Held together, so that they differ; free again when this returns.
        let listeners: Vec<std::net::TcpListener> =
            (0..2).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<u16> = listeners.iter().map(|l| l.local_addr().unwrap().port()).collect();
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/tests/config/shared.toml");
        let text = std::fs::read_to_string(file)
            .unwrap()
            .replace("/HA-data", &root.join("data").to_string_lossy())
            .replace("10.77.0.11\"", &format!("127.0.0.1:{}\"", ports[0]))
            .replace("10.77.0.12\"", &format!("127.0.0.1:{}\"", ports[1]));
        std::fs::create_dir_all(root.join("data")).unwrap();
        let settings = config::parse("lab", &text).unwrap();
        ca::init(&root.join("ca")).unwrap();
        for member in &settings.members {
            let out = Place::under(&root.join(&member.name)).tls;
            ca::issue(&member.name, &root.join("ca"), &out).unwrap();
            std::fs::write(root.join(&member.name).join("regent.toml"), &text).unwrap();
        }
        Lab { root, settings, disk: Disk::default() }
    }

    fn start(&self, name: &str, switches: Arc<Mutex<Switches>>) -> Running {
        let place = Place::under(&self.root.join(name));
        let (stop, stopped) = watch::channel(false);
        let (settings, disk) = (self.settings.clone(), Arc::clone(&self.disk));
        let (name, its_place, its_switches) =
            (name.to_string(), place.clone(), Arc::clone(&switches));
        let its_file = self.root.join(&name).join("regent.toml");
        let thread = std::thread::spawn(move || {
            let me = settings.member(&name).unwrap();
            let names: Vec<String> =
                settings.spec().stack.unwrap().steps.into_iter().map(|step| step.name).collect();
            its_switches.lock().unwrap().up.resize(names.len(), false);
            loop {
                let host = ToyHost {
                    me: me.id,
                    names: names.clone(),
                    services: settings.services.len() as u16,
                    cluster: OnceLock::new(),
                    inputs: OnceLock::new(),
                    switches: Arc::clone(&its_switches),
                    disk: Arc::clone(&disk),
                };
                let known = settings.members.iter().map(|m| m.name.as_str());
                let life = Life {
                    settings: settings.clone(),
                    file: its_file.clone(),
                    configuration: regent_config::digest(
                        &std::fs::read_to_string(&its_file).unwrap(),
                    ),
                    identity: tls::load(&its_place.tls, known).unwrap(),
                    place: its_place.clone(),
                    host: Some(Arc::new(host) as Arc<dyn Host>),
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
        Running { place, switches, stop, thread: Some(thread) }
    }

    /// Both nodes, in a cluster in which nobody is active yet.
    fn founded(&self) -> [Running; 2] {
        let nodes = ["mn1", "mn2"].map(|name| self.start(name, Arc::default()));
        nodes[1].expect("both answer", |s| !s.initialised);
        let (_, _, reply) = nodes[0].ask(Ask::Init);
        assert!(matches!(reply, Reply::Done(_)), "{reply:?}");
        for node in &nodes {
            node.expect("a cluster", |s| {
                s.initialised && s.nodes.iter().all(|n| n.reachable && n.role != Role::Unknown)
            });
        }
        nodes
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.root).ok();
    }
}

type Told = (Vec<Plan>, Vec<StepNews>, Reply);

impl Running {
    fn ask(&self, ask: Ask) -> Told {
        let (mut plans, mut steps) = (Vec::new(), Vec::new());
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut stream = loop {
            match UnixStream::connect(self.place.socket()) {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        frame::write(&mut stream, &serde_json::to_vec(&Call::new(ask)).unwrap()).unwrap();
        loop {
            match serde_json::from_slice(&frame::read(&mut stream).unwrap()).unwrap() {
                Reply::Progress(_) => {}
                Reply::Plan(plan) => plans.push(*plan),
                Reply::Step(step) => steps.push(step),
                reply => return (plans, steps, reply),
            }
        }
    }

    fn moved(&self, ask: Ask) -> Moved {
        match self.ask(ask).2 {
            Reply::Moved(moved) => *moved,
            other => panic!("{other:?}"),
        }
    }

    fn activate(&self) -> Moved {
        self.moved(Ask::Activate { off: None, cannot_write: None, dry_run: false })
    }

    /// After the other one gave the data up: this one may hear of it a little later than whoever asked.
    fn activate_in_turn(&self) -> Moved {
        let deadline = Instant::now() + Duration::from_secs(15);
        loop {
            let moved = self.activate();
            if moved.obstacle != Some(RefusalKind::ActiveElsewhere) || Instant::now() > deadline {
                return moved;
            }
        }
    }

    fn deactivate(&self) -> Moved {
        self.moved(Ask::Deactivate { dry_run: false })
    }

    fn status(&self) -> Option<Status> {
        let mut stream = UnixStream::connect(self.place.socket()).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        frame::write(&mut stream, &serde_json::to_vec(&Call::new(Ask::Status)).unwrap()).ok()?;
        match serde_json::from_slice(&frame::read(&mut stream).ok()?).unwrap() {
            Reply::Status(status) => Some(*status),
            _ => None,
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

    fn set(&self, change: impl FnOnce(&mut Switches)) {
        change(&mut self.switches.lock().unwrap());
    }

    fn see(&self) -> Switches {
        self.switches.lock().unwrap().clone()
    }

    fn stop(mut self) {
        self.stop.send(true).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

fn names(moved: &Moved) -> Vec<&str> {
    moved.steps.iter().map(|step| step.name.as_str()).collect()
}

#[test]
fn a_stack_is_activated_and_deactivated_step_by_step() {
    let lab = Lab::new("stack-moves");
    let nodes = lab.founded();
    let count = nodes[0].see().up.len();
    assert_eq!(nodes[0].status().unwrap().exit(), Exit::NoActive);

    // A dry run asks everything, and changes nothing.
    let (plans, steps, reply) =
        nodes[0].ask(Ask::Activate { off: None, cannot_write: None, dry_run: true });
    let Reply::Moved(dry) = reply else { panic!("{reply:?}") };
    assert_eq!((dry.exit(), dry.dry_run, dry.result.as_str()), (Exit::Ok, true, "done"), "{dry:?}");
    assert_eq!((plans.len(), steps.len(), dry.steps.len()), (1, 0, count + 1));
    assert!(dry.steps.iter().all(|step| step.state == StepDone::ToDo), "{dry:?}");
    assert_eq!(nodes[0].see().changes, 0);

    // The plan, each step with its end, the result.
    let (plans, news, reply) =
        nodes[0].ask(Ask::Activate { off: None, cannot_write: None, dry_run: false });
    let Reply::Moved(moved) = reply else { panic!("{reply:?}") };
    assert_eq!((moved.exit(), moved.node.as_str()), (Exit::Ok, "mn1"), "{moved:?}");
    assert_eq!(plans[0].steps[0].name, "virtual IP");
    assert_eq!(names(&moved)[0], "claim on the shared data");
    assert_eq!(moved.steps.len(), count + 1, "{moved:?}");
    assert!(moved.steps[1..].iter().all(|step| step.state == StepDone::Up), "{moved:?}");
    let ended = news.iter().filter(|step| step.ended.is_some()).count();
    assert_eq!(ended, count + 1, "each end is told once");
    assert!(nodes[0].see().up.iter().all(|up| *up) && nodes[0].see().permit);
    let status = nodes[1].expect("mn1 is active", |s| s.nodes[0].role == Role::Active);
    let shared = status.shared.as_ref().unwrap();
    assert_eq!(shared.in_use.as_ref().map(|used| used.node.as_str()), Some("mn1"));
    assert_eq!(status.exit(), Exit::Ok, "{:?}", status.verdict());

    // Twice is once, and the other one is refused, by name and by number.
    let changes = nodes[0].see().changes;
    assert_eq!(nodes[0].activate().exit(), Exit::Ok);
    assert_eq!(nodes[0].see().changes, changes, "a second activation changes nothing");
    let refused = nodes[1].activate();
    assert_eq!(refused.obstacle, Some(RefusalKind::ActiveElsewhere), "{refused:?}");
    assert_eq!((refused.exit, nodes[1].see().changes), (12, 0));
    let refused = nodes[1].moved(Ask::Activate { off: None, cannot_write: None, dry_run: true });
    assert_eq!(refused.exit(), Exit::ActiveElsewhere, "a dry run ends as the real one would");
    let refused = nodes[1].moved(Ask::Activate {
        off: Some("mn1".into()),
        cannot_write: None,
        dry_run: false,
    });
    assert_eq!(refused.exit(), Exit::ActiveElsewhere, "mn1 answers, so it is not off");

    // A node that is not active has nothing to deactivate, and the active one is not disturbed.
    assert_eq!(nodes[1].deactivate().exit(), Exit::Ok);
    assert!(nodes[0].see().up.iter().all(|up| *up));

    let moved = nodes[0].deactivate();
    assert_eq!(moved.exit(), Exit::Ok, "{moved:?}");
    let down = moved.steps.iter().filter(|step| step.state == StepDone::Down).count();
    assert_eq!(down, count, "{moved:?}");
    assert_eq!(names(&moved).last(), Some(&"end of the claim"));
    assert!(nodes[0].see().up.iter().all(|up| !up) && !nodes[0].see().permit);
    assert!(lab.disk.lock().unwrap().unwrap().clear);
    let changes = nodes[0].see().changes;
    assert_eq!(nodes[0].deactivate().exit(), Exit::Ok, "twice is once");
    assert_eq!(nodes[0].see().changes, changes);

    // The other way round.
    let moved = nodes[1].activate_in_turn();
    assert_eq!((moved.exit(), moved.node.as_str()), (Exit::Ok, "mn2"), "{moved:?}");
    let Reply::Stack(shown) = nodes[1].ask(Ask::StackShow).2 else { panic!("no stack") };
    let StackShown { active, steps, claim, .. } = *shown;
    assert!(active && steps.iter().all(|step| step.already), "{steps:?}");
    assert_eq!(claim.map(|claim| (claim.node, claim.clear)), Some(("mn2".into(), false)));
    nodes.into_iter().for_each(Running::stop);
}

#[test]
fn what_stands_in_the_way_has_its_kind_and_leaves_no_trace() {
    let lab = Lab::new("stack-refused");
    let nodes = lab.founded();
    for dry_run in [true, false] {
        let ask = Ask::Activate { off: None, cannot_write: None, dry_run };
        nodes[0].set(|s| s.stranger = Some("02:00:00:00:00:09 answers by ARP".into()));
        let refused = nodes[0].moved(ask.clone());
        assert_eq!(refused.obstacle, Some(RefusalKind::AddressInUse), "{refused:?}");
        assert_eq!(refused.exit, 11);
        // A failed check comes before it.
        nodes[0].set(|s| s.problems = vec!["the data are of SQLite, not PostgreSQL".into()]);
        let refused = nodes[0].moved(ask);
        assert_eq!(refused.obstacle, Some(RefusalKind::Checks), "{refused:?}");
        assert!(refused.text.contains("SQLite"), "{refused:?}");
        nodes[0].set(|s| s.problems.clear());
        nodes[0].set(|s| s.stranger = None);
    }
    assert_eq!(nodes[0].see().changes, 0);
    let (_, _, reply) =
        nodes[0].ask(Ask::Activate { off: Some("mn9".into()), cannot_write: None, dry_run: false });
    assert!(matches!(&reply, Reply::Refused(r) if r.kind == RefusalKind::Usage), "{reply:?}");
    nodes.into_iter().for_each(Running::stop);
}

#[test]
fn a_step_that_fails_undoes_the_rest_and_one_that_sticks_is_told() {
    let lab = Lab::new("stack-fails");
    let nodes = lab.founded();
    // xcatd: those after it are not vital.
    let last = nodes[0].see().up.len() - 4;
    nodes[0].set(|s| s.broken = Some(last));
    let failed = nodes[0].activate();
    assert_eq!(failed.obstacle, Some(RefusalKind::StepFailed), "{failed:?}");
    assert_eq!(failed.exit, 15);
    let step = failed.steps.iter().find(|step| step.state == StepDone::Failed).unwrap();
    assert!(step.error.as_deref().is_some_and(|why| why.contains("status 1")), "{step:?}");
    assert!(nodes[0].see().up.iter().all(|up| !up) && !nodes[0].see().permit, "{failed:?}");
    assert!(failed.remedy.is_some());

    // Mended, the other node may go first.
    nodes[0].set(|s| s.broken = None);
    let moved = nodes[1].activate_in_turn();
    assert_eq!(moved.exit(), Exit::Ok, "{moved:?}");

    // What does not go down keeps everything under it up, and the peer out.
    nodes[1].set(|s| s.stuck = Some(last));
    let stuck = nodes[1].deactivate();
    assert_eq!(stuck.obstacle, Some(RefusalKind::PartlyUndone), "{stuck:?}");
    assert!(stuck.text.contains("process 4711"), "{stuck:?}");
    assert!(nodes[1].see().up[..=last].iter().all(|up| *up));
    assert_ne!(nodes[0].activate().exit(), Exit::Ok);
    nodes[1].set(|s| s.stuck = None);
    let moved = nodes[1].deactivate();
    assert_eq!(moved.exit(), Exit::Ok, "a second run completes: {moved:?}");
    assert!(nodes[1].see().up.iter().all(|up| !up));
    nodes.into_iter().for_each(Running::stop);
}

#[test]
fn a_busy_directory_is_named_before_anything_goes_down() {
    let lab = Lab::new("stack-busy");
    let nodes = lab.founded();
    assert_eq!(nodes[0].activate().exit(), Exit::Ok);
    nodes[1].expect("mn1 is active", |s| s.nodes[0].role == Role::Active);
    let busy = "link /install is in use: bash (pid 4711) works in /HA-data/install";
    nodes[0].set(|s| s.busy = Some(busy.into()));
    let changes = nodes[0].see().changes;
    for dry_run in [true, false] {
        let refused = nodes[0].moved(Ask::Deactivate { dry_run });
        assert_eq!(refused.obstacle, Some(RefusalKind::Checks), "{refused:?}");
        assert_eq!((refused.exit, refused.dry_run), (14, dry_run));
        assert!(refused.text.contains("pid 4711"), "{refused:?}");
        assert!(refused.remedy.is_some_and(|remedy| remedy.contains("regent deactivate")));
    }
    // A switchover as well, on whichever node it is asked for.
    for node in &nodes {
        match node.ask(Ask::Switchover { to: None, away: false }).2 {
            Reply::Refused(refused) => {
                assert_eq!(refused.kind, RefusalKind::Checks, "{refused:?}");
                assert!(refused.reason.contains("pid 4711"), "{refused:?}");
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(nodes[0].see().changes, changes);
    assert!(nodes[0].see().up.iter().all(|up| *up));
    // Gone, everything may go down.
    nodes[0].set(|s| s.busy = None);
    let reply = nodes[1].ask(Ask::Switchover { to: None, away: false }).2;
    assert!(matches!(reply, Reply::Done(_)), "{reply:?}");
    assert!(nodes[1].see().up.iter().all(|up| *up) && nodes[0].see().up.iter().all(|up| !up));
    nodes.into_iter().for_each(Running::stop);
}

#[test]
fn an_agent_that_is_stopped_leaves_the_stack_up_and_its_next_run_keeps_it() {
    let lab = Lab::new("stack-kept");
    let [one, two] = lab.founded();
    assert_eq!(one.activate().exit(), Exit::Ok);
    let switches = Arc::clone(&one.switches);
    one.stop();
    let kept = switches.lock().unwrap().clone();
    assert!(kept.up.iter().all(|up| *up) && kept.permit);
    // Nobody has proven that mn1 is off.
    two.expect("mn1 is silent", |s| !s.nodes[0].reachable);
    let refused = two.activate();
    let kinds = [Some(RefusalKind::NotProvenClear), Some(RefusalKind::NoQuorum)];
    assert!(kinds.contains(&refused.obstacle), "{refused:?}");
    let one = lab.start("mn1", switches);
    one.expect("it goes on", |s| s.nodes[0].role == Role::Active);
    assert_eq!(one.see().changes, kept.changes, "nothing was begun anew");
    one.stop();
    two.stop();
}

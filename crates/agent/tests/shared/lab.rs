//! Hosts with a stack of toys, linked by real agents.

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
use regent_api::status::Status;
use regent_core::command::{AddressStep, DatabaseStep, Fenced, GateStep, Outcome};
use regent_core::command::{LifeSigns, PortAnswer, ServiceStep, StepResult};
use regent_core::health::ProbeId;
use regent_core::id::{ClusterId, CommandId, Epoch, Incarnation, NodeId};
use regent_core::node::Input;
use regent_core::observe::{ServiceId, UnitState};
use regent_core::stack::{Claim, StackResult, StackStep, StepState, Survey};
use regent_core::state::State;
use regent_store::cell::Standing;
use regent_store::embedded::RecordFile;
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::watch;

struct NoGate;

impl Gate for NoGate {
    fn step(&mut self, _: GateStep) -> Result<(), String> {
        Ok(())
    }
}

/// What outlives the agent on one host: its steps, its permit; and what both hosts see: the claim.
pub(crate) struct Toys {
    node: NodeId,
    steps: Mutex<Vec<bool>>,
    permit: Mutex<bool>,
    claim: Arc<Mutex<Option<Claim>>>,
    /// The first step does not go down.
    sticky: Mutex<bool>,
    /// What this host sees of another one's whose agent does not take connections.
    shows: Mutex<LifeSigns>,
    ports: BTreeMap<NodeId, u16>,
}

impl Toys {
    fn survey(&self) -> Survey {
        let state = |up: &bool| if *up { StepState::Up } else { StepState::Down };
        Survey {
            steps: self.steps.lock().unwrap().iter().map(state).collect(),
            permit: *self.permit.lock().unwrap(),
            problems: Vec::new(),
            drift: Vec::new(),
            claim: *self.claim.lock().unwrap(),
            claimant: None,
            unsettled: false,
        }
    }

    fn step(&self, cluster: ClusterId, step: StackStep) -> StackResult {
        let set = |place: u16, up: bool| self.steps.lock().unwrap()[usize::from(place)] = up;
        match step {
            StackStep::Survey | StackStep::Repair => {}
            StackStep::Claim { epoch, over } => {
                let mut claim = self.claim.lock().unwrap();
                let foreign = claim.filter(|c| !c.clear && c.cluster != cluster);
                if let Some(foreign) = foreign.filter(|c| Some(c.cluster) != over) {
                    return StackResult::Foreign(format!("claimed by {}", foreign.cluster));
                }
                *claim = Some(Claim { cluster, epoch, node: self.node, clear: false });
                *self.permit.lock().unwrap() = true;
            }
            StackStep::Up { step } => set(step.0, true),
            StackStep::Revoke => *self.permit.lock().unwrap() = false,
            StackStep::Down { step } if step.0 == 0 && *self.sticky.lock().unwrap() => {
                return StackResult::Failed("it is in use".into());
            }
            StackStep::Down { step } => set(step.0, false),
            StackStep::Unclaim { .. } => {
                let mut claim = self.claim.lock().unwrap();
                if let Some(claim) = claim.as_mut().filter(|c| c.node == self.node) {
                    claim.clear = true;
                }
            }
        }
        StackResult::Done
    }
}

/// One life's view of the host.
struct ToyHost {
    inputs: OnceLock<Inputs>,
    cluster: OnceLock<ClusterId>,
    services: usize,
    /// Tickets that an earlier life left in the kernel.
    slots: [Option<regent_core::time::Span>; 2],
    toys: Arc<Toys>,
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
}

impl Host for ToyHost {
    fn gate(&self) -> Result<Opened, String> {
        Ok((Box::new(NoGate), self.slots))
    }

    fn begin(&self, cluster: Option<ClusterId>, inputs: Inputs, _: Transport, _: Events) {
        for service in 0..self.services {
            let state = UnitState::Up { start: 1 };
            inputs.put(Input::ServiceUnit {
                service: ServiceId(service as u16),
                state,
                asked: false,
            });
        }
        if let Some(cluster) = cluster {
            self.cluster.set(cluster).ok();
        }
        self.inputs.set(inputs).ok();
    }

    fn address(&self, id: CommandId, _: AddressStep) {
        self.done(id);
    }

    fn database(&self, id: CommandId, _: DatabaseStep) {
        let result = StepResult::Failed("there is no replicated database".into());
        self.say(Input::Outcome { id, outcome: Outcome::Database { result, facts: None } });
    }

    fn service(&self, id: CommandId, _: ServiceId, _: ServiceStep) {
        self.done(id);
    }

    fn stack(&self, id: CommandId, step: StackStep) {
        let cluster = *self.cluster.get().expect("a stack belongs to a cluster");
        let result = self.toys.step(cluster, step);
        let survey = Some(self.toys.survey());
        self.say(Input::Outcome { id, outcome: Outcome::Stack { result, survey } });
    }

    fn plan(&self, _: bool) -> Later<Result<Planned, String>> {
        Box::pin(async { Ok(Planned::default()) })
    }

    fn fence(&self, id: CommandId, _: NodeId, _: Epoch) {
        self.say(Input::Outcome { id, outcome: Outcome::Fence(Fenced::Unknown("none".into())) });
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

    /// All members are on one host here: a refused connection says nothing about a member's.
    fn probe(&self, id: CommandId, node: NodeId) {
        let shown = self.toys.shows.lock().unwrap().clone();
        let port = *self.toys.ports.get(&node).unwrap();
        let port = match std::net::TcpStream::connect(("127.0.0.1", port)) {
            Ok(_) => PortAnswer::Open,
            Err(_) => PortAnswer::Silent,
        };
        let life = match port {
            PortAnswer::Open => LifeSigns { port, ..shown },
            PortAnswer::Reset | PortAnswer::Silent => shown,
        };
        self.say(Input::Outcome { id, outcome: Outcome::Peer(life) });
    }

    fn vip_used(&self) -> Later<Result<Option<String>, String>> {
        Box::pin(async { Ok(None) })
    }

    fn vip_answered(&self) -> Later<Result<Option<String>, String>> {
        Box::pin(async { Ok(None) })
    }

    fn prepare(&self, _: Incarnation) -> Later<Result<(), String>> {
        Box::pin(async { Err("on shared data there is nothing to prepare".into()) })
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
pub(crate) struct Running {
    place: Place,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

pub(crate) struct Lab {
    root: PathBuf,
    text: String,
    toys: BTreeMap<String, Arc<Toys>>,
}

impl Lab {
    pub(crate) fn new(name: &str) -> Lab {
        let root = std::env::temp_dir().join(format!("regent-{name}-{}", std::process::id()));
        std::fs::remove_dir_all(&root).ok();
        let data = root.join("data");
        std::fs::create_dir_all(&data).unwrap();
        // Held together, so that they differ; free again when this returns.
        let listeners: Vec<std::net::TcpListener> =
            (0..2).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let ports: Vec<u16> = listeners.iter().map(|l| l.local_addr().unwrap().port()).collect();
        let text = std::fs::read_to_string(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../config/tests/config/shared.toml"),
        )
        .unwrap()
        .replace("10.77.0.11\"", &format!("127.0.0.1:{}\"", ports[0]))
        .replace("10.77.0.12\"", &format!("127.0.0.1:{}\"", ports[1]))
        .replace("/HA-data", &data.display().to_string());
        let settings = config::parse("lab", &text).unwrap();
        let steps = settings.spec().stack.unwrap().steps.len();
        ca::init(&root.join("ca")).unwrap();
        let claim = Arc::default();
        let ports = settings.members.iter().map(|m| (m.id, m.address.port()));
        let ports: BTreeMap<NodeId, u16> = ports.collect();
        let mut toys = BTreeMap::new();
        for member in &settings.members {
            let out = Place::under(&root.join(&member.name)).tls;
            ca::issue(&member.name, &root.join("ca"), &out).unwrap();
            let (steps, permit) = (Mutex::new(vec![false; steps]), Mutex::default());
            let (claim, sticky) = (Arc::clone(&claim), Mutex::default());
            let (node, shows, ports) = (member.id, Mutex::new(LifeSigns::SILENT), ports.clone());
            let its = Toys { node, steps, permit, claim, sticky, shows, ports };
            toys.insert(member.name.clone(), Arc::new(its));
        }
        Lab { root, text, toys }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The shared directory.
    pub(crate) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    pub(crate) fn steps_up(&self, name: &str) -> usize {
        self.toys[name].steps.lock().unwrap().iter().filter(|up| **up).count()
    }

    /// The host was off: nothing of the stack runs any more, and no unit has a permit. What is noted durably (carried
    /// files, the database's check) counts as up until it is taken down.
    pub(crate) fn reboot(&self, name: &str) {
        let toys = &self.toys[name];
        let noted = 8..10;
        let mut steps = toys.steps.lock().unwrap();
        steps.iter_mut().enumerate().for_each(|(at, up)| *up = *up && noted.contains(&at));
        drop(steps);
        *toys.permit.lock().unwrap() = false;
    }

    /// What this host sees from here on of another one's whose agent does not take connections.
    pub(crate) fn show(&self, name: &str, life: LifeSigns) {
        *self.toys[name].shows.lock().unwrap() = life;
    }

    /// One step that does not go down stays up.
    pub(crate) fn leave_up(&self, name: &str) {
        let toys = &self.toys[name];
        toys.steps.lock().unwrap()[0] = true;
        *toys.sticky.lock().unwrap() = true;
    }

    /// What the member's own record says; the agent may be running.
    pub(crate) fn state(&self, name: &str) -> State {
        let place = Place::under(&self.root.join(name));
        let copy = self.root.join(format!("{name}.record"));
        std::fs::copy(place.record(), &copy).unwrap();
        let (_, kept) = RecordFile::open(&copy).unwrap();
        let Standing::Seated(record) = kept.standing else { panic!("{:?}", kept.standing) };
        State::decode(&record.value.bytes).unwrap()
    }

    pub(crate) fn start(&self, name: &str) -> Running {
        self.start_with(name, |text| text.to_owned())
    }

    pub(crate) fn start_with(&self, name: &str, edit: impl Fn(&str) -> String) -> Running {
        let place = Place::under(&self.root.join(name));
        let file = self.root.join(name).join("regent.toml");
        let text = edit(&self.text);
        std::fs::write(&file, &text).unwrap();
        let settings = config::parse("lab", &text).unwrap();
        let (stop, stopped) = watch::channel(false);
        let toys = Arc::clone(&self.toys[name]);
        let (name, its_place) = (name.to_string(), place.clone());
        let thread = std::thread::spawn(move || {
            loop {
                let permit = *toys.permit.lock().unwrap();
                let host = Arc::new(ToyHost {
                    inputs: OnceLock::new(),
                    cluster: OnceLock::new(),
                    services: settings.services.len(),
                    slots: [permit.then_some(regent_config::timing::UNTIL_RELEASED), None],
                    toys: Arc::clone(&toys),
                });
                let known = settings.members.iter().map(|m| m.name.as_str());
                let life = Life {
                    settings: settings.clone(),
                    file: file.clone(),
                    configuration: regent_config::digest(&text),
                    identity: tls::load(&its_place.tls, known).unwrap(),
                    place: its_place.clone(),
                    host: Some(host as Arc<dyn Host>),
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
    pub(crate) fn ask(&self, ask: Ask) -> Option<Reply> {
        let mut stream = UnixStream::connect(self.place.socket()).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(40))).unwrap();
        frame::write(&mut stream, &serde_json::to_vec(&Call::new(ask)).unwrap()).ok()?;
        loop {
            match serde_json::from_slice(&frame::read(&mut stream).ok()?).unwrap() {
                Reply::Progress(_) | Reply::Plan(_) | Reply::Step(_) => {}
                reply => return Some(reply),
            }
        }
    }

    pub(crate) fn status(&self) -> Option<Status> {
        match self.ask(Ask::Status)? {
            Reply::Status(status) => Some(*status),
            // It is about to begin anew.
            Reply::Refused(refusal) if refusal.kind == RefusalKind::Unreachable => None,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn expect(&self, what: &str, wanted: impl Fn(&Status) -> bool) -> Status {
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

    pub(crate) fn stop(mut self) {
        self.stop.send(true).unwrap();
        self.thread.take().unwrap().join().unwrap();
    }
}

pub(crate) fn node<'s>(status: &'s Status, name: &str) -> &'s regent_api::status::NodeStatus {
    status.nodes.iter().find(|n| n.name == name).unwrap()
}

pub(crate) fn expect_done(reply: Option<Reply>, part: &str) {
    match reply {
        Some(Reply::Done(text)) => assert!(text.contains(part), "{text}"),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn expect_refused(reply: Option<Reply>, kind: RefusalKind, part: &str) {
    match reply {
        Some(Reply::Refused(refusal)) => {
            assert_eq!(refusal.kind, kind, "{refusal:?}");
            let text = format!("{}; {}", refusal.reason, refusal.remedy);
            assert!(text.contains(part), "{text}");
        }
        other => panic!("{other:?}"),
    }
}

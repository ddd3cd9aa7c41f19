//! One life of an agent: from the durable record to the end of the process, or to the next life.
//!
//! ```text
//!   record vacant ──► waiting: listens, answers init and admission, says so in status
//!                        │ the record is seated
//!                        ▼
//!   record seated ──► serving: the lease thread with core, the register, the host
//! ```
//! The change from one to the other is a new life ([`Ending::Again`]): the process executes itself, so that
//! nothing of an agent without a cluster lingers in one that has one.

mod configuring;
mod operating;
mod quiet;
mod renewing;
mod speaking;
mod stacking;
mod timeline;

use crate::aside::Aside;
use crate::clocks::{self, Clocks};
use crate::dispatch::{Dispatcher, Listeners, Swaps, Waiting, Word};
use crate::driver::{self, Driver, Inputs};
use crate::events::Events;
use crate::host::Host;
use crate::init::Founding;
use crate::journal::Journal;
use crate::measure::Measures;
use crate::peer::{self, Peers};
use crate::place::Place;
use crate::register::Bridge;
use crate::room::{self, Vital};
use crate::serve::{self, Answerer};
use crate::status::Heard;
use crate::steps::Steps;
use crate::tls::Identity;
use crate::transport::{Lane, Pace, Setup, Transport};
use crate::watchdog::Arm;
use crate::{log, random, renew, runs};
use configuring::Configured;
use quiet::{Quiet, Scarce};
use regent_adapters::clock;
use regent_adapters::notify::Notify;
use regent_api::history::Severity;
use regent_config::Settings;
use regent_config::settings::Member;
use regent_core::command::RunRecord;
use regent_core::health::{Health, Judge};
use regent_core::id::{AttemptId, BootId, ClusterId, NodeId, RunId, Version};
use regent_core::node::{Identity as CoreIdentity, Input, Node};
use regent_core::state::FORMAT;
use regent_store::cell::{NodeId as StoreNode, Standing, Timing};
use regent_store::embedded::{Config, Event, Handle, Kept, OpenError, RecordFile, start};
use speaking::Speaking;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::watch;

/// Two for everything that may take its time: one may be in a slow system call.
const WORKERS: usize = 2;

/// One for the links and their messages: they need microseconds each.
const LINKS: usize = 1;

/// What the tasks of either need; all of it is locked in memory.
const STACK: usize = 512 << 10;

/// How the links, the register and whoever changes the address are placed among ordinary threads, so that load
/// delays no renewal. Children and copies of the database keep the ordinary place.
const NICE: i32 = -15;

/// How long the record may be locked by the agent before this one, which systemd has just killed.
const LOCKED: Duration = Duration::from_secs(2);

/// What one life needs.
pub struct Life {
    /// The configuration.
    pub settings: Settings,
    /// Its file.
    pub file: PathBuf,
    /// The digest of its file; 0 if there is none.
    pub configuration: u64,
    /// Who this is.
    pub identity: Identity,
    /// Where things are kept.
    pub place: Place,
    /// This host; a witness has none.
    pub host: Option<Arc<dyn Host>>,
    /// Becomes true when the process shall end.
    pub stop: watch::Receiver<bool>,
    /// How links wait.
    pub pace: Pace,
    /// This process alone is the agent: it may lock memory and tell systemd. Not so in tests.
    pub owns_process: bool,
}

/// How a life ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// It was asked to end.
    Stop,
    /// Begin again: the record changed what this process is.
    Again,
}

/// Why a life could not begin.
#[derive(Debug, thiserror::Error)]
pub enum LifeError {
    /// The certificate names no member.
    #[error("failed to find {0} in the configuration")]
    Nobody(String),
    /// A node was started as witness, or the other way round.
    #[error("{name} is {is} in the configuration: use regent {command}")]
    Wrong {
        /// Who this is.
        name: String,
        /// What it is.
        is: &'static str,
        /// What to start.
        command: &'static str,
    },
    /// A file or directory.
    #[error("failed to use {0}: {1}")]
    File(PathBuf, io::Error),
    /// The voter's record.
    #[error(transparent)]
    Record(#[from] OpenError),
    /// The kernel's filter.
    #[error("failed to open the gate: {0}")]
    Gate(String),
    /// The machine.
    #[error("failed to start: {0}")]
    Machine(#[from] io::Error),
}

/// Lives until stopped.
pub fn live(life: Life) -> Result<Ending, LifeError> {
    let name = life.identity.name.clone();
    let me = life.settings.member(&name).ok_or(LifeError::Nobody(name))?.clone();
    expect_right_command(&me, life.host.is_some())?;
    for dir in [&life.place.state, &life.place.run] {
        std::fs::create_dir_all(dir).map_err(|e| LifeError::File(dir.clone(), e))?;
    }
    if life.owns_process
        && let Err(error) = clock::lock_memory()
    {
        log::warning(&format!("failed to lock memory, going on without: {error}"));
    }
    let mut kept = read_record(&life.place.record())?;
    let turned =
        renew::carry_out(&life.place).map_err(|e| LifeError::File(life.place.turn(), e))?;
    if turned.is_some() {
        kept = read_record(&life.place.record())?;
    }
    let born = Born {
        boot: clock::boot_id()?,
        run: RunId(random::draw_half()?),
        seed: random::draw_half()?,
        offer: random::draw_half()?,
        turned,
        last: match &kept.standing {
            Standing::Seated(record) => Some(Arc::new(record.value.clone())),
            Standing::Newcomer { .. } | Standing::Vacant => None,
        },
    };
    let runtime = runtime("tasks", WORKERS)?;
    // Threads inherit their place from the one that starts them: from here on, all that a renewal needs.
    let place = rustix::process::getpriority_process(None).unwrap_or(0);
    if life.owns_process
        && let Err(error) = rustix::process::setpriority_process(None, NICE.min(place))
    {
        log::warning(&format!("failed to go before ordinary threads, going on without: {error}"));
    }
    let links = self::runtime("links", LINKS)?;
    let ending = match (&kept.standing, &life.host) {
        (Standing::Seated(record), Some(host)) => {
            let cluster = ClusterId(record.cluster.0);
            let host = Arc::clone(host);
            runtime.block_on(serve_as_node(
                &life,
                &me,
                &born,
                cluster,
                kept.high,
                host,
                links.handle(),
            ))
        }
        (standing, _) => {
            let cluster = match standing {
                Standing::Seated(record) => Some(ClusterId(record.cluster.0)),
                Standing::Newcomer { .. } | Standing::Vacant => None,
            };
            runtime.block_on(wait_or_witness(&life, &me, &born, cluster, links.handle()))
        }
    };
    links.shutdown_background();
    runtime.shutdown_background();
    // The next life of this process begins where this one did; to go back is always allowed.
    rustix::process::setpriority_process(None, place).ok();
    ending
}

fn runtime(name: &str, threads: usize) -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
        .thread_name(name)
        .thread_stack_size(STACK)
        .enable_all()
        .build()
}

/// What is drawn once per life.
struct Born {
    boot: BootId,
    run: RunId,
    seed: u64,
    offer: u64,
    /// What became of the register before this life.
    turned: Option<String>,
    /// What this voter accepted last, before this life.
    last: Option<Arc<regent_store::cell::Value>>,
}

fn expect_right_command(me: &Member, has_host: bool) -> Result<(), LifeError> {
    let name = me.name.clone();
    match (me.witness, has_host) {
        (true, false) | (false, true) => Ok(()),
        (true, true) => Err(LifeError::Wrong { name, is: "a witness", command: "witness" }),
        (false, false) => Err(LifeError::Wrong { name, is: "a node", command: "agent" }),
    }
}

/// What the record keeps; the lock that comes with it is the one that only one agent of this host can hold (C6).
fn read_record(path: &std::path::Path) -> Result<Kept, LifeError> {
    let began = Instant::now();
    loop {
        match RecordFile::open(path) {
            Ok((_, kept)) => return Ok(kept),
            Err(OpenError::InUse { .. }) if began.elapsed() < LOCKED => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Everything that a node and an agent without a cluster have in common.
struct Common {
    transport: Transport,
    incoming: tokio::sync::mpsc::Receiver<crate::transport::Incoming>,
    register: Arc<Handle>,
    bridge: Arc<Bridge>,
    heard: Arc<Heard>,
    reports: Reports,
    events: Events,
    clocks: Arc<Clocks>,
    measures: Arc<Measures>,
    swaps: Arc<Swaps>,
}

/// The newest report of each node, as a witness hears it.
type Reports = Arc<Mutex<std::collections::HashMap<NodeId, regent_core::observe::Report>>>;

fn begin(
    life: &Life,
    me: &Member,
    born: &Born,
    cluster: Option<ClusterId>,
    inputs: Option<Inputs>,
    links: &tokio::runtime::Handle,
) -> Result<Common, LifeError> {
    let events = Events::open(&life.place.events());
    if let Some(turned) = &born.turned {
        events.write(Severity::Warning, 0, "register.turned", turned);
    }
    let heard = Arc::new(Heard::default());
    let reports = Reports::default();
    let clocks = Arc::new(Clocks::default());
    let peers = life.settings.members.iter().filter(|m| m.id != me.id);
    let measures = Arc::new(Measures::new(peers.map(|m| (m.id, m.name.clone()))));
    let register: Arc<OnceLock<Arc<Handle>>> = Arc::default();
    let inbox = {
        let (register, inputs) = (Arc::clone(&register), inputs.clone());
        let (heard, reports) = (Arc::clone(&heard), Arc::clone(&reports));
        let host = life.host.clone();
        let listeners = Listeners {
            me: me.id,
            clocks: Arc::clone(&clocks),
            measures: Arc::clone(&measures),
            heard: Arc::clone(&heard),
        };
        move |from: NodeId, lane: Lane, body: Vec<u8>| {
            heard.note(from);
            match (lane, register.get(), &inputs) {
                (Lane::Register, Some(register), _) => {
                    // What does not decode is another release's, and as good as lost.
                    if let Ok(message) = regent_store::decode_message(&body) {
                        register.tell(Event::Message { from: StoreNode(from.0), message });
                    }
                }
                (Lane::Report, _, inputs) => {
                    let Some(report) = listeners.take(&body, from) else { return };
                    if let (Some(host), Some(link)) = (&host, report.link) {
                        host.peer_link(from, link);
                    }
                    match inputs {
                        Some(inputs) => inputs.offer(Input::Report(report)),
                        None => {
                            let mut reports =
                                reports.lock().expect("nothing panics while it holds this");
                            reports.insert(from, report);
                        }
                    }
                }
                (Lane::Register, None, _) => {}
            }
        }
    };
    let setup = Setup {
        identity: life.identity.clone(),
        cluster: life.settings.cluster.clone(),
        cluster_id: cluster,
        me: me.id,
        run: born.run.0,
        members: life.settings.members.clone(),
        pace: life.pace,
    };
    let (transport, incoming) = Transport::start(setup, Arc::new(inbox), links);
    let swaps = Arc::new(Swaps::new(Arc::clone(&measures)));
    let bridge = Bridge::new(transport.clone(), inputs, events.clone(), Arc::clone(&swaps));
    let renewal = life.settings.pace.renewal.0;
    let config = Config {
        me: StoreNode(me.id.0),
        nodes: life.settings.members.iter().map(|m| StoreNode(m.id.0)).collect(),
        path: life.place.record(),
        run: born.run.0,
        seed: born.seed,
        // An answer, or Unknown, before the next renewal is due.
        timing: Timing { budget: renewal * 4 / 5, ..Timing::default() },
        proposes: !me.witness,
    };
    let now = Arc::new(|| clock::now().raw);
    let handle = Arc::new(start(config, now, Arc::clone(&bridge) as _)?);
    // It is set once, here.
    register.set(Arc::clone(&handle)).ok();
    tokio::spawn(watch_clock(Arc::clone(&clocks), events.clone()));
    let register = handle;
    Ok(Common {
        transport,
        incoming,
        register,
        bridge,
        heard,
        reports,
        events,
        clocks,
        measures,
        swaps,
    })
}

/// How often clocks are looked at.
const CLOCK: Duration = Duration::from_secs(1);

/// Tells when this node's own wall clock jumps: nothing is decided by it, and the dates of its log are wrong.
async fn watch_clock(clocks: Arc<Clocks>, events: Events) {
    let mut every = tokio::time::interval(CLOCK);
    loop {
        every.tick().await;
        let steady = clock::now().boot / 1000;
        if let Some(by) = clocks.jump(clocks::wall_us(), steady as i64) {
            let text = format!(
                "the wall clock of this node jumped by {:+.3} s; nothing is decided by it, but its log is dated by it",
                by as f64 / 1e6
            );
            events.write(Severity::Alarm, 0, "clock.jumped", &text);
        }
    }
}

/// How often it is looked whether a member greets by another register.
const GREETINGS: Duration = Duration::from_millis(100);

/// Tells core of a member that greets by another register than this node's, for as long as it does. One that was
/// replaced on this node is no other one: whoever has it still was told to be off.
async fn watch_greetings(settings: Settings, place: Place, transport: Transport, inputs: Inputs) {
    let mut every = tokio::time::interval(GREETINGS);
    loop {
        every.tick().await;
        for member in settings.members.iter().filter(|member| !member.witness) {
            let Some(cluster) = transport.other_register(member.id) else { continue };
            if !renew::was_replaced(&place, cluster) {
                inputs.offer(Input::ForeignRegister { node: member.id, cluster });
            }
        }
    }
}

/// Judges the probes that compare clocks, and tells core of each change.
async fn probe_clocks(settings: Settings, clocks: Arc<Clocks>, inputs: Inputs) {
    let mut probes: Vec<_> = settings
        .clocks()
        .map(|(id, probe, most)| {
            let judge = Judge::new(probe.rise, probe.fall);
            (id, most, Duration::from_nanos(probe.interval.0).max(CLOCK), judge, Instant::now())
        })
        .collect();
    if probes.is_empty() {
        return;
    }
    let mut every = tokio::time::interval(CLOCK);
    loop {
        every.tick().await;
        let second = clock::now().raw / 1_000_000_000;
        let offsets = clocks.offsets(second);
        let worst = offsets.into_iter().max_by_key(|(_, us)| us.unsigned_abs());
        let Some((node, us)) = worst else { continue };
        for (id, most, interval, judge, due) in &mut probes {
            if Instant::now() < *due {
                continue;
            }
            *due = Instant::now() + *interval;
            let passed = us.unsigned_abs() * 1000 <= most.0;
            if let Some(health) = judge.take(passed) {
                let ms = us.unsigned_abs() / 1000;
                let way = if us > 0 { "ahead of" } else { "behind" };
                let why = format!("the clock is {ms} ms {way} that of {}", settings.name(node));
                let why = if health == Health::Failing { why } else { String::new() };
                inputs.put(Input::Health { probe: *id, health, why });
            }
        }
    }
}

/// An agent without a cluster, and a witness with or without one.
async fn wait_or_witness(
    life: &Life,
    me: &Member,
    born: &Born,
    cluster: Option<ClusterId>,
    links: &tokio::runtime::Handle,
) -> Result<Ending, LifeError> {
    let common = begin(life, me, born, cluster, None, links)?;
    let Common { transport, incoming, register, bridge, heard, reports, events, clocks, .. } =
        common;
    let founding = Arc::new(Founding {
        settings: life.settings.clone(),
        me: me.id,
        boot: born.boot,
        run: born.run,
        place: life.place.clone(),
        register: Arc::clone(&register),
        bridge: Arc::clone(&bridge),
        transport: transport.clone(),
        offer: born.offer,
    });
    if let Some(host) = &life.host {
        let (inputs, _) = driver::queue();
        host.begin(None, inputs, transport.clone(), events.clone());
    }
    let scarce = Arc::<Scarce>::default();
    let room = {
        let (scarce, events) = (Arc::clone(&scarce), events.clone());
        room::watch(&life.place, Vital::Register, move |room| scarce.take(&room, &events))
    };
    let _room = watched(room);
    let configured = configured(life, me, &transport, &events);
    let quiet = Arc::new(Quiet {
        configured: Arc::clone(&configured),
        founding,
        host: life.host.clone(),
        heard: Arc::clone(&heard),
        reports,
        scarce,
        events,
        bridge: Arc::clone(&bridge),
        belongs: cluster.is_some(),
        founded: Arc::default(),
        is_founded: AtomicBool::new(false),
        busy: tokio::sync::Mutex::new(()),
    });
    let answerer: Answerer = {
        let quiet = Arc::clone(&quiet);
        Arc::new(move |ask, progress| {
            let quiet = Arc::clone(&quiet);
            Box::pin(async move { quiet.reply(ask, progress).await })
        })
    };
    let socket = life.place.socket();
    let listener = serve::listen(&socket).map_err(|e| LifeError::File(socket, e))?;
    tokio::spawn(serve::run(listener, Arc::clone(&answerer)));
    let peers = Arc::clone(&quiet) as Arc<dyn Peers>;
    tokio::spawn(peer::run(incoming, heard, peers, life.host.clone(), answerer));
    ready(life, if quiet.belongs { "votes" } else { "waits for regent init" });

    let mut stop = life.stop.clone();
    let mut latest = bridge.latest();
    // As often as a node reports: peers judge both by the same suspicion.
    let every = Duration::from_nanos(life.settings.pace.report.0);
    let mut alive = tokio::time::interval(every);
    let feeding = life.owns_process.then(Notify::from_environment);
    let ending = loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => break Ending::Stop,
            _ = alive.tick() => {
                if let Ok(word) = serde_json::to_vec(&Word::new(born.run, &clocks, None)) {
                    transport.send_to_all(Lane::Report, &word);
                }
                if let Some(notify) = &feeding {
                    notify.watchdog();
                }
            }
            () = quiet.founded.notified() => break Ending::Again,
            () = configured.again.notified() => break Ending::Again,
            Ok(()) = latest.changed() => {
                let seated = latest
                    .borrow_and_update()
                    .as_ref()
                    .is_some_and(|v| v.seat_of(StoreNode(me.id.0)).is_some());
                if seated && !quiet.belongs {
                    break Ending::Again;
                }
            }
        }
    };
    quiet.events.settle();
    drop((quiet, bridge));
    end_register(register).await;
    Ok(ending)
}

/// Ends the register's threads, so that the record is free for the next life.
async fn end_register(register: Arc<Handle>) {
    register.tell(Event::Shutdown);
    drop(register);
}

/// A node with a core.
async fn serve_as_node(
    life: &Life,
    me: &Member,
    born: &Born,
    cluster: ClusterId,
    high: u64,
    host: Arc<dyn Host>,
    links: &tokio::runtime::Handle,
) -> Result<Ending, LifeError> {
    let runs_file = life.place.runs();
    // Side by side: one waits for the disk, the other for the kernel, and a right may be running.
    let (runs, gate) = std::thread::scope(|scope| {
        let gate = scope.spawn(|| host.gate());
        (runs::add(&runs_file, me.id, born.run), gate.join())
    });
    let runs = runs.map_err(|e| LifeError::File(runs_file, e))?;
    let (gate, slots) = gate
        .map_err(|_| LifeError::Gate("the thread that opened it ended".into()))?
        .map_err(LifeError::Gate)?;
    // The plan has done its work; a voter that loses its record later must not find it (R2).
    let plan = life.place.plan();
    match std::fs::remove_file(&plan) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(LifeError::File(plan, error));
        }
        Ok(()) | Err(_) => {}
    }
    let (inputs, queue) = driver::queue();
    let common = begin(life, me, born, Some(cluster), Some(inputs.clone()), links)?;
    let Common {
        transport,
        incoming,
        register,
        bridge,
        heard,
        reports: _,
        events,
        clocks,
        measures,
        swaps,
    } = common;

    let record = RunRecord { runs, high: Version(high), lock_held: true, gate: slots };
    let configuration = life.configuration;
    let identity = CoreIdentity {
        cluster,
        node: me.id,
        boot: born.boot,
        run: born.run,
        seed: born.seed.rotate_left(17),
        link: host.link(),
        configuration,
        speaks: FORMAT,
    };
    let spec = life.settings.spec();
    let now = clock::now();
    let mut journal = Journal::start(&life.place.journal());
    journal.begin(now, format!("{identity:?} {record:?} {spec:?}"));
    let node = Node::new(identity, spec.clone(), record, now);
    let (commands, carried) = mpsc::sync_channel(driver::COMMANDS);
    let waiting = Waiting::default();
    let dispatcher = Dispatcher {
        run: born.run,
        register: Arc::clone(&register),
        transport: transport.clone(),
        host: Arc::clone(&host),
        events: events.clone(),
        clocks: Arc::clone(&clocks),
        swaps,
    };
    let notify = life.owns_process.then(Notify::from_environment);
    let steps = Arc::new(Steps::default());
    let driver = Driver {
        me: me.id,
        node,
        gate,
        events: queue,
        commands,
        journal,
        notify,
        arm: arm_watchdog(life, &inputs, &events),
        arming: false,
        watchdog: None,
        measures: Arc::clone(&measures),
        aside: Aside::start(Arc::clone(&steps), waiting.clone()),
        failures: driver::Failures::default(),
        clock: clock::now,
    };
    tokio::spawn(probe_clocks(life.settings.clone(), clocks, inputs.clone()));
    tokio::spawn(watch_greetings(
        life.settings.clone(),
        life.place.clone(),
        transport.clone(),
        inputs.clone(),
    ));
    // Before the first command, which may follow from the first input.
    host.begin(Some(cluster), inputs.clone(), transport.clone(), events.clone());
    let vital = if life.settings.stack().is_some() { Vital::Stack } else { Vital::Replicated };
    let room = {
        let inputs = inputs.clone();
        room::watch(&life.place, vital, move |room| inputs.put(Input::Room(room)))
    };
    let _room = watched(room);
    let lease = std::thread::Builder::new().name("lease".into()).spawn(move || driver.run())?;
    let carrier = std::thread::Builder::new()
        .name("dispatch".into())
        .spawn(move || dispatcher.run(&carried))?;
    // What this node voted for last is a view too, and it is here at once.
    regent_store::Register::watch(register.as_ref());
    events.write(
        Severity::Info,
        0,
        "agent.began",
        &format!("run {}, boot {}", born.run, born.boot),
    );

    let configured = configured(life, me, &transport, &events);
    let speaking = Arc::new_cyclic(|here| Speaking {
        here: here.clone(),
        configured: Arc::clone(&configured),
        settings: life.settings.clone(),
        spec,
        steps,
        configuration,
        place: life.place.clone(),
        last: born.last.clone(),
        me: me.id,
        cluster,
        attempt: AttemptId { node: me.id, boot: born.boot, run: born.run, n: 0 },
        admissions: AtomicU64::new(1 << 40),
        changing: tokio::sync::Mutex::default(),
        inputs: inputs.clone(),
        waiting,
        heard: Arc::clone(&heard),
        events,
        bridge: Arc::clone(&bridge),
        register: Arc::clone(&register),
        host: Arc::clone(&host),
        transport,
        measures,
    });
    let answerer: Answerer = {
        let speaking = Arc::clone(&speaking);
        Arc::new(move |ask, progress| {
            let speaking = Arc::clone(&speaking);
            Box::pin(async move { speaking.answered(ask, progress).await })
        })
    };
    let socket = life.place.socket();
    let listener = serve::listen(&socket).map_err(|e| LifeError::File(socket, e))?;
    tokio::spawn(serve::run(listener, Arc::clone(&answerer)));
    let peers = Arc::clone(&speaking) as Arc<dyn Peers>;
    tokio::spawn(peer::run(incoming, heard, peers, Some(host), answerer));
    tokio::spawn(Arc::clone(&speaking).seat_newcomer());
    ready(life, "member of a cluster");

    let mut stop = life.stop.clone();
    let ending = tokio::select! {
        _ = stop.wait_for(|stop| *stop) => Ending::Stop,
        // The kernel's gate and the right go on; the next life finds both (C6).
        () = configured.again.notified() => Ending::Again,
    };
    if life.owns_process && ending == Ending::Stop {
        Notify::from_environment().stopping();
    }
    inputs.stop(ending == Ending::Stop);
    for thread in [lease, carrier] {
        thread.join().ok();
    }
    speaking.events.settle();
    drop((speaking, bridge));
    end_register(register).await;
    Ok(ending)
}

/// This member's file, and what became of a change that was under way when its last life ended.
fn configured(life: &Life, me: &Member, transport: &Transport, events: &Events) -> Arc<Configured> {
    let configured = Arc::new(Configured {
        file: life.file.clone(),
        settings: life.settings.clone(),
        me: me.id,
        transport: transport.clone(),
        events: events.clone(),
        again: tokio::sync::Notify::new(),
        due: AtomicBool::new(false),
        busy: tokio::sync::Mutex::new(()),
    });
    tokio::spawn(Arc::clone(&configured).decide());
    configured
}

/// Without the thread nothing is reserved and nothing told; all else goes on.
fn watched(room: io::Result<room::Watch>) -> Option<room::Watch> {
    room.inspect_err(|error| log::warning(&format!("failed to watch the disk: {error}"))).ok()
}

/// How to arm the watchdog device, if one is configured and this process alone is the agent.
fn arm_watchdog(life: &Life, inputs: &Inputs, events: &Events) -> Option<Arm> {
    let wanted = life.settings.watchdog.clone().filter(|_| life.owns_process)?;
    Some(Arm::start(wanted, inputs.clone(), events.clone(), clock::now))
}

fn ready(life: &Life, status: &str) {
    if life.owns_process {
        let notify = Notify::from_environment();
        notify.status(status);
        notify.ready();
    }
}

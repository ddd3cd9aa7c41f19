//! A node with a core: the lease thread, its neighbours, and all that feed it.

use super::common::{Common, begin, configured, end_register, ready, serve_questions, watched};
use super::configured::Configured;
use super::life::{Born, Ending, Life, LifeError};
use super::node_api::NodeApi;
use super::watches::{probe_clocks, watch_greetings};
use crate::aside::Aside;
use crate::dispatch::Dispatcher;
use crate::driver::{self, Driver};
use crate::events::Events;
use crate::host::{Host, Opened};
use crate::inputs::{self, Inputs};
use crate::journal::Journal;
use crate::peer::Peers;
use crate::pending::PendingRequests;
use crate::room::{self, Vital};
use crate::runs;
use crate::serve::Answerer;
use crate::steps::Steps;
use crate::watchdog::Arm;
use regent_adapters::clock;
use regent_adapters::notify::Notify;
use regent_api::history::Severity;
use regent_config::settings::Member;
use regent_core::command::RunRecord;
use regent_core::id::{AttemptId, ClusterId, RunId, Version};
use regent_core::node::{Identity as CoreIdentity, Input, Node};
use regent_core::state::FORMAT;
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, mpsc};

/// A node with a core.
pub(super) async fn serve_as_node(
    life: &Life,
    me: &Member,
    born: &Born,
    cluster: ClusterId,
    high: u64,
    host: Arc<dyn Host>,
    links: &tokio::runtime::Handle,
) -> Result<Ending, LifeError> {
    let (runs, (gate, slots)) = begin_run(life, me, born, host.as_ref())?;
    forget_plan(life)?;
    let (inputs, queue) = inputs::queue();
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
    let (node, journal) = begin_core(life, me, born, cluster, host.link(), record);
    let (commands, carried) = mpsc::sync_channel(driver::COMMANDS);
    let pending = PendingRequests::default();
    let dispatcher = Dispatcher {
        run: born.run,
        register: Arc::clone(&register),
        transport: transport.clone(),
        host: Arc::clone(&host),
        events: events.clone(),
        clocks: Arc::clone(&clocks),
        swaps,
    };
    let steps = Arc::new(Steps::default());
    let driver = Driver {
        me: me.id,
        node,
        gate,
        events: queue,
        commands,
        journal,
        notify: life.owns_process.then(Notify::from_environment),
        arm: arm_watchdog(life, &inputs, &events),
        arming: false,
        watchdog: None,
        measures: Arc::clone(&measures),
        aside: Aside::start(Arc::clone(&steps), pending.clone()),
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
    let api = Arc::new_cyclic(|here| NodeApi {
        here: here.clone(),
        configured: Arc::clone(&configured),
        settings: life.settings.clone(),
        spec: life.settings.spec(),
        steps,
        configuration: life.configuration,
        place: life.place.clone(),
        last: born.last.clone(),
        me: me.id,
        cluster,
        attempt: AttemptId { node: me.id, boot: born.boot, run: born.run, n: 0 },
        admissions: AtomicU64::new(1 << 40),
        changing: tokio::sync::Mutex::default(),
        inputs: inputs.clone(),
        pending,
        heard: Arc::clone(&heard),
        events,
        bridge: Arc::clone(&bridge),
        register: Arc::clone(&register),
        host: Arc::clone(&host),
        transport,
        measures,
    });
    let answerer: Answerer = {
        let api = Arc::clone(&api);
        Arc::new(move |ask, progress| {
            let api = Arc::clone(&api);
            Box::pin(async move { api.answered(ask, progress).await })
        })
    };
    let peers = Arc::clone(&api) as Arc<dyn Peers>;
    serve_questions(life, answerer, peers, incoming, heard)?;
    tokio::spawn(Arc::clone(&api).seat_newcomer());
    ready(life, "member of a cluster");

    let ending = until_end(life, &configured).await;
    inputs.stop(ending == Ending::Stop);
    for thread in [lease, carrier] {
        thread.join().ok();
    }
    api.events.settle();
    drop((api, bridge));
    end_register(register).await;
    Ok(ending)
}

/// Writes down that this run began, and opens the gate's table. Side by side: one waits for the disk, the other for the
/// kernel, and a right may be running.
fn begin_run(
    life: &Life,
    me: &Member,
    born: &Born,
    host: &dyn Host,
) -> Result<(Vec<RunId>, Opened), LifeError> {
    let file = life.place.runs();
    let (runs, gate) = std::thread::scope(|scope| {
        let gate = scope.spawn(|| host.gate());
        (runs::add(&file, me.id, born.run), gate.join())
    });
    let runs = runs.map_err(|e| LifeError::File(file, e))?;
    let opened = gate
        .map_err(|_| LifeError::Gate("the thread that opened it ended".into()))?
        .map_err(LifeError::Gate)?;
    Ok((runs, opened))
}

/// The plan of a foundation has done its work; a voter that loses its record later must not find it (R2).
fn forget_plan(life: &Life) -> Result<(), LifeError> {
    let plan = life.place.plan();
    match std::fs::remove_file(&plan) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(LifeError::File(plan, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The core of this run, and the journal that holds all it is told, from the first input on.
fn begin_core(
    life: &Life,
    me: &Member,
    born: &Born,
    cluster: ClusterId,
    link: Option<[u8; 6]>,
    record: RunRecord,
) -> (Node, Journal) {
    let identity = CoreIdentity {
        cluster,
        node: me.id,
        boot: born.boot,
        run: born.run,
        seed: born.seed.rotate_left(17),
        link,
        configuration: life.configuration,
        speaks: FORMAT,
    };
    let spec = life.settings.spec();
    let now = clock::now();
    let mut journal = Journal::start(&life.place.journal());
    journal.begin(now, format!("{identity:?} {record:?} {spec:?}"));
    (Node::new(identity, spec, record, now), journal)
}

/// Waits until the process shall end, or begin again with another configuration.
async fn until_end(life: &Life, configured: &Configured) -> Ending {
    let mut stop = life.stop.clone();
    let ending = tokio::select! {
        _ = stop.wait_for(|stop| *stop) => Ending::Stop,
        // The kernel's gate and the right go on; the next life finds both (C6).
        () = configured.again.notified() => Ending::Again,
    };
    if life.owns_process && ending == Ending::Stop {
        Notify::from_environment().stopping();
    }
    ending
}

/// How to arm the watchdog device, if one is configured and this process alone is the agent.
fn arm_watchdog(life: &Life, inputs: &Inputs, events: &Events) -> Option<Arm> {
    let wanted = life.settings.watchdog.clone().filter(|_| life.owns_process)?;
    Some(Arm::start(wanted, inputs.clone(), events.clone(), clock::now))
}

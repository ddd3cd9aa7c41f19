//! What a node with a core and an agent without one have in common: links, the register, clocks, events.

use super::configured::Configured;
use super::life::{Born, Life, LifeError};
use super::watches::watch_clock;
use crate::clocks::Clocks;
use crate::events::Events;
use crate::heartbeat::Listeners;
use crate::host::Host;
use crate::inputs::Inputs;
use crate::log;
use crate::measure::Measures;
use crate::peer::{self, Peers};
use crate::register::Bridge;
use crate::room;
use crate::serve::{self, Answerer};
use crate::status::Heard;
use crate::swaps::Swaps;
use crate::transport::{Incoming, Lane, Setup, Transport};
use regent_adapters::clock;
use regent_adapters::notify::Notify;
use regent_api::history::Severity;
use regent_config::settings::Member;
use regent_core::id::{ClusterId, NodeId};
use regent_core::node::Input;
use regent_core::observe::Report;
use regent_store::cell::{NodeId as StoreNode, Timing};
use regent_store::embedded::{Config, Event, Handle, start};
use std::collections::HashMap;
use std::io;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock};
use tokio::sync::mpsc;

/// Everything that a node and an agent without a cluster have in common.
pub(super) struct Common {
    pub(super) transport: Transport,
    pub(super) incoming: mpsc::Receiver<Incoming>,
    pub(super) register: Arc<Handle>,
    pub(super) bridge: Arc<Bridge>,
    pub(super) heard: Arc<Heard>,
    pub(super) reports: Reports,
    pub(super) events: Events,
    pub(super) clocks: Arc<Clocks>,
    pub(super) measures: Arc<Measures>,
    pub(super) swaps: Arc<Swaps>,
}

/// The newest report of each node, as a witness hears it.
pub(super) type Reports = Arc<Mutex<HashMap<NodeId, Report>>>;

pub(super) fn begin(
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
    let listeners = Listeners {
        me: me.id,
        clocks: Arc::clone(&clocks),
        measures: Arc::clone(&measures),
        heard: Arc::clone(&heard),
    };
    let inbox = Inbox {
        register: Arc::clone(&register),
        listeners,
        inputs: inputs.clone(),
        reports: Arc::clone(&reports),
        host: life.host.clone(),
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
    let (transport, incoming) = Transport::start(
        setup,
        Arc::new(move |from, lane, body: Vec<u8>| inbox.take(from, lane, &body)),
        links,
    );
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

/// Where the messages of other members go.
struct Inbox {
    /// Set once it runs; what comes before is as good as lost.
    register: Arc<OnceLock<Arc<Handle>>>,
    listeners: Listeners,
    /// Those of core; an agent without one keeps the reports for its status.
    inputs: Option<Inputs>,
    reports: Reports,
    host: Option<Arc<dyn Host>>,
}

impl Inbox {
    fn take(&self, from: NodeId, lane: Lane, body: &[u8]) {
        self.listeners.heard.note(from);
        match (lane, self.register.get()) {
            (Lane::Register, Some(register)) => {
                // What does not decode is another release's, and as good as lost.
                if let Ok(message) = regent_store::decode_message(body) {
                    register.tell(Event::Message { from: StoreNode(from.0), message });
                }
            }
            (Lane::Register, None) => {}
            (Lane::Report, _) => self.take_report(from, body),
        }
    }

    fn take_report(&self, from: NodeId, body: &[u8]) {
        let Some(report) = self.listeners.take(body, from) else { return };
        if let (Some(host), Some(link)) = (&self.host, report.link) {
            host.peer_link(from, link);
        }
        match &self.inputs {
            Some(inputs) => inputs.offer(Input::Report(report)),
            None => {
                let mut reports = self.reports.lock().expect("nothing panics while it holds this");
                reports.insert(from, report);
            }
        }
    }
}

/// Ends the register's threads, so that the record is free for the next life.
pub(super) async fn end_register(register: Arc<Handle>) {
    register.tell(Event::Shutdown);
    drop(register);
}

/// This member's file, and what became of a change that was under way when its last life ended.
pub(super) fn configured(
    life: &Life,
    me: &Member,
    transport: &Transport,
    events: &Events,
) -> Arc<Configured> {
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
pub(super) fn watched(room: io::Result<room::Watch>) -> Option<room::Watch> {
    room.inspect_err(|error| log::warning(&format!("failed to watch the disk: {error}"))).ok()
}

/// Answers operators on the socket, and the other members.
pub(super) fn serve_questions(
    life: &Life,
    answerer: Answerer,
    peers: Arc<dyn Peers>,
    incoming: mpsc::Receiver<Incoming>,
    heard: Arc<Heard>,
) -> Result<(), LifeError> {
    let socket = life.place.socket();
    let listener = serve::listen(&socket).map_err(|e| LifeError::File(socket, e))?;
    tokio::spawn(serve::run(listener, Arc::clone(&answerer)));
    tokio::spawn(peer::run(incoming, heard, peers, life.host.clone(), answerer));
    Ok(())
}

/// Tells systemd that this agent is ready, and how it stands.
pub(super) fn ready(life: &Life, status: &str) {
    if life.owns_process {
        let notify = Notify::from_environment();
        notify.status(status);
        notify.ready();
    }
}

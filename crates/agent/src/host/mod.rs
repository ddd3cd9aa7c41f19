//! What carries out commands on this host, and the seam where a test puts another.

mod child;
mod fences;
mod prober;
pub mod real;
pub(crate) mod stack;
mod units;
mod worker;

use crate::events::Events;
use crate::inputs::Inputs;
use crate::transport::{Stream, Transport};
use regent_adapters::database::peer::{PeerAnswer, PeerRequest};
use regent_api::call::FenceTested;
use regent_core::command::{AddressStep, DatabaseStep, GateStep, ServiceStep};
use regent_core::health::ProbeId;
use regent_core::id::{ClusterId, CommandId, Epoch, Incarnation, NodeId};
use regent_core::observe::ServiceId;
use regent_core::stack::{StackStep, StepState};
use regent_core::time::Span;
use std::collections::BTreeMap;
use std::pin::Pin;
use std::time::Duration;

/// The kernel's filter, and what its slots have left.
pub type Opened = (Box<dyn Gate>, [Option<Span>; 2]);

/// A future that owns what it needs.
pub type Later<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What an activation or a deactivation comes to, before it is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Planned {
    /// In the order of an activation.
    pub steps: Vec<PlannedStep>,
    /// Why it would be refused before its first change: what an activation lacks, or who uses what a deactivation takes
    /// away.
    pub problems: Vec<String>,
}

/// One step of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedStep {
    /// Its name, as in the specification.
    pub name: String,
    /// What it does, in words.
    pub what: String,
    /// Where it is now.
    pub state: StepState,
}

/// The kernel's filter, as the lease thread drives it.
pub trait Gate: Send {
    /// One transaction, the kernel's answer awaited.
    fn step(&mut self, step: GateStep) -> Result<(), String>;
}

/// What the agent does to this host, and asks of it. No method blocks: each hands its work on, and the outcome comes to
/// [`Inputs`].
pub trait Host: Send + Sync + 'static {
    /// The kernel's filter for the lease thread, and what an earlier run left in its slots.
    fn gate(&self) -> Result<Opened, String>;

    /// From now on observations and outcomes go there. Called once, within the runtime. Without a cluster that it
    /// serves nothing of the host is taken over or watched.
    fn begin(
        &self,
        serves: Option<ClusterId>,
        inputs: Inputs,
        transport: Transport,
        events: Events,
    );

    /// Changes the virtual IP on this host; one after another.
    fn address(&self, id: CommandId, step: AddressStep);

    /// One step of the local database.
    fn database(&self, id: CommandId, step: DatabaseStep);

    /// Starts or kills a service.
    fn service(&self, id: CommandId, service: ServiceId, step: ServiceStep);

    /// One step of the stack on shared data.
    fn stack(&self, id: CommandId, step: StackStep);

    /// What bringing the whole stack up, or taking it down, comes to. Changes nothing, and disturbs no step that is
    /// under way.
    fn plan(&self, up: bool) -> Later<Result<Planned, String>>;

    /// Asks whether a silent peer's host lives.
    fn probe(&self, id: CommandId, node: NodeId);

    /// Fences a peer's host.
    fn fence(&self, id: CommandId, node: NodeId, epoch: Epoch);

    /// Within this long a fencing is answered, whichever.
    fn fence_bound(&self) -> Duration;

    /// Asks the fence of one node, or of every one, for its state; changes nothing.
    fn test_fences(&self, node: Option<NodeId>, epoch: Epoch) -> Later<Vec<FenceTested>>;

    /// This node answers for the VIP, or does not: probes that count in one role only follow.
    fn serving(&self, serving: bool);

    /// The link address of the interface that carries the VIP.
    fn link(&self) -> Option<[u8; 6]>;

    /// A peer reports its own.
    fn peer_link(&self, node: NodeId, link: [u8; 6]);

    /// What probes warn of although they pass.
    fn warnings(&self) -> BTreeMap<ProbeId, String>;

    /// For `init`: the database runs, is under control, and its data are this incarnation.
    fn prepare(&self, incarnation: Incarnation) -> Later<Result<(), String>>;

    /// For `init`: the database is stopped in order and started anew.
    fn restart_database(&self) -> Later<Result<(), String>>;

    /// For `init`: asks the segment whether somebody answers for a virtual IP, and tells who. Before there is a cluster
    /// nobody should.
    fn vip_used(&self) -> Later<Result<Option<String>, String>>;

    /// For an activation: asks for each virtual IP, by the segment's own means and by an echo, whether anybody but this
    /// host answers, a member as well, and tells who.
    fn vip_answered(&self) -> Later<Result<Option<String>, String>>;

    /// Answers a peer's question to the database.
    fn serve(&self, request: PeerRequest) -> Later<PeerAnswer>;

    /// Sends a copy of the database.
    fn send_backup(&self, stream: Stream) -> Later<Result<(), String>>;
}

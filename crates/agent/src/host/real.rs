//! The host that the agent runs on: kernel, systemd, MariaDB.

use super::fences::Fences;
use super::prober::{Forgetter, Prober};
use super::stack::{self, StepRunner};
use super::units::connected;
use super::worker::{Unit, UnitNews, Worker};
use super::{Host, Later, Opened, Planned};
use crate::events::Events;
use crate::host::Gate;
use crate::inputs::Inputs;
use crate::log;
use crate::place::Place;
use crate::transport::{Stream, Transport};
use regent_adapters::address_driver::AddressDriver;
use regent_adapters::database::peer::{PeerAnswer, PeerRequest};
use regent_adapters::database::{DatabaseNode, WorkerSettings, backup, site};
use regent_adapters::gate::{self, GateEvent};
use regent_adapters::keepalived::{self, Files, Keepalived, Vrrp};
use regent_adapters::probe::Accounts;
use regent_adapters::unit::{Managed, UnitWatch, Units};
use regent_adapters::vip::{Known, Mac, Vip, VipError, Vips, link, probe, stranger};
use regent_api::call::FenceTested;
use regent_api::history::Severity;
use regent_config::Settings;
use regent_config::settings::{self as config, Member};
use regent_core::command::{AddressStep, DatabaseStep, GateStep, Outcome, ServiceStep, StepResult};
use regent_core::health::{ProbeId, Subject};
use regent_core::id::{ClusterId, CommandId, Epoch, Incarnation, NodeId};
use regent_core::node::Input;
use regent_core::observe::{ServiceId, UnitState};
use regent_core::stack::{StackResult, StackStep};
use regent_core::time::Span;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::time::Duration;
use tokio::sync::watch;

/// How long a service may take to come up; core has its own patience, and this only ends a job that never ends.
const SERVICE_START: Span = Span::millis(60_000);

/// How long a service may take to stop.
const SERVICE_STOP: Span = Span::millis(60_000);

/// How long the kernel may take to empty a cgroup after SIGKILL.
const KILL: Span = Span::millis(10_000);

/// What is answered where the database is a step of the stack.
const NO_DATABASE: &str = "no node has a database of its own on shared data";

/// How many changes of the address wait: a move has four, and nothing begins another meanwhile.
const ADDRESSES: usize = 64;

/// This host.
pub struct RealHost {
    settings: Settings,
    me: Member,
    vips: Vips,
    /// Filled from the members' reports, so that none of them is taken for a stranger.
    known: Known,
    egress: Arc<AtomicBool>,
    fences: Arc<Fences>,
    worker_settings: WorkerSettings,
    place: Place,
    begun: OnceLock<Begun>,
}

/// What exists once the runtime does.
struct Begun {
    inputs: Inputs,
    addresses: mpsc::SyncSender<(CommandId, AddressStep)>,
    /// None on shared data: the database is a step of the stack.
    worker: Option<Worker>,
    /// The stack on shared data of the cluster that it serves.
    step_runner: Option<StepRunner>,
    prober: Prober,
    units: watch::Receiver<Option<Units>>,
    runtime: tokio::runtime::Handle,
    _watches: Watches,
}

/// Kept for as long as the host is; each ends when it is dropped.
#[derive(Default)]
struct Watches {
    _gate: Option<gate::Watch>,
    _stranger: Option<stranger::StrangerWatch>,
    _units: Arc<Mutex<Vec<UnitWatch>>>,
}

impl RealHost {
    /// The host of this member.
    pub fn new(settings: &Settings, me: &Member, place: &Place) -> RealHost {
        let node = |m: &Member| DatabaseNode {
            node: m.id,
            address: m.address.ip(),
            port: settings.database().map_or(0, |database| database.port),
        };
        let nodes = settings.members.iter().filter(|m| !m.witness).map(node).collect();
        let mut worker_settings = WorkerSettings::new(me.id, nodes);
        if let Some(database) = settings.database() {
            worker_settings.socket = database.socket.clone();
            worker_settings.events = database.events;
            worker_settings.copies = database.copies;
            worker_settings.datadir = site::configured_datadir();
        }
        worker_settings.state_dir = place.state.clone();
        worker_settings.run_dir = place.run.clone();
        RealHost {
            settings: settings.clone(),
            me: me.clone(),
            vips: Vips::new(
                settings
                    .vips
                    .iter()
                    .map(|vip| {
                        let one = Vip::new(vip.address, vip.length(), &me.interface);
                        if vip.first { one.found_first() } else { one }
                    })
                    .collect(),
            ),
            known: Known::default(),
            egress: Arc::default(),
            fences: Arc::new(fences(settings)),
            worker_settings,
            place: place.clone(),
            begun: OnceLock::new(),
        }
    }

    /// One set of data for all nodes, and a stack.
    fn is_shared(&self) -> bool {
        self.settings.stack().is_some()
    }

    fn begun(&self) -> &Begun {
        self.begun.get().expect("begin comes before the first command")
    }

    fn watch_network(&self, inputs: &Inputs, events: &Events) -> Watches {
        let gate_watch = {
            let (inputs, events) = (inputs.clone(), events.clone());
            gate::watch(&self.vips.addresses(), &self.me.interface, move |event| match event {
                GateEvent::Broken { what } => {
                    inputs.put(Input::GateLost);
                    events.write(Severity::Alarm, 0, "gate.broken", &what);
                }
                GateEvent::Repaired { took } => {
                    let text = format!("whole and closed again after {} ms", took.as_millis());
                    events.write(Severity::Warning, 0, "gate.repaired", &text);
                }
                GateEvent::Failed { reason } => {
                    events.write(Severity::Alarm, 0, "gate.not-repaired", &reason);
                }
            })
        };
        let members: Vec<IpAddr> = self.settings.members.iter().map(|m| m.address.ip()).collect();
        let strangers = {
            let inputs = inputs.clone();
            let on = move |stranger: stranger::Stranger| {
                inputs.offer(Input::Stranger { mac: stranger.mac.0 });
            };
            stranger::watch(self.vips.all(), members, self.known.clone(), on)
        };
        if let Err(error) = &gate_watch {
            events.write(Severity::Alarm, 0, "gate.unwatched", &format!("failed to {error}"));
        }
        if let Err(error) = &strangers {
            events.write(Severity::Warning, 0, "vip.unwatched", &format!("failed to {error}"));
        }
        Watches { _gate: gate_watch.ok(), _stranger: strangers.ok(), _units: Arc::default() }
    }

    /// Takes the units over and tells their states; D-Bus may come late, and nothing waits for it.
    fn watch_units(
        &self,
        serves: bool,
        inputs: Inputs,
        events: Events,
        keep: Arc<Mutex<Vec<UnitWatch>>>,
        news: Arc<UnitNews>,
        prober: Forgetter,
    ) -> watch::Receiver<Option<Units>> {
        let (found, units) = watch::channel(None);
        let of_database = self.probes_of(Subject::Database);
        let of_services: Vec<Vec<ProbeId>> = (0..self.settings.services.len())
            .map(|at| self.probes_of(Subject::Service(ServiceId(at as u16))))
            .collect();
        let (database, services) = (self.database_unit(), self.settings.services.clone());
        let shared = self.is_shared();
        tokio::spawn(async move {
            let units = Units::connect().await;
            found.send(Some(units.clone())).ok();
            if !serves {
                // Kept open for those who wait for it.
                found.closed().await;
                return;
            }
            let mut watches = Vec::new();
            if !shared {
                let starts = Starts::new(prober.clone(), of_database);
                watches.push(units.watch(&database, move |state| {
                    news.tell(state);
                    starts.note(state);
                }));
            }
            for ((service, place), probes) in services.iter().zip(0..).zip(of_services) {
                let (inputs, service_id) = (inputs.clone(), ServiceId(place));
                let starts = Starts::new(prober.clone(), probes);
                let on = move |state, asked| {
                    inputs.put(Input::ServiceUnit { service: service_id, state, asked });
                    starts.note(state);
                };
                let together = Arc::new(Mutex::new(Together::of(service, on)));
                for (place, unit) in service.units().enumerate() {
                    let together = Arc::clone(&together);
                    watches.push(units.watch_asked(unit, move |state, asked| {
                        together.lock().expect("nothing panics in it").note(place, state, asked);
                    }));
                }
            }
            keep.lock().expect("nothing panics while it holds this").extend(watches);
            let of_database = (!shared).then(|| Managed::mariadb(&database));
            let of_services =
                services.iter().flat_map(config::Service::units).map(Managed::service);
            let managed: Vec<Managed> = of_database.into_iter().chain(of_services).collect();
            if let Err(error) = units.manage(&managed).await {
                let text =
                    format!("failed to take the units over, systemd restarts them too: {error}");
                events.write(Severity::Alarm, 0, "units.unmanaged", &text);
            }
            found.closed().await;
        });
        units
    }

    /// The unit of the replicated database; empty on shared data, where the stack has it.
    fn database_unit(&self) -> String {
        self.settings.database().map(|database| database.unit.clone()).unwrap_or_default()
    }

    fn probes_of(&self, subject: Subject) -> Vec<ProbeId> {
        let of = self.settings.probes.iter().zip(0..).filter(|(p, _)| p.subject == subject);
        of.map(|(_, id)| ProbeId(id)).collect()
    }

    fn prober(&self, serves: bool, inputs: Inputs, events: Events) -> Prober {
        let probes = if serves { self.settings.prober(&self.me) } else { Vec::new() };
        let accounts = Accounts {
            node: self.me.id,
            port: self.settings.database().map_or(0, |database| database.port),
            vip: self.settings.principal().address,
            state_dir: self.worker_settings.state_dir.clone(),
        };
        let all = self.settings.probes.iter().zip(0..);
        let names = all.map(|(probe, id)| (ProbeId(id), probe.name.clone())).collect();
        Prober::start(probes, accounts, names, inputs, events)
    }

    /// Who puts the addresses on and takes them off.
    fn driver(&self, events: &Events) -> AddressDriver {
        let files = Files::default();
        match self.settings.driver {
            config::Driver::Native => {
                if let Err(error) = keepalived::retire(&files) {
                    let text = format!("failed to {error}");
                    events.write(Severity::Warning, 0, "keepalived.not-retired", &text);
                }
                AddressDriver::Native(self.vips.clone())
            }
            config::Driver::Keepalived(told) => {
                let events = events.clone();
                let vrrp = vrrp(&self.settings, &self.me, told);
                AddressDriver::Keepalived(Keepalived::start(
                    vrrp,
                    self.vips.clone(),
                    files,
                    move |news| {
                        let severity = if news.alarm { Severity::Alarm } else { Severity::Warning };
                        events.write(severity, 0, news.code, &news.text);
                    },
                ))
            }
        }
    }

    /// One thread, so that changes of the address keep their order.
    fn carry_addresses(
        &self,
        serves: bool,
        inputs: Inputs,
        events: &Events,
    ) -> mpsc::SyncSender<(CommandId, AddressStep)> {
        let (queue, steps) = mpsc::sync_channel::<(CommandId, AddressStep)>(ADDRESSES);
        let egress = Arc::clone(&self.egress);
        let driver = match serves {
            true => self.driver(events),
            false => AddressDriver::Native(self.vips.clone()),
        };
        let carried = std::thread::Builder::new().name("address".into()).spawn(move || {
            for (id, step) in steps {
                let outcome = match change_address(&driver, step, egress.load(Ordering::Relaxed)) {
                    Ok(()) => Outcome::Done,
                    Err(why) => Outcome::Failed(why),
                };
                inputs.put(Input::Outcome { id, outcome });
            }
        });
        if let Err(error) = carried {
            log::alarm(&format!("failed to start the thread for addresses: {error}"));
        }
        queue
    }
}

/// keepalived's part of the configuration, for this member.
pub(crate) fn vrrp(settings: &Settings, me: &Member, told: config::Keepalived) -> Vrrp {
    let others = settings.members.iter().filter(|m| !m.witness && m.id != me.id);
    Vrrp {
        interface: me.interface.clone(),
        addresses: settings.vips.iter().map(|vip| (vip.address, vip.length())).collect(),
        router_id: told.router_id,
        advert_interval: told.advert_interval,
        own: me.address.ip(),
        peers: others.map(|m| m.address.ip()).collect(),
    }
}

/// Tells the prober when a unit was started anew.
struct Starts {
    prober: Forgetter,
    probes: Vec<ProbeId>,
    last: AtomicU64,
}

impl Starts {
    fn new(prober: Forgetter, probes: Vec<ProbeId>) -> Starts {
        Starts { prober, probes, last: AtomicU64::new(0) }
    }

    fn note(&self, state: UnitState) {
        if let UnitState::Up { start } = state
            && self.last.swap(start, Ordering::Relaxed) != start
            && !self.probes.is_empty()
        {
            self.prober.forget(&self.probes);
        }
    }
}

/// The units that can do a service's work, as one: up while one of them is.
struct Together<F> {
    states: Vec<Option<UnitState>>,
    told: Option<UnitState>,
    on: F,
}

impl<F: Fn(UnitState, bool)> Together<F> {
    fn of(service: &config::Service, on: F) -> Together<F> {
        Together { states: service.units().map(|_| None).collect(), told: None, on }
    }

    fn note(&mut self, place: usize, state: UnitState, asked: bool) {
        self.states[place] = Some(state);
        let up = |known: &&Option<UnitState>| matches!(known, Some(UnitState::Up { .. }));
        let is_told = |known: &Option<UnitState>| *known == self.told;
        let now = match self.states.iter().find(up) {
            // Another one beside it is no news.
            Some(_) if self.states.iter().filter(up).any(is_told) => return,
            Some(one) => *one,
            // One that was not heard of yet may run.
            None if self.states.contains(&None) => None,
            None if self.states.contains(&Some(UnitState::Unknown)) => Some(UnitState::Unknown),
            None => Some(UnitState::Down),
        };
        if let Some(now) = now.filter(|_| now != self.told) {
            self.told = Some(now);
            (self.on)(now, asked);
        }
    }
}

fn change_address(driver: &AddressDriver, step: AddressStep, egress: bool) -> Result<(), String> {
    let fail = |error: regent_adapters::vip::VipError| format!("failed to {error}");
    match step {
        AddressStep::Add { lifetime } => driver.add(lifetime).map(drop).map_err(fail),
        AddressStep::Remove => driver.remove().map(drop).map_err(fail),
        AddressStep::DestroySockets => driver.destroy_sockets().map(drop).map_err(fail),
        AddressStep::Announce => {
            let mut reader = gate::Reader::new(&driver.vips().addresses())
                .map_err(|e| format!("failed to {e}"))?;
            driver.announce(egress, move || reader.is_open()).map_err(fail)
        }
    }
}

fn fences(settings: &Settings) -> Fences {
    let nodes = settings.members.iter().filter(|m| !m.witness);
    Fences::new(&settings.cluster, nodes.map(|m| (m.id, m.name.clone(), m.fence.clone())))
}

/// The kernel's filter, for the lease thread.
struct RealGate(gate::Gate);

impl Gate for RealGate {
    fn step(&mut self, step: GateStep) -> Result<(), String> {
        self.0.step(step).map_err(|e| format!("failed to {e}"))
    }
}

impl Host for RealHost {
    fn gate(&self) -> Result<Opened, String> {
        let mut gate = gate::Gate::open(&self.vips.addresses(), &self.me.interface)
            .map_err(|e| format!("failed to {e}"))?;
        let slots = gate.slots().map_err(|e| format!("failed to {e}"))?;
        self.egress.store(gate.egress(), Ordering::Relaxed);
        Ok((Box::new(RealGate(gate)), slots))
    }

    fn begin(
        &self,
        cluster: Option<ClusterId>,
        inputs: Inputs,
        transport: Transport,
        events: Events,
    ) {
        let serves = cluster.is_some();
        let watches =
            if serves { self.watch_network(&inputs, &events) } else { Watches::default() };
        if serves {
            let (fences, events) = (Arc::clone(&self.fences), events.clone());
            tokio::spawn(async move {
                for wrong in fences.check().await {
                    events.write(Severity::Warning, 0, "fence.unusable", &wrong);
                }
            });
        }
        let keep = Arc::clone(&watches._units);
        let news = UnitNews::new(inputs.clone());
        let prober = self.prober(serves, inputs.clone(), events.clone());
        let units = self.watch_units(
            serves,
            inputs.clone(),
            events.clone(),
            keep,
            Arc::clone(&news),
            prober.forgetter(),
        );
        let addresses = self.carry_addresses(serves, inputs.clone(), &events);
        let stack = cluster
            .and_then(|cluster| stack::settings(&self.settings, &self.me, cluster, &self.place));
        let step_runner =
            stack.map(|settings| StepRunner::start(settings, inputs.clone(), &events));
        let worker = self.settings.database().map(|database| {
            let unit = Unit {
                name: database.unit.clone(),
                datadir: self.worker_settings.datadir.clone(),
                start: database.start,
                units: units.clone(),
                inputs: inputs.clone(),
            };
            Worker::start(self.worker_settings.clone(), unit, transport, events, news)
        });
        let begun = Begun {
            addresses,
            inputs,
            worker,
            step_runner,
            prober,
            units,
            runtime: tokio::runtime::Handle::current(),
            _watches: watches,
        };
        if self.begun.set(begun).is_err() {
            log::warning("the host was begun twice");
        }
    }

    fn address(&self, id: CommandId, step: AddressStep) {
        if self.begun().addresses.try_send((id, step)).is_err() {
            let outcome = Outcome::Failed("the thread for addresses does not follow".into());
            self.begun().inputs.put(Input::Outcome { id, outcome });
        }
    }

    fn database(&self, id: CommandId, step: DatabaseStep) {
        match &self.begun().worker {
            Some(worker) => worker.step(id, step),
            None => {
                let result = StepResult::Failed(NO_DATABASE.into());
                let outcome = Outcome::Database { result, facts: None };
                self.begun().inputs.put(Input::Outcome { id, outcome });
            }
        }
    }

    fn service(&self, id: CommandId, service: ServiceId, step: ServiceStep) {
        let (inputs, units) = (self.begun().inputs.clone(), self.begun().units.clone());
        let known = self.settings.services.get(usize::from(service.0));
        // Of several units the one that was chosen: another one takes a repair of the stack.
        let chosen = known.and_then(|of| regent_adapters::stack::in_use(&self.place.run, &of.name));
        let unit = known.map(|of| {
            let chosen = chosen.filter(|unit| of.units().any(|own| own == unit));
            chosen.unwrap_or_else(|| of.unit.clone())
        });
        self.begun().runtime.spawn(async move {
            let done = async {
                let unit = unit.ok_or("there is no such service")?;
                let units = connected(units).await?;
                match step {
                    ServiceStep::Start => {}
                    ServiceStep::Restart => {
                        units.kill(&unit, KILL).await.map_err(|e| e.to_string())?;
                        // One that stays active without a process, as a script of SysV, would not be started.
                        units.stop(&unit, SERVICE_STOP).await.map_err(|e| e.to_string())?;
                    }
                    ServiceStep::Stop => {
                        let stopped = units.stop(&unit, SERVICE_STOP).await;
                        return stopped.map_err(|e| e.to_string());
                    }
                }
                units.start(&unit, SERVICE_START).await.map_err(|e| e.to_string())
            };
            let outcome = match done.await {
                Ok(_) => Outcome::Done,
                Err(why) => Outcome::Failed(why),
            };
            inputs.put(Input::Outcome { id, outcome });
        });
    }

    fn stack(&self, id: CommandId, step: StackStep) {
        let handed = match &self.begun().step_runner {
            Some(step_runner) => step_runner.step(id, step),
            None => Err("no stack is configured".into()),
        };
        if let Err(why) = handed {
            let outcome = Outcome::Stack { result: StackResult::Failed(why), survey: None };
            self.begun().inputs.put(Input::Outcome { id, outcome });
        }
    }

    fn plan(&self, up: bool) -> Later<Result<Planned, String>> {
        let looks = self.begun().step_runner.as_ref().map(stack::StepRunner::looks);
        Box::pin(async move {
            let (settings, answering) = looks.ok_or("no stack is configured")?;
            let planned = move || stack::plan(settings, answering, up);
            let planned = tokio::task::spawn_blocking(planned).await;
            planned.map_err(|_| "the thread that looked ended".to_string())?
        })
    }

    fn probe(&self, id: CommandId, node: NodeId) {
        let inputs = self.begun().inputs.clone();
        let peer = self.settings.member_by_id(node).map(|m| m.address);
        let interface = self.me.interface.clone();
        self.begun().runtime.spawn_blocking(move || {
            let outcome = match peer {
                Some(peer) => Outcome::Peer(probe::probe_peer(&interface, peer.ip(), peer.port())),
                None => Outcome::Failed(format!("{node} is not in the configuration")),
            };
            inputs.put(Input::Outcome { id, outcome });
        });
    }

    fn fence(&self, id: CommandId, node: NodeId, epoch: Epoch) {
        let (inputs, fences) = (self.begun().inputs.clone(), Arc::clone(&self.fences));
        self.begun().runtime.spawn(async move {
            let outcome = Outcome::Fence(fences.off(node, epoch).await);
            inputs.put(Input::Outcome { id, outcome });
        });
    }

    fn fence_bound(&self) -> Duration {
        self.fences.bound()
    }

    fn test_fences(&self, node: Option<NodeId>, epoch: Epoch) -> Later<Vec<FenceTested>> {
        let fences = Arc::clone(&self.fences);
        Box::pin(async move { fences.test(node, epoch).await })
    }

    fn serving(&self, serving: bool) {
        self.begun().prober.serving(serving);
    }

    fn link(&self) -> Option<[u8; 6]> {
        link::mac(&self.me.interface).ok().map(|mac| mac.0)
    }

    fn peer_link(&self, node: NodeId, link: [u8; 6]) {
        self.known.tell(node, Mac(link));
    }

    fn warnings(&self) -> BTreeMap<ProbeId, String> {
        self.begun.get().map(|begun| begun.prober.warnings()).unwrap_or_default()
    }

    fn vip_used(&self) -> Later<Result<Option<String>, String>> {
        let (vips, known) = (self.vips.all().to_vec(), self.known.clone());
        let interface = self.me.interface.clone();
        Box::pin(async move {
            let asked = tokio::task::spawn_blocking(move || {
                for vip in vips.iter().map(Vip::address) {
                    if let Some(mac) = stranger::is_used(&interface, vip, &known)? {
                        return Ok(Some(format!("{mac} answers for {vip}")));
                    }
                }
                Ok(None)
            });
            let asked: Result<Option<String>, VipError> =
                asked.await.map_err(|_| "the thread that asked ended")?;
            asked.map_err(|error| error.to_string())
        })
    }

    fn vip_answered(&self) -> Later<Result<Option<String>, String>> {
        let vips = self.vips.all().to_vec();
        let interface = self.me.interface.clone();
        Box::pin(async move {
            let asked = tokio::task::spawn_blocking(move || {
                for vip in vips.iter().map(Vip::address) {
                    if let Some(who) = stranger::is_answered(&interface, vip)? {
                        return Ok(Some(who));
                    }
                }
                Ok(None)
            });
            let asked: Result<Option<String>, VipError> =
                asked.await.map_err(|_| "the thread that asked ended")?;
            asked.map_err(|error| error.to_string())
        })
    }

    fn prepare(&self, incarnation: Incarnation) -> Later<Result<(), String>> {
        let worker = self.begun().worker.clone();
        Box::pin(async move {
            // On shared data there is nothing to name: whoever is active has the data.
            let Some(worker) = worker else { return Ok(()) };
            let started = worker.ask(DatabaseStep::Start).await?;
            let facts = expect_done("take control of it", started)?;
            if !facts.as_ref().is_some_and(|f| f.strict) {
                expect_done("make it strict", worker.ask(DatabaseStep::Strict).await?)?;
            }
            if !facts.as_ref().is_some_and(|f| f.read_only) {
                expect_done("make it read-only", worker.ask(DatabaseStep::ReadOnly).await?)?;
            }
            let keep = DatabaseStep::Keep { incarnation, mark: false };
            expect_done("name its data", worker.ask(keep).await?).map(drop)
        })
    }

    fn restart_database(&self) -> Later<Result<(), String>> {
        let worker = self.begun().worker.clone();
        Box::pin(async move {
            let worker = worker.ok_or(NO_DATABASE)?;
            expect_done("stop it", worker.ask(DatabaseStep::Stop).await?)?;
            expect_done("start it", worker.ask(DatabaseStep::Start).await?).map(drop)
        })
    }

    fn serve(&self, request: PeerRequest) -> Later<PeerAnswer> {
        let worker = self.begun().worker.clone();
        Box::pin(async move {
            match worker {
                Some(worker) => worker.serve(request).await,
                None => PeerAnswer::Refused { reason: NO_DATABASE.into() },
            }
        })
    }

    fn send_backup(&self, mut stream: Stream) -> Later<Result<(), String>> {
        let settings = self.worker_settings.clone();
        let shared = self.is_shared();
        Box::pin(async move {
            if shared {
                return Err(NO_DATABASE.into());
            }
            backup::send(&settings, &mut stream).await.map(drop).map_err(|e| e.to_string())
        })
    }
}

fn expect_done(
    doing: &str,
    outcome: Outcome,
) -> Result<Option<regent_core::observe::DatabaseFacts>, String> {
    match outcome {
        Outcome::Database { result: StepResult::Done, facts } => Ok(facts),
        Outcome::Database { result, .. } => Err(format!("failed to {doing}: {result:?}")),
        other @ (Outcome::Done
        | Outcome::Failed(_)
        | Outcome::Clock(_)
        | Outcome::Swap(_)
        | Outcome::Fence(_)
        | Outcome::Stack { .. }
        | Outcome::Peer { .. }) => Err(format!("failed to {doing}: {other:?}")),
    }
}

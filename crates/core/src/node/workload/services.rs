//! The other services and every probe: what systemd and the probes say, what follows for the VIP, and restoring
//! with back-off and bounded tries (L3).
//!
//! A service is well, or it is not and has a cause in words: its unit is down, or a probe of it fails. After a start
//! its probes may fail for `start_within`, until the first of them passes. Database and host have probes too; those
//! of the database that are vital say what its clients see.

use crate::command::{Action, Outcome, ServiceStep};
use crate::event::Severity;
use crate::health::{Health, ProbeId, ProbeSpec, Subject, Weight};
use crate::node::Node;
use crate::node::output::Flight;
use crate::node::workload::tries::Tries;
use crate::observe::{AILMENTS_MAX, Ailment, Report, ServiceId, ServiceReport, UnitState};
use crate::reason::{Cause, Vital};
use crate::time::{Span, Time};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// How long a database may fail its probes after a start, until the first one passes.
const DATABASE_START: Span = Span::millis(30_000);

/// What takes the carrier of one node may take that of the other, at the same moment: a switch. Before anything moves
/// because of it, the other one has had the time of two reports to say so, and has been heard after that.
const LINK_SETTLE: Span = Span::millis(100);

/// One managed service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::node) struct Service {
    unit: UnitState,
    since: Option<Time>,
    /// Since when it is down because somebody asked systemd for that, until it is up or failed to be.
    asked: Option<Time>,
    /// A probe of it passed since its unit came up.
    passed: bool,
    /// Since when it has been well, or not.
    well: Option<Time>,
    ill: Option<Time>,
    tries: Tries,
}

impl Service {
    /// Its unit is down.
    pub fn is_stopped(&self) -> bool {
        self.unit == UnitState::Down
    }

    pub fn new() -> Service {
        Service {
            unit: UnitState::Unknown,
            since: None,
            asked: None,
            passed: false,
            well: None,
            ill: None,
            tries: Tries::default(),
        }
    }
}

/// One probe.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::node) struct Probe {
    pub health: Health,
    pub why: String,
    pub since: Option<Time>,
}

impl Probe {
    pub fn new() -> Probe {
        Probe { health: Health::Unknown, why: String::new(), since: None }
    }
}

/// Something vital that is not well.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::node) struct Failure {
    pub what: Vital,
    pub cause: Cause,
}

/// A probe that fails, and what it saw.
fn cause((spec, probe): (&ProbeSpec, &Probe)) -> Cause {
    Cause::Probe { probe: spec.name.clone(), why: probe.why.clone() }
}

impl Node {
    pub(in crate::node) fn take_service_unit(
        &mut self,
        id: ServiceId,
        state: UnitState,
        asked: bool,
        now: Time,
    ) {
        let name = self.service_name(id);
        // Our own restart asks systemd too.
        let asked = asked && !self.in_flight(|f| *f == Flight::Service(id));
        let grace = self.spec.services.get(usize::from(id.0)).map_or(Span::ZERO, |s| s.grace);
        let Some(service) = self.services.get_mut(usize::from(id.0)) else { return };
        let was = service.unit;
        if was == state {
            return;
        }
        service.since = Some(now);
        service.unit = state;
        service.passed = false;
        service.asked = match state {
            UnitState::Up { .. } => None,
            UnitState::Down => asked.then(|| service.asked.unwrap_or(now)),
            // On its way, up or down.
            UnitState::Unknown => service.asked,
        };
        self.reporting.hasten();
        if matches!(state, UnitState::Up { .. }) {
            // Another start: what its probes saw was the one before.
            self.forget_probes(Subject::Service(id), now);
            self.services[usize::from(id.0)].tries.given_up = false;
        }
        if state != UnitState::Down {
            return;
        }
        let expected = self.leaves_alone(now) || !self.expects_services() || self.is_skipped(id);
        if asked && !expected {
            let s = grace.as_millis() / 1000;
            let text = format!(
                "service {name} was stopped by a request to systemd: it has {s} s to be started again"
            );
            self.tell("service.stopped", Severity::Warning, text);
        } else if matches!(was, UnitState::Up { .. }) {
            let severity = if expected { Severity::Info } else { Severity::Alarm };
            self.tell("service.died", severity, format!("service {name} is down"));
        }
    }

    /// What is probed is another start.
    pub(in crate::node) fn forget_probes(&mut self, subject: Subject, now: Time) {
        for (probe, spec) in self.probes.iter_mut().zip(&self.spec.probes) {
            if spec.subject == subject {
                *probe = Probe { since: Some(now), ..Probe::new() };
            }
        }
    }

    pub(in crate::node) fn take_health(
        &mut self,
        id: ProbeId,
        health: Health,
        why: String,
        now: Time,
    ) {
        let at = usize::from(id.0);
        let (Some(probe), Some(spec)) = (self.probes.get_mut(at), self.spec.probes.get(at)) else {
            return;
        };
        let was = probe.health;
        let since = if was == health { probe.since } else { Some(now) };
        *probe = Probe { health, why: why.clone(), since };
        let (name, weight, subject) = (spec.name.clone(), spec.weight, spec.subject);
        if health == Health::Passing {
            match subject {
                Subject::Service(service) => {
                    if let Some(service) = self.services.get_mut(usize::from(service.0)) {
                        service.passed = true;
                    }
                }
                Subject::Database => self.database.passed = true,
                Subject::Host => {}
            }
        }
        if was == health {
            return;
        }
        self.reporting.hasten();
        // What an operator works on, or is not up, fails as it should.
        let expected = match subject {
            Subject::Service(id) => {
                let service = self.services.get(usize::from(id.0));
                service.is_none_or(|s| !s.passed || !matches!(s.unit, UnitState::Up { .. }))
            }
            Subject::Database => self.database.is_down() || !self.database.passed,
            Subject::Host => false,
        };
        let severity = match weight {
            _ if expected || self.leaves_alone(now) => Severity::Info,
            Weight::Vital => Severity::Alarm,
            Weight::Degraded => Severity::Warning,
        };
        let of = self.subject_name(subject);
        match (was, health) {
            (_, Health::Failing) => {
                self.tell("probe.failing", severity, format!("probe {name} of {of}: {why}"));
            }
            (Health::Failing, Health::Passing) => {
                self.tell("probe.passing", Severity::Info, format!("probe {name} of {of} passes"));
            }
            (Health::Unknown | Health::Passing, Health::Passing) | (_, Health::Unknown) => {}
        }
    }

    fn subject_name(&self, subject: Subject) -> String {
        match subject {
            Subject::Service(id) => format!("service {}", self.service_name(id)),
            Subject::Database => "the database".to_string(),
            Subject::Host => "the host".to_string(),
        }
    }

    pub(in crate::node) fn service_name(&self, id: ServiceId) -> String {
        let spec = self.spec.services.get(usize::from(id.0));
        spec.map_or_else(|| format!("{}", id.0), |spec| spec.name.clone())
    }

    /// The probes of this subject and weight that fail, and count in the present role.
    fn failing(&self, subject: Subject) -> impl Iterator<Item = (&ProbeSpec, &Probe)> {
        let serving = self.serving.is_opened();
        self.spec.probes.iter().zip(&self.probes).filter(move |(spec, probe)| {
            spec.subject == subject && probe.health == Health::Failing && spec.counts.now(serving)
        })
    }

    fn vital_failing(&self, subject: Subject) -> Option<Cause> {
        self.failing_at(subject, Weight::Vital)
    }

    /// The first failing probe of this subject that weighs as much.
    fn failing_at(&self, subject: Subject, weight: Weight) -> Option<Cause> {
        self.failing(subject).find(|(spec, _)| spec.weight >= weight).map(cause)
    }

    /// The conclusion from a service's unit and probes, and why it is not well.
    pub(in crate::node) fn service_health(
        &self,
        id: ServiceId,
        now: Time,
    ) -> (Health, Option<Cause>) {
        let at = usize::from(id.0);
        let (Some(service), Some(spec)) = (self.services.get(at), self.spec.services.get(at))
        else {
            return (Health::Unknown, None);
        };
        if !self.expects_services() || self.is_skipped(id) {
            // It runs where the stack is up, and nowhere else.
            return (Health::Unknown, None);
        }
        match service.unit {
            UnitState::Down => match service.asked {
                Some(at) if now.elapsed_most(at) < spec.grace => {
                    return (Health::Unknown, Some(Cause::Stopping));
                }
                Some(_) => return (Health::Failing, Some(Cause::Stopped)),
                None => return (Health::Failing, Some(Cause::Down)),
            },
            UnitState::Unknown => return (Health::Unknown, None),
            UnitState::Up { .. } => {}
        }
        // What is degraded itself is restored for what its own probes see, too; a vital one only for what is vital.
        let Some(why) = self.failing_at(Subject::Service(id), spec.weight) else {
            return (Health::Passing, None);
        };
        let starting = !service.passed
            && service.since.is_none_or(|since| now.elapsed_most(since) < spec.start_within);
        (if starting { Health::Unknown } else { Health::Failing }, Some(why))
    }

    /// What the database's clients would see, if its vital probes fail.
    pub(in crate::node) fn database_ailment(&self, now: Time) -> Option<Cause> {
        let starting = !self.database.passed
            && self.database.up_since.is_none_or(|at| now.elapsed_most(at) < DATABASE_START);
        // Between two starts the probes tell of the one before.
        if starting || !matches!(self.database.unit, UnitState::Up { .. }) {
            return None;
        }
        // A writer that waits for somebody's lock is no server that hangs.
        if self.was_locked(now) {
            return None;
        }
        self.vital_failing(Subject::Database)
    }

    /// Why nobody would be served from here, whatever else is well: the interface that carries the VIP.
    pub(in crate::node) fn cut_off(&self) -> Option<Cause> {
        let mut failing = self.failing(Subject::Host);
        let link = failing.find(|(spec, _)| spec.vip_link && spec.weight == Weight::Vital);
        link.map(cause)
    }

    /// The first vital thing of the host that is not well here. The link counts once another node was heard long enough
    /// after it went: with the link went the way to that one, or it would have said that it lost its own. So it is when
    /// both get it back, one of them a moment before the other.
    pub(in crate::node) fn host_failure(&self) -> Option<Failure> {
        let heard_after = |since| {
            self.peers.values().any(|peer| {
                let long = |since| peer.heard.elapsed_most(since) >= LINK_SETTLE;
                long(since) && peer.unable.is_none_or(long)
            })
        };
        let mut failing = self.failing(Subject::Host).filter(|(spec, probe)| {
            let counts = !spec.vip_link || probe.since.is_none_or(heard_after);
            spec.weight == Weight::Vital && counts
        });
        let cause = cause(failing.next()?);
        Some(Failure { what: Vital::Host, cause })
    }

    /// The vital services that are not well here.
    pub(in crate::node) fn failing_services(
        &self,
        now: Time,
    ) -> impl Iterator<Item = (ServiceId, Failure)> {
        let vital = self.spec.services.iter().enumerate();
        let vital = vital.filter(|(_, spec)| spec.weight == Weight::Vital);
        vital.filter_map(move |(at, spec)| {
            let id = ServiceId(at as u16);
            let (health, cause) = self.service_health(id, now);
            let what = Vital::Service(spec.name.clone());
            cause.filter(|_| health == Health::Failing).map(|cause| (id, Failure { what, cause }))
        })
    }

    /// It was itself started or restarted so often in a row, and the last try has had its time.
    pub(in crate::node) fn is_tried(&self, id: ServiceId, times: u32, now: Time) -> bool {
        let Some(service) = self.services.get(usize::from(id.0)) else { return false };
        let over = service.tries.given_up || !service.tries.waits(&self.spec.policy, now);
        service.tries.count >= times && over && !self.in_flight(|f| *f == Flight::Service(id))
    }

    /// The first vital thing beside the database that is not well here.
    pub(in crate::node) fn vital_failure(&self, now: Time) -> Option<Failure> {
        let service = self.failing_services(now).next().map(|(_, failure)| failure);
        service.or_else(|| self.host_failure())
    }

    /// The first vital thing that a peer reports as not well.
    pub(in crate::node) fn peer_failure(&self, report: &Report) -> Option<String> {
        for (service, spec) in report.services.iter().zip(&self.spec.services) {
            // One that somebody just stopped is no failure, and serves nobody either.
            let down = service.unit == UnitState::Down && !self.shares_data();
            if spec.weight == Weight::Vital && service.health != Health::Failing && down {
                return Some(format!("service {} is down there", spec.name));
            }
            if spec.weight == Weight::Vital && service.health == Health::Failing {
                let cause = service.cause.as_ref().map_or_else(String::new, ToString::to_string);
                return Some(format!("service {} is not well there: {cause}", spec.name));
            }
        }
        let ailment = report.ailments.iter().find(|ailment| ailment.weight == Weight::Vital)?;
        Some(format!("probe {} fails there: {}", ailment.probe, ailment.why))
    }

    /// The services as this node reports them.
    pub(in crate::node) fn service_reports(&self, now: Time) -> Vec<ServiceReport> {
        let report = |(at, service): (usize, &Service)| {
            let (health, cause) = self.service_health(ServiceId(at as u16), now);
            ServiceReport { unit: service.unit, health, cause, given_up: service.tries.given_up }
        };
        self.services.iter().enumerate().map(report).collect()
    }

    /// The failing probes of database and host, vital ones first.
    pub(in crate::node) fn ailments(&self) -> Vec<Ailment> {
        let mut found: Vec<Ailment> = [Subject::Database, Subject::Host]
            .into_iter()
            .flat_map(|subject| self.failing(subject))
            .map(|(spec, probe)| Ailment {
                probe: spec.name.clone(),
                subject: spec.subject,
                weight: spec.weight,
                why: probe.why.clone(),
            })
            .collect();
        found.sort_by_key(|ailment| core::cmp::Reverse(ailment.weight));
        found.truncate(AILMENTS_MAX);
        found
    }

    /// Starts what is down and restarts what is not well; on an active node only once the move away is over, so that
    /// the VIP goes first.
    pub(in crate::node) fn restore_services(&mut self, now: Time) {
        if self.moving.is_some() || self.leaves_alone(now) || !self.may_restore(now) {
            return;
        }
        for at in 0..self.services.len() {
            self.restore_service(ServiceId(at as u16), now);
        }
    }

    fn restore_service(&mut self, id: ServiceId, now: Time) {
        let policy = self.spec.policy;
        let (health, cause) = self.service_health(id, now);
        let cause = cause.map_or_else(String::new, |cause| cause.to_string());
        let busy = self.in_flight(|f| *f == Flight::Service(id));
        let Some(service) = self.services.get_mut(usize::from(id.0)) else { return };
        match health {
            Health::Unknown => return,
            Health::Passing => {
                let well = *service.well.get_or_insert(now);
                let ill = service.ill.take();
                service.tries.given_up = false;
                let tries = service.tries.count;
                if now.elapsed_most(well) >= policy.settled {
                    service.tries.count = 0;
                }
                if let Some(ill) = ill {
                    let name = self.service_name(id);
                    let ms = now.elapsed_most(ill).as_millis();
                    let text = format!("service {name} is well again after {ms} ms, try {tries}");
                    self.tell("service.restored", Severity::Info, text);
                }
                return;
            }
            Health::Failing => {
                service.well = None;
                service.ill.get_or_insert(now);
            }
        }
        if busy || service.tries.waits(&policy, now) {
            return;
        }
        let next = service.tries.next(&policy, now);
        let unit = service.unit;
        let name = self.service_name(id);
        let Some(tries) = next else {
            let tries = policy.tries;
            let text = format!(
                "service {name} is given up after {tries} tries ({cause}): mend it and start it [L3]"
            );
            return self.tell("service.given-up", Severity::Alarm, text);
        };
        let step = match unit {
            UnitState::Down | UnitState::Unknown => ServiceStep::Start,
            UnitState::Up { .. } => ServiceStep::Restart,
        };
        let text = format!("service {name} is started, try {tries}: {cause}");
        self.tell("service.restoring", Severity::Info, text);
        self.ask(Action::Service { service: id, step }, Some(Flight::Service(id)));
    }

    pub(in crate::node) fn take_service_done(&mut self, id: ServiceId, outcome: Outcome) {
        if let Outcome::Failed(why) = outcome {
            let text = format!("a step of service {} failed: {why}", self.service_name(id));
            self.tell("service.step", Severity::Warning, text);
        }
    }
}

//! The other services: what systemd says of them, and restoring them with back-off and bounded tries (L3).

use super::{Flight, Node};
use crate::command::{Action, Outcome, ServiceStep};
use crate::event::Severity;
use crate::observe::{ServiceId, UnitState};
use crate::time::{Span, Time};
use alloc::format;
use alloc::string::String;

/// After this many tries in a row a service is given up, loudly.
const TRIES_MAX: u32 = 8;
/// First pause between two tries; doubled each time, at most 30 s.
const PAUSE_FIRST: Span = Span::millis(500);
const PAUSE_MOST: Span = Span::millis(30_000);
/// A service that stayed up this long has its tries back.
const SETTLED: Span = Span::millis(60_000);

/// One managed service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Service {
    pub state: UnitState,
    since: Option<Time>,
    tries: u32,
    tried: Option<Time>,
    given_up: bool,
}

impl Service {
    pub fn new() -> Service {
        Service { state: UnitState::Unknown, since: None, tries: 0, tried: None, given_up: false }
    }
}

impl Node {
    pub(super) fn take_service_unit(&mut self, id: ServiceId, state: UnitState, now: Time) {
        let name = self.service_name(id);
        let Some(service) = self.services.get_mut(usize::from(id.0)) else { return };
        let died = matches!(service.state, UnitState::Up { .. }) && state == UnitState::Down;
        if service.state != state {
            service.since = Some(now);
            self.report_now = true;
        }
        service.state = state;
        if matches!(state, UnitState::Up { .. }) {
            service.given_up = false;
        }
        if died {
            self.tell("service.died", Severity::Alarm, format!("service {name} died"));
        }
    }

    /// The first service that is down.
    pub(super) fn dead_service(&self) -> Option<String> {
        let at = self.services.iter().position(|service| service.state == UnitState::Down)?;
        Some(self.service_name(ServiceId(at as u16)))
    }

    pub(super) fn service_name(&self, id: ServiceId) -> String {
        let name = self.spec.services.get(usize::from(id.0));
        name.cloned().unwrap_or_else(|| format!("{}", id.0))
    }

    /// Starts what is down; on an active node only once the move away is over, so that the VIP goes first.
    pub(super) fn restore_services(&mut self, now: Time) {
        if self.moving.is_some() || self.is_paused(now) {
            return;
        }
        for at in 0..self.services.len() {
            let id = ServiceId(at as u16);
            let service = &mut self.services[at];
            if matches!(service.state, UnitState::Up { .. }) {
                if service.since.is_some_and(|since| now.elapsed_most(since) >= SETTLED) {
                    service.tries = 0;
                }
                continue;
            }
            let pause = Span((PAUSE_FIRST.0 << service.tries.min(10)).min(PAUSE_MOST.0));
            let early = service.tries > 0
                && service.tried.is_some_and(|tried| now.elapsed_most(tried) < pause);
            if service.state != UnitState::Down || service.given_up || early {
                continue;
            }
            if service.tries >= TRIES_MAX {
                service.given_up = true;
                let name = self.service_name(id);
                let text = format!(
                    "service {name} is given up after {TRIES_MAX} tries: mend it and start it [L3]"
                );
                self.tell("service.given-up", Severity::Alarm, text);
                continue;
            }
            if self.in_flight(|f| *f == Flight::Service(id)) {
                continue;
            }
            let service = &mut self.services[at];
            service.tries += 1;
            service.tried = Some(now);
            let step = ServiceStep::Start;
            self.ask(Action::Service { service: id, step }, Some(Flight::Service(id)));
        }
    }

    pub(super) fn take_service_done(&mut self, id: ServiceId, outcome: Outcome) {
        if let Outcome::Failed(why) = outcome {
            let text = format!("starting service {} failed: {why}", self.service_name(id));
            self.tell("service.start", Severity::Warning, text);
        }
    }
}

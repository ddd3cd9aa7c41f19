//! Stops that somebody asked systemd for, and what must not come of them: while such a stop is inside its grace,
//! nothing moves because of it (A1).

use crate::fault::Fault;
use crate::host::NAMES;
use crate::stack::Waiter;
use crate::world::{Event, World};
use regent_core::event;
use regent_core::invariant::Violation;

const MS: u64 = 1_000_000;
/// Of a hundred: a core counts the grace by the faster of its clocks, and one of them may be slewed.
const OF_GRACE: u64 = 90;
/// A stop so soon after a step of the core's own is taken for that step's.
const OWN: u64 = 1_000 * MS;

/// One that the agent was told of, and that is not over.
#[derive(Clone, Copy, Debug)]
pub struct Stopped {
    service: usize,
    /// The run of the agent that heard of it.
    run: u64,
    at: u64,
}

impl World {
    /// Somebody stops a service, as with systemctl.
    pub fn stop_service(&mut self, host: usize, service: usize) {
        let h = &self.hosts[host];
        if !h.powered || h.paused.is_some() || h.services[service].is_none() {
            return;
        }
        self.hosts[host].requested[service] = true;
        if self.shared.is_some() {
            return self.order_stop(host, service, false, Waiter::Nobody);
        }
        self.kill_service(host, service);
    }

    /// And starts it.
    pub fn start_service(&mut self, host: usize, service: usize) {
        if !self.hosts[host].powered {
            return;
        }
        if let Some(until) = self.hosts[host].paused {
            return self.at(until + 1, Event::Fault(Fault::StartService(host, service)));
        }
        if self.shared.is_some() {
            return self.order_start(host, service, Waiter::Nobody);
        }
        self.serve_again(host, service);
    }

    /// A service's unit changed: what systemd says of who asked for it.
    pub(crate) fn was_requested(&mut self, host: usize, service: usize) -> bool {
        let is_down = self.hosts[host].services[service].is_none();
        let requested = std::mem::take(&mut self.hosts[host].requested[service]) && is_down;
        self.stopped[host].retain(|stopped| stopped.service != service);
        let by_itself = self.now.saturating_sub(self.hosts[host].ordered[service]) >= OWN;
        if requested && by_itself && self.hosts[host].agent.is_some() {
            let run = self.session(host);
            self.stopped[host].push(Stopped { service, run, at: self.now });
        }
        #[cfg(feature = "planted")]
        if self.spec.planted == Some(regent_core::planted::Planted::RequestUntold) {
            return false;
        }
        requested
    }

    /// A1: a move that begins because of such a stop.
    pub(crate) fn check_begun(&mut self, host: usize, event: &event::Event) {
        if event.code != "move.begun" {
            return;
        }
        let (now, run) = (self.now, self.session(host));
        for stopped in self.stopped[host].clone() {
            let spec = &self.spec.services[stopped.service];
            let since = now - stopped.at;
            let is_inside = stopped.run == run && since * 100 < spec.grace.0 * OF_GRACE;
            let names = format!("service {} of {} fails", spec.name, NAMES[host]);
            if is_inside && event.text.contains(&names) {
                let text = format!(
                    "{} moves because of a stop that somebody asked for {} ms ago: {}",
                    NAMES[host],
                    since / MS,
                    event.text
                );
                return self.violated(Violation { id: "A1", text });
            }
        }
    }
}

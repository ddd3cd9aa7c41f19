//! A cluster that an operator stops: services in reverse order, then the database with no commit that waits, the gate,
//! the address.

use crate::command::{Action, DatabaseStep, ServiceStep};
use crate::node::Node;
use crate::node::output::Flight;
use crate::observe::{DatabaseReport, ServiceId, UnitState};
use crate::time::{Span, Time};

/// How long a standby that stops waits for the holder's database, once that takes no more writes.
const HOLDER_FIRST: Span = Span::millis(30_000);
/// After this long without a word the holder's database is not waited for.
const HOLDER_SILENT: Span = Span::millis(2_000);
/// How long commits may wait, once the services are down, before a stopping node turns to killing.
const QUIET_MAX: Span = Span::millis(3_000);

impl Node {
    /// Everything of this node goes down in order: services in reverse, then, on the holder, the database read-only
    /// with no commit that waits, the gate, the address, and the database itself. A standby stops its database only
    /// after the holder's takes no more writes, so that nothing is acknowledged that it has not received.
    pub(in crate::node) fn stop_copy(&mut self, now: Time) {
        if let Some(was) = self.needs_name().filter(|_| self.holds()) {
            // A server that is stopped before they have one proves nothing any more.
            return self.rename_data(was, now);
        }
        self.moving = None;
        self.follower.stop_joining();
        let stopped = self.stop_services();
        self.quieting = stopped.then(|| self.quieting.unwrap_or(now));
        let writable = self.database.facts.as_ref().is_some_and(|facts| !facts.read_only);
        if self.holds() && writable {
            // Services write while they stop, through the virtual IP too: until they are down they are served.
            self.keep_address(now);
            self.prepare_database(now);
            self.watch_follower(now);
            self.free_stranded(now);
            self.watch_locks(now);
            self.propose_next(now);
            self.open(now);
        }
        if !stopped || (!self.holds() && self.is_holder_up(now)) {
            return;
        }
        let quiet = self.database.facts.as_ref().map(|facts| (facts.read_only, facts.waiting));
        if let Some((read_only, waiting)) = quiet {
            if !read_only {
                if self.database.is_free() {
                    self.step(DatabaseStep::ReadOnly, now);
                }
                return;
            }
            if waiting > 0 {
                // D9: a shutdown would end the wait, and the commit count as acknowledged; a kill does not.
                if self.quiet_since(now) >= QUIET_MAX && !self.database.is_being_killed() {
                    self.step(DatabaseStep::Kill, now);
                }
                return;
            }
        }
        if self.vip.may_pass() {
            self.vip.close_with_resets(&mut self.out);
            return;
        }
        let free = self.database.is_free() || self.database.facts.is_none();
        let up = !self.database.is_down() && self.database.unit != UnitState::Unknown;
        if up && free && !self.in_flight(|f| *f == Flight::Database(DatabaseStep::Stop)) {
            self.step(DatabaseStep::Stop, now);
        }
    }

    /// A cluster that is started again stops anew.
    pub(in crate::node) fn note_stop(&mut self) {
        if !self.is_stopped() {
            self.quieting = None;
        }
    }

    /// The cluster is being stopped, this node holds, and what is under way in its database may take a little longer.
    pub(in crate::node) fn may_wait_quiet(&self, now: Time) -> bool {
        self.is_stopped() && self.holds() && self.quiet_since(now) < QUIET_MAX
    }

    /// For how long the services have been down on a node that stops.
    fn quiet_since(&self, now: Time) -> Span {
        self.quieting.map_or(Span::ZERO, |at| now.elapsed_most(at))
    }

    /// Stops the services in reverse order; true when none runs.
    fn stop_services(&mut self) -> bool {
        for at in (0..self.services.len()).rev() {
            let id = ServiceId(at as u16);
            if self.services[at].is_stopped() {
                continue;
            }
            if !self.in_flight(|f| *f == Flight::Service(id)) {
                let step = ServiceStep::Stop;
                self.ask(Action::Service { service: id, step }, Some(Flight::Service(id)));
            }
            return false;
        }
        true
    }

    /// Nothing runs here, nor at any peer that is heard.
    pub(in crate::node) fn are_copies_stopped(&self, now: Time) -> bool {
        let here = self.services.iter().all(crate::node::workload::services::Service::is_stopped)
            && self.database.is_down()
            && self.vip.is_gone(&self.out);
        here && self.peers.values().all(|peer| {
            peer.fresh(self.spec.pace.suspicion, now).is_none_or(|report| {
                report.database.is_none()
                    && report.services.iter().all(|service| service.unit == UnitState::Down)
            })
        })
    }

    /// The holder's database takes writes, or is up for a while more: it goes first, so that nothing is committed there
    /// that waits for this one, or that this one never received.
    fn is_holder_up(&self, now: Time) -> bool {
        let holder = self.view.as_ref().map(|view| view.state.lease.holder);
        let Some(peer) = holder.and_then(|holder| self.peers.get(&holder)) else { return false };
        let up = |d: &DatabaseReport| !d.read_only || self.quiet_since(now) < HOLDER_FIRST;
        match peer.fresh(HOLDER_SILENT, now) {
            Some(report) => report.database.as_ref().is_some_and(up),
            // A run that has not heard of it yet waits for its first word.
            None => peer.report.is_none() && now.elapsed_most(peer.heard) < HOLDER_SILENT,
        }
    }

    pub(in crate::node) fn is_anybody_serving(&self, now: Time) -> bool {
        let heard = |peer: &crate::node::Peer| {
            peer.fresh(self.spec.pace.suspicion, now).is_some_and(|report| report.serving)
        };
        self.is_serving(now) || self.peers.values().any(heard)
    }
}

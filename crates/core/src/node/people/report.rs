//! What this node tells: its report to its peers, every 50 ms and at once on a change, and what operators see change.

use crate::command::Action;
use crate::event::{Event, Severity};
use crate::node::Node;
use crate::observe::{DatabaseReport, Report};
use crate::reason::{Blocked, RoleReason, Standing};
use crate::role::Role;
use crate::time::{Span, Time};
use crate::transition;
use alloc::format;

/// Between two reports, however much changes.
const LEAST: Span = Span::millis(2);

/// When the next report is due.
#[derive(Clone, Debug, Default)]
pub(in crate::node) struct Reporting {
    last: Option<Time>,
    n: u64,
    hastened: bool,
}

impl Reporting {
    /// Something changed: peers are told at once.
    pub fn hasten(&mut self) {
        self.hastened = true;
    }

    fn is_due(&self, pace: Span, now: Time) -> bool {
        let since = self.last.map(|at| now.elapsed_most(at));
        since.is_none_or(|since| since >= pace || (self.hastened && since >= LEAST))
    }

    /// In how long a look at the clock is due for the next report.
    pub fn due_in(&self, pace: Span, now: Time) -> [Option<Span>; 2] {
        let left = self.last.map(|at| pace.less(now.elapsed_most(at)));
        [left, self.hastened.then_some(LEAST)]
    }

    /// The number of the report that is made now.
    fn begin(&mut self, now: Time) -> u64 {
        self.last = Some(now);
        self.hastened = false;
        self.n += 1;
        self.n
    }
}

impl Node {
    pub(in crate::node) fn report_when_due(&mut self, now: Time) {
        if self.reporting.is_due(self.spec.pace.report, now) {
            let n = self.reporting.begin(now);
            let report = self.report(n, now);
            self.ask(Action::Send(alloc::boxed::Box::new(report)), None);
        }
    }

    fn report(&self, n: u64, now: Time) -> Report {
        Report {
            node: self.identity.node,
            run: self.identity.run,
            n,
            speaks: self.identity.speaks,
            version: self.view.as_ref().map(|view| view.version).unwrap_or_default(),
            epoch: self.epoch(),
            role: self.role(now),
            serving: self.is_serving(now),
            unable: self.unable(now),
            database: self.database.facts.as_ref().map(|facts| DatabaseReport {
                incarnation: facts.incarnation.filter(|_| !facts.broken),
                start: facts.start,
                read_only: facts.read_only,
                strict: facts.strict,
                receiver: facts.receiver.clone(),
                applier: facts.applier.clone(),
                source: facts.source,
                applied: facts.applied.clone(),
                shows: facts.shows,
                confirms: facts.confirms,
                behind: facts.behind,
                backlog: facts.backlog,
                renewed: facts.renewed,
                held: facts
                    .locked
                    .as_deref()
                    .map(crate::node::workload::replicated::database::held),
            }),
            stack: self.stack_report(),
            services: self.service_reports(now),
            ailments: self.ailments(),
            concerns: self.concerns(now),
            link: self.identity.link,
            configuration: self.identity.configuration,
            leaving: self.loses_name(),
            distrusts: self.distrusts().filter(|_| self.holds()),
            comparison: self
                .comparison()
                .filter(|_| self.holds())
                .cloned()
                .map(alloc::boxed::Box::new),
            look_for: self.looked_for(),
            moving_to: self.moving.as_ref().map(|moving| moving.to),
        }
    }

    /// Where this node is.
    pub fn role(&self, now: Time) -> Role {
        self.standing(now).role
    }

    /// Where this node is, and why.
    pub fn standing(&self, now: Time) -> Standing {
        match &self.view {
            Some(_) if self.is_stopped() && self.mute.is_none() => {
                Standing { role: Role::Stopped, why: RoleReason::Stopped }
            }
            Some(_) if self.holds() => self.holder_standing(now),
            Some(_) | None => self.standby_standing(now),
        }
    }

    fn tell_role(&mut self, was: Role, role: Role, why: &RoleReason) {
        let id = transition::find(was, role).map_or("T??", |edge| edge.id);
        let why = why.words(self.me(), &|node| self.name(node));
        let text = format!("{was} -> {role}: {why} [{id}]");
        let event = Event::new("role.changed", Severity::Info, self.epoch(), text);
        self.out.tell_event(Event { roles: Some((was, role)), ..event });
        self.reporting.hasten();
    }

    /// Tells of changes that operators see.
    pub(in crate::node) fn notice_changes(&mut self, now: Time) {
        let Standing { role, why } = self.standing(now);
        if let Some(was) = self.told.role_before(role) {
            self.tell_role(was, role, &why);
        }
        let (serving, held) = (self.is_serving(now), self.is_held_open(now));
        if self.serving.look(serving, held, now) {
            self.tell_stack_serving(serving, now);
            self.reporting.hasten();
        }
        self.notice_stranger_gone(now);
        self.notice_blocked(now);
        self.advance_requests(now);
    }

    /// What keeps anybody from serving wakes somebody, once.
    fn notice_blocked(&mut self, now: Time) {
        let blocked = self.blocked(now);
        let row = blocked.as_ref().map(Blocked::row);
        if !self.told.is_news(row) {
            return;
        }
        if let (Some(blocked), Some(row)) = (blocked, row) {
            let words = blocked.words(&|node| self.name(node));
            let text = format!("{words} [section 9, row {row}]");
            self.tell("blocked", Severity::Alarm, text);
        }
    }
}

//! What operators ask of a cluster that runs: maintenance, pause, stop and start, fencing. Each is a request to core,
//! which decides; here names become numbers, and a refusal gets its remedy.

use super::node_api::{ALL, NodeApi};
use crate::serve::{Progress, refuse};
use regent_api::call::{RefusalKind, Reply};
use regent_api::length;
use regent_core::command::Request;
use regent_core::role::Role;
use regent_core::time::Span;
use std::time::Duration;

/// Core answers a wish within this long, or says that it failed: its own bound, and then some.
const WISH: Duration = Duration::from_secs(8);

/// The same for stopping and starting everything.
const STOP: Duration = Duration::from_secs(125);

/// Beyond the bound of the fence's own configuration.
const FENCE_GRACE: Duration = Duration::from_secs(3);

/// Between two words of how far a copy is.
const COPY_TOLD: Duration = Duration::from_secs(2);

/// One that ended so short a time ago is the one that was asked for.
const VERIFIED: Span = Span::millis(10_000);

/// A picture of core's knowledge takes a moment at most.
const PICTURE: Duration = Duration::from_millis(800);

/// The longest that anything is asked for: what is meant to last longer is a change of the configuration.
const LENGTH_MAX: Duration = Duration::from_secs(30 * 86_400);

/// What to look at when something went another way.
const LOOK: &str = "regent explain says why; regent history what was done";

/// Beyond the bound that core sets for a move, before the operator is told that nobody knows.
const MOVE_GRACE: Duration = Duration::from_secs(3);

impl NodeApi {
    pub(super) async fn switchover(&self, to: Option<String>, away: bool) -> Reply {
        if away && self.spec.stack.is_some() {
            return Reply::Done("the data are shared: nothing is handed over unasked".into());
        }
        if away && !self.is_active().await {
            return Reply::Done("this node is not active: nothing is handed over".into());
        }
        let named = match to.as_deref().map(|name| self.node(name)).transpose() {
            Ok(member) => member.map(|m| m.id),
            Err(refusal) => return refusal,
        };
        if self.spec.stack.is_some()
            && let Some(refusal) = self.in_the_way_of_a_move().await
        {
            return refusal;
        }
        let bound = match self.settings.stack() {
            // Everything goes down here and comes up there.
            Some(_) => ALL,
            None => Duration::from_nanos(self.settings.pace.switchover_max.0) + MOVE_GRACE,
        };
        let remedy = "regent explain says why; regent history what was done";
        self.put(Request::Switchover { to: named }, bound, remedy).await
    }

    async fn is_active(&self) -> bool {
        let role = self.look().await.map(|core| core.role);
        role.is_some_and(|role| matches!(role, Role::Active | Role::Activating))
    }

    pub(super) async fn maintenance(&self, node: Option<String>, for_ms: Option<u64>) -> Reply {
        let node = match node.as_deref().map(|name| self.node(name)).transpose() {
            Ok(member) => member.map_or(self.me, |m| m.id),
            Err(refusal) => return refusal,
        };
        match bounded(for_ms) {
            Ok(length) => self.put(Request::Maintenance { node, length }, WISH, LOOK).await,
            Err(refusal) => refusal,
        }
    }

    pub(super) async fn pause(&self, for_ms: Option<u64>) -> Reply {
        match bounded(for_ms) {
            Ok(length) => self.put(Request::Pause { length }, WISH, LOOK).await,
            Err(refusal) => refusal,
        }
    }

    /// Stops or starts everything, and tells meanwhile what it still waits for.
    pub(super) async fn run_all(&self, run: bool, progress: &Progress) -> Reply {
        let what = if run { Request::Start } else { Request::Stop };
        let mut asked = std::pin::pin!(self.put(what, STOP, "regent status shows what is left"));
        let mut told = String::new();
        let mut every = tokio::time::interval(Duration::from_millis(500));
        every.reset();
        loop {
            tokio::select! {
                reply = &mut asked => return reply,
                _ = every.tick() => {
                    let left = self.left_to_do(run).await;
                    if !left.is_empty() && left != told {
                        progress.tell(left.clone());
                        told = left;
                    }
                }
            }
        }
    }

    /// What still runs, or does not run yet, in one line.
    async fn left_to_do(&self, run: bool) -> String {
        let Some(status) = self.picture().await else { return String::new() };
        if run {
            let of = status.nodes.iter().filter(|n| !n.troubles().is_empty());
            let names: Vec<String> =
                of.map(|n| format!("{} ({})", n.name, n.role.as_str())).collect();
            return match names.is_empty() {
                true => String::new(),
                false => format!("waiting for {}", names.join(", ")),
            };
        }
        let names: Vec<String> = status.nodes.iter().flat_map(|n| n.running()).collect();
        if names.is_empty() { names.concat() } else { format!("still up: {}", names.join(", ")) }
    }

    /// This node takes a fresh copy; tells how far it is, until it is in sync again or the copy failed time and again.
    pub(super) async fn resync(&self, name: &str, in_place: bool, progress: &Progress) -> Reply {
        let node = match self.node(name) {
            Ok(member) => member.id,
            Err(refusal) => return refusal,
        };
        let begun = self.put(Request::Resync { node, in_place }, WISH, LOOK).await;
        let Reply::Done(text) = begun else { return begun };
        progress.tell(text);
        let began = std::time::Instant::now();
        let mut every = tokio::time::interval(COPY_TOLD);
        every.reset();
        loop {
            every.tick().await;
            let Some(core) = self.inputs.look(PICTURE).await else { continue };
            let with = core.view.as_ref().and_then(|(_, state)| state.sync.with);
            if with.is_some_and(|with| with.node == node) {
                return Reply::Done(format!("in sync after {} s", began.elapsed().as_secs()));
            }
            if let Some(why) = core.copy_fails {
                let remedy =
                    "it is tried again with growing pauses: mend the cause, regent status shows it";
                return refuse(RefusalKind::StepFailed, &why, remedy);
            }
            progress.tell(match core.concerns.is_empty() {
                true => "waiting to be taken in".into(),
                false => core.concerns.join("; "),
            });
        }
    }

    /// Both copies are compared; tells how far it is, until it comes to its end or is stopped.
    pub(super) async fn verify(&self, duty: Option<u8>, progress: &Progress) -> Reply {
        let begun = self.put(Request::Verify { duty }, WISH, LOOK).await;
        let Reply::Done(text) = begun else { return begun };
        progress.tell(text);
        let mut every = tokio::time::interval(COPY_TOLD);
        every.reset();
        let mut seen = false;
        loop {
            every.tick().await;
            let Some(core) = self.inputs.look(PICTURE).await else { continue };
            let under_way = core.comparison.as_ref().and_then(|c| c.under_way.clone());
            if let Some(text) = under_way {
                seen = true;
                if !text.is_empty() {
                    progress.tell(text);
                }
                continue;
            }
            if let Some(why) = core.comparison_stopped {
                let remedy = "it goes on from there, by itself or by regent verify-db";
                return refuse(RefusalKind::TimedOut, &why, remedy);
            }
            let last = core.comparison.and_then(|comparison| comparison.last);
            // A short one is over before it was ever seen.
            let Some(last) = last.filter(|last| seen || last.age < VERIFIED) else { continue };
            return match last.differs {
                false => Reply::Done(last.text),
                true => {
                    let remedy = "the standby's data are replaced by a copy: regent status";
                    refuse(RefusalKind::Degraded, &last.text, remedy)
                }
            };
        }
    }

    pub(super) async fn fence(&self, name: &str) -> Reply {
        let node = match self.node(name) {
            Ok(member) => member.id,
            Err(refusal) => return refusal,
        };
        let holder = self.lease().map(|lease| lease.holder);
        let remedy = match holder.filter(|holder| *holder != self.me && *holder != node) {
            Some(holder) => format!("regent fence {name} --node {}", self.settings.name(holder)),
            None => format!("regent fence test {name} says whether its fence answers"),
        };
        let bound = self.host.fence_bound() + FENCE_GRACE;
        self.put(Request::Fence { node }, bound, &remedy).await
    }

    pub(super) async fn fence_test(&self, name: Option<String>) -> Reply {
        let named = match name.as_deref().map(|name| self.node(name)).transpose() {
            Ok(member) => member.map(|m| m.id),
            Err(refusal) => return refusal,
        };
        let epoch = self.lease().map(|lease| lease.epoch).unwrap_or_default();
        let tested = self.host.test_fences(named, epoch).await;
        let now_node = self.settings.name(self.me);
        Reply::Fences(regent_api::call::Fences { version: regent_api::VERSION, now_node, tested })
    }
}

/// A length that an operator asked for, within bounds.
fn bounded(for_ms: Option<u64>) -> Result<Option<Span>, Reply> {
    let Some(ms) = for_ms else { return Ok(None) };
    let asked = Duration::from_millis(ms);
    if asked < Duration::from_secs(1) || asked > LENGTH_MAX {
        let reason = format!("{} is out of bounds", length::text(asked));
        let remedy = format!("from 1 s to {}", length::text(LENGTH_MAX));
        return Err(refuse(RefusalKind::Usage, &reason, &remedy));
    }
    Ok(Some(Span::millis(ms)))
}

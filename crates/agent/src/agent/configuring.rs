//! A change of the configuration: made on all members or on none.
//!
//! ```text
//!  asked node      prepare here ─► prepare everywhere ─► the register's timing ─► commit here ─► commit everywhere
//!                        └── any refusal: abort everywhere ◄──┘                        │
//!                                                        from here on it is decided ◄──┘ a member that died between
//!                                                                                        finds it out on its return
//!  then each agent begins a new life, one after the other, the asked one last: the gate and the right stay
//! ```

use super::configured::blocking;
use super::node_api::NodeApi;
use crate::config;
use crate::config::apply::{self, ApplyError, Prepared};
use crate::peer::{Change, Hex};
use crate::serve::{Progress, refuse};
use regent_api::call::{RefusalKind, Reply};
use regent_api::history::Severity;
use regent_config::edit::{self, EditError, Proposal};
use regent_config::timing::{self, Measured};
use regent_config::{digest, effective};
use regent_core::command::Request;
use regent_core::time::Span;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A member that began anew is heard again within this long, or the next one is not touched.
const RETURN: Duration = Duration::from_secs(10);

/// How long new timing takes to be written: core's own bound, and then some.
const TIMING: Duration = Duration::from_secs(14);

/// Fewer figures than these prove nothing.
const ENOUGH: u64 = 200;

/// Why a change stopped before it was decided.
struct Stopped {
    kind: RefusalKind,
    reason: String,
    remedy: String,
}

impl NodeApi {
    /// One key, on every member or on none. Without `apply` it is only told what would change.
    pub(super) async fn config_set(
        &self,
        key: &str,
        value: Option<&str>,
        apply: bool,
        progress: &Progress,
    ) -> Reply {
        let configured = &self.configured;
        let (old, proposal) = match self.proposal(key, value) {
            Ok(proposal) => proposal,
            Err(refusal) => return refusal,
        };
        if proposal.changes.is_empty() {
            return Reply::Done("nothing differs: it is so already".into());
        }
        if !apply {
            let text = effective::render_changes(&proposal.changes, ["now", "then"]);
            return Reply::Text(text.lines().map(String::from).collect());
        }
        let Ok(_busy) = configured.busy.try_lock() else {
            let reason = "another change of the configuration is under way";
            return refuse(RefusalKind::Guard, reason, "ask again in a few seconds");
        };
        let new = digest(&proposal.text);
        let prepared = Prepared { old, new };
        if let Err(stopped) = self.prepare_everywhere(prepared, &proposal, progress).await {
            self.abort_everywhere().await;
            return refuse(stopped.kind, &stopped.reason, &stopped.remedy);
        }
        let files = configured.files();
        if let Err(error) = blocking(move || apply::commit(&files, prepared)).await {
            self.abort_everywhere().await;
            return refuse(RefusalKind::Internal, &error.to_string(), "nothing was changed");
        }
        let late = self.commit_everywhere(prepared, progress).await;
        let text = format!("{key} is changed on {}", self.names_but(&late));
        configured.events.write(Severity::Info, 0, "config.changed", &text);
        configured.due.store(true, Ordering::Relaxed);
        match late.is_empty() {
            true => Reply::Done(format!("{text}; every agent began anew, this one does so now")),
            false => Reply::Done(format!(
                "{text}; {} did not answer and takes it over on its return: regent status shows it",
                late.join(" and ")
            )),
        }
    }

    fn proposal(&self, key: &str, value: Option<&str>) -> Result<(u64, Proposal), Reply> {
        let configured = &self.configured;
        let invalid = |text: String| refuse(RefusalKind::Configuration, text.trim_end(), "");
        let text = config::text(&configured.file).map_err(|p| invalid(p.to_string()))?;
        let live = true;
        edit::propose(&configured.name(), &text, key, value, live, config::here())
            .map(|proposal| (digest(&text), proposal))
            .map_err(|error: EditError| invalid(error.to_string()))
    }

    /// Every guard, then every member's disk, then the register.
    async fn prepare_everywhere(
        &self,
        prepared: Prepared,
        proposal: &Proposal,
        progress: &Progress,
    ) -> Result<(), Stopped> {
        let configured = &self.configured;
        let stop =
            |kind, reason: String, remedy: &str| Stopped { kind, reason, remedy: remedy.into() };
        let settings = config::parse(&configured.name(), &proposal.text)
            .map_err(|p| stop(RefusalKind::Configuration, p.to_string(), ""))?;
        let timed = proposal.changes.iter().any(|change| change.key.starts_with("timing."));
        if timed {
            let measured = self.measured();
            let me = self.settings.name(self.me);
            let broken = timing::check(&settings.proposed(), &measured, &me);
            if let Some(broken) = broken.first() {
                let remedy = &broken.remedy;
                return Err(stop(RefusalKind::Configuration, broken.what.clone(), remedy));
            }
        }
        if proposal.asks_register() {
            let holder = self.lease().map(|lease| lease.holder);
            if let Some(holder) = holder.filter(|holder| *holder != self.me) {
                let name = self.settings.name(holder);
                let reason = format!("only the active node changes the timing of rights: {name}");
                let remedy = format!("the same there, or with --node {name}");
                return Err(stop(RefusalKind::Guard, reason, &remedy));
            }
        }
        let (files, text) = (configured.files(), proposal.text.clone());
        blocking(move || apply::prepare(&files, prepared.old, &text).map(drop))
            .await
            .map_err(|error: ApplyError| stop(RefusalKind::Guard, error.to_string(), ""))?;
        for member in self.settings.members.iter().filter(|m| m.id != self.me) {
            let change = Change::Prepare { old: Hex(prepared.old), text: proposal.text.clone() };
            if let Err(why) = configured.ask(member.id, change).await {
                let reason =
                    format!("{} does not take it: {why}; nothing was changed", member.name);
                let remedy = "every member must take it: regent config diff, regent status";
                return Err(stop(RefusalKind::Unreachable, reason, remedy));
            }
        }
        progress.tell("prepared on every member");
        if proposal.asks_register() {
            let remedy = "nothing was changed";
            match self.put(Request::Timing(settings.timing), TIMING, remedy).await {
                Reply::Refused(refusal) => {
                    return Err(stop(refusal.kind, refusal.reason, &refusal.remedy));
                }
                Reply::Done(text) => progress.tell(text),
                Reply::Progress(_)
                | Reply::Again(_)
                | Reply::Status(_)
                | Reply::History(_)
                | Reply::Text(_)
                | Reply::Plan(_)
                | Reply::Step(_)
                | Reply::Moved(_)
                | Reply::Stack(_)
                | Reply::Fences(_) => {}
            }
        }
        Ok(())
    }

    async fn abort_everywhere(&self) {
        let files = self.configured.files();
        if let Err(error) = blocking(move || apply::abort(&files)).await {
            crate::log::warning(&format!("failed to drop a prepared change: {error}"));
        }
        for member in self.settings.members.iter().filter(|m| m.id != self.me) {
            // One that does not answer finds out by itself.
            self.configured.ask(member.id, Change::Abort).await.ok();
        }
    }

    /// Commits on every other member, then each begins anew, the active one last; who did not answer.
    async fn commit_everywhere(&self, prepared: Prepared, progress: &Progress) -> Vec<String> {
        let holder = self.lease().map(|lease| lease.holder);
        let mut others: Vec<_> = self.settings.members.iter().filter(|m| m.id != self.me).collect();
        others.sort_by_key(|m| Some(m.id) == holder);
        let mut late = Vec::new();
        let mut committed = Vec::new();
        for member in others {
            let change = Change::Commit { old: Hex(prepared.old), new: Hex(prepared.new) };
            match self.configured.ask(member.id, change).await {
                Ok(_) => committed.push(member),
                Err(_) => late.push(member.name.clone()),
            }
        }
        for member in committed {
            if self.configured.ask(member.id, Change::Begin).await.is_err() {
                continue;
            }
            progress.tell(format!("{} begins anew", member.name));
            if !self.returned(&member.name, prepared.new).await {
                let text = format!("{} is not back after {} s", member.name, RETURN.as_secs());
                progress.tell(text.clone());
                self.configured.events.write(Severity::Warning, 0, "config.slow", &text);
                break;
            }
        }
        late
    }

    /// The member is heard, with the new configuration; a witness tells none.
    async fn returned(&self, name: &str, new: u64) -> bool {
        let wanted = format!("{new:016x}");
        // Its last words of the life before are not taken for the new one.
        tokio::time::sleep(Duration::from_millis(500)).await;
        let began = tokio::time::Instant::now();
        while began.elapsed() < RETURN {
            let status = self.picture().await;
            let node = status.as_ref().and_then(|s| s.nodes.iter().find(|n| n.name == name));
            let is_back = node.is_some_and(|node| {
                node.reachable && node.configuration.as_ref().is_none_or(|of| *of == wanted)
            });
            if is_back {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }

    fn names_but(&self, late: &[String]) -> String {
        let all = self.settings.members.iter().map(|m| m.name.as_str());
        all.filter(|name| !late.iter().any(|l| l == name)).collect::<Vec<_>>().join(", ")
    }

    /// What was measured here, as far as it proves anything.
    fn measured(&self) -> Measured {
        let figures = self.measures.figures();
        let us = |us: u64| Span(us * 1000);
        let of = |what: &str| figures.iter().find(|f| f.what == what && f.count >= ENOUGH);
        let gaps = figures.iter().filter(|f| f.what.starts_with("report-gap:"));
        Measured {
            swap_p99: of("swap").map(|f| us(f.p99_us)),
            swap_refused_p99: of("swap-refused").map(|f| us(f.p99_us)),
            report_gap_p999: gaps.filter(|f| f.count >= ENOUGH).map(|f| us(f.p999_us)).max(),
            wake_late_p999: of("wake-late").map(|f| us(f.p999_us)),
            restart_worst: None,
        }
    }
}

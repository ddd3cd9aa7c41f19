//! What operators ask of the stack on shared data: activate, deactivate, repair, show. Core decides; here its answer is
//! waited for however long the steps take, and every step is told as it runs and as it ends.

use super::node_api::{ALL, GUARDS, LATE, NodeApi, refusal_kind, stalled};
use crate::host::{Planned, PlannedStep};
use crate::remote;
use crate::serve::{Progress, refuse};
use crate::status::step_state;
use crate::steps::Begun;
use regent_api::call::{Ask, Call, RefusalKind, Reply};
use regent_api::stack::{
    Moved, MovedStep, Plan, PlanStep, Seconds, StackShown, StepDone, StepEnd, StepNews, Verb,
};
use regent_api::status::Role::Active;
use regent_api::{VERSION, frame};
use regent_core::command::{Answer, Obstacle, Request, Word};
use regent_core::node::NodeStatus;
use regent_core::stack::{StackResult, StackStep, StepState};
use regent_core::state::Data;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How often whoever waits is told of the step that runs: what a live line on a terminal needs.
const TELL: Duration = Duration::from_millis(100);

/// How long the agent of the active node may take to say who is in the way of a move: two looks, and then some.
const BUSY: Duration = Duration::from_secs(20);

/// Something that was asked of the stack, until its end is told.
struct Asked<'a> {
    api: &'a NodeApi,
    verb: Verb,
    dry_run: bool,
    began: Instant,
    /// The first step of the log that belongs to it.
    first: u64,
}

impl NodeApi {
    /// What an operator confirms of the other node.
    pub(super) fn peer_off_confirmation(
        &self,
        off: Option<&str>,
        cannot_write: Option<&str>,
    ) -> Result<Option<Word>, Reply> {
        let id = |name: &str| self.node(name).map(|member| member.id);
        match (off, cannot_write) {
            (None, None) => Ok(None),
            (Some(name), None) => Ok(Some(Word::IsOff(id(name)?))),
            (None, Some(name)) => Ok(Some(Word::CannotWrite(id(name)?))),
            (Some(_), Some(_)) => {
                let remedy = "say one of them";
                Err(refuse(RefusalKind::Usage, "a host is off, or cannot write", remedy))
            }
        }
    }

    /// Brings everything up on this node.
    pub(super) async fn activate(
        &self,
        confirmation: Option<Word>,
        dry_run: bool,
        progress: &Progress,
    ) -> Reply {
        if let Some(refusal) = self.lacks_stack() {
            return refusal;
        }
        let asked = Asked::begin(self, Verb::Activate, dry_run);
        let planned = match self.host.plan(true).await {
            Ok(planned) => planned,
            Err(why) => return asked.refused(RefusalKind::Checks, &why),
        };
        let Some(core) = self.look().await else { return stalled() };
        let plan = self.plan(Verb::Activate, planned, self.uses_data(&core));
        progress.send(Reply::Plan(Box::new(plan.clone())));
        if core.serving {
            return asked.done(format!("{} is active already; nothing was changed", plan.node));
        }
        let mut alone = None;
        match self.ask_core(Request::MayActivate { word: confirmation }, GUARDS).await {
            Some(Answer::Done(_)) => {}
            // Of two voters one is off, as the operator says: there is nobody left to ask.
            Some(Answer::Refused { obstacle: Obstacle::NoQuorum, .. })
                if self.is_pair() && confirmation.is_some() =>
            {
                alone = confirmation;
            }
            other => return asked.ended(other),
        }
        if !self.uses_data(&core) {
            match self.host.vip_answered().await {
                Ok(None) => {}
                Ok(Some(who)) => {
                    let answer =
                        self.ask_core(Request::MayActivate { word: confirmation }, GUARDS).await;
                    if let Some(Answer::Refused { .. }) = answer
                        && alone.is_none()
                    {
                        // Another node was quicker, and it is its address.
                        return asked.ended(answer);
                    }
                    let text = format!("the virtual IP is in use: {who}; nothing was changed");
                    return asked.refused(RefusalKind::AddressInUse, &text);
                }
                Err(why) => {
                    let text = format!("failed to ask whether the virtual IP is in use: {why}");
                    return asked.refused(RefusalKind::Checks, &text);
                }
            }
        }
        if dry_run {
            return asked.dry(&plan);
        }
        if let Some(confirmation) = alone {
            return match self.renew_alone(confirmation).await {
                Ok(text) => Reply::Again(text),
                Err((kind, why)) => asked.refused(kind, &why),
            };
        }
        asked.carry_out(Request::Activate { word: confirmation }, ALL, progress).await
    }

    /// Takes everything down on this node, and only here: a node that uses nothing is left as it is.
    pub(super) async fn deactivate(&self, dry_run: bool, progress: &Progress) -> Reply {
        if let Some(refusal) = self.lacks_stack() {
            return refusal;
        }
        let asked = Asked::begin(self, Verb::Deactivate, dry_run);
        let planned = match self.host.plan(false).await {
            Ok(planned) => planned,
            Err(why) => return asked.refused(RefusalKind::Checks, &why),
        };
        let Some(core) = self.look().await else { return stalled() };
        let plan = self.plan(Verb::Deactivate, planned, self.uses_data(&core));
        progress.send(Reply::Plan(Box::new(plan.clone())));
        // What is on its way down already goes on, and names what is in its way.
        if let Some(text) = in_the_way(&plan.problems).filter(|_| core.serving) {
            return asked.refused(RefusalKind::Checks, &text);
        }
        if dry_run {
            return asked.dry(&plan);
        }
        asked.carry_out(Request::Deactivate, ALL, progress).await
    }

    /// Who would keep the active node's stack from going down, before an operator's move begins. A node that moves by
    /// itself does not ask.
    pub(super) async fn in_the_way_of_a_move(&self) -> Option<Reply> {
        let core = self.look().await?;
        let refused =
            |why: &str| refuse(RefusalKind::Checks, why, "mend that, then regent switchover again");
        if core.serving {
            // What cannot be looked at now is left to the steps.
            let planned = self.host.plan(false).await.ok()?;
            return in_the_way(&planned.problems).map(|text| refused(&text));
        }
        let status = self.picture().await?;
        let active = status.nodes.into_iter().find(|node| node.role == Active)?.name;
        let (file, tls) = (self.configured.file.clone(), self.place.tls.clone());
        let asked = tokio::task::spawn_blocking(move || {
            let mut stream = remote::open(&active, &file, &tls, BUSY).ok()?;
            let call = serde_json::to_vec(&Call::new(Ask::Deactivate { dry_run: true })).ok()?;
            frame::write(&mut stream, &call).ok()?;
            loop {
                match serde_json::from_slice(&frame::read(&mut stream).ok()?).ok()? {
                    Reply::Plan(_) | Reply::Step(_) | Reply::Progress(_) => {}
                    Reply::Moved(moved) => return Some((active, *moved)),
                    Reply::Refused(_)
                    | Reply::Again(_)
                    | Reply::Stack(_)
                    | Reply::Status(_)
                    | Reply::History(_)
                    | Reply::Text(_)
                    | Reply::Fences(_)
                    | Reply::Done(_) => return None,
                }
            }
        });
        let (active, moved) = asked.await.ok()??;
        let checks = moved.obstacle == Some(RefusalKind::Checks);
        checks.then(|| refused(&format!("{active}: {}", moved.text)))
    }

    pub(super) async fn stack_repair(&self, progress: &Progress) -> Reply {
        if let Some(refusal) = self.lacks_stack() {
            return refusal;
        }
        let asked = Asked::begin(self, Verb::Repair, false);
        asked.carry_out(Request::Repair, ALL, progress).await
    }

    pub(super) async fn stack_show(&self) -> Reply {
        if let Some(refusal) = self.lacks_stack() {
            return refusal;
        }
        let Some(core) = self.look().await else { return stalled() };
        let active = self.uses_data(&core);
        let planned = match self.host.plan(active).await {
            Ok(planned) => planned,
            Err(why) => {
                let remedy = "journalctl -u regent";
                return refuse(RefusalKind::Internal, &why, remedy);
            }
        };
        let verb = if active { Verb::Activate } else { Verb::Deactivate };
        let mut plan = self.plan(verb, planned, active);
        if verb == Verb::Deactivate {
            plan.steps.reverse();
        }
        let (frame, state) = (self.frame(), core.view.as_ref().map(|(_, state)| state));
        Reply::Stack(Box::new(StackShown {
            version: VERSION,
            node: plan.node,
            active,
            steps: plan.steps,
            stack: core.stack.as_ref().map(|report| frame.stack(report)).unwrap_or_default(),
            in_use: state.and_then(|state| frame.in_use(state)),
            claim: frame.claimed.as_ref().map(|claimed| frame.claim(claimed, state)),
        }))
    }

    fn lacks_stack(&self) -> Option<Reply> {
        self.spec.stack.is_none().then(|| {
            refuse(
                RefusalKind::Guard,
                "each node of this cluster has a copy of its own: there is no stack on shared data",
                "regent switchover moves the active role; regent cluster stop stops everything",
            )
        })
    }

    fn is_pair(&self) -> bool {
        self.spec.stack.as_ref().is_some_and(|stack| stack.pair)
    }

    fn uses_data(&self, core: &NodeStatus) -> bool {
        core.view.as_ref().is_some_and(|(_, state)| match state.data {
            Data::InUse { node, .. } => node == self.me,
            Data::Clear => false,
        })
    }

    fn interface(&self) -> &str {
        self.settings.member_by_id(self.me).map_or("", |me| &me.interface)
    }

    /// The plan with the virtual IP, which is core's own: on before the first step, off after the last.
    fn plan(&self, verb: Verb, planned: Planned, used: bool) -> Plan {
        let up = verb == Verb::Activate;
        let address = PlannedStep {
            name: "virtual IP".into(),
            what: match up {
                true => format!("{} on {}", self.settings.vip_text(), self.interface()),
                false => format!("remove {}", self.settings.vip_text()),
            },
            state: if used { StepState::Up } else { StepState::Down },
        };
        let mut steps: Vec<PlanStep> =
            std::iter::once(address).chain(planned.steps).map(|step| plan_step(step, up)).collect();
        if !up {
            steps.reverse();
        }
        let node = self.settings.name(self.me);
        Plan { version: VERSION, node, verb, steps, problems: planned.problems }
    }

    fn step_name(&self, step: StackStep) -> String {
        let spec = self.spec.stack.as_ref();
        match step {
            StackStep::Up { step } | StackStep::Down { step } => spec
                .and_then(|spec| spec.steps.get(usize::from(step.0)))
                .map_or_else(|| format!("step {}", step.0), |step| step.name.clone()),
            StackStep::Claim { .. } => "claim on the shared data".into(),
            StackStep::Revoke => "permit of the units".into(),
            StackStep::Unclaim { .. } => "end of the claim".into(),
            StackStep::Repair => "repair".into(),
            StackStep::Survey => "survey".into(),
        }
    }

    fn news(&self, step: &Begun) -> StepNews {
        let ended = step.ended.as_ref().map(|(_, result)| end(step.step, result));
        let length = step.ended.as_ref().map_or_else(|| step.began.elapsed(), |(took, _)| *took);
        StepNews { name: self.step_name(step.step), seconds: length.into(), ended }
    }
}

impl<'a> Asked<'a> {
    fn begin(api: &'a NodeApi, verb: Verb, dry_run: bool) -> Asked<'a> {
        let first = api.steps.next();
        Asked { api, verb, dry_run, began: Instant::now(), first }
    }

    /// Asks core, and tells each step until core answers.
    async fn carry_out(self, what: Request, bound: Duration, progress: &Progress) -> Reply {
        let mut told = BTreeMap::new();
        let answer = {
            let mut answer = std::pin::pin!(self.api.ask_core(what, bound));
            let mut every = tokio::time::interval(TELL);
            loop {
                tokio::select! {
                    answer = &mut answer => break answer,
                    _ = every.tick() => self.tell(progress, &mut told),
                }
            }
        };
        self.tell(progress, &mut told);
        self.ended(answer)
    }

    /// What began, what runs, what ended, each end once.
    fn tell(&self, progress: &Progress, told: &mut BTreeMap<u64, bool>) {
        for step in self.api.steps.since(self.first) {
            if told.get(&step.n) != Some(&true) {
                told.insert(step.n, step.ended.is_some());
                progress.send(Reply::Step(self.api.news(&step)));
            }
        }
    }

    fn ended(&self, answer: Option<Answer>) -> Reply {
        match answer {
            Some(Answer::Done(text)) => self.done(self.in_short().unwrap_or(text)),
            Some(Answer::Refused { reason, obstacle }) => {
                self.refused(refusal_kind(obstacle).unwrap_or(RefusalKind::Guard), &reason)
            }
            Some(Answer::Failed { reason, obstacle }) => {
                let kind = refusal_kind(obstacle).unwrap_or(RefusalKind::TimedOut);
                // What does not go down leaves everything behind it up.
                let partly_undone = kind == RefusalKind::StepFailed && self.verb != Verb::Activate;
                self.refused(if partly_undone { RefusalKind::PartlyUndone } else { kind }, &reason)
            }
            None => self.refused(RefusalKind::TimedOut, LATE),
        }
    }

    /// What it came to, if anything was carried out; how long it took is told beside it.
    fn in_short(&self) -> Option<String> {
        let node = self.api.settings.name(self.api.me);
        if self.api.steps.next() == self.first {
            return None;
        }
        match self.verb {
            Verb::Activate => Some(format!("{node} is active")),
            Verb::Deactivate => Some(format!("{node} is passive: everything is down")),
            Verb::Repair => None,
        }
    }

    fn done(&self, text: String) -> Reply {
        let steps = self.steps();
        self.moved(None, text, steps)
    }

    fn refused(&self, kind: RefusalKind, reason: &str) -> Reply {
        let steps = self.steps();
        self.moved(Some(kind), reason.into(), steps)
    }

    fn dry(&self, plan: &Plan) -> Reply {
        let step = |step: &PlanStep| MovedStep {
            name: step.name.clone(),
            state: if step.already { StepDone::Already } else { StepDone::ToDo },
            seconds: Seconds(0),
            error: None,
        };
        let steps: Vec<MovedStep> = plan.steps.iter().map(step).collect();
        let due = steps.iter().filter(|step| step.state == StepDone::ToDo).count();
        let (verb, all) = (self.verb.as_str(), steps.len());
        let text = match due {
            0 => format!("{verb} would find everything done; nothing was changed"),
            _ => format!("{verb} would be allowed: {due} of {all} steps; nothing was changed"),
        };
        self.moved(None, text, steps)
    }

    fn steps(&self) -> Vec<MovedStep> {
        let begun = self.api.steps.since(self.first);
        let ended = begun.iter().filter_map(|step| {
            let (took, result) = step.ended.as_ref()?;
            let StepEnd { state, error } = end(step.step, result);
            let name = self.api.step_name(step.step);
            Some(MovedStep { name, state, seconds: (*took).into(), error })
        });
        ended.collect()
    }

    fn moved(&self, obstacle: Option<RefusalKind>, text: String, steps: Vec<MovedStep>) -> Reply {
        let node = self.api.settings.name(self.api.me);
        let remedy = obstacle.and_then(|kind| remedy(kind, self.verb, &node));
        Reply::Moved(Box::new(Moved {
            version: VERSION,
            result: obstacle.map_or("done", RefusalKind::as_str).into(),
            node,
            verb: self.verb,
            dry_run: self.dry_run,
            text,
            remedy,
            seconds: self.began.elapsed().into(),
            steps,
            exit: obstacle.map_or(regent_api::exit::Exit::Ok, RefusalKind::exit).number(),
            obstacle,
        }))
    }
}

fn plan_step(step: PlannedStep, up: bool) -> PlanStep {
    let already = step.state == if up { StepState::Up } else { StepState::Down };
    PlanStep { name: step.name, what: step.what, state: step_state(&step.state), already }
}

fn end(step: StackStep, result: &StackResult) -> StepEnd {
    let state = match step {
        StackStep::Up { .. } => StepDone::Up,
        StackStep::Down { .. } => StepDone::Down,
        StackStep::Survey
        | StackStep::Claim { .. }
        | StackStep::Revoke
        | StackStep::Unclaim { .. }
        | StackStep::Repair => StepDone::Done,
    };
    match result {
        StackResult::Done => StepEnd { state, error: None },
        StackResult::Failed(why) | StackResult::Foreign(why) => {
            StepEnd { state: StepDone::Failed, error: Some(why.clone()) }
        }
    }
}

/// Who keeps a stack from going down, found beforehand.
fn in_the_way(problems: &[String]) -> Option<String> {
    (!problems.is_empty()).then(|| format!("{}; nothing was changed", problems.join("; ")))
}

/// What to do about it, where the reason does not say so already.
fn remedy(kind: RefusalKind, verb: Verb, node: &str) -> Option<String> {
    let again = match verb {
        Verb::Activate | Verb::Deactivate => format!("regent {}", verb.as_str()),
        Verb::Repair => "regent stack repair".into(),
    };
    Some(match kind {
        RefusalKind::AddressInUse => {
            "find that host and take the address away from it; regent deactivate, if it is a member"
                .into()
        }
        RefusalKind::Checks => format!("mend that, then {again} again"),
        RefusalKind::StepFailed => {
            format!("mend that, then {again} again; {node} is passive, as it was")
        }
        RefusalKind::PartlyUndone if verb == Verb::Repair => format!("mend that, then {again} again"),
        RefusalKind::PartlyUndone => {
            "mend that, then regent deactivate: it goes on where it stopped; regent stack show shows what is left".into()
        }
        RefusalKind::Degraded => "mend that, then regent stack repair".into(),
        RefusalKind::TimedOut | RefusalKind::Guard => {
            "regent stack show shows how far it is; regent explain says why".into()
        }
        RefusalKind::ActiveElsewhere
        | RefusalKind::NotProvenClear
        | RefusalKind::NoQuorum
        | RefusalKind::Usage
        | RefusalKind::Configuration
        | RefusalKind::NotInitialised
        | RefusalKind::Unreachable
        | RefusalKind::Unsafe
        | RefusalKind::Internal => return None,
    })
}

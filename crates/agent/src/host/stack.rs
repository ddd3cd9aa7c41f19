//! The stack on shared data, on a thread of its own: a step may take minutes, and nothing else waits for it.

use super::{Planned, PlannedStep};
use crate::events::Events;
use crate::inputs::Inputs;
use crate::log;
use crate::place::Place;
use regent_adapters::stack::{
    Answering, DataWatch, Seen, Stack, StackSettings, in_use, watch_data,
};
use regent_api::history::Severity;
use regent_config::Settings;
use regent_config::settings::Member;
use regent_config::steps::{EngineKind, Kind, Run, Step};
use regent_core::command::Outcome;
use regent_core::id::{ClusterId, CommandId};
use regent_core::node::Input;
use regent_core::stack::{Claim, StackResult, StackStep};
use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};

/// Core asks for one step at a time.
const QUEUE: usize = 4;

/// The stack as this member's adapter is to have it; none in the replicated topology.
pub(crate) fn settings(
    settings: &Settings,
    me: &Member,
    cluster: ClusterId,
    place: &Place,
) -> Option<StackSettings> {
    let stack = settings.stack()?;
    Some(StackSettings {
        node: me.id,
        name: me.name.clone(),
        cluster,
        data: stack.data.clone(),
        vips: settings.vips.iter().map(|vip| (vip.address, vip.prefix)).collect(),
        interface: me.interface.clone(),
        steps: settings.steps(stack).into_iter().map(|(_, step)| step).collect(),
        state_dir: place.state.clone(),
        run_dir: place.run.clone(),
    })
}

/// The way to the thread.
pub(super) struct StepRunner {
    queue: SyncSender<(CommandId, StackStep)>,
    settings: StackSettings,
    answering: Answering,
}

impl StepRunner {
    /// Starts it.
    pub(super) fn start(settings: StackSettings, inputs: Inputs, events: &Events) -> StepRunner {
        let (queue, steps) = sync_channel::<(CommandId, StackStep)>(QUEUE);
        let answering = Answering::of(&settings.run_dir);
        let mut stack = Stack::new(settings.clone(), answering.clone());
        let watch = watch(&settings, answering.clone(), inputs.clone(), events.clone());
        let (node, cluster) = (settings.node, settings.cluster);
        let thread = std::thread::Builder::new().name("stack-steps".into()).spawn(move || {
            // What the steps start must not go before the links and the lease thread.
            rustix::process::setpriority_process(None, 0).ok();
            for (id, step) in steps {
                let (result, survey) = stack.step(step);
                if let (Some(watch), Some(survey)) = (&watch, &survey) {
                    let ours = |claim: &Claim| {
                        (claim.node, claim.cluster, claim.clear) == (node, cluster, false)
                    };
                    // A claim that is not ours any more is what is watched for.
                    match survey.claim.filter(ours) {
                        _ if !survey.permit => watch.using(None),
                        Some(claim) => watch.using(Some(claim.epoch)),
                        None => {}
                    }
                }
                inputs.put(Input::Outcome { id, outcome: Outcome::Stack { result, survey } });
            }
        });
        if let Err(error) = thread {
            log::alarm(&format!("failed to start the thread of the stack: {error}"));
        }
        StepRunner { queue, settings, answering }
    }

    /// One step; its outcome goes to the lease thread. If it cannot be handed on: why.
    pub(super) fn step(&self, id: CommandId, step: StackStep) -> Result<(), String> {
        let handed = self.queue.try_send((id, step));
        handed.map_err(|_| "the thread of the stack does not follow".to_string())
    }

    /// What it looks at is its own: a step that is under way is not disturbed.
    pub(super) fn looks(&self) -> (StackSettings, Answering) {
        (self.settings.clone(), self.answering.clone())
    }
}

/// Watches the shared directory, and the claim on it while this node uses the data.
fn watch(
    settings: &StackSettings,
    answering: Answering,
    inputs: Inputs,
    events: Events,
) -> Option<DataWatch> {
    let watch = watch_data(settings, answering, move |seen| match seen {
        Seen::Foreign(what) => inputs.put(Input::ForeignClaim(what)),
        Seen::Lost(lost) => inputs.put(Input::SharedData(Some(lost))),
        Seen::Answers => inputs.put(Input::SharedData(None)),
    });
    if let Err(error) = &watch {
        let text = format!("the shared directory is not watched: {error}");
        events.write(Severity::Alarm, 0, "data.unwatched", &text);
    }
    watch.ok()
}

/// What an activation or a deactivation comes to, now.
pub(super) fn plan(
    settings: StackSettings,
    answering: Answering,
    up: bool,
) -> Result<Planned, String> {
    let (steps, run_dir) = (settings.steps.clone(), settings.run_dir.clone());
    let other = format!("regent activate --confirm-peer-is-off {}", settings.name);
    let mut stack = Stack::new(settings, answering);
    let (result, survey) = stack.step(StackStep::Survey);
    match result {
        StackResult::Done => {}
        StackResult::Failed(why) | StackResult::Foreign(why) => return Err(why),
    }
    let survey = survey.ok_or("nothing could be seen of the stack")?;
    let mut planned = stack.plan(up);
    if !up {
        planned.reverse();
    }
    let steps = steps.iter().zip(planned).map(|(step, planned)| PlannedStep {
        name: planned.name,
        what: match planned.does.as_slice() {
            [] if up => brings_up(step, &run_dir),
            [] => takes_down(&step.kind),
            does => does.join("; "),
        },
        state: planned.now,
    });
    let problems = match stack.hangs() {
        _ if up => survey.problems,
        // A passive host has nothing to take down, and nothing to write.
        Some(_) if !survey.permit => Vec::new(),
        // What this host still has to write there, nobody knows: it cannot be made passive in order.
        Some(why) => vec![format!(
            "{why}: mend the way to it; or switch this host off, then on the other one: {other}"
        )],
        None => stack.busy(),
    };
    Ok(Planned { steps: steps.collect(), problems })
}

/// What bringing it up does, or did.
fn brings_up(step: &Step, run_dir: &Path) -> String {
    match &step.kind {
        Kind::Mount { source, on, .. } => format!("mount {source} on {}", on.display()),
        Kind::HostName(name) => format!("call this host {name}"),
        Kind::Link { path, target } => format!("{} -> {}", path.display(), target.display()),
        Kind::Resolver(server) => format!("ask the name server {server} first"),
        Kind::Carry { files, store } => {
            format!("copy {} from {}", files.join(" "), store.display())
        }
        Kind::Install { command, creates } => {
            format!("{} unless {} exists", text(command), creates.display())
        }
        Kind::Database(engine) => format!(
            "check that {} has data of {}",
            engine.data.display(),
            match engine.kind {
                EngineKind::Mysql => "MariaDB or MySQL",
                EngineKind::Postgresql => "PostgreSQL",
                EngineKind::Sqlite => "SQLite",
            }
        ),
        Kind::Unit(unit) => {
            let chosen = in_use(run_dir, &step.name);
            let unit = unit.all().find(|one| chosen.as_ref() == Some(&one.unit)).unwrap_or(unit);
            let before = unit.before.iter().map(text);
            let start = std::iter::once(format!("start {}", unit.unit));
            before.chain(start).chain(unit.after.iter().map(text)).collect::<Vec<_>>().join("; ")
        }
    }
}

/// What taking it down does.
fn takes_down(kind: &Kind) -> String {
    match kind {
        Kind::Mount { on, .. } => format!("unmount {}", on.display()),
        Kind::HostName(_) => "call this host by its own name again".into(),
        Kind::Link { path, .. } => {
            format!("remove the link {}; what stood there before comes back", path.display())
        }
        Kind::Resolver(_) => "write the resolver's file as it was".into(),
        Kind::Carry { files, store } => format!("copy {} to {}", files.join(" "), store.display()),
        Kind::Install { .. } | Kind::Database(_) => "nothing".into(),
        Kind::Unit(unit) => {
            let units: Vec<&str> = unit
                .all()
                .flat_map(|one| one.also.iter().chain(std::iter::once(&one.unit)))
                .map(String::as_str)
                .collect();
            format!("stop {}", units.join(" "))
        }
    }
}

fn text(command: &Run) -> String {
    command.argv.join(" ")
}

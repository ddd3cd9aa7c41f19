//! The stack on shared data, on a thread of its own: a step may take minutes, and nothing else waits for it.

use super::{Planned, PlannedStep};
use crate::driver::Inputs;
use crate::log;
use regent_adapters::stack::{EngineKind, Kind, Run, Stack, StackSettings};
use regent_core::command::Outcome;
use regent_core::id::CommandId;
use regent_core::node::Input;
use regent_core::stack::{StackResult, StackStep, StepState};
use std::sync::mpsc::{SyncSender, sync_channel};

/// Core asks for one step at a time.
const QUEUE: usize = 4;

/// The way to the thread.
pub(super) struct Hands {
    queue: SyncSender<(CommandId, StackStep)>,
    settings: StackSettings,
}

impl Hands {
    /// Starts it.
    pub(super) fn start(settings: StackSettings, inputs: Inputs) -> Hands {
        let (queue, steps) = sync_channel::<(CommandId, StackStep)>(QUEUE);
        let mut stack = Stack::new(settings.clone());
        let thread = std::thread::Builder::new().name("stack".into()).spawn(move || {
            // What the steps start must not go before the links and the lease thread.
            rustix::process::setpriority_process(None, 0).ok();
            for (id, step) in steps {
                let (result, survey) = stack.step(step);
                inputs.put(Input::Outcome { id, outcome: Outcome::Stack { result, survey } });
            }
        });
        if let Err(error) = thread {
            log::alarm(&format!("failed to start the thread of the stack: {error}"));
        }
        Hands { queue, settings }
    }

    /// One step; its outcome goes to the lease thread. If it cannot be handed on: why.
    pub(super) fn step(&self, id: CommandId, step: StackStep) -> Result<(), String> {
        let handed = self.queue.try_send((id, step));
        handed.map_err(|_| "the thread of the stack does not follow".to_string())
    }

    /// What it looks at is its own: a step that is under way is not disturbed.
    pub(super) fn settings(&self) -> &StackSettings {
        &self.settings
    }
}

/// What an activation or a deactivation comes to, now.
pub(super) fn plan(settings: StackSettings, up: bool) -> Result<Planned, String> {
    let steps = settings.steps.clone();
    let (result, survey) = Stack::new(settings).step(StackStep::Survey);
    match result {
        StackResult::Done => {}
        StackResult::Failed(why) | StackResult::Foreign(why) => return Err(why),
    }
    let survey = survey.ok_or("nothing could be seen of the stack")?;
    let unknown = StepState::Unknown("it was not looked at".into());
    let states = survey.steps.into_iter().chain(std::iter::repeat(unknown));
    let steps = steps.iter().zip(states).map(|(step, state)| PlannedStep {
        name: step.name.clone(),
        what: if up { brings_up(&step.kind) } else { takes_down(&step.kind) },
        state,
    });
    Ok(Planned { steps: steps.collect(), problems: survey.problems })
}

/// What bringing it up does.
fn brings_up(kind: &Kind) -> String {
    match kind {
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
            let units: Vec<&str> =
                unit.also.iter().chain(std::iter::once(&unit.unit)).map(String::as_str).collect();
            format!("stop {}", units.join(" "))
        }
    }
}

fn text(command: &Run) -> String {
    command.argv.join(" ")
}

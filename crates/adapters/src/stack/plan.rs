//! What an activation or a deactivation would do, without doing any of it.

use super::hands::Hands;
use super::unit::Shown;
use super::{carry, link, survey, unit};
use regent_config::steps::{Kind, Step};
use regent_core::stack::StepState;

/// One step, as it is and as it would be changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlannedStep {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub now: StepState,
    /// What would be done, in words; nothing if it is as it would be.
    pub does: Vec<String>,
}

/// In the order in which they would be done.
pub(super) fn plan(hands: &Hands, up: bool) -> Vec<PlannedStep> {
    let shown = survey::units(hands);
    let states = survey::states(hands, &shown);
    let shown = shown.unwrap_or_default();
    let mut all: Vec<PlannedStep> = hands
        .settings
        .steps
        .iter()
        .zip(states)
        .map(|(step, now)| {
            let does =
                if up { ups(hands, step, &now, &shown) } else { downs(hands, step, &now, &shown) };
            PlannedStep { name: step.name.clone(), now, does }
        })
        .collect();
    if !up {
        all.reverse();
    }
    all
}

fn ups(hands: &Hands, step: &Step, now: &StepState, shown: &[Shown]) -> Vec<String> {
    if hands.lost().is_some() {
        return Vec::new();
    }
    match &step.kind {
        Kind::Unit(unit) => unit::plan_up(hands, shown, &step.name, unit),
        Kind::Carry { files, store } => {
            let differing = carry::differing(&hands.places.root, files, store);
            differing
                .iter()
                .map(|path| {
                    format!("cp -p {}{} {}", store.display(), path.display(), path.display())
                })
                .collect()
        }
        Kind::Database(_) => {
            vec!["compare type, version and owner of the data with this node's server".into()]
        }
        _ if *now == StepState::Up => Vec::new(),
        Kind::Link { path, target } => link::plan_up(hands, path, target),
        Kind::Mount { source, on, .. } => vec![format!("mount {source} {}", on.display())],
        Kind::HostName(wanted) => vec![format!("hostname {wanted}")],
        Kind::Resolver(first) => vec![format!("`nameserver {first}` first in /etc/resolv.conf")],
        Kind::Install { creates, .. } if creates.exists() => Vec::new(),
        Kind::Install { command, .. } => vec![command.argv.join(" ")],
    }
}

fn downs(hands: &Hands, step: &Step, now: &StepState, shown: &[Shown]) -> Vec<String> {
    match &step.kind {
        Kind::Unit(unit) => unit::plan_down(hands, shown, unit),
        Kind::Link { path, target } => link::plan_down(hands, path, target),
        Kind::Install { .. } | Kind::Database(_) => Vec::new(),
        _ if *now == StepState::Down => Vec::new(),
        Kind::Carry { files, store } => {
            vec![format!("cp -p {} to {}", files.join(" "), store.display())]
        }
        Kind::Mount { on, .. } => vec![format!("umount {}", on.display())],
        Kind::HostName(_) => {
            let before = hands.record.get().host_name.as_ref().map(|before| before.name.clone());
            vec![format!("hostname {}", before.unwrap_or_else(|| "(as /etc/hostname says)".into()))]
        }
        Kind::Resolver(_) => vec!["/etc/resolv.conf as it was".into()],
    }
}

//! Who would keep a deactivation from its end: a process that no step stops, and that has a file open or stands in a
//! directory which is to go. Found beforehand it costs nothing; found on the way, with every service stopped, it costs
//! the service until somebody ends it.

use super::files::{Stand, stand};
use super::hands::Hands;
use super::procs::{self, Process};
use super::{survey, unit};
use regent_config::steps::Kind;
use regent_core::stack::StepState;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// Whoever is gone after this long was only passing by; a deactivation waits for such as well.
const PASSES_BY: Duration = Duration::from_millis(1_500);

/// What is in use, by whom, and what to do; a line for each step.
pub(super) fn busy(hands: &Hands) -> Vec<String> {
    words(in_use(hands, &places(hands), |_| true))
}

/// The same before an activation: whoever has local files open where a link is to be. Who merely stands there does no
/// harm.
pub(super) fn local_users(hands: &Hands) -> Vec<String> {
    let mut places = Vec::new();
    for step in &hands.settings.steps {
        if let Kind::Link { path, .. } = &step.kind
            && stand(path) == Ok(Stand::Directory)
        {
            places.push((step.name.clone(), vec![path.clone()]));
        }
    }
    let mut found = in_use(hands, &places, |process| !process.holds.starts_with(procs::WORKS_IN));
    for (_, _, mounted) in &mut found {
        // A mount point that is to be a link is a problem of its own.
        mounted.clear();
    }
    words(found)
}

fn in_use(
    hands: &Hands,
    places: &[(String, Vec<PathBuf>)],
    counts: impl Fn(&Process) -> bool,
) -> Vec<InUse> {
    if places.is_empty() {
        return Vec::new();
    }
    let look = || {
        let mut found = look(hands, places);
        for (_, processes, _) in &mut found {
            processes.retain(&counts);
        }
        found
    };
    let first = look();
    if first.iter().all(|(_, processes, _)| processes.is_empty()) {
        return first;
    }
    std::thread::sleep(PASSES_BY);
    let known: BTreeSet<i32> =
        first.iter().flat_map(|(_, all, _)| all.iter().map(|process| process.pid)).collect();
    let mut left = look();
    for (_, processes, _) in &mut left {
        processes.retain(|process| known.contains(&process.pid));
    }
    left
}

/// What goes with each step that is up, by the step's name.
fn places(hands: &Hands) -> Vec<(String, Vec<PathBuf>)> {
    let mut links = Vec::new();
    let mut mounts = Vec::new();
    for step in &hands.settings.steps {
        let (all, under) = if let Kind::Link { path, target } = &step.kind {
            (&mut links, vec![target.clone(), path.clone()])
        } else if let Kind::Mount { on, .. } = &step.kind {
            (&mut mounts, vec![on.clone()])
        } else {
            continue;
        };
        if hands.state(step) == StepState::Up {
            all.push((step.name.clone(), under));
        }
    }
    // A directory below a mount is named for itself.
    links.extend(mounts);
    links
}

type InUse = (String, Vec<Process>, Vec<PathBuf>);

fn look(hands: &Hands, places: &[(String, Vec<PathBuf>)]) -> Vec<InUse> {
    let shown = survey::units(hands).unwrap_or_default();
    let mut known: BTreeSet<i32> = BTreeSet::from([std::process::id().cast_signed()]);
    let mut ours: BTreeSet<PathBuf> = BTreeSet::new();
    for step in &hands.settings.steps {
        if let Kind::Unit(unit) = &step.kind {
            known.extend(unit::processes(&shown, unit));
        } else if let Kind::Mount { on, .. } = &step.kind {
            ours.insert(on.clone());
        }
    }
    let mut found = Vec::new();
    for (name, under) in places {
        let mut processes = procs::holders(under);
        processes.retain(|process| known.insert(process.pid));
        let mut mounted = procs::mounts_under(under);
        mounted.retain(|on| ours.insert(on.clone()));
        found.push((name.clone(), processes, mounted));
    }
    found
}

fn words(found: Vec<InUse>) -> Vec<String> {
    let mut all = Vec::new();
    for (name, processes, mounted) in found {
        if !processes.is_empty() {
            let who = procs::named(&processes);
            all.push(format!("{name} is in use: {who}; leave that directory, or end the process"));
        }
        for on in mounted {
            let on = on.display();
            all.push(format!("{name} is in use: {on} is a mount point; umount {on}"));
        }
    }
    all
}

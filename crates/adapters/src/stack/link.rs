//! Symbolic links to the shared data, and what stood where they are.
//!
//! Up: the target is there (the first node seeds it), what stood at the path is recorded and moved aside, then the
//! link is made. Down: nobody holds a file there, the link goes, what stood there comes back. In between a link that
//! was replaced by a directory (an installer did it) gives its content to the shared data and is restored.

use super::before::{Link, Stood};
use super::files::{self, Rights, Stand, stand};
use super::hands::{Hands, left};
use super::trouble::Trouble;
use super::{claim, merge, procs};
use regent_core::stack::StepState;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The name of what stood where a link is.
const BACKUP: &str = "before-regent";
/// Between two looks at who still holds a file.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(super) fn up(
    hands: &mut Hands,
    path: &Path,
    target: &Path,
    deadline: Instant,
) -> Result<(), Trouble> {
    let recorded = hands.record.get().links.get(path).cloned();
    match stand(path)? {
        Stand::Link(to) if to == target => {
            seed(hands, path, target, None, deadline)?;
            note(hands, path, recorded.map_or(Stood::Nothing, |r| r.stood), true)?;
            return Ok(());
        }
        Stand::Link(to) => {
            let there = fs::canonicalize(path).ok();
            seed(hands, path, target, there.as_deref(), deadline)?;
            note(hands, path, recorded.map_or(Stood::Link { to }, |r| r.stood), true)?;
        }
        Stand::Nothing => {
            let backup = recorded.as_ref().and_then(|r| backup_of(&r.stood)).filter(|b| b.exists());
            seed(hands, path, target, backup, deadline)?;
            let parent = path.parent().unwrap_or(Path::new("/"));
            files::make_parents(path, Path::new("/"), |_| None)?;
            if !parent.is_dir() {
                return Err(Trouble::new(format!("{} is no directory", parent.display())));
            }
            let stood = recorded.map_or(Stood::Nothing, |r| r.stood);
            note(hands, path, stood, true)?;
        }
        Stand::Directory | Stand::File => {
            refuse_mounts(path)?;
            let replaced = recorded.as_ref().filter(|r| r.linked).cloned();
            match replaced {
                Some(_) => take_in(hands, path, target, deadline)?,
                None => move_aside(hands, path, target, recorded, deadline)?,
            }
        }
    }
    // Not synced: the record says what is to be there.
    files::link_loosely(path, target)
}

/// With what follows it in one: once `linked`, the step is up but for the link itself.
fn note(hands: &mut Hands, path: &Path, stood: Stood, linked: bool) -> Result<(), Trouble> {
    let name = hands.name_of_link(path);
    hands.record.change(|before| {
        before.links.insert(path.to_owned(), Link { stood, linked });
        if let Some(name) = name.filter(|_| linked) {
            before.up.insert(name);
        }
    })
}

fn backup_of(stood: &Stood) -> Option<&Path> {
    match stood {
        Stood::There { backup } => Some(backup),
        Stood::Nothing | Stood::Link { .. } => None,
    }
}

fn refuse_mounts(path: &Path) -> Result<(), Trouble> {
    let mounted = procs::mounts_under(&[path.to_owned()]);
    match mounted.first() {
        None => Ok(()),
        Some(on) => Err(Trouble::new(format!(
            "{} is a mount point, and {} is to be a link: unmount it (and take it out of /etc/fstab), or take \
             the directory out of stack.directories",
            on.display(),
            path.display()
        ))),
    }
}

/// The installer or somebody else put this where the link was: what is new of it goes to the shared data.
fn take_in(hands: &Hands, path: &Path, target: &Path, deadline: Instant) -> Result<(), Trouble> {
    seed(hands, path, target, None, deadline)?;
    for line in merge::merge(path, target, deadline)? {
        hands.note(&line)?;
    }
    hands.note(&format!("{} was no link any more: merged and restored", path.display()))?;
    // Merging once more changes nothing, so what is left of it after a power cut may be merged.
    files::remove_tree(path)
}

fn move_aside(
    hands: &mut Hands,
    path: &Path,
    target: &Path,
    recorded: Option<Link>,
    deadline: Instant,
) -> Result<(), Trouble> {
    let begun = recorded.as_ref().and_then(|r| backup_of(&r.stood)).map(Path::to_owned);
    match begun {
        // It was copied whole (it could not be renamed), and is only being removed.
        Some(backup) if fs::symlink_metadata(&backup).is_ok() => {
            files::remove_tree(path)?;
            note(hands, path, Stood::There { backup }, true)
        }
        Some(_) | None => {
            refuse_users(path)?;
            seed(hands, path, target, Some(path), deadline)?;
            let backup = files::free_name(path, BACKUP);
            note(hands, path, Stood::There { backup: backup.clone() }, false)?;
            files::move_tree(path, &backup, left(deadline))?;
            note(hands, path, Stood::There { backup }, true)
        }
    }
}

/// A program that has local files open would write on where nobody looks, and a copy of them would be no whole one. Who
/// merely stands in the directory does no harm.
fn refuse_users(path: &Path) -> Result<(), Trouble> {
    let mut users = procs::holders(&[path.to_owned()]);
    users.retain(|process| !process.holds.starts_with(procs::WORKS_IN));
    if users.is_empty() {
        return Ok(());
    }
    Err(Trouble::new(format!(
        "{} is to be a link to the shared data, and is in use here: {}; `regent stack repair` stops what belongs \
         to the stack",
        path.display(),
        procs::named(&users)
    )))
}

/// Makes the target if it is missing: with the local content, if there is some, else empty. Where there is a target,
/// it is never touched.
fn seed(
    hands: &Hands,
    path: &Path,
    target: &Path,
    from: Option<&Path>,
    deadline: Instant,
) -> Result<(), Trouble> {
    files::tidy(target)?;
    match stand(target)? {
        Stand::Directory | Stand::File => return Ok(()),
        Stand::Link(_) if target.exists() => return Ok(()),
        Stand::Link(to) => {
            return Err(Trouble::new(format!(
                "{} is a link to {}, which is not there",
                target.display(),
                to.display()
            )));
        }
        Stand::Nothing => {}
    }
    let data = &hands.settings.data;
    if target.starts_with(data)
        && claim::read_token(data).map_err(Trouble::at("read the token of", data))?.is_none()
    {
        return Err(Trouble::new(claim::no_token(data)));
    }
    // `/root` on the shared data is as closed as the local one.
    let counterpart = |above: &Path| {
        let up = target.components().count() - above.components().count();
        path.ancestors().nth(up).filter(|local| *local != Path::new("/")).map(Path::to_owned)
    };
    files::make_parents(target, data, counterpart)?;
    match from.filter(|from| from.exists()) {
        Some(from) => {
            files::copy_tree(from, target, left(deadline))?;
            hands.note(&format!("{} was seeded from {}", target.display(), from.display()))
        }
        None => files::make_directory(target, Rights { mode: 0o755, ..Rights::ROOTS }),
    }
}

pub(super) fn down(
    hands: &mut Hands,
    path: &Path,
    target: &Path,
    deadline: Instant,
) -> Result<(), Trouble> {
    let recorded = hands.record.get().links.get(path).cloned();
    match stand(path)? {
        Stand::Link(to) if to == target => {
            until_nobody_holds(&[target.to_owned(), path.to_owned()], deadline)?;
            // Synced with what comes back there; a link that a power cut brings back is removed again.
            files::remove_file(path).map_err(Trouble::at("remove the link", path))?;
        }
        Stand::Link(to) => match recorded.as_ref().map(|r| &r.stood) {
            None => return Ok(()),
            Some(Stood::Link { to: before }) if *before == to => {}
            Some(stood) => {
                let was =
                    backup_of(stood).map(|b| format!("; what stood there is {}", b.display()));
                return Err(Trouble::new(format!(
                    "{} leads to {}, which regent did not make{}: remove the link",
                    path.display(),
                    to.display(),
                    was.unwrap_or_default()
                )));
            }
        },
        Stand::Nothing => {}
        Stand::Directory | Stand::File => match &recorded {
            None => return Ok(()),
            Some(recorded) => clear_replacement(hands, path, target, recorded, deadline)?,
        },
    }
    put_back(hands, path, recorded)
}

/// Something stands at the path and the record is there: it may have been put back already, it may never have been
/// moved, or it replaced our link.
fn clear_replacement(
    hands: &mut Hands,
    path: &Path,
    target: &Path,
    recorded: &Link,
    deadline: Instant,
) -> Result<(), Trouble> {
    let backup = backup_of(&recorded.stood);
    let has_backup = backup.is_some_and(|b| fs::symlink_metadata(b).is_ok());
    match (recorded.linked, backup, has_backup) {
        // Never moved, or put back already.
        (false, _, false) | (true, Some(_), false) => Ok(()),
        // Copied whole, and only being removed.
        (false, _, true) => files::remove_tree(path),
        (true, _, _) if claim::is_ours(&hands.settings) => {
            refuse_mounts(path)?;
            until_nobody_holds(&[path.to_owned(), target.to_owned()], deadline)?;
            take_in(hands, path, target, deadline)
        }
        // Another node may use the shared data: nothing goes there.
        (true, _, _) => {
            let aside = files::free_name(path, "replaced-the-link");
            hands.note(&format!(
                "{} had replaced its link: now {}",
                path.display(),
                aside.display()
            ))?;
            files::move_tree(path, &aside, left(deadline))
        }
    }
}

fn put_back(hands: &mut Hands, path: &Path, recorded: Option<Link>) -> Result<(), Trouble> {
    let Some(recorded) = recorded else { return Ok(()) };
    match &recorded.stood {
        Stood::Nothing => files::sync_parent(path)?,
        Stood::Link { to } if stand(path)? == Stand::Nothing => {
            files::link(path, to)?;
        }
        Stood::Link { .. } => {}
        Stood::There { backup } => match (stand(path)?, fs::symlink_metadata(backup).is_ok()) {
            (Stand::Nothing, true) => {
                // From here on what stands there is this host's own, and has replaced nothing.
                note(hands, path, recorded.stood.clone(), false)?;
                files::rename(backup, path).map_err(Trouble::at("put back", path))?;
                files::sync_parent(path)?;
            }
            (Stand::Nothing, false) => {
                return Err(Trouble::new(format!(
                    "put {} back: its backup {} is gone; restore it, or make an empty directory there",
                    path.display(),
                    backup.display()
                )));
            }
            (Stand::Link(_) | Stand::Directory | Stand::File, _) => {}
        },
    }
    // What an interrupted run left.
    files::tidy(path)?;
    if let Some(backup) = backup_of(&recorded.stood) {
        files::tidy(backup)?;
    }
    let name = hands.name_of_link(path);
    hands.record.change(|before| {
        before.links.remove(path);
        before.up.retain(|up| Some(up) != name.as_ref());
    })
}

/// Waits; past the deadline it names whoever it is. Nothing is ever detached while somebody has it open.
pub(super) fn until_nobody_holds(under: &[PathBuf], deadline: Instant) -> Result<(), Trouble> {
    loop {
        let holders = procs::holders(under);
        let mounted = procs::mounts_under(under);
        if holders.is_empty() && mounted.is_empty() {
            return Ok(());
        }
        if Instant::now() >= deadline {
            let mut words = procs::named(&holders);
            for on in mounted {
                words = format!("{words} {} is mounted there", on.display());
            }
            let place = under.first().map(|path| path.display().to_string()).unwrap_or_default();
            return Err(Trouble::new(format!(
                "{place} is in use: {}; stop it, then run this again",
                words.trim()
            )));
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

pub(super) fn state(hands: &Hands, path: &Path, target: &Path) -> StepState {
    let recorded = hands.record.get().links.get(path);
    let stands = match stand(path) {
        Ok(stands) => stands,
        Err(trouble) => return StepState::Unknown(trouble.into_words()),
    };
    let shown = path.display();
    match (stands, recorded) {
        (Stand::Link(to), _) if to == target => StepState::Up,
        (_, None) => StepState::Down,
        (Stand::Link(to), Some(Link { stood: Stood::Link { to: before }, .. }))
            if *before == to =>
        {
            StepState::Partly(format!("{shown} is to be a link to {}", target.display()))
        }
        (Stand::Link(to), Some(_)) => StepState::Partly(format!(
            "{shown} leads to {} instead of {}",
            to.display(),
            target.display()
        )),
        (Stand::Nothing, Some(_)) => StepState::Partly(format!("the link {shown} is gone")),
        (Stand::Directory | Stand::File, Some(recorded)) if recorded.linked => {
            StepState::Partly(format!("the link {shown} was replaced by a directory or file"))
        }
        (Stand::Directory | Stand::File, Some(_)) => {
            StepState::Partly(format!("{shown} is being moved aside"))
        }
    }
}

/// What an activation would do, in words.
pub(super) fn plan_up(hands: &Hands, path: &Path, target: &Path) -> Vec<String> {
    let (shown, to) = (path.display(), target.display());
    let mut does = Vec::new();
    let stands = stand(path).unwrap_or(Stand::Nothing);
    if stands == Stand::Link(target.to_owned()) {
        return does;
    }
    let replaced = hands.record.get().links.get(path).is_some_and(|recorded| recorded.linked);
    let there = matches!(stands, Stand::Directory | Stand::File);
    if fs::symlink_metadata(target).is_err() {
        does.push(if there { format!("cp -a {shown} {to}") } else { format!("mkdir -p {to}") });
    }
    if there && replaced {
        does.push(format!("merge {shown} into {to}, newer files win"));
    } else if there {
        does.push(format!("mv {shown} {}", files::free_name(path, BACKUP).display()));
    }
    does.push(format!("ln -s {to} {shown}"));
    does
}

/// What a deactivation would do, in words.
pub(super) fn plan_down(hands: &Hands, path: &Path, target: &Path) -> Vec<String> {
    let mut does = Vec::new();
    if stand(path) == Ok(Stand::Link(target.to_owned())) {
        does.push(format!("wait until no process has a file open under {}", target.display()));
        does.push(format!("rm {}", path.display()));
    }
    match hands.record.get().links.get(path).map(|recorded| &recorded.stood) {
        Some(Stood::There { backup }) => {
            does.push(format!("mv {} {}", backup.display(), path.display()));
        }
        Some(Stood::Link { to }) => does.push(format!("ln -s {} {}", to.display(), path.display())),
        Some(Stood::Nothing) | None => {}
    }
    does
}

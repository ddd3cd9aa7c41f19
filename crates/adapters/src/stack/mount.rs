//! File systems that are mounted on the active node only. Never detached lazily.

use super::claim;
use super::files::crash;
use super::hands::{Hands, left};
use super::procs::{self, Mount};
use super::trouble::Trouble;
use crate::run;
use regent_config::steps::Kind;
use regent_core::id::Epoch;
use regent_core::stack::StepState;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Also a shared directory that is mounted by a step of ours, which is not up.
pub(super) fn waits_for_mount(hands: &Hands) -> bool {
    hands.settings.steps.iter().any(|step| match &step.kind {
        Kind::Mount { on, .. } => {
            hands.settings.data.starts_with(on) && hands.state(step) != StepState::Up
        }
        Kind::HostName(_)
        | Kind::Link { .. }
        | Kind::Resolver(_)
        | Kind::Carry { .. }
        | Kind::Install { .. }
        | Kind::Database(_)
        | Kind::Unit(_) => false,
    })
}

/// What is mounted there now, the topmost.
fn mounted(on: &Path) -> Option<Mount> {
    let on = fs::canonicalize(on).unwrap_or_else(|_| on.to_owned());
    procs::mounts().into_iter().rev().find(|mount| mount.on == on)
}

/// `UUID=` and the like, as the device that they name.
fn device(source: &str) -> PathBuf {
    let by = ["UUID", "LABEL", "PARTUUID", "PARTLABEL"].iter().find_map(|tag| {
        let value = source.strip_prefix(tag)?.strip_prefix('=')?;
        Some(PathBuf::from(format!(
            "/dev/disk/by-{}/{}",
            tag.to_lowercase(),
            value.trim_matches('"')
        )))
    });
    let path = by.unwrap_or_else(|| PathBuf::from(source));
    fs::canonicalize(&path).unwrap_or(path)
}

fn is_bind(options: Option<&str>) -> bool {
    options.is_some_and(|all| all.split(',').any(|option| option == "bind" || option == "rbind"))
}

fn is_it(mount: &Mount, source: &str, options: Option<&str>) -> bool {
    if is_bind(options) {
        let same = |path: &Path| fs::metadata(path).map(|m| (m.dev(), m.ino())).ok();
        return same(Path::new(source)).is_some() && same(Path::new(source)) == same(&mount.on);
    }
    let plain = |text: &str| text.trim_end_matches('/').to_owned();
    plain(&mount.source) == plain(source) || device(&mount.source) == device(source)
}

pub(super) fn up(hands: &mut Hands, kind: &Kind, deadline: Instant) -> Result<(), Trouble> {
    let Kind::Mount { source, on, fstype, options } = kind else { return Ok(()) };
    match mounted(on) {
        Some(there) if is_it(&there, source, options.as_deref()) => {}
        Some(there) => {
            return Err(Trouble::new(in_the_way(&there, on, source)));
        }
        None => {
            refuse_elsewhere(source, on)?;
            fs::create_dir_all(on).map_err(Trouble::at("make", on))?;
            let place = on.to_string_lossy();
            let mut words: Vec<&str> = Vec::new();
            words.extend(fstype.iter().flat_map(|fstype| ["-t", fstype.as_str()]));
            words.extend(options.iter().flat_map(|options| ["-o", options.as_str()]));
            words.extend(["--", source.as_str(), &place]);
            crash::point();
            run::run("mount", &words, "", left(deadline))
                .map_err(|error| Trouble::new(error.to_string()))?;
            crash::point();
        }
    }
    claim_now(hands, on)
}

/// A block device that is mounted twice is two writers that do not know of each other's cache.
fn refuse_elsewhere(source: &str, on: &Path) -> Result<(), Trouble> {
    let wanted = device(source);
    if !wanted.starts_with("/dev") {
        return Ok(());
    }
    let elsewhere = procs::mounts().into_iter().find(|mount| device(&mount.source) == wanted);
    match elsewhere {
        None => Ok(()),
        Some(mount) => Err(Trouble::new(format!(
            "{source} is mounted on {} already, and is to be on {}: unmount it there",
            mount.on.display(),
            on.display()
        ))),
    }
}

/// The shared directory came with this mount: it is claimed now.
fn claim_now(hands: &Hands, on: &Path) -> Result<(), Trouble> {
    let Some(epoch) = hands.record.get().epoch else { return Ok(()) };
    if !hands.settings.data.starts_with(on) {
        return Ok(());
    }
    claim::make(&hands.settings, Epoch(epoch), None).map_err(|refused| match refused {
        claim::Refused::Foreign(why) => Trouble::new(why),
        claim::Refused::Trouble(trouble) => trouble,
    })
}

pub(super) fn down(hands: &Hands, kind: &Kind, deadline: Instant) -> Result<(), Trouble> {
    let Kind::Mount { source, on, options, .. } = kind else { return Ok(()) };
    let Some(there) = mounted(on) else { return Ok(()) };
    if !is_it(&there, source, options.as_deref()) {
        return Ok(());
    }
    if hands.settings.data.starts_with(on)
        && let Some(epoch) = hands.record.get().epoch
    {
        claim::clear(&hands.settings, Epoch(epoch))?;
    }
    let below =
        |on: &Path| procs::mounts_under(&[on.to_owned()]).into_iter().filter(|m| m != on).count();
    loop {
        let place = on.to_string_lossy();
        crash::point();
        match run::run("umount", &["--", &place], "", left(deadline)) {
            Ok(_) => {
                crash::point();
                return Ok(());
            }
            Err(_) if mounted(on).is_none() => return Ok(()),
            Err(error) if Instant::now() >= deadline || below(on) > 0 => {
                return Err(busy(on, &error.to_string()));
            }
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(200)),
        }
    }
}

/// Why it could not be unmounted.
fn busy(on: &Path, said: &str) -> Trouble {
    let below = procs::mounts_under(&[on.to_owned()]).into_iter().find(|below| below != on);
    if let Some(below) = below {
        return Trouble::new(format!("{} is mounted below {}", below.display(), on.display()));
    }
    let holders = procs::holders(&[on.to_owned()]);
    if holders.is_empty() {
        return Trouble::new(said);
    }
    let who = procs::named(&holders);
    Trouble::new(format!("{} is in use: {who}; stop it, then run this again", on.display()))
}

/// Why an activation cannot mount it, if something else is there.
pub(super) fn problem(kind: &Kind) -> Option<String> {
    let Kind::Mount { source, on, options, .. } = kind else { return None };
    match mounted(on) {
        None => refuse_elsewhere(source, on).err().map(Trouble::into_words),
        Some(there) if is_it(&there, source, options.as_deref()) => None,
        Some(there) => Some(in_the_way(&there, on, source)),
    }
}

fn in_the_way(there: &Mount, on: &Path, source: &str) -> String {
    format!(
        "{} is mounted on {} already, not {source}: unmount it, and take it out of /etc/fstab",
        there.source,
        on.display()
    )
}

/// What stands there without being ours is no step of ours that is up.
/// Of one that is `lost` only the table of mounts is looked at.
pub(super) fn state(kind: &Kind, lost: bool) -> StepState {
    let Kind::Mount { source, on, options, .. } = kind else { return StepState::Down };
    if lost {
        // The place itself is not looked at, and it may be led to by a link.
        let parent = on.parent().map(Path::canonicalize);
        let (Some(Ok(parent)), Some(name)) = (parent, on.file_name()) else {
            return StepState::Unknown(format!("what leads to {} cannot be read", on.display()));
        };
        let place = parent.join(name);
        let is_there = procs::mounts().iter().any(|mount| mount.on == place);
        return if is_there { StepState::Up } else { StepState::Down };
    }
    match mounted(on) {
        None => StepState::Down,
        Some(there) if is_it(&there, source, options.as_deref()) => StepState::Up,
        Some(_) => StepState::Down,
    }
}

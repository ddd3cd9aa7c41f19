//! Which of several units does a service's work: the one that was in use, on whichever host.
//!
//! It is chosen when the service starts and never before, since an administrator changes between them with the
//! product's own commands. What is in use is written in two places: on the shared data beside the claim, for the next
//! host; and in the directory of this boot, for whoever must not touch the shared data.
//!
//! ```text
//!  1 one of them runs alone here
//!  2 the newer of: the record on the shared data, the file of the product's own tool
//!  3 what this host had in use before it was ever active
//!  4 what is enabled here          5 the first that is installed
//! ```
//!
//! If the one that is wanted is not installed here, the first that is does the work, and the record keeps the wish.

use super::claim;
use super::files::{self, Rights, is_absent};
use super::hands::Hands;
use super::settings::StackSettings;
use super::trouble::Trouble;
use super::unit::{self, Shown};
use regent_config::steps::{Kind, Step, Unit};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// What does the work when the service starts.
pub(super) struct Choice<'u> {
    /// This unit.
    pub(super) unit: &'u Unit,
    /// Another one is wanted, and is not installed on this host.
    pub(super) lacks: Option<&'u Unit>,
}

/// The unit that does a service's work on this host, as of its last start or the last look; none if the service has
/// one unit only, or never ran in this boot.
pub fn in_use(run_dir: &Path, service: &str) -> Option<String> {
    let text = fs::read_to_string(local(run_dir, service)).ok()?;
    Some(text.trim().to_owned()).filter(|unit| !unit.is_empty())
}

fn local(run_dir: &Path, service: &str) -> PathBuf {
    run_dir.join("in-use").join(service)
}

fn shared(settings: &StackSettings, service: &str) -> PathBuf {
    settings.data.join(claim::OURS).join("in-use").join(service)
}

/// Chooses. Touches nothing, and reads the shared data.
pub(super) fn choose<'u>(
    hands: &Hands,
    shown: &[Shown],
    service: &str,
    unit: &'u Unit,
) -> Choice<'u> {
    let wanted = match unit::running(shown, unit).as_slice() {
        [one] => Some(*one),
        _ => recorded(hands, service, unit)
            .or_else(|| named(unit, hands.record.get().in_use.get(service)?))
            .or_else(|| unit.all().find(|one| was_enabled(hands, shown, one))),
    };
    installed(unit, wanted, |one| !unit::is_one_missing(shown, one))
}

/// What is wanted if it is installed, or else what is.
fn installed<'u>(
    unit: &'u Unit,
    wanted: Option<&'u Unit>,
    is_installed: impl Fn(&Unit) -> bool,
) -> Choice<'u> {
    match wanted {
        Some(wanted) if is_installed(wanted) => Choice { unit: wanted, lacks: None },
        Some(_) | None => {
            let first = unit.all().find(|one| is_installed(one));
            Choice { unit: first.unwrap_or(unit), lacks: wanted }
        }
    }
}

fn named<'u>(unit: &'u Unit, name: &str) -> Option<&'u Unit> {
    unit.all().find(|one| one.unit == name.trim())
}

/// What the records say.
fn recorded<'u>(hands: &Hands, service: &str, unit: &'u Unit) -> Option<&'u Unit> {
    let ours = read(&shared(&hands.settings, service));
    let tools = unit.in_use.as_deref().and_then(read);
    newer(unit, ours, tools)
}

/// The newer of both records; what names none of the units is none.
fn newer(unit: &Unit, ours: Option<Noted>, tools: Option<Noted>) -> Option<&Unit> {
    let ours = ours.and_then(|(text, at)| Some((named(unit, &text)?, at)));
    let tools = tools.and_then(|(text, at)| Some((told(unit, &text)?, at)));
    match (ours, tools) {
        (Some((ours, at)), Some((tools, told))) => Some(if told > at { tools } else { ours }),
        (ours, tools) => ours.or(tools).map(|(one, _)| one),
    }
}

/// A text, and when it was written.
type Noted = (String, SystemTime);

fn read(path: &Path) -> Option<Noted> {
    let text = fs::read_to_string(path).ok()?;
    Some((text, fs::metadata(path).and_then(|of| of.modified()).ok()?))
}

/// The one of which the first line names a process; a longer name may contain a shorter one.
fn told<'u>(unit: &'u Unit, text: &str) -> Option<&'u Unit> {
    let line = text.lines().next()?;
    let names = unit.all().flat_map(|one| one.processes.iter().map(move |name| (name, one)));
    let found = names.filter(|(name, _)| line.contains(name.as_str()));
    found.max_by_key(|(name, _)| name.len()).map(|(_, one)| one)
}

fn was_enabled(hands: &Hands, shown: &[Shown], one: &Unit) -> bool {
    let before = hands.record.get().units.get(&one.unit);
    before.is_some_and(|before| before.enabled) || unit::is_one_enabled(shown, one)
}

/// What was chosen starts: it is the one in use from here on. A wish that this host cannot fulfil stays on the record.
pub(super) fn start(hands: &mut Hands, service: &str, choice: &Choice<'_>) -> Result<(), Trouble> {
    if let Some(lacks) = choice.lacks {
        hands.note(&lacking(lacks, choice.unit))?;
    } else {
        hands.note(&format!("{} does the work", choice.unit.unit))?;
        keep_shared(&hands.settings, service, choice.unit)?;
    }
    keep_local(&hands.settings, service, choice.unit)
}

fn keep_local(settings: &StackSettings, service: &str, one: &Unit) -> Result<(), Trouble> {
    let path = local(&settings.run_dir, service);
    let parent = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(Trouble::at("make", parent))?;
    fs::write(&path, format!("{}\n", one.unit)).map_err(Trouble::at("write", &path))
}

/// Only while this node uses the shared data.
fn keep_shared(settings: &StackSettings, service: &str, one: &Unit) -> Result<(), Trouble> {
    let path = shared(settings, service);
    if !claim::is_ours(settings) {
        return Ok(());
    }
    let parent = path.parent().unwrap_or(Path::new("/"));
    match fs::create_dir(parent) {
        Ok(()) => files::sync_parent(parent)?,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(Trouble::at("make", parent)(error)),
    }
    // Written anew even if it says so: it is newer than what the product's own tool left.
    files::write(&path, format!("{}\n", one.unit).as_bytes(), Rights::ROOTS)
}

/// An administrator changed to another one since the last look: that one is in use from here on.
pub(super) fn adopt(hands: &mut Hands) {
    for step in hands.settings.steps.clone() {
        if let Kind::Unit(unit) = &step.kind
            && !unit.instead.is_empty()
            && let Err(trouble) = adopt_one(hands, &step, unit)
        {
            // Tried again at the next look.
            let _ = hands.note(&format!("what is in use is not recorded: {trouble}"));
        }
    }
}

/// A host that does not use the shared data keeps by itself what runs there.
pub(super) fn adopt_one(hands: &mut Hands, step: &Step, unit: &Unit) -> Result<(), Trouble> {
    let shown = unit::look(std::slice::from_ref(unit))?;
    let [one] = unit::running(&shown, unit)[..] else { return Ok(()) };
    let settings = std::sync::Arc::clone(&hands.settings);
    let known = in_use(&settings.run_dir, &step.name);
    if known.as_deref() != Some(one.unit.as_str()) {
        hands.note(&format!("{}: {} is in use", step.name, one.unit))?;
        hands.record.change(|before| {
            before.in_use.insert(step.name.clone(), one.unit.clone());
        })?;
        if hands.lost().is_none() {
            keep_shared(&settings, &step.name, one)?;
        }
        keep_local(&settings, &step.name, one)?;
    }
    if hands.is_active() && unit::is_one_enabled(&shown, one) {
        // As the product's own commands do, for a host without another.
        unit::guard_and_disable(hands, unit)?;
        unit::enable_until_reboot(hands, one)?;
    }
    Ok(())
}

/// What of it a person should know, on the active node.
pub(super) fn drift(hands: &Hands, shown: &[Shown], step: &Step, unit: &Unit) -> Option<String> {
    if unit.instead.is_empty() || hands.lost().is_some() {
        return None;
    }
    match unit::running(shown, unit).as_slice() {
        [] => None,
        [one] => {
            let wanted = recorded(hands, &step.name, unit).filter(|wanted| wanted != one)?;
            let is_missing = unit::is_one_missing(shown, wanted);
            is_missing.then(|| format!("{}: {}", step.name, lacking(wanted, one)))
        }
        all => {
            let names: Vec<&str> = all.iter().map(|one| one.unit.as_str()).collect();
            let (both, one) = (names.join(" and "), &unit.unit);
            Some(format!(
                "{}: {both} run, and one of them is to: systemctl stop {one}, or the other",
                step.name
            ))
        }
    }
}

fn lacking(wanted: &Unit, does: &Unit) -> String {
    format!(
        "{} was in use, and is not installed on this host: {} runs instead",
        wanted.unit, does.unit
    )
}

/// A boot begins without; and so does an activation that somebody else's choice precedes.
pub(super) fn forget(settings: &StackSettings, service: &str) -> Result<(), Trouble> {
    let path = local(&settings.run_dir, service);
    match fs::remove_file(&path) {
        Ok(()) => Ok(()),
        Err(error) if is_absent(&error) => Ok(()),
        Err(error) => Err(Trouble::at("remove", &path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn consoles() -> Unit {
        let one = |name: &str| Unit {
            unit: format!("{name}.service"),
            processes: vec![name.to_owned()],
            ..Unit::default()
        };
        Unit { instead: vec![one("goconserver")], ..one("conserver") }
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn the_newer_of_both_records_says_what_was_in_use() {
        let unit = consoles();
        let ours = |name: &str, seconds| Some((format!("{name}.service\n"), at(seconds)));
        let tools = |program: &str, seconds| {
            let lines =
                format!("root 900 1 0 10:00 ? 00:00:01 {program}\nroot 901 /bin/conserver\n");
            Some((lines, at(seconds)))
        };
        let found = |ours, tools| newer(&unit, ours, tools).map(|one| one.unit.as_str());
        assert_eq!(found(None, None), None);
        assert_eq!(found(None, tools("/usr/bin/goconserver", 1)), Some("goconserver.service"));
        assert_eq!(found(None, tools("/usr/sbin/conserver -d", 1)), Some("conserver.service"));
        assert_eq!(found(ours("goconserver", 1), None), Some("goconserver.service"));
        let (go, old) = (ours("goconserver", 5), tools("/usr/sbin/conserver -d", 4));
        assert_eq!(found(go.clone(), old), Some("goconserver.service"));
        let later = tools("/usr/sbin/conserver -d", 6);
        assert_eq!(found(go.clone(), later), Some("conserver.service"));
        let of_others = (Some(("other.service".to_owned(), at(9))), Some((String::new(), at(9))));
        assert_eq!(found(of_others.0, of_others.1.clone()), None);
        assert_eq!(found(go, of_others.1), Some("goconserver.service"));
    }

    #[test]
    fn what_is_wanted_and_not_installed_is_done_by_another_one() {
        let unit = consoles();
        let go = unit.instead.first();
        let choice = |wanted, there: &[&str]| {
            let is_there = |one: &Unit| there.contains(&one.unit.as_str());
            let choice = installed(&unit, wanted, is_there);
            (choice.unit.unit.clone(), choice.lacks.map(|one| one.unit.clone()))
        };
        let (old, new) = ("conserver.service", "goconserver.service");
        let lacks = |name: &str| Some(name.to_owned());
        assert_eq!(choice(go, &[old, new]), (new.to_owned(), None));
        assert_eq!(choice(go, &[old]), (old.to_owned(), lacks(new)));
        assert_eq!(choice(Some(&unit), &[new]), (new.to_owned(), lacks(old)));
        assert_eq!(choice(None, &[old, new]), (old.to_owned(), None));
        assert_eq!(choice(None, &[new]), (new.to_owned(), None));
    }
}

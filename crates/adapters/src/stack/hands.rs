//! Carries the steps out, one at a time: finds the step's kind, keeps the journal, and says what became of it.

use super::before::Record;
use super::claim::{self, Refused};
use super::journal::Journal;
use super::keeper::Keeper;
use super::settings::StackSettings;
use super::trouble::Trouble;
use super::watch::Answering;
use super::{carry, choice, database, hold, install, link, mount, name, unit};
use regent_config::steps::{Kind, Step};
use regent_core::health::Weight;
use regent_core::id::{ClusterId, Epoch};
use regent_core::stack::{StackResult, StackStep, StepId, StepState};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is left until then; never nothing, so that whatever it bounds can fail by itself.
pub(super) fn left(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(100))
}

/// Where the host keeps its own files; another root in tests.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) root: PathBuf,
}

impl Places {
    pub(super) fn etc(&self, name: &str) -> PathBuf {
        self.root.join("etc").join(name)
    }

    pub(super) fn hostname(&self) -> PathBuf {
        self.etc("hostname")
    }

    pub(super) fn resolver(&self) -> PathBuf {
        self.etc("resolv.conf")
    }

    /// What an administrator says of units, which outlives a boot.
    pub(super) fn systemd(&self) -> PathBuf {
        self.etc("systemd/system")
    }
}

/// Everything that a step needs.
pub(super) struct Hands {
    pub(super) settings: Arc<StackSettings>,
    pub(super) places: Places,
    pub(super) record: Record,
    pub(super) journal: Journal,
    answering: Answering,
    pub(super) keeper: Arc<Keeper>,
    /// The step under way, for notes.
    doing: String,
}

impl Hands {
    /// Reads the record; changes nothing.
    pub(super) fn new(
        settings: Arc<StackSettings>,
        places: Places,
        answering: Answering,
        keeper: Arc<Keeper>,
    ) -> Result<Hands, Trouble> {
        let directory = settings.state_dir.join("stack");
        let record = Record::load(&directory)?;
        let journal = Journal::new(&directory);
        Ok(Hands { settings, places, record, journal, answering, keeper, doing: String::new() })
    }

    /// The shared directory is lost for this host, in words: what is on it cannot be looked at.
    pub(super) fn lost(&self) -> Option<String> {
        self.answering.lost().map(|lost| lost.why)
    }

    /// The directory hung, and what was to be written then was not waited for.
    pub(super) fn has_hung(&self) -> bool {
        self.answering.has_hung()
    }

    /// Before a step that cannot do without the shared directory.
    fn refuse_hang(&self) -> Result<(), Trouble> {
        self.answering.hangs().map_or(Ok(()), |why| Err(Trouble::new(why)))
    }

    /// Tells something that is neither failure nor success.
    pub(super) fn note(&self, why: &str) -> Result<(), Trouble> {
        self.journal.put(&self.doing, "", "note", why)
    }

    /// Carries one step out.
    pub(super) fn step(&mut self, step: StackStep) -> StackResult {
        if step == StackStep::Survey {
            if self.is_active() && self.record.get().activated {
                choice::adopt(self);
            }
            return StackResult::Done;
        }
        if let Err(error) = fs::create_dir_all(self.settings.state_dir.join("stack")) {
            let place = self.settings.state_dir.display();
            return StackResult::Failed(format!("keep a record in {place}: {error}"));
        }
        let done = match step {
            StackStep::Survey => Ok(()),
            StackStep::Claim { epoch, over } => self.claim(epoch, over),
            StackStep::Up { step } => self.up(step).map_err(Refused::from),
            StackStep::Revoke => self.revoke().map_err(Refused::from),
            StackStep::Down { step } => self.down(step).map_err(Refused::from),
            StackStep::Unclaim { epoch } => self.unclaim(epoch).map_err(Refused::from),
            StackStep::Repair => self.repair().map_err(Refused::from),
        };
        match done {
            Ok(()) => StackResult::Done,
            Err(Refused::Foreign(why)) => StackResult::Foreign(why),
            Err(Refused::Trouble(trouble)) => StackResult::Failed(trouble.into_words()),
        }
    }

    /// Tells the journal of it, before and after.
    fn told<T, E>(
        &mut self,
        name: &str,
        way: &str,
        words: impl FnOnce(&E) -> String,
        act: impl FnOnce(&mut Hands) -> Result<T, E>,
    ) -> Result<T, E>
    where
        E: From<Trouble>,
    {
        self.doing = name.to_owned();
        self.journal.put(name, way, "begun", "")?;
        let done = act(self);
        match &done {
            Ok(_) => self.journal.put(name, way, "done", "")?,
            Err(error) => self.journal.put(name, way, "failed", &words(error))?,
        }
        done
    }

    fn claim(&mut self, epoch: Epoch, over: Option<ClusterId>) -> Result<(), Refused> {
        self.refuse_hang()?;
        let words = |refused: &Refused| match refused {
            Refused::Foreign(why) => why.clone(),
            Refused::Trouble(trouble) => trouble.to_string(),
        };
        self.told("claim", "", words, |hands| {
            let settings = Arc::clone(&hands.settings);
            hands.record.change(|before| {
                before.epoch = Some(epoch.0);
                // Another run of the agent claims again what is up.
                before.activated &= !before.up.is_empty();
            })?;
            // What a step of ours mounts can be claimed only then.
            if !mount::waits_for_mount(hands) {
                claim::make(&settings, epoch, over)?;
            }
            claim::give_permit(&settings.run_dir, epoch)?;
            hold::forget(hands)?;
            hands.keep_on();
            Ok(())
        })
    }

    /// What an activation that ended carries is stored as it changes, also by the next run of the agent.
    fn keep_on(&self) {
        for step in &self.settings.steps {
            if let Kind::Carry { files, store } = &step.kind
                && self.record.get().activated
                && self.record.is_up(&step.name)
            {
                self.keeper.keep(files, store);
            }
        }
    }

    fn revoke(&mut self) -> Result<(), Trouble> {
        self.told("revoke", "", Trouble::to_string, |hands| {
            hands.keeper.stop();
            claim::take_permit(&hands.settings.run_dir)?;
            hold::forget(hands)
        })
    }

    fn unclaim(&mut self, epoch: Epoch) -> Result<(), Trouble> {
        self.refuse_hang()?;
        let data = Some(&self.settings.data).filter(|_| !mount::waits_for_mount(self));
        let settled = self.answering.settle(data.map(PathBuf::as_path));
        settled.map_err(Trouble::at("sync", &self.settings.data))?;
        if self.record.get().epoch.is_none() && !claim::is_ours(&self.settings) {
            return claim::take_permit(&self.settings.run_dir);
        }
        self.told("unclaim", "", Trouble::to_string, |hands| {
            hands.keeper.stop();
            claim::take_permit(&hands.settings.run_dir)?;
            for step in &hands.settings.steps {
                if let Kind::Unit(unit) = &step.kind {
                    unit::disable_until_reboot(unit);
                }
            }
            if !mount::waits_for_mount(hands) {
                claim::clear(&hands.settings, epoch)?;
            }
            hands.record.change(|before| {
                before.epoch = None;
                before.activated = false;
            })
        })
    }

    fn named(&self, step: StepId) -> Result<Step, Trouble> {
        let found = self.settings.steps.get(usize::from(step.0));
        found.cloned().ok_or_else(|| Trouble::new(format!("there is no step {}", step.0)))
    }

    fn up(&mut self, id: StepId) -> Result<(), Trouble> {
        let step = self.named(id)?;
        let done = self.bring_up(&step);
        let last = usize::from(id.0) + 1 == self.settings.steps.len();
        if last && (done.is_ok() || step.weight == Weight::Degraded) {
            self.record.change(|before| before.activated = true)?;
        }
        done
    }

    /// Also when it is up: that is found out and said by the step itself.
    pub(super) fn bring_up(&mut self, step: &Step) -> Result<(), Trouble> {
        self.refuse_hang()?;
        let deadline = Instant::now() + step.start_within;
        self.told(&step.name.clone(), "up", Trouble::to_string, |hands| {
            match &step.kind {
                Kind::Mount { .. } => mount::up(hands, &step.kind, deadline)?,
                Kind::HostName(wanted) => name::take_name(hands, wanted)?,
                Kind::Link { path, target } => link::up(hands, path, target, deadline)?,
                Kind::Resolver(first) => name::ask_first(hands, *first)?,
                Kind::Carry { files, store } => carry::up(hands, files, store)?,
                Kind::Install { command, creates } => {
                    install::up(hands, command, creates, deadline)?;
                }
                Kind::Database(engine) => database::up(hands, engine)?,
                Kind::Unit(unit) => unit::up(hands, step, unit, deadline)?,
            }
            hands.record.change(|before| {
                before.up.insert(step.name.clone());
            })
        })
    }

    fn down(&mut self, id: StepId) -> Result<(), Trouble> {
        let step = self.named(id)?;
        self.take_down(&step)
    }

    pub(super) fn take_down(&mut self, step: &Step) -> Result<(), Trouble> {
        // One that is down and was never up leaves no line: deactivating a passive node changes nothing.
        let quiet = !self.record.is_up(&step.name)
            && !self.is_recorded(step)
            && self.state(step) == StepState::Down;
        if quiet && !unit::has_work(self, step) {
            return Ok(());
        }
        let deadline = Instant::now() + step.stop_within;
        self.told(&step.name.clone(), "down", Trouble::to_string, |hands| {
            match &step.kind {
                Kind::Mount { .. } => {
                    hands.refuse_hang()?;
                    mount::down(hands, &step.kind, deadline)?;
                }
                Kind::HostName(wanted) => name::give_name_back(hands, wanted)?,
                Kind::Link { path, target } => link::down(hands, path, target, deadline)?,
                Kind::Resolver(first) => name::ask_as_before(hands, *first)?,
                Kind::Carry { files, store } => {
                    hands.refuse_hang()?;
                    let was_up = hands.record.is_up(&step.name);
                    carry::down(hands, files, store, was_up)?;
                }
                // What was installed stays, and a check leaves nothing behind.
                Kind::Install { .. } | Kind::Database(_) => {}
                Kind::Unit(unit) => unit::down(hands, step, unit, deadline)?,
            }
            hands.record.change(|before| {
                before.up.remove(&step.name);
            })
        })
    }

    /// Brings back what drifted: on the active node what was replaced, and what the activation left out or does not run
    /// any more; on a passive one what is there again.
    fn repair(&mut self) -> Result<(), Trouble> {
        self.refuse_hang()?;
        let steps = self.settings.steps.clone();
        let mut failed: Vec<String> = Vec::new();
        let mut keep = |step: &Step, done: Result<(), Trouble>| {
            if let Err(trouble) = done {
                failed.push(format!("{}: {trouble}", step.name));
            }
        };
        if self.is_active() {
            // Until an activation has ended, what is not up yet is its business.
            let activated = self.record.get().activated;
            for step in &steps {
                // Taken away meanwhile: nothing comes up any more.
                if !self.is_active() {
                    break;
                }
                let was_up = self.record.is_up(&step.name);
                let is_up = self.state(step) == StepState::Up;
                let due = match activated {
                    true => !was_up || !is_up,
                    false => was_up && !is_up && !matches!(step.kind, Kind::Unit(_)),
                };
                if due {
                    let done = self.bring_up(step);
                    keep(step, done);
                } else if let Kind::Unit(unit) = &step.kind {
                    let done = unit::guard_and_disable(self, unit);
                    keep(step, done);
                } else if let Kind::Carry { files, store } = &step.kind
                    && was_up
                {
                    let done = carry::keep_up(self, files, store);
                    keep(step, done);
                }
            }
        } else {
            for step in steps.iter().rev() {
                let done = self.take_down(step);
                keep(step, done);
            }
        }
        match failed.is_empty() {
            true => Ok(()),
            false => Err(Trouble::new(failed.join("; "))),
        }
    }

    /// The units have their permit: this node is active, or about to be.
    pub(super) fn is_active(&self) -> bool {
        claim::permit(&self.settings.run_dir).exists()
    }

    /// Where a step is. Changes nothing.
    pub(super) fn state(&self, step: &Step) -> StepState {
        match &step.kind {
            Kind::Mount { .. } => mount::state(&step.kind, self.lost().is_some()),
            Kind::HostName(wanted) => name::name_state(self, wanted),
            Kind::Link { path, target } => link::state(self, path, target),
            Kind::Resolver(first) => name::resolver_state(self, *first),
            Kind::Carry { .. } => match (self.held(step), self.is_recorded(step)) {
                (true, _) => StepState::Up,
                (false, true) => StepState::Partly("it was begun, and is not done".into()),
                (false, false) => StepState::Down,
            },
            Kind::Install { creates, .. } => match self.held(step) {
                true if !creates.exists() => {
                    StepState::Partly(format!("{} is gone", creates.display()))
                }
                true => StepState::Up,
                false => StepState::Down,
            },
            Kind::Database(engine) => match self.held(step) {
                true if self.lost().is_some() => StepState::Up,
                true => match database::check(self, engine) {
                    troubles if troubles.is_empty() => StepState::Up,
                    troubles => StepState::Partly(troubles.join("; ")),
                },
                false => StepState::Down,
            },
            Kind::Unit(unit) => unit::state(&unit::look(std::slice::from_ref(unit)), unit),
        }
    }

    /// A step that leaves nothing to look at is up from when it was brought up until it is taken down.
    fn held(&self, step: &Step) -> bool {
        self.record.is_up(&step.name)
    }

    /// The record has something of this host that is to be brought back.
    fn is_recorded(&self, step: &Step) -> bool {
        let before = self.record.get();
        match &step.kind {
            Kind::HostName(_) => before.host_name.is_some(),
            Kind::Link { path, .. } => before.links.contains_key(path),
            Kind::Resolver(_) => before.resolver.is_some(),
            Kind::Carry { .. } => !before.carried.is_empty(),
            Kind::Mount { .. } | Kind::Install { .. } | Kind::Database(_) | Kind::Unit(_) => false,
        }
    }

    /// The step that makes the link at this path.
    pub(super) fn name_of_link(&self, wanted: &Path) -> Option<String> {
        let makes = |step: &&Step| match &step.kind {
            Kind::Link { path, .. } => path == wanted,
            Kind::Mount { .. }
            | Kind::HostName(_)
            | Kind::Resolver(_)
            | Kind::Carry { .. }
            | Kind::Install { .. }
            | Kind::Database(_)
            | Kind::Unit(_) => false,
        };
        self.settings.steps.iter().find(makes).map(|step| step.name.clone())
    }

    /// The local path of something on the shared data, for when the link to it has not been made: what will be there.
    pub(super) fn local_of(&self, shared: &Path) -> Option<PathBuf> {
        self.settings.steps.iter().find_map(|step| match &step.kind {
            Kind::Link { path, target } if shared.starts_with(target) && !target.exists() => {
                // Joined with nothing it would end with a slash.
                Some(path.join(shared.strip_prefix(target).ok()?).components().collect())
            }
            Kind::Link { .. }
            | Kind::Mount { .. }
            | Kind::HostName(_)
            | Kind::Resolver(_)
            | Kind::Carry { .. }
            | Kind::Install { .. }
            | Kind::Database(_)
            | Kind::Unit(_) => None,
        })
    }

    /// The product is not on this node yet, and a step of ours will bring it.
    pub(super) fn awaits_install(&self) -> bool {
        self.settings.steps.iter().any(|step| match &step.kind {
            Kind::Install { creates, .. } => !creates.exists(),
            Kind::Link { .. }
            | Kind::Mount { .. }
            | Kind::HostName(_)
            | Kind::Resolver(_)
            | Kind::Carry { .. }
            | Kind::Database(_)
            | Kind::Unit(_) => false,
        })
    }
}

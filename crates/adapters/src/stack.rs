//! The stack on shared data: what each step of [`regent_core::stack`] is on a real host.
//!
//! Every step is surveyed, brought up and taken down here, idempotent and bounded in time. What a host looked like
//! before the first change (its host name, the bytes of its resolver's file, directories that stood where links go,
//! units that were enabled) is kept durably before it is changed, so that it can be brought back after any restart.
//!
//! How to read it: [`regent_config::steps`] says what a step is, `hands` carries one out, `before` is the durable
//! record that makes each of them repeatable after a kill or a power cut, `survey` looks at everything, and there
//! is a file for each kind of step. Whatever touches the shared directory may hang with it, so it is all done on a
//! thread that nobody waits for without a bound.

mod before;
mod busy;
mod carry;
mod choice;
mod claim;
mod database;
mod files;
mod hands;
mod hold;
mod install;
mod journal;
mod keeper;
mod link;
mod merge;
mod mount;
mod name;
mod plan;
mod procs;
pub mod readdress;
mod room;
mod settings;
mod survey;
#[cfg(test)]
mod tests;
mod trouble;
mod unit;
mod watch;

pub use choice::in_use;
pub use claim::{make_token, read_token};
pub use journal::{Line, journal};
pub use plan::PlannedStep;
pub use settings::StackSettings;
pub use survey::Mends;
pub use watch::{Answering, DataWatch, Seen, watch_data};

use hands::{Hands, Places};
use keeper::Keeper;
use regent_config::steps::{Kind, Step};
use regent_core::stack::{StackResult, StackStep, StepState, Survey};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// A survey takes some ten milliseconds; past this the shared directory or systemd hangs.
const SURVEY_MAX: Duration = Duration::from_secs(6);
/// The same before a set-up, which measures what is to be copied as well.
const SET_UP_MAX: Duration = Duration::from_secs(60);
/// Beyond a step's own bound, for what it does after its commands.
const SLACK: Duration = Duration::from_secs(15);
/// A look that hangs is left behind, and the next one has a thread of its own: so many at most.
const LEFT_MAX: usize = 4;

/// The hands: one step at a time, on a thread of the agent that may block. They have a thread of their own, so that a
/// shared directory that does not answer takes a step's time and no more.
pub struct Stack {
    settings: Arc<StackSettings>,
    places: Places,
    answering: Answering,
    keeper: Arc<Keeper>,
    keeps: bool,
    worker: Option<Worker>,
    /// What has not answered in time.
    late: Option<StackStep>,
    /// Threads of looks that did not, and that nobody waits for any more; each while it is there.
    left: Vec<Weak<()>>,
}

struct Worker {
    ask: SyncSender<StackStep>,
    answers: Receiver<Answer>,
    /// The thread has it as well.
    life: Arc<()>,
}

enum Answer {
    Result(StackResult),
    Survey(Box<Survey>),
}

impl Stack {
    /// For these settings. Touches nothing.
    pub fn new(settings: StackSettings, answering: Answering) -> Stack {
        let mut stack = Stack::at(settings, PathBuf::from("/"));
        stack.answering = answering;
        stack
    }

    fn at(settings: StackSettings, root: PathBuf) -> Stack {
        Stack {
            settings: Arc::new(settings),
            places: Places { root },
            answering: Answering::default(),
            keeper: Arc::default(),
            keeps: false,
            worker: None,
            late: None,
            left: Vec::new(),
        }
    }

    /// Carries one step out, and looks at everything.
    pub fn step(&mut self, step: StackStep) -> (StackResult, Option<Survey>) {
        if step == StackStep::Revoke {
            // The units' permit goes whatever hangs.
            self.keeper.stop();
            let _ = claim::take_permit(&self.settings.run_dir);
        }
        self.leave_look();
        if let Some(late) = self.late
            && !self.has_answered(SLACK / 5)
        {
            let why = format!(
                "{} is still under way: the shared directory {} or a file server does not answer",
                self.words(late),
                self.settings.data.display()
            );
            return (StackResult::Failed(why), None);
        }
        let bound = self.bound(step);
        let settings = Arc::clone(&self.settings);
        let words = self.words(step);
        let worker = match self.worker() {
            Ok(worker) => worker,
            Err(error) => return (StackResult::Failed(format!("start a thread: {error}")), None),
        };
        let deadline = Instant::now() + bound;
        if worker.ask.send(step).is_err() {
            self.worker = None;
            return (StackResult::Failed(format!("{words}: ended by a panic")), None);
        }
        let left = || deadline.saturating_duration_since(Instant::now());
        let result = match worker.answers.recv_timeout(left()) {
            Ok(Answer::Result(result)) => result,
            Ok(Answer::Survey(_)) | Err(_) => {
                self.late = Some(step);
                let data = settings.data.display();
                let why = format!(
                    "{words}: not done after {} s: the shared directory {data} does not answer, or systemd",
                    bound.as_secs()
                );
                return (StackResult::Failed(why), None);
            }
        };
        match worker.answers.recv_timeout(SURVEY_MAX) {
            Ok(Answer::Survey(survey)) => (result, Some(*survey)),
            Ok(Answer::Result(_)) | Err(_) => {
                self.late = Some(StackStep::Survey);
                (result, None)
            }
        }
    }

    /// What an activation (`up`) or a deactivation would do on this host. Changes nothing, and opens nothing for
    /// writing; waits no longer than a survey may take.
    pub fn plan(&self, up: bool) -> Vec<PlannedStep> {
        let unknown = |why: &str| {
            let one = |step: &Step| PlannedStep {
                name: step.name.clone(),
                now: StepState::Unknown(why.to_owned()),
                does: Vec::new(),
            };
            self.settings.steps.iter().map(one).collect()
        };
        match self.looked(SURVEY_MAX, move |hands| plan::plan(hands, up)) {
            Some(Ok(planned)) => planned,
            Some(Err(why)) => unknown(&why),
            None => unknown(&self.does_not_answer(SURVEY_MAX)),
        }
    }

    /// Why nothing can be brought up or down in order, if the shared directory hangs.
    pub fn hangs(&self) -> Option<String> {
        self.answering.hangs()
    }

    /// What stands in the way of this host's set-up. Changes nothing; waits no longer than a survey may take.
    pub fn before_set_up(&self, mends: Mends) -> Vec<String> {
        match self.looked(SET_UP_MAX, move |hands| survey::before_set_up(hands, mends)) {
            Some(Ok(problems)) => problems,
            Some(Err(why)) => vec![why],
            None => vec![self.does_not_answer(SET_UP_MAX)],
        }
    }

    /// What a deactivation would wait for in vain: who uses a directory that is to go and is no process of a step's
    /// unit. Changes nothing. What hangs is left to the steps, which have their own bounds.
    pub fn busy(&self) -> Vec<String> {
        match self.looked(SURVEY_MAX, busy::busy) {
            Some(Ok(found)) => found,
            Some(Err(why)) => vec![why],
            None => Vec::new(),
        }
    }

    fn does_not_answer(&self, within: Duration) -> String {
        let (data, max) = (self.settings.data.display(), within.as_secs());
        format!("the shared directory {data} does not answer within {max} s, or systemd")
    }

    /// Looks on a thread of its own; none if that takes too long.
    fn looked<T: Send + 'static>(
        &self,
        bound: Duration,
        look: impl FnOnce(&Hands) -> T + Send + 'static,
    ) -> Option<Result<T, String>> {
        let (settings, places) = (Arc::clone(&self.settings), self.places.clone());
        let answering = self.answering.clone();
        let (tell, told) = sync_channel(1);
        let look = move || {
            let hands = Hands::new(settings, places, answering, Arc::default());
            let found = hands.map(|hands| look(&hands)).map_err(|trouble| trouble.to_string());
            // Nobody may wait any more.
            let _ = tell.send(found);
        };
        if let Err(error) = std::thread::Builder::new().name("stack-look".into()).spawn(look) {
            return Some(Err(format!("start a thread: {error}")));
        }
        told.recv_timeout(bound).ok()
    }

    /// A look that hangs changes nothing when it ends: whoever is asked next has a thread of its own. A step that hangs
    /// may go on, so nothing begins beside it.
    fn leave_look(&mut self) {
        self.left.retain(|thread| thread.strong_count() > 0);
        if self.late == Some(StackStep::Survey)
            && self.left.len() < LEFT_MAX
            && !self.has_answered(Duration::ZERO)
        {
            self.left.extend(self.worker.take().map(|worker| Arc::downgrade(&worker.life)));
            self.late = None;
        }
    }

    /// What was late has come to its end meanwhile.
    fn has_answered(&mut self, within: Duration) -> bool {
        let deadline = Instant::now() + within;
        let Some(worker) = &self.worker else { return true };
        loop {
            match worker.answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(Answer::Result(_)) => {}
                Ok(Answer::Survey(_)) => {
                    self.late = None;
                    return true;
                }
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => return false,
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => {
                    self.worker = None;
                    self.late = None;
                    return true;
                }
            }
        }
    }

    fn bound(&self, step: StackStep) -> Duration {
        let of = |id: regent_core::stack::StepId| self.settings.steps.get(usize::from(id.0));
        let steps = match step {
            StackStep::Up { step } => {
                of(step).map_or(Duration::ZERO, |step| step.start_within + self.before(step))
            }
            StackStep::Down { step } => of(step).map_or(Duration::ZERO, |step| step.stop_within),
            StackStep::Repair => {
                self.settings.steps.iter().map(|s| s.start_within.max(s.stop_within)).sum()
            }
            StackStep::Survey
            | StackStep::Claim { .. }
            | StackStep::Revoke
            | StackStep::Unclaim { .. } => Duration::ZERO,
        };
        steps + SLACK
    }

    /// The server of the database is started before an installer begins.
    fn before(&self, step: &Step) -> Duration {
        let server = self.settings.database_server();
        let server = server.filter(|_| matches!(step.kind, Kind::Install { .. }));
        server.map_or(Duration::ZERO, |(_, server)| server.start_within)
    }

    fn words(&self, step: StackStep) -> String {
        let of = |id: regent_core::stack::StepId| {
            let step = self.settings.steps.get(usize::from(id.0));
            step.map_or_else(|| format!("step {}", id.0), |step| step.name.clone())
        };
        match step {
            StackStep::Survey => "the survey".into(),
            StackStep::Claim { .. } => "the claim".into(),
            StackStep::Up { step } => format!("{} up", of(step)),
            StackStep::Revoke => "the revocation".into(),
            StackStep::Down { step } => format!("{} down", of(step)),
            StackStep::Unclaim { .. } => "the end of the claim".into(),
            StackStep::Repair => "the repair".into(),
        }
    }

    fn worker(&mut self) -> std::io::Result<&Worker> {
        if !self.keeps {
            let (settings, keeper) = (Arc::clone(&self.settings), Arc::clone(&self.keeper));
            let root = self.places.root.clone();
            std::thread::Builder::new()
                .name("stack-keeper".into())
                .spawn(move || keeper.run(&root, &settings))?;
            self.keeps = true;
        }
        if self.worker.is_none() {
            let (ask, asked) = sync_channel(1);
            // A result and a survey, and a survey that nobody took.
            let (tell, answers) = sync_channel(4);
            let (settings, places) = (Arc::clone(&self.settings), self.places.clone());
            let (answering, keeper) = (self.answering.clone(), Arc::clone(&self.keeper));
            let life = Arc::new(());
            let lives = Arc::clone(&life);
            let work = move || {
                work(&settings, &places, &answering, &keeper, &asked, &tell);
                drop(lives);
            };
            std::thread::Builder::new().name("stack".into()).spawn(work)?;
            self.worker = Some(Worker { ask, answers, life });
        }
        self.worker.as_ref().ok_or_else(|| std::io::Error::other("no worker"))
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.keeper.end();
    }
}

/// Until nobody asks any more.
fn work(
    settings: &Arc<StackSettings>,
    places: &Places,
    answering: &Answering,
    keeper: &Arc<Keeper>,
    asked: &Receiver<StackStep>,
    tell: &SyncSender<Answer>,
) {
    let mut last: Option<Survey> = None;
    while let Ok(step) = asked.recv() {
        let (settings, keeper) = (Arc::clone(settings), Arc::clone(keeper));
        let (result, survey) =
            match Hands::new(Arc::clone(&settings), places.clone(), answering.clone(), keeper) {
                Ok(mut hands) => {
                    let result = hands.step(step);
                    if tell.send(Answer::Result(result)).is_err() {
                        return;
                    }
                    (None, survey::after(&hands, step, last.take()))
                }
                Err(trouble) => {
                    let why = trouble.to_string();
                    let unknown = settings.steps.iter().map(|_| StepState::Unknown(why.clone()));
                    let steps = unknown.collect();
                    let survey = Survey { steps, problems: vec![why.clone()], ..Survey::default() };
                    (Some(StackResult::Failed(why)), survey)
                }
            };
        last = Some(survey.clone());
        let result = result.map_or(Ok(()), |result| tell.send(Answer::Result(result)));
        if result.is_err() || tell.send(Answer::Survey(Box::new(survey))).is_err() {
            return;
        }
    }
}

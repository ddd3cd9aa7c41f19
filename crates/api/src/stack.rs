//! The stack on shared data: what an activation comes to, how far it is, how it ended, and where every step is.

use crate::exit::Exit;
use crate::moment::Moment;
use crate::refusal::RefusalKind;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A length of time, in seconds with three decimals in JSON.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct Seconds(
    /// In milliseconds.
    pub u64,
);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.0 as f64 / 1000.0)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Seconds, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        Ok(Seconds((seconds * 1000.0).round().max(0.0) as u64))
    }
}

impl From<std::time::Duration> for Seconds {
    fn from(length: std::time::Duration) -> Seconds {
        Seconds(length.as_millis() as u64)
    }
}

/// What is done with a stack.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Everything is brought up here.
    Activate,
    /// Everything is taken down here.
    Deactivate,
    /// What drifted is brought back.
    Repair,
}

impl Verb {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Verb::Activate => "activate",
            Verb::Deactivate => "deactivate",
            Verb::Repair => "repair",
        }
    }
}

/// Where a step is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// As on an active node.
    Up,
    /// As on a passive node.
    Down,
    /// Neither, and what is amiss.
    Partly(String),
    /// It cannot be told, and why.
    Unknown(String),
}

impl StepState {
    /// The word for it.
    pub fn as_str(&self) -> &'static str {
        match self {
            StepState::Up => "up",
            StepState::Down => "down",
            StepState::Partly(_) => "partly",
            StepState::Unknown(_) => "unknown",
        }
    }

    /// What is amiss; empty if nothing is.
    pub fn why(&self) -> &str {
        match self {
            StepState::Up | StepState::Down => "",
            StepState::Partly(why) | StepState::Unknown(why) => why,
        }
    }
}

/// What an activation or a deactivation comes to, before anything is changed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Plan {
    /// [`crate::VERSION`].
    pub version: u32,
    /// On which node.
    pub node: String,
    /// What is planned.
    pub verb: Verb,
    /// In the order in which it is done.
    pub steps: Vec<PlanStep>,
    /// Why it would be refused, as far as this host can tell by itself.
    pub problems: Vec<String>,
}

/// One step of a plan.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PlanStep {
    /// Its name.
    pub name: String,
    /// What it does.
    pub what: String,
    /// Where it is now.
    pub state: StepState,
    /// It is so already.
    pub already: bool,
}

/// How far it is: one step, again and again while it runs, and once when it ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StepNews {
    /// Its name.
    pub name: String,
    /// For how long it has run.
    pub seconds: Seconds,
    /// How it ended; none while it runs.
    pub ended: Option<StepEnd>,
}

/// How a step ended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StepEnd {
    /// Where it is then.
    pub state: StepDone,
    /// Why it is not where it was to be.
    pub error: Option<String>,
}

/// Where a step is after it was carried out, or would be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepDone {
    /// It came up.
    Up,
    /// It went down.
    Down,
    /// It is done, and is neither: the claim, the permit, a repair.
    Done,
    /// It failed.
    Failed,
    /// Of a dry run: it would be carried out.
    ToDo,
    /// Of a dry run: it is so already.
    Already,
}

impl StepDone {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            StepDone::Up => "up",
            StepDone::Down => "down",
            StepDone::Done => "done",
            StepDone::Failed => "FAILED",
            StepDone::ToDo => "to do",
            StepDone::Already => "already",
        }
    }
}

/// Version 1 of `regent activate --json`, `regent deactivate --json` and `regent stack repair --json`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Moved {
    /// [`crate::VERSION`].
    pub version: u32,
    /// `done`, or the kind of what stood in the way.
    pub result: String,
    /// On which node.
    pub node: String,
    /// What was asked for.
    pub verb: Verb,
    /// Everything was asked and nothing was changed.
    pub dry_run: bool,
    /// How it ended, in a sentence; why not, if it did not end well.
    pub text: String,
    /// What to do about it.
    pub remedy: Option<String>,
    /// In all.
    pub seconds: Seconds,
    /// Each step that was carried out, in that order; of a dry run, each that would be.
    pub steps: Vec<MovedStep>,
    /// The exit code.
    pub exit: u8,
    /// What stood in the way; none if it ended well.
    pub obstacle: Option<RefusalKind>,
}

/// One step of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct MovedStep {
    /// Its name.
    pub name: String,
    /// Where it is then.
    pub state: StepDone,
    /// How long it took.
    pub seconds: Seconds,
    /// Why it is not where it was to be.
    pub error: Option<String>,
}

impl Moved {
    /// The exit code that says the same.
    pub fn exit(&self) -> Exit {
        self.obstacle.map_or(Exit::Ok, RefusalKind::exit)
    }
}

/// Version 1 of `regent stack show --json`: the stack of the node that answers.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct StackShown {
    /// [`crate::VERSION`].
    pub version: u32,
    /// Whose.
    pub node: String,
    /// It is, or is to be, active: the form that the steps are compared with.
    pub active: bool,
    /// Each step.
    pub steps: Vec<PlanStep>,
    /// What is known of it beside the steps.
    pub stack: NodeStack,
    /// Who uses the shared data, by the register.
    pub in_use: Option<InUse>,
    /// Who does, by the file on them.
    pub claim: Option<Claim>,
}

impl StackShown {
    /// Everything is in its form, or the command ends with [`Exit::Degraded`].
    pub fn exit(&self) -> Exit {
        let well = self.stack.drift.is_empty() && self.stack.failure.is_none();
        if well { Exit::Ok } else { Exit::Degraded }
    }
}

/// What a status says of the shared data.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Shared {
    /// Who decides that another node takes over: `by-hand` or `automatic`.
    pub failover: String,
    /// The steps, by name, in the order of an activation.
    pub steps: Vec<String>,
    /// Who uses the data, by the register; none if nobody does.
    pub in_use: Option<InUse>,
    /// Who does, by the file on them, as the node that answers last read it.
    pub claim: Option<Claim>,
    /// This node is being activated, by an operator's word.
    pub activating: Option<String>,
}

/// Who uses the shared data.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InUse {
    /// Who.
    pub node: String,
    /// Since which grant.
    pub epoch: u64,
    /// The length of its watchdog, if one proves its end.
    pub watchdog_ms: Option<u64>,
}

/// The claim on the shared data.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Claim {
    /// Who wrote it.
    pub node: String,
    /// Under which grant.
    pub epoch: u64,
    /// When it was written, by the clock of the file system.
    #[serde(default)]
    pub since: Moment,
    /// It says that the use is over, or it is void.
    pub clear: bool,
    /// It is of another cluster, whose id this is.
    pub of_cluster: Option<String>,
}

impl Claim {
    /// In a few words.
    pub fn text(&self) -> String {
        let Claim { node, epoch, .. } = self;
        let over = if self.clear { ", over" } else { "" };
        match &self.of_cluster {
            Some(cluster) => format!("{node} of another cluster, {cluster}, epoch {epoch}{over}"),
            None => format!("{node}, epoch {epoch}{over}"),
        }
    }
}

/// The stack of one node.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct NodeStack {
    /// Each step, in the order of [`Shared::steps`].
    pub steps: Vec<StepState>,
    /// The step under way.
    pub doing: Option<Doing>,
    /// Why it could not be activated.
    pub problems: Vec<String>,
    /// What is not in the form that its role asks for.
    pub drift: Vec<String>,
    /// Every step is down, and no unit may start.
    pub clear: bool,
    /// Why the last activation or deactivation there failed.
    pub failure: Option<String>,
}

/// A step under way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Doing {
    /// Its name.
    pub step: String,
    /// It is brought up, or else taken down.
    pub up: bool,
}

impl Doing {
    /// In a few words.
    pub fn text(&self) -> String {
        let way = if self.up { "bringing up" } else { "taking down" };
        format!("{way} {}", self.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_a_number_with_decimals_and_come_back() {
        let json = serde_json::to_string(&Seconds(12_345)).unwrap();
        assert_eq!(json, "12.345");
        for ms in [0, 1, 999, 12_345, 86_400_001] {
            let text = serde_json::to_string(&Seconds(ms)).unwrap();
            assert_eq!(serde_json::from_str::<Seconds>(&text).unwrap(), Seconds(ms), "{text}");
        }
    }

    #[test]
    fn version_one_has_the_words_that_scripts_read() {
        let failed = MovedStep {
            name: "xcatd".into(),
            state: StepDone::Failed,
            seconds: Seconds(1_500),
            error: Some("it ended".into()),
        };
        let moved = Moved {
            version: crate::VERSION,
            result: "step-failed".into(),
            node: "mn1".into(),
            verb: Verb::Activate,
            dry_run: false,
            text: "xcatd: it ended; everything is undone".into(),
            remedy: None,
            seconds: Seconds(2_000),
            steps: vec![failed],
            exit: RefusalKind::StepFailed.exit().number(),
            obstacle: Some(RefusalKind::StepFailed),
        };
        let json = serde_json::to_value(&moved).unwrap();
        assert_eq!(json["verb"], "activate");
        assert_eq!(json["seconds"], 2.0);
        assert_eq!(json["steps"][0]["state"], "failed");
        assert_eq!(json["steps"][0]["seconds"], 1.5);
        assert_eq!(json["obstacle"], "step-failed");
        assert_eq!(json["exit"], 15);
        assert_eq!(moved.exit(), Exit::StepFailed);
    }
}

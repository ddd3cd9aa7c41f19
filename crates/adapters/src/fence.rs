//! Making another host unable to run anything: fence agents of Debian, a command hook, and the watchdog of this one.
//!
//! Promises: an answer is [`Fenced::Confirmed`] only if the device itself said *off* after it was asked to switch off
//! (or a hook, which vouches for it, exited 0). A refusal that leaves the host on is failed; everything else, a
//! time-out first of all, is unknown. Nothing here decides whether to fence: only the holder asks (protocol
//! section 6). What is told carries no secret.
//!
//! How to read it: [`Settings`] as the configuration has them, [`Fence`] as it is used; `agent` and `command` are the
//! two kinds, `secret` keeps what must not be told, [`watchdog`] is about this host only.

mod agent;
mod command;
pub mod machine;
mod secret;
pub mod watchdog;

use crate::run::RunError;
use agent::Agent;
use command::Hook;
use regent_config::fence::{Device, Settings};
use regent_core::command::Fenced;
use regent_core::id::Epoch;
use regent_core::time::Span;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use secret::Secret;

/// On whose behalf a node is fenced; told to the hook.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Warrant {
    /// The cluster's name.
    pub cluster: String,
    /// The holder's epoch.
    pub epoch: Epoch,
}

/// Why a fence cannot be used as it is configured. Each names what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FenceError {
    /// The agent or the hook is not there, or is not a program.
    #[error("{0}")]
    NotThere(String),
    /// The agent did not describe itself.
    #[error("{agent} does not describe itself: {why}")]
    NoDescription {
        /// Which agent.
        agent: String,
        /// What happened.
        why: String,
    },
    /// An option is not one of this agent's.
    #[error("{agent} has no option {option}{}", near(suggestion))]
    UnknownOption {
        /// Which agent.
        agent: String,
        /// What was written.
        option: String,
        /// What may have been meant.
        suggestion: Option<String>,
    },
    /// An option that is set by Regent itself.
    #[error("option {0} is set by Regent: leave it out")]
    OwnOption(String),
    /// A password in the options, where everybody may read it.
    #[error(
        "option {0} is a secret: write it into a file of mode 600 and name that as password-file"
    )]
    OpenSecret(String),
    /// A value that cannot be told to an agent: it has a line break.
    #[error("the value of {0} has a line break or another control character")]
    BadValue(String),
    /// Options that the agent needs.
    #[error("{agent} needs {}", missing.join(", "))]
    Missing {
        /// Which agent.
        agent: String,
        /// What is missing.
        missing: Vec<String>,
    },
    /// The agent says that its options do not go together.
    #[error("{agent} refuses its options: {why}")]
    Refused {
        /// Which agent.
        agent: String,
        /// What it said.
        why: String,
    },
    /// The agent cannot do what a fence must.
    #[error("{agent} has no action {action}: an off could not be confirmed")]
    NoAction {
        /// Which agent.
        agent: String,
        /// What is lacking.
        action: &'static str,
    },
    /// The password's file.
    #[error("password-file {path}: {why}")]
    Password {
        /// Which file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
}

fn near(suggestion: &Option<String>) -> String {
    suggestion.as_ref().map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

/// What a device answered to a question that changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The node has power.
    On,
    /// The node has none.
    Off,
    /// The device answers, and does not tell of the power.
    Reachable,
    /// It cannot be used as it is: what to do is in the words.
    Failed(String),
    /// It gave no answer that proves anything.
    Unknown(String),
}

/// The outcome of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tested {
    /// Whose fence.
    pub node: String,
    /// The agent's or the hook's name.
    pub device: String,
    /// What it answered.
    pub answer: Answer,
    /// How long that took.
    pub took: Span,
}

/// One node's fence. Cheap to clone; may be used from several tasks at once.
#[derive(Clone, Debug)]
pub struct Fence {
    kind: Arc<Kind>,
}

#[derive(Debug)]
enum Kind {
    Agent(Agent),
    Command(Hook),
}

impl From<Settings> for Fence {
    fn from(settings: Settings) -> Fence {
        let Settings { node, device, timeout } = settings;
        let bound = Duration::from_nanos(timeout.0);
        let kind = match device {
            Device::Agent { agent, options, password_file } => {
                Kind::Agent(Agent::new(node, &agent, options, password_file, bound))
            }
            Device::Command(argv) => Kind::Command(Hook { node, argv, bound }),
        };
        Fence { kind: Arc::new(kind) }
    }
}

impl Fence {
    /// The node this fence is for.
    pub fn node(&self) -> &str {
        match &*self.kind {
            Kind::Agent(agent) => agent.node(),
            Kind::Command(hook) => &hook.node,
        }
    }

    /// What people call the device: the agent's or the hook's name.
    pub fn device(&self) -> String {
        match &*self.kind {
            Kind::Agent(agent) => agent.name().to_owned(),
            Kind::Command(hook) => hook.name(),
        }
    }

    /// Whether it can be used as configured: the program is there, knows every option, lacks none, and the password's
    /// file is private. The device itself is not asked.
    pub async fn check(&self) -> Result<(), FenceError> {
        let kind = Arc::clone(&self.kind);
        let work = move || match &*kind {
            Kind::Agent(agent) => agent.check(),
            Kind::Command(hook) => hook.check(),
        };
        blocking(work).await
    }

    /// Switches the node off and asks the device whether it is. Repeating it is harmless: a node that was off is
    /// confirmed so.
    pub async fn off(&self, warrant: &Warrant) -> Fenced {
        let (kind, warrant) = (Arc::clone(&self.kind), warrant.clone());
        let work = move || match &*kind {
            Kind::Agent(agent) => agent.off(),
            Kind::Command(hook) => hook.off(&warrant),
        };
        blocking(work).await
    }

    /// Asks the device for the node's power, and changes nothing.
    pub async fn test(&self, warrant: &Warrant) -> Tested {
        let (kind, warrant) = (Arc::clone(&self.kind), warrant.clone());
        let started = Instant::now();
        let work = move || match &*kind {
            Kind::Agent(agent) => agent.test(),
            Kind::Command(hook) => hook.test(&warrant),
        };
        let answer = blocking(work).await;
        let took = Span(started.elapsed().as_nanos() as u64);
        Tested { node: self.node().to_owned(), device: self.device(), answer, took }
    }
}

/// A fencing takes seconds and waits for a program, so it has a thread of its own.
async fn blocking<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    match tokio::task::spawn_blocking(work).await {
        Ok(answer) => answer,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Only a runtime that shuts down cancels, and then nobody waits for the answer.
            Err(_) => std::future::pending().await,
        },
    }
}

/// The last thing a program said, in one short line, for people.
fn last_words(text: &str) -> String {
    const MOST: usize = 200;
    let mut lines = text.lines().map(str::trim);
    let line = lines.rfind(|line| !line.is_empty()).unwrap_or("nothing said");
    let printable = line.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = printable.take(MOST).collect();
    if line.chars().count() > MOST {
        short.push_str("...");
    }
    short
}

/// Why a program gave no exit code: started not at all, or not done in time.
fn no_end(name: &str, error: &RunError) -> String {
    match error {
        RunError::NotStarted { source, .. } => format!("{name} cannot be started: {source}"),
        RunError::TooLong { bound, .. } => {
            format!("{name} gave no answer within {} and was killed", seconds(*bound))
        }
        RunError::Refused { code, .. } => format!("{name}: exit {code:?}"),
    }
}

fn seconds(span: Duration) -> String {
    format!("{:.1} s", span.as_secs_f64())
}

#[cfg(test)]
mod tests;

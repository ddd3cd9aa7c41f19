//! This member's file of the configuration: shown, compared with the others', and its part in a change of all of them.

use crate::config;
use crate::config::apply::{self, ApplyError, Files, Prepared, Way};
use crate::events::Events;
use crate::peer::{self, Answer, Change, Question};
use crate::serve::refuse;
use crate::transport::Transport;
use regent_api::call::{RefusalKind, Reply};
use regent_api::history::Severity;
use regent_config::{Settings, digest, effective};
use regent_core::id::NodeId;
use regent_core::state::Timing;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::{Mutex, Notify};

/// A member has so long for a question about its file: it reads or writes two, synced.
const PATIENCE: Duration = Duration::from_secs(3);

/// What was prepared and not decided is asked about after this long, and then as often.
const UNDECIDED: Duration = Duration::from_secs(15);
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// This member's file, and its part in changes of all.
pub(super) struct Configured {
    pub file: PathBuf,
    pub settings: Settings,
    pub me: NodeId,
    pub transport: Transport,
    pub events: Events,
    /// A new life is due: the file is another.
    pub again: Notify,
    /// The same, once the answer under way is sent.
    pub due: AtomicBool,
    /// One change at a time.
    pub busy: Mutex<()>,
}

impl Configured {
    pub(super) fn files(&self) -> Files {
        Files::of(&self.file)
    }

    pub(super) fn name(&self) -> String {
        self.file.display().to_string()
    }

    /// The answer to a peer.
    pub(super) async fn answer(self: Arc<Self>, change: Change) -> Answer {
        let files = self.files();
        let done = match change {
            Change::Text => {
                let file = self.file.clone();
                return match blocking(move || config::text(&file).map_err(|e| e.to_string())).await
                {
                    Ok(text) => Answer::Configuration(text),
                    Err(why) => Answer::Refused(why),
                };
            }
            Change::Prepare { old, text } => {
                let prepared =
                    blocking(move || applied(apply::prepare(&files, old.0, &text).map(drop))).await;
                if prepared.is_ok() {
                    // Whoever asked may die before it decides.
                    tokio::spawn(Arc::clone(&self).decide_later());
                }
                prepared
            }
            Change::Commit { old, new } => {
                let prepared = Prepared { old: old.0, new: new.0 };
                blocking(move || applied(apply::commit(&files, prepared))).await
            }
            Change::Abort => blocking(move || applied(apply::abort(&files))).await,
            Change::Begin => {
                self.begin_again();
                Ok(())
            }
        };
        match done {
            Ok(()) => Answer::Agreed,
            Err(why) => Answer::Refused(why),
        }
    }

    /// A new life, once the answer to whoever asked for it is on its way.
    pub(super) fn begin_again(self: &Arc<Self>) {
        let configured = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(100)).await;
            configured.again.notify_one();
        });
    }

    async fn decide_later(self: Arc<Self>) {
        tokio::time::sleep(UNDECIDED).await;
        self.decide().await;
    }

    /// What is prepared here and not decided: the others know which way it went. At the start of a life, and when
    /// whoever asked for it fell silent.
    pub(super) async fn decide(self: Arc<Self>) {
        loop {
            let _busy = self.busy.lock().await;
            let files = self.files();
            let pending = match blocking(move || apply::pending(&files)).await {
                Ok(Some(prepared)) => prepared,
                Ok(None) | Err(_) => return,
            };
            let mut peers = Vec::new();
            for member in self.settings.members.iter().filter(|m| m.id != self.me) {
                let text = self.text_of(member.id).await;
                peers.push(text.ok().map(|text| digest(&text)));
            }
            let files = self.files();
            let way = apply::resolve(pending, &peers);
            let (done, what) = match way {
                Way::Commit => {
                    let done = blocking(move || apply::commit(&files, pending)).await;
                    (done, "committed: another member has it")
                }
                Way::Abort => {
                    (blocking(move || apply::abort(&files)).await, "dropped: no member has it")
                }
                Way::Ask => {
                    drop(_busy);
                    tokio::time::sleep(ASK_AGAIN).await;
                    continue;
                }
            };
            let (severity, text) = match done {
                Ok(()) => (Severity::Warning, format!("a change that was prepared here is {what}")),
                Err(error) => {
                    (Severity::Alarm, format!("a prepared change is not {what}: {error}"))
                }
            };
            self.events.write(severity, 0, "config.resolved", &text);
            if way == Way::Commit {
                self.begin_again();
            }
            return;
        }
    }

    pub(super) async fn ask(&self, node: NodeId, change: Change) -> Result<Answer, String> {
        let question = Question::Configuration(change);
        let asked = peer::ask(&self.transport, node, &question);
        let answer = tokio::time::timeout(PATIENCE, asked).await;
        let answer = answer.map_err(|_| "it does not answer".to_string())??;
        if let Answer::Refused(why) = answer { Err(why) } else { Ok(answer) }
    }

    async fn text_of(&self, node: NodeId) -> Result<String, String> {
        match self.ask(node, Change::Text).await? {
            Answer::Configuration(text) => Ok(text),
            Answer::Voter(_)
            | Answer::Belongs { .. }
            | Answer::Installed
            | Answer::Database(_)
            | Answer::Events(_)
            | Answer::Token(_)
            | Answer::Agreed
            | Answer::Refused(_) => Err("its answer is not understood".into()),
        }
    }

    /// What is in force here, or only what is written.
    pub(super) fn show(&self, all: bool, register: Option<&Timing>) -> Reply {
        match config::shown(&self.file, all, register) {
            Ok(table) => Reply::Text(table.lines().map(String::from).collect()),
            Err(problems) => refuse(RefusalKind::Configuration, &problems.to_string(), ""),
        }
    }

    /// What the named member, or every other one, has otherwise.
    pub(super) async fn compare(&self, node: Option<String>) -> Reply {
        let named = match node {
            None => None,
            Some(name) => match self.settings.member(&name).filter(|m| m.id != self.me) {
                Some(member) => Some(member.id),
                None => {
                    let reason = format!("{name} is no other member");
                    return refuse(RefusalKind::Usage, &reason, "a name from the configuration");
                }
            },
        };
        self.diff(named).await
    }

    async fn diff(&self, node: Option<NodeId>) -> Reply {
        let here = match config::text(&self.file) {
            Ok(text) => text,
            Err(problems) => {
                return refuse(RefusalKind::Configuration, &problems.to_string(), "");
            }
        };
        let mine = config::effective(&self.name(), &here).unwrap_or_default();
        let me = self.settings.name(self.me);
        let mut lines = Vec::new();
        let others = self.settings.members.iter().filter(|m| m.id != self.me);
        for member in others.filter(|m| node.is_none_or(|node| node == m.id)) {
            let name = &member.name;
            let theirs = match self.text_of(member.id).await {
                Ok(text) => text,
                Err(why) => {
                    lines.push(format!("the configuration of {name} is not known: {why}"));
                    continue;
                }
            };
            if theirs == here {
                lines.push(format!("{name} has the configuration of {me}"));
                continue;
            }
            let entries = match config::effective(name, &theirs) {
                Ok(entries) => entries,
                Err(problems) => {
                    lines.push(format!("the configuration of {name} is not valid:"));
                    lines.extend(problems.to_string().lines().map(String::from));
                    continue;
                }
            };
            let changes = effective::diff(&mine, &entries);
            if changes.is_empty() {
                lines.push(format!("{name} differs from {me} in comments and order only"));
                continue;
            }
            let text = effective::render_changes(&changes, [&me, name]);
            lines.extend(text.lines().map(String::from));
        }
        Reply::Text(lines)
    }
}

fn applied(result: Result<(), ApplyError>) -> Result<(), String> {
    result.map_err(|error| error.to_string())
}

/// Files are read and synced beside the tasks.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

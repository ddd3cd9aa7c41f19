//! What happened, here or on every member: the events of all as one timeline, by their wall clocks.

use crate::events::Events;
use crate::peer::{self, Answer, Question};
use crate::serve::refuse;
use crate::transport::Transport;
use regent_api::call::{RefusalKind, Reply};
use regent_api::history::{Entry, History, Missing};
use regent_config::Settings;
use regent_core::id::NodeId;
use std::time::Duration;
use tokio::time::timeout;

/// How long a member's answer is waited for: it reads two files.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// How long the own files may take, and how long another reader is waited for: a member answers within [`PATIENCE`].
const READ: Duration = Duration::from_millis(600);

/// The most that is told at once: it must fit a frame.
const LAST_MAX: usize = 5_000;

/// Everything that a history is made from.
pub(super) struct Sources<'a> {
    pub settings: &'a Settings,
    pub me: NodeId,
    pub transport: &'a Transport,
    pub events: &'a Events,
}

/// What happened here; with `cluster`, on every member that answers.
pub(super) async fn history(from: Sources<'_>, last: usize, cluster: bool) -> Reply {
    let last = last.min(LAST_MAX);
    let node = from.settings.name(from.me);
    let own = match own(from.events.clone(), last).await {
        Ok(events) => events,
        Err(error) => return refuse(RefusalKind::Internal, &error, ""),
    };
    let version = regent_api::VERSION;
    if !cluster {
        let missing = Vec::new();
        return Reply::History(History { version, node, events: own, cluster, missing });
    }
    let others = from.settings.members.iter().filter(|m| m.id != from.me);
    let asked: Vec<_> = others
        .map(|member| {
            let (transport, id) = (from.transport.clone(), member.id);
            let answer = tokio::spawn(async move {
                let question = Question::Events { last };
                let asked = peer::ask(&transport, id, &question);
                timeout(PATIENCE, asked).await
            });
            (member.name.clone(), answer)
        })
        .collect();
    let mut events = named(own, &node);
    let mut missing = Vec::new();
    for (name, answer) in asked {
        let why = match answer.await {
            Ok(Ok(Ok(Answer::Events(theirs)))) => {
                events.extend(named(theirs, &name));
                continue;
            }
            Ok(Ok(Ok(Answer::Refused(why)) | Err(why))) => why,
            Ok(Ok(Ok(
                Answer::Voter(_)
                | Answer::Belongs { .. }
                | Answer::Installed
                | Answer::Database(_)
                | Answer::Token(_)
                | Answer::Configuration(_)
                | Answer::Agreed,
            ))) => "it answered another question".into(),
            Ok(Err(_)) => "it does not answer".into(),
            Err(error) => error.to_string(),
        };
        missing.push(Missing { node: name, why });
    }
    // Stable: what one node wrote within a millisecond keeps its order.
    events.sort_by_key(|entry| entry.at_ms);
    let events = events.split_off(events.len().saturating_sub(last));
    Reply::History(History { version, node, events, cluster, missing })
}

/// The answer to a member that gathers a timeline.
pub(super) async fn told(events: Events, last: usize) -> Answer {
    match own(events, last.min(LAST_MAX)).await {
        Ok(events) => Answer::Events(events),
        Err(error) => Answer::Refused(error),
    }
}

/// Reads files, so beside the tasks; one reader at a time, so that a disk that hangs takes one thread and not all.
async fn own(events: Events, last: usize) -> Result<Vec<Entry>, String> {
    let hangs = |_| "failed to read the event log: its disk does not answer".to_string();
    let turn = timeout(READ, events.reader()).await.map_err(hangs)?;
    let read = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        events.last(last)
    });
    let read = timeout(READ, read).await.map_err(hangs)?;
    read.map_err(|error| format!("failed to read the event log: {error}"))
}

fn named(events: Vec<Entry>, node: &str) -> Vec<Entry> {
    let name = |entry: Entry| Entry { node: Some(node.into()), ..entry };
    events.into_iter().map(name).collect()
}

//! A voter that lost its disk votes again, as a new one (R2).

use super::node_api::NodeApi;
use crate::register::attempt_of;
use crate::serve::refuse;
use regent_api::call::{RefusalKind, Reply};
use regent_api::history::Severity;
use regent_core::id::AttemptId;
use regent_store::cell::{Answer as StoreAnswer, NodeId as StoreNode, Refusal as StoreRefusal};
use regent_store::embedded::{Admit, Event, Request as StoreRequest};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// How long an admission is tried; the voter may be starting, and renewals come in between.
const ADMISSION: Duration = Duration::from_secs(5);

/// Between two tries: no whole part of a renewal's interval, so that the next one falls elsewhere.
const ADMISSION_PAUSE: Duration = Duration::from_millis(40);

impl NodeApi {
    /// R2: a voter that lost its disk is a new voter, and this is its only way in.
    pub(super) async fn admit(&self, name: &str) -> Reply {
        let Some(member) = self.settings.member(name) else {
            return refuse(
                RefusalKind::Usage,
                &format!("there is no member {name}"),
                "a name from the configuration",
            );
        };
        if self.spec.stack.as_ref().is_some_and(|stack| stack.pair) {
            let why = "of two voters none is a majority that could admit the other one";
            return refuse(RefusalKind::Guard, why, &format!("regent rejoin {name}"));
        }
        let began = Instant::now();
        let mut tried = false;
        loop {
            let answer = self.propose_admission(StoreNode(member.id.0)).await;
            let again = match &answer {
                // The holder's renewals come in between; each try is a proposal of its own (R6).
                Some(StoreAnswer::Lost(_) | StoreAnswer::View(_) | StoreAnswer::Unknown) => true,
                Some(StoreAnswer::Refused(
                    StoreRefusal::Busy | StoreRefusal::NoAnswer | StoreRefusal::NoView,
                )) => true,
                Some(
                    StoreAnswer::Won(_)
                    | StoreAnswer::WentBack { .. }
                    | StoreAnswer::Refused(
                        StoreRefusal::TooLarge
                        | StoreRefusal::NotInstalled
                        | StoreRefusal::Installed
                        | StoreRefusal::NotInList
                        | StoreRefusal::TooFewVoters
                        | StoreRefusal::NotStored
                        | StoreRefusal::OnlyVotes
                        | StoreRefusal::AlreadyVotes
                        | StoreRefusal::ShuttingDown,
                    ),
                )
                | None => false,
            };
            if !again || began.elapsed() >= ADMISSION {
                return self.tell_admission(name, answer, tried);
            }
            tried = true;
            tokio::time::sleep(ADMISSION_PAUSE).await;
        }
    }

    async fn propose_admission(&self, node: StoreNode) -> Option<StoreAnswer> {
        let n = self.admissions.fetch_add(1, Ordering::Relaxed);
        let attempt = attempt_of(&AttemptId { n, ..self.attempt });
        let (id, answer) = self.bridge.own_request();
        let request = StoreRequest::Admit(Admit { attempt, node, instead_of: node });
        self.register.tell(Event::Request { id, request });
        answer.await.ok()
    }

    fn tell_admission(&self, name: &str, answer: Option<StoreAnswer>, tried: bool) -> Reply {
        let again = "regent voter admit again";
        match answer {
            Some(StoreAnswer::Refused(StoreRefusal::AlreadyVotes)) if !tried => {
                Reply::Done(format!("{name} votes already"))
            }
            // An earlier try, whose answer was lost, had won.
            Some(StoreAnswer::Won(_) | StoreAnswer::Refused(StoreRefusal::AlreadyVotes)) => {
                let text = format!("{name} votes again, under a new id");
                self.events.write(Severity::Warning, 0, "register.voter-admitted", &text);
                Reply::Done(text)
            }
            Some(StoreAnswer::Refused(why @ StoreRefusal::NoAnswer)) => refuse(
                RefusalKind::Unreachable,
                &why.to_string(),
                &format!("start its agent, then {again}"),
            ),
            Some(StoreAnswer::Refused(why)) => refuse(RefusalKind::Guard, &why.to_string(), again),
            Some(StoreAnswer::Lost(_) | StoreAnswer::View(_)) => {
                refuse(RefusalKind::TimedOut, "other changes came first each time", again)
            }
            Some(StoreAnswer::Unknown) => {
                refuse(RefusalKind::TimedOut, "no majority of voters answered in time", again)
            }
            Some(StoreAnswer::WentBack { .. }) => refuse(
                RefusalKind::Unsafe,
                "the register went back [R2]",
                "stop, and find out which voters were restored from old copies",
            ),
            None => refuse(RefusalKind::Internal, "the register's threads ended", again),
        }
    }
}

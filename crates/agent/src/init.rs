//! `regent init`: how a cluster comes to be.
//!
//! An agent with an empty store invents nothing: it listens, answers what it is asked, and says so. The agent on
//! which an operator runs `init` makes one plan, keeps it, and gives the same plan to every voter. Each step may
//! be done twice; a second `init` after a crash finishes the first. A voter that belongs to another cluster is
//! never overwritten.

use crate::durable;
use crate::host::Host;
use crate::peer::{self, Answer, Hex, Plan, Question, Seat};
use crate::place::Place;
use crate::random;
use crate::register::{Bridge, cluster_of};
use crate::runs;
use crate::serve::Progress;
use crate::token;
use crate::transport::Transport;
use regent_adapters::database::Amiss;
use regent_adapters::database::peer::{PeerAnswer, PeerRequest};
use regent_api::call::{Refusal, RefusalKind};
use regent_config::Settings;
use regent_config::stack::Stack;
use regent_core::fnv::fnv;
use regent_core::id::{AttemptId, BootId, ClusterId, Epoch, Incarnation, NodeId, RunId};
use regent_core::state::{
    Data, DataCopy, FORMAT, Intent, Lease, Member, MemberRole, Phase, State, Sync,
};
use regent_store::cell::{
    Answer as StoreAnswer, NodeId as StoreNode, Record, Refusal as StoreRefusal, Seat as StoreSeat,
    VoterId, initial_records,
};
use regent_store::embedded::{Event, Handle, Request};
use std::collections::BTreeMap;
use std::sync::Arc;

/// What an agent without a cluster needs to become part of one.
pub struct Founding {
    /// The configuration.
    pub settings: Settings,
    /// This node.
    pub me: NodeId,
    /// This boot and run.
    pub boot: BootId,
    /// This run.
    pub run: RunId,
    /// Where things are kept.
    pub place: Place,
    /// The vacant voter.
    pub register: Arc<Handle>,
    /// What it says.
    pub bridge: Arc<Bridge>,
    /// The peers.
    pub transport: Transport,
    /// The id under which this node would vote, drawn by itself.
    pub offer: u64,
}

/// The settings that must be the same on every member, in one word.
pub fn fingerprint(settings: &Settings) -> String {
    // It guards against a mistake, not against an enemy, who would have no certificate.
    format!("{:016x}", fnv(format!("{settings:?}").as_bytes()))
}

/// What a node's database says of its settings.
fn surveyed(name: &str, answer: PeerAnswer) -> Result<Vec<Amiss>, Refusal> {
    match answer {
        PeerAnswer::Survey { amiss } => Ok(amiss),
        PeerAnswer::Refused { reason } => {
            Err(not_as_needed(&[format!("{name}: its database cannot be asked: {reason}")]))
        }
        PeerAnswer::Found { .. }
        | PeerAnswer::State { .. }
        | PeerAnswer::Follow(_)
        | PeerAnswer::Checksum { .. } => Err(refused(name, "its answer is not understood")),
    }
}

fn not_as_needed(lines: &[String]) -> Refusal {
    Refusal {
        kind: RefusalKind::Configuration,
        reason: format!("a database does not run as Regent needs it; nothing was changed:\n  {}", lines.join("\n  ")),
        remedy: "zz-regent.cnf must be the last file under /etc/mysql/mariadb.conf.d that has these settings; \
            then systemctl restart mariadb on that node, and regent init again"
            .into(),
    }
}

impl Founding {
    /// Answers another agent that founds a cluster.
    pub async fn answer(&self, question: Question) -> Answer {
        match question {
            Question::OfferVoter { settings } if settings != fingerprint(&self.settings) => {
                Answer::Refused("its configuration differs from yours".into())
            }
            Question::OfferVoter { .. } => Answer::Voter(Hex(self.offer)),
            Question::Install(plan) => match self.install(&plan).await {
                Ok(()) => Answer::Installed,
                Err(why) => Answer::Refused(why),
            },
            Question::Leave { settings, .. } if settings != fingerprint(&self.settings) => {
                Answer::Refused("its configuration differs from yours".into())
            }
            Question::Leave { .. } => Answer::Voter(Hex(self.offer)),
            Question::Seat { record } if !record.value.has_voter(record.voter) => {
                Answer::Refused("the record names no voter here".into())
            }
            Question::Seat { record } => match self.install_record(*record).await {
                Ok(()) => Answer::Installed,
                Err(why) => Answer::Refused(why),
            },
            Question::Token => token_of(&self.settings).await,
            Question::Database(_) => Answer::Refused("there is no cluster yet".into()),
            Question::Events { .. } | Question::Configuration(_) => {
                Answer::Refused("it is asked elsewhere".into())
            }
        }
    }

    /// Stores this node's part of a plan; returns when it is durable.
    async fn install(&self, plan: &Plan) -> Result<(), String> {
        let record = record_of(plan, self.me).ok_or("the plan has no voter here")?;
        self.install_record(record).await
    }

    async fn install_record(&self, record: Record) -> Result<(), String> {
        let (id, answer) = self.bridge.own_request();
        self.register.tell(Event::Request { id, request: Request::Install(Box::new(record)) });
        match answer.await {
            Ok(StoreAnswer::View(_)) => Ok(()),
            Ok(StoreAnswer::Refused(StoreRefusal::Installed)) => {
                Err("it votes already; regent status says in which cluster".into())
            }
            Ok(StoreAnswer::Refused(why)) => Err(why.to_string()),
            Ok(
                StoreAnswer::Won(_)
                | StoreAnswer::Lost(_)
                | StoreAnswer::Unknown
                | StoreAnswer::WentBack { .. },
            )
            | Err(_) => Err("the register's threads ended".into()),
        }
    }

    /// Makes the cluster, with this node's data.
    pub async fn found(&self, host: &dyn Host, progress: &Progress) -> Result<String, Refusal> {
        match self.settings.stack() {
            Some(stack) => self.compare_tokens(stack, progress).await?,
            None => self.ask_segment(host, progress).await?,
        }
        if self.settings.database().is_some() {
            self.survey_databases(host, progress).await?;
        }
        let mut plan = self.plan()?;
        self.seat_voters(&mut plan, progress).await?;
        if let Some(database) = self.settings.database() {
            progress.tell("preparing the database of this node");
            host.prepare(plan.incarnation).await.map_err(|why| Refusal {
                kind: RefusalKind::Configuration,
                reason: format!("failed to prepare the database of this node: {why}"),
                remedy: format!("systemctl status {}; then regent init again", database.unit),
            })?;
        }
        if plan.state.is_empty() {
            // C6: the first record names this run, so it must be in the list before anybody sees it.
            runs::add(&self.place.runs(), self.me, self.run).map_err(|e| self.keeping(&e))?;
            plan.state = String::from_utf8_lossy(&self.first_state(&plan).encode()).into_owned();
            self.keep(&plan)?;
        }
        let others = plan.seats.iter().filter(|s| s.node != self.me);
        for seat in others {
            let name = self.settings.name(seat.node);
            progress.tell(format!("{name}: storing the first record"));
            let question = Question::Install(Box::new(plan.clone()));
            match peer::ask(&self.transport, seat.node, &question).await {
                Ok(Answer::Installed) => {}
                Ok(Answer::Belongs { cluster, voter })
                    if (cluster, voter) == (plan.cluster, seat.voter) => {}
                Ok(Answer::Belongs { cluster, .. }) => return Err(taken(&name, cluster)),
                Ok(Answer::Refused(why)) => return Err(refused(&name, &why)),
                Ok(
                    Answer::Voter(_)
                    | Answer::Database(_)
                    | Answer::Events(_)
                    | Answer::Token(_)
                    | Answer::Configuration(_)
                    | Answer::Agreed,
                ) => {
                    return Err(refused(&name, "its answer is not understood"));
                }
                Err(why) => return Err(unreachable(&name, &why)),
            }
        }
        self.install(&plan).await.map_err(|why| refused("this node", &why))?;
        let (cluster, me) = (&self.settings.cluster, self.settings.name(self.me));
        Ok(match self.settings.stack() {
            Some(_) => format!(
                "cluster {cluster} has the id {}; no node is active, and nothing starts before: regent activate",
                plan.cluster
            ),
            None => format!(
                "cluster {cluster} has the id {}; {me} holds, and {} joins when its data are in sync",
                plan.cluster,
                self.others().join(" and ")
            ),
        })
    }

    /// Every database runs with the settings that Regent rests on: looked at on all nodes before anything is done. What
    /// a restart mends here is restarted, as nobody is active yet.
    async fn survey_databases(&self, host: &dyn Host, progress: &Progress) -> Result<(), Refusal> {
        progress.tell("looking at the settings of both databases");
        let me = self.settings.name(self.me);
        let mut amiss: Vec<(String, Amiss)> = Vec::new();
        let own = surveyed(&me, host.serve(PeerRequest::Survey).await)?;
        amiss.extend(own.into_iter().map(|one| (me.clone(), one)));
        for member in self.settings.members.iter().filter(|m| !m.witness && m.id != self.me) {
            let name = &member.name;
            let question = Question::Database(PeerRequest::Survey);
            let answer = peer::ask(&self.transport, member.id, &question).await;
            match answer.map_err(|why| unreachable(name, &why))? {
                Answer::Database(answer) => {
                    let theirs = surveyed(name, answer)?;
                    amiss.extend(theirs.into_iter().map(|one| (name.clone(), one)));
                }
                Answer::Refused(why) => return Err(refused(name, &why)),
                // A member that has its cluster already: the seats tell whether it is this one.
                Answer::Belongs { .. } => {}
                Answer::Voter(_)
                | Answer::Installed
                | Answer::Events(_)
                | Answer::Token(_)
                | Answer::Configuration(_)
                | Answer::Agreed => return Err(refused(name, "its answer is not understood")),
            }
        }
        let mends = |(name, one): &&(String, Amiss)| *name == me && one.by_restart;
        if !amiss.is_empty() && amiss.iter().all(|one| mends(&one)) {
            progress.tell(format!("restarting the database of {me}: it runs with older settings"));
            host.restart_database()
                .await
                .map_err(|why| not_as_needed(&[format!("{me}: {why}")]))?;
            let left = surveyed(&me, host.serve(PeerRequest::Survey).await)?;
            amiss = left.into_iter().map(|one| (me.clone(), one)).collect();
        }
        if amiss.is_empty() {
            return Ok(());
        }
        let told = |(name, Amiss { what, by_restart }): &(String, Amiss)| {
            let restart = if *by_restart { "; a restart mends it" } else { "" };
            format!("{name}: {what}{restart}")
        };
        Err(not_as_needed(&amiss.iter().map(told).collect::<Vec<_>>()))
    }

    /// Nobody may have the address that this node is about to use.
    async fn ask_segment(&self, host: &dyn Host, progress: &Progress) -> Result<(), Refusal> {
        progress.tell("asking the segment whether the virtual IP is in use");
        let used = host.vip_used().await.map_err(|why| Refusal {
            kind: RefusalKind::Configuration,
            reason: format!("failed to ask whether the virtual IP is in use: {why}"),
            remedy: "bring the interface of [vip] up; then regent init again".into(),
        })?;
        match used {
            None => Ok(()),
            Some(who) => Err(Refusal {
                kind: RefusalKind::Guard,
                reason: format!("the virtual IP is in use: {who}"),
                remedy: "find that host and take the address away, or choose another one".into(),
            }),
        }
    }

    /// Every node reads the token that this one reads: a merely equal path is not the same directory. The virtual IP
    /// is not asked for, as nothing is activated: it may still be the address of the product as it ran so far.
    async fn compare_tokens(&self, stack: &Stack, progress: &Progress) -> Result<(), Refusal> {
        let data = stack.data.display();
        if token::is_mounted_by_us(stack) {
            progress.tell(format!(
                "{data} is mounted on the active node only: that both mean the same is seen at each activation"
            ));
            return Ok(());
        }
        progress.tell(format!("reading the token on {data}"));
        let own = token::token(stack, true).await.map_err(|why| Refusal {
            kind: RefusalKind::Configuration,
            reason: format!("failed to read the shared data of this node: {why}"),
            remedy: format!("mount {data} here and on the other node; then regent init again"),
        })?;
        for member in self.settings.members.iter().filter(|m| !m.witness && m.id != self.me) {
            let name = &member.name;
            progress.tell(format!("{name}: reading the token on {data}"));
            let theirs = match peer::ask(&self.transport, member.id, &Question::Token).await {
                Ok(Answer::Token(token)) => token,
                Ok(Answer::Refused(why)) => {
                    return Err(Refusal {
                        kind: RefusalKind::Guard,
                        reason: format!("{name} cannot read the shared data: {why}"),
                        remedy: format!("mount {data} on {name} too; then regent init again"),
                    });
                }
                // A member that has its cluster answers by that; the seats tell whether it is this one.
                Ok(Answer::Belongs { .. }) => continue,
                Ok(
                    Answer::Voter(_)
                    | Answer::Installed
                    | Answer::Database(_)
                    | Answer::Events(_)
                    | Answer::Configuration(_)
                    | Answer::Agreed,
                ) => return Err(refused(name, "its answer is not understood")),
                Err(why) => return Err(unreachable(name, &why)),
            };
            if theirs != own {
                return Err(Refusal {
                    kind: RefusalKind::Guard,
                    reason: format!(
                        "{data} of {name} is another directory: its token differs from the one here"
                    ),
                    remedy: format!(
                        "mount the same file system at {data} on both; an equal path is not enough"
                    ),
                });
            }
        }
        Ok(())
    }

    /// The plan that was begun, or a new one.
    fn plan(&self) -> Result<Plan, Refusal> {
        let path = self.place.plan();
        if let Some(text) = durable::read(&path).map_err(|e| self.keeping(&e))? {
            return serde_json::from_str(&text).map_err(|e| Refusal {
                kind: RefusalKind::Internal,
                reason: format!("failed to read the plan {}: {e}", path.display()),
                remedy: "if no voter was initialised, remove that file and run regent init again"
                    .into(),
            });
        }
        let draw = || random::draw().map_err(|e| self.keeping(&e));
        let plan = Plan {
            cluster: ClusterId(draw()?),
            incarnation: Incarnation(draw()? as u64),
            seats: Vec::new(),
            state: String::new(),
        };
        self.keep(&plan)?;
        Ok(plan)
    }

    /// Asks every voter for its id; one that has a seat in the plan keeps it.
    async fn seat_voters(&self, plan: &mut Plan, progress: &Progress) -> Result<(), Refusal> {
        let settings = fingerprint(&self.settings);
        let mut seats = Vec::new();
        for member in &self.settings.members {
            let planned = plan.seats.iter().find(|s| s.node == member.id).copied();
            if member.id == self.me {
                seats.push(planned.unwrap_or(Seat { node: self.me, voter: Hex(self.offer) }));
                continue;
            }
            progress.tell(format!("{}: asking for its vote", member.name));
            let question = Question::OfferVoter { settings: settings.clone() };
            let seat = match peer::ask(&self.transport, member.id, &question).await {
                Ok(Answer::Voter(voter)) => planned.unwrap_or(Seat { node: member.id, voter }),
                Ok(Answer::Belongs { cluster, voter }) => match planned {
                    Some(seat) if (cluster, voter) == (plan.cluster, seat.voter) => seat,
                    Some(_) | None => return Err(taken(&member.name, cluster)),
                },
                Ok(Answer::Refused(why)) => return Err(refused(&member.name, &why)),
                Ok(
                    Answer::Installed
                    | Answer::Database(_)
                    | Answer::Events(_)
                    | Answer::Token(_)
                    | Answer::Configuration(_)
                    | Answer::Agreed,
                ) => {
                    return Err(refused(&member.name, "its answer is not understood"));
                }
                Err(why) => return Err(unreachable(&member.name, &why)),
            };
            seats.push(seat);
        }
        plan.seats = seats;
        Ok(())
    }

    /// Epoch 1: this node holds, and nobody's right runs; its data are the writer's, and nobody has a copy.
    fn first_state(&self, plan: &Plan) -> State {
        let role = |witness| if witness { MemberRole::Witness } else { MemberRole::Node };
        let members: BTreeMap<NodeId, Member> = self
            .settings
            .members
            .iter()
            .map(|m| {
                let name = m.name.clone();
                (m.id, Member { name, speaks: FORMAT, role: role(m.witness), by: None })
            })
            .collect();
        let by = AttemptId { node: self.me, boot: self.boot, run: self.run, n: 0 };
        State {
            replaces: None,
            format: FORMAT,
            cluster: plan.cluster,
            lease: Lease {
                epoch: Epoch(1),
                holder: self.me,
                phase: Phase::Free,
                ttl: self.settings.timing.ttl,
                by,
            },
            sync: Sync {
                writer: DataCopy { node: self.me, incarnation: plan.incarnation },
                with: None,
            },
            data: Data::Clear,
            // On shared data nothing starts before an operator says where.
            intent: Intent { stopped: self.settings.stack().map(|_| by), ..Intent::default() },
            members,
            timing: self.settings.timing,
            history: Vec::new(),
            kept: Default::default(),
        }
    }

    fn others(&self) -> Vec<String> {
        let others = self.settings.members.iter().filter(|m| !m.witness && m.id != self.me);
        others.map(|m| m.name.clone()).collect()
    }

    fn keep(&self, plan: &Plan) -> Result<(), Refusal> {
        let text = serde_json::to_vec_pretty(plan).map_err(|e| self.keeping(&e.into()))?;
        durable::write(&self.place.plan(), &text).map_err(|e| self.keeping(&e))
    }

    fn keeping(&self, error: &std::io::Error) -> Refusal {
        Refusal {
            kind: RefusalKind::Internal,
            reason: format!("failed to keep the plan in {}: {error}", self.place.state.display()),
            remedy: "make room there, then regent init again".into(),
        }
    }
}

/// What this node reads on the shared data.
pub(crate) async fn token_of(settings: &Settings) -> Answer {
    let Some(stack) = settings.stack() else {
        return Answer::Refused("it has no shared data in its configuration".into());
    };
    match token::token(stack, false).await {
        Ok(token) => Answer::Token(token),
        Err(why) => Answer::Refused(why),
    }
}

/// The first record of one voter of a plan.
fn record_of(plan: &Plan, node: NodeId) -> Option<Record> {
    let seats: Vec<StoreSeat> = plan
        .seats
        .iter()
        .map(|s| StoreSeat { voter: VoterId(s.voter.0), node: StoreNode(s.node.0) })
        .collect();
    let records = initial_records(cluster_of(plan.cluster), &seats, plan.state.as_bytes());
    records.into_iter().find(|(at, _)| at.0 == node.0).map(|(_, record)| record)
}

fn taken(name: &str, cluster: ClusterId) -> Refusal {
    Refusal {
        kind: RefusalKind::Guard,
        reason: format!("{name} votes already, in the cluster {cluster}"),
        remedy: format!("take {name} out of that cluster, and empty its state directory"),
    }
}

fn refused(name: &str, why: &str) -> Refusal {
    Refusal {
        kind: RefusalKind::Guard,
        reason: format!("{name} refuses: {why}"),
        remedy: "mend that, then regent init again: it goes on where it stopped".into(),
    }
}

fn unreachable(name: &str, why: &str) -> Refusal {
    Refusal {
        kind: RefusalKind::Unreachable,
        reason: format!("{name} is needed and does not answer: {why}"),
        remedy: format!(
            "start its agent ({name}: systemctl start regent, or regent-witness), then regent init again"
        ),
    }
}

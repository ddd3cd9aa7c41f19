//! The steps of the database, each as core names it (protocol section 4). One at a time, over the control connection.

use crate::database::account;
use crate::database::control::{Control, Fault, SIMPLE};
use crate::database::cutoff;
use crate::database::facts::{self, Reading};
use crate::database::keep::{self, Counts, Keep, KeepFiles, Touch};
use crate::database::line::UnitVerb;
use crate::database::lineage::{self, Parties, Relation};
use crate::database::peer::{FollowInfo, Peer, PeerAnswer, PeerRequest, aside, log_index};
use crate::database::rejoin;
use crate::database::sql::{Client, SqlError};
use crate::database::worker::{Link, is_there, unpack};
use regent_core::command::{DatabaseStep, SavedTail, StepResult};
use regent_core::id::{AttemptId, Incarnation, NodeId};
use regent_core::observe::DatabaseFacts;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::net::UnixListener;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, timeout};

/// Read-only is withdrawn after this (facts section 5); the answer to that comes soon after.
const READ_ONLY_MAX: &str = "0.5";
const READ_ONLY_ANSWER: Duration = Duration::from_millis(1500);
/// A receiver's stop towards a silent source takes up to two seconds without the cut-off.
const STOP_MAX: Duration = Duration::from_secs(3);
const START_MAX: Duration = Duration::from_secs(5);
const FORGET_MAX: Duration = Duration::from_secs(5);
const RESET_MAX: Duration = Duration::from_secs(60);
/// The writer may just be making its account.
const INFO_MAX: Duration = Duration::from_secs(3);
/// Crash recovery of a fresh copy is short; a large log takes its time.
const START_PATIENCE: Duration = Duration::from_secs(120);

/// What does the steps.
pub(crate) struct Steps {
    link: Rc<Link>,
    keep: KeepFiles,
    control: Option<Control>,
    /// Makes what the writer needs; waited for before read-only.
    making: Option<JoinHandle<()>>,
    /// The writer and incarnation of the last `Compare`.
    compared: Option<(NodeId, Incarnation)>,
    /// What to do when the outcome is out.
    after: Option<After>,
}

/// Work that the next statement of core need not wait for.
enum After {
    /// The source of a finished follower.
    Forget,
    /// A connection for the next marker.
    Spare,
}

/// Which clients a follower sends away.
#[derive(Clone, Copy, Debug)]
enum Whom {
    /// Every one: the rows are about to be undone under them.
    All,
    /// Those with a transaction open.
    InTransaction,
}

impl Steps {
    pub(crate) fn new(link: Rc<Link>) -> Steps {
        let keep = KeepFiles::new(&link.settings.datadir, &link.settings.state_dir);
        Steps { link, keep, control: None, making: None, compared: None, after: None }
    }

    /// Does one step; the facts are read after it.
    pub(crate) async fn step(
        &mut self,
        step: DatabaseStep,
        patience: Duration,
    ) -> (StepResult, Option<DatabaseFacts>) {
        let look_for = match &step {
            DatabaseStep::Observe { look_for } => *look_for,
            DatabaseStep::TakeControl
            | DatabaseStep::Start
            | DatabaseStep::Kill
            | DatabaseStep::Stop
            | DatabaseStep::Keep { .. }
            | DatabaseStep::Strict
            | DatabaseStep::Loose
            | DatabaseStep::ReadOnly
            | DatabaseStep::Writable
            | DatabaseStep::Marker { .. }
            | DatabaseStep::StopReceiver
            | DatabaseStep::StartReceiver
            | DatabaseStep::EndFollowing
            | DatabaseStep::Compare { .. }
            | DatabaseStep::SaveTail { .. }
            | DatabaseStep::Rewind { .. }
            | DatabaseStep::Reclone { .. }
            | DatabaseStep::Follow { .. } => None,
        };
        let mut result = unpack(self.carry_out(step, patience).await);
        let facts = match result {
            StepResult::Down | StepResult::NoAnswer => Err(None),
            StepResult::Done
            | StepResult::Blocked
            | StepResult::Failed(_)
            | StepResult::Lineage(_)
            | StepResult::Saved(_) => match self.read(look_for).await {
                Ok(reading) => Ok(self.facts(&reading)),
                Err(fault) => Err(Some(fault)),
            },
        };
        match facts {
            Ok(facts) => return (result, facts),
            // The step may be done, but nobody can tell: it is idempotent.
            Err(Some(Fault::Failed(_))) => {}
            Err(Some(fault)) => result = unpack(Err(fault)),
            Err(None) => {}
        }
        if result == StepResult::NoAnswer && !is_there(&self.link.settings).await {
            result = StepResult::Down;
        }
        if matches!(result, StepResult::Down | StepResult::NoAnswer) {
            self.control = None;
        }
        (result, None)
    }

    /// What the last step left for later.
    pub(crate) async fn afterwards(&mut self) {
        match self.after.take() {
            None => {}
            Some(After::Spare) => self.link.prepare_marker().await,
            Some(After::Forget) => {
                if let Err(fault) = self.forget_source().await {
                    self.link.tell(format!("the old source is not forgotten yet: {fault:?}"));
                }
            }
        }
    }

    async fn carry_out(
        &mut self,
        step: DatabaseStep,
        patience: Duration,
    ) -> Result<StepResult, Fault> {
        let done = |()| StepResult::Done;
        match step {
            DatabaseStep::TakeControl => self.take_control(patience).await.map(done),
            DatabaseStep::Observe { .. } => self.expect_control().map(done),
            DatabaseStep::Start | DatabaseStep::Kill | DatabaseStep::Stop => {
                Err(Fault::failed("the agent starts, stops and kills the unit itself"))
            }
            DatabaseStep::Marker { .. } => {
                Err(Fault::failed("a marker has a connection of its own"))
            }
            DatabaseStep::Keep { incarnation, mark } => {
                self.keep(incarnation, mark).await.map(done)
            }
            DatabaseStep::Strict => self.strict().await.map(done),
            DatabaseStep::Loose => self.loose().await.map(done),
            DatabaseStep::ReadOnly => self.read_only().await,
            DatabaseStep::Writable => self.writable().await.map(done),
            DatabaseStep::StopReceiver => self.stop_receiver().await.map(done),
            DatabaseStep::StartReceiver => self.start_receiver().await.map(done),
            DatabaseStep::EndFollowing => self.end_following().await.map(done),
            DatabaseStep::Compare { writer, incarnation } => {
                self.compared = Some((writer, incarnation));
                Ok(StepResult::Lineage(self.relation(writer, incarnation).await?.lineage()))
            }
            DatabaseStep::SaveTail { writer } => {
                self.save_tail(writer).await.map(StepResult::Saved)
            }
            DatabaseStep::Rewind { writer } => self.rewind(writer).await.map(done),
            DatabaseStep::Reclone { writer, incarnation } => {
                self.reclone(writer, incarnation).await.map(done)
            }
            DatabaseStep::Follow { writer } => self.follow(writer).await.map(done),
        }
    }

    fn expect_control(&self) -> Result<(), Fault> {
        self.control.as_ref().map(|_| ()).ok_or(Fault::Down)
    }

    fn control(&mut self) -> Result<&mut Control, Fault> {
        self.control.as_mut().ok_or(Fault::Down)
    }

    async fn read(&mut self, look_for: Option<AttemptId>) -> Result<Reading, Fault> {
        Ok(facts::read(&mut self.control()?.client, look_for, SIMPLE).await?)
    }

    fn facts(&self, reading: &Reading) -> Option<DatabaseFacts> {
        let start = self.control.as_ref()?.start;
        let settings = &self.link.settings;
        let counts = keep::read_counts(&settings.state_dir);
        Some(facts::facts(reading, start, &self.keep.read(), counts.as_ref(), settings))
    }

    /// D11: an older thread is killed and seen gone before anything is read; then the server id of the kept
    /// incarnation
    /// is set again, because a restart forgets it.
    async fn take_control(&mut self, patience: Duration) -> Result<(), Fault> {
        self.control = None;
        let control = Control::take(&self.link.settings, patience).await?;
        let start = control.start;
        self.control = Some(control);
        let reading = self.read(None).await?;
        if let Some(keep) = self.keep.read().agreed() {
            self.set_server_id(&keep, &reading).await?;
            self.settle(&keep, start, &reading)?;
        }
        self.after = Some(After::Spare);
        Ok(())
    }

    /// A statement of an older run was under way when it died. Its thread is gone: the counts tell whether it acted.
    fn settle(&self, keep: &Keep, start: u64, reading: &Reading) -> Result<(), Fault> {
        let Some(mut counts) = self.counts(keep.incarnation) else { return Ok(()) };
        if counts.pending.is_some() && counts.explain(start, reading.starts, reading.stops) {
            counts.starts = reading.starts;
            counts.stops = reading.stops;
            counts.pending = None;
            self.write_counts(&counts)?;
        }
        Ok(())
    }

    async fn set_server_id(&mut self, keep: &Keep, reading: &Reading) -> Result<(), Fault> {
        if reading.server_id != keep.server_id {
            let set = format!("SET GLOBAL server_id={}", keep.server_id);
            self.control()?.run(&set).await?;
        }
        Ok(())
    }

    fn counts(&self, incarnation: Incarnation) -> Option<Counts> {
        keep::read_counts(&self.link.settings.state_dir).filter(|c| c.incarnation == incarnation)
    }

    fn write_counts(&self, counts: &Counts) -> Result<(), Fault> {
        keep::write_counts(&self.link.settings.state_dir, counts)
            .map_err(|fault| Fault::failed(format!("cannot note the counts: {fault}")))
    }

    /// Section 1: incarnation and mark beside the data, synced; a new incarnation draws a new server id. The
    /// same again
    /// changes nothing, so that it forgives nothing.
    async fn keep(&mut self, incarnation: Incarnation, mark: bool) -> Result<(), Fault> {
        let reading = self.read(None).await?;
        let start = self.control()?.start;
        let old = self.keep.read();
        let known = old.clone().agreed().filter(|keep| keep.incarnation == incarnation);
        let is_new = known.is_none();
        let turns_follower = mark && known.as_ref().is_some_and(|keep| !keep.mark);
        let keep = match known {
            Some(keep) if keep.mark == mark => return self.set_server_id(&keep, &reading).await,
            Some(keep) => Keep { mark, start, ..keep },
            None => Keep {
                format: 1,
                writes: 0,
                incarnation,
                mark,
                server_id: draw()?,
                start,
                unfinished: old.agreed().is_some_and(|keep| keep.unfinished),
            },
        };
        if is_new || turns_follower {
            self.write_counts(&Counts {
                incarnation,
                start,
                starts: reading.starts,
                stops: reading.stops,
                pending: None,
                followed: false,
                ended: false,
            })?;
        }
        let keep = self.write_keep(keep).await?;
        self.set_server_id(&keep, &reading).await
    }

    async fn write_keep(&self, keep: Keep) -> Result<Keep, Fault> {
        let files = self.keep.clone();
        aside(move || files.write(keep))
            .await
            .map_err(|fault| Fault::failed(format!("cannot keep the incarnation: {fault}")))
    }

    /// D1, D3: the master side on, with status and the three settings read back. A finite timeout is never
    /// left in force.
    async fn strict(&mut self) -> Result<(), Fault> {
        let reading = self.read(None).await?;
        if reading.is_strict() {
            return Ok(());
        }
        if !reading.settings_right || reading.semi_sync {
            if reading.waiting > 0 {
                return Err(Fault::failed("the settings are wrong and commits wait under them"));
            }
            let set = "SET GLOBAL rpl_semi_sync_master_enabled=OFF; \
                SET GLOBAL rpl_semi_sync_master_timeout=18446744073709551615; \
                SET GLOBAL rpl_semi_sync_master_wait_no_slave=ON; \
                SET GLOBAL rpl_semi_sync_master_wait_point=AFTER_SYNC";
            self.control()?.client.query(set, SIMPLE).await?;
        }
        self.control()?.run("SET GLOBAL rpl_semi_sync_master_enabled=ON").await?;
        if self.read(None).await?.is_strict() {
            return Ok(());
        }
        // ON with status OFF: a timeout ran out under it. Off and on re-arms.
        self.control()?.run("SET GLOBAL rpl_semi_sync_master_enabled=OFF").await?;
        self.control()?.run("SET GLOBAL rpl_semi_sync_master_enabled=ON").await?;
        if self.read(None).await?.is_strict() {
            return Ok(());
        }
        Err(Fault::failed("it does not turn strict"))
    }

    /// D3: loose is this one switch.
    async fn loose(&mut self) -> Result<(), Fault> {
        self.control()?.run("SET GLOBAL rpl_semi_sync_master_enabled=OFF").await?;
        if self.read(None).await?.semi_sync {
            return Err(Fault::failed("it does not turn loose"));
        }
        Ok(())
    }

    /// Section 5 of the facts: with a bound; an error changes nothing and is the undo.
    async fn read_only(&mut self) -> Result<StepResult, Fault> {
        /// The statement's own time, and that of a lock.
        const WITHDRAWN: [u16; 3] = [1969, 1205, 3024];
        if let Some(making) = self.making.take() {
            // Our own definitions must not come after read-only was answered (D9).
            if !making.is_finished() {
                self.making = Some(making);
                return Ok(StepResult::Blocked);
            }
        }
        let set =
            format!("SET STATEMENT max_statement_time={READ_ONLY_MAX} FOR SET GLOBAL read_only=1");
        match self.control()?.client.one(&set, READ_ONLY_ANSWER).await {
            Ok(_) => Ok(StepResult::Done),
            Err(fault) if fault.code().is_some_and(|code| WITHDRAWN.contains(&code)) => {
                Ok(StepResult::Blocked)
            }
            Err(fault) => Err(fault.into()),
        }
    }

    /// D2: under the server id of this incarnation (section 1). The account and the marker's table are made
    /// afterwards.
    async fn writable(&mut self) -> Result<(), Fault> {
        let keep = self.keep.read().agreed();
        let keep = keep.ok_or_else(|| Fault::failed("the data here have no name"))?;
        let reading = self.read(None).await?;
        self.set_server_id(&keep, &reading).await?;
        self.control()?.run("SET GLOBAL read_only=0").await?;
        self.after = Some(After::Forget);
        let link = Rc::clone(&self.link);
        self.making = Some(spawn_local(async move {
            let made = match Client::connect(&link.settings.socket, SIMPLE).await {
                Ok(mut client) => account::make(&mut client, &link.settings.state_dir).await,
                Err(fault) => Err(fault.to_string()),
            };
            if let Err(fault) = made {
                link.tell(format!("the replication account is not made yet: {fault}"));
            }
        }));
        Ok(())
    }

    /// The source of a follower that has ended: its relay logs are applied, and nothing starts it again.
    async fn forget_source(&mut self) -> Result<(), Fault> {
        let reading = self.read(None).await?;
        let follower = self.keep.read().agreed().is_none_or(|keep| keep.mark);
        if follower || reading.source.is_none() || reading.receives() || reading.applies() {
            return Ok(());
        }
        let answer = self.control()?.client.one("RESET SLAVE ALL", FORGET_MAX).await;
        match answer {
            Ok(_) => Ok(()),
            Err(fault) => {
                let fault = Fault::from(fault);
                if fault == Fault::NoAnswer {
                    self.control = None;
                }
                Err(fault)
            }
        }
    }

    /// D4, D7: a statement on the replication threads, noted before and after, so that the server's own counts tell
    /// whether somebody else touched them.
    async fn touch(&mut self, touch: Touch, text: &str, bound: Duration) -> Result<(), Fault> {
        let start = self.control()?.start;
        let noted = self.keep.read().agreed().and_then(|keep| self.counts(keep.incarnation));
        let mut counts = noted.filter(|counts| counts.start == start && counts.pending.is_none());
        if let Some(counts) = counts.as_mut() {
            counts.pending = Some(touch);
            self.write_counts(counts)?;
        }
        let answer = self.control()?.client.one(text, bound).await;
        // An error of the server is counted by it like a success; no answer stays noted as pending.
        if let (Some(counts), Ok(_) | Err(SqlError::Server { .. })) = (counts.as_mut(), &answer) {
            match touch {
                Touch::Start => counts.starts += 1,
                Touch::Stop => counts.stops += 1,
            }
            counts.pending = None;
            self.write_counts(counts)?;
        }
        Ok(answer.map(|_| ())?)
    }

    /// D7: the receiver alone, so that everything received stays and is applied; quick also towards a silent writer.
    async fn stop_receiver(&mut self) -> Result<(), Fault> {
        let reading = self.read(None).await?;
        if !reading.receives() {
            return Ok(());
        }
        let source = reading.source.and_then(|source| {
            Some(SocketAddr::new(source.host.parse::<IpAddr>().ok()?, source.port))
        });
        let cutting = async {
            match source {
                Some(source) => cutoff::keep_cutting(source).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            stopped = self.touch(Touch::Stop, "STOP SLAVE IO_THREAD", STOP_MAX) => stopped?,
            never = cutting => match never {},
        }
        if self.read(None).await?.receives() {
            return Err(Fault::failed("the receiver still runs"));
        }
        Ok(())
    }

    /// D7: the receiver alone. Not without an applier: with both stopped, a start deletes the relay logs.
    async fn start_receiver(&mut self) -> Result<(), Fault> {
        let reading = self.read(None).await?;
        if reading.receives() {
            return Ok(());
        }
        if !reading.applies() {
            return Err(Fault::failed(
                "the applier is stopped: a start would delete what was received",
            ));
        }
        let confirm = "SET GLOBAL rpl_semi_sync_slave_enabled=ON";
        self.control()?.run(confirm).await?;
        self.touch(Touch::Start, "START SLAVE IO_THREAD", START_MAX).await
    }

    /// D6: only when drained; both threads stopped, strict again and read back (D1).
    async fn end_following(&mut self) -> Result<(), Fault> {
        let reading = self.read(None).await?;
        let facts = self.facts(&reading).ok_or(Fault::Down)?;
        if !facts.drained {
            return Err(Fault::failed("not everything received is applied"));
        }
        if facts.broken {
            return Err(Fault::failed("what was received may be gone"));
        }
        if reading.applies() {
            self.touch(Touch::Stop, "STOP SLAVE", STOP_MAX).await?;
            let noted = self.keep.read().agreed().and_then(|keep| self.counts(keep.incarnation));
            if let Some(counts) = noted {
                self.write_counts(&Counts { ended: true, ..counts })?;
            }
        }
        self.strict().await
    }

    /// D8: by exact look-up in the recorded writer's log. Data whose rewind or copy was not finished are foreign.
    async fn relation(
        &mut self,
        writer: NodeId,
        incarnation: Incarnation,
    ) -> Result<Relation, Fault> {
        let reading = self.read(None).await?;
        if self.keep.read().agreed().is_some_and(|keep| keep.unfinished) {
            return Ok(Relation::FOREIGN);
        }
        let index = log_index(&self.link.settings).await.map_err(Fault::Failed)?;
        let link = Rc::clone(&self.link);
        lineage::compare(index, &reading.end, &*link, writer, incarnation)
            .await
            .map_err(Fault::Failed)
    }

    /// The incarnation of the last comparison with this writer, or what it says of itself.
    async fn incarnation_of(&self, writer: NodeId) -> Result<Incarnation, Fault> {
        match self.compared {
            Some((node, incarnation)) if node == writer => Ok(incarnation),
            Some(_) | None => Ok(self.follow_info(writer).await?.incarnation),
        }
    }

    fn parties(&self, writer: NodeId, writer_incarnation: Incarnation) -> Parties {
        let incarnation = self.keep.read().agreed().map(|keep| keep.incarnation);
        Parties { node: self.link.settings.node, incarnation, writer, writer_incarnation }
    }

    /// S6: copied, counted, reported, on the disk.
    async fn save_tail(&mut self, writer: NodeId) -> Result<SavedTail, Fault> {
        let incarnation = self.incarnation_of(writer).await?;
        let relation = self.relation(writer, incarnation).await?;
        let index = log_index(&self.link.settings).await.map_err(Fault::Failed)?;
        let all = crate::database::binlog::files(&index)
            .map_err(|fault| Fault::failed(fault.to_string()))?;
        let tails = self.link.settings.state_dir.join("tails");
        lineage::save(&relation, all, &tails, self.parties(writer, incarnation))
            .await
            .map_err(|fault| Fault::failed(format!("the tail is not saved: {fault}")))
    }

    /// D8: undoes the tail in place; only rows, only what is saved, only with nobody at work. Anything that
    /// goes wrong
    /// after the first undo leaves the data marked as unfinished: then only a fresh copy helps.
    async fn rewind(&mut self, writer: NodeId) -> Result<(), Fault> {
        let incarnation = self.incarnation_of(writer).await?;
        let relation = self.relation(writer, incarnation).await?;
        let Some(common) = &relation.common else {
            return Err(Fault::failed("there is no common point: only a fresh copy helps"));
        };
        if relation.tail.is_empty() {
            return Ok(());
        }
        if relation.tail.iter().any(|group| !group.rows_only) {
            return Err(Fault::failed("the tail has more than rows: only a fresh copy helps"));
        }
        let keep = self.keep.read().agreed().filter(|keep| keep.mark);
        let keep = keep.ok_or_else(|| Fault::failed("the data do not carry a follower's mark"))?;
        let gtids: Vec<_> = relation.tail.iter().map(|group| group.gtid).collect();
        let tails = self.link.settings.state_dir.join("tails");
        let parties = self.parties(writer, incarnation);
        let saved = lineage::find_saved(&tails, Some(common.gtid), &gtids, parties);
        let saved = saved.ok_or_else(|| Fault::failed("the tail is not saved"))?;
        self.stop_both().await?;
        self.send_clients_away(Whom::All).await?;
        let keep = self.write_keep(Keep { unfinished: true, ..keep }).await?;
        rejoin::undo(common, &saved, &self.link.settings).await.map_err(Fault::Failed)?;
        let reset = rejoin::reset_to(&common.state, common.gtid);
        self.control()?.client.query(&reset, RESET_MAX).await?;
        self.write_keep(Keep { unfinished: false, ..keep }).await?;
        self.link.tell(format!("{} transactions undone, back at {}", gtids.len(), common.gtid));
        Ok(())
    }

    /// For data that begin anew: what was received and not applied is of no use to them.
    async fn stop_both(&mut self) -> Result<(), Fault> {
        self.stop_receiver().await?;
        if self.read(None).await?.applies() {
            self.touch(Touch::Stop, "STOP SLAVE SQL_THREAD", STOP_MAX).await?;
        }
        Ok(())
    }

    /// Only after read-only was answered and while no commit waits: then a KILL ends no wait (D9).
    async fn send_clients_away(&mut self, whom: Whom) -> Result<(), Fault> {
        let reading = self.read(None).await?;
        if !reading.read_only || reading.waiting > 0 {
            return Err(Fault::failed(
                "commits may be open: the database is not read-only at rest",
            ));
        }
        let look = match whom {
            Whom::All => {
                "SELECT id FROM information_schema.processlist WHERE id<>CONNECTION_ID() \
                AND user NOT IN ('system user', 'event_scheduler', 'unauthenticated user')"
            }
            Whom::InTransaction => {
                "SELECT p.id FROM information_schema.innodb_trx t \
                JOIN information_schema.processlist p ON p.id=t.trx_mysql_thread_id \
                WHERE p.id<>CONNECTION_ID() AND p.user<>'system user'"
            }
        };
        let clients = self.control()?.run(look).await?;
        for id in clients.column() {
            match self.control()?.client.one(&format!("KILL CONNECTION {id}"), SIMPLE).await {
                Ok(_) | Err(SqlError::Server { .. }) => {}
                Err(fault) => return Err(fault.into()),
            }
        }
        Ok(())
    }

    /// D8: a fresh copy of the recorded writer's data. It is put together beside the old data, which serve nobody
    /// meanwhile and are moved aside whole at the end (S6).
    async fn reclone(&mut self, writer: NodeId, incarnation: Incarnation) -> Result<(), Fault> {
        let info = self.follow_info(writer).await?;
        let link = Rc::clone(&self.link);
        link.tell(format!("taking a copy of node {}", writer.0));
        self.copy(writer).await.map_err(Fault::Failed)?;
        let staging = rejoin::staging(&link.settings);
        let (file, offset) = rejoin::place_of_copy(&staging).map_err(Fault::Failed)?;
        let request = PeerRequest::StateAt { incarnation: info.incarnation, file, offset };
        let state = match link.ask(writer, request).await.map_err(Fault::Failed)? {
            PeerAnswer::State { state } => state,
            PeerAnswer::Refused { reason } => return Err(Fault::Failed(reason)),
            other @ (PeerAnswer::Found { .. } | PeerAnswer::Follow(_)) => {
                return Err(Fault::failed(format!("not an answer to a place: {other:?}")));
            }
        };
        let place = crate::database::binlog::last(&state, 0)
            .ok_or_else(|| Fault::failed("the copy stands before the first transaction"))?;
        let mut keep = Keep {
            format: 1,
            writes: 0,
            incarnation,
            mark: true,
            server_id: draw()?,
            start: 0,
            unfinished: true,
        };
        keep = self.replace_data(keep).await?;
        self.take_control(START_PATIENCE).await?;
        let reading = self.read(None).await?;
        self.set_server_id(&keep, &reading).await?;
        let reset = rejoin::reset_to(&state, place);
        self.control()?.client.query(&reset, RESET_MAX).await?;
        let start = self.control()?.start;
        let reading = self.read(None).await?;
        self.write_counts(&Counts {
            incarnation,
            start,
            starts: reading.starts,
            stops: reading.stops,
            pending: None,
            followed: false,
            ended: false,
        })?;
        self.write_keep(Keep { start, unfinished: false, ..keep }).await?;
        link.tell(format!("the copy of node {} is in place, at {place}", writer.0));
        self.drop_surplus();
        Ok(())
    }

    /// The stream, unpacked and prepared beside the data directory, owned like it.
    async fn copy(&self, writer: NodeId) -> Result<(), String> {
        let link = Rc::clone(&self.link);
        let settings = &link.settings;
        let staging = rejoin::make_staging(settings).map_err(|fault| fault.to_string())?;
        let socket: PathBuf = settings.run_dir.join("clone.sock");
        if socket.exists() {
            std::fs::remove_file(&socket).map_err(|fault| fault.to_string())?;
        }
        let listener = UnixListener::bind(&socket).map_err(|fault| fault.to_string())?;
        let telling = Rc::clone(&link);
        let progress = move |bytes: u64| telling.tell(format!("{} MiB copied", bytes >> 20));
        let (unpacked, whole) = tokio::join!(
            rejoin::unpack(listener, &staging, progress),
            link.backup(writer, socket.clone())
        );
        // Either may be late; a socket that is left is removed the next time.
        let _ = std::fs::remove_file(&socket);
        whole?;
        unpacked?;
        link.tell("preparing the copy".into());
        rejoin::prepare(&staging).await?;
        let datadir = settings.datadir.clone();
        aside(move || rejoin::adopt(&staging, &datadir)).await
    }

    /// Stops the server, exchanges the directories, starts it at rest. The copy carries its name before it is
    /// in place.
    async fn replace_data(&mut self, keep: Keep) -> Result<Keep, Fault> {
        let link = Rc::clone(&self.link);
        let old = self.keep.read().agreed();
        let old = old.map_or_else(|| "unnamed".to_string(), |keep| keep.incarnation.to_string());
        let quiet = match self.read(None).await {
            Ok(reading) => reading.read_only && reading.waiting == 0,
            Err(_) => false,
        };
        self.control = None;
        // An orderly stop would tell waiting clients that their commit is done (D9).
        let verb = if quiet { UnitVerb::Stop } else { UnitVerb::Kill };
        link.unit(verb).await.map_err(Fault::Failed)?;
        let settings = link.settings.clone();
        let staged = KeepFiles::new(&rejoin::staging(&settings), &settings.state_dir);
        let exchanged = aside(move || {
            let keep = staged.write(keep)?;
            let kept = rejoin::exchange(&settings, &old)?;
            Ok((keep, kept))
        });
        let (keep, kept) = exchanged.await.map_err(Fault::Failed)?;
        link.tell(format!("the old data are kept at {}", kept.display()));
        link.unit(UnitVerb::Start).await.map_err(Fault::Failed)?;
        Ok(keep)
    }

    /// Old data directories beyond the newest two, each named before it goes.
    fn drop_surplus(&self) {
        let surplus = rejoin::surplus(&self.link.settings).unwrap_or_default();
        for path in surplus {
            self.link.tell(format!("removing replaced data at {}", path.display()));
            if let Err(fault) = std::fs::remove_dir_all(&path) {
                self.link.tell(format!("{} is not removed: {fault}", path.display()));
            }
        }
    }

    async fn follow_info(&self, writer: NodeId) -> Result<FollowInfo, Fault> {
        let asking = async {
            loop {
                match self.link.ask(writer, PeerRequest::FollowInfo).await {
                    Ok(PeerAnswer::Follow(info)) if account::is_plain(&info.password) => {
                        return Ok(info);
                    }
                    // The account is made just after the writer opened.
                    Ok(PeerAnswer::Refused { .. }) => sleep(Duration::from_millis(100)).await,
                    Ok(other) => return Err(format!("not an answer: {other:?}")),
                    Err(fault) => return Err(fault),
                }
            }
        };
        match timeout(INFO_MAX, asking).await {
            Ok(info) => info.map_err(Fault::Failed),
            Err(_) => Err(Fault::failed("the writer does not say how to follow it")),
        }
    }

    /// D8: master side off (a strict follower's applier would wait for a replica of its own), gtid_slave_pos
    /// at the end
    /// of our own log (with an older one a diverged copy attaches and confirms), attached by GTID, both
    /// threads started.
    async fn follow(&mut self, writer: NodeId) -> Result<(), Fault> {
        let info = self.follow_info(writer).await?;
        let place = self.link.settings.place_of(writer).map(|node| node.address);
        let host = place.ok_or_else(|| Fault::failed("the writer has no address here"))?;
        let keep = self.keep.read().agreed().filter(|keep| keep.mark && !keep.unfinished);
        let keep = keep.ok_or_else(|| Fault::failed("the data do not carry a follower's mark"))?;
        let counts = self.counts(keep.incarnation);
        let counts = counts.ok_or_else(|| Fault::failed("the data are no named follower's"))?;
        if counts.followed {
            return Err(Fault::failed(
                "what was received would be deleted: a new name comes first",
            ));
        }
        // An open transaction can no longer commit, but its locks would hold up the applier.
        self.send_clients_away(Whom::InTransaction).await?;
        self.loose().await?;
        self.stop_both().await?;
        let reading = self.read(None).await?;
        if reading.end.is_empty() {
            return Err(Fault::failed("an empty log follows nobody: a copy comes first"));
        }
        self.set_server_id(&keep, &reading).await?;
        account::adopt_secret(&self.link.settings.state_dir, &info.password)
            .map_err(|fault| Fault::failed(format!("the password is not kept: {fault}")))?;
        let attach = format!(
            "SET GLOBAL gtid_slave_pos=@@global.gtid_binlog_pos; \
             SET GLOBAL rpl_semi_sync_slave_enabled=ON; SET GLOBAL slave_net_timeout=4; \
             CHANGE MASTER TO MASTER_HOST='{host}', MASTER_PORT={port}, MASTER_USER='{user}', \
             MASTER_PASSWORD='{password}', MASTER_CONNECT_RETRY=1, MASTER_HEARTBEAT_PERIOD=1, \
             MASTER_USE_GTID=slave_pos",
            port = info.port,
            user = info.user,
            password = info.password,
        );
        self.control()?.client.query(&attach, START_MAX).await?;
        let noted = self.counts(keep.incarnation).unwrap_or(counts);
        self.write_counts(&Counts { followed: true, ended: false, ..noted })?;
        self.touch(Touch::Start, "START SLAVE", START_MAX).await?;
        self.await_receiver().await
    }

    /// A receiver that fails does so at once; one that connects may go on to.
    async fn await_receiver(&mut self) -> Result<(), Fault> {
        let deadline = Instant::now() + Duration::from_millis(300);
        loop {
            let reading = self.read(None).await?;
            let Some(source) = reading.source else {
                return Err(Fault::failed("there is no source"));
            };
            match source.receiver {
                regent_core::observe::Thread::Running => return Ok(()),
                regent_core::observe::Thread::Failed(reason) => return Err(Fault::Failed(reason)),
                regent_core::observe::Thread::Connecting
                | regent_core::observe::Thread::Stopped
                    if Instant::now() >= deadline =>
                {
                    return Ok(());
                }
                regent_core::observe::Thread::Connecting
                | regent_core::observe::Thread::Stopped => sleep(Duration::from_millis(20)).await,
            }
        }
    }
}

fn draw() -> Result<u32, Fault> {
    keep::draw_server_id().map_err(|fault| Fault::failed(format!("no random numbers: {fault}")))
}

//! The steps of the database, each as core names it (protocol section 4). One at a time, over the control connection.

mod back;
mod rename;

use crate::database::account;
use crate::database::control::{Control, SIMPLE};
use crate::database::cutoff;
use crate::database::end::Seen;
use crate::database::events;
use crate::database::facts::{self, Reading};
use crate::database::fault::{Fault, unpack};
use crate::database::gtid::Gtid;
use crate::database::json;
use crate::database::keep::{self, Counts, Keep, KeepFiles, Kept, Touch};
use crate::database::link::Link;
use crate::database::local::aside;
use crate::database::locks::{self, Blocker};
use crate::database::needs;
use crate::database::own;
use crate::database::peer::{FollowInfo, Peer, PeerAnswer, PeerRequest};
use crate::database::site::Site;
use crate::database::sql::SqlError;
use regent_core::command::{DatabaseStep, StepResult};
use regent_core::id::{AttemptId, Incarnation};
use regent_core::observe::{DatabaseFacts, Locked};
use regent_core::state::DataCopy;
use regent_core::time::Span;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, timeout};

/// Read-only is withdrawn after this (facts section 5); the answer to that comes soon after.
const READ_ONLY_MAX: &str = "0.5";
const READ_ONLY_ANSWER: Duration = Duration::from_millis(1500);
/// As long for our own definitions, if they are just being made.
const MAKING_MAX: Duration = Duration::from_millis(500);
const ON: &str = "SET GLOBAL rpl_semi_sync_master_enabled=ON";
const OFF: &str = "SET GLOBAL rpl_semi_sync_master_enabled=OFF";
/// No finite timeout, with or without a replica (D1).
const RIGHT_WAITS: &str = "SET GLOBAL rpl_semi_sync_master_timeout=18446744073709551615; \
    SET GLOBAL rpl_semi_sync_master_wait_no_slave=ON";
/// Before the engine shows it (D1).
const RIGHT_POINT: &str = "SET GLOBAL rpl_semi_sync_master_wait_point=AFTER_SYNC";
/// Commits are kept out this long at most, in seconds; then it is tried another time.
const LOCK_MAX: &str = "0.3";
/// Then clients have it to themselves again.
const LOCK_PAUSE: Duration = Duration::from_secs(3);
/// The kept end of the log is at rest moved no more often; what was committed since is not yet told by it.
const END_PAUSE: Duration = Duration::from_secs(1);
/// Between two looks for whoever holds a lock that others wait for: at rest, and while an applier is waited for.
const LOCKS_PAUSE: Duration = Duration::from_millis(500);
const LOCKS_SOON: Duration = Duration::from_millis(150);
/// Such a look takes a millisecond; one that takes longer is given up.
const LOCKS_MAX: Duration = Duration::from_millis(500);
/// Between two looks at what a writer needs.
const WRITER_PAUSE: Duration = Duration::from_secs(10);
/// What was read so short a time ago, with no statement since, is not read again: the answer's own way takes longer.
const FRESH: Duration = Duration::from_millis(5);
/// A receiver's stop towards a silent source takes up to two seconds without the cut-off.
const STOP_MAX: Duration = Duration::from_secs(3);
const START_MAX: Duration = Duration::from_secs(5);
const FORGET_MAX: Duration = Duration::from_secs(5);
/// Files of gigabytes are removed, after what they hold was written out.
const RESET_MAX: Duration = Duration::from_secs(600);
/// The writer may just be making its account.
const INFO_MAX: Duration = Duration::from_secs(3);
/// Where it is kept which data began by a copy or a rewind.
const RENEWED: &str = "database.renewed";
/// A session that was killed is gone within this.
const SESSIONS_MAX: Duration = Duration::from_millis(500);
/// Between two looks at our own account.
const OWN_PAUSE: Duration = Duration::from_secs(10);
/// Between two looks for replaced data that are kept too long.
const GIVE_BACK_PAUSE: Duration = Duration::from_secs(3600);
/// Crash recovery of a fresh copy is short; a large log takes its time.
const START_PATIENCE: Duration = Duration::from_secs(120);

/// What does the steps.
pub(crate) struct Steps {
    link: Rc<Link>,
    keep: KeepFiles,
    control: Option<Control>,
    /// What was read last, if nothing was sent since.
    fresh: Option<(Reading, Instant)>,
    /// When commits could not be kept out.
    kept_out: Option<Instant>,
    /// Where the server's log index is, as last read.
    log_index: Option<PathBuf>,
    /// When the kept end of the log was last moved.
    end_moved: Option<Instant>,
    /// The start of the server for which an end was kept.
    ends_of: Option<u64>,
    /// How far the log had come when its tail was saved.
    seen: Option<Seen>,
    /// Makes what the writer needs; waited for before read-only.
    making: Option<JoinHandle<()>>,
    /// What to do when the outcome is out.
    after: Option<After>,
    /// Who was last seen to hold up writers or the applier, since when, and when that was looked at.
    blocker: Option<(Blocker, Instant)>,
    locks_seen: Option<Instant>,
    /// Why that was not found out, as last told; and how far the applier was then.
    locks_fault: Option<String>,
    applied_seen: Option<Vec<Gtid>>,
    /// When it was last looked at what a writer needs.
    writer_seen: Option<Instant>,
    /// When replaced data were last given back.
    given_back: Option<Instant>,
    /// When our own account was last looked at, and why it lets nobody in.
    own_seen: Option<Instant>,
    own_fault: Option<String>,
    /// Settings of the server that are not as they must be any more.
    drift: Vec<String>,
    /// Data that began by a copy or a rewind.
    renewed: Option<Incarnation>,
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
        let renewed = json::read_json(&link.settings.state_dir.join(RENEWED));
        Steps {
            link,
            keep,
            control: None,
            fresh: None,
            kept_out: None,
            log_index: None,
            end_moved: None,
            ends_of: None,
            seen: None,
            making: None,
            after: None,
            blocker: None,
            locks_seen: None,
            locks_fault: None,
            applied_seen: None,
            writer_seen: None,
            given_back: None,
            own_seen: None,
            own_fault: None,
            drift: Vec::new(),
            renewed,
        }
    }

    /// Does one step; the facts are read after it.
    pub(crate) async fn step(
        &mut self,
        step: DatabaseStep,
        patience: Duration,
    ) -> (StepResult, Option<DatabaseFacts>) {
        self.fresh = None;
        let only_looks = matches!(step, DatabaseStep::Observe { .. });
        let look_for =
            if let DatabaseStep::Observe { look_for } = &step { *look_for } else { None };
        let mut result = unpack(self.carry_out(step, patience).await);
        let facts = match result {
            StepResult::Down | StepResult::NoAnswer => Err(None),
            StepResult::Done
            | StepResult::Blocked
            | StepResult::Failed(_)
            | StepResult::Lineage(_)
            | StepResult::Saved(_) => self.look(look_for, only_looks).await.map_err(Some),
        };
        match facts {
            Ok(facts) => return (result, facts),
            // The step may be done, but nobody can tell: it is idempotent.
            Err(Some(Fault::Failed(_))) => {}
            // Why it failed is worth more than that the server is down, which systemd tells as well.
            Err(Some(Fault::Down)) if matches!(result, StepResult::Failed(_)) => {
                self.control = None
            }
            Err(Some(fault)) => result = unpack(Err(fault)),
            Err(None) => {}
        }
        if result == StepResult::NoAnswer && !own::is_there(&self.link.settings).await {
            result = StepResult::Down;
        }
        if matches!(result, StepResult::Down | StepResult::NoAnswer) {
            self.control = None;
        }
        (result, None)
    }

    /// The facts, as they are after a step.
    async fn look(
        &mut self,
        look_for: Option<AttemptId>,
        only_looks: bool,
    ) -> Result<Option<DatabaseFacts>, Fault> {
        let fresh = self.fresh.take().filter(|(_, at)| look_for.is_none() && at.elapsed() < FRESH);
        let reading = match fresh {
            Some((reading, _)) => reading,
            None => self.read(look_for).await?,
        };
        if only_looks {
            self.move_end().await?;
            self.look_for_locks(&reading).await;
            self.look_after_writer(&reading);
        }
        self.facts(&reading)
    }

    /// What the last step left for later.
    pub(crate) async fn afterwards(&mut self) {
        if self.link.accounts_wanted.take() {
            self.make_accounts().await;
        }
        if self.own_seen.is_none_or(|at| at.elapsed() >= OWN_PAUSE) {
            self.look_after_own().await;
            self.look_after_settings().await;
        }
        if self.given_back.is_none_or(|at| at.elapsed() >= GIVE_BACK_PAUSE) {
            self.give_back();
        }
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

    /// What somebody changed by hand: the server id is set again, the rest is told.
    async fn look_after_settings(&mut self) {
        let looked = async {
            let reading = self.read(None).await?;
            if let Some(keep) = self.kept()?.agreed().filter(|k| k.server_id != reading.server_id) {
                let text = format!("somebody set server_id={}: set again", reading.server_id);
                self.link.tell(text);
                self.set_server_id(&keep, &reading).await?;
            }
            Ok::<_, Fault>(needs::drifted(&mut self.control()?.client).await?)
        };
        match looked.await {
            Ok(drift) => self.drift = drift,
            // The next taking of control ends what may still act.
            Err(Fault::Down | Fault::NoAnswer) => self.control = None,
            Err(Fault::Failed(fault)) => {
                self.link.tell(format!("its settings are not read: {fault}"))
            }
        }
    }

    /// Our own account lets us in, or is made to, while the control connection can do that.
    async fn look_after_own(&mut self) {
        if self.control.is_none() {
            return;
        }
        self.own_seen = Some(Instant::now());
        let link = Rc::clone(&self.link);
        let Err(why) = own::lets_in(&link.settings, SIMPLE).await else {
            self.own_fault = None;
            return;
        };
        let Some(control) = &mut self.control else { return };
        match own::make(&mut control.client, &link.settings.state_dir).await {
            Ok(()) => {
                self.own_fault = None;
                link.tell(format!("the account {}@localhost is made: {why}", own::USER));
            }
            Err(fault) => {
                let text = format!("the account {}@localhost cannot be made: {fault}", own::USER);
                if self.own_fault.as_ref() != Some(&text) {
                    link.tell(text.clone());
                }
                self.own_fault = Some(text);
                if !matches!(fault, SqlError::Server { .. }) {
                    self.control = None;
                }
            }
        }
    }

    /// Tried again after a later step, for as long as a follower asks.
    async fn make_accounts(&mut self) {
        let Some(control) = &mut self.control else { return };
        let made = account::make_for_replication(&mut control.client, &self.link.settings).await;
        match made {
            Ok(()) => {}
            Err(Fault::Failed(fault)) => {
                self.link.tell(format!("the replication account is not made yet: {fault}"));
            }
            // The next taking of control ends what may still act.
            Err(Fault::Down | Fault::NoAnswer) => self.control = None,
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
            DatabaseStep::Observe { .. } => self.start().map(|_| StepResult::Done),
            DatabaseStep::Start | DatabaseStep::Kill | DatabaseStep::Stop => {
                Err(Fault::failed("the agent starts, stops and kills the unit itself"))
            }
            DatabaseStep::Marker { .. } | DatabaseStep::Verify { .. } => {
                Err(Fault::failed("it has a connection of its own"))
            }
            DatabaseStep::Keep { incarnation, mark } => {
                self.keep(incarnation, mark).await.map(done)
            }
            DatabaseStep::Strict => self.strict().await.map(done),
            DatabaseStep::Loose => self.loose().await.map(done),
            DatabaseStep::ReadOnly => self.read_only().await,
            DatabaseStep::Writable => self.writable().await.map(done),
            DatabaseStep::EndSession { session } => self.end_session(session).await.map(done),
            DatabaseStep::StopReceiver => self.stop_receiver().await.map(done),
            DatabaseStep::StartReceiver => self.start_receiver().await.map(done),
            DatabaseStep::EndFollowing => self.end_following().await.map(done),
            DatabaseStep::Compare { writer } => {
                Ok(StepResult::Lineage(self.relation(writer).await?.lineage()))
            }
            DatabaseStep::SaveTail { writer } => {
                self.save_tail(writer).await.map(StepResult::Saved)
            }
            DatabaseStep::Rewind { writer } => self.rewind(writer).await.map(done),
            DatabaseStep::MayCopy { writer, in_place } => {
                self.may_copy(writer, in_place).await.map(done)
            }
            DatabaseStep::Rename { incarnation } => self.rename(incarnation).await,
            DatabaseStep::Distrust { in_place } => self.distrust(in_place).await.map(done),
            DatabaseStep::Reclone { writer, incarnation } => {
                self.reclone(writer, incarnation).await.map(done)
            }
            DatabaseStep::Follow { writer } => self.follow(writer).await.map(done),
        }
    }

    /// Which start of the server is held.
    fn start(&self) -> Result<u64, Fault> {
        self.control.as_ref().map(|control| control.start).ok_or(Fault::Down)
    }

    /// For a statement: what was read before it is not what is.
    fn control(&mut self) -> Result<&mut Control, Fault> {
        self.fresh = None;
        self.control.as_mut().ok_or(Fault::Down)
    }

    async fn read(&mut self, look_for: Option<AttemptId>) -> Result<Reading, Fault> {
        let reading = facts::read(&mut self.control()?.client, look_for, SIMPLE).await?;
        self.log_index.clone_from(&reading.log_index);
        self.fresh = look_for.is_none().then(|| (reading.clone(), Instant::now()));
        Ok(reading)
    }

    fn facts(&self, reading: &Reading) -> Result<Option<DatabaseFacts>, Fault> {
        let Some(control) = &self.control else { return Ok(None) };
        let settings = &self.link.settings;
        let counts = keep::read_counts(&settings.state_dir);
        let kept = self.kept()?;
        let mut facts = facts::facts(reading, control.start, &kept, counts.as_ref(), settings);
        facts.shut_out = self.own_fault.as_deref().map(Box::from);
        facts.comparison = self.link.comparison();
        facts.drift = self.drift.as_slice().into();
        facts.renewed = facts.incarnation.is_some() && facts.incarnation == self.renewed;
        facts.locked = self.blocker.as_ref().map(|(Blocker { session, who, what }, since)| {
            let since = Span(since.elapsed().as_nanos() as u64);
            Box::new(Locked { session: *session, who: who.clone(), what: what.clone(), since })
        });
        Ok(Some(facts))
    }

    /// What a writer has that a replica has not is looked at again now and then, one look at a time; read-only waits
    /// for it, so that none of it comes after (D9).
    fn look_after_writer(&mut self, reading: &Reading) {
        let looked = self.writer_seen.is_some_and(|at| at.elapsed() < WRITER_PAUSE);
        let busy = self.making.as_ref().is_some_and(|making| !making.is_finished());
        if reading.read_only || looked || busy {
            return;
        }
        self.begin_making();
    }

    fn begin_making(&mut self) {
        self.writer_seen = Some(Instant::now());
        let link = Rc::clone(&self.link);
        let before = self.making.take();
        self.making = Some(spawn_local(async move {
            // One after the other, and each of them: an older one may fail.
            if let Some(before) = before {
                before.await.ok();
            }
            if let Err(fault) = make(&link).await {
                link.tell(format!("what markers, probes and events need is not made yet: {fault}"));
            }
        }));
    }

    /// Who holds up writers or the applier; looked at now and then, and more often by whoever waits for the applier. On
    /// a connection of its own: it changes nothing, and no fault of it says anything of the server (D11).
    async fn look_for_locks(&mut self, reading: &Reading) {
        let waits = reading.waits_for_applier();
        let pause = if waits { LOCKS_SOON } else { LOCKS_PAUSE };
        if self.locks_seen.is_some_and(|at| at.elapsed() < pause) {
            return;
        }
        // Rows that the applier waits for are looked for only where it stands still.
        let stands = waits && self.applied_seen.as_deref() == Some(reading.applied());
        self.applied_seen = Some(reading.applied().to_vec());
        let looking = async {
            let mut client = own::connect(&self.link.settings, LOCKS_MAX).await?;
            locks::look(&mut client, stands, LOCKS_MAX).await
        };
        let found = looking.await.unwrap_or_else(|fault| {
            let told = self.locks_fault.replace(fault.to_string());
            if told != self.locks_fault {
                self.link.tell(format!("who holds locks is not known: {fault}"));
            }
            None
        });
        let now = Instant::now();
        self.locks_seen = Some(now);
        let before = self.blocker.take();
        self.blocker = found.map(|blocker| {
            let same = before.filter(|(before, _)| before.session == blocker.session);
            (blocker, same.map_or(now, |(_, since)| since))
        });
    }

    /// D9: where nobody can commit any session may go; where clients write, only one that has nothing open. It is
    /// looked at anew, because what core saw is a while ago.
    async fn end_session(&mut self, session: u64) -> Result<(), Fault> {
        let reading = self.read(None).await?;
        let waits = reading.waits_for_applier();
        let found = locks::look(&mut self.control()?.client, waits, SIMPLE).await?;
        // What core is told next is found out anew: it asks for this again as long as it is told the same.
        self.locks_seen = None;
        self.blocker = None;
        let Some(blocker) = found.filter(|blocker| blocker.session == session) else {
            return Ok(());
        };
        let at_rest = reading.read_only && reading.waiting == 0;
        let client = &mut self.control()?.client;
        if !at_rest && !locks::has_nothing_open(client, session, SIMPLE).await? {
            return Err(Fault::failed(format!(
                "session {session} of {} has a transaction open: it is not ended [D9]",
                blocker.who
            )));
        }
        self.control()?.run_if_allowed(&format!("KILL CONNECTION {session}")).await?;
        let Blocker { who, what, .. } = blocker;
        self.link.tell(format!("session {session} of {who} is ended: it held {what}"));
        Ok(())
    }

    /// What the data are: both files, and the log from its kept end on.
    fn kept(&self) -> Result<Kept, Fault> {
        self.keep
            .of_data(self.log_index.as_deref())
            .map_err(|fault| Fault::failed(format!("the log cannot be read: {fault}")))
    }

    /// The kept end follows the log now and then, with a look: a step that clients wait for has no time for it.
    async fn move_end(&mut self) -> Result<(), Fault> {
        if self.end_moved.is_some_and(|at| at.elapsed() < END_PAUSE) {
            return Ok(());
        }
        let Ok(Kept::Agreed(keep)) = self.kept() else { return Ok(()) };
        let Some(index) = self.log_index.clone().filter(|_| !keep.unfinished) else {
            return Ok(());
        };
        let place = facts::place(&mut self.control()?.client, SIMPLE).await?;
        let Some(place) = place else { return Ok(()) };
        self.end_moved = Some(Instant::now());
        // After a start it is synced: from there on it is never older than this start.
        let first = self.ends_of != Some(keep.counted);
        match self.keep.end.advance(keep.incarnation, &index, &place, first) {
            Ok(()) => self.ends_of = Some(keep.counted),
            Err(fault) => self.link.tell(format!("the end of the log is not kept: {fault}")),
        }
        Ok(())
    }

    /// D11: an older thread is killed and seen gone before anything is read; then this start of the server is counted,
    /// and the server id of the kept incarnation is set again, because a restart forgets it.
    async fn take_control(&mut self, patience: Duration) -> Result<(), Fault> {
        self.control = None;
        self.own_seen = None;
        let control = Control::take(&self.link.settings, patience).await?;
        let start = control.start;
        self.control = Some(control);
        self.end_moved = None;
        let reading = self.read(None).await?;
        if let Some(keep) = self.kept()?.agreed() {
            let files = self.keep.clone();
            let keep = aside(move || files.count(keep, start)).await.map_err(|fault| {
                Fault::failed(format!("the start of the server is not counted: {fault}"))
            })?;
            self.set_server_id(&keep, &reading).await?;
            self.settle(&keep, start, &reading)?;
        }
        self.after = Some(After::Spare);
        let (datadir, state_dir) =
            (self.link.settings.datadir.clone(), self.link.settings.state_dir.clone());
        if let Err(fault) = aside(move || Site::of(&datadir)?.note(&state_dir)).await {
            self.link.tell(format!("the place of the data is not noted: {fault}"));
        }
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
            self.note_sessions(true)?;
            let set = format!("SET GLOBAL server_id={}", keep.server_id);
            self.control()?.run(&set).await?;
            // The one for the next marker is from before, too.
            self.link.drop_spare();
            self.after = Some(After::Spare);
        }
        if reading.read_only && reading.waiting == 0 {
            self.renew_sessions().await?;
        }
        Ok(())
    }

    /// A session keeps the server id of the moment when it began, and writes under it: another one's names, perhaps
    /// (D8). So those that began before it was set are ended, while no commit of them can be open (D9).
    async fn renew_sessions(&mut self) -> Result<(), Fault> {
        if !self.sessions_note().exists() {
            return Ok(());
        }
        self.end_sessions().await?;
        self.note_sessions(false)
    }

    /// Every other session, those that are just signing in as well, and sees them gone.
    async fn end_sessions(&mut self) -> Result<(), Fault> {
        let look = "SELECT id FROM information_schema.processlist WHERE id<>CONNECTION_ID() \
            AND user NOT IN ('system user', 'event_scheduler')";
        let begun: Vec<String> =
            self.control()?.run(look).await?.column().map(String::from).collect();
        for id in &begun {
            self.control()?.run_if_allowed(&format!("KILL CONNECTION {id}")).await?;
        }
        let deadline = Instant::now() + SESSIONS_MAX;
        loop {
            let sessions = self.control()?.run("SHOW PROCESSLIST").await?;
            let mut open = sessions.columns(["Id", "User"]);
            let Some([id, user]) = open.find(|[id, _]| begun.iter().any(|b| b == id)) else {
                return Ok(());
            };
            if Instant::now() >= deadline {
                return Err(Fault::failed(format!(
                    "session {id} of {user} does not end: it may be rolling back"
                )));
            }
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// Sessions with another server id may be open; noted over the death of a worker, but not of the host.
    fn note_sessions(&self, stale: bool) -> Result<(), Fault> {
        let path = self.sessions_note();
        let noted = if stale { std::fs::write(path, "") } else { std::fs::remove_file(path) };
        noted.map_err(|fault| Fault::failed(format!("sessions are not noted: {fault}")))
    }

    fn sessions_note(&self) -> PathBuf {
        self.link.settings.run_dir.join("sessions")
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
        let start = self.start()?;
        let old = self.kept()?;
        if matches!(old, Kept::LogBegan(_) | Kept::Disagree { .. })
            && self.keep.has_name(incarnation)
        {
            return Err(Fault::failed("the data that had this name are not these"));
        }
        let old = old.agreed();
        let was = old.as_ref().map(|keep| keep.incarnation);
        let known = old.clone().filter(|keep| keep.incarnation == incarnation);
        let is_new = known.is_none();
        let turns_follower = mark && known.as_ref().is_some_and(|keep| !keep.mark);
        let keep = match known {
            Some(keep) if keep.mark == mark => return self.set_server_id(&keep, &reading).await,
            Some(keep) => {
                let was = if mark { Vec::new() } else { keep.was.clone() };
                Keep { mark, start, was, ..keep }
            }
            None => Keep {
                format: 1,
                writes: 0,
                incarnation,
                mark,
                server_id: draw()?,
                start,
                unfinished: old.as_ref().is_some_and(|keep| keep.unfinished),
                distrusted: old.is_some_and(|keep| keep.distrusted),
                starts: 0,
                counted: start,
                was: Vec::new(),
            },
        };
        if is_new || turns_follower {
            self.write_counts(&Counts::begun(incarnation, start, reading.starts, reading.stops))?;
        }
        if is_new && !keep.unfinished {
            self.begin_end(incarnation, was).await?;
        }
        let keep = self.write_keep(keep).await?;
        self.set_server_id(&keep, &reading).await
    }

    /// Before the log has a name, or one again: how far it has come.
    async fn begin_end(
        &mut self,
        incarnation: Incarnation,
        was: Option<Incarnation>,
    ) -> Result<(), Fault> {
        let Some(index) = self.log_index.clone() else { return Ok(()) };
        let place = facts::place(&mut self.control()?.client, SIMPLE).await?;
        let Some(place) = place else { return Ok(()) };
        let end = self.keep.end.clone();
        aside(move || end.begin(incarnation, was, &index, &place))
            .await
            .map_err(|fault| Fault::failed(format!("the end of the log is not kept: {fault}")))
    }

    async fn write_keep(&self, keep: Keep) -> Result<Keep, Fault> {
        let files = self.keep.clone();
        aside(move || files.write(keep))
            .await
            .map_err(|fault| Fault::failed(format!("cannot keep the incarnation: {fault}")))
    }

    /// D1, D3: the master side on, with status and the three settings read back. All of them are set while it is on:
    /// off would let every commit go that waits, and pass every one that comes. Only a status that is off under a side
    /// that is on (a timeout ran out: nobody waits any more) is armed again by off and on.
    async fn strict(&mut self) -> Result<(), Fault> {
        let reading = self.read(None).await?;
        if reading.is_strict() {
            return Ok(());
        }
        // They bind the next wait; one that has begun keeps what it began with.
        self.control()?.client.query(RIGHT_WAITS, SIMPLE).await?;
        if !reading.enabled {
            let set = format!("{RIGHT_POINT}; {ON}");
            self.control()?.client.query(&set, SIMPLE).await?;
        } else if !reading.right_point {
            self.without_commits(RIGHT_POINT).await?;
        }
        let mut reading = self.read(None).await?;
        if reading.enabled && !reading.semi_sync {
            self.without_commits(&format!("{OFF}; {ON}")).await?;
            reading = self.read(None).await?;
        }
        if reading.is_strict() { Ok(()) } else { Err(Fault::failed("it does not turn strict")) }
    }

    /// Sets something while no commit is open: one that is between its two wait points would wait at neither. The lock
    /// waits for those under way and keeps new ones out. One that waits for a replica in vain holds the lock up; then
    /// nothing is done, and not tried again at once, because clients stand still meanwhile.
    async fn without_commits(&mut self, set: &str) -> Result<(), Fault> {
        if self.kept_out.is_some_and(|at| at.elapsed() < LOCK_PAUSE) {
            return Err(Fault::failed("commits could not be kept out just now"));
        }
        self.kept_out = Some(Instant::now());
        let lock =
            format!("SET STATEMENT max_statement_time={LOCK_MAX} FOR FLUSH TABLES WITH READ LOCK");
        self.control()?.client.one(&lock, READ_ONLY_ANSWER).await?;
        self.kept_out = None;
        let done = self.control()?.client.query(&format!("{set}; UNLOCK TABLES"), SIMPLE).await;
        if let Err(SqlError::Server { .. }) = &done {
            // The text ended at its first error. On and the lock are owed.
            self.control()?.client.query(&format!("{ON}; UNLOCK TABLES"), SIMPLE).await?;
        }
        Ok(done.map(|_| ())?)
    }

    /// D3: loose is this one switch.
    async fn loose(&mut self) -> Result<(), Fault> {
        self.control()?.run(OFF).await?;
        if self.read(None).await?.semi_sync {
            return Err(Fault::failed("it does not turn loose"));
        }
        Ok(())
    }

    /// Section 5 of the facts: with a bound; an error changes nothing and is the undo.
    async fn read_only(&mut self) -> Result<StepResult, Fault> {
        /// The statement's own time, and that of a lock.
        const WITHDRAWN: [u16; 3] = [1969, 1205, 3024];
        if let Some(mut making) = self.making.take() {
            // Our own definitions must not come after read-only was answered (D9). They take milliseconds; one that
            // waits for a replica is a commit that waits, like any other.
            if timeout(MAKING_MAX, &mut making).await.is_err() {
                self.making = Some(making);
                return Ok(StepResult::Blocked);
            }
        }
        // An event of root's passes read-only. A scheduler that is disabled for good refuses to be told so.
        self.control()?.run_if_allowed(events::OFF).await?;
        let set =
            format!("SET STATEMENT max_statement_time={READ_ONLY_MAX} FOR SET GLOBAL read_only=1");
        match self.control()?.client.one(&set, READ_ONLY_ANSWER).await {
            Ok(_) => Ok(StepResult::Done),
            Err(fault) if fault.code().is_some_and(|code| WITHDRAWN.contains(&code)) => {
                // Nothing has changed: clients go on to write, and events with them.
                self.writer_seen = None;
                Ok(StepResult::Blocked)
            }
            Err(fault) => Err(fault.into()),
        }
    }

    /// D2: under the server id of this incarnation (section 1). The account and the marker's table are made
    /// afterwards.
    async fn writable(&mut self) -> Result<(), Fault> {
        let keep = self.kept()?.agreed();
        let keep = keep.ok_or_else(|| Fault::failed("the data here have no name"))?;
        let reading = self.read(None).await?;
        self.set_server_id(&keep, &reading).await?;
        if self.sessions_note().exists() {
            return Err(Fault::failed("sessions with another server id are open"));
        }
        self.control()?.run("SET GLOBAL read_only=0").await?;
        self.after = Some(After::Forget);
        self.link.accounts_wanted.set(true);
        self.begin_making();
        Ok(())
    }

    /// The source of a follower that has ended: its relay logs are applied, and nothing starts it again.
    async fn forget_source(&mut self) -> Result<(), Fault> {
        let reading = self.read(None).await?;
        let follower = self.kept()?.agreed().is_none_or(|keep| keep.mark);
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
        let start = self.start()?;
        let noted = self.kept()?.agreed().and_then(|keep| self.counts(keep.incarnation));
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
        let facts = self.facts(&reading)?.ok_or(Fault::Down)?;
        if !facts.drained {
            return Err(Fault::failed("not everything received is applied"));
        }
        if facts.broken {
            return Err(Fault::failed("what was received may be gone"));
        }
        if reading.applies() {
            self.touch(Touch::Stop, "STOP SLAVE", STOP_MAX).await?;
            let noted = self.kept()?.agreed().and_then(|keep| self.counts(keep.incarnation));
            if let Some(counts) = noted {
                self.write_counts(&Counts { ended: true, ..counts })?;
            }
        }
        self.strict().await
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
            self.control()?.run_if_allowed(&format!("KILL CONNECTION {id}")).await?;
        }
        Ok(())
    }

    /// How to follow the recorded writer, in its recorded incarnation and in no other (D8).
    async fn follow_info(&self, writer: DataCopy) -> Result<FollowInfo, Fault> {
        let asking = async {
            loop {
                match self.link.ask(writer.node, PeerRequest::FollowInfo).await {
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
            Ok(Ok(info)) if info.incarnation != writer.incarnation => Err(Fault::failed(format!(
                "node {} has other data than the register records: nobody follows it [D8]",
                writer.node.0
            ))),
            Ok(info) => info.map_err(Fault::Failed),
            Err(_) => Err(Fault::failed("the writer does not say how to follow it")),
        }
    }

    /// D8: master side off (a strict follower's applier would wait for a replica of its own), gtid_slave_pos
    /// at the end
    /// of our own log (with an older one a diverged copy attaches and confirms), attached by GTID, both
    /// threads started.
    async fn follow(&mut self, writer: DataCopy) -> Result<(), Fault> {
        let info = self.follow_info(writer).await?;
        let place = self.link.settings.place_of(writer.node).map(|node| node.address);
        let host = place.ok_or_else(|| Fault::failed("the writer has no address here"))?;
        let keep = self.kept()?.agreed().filter(|keep| keep.mark && !keep.unfinished);
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

/// What a writer has that a replica has not. All of it is over before read-only is asked for.
async fn make(link: &Link) -> Result<(), String> {
    let (settings, text) = (&link.settings, |fault: SqlError| fault.to_string());
    let mut client = own::connect(settings, SIMPLE).await.map_err(text)?;
    account::make(&mut client, &settings.state_dir).await?;
    if settings.events && account::is_writable(&mut client).await.map_err(text)? {
        events::run(&mut client, |text| link.tell(text)).await.map_err(text)?;
        events::note(&mut client).await.map_err(text)?;
    }
    Ok(())
}

fn draw() -> Result<u32, Fault> {
    keep::draw_server_id().map_err(|fault| Fault::failed(format!("no random numbers: {fault}")))
}

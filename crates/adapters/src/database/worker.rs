//! The worker: a process of its own between the agent and the database, so that a statement that hangs never touches
//! the lease path. It reads lines, does steps one after another, and answers each.
//!
//! ```text
//!  agent ──steps──► queue ──► steps (control connection) ──► outcomes ──► agent
//!        ──marker─► a task each, a connection each ─────────────────────►
//!        ──serve──► a task each (peers' questions) ──────────────────────►
//!        ◄─asks── peers, unit, bulk stream ◄── steps
//! ```
//! It decides nothing, remembers nothing that it could read again, and may be killed at any moment.

use crate::database::account;
use crate::database::answer;
use crate::database::control::{SIMPLE, start_of};
use crate::database::facts;
use crate::database::fault::Fault;
use crate::database::keep::{self, KeepFiles};
use crate::database::line::{FromWorker, ToWorker};
use crate::database::link::Link;
use crate::database::own;
use crate::database::peer::{PeerAnswer, PeerRequest};
use crate::database::settings::WorkerSettings;
use crate::database::sql::{Client, SqlError};
use crate::database::steps::Steps;
use crate::database::verify::{self, Pace, Progress};
use regent_core::command::{DatabaseStep, Outcome, StepResult};
use regent_core::id::{AttemptId, Incarnation};
use regent_core::observe::DatabaseFacts;
use regent_core::state::DataCopy;
use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};

/// Lines that wait to be written, and steps that wait to be done: core has few commands under way at once.
const QUEUE: usize = 256;
/// A marker waits for the replica at most this long for us; its row may wait on (D9).
const MARKER_MAX: Duration = Duration::from_secs(10);
/// Markers under way at once; beyond it something is very wrong, and more rows would not mend it.
const MARKERS: usize = 16;
/// Old markers go now and then.
const PRUNE_EVERY: u64 = 64;

/// The body of the child process, whose standard input and output are pipes: the first line has the settings, see
/// [`run`] for the others.
pub fn main() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let input = io::stdin().as_fd().try_clone_to_owned()?;
        let output = io::stdout().as_fd().try_clone_to_owned()?;
        let mut input = BufReader::new(pipe::Receiver::from_owned_fd(input)?);
        let mut first = String::new();
        input.read_line(&mut first).await?;
        let settings = serde_json::from_str(&first).map_err(io::Error::other)?;
        run(settings, input, pipe::Sender::from_owned_fd(output)?).await
    });
    // File work that is under way must not hold up the end.
    runtime.shutdown_background();
    ended
}

/// Serves lines from `input` until it ends: see [`ToWorker`] and [`FromWorker`].
pub async fn run<R, W>(settings: WorkerSettings, input: R, output: W) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + 'static,
{
    LocalSet::new().run_until(serve_lines(settings, input, output)).await
}

async fn serve_lines<R, W>(settings: WorkerSettings, input: R, output: W) -> io::Result<()>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + 'static,
{
    std::fs::create_dir_all(&settings.state_dir)?;
    std::fs::create_dir_all(&settings.run_dir)?;
    let (out, lines) = mpsc::channel(QUEUE);
    spawn_local(write_lines(lines, output));
    let (asks, next, spare) = (RefCell::default(), Cell::new(0), Cell::new(None));
    let accounts_wanted = Cell::new(false);
    let (comparing, compared) = (RefCell::default(), RefCell::default());
    let link = Link { settings, out, asks, next, spare, accounts_wanted, comparing, compared };
    let link = Rc::new(link);
    link.read_compared();
    let (queue, steps) = mpsc::channel(QUEUE);
    spawn_local(do_steps(Rc::clone(&link), steps));
    let markers = Rc::new(Cell::new(0));
    let mut input = BufReader::new(input).lines();
    while let Some(line) = input.next_line().await? {
        match serde_json::from_str(&line) {
            Ok(line) => dispatch(&link, &queue, &markers, line).await,
            Err(fault) => link.tell(format!("a line that says nothing: {fault}: {line}")),
        }
    }
    Ok(())
}

type Queue = mpsc::Sender<(u64, DatabaseStep, Duration)>;

async fn dispatch(link: &Rc<Link>, queue: &Queue, markers: &Rc<Cell<usize>>, line: ToWorker) {
    match line {
        ToWorker::Step { id, step: DatabaseStep::Marker { token }, .. } => {
            spawn_local(do_marker(Rc::clone(link), Rc::clone(markers), id, token));
        }
        ToWorker::Step { id, step: DatabaseStep::Verify { with, ours, duty }, .. } => {
            spawn_local(do_verify(Rc::clone(link), id, with, ours, duty));
        }
        ToWorker::Step { id, step, patience_ms } => {
            let patience = Duration::from_millis(patience_ms.unwrap_or(0));
            // The queue ends only with the worker.
            let _ = queue.send((id, step, patience)).await;
        }
        ToWorker::Serve { id, serve } => {
            let link = Rc::clone(link);
            spawn_local(async move {
                let follows = matches!(serve, PeerRequest::FollowInfo);
                let served = answer::serve(&link.settings, serve).await;
                if follows && matches!(served, PeerAnswer::Refused { .. }) {
                    link.accounts_wanted.set(true);
                }
                link.send(FromWorker::Served { id, served }).await;
            });
        }
        ToWorker::Reply { reply, answer } => link.answered(reply, Ok(answer)),
        ToWorker::NoReply { reply, error } => link.answered(reply, Err(error)),
    }
}

async fn write_lines<W: AsyncWrite + Unpin>(mut lines: mpsc::Receiver<FromWorker>, mut output: W) {
    while let Some(line) = lines.recv().await {
        let Ok(mut text) = serde_json::to_vec(&line) else { continue };
        text.push(b'\n');
        if output.write_all(&text).await.is_err() || output.flush().await.is_err() {
            return;
        }
    }
}

async fn do_steps(link: Rc<Link>, mut queue: mpsc::Receiver<(u64, DatabaseStep, Duration)>) {
    let mut steps = Steps::new(Rc::clone(&link));
    while let Some((id, step, patience)) = queue.recv().await {
        let (result, facts) = steps.step(step, patience).await;
        let outcome = Box::new(Outcome::Database { result, facts });
        link.send(FromWorker::Outcome { id, outcome }).await;
        steps.afterwards().await;
    }
}

/// Compares both copies, for as long as that takes; one at a time.
async fn do_verify(link: Rc<Link>, id: u64, with: DataCopy, ours: Incarnation, duty: u8) {
    let busy = link.comparing.borrow().is_some();
    let result = if busy {
        StepResult::Failed("a comparison is under way already".into())
    } else {
        *link.comparing.borrow_mut() = Some(String::new());
        let tell = |progress: Progress| *link.comparing.borrow_mut() = Some(progress.words());
        let pace = Pace { duty: duty.clamp(1, 100), ..Pace::default() };
        let (node, theirs) = (with.node, with.incarnation);
        let ran = verify::verify(&link.settings, &*link, node, ours, theirs, pace, tell).await;
        *link.comparing.borrow_mut() = None;
        link.read_compared();
        match ran {
            Ok(_) => StepResult::Done,
            Err(why) => StepResult::Failed(why),
        }
    };
    let outcome = Box::new(Outcome::Database { result, facts: None });
    link.send(FromWorker::Outcome { id, outcome }).await;
}

async fn do_marker(link: Rc<Link>, markers: Rc<Cell<usize>>, id: u64, token: AttemptId) {
    let (result, facts) = if markers.get() >= MARKERS {
        (StepResult::Failed(format!("{MARKERS} markers wait already")), None)
    } else {
        markers.set(markers.get() + 1);
        let answer = match mark(&link, token).await {
            Ok(facts) => (StepResult::Done, facts),
            Err(Fault::Down) => (StepResult::Down, None),
            Err(Fault::NoAnswer) => (StepResult::NoAnswer, None),
            Err(Fault::Failed(reason)) => (StepResult::Failed(reason), None),
        };
        markers.set(markers.get() - 1);
        answer
    };
    let outcome = Box::new(Outcome::Database { result, facts });
    link.send(FromWorker::Outcome { id, outcome }).await;
    if token.n.is_multiple_of(PRUNE_EVERY) {
        prune(&link.settings).await;
    }
}

/// D4: a new row whose token is the attempt. It is inserted only while clients may write (D9), which the
/// statement itself
/// looks at. A connection is kept ready: while a CREATE USER waits for the replica the server lets nobody in,
/// and only
/// this row may free it.
async fn mark(link: &Link, token: AttemptId) -> Result<Option<DatabaseFacts>, Fault> {
    let spare = link.spare.take();
    let had_spare = spare.is_some();
    let mut client = match spare {
        Some(client) => client,
        None => own::connect(&link.settings, SIMPLE).await?,
    };
    let mut answer = insert(&mut client, token).await;
    if had_spare && matches!(answer, Err(SqlError::Lost(_))) {
        // The spare one was from before a restart. The same token twice is one row.
        client = own::connect(&link.settings, SIMPLE).await?;
        answer = insert(&mut client, token).await;
    }
    if answer? == 0 {
        return Err(Fault::failed("the database is read-only"));
    }
    let facts = read_aside(&mut client, &link.settings).await;
    link.spare.set(Some(client));
    Ok(facts)
}

/// How many rows are there by this: 0 if clients may not write.
async fn insert(client: &mut Client, token: AttemptId) -> Result<u64, SqlError> {
    const DUPLICATE: u16 = 1062;
    let insert = format!(
        "INSERT INTO regent.marker (token) SELECT '{token}' FROM DUAL WHERE @@global.read_only=0"
    );
    match client.one(&insert, MARKER_MAX).await {
        Err(fault) if fault.code() == Some(DUPLICATE) => Ok(1),
        Err(fault) if fault.is_not_made() => {
            if !account::is_writable(client).await? {
                return Ok(0);
            }
            account::make_table(client).await?;
            Ok(client.one(&insert, MARKER_MAX).await?.affected)
        }
        answer => Ok(answer?.affected),
    }
}

/// The facts by another connection than the control's, which holds the lock meanwhile.
async fn read_aside(client: &mut Client, settings: &WorkerSettings) -> Option<DatabaseFacts> {
    let reading = facts::read(client, None, SIMPLE).await.ok()?;
    let start = start_of(client, settings).await.ok()?;
    let files = KeepFiles::new(&settings.datadir, &settings.state_dir);
    let kept = files.of_data(reading.log_index.as_deref()).ok()?;
    let counts = keep::read_counts(&settings.state_dir);
    Some(facts::facts(&reading, start, &kept, counts.as_ref(), settings))
}

/// Rows of yesterday go, a few at a time; only while clients may write, and never behind a row that waits.
async fn prune(settings: &WorkerSettings) {
    let bound = Duration::from_secs(5);
    let Ok(mut client) = own::connect(settings, bound).await else { return };
    let delete = "SET STATEMENT innodb_lock_wait_timeout=1 FOR DELETE FROM regent.marker \
        WHERE @@global.read_only=0 AND at < NOW() - INTERVAL 1 DAY LIMIT 1000";
    // Another time will do.
    let _ = client.one(delete, bound).await;
}

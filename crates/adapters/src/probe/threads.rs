//! Threads for what the kernel may block for ever: files of a dead mount, names, starting a program.
//!
//! One thread does what comes, as long as it comes: hundreds of looks that take microseconds need no more, and waking
//! one costs more than they do. If it has kept a job waiting for [`STUCK`], another takes over what is left, so a
//! job that hangs delays others by that much and only once. What hangs keeps its thread until the kernel lets go;
//! since every probe has at most one job in flight ([`Flight`]), that many threads are the most there can be.

use std::cell::Cell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::{sleep, timeout};

/// A job that waits longer for its thread gets another one.
const STUCK: Duration = Duration::from_millis(5);
/// An idle thread ends after this long.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// The resolver of the C library is the deepest of what runs here; only what is used takes room.
const STACK: usize = 256 << 10;

type Job = Box<dyn FnOnce() + Send>;

/// The threads of this process, as the task that hands out jobs sees them.
#[derive(Clone, Default)]
pub(crate) struct Threads {
    pool: Arc<Pool>,
    /// Somebody looks after jobs that wait.
    is_guarded: Rc<Cell<bool>>,
}

#[derive(Default)]
struct Pool {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<(Instant, Job)>,
    /// Threads without a job, woken or not.
    idle: usize,
    /// The thread that takes jobs is this one, by its number; any other ends its job and is idle.
    turn: u64,
    /// There is such a thread, and it is awake or woken.
    is_taken: bool,
}

impl Threads {
    /// Runs the job soon, on a thread.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        let mut state = lock(&self.pool);
        state.jobs.push_back((Instant::now(), Box::new(job)));
        if !state.is_taken {
            take_over(&self.pool, state);
        } else {
            drop(state);
        }
        if !self.is_guarded.replace(true) {
            let threads = self.clone();
            spawn_local(async move {
                sleep(STUCK).await;
                while threads.relieve() {
                    sleep(STUCK).await;
                }
                threads.is_guarded.set(false);
            });
        }
    }

    /// Lets another thread take over if jobs have waited too long; is there still something to look after?
    fn relieve(&self) -> bool {
        let state = lock(&self.pool);
        let Some((since, _)) = state.jobs.front() else { return false };
        if since.elapsed() >= STUCK {
            take_over(&self.pool, state);
        }
        true
    }
}

/// Another thread takes the jobs from here on: an idle one, or a new one.
fn take_over(pool: &Arc<Pool>, mut state: MutexGuard<'_, State>) {
    state.turn += 1;
    state.is_taken = true;
    if state.idle > 0 {
        drop(state);
        pool.wake.notify_one();
        return;
    }
    let own = Arc::clone(pool);
    let thread = std::thread::Builder::new().name("look".into()).stack_size(STACK);
    if thread.spawn(move || work(&own)).is_err() {
        // Whoever waits for these is told: their senders go with them.
        state.jobs.clear();
        state.is_taken = false;
    }
}

fn work(pool: &Pool) {
    let mut state = lock(pool);
    let mut turn = state.turn;
    loop {
        if turn == state.turn && state.is_taken {
            if let Some((_, job)) = state.jobs.pop_front() {
                drop(state);
                job();
                state = lock(pool);
                continue;
            }
            state.is_taken = false;
        }
        state.idle += 1;
        let waited = pool.wake.wait_timeout(state, IDLE_MAX);
        let (woken, late) = waited.unwrap_or_else(PoisonError::into_inner);
        state = woken;
        state.idle -= 1;
        if state.is_taken && !state.jobs.is_empty() {
            turn = state.turn;
        } else if late.timed_out() {
            return;
        }
    }
}

fn lock(pool: &Pool) -> MutexGuard<'_, State> {
    pool.state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What one probe has under way, at most one at a time. What is late is neither awaited nor repeated: until it is
/// answered, every look says so.
pub(crate) struct Flight<T>(Option<oneshot::Receiver<T>>);

/// Why there is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Late {
    /// None within the bound.
    NoAnswer,
    /// One came, to a question asked before.
    Slow,
    /// None will come: it broke, or there was no thread for it.
    Broken,
}

impl<T> Flight<T> {
    /// Nothing is under way.
    pub(crate) fn new() -> Flight<T> {
        Flight(None)
    }

    /// Starts it unless one is under way, and waits for its answer.
    pub(crate) async fn take(
        &mut self,
        bound: Duration,
        launch: impl FnOnce(oneshot::Sender<T>),
    ) -> Result<T, Late> {
        if let Some(late) = self.wait(bound).await {
            return Err(late);
        }
        let (sender, receiver) = oneshot::channel();
        launch(sender);
        let receiver = self.0.insert(receiver);
        let Ok(answer) = timeout(bound, receiver).await else { return Err(Late::NoAnswer) };
        self.0 = None;
        answer.map_err(|_| Late::Broken)
    }

    /// Waits for what was asked before, if it is under way.
    pub(crate) async fn wait(&mut self, bound: Duration) -> Option<Late> {
        let receiver = self.0.as_mut()?;
        let Ok(answer) = timeout(bound, receiver).await else { return Some(Late::NoAnswer) };
        self.0 = None;
        Some(if answer.is_ok() { Late::Slow } else { Late::Broken })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

    #[tokio::test]
    async fn jobs_that_hang_delay_no_other_and_threads_are_used_again() {
        let all = async {
            let threads = Threads::default();
            let (release, hangs) = mpsc::channel::<()>();
            let hangs = Arc::new(Mutex::new(hangs));
            for round in 0..100 {
                if round < 5 {
                    let hangs = Arc::clone(&hangs);
                    threads.run(move || {
                        let _ = hangs.lock().unwrap().recv();
                    });
                }
                let (done, finished) = oneshot::channel();
                threads.run(move || done.send(round).unwrap());
                let answer = timeout(Duration::from_secs(10), finished).await;
                assert_eq!(answer.expect("it does not wait for what hangs"), Ok(round));
            }
            let idle = || lock(&threads.pool).idle;
            crate::testing::until("idle threads", Duration::from_secs(10), || idle() > 0);
            println!("{} idle beside 5 that hang", idle());
            drop(release);
            crate::testing::until("all idle", Duration::from_secs(10), || idle() >= 6);
        };
        tokio::task::LocalSet::new().run_until(all).await;
    }

    #[tokio::test]
    async fn what_is_late_is_not_started_again() {
        let mut flight = Flight::new();
        let mut senders = Vec::new();
        let bound = Duration::from_millis(5);
        for _ in 0..3 {
            let late = flight.take(bound, |sender| senders.push(sender)).await;
            assert_eq!(late, Err(Late::NoAnswer));
        }
        assert_eq!(senders.len(), 1);
        senders.remove(0).send(7).unwrap();
        assert_eq!(flight.take(bound, |_| panic!("one is under way")).await, Err(Late::Slow));
        let answer = flight.take(bound, |sender| sender.send(8).unwrap()).await;
        assert_eq!(answer, Ok(8));
        assert_eq!(flight.take(bound, drop).await, Err(Late::Broken));
    }
}

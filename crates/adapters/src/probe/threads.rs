//! Threads for what the kernel may block for ever: files of a dead mount, names, starting a program.
//!
//! A job never waits for another: there is an idle thread for it, or a new one. What hangs keeps its thread until
//! the kernel lets go; since every probe has at most one job in flight ([`Flight`]), that many threads are the most
//! there can be.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// An idle thread ends after this long.
const IDLE_MAX: Duration = Duration::from_secs(30);
/// The resolver of the C library is the deepest of what runs here; only what is used takes room.
const STACK: usize = 256 << 10;

type Job = Box<dyn FnOnce() + Send>;

/// The threads of this process.
#[derive(Clone, Default)]
pub(crate) struct Threads(Arc<Pool>);

#[derive(Default)]
struct Pool {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    /// Never more than there are idle threads.
    jobs: VecDeque<Job>,
    idle: usize,
}

impl Threads {
    /// Runs the job at once, on a thread of its own.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        let job: Job = Box::new(job);
        let mut state = lock(&self.0);
        if state.jobs.len() < state.idle {
            state.jobs.push_back(job);
            drop(state);
            self.0.wake.notify_one();
            return;
        }
        drop(state);
        let pool = Arc::clone(&self.0);
        let thread = std::thread::Builder::new().name("look".into()).stack_size(STACK);
        // Without a thread the job is dropped, and with it its sender: whoever waits is told.
        let _ = thread.spawn(move || work(&pool, job));
    }
}

fn work(pool: &Pool, first: Job) {
    first();
    loop {
        let mut state = lock(pool);
        let job = loop {
            if let Some(job) = state.jobs.pop_front() {
                break job;
            }
            state.idle += 1;
            let waited = pool.wake.wait_timeout(state, IDLE_MAX);
            let (woken, late) = waited.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            state.idle -= 1;
            if late.timed_out() && state.jobs.is_empty() {
                return;
            }
        };
        drop(state);
        job();
    }
}

fn lock(pool: &Pool) -> std::sync::MutexGuard<'_, State> {
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

    #[test]
    fn a_job_that_hangs_delays_no_other_and_threads_are_used_again() {
        let threads = Threads::default();
        let (release, hangs) = mpsc::channel::<()>();
        threads.run(move || {
            let _ = hangs.recv();
        });
        let (done, finished) = mpsc::channel();
        for _ in 0..100 {
            let done = done.clone();
            threads.run(move || done.send(std::thread::current().id()).unwrap());
            finished.recv_timeout(Duration::from_secs(10)).unwrap();
            crate::testing::until("an idle thread", Duration::from_secs(10), || {
                lock(&threads.0).idle > 0
            });
        }
        assert_eq!(lock(&threads.0).idle, 1);
        drop(release);
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

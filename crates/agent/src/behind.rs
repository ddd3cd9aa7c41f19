//! Work that must delay nobody: a thread of its own does it, in order. The queue is bounded; what finds it full is
//! dropped and counted, and the count is delivered once the queue is worked off.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

/// How often [`Behind::settle`] looks.
const LOOK: Duration = Duration::from_millis(1);

/// What the thread does with the items.
pub(crate) trait Sink<T>: Send + 'static {
    /// One item, in the order in which they were put. It may take as long as it likes.
    fn take(&mut self, item: T);

    /// So many items found the queue full since this was called last.
    fn dropped(&mut self, count: u64);
}

/// The way to the thread, which ends with the last of its clones.
pub(crate) struct Behind<T> {
    queue: Option<SyncSender<T>>,
    counts: Arc<Counts>,
}

impl<T> Clone for Behind<T> {
    fn clone(&self) -> Behind<T> {
        Behind { queue: self.queue.clone(), counts: Arc::clone(&self.counts) }
    }
}

#[derive(Default)]
struct Counts {
    /// Put and not dealt with yet.
    open: AtomicU64,
    dropped: AtomicU64,
}

impl<T: Send + 'static> Behind<T> {
    /// Starts the thread, with room for so many items. Without a thread every item is dropped.
    pub(crate) fn start(name: &str, room: usize, sink: impl Sink<T>) -> Behind<T> {
        let (queue, items) = sync_channel(room);
        let counts = Arc::<Counts>::default();
        let of_thread = Arc::clone(&counts);
        let thread = std::thread::Builder::new().name(name.to_owned());
        let started = thread.spawn(move || run(&items, &of_thread, sink));
        Behind { queue: started.is_ok().then_some(queue), counts }
    }

    /// Hands an item over, and waits for nothing.
    pub(crate) fn put(&self, item: T) {
        self.counts.open.fetch_add(1, Ordering::AcqRel);
        let put = self.queue.as_ref().is_some_and(|queue| queue.try_send(item).is_ok());
        if !put {
            self.counts.open.fetch_sub(1, Ordering::AcqRel);
            self.counts.dropped.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// Waits until everything put so far is dealt with, at most so long; whether it is.
    pub(crate) fn settle(&self, bound: Duration) -> bool {
        let began = Instant::now();
        while self.counts.open.load(Ordering::Acquire) > 0 {
            if began.elapsed() >= bound {
                return false;
            }
            std::thread::sleep(LOOK);
        }
        true
    }
}

fn run<T>(items: &Receiver<T>, counts: &Counts, mut sink: impl Sink<T>) {
    for item in items {
        sink.take(item);
        // The last one open is this one: the queue is worked off.
        if counts.open.load(Ordering::Acquire) == 1 {
            let dropped = counts.dropped.swap(0, Ordering::AcqRel);
            if dropped > 0 {
                sink.dropped(dropped);
            }
        }
        counts.open.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    /// Notes what it gets; each item waits for the gate.
    #[derive(Clone, Default)]
    struct Noted {
        gate: Arc<Mutex<()>>,
        lines: Arc<Mutex<Vec<String>>>,
    }

    impl Sink<u32> for Noted {
        fn take(&mut self, item: u32) {
            let _open = self.gate.lock().unwrap();
            self.lines.lock().unwrap().push(item.to_string());
        }

        fn dropped(&mut self, count: u64) {
            self.lines.lock().unwrap().push(format!("{count} dropped"));
        }
    }

    #[test]
    fn who_puts_waits_for_nothing_and_what_was_dropped_is_counted_once_it_goes_on() {
        let noted = Noted::default();
        let behind = Behind::start("behind", 2, noted.clone());
        let shut = noted.gate.lock().unwrap();
        // One is in the hands of the thread, or about to be; the queue has room for two more.
        for item in 0..20 {
            behind.put(item);
        }
        assert!(!behind.settle(Duration::from_millis(5)), "nothing was taken yet");
        drop(shut);
        assert!(behind.settle(Duration::from_secs(10)));
        let lines = noted.lines.lock().unwrap().clone();
        let (last, taken) = lines.split_last().unwrap();
        assert_eq!(last, &format!("{} dropped", 20 - taken.len()));
        assert_eq!(taken[..2], ["0", "1"]);
        behind.put(20);
        assert!(behind.settle(Duration::from_secs(10)));
        assert_eq!(noted.lines.lock().unwrap().last().unwrap(), "20");
    }
}

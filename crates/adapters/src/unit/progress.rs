//! Does a unit that is being started get on? A database that recovers after a crash reads and writes for minutes or
//! hours, and tells systemd how far it is; one that hangs does neither.

use super::cgroup;
use rustix::process::Pid;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What can be seen of a unit from outside.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Seen {
    /// Bytes that each of its processes has read and written so far (proc_pid_io(5)): its log, its files, its pipes.
    pub(super) moved: BTreeMap<i32, u64>,
    /// What it told systemd last (`STATUS=` of sd_notify(3)); it comes with what extends the start's own timeout.
    pub(super) words: String,
}

impl Seen {
    /// Of the processes in this cgroup; none can be read if there are none.
    pub(super) fn of(cgroup: &str, words: String) -> Seen {
        let inhabitants = cgroup::inhabitants(cgroup).unwrap_or_default();
        let moved = inhabitants.into_iter().filter_map(|pid| Some((pid.as_raw_pid(), moved(pid)?)));
        Seen { moved: moved.collect(), words }
    }
}

/// All that a process has read and written; what bypasses the page cache is counted by the disk's own lines.
fn moved(pid: Pid) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{}/io", pid.as_raw_pid())).ok()?;
    Some(sum(&text))
}

fn sum(text: &str) -> u64 {
    let counted = ["rchar", "wchar", "read_bytes", "write_bytes"];
    let lines = text.lines().filter_map(|line| line.split_once(": "));
    lines
        .filter(|(name, _)| counted.contains(name))
        .filter_map(|(_, n)| n.parse::<u64>().ok())
        .sum()
}

/// Since when a start has got no further.
pub(super) struct Progress {
    seen: Seen,
    since: Instant,
    patience: Duration,
}

impl Progress {
    pub(super) fn begin(patience: Duration, now: Instant) -> Progress {
        Progress { seen: Seen::default(), since: now, patience }
    }

    /// Takes a look; did anything move since the last one? A process that came or went is a step as well.
    pub(super) fn look(&mut self, seen: Seen, now: Instant) -> bool {
        let moves = seen != self.seen;
        if moves {
            (self.seen, self.since) = (seen, now);
        }
        moves
    }

    /// How far it is, for people.
    pub(super) fn text(&self) -> String {
        let mebibytes = self.seen.moved.values().sum::<u64>() >> 20;
        match self.seen.words.as_str() {
            "" => format!("{mebibytes} MiB read and written so far"),
            words => format!("{words} ({mebibytes} MiB read and written so far)"),
        }
    }

    /// What it said last, for an error.
    pub(super) fn last_words(&self) -> String {
        match self.seen.words.as_str() {
            "" => String::new(),
            words => format!(" (its last word: {words})"),
        }
    }

    /// Nothing has moved for longer than anybody should wait.
    pub(super) fn is_stuck(&self, now: Instant) -> bool {
        now.duration_since(self.since) >= self.patience
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_of_a_process_are_summed() {
        let text = "rchar: 10\nwchar: 20\nsyscr: 7\nsyscw: 8\nread_bytes: 30\nwrite_bytes: 40\n\
                    cancelled_write_bytes: 5\n";
        assert_eq!(sum(text), 100);
        let own = Pid::from_raw(std::process::id().try_into().expect("a pid")).expect("not 0");
        assert!(moved(own).is_some_and(|bytes| bytes > 0), "this process has read itself");
    }

    #[test]
    fn whoever_reads_or_speaks_is_not_stuck_and_whoever_does_neither_is() {
        let (begun, second) = (Instant::now(), Duration::from_secs(1));
        let seen =
            |bytes, words: &str| Seen { moved: BTreeMap::from([(7, bytes)]), words: words.into() };
        let mut progress = Progress::begin(second * 10, begun);
        assert!(progress.look(seen(1, ""), begun + second));
        assert!(progress.look(seen(2, ""), begun + second * 9));
        assert!(!progress.look(seen(2, ""), begun + second * 15));
        assert!(!progress.is_stuck(begun + second * 18));
        assert!(progress.look(seen(2, "recovering"), begun + second * 18));
        assert!(!progress.is_stuck(begun + second * 27));
        assert!(progress.is_stuck(begun + second * 28));
    }
}

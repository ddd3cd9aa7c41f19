//! What the journal of systemd gets: one line per change of state, with its priority (sd-daemon(3)).
//!
//! A thread of its own writes. The lease thread, the register's and those of the links all have something to say, and
//! a journal whose disk hangs must not stop them.

use crate::behind::{Behind, Sink};
use std::io::Write;
use std::sync::OnceLock;
use std::time::Duration;

/// A line longer than this is cut: it quotes somebody else.
const LENGTH_MAX: usize = 2000;

/// What may wait for the journal: a busy minute of an agent that says something at every turn.
const QUEUE: usize = 1024;

/// How long the end of the process waits for the journal.
const END: Duration = Duration::from_millis(500);

/// What an operator would tell a colleague.
pub fn info(text: &str) {
    line(6, text);
}

/// Something is degraded, and is being mended.
pub fn warning(text: &str) {
    line(4, text);
}

/// Wakes somebody.
pub fn alarm(text: &str) {
    line(2, text);
}

/// Before the process ends, or executes itself: waits for the lines on their way, but not for a journal that hangs.
pub fn settle() {
    writer().settle(END);
}

fn line(priority: u8, text: &str) {
    writer().put(format(priority, text));
}

fn format(priority: u8, text: &str) -> String {
    let mut out = String::new();
    for part in text.lines() {
        let part: String = part.chars().take(LENGTH_MAX).collect();
        out.push_str(&format!("<{priority}>{part}\n"));
    }
    out
}

/// One for the process, from its first line on.
fn writer() -> &'static Behind<String> {
    static WRITER: OnceLock<Behind<String>> = OnceLock::new();
    WRITER.get_or_init(|| Behind::start("log", QUEUE, Lines(std::io::stderr())))
}

struct Lines<W>(W);

impl<W: Write + Send + 'static> Sink<String> for Lines<W> {
    fn take(&mut self, lines: String) {
        // A log that cannot be written is no reason to stop.
        self.0.write_all(lines.as_bytes()).ok();
    }

    fn dropped(&mut self, count: u64) {
        self.take(format(
            4,
            &format!("{count} messages of regent are missing here: the journal was full"),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{BufRead, BufReader};

    #[test]
    fn a_journal_that_hangs_holds_nobody_up_and_gets_the_count_of_what_it_missed() {
        let (read, write) = std::io::pipe().unwrap();
        let lines = Behind::start("log", 8, Lines(write));
        // A pipe holds 64 KiB: the thread is stuck long before the end.
        let text = "x".repeat(LENGTH_MAX);
        for _ in 0..200 {
            lines.put(format(6, &text));
        }
        assert!(!lines.settle(Duration::from_millis(20)), "the pipe took everything");
        // Told each time the queue is worked off, so perhaps more than once.
        let mut told = 0;
        let mut texts = BufReader::new(read).lines().map(Result::unwrap);
        while told < 200 {
            let line = texts.next().unwrap();
            let missing = line.strip_prefix("<4>").and_then(|line| line.split_once(' '));
            told += missing.map_or(1, |(count, _)| count.parse().unwrap());
        }
        assert_eq!(told, 200);
    }
}

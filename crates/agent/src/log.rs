//! What the journal of systemd gets: one line per change of state, with its priority (sd-daemon(3)).

use std::io::Write;

/// A line longer than this is cut: it quotes somebody else.
const LENGTH_MAX: usize = 2000;

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

fn line(priority: u8, text: &str) {
    let mut out = String::new();
    for part in text.lines() {
        let part: String = part.chars().take(LENGTH_MAX).collect();
        out.push_str(&format!("<{priority}>{part}\n"));
    }
    // A log that cannot be written is no reason to stop.
    std::io::stderr().write_all(out.as_bytes()).ok();
}

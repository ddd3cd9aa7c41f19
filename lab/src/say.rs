//! What a person reads while the lab works: lines with the time since the start, and one line
//! of progress that is rewritten on a terminal and thinned out elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::run::now_us;

/// Without a terminal a progress line is printed at most this often.
const QUIET_US: u64 = 5_000_000;

static START: OnceLock<u64> = OnceLock::new();
static LAST: Mutex<Progress> = Mutex::new(Progress { shown: false, at: 0 });

struct Progress {
    shown: bool,
    at: u64,
}

/// Sets the zero of the timeline; the first call counts.
pub fn start() -> u64 {
    *START.get_or_init(now_us)
}

/// A line of the timeline, dated now.
pub fn line(text: &str) {
    line_at(now_us(), text);
}

/// A line of the timeline with the date of the event it tells.
pub fn line_at(at_us: u64, text: &str) {
    let seconds = at_us.saturating_sub(start()) as f64 / 1e6;
    plain(&format!("{seconds:9.3}  {text}"));
}

/// A line without a date.
pub fn plain(text: &str) {
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let mut out = std::io::stdout().lock();
    if last.shown {
        let _ = write!(out, "\r\x1b[K");
        last.shown = false;
    }
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// A passing remark about work under way.
pub fn progress(text: &str) {
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let mut out = std::io::stdout().lock();
    if out.is_terminal() {
        let short: String = text.chars().take(96).collect();
        let _ = write!(out, "\r\x1b[K           {short}");
        last.shown = true;
    } else if now_us().saturating_sub(last.at) > QUIET_US {
        let _ = writeln!(out, "           {text}");
        last.at = now_us();
    }
    let _ = out.flush();
}

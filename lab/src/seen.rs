//! What the clients in the client's namespace see, a line for each; what they attempt; and how long a look may take.

use crate::service::Service;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::time::Duration;

/// A look that takes longer has failed.
pub const LOOK_LIMIT: Duration = Duration::from_millis(250);

/// Who wrote a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Writer {
    /// The client with 100 rows a second, through the VIP.
    Client,
    /// The impatient prober, through the VIP.
    Attempt,
    /// The prober of this node's own address.
    Direct(String),
    /// A clerk of the bank, through the VIP.
    Bank,
}

/// One thing that was seen; times are CLOCK_MONOTONIC in microseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Seen {
    /// A write ended.
    Write {
        /// Whose it was.
        by: Writer,
        /// The row's key.
        id: u64,
        /// Before it was sent.
        sent: u64,
        /// After its end was known.
        done: u64,
        /// Whether the database acknowledged it.
        ok: bool,
        /// Why not.
        error: Option<String>,
    },
    /// A call ended.
    Http {
        /// Which one.
        what: String,
        /// Before it was sent.
        sent: u64,
        /// After its end was known.
        done: u64,
        /// Whether it was answered well.
        ok: bool,
        /// Why not.
        error: Option<String>,
    },
    /// A speaker of the VIP was heard from `first` to `last`, with nobody else between.
    Frames {
        /// Its hardware address.
        mac: String,
        /// When its first frame came.
        first: u64,
        /// When its last one came.
        last: u64,
        /// How many they were.
        count: u64,
    },
    /// A node's service began to be well, or to be not well, at its own address.
    Well {
        /// Whose.
        node: String,
        /// Which.
        service: Service,
        /// When the first look of this kind was sent, or, if it is well, answered.
        at: u64,
        /// Which of the two.
        ok: bool,
    },
    /// The capture is under way.
    Listening {
        /// Since when.
        at: u64,
    },
}

/// Prints a line for the recorder; the end of the reader is the end of this process.
pub fn emit(seen: &Seen) {
    let mut out = std::io::stdout().lock();
    let line = serde_json::to_string(seen).unwrap_or_default();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

/// What the prober attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attempt {
    /// An autocommitted row.
    Write,
    /// GET /health of the management service.
    Http,
}

impl Attempt {
    /// The word on standard input.
    pub fn word(self) -> &'static str {
        match self {
            Attempt::Write => "write",
            Attempt::Http => "http",
        }
    }
}

//! Why a program did not do what it was asked.

use std::time::Duration;

/// Why a program did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It is not there, or may not be started.
    #[error("start {program}: {source}")]
    NotStarted {
        /// Which program.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// It took too long and was killed.
    #[error("{command}: killed after {} ms", bound.as_millis())]
    TooLong {
        /// The whole command.
        command: String,
        /// How long it had.
        bound: Duration,
    },
    /// It said no.
    #[error("{command}: exit {code:?}: {said}")]
    Refused {
        /// The whole command.
        command: String,
        /// Its exit code; none if a signal ended it.
        code: Option<i32>,
        /// What it wrote to stderr.
        said: String,
    },
}

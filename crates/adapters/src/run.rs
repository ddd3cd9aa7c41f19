//! The only place that starts a process and waits for it: bounded in time, with a transcript on error.

mod error;
mod program;
pub(crate) mod running;

pub use error::RunError;
pub use program::{Ended, Program};

use std::time::Duration;

/// Runs a program with this input and returns what it wrote to stdout; killed after `bound`, with what it started.
pub fn run(
    program: &str,
    arguments: &[&str],
    input: &str,
    bound: Duration,
) -> Result<String, RunError> {
    let command = || format!("{program} {}", arguments.join(" "));
    let asked = Program {
        path: program.to_owned(),
        arguments: arguments.iter().map(|&argument| argument.to_owned()).collect(),
        environment: Vec::new(),
        input: input.as_bytes().to_vec(),
    };
    let ended = asked.run(bound).map_err(|error| match error {
        RunError::TooLong { bound, .. } => RunError::TooLong { command: command(), bound },
        error @ (RunError::NotStarted { .. } | RunError::Refused { .. }) => error,
    })?;
    match ended.code {
        Some(0) => Ok(ended.out),
        code => {
            let said = ended.said.trim().to_owned();
            Err(RunError::Refused { command: command(), code, said })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn input_goes_in_and_output_comes_out() {
        let out = run("cat", &[], "through", Duration::from_secs(5)).unwrap();
        assert_eq!(out, "through");
    }

    #[test]
    fn a_refusal_carries_the_transcript() {
        let error = run("sh", &["-c", "echo why >&2; exit 3"], "", Duration::from_secs(5));
        assert_eq!(error.unwrap_err().to_string(), "sh -c echo why >&2; exit 3: exit Some(3): why");
    }

    #[test]
    fn a_program_that_hangs_is_killed() {
        let started = Instant::now();
        let error = run("sleep", &["60"], "", Duration::from_millis(50)).unwrap_err();
        assert!(matches!(error, RunError::TooLong { .. }), "{error}");
        assert!(started.elapsed() < Duration::from_secs(10));
    }

    /// A mount helper leaves its daemon behind, with the pipes of whoever mounted.
    #[test]
    fn a_daemon_that_keeps_the_pipes_is_not_waited_for() {
        let started = Instant::now();
        let line = "setsid sleep 60 & echo mounted";
        assert_eq!(run("sh", &["-c", line], "", Duration::from_secs(30)).unwrap(), "mounted\n");
        assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    }

    #[test]
    fn a_missing_program_is_named() {
        let error = run("no-such-program", &[], "", Duration::from_secs(1)).unwrap_err();
        assert!(error.to_string().contains("no-such-program"), "{error}");
    }
}

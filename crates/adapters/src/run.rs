//! The only place that starts a process and waits for it: bounded in time, with a transcript on error.

mod group;

pub use group::{Ended, Program};

use crate::netlink::readable;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

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

/// Runs a program with this input and returns what it wrote to stdout; killed after `bound`.
pub fn run(
    program: &str,
    arguments: &[&str],
    input: &str,
    bound: Duration,
) -> Result<String, RunError> {
    let not_started = |source| RunError::NotStarted { program: program.to_owned(), source };
    let mut child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(not_started)?;
    let stdin = child.stdin.take();
    let bytes = input.as_bytes().to_vec();
    // A program that does not read its input is judged by its exit code, so a failed write is no error.
    let writer = std::thread::spawn(move || stdin.map(|mut s| s.write_all(&bytes)));
    let stdout = reader(child.stdout.take());
    let stderr = reader(child.stderr.take());
    let ended = ends_within(&child, bound).map_err(not_started)?;
    if !ended {
        child.kill().map_err(not_started)?;
    }
    let status = child.wait().map_err(not_started)?;
    let command = || format!("{program} {}", arguments.join(" "));
    if !ended {
        return Err(RunError::TooLong { command: command(), bound });
    }
    drop(writer.join());
    let out = stdout.join().unwrap_or_default();
    let said = stderr.join().unwrap_or_default();
    if status.success() {
        return Ok(out);
    }
    Err(RunError::Refused { command: command(), code: status.code(), said: said.trim().to_owned() })
}

fn reader<R: Read + Send + 'static>(from: Option<R>) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut from) = from {
            // What was read before an error is still worth telling.
            let _ = from.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn ends_within(child: &Child, bound: Duration) -> std::io::Result<bool> {
    let deadline = Instant::now() + bound;
    let pid = Pid::from_raw(child.id() as i32).ok_or(std::io::ErrorKind::NotFound)?;
    let fd = pidfd_open(pid, PidfdFlags::empty())?;
    Ok(readable(fd.as_fd(), deadline)?)
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_missing_program_is_named() {
        let error = run("no-such-program", &[], "", Duration::from_secs(1)).unwrap_err();
        assert!(error.to_string().contains("no-such-program"), "{error}");
    }
}

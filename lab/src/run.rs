//! Starts processes and waits for conditions. Promises that nothing here waits without a bound,
//! and that Ctrl-C ends every wait, so that the lab's clean-up always runs.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Step between two looks at a condition; small against what is waited for.
const STEP: Duration = Duration::from_millis(10);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Makes Ctrl-C and SIGTERM end the current wait with an error instead of ending the process.
pub fn catch_interrupts() -> Result<()> {
    std::thread::Builder::new().name("signals".into()).spawn(|| {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
            return;
        };
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut int), Ok(mut term)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return;
            };
            loop {
                tokio::select! { _ = int.recv() => {}, _ = term.recv() => {} }
                INTERRUPTED.store(true, Ordering::SeqCst);
            }
        });
    })?;
    Ok(())
}

/// Whether somebody asked the lab to end.
pub fn is_interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Waits until `look` returns a value; an error names `what` and the bound.
pub fn wait_for<T>(
    what: &str,
    bound: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    wait_through(what, bound, || {
        let found = look()?;
        if found.is_none() && is_interrupted() {
            bail!("interrupted while waiting for {what}");
        }
        Ok(found)
    })
}

/// `wait_for` that Ctrl-C does not end: for clean-up.
pub fn wait_through<T>(
    what: &str,
    bound: Duration,
    mut look: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = look()? {
            return Ok(value);
        }
        if start.elapsed() > bound {
            bail!("{what}: not so after {:.1} s", bound.as_secs_f64());
        }
        std::thread::sleep(STEP);
    }
}

/// Runs to the end within the bound, whatever its exit code.
pub fn output(command: &mut Command, bound: Duration) -> Result<Output> {
    let shown = format!("{command:?}");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().with_context(|| format!("cannot start {shown}"))?;
    let mut out = child.stdout.take().context("no stdout")?;
    let mut err = child.stderr.take().context("no stderr")?;
    let read_out = std::thread::spawn(move || {
        let mut buffer = Vec::new();
        let _ = out.read_to_end(&mut buffer);
        buffer
    });
    let read_err = std::thread::spawn(move || {
        let mut buffer = Vec::new();
        let _ = err.read_to_end(&mut buffer);
        buffer
    });
    let start = Instant::now();
    let mut pause = Duration::from_micros(200);
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > bound {
            let _ = child.kill();
            let _ = child.wait();
            bail!("{shown}: no end after {:.1} s", bound.as_secs_f64());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(STEP);
    };
    let stdout = read_out.join().unwrap_or_default();
    let stderr = read_err.join().unwrap_or_default();
    Ok(Output { status, stdout, stderr })
}

/// Runs to a successful end within ten seconds and returns what it printed.
pub fn run(command: &mut Command) -> Result<String> {
    run_within(command, Duration::from_secs(10))
}

/// Runs to a successful end within the bound and returns what it printed.
pub fn run_within(command: &mut Command, bound: Duration) -> Result<String> {
    let shown = format!("{command:?}");
    let output = output(command, bound)?;
    if !output.status.success() {
        bail!(
            "{shown}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A command from its words, split at blanks: for the fixed command lines of this crate.
pub fn words(line: &str) -> Command {
    let mut parts = line.split_whitespace();
    let mut command = Command::new(parts.next().unwrap_or("false"));
    command.args(parts);
    command
}

/// `run(words(line))`.
pub fn sh(line: &str) -> Result<String> {
    run(&mut words(line))
}

/// CLOCK_MONOTONIC in microseconds: one clock for every process of the lab.
pub fn now_us() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    (time.tv_sec as u64) * 1_000_000 + (time.tv_nsec as u64) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_at_its_bound_and_names_what_it_waited_for() {
        let error = wait_for("the moon", Duration::from_millis(30), || Ok(None::<()>));
        assert!(error.unwrap_err().to_string().contains("the moon: not so after"));
    }

    #[test]
    fn a_command_that_does_not_end_is_ended() {
        let start = Instant::now();
        let error = output(&mut words("sleep 30"), Duration::from_millis(50));
        assert!(error.is_err());
        assert!(start.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn a_failing_command_shows_what_it_said() {
        let error = run(Command::new("sh").args(["-c", "echo why >&2; exit 3"])).unwrap_err();
        assert!(error.to_string().contains("why"), "{error}");
    }
}

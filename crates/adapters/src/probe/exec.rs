//! Programs: run in a process group of their own, killed whole when their time is over.

use crate::probe::result::CheckResult;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::collections::HashSet;
use std::io::{self, PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// After SIGKILL a program is gone within this time, unless the kernel holds it.
pub(crate) const DEATH_MAX: Duration = Duration::from_millis(100);
/// Of the output this much is kept; the rest is read and dropped, so that no program waits for us.
const OUTPUT_MAX: usize = 1024;
/// A pipe holds 64 KiB, which is that many readings.
const LAST_WORDS: usize = 16;
/// And of its first line as much as this is told.
const LINE_MAX: usize = 200;

/// The groups that run, so that none outlives the prober.
#[derive(Clone, Default)]
pub(crate) struct Groups(Arc<Mutex<HashSet<i32>>>);

impl Groups {
    /// Kills all.
    pub(crate) fn kill(&self) {
        for group in self.lock().iter() {
            kill(*group);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<i32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs it once. Blocks for at most `bound` and a moment more, unless the kernel holds the program.
pub(crate) fn look(command: &[String], groups: &Groups, bound: Duration) -> CheckResult {
    let deadline = Instant::now() + bound;
    let Some(program) = command.first() else {
        return CheckResult::Unknown("no program is named".into());
    };
    let (child, output) = match start(program, &command[1..]) {
        Ok(started) => started,
        Err(error) => return CheckResult::Failed(format!("{program} cannot be started: {error}")),
    };
    let group = child.id() as i32;
    groups.lock().insert(group);
    let ended = wait(child, output, group, deadline);
    groups.lock().remove(&group);
    match ended {
        Ok((Some(status), _)) if status.success() => CheckResult::Passed,
        Ok((Some(status), output)) => CheckResult::Failed(words(status, &output)),
        Ok((None, output)) => {
            let said = line(&output).map(|line| format!(": {line}")).unwrap_or_default();
            CheckResult::Failed(format!("killed after {} ms{said}", bound.as_millis()))
        }
        Err(error) => CheckResult::Unknown(format!("{program} could not be watched: {error}")),
    }
}

fn start(program: &str, arguments: &[String]) -> io::Result<(Child, PipeReader)> {
    let (output, end) = io::pipe()?;
    let child = Command::new(program)
        .args(arguments)
        .env("LC_ALL", "C")
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(end.try_clone()?)
        .stderr(end)
        .process_group(0)
        .spawn()?;
    Ok((child, output))
}

/// Its status, if it ended by itself, and the beginning of what it said. Whatever it left behind in its group is
/// killed before its number can be another's.
fn wait(
    mut child: Child,
    mut output: PipeReader,
    group: i32,
    deadline: Instant,
) -> io::Result<(Option<ExitStatus>, Vec<u8>)> {
    let pid = Pid::from_raw(group).ok_or(Errno::SRCH)?;
    let ends = pidfd_open(pid, PidfdFlags::empty());
    let mut said = Vec::new();
    let ended = match &ends {
        Ok(ends) => listen(ends, &mut output, &mut said, deadline),
        Err(error) => Err(*error),
    };
    kill(group);
    let status = child.wait()?;
    Ok((ended?.then_some(status), said))
}

/// Reads until it ends, true, or the deadline.
fn listen(
    ends: &OwnedFd,
    output: &mut PipeReader,
    said: &mut Vec<u8>,
    deadline: Instant,
) -> Result<bool, Errno> {
    let mut is_open = true;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let end = PollFd::from_borrowed_fd(ends.as_fd(), PollFlags::IN);
        let words = PollFd::from_borrowed_fd(output.as_fd(), PollFlags::IN);
        let mut both = [end, words];
        let watched = if is_open { &mut both[..] } else { &mut both[..1] };
        match poll(watched, Some(&left)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        let [end, words] = both.map(|fd| !fd.revents().is_empty());
        if is_open && words {
            is_open = read(output, said);
        }
        if end {
            // What it said last is there by now; what others of its group still say is not awaited.
            for _ in 0..LAST_WORDS {
                let now = Timespec { tv_sec: 0, tv_nsec: 0 };
                let mut words = [PollFd::from_borrowed_fd(output.as_fd(), PollFlags::IN)];
                if !is_open || poll(&mut words, Some(&now))? == 0 {
                    break;
                }
                is_open = read(output, said);
            }
            return Ok(true);
        }
    }
}

/// Reads what is there; false at the end.
fn read(output: &mut PipeReader, said: &mut Vec<u8>) -> bool {
    let mut part = [0; 4096];
    let count = output.read(&mut part).unwrap_or(0);
    let room = OUTPUT_MAX - said.len();
    said.extend_from_slice(&part[..count.min(room)]);
    count > 0
}

fn kill(group: i32) {
    if let Some(group) = Pid::from_raw(group) {
        // It may be gone.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

fn words(status: ExitStatus, output: &[u8]) -> String {
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    };
    match line(output) {
        Some(line) => format!("{how}: {line}"),
        None => how,
    }
}

/// The first line that says something, without what a terminal would obey.
fn line(output: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(output);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty())?;
    Some(line.chars().filter(|c| !c.is_control()).take(LINE_MAX).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str, bound: u64) -> CheckResult {
        let command = ["/bin/sh", "-c", script].map(str::to_owned);
        look(&command, &Groups::default(), Duration::from_millis(bound))
    }

    fn failed(why: &str) -> CheckResult {
        CheckResult::Failed(why.to_owned())
    }

    #[test]
    fn a_program_passes_or_says_why_not() {
        assert_eq!(run("echo fine", 10_000), CheckResult::Passed);
        assert_eq!(run("exit 3", 10_000), failed("exit 3"));
        let said = run("echo; echo '  two replicas lag'; echo more; exit 1", 10_000);
        assert_eq!(said, failed("exit 1: two replicas lag"));
        assert_eq!(run("echo no >&2; kill -9 $$", 10_000), failed("ended by signal 9: no"));
        let missing = look(&["/no/such".into()], &Groups::default(), Duration::from_secs(1));
        let CheckResult::Failed(why) = missing else { panic!("{missing:?}") };
        assert!(why.starts_with("/no/such cannot be started: No such file"), "{why}");
    }

    #[test]
    fn output_without_end_is_bounded_and_delays_nobody() {
        let said = run("head -c 3000000 /dev/zero | tr '\\0' x; exit 2", 60_000);
        assert_eq!(said, failed(&format!("exit 2: {}", "x".repeat(LINE_MAX))));
    }

    #[test]
    fn a_program_that_hangs_is_killed_with_all_it_started() {
        let mark = std::env::temp_dir().join(format!("regent-exec-{}", std::process::id()));
        let script = format!("echo here; sleep 600 & echo $! > {}; wait", mark.display());
        assert_eq!(run(&script, 1000), failed("killed after 1000 ms: here"));
        let pid = std::fs::read_to_string(&mark).unwrap().trim().to_owned();
        std::fs::remove_file(mark).unwrap();
        crate::testing::until("the group gone", Duration::from_secs(10), || {
            crate::testing::is_gone(&pid)
        });
    }

    #[test]
    fn what_a_program_leaves_behind_goes_with_it_and_is_not_waited_for() {
        let mark = std::env::temp_dir().join(format!("regent-left-{}", std::process::id()));
        let script = format!("sleep 600 & echo $! > {}", mark.display());
        assert_eq!(run(&script, 30_000), CheckResult::Passed);
        let pid = std::fs::read_to_string(&mark).unwrap().trim().to_owned();
        std::fs::remove_file(mark).unwrap();
        crate::testing::until("the rest gone", Duration::from_secs(10), || {
            crate::testing::is_gone(&pid)
        });
    }
}

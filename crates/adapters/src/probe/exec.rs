//! Programs: run in a process group of their own, killed whole when their time is over.

use crate::probe::result::CheckResult;
use crate::run::running::{Finished, Outputs, Running};
use rustix::process::{Pid, Signal, kill_process_group};
use std::collections::HashSet;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// After SIGKILL a program is gone within this time, unless the kernel holds it.
pub(crate) const DEATH_MAX: Duration = Duration::from_millis(100);
/// Of the first line of its output as much as this is told.
const LINE_MAX: usize = 200;

/// The groups that run, so that none outlives the prober.
#[derive(Clone, Default)]
pub(crate) struct Groups(Arc<Mutex<HashSet<Pid>>>);

impl Groups {
    /// Kills all.
    pub(crate) fn kill(&self) {
        for group in self.lock().iter() {
            // It may be gone.
            kill_process_group(*group, Signal::KILL).ok();
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<Pid>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs it once. Blocks for at most `bound` and a moment more, unless the kernel holds the program: it is waited for
/// then, so that no second one is started beside it.
pub(crate) fn look(command: &[String], groups: &Groups, bound: Duration) -> CheckResult {
    let deadline = Instant::now() + bound;
    let Some((program, arguments)) = command.split_first() else {
        return CheckResult::Unknown("no program is named".into());
    };
    let mut inherits = Command::new(program);
    inherits.args(arguments).env("LC_ALL", "C").current_dir("/");
    let running = match Running::start(inherits, &[], Outputs::Together) {
        Ok(running) => running,
        Err(error) => return CheckResult::Failed(format!("{program} cannot be started: {error}")),
    };
    let group = running.group();
    groups.lock().insert(group);
    let ended = running.end(deadline, None);
    groups.lock().remove(&group);
    match ended {
        Ok(Finished { status: Some(status), .. }) if status.success() => CheckResult::Passed,
        Ok(Finished { status: Some(status), out, .. }) => CheckResult::Failed(words(status, &out)),
        Ok(Finished { status: None, out, .. }) => {
            let said = line(&out).map(|line| format!(": {line}")).unwrap_or_default();
            CheckResult::Failed(format!("killed after {} ms{said}", bound.as_millis()))
        }
        Err(error) => CheckResult::Unknown(format!("{program} could not be watched: {error}")),
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

//! The process: whether it lives, told to read its file again, started.

use crate::run::RunError;
use crate::unit::systemctl::systemctl;
use rustix::process::{Pid, Signal, kill_process};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The pid files that keepalived is told to write, beside the files that steer it.
const MAIN: &str = "main.pid";
const VRRP: &str = "vrrp.pid";
/// systemd waits for keepalived's own word that it is up.
const START_MAX: Duration = Duration::from_secs(10);

/// What the process does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Daemon {
    /// There is none.
    Gone,
    /// It is stopped (SIGSTOP, a debugger).
    Stopped,
    /// It is there.
    Runs,
}

/// The one whose pid files are in this directory: both its processes have to live.
pub(super) fn state(directory: &Path) -> Daemon {
    match (process(&directory.join(MAIN)), process(&directory.join(VRRP))) {
        (Some((_, 'T' | 't')), Some(_)) | (Some(_), Some((_, 'T' | 't'))) => Daemon::Stopped,
        (Some(_), Some(_)) => Daemon::Runs,
        (None, _) | (_, None) => Daemon::Gone,
    }
}

/// Its number and what it does, as /proc has it; none if it is not there or is not keepalived.
fn process(pid_file: &Path) -> Option<(Pid, char)> {
    let pid: i32 = std::fs::read_to_string(pid_file).ok()?.trim().parse().ok()?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, rest) = stat.rsplit_once(')')?;
    let state = rest.trim_start().chars().next()?;
    let is_alive = head.contains("(keepalived") && !matches!(state, 'Z' | 'X');
    Some((Pid::from_raw(pid)?, state)).filter(|_| is_alive)
}

/// Has it read its file again. It keeps what the old and the new one have in common. True if there is one.
pub(super) fn reload(directory: &Path) -> bool {
    let main = process(&directory.join(MAIN));
    main.is_some_and(|(pid, _)| kill_process(pid, Signal::HUP).is_ok())
}

/// One job of systemd on its unit.
pub(super) fn job(verb: &str, unit: &str) -> Result<(), RunError> {
    systemctl(&[verb, "--", unit], START_MAX).map(drop)
}

/// Where the program is; none where Debian's package is not installed.
pub(super) fn program() -> Option<PathBuf> {
    let known = ["/usr/sbin/keepalived", "/sbin/keepalived", "/usr/local/sbin/keepalived"];
    known.iter().map(PathBuf::from).find(|path| path.exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_under_a_stale_number_is_not_keepalived() {
        let directory = std::env::temp_dir().join(format!("regent-daemon-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        assert_eq!(state(&directory), Daemon::Gone);
        for file in [MAIN, VRRP] {
            std::fs::write(directory.join(file), format!("{}\n", std::process::id())).unwrap();
        }
        assert_eq!(state(&directory), Daemon::Gone);
        assert!(!reload(&directory));
        std::fs::remove_dir_all(directory).unwrap();
    }
}

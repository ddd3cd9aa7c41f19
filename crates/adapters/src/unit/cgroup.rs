//! Kills a unit whole, by its cgroup: also what has left its process group, and without asking systemd.

use super::error::UnitError;
use crate::Applied;
use regent_core::time::Span;
use rustix::process::{Pid, Signal, kill_process};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Between two looks: the end of the processes takes some milliseconds, mostly to give back their memory.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Where a service is, unless its file says otherwise. If it is there, systemd need not be asked.
pub(crate) fn usual(unit: &str) -> Result<Option<String>, UnitError> {
    let cgroup = format!("/system.slice/{unit}");
    Ok(directory(&cgroup)?.is_dir().then_some(cgroup))
}

/// The unit has processes, where a service usually has them.
pub(crate) fn is_inhabited(unit: &str) -> bool {
    let found = directory(&format!("/system.slice/{unit}")).and_then(|path| populated(&path));
    found.unwrap_or(false)
}

fn directory(cgroup: &str) -> Result<PathBuf, UnitError> {
    let path = PathBuf::from("/proc/self/mountinfo");
    let mounts = std::fs::read_to_string(&path).map_err(UnitError::file(&path))?;
    Ok(root(&mounts).join(cgroup.trim_start_matches('/')))
}

pub(crate) fn kill(unit: &str, cgroup: &str, bound: Span) -> Result<Applied, UnitError> {
    let deadline = Instant::now() + Duration::from_nanos(bound.0);
    let directory = directory(cgroup)?;
    let mut applied = Applied::AlreadySo;
    loop {
        if !populated(&directory)? {
            return Ok(applied);
        }
        if Instant::now() >= deadline {
            return Err(UnitError::TooLong { doing: "kill", unit: unit.to_owned(), bound });
        }
        applied = Applied::Changed;
        // Again each time: a process may have been added in between.
        strike(&directory)?;
        std::thread::sleep(LOOK_EVERY);
    }
}

/// The processes in a cgroup and below it.
pub(crate) fn inhabitants(cgroup: &str) -> Result<Vec<Pid>, UnitError> {
    processes(&directory(cgroup)?)
}

/// Where the cgroups are that systemd sorts processes into: the unified ones, or its own named hierarchy.
fn root(mounts: &str) -> PathBuf {
    let of = |kind: &str, option: &str| {
        mounts.lines().find_map(|line| {
            let (place, filesystem) = line.split_once(" - ")?;
            let mut filesystem = filesystem.split(' ');
            let fits = filesystem.next() == Some(kind) && filesystem.nth(1)?.contains(option);
            let point = fits.then(|| place.split(' ').nth(4))?;
            point.map(PathBuf::from)
        })
    };
    // With both, systemd may keep its processes in either; its own hierarchy is then the one that is sure.
    of("cgroup", "name=systemd")
        .or_else(|| of("cgroup2", ""))
        .unwrap_or_else(|| PathBuf::from("/sys/fs/cgroup"))
}

fn populated(directory: &Path) -> Result<bool, UnitError> {
    match std::fs::read_to_string(directory.join("cgroup.events")) {
        Ok(events) => Ok(!events.lines().any(|line| line == "populated 0")),
        Err(error) if is_gone(&error) => Ok(!processes(directory)?.is_empty()),
        Err(error) => Err(UnitError::file(&directory.join("cgroup.events"))(error)),
    }
}

fn strike(directory: &Path) -> Result<(), UnitError> {
    match std::fs::write(directory.join("cgroup.kill"), "1") {
        Ok(()) => return Ok(()),
        Err(error) if is_gone(&error) || error.kind() == ErrorKind::PermissionDenied => {}
        Err(error) => return Err(UnitError::file(&directory.join("cgroup.kill"))(error)),
    }
    // Kernels before 5.14, and the older hierarchy: one by one.
    for pid in processes(directory)? {
        match kill_process(pid, Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(UnitError::file(directory)(error.into())),
        }
    }
    Ok(())
}

fn processes(directory: &Path) -> Result<Vec<Pid>, UnitError> {
    let mut found = Vec::new();
    let mut pending = vec![directory.to_owned()];
    while let Some(directory) = pending.pop() {
        let path = directory.join("cgroup.procs");
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let pids = text.lines().filter_map(|line| line.parse().ok());
                found.extend(pids.filter_map(Pid::from_raw));
            }
            Err(error) if is_gone(&error) => continue,
            Err(error) => return Err(UnitError::file(&path)(error)),
        }
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        pending.extend(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()));
    }
    Ok(found)
}

/// The cgroup goes with its last process: ENOENT, or ENODEV of a file that was open.
fn is_gone(error: &std::io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hierarchy_of_systemd_is_found() {
        let unified = "30 24 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(root(unified), PathBuf::from("/sys/fs/cgroup"));
        let both = "31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
                    32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n";
        assert_eq!(root(both), PathBuf::from("/sys/fs/cgroup/systemd"));
        assert_eq!(root(""), PathBuf::from("/sys/fs/cgroup"));
    }

    #[test]
    fn nothing_to_kill_is_no_fault() {
        let applied = kill("a.service", "/no/such/cgroup", Span::millis(100)).unwrap();
        assert_eq!(applied, Applied::AlreadySo);
    }
}

//! Finds and removes what an earlier run left because it died before it could clean up. Promises
//! to touch only what a lab made: things under a run's directory, namespaces and control groups
//! that carry its name.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::dirs::{base_dir, remove_cgroup};
use crate::run::{sh, wait_through, words};

const OWNER: &str = "owner";
const KEPT: &str = "kept";
/// Between a run's directory and its mark lie two system calls.
const NEW: Duration = Duration::from_secs(30);

/// The control group all labs live under; a cgroup v2 mount is made where the machine has none.
pub fn cgroup_root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts")?;
    let found = mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let (path, kind) = (fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(path))
    });
    let mount = match found {
        Some(path) => path,
        None => {
            let own = base_dir()?.join("cgroup");
            fs::create_dir_all(&own)?;
            sh(&format!("mount -t cgroup2 cgroup2 {}", own.display()))?;
            own
        }
    };
    let root = mount.join("regent-lab");
    fs::create_dir_all(&root)?;
    Ok(root)
}

/// Writes down who owns a run: this process.
pub fn mark(dir: &Path) -> Result<()> {
    let pid = std::process::id();
    Ok(fs::write(dir.join(OWNER), format!("{pid} {}", start_of(pid).unwrap_or_default()))?)
}

/// The run stays when its owner ends.
pub fn mark_kept(dir: &Path) -> Result<()> {
    Ok(fs::write(dir.join(KEPT), "")?)
}

/// Removes runs whose owner is dead and which nobody asked to keep; returns their names.
pub fn sweep() -> Result<Vec<String>> {
    let mut swept = Vec::new();
    for name in runs()? {
        let dir = base_dir()?.join("run").join(&name);
        if !dir.join(KEPT).exists() && !is_owned(&dir) && !is_new(&dir) {
            remove(&name)?;
            swept.push(name);
        }
    }
    sweep_groups()?;
    Ok(swept)
}

/// Removes control groups without a process whose run is gone.
fn sweep_groups() -> Result<()> {
    for entry in fs::read_dir(cgroup_root()?)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let run = name.rsplit_once('-').map_or(name.as_str(), |(run, _)| run);
        let events = fs::read_to_string(entry.path().join("cgroup.events")).unwrap_or_default();
        let is_known = base_dir()?.join("run").join(run).exists();
        if events.contains("populated 0") && !is_known {
            remove_cgroup(&entry.path());
        }
    }
    Ok(())
}

/// Names of all runs that left a directory.
pub fn runs() -> Result<Vec<String>> {
    let Ok(entries) = fs::read_dir(base_dir()?.join("run")) else {
        return Ok(Vec::new());
    };
    Ok(entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

/// Removes one run, whatever state it is in.
pub fn remove(name: &str) -> Result<()> {
    let root = cgroup_root()?;
    let mine =
        |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(&format!("{name}-"));
    let groups: Vec<PathBuf> =
        fs::read_dir(&root)?.flatten().filter(mine).map(|entry| entry.path()).collect();
    let dir = base_dir()?.join("run").join(name);
    crate::passage::close_all(&groups, &dir);
    for group in groups {
        fs::write(group.join("cgroup.kill"), "1").ok();
        wait_through("end of a run's processes", Duration::from_secs(20), || {
            let events = fs::read_to_string(group.join("cgroup.events")).unwrap_or_default();
            Ok((!events.contains("populated 1")).then_some(()))
        })?;
        remove_cgroup(&group);
    }
    remove_namespaces(name);
    crate::image::remove_tree_slow(&dir).with_context(|| format!("run {name}"))
}

/// Removes the network namespaces of a run and ends what still runs in them.
pub fn remove_namespaces(name: &str) {
    let listed = fs::read_dir("/run/netns").into_iter().flatten().flatten();
    let names = listed.map(|entry| entry.file_name().to_string_lossy().into_owned());
    for namespace in names.filter(|namespace| namespace.starts_with(&format!("{name}-"))) {
        let pids = sh(&format!("ip netns pids {namespace}")).unwrap_or_default();
        for pid in pids.split_whitespace().filter_map(|pid| pid.parse().ok()) {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
            }
        }
        crate::run::run(&mut words(&format!("ip netns del {namespace}"))).ok();
    }
}

/// Whether another process may be about to mark it as its own.
fn is_new(dir: &Path) -> bool {
    let made = fs::metadata(dir).and_then(|data| data.modified());
    let age = made.ok().and_then(|at| at.elapsed().ok()).unwrap_or_default();
    !dir.join(OWNER).exists() && age < NEW
}

fn is_owned(dir: &Path) -> bool {
    let owner = fs::read_to_string(dir.join(OWNER)).unwrap_or_default();
    let mut parts = owner.split(' ');
    let Some(pid) = parts.next().and_then(|pid| pid.parse().ok()) else {
        return false;
    };
    start_of(pid).is_some_and(|start| Some(start.as_str()) == parts.next())
}

/// When a process started, in ticks: a number used again by the kernel has another one.
fn start_of(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.rsplit_once(')')?.1;
    after_name.split_whitespace().nth(19).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_owned_while_its_process_lives_and_not_by_a_later_one_of_that_number() {
        let dir = std::env::temp_dir().join(format!("regent-lab-owner-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        mark(&dir).unwrap();
        assert!(is_owned(&dir));
        fs::write(dir.join(OWNER), format!("{} 1", std::process::id())).unwrap();
        assert!(!is_owned(&dir));
        fs::remove_dir_all(&dir).unwrap();
    }
}

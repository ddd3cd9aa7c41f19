//! The way of one host to the directory in common: a FUSE file system of this machine (`bindfs`) that passes
//! everything through, and that can be made to hang or to fail for this host alone. It stands in for the client of a
//! file server: whoever waits for an answer waits in the kernel.
//!
//! Promises that a passage is never left hanging: its process is alone in a control group that carries the run's name,
//! so whoever removes the run ends it first, and with it every wait.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::run::{output, run, wait_for, wait_through, words};

/// How the name of its control group ends.
const GROUP: &str = ".passage";
/// The program that passes everything through.
const PROGRAM: &str = "bindfs";
/// It mounts before its first process ends.
const MOUNT: Duration = Duration::from_secs(20);
const DEATH: Duration = Duration::from_secs(20);

/// Why there can be none on this machine, if so.
pub fn obstacle() -> Option<String> {
    if !Path::new("/dev/fuse").exists() {
        return Some("this machine has no /dev/fuse: modprobe fuse".into());
    }
    let asked = output(Command::new(PROGRAM).arg("--version"), DEATH);
    let is_there = asked.is_ok_and(|output| output.status.success());
    (!is_there).then(|| format!("{PROGRAM} is not installed: apt-get install {PROGRAM}"))
}

/// One host's passage: there or not.
#[derive(Debug, Clone)]
pub struct Passage {
    from: PathBuf,
    on: PathBuf,
    cgroup: PathBuf,
}

impl Passage {
    /// From a directory of this machine to a mount point of its own. Touches nothing.
    pub fn new(from: &Path, on: &Path, host_cgroup: &Path) -> Passage {
        let mut group = host_cgroup.as_os_str().to_owned();
        group.push(GROUP);
        Passage { from: from.to_owned(), on: on.to_owned(), cgroup: PathBuf::from(group) }
    }

    /// Makes it and says where it is; one that was left is removed before.
    pub fn open(&self) -> Result<&Path> {
        self.close();
        fs::create_dir_all(&self.on)?;
        fs::create_dir_all(&self.cgroup)?;
        let script = "echo $$ > \"$1/cgroup.procs\"; exec bindfs \"$2\" \"$3\"";
        let mut command = Command::new("sh");
        command.args(["-ec", script, "sh"]).arg(&self.cgroup).arg(&self.from).arg(&self.on);
        // It goes to the background when it has mounted.
        let made = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut made = made.spawn().context("cannot start bindfs")?;
        let ended = wait_for("the passage", MOUNT, || Ok(made.try_wait()?))?;
        ensure!(ended.success() && self.is_mounted(), "bindfs on {}: {ended}", self.on.display());
        Ok(&self.on)
    }

    /// Every access of the host waits from here on, until it is thawed or ended.
    pub fn hang(&self) -> Result<()> {
        self.freeze(true)
    }

    /// Ends `hang`: what waited goes on.
    pub fn thaw(&self) -> Result<()> {
        self.freeze(false)
    }

    /// Every access of the host fails from here on, until its next boot.
    pub fn fail(&self) -> Result<()> {
        fs::write(self.cgroup.join("cgroup.kill"), "1")?;
        wait_through("the end of a passage", DEATH, || Ok(self.is_empty().then_some(())))
    }

    /// Ends it in whatever state it is; nobody waits for it afterwards.
    pub fn close(&self) {
        if self.cgroup.exists() {
            self.fail().ok();
            crate::dirs::remove_cgroup(&self.cgroup);
        }
        // Without its process nothing of it can be looked at: only its name in the table of mounts goes.
        while self.is_mounted() {
            if run(Command::new("umount").arg("--lazy").arg(&self.on)).is_err() {
                return;
            }
        }
    }

    fn freeze(&self, is_frozen: bool) -> Result<()> {
        let (word, wanted) = if is_frozen { ("1", "frozen 1") } else { ("0", "frozen 0") };
        fs::write(self.cgroup.join("cgroup.freeze"), word)?;
        wait_through(wanted, DEATH, || Ok(self.has_event(wanted).then_some(())))
    }

    fn is_empty(&self) -> bool {
        self.has_event("populated 0")
    }

    fn has_event(&self, line: &str) -> bool {
        let events = fs::read_to_string(self.cgroup.join("cgroup.events")).unwrap_or_default();
        events.lines().any(|found| found == line)
    }

    fn is_mounted(&self) -> bool {
        mounts_under(&self.on).contains(&self.on)
    }
}

/// Ends the passages of a run before anything else of it, so that nobody waits for one that hangs.
pub fn close_all(groups: &[PathBuf], run_dir: &Path) {
    for group in groups.iter().filter(|group| group.to_string_lossy().ends_with(GROUP)) {
        fs::write(group.join("cgroup.kill"), "1").ok();
    }
    for on in mounts_under(run_dir) {
        run(words("umount --lazy").arg(on)).ok();
    }
}

/// Mount points at and under this directory, the innermost last.
fn mounts_under(directory: &Path) -> Vec<PathBuf> {
    let table = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let points = table.lines().filter_map(|line| line.split(' ').nth(1)).map(PathBuf::from);
    points.filter(|on| on.starts_with(directory)).collect()
}

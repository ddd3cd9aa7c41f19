//! A directory for one test, gone afterwards; and a small disk.

#[path = "../../adapters/tests/skipped/mod.rs"]
mod skipped;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Removed when it is dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new(name: &str) -> Scratch {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("regent-{name}-{}-{n}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// A disk of so many KiB and some dozen files, for the test of this name, which runs again where it may mount one: the
/// run that has it goes on. None, said loudly, where the machine does not allow it.
pub(crate) fn small_disk(test: &str, kib: u32) -> Option<Scratch> {
    const INSIDE: &str = "REGENT_OWN_MOUNTS";
    if std::env::var_os(INSIDE).is_none() {
        if !may_mount() {
            skipped::skipped(&format!("{test}: needs root, to mount a small disk"));
            return None;
        }
        let again = std::process::Command::new("unshare")
            .arg("-m")
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(INSIDE, "1")
            .status();
        assert!(again.unwrap().success(), "{test}");
        return None;
    }
    let disk = Scratch::new("disk");
    let options = format!("size={kib}k,nr_inodes=64");
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
        .arg(disk.path())
        .status();
    assert!(mounted.unwrap().success());
    Some(disk)
}

fn may_mount() -> bool {
    std::process::Command::new("unshare").args(["-m", "true"]).status().is_ok_and(|s| s.success())
}

/// Not a byte and not a file more fits into it.
pub(crate) fn fill(disk: &Path) {
    use std::io::Write;
    let mut filler = std::fs::File::create(disk.join("filler")).unwrap();
    while filler.write_all(&[1; 512]).is_ok() {}
    let mut n = 0;
    while std::fs::File::create(disk.join(format!("filler{n}"))).is_ok() {
        n += 1;
    }
}

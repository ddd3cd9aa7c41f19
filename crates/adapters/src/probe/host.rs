//! Looks at this host: files, disks, memory. Any of these calls may block for ever, so they run on threads.

use crate::probe::result::CheckResult;
use regent_config::probe::{Disk, File, Least, Share};
use rustix::fs::{StatVfs, StatVfsMountFlags};
use std::io::{self, Read};
use std::path::Path;
use std::time::{Duration, SystemTime};

/// With a size in bytes one inode in a hundred is to be free.
const INODES_LEAST: u64 = 10;
const PRESSURE: &str = "/proc/pressure/memory";

/// Is it there, can it be read, is it fresh?
pub(crate) fn look_at_file(file: &File) -> CheckResult {
    match read_a_little(&file.path) {
        Ok(changed) => fresh(file, changed, SystemTime::now()),
        Err(error) => CheckResult::Failed(format!("{}: {}", file.path.display(), said(&error))),
    }
}

/// A byte is read, because a disk that is gone still shows names and times. Devices are left alone: opening one may
/// be an order to it.
fn read_a_little(path: &Path) -> io::Result<SystemTime> {
    use std::os::unix::fs::FileTypeExt;
    let status = std::fs::metadata(path)?;
    let kind = status.file_type();
    if !(kind.is_block_device() || kind.is_char_device() || kind.is_socket()) {
        let mut opened = std::fs::File::open(path)?;
        if kind.is_file() {
            // An empty file has none, and is read all the same.
            let _count = opened.read(&mut [0])?;
        }
    }
    status.modified()
}

fn fresh(file: &File, changed: SystemTime, now: SystemTime) -> CheckResult {
    let Some(newest) = file.newer_than_ms.map(Duration::from_millis) else {
        return CheckResult::Passed;
    };
    // A time to come is fresh.
    let age = now.duration_since(changed).unwrap_or(Duration::ZERO);
    if age <= newest {
        return CheckResult::Passed;
    }
    let (age, newest) = (length(age), length(newest));
    CheckResult::Failed(format!(
        "{} was changed {age} ago, expected within {newest}",
        file.path.display()
    ))
}

fn length(time: Duration) -> String {
    match time.as_secs() {
        0..10 => format!("{} ms", time.as_millis()),
        seconds @ 10..600 => format!("{seconds} s"),
        seconds @ 600..36_000 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

/// Is there room, and may it be written?
pub(crate) fn look_at_disk(disk: &Disk) -> CheckResult {
    match rustix::fs::statvfs(&disk.path) {
        Ok(status) => room(disk, &status),
        Err(error) => {
            CheckResult::Failed(format!("{}: {}", disk.path.display(), said(&error.into())))
        }
    }
}

fn room(disk: &Disk, status: &StatVfs) -> CheckResult {
    let path = disk.path.display();
    if status.f_flag.contains(StatVfsMountFlags::RDONLY) {
        return CheckResult::Failed(format!("{path} is mounted read-only"));
    }
    // What only root may use is not there for others: so does df(1) count.
    let all = (status.f_blocks - status.f_bfree.min(status.f_blocks)) + status.f_bavail;
    let free = status.f_bavail.saturating_mul(status.f_frsize);
    let share = per_mille(status.f_bavail, all);
    let (is_enough, inodes_least) = match disk.least {
        Least::Share(least) => (share >= least.per_mille().into(), least.per_mille().into()),
        Least::Bytes(least) => (free >= least, INODES_LEAST),
    };
    if !is_enough {
        let free = match disk.least {
            Least::Share(_) => tenths(share),
            Least::Bytes(_) => format!("{} MiB", free >> 20),
        };
        return CheckResult::Failed(format!("{free} of {path} is free, expected {}", disk.least));
    }
    // Some file systems have as many inodes as they need, and say 0.
    let inodes = per_mille(status.f_favail, status.f_files);
    if status.f_files > 0 && inodes < inodes_least {
        let (inodes, least) = (tenths(inodes), tenths(inodes_least));
        return CheckResult::Failed(format!(
            "{inodes} of the inodes of {path} are free, expected {least}"
        ));
    }
    CheckResult::Passed
}

fn per_mille(part: u64, all: u64) -> u64 {
    if all == 0 { 0 } else { (u128::from(part) * 1000 / u128::from(all)) as u64 }
}

fn tenths(per_mille: u64) -> String {
    format!("{}.{}%", per_mille / 10, per_mille % 10)
}

/// Do processes wait for memory?
pub(crate) fn look_at_memory(most: Share) -> CheckResult {
    match std::fs::read_to_string(PRESSURE) {
        Ok(text) => pressure(&text, most),
        Err(error) => {
            let why = said(&error);
            CheckResult::Unknown(format!(
                "this kernel does not tell memory pressure: {PRESSURE}: {why}"
            ))
        }
    }
}

fn pressure(text: &str, most: Share) -> CheckResult {
    let some = text.lines().find_map(|line| line.strip_prefix("some "));
    let share = some.and_then(|line| line.split(' ').find_map(|word| word.strip_prefix("avg10=")));
    let Some(share) = share.and_then(|share| share.parse::<f64>().ok()) else {
        return CheckResult::Unknown(format!("{PRESSURE} has no average over 10 s"));
    };
    if share * 10.0 <= f64::from(most.per_mille()) {
        return CheckResult::Passed;
    }
    CheckResult::Failed(format!(
        "processes waited for memory {share}% of the last 10 s, expected {most}"
    ))
}

/// The system's words without its number.
fn said(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |c| c.to_lowercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(seen: CheckResult) -> String {
        match seen {
            CheckResult::Failed(why) => why,
            other @ (CheckResult::Passed | CheckResult::Unknown(_)) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_file_is_there_and_fresh_or_why_not() {
        let path = std::env::temp_dir().join(format!("regent-fresh-{}", std::process::id()));
        let file = |newer_than_ms| File { path: path.clone(), newer_than_ms };
        let why = failed(look_at_file(&file(None)));
        assert!(why.ends_with(": no such file or directory"), "{why}");
        std::fs::write(&path, "x").unwrap();
        assert_eq!(look_at_file(&file(None)), CheckResult::Passed);
        assert_eq!(look_at_file(&file(Some(60_000))), CheckResult::Passed);
        let old = SystemTime::now() - Duration::from_secs(90);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        let why = failed(look_at_file(&file(Some(60_000))));
        assert!(why.ends_with("was changed 90 s ago, expected within 60 s"), "{why}");
        let ahead = SystemTime::now() + Duration::from_secs(90);
        std::fs::File::options().write(true).open(&path).unwrap().set_modified(ahead).unwrap();
        assert_eq!(look_at_file(&file(Some(1))), CheckResult::Passed);
        std::fs::remove_file(path).unwrap();
        assert_eq!(
            look_at_file(&File { path: "/dev/null".into(), newer_than_ms: None }),
            CheckResult::Passed
        );
        assert_eq!(
            look_at_file(&File { path: "/".into(), newer_than_ms: None }),
            CheckResult::Passed
        );
    }

    #[test]
    fn a_disk_has_room_or_why_not() {
        let mut status = rustix::fs::statvfs("/").unwrap();
        status.f_flag = StatVfsMountFlags::empty();
        (status.f_frsize, status.f_blocks, status.f_bfree, status.f_bavail) = (4096, 1000, 100, 50);
        (status.f_files, status.f_favail) = (1000, 500);
        let seen = |least: &str, status: &StatVfs| {
            room(&Disk { path: "/data".into(), least: least.parse().unwrap() }, status)
        };
        // 50 of 950: 5.2 %.
        assert_eq!(seen("5%", &status), CheckResult::Passed);
        assert_eq!(failed(seen("5.5%", &status)), "5.2% of /data is free, expected 5.5%");
        assert_eq!(seen("200KiB", &status), CheckResult::Passed);
        assert_eq!(failed(seen("1GiB", &status)), "0 MiB of /data is free, expected 1GiB");
        status.f_favail = 9;
        let why = "0.9% of the inodes of /data are free, expected 5.0%";
        assert_eq!(failed(seen("5%", &status)), why);
        let why = "0.9% of the inodes of /data are free, expected 1.0%";
        assert_eq!(failed(seen("200KiB", &status)), why);
        status.f_files = 0;
        assert_eq!(seen("5%", &status), CheckResult::Passed);
        status.f_flag = StatVfsMountFlags::RDONLY;
        assert_eq!(failed(seen("5%", &status)), "/data is mounted read-only");
    }

    #[test]
    fn a_real_disk_is_looked_at() {
        let disk =
            |path: &str, least: &str| Disk { path: path.into(), least: least.parse().unwrap() };
        assert_eq!(look_at_disk(&disk("/tmp", "1B")), CheckResult::Passed);
        let why = failed(look_at_disk(&disk("/tmp", "100%")));
        assert!(why.contains("of /tmp is free, expected 100%"), "{why}");
        let why = failed(look_at_disk(&disk("/no/such/place", "1B")));
        assert_eq!(why, "/no/such/place: no such file or directory");
    }

    #[test]
    fn pressure_is_compared_and_its_absence_is_told() {
        let text = "some avg10=12.30 avg60=1.00 avg300=0.10 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
        let share = |text: &str| text.parse().unwrap();
        assert_eq!(pressure(text, share("12.3%")), CheckResult::Passed);
        let why = "processes waited for memory 12.3% of the last 10 s, expected 10%";
        assert_eq!(failed(pressure(text, share("10%"))), why);
        assert!(matches!(pressure("full avg10=0.00", share("10%")), CheckResult::Unknown(_)));
        match look_at_memory(share("100%")) {
            CheckResult::Passed => {}
            seen @ (CheckResult::Failed(_) | CheckResult::Unknown(_)) => {
                assert!(!Path::new(PRESSURE).exists(), "{seen:?}");
                assert!(matches!(seen, CheckResult::Unknown(_)), "{seen:?}");
            }
        }
    }
}

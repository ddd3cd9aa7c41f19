//! This host's watchdog, `/dev/watchdog`: a clock that resets the host unless it is fed (the kernel's
//! watchdog-api.rst).
//!
//! Promises: once armed it is stopped only by [`Watchdog::disarm`]. A process that dies, is killed or drops the value
//! leaves it running, so that the host is reset. Whether the device itself has a way out is told in [`Facts`]; only one
//! without is a proof for others (protocol section 6). [`Watchdog::feed`] is one system call that does not wait.

use crate::sys;
use regent_core::time::Span;
use rustix::fs::{FileType, Mode, OFlags, major, minor, open};
use rustix::io::Errno;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The number of `/dev/watchdog`, a miscellaneous device: another name of the first one.
const FIRST: (u32, u32) = (10, 130);
/// `watchdog_info.options`: a close without the magic letter leaves it running.
const MAGIC_CLOSE: u32 = 0x0100;
/// `watchdog_info.options`: it can be fed by ioctl.
const KEEPALIVE: u32 = 0x8000;
/// The letter that allows a close to stop it.
const MAGIC: &[u8] = b"V";

/// Why there is no watchdog. The host is not being watched by us then.
#[derive(Debug, thiserror::Error)]
pub enum WatchdogError {
    /// There is no such device.
    #[error(
        "open {0}: it is not there: load the driver of its board, or softdog (modprobe softdog)"
    )]
    Absent(PathBuf),
    /// Another process holds it.
    #[error("open {0}: in use by another program, or by systemd (RuntimeWatchdogSec=)")]
    InUse(PathBuf),
    /// It is something else.
    #[error("arm {0}: it is not a watchdog")]
    NotOne(PathBuf),
    /// It cannot wait that long, or that little.
    #[error("set {device} to {wanted} s: it allows {least} to {most} s")]
    OutOfRange {
        /// Which device.
        device: PathBuf,
        /// In seconds, as asked for.
        wanted: u64,
        /// The least it says it can do.
        least: u64,
        /// The most it says it can do.
        most: u64,
    },
    /// The kernel refused.
    #[error("{doing} {device}: {source}")]
    Kernel {
        /// What was tried.
        doing: &'static str,
        /// With which device.
        device: PathBuf,
        /// What it said.
        source: Errno,
    },
}

/// What a watchdog says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Facts {
    /// What its driver calls itself.
    pub identity: String,
    /// After so long without being fed the host is reset: as the device has it, not as it was asked for.
    pub timeout: Span,
    /// It cannot be stopped once it runs (`nowayout`); none if the kernel does not tell.
    pub has_no_way_out: Option<bool>,
    /// The death of the process that feeds it leaves it running.
    pub outlives_us: bool,
}

/// An armed watchdog. Dropping it does not disarm it.
#[derive(Debug)]
pub struct Watchdog {
    fd: OwnedFd,
    device: PathBuf,
    facts: Facts,
    fed_by_ioctl: bool,
}

/// What became of an attempt to stop it.
#[derive(Debug)]
pub enum Disarmed {
    /// It does not run any more.
    Stopped,
    /// It cannot be stopped, for this reason: it must be fed on, or the host is reset.
    StillRunning(Watchdog, String),
}

impl Watchdog {
    /// Starts it with the shortest time-out that is at least `timeout`. On an error it has been stopped again, as far
    /// as it lets itself be stopped.
    pub fn arm(device: &Path, timeout: Span) -> Result<Watchdog, WatchdogError> {
        let seconds = timeout.0.div_ceil(1_000_000_000).max(1);
        let system = System::of(device)?;
        // Opening it starts it, so what can be known before is asked before.
        system.expect_in_range(device, seconds)?;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = open(device, flags, Mode::empty()).map_err(|error| match error {
            Errno::BUSY => WatchdogError::InUse(device.to_owned()),
            Errno::NOENT | Errno::NODEV | Errno::NXIO => WatchdogError::Absent(device.to_owned()),
            source => kernel("open", device)(source),
        })?;
        let armed = Watchdog::set(fd, device, seconds, &system);
        armed.map_err(|(fd, error)| {
            // It runs with a time-out that nobody chose, and nobody would feed it.
            if !matches!(error, WatchdogError::NotOne(_)) {
                rustix::io::write(&fd, MAGIC).ok();
            }
            error
        })
    }

    fn set(
        fd: OwnedFd,
        device: &Path,
        seconds: u64,
        system: &System,
    ) -> Result<Watchdog, (OwnedFd, WatchdogError)> {
        let info = match sys::watchdog_support(&fd) {
            Ok(info) => info,
            Err(Errno::NOTTY) => return Err((fd, WatchdogError::NotOne(device.to_owned()))),
            Err(error) => return Err((fd, kernel("ask", device)(error))),
        };
        let seconds = i32::try_from(seconds).unwrap_or(i32::MAX);
        if let Err(error) = sys::watchdog_set_timeout(&fd, seconds) {
            return Err((fd, kernel("set the time-out of", device)(error)));
        }
        let timeout = match sys::watchdog_timeout(&fd) {
            Ok(seconds) => Span(u64::from(seconds.unsigned_abs()) * 1_000_000_000),
            Err(error) => return Err((fd, kernel("ask the time-out of", device)(error))),
        };
        let facts = Facts {
            identity: info.identity,
            timeout,
            has_no_way_out: system.flag("nowayout"),
            outlives_us: info.options & MAGIC_CLOSE != 0,
        };
        let fed_by_ioctl = info.options & KEEPALIVE != 0;
        Ok(Watchdog { fd, device: device.to_owned(), facts, fed_by_ioctl })
    }

    /// What the device says of itself.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Starts its time-out anew. One system call; it does not wait.
    pub fn feed(&self) -> Result<(), WatchdogError> {
        let fed = if self.fed_by_ioctl {
            sys::watchdog_keep_alive(&self.fd)
        } else {
            // Any letter but the magic one.
            rustix::io::write(&self.fd, b"\0").map(drop)
        };
        fed.map_err(kernel("feed", &self.device))
    }

    /// Stops it, on purpose: the only way that does not end in a reset.
    pub fn disarm(self) -> Disarmed {
        let device = self.device.display();
        if self.facts.has_no_way_out == Some(true) {
            let why = format!("{device} has no way out (nowayout): it runs until the host is off");
            return Disarmed::StillRunning(self, why);
        }
        match rustix::io::write(&self.fd, MAGIC) {
            // Closing it, now that the letter is written, is what stops it.
            Ok(_) => Disarmed::Stopped,
            Err(error) => {
                let why = format!("disarm {device}: {error}");
                Disarmed::StillRunning(self, why)
            }
        }
    }
}

/// What sysfs has about a watchdog (Documentation/ABI/testing/sysfs-class-watchdog).
#[derive(Debug)]
struct System {
    directory: PathBuf,
}

impl System {
    fn of(device: &Path) -> Result<System, WatchdogError> {
        let stat = rustix::fs::stat(device).map_err(|error| match error {
            Errno::NOENT => WatchdogError::Absent(device.to_owned()),
            source => kernel("look at", device)(source),
        })?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::CharacterDevice {
            return Err(WatchdogError::NotOne(device.to_owned()));
        }
        let number = (major(stat.st_rdev), minor(stat.st_rdev));
        let directory = match number {
            FIRST => PathBuf::from("/sys/class/watchdog/watchdog0"),
            (major, minor) => PathBuf::from(format!("/sys/dev/char/{major}:{minor}")),
        };
        Ok(System { directory })
    }

    fn value(&self, name: &str) -> Option<u64> {
        let text = std::fs::read_to_string(self.directory.join(name)).ok()?;
        text.trim().parse().ok()
    }

    fn flag(&self, name: &str) -> Option<bool> {
        self.value(name).map(|value| value != 0)
    }

    fn expect_in_range(&self, device: &Path, wanted: u64) -> Result<(), WatchdogError> {
        let least = self.value("min_timeout").unwrap_or(0);
        // A driver that leaves it at 0 has no bound of its own.
        let most = self.value("max_timeout").filter(|most| *most > 0).unwrap_or(u64::MAX);
        match (least..=most).contains(&wanted) {
            true => Ok(()),
            false => {
                let device = device.to_owned();
                Err(WatchdogError::OutOfRange { device, wanted, least, most })
            }
        }
    }
}

fn kernel(doing: &'static str, device: &Path) -> impl FnOnce(Errno) -> WatchdogError {
    move |source| WatchdogError::Kernel { doing, device: device.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{PipeReader, Read};
    use std::time::{Duration, Instant};

    /// A watchdog whose device is a FIFO: what is written to it can be read again.
    fn piped(has_no_way_out: Option<bool>) -> (Watchdog, PipeReader) {
        let (read, write) = std::io::pipe().unwrap();
        let facts = Facts {
            identity: "pipe".to_owned(),
            timeout: Span::millis(10_000),
            has_no_way_out,
            outlives_us: true,
        };
        let device = PathBuf::from("/dev/watchdog");
        (Watchdog { fd: write.into(), device, facts, fed_by_ioctl: false }, read)
    }

    fn all(mut from: PipeReader) -> Vec<u8> {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn only_a_disarm_on_purpose_writes_the_magic_letter() {
        let (watchdog, device) = piped(Some(false));
        watchdog.feed().unwrap();
        watchdog.feed().unwrap();
        drop(watchdog);
        assert_eq!(all(device), b"\0\0");
        let (watchdog, device) = piped(None);
        watchdog.feed().unwrap();
        assert!(matches!(watchdog.disarm(), Disarmed::Stopped));
        assert_eq!(all(device), b"\0V");
    }

    #[test]
    fn one_without_a_way_out_is_kept_and_fed_on() {
        let (watchdog, device) = piped(Some(true));
        let Disarmed::StillRunning(watchdog, why) = watchdog.disarm() else { panic!() };
        assert!(why.contains("nowayout"), "{why}");
        watchdog.feed().unwrap();
        drop(watchdog);
        assert_eq!(all(device), b"\0");
    }

    #[test]
    fn a_device_that_is_gone_cannot_be_fed_and_says_so() {
        let (watchdog, device) = piped(None);
        drop(device);
        let error = watchdog.feed().unwrap_err().to_string();
        assert!(error.starts_with("feed /dev/watchdog"), "{error}");
        assert!(matches!(watchdog.disarm(), Disarmed::StillRunning(_, _)));
    }

    #[test]
    fn what_is_no_watchdog_is_refused_and_nothing_is_written_to_it() {
        let arm = |path: &Path| Watchdog::arm(path, Span::millis(10_000)).unwrap_err();
        let error = arm(Path::new("/dev/no-watchdog"));
        assert!(matches!(error, WatchdogError::Absent(_)), "{error}");
        assert!(error.to_string().contains("softdog"), "{error}");
        let plain = std::env::temp_dir().join(format!("watchdog-{}", std::process::id()));
        std::fs::write(&plain, "as it was").unwrap();
        assert!(matches!(arm(&plain), WatchdogError::NotOne(_)));
        assert_eq!(std::fs::read(&plain).unwrap(), b"as it was");
        std::fs::remove_file(&plain).unwrap();
        let error = arm(Path::new("/dev/null"));
        assert!(matches!(error, WatchdogError::NotOne(_)), "{error}");
    }

    /// Needs a device that may be armed for good, so only one that is named is taken.
    #[test]
    fn a_real_device_is_armed_fed_and_disarmed() {
        let Some(device) = std::env::var_os("REGENT_TEST_WATCHDOG").map(PathBuf::from) else {
            crate::testing::skipped(
                "a_real_device_is_armed_fed_and_disarmed: name a watchdog that may be \
                 armed in REGENT_TEST_WATCHDOG",
            );
            return;
        };
        let system = System::of(&device).unwrap();
        let state = || std::fs::read_to_string(system.directory.join("state")).unwrap();
        assert_eq!(state(), "inactive\n");
        let error = Watchdog::arm(&device, Span(u64::MAX)).unwrap_err();
        println!("{error}");
        assert_eq!(state(), "inactive\n", "it was opened for a time-out that it cannot have");
        let watchdog = Watchdog::arm(&device, Span::millis(29_500)).unwrap();
        println!("{:?}", watchdog.facts());
        assert_eq!(watchdog.facts().timeout, Span::millis(30_000));
        assert_eq!(state(), "active\n");
        let second = Watchdog::arm(&device, Span::millis(30_000)).unwrap_err();
        assert!(matches!(second, WatchdogError::InUse(_)), "{second}");
        std::thread::sleep(Duration::from_millis(2100));
        // softdog does not tell it.
        let left = || system.value("timeleft");
        assert!(left().is_none_or(|left| left <= 28), "{:?} s left", left());
        let started = Instant::now();
        for _ in 0..1000 {
            watchdog.feed().unwrap();
        }
        println!("fed in {} ns", started.elapsed().as_nanos() / 1000);
        assert!(left().is_none_or(|left| left >= 29), "{:?} s left after it was fed", left());
        let outlives = watchdog.facts().outlives_us;
        drop(watchdog);
        if outlives {
            assert_eq!(state(), "active\n", "dropping it stopped it");
        }
        let watchdog = Watchdog::arm(&device, Span::millis(30_000)).unwrap();
        match watchdog.disarm() {
            Disarmed::Stopped => assert_eq!(state(), "inactive\n"),
            Disarmed::StillRunning(watchdog, why) => {
                println!("{why}");
                assert_eq!(watchdog.facts().has_no_way_out, Some(true));
                assert_eq!(state(), "active\n");
            }
        }
    }
}

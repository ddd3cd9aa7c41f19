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
        "{0} is not there: load the driver of the board's watchdog, or softdog (modprobe softdog)"
    )]
    Absent(PathBuf),
    /// Another process holds it.
    #[error("{0} is in use: another program feeds it, or systemd does (RuntimeWatchdogSec=)")]
    InUse(PathBuf),
    /// It is something else.
    #[error("{0} is not a watchdog")]
    NotOne(PathBuf),
    /// It cannot wait that long, or that little.
    #[error("{device} cannot be set to {wanted} s: it allows {least} to {most} s")]
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

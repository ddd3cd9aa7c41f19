//! The only reader of time for rights (C4), and what the process asks of the scheduler and of memory.
//!
//! No time is kept here: a reading is taken when it is asked for, never before.

use crate::sys;
use regent_core::id::BootId;
use regent_core::time::Time;
use rustix::mm::{MlockAllFlags, mlockall};
use rustix::time::{ClockId, Timespec, clock_gettime};
use std::io;

/// Both clocks of this instant (C4): CLOCK_BOOTTIME counts suspend, CLOCK_MONOTONIC_RAW is not slewed.
pub fn now() -> Time {
    Time {
        boot: nanoseconds(clock_gettime(ClockId::Boottime)),
        raw: nanoseconds(clock_gettime(ClockId::MonotonicRaw)),
    }
}

fn nanoseconds(time: Timespec) -> u64 {
    // Both clocks start at 0 at boot, so neither part is negative.
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// Names this boot of the kernel: the upper half of its random boot id.
pub fn boot_id() -> io::Result<BootId> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    boot_id_of(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, text))
}

fn boot_id_of(text: &str) -> Option<BootId> {
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    (digits.len() == 32).then(|| u64::from_str_radix(&digits[..16], 16).ok().map(BootId))?
}

/// Keeps every page of the process in memory once it is there, so that a renewal never waits for a disk. What is
/// mapped later (stacks of threads, mostly) takes room only as it is used.
pub fn lock_memory() -> io::Result<()> {
    mlockall(MlockAllFlags::CURRENT)?;
    Ok(mlockall(MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT)?)
}

/// Why the calling thread is not scheduled in real time.
#[derive(Debug, thiserror::Error)]
pub enum RealTimeError {
    /// The process lacks CAP_SYS_NICE or a limit for it.
    #[error("get real-time scheduling: not permitted (CAP_SYS_NICE or LimitRTPRIO is missing)")]
    NotPermitted,
    /// Anything else, such as a cgroup without a real-time budget (cpu.rt_runtime_us is 0).
    #[error("get real-time scheduling: {0} (a cgroup without a real-time budget refuses it)")]
    Refused(io::Error),
}

/// Schedules the calling thread before all ordinary ones (SCHED_FIFO); its children do not inherit it.
pub fn real_time(priority: u8) -> Result<(), RealTimeError> {
    sys::schedule_fifo(priority).map_err(|error| match error.raw_os_error() {
        // A cgroup (v1) without a budget refuses with the same code; who may set priorities knows which it is.
        Some(libc::EPERM) if !sys_nice() => RealTimeError::NotPermitted,
        Some(_) | None => RealTimeError::Refused(error),
    })
}

fn sys_nice() -> bool {
    use rustix::thread::{CapabilitySet, capabilities};
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_NICE))
}

#[cfg(test)]
mod tests {
    use super::*;
    use regent_core::time::Span;

    #[test]
    fn both_clocks_run() {
        let start = now();
        std::thread::sleep(std::time::Duration::from_millis(20));
        let least = now().elapsed_least(start);
        assert!(least >= Span::millis(15), "{least:?}");
    }

    #[test]
    fn boot_id_is_the_upper_half() {
        let text = "0123abcd-4567-89ef-0000-000000000000\n";
        assert_eq!(boot_id_of(text), Some(BootId(0x0123_abcd_4567_89ef)));
        assert_eq!(boot_id_of("short"), None);
        assert_eq!(boot_id().unwrap(), boot_id().unwrap());
    }

    #[test]
    fn memory_is_locked_or_refused() {
        let locked = lock_memory();
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmLck:")).unwrap();
        println!("{locked:?} {line}");
        assert_eq!(locked.is_ok(), !line.ends_with("\t       0 kB"), "{line}");
        // Of a thread's 16 MiB of stack only what it uses is locked.
        let before = std::fs::read_to_string("/proc/self/statm").unwrap();
        let thread = std::thread::Builder::new().stack_size(16 << 20);
        let after = thread.spawn(|| std::fs::read_to_string("/proc/self/statm").unwrap()).unwrap();
        let pages = |text: &str| text.split(' ').nth(1).unwrap().parse::<u64>().unwrap();
        let grown = pages(&after.join().unwrap()).saturating_sub(pages(&before));
        assert!(grown < 1024, "{grown} pages");
    }

    #[test]
    fn real_time_is_granted_or_refused_with_a_reason() {
        match real_time(10) {
            Ok(()) => println!("granted"),
            Err(error) => {
                println!("{error}");
                assert!(error.to_string().contains("real-time"), "{error}");
            }
        }
    }
}

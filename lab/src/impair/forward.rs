//! The forwarder: a process of its own in the bridge's namespace that reads frames from a TAP and
//! writes them back to it when their time has come. It tells what it did once a second and at its
//! end, in a file that is replaced as a whole.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::{Deserialize, Serialize};

use super::queue::{Counts, Queue, Settings};
use crate::run::is_interrupted;
use crate::say;

/// What the kernel puts before each frame: how much of it is checksummed or segmented yet.
const HEAD: usize = 10;
/// Room for a frame that nobody cut to the size of a segment.
const FRAME: usize = 70_000;
/// Frames that are read before those that are due are written.
const BURST: usize = 64;
/// Between two looks at whether to end.
const LOOK: Duration = Duration::from_millis(50);
const TELL: Duration = Duration::from_secs(1);
/// What is under way at the end may take this long to leave.
const LAST: Duration = Duration::from_secs(5);

/// What the process is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The TAP's file.
    pub device: PathBuf,
    /// Where it tells what it did.
    pub state: PathBuf,
    /// Decides every fate.
    pub seed: u64,
    /// One or two directions.
    pub lanes: Vec<Lane>,
}

/// One direction.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lane {
    /// The host that speaks.
    pub from: String,
    /// Its hardware address.
    pub mac: String,
    /// The host that listens.
    pub to: String,
    /// Its hardware address.
    pub to_mac: String,
    /// What becomes of the frames.
    pub settings: Settings,
}

/// What it did.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// The process.
    pub pid: i32,
    /// Whether this is its last word.
    pub ended: bool,
    /// Frames of neither host; there should be none.
    pub strangers: u64,
    /// By direction, as in the plan: from, to, and what was done.
    pub lanes: Vec<(String, String, Counts)>,
}

impl State {
    /// Prints it.
    pub fn tell(&self) {
        for (from, to, counts) in &self.lanes {
            let Counts { came, left, lost, delayed, reordered, doubled, overflowed, .. } = counts;
            let late = counts.late_us.checked_div(*left).unwrap_or(0);
            say::line(&format!(
                "impair  {from} to {to}: {came} frames came, {left} left, {lost} lost ({:.1} %), \
                 {delayed} delayed, {reordered} overtaken, {doubled} doubled, {overflowed} \
                 overflowed; late {late} us on average, {:.1} ms at most",
                *lost as f64 * 100.0 / (*came).max(1) as f64,
                counts.late_most_us as f64 / 1000.0
            ));
        }
    }
}

/// Runs until it is told to end.
pub fn main(plan: &Path) -> Result<()> {
    let plan: Plan = serde_json::from_str(&fs::read_to_string(plan)?)?;
    Forwarder::open(plan)?.run()
}

struct Forwarder {
    tap: File,
    plan: Plan,
    lanes: Vec<(Vec<u8>, Queue)>,
    strangers: u64,
    buffer: Vec<u8>,
}

impl Forwarder {
    fn open(plan: Plan) -> Result<Forwarder> {
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let tap = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&plan.device);
        let tap = tap.with_context(|| format!("cannot open {}", plan.device.display()))?;
        let lanes = plan.lanes.iter().enumerate().map(|(index, lane)| {
            let mac: Result<Vec<u8>, _> =
                lane.mac.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect();
            let seed = plan.seed.wrapping_add(index as u64);
            Ok((mac.context("hardware address")?, Queue::new(lane.settings, seed)))
        });
        let lanes = lanes.collect::<Result<Vec<_>>>()?;
        Ok(Forwarder { tap, plan, lanes, strangers: 0, buffer: vec![0; FRAME] })
    }

    fn run(&mut self) -> Result<()> {
        let mut told = now();
        let mut ending: Option<Duration> = None;
        self.tell(false)?;
        loop {
            self.wait()?;
            self.read()?;
            self.write()?;
            if now() - told > TELL {
                told = now();
                self.tell(false)?;
            }
            if is_interrupted() {
                let since = *ending.get_or_insert_with(now);
                if self.next().is_none() || now() - since > LAST {
                    return self.tell(true);
                }
            }
        }
    }

    /// For a frame, or for the time of one that waits, or for the next look.
    fn wait(&self) -> Result<()> {
        let rest = self.next().map_or(LOOK, |due| due.saturating_sub(now()).min(LOOK));
        let timeout =
            Timespec { tv_sec: rest.as_secs() as i64, tv_nsec: i64::from(rest.subsec_nanos()) };
        let mut watched = [PollFd::new(&self.tap, PollFlags::IN)];
        match poll(&mut watched, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error).context("waiting for the TAP"),
        }
    }

    fn read(&mut self) -> Result<()> {
        for _ in 0..BURST {
            let length = match self.tap.read(&mut self.buffer) {
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error).context("reading the TAP"),
            };
            let frame = &self.buffer[..length];
            let from = frame.get(HEAD + 6..HEAD + 12).unwrap_or_default();
            match self.lanes.iter_mut().find(|(mac, _)| mac == from) {
                Some((_, queue)) => queue.take(frame, now()),
                None => self.strangers += 1,
            }
        }
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        for (_, queue) in &mut self.lanes {
            while let Some(frame) = queue.give(now()) {
                match self.tap.write(&frame) {
                    Ok(_) => {}
                    Err(error) if is_full(&error) => queue.refused(),
                    Err(error) => return Err(error).context("writing to the TAP"),
                }
            }
        }
        Ok(())
    }

    fn next(&self) -> Option<Duration> {
        self.lanes.iter().filter_map(|(_, queue)| queue.next()).min()
    }

    fn tell(&self, ended: bool) -> Result<()> {
        let lanes = self.plan.lanes.iter().zip(&self.lanes);
        let lanes =
            lanes.map(|(lane, (_, queue))| (lane.from.clone(), lane.to.clone(), queue.counts()));
        let state = State {
            pid: std::process::id() as i32,
            ended,
            strangers: self.strangers,
            lanes: lanes.collect(),
        };
        let fresh = self.plan.state.with_extension("new");
        fs::write(&fresh, serde_json::to_string(&state)?)?;
        Ok(fs::rename(&fresh, &self.plan.state)?)
    }
}

fn is_full(error: &std::io::Error) -> bool {
    let full = [rustix::io::Errno::NOBUFS, rustix::io::Errno::AGAIN];
    full.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn now() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

//! A program that is not trusted to behave: it may fork, hang, flood its output or leave its input unread. It runs in
//! a process group of its own, which is killed at the deadline, and of its output only the beginning is kept. One
//! thread looks after all of it, so nothing is left behind when it has ended.
//!
//! What it inherits (environment, directory) is its starter's choice: [`super::Program`] gives it nothing, a probe all
//! that the prober has. The database's own programs are no case of it (`database/tool.rs`): their output is a stream of
//! gigabytes that is passed on as it comes, on a runtime of tasks, and nothing of it is kept.

use crate::netlink::readable;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::io::{self, ErrorKind, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What is kept of each output; a fence agent's description of itself has 10 to 20 KiB.
pub(crate) const KEPT: usize = 256 << 10;

/// Where standard error goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outputs {
    /// It is kept for itself.
    Apart,
    /// It goes where standard output goes, in the order in which both were written.
    Together,
}

/// How it ended.
pub(crate) struct Finished {
    /// None if it was killed at the deadline.
    pub(crate) status: Option<ExitStatus>,
    /// The beginning of its standard output.
    pub(crate) out: Vec<u8>,
    /// The beginning of its standard error, if that was kept apart.
    pub(crate) err: Vec<u8>,
}

/// A program that was started.
pub(crate) struct Running<'a> {
    child: Child,
    input: Input<'a>,
    out: Output,
    err: Option<Output>,
}

impl<'a> Running<'a> {
    /// Starts it, with this as its standard input.
    pub(crate) fn start(
        mut command: Command,
        input: &'a [u8],
        outputs: Outputs,
    ) -> io::Result<Running<'a>> {
        let (out, to) = Output::pipe()?;
        let err = match outputs {
            Outputs::Apart => {
                let (err, to) = Output::pipe()?;
                command.stderr(to);
                Some(err)
            }
            Outputs::Together => {
                command.stderr(to.try_clone()?);
                None
            }
        };
        command.stdin(Stdio::piped()).stdout(to).process_group(0);
        let mut child = command.spawn()?;
        let to = child.stdin.take();
        if let Some(to) = &to {
            unblock(to)?;
        }
        Ok(Running { child, input: Input { to, left: input }, out, err })
    }

    /// Its process group, which has the number of its first process.
    pub(crate) fn group(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Feeds and reads it until it has ended, and kills its group then, or at the deadline: nothing of it outlives this
    /// call. What the kernel holds in a system call, as with a file system whose server is gone, is waited for so long;
    /// without a bound for as long as it takes.
    pub(crate) fn end(mut self, deadline: Instant, held: Option<Duration>) -> io::Result<Finished> {
        let group = self.group();
        let end = pidfd_open(group, PidfdFlags::empty());
        let attended = match &end {
            Ok(end) => self.attend(end, deadline),
            Err(error) => Err((*error).into()),
        };
        // Before its number can be another's. It may be gone.
        kill_process_group(group, Signal::KILL).ok();
        let status = reap(self.child, held)?;
        let in_time = attended?;
        let err = self.err.map(|err| err.kept).unwrap_or_default();
        Ok(Finished { status: status.filter(|_| in_time), out: self.out.kept, err })
    }

    /// True if it has ended, false if the deadline came first.
    fn attend(&mut self, end: &OwnedFd, deadline: Instant) -> io::Result<bool> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            self.input.feed();
            let outputs = std::iter::once(&self.out).chain(&self.err);
            let mut wanted = vec![PollFd::new(end, PollFlags::IN)];
            wanted.extend(
                outputs.filter_map(|o| o.from.as_ref()).map(|o| PollFd::new(o, PollFlags::IN)),
            );
            wanted.extend(self.input.to.as_ref().map(|to| PollFd::new(to, PollFlags::OUT)));
            match poll(&mut wanted, Some(&timespec(left))) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let ended = !wanted[0].revents().is_empty();
            std::iter::once(&mut self.out).chain(&mut self.err).for_each(Output::take);
            if ended {
                // What it wrote before its end is in the pipes by now; a child of it may hold them open, and is not
                // waited for.
                return Ok(true);
            }
        }
    }
}

/// Its status, once it has ended after SIGKILL; none if the kernel holds it for longer than this, and a thread of its
/// own waits for its end then.
fn reap(mut child: Child, held: Option<Duration>) -> io::Result<Option<ExitStatus>> {
    let Some(held) = held else { return child.wait().map(Some) };
    let end = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
    if readable(end.as_fd(), Instant::now() + held)? {
        return child.wait().map(Some);
    }
    std::thread::Builder::new().name("reap".into()).spawn(move || child.wait())?;
    Ok(None)
}

struct Input<'a> {
    to: Option<ChildStdin>,
    left: &'a [u8],
}

impl Input<'_> {
    /// Writes what it takes now; closed when all is written or nobody reads.
    fn feed(&mut self) {
        let Some(to) = &mut self.to else { return };
        while !self.left.is_empty() {
            match to.write(self.left) {
                Ok(written) => self.left = &self.left[written..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A program that does not read its input is judged by its exit code.
                Err(_) => break,
            }
        }
        self.to = None;
    }
}

struct Output {
    from: Option<PipeReader>,
    kept: Vec<u8>,
}

impl Output {
    /// The end to read from, and the one that the program writes to.
    fn pipe() -> io::Result<(Output, PipeWriter)> {
        let (from, to) = io::pipe()?;
        unblock(&from)?;
        Ok((Output { from: Some(from), kept: Vec::new() }, to))
    }

    /// Reads what is there, keeps the beginning and throws the rest away, so that the program never waits for us. In
    /// one go not more than a pipe holds, so that a flood does not keep us from the clock.
    fn take(&mut self) {
        let mut buffer = [0; 16 << 10];
        for _ in 0..8 {
            let Some(from) = &mut self.from else { return };
            match from.read(&mut buffer) {
                Ok(0) => self.from = None,
                Ok(length) => {
                    let room = KEPT.saturating_sub(self.kept.len()).min(length);
                    self.kept.extend_from_slice(&buffer[..room]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => self.from = None,
            }
        }
    }
}

fn unblock(fd: &impl AsFd) -> io::Result<()> {
    Ok(fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?)
}

fn timespec(span: Duration) -> Timespec {
    Timespec { tv_sec: span.as_secs() as i64, tv_nsec: i64::from(span.subsec_nanos()) }
}

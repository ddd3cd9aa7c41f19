//! A program that is not trusted to behave: it may fork, hang, flood its output or leave its input unread. It runs in
//! a process group of its own, which is killed at the bound, sees only the environment it is given, and of its output
//! only the beginning is kept. One thread looks after all of it, so nothing is left behind when this returns.

use super::RunError;
use crate::netlink::readable;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// What is kept of each of stdout and stderr; a fence agent's description of itself has 10 to 20 KiB.
const KEPT: usize = 256 << 10;

/// How long the kernel may take to end what was killed.
const KILLED: Duration = Duration::from_secs(2);

/// A program to be run to its end.
#[derive(Clone, Debug, Default)]
pub struct Program {
    /// Its path, or a name to be looked for.
    pub path: String,
    /// What it is told in argv: readable by everybody on the host, so never a secret.
    pub arguments: Vec<String>,
    /// Its whole environment but PATH and the locale.
    pub environment: Vec<(String, String)>,
    /// Its standard input.
    pub input: Vec<u8>,
}

/// How a program ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// The beginning of its standard output.
    pub out: String,
    /// The beginning of its standard error.
    pub said: String,
}

impl Program {
    /// Runs it to its end, whatever that is; after `bound` its whole process group is killed.
    pub fn run(&self, bound: Duration) -> Result<Ended, RunError> {
        let deadline = Instant::now() + bound;
        let failed = |source| RunError::NotStarted { program: self.path.clone(), source };
        let mut child = self.spawn().map_err(failed)?;
        let ended = self.attend(&mut child, deadline);
        // Also what the program left behind in its group: nothing of it outlives this call.
        kill_process_group(Pid::from_child(&child), Signal::KILL).ok();
        let status = match reap(child).map_err(failed)? {
            Some(status) => status,
            None => return Err(RunError::TooLong { command: self.path.clone(), bound }),
        };
        match ended.map_err(failed)? {
            None => Err(RunError::TooLong { command: self.path.clone(), bound }),
            Some((out, said)) => Ok(Ended {
                code: status.code(),
                signal: status.signal(),
                out: String::from_utf8_lossy(&out).into_owned(),
                said: String::from_utf8_lossy(&said).into_owned(),
            }),
        }
    }

    fn spawn(&self) -> std::io::Result<Child> {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).env_clear().env("LC_ALL", "C");
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.envs(self.environment.iter().cloned());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.process_group(0).spawn()
    }

    /// Feeds and reads it until it has ended; none if the deadline came first.
    fn attend(&self, child: &mut Child, deadline: Instant) -> std::io::Result<Option<Kept>> {
        let end = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
        let mut input = Input { to: child.stdin.take(), left: &self.input };
        let mut out = Output::<ChildStdout>::new(child.stdout.take())?;
        let mut said = Output::<ChildStderr>::new(child.stderr.take())?;
        if let Some(to) = &input.to {
            unblock(to)?;
        }
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            input.feed();
            let mut wanted = vec![PollFd::new(&end, PollFlags::IN)];
            wanted.extend(out.from.as_ref().map(|from| PollFd::new(from, PollFlags::IN)));
            wanted.extend(said.from.as_ref().map(|from| PollFd::new(from, PollFlags::IN)));
            wanted.extend(input.to.as_ref().map(|to| PollFd::new(to, PollFlags::OUT)));
            match poll(&mut wanted, Some(&timespec(left))) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let ended = !wanted[0].revents().is_empty();
            out.take();
            said.take();
            if ended {
                // What it wrote before its end is in the pipes by now; a child of it may hold them open, and is not
                // waited for.
                return Ok(Some((out.kept, said.kept)));
            }
        }
    }
}

type Kept = (Vec<u8>, Vec<u8>);

/// Its status, once it has ended after SIGKILL. One that the kernel holds in a system call, as with a file system whose
/// server is gone, ends when the kernel lets it go: a thread of its own waits for that, and here it is none.
fn reap(mut child: Child) -> std::io::Result<Option<ExitStatus>> {
    let end = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
    if readable(end.as_fd(), Instant::now() + KILLED)? {
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

struct Output<R> {
    from: Option<R>,
    kept: Vec<u8>,
}

impl<R: Read + AsFd> Output<R> {
    fn new(from: Option<R>) -> std::io::Result<Output<R>> {
        if let Some(from) = &from {
            unblock(from)?;
        }
        Ok(Output { from, kept: Vec::new() })
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

fn unblock(fd: &impl AsFd) -> std::io::Result<()> {
    Ok(fcntl_setfl(fd, fcntl_getfl(fd)? | OFlags::NONBLOCK)?)
}

fn timespec(span: Duration) -> Timespec {
    Timespec { tv_sec: span.as_secs() as i64, tv_nsec: i64::from(span.subsec_nanos()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(line: &str) -> Program {
        let arguments = vec!["-c".to_owned(), line.to_owned()];
        Program { path: "/bin/sh".to_owned(), arguments, ..Program::default() }
    }

    const BOUND: Duration = Duration::from_secs(10);

    #[test]
    fn input_goes_in_and_both_outputs_and_the_code_come_out() {
        let program = Program { input: vec![b'x'; 1 << 20], ..shell("wc -c; echo no >&2; exit 7") };
        let ended = program.run(BOUND).unwrap();
        assert_eq!((ended.code, ended.signal), (Some(7), None));
        assert_eq!((ended.out.trim(), ended.said.trim()), ("1048576", "no"));
    }

    #[test]
    fn input_that_nobody_reads_holds_nothing_up() {
        let program = Program { input: vec![b'x'; 1 << 20], ..shell("exit 0") };
        assert_eq!(program.run(BOUND).unwrap().code, Some(0));
    }

    #[test]
    fn a_flood_is_cut_and_the_program_still_ends() {
        let ended = shell("head -c 50000000 /dev/zero; echo end >&2").run(BOUND).unwrap();
        assert_eq!((ended.out.len(), ended.said.trim()), (KEPT, "end"));
    }

    #[test]
    fn a_flood_without_end_is_ended_by_the_bound() {
        let started = Instant::now();
        let error = shell("exec cat /dev/zero").run(Duration::from_millis(200)).unwrap_err();
        assert!(matches!(error, RunError::TooLong { .. }), "{error}");
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn the_children_of_a_program_that_hangs_are_killed_with_it() {
        let mark = format!("/tmp/group-{}", std::process::id());
        let line = format!("(sleep 1; touch {mark}) & sleep 60");
        let error = shell(&line).run(Duration::from_millis(100)).unwrap_err();
        assert!(matches!(error, RunError::TooLong { .. }), "{error}");
        std::thread::sleep(Duration::from_millis(1500));
        assert!(!std::path::Path::new(&mark).exists());
    }

    #[test]
    fn a_child_that_keeps_the_pipe_is_not_waited_for() {
        let started = Instant::now();
        let ended = shell("sleep 60 & echo done").run(BOUND).unwrap();
        assert_eq!(ended.out.trim(), "done");
        assert!(started.elapsed() < Duration::from_secs(5));
    }

    #[test]
    fn the_environment_is_the_one_given() {
        let environment = vec![("EPOCH".to_owned(), "7".to_owned())];
        let ended = Program { environment, ..shell("env | sort") }.run(BOUND).unwrap();
        let names: Vec<&str> = ended.out.lines().filter_map(|l| l.split('=').next()).collect();
        assert_eq!(names, ["EPOCH", "LC_ALL", "PATH", "PWD"]);
    }

    #[test]
    fn a_signal_is_no_exit_code() {
        let ended = shell("kill -9 $$").run(BOUND).unwrap();
        assert_eq!((ended.code, ended.signal), (None, Some(9)));
    }

    #[test]
    fn a_missing_program_is_named() {
        let program = Program { path: "/no/such/agent".to_owned(), ..Program::default() };
        assert!(program.run(BOUND).unwrap_err().to_string().contains("/no/such/agent"));
    }
}

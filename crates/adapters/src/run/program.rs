//! A program that sees only the environment it is given, and is run to its end.

use super::error::RunError;
use super::running::{Finished, Outputs, Running};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};

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
        let running = Running::start(self.command(), &self.input, Outputs::Apart);
        let ended = running.and_then(|running| running.end(deadline, Some(KILLED)));
        let Finished { status, out, err } = ended.map_err(failed)?;
        let Some(status) = status else {
            return Err(RunError::TooLong { command: self.path.clone(), bound });
        };
        Ok(Ended {
            code: status.code(),
            signal: status.signal(),
            out: String::from_utf8_lossy(&out).into_owned(),
            said: String::from_utf8_lossy(&err).into_owned(),
        })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(&self.arguments).env_clear().env("LC_ALL", "C");
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.envs(self.environment.iter().cloned());
        command
    }
}

#[cfg(test)]
mod tests {
    use super::super::running::KEPT;
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

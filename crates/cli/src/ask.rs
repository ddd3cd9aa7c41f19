//! Puts a question to an agent and shows the answer.

use crate::args::{Confirm, Question};
use crate::render::in_lines;
use crate::{error, render};
use regent_api::call::{Ask, Call, Refusal, RefusalKind, Reply, Result as ApiResult};
use regent_api::exit::Exit;
use regent_api::frame;
use regent_api::stack::{Moved, Plan, StepNews};
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Between two tries to reach an agent that begins a new life.
const LIFE: Duration = Duration::from_millis(500);

/// How long such an agent may take until it listens.
const LIVES: Duration = Duration::from_secs(20);

/// A stream to an agent.
pub trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

/// Opens a stream to another node: the question, and how long each read may take.
pub type Remote = fn(&Question, Duration) -> Result<Box<dyn Stream>, Refusal>;

/// Puts the question, prints the answer, and returns the exit code that says the same.
pub fn put(question: &Question, remote: Remote) -> Exit {
    let mut screen = Screen::of_this_process(question.json);
    let answered = match &question.confirm {
        Confirm::No => Ok(()),
        Confirm::Say(text) => confirm(text),
        Confirm::Preview(ask, text) => preview(question, ask, text, remote, &mut screen),
        Confirm::Typed { text, name } => typed(text, name, &mut io::stdin().lock()),
    };
    match answered.and_then(|()| converse(question, remote, &mut screen)) {
        Ok(exit) => exit,
        Err(refusal) => screen.refuse(&refusal),
    }
}

/// Puts a question and returns its last reply; what comes before goes to `told`. Shows nothing itself.
pub fn listen(
    question: &Question,
    remote: Remote,
    mut told: impl FnMut(&str),
) -> Result<Reply, Refusal> {
    let mut stream = open(question, remote)?;
    loop {
        match next(question, &mut stream)? {
            Reply::Progress(text) => told(&text),
            Reply::Plan(_) | Reply::Step(_) => {}
            Reply::Refused(refusal) => return Err(refusal),
            reply @ (Reply::Again(_)
            | Reply::Moved(_)
            | Reply::Stack(_)
            | Reply::Status(_)
            | Reply::History(_)
            | Reply::Text(_)
            | Reply::Fences(_)
            | Reply::Done(_)) => return Ok(reply),
        }
    }
}

/// Says why a question is not even put, as its answer would be said.
pub fn refuse(question: &Question, refusal: &Refusal) -> Exit {
    Screen::of_this_process(question.json).refuse(refusal)
}

/// Shows what would be done, and asks whether it shall be.
fn preview(
    question: &Question,
    ask: &Ask,
    text: &str,
    remote: Remote,
    screen: &mut Screen,
) -> Result<(), Refusal> {
    let first = Question { ask: ask.clone(), json: false, ..question.clone() };
    let mut stream = open(&first, remote)?;
    loop {
        match next(&first, &mut stream)? {
            Reply::Text(lines) => {
                lines.iter().for_each(|line| screen.progress(line));
                return confirm(text);
            }
            Reply::Progress(text) => screen.progress(&text),
            Reply::Refused(refusal) => return Err(refusal),
            // Nothing would change: the question itself says so again.
            Reply::Done(_)
            | Reply::Again(_)
            | Reply::Plan(_)
            | Reply::Step(_)
            | Reply::Moved(_)
            | Reply::Stack(_)
            | Reply::Status(_)
            | Reply::History(_)
            | Reply::Fences(_) => {
                return Ok(());
            }
        }
    }
}

/// A stream with the question on its way.
fn open(question: &Question, remote: Remote) -> Result<Box<dyn Stream>, Refusal> {
    let patience = patience(&question.ask);
    let mut stream: Box<dyn Stream> = match &question.node {
        Some(_) => remote(question, patience)?,
        None => Box::new(local(&question.socket, patience)?),
    };
    let call = serde_json::to_vec(&Call::new(question.ask.clone())).map_err(internal)?;
    frame::write(&mut stream, &call).map_err(|e| silent(question, &e))?;
    Ok(stream)
}

fn next(question: &Question, stream: &mut Box<dyn Stream>) -> Result<Reply, Refusal> {
    let body = frame::read(stream).map_err(|e| silent(question, &e))?;
    serde_json::from_slice(&body).map_err(|e| Refusal {
        kind: RefusalKind::Internal,
        reason: format!("the agent's answer is not understood: {e}"),
        remedy: "the command and the agent are of different releases: restart the agent".into(),
    })
}

/// How long an agent may be silent. An agent answers status from what it knows, so that is within a second even
/// with its peers dead; the others tell their progress or end within the bound of a planned move.
fn patience(ask: &Ask) -> Duration {
    match ask {
        Ask::Status | Ask::Explain | Ask::History { cluster: false, .. } => {
            Duration::from_millis(900)
        }
        // Each member has half of it.
        Ask::History { cluster: true, .. } => Duration::from_secs(3),
        Ask::ConfigShow { .. } => Duration::from_secs(3),
        Ask::Maintenance { .. } | Ask::Pause { .. } | Ask::ConfigDiff { .. } => {
            Duration::from_secs(10)
        }
        // Each step is told; the longest is the wait for a shorter ttl, or for a member's return.
        Ask::ConfigSet { .. } => Duration::from_secs(30),
        // On shared data everything goes down and comes up; the agent knows its bound and ends within it.
        Ask::Switchover { .. } => Duration::from_secs(940),
        // A copy may take hours, and tells how far it is every few seconds.
        Ask::Resync { .. } | Ask::VerifyDb { .. } => Duration::from_secs(60),
        // The longest time-out of a fence that the configuration takes, and then some.
        Ask::Fence { .. } | Ask::FenceTest { .. } => Duration::from_secs(310),
        Ask::Stop | Ask::Start => Duration::from_secs(130),
        Ask::Init | Ask::AdmitVoter { .. } | Ask::Rejoin { .. } => Duration::from_secs(60),
        // It looks at every step.
        Ask::StackShow => Duration::from_secs(30),
        // Whoever waits is told of the step that runs ten times a second; between two steps core may wait for a
        // majority, for a survey, or for a proof.
        Ask::Activate { .. } | Ask::Deactivate { .. } | Ask::StackRepair => {
            Duration::from_secs(310)
        }
    }
}

fn converse(question: &Question, remote: Remote, screen: &mut Screen) -> Result<Exit, Refusal> {
    talk(open(question, remote)?, question, remote, screen)
}

/// A new life of the agent is asked to go on; it may take a moment until it listens.
fn ask_again(question: &Question, remote: Remote, screen: &mut Screen) -> Result<Exit, Refusal> {
    let mut next = question.clone();
    if let Ask::Activate { off, cannot_write, .. } = &mut next.ask {
        (*off, *cannot_write) = (None, None);
    }
    let began = Instant::now();
    std::thread::sleep(LIFE);
    loop {
        match open(&next, remote) {
            Ok(stream) => return talk(stream, &next, remote, screen),
            Err(refusal) if began.elapsed() >= LIVES => return Err(refusal),
            Err(_) => std::thread::sleep(LIFE),
        }
    }
}

fn talk(
    mut stream: Box<dyn Stream>,
    question: &Question,
    remote: Remote,
    screen: &mut Screen,
) -> Result<Exit, Refusal> {
    loop {
        match next(question, &mut stream)? {
            Reply::Progress(text) => screen.progress(&text),
            Reply::Again(text) => {
                screen.progress(&text);
                return ask_again(question, remote, screen);
            }
            Reply::Plan(plan) => screen.plan(&plan),
            Reply::Step(news) => screen.step(&news),
            Reply::Moved(moved) => return Ok(screen.moved(&moved)),
            Reply::Stack(shown) => {
                screen.show(&*shown, |paint| render::stack::shown(&in_lines(&*shown), paint));
                return Ok(shown.exit());
            }
            Reply::Status(status) => {
                let text = |paint| render::status(&in_lines(&*status), question.shown, paint);
                screen.show(&*status, text);
                return Ok(status.exit());
            }
            Reply::History(history) => {
                screen.show(&history, |paint| render::history(&in_lines(&history), paint));
                return Ok(Exit::Ok);
            }
            Reply::Text(lines) => {
                screen.show(&render::Explanation::new(&lines), |_| lines.join("\n") + "\n");
                return Ok(Exit::Ok);
            }
            Reply::Fences(fences) => {
                screen.show(&fences, |paint| render::fences(&in_lines(&fences), paint));
                return Ok(fences.exit());
            }
            Reply::Done(text) => {
                screen.show(&done(&text), |_| format!("{text}\n"));
                return Ok(Exit::Ok);
            }
            Reply::Refused(refusal) => return Err(refusal),
        }
    }
}

/// Asks at the terminal; without one, the option must have said it.
pub fn confirm(text: &str) -> Result<(), Refusal> {
    let refuse = |reason: &str, remedy: &str| Refusal {
        kind: RefusalKind::Usage,
        reason: reason.into(),
        remedy: remedy.into(),
    };
    if !io::stdin().is_terminal() {
        return Err(refuse(&format!("to {text} needs a yes"), "say it: --yes"));
    }
    io::stderr().write_all(format!("{text}? [y/N] ").as_bytes()).ok();
    let mut answer = String::new();
    io::stdin().read_line(&mut answer).ok();
    match answer.trim() {
        "y" | "yes" => Ok(()),
        _ => Err(refuse("nothing was done", "")),
    }
}

/// Has a name typed; a line that a script hands in is one as well.
fn typed(text: &str, name: &str, from: &mut impl BufRead) -> Result<(), Refusal> {
    let asked = format!("{text}\ntype the name of the host that cannot write: ");
    io::stderr().write_all(asked.as_bytes()).ok();
    let mut answer = String::new();
    from.read_line(&mut answer).ok();
    if answer.trim() == name {
        return Ok(());
    }
    Err(Refusal {
        kind: RefusalKind::Usage,
        reason: format!("{name} was not typed: nothing was done"),
        remedy: "type the name as the option has it".into(),
    })
}

fn done(text: &str) -> ApiResult {
    ApiResult {
        version: regent_api::VERSION,
        result: "done".into(),
        text: text.into(),
        remedy: None,
        exit: Exit::Ok.number(),
    }
}

fn local(socket: &Path, patience: Duration) -> Result<UnixStream, Refusal> {
    let refuse = |error: io::Error| {
        let absent = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
        let (reason, remedy) = if error.kind() == io::ErrorKind::PermissionDenied {
            ("permission denied", "run this command as root")
        } else if absent.contains(&error.kind()) {
            (
                "it does not run here",
                "systemctl start regent (regent-witness on the witness), or ask another node with --node NAME",
            )
        } else {
            ("it cannot be asked", "systemctl status regent")
        };
        Refusal {
            kind: RefusalKind::Unreachable,
            reason: format!("failed to reach the agent at {}: {reason}", socket.display()),
            remedy: remedy.into(),
        }
    };
    let stream = UnixStream::connect(socket).map_err(refuse)?;
    stream.set_read_timeout(Some(patience)).map_err(refuse)?;
    stream.set_write_timeout(Some(patience)).map_err(refuse)?;
    Ok(stream)
}

fn silent(question: &Question, error: &io::Error) -> Refusal {
    let whom = match &question.node {
        Some(name) => format!("the agent of {name}"),
        None => "the local agent".into(),
    };
    let timed_out = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
    let (kind, reason) = match (timed_out, question.ask.changes()) {
        (true, true) => (RefusalKind::TimedOut, format!("{whom} did not tell the end in its time")),
        (true, false) => (RefusalKind::Unreachable, format!("{whom} does not answer")),
        (false, _) => (RefusalKind::Unreachable, format!("{whom} broke the connection: {error}")),
    };
    let remedy = if question.ask.changes() {
        "see what became of it with regent status and regent history"
    } else {
        "systemctl status regent; journalctl -u regent"
    };
    Refusal { kind, reason, remedy: remedy.into() }
}

fn internal(error: serde_json::Error) -> Refusal {
    Refusal {
        kind: RefusalKind::Internal,
        reason: format!("failed to write the question: {error}"),
        remedy: String::new(),
    }
}

/// Where the answer goes: colours only on a terminal that wants them.
struct Screen {
    json: bool,
    paint: bool,
    /// A line may be written over.
    live: bool,
    /// One stands there.
    running: bool,
}

impl Screen {
    fn of_this_process(json: bool) -> Screen {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
            && std::env::var_os("TERM").is_none_or(|v| v != "dumb");
        let live = wanted && io::stderr().is_terminal() && io::stdout().is_terminal();
        Screen { json, paint: wanted && io::stdout().is_terminal(), live, running: false }
    }

    fn show<T: serde::Serialize>(&self, value: &T, text: impl FnOnce(bool) -> String) {
        let out = if self.json {
            serde_json::to_string(value).map(|s| s + "\n").unwrap_or_default()
        } else {
            text(self.paint)
        };
        // A reader that went away (`| head`) is no error.
        io::stdout().write_all(out.as_bytes()).ok();
    }

    fn progress(&self, text: &str) {
        io::stderr().write_all(format!("{text}\n").as_bytes()).ok();
    }

    /// What it comes to. With --json only the result is printed.
    fn plan(&self, plan: &Plan) {
        if !self.json {
            self.print(&render::stack::plan(&in_lines(plan), self.paint));
        }
    }

    /// A line for each step that ended; the one that runs stands on the last line of a terminal until then.
    fn step(&mut self, news: &StepNews) {
        if self.json {
            return;
        }
        let news = &in_lines(news);
        match &news.ended {
            Some(end) => {
                self.clear();
                self.print(&render::stack::step(news, end, self.paint));
            }
            None if self.live => {
                let line = format!("\r{}\x1b[K", render::stack::running(news, self.paint));
                io::stderr().write_all(line.as_bytes()).ok();
                self.running = true;
            }
            None => {}
        }
    }

    fn moved(&mut self, moved: &Moved) -> Exit {
        self.clear();
        if self.json {
            self.show(moved, |_| String::new());
            return moved.exit();
        }
        let text = render::stack::moved(&in_lines(moved), self.paint);
        if moved.obstacle.is_none() {
            self.print(&text);
        } else {
            io::stderr().write_all(text.as_bytes()).ok();
        }
        moved.exit()
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.running) {
            io::stderr().write_all(b"\r\x1b[K").ok();
        }
    }

    fn print(&self, text: &str) {
        io::stdout().write_all(text.as_bytes()).ok();
    }

    fn refuse(&mut self, refusal: &Refusal) -> Exit {
        self.clear();
        if self.json {
            self.show(&error::json(refusal), |_| String::new());
        } else {
            io::stderr().write_all(error::render(refusal).as_bytes()).ok();
        }
        refusal.kind.exit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Shown;
    use regent_api::history::History;
    use std::os::unix::net::UnixListener;
    use std::path::PathBuf;

    fn question(socket: &Path, ask: Ask) -> Question {
        Question {
            ask,
            json: false,
            shown: Shown::default(),
            confirm: Confirm::No,
            node: None,
            socket: socket.into(),
            config: PathBuf::new(),
            tls: PathBuf::new(),
        }
    }

    fn nobody(_: &Question, _: Duration) -> Result<Box<dyn Stream>, Refusal> {
        panic!("nobody remote is asked")
    }

    fn socket(name: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("regent-cli-{}-{name}", std::process::id()));
        std::fs::remove_file(&path).ok();
        path
    }

    /// An agent that answers one call with these replies.
    fn agent(path: &Path, replies: Vec<Reply>) -> std::thread::JoinHandle<Call> {
        let listener = UnixListener::bind(path).unwrap();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let call = serde_json::from_slice(&frame::read(&mut stream).unwrap()).unwrap();
            for reply in replies {
                frame::write(&mut stream, &serde_json::to_vec(&reply).unwrap()).unwrap();
            }
            call
        })
    }

    #[test]
    fn an_agent_that_is_not_there_is_unreachable() {
        let path = socket("none");
        assert_eq!(put(&question(&path, Ask::Status), nobody), Exit::Unreachable);
    }

    #[test]
    fn a_name_is_typed_as_it_is() {
        assert!(typed("", "mn1", &mut "mn1\n".as_bytes()).is_ok());
        for wrong in ["", "\n", "y\n", "MN1\n", "mn2\n"] {
            assert!(typed("", "mn1", &mut wrong.as_bytes()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn progress_is_followed_to_the_end() {
        let path = socket("progress");
        let replies = vec![Reply::Progress("half".into()), Reply::Done("moved".into())];
        let there = agent(&path, replies);
        let ask = Ask::Switchover { to: None, away: false };
        assert_eq!(put(&question(&path, ask.clone()), nobody), Exit::Ok);
        assert_eq!(there.join().unwrap(), Call::new(ask));
    }

    #[test]
    fn each_refusal_has_its_exit_code() {
        for (kind, exit) in [
            (RefusalKind::Guard, Exit::Refused),
            (RefusalKind::TimedOut, Exit::TimedOut),
            (RefusalKind::NotInitialised, Exit::NotInitialised),
            (RefusalKind::Unsafe, Exit::Unsafe),
        ] {
            let path = socket(&format!("{kind:?}"));
            let refusal = Refusal { kind, reason: "no".into(), remedy: String::new() };
            let there = agent(&path, vec![Reply::Refused(refusal)]);
            assert_eq!(put(&question(&path, Ask::Explain), nobody), exit);
            there.join().unwrap();
        }
    }

    #[test]
    fn an_agent_that_says_nothing_is_given_up_within_a_second() {
        let path = socket("mute");
        let listener = UnixListener::bind(&path).unwrap();
        let began = std::time::Instant::now();
        assert_eq!(put(&question(&path, Ask::Status), nobody), Exit::Unreachable);
        assert!(began.elapsed() < Duration::from_secs(1));
        drop(listener);
    }

    #[test]
    fn a_history_is_shown() {
        let path = socket("history");
        let history = History {
            version: 1,
            node: "mn1".into(),
            events: vec![],
            cluster: false,
            missing: vec![],
        };
        let there = agent(&path, vec![Reply::History(history)]);
        assert_eq!(
            put(&question(&path, Ask::History { last: 3, cluster: false }), nobody),
            Exit::Ok
        );
        assert_eq!(there.join().unwrap().ask, Ask::History { last: 3, cluster: false });
    }
}

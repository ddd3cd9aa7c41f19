//! `regent setup shared-data`: one command for each host, from a checked configuration to a node that is ready. Every
//! stage may be done twice, so that a second run goes on where the first was interrupted.
//!
//! ```text
//!  this host:             configuration ─► checks ─► agent ─► cluster ─► activation (which installs)
//!  the other, --standby:  configuration ─► checks ─► agent ─► cluster ─► active here once, to install ─► passive,
//!                                                               and whoever was active before is so again
//! ```
//!
//! Whatever a later stage would refuse is looked at before the first change: a host that is in use goes on serving.

mod others;

use others::Other;
use regent_agent::remote;
use regent_agent::setup::{self as host, Checked, Coming};
use regent_cli::api::call::{Ask, Refusal, RefusalKind, Reply};
use regent_cli::api::status::{Role, Status};
use regent_cli::args::{Confirm, Question, SetUp, Shown};
use regent_cli::{Exit, ask};
use std::io::Write;
use std::time::{Duration, Instant};

/// How long the other host is waited for: somebody has to type the command there, and a product takes its time.
const WAIT: Duration = Duration::from_secs(3_600);

/// Between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// How long an agent may take until it answers.
const ANSWER: Duration = Duration::from_secs(30);

/// How long the other node must have failed, or must have rested without anybody activating it, until the standby
/// does not wait for it any more: its set-up may be on the way to its next stage.
const FAILED_FOR: Duration = Duration::from_secs(10);
const RESTS_FOR: Duration = Duration::from_secs(30);

/// Each host looks at its stack again within half of this.
const SURVEYED: Duration = Duration::from_secs(12);

/// What is asked for, and how far it is.
struct Setup<'a> {
    asked: &'a SetUp,
    checked: Checked,
}

/// From the arguments to the exit code.
pub fn run(asked: &SetUp) -> Exit {
    match stages(asked) {
        Ok(exit) => exit,
        Err(refusal) => {
            say(&regent_cli::error::render(&refusal));
            refusal.kind.exit()
        }
    }
}

fn stages(asked: &SetUp) -> Result<Exit, Refusal> {
    let began = Instant::now();
    let checked = stage("configuration", || {
        let checked = host::check(&asked.config, &asked.tls)?;
        let text = checked.text.clone();
        Ok((checked, text))
    })?;
    let setup = Setup { asked, checked };
    setup.agreed()?;
    let founded = setup.is_founded();
    stage("checks", || setup.look_ahead(!founded))?;
    if let Some(new) = asked.readdress.as_ref().filter(|_| !founded) {
        stage("other node", || setup.others_answer())?;
        stage("address", || setup.readdress(new))?;
    }
    stage("agent", || setup.agent())?;
    stage("cluster", || setup.cluster())?;
    // With the address and the token as they are to be, once more before anything is stopped.
    setup.look_ahead(false)?;
    stage("at rest", || setup.at_rest())?;
    let exit = if asked.standby { setup.standby()? } else { setup.first()? };
    if matches!(exit, Exit::Ok | Exit::Degraded) {
        let (me, took) = (&setup.checked.me, began.elapsed().as_secs_f64());
        let form = if asked.standby { "passive, and ready to be activated" } else { "active" };
        say(&format!("{me} is set up: {form} · {took:.1} s\n"));
    }
    Ok(exit)
}

impl Setup<'_> {
    fn is_founded(&self) -> bool {
        self.status().is_ok_and(|status| status.initialised)
    }

    /// The product can be installed only where its data are: whoever serves is interrupted for it, and that is asked
    /// before anything else.
    fn agreed(&self) -> Result<(), Refusal> {
        if !self.asked.standby || self.asked.yes || !self.checked.installs {
            return Ok(());
        }
        let (me, others) = (&self.checked.me, self.others());
        ask::confirm(&format!(
            "install the product on {me}, for which the data come here once, and the service of {others} is down meanwhile"
        ))
    }

    /// Nothing that a later stage would refuse is in the way. `founds`: this run gives the host its address, and makes
    /// the cluster.
    fn look_ahead(&self, founds: bool) -> Result<((), String), Refusal> {
        let asked = self.asked;
        let readdress = asked.readdress.as_deref().filter(|_| founds);
        let coming = Coming { readdress, cluster: founds, standby: asked.standby };
        host::look_ahead(&asked.config, &asked.tls, coming)?;
        Ok(((), "nothing is in the way of the later stages on this host".into()))
    }

    /// The other node's agent answers: without it there is no cluster, and an address that is given up for one that
    /// does not come is missed by everybody.
    fn others_answer(&self) -> Result<((), String), Refusal> {
        let deadline = Instant::now() + WAIT;
        let mut waits = false;
        for name in &self.checked.others {
            while let Err(refusal) = self.status_of(Some(name)) {
                if refusal.kind != RefusalKind::Unreachable {
                    return Err(refusal);
                }
                let what = format!("run regent setup shared-data --standby on {name}");
                self.wait(&mut waits, deadline, &format!("{}; {what}", refusal.reason))?;
            }
        }
        Ok(((), format!("{} answers", self.others())))
    }

    /// The new address before the old one goes. In a cluster the virtual IP is the agent's.
    fn readdress(&self, new: &str) -> Result<((), String), Refusal> {
        let asked = self.asked;
        let steps = host::readdress(&asked.config, &asked.tls, new, say_more)?;
        let text = if steps == 0 { "it was so already" } else { "the old one is the virtual IP" };
        Ok(((), format!("{new}: {text}")))
    }

    /// It answers, and has read the configuration of now.
    fn agent(&self) -> Result<((), String), Refusal> {
        // One with a cluster keeps running: regent config set changes it.
        if !self.status().is_ok_and(|status| status.initialised) {
            host::start_agent()?;
        }
        let deadline = Instant::now() + ANSWER;
        loop {
            match self.status() {
                Ok(status) => return Ok(((), format!("{} answers", status.now_node))),
                Err(refusal) if Instant::now() > deadline => return Err(refusal),
                Err(_) => std::thread::sleep(PAUSE / 5),
            }
        }
    }

    /// There is one, made here unless this is the standby. The token on the shared data is compared on the way.
    fn cluster(&self) -> Result<((), String), Refusal> {
        let deadline = Instant::now() + WAIT;
        let mut waits = false;
        loop {
            if let Ok(status) = self.status()
                && status.initialised
            {
                return Ok(((), format!("{} is there, epoch {}", status.cluster, epoch(&status))));
            }
            let why = match self.asked.standby {
                true => format!("run regent setup shared-data on {}", self.others()),
                false => match self.found() {
                    Ok(()) => continue,
                    Err(refusal) if refusal.kind == RefusalKind::Unreachable => refusal.reason,
                    // The other host may have been quicker.
                    Err(_) if self.status().is_ok_and(|status| status.initialised) => continue,
                    Err(refusal) => return Err(refusal),
                },
            };
            self.wait(&mut waits, deadline, &why)?;
        }
    }

    fn found(&self) -> Result<(), Refusal> {
        let reply = ask::listen(&self.question(Ask::Init, None), open, say_more)?;
        if let Reply::Done(text) = reply {
            say_more(&text);
        }
        // The agent begins its next life.
        let deadline = Instant::now() + ANSWER;
        while Instant::now() < deadline {
            if self.status().is_ok_and(|status| status.initialised) {
                return Ok(());
            }
            std::thread::sleep(PAUSE / 10);
        }
        Ok(())
    }

    /// The first host ends active; while the other one installs itself it is waited for.
    fn first(&self) -> Result<Exit, Refusal> {
        let deadline = Instant::now() + WAIT;
        let mut waits = false;
        loop {
            let used = self.user()?;
            if let Some(other) = used.filter(|node| *node != self.checked.me) {
                self.wait(&mut waits, deadline, &format!("{other} is active, to install itself"))?;
                continue;
            }
            let exit =
                self.put(Ask::Activate { off: None, cannot_write: None, dry_run: false }, None);
            if exit != Exit::ActiveElsewhere {
                return Ok(exit);
            }
            self.wait(&mut waits, deadline, "another node was first")?;
        }
    }

    /// A package starts its services when it is installed: nothing of the stack runs here before its first activation.
    fn at_rest(&self) -> Result<((), String), Refusal> {
        if self.is_user()? {
            return Ok(((), "this host is active".into()));
        }
        let question = self.question(Ask::Deactivate { dry_run: false }, None);
        let reply = ask::listen(&question, open, say_more)?;
        let Reply::Moved(moved) = reply else {
            return Err(stopped(&format!("the agent's answer is not understood: {reply:?}")));
        };
        match moved.obstacle {
            None => Ok(((), "nothing of the stack runs here".into())),
            Some(kind) => {
                Err(Refusal { kind, reason: moved.text, remedy: moved.remedy.unwrap_or_default() })
            }
        }
    }

    /// The standby installs itself with the data in its hands, once, and gives them back.
    fn standby(&self) -> Result<Exit, Refusal> {
        if self.checked.installs
            && let Some(exit) = self.install()?
        {
            return Ok(exit);
        }
        if self.is_user()? {
            let exit = self.put(Ask::Deactivate { dry_run: false }, None);
            if exit != Exit::Ok {
                return Ok(exit);
            }
        }
        let exit = self.give_back()?;
        let status = self.until_there_are_data()?;
        let problems = self.problems(&status);
        for problem in problems {
            say(&format!("  it could not be activated now: {problem}\n"));
        }
        Ok(if problems.is_empty() { exit } else { Exit::Checks })
    }

    fn problems<'s>(&self, status: &'s Status) -> &'s [String] {
        let here = status.nodes.iter().find(|node| node.name == self.checked.me);
        here.and_then(|node| node.stack.as_ref()).map_or(&[], |stack| &stack.problems)
    }

    /// The first host puts its data onto the shared directory as it is activated: before that, and while it is,
    /// nobody could be activated here. One that failed, or that nobody activates, is not waited for.
    fn until_there_are_data(&self) -> Result<Status, Refusal> {
        let deadline = Instant::now() + WAIT;
        let mut waits = false;
        let mut ends = Ends::default();
        loop {
            let status = self.status()?;
            let shared = status.shared.as_ref();
            let never = shared.is_some_and(|shared| shared.claim.is_none());
            let other = others::other(&status, &self.checked.me);
            let problems = self.problems(&status);
            // What this host saw before the data came is looked at again.
            let settled = ends.lasts(&other) > SURVEYED;
            let coming = (never && other != Other::Active)
                || matches!(other, Other::Moves | Other::Failed { .. });
            if problems.is_empty() || (!coming && settled) {
                return Ok(status);
            }
            if coming {
                ends.expect(&other, self, problems)?;
                let why = format!("{} is not active yet, which brings the data", self.others());
                self.wait(&mut waits, deadline, &why)?;
            } else {
                self.wait(&mut waits, deadline, "what the other host is doing is not clear yet")?;
            }
        }
    }

    /// Active here, which installs; whoever comes first goes first. An exit code if it cannot be.
    fn install(&self) -> Result<Option<Exit>, Refusal> {
        let deadline = Instant::now() + WAIT;
        let mut waits = false;
        loop {
            self.take_the_data()?;
            let exit =
                self.put(Ask::Activate { off: None, cannot_write: None, dry_run: false }, None);
            if matches!(exit, Exit::Ok | Exit::Degraded) {
                return Ok(None);
            }
            if exit != Exit::ActiveElsewhere {
                self.give_back()?;
                return Ok(Some(exit));
            }
            self.wait(&mut waits, deadline, "the other node was first")?;
        }
    }

    /// Takes everything down on whoever is active; what is under way there comes to its end first. What would keep this
    /// host from being activated is found before that: all the data are there.
    fn take_the_data(&self) -> Result<(), Refusal> {
        let deadline = Instant::now() + WAIT;
        let mut waits = false;
        let mut ends = Ends::default();
        while let Some(node) = self.user()?.filter(|node| *node != self.checked.me) {
            let status = self.status()?;
            let active =
                status.nodes.iter().any(|known| known.name == node && known.role == Role::Active);
            if !active {
                ends.expect(&others::other(&status, &self.checked.me), self, &[])?;
                self.wait(&mut waits, deadline, &format!("{node} has not come to its end"))?;
                continue;
            }
            self.could_be_activated()?;
            host::keep_to_return(Some(&node))?;
            say_more(&format!("{node} is active, and is so again when this host is installed"));
            let exit = self.put(Ask::Deactivate { dry_run: false }, Some(&node));
            if exit != Exit::Ok {
                let refusal = stopped(&format!("{node} could not be deactivated"));
                // Somebody works in a directory there, and is named above.
                let checks = RefusalKind::Checks;
                let kind = if exit == Exit::Checks { checks } else { refusal.kind };
                return Err(Refusal { kind, ..refusal });
            }
        }
        Ok(())
    }

    /// Nothing but the node that is active keeps this one from being so: its checks come first.
    fn could_be_activated(&self) -> Result<(), Refusal> {
        let ask = Ask::Activate { off: None, cannot_write: None, dry_run: true };
        let reply = ask::listen(&self.question(ask, None), open, |_| {})?;
        if let Reply::Moved(moved) = reply
            && moved.obstacle == Some(RefusalKind::Checks)
        {
            return Err(Refusal {
                kind: RefusalKind::Checks,
                reason: format!("{}; nothing was taken down anywhere", moved.text),
                remedy: "mend that, then regent setup shared-data --standby again".into(),
            });
        }
        Ok(())
    }

    fn give_back(&self) -> Result<Exit, Refusal> {
        let Some(node) = host::to_return() else { return Ok(Exit::Ok) };
        let exit =
            self.put(Ask::Activate { off: None, cannot_write: None, dry_run: false }, Some(&node));
        if matches!(exit, Exit::Ok | Exit::Degraded) {
            host::keep_to_return(None)?;
        }
        Ok(exit)
    }

    /// Who uses the shared data.
    fn user(&self) -> Result<Option<String>, Refusal> {
        Ok(self.status()?.shared.and_then(|shared| shared.in_use).map(|used| used.node))
    }

    fn is_user(&self) -> Result<bool, Refusal> {
        Ok(self.user()?.as_deref() == Some(self.checked.me.as_str()))
    }

    fn status(&self) -> Result<Status, Refusal> {
        self.status_of(None)
    }

    fn status_of(&self, node: Option<&str>) -> Result<Status, Refusal> {
        let reply = ask::listen(&self.question(Ask::Status, node), open, |_| {})?;
        let Reply::Status(status) = reply else {
            return Err(stopped(&format!("the agent's answer is not understood: {reply:?}")));
        };
        Ok(*status)
    }

    fn put(&self, ask: Ask, node: Option<&str>) -> Exit {
        ask::put(&self.question(ask, node), open)
    }

    fn question(&self, ask: Ask, node: Option<&str>) -> Question {
        Question {
            ask,
            json: false,
            shown: Shown::default(),
            confirm: Confirm::No,
            node: node.map(Into::into),
            socket: self.asked.socket.clone(),
            config: self.asked.config.clone(),
            tls: self.asked.tls.clone(),
        }
    }

    fn others(&self) -> String {
        self.checked.others.join(" or ")
    }

    /// Waits a moment; says once what for.
    fn wait(&self, said: &mut bool, deadline: Instant, what: &str) -> Result<(), Refusal> {
        if !std::mem::replace(said, true) {
            say_more(&format!("waiting: {what}"));
        }
        if Instant::now() > deadline {
            return Err(stopped(&format!("waited for too long: {what}")));
        }
        std::thread::sleep(PAUSE);
        Ok(())
    }
}

/// Since when the other node has been where it is.
#[derive(Default)]
struct Ends {
    seen: Option<(Other, Instant)>,
}

impl Ends {
    fn lasts(&mut self, other: &Other) -> Duration {
        match &self.seen {
            Some((seen, since)) if seen == other => since.elapsed(),
            Some(_) | None => {
                self.seen = Some((other.clone(), Instant::now()));
                Duration::ZERO
            }
        }
    }

    /// It may still come to be active, or this host stops waiting for it.
    fn expect(
        &mut self,
        other: &Other,
        setup: &Setup<'_>,
        problems: &[String],
    ) -> Result<(), Refusal> {
        let lasts = self.lasts(other);
        match other {
            Other::Failed { name, why } if lasts > FAILED_FOR => Err(others::failed(name, why)),
            Other::Rests if lasts > RESTS_FOR => Err(others::rests(&setup.others(), problems)),
            Other::Failed { .. } | Other::Rests | Other::Moves | Other::Active => Ok(()),
        }
    }
}

/// One stage and its result, with its time.
fn stage<T>(name: &str, work: impl FnOnce() -> Result<(T, String), Refusal>) -> Result<T, Refusal> {
    let began = Instant::now();
    let (value, text) = work()?;
    say(&format!("{name:<14} ok   {text} · {:.1} s\n", began.elapsed().as_secs_f64()));
    Ok(value)
}

/// The way to another node's agent.
pub fn open(question: &Question, patience: Duration) -> Result<Box<dyn ask::Stream>, Refusal> {
    let node = question.node.as_deref().unwrap_or_default();
    let stream = remote::open(node, &question.config, &question.tls, patience)?;
    Ok(Box::new(stream))
}

fn stopped(reason: &str) -> Refusal {
    Refusal {
        kind: RefusalKind::TimedOut,
        reason: reason.into(),
        remedy: "regent status; then regent setup shared-data again: it goes on from there".into(),
    }
}

fn epoch(status: &Status) -> u64 {
    status.epoch.unwrap_or_default()
}

fn say_more(text: &str) {
    say(&format!("  {text}\n"));
}

fn say(text: &str) {
    // A reader that went away is no error.
    std::io::stdout().write_all(text.as_bytes()).ok();
}

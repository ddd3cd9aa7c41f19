//! Two real servers and two real workers on this host, and a stand-in for the agents between them.
//!
//! Each server has a temporary data directory and a loopback port, with the configuration file that is shipped. Each
//! worker is a child process: this test binary once more, running [`worker_process`]'s test. The stand-in carries
//! questions and copies from one worker to the other and starts and stops the servers.

#![allow(dead_code, reason = "each test file uses its part")]

#[path = "../skipped/mod.rs"]
mod skipped;

pub use skipped::skipped;

use regent_adapters::database::line::{Done, FromWorker, Reply, ToWorker, UnitVerb};
use regent_adapters::database::peer::{PeerAnswer, PeerRequest};
use regent_adapters::database::{DatabaseNode, WorkerSettings, backup, worker};
use regent_core::command::{DatabaseStep, Outcome, StepResult};
use regent_core::id::{AttemptId, BootId, Incarnation, NodeId, RunId};
use regent_core::observe::DatabaseFacts;
use regent_core::state::DataCopy;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::{Duration, Instant};

const CONFIGURATION: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../packaging/rootfs/etc/mysql/mariadb.conf.d/zz-regent.cnf"
);
const CHILD: &str = "RGDB_WORKER";
/// Root's, where a test gives it one; with the socket as the proof nobody asks for it.
pub const ROOT_PASSWORD: &str = "a site's own";
/// Nothing in these tests takes longer on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(90);

/// The body of the test that is the worker's process.
pub fn worker_process() {
    if std::env::var_os(CHILD).is_some() {
        worker::main().expect("a worker that ends with its input");
    }
}

/// Is there everything that these tests need? If not, they say so and pass.
pub fn ready(test: &str) -> bool {
    let there = |program: &str| {
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status()
    };
    let missing: Vec<_> = ["mariadbd", "mariadb-install-db", "mariadb-backup", "mbstream"]
        .into_iter()
        .filter(|program| there(program).is_err())
        .collect();
    let root = Path::new("/root").read_dir().is_ok();
    if missing.is_empty() && root {
        return true;
    }
    skipped(&format!("{test}: needs root and MariaDB 10.11, missing: {missing:?}, root: {root}"));
    false
}

/// A server that is ended with the test.
struct Server {
    folder: PathBuf,
    port: u16,
    process: Option<Child>,
}

impl Server {
    fn start(&mut self) {
        assert!(self.process.is_none(), "it runs already");
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("log"))
            .expect("a log");
        let at = |name: &str| self.folder.join(name).display().to_string();
        let process = Command::new("mariadbd")
            .arg(format!("--defaults-file={CONFIGURATION}"))
            .args(["--user=mysql", "--bind-address=127.0.0.1"])
            .args(["--innodb-buffer-pool-size=32M", "--innodb-log-file-size=8M"])
            .arg(format!("--datadir={}", at("data")))
            // A server that starts deletes the temporary tables of all that share the folder.
            .arg(format!("--tmpdir={}", at("tmp")))
            .arg(format!("--socket={}", at("socket")))
            .arg(format!("--pid-file={}", at("pid")))
            .arg(format!("--port={}", self.port))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("a server");
        self.process = Some(process);
    }

    fn signal(&self, signal: &str) {
        let process = self.process.as_ref().expect("a server that runs");
        let status = Command::new("kill").arg(signal).arg(process.id().to_string()).status();
        assert!(status.expect("kill").success());
    }

    fn end(&mut self, signal: &str) {
        if let Some(mut process) = self.process.take() {
            let id = process.id().to_string();
            for signal in ["-CONT", signal] {
                let _ = Command::new("kill").arg(signal).arg(&id).status();
            }
            process.wait().expect("ended");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end("-KILL");
    }
}

/// A worker process and what it has said.
struct Worker {
    process: Child,
    input: ChildStdin,
}

struct Inner {
    server: Mutex<Server>,
    worker: Mutex<Option<Worker>>,
    settings: WorkerSettings,
    outcomes: Mutex<HashMap<u64, Sender<Outcome>>>,
    served: Mutex<HashMap<u64, Sender<PeerAnswer>>>,
    events: Mutex<Vec<String>>,
    next: Mutex<u64>,
    others: Mutex<Vec<Weak<Inner>>>,
}

/// One node: a server, a worker, a stand-in for its agent.
pub struct Node(Arc<Inner>);

/// Two nodes, with the servers up at rest and the workers running.
pub fn pair(test: &str) -> [Node; 2] {
    let root = std::env::temp_dir().join(format!("rgdb-{}-{test}", std::process::id()));
    let _ = std::fs::remove_dir_all(&root);
    std::fs::create_dir_all(&root).expect("a folder");
    let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let ports = [free(), free()].map(|l| l.local_addr().expect("an address").port());
    let nodes = [1, 2].map(|n| DatabaseNode {
        node: NodeId(n),
        address: Ipv4Addr::LOCALHOST.into(),
        port: ports[usize::from(n) - 1],
    });
    let made = [0, 1].map(|i| {
        let folder = root.join(format!("n{}", i + 1));
        std::fs::create_dir_all(&folder).expect("a folder");
        install(&folder);
        let at = |name: &str| folder.join(name);
        let settings = WorkerSettings {
            socket: at("socket"),
            datadir: at("data"),
            state_dir: at("state"),
            run_dir: at("run"),
            ..WorkerSettings::new(nodes[i].node, nodes.to_vec())
        };
        let mut server = Server { folder, port: ports[i], process: None };
        server.start();
        Node(Arc::new(Inner {
            server: Mutex::new(server),
            worker: Mutex::new(None),
            settings,
            outcomes: Mutex::default(),
            served: Mutex::default(),
            events: Mutex::default(),
            next: Mutex::new(0),
            others: Mutex::default(),
        }))
    });
    for (node, other) in [(0, 1), (1, 0)] {
        made[node].0.others.lock().expect("ours").push(Arc::downgrade(&made[other].0));
        made[node].start_worker();
    }
    made
}

/// One data directory as the package makes it, kept for all tests of this build and copied.
fn install(folder: &Path) {
    let template = Path::new(env!("CARGO_TARGET_TMPDIR")).join("rgdb-template");
    let done = template.join("done");
    let lock = std::fs::File::create(template.with_extension("lock")).expect("a lock");
    lock.lock().expect("the lock");
    if !done.exists() {
        let _ = std::fs::remove_dir_all(&template);
        // The server's account must reach it while it is made.
        let part = std::env::temp_dir().join(format!("rgdb-{}-template", std::process::id()));
        let status = Command::new("mariadb-install-db")
            .args(["--no-defaults", "--auth-root-authentication-method=socket", "--skip-test-db"])
            .arg(format!("--datadir={}", part.display()))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(status.expect("mariadb-install-db").success());
        copy(&part, &template);
        std::fs::remove_dir_all(part).expect("removed");
        std::fs::write(done, "").expect("written");
    }
    drop(lock);
    copy(&template, &folder.join("data"));
    std::fs::create_dir_all(folder.join("tmp")).expect("a folder");
    let status = Command::new("chown").args(["-R", "mysql:mysql"]).arg(folder).status();
    assert!(status.expect("chown").success());
}

fn copy(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    assert!(status.expect("cp").success());
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Ok(worker) = self.worker.get_mut()
            && let Some(mut worker) = worker.take()
        {
            let _ = worker.process.kill();
            let _ = worker.process.wait();
        }
        if let Ok(server) = self.server.get_mut() {
            server.end("-KILL");
            if !thread::panicking() {
                let _ = std::fs::remove_dir_all(&server.folder);
            } else {
                eprintln!("left for a look: {}", server.folder.display());
            }
        }
    }
}

impl Node {
    /// The node's number.
    pub fn id(&self) -> NodeId {
        self.0.settings.node
    }

    /// Its data in their present stay, as the register would record them.
    pub fn copy(&self) -> DataCopy {
        let incarnation = self.facts().incarnation.expect("its data have a name");
        DataCopy { node: self.id(), incarnation }
    }

    /// Where its things are.
    pub fn settings(&self) -> &WorkerSettings {
        &self.0.settings
    }

    /// What the worker told for the log.
    pub fn events(&self) -> Vec<String> {
        self.0.events.lock().expect("ours").clone()
    }

    /// Starts a worker, as an agent does.
    pub fn start_worker(&self) {
        // This very binary, even if the file was built anew meanwhile.
        let mut process = Command::new("/proc/self/exe")
            .args(["--exact", "worker_process", "--ignored", "--nocapture"])
            .env(CHILD, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a worker");
        let mut input = process.stdin.take().expect("its input");
        let output = process.stdout.take().expect("its output");
        let settings = serde_json::to_string(&self.0.settings).expect("json");
        writeln!(input, "{settings}").expect("written");
        *self.0.worker.lock().expect("ours") = Some(Worker { process, input });
        let inner = Arc::downgrade(&self.0);
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                let Some(inner) = inner.upgrade() else { return };
                if let Ok(line) = serde_json::from_str::<FromWorker>(&line) {
                    inner.hear(line);
                }
            }
        });
    }

    /// SIGKILL of the worker; what was in flight is never answered.
    pub fn kill_worker(&self) {
        let mut worker = self.0.worker.lock().expect("ours").take().expect("a worker");
        worker.process.kill().expect("killed");
        worker.process.wait().expect("ended");
        self.0.outcomes.lock().expect("ours").clear();
    }

    /// Sends a step, and returns at once.
    pub fn send(&self, step: DatabaseStep) -> Receiver<Outcome> {
        let patience_ms = (step == DatabaseStep::TakeControl).then_some(30_000);
        let id = self.0.number();
        let (sender, receiver) = channel();
        self.0.outcomes.lock().expect("ours").insert(id, sender);
        self.0.say(&ToWorker::Step { id, step, patience_ms });
        receiver
    }

    /// Does a step: what became of it, and the facts after it.
    pub fn step(&self, step: DatabaseStep) -> (StepResult, Option<DatabaseFacts>) {
        let outcome = self.send(step.clone()).recv_timeout(PATIENCE);
        let outcome = outcome.unwrap_or_else(|_| panic!("no outcome of {step:?}"));
        let Outcome::Database { result, facts } = outcome else {
            panic!("not a database outcome: {outcome:?}")
        };
        (result, facts)
    }

    /// Does a step that must end well; the facts after it.
    pub fn expect(&self, step: DatabaseStep) -> DatabaseFacts {
        let (result, facts) = self.step(step.clone());
        if result == StepResult::NoAnswer {
            eprintln!("{}", self.sql("SHOW FULL PROCESSLIST"));
        }
        assert_eq!(result, StepResult::Done, "{step:?}");
        facts.unwrap_or_else(|| panic!("no facts after {step:?}"))
    }

    /// Does a step that ends in an answer of its own.
    pub fn expect_any(&self, step: DatabaseStep) -> StepResult {
        let (result, _) = self.step(step.clone());
        let good = matches!(result, StepResult::Lineage(_) | StepResult::Saved(_));
        assert!(good, "{step:?}: {result:?}");
        result
    }

    /// The facts now.
    pub fn facts(&self) -> DatabaseFacts {
        self.expect(DatabaseStep::Observe { look_for: None })
    }

    /// Waits until the facts are so.
    pub fn await_facts(&self, what: &str, is_so: impl Fn(&DatabaseFacts) -> bool) -> DatabaseFacts {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let facts = self.facts();
            if is_so(&facts) {
                return facts;
            }
            assert!(Instant::now() < deadline, "never {what}: {facts:#?}");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Control taken, data named, solo, loose, open: as after `regent init`.
    pub fn found(&self, incarnation: u64) {
        self.expect(DatabaseStep::TakeControl);
        self.expect(DatabaseStep::Keep { incarnation: Incarnation(incarnation), mark: false });
        self.expect(DatabaseStep::Loose);
        self.expect(DatabaseStep::Writable);
        self.await_making();
    }

    /// Waits until a writer has made what it needs: the tables and the accounts, the probes' last.
    pub fn await_making(&self) {
        let account = "SELECT COUNT(DISTINCT user) FROM mysql.global_priv WHERE user IN ('regent_repl', 'regent_probe') \
            AND JSON_VALUE(Priv,'$.authentication_string') LIKE '*%'";
        wait_until("the accounts made", || self.sql(account) == "2");
    }

    /// A copy of the writer under a new name, following it.
    pub fn join(&self, writer: &Node, incarnation: u64) {
        self.expect(DatabaseStep::TakeControl);
        let incarnation = Incarnation(incarnation);
        self.expect(DatabaseStep::Reclone { writer: writer.copy(), incarnation });
        self.expect(DatabaseStep::Follow { writer: writer.copy() });
    }

    /// Runs statements as root over the socket, and waits; the answer without headings.
    pub fn sql(&self, text: &str) -> String {
        let output = self.client(text).output().expect("mariadb");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}: {said}");
        String::from_utf8_lossy(&output.stdout).trim().to_string()
    }

    /// Runs statements that may wait for ever.
    pub fn sql_in_background(&self, text: &str) -> Child {
        self.client(text).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("mariadb")
    }

    fn client(&self, text: &str) -> Command {
        let mut command = Command::new("mariadb");
        command.env("MYSQL_PWD", ROOT_PASSWORD);
        command.args(["--no-defaults", "--user=root", "--batch", "--skip-column-names"]);
        command.arg(format!("--socket={}", self.0.settings.socket.display()));
        command.arg("-e").arg(text);
        command
    }

    /// Every row of every table of a database, as one text.
    pub fn content(&self, database: &str) -> String {
        let output = Command::new("mariadb-dump")
            .env("MYSQL_PWD", ROOT_PASSWORD)
            .args(["--no-defaults", "--user=root", "--order-by-primary", "--skip-comments"])
            .args(["--skip-extended-insert", database])
            .arg(format!("--socket={}", self.0.settings.socket.display()))
            .output()
            .expect("mariadb-dump");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Signals the server process.
    pub fn signal(&self, signal: &str) {
        self.0.server.lock().expect("ours").signal(signal);
    }

    /// SIGKILL of the server, and a plain start.
    pub fn crash(&self) {
        let mut server = self.0.server.lock().expect("ours");
        server.end("-KILL");
        server.start();
    }

    /// SIGKILL of the server.
    pub fn kill(&self) {
        self.0.server.lock().expect("ours").end("-KILL");
    }

    /// An orderly stop of the server.
    pub fn stop(&self) {
        self.0.server.lock().expect("ours").end("-TERM");
    }

    /// Looks until the end of the log, as it is now, is kept outside the data.
    pub fn await_end(&self) {
        let status = self.sql("SHOW MASTER STATUS");
        let mut words = status.split_whitespace();
        let file = words.next().expect("a file");
        let at: u64 = words.next().and_then(|at| at.parse().ok()).expect("a position");
        let kept = self.settings().state_dir.join("database.end");
        wait_until("the end of the log kept", || {
            self.facts();
            let bytes = std::fs::read(&kept).unwrap_or_default();
            let end: serde_json::Value = serde_json::from_slice(&bytes).unwrap_or_default();
            end["file"] == file && end["at"] == at
        });
    }

    /// Copies the data directory aside as it is on the disk at this moment, whether the server runs or not.
    pub fn set_aside(&self, name: &str) {
        let server = self.0.server.lock().expect("ours");
        let runs = server.process.is_some();
        if runs {
            server.signal("-STOP");
        }
        copy(&self.0.settings.datadir, &server.folder.join(name));
        if runs {
            server.signal("-CONT");
        }
    }

    /// Ends the server, puts this copy in the place of its data, and starts it.
    pub fn put_back(&self, name: &str) {
        let mut server = self.0.server.lock().expect("ours");
        server.end("-KILL");
        std::fs::remove_dir_all(&self.0.settings.datadir).expect("removed");
        copy(&server.folder.join(name), &self.0.settings.datadir);
        server.start();
    }

    /// A plain start.
    pub fn start(&self) {
        self.0.server.lock().expect("ours").start();
    }
}

impl Inner {
    fn number(&self) -> u64 {
        let mut next = self.next.lock().expect("ours");
        *next += 1;
        *next
    }

    fn say(&self, line: &ToWorker) {
        if let Some(worker) = self.worker.lock().expect("ours").as_mut() {
            let text = serde_json::to_string(line).expect("json");
            writeln!(worker.input, "{text}").expect("written");
        }
    }

    fn hear(self: Arc<Inner>, line: FromWorker) {
        match line {
            FromWorker::Outcome { id, outcome } => {
                if let Some(waiting) = self.outcomes.lock().expect("ours").remove(&id) {
                    let _ = waiting.send(*outcome);
                }
            }
            FromWorker::Served { id, served } => {
                if let Some(waiting) = self.served.lock().expect("ours").remove(&id) {
                    let _ = waiting.send(served);
                }
            }
            FromWorker::AskPeer { ask, peer, request } => {
                thread::spawn(move || {
                    let answer = self.other(peer).and_then(|other| other.serve(request));
                    self.reply(ask, answer.map(Reply::Peer));
                });
            }
            FromWorker::AskUnit { ask, unit } => {
                thread::spawn(move || {
                    let mut server = self.server.lock().expect("ours");
                    match unit {
                        UnitVerb::Start => server.start(),
                        UnitVerb::Stop => server.end("-TERM"),
                        UnitVerb::Kill => server.end("-KILL"),
                    }
                    drop(server);
                    self.reply(ask, Ok(Reply::Done(Done::Done)));
                });
            }
            FromWorker::AskBackup { ask, peer, backup_into } => {
                thread::spawn(move || {
                    let sent = self.other(peer).and_then(|other| carry(&other, &backup_into));
                    self.reply(ask, sent.map(|_| Reply::Done(Done::Done)));
                });
            }
            FromWorker::Event { event } => {
                eprintln!("node {}: {event}", self.settings.node.0);
                self.events.lock().expect("ours").push(event);
            }
        }
    }

    fn other(&self, peer: NodeId) -> Result<Arc<Inner>, String> {
        let others = self.others.lock().expect("ours");
        let found = others.iter().filter_map(Weak::upgrade).find(|o| o.settings.node == peer);
        found.ok_or_else(|| "no link to that node".into())
    }

    fn serve(&self, serve: PeerRequest) -> Result<PeerAnswer, String> {
        let id = self.number();
        let (sender, answer) = channel();
        self.served.lock().expect("ours").insert(id, sender);
        self.say(&ToWorker::Serve { id, serve });
        answer.recv_timeout(PATIENCE).map_err(|_| "the peer does not answer".into())
    }

    fn reply(&self, reply: u64, answer: Result<Reply, String>) {
        self.say(&match answer {
            Ok(answer) => ToWorker::Reply { reply, answer },
            Err(error) => ToWorker::NoReply { reply, error },
        });
    }
}

/// The two agents' part of a copy: one sends, the other receives, over any stream.
fn carry(from: &Inner, into: &Path) -> Result<u64, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let (near, far) = StdUnixStream::pair().expect("a stream");
        let stream = |end: StdUnixStream| {
            end.set_nonblocking(true).expect("set");
            tokio::net::UnixStream::from_std(end).expect("a stream")
        };
        let (mut near, mut far) = (stream(near), stream(far));
        let sending = async {
            let sent = backup::send(&from.settings, &mut far).await;
            drop(far);
            sent
        };
        let (sent, received) = tokio::join!(sending, backup::receive(&mut near, into));
        let (sent, received) =
            (sent.map_err(|fault| fault.to_string())?, received.map_err(|f| f.to_string())?);
        assert_eq!(sent, received);
        Ok(received)
    })
}

/// A token of this test.
pub fn token(n: u64) -> AttemptId {
    AttemptId { node: NodeId(1), boot: BootId(2), run: RunId(3), n }
}

/// Waits until it is so.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "never {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

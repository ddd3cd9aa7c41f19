//! Two real servers, one following the other as with Regent: strict, read-only over there, by GTID.

use crate::database::answer;
use crate::database::keep::{Keep, KeepFiles};
use crate::database::peer::{Peer, PeerAnswer, PeerRequest};
use crate::database::settings::WorkerSettings;
use crate::database::sql::Client;
use crate::database::verify::{Difference, Finding, Look, Pace, Progress, Verdict, verify};
use crate::testing::{skipped, until};
use regent_core::id::{Incarnation, NodeId};
use std::cell::{Cell, RefCell};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const CONFIGURATION: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../packaging/rootfs/etc/mysql/mariadb.conf.d/zz-regent.cnf"
);
/// Nothing here takes longer on a loaded machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);
pub(super) const OURS: Incarnation = Incarnation(11);
pub(super) const THEIRS: Incarnation = Incarnation(21);
const STANDBY: NodeId = NodeId(2);

pub(super) fn block<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(work)
}

/// A connection as root.
pub(super) async fn root(socket: &Path) -> Client {
    Client::connect_as(socket, "root", None, PATIENCE).await.expect("a connection")
}

/// A server, ended with the test.
pub(super) struct Server {
    pub(super) settings: WorkerSettings,
    port: u16,
    process: Option<Child>,
}

/// The active and the standby.
pub(super) struct Pair {
    pub(super) active: Server,
    pub(super) standby: Server,
    root: PathBuf,
}

fn is_ready(test: &str) -> bool {
    let there = |program: &str| {
        let mut command = Command::new(program);
        command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    let root = rustix::process::geteuid().is_root();
    let missing: Vec<_> =
        ["mariadbd", "mariadb-install-db"].into_iter().filter(|program| !there(program)).collect();
    if missing.is_empty() && root {
        return true;
    }
    skipped(&format!("{test}: needs root and MariaDB 10.11, missing: {missing:?}, root: {root}"));
    false
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect("a program");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {said}", arguments.join(" "));
}

/// A pair in sync; none, said loudly, where the machine does not allow it.
pub(super) fn pair() -> Option<Pair> {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    if !is_ready(&test) {
        return None;
    }
    let name = test.rsplit(':').next().unwrap_or_default().chars().take(24).collect::<String>();
    let root = std::env::temp_dir().join(format!("rgdb-verify-{}-{name}", std::process::id()));
    let _ = std::fs::remove_dir_all(&root);
    let folder = |n: u8| root.join(format!("n{n}"));
    for n in [1, 2] {
        for part in ["tmp", "state"] {
            std::fs::create_dir_all(folder(n).join(part)).expect("a folder");
        }
    }
    let data = folder(1).join("data").display().to_string();
    let place = format!("--datadir={data}");
    let root_by = "--auth-root-authentication-method=socket";
    let small = "--innodb-log-file-size=8M";
    // A server that starts deletes the temporary tables of all that share the folder.
    let apart = format!("--tmpdir={}", folder(1).join("tmp").display());
    run("mariadb-install-db", &["--no-defaults", root_by, "--skip-test-db", small, &apart, &place]);
    run("cp", &["-a", &data, &folder(2).join("data").display().to_string()]);
    run("chown", &["-R", "mysql:mysql", &root.display().to_string()]);
    let pair = Pair {
        active: Server::start(&folder(1), OURS, false),
        standby: Server::start(&folder(2), THEIRS, true),
        root,
    };
    pair.join();
    Some(pair)
}

impl Server {
    fn start(folder: &Path, incarnation: Incarnation, mark: bool) -> Server {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let settings = WorkerSettings {
            socket: folder.join("socket"),
            datadir: folder.join("data"),
            state_dir: folder.join("state"),
            run_dir: folder.join("run"),
            ..WorkerSettings::new(NodeId(if mark { 2 } else { 1 }), Vec::new())
        };
        let keep = Keep {
            format: 1,
            writes: 0,
            incarnation,
            mark,
            server_id: 7,
            start: 0,
            unfinished: false,
            distrusted: false,
            starts: 0,
            counted: 0,
            was: Vec::new(),
        };
        let files = KeepFiles::new(&settings.datadir, &settings.state_dir);
        files.write(keep).expect("kept");
        let at = |name: &str| folder.join(name).display().to_string();
        let log = std::fs::File::create(folder.join("log")).expect("a log");
        let process = Command::new("mariadbd")
            .arg(format!("--defaults-file={CONFIGURATION}"))
            .args(["--user=mysql", "--bind-address=127.0.0.1"])
            .args(["--innodb-buffer-pool-size=32M", "--innodb-log-file-size=8M"])
            .arg(format!("--datadir={}", at("data")))
            .arg(format!("--tmpdir={}", at("tmp")))
            .arg(format!("--socket={}", at("socket")))
            .arg(format!("--pid-file={}", at("pid")))
            .arg(format!("--port={port}"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("a server");
        let server = Server { settings, port, process: Some(process) };
        until("the server", PATIENCE, || {
            server.client("SELECT 1").output().is_ok_and(|output| output.status.success())
        });
        server
    }

    fn client(&self, text: &str) -> Command {
        let mut command = Command::new("mariadb");
        command.args(["--no-defaults", "--user=root", "--batch", "--skip-column-names"]);
        command.arg("--default-character-set=utf8mb4");
        command.arg(format!("--socket={}", self.settings.socket.display()));
        command.arg("-e").arg(text);
        command
    }

    /// Runs statements as root over the socket, and waits; the answer without headings.
    pub(super) fn sql(&self, text: &str) -> String {
        let output = self.client(text).output().expect("mariadb");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}: {said}");
        String::from_utf8_lossy(&output.stdout).trim().to_string()
    }

    /// Outside the log: what makes the copies differ.
    pub(super) fn alone(&self, text: &str) {
        self.sql(&format!("SET sql_log_bin=0; {text}"));
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("left for a look: {}", self.root.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.root);
        }
    }
}

impl Pair {
    /// The standby follows, and the active is strict.
    fn join(&self) {
        self.active.alone(
            "SET GLOBAL server_id=101, GLOBAL read_only=0; RESET MASTER; \
             CREATE USER regent_repl@'127.0.0.1' IDENTIFIED BY 'secret'; \
             GRANT REPLICATION SLAVE ON *.* TO regent_repl@'127.0.0.1'",
        );
        self.standby.sql(&format!(
            "SET GLOBAL server_id=102; SET GLOBAL rpl_semi_sync_master_enabled=OFF; RESET MASTER; \
             CHANGE MASTER TO MASTER_HOST='127.0.0.1', MASTER_PORT={}, MASTER_USER='regent_repl', \
             MASTER_PASSWORD='secret', MASTER_USE_GTID=slave_pos; START SLAVE",
            self.active.port
        ));
        // Acknowledged only by the standby.
        self.active.sql("CREATE DATABASE app");
        self.catch_up();
    }

    /// Waits until all of the active's log is applied.
    pub(super) fn catch_up(&self) {
        let end = self.active.sql("SELECT @@global.gtid_binlog_pos");
        let waited = self.standby.sql(&format!("SELECT MASTER_GTID_WAIT('{end}', 60)"));
        assert_eq!(waited, "0", "{}", self.standby.sql("SHOW SLAVE STATUS"));
    }

    /// Compares, at full speed.
    pub(super) fn verify(&self) -> Result<Verdict, String> {
        block(self.run(&Direct::to(self), |_| ()))
    }

    /// Compares by this way to the standby.
    pub(super) async fn run(
        &self,
        peer: &Direct,
        progress: impl Fn(Progress),
    ) -> Result<Verdict, String> {
        let pace = Pace { duty: 100, patience: Duration::from_secs(30) };
        verify(&self.active.settings, peer, STANDBY, OURS, THEIRS, pace, progress).await
    }
}

/// What was found, in the operator's words.
pub(super) fn told(verdict: &Verdict) -> Vec<String> {
    match &verdict.finding {
        Finding::Equal => Vec::new(),
        Finding::Differs(differences) => differences.iter().map(Difference::to_string).collect(),
    }
}

type Hook = Box<dyn FnMut(&PeerRequest) -> Option<String>>;

/// The standby's worker, asked without agents; what travels is made a text and read again.
pub(super) struct Direct {
    standby: WorkerSettings,
    hook: RefCell<Hook>,
    /// Questions under a lock are not answered.
    pub(super) dumb: Cell<bool>,
    /// Done on the active before and after each question about rows without a lock, so that all three looks differ.
    pub(super) stir: RefCell<Option<String>>,
    active: PathBuf,
    /// So many questions under a lock by now.
    pub(super) locked: Cell<u32>,
}

impl Direct {
    pub(super) fn to(pair: &Pair) -> Direct {
        Direct {
            standby: pair.standby.settings.clone(),
            active: pair.active.settings.socket.clone(),
            hook: RefCell::new(Box::new(|_| None)),
            dumb: Cell::new(false),
            stir: RefCell::new(None),
            locked: Cell::new(0),
        }
    }

    /// Calls this before each question; an error instead of an answer comes of it.
    pub(super) fn before_each(&self, hook: impl FnMut(&PeerRequest) -> Option<String> + 'static) {
        *self.hook.borrow_mut() = Box::new(hook);
    }

    /// Writes, and waits until it is applied.
    async fn stir(&self) {
        let Some(statement) = self.stir.borrow().clone() else { return };
        let mut active = root(&self.active).await;
        active.query(&statement, PATIENCE).await.expect("written");
        let end = active.one("SELECT @@gtid_binlog_pos", PATIENCE).await.expect("read");
        let wait = format!("SELECT MASTER_GTID_WAIT('{}', 60)", end.scalar().expect("an end"));
        let mut standby = root(&self.standby.socket).await;
        let waited = standby.one(&wait, PATIENCE).await.expect("applied");
        assert_eq!(waited.scalar(), Some("0"));
    }
}

impl Peer for Direct {
    async fn ask(&self, node: NodeId, request: PeerRequest) -> Result<PeerAnswer, String> {
        assert_eq!(node, STANDBY);
        let hooked = (self.hook.borrow_mut())(&request);
        if let Some(why) = hooked {
            return Err(why);
        }
        let text = serde_json::to_string(&request).expect("json");
        let request: PeerRequest = serde_json::from_str(&text).expect("read back");
        let is_locked = matches!(request, PeerRequest::Checksum { patience_ms: ..=300, .. });
        let is_rows = matches!(
            &request,
            PeerRequest::Checksum { chunk: Look::Sum(part) | Look::Rows(part), .. }
                if part.schema == "app"
        );
        self.locked.set(self.locked.get() + u32::from(is_locked));
        if is_locked && self.dumb.get() {
            tokio::time::sleep(PATIENCE).await;
        }
        if is_rows && !is_locked {
            self.stir().await;
        }
        let answer = answer::serve(&self.standby, request).await;
        if is_rows && !is_locked {
            self.stir().await;
        }
        let text = serde_json::to_string(&answer).expect("json");
        Ok(serde_json::from_str(&text).expect("read back"))
    }
}

/// Writes to the active, one statement after the other, until it is dropped.
pub(super) struct Writer {
    stop: Arc<AtomicBool>,
    written: Arc<AtomicU64>,
    longest: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(pair: &Pair, statement: fn(u64) -> String) -> Writer {
        let (stop, written, longest) =
            <(Arc<AtomicBool>, Arc<AtomicU64>, Arc<AtomicU64>)>::default();
        let (ends, count, most) = (Arc::clone(&stop), Arc::clone(&written), Arc::clone(&longest));
        let socket = pair.active.settings.socket.clone();
        let work = async move {
            let mut client = root(&socket).await;
            while !ends.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let n = count.load(Ordering::Relaxed);
                client.query(&statement(n), PATIENCE).await.expect("written");
                count.store(n + 1, Ordering::Relaxed);
                most.fetch_max(begun.elapsed().as_millis() as u64, Ordering::Relaxed);
            }
        };
        let thread = Some(std::thread::spawn(|| block(work)));
        let writer = Writer { stop, written, longest, thread };
        until("the writer at work", PATIENCE, || writer.written() > 10);
        writer
    }

    /// So many statements by now.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// The longest one took so many milliseconds.
    pub(super) fn longest(&self) -> u64 {
        self.longest.load(Ordering::Relaxed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(
            std::thread::panicking() || ended.is_none_or(|ended| ended.is_ok()),
            "a write failed"
        );
    }
}

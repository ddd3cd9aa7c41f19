//! What `ps`, `pidof` and `pgrep` find, on a host whose directories are this test's own.

#[path = "../../adapters/tests/skipped/mod.rs"]
mod skipped;

use regent_agent::ca;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const REGENT: &str = env!("CARGO_BIN_EXE_regent");

const CONFIG: &str = "cluster = \"names\"\n\
    [vip]\naddress = \"10.77.0.100/24\"\ninterface = \"lo\"\n\
    [node.mn1]\nid = 1\naddress = \"127.0.0.1:14817\"\n\
    [node.mn2]\nid = 2\naddress = \"127.0.0.1:14818\"\n\
    [node.w1]\nid = 3\naddress = \"127.0.0.1:14819\"\nwitness = true\n\
    [database]\nengine = \"mariadb\"\n";

/// Killed by its id when the test is over.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Running {
        // The worker and the prober speak through pipes, and live as long as those are open.
        Running(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a process"))
    }

    fn file(&self, name: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{name}", self.0.id())).unwrap_or_default()
    }

    /// What ps shows as `comm` and `args`.
    fn expect(&mut self, args: &str) {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let line = self.file("cmdline").trim_end_matches('\0').replace('\0', " ");
            let comm = self.file("comm").trim_end().to_owned();
            if (comm.as_str(), line.as_str()) == ("regent", args) {
                return;
            }
            let ended = self.0.try_wait().expect("a child");
            assert!(ended.is_none(), "{args}: ended with {ended:?}");
            assert!(Instant::now() < deadline, "{comm}: {line}, and not regent: {args}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Runs this test again with mounts and a network of its own; true in the run that has them.
fn has_own_host(test: &str) -> bool {
    const INSIDE: &str = "REGENT_OWN_MOUNTS";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let unshare = || Command::new("unshare");
    if !unshare().args(["-mn", "true"]).status().is_ok_and(|status| status.success()) {
        skipped::skipped(&format!("{test}: needs root, to mount directories of its own"));
        return false;
    }
    let mut again = unshare();
    again.arg("-mn").arg(std::env::current_exe().expect("this binary")).args([
        "--exact",
        test,
        "--nocapture",
    ]);
    assert!(again.env(INSIDE, "1").status().expect("unshare").success(), "{test}");
    false
}

fn done(program: &str, args: &[&str]) {
    assert!(
        Command::new(program).args(args).status().expect(program).success(),
        "{program} {args:?}"
    );
}

/// Whoever starts anew, and whoever is started by another process of Regent, comes from `/proc/self/exe`.
#[test]
fn every_process_is_called_regent_and_says_which_one_it_is() {
    if !has_own_host("every_process_is_called_regent_and_says_which_one_it_is") {
        return;
    }
    done("ip", &["link", "set", "lo", "up"]);
    for own in ["/etc", "/var/lib", "/run"] {
        done("mount", &["-t", "tmpfs", "tmpfs", own]);
    }
    let etc = Path::new("/etc/regent");
    fs::create_dir(etc).unwrap();
    fs::write(etc.join("regent.toml"), CONFIG).unwrap();
    ca::init(&etc.join("ca")).unwrap();
    let start = |subcommand: &str, node: &str| {
        fs::remove_dir_all(etc.join("tls")).ok();
        ca::issue(node, &etc.join("ca"), &etc.join("tls")).unwrap();
        let mut process = Running::start(Command::new(REGENT).arg(subcommand));
        process.expect(&format!("regent {subcommand} ({node})"));
        process
    };
    drop(start("witness", "w1"));
    let agent = start("agent", "mn1");
    let binary = format!("/proc/{}/exe", agent.0.id());
    let mut running = vec![agent];
    for subcommand in ["prober", "database-worker"] {
        let mut command = Command::new(&binary);
        let mut process = Running::start(command.arg0("regent").arg(subcommand));
        process.expect(&format!("regent {subcommand}"));
        running.push(process);
    }
    for process in &running {
        let program = fs::read_link(format!("/proc/{}/exe", process.0.id())).unwrap();
        assert_eq!(program, Path::new(REGENT));
    }
}

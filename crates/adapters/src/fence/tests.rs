//! Fences against agents and hooks that the tests write: every way in which one can end.

use super::*;
use crate::testing::{is_gone, skipped, until};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

const PASSWORD: &str = "s3cr et/%=\"";

/// What an agent of fence-agents says of itself, as far as it matters.
const METADATA: &str = r#"<resource-agent name="fence_fake"><parameters>
<parameter name="action" unique="0" required="1"><content type="string" default="reboot" /></parameter>
<parameter name="ip" unique="0" required="0" obsoletes="ipaddr"><content type="string" /></parameter>
<parameter name="login" unique="0" required="1" deprecated="1"><content type="string" /></parameter>
<parameter name="username" unique="0" required="1" obsoletes="login"><content type="string" /></parameter>
<parameter name="password" unique="0" required="0"><content type="string" /></parameter>
<parameter name="ssl_insecure" unique="0" required="0"><content type="boolean" /></parameter>
<parameter name="power_timeout" unique="0" required="0"><content type="second" default="20" /></parameter>
</parameters><actions><action name="off" /><action name="status" /></actions></resource-agent>"#;

/// A directory of one test, removed with it.
struct Site(PathBuf);

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Site {
    fn new() -> Site {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("fence-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Site(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn script(&self, name: &str, text: &str) -> String {
        fs::write(self.0.join(name), text).unwrap();
        fs::set_permissions(self.0.join(name), fs::Permissions::from_mode(0o755)).unwrap();
        self.path(name)
    }

    fn password(&self, mode: u32) -> PathBuf {
        let path = self.0.join("password");
        fs::write(&path, format!("{PASSWORD}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// An agent whose power is the file `power`, and which does this for `off` and for `status`.
    fn agent(&self, off: &str, status: &str) -> Fence {
        let text = format!(
            "#!/bin/sh\ncd {}\ncat > input\nargs=$*\necho \"$args\" > argv\n\
             action=$(sed -n 's/^action=//p' input)\ncp input input.$action\ncase $action in\n\
             metadata) cat <<'END'\n{METADATA}\nEND\n;;\noff) {off} ;;\nstatus) {status} ;;\nesac\n",
            self.0.display()
        );
        self.script("fence_fake", &text);
        self.fence(&[("username", "admin"), ("ip", "192.0.2.1"), ("ssl-insecure", "1")], true)
    }

    fn fence(&self, options: &[(&str, &str)], with_password: bool) -> Fence {
        let options = options.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let password_file = with_password.then(|| self.password(0o600));
        let agent = self.path("fence_fake");
        let device = Device::Agent { agent, options, password_file };
        Fence::from(Settings { node: "mn2".to_owned(), device, timeout: Span::millis(4000) })
    }

    fn hook(&self, text: &str) -> Fence {
        let hook = self.script("hook", &format!("#!/bin/sh\ncd {}\n{text}\n", self.0.display()));
        let device = Device::Command(vec![hook, "--site".to_owned()]);
        Fence::from(Settings { node: "mn2".to_owned(), device, timeout: Span::millis(1500) })
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.0.join(name)).unwrap_or_default()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

const OFF: &str = "echo off > power; echo 'Success: Powered OFF'";
const STATUS: &str =
    "if [ -e power ]; then echo 'Status: OFF'; exit 2; else echo 'Status: ON'; exit 0; fi";

fn warrant() -> Warrant {
    Warrant { cluster: "lab".to_owned(), epoch: Epoch(7) }
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

fn off(fence: &Fence) -> Fenced {
    wait(fence.off(&warrant()))
}

#[track_caller]
fn expect_confirmed(fenced: Fenced, part: &str) {
    let Fenced::Confirmed(words) = &fenced else { panic!("{fenced:?}") };
    assert!(words.contains(part), "{words}");
}

#[track_caller]
fn expect_failed(fenced: Fenced, part: &str) {
    let Fenced::Failed(words) = &fenced else { panic!("{fenced:?}") };
    assert!(words.contains(part), "{words}");
}

#[track_caller]
fn expect_unknown(fenced: Fenced, part: &str) {
    let Fenced::Unknown(words) = &fenced else { panic!("{fenced:?}") };
    assert!(words.contains(part), "{words}");
}

#[test]
fn an_off_is_confirmed_by_the_status_after_it() {
    let site = Site::new();
    let fence = site.agent(OFF, STATUS);
    expect_confirmed(off(&fence), "mn2 is off: fence_fake switched it off, and its status says so");
}

#[test]
fn a_node_that_was_off_is_confirmed_so() {
    let site = Site::new();
    fs::write(site.0.join("power"), "").unwrap();
    let fence = site.agent("echo 'Success: Already OFF'", STATUS);
    expect_confirmed(off(&fence), "mn2 was off already");
}

#[test]
fn a_device_that_says_done_and_leaves_it_on_has_failed() {
    let site = Site::new();
    let fence = site.agent("echo 'Success: Powered OFF'", STATUS);
    expect_failed(off(&fence), "mn2 is still on");
}

#[test]
fn a_refusal_is_failed_and_says_why() {
    let site = Site::new();
    let refuse = "echo '2026-01-01 00:00:00,000 ERROR: Failed: no such plug' >&2; \
                  echo '2026-01-01 00:00:00,001 ERROR: Failed: no login' >&2; \
                  echo \"2026-01-01 00:00:00,002 ERROR: Please use '-h' for usage\" >&2; exit 1";
    let words = "fence_fake exit 1: Failed: no such plug; Failed: no login";
    let fenced = off(&site.agent(refuse, STATUS));
    assert!(format!("{fenced:?}").ends_with(&format!("{words}\")")), "{fenced:?}");
    expect_failed(fenced, words);
}

#[test]
fn an_off_that_was_refused_is_confirmed_if_the_device_says_off() {
    let site = Site::new();
    let fence = site.agent("echo off > power; exit 1", STATUS);
    expect_confirmed(off(&fence), "mn2 is off");
}

#[test]
fn a_device_that_is_not_reached_leaves_it_unknown() {
    let site = Site::new();
    let dead = "echo 'Failed: no route to host' >&2; exit 1";
    expect_unknown(off(&site.agent(dead, dead)), "its status: fence_fake exit 1: Failed: no route");
}

#[test]
fn an_off_is_not_confirmed_by_an_exit_code_alone() {
    let site = Site::new();
    // What a broken interpreter ends with.
    expect_unknown(off(&site.agent(OFF, "exit 2")), "exit 2");
    expect_unknown(off(&site.agent(OFF, "echo 'Status: OFF'; exit 0")), "exit 0");
    expect_unknown(off(&site.agent(OFF, "echo 'Status: OFF'; kill -9 $$")), "signal 9");
}

#[test]
fn an_agent_that_hangs_is_killed_with_its_children_and_leaves_it_unknown() {
    let site = Site::new();
    let started = Instant::now();
    let fence = site.agent("sleep 600 & echo $! > child; wait", STATUS);
    expect_unknown(off(&fence), "gave no answer within 3.0 s and was killed; its status says on");
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    let child = fs::read_to_string(site.0.join("child")).unwrap();
    until("the end of its child", Duration::from_secs(10), || is_gone(&child));
}

#[test]
fn an_agent_whose_status_hangs_too_stays_within_its_time() {
    let site = Site::new();
    let started = Instant::now();
    expect_unknown(off(&site.agent("exec sleep 60", "exec sleep 60")), "was killed; its status:");
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
}

#[test]
fn an_agent_that_hung_after_it_did_its_work_is_confirmed_by_the_status() {
    let site = Site::new();
    expect_confirmed(off(&site.agent("echo > power; sleep 60", STATUS)), "mn2 is off");
}

#[test]
fn a_flood_of_output_ends_in_a_short_line() {
    let site = Site::new();
    let flood = "head -c 20000000 /dev/zero | tr '\\0' x >&2; exit 1";
    let Fenced::Unknown(words) = off(&site.agent(flood, flood)) else { panic!() };
    assert!(words.len() < 600 && words.contains("xxx..."), "{} bytes", words.len());
}

#[test]
fn options_are_told_on_standard_input_and_nothing_in_argv() {
    let site = Site::new();
    off(&site.agent(OFF, STATUS));
    assert_eq!(site.read("argv"), "\n");
    let quoted = "password=s3cr et/%=\"\n";
    let wanted = format!(
        "action=off\nip=192.0.2.1\nssl_insecure=1\nusername=admin\npower_timeout=1\n{quoted}"
    );
    assert_eq!(site.read("input.off"), wanted);
    assert!(site.read("input.status").starts_with("action=status\n"));
}

#[test]
fn a_switch_that_is_off_is_not_told() {
    let site = Site::new();
    site.agent(OFF, STATUS);
    off(&site.fence(&[("username", "admin"), ("ssl_insecure", "0")], false));
    assert_eq!(site.read("input.off"), "action=off\nusername=admin\npower_timeout=1\n");
    off(&site.fence(&[("username", "admin"), ("power-timeout", "3")], false));
    assert_eq!(site.read("input.off"), "action=off\npower_timeout=3\nusername=admin\n");
}

#[test]
fn a_secret_in_the_output_is_struck_out() {
    let site = Site::new();
    let chatty = "cat input >&2; sed -n 's/^password=/login with /p' input >&2; exit 1";
    let fenced = off(&site.agent(chatty, chatty));
    let words = format!("{fenced:?}");
    assert!(words.contains("login with ***") && !words.contains("s3cr"), "{words}");
    let tested = wait(site.agent(chatty, chatty).test(&warrant()));
    assert!(!format!("{tested:?}").contains("s3cr"), "{tested:?}");
}

#[test]
fn a_secret_is_not_cut_so_that_half_of_it_shows() {
    let site = Site::new();
    let long = "printf '%0193d' 0 >&2; sed -n 's/^password=//p' input >&2; exit 1";
    let words = format!("{:?}", off(&site.agent(long, long)));
    assert!(words.contains("000***") && !words.contains("s3cr"), "{words}");
}

#[test]
fn a_secret_is_not_shown_by_debug() {
    let site = Site::new();
    let secret = Secret::read(&site.password(0o600)).unwrap();
    assert_eq!(format!("{secret:?}"), "(secret)");
    assert_eq!(secret.reveal(), PASSWORD);
    assert_eq!(secret.strike("x s3cr%20et%2F%25%3D%22 y"), "x *** y");
}

#[test]
fn a_password_that_others_may_read_is_refused_with_the_remedy() {
    let site = Site::new();
    let refused = |path: &Path| Secret::read(path).unwrap_err().to_string();
    assert!(refused(&site.password(0o640)).contains("chmod 600"));
    assert!(refused(&site.password(0o604)).contains("chmod 600"));
    assert!(refused(&site.0.join("none")).contains("No such file"));
    assert!(refused(&site.0).contains("not a file"));
    let path = site.password(0o600);
    fs::write(&path, "\n").unwrap();
    assert!(refused(&path).contains("empty"));
    fs::write(&path, "one\ntwo\n").unwrap();
    assert!(refused(&path).contains("more than one line"));
    let fence = site.agent(OFF, STATUS);
    site.password(0o644);
    expect_failed(off(&fence), "chmod 600");
}

#[test]
fn options_that_the_agent_does_not_know_or_needs_are_named() {
    let site = Site::new();
    site.agent(OFF, STATUS);
    let check = |options: &[(&str, &str)]| {
        let error = wait(site.fence(options, true).check()).unwrap_err();
        error.to_string()
    };
    let unknown = check(&[("usrname", "admin")]);
    assert_eq!(unknown, "fence_fake has no option usrname; did you mean username?");
    assert_eq!(check(&[("ip", "x")]), "fence_fake needs username");
    assert!(check(&[("action", "on"), ("username", "x")]).contains("set by Regent"));
    assert!(check(&[("password", "p"), ("username", "x")]).contains("password-file"));
    assert!(check(&[("username", "x\naction=on")]).contains("control character"));
    let fine = site.fence(&[("login", "admin")], true);
    assert_eq!(wait(fine.check()), Ok(()));
    expect_failed(off(&site.fence(&[("usrname", "x")], true)), "did you mean username?");
    assert!(!site.0.join("power").exists(), "it was asked although its options are wrong");
}

#[test]
fn an_agent_that_is_not_there_is_named_with_the_near_one() {
    let device = |agent: &str| Device::Agent {
        agent: agent.to_owned(),
        options: BTreeMap::new(),
        password_file: None,
    };
    let fence = |agent: &str| {
        let (node, device) = ("mn2".to_owned(), device(agent));
        Fence::from(Settings { node, device, timeout: Span::millis(1000) })
    };
    expect_failed(off(&fence("fence_no_such_thing_at_all")), "is not there");
    if Path::new("/usr/sbin/fence_redfish").exists() {
        let error = wait(fence("fence_redfsh").check()).unwrap_err().to_string();
        assert!(error.contains("did you mean fence_redfish?"), "{error}");
        let error = wait(fence("fence_kdump").check()).unwrap_err().to_string();
        assert!(error.contains("no action status"), "{error}");
    } else {
        skipped("the near name of an agent: package fence-agents is not installed");
    }
}

#[test]
fn an_agent_that_does_not_describe_itself_is_not_used() {
    let site = Site::new();
    site.script("fence_fake", "#!/bin/sh\necho 'Traceback' >&2\nexit 1\n");
    expect_failed(off(&site.fence(&[], false)), "does not describe itself: exit 1: Traceback");
}

#[test]
fn a_test_asks_and_changes_nothing() {
    let site = Site::new();
    let fence = site.agent(OFF, STATUS);
    let tested = wait(fence.test(&warrant()));
    assert_eq!((tested.node.as_str(), tested.device.as_str()), ("mn2", "fence_fake"));
    assert_eq!(tested.answer, Answer::On);
    assert!(tested.took > Span::ZERO);
    assert!(!site.0.join("input.off").exists());
    off(&fence);
    assert_eq!(wait(fence.test(&warrant())).answer, Answer::Off);
    let dead = site.agent(OFF, "exit 1");
    assert!(matches!(wait(dead.test(&warrant())).answer, Answer::Unknown(_)));
    let wrong = site.fence(&[], true);
    assert!(matches!(wait(wrong.test(&warrant())).answer, Answer::Failed(_)));
}

#[test]
fn a_hook_answers_by_its_exit_code() {
    let site = Site::new();
    expect_confirmed(off(&site.hook("exit 0")), "mn2 is off: hook says so");
    expect_failed(off(&site.hook("echo no power switch >&2; exit 1")), "no power switch");
    expect_unknown(off(&site.hook("exit 2")), "exit 2");
    expect_unknown(off(&site.hook("kill -9 $$")), "signal 9");
    expect_unknown(off(&site.hook("exec sleep 60")), "no answer within 1.5 s");
}

#[test]
fn a_hook_is_told_node_action_cluster_and_epoch() {
    let site = Site::new();
    off(&site.hook("echo \"$* $REGENT_CLUSTER $REGENT_EPOCH\" > told"));
    assert_eq!(site.read("told"), "--site mn2 off lab 7\n");
    let tested = wait(site.hook("echo \"$*\" > told; echo on").test(&warrant()));
    assert_eq!((tested.answer, tested.device.as_str()), (Answer::On, "hook"));
    assert_eq!(site.read("told"), "--site mn2 status\n");
}

#[test]
fn a_hook_that_cannot_be_run_is_named() {
    let site = Site::new();
    let fence = |argv: &[&str]| {
        let device = Device::Command(argv.iter().map(|s| (*s).to_owned()).collect());
        Fence::from(Settings { node: "mn2".to_owned(), device, timeout: Span::millis(1000) })
    };
    expect_failed(off(&fence(&["/no/such/hook"])), "/no/such/hook is not there");
    expect_failed(off(&fence(&["hook"])), "needs its whole path");
    expect_failed(off(&fence(&[])), "empty");
    fs::write(site.0.join("plain"), "").unwrap();
    expect_failed(off(&fence(&[&site.path("plain")])), "chmod +x");
}

/// Those installed here; REGENT_TEST_AGENTS names others. Without options an agent has something to ask for.
#[test]
fn the_agents_that_debian_ships_describe_themselves() {
    let names = "fence_ipmilan fence_redfish fence_virsh".to_owned();
    for agent in std::env::var("REGENT_TEST_AGENTS").unwrap_or(names).split(' ') {
        if !Path::new("/usr/sbin").join(agent).exists() {
            skipped(&format!("{agent}: package fence-agents is not installed"));
            continue;
        }
        let agent = agent.to_owned();
        let device = Device::Agent { agent, options: BTreeMap::new(), password_file: None };
        let settings = Settings { node: "mn2".to_owned(), device, timeout: Span::millis(10_000) };
        let error = wait(Fence::from(settings).check()).unwrap_err();
        println!("{error}");
        let asks = matches!(error, FenceError::Missing { .. } | FenceError::Refused { .. });
        assert!(asks, "{error}");
    }
}

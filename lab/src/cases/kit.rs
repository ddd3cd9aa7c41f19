//! What several cases ask of a cluster under watch.

use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::fault::Watched;
use crate::history::{self, Event};
use crate::host::Host;
use crate::run::{now_us, wait_for};
use crate::say;

/// A question to the product and what it ended with.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The exit code.
    pub code: i32,
    /// What it printed.
    pub text: String,
    /// How long it took.
    pub took: Duration,
}

/// No question may take longer.
const BOUND: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(200);

/// `regent WORDS` on a node.
pub(crate) fn regent(watched: &Watched, node: &str, words: &str) -> Result<Answer> {
    let argv: Vec<&str> = ["regent"].into_iter().chain(words.split_whitespace()).collect();
    let from = now_us();
    let output = watched.cluster.lab.host(node)?.enter(&argv, BOUND)?;
    let took = Duration::from_micros(now_us() - from);
    let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    let code = output.status.code().unwrap_or(-1);
    let first = text.lines().next().unwrap_or_default();
    say::line(&format!("regent  {node}: {words}: exit {code} in {} ms: {first}", took.as_millis()));
    Ok(Answer { code, text, took })
}

/// The same, and it must end well.
pub(crate) fn command(watched: &Watched, node: &str, words: &str) -> Result<String> {
    let answer = regent(watched, node, words)?;
    ensure!(answer.code == 0, "regent {words} on {node}: exit {}: {}", answer.code, answer.text);
    Ok(answer.text)
}

/// Waits for an event of this code whose text has these words; an error shows what there was.
pub(crate) fn wait_event(
    watched: &Watched,
    node: &str,
    from: u64,
    (code, words): (&str, &str),
    bound: Duration,
) -> Result<Event> {
    let host = watched.cluster.lab.host(node)?;
    let mut seen = Vec::new();
    let found = wait_for(&format!("{code} on {node}"), bound, || {
        seen = history::since(host, from);
        let event = seen.iter().find(|event| event.code == code && event.text.contains(words));
        if event.is_none() {
            std::thread::sleep(LOOK);
        }
        Ok(event.cloned())
    });
    let event = found.with_context(|| {
        let lines: Vec<String> =
            seen.iter().map(|event| format!("{}: {}", event.code, event.text)).collect();
        format!("no {code} with {words:?} in: {}", lines.join(" | "))
    })?;
    say::line_at(event.at, &format!("event   {node}: {}: {}", event.code, event.text));
    Ok(event)
}

/// Nothing else than this may be so for the time; an error of `look` ends it.
pub(crate) fn throughout(length: Duration, mut look: impl FnMut() -> Result<()>) -> Result<()> {
    let until = now_us() + length.as_micros() as u64;
    wait_for("the end of a watch", length * 2 + BOUND, || {
        look()?;
        if now_us() >= until {
            return Ok(Some(()));
        }
        std::thread::sleep(LOOK);
        Ok(None)
    })
}

/// Whether a unit runs, as systemd says.
pub(crate) fn is_running(watched: &Watched, node: &str, unit: &str) -> Result<bool> {
    let argv = ["systemctl", "show", "--property=ActiveState", "--value", unit];
    let state = watched.cluster.lab.host(node)?.run(&argv)?;
    Ok(!matches!(state.trim(), "inactive" | "failed"))
}

/// How often a unit was started since then, by its journal.
pub(crate) fn starts(watched: &Watched, node: &str, unit: &str, from: u64) -> Result<usize> {
    let since = history::wall_of(from) / 1000;
    let line = format!(
        "journalctl --no-pager -o cat --since=@{}.{:03} _PID=1 UNIT={unit} \
         | grep -c '^Starting ' || true",
        since / 1000,
        since % 1000
    );
    let counted = watched.cluster.lab.host(node)?.shell(&line)?;
    counted.trim().parse().context("a count")
}

/// dpkg installs a package on the host that, as those of servers do, stops a unit while it is unpacked and starts it
/// afterwards, after so many seconds.
pub(crate) fn upgrade(host: &Host, unit: &str, seconds: u32) -> Result<()> {
    let text = "Package: hook\nVersion: 1\nArchitecture: all\nMaintainer: lab\nDescription: hook\n";
    host.shell(&format!(
        "set -e; rm -rf /tmp/hook; mkdir -p /tmp/hook/DEBIAN; cd /tmp/hook/DEBIAN; \
         printf '{text}' > control; \
         printf '#!/bin/sh\ndeb-systemd-invoke stop {unit}; sleep {seconds}\n' > preinst; \
         printf '#!/bin/sh\ndeb-systemd-invoke start {unit}\n' > postinst; \
         chmod 755 preinst postinst; dpkg-deb --build /tmp/hook /tmp/hook.deb; \
         dpkg --install /tmp/hook.deb; dpkg --purge hook"
    ))
    .map(drop)
}

/// The cluster's answer to `explain` names these words.
pub(crate) fn expect_explained(watched: &Watched, node: &str, words: &str) -> Result<()> {
    let told = watched.cluster.told(node, &["explain"])?;
    ensure!(told.contains(words), "explain on {node} has no {words:?}: {told}");
    Ok(())
}

/// A statement of root's on a node.
pub(crate) fn sql(watched: &Watched, node: &str, statement: &str) -> Result<String> {
    watched.cluster.lab.host(node)?.sql(statement)
}

/// A script on a node.
pub(crate) fn shell(watched: &Watched, node: &str, script: &str) -> Result<String> {
    watched.cluster.lab.host(node)?.shell(script)
}

/// What was told since then under this code.
pub(crate) fn told(watched: &Watched, node: &str, from: u64, code: &str) -> Result<Vec<String>> {
    let events = history::since(watched.cluster.lab.host(node)?, from);
    Ok(events.into_iter().filter(|event| event.code == code).map(|event| event.text).collect())
}

/// For a session to be there.
const OPEN: Duration = Duration::from_secs(15);

/// A client that holds something; with its host it ends in any case.
pub(crate) struct Holder {
    child: Child,
    node: String,
}

impl Holder {
    /// Runs these statements, and stays.
    pub(crate) fn open(watched: &Watched, node: &str, statements: &str) -> Result<Holder> {
        let text = format!("{statements}; SELECT SLEEP(600)");
        let mut command = watched.cluster.lab.host(node)?.command(&["mariadb", "-e", &text])?;
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let holder = Holder { child: child.context("mariadb")?, node: node.to_string() };
        wait_for("the session", OPEN, || {
            let look = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE INFO='SELECT SLEEP(600)'";
            Ok((sql(watched, node, look)?.trim() != "0").then_some(()))
        })?;
        Ok(holder)
    }

    /// It may have been ended by the product, which is the point.
    pub(crate) fn end(mut self, watched: &Watched) -> Result<()> {
        shell(watched, &self.node, "pkill -x mariadb || true")?;
        self.child.wait().map(drop).context("mariadb")
    }
}

//! The wall clock that the agent reads jumps an hour ahead and back, on the active node and on the standby. The hosts
//! share this machine's clock, and no namespace has a wall clock of its own, so the agent and its children read a
//! shifted one by a preloaded library (libfaketime); the kernel's steady clocks, which decide, are the true ones.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::case::{Case, Run, Tier};
use super::kit::{throughout, wait_event};
use crate::fault::{Watched, other_of};
use crate::run::now_us;
use crate::say;
use crate::seen::Attempt;

pub(super) const CASE: Case = Case {
    name: "clock-jump",
    about: "the wall clock of a node jumps an hour ahead and back: an alarm, no move, no outage",
    tier: Tier::Default,
    run: Run::Watched(run),
};

/// What is added to the wall clock, for the library to read each second.
const SHIFT: &str = "/run/clock-shift";
/// `$LIB` is the loader's word for the directory of this architecture.
const DROP_IN: &str = "[Service]
Environment=LD_PRELOAD=/usr/$LIB/faketime/libfaketime.so.1
Environment=FAKETIME_TIMESTAMP_FILE=/run/clock-shift FAKETIME_CACHE_DURATION=1
Environment=FAKETIME_DONT_FAKE_MONOTONIC=1 DONT_FAKE_MONOTONIC=1 NO_FAKE_STAT=1
";
/// Ahead, and back to the truth: what is added, and how the alarm says it.
const JUMPS: [(&str, &str); 2] = [("+3600", "jumped by +36"), ("+0", "jumped by -36")];
/// The agent looks at its clock each second, and the library at its file.
const ALARM: Duration = Duration::from_secs(10);
/// Longer than a lease: a takeover that this provoked would show.
const WATCH: Duration = Duration::from_secs(3);
const STEADY: Duration = Duration::from_secs(1);
const SYNC: Duration = Duration::from_secs(60);
/// No write in so long is a service that stands still; a busy machine alone costs a client half a second.
const GAP_MS: u64 = 2_000;

fn run(watched: &mut Watched) -> Result<()> {
    let active = watched.cluster.active()?;
    for node in [active.as_str(), other_of(&active)] {
        preload(watched, node)?;
        for (shift, words) in JUMPS {
            let from = now_us();
            say::line(&format!("fault   the wall clock of {node} is shifted by {shift} s"));
            shift_to(watched, node, shift)?;
            let alarm = wait_event(watched, node, from, ("clock.jumped", words), ALARM)?;
            ensure!(alarm.severity == "alarm", "{}", alarm.severity);
            throughout(WATCH, || {
                let status = watched.cluster.status_of(&active).context("no status")?;
                ensure!(status.is_active_itself(), "{active} does not serve: {}", status.brief());
                Ok(())
            })?;
            let figures = watched.recorder.tape().figures(from, now_us(), Attempt::Write);
            ensure!(figures.client_gap_ms <= GAP_MS, "outage of {} ms", figures.client_gap_ms);
            let moves = watched.moves_since(from);
            ensure!(moves == 0, "{moves} moves");
        }
    }
    watched.cluster.wait_in_sync(SYNC).map(drop)
}

/// Restarts the agent of a node with the library in it; nothing moves by that either.
fn preload(watched: &Watched, node: &str) -> Result<()> {
    shift_to(watched, node, "+0")?;
    let directory = "/etc/systemd/system/regent.service.d";
    watched.cluster.lab.host(node)?.shell(&format!(
        "mkdir -p {directory}; cat > {directory}/clock.conf << 'END'\n{DROP_IN}END\n\
         systemctl daemon-reload; systemctl restart regent; \
         grep -q libfaketime /proc/$(systemctl show --property=MainPID --value regent)/maps"
    ))?;
    watched.cluster.wait_in_sync(SYNC)?;
    watched.recorder.wait_steady(STEADY, SYNC)
}

fn shift_to(watched: &Watched, node: &str, shift: &str) -> Result<()> {
    // By a rename: the library never reads half of it.
    let line = format!("echo {shift} > {SHIFT}.new; mv {SHIFT}.new {SHIFT}");
    watched.cluster.lab.host(node)?.shell(&line).map(drop)
}

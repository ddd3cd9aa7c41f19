//! Fencing by the product, against management controllers that really switch hosts: unasked, when a
//! host that was succeeded hangs; asked for by an operator; and with controllers that fail. Only the
//! holder fences, only the device's own word confirms it, and no takeover waits for it.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::bmc::ask;
use super::case::{Case, Run, Tier};
use super::kit::{Answer, command, regent, wait_event};
use crate::bmc::{self, Bmc, Mode, PASSWORD, USER};
use crate::cluster::{NODES, Settings};
use crate::fault::{Watched, other_of};
use crate::run::now_us;
use crate::say;

pub(super) const SILENT: Case = Case {
    name: "fence-silent",
    about: "the active hangs: the standby takes over without a fence, and then fences it unasked",
    tier: Tier::Default,
    run: Run::Configured(silent_settings, silent),
};

pub(super) const ASKED: Case = Case {
    name: "fence-asked",
    about: "regent fence: the holder does it, confirmed; the standby refuses; fence test asks only",
    tier: Tier::Default,
    run: Run::Configured(settings, asked),
};

pub(super) const BAD_DEVICE: Case = Case {
    name: "fence-bad-device",
    about: "controllers that lie, refuse or are gone, a wrong password: nothing is confirmed",
    tier: Tier::Default,
    run: Run::Configured(settings, bad_device),
};

/// How long a fencing may take, as configured: the agent's interpreter alone takes seconds to start
/// on a machine with eight times its load.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Until it is told, with room for a busy machine.
const TOLD: Duration = Duration::from_secs(60);
const SYNC: Duration = Duration::from_secs(60);

fn settings() -> Settings {
    Settings { policy: fences("fence-silent = false"), ..Settings::default() }
}

fn silent_settings() -> Settings {
    Settings { policy: fences("fence-silent = true"), ..Settings::default() }
}

/// The lines of `[policy]`, and a fence for each node behind them.
fn fences(policy: &str) -> String {
    let mut text = format!("{policy}\n");
    for node in NODES {
        let address = bmc::address(node).map(|address| address.to_string()).unwrap_or_default();
        text.push_str(&format!(
            "\n[node.{node}.fence]\nagent = \"fence_redfish\"\npassword-file = \"{}\"\n\
             timeout = \"{}s\"\noptions = {{ ip = \"{address}\", username = \"{USER}\", \
             systems-uri = \"/redfish/v1/Systems/1\", ssl-insecure = \"1\", \
             power-timeout = \"4\" }}\n",
            password_file(node),
            TIMEOUT.as_secs()
        ));
    }
    text
}

fn password_file(node: &str) -> String {
    format!("/etc/regent/fence/{node}")
}

/// Controllers, and their password on every node.
fn equip(watched: &Watched) -> Result<Bmc> {
    for node in NODES {
        write_passwords(watched, node, PASSWORD)?;
    }
    Bmc::start(&watched.cluster.lab)
}

fn write_passwords(watched: &Watched, on: &str, password: &str) -> Result<()> {
    let host = watched.cluster.lab.host(on)?;
    for node in NODES {
        let path = password_file(node);
        host.shell(&format!(
            "mkdir -p /etc/regent/fence; umask 077; printf '%s\\n' '{password}' > {path}; \
             chmod 600 {path}"
        ))?;
    }
    Ok(())
}

fn silent(watched: &mut Watched) -> Result<()> {
    let bmc = equip(watched)?;
    let active = watched.cluster.active()?;
    let other = other_of(&active);
    say::line(&format!("fault   {active}, the active host, hangs: all of it is frozen"));
    let from = now_us();
    watched.cluster.lab.host(&active)?.hang()?;
    watched.wait_served_by(other)?;
    let event = wait_event(watched, other, from, ("fence.confirmed", &active), TOLD)?;
    ensure!(event.text.contains("fence_redfish"), "by what? {}", event.text);
    ensure!(!bmc.is_on(&active)?, "{active} is said to be off, and is on");
    let asked = bmc.resets(&active)?;
    ensure!(asked.len() == 1 && asked[0].1 == "ForceOff", "{active} was asked for {asked:?}");
    ensure!(bmc.resets(other)?.is_empty(), "{other} was switched as well");

    let mac = watched.cluster.lab.host(other)?.spec.mac.clone();
    let spoke = watched.recorder.tape().spoke(&mac, from).context("nobody took over")?;
    say::line(&format!(
        "result  {other} spoke for the VIP {} ms after the hang, its controller was asked after \
         {} ms, confirmed after {} ms",
        (spoke - from) / 1000,
        (asked[0].0 - from) / 1000,
        (event.at - from) / 1000
    ));
    ensure!(spoke < asked[0].0, "the takeover waited for the fence");
    switch_on(watched, &bmc, other, &active)
}

fn asked(watched: &mut Watched) -> Result<()> {
    let bmc = equip(watched)?;
    let active = watched.cluster.active()?;
    let other = other_of(&active);
    for node in NODES {
        let told = command(watched, node, "fence test")?;
        let on = told.lines().filter(|line| line.contains("fence_redfish") && line.contains("on"));
        ensure!(on.count() == 2, "fence test on {node}: {told}");
    }
    let refused = regent(watched, other, &format!("fence {active} --yes"))?;
    expect(&refused, false, "only the holder fences")?;
    let refused = regent(watched, &active, &format!("fence {active} --yes"))?;
    expect(&refused, false, "does not fence itself")?;
    let unasked: usize = bmc.resets(&active)?.len() + bmc.resets(other)?.len();
    ensure!(unasked == 0, "a test or a refusal switched something");

    let from = now_us();
    let done = regent(watched, &active, &format!("fence {other} --yes"))?;
    expect(&done, true, &format!("{other} is fenced, confirmed"))?;
    ensure!(!bmc.is_on(other)?, "{other} is said to be off, and is on");
    ensure!(bmc.is_on(&active)?, "{active} was switched off");
    wait_event(watched, &active, from, ("fence.confirmed", other), TOLD)?;
    say::line(&format!("result  an off of {other} confirmed after {} ms", done.took.as_millis()));
    let again = regent(watched, &active, &format!("fence {other} --yes"))?;
    expect(&again, true, "was off already")?;
    ensure!(bmc.resets(other)?.len() == 1, "{other} was switched off twice");
    let told = command(watched, &active, &format!("fence test {other}"))?;
    ensure!(told.contains("off"), "{told}");
    ensure!(watched.cluster.active()? == active, "the fencing moved the VIP");
    switch_on(watched, &bmc, &active, other)
}

fn bad_device(watched: &mut Watched) -> Result<()> {
    let bmc = equip(watched)?;
    let active = watched.cluster.active()?;
    let other = other_of(&active);
    let words = format!("fence {other} --yes");
    let attempt = |codes: &[&str], text: &str| -> Result<()> {
        let from = now_us();
        let answer = regent(watched, &active, &words)?;
        expect(&answer, false, text)?;
        let is_failed = answer.text.contains("is not fenced");
        let code = if is_failed { "fence.failed" } else { "fence.unknown" };
        ensure!(codes.contains(&code), "{code} where {codes:?} was due: {}", answer.text);
        let event = wait_event(watched, &active, from, (code, text), TOLD)?;
        ensure!(event.severity == "alarm", "{} is no alarm but {}", event.code, event.severity);
        ensure!(bmc.is_on(other)?, "{other} was switched off");
        ensure!(answer.took < TIMEOUT + Duration::from_secs(6), "it took {:?}", answer.took);
        say::line(&format!("result  {} after {} ms", event.code, answer.took.as_millis()));
        Ok(())
    };

    for mode in [Mode::Lies, Mode::Refuses] {
        bmc.set(other, mode)?;
        say::line(&format!("fault   the controller of {other}: {mode:?}"));
        // Unknown only if the machine is so busy that the agent had no time to say that it failed.
        attempt(&["fence.failed", "fence.unknown"], other)?;
    }
    bmc.set(other, Mode::Unreachable)?;
    say::line(&format!("fault   the controller of {other} is gone"));
    attempt(&["fence.unknown"], other)?;
    let tested = regent(watched, &active, &format!("fence test {other}"))?;
    expect(&tested, false, "unknown")?;
    bmc.set(other, Mode::Works)?;

    write_passwords(watched, &active, "wrong")?;
    say::line("fault   the password is wrong");
    attempt(&["fence.unknown"], "Unable to get PowerState")?;
    let path = password_file(other);
    watched.cluster.lab.host(&active)?.shell(&format!("chmod 644 {path}"))?;
    say::line("fault   everybody may read the password");
    attempt(&["fence.failed"], "chmod 600")?;
    write_passwords(watched, &active, PASSWORD)?;
    let tested = command(watched, &active, &format!("fence test {other}"))?;
    ensure!(tested.contains("on"), "{tested}");
    ensure!(watched.cluster.active()? == active, "a fencing that failed moved the VIP");
    expect_secret(watched, &active)
}

/// Neither what the product says nor any log of the host has the password.
fn expect_secret(watched: &Watched, node: &str) -> Result<()> {
    let host = watched.cluster.lab.host(node)?;
    let line = "{ journalctl --no-pager -o cat; regent history --last 200; regent explain; } | \
                grep -cF -f /etc/regent/fence/mn1 || true";
    let found = host.shell(line)?;
    ensure!(found.trim() == "0", "the password stands in {} lines", found.trim());
    let logged = host.shell("journalctl --no-pager -o cat | grep -c fence || true")?;
    ensure!(logged.trim() != "0", "the journal of {node} has nothing about fencing at all");
    Ok(())
}

fn expect(answer: &Answer, is_good: bool, words: &str) -> Result<()> {
    let Answer { code, text, .. } = answer;
    ensure!((*code == 0) == is_good, "exit {code}: {text}");
    ensure!(text.contains(words), "no {words:?} in: {text}");
    Ok(())
}

/// What an operator does when the host is to come back: its power, by the same agent, by hand.
fn switch_on(watched: &Watched, bmc: &Bmc, from: &str, node: &str) -> Result<()> {
    ask(&watched.cluster.lab, (from, node), "on", PASSWORD)?.expect(0, "Success: Powered ON")?;
    bmc.wait_booted(node)?;
    let status = watched.cluster.wait_in_sync(SYNC)?;
    ensure!(status.active() == Some(from), "{}", status.brief());
    Ok(())
}

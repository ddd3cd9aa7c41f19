//! The directory in common is lost for one host: it hangs, or every access fails, as with a file server that one host
//! cannot reach. A passage of the lab's own does it (FUSE). It is seen within seconds and said, nothing of the agent
//! waits for it, the stack moves where a proof allows that, and a thaw makes nobody a second user.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::case::{Case, Run, Tier};
use super::xcat_auto::{
    come_back_passive, expect_off_before, first_start, tell_story, wait_blocked, wait_standby,
};
use super::xcat_crash::wait_active;
use super::xcat_kit::{
    CHECKS, expect_active, expect_passive, expect_row, start_of_xcatd, tell_outage, wait_passive,
    with,
};
use crate::bmc::{Bmc, Mode};
use crate::history;
use crate::passage::Passage;
use crate::run::{now_us, wait_for};
use crate::say;
use crate::shared::{Answer, Choice, Shared};
use crate::xcat::{self, Db, Prober};

pub(super) const HANGS: Case = Case {
    name: "xcat-data-hangs",
    about: "the shared directory hangs under the active host alone: said, fenced, moved",
    tier: Tier::Default,
    run: Run::Passages(|| with(automatic(Db::Postgresql), hangs)),
};

pub(super) const FAILS: Case = Case {
    name: "xcat-data-fails",
    about: "the shared directory fails under the standby, then under the active: said, moved",
    tier: Tier::All,
    run: Run::Passages(|| with(automatic(Db::Mysql), fails)),
};

pub(super) const THAWS: Case = Case {
    name: "xcat-data-thaws",
    about: "it hangs under the standby, then under the active whose fence is dead, and thaws: one user",
    tier: Tier::All,
    run: Run::Passages(|| with(automatic(Db::Mysql), thaws)),
};

pub(super) const BY_HAND: Case = Case {
    name: "xcat-data-by-hand",
    about: "two hosts by hand: the directory hangs under the active, thaws, fails: said, bounded, moved",
    tier: Tier::All,
    run: Run::Passages(|| with(by_hand_choice(), by_hand)),
};

/// Runs, and not all is well.
const DEGRADED: i32 = 5;
/// What is asked of an agent has its answer in this time, whatever the directory does.
const QUICK: Duration = Duration::from_secs(3);
/// Until it is seen that a directory hangs: five seconds without an answer, and a busy machine.
const SEEN: Duration = Duration::from_secs(15);
/// A command that needs the directory says in this time that it does not answer.
const BOUNDED: Duration = Duration::from_secs(25);
const ANSWERED: Duration = Duration::from_secs(90);
/// Everything is well again.
const WELL: Duration = Duration::from_secs(60);
/// Between two answers of an active node that nothing happens to.
const STEADY_MS: u64 = 1_500;
/// How `status` names what is lost.
const LOST: &str = "/HA-data";

fn automatic(db: Db) -> Choice {
    let stack = "data-patience = \"8s\"".to_owned();
    Choice { stack, passages: true, ..Choice::automatic(db) }
}

fn by_hand_choice() -> Choice {
    Choice { passages: true, ..Choice::by_hand(Db::Postgresql) }
}

fn passage<'a>(shared: &'a Shared, node: &str) -> Result<&'a Passage> {
    shared.lab.host(node)?.passage()
}

fn hangs(shared: &mut Shared) -> Result<()> {
    let bmc = Bmc::start(&shared.lab)?;
    let prober = serve(shared)?;
    let from = now_us();
    passage(shared, "mn1")?.hang()?;
    say::line("fault   the shared directory hangs under mn1, active");
    wait_said(shared, "mn1", LOST)?;
    tell_seen(from);
    let off =
        wait_for("mn1 to be switched off", ANSWERED, || Ok((!bmc.is_on("mn1")?).then(now_us)))?;
    // What is behind xcatd comes up as it always does.
    let answered = prober.wait_answered(off, ANSWERED)?;
    expect_row(shared, "kept")?;
    tell_story(shared, "mn2", from)?;
    tell_moved(shared, &prober, from, answered)?;
    // Its return is that of any host that was fenced.
    expect_off_before(shared, &bmc, from)
}

fn fails(shared: &mut Shared) -> Result<()> {
    let _bmc = Bmc::start(&shared.lab)?;
    let prober = serve(shared)?;
    under_standby(shared, &prober, Passage::fail)?;
    shared.lab.host_mut("mn2")?.power_off()?;
    come_back_passive(shared, "mn2")?;
    wait_standby(shared, "mn1", "mn2")?;
    wait_well(shared)?;

    let from = now_us();
    passage(shared, "mn1")?.fail()?;
    say::line("fault   the shared directory fails under mn1, active");
    wait_said(shared, "mn1", LOST)?;
    tell_seen(from);
    let answered = wait_served_by(shared, &prober, "mn2", from)?;
    tell_story(shared, "mn1", from)?;
    tell_moved(shared, &prober, from, answered)?;
    if shared.lab.host("mn1")?.is_on() {
        wait_passive(shared, "mn1")?;
        wait_said(shared, "mn2", "mn1 could not be activated")?;
        shared.lab.host_mut("mn1")?.power_off()?;
    }
    come_back_passive(shared, "mn1")?;
    wait_standby(shared, "mn2", "mn1")?;
    wait_well(shared)
}

/// Nobody can prove that mn1 is off: mn2 waits, and begins when mn1 itself has ended after the thaw.
fn thaws(shared: &mut Shared) -> Result<()> {
    let bmc = Bmc::start(&shared.lab)?;
    let prober = serve(shared)?;
    under_standby(shared, &prober, Passage::hang)?;
    passage(shared, "mn2")?.thaw()?;
    say::line("fault   the directory of mn2 answers again");
    wait_well(shared)?;

    bmc.set("mn1", Mode::Unreachable)?;
    let from = now_us();
    passage(shared, "mn1")?.hang()?;
    say::line(
        "fault   the shared directory hangs under mn1, active; its controller is unreachable",
    );
    wait_said(shared, "mn1", LOST)?;
    let blocked = wait_blocked(shared, "mn2", "mn1")?;
    say::line(&format!("status  mn2: row {}: {}", blocked.row, blocked.text));
    expect_passive(shared, "mn2")?;
    let thawed = now_us();
    passage(shared, "mn1")?.thaw()?;
    say::line("fault   the directory of mn1 answers again");
    let answered = wait_served_by(shared, &prober, "mn2", thawed)?;
    tell_moved(shared, &prober, from, answered)?;
    expect_one_after_the_other(shared, thawed)?;
    ensure!(shared.lab.host("mn1")?.is_on(), "mn1 was switched off");
    bmc.set("mn1", Mode::Works)?;
    wait_passive(shared, "mn1")?;
    wait_standby(shared, "mn2", "mn1")?;
    wait_well(shared)
}

fn by_hand(shared: &mut Shared) -> Result<()> {
    let prober = serve(shared)?;
    passage(shared, "mn1")?.hang()?;
    let from = now_us();
    say::line("fault   the shared directory hangs under mn1, active");
    let told = wait_said(shared, "mn1", LOST)?;
    tell_seen(from);
    let word = "--confirm-peer-is-off mn1";
    ensure!(told.text.contains(word), "it does not say what helps: {}", told.text);
    for (node, line) in [("mn1", "deactivate"), ("mn1", "switchover"), ("mn2", "switchover")] {
        let refused = shared.regent(node, line)?.expect(CHECKS)?;
        ensure!(refused.text.contains(LOST), "{line}: {}", refused.text);
        ensure!(refused.took < BOUNDED, "{line} took {} ms", refused.took.as_millis());
    }
    let refused = shared.regent("mn2", "activate")?;
    ensure!(refused.code != 0, "mn2 was activated beside mn1");
    let shown = shared.regent("mn1", "stack show")?;
    ensure!(shown.took < BOUNDED, "stack show took {} ms", shown.took.as_millis());
    expect_passive(shared, "mn2")?;
    passage(shared, "mn1")?.thaw()?;
    say::line("fault   the directory of mn1 answers again");
    wait_well(shared)?;
    expect_row(shared, "kept")?;
    expect_active(shared, "mn1")?;

    passage(shared, "mn1")?.fail()?;
    let from = now_us();
    say::line("fault   the shared directory fails under mn1, active");
    wait_said(shared, "mn1", LOST)?;
    tell_seen(from);
    shared.regent("mn1", "deactivate")?.expect(0)?;
    wait_passive(shared, "mn1")?;
    shared.regent("mn2", "activate")?.expect(0)?;
    let answered = wait_served_by(shared, &prober, "mn2", from)?;
    tell_moved(shared, &prober, from, answered)?;
    wait_said(shared, "mn2", "mn1 could not be activated")?;
    shared.lab.host_mut("mn1")?.power_off()?;
    come_back_passive(shared, "mn1")?;
    wait_standby(shared, "mn2", "mn1")?;
    wait_well(shared)
}

/// mn1 is active, a row is written, everything is well.
fn serve(shared: &Shared) -> Result<Prober> {
    shared.regent("mn1", "activate")?.expect(0)?;
    let prober = Prober::start(&shared.lab)?;
    prober.wait_answered(now_us(), ANSWERED)?;
    xcat::write_row(shared.client()?, "kept", "yes")?;
    wait_well(shared)?;
    Ok(prober)
}

/// The service goes on, and both nodes say that mn2 could not take over.
fn under_standby(
    shared: &Shared,
    prober: &Prober,
    fault: fn(&Passage) -> Result<()>,
) -> Result<()> {
    let from = now_us();
    fault(passage(shared, "mn2")?)?;
    say::line("fault   the shared directory is lost under mn2, the standby");
    for node in ["mn1", "mn2"] {
        let told = wait_said(shared, node, "mn2 could not be activated")?;
        ensure!(told.text.contains(LOST), "{node} does not say why: {}", told.text);
    }
    tell_seen(from);
    let refused = shared.regent("mn1", "switchover --to mn2")?;
    ensure!(refused.code != 0, "mn1 went to a host without the data");
    ensure!(refused.took < BOUNDED, "the refusal took {} ms", refused.took.as_millis());
    let refused = shared.regent("mn2", "deactivate")?;
    ensure!(refused.took < BOUNDED, "deactivate took {} ms", refused.took.as_millis());
    expect_active(shared, "mn1")?;
    let outage = prober.outage_ms(from, now_us());
    ensure!(outage < STEADY_MS, "the standby's loss kept clients waiting for {outage} ms");
    Ok(())
}

/// Until `status` of a node says this and ends with 5; every answer comes at once. `explain` says it as well.
fn wait_said(shared: &Shared, node: &str, words: &str) -> Result<Answer> {
    let mut last = String::new();
    let told = wait_for(&format!("{node} to say {words}"), SEEN, || {
        let status = shared.regent(node, "status")?;
        ensure!(status.took < QUICK, "status took {} ms", status.took.as_millis());
        last.clone_from(&status.text);
        if status.code == DEGRADED && status.text.contains(words) {
            return Ok(Some(status));
        }
        std::thread::sleep(Duration::from_millis(500));
        Ok(None)
    })
    .with_context(|| last)?;
    let explained = shared.regent(node, "explain")?;
    ensure!(explained.took < QUICK, "explain took {} ms", explained.took.as_millis());
    Ok(told)
}

/// Both nodes say that all is well.
fn wait_well(shared: &Shared) -> Result<()> {
    for node in ["mn1", "mn2"] {
        let mut last = String::new();
        wait_for(&format!("{node} to be well"), WELL, || {
            let status = shared.regent(node, "status")?;
            last = status.text;
            if status.code == 0 {
                return Ok(Some(()));
            }
            std::thread::sleep(Duration::from_millis(500));
            Ok(None)
        })
        .with_context(|| last)?;
    }
    Ok(())
}

fn tell_seen(from: u64) {
    say::line(&format!("result  said {} ms after the fault", (now_us() - from) / 1000));
}

/// Until xcatd answers there and every step is up; when it answered first.
fn wait_served_by(shared: &Shared, prober: &Prober, node: &str, from: u64) -> Result<u64> {
    wait_active(shared, node)?;
    let answered = prober.wait_answered(from.max(prober.last_answer()), ANSWERED)?;
    expect_row(shared, "kept")?;
    Ok(answered)
}

fn tell_moved(shared: &Shared, prober: &Prober, from: u64, answered: u64) -> Result<()> {
    let own = start_of_xcatd(shared, "mn2")?;
    let outage = prober.outage_ms(from, answered);
    tell_outage(shared.choice.db, "the shared directory lost under the active", outage, own);
    Ok(())
}

/// mn2 started its first unit after the last step of mn1 was down.
fn expect_one_after_the_other(shared: &Shared, from: u64) -> Result<()> {
    let events = history::since(shared.lab.host("mn1")?, from);
    let vacated = events.iter().find(|event| event.text.ends_with("[vacate]"));
    let vacated = vacated.context("mn1 did not vacate")?.at;
    let begun = first_start(shared, "mn2")?;
    let apart = begun.saturating_sub(vacated) / 1000;
    say::line(&format!("result  mn1 had ended its use {apart} ms before mn2's first unit"));
    ensure!(vacated <= begun, "mn2 began at {begun}, mn1 ended at {vacated}");
    Ok(())
}

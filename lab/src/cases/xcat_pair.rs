//! Failover scenario 2 on two hosts alone, by hand: whoever dies, the other does nothing unasked; the word that a host
//! is off makes a new register; the old host comes back passive and votes again by one command. Checks 32, 34, 35.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::case::{Case, Run, Tier};
use super::kit::throughout;
use super::xcat_auto::{come_back_passive, expect_kept, lose_power, ms_since, serve, wait_standby};
use super::xcat_crash::wait_active;
use super::xcat_kit::{
    ACTIVE_ELSEWHERE, NOT_PROVEN_CLEAR, expect_active, picture, start_of_xcatd, table, tell_outage,
    wait_passive, with,
};
use crate::run::{now_us, wait_for};
use crate::say;
use crate::shared::{Choice, Shared};
use crate::xcat::{Db, Prober};

pub(super) const CASE: Case = Case {
    name: "xcat-pair",
    about: "two hosts by hand: the standby dies; the active dies: by word, rejoin, switchover",
    tier: Tier::Default,
    run: Run::Alone(|| with(Choice::by_hand(Db::Postgresql), run)),
};

pub(super) const MYSQL: Case = Case {
    name: "xcat-pair-mysql",
    about: "the same with MariaDB",
    tier: Tier::All,
    run: Run::Alone(|| with(Choice::by_hand(Db::Mysql), run)),
};

/// No majority of voters answers.
const NO_QUORUM: i32 = 17;
/// The active node serves without the other one for this long, and is asked all the time.
const ALONE: Duration = Duration::from_secs(8);
/// Its agent is stopped on purpose: twice as long as the kernel keeps an address that nobody refreshes.
const UNATTENDED: Duration = Duration::from_secs(8);
const WORD: &str = "--confirm-peer-is-off";
/// Between two answers of an active node that nothing happens to.
const STEADY_MS: u64 = 1_500;
const ANSWERED: Duration = Duration::from_secs(90);
const HEARD: Duration = Duration::from_secs(60);

fn run(shared: &mut Shared) -> Result<()> {
    let db = shared.choice.db;
    let (clients, before) = serve(shared)?;

    shared.lab.host_mut("mn2")?.power_off()?;
    let from = now_us();
    say::line("fault   mn2, the standby, lost its power");
    throughout(ALONE, || Ok(()))?;
    expect_active(shared, "mn1")?;
    expect_kept(shared, &clients, &before)?;
    expect_said(shared, "mn1", "mn2")?;
    come_back_passive(shared, "mn2")?;
    wait_standby(shared, "mn1", "mn2")?;
    let outage = clients.prober.outage_ms(from, now_us());
    say::line(&format!(
        "result  without its standby mn1 answered, {outage} ms between two answers"
    ));
    ensure!(outage < STEADY_MS, "the death of the standby kept clients waiting for {outage} ms");

    unattended(shared, &clients.prober)?;
    let rest = picture(shared, "mn2")?;
    let died = lose_power(shared)?;
    // Right after the crash, too, it is said what helps, and the word is taken.
    let refused = shared.regent("mn2", "activate")?;
    ensure!([NOT_PROVEN_CLEAR, NO_QUORUM].contains(&refused.code), "exit {}", refused.code);
    ensure!(refused.text.contains(WORD), "it does not say what helps: {}", refused.text);
    ensure!(picture(shared, "mn2")? == rest, "a refused activation changed something");

    let asked = now_us();
    say::line(&format!("lab     the word is given {} ms after the crash", ms_since(died)));
    let told = shared.regent("mn2", "activate --confirm-peer-is-off mn1 --json")?.expect(0)?;
    let what = format!("{} pair, activate mn2, mn1 off by word", db.name());
    say::line(&format!("table   {}", table(&what, &told.text)?));
    let first = clients.prober.wait_answered(asked, ANSWERED)?;
    let own = start_of_xcatd(shared, "mn2")?;
    tell_outage(db, "pair, activate by word after power-off", (first - asked) / 1000, own);
    wait_active(shared, "mn2")?;
    expect_kept(shared, &clients, &before)?;
    expect_said(shared, "mn2", "mn1")?;
    back(shared)?;
    expect_kept(shared, &clients, &before)?;

    let from = now_us();
    shared.regent("mn2", "switchover --to mn1")?.expect(0)?;
    clients.prober.wait_answered(now_us(), ANSWERED)?;
    let own = start_of_xcatd(shared, "mn1")?;
    tell_outage(db, "pair, switchover back", clients.prober.outage_ms(from, now_us()), own);
    wait_active(shared, "mn1")?;
    wait_passive(shared, "mn2")?;
    expect_kept(shared, &clients, &before)
}

/// The agent of the active node is stopped and started: clients notice nothing, and nothing is restarted.
fn unattended(shared: &Shared, prober: &Prober) -> Result<()> {
    let mn1 = shared.lab.host("mn1")?;
    let from = now_us();
    mn1.run(&["systemctl", "stop", "regent"])?;
    say::line("fault   on mn1, active: systemctl stop regent");
    throughout(UNATTENDED, || Ok(()))?;
    let refused = shared.regent("mn2", "activate --confirm-peer-is-off mn1")?;
    ensure!(refused.code == NOT_PROVEN_CLEAR, "exit {}: {}", refused.code, refused.text);
    mn1.run(&["systemctl", "start", "regent"])?;
    wait_active(shared, "mn1")?;
    let outage = prober.outage_ms(from, now_us());
    say::line(&format!("result  without its agent mn1 answered, {outage} ms between two answers"));
    ensure!(outage < STEADY_MS, "without an answer for {outage} ms");
    wait_standby(shared, "mn1", "mn2")
}

/// The old active host comes back: passive, both say in words what it is, and one command makes two of them.
fn back(shared: &mut Shared) -> Result<()> {
    come_back_passive(shared, "mn1")?;
    unreached(shared)?;
    let words = "is back with the register that this one replaced";
    let mut last = String::new();
    wait_for("the words on mn2", HEARD, || {
        last = shared.regent("mn2", "status")?.text;
        if last.contains(words) {
            return Ok(Some(()));
        }
        std::thread::sleep(Duration::from_millis(500));
        Ok(None)
    })
    .with_context(|| last)?;
    let status = shared.regent("mn1", "status")?;
    ensure!(status.code != 0, "mn1 says that all is well: {}", status.text);
    ensure!(status.text.contains("rejoin"), "mn1 does not say what helps: {}", status.text);
    let refused = shared.regent("mn1", "activate")?;
    ensure!(refused.code != 0, "mn1 was activated beside mn2");
    wait_passive(shared, "mn1")?;
    expect_active(shared, "mn2")?;

    let from = now_us();
    shared.regent("mn2", "rejoin mn1")?.expect(0)?;
    wait_standby(shared, "mn2", "mn1")?;
    say::line(&format!("result  mn1 stands by {} ms after rejoin", ms_since(from)));
    expect_active(shared, "mn2")?;
    wait_passive(shared, "mn1")
}

/// It came back, and does not reach the other one: the claim on the data says who serves, since when, and where to
/// rejoin; a word on a host that cannot be asked is not proposed.
fn unreached(shared: &Shared) -> Result<()> {
    shared.lab.cut_path("mn1", "mn2")?;
    shared.lab.cut_path("mn2", "mn1")?;
    say::line("fault   mn1, back, and mn2 do not reach each other");
    let mut last = String::new();
    wait_for("the words on mn1", HEARD, || {
        last = shared.regent("mn1", "status")?.text;
        let said = last.contains("used the shared data by another register since 20");
        if said && last.contains("on mn2: regent rejoin mn1") {
            return Ok(Some(()));
        }
        std::thread::sleep(Duration::from_millis(500));
        Ok(None)
    })
    .with_context(|| last.clone())?;
    let refused = shared.regent("mn1", "activate")?;
    let explained = shared.regent("mn1", "explain")?;
    ensure!(refused.code == ACTIVE_ELSEWHERE, "exit {}: {}", refused.code, refused.text);
    for text in [&last, &refused.text, &explained.text] {
        ensure!(text.contains("regent rejoin mn1"), "it does not say where: {text}");
        ensure!(!text.contains(WORD), "it proposes a word that it cannot ask about: {text}");
    }
    shared.lab.heal_paths()
}

/// The status of one node names the other one, which is missing, and ends with something else than 0.
fn expect_said(shared: &Shared, node: &str, missing: &str) -> Result<()> {
    let status = shared.regent(node, "status")?;
    ensure!(status.code != 0, "{node} says that all is well: {}", status.text);
    let told = status.text.lines().any(|line| line.contains(missing));
    ensure!(told, "{node} does not name {missing}: {}", status.text);
    Ok(())
}

//! An operator takes a host for off whose agent is dead: its stack lives, it answers ARP and refuses connections.
//! The word
//! is refused and names what answered; nothing changes. Once the host has no power the same word is believed.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::case::{Case, Run, Tier};
use super::xcat_auto::{expect_kept, lose_power, serve};
use super::xcat_crash::wait_active;
use super::xcat_kit::{NOT_PROVEN_CLEAR, expect_passive, picture, with};
use crate::run::{now_us, wait_for};
use crate::say;
use crate::shared::{Choice, Shared};
use crate::xcat::Db;

pub(super) const CASE: Case = Case {
    name: "xcat-word",
    about: "two hosts by hand: the agent of the active is dead, its host answers: the word that it is off is refused",
    tier: Tier::Default,
    run: Run::Alone(|| with(Choice::by_hand(Db::Sqlite), run)),
};

const BOUND: Duration = Duration::from_secs(60);
const WORD: &str = "activate --confirm-peer-is-off mn1";

fn run(shared: &mut Shared) -> Result<()> {
    let (clients, before) = serve(shared)?;
    let mac = shared.lab.host("mn1")?.spec.mac.to_lowercase();
    shared.lab.host("mn1")?.shell("systemctl stop regent")?;
    let from = now_us();
    say::line("fault   the agent of mn1, active, is stopped; its stack is not");
    let rest = picture(shared, "mn2")?;
    // While its agent was heard a moment ago it is refused as well, and named otherwise.
    let refused = wait_for("the word is refused for what the host answers", BOUND, || {
        let told = shared.regent("mn2", WORD)?;
        ensure!(told.code != 0, "the word was believed: {}", told.text);
        Ok((told.code == NOT_PROVEN_CLEAR).then_some(told))
    })?;
    for sign in [mac.as_str(), "answers for its address by ARP", "TCP reset"] {
        ensure!(refused.text.contains(sign), "it does not name {sign}: {}", refused.text);
    }
    say::line(&format!("result  refused after {} ms: {}", (now_us() - from) / 1000, refused.text));
    let dry = shared.regent("mn2", &format!("{WORD} --dry-run"))?;
    ensure!(dry.code == NOT_PROVEN_CLEAR, "a dry run ends with {}: {}", dry.code, dry.text);
    ensure!(picture(shared, "mn2")? == rest, "a refused word changed something");
    expect_passive(shared, "mn2")?;
    shared.lab.host("mn1")?.shell("pgrep -x xcatd")?;
    clients.prober.wait_answered(now_us(), BOUND)?;

    shared.lab.host("mn1")?.shell("systemctl start regent")?;
    wait_active(shared, "mn1")?;
    expect_kept(shared, &clients, &before)?;

    lose_power(shared)?;
    wait_for("the word is believed", BOUND, || {
        Ok((shared.regent("mn2", WORD)?.code == 0).then_some(()))
    })?;
    wait_active(shared, "mn2")?;
    expect_kept(shared, &clients, &before)
}

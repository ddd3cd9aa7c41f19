//! The active host is alive, has the shared data, and nobody hears it. It closes its gate with its right, takes its
//! stack down in a stated time, and is blocked or fenced for the other as long as that is not proven; with the cable
//! back it is passive and never answers for the VIP again unasked. Checks 33, 34.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::bmc::ask;
use super::case::{Case, Run, Tier};
use super::kit::throughout;
use super::xcat_auto::{
    expect_kept, expect_off_before, ms_since, serve, tell_story, wait_blocked, wait_standby,
};
use super::xcat_crash::wait_active;
use super::xcat_cut::{REFUSALS, until_gone};
use super::xcat_kit::{
    NOT_PROVEN_CLEAR, expect_active, expect_passive, start_of_xcatd, tell_outage, wait_passive,
    with,
};
use crate::bmc::{Bmc, Mode, PASSWORD};
use crate::history;
use crate::lab::VIP;
use crate::record::Recorder;
use crate::run::{now_us, wait_for};
use crate::say;
use crate::shared::{Choice, Shared, data_of};
use crate::xcat::{self, Db, Prober};

pub(super) const CASE: Case = Case {
    name: "xcat-cut",
    about: "the active is cut off, its data are not: gate, stack, row 5, cable back; then by word",
    tier: Tier::Default,
    run: Run::Alone(|| with(Choice::unfenced(Db::Postgresql), cut)),
};

pub(super) const MYSQL: Case = Case {
    name: "xcat-cut-mysql",
    about: "the same with MariaDB",
    tier: Tier::All,
    run: Run::Alone(|| with(Choice::unfenced(Db::Mysql), cut)),
};

pub(super) const FENCED: Case = Case {
    name: "xcat-cut-fenced",
    about: "the active is cut off, its data are not; no fence works: nobody; then one does: off first",
    tier: Tier::All,
    run: Run::Alone(|| with(Choice::automatic(Db::Postgresql), fenced)),
};

/// The right of a holder that is not heard ends within this, on a busy machine.
const GATE_MS: u64 = 4_000;
/// Until the stack of a node that is cut off is down, beyond what its steps take: the end of its right, `isolation`,
/// which is three seconds, and a busy machine.
const DOWN_MS: u64 = 8_000;
const DOWN: Duration = Duration::from_secs(60);
/// The right of a cut holder ends, it waits for the isolation, and stops its database: all in this time.
const WRITES_MS: u64 = 15_000;
const ANSWERED: Duration = Duration::from_secs(90);
/// How long the address is watched after the cable is back; LAB_XCAT_WATCH_SECONDS says otherwise.
const WATCH: Duration = Duration::from_secs(10);

fn cut(shared: &mut Shared) -> Result<()> {
    let (clients, _) = serve(shared)?;
    xcat::write_row(shared.client()?, "cut", "x")?;
    let before = xcat::dump(shared.client()?)?;
    let recorder = Recorder::start(&shared.lab)?;
    let from = isolate(shared, "mn1", "mn2")?;
    ensure!(clients.prober.answered_after(from).is_none(), "somebody answered a client");

    let healed = heal(shared, "mn1")?;
    let answered = clients.prober.wait_answered(healed, ANSWERED)?;
    say::line(&format!(
        "client  has an answer {} ms after the cable is back",
        (answered - healed) / 1000
    ));
    let (active, other) = settle(shared)?;
    tell_story(shared, active, healed)?;
    wait_standby(shared, active, other)?;
    expect_kept(shared, &clients, &before)?;
    watch_address(shared, &recorder, active, other, healed)?;

    // The same once more, and an operator who has pulled the cable says so.
    let from = isolate(shared, active, other)?;
    let words = format!("activate --confirm-peer-is-off {active}");
    shared.regent(other, &words)?.expect(0)?;
    clients.prober.wait_answered(from, ANSWERED)?;
    wait_active(shared, other)?;
    expect_kept(shared, &clients, &before)?;
    let healed = heal(shared, active)?;
    watch_address(shared, &recorder, other, active, healed)?;
    wait_passive(shared, active)?;
    wait_standby(shared, other, active)?;
    expect_active(shared, other)?;
    expect_kept(shared, &clients, &before)
}

fn fenced(shared: &mut Shared) -> Result<()> {
    let db = shared.choice.db;
    let bmc = Bmc::start(&shared.lab)?;
    let (clients, before) = serve(shared)?;
    bmc.set("mn1", Mode::Unreachable)?;
    shared.lab.host("mn1")?.cut()?;
    let from = now_us();
    say::line("fault   mn1, active, is cut off; its shared data are not; no controller answers");
    let gone = until_gone(shared, "mn1", "postgres", from)?;
    say::line(&format!("result  no process of PostgreSQL on mn1 {gone} ms after the cut"));
    ensure!(gone <= WRITES_MS, "PostgreSQL of mn1 ran for {gone} ms after the cut");
    let refused = shared.regent("mn2", "activate")?;
    ensure!(REFUSALS.contains(&refused.code), "exit {}: {}", refused.code, refused.text);
    expect_passive(shared, "mn2")?;

    bmc.set("mn1", Mode::Works)?;
    say::line("case    the controller of mn1 answers again");
    let answered = clients.prober.wait_answered(now_us(), ANSWERED)?;
    let own = start_of_xcatd(shared, "mn2")?;
    tell_outage(db, "takeover after a cut", clients.prober.outage_ms(from, answered), own);
    wait_active(shared, "mn2")?;
    tell_story(shared, "mn2", from)?;
    expect_off_before(shared, &bmc, from)?;
    expect_kept(shared, &clients, &before)?;

    ask(&shared.lab, ("mn2", "mn1"), "on", PASSWORD)?.expect(0, "Success: Powered ON")?;
    bmc.wait_booted("mn1")?;
    wait_passive(shared, "mn1")?;
    wait_standby(shared, "mn2", "mn1")?;
    expect_active(shared, "mn2")
}

/// Cuts the active node off: when its gate closed, when its stack was down, what the other one says. When it was cut.
fn isolate(shared: &Shared, active: &str, other: &str) -> Result<u64> {
    let host = shared.lab.host(active)?;
    let inside = Prober::start_in(host.netns())?;
    let ready = now_us();
    inside.wait_answered(ready, ANSWERED)?;
    host.cut()?;
    let from = now_us();
    say::line(&format!("fault   {active}, active, is cut off; its shared data are not"));
    wait_for("the stack to be down on the host that is cut off", DOWN, || {
        // An administrator on that host goes on writing to its own daemon.
        let line = "XCATHOST=127.0.0.1:3001 timeout 1 chtab key=cut site.value=x; \
                    ps axo comm= | grep -E -c '^(xcatd|postgres|mariadbd|named|dhcpd|conserver)' || true";
        let told = host.enter(&["/bin/sh", "-c", line], Duration::from_secs(5))?;
        let text = String::from_utf8_lossy(&told.stdout);
        Ok((text.trim().lines().last() == Some("0")).then_some(()))
    })?;
    let down = (now_us() - from) / 1000;
    let gate = inside.last_answer().saturating_sub(from) / 1000;
    let own = stop_ms(shared, active, from)?;
    say::line(&format!(
        "result  {active} is cut off: its gate closed after {gate} ms, its services were down \
         after {down} ms, the stops alone {own} ms"
    ));
    ensure!(down <= own + DOWN_MS, "down after {down} ms, the stops alone {own} ms");
    ensure!(gate < GATE_MS, "the VIP was answered on {active} for {gate} ms after the cut");
    wait_passive(shared, active)?;
    say::line(&format!("host    {active} is passive {} ms after the cut", ms_since(from)));
    expect_no_way(shared, active)?;
    drop(inside);
    let blocked = wait_blocked(shared, other, active)?;
    say::line(&format!("status  {other}: row {}: {}", blocked.row, blocked.text));
    shared.regent(other, "activate")?.expect(NOT_PROVEN_CLEAR)?;
    Ok(from)
}

/// What the steps down took on a node since then, by its own word, in milliseconds.
fn stop_ms(shared: &Shared, node: &str, from: u64) -> Result<u64> {
    let events = history::since(shared.lab.host(node)?, from);
    let steps = events.iter().filter(|event| event.code == "stack.step-down");
    let took = steps.filter_map(|event| event.text.strip_suffix(" ms")?.rsplit(' ').next());
    Ok(took.filter_map(|ms| ms.parse::<u64>().ok()).sum())
}

/// Nobody on that host gets at the shared database, however they try.
fn expect_no_way(shared: &Shared, node: &str) -> Result<()> {
    let host = shared.lab.host(node)?;
    let db = shared.choice.db;
    let lock = db.lock().map(|lock| data_of(&shared.lab.dir).join(lock));
    let is_locked = || lock.as_ref().is_some_and(|lock| lock.exists());
    ensure!(!is_locked(), "{lock:?} is there: no orderly end");
    let units: Vec<&str> = db.unit().into_iter().chain(["xcatd.service"]).collect();
    let start: Vec<&str> = ["systemctl", "start"].into_iter().chain(units.clone()).collect();
    host.enter(&start, Duration::from_secs(20))?;
    for unit in units {
        let state = host.run(&["systemctl", "show", "-p", "ActiveState", "--value", unit])?;
        ensure!(state.trim() == "inactive", "{unit} on {node}, cut off, is {}", state.trim());
    }
    let line = "XCATHOST=127.0.0.1:3001 timeout 2 chtab key=late site.value=x";
    let written = host.enter(&["/bin/sh", "-c", line], Duration::from_secs(5))?;
    ensure!(!written.status.success(), "a row was written on {node}, cut off");
    ensure!(!is_locked(), "{lock:?} came back");
    Ok(())
}

fn heal(shared: &Shared, node: &str) -> Result<u64> {
    shared.lab.host(node)?.heal()?;
    say::line(&format!("fault   {node} has its cable back"));
    Ok(now_us())
}

/// One of the two is active and the other passive, whichever.
fn settle(shared: &Shared) -> Result<(&'static str, &'static str)> {
    let pair = wait_for("one active and one passive node", ANSWERED, || {
        let found = [("mn1", "mn2"), ("mn2", "mn1")].into_iter().find(|(active, other)| {
            expect_active(shared, active).is_ok() && expect_passive(shared, other).is_ok()
        });
        if found.is_none() {
            std::thread::sleep(Duration::from_millis(500));
        }
        Ok(found)
    })?;
    say::line(&format!("lab     {} is active, {} is passive", pair.0, pair.1));
    Ok(pair)
}

/// Only the active node says that the VIP is its own, however often it is asked for.
fn watch_address(
    shared: &Shared,
    recorder: &Recorder,
    active: &str,
    other: &str,
    from: u64,
) -> Result<()> {
    let seconds = std::env::var("LAB_XCAT_WATCH_SECONDS").ok().and_then(|text| text.parse().ok());
    let length = seconds.map_or(WATCH, Duration::from_secs);
    let theirs = shared.lab.host(active)?.spec.mac.clone();
    let mac = shared.lab.host(other)?.spec.mac.clone();
    let client = shared.client()?;
    throughout(length, || {
        client
            .shell(&format!("ip neigh flush to {VIP}; ping -c1 -W1 {VIP} > /dev/null || true"))?;
        let spoke = recorder.tape().spoke(&mac, from);
        ensure!(
            spoke.is_none(),
            "{other} spoke for the VIP {} ms after",
            (spoke.unwrap_or(from) - from) / 1000
        );
        Ok(())
    })?;
    ensure!(recorder.tape().spoke(&theirs, from).is_some(), "nobody was heard on the VIP at all");
    say::line(&format!("result  {other} did not speak for the VIP in {} s", length.as_secs()));
    Ok(())
}

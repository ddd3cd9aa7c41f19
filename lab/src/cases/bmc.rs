//! The lab's management controllers prove themselves against the agent they were made for: Debian's
//! `fence_redfish`, run by hand on a host without the product, really switches another host off and
//! on; and each of their faults looks to it like that fault.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::case::{Case, Run, Tier};
use crate::bmc::{self, Bmc, Mode, PASSWORD, USER};
use crate::cluster;
use crate::dirs::base_dir;
use crate::image::Image;
use crate::lab::{Lab, fresh_name};
use crate::say;

pub(super) const CASE: Case = Case {
    name: "bmc",
    about: "fence_redfish by hand: off, off again, on, a hung host, and controllers that fail",
    tier: Tier::Default,
    run: Run::Alone(run),
};

/// Where the agent runs, and about whom.
const PAIR: (&str, &str) = ("mn1", "mn2");
/// How long the agent waits for the power to go.
const POWER: u64 = 3;
/// When it is ended from outside, with exit code 124.
const BOUND: u64 = 12;

fn run() -> Result<()> {
    let image = Image::ensure(&base_dir()?, &mut |text| say::progress(text))?;
    let lab = cluster::bare(&fresh_name(), &image)?;
    let bmc = Bmc::start(&lab)?;

    ask(&lab, PAIR, "status", PASSWORD)?.expect(0, "Status: ON")?;
    ensure!(bmc.resets("mn2")?.is_empty(), "a status switched something");
    off_and_on(&lab, &bmc)?;

    lab.host("mn2")?.hang()?;
    say::line("fence   mn2 hangs: every process of it is frozen");
    off_and_on(&lab, &bmc)?;

    bmc.set("mn2", Mode::Slow(Duration::from_secs(1)))?;
    off_and_on(&lab, &bmc)?;

    for mode in [Mode::Lies, Mode::Refuses] {
        bmc.set("mn2", mode)?;
        let before = bmc.resets("mn2")?.len();
        ask(&lab, PAIR, "off", PASSWORD)?.expect(1, "Timed out waiting to power OFF")?;
        ensure!(bmc.resets("mn2")?.len() > before, "{mode:?}: nothing was asked");
        ensure!(bmc.is_on("mn2")?, "{mode:?}: it was switched off");
    }
    bmc.set("mn2", Mode::Unreachable)?;
    // It waits as long as the kernel tries to connect, which is two minutes.
    let gone = ask(&lab, PAIR, "off", PASSWORD)?;
    ensure!(matches!(gone.code, Some(1 | 124)), "exit {:?} without a controller", gone.code);
    bmc.set("mn2", Mode::Works)?;
    ask(&lab, PAIR, "off", "wrong")?.expect(1, "Unable to get PowerState")?;
    ensure!(bmc.is_on("mn2")?, "switched off by nobody");
    ask(&lab, PAIR, "status", PASSWORD)?.expect(0, "Status: ON")
}

/// Off, seen by everybody; off once more; on again.
fn off_and_on(lab: &Lab, bmc: &Bmc) -> Result<()> {
    ask(lab, PAIR, "off", PASSWORD)?.expect(0, "Success: Powered OFF")?;
    ensure!(!bmc.is_on("mn2")? && !lab.host("mn2")?.is_on(), "it says off, and the host is on");
    ask(lab, PAIR, "status", PASSWORD)?.expect(2, "Status: OFF")?;
    ask(lab, PAIR, "off", PASSWORD)?.expect(0, "Success: Already OFF")?;
    ask(lab, PAIR, "on", PASSWORD)?.expect(0, "Success: Powered ON")?;
    bmc.wait_booted("mn2")?;
    let answer = lab.host("mn2")?.run(&["systemctl", "is-active", "mariadb.service"])?;
    ensure!(answer.trim() == "active", "its database is {answer}");
    Ok(())
}

/// How the agent ended.
pub(super) struct Ended {
    action: String,
    code: Option<i32>,
    text: String,
}

impl Ended {
    pub(super) fn expect(&self, code: i32, words: &str) -> Result<()> {
        let Ended { action, code: ended, text } = self;
        ensure!(*ended == Some(code), "{action}: exit {ended:?} where {code} was due: {text}");
        ensure!(text.contains(words), "{action}: no {words:?} in {text}");
        Ok(())
    }
}

/// Debian's agent, on one host, about another.
pub(super) fn ask(
    lab: &Lab,
    (on, about): (&str, &str),
    action: &str,
    password: &str,
) -> Result<Ended> {
    let options = format!(
        "action={action}\nip={}\nusername={USER}\npassword={password}\nssl_insecure=1\n\
         systems_uri=/redfish/v1/Systems/1\npower_timeout={POWER}\n",
        bmc::address(about)?
    );
    let started = Instant::now();
    let line = format!("printf %s '{options}' | timeout {BOUND} fence_redfish");
    let host = lab.host(on)?;
    let output = host.enter(&["/bin/sh", "-c", &line], Duration::from_secs(60))?;
    let took = started.elapsed().as_secs_f64();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    let first = text.lines().next().unwrap_or_default();
    say::line(&format!("fence   fence_redfish {action} of {about}: {took:.2} s: {first}"));
    Ok(Ended { action: action.to_owned(), code: output.status.code(), text })
}

//! Each service of the profile hangs, one after the other: the kernel goes on taking connections for
//! it, and only a probe that needs an answer sees it. It is restarted in place, and nothing moves.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::case::{Case, Run, Tier};
use super::xcat_auto::{expect_kept, serve};
use super::xcat_crash::wait_active;
use super::xcat_kit::with;
use crate::bmc::Bmc;
use crate::run::{now_us, wait_for};
use crate::shared::{Choice, Shared};
use crate::xcat::Db;
use crate::{history, say};

pub(super) const CASE: Case = Case {
    name: "xcat-hang",
    about: "each service of the profile in turn is stopped whole: seen, and restarted in place",
    tier: Tier::All,
    run: Run::Alone(|| with(Choice::automatic(Db::Postgresql), run)),
};

pub(super) const MYSQL: Case = Case {
    name: "xcat-hang-mysql",
    about: "the same with MariaDB",
    tier: Tier::All,
    run: Run::Alone(|| with(Choice::automatic(Db::Mysql), run)),
};

/// The service, its unit; the database comes last.
const SERVICES: [(&str, &str); 4] = [
    ("named", "named.service"),
    ("dhcpd", "isc-dhcp-server.service"),
    ("conserver", "conserver-server.service"),
    ("xcatd", "xcatd.service"),
];
/// Three questions without an answer, at the pace of the slowest probe.
const SEEN: Duration = Duration::from_secs(60);
/// A restart, its commands included.
const RESTORED: Duration = Duration::from_secs(60);

fn run(shared: &mut Shared) -> Result<()> {
    let _bmc = Bmc::start(&shared.lab)?;
    let (clients, before) = serve(shared)?;
    wait_active(shared, "mn1")?;
    let first = now_us();
    let database = shared.choice.db.unit().map(|unit| ("database", unit));
    for (service, unit) in SERVICES.into_iter().chain(database) {
        let from = now_us();
        shared.lab.host("mn1")?.run(&["systemctl", "kill", "-s", "STOP", unit])?;
        say::line(&format!("fault   every process of {unit} on mn1 is stopped"));
        let seen = wait_event(shared, from, "service.restoring", service, SEEN)?;
        let well = wait_event(shared, from, "service.restored", service, RESTORED)?;
        say::line(&format!(
            "result  {service}: the hang is seen {} ms after it, well again after {} ms",
            (seen - from) / 1000,
            (well - from) / 1000
        ));
    }
    expect_kept(shared, &clients, &before)?;
    let events = history::since(shared.lab.host("mn1")?, first);
    let moved = events.iter().find(|event| event.code == "move.begun");
    ensure!(moved.is_none(), "mn1 began to move: {moved:?}");
    let status = shared.status_of("mn1").context("mn1 does not answer")?;
    ensure!(status.role("mn1") == "active", "mn1 is not active: {}", status.brief());
    Ok(())
}

/// When mn1 told this of a service.
fn wait_event(
    shared: &Shared,
    from: u64,
    code: &str,
    service: &str,
    bound: Duration,
) -> Result<u64> {
    let what = format!("service {service} ");
    wait_for(&format!("{code} of {service}"), bound, || {
        let events = history::since(shared.lab.host("mn1")?, from);
        let told = events.iter().find(|e| e.code == code && e.text.starts_with(&what));
        if told.is_none() {
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(told.map(|event| event.at))
    })
}

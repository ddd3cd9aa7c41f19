//! The shared directory is a network file system: a volume of GlusterFS, mounted by FUSE (the kernel of the lab has no
//! client of NFS). Its locks hold between hosts, which SQLite needs; a planned move and a power-off keep what was
//! written.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::case::{Case, Run, Tier};
use super::kit::throughout;
use super::xcat_kit::{Clients, expect_active, expect_passive, expect_row, table, with};
use crate::run::now_us;
use crate::say;
use crate::shared::{Choice, DATA, Shared};
use crate::xcat::{self, Db};

pub(super) const CASE: Case = Case {
    name: "xcat-glusterfs",
    about: "the data on GlusterFS by FUSE: SQLite's locks between hosts, a move and a power-off",
    tier: Tier::All,
    run: Run::Alone(|| with(choice(), run)),
};

/// How long one host holds a lock that the other one wants.
const HELD: Duration = Duration::from_secs(3);
const SILENT: Duration = Duration::from_secs(4);

fn choice() -> Choice {
    Choice { glusterfs: true, ..Choice::by_hand(Db::Sqlite) }
}

fn run(shared: &mut Shared) -> Result<()> {
    locks(shared)?;
    let told = shared.regent("mn1", "activate --json")?.expect(0)?;
    say::line(&format!("table   {}", table("sqlite on GlusterFS, activate mn1", &told.text)?));
    let clients = Clients::start(shared)?;
    xcat::write_row(shared.client()?, "first", "one")?;
    let told = shared.regent("mn1", "deactivate --json")?.expect(0)?;
    say::line(&format!("table   {}", table("sqlite on GlusterFS, deactivate mn1", &told.text)?));
    expect_passive(shared, "mn1")?;
    shared.regent("mn2", "activate")?.expect(0)?;
    expect_active(shared, "mn2")?;
    expect_row(shared, "first")?;
    xcat::write_row(shared.client()?, "second", "two")?;

    shared.lab.host_mut("mn2")?.power_off()?;
    say::line("fault   mn2, active, lost its power");
    throughout(SILENT, || Ok(()))?;
    shared.regent("mn1", "activate --confirm-peer-is-off mn2")?.expect(0)?;
    expect_active(shared, "mn1")?;
    expect_row(shared, "first")?;
    expect_row(shared, "second")?;
    clients.expect_served(shared)
}

/// One host holds a transaction of SQLite; the other one is told so, and waits for its end if it may.
fn locks(shared: &Shared) -> Result<()> {
    let (mn1, mn2) = (shared.lab.host("mn1")?, shared.lab.host("mn2")?);
    let file = format!("{DATA}/locks.sqlite");
    mn1.run(&["sqlite3", &file, "CREATE TABLE t (a); INSERT INTO t VALUES (1)"])?;
    let hold = format!(
        "(echo 'BEGIN EXCLUSIVE; INSERT INTO t VALUES (2); SELECT 7;'; sleep {}; echo 'COMMIT;') \
         | sqlite3 {file}",
        HELD.as_secs()
    );
    let mut holding = mn1.command(&["/bin/sh", "-c", &hold])?.stdout(Stdio::null()).spawn()?;
    throughout(HELD / 3, || Ok(()))?;
    let insert = "INSERT INTO t VALUES (3)";
    let refused = mn2.enter(&["sqlite3", &file, insert], HELD)?;
    let told = crate::shared::said(&refused);
    ensure!(told.contains("locked"), "mn2 wrote while mn1 held the file: {told}");
    let from = now_us();
    mn2.run(&["sqlite3", "-cmd", ".timeout 20000", &file, insert])?;
    let waited = (now_us() - from) / 1000;
    holding.wait()?;
    let rows = mn2.run(&["sqlite3", &file, "SELECT group_concat(a) FROM t"])?;
    ensure!(rows.trim() == "1,2,3", "rows: {rows}");
    say::line(&format!(
        "result  fuse.glusterfs: SQLite on mn2 is told `locked` while mn1 writes, and waited {waited} ms for its end"
    ));
    mn1.run(&["rm", &file]).map(drop)
}

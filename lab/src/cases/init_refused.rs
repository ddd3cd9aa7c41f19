//! Before there is a cluster, somebody else has the virtual IP: `regent init` refuses, names the
//! hardware address, and has changed nothing.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::case::{Case, Run, Tier};
use crate::cluster::{Cluster, Product, Settings};
use crate::dirs::base_dir;
use crate::image::Image;
use crate::lab::{VIP, fresh_name};
use crate::{say, sweep};

pub(super) const CASE: Case = Case {
    name: "init-refused",
    about: "a stranger has the VIP before there is a cluster: init refuses and changes nothing",
    tier: Tier::Default,
    run: Run::Alone(run),
};

const OTHER_ADDRESS: &str = "10.77.0.66";
const INIT: Duration = Duration::from_secs(30);
const SYNC: Duration = Duration::from_secs(60);
/// A guard refuses.
const REFUSED: i32 = 7;

fn run() -> Result<()> {
    say::start();
    sweep::sweep()?;
    let image = Image::ensure(&base_dir()?, &mut |text| say::progress(text))?;
    let cluster = Cluster::boot(&fresh_name(), &image, &Product::beside()?, &Settings::default())?;
    cluster.prepare_database("mn1")?;
    let mac = cluster.lab.neighbour("st", OTHER_ADDRESS)?;
    say::line(&format!("fault   {mac} takes the VIP as its own second address"));
    cluster.lab.neighbour_address("st", "add", VIP)?;
    let mn1 = cluster.lab.host("mn1")?;
    let output = mn1.enter(&["regent", "init"], INIT)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(REFUSED), "exit {:?}: {said}", output.status.code());
    ensure!(said.contains(&mac) && said.contains(VIP), "it names neither: {said}");
    let kept = mn1.run(&["sh", "-c", "ls /var/lib/regent"])?;
    ensure!(!kept.contains("init.json"), "a plan was kept: {kept}");
    let data = mn1.sql("SHOW DATABASES LIKE 'regent'")?;
    ensure!(data.trim().is_empty(), "the database was changed: {data}");

    say::line("case    the stranger is gone");
    cluster.lab.neighbour_address("st", "del", VIP)?;
    mn1.run(&["regent", "init"])?;
    cluster.wait_in_sync(SYNC).map(drop)
}

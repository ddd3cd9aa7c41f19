//! The measuring proves itself: on hosts without the product, faults are planted by hand, and each
//! of them must show. A harness that cannot see these could not vouch for anything else.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::case::{Case, Run, Tier};
use crate::cluster::{self, Cluster, NODES};
use crate::dirs::base_dir;
use crate::fault::Watched;
use crate::image::Image;
use crate::lab::{VIP, fresh_name};
use crate::record::{Figures, Writer};
use crate::run::{now_us, wait_for};
use crate::say;
use crate::seen::Attempt;

pub(super) const CASE: Case = Case {
    name: "harness",
    about: "an outage, two owners, two writers and a lost row, planted by hand, are all seen",
    tier: Tier::Default,
    run: Run::Alone(run),
};

const BOUND: Duration = Duration::from_secs(20);
const STEADY: Duration = Duration::from_millis(800);
/// What must be seen of an outage, and what is planted: the writer's last row may lie well before the prober's last
/// answer when the machine is busy.
const OUTAGE_MS: u64 = 400;
const PLANTED_MS: u64 = 700;

fn run() -> Result<()> {
    let image = Image::ensure(&base_dir()?, &mut |text| say::progress(text))?;
    let cluster = Cluster { lab: cluster::bare(&fresh_name(), &image)? };
    for node in NODES {
        cluster.prepare_database(node)?;
    }
    cluster
        .lab
        .host("mn1")?
        .sql("SET GLOBAL rpl_semi_sync_master_enabled = OFF; SET GLOBAL read_only = 0")?;
    own_vip(&cluster, "mn1")?;
    let mut watched = Watched::start(cluster)?;

    let quiet = measure(&watched, |_| Ok(()))?;
    ensure!(quiet.dual_ms == 0, "two owners where there was one: {quiet:?}");
    ensure!(quiet.acknowledged > 50, "hardly a write acknowledged: {quiet:?}");

    let outage = measure(&watched, plant_outage)?;
    ensure!(outage.client_gap_ms >= OUTAGE_MS, "outage not seen: {outage:?}");
    ensure!(outage.service_gap_ms >= OUTAGE_MS, "outage not seen by the prober: {outage:?}");
    ensure!(outage.dual_ms == 0, "an outage taken for two owners: {outage:?}");

    let owners = measure(&watched, plant_two_owners)?;
    ensure!(owners.dual_ms > 0, "two owners not seen: {owners:?}");

    let writers = measure(&watched, plant_two_writers)?;
    ensure!(writers.dual_ms > 0, "two writers not seen: {writers:?}");

    watched.recorder.stop_clients();
    plant_lost_row(&watched)
}

/// Figures of the time that `plant` and a quiet stretch after it took.
fn measure(watched: &Watched, plant: impl Fn(&Watched) -> Result<()>) -> Result<Figures> {
    let from = now_us();
    plant(watched)?;
    watched.recorder.wait_steady(STEADY, BOUND)?;
    Ok(watched.recorder.tape().figures(from, now_us(), Attempt::Write))
}

fn plant_outage(watched: &Watched) -> Result<()> {
    let vip = format!("ip addr del {VIP}/24 dev host0");
    watched.cluster.lab.host("mn1")?.shell(&vip)?;
    wait_for("an outage", BOUND, || {
        let since = now_us() - watched.recorder.tape().last_ack();
        Ok((since > PLANTED_MS * 1000).then_some(()))
    })?;
    own_vip(&watched.cluster, "mn1")
}

/// The address on both, and the client sent to one, to the other and back.
fn plant_two_owners(watched: &Watched) -> Result<()> {
    let cluster = &watched.cluster;
    let heard = |node: &str, from: u64| {
        let mac = cluster.lab.host(node)?.spec.mac.clone();
        wait_for(&format!("a frame of {node}"), BOUND, || {
            let tape = watched.recorder.tape();
            let found = tape.frames.iter().any(|(who, first, _)| *who == mac && *first >= from);
            Ok(found.then_some(()))
        })
    };
    for node in ["mn2", "mn1"] {
        let from = now_us();
        own_vip(cluster, node)?;
        heard(node, from)?;
    }
    cluster.lab.host("mn2")?.shell(&format!("ip addr del {VIP}/24 dev host0")).map(drop)
}

fn plant_two_writers(watched: &Watched) -> Result<()> {
    let mn2 = watched.cluster.lab.host("mn2")?;
    mn2.sql("SET GLOBAL rpl_semi_sync_master_enabled = OFF; SET GLOBAL read_only = 0")?;
    let begin = now_us();
    // One write alone may lie beside, and not certainly inside, those of the other.
    wait_for("writes of both", BOUND, || {
        let tape = watched.recorder.tape();
        let of = |node: &str| {
            let rows = tape.rows(|by| *by == Writer::Direct(node.to_owned()));
            rows.iter().filter(|(_, at)| *at > begin).count()
        };
        Ok((of("mn1") >= 5 && of("mn2") >= 5).then_some(()))
    })?;
    mn2.sql("SET GLOBAL read_only = 1").map(drop)
}

fn plant_lost_row(watched: &Watched) -> Result<()> {
    let rows = watched.recorder.tape().rows(|by| *by == Writer::Client);
    let missing = watched.cluster.missing("mn1", "app.rows", &rows)?;
    ensure!(missing.is_empty(), "rows lost before any was taken away: {missing:?}");
    let victim = rows[rows.len() / 2];
    let delete = format!("DELETE FROM app.rows WHERE id = {}", victim.0);
    watched.cluster.lab.host("mn1")?.sql(&delete)?;
    let missing = watched.cluster.missing("mn1", "app.rows", &rows)?;
    ensure!(missing == [victim], "one row was taken away, missing are {missing:?}");
    Ok(())
}

fn own_vip(cluster: &Cluster, node: &str) -> Result<()> {
    let own = format!(
        "ip addr replace {VIP}/24 dev host0; arping -q -U -c 2 -w 1 -I host0 {VIP} || true"
    );
    cluster.lab.host(node)?.shell(&own).map(drop)
}

//! The soak in small: what happens to a writer's log, one after the other, under a bank's books.

use std::time::Duration;

use anyhow::Result;

use super::case::{Case, Run, Tier};
use crate::cluster::Settings;
use crate::fault::Watched;
use crate::soak::{self, Plan, deeds};

pub(super) const CASE: Case = Case {
    name: "soak",
    about: "RESET MASTER in sync and alone, log files removed, a lost host's locks, under a bank's books; copies equal",
    tier: Tier::All,
    run: Run::Configured(Settings::brisk, run),
};

const DEEDS: [&str; 4] = ["log-reset", "log-reset-alone", "log-removed", "leftover-lock"];

fn run(watched: &mut Watched) -> Result<()> {
    let chosen = |deed: &&deeds::Deed| DEEDS.contains(&deed.name);
    let deeds = deeds::ALL.iter().filter(chosen).collect();
    soak::on(watched, &Plan { deeds, every: Duration::from_secs(1), seed: 0 })
}

//! Labs of the shared-data topology: two management nodes that see one directory of this machine at `/HA-data`, a
//! host with the clients of xCAT, a witness if one is asked for.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;

use crate::cluster::{NODES, Product, WITNESS};
use crate::image::Image;
use crate::lab::{self, Lab, Plan};
use crate::xcat::CLIENT;
use crate::{say, sweep};

/// Where the hosts see it.
pub const DATA: &str = "/HA-data";

/// Hosts that are off, with the product, the stand-in for xCAT and one directory in common.
pub fn hosts(name: &str, has_witness: bool) -> Result<Lab> {
    let image = Image::ensure_xcat(&lab::base_dir()?, &mut |text| say::progress(text))?;
    let run = lab::base_dir()?.join("run").join(name);
    fs::create_dir_all(&run)?;
    sweep::mark(&run)?;
    let layer = run.join("product");
    Product::beside()?.lay_out_xcat(&layer)?;
    let mut hosts = vec![(NODES[0], 11), (NODES[1], 12), (CLIENT, 14)];
    if has_witness {
        hosts.push((WITNESS, 13));
    }
    let mut plan = Plan::of(&hosts);
    let data = data_of(&run);
    fs::create_dir_all(&data)?;
    let bind = format!("{}:{DATA}", data.display());
    plan.binds = NODES
        .iter()
        .map(|node| ((*node).to_owned(), vec![bind.clone(), "/dev/fuse".to_owned()]))
        .collect();
    Lab::planned(name, &image, &layer, &plan)
}

/// The directory in common, from outside.
fn data_of(run: &std::path::Path) -> PathBuf {
    run.join("data")
}

//! A lab: a bridge, hosts, a client's namespace. Promises that dropping it removes everything it
//! made, unless it was told to stay.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::dirs::base_dir;
use crate::host::{Host, Spec, connect, plug};
use crate::image::Image;
use crate::run::sh;
use crate::sweep;

/// The virtual address of the lab.
pub const VIP: &str = "10.77.0.100";
const CLIENT_ADDRESS: &str = "10.77.0.1";
/// How the addresses on the second cables begin.
pub const APART: &str = "10.78.0";

/// A name no other run has.
pub fn fresh_name() -> String {
    let seed = crate::run::now_us() ^ (u64::from(std::process::id()) << 20);
    format!("rg{:04x}", (seed ^ (seed >> 16) ^ (seed >> 32)) & 0xffff)
}

/// Which hosts a lab has, and what of this machine they see.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct Plan {
    /// Names, and the last part of their addresses.
    pub hosts: Vec<(String, u8)>,
    /// Of this machine, `/outside:/inside`, on the hosts that are named with it.
    pub binds: Vec<(String, Vec<String>)>,
    /// Of this machine, `/outside:/inside`, through a passage of its own on each host that is named with it.
    #[serde(default)]
    pub passages: Vec<(String, String)>,
    /// The hosts have a second cable, to a bridge of its own.
    #[serde(default)]
    pub apart: bool,
}

impl Plan {
    /// Hosts of these names, with nothing of this machine.
    pub fn of(hosts: &[(&str, u8)]) -> Plan {
        let hosts = hosts.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect();
        Plan { hosts, binds: Vec::new(), passages: Vec::new(), apart: false }
    }
}

/// What most labs have.
const HOSTS: [(&str, u8); 3] = [("mn1", 11), ("mn2", 12), ("w1", 13)];
/// Where a run keeps its plan, for whoever attaches to it.
const PLAN: &str = "plan";

/// A bridge with hosts.
#[derive(Debug)]
pub struct Lab {
    /// Prefix of every namespace and control group of this lab.
    pub name: String,
    /// Where its disks are.
    pub dir: PathBuf,
    hosts: Vec<Host>,
    keep: bool,
}

impl Lab {
    /// Makes the bridge, the client's namespace and three hosts that are off: mn1, mn2, w1, with a second cable each if
    /// `apart`. `product` is a directory laid over the image on every host.
    pub fn new(name: &str, image: &Image, product: &Path, apart: bool) -> Result<Lab> {
        Lab::planned(name, image, product, &Plan { apart, ..Plan::of(&HOSTS) })
    }

    /// The same with hosts of the plan.
    pub fn planned(name: &str, image: &Image, product: &Path, plan: &Plan) -> Result<Lab> {
        let base = base_dir()?;
        let dir = base.join("run").join(name);
        fs::create_dir_all(dir.join("hosts"))?;
        sweep::mark(&dir)?;
        let lower = format!("{}:{}", product.display(), image.lower());
        fs::write(dir.join("lower"), &lower)?;
        fs::write(dir.join(PLAN), serde_json::to_string(plan)?)?;
        let hosts = hosts_of(name, &dir, &lower, plan)?;
        let lab = Lab { name: name.to_owned(), dir, hosts, keep: false };
        let bridge = format!("{name}-br");
        sh(&format!("ip netns add {bridge}"))?;
        sh(&format!(
            "ip -n {bridge} link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
        ))?;
        sh(&format!("ip -n {bridge} link set br0 up"))?;
        if plan.apart {
            sh(&format!(
                "ip -n {bridge} link add br1 type bridge stp_state 0 forward_delay 0 mcast_snooping 0"
            ))?;
            sh(&format!("ip -n {bridge} link set br1 up"))?;
        }
        sh(&format!("ip netns add {name}-cl"))?;
        let client = format!("{name}-cl");
        connect(&bridge, &client, "p-cl", "eth0", &mac_of(name, 1), CLIENT_ADDRESS)?;
        Ok(lab)
    }

    /// A lab that another process made and left standing.
    pub fn attach(name: &str) -> Result<Lab> {
        let dir = base_dir()?.join("run").join(name);
        anyhow::ensure!(dir.exists(), "no lab {name}; `lab list` shows what there is");
        let lower = fs::read_to_string(dir.join("lower"))?;
        let plan = serde_json::from_str(&fs::read_to_string(dir.join(PLAN))?)?;
        let hosts = hosts_of(name, &dir, &lower, &plan)?;
        Ok(Lab { name: name.to_owned(), hosts, dir, keep: true })
    }

    /// Its hosts, for an owner of their own.
    pub fn into_hosts(mut self) -> Vec<Host> {
        self.keep = true;
        std::mem::take(&mut self.hosts)
    }

    /// All hosts.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// A host by name.
    pub fn host(&self, name: &str) -> Result<&Host> {
        self.hosts.iter().find(|host| host.spec.name == name).with_context(|| no_host(name))
    }

    /// A host by name, to boot or power off.
    pub fn host_mut(&mut self, name: &str) -> Result<&mut Host> {
        self.hosts.iter_mut().find(|host| host.spec.name == name).with_context(|| no_host(name))
    }

    /// Boots all hosts at once.
    pub fn boot_all(&mut self) -> Result<()> {
        for host in &mut self.hosts {
            host.start()?;
        }
        for host in &mut self.hosts {
            host.wait_booted()?;
        }
        Ok(())
    }

    /// The namespace in which clients of the VIP live.
    pub fn client_ns(&self) -> String {
        format!("{}-cl", self.name)
    }

    /// The namespace of the bridge.
    pub fn bridge_ns(&self) -> String {
        format!("{}-br", self.name)
    }

    /// Somebody else on the segment, with an address and a namespace of its own that has this
    /// lab's name and `short`: `gw` or `st`. Returns its hardware address.
    pub fn neighbour(&self, short: &str, address: &str) -> Result<String> {
        let (bridge, netns) = (self.bridge_ns(), format!("{}-{short}", self.name));
        let mac = mac_of(&self.name, if short == "gw" { 254 } else { 253 });
        sh(&format!("ip netns add {netns}"))?;
        connect(&bridge, &netns, &format!("p-{short}"), "eth0", &mac, address)?;
        Ok(mac)
    }

    /// A namespace of its own on the bridge with this hardware address and no address. Returns its name.
    pub fn newcomer(&self, short: &str, mac: &str) -> Result<String> {
        let (bridge, netns) = (self.bridge_ns(), format!("{}-{short}", self.name));
        sh(&format!("ip netns add {netns}"))?;
        plug(&bridge, &netns, &format!("p-{short}"), "eth0", mac)?;
        Ok(netns)
    }

    /// Takes a newcomer away.
    pub fn remove_newcomer(&self, short: &str) -> Result<()> {
        sh(&format!("ip netns del {}-{short}", self.name)).map(drop)
    }

    /// Gives a neighbour one more address, or takes it away: `add` or `del`.
    pub fn neighbour_address(&self, short: &str, what: &str, address: &str) -> Result<()> {
        sh(&format!("ip -n {}-{short} addr {what} {address}/24 dev eth0", self.name)).map(drop)
    }

    /// The host with this hardware address.
    pub fn host_by_mac(&self, mac: &str) -> Option<&Host> {
        self.hosts.iter().find(|host| host.spec.mac == mac)
    }

    /// Frames from one host to another no longer arrive; the other direction, and everybody
    /// else, is untouched. `heal_paths` ends all such cuts.
    pub fn cut_path(&self, from: &str, to: &str) -> Result<()> {
        let ns = self.bridge_ns();
        sh(&format!("ip netns exec {ns} nft add table bridge cuts"))?;
        sh(&format!(
            "ip netns exec {ns} nft add chain bridge cuts paths {{ type filter hook forward \
             priority 0 ; }}"
        ))?;
        sh(&format!(
            "ip netns exec {ns} nft add rule bridge cuts paths iifname p-{from} oifname p-{to} drop"
        ))
        .map(drop)
    }

    /// Ends the cuts of `cut_path`.
    pub fn heal_paths(&self) -> Result<()> {
        sh(&format!("ip netns exec {} nft delete table bridge cuts", self.bridge_ns())).map(drop)
    }

    /// Leaves everything standing when this process ends; `lab down` removes it.
    pub fn keep(&mut self) -> Result<()> {
        self.keep = true;
        sweep::mark_kept(&self.dir)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        for host in &mut self.hosts {
            host.destroy();
        }
        sweep::remove_namespaces(&self.name);
        crate::image::remove_tree_slow(&self.dir).ok();
    }
}

fn hosts_of(lab: &str, dir: &Path, lower: &str, plan: &Plan) -> Result<Vec<Host>> {
    let cgroup = sweep::cgroup_root()?;
    let host = |(name, number): &(String, u8)| {
        let spec = Spec {
            name: name.clone(),
            address: format!("10.77.0.{number}"),
            mac: mac_of(lab, *number),
            apart: plan.apart.then(|| format!("{APART}.{number}")),
        };
        let binds = plan.binds.iter().find(|(host, _)| host == name);
        let binds = binds.map(|(_, binds)| binds.as_slice()).unwrap_or_default();
        let made = Host::new(spec, lab, &cgroup, dir, lower.to_owned()).with_binds(binds);
        let passage = plan.passages.iter().find(|(host, _)| host == name);
        match passage.and_then(|(_, passage)| passage.split_once(':')) {
            Some((from, inside)) => {
                made.with_passage(Path::new(from), &dir.join("passages").join(name), inside)
            }
            None => made,
        }
    };
    Ok(plan.hosts.iter().map(host).collect())
}

/// A locally administered address that tells lab and host, the same after each boot.
fn mac_of(lab: &str, number: u8) -> String {
    let tag = lab.bytes().fold(7_u16, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
    let [high, low] = tag.to_be_bytes();
    format!("52:54:{high:02x}:{low:02x}:00:{number:02x}")
}

fn no_host(name: &str) -> String {
    format!("no host {name} in this lab")
}

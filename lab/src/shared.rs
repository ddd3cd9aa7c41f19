//! Labs of the shared-data topology: two management nodes that see one directory of this machine at `/HA-data`, a
//! host with the clients of xCAT, a witness if one is asked for. Made the way an operator makes it who has xCAT on
//! one host: installed there, its data copied to the shared directory, `regent init`, `regent activate`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::bmc;
use crate::cluster::{NODES, Product, WITNESS};
use crate::host::Host;
use crate::image::Image;
use crate::lab::{Lab, Plan, VIP};
use crate::run::{now_us, run, wait_for};
use crate::status::Status;
use crate::xcat::{CLIENT, DOMAIN, Db};
use crate::{say, sweep};

/// Where the hosts see the directory in common.
pub const DATA: &str = "/HA-data";
/// The volume of GlusterFS.
const VOLUME: &str = "ha";
/// The name of the virtual address.
pub const NAME: &str = "mgmt";
/// Units of xCAT beside that of the database, in the order in which they are started.
pub const UNITS: [&str; 4] =
    ["xcatd.service", "named.service", "isc-dhcp-server.service", "conserver-server.service"];
/// The other console server, which some sites use.
pub const OTHER_CONSOLES: &str = "goconserver.service";
/// The installer and what it needs, a database's first start included.
const INSTALL: Duration = Duration::from_secs(90);
/// A question to the product that takes its time, as an activation does.
const ANSWER: Duration = Duration::from_secs(180);
/// Agents that see each other.
const MEET: Duration = Duration::from_secs(30);
/// Directories of xCAT on every management node.
/// The stack of a light cluster.
const LIGHT: &str = r#"
[stack]
hostname = "mgmt"
data = "/HA-data"
directories = ["/srv/light", "/etc/light"]
resolver = true

[stack.carry]
files = ["/etc/light.key"]

[[service]]
name = "light"
unit = "light.service"
"#;
/// Its unit. What it writes shows two of them at once, whoever was told what.
const LIGHT_UNIT: &str = "[Unit]\nDescription=Writes down when it starts and stops\n\n[Service]\n\
    Type=exec\nExecStartPre=/bin/sh -c 'echo start NODE >> /srv/light/log'\n\
    ExecStart=/usr/bin/sleep infinity\n\
    ExecStopPost=/bin/sh -c 'echo stop NODE >> /HA-data/srv/light/log'\n\n\
    [Install]\nWantedBy=multi-user.target\n";
const DIRECTORIES: [&str; 4] = ["/install", "/etc/xcat", "/root/.xcat", "/tftpboot"];

/// What a cluster is made of.
#[derive(Debug, Clone)]
pub struct Choice {
    /// Its database.
    pub db: Db,
    /// Three members, and nobody has to ask; otherwise two, by hand.
    pub automatic: bool,
    /// Each of the two can switch the other off.
    pub fenced: bool,
    /// Lines for the table `[stack]`, tables may follow.
    pub stack: String,
    /// Services beside those of the profile, or changes of theirs.
    pub services: String,
    /// No xCAT: two directories, a carried file and one unit that writes down when it starts and stops.
    pub light: bool,
    /// The directory in common is a volume of GlusterFS that the clients' host exports, not one of this machine.
    pub glusterfs: bool,
    /// Each node has a passage of its own to the directory, which can be made to hang or to fail.
    pub passages: bool,
    /// xCAT as its installer leaves it: no domain, no nodes, no consoles.
    pub empty: bool,
}

impl Choice {
    /// Two members, by hand.
    pub fn by_hand(db: Db) -> Choice {
        let (stack, services) = (String::new(), String::new());
        Choice {
            db,
            automatic: false,
            fenced: false,
            stack,
            services,
            light: false,
            glusterfs: false,
            passages: false,
            empty: false,
        }
    }

    /// Two members, by hand, with next to nothing to bring up: for what is done hundreds of times.
    pub fn light() -> Choice {
        Choice { light: true, ..Choice::by_hand(Db::Sqlite) }
    }

    /// Three members that fence by the lab's controllers.
    pub fn automatic(db: Db) -> Choice {
        Choice { fenced: true, ..Choice::unfenced(db) }
    }

    /// Three members without a fence.
    pub fn unfenced(db: Db) -> Choice {
        Choice { automatic: true, ..Choice::by_hand(db) }
    }

    /// The configuration file of every member.
    pub fn file(&self) -> Result<String> {
        let mut text = format!(
            "cluster = \"lab\"\n{}\n[vip]\naddress = \"{VIP}/24\"\ninterface = \"host0\"\n",
            if self.light { "topology = \"shared-data\"\n" } else { "profile = \"xcat\"\n" }
        );
        for (place, node) in NODES.iter().enumerate() {
            let number = place + 1;
            text += &format!("\n[node.{node}]\nid = {number}\naddress = \"10.77.0.1{number}\"\n");
            if self.fenced {
                text += &fence(node)?;
            }
        }
        if self.automatic {
            text +=
                &format!("\n[node.{WITNESS}]\nid = 3\naddress = \"10.77.0.13\"\nwitness = true\n");
        }
        if self.light {
            return Ok(text + LIGHT);
        }
        let failover = if self.automatic { "automatic" } else { "by-hand" };
        text += &format!(
            "\n[stack]\nfailover = \"{failover}\"\nhostname = \"{NAME}\"\ndata = \"{DATA}\"\n{}\n\
             [stack.database]\nkind = \"{}\"\n{}",
            self.stack,
            self.db.name(),
            self.services
        );
        Ok(text)
    }
}

fn fence(node: &str) -> Result<String> {
    Ok(format!(
        "\n[node.{node}.fence]\nagent = \"fence_redfish\"\npassword-file = \"{}\"\n\
         timeout = \"30s\"\noptions = {{ ip = \"{}\", username = \"{}\", \
         systems-uri = \"/redfish/v1/Systems/1\", ssl-insecure = \"1\", power-timeout = \"4\" }}\n",
        password_file(node),
        bmc::address(node)?,
        bmc::USER
    ))
}

fn password_file(node: &str) -> String {
    format!("/etc/regent/fence/{node}")
}

/// A cluster on shared data.
#[derive(Debug)]
pub struct Shared {
    /// The machines.
    pub lab: Lab,
    /// What it was made of.
    pub choice: Choice,
}

/// A question to the product and what it ended with.
#[derive(Debug)]
pub struct Answer {
    /// The exit code.
    pub code: i32,
    /// What it printed.
    pub text: String,
    /// How long it took.
    pub took: Duration,
}

impl Answer {
    /// It must have ended so.
    pub fn expect(self, code: i32) -> Result<Answer> {
        ensure!(self.code == code, "exit {}, not {code}: {}", self.code, self.text);
        Ok(self)
    }
}

impl Shared {
    /// Hosts with xCAT on both, its data on the shared directory, agents that run; not initialised.
    pub fn boot(name: &str, choice: Choice) -> Result<Shared> {
        let mut shared = Shared { lab: hosts(name, &choice)?, choice };
        shared.configure()?;
        if shared.choice.glusterfs {
            shared.export()?;
        } else {
            shared.lab.boot_all()?;
        }
        if shared.choice.light {
            shared
                .lab
                .host("mn1")?
                .shell(&format!("mkdir -p {DATA}/srv/light {DATA}/etc/light"))?;
        } else {
            shared.install()?;
        }
        Ok(shared)
    }

    /// A volume on the clients' host, which the nodes mount as they boot.
    fn export(&mut self) -> Result<()> {
        self.lab.host_mut(CLIENT)?.boot()?;
        let address = &self.lab.host(CLIENT)?.spec.address;
        let table = format!("{address}:/{VOLUME} {DATA} glusterfs _netdev 0 0\n");
        self.lab.host(CLIENT)?.shell(&format!(
            "systemctl start glusterd; \
             gluster --mode=script volume create {VOLUME} {address}:/brick force; \
             gluster --mode=script volume start {VOLUME}"
        ))?;
        for node in NODES {
            let host = self.lab.host_mut(node)?;
            host.put_off("etc/fstab", table.as_bytes())?;
            host.boot()?;
            let kind = host.run(&["findmnt", "-n", "-o", "FSTYPE", DATA])?;
            ensure!(kind.trim() == "fuse.glusterfs", "{DATA} on {node} is of type {kind}");
        }
        say::line(&format!("lab     {DATA} is a volume of GlusterFS (FUSE) on both nodes"));
        Ok(())
    }

    /// Hosts without xCAT, their agents neither enabled nor running.
    pub fn fresh(name: &str, choice: Choice) -> Result<Shared> {
        let mut shared = Shared { lab: hosts(name, &choice)?, choice };
        shared.configure()?;
        shared.lab.boot_all()?;
        for node in NODES {
            let units = "regent.service regent-gate.service";
            shared.lab.host(node)?.shell(&format!("systemctl disable --now {units}"))?;
        }
        Ok(shared)
    }

    /// The same, initialised: passive on both.
    pub fn up(name: &str, choice: Choice) -> Result<Shared> {
        let shared = Shared::boot(name, choice)?;
        let ready = shared.initialise();
        if ready.is_err() {
            crate::diagnose::collect(&shared.lab);
        }
        ready.map(|()| shared)
    }

    /// `regent init` on mn1, until both nodes see each other.
    pub fn initialise(&self) -> Result<()> {
        self.regent("mn1", "init")?.expect(0)?;
        wait_for("two nodes that see each other", MEET, || {
            let all = NODES.iter().all(|node| self.sees_all(node));
            if !all {
                std::thread::sleep(Duration::from_millis(100));
            }
            Ok(all.then_some(()))
        })
    }

    fn sees_all(&self, node: &str) -> bool {
        let Some(status) = self.status_of(node) else { return false };
        NODES
            .iter()
            .all(|one| *one == node || status.node(one).is_some_and(|known| known.reachable))
    }

    /// `regent WORDS` on a node.
    pub fn regent(&self, node: &str, words: &str) -> Result<Answer> {
        self.call(node, &format!("regent {words}"))
    }

    /// A command on a node to its end, whatever that is.
    pub fn call(&self, node: &str, line: &str) -> Result<Answer> {
        let from = now_us();
        let output = self.lab.host(node)?.enter(&["/bin/sh", "-c", line], ANSWER)?;
        let answer = answer_of(output, from);
        let last: String =
            answer.text.lines().last().unwrap_or_default().chars().take(160).collect();
        let (code, ms) = (answer.code, answer.took.as_millis());
        say::line(&format!("regent  {node}: {line}: exit {code} in {ms} ms: {last}"));
        Ok(answer)
    }

    /// `regent status --json` as one node answers it.
    pub fn status_of(&self, node: &str) -> Option<Status> {
        let host = self.lab.host(node).ok()?;
        let output = host.enter(&["regent", "status", "--json"], Duration::from_secs(5)).ok()?;
        Status::parse(&String::from_utf8_lossy(&output.stdout))
    }

    /// The clients' host.
    pub fn client(&self) -> Result<&Host> {
        self.lab.host(CLIENT)
    }

    /// The directories of this cluster's data.
    pub fn directories(&self) -> Vec<&'static str> {
        if self.choice.light {
            return vec!["/srv/light", "/etc/light"];
        }
        DIRECTORIES.iter().chain(self.choice.db.directories()).copied().collect()
    }

    /// The units of an active node.
    pub fn units(&self) -> Vec<&'static str> {
        if self.choice.light {
            return vec!["light.service"];
        }
        self.choice.db.unit().into_iter().chain(UNITS).collect()
    }

    /// Every unit that no passive node may start.
    pub fn all_units(&self) -> Vec<&'static str> {
        let others = self.choice.db.units().iter().copied().chain([OTHER_CONSOLES]);
        self.units().into_iter().chain(others.filter(|_| !self.choice.light)).collect()
    }

    /// Certificates, configuration and units, before the first boot.
    fn configure(&mut self) -> Result<()> {
        let regent = Product::beside()?.regent;
        let authority = self.lab.dir.join("ca");
        run(Command::new(&regent).args(["ca", "init", "--dir"]).arg(&authority))?;
        let file = self.choice.file()?;
        for host in self.lab.hosts() {
            let name = host.spec.name.as_str();
            host.put_off("etc/hosts", hosts_file().as_bytes())?;
            if name == CLIENT {
                continue;
            }
            let issued = self.lab.dir.join("issued").join(name);
            fs::create_dir_all(&issued)?;
            let mut issue = Command::new(&regent);
            issue.args(["ca", "issue", name, "--dir"]).arg(&authority).arg("--out").arg(&issued);
            run(&mut issue)?;
            for file in ["ca.crt", "node.crt", "node.key"] {
                host.put_off(&format!("etc/regent/tls/{file}"), &fs::read(issued.join(file))?)?;
            }
            host.put_off("etc/regent/regent.toml", file.as_bytes())?;
            if name == WITNESS {
                host.enable("multi-user.target.wants/regent-witness.service")?;
                continue;
            }
            if self.choice.light {
                let unit = LIGHT_UNIT.replace("NODE", name);
                host.put_off("etc/systemd/system/light.service", unit.as_bytes())?;
                host.put_off("etc/light.key", b"the first key\n")?;
            }
            host.put_off("etc/resolv.conf", b"# of this host\nnameserver 10.77.0.1\n")?;
            host.enable("sysinit.target.wants/regent-gate.service")?;
            host.enable("multi-user.target.wants/regent.service")?;
        }
        Ok(())
    }

    /// xCAT on both hosts; the data of the first go to the shared directory, and nothing of it runs.
    fn install(&self) -> Result<()> {
        let db = self.choice.db;
        let first = if self.choice.empty { " empty=yes" } else { "" };
        for (node, more) in [("mn1", first), ("mn2", " only=programs")] {
            let host = self.lab.host(node)?;
            let line = format!(
                "umask 077; mkdir -p /etc/regent/fence; for node in mn1 mn2; do \
                 printf '%s\\n' '{}' > /etc/regent/fence/$node; done; umask 022; \
                 install-product db={} address={VIP} interface=host0 domain={DOMAIN}{more}",
                bmc::PASSWORD,
                db.name()
            );
            let output = host.enter(&["/bin/sh", "-ec", &line], INSTALL)?;
            ensure!(output.status.success(), "install-product: {}", said(&output));
        }
        let units = db.units().join(" ");
        let directories = self.directories().join(" ");
        let mn1 = self.lab.host("mn1")?;
        mn1.shell(&format!(
            "makehosts; [ -z '{units}' ] || systemctl stop {units}; \
             cp -a --parents {directories} {DATA}; sync -f {DATA}"
        ))?;
        say::line(&format!("lab     xCAT's stand-in on both hosts, {} on {DATA}", db.name()));
        Ok(())
    }
}

/// What a command printed, both ways.
pub fn said(output: &Output) -> String {
    let all = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&all).into_owned()
}

fn answer_of(output: Output, from: u64) -> Answer {
    Answer {
        code: output.status.code().unwrap_or(-1),
        text: said(&output),
        took: Duration::from_micros(now_us() - from),
    }
}

fn hosts_file() -> String {
    format!(
        "127.0.0.1 localhost\n10.77.0.11 mn1\n10.77.0.12 mn2\n10.77.0.13 w1\n10.77.0.14 {CLIENT}\n\
         {VIP} {NAME} {NAME}.{DOMAIN}\n"
    )
}

/// Hosts that are off, with the product, the stand-in for xCAT and one directory in common.
pub fn hosts(name: &str, choice: &Choice) -> Result<Lab> {
    let image = Image::ensure_xcat(&crate::dirs::base_dir()?, &mut |text| say::progress(text))?;
    let run = crate::dirs::base_dir()?.join("run").join(name);
    fs::create_dir_all(&run)?;
    sweep::mark(&run)?;
    let layer = run.join("product");
    Product::beside()?.lay_out_xcat(&layer)?;
    let mut hosts = vec![(NODES[0], 11), (NODES[1], 12), (CLIENT, 14)];
    if choice.automatic {
        hosts.push((WITNESS, 13));
    }
    let mut plan = Plan::of(&hosts);
    let data = data_of(&run);
    fs::create_dir_all(&data)?;
    let bind = if choice.glusterfs {
        "/dev/fuse".to_owned()
    } else {
        format!("{}:{DATA}", data.display())
    };
    if choice.passages {
        plan.passages = NODES.iter().map(|node| ((*node).to_owned(), bind.clone())).collect();
    } else {
        plan.binds = NODES.iter().map(|node| ((*node).to_owned(), vec![bind.clone()])).collect();
    }
    Lab::planned(name, &image, &layer, &plan).context("hosts on shared data")
}

/// The directory in common, from outside.
pub fn data_of(run: &Path) -> PathBuf {
    run.join("data")
}

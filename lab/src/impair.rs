//! A bad network between two hosts of a lab, made by a forwarder of ours: frames from one to the
//! other leave the bridge for a TAP, are lost, delayed, doubled or reordered by a process that
//! reads them there, and come back. Whatever the two say to others, and others to them, is left
//! alone, and so is a direction without settings.
//!
//! ```text
//!   p-mn1 ── to mn2's address: moved ──┐                        ┌─► p-mn2
//!   (and broadcasts: copied)           ├─► d-… ═ i-… ─ TAP ─┐   │   (nobody else)
//!   p-mn2 ── to mn1's address: moved ──┘        ▲           ▼   │
//!                                               └── process ────┘  back through d-… into the bridge
//! ```
//!
//! The TAP is the kernel's macvtap on one end of a pair whose other end, `d-…`, is a port of the
//! bridge; the frames find it by two rules at the ingress of the hosts' ports. It is a file like
//! any other, which needs no system call that the safe libraries lack. What is made here lives in
//! the bridge's namespace and in the run's directory: removing the run removes it.
//!
//! How to read it: `queue` decides what becomes of each frame, `forward` is the process, and this
//! file starts and ends it.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::process::{Pid, Signal, kill_process};

use crate::lab::Lab;
use crate::run::{sh, wait_through};
use crate::say;
pub use forward::{Lane, Plan, State, main};
pub use queue::{Counts, Settings, Share};

mod forward;
mod queue;

/// Devices of the forwarder have numbers from here on: the capture knows by it what is not heard
/// from a host, but from us, and late.
pub const DEVICES_FROM: u32 = 4096;

/// For the process to start, and to end when what it holds has left.
const PATIENCE: Duration = Duration::from_secs(10);

/// A bad network between two hosts that stands.
#[derive(Debug, Clone)]
pub struct Impairment {
    bridge_ns: String,
    pair: String,
    dir: PathBuf,
}

impl Impairment {
    /// Makes the network from the first host to the second, and back, as bad as told. Ends with
    /// `heal`, or with the lab.
    pub fn start(
        lab: &Lab,
        between: [&str; 2],
        there: Option<Settings>,
        back: Option<Settings>,
        seed: u64,
    ) -> Result<Impairment> {
        let [one, other] = between;
        ensure!(one != other, "two different hosts, not {one} twice");
        let impairment = Impairment::of(lab, between)?;
        let (one, other) = (&lab.host(one)?.spec, &lab.host(other)?.spec);
        let lane = |from: &crate::host::Spec, to: &crate::host::Spec, settings| Lane {
            from: from.name.clone(),
            mac: from.mac.clone(),
            to: to.name.clone(),
            to_mac: to.mac.clone(),
            settings,
        };
        let lanes: Vec<Lane> =
            [there.map(|s| lane(one, other, s)), back.map(|s| lane(other, one, s))]
                .into_iter()
                .flatten()
                .collect();
        ensure!(!lanes.is_empty(), "neither direction is to be impaired");
        let pair = &impairment.pair;
        ensure!(!impairment.dir.exists(), "{pair} is impaired already; heal it first");
        let made = impairment.make(lab, lanes, seed);
        if made.is_err() {
            impairment.remove();
        }
        made?;
        Ok(impairment)
    }

    /// One that stands, made by this process or another.
    pub fn attach(lab: &Lab, between: [&str; 2]) -> Result<Impairment> {
        let impairment = Impairment::of(lab, between)?;
        let [one, other] = between;
        let stands = impairment.state_file().exists();
        ensure!(stands, "nothing is impaired between {one} and {other}");
        Ok(impairment)
    }

    /// What the process has done so far; an error if it is gone.
    pub fn state(&self) -> Result<State> {
        let text = fs::read_to_string(self.state_file()).context("the forwarder tells nothing")?;
        let state: State = serde_json::from_str(&text)?;
        ensure!(state.ended || self.runs(&state), "the forwarder between {} died", self.pair);
        Ok(state)
    }

    /// Frames go the short way again at once; what was under way arrives, and the process ends.
    pub fn heal(&self) -> Result<State> {
        let ended = self.drain();
        self.remove();
        ended
    }

    fn of(lab: &Lab, between: [&str; 2]) -> Result<Impairment> {
        let mut names = between;
        names.sort_unstable();
        for name in names {
            lab.host(name)?;
        }
        let pair = names.join("-");
        let dir = lab.dir.join(format!("impair-{pair}"));
        Ok(Impairment { bridge_ns: lab.bridge_ns(), pair, dir })
    }

    fn make(&self, lab: &Lab, lanes: Vec<Lane>, seed: u64) -> Result<()> {
        fs::create_dir_all(&self.dir)?;
        let device = self.plug_in(lab)?;
        let rules = self.rules(&lanes);
        let plan = Plan { device, state: self.state_file(), seed, lanes };
        let plan_file = self.dir.join("plan.json");
        fs::write(&plan_file, serde_json::to_string(&plan)?)?;
        let log = fs::File::create(self.dir.join("log"))?;
        let mut command = Command::new("nsenter");
        // Ahead of everything else where the kernel lets it: a late forwarder is a network that nobody asked for.
        let ahead = if sh("chrt --rr 10 true").is_ok() { "chrt --rr 10" } else { "nice -n -15" };
        command.arg(format!("--net=/run/netns/{}", self.bridge_ns)).args(ahead.split(' '));
        command.arg(std::env::current_exe()?).arg("impair").arg(&plan_file);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let mut child = command.spawn().context("cannot start the forwarder")?;
        wait_through("the forwarder", PATIENCE, || {
            if let Some(status) = child.try_wait()? {
                bail!("{status}: {}", fs::read_to_string(self.dir.join("log"))?);
            }
            Ok(self.state_file().exists().then_some(()))
        })?;
        // Its end is awaited by whoever is its parent then; a process that stays has to reap it.
        std::thread::Builder::new().name("forwarder".into()).spawn(move || child.wait())?;
        let rules_file = self.dir.join("rules.nft");
        fs::write(&rules_file, rules)?;
        sh(&format!("ip netns exec {} nft -f {}", self.bridge_ns, rules_file.display()))?;
        for lane in &plan.lanes {
            let (from, to, settings) = (&lane.from, &lane.to, &lane.settings);
            say::line(&format!("impair  {from} to {to}: {settings} (seed {seed})"));
        }
        Ok(())
    }

    /// No more frames, and the process ends when those it has are out.
    fn drain(&self) -> Result<State> {
        let (ns, table) = (&self.bridge_ns, self.table());
        sh(&format!("ip netns exec {ns} nft delete table netdev {table}"))?;
        sh(&format!("ip netns exec {ns} nft delete chain bridge {table} direct"))?;
        if let Some(pid) = Pid::from_raw(self.state()?.pid) {
            kill_process(pid, Signal::TERM)?;
        }
        wait_through("end of the forwarder", PATIENCE, || {
            Ok(Some(self.state()?).filter(|state| state.ended))
        })
    }

    /// The pair of devices, its TAP, and the TAP's file.
    fn plug_in(&self, lab: &Lab) -> Result<PathBuf> {
        let ns = &self.bridge_ns;
        let [port, inner, tap] = self.devices();
        let first = DEVICES_FROM + 3 * self.number(lab);
        sh(&format!(
            "ip -n {ns} link add {port} index {first} type veth peer name {inner} index {}",
            first + 1
        ))?;
        // One segment per frame: what is lost is what a network loses, not 64 kB at once.
        sh(&format!("ip -n {ns} link set {port} addrgenmode none gso_max_segs 1 master br0"))?;
        sh(&format!(
            "ip -n {ns} link set {port} type bridge_slave learning off flood off mcast_flood off \
             bcast_flood off"
        ))?;
        sh(&format!("ip -n {ns} link set {inner} addrgenmode none"))?;
        let number = first + 2;
        sh(&format!(
            "ip -n {ns} link add link {inner} name {tap} index {number} txqueuelen 4000 \
             type macvtap mode passthru"
        ))?;
        sh(&format!("ip -n {ns} link set {tap} addrgenmode none"))?;
        for device in [&port, &inner, &tap] {
            sh(&format!("ip -n {ns} link set {device} up"))?;
        }
        let numbers = sh(&format!("ip netns exec {ns} cat /sys/class/net/{tap}/tap{number}/dev"))?;
        let (major, minor) = numbers.trim().split_once(':').context("number of the TAP")?;
        let file = self.dir.join("tap");
        let device = makedev(major.parse()?, minor.parse()?);
        mknodat(CWD, &file, FileType::CharacterDevice, Mode::RUSR | Mode::WUSR, device)?;
        Ok(file)
    }

    /// Moves what one host says to the other, copies what it says to all, and lets what comes back
    /// out of the TAP reach nobody but the other.
    fn rules(&self, lanes: &[Lane]) -> String {
        let (table, [port, _, _]) = (self.table(), self.devices());
        let mut moved = String::new();
        let mut direct = String::new();
        let mut returned = String::new();
        for (index, Lane { from, mac, to, to_mac, settings: _ }) in lanes.iter().enumerate() {
            moved.push_str(&format!(
                "  chain from{index} {{\n    type filter hook ingress device \"p-{from}\" \
                 priority 0;\n    ether daddr {to_mac} fwd to \"{port}\"\n    \
                 ether daddr & 01:00:00:00:00:00 == 01:00:00:00:00:00 dup to \"{port}\"\n  }}\n"
            ));
            direct.push_str(&format!("    iifname \"p-{from}\" oifname \"p-{to}\" drop\n"));
            returned.push_str(&format!(
                "    iifname \"{port}\" ether saddr {mac} oifname != \"p-{to}\" drop\n"
            ));
        }
        format!(
            "table netdev {table} {{\n{moved}}}\ntable bridge {table} {{\n  chain direct {{\n    \
             type filter hook forward priority 0;\n{direct}  }}\n  chain returned {{\n    \
             type filter hook forward priority 1;\n{returned}  }}\n}}\n"
        )
    }

    fn remove(&self) {
        let (ns, table) = (&self.bridge_ns, self.table());
        // Each may be there or not: an attempt may have ended anywhere.
        sh(&format!("ip netns exec {ns} nft delete table netdev {table}")).ok();
        sh(&format!("ip netns exec {ns} nft delete table bridge {table}")).ok();
        if let Ok(state) = self.state()
            && !state.ended
            && let Some(pid) = Pid::from_raw(state.pid)
        {
            kill_process(pid, Signal::KILL).ok();
        }
        sh(&format!("ip -n {ns} link del {}", self.devices()[0])).ok();
        fs::remove_dir_all(&self.dir).ok();
    }

    /// Whether the process with the state's number is ours.
    fn runs(&self, state: &State) -> bool {
        let argv = fs::read_to_string(format!("/proc/{}/cmdline", state.pid)).unwrap_or_default();
        argv.contains(&self.dir.join("plan.json").display().to_string())
    }

    fn state_file(&self) -> PathBuf {
        self.dir.join("state.json")
    }

    fn devices(&self) -> [String; 3] {
        ["d", "i", "t"].map(|kind| format!("{kind}-{}", self.pair))
    }

    fn table(&self) -> String {
        format!("impair_{}", self.pair.replace('-', "_"))
    }

    /// Tells this pair's devices from another's: a bit for each host.
    fn number(&self, lab: &Lab) -> u32 {
        let bits = lab.hosts().iter().enumerate().map(|(bit, host)| {
            let is_in = self.pair.split('-').any(|name| name == host.spec.name);
            u32::from(is_in) << bit
        });
        bits.sum()
    }
}

/// `fault NAME mn1-mn2 impair|heal`: a bad network between two hosts of a lab that stands.
pub fn fault(lab: &Lab, pair: &str, what: &str, options: &Options) -> Result<()> {
    let between = pair.split_once('-').context("two hosts, as in mn1-mn2")?;
    let between = [between.0, between.1];
    match what {
        "impair" => {
            let back = (!options.one_way).then_some(options.settings);
            let seed = options.seed.unwrap_or_else(crate::run::now_us);
            Impairment::start(lab, between, Some(options.settings), back, seed).map(drop)
        }
        "heal" => {
            Impairment::attach(lab, between)?.heal()?.tell();
            Ok(())
        }
        "counts" => {
            Impairment::attach(lab, between)?.state()?.tell();
            Ok(())
        }
        other => bail!("{other}: not impair, counts or heal"),
    }
}

/// How bad, for `fault NAME mn1-mn2 impair`.
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    /// What becomes of the frames.
    #[command(flatten)]
    pub settings: Settings,
    /// From the first host to the second only
    #[arg(long)]
    pub one_way: bool,
    /// Repeats the fates of an earlier run, frame by frame
    #[arg(long)]
    pub seed: Option<u64>,
}

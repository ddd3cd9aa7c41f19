//! One machine of the lab and the faults it can suffer: power-off, hang, cut. The four words mean
//! what the glossary says: *killed* is a process, *hung* is stuck, *cut* is the network, and a
//! power-off takes cable, processes and network namespace at once and keeps the disk.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::passage::Passage;
use crate::run::{output, run, run_within, sh, wait_for, wait_through};

/// Boot of systemd until its last job; about one second on an idle machine.
const BOOT: Duration = Duration::from_secs(60);
/// Processes of a killed host; the kernel needs milliseconds.
const DEATH: Duration = Duration::from_secs(20);

/// What does not change over the life of a host.
#[derive(Debug, Clone)]
pub struct Spec {
    /// Its name inside the lab and its host name.
    pub name: String,
    /// Its address on the bridge, without length.
    pub address: String,
    /// Its hardware address, the same after each boot.
    pub mac: String,
    /// Its address on a second cable, by which the members reach each other, if it has one.
    pub apart: Option<String>,
}

/// A host: running or off.
#[derive(Debug)]
pub struct Host {
    /// Its name, address and hardware address.
    pub spec: Spec,
    bridge_ns: String,
    netns: String,
    cgroup: PathBuf,
    disk: PathBuf,
    lower: String,
    binds: Vec<String>,
    /// Its own way to a directory of this machine, and where it is seen inside.
    passage: Option<(Passage, String)>,
    supervisor: Option<Child>,
}

impl Host {
    /// A host that is off. `lower` is the colon-separated list of read-only layers.
    pub fn new(spec: Spec, lab: &str, cgroup_root: &Path, dir: &Path, lower: String) -> Host {
        Host {
            bridge_ns: format!("{lab}-br"),
            netns: format!("{lab}-{}", spec.name),
            cgroup: cgroup_root.join(format!("{lab}-{}", spec.name)),
            disk: dir.join("hosts").join(&spec.name),
            spec,
            lower,
            binds: Vec::new(),
            passage: None,
            supervisor: None,
        }
    }

    /// The same, with files of this machine seen inside: each `/outside:/inside`, from the next boot on.
    #[must_use]
    pub fn with_binds(self, binds: &[String]) -> Host {
        Host { binds: binds.to_vec(), ..self }
    }

    /// The same, with a directory of this machine seen inside through a passage of its own, from the
    /// next boot on.
    #[must_use]
    pub fn with_passage(self, from: &Path, on: &Path, inside: &str) -> Host {
        let passage = Passage::new(from, on, &self.cgroup);
        Host { passage: Some((passage, inside.to_owned())), ..self }
    }

    /// Its passage to a directory of this machine.
    pub fn passage(&self) -> Result<&Passage> {
        let found = self.passage.as_ref().map(|(passage, _)| passage);
        found.with_context(|| format!("{} has no passage", self.spec.name))
    }

    /// The name of the lab's side of this host's cable, in the bridge's namespace.
    pub fn port(&self) -> String {
        format!("p-{}", self.spec.name)
    }

    /// The name of this host's network namespace.
    pub fn netns(&self) -> &str {
        &self.netns
    }

    /// Writes a file onto the disk of a host that is off.
    pub fn put_off(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let target = self.disk.join("upper").join(path.trim_start_matches('/'));
        if let Some(parent) = target.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::write(&target, bytes).with_context(|| format!("cannot write {}", target.display()))
    }

    /// Makes a unit start at boot, on a host that is off: `target.wants/name`.
    pub fn enable(&self, wanted: &str) -> Result<()> {
        let unit = wanted.rsplit('/').next().unwrap_or(wanted);
        self.link_unit(wanted, &format!("/usr/lib/systemd/system/{unit}"))
    }

    /// Makes units unable to start, on a host that is off.
    pub fn mask(&self, units: &[&str]) -> Result<()> {
        units.iter().try_for_each(|unit| self.link_unit(unit, "/dev/null"))
    }

    fn link_unit(&self, name: &str, to: &str) -> Result<()> {
        let link = self.disk.join("upper/etc/systemd/system").join(name);
        if let Some(parent) = link.parent() {
            fs::create_dir_all(parent)?;
        }
        std::os::unix::fs::symlink(to, &link).with_context(|| format!("link {}", link.display()))
    }

    /// Switches it on: a new network namespace, a new boot, the disk as it was.
    pub fn boot(&mut self) -> Result<()> {
        self.start()?;
        self.wait_booted()
    }

    /// Starts to boot without waiting for the end.
    pub fn start(&mut self) -> Result<()> {
        self.plug_in()?;
        for part in ["upper", "work", "root"] {
            fs::create_dir_all(self.disk.join(part))?;
        }
        if !self.disk.join("upper/etc/hostname").exists() {
            self.put_off("etc/hostname", format!("{}\n", self.spec.name).as_bytes())?;
        }
        let mut binds = self.binds.clone();
        if let Some((passage, inside)) = &self.passage {
            binds.push(format!("{}:{inside}", passage.open()?.display()));
        }
        fs::create_dir_all(&self.cgroup)?;
        let overlay = format!(
            "redirect_dir=on,lowerdir={},upperdir={1}/upper,workdir={1}/work",
            self.lower,
            self.disk.display()
        );
        // A private mount namespace with nothing but cgroup v2 in it makes nspawn and the systemd
        // inside see one clean hierarchy on any machine, hybrid ones included.
        let script = "echo $$ > \"$1/cgroup.procs\"; \
                      mount -t overlay overlay -o \"$2\" \"$3\"; \
                      umount -R /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup; \
                      mkdir -p /run/systemd; mount -t tmpfs tmpfs /run/systemd; \
                      root=\"$3\"; name=\"$4\"; netns=\"$5\"; shift 5; \
                      exec nice -n -10 systemd-nspawn -q -D \"$root\" --machine=\"$name\" \
                      --network-namespace-path=\"/run/netns/$netns\" --boot --register=no \
                      --keep-unit --console=pipe --resolv-conf=off --capability=all \"$@\"";
        let console = fs::File::create(self.disk.join("console.log"))?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-ec", script, "sh"]);
        command.arg(&self.cgroup).arg(&overlay).arg(self.disk.join("root"));
        command.args([&self.spec.name, &self.netns]);
        command.args(binds.iter().map(|bind| format!("--bind={bind}")));
        command.env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1");
        command.stdin(Stdio::null()).stdout(console.try_clone()?).stderr(console);
        command.process_group(0);
        self.supervisor = Some(command.spawn().context("cannot start systemd-nspawn")?);
        Ok(())
    }

    /// Waits until systemd has finished its first transaction.
    pub fn wait_booted(&mut self) -> Result<()> {
        let name = self.spec.name.clone();
        let what = format!("boot of {name}");
        let booted = wait_for(&what, BOOT, || {
            if let Some(child) = self.supervisor.as_mut()
                && let Some(status) = child.try_wait()?
            {
                let log = fs::read_to_string(self.disk.join("console.log")).unwrap_or_default();
                bail!("{name} ended while it booted ({status}):\n{log}");
            }
            if self.leader().is_err() {
                return Ok(None);
            }
            let state = self.enter(&["systemctl", "is-system-running"], Duration::from_secs(5));
            let text = state
                .map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
                .unwrap_or_default();
            Ok(["running", "degraded"].contains(&text.as_str()).then_some(()))
        });
        booted
            .with_context(|| fs::read_to_string(self.disk.join("console.log")).unwrap_or_default())
    }

    /// The machine's PID 1 as this machine counts.
    pub fn leader(&self) -> Result<i32> {
        for part in ["payload/init.scope", "payload"] {
            let file = self.cgroup.join(part).join("cgroup.procs");
            let pids = fs::read_to_string(file).unwrap_or_default();
            for pid in pids.lines() {
                let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
                let first = status.lines().any(|line| {
                    line.starts_with("NSpid:") && line.split_whitespace().nth(2) == Some("1")
                });
                if first {
                    return pid.parse().context("leader");
                }
            }
        }
        bail!("{} is off", self.spec.name)
    }

    /// The processes of a unit, as this machine counts; none if it does not run.
    pub fn unit_processes(&self, unit: &str) -> Result<Vec<i32>> {
        let group = self.cgroup.join("payload/system.slice").join(unit).join("cgroup.procs");
        let Ok(listed) = fs::read_to_string(&group) else { return Ok(Vec::new()) };
        listed.lines().map(|pid| pid.parse().context("process id")).collect()
    }

    /// Whether it has a PID 1.
    pub fn is_on(&self) -> bool {
        self.leader().is_ok()
    }

    /// A command that will run inside, in all of the host's namespaces.
    pub fn command(&self, argv: &[&str]) -> Result<Command> {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.leader()?.to_string()]);
        command.args(["-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "--"]).args(argv);
        command.env_clear();
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("HOME", "/root").env("LANG", "C.UTF-8").env("TERM", "dumb");
        Ok(command)
    }

    /// Runs inside to the end, whatever the exit code.
    pub fn enter(&self, argv: &[&str], bound: Duration) -> Result<Output> {
        output(&mut self.command(argv)?, bound)
    }

    /// Runs inside to a successful end and returns what it printed.
    pub fn run(&self, argv: &[&str]) -> Result<String> {
        let within = run_within(&mut self.command(argv)?, Duration::from_secs(30));
        within.with_context(|| format!("on {}", self.spec.name))
    }

    /// Runs a shell line inside to a successful end and returns what it printed.
    pub fn shell(&self, line: &str) -> Result<String> {
        self.run(&["/bin/sh", "-ec", line])
    }

    /// Runs SQL inside as the database's root, by the socket; rows as lines, columns by tabs.
    pub fn sql(&self, statement: &str) -> Result<String> {
        self.run(&["mariadb", "--batch", "--skip-column-names", "-e", statement])
    }

    /// Where the running host's files are seen from outside.
    pub fn path(&self, inside: &str) -> Result<PathBuf> {
        Ok(PathBuf::from(format!("/proc/{}/root{inside}", self.leader()?)))
    }

    /// Shuts it down in order, as its power button does; returns when it is off.
    pub fn shut_down(&mut self) -> Result<()> {
        self.run(&["systemctl", "poweroff", "--no-block"])?;
        let supervisor = self.supervisor.as_mut().context("this process did not boot it")?;
        wait_for("the shutdown", BOOT, || Ok(supervisor.try_wait()?.map(drop)))?;
        self.reap()?;
        self.unplug().ok();
        sh(&format!("ip netns del {}", self.netns)).map(drop)
    }

    /// Cable out, PID 1 killed, network namespace gone: what is on disk stays.
    pub fn power_off(&mut self) -> Result<()> {
        self.unplug()?;
        if let Some(pid) = Pid::from_raw(self.leader()?) {
            kill_process(pid, Signal::KILL)?;
        }
        // A host that hangs loses its power too; what was frozen dies without another step.
        fs::write(self.cgroup.join("cgroup.freeze"), "0")?;
        self.close_passage();
        self.reap()?;
        run(&mut crate::run::words(&format!("ip netns del {}", self.netns)))?;
        Ok(())
    }

    /// Every process of the host stops where it is; the kernel still answers for it.
    pub fn hang(&self) -> Result<()> {
        fs::write(self.cgroup.join("cgroup.freeze"), "1")?;
        wait_for("hang", DEATH, || Ok(self.has_event("frozen 1").then_some(())))
    }

    /// Ends `hang`.
    pub fn resume(&self) -> Result<()> {
        fs::write(self.cgroup.join("cgroup.freeze"), "0")?;
        wait_for("end of the hang", DEATH, || Ok(self.has_event("frozen 0").then_some(())))
    }

    /// Cuts the host from everybody: the far side of its cable goes down.
    pub fn cut(&self) -> Result<()> {
        sh(&format!("ip -n {} link set {} down", self.bridge_ns, self.port())).map(drop)
    }

    /// Ends `cut`.
    pub fn heal(&self) -> Result<()> {
        sh(&format!("ip -n {} link set {} up", self.bridge_ns, self.port())).map(drop)
    }

    /// Ends everything that belongs to the host, in whatever state it is.
    pub fn destroy(&mut self) {
        fs::write(self.cgroup.join("cgroup.kill"), "1").ok();
        self.close_passage();
        self.reap().ok();
        sh(&format!("ip netns del {}", self.netns)).ok();
        crate::dirs::remove_cgroup(&self.cgroup);
    }

    /// Processes that wait for a passage which hangs die only with it.
    fn close_passage(&self) {
        if let Some((passage, _)) = &self.passage {
            passage.close();
        }
    }

    fn plug_in(&self) -> Result<()> {
        let (bridge, netns, port) = (&self.bridge_ns, &self.netns, self.port());
        sh(&format!("ip netns add {netns}"))?;
        connect(bridge, netns, &port, "host0", &self.spec.mac, &self.spec.address)?;
        let Some(apart) = &self.spec.apart else { return Ok(()) };
        let port = self.second_port();
        let cable =
            format!("ip -n {bridge} link add {port} type veth peer name host1 netns {netns}");
        sh(&cable)?;
        sh(&format!("ip -n {bridge} link set {port} master br1 up"))?;
        sh(&format!("ip -n {netns} link set host1 up"))?;
        sh(&format!("ip -n {netns} addr add {apart}/24 dev host1")).map(drop)
    }

    /// Takes its cables out.
    fn unplug(&self) -> Result<()> {
        sh(&format!("ip -n {} link del {}", self.bridge_ns, self.port()))?;
        if self.spec.apart.is_some() {
            sh(&format!("ip -n {} link del {}", self.bridge_ns, self.second_port()))?;
        }
        Ok(())
    }

    fn second_port(&self) -> String {
        format!("c-{}", self.spec.name)
    }

    fn has_event(&self, line: &str) -> bool {
        let events = fs::read_to_string(self.cgroup.join("cgroup.events")).unwrap_or_default();
        events.lines().any(|found| found == line)
    }

    /// Waits until no process is left, by force if PID 1's death alone did not do it.
    fn reap(&mut self) -> Result<()> {
        let gone = |host: &Host| !host.cgroup.exists() || host.has_event("populated 0");
        let died = wait_through("death", Duration::from_secs(3), || Ok(gone(self).then_some(())));
        if died.is_err() {
            fs::write(self.cgroup.join("cgroup.kill"), "1").ok();
        }
        if let Some(mut child) = self.supervisor.take() {
            wait_through("end of nspawn", DEATH, || Ok(child.try_wait()?.map(drop)))?;
        }
        wait_through("empty host", DEATH, || Ok(gone(self).then_some(())))
    }
}

/// A cable from the bridge into a namespace, with an address on its far end.
pub fn connect(
    bridge_ns: &str,
    netns: &str,
    port: &str,
    device: &str,
    mac: &str,
    address: &str,
) -> Result<()> {
    plug(bridge_ns, netns, port, device, mac)?;
    sh(&format!("ip -n {netns} addr add {address}/24 dev {device}")).map(drop)
}

/// The same without an address.
pub fn plug(bridge_ns: &str, netns: &str, port: &str, device: &str, mac: &str) -> Result<()> {
    sh(&format!(
        "ip -n {bridge_ns} link add {port} type veth peer name {device} address {mac} netns {netns}"
    ))?;
    sh(&format!("ip -n {bridge_ns} link set {port} master br0 up"))?;
    sh(&format!("ip -n {netns} link set lo up"))?;
    sh(&format!("ip -n {netns} link set {device} up")).map(drop)
}

//! The product on the lab's hosts: what is installed, how it is configured and started, what it
//! says of itself. Everything goes the way an operator would go: files, `regent ca`, accounts in
//! the database, `regent init`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::image::Image;
use crate::lab::{APART, Lab, VIP};
use crate::run::{run, run_within, wait_for};
use crate::status::Status;
use crate::{diagnose, say, sweep};

/// Management nodes.
pub const NODES: [&str; 2] = ["mn1", "mn2"];
/// The third vote.
pub const WITNESS: &str = "w1";

/// `status` answers within a second with a peer dead; nsenter and a busy machine add to it.
const STATUS: Duration = Duration::from_secs(5);
/// Any other question; a planned move is answered when it is over.
const ANSWER: Duration = Duration::from_secs(30);
/// A first clone of a small database, and everything before it.
const FIRST_SYNC: Duration = Duration::from_secs(60);
/// Between two looks at `status`: each costs a process on a host that is being measured.
const LOOK: Duration = Duration::from_millis(250);

const CONFIG: &str = r#"cluster = "lab"

[vip]
address = "10.77.0.100/24"
interface = "host0"
DRIVER
[node.mn1]
id = 1
address = "10.77.0.11"

[node.mn2]
id = 2
address = "10.77.0.12"

[node.w1]
id = 3
address = "10.77.0.13"
witness = true

[database]
engine = "mariadb"
unit = "mariadb.service"

[[service]]
name = "management"
unit = "management-service.service"
MANAGEMENT
[[service]]
name = "ui"
unit = "nginx.service"
UI
"#;

/// Who puts the virtual address onto the active node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Driver {
    /// The agent itself.
    #[default]
    Native,
    /// keepalived, steered by the agent.
    Keepalived,
}

/// What a cluster is configured with beside what every lab has.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Who moves the virtual address.
    pub driver: Driver,
    /// What stands under `[policy]`.
    pub policy: String,
    /// What stands at the top: `gateway = "10.77.0.1"`.
    pub top: String,
    /// The members reach each other by second cables, and not by those that carry the virtual address.
    pub apart: bool,
}

impl Settings {
    /// One move after the other, without the hold-down of the default policy: for cases that harm
    /// service after service.
    pub fn brisk() -> Settings {
        Settings { policy: "hold-down = \"1s\"\n".to_owned(), ..Settings::default() }
    }

    /// The configuration file of every node.
    pub fn file(&self) -> String {
        let driver = match self.driver {
            Driver::Native => "",
            Driver::Keepalived => "driver = \"keepalived\"\n",
        };
        let text = CONFIG.replace("DRIVER\n", &format!("{driver}\n"));
        let text = text.replace("MANAGEMENT\n", &format!("{MANAGEMENT}\n"));
        let mut text = text.replace("UI\n", UI);
        if self.apart {
            text = text.replace("\naddress = \"10.77.0.1", &format!("\naddress = \"{APART}.1"));
            // The one that is no member's.
            text = text.replace(&format!("{APART}.100/24"), "10.77.0.100/24");
        }
        let policy = match self.policy.as_str() {
            "" => String::new(),
            lines => format!("\n[policy]\n{lines}"),
        };
        format!("{}{text}{policy}", self.top)
    }
}

const MANAGEMENT: &str = r#"
  [[service.probe]]
  http = "http://127.0.0.1:8080/health"
  body = "\"ok\":true"
"#;
const UI: &str = r#"
  [[service.probe]]
  http = "http://127.0.0.1:80/"
"#;

/// Accounts and tables of the lab's clients. The measuring clients sign in without a password:
/// nothing but the lab's own namespaces reaches these databases.
const ACCOUNTS: &str = "
SET GLOBAL rpl_semi_sync_master_enabled = OFF;
CREATE DATABASE app;
CREATE TABLE app.rows (id BIGINT UNSIGNED PRIMARY KEY);
CREATE TABLE app.attempts (id BIGINT UNSIGNED PRIMARY KEY);
CREATE USER app@'%';
GRANT SELECT, INSERT ON app.* TO app@'%';
CREATE DATABASE management;
CREATE USER mn@'%' IDENTIFIED BY 'mnpass';
GRANT ALL ON management.* TO mn@'%';
CREATE DATABASE probe;
CREATE TABLE probe.rows (id BIGINT UNSIGNED, node VARCHAR(16), PRIMARY KEY (node, id));
CREATE USER probe@'%';
GRANT SELECT, INSERT ON probe.* TO probe@'%';
SET GLOBAL rpl_semi_sync_master_enabled = ON;
";

/// What stands in for xCAT.
const STAND_IN: &str = "xcat-stand-in";

/// Binaries that were built, and the sources they were built from.
#[derive(Debug, Clone)]
pub struct Product {
    /// The directory with `management-service` and the stand-in of xCAT.
    pub binaries: PathBuf,
    /// The `regent` to install: of the same build, or an older one to compare with.
    pub regent: PathBuf,
    /// The workspace.
    pub source: PathBuf,
}

impl Product {
    /// The binaries beside this one.
    pub fn beside() -> Result<Product> {
        let exe = std::env::current_exe()?;
        let binaries = exe.parent().context("no directory")?.to_owned();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("no workspace")?;
        let regent = binaries.join("regent");
        Ok(Product { binaries, regent, source: source.to_owned() })
    }

    /// The same with the `regent` of an older release, which may not be there.
    pub fn older() -> Result<Product> {
        let this = Product::beside()?;
        Ok(Product { regent: this.binaries.join("regent-older"), ..this })
    }

    /// What is installed on the hosts of a shared-data cluster: packaging/rootfs, regent, and the stand-in of
    /// xCAT, not yet installed on any host.
    pub fn lay_out_xcat(&self, target: &Path) -> Result<()> {
        for dir in ["usr/bin", "usr/lib/xcat-stand-in", "usr/local/sbin"] {
            fs::create_dir_all(target.join(dir))?;
        }
        let from = self.source.join("packaging/rootfs/.");
        run(Command::new("cp").args(["-r", "--no-dereference"]).arg(from).arg(target))?;
        // For a replicated database only: alone, it would wait for a standby at its first write.
        fs::remove_file(target.join("etc/mysql/mariadb.conf.d/zz-regent.cnf"))?;
        install(&self.regent, &target.join("usr/bin/regent"))?;
        let place = target.join("usr/lib/xcat-stand-in").join(STAND_IN);
        install(&self.binaries.join(STAND_IN), &place)?;
        for name in ["install-product", "tabdump", "chtab"] {
            let link = target.join("usr/local/sbin").join(name);
            std::os::unix::fs::symlink(format!("/usr/lib/xcat-stand-in/{STAND_IN}"), link)?;
        }
        Ok(())
    }

    /// Lays out what is installed on every host: packaging/rootfs, the example, the binaries.
    pub fn lay_out(&self, target: &Path) -> Result<()> {
        fs::create_dir_all(target.join("usr/bin"))?;
        for tree in ["packaging/rootfs", "examples/management-service/rootfs"] {
            let from = self.source.join(tree).join(".");
            run(Command::new("cp").args(["-r", "--no-dereference"]).arg(from).arg(target))?;
        }
        install(&self.regent, &target.join("usr/bin/regent"))?;
        let service = "management-service";
        install(&self.binaries.join(service), &target.join("usr/bin").join(service))
    }
}

fn install(binary: &Path, place: &Path) -> Result<()> {
    fs::copy(binary, place).with_context(|| format!("{} is not built", binary.display()))?;
    Ok(())
}

/// A lab with the product on it.
#[derive(Debug)]
pub struct Cluster {
    /// The machines.
    pub lab: Lab,
}

impl Cluster {
    /// Boots three hosts with the product configured and running, but not initialised.
    pub fn boot(
        name: &str,
        image: &Image,
        product: &Product,
        settings: &Settings,
    ) -> Result<Cluster> {
        let run = crate::dirs::base_dir()?.join("run").join(name);
        fs::create_dir_all(&run)?;
        sweep::mark(&run)?;
        let layer = run.join("product");
        product.lay_out(&layer)?;
        let lab = Lab::new(name, image, &layer, settings.apart)?;
        let mut cluster = Cluster { lab };
        cluster.configure(product, settings)?;
        cluster.lab.boot_all()?;
        Ok(cluster)
    }

    /// `boot`, the first data on mn1, `regent init` there, and everybody in sync.
    pub fn up(
        name: &str,
        image: &Image,
        product: &Product,
        settings: &Settings,
    ) -> Result<Cluster> {
        let cluster = Cluster::boot(name, image, product, settings)?;
        let ready = cluster.initialise();
        if ready.is_err() {
            diagnose::collect(&cluster.lab);
        }
        ready?;
        Ok(cluster)
    }

    /// Accounts and tables on mn1, `regent init` there, wait until in sync.
    pub fn initialise(&self) -> Result<()> {
        self.prepare_database("mn1")?;
        let mn1 = self.lab.host("mn1")?;
        say::line("lab     accounts and tables made on mn1; regent init");
        let said = mn1.run(&["regent", "init"])?;
        said.lines().for_each(|line| say::line(&format!("init    {line}")));
        self.wait_in_sync(FIRST_SYNC).map(drop)
    }

    /// Accounts and tables of the clients, on a database at rest.
    pub fn prepare_database(&self, node: &str) -> Result<()> {
        let host = self.lab.host(node)?;
        wait_for(&format!("the database of {node}"), Duration::from_secs(20), || {
            Ok(host.sql("SELECT 1").ok().map(drop))
        })?;
        host.sql(ACCOUNTS).map(drop)
    }

    /// Certificates, configuration and units, before the first boot.
    fn configure(&mut self, product: &Product, settings: &Settings) -> Result<()> {
        let regent = &product.regent;
        let authority = self.lab.dir.join("ca");
        run(Command::new(regent).args(["ca", "init", "--dir"]).arg(&authority))?;
        for host in self.lab.hosts() {
            let name = host.spec.name.as_str();
            let issued = self.lab.dir.join("issued").join(name);
            fs::create_dir_all(&issued)?;
            let mut issue = Command::new(regent);
            issue.args(["ca", "issue", name, "--dir"]).arg(&authority).arg("--out").arg(&issued);
            run(&mut issue)?;
            for file in ["ca.crt", "node.crt", "node.key"] {
                host.put_off(&format!("etc/regent/tls/{file}"), &fs::read(issued.join(file))?)?;
            }
            host.put_off("etc/regent/regent.toml", settings.file().as_bytes())?;
            let units: &[&str] = if name == WITNESS {
                host.mask(&["mariadb.service", "nginx.service"])?;
                &["multi-user.target.wants/regent-witness.service"]
            } else {
                &[
                    "sysinit.target.wants/regent-gate.service",
                    "multi-user.target.wants/regent.service",
                    "multi-user.target.wants/management-service.service",
                ]
            };
            for unit in units {
                host.enable(unit)?;
            }
        }
        Ok(())
    }

    /// `regent status --json` as one node answers it; `None` without an answer.
    pub fn status_of(&self, node: &str) -> Option<Status> {
        let host = self.lab.host(node).ok()?;
        let output = host.enter(&["regent", "status", "--json"], STATUS).ok()?;
        Status::parse(&String::from_utf8_lossy(&output.stdout))
    }

    /// What `regent WORDS` prints on a node, whatever its exit code.
    pub fn told(&self, node: &str, words: &[&str]) -> Result<String> {
        let argv: Vec<&str> = ["regent"].iter().chain(words).copied().collect();
        let output = self.lab.host(node)?.enter(&argv, ANSWER)?;
        let said = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&said).into_owned())
    }

    /// The answer of the node that serves, by its own word, or else of any that answers.
    pub fn status(&self) -> Option<Status> {
        let answers: Vec<Status> = NODES.iter().filter_map(|node| self.status_of(node)).collect();
        let best = answers.iter().find(|status| status.is_active_itself());
        best.or(answers.first()).cloned()
    }

    /// The node that serves.
    pub fn active(&self) -> Result<String> {
        self.status()
            .and_then(|status| status.active().map(str::to_owned))
            .context("no node is active")
    }

    /// Waits until one serves and the other is in sync; tells each change on the way.
    pub fn wait_in_sync(&self, bound: Duration) -> Result<Status> {
        self.wait_status("in sync", bound, Status::is_in_sync)
    }

    /// Waits until the status is as wanted; tells each change on the way.
    pub fn wait_status(
        &self,
        what: &str,
        bound: Duration,
        is_so: impl Fn(&Status) -> bool,
    ) -> Result<Status> {
        let mut told = String::new();
        wait_for(what, bound, || {
            let Some(status) = self.status() else {
                std::thread::sleep(LOOK);
                return Ok(None);
            };
            let brief = status.brief();
            if brief != told {
                say::line(&format!("status  {brief}"));
                told = brief;
            }
            if is_so(&status) {
                return Ok(Some(status));
            }
            std::thread::sleep(LOOK);
            Ok(None)
        })
    }

    /// SIGKILL to the main process of a unit; returns when the signal is sent.
    pub fn kill_unit(&self, node: &str, unit: &str) -> Result<()> {
        self.signal_unit(node, unit, "KILL")
    }

    /// A signal to the main process of a unit.
    pub fn signal_unit(&self, node: &str, unit: &str, signal: &str) -> Result<()> {
        let host = self.lab.host(node)?;
        let pid = host.run(&["systemctl", "show", "--property=MainPID", "--value", unit])?;
        let pid = pid.trim();
        if pid.is_empty() || pid == "0" {
            bail!("{unit} does not run on {node}");
        }
        host.run(&["kill", &format!("-{signal}"), pid]).map(drop)
    }

    /// Rows of these keys that a node's copy does not have.
    pub fn missing(&self, node: &str, table: &str, keys: &[(u64, u64)]) -> Result<Vec<(u64, u64)>> {
        let host = self.lab.host(node)?;
        let mut select = host.command(&[
            "mariadb",
            "--batch",
            "--quick",
            "--skip-column-names",
            "-e",
            &format!("SELECT id FROM {table} ORDER BY id"),
        ])?;
        let listed = run_within(&mut select, Duration::from_secs(60))?;
        let present: std::collections::HashSet<u64> =
            listed.lines().filter_map(|line| line.parse().ok()).collect();
        Ok(keys.iter().copied().filter(|(id, _)| !present.contains(id)).collect())
    }
}

/// What this machine lacks to run a lab, tried rather than guessed.
pub fn lacking() -> Vec<String> {
    let tries = [
        ("overlay file systems", "grep -qw overlay /proc/filesystems"),
        ("mount namespaces", "unshare --mount --propagation private true"),
        (
            "network namespaces with veth",
            "unshare --net ip link add name va type veth peer name vb",
        ),
        ("bridges", "unshare --net ip link add name br type bridge"),
        ("nftables", "unshare --net nft add table inet probe"),
        ("cgroup v2", "grep -qw cgroup2 /proc/filesystems"),
    ];
    let fails = tries.iter().filter(|(_, line)| crate::run::sh(line).is_err());
    fails.map(|(what, line)| format!("this kernel has no {what} for us ({line} failed)")).collect()
}

/// How a person gets into the lab, for `--keep` and `lab up`.
pub fn how_to_enter(name: &str) -> String {
    format!(
        "The lab {name} is up: VIP {VIP}, hosts mn1, mn2, w1.\n\
         Enter a host:   cargo xtask lab enter {name} mn1\n\
         Run in it:      cargo xtask lab enter {name} mn1 -- regent status\n\
         As a client:    ip netns exec {name}-cl curl http://{VIP}:8080/jobs\n\
         Faults:         cargo xtask lab fault {name} mn1 off|on|cut|heal|hang|resume\n\
         A bad network: cargo xtask lab fault {name} mn1-mn2 impair --loss 30% --delay 500ms, or heal\n\
         Remove it:      cargo xtask lab down {name}"
    )
}

/// Hosts with Debian's services and the lab's database settings, nothing of the product.
pub fn bare(name: &str, image: &Image) -> Result<Lab> {
    let run = crate::dirs::base_dir()?.join("run").join(name);
    fs::create_dir_all(&run)?;
    sweep::mark(&run)?;
    let layer = run.join("product");
    let source = Product::beside()?.source.join("packaging/rootfs/.");
    fs::create_dir_all(&layer)?;
    crate::run::run(Command::new("cp").args(["-r", "--no-dereference"]).arg(source).arg(&layer))?;
    let mut lab = Lab::new(name, image, &layer, false)?;
    lab.boot_all()?;
    Ok(lab)
}

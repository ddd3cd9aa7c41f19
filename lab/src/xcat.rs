//! The clients of an xCAT management node: who asks its daemon, its names, its leases and its consoles from a host
//! and from namespaces of their own. Everything real but `xcatd`: `dig`, `dhclient`, `console`.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::host::Host;
use crate::lab::{Lab, VIP};
use crate::run::{now_us, run_within};

/// The host that the clients are on.
pub const CLIENT: &str = "cl1";
/// The domain of the nodes.
pub const DOMAIN: &str = "lab.test";
/// Where xcatd answers.
const REQUESTS: u16 = 3001;
/// Where conserver of Debian answers.
const CONSOLES: &str = "3109";
/// A whole exchange of DHCP takes some seconds when nobody asked before.
const DHCP: Duration = Duration::from_secs(30);

/// Which database a management node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Db {
    /// MariaDB.
    Mysql,
    /// PostgreSQL.
    Postgresql,
    /// Files.
    Sqlite,
}

impl Db {
    /// All of them.
    pub const ALL: [Db; 3] = [Db::Postgresql, Db::Mysql, Db::Sqlite];

    /// Its name for the configuration and the installer.
    pub fn name(self) -> &'static str {
        match self {
            Db::Mysql => "mysql",
            Db::Postgresql => "postgresql",
            Db::Sqlite => "sqlite",
        }
    }

    /// The unit of its server.
    pub fn unit(self) -> Option<&'static str> {
        match self {
            Db::Mysql => Some("mariadb.service"),
            Db::Postgresql => Some("postgresql@15-main.service"),
            Db::Sqlite => None,
        }
    }

    /// Every unit that could start its server.
    pub fn units(self) -> &'static [&'static str] {
        match self {
            Db::Mysql => &["mariadb.service"],
            Db::Postgresql => &["postgresql.service", "postgresql@15-main.service"],
            Db::Sqlite => &[],
        }
    }

    /// Below the shared directory, the lock that its server's orderly end takes away.
    pub fn lock(self) -> Option<&'static str> {
        match self {
            Db::Postgresql => Some("var/lib/postgresql/15/main/postmaster.pid"),
            Db::Mysql | Db::Sqlite => None,
        }
    }

    /// The port of its server.
    pub fn port(self) -> Option<u16> {
        match self {
            Db::Mysql => Some(3306),
            Db::Postgresql => Some(5432),
            Db::Sqlite => None,
        }
    }

    /// Its directories beside those of xCAT.
    pub fn directories(self) -> &'static [&'static str] {
        match self {
            Db::Mysql => &["/var/lib/mysql"],
            Db::Postgresql => &["/var/lib/postgresql", "/etc/postgresql"],
            Db::Sqlite => &[],
        }
    }
}

/// `tabdump` of each table over the VIP, by a client on another host, tables and rows in order.
pub fn dump(client: &Host) -> Result<String> {
    client.shell(&format!(
        "export XCATHOST={VIP}:{REQUESTS}; tables=$(tabdump); for table in $tables; do \
         echo \"== $table\"; rows=$(tabdump $table); echo \"$rows\" | sort; done"
    ))
}

/// Writes a row as an administrator on another host would.
pub fn write_row(client: &Host, key: &str, value: &str) -> Result<()> {
    let line = format!("XCATHOST={VIP}:{REQUESTS} chtab key={key} site.value={value}");
    client.shell(&line).map(drop)
}

/// What the VIP's name server says a name is.
pub fn resolve(client: &Host, name: &str) -> Result<String> {
    let asked = format!("@{VIP}");
    let options = ["+short", "+tries=1", "+time=2"];
    let argv: Vec<&str> = ["dig", &asked, name].into_iter().chain(options).collect();
    Ok(client.run(&argv)?.trim().to_owned())
}

/// The consoles that the VIP's console server lists.
pub fn consoles(client: &Host) -> Result<Vec<String>> {
    let listed = client.run(&["console", "-M", VIP, "-p", CONSOLES, "-x"])?;
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());
    let nodes = names.filter(|name| name.starts_with("node")).map(str::to_owned);
    let mut nodes: Vec<String> = nodes.collect();
    nodes.sort();
    Ok(nodes)
}

/// A machine that boots by DHCP: a namespace on the bridge with its own hardware address; `dhclient` runs with the
/// files of the clients' host.
#[derive(Debug)]
pub struct Newcomer {
    netns: String,
    short: String,
}

/// What a machine was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// Its address.
    pub address: String,
    /// Who gave it.
    pub server: String,
}

impl Newcomer {
    /// On the bridge, without an address.
    pub fn plug_in(lab: &Lab, short: &str, mac: &str) -> Result<Newcomer> {
        Ok(Newcomer { netns: lab.newcomer(short, mac)?, short: short.to_owned() })
    }

    /// Asks: for any address at first, afterwards for the one it had, as after a reboot.
    pub fn ask(&self, client: &Host) -> Result<Lease> {
        let short = &self.short;
        let leases = format!("/var/lib/dhcp/{short}.leases");
        let line = format!(
            "printf 'timeout 20;\\n' > /run/{short}.conf; touch {leases}; \
             dhclient -4 -1 -sf /bin/true -cf /run/{short}.conf -lf {leases} -pf /run/{short}.pid \
             eth0 2>&1; dhclient -4 -x -sf /bin/true -lf {leases} -pf /run/{short}.pid eth0 \
             >/dev/null 2>&1 || true; cat {leases}"
        );
        let mut command = Command::new("nsenter");
        command
            .arg("-t")
            .arg(client.leader()?.to_string())
            .args(["-m", "-u", "-i", "-p", "-r", "-w"]);
        command
            .arg(format!("--net=/run/netns/{}", self.netns))
            .args(["--", "/bin/sh", "-ec", &line]);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LANG", "C.UTF-8");
        let told = run_within(&mut command, DHCP).with_context(|| format!("dhclient {short}"))?;
        let last = |what: &str| {
            let line = told.lines().rev().find(|line| line.trim_start().starts_with(what))?;
            line.split_whitespace().last().map(|word| word.trim_end_matches(';').to_owned())
        };
        let address = last("fixed-address").with_context(|| format!("no lease: {told}"))?;
        let server = last("option dhcp-server-identifier").unwrap_or_default();
        Ok(Lease { address, server })
    }
}

/// Somebody who asks `xcatd` on the VIP without a pause, from the clients' namespace, each answer noted.
#[derive(Debug)]
pub struct Prober {
    seen: Arc<Mutex<Vec<Attempt>>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// One question.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    sent: u64,
    done: u64,
    ok: bool,
}

/// Between two questions.
const EVERY: Duration = Duration::from_millis(100);
/// For a connection: nobody is there, and the next question comes soon.
const LIMIT: Duration = Duration::from_millis(500);
/// For an answer on it: a daemon on a busy machine is late, and is there.
const PATIENCE: Duration = Duration::from_secs(2);

impl Prober {
    /// Begins, as a client on the network.
    pub fn start(lab: &Lab) -> Result<Prober> {
        Prober::start_in(&lab.client_ns())
    }

    /// Begins, in a network namespace: of a host, it asks as that host's own clients do.
    pub fn start_in(netns: &str) -> Result<Prober> {
        let namespace = File::open(format!("/run/netns/{netns}"))?;
        let seen: Arc<Mutex<Vec<Attempt>>> = Arc::default();
        let end = Arc::new(AtomicBool::new(false));
        let (tape, is_over) = (Arc::clone(&seen), Arc::clone(&end));
        let thread = std::thread::Builder::new().name("prober".into()).spawn(move || {
            // Sockets belong to the namespace in which they are made; only this thread goes there.
            if move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                .is_err()
            {
                return;
            }
            let vip: Ipv4Addr = VIP.parse().unwrap_or(Ipv4Addr::UNSPECIFIED);
            let address = SocketAddr::V4(SocketAddrV4::new(vip, REQUESTS));
            while !is_over.load(Ordering::SeqCst) {
                let sent = now_us();
                let ok = ask(&address, "tabdump site").is_ok();
                locked(&tape).push(Attempt { sent, done: now_us(), ok });
                std::thread::sleep(EVERY);
            }
        })?;
        Ok(Prober { seen, end, thread: Some(thread) })
    }

    /// The longest time, in milliseconds, without an answer between those two moments.
    pub fn outage_ms(&self, from: u64, to: u64) -> u64 {
        let seen = locked(&self.seen);
        let answered: Vec<u64> = seen.iter().filter(|one| one.ok).map(|one| one.done).collect();
        let begin = crate::gap::last_before(&answered, from);
        crate::gap::to_ms(crate::gap::longest_us(&answered, begin, to))
    }

    /// The first answer to a question that was sent after that moment.
    pub fn answered_after(&self, from: u64) -> Option<u64> {
        let seen = locked(&self.seen);
        seen.iter().find(|one| one.ok && one.sent >= from).map(|one| one.done)
    }

    /// The last moment at which an answer was complete; 0 if there was none.
    pub fn last_answer(&self) -> u64 {
        locked(&self.seen).iter().filter(|one| one.ok).map(|one| one.done).max().unwrap_or(0)
    }

    /// Waits until it is answered again.
    pub fn wait_answered(&self, from: u64, bound: Duration) -> Result<u64> {
        crate::run::wait_for("an answer of xcatd on the VIP", bound, || {
            Ok(self.answered_after(from))
        })
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.end.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

fn ask(address: &SocketAddr, line: &str) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(address, LIMIT)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(format!("{line}\n").as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    ensure!(text.starts_with("ok\n"), "{text}");
    Ok(text)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

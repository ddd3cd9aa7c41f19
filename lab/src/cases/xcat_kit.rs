//! What the cases of the shared-data topology ask of its hosts, from outside the product: what runs, what listens,
//! where paths lead, what the clients get.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::cluster::NODES;
use crate::host::Host;
use crate::lab::{VIP, fresh_name};
use crate::names::Names;
use crate::run::{now_us, wait_for};
use crate::shared::{Choice, DATA, NAME, Shared};
use crate::xcat::{self, DOMAIN, Db, Lease, Newcomer, Prober};
use crate::{diagnose, say};

/// A node of the tables, with its reserved address.
pub(super) const NODE: (&str, &str, &str) = ("node01", "10.77.0.51", "52:54:00:00:01:01");
/// Somebody without a reservation.
const GUEST: &str = "52:54:00:00:02:01";
/// Exit codes of the product that these cases wait for.
pub(super) const ADDRESS_IN_USE: i32 = 11;
pub(super) const ACTIVE_ELSEWHERE: i32 = 12;
pub(super) const NOT_PROVEN_CLEAR: i32 = 13;
pub(super) const NO_QUORUM: i32 = 17;
/// A check refuses before the first change.
pub(super) const CHECKS: i32 = 14;
/// A step failed, and everything is as it was.
pub(super) const UNDONE: i32 = 15;
/// A service that was just started answers.
const ANSWER: Duration = Duration::from_secs(60);

/// What only an active node has, whichever database: processes by name, ports by `ss`.
const PROCESSES: &str = "xcatd|named|dhcpd|conserver|goconserver|mariadbd|postgres|in.tftpd|sleep";
const PORTS: [&str; 10] =
    [":3001", ":3002", ":53", ":67", ":69", ":3306", ":5432", ":782", ":3109", ":12430"];

/// Runs a case on a cluster that is passive on both nodes; on failure its hosts tell what they know.
pub(super) fn with(choice: Choice, steps: impl FnOnce(&mut Shared) -> Result<()>) -> Result<()> {
    crate::sweep::sweep()?;
    let mut shared = Shared::up(&fresh_name(), choice)?;
    let result = NODES
        .iter()
        .try_for_each(|node| wait_passive(&shared, node))
        .and_then(|()| steps(&mut shared));
    if result.is_err() && !crate::run::is_interrupted() {
        diagnose::collect(&shared.lab);
    }
    result
}

/// The clients of a management node, and what they were given at first.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) prober: Prober,
    /// Asks for the name of a node all the time.
    pub(super) names: Names,
    reserved: Newcomer,
    guest: Newcomer,
    lease: Lease,
}

impl Clients {
    /// Everybody asks for the first time; the node that serves is new.
    pub(super) fn start(shared: &Shared) -> Result<Clients> {
        let prober = Prober::start(&shared.lab)?;
        let names = Names::start(&shared.lab, &format!("{}.{DOMAIN}", NODE.0))?;
        let reserved = Newcomer::plug_in(&shared.lab, "d1", NODE.2)?;
        let guest = Newcomer::plug_in(&shared.lab, "d2", GUEST)?;
        let lease = guest.ask(shared.client()?)?;
        ensure!(lease.address.starts_with("10.77.0.15"), "the guest has {lease:?}");
        let clients = Clients { prober, names, reserved, guest, lease };
        clients.expect_served(shared)?;
        Ok(clients)
    }

    /// Tables, names, consoles and leases are there, and the leases are those of before.
    pub(super) fn expect_served(&self, shared: &Shared) -> Result<()> {
        let client = shared.client()?;
        let site = wait_for("xcatd", ANSWER, || Ok(xcat::dump(client).ok()))?;
        ensure!(site.contains(&format!("\"{VIP}\"")), "site has no {VIP}: {site}");
        let address = xcat::resolve(client, &format!("{}.{DOMAIN}", NODE.0))?;
        ensure!(address == NODE.1, "{} is {address:?} by DNS", NODE.0);
        let consoles = xcat::consoles(client)?;
        ensure!(consoles == ["node01", "node02", "node03"], "consoles: {consoles:?}");
        let lease = self.reserved.ask(client)?;
        ensure!(lease.address == NODE.1 && lease.server == VIP, "{} got {lease:?}", NODE.0);
        let lease = self.guest.ask(client)?;
        ensure!(lease == self.lease, "the guest had {:?}, and got {lease:?}", self.lease);
        Ok(())
    }
}

/// The node has everything an active one has.
pub(super) fn expect_active(shared: &Shared, node: &str) -> Result<()> {
    let host = shared.lab.host(node)?;
    let addresses = host.run(&["ip", "-o", "-4", "addr"])?;
    ensure!(addresses.matches(&format!(" {VIP}/")).count() == 1, "{node}: {addresses}");
    let name = host.run(&["hostname"])?;
    ensure!(name.trim() == NAME, "{node} is called {name}");
    for directory in shared.directories() {
        let leads = host.run(&["readlink", directory]).unwrap_or_default();
        ensure!(leads.trim() == format!("{DATA}{directory}"), "{directory} leads to {leads:?}");
    }
    for unit in shared.units() {
        let state = host.run(&["systemctl", "show", "-p", "ActiveState", "--value", unit])?;
        ensure!(state.trim() == "active", "{unit} on {node} is {state}");
    }
    let first = host.shell("grep -m1 ^nameserver /etc/resolv.conf || true")?;
    ensure!(first.trim() == format!("nameserver {VIP}"), "{node} asks {first} first");
    Ok(())
}

/// The node has nothing of it: no process, no listener, no link, no address, no name, nothing that starts at boot.
pub(super) fn expect_passive(shared: &Shared, node: &str) -> Result<()> {
    let host = shared.lab.host(node)?;
    let processes = host.shell(&format!("ps axo comm= | grep -E '^({PROCESSES})' || true"))?;
    ensure!(processes.is_empty(), "{node} runs {processes}");
    let listeners = host.run(&["ss", "-Hlntu"])?;
    let open = listeners.lines().filter(|line| {
        let local = line.split_whitespace().nth(4).unwrap_or_default();
        PORTS.iter().any(|port| local.ends_with(port))
    });
    let open: Vec<&str> = open.collect();
    ensure!(open.is_empty(), "{node} listens: {open:?}");
    let addresses = host.run(&["ip", "-o", "addr"])?;
    ensure!(!addresses.contains(VIP), "{node} has the VIP: {addresses}");
    let name = host.run(&["hostname"])?;
    ensure!(name.trim() == node, "{node} is called {name}");
    for directory in shared.directories() {
        let leads = host.run(&["readlink", directory]).unwrap_or_default();
        ensure!(!leads.contains(DATA), "{directory} on {node} leads to {leads}");
    }
    let first = host.run(&["cat", "/etc/resolv.conf"])?;
    ensure!(first == "# of this host\nnameserver 10.77.0.1\n", "{node}: resolv.conf is {first}");
    for unit in shared.all_units() {
        let enabled = host.enter(&["systemctl", "is-enabled", unit], ANSWER)?;
        let word = String::from_utf8_lossy(&enabled.stdout).trim().to_owned();
        // A generator of PostgreSQL says enabled-runtime of what another unit wants, which is not enabled.
        ensure!(word != "enabled", "{unit} on {node} is {word}");
    }
    Ok(())
}

/// The same, as soon as the agent has tidied up.
pub(super) fn wait_passive(shared: &Shared, node: &str) -> Result<()> {
    let passive = wait_for("a passive node", ANSWER, || {
        let is_so = expect_passive(shared, node).is_ok();
        if !is_so {
            std::thread::sleep(Duration::from_millis(200));
        }
        Ok(is_so.then_some(()))
    });
    passive.or_else(|_| expect_passive(shared, node))
}

/// What a refused command must leave alone: addresses, names, links, units, listeners.
pub(super) fn picture(shared: &Shared, node: &str) -> Result<String> {
    let host = shared.lab.host(node)?;
    let units = shared.all_units();
    let directories = shared.directories().join(" ");
    host.shell(&format!(
        "ip -o addr | sed 's/valid_lft.*//'; hostname; cat /etc/hostname /etc/hosts /etc/resolv.conf; \
         stat -c '%N %F %U %a %i' {directories} || true; \
         systemctl show -p Id -p ActiveState -p UnitFileState {}; ss -Hlntu | awk '{{print $1, $5}}' | sort",
        units.join(" ")
    ))
}

/// How long units took to start, by systemd's own clock, in milliseconds each.
pub(super) fn own_starts(host: &Host, units: &[&str]) -> Result<Vec<(String, u64)>> {
    let mut found = Vec::new();
    for unit in units {
        let shown = host.run(&[
            "systemctl",
            "show",
            "-p",
            "InactiveExitTimestampMonotonic",
            "-p",
            "ActiveEnterTimestampMonotonic",
            unit,
        ])?;
        let value = |what: &str| -> Result<u64> {
            let line = shown.lines().find_map(|line| line.strip_prefix(what));
            line.context("a time")?.parse().context("a time")
        };
        let from = value("InactiveExitTimestampMonotonic=")?;
        let to = value("ActiveEnterTimestampMonotonic=")?;
        found.push(((*unit).to_owned(), to.saturating_sub(from) / 1000));
    }
    Ok(found)
}

/// What the answer of xcatd needs on a node that has just started it: its database and itself.
pub(super) fn start_of_xcatd(shared: &Shared, node: &str) -> Result<u64> {
    let mut units: Vec<&str> = shared.choice.db.unit().into_iter().collect();
    units.push("xcatd.service");
    let starts = own_starts(shared.lab.host(node)?, &units)?;
    Ok(starts.iter().map(|(_, ms)| ms).sum())
}

/// The steps of an answer with `--json`, as a table of milliseconds in one line.
pub(super) fn table(what: &str, json: &str) -> Result<String> {
    let last = json.lines().rev().find(|line| line.starts_with('{')).unwrap_or(json);
    let answer: serde_json::Value =
        serde_json::from_str(json).or_else(|_| serde_json::from_str(last)).context("no JSON")?;
    let steps = answer.get("steps").and_then(|steps| steps.as_array()).context("no steps")?;
    let cell = |step: &serde_json::Value| {
        let name = step.get("name").and_then(serde_json::Value::as_str).unwrap_or_default();
        let seconds = step.get("seconds").and_then(serde_json::Value::as_f64).unwrap_or_default();
        format!("{name} {seconds:.2}")
    };
    let cells: Vec<String> = steps.iter().map(cell).collect();
    let all = answer.get("seconds").and_then(serde_json::Value::as_f64).unwrap_or_default();
    Ok(format!("{what}: {all:.2} s: {}", cells.join(", ")))
}

/// Nobody has answered for that long.
pub(super) fn tell_outage(db: Db, what: &str, outage: u64, own: u64) {
    say::line(&format!(
        "result  {} {what}: 3001 on the VIP unanswered for {outage} ms, services' own start {own} ms, beyond it {} ms",
        db.name(),
        outage.saturating_sub(own)
    ));
}

/// The bar, with room for a busy machine: as many times of it as processes wait for each processor.
pub(super) fn expect_within(bar: u64, outage: u64, own: u64) -> Result<()> {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load: f64 = load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64);
    let room = (load / processors).clamp(1.0, 4.0);
    say::line(&format!("result  the bar is {bar} ms, the machine has {room:.1} times its load"));
    let bound = own + (bar as f64 * room) as u64;
    ensure!(outage <= bound, "without an answer for {outage} ms, own start {own} ms, bar {bar} ms");
    Ok(())
}

/// A row that a client wrote is still there.
pub(super) fn expect_row(shared: &Shared, key: &str) -> Result<()> {
    let tables = wait_for("xcatd", ANSWER, || Ok(xcat::dump(shared.client()?).ok()))?;
    ensure!(tables.contains(&format!("\"{key}\"")), "the row {key} is not there: {tables}");
    Ok(())
}

/// The other host's cache of neighbours names this host for the VIP.
pub(super) fn expect_neighbour(shared: &Shared, node: &str, bound: Duration) -> Result<u64> {
    let from = now_us();
    let mac = shared.lab.host(node)?.spec.mac.clone();
    wait_for("the neighbour cache of the clients", bound, || {
        let known = shared.client()?.run(&["ip", "neigh", "show", VIP])?;
        Ok(known.contains(&mac).then_some(()))
    })?;
    Ok((now_us() - from) / 1000)
}

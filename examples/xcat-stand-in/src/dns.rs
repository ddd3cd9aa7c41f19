//! `makehosts` and `makedns`. As with the real one, names come from `/etc/hosts`: a management node whose file is
//! stale publishes stale names.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::time::Duration;

use crate::store::Store;
use crate::{Result, around, renew, write};

const HOSTS: &str = "/etc/hosts";
const ZONES: &str = "/etc/bind/named.conf.local";
const DIRECTORY: &str = "/var/cache/bind";
const UNIT: &str = "named.service";
/// Marks a line that is ours.
const MARK: &str = "# xcat";

/// Writes each node of the table hosts into `/etc/hosts`, and leaves the other lines alone.
pub fn makehosts() -> Result<String> {
    let store = Store::open()?;
    // A node without a domain has its short name.
    let domain = domain(store).map(|domain| format!(".{domain}")).unwrap_or_default();
    let old = fs::read_to_string(HOSTS).unwrap_or_default();
    let kept: Vec<&str> = old.lines().filter(|line| !line.ends_with(MARK)).collect();
    let mut text = kept.join("\n") + "\n";
    for row in store.rows("hosts")? {
        if let [node, ip, ..] = row.as_slice()
            && !ip.is_empty()
        {
            let long = if domain.is_empty() { String::new() } else { format!("{node}{domain} ") };
            text.push_str(&format!("{ip} {node} {long}{MARK}\n"));
        }
    }
    write(HOSTS, &text)?;
    Ok(String::new())
}

/// The real one's dynamic updates of some hundred nodes.
const UPDATES: Duration = Duration::from_secs(1);

/// `-n`: BIND stops, all zones are written with nothing but their own name, BIND starts, and only then come the nodes'
/// names, by updates. What cannot be written is found out before that.
pub fn anew() -> Result<String> {
    let store = Store::open()?;
    let domain = domain(store)?;
    around(UNIT, || zones(store, domain, Vec::new()))?;
    std::thread::sleep(UPDATES);
    update()
}

/// Writes the zones; BIND reads them again if it runs.
pub fn update() -> Result<String> {
    let store = Store::open()?;
    let domain = domain(store)?;
    let told = zones(store, domain, hosts())?;
    renew(UNIT, "reload")?;
    Ok(told)
}

/// The files of the zones, forward and reverse, and the one that names them.
fn zones(store: Store, domain: String, hosts: Vec<(Ipv4Addr, Vec<String>)>) -> Result<String> {
    let own = store.value("site", MASTER, "value")?.unwrap_or_default();
    let networks = networks(store)?;
    let mut forward = head(&domain, &own);
    let mut reverse: BTreeMap<String, String> = BTreeMap::new();
    for (address, names) in hosts {
        if !networks.iter().any(|(net, mask)| u32::from(address) & mask == u32::from(*net)) {
            continue;
        }
        let [a, b, c, d] = address.octets();
        let Some(name) = names.first().and_then(|name| name.split('.').next()) else { continue };
        forward.push_str(&format!("{name} IN A {address}\n"));
        let zone = reverse.entry(format!("{c}.{b}.{a}.in-addr.arpa"));
        let zone = zone.or_insert_with(|| head(&domain, &own));
        zone.push_str(&format!("{d} IN PTR {name}.{domain}.\n"));
    }
    reverse.insert(domain, forward);
    let mut text = "// Written by makedns of the xCAT stand-in.\n".to_owned();
    for (zone, records) in &reverse {
        let file = format!("{DIRECTORY}/db.xcat.{zone}");
        write(&file, records)?;
        text.push_str(&format!("zone \"{zone}\" in {{ type {MASTER}; file \"{file}\"; }};\n"));
    }
    write(ZONES, &text)?;
    Ok(format!("{} zones\n", reverse.len()))
}

/// xCAT's key in `site` for its own address, and BIND's word for a zone that it has itself.
const MASTER: &str = "master";

/// The domain; without one there are no zones, which is a failure before anything is changed.
pub fn domain(store: Store) -> Result<String> {
    let domain = store.value("site", "domain", "value")?.filter(|domain| !domain.is_empty());
    domain.ok_or_else(|| "the table site has no domain".to_owned())
}

fn head(domain: &str, own: &str) -> String {
    let serial = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let serial = serial.map_or(1, |since| since.as_secs());
    format!(
        "$TTL 60\n@ IN SOA ns.{domain}. root.{domain}. ( {serial} 60 60 60 60 )\n\
         @ IN NS ns.{domain}.\nns.{domain}. IN A {own}\n"
    )
}

fn networks(store: Store) -> Result<Vec<(Ipv4Addr, u32)>> {
    let mut found = Vec::new();
    for row in store.rows("networks")? {
        if let [_, net, mask, ..] = row.as_slice() {
            let net: Ipv4Addr = net.parse().map_err(|_| format!("networks: {net}"))?;
            let mask: Ipv4Addr = mask.parse().map_err(|_| format!("networks: {mask}"))?;
            found.push((net, u32::from(mask)));
        }
    }
    Ok(found)
}

fn hosts() -> Vec<(Ipv4Addr, Vec<String>)> {
    let text = fs::read_to_string(HOSTS).unwrap_or_default();
    let entry = |line: &str| {
        let mut words = line.split('#').next()?.split_whitespace();
        let address = words.next()?.parse().ok()?;
        Some((address, words.map(str::to_owned).collect()))
    };
    text.lines().filter_map(entry).collect()
}

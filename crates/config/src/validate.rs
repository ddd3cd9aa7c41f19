//! From the merged tree to [`Settings`]: everything is checked, and every mistake is told.

use super::fence;
use super::probes;
use super::problem::Problem;
use super::settings::{
    Budget, Copies, Database, Driver, Keepalived, Member, Service, Settings, StartBounds, Topology,
    Vip, Watchdog,
};
use super::shared;
use super::timing::{self, DRIFT_PPM, Measured, Proposed, UNTIL_RELEASED};
use super::tree::{At, Node, Origin};
use regent_core::health::Weight;
use regent_core::id::NodeId;
use regent_core::spec::{Pace, Policy};
use regent_core::state::Timing;
use regent_core::time::Span;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

/// keepalived puts an address on after four advertisements, and the driver waits no longer than 150 ms for it.
const ADVERT: (Span, Span) = (Span::millis(10), Span::millis(30));
/// The word of those who run the hosts that the watchdog of a guest proves something.
const GUEST_IS_NEVER_FROZEN: &str = "proof-in-a-guest-that-is-never-frozen";

/// Beyond this the watchdogs of common boards do not count.
const WATCHDOG: (Span, Span) = (Span::millis(2_000), Span::millis(300_000));
/// Shorter than a switch needs to confirm, and longer than anybody waits.
const FENCE: (Span, Span) = (Span::millis(1_000), Span::millis(300_000));

/// Checks everything and tells every mistake; none if one of them leaves a gap.
pub(super) fn validate(file: &Node, problems: &mut Vec<Problem>) -> Option<Settings> {
    let cluster = required(file, "cluster", "a name for the cluster", problems)
        .and_then(|c| name(&c, "the cluster's name", problems));
    let vip = table(file, "vip", "a table with address and interface", problems);
    let vips = vip.map(|vip| vips(vip, problems)).unwrap_or_default();
    let driver = vip.map(|vip| driver(vip, vips.first(), problems));
    let members = members(file, vip, &vips, problems);
    let gateway = gateway(file, problems);
    let topology = topology(file, problems);
    let unit = match &topology {
        Some(Topology::Replicated(database)) => Some(database.unit.as_str()),
        Some(Topology::SharedData(_)) | None => None,
    };
    let services = services(file, unit, problems);
    shared::check_order(file, &services, problems);
    let probes = probes::probes(file, &services, problems);
    let policy = policy(file, problems);
    let watchdog = file.table("watchdog").and_then(|w| watchdog(file, w, problems));
    let timing = timing(file, problems);
    if let (Some(Topology::SharedData(stack)), Some(members)) = (&topology, &members) {
        shared::check_members(file, stack, members, problems);
    }
    let (proposed, preset) = timing?;
    Some(Settings {
        cluster: cluster?,
        profile: word(file, "profile", super::keys::PROFILES),
        preset,
        vips: Some(vips).filter(|v| !v.is_empty())?,
        driver: driver?,
        gateway,
        members: members?,
        topology: topology?,
        services,
        probes,
        policy,
        watchdog,
        timing: proposed.timing,
        pace: proposed.pace,
        budget: proposed.budget,
    })
}

/// The word of the description that was written; the reader let no other pass.
fn word(node: &Node, key: &'static str, words: &'static [&'static str]) -> &'static str {
    let written = node.text(key).map(|t| t.value).unwrap_or_default();
    words.iter().find(|w| **w == written).unwrap_or(&words[0])
}

pub(super) fn missing(node: &Node, key: &str, example: &str, problems: &mut Vec<Problem>) {
    // Where a profile supplied the table there is no line of the file to point at.
    let what = match node.from {
        Origin::File(_) => format!("`{key}` is missing"),
        _ if node.table == &super::keys::FILE => format!("`{key}` is missing"),
        Origin::Profile(_) | Origin::Preset(_) | Origin::Default => {
            format!("`{key}` is missing in {}", node.what)
        }
    };
    problems.push(Problem::new(node.from.span(), what, format!("add `{key}`: {example}")));
}

pub(super) fn required(
    node: &Node,
    key: &'static str,
    example: &str,
    problems: &mut Vec<Problem>,
) -> Option<At<String>> {
    let value = node.text(key);
    if value.is_none() {
        missing(node, key, example, problems);
    }
    value
}

fn table<'n>(
    file: &'n Node,
    key: &'static str,
    example: &str,
    problems: &mut Vec<Problem>,
) -> Option<&'n Node> {
    let found = file.table(key);
    if found.is_none() {
        let what = format!("`[{key}]` is missing");
        problems.push(Problem::new(0..0, what, format!("add `[{key}]`: {example}")));
    }
    found
}

/// A name that can stand in a certificate and in a file name (RFC 1035 2.3.1, digits first allowed).
pub(super) fn name(text: &At<String>, what: &str, problems: &mut Vec<Problem>) -> Option<String> {
    let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good = (1..=63).contains(&text.value.len())
        && text.value.chars().all(letters)
        && !text.value.starts_with('-')
        && !text.value.ends_with('-');
    if good {
        return Some(text.value.clone());
    }
    let remedy = "lower-case letters, digits and inner hyphens, at most 63";
    let what = format!("\"{}\" is not allowed as {what}", text.value);
    problems.push(Problem::new(text.from.span(), what, remedy));
    None
}

fn vips(table: &Node, problems: &mut Vec<Problem>) -> Vec<Vip> {
    let example = "\"10.77.0.100/24\"";
    let Some(written) = table.texts("address") else {
        missing(table, "address", example, problems);
        return Vec::new();
    };
    if written.value.is_empty() {
        let what = "the list of virtual IPs is empty";
        problems.push(Problem::new(written.from.span(), what, format!("at least one: {example}")));
    }
    // keepalived puts addresses on in its own way.
    let native = table.text("driver").is_none_or(|driver| driver.value != "keepalived");
    let first = table.truth("found-first") == Some(true) && native;
    let forms = [table.truth("subnet") == Some(true), first];
    let mut vips: Vec<Vip> = Vec::new();
    for text in &written.value {
        let Some(vip) = vip(&text.value, forms) else {
            let what = format!("\"{}\" is no virtual IP", text.value);
            let remedy = format!("an address with the length of its prefix: {example}");
            problems.push(Problem::new(text.from.span(), what, remedy));
            continue;
        };
        if let Some(what) = of_no_host(&vip) {
            let remedy = "the address of a host, with the length of its network's prefix";
            problems.push(Problem::new(text.from.span(), what, remedy));
        }
        if vips.iter().any(|v| v.address == vip.address) {
            let what = format!("the virtual IP {} stands there twice", vip.address);
            problems.push(Problem::new(text.from.span(), what, "name each address once"));
        }
        vips.push(vip);
    }
    vips
}

fn vip(text: &str, [subnet, first]: [bool; 2]) -> Option<Vip> {
    let (ip, prefix) = text.split_once('/')?;
    let address: IpAddr = ip.parse().ok()?;
    let prefix: u8 = prefix.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let usable = !address.is_unspecified() && !address.is_loopback() && !address.is_multicast();
    // With all its bits it faces nobody, wherever it stands.
    let first = first && !subnet && address.is_ipv4() && prefix < 31;
    (prefix <= most && usable).then_some(Vip { address, prefix, subnet, first })
}

/// A wrong mask shows where the address is the network's own or its broadcast address (RFC 1122 3.2.1.3); a prefix of
/// 31 or 32 has neither (RFC 3021).
fn of_no_host(vip: &Vip) -> Option<String> {
    let IpAddr::V4(address) = vip.address else { return None };
    let host = u32::MAX.checked_shr(u32::from(vip.prefix)).filter(|_| vip.prefix < 31)?;
    let Vip { prefix, .. } = vip;
    match address.to_bits() & host {
        0 => Some(format!("{address}/{prefix} is the address of the network itself")),
        bits if bits == host => {
            Some(format!("{address}/{prefix} is the network's broadcast address"))
        }
        _ => None,
    }
}

fn driver(table: &Node, principal: Option<&Vip>, problems: &mut Vec<Problem>) -> Driver {
    let driver = table.text("driver").map(|d| d.value).unwrap_or_default();
    let keepalived = table.table("keepalived");
    if driver != "keepalived" {
        if let Some(keepalived) = keepalived {
            let what = "[vip.keepalived] has no meaning with the native driver";
            let remedy = "write driver = \"keepalived\" under [vip], or leave the table out";
            problems.push(Problem::new(keepalived.from.span(), what, remedy));
        }
        return Driver::Native;
    }
    let last = principal.map_or(1, |vip| match vip.address {
        IpAddr::V4(address) => address.octets()[3],
        IpAddr::V6(address) => address.octets()[15],
    });
    let written = table.get("found-first").is_some_and(|at| matches!(at.from, Origin::File(_)));
    if written && table.truth("found-first") == Some(true) {
        let what = "found-first is for the native driver";
        let remedy = "write found-first = false, or driver = \"native\"";
        let at = table.text("driver").map_or(0..0, |driver| driver.from.span());
        problems.push(Problem::new(at, what, remedy));
    }
    let written = keepalived.and_then(|k| k.whole("router-id"));
    let router_id = written.and_then(|id| u8::try_from(id.value).ok()).unwrap_or(last.max(1));
    let mut advert_interval = ADVERT.0;
    if let Some(written) = keepalived.and_then(|k| k.span("advert-interval")) {
        advert_interval = written.value;
        if !(ADVERT.0..=ADVERT.1).contains(&written.value) {
            let what = format!(
                "keepalived puts the address on after four advertisements: {} ms each would take {} ms of a takeover, and \
                 150 ms are the most",
                written.value.as_millis(),
                written.value.as_millis() * 4
            );
            problems.push(Problem::new(written.from.span(), what, "\"10ms\" to \"30ms\""));
        }
    }
    Driver::Keepalived(Keepalived { router_id, advert_interval })
}

/// A name that the kernel takes for an interface (IFNAMSIZ is 16 with the end mark).
pub(super) fn interface_name(text: &At<String>, problems: &mut Vec<Problem>) -> Option<String> {
    let good = (1..=15).contains(&text.value.len())
        && text.value.chars().all(|c| c.is_ascii_graphic() && c != '/' && c != ':');
    if !good {
        let what = format!("\"{}\" is no name of an interface", text.value);
        let remedy = "see the names in: ip -br link";
        problems.push(Problem::new(text.from.span(), what, remedy));
        return None;
    }
    Some(text.value.clone())
}

fn gateway(file: &Node, problems: &mut Vec<Problem>) -> Option<IpAddr> {
    let text = file.text("gateway")?;
    match text.value.parse::<IpAddr>() {
        Ok(address) if !address.is_unspecified() && !address.is_loopback() => Some(address),
        Ok(_) | Err(_) => {
            let what = format!("\"{}\" is no address of a router", text.value);
            problems.push(Problem::new(text.from.span(), what, "see: ip route show default"));
            None
        }
    }
}

fn members(
    file: &Node,
    vip: Option<&Node>,
    vips: &[Vip],
    problems: &mut Vec<Problem>,
) -> Option<Vec<Member>> {
    let before = problems.len();
    let common = vip.and_then(|v| v.text("interface"));
    let interface = common.as_ref().and_then(|i| interface_name(i, problems));
    let written = file.named("node");
    let mut members: Vec<Member> = Vec::new();
    let mut ids: BTreeMap<u16, String> = BTreeMap::new();
    let mut addresses: BTreeMap<SocketAddr, String> = BTreeMap::new();
    let port = port(file, super::settings::PORT);
    for (named, node) in written {
        let asked = common.is_some();
        let Some(member) = member(named, node, port, interface.as_deref(), asked, problems) else {
            continue;
        };
        let id_at = node.whole("id").map_or(named.from.span(), |i| i.from.span());
        let address_at = node.text("address").map_or(named.from.span(), |a| a.from.span());
        if let Some(other) = ids.insert(member.id.0, member.name.clone()) {
            let what = format!("{} has the number {} of {other}", member.name, member.id.0);
            problems.push(Problem::new(id_at, what, "give it a number that no node ever had"));
        }
        if let Some(other) = addresses.insert(member.address, member.name.clone()) {
            let what = format!("{} has the address of {other}", member.name);
            let remedy = "give each node its own address";
            problems.push(Problem::new(address_at.clone(), what, remedy));
        }
        if vips.iter().any(|v| v.address == member.address.ip()) {
            let what = format!("{} has the virtual IP as its own address", member.name);
            let remedy = "give it a fixed address beside the virtual IP";
            problems.push(Problem::new(address_at, what, remedy));
        }
        members.push(member);
    }
    members.sort_by_key(|m| m.id);
    let witnesses = members.iter().filter(|m| m.witness).count();
    let shape = (witnesses, members.len());
    let pair = shared::is_shared(file) && shape == (0, 2);
    if problems.len() == before && shape != (1, 3) && !pair {
        let at = written.first().map_or(0..0, |(n, _)| n.from.span());
        let what = format!(
            "{} nodes and {witnesses} witnesses: a quorum here is two of two nodes and one witness",
            members.len() - witnesses
        );
        let remedy = match shared::is_shared(file) {
            true => "two tables [node.NAME], and one more with witness = true, or none",
            false => "two tables [node.NAME], and one more with witness = true",
        };
        problems.push(Problem::new(at, what, remedy));
    }
    (problems.len() == before).then_some(members)
}

fn member(
    named: &At<String>,
    node: &Node,
    port: u16,
    interface: Option<&str>,
    asked: bool,
    problems: &mut Vec<Problem>,
) -> Option<Member> {
    let name = name(named, "a node's name", problems);
    let id = node.whole("id").and_then(|id| u16::try_from(id.value).ok());
    if id.is_none() {
        missing(node, "id", "a number of its own from 1 to 65535", problems);
    }
    let example = "\"10.77.0.11\"";
    let address = required(node, "address", example, problems).and_then(|a| {
        match socket_address(&a.value, port) {
            Some(address) => Some(address),
            None => {
                let what = format!("\"{}\" is no address of a node", a.value);
                let remedy = format!("its fixed IP address, with a port only if needed: {example}");
                problems.push(Problem::new(a.from.span(), what, remedy));
                None
            }
        }
    });
    let witness = node.truth("witness") == Some(true);
    let written = node.text("interface");
    let own = written.as_ref().and_then(|i| interface_name(i, problems));
    let interface = own.or_else(|| interface.map(String::from));
    if interface.is_none() && !witness && !asked && written.is_none() {
        let what = format!("on which interface {} carries the virtual IP is not said", named.value);
        let remedy = "add `interface` to [vip], or to this node where it has another name";
        problems.push(Problem::new(named.from.span(), what, remedy));
    }
    let fence = node.table("fence").and_then(|f| fence(f, &named.value, witness, problems));
    Some(Member {
        id: NodeId(id?),
        name: name?,
        address: address?,
        witness,
        interface: interface.unwrap_or_default(),
        fence,
    })
}

fn socket_address(text: &str, port: u16) -> Option<SocketAddr> {
    let address = text
        .parse::<SocketAddr>()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port)))?;
    (!address.ip().is_unspecified() && !address.ip().is_multicast()).then_some(address)
}

fn port(node: &Node, default: u16) -> u16 {
    node.whole("port").and_then(|p| u16::try_from(p.value).ok()).unwrap_or(default)
}

fn fence(
    table: &Node,
    node: &str,
    witness: bool,
    problems: &mut Vec<Problem>,
) -> Option<fence::Settings> {
    let before = problems.len();
    let (agent, command) = (table.text("agent"), table.texts("command"));
    let at = table.from.span();
    if witness {
        let what = format!("{node} is a witness: it runs no resources and is never fenced");
        problems.push(Problem::new(at.clone(), what, "leave its fence out"));
    }
    let password_file = absolute(table, "password-file", problems);
    let options: BTreeMap<String, String> = table
        .options("options")
        .into_iter()
        .filter(|(name, value)| {
            let remedy = match name.as_str() {
                "password" | "passwd" => {
                    "put it into a file of mode 600 and name it: password-file"
                }
                "action" => "leave it out: Regent says the action itself",
                _ => return true,
            };
            let what = format!("the option `{name}` does not belong here");
            problems.push(Problem::new(value.from.span(), what, remedy).secret());
            false
        })
        .map(|(name, value)| (name, value.value))
        .collect();
    let device = match (agent, command) {
        (Some(agent), None) => {
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
            if agent.value.is_empty() || !agent.value.chars().all(plain) {
                let what = format!("\"{}\" is no fence agent", agent.value);
                let remedy = "the name of a program of fence-agents, as \"fence_redfish\"";
                problems.push(Problem::new(agent.from.span(), what, remedy));
            }
            fence::Device::Agent { agent: agent.value, options, password_file }
        }
        (None, Some(command)) => {
            program(&command, problems);
            if password_file.is_some() || !options.is_empty() {
                let what = "options and password-file belong to an agent, not to a command";
                problems.push(Problem::new(at, what, "leave them out, or write agent"));
            }
            fence::Device::Command(command.value.into_iter().map(|c| c.value).collect())
        }
        (Some(_), Some(command)) => {
            let what = format!("{node} has both an agent and a command");
            problems.push(Problem::new(command.from.span(), what, "leave one of them out"));
            return None;
        }
        (None, None) => {
            let what = format!("how {node} is fenced is not said");
            let remedy = "add agent = \"fence_redfish\" with its options, or command = [\"/path\"]";
            problems.push(Problem::new(at, what, remedy));
            return None;
        }
    };
    let timeout = within(table, "timeout", FENCE, problems);
    (problems.len() == before).then(|| fence::Settings { node: node.into(), device, timeout })
}

/// A length of time within bounds; its default is.
pub(super) fn within(
    node: &Node,
    key: &'static str,
    (least, most): (Span, Span),
    problems: &mut Vec<Problem>,
) -> Span {
    let Some(written) = node.span(key) else { return least };
    if !(least..=most).contains(&written.value) {
        let what = format!("{} is out of bounds for `{key}`", length(written.value));
        let remedy = format!("from {} to {}", length(least), length(most));
        problems.push(Problem::new(written.from.span(), what, remedy));
        return least;
    }
    written.value
}

/// As people write it.
pub(super) fn length(span: Span) -> String {
    let ms = span.as_millis();
    if span == UNTIL_RELEASED {
        return format!("\"{}\"", timing::UNTIL_RELEASED_TEXT);
    }
    let units = [(3_600_000, "h"), (60_000, "min"), (1_000, "s")];
    let unit = units.iter().find(|(unit, _)| ms >= *unit && ms.is_multiple_of(*unit));
    let (unit, word) = unit.unwrap_or(&(1, "ms"));
    format!("\"{}{word}\"", ms / unit)
}

pub(super) fn absolute(
    node: &Node,
    key: &'static str,
    problems: &mut Vec<Problem>,
) -> Option<PathBuf> {
    let text = node.text(key)?;
    if !Path::new(&text.value).is_absolute() {
        let what = format!("\"{}\" is no whole path", text.value);
        let remedy = format!("begin with a slash: \"/{}\"", text.value.trim_start_matches("./"));
        problems.push(Problem::new(text.from.span(), what, remedy));
        return None;
    }
    Some(text.value.into())
}

/// A program is run as it is named, without a shell.
pub(super) fn program(command: &At<Vec<At<String>>>, problems: &mut Vec<Problem>) -> bool {
    let first = command.value.first();
    if first.is_some_and(|first| Path::new(&first.value).is_absolute()) {
        return true;
    }
    let (at, what) = match first {
        Some(first) => (first.from.span(), format!("\"{}\" is no whole path", first.value)),
        None => (command.from.span(), "there is no program".into()),
    };
    let remedy = "a whole path and its arguments, as [\"/usr/local/bin/check\", \"--fast\"]";
    problems.push(Problem::new(at, what, remedy));
    false
}

fn database(table: &Node, problems: &mut Vec<Problem>) -> Database {
    required(table, "engine", "\"mariadb\"", problems);
    let unit = table.text("unit").and_then(|u| unit_name(&u, problems)).unwrap_or_default();
    let socket = absolute(table, "socket", problems).unwrap_or_default();
    let longest = (Span::millis(60_000), Span::millis(7 * 86_400_000));
    let longest = within(table, "start-within", longest, problems);
    let stuck = (Span::millis(10_000), Span::millis(3_600_000));
    let stuck = within(table, "start-stuck-after", stuck, problems);
    let start = StartBounds { longest, stuck };
    let events = table.truth("events").unwrap_or(true);
    let copies = copies(table, problems);
    Database { unit, socket, port: port(table, 3306), events, start, copies }
}

fn copies(table: &Node, problems: &mut Vec<Problem>) -> Copies {
    let default = Copies::default();
    let number = |key, default: u64| {
        table.whole(key).and_then(|n| u64::try_from(n.value).ok()).unwrap_or(default)
    };
    let bounds = (Span::millis(0), Span::millis(366 * 86_400_000));
    let keep_for = within(table, "keep-copies-for", bounds, problems);
    Copies {
        keep: number("keep-copies", default.keep as u64) as usize,
        keep_for: std::time::Duration::from_nanos(keep_for.0),
        in_place: table.truth("copy-in-place").unwrap_or(false),
        rate: number("copy-rate", default.rate) << 20,
    }
}

/// What moves with the virtual IPs; what belongs to the other topology is a mistake.
fn topology(file: &Node, problems: &mut Vec<Problem>) -> Option<Topology> {
    if !shared::is_shared(file) {
        if shared::refuse(file, problems) {
            return None;
        }
        let database = table(file, "database", "a table with engine = \"mariadb\"", problems)?;
        return Some(Topology::Replicated(self::database(database, problems)));
    }
    if let Some(database) = file.table("database") {
        let what = "[database] is the replicated one, and the topology is shared-data";
        let remedy = "its kind under [stack.database], and its unit as a [[service]]";
        problems.push(Problem::new(database.from.span(), what, remedy));
    }
    let stack = table(file, "stack", "a table with hostname, data and directories", problems)?;
    shared::stack(stack, problems).map(|stack| Topology::SharedData(Box::new(stack)))
}

fn services(file: &Node, database: Option<&str>, problems: &mut Vec<Problem>) -> Vec<Service> {
    let on_shared = shared::is_shared(file);
    let mut services: Vec<Service> = Vec::new();
    for node in file.list("service") {
        node.truth("enabled");
        let unit_at = required(node, "unit", "\"nginx.service\"", problems);
        let name_at = required(node, "name", "a name for people", problems);
        let start_within = (Span::millis(100), Span::millis(3_600_000));
        let start_within = within(node, "start-within", start_within, problems);
        let grace = match node.span("stop-grace") {
            Some(_) => within(node, "stop-grace", (Span::ZERO, Span::millis(3_600_000)), problems),
            // Elsewhere the other node has all services up, and serves sooner than one that is started again.
            None => Span::millis(if on_shared { 60_000 } else { 5_000 }),
        };
        let belongings = shared::belongings(node, on_shared, problems);
        let (Some(unit_at), Some(name_at)) = (unit_at, name_at) else { continue };
        let name = name(&name_at, "a service's name", problems);
        let unit = match on_shared {
            true => shared::unit_name(&unit_at, problems),
            false => unit_name(&unit_at, problems),
        };
        let (Some(unit), Some(name)) = (unit, name) else { continue };
        let names = belongings.instead.iter().map(|other| &other.unit).chain([&unit]);
        let taken = names.into_iter().any(|unit| {
            services.iter().any(|s| s.has(unit)) || database.is_some_and(|d| d == unit)
        });
        if taken {
            let what = format!("the unit {unit} is managed twice");
            problems.push(Problem::new(unit_at.from.span(), what, "name each unit once"));
        }
        if services.iter().any(|s| s.name == name) {
            let what = format!("there are two services called {name}");
            let remedy = "give each a name of its own";
            problems.push(Problem::new(name_at.from.span(), what, remedy));
        }
        let weight = weight(node);
        services.push(Service { name, unit, weight, start_within, grace, belongings });
    }
    services
}

pub(super) fn weight(node: &Node) -> Weight {
    match node.text("weight") {
        Some(weight) if weight.value == "degraded" => Weight::Degraded,
        Some(_) | None => Weight::Vital,
    }
}

fn unit_name(text: &At<String>, problems: &mut Vec<Problem>) -> Option<String> {
    let stem = text.value.strip_suffix(".service").unwrap_or_default();
    let letters = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if !stem.is_empty() && stem.chars().all(letters) {
        return Some(text.value.clone());
    }
    let what = format!("\"{}\" is no name of a service unit", text.value);
    let full = "its full name: \"nginx.service\"";
    problems.push(Problem::new(text.from.span(), what, full));
    None
}

fn policy(file: &Node, problems: &mut Vec<Problem>) -> Policy {
    let default = Policy::default();
    let patience = file.table("database").and_then(|table| table.span("lock-patience"));
    let lock_patience = patience.map_or(default.lock_patience, |patience| patience.value);
    let database = file.table("database");
    let every = database.as_ref().and_then(|table| table.span("verify-every"));
    let duty = database.as_ref().and_then(|table| table.whole("verify-duty"));
    let verify_every = every.map_or(default.verify_every, |every| every.value);
    let duty = duty.and_then(|duty| u8::try_from(duty.value).ok());
    let verify_duty = duty.unwrap_or(default.verify_duty);
    let default = Policy { lock_patience, verify_every, verify_duty, ..default };
    let Some(table) = file.table("policy") else { return default };
    let span = |key| table.span(key).map(|s| s.value);
    let policy = Policy {
        hold_down: span("hold-down").unwrap_or(default.hold_down),
        tries: table
            .whole("tries")
            .and_then(|t| u32::try_from(t.value).ok())
            .unwrap_or(default.tries),
        pause_first: span("pause-first").unwrap_or(default.pause_first),
        pause_most: span("pause-most").unwrap_or(default.pause_most),
        settled: span("settled").unwrap_or(default.settled),
        lock_patience,
        verify_every,
        verify_duty,
        fence_silent: table.truth("fence-silent").unwrap_or(default.fence_silent),
    };
    if policy.pause_first > policy.pause_most {
        let at = table.span("pause-first").map_or(0..0, |p| p.from.span());
        let what = format!(
            "the first pause of {} is longer than the longest of {}",
            length(policy.pause_first),
            length(policy.pause_most)
        );
        problems.push(Problem::new(at, what, "a shorter pause-first, or a longer pause-most"));
    }
    if policy.pause_first < Span::millis(10) {
        let at = table.span("pause-first").map_or(0..0, |p| p.from.span());
        let what = "without a pause a service that cannot start is started in a hot loop";
        problems.push(Problem::new(at, what, "at least \"10ms\"; \"500ms\" is the default"));
    }
    let fenced = file.named("node").iter().any(|(_, node)| node.table("fence").is_some());
    if policy.fence_silent && !fenced {
        let at = table.from.span();
        let what = "fence-silent is on, and no node has a fence";
        let remedy = "add [node.NAME.fence] to each node, or leave fence-silent out";
        problems.push(Problem::new(at, what, remedy));
    }
    policy
}

/// Section 6, clear (c): a proof is only a watchdog that is fed while the right runs, and not otherwise. In a pair an
/// active whose agent begins anew while its peer is dead has no right for as long as the peer is: it would be reset
/// although all is well.
fn watchdog(file: &Node, table: &Node, problems: &mut Vec<Problem>) -> Option<Watchdog> {
    if shared::is_pair(file) {
        let what = "[watchdog] in a pair: an active whose agent begins anew while the other host is off would be reset by it";
        let remedy = "leave [watchdog] out; RuntimeWatchdogSec= of systemd resets a host that hangs; or add a witness \
                      (witness = true in a third [node.NAME])";
        problems.push(Problem::new(table.from.span(), what, remedy));
    }
    required(table, "device", "\"/dev/watchdog\"", problems);
    let device = absolute(table, "device", problems);
    let timeout = within(table, "timeout", WATCHDOG, problems);
    let guest_is_never_frozen = table.truth(GUEST_IS_NEVER_FROZEN).unwrap_or(false);
    Some(Watchdog { device: device?, timeout, guest_is_never_frozen })
}

fn timing(file: &Node, problems: &mut Vec<Problem>) -> Option<(Proposed, &'static str)> {
    let table = file.table("timing")?;
    let preset = word(table, "preset", super::keys::PRESETS);
    let span = |key| table.span(key).map(|s| s.value).unwrap_or_default();
    let proposed = Proposed {
        timing: Timing { ttl: span("ttl"), margin: span("margin"), drift_ppm: DRIFT_PPM },
        pace: Pace {
            renewal: span("renewal"),
            report: span("report"),
            suspicion: span("suspicion"),
            observe: span("observe"),
            switchover_max: span("switchover-max"),
        },
        budget: Budget {
            swap: span("swap"),
            swap_refused: span("swap-refused"),
            drain: span("drain"),
        },
    };
    let pair = shared::is_pair(file);
    if pair != (proposed.timing.ttl == UNTIL_RELEASED) {
        let at = table.span("ttl").map_or(0..0, |t| t.from.span());
        let (what, remedy) = match pair {
            true => (
                "of two nodes without a witness a right lasts until it is released",
                "leave `ttl` out",
            ),
            false => {
                ("a right without end is for two nodes without a witness", "a length, as \"700ms\"")
            }
        };
        problems.push(Problem::new(at, what, remedy));
        return None;
    }
    for broken in timing::check(&proposed, &Measured::default(), "") {
        // Told at the likeliest of the keys that somebody wrote.
        let written =
            broken.keys.iter().filter_map(|key| table.get(key)).find_map(|at| match &at.from {
                Origin::File(span) => Some(span.clone()),
                Origin::Profile(_) | Origin::Preset(_) | Origin::Default => None,
            });
        let what = format!("{} (preset \"{preset}\")", broken.what);
        problems.push(Problem::new(written.unwrap_or(0..0), what, broken.remedy));
    }
    Some((proposed, preset))
}

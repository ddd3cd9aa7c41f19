//! The configuration once it is valid, and the rules that make it so.

use super::fragment::{At, DatabaseFragment, Fragment, NodeFragment, ServiceFragment};
use super::merge::{Merged, TimingMerged};
use super::problem::Problem;
use regent_core::id::NodeId;
use regent_core::spec::{Pace, Policy, ServiceSpec, Spec};
use regent_core::state::Timing;
use regent_core::time::Span;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;

/// The port of agents and witness, unless the file names another.
pub const PORT: u16 = 4817;

/// How long systemd and the agent need until a killed agent handles its first input: `RestartSec` and the
/// start, which the lab measures.
const RESTART: Span = Span::millis(120);

/// The longest tick of a kernel that Debian builds (CONFIG_HZ=100).
const TICK: Span = Span::millis(10);

/// The rate by which others wait longer, in parts per million: twice the error of CLOCK_MONOTONIC_RAW is 200
/// at most (C4), so this is ample.
const DRIFT_PPM: u32 = 10_000;

/// Everything the agent knows of its cluster before it has read the register.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// The cluster's name.
    pub cluster: String,
    /// The profile's name.
    pub profile: &'static str,
    /// The virtual IP.
    pub vip: Vip,
    /// Every member, in the order of their numbers.
    pub members: Vec<Member>,
    /// The database.
    pub database: Database,
    /// The services, numbered by their place.
    pub services: Vec<Service>,
    /// The timing that `regent init` writes into the register; afterwards the register's holds.
    pub timing: Timing,
    /// This node's own pace.
    pub pace: Pace,
}

/// The virtual IP.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Vip {
    /// The address.
    pub address: IpAddr,
    /// The length of its prefix.
    pub prefix: u8,
}

/// A member of the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    /// Its number, never reused.
    pub id: NodeId,
    /// Its name, also in its certificate.
    pub name: String,
    /// Where its agent listens.
    pub address: SocketAddr,
    /// It votes and runs no resources.
    pub witness: bool,
    /// Where it carries the virtual IP.
    pub interface: String,
}

/// The database of every node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Database {
    /// Its systemd unit.
    pub unit: String,
    /// Its Unix socket.
    pub socket: PathBuf,
    /// The port that its replica connects to.
    pub port: u16,
}

/// A service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// Its name for people.
    pub name: String,
    /// Its systemd unit.
    pub unit: String,
}

impl Settings {
    /// The member of this name.
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|m| m.name == name)
    }

    /// The member of this number.
    pub fn member_by_id(&self, id: NodeId) -> Option<&Member> {
        self.members.iter().find(|m| m.id == id)
    }

    /// The name of this number, or the number if it has none.
    pub fn name(&self, id: NodeId) -> String {
        self.member_by_id(id).map_or_else(|| id.to_string(), |m| m.name.clone())
    }

    /// The virtual IP with its prefix.
    pub fn vip_text(&self) -> String {
        format!("{}/{}", self.vip.address, self.vip.prefix)
    }

    /// What core is to know.
    pub fn spec(&self) -> Spec {
        Spec {
            nodes: self
                .members
                .iter()
                .filter(|m| !m.witness)
                .map(|m| (m.id, m.name.clone()))
                .collect(),
            services: self.services.iter().map(|s| ServiceSpec::vital(&s.name)).collect(),
            probes: Vec::new(),
            policy: Policy::default(),
            pace: self.pace,
        }
    }
}

/// Checks everything and tells every mistake; none if one of them leaves a gap.
pub(super) fn validate(merged: Merged, problems: &mut Vec<Problem>) -> Option<Settings> {
    let Merged { fragment, profile, timing } = merged;
    let cluster = required(&fragment.cluster, "cluster", "a name for the cluster", 0..0, problems)
        .and_then(|c| name(&c, "the cluster's name", problems));
    let (vip, interface) = vip(&fragment, problems);
    let members = members(&fragment, interface.as_deref(), vip.as_ref(), problems);
    let database = database(fragment.database.as_ref(), problems);
    let services = services(&fragment.services, database.as_ref(), problems);
    check_timing(&timing, profile, problems);
    Some(Settings {
        cluster: cluster?,
        profile,
        vip: vip?,
        members: members?,
        database: database?,
        services,
        timing: Timing { ttl: timing.ttl.value, margin: timing.margin.value, drift_ppm: DRIFT_PPM },
        pace: Pace {
            renewal: timing.renewal.value,
            report: timing.report.value,
            suspicion: timing.suspicion.value,
            observe: timing.observe.value,
            switchover_max: timing.switchover_max.value,
        },
    })
}

fn required<T: Clone>(
    value: &Option<At<T>>,
    key: &str,
    example: &str,
    table: Range<usize>,
    problems: &mut Vec<Problem>,
) -> Option<At<T>> {
    if value.is_none() {
        let what = format!("`{key}` is missing");
        problems.push(Problem::new(table, what, format!("add `{key}`: {example}")));
    }
    value.clone()
}

/// A name that can stand in a certificate and in a file name (RFC 1035 2.3.1, digits first allowed).
fn name(text: &At<String>, what: &str, problems: &mut Vec<Problem>) -> Option<String> {
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
    problems.push(Problem::new(text.span.clone(), what, remedy));
    None
}

fn vip(fragment: &Fragment, problems: &mut Vec<Problem>) -> (Option<Vip>, Option<String>) {
    let Some(table) =
        required(&fragment.vip, "[vip]", "a table with address and interface", 0..0, problems)
    else {
        return (None, None);
    };
    let example = "\"10.77.0.100/24\"";
    let address = required(&table.value.address, "address", example, table.span.clone(), problems);
    let interface = table.value.interface.as_ref().and_then(|i| interface_name(i, problems));
    let Some(address) = address else { return (None, interface) };
    let parsed = address.value.split_once('/').and_then(|(ip, prefix)| {
        let ip: IpAddr = ip.parse().ok()?;
        let prefix: u8 = prefix.parse().ok()?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        (prefix <= most && !ip.is_unspecified() && !ip.is_loopback() && !ip.is_multicast())
            .then_some(Vip { address: ip, prefix })
    });
    if parsed.is_none() {
        let what = format!("\"{}\" is no virtual IP", address.value);
        let remedy = format!("an address with the length of its prefix: {example}");
        problems.push(Problem::new(address.span, what, remedy));
    }
    (parsed, interface)
}

/// A name that the kernel takes for an interface (IFNAMSIZ is 16 with the end mark).
fn interface_name(text: &At<String>, problems: &mut Vec<Problem>) -> Option<String> {
    let good = (1..=15).contains(&text.value.len())
        && text.value.chars().all(|c| c.is_ascii_graphic() && c != '/' && c != ':');
    if !good {
        let what = format!("\"{}\" is no name of an interface", text.value);
        problems.push(Problem::new(text.span.clone(), what, "see the names in: ip -br link"));
        return None;
    }
    Some(text.value.clone())
}

fn members(
    fragment: &Fragment,
    interface: Option<&str>,
    vip: Option<&Vip>,
    problems: &mut Vec<Problem>,
) -> Option<Vec<Member>> {
    let asked = fragment.vip.as_ref().is_some_and(|v| v.value.interface.is_some());
    let before = problems.len();
    let mut members: Vec<Member> = Vec::new();
    let mut ids: BTreeMap<u16, String> = BTreeMap::new();
    let mut addresses: BTreeMap<SocketAddr, String> = BTreeMap::new();
    let port = port(&fragment.port, PORT, problems);
    for (written, node) in &fragment.nodes {
        let Some(member) = member(written, node, port, interface, asked, problems) else {
            continue;
        };
        if let Some(other) = ids.insert(member.id.0, member.name.clone()) {
            let at = node.id.as_ref().map_or(written.span.clone(), |i| i.span.clone());
            let what = format!("{} has the number {} of {other}", member.name, member.id.0);
            problems.push(Problem::new(at, what, "give it a number that no node ever had"));
        }
        if let Some(other) = addresses.insert(member.address, member.name.clone()) {
            let at = node.address.as_ref().map_or(written.span.clone(), |a| a.span.clone());
            let what = format!("{} has the address of {other}", member.name);
            problems.push(Problem::new(at, what, "give each node its own address"));
        }
        if vip.is_some_and(|v| v.address == member.address.ip()) {
            let at = node.address.as_ref().map_or(written.span.clone(), |a| a.span.clone());
            let what = format!("{} has the virtual IP as its own address", member.name);
            problems.push(Problem::new(at, what, "give it a fixed address beside the virtual IP"));
        }
        members.push(member);
    }
    members.sort_by_key(|m| m.id);
    let witnesses = members.iter().filter(|m| m.witness).count();
    if problems.len() == before && (witnesses, members.len()) != (1, 3) {
        let at = fragment.nodes.first().map_or(0..0, |(n, _)| n.span.clone());
        let what = format!(
            "{} nodes and {witnesses} witnesses: a quorum here is two of two nodes and one witness",
            members.len() - witnesses
        );
        let remedy = "two tables [node.NAME], and one more with witness = true";
        problems.push(Problem::new(at, what, remedy));
    }
    (problems.len() == before).then_some(members)
}

fn member(
    written: &At<String>,
    node: &NodeFragment,
    port: u16,
    interface: Option<&str>,
    asked: bool,
    problems: &mut Vec<Problem>,
) -> Option<Member> {
    let name = name(written, "a node's name", problems);
    let id = required(
        &node.id,
        "id",
        "a number of its own from 1 to 65535",
        written.span.clone(),
        problems,
    )
    .and_then(|id| match u16::try_from(id.value) {
        Ok(number) if number > 0 => Some(NodeId(number)),
        Ok(_) | Err(_) => {
            let what = format!("{} is no node's number", id.value);
            problems.push(Problem::new(id.span, what, "a number from 1 to 65535"));
            None
        }
    });
    let example = "\"10.77.0.11\"";
    let address = required(&node.address, "address", example, written.span.clone(), problems)
        .and_then(|a| match socket_address(&a.value, port) {
            Some(address) => Some(address),
            None => {
                let what = format!("\"{}\" is no address of a node", a.value);
                let remedy = format!("its fixed IP address, with a port only if needed: {example}");
                problems.push(Problem::new(a.span, what, remedy));
                None
            }
        });
    let witness = node.witness.as_ref().is_some_and(|w| w.value);
    let own = node.interface.as_ref().and_then(|i| interface_name(i, problems));
    let interface = own.or_else(|| interface.map(String::from));
    if interface.is_none() && !witness && !asked && node.interface.is_none() {
        let what =
            format!("on which interface {} carries the virtual IP is not said", written.value);
        let remedy = "add `interface` to [vip], or to this node where it has another name";
        problems.push(Problem::new(written.span.clone(), what, remedy));
    }
    Some(Member {
        id: id?,
        name: name?,
        address: address?,
        witness,
        interface: interface.unwrap_or_default(),
    })
}

fn socket_address(text: &str, port: u16) -> Option<SocketAddr> {
    let address = text
        .parse::<SocketAddr>()
        .ok()
        .or_else(|| text.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, port)))?;
    (!address.ip().is_unspecified() && !address.ip().is_multicast()).then_some(address)
}

fn port(written: &Option<At<i64>>, default: u16, problems: &mut Vec<Problem>) -> u16 {
    let Some(written) = written else { return default };
    match u16::try_from(written.value) {
        Ok(port) if port > 0 => port,
        Ok(_) | Err(_) => {
            let what = format!("{} is no port", written.value);
            problems.push(Problem::new(written.span.clone(), what, "a number from 1 to 65535"));
            default
        }
    }
}

fn database(
    written: Option<&At<DatabaseFragment>>,
    problems: &mut Vec<Problem>,
) -> Option<Database> {
    let example = "a table with engine = \"mariadb\"";
    let table = required(&written.cloned(), "[database]", example, 0..0, problems)?;
    let engine =
        required(&table.value.engine, "engine", "\"mariadb\"", table.span.clone(), problems);
    if let Some(engine) = engine.filter(|e| e.value != "mariadb") {
        let what = format!("the engine \"{}\" is not known", engine.value);
        problems.push(Problem::new(engine.span, what, "\"mariadb\" is, from 10.11"));
    }
    let unit = match &table.value.unit {
        None => "mariadb.service".into(),
        Some(unit) => unit_name(unit, problems)?,
    };
    let socket = table.value.socket.as_ref().map(|s| s.value.as_str());
    let port = port(&table.value.port, 3306, problems);
    Some(Database { unit, socket: socket.unwrap_or("/run/mysqld/mysqld.sock").into(), port })
}

fn services(
    written: &[At<ServiceFragment>],
    database: Option<&Database>,
    problems: &mut Vec<Problem>,
) -> Vec<Service> {
    let mut services: Vec<Service> = Vec::new();
    for service in written {
        let span = &service.span;
        let unit =
            required(&service.value.unit, "unit", "\"nginx.service\"", span.clone(), problems);
        let named =
            required(&service.value.name, "name", "a name for people", span.clone(), problems);
        let (Some(unit_at), Some(name_at)) = (unit, named) else { continue };
        let name = name(&name_at, "a service's name", problems);
        let (Some(unit), Some(name)) = (unit_name(&unit_at, problems), name) else { continue };
        let taken =
            services.iter().any(|s| s.unit == unit) || database.is_some_and(|d| d.unit == unit);
        if taken {
            let what = format!("the unit {unit} is managed twice");
            problems.push(Problem::new(unit_at.span, what, "name each unit once"));
        }
        if services.iter().any(|s| s.name == name) {
            let what = format!("there are two services called {name}");
            problems.push(Problem::new(name_at.span, what, "give each a name of its own"));
        }
        services.push(Service { name, unit });
    }
    services
}

fn unit_name(text: &At<String>, problems: &mut Vec<Problem>) -> Option<String> {
    let stem = text.value.strip_suffix(".service").unwrap_or_default();
    let letters = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if !stem.is_empty() && stem.chars().all(letters) {
        return Some(text.value.clone());
    }
    let what = format!("\"{}\" is no name of a service unit", text.value);
    problems.push(Problem::new(text.span.clone(), what, "its full name: \"nginx.service\""));
    None
}

/// The two sums that keep a takeover inside the wait and a restart inside the right, and the bounds of C4.
fn check_timing(t: &TimingMerged, profile: &str, problems: &mut Vec<Problem>) {
    let ms = |s: Span| s.as_millis();
    let place = |candidates: &[&At<Span>]| {
        candidates.iter().map(|c| c.span.clone()).find(|s| !s.is_empty()).unwrap_or(0..0)
    };
    let mut refuse = |at: Range<usize>, what: String, remedy: &str| {
        problems.push(Problem::new(at, format!("{what} (profile \"{profile}\")"), remedy));
    };
    let (ttl, margin, renewal, swap) = (t.ttl.value, t.margin.value, t.renewal.value, t.swap.value);
    if [ttl, margin, renewal, t.report.value, t.suspicion.value, swap].contains(&Span::ZERO) {
        let at = place(&[&t.ttl, &t.margin, &t.renewal, &t.report, &t.suspicion, &t.swap]);
        return refuse(at, "a length of time is zero".into(), "give each a length above zero");
    }

    let takeover = t.suspicion.value + swap + swap + t.drain.value;
    let wait = ttl.widened(DRIFT_PPM).less(renewal);
    if takeover >= wait {
        refuse(
            place(&[&t.suspicion, &t.drain, &t.swap, &t.renewal, &t.ttl]),
            format!(
                "a takeover would outlast the wait: suspicion {} + 2 swaps of {} + drain {} = {} ms, \
                 and ttl {} * (1 + drift) - renewal {} = {} ms",
                ms(t.suspicion.value),
                ms(swap),
                ms(t.drain.value),
                ms(takeover),
                ms(ttl),
                ms(renewal),
                ms(wait)
            ),
            "a longer ttl, or a shorter suspicion",
        );
    }

    let restart = RESTART + t.swap_refused.value;
    let left = ttl.less(margin).less(renewal).less(swap);
    if restart >= left {
        refuse(
            place(&[&t.swap_refused, &t.margin, &t.renewal, &t.ttl]),
            format!(
                "a restart of the agent would outlast its right: restart {} + swap after a refusal {} = {} ms, \
                 and ttl {} - margin {} - renewal {} - swap {} = {} ms",
                ms(RESTART),
                ms(t.swap_refused.value),
                ms(restart),
                ms(ttl),
                ms(margin),
                ms(renewal),
                ms(swap),
                ms(left)
            ),
            "a longer ttl, or a shorter renewal",
        );
    }

    let slewed = Span(ttl.0 / 10) + TICK;
    if margin < slewed {
        refuse(
            place(&[&t.margin, &t.ttl]),
            format!(
                "the margin of {} ms is below ttl / 10 + one kernel tick = {} ms [C4]",
                ms(margin),
                ms(slewed)
            ),
            "a longer margin: kernel timers may be slewed by a tenth",
        );
    }
    if t.suspicion.value < Span(t.report.value.0 * 3) {
        refuse(
            place(&[&t.suspicion, &t.report]),
            format!(
                "the suspicion after {} ms is below three reports of {} ms",
                ms(t.suspicion.value),
                ms(t.report.value)
            ),
            "a longer suspicion: one late report is no death",
        );
    }
}

//! Probes: from what was written to what the prober runs and core counts.

use super::keys::{COMPANIONS, KINDS};
use super::probe::{Disk, File, Http, Invalid, Kind, Least, Sql};
use super::problem::Problem;
use super::settings::{Probe, Service, VIP_INTERFACE, What};
use super::shared::unit_name;
use super::tree::{At, Node};
use super::validate::{absolute, interface_name, length, name, program, weight};
use regent_core::health::{Counts, Subject, Weight};
use regent_core::observe::ServiceId;
use regent_core::time::Span;
use std::net::IpAddr;
use std::str::FromStr;

/// More often than this a probe is a load, and more seldom it is no monitoring.
const INTERVAL: (Span, Span) = (Span::millis(50), Span::millis(3_600_000));
/// Shorter than this a busy host fails it, and longer a thread of the prober is lost to it.
const TIMEOUT: (Span, Span) = (Span::millis(10), Span::millis(60_000));
/// A hang is found after `fall` time-outs: beyond this many intervals the interval says nothing.
const TIMEOUT_INTERVALS: u64 = 3;
/// As many as one prober runs with less than a twentieth of a core.
const MOST: usize = 1000;

/// Every probe: those of the services in their order, of the database, of the host.
pub(super) fn probes(file: &Node, services: &[Service], problems: &mut Vec<Problem>) -> Vec<Probe> {
    let mut all: Vec<(At<String>, Probe)> = Vec::new();
    let add = |node: &Node,
               reader: Reader<'_>,
               all: &mut Vec<(At<String>, Probe)>,
               problems: &mut Vec<Problem>| {
        for probe in node.list("probe") {
            let Some((name, probe)) = reader.probe(probe, problems) else { continue };
            if all.iter().any(|(_, other)| other.name == probe.name) {
                let what = format!("there are two probes called {}", probe.name);
                let remedy = "give each a name of its own: name = \"...\"";
                problems.push(Problem::new(name.from.span(), what, remedy));
            }
            all.push((name, probe));
        }
    };
    for node in file.list("service") {
        let named = node.text("name").map(|n| n.value).unwrap_or_default();
        let Some(index) = services.iter().position(|s| s.name == named) else { continue };
        let service = services.get(index);
        let subject = Subject::Service(ServiceId(u16::try_from(index).unwrap_or(u16::MAX)));
        add(node, Reader { subject, service }, &mut all, problems);
    }
    if let Some(database) = file.table("database") {
        add(database, Reader { subject: Subject::Database, service: None }, &mut all, problems);
    }
    add(file, Reader { subject: Subject::Host, service: None }, &mut all, problems);
    if all.len() > MOST {
        let at = all.get(MOST).map_or(0..0, |(name, _)| name.from.span());
        let what = format!("{} probes are more than one prober runs", all.len());
        problems.push(Problem::new(at, what, format!("at most {MOST}")));
    }
    all.into_iter().map(|(_, probe)| probe).collect()
}

#[derive(Clone, Copy)]
struct Reader<'s> {
    subject: Subject,
    service: Option<&'s Service>,
}

impl Reader<'_> {
    fn probe(self, node: &Node, problems: &mut Vec<Problem>) -> Option<(At<String>, Probe)> {
        let before = problems.len();
        node.truth("enabled");
        let kind = kind(node, problems)?;
        let named = node.text("name")?;
        let name = name(&named, "a probe's name", problems)?;
        companions(node, kind, problems);
        let what = what(node, kind, problems);
        self.belongs(node, kind, problems);
        let (weight, counts) = (weight(node), counts(node));
        self.weighs(node, weight, counts, problems);
        let interval = super::validate::within(node, "interval", INTERVAL, problems);
        let timeout = super::validate::within(node, "timeout", TIMEOUT, problems);
        if problems.len() == before && timeout.0 > interval.0 * TIMEOUT_INTERVALS {
            let places = ["timeout", "interval"].map(|key| node.span(key).map(|s| s.from.span()));
            let written = places.into_iter().flatten().find(|at| !at.is_empty());
            let at = written.unwrap_or(node.from.span());
            let what = format!(
                "the timeout of {} is longer than {TIMEOUT_INTERVALS} intervals of {}: a hang would be found after {} time-outs, \
                 and the interval says nothing",
                length(timeout),
                length(interval),
                number(node, "fall")
            );
            let remedy =
                format!("a timeout of at most {}", length(Span(interval.0 * TIMEOUT_INTERVALS)));
            problems.push(Problem::new(at, what, remedy));
        }
        let (rise, fall) = (number(node, "rise"), number(node, "fall"));
        let subject = self.subject;
        let unit = node.text("unit").and_then(|unit| unit_name(&unit, problems));
        let what = what.filter(|_| problems.len() == before)?;
        let probe =
            Probe { name, subject, weight, counts, interval, timeout, rise, fall, unit, what };
        Some((named, probe))
    }

    /// Some kinds make sense in one place only.
    fn belongs(self, node: &Node, kind: &'static str, problems: &mut Vec<Problem>) {
        let at = node.get(kind).map_or(0..0, |k| k.from.span());
        match (kind, self.subject) {
            ("sql", Subject::Service(_) | Subject::Host) => {
                let what = "an SQL probe asks the cluster's own database";
                problems.push(Problem::new(at, what, "put it under [[database.probe]]"));
            }
            ("clock", Subject::Service(_) | Subject::Database) => {
                let what = "the clock is the host's";
                problems.push(Problem::new(at, what, "put it under [[probe]]"));
            }
            _ => {}
        }
    }

    /// What cannot be: a failure that is to move the virtual IP, and cannot.
    fn weighs(self, node: &Node, weight: Weight, counts: Counts, problems: &mut Vec<Problem>) {
        let at = node.get("weight").map_or(0..0, |w| w.from.span());
        let at = if at.is_empty() { node.from.span() } else { at };
        if weight == Weight::Vital && counts == Counts::Standby {
            let what = "a vital probe moves the virtual IP, and a standby does not have it";
            let remedy = "weight = \"degraded\", or role = \"always\" or \"active\"";
            problems.push(Problem::new(at, what, remedy));
        } else if let Some(service) = self.service
            && weight == Weight::Vital
            && service.weight == Weight::Degraded
        {
            let what = format!("the probe is vital, and its service {} is degraded", service.name);
            let remedy = "make the service vital as well, or the probe degraded";
            problems.push(Problem::new(at, what, remedy));
        }
        if node.text("sql").is_some_and(|s| s.value == "write") && counts != Counts::Active {
            let at = node.get("role").map_or(0..0, |r| r.from.span());
            let what = "a standby's database is read-only: the probe would always fail there";
            problems.push(Problem::new(at, what, "role = \"active\", or sql = \"client\""));
        }
    }
}

/// Exactly one key says what is looked at.
fn kind(node: &Node, problems: &mut Vec<Problem>) -> Option<&'static str> {
    let written: Vec<&'static str> =
        KINDS.into_iter().filter(|k| node.values.iter().any(|(key, _)| key == k)).collect();
    match written[..] {
        [kind] => Some(kind),
        [first, second, ..] => {
            let at = node.values.iter().find(|(k, _)| *k == second).map(|(_, at)| at.from.span());
            let what = format!("the probe looks at two things: `{first}` and `{second}`");
            let remedy = "one probe for each";
            problems.push(Problem::new(at.unwrap_or(0..0), what, remedy));
            None
        }
        [] => {
            let what = match node.text("name") {
                Some(name) => format!(
                    "what the probe {} looks at is not said, and neither a profile nor a default has one of this name",
                    name.value
                ),
                None => "what the probe looks at is not said".into(),
            };
            let remedy = format!("add exactly one of {}", KINDS.join(", "));
            problems.push(Problem::new(node.from.span(), what, remedy));
            None
        }
    }
}

fn companions(node: &Node, kind: &str, problems: &mut Vec<Problem>) {
    for (key, of) in COMPANIONS {
        if of != kind
            && let Some((_, at)) = node.values.iter().find(|(k, _)| *k == key)
        {
            let what = format!("`{key}` means nothing to a probe of {kind}");
            let remedy = format!("leave it out: it belongs to {of}");
            problems.push(Problem::new(at.from.span(), what, remedy));
        }
    }
}

fn counts(node: &Node) -> Counts {
    match node.text("role").map(|r| r.value).as_deref() {
        Some("active") => Counts::Active,
        Some("standby") => Counts::Standby,
        Some(_) | None => Counts::Always,
    }
}

fn number(node: &Node, key: &'static str) -> u8 {
    node.whole(key).and_then(|n| u8::try_from(n.value).ok()).unwrap_or(1)
}

/// A text of the probes' own grammar.
fn parsed<T: FromStr<Err = Invalid>>(
    node: &Node,
    key: &'static str,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    let text = node.text(key)?;
    match text.value.parse() {
        Ok(value) => Some(value),
        Err(Invalid(what)) => {
            // Its words carry the example: "... is not X, as Y".
            let remedy = match what.rsplit_once(" as ") {
                Some((_, example)) => format!("write it as {example}"),
                None => "see docs/operating/configuration.md".into(),
            };
            problems.push(Problem::new(text.from.span(), what, remedy));
            None
        }
    }
}

fn what(node: &Node, kind: &'static str, problems: &mut Vec<Problem>) -> Option<What> {
    let kind = match kind {
        "tcp" => Kind::Tcp(parsed(node, "tcp", problems)?),
        "greeting" => Kind::Greeting(parsed(node, "greeting", problems)?),
        "dns" => Kind::Dns(parsed(node, "dns", problems)?),
        "http" => Kind::Http(http(node, problems)?),
        "sql" => Kind::Sql(match node.text("sql")?.value.as_str() {
            "write" => Sql::Write,
            "client" => Sql::Client,
            _ => Sql::Read,
        }),
        "file" => Kind::File(File {
            path: absolute(node, "file", problems)?,
            newer_than_ms: node.span("newer-than").map(|s| s.value.as_millis()),
        }),
        "exec" => {
            let command = node.texts("exec")?;
            if !program(&command, problems) {
                return None;
            }
            Kind::Exec(command.value.into_iter().map(|c| c.value).collect())
        }
        "disk" => {
            let path = absolute(node, "disk", problems)?;
            let least: Least = parsed(node, "least", problems)?;
            Kind::Disk(Disk { path, least })
        }
        "memory" => Kind::Memory(parsed(node, "memory", problems)?),
        "link" => {
            let text = node.text("link")?;
            if text.value == VIP_INTERFACE {
                return Some(What::VipLink);
            }
            Kind::Link(interface_name(&text, problems)?)
        }
        "gateway" => {
            let text = node.text("gateway")?;
            let Ok(address) = text.value.parse::<IpAddr>() else {
                let what = format!("\"{}\" is no address of a router", text.value);
                let remedy = "see: ip route show default";
                problems.push(Problem::new(text.from.span(), what, remedy));
                return None;
            };
            Kind::Gateway(address)
        }
        // The only one left.
        _ => {
            let most = node.span("clock")?;
            if most.value == Span::ZERO {
                let what = "no two clocks are that near";
                problems.push(Problem::new(most.from.span(), what, "\"500ms\" is the default"));
                return None;
            }
            return Some(What::Clock(most.value));
        }
    };
    Some(What::Run(kind))
}

fn http(node: &Node, problems: &mut Vec<Problem>) -> Option<Http> {
    let url: super::probe::Url = parsed(node, "http", problems)?;
    let ca = absolute(node, "ca", problems);
    if let Some(written) = node.text("ca")
        && !url.secure
    {
        let what = "`ca` is given, and the address is no https://";
        problems.push(Problem::new(written.from.span(), what, "leave it out, or ask by https://"));
    }
    let status = node.whole("status").and_then(|s| u16::try_from(s.value).ok());
    let body = node.text("body").map(|b| b.value);
    Some(Http { url, status, body, ca })
}

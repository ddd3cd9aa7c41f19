//! Checks of what belongs to the shared-data topology.

use super::problem::Problem;
use super::profile::DEBIAN_POSTGRESQL;
use super::settings::{Member, Service};
use super::stack::{Belongings, Database, Install, Mount, Stack, under};
use super::steps::{EngineKind, Listener, Run, Unit};
use super::tree::{At, Node, Origin};
use super::validate::{absolute, missing, program, required, within};
use regent_core::stack::Failover;
use regent_core::time::Span;
use std::path::{Component, Path, PathBuf};

/// How long a step may take to go down.
const STOP: (Span, Span) = (Span::millis(100), Span::millis(3_600_000));
/// If nothing is written.
const STOP_DEFAULT: Span = Span::millis(30_000);
/// An installer takes minutes, and not days.
const INSTALL: (Span, Span) = (Span::millis(1_000), Span::millis(86_400_000));
/// Shorter than this a pause of the host is taken for isolation; longer nobody would wait for.
const ISOLATION: (Span, Span) = (Span::millis(1_000), Span::millis(600_000));
/// Shorter than this every pause of a file server moves the stack; longer nobody would wait for.
const DATA_PATIENCE: (Span, Span) = (Span::millis(1_000), Span::millis(3_600_000));
/// A host needs time to stop.
const SETTLE: (Span, Span) = (Span::millis(1_000), Span::millis(600_000));
/// Linux: HOST_NAME_MAX.
const HOST_NAME: usize = 64;
/// proc_pid_comm(5): TASK_COMM_LEN without the end mark.
const COMM: usize = 15;
/// What the host itself cannot do without: a link there would be its end.
const OF_HOST: [&str; 16] = [
    "/", "/bin", "/boot", "/dev", "/etc", "/home", "/lib", "/proc", "/root", "/run", "/sbin",
    "/sys", "/tmp", "/usr", "/var", "/var/lib",
];
/// Regent's own.
const OF_REGENT: [&str; 3] = ["/etc/regent", "/var/lib/regent", "/run/regent"];

/// One set of data, and everything on it on the active node alone.
pub(super) fn is_shared(file: &Node) -> bool {
    file.text("topology").is_some_and(|t| t.value == "shared-data")
}

/// Two nodes on shared data, and no witness.
pub(super) fn is_pair(file: &Node) -> bool {
    is_shared(file) && !file.named("node").iter().any(|(_, n)| n.truth("witness") == Some(true))
}

/// What has no place in the replicated topology; true if nothing else is to be judged.
pub(super) fn refuse(file: &Node, problems: &mut Vec<Problem>) -> bool {
    let is_xcat = file.text("profile").is_some_and(|p| p.value == "xcat");
    if let Some(topology) = file.text("topology").filter(|_| is_xcat) {
        let what = "profile xcat is made for topology = \"shared-data\"";
        let remedy = "leave `topology` out, or take profile = \"generic\" and write the services";
        problems.push(Problem::new(topology.from.span(), what, remedy));
        return true;
    }
    if let Some(stack) = file.table("stack") {
        let what = "[stack] is for shared data, and the topology is replicated";
        let remedy = "write topology = \"shared-data\" at the top, or leave the table out";
        problems.push(Problem::new(stack.from.span(), what, remedy));
    }
    false
}

/// `[stack]`.
pub(super) fn stack(table: &Node, problems: &mut Vec<Problem>) -> Option<Stack> {
    let failover = match table.text("failover").map(|f| f.value).as_deref() {
        Some("automatic") => Failover::Automatic,
        Some(_) | None => Failover::ByHand,
    };
    let hostname = required(table, "hostname", "\"mgmt\", the name of the virtual IP", problems)
        .and_then(|name| host_name(&name, problems));
    let data = required(table, "data", "\"/HA-data\", the shared directory", problems)
        .and_then(|_| whole(table, "data", problems));
    if let (Some(data), Some(at)) = (&data, table.text("data")) {
        let inside =
            OF_REGENT.iter().any(|own| data.starts_with(own) || Path::new(own).starts_with(data));
        if inside || OF_HOST.contains(&data.to_string_lossy().as_ref()) {
            let what =
                format!("{} cannot be the shared directory: this host needs it", data.display());
            problems.push(Problem::new(
                at.from.span(),
                what,
                "a directory of its own, as \"/HA-data\"",
            ));
        }
    }
    let directories = directories(table, data.as_deref(), problems);
    let mounts: Vec<Mount> =
        table.list("mount").iter().filter_map(|node| mount(node, problems)).collect();
    let carry = carry(table, &directories, data.as_deref(), problems);
    let install = table.table("install").and_then(|node| install(node, problems));
    let (resolver, isolation, data_patience, settle) = (
        table.truth("resolver") == Some(true),
        within(table, "isolation", ISOLATION, problems),
        within(table, "data-patience", DATA_PATIENCE, problems),
        within(table, "settle", SETTLE, problems),
    );
    let database =
        table.table("database").and_then(|d| database(d, &directories, data.as_deref(), problems));
    Some(Stack {
        failover,
        hostname: hostname?,
        data: data?,
        directories,
        resolver,
        isolation,
        data_patience,
        settle,
        mounts,
        carry,
        install,
        database,
    })
}

/// A name as hostname(7) has it; a domain may follow.
fn host_name(text: &At<String>, problems: &mut Vec<Problem>) -> Option<String> {
    let label = |l: &str| {
        let letters = |c: char| c.is_ascii_alphanumeric() || c == '-';
        (1..=63).contains(&l.len())
            && l.chars().all(letters)
            && !l.starts_with('-')
            && !l.ends_with('-')
    };
    if text.value.len() <= HOST_NAME && text.value.split('.').all(label) {
        return Some(text.value.clone());
    }
    let what = format!("\"{}\" is no host name", text.value);
    let remedy = "letters, digits and inner hyphens, dots between the labels, at most 64 in all";
    problems.push(Problem::new(text.from.span(), what, remedy));
    None
}

/// A whole path without `.`, `..` or a slash at its end.
fn plain(text: &At<String>, problems: &mut Vec<Problem>) -> Option<PathBuf> {
    let path = PathBuf::from(&text.value);
    let parts: Vec<Component<'_>> = path.components().collect();
    let known = |c: &Component<'_>| matches!(c, Component::RootDir | Component::Normal(_));
    let rebuilt: PathBuf = parts.iter().collect();
    if path.is_absolute() && parts.iter().all(known) && rebuilt.as_os_str() == path.as_os_str() {
        return Some(path);
    }
    let what = format!("\"{}\" is no whole path", text.value);
    let remedy = "begin with a slash, leave out . and .., and end without a slash: \"/install\"";
    problems.push(Problem::new(text.from.span(), what, remedy));
    None
}

fn whole(node: &Node, key: &'static str, problems: &mut Vec<Problem>) -> Option<PathBuf> {
    plain(&node.text(key)?, problems)
}

fn directories(table: &Node, data: Option<&Path>, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let Some(written) = table.texts("directories") else { return Vec::new() };
    let mut all: Vec<PathBuf> = Vec::new();
    for text in &written.value {
        let Some(path) = plain(text, problems) else { continue };
        let mut tell = |what: String, remedy: &str| {
            problems.push(Problem::new(text.from.span(), what, remedy));
        };
        let shown = path.display();
        if OF_HOST.contains(&text.value.as_str()) {
            let what = format!("{shown} cannot be on the shared data: this host needs it");
            tell(what, "name the directories below it that the product uses");
        } else if OF_REGENT.iter().any(|own| path.starts_with(own)) {
            let what = format!("{shown} is Regent's own, and each node needs its own");
            tell(what, "leave it out");
        } else if data.is_some_and(|data| path.starts_with(data) || data.starts_with(&path)) {
            let what = format!("{shown} and the shared directory are one inside the other");
            tell(what, "name the path that programs use, as \"/install\"");
        } else if let Some(other) = all.iter().find(|o| path.starts_with(o) || o.starts_with(&path))
        {
            let what = match **other == path {
                true => format!("{shown} stands there twice"),
                false => format!("{shown} and {} are one inside the other", other.display()),
            };
            tell(what, "keep the outer one, or name two that are apart");
        } else {
            all.push(path);
        }
    }
    all
}

fn mount(node: &Node, problems: &mut Vec<Problem>) -> Option<Mount> {
    let source = required(node, "source", "\"/dev/vg0/ha\" or \"nas:/ha\"", problems);
    let on =
        required(node, "on", "\"/HA-data\"", problems).and_then(|_| whole(node, "on", problems));
    if let Some(source) = source.as_ref().filter(|s| s.value.is_empty()) {
        let what = "what is mounted is empty";
        problems.push(Problem::new(source.from.span(), what, "\"/dev/vg0/ha\" or \"nas:/ha\""));
    }
    let text = |key| node.text(key).map(|t| t.value);
    Some(Mount { source: source?.value, on: on?, fstype: text("fstype"), options: text("options") })
}

fn carry(
    table: &Node,
    directories: &[PathBuf],
    data: Option<&Path>,
    problems: &mut Vec<Problem>,
) -> Vec<String> {
    let Some(written) = table.table("carry").and_then(|c| c.texts("files")) else {
        return Vec::new();
    };
    let mut files: Vec<String> = Vec::new();
    for text in written.value {
        let Some(path) = plain(&text, problems) else { continue };
        let is_pattern = |p: &Path| p.to_string_lossy().contains(['*', '?', '[']);
        let shared =
            directories.iter().map(PathBuf::as_path).chain(data).find(|d| path.starts_with(d));
        if path.parent().is_some_and(is_pattern) {
            let what = format!("the pattern in \"{}\" is not in its last component", text.value);
            let remedy = "name each directory: \"/root/.ssh/*\"";
            problems.push(Problem::new(text.from.span(), what, remedy));
        } else if let Some(shared) = shared {
            let what =
                format!("{} is on the shared data already: {}", text.value, shared.display());
            problems.push(Problem::new(text.from.span(), what, "leave it out"));
        } else if files.contains(&text.value) {
            let what = format!("{} stands there twice", text.value);
            problems.push(Problem::new(text.from.span(), what, "name it once"));
        } else {
            files.push(text.value);
        }
    }
    files
}

fn install(node: &Node, problems: &mut Vec<Problem>) -> Option<Install> {
    let command = node.texts("command");
    if command.is_none() {
        missing(node, "command", "[\"/root/install-product\"]", problems);
    }
    let creates = required(node, "creates", "\"/opt/xcat/sbin/xcatd\"", problems)
        .and_then(|_| absolute(node, "creates", problems));
    let within = within(node, "within", INSTALL, problems);
    let command = command.filter(|command| program(command, problems))?;
    let command = command.value.into_iter().map(|word| word.value).collect();
    Some(Install { command, creates: creates?, within })
}

fn database(
    node: &Node,
    directories: &[PathBuf],
    data: Option<&Path>,
    problems: &mut Vec<Problem>,
) -> Option<Database> {
    let example = "\"postgresql\", \"mariadb\", \"mysql\" or \"sqlite\"";
    let kind_at = required(node, "kind", example, problems);
    let written = node.text("version");
    if let Some(version) = &written
        && (version.value.is_empty()
            || !version.value.chars().all(|c| c.is_ascii_digit() || c == '.'))
    {
        let what = format!("\"{}\" is no version of a database", version.value);
        problems.push(Problem::new(version.from.span(), what, "its major version, as \"15\""));
    }
    let shared = data?;
    let on_shared = |key: &'static str, default: Option<PathBuf>, problems: &mut Vec<Problem>| {
        let text = node.text(key);
        let path = match &text {
            Some(text) => plain(text, problems)?,
            None => default?,
        };
        if path.starts_with(shared) {
            return Some(path);
        }
        let found = directories.iter().any(|d| path.starts_with(d)).then(|| under(shared, &path));
        if found.is_none() {
            // A mistake in what the profile supplies is one in the directories.
            let own = text.as_ref().filter(|t| matches!(t.from, Origin::File(_)));
            let at = own.map(|t| t.from.span()).or(kind_at.as_ref().map(|k| k.from.span()));
            let what = format!("{} is not on the shared data", path.display());
            let remedy = "add the directory that has it to `directories` of [stack]";
            problems.push(Problem::new(at.unwrap_or(node.from.span()), what, remedy));
        }
        found
    };
    let cfgloc = on_shared("cfgloc", None, problems);
    let kind_at = kind_at.as_ref()?;
    // The word of a mistake has the first one in its place, whose directory nobody meant.
    if problems.iter().any(|p| p.at == kind_at.from.span()) {
        return None;
    }
    // The profile linked the directories of the distribution that this host has.
    let debian = directories.iter().any(|d| d.starts_with("/var/lib/postgresql"));
    let (kind, data) = match kind_at.value.as_str() {
        "postgresql" => (EngineKind::Postgresql, None),
        "sqlite" => (EngineKind::Sqlite, Some("/etc/xcat".into())),
        _ => (EngineKind::Mysql, Some(PathBuf::from("/var/lib/mysql"))),
    };
    let mut version = written.map(|v| v.value);
    if kind == EngineKind::Postgresql && debian {
        version.get_or_insert_with(|| DEBIAN_POSTGRESQL.into());
    }
    let postgresql = || match &version {
        Some(version) if debian => format!("/var/lib/postgresql/{version}/main").into(),
        Some(_) | None => PathBuf::from("/var/lib/pgsql/data"),
    };
    let data = on_shared("data", Some(data.unwrap_or_else(postgresql)), problems)?;
    Some(Database { kind, version, data, cfgloc })
}

/// What else a service on shared data is made of; in the other topology none of it may be written.
pub(super) fn belongings(node: &Node, on_shared: bool, problems: &mut Vec<Problem>) -> Belongings {
    if !on_shared {
        for key in super::keys::OF_STACK {
            if let Some((_, at)) = node.values.iter().find(|(k, _)| *k == key) {
                let what = format!("`{key}` means nothing in the replicated topology");
                let remedy = "leave it out, or write topology = \"shared-data\" at the top";
                problems.push(Problem::new(at.from.span(), what, remedy));
            }
        }
        return Belongings::default();
    }
    let kill = node.truth("kill") == Some(true);
    let of = unit(node, String::new(), kill, problems);
    let instead = node.list("instead").iter().filter_map(|other| {
        let name = required(other, "unit", "\"goconserver.service\"", problems)?;
        Some(unit(other, unit_name(&name, problems)?, kill, problems))
    });
    let instead: Vec<Unit> = instead.collect();
    let in_use = whole(node, "in-use", problems);
    let stop_within = match node.span("stop-within") {
        Some(_) => within(node, "stop-within", STOP, problems),
        None => STOP_DEFAULT,
    };
    Belongings {
        also: of.also,
        before: of.before,
        after: of.after,
        listeners: of.listeners,
        processes: of.processes,
        kill,
        stop_within,
        instead,
        in_use,
    }
}

/// What a service and each of those that do the same work have alike.
fn unit(node: &Node, name: String, kill: bool, problems: &mut Vec<Problem>) -> Unit {
    let texts = |key| node.texts(key).map(|t| t.value).unwrap_or_default();
    let process = |p: At<String>| p.value.chars().take(COMM).collect();
    Unit {
        unit: name,
        also: texts("also").iter().filter_map(|unit| unit_name(unit, problems)).collect(),
        before: commands(node, "before", problems),
        after: commands(node, "after", problems),
        listeners: texts("listeners").iter().filter_map(|l| listener(l, problems)).collect(),
        processes: texts("processes").into_iter().map(process).collect(),
        kill,
        ..Unit::default()
    }
}

/// A minus in front of a program as systemd.service(5) has it: its failure goes by.
fn commands(node: &Node, key: &'static str, problems: &mut Vec<Problem>) -> Vec<Run> {
    let mut runs = Vec::new();
    for command in node.commands(key) {
        let mut command = command.clone();
        let minus = command.value.first_mut().and_then(|first| {
            first.value.strip_prefix('-').map(String::from).map(|rest| first.value = rest)
        });
        if program(&command, problems) {
            let argv = command.value.into_iter().map(|word| word.value).collect();
            runs.push(Run { argv, may_fail: minus.is_some() });
        }
    }
    runs
}

fn listener(text: &At<String>, problems: &mut Vec<Problem>) -> Option<Listener> {
    let read = text.value.split_once('/').and_then(|(kind, port)| {
        let tcp = match kind {
            "tcp" => true,
            "udp" => false,
            _ => return None,
        };
        Some(Listener { tcp, port: port.parse().ok().filter(|p| *p != 0)? })
    });
    if read.is_none() {
        let what = format!("\"{}\" is no port of this host", text.value);
        problems.push(Problem::new(text.from.span(), what, "\"tcp/3001\" or \"udp/67\""));
    }
    read
}

/// A unit that can be started: a service, a socket, a path or a timer.
pub(super) fn unit_name(text: &At<String>, problems: &mut Vec<Problem>) -> Option<String> {
    let kinds = [".service", ".socket", ".path", ".timer"];
    let stem = kinds.iter().find_map(|kind| text.value.strip_suffix(kind)).unwrap_or_default();
    let letters = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    if !stem.is_empty() && stem.chars().all(letters) {
        return Some(text.value.clone());
    }
    let what = format!("\"{}\" is no name of a unit", text.value);
    let remedy = "its full name: \"named.service\", \"tftp.socket\"";
    problems.push(Problem::new(text.from.span(), what, remedy));
    None
}

/// The service that runs the server of the product's database.
pub(super) const DATABASE: &str = "database";

/// Services start in the order of the file: nothing may come before the database that it needs.
pub(super) fn check_order(file: &Node, services: &[Service], problems: &mut Vec<Problem>) {
    if !is_shared(file) {
        return;
    }
    let database = services.iter().position(|s| s.name == DATABASE);
    if let Some(first) = services.first()
        && database.is_some_and(|at| at != 0)
    {
        let at = file
            .list("service")
            .iter()
            .find(|s| s.text("name").is_some_and(|n| n.value == first.name))
            .map_or(0..0, |s| s.from.span());
        let what = format!("{} would be started before the database", first.name);
        problems.push(Problem::new(at, what, "write the service called database first"));
    }
}

/// What the members decide on.
pub(super) fn check_members(
    file: &Node,
    stack: &Stack,
    members: &[Member],
    problems: &mut Vec<Problem>,
) {
    let Some(table) = file.table("stack") else { return };
    let pair = members.iter().all(|m| !m.witness);
    if pair && stack.failover == Failover::Automatic {
        let at = table.text("failover").map_or(0..0, |f| f.from.span());
        let what = "two nodes alone cannot tell which of them is cut off";
        let remedy =
            "add a witness, a third [node.NAME] with witness = true; or failover = \"by-hand\"";
        problems.push(Problem::new(at, what, remedy));
    }
    let short = stack.hostname.split('.').next().unwrap_or_default();
    if let Some(member) = members.iter().find(|m| m.name == stack.hostname || m.name == short) {
        let at = table.text("hostname").map_or(0..0, |h| h.from.span());
        let what = format!("{} is the name of a node, and of the virtual IP", member.name);
        let remedy = "give the virtual IP a name of its own in DNS or /etc/hosts";
        problems.push(Problem::new(at, what, remedy));
    }
}

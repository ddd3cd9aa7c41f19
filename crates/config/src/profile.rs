//! Profiles: what a product's management node runs, so that nobody has to look it up. A profile is a piece of
//! configuration under the file: whatever the file says holds.

use super::keys;
use super::problem::Problem;
use super::tree::{At, Node, Origin, Value, read};

/// The major version of PostgreSQL in Debian 12.
pub(super) const DEBIAN_POSTGRESQL: &str = "15";

const FROM: Origin = Origin::Profile("xcat");

/// Which names a distribution gives to the units of the same programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// Debian, Ubuntu and their relatives.
    Debian,
    /// Red Hat Enterprise Linux and its relatives, SUSE as well.
    RedHat,
}

impl Family {
    /// The family that an os-release(5) text tells by ID and ID_LIKE; Debian if it does not say.
    pub fn of(os_release: &str) -> Family {
        let theirs = ["rhel", "fedora", "centos", "rocky", "almalinux", "suse", "sles", "opensuse"];
        let words = os_release
            .lines()
            .filter_map(|line| line.strip_prefix("ID=").or(line.strip_prefix("ID_LIKE=")))
            .flat_map(|value| value.trim_matches(['"', '\'']).split_whitespace());
        let mut words = words.map(str::to_ascii_lowercase);
        if words.any(|word| theirs.contains(&word.as_str())) {
            return Family::RedHat;
        }
        Family::Debian
    }
}

/// What the profile of this name supplies to this file, if it supplies anything.
pub(super) fn supplied(name: &str, family: Family, file: &Node) -> Option<Node> {
    let (name, text) = match name {
        "zstack" => ("zstack", include_str!("profiles/zstack.toml")),
        "xcat" => ("xcat", include_str!("profiles/xcat.toml")),
        _ => return None,
    };
    let mut problems: Vec<Problem> = Vec::new();
    let mut node = read(text, &keys::FILE, Some(name), &mut problems)?.node;
    assert!(problems.is_empty(), "the profile {name} is wrong: {problems:?}");
    if name == "xcat" {
        if family == Family::Debian {
            debian(&mut node);
        }
        let database = file.table("stack").and_then(|stack| stack.table("database"));
        let kind = database.and_then(|d| d.text("kind")).map(|k| k.value);
        let version = database.and_then(|d| d.text("version")).map(|v| v.value);
        let engine = kind.and_then(|kind| engine(&kind, version.as_deref(), family));
        add_database(&mut node, engine);
    }
    Some(node)
}

/// The profile has the names of Red Hat; Debian packages the same programs under others.
fn debian(node: &mut Node) {
    // The service, its unit, and those that could start it or run beside it.
    const UNITS: [(&str, &str, &[&str]); 4] = [
        ("xcatd", "xcatd.service", &["tftpd-hpa.service"]),
        ("named", "named.service", &["named-resolvconf.service"]),
        ("dhcpd", "isc-dhcp-server.service", &["isc-dhcp-server6.service"]),
        ("conserver", "conserver-server.service", &[]),
    ];
    for (name, unit, also) in UNITS {
        if let Some(service) = service(node, name) {
            set(service, "unit", Value::Text(unit.into()));
            set(service, "also", texts(also));
        }
    }
    if let Some(conserver) = service(node, "conserver") {
        // Debian builds it with a port of its own (README.Debian).
        set(conserver, "listeners", texts(&["tcp/3109"]));
        set_probe(conserver, "greeting", Value::Text("127.0.0.1:3109".into()));
        set_probed_unit(conserver, "conserver-server.service");
    }
    let carry = node.table_mut("stack").and_then(|stack| stack.table_mut("carry"));
    if let Some(Value::Texts(files)) =
        carry.and_then(|c| c.get_mut("files")).map(|at| &mut at.value)
    {
        let leases = files.iter_mut().filter(|f| f.value == "/var/lib/dhcpd/dhcpd.leases");
        leases.for_each(|file| file.value = "/var/lib/dhcp/dhcpd.leases".into());
    }
}

/// What belongs to one kind of database.
struct Engine {
    unit: String,
    also: &'static [&'static str],
    listener: &'static str,
    processes: &'static [&'static str],
    directories: &'static [&'static str],
    /// How its probe asks it.
    asks: (&'static str, Value),
}

/// The server says whether it takes clients; that needs no account, and no hang answers it.
const ASKS_POSTGRESQL: &[&str] = &["/usr/bin/pg_isready", "--quiet", "--timeout=3"];

/// None for SQLite, which is files in a directory of the product.
fn engine(kind: &str, version: Option<&str>, family: Family) -> Option<Engine> {
    let debian = family == Family::Debian;
    match kind {
        // postgresql.service of Debian starts nothing itself: its instances do, and which ones there are is found out
        // at boot, when the shared data are not there.
        "postgresql" if debian => Some(Engine {
            unit: format!("postgresql@{}-main.service", version.unwrap_or(DEBIAN_POSTGRESQL)),
            also: &["postgresql.service"],
            listener: "tcp/5432",
            processes: &["postgres"],
            directories: &["/var/lib/postgresql", "/etc/postgresql"],
            asks: ("exec", texts(ASKS_POSTGRESQL)),
        }),
        "postgresql" => Some(Engine {
            unit: "postgresql.service".into(),
            also: &[],
            listener: "tcp/5432",
            processes: &["postgres", "postmaster"],
            directories: &["/var/lib/pgsql"],
            asks: ("exec", texts(ASKS_POSTGRESQL)),
        }),
        "mariadb" | "mysql" => Some(Engine {
            unit: match (kind, debian) {
                ("mysql", true) => "mysql.service".into(),
                ("mysql", false) => "mysqld.service".into(),
                _ => "mariadb.service".into(),
            },
            also: match kind {
                "mariadb" => &["mariadb.socket", "mariadb-extra.socket"],
                _ => &[],
            },
            listener: "tcp/3306",
            processes: &["mariadbd", "mysqld"],
            directories: &["/var/lib/mysql"],
            // It speaks first, before anybody signs in.
            asks: ("greeting", Value::Text("127.0.0.1:3306".into())),
        }),
        _ => None,
    }
}

/// The database is the first service, and its directories are on the shared data.
fn add_database(node: &mut Node, engine: Option<Engine>) {
    let Some(engine) = engine else {
        if let Some(Value::List(services)) = node.get_mut("service").map(|at| &mut at.value) {
            services.retain(|s| s.text("name").is_none_or(|n| n.value != "database"));
        }
        return;
    };
    if let Some(database) = service(node, "database") {
        set(database, "unit", Value::Text(engine.unit));
        set(database, "also", texts(engine.also));
        set(database, "listeners", texts(&[engine.listener]));
        set(database, "processes", texts(engine.processes));
        let (kind, what) = engine.asks;
        set_probe(database, kind, what);
    }
    let stack = node.table_mut("stack");
    if let Some(Value::Texts(all)) =
        stack.and_then(|s| s.get_mut("directories")).map(|a| &mut a.value)
        && let Value::Texts(its) = texts(engine.directories)
    {
        all.extend(its);
    }
}

fn service<'n>(node: &'n mut Node, name: &str) -> Option<&'n mut Node> {
    let Value::List(services) = &mut node.get_mut("service")?.value else { return None };
    services.iter_mut().find(|s| s.text("name").is_some_and(|n| n.value == name))
}

fn set(node: &mut Node, key: &'static str, value: Value) {
    node.set(key, At { value, from: FROM });
}

/// What its probe looks at, and nothing else.
fn set_probe(service: &mut Node, key: &'static str, value: Value) {
    if let Some(Value::List(probes)) = service.get_mut("probe").map(|at| &mut at.value)
        && let Some(probe) = probes.first_mut()
    {
        probe.values.retain(|(other, _)| !keys::KINDS.contains(other));
        set(probe, key, value);
    }
}

/// The unit without which its first probe is not asked.
fn set_probed_unit(service: &mut Node, unit: &str) {
    if let Some(Value::List(probes)) = service.get_mut("probe").map(|at| &mut at.value)
        && let Some(probe) = probes.first_mut()
    {
        set(probe, "unit", Value::Text(unit.into()));
    }
}

fn texts(all: &[&str]) -> Value {
    Value::Texts(all.iter().map(|t| At { value: (*t).into(), from: FROM }).collect())
}

/// What of a profile is not in force, for people who would expect it.
pub fn caveat(profile: &str) -> Option<&'static str> {
    match profile {
        "xcat" => Some(
            "profile xcat: one set of data in [stack] data, and everything on it runs on the active node only; nothing \
             starts before `regent activate`, and what xCAT itself needs (site table, domain, networks) is xCAT's own \
             to set up",
        ),
        "zstack" => Some(
            "profile zstack: services, units and probes are in force; the virtual IP is put on by the native \
             driver unless [vip] driver = \"keepalived\" is written",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_tells_its_family() {
        assert_eq!(Family::of("ID=debian\n"), Family::Debian);
        assert_eq!(Family::of("ID=ubuntu\nID_LIKE=debian\n"), Family::Debian);
        assert_eq!(
            Family::of("NAME=x\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"),
            Family::RedHat
        );
        assert_eq!(Family::of("ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n"), Family::RedHat);
        assert_eq!(Family::of(""), Family::Debian);
    }
}

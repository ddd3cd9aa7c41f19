//! The configuration of the shared-data topology: what short files come to, for core and for the host's adapter.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::disallowed_methods, reason = "a test reads its files")]

use regent_config::profile::{Family, caveat};
use regent_config::steps::{EngineKind, Kind, Listener, Step, Unit};
use regent_config::timing::UNTIL_RELEASED;
use regent_config::{self as config, Settings, effective};
use regent_core::health::{Counts, Weight};
use regent_core::observe::ServiceId;
use regent_core::stack::Failover;
use regent_core::time::Span;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn text(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/config");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

fn read(text: &str, family: Family) -> Settings {
    config::parse("regent.toml", text, family).unwrap_or_else(|p| panic!("{p}"))
}

fn of_kind(kind: &str, family: Family) -> Settings {
    read(&text("shared.toml").replace("postgresql", kind), family)
}

fn steps(settings: &Settings) -> Vec<Step> {
    settings.steps(settings.stack().unwrap()).into_iter().map(|(_, step)| step).collect()
}

fn names(settings: &Settings) -> Vec<String> {
    steps(settings).into_iter().map(|step| step.name).collect()
}

fn unit(settings: &Settings, name: &str) -> Unit {
    let step = steps(settings).into_iter().find(|step| step.name == name).unwrap();
    let Kind::Unit(unit) = step.kind else { panic!("{name} is {:?}", step.kind) };
    unit
}

#[test]
fn the_profile_makes_a_whole_stack_of_a_short_file() {
    let settings = read(&text("shared.toml"), Family::Debian);
    assert_eq!(
        names(&settings),
        [
            "host name",
            "link /install",
            "link /etc/xcat",
            "link /root/.xcat",
            "link /tftpboot",
            "link /var/lib/postgresql",
            "link /etc/postgresql",
            "resolver",
            "carried files",
            "database check",
            "database",
            "xcatd",
            "named",
            "dhcpd",
            "conserver",
        ]
    );
    assert!(settings.database().is_none());
    assert_eq!(settings.timing.ttl, UNTIL_RELEASED);
    let all = steps(&settings);
    let link = Kind::Link { path: "/etc/xcat".into(), target: "/HA-data/etc/xcat".into() };
    assert_eq!(all[2].kind, link);
    let weights: Vec<Weight> = all.iter().map(|step| step.weight).collect();
    // They have nothing to serve on a management node that is new.
    assert_eq!(weights.iter().filter(|w| **w == Weight::Degraded).count(), 3);
    assert_eq!(weights[weights.len() - 3..], [Weight::Degraded; 3]);
    assert!(caveat("xcat").unwrap().contains("active node only"));
}

#[test]
fn core_and_the_adapter_number_the_same_steps() {
    for family in [Family::Debian, Family::RedHat] {
        for file in ["shared.toml", "full-shared.toml"] {
            let settings = read(&text(file), family);
            let spec = settings.spec().stack.unwrap();
            let cores: Vec<(String, Weight)> =
                spec.steps.iter().map(|s| (s.name.clone(), s.weight)).collect();
            let hosts: Vec<(String, Weight)> =
                steps(&settings).into_iter().map(|s| (s.name, s.weight)).collect();
            assert_eq!(cores, hosts);
            let services: Vec<ServiceId> = spec.steps.iter().filter_map(|s| s.service).collect();
            let expected: Vec<ServiceId> =
                (0..settings.services.len()).map(|id| ServiceId(id as u16)).collect();
            assert_eq!(services, expected);
            let units = steps(&settings).into_iter().filter(|s| matches!(s.kind, Kind::Unit(_)));
            assert_eq!(units.count(), services.len());
        }
    }
}

#[test]
fn units_are_called_as_the_distribution_calls_them() {
    let units = |settings: &Settings| -> Vec<String> {
        settings.services.iter().map(|s| s.unit.clone()).collect()
    };
    let debian = of_kind("postgresql", Family::Debian);
    assert_eq!(
        units(&debian),
        [
            "postgresql@15-main.service",
            "xcatd.service",
            "named.service",
            "isc-dhcp-server.service",
            "conserver-server.service",
        ]
    );
    assert_eq!(unit(&debian, "database").also, ["postgresql.service"]);
    assert_eq!(unit(&debian, "named").also, ["named-resolvconf.service"]);
    let redhat = of_kind("mysql", Family::RedHat);
    assert_eq!(
        units(&redhat),
        ["mysqld.service", "xcatd.service", "named.service", "dhcpd.service", "conserver.service",]
    );
    // It serves TFTP itself: the distribution's own stay down.
    assert_eq!(unit(&redhat, "xcatd").also, ["tftp.socket", "tftp.service"]);
    assert_eq!(unit(&debian, "xcatd").also, ["tftpd-hpa.service"]);
    let mariadb = of_kind("mariadb", Family::Debian);
    let database = unit(&mariadb, "database");
    assert_eq!(database.unit, "mariadb.service");
    assert_eq!(database.also, ["mariadb.socket", "mariadb-extra.socket"]);
    assert_eq!(database.listeners, [Listener { tcp: true, port: 3306 }]);
}

#[test]
fn one_of_two_console_servers_runs_on_either_distribution() {
    for (family, first) in
        [(Family::Debian, "conserver-server.service"), (Family::RedHat, "conserver.service")]
    {
        let settings = of_kind("sqlite", family);
        let consoles = unit(&settings, "conserver");
        let units: Vec<&str> = consoles.all().map(|one| one.unit.as_str()).collect();
        assert_eq!(units, [first, "goconserver.service"]);
        let other = consoles.instead.first().unwrap();
        assert_eq!(other.listeners, [Listener { tcp: true, port: 12430 }]);
        assert!(other.kill, "as the service");
        // By its path on the shared data: it is read before the links are there.
        assert_eq!(consoles.in_use.as_deref(), Some(Path::new("/HA-data/etc/xcat/console.lock")));
        let probes = settings.probes.iter().filter_map(|probe| probe.unit.as_deref());
        assert_eq!(probes.collect::<Vec<_>>(), [first, "goconserver.service"]);
    }
    let twice =
        text("shared.toml") + "\n[[service]]\nname = \"mine\"\nunit = \"goconserver.service\"\n";
    let error = config::parse("regent.toml", &twice, Family::Debian).unwrap_err().to_string();
    assert!(error.contains("goconserver.service is managed twice"), "{error}");
}

#[test]
fn each_database_brings_its_directories_and_sqlite_no_service() {
    let links = |settings: &Settings| -> Vec<String> {
        names(settings).iter().filter_map(|n| n.strip_prefix("link ").map(String::from)).collect()
    };
    let engine = |settings: &Settings| {
        steps(settings).into_iter().find_map(|step| {
            let Kind::Database(engine) = step.kind else { return None };
            Some(engine)
        })
    };
    let redhat = of_kind("postgresql", Family::RedHat);
    assert!(links(&redhat).contains(&"/var/lib/pgsql".to_owned()));
    let found = engine(&redhat).unwrap();
    assert_eq!(found.data, Path::new("/HA-data/var/lib/pgsql/data"));
    assert_eq!(found.cfgloc.as_deref(), Some(Path::new("/HA-data/etc/xcat/cfgloc")));
    assert_eq!(found.version, None);
    let debian = engine(&of_kind("postgresql", Family::Debian)).unwrap();
    assert_eq!(debian.data, Path::new("/HA-data/var/lib/postgresql/15/main"));
    assert_eq!(debian.version.as_deref(), Some("15"));
    let newer = text("shared.toml").replace("\"postgresql\"", "\"postgresql\"\nversion = \"17\"");
    let newer = read(&newer, Family::Debian);
    assert_eq!(unit(&newer, "database").unit, "postgresql@17-main.service");
    assert_eq!(engine(&newer).unwrap().data, Path::new("/HA-data/var/lib/postgresql/17/main"));
    let sqlite = of_kind("sqlite", Family::Debian);
    assert!(sqlite.services.iter().all(|s| s.name != "database"));
    assert_eq!(links(&sqlite), ["/install", "/etc/xcat", "/root/.xcat", "/tftpboot"]);
    let found = engine(&sqlite).unwrap();
    assert_eq!((found.kind, found.data), (EngineKind::Sqlite, "/HA-data/etc/xcat".into()));
    let maria = of_kind("mariadb", Family::Debian);
    assert!(links(&maria).contains(&"/var/lib/mysql".to_owned()));
}

#[test]
fn a_stack_is_written_in_full_by_hand_as_well() {
    let settings = read(&text("full-shared.toml"), Family::RedHat);
    assert_eq!(
        names(&settings),
        [
            "mount /HA-data",
            "host name",
            "link /srv/product",
            "link /var/lib/pgsql",
            "resolver",
            "carried files",
            "installation",
            "database check",
            "database",
            "product",
        ]
    );
    let stack = settings.spec().stack.unwrap();
    assert_eq!(stack.failover, Failover::Automatic);
    assert!(stack.fenced);
    assert_eq!((stack.isolation, stack.settle), (Span::millis(4000), Span::millis(6000)));
    assert_eq!(stack.patience, Span::millis(20_000));
    assert_eq!(settings.timing.ttl, Span::millis(700));
    let product = unit(&settings, "product");
    assert_eq!(product.also, ["productd.socket"]);
    assert_eq!(product.before[0].argv, ["/usr/bin/productctl", "prepare"]);
    let may_fail: Vec<bool> = product.after.iter().map(|run| run.may_fail).collect();
    assert_eq!(may_fail, [false, true]);
    assert_eq!(product.after[1].argv, ["/usr/bin/productctl", "greet"]);
    assert_eq!(product.processes, ["a-very-long-pro"]);
    assert!(product.kill);
    let all = steps(&settings);
    assert_eq!(all[6].start_within, Duration::from_secs(600));
    assert_eq!(all[9].start_within, Duration::from_secs(60));
    assert_eq!(all[9].stop_within, Duration::from_secs(20));
}

#[test]
fn a_right_lasts_until_it_is_released_only_where_no_third_could_tell() {
    let pair = text("shared.toml");
    let third = "\n[node.w1]\nid = 3\naddress = \"10.77.0.13\"\nwitness = true\n";
    let with_witness = read(&format!("{pair}{third}"), Family::Debian);
    assert_eq!(with_witness.timing.ttl, Span::millis(700));
    assert!(!with_witness.spec().stack.unwrap().pair);
    let pair = read(&pair, Family::Debian);
    assert_eq!(pair.timing.ttl, UNTIL_RELEASED);
    assert!(pair.spec().stack.unwrap().pair);
}

#[test]
fn services_are_probed_on_the_active_node_only() {
    let settings = read(&text("shared.toml"), Family::Debian);
    let probes: Vec<(&str, Counts, Weight)> =
        settings.probes.iter().map(|p| (p.name.as_str(), p.counts, p.weight)).collect();
    assert!(probes[..7].iter().all(|(_, counts, _)| *counts == Counts::Active), "{probes:?}");
    let (vital, degraded) = (Weight::Vital, Weight::Degraded);
    let of_services: Vec<(&str, Weight)> = probes[..7].iter().map(|p| (p.0, p.2)).collect();
    assert_eq!(
        of_services,
        [
            ("database-answers", vital),
            ("xcatd-requests", vital),
            ("xcatd-installs", vital),
            ("named-answers", degraded),
            ("dhcpd-answers", degraded),
            ("conserver-answers", degraded),
            ("goconserver-answers", degraded),
        ]
    );
    assert_eq!(probes[7], ("disk-data", Counts::Active, Weight::Degraded));
    assert_eq!(probes.len(), 12);
    assert_eq!(settings.without_answer(), Vec::<&str>::new());
    let bare = "\n[[service]]\nname = \"site\"\nunit = \"site.service\"\n\
                [[service.probe]]\ntcp = \"127.0.0.1:80\"\n";
    let bare = read(&(text("shared.toml") + bare), Family::Debian);
    assert_eq!(bare.without_answer(), ["site"]);
}

#[test]
fn how_a_silent_node_is_proven_clear_is_told() {
    let pair = read(&text("shared.toml"), Family::Debian);
    assert!(pair.proof().unwrap().starts_with("failover by hand"));
    let fenced = read(&text("full-shared.toml"), Family::RedHat);
    assert!(fenced.proof().unwrap().ends_with("by its fence"));
    let unfenced = text("full-shared.toml")
        .replace("[node.mn1.fence]\ncommand = [\"/etc/regent/fence-hook\"]", "");
    let none = read(&unfenced, Family::RedHat).proof().unwrap();
    assert!(none.starts_with("warning: ") && none.contains("stops and asks"), "{none}");
    let watched = format!("{unfenced}\n[watchdog]\ndevice = \"/dev/watchdog\"\n");
    let watched = read(&watched, Family::RedHat).proof().unwrap();
    assert!(
        watched.contains("twice 10 s and 6 s to settle") && watched.contains("is no guest"),
        "{watched}"
    );
    let vouched = format!(
        "{unfenced}\n[watchdog]\ndevice = \"/dev/watchdog\"\nproof-in-a-guest-that-is-never-frozen = true\n"
    );
    let vouched = read(&vouched, Family::RedHat).proof().unwrap();
    assert!(vouched.contains("you vouch for it"), "{vouched}");
}

#[test]
fn a_watchdog_is_refused_in_a_pair_with_its_place_and_a_way_out() {
    let watchdog = "\n[watchdog]\ndevice = \"/dev/watchdog\"\n";
    let pair = format!("{}{watchdog}", text("shared.toml"));
    let refused = config::parse("regent.toml", &pair, Family::Debian).unwrap_err().to_string();
    let line = pair.lines().position(|line| line == "[watchdog]").unwrap() + 1;
    assert!(refused.contains(&format!("regent.toml:{line}:")), "{refused}");
    assert!(refused.contains("in a pair") && refused.contains("RuntimeWatchdogSec"), "{refused}");
    // With a witness the right of an active comes back without the other host.
    let third = "\n[node.w1]\nid = 3\naddress = \"10.77.0.13\"\nwitness = true\n";
    let watched = read(&format!("{}{third}{watchdog}", text("shared.toml")), Family::Debian);
    assert!(!watched.watchdog.unwrap().guest_is_never_frozen);
}

#[test]
fn what_the_profile_supplies_can_be_overridden_and_is_shown_as_such() {
    let own = "\n[[service]]\nname = \"conserver\"\nenabled = false\n\
               [[service]]\nname = \"ntp\"\nunit = \"chrony.service\"\nweight = \"degraded\"\n";
    let file = format!("{}{own}", text("shared.toml"));
    let settings = read(&file, Family::Debian);
    let services: Vec<&str> = settings.services.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(services, ["database", "xcatd", "named", "dhcpd", "ntp"]);
    let entries = effective::effective("regent.toml", &file, Family::Debian)
        .unwrap_or_else(|p| panic!("{p}"));
    let shown = |key: &str| {
        let entry = entries.iter().find(|e| e.key == key).unwrap_or_else(|| panic!("{key}"));
        format!("{} <- {}", entry.value, entry.source)
    };
    assert_eq!(shown("topology"), "\"shared-data\" <- profile xcat");
    assert_eq!(shown("timing.ttl"), "\"until released\" <- default");
    assert_eq!(shown("stack.hostname"), "\"mgmt\" <- regent.toml:18");
    assert_eq!(shown("stack.failover"), "\"by-hand\" <- default");
    assert_eq!(
        shown("service.named.after"),
        "[[\"/opt/xcat/sbin/makedns\", \"-n\"]] <- profile xcat"
    );
}

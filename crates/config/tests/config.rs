//! The configuration: what is accepted, and how each mistake is told.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![expect(clippy::disallowed_methods, reason = "a test reads its files")]

use regent_config::edit::{EditError, edit, propose, unset};
use regent_config::effective::{self, Change};
use regent_config::profile::Family;
use regent_config::settings::{Driver, PORT, What};
use regent_config::timing::{Measured, Proposed, check};
use regent_config::{self as config, Effect, schema};
use regent_core::health::{Counts, ProbeId, Subject, Weight};
use regent_core::id::NodeId;
use regent_core::observe::ServiceId;
use regent_core::time::Span;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

fn text(name: &str) -> String {
    std::fs::read_to_string(folder().join(name)).unwrap()
}

#[test]
fn a_short_file_is_enough() {
    let settings = config::parse("good.toml", &text("good.toml"), Family::Debian).unwrap();
    let names: Vec<&str> = settings.members.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, ["mn1", "mn2", "w1"]);
    assert_eq!(settings.members[0].address, format!("10.77.0.11:{PORT}").parse().unwrap());
    assert_eq!(settings.timing.ttl, Span::millis(700));
    assert_eq!(settings.timing.margin, Span::millis(90));
    assert_eq!(settings.spec().nodes, [(NodeId(1), "mn1".into()), (NodeId(2), "mn2".into())]);
    let spec = settings.spec();
    let services: Vec<&str> = spec.services.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(services, ["management", "ui"]);
}

#[test]
fn every_timing_preset_keeps_its_sums() {
    for preset in ["default", "cautious", "fast"] {
        let file = format!("{}[timing]\npreset = \"{preset}\"\n", text("good.toml"));
        let settings = config::parse(preset, &file, Family::Debian).unwrap();
        assert_eq!(settings.preset, preset);
    }
}

#[test]
fn a_timing_of_its_own_overrides_the_preset() {
    let file = format!("{}[timing]\nttl = \"1.2s\"\nmargin = \"130ms\"\n", text("good.toml"));
    let settings = config::parse("own", &file, Family::Debian).unwrap();
    assert_eq!(settings.timing.ttl, Span::millis(1200));
    assert_eq!(settings.pace.renewal, Span::millis(150));
}

#[test]
fn a_node_may_have_a_port_and_an_interface_of_its_own() {
    let file =
        text("good.toml").replace("\"10.77.0.12\"", "\"10.77.0.12:5000\"\ninterface = \"eth7\"");
    let settings = config::parse("own", &file, Family::Debian).unwrap();
    assert_eq!(settings.members[1].address.port(), 5000);
    let interfaces: Vec<&str> = settings.members.iter().map(|m| m.interface.as_str()).collect();
    assert_eq!(interfaces, ["host0", "eth7", "host0"]);
}

#[test]
fn every_mistake_is_told_with_place_and_remedy() {
    let mut seen = 0;
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder().join("mistakes")).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|f| f.extension().is_some_and(|e| e == "toml")) {
        let name = file.file_name().unwrap().to_str().unwrap();
        let written = std::fs::read_to_string(file).unwrap();
        let problems = config::parse(name, &written, Family::Debian).expect_err(name).to_string();
        let golden = file.with_extension("txt");
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&golden, &problems).unwrap();
        }
        let expected = std::fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(problems, expected, "{name}");
        seen += 1;
    }
    assert!(seen >= 10, "only {seen} files of mistakes were found");
}

fn effective_of(text: &str) -> Vec<effective::Entry> {
    effective::effective("regent.toml", text, Family::RedHat).unwrap_or_else(|p| panic!("{p}"))
}

fn probes_of(text: &str) -> Vec<(String, Weight, Counts, u64, u64, u8)> {
    let settings = config::parse("own", text, Family::RedHat).unwrap_or_else(|p| panic!("{p}"));
    let probe = |p: &config::settings::Probe| {
        let (interval, timeout) = (p.interval.as_millis(), p.timeout.as_millis());
        (p.name.clone(), p.weight, p.counts, interval, timeout, p.fall)
    };
    settings.probes.iter().map(probe).collect()
}

#[test]
fn without_a_word_the_database_and_the_host_are_probed() {
    use {Counts::*, Weight::*};
    let expected = [
        ("database-read", Vital, Always, 200, 250, 3),
        ("database-write", Vital, Active, 1000, 2000, 3),
        ("database-client", Degraded, Standby, 1000, 1000, 3),
        ("disk-data", Degraded, Always, 5000, 2000, 3),
        ("disk-regent", Degraded, Always, 5000, 2000, 3),
        ("memory", Degraded, Always, 5000, 2000, 3),
        ("link", Vital, Always, 200, 250, 3),
        ("clock", Degraded, Always, 5000, 2000, 3),
    ];
    let expected: Vec<_> = expected.map(|(n, w, c, i, t, f)| (n.to_owned(), w, c, i, t, f)).into();
    assert_eq!(probes_of(&text("bare.toml")), expected);
    let file = format!("gateway = \"10.77.0.1\"\n{}", text("bare.toml"));
    assert_eq!(probes_of(&file).last().unwrap().0, "gateway");
}

#[test]
fn the_link_of_the_virtual_ip_is_vital_in_both_topologies_unless_the_file_says_otherwise() {
    let links = |file: &str| {
        let settings = config::parse("own", file, Family::RedHat);
        let settings = settings.unwrap_or_else(|p| panic!("{p}"));
        let link = |p: &&config::settings::Probe| p.what == What::VipLink;
        let known: Vec<(String, Weight)> =
            settings.probes.iter().filter(link).map(|p| (p.name.clone(), p.weight)).collect();
        let spec = settings.spec().probes.into_iter().filter(|p| p.vip_link);
        assert_eq!(spec.map(|p| (p.name, p.weight)).collect::<Vec<_>>(), known);
        known
    };
    let vital = [("link".to_owned(), Weight::Vital)];
    assert_eq!(links(&text("bare.toml")), vital);
    assert_eq!(links(&text("shared.toml")), vital);
    let bare = text("bare.toml");
    let other = "[[probe]]\nname = \"uplink\"\nlink = \"@vip\"\n";
    assert_eq!(links(&format!("{bare}{other}")), [("uplink".to_owned(), Weight::Vital)]);
    let tells = "[[probe]]\nname = \"link\"\nweight = \"degraded\"\n";
    assert_eq!(links(&format!("{bare}{tells}")), [("link".to_owned(), Weight::Degraded)]);
    let off = "[[probe]]\nname = \"link\"\nenabled = false\n";
    assert_eq!(links(&format!("{bare}{off}")), []);
}

#[test]
fn probes_are_numbered_services_first_and_a_written_one_takes_the_place_of_its_default() {
    let settings = config::parse("full", &text("full.toml"), Family::Debian).unwrap();
    let names: Vec<&str> = settings.probes.iter().map(|p| p.name.as_str()).collect();
    let expected = [
        "management-http",
        "management-tcp",
        "reports-file",
        "reports-exec",
        "database-read",
        "database-write",
        "database-client",
        "disk-data",
        "memory",
        "link",
        "clock",
        "gateway",
        "backbone",
        "ssh",
        "names",
    ];
    assert_eq!(names, expected);
    assert_eq!(settings.probes_of(ServiceId(1)), [ProbeId(2), ProbeId(3)]);
    assert_eq!(settings.spec().probes.len(), settings.probes.len());
    let prober = settings.prober(&settings.members[0]);
    let numbers: Vec<u16> = prober.iter().map(|p| p.id.0).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 14]);
    let clocks: Vec<_> = settings.clocks().map(|(id, _, most)| (id, most)).collect();
    assert_eq!(clocks, [(ProbeId(10), Span::millis(100))]);
    assert_eq!(settings.probes[9].what, What::VipLink);
    assert_eq!(settings.probes[2].subject, Subject::Service(ServiceId(1)));
    // A degraded service's probe is degraded, and patient.
    assert_eq!(settings.probes[3].weight, Weight::Degraded);
    assert_eq!(settings.probes[3].interval, Span::millis(5000));
    assert!(matches!(settings.driver, Driver::Keepalived(k) if k.router_id == 77));
}

#[test]
fn a_profile_is_overridden_by_name_key_by_key() {
    let own = "[[service]]\nname = \"management\"\nunit = \"zstack-mini.service\"\n\
               [[service.probe]]\nname = \"management-port\"\ninterval = \"100ms\"\n\
               [[service.probe]]\nname = \"management-ready\"\nenabled = false\n\
               [[service]]\nname = \"ui\"\nenabled = false\n\
               [[service]]\nname = \"billing\"\nunit = \"billing.service\"\n";
    let file = format!("profile = \"zstack\"\n{}{own}", text("bare.toml"));
    let settings = config::parse("own", &file, Family::RedHat).unwrap_or_else(|p| panic!("{p}"));
    let services: Vec<(&str, &str)> =
        settings.services.iter().map(|s| (s.name.as_str(), s.unit.as_str())).collect();
    assert_eq!(services, [("management", "zstack-mini.service"), ("billing", "billing.service")]);
    assert_eq!(settings.services[0].start_within, Span::millis(600_000));
    let probe = &settings.probes[0];
    assert_eq!((probe.name.as_str(), probe.interval), ("management-port", Span::millis(100)));
    assert_eq!(settings.probes[1].name, "database-read");
    assert_eq!(settings.driver, Driver::Native);
}

#[test]
fn every_value_says_where_it_came_from() {
    let file = format!("profile = \"zstack\"\n{}[timing]\nmargin = \"100ms\"\n", text("bare.toml"));
    let mut entries = effective_of(&file);
    let source = |entries: &[effective::Entry], key: &str| {
        let entry = entries.iter().find(|e| e.key == key).unwrap_or_else(|| panic!("{key}"));
        format!("{} <- {}", entry.value, entry.source)
    };
    assert_eq!(source(&entries, "cluster"), "\"lab\" <- regent.toml:2");
    assert_eq!(source(&entries, "port"), "4817 <- default");
    assert_eq!(source(&entries, "service.management.unit"), "\"zstack.service\" <- profile zstack");
    assert_eq!(source(&entries, "timing.margin"), "\"100ms\" <- regent.toml:19");
    assert_eq!(source(&entries, "timing.ttl"), "\"700ms\" <- preset default");
    assert_eq!(source(&entries, "probe.link.link"), "\"@vip\" <- default");
    let timing = regent_core::state::Timing {
        ttl: Span::millis(1000),
        margin: Span::millis(100),
        drift_ppm: 10_000,
    };
    effective::with_register(&mut entries, &timing);
    let ttl = source(&entries, "timing.ttl");
    assert_eq!(ttl, "\"1s\" <- register (preset default has \"700ms\")");
    assert_eq!(source(&entries, "timing.margin"), "\"100ms\" <- register, as in regent.toml:19");
    let written = effective::written("regent.toml", &file).unwrap();
    assert_eq!(written.len(), 13);
    assert!(written.iter().all(|e| e.source.starts_with("regent.toml:")));
}

#[test]
fn files_differ_by_key_and_not_by_line() {
    let old = text("bare.toml");
    let moved = format!("{}\n# only a comment\n[timing]\npreset = \"default\"\n", old);
    let written = effective::diff(&effective_of(&old), &effective_of(&moved));
    assert_eq!(written, []);
    let new = format!("{old}[timing]\npreset = \"cautious\"\n[policy]\ntries = 3\n")
        .replace("10.77.0.12", "10.77.0.22");
    let changes = effective::diff(&effective_of(&old), &effective_of(&new));
    let find = |key: &str| changes.iter().find(|c| c.key == key).unwrap();
    let tries = Change {
        key: "policy.tries".into(),
        old: Some("8".into()),
        new: Some("3".into()),
        effect: Effect::Life,
    };
    assert_eq!(find("policy.tries"), &tries);
    assert_eq!(find("timing.ttl").effect, Effect::Register);
    assert_eq!(find("node.mn2.address").effect, Effect::Identity);
    assert_eq!(changes.len(), 9);
    let table = effective::render_changes(&changes, ["file", "mn2"]);
    assert!(table.contains("node.mn2.address     \"10.77.0.12\"  \"10.77.0.22\"\n"), "{table}");
}

#[test]
fn a_value_is_set_and_every_comment_stays() {
    let old =
        "# head\ncluster = \"lab\" # why\n\n[timing] # slow disks\nttl = \"700ms\" # measured\n";
    let new = edit(old, "timing.ttl", "1s").unwrap();
    assert_eq!(new, old.replace("\"700ms\"", "\"1s\""));
    let new = edit(&new, "timing.margin", "120ms").unwrap();
    assert_eq!(new, old.replace("\"700ms\"", "\"1s\"") + "margin = \"120ms\"\n");
    let back = unset(&new, "timing.margin").unwrap();
    assert_eq!(back, old.replace("\"700ms\"", "\"1s\""));
    let new = edit(old, "service.ui.probe.ui-page.interval", "2s").unwrap();
    let added = "\n[[service]]\nname = \"ui\"\n\n[[service.probe]]\nname = \"ui-page\"\ninterval = \"2s\"\n";
    assert_eq!(new, format!("{old}{added}"));
    let new = edit(old, "node.mn1.fence.options.ip", "10.77.0.201").unwrap();
    assert!(new.ends_with("[node.mn1.fence.options]\nip = \"10.77.0.201\"\n"), "{new}");
    let new = edit(old, "vip.address", "[\"10.77.0.100/24\", \"10.77.0.101/24\"]").unwrap();
    assert!(new.contains("address = [\"10.77.0.100/24\", \"10.77.0.101/24\"]"), "{new}");
}

#[test]
fn a_change_that_cannot_be_is_refused_with_the_way() {
    let file = text("good.toml");
    let set = |key: &str, value: &str| {
        let proposed = propose("regent.toml", &file, key, Some(value), true, Family::Debian);
        proposed.expect_err(key).to_string()
    };
    let told = [
        ("timing.tll", "1s"),
        ("policy.tries", "many"),
        ("service", "x"),
        ("timing.ttl.unit", "s"),
        ("vip.address", "10.77.0.200/24"),
        ("node.mn2.id", "4"),
        ("timing.suspicion", "600ms"),
        ("database.probe.database-read.fall", "0"),
    ]
    .map(|(key, value)| {
        format!("$ regent config set {key} '{value}'\n{}", set(key, value).trim_end())
    });
    golden("edits.txt", &told.join("\n\n"));
    let proposed =
        propose("regent.toml", &file, "timing.preset", Some("cautious"), true, Family::Debian)
            .unwrap();
    assert!(proposed.asks_register());
    let proposed =
        propose("regent.toml", &file, "policy.tries", Some("5"), true, Family::Debian).unwrap();
    assert!(!proposed.asks_register());
    assert_eq!(proposed.changes.len(), 1);
    let stopped =
        propose("regent.toml", &file, "cluster", Some("other"), false, Family::Debian).unwrap();
    assert_eq!(stopped.changes[0].effect, Effect::Identity);
    let unknown = edit(&file, "polcy.tries", "5");
    assert!(matches!(unknown, Err(EditError::Unknown { .. })), "{unknown:?}");
}

fn golden(name: &str, text: &str) {
    let path = folder().join(name);
    let text = format!("{text}\n");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default(), "{name}");
}

#[test]
fn a_measured_jitter_that_breaks_a_sum_is_told_with_the_least_safe_value() {
    let settings = config::parse("good.toml", &text("good.toml"), Family::Debian).unwrap();
    let proposed = settings.proposed();
    let quiet = Measured {
        swap_p99: Some(Span::millis(4)),
        swap_refused_p99: Some(Span::millis(12)),
        report_gap_p999: Some(Span::millis(61)),
        wake_late_p999: Some(Span::millis(2)),
        restart_worst: Some(Span::millis(96)),
    };
    assert_eq!(check(&proposed, &quiet, "mn2"), []);
    let ms = |ms| Some(Span::millis(ms));
    let measures = [
        Measured { swap_p99: ms(138), ..quiet },
        Measured { swap_refused_p99: ms(350), ..quiet },
        Measured { report_gap_p999: ms(280), ..quiet },
        Measured { wake_late_p999: ms(31), ..quiet },
        Measured { restart_worst: ms(900), ..quiet },
    ];
    let mut told = Vec::new();
    for measured in measures {
        let broken = check(&proposed, &measured, "mn2");
        assert!(!broken.is_empty());
        told.extend(broken.iter().map(ToString::to_string));
    }
    golden("measured.txt", &told.join("\n\n"));
}

#[test]
fn the_value_that_a_broken_sum_asks_for_is_the_least_that_is_safe() {
    let settings = config::parse("good.toml", &text("good.toml"), Family::Debian).unwrap();
    let measured = Measured { swap_p99: Some(Span::millis(138)), ..Measured::default() };
    let mut safe = None;
    for ttl in 700..2000 {
        let timing = regent_core::state::Timing {
            ttl: Span::millis(ttl),
            margin: Span::millis(300),
            ..settings.timing
        };
        let proposed = Proposed { timing, ..settings.proposed() };
        let broken = check(&proposed, &measured, "mn2");
        let takeover = broken.iter().find(|b| b.what.contains("takeover"));
        match (takeover, safe) {
            (Some(broken), _) => {
                assert_eq!(safe, None, "it is monotonic");
                assert!(broken.remedy.contains("a ttl of at least 769 ms"), "{}", broken.remedy);
            }
            (None, None) => safe = Some(ttl),
            (None, Some(_)) => {}
        }
    }
    assert_eq!(safe, Some(769));
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

#[test]
fn the_generated_documents_are_current() {
    for (name, text) in
        [("config.md", schema::reference()), ("config.schema.json", schema::schema())]
    {
        let path = root().join("docs/generated").join(name);
        if std::env::var_os("BLESS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == text, "{name} is stale: run this test with BLESS=1");
    }
}

/// What stands behind a # without a space.
fn uncommented(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().filter_map(|line| line.strip_prefix('#'));
    lines.filter(|line| !line.starts_with(' ')).collect::<Vec<_>>().join("\n")
}

/// The lab's configuration, without the places where a case puts its own.
fn lab() -> String {
    let text = std::fs::read_to_string(root().join("lab/src/cluster.rs")).unwrap();
    let (_, rest) = text.split_once("const CONFIG: &str = r#\"").unwrap();
    let (config, _) = rest.split_once("\"#;").unwrap();
    let is_place = |line: &&str| !line.is_empty() && line.chars().all(|c| c.is_ascii_uppercase());
    config.lines().filter(|line| !is_place(line)).collect::<Vec<_>>().join("\n")
}

#[test]
fn what_we_ship_fits_the_schema_and_the_reader() {
    let schema: Value = serde_json::from_str(&schema::schema()).unwrap();
    let packaged = uncommented(&root().join("packaging/rootfs/etc/regent/regent.toml"));
    let files = [
        ("packaged", packaged),
        ("lab", lab()),
        ("full", text("full.toml")),
        ("bare", text("bare.toml")),
        ("good", text("good.toml")),
        ("shared", text("shared.toml")),
        ("full-shared", text("full-shared.toml")),
        (
            "zstack",
            format!("profile = \"zstack\"\n{}", include_str!("../src/profiles/zstack.toml")),
        ),
    ];
    for (name, text) in &files {
        let mut value = serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap();
        if *name == "zstack" {
            // A profile is a part of a configuration.
            for (key, part) in
                [("cluster", "\"a\""), ("vip", "{\"address\":\"a\"}"), ("node", "{}")]
            {
                value[key] = serde_json::from_str(part).unwrap();
            }
        } else {
            config::parse(name, text, Family::Debian).unwrap_or_else(|p| panic!("{p}"));
        }
        let faults = faults(&schema, &schema, &value, name);
        assert_eq!(faults, Vec::<String>::new());
    }
}

#[test]
fn the_schema_refuses_what_the_reader_refuses() {
    let schema: Value = serde_json::from_str(&schema::schema()).unwrap();
    for name in [
        "misspelt",
        "wrong-types",
        "engine",
        "old-profile",
        "keepalived",
        "probes",
        "probe-values",
        "shared-values",
    ] {
        let text = std::fs::read_to_string(folder().join(format!("mistakes/{name}.toml"))).unwrap();
        let value = serde_json::to_value(toml::from_str::<toml::Table>(&text).unwrap()).unwrap();
        assert!(!faults(&schema, &schema, &value, name).is_empty(), "{name}");
    }
}

/// The part of JSON Schema that ours uses; a word that is not known here fails.
fn faults(root: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (word, rule) in schema.as_object().unwrap() {
        let holds = match word.as_str() {
            "$schema" | "title" | "description" | "default" | "$defs" => true,
            "$ref" => {
                let path = rule.as_str().unwrap().trim_start_matches('#');
                found.extend(faults(root, root.pointer(path).unwrap(), value, at));
                true
            }
            "type" => match rule.as_str().unwrap() {
                "object" => value.is_object(),
                "array" => value.is_array(),
                "string" => value.is_string(),
                "integer" => value.is_i64(),
                "boolean" => value.is_boolean(),
                other => panic!("type {other}"),
            },
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => value.as_i64().is_none_or(|n| n >= rule.as_i64().unwrap()),
            "maximum" => value.as_i64().is_none_or(|n| n <= rule.as_i64().unwrap()),
            "maxLength" => value.as_str().is_none_or(|s| s.len() as u64 <= rule.as_u64().unwrap()),
            "minItems" => value.as_array().is_none_or(|a| a.len() as u64 >= rule.as_u64().unwrap()),
            "pattern" => value.as_str().is_none_or(|s| match rule.as_str().unwrap() {
                p if p.contains("us|ms") => {
                    s.ends_with(['s', 'm', 'n', 'h', 'd'])
                        && s.starts_with(|c: char| c.is_ascii_digit())
                }
                p if p.starts_with("^[a-z0-9]") => {
                    s.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
                }
                other => panic!("pattern {other}"),
            }),
            "required" => {
                let has = |key: &Value| value.get(key.as_str().unwrap()).is_some();
                rule.as_array().unwrap().iter().all(has)
            }
            "properties" => {
                for (key, inner) in rule.as_object().unwrap() {
                    if let Some(value) = value.get(key) {
                        found.extend(faults(root, inner, value, &format!("{at}.{key}")));
                    }
                }
                true
            }
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                let others = value.as_object().into_iter().flatten();
                for (key, value) in
                    others.filter(|(k, _)| known.is_none_or(|p| !p.contains_key(*k)))
                {
                    if rule == &Value::Bool(false) {
                        found.push(format!("{at}: unknown {key}"));
                    } else {
                        found.extend(faults(root, rule, value, &format!("{at}.{key}")));
                    }
                }
                true
            }
            "propertyNames" => {
                for key in value.as_object().into_iter().flatten().map(|(key, _)| key) {
                    let key = Value::String(key.clone());
                    found.extend(faults(root, rule, &key, &format!("{at} names")));
                }
                true
            }
            "items" => {
                for (index, value) in value.as_array().into_iter().flatten().enumerate() {
                    found.extend(faults(root, rule, value, &format!("{at}[{index}]")));
                }
                true
            }
            "oneOf" => {
                let fits = |rule: &&Value| faults(root, rule, value, at).is_empty();
                rule.as_array().unwrap().iter().filter(fits).count() == 1
            }
            "anyOf" => {
                rule.as_array().unwrap().iter().any(|r| faults(root, r, value, at).is_empty())
            }
            "not" => !faults(root, rule, value, at).is_empty(),
            other => panic!("the schema uses {other}"),
        };
        if !holds {
            found.push(format!("{at}: {word} {rule}"));
        }
    }
    found
}

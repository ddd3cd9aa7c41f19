//! The layers of a configuration laid over each other: what the file says, then its profile, then the timing
//! preset, then the defaults. What is listed (services, probes) is matched by name, and overridden key by key.

use super::keys::{self, COMPANIONS, KINDS};
use super::profile::{self, Family};
use super::settings::VIP_INTERFACE;
use super::timing;
use super::tree::{At, Node, Origin, Value, fill};
use regent_core::health::Weight;

/// The file with everything filled in, each value with where it came from.
pub(super) fn merge(mut file: Node, host: Family) -> Node {
    let profile = file.text("profile").map(|p| p.value).unwrap_or_default();
    name_probes(&mut file);
    // A profile that was made for another topology supplies nothing: the mistake is told, and no follow-ups of it.
    let other = file.text("topology").is_some_and(|t| t.value == "replicated") && profile == "xcat";
    let supplied = profile::supplied(&profile, host, &file).filter(|_| !other);
    if let Some(mut supplied) = supplied {
        name_probes(&mut supplied);
        overlay(&mut supplied, file);
        file = supplied;
    }
    let shared = is_shared(&file);
    supply_probes(&mut file, shared);
    drop_disabled(&mut file);
    supply_preset(&mut file, shared);
    if has(&file, "vip")
        && let Some(vip) = file.table_mut("vip")
        && vip.text("driver").is_some_and(|d| d.value == "keepalived")
    {
        vip.table_mut("keepalived");
    }
    for key in ["policy", "timing"] {
        file.table_mut(key);
    }
    fill_probes(&mut file, shared);
    fill(&mut file);
    file
}

/// One set of data, and everything on it on the active node alone.
fn is_shared(file: &Node) -> bool {
    file.text("topology").is_some_and(|t| t.value == "shared-data")
}

/// Lays `above` over `below`; what is above holds.
fn overlay(below: &mut Node, above: Node) {
    below.from = above.from.clone();
    // Another kind of probe under an old name: what belonged to the old kind does not hold for it.
    let kinds = |node: &Node| KINDS.into_iter().find(|k| has(node, k));
    if below.table == &keys::PROBE
        && let (Some(old), Some(new)) = (kinds(below), kinds(&above))
    {
        below.remove(old);
        if old != new {
            COMPANIONS.iter().filter(|(_, of)| *of == old).for_each(|(key, _)| below.remove(key));
        }
    }
    for (key, at) in above.values {
        match (below.get_mut(key).map(|a| &mut a.value), at.value) {
            (Some(Value::Table(old)), Value::Table(new)) => overlay(old, new),
            (Some(Value::List(old)), Value::List(new)) => overlay_list(old, new),
            (_, value) => below.set(key, At { value, from: at.from }),
        }
    }
}

/// What has the name of an old one overrides it in its place; the others follow.
fn overlay_list(below: &mut Vec<Node>, above: Vec<Node>) {
    let mut seen: Vec<String> = Vec::new();
    for new in above {
        let name = name_of(&new);
        // Of two of one name in the file the second is no override: it is told as a mistake.
        let again = seen.contains(&name);
        let old = below.iter_mut().find(|old| !name.is_empty() && name_of(old) == name);
        match old.filter(|_| !again) {
            Some(old) => overlay(old, new),
            None => below.push(new),
        }
        seen.push(name);
    }
}

fn has(node: &Node, key: &str) -> bool {
    node.values.iter().any(|(k, _)| *k == key)
}

fn name_of(node: &Node) -> String {
    node.text("name").map(|n| n.value).unwrap_or_default()
}

/// Gives every probe a name: SERVICE-KIND, of the database the word of its SQL, of the host KIND.
fn name_probes(file: &mut Node) {
    let name = |probe: &mut Node, prefix: &str| {
        if has(probe, "name") {
            return;
        }
        let Some(kind) = KINDS.into_iter().find(|k| has(probe, k)) else { return };
        let word = if kind == "sql" { probe.text(kind).map(|s| s.value) } else { None };
        let word = word.unwrap_or_else(|| kind.into());
        let name = if prefix.is_empty() { word } else { format!("{prefix}-{word}") };
        probe.set_text("name", &name, Origin::Default);
    };
    let inner = |node: &mut Node, prefix: &str| {
        if let Some(Value::List(probes)) = node.get_mut("probe").map(|at| &mut at.value) {
            probes.iter_mut().for_each(|probe| name(probe, prefix));
        }
    };
    inner(file, "");
    if let Some(Value::Table(database)) = file.get_mut("database").map(|at| &mut at.value) {
        inner(database, "database");
    }
    if let Some(Value::List(services)) = file.get_mut("service").map(|at| &mut at.value) {
        for service in services {
            let prefix = name_of(service);
            inner(service, &prefix);
        }
    }
}

/// The probes that everybody has. One that was written for the same thing takes the place of its default.
fn supply_probes(file: &mut Node, shared: bool) {
    let gateway = file.text("gateway");
    let default = |pairs: &[(&'static str, &str)]| {
        let mut probe = Node::new(&keys::PROBE, Origin::Default);
        pairs.iter().for_each(|(key, text)| probe.set_text(key, text, Origin::Default));
        probe
    };
    let data = file.table("stack").filter(|_| shared).and_then(|stack| stack.text("data"));
    let data = data.map_or_else(|| String::from("/var/lib/mysql"), |d| d.value);
    // The shared data may be mounted on the active node only.
    let role = if shared { "active" } else { "always" };
    let mut host = vec![
        default(&[("name", "disk-data"), ("disk", &data), ("least", "5%"), ("role", role)]),
        default(&[("name", "disk-regent"), ("disk", "/var/lib/regent"), ("least", "5%")]),
        default(&[("name", "memory"), ("memory", "10%")]),
        default(&[("name", "link"), ("link", VIP_INTERFACE)]),
        default(&[("name", "clock"), ("clock", "500ms")]),
    ];
    if let Some(gateway) = gateway {
        let mut probe = default(&[("name", "gateway")]);
        probe.set("gateway", At { value: Value::Text(gateway.value), from: gateway.from });
        host.push(probe);
    }
    supply(file, host);
    if has(file, "database")
        && let Some(database) = file.table_mut("database")
    {
        let sql = ["read", "write", "client"]
            .map(|word| default(&[("name", &format!("database-{word}")), ("sql", word)]));
        supply(database, sql.into());
    }
}

fn supply(node: &mut Node, mut defaults: Vec<Node>) {
    let written = node.take_list("probe");
    let from = node.get("probe").map_or(Origin::Default, |at| at.from.clone());
    let same = |a: &Node, b: &Node| {
        let Some(kind) = KINDS.into_iter().find(|k| has(a, k) && has(b, k)) else { return false };
        let once = ["memory", "clock", "gateway"].contains(&kind);
        let value = |n: &Node| n.get(kind).map(|at| at.value.to_string());
        once || value(a) == value(b)
    };
    defaults.retain(|d| !written.iter().any(|w| name_of(w) != name_of(d) && same(w, d)));
    overlay_list(&mut defaults, written);
    node.set("probe", At { value: Value::List(defaults), from });
}

fn drop_disabled(file: &mut Node) {
    let enabled = |node: &Node| node.truth("enabled") != Some(false);
    let inner = |node: &mut Node| {
        if let Some(Value::List(probes)) = node.get_mut("probe").map(|at| &mut at.value) {
            probes.retain(enabled);
        }
    };
    inner(file);
    if let Some(Value::Table(database)) = file.get_mut("database").map(|at| &mut at.value) {
        inner(database);
    }
    if let Some(Value::List(services)) = file.get_mut("service").map(|at| &mut at.value) {
        services.retain(enabled);
        services.iter_mut().for_each(inner);
    }
}

/// The values of the timing preset.
fn supply_preset(file: &mut Node, shared: bool) {
    let witness = |node: &Node| node.truth("witness") == Some(true);
    let pair = shared && !file.named("node").iter().any(|(_, node)| witness(node));
    let Some(table) = file.table_mut("timing") else { return };
    let name = table.text("preset").map(|p| p.value).unwrap_or_default();
    let preset = timing::preset(&name);
    // Without a third nobody can tell who is cut off, so only operators end a right.
    if pair && !has(table, "ttl") {
        table.set_text("ttl", timing::UNTIL_RELEASED_TEXT, Origin::Default);
    }
    for (key, ms) in preset.values {
        if !has(table, key) {
            table.set_text(key, &format!("{ms}ms"), Origin::Preset(preset.name));
        }
    }
}

/// What holds for a probe depends on its kind, its weight and where it stands.
fn fill_probes(file: &mut Node, shared: bool) {
    let inner = |node: &mut Node, weight: Weight, role: &str| {
        if let Some(Value::List(probes)) = node.get_mut("probe").map(|at| &mut at.value) {
            probes.iter_mut().for_each(|probe| fill_probe(probe, weight, role));
        }
    };
    inner(file, Weight::Degraded, "always");
    if let Some(Value::Table(database)) = file.get_mut("database").map(|at| &mut at.value) {
        inner(database, Weight::Vital, "always");
    }
    if let Some(Value::List(services)) = file.get_mut("service").map(|at| &mut at.value) {
        for service in services {
            let degraded = service.text("weight").is_some_and(|w| w.value == "degraded");
            let weight = if degraded { Weight::Degraded } else { Weight::Vital };
            inner(service, weight, if shared { "active" } else { "always" });
        }
    }
}

fn fill_probe(probe: &mut Node, weight: Weight, role: &str) {
    let sql = probe.text("sql").map(|s| s.value).unwrap_or_default();
    let (write, client) = (sql == "write", sql == "client");
    // Without its carrier nobody is served, whatever else is well.
    let carries = probe.text("link").is_some_and(|link| link.value == VIP_INTERFACE);
    let weight = if carries { Weight::Vital } else { weight };
    let mut or = |key: &'static str, text: &str| {
        if !has(probe, key) {
            probe.set_text(key, text, Origin::Default);
        }
    };
    or("weight", if weight == Weight::Vital && !client { "vital" } else { "degraded" });
    or(
        "role",
        if write {
            "active"
        } else if client {
            "standby"
        } else {
            role
        },
    );
    let vital = probe.text("weight").is_some_and(|w| w.value == "vital");
    let mut or = |key: &'static str, text: &str| {
        if !has(probe, key) {
            probe.set_text(key, text, Origin::Default);
        }
    };
    // Each write is a commit that the standby confirms: five a second would fill the binary log.
    or(
        "interval",
        if write || client {
            "1s"
        } else if vital {
            "200ms"
        } else {
            "5s"
        },
    );
    let short = if vital { "250ms" } else { "2s" };
    or(
        "timeout",
        if write {
            "2s"
        } else if client {
            "1s"
        } else {
            short
        },
    );
    // A carrier that is back must be known before the word of those that are reached by it.
    or("rise", if vital && !carries { "2" } else { "1" });
    if has(probe, "disk") && !has(probe, "least") {
        probe.set_text("least", "5%", Origin::Default);
    }
}

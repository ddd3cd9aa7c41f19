//! Answers as text: tables that people compare, colours where they help.

pub(crate) mod stack;
mod text;

use crate::args::Shown;
use anstyle::Style;
use comfy_table::{CellAlignment, Table, presets};
use regent_api::call::Fences;
use regent_api::history::{History, Severity};
use regent_api::status::{
    Compared, Database, Health, Measured, NodeStatus, Phase, Probe, Service, Status, SyncState,
    Weight,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use text::{
    bold, colour, coloured_word, green, heard, laid_out, length, or_dash, pad, painted, red, table,
    why, yellow,
};

/// Version 1 of `regent explain --json`.
#[derive(Serialize)]
pub(crate) struct Explanation<'a> {
    version: u32,
    lines: &'a [String],
}

impl<'a> Explanation<'a> {
    pub(crate) fn new(lines: &'a [String]) -> Explanation<'a> {
        Explanation { version: regent_api::VERSION, lines }
    }
}

/// The answer with every text in one line. Texts come from outside, too (a server's error, the output of a program): in
/// a table each has one line, and no escape of theirs reaches the terminal.
pub(crate) fn in_lines<T: Serialize + DeserializeOwned + Clone>(answer: &T) -> T {
    let value = serde_json::to_value(answer).map(|mut value| {
        flatten(&mut value);
        value
    });
    value.and_then(serde_json::from_value).unwrap_or_else(|_| answer.clone())
}

fn flatten(value: &mut Value) {
    match value {
        Value::String(text) if text.contains(char::is_control) => {
            let parts = text.split(char::is_control).map(str::trim).filter(|part| !part.is_empty());
            *text = parts.collect::<Vec<_>>().join(" ");
        }
        Value::Array(values) => values.iter_mut().for_each(flatten),
        Value::Object(fields) => fields.values_mut().for_each(flatten),
        Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Where every node is, what is not well, and what else was asked for.
pub(crate) fn status(status: &Status, shown: Shown, paint: bool) -> String {
    let mut out = headline(status, paint);
    let mut say = |text: &str, style: Style| out.push_str(&(painted(text, style, paint) + "\n"));
    if let Some(alarm) = &status.alarm {
        say(&format!("ALARM: {alarm}"), red());
    }
    if let Some(mac) = &status.stranger {
        say(&format!("ALARM: {mac} answers for the VIP too: remove the duplicate address"), red());
    }
    if let Some(blocked) = &status.blocked {
        say(&format!("blocked (row {}): {}", blocked.row, blocked.text), red());
    }
    if let Some(left) = status.pause_left_ms {
        let left = length(left);
        say(&format!("paused for {left} more: no succession and no restarts by us"), yellow());
    }
    if !status.reason.is_empty() {
        say(&status.reason, Style::new());
    }
    if status.initialised && status.alarm.is_none() {
        for trouble in status.verdict().1 {
            say(&trouble, red());
        }
    }
    if let Some(compared) = status.sync.as_ref().and_then(|sync| sync.compared.as_ref()) {
        say(&copies(compared), Style::new());
    }
    for warning in status.nodes.iter().flat_map(NodeStatus::warnings) {
        say(&format!("warning: {warning}"), yellow());
    }
    for probe in &status.probes {
        if let Some(text) = &probe.warning {
            say(&format!("warning: {}: probe {}: {text}", status.now_node, probe.name), yellow());
        }
    }
    match &status.shared {
        Some(shared) => out.push_str(&stack::status(status, shared, paint)),
        None if status.nodes.is_empty() => {}
        None => out.push_str(&nodes(status, paint)),
    }
    if shown.probes {
        out.push_str(&probes(&status.probes, &status.now_node, paint));
    }
    if shown.timing {
        out.push_str(&measured(&status.measured, &status.now_node, paint));
    }
    out
}

/// Whether both copies are the same, and when that was looked at.
fn copies(compared: &Compared) -> String {
    let last = match (compared.age_ms, compared.text.as_str()) {
        (Some(ms), text) => format!("both copies, {} ago: {text}", length(ms)),
        (None, _) => "both copies were not compared yet".into(),
    };
    match compared.under_way.as_deref() {
        None => last,
        Some("") => format!("{last}; being compared now"),
        Some(how_far) => format!("{last}; being compared now: {how_far}"),
    }
}

fn nodes(status: &Status, paint: bool) -> String {
    let mut table = table(["NODE", "ROLE", "VIP", "DATABASE", "SERVICES", "HEARD", "WHY"]);
    for node in &status.nodes {
        table.add_row([
            node.name.clone(),
            node.role.as_str().into(),
            if node.serving { status.vip.clone().unwrap_or_default() } else { "-".into() },
            node.database.as_ref().map_or("-".into(), Database::text),
            or_dash(node.services.iter().map(Service::text).collect::<Vec<_>>().join(", ")),
            heard(node, &status.now_node),
            why(node),
        ]);
    }
    laid_out(&table, paint, |line, row| {
        let node = &status.nodes[row];
        coloured_word(line, node.role.as_str(), colour(node), paint)
    })
}

fn probes(probes: &[Probe], node: &str, paint: bool) -> String {
    if probes.is_empty() {
        return format!("\n{node} has no probes\n");
    }
    let mut table = table(["PROBE", "OF", "WEIGHT", "COUNTS", "HEALTH", "SINCE", "WHY"]);
    for probe in probes {
        table.add_row([
            probe.name.clone(),
            probe.subject.clone(),
            probe.weight.as_str().into(),
            probe.counts.clone(),
            probe.health.as_str().into(),
            length(probe.since_ms),
            probe.why.clone(),
        ]);
    }
    laid_out(&table, paint, |line, row| {
        let style = match (probes[row].health, probes[row].weight) {
            (Health::Failing, Weight::Vital) => red(),
            (Health::Failing, Weight::Degraded) => yellow(),
            (Health::Passing, _) => green(),
            (Health::Unknown, _) => Style::new(),
        };
        coloured_word(line, probes[row].health.as_str(), style, paint)
    })
}

fn measured(measured: &[Measured], node: &str, paint: bool) -> String {
    if measured.is_empty() {
        return format!("\n{node} has measured nothing yet\n");
    }
    let mut table = table(["MEASURED", "TIMES", "P50", "P99", "P99.9", "WORST"]);
    for one in measured {
        let ms = |us: u64| format!("{}.{:02} ms", us / 1000, us % 1000 / 10);
        table.add_row([
            one.what.clone(),
            one.count.to_string(),
            ms(one.p50_us),
            ms(one.p99_us),
            ms(one.p999_us),
            ms(one.worst_us),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    laid_out(&table, paint, |line, _| line.into())
}

/// What each fence said.
pub(crate) fn fences(fences: &Fences, paint: bool) -> String {
    let mut table = table(["NODE", "FENCE", "TOOK", "ANSWER"]);
    for tested in &fences.tested {
        table.add_row([
            tested.node.clone(),
            or_dash(tested.device.clone()),
            length(tested.took_ms),
            tested.answer.clone(),
        ]);
    }
    let text = laid_out(&table, paint, |line, row| match fences.tested[row].works {
        true => line.into(),
        false => painted(line, red(), paint),
    });
    text.trim_start().into()
}

/// What happened, oldest first.
pub(crate) fn history(history: &History, paint: bool) -> String {
    let mut out = String::new();
    if history.events.is_empty() {
        out.push_str(&format!("nothing has happened on {} yet\n", history.node));
    } else {
        out.push_str(laid_out_history(history, paint).trim_start());
    }
    for missing in &history.missing {
        let text = format!("the events of {} are missing: {}", missing.node, missing.why);
        out.push_str(&(painted(&text, yellow(), paint) + "\n"));
    }
    out
}

/// Columns that would be empty are left out.
fn laid_out_history(history: &History, paint: bool) -> String {
    let away = history.events.iter().any(|e| e.away_ms.is_some());
    let columns = |when: String, node: String, epoch: String, what: String, gone: String| {
        let mut row = vec![when];
        row.extend(history.cluster.then_some(node));
        row.extend([epoch, what]);
        row.extend(away.then_some(gone));
        row
    };
    let word = |text: &str| text.to_string();
    let mut head = columns(word("WHEN"), word("NODE"), word("EPOCH"), word("WHAT"), word("AWAY"));
    head.extend([String::new(), String::new()]);
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(head);
    for event in &history.events {
        let severity = match event.severity {
            Severity::Info => "",
            Severity::Warning => "warning",
            Severity::Alarm => "ALARM",
        };
        let mut row = columns(
            event.at_ms.to_string(),
            event.node.clone().unwrap_or_default(),
            event.epoch.to_string(),
            event.code.clone(),
            event.away_ms.map(|ms| format!("{ms} ms")).unwrap_or_default(),
        );
        row.extend([severity.into(), event.text.clone()]);
        table.add_row(row);
    }
    pad(&mut table);
    laid_out(&table, paint, |line, row| {
        let (word, style) = match history.events[row].severity {
            Severity::Info => return line.into(),
            Severity::Warning => ("warning", yellow()),
            Severity::Alarm => ("ALARM", red()),
        };
        coloured_word(line, word, style, paint)
    })
}

fn headline(status: &Status, paint: bool) -> String {
    let mut parts = vec![format!("cluster {}", painted(&status.cluster, bold(), paint))];
    if !status.initialised {
        parts.push(painted("not initialised", yellow(), paint));
    }
    if let (Some(epoch), Some(holder), Some(phase)) = (status.epoch, &status.holder, status.phase) {
        let phase = match phase {
            Phase::Free => "free",
            Phase::Heir => "heir",
            Phase::Ruling => "ruling",
        };
        parts.push(format!("epoch {epoch}: {holder} {phase}"));
    }
    if let Some(sync) = &status.sync {
        parts.push(match (sync.state, &sync.with) {
            (SyncState::InSync, Some(with)) => {
                painted(&format!("in sync: {} and {with}", sync.writer), green(), paint)
            }
            (SyncState::InSync | SyncState::Solo, _) => {
                painted(&format!("solo: only {} has every write", sync.writer), yellow(), paint)
            }
        });
    }
    if let Some(shared) = status.shared.as_ref().filter(|_| status.initialised) {
        parts.push(stack::in_use(shared, paint));
    }
    if let Some(to) = &status.switchover {
        parts.push(painted(&format!("moving to {to}"), yellow(), paint));
    }
    parts.push(format!("as {} knows", status.now_node));
    parts.join(" · ") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;
    use regent_api::call::FenceTested;
    use regent_api::history::Entry;
    use regent_api::history::Missing;
    use regent_api::moment::Moment;
    use regent_api::status::Role;
    use regent_api::status::{Ailment, Blocked, Sync, Thread, Up};

    fn database(read_only: bool, receiver: Thread) -> Option<Database> {
        Some(Database {
            state: Up::Up,
            read_only,
            strict: !read_only,
            incarnation: Some("00000000000000aa".into()),
            receiver,
            applier: receiver,
            error: None,
        })
    }

    fn node(name: &str, role: Role, age_ms: u64) -> NodeStatus {
        NodeStatus {
            name: name.into(),
            role,
            reachable: true,
            serving: role == Role::Active,
            reason: String::new(),
            age_ms: Some(age_ms),
            database: None,
            services: vec![],
            ailments: vec![],
            concerns: vec![],
            maintenance_left_ms: None,
            configuration: None,
            stack: None,
        }
    }

    pub(super) fn lab() -> Status {
        let service = |name: &str, state| Service {
            name: name.into(),
            state,
            health: if state == Up::Up { Health::Passing } else { Health::Failing },
            cause: String::new(),
            given_up: false,
        };
        let mut mn1 = node("mn1", Role::Active, 0);
        mn1.database = database(false, Thread::Stopped);
        mn1.services = vec![service("management", Up::Up), service("ui", Up::Up)];
        mn1.reason = "right runs, 560 ms left".into();
        let mut mn2 = node("mn2", Role::Standby, 31);
        mn2.database = database(true, Thread::Running);
        mn2.services = vec![service("management", Up::Up), service("ui", Up::Down)];
        Status {
            version: 1,
            cluster: "lab".into(),
            now_node: "mn1".into(),
            initialised: true,
            reason: String::new(),
            epoch: Some(3),
            holder: Some("mn1".into()),
            phase: Some(Phase::Ruling),
            vip: Some("10.77.0.100/24".into()),
            sync: Some(Sync {
                state: SyncState::InSync,
                writer: "mn1".into(),
                with: Some("mn2".into()),
                compared: None,
            }),
            switchover: None,
            nodes: vec![mn1, mn2, node("w1", Role::Witness, 12)],
            blocked: None,
            alarm: None,
            pause_left_ms: None,
            stopped: false,
            stranger: None,
            probes: vec![],
            measured: vec![],
            shared: None,
        }
    }

    fn table_of(lab: &Status) -> String {
        status(lab, Shown::default(), false)
    }

    #[test]
    fn status_of_a_healthy_cluster() {
        expect_golden("status-healthy.txt", &table_of(&lab()));
    }

    #[test]
    fn status_says_when_both_copies_were_compared_and_how_far_it_is() {
        let said = |age_ms, under_way: Option<&str>| {
            let mut lab = lab();
            let text = "equal: 12 tables, 40000 rows".to_string();
            let under_way = under_way.map(String::from);
            let compared = Compared { under_way, age_ms, equal: Some(true), text };
            lab.sync.as_mut().expect("there").compared = Some(compared);
            let table = table_of(&lab);
            let line = table.lines().find(|line| line.starts_with("both copies"));
            line.expect("a line").to_string()
        };
        let hours = Some(2 * 3_600_000);
        assert_eq!(said(hours, None), "both copies, 2 h ago: equal: 12 tables, 40000 rows");
        let under_way = said(None, Some("3 of 12 tables, 400 of about 40000 rows"));
        assert_eq!(
            under_way,
            "both copies were not compared yet; being compared now: 3 of 12 tables, 400 of about \
             40000 rows"
        );
    }

    #[test]
    fn status_with_a_node_lost_and_blocked() {
        let mut lab = lab();
        lab.sync =
            Some(Sync { state: SyncState::Solo, writer: "mn1".into(), with: None, compared: None });
        lab.nodes[0].reachable = false;
        lab.nodes[0].role = Role::Unknown;
        lab.nodes[0].serving = false;
        lab.nodes[0].age_ms = Some(83_000);
        lab.now_node = "mn2".into();
        lab.blocked =
            Some(Blocked { row: 1, text: "mn1 had recorded solo: it must return".into() });
        expect_golden("status-blocked.txt", &table_of(&lab));
    }

    #[test]
    fn status_before_init() {
        let mut lab = lab();
        lab.initialised = false;
        lab.reason = "this node belongs to no cluster yet: regent init, once, on one node".into();
        (lab.epoch, lab.holder, lab.phase, lab.sync) = (None, None, None, None);
        lab.nodes.clear();
        expect_golden("status-uninitialised.txt", &table_of(&lab));
    }

    #[test]
    fn colours_are_escapes_around_the_same_text() {
        let painted = status(&lab(), Shown::default(), true);
        assert!(painted.contains("\u{1b}["));
        let mut plain = String::new();
        let mut rest = painted.as_str();
        while let Some((before, after)) = rest.split_once('\u{1b}') {
            plain.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        plain.push_str(rest);
        assert_eq!(plain, table_of(&lab()));
    }

    #[test]
    fn a_text_from_outside_has_one_line_whatever_is_in_it() {
        let text = "mariadb-backup: \u{1b}[31m[00]\r\nfailed:\n\n\tno space\u{7}";
        let mut lab = lab();
        lab.nodes[0].reason = text.into();
        lab.now_node = text.into();
        let shown = table_of(&in_lines(&lab));
        assert!(shown.contains("mariadb-backup: [31m[00] failed: no space"), "{shown}");
        assert_eq!(shown.lines().count(), table_of(&super::tests::lab()).lines().count());
        let event = Entry {
            at_ms: Moment(1_700_000_000_000),
            epoch: 3,
            code: "database.step".into(),
            severity: Severity::Alarm,
            text: text.into(),
            node: None,
            away_ms: None,
        };
        let events = vec![event.clone(), event];
        let (cluster, missing) = (false, vec![]);
        let history = History { version: 1, node: "mn1".into(), events, cluster, missing };
        assert_eq!(super::history(&in_lines(&history), true).lines().count(), 3);
    }

    #[test]
    fn history_is_a_table() {
        let entry = |at, epoch, code: &str, severity, text: &str| Entry {
            at_ms: Moment(at),
            epoch,
            code: code.into(),
            severity,
            text: text.into(),
            node: None,
            away_ms: (code == "role.active").then_some(312),
        };
        let events = vec![
            entry(1_700_000_000_000, 3, "lease.won", Severity::Info, "renewed after 3 ms [R6]"),
            entry(1_700_000_000_312, 3, "peer.lost", Severity::Warning, "mn2: no report"),
            entry(1_700_000_001_000, 4, "identity.twice", Severity::Alarm, "close [C6]"),
        ];
        let (cluster, missing) = (false, vec![]);
        let history = History { version: 1, node: "mn1".into(), events, cluster, missing };
        expect_golden("history.txt", &super::history(&history, false));
    }

    #[test]
    fn a_timeline_names_each_node_the_outage_and_who_is_missing() {
        let entry = |at, node: &str, code: &str, away_ms, text: &str| Entry {
            at_ms: Moment(at),
            epoch: 4,
            code: code.into(),
            severity: Severity::Info,
            text: text.into(),
            node: Some(node.into()),
            away_ms,
        };
        let events = vec![
            entry(1_700_000_000_000, "mn1", "service.died", None, "service ui is down"),
            entry(1_700_000_000_204, "mn2", "role.active", Some(187), "active: gate enabled"),
        ];
        let missing = vec![Missing { node: "w1".into(), why: "it does not answer".into() }];
        let history = History { version: 1, node: "mn1".into(), events, cluster: true, missing };
        expect_golden("timeline.txt", &super::history(&history, false));
    }

    #[test]
    fn status_with_everything_that_can_be_wrong_at_once() {
        let mut lab = lab();
        lab.pause_left_ms = Some(3_552_000);
        lab.stranger = Some("52:54:00:12:34:56".into());
        lab.nodes[0].services[1].health = Health::Failing;
        lab.nodes[0].services[1].cause = "probe ui-http: no answer within 250 ms".into();
        lab.nodes[0].configuration = Some("00000000000000aa".into());
        lab.nodes[1].configuration = Some("00000000000000ab".into());
        lab.nodes[1].services[1].given_up = true;
        lab.nodes[1].role = Role::Maintenance;
        lab.nodes[1].maintenance_left_ms = Some(570_000);
        let ailment = |probe: &str, of: &str, weight, why: &str| Ailment {
            probe: probe.into(),
            subject: of.into(),
            weight,
            why: why.into(),
        };
        lab.nodes[1].ailments = vec![
            ailment("database-read", "database", Weight::Vital, "no answer within 250 ms"),
            ailment("disk-data", "host", Weight::Degraded, "3 % free of /var/lib/mysql"),
        ];
        let probe = |name: &str, health, since_ms, why: &str| Probe {
            name: name.into(),
            subject: "management".into(),
            weight: Weight::Vital,
            counts: "always".into(),
            health,
            since_ms,
            why: why.into(),
            warning: None,
        };
        lab.probes = vec![
            probe("management-http", Health::Passing, 83_000, ""),
            probe("ui-http", Health::Failing, 2_100, "no answer within 250 ms"),
        ];
        lab.probes[0].warning = Some("the certificate ends in 12 days".into());
        lab.measured = vec![Measured {
            what: "swap".into(),
            count: 26_214,
            p50_us: 1_210,
            p99_us: 3_400,
            p999_us: 7_950,
            worst_us: 18_004,
        }];
        let shown = Shown { probes: true, timing: true };
        expect_golden("status-everything.txt", &status(&lab, shown, false));
    }

    #[test]
    fn status_of_a_stopped_cluster() {
        let mut lab = lab();
        lab.stopped = true;
        for node in &mut lab.nodes[..2] {
            (node.role, node.serving) = (Role::Standby, false);
            node.database.as_mut().unwrap().state = Up::Down;
            node.services.iter_mut().for_each(|s| s.state = Up::Down);
        }
        expect_golden("status-stopped.txt", &table_of(&lab));
    }

    #[test]
    fn what_the_fences_said() {
        let tested = |node: &str, device: &str, works, answer: &str, took_ms| FenceTested {
            node: node.into(),
            device: device.into(),
            works,
            answer: answer.into(),
            took_ms,
        };
        let tested = vec![
            tested("mn1", "fence_redfish", true, "on", 812),
            tested("mn2", "", false, "mn2 has no fence", 0),
        ];
        let fences = Fences { version: 1, now_node: "mn1".into(), tested };
        expect_golden("fences.txt", &super::fences(&fences, false));
    }

    /// Compares with a file in `tests/golden`; `REGENT_BLESS=1` writes it.
    pub(super) fn expect_golden(name: &str, text: &str) {
        let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("REGENT_BLESS").is_some() {
            std::fs::write(&path, text).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, golden, "{name}");
    }
}

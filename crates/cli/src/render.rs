//! Answers as text: tables that people compare, colours where they help.

use anstyle::{AnsiColor, Style};
use comfy_table::{Table, presets};
use regent_api::history::{History, Severity};
use regent_api::status::{Database, NodeStatus, Phase, Role, Status, SyncState, Thread, Up};
use serde::Serialize;

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

/// Where every node is.
pub(crate) fn status(status: &Status, paint: bool) -> String {
    let mut out = headline(status, paint);
    if let Some(alarm) = &status.alarm {
        out.push_str(&format!("{}\n", painted(&format!("ALARM: {alarm}"), red(), paint)));
    }
    if let Some(blocked) = &status.blocked {
        let text = format!("blocked (row {}): {}", blocked.row, blocked.text);
        out.push_str(&format!("{}\n", painted(&text, red(), paint)));
    }
    if !status.reason.is_empty() {
        out.push_str(&format!("{}\n", status.reason));
    }
    if status.nodes.is_empty() {
        return out;
    }
    let mut table = table(["NODE", "ROLE", "VIP", "DATABASE", "SERVICES", "HEARD", "WHY"]);
    for node in &status.nodes {
        table.add_row([
            node.name.clone(),
            node.role.word().into(),
            if node.serving { status.vip.clone().unwrap_or_default() } else { "-".into() },
            node.database.as_ref().map_or("-".into(), database),
            services(node),
            heard(node, &status.now_node),
            node.reason.clone(),
        ]);
    }
    out.push('\n');
    let text = trimmed(&table);
    let mut lines = text.lines();
    out.push_str(&format!("{}\n", painted(lines.next().unwrap_or_default(), bold(), paint)));
    for (line, node) in lines.zip(&status.nodes) {
        out.push_str(&coloured_word(line, node.role.word(), colour(node), paint));
        out.push('\n');
    }
    out
}

/// What happened, oldest first.
pub(crate) fn history(history: &History, paint: bool) -> String {
    if history.events.is_empty() {
        return format!("nothing has happened on {} yet\n", history.node);
    }
    let mut table = table(["WHEN", "EPOCH", "WHAT", "", ""]);
    for event in &history.events {
        let severity = match event.severity {
            Severity::Info => "",
            Severity::Warning => "warning",
            Severity::Alarm => "ALARM",
        };
        table.add_row([
            event.at_ms.to_string(),
            event.epoch.to_string(),
            event.code.clone(),
            severity.into(),
            event.text.clone(),
        ]);
    }
    let mut out = String::new();
    for line in trimmed(&table).lines() {
        let line = coloured_word(line, "ALARM", red(), paint);
        out.push_str(&coloured_word(&line, "warning", yellow(), paint));
        out.push('\n');
    }
    out
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
    if let Some(to) = &status.switchover {
        parts.push(painted(&format!("moving to {to}"), yellow(), paint));
    }
    parts.push(format!("as {} knows", status.now_node));
    parts.join(" · ") + "\n"
}

fn database(database: &Database) -> String {
    match database.state {
        Up::Down => return "down".into(),
        Up::Unknown => return "unknown".into(),
        Up::Up => {}
    }
    let mut words = vec![if database.read_only { "read-only" } else { "writable" }];
    let follows = database.receiver != Thread::Stopped || database.applier != Thread::Stopped;
    if follows {
        words.push(match (database.receiver, database.applier) {
            (Thread::Running, Thread::Running) => "follows",
            (Thread::Connecting, _) => "looks for its source",
            (Thread::Failed, _) => "receiver failed",
            (_, Thread::Failed) => "applier failed",
            (Thread::Stopped | Thread::Running | Thread::Unknown, _) => "half stopped",
        });
    } else {
        words.push(if database.strict { "strict" } else { "loose" });
    }
    let mut text = words.join(", ");
    if let Some(error) = &database.error {
        text.push_str(&format!(" ({error})"));
    }
    text
}

fn services(node: &NodeStatus) -> String {
    let words: Vec<String> = node
        .services
        .iter()
        .map(|s| match s.state {
            Up::Up => s.name.clone(),
            Up::Down => format!("{} DOWN", s.name),
            Up::Unknown => format!("{} ?", s.name),
        })
        .collect();
    if words.is_empty() { "-".into() } else { words.join(" ") }
}

fn heard(node: &NodeStatus, here: &str) -> String {
    if node.name == here {
        return "here".into();
    }
    let Some(ms) = node.age_ms else { return "never".into() };
    let age = if ms < 10_000 { format!("{ms} ms") } else { format!("{} s", ms / 1000) };
    if node.reachable { format!("{age} ago") } else { format!("LOST, {age} ago") }
}

fn table<const N: usize>(head: [&str; N]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(head);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

fn trimmed(table: &Table) -> String {
    let lines: Vec<String> = table.lines().map(|l| l.trim_end().to_string()).collect();
    lines.join("\n")
}

fn colour(node: &NodeStatus) -> Style {
    if !node.reachable {
        return red();
    }
    match node.role {
        Role::Active => green(),
        Role::Standby | Role::Witness => Style::new(),
        Role::Activating
        | Role::Deactivating
        | Role::Maintenance
        | Role::Stopped
        | Role::Unknown => yellow(),
        Role::Isolated | Role::Failed => red(),
    }
}

/// Colours the first standing of `word`, after the table was laid out, so that escapes count for no width.
fn coloured_word(line: &str, word: &str, style: Style, paint: bool) -> String {
    match line.split_once(&format!("  {word}")) {
        Some((before, after)) if paint => format!("{before}  {style}{word}{style:#}{after}"),
        Some(_) | None => line.into(),
    }
}

fn painted(text: &str, style: Style, paint: bool) -> String {
    if paint { format!("{style}{text}{style:#}") } else { text.into() }
}

fn bold() -> Style {
    Style::new().bold()
}

fn green() -> Style {
    AnsiColor::Green.on_default().bold()
}

fn yellow() -> Style {
    AnsiColor::Yellow.on_default()
}

fn red() -> Style {
    AnsiColor::Red.on_default().bold()
}

#[cfg(test)]
mod tests {
    use super::*;
    use regent_api::history::Entry;
    use regent_api::moment::Moment;
    use regent_api::status::{Blocked, Service, Sync};

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
        }
    }

    fn lab() -> Status {
        let service = |name: &str, state| Service { name: name.into(), state };
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
            }),
            switchover: None,
            nodes: vec![mn1, mn2, node("w1", Role::Witness, 12)],
            blocked: None,
            alarm: None,
        }
    }

    #[test]
    fn status_of_a_healthy_cluster() {
        expect_golden("status-healthy.txt", &status(&lab(), false));
    }

    #[test]
    fn status_with_a_node_lost_and_blocked() {
        let mut lab = lab();
        lab.sync = Some(Sync { state: SyncState::Solo, writer: "mn1".into(), with: None });
        lab.nodes[0].reachable = false;
        lab.nodes[0].role = Role::Unknown;
        lab.nodes[0].serving = false;
        lab.nodes[0].age_ms = Some(83_000);
        lab.now_node = "mn2".into();
        lab.blocked =
            Some(Blocked { row: 1, text: "mn1 had recorded solo: it must return".into() });
        expect_golden("status-blocked.txt", &status(&lab, false));
    }

    #[test]
    fn status_before_init() {
        let mut lab = lab();
        lab.initialised = false;
        lab.reason = "this node belongs to no cluster yet: regent init, once, on one node".into();
        (lab.epoch, lab.holder, lab.phase, lab.sync) = (None, None, None, None);
        lab.nodes.clear();
        expect_golden("status-uninitialised.txt", &status(&lab, false));
    }

    #[test]
    fn colours_are_escapes_around_the_same_text() {
        let painted = status(&lab(), true);
        assert!(painted.contains("\u{1b}["));
        let mut plain = String::new();
        let mut rest = painted.as_str();
        while let Some((before, after)) = rest.split_once('\u{1b}') {
            plain.push_str(before);
            rest = after.split_once('m').unwrap().1;
        }
        plain.push_str(rest);
        assert_eq!(plain, status(&lab(), false));
    }

    #[test]
    fn history_is_a_table() {
        let entry = |at, epoch, code: &str, severity, text: &str| Entry {
            at_ms: Moment(at),
            epoch,
            code: code.into(),
            severity,
            text: text.into(),
        };
        let events = vec![
            entry(1_700_000_000_000, 3, "lease.won", Severity::Info, "renewed after 3 ms [R6]"),
            entry(1_700_000_000_312, 3, "peer.lost", Severity::Warning, "mn2: no report"),
            entry(1_700_000_001_000, 4, "identity.twice", Severity::Alarm, "close [C6]"),
        ];
        let history = History { version: 1, node: "mn1".into(), events };
        expect_golden("history.txt", &super::history(&history, false));
    }

    /// Compares with a file in `tests/golden`; `REGENT_BLESS=1` writes it.
    fn expect_golden(name: &str, text: &str) {
        let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("REGENT_BLESS").is_some() {
            std::fs::write(&path, text).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(text, golden, "{name}");
    }
}

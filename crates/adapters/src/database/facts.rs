//! All facts of the database in one question and one answer, and what they mean for core.
//!
//! One text of three statements (four with a marker to look for) travels at once and takes under a
//! millisecond, of which the one about the status takes two thirds: the server adds up its connections
//! for it. Whoever reads it holds the control connection (D11); the reading itself changes nothing.

use crate::database::account;
use crate::database::end::Place;
use crate::database::gtid;
use crate::database::keep::{Counts, Keep, Kept};
use crate::database::settings::WorkerSettings;
use crate::database::sql::{Client, Rows, SqlError};
use regent_core::id::AttemptId;
use regent_core::observe::{DatabaseFacts, Position, Thread};
use regent_core::time::Span;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

const MODES: &str = "SELECT @@global.read_only AS read_only, @@global.server_id AS server_id, \
    @@global.rpl_semi_sync_master_enabled AS enabled, \
    @@global.rpl_semi_sync_master_timeout AS patience, \
    @@global.rpl_semi_sync_master_wait_no_slave AS no_slave, \
    @@global.rpl_semi_sync_master_wait_point AS point, \
    @@global.gtid_slave_pos AS applied, @@global.gtid_binlog_pos AS end, \
    @@global.log_bin_index AS log_index";
/// `Rpl_semi_sync_*`, `Com_start_slave`, `Com_stop_all_slaves` and the like, and some thirty counters more, at once.
/// By `LIKE`: with `WHERE` the server works out every status first, and one of them waits for a CREATE USER that waits
/// for the replica.
const STATUS: &str = "SHOW GLOBAL STATUS LIKE '____s%_s%'";
/// Up to where everything in the log is committed.
const PLACE: &str = "SHOW GLOBAL STATUS LIKE 'Binlog_snapshot_%'";

/// Who is attached to this server's log. Asked only when more than one confirms, and not from `information_schema`: its
/// table of processes has long texts, lies on disk for each question, and the server has crashed while it dropped one.
pub(crate) const PROCESSES: &str = "SHOW PROCESSLIST";
/// What a thread that streams to a replica does there.
pub(crate) const STREAMS: &str = "Binlog Dump";

/// What one question brought.
#[derive(Clone, Debug)]
pub(crate) struct Reading {
    pub(crate) read_only: bool,
    pub(crate) server_id: u32,
    /// The master side is switched on; its status may be off even so (section 1 of the facts).
    pub(crate) enabled: bool,
    /// Status ON.
    pub(crate) semi_sync: bool,
    /// The three settings that make ON worth something are right (D1).
    pub(crate) settings_right: bool,
    /// The third of them: commits wait before the engine shows them.
    pub(crate) right_point: bool,
    pub(crate) waiting: u32,
    confirming: u32,
    /// User, and address with port, of each replica that is attached; looked at only while more than one confirms.
    attached: Vec<(String, String)>,
    /// The receiver confirms.
    confirms: bool,
    unconfirmed: u64,
    pub(crate) starts: u64,
    pub(crate) stops: u64,
    pub(crate) end: Vec<gtid::Gtid>,
    applied: Vec<gtid::Gtid>,
    /// Where the log's index is.
    pub(crate) log_index: Option<PathBuf>,
    /// The source, if one is set.
    pub(crate) source: Option<Source>,
    shows: Option<AttemptId>,
}

/// The replication threads and whom they follow.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) receiver: Thread,
    pub(crate) applier: Thread,
    received: Vec<gtid::Gtid>,
    /// While the receiver looks for its source: why it has not found it.
    unreached: Option<Box<str>>,
    /// As the server counts it.
    behind: Option<Duration>,
    /// Bytes of its relay logs that the applier has not come to; those that are done with are removed.
    backlog: u64,
    /// The applier says that it has nothing left to do.
    idle: bool,
}

impl Reading {
    /// The receiver's thread exists, connected or not.
    pub(crate) fn receives(&self) -> bool {
        self.source.as_ref().is_some_and(|s| is_alive(&s.receiver))
    }

    /// The applier's thread exists.
    pub(crate) fn applies(&self) -> bool {
        self.source.as_ref().is_some_and(|s| is_alive(&s.applier))
    }

    /// There is an applier, and something for it to do.
    pub(crate) fn waits_for_applier(&self) -> bool {
        // The thread that reads the relay log is idle while others are at work for it.
        self.source.as_ref().is_some_and(|s| is_alive(&s.applier) && s.received != self.applied)
    }

    /// What the applier has reached.
    pub(crate) fn applied(&self) -> &[gtid::Gtid] {
        &self.applied
    }

    /// D6: the receiver is stopped and everything received is applied, by both signs.
    pub(crate) fn is_drained(&self) -> bool {
        self.source.as_ref().is_some_and(|s| {
            !is_alive(&s.receiver)
                && s.applier == Thread::Running
                && s.idle
                && s.received == self.applied
        })
    }

    /// D1: status ON, with the settings read back.
    pub(crate) fn is_strict(&self) -> bool {
        self.semi_sync && self.settings_right
    }
}

/// Is there a thread?
pub(crate) fn is_alive(thread: &Thread) -> bool {
    match thread {
        Thread::Running | Thread::Connecting => true,
        Thread::Stopped | Thread::Failed(_) => false,
    }
}

/// Asks for everything but the log's end.
pub(crate) async fn read(
    client: &mut Client,
    look_for: Option<AttemptId>,
    bound: Duration,
) -> Result<Reading, SqlError> {
    let plain = format!("{MODES}; {STATUS}; SHOW SLAVE STATUS");
    let looked = match look_for {
        None => Ok(client.query(&plain, bound).await?),
        Some(token) => {
            let look = format!("{plain}; SELECT COUNT(*) FROM regent.marker WHERE token='{token}'");
            client.query(&look, bound).await
        }
    };
    let mut reading = match looked {
        Err(fault) if fault.is_not_made() => understand(client.query(&plain, bound).await?, None),
        answer => understand(answer?, look_for),
    }?;
    if reading.confirming > 1 {
        let processes = client.one(PROCESSES, bound).await?;
        reading.attached = processes
            .columns(["Command", "User", "Host"])
            .filter(|[command, ..]| *command == STREAMS)
            .map(|[_, user, host]| (user.into(), host.into()))
            .collect();
    }
    Ok(reading)
}

/// Up to where everything in the log is committed, as the server names it.
pub(crate) async fn place(client: &mut Client, bound: Duration) -> Result<Option<Place>, SqlError> {
    committed(&client.one(PLACE, bound).await?)
}

fn understand(answers: Vec<Rows>, look_for: Option<AttemptId>) -> Result<Reading, SqlError> {
    let empty = Rows::default();
    let set = |i: usize| answers.get(i).unwrap_or(&empty);
    let (modes, status) = (set(0), set(1));
    let place = |text: Option<&str>| gtid::list(text.unwrap_or_default()).map_err(strange);
    Ok(Reading {
        read_only: number::<u8>(modes.first("read_only"), "read_only")? != 0,
        server_id: number(modes.first("server_id"), "server_id")?,
        enabled: number::<u8>(modes.first("enabled"), "enabled")? != 0,
        semi_sync: status.value("Rpl_semi_sync_master_status") == Some("ON"),
        settings_right: modes.first("patience") == Some("18446744073709551615")
            && modes.first("no_slave") == Some("1")
            && modes.first("point") == Some("AFTER_SYNC"),
        right_point: modes.first("point") == Some("AFTER_SYNC"),
        waiting: number(status.value("Rpl_semi_sync_master_wait_sessions"), "wait_sessions")?,
        confirming: number(status.value("Rpl_semi_sync_master_clients"), "clients")?,
        attached: Vec::new(),
        confirms: status.value("Rpl_semi_sync_slave_status") == Some("ON"),
        unconfirmed: number(status.value("Rpl_semi_sync_master_no_tx"), "no_tx")?,
        starts: sum(status, ["Com_start_slave", "Com_start_all_slaves"])?,
        stops: sum(status, ["Com_stop_slave", "Com_stop_all_slaves"])?,
        end: place(modes.first("end"))?,
        applied: place(modes.first("applied"))?,
        log_index: modes.first("log_index").map(PathBuf::from),
        source: source(set(2))?,
        shows: look_for.filter(|_| set(3).scalar().is_some_and(|count| count != "0")),
    })
}

fn committed(rows: &Rows) -> Result<Option<Place>, SqlError> {
    let Some(file) = rows.value("Binlog_snapshot_file").filter(|file| !file.is_empty()) else {
        return Ok(None);
    };
    let at = number(rows.value("Binlog_snapshot_position"), "Binlog_snapshot_position")?;
    Ok(Some(Place { file: file.to_string(), at }))
}

fn source(rows: &Rows) -> Result<Option<Source>, SqlError> {
    let Some(host) = rows.first("Master_Host") else { return Ok(None) };
    let receiver = match rows.first("Slave_IO_Running") {
        Some("Yes") => Thread::Running,
        Some("Connecting" | "Preparing") => Thread::Connecting,
        Some(_) | None => stopped(rows, "Last_IO_Errno", "Last_IO_Error"),
    };
    let applier = match rows.first("Slave_SQL_Running") {
        Some("Yes") => Thread::Running,
        Some(_) | None => stopped(rows, "Last_SQL_Errno", "Last_SQL_Error"),
    };
    let idle = rows.first("Slave_SQL_Running_State").unwrap_or_default();
    let idle = idle.starts_with("Slave has read all relay log");
    let said = rows.first("Last_IO_Error").filter(|text| !text.is_empty());
    let unreached = said.filter(|_| receiver == Thread::Connecting).map(Box::from);
    let behind = rows.first("Seconds_Behind_Master").and_then(|s| s.parse().ok());
    let behind = behind.filter(|s| *s > 0).map(Duration::from_secs);
    let bytes = |name| rows.first(name).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    let backlog = bytes("Relay_Log_Space").saturating_sub(bytes("Relay_Log_Pos"));
    Ok(Some(Source {
        host: host.to_string(),
        port: number(rows.first("Master_Port"), "Master_Port")?,
        receiver,
        applier,
        received: gtid::list(rows.first("Gtid_IO_Pos").unwrap_or_default()).map_err(strange)?,
        unreached,
        behind,
        backlog,
        idle,
    }))
}

/// A thread that is not there: because of an error, or because it was told so. A failure to connect stops no
/// receiver, it only leaves its text behind.
fn stopped(rows: &Rows, code: &str, text: &str) -> Thread {
    let code = rows.first(code).and_then(|c| c.parse::<u32>().ok()).unwrap_or(0);
    let connecting = (2000..2100).contains(&code) || matches!(code, 1040 | 1053 | 1158..=1161);
    if code == 0 || connecting {
        return Thread::Stopped;
    }
    Thread::Failed(format!("error {code}: {}", rows.first(text).unwrap_or_default()))
}

fn sum(counts: &Rows, names: [&str; 2]) -> Result<u64, SqlError> {
    names.into_iter().map(|name| number::<u64>(counts.value(name), name)).sum()
}

fn number<T: std::str::FromStr>(text: Option<&str>, what: &str) -> Result<T, SqlError> {
    text.and_then(|t| t.parse().ok())
        .ok_or_else(|| strange(format!("{what} is no number: {text:?}")))
}

fn strange(text: String) -> SqlError {
    SqlError::Server { code: 0, text }
}

/// What core is told.
pub(crate) fn facts(
    reading: &Reading,
    start: u64,
    kept: &Kept,
    counts: Option<&Counts>,
    settings: &WorkerSettings,
) -> DatabaseFacts {
    let (keep, mark) = match kept {
        // Begun and not ended, or distrusted: these data are nobody's copy.
        Kept::Agreed(keep) if keep.unfinished => (None, keep.mark),
        Kept::Agreed(keep) => (Some(keep), keep.mark),
        Kept::LogBegan(keep) => (None, keep.mark),
        Kept::Missing => (None, false),
        Kept::Disagree { mark } => (None, *mark),
    };
    let was = match kept {
        Kept::Agreed(keep) => keep.was.as_slice().into(),
        Kept::LogBegan(keep) => keep.names_of(start).into(),
        Kept::Missing | Kept::Disagree { .. } => Box::default(),
    };
    let counts = counts.filter(|counts| keep.is_some_and(|k| k.incarnation == counts.incarnation));
    let explained = counts.is_some_and(|c| c.explain(start, reading.starts, reading.stops));
    let still = !reading.receives() && !reading.applies();
    let ended = explained && still && counts.is_some_and(|counts| counts.ended);
    // The mark is taken off only when all is applied: what is left of a source then is a name without threads.
    let left_over = still && keep.is_some_and(|keep| !keep.mark);
    let source = reading.source.as_ref().filter(|_| !ended && !left_over);
    let nothing_received = source.is_none() && (ended || !mark);
    let both_stopped = still && !ended && counts.is_some_and(|counts| counts.followed);
    let thread = |thread: fn(&Source) -> &Thread| {
        source.map_or(Thread::Stopped, |source| thread(source).clone())
    };
    DatabaseFacts {
        start,
        read_only: reading.read_only,
        strict: reading.is_strict(),
        waiting: reading.waiting,
        confirming: reading.confirming,
        others: others(&reading.attached, settings),
        confirms: reading.confirms,
        receiver: thread(|s| &s.receiver),
        applier: thread(|s| &s.applier),
        source: source.and_then(|source| settings.node_at(&source.host, source.port)),
        unreached: source.and_then(|source| source.unreached.clone()),
        behind: source
            .filter(|_| reading.waits_for_applier())
            .and_then(|source| source.behind)
            .map(|behind| Span(behind.as_nanos() as u64)),
        backlog: source
            .filter(|_| reading.waits_for_applier())
            .map_or(0, |source| u32::try_from(source.backlog >> 20).unwrap_or(u32::MAX)),
        locked: None,
        shut_out: None,
        drift: Box::default(),
        comparison: None,
        renewed: false,
        drained: nothing_received || reading.is_drained(),
        end: Position(gtid::text(&reading.end)),
        applied: Position(gtid::text(&reading.applied)),
        shows: reading.shows,
        unconfirmed: reading.unconfirmed,
        incarnation: keep.map(|keep| keep.incarnation),
        was,
        mark,
        broken: is_broken(keep, start, explained && !both_stopped),
    }
}

/// Who is attached and is no member's database: another account, or ours from an address that is no member's. A name
/// instead of an address says nothing: it is what the server's resolver made of it.
fn others(attached: &[(String, String)], settings: &WorkerSettings) -> Box<[String]> {
    let ours = |user: &str, address: &str| {
        let foreign = |ip: IpAddr| settings.nodes.iter().all(|node| node.address != ip);
        user == account::USER && !address.parse().is_ok_and(foreign)
    };
    attached
        .iter()
        .map(|(user, host)| (user, host.rsplit_once(':').map_or(host.as_str(), |(ip, _)| ip)))
        .filter(|(user, address)| !ours(user, address))
        .map(|(user, address)| format!("{user}@{address}"))
        .collect()
}

/// D4: under a mark, another start of the server, a count beyond this agent's own steps, or both threads stopped (the
/// next start of either deletes what was received) ends the incarnation.
fn is_broken(keep: Option<&Keep>, start: u64, whole: bool) -> bool {
    keep.is_some_and(|keep| keep.mark && (keep.start != start || !whole))
}

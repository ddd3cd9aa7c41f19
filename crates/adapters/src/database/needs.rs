//! What Regent needs of the server's settings: as they run, and as the server will read them at its next start.
//!
//! Everything here stands in `zz-regent.cnf`; it is compared, because a server that was not started anew since, a file
//! that is read later, or somebody's SET GLOBAL make it otherwise.

use crate::database::settings::WorkerSettings;
use crate::database::site::{self, Configured};
use crate::database::sql::{Client, Rows, SqlError};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

const BOUND: Duration = Duration::from_secs(2);

/// What a setting must be.
enum Must {
    /// This word or number.
    Be(&'static str),
    /// Nothing.
    BeEmpty,
    /// An address that clients and the other node reach.
    BeReached,
}

/// One that Regent rests on, and why, for people.
struct Need {
    name: &'static str,
    must: Must,
    why: &'static str,
    /// What the server is told at its next start counts, not what it has now: Regent changes it at run time.
    at_start: bool,
}

const fn need(name: &'static str, must: Must, why: &'static str) -> Need {
    Need { name, must, why, at_start: false }
}

const fn start(name: &'static str, must: Must, why: &'static str) -> Need {
    Need { name, must, why, at_start: true }
}

const NEEDS: [Need; 27] = [
    need("log_bin", Must::Be("ON"), "without a log nothing can follow"),
    need("log_slave_updates", Must::Be("ON"), "a standby that takes over needs the whole log"),
    need("binlog_format", Must::Be("ROW"), "statements may do something else on the standby"),
    need("binlog_row_image", Must::Be("FULL"), "only whole rows can be undone"),
    need("log_bin_compress", Must::Be("OFF"), "compressed rows cannot be undone"),
    need("encrypt_binlog", Must::Be("OFF"), "an encrypted log cannot be compared"),
    need("gtid_strict_mode", Must::Be("ON"), "a standby must stop at a hole"),
    need("gtid_domain_id", Must::Be("0"), "a cluster writes in one domain"),
    need("sync_binlog", Must::Be("1"), "a loss of power would lose acknowledged writes"),
    need(
        "innodb_flush_log_at_trx_commit",
        Must::Be("1"),
        "a loss of power would lose acknowledged writes",
    ),
    need("innodb_support_xa", Must::Be("ON"), "the log and the tables would part"),
    need("innodb_doublewrite", Must::Be("ON"), "a loss of power would tear pages"),
    need(
        "skip_name_resolve",
        Must::Be("ON"),
        "a resolver that hangs would hold up every connection",
    ),
    need("skip_networking", Must::Be("OFF"), "nobody could follow"),
    need(
        "bind_address",
        Must::BeReached,
        "neither clients at the virtual IP nor the other node reach it",
    ),
    need("max_statement_time", Must::Be("0"), "a timer could end a commit's wait for the standby"),
    need(
        "rpl_semi_sync_master_wait_point",
        Must::Be("AFTER_SYNC"),
        "others would see a row before it is safe",
    ),
    need("binlog_do_db", Must::BeEmpty, "what is filtered out is not on the standby"),
    need("binlog_ignore_db", Must::BeEmpty, "what is filtered out is not on the standby"),
    need("replicate_do_db", Must::BeEmpty, "what is filtered out is not on the standby"),
    need("replicate_ignore_db", Must::BeEmpty, "what is filtered out is not on the standby"),
    need("replicate_do_table", Must::BeEmpty, "what is filtered out is not on the standby"),
    need("replicate_ignore_table", Must::BeEmpty, "what is filtered out is not on the standby"),
    start("read_only", Must::Be("ON"), "a start alone must make nobody a writer"),
    start("skip_slave_start", Must::Be("ON"), "a start alone must make nobody a follower"),
    start("rpl_semi_sync_master_enabled", Must::Be("ON"), "a start alone must acknowledge nothing"),
    start("init_rpl_role", Must::Be("MASTER"), "a recovery would cut acknowledged writes off"),
];

impl Need {
    /// What is wrong with this value; none if it is as it must be, or the server knows no such setting.
    fn wrong(&self, value: Option<&str>) -> Option<String> {
        let value = value?;
        let (right, wanted) = match self.must {
            Must::Be(wanted) => (same(value, wanted), wanted),
            Must::BeEmpty => (value.is_empty(), "nothing"),
            Must::BeReached => {
                let own = |address: &str| {
                    let address = address.trim();
                    address == "localhost" || address.starts_with("127.") || address == "::1"
                };
                (value.is_empty() || !value.split(',').all(own), "0.0.0.0")
            }
        };
        (!right).then(|| format!("{}={value}, and must be {wanted}: {}", self.name, self.why))
    }
}

/// As the server takes them for the same: 1 and ON, a number and its decimals, in any case.
fn same(value: &str, wanted: &str) -> bool {
    let plain = |text: &str| match text.trim().to_ascii_uppercase().as_str() {
        "1" | "TRUE" | "YES" => "ON".to_string(),
        "0" | "FALSE" | "NO" => "OFF".to_string(),
        other => {
            other.parse::<f64>().map_or_else(|_| other.to_string(), |number| number.to_string())
        }
    };
    let (value, wanted) = (plain(value), plain(wanted));
    let zero = |text: &str| text == "0" || text == "OFF";
    value == wanted || (zero(&value) && zero(&wanted))
}

/// Something that is not as Regent needs it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Amiss {
    /// In words, with what it must be and why.
    pub what: String,
    /// The server only has to be started anew: its files say what is right.
    pub by_restart: bool,
}

/// Which settings of the running server are not as they must be.
pub(crate) async fn drifted(client: &mut Client) -> Result<Vec<String>, SqlError> {
    let rows = running(client).await?;
    let wrong = |need: &Need| need.wrong(rows.value(need.name));
    Ok(NEEDS.iter().filter(|need| !need.at_start).filter_map(wrong).collect())
}

async fn running(client: &mut Client) -> Result<Rows, SqlError> {
    let names: Vec<String> = NEEDS.iter().map(|need| format!("'{}'", need.name)).collect();
    let look = format!("SHOW GLOBAL VARIABLES WHERE Variable_name IN ({})", names.join(","));
    client.one(&look, BOUND).await
}

/// What is not as it must be in what a server that is down will read.
pub(crate) async fn of_files() -> Vec<Amiss> {
    look(&Rows::default(), &Configured::read().await)
}

/// Everything that is not as it must be, as the server runs and as it will start.
pub(crate) async fn survey(
    client: &mut Client,
    settings: &WorkerSettings,
    port: u16,
) -> Result<Vec<Amiss>, SqlError> {
    let running = running(client).await?;
    let configured = Configured::read().await;
    let mut amiss = look(&running, &configured);
    let has = client.one("SELECT @@port", BOUND).await?;
    let has = has.scalar().unwrap_or_default();
    if has != port.to_string() {
        let what = format!("port={has}, and [database] port says {port}");
        amiss.push(Amiss { what, by_restart: false });
    }
    let datadir = client.one("SELECT @@datadir", BOUND).await?;
    let datadir = datadir.scalar().unwrap_or_default().trim_end_matches('/');
    if site::real(Path::new(datadir)) != site::real(&settings.datadir) {
        let expected = settings.datadir.display();
        let what = format!("datadir={datadir}, and the server's files say {expected}");
        amiss.push(Amiss { what, by_restart: true });
    }
    if let Some(setting) = site::leads_out_of(client, &settings.datadir, BOUND).await? {
        let what = format!("{setting} leads out of the data directory: no copy can be taken");
        amiss.push(Amiss { what, by_restart: false });
    }
    Ok(amiss)
}

fn look(running: &Rows, configured: &Configured) -> Vec<Amiss> {
    let known: BTreeMap<&str, String> =
        NEEDS.iter().filter_map(|need| Some((need.name, configured.value(need.name)?))).collect();
    let mut amiss = Vec::new();
    for need in &NEEDS {
        let written = known.get(need.name).map(String::as_str);
        // A switch without a value is on; one that is not written is as the server has it by itself.
        let written = written.map(|value| if value.is_empty() { "ON" } else { value });
        let in_file = need.wrong(written);
        if need.at_start {
            let nothing = written
                .is_none()
                .then(|| format!("{} is not set in the server's files: {}", need.name, need.why));
            amiss.extend(in_file.or(nothing).map(|what| Amiss { what, by_restart: false }));
            continue;
        }
        if let Some(what) = need.wrong(running.value(need.name)) {
            // A log has a name, not a switch.
            let by_restart = written.is_some() && (in_file.is_none() || need.name == "log_bin");
            amiss.push(Amiss { what, by_restart });
        } else if let Some(what) = in_file.filter(|_| need.name != "log_bin") {
            let what = format!("the server's files have another value than it runs with: {what}");
            amiss.push(Amiss { what, by_restart: false });
        }
    }
    amiss
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_compared_as_the_server_means_them() {
        assert!(same("1", "ON") && same("on", "1") && same("0.000000", "0") && same("OFF", "0"));
        assert!(!same("OFF", "ON") && !same("2", "1") && !same("MIXED", "ROW"));
    }

    #[test]
    fn an_address_that_nobody_else_reaches_is_wrong() {
        let bound = NEEDS.iter().find(|need| need.name == "bind_address").expect("there");
        let wrong = |value| bound.wrong(Some(value)).is_some();
        assert!(wrong("127.0.0.1") && wrong("::1") && wrong("localhost"));
        assert!(!wrong("0.0.0.0") && !wrong("*") && !wrong("127.0.0.1,10.77.0.11"));
    }

    #[test]
    fn what_only_needs_a_restart_is_told_apart() {
        let shipped = "--read_only=1\n--skip_slave_start=1\n--rpl_semi_sync_master_enabled=1\n\
            --init_rpl_role=MASTER\n--log_bin=binlog\n--sync_binlog=1\n";
        let row =
            |name: &str, value: &str| [name, value].map(|text| Some(text.to_string())).to_vec();
        let running = |value| {
            Rows::of(
                ["Variable_name", "Value"],
                vec![row("log_bin", "OFF"), row("sync_binlog", value), row("binlog_do_db", "")],
            )
        };
        let found = look(&running("1"), &Configured::of(shipped));
        assert_eq!(found.len(), 1, "{found:?}");
        assert!(found[0].by_restart && found[0].what.contains("log_bin=OFF"), "{found:?}");
        let found = look(&running("0"), &Configured::of(&format!("{shipped}--sync-binlog=0\n")));
        assert!(found.iter().any(|a| a.what.contains("sync_binlog=0") && !a.by_restart));
        let found = look(&running("1"), &Configured::of("--log_bin\n"));
        assert_eq!(found.iter().filter(|a| a.what.contains("is not set")).count(), 4, "{found:?}");
    }
}

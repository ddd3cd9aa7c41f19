//! Is the database on the shared data the one that the configuration says, for this host's server?

use super::files;
use super::hands::Hands;
use super::procs;
use super::trouble::Trouble;
use crate::run;
use regent_config::steps::{Engine, EngineKind};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A server says its version in milliseconds.
const VERSION_MAX: Duration = Duration::from_secs(5);

/// What regent's package lays down for replicated databases.
const REPLICATED: &str = "/etc/mysql/mariadb.conf.d/zz-regent.cnf";

fn word(kind: EngineKind) -> &'static str {
    match kind {
        EngineKind::Mysql => "mysql",
        EngineKind::Postgresql => "postgresql",
        EngineKind::Sqlite => "sqlite",
    }
}

/// What is not as it must be, each with its remedy. Changes nothing.
pub(super) fn check(hands: &Hands, engine: &Engine) -> Vec<String> {
    let mut troubles = Vec::new();
    let mut take = |checked: Result<(), String>| troubles.extend(checked.err());
    if let Some(cfgloc) = &engine.cfgloc {
        take(check_cfgloc(hands, engine.kind, cfgloc));
    }
    match engine.kind {
        EngineKind::Postgresql => take(check_postgresql(hands, engine)),
        EngineKind::Mysql => take(check_mysql(hands, engine)),
        EngineKind::Sqlite => take(check_sqlite(hands, engine)),
    }
    troubles
}

/// Where something on the shared data is looked for: there, or on this host while the link to it is not made and this
/// node is the first to seed it. It need not exist.
fn place(hands: &Hands, shared: &Path) -> PathBuf {
    let seed = if shared.exists() { None } else { hands.local_of(shared) };
    seed.unwrap_or_else(|| shared.to_owned())
}

/// The same, if it exists.
fn find(hands: &Hands, shared: &Path) -> Option<PathBuf> {
    Some(place(hands, shared)).filter(|path| path.exists())
}

fn check_cfgloc(hands: &Hands, kind: EngineKind, shared: &Path) -> Result<(), String> {
    let path = place(hands, shared);
    let shown = path.display();
    if !path.exists() {
        // xCAT writes none for SQLite, and takes a missing one for it.
        if kind == EngineKind::Sqlite || hands.awaits_install() {
            return Ok(());
        }
        return Err(format!(
            "{shown} is missing, which means SQLite, and the configuration says {}: switch the product's database, \
             or correct stack.database.kind",
            word(kind)
        ));
    }
    let text = fs::read_to_string(&path).map_err(|error| format!("read {shown}: {error}"))?;
    let first = text.trim().split(':').next().unwrap_or_default().trim();
    let found = match first.to_ascii_lowercase().as_str() {
        "pg" | "postgresql" => Some(EngineKind::Postgresql),
        "mysql" | "mariadb" => Some(EngineKind::Mysql),
        "sqlite" => Some(EngineKind::Sqlite),
        _ => None,
    };
    match found {
        Some(found) if found == kind => Ok(()),
        Some(found) => Err(format!(
            "{shown} says {}, the configuration says {}: switch the product's database, or correct \
             stack.database.kind",
            word(found),
            word(kind)
        )),
        None if first.is_empty() => {
            Err(format!("{shown} is empty: it names the product's database"))
        }
        None => Err(format!("{shown} says {first:?}, which is no database that is known here")),
    }
}

/// The directories with this file at, or one or two levels below, a data directory.
fn clusters(data: &Path, mark: &str) -> Vec<PathBuf> {
    let children = |directory: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let mut all: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        all.sort();
        all
    };
    let mut level = vec![data.to_owned()];
    for _ in 0..3 {
        let found: Vec<PathBuf> =
            level.iter().filter(|directory| directory.join(mark).is_file()).cloned().collect();
        if !found.is_empty() {
            return found;
        }
        level = level.iter().flat_map(|directory| children(directory)).collect();
    }
    Vec::new()
}

/// There are data for a server of this host to serve.
pub(super) fn has_data(hands: &Hands, engine: &Engine) -> bool {
    let Some(data) = find(hands, &engine.data) else { return false };
    match engine.kind {
        EngineKind::Postgresql => !clusters(&data, "PG_VERSION").is_empty(),
        EngineKind::Mysql => data.join("mysql").is_dir(),
        EngineKind::Sqlite => false,
    }
}

fn missing_data(hands: &Hands, engine: &Engine, what: &str) -> Result<(), String> {
    if hands.awaits_install() {
        return Ok(());
    }
    Err(format!(
        "{} has no data of {what} ({}): make them there, or correct stack.database",
        place(hands, &engine.data).display(),
        word(engine.kind)
    ))
}

fn check_postgresql(hands: &Hands, engine: &Engine) -> Result<(), String> {
    let Some(data) = find(hands, &engine.data) else {
        return missing_data(hands, engine, "PostgreSQL");
    };
    let found = clusters(&data, "PG_VERSION");
    let Some(cluster) = found.first() else { return missing_data(hands, engine, "PostgreSQL") };
    let read = fs::read_to_string(cluster.join("PG_VERSION"));
    let there = read.map_err(|error| format!("read {}/PG_VERSION: {error}", cluster.display()))?;
    let there = there.trim();
    let ours = match &engine.version {
        Some(version) => vec![version.clone()],
        None => postgresql_installed(),
    };
    if ours.is_empty() && !hands.awaits_install() {
        return Err("no server of PostgreSQL is installed on this node: install the version that the other node \
                    has"
        .into());
    }
    if !ours.is_empty() && !ours.iter().any(|ours| ours == there) {
        return Err(format!(
            "the data in {} are of PostgreSQL {there}, this node's server is {}: install PostgreSQL {there} here, \
             or upgrade the data (pg_upgrade)",
            cluster.display(),
            ours.join(", ")
        ));
    }
    check_owner(cluster, "postgres", hands.awaits_install())
}

/// The major versions of the servers that are installed.
fn postgresql_installed() -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let entries = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.path().join("bin/postgres").exists()) {
        found.push(entry.file_name().to_string_lossy().into_owned());
    }
    let others = ["/usr/bin/postgres".to_owned()].into_iter().chain(
        fs::read_dir("/usr").into_iter().flatten().flatten().filter_map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            name.starts_with("pgsql-").then(|| format!("/usr/{name}/bin/postgres"))
        }),
    );
    for server in others.filter(|server| Path::new(server).exists()) {
        // `postgres (PostgreSQL) 13.14`
        let said = run::run(&server, &["--version"], "", VERSION_MAX).unwrap_or_default();
        let version = said.split_whitespace().find(|w| w.starts_with(|c: char| c.is_ascii_digit()));
        found.extend(version.and_then(|version| version.split('.').next()).map(str::to_owned));
    }
    found.sort();
    found.dedup();
    found
}

fn check_mysql(hands: &Hands, engine: &Engine) -> Result<(), String> {
    let Some(data) = find(hands, &engine.data) else {
        return missing_data(hands, engine, "MariaDB");
    };
    if Path::new(REPLICATED).exists() {
        return Err(format!(
            "{REPLICATED} is in force: it makes MariaDB wait for a replica and refuse to write, which is for a \
             replicated database; remove it, then restart MariaDB wherever it runs"
        ));
    }
    if !data.join("mysql").is_dir() {
        return missing_data(hands, engine, "MariaDB");
    }
    let ours = engine.version.clone().or_else(mysql_installed);
    let there = ["mariadb_upgrade_info", "mysql_upgrade_info"]
        .iter()
        .find_map(|name| fs::read_to_string(data.join(name)).ok())
        .and_then(|text| major(&text));
    match (&ours, there) {
        (None, _) if !hands.awaits_install() => {
            return Err("no server of MariaDB or MySQL is installed on this node: install the version that the \
                        other node has"
            .into());
        }
        // A server that never was upgraded wrote no version.
        (None, _) | (Some(_), None) => {}
        (Some(ours), Some(there)) if major(ours).as_deref() == Some(there.as_str()) => {}
        (Some(ours), Some(there)) => {
            return Err(format!(
                "the data in {} are of version {there}, this node's server is {ours}: install the same version on \
                 both nodes",
                data.display()
            ));
        }
    }
    check_owner(&data, "mysql", hands.awaits_install())
}

/// `10.11.6-MariaDB` is 10.11.
fn major(version: &str) -> Option<String> {
    let mut numbers = version.trim().split(['.', '-']);
    let (first, second) = (numbers.next()?, numbers.next()?);
    first.parse::<u32>().ok()?;
    Some(format!("{first}.{second}"))
}

fn mysql_installed() -> Option<String> {
    let servers =
        ["/usr/sbin/mariadbd", "/usr/libexec/mariadbd", "/usr/sbin/mysqld", "/usr/libexec/mysqld"];
    let server = servers.iter().find(|server| Path::new(server).exists())?;
    // `mariadbd  Ver 10.11.6-MariaDB-0+deb12u1 for debian-linux-gnu on x86_64`
    let said = run::run(server, &["--version"], "", VERSION_MAX).ok()?;
    let version = said.split_whitespace().skip_while(|word| *word != "Ver").nth(1)?;
    major(version)
}

fn check_sqlite(hands: &Hands, engine: &Engine) -> Result<(), String> {
    let has_files = |data: &Path| {
        let entries = fs::read_dir(data).into_iter().flatten().flatten();
        entries.into_iter().any(|e| e.path().extension().is_some_and(|x| x == "sqlite"))
    };
    match find(hands, &engine.data) {
        Some(data) if has_files(&data) => Ok(()),
        Some(_) | None => missing_data(hands, engine, "SQLite"),
    }
}

/// The same user has the same number on both hosts, or the server cannot read its own data.
fn check_owner(data: &Path, user: &str, may_lack: bool) -> Result<(), String> {
    let found =
        fs::metadata(data).map_err(|error| format!("look at {}: {error}", data.display()))?;
    let Some(local) = uid_of(user) else {
        if may_lack {
            return Ok(());
        }
        return Err(format!("there is no user {user} on this node: install the database server"));
    };
    if local == found.uid() {
        return Ok(());
    }
    Err(format!(
        "{} belongs to user {}, this node's {user} is {local}: give {user} the same number on both nodes \
         (usermod -u {} {user}, while nothing of it runs)",
        data.display(),
        found.uid(),
        found.uid()
    ))
}

fn uid_of(user: &str) -> Option<u32> {
    let text = fs::read_to_string("/etc/passwd").ok()?;
    let line = text.lines().find(|line| line.split(':').next() == Some(user))?;
    line.split(':').nth(2)?.parse().ok()
}

/// Checks, and clears what a crash left that would keep the server from starting.
pub(super) fn up(hands: &Hands, engine: &Engine) -> Result<(), Trouble> {
    let troubles = check(hands, engine);
    if !troubles.is_empty() {
        return Err(Trouble::new(troubles.join("; ")));
    }
    match engine.kind {
        EngineKind::Postgresql => forget_pid(hands, engine),
        EngineKind::Mysql | EngineKind::Sqlite => Ok(()),
    }
}

/// The process that `postmaster.pid` names ran on the host that crashed: here its number means nothing, and may be
/// another process's. It goes if nobody of this host has the data open; the register says that no other host has.
fn forget_pid(hands: &Hands, engine: &Engine) -> Result<(), Trouble> {
    for cluster in clusters(&engine.data, "PG_VERSION") {
        let pid = cluster.join("postmaster.pid");
        if !pid.exists() {
            continue;
        }
        let real = fs::canonicalize(&cluster).unwrap_or_else(|_| cluster.clone());
        if procs::holders(&[real]).is_empty() {
            files::remove_file(&pid).map_err(Trouble::at("remove", &pid))?;
            files::sync_parent(&pid)?;
            hands.note(&format!("{} was left by a crash: removed", pid.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_compared_by_what_its_data_depend_on() {
        assert_eq!(major("10.11.6-MariaDB\n").as_deref(), Some("10.11"));
        assert_eq!(major("8.0.36").as_deref(), Some("8.0"));
        assert_eq!(major("nonsense"), None);
    }
}

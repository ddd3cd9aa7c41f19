//! Back into the writer's lineage: undo a tail in place, or take a fresh copy of everything.
//!
//! Both begin with a note on the disk that they have begun, and end by taking it back: data between the two are
//! good for nothing but being replaced (D8). Nothing is removed here: a rewind needs its tail saved before, a copy
//! moves the old data directory aside.

use crate::database::backup::{OPEN_FILES, STALL, bounded};
use crate::database::gtid::{self, Gtid};
use crate::database::lineage::Common;
use crate::database::own;
use crate::database::settings::WorkerSettings;
use crate::database::tool;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

const UNDO: Duration = Duration::from_secs(600);
const PREPARE: Duration = Duration::from_secs(3600);

/// Writes the undo of everything beyond the common point and plays it, unlogged, so that no wait is begun.
/// The undo stays with the saved tail.
pub(crate) async fn undo(
    common: &Common,
    saved: &Path,
    settings: &WorkerSettings,
) -> Result<(), String> {
    let path = saved.join("undo.sql");
    let mut command = tool::tool("mariadb-binlog");
    command.args(["--flashback", &format!("--start-position={}", common.gtid)]);
    command.args(&common.files);
    tool::into_file(&mut command, &path).map_err(|fault| fault.to_string())?;
    tool::run(command, UNDO).await?;
    let mut client = own::tool("mariadb", settings).await?;
    client.arg("--init-command=SET SESSION sql_log_bin=0, innodb_lock_wait_timeout=5");
    client.args(["--batch", "--binary-mode"]);
    let mut child =
        client.stdin(Stdio::piped()).spawn().map_err(|fault| format!("mariadb: {fault}"))?;
    let mut input = child.stdin.take().ok_or("mariadb has no input")?;
    // Through a pipe of this process: if it dies, the undo ends with it.
    let feeding = async move {
        let mut file = tokio::fs::File::open(&path).await?;
        tokio::io::copy(&mut file, &mut input).await?;
        input.shutdown().await
    };
    let (fed, ended) = tokio::join!(feeding, tool::finish(child, "mariadb", UNDO));
    ended.and(fed.map_err(|fault| fault.to_string()))
}

/// Sets the log to this place: empty, with the state the writer's log had there. The place itself must stand last in
/// it: the server takes the last of a domain as the end of the log, whatever its number.
pub(crate) fn reset_to(state: &[Gtid], place: Gtid) -> String {
    let mut ordered: Vec<Gtid> = state.iter().filter(|gtid| **gtid != place).copied().collect();
    ordered.push(place);
    let state = gtid::text(&ordered);
    // RESET MASTER and the new state each remove the log, and wait before that until the engine has written out what it
    // holds of it: by itself that comes once a second.
    format!(
        "FLUSH LOCAL ENGINE LOGS; RESET MASTER; FLUSH LOCAL ENGINE LOGS; \
         SET GLOBAL gtid_binlog_state='{state}'; SET GLOBAL gtid_slave_pos='{place}'"
    )
}

/// Unpacks the stream that arrives on this socket; says now and then how far it is.
pub(crate) async fn unpack(
    listener: UnixListener,
    into: &Path,
    mut progress: impl FnMut(u64),
) -> Result<(), String> {
    /// How often progress is worth a word.
    const STEP: u64 = 64 << 20;
    let text = |fault: io::Error| fault.to_string();
    let accepting = async { listener.accept().await.map(|(stream, _)| stream) };
    let mut stream = bounded(accepting).await.map_err(text)?;
    let mut command = tool::bare("mbstream");
    command.arg("-x").arg("-C").arg(into).stdin(Stdio::piped());
    let mut child = command.spawn().map_err(|fault| format!("mbstream: {fault}"))?;
    let mut input = child.stdin.take().ok_or("mbstream has no input")?;
    let copying = async move {
        let mut part = vec![0; 256 * 1024];
        let (mut total, mut told) = (0, 0);
        loop {
            let n = bounded(stream.read(&mut part)).await?;
            if n == 0 {
                progress(total);
                return input.shutdown().await;
            }
            bounded(input.write_all(&part[..n])).await?;
            total += n as u64;
            if total - told >= STEP {
                told = total;
                progress(total);
            }
        }
    };
    let (copied, ended) = tokio::join!(copying, tool::finish(child, "mbstream", PREPARE + STALL));
    ended.and(copied.map_err(text))
}

/// Makes the copy startable.
pub(crate) async fn prepare(folder: &Path) -> Result<(), String> {
    let mut command = tool::tool("mariadb-backup");
    command.args(["--prepare", OPEN_FILES]);
    command.arg(format!("--target-dir={}", folder.display()));
    tool::run(command, PREPARE).await
}

/// The place in the writer's log at which the copy stands: file and byte.
pub(crate) fn place_of_copy(folder: &Path) -> Result<(String, u64), String> {
    let names = ["mariadb_backup_binlog_info", "xtrabackup_binlog_info"];
    let text = names.iter().find_map(|name| std::fs::read_to_string(folder.join(name)).ok());
    let text = text.ok_or("the copy does not say where in the log it stands")?;
    let mut words = text.split_whitespace();
    let file = words.next().ok_or("the copy names no log file")?;
    let offset = words.next().and_then(|w| w.parse().ok()).ok_or("the copy names no place")?;
    Ok((file.to_string(), offset))
}

/// Gives everything in the folder the owner and the folder the mode of the data directory, and the package's notes;
/// syncs all of it. Where there is no data directory any more, those that the package gives it.
pub(crate) fn adopt(folder: &Path, datadir: &Path) -> io::Result<()> {
    let same = folder.canonicalize()? == datadir.canonicalize().unwrap_or_default();
    if datadir.exists() && !same {
        for entry in std::fs::read_dir(datadir)? {
            let entry = entry?;
            if is_note(&entry.file_name().to_string_lossy()) {
                std::fs::copy(entry.path(), folder.join(entry.file_name()))?;
            }
        }
    }
    let (uid, gid, mode) = match std::fs::metadata(datadir) {
        Ok(like) if like.uid() != 0 => (like.uid(), like.gid(), like.permissions()),
        Ok(_) | Err(_) => {
            let (uid, gid) = server_account()?;
            (uid, gid, std::fs::Permissions::from_mode(0o700))
        }
    };
    own(folder, uid, gid)?;
    std::fs::set_permissions(folder, mode)?;
    // One call for the whole file system: thousands of single ones take minutes.
    rustix::fs::syncfs(std::fs::File::open(folder)?)?;
    Ok(())
}

/// Whom the package runs the server as.
fn server_account() -> io::Result<(u32, u32)> {
    const NAME: &str = "mysql";
    let accounts = std::fs::read_to_string("/etc/passwd")?;
    let found = accounts.lines().find_map(|line| {
        let mut fields = line.split(':');
        let named = fields.next() == Some(NAME);
        let (_, uid, gid) = (fields.next()?, fields.next()?, fields.next()?);
        named.then_some((uid.parse().ok()?, gid.parse().ok()?))
    });
    found.ok_or_else(|| io::Error::other(format!("there is no account {NAME} here")))
}

/// The package's notes beside the data. Without them its start script takes the copy for one of an older version, and
/// upgrades it.
pub(crate) fn is_note(name: &str) -> bool {
    matches!(name, "mysql_upgrade_info" | "mariadb_upgrade_info")
        || (name.starts_with("debian-") && name.ends_with(".flag"))
}

fn own(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    std::os::unix::fs::lchown(path, Some(uid), Some(gid))?;
    if path.symlink_metadata()?.is_dir() {
        for entry in std::fs::read_dir(path)? {
            own(&entry?.path(), uid, gid)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_stands_last_in_the_state() {
        let state = gtid::list("0-7-9,0-8-4").expect("a list");
        let nine = state[0];
        assert_eq!(
            reset_to(&state, nine),
            "FLUSH LOCAL ENGINE LOGS; RESET MASTER; FLUSH LOCAL ENGINE LOGS; \
             SET GLOBAL gtid_binlog_state='0-8-4,0-7-9'; SET GLOBAL gtid_slave_pos='0-7-9'"
        );
    }
}

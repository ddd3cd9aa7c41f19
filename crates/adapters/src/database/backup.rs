//! A whole copy of the writer's data, as a stream between two agents.
//!
//! The writer's agent calls [`send`], the other's [`receive`]; between them is any ordered stream of bytes. Every
//! part is framed, and the last frame says whether the copy is whole: a stream that merely ends is a failure.

use crate::database::own;
use crate::database::settings::WorkerSettings;
use crate::database::tool;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Command;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

const DATA: u8 = 1;
const WHOLE: u8 = 2;
const FAILED: u8 = 3;
const FRAME_MAX: usize = 256 * 1024;
/// It keeps a file open for each table; the agent's own limit is for other things.
pub(crate) const OPEN_FILES: &str = "--open-files-limit=1048576";
/// Between two looks at the redo log, in milliseconds. It waits for the next look twice, the second time with commits
/// kept out: with the second that it takes by itself clients stand still for as long.
const LOG_LOOKS: &str = "--log-copy-interval=10";
/// Without a byte for this long the other side is gone.
pub(crate) const STALL: Duration = Duration::from_secs(30);

/// What the backup says when it is about to keep commits out, for the end of its copy.
const LOCKS: &str = "Starting BACKUP STAGE BLOCK_COMMIT";
/// So much waits here for the other side while commits go on.
const WAITS_MAX: usize = 4 << 20;
/// And so much more once the backup keeps them out: the other side, or a network that is lost, is not waited for then.
/// What is left to copy by then is what was logged meanwhile and a few small files.
const LOCKED_MAX: usize = 512 << 20;
/// The same in parts: a pipe gives at least a page at a time while it is full.
const PARTS_MAX: usize = (WAITS_MAX + LOCKED_MAX) / 4096;

/// Copies this node's data into the stream; how many bytes. It kills nobody's query (D9), and whoever lets go of this
/// ends the backup, which holds a lock.
pub async fn send<S: AsyncWrite + Unpin>(
    settings: &WorkerSettings,
    stream: &mut S,
) -> io::Result<u64> {
    let signing_in = own::tool("mariadb-backup", settings).await;
    let mut command = match signing_in {
        Ok(command) => command,
        Err(fault) => {
            frame(stream, FAILED, fault.as_bytes()).await?;
            return Err(io::Error::other(fault));
        }
    };
    command.args(["--backup", "--stream=xbstream", OPEN_FILES, LOG_LOOKS]);
    command.arg(format!("--datadir={}", settings.datadir.display()));
    match pass(command, stream, settings.copies.rate).await? {
        Ok(sent) => {
            frame(stream, WHOLE, &[]).await?;
            Ok(sent)
        }
        Err(fault) => {
            frame(stream, FAILED, fault.as_bytes()).await?;
            Err(io::Error::other(fault))
        }
    }
}

/// Passes on what the backup puts out, at this many bytes a second at most until it keeps commits out (0: as fast as
/// they go). An error of the stream's ends the backup at once; the inner one is the backup's
/// own.
async fn pass<S: AsyncWrite + Unpin>(
    mut command: Command,
    stream: &mut S,
    rate: u64,
) -> io::Result<Result<u64, String>> {
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut output = child.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
    let room = Semaphore::new(WAITS_MAX);
    let locked = AtomicBool::new(false);
    let (parts, mut queue) = mpsc::channel::<Vec<u8>>(PARTS_MAX);
    let reading = async {
        let mut part = vec![0; FRAME_MAX];
        loop {
            let n = bounded(output.read(&mut part)).await?;
            if n == 0 {
                // The queue ends with this.
                drop(parts);
                return io::Result::Ok(());
            }
            let room =
                bounded(async { room.acquire_many(n as u32).await.map_err(io::Error::other) });
            room.await?.forget();
            parts.send(part[..n].to_vec()).await.map_err(io::Error::other)?;
        }
    };
    let writing = async {
        let mut sent = 0;
        let began = tokio::time::Instant::now();
        while let Some(part) = queue.recv().await {
            if rate > 0 && !locked.load(Ordering::Relaxed) {
                let due = Duration::from_secs_f64(sent as f64 / rate as f64);
                tokio::time::sleep_until(began + due).await;
            }
            frame(stream, DATA, &part).await?;
            room.add_permits(part.len());
            sent += part.len() as u64;
        }
        io::Result::Ok(sent)
    };
    let locks = |line: &str| {
        if line.contains(LOCKS) {
            locked.store(true, Ordering::Relaxed);
            room.add_permits(LOCKED_MAX);
        }
    };
    // Its complaints are read meanwhile, or a full pipe would stop it. What fails first ends all: then the child, which
    // would keep its lock for as long as it waits for a reader, is dropped and killed.
    let words = async { Ok(tool::last_words_heard(&mut child, locks).await) };
    let ((), sent, words) = tokio::try_join!(reading, writing, words)?;
    Ok(match bounded(child.wait()).await {
        Ok(status) if status.success() => Ok(sent),
        Ok(status) => Err(format!("mariadb-backup: {status}: {}", words.trim())),
        Err(fault) => Err(fault.to_string()),
    })
}

/// Hands a stream from [`send`] to the worker that listens on this socket; how many bytes. An error if the copy is not
/// whole.
pub async fn receive<S: AsyncRead + Unpin>(stream: &mut S, into: &Path) -> io::Result<u64> {
    let mut out = UnixStream::connect(into).await?;
    let mut received = 0;
    let mut body = Vec::new();
    loop {
        let mut head = [0; 5];
        bounded(stream.read_exact(&mut head)).await?;
        let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
        if length > FRAME_MAX {
            return Err(io::Error::other("a frame that is none"));
        }
        body.resize(length, 0);
        bounded(stream.read_exact(&mut body)).await?;
        match head[0] {
            DATA => bounded(out.write_all(&body)).await?,
            WHOLE => {
                out.shutdown().await?;
                return Ok(received);
            }
            FAILED => return Err(io::Error::other(String::from_utf8_lossy(&body).into_owned())),
            kind => return Err(io::Error::other(format!("a frame of kind {kind}"))),
        }
        received += length as u64;
    }
}

async fn frame<S: AsyncWrite + Unpin>(stream: &mut S, kind: u8, body: &[u8]) -> io::Result<()> {
    let body = &body[..body.len().min(FRAME_MAX)];
    let mut head = [kind; 5];
    head[1..].copy_from_slice(&(body.len() as u32).to_be_bytes());
    bounded(stream.write_all(&head)).await?;
    bounded(stream.write_all(body)).await?;
    bounded(stream.flush()).await
}

/// Not longer than [`STALL`].
pub(crate) async fn bounded<T>(work: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(STALL, work).await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::UnixListener;

    async fn deliver(bytes: &[u8]) -> (io::Result<u64>, Vec<u8>) {
        let name = format!("rgdb-backup-{}-{}", std::process::id(), bytes.len());
        let path = std::env::temp_dir().join(name);
        let listener = UnixListener::bind(&path).expect("a socket");
        let taking = async {
            let (mut stream, _) = listener.accept().await.expect("a caller");
            let mut got = Vec::new();
            stream.read_to_end(&mut got).await.expect("read");
            got
        };
        let mut bytes = bytes;
        let result = tokio::join!(receive(&mut bytes, &path), taking);
        std::fs::remove_file(path).expect("removed");
        result
    }

    fn shell(script: &str) -> Command {
        let mut command = tool::bare("sh");
        command.arg("-c").arg(script);
        command
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_backup_that_keeps_commits_out_does_not_wait_for_the_other_side() {
        // Nobody reads the other end: the stream takes nothing after its first bytes.
        let (mut stream, _other) = tokio::io::duplex(1024);
        let unlocked = std::env::temp_dir().join(format!("rgdb-unlocked-{}", std::process::id()));
        // As at the end of a backup: much data, then the lock, then a little more.
        let child = shell(&format!(
            "head -c 2000000 /dev/zero; echo '{LOCKS}' >&2; sleep 0.2; head -c 9000000 /dev/zero; \
             echo unlocked >&2; touch {}",
            unlocked.display()
        ));
        let passing = pass(child, &mut stream, 0);
        let seen = async {
            while !unlocked.exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::select! {
            ended = passing => panic!("nobody took it: {ended:?}"),
            seen = timeout(Duration::from_secs(20), seen) => seen.expect("it gets to its end"),
        }
        std::fs::remove_file(unlocked).expect("removed");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn the_loss_of_the_other_side_ends_the_backup_at_once() {
        let (mut stream, other) = tokio::io::duplex(1024);
        let pids = std::env::temp_dir().join(format!("rgdb-pid-{}", std::process::id()));
        let child = shell(&format!(
            "echo $$ > {}; head -c 100000 /dev/zero; exec sleep 600",
            pids.display()
        ));
        let passing = pass(child, &mut stream, 0);
        let leaving = async {
            while std::fs::read_to_string(&pids).map_or(0, |text| text.len()) == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            drop(other);
        };
        let (ended, ()) =
            timeout(Duration::from_secs(20), async { tokio::join!(passing, leaving) })
                .await
                .expect("it ends");
        assert!(ended.is_err(), "{ended:?}");
        let pid: i32 = std::fs::read_to_string(&pids).expect("read").trim().parse().expect("a pid");
        let pid = rustix::process::Pid::from_raw(pid).expect("not 0");
        let gone = async {
            // A killed child that nobody waits for stays as a zombie: its state is what counts.
            let alive = || {
                let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid()));
                stat.is_ok_and(|stat| !stat.contains(") Z "))
            };
            while alive() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(20), gone).await.expect("the backup is gone");
        std::fs::remove_file(pids).expect("removed");
    }

    #[tokio::test(flavor = "current_thread")]
    async fn only_a_stream_with_its_end_mark_is_whole() {
        let mut bytes = Vec::new();
        frame(&mut bytes, DATA, b"abc").await.expect("written");
        let (cut, got) = deliver(&bytes).await;
        assert_eq!((cut.is_err(), got), (true, b"abc".to_vec()));
        frame(&mut bytes, WHOLE, &[]).await.expect("written");
        let (whole, got) = deliver(&bytes).await;
        assert_eq!((whole.ok(), got), (Some(3), b"abc".to_vec()));
        let mut failed = Vec::new();
        frame(&mut failed, FAILED, b"disk full").await.expect("written");
        let (result, _) = deliver(&failed).await;
        assert_eq!(result.expect_err("failed").to_string(), "disk full");
    }
}

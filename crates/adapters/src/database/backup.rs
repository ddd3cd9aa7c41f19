//! A whole copy of the writer's data, as a stream between two agents.
//!
//! The writer's agent calls [`send`], the other's [`receive`]; between them is any ordered stream of bytes. Every
//! part is framed, and the last frame says whether the copy is whole: a stream that merely ends is a failure.

use crate::database::settings::WorkerSettings;
use crate::database::tool;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

const DATA: u8 = 1;
const WHOLE: u8 = 2;
const FAILED: u8 = 3;
const FRAME_MAX: usize = 256 * 1024;
/// Without a byte for this long the other side is gone.
pub(crate) const STALL: Duration = Duration::from_secs(30);

/// Copies this node's data into the stream; how many bytes. It kills nobody's query (D9).
pub async fn send<S: AsyncWrite + Unpin>(
    settings: &WorkerSettings,
    stream: &mut S,
) -> io::Result<u64> {
    let mut command = tool::tool("mariadb-backup");
    command.args(["--backup", "--stream=xbstream", "--user=root"]);
    command.arg(format!("--socket={}", settings.socket.display()));
    command.arg(format!("--datadir={}", settings.datadir.display()));
    let mut child = command.stdout(Stdio::piped()).spawn()?;
    let mut output = child.stdout.take().ok_or_else(|| io::Error::other("no output"))?;
    let copying = async {
        let mut part = vec![0; FRAME_MAX];
        let mut sent = 0;
        loop {
            let n = bounded(output.read(&mut part)).await?;
            if n == 0 {
                return Ok::<u64, io::Error>(sent);
            }
            frame(stream, DATA, &part[..n]).await?;
            sent += n as u64;
        }
    };
    // Its complaints are read meanwhile, or a full pipe would stop it.
    let (sent, words) = tokio::join!(copying, tool::last_words(&mut child));
    let fault = match sent {
        Err(fault) => return Err(fault),
        Ok(sent) => match bounded(child.wait()).await {
            Ok(status) if status.success() => {
                frame(stream, WHOLE, &[]).await?;
                return Ok(sent);
            }
            Ok(status) => format!("mariadb-backup: {status}: {}", words.trim()),
            Err(fault) => fault.to_string(),
        },
    };
    frame(stream, FAILED, fault.as_bytes()).await?;
    Err(io::Error::other(fault))
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

//! Frames on asynchronous streams; the same bytes as [`regent_api::frame`].

use regent_api::frame::LENGTH_MAX;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Writes one frame.
pub async fn write(to: &mut (impl AsyncWrite + Unpin), body: &[u8]) -> io::Result<()> {
    let bytes = regent_api::frame::wrap(body).ok_or_else(too_long)?;
    to.write_all(&bytes).await?;
    to.flush().await
}

/// Reads one frame.
pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = from.read_u32().await? as usize;
    if length > LENGTH_MAX {
        return Err(too_long());
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).await?;
    Ok(body)
}

/// Writes a value as one frame of JSON.
pub async fn write_json<T: serde::Serialize>(
    to: &mut (impl AsyncWrite + Unpin),
    value: &T,
) -> io::Result<()> {
    write(to, &serde_json::to_vec(value)?).await
}

/// Reads a value from one frame of JSON.
pub async fn read_json<T: serde::de::DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
) -> io::Result<T> {
    Ok(serde_json::from_slice(&read(from).await?)?)
}

fn too_long() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "frame too long")
}

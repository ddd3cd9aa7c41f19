//! Identities that must never repeat, from the kernel.

use std::fs::File;
use std::io::{self, Read};

/// Sixteen random bytes.
pub(crate) fn draw() -> io::Result<u128> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u128::from_le_bytes(bytes))
}

/// Eight random bytes.
pub(crate) fn draw_half() -> io::Result<u64> {
    Ok(draw()? as u64)
}

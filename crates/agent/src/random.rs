//! Identities that must never repeat, from the kernel: it answers without any file, and only once its generator is
//! seeded.

use rustix::io::{Errno, retry_on_intr};
use rustix::rand::{GetRandomFlags, getrandom};
use std::io;

/// Sixteen random bytes.
pub(crate) fn draw() -> io::Result<u128> {
    let mut bytes = [0; 16];
    let length = retry_on_intr(|| getrandom(&mut bytes, GetRandomFlags::empty()))?;
    // Up to 256 bytes come whole (getrandom(2)).
    if length < bytes.len() {
        return Err(Errno::IO.into());
    }
    Ok(u128::from_le_bytes(bytes))
}

/// Eight random bytes.
pub(crate) fn draw_half() -> io::Result<u64> {
    Ok(draw()? as u64)
}

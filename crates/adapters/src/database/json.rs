//! Small files of JSON.

use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// What this file says; none if it is not there or is not understood.
pub(crate) fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> Option<T> {
    serde_json::from_slice(&std::fs::read(path).ok()?).ok()
}

/// The bytes of such a file.
pub(crate) fn to_json<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(io::Error::other)
}

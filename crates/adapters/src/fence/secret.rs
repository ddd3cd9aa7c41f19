//! What must not be told: a password from a file that only its owner may read.

use super::FenceError;
use rustix::fs::{Mode, OFlags, open};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// More is no password but the wrong file.
const MOST: u64 = 4096;

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("(secret)")
    }
}

impl Secret {
    /// Reads the first line of a file that belongs to us or to root, and that nobody else may read.
    pub fn read(path: &Path) -> Result<Secret, FenceError> {
        let refuse = |why: String| FenceError::Password { path: path.display().to_string(), why };
        // A FIFO in its place must not hold up a fencing.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let fd = open(path, flags, Mode::empty()).map_err(|error| refuse(error.to_string()))?;
        let file = File::from(fd);
        let data = file.metadata().map_err(|error| refuse(error.to_string()))?;
        if !data.is_file() {
            return Err(refuse("not a file".to_owned()));
        }
        let mode = data.mode() & 0o7777;
        if mode & 0o077 != 0 {
            let remedy = format!("others may read it (mode {mode:o}): chmod 600 it");
            return Err(refuse(remedy));
        }
        let own = rustix::process::geteuid().as_raw();
        if data.uid() != own && data.uid() != 0 {
            return Err(refuse(format!("it belongs to user {}: chown root it", data.uid())));
        }
        let mut text = String::new();
        let read = file.take(MOST + 1).read_to_string(&mut text);
        read.map_err(|error| refuse(error.to_string()))?;
        if text.len() as u64 > MOST {
            return Err(refuse(format!("longer than {MOST} bytes: not a password")));
        }
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        match line {
            "" => Err(refuse("it is empty".to_owned())),
            line if line.chars().any(char::is_control) => {
                Err(refuse("it has more than one line, or control characters".to_owned()))
            }
            line => Ok(Secret(line.to_owned())),
        }
    }

    /// The text itself: for the standard input of an agent, for nothing else.
    pub(super) fn reveal(&self) -> &str {
        &self.0
    }

    /// The text with every occurrence of the secret taken out, as it is and as it stands in a URL.
    pub(super) fn strike(&self, text: &str) -> String {
        text.replace(&self.0, "***").replace(&percent(&self.0), "***")
    }
}

/// As a URL has it (RFC 3986 2.1): everything but unreserved characters.
fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

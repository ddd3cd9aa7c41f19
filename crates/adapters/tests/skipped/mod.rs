//! What a test could not try here is said loudly: on its standard error, which a test runner keeps to itself when the
//! test passes, and in the file that `REGENT_SKIPPED` names, which `cargo xtask test` shows at its end.

use std::io::Write;

/// Says what was not tried, and why.
pub fn skipped(what: &str) {
    eprintln!("SKIPPED {what}");
    let Some(path) = std::env::var_os("REGENT_SKIPPED") else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    // One write for the whole line: tests run side by side.
    let line = format!("{what}\n");
    if let Err(error) = file.and_then(|mut file| file.write_all(line.as_bytes())) {
        eprintln!("failed to note it: {error}");
    }
}

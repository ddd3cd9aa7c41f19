//! A child process of this very binary that speaks in lines, and ends with whoever holds it.

use crate::process::own_binary;
use std::io;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// What a child is held by: itself, what it reads, and what it says.
pub(super) type Spoken = (Child, ChildStdin, Lines<BufReader<ChildStdout>>);

/// Starts the hidden subcommand of this name.
pub(super) fn spawn(subcommand: &str) -> io::Result<Spoken> {
    let mut child = Command::from(own_binary())
        .arg(subcommand)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let missing = || io::Error::other("the child has no pipe");
    let stdin = child.stdin.take().ok_or_else(missing)?;
    let stdout = child.stdout.take().ok_or_else(missing)?;
    Ok((child, stdin, BufReader::new(stdout).lines()))
}

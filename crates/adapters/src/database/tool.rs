//! The database's own programs: the log reader, the client, the backup. Started here, ended when the caller lets go.

use std::io;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// What is kept of a program's complaints.
const COMPLAINTS_MAX: usize = 4096;

/// A program that reads no configuration of anybody.
pub(crate) fn tool(program: &str) -> Command {
    let mut command = Command::new(program);
    command.arg("--no-defaults");
    plain(command)
}

/// A program without options of its own.
pub(crate) fn bare(program: &str) -> Command {
    plain(Command::new(program))
}

fn plain(mut command: Command) -> Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs it to its end within the bound; an error has its last words.
pub(crate) async fn run(mut command: Command, bound: Duration) -> Result<(), String> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let child = command.spawn().map_err(|fault| format!("{program}: {fault}"))?;
    finish(child, &program, bound).await
}

/// Waits for its end; anything but success is an error with its last words.
pub(crate) async fn finish(mut child: Child, program: &str, bound: Duration) -> Result<(), String> {
    let ended = async {
        let words = last_words(&mut child).await;
        (child.wait().await, words)
    };
    match tokio::time::timeout(bound, ended).await {
        Err(_) => Err(format!("{program} did not end within {bound:?}")),
        Ok((Err(fault), _)) => Err(format!("{program}: {fault}")),
        Ok((Ok(status), _)) if status.success() => Ok(()),
        Ok((Ok(status), words)) => Err(format!("{program}: {status}: {}", words.trim())),
    }
}

/// Reads what it complains until it closes that end; the last part of it.
pub(crate) async fn last_words(child: &mut Child) -> String {
    last_words_heard(child, |_| {}).await
}

/// The same; each line is heard as it comes.
pub(crate) async fn last_words_heard(child: &mut Child, mut heard: impl FnMut(&str)) -> String {
    let Some(pipe) = child.stderr.take() else { return String::new() };
    let mut lines = BufReader::new(pipe).split(b'\n');
    let mut words = Vec::new();
    while let Ok(Some(line)) = lines.next_segment().await {
        heard(&String::from_utf8_lossy(&line));
        words.extend_from_slice(&line);
        words.push(b'\n');
        let surplus = words.len().saturating_sub(COMPLAINTS_MAX);
        words.drain(..surplus);
    }
    String::from_utf8_lossy(&words).into_owned()
}

/// A program's output into a new file.
pub(crate) fn into_file(command: &mut Command, path: &Path) -> io::Result<()> {
    command.stdout(std::fs::File::create(path)?);
    Ok(())
}

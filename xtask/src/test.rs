//! All tests in one command: unit, property, scenario and model tests by cargo, a short sweep of
//! the simulator, the cases of the lab. What this machine cannot run is named with the reason. The
//! last line counts.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::{build, packages, sh};

/// Enough to find a bug that is not rare, in well under a minute.
const SEEDS: &str = "300";

/// How the summary line of nextest begins.
const NEXTEST: &str = "Summary [";
/// How a summary line of the test harness begins.
const HARNESS: &str = "test result:";
/// How the summary line of the lab begins.
const LAB: &str = "lab: ";
/// How a line begins that names a test which could not be run here.
const SKIPPED: &str = "SKIPPED ";

/// How many labs run at a time; what measures to the millisecond runs alone.
const SIDE_BY_SIDE: &str = "2";

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
    skipped: Vec<String>,
}

/// Runs everything; 0 if nothing failed.
pub fn run(no_lab: bool) -> Result<u8> {
    let mut count = Count::default();
    let servers = match rootless()? {
        Some(reason) => Err(anyhow::anyhow!(reason)),
        None => packages::ensure_servers(),
    };
    if let Err(error) = servers {
        let why = format!("{error:#}");
        sh::say(&format!("servers that are missing are not installed, and not tested: {why}"));
    }
    units(&mut count)?;
    count.skipped.extend(ignored()?);
    sweep(&mut count)?;
    if no_lab {
        count.skipped.push("lab cases: left out by --no-lab".into());
    } else {
        lab(&mut count)?;
    }
    count.skipped.iter().for_each(|what| sh::say(&format!("SKIPPED {what}")));
    sh::say(&format!(
        "{} passed, {} failed, {} skipped",
        count.passed,
        count.failed,
        count.skipped.len()
    ));
    Ok(u8::from(count.failed > 0))
}

/// Unit, property, scenario and model tests of the whole workspace.
fn units(count: &mut Count) -> Result<()> {
    sh::say("== unit, property, scenario and model tests");
    let has_nextest = sh::has("cargo-nextest");
    let mut command = if has_nextest {
        sh::cargo(&["nextest", "run", "--workspace", "--no-fail-fast", "--color", "never"])
    } else {
        sh::say("cargo-nextest is not installed: cargo test instead");
        sh::cargo(&["test", "--workspace", "--no-fail-fast"])
    };
    let noted = sh::target().join("skipped.txt");
    std::fs::remove_file(&noted).ok();
    command.env("REGENT_SKIPPED", &noted);
    follow(&mut command, if has_nextest { NEXTEST } else { HARNESS }, count)?;
    // What tests left out on this machine; each place may be come by more than once.
    let mut left_out: Vec<String> =
        std::fs::read_to_string(&noted).unwrap_or_default().lines().map(str::to_owned).collect();
    left_out.sort();
    left_out.dedup();
    count.skipped.extend(left_out);
    // A build of its own: the product has no room for a planted mistake.
    let planted = ["test", "--package", "regent-sim", "--features", "planted", "--test", "planted"];
    follow(&mut sh::cargo(&planted), HARNESS, count)?;
    if has_nextest {
        let doc = ["test", "--doc", "--workspace", "--no-fail-fast"];
        follow(&mut sh::cargo(&doc), HARNESS, count)?;
    }
    Ok(())
}

/// Tests that their authors keep out of the gate, by name with the reason they give.
fn ignored() -> Result<Vec<String>> {
    let mut list = Command::new("git");
    list.args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"]);
    let mut found = Vec::new();
    for path in sh::read(list.current_dir(sh::root()))?.lines() {
        let text = std::fs::read_to_string(sh::root().join(path)).unwrap_or_default();
        found.extend(ignored_in(&text).into_iter().map(|test| format!("{path} {test}")));
    }
    Ok(found)
}

/// `name: reason` of each ignored test; a helper that only looks like a test is none.
fn ignored_in(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut lines = text.lines().map(str::trim);
    while let Some(line) = lines.next() {
        let Some(reason) = line.strip_prefix("#[ignore = \"") else {
            continue;
        };
        let reason = reason.trim_end_matches("\"]").to_owned();
        let name = lines.find_map(|line| line.split("fn ").nth(1)?.split('(').next());
        if !reason.starts_with("not a test") {
            found.push(format!("{}: {reason}", name.unwrap_or_default()));
        }
    }
    found
}

/// Runs a test command, shows its lines and counts what they say; a command that fails without a
/// failed test (it did not build) counts as one failure.
fn follow(command: &mut Command, summary: &str, count: &mut Count) -> Result<()> {
    let mut child = Command::new("sh");
    child.args(["-c", "exec \"$@\" 2>&1", "sh"]).arg(command.get_program());
    child.args(command.get_args()).current_dir(sh::root()).stdout(Stdio::piped());
    child.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let mut child = child.spawn().context("cannot start the tests")?;
    let before = count.failed;
    for line in BufReader::new(child.stdout.take().context("no stdout")?).lines() {
        let line = line?;
        sh::say(&line);
        read_summary(&line, summary, count);
        count.skipped.extend(line.trim().strip_prefix(SKIPPED).map(str::to_owned));
    }
    if !child.wait()?.success() && count.failed == before {
        count.failed += 1;
    }
    Ok(())
}

/// Adds what a summary line says. Each runner has its own: nextest repeats the harness's lines
/// of a failed test, and they would count twice.
fn read_summary(line: &str, summary: &str, count: &mut Count) {
    let line = line.trim();
    if !line.starts_with(summary) {
        return;
    }
    let words: Vec<&str> = line.split([' ', ',', ';', ':', '(', ')']).collect();
    let before = |word: &str| {
        let at = words.iter().position(|one| *one == word)?;
        words[..at].iter().rev().find_map(|one| one.parse::<u64>().ok())
    };
    count.passed += before("passed").unwrap_or(0);
    count.failed += before("failed").unwrap_or(0);
}

fn sweep(count: &mut Count) -> Result<()> {
    sh::say(&format!("== simulator, {SEEDS} seeds"));
    for world in [&[][..], &["--shared"]] {
        let arguments = ["sweep", "--seeds", SEEDS].iter().chain(world);
        let arguments: Vec<String> = arguments.map(|word| (*word).to_owned()).collect();
        match build::sim(&arguments)? {
            0 => count.passed += 1,
            _ => count.failed += 1,
        }
    }
    Ok(())
}

/// Each case of the lab is a test.
fn lab(count: &mut Count) -> Result<()> {
    sh::say("== lab");
    build::lab_only(false)?;
    let listed = build::lab_reads(false, &["case", "--list"])?;
    let cases: Vec<&str> = listed.lines().filter_map(|line| line.split(':').next()).collect();
    if let Some(reason) = obstacle()? {
        for case in cases {
            count.skipped.push(format!("lab case {case}: {reason}"));
        }
        return Ok(());
    }
    build::everything(false)?;
    let mut command = build::lab_command(false, &["case", "--jobs", SIDE_BY_SIDE]);
    follow(&mut command, LAB, count)
}

/// Why nothing can be done as root here, if so.
fn rootless() -> Result<Option<String>> {
    if sh::is_root() {
        return Ok(None);
    }
    let mut sudo = Command::new("sudo");
    sudo.args(["-n", "true"]).stderr(Stdio::null());
    let can = sh::has("sudo") && sh::passes(&mut sudo)?;
    Ok((!can).then(|| "needs root, or sudo without a password".into()))
}

/// Why this machine cannot run the lab, if it cannot.
fn obstacle() -> Result<Option<String>> {
    if let Some(reason) = rootless()? {
        return Ok(Some(reason));
    }
    if let Err(error) = packages::ensure() {
        return Ok(Some(format!("{error:#}")));
    }
    let said = build::lab_reads(false, &["check"])?;
    Ok(said.lines().next().map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(line: &str, summary: &str) -> (u64, u64) {
        let mut count = Count::default();
        read_summary(line, summary, &mut count);
        (count.passed, count.failed)
    }

    #[test]
    fn summaries_of_both_runners_are_read() {
        let nextest =
            "     Summary [   1.234s] 31 tests run: 29 passed (1 slow), 2 failed, 3 skipped";
        assert_eq!(counted(nextest, NEXTEST), (29, 2));
        let harness = "test result: FAILED. 30 passed; 1 failed; 4 ignored; 0 measured; 0 filtered";
        assert_eq!(counted(harness, HARNESS), (30, 1));
    }

    #[test]
    fn the_summary_of_the_lab_is_read_too() {
        assert_eq!(counted("lab: 21 passed, 2 failed, 1 skipped", LAB), (21, 2));
    }

    #[test]
    fn other_lines_count_nothing_nor_does_what_nextest_repeats() {
        assert_eq!(counted("test passed ... ok", HARNESS), (0, 0));
        assert_eq!(counted("PASS [ 0.1s] a failed_thing", NEXTEST), (0, 0));
        assert_eq!(counted("test result: FAILED. 0 passed; 1 failed", NEXTEST), (0, 0));
    }

    #[test]
    fn ignored_tests_are_named_with_their_reason_and_helpers_are_not() {
        let text = "#[test]\n#[ignore = \"takes a minute\"]\nfn long() {}\n\
                    #[ignore = \"not a test: the worker\"]\nfn worker() {}\n";
        assert_eq!(ignored_in(text), ["long: takes a minute"]);
    }
}

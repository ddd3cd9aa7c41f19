//! All tests in one command, in two tiers: the default one, for every gate, and everything, by night. Unit, property,
//! scenario and model tests by cargo, the cases of the lab; everything adds a long sweep of the simulator. What this
//! machine cannot run is named with the reason, what passed only at a second try is named too, and a table says where
//! the time went. The last line counts.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::{build, packages, sh};

/// Which tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Those of every gate.
    Default,
    /// All of them.
    All,
}

impl Scope {
    /// As the lab calls it.
    fn name(self) -> &'static str {
        match self {
            Scope::Default => "default",
            Scope::All => "all",
        }
    }
}

/// How many seeds of each world a night tries: some minutes on two cores. The gate's are a test of the simulator.
const NIGHT_SEEDS: u64 = 10_000;
const SECONDS_OF_A_DAY: u64 = 86_400;

/// More than these are not bad luck.
const FLAKY_MAX: usize = 2;
/// A case may be tried so often: it is real time on a shared machine. A unit test has one try.
const TRIES: &str = "2";

/// How the summary line of nextest begins.
const NEXTEST: &str = "Summary [";
/// How a summary line of the test harness begins.
const HARNESS: &str = "test result:";
/// How the summary line of the lab begins.
const LAB: &str = "lab: ";
/// How a line begins that names a test which could not be run here.
const SKIPPED: &str = "SKIPPED ";
/// How a line begins that names a test which passed at a second try.
const FLAKY: &str = "FLAKY ";
/// The tests of the store that take minutes; everything runs them.
const LONG_MODEL: &str = "crates/store/tests/model/";

/// How many labs run at a time; what measures to the millisecond runs alone.
const SIDE_BY_SIDE: &str = "2";

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Count {
    passed: u64,
    failed: u64,
    skipped: Vec<String>,
    flaky: Vec<String>,
}

/// The parts of a run in their order: what each counted, and how long it took.
#[derive(Debug, Default)]
struct Parts(Vec<(&'static str, Duration, Count)>);

impl Parts {
    /// Runs one part under its heading.
    fn run(
        &mut self,
        name: &'static str,
        part: impl FnOnce(&mut Count) -> Result<()>,
    ) -> Result<()> {
        sh::say(&format!("== {name}"));
        let (began, mut count) = (Instant::now(), Count::default());
        let result = part(&mut count);
        self.0.push((name, began.elapsed(), count));
        result
    }

    fn total(&self) -> Count {
        let mut total = Count::default();
        for (_, _, count) in &self.0 {
            total.passed += count.passed;
            total.failed += count.failed;
            total.skipped.extend(count.skipped.iter().cloned());
            total.flaky.extend(count.flaky.iter().cloned());
        }
        total
    }

    /// One line a part, and one for all of them.
    fn table(&self) -> String {
        let row = |took: Duration, count: &Count, name: &str| {
            let (seconds, skipped) = (took.as_secs(), count.skipped.len());
            format!("{seconds:>8}{:>8}{:>8}{skipped:>8}  {name}\n", count.passed, count.failed)
        };
        let mut table =
            format!("{:>8}{:>8}{:>8}{:>8}  part\n", "seconds", "passed", "failed", "skipped");
        for (name, took, count) in &self.0 {
            table += &row(*took, count, name);
        }
        let took = self.0.iter().map(|(_, took, _)| *took).sum();
        table + row(took, &self.total(), "all of them").trim_end()
    }
}

/// Runs the tests; 0 if nothing failed.
pub fn run(scope: Scope, no_lab: bool) -> Result<u8> {
    let mut parts = Parts::default();
    parts.run("Debian packages", |_| servers())?;
    let image = if no_lab {
        parts.run("lab", |count| {
            count.skipped.push("lab cases: left out by --no-lab".into());
            Ok(())
        })?;
        None
    } else {
        product(scope, &mut parts)?
    };
    units(scope, &mut parts)?;
    if scope == Scope::All {
        parts.run("simulator, seeds of this night", sweep)?;
    }
    let in_lab = image.is_some();
    if let Some(image) = image {
        lab(scope, image, &mut parts)?;
    }
    let mut total = parts.total();
    if in_lab {
        // The lab ran them inside a host, where none may skip itself.
        total.skipped.retain(|what| !what.contains(&format!("lab case {}", build::IN_HOST)));
    }
    total.skipped.iter().for_each(|what| sh::say(&format!("{SKIPPED}{what}")));
    total.flaky.iter().for_each(|what| sh::say(&format!("{FLAKY}{what}")));
    if total.flaky.len() > FLAKY_MAX {
        sh::say(&format!("FAILED: {} flaky, more than {FLAKY_MAX}", total.flaky.len()));
        total.failed += 1;
    }
    sh::say(&parts.table());
    let (passed, failed, skipped) = (total.passed, total.failed, total.skipped.len());
    sh::say(&format!("{passed} passed, {failed} failed, {skipped} skipped"));
    Ok(u8::from(failed > 0))
}

/// What unit tests run against; without it they say what they skip.
fn servers() -> Result<()> {
    let servers = match rootless()? {
        Some(reason) => Err(anyhow::anyhow!(reason)),
        None => packages::ensure_servers(),
    };
    if let Err(error) = servers {
        let why = format!("{error:#}");
        sh::say(&format!("servers that are missing are not installed, and not tested: {why}"));
    }
    Ok(())
}

/// Unit, property, scenario and model tests of the whole workspace.
fn units(scope: Scope, parts: &mut Parts) -> Result<()> {
    let has_nextest = sh::has("cargo-nextest");
    let (words, summary): (&[&str], &str) = if has_nextest {
        (&["nextest", "run", "--workspace", "--color", "never"], NEXTEST)
    } else {
        sh::say("cargo-nextest is not installed: cargo test instead");
        (&["test", "--workspace"], HARNESS)
    };
    parts.run("build of the tests", |count| {
        follow(&mut sh::cargo(&[words, &["--no-run"]].concat()), summary, count)
    })?;
    parts.run("unit, property, scenario and model tests", |count| {
        let mut command = sh::cargo(&[words, &["--no-fail-fast"]].concat());
        let noted = sh::target().join("skipped.txt");
        std::fs::remove_file(&noted).ok();
        command.env("REGENT_SKIPPED", &noted);
        if scope == Scope::All {
            command.env("REGENT_TEST_ALL", "1");
        }
        follow(&mut command, summary, count)?;
        // What tests left out on this machine; each place may be come by more than once.
        let noted = std::fs::read_to_string(&noted).unwrap_or_default();
        let left_out: std::collections::BTreeSet<&str> = noted.lines().collect();
        count.skipped.extend(left_out.into_iter().map(str::to_owned));
        let is_run = |what: &&String| scope == Scope::All && what.starts_with(LONG_MODEL);
        count.skipped.extend(ignored()?.into_iter().filter(|what| !is_run(&what)));
        Ok(())
    })?;
    if scope == Scope::All {
        parts.run("model of the register, whole", |count| {
            let words = ["test", "--package", "regent-store", "--test", "model", "--", "--ignored"];
            follow(&mut sh::cargo(&words), HARNESS, count)
        })?;
    }
    // A build of its own: the product has no room for a planted mistake.
    parts.run("planted mistakes", |count| {
        let words =
            ["test", "--package", "regent-sim", "--features", "planted", "--test", "planted"];
        follow(&mut sh::cargo(&words), HARNESS, count)
    })?;
    if has_nextest {
        parts.run("examples in the documentation", |count| {
            let words = ["test", "--doc", "--workspace", "--no-fail-fast"];
            follow(&mut sh::cargo(&words), HARNESS, count)
        })?;
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
        count.flaky.extend(line.trim().strip_prefix(FLAKY).map(str::to_owned));
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

/// Other seeds each night, in both worlds.
fn sweep(count: &mut Count) -> Result<()> {
    let days = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs() / SECONDS_OF_A_DAY;
    let from = (days * NIGHT_SEEDS).to_string();
    let seeds = NIGHT_SEEDS.to_string();
    for world in [&[][..], &["--shared"]] {
        let words = ["sweep", "--seeds", &seeds, "--from", &from];
        let words: Vec<String> = words.iter().chain(world).map(|word| (*word).to_owned()).collect();
        match build::sim(&words)? {
            0 => count.passed += 1,
            _ => count.failed += 1,
        }
    }
    Ok(())
}

/// The image of the hosts, being made beside the unit tests: it waits for packages more than it works.
struct Image {
    child: Child,
    said: PathBuf,
}

/// What the lab runs; the image, if this machine can run a lab.
fn product(scope: Scope, parts: &mut Parts) -> Result<Option<Image>> {
    let mut can = false;
    parts.run("build of the product and the lab", |count| {
        // All at once: the lab alone would be built with other features, and then again.
        build::everything(false)?;
        if scope == Scope::All
            && let Some(reason) = build::older()?
        {
            sh::say(&format!("an older release is not built: {reason}"));
        }
        let listed = build::lab_reads(false, &["case", "--list", "--tier", scope.name()])?;
        let reason = obstacle()?;
        can = reason.is_none();
        if let Some(reason) = reason {
            let cases = listed.lines().filter_map(|line| line.split(':').next());
            count.skipped.extend(cases.map(|case| format!("lab case {case}: {reason}")));
        }
        Ok(())
    })?;
    if !can {
        return Ok(None);
    }
    sh::say("the image of the hosts is made beside the unit tests");
    let said = sh::target().join("image.txt");
    let file = std::fs::File::create(&said).with_context(|| said.display().to_string())?;
    let mut command = build::lab_command(false, &["image"]);
    let child = command.stdin(Stdio::null()).stderr(file.try_clone()?).stdout(file).spawn();
    Ok(Some(Image { child: child.context("cannot start the lab")?, said }))
}

/// Each case of the lab is a test.
fn lab(scope: Scope, mut image: Image, parts: &mut Parts) -> Result<()> {
    parts.run("image of the hosts, what was left of it", |count| {
        let made = image.child.wait()?.success();
        let said = std::fs::read_to_string(&image.said).unwrap_or_default();
        said.lines().for_each(sh::say);
        count.failed += u64::from(!made);
        build::host_tests(false, build::Beside::Workspace)
    })?;
    parts.run("lab cases", |count| {
        let words = ["case", "--tier", scope.name(), "--jobs", SIDE_BY_SIDE, "--tries", TRIES];
        follow(&mut build::lab_command(false, &words), LAB, count)
    })
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
        assert_eq!(counted("lab: 21 passed, 2 failed", LAB), (21, 2));
    }

    #[test]
    fn other_lines_count_nothing_nor_does_what_nextest_repeats() {
        assert_eq!(counted("test passed ... ok", HARNESS), (0, 0));
        assert_eq!(counted("PASS [ 0.1s] a failed_thing", NEXTEST), (0, 0));
        assert_eq!(counted("test result: FAILED. 0 passed; 1 failed", NEXTEST), (0, 0));
    }

    #[test]
    fn what_a_runner_skips_and_tries_again_is_taken_from_its_lines() {
        let script = "echo 'SKIPPED one: why'; echo 'FLAKY lab case two: why'; echo 'lab: 3 passed, 0 failed'";
        let mut count = Count::default();
        follow(Command::new("sh").args(["-c", script]), LAB, &mut count).unwrap();
        let (skipped, flaky) = (vec!["one: why".into()], vec!["lab case two: why".into()]);
        assert_eq!(count, Count { passed: 3, failed: 0, skipped, flaky });
    }

    #[test]
    fn the_table_has_a_line_for_each_part_and_one_for_all() {
        let mut parts = Parts::default();
        let count = Count { passed: 29, skipped: vec!["x".into()], ..Count::default() };
        parts.0.push(("unit tests", Duration::from_millis(61_900), count));
        parts.0.push(("lab", Duration::from_secs(2), Count { failed: 1, ..Count::default() }));
        let expected = " seconds  passed  failed skipped  part\n      \
                        61      29       0       1  unit tests\n       \
                        2       0       1       0  lab\n      \
                        63      29       1       1  all of them";
        assert_eq!(parts.table(), expected);
        assert!(parts.run("fails", |_| anyhow::bail!("x")).is_err());
        assert_eq!(parts.0.len(), 3);
    }

    #[test]
    fn ignored_tests_are_named_with_their_reason_and_helpers_are_not() {
        let text = "#[test]\n#[ignore = \"takes a minute\"]\nfn long() {}\n\
                    #[ignore = \"not a test: the worker\"]\nfn worker() {}\n";
        assert_eq!(ignored_in(text), ["long: takes a minute"]);
    }
}

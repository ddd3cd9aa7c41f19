//! Builds what the lab runs and hands over to it. The lab is a program of its own, built in the
//! same profile as the product, so that measuring costs as little as what is measured.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::sh;

/// The product, the examples and the lab.
pub fn everything(dev: bool) -> Result<()> {
    sh::say(&format!("building regent, {}", profile_words(dev)));
    build(dev, &["regent", "management-service", "xcat-stand-in", "regent-lab"])
}

/// The case of the lab that runs unit tests inside a host.
pub const IN_HOST: &str = "units-in-host";

/// Whose unit tests the lab's host needs; both build the same program, each beside what was built before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// The tests of the whole workspace: the same features, so that nothing is built twice.
    Workspace,
    /// Nothing: the package alone.
    Package,
}

/// The tests that the lab runs inside a host: the unit tests' own program, put beside the lab's.
pub fn host_tests(dev: bool, beside: Beside) -> Result<()> {
    let which: &[&str] = match beside {
        Beside::Workspace => &["--workspace"],
        Beside::Package => &["--package", "regent-adapters", "--lib"],
    };
    let words = [&["test", "--no-run", "--message-format", "json"], which].concat();
    let told = sh::read(&mut sh::cargo(&words))?;
    let tests = host_tests_in(&told).context("cargo names no unit tests of regent-adapters")?;
    let place = program(dev).with_file_name("regent-adapters-tests");
    std::fs::copy(tests, &place).with_context(|| place.display().to_string()).map(drop)
}

/// The program in cargo's messages: the test of the library, whose name no other target has.
fn host_tests_in(messages: &str) -> Option<&str> {
    let is_it = |line: &&str| {
        line.contains("\"name\":\"regent_adapters\"") && line.contains("\"test\":true")
    };
    let after =
        |line: &'_ str| line.find("\"executable\":\"").map(|at| at + "\"executable\":\"".len());
    messages.lines().filter(is_it).find_map(|line| line[after(line)?..].split('"').next())
}

/// The release that this one must work beside.
const OLDER: &str = "8bf421f";

/// Builds its `regent` in a work tree of its own, once, and puts it beside the lab's; why not, if it cannot be had.
pub fn older() -> Result<Option<String>> {
    let place = program(false).with_file_name("regent-older");
    let noted = place.with_extension("of");
    if place.exists() && std::fs::read_to_string(&noted).is_ok_and(|of| of == OLDER) {
        return Ok(None);
    }
    let git = |words: &[&str]| {
        let mut command = Command::new("git");
        command.args(words).current_dir(sh::root());
        command
    };
    if !sh::passes(git(&["cat-file", "-e", &format!("{OLDER}^{{commit}}")]).stderr(Stdio::null()))?
    {
        return Ok(Some(format!("this clone is shallow and has no {OLDER}")));
    }
    let tree = sh::target().join("older");
    let shown = tree.display().to_string();
    sh::say(&format!("building the regent of {OLDER} in {shown}"));
    sh::must(&mut git(&["worktree", "prune"]))?;
    if !tree.exists() {
        sh::must(&mut git(&["worktree", "add", "--detach", &shown, OLDER]))?;
    }
    let mut cargo = sh::cargo(&["build", "--release", "--package", "regent"]);
    cargo.current_dir(&tree).env("CARGO_TARGET_DIR", tree.join("target"));
    sh::must(&mut cargo)?;
    std::fs::copy(tree.join("target/release/regent"), &place)?;
    std::fs::write(noted, OLDER)?;
    Ok(None)
}

/// The lab alone.
pub fn lab_only(dev: bool) -> Result<()> {
    build(dev, &["regent-lab"])
}

/// Becomes the lab's program, as root: Ctrl-C reaches it alone, and it cleans up.
pub fn hand_over(dev: bool, arguments: &[&str]) -> Result<u8> {
    let mut command = sh::as_root(&program(dev).display().to_string());
    Err(command.args(arguments).exec()).context("cannot start the lab")
}

/// The lab's program with its arguments, as root.
pub fn lab_command(dev: bool, arguments: &[&str]) -> Command {
    let mut command = sh::as_root(&program(dev).display().to_string());
    command.args(arguments);
    command
}

/// Runs an example of a package, optimised, and returns its exit code.
pub fn example(package: &str, example: &str, arguments: &[String]) -> Result<u8> {
    let run = ["run", "--quiet", "--release", "--package", package, "--example", example, "--"];
    let status = sh::cargo(&run).args(arguments).status()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(2))
}

/// What a command of the lab prints, whatever its exit code.
pub fn lab_reads(dev: bool, arguments: &[&str]) -> Result<String> {
    let output = sh::as_root(&program(dev).display().to_string()).args(arguments).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs the simulator and returns its exit code.
pub fn sim(arguments: &[String]) -> Result<u8> {
    let mut command = sh::cargo(&["run", "--quiet", "--package", "regent-sim", "--bin", "sim"]);
    // A planted mistake needs a build that has room for it.
    if arguments.iter().any(|word| word == "--plant") {
        command.args(["--features", "planted"]);
    }
    command.arg("--");
    let status = command.args(arguments).status()?;
    Ok(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(2))
}

fn build(dev: bool, packages: &[&str]) -> Result<()> {
    let mut command = sh::cargo(&["build"]);
    if !dev {
        command.arg("--release");
    }
    for package in packages {
        command.args(["--package", package]);
    }
    sh::must(&mut command)
}

fn program(dev: bool) -> PathBuf {
    sh::target().join(if dev { "debug" } else { "release" }).join("regent-lab")
}

fn profile_words(dev: bool) -> &'static str {
    if dev { "development profile" } else { "release profile" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_tests_of_the_adapters_are_found_in_cargos_messages() {
        let messages = r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"regent_adapters","test":true},"profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"regent_core","test":true},"profile":{"test":true},"executable":"/t/core"}
{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"regent_adapters","test":true},"profile":{"test":true},"executable":"/t/adapters-1"}"#;
        assert_eq!(host_tests_in(messages), Some("/t/adapters-1"));
        assert_eq!(host_tests_in("{}"), None);
    }
}

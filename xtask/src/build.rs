//! Builds what the lab runs and hands over to it. The lab is a program of its own, built in the
//! same profile as the product, so that measuring costs as little as what is measured.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};

use crate::sh;

/// The product, the examples and the lab.
pub fn everything(dev: bool) -> Result<()> {
    sh::say(&format!("building regent, {}", profile_words(dev)));
    build(dev, &["regent", "management-service", "xcat-stand-in", "regent-lab"])
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

//! The checks that need no test: format, clippy, documentation, licences, who may depend on whom,
//! tidiness, advisories. All of them run, whatever fails, and none of them writes into the sources.

use std::process::Command;

use anyhow::Result;

use crate::{documents, sh, supply, tidy};

const DENY: &str = "cargo-deny";
/// Building it once on a machine.
const DENY_BUILD_S: &str = "1200";

/// Who may depend on whom, among our own crates; what is not listed may depend on none of them.
const DIRECTIONS: [(&str, &[&str]); 13] = [
    ("regent-core", &[]),
    ("regent-store", &[]),
    ("regent-api", &[]),
    ("regent-config", &["regent-core", "regent-api"]),
    ("regent-adapters", &["regent-core", "regent-config"]),
    (
        "regent-agent",
        &["regent-core", "regent-store", "regent-config", "regent-adapters", "regent-api"],
    ),
    ("regent-cli", &["regent-api"]),
    ("regent", &["regent-agent", "regent-cli"]),
    ("regent-sim", &["regent-core", "regent-store"]),
    ("regent-lab", &[]),
    ("management-service", &[]),
    ("xcat-stand-in", &[]),
    ("xtask", &[]),
];

type Check = fn(bool) -> Result<Verdict>;

enum Verdict {
    Passed,
    Failed(String),
    Skipped(String),
}

/// Runs every check; 0 if none failed. With `all`, the program that knows of advisories is installed if it is missing.
pub fn run(all: bool) -> Result<u8> {
    let checks: [(&str, Check); 8] = [
        ("format", |_| format()),
        ("clippy", |_| clippy()),
        ("documentation", |_| documentation()),
        ("directions", |_| directions()),
        ("tidy", |_| listed(tidy::check(&sh::root())?)),
        ("documents", |_| listed(documents::check(&sh::root())?)),
        ("licences, barred crates and sources", |_| listed(supply::check(&sh::root())?)),
        ("advisories", deny),
    ];
    let mut summary = Vec::new();
    let mut failed = 0;
    for (name, check) in checks {
        sh::say(&format!("== {name}"));
        let verdict = check(all).unwrap_or_else(|error| Verdict::Failed(format!("{error:#}")));
        summary.push(match verdict {
            Verdict::Passed => format!("passed   {name}"),
            Verdict::Skipped(why) => format!("SKIPPED  {name}: {why}"),
            Verdict::Failed(why) => {
                failed += 1;
                format!("FAILED   {name}: {why}")
            }
        });
    }
    summary.iter().for_each(|line| sh::say(line));
    Ok(u8::from(failed > 0))
}

fn format() -> Result<Verdict> {
    judge(&mut sh::cargo(&["fmt", "--all", "--check"]), "run cargo fmt")
}

fn clippy() -> Result<Verdict> {
    let mut command =
        sh::cargo(&["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]);
    judge(&mut command, "warnings above")
}

fn documentation() -> Result<Verdict> {
    let mut command = sh::cargo(&["doc", "--workspace", "--no-deps", "--document-private-items"]);
    // Private items are documented too, so links to them are no mistake.
    command.env("RUSTDOCFLAGS", "--deny warnings --allow rustdoc::private-intra-doc-links");
    judge(&mut command, "warnings above")
}

fn directions() -> Result<Verdict> {
    let mut wrong = Vec::new();
    for (package, allowed) in DIRECTIONS {
        let mut tree = sh::cargo(&["tree", "--package", package, "--edges", "normal,build"]);
        tree.args(["--depth", "1", "--prefix", "none", "--format", "{p}"]);
        for dependency in ours(&sh::read(&mut tree)?) {
            if dependency != package && !allowed.contains(&dependency.as_str()) {
                wrong.push(format!("{package} depends on {dependency}"));
            }
        }
    }
    listed(wrong)
}

/// Names of our own crates in the output of `cargo tree`.
fn ours(tree: &str) -> Vec<String> {
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    let known = |name: &&str| DIRECTIONS.iter().any(|(package, _)| package == name);
    names.filter(known).map(str::to_owned).collect()
}

/// Passed if nothing was found; what was is shown.
fn listed(found: Vec<String>) -> Result<Verdict> {
    found.iter().for_each(|line| sh::say(line));
    Ok(match found.len() {
        0 => Verdict::Passed,
        count => Verdict::Failed(format!("{count} found, listed above")),
    })
}

/// The same once more by cargo-deny, in more depth, and the advisories.
fn deny(all: bool) -> Result<Verdict> {
    if !sh::has(DENY) && !all {
        let why =
            "cargo-deny is not installed; `cargo xtask lint --all`, by night, builds and runs it";
        return Ok(Verdict::Skipped(why.into()));
    }
    if !install_deny()? {
        return Ok(Verdict::Skipped("cargo-deny is not installed and could not be built".into()));
    }
    let check = |what: &[&str]| {
        let mut command = Command::new(DENY);
        command.current_dir(sh::root()).args(["deny", "--all-features", "check"]).args(what);
        sh::passes(&mut command)
    };
    if !check(&["licenses", "bans", "sources"])? {
        return Ok(Verdict::Failed("licences, bans or sources, above".into()));
    }
    let mut fetch = Command::new(DENY);
    fetch.current_dir(sh::root()).args(["deny", "fetch", "db"]);
    if !sh::passes(&mut fetch)? {
        return Ok(Verdict::Skipped(
            "licences passed; the advisory database cannot be fetched from here".into(),
        ));
    }
    Ok(if check(&["advisories"])? {
        Verdict::Passed
    } else {
        Verdict::Failed("advisories, above".into())
    })
}

/// Installs cargo-deny if it is missing, within a bound; cargo keeps it for the next checkout. Whether it is there.
fn install_deny() -> Result<bool> {
    if sh::has(DENY) {
        return Ok(true);
    }
    sh::say("cargo-deny is missing; installing it, within twenty minutes");
    let mut install = Command::new("timeout");
    install.args([DENY_BUILD_S, "cargo", "install", "--locked", "--quiet", DENY]);
    Ok(sh::passes(&mut install)? && sh::has(DENY))
}

fn judge(command: &mut Command, why: &str) -> Result<Verdict> {
    Ok(if sh::passes(command)? { Verdict::Passed } else { Verdict::Failed(why.into()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_crates_are_told_from_strangers() {
        let tree = "regent-cli v0.1.0 (x)\nregent-api v0.1.0 (y)\nserde v1.0.0\nregent v0.1.0\n";
        assert_eq!(ours(tree), ["regent-cli", "regent-api", "regent"]);
    }

    #[test]
    fn the_pure_crates_may_depend_on_none_of_ours() {
        for pure in ["regent-core", "regent-store", "regent-api", "regent-lab"] {
            let (_, allowed) = DIRECTIONS.iter().find(|(name, _)| *name == pure).unwrap();
            assert!(allowed.is_empty(), "{pure}");
        }
    }
}

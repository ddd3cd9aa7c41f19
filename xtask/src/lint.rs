//! The checks that need no test: format, clippy, documentation, licences and advisories, who may
//! depend on whom, tidiness. All of them run, whatever fails, and none of them writes into the
//! sources.

use std::process::Command;

use anyhow::Result;

use crate::{sh, tidy};

/// Building cargo-deny once on a machine.
const DENY_BUILD_S: &str = "1200";

/// Who may depend on whom, among our own crates; what is not listed may depend on none of them.
const DIRECTIONS: [(&str, &[&str]); 12] = [
    ("regent-core", &[]),
    ("regent-store", &[]),
    ("regent-api", &[]),
    ("regent-adapters", &["regent-core"]),
    ("regent-agent", &["regent-core", "regent-store", "regent-adapters", "regent-api"]),
    ("regent-cli", &["regent-api"]),
    ("regent", &["regent-agent", "regent-cli"]),
    ("regent-sim", &["regent-core", "regent-store"]),
    ("regent-lab", &[]),
    ("management-service", &[]),
    ("xcat-stand-in", &[]),
    ("xtask", &[]),
];

/// Libraries that must not come in by a feature somewhere, and why.
const BARRED: [(&str, &str); 2] = [
    ("aws-lc-rs", "rustls panics at first use when two providers are built in"),
    ("openssl-sys", "the binary is self-contained"),
];

type Check = fn() -> Result<Verdict>;

enum Verdict {
    Passed,
    Failed(String),
    Skipped(String),
}

/// Runs every check; 0 if none failed.
pub fn run() -> Result<u8> {
    let checks: [(&str, Check); 6] = [
        ("format", format),
        ("clippy", clippy),
        ("documentation", documentation),
        ("directions", directions),
        ("tidy", tidy),
        ("licences and advisories", deny),
    ];
    let mut summary = Vec::new();
    let mut failed = 0;
    for (name, check) in checks {
        sh::say(&format!("== {name}"));
        let verdict = check().unwrap_or_else(|error| Verdict::Failed(format!("{error:#}")));
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
    let mut tree = sh::cargo(&["tree", "--workspace", "--edges", "normal,build"]);
    let all = sh::read(tree.args(["--prefix", "none", "--format", "{p}"]))?;
    for (library, why) in BARRED {
        if all.lines().any(|line| line.split(' ').next() == Some(library)) {
            wrong.push(format!("{library} is in the tree, but {why}"));
        }
    }
    wrong.iter().for_each(|line| sh::say(line));
    Ok(if wrong.is_empty() { Verdict::Passed } else { Verdict::Failed(wrong.join("; ")) })
}

/// Names of our own crates in the output of `cargo tree`.
fn ours(tree: &str) -> Vec<String> {
    let names = tree.lines().filter_map(|line| line.split(' ').next());
    let known = |name: &&str| DIRECTIONS.iter().any(|(package, _)| package == name);
    names.filter(known).map(str::to_owned).collect()
}

fn tidy() -> Result<Verdict> {
    let found = tidy::check(&sh::root())?;
    found.iter().for_each(|line| sh::say(line));
    Ok(match found.len() {
        0 => Verdict::Passed,
        count => Verdict::Failed(format!("{count} found, listed above")),
    })
}

fn deny() -> Result<Verdict> {
    let Some(program) = cargo_deny()? else {
        return Ok(Verdict::Skipped("cargo-deny is not installed and could not be built".into()));
    };
    let check = |what: &[&str]| {
        let mut command = Command::new(program);
        command.current_dir(sh::root()).args(["deny", "--all-features", "check"]).args(what);
        sh::passes(&mut command)
    };
    if !check(&["licenses", "bans", "sources"])? {
        return Ok(Verdict::Failed("licences, bans or sources, above".into()));
    }
    let mut fetch = Command::new(program);
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

/// The installed cargo-deny, or one installed now, within a bound; cargo keeps it for the next checkout.
fn cargo_deny() -> Result<Option<&'static str>> {
    const PROGRAM: &str = "cargo-deny";
    if sh::has(PROGRAM) {
        return Ok(Some(PROGRAM));
    }
    sh::say("cargo-deny is missing; installing it, within twenty minutes");
    let mut install = Command::new("timeout");
    install.args([DENY_BUILD_S, "cargo", "install", "--locked", "--quiet", PROGRAM]);
    Ok((sh::passes(&mut install)? && sh::has(PROGRAM)).then_some(PROGRAM))
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

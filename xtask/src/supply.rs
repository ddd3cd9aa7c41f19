//! What is linked in, judged by `deny.toml` without another program: licences, crates that are barred, sources. It
//! takes a second, so it is a part of every gate; `cargo deny` says the same in more depth, and knows of advisories.

use std::path::Path;

use anyhow::{Context, Result};

use crate::sh;

/// What `deny.toml` allows and bars.
#[derive(Debug, Default, PartialEq, Eq)]
struct Policy {
    /// Licences by their SPDX names.
    allowed: Vec<String>,
    /// Names of crates.
    barred: Vec<String>,
}

/// Everything that is not as `deny.toml` wants it, one line each.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let path = root.join("deny.toml");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let mut tree = sh::cargo(&["tree", "--workspace", "--all-features", "--target", "all"]);
    tree.args(["--edges", "normal,build", "--prefix", "none", "--format", "{p}|{l}"]);
    let mut found = judge(&policy(&text)?, &sh::read(&mut tree)?, root);
    found.sort();
    found.dedup();
    Ok(found)
}

/// The two lists of the file, each in brackets over several lines, as it is written here.
fn policy(text: &str) -> Result<Policy> {
    let list = |head: &str| -> Result<Vec<String>> {
        let (_, rest) =
            text.split_once(head).with_context(|| format!("deny.toml has no {head}"))?;
        let (list, _) = rest.split_once("\n]").with_context(|| format!("{head} has no end"))?;
        let quoted = |line: &str| line.split('"').nth(1).map(str::to_owned);
        Ok(list.lines().filter_map(quoted).collect())
    };
    Ok(Policy { allowed: list("\nallow = [")?, barred: list("\ndeny = [")? })
}

/// Lines of `cargo tree`: `name vVERSION (where, if not from the registry)|licence`, and a mark if it stood before.
fn judge(policy: &Policy, tree: &str, root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for line in tree.lines().filter(|line| !line.is_empty()) {
        let (package, licence) = line.split_once('|').unwrap_or((line, ""));
        let licence = licence.trim_end_matches(" (*)");
        let name = package.split(' ').next().unwrap_or_default();
        if policy.barred.iter().any(|barred| barred == name) {
            found.push(format!("{name} is in the tree, and deny.toml bars it"));
        }
        if !is_allowed(licence, &policy.allowed) {
            found.push(format!(
                "{package}: its licence is {licence:?}, which deny.toml does not allow"
            ));
        }
        let ours = format!("({}", root.display());
        let elsewhere = package.split_once(" (").filter(|(_, place)| {
            !format!("({place}").starts_with(&ours) && *place != "proc-macro)"
        });
        if let Some((_, place)) = elsewhere {
            found.push(format!("{name} comes from elsewhere than the registry: ({place}"));
        }
    }
    found
}

/// Whether an SPDX expression can be met with these licences. The old `A/B` means `A OR B`.
fn is_allowed(expression: &str, allowed: &[String]) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    any_of(&mut rest, allowed) && rest.is_empty()
}

fn any_of(rest: &mut &[&str], allowed: &[String]) -> bool {
    let mut is_met = all_of(rest, allowed);
    while let ["OR", after @ ..] = rest {
        *rest = after;
        is_met |= all_of(rest, allowed);
    }
    is_met
}

fn all_of(rest: &mut &[&str], allowed: &[String]) -> bool {
    let mut is_met = one(rest, allowed);
    while let ["AND", after @ ..] = rest {
        *rest = after;
        is_met &= one(rest, allowed);
    }
    is_met
}

/// A licence, one with an exception, or an expression in brackets.
fn one(rest: &mut &[&str], allowed: &[String]) -> bool {
    match *rest {
        ["(", after @ ..] => {
            *rest = after;
            let is_met = any_of(rest, allowed);
            let Some((&")", after)) = rest.split_first() else { return false };
            *rest = after;
            is_met
        }
        [licence, "WITH", exception, after @ ..] => {
            *rest = after;
            allowed.contains(&format!("{licence} WITH {exception}"))
        }
        [licence, after @ ..] => {
            *rest = after;
            allowed.iter().any(|one| one == licence)
        }
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(expression: &str) -> bool {
        let allowed = ["MIT", "Unicode-3.0", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned);
        is_allowed(expression, &allowed)
    }

    #[test]
    fn an_expression_is_met_by_what_is_allowed_and_by_nothing_else() {
        for met in [
            "MIT",
            "MIT OR GPL-3.0",
            "GPL-3.0/MIT",
            "(MIT OR Apache-2.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception OR GPL-3.0",
        ] {
            assert!(allows(met), "{met}");
        }
        for unmet in [
            "",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "Apache-2.0",
            "GPL-3.0 OR (MIT AND ISC)",
            "(MIT",
            "MIT)",
        ] {
            assert!(!allows(unmet), "{unmet}");
        }
    }

    #[test]
    fn the_workspaces_own_policy_is_read() {
        let text = std::fs::read_to_string(sh::root().join("deny.toml")).unwrap();
        let policy = policy(&text).unwrap();
        assert!(
            policy.allowed.contains(&"Apache-2.0 WITH LLVM-exception".to_owned()),
            "{policy:?}"
        );
        assert!(!policy.allowed.iter().any(|licence| licence.starts_with("GPL")), "{policy:?}");
        assert!(policy.barred.contains(&"openssl-sys".to_owned()), "{policy:?}");
    }

    #[test]
    fn a_bad_licence_a_barred_crate_and_another_source_are_named() {
        let policy = Policy { allowed: vec!["MIT".into()], barred: vec!["openssl".into()] };
        let judged = |line: &str| judge(&policy, line, Path::new("/x"));
        assert_eq!(judged("a v1.0.0|MIT"), Vec::<String>::new());
        assert_eq!(judged("a v1.0.0 (proc-macro)|MIT (*)"), Vec::<String>::new());
        assert_eq!(judged("ours v0.1.0 (/x/ours)|MIT"), Vec::<String>::new());
        assert_eq!(judged("a v1.0.0|GPL-3.0").len(), 1);
        assert_eq!(judged("openssl v1.0.0|MIT").len(), 1);
        assert_eq!(judged("a v1.0.0 (https://example.org/a#1)|MIT").len(), 1);
    }
}

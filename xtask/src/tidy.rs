//! Small things that no compiler holds: words the glossary forbids, leftovers, long lines, modules
//! without a head, dead links, paths of somebody's machine. Only the unambiguous is looked for, so
//! that every finding is one.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::sh;

/// Code, as rustfmt has it, and comments, which rustfmt does not break.
const COLUMNS: usize = 100;
const COMMENT_COLUMNS: usize = 120;

/// Files that name the forbidden words in order to forbid or translate them.
const SPEAKS_OF_WORDS: [&str; 7] = [
    "GLOSSARY.md",
    "CONTRIBUTING.md",
    "xtask/src/tidy.rs",
    "crates/adapters/src/keepalived/",
    "crates/adapters/testdata/",
    "docs/acceptance/",
    "examples/xcat-stand-in/",
];

/// Phrases of MariaDB and iproute2.
const THEIRS: [&str; 7] = [
    "master side",
    "slave side",
    "master br",
    "Slave has read all",
    "ACK from slave",
    "master's",
    "slave's",
];

/// What a finished file does not have.
const LEFTOVERS: [&str; 6] =
    ["FIX\u{4d}E", "TO\u{44}O", "db\u{67}!(", "XX\u{58}", "todo\u{21}(", "unimplemented\u{21}("];

/// Beginnings of paths that exist on one machine only.
const STRAY: [&str; 4] = ["/wor\u{6b}/", "/hom\u{65}/", "/roo\u{74}/", "/Use\u{72}s/"];

/// Places of the superuser that are the same on every management node.
const PLACES: [&str; 3] = ["/root/.xcat", "/root/.ssh", "/root/install-product"];

/// Everything found in the files of the repository under `root`, one line each.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for path in files(root)? {
        let Ok(text) = fs::read_to_string(root.join(&path)) else {
            continue;
        };
        found.extend(check_text(&path, &text));
        if path.ends_with(".md") {
            found.extend(dead_links(root, &path, &text));
        }
    }
    Ok(found)
}

/// Tracked files and new ones that are not ignored.
fn files(root: &Path) -> Result<Vec<String>> {
    let mut list = Command::new("git");
    list.args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(root);
    let listed = sh::read(&mut list)?;
    let is_ours = |path: &&str| *path != "Cargo.lock" && root.join(path).is_file();
    Ok(listed.lines().filter(is_ours).map(str::to_owned).collect())
}

fn check_text(path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let is_rust = path.ends_with(".rs");
    if is_rust && !text.starts_with("//!") && !text.starts_with("#![") {
        found.push(format!("{path}:1: a module opens with //!, what it promises"));
    }
    for (index, line) in text.lines().enumerate() {
        let at = format!("{path}:{}", index + 1);
        let is_comment = line.trim_start().starts_with("//");
        let most = if is_comment { COMMENT_COLUMNS } else { COLUMNS };
        // rustfmt breaks code, but never a sentence in quotes.
        let is_sentence = !is_comment && (line.contains('"') || line.ends_with('\\'));
        if is_rust && !is_sentence && line.chars().count() > most {
            found.push(format!("{at}: longer than {most} columns"));
        }
        if let Some(word) = LEFTOVERS.iter().find(|word| has_word(line, word)) {
            found.push(format!("{at}: a leftover, {word}"));
        }
        let rest = PLACES.iter().fold(line.to_owned(), |line, place| line.replace(place, " "));
        if let Some(start) = STRAY.iter().find(|start| rest.contains(**start)) {
            found.push(format!("{at}: a path of one machine, {start}"));
        }
        if !SPEAKS_OF_WORDS.iter().any(|name| path.starts_with(name))
            && let Some(word) = forbidden(line)
        {
            found.push(format!("{at}: the glossary forbids \"{word}\""));
        }
    }
    found
}

/// The word in capitals or with punctuation, not as a part of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let is_part = |char: Option<char>| char.is_some_and(|c| c.is_alphanumeric() || c == '_');
        !is_part(before) && (word.ends_with('(') || !is_part(after))
    })
}

/// A word that our own text does not use. What others named is theirs: code spans, identifiers with
/// an underscore in them, words in capitals, the two sides of semi-sync, a port's bridge in
/// iproute2's syntax, and what MariaDB itself prints.
fn forbidden(line: &str) -> Option<String> {
    let plain: String = line.split('`').step_by(2).collect::<Vec<_>>().join(" ");
    let line = THEIRS.iter().fold(plain, |line, theirs| line.replace(theirs, " "));
    let lower = line.to_lowercase();
    if let Some(word) = ["ston\u{69}th", "floating i\u{70}"].iter().find(|w| lower.contains(**w)) {
        return Some((*word).to_owned());
    }
    let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
    for word in words.filter(|word| !word.contains('_')) {
        let lower = word.to_lowercase();
        let is_theirs =
            word.chars().all(|c| c.is_uppercase()) || line.contains("Slave has read all");
        if ["master", "masters", "slave", "slaves"].contains(&lower.as_str()) && !is_theirs {
            return Some(word.to_owned());
        }
    }
    None
}

fn dead_links(root: &Path, path: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let base = root.join(path);
    let base = base.parent().unwrap_or(root);
    for (index, line) in text.lines().enumerate() {
        for target in links(line) {
            let file = target.split('#').next().unwrap_or_default();
            let is_elsewhere = target.contains("://") || target.starts_with("mailto:");
            if !is_elsewhere && !file.is_empty() && !base.join(file).exists() {
                found.push(format!("{path}:{}: a dead link, {target}", index + 1));
            }
        }
    }
    found
}

/// Targets of `[text](target)`, outside code spans.
fn links(line: &str) -> Vec<&str> {
    let plain: Vec<&str> = line.split('`').step_by(2).collect();
    let targets = plain.into_iter().flat_map(|part| {
        part.match_indices("](").filter_map(move |(at, _)| part[at + 2..].split(')').next())
    });
    targets.map(|target| target.split(' ').next().unwrap_or(target)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        check_text(path, text).len()
    }

    #[test]
    fn a_module_without_a_head_is_found() {
        assert_eq!(found("a.rs", "fn main() {}\n"), 1);
        assert_eq!(found("a.rs", "//! Does it.\nfn main() {}\n"), 0);
    }

    #[test]
    fn leftovers_are_found_as_words_only() {
        for leftover in LEFTOVERS {
            assert_eq!(found("a.md", &format!("x {leftover} y")), 1, "{leftover}");
        }
        assert_eq!(found("a.md", "xTO\u{44}Oy"), 0);
    }

    #[test]
    fn long_lines_and_stray_paths_are_found() {
        assert_eq!(found("a.rs", &format!("//! x\n{}", "y".repeat(COLUMNS + 1))), 1);
        assert_eq!(found("a.rs", &format!("//! x\n// {}", "y".repeat(COLUMNS))), 0);
        assert_eq!(found("a.rs", &format!("//! x\n// {}", "y".repeat(COMMENT_COLUMNS))), 1);
        assert_eq!(found("a.rs", &format!("//! x\nf(\"{}\")", "y".repeat(COLUMNS))), 0);
        assert_eq!(found("a.md", &"y".repeat(300)), 0);
        assert_eq!(found("a.toml", "path = \"/hom\u{65}/me/x\""), 1);
        assert_eq!(found("a.toml", "path = \"/root/.xcat\""), 0);
        assert_eq!(found("a.toml", "path = \"/roo\u{74}/x\""), 1);
    }

    #[test]
    fn forbidden_words_are_found_and_names_of_mariadb_are_not() {
        assert!(forbidden("the master node").is_some());
        assert!(forbidden("Slaves follow").is_some());
        assert!(forbidden("use ston\u{69}th").is_some());
        assert!(forbidden("SET GLOBAL rpl_semi_sync_master_enabled=ON; START SLAVE").is_none());
        assert!(forbidden("MASTER_GTID_WAIT and MASTER/BACKUP").is_none());
        assert!(forbidden("a masterpiece").is_none());
        assert!(forbidden("`master` and the master side of semi-sync").is_none());
    }

    #[test]
    fn links_are_read_outside_code() {
        assert_eq!(links("see [a](b.md#c) and `[x](y)` and [d](e)"), ["b.md#c", "e"]);
    }
}

//! Documents that are true, as far as a machine can tell:
//!
//! - Every name between backticks in ARCHITECTURE.md exists, and so does every file and every path to a definition in
//!   CONTRIBUTING.md and `docs/design/`. (Decisions may speak of what is gone.)
//! - Every message that a document for operators quotes is one that the product prints.
//! - Every test and every story that `docs/acceptance/` names exists.
//!
//! Comments of the sources prove nothing, and for names and messages tests prove nothing either.
//!
//! What a document for operators (README.md, `docs/operating/`) puts between backticks is one of four things,
//! told apart by its form:
//!
//! - `regent ...` or `--option`: a command line, as each line of a block of kind `sh` that begins so. Its
//!   subcommand and its options exist.
//! - `area.what`: the code of an event, or a key of the configuration; `key = ...` and `[table] key` are keys, and
//!   `.field` is a field of the JSON.
//! - Several words: a message. So is each line of a block of kind `text` that is no prompt (not in README.md,
//!   which shows what the lab prints).
//! - One word, a path, a line for another program: not checked.
//!
//! In a message, what differs from case to case is written in capitals or has a digit in it (`NODE`, `mn1`,
//! `12 ms`); `...` stands for what is left out.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

mod keys;
mod messages;
mod names;
mod quoted;
mod source;

use keys::Keys;
use messages::Messages;
use names::Names;
use quoted::quotations;
use source::Source;

/// Crates whose texts operators see.
const PRODUCT: [&str; 8] = ["core", "store", "config", "adapters", "agent", "api", "cli", "regent"];

/// Everything that is not so in the documents of the repository under `root`, one line each.
pub fn check(root: &Path) -> Result<Vec<String>> {
    let names = Names::read(root)?;
    let mut found = names.check_map(&read(root, "ARCHITECTURE.md")?);
    let product = Product::read(root)?;
    let mut documents = vec!["README.md".to_owned()];
    for entry in fs::read_dir(root.join("docs/operating")).context("docs/operating")? {
        documents.push(format!("docs/operating/{}", entry?.file_name().to_string_lossy()));
    }
    documents.sort();
    for path in documents.iter().filter(|path| path.ends_with(".md")) {
        found.extend(product.check(path, &read(root, path)?));
    }
    let mut others = vec!["CONTRIBUTING.md".to_owned()];
    for entry in fs::read_dir(root.join("docs/design")).context("docs/design")? {
        others.push(format!("docs/design/{}", entry?.file_name().to_string_lossy()));
    }
    for path in &others {
        found.extend(names.check_paths(path, &read(root, path)?));
    }
    let mut sources = String::new();
    for place in ["crates", "lab", "examples"] {
        gather(&root.join(place), &mut sources)?;
    }
    for entry in fs::read_dir(root.join("docs/acceptance")).context("docs/acceptance")? {
        let path = format!("docs/acceptance/{}", entry?.file_name().to_string_lossy());
        let text = read(root, &path)?;
        let has_story = |name: &str| {
            let story = root.join(format!("crates/sim/scenarios/{name}.scn"));
            story.exists() || root.join(name).exists()
        };
        found.extend(shown_by(&path, &text, &sources, has_story));
    }
    Ok(found)
}

/// All sources under a folder, one behind the other, tests included.
fn gather(folder: &Path, all: &mut String) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            gather(&path, all)?;
        } else if path.extension().is_some_and(|end| end == "rs") {
            all.push_str(&fs::read_to_string(&path).with_context(|| path.display().to_string())?);
        }
    }
    Ok(())
}

/// Tests and stories of an acceptance table that do not exist. The name of a test is a sentence.
fn shown_by(
    path: &str,
    text: &str,
    sources: &str,
    has_story: impl Fn(&str) -> bool,
) -> Vec<String> {
    let mut found = Vec::new();
    for (line, span) in quotations(text).spans {
        let is_name = |word: &str| {
            word.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "_-".contains(c))
        };
        let is_test = span.matches('_').count() > 2 && is_name(&span);
        if is_test && !sources.contains(&format!("fn {span}(")) {
            found.push(format!("{path}:{line}: no test is called `{span}`"));
        }
        let is_story = span.split('/').count() == 2
            && span.split('/').all(|part| !part.is_empty() && is_name(part));
        if is_story && !has_story(&span) {
            found.push(format!("{path}:{line}: no story is called `{span}`"));
        }
    }
    found
}

fn read(root: &Path, path: &str) -> Result<String> {
    fs::read_to_string(root.join(path)).with_context(|| path.to_owned())
}

/// What the product can print, and what it takes.
struct Product {
    messages: Messages,
    /// Every text in quotes, whole.
    texts: BTreeSet<String>,
    keys: Keys,
    /// The words of the command line's own code.
    command_line: BTreeSet<String>,
    /// The words of the code of what is answered as JSON.
    answers: BTreeSet<String>,
}

impl Product {
    fn read(root: &Path) -> Result<Product> {
        let mut texts = Vec::new();
        let (mut command_line, mut answers) = (BTreeSet::new(), BTreeSet::new());
        for name in PRODUCT {
            for (path, source) in sources(&root.join("crates").join(name).join("src"))? {
                if path.contains("/cli/") {
                    command_line.extend(words(&source.code).map(str::to_owned));
                    command_line.extend(source.texts.iter().cloned());
                }
                if path.contains("/api/") {
                    answers.extend(words(&source.code).map(str::to_owned));
                }
                texts.extend(source.texts);
            }
        }
        Ok(Product {
            messages: Messages::new(&texts),
            texts: texts.into_iter().collect(),
            keys: Keys::read(&read(root, "docs/generated/config.md")?),
            command_line,
            answers,
        })
    }

    /// Everything in one document that is not so.
    fn check(&self, path: &str, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        let document = quotations(text);
        let quotes = path != "README.md";
        for (line, span) in &document.spans {
            if let Some(what) = self.fault(span, quotes) {
                found.push(format!("{path}:{line}: {what}: `{span}`"));
            }
        }
        if !quotes {
            return found;
        }
        for block in &document.blocks {
            let mut at = 0;
            while at < block.len() {
                // A message that is broken over lines is tried with the lines that follow.
                let most = block.len().min(at + 3);
                let whole = (at + 1..=most).find(|end| {
                    let lines: Vec<&str> =
                        block[at..*end].iter().map(|(_, l)| l.as_str()).collect();
                    self.is_printed(&lines.join(" "))
                });
                if whole.is_none() {
                    let (line, text) = &block[at];
                    found.push(format!("{path}:{line}: never printed: `{text}`"));
                }
                at = whole.unwrap_or(at + 1);
            }
        }
        found
    }

    /// What is wrong with the text between two backticks.
    fn fault(&self, span: &str, quotes: bool) -> Option<&'static str> {
        let is_option = quotes && span.starts_with("--");
        if let Some(line) = span.strip_prefix("regent ").or(Some(span).filter(|_| is_option)) {
            return (!self.is_command(line)).then_some("no such command");
        }
        if let Some(field) =
            span.strip_prefix('.').filter(|field| is_dotted(field) || is_word(field))
        {
            let known =
                field.split('.').all(|part| self.answers.contains(part.trim_end_matches("[]")));
            return (!known).then_some("no such field of an answer");
        }
        if let Some(key) = key(span) {
            return (!self.keys.has(&key)).then_some("no such key of the configuration");
        }
        if is_dotted(span) {
            let known = self.texts.contains(span) || self.keys.has(span);
            return (!known).then_some("neither an event nor a key of the configuration");
        }
        (quotes && is_message(span) && !self.messages.has(span)).then_some("never printed")
    }

    /// The line of a table or of a story: each of its columns is a message or a figure.
    fn is_printed(&self, line: &str) -> bool {
        let columns = line.trim().split("  ").map(str::trim).filter(|column| !column.is_empty());
        columns.into_iter().all(|column| self.messages.has_part(column))
    }

    /// Are the subcommands and the options of this line known to the command line?
    fn is_command(&self, line: &str) -> bool {
        let words: Vec<&str> =
            line.split([' ', '|', '[', ']', '=']).filter(|word| !word.is_empty()).collect();
        // What follows a subcommand may be a name of the site's; such a one has a digit, or is in capitals.
        let is_verb =
            |word: &&&str| word.chars().all(|char| char.is_ascii_lowercase() || char == '-');
        let verbs = words.iter().take(2).filter(is_verb).map(|word| word.trim_start_matches('-'));
        let options = words.iter().filter_map(|word| word.strip_prefix("--"));
        verbs.chain(options).all(|word| self.knows(word))
    }

    fn knows(&self, word: &str) -> bool {
        let variant: String = word.split('-').map(capitalised).collect();
        let forms = [word, &variant, &word.replace('-', "_")];
        ["help", "version"].contains(&word)
            || forms.iter().any(|form| self.command_line.contains(*form))
    }
}

fn capitalised(word: &str) -> String {
    let mut chars = word.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// The key in `key = ...` and in `[table] key`.
fn key(span: &str) -> Option<String> {
    if let Some((table, key)) = span.strip_prefix('[').and_then(|rest| rest.split_once("] ")) {
        return Some(format!("{}.{}", table.trim_matches(['[', ']']), key.split(' ').next()?));
    }
    let (key, _) = span.split_once(" = ")?;
    Some(key.trim_matches('"').to_owned())
}

/// `area.what`, of lower-case words: an event's code or a key. The name of a file is neither.
fn is_dotted(span: &str) -> bool {
    const FILES: [&str; 16] = [
        "cnf", "conf", "crt", "json", "key", "md", "mount", "next", "last", "pid", "rs", "service",
        "socket", "sql", "timer", "toml",
    ];
    let parts: Vec<&str> = span.split('.').collect();
    parts.len() > 1
        && parts.iter().all(|part| is_word(part))
        && !FILES.iter().any(|end| span.ends_with(end))
}

/// Lower-case letters, as in a key; behind the name of a list of an answer stand brackets.
fn is_word(part: &str) -> bool {
    part.starts_with(|char: char| char.is_ascii_lowercase())
        && part.trim_end_matches("[]").chars().all(|c| c.is_ascii_lowercase() || "-_".contains(c))
}

/// Several words that are no command line, no line of a file and no name of MariaDB's.
fn is_message(span: &str) -> bool {
    const PROGRAMS: [&str; 23] = [
        "activate-xcatmn",
        "apt",
        "apt-get",
        "cargo",
        "chdef",
        "deactivate-xcatmn",
        "echo",
        "fence_redfish",
        "install",
        "ip",
        "journalctl",
        "kill",
        "makedns",
        "mariadb",
        "mariadb-dump",
        "mv",
        "nft",
        "printf",
        "ps",
        "reboot",
        "sudo",
        "systemctl",
        "wdctl",
    ];
    let first = span.split(' ').next().unwrap_or_default();
    let is_file = span.starts_with(['/', '"']);
    let is_theirs = PROGRAMS.contains(&first) || is_statement(first) || is_file;
    span.contains(' ') && !is_theirs
}

fn is_statement(first: &str) -> bool {
    [
        "ALTER", "FLUSH", "KILL", "LOCK", "PURGE", "READ", "RESET", "SET", "SHUTDOWN", "START",
        "STOP", "SUPER",
    ]
    .contains(&first)
}

/// The sources under a folder with their paths; what only tests see is left out.
fn sources(folder: &Path) -> Result<Vec<(String, Source)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        let is_test = path.file_stem().is_some_and(|stem| stem == "tests");
        if path.is_dir() && !is_test {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|end| end == "rs") && !is_test {
            let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            found.push((path.to_string_lossy().into_owned(), source::read(&text)));
        }
    }
    Ok(found)
}

/// The names in code.
fn words(code: &str) -> impl Iterator<Item = &str> {
    code.split(|char: char| !char.is_alphanumeric() && char != '_').filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documents_of_this_repository_say_what_is_so() {
        let found = check(&crate::sh::root()).unwrap();
        assert!(found.is_empty(), "{} found:\n{}", found.len(), found.join("\n"));
    }

    fn product() -> Product {
        let source = source::read(
            "// \"an old sentence of the product\"\nf(\"the database of {} {what}\"); g(\"died\"); h(\"lease.lost\")",
        );
        Product {
            messages: Messages::new(&source.texts),
            texts: source.texts.into_iter().collect(),
            keys: Keys::read(
                "## `[vip]`\n\n| `driver` | text |\n\n## `[[service.probe]]`\n\n| `fall` | text |\n",
            ),
            command_line: ["Switchover", "confirm_peer_is_off"].map(str::to_owned).into(),
            answers: ["nodes", "age_ms"].map(str::to_owned).into(),
        }
    }

    #[test]
    fn a_message_that_is_never_printed_is_found_and_so_is_one_that_only_a_comment_has() {
        let check = |text: &str| product().check("a.md", text).len();
        assert_eq!(check("`the database of mn1 died`"), 0);
        assert_eq!(check("`the database of mn1 slept`"), 1);
        assert_eq!(check("`an old sentence of the product`"), 1);
        assert_eq!(
            check("```text\n# regent status\nthe database of NODE died\n```"),
            1,
            "the command"
        );
        assert_eq!(check("```text\nthe database\nof NODE died\n```"), 0);
        assert_eq!(check("```text\nthe database of NODE is fine\n```"), 1);
        assert_eq!(check("```sh\nthe database of NODE is fine\n```"), 0);
    }

    #[test]
    fn what_an_acceptance_table_names_is_looked_for() {
        let found = |text: &str| {
            shown_by("a.md", text, "fn a_name_that_is_there() {}", |name| name == "failover/there")
                .len()
        };
        assert_eq!(
            found("`a_name_that_is_there`, `failover/there`, `activate-xcatmn`, `a/b/c`"),
            0
        );
        assert_eq!(found("`a_name_that_was_there` and `failover/gone`"), 2);
    }

    #[test]
    fn codes_keys_and_commands_are_looked_for() {
        let fault = |span: &str| product().fault(span, true).is_some();
        assert!(!fault("lease.lost") && fault("lease.found"));
        assert!(!fault("vip.driver") && fault("vip.colour"));
        assert!(!fault("service.ui.probe.up.fall") && fault("service.ui.fall"));
        assert!(!fault("[vip] driver") && !fault("driver = \"native\"") && fault("colour = 1"));
        assert!(!fault("regent switchover --confirm-peer-is-off NODE"));
        assert!(fault("regent switch") && fault("regent switchover --force"));
        assert!(!fault(".nodes[].age_ms") && fault(".nodes[].colour"));
        assert!(!fault("systemctl status x") && !fault("node.crt"));
    }
}

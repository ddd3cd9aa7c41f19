//! Names of code in documents: each text in backticks in ARCHITECTURE.md is a path to something defined, a file, a
//! command of `cargo xtask`, a definition, or a word that stands in quotes somewhere in the product.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Result;

use super::source;

/// What stands before the name of something in the place where it is defined.
const KEYWORDS: [&str; 9] =
    ["fn", "struct", "enum", "trait", "type", "const", "static", "mod", "union"];

/// Everything that has a name.
pub struct Names {
    root: PathBuf,
    /// The names that each file defines.
    defined: BTreeMap<PathBuf, BTreeSet<String>>,
    /// Texts in quotes, and attributes of a crate.
    texts: BTreeSet<String>,
}

impl Names {
    /// Reads the sources of the repository under `root`.
    pub fn read(root: &Path) -> Result<Names> {
        let mut names =
            Names { root: root.to_owned(), defined: BTreeMap::new(), texts: BTreeSet::new() };
        for entry in fs::read_dir(root.join("crates"))? {
            names.take(&entry?.path().join("src"))?;
        }
        // What these quote is not the product's.
        let texts = names.texts.clone();
        names.take(&root.join("lab/src"))?;
        names.take(&root.join("xtask/src"))?;
        Ok(Names { texts, ..names })
    }

    /// Texts between backticks in ARCHITECTURE.md that name nothing, one line each.
    pub fn check_map(&self, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        for (index, line) in text.lines().enumerate() {
            // In the map the first column says where the others' files are.
            let spans: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
            let base = spans.first().filter(|_| line.starts_with("| `")).copied().unwrap_or("");
            for name in spans.iter().flat_map(|span| expanded(span)) {
                if !self.knows(&name, base) {
                    found.push(missing("ARCHITECTURE.md", index + 1, &name));
                }
            }
        }
        found
    }

    /// Files and paths to definitions that another document names and that do not exist, one line each.
    pub fn check_paths(&self, path: &str, text: &str) -> Vec<String> {
        const PLACES: [&str; 5] = ["crates", "docs", "lab", "packaging", "xtask"];
        let is_ours = |name: &String| {
            let first = name.split(['/', ':']).next().unwrap_or_default();
            let is_crate = name.contains("::") && self.root.join("crates").join(first).exists();
            is_crate || (name.contains('/') && PLACES.contains(&first))
        };
        let mut found = Vec::new();
        for (line, span) in super::quotations(text).spans {
            let names = expanded(&span).into_iter().filter(is_ours);
            let gone = names.filter(|name| !self.knows(name, ""));
            found.extend(gone.map(|name| missing(path, line, &name)));
        }
        found
    }

    fn take(&mut self, folder: &Path) -> Result<()> {
        for (path, source) in super::sources(folder)? {
            self.take_source(PathBuf::from(path), source);
        }
        Ok(())
    }

    fn take_source(&mut self, path: PathBuf, source: source::Source) {
        let words: Vec<&str> = super::words(&source.code).collect();
        let pairs = words.windows(2).filter(|pair| KEYWORDS.contains(&pair[0]));
        self.defined.insert(path, pairs.map(|pair| pair[1].to_owned()).collect());
        self.texts.extend(source.texts);
        let attributes = source.code.split("#![").skip(1).filter_map(|rest| rest.split(']').next());
        self.texts.extend(attributes.map(str::to_owned));
    }

    fn knows(&self, name: &str, base: &str) -> bool {
        if let Some(words) = name.strip_prefix("cargo xtask ") {
            let verb = super::capitalised(words.split(' ').next().unwrap_or_default());
            return self.has_command(&verb);
        }
        if name.contains("::") {
            return self.is_path(name);
        }
        let places = ["", base, &format!("{base}/src"), "crates"];
        let is_place = places.iter().any(|place| self.root.join(place).join(name).exists());
        let is_file = name.contains(['/', '.']);
        is_place || (!is_file && (self.is_defined(name) || self.texts.contains(name)))
    }

    fn is_defined(&self, name: &str) -> bool {
        self.defined.values().any(|names| names.contains(name))
    }

    /// A command of `cargo xtask` is a variant of the enum in its main.rs.
    fn has_command(&self, variant: &str) -> bool {
        let main = fs::read_to_string(self.root.join("xtask/src/main.rs")).unwrap_or_default();
        super::words(&source::read(&main).code).any(|word| word == variant)
    }

    /// `crate::module::item`: each module is a file, and the last of them defines the item. Of `Type::method` both are
    /// defined there.
    fn is_path(&self, name: &str) -> bool {
        let mut segments = name.split("::").peekable();
        let Some(first) = segments.next() else { return false };
        let mut folder = self.root.join("crates").join(first).join("src");
        let mut file = folder.join("lib.rs");
        while let Some(module) = segments.peek() {
            let beside = folder.join(format!("{module}.rs"));
            let inside = folder.join(module).join("mod.rs");
            file = if self.defined.contains_key(&beside) {
                beside
            } else if self.defined.contains_key(&inside) {
                inside
            } else {
                break;
            };
            folder.push(module);
            segments.next();
        }
        let Some(names) = self.defined.get(&file) else { return false };
        segments.all(|item| names.contains(item))
    }
}

fn missing(path: &str, line: usize, name: &str) -> String {
    format!("{path}:{line}: nothing is called `{name}`")
}

/// `a::{b, c}` is two names.
fn expanded(span: &str) -> Vec<String> {
    let parts = span.split_once('{').and_then(|(head, rest)| Some((head, rest.strip_suffix('}')?)));
    match parts {
        Some((head, list)) => {
            list.split(',').map(|name| format!("{head}{}", name.trim())).collect()
        }
        None => vec![span.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code() -> Names {
        let mut code = Names {
            root: PathBuf::from("/none"),
            defined: BTreeMap::new(),
            texts: BTreeSet::new(),
        };
        let take = |code: &mut Names, path: &str, text: &str| {
            code.take_source(PathBuf::from("/none/crates").join(path), source::read(text));
        };
        take(&mut code, "core/src/lib.rs", "#![no_std]\npub mod node;\n");
        take(&mut code, "core/src/node/mod.rs", "pub struct Node; // fn gone()\n");
        take(
            &mut code,
            "core/src/node/view.rs",
            "/// [`gone`]\nimpl Node { fn take_view() { f(\"prober\") } }",
        );
        code
    }

    #[test]
    fn a_name_that_nothing_defines_is_found_even_if_a_comment_has_it() {
        let knows = |name: &str| code().knows(name, "");
        assert!(knows("core::node::Node") && knows("core::node::view::take_view"));
        assert!(!knows("core::node::gone") && !knows("core::node::view::gone") && !knows("gone"));
        assert!(!knows("core::Node") && !knows("core::node::views") && !knows("store::node"));
        assert!(knows("prober") && knows("no_std") && knows("take_view"));
        assert!(!knows("prober.rs") && !knows("fn gone()"));
    }

    #[test]
    fn braces_hold_several_names() {
        assert_eq!(expanded("a::{b, c}"), ["a::b", "a::c"]);
        assert_eq!(expanded("a::b"), ["a::b"]);
    }
}

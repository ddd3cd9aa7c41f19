//! What a Rust source says, apart from its comments: the names it uses and the texts in quotes. It is no
//! compiler; it tells code, comments and strings apart, and leaves out what only tests see.

/// A source without its comments.
#[derive(Default, Debug)]
pub struct Source {
    /// Code with every comment and every literal replaced by a blank.
    pub code: String,
    /// The texts of its string literals, escapes resolved.
    pub texts: Vec<String>,
}

/// Reads one source; the modules under `#[cfg(test)]` are left out.
pub fn read(text: &str) -> Source {
    let mut source = Source::default();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let before = source.code.chars().next_back();
        let is_in_word = before.is_some_and(|char| char.is_alphanumeric() || char == '_');
        rest = if let Some(after) = rest.strip_prefix("#[cfg(test)]") {
            without_item(after)
        } else if rest.starts_with("//") {
            rest.find('\n').map_or("", |end| &rest[end..])
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.find("*/").map_or("", |end| &comment[end + 2..])
        } else if let Some(literal) = rest.strip_prefix('"') {
            quoted(literal, &mut source)
        } else if let Some((hashes, literal)) = raw(rest).filter(|_| !is_in_word) {
            let close = format!("\"{}", "#".repeat(hashes));
            let end = literal.find(&close).unwrap_or(literal.len());
            source.texts.push(literal[..end].to_owned());
            source.code.push(' ');
            literal.get(end + close.len()..).unwrap_or("")
        } else if let Some(after) = character(rest) {
            source.code.push(' ');
            after
        } else {
            source.code.push(first);
            &rest[first.len_utf8()..]
        };
    }
    source
}

/// The rest after a string literal whose opening quote was taken.
fn quoted<'a>(literal: &'a str, source: &mut Source) -> &'a str {
    let mut text = String::new();
    let mut chars = literal.char_indices();
    while let Some((at, char)) = chars.next() {
        match char {
            '"' => {
                source.texts.push(text);
                source.code.push(' ');
                return &literal[at + 1..];
            }
            '\\' => match chars.next().map(|(_, escaped)| escaped) {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                // A line that goes on: its indent does not count.
                Some('\n') => {
                    while chars.as_str().starts_with(char::is_whitespace) {
                        chars.next();
                    }
                }
                Some(other) => text.push(other),
                None => {}
            },
            other => text.push(other),
        }
    }
    ""
}

/// A raw string's number of hashes, and what follows its opening quote.
fn raw(rest: &str) -> Option<(usize, &str)> {
    let after = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'))?;
    let opened = after.trim_start_matches('#');
    let literal = opened.strip_prefix('"')?;
    Some((after.len() - opened.len(), literal))
}

/// The rest after a literal of one character; a lifetime is none.
fn character(rest: &str) -> Option<&str> {
    let inner = rest.strip_prefix('\'')?;
    if let Some(escaped) = inner.strip_prefix('\\') {
        let skipped = escaped.chars().next()?.len_utf8();
        let end = escaped.get(skipped..)?.find('\'')?;
        return Some(&escaped[skipped + end + 1..]);
    }
    let first = inner.chars().next()?;
    inner[first.len_utf8()..].strip_prefix('\'')
}

/// The rest after the item that an attribute stands before: up to its closing brace, or to its semicolon.
fn without_item(rest: &str) -> &str {
    let Some(start) = rest.find(['{', ';']) else { return "" };
    if rest[start..].starts_with(';') {
        return &rest[start + 1..];
    }
    // A brace in a string or in a comment is none, so the item is read like any source.
    let body = &rest[start..];
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(char) = body[at..].chars().next() {
        let here = &body[at..];
        let is_in_word = body[..at].ends_with(|char: char| char.is_alphanumeric() || char == '_');
        let after = if here.starts_with("//") {
            here.find('\n').map_or("", |end| &here[end..])
        } else if let Some(literal) = here.strip_prefix('"') {
            quoted(literal, &mut Source::default())
        } else if let Some((hashes, literal)) = raw(here).filter(|_| !is_in_word) {
            let close = format!("\"{}", "#".repeat(hashes));
            literal.find(&close).map_or("", |end| &literal[end + close.len()..])
        } else if let Some(after) = character(here) {
            after
        } else {
            match char {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            &here[char.len_utf8()..]
        };
        at = body.len() - after.len();
        if depth == 0 {
            return after;
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_no_code_and_no_text() {
        let source = read("// fn gone() { \"a\" }\n/* fn gone() */ fn here() {}\n/// `gone`\n");
        assert!(!source.code.contains("gone"));
        assert!(source.code.contains("fn here()"));
        assert!(source.texts.is_empty());
    }

    #[test]
    fn texts_are_read_whole_and_are_no_code() {
        let source = read(
            "f(\"one \\\n      two // \\\"x\\\"\"); g(r#\"a \"b\" c\"#); h('\"', '\\'', \"d\")",
        );
        assert_eq!(source.texts, ["one two // \"x\"", "a \"b\" c", "d"]);
        assert!(!source.code.contains("two"));
    }

    #[test]
    fn what_only_tests_see_is_left_out() {
        let source = read(
            "fn a<'a>() {}\n#[cfg(test)]\nmod tests { fn b() { \"}\"; '}'; } }\nfn c() { \"d\" }\n#[cfg(test)]\nmod t;\nfn e() {}",
        );
        assert!(source.code.contains("fn a<'a>") && source.code.contains("fn c()"));
        assert!(source.code.contains("fn e()") && !source.code.contains("fn b()"));
        assert_eq!(source.texts, ["d"]);
    }
}

//! Is a sentence one that the product prints? Its texts are templates: words, and gaps where something is filled in. A
//! sentence is printed if one template makes it, the gaps filled with what differs from case to case or, in turn, with
//! what another template makes. Sentences are joined at punctuation marks.

use std::cell::RefCell;
use std::collections::BTreeMap;

#[derive(Clone, PartialEq, Eq, Debug)]
enum Part {
    Word(String),
    /// Something stands here.
    Gap,
    /// Something may stand here: what is filled in behind a word without a blank between them.
    Rest,
}

/// What stands for the rest of a message, or for its beginning.
const OPEN: &str = "...";

/// Every text of the product, by each of its words.
pub struct Messages {
    templates: Vec<Vec<Part>>,
    by_first_word: BTreeMap<String, Vec<usize>>,
}

impl Messages {
    pub fn new(texts: &[String]) -> Messages {
        let mut templates: Vec<Vec<Part>> = texts.iter().map(|text| template(text)).collect();
        templates.retain(|parts| parts.iter().any(is_spoken));
        templates.sort_by_key(|parts| parts.len());
        templates.dedup();
        let mut by_first_word: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (index, parts) in templates.iter().enumerate() {
            if let Some(Part::Word(word)) = parts.iter().find(|part| is_spoken(part)) {
                by_first_word.entry(word.clone()).or_default().push(index);
            }
        }
        Messages { templates, by_first_word }
    }

    /// Is this whole sentence printed?
    pub fn has(&self, sentence: &str) -> bool {
        let words = words(sentence);
        let search = Search { messages: self, words: &words, known: RefCell::default() };
        match words.first() {
            Some(first) if first == OPEN => search.is_end(),
            _ => !words.is_empty() && search.is_sentence(0, words.len(), 2),
        }
    }

    /// The same for a piece of a table: a figure or a name will do, and so will a single word of ours.
    pub fn has_part(&self, part: &str) -> bool {
        let words = words(part);
        let search = Search { messages: self, words: &words, known: RefCell::default() };
        search.fills(0, words.len()) || self.has(part)
    }
}

fn is_spoken(part: &Part) -> bool {
    matches!(part, Part::Word(word) if word.chars().any(char::is_alphabetic))
}

/// Words and marks of punctuation.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    for word in text.replace(['*', '`', '"'], " ").split_whitespace() {
        let is_number = word.chars().any(|char| char.is_ascii_digit());
        let mut rest = word;
        if let Some(behind) = word.strip_prefix("...").or_else(|| word.strip_prefix('…')) {
            words.push(OPEN.to_owned());
            rest = behind;
        }
        while let Some(first) = rest.chars().next() {
            let end = if is_mark(first) {
                first.len_utf8()
            } else if is_number {
                rest.trim_end_matches(is_mark).len()
            } else {
                rest.find(is_mark).unwrap_or(rest.len())
            };
            words.push(rest[..end].to_owned());
            rest = &rest[end..];
        }
    }
    words
}

fn is_mark(char: char) -> bool {
    ",;:.()[]?!".contains(char)
}

/// A text with `{...}` in it, as the product's formatting takes it.
fn template(text: &str) -> Vec<Part> {
    const GAP: char = '\u{1}';
    let mut plain = String::new();
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        match char {
            '{' | '}' if chars.peek() == Some(&char) => {
                chars.next();
                plain.push(char);
            }
            '{' => {
                for inner in chars.by_ref() {
                    if inner == '}' {
                        break;
                    }
                }
                plain.push(GAP);
            }
            _ => plain.push(char),
        }
    }
    let mut parts = Vec::new();
    for word in words(&plain) {
        match word.split_once(GAP) {
            None => parts.push(Part::Word(word)),
            Some((before, "")) if !before.is_empty() => {
                parts.extend([Part::Word(before.to_owned()), Part::Rest]);
            }
            Some(_) => parts.push(Part::Gap),
        }
    }
    parts
}

/// What differs from case to case: it has a digit, is written in capitals, or names a file.
fn differs(word: &str) -> bool {
    const UNITS: [&str; 6] = ["ms", "s", "min", "h", "MiB", "GiB"];
    UNITS.contains(&word)
        || word.contains(|char: char| char.is_ascii_digit())
        || word.starts_with('/')
        || (word.chars().all(|char| char.is_ascii_uppercase() || char == '-')
            && word.contains(|char: char| char.is_ascii_uppercase()))
}

/// One sentence, looked for.
struct Search<'a> {
    messages: &'a Messages,
    words: &'a [String],
    known: RefCell<BTreeMap<(usize, usize), bool>>,
}

impl Search<'_> {
    fn is_free(&self, at: usize) -> bool {
        let word = &self.words[at];
        differs(word) || word.chars().all(|char| is_mark(char) || "·->".contains(char))
    }

    /// May these words stand in a gap?
    fn fills(&self, from: usize, to: usize) -> bool {
        if (from..to).all(|at| self.is_free(at)) {
            return true;
        }
        if let Some(known) = self.known.borrow().get(&(from, to)) {
            return *known;
        }
        // A template that fills itself is none.
        self.known.borrow_mut().insert((from, to), false);
        let found = self.is_sentence(from, to, 1)
            || (self.is_free(from) && self.fills(from + 1, to))
            || (self.is_free(to - 1) && self.fills(from, to - 1));
        self.known.borrow_mut().insert((from, to), found);
        found
    }

    /// Does one template, with at least so many words of its own, make these words, or do several, joined at marks?
    fn is_sentence(&self, from: usize, to: usize, least: usize) -> bool {
        let is_enough = |parts: &&Vec<Part>| {
            let is_whole = !parts.contains(&Part::Gap);
            is_whole || parts.iter().filter(|part| is_spoken(part)).count() >= least
        };
        if self.candidates(from, to).filter(is_enough).any(|parts| self.matches(parts, from, to, 0))
        {
            return true;
        }
        let is_join =
            |at: &usize| [":", ";", ",", ".", "·", "("].contains(&self.words[*at].as_str());
        (from + 1..to).filter(is_join).any(|at| {
            let after = if at + 1 < to && self.words[to - 1] == ")" { to - 1 } else { to };
            let (here, there) = (at + 1, after);
            here < there
                && (self.is_sentence(from, at, least) && self.fills(here, there)
                    || self.fills(from, at) && self.is_sentence(here, there, least))
        })
    }

    /// Do the words behind the first one stand at the end of what some template makes?
    fn is_end(&self) -> bool {
        self.messages.templates.iter().any(|parts| {
            (0..parts.len()).any(|start| {
                let own = parts[start..].iter().filter(|part| is_spoken(part)).count();
                own >= 2 && self.matches(&parts[start..], 1, self.words.len(), 0)
            })
        })
    }

    fn candidates(&self, from: usize, to: usize) -> impl Iterator<Item = &Vec<Part>> {
        let by_word = &self.messages.by_first_word;
        let indices = self.words[from..to].iter().filter_map(|word| by_word.get(word)).flatten();
        indices.map(|index| &self.messages.templates[*index])
    }

    /// Do these parts make these words? `own`: how many words of the template came before.
    fn matches(&self, parts: &[Part], from: usize, to: usize, own: usize) -> bool {
        // An open end stands for the rest of a template of which something was seen.
        if from + 1 == to && to == self.words.len() && self.words[from] == OPEN && own > 0 {
            return true;
        }
        match parts.split_first() {
            None => from == to,
            Some((Part::Word(word), rest)) => {
                let is_own = usize::from(word.chars().any(char::is_alphabetic));
                from < to
                    && self.words[from] == *word
                    && self.matches(rest, from + 1, to, own + is_own)
            }
            Some((part, rest)) => {
                let least = if *part == Part::Rest { from } else { from + 1 };
                let is_open = to == self.words.len() && self.words[to - 1] == OPEN && own > 0;
                (is_open && from < to && self.fills(from, to))
                    || (least..=to).any(|end| {
                        self.matches(rest, end, to, own) && (end == from || self.fills(from, end))
                    })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(sentence: &str) -> bool {
        let texts = [
            "{} of {} fails: {}",
            "service {name}",
            "the database of {} {what}",
            "died",
            "its unit ended with {code}",
            "{node} did not renew for {} ms",
            "error: {text}",
            "{}: {}",
            "{} {}",
            "{rows} rows{left_out}",
        ];
        Messages::new(&texts.map(str::to_owned)).has(sentence)
    }

    #[test]
    fn gaps_take_what_differs_and_what_other_texts_make() {
        assert!(has("the database of mn1 died"));
        assert!(has("NODE did not renew for 812 ms"));
        assert!(has("service NAME of mn1 fails: its unit ended with 3"));
        assert!(has("error: mn1 did not renew for N ms"));
        assert!(has("the database of mn1 died: 12 rows") && !has("12 rows of mn1"));
    }

    #[test]
    fn words_that_no_text_has_are_no_message() {
        assert!(!has("service NAME of mn1 died"));
        assert!(!has("the database of mn1 slept"));
        assert!(!has("the database of mn1"));
        assert!(!has("service sleeps of mn1 fails: died"));
    }

    #[test]
    fn a_piece_says_that_it_is_one() {
        assert!(has("... did not renew for N ms"));
        assert!(has("the database of ..."));
        assert!(has("error: service NAME of mn1 fails: its unit ended ..."));
        assert!(!has("service NAME of mn1 fails because ..."));
        assert!(has("service NAME of ... fails: its unit ended with 3"));
        assert!(!has("did not renew for N ms because"));
    }
}

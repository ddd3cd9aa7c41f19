//! What was written, as a tree: every value with its place, read by the description in [`super::keys`] and by
//! nothing else. The same tree holds what a profile, a preset or a default supplies.

use super::keys::{Fallback, Key, Shape, Table};
use super::problem::Problem;
use super::timing;
use regent_core::time::Span;
use std::fmt;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where a value came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    /// These bytes of the file.
    File(Range<usize>),
    /// The profile of this name.
    Profile(&'static str),
    /// The timing preset of this name.
    Preset(&'static str),
    /// Nobody wrote anything.
    Default,
}

impl Origin {
    /// The bytes of the file; an empty range at its beginning for what does not stand there.
    pub(super) fn span(&self) -> Range<usize> {
        match self {
            Origin::File(span) => span.clone(),
            Origin::Profile(_) | Origin::Preset(_) | Origin::Default => 0..0,
        }
    }
}

/// A value and where it came from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) from: Origin,
}

/// A value of any shape.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Value {
    Text(String),
    Span(Span, String),
    Whole(i64),
    Truth(bool),
    Texts(Vec<At<String>>),
    Commands(Vec<At<Vec<At<String>>>>),
    Options(Vec<(String, At<String>)>),
    Table(Node),
    Named(Vec<(At<String>, Node)>),
    List(Vec<Node>),
}

/// A table with what was written into it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Node {
    pub(super) table: &'static Table,
    /// How problems call it: `[node.mn1]`.
    pub(super) what: String,
    pub(super) from: Origin,
    pub(super) values: Vec<(&'static str, At<Value>)>,
}

impl PartialEq for Table {
    fn eq(&self, other: &Table) -> bool {
        std::ptr::eq(self, other)
    }
}
impl Eq for Table {}

impl Node {
    pub(super) fn new(table: &'static Table, from: Origin) -> Node {
        Node { table, what: table.title.into(), from, values: Vec::new() }
    }

    /// The value of a key that the description has.
    pub(super) fn get(&self, key: &'static str) -> Option<&At<Value>> {
        debug_assert!(self.table.key(key).is_some(), "{} has no key {key}", self.table.title);
        #[cfg(test)]
        tests::asked(self.table, key);
        self.values.iter().find(|(k, _)| *k == key).map(|(_, v)| v)
    }

    pub(super) fn get_mut(&mut self, key: &'static str) -> Option<&mut At<Value>> {
        self.values.iter_mut().find(|(k, _)| *k == key).map(|(_, v)| v)
    }

    pub(super) fn set(&mut self, key: &'static str, value: At<Value>) {
        match self.get_mut(key) {
            Some(old) => *old = value,
            None => self.values.push((key, value)),
        }
    }

    /// Sets a value from its text, as the description's defaults have it.
    pub(super) fn set_text(&mut self, key: &'static str, text: &str, from: Origin) {
        let shape = self.table.key(key).map(|k| k.shape);
        let value = match shape {
            Some(Shape::Whole(..)) => text.parse().ok().map(Value::Whole),
            Some(Shape::Truth) => text.parse().ok().map(Value::Truth),
            Some(Shape::Duration) => span(text).map(|s| Value::Span(s, text.into())),
            Some(Shape::Text | Shape::Word(_)) => Some(Value::Text(text.into())),
            Some(Shape::TextOrTexts | Shape::Texts | Shape::Commands | Shape::Options) => None,
            Some(Shape::Table(_) | Shape::Named(_) | Shape::List(_)) | None => None,
        };
        debug_assert!(value.is_some(), "{key} = {text} fits its description");
        if let Some(value) = value {
            self.set(key, At { value, from });
        }
    }

    pub(super) fn remove(&mut self, key: &'static str) {
        self.values.retain(|(k, _)| *k != key);
    }

    pub(super) fn text(&self, key: &'static str) -> Option<At<String>> {
        let at = self.get(key)?;
        let Value::Text(text) = &at.value else { return None };
        Some(At { value: text.clone(), from: at.from.clone() })
    }

    pub(super) fn span(&self, key: &'static str) -> Option<At<Span>> {
        let at = self.get(key)?;
        let Value::Span(span, _) = &at.value else { return None };
        Some(At { value: *span, from: at.from.clone() })
    }

    pub(super) fn whole(&self, key: &'static str) -> Option<At<i64>> {
        let at = self.get(key)?;
        let Value::Whole(number) = &at.value else { return None };
        Some(At { value: *number, from: at.from.clone() })
    }

    pub(super) fn truth(&self, key: &'static str) -> Option<bool> {
        let Value::Truth(truth) = self.get(key)?.value else { return None };
        Some(truth)
    }

    pub(super) fn texts(&self, key: &'static str) -> Option<At<Vec<At<String>>>> {
        let at = self.get(key)?;
        let Value::Texts(texts) = &at.value else { return None };
        Some(At { value: texts.clone(), from: at.from.clone() })
    }

    pub(super) fn commands(&self, key: &'static str) -> &[At<Vec<At<String>>>] {
        let Some(Value::Commands(commands)) = self.get(key).map(|at| &at.value) else {
            return &[];
        };
        commands
    }

    pub(super) fn options(&self, key: &'static str) -> Vec<(String, At<String>)> {
        let Some(Value::Options(options)) = self.get(key).map(|at| &at.value) else {
            return Vec::new();
        };
        options.clone()
    }

    pub(super) fn table(&self, key: &'static str) -> Option<&Node> {
        let Value::Table(node) = &self.get(key)?.value else { return None };
        Some(node)
    }

    pub(super) fn named(&self, key: &'static str) -> &[(At<String>, Node)] {
        let Some(Value::Named(nodes)) = self.get(key).map(|at| &at.value) else { return &[] };
        nodes
    }

    pub(super) fn list(&self, key: &'static str) -> &[Node] {
        let Some(Value::List(nodes)) = self.get(key).map(|at| &at.value) else { return &[] };
        nodes
    }

    pub(super) fn take_list(&mut self, key: &'static str) -> Vec<Node> {
        let Some(Value::List(nodes)) = self.get_mut(key).map(|at| &mut at.value) else {
            return Vec::new();
        };
        std::mem::take(nodes)
    }

    /// Its inner table; an empty one comes to be if nobody wrote it.
    pub(super) fn table_mut(&mut self, key: &'static str) -> Option<&mut Node> {
        if self.get(key).is_none() {
            let Some(Shape::Table(inner)) = self.table.key(key).map(|k| k.shape) else {
                return None;
            };
            let value = Value::Table(Node::new(inner, Origin::Default));
            self.values.push((key, At { value, from: Origin::Default }));
        }
        let Value::Table(node) = &mut self.get_mut(key)?.value else { return None };
        Some(node)
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) | Value::Span(_, text) => f.write_str(&quoted(text)),
            Value::Whole(number) => number.fmt(f),
            Value::Truth(truth) => truth.fmt(f),
            Value::Texts(texts) => {
                let texts: Vec<String> = texts.iter().map(|t| quoted(&t.value)).collect();
                write!(f, "[{}]", texts.join(", "))
            }
            Value::Commands(commands) => {
                let command = |words: &At<Vec<At<String>>>| {
                    let words: Vec<String> = words.value.iter().map(|w| quoted(&w.value)).collect();
                    format!("[{}]", words.join(", "))
                };
                let commands: Vec<String> = commands.iter().map(command).collect();
                write!(f, "[{}]", commands.join(", "))
            }
            Value::Options(options) => {
                let options: Vec<String> =
                    options.iter().map(|(k, v)| format!("{k} = {}", quoted(&v.value))).collect();
                write!(f, "{{ {} }}", options.join(", "))
            }
            Value::Table(_) | Value::Named(_) | Value::List(_) => f.write_str("(a table)"),
        }
    }
}

/// A text as TOML has it: in single quotes where that reads better.
pub(super) fn quoted(text: &str) -> String {
    let plain = |c: char| !c.is_control() && c != '"' && c != '\\';
    if text.chars().all(plain) {
        return format!("\"{text}\"");
    }
    if !text.chars().any(|c| c.is_control() || c == '\'') {
        return format!("'{text}'");
    }
    let escaped = text.chars().map(|c| match c {
        '"' => "\\\"".into(),
        '\\' => "\\\\".into(),
        c if c.is_control() => format!("\\u{:04X}", u32::from(c)),
        c => c.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

/// What was read. What was misread is dropped, and is not to be judged: its follow-ups would hide it. A value that is
/// only out of bounds has another in its place, so that the rest can be judged.
pub(super) struct Read {
    pub(super) node: Node,
    pub(super) misread: bool,
}

/// Reads a text by the description; none only if it is no TOML at all. `profile` names the profile whose text it is.
pub(super) fn read(
    text: &str,
    table: &'static Table,
    profile: Option<&'static str>,
    problems: &mut Vec<Problem>,
) -> Option<Read> {
    let root = match DeTable::parse(text) {
        Ok(root) => root,
        Err(error) => {
            let at = error.span().unwrap_or(0..0);
            let what = format!("this is no TOML: {}", error.message());
            problems.push(Problem::new(at, what, "see toml.io for the syntax"));
            return None;
        }
    };
    let mut reader = Reader { profile, problems, misread: false };
    let node = reader.node(root.get_ref(), table, table.title.into(), 0..0);
    Some(Read { node, misread: reader.misread })
}

struct Reader<'p> {
    profile: Option<&'static str>,
    problems: &'p mut Vec<Problem>,
    misread: bool,
}

impl Reader<'_> {
    fn origin(&self, span: Range<usize>) -> Origin {
        self.profile.map_or(Origin::File(span), Origin::Profile)
    }

    fn node(
        &mut self,
        written: &DeTable<'_>,
        table: &'static Table,
        what: String,
        span: Range<usize>,
    ) -> Node {
        let mut node = Node { table, what, from: self.origin(span), values: Vec::new() };
        // A misspelt key is told at its place; the others in the order of the description.
        for (key, _) in written {
            let name: &str = key.get_ref();
            if table.key(name).is_none() {
                let remedy = match near(name, &table.names()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known here: {}", table.names().join(", ")),
                };
                self.misread = true;
                let what = format!("unknown key `{name}` in {}", node.what);
                self.problems.push(Problem::new(key.span(), what, remedy));
            }
        }
        for key in table.keys {
            let Some(value) = written.get(key.name) else { continue };
            if let Some(read) = self.value(key, value) {
                node.values.push((key.name, At { value: read, from: self.origin(value.span()) }));
            }
        }
        node
    }

    fn value(&mut self, described: &'static Key, value: &Spanned<DeValue<'_>>) -> Option<Value> {
        let (key, shape) = (described.name, described.shape);
        let written = value.get_ref();
        let read = match shape {
            Shape::Text => written.as_str().map(|t| Value::Text(t.into())),
            Shape::Duration => return self.duration(described, value),
            Shape::Whole(least, most) => return self.whole(key, value, least, most),
            Shape::Truth => written.as_bool().map(Value::Truth),
            Shape::Word(words) => return self.word(key, value, words),
            Shape::Texts => self.texts(value),
            Shape::Commands => self.commands(value),
            Shape::TextOrTexts => match written.as_str() {
                Some(text) => Some(Value::Texts(vec![self.at(text, value.span())])),
                None => self.texts(value),
            },
            Shape::Options => written.as_table().and_then(|table| {
                let options = table.iter().map(|(name, value)| {
                    let text = value.get_ref().as_str()?;
                    Some((name.get_ref().to_string(), self.at(text, value.span())))
                });
                options.collect::<Option<Vec<_>>>().map(Value::Options)
            }),
            Shape::Table(inner) => written
                .as_table()
                .map(|t| Value::Table(self.node(t, inner, inner.title.into(), value.span()))),
            Shape::Named(inner) => return self.named(key, inner, value),
            Shape::List(inner) => return self.list(key, inner, value),
        };
        if read.is_none() {
            self.wrong(key, shape, value);
        }
        read
    }

    fn wrong(&mut self, key: &str, shape: Shape, value: &Spanned<DeValue<'_>>) {
        let kind = match value.get_ref().type_str() {
            "integer" => "a whole number",
            "float" => "a number with a point",
            "boolean" => "true or false",
            "datetime" => "a date",
            "array" => "a list",
            "table" => "a table",
            _ => "a string",
        };
        self.misread = true;
        let wanted = shape.wanted(key);
        let what = format!("`{key}` is {kind}, and must be {wanted}");
        self.problems.push(Problem::new(value.span(), what, format!("write {wanted}")));
    }

    fn at(&self, text: &str, span: Range<usize>) -> At<String> {
        At { value: text.into(), from: self.origin(span) }
    }

    fn duration(&mut self, key: &'static Key, value: &Spanned<DeValue<'_>>) -> Option<Value> {
        let Some(text) = value.get_ref().as_str() else {
            self.wrong(key.name, Shape::Duration, value);
            return None;
        };
        let read = span(text);
        if read.is_none() {
            let what = format!("\"{text}\" is no length of time");
            let remedy = regent_api::length::EXAMPLES;
            self.problems.push(Problem::new(value.span(), what, remedy));
        }
        // Its default takes its place; where it has none, anything that is within bounds.
        let some = match key.fallback {
            Fallback::Required | Fallback::None(_) => Some(Span::millis(1_000)),
            Fallback::Value(_) | Fallback::Preset | Fallback::Derived(_) => None,
        };
        read.or(some).map(|span| Value::Span(span, text.into()))
    }

    fn whole(
        &mut self,
        key: &'static str,
        value: &Spanned<DeValue<'_>>,
        least: i64,
        most: i64,
    ) -> Option<Value> {
        let number = value.get_ref().as_integer();
        let Some(number) = number.and_then(|n| i64::from_str_radix(n.as_str(), n.radix()).ok())
        else {
            self.wrong(key, Shape::Whole(least, most), value);
            return None;
        };
        if !(least..=most).contains(&number) {
            let what = format!("{number} is out of bounds for `{key}`");
            let remedy = format!("a number from {least} to {most}");
            self.problems.push(Problem::new(value.span(), what, remedy));
            return Some(Value::Whole(most));
        }
        Some(Value::Whole(number))
    }

    fn word(
        &mut self,
        key: &'static str,
        value: &Spanned<DeValue<'_>>,
        words: &'static [&'static str],
    ) -> Option<Value> {
        let Some(text) = value.get_ref().as_str() else {
            self.wrong(key, Shape::Word(words), value);
            return None;
        };
        if words.contains(&text) {
            return Some(Value::Text(text.into()));
        }
        let preset = if key == "profile" { near(text, super::keys::PRESETS) } else { None };
        let remedy = match near(text, words) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None if let Some(preset) = preset => {
                format!("the timing preset? write preset = \"{preset}\" under [timing]")
            }
            None => Shape::Word(words).wanted(key),
        };
        let what = match key {
            "engine" | "driver" | "profile" | "preset" => {
                format!("there is no {key} \"{text}\"")
            }
            _ => format!("\"{text}\" is not known as `{key}`"),
        };
        self.problems.push(Problem::new(value.span(), what, remedy));
        words.first().map(|word| Value::Text((*word).into()))
    }

    fn texts(&self, value: &Spanned<DeValue<'_>>) -> Option<Value> {
        let items = value.get_ref().as_array()?.iter();
        let texts = items.map(|i| Some(self.at(i.get_ref().as_str()?, i.span())));
        texts.collect::<Option<Vec<_>>>().map(Value::Texts)
    }

    fn commands(&self, value: &Spanned<DeValue<'_>>) -> Option<Value> {
        let items = value.get_ref().as_array()?.iter();
        let command = |item: &Spanned<DeValue<'_>>| match self.texts(item)? {
            Value::Texts(value) => Some(At { value, from: self.origin(item.span()) }),
            Value::Text(_) | Value::Span(..) | Value::Whole(_) | Value::Truth(_) => None,
            Value::Commands(_) | Value::Options(_) | Value::Table(_) => None,
            Value::Named(_) | Value::List(_) => None,
        };
        items.map(command).collect::<Option<Vec<_>>>().map(Value::Commands)
    }

    /// `[key.NAME]` tables, in the order of the file.
    fn named(
        &mut self,
        key: &'static str,
        inner: &'static Table,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<Value> {
        let Some(names) = value.get_ref().as_table() else {
            self.wrong(key, Shape::Named(inner), value);
            return None;
        };
        let mut found: Vec<(Range<usize>, At<String>, Node)> = Vec::new();
        for (name, value) in names {
            let what = format!("[{key}.{}]", name.get_ref());
            let Some(table) = value.get_ref().as_table() else {
                self.misread = true;
                let kind = value.get_ref().type_str();
                let text = format!("`{}` is {kind}, and must be a table: {what}", name.get_ref());
                self.problems.push(Problem::new(value.span(), text, format!("write {what}")));
                continue;
            };
            let node = self.node(table, inner, what, name.span());
            found.push((name.span(), self.at(name.get_ref(), name.span()), node));
        }
        found.sort_by_key(|(span, ..)| span.start);
        Some(Value::Named(found.into_iter().map(|(_, name, node)| (name, node)).collect()))
    }

    /// `[[key]]` tables, in the order of the file.
    fn list(
        &mut self,
        key: &'static str,
        inner: &'static Table,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<Value> {
        let Some(items) = value.get_ref().as_array() else {
            self.wrong(key, Shape::List(inner), value);
            return None;
        };
        let mut found = Vec::new();
        for item in items.iter() {
            let Some(table) = item.get_ref().as_table() else {
                self.wrong(key, Shape::List(inner), item);
                continue;
            };
            found.push(self.node(table, inner, format!("[[{key}]]"), item.span()));
        }
        Some(Value::List(found))
    }
}

/// Fills in what the description says that holds if nothing was written, in every table that is there.
pub(super) fn fill(node: &mut Node) {
    for key in node.table.keys {
        if node.values.iter().all(|(k, _)| *k != key.name)
            && let Fallback::Value(text) = key.fallback
        {
            node.set_text(key.name, text, Origin::Default);
        }
    }
    for (_, at) in &mut node.values {
        match &mut at.value {
            Value::Table(inner) => fill(inner),
            Value::Named(named) => named.iter_mut().for_each(|(_, inner)| fill(inner)),
            Value::List(list) => list.iter_mut().for_each(fill),
            Value::Text(_) | Value::Span(..) | Value::Whole(_) | Value::Truth(_) => {}
            Value::Texts(_) | Value::Commands(_) | Value::Options(_) => {}
        }
    }
}

/// "700ms", "1.5s", "2min", "1h"; and a right that an operator ends.
pub(super) fn span(text: &str) -> Option<Span> {
    if text == timing::UNTIL_RELEASED_TEXT {
        return Some(timing::UNTIL_RELEASED);
    }
    let length = regent_api::length::parse(text)?;
    u64::try_from(length.as_nanos()).ok().map(Span)
}

/// The known word that is at most a third of its letters away, a swap of neighbours counted as one.
pub(super) fn near<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|k| (strsim::osa_distance(word, k), *k))
        .filter(|(d, k)| *d * 3 <= k.len().max(word.len()).max(3))
        .min()
        .map(|(_, k)| k)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::BTreeSet;

    thread_local! {
        static ASKED: RefCell<BTreeSet<(&'static str, &'static str)>> =
            const { RefCell::new(BTreeSet::new()) };
    }

    /// Remembers that somebody read this key.
    pub(super) fn asked(table: &'static Table, key: &'static str) {
        ASKED.with_borrow_mut(|asked| asked.insert((table.title, key)));
    }

    /// Every key that this thread read since the last call.
    pub(crate) fn take_asked() -> BTreeSet<(&'static str, &'static str)> {
        ASKED.take()
    }

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let known = ["address", "interface", "witness", "id"];
        assert_eq!(near("adress", &known), Some("address"));
        assert_eq!(near("intreface", &known), Some("interface"));
        assert_eq!(near("di", &known), Some("id"));
        assert_eq!(near("gateway", &known), None);
    }
}

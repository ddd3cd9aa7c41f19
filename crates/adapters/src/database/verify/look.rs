//! What is looked at on both sides, and what is seen there: the words that travel between two workers.
//!
//! No SQL travels. Names, kinds and keys do, and each side builds its statement of them by the same rules
//! ([`super::text`]), so that equal rows give equal sums.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// The values of a key's columns, in the form that each [`Kind`] says.
pub type Key = Vec<String>;

/// What to look at. Each is read by one statement, so it is of one instant.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Look {
    /// The databases, with their collations.
    Databases,
    /// Tables, views and sequences of a database, each with which of them it is.
    Tables(Page),
    /// Triggers of a database, each with a digest of what it does.
    Triggers(Page),
    /// How a table or a view is defined.
    Definition {
        /// Its database.
        schema: String,
        /// Its name.
        name: String,
    },
    /// The sum of a part's rows.
    Sum(Part),
    /// Each row of a part: its key, and a digest of it.
    Rows(Part),
}

/// Some names of a database, in the order of their bytes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Page {
    /// The database.
    pub schema: String,
    /// From the one after this.
    pub after: Option<String>,
    /// To this one.
    pub upto: Option<String>,
}

/// Some rows of a table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Part {
    /// The table's database.
    pub schema: String,
    /// The table.
    pub table: String,
    /// What of a row is compared.
    pub columns: Vec<Column>,
    /// By what rows are told apart, if by anything.
    pub index: Option<Index>,
    /// Which rows.
    pub span: Span,
}

/// A column.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it has.
    pub kind: Kind,
}

/// How a column's values are written down, exactly.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A whole or a decimal number.
    Number,
    /// A floating one; its shortest text that reads back the same.
    Real,
    /// Bits, as a number.
    Bits,
    /// One of a list or some of it, as a number: it is sorted so.
    Label,
    /// A date, a time, or both.
    Moment,
    /// What has one plain text: an address, a UUID.
    Plain,
    /// A short text in this character set; as a key in hexadecimal.
    Text {
        /// The server's name of it.
        charset: String,
    },
    /// Short bytes; as a key in hexadecimal.
    Bytes,
    /// What may be long, and is in no key.
    Long,
}

/// A unique index of columns that are never NULL.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Index {
    /// Its name.
    pub name: String,
    /// Its columns, in order.
    pub columns: Vec<Column>,
}

/// Which rows, by their keys.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Span {
    /// From behind one key, up to and with another one.
    Between {
        /// None: from the first row.
        after: Option<Key>,
        /// None: to the last row.
        upto: Option<Key>,
    },
    /// The one with this key.
    Row(Key),
}

/// What is seen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// A sum.
    Sum(Sum),
    /// A list of things.
    List(List),
}

/// A sum of rows. Two parts with other rows have the same by chance only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sum {
    /// How many.
    pub rows: u64,
    /// The halves of the rows' digests, each by exclusive or.
    pub halves: [u64; 2],
    /// A quarter of them, added: a row that is there twice counts twice.
    pub total: u64,
}

/// Some things, each under its key, with what is compared of it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct List {
    /// In the server's order.
    pub things: Vec<(Key, String)>,
    /// There are more than could be listed.
    pub more: bool,
}

/// Why nothing was seen.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    /// The table is not there, or not as it was described.
    Gone {
        /// The server's words.
        why: String,
    },
    /// It takes too long.
    Slow,
    /// Somebody holds a lock on it.
    Locked,
    /// What the writer had logged is not applied here yet.
    Late {
        /// What is.
        applied: String,
    },
}

impl Part {
    /// Other rows of the same table.
    pub(super) fn of(&self, span: Span) -> Part {
        Part { span, ..self.clone() }
    }
}

impl Span {
    /// Every row.
    pub(super) const ALL: Span = Span::Between { after: None, upto: None };

    /// The rows up to this key, and those behind it.
    pub(super) fn split(&self, at: Key) -> Option<[Span; 2]> {
        match self {
            Span::Between { after, upto } => {
                let first = Span::Between { after: after.clone(), upto: Some(at.clone()) };
                Some([first, Span::Between { after: Some(at), upto: upto.clone() }])
            }
            Span::Row(_) => None,
        }
    }
}

impl Seen {
    /// As a list: a sum is one thing without a key.
    pub(super) fn list(self) -> List {
        match self {
            Seen::List(list) => list,
            Seen::Sum(sum) => List { things: vec![(Key::new(), sum.to_string())], more: false },
        }
    }

    /// How many rows were looked at.
    pub(super) fn rows(&self) -> u64 {
        match self {
            Seen::Sum(sum) => sum.rows,
            Seen::List(list) => list.things.len() as u64,
        }
    }
}

impl List {
    /// By key.
    pub(super) fn map(&self) -> BTreeMap<&Key, &str> {
        self.things.iter().map(|(key, thing)| (key, thing.as_str())).collect()
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sum { rows, halves: [a, b], total } = self;
        write!(f, "{rows} rows {a:016x}{b:016x} {total}")
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Gone { why } => write!(f, "it changed meanwhile: {why}"),
            Trouble::Slow => f.write_str("it cannot be read in time"),
            Trouble::Locked => f.write_str("somebody holds a lock on it"),
            Trouble::Late { applied } => write!(f, "only {applied} is applied"),
        }
    }
}

impl Index {
    /// A key for people: `a=5, b='x'`.
    pub(super) fn show(&self, key: &Key) -> String {
        let each = self.columns.iter().zip(key);
        each.map(|(column, value)| format!("{}={}", column.name, column.kind.show(value)))
            .collect::<Vec<_>>()
            .join(", ")
    }
}

impl Kind {
    fn show(&self, value: &str) -> String {
        match self {
            Kind::Number | Kind::Real | Kind::Bits | Kind::Label | Kind::Long => value.to_string(),
            Kind::Moment | Kind::Plain => format!("'{value}'"),
            Kind::Text { charset } => {
                let is_plain = |text: &String| !text.chars().any(char::is_control);
                // Latin and the like are the same as long as they are ASCII.
                let is_read = |text: &String| {
                    is_plain(text) && (charset.starts_with("utf8") || text.is_ascii())
                };
                let text = bytes(value).and_then(|bytes| String::from_utf8(bytes).ok());
                text.filter(is_read)
                    .map_or_else(|| format!("x'{value}'"), |text| format!("'{text}'"))
            }
            Kind::Bytes => format!("x'{value}'"),
        }
    }
}

/// Of hexadecimal digits.
pub(super) fn bytes(hex: &str) -> Option<Vec<u8>> {
    let pairs = hex.as_bytes().chunks(2);
    pairs
        .map(|pair| {
            let [high, low] = pair else { return None };
            let digit = |byte: &u8| char::from(*byte).to_digit(16);
            u8::try_from(digit(high)? * 16 + digit(low)?).ok()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_shown_as_people_write_it() {
        let column = |name: &str, kind| Column { name: name.into(), kind };
        let charset = |name: &str| Kind::Text { charset: name.into() };
        let columns = vec![
            column("a", Kind::Number),
            column("b", charset("utf8mb4")),
            column("c", charset("latin1")),
            column("d", Kind::Bytes),
            column("e", Kind::Moment),
        ];
        let index = Index { name: "PRIMARY".into(), columns };
        let key = ["-5", "C3A961", "E961", "00FF", "2020-01-01"].map(String::from).to_vec();
        assert_eq!(index.show(&key), "a=-5, b='éa', c=x'E961', d=x'00FF', e='2020-01-01'");
    }
}

//! The configuration as written: every value with its place, nothing filled in, nothing believed.

use super::problem::Problem;
use std::ops::Range;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Range<usize>,
}

/// The file.
#[derive(Clone, Debug, Default)]
pub(super) struct Fragment {
    pub(super) cluster: Option<At<String>>,
    pub(super) profile: Option<At<String>>,
    pub(super) port: Option<At<i64>>,
    pub(super) vip: Option<At<VipFragment>>,
    pub(super) nodes: Vec<(At<String>, NodeFragment)>,
    pub(super) database: Option<At<DatabaseFragment>>,
    pub(super) services: Vec<At<ServiceFragment>>,
    pub(super) timing: TimingFragment,
}

#[derive(Clone, Debug, Default)]
pub(super) struct VipFragment {
    pub(super) address: Option<At<String>>,
    pub(super) interface: Option<At<String>>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct NodeFragment {
    pub(super) id: Option<At<i64>>,
    pub(super) address: Option<At<String>>,
    pub(super) witness: Option<At<bool>>,
    pub(super) interface: Option<At<String>>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct DatabaseFragment {
    pub(super) engine: Option<At<String>>,
    pub(super) unit: Option<At<String>>,
    pub(super) socket: Option<At<String>>,
    pub(super) port: Option<At<i64>>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct ServiceFragment {
    pub(super) name: Option<At<String>>,
    pub(super) unit: Option<At<String>>,
}

/// Lengths of time, each a string with its unit.
#[derive(Clone, Debug, Default)]
pub(super) struct TimingFragment {
    pub(super) ttl: Option<At<String>>,
    pub(super) margin: Option<At<String>>,
    pub(super) renewal: Option<At<String>>,
    pub(super) report: Option<At<String>>,
    pub(super) suspicion: Option<At<String>>,
    pub(super) swap: Option<At<String>>,
    pub(super) swap_refused: Option<At<String>>,
    pub(super) drain: Option<At<String>>,
    pub(super) observe: Option<At<String>>,
    pub(super) switchover_max: Option<At<String>>,
}

/// Reads the text; none only if it is no TOML at all.
pub(super) fn read(text: &str, problems: &mut Vec<Problem>) -> Option<Fragment> {
    let root = match DeTable::parse(text) {
        Ok(root) => root,
        Err(error) => {
            let at = error.span().unwrap_or(0..0);
            problems.push(Problem::new(
                at,
                format!("this is no TOML: {}", error.message()),
                "see toml.io for the syntax",
            ));
            return None;
        }
    };
    let mut fragment = Fragment::default();
    let mut table = Table::new(root.get_ref(), "the file", problems);
    fragment.cluster = table.text("cluster");
    fragment.profile = table.text("profile");
    fragment.port = table.number("port");
    fragment.vip = table.table("vip", "[vip]", |t| VipFragment {
        address: t.text("address"),
        interface: t.text("interface"),
    });
    fragment.database = table.table("database", "[database]", |t| DatabaseFragment {
        engine: t.text("engine"),
        unit: t.text("unit"),
        socket: t.text("socket"),
        port: t.number("port"),
    });
    fragment.nodes = table.named("node", |t| NodeFragment {
        id: t.number("id"),
        address: t.text("address"),
        witness: t.truth("witness"),
        interface: t.text("interface"),
    });
    fragment.services =
        table.list("service", |t| ServiceFragment { name: t.text("name"), unit: t.text("unit") });
    fragment.timing = table
        .table("timing", "[timing]", |t| TimingFragment {
            ttl: t.text("ttl"),
            margin: t.text("margin"),
            renewal: t.text("renewal"),
            report: t.text("report"),
            suspicion: t.text("suspicion"),
            swap: t.text("swap"),
            swap_refused: t.text("swap-refused"),
            drain: t.text("drain"),
            observe: t.text("observe"),
            switchover_max: t.text("switchover-max"),
        })
        .map(|t| t.value)
        .unwrap_or_default();
    table.finish();
    Some(fragment)
}

/// One table while it is read: remembers which keys were asked for, and tells those that nobody asked for.
struct Table<'t, 'p> {
    table: &'t DeTable<'t>,
    what: String,
    known: Vec<&'static str>,
    problems: &'p mut Vec<Problem>,
}

impl<'t, 'p> Table<'t, 'p> {
    fn new(table: &'t DeTable<'t>, what: &str, problems: &'p mut Vec<Problem>) -> Table<'t, 'p> {
        Table { table, what: what.into(), known: Vec::new(), problems }
    }

    fn get(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.known.push(key);
        self.table.get(key)
    }

    fn wrong(&mut self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) {
        self.problems.push(Problem::new(
            value.span(),
            format!("`{key}` is {}, and must be {wanted}", value.get_ref().type_str()),
            format!("write {wanted}"),
        ));
    }

    fn text(&mut self, key: &'static str) -> Option<At<String>> {
        let value = self.get(key)?;
        match value.get_ref().as_str() {
            Some(text) => Some(At { value: text.into(), span: value.span() }),
            None => {
                self.wrong(key, value, "a string in quotes");
                None
            }
        }
    }

    fn number(&mut self, key: &'static str) -> Option<At<i64>> {
        let value = self.get(key)?;
        let number = value
            .get_ref()
            .as_integer()
            .and_then(|n| i64::from_str_radix(n.as_str(), n.radix()).ok());
        match number {
            Some(number) => Some(At { value: number, span: value.span() }),
            None => {
                self.wrong(key, value, "a whole number");
                None
            }
        }
    }

    fn truth(&mut self, key: &'static str) -> Option<At<bool>> {
        let value = self.get(key)?;
        match value.get_ref().as_bool() {
            Some(truth) => Some(At { value: truth, span: value.span() }),
            None => {
                self.wrong(key, value, "true or false");
                None
            }
        }
    }

    fn table<T>(
        &mut self,
        key: &'static str,
        what: &str,
        read: impl FnOnce(&mut Table<'_, '_>) -> T,
    ) -> Option<At<T>> {
        let value = self.get(key)?;
        let Some(inner) = value.get_ref().as_table() else {
            self.wrong(key, value, &format!("a table: {what}"));
            return None;
        };
        let mut table = Table::new(inner, what, self.problems);
        let result = read(&mut table);
        table.finish();
        Some(At { value: result, span: value.span() })
    }

    /// `[key.NAME]` tables, in the order of the file.
    fn named<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(&mut Table<'_, '_>) -> T,
    ) -> Vec<(At<String>, T)> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(names) = value.get_ref().as_table() else {
            self.wrong(key, value, &format!("tables: [{key}.NAME]"));
            return Vec::new();
        };
        let mut found = Vec::new();
        for (name, value) in names {
            let what = format!("[{key}.{}]", name.get_ref());
            let Some(inner) = value.get_ref().as_table() else {
                self.wrong(name.get_ref(), value, &format!("a table: {what}"));
                continue;
            };
            let mut table = Table::new(inner, &what, self.problems);
            let result = read(&mut table);
            table.finish();
            found.push((At { value: name.get_ref().to_string(), span: name.span() }, result));
        }
        found.sort_by_key(|(name, _)| name.span.start);
        found
    }

    /// `[[key]]` tables, in the order of the file.
    fn list<T>(&mut self, key: &'static str, read: impl Fn(&mut Table<'_, '_>) -> T) -> Vec<At<T>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(items) = value.get_ref().as_array() else {
            self.wrong(key, value, &format!("a list of tables: [[{key}]]"));
            return Vec::new();
        };
        let mut found = Vec::new();
        for item in items.iter() {
            let Some(inner) = item.get_ref().as_table() else {
                self.wrong(key, item, &format!("a table: [[{key}]]"));
                continue;
            };
            let mut table = Table::new(inner, &format!("[[{key}]]"), self.problems);
            let result = read(&mut table);
            table.finish();
            found.push(At { value: result, span: item.span() });
        }
        found
    }

    /// A key that nobody asked for is a mistake: most often a misspelt one.
    fn finish(self) {
        for (key, _) in self.table {
            let name: &str = key.get_ref();
            if self.known.contains(&name) {
                continue;
            }
            let remedy = match near(name, &self.known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", self.known.join(", ")),
            };
            let what = format!("unknown key `{name}` in {}", self.what);
            self.problems.push(Problem::new(key.span(), what, remedy));
        }
    }
}

/// The known word that is at most a third of its letters away.
pub(super) fn near<'k>(word: &str, known: &[&'k str]) -> Option<&'k str> {
    known
        .iter()
        .map(|k| (distance(word, k), *k))
        .filter(|(d, k)| *d * 3 <= k.len().max(word.len()).max(3))
        .min()
        .map(|(_, k)| k)
}

/// How many letters to insert, delete or replace (Levenshtein), a swap of neighbours counted as one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<usize>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let same = usize::from(a[i - 1] != b[j - 1]);
            let mut least = (rows[i - 1][j] + 1).min(row[j - 1] + 1).min(rows[i - 1][j - 1] + same);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let known = ["address", "interface", "witness", "id"];
        assert_eq!(near("adress", &known), Some("address"));
        assert_eq!(near("intreface", &known), Some("interface"));
        assert_eq!(near("di", &known), Some("id"));
        assert_eq!(near("gateway", &known), None);
    }
}

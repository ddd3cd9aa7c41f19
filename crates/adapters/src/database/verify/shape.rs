//! What a table is like: which columns are compared, and by which key its rows are told apart.
//!
//! A key serves if it is unique, its columns are never NULL and stand in it whole and ascending, and each of them is
//! compared with a literal as it is sorted. So the server walks along the index, and no row is in two parts or in none.

use super::look::{Column, Index, Kind, Part, Span};
use super::read::{Fault, bounded};
use super::text::{Of, string};
use crate::database::sql::Client;
use ring::digest::{SHA256, digest};
use std::collections::BTreeMap;

/// Their rows are not in the data directory, or there are none.
const ELSEWHERE: [&str; 7] =
    ["BLACKHOLE", "CONNECT", "FEDERATED", "MRG_MyISAM", "OQGRAPH", "S3", "SPIDER"];

/// A table.
pub(super) struct Shape {
    /// All of it.
    pub(super) part: Part,
    /// About how many rows it has.
    pub(super) rows: u64,
    engine: String,
}

impl Shape {
    /// Its rows as they are described, in a digest: another one is another table.
    pub(super) fn digest(&self) -> Result<String, String> {
        let text = serde_json::to_vec(&self.part).map_err(|fault| fault.to_string())?;
        let digest = digest(&SHA256, &text);
        Ok(digest.as_ref()[..16].iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Single rows can be locked, and what was read under the lock is logged.
    pub(super) fn lockable(&self) -> Option<&Part> {
        (self.engine == "InnoDB").then_some(&self.part)
    }

    /// The engine, if its rows are elsewhere.
    pub(super) fn elsewhere(&self) -> Option<&str> {
        Some(self.engine.as_str()).filter(|engine| ELSEWHERE.contains(engine))
    }
}

/// Reads it; none if there is no such table.
pub(super) async fn read(
    client: &mut Client,
    schema: &str,
    table: &str,
) -> Result<Option<Shape>, Fault> {
    let of = format!("TABLE_SCHEMA={} AND TABLE_NAME={}", string(schema), string(table));
    let select = format!(
        "SELECT COALESCE(ENGINE,'') AS e, COALESCE(TABLE_ROWS,0) AS n \
         FROM information_schema.TABLES WHERE {of}"
    );
    let head = bounded(client, &select).await?;
    let Some([engine, rows]) = head.columns(["e", "n"]).next() else { return Ok(None) };
    let select = format!(
        "SELECT COLUMN_NAME AS c, DATA_TYPE AS t, COALESCE(CHARACTER_SET_NAME,'') AS s, \
         IS_NULLABLE AS o, EXTRA AS x FROM information_schema.COLUMNS WHERE {of} \
         ORDER BY ORDINAL_POSITION"
    );
    let found = bounded(client, &select).await?;
    let mut columns = Vec::new();
    let mut never_null = BTreeMap::new();
    for [name, data_type, charset, optional, extra] in found.columns(["c", "t", "s", "o", "x"]) {
        let column = Column { name: name.to_string(), kind: kind(data_type, charset) };
        if optional == "NO" {
            never_null.insert(name, column.clone());
        }
        if !extra.contains("VIRTUAL") && Of::table(schema, table).has(name) {
            columns.push(column);
        }
    }
    let select = format!(
        "SELECT INDEX_NAME AS i, COLUMN_NAME AS c, COALESCE(SUB_PART,'') AS p, \
         COALESCE(COLLATION,'') AS d, INDEX_TYPE AS t, IGNORED AS x \
         FROM information_schema.STATISTICS WHERE {of} AND NON_UNIQUE=0 \
         ORDER BY INDEX_NAME='PRIMARY' DESC, INDEX_NAME, SEQ_IN_INDEX"
    );
    let found = bounded(client, &select).await?;
    let mut indexes: Vec<(String, Option<Vec<Column>>)> = Vec::new();
    for [index, column, part, order, index_type, ignored] in
        found.columns(["i", "c", "p", "d", "t", "x"])
    {
        let serves = part.is_empty() && order == "A" && index_type == "BTREE" && ignored == "NO";
        let column = never_null.get(column).filter(|_| serves).cloned();
        match indexes.last_mut() {
            Some((name, columns)) if name == index => {
                *columns = columns.take().zip(column).map(|(c, one)| [c, vec![one]].concat());
            }
            Some(_) | None => indexes.push((index.to_string(), column.map(|column| vec![column]))),
        }
    }
    let index = indexes
        .into_iter()
        .filter_map(|(name, columns)| Some(Index { name, columns: columns? }))
        .find(serves);
    let (schema, table) = (schema.to_string(), table.to_string());
    let part = Part { schema, table, columns, index, span: Span::ALL };
    Ok(Some(Shape { part, rows: rows.parse().unwrap_or(0), engine: engine.to_string() }))
}

/// The server does not walk along an index from a label on: so one does not come first.
fn serves(index: &Index) -> bool {
    let is_long = |column: &Column| column.kind == Kind::Long;
    index.columns.first().is_some_and(|first| first.kind != Kind::Label)
        && !index.columns.iter().any(is_long)
}

fn kind(data_type: &str, charset: &str) -> Kind {
    match data_type {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "decimal" | "year" => {
            Kind::Number
        }
        "float" | "double" => Kind::Real,
        "bit" => Kind::Bits,
        "enum" | "set" => Kind::Label,
        "date" | "datetime" | "timestamp" | "time" => Kind::Moment,
        "uuid" | "inet4" | "inet6" => Kind::Plain,
        "char" | "varchar" => Kind::Text { charset: charset.to_string() },
        "binary" | "varbinary" => Kind::Bytes,
        _ => Kind::Long,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_may_be_in_a_key_but_not_at_its_begin() {
        let index = |kinds: &[Kind]| Index {
            name: "k".into(),
            columns: kinds
                .iter()
                .map(|kind| Column { name: "c".into(), kind: kind.clone() })
                .collect(),
        };
        assert!(serves(&index(&[kind("int", ""), kind("enum", "latin1")])));
        assert!(!serves(&index(&[kind("enum", "latin1"), kind("int", "")])));
        assert!(!serves(&index(&[kind("int", ""), kind("longblob", "")])));
        assert!(!serves(&index(&[])));
    }
}

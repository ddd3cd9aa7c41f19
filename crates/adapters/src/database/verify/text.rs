//! The statements of `verify`, as text: the digest of a row, and which rows.
//!
//! A row's digest is over all of its stored columns, each written so that its end is seen: a number, a date and the
//! like with a comma behind it, a text with its length before it, what may be long as its length and a digest of its
//! own, and NULL as `N`, which is none of these. So NULL is not the empty text, and nothing moves from one column to
//! the next.
//!
//! Whatever comes from a file or from the other side goes through [`name`], [`string`] or [`literal`], which let only
//! through what can be no statement.

use super::look::{Column, Index, Key, Kind, Page, Part, Span, bytes};

/// More things than this are not listed.
pub(super) const LISTED: usize = 64;
/// More rows than this are not added up at once: their digests must find room in memory.
pub(super) const SUMMED: u64 = 200_000;
/// More names are asked for in further pages.
pub(super) const NAMES: usize = 500;
/// A read takes no longer, in seconds.
pub(super) const READ_MAX: u32 = 4;

/// Databases of the server's own.
const THEIRS: &str = "('mysql','information_schema','performance_schema','sys')";

/// What is in `mysql` and belongs to the site: tables and what of them is compared. Who granted something and when is
/// not replicated as it was; the status of an event differs by design, and with it what `ALTER EVENT` sets.
pub(super) const SYSTEM: [(&str, Of, &str); 8] = [
    ("columns_priv", Of::AllBut(&["Timestamp"]), ACCOUNTS),
    ("db", Of::AllBut(&[]), ACCOUNTS),
    ("event", Of::These(&EVENT), RECURRING),
    ("global_priv", Of::AllBut(&[]), ACCOUNTS),
    ("proc", Of::These(&ROUTINE), "`db` NOT IN ('mysql','sys')"),
    ("procs_priv", Of::AllBut(&["Grantor", "Timestamp"]), ACCOUNTS),
    ("roles_mapping", Of::AllBut(&[]), ACCOUNTS),
    ("tables_priv", Of::AllBut(&["Grantor", "Timestamp"]), ACCOUNTS),
];
/// Those of Regent are made by each writer itself, outside the log.
const ACCOUNTS: &str = "`User` NOT LIKE 'regent%'";
/// One that ends by itself is dropped by the scheduler, which runs on the writer alone.
const RECURRING: &str = "`execute_at` IS NULL AND `ends` IS NULL";
const EVENT: [&str; 8] = [
    "db",
    "name",
    "body",
    "definer",
    "interval_value",
    "interval_field",
    "on_completion",
    "comment",
];
const ROUTINE: [&str; 13] = [
    "db",
    "name",
    "type",
    "sql_data_access",
    "is_deterministic",
    "security_type",
    "param_list",
    "returns",
    "body",
    "definer",
    "sql_mode",
    "comment",
    "aggregate",
];

/// Some of a table's columns.
#[derive(Clone, Copy, Debug)]
pub(super) enum Of {
    /// All but these.
    AllBut(&'static [&'static str]),
    /// These alone.
    These(&'static [&'static str]),
}

impl Of {
    /// What of this table is compared.
    pub(super) fn table(schema: &str, table: &str) -> Of {
        system(schema, table).map_or(Of::AllBut(&[]), |(of, _)| of)
    }

    /// Is this column?
    pub(super) fn has(self, column: &str) -> bool {
        match self {
            Of::AllBut(names) => !names.contains(&column),
            Of::These(names) => names.contains(&column),
        }
    }
}

fn system(schema: &str, table: &str) -> Option<(Of, &'static str)> {
    let (_, of, filter) = SYSTEM.into_iter().find(|(name, ..)| *name == table)?;
    (schema == "mysql").then_some((of, filter))
}

/// How many of the two rights the account has without which it does not see all.
pub(super) const SIGHT: &str = "SELECT COUNT(*) FROM information_schema.USER_PRIVILEGES \
    WHERE GRANTEE=CONCAT('''',REPLACE(CURRENT_USER(),'@','''@'''),'''') \
    AND PRIVILEGE_TYPE IN ('TRIGGER','SHOW VIEW')";

/// The site's databases.
pub(super) fn databases() -> String {
    format!(
        "SELECT SCHEMA_NAME AS name, DEFAULT_COLLATION_NAME AS thing FROM information_schema.SCHEMATA \
         WHERE SCHEMA_NAME NOT IN {THEIRS} ORDER BY CAST(SCHEMA_NAME AS BINARY)"
    )
}

/// How many tables the site has, and about how many rows.
pub(super) fn estimate() -> String {
    format!(
        "SELECT (SELECT COUNT(*) FROM information_schema.TABLES WHERE TABLE_SCHEMA NOT IN {THEIRS}) AS tables, \
         (SELECT COALESCE(SUM(n_rows),0) FROM mysql.innodb_table_stats \
         WHERE database_name NOT IN {THEIRS}) AS n"
    )
}

/// A page of a database's tables, views and sequences. What an ALTER left behind after a crash is none.
pub(super) fn tables(page: &Page) -> String {
    format!(
        "SELECT TABLE_NAME AS name, TABLE_TYPE AS thing FROM information_schema.TABLES \
         WHERE TABLE_SCHEMA={} AND TABLE_NAME NOT LIKE '#mysql50#%'{}",
        string(&page.schema),
        paged("TABLE_NAME", page)
    )
}

/// A page of a database's triggers.
pub(super) fn triggers(page: &Page) -> String {
    format!(
        "SELECT TRIGGER_NAME AS name, MD5(CONCAT_WS(0x00, EVENT_OBJECT_TABLE, ACTION_TIMING, \
         EVENT_MANIPULATION, ACTION_ORDER, DEFINER, SQL_MODE, ACTION_STATEMENT)) AS thing \
         FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA={}{}",
        string(&page.schema),
        paged("TRIGGER_NAME", page)
    )
}

fn paged(column: &str, page: &Page) -> String {
    let edge = |sign: &str, name: &Option<String>| {
        let name = name.as_ref().map(|name| format!("x'{}'", hex(name.as_bytes())));
        name.map_or_else(String::new, |name| format!(" AND CAST({column} AS BINARY){sign}{name}"))
    };
    let (after, upto) = (edge(">", &page.after), edge("<=", &page.upto));
    format!("{after}{upto} ORDER BY CAST({column} AS BINARY) LIMIT {}", NAMES + 1)
}

/// How a table or a view is defined: the second column.
pub(super) fn definition(schema: &str, table: &str) -> String {
    format!("SHOW CREATE TABLE {}.{}", name(schema), name(table))
}

/// The definition without what grows with each row.
pub(super) fn plain_definition(text: &str) -> String {
    const GROWS: &str = " AUTO_INCREMENT=";
    let plain = |line: &str| {
        let Some((before, rest)) = line.split_once(GROWS) else { return line.to_string() };
        format!("{before}{}", rest.trim_start_matches(|digit: char| digit.is_ascii_digit()))
    };
    let lines = text.lines().map(|line| match line.starts_with(") ENGINE=") {
        true => plain(line),
        false => line.to_string(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Adds up a part: one row with `n`, `hashed`, `a`, `b` and `s`. The limit keeps the server from looking through the
/// inner statement, which would take each digest several times.
pub(super) fn sum(part: &Part) -> Result<String, String> {
    let half =
        |end: &str, bytes: u8| format!("CAST(CONV(HEX({end}(h,{bytes})),16,10) AS UNSIGNED)");
    let (a, b, quarter) = (half("LEFT", 8), half("RIGHT", 8), half("RIGHT", 4));
    Ok(format!(
        "SELECT SQL_NO_CACHE COUNT(*) AS n, COUNT(h) AS hashed, BIT_XOR({a}) AS a, BIT_XOR({b}) AS b, \
         COALESCE(SUM({quarter}),0) AS s FROM \
         (SELECT UNHEX({}) AS h FROM {} LIMIT {SUMMED}) AS d",
        digest(&part.columns),
        source(part)?
    ))
}

/// Lists a part: the digest of each row, and then its key.
pub(super) fn rows(part: &Part) -> Result<String, String> {
    let index = part.index.as_ref().ok_or("rows without a key cannot be listed")?;
    let (digest, source, keys) = (digest(&part.columns), source(part)?, keys(index));
    let most = LISTED + 1;
    Ok(format!(
        "SELECT SQL_NO_CACHE {digest}, {keys} FROM {source} ORDER BY {} LIMIT {most}",
        names(index)
    ))
}

/// The key of a part's row number `nth`, counted from 1.
pub(super) fn boundary(part: &Part, nth: u64) -> Result<String, String> {
    let index = part.index.as_ref().ok_or("rows without a key have no order")?;
    let (keys, source) = (keys(index), source(part)?);
    let before = nth.saturating_sub(1);
    Ok(format!(
        "SELECT SQL_NO_CACHE {keys} FROM {source} ORDER BY {} LIMIT {before},1",
        names(index)
    ))
}

/// The table and its rows; not the limit.
fn source(part: &Part) -> Result<String, String> {
    let mut text = format!("{}.{}", name(&part.schema), name(&part.table));
    let mut conditions = Vec::new();
    if let Some(index) = &part.index {
        text += &format!(" FORCE INDEX ({})", name(&index.name));
        conditions.extend(condition(index, &part.span)?);
    } else if part.span != Span::ALL {
        return Err("rows without a key have no order".into());
    }
    conditions.extend(system(&part.schema, &part.table).map(|(_, filter)| filter.to_string()));
    if conditions.is_empty() {
        return Ok(text);
    }
    Ok(format!("{text} WHERE {}", conditions.join(" AND ")))
}

fn condition(index: &Index, span: &Span) -> Result<Vec<String>, String> {
    match span {
        Span::Between { after, upto } => {
            let after = after.iter().map(|key| edge(index, key, '>', ">"));
            after.chain(upto.iter().map(|key| edge(index, key, '<', "<="))).collect()
        }
        Span::Row(key) => {
            let columns = compared(index, key)?;
            Ok(columns.iter().map(|(name, value)| format!("{name}={value}")).collect())
        }
    }
}

/// On one side of a key, spelled out column by column so that the server walks along the index; the last column's
/// sign says whether the key itself belongs to it.
fn edge(index: &Index, key: &Key, sign: char, last: &str) -> Result<String, String> {
    let columns = compared(index, key)?;
    let mut columns = columns.iter().rev();
    let (name, value) = columns.next().ok_or("an index without columns")?;
    let mut text = format!("{name}{last}{value}");
    let mut first = None;
    for (name, value) in columns {
        text = format!("({name}{sign}{value} OR ({name}={value} AND {text}))");
        first = Some(format!("{name}{sign}={value}"));
    }
    // For the range's end on the first column: the server sees it at once.
    Ok(first.map_or(text.clone(), |first| format!("{first} AND {text}")))
}

fn compared(index: &Index, key: &Key) -> Result<Vec<(String, String)>, String> {
    if key.len() != index.columns.len() {
        return Err(format!("a key of {} values for {} columns", key.len(), index.columns.len()));
    }
    let each = index.columns.iter().zip(key);
    each.map(|(column, value)| Ok((name(&column.name), literal(&column.kind, value)?))).collect()
}

fn names(index: &Index) -> String {
    index.columns.iter().map(|column| name(&column.name)).collect::<Vec<_>>().join(",")
}

/// The key's values, as [`literal`] takes them.
fn keys(index: &Index) -> String {
    let each = index.columns.iter().map(|column| {
        let name = name(&column.name);
        match column.kind {
            Kind::Number | Kind::Moment | Kind::Plain | Kind::Long => {
                format!("CAST({name} AS CHAR)")
            }
            Kind::Real => format!("CAST(CAST({name} AS DOUBLE) AS CHAR)"),
            Kind::Bits | Kind::Label => format!("CAST({name} AS UNSIGNED)"),
            Kind::Text { .. } | Kind::Bytes => format!("HEX({name})"),
        }
    });
    each.collect::<Vec<_>>().join(",")
}

/// Of one row, 32 hexadecimal digits.
fn digest(columns: &[Column]) -> String {
    let each = columns.iter().map(|column| {
        let name = name(&column.name);
        let ended = |text: String| format!("COALESCE({text},'N'),','");
        let measured = |text: String| format!("COALESCE(CONCAT(LENGTH({name}),':',{text}),'N')");
        match column.kind {
            Kind::Number | Kind::Moment | Kind::Plain => ended(format!("CAST({name} AS CHAR)")),
            Kind::Real => ended(format!("CAST(CAST({name} AS DOUBLE) AS CHAR)")),
            Kind::Bits | Kind::Label => ended(format!("CAST(CAST({name} AS UNSIGNED) AS CHAR)")),
            Kind::Text { .. } | Kind::Bytes => measured(format!("CAST({name} AS BINARY)")),
            Kind::Long => measured(format!("MD5({name})")),
        }
    });
    format!("MD5(CONCAT('',{}))", each.collect::<Vec<_>>().join(","))
}

/// A value of a key as a literal that is compared as the column itself is: in its character set, and then by its
/// collation.
fn literal(kind: &Kind, value: &str) -> Result<String, String> {
    let only = |allowed: fn(u8) -> bool| !value.is_empty() && value.bytes().all(allowed);
    let is_hex = || bytes(value).is_some();
    let text = match kind {
        Kind::Number if only(|b| b.is_ascii_digit() || b"-.".contains(&b)) => value.to_string(),
        Kind::Real if only(|b| b.is_ascii_digit() || b"-+.e".contains(&b)) => {
            if value.contains('e') { value.to_string() } else { format!("{value}e0") }
        }
        Kind::Bits | Kind::Label if only(|b| b.is_ascii_digit()) => value.to_string(),
        Kind::Moment | Kind::Plain if only(|b| b.is_ascii_hexdigit() || b"-:. ".contains(&b)) => {
            format!("'{value}'")
        }
        Kind::Text { charset } if is_hex() && is_word(charset) => format!("_{charset} x'{value}'"),
        Kind::Bytes if is_hex() => format!("_binary x'{value}'"),
        Kind::Number
        | Kind::Real
        | Kind::Bits
        | Kind::Label
        | Kind::Moment
        | Kind::Plain
        | Kind::Text { .. }
        | Kind::Bytes
        | Kind::Long => return Err(format!("not a key of this kind: {kind:?} {value}")),
    };
    Ok(text)
}

fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// As an identifier.
pub(super) fn name(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// As a text.
pub(super) fn string(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(span: Span) -> Part {
        let column = |name: &str, kind| Column { name: name.into(), kind };
        let charset = "utf8mb4".into();
        let columns = vec![
            column("a", Kind::Number),
            column("b`", Kind::Text { charset }),
            column("c", Kind::Real),
        ];
        let index = Some(Index { name: "PRIMARY".into(), columns: columns.clone() });
        Part { schema: "app".into(), table: "t".into(), columns, index, span }
    }

    fn key(values: [&str; 3]) -> Key {
        values.map(String::from).to_vec()
    }

    #[test]
    fn a_range_is_spelled_out_column_by_column() {
        let (after, upto) = (Some(key(["5", "41", "1.5"])), Some(key(["-7.25", "", "2"])));
        let text = source(&part(Span::Between { after, upto })).expect("text");
        assert_eq!(
            text,
            "`app`.`t` FORCE INDEX (`PRIMARY`) WHERE \
             `a`>=5 AND (`a`>5 OR (`a`=5 AND \
             (`b```>_utf8mb4 x'41' OR (`b```=_utf8mb4 x'41' AND `c`>1.5e0)))) AND \
             `a`<=-7.25 AND (`a`<-7.25 OR (`a`=-7.25 AND \
             (`b```<_utf8mb4 x'' OR (`b```=_utf8mb4 x'' AND `c`<=2e0))))"
        );
        let text = source(&part(Span::Row(key(["5", "41", "1e30"])))).expect("text");
        let wanted =
            "`app`.`t` FORCE INDEX (`PRIMARY`) WHERE `a`=5 AND `b```=_utf8mb4 x'41' AND `c`=1e30";
        assert_eq!(text, wanted);
        assert_eq!(source(&part(Span::ALL)).expect("text"), "`app`.`t` FORCE INDEX (`PRIMARY`)");
    }

    #[test]
    fn a_key_is_no_statement() {
        let bad = [["5; DROP", "41", "1"], ["5", "4", "1"], ["5", "x'", "1"], ["", "41", "1"]];
        for values in bad {
            assert!(source(&part(Span::Row(key(values)))).is_err(), "{values:?}");
        }
        assert!(source(&part(Span::Row(vec!["5".into()]))).is_err());
        let charset = Kind::Text { charset: "utf8 x".into() };
        assert!(literal(&charset, "41").is_err());
        assert!(literal(&Kind::Plain, "1' OR '1").is_err());
        assert_eq!(string("a'\\"), "'a''\\\\'");
    }

    #[test]
    fn what_grows_is_no_part_of_a_definition() {
        let at = |n: u32| {
            format!(
                "CREATE TABLE `t` (\n  `a` int COMMENT ' AUTO_INCREMENT=3'\n) ENGINE=InnoDB AUTO_INCREMENT={n} X"
            )
        };
        let plain = "CREATE TABLE `t` (\n  `a` int COMMENT ' AUTO_INCREMENT=3'\n) ENGINE=InnoDB X";
        assert_eq!(
            (plain_definition(&at(7)), plain_definition(&at(123))),
            (plain.into(), plain.into())
        );
    }

    #[test]
    fn only_the_sites_accounts_are_compared() {
        let table = Part { schema: "mysql".into(), table: "global_priv".into(), ..part(Span::ALL) };
        let text = source(&table).expect("text");
        assert!(text.ends_with("WHERE `User` NOT LIKE 'regent%'"), "{text}");
        assert!(
            !Of::table("mysql", "event").has("status") && Of::table("app", "event").has("status")
        );
    }
}

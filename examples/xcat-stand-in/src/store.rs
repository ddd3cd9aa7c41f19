//! The database behind the tables, reached through its own client: `mariadb`, `psql` or `sqlite3`.

use std::fs::{self, File};
use std::process::Command;

use crate::{Result, run, tables};

/// The file that names the database.
pub const CFGLOC: &str = "/etc/xcat/cfgloc";
/// Where SQLite's files are.
const DIRECTORY: &str = "/etc/xcat";
/// The name of the database in a server.
pub const DATABASE: &str = "xcatdb";
/// What parts the columns of an answer.
const TAB: char = '\t';

/// A database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// MariaDB or MySQL, as its root by the socket.
    Mysql,
    /// PostgreSQL, as its own account by the socket.
    Pg,
    /// Files.
    Sqlite,
}

/// The database in use.
#[derive(Debug, Clone, Copy)]
pub struct Store {
    /// Which kind.
    pub engine: Engine,
}

impl Store {
    /// The one that the configuration names.
    pub fn open() -> Result<Store> {
        let text = match fs::read_to_string(CFGLOC) {
            Ok(text) => text,
            Err(why) if why.kind() == std::io::ErrorKind::NotFound => "SQLite:".to_owned(),
            Err(why) => return Err(format!("{CFGLOC}: {why}")),
        };
        let kind = text.split([':', '|']).next().unwrap_or_default().trim();
        let engine = match kind {
            "mysql" => Engine::Mysql,
            "Pg" => Engine::Pg,
            "SQLite" => Engine::Sqlite,
            other => return Err(format!("{CFGLOC}: {other:?} is no kind of database")),
        };
        Ok(Store { engine })
    }

    /// As `lsxcatd -d` tells it.
    pub fn describe(self) -> Result<String> {
        Ok(match self.engine {
            Engine::Sqlite => format!("cfgloc=SQLite:{DIRECTORY}\ndbengine=SQLite\n"),
            Engine::Mysql | Engine::Pg => {
                let text = fs::read_to_string(CFGLOC).map_err(|why| format!("{CFGLOC}: {why}"))?;
                let name = if self.engine == Engine::Pg { "Pg" } else { "mysql" };
                format!("cfgloc={}\ndbengine={name}\ndbinstance={DATABASE}\n", text.trim())
            }
        })
    }

    /// Whether the server of the database answers; files always do.
    pub fn ask_server(self) -> Result<()> {
        match self.engine {
            Engine::Mysql => run(&["mariadb", "-e", "SELECT 1"]).map(drop),
            Engine::Pg => {
                let psql = ["runuser", "-u", "postgres", "--", "psql", "-X", "-d", "postgres"];
                run(&[&psql[..], &["-c", "SELECT 1"]].concat()).map(drop)
            }
            Engine::Sqlite => Ok(()),
        }
    }

    /// Runs statements about one table; the rows of the answer.
    pub fn sql(self, table: &str, statements: &str) -> Result<Vec<Vec<String>>> {
        let file = format!("{DIRECTORY}/{table}.sqlite");
        let mut command = match self.engine {
            Engine::Mysql => Command::new("mariadb"),
            Engine::Pg => Command::new("runuser"),
            Engine::Sqlite => Command::new("sqlite3"),
        };
        match self.engine {
            Engine::Mysql => {
                command.args(["--batch", "--skip-column-names", DATABASE, "-e", statements])
            }
            Engine::Pg => command.current_dir("/").args([
                "-u",
                "postgres",
                "--",
                "psql",
                "-X",
                "-q",
                "-A",
                "-t",
                "-F",
                "\t",
                "-v",
                "ON_ERROR_STOP=1",
                "-d",
                DATABASE,
                "-c",
                statements,
            ]),
            Engine::Sqlite => {
                let wait = ".timeout 5000";
                command.args(["-batch", "-separator", "\t", "-cmd", wait, &file, statements])
            }
        };
        let output = command.output().map_err(|why| format!("{command:?}: {why}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(format!("database: {}: {said}", output.status));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        Ok(text.lines().map(|line| line.split(TAB).map(str::to_owned).collect()).collect())
    }

    /// Makes the tables that are not there.
    pub fn create(self) -> Result<()> {
        for (table, columns) in tables::ALL {
            let mut parts: Vec<String> = Vec::new();
            for (place, column) in columns.iter().enumerate() {
                let key = if place == 0 { " PRIMARY KEY" } else { " DEFAULT ''" };
                parts.push(format!("{} VARCHAR(255) NOT NULL{key}", self.name(column)));
            }
            let parts = parts.join(", ");
            self.sql(table, &format!("CREATE TABLE IF NOT EXISTS {} ({parts})", self.name(table)))?;
        }
        Ok(())
    }

    /// Every row, in the order of the keys.
    pub fn rows(self, table: &str) -> Result<Vec<Vec<String>>> {
        let columns = tables::columns(table)?;
        let names: Vec<String> = columns.iter().map(|column| self.name(column)).collect();
        let mut rows =
            self.sql(table, &format!("SELECT {} FROM {}", names.join(", "), self.name(table)))?;
        rows.sort();
        Ok(rows)
    }

    /// One value of a row.
    pub fn value(self, table: &str, key: &str, column: &str) -> Result<Option<String>> {
        let place = tables::columns(table)?.iter().position(|name| *name == column);
        let place = place.ok_or_else(|| format!("{table} has no column {column}"))?;
        let rows = self.rows(table)?;
        let row = rows.into_iter().find(|row| row.first().is_some_and(|first| first == key));
        Ok(row.and_then(|row| row.into_iter().nth(place)))
    }

    /// Puts values into the row of this key, a new one if there is none.
    pub fn put(self, table: &str, key: &str, values: &[(&str, &str)]) -> Result<()> {
        let columns = tables::columns(table)?;
        let old = self.rows(table)?.into_iter().find(|row| row.first().is_some_and(|k| k == key));
        let mut row = old.unwrap_or_else(|| vec![String::new(); columns.len()]);
        row.resize(columns.len(), String::new());
        row[0] = key.to_owned();
        for (column, value) in values {
            let place = columns.iter().position(|name| name == column);
            let place = place.ok_or_else(|| format!("{table} has no column {column}"))?;
            row[place] = (*value).to_owned();
        }
        let row: Vec<String> = row.iter().map(|value| self.literal(value)).collect();
        let (name, first) = (self.name(table), self.name(columns[0]));
        let key = self.literal(key);
        let statements = format!(
            "BEGIN; DELETE FROM {name} WHERE {first} = {key}; INSERT INTO {name} VALUES ({}); COMMIT",
            row.join(", ")
        );
        self.sql(table, &statements).map(drop)
    }

    /// Puts rows of these columns into a table that has none of their keys, in one go.
    pub fn fill(self, table: &str, columns: &[&str], rows: &[Vec<&str>]) -> Result<()> {
        let columns: Vec<String> = columns.iter().map(|column| self.name(column)).collect();
        let row = |row: &Vec<&str>| {
            let row: Vec<String> = row.iter().map(|value| self.literal(value)).collect();
            format!("({})", row.join(", "))
        };
        let rows: Vec<String> = rows.iter().map(row).collect();
        let (name, columns) = (self.name(table), columns.join(", "));
        let statement = format!("INSERT INTO {name} ({columns}) VALUES {}", rows.join(", "));
        self.sql(table, &statement).map(drop)
    }

    /// The files that a daemon on this database has open.
    pub fn open_files(self) -> Result<Vec<File>> {
        if self.engine != Engine::Sqlite {
            return Ok(Vec::new());
        }
        let open = |(table, _): (&str, _)| {
            let file = format!("{DIRECTORY}/{table}.sqlite");
            File::open(&file).map_err(|why| format!("{file}: {why}"))
        };
        tables::ALL.into_iter().map(open).collect()
    }

    fn name(self, name: &str) -> String {
        match self.engine {
            Engine::Mysql => format!("`{name}`"),
            Engine::Pg | Engine::Sqlite => format!("\"{name}\""),
        }
    }

    fn literal(self, text: &str) -> String {
        let text = text.replace('\'', "''");
        match self.engine {
            Engine::Mysql => format!("'{}'", text.replace('\\', "\\\\")),
            Engine::Pg | Engine::Sqlite => format!("'{text}'"),
        }
    }
}

//! `xcatd`: one line asks, lines answer, the first of them `ok` or `error ...`. The real one speaks XML in TLS.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::store::Store;
use crate::{Result, tables, tftp};

const REQUESTS: &str = "0.0.0.0:3001";
const INSTALLS: &str = "0.0.0.0:3002";
/// Nobody keeps a thread for longer by saying nothing.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a start waits for the server of its database.
const DATABASE: Duration = Duration::from_secs(60);
const BETWEEN: Duration = Duration::from_millis(500);

/// Never ends well.
pub fn run() -> Result<String> {
    let store = Store::open()?;
    let from = Instant::now();
    while let Err(why) = store.ask_server() {
        if from.elapsed() >= DATABASE {
            return Err(why);
        }
        std::thread::sleep(BETWEEN);
    }
    store.rows("site")?;
    // The real one keeps its files open; whoever moves the data has to see that.
    let files = store.open_files()?;
    let requests = TcpListener::bind(REQUESTS).map_err(|why| format!("{REQUESTS}: {why}"))?;
    let installs = TcpListener::bind(INSTALLS).map_err(|why| format!("{INSTALLS}: {why}"))?;
    std::thread::spawn(move || {
        for stream in installs.incoming().flatten() {
            std::thread::spawn(move || monitor(&stream));
        }
    });
    // Without it nodes do not boot from here; the real one only says so as well.
    if let Err(why) = tftp::start() {
        eprintln!("xcatd: {why}");
    }
    ready();
    let writing = Arc::new(Mutex::new(()));
    for stream in requests.incoming().flatten() {
        let writing = Arc::clone(&writing);
        std::thread::spawn(move || serve(&stream, store, &writing));
    }
    drop(files);
    Err("no more connections".into())
}

/// Tells systemd, if it wants to know (sd_notify(3)).
fn ready() {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    if let Ok(socket) = UnixDatagram::unbound() {
        // Whoever waits for it notices by itself that nothing came.
        let _ = socket.send_to(b"READY=1", path);
    }
}

/// An installing node says where it is.
fn monitor(mut stream: &TcpStream) {
    let _ = stream.set_read_timeout(Some(PATIENCE));
    if stream.write_all(b"ready\n").is_ok() {
        let mut line = String::new();
        let _ = BufReader::new(stream).read_line(&mut line);
        let _ = stream.write_all(b"done\n");
    }
}

fn serve(mut stream: &TcpStream, store: Store, writing: &Mutex<()>) {
    let _ = stream.set_read_timeout(Some(PATIENCE));
    let mut line = String::new();
    if BufReader::new(stream).read_line(&mut line).is_err() {
        return;
    }
    let answer = match answer(line.trim(), store, writing) {
        Ok(text) => format!("ok\n{text}"),
        Err(why) => format!("error {}\n", why.replace('\n', " ")),
    };
    let _ = stream.write_all(answer.as_bytes());
}

fn answer(line: &str, store: Store, writing: &Mutex<()>) -> Result<String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["tables"] => Ok(tables::ALL.iter().map(|(name, _)| format!("{name}\n")).collect()),
        ["tabdump", table] => dump(store, table),
        ["lsdef", key] => {
            let value = store.value("site", key, "value")?;
            let value = value.ok_or_else(|| format!("site has no {key}"))?;
            Ok(format!("Object name: clustersite\n    {key}={value}\n"))
        }
        ["chtab", key, values @ ..] => {
            let _one = writing.lock().unwrap_or_else(PoisonError::into_inner);
            change(store, key, values)
        }
        words => Err(format!("no such request: {}", words.join(" "))),
    }
}

/// As `tabdump` prints: a line of names, then each row in quotes.
fn dump(store: Store, table: &str) -> Result<String> {
    let mut text = format!("#{}\n", tables::columns(table)?.join(","));
    for row in store.rows(table)? {
        let cell = |value: &String| match value.as_str() {
            "" => String::new(),
            value => format!("\"{}\"", value.replace('"', "\"\"")),
        };
        text.push_str(&row.iter().map(cell).collect::<Vec<_>>().join(","));
        text.push('\n');
    }
    Ok(text)
}

/// `node=n1 hosts.ip=10.0.0.1`: the key, then values of one table or more.
fn change(store: Store, key: &str, values: &[&str]) -> Result<String> {
    let (_, key) = key.split_once('=').ok_or("KEY=VALUE first")?;
    for value in values {
        let (place, value) = value.split_once('=').ok_or("TABLE.COLUMN=VALUE")?;
        let (table, column) = place.split_once('.').ok_or("TABLE.COLUMN=VALUE")?;
        store.put(table, key, &[(column, value)])?;
    }
    Ok(String::new())
}

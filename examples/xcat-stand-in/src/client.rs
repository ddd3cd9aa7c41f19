//! Clients of `xcatd`, on this host or on `$XCATHOST`.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::Result;

const LIMIT: Duration = Duration::from_secs(10);

/// Asks one thing and returns the answer.
pub fn ask(line: &str) -> Result<String> {
    let host = std::env::var("XCATHOST").unwrap_or_else(|_| "127.0.0.1:3001".to_owned());
    let text = exchange(&host, line).map_err(|why| format!("xcatd at {host}: {why}"))?;
    match text.split_once('\n') {
        Some(("ok", rest)) => Ok(rest.to_owned()),
        Some((first, _)) => Err(first.to_owned()),
        None => Err(format!("xcatd at {host} broke off")),
    }
}

fn exchange(host: &str, line: &str) -> std::io::Result<String> {
    let address = host.to_socket_addrs()?.next();
    let address = address.ok_or_else(|| std::io::Error::other("no address"))?;
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(format!("{line}\n").as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

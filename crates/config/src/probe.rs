//! What a probe looks at, as the configuration says it. Everything here is valid once it exists: texts are parsed
//! at the edge, and a text that comes in by a line is parsed again.

use regent_core::health::{Counts, ProbeId};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// One probe, complete.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Probe {
    /// Its number in the configuration.
    pub id: ProbeId,
    /// What it looks at.
    pub kind: Kind,
    /// From one start to the next; a run that takes longer delays the next one, and no other probe.
    pub interval_ms: u64,
    /// A run without an answer for this long has failed.
    pub timeout_ms: u64,
    /// Passes in a row until it passes again.
    pub rise: u8,
    /// Failures in a row until it fails.
    pub fall: u8,
    /// In which role of the node it runs.
    pub counts: Counts,
    /// It is asked only while this unit runs, and passes otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
}

/// What is looked at. A hang is a failure of every kind.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Somebody accepts connections there.
    Tcp(Endpoint),
    /// Somebody accepts a connection there, and speaks first. The kernel accepts for a process that hangs, too.
    Greeting(Endpoint),
    /// A name server answers a question there, whatever it says.
    Dns(Endpoint),
    /// A request is answered as expected.
    Http(Http),
    /// The database lets somebody in and answers.
    Sql(Sql),
    /// A file is there, can be read, and is fresh.
    File(File),
    /// A program ends with 0; its first line of output says why it did not.
    Exec(Vec<String>),
    /// A file system has room left and may be written.
    Disk(Disk),
    /// Processes wait for memory no more than this share of the last ten seconds.
    Memory(Share),
    /// An interface is up and has a carrier.
    Link(String),
    /// The router answers.
    Gateway(IpAddr),
}

impl Kind {
    /// The key of the configuration that makes it, also the end of a probe's default name.
    pub fn word(&self) -> &'static str {
        match self {
            Kind::Tcp(_) => "tcp",
            Kind::Greeting(_) => "greeting",
            Kind::Dns(_) => "dns",
            Kind::Http(_) => "http",
            Kind::Sql(_) => "sql",
            Kind::File(_) => "file",
            Kind::Exec(_) => "exec",
            Kind::Disk(_) => "disk",
            Kind::Memory(_) => "memory",
            Kind::Link(_) => "link",
            Kind::Gateway(_) => "gateway",
        }
    }
}

/// A request by HTTP or HTTPS and what is expected of the answer.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Http {
    /// What is asked for.
    pub url: Url,
    /// The status that passes; any of 200 to 399 if none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// A text that the body contains, within its first 64 KiB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Whom to trust (PEM). Without it a certificate is not verified, only its end is watched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<PathBuf>,
}

/// How the database is asked; always by TCP, so that a blocked port is seen.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sql {
    /// Sign in here and read.
    Read,
    /// Sign in here and write this node's row.
    Write,
    /// Sign in through the VIP, write this node's row, and read it back.
    Client,
}

/// A file that somebody keeps fresh.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct File {
    /// Which.
    pub path: PathBuf,
    /// It was changed within this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newer_than_ms: Option<u64>,
}

/// A file system and how much of it must be free.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Disk {
    /// Any path on it.
    pub path: PathBuf,
    /// How much.
    pub least: Least,
}

/// Why a text is none of these.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

/// A host as written: an address, or a name that is looked up again and again.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Host {
    /// Needs no look-up.
    Address(IpAddr),
    /// Needs one.
    Name(String),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Host::Name(name) => f.write_str(name),
        }
    }
}

/// HOST:PORT; an IPv6 address stands in brackets.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Endpoint {
    /// Where.
    pub host: Host,
    /// Its port.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for Endpoint {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Endpoint, Invalid> {
        let wrong = || Invalid(format!("\"{text}\" is not HOST:PORT, as \"127.0.0.1:8080\""));
        let (host, port) = authority(text).ok_or_else(wrong)?;
        Ok(Endpoint { host, port: port.ok_or_else(wrong)? })
    }
}

/// Host and port of `HOST`, `HOST:PORT` or `[IPV6]:PORT`.
fn authority(text: &str) -> Option<(Host, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) = rest.split_once(']')?;
            let address = address.parse().ok()?;
            let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) };
            (Host::Address(IpAddr::V6(address)), port)
        }
        None => {
            let (host, port) =
                text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port)));
            let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
            if host.is_empty() || host.len() > 253 || !host.bytes().all(is_name) {
                return None;
            }
            let address = host.parse().ok().map(|v4| Host::Address(IpAddr::V4(v4)));
            (address.unwrap_or_else(|| Host::Name(host.to_owned())), port)
        }
    };
    match port {
        None => Some((host, None)),
        Some(port) => Some((host, Some(port.parse().ok().filter(|port| *port != 0)?))),
    }
}

/// `http://HOST[:PORT][/PATH]` or the same with https.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Url {
    /// By TLS.
    pub secure: bool,
    /// Whom to ask.
    pub endpoint: Endpoint,
    /// What for: path and query.
    pub path: String,
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.secure { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.endpoint, self.path)
    }
}

impl FromStr for Url {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Url, Invalid> {
        let wrong = || {
            let example = "http://127.0.0.1:8080/health";
            Invalid(format!("\"{text}\" is not an address as \"{example}\""))
        };
        let (secure, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (None, Some(rest)) => (true, rest),
            (None, None) => return Err(wrong()),
        };
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (host, path) = rest.split_at(end);
        // What goes into the request line is one word.
        if path.contains('#') || !path.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(wrong());
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let (host, port) = authority(host).ok_or_else(wrong)?;
        let port = port.unwrap_or(if secure { 443 } else { 80 });
        Ok(Url { secure, endpoint: Endpoint { host, port }, path })
    }
}

/// A share in tenths of a percent, written as `5%` or `2.5%`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Share(u16);

impl Share {
    /// The share in tenths of a percent: 0 to 1000.
    pub fn per_mille(self) -> u16 {
        self.0
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 % 10 {
            0 => write!(f, "{}%", self.0 / 10),
            tenths => write!(f, "{}.{tenths}%", self.0 / 10),
        }
    }
}

impl FromStr for Share {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Share, Invalid> {
        let wrong = || Invalid(format!("\"{text}\" is not a share as \"5%\" or \"2.5%\""));
        let number = text.strip_suffix('%').map(str::trim_end).ok_or_else(wrong)?;
        let (whole, tenths) = number.split_once('.').unwrap_or((number, "0"));
        let digit = |text: &str| text.bytes().all(|b| b.is_ascii_digit()) && !text.is_empty();
        if !digit(whole) || !digit(tenths) || tenths.len() != 1 {
            return Err(wrong());
        }
        let share = whole.parse::<u16>().ok().and_then(|whole| whole.checked_mul(10));
        let share = share.zip(tenths.parse::<u16>().ok()).map(|(whole, tenths)| whole + tenths);
        share.filter(|share| *share <= 1000).map(Share).ok_or_else(wrong)
    }
}

/// How much of a disk is to be free: `5%` or `2GiB`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Least {
    /// Of its bytes and of its inodes.
    Share(Share),
    /// In bytes, and one inode in a hundred.
    Bytes(u64),
}

const UNITS: [(&str, u32); 5] = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40), ("B", 0)];

impl fmt::Display for Least {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Least::Share(share) => share.fmt(f),
            Least::Bytes(bytes) => {
                let whole = |shift: &u32| *bytes >> shift << shift == *bytes && *bytes >> shift > 0;
                let (unit, shift) =
                    UNITS[..4].iter().rev().find(|(_, shift)| whole(shift)).unwrap_or(&UNITS[4]);
                write!(f, "{}{unit}", bytes >> shift)
            }
        }
    }
}

impl FromStr for Least {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Least, Invalid> {
        if text.ends_with('%') {
            return text.parse().map(Least::Share);
        }
        let read = || {
            let (unit, shift) = UNITS.iter().find(|(unit, _)| text.ends_with(unit))?;
            let number: u64 = text.strip_suffix(unit)?.trim_end().parse().ok()?;
            number.checked_mul(1 << shift).filter(|bytes| *bytes > 0)
        };
        let wrong =
            || Invalid(format!("\"{text}\" is not a size as \"5%\", \"500MiB\" or \"2GiB\""));
        read().map(Least::Bytes).ok_or_else(wrong)
    }
}

macro_rules! as_text {
    ($($kind:ty),*) => {$(
        impl TryFrom<String> for $kind {
            type Error = Invalid;

            fn try_from(text: String) -> Result<$kind, Invalid> {
                text.parse()
            }
        }

        impl From<$kind> for String {
            fn from(value: $kind) -> String {
                value.to_string()
            }
        }
    )*};
}
as_text!(Endpoint, Url, Share, Least);

#[cfg(test)]
mod tests {
    use super::*;

    fn same<T: FromStr<Err = Invalid> + fmt::Display>(text: &str) {
        assert_eq!(text.parse::<T>().map_err(|e| e.to_string()).unwrap().to_string(), text);
    }

    #[test]
    fn what_is_written_reads_back() {
        for text in ["127.0.0.1:80", "[::1]:8080", "mn1.example.org:3306", "localhost:1"] {
            same::<Endpoint>(text);
        }
        for text in ["0%", "5%", "2.5%", "100%"] {
            same::<Share>(text);
        }
        for text in ["5%", "2GiB", "500MiB", "1KiB", "1TiB", "1000B"] {
            same::<Least>(text);
        }
        same::<Url>("http://127.0.0.1:8080/health?deep=1");
        same::<Url>("https://[::1]:443/");
        assert_eq!("https://mn".parse::<Url>().unwrap().to_string(), "https://mn:443/");
        assert_eq!("http://mn?a".parse::<Url>().unwrap().path, "/?a");
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_an_example() {
        for text in ["", ":80", "a", "a:0", "a:70000", "a b:1", "[::1]80", "::1:80", "a:80x"] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains("127.0.0.1:8080"), "{error}");
        }
        for text in ["ftp://a/", "http://", "http://a/ b", "http://a/\r\nX: y", "http://a:b/", "a"]
        {
            assert!(text.parse::<Url>().is_err(), "{text}");
        }
        for text in ["5", "101%", "-1%", "1.25%", "%", "a%", ".5%"] {
            assert!(text.parse::<Share>().is_err(), "{text}");
        }
        for text in ["5", "5GB", "0B", "-1MiB", "1.5GiB", "99999999999TiB", "101%"] {
            assert!(text.parse::<Least>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_kind_is_one_key() {
        let json = |kind: &Kind| serde_json::to_string(kind).unwrap();
        let tcp = Kind::Tcp("127.0.0.1:80".parse().unwrap());
        assert_eq!(json(&tcp), r#"{"tcp":"127.0.0.1:80"}"#);
        assert_eq!(json(&Kind::Sql(Sql::Write)), r#"{"sql":"write"}"#);
        let url = "http://a:80/".parse().unwrap();
        let http = Kind::Http(Http { url, status: Some(200), body: None, ca: None });
        assert_eq!(json(&http), r#"{"http":{"url":"http://a:80/","status":200}}"#);
        let disk = Kind::Disk(Disk { path: "/".into(), least: "5%".parse().unwrap() });
        assert_eq!(json(&disk), r#"{"disk":{"path":"/","least":"5%"}}"#);
        for kind in [tcp, http, disk] {
            assert_eq!(serde_json::from_str::<Kind>(&json(&kind)).unwrap(), kind);
        }
        assert!(serde_json::from_str::<Kind>(r#"{"tcp":"nowhere"}"#).is_err());
    }
}

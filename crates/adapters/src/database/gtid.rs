//! Names of transactions: domain, server, number. They are looked up and compared for equality, never by size
//! across servers (D4): order is taken from where they stand in a log.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The name of one transaction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Gtid {
    /// The replication domain; a cluster of ours uses 0 alone.
    pub domain: u32,
    /// The server id it was written under: names the writer's incarnation.
    pub server: u32,
    /// Its number.
    pub number: u64,
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.domain, self.server, self.number)
    }
}

impl From<Gtid> for String {
    fn from(gtid: Gtid) -> String {
        gtid.to_string()
    }
}

impl TryFrom<String> for Gtid {
    type Error = String;

    fn try_from(text: String) -> Result<Gtid, String> {
        text.parse()
    }
}

impl FromStr for Gtid {
    type Err = String;

    fn from_str(text: &str) -> Result<Gtid, String> {
        let fault = || format!("`{text}` names no transaction");
        let mut parts = text.trim().split('-');
        let mut part = || parts.next().and_then(|p| p.parse::<u64>().ok()).ok_or_else(fault);
        let (domain, server, number) = (part()?, part()?, part()?);
        if parts.next().is_some() {
            return Err(fault());
        }
        let narrow = |n: u64| u32::try_from(n).map_err(|_| fault());
        Ok(Gtid { domain: narrow(domain)?, server: narrow(server)?, number })
    }
}

/// A list as the server prints it, in one order: equal places give equal texts.
pub(crate) fn list(text: &str) -> Result<Vec<Gtid>, String> {
    let mut list = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .map(Gtid::from_str)
        .collect::<Result<Vec<_>, _>>()?;
    list.sort_unstable();
    Ok(list)
}

/// The text of a list.
pub(crate) fn text(list: &[Gtid]) -> String {
    list.iter().map(Gtid::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_the_same_in_any_order() {
        assert_eq!(list("1-2-3, 0-7-9\n"), list("0-7-9,1-2-3"));
        assert_eq!(text(&list("1-2-3,0-7-9").expect("a list")), "0-7-9,1-2-3");
        assert_eq!(list(""), Ok(Vec::new()));
    }

    #[test]
    fn a_broken_name_is_refused() {
        for text in ["0-1", "0-1-2-3", "a-1-2", "0-5000000000-1", "0-1--2"] {
            assert!(Gtid::from_str(text).is_err(), "{text}");
        }
    }
}

//! systemd.network(5): one file, which may be this interface's.

use super::exchanged;
use crate::stack::carry::fits;
use std::net::IpAddr;

/// The text with `Address=` and `PreferredSource=` changed; none if the file is another interface's, or the address
/// stands in any other line.
pub(super) fn changed(text: &str, interface: &str, vip: IpAddr, own: IpAddr) -> Option<String> {
    let mut section = "";
    let mut done = false;
    let mut lines = Vec::new();
    for line in text.split('\n') {
        let plain = line.trim();
        if plain.starts_with('[') {
            section = plain;
        }
        let (key, value) = plain.split_once('=').unwrap_or((plain, ""));
        let (key, comment) = (key.trim_end(), plain.starts_with(['#', ';']));
        if section == "[Match]" && key == "Name" {
            let mut patterns = value.split_whitespace();
            if !patterns.any(|pattern| fits(pattern, interface)) {
                return None;
            }
        }
        let replaced = match key {
            "Address" | "PreferredSource" if !comment => exchanged(line, vip, own),
            _ => None,
        };
        match replaced {
            Some(replaced) => {
                done = true;
                lines.push(replaced);
            }
            None if super::has(line, vip) => return None,
            None => lines.push(line.to_owned()),
        }
    }
    done.then(|| lines.join("\n"))
}

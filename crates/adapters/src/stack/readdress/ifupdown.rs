//! interfaces(5): the stanzas of one interface.

use super::exchanged;
use std::net::IpAddr;

/// Words that begin another stanza.
const BEGIN: [&str; 8] =
    ["iface", "mapping", "auto", "source", "source-directory", "template", "rename", "no-scripts"];

/// The text with the interface's `address` lines changed; none if the address stands in no such line, or anywhere
/// else, which is nothing to guess about.
pub(super) fn changed(text: &str, interface: &str, vip: IpAddr, own: IpAddr) -> Option<String> {
    let mut inside = false;
    let mut done = false;
    let mut lines = Vec::new();
    for line in text.split('\n') {
        let mut words = line.split_whitespace();
        let first = words.next().unwrap_or_default();
        if BEGIN.contains(&first) || first.starts_with("allow-") {
            inside = first == "iface" && words.next() == Some(interface);
        }
        let replaced = match inside && first == "address" {
            true => exchanged(line, vip, own),
            false => None,
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

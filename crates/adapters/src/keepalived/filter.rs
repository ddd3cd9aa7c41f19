//! Advertisements do not reach keepalived: no foreign router, and no stale one of a peer, can push the active off.
//!
//! A table of its own, of a few lines; the gate is not concerned. keepalived reads a raw socket, which stands behind
//! the input hook. What it sends itself is counted: that is how it is known to live and to announce.

use crate::netlink::{DUMP, Messages, REQUEST, Socket, attribute, text};
use crate::run::{RunError, run};
use rustix::io::Errno;
use rustix::net::netlink::NETFILTER;
use std::time::Duration;

const TABLE: &str = "regent-vrrp";
/// The gate's own name.
const GATE: &str = "regent";
/// A call of nft takes 7 to 16 ms on a small machine.
const NFT_MAX: Duration = Duration::from_secs(5);
const SUBSYSTEM: u16 = 10 << 8;
const GET_RULE: u16 = SUBSYSTEM | 7;
const GET_OBJECT: u16 = SUBSYSTEM | 19;
/// NFPROTO_INET.
const INET: u8 = 1;
const RULES: usize = 2;

/// Advertisements of our router id on our interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Sent by this host's keepalived.
    pub sent: u64,
    /// Of others, stopped before keepalived could hear them.
    pub stopped: u64,
}

fn table(interface: &str, router_id: u8) -> String {
    format!(
        "add table inet {TABLE}\n\
         delete table inet {TABLE}\n\
         table inet {TABLE} {{\n\
         counter sent {{ }}\n\
         counter stopped {{ }}\n\
         chain input {{\n\
         type filter hook input priority -300; policy accept;\n\
         iifname \"{interface}\" meta l4proto 112 @th,8,8 {router_id} counter name stopped drop\n\
         }}\n\
         chain output {{\n\
         type filter hook output priority -300; policy accept;\n\
         oifname \"{interface}\" meta l4proto 112 @th,8,8 {router_id} counter name sent\n\
         }}\n\
         }}\n"
    )
}

/// Loads it, in one transaction, in the place of one that is there.
pub(super) fn load(interface: &str, router_id: u8) -> Result<(), RunError> {
    run("nft", &["-f", "-"], &table(interface, router_id), NFT_MAX).map(drop)
}

/// Takes it away; it may not be there.
pub(super) fn unload() -> Result<(), RunError> {
    let text = format!("add table inet {TABLE}\ndelete table inet {TABLE}\n");
    run("nft", &["-f", "-"], &text, NFT_MAX).map(drop)
}

/// What was counted since it was loaded; none if it is not whole.
pub(super) fn counts() -> Result<Option<Counts>, Errno> {
    let mut socket = Socket::open(NETFILTER, 0)?;
    let (mut rules, mut sent, mut stopped) = (0, None, None);
    each(&mut socket, GET_RULE, TABLE, |_| rules += 1)?;
    each(&mut socket, GET_OBJECT, TABLE, |object| {
        // NFTA_OBJ_NAME, and in NFTA_OBJ_DATA NFTA_COUNTER_PACKETS.
        let packets = attribute(object, 4).and_then(|data| attribute(data, 2));
        let packets = packets.and_then(|p| p.try_into().ok()).map(u64::from_be_bytes);
        match attribute(object, 2).map(text) {
            Some(b"sent") => sent = packets,
            Some(b"stopped") => stopped = packets,
            Some(_) | None => {}
        }
    })?;
    let counts = sent.zip(stopped).map(|(sent, stopped)| Counts { sent, stopped });
    Ok(counts.filter(|_| rules == RULES))
}

/// The gate's table has rules: an address that is put on stands behind it.
pub(super) fn gate_stands() -> bool {
    let mut rules = 0;
    let read = Socket::open(NETFILTER, 0)
        .and_then(|mut socket| each(&mut socket, GET_RULE, GATE, |_| rules += 1));
    read.is_ok() && rules > 0
}

/// Every object of this kind in this table; attribute 1 of each is its table's name.
fn each(
    socket: &mut Socket,
    kind: u16,
    table: &str,
    mut each: impl FnMut(&[u8]),
) -> Result<(), Errno> {
    let sequence = socket.next_sequence();
    let mut out = Messages::default();
    out.begin(kind, REQUEST | DUMP, sequence).body(&[INET, 0, 0, 0]);
    socket.dump(&out, sequence, |_, payload| {
        let attributes = payload.get(4..).unwrap_or(&[]);
        if attribute(attributes, 1).map(text) == Some(table.as_bytes()) {
            each(attributes);
        }
    })
}

//! Changes of the sets, each one transaction over all our tables, the kernel's answer awaited (G1).
//!
//! An expired element cannot be deleted, and adding over it does not renew it: so a slot is flushed, never mended.

use super::error::GateError;
use super::rules::{Family, Key, SETS, TABLE, guarded, keys};
use crate::netlink::{ACK, CREATE, DUMP, Messages, REQUEST, Socket, attribute, attributes};
use regent_core::command::Slot;
use regent_core::time::Span;
use rustix::io::Errno;
use rustix::net::netlink::NETFILTER;
use std::net::IpAddr;

const SUBSYSTEM: u16 = 10 << 8;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NEW_ELEMENT: u16 = SUBSYSTEM | 12;
const GET_ELEMENT: u16 = SUBSYSTEM | 13;
const DELETE_ELEMENT: u16 = SUBSYSTEM | 14;
const GET_TABLE: u16 = SUBSYSTEM | 1;
// NFTA_SET_ELEM_LIST_*, NFTA_SET_ELEM_*, NFTA_DATA_VALUE, NFTA_LIST_ELEM of linux/netfilter/nf_tables.h.
const LIST_TABLE: u16 = 1;
const LIST_SET: u16 = 2;
const LIST_ELEMENTS: u16 = 3;
const ELEMENT: u16 = 1;
const ELEMENT_KEY: u16 = 1;
const ELEMENT_TIMEOUT: u16 = 4;
const ELEMENT_EXPIRATION: u16 = 5;
const DATA_VALUE: u16 = 1;

/// The sets of our tables, with a socket of their own.
pub(super) struct Sets {
    socket: Socket,
    vips: Vec<IpAddr>,
    tables: Vec<(Family, Vec<Key>)>,
    held: [bool; 2],
}

impl Sets {
    /// The sets as they stand.
    pub(super) fn open(vips: Vec<IpAddr>) -> Result<Sets, GateError> {
        let doing = GateError::kernel("open the gate's sets");
        let mut socket = Socket::open(NETFILTER, 0).map_err(&doing)?;
        let tables = present(&mut socket, &vips).map_err(&doing)?;
        let mut sets = Sets { socket, vips, tables, held: [false; 2] };
        let slots = sets.slots()?;
        sets.held = slots.map(|s| s.is_some());
        Ok(sets)
    }

    pub(super) fn arm(&mut self, slot: Slot, ticket: Span) -> Result<(), GateError> {
        // A ticket of no time at all would be one without an end to the kernel.
        let milliseconds = ticket.as_millis().max(1);
        self.held[slot.index()] = false;
        self.change("arm the gate", |batch| {
            for name in SETS {
                batch.flush(name, slot);
            }
            batch.add("ticket", slot, Some(milliseconds));
        })
    }

    pub(super) fn enable(&mut self, slot: Slot) -> Result<(), GateError> {
        self.change("enable the gate", |batch| batch.add("held", slot, None))?;
        self.held[slot.index()] = true;
        Ok(())
    }

    pub(super) fn refuse(&mut self) -> Result<(), GateError> {
        let held = self.held;
        self.change("refuse at the gate", |batch| {
            for slot in [Slot::Zero, Slot::One] {
                batch.flush("held", slot);
                if held[slot.index()] {
                    batch.add("refuse", slot, None);
                }
            }
        })?;
        self.held = [false; 2];
        Ok(())
    }

    pub(super) fn close(&mut self) -> Result<(), GateError> {
        self.change("close the gate", |batch| {
            for slot in [Slot::Zero, Slot::One] {
                for name in SETS {
                    batch.flush(name, slot);
                }
            }
        })?;
        self.held = [false; 2];
        Ok(())
    }

    /// By slot: what its ticket has left, if it is held; the longest one's if somebody made them differ.
    pub(super) fn slots(&mut self) -> Result<[Option<Span>; 2], GateError> {
        let doing = GateError::kernel("read the gate's sets");
        let mut slots = [None; 2];
        for slot in [Slot::Zero, Slot::One] {
            let found = standing(&mut self.socket, &self.vips, slot).map_err(&doing)?;
            let held = found.iter().filter(|vip| vip.held);
            slots[slot.index()] = held.map(|vip| vip.ticket.unwrap_or(Span::ZERO)).max();
        }
        Ok(slots)
    }

    /// One transaction. If one of our tables came or went since the last, the set of tables is read again, once.
    fn change(
        &mut self,
        doing: &'static str,
        fill: impl Fn(&mut Batch<'_>),
    ) -> Result<(), GateError> {
        let doing = GateError::kernel(doing);
        match self.try_change(&fill) {
            Err(Errno::NOENT) => {
                self.tables = present(&mut self.socket, &self.vips).map_err(&doing)?;
                self.try_change(&fill).map_err(&doing)
            }
            answer => answer.map_err(&doing),
        }
    }

    fn try_change(&mut self, fill: impl Fn(&mut Batch<'_>)) -> Result<(), Errno> {
        let mut batch = Batch {
            out: Messages::default(),
            socket: &mut self.socket,
            tables: &self.tables,
            vips: &self.vips,
            last: 0,
        };
        batch.edge(BATCH_BEGIN);
        fill(&mut batch);
        let (last, mut out) = (batch.last, std::mem::take(&mut batch.out));
        edge(&mut out, BATCH_END, self.socket.next_sequence());
        self.socket.transact(&out, last)
    }
}

/// One transaction under construction; every message asks for an acknowledgement, the last one ends the wait.
struct Batch<'a> {
    out: Messages,
    socket: &'a mut Socket,
    tables: &'a [(Family, Vec<Key>)],
    vips: &'a [IpAddr],
    last: u32,
}

impl Batch<'_> {
    fn edge(&mut self, kind: u16) {
        let sequence = self.socket.next_sequence();
        edge(&mut self.out, kind, sequence);
    }

    fn flush(&mut self, name: &str, slot: Slot) {
        self.each(DELETE_ELEMENT, REQUEST | ACK, name, slot, |_, _| {});
    }

    fn add(&mut self, name: &str, slot: Slot, timeout: Option<u64>) {
        let vips = self.vips;
        self.each(NEW_ELEMENT, REQUEST | ACK | CREATE, name, slot, |out, key| {
            elements(out, vips.iter().filter_map(|vip| key.element(*vip)), timeout);
        });
    }

    fn each(
        &mut self,
        kind: u16,
        flags: u16,
        name: &str,
        slot: Slot,
        fill: impl Fn(&mut Messages, Key),
    ) {
        for (family, keys) in self.tables {
            for key in keys {
                self.last = self.socket.next_sequence();
                self.out
                    .begin(kind, flags, self.last)
                    .body(&header(family.number()))
                    .text(LIST_TABLE, TABLE)
                    .text(LIST_SET, &set_name(*key, name, slot));
                fill(&mut self.out, *key);
            }
        }
    }
}

fn set_name(key: Key, name: &str, slot: Slot) -> String {
    format!("{}{name}{}", key.prefix(), slot.index())
}

fn edge(out: &mut Messages, kind: u16, sequence: u32) {
    // The subsystem stands in the header's last field, in network order.
    out.begin(kind, REQUEST, sequence).body(&[0, 0, 0, 10]);
}

pub(super) fn header(family: u8) -> [u8; 4] {
    [family, 0, 0, 0]
}

fn elements(out: &mut Messages, keys: impl Iterator<Item = Vec<u8>>, timeout: Option<u64>) {
    out.nest(LIST_ELEMENTS, |list| {
        for key in keys {
            list.nest(ELEMENT, |element| {
                element.nest(ELEMENT_KEY, |value| {
                    value.attribute(DATA_VALUE, &key);
                });
                if let Some(milliseconds) = timeout {
                    element.attribute(ELEMENT_TIMEOUT, &milliseconds.to_be_bytes());
                }
            });
        }
    });
}

/// The tables without which there is no gate.
pub(super) fn core(vips: &[IpAddr]) -> &'static [Family] {
    if vips.iter().any(IpAddr::is_ipv4) { &[Family::Inet, Family::Arp] } else { &[Family::Inet] }
}

/// Which of our tables the kernel has, and what sets. The ones that a gate cannot do without are always in it.
fn present(socket: &mut Socket, vips: &[IpAddr]) -> Result<Vec<(Family, Vec<Key>)>, Errno> {
    let mut families = core(vips).to_vec();
    if table_exists(socket, Family::Netdev)? {
        families.push(Family::Netdev);
    }
    Ok(families.into_iter().map(|family| (family, keys(family, vips))).collect())
}

pub(super) fn table_exists(socket: &mut Socket, family: Family) -> Result<bool, Errno> {
    let sequence = socket.next_sequence();
    let mut out = Messages::default();
    out.begin(GET_TABLE, REQUEST | ACK, sequence).body(&header(family.number())).text(1, TABLE);
    match socket.dump(&out, sequence, |_, _| {}) {
        Ok(()) => Ok(true),
        // A kernel without this family has no such table either.
        Err(Errno::NOENT | Errno::OPNOTSUPP | Errno::AFNOSUPPORT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The elements of this set of the inet table, and what each has left; [`Span::ZERO`] if it has no end.
fn read(socket: &mut Socket, set: &str) -> Result<Vec<(Vec<u8>, Span)>, Errno> {
    let sequence = socket.next_sequence();
    let mut out = Messages::default();
    out.begin(GET_ELEMENT, REQUEST | DUMP, sequence)
        .body(&header(Family::Inet.number()))
        .text(LIST_TABLE, TABLE)
        .text(LIST_SET, set);
    let mut found = Vec::new();
    socket.dump(&out, sequence, |_, payload| {
        let list = payload.get(4..).and_then(|p| attribute(p, LIST_ELEMENTS)).unwrap_or(&[]);
        for (_, element) in attributes(list) {
            let key = attribute(element, ELEMENT_KEY).and_then(|k| attribute(k, DATA_VALUE));
            let milliseconds = attribute(element, ELEMENT_EXPIRATION)
                .and_then(|v| v.try_into().ok())
                .map_or(0, u64::from_be_bytes);
            found.extend(key.map(|key| (key.to_vec(), Span::millis(milliseconds))));
        }
    })?;
    Ok(found)
}

/// How one VIP stands in one slot.
struct Standing {
    held: bool,
    ticket: Option<Span>,
}

fn standing(socket: &mut Socket, vips: &[IpAddr], slot: Slot) -> Result<Vec<Standing>, Errno> {
    let mut all = Vec::new();
    for key in keys(Family::Inet, vips) {
        let held = read(socket, &set_name(key, "held", slot))?;
        let tickets = read(socket, &set_name(key, "ticket", slot))?;
        for element in vips.iter().filter_map(|vip| key.element(*vip)) {
            let is = |(other, _): &&(Vec<u8>, Span)| *other == element;
            all.push(Standing {
                held: held.iter().any(|found| is(&found)),
                ticket: tickets.iter().find(is).map(|(_, left)| *left),
            });
        }
    }
    Ok(all)
}

/// Whom the tables that stand there guard, whoever loaded them; none if they do not say it.
pub(super) fn guarded_vips(socket: &mut Socket) -> Result<Vec<IpAddr>, Errno> {
    let mut vips = Vec::new();
    for key in [Key::Ipv4, Key::Ipv6] {
        let found = match read(socket, &guarded(key)) {
            Ok(found) => found,
            Err(Errno::NOENT | Errno::OPNOTSUPP | Errno::AFNOSUPPORT) => continue,
            Err(error) => return Err(error),
        };
        vips.extend(found.iter().filter_map(|(bytes, _)| address_of(bytes)));
    }
    Ok(vips)
}

fn address_of(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

/// Reads the kernel's own word on the gate, from any thread.
pub struct Reader {
    socket: Socket,
    vips: Vec<IpAddr>,
}

impl Reader {
    /// For the gate of these VIPs.
    pub fn new(vips: &[IpAddr]) -> Result<Reader, GateError> {
        let socket =
            Socket::open(NETFILTER, 0).map_err(GateError::kernel("open the gate's sets"))?;
        Ok(Reader { socket, vips: vips.to_vec() })
    }

    /// All of the VIPs pass at this moment. What cannot be read counts as closed.
    pub fn is_open(&mut self) -> bool {
        [Slot::Zero, Slot::One].into_iter().any(|slot| {
            standing(&mut self.socket, &self.vips, slot).is_ok_and(|all| {
                !all.is_empty() && all.iter().all(|vip| vip.held && vip.ticket.is_some())
            })
        })
    }
}

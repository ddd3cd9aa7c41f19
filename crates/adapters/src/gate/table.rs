//! Loads our tables closed, and knows them again.
//!
//! Each table carries a seal: a chain whose name is a hash over the text that was loaded and over what the
//! kernel shows
//! of it (hooks, rules, sets, but not their elements). A table whose seal fits is kept as it is, armed or not; any
//! other is replaced, in one transaction without an open moment, by a closed one.

use super::error::GateError;
use super::rules::{Family, TABLE, table};
use super::sets::{core, guarded_vips, header, table_exists};
use crate::netlink::{ACK, CREATE, DUMP, Messages, REQUEST, Socket, attribute, attributes, text};
use crate::run::run;
use crate::vip;
use regent_core::fnv::Fnv;
use rustix::io::Errno;
use rustix::net::netlink::NETFILTER;
use std::net::IpAddr;
use std::time::Duration;

/// A call of nft takes 7 to 16 ms on a small machine.
const NFT_MAX: Duration = Duration::from_secs(5);
const SEAL: &str = "seal_";

const SUBSYSTEM: u16 = 10 << 8;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const GET_CHAIN: u16 = SUBSYSTEM | 4;
const GET_TABLE: u16 = SUBSYSTEM | 1;
const GET_RULE: u16 = SUBSYSTEM | 7;
const GET_SET: u16 = SUBSYSTEM | 10;

/// What [`load`] found and did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loaded {
    /// There was none of ours; it is closed.
    Fresh,
    /// It is whole, and stays as it is.
    Kept,
    /// It was not the one we would load; it is closed.
    Replaced,
}

/// Loads the gate of these VIPs closed, before the network is up (G3); a whole one of ours is left as it is.
/// Interface `interface` need not exist yet: announcements of packet sockets are stopped on it from the first load
/// when it does. A VIP that the table before this one guarded, and this one does not, is taken off first.
pub fn load(vips: &[IpAddr], interface: &str) -> Result<Loaded, GateError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-@:".contains(c);
    if interface.is_empty() || interface.len() > 15 || !interface.chars().all(plain) {
        return Err(GateError::Interface(interface.to_owned()));
    }
    let vips = &in_order(vips)?;
    let mut kernel = Kernel::open()?;
    let core: Vec<_> = core(vips).iter().map(|f| (*f, table(*f, vips, None))).collect();
    let loaded = kernel.load(&core, vips, false)?;
    // One that was replaced is closed; then so are all.
    let anew = loaded != Loaded::Kept;
    let mut with =
        |egress| kernel.load(&[(Family::Netdev, table(Family::Netdev, vips, egress))], vips, anew);
    // With its hook where the kernel and the interface have one; else its sets alone; else no such table.
    let egress = with(Some(interface)).or_else(|_| with(None)).unwrap_or(Loaded::Kept);
    // Without it guests of a closed host do not reach the VIP elsewhere; nothing more passes.
    let bridge = (Family::Bridge, table(Family::Bridge, vips, None));
    let bridge = kernel.load(&[bridge], vips, anew).unwrap_or(Loaded::Kept);
    Ok([loaded, egress, bridge].into_iter().find(|l| *l != Loaded::Kept).unwrap_or(loaded))
}

/// The same VIPs in another order are the same gate.
pub(super) fn in_order(vips: &[IpAddr]) -> Result<Vec<IpAddr>, GateError> {
    if vips.is_empty() {
        return Err(GateError::NoVip);
    }
    let mut vips = vips.to_vec();
    vips.sort();
    vips.dedup();
    Ok(vips)
}

/// What is wrong with our tables; none if nothing is. Those for announcements and bridges are judged apart: without
/// them the gate is shut all the same.
pub(super) fn damage(vips: &[IpAddr], interface: &str) -> Result<Option<Damage>, GateError> {
    let mut kernel = Kernel::open()?;
    for family in core(vips).iter().copied() {
        match kernel.state(family, &table(family, vips, None))? {
            State::Whole => {}
            State::Absent => return Ok(Some(Damage::Gone(family.name()))),
            State::Unsealed => return Ok(Some(Damage::Unsealed(family.name()))),
            State::Different => return Ok(Some(Damage::Changed(family.name()))),
        }
    }
    let with_hook = kernel.state(Family::Netdev, &table(Family::Netdev, vips, Some(interface)))?;
    let sets_alone = kernel.state(Family::Netdev, &table(Family::Netdev, vips, None))?;
    let whole = [with_hook, sets_alone].contains(&State::Whole);
    let bridge = kernel.state(Family::Bridge, &table(Family::Bridge, vips, None))?;
    let aside =
        (!whole && with_hook != State::Absent) || !matches!(bridge, State::Whole | State::Absent);
    Ok(aside.then_some(Damage::Aside))
}

/// What somebody did to our tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Damage {
    /// A table is gone: the VIP passes.
    Gone(&'static str),
    /// Its rules, hooks or sets are not those that we loaded.
    Changed(&'static str),
    /// It has no seal: it is being loaded at this moment, or it is not ours.
    Unsealed(&'static str),
    /// Only the table for announcements, or the one for bridges.
    Aside,
}

/// The kernel has an egress hook of ours.
pub(super) fn has_egress() -> Result<bool, GateError> {
    let mut kernel = Kernel::open()?;
    let chains = kernel.chains(Family::Netdev).map_err(GateError::kernel("read the gate"))?;
    Ok(chains.iter().any(|chain| chain.name == b"egress"))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Absent,
    Unsealed,
    Different,
    Whole,
}

struct Chain {
    name: Vec<u8>,
    shown: Vec<u8>,
}

struct Kernel {
    socket: Socket,
}

impl Kernel {
    fn open() -> Result<Kernel, GateError> {
        let socket = Socket::open(NETFILTER, 0).map_err(GateError::kernel("open the gate"))?;
        Ok(Kernel { socket })
    }

    /// Loads these tables in one transaction, unless all of them are whole; `anew`: even then.
    fn load(
        &mut self,
        tables: &[(Family, String)],
        vips: &[IpAddr],
        anew: bool,
    ) -> Result<Loaded, GateError> {
        let mut states = Vec::new();
        for (family, text) in tables {
            states.push(self.state(*family, text)?);
        }
        if !anew && states.iter().all(|state| *state == State::Whole) {
            return Ok(Loaded::Kept);
        }
        let mut all: String = tables.iter().map(|(_, text)| text.as_str()).collect();
        if tables.iter().any(|(family, _)| *family == Family::Inet) {
            self.take_off_unguarded(vips)?;
            all.push_str(self.superfluous(vips)?);
        }
        run("nft", &["-f", "-"], &all, NFT_MAX)?;
        let doing = GateError::kernel("seal the gate");
        for (family, text) in tables {
            let hash = self.hash(*family, text).map_err(&doing)?;
            let hash = hash.ok_or(GateError::NotThere("nft loaded it, and it is gone"))?;
            self.seal(*family, hash).map_err(&doing)?;
        }
        let fresh = states.iter().all(|state| *state == State::Absent);
        Ok(if fresh { Loaded::Fresh } else { Loaded::Replaced })
    }

    /// What the tables that are to be replaced guard, and the new ones do not, would pass from then on.
    fn take_off_unguarded(&mut self, vips: &[IpAddr]) -> Result<(), GateError> {
        let guarded =
            guarded_vips(&mut self.socket).map_err(GateError::kernel("read the gate's sets"))?;
        for old in guarded.iter().filter(|old| !vips.contains(old)) {
            vip::remove_everywhere(*old)?;
        }
        Ok(())
    }

    /// The text that removes a table of other VIPs.
    fn superfluous(&mut self, vips: &[IpAddr]) -> Result<&'static str, GateError> {
        let doing = GateError::kernel("read the gate");
        let unused = !core(vips).contains(&Family::Arp)
            && table_exists(&mut self.socket, Family::Arp).map_err(&doing)?;
        Ok(if unused { "delete table arp regent\n" } else { "" })
    }

    fn state(&mut self, family: Family, text: &str) -> Result<State, GateError> {
        let doing = GateError::kernel("read the gate");
        let Some(hash) = self.hash(family, text).map_err(&doing)? else {
            return Ok(State::Absent);
        };
        let wanted = seal_name(hash);
        let chains = self.chains(family).map_err(&doing)?;
        let mut seals = chains.iter().filter(|chain| is_seal(&chain.name));
        Ok(match (seals.next(), seals.next()) {
            (None, _) => State::Unsealed,
            (Some(seal), None) if seal.name == wanted.as_bytes() => State::Whole,
            (Some(_), _) => State::Different,
        })
    }

    /// Over the text and over what the kernel shows of the table; none if there is no table.
    fn hash(&mut self, family: Family, text: &str) -> Result<Option<u64>, Errno> {
        if !table_exists(&mut self.socket, family)? {
            return Ok(None);
        }
        let mut hash = Parts::default();
        hash.add(text.as_bytes());
        // NFTA_TABLE_FLAGS: a dormant table filters nothing.
        hash.add_all(&self.shown(GET_TABLE, family, &[2])?);
        for chain in self.chains(family)?.iter().filter(|chain| !is_seal(&chain.name)) {
            hash.add(&chain.shown);
        }
        // NFTA_RULE_CHAIN, EXPRESSIONS; NFTA_SET_NAME, FLAGS, KEY_TYPE, KEY_LEN.
        hash.add_all(&self.shown(GET_RULE, family, &[2, 4])?);
        hash.add_all(&self.shown(GET_SET, family, &[2, 3, 4, 5])?);
        Ok(Some(hash.0.digest()))
    }

    fn chains(&mut self, family: Family) -> Result<Vec<Chain>, Errno> {
        // NFTA_CHAIN_NAME, HOOK, POLICY, TYPE.
        let mut chains = Vec::new();
        self.each(GET_CHAIN, family, |attributes| {
            let name = attribute(attributes, 3).map(text).unwrap_or(&[]).to_vec();
            chains.push(Chain { name, shown: only(attributes, &[3, 4, 5, 7]) });
        })?;
        Ok(chains)
    }

    fn shown(&mut self, kind: u16, family: Family, kinds: &[u16]) -> Result<Vec<Vec<u8>>, Errno> {
        let mut shown = Vec::new();
        self.each(kind, family, |attributes| shown.push(only(attributes, kinds)))?;
        Ok(shown)
    }

    /// Every object of this kind in our table of the family. All of them have their table's name in attribute 1.
    fn each(
        &mut self,
        kind: u16,
        family: Family,
        mut each: impl FnMut(&[u8]),
    ) -> Result<(), Errno> {
        let sequence = self.socket.next_sequence();
        let mut out = Messages::default();
        out.begin(kind, REQUEST | DUMP, sequence).body(&header(family.number()));
        let answer = self.socket.dump(&out, sequence, |_, payload| {
            let attributes = payload.get(4..).unwrap_or(&[]);
            let of_family = payload.first() == Some(&family.number());
            if of_family && attribute(attributes, 1).map(text) == Some(TABLE.as_bytes()) {
                each(attributes);
            }
        });
        match answer {
            Err(Errno::NOENT | Errno::OPNOTSUPP | Errno::AFNOSUPPORT) => Ok(()),
            answer => answer,
        }
    }

    fn seal(&mut self, family: Family, hash: u64) -> Result<(), Errno> {
        let mut out = Messages::default();
        let begin = self.socket.next_sequence();
        out.begin(0x10, REQUEST, begin).body(&[0, 0, 0, 10]);
        let last = self.socket.next_sequence();
        out.begin(NEW_CHAIN, REQUEST | ACK | CREATE, last)
            .body(&header(family.number()))
            .text(1, TABLE)
            .text(3, &seal_name(hash));
        let end = self.socket.next_sequence();
        out.begin(0x11, REQUEST, end).body(&[0, 0, 0, 10]);
        self.socket.transact(&out, last)
    }
}

fn seal_name(hash: u64) -> String {
    format!("{SEAL}{hash:016x}")
}

fn is_seal(name: &[u8]) -> bool {
    name.starts_with(SEAL.as_bytes())
}

/// These attributes with their values, in the kernel's order.
fn only(from: &[u8], kinds: &[u16]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, value) in attributes(from).filter(|(kind, _)| kinds.contains(kind)) {
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(value.len() as u32).to_ne_bytes());
        bytes.extend_from_slice(value);
    }
    bytes
}

/// Parts of a table in one digest: each with its length behind it, so that no two lists are the same bytes.
#[derive(Default)]
struct Parts(Fnv);

impl Parts {
    fn add(&mut self, bytes: &[u8]) {
        self.0.add(bytes);
        self.0.add(&(bytes.len() as u64).to_le_bytes());
    }

    fn add_all(&mut self, all: &[Vec<u8>]) {
        for bytes in all {
            self.add(bytes);
        }
    }
}

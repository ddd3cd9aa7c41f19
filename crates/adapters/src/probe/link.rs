//! Is an interface up, with a carrier? Asked of the kernel by netlink, since files under /sys may belong to another
//! network namespace. The kernel answers behind a lock that a driver can hold for long: so on a thread.

use crate::netlink::{ACK, Messages, REQUEST, Socket, attribute, text};
use crate::probe::result::CheckResult;
use rustix::io::Errno;
use std::cell::RefCell;

const GET_LINK: u16 = 18;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_CARRIER: u16 = 33;
/// net/if.h: the operator wants it up; what is below it is up.
const IFF_UP: u32 = 0x1;
const IFF_LOWER_UP: u32 = 0x1_0000;
const IFF_NOARP: u32 = 0x80;

thread_local! {
    /// One for each thread that looks, since the answer's buffer is large.
    static SOCKET: RefCell<Option<Socket>> = const { RefCell::new(None) };
}

/// An interface as the kernel has it.
pub(super) struct Link {
    pub(super) name: String,
    flags: u32,
    has_carrier: bool,
    has_address: bool,
}

impl Link {
    /// Its neighbours can be asked by their addresses.
    pub(super) fn has_neighbours(&self) -> bool {
        self.has_address && self.flags & IFF_NOARP == 0
    }
}

/// Is it up?
pub(crate) fn look(name: &str) -> CheckResult {
    match with_socket(|socket| by_name(socket, name)) {
        Ok(Some(link)) => judge(&link),
        Ok(None) | Err(Errno::NODEV) => {
            CheckResult::Failed(format!("there is no interface {name}"))
        }
        Err(error) => CheckResult::Unknown(format!("the kernel does not tell of {name}: {error}")),
    }
}

fn judge(link: &Link) -> CheckResult {
    let name = &link.name;
    if link.flags & IFF_UP == 0 {
        return CheckResult::Failed(format!("{name} is switched off"));
    }
    if !link.has_carrier || link.flags & IFF_LOWER_UP == 0 {
        return CheckResult::Failed(format!("{name} has no carrier"));
    }
    CheckResult::Passed
}

/// Does something with this thread's socket; after an error the next one is fresh.
pub(super) fn with_socket<T>(
    ask: impl FnOnce(&mut Socket) -> Result<T, Errno>,
) -> Result<T, Errno> {
    SOCKET.with_borrow_mut(|kept| {
        let mut socket = match kept.take() {
            Some(socket) => socket,
            None => Socket::route()?,
        };
        let answer = ask(&mut socket);
        if answer.is_ok() {
            *kept = Some(socket);
        }
        answer
    })
}

fn by_name(socket: &mut Socket, name: &str) -> Result<Option<Link>, Errno> {
    request(socket, 0, Some(name))
}

/// The interface of this number.
pub(super) fn by_index(socket: &mut Socket, index: u32) -> Result<Option<Link>, Errno> {
    request(socket, index, None)
}

fn request(socket: &mut Socket, index: u32, name: Option<&str>) -> Result<Option<Link>, Errno> {
    let sequence = socket.next_sequence();
    let mut out = Messages::default();
    let mut body = [0; 16];
    body[4..8].copy_from_slice(&index.to_ne_bytes());
    out.begin(GET_LINK, REQUEST | ACK, sequence).body(&body);
    if let Some(name) = name {
        out.text(IFLA_IFNAME, name);
    }
    let mut found = None;
    socket.dump(&out, sequence, |_, payload| found = found.take().or_else(|| link(payload)))?;
    Ok(found)
}

/// ifinfomsg: family, type, index, flags, change; then attributes.
fn link(payload: &[u8]) -> Option<Link> {
    let (head, rest) = payload.split_at_checked(16)?;
    let name = String::from_utf8_lossy(text(attribute(rest, IFLA_IFNAME)?)).into_owned();
    let has_address = attribute(rest, IFLA_ADDRESS).is_some_and(|a| a.len() == 6 && a != [0; 6]);
    Some(Link {
        name,
        flags: u32::from_ne_bytes([head[8], head[9], head[10], head[11]]),
        has_carrier: attribute(rest, IFLA_CARRIER) != Some(&[0]),
        has_address,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_that_is_not_there_is_named() {
        let why = "there is no interface no-such-link";
        assert_eq!(look("no-such-link"), CheckResult::Failed(why.to_owned()));
        assert_eq!(look("lo"), CheckResult::Passed);
    }

    #[test]
    fn flags_and_carrier_are_told_apart() {
        let link = |flags, has_carrier| Link {
            name: "host0".into(),
            flags,
            has_carrier,
            has_address: true,
        };
        assert_eq!(judge(&link(IFF_UP | IFF_LOWER_UP, true)), CheckResult::Passed);
        let off = CheckResult::Failed("host0 is switched off".into());
        assert_eq!(judge(&link(0, false)), off);
        let cut = CheckResult::Failed("host0 has no carrier".into());
        assert_eq!(judge(&link(IFF_UP, false)), cut);
        assert_eq!(judge(&link(IFF_UP, true)), cut);
    }
}

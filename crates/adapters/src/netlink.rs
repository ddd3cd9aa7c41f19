//! Netlink, as much as the gate, the address and the sockets need: build messages, send, await the kernel's answer.
//!
//! Everything is synchronous: the kernel works inside `send`, so its answers are queued when that returns. Waiting
//! is bounded all the same. Nothing here knows what the messages mean.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send,
    socket_with, sockopt,
};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// The longest wait for an answer that the kernel has in fact queued already.
const ANSWER_MAX: Duration = Duration::from_millis(200);
/// A dump's message is at most 32 KiB; see netlink(7).
const BUFFER: usize = 64 * 1024;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER: usize = 16;
const NESTED: u16 = 0x8000;

pub(crate) const REQUEST: u16 = 0x1;
pub(crate) const ACK: u16 = 0x4;
pub(crate) const DUMP: u16 = 0x300;
pub(crate) const REPLACE: u16 = 0x100;
pub(crate) const CREATE: u16 = 0x400;

/// One or more messages, ready to be sent in one call.
#[derive(Default)]
pub(crate) struct Messages {
    bytes: Vec<u8>,
    start: usize,
}

impl Messages {
    /// Opens a message; the one before is complete with it.
    pub(crate) fn begin(&mut self, kind: u16, flags: u16, sequence: u32) -> &mut Messages {
        self.start = self.bytes.len();
        self.bytes.extend_from_slice(&(HEADER as u32).to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self
    }

    /// The fixed part of the message.
    pub(crate) fn body(&mut self, body: &[u8]) -> &mut Messages {
        self.bytes.extend_from_slice(body);
        self.pad();
        self
    }

    /// One attribute.
    pub(crate) fn attribute(&mut self, kind: u16, value: &[u8]) -> &mut Messages {
        let length = (4 + value.len()) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.body(value)
    }

    /// One attribute that is a text with its end mark.
    pub(crate) fn text(&mut self, kind: u16, value: &str) -> &mut Messages {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    /// One attribute made of attributes.
    pub(crate) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Messages)) -> &mut Messages {
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&[0; 4]);
        fill(self);
        let length = (self.bytes.len() - at) as u16;
        self.bytes[at..at + 2].copy_from_slice(&length.to_ne_bytes());
        self.bytes[at + 2..at + 4].copy_from_slice(&(kind | NESTED).to_ne_bytes());
        self
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        let length = (self.bytes.len() - self.start) as u32;
        self.bytes[self.start..self.start + 4].copy_from_slice(&length.to_ne_bytes());
    }
}

/// One message as received.
pub(crate) struct Received<'a> {
    /// What it is.
    pub(crate) kind: u16,
    /// Which request it answers.
    pub(crate) sequence: u32,
    /// Fixed part and attributes.
    pub(crate) payload: &'a [u8],
}

/// The messages of one datagram. A damaged rest is left out.
pub(crate) fn messages(datagram: &[u8]) -> impl Iterator<Item = Received<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        let length = u32::from_ne_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        let message = rest.get(..length).filter(|m| m.len() >= HEADER)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some(Received {
            kind: u16::from_ne_bytes([message[4], message[5]]),
            sequence: u32::from_ne_bytes([message[8], message[9], message[10], message[11]]),
            payload: &message[HEADER..],
        })
    })
}

/// The attributes in these bytes, by kind and value; the kind without its flags.
pub(crate) fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = u16::from_ne_bytes([*rest.first()?, *rest.get(1)?]) as usize;
        let attribute = rest.get(..length).filter(|a| a.len() >= 4)?;
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
        Some((u16::from_ne_bytes([attribute[2], attribute[3]]) & 0x3fff, &attribute[4..]))
    })
}

/// The value of the first attribute of this kind.
pub(crate) fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find(|(k, _)| *k == kind).map(|(_, value)| value)
}

/// An attribute's text without its end mark.
pub(crate) fn text(value: &[u8]) -> &[u8] {
    value.split(|b| *b == 0).next().unwrap_or(&[])
}

/// A netlink socket of one protocol.
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Socket {
    /// Opens one for addresses and links; that protocol's number is 0.
    pub(crate) fn route() -> Result<Socket, Errno> {
        Socket::with(None, 0)
    }

    /// The same, for word of what changes: `groups` is the mask of the groups it listens to.
    pub(crate) fn route_word(groups: u32) -> Result<Socket, Errno> {
        Socket::with(None, groups)
    }

    /// Opens one; `groups` is the mask of the groups it listens to.
    pub(crate) fn open(protocol: Protocol, groups: u32) -> Result<Socket, Errno> {
        Socket::with(Some(protocol), groups)
    }

    fn with(protocol: Option<Protocol>, groups: u32) -> Result<Socket, Errno> {
        let fd =
            socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        bind(&fd, &SocketAddrNetlink::new(0, groups))?;
        if groups != 0 {
            // A burst of foreign changes must not be lost too easily; a loss is noticed in any case.
            sockopt::set_socket_recv_buffer_size(&fd, 1 << 20)?;
        }
        Ok(Socket { fd, sequence: 1, buffer: vec![0; BUFFER] })
    }

    /// A number for the next message, never used before on this socket.
    pub(crate) fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1).max(1);
        self.sequence
    }

    /// Waits for one datagram until the deadline; none if there is none.
    pub(crate) fn receive(&mut self, deadline: Instant) -> Result<Option<&[u8]>, Errno> {
        if !readable(self.fd.as_fd(), deadline)? {
            return Ok(None);
        }
        match recv(&self.fd, self.buffer.as_mut_slice(), RecvFlags::DONTWAIT) {
            Ok((length, _)) => Ok(Some(&self.buffer[..length])),
            Err(Errno::AGAIN) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sends messages that the kernel answers with an acknowledgement of the one numbered `last`; it acts on
    /// all or on none.
    /// The first error is returned. A message of this socket that was never answered is [`Errno::TIMEDOUT`].
    pub(crate) fn transact(&mut self, out: &Messages, last: u32) -> Result<(), Errno> {
        self.forget_old_answers();
        send(&self.fd, &out.bytes, SendFlags::empty())?;
        let deadline = Instant::now() + ANSWER_MAX;
        let mut failed = None;
        loop {
            // After an error nothing more may come: what was queued is enough.
            let until = if failed.is_some() { Instant::now() } else { deadline };
            let Some(datagram) = self.receive(until)? else {
                return Err(failed.unwrap_or(Errno::TIMEDOUT));
            };
            for message in messages(datagram).filter(|m| m.kind == NLMSG_ERROR) {
                match error_of(message.payload) {
                    Some(error) => failed = failed.or(Some(error)),
                    None if message.sequence == last => return failed.map_or(Ok(()), Err),
                    None => {}
                }
            }
        }
    }

    /// Sends one request and hands every part of its answer to `each`, as (kind, payload).
    pub(crate) fn dump(
        &mut self,
        out: &Messages,
        sequence: u32,
        mut each: impl FnMut(u16, &[u8]),
    ) -> Result<(), Errno> {
        self.forget_old_answers();
        send(&self.fd, &out.bytes, SendFlags::empty())?;
        let deadline = Instant::now() + ANSWER_MAX;
        loop {
            let datagram = self.receive(deadline)?.ok_or(Errno::TIMEDOUT)?;
            for message in messages(datagram).filter(|m| m.sequence == sequence) {
                match message.kind {
                    NLMSG_ERROR | NLMSG_DONE => {
                        return error_of(message.payload).map_or(Ok(()), Err);
                    }
                    kind => each(kind, message.payload),
                }
            }
        }
    }

    fn forget_old_answers(&mut self) {
        while recv(&self.fd, self.buffer.as_mut_slice(), RecvFlags::DONTWAIT).is_ok() {}
    }
}

fn error_of(payload: &[u8]) -> Option<Errno> {
    let code = payload.get(..4).map_or(0, |b| i32::from_ne_bytes([b[0], b[1], b[2], b[3]]));
    (code != 0).then(|| Errno::from_raw_os_error(-code))
}

/// Waits until there is something to read, or the deadline.
pub(crate) fn readable(fd: BorrowedFd<'_>, deadline: Instant) -> Result<bool, Errno> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], Some(&left)) {
            Ok(count) => return Ok(count > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_reads_back() {
        let mut out = Messages::default();
        out.begin(7, REQUEST, 3).body(&[1, 2, 3]).text(1, "abc").nest(2, |n| {
            n.attribute(5, &[9; 5]);
        });
        out.begin(8, REQUEST, 4);
        let got: Vec<_> = messages(&out.bytes).collect();
        assert_eq!((got[0].kind, got[0].sequence, got[1].kind, got.len()), (7, 3, 8, 2));
        let body = &got[0].payload[4..];
        assert_eq!(attribute(body, 1).map(text), Some(&b"abc"[..]));
        assert_eq!(attribute(attribute(body, 2).unwrap(), 5), Some(&[9u8; 5][..]));
    }

    #[test]
    fn damaged_bytes_end_the_reading() {
        assert_eq!(messages(&[200, 0, 0, 0, 1]).count(), 0);
        assert_eq!(messages(&[1, 0, 0, 0]).count(), 0);
        assert_eq!(attributes(&[2, 0, 0, 0]).count(), 0);
    }
}

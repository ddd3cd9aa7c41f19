//! The only file with `unsafe`: what the safe libraries do not offer. Nothing is kept, nothing decided.
#![expect(
    unsafe_code,
    reason = "sockaddr_ll, sched_setscheduler, AsyncFd and the watchdog's ioctls have no safe wrapper"
)]

use rustix::io::Errno;
use rustix::ioctl::{Getter, NoArg, Updater, ioctl, opcode};
use socket2::{SockAddr, SockAddrStorage};
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The address of every frame of this protocol (an ethertype) on one interface, for a packet socket (packet(7)).
pub(crate) fn link_address(interface_index: u32, ethertype: u16) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: sockaddr_ll is plain data that fits into sockaddr_storage, and the length given is its own.
    unsafe {
        let address: &mut libc::sockaddr_ll = storage.view_as();
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = ethertype.to_be();
        address.sll_ifindex = interface_index as i32;
        SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as libc::socklen_t)
    }
}

/// Puts the calling thread under SCHED_FIFO; children start ordinary.
pub(crate) fn schedule_fifo(priority: u8) -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: i32::from(priority) };
    // SAFETY: the call reads the one structure it is given, and 0 names the calling thread.
    let answer = unsafe {
        libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &parameter)
    };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A descriptor of which a task can wait until it is readable.
pub(crate) fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the AsyncFd owns the descriptor, so it stays open and the same as long as it is registered.
    let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    registered.map_err(io::Error::from)
}

/// What a watchdog's driver says of itself (linux/watchdog.h).
pub(crate) struct WatchdogInfo {
    /// What it can do.
    pub options: u32,
    /// Its name.
    pub identity: String,
}

/// `struct watchdog_info` of linux/watchdog.h.
#[repr(C)]
struct RawInfo {
    options: u32,
    firmware_version: u32,
    identity: [u8; 32],
}

/// WDIOC_GETSUPPORT.
pub(crate) fn watchdog_support(fd: &OwnedFd) -> Result<WatchdogInfo, Errno> {
    // SAFETY: the kernel fills in this structure, which is plain data, or answers ENOTTY.
    let info: RawInfo =
        unsafe { ioctl(fd, Getter::<{ opcode::read::<RawInfo>(b'W', 0) }, RawInfo>::new()) }?;
    let text: Vec<u8> = info.identity.into_iter().take_while(|byte| *byte != 0).collect();
    let identity = String::from_utf8_lossy(&text).into_owned();
    Ok(WatchdogInfo { options: info.options, identity })
}

/// WDIOC_KEEPALIVE.
pub(crate) fn watchdog_keep_alive(fd: &OwnedFd) -> Result<(), Errno> {
    // SAFETY: the call takes no argument, whatever its number says (watchdog-api.rst).
    unsafe { ioctl(fd, NoArg::<{ opcode::read::<i32>(b'W', 5) }>::new()) }
}

/// WDIOC_SETTIMEOUT, in seconds.
pub(crate) fn watchdog_set_timeout(fd: &OwnedFd, mut seconds: i32) -> Result<(), Errno> {
    const SET: u32 = opcode::read_write::<i32>(b'W', 6);
    // SAFETY: the kernel reads this number and writes the one it took.
    unsafe { ioctl(fd, Updater::<SET, i32>::new(&mut seconds)) }
}

/// WDIOC_GETTIMEOUT, in seconds.
pub(crate) fn watchdog_timeout(fd: &OwnedFd) -> Result<i32, Errno> {
    // SAFETY: the kernel writes one number.
    unsafe { ioctl(fd, Getter::<{ opcode::read::<i32>(b'W', 7) }, i32>::new()) }
}

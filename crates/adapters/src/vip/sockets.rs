//! Ends the VIPs' TCP connections from outside (sock_diag), so that clients see a reset at once and no wait of the
//! database is ended (D9).

use super::error::VipError;
use crate::diag::{Diag, States, Tcp};
use rustix::io::Errno;
use std::net::IpAddr;

/// New connections may arrive while the old ones are destroyed; each round takes what the one before left.
const ROUNDS: usize = 10;

pub(super) fn destroy(addresses: &[IpAddr]) -> Result<usize, VipError> {
    let doing = VipError::kernel("destroy sockets");
    let mut diag = Diag::open().map_err(&doing)?;
    let mut destroyed = 0;
    let mut left = 0;
    for _ in 0..ROUNDS {
        let of_a_vip = |tcp: &Tcp| addresses.contains(&tcp.local.ip());
        let found = diag.find(States::Connected, of_a_vip).map_err(&doing)?;
        left = found.len();
        if left == 0 {
            return Ok(destroyed);
        }
        for tcp in found {
            match diag.destroy(&tcp) {
                Ok(done) => destroyed += usize::from(done),
                Err(Errno::OPNOTSUPP) => return Err(VipError::NoDestroy),
                Err(error) => return Err(doing(error)),
            }
        }
    }
    Err(VipError::SocketsLeft(left))
}

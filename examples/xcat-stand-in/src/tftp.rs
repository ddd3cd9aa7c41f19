//! The TFTP server that nodes boot from. xcatd runs it itself, so it is a process of xcatd's unit and ends with it.

use crate::{Result, run};

const PROGRAM: &str = "/usr/sbin/in.tftpd";
/// Debian's own unit for the same program has the port if it runs.
const UNIT: &str = "tftpd-hpa.service";
const DIRECTORY: &str = "/tftpboot";

/// Starts it as the real one does: it detaches itself, and systemd ends it with the other processes of the unit.
pub fn start() -> Result<()> {
    // A unit that is not installed is not stopped either.
    let _ = run(&["systemctl", "stop", UNIT]);
    run(&[PROGRAM, "-l", "-s", DIRECTORY]).map(drop)
}

//! What systemd is told: ready, alive, status (sd_notify(3)). Never fails and never blocks: a supervisor that
//! does not listen must not hold up a renewal.

use regent_core::time::Span;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// The way to the service manager, if there is one.
pub struct Notify {
    to: Option<(UnixDatagram, SocketAddr)>,
    interval: Option<Span>,
}

impl Notify {
    /// As the environment says (`NOTIFY_SOCKET`, `WATCHDOG_USEC`); silent when nobody asked.
    pub fn from_environment() -> Notify {
        let path = std::env::var("NOTIFY_SOCKET").unwrap_or_default();
        let microseconds = std::env::var("WATCHDOG_USEC").ok();
        Notify::new(&path, microseconds.as_deref())
    }

    fn new(path: &str, microseconds: Option<&str>) -> Notify {
        let address = match path.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name),
            None => SocketAddr::from_pathname(path),
        };
        let to = address.ok().filter(|_| !path.is_empty()).and_then(|address| {
            let socket = UnixDatagram::unbound().ok()?;
            socket.set_nonblocking(true).ok()?;
            Some((socket, address))
        });
        let interval = microseconds.and_then(|n| n.parse().ok()).filter(|n| *n > 0);
        Notify { to, interval: interval.map(|n: u64| Span(n.saturating_mul(1000))) }
    }

    /// The service is up.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// The service is alive; to be told at least every half of [`Notify::watchdog_interval`].
    pub fn watchdog(&self) {
        self.tell("WATCHDOG=1");
    }

    /// One line for `systemctl status`.
    pub fn status(&self, line: &str) {
        self.tell(&format!("STATUS={}", line.replace('\n', " ")));
    }

    /// The service is on its way out.
    pub fn stopping(&self) {
        self.tell("STOPPING=1");
    }

    /// After this long without a sign of life the service is killed; none if nobody watches.
    pub fn watchdog_interval(&self) -> Option<Span> {
        self.interval
    }

    fn tell(&self, line: &str) {
        if let Some((socket, address)) = &self.to {
            // A full or absent socket is the manager's matter; its watchdog draws the conclusion.
            let _ = socket.send_to_addr(line.as_bytes(), address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_hears_each_line() {
        let path = std::env::temp_dir().join(format!("notify-{}", std::process::id()));
        let manager = UnixDatagram::bind(&path).unwrap();
        let notify = Notify::new(path.to_str().unwrap(), Some("3000000"));
        notify.ready();
        notify.status("two\nlines");
        notify.watchdog();
        let mut buffer = [0; 64];
        let mut next = || {
            let length = manager.recv(&mut buffer).unwrap();
            String::from_utf8_lossy(&buffer[..length]).into_owned()
        };
        assert_eq!([next(), next(), next()], ["READY=1", "STATUS=two lines", "WATCHDOG=1"]);
        assert_eq!(notify.watchdog_interval(), Some(Span::millis(3000)));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn nobody_to_tell_is_no_fault() {
        let notify = Notify::new("", None);
        notify.ready();
        assert_eq!(notify.watchdog_interval(), None);
        Notify::new("/nowhere/at/all", Some("0")).ready();
    }
}

//! Segments of network namespaces for tests: a bridge, and hosts on it. All are removed when the test ends.

#[path = "../tests/skipped/mod.rs"]
mod skipped;

pub(crate) use skipped::skipped;

use crate::vip::probe::who_has;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, Protocol, Socket, Type};
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The interface of every host.
pub(crate) const INTERFACE: &str = "eth0";

static COUNT: AtomicU32 = AtomicU32::new(0);

/// Hosts that share one Ethernet segment; host n has 10.99.0.n/24 and fd99::n/64 on [`INTERFACE`].
pub(crate) struct Segment {
    name: String,
    hosts: Vec<u8>,
}

/// A segment for this test; none, said loudly, where the machine does not allow it.
pub(crate) fn segment(hosts: &[u8]) -> Option<Segment> {
    if !rustix::process::geteuid().is_root() {
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        skipped(&format!("{test}: needs root, for network namespaces"));
        return None;
    }
    let name = format!("rgnet{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let segment = Segment { name, hosts: hosts.to_vec() };
    segment.build();
    Some(segment)
}

impl Segment {
    fn build(&self) {
        let bridge = self.namespace(0);
        command("ip", &["netns", "add", &bridge]);
        ip(&bridge, "link add br0 type bridge mcast_snooping 0");
        ip(&bridge, "link set br0 up");
        for host in &self.hosts {
            let (namespace, port) = (self.namespace(*host), format!("p{host}"));
            command("ip", &["netns", "add", &namespace]);
            ip(
                &bridge,
                &format!("link add {port} type veth peer name {INTERFACE} netns {namespace}"),
            );
            ip(&bridge, &format!("link set {port} master br0 up"));
            ip(&namespace, "link set lo up");
            ip(&namespace, &format!("addr add 10.99.0.{host}/24 dev {INTERFACE}"));
            ip(&namespace, &format!("addr add fd99::{host}/64 dev {INTERFACE} nodad"));
            ip(&namespace, &format!("link set {INTERFACE} up"));
        }
        // A port forwards only some time after its link came up, and what is lost before is asked again after a second.
        let reaches = |from: u8, to: u8| {
            let to = IpAddr::from([10, 99, 0, to]);
            self.on(from, || who_has(INTERFACE, to, Instant::now() + Duration::from_millis(50)))
        };
        for pair in self.hosts.windows(2) {
            until("the segment", Duration::from_secs(10), || {
                reaches(pair[0], pair[1]).is_some() && reaches(pair[1], pair[0]).is_some()
            });
        }
    }

    fn namespace(&self, host: u8) -> String {
        format!("{}-{host}", self.name)
    }

    /// Lays a cable between interfaces of this name on two hosts, both up. It goes when one of them does.
    pub(crate) fn cable(&self, name: &str, from: u8, to: u8) {
        let (from, to) = (self.namespace(from), self.namespace(to));
        ip(&from, &format!("link add {name} type veth peer name {name} netns {to}"));
        ip(&from, &format!("link set {name} up"));
        ip(&to, &format!("link set {name} up"));
    }

    /// Runs this on the host, in a thread of its own. Threads and processes that it starts stay there.
    pub(crate) fn on<R: Send>(&self, host: u8, run: impl FnOnce() -> R + Send) -> R {
        let namespace = File::open(format!("/run/netns/{}", self.namespace(host))).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(namespace.as_fd(), kind).unwrap();
                run()
            });
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Runs a command line on the host; it must succeed.
    pub(crate) fn sh(&self, host: u8, line: &str) -> String {
        let output = self.try_sh(host, line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs a command line on the host.
    pub(crate) fn try_sh(&self, host: u8, line: &str) -> Output {
        let namespace = self.namespace(host);
        let arguments = ["netns", "exec", &namespace, "sh", "-c", line];
        Command::new("ip").args(arguments).output().unwrap()
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        for host in self.hosts.iter().chain(&[0]) {
            // One that was not made cannot be removed, and a failing test shall show its own failure.
            let _ = Command::new("ip").args(["netns", "del", &self.namespace(*host)]).output();
        }
    }
}

fn ip(namespace: &str, line: &str) {
    let mut arguments = vec!["-n", namespace];
    arguments.extend(line.split(' '));
    command("ip", &arguments);
}

fn command(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {}: {said}", arguments.join(" "));
}

/// Waits until this holds; the text says what was waited for when it does not within `within`.
pub(crate) fn until(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !holds() {
        assert!(Instant::now() < deadline, "waited {within:?} in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Whether a process is gone, or dead and waiting for its new parent.
pub(crate) fn is_gone(pid: &str) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    status.is_err() || status.is_ok_and(|status| status.contains(") Z "))
}

/// A test that may disturb its host, or needs systemd on it, is left to the lab, which runs it inside a host.
pub(crate) fn needs_host(test: &str) {
    skipped(&format!("{test}: needs a host of its own: lab case units-in-host"));
}

/// What came of trying to connect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Knock {
    Open,
    Reset,
    Silent,
}

/// Tries to connect, for 300 ms.
pub(crate) fn knock(to: impl Into<SocketAddr>) -> Knock {
    match TcpStream::connect_timeout(&to.into(), Duration::from_millis(300)) {
        Ok(_) => Knock::Open,
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => Knock::Reset,
        Err(_) => Knock::Silent,
    }
}

/// Serves echoes on this port of every address, IPv4 and IPv6, until the process ends.
pub(crate) fn serve(port: u16) {
    let listener = TcpListener::bind(("::", port)).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            std::thread::spawn(move || {
                let mut buffer = [0; 64];
                while let Ok(length @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..length]).is_err() {
                        return;
                    }
                }
            });
        }
    });
}

/// One ICMP echo, answered by the address itself within 300 ms.
pub(crate) fn pings(to: IpAddr) -> bool {
    let (domain, protocol, request) = match to {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4, 8),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6, 128),
    };
    let mut socket = Socket::new(domain, Type::RAW, Some(protocol)).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    // Type, code, checksum (the kernel's for IPv6), identifier and sequence: 0.
    let sum = if to.is_ipv4() { 0xf7 } else { 0 };
    let sent = socket.send_to(&[request, 0, sum, 0xff, 0, 0, 0, 0], &SocketAddr::new(to, 0).into());
    if sent.is_err() {
        return false;
    }
    let deadline = Instant::now() + Duration::from_millis(300);
    let mut buffer = [0; 256];
    while Instant::now() < deadline {
        let Ok(length) = socket.read(&mut buffer) else { return false };
        let answered = match to {
            IpAddr::V4(v4) => length >= 21 && buffer[20] == 0 && buffer[12..16] == v4.octets(),
            IpAddr::V6(_) => buffer[0] == 129,
        };
        if answered {
            return true;
        }
    }
    false
}

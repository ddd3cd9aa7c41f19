//! Real keepalived in network namespaces: what it does, and what befalls the addresses when it does not.

use super::*;
use crate::gate::{self, Gate};
use crate::sys::link_address;
use crate::testing::{INTERFACE, Segment, segment, skipped, until};
use crate::vip::Vip;
use regent_core::command::Slot;
use socket2::{Domain, Protocol, Socket, Type};
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

const A: u8 = 1;
const B: u8 = 2;
const FOREIGN: u8 = 3;
const VIP: &str = "10.99.0.100";
const LIFETIME: Span = Span::millis(60_000);

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A keepalived on one host of the segment, in the place of systemd's.
struct Daemon {
    child: Child,
    run: PathBuf,
}

impl Daemon {
    fn start(segment: &Segment, host: u8, files: &Files) -> Daemon {
        for file in ["main.pid", "vrrp.pid"] {
            // The first time there is none.
            let _ = std::fs::remove_file(files.run.join(file));
        }
        let log = std::fs::File::create(files.run.join("log")).unwrap();
        let child = segment.on(host, || {
            Command::new(super::daemon::program().unwrap())
                .args(["--dont-fork", "--vrrp", "--dont-release-vrrp", "-l", "-D"])
                .arg("-f")
                .arg(&files.config)
                .arg("-p")
                .arg(files.run.join("main.pid"))
                .arg("-r")
                .arg(files.run.join("vrrp.pid"))
                .stdout(Stdio::from(log.try_clone().unwrap()))
                .stderr(Stdio::from(log))
                .spawn()
                .unwrap()
        });
        Daemon { child, run: files.run.clone() }
    }

    fn signal(&self, signal: &str) {
        // The main one first: it would start the other anew.
        for file in ["main.pid", "vrrp.pid"] {
            let Ok(pid) = std::fs::read_to_string(self.run.join(file)) else { continue };
            // It may have ended already, which is as well.
            let _ = Command::new("kill").args([signal, pid.trim()]).stderr(Stdio::null()).status();
        }
    }

    /// As systemd does when it ends a unit's whole cgroup.
    fn kill(&mut self) {
        self.signal("-KILL");
        self.child.wait().unwrap();
        until("its end", Duration::from_secs(5), || {
            super::daemon::state(&self.run) == super::Daemon::Gone
        });
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.signal("-KILL");
        // It may have been waited for.
        let _ = self.child.wait();
    }
}

/// One host with its gate, driver and keepalived.
struct Node<'s> {
    segment: &'s Segment,
    host: u8,
    files: Files,
    vrrp: Vrrp,
    news: Arc<Mutex<Vec<News>>>,
    driver: Option<Keepalived>,
    daemon: Option<Daemon>,
}

impl<'s> Node<'s> {
    fn new(segment: &'s Segment, host: u8, addresses: &[(&str, u8)]) -> Node<'s> {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("regent-keepalived-{}-{number}", std::process::id());
        let run = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&run).unwrap();
        let files = Files { config: run.join("keepalived.conf"), run, unit: None };
        let own = |host: u8| IpAddr::from([10, 99, 0, host]);
        let vrrp = Vrrp {
            interface: INTERFACE.into(),
            addresses: addresses.iter().map(|(a, p)| (a.parse().unwrap(), *p)).collect(),
            router_id: 77,
            advert_interval: Span::millis(10),
            own: own(host),
            peers: [A, B].into_iter().filter(|peer| *peer != host).map(own).collect(),
        };
        let vips: Vec<_> = vrrp.addresses.iter().map(|(address, _)| *address).collect();
        segment.on(host, || gate::load(&vips, INTERFACE).unwrap());
        let mut node =
            Node { segment, host, files, vrrp, news: Arc::default(), driver: None, daemon: None };
        node.start_driver();
        let config = node.files.config.clone();
        until("the file", Duration::from_secs(10), || config.exists());
        node.start_daemon();
        until("keepalived", Duration::from_secs(10), || node.driver().is_well().is_ok());
        node
    }

    fn start_driver(&mut self) {
        let vip = |(address, prefix): &(IpAddr, u8)| Vip::new(*address, *prefix, INTERFACE);
        let vips = Vips::new(self.vrrp.addresses.iter().map(vip).collect());
        let news = Arc::clone(&self.news);
        let (vrrp, files) = (self.vrrp.clone(), self.files.clone());
        self.driver = Some(self.segment.on(self.host, move || {
            Keepalived::start(vrrp, vips, files, move |one| news.lock().unwrap().push(one))
        }));
    }

    fn start_daemon(&mut self) {
        self.daemon = Some(Daemon::start(self.segment, self.host, &self.files));
    }

    fn driver(&self) -> &Keepalived {
        self.driver.as_ref().unwrap()
    }

    fn daemon(&mut self) -> &mut Daemon {
        self.daemon.as_mut().unwrap()
    }

    fn add(&self) -> (Applied, Duration) {
        let started = Instant::now();
        let applied = self.segment.on(self.host, || self.driver().add(LIFETIME).unwrap());
        (applied, started.elapsed())
    }

    fn remove(&self) -> (Applied, Duration) {
        let started = Instant::now();
        let applied = self.segment.on(self.host, || self.driver().remove().unwrap());
        (applied, started.elapsed())
    }

    fn stands(&self) -> bool {
        self.segment.on(self.host, || self.driver().vips().present().unwrap())
    }

    fn any_stands(&self) -> bool {
        self.segment.on(self.host, || self.driver().shared.any_stands().unwrap())
    }

    fn codes(&self) -> Vec<&'static str> {
        self.news.lock().unwrap().iter().map(|news| news.code).collect()
    }

    fn news(&self, code: &str) -> Option<String> {
        let news = self.news.lock().unwrap();
        news.iter().find(|news| news.code == code).map(|news| news.text.clone())
    }

    fn expect_well(&self) {
        until("keepalived well", Duration::from_secs(10), || self.driver().is_well().is_ok());
    }

    /// The longest time without the addresses while `run` runs and a second after.
    fn longest_gap(&mut self, run: impl FnOnce(&mut Node<'s>)) -> Duration {
        let (segment, host, driver) = (self.segment, self.host, self.driver().clone());
        let ends = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let ended = Arc::clone(&ends);
        let sampler = std::thread::spawn({
            let namespace =
                segment.on(host, || std::fs::File::open("/proc/thread-self/ns/net").unwrap());
            move || {
                use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
                use std::os::fd::AsFd;
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(namespace.as_fd(), kind).unwrap();
                let (mut last, mut worst) = (Instant::now(), Duration::ZERO);
                while !ended.load(Ordering::Relaxed) {
                    if driver.vips().present().unwrap() {
                        last = Instant::now();
                    }
                    worst = worst.max(last.elapsed());
                    std::thread::sleep(Duration::from_micros(500));
                }
                worst
            }
        });
        run(self);
        std::thread::sleep(Duration::from_secs(1));
        ends.store(true, Ordering::Relaxed);
        sampler.join().unwrap()
    }
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        self.daemon = None;
        self.driver = None;
        if !std::thread::panicking() {
            std::fs::remove_dir_all(&self.files.run).unwrap();
        }
    }
}

/// A segment, where this machine has what it takes.
fn hosts(hosts: &[u8]) -> Option<Segment> {
    if super::check().is_err() {
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        skipped(&format!("{test}: keepalived is not installed (apt-get install keepalived)"));
        return None;
    }
    segment(hosts)
}

#[test]
fn keepalived_puts_the_address_on_and_takes_it_off() {
    let Some(segment) = hosts(&[A]) else { return };
    let node = Node::new(&segment, A, &[(VIP, 32)]);
    assert_eq!(node.add().0, Applied::Changed);
    let shown = segment.sh(A, "ip -o addr show dev eth0");
    assert!(shown.contains("inet 10.99.0.100/32"), "{shown}");
    assert!(shown.contains("eth0:vip"), "by keepalived, with its label: {shown}");
    let line = shown.lines().find(|line| line.contains(VIP)).unwrap();
    assert!(!line.contains("valid_lft forever"), "with the lifetime: {line}");
    assert_eq!(node.add().0, Applied::AlreadySo);
    assert_eq!(node.remove().0, Applied::Changed);
    assert!(!node.any_stands());
    assert_eq!(node.remove().0, Applied::AlreadySo);
    assert_eq!(node.codes(), Vec::<&str>::new());
}

#[test]
fn several_addresses_of_both_families_come_and_go_together() {
    let Some(segment) = hosts(&[A]) else { return };
    let addresses = [(VIP, 32), ("fd99::100", 128), ("10.99.0.101", 32), ("192.0.2.7", 28)];
    let node = Node::new(&segment, A, &addresses);
    node.add();
    assert!(node.stands());
    let shown = segment.sh(A, "ip -o addr show dev eth0");
    for part in ["10.99.0.100/32", "fd99::100/128", "10.99.0.101/32", "192.0.2.7/28", "eth0:vip3"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let v6 = shown.lines().find(|line| line.contains("fd99::100")).unwrap();
    assert!(v6.contains("preferred_lft 0sec"), "out of the choice of sources: {v6}");
    node.remove();
    assert!(!node.any_stands());
    assert_eq!(node.codes(), Vec::<&str>::new());
}

#[test]
fn nobody_is_elected_against_the_lease() {
    let Some(segment) = hosts(&[A, B]) else { return };
    let (a, b) = (Node::new(&segment, A, &[(VIP, 32)]), Node::new(&segment, B, &[(VIP, 32)]));
    std::thread::sleep(Duration::from_millis(500));
    assert!(!a.any_stands() && !b.any_stands(), "nobody was told to");
    a.add();
    b.add();
    // Each does what it is told; the gate decides who answers.
    until("both addresses", Duration::from_secs(5), || a.stands() && b.stands());
    a.remove();
    std::thread::sleep(Duration::from_millis(500));
    assert!(!a.any_stands() && b.stands(), "nor does it come back by itself");
    assert_eq!((a.codes(), b.codes()), (vec![], vec![]));
}

#[test]
fn killed_and_started_again_the_address_is_put_back_at_once() {
    let Some(segment) = hosts(&[A]) else { return };
    let mut node = Node::new(&segment, A, &[(VIP, 32)]);
    node.add();
    let gap = node.longest_gap(|node| {
        node.daemon().kill();
        until("word of it", Duration::from_secs(5), || node.news("keepalived.unwell").is_some());
        node.start_daemon();
        node.expect_well();
    });
    println!("longest gap over a kill and a start: {} ms", gap.as_millis());
    assert!(gap < Duration::from_millis(100), "{gap:?}");
    assert!(node.news("keepalived.unwell").unwrap().contains("does not run"));
    until("word of it", Duration::from_secs(5), || node.codes().contains(&"keepalived.well"));
    // And it is keepalived again that takes it off.
    node.remove();
    assert!(!node.any_stands());
    assert!(!node.codes().contains(&"keepalived.slow"), "{:?}", node.codes());
}

#[test]
fn dead_it_costs_a_move_nothing() {
    let Some(segment) = hosts(&[A]) else { return };
    let mut node = Node::new(&segment, A, &[(VIP, 32)]);
    node.daemon().kill();
    let (applied, took) = node.add();
    assert_eq!(applied, Applied::Changed);
    assert!(node.stands() && took < Duration::from_millis(100), "{took:?}");
    let shown = segment.sh(A, "ip -o addr show dev eth0");
    assert!(shown.contains("10.99.0.100/32") && shown.contains("eth0:vip"), "alike: {shown}");
    assert!(shown.lines().any(|l| l.contains(VIP) && !l.contains("forever")), "{shown}");
    let (applied, took) = node.remove();
    assert_eq!(applied, Applied::Changed);
    assert!(!node.any_stands() && took < Duration::from_millis(100), "{took:?}");
}

#[test]
fn it_follows_nothing_any_more_and_a_move_waits_for_it_once() {
    let Some(segment) = hosts(&[A]) else { return };
    let node = Node::new(&segment, A, &[(VIP, 32)]);
    let rendered = std::fs::read_to_string(&node.files.config).unwrap();
    std::fs::write(&node.files.config, rendered.replace("serve\"", "served\"")).unwrap();
    assert!(super::daemon::reload(&node.files.run));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(node.driver().is_well(), Ok(()), "it is not seen before it is told something");
    let (_, took) = node.add();
    assert!(node.stands());
    assert!(took >= PATIENCE && took < PATIENCE + Duration::from_millis(100), "{took:?}");
    assert!(node.news("keepalived.slow").is_some());
    let (_, took) = node.remove();
    assert!(!node.any_stands() && took < Duration::from_millis(100), "{took:?}");
}

#[test]
fn a_reload_moves_nothing() {
    let Some(segment) = hosts(&[A]) else { return };
    let mut node = Node::new(&segment, A, &[(VIP, 32)]);
    node.add();
    let gap = node.longest_gap(|node| {
        for _ in 0..5 {
            assert!(super::daemon::reload(&node.files.run));
            std::thread::sleep(Duration::from_millis(300));
        }
    });
    assert!(gap < Duration::from_millis(50), "{gap:?}");
    node.remove();
    assert!(!node.any_stands());
}

#[test]
fn hung_it_is_done_without_in_150_ms_and_does_no_harm_when_it_goes_on() {
    let Some(segment) = hosts(&[A]) else { return };
    let mut node = Node::new(&segment, A, &[(VIP, 32)]);
    node.daemon().signal("-STOP");
    let (_, took) = node.add();
    assert!(node.stands());
    println!("added without a hung keepalived after {} ms", took.as_millis());
    assert!(took < PATIENCE + Duration::from_millis(100), "{took:?}");
    let (_, took) = node.remove();
    assert!(!node.any_stands() && took < PATIENCE + Duration::from_millis(100), "{took:?}");
    until("word of it", Duration::from_secs(5), || node.news("keepalived.unwell").is_some());
    node.daemon().signal("-CONT");
    let deadline = Instant::now() + Duration::from_secs(2);
    let mut on = Duration::ZERO;
    let mut seen = Instant::now();
    while Instant::now() < deadline {
        if node.any_stands() {
            on += seen.elapsed();
        }
        seen = Instant::now();
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(on < Duration::from_millis(100), "it was on for {on:?}, unasked");
    node.expect_well();
    // The other way round: it is hung while it has the address.
    node.add();
    node.daemon().signal("-STOP");
    let (_, took) = node.remove();
    assert!(!node.any_stands() && took < PATIENCE + Duration::from_millis(100), "{took:?}");
    node.daemon().signal("-CONT");
    until("quiet", Duration::from_secs(3), || !node.any_stands());
    node.expect_well();
}

#[test]
fn a_foreign_router_with_our_id_moves_nothing_and_is_named() {
    let Some(segment) = hosts(&[A, FOREIGN]) else { return };
    for unicast in [false, true] {
        let mut node = Node::new(&segment, A, &[(VIP, 32)]);
        node.add();
        let run = node.files.run.join("foreign");
        std::fs::create_dir_all(&run).unwrap();
        let peers =
            if unicast { "unicast_src_ip 10.99.0.3\nunicast_peer {\n10.99.0.1\n}\n" } else { "" };
        let text = format!(
            "global_defs {{\nvrrp_version 3\n}}\nvrrp_instance x {{\nstate MASTER\ninterface eth0\n\
             virtual_router_id 77\npriority 255\nadvert_int 0.01\n{peers}\
             virtual_ipaddress {{\n{VIP}/24\n}}\n}}\n"
        );
        let files = Files { config: run.join("keepalived.conf"), run, unit: None };
        std::fs::write(&files.config, text).unwrap();
        let mut foreign = None;
        let gap = node.longest_gap(|node| {
            foreign = Some(Daemon::start(&segment, FOREIGN, &files));
            let named = || node.news("keepalived.foreign-router").is_some();
            until("the alarm", Duration::from_secs(10), named);
        });
        assert!(gap < Duration::from_millis(50), "unicast {unicast}: {gap:?}");
        let text = node.news("keepalived.foreign-router").unwrap();
        assert!(text.contains("10.99.0.3 (") && text.contains("priority 255"), "{text}");
        let counts = segment.on(A, || node.driver().counts()).unwrap();
        assert!(counts.stopped > 0 && counts.sent > 0, "{counts:?}");
        assert_eq!(node.driver().is_well(), Ok(()));
        assert_eq!(node.codes(), ["keepalived.foreign-router"], "said once");
        node.remove();
        assert!(!node.any_stands());
        drop(foreign);
    }
}

#[test]
fn without_its_filter_a_foreign_router_takes_nothing_for_long() {
    let Some(segment) = hosts(&[A]) else { return };
    let node = Node::new(&segment, A, &[(VIP, 32)]);
    node.add();
    segment.sh(A, "nft delete table inet regent-vrrp");
    until("the filter", Duration::from_secs(5), || {
        segment.on(A, || node.driver().counts()).is_some()
    });
    assert!(node.stands());
}

#[test]
fn an_edited_file_is_told_and_served_in_spite_of_and_repaired_on_request() {
    let Some(segment) = hosts(&[A]) else { return };
    let mut node = Node::new(&segment, A, &[(VIP, 32)]);
    node.add();
    let config = node.files.config.clone();
    let rendered = std::fs::read_to_string(&config).unwrap();
    // Somebody gives keepalived another address and another file to follow.
    let edited =
        rendered.replace("10.99.0.100/32", "10.99.0.200/32").replace("serve\"", "served\"");
    std::fs::write(&config, &edited).unwrap();
    let gap = node.longest_gap(|node| assert!(super::daemon::reload(&node.files.run)));
    assert!(gap < Duration::from_millis(100), "{gap:?}");
    let told = || node.news("keepalived.drift").is_some();
    until("word of it", Duration::from_secs(15), told);
    assert!(node.news("keepalived.drift").unwrap().contains("regent keepalived repair"));
    until("unwell", Duration::from_secs(10), || node.driver().is_well().is_err());
    let shown = segment.on(A, || super::show(&node.vrrp, &node.files)).unwrap();
    assert_eq!(shown.whose, Some(Whose::Edited));
    let drift = shown.drift.unwrap();
    assert!(
        drift.iter().any(|line| line.contains("+") && line.contains("10.99.0.200")),
        "{drift:?}"
    );
    // A move works as ever.
    node.remove();
    assert!(!node.any_stands());
    node.add();
    assert!(node.stands());
    let laid = segment.on(A, || super::repair(&node.vrrp, &node.files)).unwrap();
    let Laid::Saved(aside) = laid else { panic!("{laid:?}") };
    assert_eq!(std::fs::read_to_string(aside).unwrap(), edited);
    assert_eq!(std::fs::read_to_string(&config).unwrap(), rendered);
    node.expect_well();
    assert!(node.stands());
}

#[test]
fn without_an_agent_keepalived_gives_the_address_up() {
    let Some(segment) = hosts(&[A]) else { return };
    let mut node = Node::new(&segment, A, &[(VIP, 32)]);
    node.add();
    // An agent that comes back within a second finds everything as it was.
    node.driver = None;
    std::thread::sleep(Duration::from_millis(500));
    node.start_driver();
    assert!(node.stands());
    node.add();
    node.driver = None;
    let started = Instant::now();
    until("it to give up", Duration::from_secs(8), || {
        !segment.sh(A, "ip -o addr show dev eth0").contains(VIP)
    });
    let took = started.elapsed();
    println!("given up {} ms after its agent ended", took.as_millis());
    assert!(took > Duration::from_secs(1), "{took:?}");
    node.start_driver();
}

/// Frames on the segment that say where the VIP is.
fn announcements(segment: &Segment, host: u8, within: Duration) -> Vec<Instant> {
    segment.on(host, || {
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(0))).unwrap();
        let index = vip::interface_index(INTERFACE).unwrap();
        socket.bind(&link_address(index, 0x0806)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let (started, mut seen, mut buffer) = (Instant::now(), Vec::new(), [0; 128]);
        while started.elapsed() < within {
            // Nothing for 20 ms is not an end.
            let length = (&socket).read(&mut buffer).unwrap_or(0);
            if length >= 32 && buffer[28..32] == [10, 99, 0, 100] {
                seen.push(Instant::now());
            }
        }
        seen
    })
}

#[test]
fn behind_a_closed_gate_no_announcement_of_keepalived_leaves() {
    let Some(segment) = hosts(&[A, B]) else { return };
    let vip: IpAddr = VIP.parse().unwrap();
    let mut gate = segment.on(A, || Gate::open(&[vip], INTERFACE).unwrap());
    if !gate.egress() {
        skipped("this kernel has no egress hook");
        return;
    }
    let node = Node::new(&segment, A, &[(VIP, 32)]);
    std::thread::scope(|scope| {
        let heard = scope.spawn(|| announcements(&segment, B, Duration::from_secs(7)));
        std::thread::sleep(Duration::from_millis(200));
        node.add();
        assert!(node.stands());
        assert_eq!(heard.join().unwrap().len(), 0, "closed");
    });
    // Told to again behind an open gate, keepalived's own announcement is the first.
    node.remove();
    gate.arm(Slot::Zero, Span::millis(20_000)).unwrap();
    gate.enable(Slot::Zero).unwrap();
    std::thread::scope(|scope| {
        let heard = scope.spawn(|| announcements(&segment, B, Duration::from_secs(7)));
        std::thread::sleep(Duration::from_millis(200));
        node.add();
        let heard = heard.join().unwrap().len();
        assert!(heard >= 2, "at once, and five seconds later: {heard}");
    });
}

/// The figures of docs/operating/keepalived.md.
#[test]
#[ignore = "a measurement: cargo test -p regent-adapters keepalived_in_time -- --ignored --nocapture"]
fn keepalived_in_time() {
    let Some(segment) = hosts(&[A, B]) else { return };
    let vip: IpAddr = VIP.parse().unwrap();
    let mut gate = segment.on(A, || Gate::open(&[vip], INTERFACE).unwrap());
    let node = Node::new(&segment, A, &[(VIP, 32)]);
    gate.arm(Slot::Zero, Span::millis(600_000)).unwrap();
    gate.enable(Slot::Zero).unwrap();
    let (mut on, mut off, mut wire) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..20 {
        std::thread::scope(|scope| {
            let heard = scope.spawn(|| announcements(&segment, B, Duration::from_millis(600)));
            std::thread::sleep(Duration::from_millis(100));
            let started = Instant::now();
            on.push(node.add().1);
            let first = heard.join().unwrap().first().copied();
            wire.push(first.map_or(Duration::MAX, |at| at.duration_since(started)));
        });
        off.push(node.remove().1);
        std::thread::sleep(Duration::from_millis(100));
    }
    for (what, mut times) in [("on", on), ("off", off), ("first announcement on the wire", wire)] {
        times.sort();
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        println!("{what}: median {:.1} ms, worst of 20 {:.1} ms", ms(times[10]), ms(times[19]));
    }
    assert_eq!(node.codes(), Vec::<&str>::new());
}

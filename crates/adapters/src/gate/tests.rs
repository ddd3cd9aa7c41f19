//! The gate in a kernel: every claim is tried from another host of the segment, by ARP, ICMP and TCP.

use super::*;
use crate::Applied;
use crate::testing::{INTERFACE, Knock, Segment, knock, pings, segment, serve, skipped, until};
use crate::vip::stranger::{self, Known, Stranger};
use crate::vip::{Mac, Vip, Vips, link, probe::who_has};
use rustix::io::Errno;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

mod surroundings;

const HERE: u8 = 1;
const PEER: u8 = 2;
const THIRD: u8 = 3;
const PORT: u16 = 8080;
const LONG: Span = Span::millis(60_000);

fn vip4() -> IpAddr {
    "10.99.0.100".parse().unwrap()
}

fn vip6() -> IpAddr {
    "fd99::100".parse().unwrap()
}

fn one(vip: IpAddr, interface: &str) -> Vips {
    Vips::new(vec![Vip::new(vip, 24, interface)])
}

fn several(vips: &[IpAddr], interface: &str) -> Vips {
    Vips::new(vips.iter().map(|vip| Vip::new(*vip, 24, interface)).collect())
}

/// The VIP on [`HERE`], with a server behind it, and a gate as it is loaded.
fn host(segment: &Segment, vip: IpAddr) -> Gate {
    hosts(segment, &[vip])
}

fn hosts(segment: &Segment, vips: &[IpAddr]) -> Gate {
    segment.on(HERE, || {
        let gate = Gate::open(vips, INTERFACE).unwrap();
        if knock(([127, 0, 0, 1], PORT)) != Knock::Open {
            serve(PORT);
        }
        assert_eq!(several(vips, INTERFACE).add(LONG).unwrap(), Applied::Changed);
        gate
    })
}

/// What another host sees of the VIP: whether the segment tells where it is, and, to one who knows, whether it answers.
#[derive(PartialEq, Eq, Debug)]
struct Seen {
    found: bool,
    pings: bool,
    tcp: Knock,
}

const SILENT: Seen = Seen { found: false, pings: false, tcp: Knock::Silent };
const OPEN: Seen = Seen { found: true, pings: true, tcp: Knock::Open };

fn seen(segment: &Segment, from: u8, vip: IpAddr) -> Seen {
    segment.sh(from, "ip neigh flush all");
    let found = segment.on(from, || finds(vip).is_some());
    knows(segment, from, vip);
    segment.on(from, || Seen { found, pings: pings(vip), tcp: knock((vip, PORT)) })
}

/// This host knows that the VIP is at [`HERE`], as one does that has just spoken to it.
fn knows(segment: &Segment, host: u8, vip: IpAddr) {
    let mac = segment.on(HERE, || link::mac(INTERFACE).unwrap());
    let entry = format!("ip neigh replace {vip} lladdr {mac} dev {INTERFACE} nud permanent");
    segment.sh(host, &entry);
}

fn finds(address: IpAddr) -> Option<Mac> {
    who_has(INTERFACE, address, Instant::now() + Duration::from_millis(250))
}

fn passes_only_with_ticket_and_held(vip: IpAddr, own: &str) {
    let Some(segment) = segment(&[HERE, PEER]) else { return };
    let mut gate = host(&segment, vip);
    assert_eq!(seen(&segment, PEER, vip), SILENT, "closed when loaded");
    assert_eq!(seen(&segment, PEER, own.parse().unwrap()), OPEN, "own address untouched");

    gate.arm(Slot::Zero, LONG).unwrap();
    assert_eq!(seen(&segment, PEER, vip), SILENT, "ticket alone");
    gate.enable(Slot::One).unwrap();
    assert_eq!(seen(&segment, PEER, vip), SILENT, "ticket and held of different slots");
    gate.enable(Slot::Zero).unwrap();
    assert_eq!(seen(&segment, PEER, vip), OPEN);
    gate.close().unwrap();
    assert_eq!(seen(&segment, PEER, vip), SILENT, "closed");
    gate.enable(Slot::Zero).unwrap();
    assert_eq!(seen(&segment, PEER, vip), SILENT, "held alone");
    gate.arm(Slot::One, LONG).unwrap();
    gate.enable(Slot::One).unwrap();
    assert_eq!(seen(&segment, PEER, vip), OPEN, "the other slot");
}

#[test]
fn ipv4_passes_only_with_ticket_and_held_of_one_slot() {
    passes_only_with_ticket_and_held(vip4(), "10.99.0.1");
}

#[test]
fn ipv6_passes_only_with_ticket_and_held_of_one_slot() {
    passes_only_with_ticket_and_held(vip6(), "fd99::1");
}

#[test]
fn several_vips_pass_only_together() {
    let Some(segment) = segment(&[HERE, PEER]) else { return };
    let vips = ["10.99.0.100", "10.99.0.101", "fd99::100", "fd99::101"];
    let vips = vips.map(|vip| vip.parse::<IpAddr>().unwrap());
    let mut gate = hosts(&segment, &vips);
    let are = |what: Seen, why: &str| {
        for vip in vips {
            assert_eq!(seen(&segment, PEER, vip), what, "{vip} {why}");
        }
    };
    are(SILENT, "closed when loaded");
    gate.arm(Slot::Zero, LONG).unwrap();
    gate.enable(Slot::One).unwrap();
    are(SILENT, "ticket and held of different slots");
    gate.enable(Slot::Zero).unwrap();
    are(OPEN, "open");
    let mut reader = segment.on(HERE, || Reader::new(&vips).unwrap());
    assert!(reader.is_open());
    let slots = gate.slots().unwrap();
    assert!(slots[0].is_some_and(|left| left > Span::millis(30_000)), "{slots:?}");
    gate.refuse().unwrap();
    assert!(!reader.is_open());
    for vip in vips {
        let refused = seen(&segment, PEER, vip);
        assert_eq!((refused.tcp, refused.pings), (Knock::Reset, false), "{vip}");
    }
    gate.close().unwrap();
    are(SILENT, "closed");

    gate.arm(Slot::One, Span::millis(400)).unwrap();
    let armed = Instant::now();
    gate.enable(Slot::One).unwrap();
    segment.on(PEER, || assert!(vips.into_iter().all(pings), "open for a moment"));
    assert!(armed.elapsed() < Duration::from_millis(350), "{:?}", armed.elapsed());
    until("the ticket's end", Duration::from_secs(2), || !reader.is_open());
    are(SILENT, "the ticket of all has ended");

    // Somebody takes one of them out: it is closed for itself, and no announcement is made.
    gate.arm(Slot::One, LONG).unwrap();
    gate.enable(Slot::One).unwrap();
    segment.sh(HERE, "nft delete element inet regent six_held1 { fd99::101 }");
    assert_eq!(
        vips.map(|vip| seen(&segment, PEER, vip).tcp == Knock::Open),
        [true, true, true, false]
    );
    assert!(!reader.is_open());
}

/// `regent gate load` with another configuration: one VIP more, one less, another kind.
#[test]
fn a_change_of_configuration_opens_nothing() {
    let Some(segment) = segment(&[HERE, PEER]) else { return };
    let (four, other, six) = (vip4(), "10.99.0.101".parse().unwrap(), vip6());
    let steps: [&[IpAddr]; 6] =
        [&[four, six], &[four, other, six], &[other, four], &[six], &[six, four], &[four]];
    let gate = host(&segment, four);
    drop(gate);
    for vips in steps {
        let mut gate = segment.on(HERE, || {
            assert_eq!(load(vips, INTERFACE).unwrap(), Loaded::Replaced, "{vips:?}");
            assert_eq!(load(vips, INTERFACE).unwrap(), Loaded::Kept, "{vips:?}");
            let backwards: Vec<IpAddr> = vips.iter().rev().copied().collect();
            assert_eq!(load(&backwards, INTERFACE).unwrap(), Loaded::Kept, "{vips:?}");
            for left in [four, other, six].iter().filter(|vip| !vips.contains(vip)) {
                assert!(!one(*left, INTERFACE).present().unwrap(), "{left} is not guarded");
            }
            several(vips, INTERFACE).add(LONG).unwrap();
            Gate::open(vips, INTERFACE).unwrap()
        });
        for vip in vips {
            assert_eq!(seen(&segment, PEER, *vip), SILENT, "{vip} of {vips:?}");
        }
        gate.arm(Slot::Zero, LONG).unwrap();
        gate.enable(Slot::Zero).unwrap();
        for vip in vips {
            assert_eq!(seen(&segment, PEER, *vip), OPEN, "{vip} of {vips:?}");
        }
    }
    let error = load(&[], INTERFACE).unwrap_err();
    assert!(matches!(error, GateError::NoVip), "{error}");
}

/// Between two tables there is no moment without one.
#[test]
fn while_tables_are_replaced_nothing_passes() {
    let Some(segment) = segment(&[HERE, PEER]) else { return };
    let (four, other, six) = (vip4(), "10.99.0.101".parse().unwrap(), vip6());
    let mut gate = hosts(&segment, &[four, six]);
    knows(&segment, PEER, four);
    knows(&segment, PEER, six);
    let server = segment.on(HERE, || std::net::UdpSocket::bind("[::]:9").unwrap());
    server.set_nonblocking(true).unwrap();
    let arrived = || std::iter::from_fn(|| server.recv_from(&mut [0; 8]).ok()).count();
    let flood = |until: &std::sync::atomic::AtomicBool| {
        let sockets = ["0.0.0.0:0", "[::]:0"].map(|any| std::net::UdpSocket::bind(any).unwrap());
        let mut sent = 0;
        while !until.load(std::sync::atomic::Ordering::Relaxed) {
            for (socket, vip) in sockets.iter().zip([four, six]) {
                sent += usize::from(socket.send_to(b"x", (vip, 9)).is_ok());
            }
        }
        sent
    };
    let end = std::sync::atomic::AtomicBool::new(false);
    let (sent, came) = std::thread::scope(|scope| {
        let flooding = scope.spawn(|| segment.on(PEER, || flood(&end)));
        let mut came = 0;
        segment.on(HERE, || {
            for n in 0..30 {
                let vips = [four, six, other];
                let vips = if n % 2 == 0 { &vips[..] } else { &vips[..2] };
                assert_eq!(load(vips, INTERFACE).unwrap(), Loaded::Replaced);
                came += arrived();
            }
        });
        end.store(true, std::sync::atomic::Ordering::Relaxed);
        (flooding.join().unwrap(), came + arrived())
    });
    println!("30 tables replaced, {sent} packets sent, {came} arrived");
    assert_eq!(came, 0);
    assert!(sent > 1000, "{sent}");
    gate.arm(Slot::Zero, LONG).unwrap();
    gate.enable(Slot::Zero).unwrap();
    until("what an open gate lets pass", Duration::from_secs(2), || {
        segment.on(PEER, || {
            let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.send_to(b"x", (four, 9)).unwrap();
        });
        arrived() > 0
    });
}

/// V8: whatever the agent does, the kernel closes.
#[test]
fn the_ticket_ends_by_itself() {
    let Some(segment) = segment(&[HERE, PEER]) else { return };
    let vip = vip4();
    let mut gate = host(&segment, vip);
    let mut open_for = |slot: Slot| {
        let armed = Instant::now();
        gate.arm(slot, Span::millis(500)).unwrap();
        gate.enable(slot).unwrap();
        segment.on(PEER, || {
            assert!(pings(vip), "open at first");
            let mut last = armed;
            while armed.elapsed() < Duration::from_millis(900) {
                let asked = Instant::now();
                if pings(vip) {
                    last = asked;
                }
            }
            last.duration_since(armed)
        })
    };
    for slot in [Slot::Zero, Slot::One] {
        let lasted = open_for(slot);
        assert!(lasted > Duration::from_millis(400), "{lasted:?}");
        assert!(lasted < Duration::from_millis(530), "{lasted:?}");
    }
    assert_eq!(seen(&segment, PEER, vip), SILENT);
    gate.enable(Slot::One).unwrap();
    assert_eq!(seen(&segment, PEER, vip), SILENT, "enabling an expired ticket opens nothing");
    assert_eq!(gate.slots().unwrap(), [Some(Span::ZERO), Some(Span::ZERO)]);
}

#[test]
fn arming_a_slot_anew_closes_it() {
    let Some(segment) = segment(&[HERE, PEER]) else { return };
    let vip = vip4();
    let mut gate = host(&segment, vip);
    gate.arm(Slot::Zero, LONG).unwrap();
    gate.enable(Slot::Zero).unwrap();
    assert_eq!(seen(&segment, PEER, vip), OPEN);
    gate.arm(Slot::One, LONG).unwrap();
    assert_eq!(seen(&segment, PEER, vip), OPEN, "the other slot is untouched");
    gate.arm(Slot::Zero, LONG).unwrap();
    assert_eq!(seen(&segment, PEER, vip), SILENT, "a win of before enables nothing");
}

fn refusing_resets(vip: IpAddr) {
    let Some(segment) = segment(&[HERE, PEER]) else { return };
    let mut gate = host(&segment, vip);
    segment.on(HERE, || {
        gate.arm(Slot::One, Span::millis(1500)).unwrap();
        let armed = Instant::now();
        gate.enable(Slot::One).unwrap();
        assert_eq!(seen(&segment, PEER, vip), OPEN);
        gate.refuse().unwrap();
        let refused = seen(&segment, PEER, vip);
        assert_eq!((refused.tcp, refused.pings), (Knock::Reset, false));
        assert_eq!(knock((vip, PORT)), Knock::Reset, "a local client too");
        until("the ticket's end", Duration::from_secs(3), || {
            armed.elapsed() > Duration::from_millis(1550)
        });
        assert_eq!(seen(&segment, PEER, vip), SILENT, "after the ticket");
        gate.arm(Slot::One, LONG).unwrap();
        assert_eq!(seen(&segment, PEER, vip), SILENT, "arming empties what was refused");
        gate.refuse().unwrap();
        assert_eq!(seen(&segment, PEER, vip), SILENT, "what was not held is not refused");
    });
}

#[test]
fn ipv4_refusing_resets_new_connections_while_the_ticket_lasts() {
    refusing_resets(vip4());
}

#[test]
fn ipv6_refusing_resets_new_connections_while_the_ticket_lasts() {
    refusing_resets(vip6());
}

/// G4, as planned: the clients' resets leave before the gate refuses, and nothing after it is closed.
#[test]
fn a_planned_close_resets_everybody() {
    let Some(segment) = segment(&[HERE, PEER]) else { return };
    for vip in [vip4(), vip6()] {
        let mut gate = segment.on(HERE, || Gate::open(&[vip], INTERFACE).unwrap());
        let address = one(vip, INTERFACE);
        let port = if vip.is_ipv4() { 81 } else { 82 };
        segment.on(HERE, || serve(port));
        segment.on(HERE, || address.add(LONG).unwrap());
        gate.arm(Slot::Zero, LONG).unwrap();
        gate.enable(Slot::Zero).unwrap();
        let connect = || segment.on(PEER, || TcpStream::connect((vip, port)).unwrap());
        let reset = |mut client: TcpStream, within: Duration| {
            client.set_read_timeout(Some(within)).unwrap();
            client.read(&mut [0; 1]).unwrap_err().kind() == ErrorKind::ConnectionReset
        };
        let (idle, late) = (connect(), connect());
        let destroyed = segment.on(HERE, || address.destroy_sockets().unwrap());
        assert_eq!(destroyed, 2);
        assert!(reset(idle, Duration::from_secs(2)));
        gate.refuse().unwrap();
        assert!(reset(late, Duration::from_secs(2)));
        assert_eq!(segment.on(PEER, || knock((vip, port))), Knock::Reset);
        gate.close().unwrap();
        assert_eq!(segment.on(PEER, || knock((vip, port))), Knock::Silent);
        gate.arm(Slot::Zero, LONG).unwrap();
        gate.enable(Slot::Zero).unwrap();
        let cut = connect();
        gate.close().unwrap();
        segment.on(HERE, || address.destroy_sockets().unwrap());
        assert!(!reset(cut, Duration::from_millis(300)), "a reset does not leave a closed gate");
    }
}

/// A connection that outlived its reset is reset by the gate itself, at its next packet.
#[test]
fn refusing_resets_old_connections_too() {
    let Some(segment) = segment(&[HERE, PEER]) else { return };
    let vip = vip4();
    let mut gate = host(&segment, vip);
    gate.arm(Slot::Zero, LONG).unwrap();
    gate.enable(Slot::Zero).unwrap();
    let mut client = segment.on(PEER, || TcpStream::connect((vip, PORT)).unwrap());
    gate.refuse().unwrap();
    client.write_all(b"x").unwrap();
    client.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let error = client.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn local_clients_pass_only_while_open() {
    let Some(segment) = segment(&[HERE]) else { return };
    for vip in [vip4(), vip6()] {
        let mut gate = segment.on(HERE, || Gate::open(&[vip], INTERFACE).unwrap());
        let port = if vip.is_ipv4() { 81 } else { 82 };
        segment.on(HERE, || {
            serve(port);
            one(vip, INTERFACE).add(LONG).unwrap();
            assert_eq!(knock((vip, port)), Knock::Silent);
            gate.arm(Slot::Zero, LONG).unwrap();
            gate.enable(Slot::Zero).unwrap();
            assert_eq!(knock((vip, port)), Knock::Open);
            gate.close().unwrap();
            assert_eq!(knock((vip, port)), Knock::Silent);
        });
    }
}

#[test]
fn a_closed_host_is_a_client_of_the_vip_elsewhere() {
    let Some(segment) = segment(&[HERE, PEER]) else { return };
    for (vip, bits) in [(vip4(), 32), (vip6(), 128)] {
        segment.sh(PEER, &format!("ip addr add {vip}/{bits} dev {INTERFACE} nodad"));
        segment.on(PEER, || serve(if vip.is_ipv4() { 81 } else { 82 }));
        segment.on(HERE, || {
            let _gate = Gate::open(&[vip], INTERFACE).unwrap();
            assert_eq!(knock((vip, if vip.is_ipv4() { 81 } else { 82 })), Knock::Open);
        });
    }
}

/// Containers publish ports so: the packet is for the VIP only until the first NAT hook.
#[test]
fn published_ports_are_judged_before_they_lead_elsewhere() {
    let Some(segment) = segment(&[HERE, PEER, THIRD]) else { return };
    let vip = vip4();
    let mut gate = host(&segment, vip);
    segment.on(THIRD, || serve(PORT));
    segment.sh(HERE, "sysctl -qw net.ipv4.ip_forward=1");
    nft(
        &segment,
        HERE,
        "add table ip t
        add chain ip t before { type nat hook prerouting priority dstnat; }
        add rule ip t before tcp dport 81 dnat to 10.99.0.3:8080
        add chain ip t after { type nat hook postrouting priority srcnat; }
        add rule ip t after ip daddr 10.99.0.3 masquerade",
    );
    // What comes back has the VIP as sender again: the last hooks would cover for the first.
    segment.sh(HERE, "nft delete table netdev regent; nft flush chain inet regent postrouting");
    knows(&segment, PEER, vip);
    let published: SocketAddr = (vip, 81).into();
    assert_eq!(segment.on(PEER, || knock(published)), Knock::Silent);
    gate.arm(Slot::Zero, LONG).unwrap();
    gate.enable(Slot::Zero).unwrap();
    assert_eq!(segment.on(PEER, || knock(published)), Knock::Open);
}

#[test]
fn what_source_nat_makes_of_a_packet_is_judged() {
    let Some(segment) = segment(&[HERE, PEER]) else { return };
    let vip = vip4();
    let mut gate = host(&segment, vip);
    nft(
        &segment,
        HERE,
        "add table ip t
        add chain ip t after { type nat hook postrouting priority srcnat; }
        add rule ip t after udp dport 9 snat to 10.99.0.100",
    );
    // The last hook would cover for the one before it, and so would ARP if it had to ask for the peer.
    segment.sh(HERE, "nft delete table netdev regent");
    assert!(segment.on(HERE, || pings("10.99.0.2".parse().unwrap())));
    let heard = listen(&segment, PEER);
    send_to_port_9(&segment);
    assert_eq!(heard(Duration::from_millis(300)), None, "closed: nothing has the VIP as sender");
    gate.arm(Slot::Zero, LONG).unwrap();
    gate.enable(Slot::Zero).unwrap();
    send_to_port_9(&segment);
    assert_eq!(heard(Duration::from_secs(2)), Some(vip));
}

fn nft(segment: &Segment, host: u8, text: &str) {
    segment.sh(host, &format!("nft -f - <<'END'\n{text}\nEND"));
}

fn send_to_port_9(segment: &Segment) {
    segment.on(HERE, || {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").unwrap();
        // A closed gate answers a local sender with an error.
        let _ = socket.send_to(b"x", "10.99.0.2:9");
    });
}

/// Who sends to UDP port 9 of this host.
fn listen(segment: &Segment, host: u8) -> impl Fn(Duration) -> Option<IpAddr> + use<> {
    let socket = segment.on(host, || std::net::UdpSocket::bind("0.0.0.0:9").unwrap());
    move |within| {
        socket.set_read_timeout(Some(within)).unwrap();
        socket.recv_from(&mut [0; 8]).ok().map(|(_, from)| from.ip())
    }
}

/// Each hook is enough to keep the VIP silent: none covers for a hole in another.
#[test]
fn every_hook_closes_alone() {
    let Some(segment) = segment(&[HERE, PEER]) else { return };
    for vip in [vip4(), vip6()] {
        let inet = ["prerouting", "input", "output", "postrouting"].map(|chain| ("inet", chain));
        let arp = [("arp", "input"), ("arp", "output")];
        let all: Vec<_> = inet.into_iter().chain(arp).chain([("netdev", "egress")]).collect();
        segment.sh(HERE, "nft flush ruleset");
        let _gate = host(&segment, vip);
        for left in &all {
            if vip.is_ipv6() && left.0 == "arp" {
                continue;
            }
            segment.sh(HERE, "nft flush ruleset");
            segment.on(HERE, || load(&[vip], INTERFACE).unwrap());
            for (family, chain) in all.iter().filter(|hook| *hook != left) {
                segment.try_sh(HERE, &format!("nft flush chain {family} regent {chain}"));
            }
            let seen = seen(&segment, PEER, vip);
            let ip = (seen.pings, seen.tcp) == (false, Knock::Silent);
            let expected = match (*left, vip) {
                // Nor does it then find its clients.
                (("arp", _), _) => !seen.found,
                (("inet", "input"), IpAddr::V4(_)) => seen == OPEN,
                (("inet", "input"), IpAddr::V6(_)) => !seen.found,
                (("inet", "prerouting"), IpAddr::V6(_)) => seen.found && ip,
                (("inet", _), IpAddr::V4(_)) => seen.found && ip,
                // What asks and what answers are packets of IPv6 as well.
                (_, IpAddr::V4(_) | IpAddr::V6(_)) => !seen.found && ip,
            };
            assert!(expected, "{vip} by {left:?} alone: {seen:?}");
        }
    }
}

/// G3, C6: a new run of the agent finds the gate as the kernel kept it.
#[test]
fn loading_again_neither_opens_nor_closes() {
    let Some(segment) = segment(&[HERE, PEER]) else { return };
    let vip = vip4();
    segment.on(HERE, || assert_eq!(load(&[vip], INTERFACE).unwrap(), Loaded::Fresh));
    let mut gate = host(&segment, vip);
    gate.arm(Slot::One, LONG).unwrap();
    gate.enable(Slot::One).unwrap();
    drop(gate);
    segment.on(HERE, || {
        assert_eq!(load(&[vip], INTERFACE).unwrap(), Loaded::Kept);
        let mut gate = Gate::open(&[vip], INTERFACE).unwrap();
        assert_eq!(seen(&segment, PEER, vip), OPEN);
        let slots = gate.slots().unwrap();
        assert_eq!(slots[0], None);
        assert!(
            slots[1].is_some_and(|left| left > Span::millis(50_000) && left <= LONG),
            "{slots:?}"
        );
        // It knows what was held, though another run did it.
        gate.refuse().unwrap();
        assert_eq!(seen(&segment, PEER, vip).tcp, Knock::Reset);
    });
}

#[test]
fn a_table_that_is_not_ours_is_replaced_by_a_closed_one() {
    let Some(segment) = segment(&[HERE, PEER]) else { return };
    let vip = vip4();
    let mut gate = host(&segment, vip);
    for change in [
        "nft insert rule inet regent prerouting accept",
        "nft delete table arp regent",
        "nft 'add table inet regent { flags dormant; }'",
        "nft flush chain arp regent output",
        "nft flush ruleset",
    ] {
        gate.arm(Slot::Zero, LONG).unwrap();
        gate.enable(Slot::Zero).unwrap();
        segment.sh(HERE, change);
        segment.on(HERE, || assert_ne!(load(&[vip], INTERFACE).unwrap(), Loaded::Kept, "{change}"));
        assert_eq!(seen(&segment, PEER, vip), SILENT, "{change}");
        segment.on(HERE, || assert_eq!(load(&[vip], INTERFACE).unwrap(), Loaded::Kept));
    }
}

/// G3: `nft flush ruleset` opens everything; the watch takes the address off and loads the gate again.
#[test]
fn a_flush_is_noticed_and_mended() {
    let Some(segment) = segment(&[HERE, PEER]) else { return };
    let vips = [vip4(), vip6()];
    let mut gate = hosts(&segment, &vips);
    let (tell, told) = mpsc::channel();
    let _watch = segment.on(HERE, || {
        watch(&vips, INTERFACE, move |event| tell.send((Instant::now(), event)).unwrap()).unwrap()
    });
    let address = several(&vips, INTERFACE);
    let seen = || vips.map(|vip| seen(&segment, PEER, vip));
    for change in ["nft flush ruleset", "nft flush chain inet regent prerouting"] {
        segment.on(HERE, || address.add(LONG).unwrap());
        gate.arm(Slot::Zero, LONG).unwrap();
        gate.enable(Slot::Zero).unwrap();
        assert_eq!(seen(), [OPEN, OPEN]);
        assert_eq!(told.try_recv().ok(), None, "our own changes are no news");

        segment.sh(HERE, change);
        let changed = Instant::now();
        let (at, event) = told.recv_timeout(Duration::from_secs(5)).unwrap();
        assert!(matches!(event, GateEvent::Broken { .. }), "{event:?}");
        let (_, event) = told.recv_timeout(Duration::from_secs(5)).unwrap();
        assert!(matches!(event, GateEvent::Repaired { .. }), "{event:?}");
        println!(
            "{change}: told {:?} after nft had returned; {event:?}",
            at.saturating_duration_since(changed)
        );
        for vip in vips {
            let gone = segment.on(HERE, || !one(vip, INTERFACE).present().unwrap());
            assert!(gone, "{vip} off");
        }
        segment.on(HERE, || address.add(LONG).unwrap());
        assert_eq!(seen(), [SILENT, SILENT], "closed");
    }
    gate.arm(Slot::One, LONG).unwrap();
    gate.enable(Slot::One).unwrap();
    assert_eq!(seen(), [OPEN, OPEN], "and may be opened again");
}

/// The gate is loaded before the network is up, and interfaces come and go. (Newer kernels keep a hook by its
/// interface's name; older ones drop it with the interface.)
#[test]
fn an_interface_that_comes_later_is_guarded_too() {
    let Some(segment) = segment(&[HERE, PEER]) else { return };
    let (vip, late) = (vip4(), "late0");
    let address = one(vip, late);
    // A stalled agent announces, and the other end of the cable listens.
    let leaks = || {
        let (tell, told) = mpsc::channel();
        let on = move |stranger| tell.send(stranger).unwrap();
        let _watch = segment
            .on(PEER, || stranger::watch(address.all(), vec![], Known::default(), on).unwrap());
        segment.on(HERE, || drop(address.announce(false, || true)));
        told.recv_timeout(Duration::from_millis(200)).is_ok()
    };
    segment.on(HERE, || assert_eq!(load(&[vip], late).unwrap(), Loaded::Fresh));
    let mut gate = segment.on(HERE, || Gate::open(&[vip], late).unwrap());
    gate.arm(Slot::Zero, LONG).unwrap();
    gate.enable(Slot::Zero).unwrap();
    segment.cable(late, HERE, PEER);
    let mut gate = segment.on(HERE, || Gate::open(&[vip], late).unwrap());
    if !gate.egress() {
        skipped("an interface that comes later: this kernel has no egress hook");
        return;
    }
    assert!(gate.slots().unwrap()[0].is_some(), "what was armed stays armed");
    gate.arm(Slot::Zero, LONG).unwrap();
    gate.enable(Slot::Zero).unwrap();
    assert!(leaks(), "open");
    gate.close().unwrap();
    assert!(!leaks(), "closed");

    let (tell, told) = mpsc::channel();
    let _watch =
        segment.on(HERE, || watch(&[vip], late, move |event| tell.send(event).unwrap()).unwrap());
    segment.sh(HERE, "ip link del late0");
    segment.cable(late, HERE, PEER);
    until("the hook on the new interface", Duration::from_secs(5), || !leaks());
    gate.arm(Slot::One, LONG).unwrap();
    gate.enable(Slot::One).unwrap();
    assert!(leaks(), "and may be opened again");
    let broken = told.try_iter().find(|event| matches!(event, GateEvent::Broken { .. }));
    assert_eq!(broken, None, "the VIP never passed");
}

fn an_announcement_leaves_only_while_open(vip: IpAddr) {
    let Some(segment) = segment(&[HERE, PEER]) else { return };
    let mut gate = host(&segment, vip);
    if !gate.egress() {
        skipped("announcements of a stalled agent: this kernel has no egress hook");
        return;
    }
    let (tell, told) = mpsc::channel();
    let _watch = segment.on(PEER, || {
        let seen_by_peer = one(vip, INTERFACE);
        let on = move |stranger: Stranger| tell.send(stranger.mac).unwrap();
        stranger::watch(seen_by_peer.all(), vec![], Known::default(), on).unwrap()
    });
    let address = one(vip, INTERFACE);
    let heard = || told.recv_timeout(Duration::from_millis(300)).ok();
    // A stalled agent believes that it is open. (A dropped frame is an error to its sender, or not.)
    segment.on(HERE, || drop(address.announce(true, || true)));
    assert_eq!(heard(), None, "closed");
    gate.arm(Slot::Zero, LONG).unwrap();
    gate.enable(Slot::Zero).unwrap();
    segment.on(HERE, || address.announce(true, || true).unwrap());
    assert_eq!(heard(), Some(segment.on(HERE, || link::mac(INTERFACE).unwrap())));
}

#[test]
fn ipv4_announcement_leaves_only_while_open() {
    an_announcement_leaves_only_while_open(vip4());
}

#[test]
fn ipv6_announcement_leaves_only_while_open() {
    an_announcement_leaves_only_while_open(vip6());
}

#[test]
fn the_reader_has_the_kernels_word() {
    let Some(segment) = segment(&[HERE]) else { return };
    let vip = vip4();
    let mut gate = host(&segment, vip);
    let mut reader = segment.on(HERE, || Reader::new(&[vip]).unwrap());
    assert!(!reader.is_open());
    gate.arm(Slot::Zero, Span::millis(300)).unwrap();
    gate.enable(Slot::One).unwrap();
    assert!(!reader.is_open());
    gate.enable(Slot::Zero).unwrap();
    assert!(reader.is_open());
    until("the ticket's end", Duration::from_secs(2), || !reader.is_open());
}

#[test]
fn arming_takes_the_kernel_little_time() {
    let all = ["10.99.0.100", "fd99::100", "10.99.0.101", "fd99::101"];
    let all = all.map(|vip| vip.parse::<IpAddr>().unwrap());
    for count in [1, 2, 4] {
        let Some(segment) = segment(&[HERE]) else { return };
        let mut gate = hosts(&segment, &all[..count]);
        let (mut arms, mut enables) = (Vec::new(), Vec::new());
        for n in 0..200 {
            let slot = if n % 2 == 0 { Slot::Zero } else { Slot::One };
            let started = Instant::now();
            gate.arm(slot, Span::millis(600)).unwrap();
            arms.push(started.elapsed());
            let started = Instant::now();
            gate.enable(slot).unwrap();
            enables.push(started.elapsed());
        }
        arms.sort();
        enables.sort();
        let (arm, enable) = (arms[100], enables[100]);
        println!(
            "{count} VIPs: arm {arm:?}, enable {enable:?} (median of 200); worst arm {:?}",
            arms[199]
        );
        assert!(arm < Duration::from_millis(10), "{arm:?}");
    }
}

#[test]
fn without_its_table_the_gate_says_so() {
    let Some(segment) = segment(&[HERE]) else { return };
    let mut gate = host(&segment, vip4());
    segment.sh(HERE, "nft delete table inet regent");
    let error = gate.arm(Slot::Zero, LONG).unwrap_err();
    assert!(matches!(error, GateError::Kernel { source: Errno::NOENT, .. }), "{error}");
    let error = gate.close().unwrap_err();
    assert!(matches!(error, GateError::Kernel { source: Errno::NOENT, .. }), "{error}");
}

#[test]
fn an_interface_name_cannot_smuggle_rules() {
    let error = load(&[vip4()], "eth0\"; accept").unwrap_err();
    assert!(matches!(error, GateError::Interface(_)), "{error}");
}

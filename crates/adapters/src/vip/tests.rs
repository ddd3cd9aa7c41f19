//! The address, its sockets and its announcements, on hosts of a segment.

use super::probe::probe_peer;
use super::stranger::{Stranger, is_answered};
use super::*;
use crate::testing::{INTERFACE, Knock, Segment, knock, pings, segment, serve, until};
use regent_core::command::{LifeSigns, PortAnswer};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const HERE: u8 = 1;
const PEER: u8 = 2;
const THIRD: u8 = 3;
const LONG: Span = Span::millis(60_000);

fn vips() -> [Vips; 2] {
    ["10.99.0.100", "fd99::100"].map(|vip| one(vip.parse().unwrap(), INTERFACE))
}

fn one(vip: IpAddr, interface: &str) -> Vips {
    let whole = if vip.is_ipv4() { 32 } else { 128 };
    Vips::new(vec![Vip::new(vip, whole, interface)])
}

fn of(vips: &Vips) -> IpAddr {
    vips.addresses()[0]
}

#[test]
fn the_address_comes_stays_and_goes() {
    let Some(segment) = segment(&[HERE, PEER]) else { return };
    for vip in vips() {
        let there = || segment.on(PEER, || pings(of(&vip)));
        segment.on(HERE, || {
            assert_eq!(vip.remove().unwrap(), Applied::AlreadySo);
            assert_eq!(vip.add(LONG).unwrap(), Applied::Changed);
            // The kernel begins to hear questions for an IPv6 address a moment after it was added.
            until("an answer", Duration::from_secs(3), there);
            assert!(vip.present().unwrap());
            assert_eq!(vip.add(LONG).unwrap(), Applied::AlreadySo);
            assert_eq!(vip.remove().unwrap(), Applied::Changed);
            assert!(!there() && !vip.present().unwrap());
        });
    }
}

/// G3: the net for when the agent is dead as well.
#[test]
fn an_address_that_nobody_refreshes_goes_by_itself() {
    let Some(segment) = segment(&[HERE]) else { return };
    for vip in vips() {
        segment.on(HERE, || {
            let added = Instant::now();
            vip.add(Span::millis(900)).unwrap();
            let gone = || !vip.present().unwrap();
            until("the lifetime's end", Duration::from_secs(10), gone);
            let lasted = added.elapsed();
            assert!(lasted > Duration::from_millis(900), "{lasted:?}");

            vip.add(Span::millis(2_000)).unwrap();
            let added = Instant::now();
            while added.elapsed() < Duration::from_secs(4) {
                assert_eq!(vip.add(Span::millis(2_000)).unwrap(), Applied::AlreadySo, "refreshed");
                std::thread::sleep(Duration::from_millis(100));
            }
        });
    }
}

#[test]
fn other_traffic_keeps_its_source_address() {
    let Some(segment) = segment(&[HERE, PEER]) else { return };
    segment.sh(HERE, "ip route add default via 10.99.0.2; ip -6 route add default via fd99::2");
    let sources = || {
        let of = |line: &str| segment.sh(HERE, &format!("ip route get {line}"));
        [of("10.99.0.2"), of("192.0.2.1"), of("fd99::2"), of("2001:db8::1")]
    };
    let before = sources();
    for vip in vips() {
        segment.on(HERE, || vip.add(LONG).unwrap());
    }
    assert_eq!(sources(), before);
    assert!(before[1].contains("src 10.99.0.1"), "{before:?}");
    assert!(before[3].contains("src fd99::1"), "{before:?}");
}

/// ifdown and ifup, a network manager, or `ip addr flush` by hand while the VIP is here: the host's own address comes
/// back behind the VIP.
#[test]
fn the_hosts_own_address_outlives_the_vip_that_was_on_first() {
    let vip: IpAddr = "10.99.0.100".parse().unwrap();
    for prefix in [32, 24] {
        let Some(segment) = segment(&[HERE]) else { return };
        let vips = Vips::new(vec![Vip::new(vip, prefix, INTERFACE)]);
        let shown = || segment.sh(HERE, "ip -4 -o addr show dev eth0");
        let flushed = || {
            segment.sh(HERE, "ip -4 addr flush dev eth0");
            segment.on(HERE, || vips.add(LONG).unwrap());
            segment.sh(HERE, "ip addr add 10.99.0.1/24 dev eth0");
            assert!(shown().contains(&format!("10.99.0.100/{prefix}")), "{}", shown());
        };
        flushed();
        segment.on(HERE, || assert_eq!(vips.remove().unwrap(), Applied::Changed));
        assert!(
            shown().contains("10.99.0.1/24") && !shown().contains("10.99.0.100"),
            "{}",
            shown()
        );
        // And with nobody there to take it off: its lifetime ends.
        flushed();
        segment.on(HERE, || vips.add(Span::millis(1_000)).unwrap());
        let gone = || !shown().contains("10.99.0.100");
        until("the lifetime's end", Duration::from_secs(10), gone);
        assert!(shown().contains("10.99.0.1/24"), "{}", shown());
    }
}

/// As xCAT and ISC dhcpd look for "my address that faces this host": the first one that the kernel lists, by its mask.
#[test]
fn a_vip_that_is_found_first_changes_no_way_and_no_source() {
    let Some(segment) = segment(&[HERE]) else { return };
    let vip: IpAddr = "10.99.0.100".parse().unwrap();
    let ways = || {
        let targets = ["10.99.0.7", "10.99.1.7", "192.0.2.1"];
        let asked = |target| segment.sh(HERE, &format!("ip route get {target} || true"));
        [segment.sh(HERE, "ip route")].into_iter().chain(targets.map(asked)).collect::<Vec<_>>()
    };
    segment.sh(HERE, "ip route replace default via 10.99.0.254");
    let before = ways();
    let listed = || -> Vec<String> {
        let shown = segment.sh(HERE, "ip -4 -o addr show dev eth0");
        let word = |line: &str| line.split_whitespace().nth(3).unwrap().to_owned();
        shown.lines().map(word).collect()
    };
    let plain = one(vip, INTERFACE);
    segment.on(HERE, || plain.add(LONG).unwrap());
    let vips = Vips::new(vec![Vip::new(vip, 24, INTERFACE).found_first()]);
    segment.on(HERE, || assert_eq!(vips.add(LONG).unwrap(), Applied::Changed));
    assert_eq!(listed(), ["10.99.0.100/23", "10.99.0.1/24"], "first, and once");
    assert_eq!(ways(), before);
    segment.on(HERE, || assert_eq!(vips.add(LONG).unwrap(), Applied::AlreadySo));
    // The host's own address goes and comes back, as with ifdown and ifup.
    segment.sh(HERE, "ip addr del 10.99.0.1/24 dev eth0");
    segment.on(HERE, || assert_eq!(vips.add(LONG).unwrap(), Applied::AlreadySo));
    segment.sh(HERE, "ip addr add 10.99.0.1/24 dev eth0");
    assert_eq!(listed(), ["10.99.0.100/23", "10.99.0.1/24"]);
    // Somebody's own address has the prefix that it would take.
    segment.on(HERE, || assert_eq!(vips.remove().unwrap(), Applied::Changed));
    segment.sh(HERE, "ip addr add 10.99.0.2/23 dev eth0");
    segment.on(HERE, || assert_eq!(vips.add(LONG).unwrap(), Applied::Changed));
    assert_eq!(listed()[0], "10.99.0.100/22");
    segment.on(HERE, || assert_eq!(vips.remove().unwrap(), Applied::Changed));
    assert_eq!(listed(), ["10.99.0.1/24", "10.99.0.2/23"]);
}

/// An older release put it on with its subnet where the host had no address of its own there.
#[test]
fn a_vip_with_another_prefix_is_replaced_by_the_one_that_is_wanted() {
    let Some(segment) = segment(&[HERE]) else { return };
    let vip: IpAddr = "10.99.0.100".parse().unwrap();
    segment.sh(HERE, "ip -4 addr flush dev eth0; ip addr add 10.99.0.100/24 dev eth0");
    segment.sh(HERE, "ip addr add 10.99.0.1/24 dev eth0");
    let vips = one(vip, INTERFACE);
    segment.on(HERE, || assert_eq!(vips.add(LONG).unwrap(), Applied::Changed));
    let shown = segment.sh(HERE, "ip -4 -o addr show dev eth0");
    assert!(shown.contains("10.99.0.100/32") && !shown.contains("10.99.0.100/24"), "{shown}");
    assert!(shown.contains("10.99.0.1/24"), "the host's own stays: {shown}");
    segment.on(HERE, || assert_eq!(vips.add(LONG).unwrap(), Applied::AlreadySo));
}

#[test]
fn an_interface_that_is_not_there_is_named() {
    let Some(segment) = segment(&[HERE]) else { return };
    let error = segment.on(HERE, || one("10.99.0.100".parse().unwrap(), "eth9").add(LONG));
    assert_eq!(error.unwrap_err().to_string(), "find interface eth9");
}

/// G4: clients see a reset, and the listener lives.
#[test]
fn connections_of_the_vip_are_reset_and_no_others() {
    let Some(segment) = segment(&[HERE, PEER]) else { return };
    segment.on(HERE, || serve(8080));
    for vip in vips() {
        segment.on(HERE, || vip.add(LONG).unwrap());
        let own: IpAddr = if of(&vip).is_ipv4() { "10.99.0.1" } else { "fd99::1" }.parse().unwrap();
        let connect = |to: IpAddr| {
            let mut stream = TcpStream::connect(SocketAddr::new(to, 8080)).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            assert_eq!(echo(&mut stream), Ok(()));
            stream
        };
        let (mut clients, mut other) = segment
            .on(PEER, || ((0..20).map(|_| connect(of(&vip))).collect::<Vec<_>>(), connect(own)));
        let mut local = segment.on(HERE, || connect(of(&vip)));
        segment.on(HERE, || {
            let _listener = TcpListener::bind((of(&vip), 9090)).unwrap();
            // Twenty, and one end of the local one, which resets the other.
            assert_eq!(vip.destroy_sockets().unwrap(), 21);
            assert_eq!(vip.destroy_sockets().unwrap(), 0);
            assert_eq!(knock((of(&vip), 9090)), Knock::Open, "a listener of the VIP stays");
        });
        for client in &mut clients {
            let error = client.read(&mut [0; 8]).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        }
        assert!(echo(&mut local).is_err());
        assert_eq!(echo(&mut other), Ok(()), "the node's own address is untouched");
    }
}

fn echo(stream: &mut TcpStream) -> Result<(), String> {
    stream.write_all(b"x").map_err(|e| e.to_string())?;
    stream.read_exact(&mut [0; 1]).map_err(|e| e.to_string())
}

#[test]
fn an_announcement_moves_a_peers_entry() {
    let Some(segment) = segment(&[HERE, PEER, THIRD]) else { return };
    for vip in vips() {
        let entry = || segment.sh(PEER, &format!("ip neigh show {}", of(&vip)));
        let mac = |host| segment.on(host, || link::mac(INTERFACE).unwrap().to_string());
        segment.on(THIRD, || vip.add(LONG).unwrap());
        let reached = || segment.on(PEER, || pings(of(&vip)));
        until("the old owner", Duration::from_secs(3), reached);
        assert!(entry().contains(&mac(THIRD)), "{}", entry());
        segment.on(THIRD, || vip.remove().unwrap());
        segment.on(HERE, || {
            vip.add(LONG).unwrap();
            vip.announce(true, || true).unwrap();
        });
        until("the new entry", Duration::from_secs(1), || entry().contains(&mac(HERE)));
        segment.on(PEER, || assert!(pings(of(&vip))));
    }
}

/// G2: sent at 0, 100 ms and 1 s, each only while the gate is open; a newer opening ends the older's.
#[test]
fn announcements_are_repeated_only_while_open() {
    let Some(segment) = segment(&[HERE, PEER]) else { return };
    let [vip, _] = vips();
    let frames = |within: Duration| {
        let vip = of(&vips()[0]);
        let packets = link::Packets::claims(INTERFACE, vip).unwrap();
        move || {
            let (deadline, mut count, mut buffer) = (Instant::now() + within, 0, [0; 128]);
            while let Some(frame) = packets.receive(&mut buffer, deadline) {
                count += usize::from(frame::claim(frame).is_some_and(|(a, _)| a == of(&vips()[0])));
            }
            count
        }
    };
    let announce = |egress: bool, open: fn() -> bool| {
        segment.on(HERE, || vip.announce(egress, open).unwrap());
    };
    let mut count = segment.on(PEER, || frames(Duration::from_millis(1500)));
    announce(true, || true);
    assert_eq!(count(), 6, "a request and a reply, three times");
    count = segment.on(PEER, || frames(Duration::from_millis(1500)));
    announce(false, || true);
    assert_eq!(count(), 2, "without the egress hook only the first");
    announce(true, || false);
    assert_eq!(count(), 0, "closed");
    let (began, first) = (Instant::now(), Duration::from_millis(50));
    segment.on(HERE, || vip.announce(true, move || began.elapsed() < first).unwrap());
    assert_eq!(count(), 2, "closed meanwhile");
    announce(true, || true);
    announce(true, || true);
    assert_eq!(count(), 8, "the older one ends with the newer");
}

/// What the watch on [`HERE`] tells.
fn watched(
    segment: &Segment,
    vips: &Vips,
    members: &[&str],
    known: &Known,
) -> (stranger::StrangerWatch, mpsc::Receiver<(Instant, Stranger)>) {
    let (tell, told) = mpsc::channel();
    let members = members.iter().map(|member| member.parse().unwrap()).collect();
    let on = move |stranger| tell.send((Instant::now(), stranger)).unwrap();
    let known = known.clone();
    (segment.on(HERE, || stranger::watch(vips.all(), members, known, on).unwrap()), told)
}

fn mac_of(segment: &Segment, host: u8) -> Mac {
    segment.on(host, || link::mac(INTERFACE).unwrap())
}

#[test]
fn a_stranger_is_told_of_for_as_long_as_it_answers() {
    let Some(segment) = segment(&[HERE, PEER, THIRD]) else { return };
    let both = Vips::new(vips().iter().flat_map(|vips| vips.all().to_vec()).collect());
    let stranger = mac_of(&segment, THIRD);
    for is_active in [false, true] {
        if is_active {
            segment.on(HERE, || both.add(LONG).unwrap());
        }
        let (watch, told) = watched(&segment, &both, &[], &Known::default());
        assert_eq!(told.recv_timeout(Duration::from_millis(1500)).ok(), None, "nobody");
        // It says nothing by itself: it is asked.
        for vip in &both.addresses() {
            let bits = if vip.is_ipv4() { 32 } else { 128 };
            segment.sh(THIRD, &format!("ip addr add {vip}/{bits} dev {INTERFACE} nodad"));
        }
        let began = Instant::now();
        let mut heard: BTreeMap<IpAddr, Vec<Instant>> = BTreeMap::new();
        while began.elapsed() < Duration::from_secs(5) {
            let (at, who) = told.recv_timeout(Duration::from_secs(3)).unwrap();
            assert_eq!(who.mac, stranger, "{who:?}");
            heard.entry(who.vip).or_insert_with(|| vec![began]).push(at);
        }
        for vip in both.addresses() {
            let gaps = heard[&vip].windows(2).map(|pair| pair[1].duration_since(pair[0]));
            let longest = gaps.max().unwrap();
            println!("{vip}: told {} times, at least every {longest:?}", heard[&vip].len() - 1);
            assert!(longest < Duration::from_secs(2), "{vip}: {longest:?}");
        }
        for vip in &both.addresses() {
            let bits = if vip.is_ipv4() { 32 } else { 128 };
            segment.sh(THIRD, &format!("ip addr del {vip}/{bits} dev {INTERFACE}"));
        }
        std::thread::sleep(Duration::from_millis(200));
        while told.try_recv().is_ok() {}
        assert_eq!(told.recv_timeout(Duration::from_millis(2500)).ok(), None, "it is gone");
        drop(watch);
        assert_eq!(told.recv(), Err(mpsc::RecvError), "dropped: the watch has ended");
    }
}

/// A member may be known by its report, or answer for its own address.
#[test]
fn a_member_is_no_stranger() {
    let Some(segment) = segment(&[HERE, PEER, THIRD]) else { return };
    for vip in vips() {
        let member = if of(&vip).is_ipv4() { "10.99.0.2" } else { "fd99::2" };
        segment.on(PEER, || vip.add(LONG).unwrap());
        let known = Known::default();
        let silent = |told: &mpsc::Receiver<_>| {
            told.recv_timeout(Duration::from_millis(2500)).ok().map(|(_, who)| who)
        };
        let (by_address, told) = watched(&segment, &vip, &[member], &known);
        assert_eq!(silent(&told), None, "it answers for its own address");
        drop(by_address);

        // It has its own address elsewhere, and reports a moment after this host's start.
        let (early, told) = watched(&segment, &vip, &["192.0.2.2"], &known);
        assert_eq!(told.recv_timeout(Duration::from_millis(1500)).ok(), None, "it may report yet");
        assert!(told.recv_timeout(Duration::from_millis(2500)).is_ok(), "it has not");
        drop(early);

        let id = regent_core::id::NodeId(2);
        known.tell(id, mac_of(&segment, PEER));
        let (_by_report, told) = watched(&segment, &vip, &[], &known);
        assert_eq!(silent(&told), None, "its report names its link");
        let peer = Stranger { vip: of(&vip), mac: mac_of(&segment, PEER) };
        known.tell(id, mac_of(&segment, THIRD));
        assert_eq!(silent(&told), Some(peer), "its report names another");
        known.tell(id, mac_of(&segment, PEER));
        segment.on(PEER, || vip.remove().unwrap());
        std::thread::sleep(Duration::from_millis(200));
        while told.try_recv().is_ok() {}
        segment.on(THIRD, || vip.announce(false, || true).unwrap());
        let third = Stranger { vip: of(&vip), mac: mac_of(&segment, THIRD) };
        assert_eq!(silent(&told), Some(third), "one announcement is heard, too");
    }
}

/// Two interfaces on one segment: each answers for the addresses of the other.
#[test]
fn another_interface_of_this_host_is_no_stranger() {
    let Some(segment) = segment(&[HERE, PEER]) else { return };
    let [vip, _] = vips();
    segment.cable("second0", HERE, 0);
    segment.sh(0, "ip link set second0 master br0");
    segment.on(HERE, || vip.add(LONG).unwrap());
    let second = segment.on(HERE, || link::mac("second0").unwrap());
    let heard = |from: Mac| {
        segment.on(HERE, || {
            let deadline = Instant::now() + Duration::from_millis(200);
            let packets = link::Packets::claims(INTERFACE, of(&vip)).unwrap();
            packets.send(&frame::question4([10, 99, 0, 100].into(), mac_here())).unwrap();
            std::iter::from_fn(|| packets.next_claim(of(&vip), deadline)).any(|mac| mac == from)
        })
    };
    until("its answer", Duration::from_secs(10), || heard(second));
    let known = Known::default();
    assert_eq!(segment.on(HERE, || is_used(INTERFACE, of(&vip), &known).unwrap()), None);
    let (_watch, told) = watched(&segment, &vip, &[], &known);
    assert_eq!(told.recv_timeout(Duration::from_millis(1500)).ok(), None);
}

fn mac_here() -> Mac {
    link::mac(INTERFACE).unwrap()
}

/// Before the first activation, and before a cluster is made.
#[test]
fn an_address_in_use_is_found_within_300_ms() {
    let Some(segment) = segment(&[HERE, PEER, THIRD]) else { return };
    // 240 ms, and what a loaded machine adds.
    let bound = Duration::from_millis(400);
    for vips in vips() {
        let vip = of(&vips);
        let known = Known::default();
        let used = || {
            segment.on(HERE, || {
                let began = Instant::now();
                (is_used(INTERFACE, vip, &known).unwrap(), began.elapsed())
            })
        };
        let (answer, took) = used();
        assert_eq!(answer, None);
        assert!(took < bound, "{took:?}");
        segment.on(HERE, || vips.add(LONG).unwrap());
        assert_eq!(used().0, None, "our own");
        segment.on(PEER, || vips.add(LONG).unwrap());
        let answers = || used().0 == Some(mac_of(&segment, PEER));
        until("the peer", Duration::from_secs(3), answers);
        known.tell(regent_core::id::NodeId(2), mac_of(&segment, PEER));
        assert_eq!(used().0, None, "a member's");
        segment.on(THIRD, || vips.add(LONG).unwrap());
        let answers = || used().0 == Some(mac_of(&segment, THIRD));
        until("the stranger", Duration::from_secs(3), answers);
        println!("{vip}: free in {took:?}, used in {:?}", used().1);
    }
    let error = segment.on(HERE, || is_used("eth9", of(&vips()[0]), &Known::default()));
    assert_eq!(error.unwrap_err().to_string(), "find interface eth9");
}

/// A member counts as well, and so does who is hidden from one of the two ways.
#[test]
fn an_address_is_answered_by_arp_without_icmp_and_by_an_echo_without_arp() {
    let Some(segment) = segment(&[HERE, PEER]) else { return };
    let vip = vips().into_iter().find(|vips| of(vips).is_ipv4()).unwrap();
    let at = of(&vip);
    let answered = || segment.on(HERE, || is_answered(INTERFACE, at).unwrap());
    assert_eq!(answered(), None);
    segment.on(HERE, || vip.add(LONG).unwrap());
    assert_eq!(answered(), None, "our own");
    segment.on(HERE, || vip.remove().unwrap());
    segment.sh(PEER, "sysctl -q net.ipv4.icmp_echo_ignore_all=1");
    segment.on(PEER, || vip.add(LONG).unwrap());
    let mac = mac_of(&segment, PEER);
    assert_eq!(answered(), Some(format!("{mac} answers for {at} by ARP")));
    segment.sh(PEER, "sysctl -q net.ipv4.icmp_echo_ignore_all=0");
    segment.sh(PEER, "sysctl -q net.ipv4.conf.all.arp_ignore=8");
    segment.sh(HERE, &format!("ip neigh replace {at} lladdr {mac} dev {INTERFACE}"));
    // To answer, it would otherwise ask for us in the name of the address: a claim as well.
    let here = mac_of(&segment, HERE);
    segment.sh(PEER, &format!("ip neigh replace 10.99.0.1 lladdr {here} dev {INTERFACE}"));
    assert_eq!(answered(), Some(format!("{at} answers an echo (ping)")));
}

/// An agent may start before its interface does, and interfaces are made anew.
#[test]
fn the_watch_follows_its_interface() {
    let Some(segment) = segment(&[HERE, PEER]) else { return };
    let vip = one("10.99.1.100".parse().unwrap(), "late0");
    let (_watch, told) = watched(&segment, &vip, &[], &Known::default());
    for _ in 0..2 {
        segment.cable("late0", HERE, PEER);
        until("the stranger", Duration::from_secs(5), || {
            segment.on(PEER, || vip.announce(false, || true).unwrap());
            told.recv_timeout(Duration::from_millis(100)).is_ok()
        });
        segment.sh(HERE, "ip link del late0");
    }
}

#[test]
fn an_interface_tells_its_mac_and_carrier() {
    let Some(segment) = segment(&[HERE]) else { return };
    segment.sh(
        HERE,
        "ip link add one type veth peer name two; ip link set one address 02:00:00:00:00:07",
    );
    let carrier = |of: &str| segment.on(HERE, || link::carrier(of).unwrap());
    assert_eq!(segment.on(HERE, || link::mac("one").unwrap()), Mac([2, 0, 0, 0, 0, 7]));
    segment.sh(HERE, "ip link set one up");
    assert!(!carrier("one"), "the cable's other end is down");
    segment.sh(HERE, "ip link set two up");
    assert!(carrier("one"));
    segment.sh(HERE, "ip link add bridge0 type bridge; ip link set bridge0 up");
    segment.sh(HERE, "ip link set two master bridge0");
    until("the bridge's carrier", Duration::from_secs(5), || carrier("bridge0"));
    segment.sh(HERE, "ip link set one down");
    assert!(!carrier("one") && !carrier("two"));
    until("the bridge without one", Duration::from_secs(5), || !carrier("bridge0"));
    let error = segment.on(HERE, || link::carrier("eth9")).unwrap_err();
    assert_eq!(error.to_string(), "find interface eth9");
}

/// 80 ms, and what a loaded machine adds.
const BOUNDED: Duration = Duration::from_millis(300);

fn probe(segment: &Segment, peer: &str, port: u16) -> (LifeSigns, Duration) {
    segment.on(HERE, || {
        let started = Instant::now();
        let answer = probe_peer(INTERFACE, peer.parse().unwrap(), port);
        (answer, started.elapsed())
    })
}

#[test]
fn a_peer_is_alive_has_no_agent_or_is_silent() {
    let Some(segment) = segment(&[HERE, PEER]) else { return };
    segment.on(PEER, || serve(4817));
    let links = vec![segment.on(PEER, || link::mac(INTERFACE).unwrap().0)];
    let alive = |port| LifeSigns { links: links.clone(), port, echo: true, ..LifeSigns::SILENT };
    for (peer, nobody) in [("10.99.0.2", "10.99.0.77"), ("fd99::2", "fd99::77")] {
        let (answer, took) = probe(&segment, peer, 4817);
        assert_eq!(answer, alive(PortAnswer::Open), "{took:?}");
        let (answer, took) = probe(&segment, peer, 4818);
        assert_eq!(answer, alive(PortAnswer::Reset), "{took:?}");
        let (answer, took) = probe(&segment, nobody, 4817);
        assert_eq!(answer, LifeSigns::SILENT);
        assert!(took < BOUNDED, "{took:?}");
    }
    // A host that lives, but whose port says nothing.
    segment.sh(PEER, "nft add table inet t; nft add chain inet t c '{ type filter hook input priority 0; }'; nft add rule inet t c tcp dport 4817 drop");
    let (answer, took) = probe(&segment, "10.99.0.2", 4817);
    assert_eq!(answer, alive(PortAnswer::Silent));
    assert!(took < BOUNDED, "{took:?}");
    // Cut off: what cannot be sent is not answered, and is not asked.
    segment.sh(HERE, "ip link set eth0 down");
    let (answer, took) = probe(&segment, "10.99.0.2", 4817);
    assert_eq!(answer, LifeSigns { asked: false, ..LifeSigns::SILENT });
    assert!(took < BOUNDED, "{took:?}");
}

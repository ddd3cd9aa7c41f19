//! The address, its sockets and its announcements, on hosts of a segment.

use super::probe::{Peer, probe_peer};
use super::*;
use crate::testing::{INTERFACE, Knock, Segment, knock, pings, segment, serve, until};
use regent_core::command::PortAnswer;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

const HERE: u8 = 1;
const PEER: u8 = 2;
const THIRD: u8 = 3;
const LONG: Span = Span::millis(60_000);

fn vips() -> [Vip; 2] {
    ["10.99.0.100", "fd99::100"].map(|vip| Vip::new(vip.parse().unwrap(), 24, INTERFACE))
}

fn vip4() -> Vip {
    let [vip, _] = vips();
    vip
}

#[test]
fn the_address_comes_stays_and_goes() {
    let Some(segment) = segment(&[HERE, PEER]) else { return };
    for vip in vips() {
        let there = || segment.on(PEER, || pings(vip.address()));
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

#[test]
fn an_interface_that_is_not_there_is_named() {
    let Some(segment) = segment(&[HERE]) else { return };
    let error = segment.on(HERE, || Vip::new("10.99.0.100".parse().unwrap(), 24, "eth9").add(LONG));
    assert_eq!(error.unwrap_err().to_string(), "find interface eth9");
}

/// G4: clients see a reset, and the listener lives.
#[test]
fn connections_of_the_vip_are_reset_and_no_others() {
    let Some(segment) = segment(&[HERE, PEER]) else { return };
    segment.on(HERE, || serve(8080));
    for vip in vips() {
        segment.on(HERE, || vip.add(LONG).unwrap());
        let own: IpAddr =
            if vip.address().is_ipv4() { "10.99.0.1" } else { "fd99::1" }.parse().unwrap();
        let connect = |to: IpAddr| {
            let mut stream = TcpStream::connect(SocketAddr::new(to, 8080)).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            assert_eq!(echo(&mut stream), Ok(()));
            stream
        };
        let (mut clients, mut other) = segment.on(PEER, || {
            ((0..20).map(|_| connect(vip.address())).collect::<Vec<_>>(), connect(own))
        });
        let mut local = segment.on(HERE, || connect(vip.address()));
        segment.on(HERE, || {
            let _listener = TcpListener::bind((vip.address(), 9090)).unwrap();
            // Twenty, and one end of the local one, which resets the other.
            assert_eq!(vip.destroy_sockets().unwrap(), 21);
            assert_eq!(vip.destroy_sockets().unwrap(), 0);
            assert_eq!(knock((vip.address(), 9090)), Knock::Open, "a listener of the VIP stays");
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
        let entry = || segment.sh(PEER, &format!("ip neigh show {}", vip.address()));
        let mac = |host| segment.on(host, || link_mac(INTERFACE).unwrap().to_string());
        segment.on(THIRD, || vip.add(LONG).unwrap());
        let reached = || segment.on(PEER, || pings(vip.address()));
        until("the old owner", Duration::from_secs(3), reached);
        assert!(entry().contains(&mac(THIRD)), "{}", entry());
        segment.on(THIRD, || vip.remove().unwrap());
        segment.on(HERE, || {
            vip.add(LONG).unwrap();
            vip.announce(true, || true).unwrap();
        });
        until("the new entry", Duration::from_secs(1), || entry().contains(&mac(HERE)));
        segment.on(PEER, || assert!(pings(vip.address())));
    }
}

/// G2: sent at 0, 100 ms and 1 s, each only while the gate is open; a newer opening ends the older's.
#[test]
fn announcements_are_repeated_only_while_open() {
    let Some(segment) = segment(&[HERE, PEER]) else { return };
    let vip = vip4();
    let frames = |within: Duration| {
        let packets = link::Packets::arp(INTERFACE).unwrap();
        move || {
            let (deadline, mut count, mut buffer) = (Instant::now() + within, 0, [0; 128]);
            while let Some(frame) = packets.receive(&mut buffer, deadline) {
                count +=
                    usize::from(frame::claim(frame).is_some_and(|(a, _)| a == vip4().address()));
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

#[test]
fn a_stranger_is_reported_and_a_member_is_not() {
    let Some(segment) = segment(&[HERE, PEER, THIRD]) else { return };
    for vip in vips() {
        let member: IpAddr =
            if vip.address().is_ipv4() { "10.99.0.2" } else { "fd99::2" }.parse().unwrap();
        let (tell, told) = mpsc::channel();
        let watch = segment.on(HERE, || {
            stranger::watch(&vip, vec![member], move |mac| tell.send(mac).unwrap()).unwrap()
        });
        let heard = |within| told.recv_timeout(Duration::from_millis(within)).ok();
        let announce = |host| segment.on(host, || vip.announce(false, || true).unwrap());
        announce(HERE);
        announce(PEER);
        assert_eq!(heard(400), None, "ours and a member's");
        announce(THIRD);
        let stranger = segment.on(THIRD, || link_mac(INTERFACE).unwrap());
        assert_eq!(heard(2000), Some(stranger));
        announce(THIRD);
        assert_eq!(heard(200), None, "once a second is enough");
        drop(watch);
        assert_eq!(told.recv(), Err(mpsc::RecvError), "dropped: the watch has ended");
    }
}

/// 80 ms, and what a loaded machine adds.
const BOUNDED: Duration = Duration::from_millis(300);

fn probe(segment: &Segment, peer: &str, port: u16) -> (Peer, Duration) {
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
    for (peer, nobody) in [("10.99.0.2", "10.99.0.77"), ("fd99::2", "fd99::77")] {
        let (answer, took) = probe(&segment, peer, 4817);
        assert_eq!(answer, Peer { arp: true, port: PortAnswer::Open }, "{took:?}");
        let (answer, took) = probe(&segment, peer, 4818);
        assert_eq!(answer, Peer { arp: true, port: PortAnswer::Reset }, "{took:?}");
        let (answer, took) = probe(&segment, nobody, 4817);
        assert_eq!(answer, Peer { arp: false, port: PortAnswer::Silent });
        assert!(took < BOUNDED, "{took:?}");
    }
    // A host that lives, but whose port says nothing.
    segment.sh(PEER, "nft add table inet t; nft add chain inet t c '{ type filter hook input priority 0; }'; nft add rule inet t c tcp dport 4817 drop");
    let (answer, took) = probe(&segment, "10.99.0.2", 4817);
    assert_eq!(answer, Peer { arp: true, port: PortAnswer::Silent });
    assert!(took < BOUNDED, "{took:?}");
    // Cut off: what cannot be sent is not answered.
    segment.sh(HERE, "ip link set eth0 down");
    let (answer, took) = probe(&segment, "10.99.0.2", 4817);
    assert_eq!(answer, Peer { arp: false, port: PortAnswer::Silent });
    assert!(took < BOUNDED, "{took:?}");
}

//! The gate among what hosts have: containers, bridges with guests, stacked interfaces.

use super::*;
use crate::vip::is_used;

/// A container behind a bridge, its port published as Docker does it: for what comes in, for what the host itself
/// sends, and for what another container sends.
#[test]
fn a_container_is_reached_only_while_open() {
    const CONTAINER: u8 = 4;
    let Some(segment) = segment(&[HERE, PEER, CONTAINER]) else { return };
    let vips = [vip4(), vip6()];
    let mut gate = hosts(&segment, &vips);
    segment.cable("veth0", HERE, CONTAINER);
    segment.sh(CONTAINER, "ip link set eth0 down");
    segment.sh(
        HERE,
        "ip link add br-docker0 type bridge && ip link set veth0 master br-docker0 &&
         ip link set veth0 type bridge_slave hairpin on &&
         ip link set br-docker0 up && ip addr add 172.17.0.1/16 dev br-docker0 &&
         ip addr add fd17::1/64 dev br-docker0 nodad &&
         sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1",
    );
    segment.sh(
        CONTAINER,
        "ip addr add 172.17.0.2/16 dev veth0 && ip addr add fd17::2/64 dev veth0 nodad &&
         ip route add default via 172.17.0.1 && ip route add default via fd17::1",
    );
    segment.on(CONTAINER, || serve(80));
    let published = |ip: &str, vip: IpAddr, to: &str, net: &str, lo: &str| {
        let docker = format!(
            "add table {ip} nat
            add chain {ip} nat DOCKER
            add rule {ip} nat DOCKER {ip} daddr {vip} tcp dport 81 dnat to {to}
            add chain {ip} nat PREROUTING {{ type nat hook prerouting priority -100; }}
            add rule {ip} nat PREROUTING fib daddr type local jump DOCKER
            add chain {ip} nat OUTPUT {{ type nat hook output priority -100; }}
            add rule {ip} nat OUTPUT {ip} daddr != {lo} fib daddr type local jump DOCKER
            add chain {ip} nat POSTROUTING {{ type nat hook postrouting priority 100; }}
            add rule {ip} nat POSTROUTING {ip} saddr {net} oifname != br-docker0 masquerade
            add rule {ip} nat POSTROUTING {ip} saddr {net} {ip} daddr {net} masquerade"
        );
        nft(&segment, HERE, &docker);
    };
    published("ip", vip4(), "172.17.0.2:80", "172.17.0.0/16", "127.0.0.0/8");
    published("ip6", vip6(), "[fd17::2]:80", "fd17::/64", "::1");
    let reached = |vip: IpAddr| {
        knows(&segment, PEER, vip);
        [PEER, HERE, CONTAINER].map(|from| segment.on(from, || knock((vip, 81))))
    };
    let silent = |why: &str| {
        for vip in vips {
            assert_eq!(reached(vip), [Knock::Silent; 3], "{vip} {why}");
        }
    };
    until("the container", Duration::from_secs(3), || {
        let container: SocketAddr = "[fd17::2]:80".parse().unwrap();
        segment.on(HERE, || knock(container) == Knock::Open)
    });
    silent("closed");
    gate.arm(Slot::Zero, LONG).unwrap();
    silent("ticket alone");
    gate.enable(Slot::Zero).unwrap();
    let mut clients = Vec::new();
    for vip in vips {
        assert_eq!(reached(vip), [Knock::Open; 3], "{vip}");
        clients.extend([PEER, HERE].map(|from| {
            let client = segment.on(from, || TcpStream::connect((vip, 81)).unwrap());
            client.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
            client
        }));
    }
    let echoes = |client: &mut TcpStream| {
        client.write_all(b"x").is_ok() && client.read_exact(&mut [0; 1]).is_ok()
    };
    assert!(clients.iter_mut().all(echoes), "connected");
    gate.refuse().unwrap();
    for vip in vips {
        assert_eq!(reached(vip), [Knock::Reset; 3], "{vip} refused");
    }
    gate.close().unwrap();
    silent("closed again");
    assert!(!clients.iter_mut().any(echoes), "a connection of before is cut, too");
}

/// A virtual machine on a bridge of a closed host is a client of the VIP elsewhere: its frames go through the bridge,
/// and where br_netfilter is on, through the hooks of IP as well.
#[test]
fn what_a_bridge_of_a_closed_host_forwards_passes() {
    const GUEST: u8 = 4;
    let Some(segment) = segment(&[HERE, PEER, GUEST]) else { return };
    segment.cable("veth0", HERE, GUEST);
    segment.sh(
        HERE,
        "ip link add bridge0 type bridge mcast_snooping 0 && ip link set bridge0 up &&
         ip link set veth0 master bridge0 && ip link set eth0 master bridge0 &&
         ip addr flush dev eth0 && ip addr add 10.99.0.1/24 dev bridge0 &&
         ip addr add fd99::1/64 dev bridge0 nodad",
    );
    segment.sh(
        GUEST,
        "ip link del eth0 && ip link set veth0 name eth0 && ip link set eth0 up &&
         ip addr add 10.99.0.4/24 dev eth0 && ip addr add fd99::4/64 dev eth0 nodad",
    );
    let filtered = ["iptables", "ip6tables"].map(|of| {
        let set = format!("sysctl -qw net.bridge.bridge-nf-call-{of}=1");
        segment.try_sh(HERE, &set).status.success()
    });
    if filtered != [true; 2] {
        skipped("frames under br_netfilter: this kernel has it not");
    }
    let vips = [vip4(), vip6()];
    segment.on(PEER, || {
        serve(PORT);
        several(&vips, INTERFACE).add(LONG).unwrap();
    });
    let reached = || segment.on(GUEST, || vips.map(|vip| knock((vip, PORT))));
    until("the VIP through the bridge", Duration::from_secs(10), || reached() == [Knock::Open; 2]);
    let mut gate = segment.on(HERE, || Gate::open(&vips, "bridge0").unwrap());
    assert_eq!(reached(), [Knock::Open; 2], "this host is closed, and only forwards frames");
    segment.sh(GUEST, "ip neigh flush all");
    assert_eq!(reached(), [Knock::Open; 2], "the guest finds the VIP");
    let peer = segment.on(PEER, || link::mac(INTERFACE).unwrap().to_string());
    for vip in vips {
        let wrong = "lladdr 02:00:00:00:00:99 dev eth0 nud stale";
        segment.sh(GUEST, &format!("ip neigh replace {vip} {wrong}"));
    }
    segment.on(PEER, || several(&vips, INTERFACE).announce(false, || true).unwrap());
    until("the announcement through the bridge", Duration::from_secs(2), || {
        vips.iter().all(|vip| segment.sh(GUEST, &format!("ip neigh show {vip}")).contains(&peer))
    });

    // What is for this host itself is judged, whichever of its hardware addresses it is sent to.
    segment.on(HERE, || {
        serve(PORT);
        several(&vips, "bridge0").add(LONG).unwrap();
    });
    let by = |interface: &str| {
        let mac = segment.on(HERE, || link::mac(interface).unwrap());
        for vip in vips {
            segment
                .sh(GUEST, &format!("ip neigh replace {vip} lladdr {mac} dev eth0 nud permanent"));
        }
        reached()
    };
    segment.on(PEER, || several(&vips, INTERFACE).remove().unwrap());
    for interface in ["bridge0", "veth0", "eth0"] {
        assert_eq!(by(interface), [Knock::Silent; 2], "closed, by {interface}");
    }
    gate.arm(Slot::Zero, LONG).unwrap();
    gate.enable(Slot::Zero).unwrap();
    assert_eq!(by("bridge0"), [Knock::Open; 2], "open");
    gate.close().unwrap();
    // NAT that asks for no local address takes a guest's request, and its answer stays here.
    segment.on(HERE, || several(&vips, "bridge0").remove().unwrap());
    segment.on(PEER, || {
        serve(82);
        several(&vips, INTERFACE).add(LONG).unwrap();
    });
    let hijacked = || segment.on(GUEST, || knock((vip4(), 82)));
    segment.sh(GUEST, "ip neigh flush all; ip neigh flush nud permanent");
    assert_eq!(hijacked(), Knock::Open);
    nft(
        &segment,
        HERE,
        "add table ip t
        add chain ip t before { type nat hook prerouting priority dstnat; }
        add rule ip t before ip daddr 10.99.0.100 tcp dport 82 dnat to 10.99.0.1:8080",
    );
    assert_eq!(hijacked(), Knock::Silent);
    segment.sh(HERE, "nft delete table ip t");
    segment.on(PEER, || several(&vips, INTERFACE).remove().unwrap());
    segment.on(HERE, || several(&vips, "bridge0").add(LONG).unwrap());

    // Somebody changes what only bridges need: it is mended, and nothing is taken off.
    let (tell, told) = mpsc::channel();
    let on = move |event| tell.send(event).unwrap();
    let _watch = segment.on(HERE, || watch(&vips, "bridge0", on).unwrap());
    segment.sh(HERE, "nft insert rule bridge regent comes meta mark set 0x7247e1a7");
    let event = told.recv_timeout(Duration::from_secs(3)).unwrap();
    assert!(matches!(event, GateEvent::Repaired { .. }), "{event:?}");
    assert_eq!(by("bridge0"), [Knock::Silent; 2], "closed and mended");
    assert!(segment.on(HERE, || several(&vips, "bridge0").present().unwrap()));
}

/// Fifteen characters, the most that the kernel allows.
const LONG_NAME: &str = "br.fifteen-long";

/// The commands that make [`LONG_NAME`] of this kind out of the host's [`INTERFACE`], and those for every other host.
fn stack(kind: &str) -> (String, String) {
    let name = LONG_NAME;
    let addresses = |host: &str, on: &str| {
        format!(
            "ip addr flush dev eth0; ip addr add 10.99.0.{host}/24 dev {on} &&
             ip addr add fd99::{host}/64 dev {on} nodad"
        )
    };
    let here = addresses("1", name);
    match kind {
        "plain" => (
            format!(
                "ip link set eth0 down && ip link set eth0 name {name} && ip link set {name} up &&
                     ip addr flush dev {name} && {}",
                here.replace("ip addr flush dev eth0; ", "")
            ),
            String::new(),
        ),
        "bridge" => (
            format!(
                "ip link add {name} type bridge mcast_snooping 0 && ip link set {name} up &&
                     ip link set eth0 master br.fifteen-long && {here}"
            ),
            String::new(),
        ),
        // Both have the address in their reach, and only one of them shall answer for it.
        "macvlan" => (
            format!(
                "ip link add link eth0 name {name} type macvlan mode bridge &&
                     ip link set {name} up && {here} &&
                     sysctl -qw net.ipv4.conf.all.arp_ignore=1"
            ),
            String::new(),
        ),
        "bond" => (
            format!(
                "ip link add {name} type bond mode active-backup miimon 100 &&
                     ip link set eth0 down && ip link set eth0 master br.fifteen-long &&
                     ip link set {name} up && {here}"
            ),
            String::new(),
        ),
        "vlan" => (
            format!(
                "ip link add link eth0 name {name} type vlan id 7 && ip link set {name} up && {here}"
            ),
            format!(
                "ip link set eth0 down && ip link set eth0 name trunk0 && ip link set trunk0 up &&
                     ip link add link trunk0 name eth0 type vlan id 7 && ip addr flush dev trunk0 &&
                     ip link set eth0 up && {}",
                addresses("HOST", "eth0")
            ),
        ),
        kind => panic!("{kind}"),
    }
}

fn a_gate_stands_in_front_of(kind: &str) {
    let Some(segment) = segment(&[HERE, PEER, THIRD]) else { return };
    let (here, others) = stack(kind);
    // Asked for on a host of its own, so that a mistake of this test is not taken for a missing kind.
    let make = match kind {
        "plain" => "true".into(),
        "vlan" | "macvlan" => format!(
            "ip link add link eth0 name kind0 type {kind} {}",
            if kind == "vlan" { "id 9" } else { "" }
        ),
        _ => format!("ip link add kind0 type {kind}"),
    };
    let made = segment.try_sh(HERE, &make);
    if !made.status.success() {
        let why = String::from_utf8_lossy(&made.stderr);
        skipped(&format!(
            "a VIP on a {kind}: this kernel cannot make one ({make}: {})",
            why.trim()
        ));
        return;
    }
    segment.try_sh(HERE, "ip link del kind0");
    segment.sh(HERE, &here);
    for host in [PEER, THIRD] {
        segment.sh(host, &others.replace("HOST", &host.to_string()));
    }
    let vips = [vip4(), vip6()];
    let address = several(&vips, LONG_NAME);
    let mac = segment.on(HERE, || link::mac(LONG_NAME).unwrap());
    until("the segment", Duration::from_secs(10), || {
        segment.on(PEER, || finds("10.99.0.1".parse().unwrap()) == Some(mac))
            && segment.on(PEER, || finds("fd99::1".parse().unwrap()) == Some(mac))
    });
    let mut gate = segment.on(HERE, || {
        serve(PORT);
        assert_eq!(load(&vips, LONG_NAME).unwrap(), Loaded::Fresh);
        assert_eq!(address.add(LONG).unwrap(), Applied::Changed);
        Gate::open(&vips, LONG_NAME).unwrap()
    });
    let shown = segment.sh(HERE, &format!("ip addr show dev {LONG_NAME}"));
    assert!(vips.iter().all(|vip| shown.contains(&format!(" {vip}/"))), "{shown}");

    let look = |vip: IpAddr| {
        segment.sh(PEER, "ip neigh flush all");
        let found = segment.on(PEER, || finds(vip));
        segment.sh(PEER, &format!("ip neigh replace {vip} lladdr {mac} dev eth0 nud permanent"));
        let seen = segment.on(PEER, || Seen {
            found: found.is_some(),
            pings: pings(vip),
            tcp: knock((vip, PORT)),
        });
        segment.sh(PEER, &format!("ip neigh del {vip} dev eth0"));
        seen
    };
    let entry = |vip: IpAddr| segment.sh(THIRD, &format!("ip neigh show {vip}"));
    let announce = || {
        for vip in vips {
            let wrong = "lladdr 02:00:00:00:00:99 dev eth0 nud stale";
            segment.sh(THIRD, &format!("ip neigh replace {vip} {wrong}"));
        }
        segment.on(HERE, || drop(address.announce(true, || true)));
    };
    let heard = || vips.map(|vip| entry(vip).contains(&mac.to_string()));
    for vip in vips {
        assert_eq!(look(vip), SILENT, "{vip} on a {kind}, closed");
    }
    assert!(gate.egress(), "the kernel has the hook for a {kind}");
    announce();
    std::thread::sleep(Duration::from_millis(150));
    assert_eq!(heard(), [false; 2], "closed");
    gate.arm(Slot::Zero, LONG).unwrap();
    gate.enable(Slot::Zero).unwrap();
    for vip in vips {
        let opened = || look(vip) == OPEN;
        until("the VIP", Duration::from_secs(5), opened);
    }
    announce();
    until("both announcements", Duration::from_secs(5), || heard() == [true; 2]);
    // What it hears of itself, by whatever port, is no stranger's.
    for vip in vips {
        let used = segment.on(HERE, || is_used(LONG_NAME, vip, &Known::default()).unwrap());
        assert_eq!(used, None, "{vip} on a {kind}");
    }
    gate.close().unwrap();
    for vip in vips {
        assert_eq!(look(vip), SILENT, "{vip} on a {kind}, closed again");
    }
    segment.on(HERE, || assert_eq!(address.remove().unwrap(), Applied::Changed));
}

#[test]
fn a_gate_stands_in_front_of_a_plain_interface_with_a_long_name() {
    a_gate_stands_in_front_of("plain");
}

#[test]
fn a_gate_stands_in_front_of_a_bridge() {
    a_gate_stands_in_front_of("bridge");
}

#[test]
fn a_gate_stands_in_front_of_a_macvlan() {
    a_gate_stands_in_front_of("macvlan");
}

#[test]
fn a_gate_stands_in_front_of_a_bond() {
    a_gate_stands_in_front_of("bond");
}

#[test]
fn a_gate_stands_in_front_of_a_vlan() {
    a_gate_stands_in_front_of("vlan");
}

//! On a host of its own network namespace, with its files below a directory.

use super::*;
use crate::stack::files::crash::LEFT;
use crate::testing::{INTERFACE, Segment, pings, segment, skipped};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::Duration;

const IFUPDOWN: &str = "# The loopback\nauto lo\niface lo inet loopback\n\nauto eth0\niface eth0 inet static\n\
                        \taddress 10.99.0.1/24\n\tgateway 10.99.0.2\n# was 10.99.0.1 before\n\n\
                        iface eth1 inet static\n\taddress 10.98.0.1/24\n";
const NETWORKD: &str = "[Match]\nName=eth*\n\n[Network]\nAddress=10.99.0.1/24\nGateway=10.99.0.2\n\n\
                        [Route]\nDestination=10.50.0.0/16\nGateway=10.99.0.2\nPreferredSource=10.99.0.1\n";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn only_the_address_of_the_interface_is_changed() {
    let (vip, own) = (ip("10.99.0.1"), ip("10.99.0.11"));
    let text = ifupdown::changed(IFUPDOWN, "eth0", vip, own).unwrap();
    assert_eq!(text, IFUPDOWN.replace("address 10.99.0.1/", "address 10.99.0.11/"));
    assert_eq!(ifupdown::changed(IFUPDOWN, "eth1", vip, own), None, "it is another's");
    let aside = IFUPDOWN.replace("gateway", "up ip addr add 10.99.0.1/32 dev lo\n\tgateway");
    assert_eq!(ifupdown::changed(&aside, "eth0", vip, own), None, "nothing to guess about");
    let asks = IFUPDOWN.replace("gateway", "dns-nameservers 10.99.0.1 10.99.0.3\n\tgateway");
    let text = ifupdown::changed(&asks, "eth0", vip, own).unwrap();
    assert!(text.contains("dns-nameservers 10.99.0.1 ") && !has(&text, vip), "{text}");
    let text = networkd::changed(NETWORKD, "eth0", vip, own).unwrap();
    assert_eq!(text, NETWORKD.replace("10.99.0.1", "10.99.0.11"));
    assert_eq!(networkd::changed(NETWORKD, "ens3", vip, own), None);
    assert!(
        !has("address 10.99.0.11/24", vip) && !has("  # 10.99.0.1", vip) && has("a=10.99.0.1", vip)
    );
}

struct Files {
    root: PathBuf,
}

impl Files {
    fn new(file: &str, text: &str) -> Files {
        static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("readdress-{}-{n}", std::process::id()));
        fs::create_dir_all(root.join("etc/network")).unwrap();
        fs::create_dir_all(root.join("etc/systemd/network")).unwrap();
        fs::write(root.join(file), text).unwrap();
        Files { root }
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.root.join(file)).unwrap()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

fn readdress(root: &Path) -> Readdress {
    Readdress {
        interface: INTERFACE.into(),
        vip: ip("10.99.0.1"),
        own: ip("10.99.0.11"),
        own_name: None,
        state_dir: root.join("state"),
    }
}

/// Host 1 is the management node, host 2 the gateway.
fn hosts() -> Option<Segment> {
    let segment = segment(&[1, 2])?;
    segment.sh(1, "ip route add default via 10.99.0.2 src 10.99.0.1");
    segment.sh(1, "ip route add 10.50.0.0/16 via 10.99.0.2");
    segment.sh(1, "echo 0 > /proc/sys/net/ipv4/conf/eth0/promote_secondaries");
    Some(segment)
}

#[test]
fn sessions_over_the_new_address_and_the_default_route_survive() {
    let Some(segment) = hosts() else { return };
    for (file, text) in
        [("etc/network/interfaces", IFUPDOWN), ("etc/systemd/network/10-eth.network", NETWORKD)]
    {
        let files = Files::new(file, text);
        let (one, root) = (readdress(&files.root), files.root.clone());
        let plan = segment.on(1, || one.plan_at(&root)).unwrap();
        assert_eq!(plan.len(), 3, "{plan:?}");
        assert_eq!(files.read(file), text, "a plan changes nothing");
        // The first step, by hand: then a session over the new address is there.
        segment.sh(1, "ip addr add 10.99.0.11/24 dev eth0");
        let listener = segment.on(2, || TcpListener::bind("10.99.0.2:7000").unwrap());
        let mut near = segment.on(1, || {
            let socket =
                socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
            socket.bind(&std::net::SocketAddr::new(ip("10.99.0.11"), 0).into()).unwrap();
            socket.connect(&std::net::SocketAddr::new(ip("10.99.0.2"), 7000).into()).unwrap();
            TcpStream::from(socket)
        });
        let (mut far, from) = listener.accept().unwrap();
        assert_eq!(from.ip(), ip("10.99.0.11"));
        segment.on(1, || one.apply_at(&root, |_| {})).unwrap();
        far.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        near.write_all(b"still here").unwrap();
        let mut buffer = [0; 10];
        far.read_exact(&mut buffer).unwrap();
        let addresses = segment.sh(1, "ip -4 -o addr show dev eth0");
        assert!(
            addresses.contains("10.99.0.11/24") && !addresses.contains("10.99.0.1/24"),
            "{addresses}"
        );
        let routes = segment.sh(1, "ip route");
        assert!(
            routes.contains("default via 10.99.0.2") && routes.contains("10.50.0.0/16"),
            "{routes}"
        );
        let written = files.read(file);
        assert!(has(&written, ip("10.99.0.11")) && !has(&written, ip("10.99.0.1")), "{written}");
        assert_eq!(segment.on(1, || one.plan_at(&root)).unwrap(), [""; 0], "nothing is left to do");
        // And back.
        let back = Readdress { vip: one.own, own: one.vip, ..one };
        segment.on(1, || back.apply_at(&root, |_| {})).unwrap();
        assert_eq!(files.read(file), text);
        assert!(segment.sh(1, "ip route").contains("default via 10.99.0.2"));
    }
}

#[test]
fn what_cannot_be_done_is_refused_before_the_first_change() {
    let Some(segment) = hosts() else { return };
    let files = Files::new("etc/network/interfaces", "iface eth0 inet dhcp\n");
    let one = readdress(&files.root);
    let refused =
        |one: &Readdress| segment.on(1, || one.plan_at(&files.root)).unwrap_err().to_string();
    assert!(refused(&one).contains("DHCP"));
    let plan = files.root.join("etc/netplan/50-cloud.yaml");
    fs::create_dir_all(plan.parent().unwrap()).unwrap();
    fs::write(&plan, "addresses: [10.99.0.1/24]\n").unwrap();
    let why = refused(&one);
    assert!(why.contains("50-cloud.yaml") && why.contains("by hand"), "{why}");
    let used = Readdress { own: ip("10.99.0.2"), ..one.clone() };
    assert!(refused(&used).contains("in use by"));
    let outside = Readdress { own: ip("10.97.0.1"), ..one.clone() };
    assert!(refused(&outside).contains("not in the network"));
}

/// For the process that ends: the root, and after how many points.
const CHILD: &str = "REGENT_READDRESS_CHILD";

/// Does nothing unless it is started by the test below.
#[test]
fn child() {
    let Ok(words) = std::env::var(CHILD) else { return };
    let (root, points) = words.split_once(' ').unwrap();
    LEFT.store(points.parse().unwrap(), Ordering::Relaxed);
    readdress(Path::new(root)).apply_at(Path::new(root), |_| {}).unwrap();
}

#[test]
fn a_power_cut_at_any_step_leaves_a_working_address() {
    let Some(segment) = hosts() else { return };
    if !Path::new("/proc/sys/net").is_dir() {
        return skipped("a_power_cut_at_any_step...: needs /proc/sys/net");
    }
    let file = "etc/network/interfaces";
    let mut point = 0;
    loop {
        let files = Files::new(file, IFUPDOWN);
        let program = std::env::current_exe().unwrap();
        let test = "stack::readdress::tests::child";
        let words = format!("{} {point}", files.root.display());
        let output = segment.on(1, || {
            Command::new(&program).args(["--exact", test]).env(CHILD, words).output().unwrap()
        });
        let killed = output.status.signal() == Some(9);
        assert!(killed || output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        // Live: one of both, and the gateway answers.
        let live = segment.sh(1, "ip -4 -o addr show dev eth0");
        assert!(live.contains("10.99.0.1/24") || live.contains("10.99.0.11/24"), "{point}: {live}");
        assert!(segment.on(1, || pings(ip("10.99.0.2"))), "{point}: {live}");
        // After a boot: the file is whole, and has one of both.
        let written = files.read(file);
        let changed = IFUPDOWN.replace("address 10.99.0.1/", "address 10.99.0.11/");
        assert!(written == IFUPDOWN || written == changed, "{point}: {written}");
        let one = readdress(&files.root);
        segment.on(1, || one.apply_at(&files.root, |_| {})).unwrap();
        assert_eq!(files.read(file), changed, "{point}");
        let routes = segment.sh(1, "ip route");
        assert!(routes.contains("default via 10.99.0.2"), "{point}: {routes}");
        if !killed {
            break;
        }
        segment.sh(1, "ip addr flush dev eth0 scope global; ip addr add 10.99.0.1/24 dev eth0");
        segment.sh(1, "ip route replace default via 10.99.0.2 src 10.99.0.1");
        point += 1;
    }
    println!("{point} power cuts");
    assert!(point > 5);
}

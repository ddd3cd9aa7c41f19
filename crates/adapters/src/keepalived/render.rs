//! The configuration of keepalived as text. The same [`Vrrp`] always gives the same bytes, on one node.
//!
//! What the text makes keepalived do: both nodes are BACKUP, and an instance is in FAULT unless the file that Regent
//! writes says otherwise *and* an agent of Regent lives. There is nothing to elect: no advertisement of anybody is
//! heard (`filter.rs`), so the one instance that is not in FAULT becomes MASTER after four advertisement intervals.

use super::Vrrp;
use regent_core::fnv::fnv;
use std::fmt::Write;
use std::net::IpAddr;
use std::path::Path;

/// How the file begins; what begins otherwise is somebody else's.
pub(super) const HEADER: &str = "# Rendered by Regent. Do not edit: `regent keepalived diff` shows what was changed,\n\
     # `regent keepalived repair` renders it anew.\n";
/// The line after the header: over all that follows, so that an edited file is told from an older rendering.
pub(super) const DIGEST: &str = "# digest ";
/// An interface's name and a label have this many bytes (IFNAMSIZ, without its end mark).
const LABEL_MAX: usize = 15;

/// The whole file; `run` is the directory of what steers keepalived.
pub(super) fn render(vrrp: &Vrrp, run: &Path) -> String {
    let body = body(vrrp, run);
    format!("{HEADER}{DIGEST}{:016x}\n{body}", fnv(body.as_bytes()))
}

fn body(vrrp: &Vrrp, run: &Path) -> String {
    let mut text = Text(String::new());
    text.block("global_defs", |text| {
        text.line("vrrp_version 3");
        // Once, and then again while it lasts: the gate lets none of them pass before it is open.
        text.line("vrrp_garp_master_delay 0");
        text.line("vrrp_garp_master_repeat 1");
        text.line("vrrp_garp_master_refresh 5");
        text.line("vrrp_garp_master_refresh_repeat 1");
        text.line("vrrp_priority -20");
        text.line("max_auto_priority 20");
        text.line("script_user root");
        text.line("enable_script_security");
    });
    text.block("track_file regent", |text| {
        text.line(&format!("file \"{}\"", run.join(super::steer::SERVE).display()));
        text.line("weight 0 reverse");
    });
    text.block("vrrp_script agent", |text| {
        let lock = run.join(super::steer::LOCK);
        let flock = "/usr/bin/flock --nonblock --conflict-exit-code 0";
        text.line(&format!("script \"{flock} {} /bin/false\"", lock.display()));
        text.line("interval 1");
        text.line("timeout 1");
        text.line("fall 4");
        text.line("rise 1");
    });
    text.block("vrrp_instance regent", |text| instance(text, vrrp));
    text.0
}

fn instance(text: &mut Text, vrrp: &Vrrp) {
    let centiseconds = (vrrp.advert_interval.0 / 10_000_000).max(1);
    text.line("state BACKUP");
    text.line("nopreempt");
    text.line("priority 254");
    text.line(&format!("interface {}", vrrp.interface));
    text.line(&format!("virtual_router_id {}", vrrp.router_id));
    text.line(&format!("advert_int {}.{:02}", centiseconds / 100, centiseconds % 100));
    // An instance speaks one family, that of the principal address; peers of the other cannot be told.
    let speaks = |other: &IpAddr| vrrp.principal().is_none_or(|p| p.is_ipv4() == other.is_ipv4());
    let peers: Vec<_> = vrrp.peers.iter().filter(|p| speaks(p)).collect();
    if speaks(&vrrp.own) && !peers.is_empty() {
        text.line(&format!("unicast_src_ip {}", vrrp.own));
        text.line("check_unicast_src");
        text.block("unicast_peer", |text| peers.iter().for_each(|p| text.line(&p.to_string())));
    }
    text.block("track_file", |text| text.line("regent"));
    text.block("track_script", |text| text.line("agent"));
    let labels = labels(vrrp);
    let of_family = |wanted: bool| {
        let all = vrrp.addresses.iter().zip(&labels);
        all.filter(move |((address, _), _)| speaks(address) == wanted)
    };
    text.block("virtual_ipaddress", |text| {
        of_family(true).for_each(|(address, label)| text.address(vrrp, *address, label));
    });
    if of_family(false).next().is_some() {
        text.block("virtual_ipaddress_excluded", |text| {
            of_family(false).for_each(|(address, label)| text.address(vrrp, *address, label));
        });
    }
}

/// A label per address: `host0:vip`, then `host0:vip2` and so on; the interface's name is cut where both do not fit.
pub(super) fn labels(vrrp: &Vrrp) -> Vec<String> {
    let label = |n: usize| {
        let end = if n == 0 { ":vip".to_owned() } else { format!(":vip{}", n + 1) };
        let kept = vrrp.interface.chars().take(LABEL_MAX - end.len());
        kept.collect::<String>() + &end
    };
    (0..vrrp.addresses.len()).map(label).collect()
}

struct Text(String);

impl Text {
    fn line(&mut self, line: &str) {
        let depth = self.depth();
        // Writing to a String does not fail.
        let _ = writeln!(self.0, "{:1$}{line}", "", 4 * depth);
    }

    fn block(&mut self, head: &str, fill: impl FnOnce(&mut Text)) {
        self.line(&format!("{head} {{"));
        fill(self);
        let depth = self.depth() - 1;
        let _ = writeln!(self.0, "{:1$}}}", "", 4 * depth);
    }

    fn depth(&self) -> usize {
        let count = |mark: char| self.0.lines().filter(|line| line.ends_with(mark)).count();
        count('{') - count('}')
    }

    fn address(&mut self, vrrp: &Vrrp, (address, prefix): (IpAddr, u8), label: &str) {
        let interface = &vrrp.interface;
        match address {
            IpAddr::V4(_) => {
                self.line(&format!("{address}/{prefix} dev {interface} label {label}"))
            }
            // Out of the choice of source addresses, as the native driver has it.
            IpAddr::V6(_) => {
                self.line(&format!("{address}/{prefix} dev {interface} preferred_lft 0"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regent_core::time::Span;

    fn vrrp(interface: &str, addresses: &[(&str, u8)], own: &str, peers: &[&str]) -> Vrrp {
        Vrrp {
            interface: interface.into(),
            addresses: addresses.iter().map(|(a, p)| (a.parse().unwrap(), *p)).collect(),
            router_id: 77,
            advert_interval: Span::millis(10),
            own: own.parse().unwrap(),
            peers: peers.iter().map(|p| p.parse().unwrap()).collect(),
        }
    }

    fn expect_golden(vrrp: &Vrrp, golden: &str, name: &str) {
        let text = render(vrrp, Path::new("/run/regent/keepalived"));
        if std::env::var_os("REGENT_BLESS").is_some() {
            std::fs::write(format!("testdata/keepalived/{name}.conf"), &text).unwrap();
        } else {
            assert_eq!(text, golden, "REGENT_BLESS=1 accepts it");
        }
    }

    #[test]
    fn one_address_is_rendered() {
        let vrrp = vrrp("host0", &[("10.77.0.100", 32)], "10.77.0.11", &["10.77.0.12"]);
        expect_golden(&vrrp, include_str!("../../testdata/keepalived/one.conf"), "one");
    }

    #[test]
    fn several_addresses_of_both_families_are_rendered() {
        let addresses = [("10.77.0.100", 32), ("fd00:77::100", 128), ("10.77.0.101", 24)];
        let vrrp = vrrp("brenp0s31f.4094", &addresses, "10.77.0.11", &["10.77.0.12", "10.77.0.13"]);
        expect_golden(&vrrp, include_str!("../../testdata/keepalived/several.conf"), "several");
    }

    #[test]
    fn an_ipv6_address_on_hosts_of_ipv4_is_rendered_without_peers() {
        let vrrp = vrrp("host0", &[("fd00:77::100", 128)], "10.77.0.11", &["10.77.0.12"]);
        expect_golden(&vrrp, include_str!("../../testdata/keepalived/ipv6.conf"), "ipv6");
    }

    #[test]
    fn a_label_fits_with_an_interface_name_of_15_characters() {
        let mut vrrp = vrrp("abcdefghijklmno", &[("10.0.0.1", 32); 10], "10.0.0.2", &[]);
        assert_eq!(labels(&vrrp)[0], "abcdefghijk:vip");
        assert_eq!(labels(&vrrp)[9], "abcdefghi:vip10");
        vrrp.interface = "host0".into();
        assert_eq!(labels(&vrrp)[1], "host0:vip2");
        assert!(labels(&vrrp).iter().all(|label| label.len() <= LABEL_MAX));
    }
}

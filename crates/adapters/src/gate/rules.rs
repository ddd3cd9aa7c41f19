//! The filter as nft text, one table per family, each loaded whole and closed.
//!
//! Nothing is armed by this text: the sets are empty, so every packet of the VIP is dropped. The order of the
//! rules within a chain matters; the chains that judge come before the hooks that lead to them.

use std::fmt::Write;
use std::net::IpAddr;

/// The name of each of our tables.
pub(super) const TABLE: &str = "regent";
/// Before conntrack, raw and DNAT, after reassembly: published container ports are judged under the VIP's own
/// address (G1).
const EARLY: i32 = -310;
/// After source NAT (G1).
const LATE: i32 = 310;

/// One of our tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Family {
    /// IPv4 and IPv6 packets.
    Inet,
    /// ARP.
    Arp,
    /// What leaves the VIP's interface, packet sockets included (G2).
    Netdev,
}

impl Family {
    /// As nft calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Family::Inet => "inet",
            Family::Arp => "arp",
            Family::Netdev => "netdev",
        }
    }

    /// As the kernel numbers it (linux/netfilter.h).
    pub(super) fn number(self) -> u8 {
        match self {
            Family::Inet => 1,
            Family::Arp => 3,
            Family::Netdev => 5,
        }
    }
}

/// The sets of a slot, without its number.
pub(super) const SETS: [&str; 3] = ["ticket", "held", "refuse"];

/// What comes before the names of a table's sets: IPv6 has a second half for neighbour discovery, keyed by the
/// target field (G1).
pub(super) fn prefixes(vip: IpAddr) -> &'static [&'static str] {
    match vip {
        IpAddr::V4(_) => &[""],
        IpAddr::V6(_) => &["", "nd_"],
    }
}

/// One table of ours as nft text. `egress`: the interface whose announcements are stopped.
pub(super) fn table(family: Family, vip: IpAddr, egress: Option<&str>) -> String {
    let mut text = Text { vip, out: String::new() };
    text.line(&format!("add table {} {TABLE}", family.name()));
    text.line(&format!("delete table {} {TABLE}", family.name()));
    text.line(&format!("table {} {TABLE} {{", family.name()));
    text.sets();
    match family {
        Family::Inet => text.inet(),
        Family::Arp => text.arp(),
        Family::Netdev => text.netdev(egress),
    }
    text.line("}");
    text.out
}

struct Text {
    vip: IpAddr,
    out: String,
}

impl Text {
    fn line(&mut self, line: &str) {
        // Writing to a String does not fail.
        let _ = writeln!(self.out, "{line}");
    }

    fn chain(&mut self, name: &str, rules: &[String]) {
        self.line(&format!("chain {name} {{"));
        for rule in rules {
            self.line(rule);
        }
        self.line("}");
    }

    fn sets(&mut self) {
        for prefix in prefixes(self.vip) {
            let kind = match (*prefix, self.vip) {
                ("nd_", _) => "typeof @th,64,128",
                (_, IpAddr::V4(_)) => "type ipv4_addr",
                (_, IpAddr::V6(_)) => "type ipv6_addr",
            };
            for slot in 0..2 {
                self.line(&format!("set {prefix}ticket{slot} {{ {kind}; flags timeout; }}"));
                self.line(&format!("set {prefix}held{slot} {{ {kind}; }}"));
                self.line(&format!("set {prefix}refuse{slot} {{ {kind}; }}"));
            }
        }
    }

    fn inet(&mut self) {
        let vip = self.vip;
        let (source, destination) = fields(vip);
        self.neighbours();

        let mut to = passes(&destination, "");
        to.extend(neighbour_exceptions(vip, &destination));
        to.extend(refused(&destination, "", "tcp flags & rst == rst accept"));
        to.extend(refused(&destination, "", "meta l4proto tcp reject with tcp reset"));
        to.push("drop".into());
        self.chain("to_vip", &to);
        let from = from_vip(vip, &source);
        self.chain("from_vip", &from);

        let mut prerouting = hook("filter", "prerouting", EARLY);
        prerouting.extend(target(vip, r#"iifname != "lo" icmpv6 type nd-neighbor-solicit"#));
        prerouting.push(format!("{destination} {vip} goto to_vip"));
        prerouting.push(format!(r#"iifname "lo" {source} {vip} goto from_vip"#));
        self.chain("prerouting", &prerouting);

        let mut output = hook("filter", "output", EARLY);
        output.extend(target(vip, "icmpv6 type nd-neighbor-advert"));
        output.extend(target(vip, "icmpv6 type nd-neighbor-solicit ip6 saddr ::"));
        // Between two ends on this host both addresses are the VIP: it is judged as on its way in.
        output.push(format!(r#"oifname "lo" {destination} {vip} goto to_vip"#));
        output.push(format!("{source} {vip} goto from_vip"));
        self.chain("output", &output);

        let mut postrouting = hook("filter", "postrouting", LATE);
        postrouting.extend(target(vip, "icmpv6 type nd-neighbor-advert"));
        postrouting.push(format!("{source} {vip} goto from_vip"));
        self.chain("postrouting", &postrouting);
    }

    fn arp(&mut self) {
        let vip = self.vip;
        for (name, field) in [("asked", "arp daddr ip"), ("speaks", "arp saddr ip")] {
            let mut rules = passes(field, "");
            rules.extend(refused(field, "", "accept"));
            rules.push("drop".into());
            self.chain(name, &rules);
        }
        let mut input = hook("filter", "input", EARLY);
        // Somebody else speaks for the VIP: whoever is its client here has to hear where it is.
        input.push(format!("arp saddr ip {vip} accept"));
        input.push(format!("arp daddr ip {vip} goto asked"));
        self.chain("input", &input);
        let mut output = hook("filter", "output", EARLY);
        output.push(format!("arp saddr ip {vip} goto speaks"));
        self.chain("output", &output);
    }

    fn netdev(&mut self, egress: Option<&str>) {
        let Some(interface) = egress else { return };
        let vip = self.vip;
        let (source, _) = fields(vip);
        let mut rules = vec![format!(
            r#"type filter hook egress device "{interface}" priority 0; policy accept;"#
        )];
        match vip {
            IpAddr::V4(_) => {
                let mut speaks = passes("arp saddr ip", "");
                speaks.extend(refused("arp saddr ip", "", "accept"));
                speaks.push("drop".into());
                self.chain("speaks", &speaks);
                rules.push(format!("arp saddr ip {vip} goto speaks"));
            }
            IpAddr::V6(_) => {
                self.neighbours();
                rules.extend(target(vip, "icmpv6 type nd-neighbor-advert"));
            }
        }
        let from = from_vip(vip, &source);
        self.chain("from_vip", &from);
        rules.push(format!("{source} {vip} goto from_vip"));
        self.chain("egress", &rules);
    }

    fn neighbours(&mut self) {
        match self.vip {
            IpAddr::V4(_) => {}
            IpAddr::V6(_) => {
                let mut rules = passes("@th,64,128", "nd_");
                rules.extend(refused("@th,64,128", "nd_", "accept"));
                rules.push("drop".into());
                self.chain("neighbour", &rules);
            }
        }
    }
}

/// The rules for a packet whose sender is the VIP. While it is refused only resets leave, and what is needed to
/// find the way to the client.
fn from_vip(vip: IpAddr, source: &str) -> Vec<String> {
    let mut rules = passes(source, "");
    rules.extend(neighbour_exceptions(vip, source));
    rules.extend(refused(source, "", "tcp flags & rst == rst accept"));
    rules.push("drop".into());
    rules
}

fn fields(vip: IpAddr) -> (String, String) {
    match vip {
        IpAddr::V4(_) => ("ip saddr".into(), "ip daddr".into()),
        IpAddr::V6(_) => ("ip6 saddr".into(), "ip6 daddr".into()),
    }
}

fn hook(kind: &str, hook: &str, priority: i32) -> Vec<String> {
    vec![format!("type {kind} hook {hook} priority {priority}; policy accept;")]
}

/// In a ticket and held, by the same slot.
fn passes(field: &str, prefix: &str) -> Vec<String> {
    slots(|slot| format!("{field} @{prefix}ticket{slot} {field} @{prefix}held{slot} accept"))
}

/// In a ticket and refused, by the same slot.
fn refused(field: &str, prefix: &str, what: &str) -> Vec<String> {
    slots(|slot| format!("{field} @{prefix}ticket{slot} {field} @{prefix}refuse{slot} {what}"))
}

fn slots(rule: impl Fn(usize) -> String) -> Vec<String> {
    vec![rule(0), rule(1)]
}

/// While it is refused the VIP may still look for its clients, and hear their answer.
fn neighbour_exceptions(vip: IpAddr, field: &str) -> Vec<String> {
    match vip {
        IpAddr::V4(_) => vec![],
        IpAddr::V6(_) => {
            refused(field, "", "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept")
        }
    }
}

/// Neighbour discovery about the VIP is judged by the target field.
fn target(vip: IpAddr, what: &str) -> Vec<String> {
    match vip {
        IpAddr::V4(_) => vec![],
        IpAddr::V6(v6) => {
            vec![format!("{what} @th,64,128 {:#034x} goto neighbour", v6.to_bits())]
        }
    }
}

//! The filter as nft text, one table per family, each loaded whole and closed.
//!
//! Nothing is armed by this text: the sets are empty, so every packet of a VIP is dropped. The order of the
//! rules within a chain matters; the chains that judge come before the hooks that lead to them. A hook leads each
//! VIP, by a rule of its own, to the chain that judges all VIPs of its kind by the sets.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr};

/// The name of each of our tables.
pub(super) const TABLE: &str = "regent";
/// Before conntrack, raw and DNAT, after reassembly: published container ports are judged under the VIP's own
/// address (G1).
const EARLY: i32 = -310;
/// After source NAT (G1).
const LATE: i32 = 310;
/// On a frame between two hooks: a bridge of this host forwards it, it is not for this host. Gone again before any
/// rule of others sees it.
const FORWARDED: &str = "0x7247e1a7";

/// One of our tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Family {
    /// IPv4 and IPv6 packets.
    Inet,
    /// ARP.
    Arp,
    /// What leaves the VIP's interface, packet sockets included (G2).
    Netdev,
    /// What a bridge of this host forwards between others, which br_netfilter shows to the hooks of IP as well.
    Bridge,
}

impl Family {
    /// As nft calls it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Family::Inet => "inet",
            Family::Arp => "arp",
            Family::Netdev => "netdev",
            Family::Bridge => "bridge",
        }
    }

    /// As the kernel numbers it (linux/netfilter.h).
    pub(super) fn number(self) -> u8 {
        match self {
            Family::Inet => 1,
            Family::Arp => 3,
            Family::Netdev => 5,
            Family::Bridge => 7,
        }
    }
}

/// The sets of a slot, without its number.
pub(super) const SETS: [&str; 3] = ["ticket", "held", "refuse"];

/// What the elements of a set are. Each kind has sets of its own, changed in one transaction with the others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Key {
    /// An IPv4 VIP.
    Ipv4,
    /// An IPv6 VIP.
    Ipv6,
    /// An IPv6 VIP as the target of neighbour discovery: the same bytes, found elsewhere in the packet (G1).
    Target,
}

impl Key {
    /// What stands before the names of its sets.
    pub(super) fn prefix(self) -> &'static str {
        match self {
            Key::Ipv4 => "",
            Key::Ipv6 => "six_",
            Key::Target => "nd_",
        }
    }

    /// The element for this VIP; none if it is of another kind.
    pub(super) fn element(self, vip: IpAddr) -> Option<Vec<u8>> {
        match (self, vip) {
            (Key::Ipv4, IpAddr::V4(v4)) => Some(v4.octets().to_vec()),
            (Key::Ipv6 | Key::Target, IpAddr::V6(v6)) => Some(v6.octets().to_vec()),
            (Key::Ipv4, IpAddr::V6(_)) | (Key::Ipv6 | Key::Target, IpAddr::V4(_)) => None,
        }
    }

    fn typed(self) -> &'static str {
        match self {
            Key::Ipv4 => "type ipv4_addr",
            Key::Ipv6 => "type ipv6_addr",
            Key::Target => "typeof @th,64,128",
        }
    }
}

/// Which kinds of sets this table has for these VIPs.
pub(super) fn keys(family: Family, vips: &[IpAddr]) -> Vec<Key> {
    let all: &[Key] = match family {
        Family::Inet | Family::Netdev => &[Key::Ipv4, Key::Ipv6, Key::Target],
        Family::Arp => &[Key::Ipv4],
        Family::Bridge => &[],
    };
    let used = |key: &Key| vips.iter().any(|vip| key.element(*vip).is_some());
    all.iter().copied().filter(used).collect()
}

/// The set that names the VIPs of a table. No rule reads it; it is for the one who replaces the table.
pub(super) fn guarded(key: Key) -> String {
    format!("{}guarded", key.prefix())
}

/// One table of ours as nft text. `egress`: the interface whose announcements are stopped.
pub(super) fn table(family: Family, vips: &[IpAddr], egress: Option<&str>) -> String {
    let mut text = Text { vips, out: String::new() };
    text.line(&format!("add table {} {TABLE}", family.name()));
    text.line(&format!("delete table {} {TABLE}", family.name()));
    text.line(&format!("table {} {TABLE} {{", family.name()));
    text.sets(family);
    match family {
        Family::Inet => text.inet(),
        Family::Arp => text.arp(),
        Family::Netdev => text.netdev(egress),
        Family::Bridge => text.bridge(),
    }
    text.line("}");
    text.out
}

struct Text<'a> {
    vips: &'a [IpAddr],
    out: String,
}

impl Text<'_> {
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

    fn sets(&mut self, family: Family) {
        for key in keys(family, self.vips) {
            let (prefix, kind) = (key.prefix(), key.typed());
            for slot in 0..2 {
                self.line(&format!("set {prefix}ticket{slot} {{ {kind}; flags timeout; }}"));
                self.line(&format!("set {prefix}held{slot} {{ {kind}; }}"));
                self.line(&format!("set {prefix}refuse{slot} {{ {kind}; }}"));
            }
            if family == Family::Inet && key != Key::Target {
                let vips = self.vips.iter().filter(|vip| key.element(**vip).is_some());
                let vips: Vec<String> = vips.map(IpAddr::to_string).collect();
                let elements = vips.join(", ");
                self.line(&format!(
                    "set {} {{ {kind}; elements = {{ {elements} }}; }}",
                    guarded(key)
                ));
            }
        }
    }

    /// A rule for each VIP.
    fn each(&self, rule: impl Fn(IpAddr) -> Option<String>) -> Vec<String> {
        self.vips.iter().filter_map(|vip| rule(*vip)).collect()
    }

    fn inet(&mut self) {
        self.neighbours();
        for ip in self.protocols() {
            let destination = ip.destination();
            let mut to = passes(destination, ip.key());
            to.extend(ip.neighbour_exceptions(destination));
            to.extend(refused(destination, ip.key(), "tcp flags & rst == rst accept"));
            to.extend(refused(destination, ip.key(), "meta l4proto tcp reject with tcp reset"));
            to.push("drop".into());
            self.chain(ip.receiver_chain(), &to);
            self.chain(ip.sender_chain(), &ip.rules_of_sender());
        }
        let to = |vip| (Ip::of(vip).destination(), Ip::of(vip).receiver_chain());
        let from = |vip| (Ip::of(vip).source(), Ip::of(vip).sender_chain());
        let goto = |what: &str, vip: IpAddr, (field, chain): (&str, &str)| {
            Some(format!("{what}{field} {vip} goto {chain}"))
        };

        let mut prerouting = hook("filter", "prerouting", EARLY);
        prerouting.push(format!("meta mark {FORWARDED} meta mark set 0 accept"));
        prerouting.extend(self.each(|vip| goto("", vip, to(vip))));
        prerouting.extend(self.each(|vip| goto(r#"iifname "lo" "#, vip, from(vip))));
        self.chain("prerouting", &prerouting);

        // Solicitations go to a group, and a bridge forwards them too: judged where they are for this host.
        let mut input = hook("filter", "input", EARLY);
        let asks = r#"iifname != "lo" icmpv6 type nd-neighbor-solicit"#;
        input.extend(self.each(|vip| judged_by_target(vip, asks)));
        self.chain("input", &input);

        let mut output = hook("filter", "output", EARLY);
        output.extend(self.each(|vip| judged_by_target(vip, "icmpv6 type nd-neighbor-advert")));
        output.extend(
            self.each(|vip| judged_by_target(vip, "icmpv6 type nd-neighbor-solicit ip6 saddr ::")),
        );
        // Between two ends on this host both addresses are VIPs: it is judged as on its way in.
        output.extend(self.each(|vip| goto(r#"oifname "lo" "#, vip, to(vip))));
        output.extend(self.each(|vip| goto("", vip, from(vip))));
        self.chain("output", &output);

        let mut postrouting = hook("filter", "postrouting", LATE);
        postrouting.push(format!("meta mark {FORWARDED} meta mark set 0 accept"));
        postrouting
            .extend(self.each(|vip| judged_by_target(vip, "icmpv6 type nd-neighbor-advert")));
        postrouting.extend(self.each(|vip| goto("", vip, from(vip))));
        self.chain("postrouting", &postrouting);
    }

    fn arp(&mut self) {
        for (name, field) in [("asked", "arp daddr ip"), ("speaks", "arp saddr ip")] {
            self.chain(name, &link_rules(field, Key::Ipv4));
        }
        let v4 = |rule: fn(Ipv4Addr) -> String| {
            self.each(move |vip| match vip {
                IpAddr::V4(v4) => Some(rule(v4)),
                IpAddr::V6(_) => None,
            })
        };
        let mut input = hook("filter", "input", EARLY);
        // Somebody else speaks for the VIP: whoever is its client here has to hear where it is.
        input.extend(v4(|vip| format!("arp saddr ip {vip} accept")));
        input.extend(v4(|vip| format!("arp daddr ip {vip} goto asked")));
        let mut output = hook("filter", "output", EARLY);
        output.extend(v4(|vip| format!("arp saddr ip {vip} goto speaks")));
        self.chain("input", &input);
        self.chain("output", &output);
    }

    fn netdev(&mut self, egress: Option<&str>) {
        let Some(interface) = egress else { return };
        self.neighbours();
        let mut rules = vec![format!(
            r#"type filter hook egress device "{interface}" priority 0; policy accept;"#
        )];
        for ip in self.protocols() {
            if ip == Ip::V4 {
                self.chain("speaks", &link_rules("arp saddr ip", Key::Ipv4));
            }
            self.chain(ip.sender_chain(), &ip.rules_of_sender());
        }
        rules.extend(self.each(|vip| match vip {
            IpAddr::V4(vip) => Some(format!("arp saddr ip {vip} goto speaks")),
            IpAddr::V6(_) => judged_by_target(vip, "icmpv6 type nd-neighbor-advert"),
        }));
        rules.extend(self.each(|vip| {
            let ip = Ip::of(vip);
            Some(format!("{} {vip} goto {}", ip.source(), ip.sender_chain()))
        }));
        self.chain("egress", &rules);
    }

    /// Marks frames that are not for this host, and such as come from the VIP over the wire, just before br_netfilter
    /// shows them to the hooks of IP; those take the mark off. A frame of this host's own has passed them before it
    /// comes to a bridge, and one that is answered by a container here has the container as its sender still.
    fn bridge(&mut self) {
        let mark = format!("meta mark set {FORWARDED}");
        let mut comes = hook("filter", "prerouting", EARLY);
        comes.extend(self.each(|vip| {
            let destination = Ip::of(vip).destination();
            Some(format!("meta mark 0 meta pkttype other {destination} {vip} {mark}"))
        }));
        let mut goes = hook("filter", "postrouting", EARLY);
        // Where br_netfilter is off, nobody has taken it away.
        goes.push(format!("meta mark {FORWARDED} meta mark set 0"));
        goes.extend(self.each(|vip| {
            let source = Ip::of(vip).source();
            Some(format!("meta mark 0 {source} {vip} {mark}"))
        }));
        goes.extend(self.each(|vip| {
            let told = target(vip, "meta mark 0 icmpv6 type nd-neighbor-advert")?;
            Some(format!("{told} {mark}"))
        }));
        self.chain("comes", &comes);
        self.chain("goes", &goes);
    }

    fn neighbours(&mut self) {
        if self.protocols().contains(&Ip::V6) {
            self.chain("neighbour", &link_rules("@th,64,128", Key::Target));
        }
    }

    fn protocols(&self) -> Vec<Ip> {
        let used = |ip: &Ip| self.vips.iter().any(|vip| Ip::of(*vip) == *ip);
        [Ip::V4, Ip::V6].into_iter().filter(used).collect()
    }
}

/// What asks for the VIP or speaks for it on the link: answered while it is refused, too, so that resets find
/// their way.
fn link_rules(field: &str, key: Key) -> Vec<String> {
    let mut rules = passes(field, key);
    rules.extend(refused(field, key, "accept"));
    rules.push("drop".into());
    rules
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ip {
    V4,
    V6,
}

impl Ip {
    fn of(vip: IpAddr) -> Ip {
        match vip {
            IpAddr::V4(_) => Ip::V4,
            IpAddr::V6(_) => Ip::V6,
        }
    }

    fn key(self) -> Key {
        match self {
            Ip::V4 => Key::Ipv4,
            Ip::V6 => Key::Ipv6,
        }
    }

    fn source(self) -> &'static str {
        match self {
            Ip::V4 => "ip saddr",
            Ip::V6 => "ip6 saddr",
        }
    }

    fn destination(self) -> &'static str {
        match self {
            Ip::V4 => "ip daddr",
            Ip::V6 => "ip6 daddr",
        }
    }

    fn receiver_chain(self) -> &'static str {
        match self {
            Ip::V4 => "to_vip",
            Ip::V6 => "to_vip6",
        }
    }

    fn sender_chain(self) -> &'static str {
        match self {
            Ip::V4 => "from_vip",
            Ip::V6 => "from_vip6",
        }
    }

    /// The rules for a packet whose sender is the VIP. While it is refused only resets leave, and what is needed
    /// to find the way to the client.
    fn rules_of_sender(self) -> Vec<String> {
        let mut rules = passes(self.source(), self.key());
        rules.extend(self.neighbour_exceptions(self.source()));
        rules.extend(refused(self.source(), self.key(), "tcp flags & rst == rst accept"));
        rules.push("drop".into());
        rules
    }

    /// While it is refused the VIP may still look for its clients, and hear their answer.
    fn neighbour_exceptions(self, field: &str) -> Vec<String> {
        let what = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept";
        match self {
            Ip::V4 => vec![],
            Ip::V6 => refused(field, Key::Ipv6, what),
        }
    }
}

fn hook(kind: &str, hook: &str, priority: i32) -> Vec<String> {
    vec![format!("type {kind} hook {hook} priority {priority}; policy accept;")]
}

/// In a ticket and held, by the same slot.
fn passes(field: &str, key: Key) -> Vec<String> {
    both_slots(field, key, "held", "accept")
}

/// In a ticket and refused, by the same slot.
fn refused(field: &str, key: Key, what: &str) -> Vec<String> {
    both_slots(field, key, "refuse", what)
}

fn both_slots(field: &str, key: Key, set: &str, what: &str) -> Vec<String> {
    let prefix = key.prefix();
    let rule =
        |slot: usize| format!("{field} @{prefix}ticket{slot} {field} @{prefix}{set}{slot} {what}");
    vec![rule(0), rule(1)]
}

/// Neighbour discovery about the VIP is judged by the target field.
fn judged_by_target(vip: IpAddr, what: &str) -> Option<String> {
    Some(format!("{} goto neighbour", target(vip, what)?))
}

fn target(vip: IpAddr, what: &str) -> Option<String> {
    match vip {
        IpAddr::V4(_) => None,
        IpAddr::V6(v6) => Some(format!("{what} @th,64,128 {:#034x}", v6.to_bits())),
    }
}

//! `makedhcp`: ISC dhcpd's configuration, and which address of this host a network's clients are given.

use std::fs;
use std::net::Ipv4Addr;

use crate::store::Store;
use crate::{Result, around, dns, renew, run, write};

const UNIT: &str = "isc-dhcp-server.service";
const CONFIGURATION: &str = "/etc/dhcp/dhcpd.conf";
const RESERVATIONS: &str = "/etc/dhcp/xcat-hosts.conf";
const DEFAULTS: &str = "/etc/default/isc-dhcp-server";

/// `-n`: dhcpd stops, its configuration is written anew from the table networks, and it starts.
pub fn networks() -> Result<String> {
    let store = Store::open()?;
    let domain = dns::domain(store)?;
    let own = own_addresses()?;
    let mut text = format!(
        "# Written by makedhcp of the xCAT stand-in.\nauthoritative;\nddns-update-style none;\n\
         default-lease-time 3600;\nmax-lease-time 3600;\nomapi-port 7911;\noption domain-name \"{domain}\";\n"
    );
    for row in store.rows("networks")? {
        let [_, net, mask, gateway, server, tftp, range, ..] = row.as_slice() else { continue };
        // Only the networks of its own interfaces are served.
        let Some(facing) = facing(&own, net) else { continue };
        let or_facing =
            |value: &String| if value.is_empty() { facing.clone() } else { value.clone() };
        let (server, tftp) = (or_facing(server), or_facing(tftp));
        text.push_str(&format!("subnet {net} netmask {mask} {{\n"));
        // Under which address it gave a lease, and a client asks for more time, dhcpd says by itself: its interface's
        // first one.
        for (what, value) in [
            ("option domain-name-servers", &server),
            ("option routers", gateway),
            ("next-server", &tftp),
            ("range", &range.replace('-', " ")),
        ] {
            if !value.is_empty() {
                text.push_str(&format!("  {what} {value};\n"));
            }
        }
        text.push_str("}\n");
    }
    text.push_str(&format!("include \"{RESERVATIONS}\";\n"));
    let interfaces = store.value("site", "dhcpinterfaces", "value")?.unwrap_or_default();
    around(UNIT, || {
        if !fs::exists(RESERVATIONS).unwrap_or(false) {
            write(RESERVATIONS, "")?;
        }
        write(CONFIGURATION, &text)?;
        write(DEFAULTS, &format!("INTERFACESv4=\"{interfaces}\"\nINTERFACESv6=\"\"\n"))?;
        Ok(String::new())
    })
}

/// The addresses on the interfaces with the length of their prefixes, in the order of the kernel.
fn own_addresses() -> Result<Vec<(Ipv4Addr, u32)>> {
    let listed = run(&["ip", "-o", "-4", "addr"])?;
    let address = |line: &str| {
        let (address, length) = line.split_whitespace().nth(3)?.split_once('/')?;
        Some((address.parse().ok()?, length.parse().ok()?))
    };
    Ok(listed.lines().filter_map(address).collect())
}

/// Which of these addresses faces a network: the first in the kernel's order that has it in its own mask.
fn facing(own: &[(Ipv4Addr, u32)], net: &str) -> Option<String> {
    let net: Ipv4Addr = net.parse().ok()?;
    let faces = |(address, length): &&(Ipv4Addr, u32)| {
        let mask = u32::MAX.checked_shl(32_u32.saturating_sub(*length)).unwrap_or(0);
        u32::from(*address) & mask == u32::from(net) & mask
    };
    own.iter().find(faces).map(|(address, _)| address.to_string())
}

/// `-a`: a reservation for every node that has an address and a hardware address.
pub fn reservations() -> Result<String> {
    let store = Store::open()?;
    let mut text = "# Written by makedhcp of the xCAT stand-in.\n".to_owned();
    for row in store.rows("mac")? {
        let [node, _, mac, ..] = row.as_slice() else { continue };
        let ip = store.value("hosts", node, "ip")?.filter(|ip| !ip.is_empty());
        if let Some(ip) = ip
            && !mac.is_empty()
        {
            text.push_str(&format!(
                "host {node} {{ hardware ethernet {mac}; fixed-address {ip}; \
                 option host-name \"{node}\"; }}\n"
            ));
        }
    }
    if write(RESERVATIONS, &text)? {
        renew(UNIT, "restart")?;
    }
    Ok(String::new())
}

/// `-q NODE`: what dhcpd was told of it.
pub fn query(node: &str) -> Result<String> {
    let text = fs::read_to_string(RESERVATIONS).map_err(|why| format!("{RESERVATIONS}: {why}"))?;
    let line = text.lines().find(|line| line.starts_with(&format!("host {node} ")));
    let line = line.ok_or_else(|| format!("{node} has no reservation"))?;
    let after = |word: &str| line.split(word).nth(1)?.split(';').next().map(str::trim);
    let (mac, ip) = (after("hardware ethernet"), after("fixed-address"));
    let (mac, ip) = (mac.unwrap_or_default(), ip.unwrap_or_default());
    Ok(format!("{node}: ip-address = {ip}, hardware-address = {mac}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_address_whose_mask_has_the_network_faces_it() {
        let [first, moving] = [Ipv4Addr::new(10, 77, 0, 11), Ipv4Addr::new(10, 77, 0, 100)];
        let facing = |own: &[(Ipv4Addr, u32)]| facing(own, "10.77.0.0").unwrap_or_default();
        assert_eq!(facing(&[(moving, 32), (first, 24)]), "10.77.0.11");
        assert_eq!(facing(&[(first, 24), (moving, 24)]), "10.77.0.11");
        assert_eq!(facing(&[(moving, 23), (first, 24)]), "10.77.0.100");
        assert_eq!(facing(&[(moving, 32)]), "");
    }
}

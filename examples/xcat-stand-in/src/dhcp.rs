//! `makedhcp`: ISC dhcpd's configuration. A service that does not run is not started.

use std::fs;

use crate::store::Store;
use crate::{Result, dns, renew, write};

const UNIT: &str = "isc-dhcp-server.service";
const CONFIGURATION: &str = "/etc/dhcp/dhcpd.conf";
const RESERVATIONS: &str = "/etc/dhcp/xcat-hosts.conf";
const DEFAULTS: &str = "/etc/default/isc-dhcp-server";

/// `-n`: a new configuration from the table networks.
pub fn networks() -> Result<String> {
    let store = Store::open()?;
    let domain = dns::domain(store)?;
    let mut text = format!(
        "# Written by makedhcp of the xCAT stand-in.\nauthoritative;\nddns-update-style none;\n\
         default-lease-time 3600;\nmax-lease-time 3600;\noption domain-name \"{domain}\";\n"
    );
    for row in store.rows("networks")? {
        let [_, net, mask, gateway, server, tftp, range, ..] = row.as_slice() else { continue };
        text.push_str(&format!("subnet {net} netmask {mask} {{\n"));
        // Under the address that moves: a client asks for more time where it got its lease.
        for (what, value) in [
            ("server-identifier", server),
            ("option domain-name-servers", server),
            ("option routers", gateway),
            ("next-server", tftp),
            ("range", &range.replace('-', " ")),
        ] {
            if !value.is_empty() {
                text.push_str(&format!("  {what} {value};\n"));
            }
        }
        text.push_str("}\n");
    }
    text.push_str(&format!("include \"{RESERVATIONS}\";\n"));
    if !fs::exists(RESERVATIONS).unwrap_or(false) {
        write(RESERVATIONS, "")?;
    }
    let interfaces = store.value("site", "dhcpinterfaces", "value")?.unwrap_or_default();
    let mut is_new = write(CONFIGURATION, &text)?;
    is_new |= write(DEFAULTS, &format!("INTERFACESv4=\"{interfaces}\"\nINTERFACESv6=\"\"\n"))?;
    if is_new {
        renew(UNIT, "restart")?;
    }
    Ok(String::new())
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

//! What is not complete yet is not answered: from the start of a unit until its commands after the start are done, its
//! ports of the VIP take nothing from the network.
//!
//! A name server whose zones are still being filled says that a name does not exist, and clients believe that and
//! keep it; one that does not answer is asked again. A table of its own, of a few lines; the gate is not concerned.
//! What runs on this host reaches the ports all the time, the commands that fill them among it (ADR 0038).

use super::hands::Hands;
use super::trouble::Trouble;
use crate::run::{RunError, run};
use regent_config::steps::{Kind, Unit};
use std::fmt::Write;
use std::net::IpAddr;
use std::time::Duration;

const TABLE: &str = "regent-hold";
/// A call of nft takes 7 to 16 ms on a small machine.
const NFT_MAX: Duration = Duration::from_secs(5);

/// Does this with the unit's ports held, if there are any and something is to be done before they may answer. A kernel
/// that refuses the table is noted: an answer that comes too early is better than none.
pub(super) fn during<T>(
    hands: &mut Hands,
    unit: &Unit,
    act: impl FnOnce(&mut Hands) -> Result<T, Trouble>,
) -> Result<T, Trouble> {
    if !is_held(unit) {
        return act(hands);
    }
    let vips: Vec<IpAddr> = hands.settings.vips.iter().map(|(vip, _)| *vip).collect();
    if let Err(error) = load(unit, &vips) {
        hands.note(&format!("the ports of {} are not held: {error}", unit.unit))?;
        return act(hands);
    }
    let done = act(hands);
    let released = release();
    done.and_then(|done| released.map(|()| done))
}

fn is_held(unit: &Unit) -> bool {
    !unit.after.is_empty() && !unit.listeners.is_empty()
}

/// What an agent left that ended half-way.
pub(super) fn forget(hands: &Hands) -> Result<(), Trouble> {
    let mut kinds = hands.settings.steps.iter().map(|step| &step.kind);
    if !kinds.any(|kind| matches!(kind, Kind::Unit(unit) if unit.all().any(is_held))) {
        return Ok(());
    }
    match release() {
        Ok(()) => Ok(()),
        Err(trouble) => hands.note(&trouble.into_words()),
    }
}

fn load(unit: &Unit, vips: &[IpAddr]) -> Result<(), RunError> {
    run("nft", &["-f", "-"], &table(unit, vips), NFT_MAX).map(drop)
}

fn release() -> Result<(), Trouble> {
    let text = format!("add table inet {TABLE}\ndelete table inet {TABLE}\n");
    let gone = run("nft", &["-f", "-"], &text, NFT_MAX).map(drop);
    gone.map_err(|error| Trouble::new(format!("{error}; nft delete table inet {TABLE}")))
}

fn table(unit: &Unit, vips: &[IpAddr]) -> String {
    let mut text = format!(
        "add table inet {TABLE}\ndelete table inet {TABLE}\ntable inet {TABLE} {{\nchain input {{\n\
         type filter hook input priority -290; policy accept;\niifname \"lo\" accept\n"
    );
    for vip in vips {
        let family = if vip.is_ipv4() { "ip" } else { "ip6" };
        for listener in &unit.listeners {
            let protocol = if listener.tcp { "tcp" } else { "udp" };
            let port = listener.port;
            // Writing to a string does not fail.
            let _ = writeln!(text, "{family} daddr {vip} {protocol} dport {port} drop");
        }
    }
    text.push_str("}\n}\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::segment;
    use regent_config::steps::Listener;
    use std::net::UdpSocket;

    const SHORT: Duration = Duration::from_millis(300);
    const LONG: Duration = Duration::from_secs(5);

    fn name_server() -> Unit {
        Unit {
            unit: "named.service".into(),
            listeners: vec![Listener { tcp: true, port: 53 }, Listener { tcp: false, port: 53 }],
            ..Unit::default()
        }
    }

    #[test]
    fn held_ports_take_nothing_from_the_network_and_everything_from_their_own_host() {
        let Some(segment) = segment(&[1, 2]) else { return };
        let vip: IpAddr = "10.99.0.1".parse().unwrap();
        let [server, other] =
            [53, 54].map(|port| segment.on(1, || UdpSocket::bind((vip, port)).unwrap()));
        let arrives = |from: u8, to: &UdpSocket, within: Duration| {
            segment.on(from, || {
                let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
                socket.send_to(b"?", to.local_addr().unwrap()).unwrap();
            });
            to.set_read_timeout(Some(within)).unwrap();
            to.recv_from(&mut [0; 8]).is_ok()
        };
        assert!(arrives(2, &server, LONG), "before it is held");
        segment.on(1, || load(&name_server(), &[vip])).unwrap();
        assert!(!arrives(2, &server, SHORT), "held, and it arrived from the network");
        assert!(arrives(1, &server, LONG), "held, and its own host does not reach it");
        assert!(arrives(2, &other, LONG), "another port is concerned");
        segment.on(1, release).unwrap();
        assert!(arrives(2, &server, LONG), "after it was released");
        segment.on(1, release).expect("it need not be there");
    }
}

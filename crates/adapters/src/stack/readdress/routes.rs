//! Routes of an interface that an address takes with it when it goes.

use super::Trouble;
use crate::run;
use std::net::IpAddr;
use std::time::Duration;

const BOUND: Duration = Duration::from_secs(5);

fn ip(like: IpAddr, words: &[&str]) -> Result<String, Trouble> {
    let family = if like.is_ipv4() { "-4" } else { "-6" };
    let words: Vec<&str> = [family].iter().chain(words).copied().collect();
    run::run("ip", &words, "", BOUND).map_err(|error| Trouble::new(error.to_string()))
}

/// As `ip route` shows them, but those that the kernel makes with an address.
pub(super) fn of(interface: &str, like: IpAddr) -> Result<Vec<String>, Trouble> {
    let shown = ip(like, &["route", "show", "dev", interface])?;
    let own = |line: &&str| !line.contains("proto kernel") && !line.contains("proto ra");
    Ok(shown.lines().map(str::trim).filter(own).map(str::to_owned).collect())
}

fn replace(route: &str, interface: &str, vip: IpAddr, own: IpAddr) -> Result<(), Trouble> {
    let (from, to) = (format!("src {vip}"), format!("src {own}"));
    let mut words: Vec<&str> = vec!["route", "replace"];
    let route = route.replace(&from, &to);
    words.extend(route.split_whitespace().filter(|word| !matches!(*word, "linkdown" | "dead")));
    words.extend(["dev", interface]);
    ip(vip, &words).map(drop)
}

fn prefers(route: &str, vip: IpAddr) -> bool {
    let mut words = route.split_whitespace().skip_while(|word| *word != "src");
    words.nth(1) == Some(vip.to_string().as_str())
}

/// Routes that prefer the address as their source would go with it: they prefer the other one from here on.
pub(super) fn leave(
    routes: &[String],
    interface: &str,
    vip: IpAddr,
    own: IpAddr,
) -> Result<(), Trouble> {
    for route in routes.iter().filter(|route| prefers(route, vip)) {
        replace(route, interface, vip, own)?;
    }
    Ok(())
}

/// Those that went all the same come back.
pub(super) fn restore(
    before: &[String],
    interface: &str,
    vip: IpAddr,
    own: IpAddr,
) -> Result<(), Trouble> {
    let left = of(interface, vip)?;
    let to = |route: &str| route.split_whitespace().next().unwrap_or_default().to_owned();
    for route in before {
        if !left.iter().any(|there| to(there) == to(route)) {
            replace(route, interface, vip, own)?;
        }
    }
    Ok(())
}

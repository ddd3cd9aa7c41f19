//! `activate-xcatmn` and `deactivate-xcatmn`: the options of xCAT's commands, compared with the configuration. Nothing
//! is asked of an agent before they agree: two places that say different things are a mistake in one of them.

use crate::config;
use crate::tls;
use regent_api::call::{Refusal, RefusalKind};
use regent_config::Settings;
use regent_config::settings::Member;
use std::net::IpAddr;
use std::path::Path;

/// What was given on the command line.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The interface, or an alias of it (`eth0:0`).
    pub nic: &'a str,
    /// The virtual IP.
    pub vip: &'a str,
    /// Its mask, dotted or as the length of a prefix.
    pub mask: Option<&'a str>,
    /// The shared directory.
    pub path: &'a Path,
}

/// Refuses whatever differs from the configuration, by name and with both values.
pub fn compare(given: &Given<'_>, file: &Path, tls: &Path) -> Result<(), Refusal> {
    let settings = config::load(file).map_err(|problems| Refusal {
        kind: RefusalKind::Configuration,
        reason: problems.to_string().trim_end().into(),
        remedy: format!("regent config check {}", file.display()),
    })?;
    let known = settings.members.iter().map(|m| m.name.as_str());
    let identity = tls::load(tls, known).map_err(|error| Refusal {
        kind: RefusalKind::Configuration,
        reason: error.to_string(),
        remedy: error.remedy().into(),
    })?;
    let me = settings.member(&identity.name).ok_or_else(|| Refusal {
        kind: RefusalKind::Configuration,
        reason: format!("{} is no member in {}", identity.name, file.display()),
        remedy: "regent ca issue makes certificates".into(),
    })?;
    let found = differences(given, &settings, me);
    if found.is_empty() {
        return Ok(());
    }
    Err(Refusal {
        kind: RefusalKind::Configuration,
        reason: format!("nothing was done: {}", found.join("; ")),
        remedy: format!("give what {} says, or change it there on every node", file.display()),
    })
}

/// What differs, in words.
fn differences(given: &Given<'_>, settings: &Settings, me: &Member) -> Vec<String> {
    let mut found = Vec::new();
    let mut differs = |option: &str, given: &str, configured: &str| {
        found.push(format!("{option} is {given}, and the configuration has {configured}"));
    };
    // An alias is a label of old tools; the address goes on the interface itself.
    let nic = given.nic.split(':').next().unwrap_or_default();
    if nic != me.interface {
        differs("-i", given.nic, &me.interface);
    }
    let address: Option<IpAddr> = given.vip.parse().ok();
    let vip = settings.vips.iter().find(|vip| Some(vip.address) == address);
    if vip.is_none() {
        differs("-v", given.vip, &settings.vip_text());
    }
    if let (Some(mask), Some(vip)) = (given.mask, vip)
        && prefix_of(mask) != Some(vip.prefix)
    {
        let configured = match vip.address {
            IpAddr::V4(_) => format!("{} ({})", dotted(vip.prefix), vip.prefix),
            IpAddr::V6(_) => vip.prefix.to_string(),
        };
        differs("-m", mask, &configured);
    }
    match settings.stack() {
        // Components, so that a slash at the end is no difference.
        Some(stack) if given.path.components().eq(stack.data.components()) => {}
        Some(stack) => {
            differs("-p", &given.path.display().to_string(), &stack.data.display().to_string());
        }
        None => differs("-p", &given.path.display().to_string(), "no shared data"),
    }
    found
}

/// The length of the prefix of a mask: `24`, `/24`, `255.255.255.0`; none if it is no mask.
fn prefix_of(mask: &str) -> Option<u8> {
    let text = mask.strip_prefix('/').unwrap_or(mask);
    if let Ok(length) = text.parse::<u8>() {
        return (length <= 128).then_some(length);
    }
    let bits = u32::from(text.parse::<std::net::Ipv4Addr>().ok()?);
    let length = bits.leading_ones();
    // Ones, then zeros, and nothing else.
    (bits.checked_shl(length).unwrap_or(0) == 0).then_some(length as u8)
}

fn dotted(prefix: u8) -> std::net::Ipv4Addr {
    let host = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
    std::net::Ipv4Addr::from(!host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared() -> Settings {
        let text = include_str!("../../config/tests/config/shared.toml");
        config::parse("shared.toml", text).unwrap()
    }

    #[test]
    fn what_agrees_with_the_configuration_is_let_through() {
        let settings = shared();
        let me = &settings.members[0];
        let vip = settings.principal();
        let (address, prefix) = (vip.address.to_string(), vip.prefix.to_string());
        let alias = format!("{}:0", me.interface);
        let data = format!("{}/", settings.stack().unwrap().data.display());
        let mask = dotted(vip.prefix).to_string();
        for nic in [me.interface.as_str(), alias.as_str()] {
            for mask in [None, Some(mask.as_str()), Some(prefix.as_str())] {
                let given = Given { nic, vip: &address, mask, path: Path::new(&data) };
                assert_eq!(differences(&given, &settings, me), Vec::<String>::new(), "{given:?}");
            }
        }
    }

    #[test]
    fn each_difference_is_told_with_both_values() {
        let settings = shared();
        let me = &settings.members[0];
        let vip = settings.principal();
        let address = vip.address.to_string();
        let given = Given {
            nic: "eth9",
            vip: &address,
            mask: Some("255.0.0.0"),
            path: Path::new("/elsewhere"),
        };
        let data = settings.stack().unwrap().data.display().to_string();
        assert_eq!(
            differences(&given, &settings, me),
            [
                format!("-i is eth9, and the configuration has {}", me.interface),
                format!(
                    "-m is 255.0.0.0, and the configuration has {} ({})",
                    dotted(vip.prefix),
                    vip.prefix
                ),
                format!("-p is /elsewhere, and the configuration has {data}"),
            ]
        );
        let other =
            Given { vip: "192.0.2.1", mask: None, nic: &me.interface, path: Path::new(&data) };
        let text = format!("-v is 192.0.2.1, and the configuration has {}", settings.vip_text());
        assert_eq!(differences(&other, &settings, me), [text]);
    }

    #[test]
    fn a_mask_is_dotted_or_the_length_of_a_prefix() {
        for (mask, prefix) in [
            ("255.255.255.0", Some(24)),
            ("24", Some(24)),
            ("/24", Some(24)),
            ("255.0.0.0", Some(8)),
            ("255.255.255.255", Some(32)),
            ("0.0.0.0", Some(0)),
            ("64", Some(64)),
            ("255.255.0.255", None),
            ("255.255.255", None),
            ("129", None),
            ("", None),
        ] {
            assert_eq!(prefix_of(mask), prefix, "{mask}");
        }
        assert_eq!(dotted(24).to_string(), "255.255.255.0");
        assert_eq!(dotted(32).to_string(), "255.255.255.255");
        assert_eq!(dotted(0).to_string(), "0.0.0.0");
    }
}

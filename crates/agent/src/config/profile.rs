//! Profiles: what a product's management node runs, so that nobody has to look it up. A profile is a piece of
//! configuration under the file: whatever the file says holds.

use super::keys;
use super::problem::Problem;
use super::tree::{At, Node, Value, read};

/// Which names a distribution gives to the units of the same programs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// Debian, Ubuntu and their relatives.
    Debian,
    /// Red Hat Enterprise Linux and its relatives, SUSE as well.
    RedHat,
}

impl Family {
    /// This host's, by os-release(5); Debian if it does not say.
    pub fn here() -> Family {
        let text = ["/etc/os-release", "/usr/lib/os-release"]
            .iter()
            .find_map(|path| std::fs::read_to_string(path).ok());
        Family::of(&text.unwrap_or_default())
    }

    /// The family that an os-release text tells by ID and ID_LIKE.
    pub fn of(os_release: &str) -> Family {
        let theirs = ["rhel", "fedora", "centos", "rocky", "almalinux", "suse", "sles", "opensuse"];
        let words = os_release
            .lines()
            .filter_map(|line| line.strip_prefix("ID=").or(line.strip_prefix("ID_LIKE=")))
            .flat_map(|value| value.trim_matches(['"', '\'']).split_whitespace());
        let mut words = words.map(str::to_ascii_lowercase);
        if words.any(|word| theirs.contains(&word.as_str())) {
            return Family::RedHat;
        }
        Family::Debian
    }
}

/// What the profile of this name supplies, if it supplies anything.
pub(super) fn supplied(name: &str, family: Family) -> Option<Node> {
    let (name, text) = match name {
        "zstack" => ("zstack", include_str!("profiles/zstack.toml")),
        "xcat" => ("xcat", include_str!("profiles/xcat.toml")),
        _ => return None,
    };
    let mut problems: Vec<Problem> = Vec::new();
    let mut node = read(text, &keys::FILE, Some(name), &mut problems)?.node;
    assert!(problems.is_empty(), "the profile {name} is wrong: {problems:?}");
    if name == "xcat" && family == Family::Debian {
        debian_units(&mut node);
    }
    Some(node)
}

/// The profile has the names of Red Hat; Debian packages the same programs under others.
fn debian_units(node: &mut Node) {
    const UNITS: [(&str, &str); 2] = [
        ("dhcpd.service", "isc-dhcp-server.service"),
        ("conserver.service", "conserver-server.service"),
    ];
    let Some(Value::List(services)) = node.get_mut("service").map(|at| &mut at.value) else {
        return;
    };
    for service in services {
        if let Some(At { value: Value::Text(unit), .. }) = service.get_mut("unit")
            && let Some((_, debian)) = UNITS.iter().find(|(redhat, _)| redhat == unit)
        {
            *unit = (*debian).into();
        }
    }
}

/// What of a profile is not in force, for people who would expect it.
pub fn caveat(profile: &str) -> Option<&'static str> {
    match profile {
        "xcat" => Some(
            "profile xcat: its services, units and probes are in force, on both nodes (dhcpd \
             therefore needs a configuration made for two servers); its shared-data topology (one \
             data directory that moves with the virtual IP) is not in this release: the database is \
             replicated, and /install, /etc/xcat and /tftpboot must be the same on both nodes by \
             other means",
        ),
        "zstack" => Some(
            "profile zstack: services, units and probes are in force; the virtual IP is put on by the native \
             driver unless [vip] driver = \"keepalived\" is written",
        ),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_tells_its_family() {
        assert_eq!(Family::of("ID=debian\n"), Family::Debian);
        assert_eq!(Family::of("ID=ubuntu\nID_LIKE=debian\n"), Family::Debian);
        assert_eq!(
            Family::of("NAME=x\nID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\n"),
            Family::RedHat
        );
        assert_eq!(Family::of("ID=\"opensuse-leap\"\nID_LIKE=\"suse opensuse\"\n"), Family::RedHat);
        assert_eq!(Family::of(""), Family::Debian);
    }
}

//! What the lab needs from Debian, installed when it is missing, and said so.

use anyhow::{Result, bail};

use crate::sh;

/// A program that proves the package, and the package.
const NEEDED: [(&str, &str); 8] = [
    ("debootstrap", "debootstrap"),
    ("systemd-nspawn", "systemd-container"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("mount", "mount"),
    ("bindfs", "bindfs"),
    ("ps", "procps"),
];

/// What unit tests run against: servers and agents as Debian ships them.
const SERVERS: [(&str, &str); 6] = [
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("mariadbd", "mariadb-server"),
    ("mariadb-backup", "mariadb-backup"),
    ("keepalived", "keepalived"),
    ("fence_redfish", "fence-agents"),
];

/// Names of packages whose programs are missing.
fn missing(needed: &[(&'static str, &'static str)]) -> Vec<&'static str> {
    needed.iter().filter(|(program, _)| !sh::has(program)).map(|(_, package)| *package).collect()
}

/// Installs what the lab needs, as root or by sudo.
pub fn ensure() -> Result<()> {
    install(&NEEDED)
}

/// Installs what unit tests run against. Nothing of it is started: the tests start their own.
pub fn ensure_servers() -> Result<()> {
    install(&SERVERS)
}

fn install(needed: &[(&'static str, &'static str)]) -> Result<()> {
    let missing = self::missing(needed);
    if missing.is_empty() {
        return Ok(());
    }
    if !sh::has("apt-get") {
        bail!("needs {}, and this machine has no apt-get", missing.join(", "));
    }
    sh::say(&format!("installing Debian packages: {}", missing.join(" ")));
    sh::must(sh::as_root("apt-get").args(["-q", "update"]))?;
    let mut install = sh::as_root("env");
    // In run level 1 a package starts no service (invoke-rc.d(8)).
    install.args(["DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1", "apt-get", "-q", "-y"]);
    install.args(["--no-install-recommends", "install"]).args(&missing);
    sh::must(&mut install)?;
    match self::missing(needed).as_slice() {
        [] => Ok(()),
        still => bail!("still missing after the installation: {}", still.join(", ")),
    }
}

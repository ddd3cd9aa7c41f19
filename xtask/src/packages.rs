//! What the lab needs from Debian, installed when it is missing, and said so.

use anyhow::{Result, bail};

use crate::sh;

/// A program that proves the package, and the package.
const NEEDED: [(&str, &str); 7] = [
    ("debootstrap", "debootstrap"),
    ("systemd-nspawn", "systemd-container"),
    ("nft", "nftables"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("mount", "mount"),
    ("ps", "procps"),
];

/// Names of packages whose programs are missing.
pub fn missing() -> Vec<&'static str> {
    NEEDED.iter().filter(|(program, _)| !sh::has(program)).map(|(_, package)| *package).collect()
}

/// Installs what is missing, as root or by sudo.
pub fn ensure() -> Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    if !sh::has("apt-get") {
        bail!("needs {}, and this machine has no apt-get", missing.join(", "));
    }
    sh::say(&format!("installing Debian packages: {}", missing.join(" ")));
    sh::must(sh::as_root("apt-get").args(["-q", "update"]))?;
    let mut install = sh::as_root("env");
    install.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"]);
    install.args(["--no-install-recommends", "install"]).args(&missing);
    sh::must(&mut install)?;
    match self::missing().as_slice() {
        [] => Ok(()),
        still => bail!("still missing after the installation: {}", still.join(", ")),
    }
}

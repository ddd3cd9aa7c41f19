//! A host whose only address becomes the virtual IP gets another one of its own (set-up of a second management node).
//!
//! The new address is there before the old one goes, live and in the persistent configuration, which is replaced at
//! once: a power cut between any two steps leaves a host with a working address. Each step is found to be done or
//! outstanding by looking, so it is run again until nothing is. It is undone by running it with both addresses
//! exchanged.

mod ifupdown;
mod networkd;
mod routes;

use super::files::{self, Rights};
use super::hands::Places;
use super::name;
use super::trouble::Trouble;
use crate::vip::address::{self, Place};
use crate::vip::{Known, interface_index, is_used, remove_everywhere};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Why it was not done: the place, the cause, and what to do.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct ReaddressError(String);

impl From<Trouble> for ReaddressError {
    fn from(trouble: Trouble) -> ReaddressError {
        ReaddressError(trouble.into_words())
    }
}

/// What is to be changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Readdress {
    /// The interface.
    pub interface: String,
    /// Its present address, which becomes the virtual IP.
    pub vip: IpAddr,
    /// Its own address from now on, in the same network.
    pub own: IpAddr,
    /// The host's own name from now on, if its present one becomes the virtual IP's.
    pub own_name: Option<String>,
    /// Where copies of the files are kept as they were.
    pub state_dir: PathBuf,
}

/// One step that is outstanding.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Change {
    Add(Place),
    Write(PathBuf, Vec<u8>),
    Name(String),
    Release,
}

impl Readdress {
    /// What is outstanding, in words and in order; nothing if all is done. Changes nothing.
    pub fn plan(&self) -> Result<Vec<String>, ReaddressError> {
        self.plan_at(Path::new("/"))
    }

    /// Does what is outstanding; each step is told before it is done.
    pub fn apply(&self, told: impl FnMut(&str)) -> Result<(), ReaddressError> {
        self.apply_at(Path::new("/"), told)
    }

    fn plan_at(&self, root: &Path) -> Result<Vec<String>, ReaddressError> {
        Ok(self.changes(root)?.iter().map(|change| self.words(change)).collect())
    }

    fn apply_at(&self, root: &Path, mut told: impl FnMut(&str)) -> Result<(), ReaddressError> {
        for change in self.changes(root)? {
            told(&self.words(&change));
            match change {
                Change::Add(place) => self.add(place)?,
                Change::Write(path, bytes) => self.write(&path, &bytes)?,
                Change::Name(name) => self.call(root, &name)?,
                Change::Release => self.release()?,
            }
        }
        Ok(())
    }

    fn words(&self, change: &Change) -> String {
        let interface = &self.interface;
        match change {
            Change::Add(place) => {
                format!("ip addr add {}/{} dev {interface}", place.address, place.prefix)
            }
            Change::Write(path, _) => {
                format!("{}: {} instead of {}", path.display(), self.own, self.vip)
            }
            Change::Name(name) => {
                format!("hostname {name}, in /etc/hostname and /etc/hosts as well")
            }
            Change::Release => format!("ip addr del {} dev {interface}", self.vip),
        }
    }

    fn changes(&self, root: &Path) -> Result<Vec<Change>, ReaddressError> {
        let mut changes = Vec::new();
        let refused = |words: String| Err(ReaddressError(words));
        let (vip, own, interface) = (self.vip, self.own, &self.interface);
        if vip == own {
            return refused(format!(
                "{own} is to be the virtual IP: the host needs another address"
            ));
        }
        let index =
            interface_index(interface).map_err(|error| ReaddressError(error.to_string()))?;
        let all = addresses()?;
        let at = |address: IpAddr| {
            all.iter().find(|(place, _)| place.address == address && place.index == index)
        };
        let (old, new) = (at(vip), at(own));
        match (old, new) {
            (None, None) => {
                return refused(format!(
                    "neither {vip} nor {own} is on {interface}: name the interface"
                ));
            }
            (Some((old, _)), None) => {
                let place = Place { address: own, ..*old };
                if !address::covers(old, own) {
                    return refused(format!(
                        "{own} is not in the network of {interface}, {vip}/{}: choose one that is",
                        old.prefix
                    ));
                }
                let used = is_used(interface, own, &Known::default());
                if let Some(mac) = used.map_err(|error| ReaddressError(error.to_string()))? {
                    return refused(format!("{own} is in use by {mac}: choose another address"));
                }
                changes.push(Change::Add(place));
            }
            (_, Some(_)) => {}
        }
        changes.extend(self.files(root)?);
        if let Some(name) = &self.own_name
            && (name::host_name() != *name || written_name(root) != *name)
        {
            changes.push(Change::Name(name.clone()));
        }
        // One with a lifetime is the agent's.
        if old.is_some_and(|(_, lasts)| *lasts) {
            changes.push(Change::Release);
        }
        Ok(changes)
    }

    /// The files of the persistent configuration that have the old address, as they are to be.
    fn files(&self, root: &Path) -> Result<Vec<Change>, ReaddressError> {
        let mut changes = Vec::new();
        let mut has_new = false;
        let mut foreign = Vec::new();
        for found in configurations(root)? {
            let text = String::from_utf8_lossy(&found.bytes).into_owned();
            has_new |= has(&text, self.own);
            if !has(&text, self.vip) {
                continue;
            }
            let changed = match found.kind {
                Manager::Ifupdown => ifupdown::changed(&text, &self.interface, self.vip, self.own),
                Manager::Networkd => networkd::changed(&text, &self.interface, self.vip, self.own),
                Manager::Other => None,
            };
            match changed {
                Some(text) => changes.push(Change::Write(found.path, text.into_bytes())),
                None => foreign.push(found.path.display().to_string()),
            }
        }
        if !foreign.is_empty() {
            return Err(ReaddressError(format!(
                "{} has {}, and is not understood here: write {} there instead, by hand, then run this again",
                foreign.join(", "),
                self.vip,
                self.own
            )));
        }
        if changes.is_empty() && !has_new {
            return Err(ReaddressError(format!(
                "no file of the network's configuration has {} (an address by DHCP?): configure {} on {} there, so \
                 that it outlives a boot, then run this again",
                self.vip, self.own, self.interface
            )));
        }
        Ok(changes)
    }

    fn add(&self, place: Place) -> Result<(), ReaddressError> {
        let added = address::add_for_good(place);
        added.map_err(|error| ReaddressError(format!("add {}: {error}", place.address)))?;
        files::crash::point();
        Ok(())
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> Result<(), ReaddressError> {
        // Not beside it: what stands in such a directory may be read as configuration.
        let name = path.strip_prefix("/").unwrap_or(path).to_string_lossy().replace('/', "_");
        let kept = self.state_dir.join("readdress").join(name);
        if !kept.exists() {
            let above = kept.parent().unwrap_or(&self.state_dir);
            fs::create_dir_all(above).map_err(Trouble::at("make", above))?;
            files::copy_file(path, &kept)?;
        }
        let found = fs::metadata(path).map_err(Trouble::at("look at", path))?;
        // Through a link: what it leads to is the configuration.
        let real = fs::canonicalize(path).map_err(Trouble::at("follow", path))?;
        Ok(files::write(&real, bytes, Rights::of(&found))?)
    }

    fn call(&self, root: &Path, wanted: &str) -> Result<(), ReaddressError> {
        let places = Places { root: root.to_owned() };
        let hosts = places.etc("hosts");
        let text = fs::read_to_string(&hosts).unwrap_or_default();
        let known = |line: &str| line.split_whitespace().skip(1).any(|name| name == wanted);
        if !text.lines().any(|line| known(line.split('#').next().unwrap_or_default())) {
            let line = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
            let text = format!("{text}{line}{} {wanted}\n", self.own);
            files::write(&hosts, text.as_bytes(), Rights::ROOTS)?;
        }
        files::write(&places.hostname(), format!("{wanted}\n").as_bytes(), Rights::ROOTS)?;
        Ok(name::set(wanted)?)
    }

    /// The old address goes; the new one, its network's route and all others stay.
    fn release(&self) -> Result<(), ReaddressError> {
        let interface = &self.interface;
        if self.vip.is_ipv4() {
            // Otherwise the kernel takes all addresses of a network away with its first.
            let path = format!("/proc/sys/net/ipv4/conf/{interface}/promote_secondaries");
            let path = Path::new(&path);
            fs::write(path, "1\n").map_err(Trouble::at("write", path))?;
        }
        let before = routes::of(interface, self.vip)?;
        routes::leave(&before, interface, self.vip, self.own)?;
        files::crash::point();
        remove_everywhere(self.vip).map_err(|error| ReaddressError(error.to_string()))?;
        files::crash::point();
        routes::restore(&before, interface, self.vip, self.own)?;
        Ok(())
    }
}

fn addresses() -> Result<Vec<(Place, bool)>, ReaddressError> {
    let all = address::all_and_lasting();
    all.map_err(|error| ReaddressError(format!("list the addresses of this host: {error}")))
}

fn written_name(root: &Path) -> String {
    let path = Places { root: root.to_owned() }.hostname();
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// Who reads a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Manager {
    Ifupdown,
    Networkd,
    /// netplan, NetworkManager, ifcfg: not changed here.
    Other,
}

struct Configuration {
    path: PathBuf,
    kind: Manager,
    bytes: Vec<u8>,
}

/// All files that may give an interface its address at a boot.
fn configurations(root: &Path) -> Result<Vec<Configuration>, Trouble> {
    use Manager::{Ifupdown, Networkd, Other};
    const PLACES: [(&str, &str, Manager); 6] = [
        ("etc/network/interfaces.d", "", Ifupdown),
        ("etc/systemd/network", ".network", Networkd),
        ("etc/netplan", ".yaml", Other),
        ("etc/NetworkManager/system-connections", "", Other),
        ("etc/sysconfig/network-scripts", "", Other),
        ("etc/sysconfig/network", "", Other),
    ];
    let mut paths = vec![(root.join("etc/network/interfaces"), Ifupdown)];
    for (directory, ending, kind) in PLACES {
        let entries = fs::read_dir(root.join(directory)).into_iter().flatten().flatten();
        let mut found: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        found.sort();
        let fits = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            !name.starts_with('.') && name.ends_with(ending)
        };
        paths.extend(found.into_iter().filter(fits).map(|path| (path, kind)));
    }
    let mut all = Vec::new();
    for (path, kind) in paths.into_iter().filter(|(path, _)| path.is_file()) {
        let bytes = fs::read(&path).map_err(Trouble::at("read", &path))?;
        all.push(Configuration { path, kind, bytes });
    }
    Ok(all)
}

/// The address is that of a server which a host asks: one that moves with the virtual IP is still found there.
fn names_a_server(line: &str) -> bool {
    let key = line.trim_start().split([' ', '\t', '=']).next().unwrap_or_default();
    matches!(key, "dns-nameservers" | "dns-nameserver" | "DNS" | "NTP")
}

/// The address stands in one of the lines that are no comments, and is to be this host's.
fn has(text: &str, address: IpAddr) -> bool {
    let counts = |line: &&str| !line.trim_start().starts_with(['#', ';']) && !names_a_server(line);
    text.lines().filter(counts).any(|line| at(line, address).is_some())
}

/// Where the address stands as a word of its own, perhaps with a prefix length.
fn at(line: &str, address: IpAddr) -> Option<usize> {
    let wanted = address.to_string();
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':');
    line.match_indices(&wanted).map(|(at, _)| at).find(|at| {
        let before = line[..*at].chars().next_back();
        let after = line[at + wanted.len()..].chars().next();
        // A key may end with a colon or an equal sign, and then a blank or none.
        !before.is_some_and(|c| c.is_ascii_alphanumeric() || c == '.')
            && !after.is_some_and(is_part)
    })
}

/// The line with the other address in its place.
fn exchanged(line: &str, vip: IpAddr, own: IpAddr) -> Option<String> {
    let at = at(line, vip)?;
    Some(format!("{}{own}{}", &line[..at], &line[at + vip.to_string().len()..]))
}

#[cfg(test)]
mod tests;

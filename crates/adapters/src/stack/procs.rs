//! Who of this host still holds what is to be given up: open files, processes by name, listeners.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// A process that is in the way.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Process {
    pub(super) pid: i32,
    pub(super) comm: String,
    /// What of it is in the way.
    pub(super) holds: String,
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {}) {}", self.comm, self.pid, self.holds)
    }
}

/// The first few in words.
pub(super) fn named(processes: &[Process]) -> String {
    const SHOWN: usize = 6;
    let mut words: Vec<String> = processes.iter().take(SHOWN).map(Process::to_string).collect();
    if processes.len() > SHOWN {
        words.push(format!("and {} more", processes.len() - SHOWN));
    }
    words.join(", ")
}

fn pids() -> Vec<i32> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

fn comm(pid: i32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim_end().to_owned())
}

/// Processes with an open file, a working directory, a root, a program or a mapping under one of these directories. A
/// process that ends meanwhile holds nothing.
pub(super) fn holders(under: &[PathBuf]) -> Vec<Process> {
    pids()
        .into_iter()
        .filter_map(|pid| {
            let holds = held(pid, under)?;
            Some(Process { pid, comm: comm(pid)?, holds })
        })
        .collect()
}

/// How somebody is named who has no more than a working directory there.
pub(super) const WORKS_IN: &str = "works in";

fn held(pid: i32, under: &[PathBuf]) -> Option<String> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let inside = |path: &Path| under.iter().any(|directory| path.starts_with(directory));
    let is_at = |name: &str, words: &str| {
        let path = fs::read_link(process.join(name)).ok().filter(|path| inside(path))?;
        Some(format!("{words} {}", path.display()))
    };
    if let Some(words) = is_at("root", "has as root").or_else(|| is_at("exe", "runs")) {
        return Some(words);
    }
    for open in fs::read_dir(process.join("fd")).into_iter().flatten().flatten() {
        if let Ok(path) = fs::read_link(open.path())
            && inside(&path)
        {
            return Some(format!("has {} open", path.display()));
        }
    }
    let maps = fs::read_to_string(process.join("maps")).unwrap_or_default();
    let mapped = maps.lines().filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])));
    match mapped.into_iter().find(|path| inside(path)) {
        Some(path) => Some(format!("has {} mapped", path.display())),
        None => is_at("cwd", WORKS_IN),
    }
}

/// Where something is mounted at or under one of these directories.
pub(super) fn mounts_under(under: &[PathBuf]) -> Vec<PathBuf> {
    let mounts = mounts();
    let points = mounts.into_iter().map(|mount| mount.on);
    points.filter(|on| under.iter().any(|directory| on.starts_with(directory))).collect()
}

/// One line of /proc/self/mountinfo.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mount {
    pub(super) on: PathBuf,
    pub(super) source: String,
    pub(super) fstype: String,
}

pub(super) fn mounts() -> Vec<Mount> {
    parse_mounts(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default())
}

fn parse_mounts(text: &str) -> Vec<Mount> {
    let one = |line: &str| {
        let (place, what) = line.split_once(" - ")?;
        let mut what = what.split(' ');
        let fstype = unescaped(what.next()?);
        let on = PathBuf::from(unescaped(place.split(' ').nth(4)?));
        Some(Mount { on, fstype, source: unescaped(what.next()?) })
    };
    text.lines().filter_map(one).collect()
}

/// Blanks and the like are octal there.
fn unescaped(text: &str) -> String {
    let mut out = text.to_owned();
    for (escape, plain) in [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")] {
        out = out.replace(escape, plain);
    }
    out
}

/// Processes of these names, in this host's own process namespace: those of a container are not its own.
pub(super) fn of_names(names: &[String]) -> Vec<Process> {
    if names.is_empty() {
        return Vec::new();
    }
    let ours = fs::read_link("/proc/self/ns/pid").ok();
    let mut found = Vec::new();
    for pid in pids() {
        let Some(comm) = comm(pid) else { continue };
        if !names.iter().any(|name| is_called(&comm, name)) {
            continue;
        }
        let theirs = fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let ended = fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
            stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['Z', 'X']))
        });
        if theirs.is_some() && theirs == ours && !ended {
            found.push(Process { pid, comm, holds: "runs".into() });
        }
    }
    found
}

/// The kernel keeps 15 bytes; a program may add what it is doing after a colon.
fn is_called(comm: &str, name: &str) -> bool {
    let end = name.char_indices().map(|(at, c)| at + c.len_utf8()).take_while(|end| *end <= 15);
    let kept = &name[..end.last().unwrap_or(0)];
    comm == kept || comm.strip_prefix(kept).is_some_and(|rest| rest.starts_with(':'))
}

/// A port of this host.
pub(super) type Port = (bool, u16);

/// Who listens on these ports (TCP if `true`); a socket whose process cannot be found is named by its port alone.
pub(super) fn listeners(ports: &[Port]) -> BTreeMap<Port, Vec<Process>> {
    let mut found: BTreeMap<Port, Vec<Process>> = BTreeMap::new();
    if ports.is_empty() {
        return found;
    }
    let mut sockets: BTreeMap<u64, Port> = BTreeMap::new();
    for (file, tcp) in [("tcp", true), ("tcp6", true), ("udp", false), ("udp6", false)] {
        let text = fs::read_to_string(format!("/proc/net/{file}")).unwrap_or_default();
        for (port, inode) in text.lines().skip(1).filter_map(|line| bound(line, tcp)) {
            if ports.contains(&(tcp, port)) {
                sockets.insert(inode, (tcp, port));
            }
        }
    }
    if sockets.is_empty() {
        return found;
    }
    let mut unowned: BTreeSet<u64> = sockets.keys().copied().collect();
    for pid in pids() {
        for open in fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten() {
            let Some(inode) = fs::read_link(open.path()).ok().and_then(|to| socket(&to)) else {
                continue;
            };
            let (Some(port), Some(comm)) = (sockets.get(&inode), comm(pid)) else { continue };
            unowned.remove(&inode);
            let process = Process { pid, comm, holds: format!("listens on {}", worded(*port)) };
            let there = found.entry(*port).or_default();
            if !there.contains(&process) {
                there.push(process);
            }
        }
    }
    for port in unowned.iter().filter_map(|inode| sockets.get(inode)) {
        let holds = format!("listens on {}", worded(*port));
        let nobody = Process { pid: 0, comm: "a process that cannot be seen".into(), holds };
        found.entry(*port).or_insert_with(|| vec![nobody]);
    }
    // The host's own resolver has an address of its own (127.0.0.53) and is no part of the stack.
    for there in found.values_mut() {
        there.retain(|process| process.comm != "systemd-resolve");
    }
    found.retain(|_, there| !there.is_empty());
    found
}

pub(super) fn worded((tcp, port): Port) -> String {
    format!("{}/{port}", if tcp { "tcp" } else { "udp" })
}

fn socket(link: &Path) -> Option<u64> {
    link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// The port and inode of a line of /proc/net/tcp (only of one that listens) or udp.
fn bound(line: &str, tcp: bool) -> Option<(u16, u64)> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let port = u16::from_str_radix(fields.get(1)?.rsplit(':').next()?, 16).ok()?;
    // TCP_LISTEN; UDP sockets that are connected (1) are clients.
    let listens = if tcp { *fields.get(3)? == "0A" } else { *fields.get(3)? == "07" };
    if !listens {
        return None;
    }
    Some((port, fields.get(9)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    #[test]
    fn a_name_is_known_by_what_the_kernel_keeps_of_it() {
        assert!(is_called("named", "named"));
        assert!(is_called("xcatd: SSL list", "xcatd"));
        assert!(is_called("conserver-serve", "conserver-server"));
        assert!(!is_called("namedx", "named"));
        assert!(!is_called("name", "named"));
    }

    #[test]
    fn mounts_are_read_with_their_blanks() {
        let text = "36 35 98:0 /root /mnt\\040two rw,noatime shared:1 - ext3 /dev/root rw\n";
        let mount =
            Mount { on: "/mnt two".into(), source: "/dev/root".into(), fstype: "ext3".into() };
        assert_eq!(parse_mounts(text), [mount]);
    }

    #[test]
    fn whoever_listens_is_named() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("[::1]:0").unwrap();
        let ports =
            [(true, tcp.local_addr().unwrap().port()), (false, udp.local_addr().unwrap().port())];
        let found = listeners(&ports);
        for port in ports {
            assert_eq!(found[&port][0].pid, std::process::id() as i32, "{port:?}");
        }
        drop((tcp, udp));
        assert!(listeners(&ports).is_empty());
    }

    #[test]
    fn whoever_holds_a_file_is_named() {
        let directory = std::env::temp_dir().join(format!("holders-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        assert_eq!(holders(std::slice::from_ref(&directory)), []);
        let open = fs::File::create(directory.join("a")).unwrap();
        let found = holders(std::slice::from_ref(&directory));
        assert_eq!(found.len(), 1);
        assert!(named(&found).contains("/a open"), "{}", named(&found));
        drop(open);
        fs::remove_dir_all(&directory).unwrap();
    }
}

//! The host's name, and whom its resolver asks first.

use super::before::HostName;
use super::files::{self, Kept, Rights, crash};
use super::hands::Hands;
use super::trouble::Trouble;
use regent_core::stack::StepState;
use std::net::IpAddr;

/// As the kernel has it.
pub(super) fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

pub(super) fn set(name: &str) -> Result<(), Trouble> {
    crash::point();
    rustix::system::sethostname(name.as_bytes())
        .map_err(|error| Trouble::new(format!("call this host {name}: {error}")))?;
    crash::point();
    Ok(())
}

/// The name is only the kernel's: a boot comes up with the original one, from /etc/hostname.
pub(super) fn take_name(hands: &mut Hands, wanted: &str) -> Result<(), Trouble> {
    let now = host_name();
    if now == wanted {
        return Ok(());
    }
    // A record that is there is of this use: what was changed since is not what the host looked like before.
    if hands.record.get().host_name.is_none() {
        let file = Kept::of(&hands.places.hostname())?;
        hands.record.change(|before| before.host_name = Some(HostName { name: now, file }))?;
    }
    set(wanted)
}

/// The name that a boot would give.
fn written(hands: &Hands) -> String {
    let text = std::fs::read(hands.places.hostname()).unwrap_or_default();
    String::from_utf8_lossy(&text).trim().to_owned()
}

/// A host of the virtual IP's name that does not know one of its own.
pub(super) fn no_way_back(hands: &Hands, wanted: &str) -> Option<String> {
    let own = written(hands);
    if hands.record.get().host_name.is_some() || !(own.is_empty() || own == wanted) {
        return None;
    }
    Some(format!(
        "this host is called {wanted}, as the virtual IP, and neither regent's record nor {} says what else: \
         write the host's own name there",
        hands.places.hostname().display()
    ))
}

pub(super) fn give_name_back(hands: &mut Hands, wanted: &str) -> Result<(), Trouble> {
    let path = hands.places.hostname();
    let written = written(hands);
    let Some(before) = hands.record.get().host_name.clone() else {
        if host_name() != wanted {
            return Ok(());
        }
        return match no_way_back(hands, wanted) {
            Some(words) => Err(Trouble::new(words)),
            None => set(&written),
        };
    };
    // Somebody wrote the virtual IP's name there; any other change is an administrator's, and holds.
    if written == wanted {
        before.file.put_back(&path)?;
    }
    if host_name() == wanted {
        set(&before.name)?;
    }
    files::tidy(&path)?;
    hands.record.change(|record| record.host_name = None)
}

pub(super) fn name_state(hands: &Hands, wanted: &str) -> StepState {
    let now = host_name();
    if now == wanted {
        return StepState::Up;
    }
    match &hands.record.get().host_name {
        Some(before) if before.name != now => {
            StepState::Partly(format!("this host is called {now}, not {wanted}"))
        }
        Some(_) | None => StepState::Down,
    }
}

/// The text with this name server before all others; none if it is so.
fn asking_first(text: &str, first: IpAddr) -> Option<String> {
    if first_asked(text) == Some(first.to_string().as_str()) {
        return None;
    }
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let at = lines.iter().position(|line| server(line).is_some()).unwrap_or(lines.len());
    lines.insert(at, format!("nameserver {first}"));
    Some(lines.join("\n") + "\n")
}

fn first_asked(text: &str) -> Option<&str> {
    text.lines().find_map(server)
}

fn server(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    (words.next() == Some("nameserver")).then(|| words.next()).flatten()
}

fn resolver_text(hands: &Hands) -> Result<String, Trouble> {
    let path = hands.places.resolver();
    match std::fs::read(&path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if files::is_absent(&error) => Ok(String::new()),
        Err(error) => Err(Trouble::at("read", &path)(error)),
    }
}

pub(super) fn ask_first(hands: &mut Hands, first: IpAddr) -> Result<(), Trouble> {
    let path = hands.places.resolver();
    // What a link leads to belongs to a program that rewrites it, so the link is replaced.
    let text = resolver_text(hands)?;
    let Some(text) = asking_first(&text, first) else { return Ok(()) };
    let kept = Kept::of(&path)?;
    let rights = match &kept {
        Kept::File { rights, .. } => *rights,
        Kept::Absent | Kept::Link { .. } => Rights::ROOTS,
    };
    if hands.record.get().resolver.is_none() {
        hands.record.change(|before| before.resolver = Some(kept))?;
    }
    files::write(&path, text.as_bytes(), rights)
}

pub(super) fn ask_as_before(hands: &mut Hands, first: IpAddr) -> Result<(), Trouble> {
    let path = hands.places.resolver();
    if let Some(kept) = hands.record.get().resolver.clone() {
        kept.put_back(&path)?;
        files::tidy(&path)?;
        return hands.record.change(|before| before.resolver = None);
    }
    let text = resolver_text(hands)?;
    if first_asked(&text) != Some(first.to_string().as_str()) {
        return Ok(());
    }
    // Written by somebody else: only the line goes.
    let ours = text.lines().position(|line| server(line).is_some());
    let left: Vec<&str> =
        text.lines().enumerate().filter(|(n, _)| Some(*n) != ours).map(|(_, l)| l).collect();
    files::write(&path, (left.join("\n") + "\n").as_bytes(), Rights::ROOTS)
}

pub(super) fn resolver_state(hands: &Hands, first: IpAddr) -> StepState {
    let text = match resolver_text(hands) {
        Ok(text) => text,
        Err(trouble) => return StepState::Unknown(trouble.into_words()),
    };
    if first_asked(&text) == Some(first.to_string().as_str()) {
        return StepState::Up;
    }
    match &hands.record.get().resolver {
        Some(_) => StepState::Partly(format!(
            "{} was rewritten: it does not ask {first} first",
            hands.places.resolver().display()
        )),
        None => StepState::Down,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_virtual_ip_is_asked_before_the_others() {
        let vip: IpAddr = "10.1.0.100".parse().unwrap();
        let text = "search example.org\n# a comment\nnameserver 10.1.0.1\noptions edns0\n";
        let ours = asking_first(text, vip).unwrap();
        assert_eq!(
            ours,
            "search example.org\n# a comment\nnameserver 10.1.0.100\nnameserver 10.1.0.1\n\
             options edns0\n"
        );
        assert_eq!(asking_first(&ours, vip), None);
        assert_eq!(asking_first("", vip).unwrap(), "nameserver 10.1.0.100\n");
    }
}

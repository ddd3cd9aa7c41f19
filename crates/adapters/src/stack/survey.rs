//! Looks at everything and changes nothing: where each step is, what would keep an activation from succeeding, and what
//! is not as this node's role asks for.

use super::hands::{Hands, Places};
use super::settings::StackSettings;
use super::unit::Shown;
use super::{busy, carry, choice, claim, database, files, mount, name, room, unit};
use crate::vip::address::{self, Place};
use crate::vip::{interface_index, link};
use regent_config::steps::{Kind, Unit};
use regent_core::stack::{StackStep, StepState, Survey};
use rustix::fs::{Access, access};
use std::net::{IpAddr, ToSocketAddrs};
use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

/// How long a name server is waited for.
const NAME_MAX: Duration = Duration::from_millis(800);
/// Added to what drifted.
const REMEDY: &str = "regent stack repair";

/// What a set-up of this host brings about by itself before the activation: the lack of it is no problem beforehand.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mends {
    /// The token on the shared data is made with the cluster.
    pub token: bool,
    /// The host gets another address and another name than those of the virtual IP.
    pub address: bool,
    /// The other node brings the data.
    pub data: bool,
}

/// What stands in the way of a host's set-up: whatever its later stages would refuse, but for what they mend. An
/// active host is set up.
pub(super) fn before_set_up(hands: &Hands, mends: Mends) -> Vec<String> {
    if hands.is_active() {
        return Vec::new();
    }
    let shown = units(hands);
    let steps = states(hands, &shown);
    let data_is_here = !mount::waits_for_mount(hands);
    let mut found = problems(hands, &shown, &steps, data_is_here, mends);
    // Measured once, while there is no cluster that somebody waits for.
    if data_is_here && !mends.data && mends.token {
        found.extend(room::problem(hands));
    }
    found.extend(busy::local_users(hands));
    found
}

/// Looks at everything.
pub(super) fn survey(hands: &Hands) -> Survey {
    let shown = units(hands);
    let steps = states(hands, &shown);
    let data_is_here = !mount::waits_for_mount(hands) && hands.lost().is_none();
    let claim = if data_is_here { claim::look(&hands.settings.data) } else { None };
    Survey {
        problems: problems(hands, &shown, &steps, data_is_here, Mends::default()),
        drift: drift(hands, &shown, &steps),
        permit: hands.is_active(),
        claim: claim.as_ref().map(|(claim, _)| *claim),
        claimant: claim.map(|(_, claimant)| claimant),
        unsettled: hands.has_hung(),
        steps,
    }
}

/// What is there after a step. In the middle of a way up or down only what the step could change is looked at again;
/// when everything is up or everything is down, everything is.
pub(super) fn after(hands: &Hands, done: StackStep, last: Option<Survey>) -> Survey {
    let step = match done {
        StackStep::Up { step } | StackStep::Down { step } => step,
        StackStep::Survey
        | StackStep::Claim { .. }
        | StackStep::Revoke
        | StackStep::Unclaim { .. }
        | StackStep::Repair => return survey(hands),
    };
    let place = usize::from(step.0);
    let Some((mut known, own)) = last.zip(hands.settings.steps.get(place)) else {
        return survey(hands);
    };
    if known.steps.len() != hands.settings.steps.len() {
        return survey(hands);
    }
    known.steps[place] = match &own.kind {
        Kind::Unit(unit) => unit::state(&unit::look(std::slice::from_ref(unit)), unit),
        Kind::Mount { .. }
        | Kind::HostName(_)
        | Kind::Link { .. }
        | Kind::Resolver(_)
        | Kind::Carry { .. }
        | Kind::Install { .. }
        | Kind::Database(_) => hands.state(own),
    };
    let is_end = |end: StepState| known.steps.iter().all(|state| *state == end);
    if is_end(StepState::Up) || is_end(StepState::Down) {
        return survey(hands);
    }
    known.permit = hands.is_active();
    known.drift.clear();
    known
}

/// What systemd says of all units of all steps.
pub(super) fn units(hands: &Hands) -> Result<Vec<Shown>, super::trouble::Trouble> {
    let units: Vec<Unit> =
        hands.settings.steps.iter().filter_map(|step| unit_of(&step.kind)).collect();
    unit::look(&units)
}

fn unit_of(kind: &Kind) -> Option<Unit> {
    match kind {
        Kind::Unit(unit) => Some(unit.clone()),
        Kind::Mount { .. }
        | Kind::HostName(_)
        | Kind::Link { .. }
        | Kind::Resolver(_)
        | Kind::Carry { .. }
        | Kind::Install { .. }
        | Kind::Database(_) => None,
    }
}

pub(super) fn states(
    hands: &Hands,
    shown: &Result<Vec<Shown>, super::trouble::Trouble>,
) -> Vec<StepState> {
    let one = |step: &super::Step| match &step.kind {
        Kind::Unit(unit) => unit::state(shown, unit),
        Kind::Mount { .. }
        | Kind::HostName(_)
        | Kind::Link { .. }
        | Kind::Resolver(_)
        | Kind::Carry { .. }
        | Kind::Install { .. }
        | Kind::Database(_) => hands.state(step),
    };
    hands.settings.steps.iter().map(one).collect()
}

/// Why an activation here would be refused before its first change.
fn problems(
    hands: &Hands,
    shown: &Result<Vec<Shown>, super::trouble::Trouble>,
    steps: &[StepState],
    data_is_here: bool,
    mends: Mends,
) -> Vec<String> {
    let mut found = network_problems(&hands.settings, hands.is_active(), mends.address);
    if let Some(lost) = hands.lost() {
        // What is on it cannot be looked at: the rest would be guesses.
        found.push(lost);
        return found;
    }
    if data_is_here {
        found.extend(data_problems(&hands.settings.data, mends.token));
    }
    for (step, state) in hands.settings.steps.iter().zip(steps) {
        match &step.kind {
            Kind::Mount { .. } => found.extend(mount::problem(&step.kind)),
            Kind::HostName(wanted) if *state != StepState::Up || mends.address => {
                let brought = mends.data && carries_hosts(hands);
                found.extend(name_problem(hands, wanted).filter(|_| !brought));
            }
            Kind::HostName(wanted) => found.extend(name::no_way_back(hands, wanted)),
            Kind::Link { path, .. } if *state != StepState::Up => {
                let mounted = super::procs::mounts_under(std::slice::from_ref(path));
                found.extend(mounted.first().map(|on| {
                    format!(
                        "{} is a mount point, and {} is to be a link",
                        on.display(),
                        path.display()
                    )
                }));
            }
            // The data are read only when they are all there.
            Kind::Database(engine) if data_is_here && *state != StepState::Up && !mends.data => {
                found.extend(database::check(hands, engine));
            }
            Kind::Unit(unit) if !hands.awaits_install() => match shown {
                Ok(shown) if unit::is_missing(shown, unit) => found.push(unit::no_unit(unit)),
                Ok(_) => {}
                Err(trouble) => found.push(trouble.to_string()),
            },
            Kind::Link { .. }
            | Kind::Resolver(_)
            | Kind::Carry { .. }
            | Kind::Install { .. }
            | Kind::Database(_)
            | Kind::Unit(_) => {}
        }
    }
    found.dedup();
    found
}

/// `gives_way`: the virtual IP may be this node's own address still.
fn network_problems(settings: &StackSettings, active: bool, gives_way: bool) -> Vec<String> {
    let interface = &settings.interface;
    let Ok(index) = interface_index(interface) else {
        return vec![format!("there is no interface {interface} on this node")];
    };
    let mut found = Vec::new();
    match link::carrier(interface) {
        Ok(true) => {}
        Ok(false) => {
            found.push(format!("interface {interface} is down: ip link set {interface} up"))
        }
        Err(error) => found.push(error.to_string()),
    }
    let all = match address::all_and_lasting() {
        Ok(all) => all,
        Err(error) => {
            found.push(format!("list the addresses of this node: {error}"));
            return found;
        }
    };
    for (vip, prefix) in &settings.vips {
        if let Some((place, _)) =
            all.iter().find(|(p, lasts)| p.address == *vip && *lasts && !active && !gives_way)
        {
            found.push(format!(
                "the virtual IP {vip} is this node's own address (interface number {}): give the node \
                 another one (regent setup shared-data --readdress ADDRESS/LENGTH)",
                place.index
            ));
            continue;
        }
        let own: Vec<&Place> = all
            .iter()
            .map(|(place, _)| place)
            // The address that comes instead has the same network.
            .filter(|p| {
                p.index == index && (p.address != *vip || gives_way) && is_like(p.address, *vip)
            })
            .collect();
        let covering = own.iter().find(|place| address::covers(place, *vip));
        match covering {
            None if own.is_empty() => {}
            None => found.push(format!(
                "the virtual IP {vip} is in none of the networks of {interface}: {}",
                own.iter().map(|p| format!("{}/{}", p.address, p.prefix)).collect::<Vec<_>>().join(", ")
            )),
            Some(place) if *prefix != place.prefix && *prefix != width(*vip) => found.push(format!(
                "the virtual IP is {vip}/{prefix}, and the network of {interface} is {}/{}: correct the mask",
                place.address, place.prefix
            )),
            Some(_) => {}
        }
    }
    found
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Of the same family, and no address of the link alone.
fn is_like(own: IpAddr, vip: IpAddr) -> bool {
    match (own, vip) {
        (IpAddr::V4(_), IpAddr::V4(_)) => true,
        (IpAddr::V6(own), IpAddr::V6(_)) => !own.is_unicast_link_local(),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

fn data_problems(data: &Path, makes_token: bool) -> Vec<String> {
    let shown = data.display();
    if !data.is_dir() {
        return vec![format!("the shared directory {shown} is not there: mount it")];
    }
    let mut found = Vec::new();
    if let Err(error) = access(data, Access::WRITE_OK | Access::EXEC_OK) {
        found.push(format!("the shared directory {shown} cannot be written: {error}"));
    }
    match claim::read_token(data) {
        Ok(Some(_)) => {}
        Ok(None) if makes_token => {}
        Ok(None) => found.push(claim::no_token(data)),
        Err(error) => found.push(format!("read the token of {shown}: {error}")),
    }
    found
}

/// The virtual IP's name leads to the virtual IP, by this host's file, by the one that is carried, or by a server.
fn name_problem(hands: &Hands, wanted: &str) -> Option<String> {
    let vips: Vec<IpAddr> = hands.settings.vips.iter().map(|(vip, _)| *vip).collect();
    let mut found: Vec<IpAddr> = Vec::new();
    for hosts in hosts_files(hands) {
        let text = std::fs::read_to_string(&hosts).unwrap_or_default();
        found.extend(in_hosts(&text, wanted));
        if found.iter().any(|address| vips.contains(address)) {
            return None;
        }
    }
    if found.is_empty() {
        found = asked(wanted);
        if found.iter().any(|address| vips.contains(address)) {
            return None;
        }
    }
    let vips: Vec<String> = vips.iter().map(IpAddr::to_string).collect();
    let line = format!("write `{} {wanted}` to /etc/hosts", vips.join(" "));
    if found.is_empty() {
        return Some(format!("the name {wanted} cannot be resolved: {line}"));
    }
    let found: Vec<String> = found.iter().map(IpAddr::to_string).collect();
    Some(format!("the name {wanted} leads to {}, not to the virtual IP: {line}", found.join(", ")))
}

/// The hosts' file comes with the data, and has not come yet.
fn carries_hosts(hands: &Hands) -> bool {
    let local = hands.places.etc("hosts");
    hosts_files(hands).iter().any(|file| *file != local && !file.exists())
}

fn hosts_files(hands: &Hands) -> Vec<std::path::PathBuf> {
    let mut all = vec![hands.places.etc("hosts")];
    for step in &hands.settings.steps {
        if let Kind::Carry { files, store } = &step.kind
            && files.iter().any(|file| file == "/etc/hosts")
        {
            all.insert(0, store.join("etc/hosts"));
        }
    }
    all
}

fn in_hosts(text: &str, wanted: &str) -> Vec<IpAddr> {
    let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
    let one = |line: &str| {
        let mut words = line.split_whitespace();
        let address: IpAddr = words.next()?.parse().ok()?;
        words.any(|name| name.eq_ignore_ascii_case(wanted)).then_some(address)
    };
    lines.filter_map(one).collect()
}

/// As every program of this host would find it; a server that does not answer in time has no answer.
fn asked(wanted: &str) -> Vec<IpAddr> {
    let (tell, told) = mpsc::sync_channel(1);
    let name = wanted.to_owned();
    std::thread::spawn(move || {
        let found = (name.as_str(), 0).to_socket_addrs();
        // Nobody may wait any more.
        let _ = tell.send(found.map(|all| all.map(|a| a.ip()).collect()).unwrap_or_default());
    });
    told.recv_timeout(NAME_MAX).unwrap_or_default()
}

/// What contradicts this node's role.
fn drift(
    hands: &Hands,
    shown: &Result<Vec<Shown>, super::trouble::Trouble>,
    steps: &[StepState],
) -> Vec<String> {
    let active = hands.is_active();
    let (mut found, mut told) = (Vec::new(), Vec::new());
    // While steps are under way, or due after a crash, nothing is in its form.
    let before = hands.record.get();
    let under_way = if active { !before.activated } else { !before.up.is_empty() };
    if under_way {
        return found;
    }
    for (step, state) in hands.settings.steps.iter().zip(steps) {
        let up = hands.record.is_up(&step.name);
        if let (Kind::Unit(unit), Ok(shown)) = (&step.kind, shown) {
            found.extend(unit::drift(hands, shown, unit));
            told.extend(choice::drift(hands, shown, step, unit).filter(|_| active));
        }
        match (active, state) {
            // On the active one a unit's state is the services' business.
            (true, StepState::Down | StepState::Partly(_))
                if up && unit_of(&step.kind).is_none() =>
            {
                let words = match state {
                    StepState::Partly(words) => words.clone(),
                    StepState::Up | StepState::Down | StepState::Unknown(_) => {
                        "is not there".into()
                    }
                };
                found.push(format!("{}: {words}", step.name));
            }
            (false, StepState::Up) => {
                found.push(format!("{}: is up, and this node is passive", step.name));
            }
            (false, StepState::Partly(words)) => found.push(format!("{}: {words}", step.name)),
            (true | false, _) => {}
        }
        if let (true, true, Kind::Carry { files, store }) = (active, up, &step.kind)
            && hands.lost().is_none()
        {
            let differing = carry::differing(&hands.places.root, files, store);
            // A copy follows a change within seconds.
            found.extend(
                differing
                    .iter()
                    .filter(|path| !is_recent(&hands.places, path))
                    .map(|path| format!("{}: {} differs from its copy", step.name, path.display())),
            );
        }
    }
    found.dedup();
    let found = found.into_iter().map(|words| format!("{words} ({REMEDY})"));
    // What no repair mends says itself what does.
    found.chain(told).collect()
}

fn is_recent(places: &Places, path: &Path) -> bool {
    let local = places.root.join(path.strip_prefix("/").unwrap_or(path));
    let changed = std::fs::metadata(&local).and_then(|found| found.modified()).ok();
    let age = changed.and_then(|changed| changed.elapsed().ok());
    files::stand(&local).is_ok() && age.is_none_or(|age| age < Duration::from_secs(15))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{INTERFACE, segment};
    use regent_core::id::{ClusterId, NodeId};

    #[test]
    fn names_of_a_hosts_file_are_found() {
        let text =
            "127.0.0.1 localhost\n10.1.0.100\tmgmt.example mgmt # the VIP\n# 10.1.0.9 mgmt\n";
        assert_eq!(in_hosts(text, "MGMT"), ["10.1.0.100".parse::<IpAddr>().unwrap()]);
        assert!(in_hosts(text, "other").is_empty());
    }

    #[test]
    fn an_interface_or_address_that_cannot_be_is_named_before_any_change() {
        let Some(segment) = segment(&[1]) else { return };
        let found = |vip: &str, prefix: u8, interface: &str, gives_way: bool| {
            let settings = StackSettings {
                node: NodeId(1),
                name: "a".into(),
                cluster: ClusterId(1),
                data: "/nowhere".into(),
                vips: vec![(vip.parse().unwrap(), prefix)],
                interface: interface.into(),
                steps: vec![],
                state_dir: "/nowhere".into(),
                run_dir: "/nowhere".into(),
            };
            segment.on(1, || network_problems(&settings, false, gives_way)).join("; ")
        };
        let problems =
            |vip: &str, prefix: u8, interface: &str| found(vip, prefix, interface, false);
        assert_eq!(problems("10.99.0.100", 24, INTERFACE), "");
        assert_eq!(problems("10.99.0.100", 32, INTERFACE), "", "a host address fits any network");
        assert!(problems("10.99.0.100", 16, INTERFACE).contains("correct the mask"));
        assert!(problems("10.98.0.100", 24, INTERFACE).contains("in none of the networks"));
        assert!(problems("10.99.0.1", 24, INTERFACE).contains("this node's own address"));
        // It gives way to another one of its network, and the mask is looked at before it does.
        assert_eq!(found("10.99.0.1", 24, INTERFACE, true), "");
        assert!(found("10.99.0.1", 16, INTERFACE, true).contains("correct the mask"));
        assert!(problems("fd99::100", 64, INTERFACE).is_empty());
        assert!(problems("10.99.0.100", 24, "eth7").contains("no interface eth7"));
        segment.sh(1, "ip link set eth0 down");
        assert!(problems("10.99.0.100", 24, INTERFACE).contains("is down"));
    }
}

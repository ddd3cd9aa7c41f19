//! What `regent setup shared-data` does on its host itself: it checks the configuration, starts the agent, and keeps
//! on disk what must be brought back if it is interrupted.

use crate::config;
use crate::durable;
use crate::host::stack;
use crate::place::Place;
use crate::tls;
use regent_adapters::run::run;
use regent_adapters::stack::readdress::{Readdress, ReaddressError};
use regent_adapters::stack::{Answering, Mends, Stack};
use regent_api::call::{Refusal, RefusalKind};
use regent_config::Settings;
use regent_config::settings::Member;
use regent_config::steps::Kind;
use regent_core::id::ClusterId;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

/// An agent that says that it is ready within this time; systemd gives it half a minute.
const START: Duration = Duration::from_secs(40);

/// What the configuration says of this host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checked {
    /// This node.
    pub me: String,
    /// The other nodes that run resources.
    pub others: Vec<String>,
    /// In a few words, for people.
    pub text: String,
    /// The product is to be installed here, and is not.
    pub installs: bool,
}

/// Reads the configuration and this host's certificate; touches nothing.
pub fn check(file: &Path, certificates: &Path) -> Result<Checked, Refusal> {
    let (settings, me) = read(file, certificates)?;
    // A cluster's id says who claims the data, and nothing of what is installed.
    let stack =
        stack::settings(&settings, &me, ClusterId(0), &Place::default()).ok_or_else(|| {
            let reason =
                format!("{} has a database on each node, and no shared data", file.display());
            wrong(reason, "set topology = \"shared-data\", or use regent init".into())
        })?;
    let lacks = |kind: &Kind| matches!(kind, Kind::Install { creates, .. } if !creates.exists());
    let others = settings.members.iter().filter(|m| !m.witness && m.id != me.id);
    Ok(Checked {
        me: me.name.clone(),
        others: others.map(|m| m.name.clone()).collect(),
        text: format!(
            "{}: {} steps on {}, virtual IP {} on {}",
            me.name,
            stack.steps.len(),
            stack.data.display(),
            settings.vip_text(),
            me.interface
        ),
        installs: stack.steps.iter().any(|step| lacks(&step.kind)),
    })
}

fn wrong(reason: String, remedy: String) -> Refusal {
    Refusal { kind: RefusalKind::Configuration, reason, remedy }
}

fn read(file: &Path, certificates: &Path) -> Result<(Settings, Member), Refusal> {
    let settings = config::load(file)
        .map_err(|problems| wrong(problems.to_string().trim_end().into(), String::new()))?;
    let known = settings.members.iter().map(|m| m.name.as_str());
    let identity = tls::load(certificates, known)
        .map_err(|error| wrong(error.to_string(), error.remedy().into()))?;
    let me = settings.member(&identity.name).filter(|m| !m.witness).cloned().ok_or_else(|| {
        let reason = format!("{} is no node in {}", identity.name, file.display());
        wrong(reason, "a witness is started by systemctl enable --now regent-witness".into())
    })?;
    Ok((settings, me))
}

/// What of a set-up has come about already, and what is still to come.
#[derive(Clone, Copy, Debug)]
pub struct Coming<'a> {
    /// The new address of this host, if it is to get one.
    pub readdress: Option<&'a str>,
    /// There is no cluster yet.
    pub cluster: bool,
    /// This host is the standby: the other one brings the data.
    pub standby: bool,
}

/// Whatever the later stages of a set-up would refuse on this host, looked at before anything is changed. Touches
/// nothing.
pub fn look_ahead(file: &Path, certificates: &Path, coming: Coming<'_>) -> Result<(), Refusal> {
    let (settings, me) = read(file, certificates)?;
    let mut found = Vec::new();
    if let Some(new) = coming.readdress {
        found.extend(readdressing(&settings, &me, new)?.plan().err().map(|e| e.to_string()));
    }
    let mends =
        Mends { token: coming.cluster, address: coming.readdress.is_some(), data: coming.standby };
    let stack = stack::settings(&settings, &me, ClusterId(0), &Place::default());
    found.extend(
        stack
            .map(|stack| Stack::new(stack, Answering::default()).before_set_up(mends))
            .unwrap_or_default(),
    );
    if found.is_empty() {
        return Ok(());
    }
    Err(Refusal {
        kind: RefusalKind::Checks,
        reason: format!("{}; nothing was changed on {}", found.join(";\n  "), me.name),
        remedy: "mend that, then regent setup shared-data again".into(),
    })
}

/// The address of this host, which is to be the virtual IP, gives way to the one that the configuration says. How many
/// steps that took; each is told before it is done.
pub fn readdress(
    file: &Path,
    certificates: &Path,
    new: &str,
    mut told: impl FnMut(&str),
) -> Result<usize, Refusal> {
    let (settings, me) = read(file, certificates)?;
    let mut steps = 0;
    let done = readdressing(&settings, &me, new)?.apply(|step| {
        steps += 1;
        told(step);
    });
    done.map(|()| steps).map_err(|error: ReaddressError| Refusal {
        kind: RefusalKind::Checks,
        reason: error.to_string(),
        remedy: "mend that, then regent setup shared-data again: it goes on from there".into(),
    })
}

fn readdressing(settings: &Settings, me: &Member, new: &str) -> Result<Readdress, Refusal> {
    let vip = settings.principal();
    let own = me.address.ip();
    differs(new, own, vip.prefix, &me.name)?;
    let called = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let is_vips = settings.stack().is_some_and(|stack| stack.hostname == called);
    Ok(Readdress {
        interface: me.interface.clone(),
        vip: vip.address,
        own,
        own_name: is_vips.then(|| me.name.clone()),
        state_dir: Place::default().state,
    })
}

/// What was typed is what the configuration says, or nothing is done.
fn differs(new: &str, own: IpAddr, prefix: u8, me: &str) -> Result<(), Refusal> {
    let wanted = format!("{own}/{prefix}");
    if new == wanted {
        return Ok(());
    }
    let reason = format!("--readdress is {new}, and the configuration has {wanted} for {me}");
    Err(wrong(reason, "give what the file says, or change it there on every node".into()))
}

/// Enables the agent and starts it, or starts it anew: one without a cluster takes a changed configuration that way.
pub fn start_agent() -> Result<(), Refusal> {
    let units = ["regent-gate.service", "regent.service"];
    let enabled = run("systemctl", &["enable", units[0], units[1]], "", START);
    let started = enabled.and_then(|_| run("systemctl", &["restart", units[1]], "", START));
    started.map(drop).map_err(|error| Refusal {
        kind: RefusalKind::Unreachable,
        reason: format!("failed to start the agent: {error}"),
        remedy: "systemctl status regent; journalctl -u regent".into(),
    })
}

/// The node that was active before this host took the data to install itself, and is to be active again.
pub fn to_return() -> Option<String> {
    let kept = durable::read(&Place::default().set_up()).ok().flatten()?;
    Some(kept.trim().to_owned()).filter(|name| !name.is_empty())
}

/// Keeps that; none forgets it.
pub fn keep_to_return(node: Option<&str>) -> Result<(), Refusal> {
    let path = Place::default().set_up();
    let kept = match node {
        Some(node) => durable::write(&path, format!("{node}\n").as_bytes()),
        None => match std::fs::remove_file(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        },
    };
    kept.map_err(|error| Refusal {
        kind: RefusalKind::Internal,
        reason: format!("failed to keep {}: {error}", path.display()),
        remedy: "make room there, then regent setup shared-data again".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_address_is_the_one_of_the_configuration_or_nothing_is_done() {
        let own: IpAddr = "10.77.0.11".parse().unwrap();
        assert_eq!(differs("10.77.0.11/24", own, 24, "mn1"), Ok(()));
        for other in ["10.77.0.12/24", "10.77.0.11/25", "10.77.0.11"] {
            let refusal = differs(other, own, 24, "mn1").unwrap_err();
            assert_eq!(
                refusal.reason,
                format!("--readdress is {other}, and the configuration has 10.77.0.11/24 for mn1")
            );
        }
    }
}

//! What `regent setup shared-data` does on its host beside asking agents: it checks the configuration, starts the agent,
//! and keeps on disk what must be brought back if it is interrupted.

use crate::config;
use crate::durable;
use crate::place::Place;
use crate::tls;
use regent_adapters::run::run;
use regent_adapters::stack::Kind;
use regent_api::call::{Refusal, RefusalKind};
use regent_core::id::ClusterId;
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
    let wrong = |reason: String, remedy: String| Refusal {
        kind: RefusalKind::Configuration,
        reason,
        remedy,
    };
    let settings = config::load(file)
        .map_err(|problems| wrong(problems.to_string().trim_end().into(), String::new()))?;
    let known = settings.members.iter().map(|m| m.name.as_str());
    let identity = tls::load(certificates, known)
        .map_err(|error| wrong(error.to_string(), error.remedy().into()))?;
    let me = settings.member(&identity.name).filter(|m| !m.witness).ok_or_else(|| {
        let reason = format!("{} is no node in {}", identity.name, file.display());
        wrong(reason, "a witness is started by systemctl enable --now regent-witness".into())
    })?;
    // A cluster's id says who claims the data, and nothing of what is installed.
    let stack = settings.stack_settings(me, ClusterId(0), &Place::default()).ok_or_else(|| {
        let reason = format!("{} has a database on each node, and no shared data", file.display());
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

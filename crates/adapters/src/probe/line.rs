//! The lines between the agent and its prober: one JSON text each. Only changes are told, so that a thousand probes
//! that are well cost the agent nothing but a pulse.

use regent_config::probe::Probe;
use regent_core::health::{Health, ProbeId};
use regent_core::id::NodeId;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::path::PathBuf;

/// A line to the prober.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ToProber {
    /// These are the probes. One that is the same as before keeps what is known of it.
    Set {
        /// All of them.
        probes: Vec<Probe>,
        /// For those that ask the database; without it they are unknown.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        accounts: Option<Accounts>,
    },
    /// Which role the node has. Until the first such line only probes of every role run.
    Role {
        /// This node answers for the VIP.
        serving: bool,
    },
    /// What these look at was started anew: nothing is known of it, and it is looked at at once.
    Forget(Vec<ProbeId>),
}

/// What a probe of the database needs to know; the password is derived from a file in `state_dir`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Accounts {
    /// This node: it has a row of its own.
    pub node: NodeId,
    /// The database's port, here and behind the VIP.
    pub port: u16,
    /// The principal VIP.
    pub vip: IpAddr,
    /// Where the database worker keeps its secrets.
    pub state_dir: PathBuf,
}

/// A line from the prober.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FromProber {
    /// A probe's health changed, or why it is unknown did.
    Health {
        /// Which.
        id: ProbeId,
        /// What it is.
        health: Health,
        /// What was seen, in an operator's words; empty if it passes.
        why: String,
    },
    /// Something will go wrong.
    Warning {
        /// Which probe says so.
        id: ProbeId,
        /// What, in an operator's words.
        text: String,
    },
    /// The warning is over.
    Warned {
        /// Which probe's.
        id: ProbeId,
    },
    /// Every second: the prober lives.
    Pulse {
        /// Observations since the pulse before.
        ran: u64,
        /// By how much the latest of them started later than it was to.
        late_ms: u64,
    },
    /// Something for the log.
    Event(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_read_as_the_contract_has_them() {
        let set = r#"{"set":{"probes":[{"id":0,"kind":{"tcp":"a:1"},"interval_ms":200,
            "timeout_ms":250,"rise":2,"fall":3,"counts":"always"}],
            "accounts":{"node":1,"port":3306,"vip":"10.77.0.100","state_dir":"/var/lib/regent"}}}"#;
        let ToProber::Set { probes, accounts } = serde_json::from_str(set).unwrap() else {
            panic!("not a set")
        };
        assert_eq!((probes.len(), accounts.unwrap().port), (1, 3306));
        let role = r#"{"role":{"serving":true}}"#;
        assert_eq!(serde_json::from_str(role).ok(), Some(ToProber::Role { serving: true }));
        let forget = r#"{"forget":[0,3]}"#;
        let ids = vec![ProbeId(0), ProbeId(3)];
        assert_eq!(serde_json::from_str(forget).ok(), Some(ToProber::Forget(ids)));
        let why = String::from("no answer within 250 ms");
        let health = FromProber::Health { id: ProbeId(0), health: Health::Failing, why };
        let text = r#"{"health":{"id":0,"health":"failing","why":"no answer within 250 ms"}}"#;
        assert_eq!(serde_json::to_string(&health).unwrap(), text);
        let pulse = FromProber::Pulse { ran: 1234, late_ms: 3 };
        assert_eq!(serde_json::to_string(&pulse).unwrap(), r#"{"pulse":{"ran":1234,"late_ms":3}}"#);
        let warned = FromProber::Warned { id: ProbeId(0) };
        assert_eq!(serde_json::to_string(&warned).unwrap(), r#"{"warned":{"id":0}}"#);
    }
}

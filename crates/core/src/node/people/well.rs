//! Would `regent status` exit with 0? What makes it not is decided by `regent_api::status::Status::verdict`, over the
//! words of the API; here is the same rule over what core knows, for who has no API (the simulator). A test of the
//! agent asks both about the same statuses, so that neither changes alone.
//!
//! Only of nodes that have a copy each. Whether a witness is heard, and which configuration a node has, the agent
//! knows.

use crate::health::{Health, Weight};
use crate::id::NodeId;
use crate::node::people::status::NodeStatus;
use crate::observe::{Ailment, ServiceReport, UnitState};
use crate::role::Role;
use alloc::format;
use alloc::string::{String, ToString};

/// What is told of one node, by itself.
struct Told<'a> {
    role: Role,
    serving: bool,
    has_database: bool,
    services: &'a [ServiceReport],
    concerns: &'a [String],
    ailments: &'a [Ailment],
}

impl NodeStatus {
    /// The node that it shows as active and answering for the VIP: `None` is the one that was asked.
    pub fn active(&self) -> Option<Option<NodeId>> {
        if self.role == Role::Active && self.serving {
            return Some(None);
        }
        let mut peers = self.peers.iter().filter(|peer| peer.reachable);
        let serves = peers
            .find(|peer| peer.report.as_ref().is_some_and(|r| r.role == Role::Active && r.serving));
        serves.map(|peer| Some(peer.node))
    }

    /// The first thing that keeps the exit code from 0; none if all is well.
    pub fn trouble(&self) -> Option<String> {
        if self.stopped {
            return Some("stopped by an operator".to_string());
        }
        if self.active().is_none() {
            return Some("no node is active".to_string());
        }
        if self.view.as_ref().is_none_or(|(_, state)| state.sync.with.is_none()) {
            return Some("solo".to_string());
        }
        let here = Told {
            role: self.role,
            serving: self.serving,
            has_database: self.database.is_some(),
            services: &self.services,
            concerns: &self.concerns,
            ailments: &self.ailments,
        };
        here.trouble().or_else(|| {
            self.peers.iter().find_map(|peer| {
                let report = peer.report.as_ref().filter(|_| peer.reachable);
                let why = match report {
                    None => "is not heard".to_string(),
                    Some(report) => Told {
                        role: report.role,
                        serving: report.serving,
                        has_database: report.database.is_some(),
                        services: &report.services,
                        concerns: &report.concerns,
                        ailments: &report.ailments,
                    }
                    .trouble()?,
                };
                Some(format!("{}: {why}", peer.node))
            })
        })
    }
}

impl Told<'_> {
    fn trouble(&self) -> Option<String> {
        if self.role == Role::Active && !self.serving {
            return Some("active, and does not answer for the virtual IP".to_string());
        }
        if self.role == Role::Isolated {
            return Some("it sees no majority of voters".to_string());
        }
        if !self.has_database {
            return Some("the database is down".to_string());
        }
        if self.role == Role::Failed {
            return Some(
                "failed: it serves nobody, and its data are not the recorded copy".to_string(),
            );
        }
        let is_well = |service: &&ServiceReport| {
            matches!(service.unit, UnitState::Up { .. }) && service.health != Health::Failing
        };
        if let Some(service) = self.services.iter().find(|service| !is_well(service)) {
            let cause = service.cause.as_ref().map_or_else(String::new, ToString::to_string);
            return Some(format!("a service is not well: {cause}"));
        }
        if let Some(concern) = self.concerns.first() {
            return Some(concern.clone());
        }
        let vital = self.ailments.iter().find(|ailment| ailment.weight == Weight::Vital)?;
        Some(format!("probe {} fails: {}", vital.probe, vital.why))
    }
}

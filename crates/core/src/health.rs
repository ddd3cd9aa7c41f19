//! Probes: what is checked, in which role it counts, how much it weighs, and after how many observations in a row
//! it changes. A probe observes; whoever runs it judges with [`Judge`]; what follows is decided in [`crate::node`].

use crate::observe::ServiceId;
use alloc::string::String;
use serde::{Deserialize, Serialize};

/// A probe, numbered as in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProbeId(pub u16);

/// What a probe looks at.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// A managed service.
    Service(ServiceId),
    /// The database, as its clients see it.
    Database,
    /// The host: disk, memory, clock, link, gateway.
    Host,
}

/// What a failure means.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Weight {
    /// An alarm, and restoring.
    Degraded,
    /// It moves the VIP.
    Vital,
}

/// In which role of the node a probe runs and counts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Counts {
    /// In every role.
    Always,
    /// While this node answers for the VIP.
    Active,
    /// While it does not.
    Standby,
}

impl Counts {
    /// Does it count on a node that serves, or on one that does not?
    pub fn now(self, serving: bool) -> bool {
        match self {
            Counts::Always => true,
            Counts::Active => serving,
            Counts::Standby => !serving,
        }
    }
}

/// The conclusion from a probe's observations.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// Nothing was observed yet, or it does not count now.
    Unknown,
    /// Well.
    Passing,
    /// Not well.
    Failing,
}

/// Hysteresis: `fall` failures in a row make it failing, `rise` passes in a row make it passing again. The first
/// pass counts at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judge {
    rise: u8,
    fall: u8,
    health: Health,
    /// How many observations in a row spoke against the present health.
    against: u8,
}

impl Judge {
    /// Knows nothing yet. `rise` and `fall` are at least 1.
    pub fn new(rise: u8, fall: u8) -> Judge {
        Judge { rise: rise.max(1), fall: fall.max(1), health: Health::Unknown, against: 0 }
    }

    /// The present conclusion.
    pub fn health(&self) -> Health {
        self.health
    }

    /// Takes one observation; the new health, if it changed.
    pub fn take(&mut self, passed: bool) -> Option<Health> {
        let (agrees, needed, next) = match (self.health, passed) {
            (Health::Passing, true) | (Health::Failing, false) => (true, 0, self.health),
            (Health::Unknown, true) => (false, 1, Health::Passing),
            (Health::Failing, true) => (false, self.rise, Health::Passing),
            (Health::Unknown | Health::Passing, false) => (false, self.fall, Health::Failing),
        };
        if agrees {
            self.against = 0;
            return None;
        }
        self.against = self.against.saturating_add(1);
        if self.against < needed {
            return None;
        }
        self.against = 0;
        self.health = next;
        Some(next)
    }

    /// The last observation spoke against the present conclusion, and is not enough by itself.
    pub fn is_in_doubt(&self) -> bool {
        self.against > 0
    }

    /// What is observed is another start, or another role: nothing is known of it.
    pub fn forget(&mut self) {
        self.health = Health::Unknown;
        self.against = 0;
    }
}

/// A probe as core knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProbeSpec {
    /// Its name, unique in the configuration.
    pub name: String,
    /// What it looks at.
    pub subject: Subject,
    /// What its failure means; vital only if its service is, too.
    pub weight: Weight,
    /// In which role it counts.
    pub counts: Counts,
    /// Passes in a row until it passes again.
    pub rise: u8,
    /// Failures in a row until it fails.
    pub fall: u8,
    /// It looks at the interface that carries the VIP: while such a vital one fails, nobody would be served from here.
    pub vip_link: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(rise: u8, fall: u8, seen: &[bool]) -> Health {
        let mut judge = Judge::new(rise, fall);
        for passed in seen {
            judge.take(*passed);
        }
        judge.health()
    }

    #[test]
    fn one_miss_is_a_blip_and_three_in_a_row_are_a_failure() {
        assert_eq!(judged(2, 3, &[true, false, false, true, false, false]), Health::Passing);
        assert_eq!(judged(2, 3, &[true, false, false, false]), Health::Failing);
    }

    #[test]
    fn it_rises_by_passes_in_a_row_but_the_first_one_counts_at_once() {
        assert_eq!(judged(2, 3, &[true]), Health::Passing);
        assert_eq!(judged(2, 1, &[false, true, false, true]), Health::Failing);
        assert_eq!(judged(2, 1, &[false, true, true]), Health::Passing);
        assert_eq!(judged(2, 3, &[false, false]), Health::Unknown);
    }

    #[test]
    fn a_change_is_told_once() {
        let mut judge = Judge::new(1, 1);
        assert_eq!(judge.take(true), Some(Health::Passing));
        assert_eq!(judge.take(true), None);
        assert_eq!(judge.take(false), Some(Health::Failing));
        judge.forget();
        assert_eq!(judge.take(false), Some(Health::Failing));
    }
}

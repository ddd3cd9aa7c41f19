//! The first State of a register of one (ADR 0018): what the register that it replaces held, and nobody's right.
//!
//! It is made of what this node's voter accepted last, in between two lives, when nothing can be accepted any more:
//! each majority of the old register contains that voter, so that each epoch it ever granted is below the new one.

use crate::command;
use crate::id::{AttemptId, ClusterId, Epoch};
use crate::reason::MoveReason;
use crate::state::{Data, Intent, Lease, Move, Phase, State};
use serde::{Deserialize, Serialize};

/// The number of the attempt that founds a register; a run counts from 1, and none comes that far.
const FOUNDING: u64 = 1 << 41;

/// An operator's word that the other one of two nodes is off: the ground of a new register.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Word {
    /// The new register's cluster.
    pub cluster: ClusterId,
    /// The node and run that were told.
    pub by: AttemptId,
    /// The newest version that this node knew before it looked at the other host: with a later one in its record the
    /// word is void. An older release does not say it.
    #[serde(default)]
    pub seen: Option<u64>,
    /// Whose claim stands on the shared data and was never cleared, as it was read.
    #[serde(default)]
    pub claimed: Option<ClusterId>,
    /// The word.
    pub said: command::Word,
}

impl Word {
    /// What the new register holds first, made of what the voter of the old one accepted last. Nothing starts in it
    /// before it is asked.
    pub fn found(&self, old: State) -> State {
        let by = AttemptId { n: FOUNDING, ..self.by };
        let epoch = Epoch(old.lease.epoch.0 + 1);
        let from = old.lease.holder;
        let mut new = State {
            cluster: self.cluster,
            // Whose claim is void: that of the register before, or of one before that which was never cleared.
            replaces: self.claimed.or(Some(old.cluster)),
            lease: Lease { epoch, holder: by.node, phase: Phase::Free, by, ..old.lease },
            data: Data::Clear,
            intent: Intent { stopped: Some(by), ..Intent::default() },
            ..old
        };
        new.remember(Move { epoch, from, to: by.node, why: MoveReason::NewRegister(self.said) });
        new
    }
}

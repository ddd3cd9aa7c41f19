//! Why something is as it is, as values: whoever decides compares these, and never a sentence. The words are here too,
//! made where people read them.

use crate::command::Word;
use crate::id::NodeId;
use crate::role::Role;
use crate::time::Span;
use alloc::format;
use alloc::string::{String, ToString};
use core::fmt;
use serde::{Deserialize, Serialize};

/// What a node is called.
pub type Names<'a> = &'a dyn Fn(NodeId) -> String;

/// Why a service, a database or a host is not well.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Cause {
    /// Its unit is down.
    Down,
    /// Somebody asked systemd to stop it, and nobody has started it again within the grace.
    Stopped,
    /// Somebody asked systemd to stop it, and the grace for starting it again is not over.
    Stopping,
    /// A probe fails.
    Probe {
        /// Its name.
        probe: String,
        /// What it saw.
        why: String,
    },
    /// Of a release that this one does not know: kept as it stands.
    #[serde(untagged)]
    Unknown(serde_json::Value),
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Down => f.write_str("its unit is down"),
            Cause::Stopped => f.write_str("somebody stopped it"),
            Cause::Stopping => f.write_str("somebody stopped it, and may start it again"),
            Cause::Probe { probe, why } => write!(f, "probe {probe}: {why}"),
            Cause::Unknown(value) => write!(f, "for a reason of another release: {value}"),
        }
    }
}

/// Something of a node that is vital, beside its database.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Vital {
    /// The service of this name.
    Service(String),
    /// The host itself: its link, its disk.
    Host,
}

impl fmt::Display for Vital {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Vital::Service(name) => write!(f, "service {name}"),
            Vital::Host => f.write_str("the host"),
        }
    }
}

/// Why the lease goes, or went, from one node to another: the register keeps it (protocol section 1).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MoveReason {
    /// An operator asked for it; the holder gave it away.
    Asked,
    /// The holder's database died.
    DatabaseDied,
    /// The holder's database hung, and was killed.
    DatabaseHung,
    /// Clients of the holder's database fail.
    DatabaseFails(Cause),
    /// Something vital of the holder fails.
    VitalFails(Vital, Cause),
    /// The holder does not bring its stack up, or cannot go on with it: what failed, in words.
    NotBroughtUp(String),
    /// The holder was named, and did not take the lease.
    NotTaken,
    /// The holder did not renew for so long.
    NotRenewed(Span),
    /// The holder is silent: no report, no port, no ARP answer.
    Silent,
    /// The holder reports that it cannot serve, in its words.
    Unable(String),
    /// An operator says so of a node that is silent.
    Said(Word),
    /// The same, and a new register of one voter replaced the old one for it.
    NewRegister(Word),
    /// An operator asked for an activation, and the holder does not rule.
    AskedOfIdle,
    /// Of a release that this one does not know: kept as it stands (R7).
    #[serde(untagged)]
    Unknown(serde_json::Value),
}

impl MoveReason {
    /// The holder's health was the reason: the hold-down counts such a move, so that two nodes of which neither is well
    /// do not hand the VIP to each other for ever (L4).
    pub fn is_by_health(&self) -> bool {
        match self {
            MoveReason::DatabaseFails(_)
            | MoveReason::VitalFails(..)
            | MoveReason::NotBroughtUp(_) => true,
            MoveReason::Asked
            | MoveReason::DatabaseDied
            | MoveReason::DatabaseHung
            | MoveReason::NotTaken
            | MoveReason::NotRenewed(_)
            | MoveReason::Silent
            | MoveReason::Unable(_)
            | MoveReason::Said(_)
            | MoveReason::NewRegister(_)
            | MoveReason::AskedOfIdle
            | MoveReason::Unknown(_) => false,
        }
    }

    /// The holder looked at its successor before it gave the lease away, and found nothing vital amiss there. Where the
    /// holder is gone, or its database is, the copy alone decides.
    fn looked_at_services(&self) -> bool {
        matches!(
            self,
            MoveReason::Asked | MoveReason::DatabaseFails(_) | MoveReason::VitalFails(..)
        )
    }

    /// For people; `from` is the holder that it is about.
    pub fn words(&self, from: NodeId, name: Names<'_>) -> String {
        let said =
            |word: &Word| format!("an operator says that {} {}", name(word.node()), word.claim());
        let from = name(from);
        match self {
            MoveReason::Asked => "an operator asked".to_string(),
            MoveReason::DatabaseDied => format!("the database of {from} died"),
            MoveReason::DatabaseHung => format!("the database of {from} hung"),
            MoveReason::DatabaseFails(cause) => {
                format!("clients of the database of {from} fail: {cause}")
            }
            MoveReason::VitalFails(what, cause) => format!("{what} of {from} fails: {cause}"),
            MoveReason::NotBroughtUp(why) => {
                format!("the host {from} does not bring the stack up: {why}")
            }
            MoveReason::NotTaken => format!("{from} was named and did not take the lease"),
            MoveReason::NotRenewed(age) => {
                format!("{from} did not renew for {} ms", age.as_millis())
            }
            MoveReason::Silent => format!("{from} is silent: no report, no port, no ARP answer"),
            MoveReason::Unable(why) => format!("{from} reports that it cannot serve: {why}"),
            MoveReason::Said(word) => said(word),
            MoveReason::NewRegister(word) => format!("{}: a new register", said(word)),
            MoveReason::AskedOfIdle => format!("an operator asked, and {from} does not rule"),
            // The first builds wrote sentences; a word alone is a newer release's.
            MoveReason::Unknown(serde_json::Value::String(text)) if text.contains(' ') => {
                text.clone()
            }
            MoveReason::Unknown(value) => format!("for a reason of another release: {value}"),
        }
    }

    /// The same for a move that is over, with what spoke for the successor where each node has a copy of its own.
    pub fn words_of_move(&self, from: NodeId, to: NodeId, name: Names<'_>) -> String {
        let (why, to) = (self.words(from, name), name(to));
        if matches!(self, MoveReason::Unknown(_)) {
            why
        } else if self.looked_at_services() {
            format!("{why}; {to} has every acknowledged write, and nothing vital fails there")
        } else {
            format!("{why}; {to} has every acknowledged write")
        }
    }
}

/// Why a node proposes nothing any more and keeps its gate closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mute {
    /// R7: the register's format is newer than this release.
    Format(u16),
    /// R2: the register answered from below what was stored.
    WentBack,
    /// C6: a run of this node that it does not know proposes.
    Twice,
}

impl fmt::Display for Mute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mute::Format(format) => write!(
                f,
                "the register has format {format}, which this release does not speak: upgrade it"
            ),
            Mute::WentBack => {
                f.write_str("the register went back to a state from before what is stored here")
            }
            Mute::Twice => f.write_str("another agent proposes with the identity of this node"),
        }
    }
}

/// What keeps anybody from serving, or a host from being succeeded: the rows of protocol section 9 that a node sees of
/// itself.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blocked {
    /// Row 1: the holder is gone, and had recorded solo.
    SoloGone {
        /// The holder.
        holder: NodeId,
    },
    /// Row 2: the holder is gone, and the copy here is not the recorded one.
    NotWhole {
        /// The holder.
        holder: NodeId,
    },
    /// Row 3: no majority of voters answers; what helps, in words.
    NoMajority {
        /// What helps.
        remedy: String,
    },
    /// Row 4: an heir that cannot apply what it received.
    CannotApply,
    /// Row 5: the recorded user of the shared data is not proven clear.
    NotClear {
        /// Who.
        user: NodeId,
        /// What would prove it without a person.
        proof: ClearBy,
    },
    /// Row 6: paused, and the holder is gone.
    Paused,
    /// Row 6: this node is in maintenance, and the holder is gone.
    Maintained {
        /// The holder.
        holder: NodeId,
        /// This node.
        here: NodeId,
    },
    /// Row 8: somebody else answers for the VIP.
    Stranger {
        /// Its link address.
        mac: [u8; 6],
    },
    /// Row 8: the holder is gone, and nobody would be served from here.
    CutOff {
        /// The holder.
        holder: NodeId,
        /// What the probe of the link saw.
        cause: Cause,
    },
}

/// What would prove, without a person, that the use of shared data is over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClearBy {
    /// A fence that has not confirmed yet.
    Fence,
    /// A watchdog whose time is not over yet.
    Watchdog,
    /// Nothing.
    Nobody,
}

impl Blocked {
    /// The row of protocol section 9.
    pub fn row(&self) -> u8 {
        match self {
            Blocked::SoloGone { .. } => 1,
            Blocked::NotWhole { .. } => 2,
            Blocked::NoMajority { .. } => 3,
            Blocked::CannotApply => 4,
            Blocked::NotClear { .. } => 5,
            Blocked::Paused | Blocked::Maintained { .. } => 6,
            Blocked::Stranger { .. } | Blocked::CutOff { .. } => 8,
        }
    }

    /// For people, with the way out.
    pub fn words(&self, name: Names<'_>) -> String {
        match self {
            Blocked::SoloGone { holder } => format!(
                "{} had recorded solo: writes that only it has may exist; bring it back, or name the loss",
                name(*holder)
            ),
            Blocked::NotWhole { holder } => format!(
                "{} is gone and this copy is not whole: bring it back, or name the loss",
                name(*holder)
            ),
            Blocked::NoMajority { remedy } => {
                format!("no majority of voters answers: {remedy}")
            }
            Blocked::CannotApply => {
                "this heir cannot apply what it received: the writer succeeds it once it is back"
                    .to_string()
            }
            Blocked::NotClear { user, proof } => {
                let user = name(*user);
                let proof = match proof {
                    ClearBy::Fence => "its fence has not confirmed yet",
                    ClearBy::Watchdog => "its watchdog's time is not over yet",
                    ClearBy::Nobody => "no fence and no watchdog is configured",
                };
                format!(
                    "the shared data are in use by {user}, which is not proven clear: {proof}; switch it off, then: regent activate --confirm-peer-is-off {user}"
                )
            }
            Blocked::Paused => {
                "paused, and the holder is gone: lift the pause, or wait for its end".to_string()
            }
            Blocked::Maintained { holder, here } => {
                let (holder, here) = (name(*holder), name(*here));
                format!(
                    "{holder} is gone and {here} is in maintenance: regent maintenance off {here}, or wait for its end"
                )
            }
            Blocked::Stranger { mac } => {
                format!("{} answers for the VIP: remove the duplicate address", mac_text(*mac))
            }
            Blocked::CutOff { holder, cause } => {
                format!("{} is gone, and nobody would be served from here: {cause}", name(*holder))
            }
        }
    }
}

/// Where a node is, and why: both come from one look ([`crate::node::Node::standing`]).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Standing {
    /// Where it is.
    pub role: Role,
    /// Why.
    pub why: RoleReason,
}

/// Why a node is where it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RoleReason {
    /// An operator stopped the cluster.
    Stopped,
    /// An operator took this node out.
    Maintenance,
    /// The agent has just begun, and has not read the register yet.
    Begun,
    /// No majority of voters has answered yet.
    Unread,
    /// No majority of voters answers any more.
    Unheard,
    /// Another node holds the lease, and this one stands by.
    Holds(NodeId),
    /// The database here is down.
    DatabaseDown,
    /// This node holds the lease, and its data are not the recorded copy.
    NotRecorded,
    /// It gives the lease away, for this reason.
    Moving(NodeId, MoveReason),
    /// It answers for the VIP.
    Serves,
    /// No renewal was won in time, and none has been won since.
    RightEnded,
    /// It waits until the right of its predecessor, or of its own earlier run, is surely over.
    Waits,
    /// Its database is being made ready.
    Prepares,
    /// Everything else is ready, and the gate is closed still.
    GateClosed,
    /// The activation here failed: what, in words.
    Failed(String),
    /// It stopped because the shared directory is lost for it, in words.
    DataLost(String),
    /// The data are claimed by another, in words.
    Claimed(String),
    /// The stack comes up.
    ComesUp,
    /// The stack goes down.
    GoesDown,
    /// It holds the lease, and nobody wants the stack here.
    Idle,
}

impl RoleReason {
    /// For people.
    pub fn words(&self, me: NodeId, name: Names<'_>) -> String {
        match self {
            RoleReason::Stopped => "an operator stopped the cluster".to_string(),
            RoleReason::Maintenance => "an operator took this node out".to_string(),
            RoleReason::Begun => "its agent has just begun".to_string(),
            RoleReason::Unread => "no majority of voters has answered yet".to_string(),
            RoleReason::Unheard => "no majority of voters answers".to_string(),
            RoleReason::Holds(holder) => format!("{} holds the lease", name(*holder)),
            RoleReason::DatabaseDown => "its database is down".to_string(),
            RoleReason::NotRecorded => "its data are not the recorded copy".to_string(),
            RoleReason::Moving(to, why) => {
                format!("moving to {}: {}", name(*to), why.words(me, name))
            }
            RoleReason::Serves => "it answers for the VIP".to_string(),
            RoleReason::RightEnded => "no renewal was won in time: its right is over".to_string(),
            RoleReason::Waits => "a right from before may still run".to_string(),
            RoleReason::Prepares => "its database is made ready".to_string(),
            RoleReason::GateClosed => "the gate is not open yet".to_string(),
            RoleReason::Failed(why) => format!("its activation failed: {why}"),
            RoleReason::DataLost(why) => why.clone(),
            RoleReason::Claimed(who) => format!("the data are claimed by another: {who}"),
            RoleReason::ComesUp => "the stack comes up".to_string(),
            RoleReason::GoesDown => "the stack goes down".to_string(),
            RoleReason::Idle => "it holds the lease, and nothing is wanted here".to_string(),
        }
    }
}

/// A link address as people write it.
pub fn mac_text([a, b, c, d, e, f]: [u8; 6]) -> String {
    format!("{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: NodeId = NodeId(1);
    const THERE: NodeId = NodeId(2);

    /// Node names are free: what a sentence about them begins with decides nothing.
    #[test]
    fn a_node_that_is_called_service_counts_for_no_service() {
        let silent = MoveReason::Silent;
        assert!(silent.words(HERE, &|_| "service".into()).starts_with("service "));
        assert!(!silent.is_by_health());
        let ui = MoveReason::VitalFails(Vital::Service("ui".into()), Cause::Down);
        let words = ui.words(HERE, &|_| "mn1".into());
        assert_eq!(words, "service ui of mn1 fails: its unit is down");
        assert!(ui.is_by_health());
    }

    /// What a probe saw is free text as well.
    #[test]
    fn a_worker_that_died_is_no_database_that_died() {
        let name = |node| if node == HERE { "mn1".to_string() } else { "mn2".to_string() };
        let cause = Cause::Probe { probe: "http".into(), why: "the worker died".into() };
        let ui = MoveReason::VitalFails(Vital::Service("ui".into()), cause);
        assert_eq!(
            ui.words_of_move(HERE, THERE, &name),
            "service ui of mn1 fails: probe http: the worker died; \
             mn2 has every acknowledged write, and nothing vital fails there"
        );
        assert_eq!(
            MoveReason::DatabaseDied.words_of_move(HERE, THERE, &name),
            "the database of mn1 died; mn2 has every acknowledged write"
        );
    }

    /// A register may have been written by any release since: what is in it must be readable for ever.
    #[test]
    fn every_reason_keeps_its_form_in_the_register() {
        let probe = || Cause::Probe { probe: "http".into(), why: "503".into() };
        let forms = [
            (MoveReason::Asked, r#""asked""#),
            (MoveReason::DatabaseDied, r#""database-died""#),
            (MoveReason::DatabaseHung, r#""database-hung""#),
            (
                MoveReason::DatabaseFails(probe()),
                r#"{"database-fails":{"probe":{"probe":"http","why":"503"}}}"#,
            ),
            (
                MoveReason::VitalFails(Vital::Service("ui".into()), Cause::Down),
                r#"{"vital-fails":[{"service":"ui"},"down"]}"#,
            ),
            (
                MoveReason::VitalFails(Vital::Host, Cause::Stopped),
                r#"{"vital-fails":["host","stopped"]}"#,
            ),
            (MoveReason::NotBroughtUp("no".into()), r#"{"not-brought-up":"no"}"#),
            (MoveReason::NotTaken, r#""not-taken""#),
            (MoveReason::NotRenewed(Span::millis(7)), r#"{"not-renewed":7000000}"#),
            (MoveReason::Silent, r#""silent""#),
            (MoveReason::Unable("no".into()), r#"{"unable":"no"}"#),
            (MoveReason::Said(Word::IsOff(HERE)), r#"{"said":{"is-off":1}}"#),
            (
                MoveReason::NewRegister(Word::CannotWrite(HERE)),
                r#"{"new-register":{"cannot-write":1}}"#,
            ),
            (MoveReason::AskedOfIdle, r#""asked-of-idle""#),
        ];
        for (reason, form) in forms {
            assert_eq!(serde_json::to_string(&reason).unwrap(), form);
            assert_eq!(serde_json::from_str::<MoveReason>(form).unwrap(), reason);
        }
    }

    #[test]
    fn a_reason_of_another_release_is_kept_and_counts_for_nothing() {
        let forms = [
            (r#"{"moon":{"phase":3}}"#, r#"for a reason of another release: {"moon":{"phase":3}}"#),
            (r#""service ui of mn1 fails: 503""#, "service ui of mn1 fails: 503"),
            (r#""moon-phase""#, r#"for a reason of another release: "moon-phase""#),
        ];
        for (form, words) in forms {
            let reason: MoveReason = serde_json::from_str(form).unwrap();
            assert!(!reason.is_by_health());
            assert_eq!(reason.words_of_move(HERE, THERE, &|_| "mn".into()), words);
            assert_eq!(serde_json::to_string(&reason).unwrap(), form);
        }
        // A report is not lost for a cause that only a newer release knows.
        let cause: Cause = serde_json::from_str(r#"{"disk":{"left":0}}"#).unwrap();
        assert_eq!(cause.to_string(), r#"for a reason of another release: {"disk":{"left":0}}"#);
    }
}

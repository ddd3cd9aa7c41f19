//! The greeting: who dials, for what, and whether that is taken.

use regent_core::id::ClusterId;
use serde::{Deserialize, Serialize};

/// The format of the greeting; another one is refused by name, so that a mixed cluster says what is wrong.
pub const FORMAT: u32 = 1;

/// What a connection is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// Messages of the register.
    Register,
    /// Reports.
    Report,
    /// One question of an agent to an agent.
    Request,
    /// A copy of the database.
    Bulk,
    /// Questions of an operator.
    Operator,
}

impl Purpose {
    /// Is it for messages that go out in copies, and not for an exchange of its own?
    pub fn is_lane(self) -> bool {
        match self {
            Purpose::Register | Purpose::Report => true,
            Purpose::Request | Purpose::Bulk | Purpose::Operator => false,
        }
    }
}

/// The first frame of every connection.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// [`FORMAT`].
    pub format: u32,
    /// The cluster's name in the dialler's configuration.
    pub cluster: String,
    /// The cluster's id, if the dialler belongs to one.
    pub cluster_id: Option<ClusterId>,
    /// Who dials; must stand in its certificate.
    pub node: String,
    /// Its number; must be the configured one. None for an operator.
    pub id: Option<u16>,
    /// This run of it, in hexadecimal.
    pub run: String,
    /// For what.
    pub purpose: Purpose,
    /// On a lane: the dialler tells copies of a message by numbers, and this names its own series of them. A release
    /// that does not know numbers says nothing, and does not hear this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub series: Option<u64>,
    /// On a lane, beside a series: the dialler reads messages that are packed, and packs its own if the answer says
    /// so too. A release that packs nothing says nothing, and does not hear this.
    #[serde(default, skip_serializing_if = "is_false")]
    pub packed: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn is_false(packed: &bool) -> bool {
    !packed
}

/// The second frame, the other way.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Welcome {
    /// Taken.
    Taken,
    /// Taken, and both sides put a number before each message: the answer to a greeting with a series.
    Numbered {
        /// Names the answering side's own series.
        series: u64,
        /// Both sides pack their messages from here on: only to a dialler that reads them.
        #[serde(default, skip_serializing_if = "is_false")]
        packed: bool,
    },
    /// Not, and why.
    Refused(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the release before numbers wrote it.
    const OLDER: &str = r#"{"format":1,"cluster":"lab","cluster_id":null,"node":"mn2","id":2,"run":"7","purpose":"register"}"#;

    /// As the release wrote it that had numbers and packed nothing.
    const NUMBERED: &str = r#"{"format":1,"cluster":"lab","cluster_id":null,"node":"mn2","id":2,"run":"7","purpose":"register","series":5}"#;

    #[test]
    fn a_greeting_of_the_release_that_packs_nothing_is_read_and_answered_as_it_expects() {
        let hello: Hello = serde_json::from_str(NUMBERED).unwrap();
        assert_eq!((hello.series, hello.packed), (Some(5), false));
        assert_eq!(serde_json::to_string(&hello).unwrap(), NUMBERED);
        let welcome = Welcome::Numbered { series: 6, packed: false };
        let text = r#"{"numbered":{"series":6}}"#;
        assert_eq!(serde_json::to_string(&welcome).unwrap(), text);
        assert_eq!(serde_json::from_str::<Welcome>(text).unwrap(), welcome);
    }

    #[test]
    fn a_greeting_without_a_series_is_read_and_written_as_the_older_release_does() {
        let hello: Hello = serde_json::from_str(OLDER).unwrap();
        assert_eq!(hello.series, None);
        assert_eq!(serde_json::to_string(&hello).unwrap(), OLDER);
        assert_eq!(serde_json::to_string(&Welcome::Taken).unwrap(), r#""taken""#);
    }
}

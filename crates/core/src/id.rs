//! Identities. Each is a newtype, so that an epoch never stands where a version belongs.
//! Nothing here is drawn: random values come in as arguments.

use alloc::string::String;
use core::fmt;
use serde::{Deserialize, Serialize};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty), $format:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        #[derive(Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, $format, self.0)
            }
        }
    };
}

number!(/// A member of the cluster, as numbered in the configuration. Never reused.
    NodeId(u16), "node {}");
number!(/// One grant of the lease. Only grows; the fencing token of every adapter call (S5).
    Epoch(u64), "{}");
number!(/// One value of the register. Never used twice (R1).
    Version(u64), "{}");
number!(/// One boot of a node's kernel.
    BootId(u64), "{:016x}");
number!(/// One run of an agent, random.
    RunId(u64), "{:016x}");
number!(/// One unbroken stay of data on a node (protocol section 1).
    Incarnation(u64), "{:016x}");
number!(/// One command of core to the world; its outcome carries the same number.
    CommandId(u64), "#{}");
number!(/// One request of an operator; its answer carries the same number.
    RequestId(u64), "request {}");

/// The cluster, drawn once by `regent init`. As text 32 hexadecimal digits: JSON numbers end at 2^53.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct ClusterId(pub u128);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl Serialize for ClusterId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ClusterId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map(ClusterId).map_err(serde::de::Error::custom)
    }
}

/// One proposal: of which node, boot and run, and the how manieth of that run (protocol section 1).
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize,
)]
pub struct AttemptId {
    /// Who proposed.
    pub node: NodeId,
    /// In which boot of its kernel.
    pub boot: BootId,
    /// In which run of its agent.
    pub run: RunId,
    /// Grows by one per proposal of the run (R6).
    pub n: u64,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}-{}", self.node.0, self.boot, self.run, self.n)
    }
}

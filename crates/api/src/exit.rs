//! The exit codes of `regent`: distinct, documented, never changed.

use std::fmt;
use std::process::{ExitCode, Termination};

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// Done; `status`: an active node, in sync, everybody heard.
    Ok = 0,
    /// The command line is wrong.
    Usage = 1,
    /// The configuration or a certificate is wrong.
    Configuration = 2,
    /// The agent does not answer.
    Unreachable = 3,
    /// There is no cluster yet: `regent init`.
    NotInitialised = 4,
    /// `status`: it runs, but solo, or a node is not heard, or a service is not well, or a configuration differs.
    /// `activate`: active, and a step that is not vital failed.
    Degraded = 5,
    /// `status`: no node is active.
    NoActive = 6,
    /// A guard refuses; the reason is printed.
    Refused = 7,
    /// It was begun and did not end in its time.
    TimedOut = 8,
    /// Something must not go on without an operator: an identity exists twice, the register went back.
    Unsafe = 9,
    /// A mistake of Regent itself, or of the machine under it.
    Internal = 10,
    /// `activate`: somebody answers for the virtual IP; nothing was changed.
    AddressInUse = 11,
    /// `activate`: another node is active, or is being activated; nothing was changed.
    ActiveElsewhere = 12,
    /// `activate`: another node may still use the shared data: it must be off, and somebody must say so; or somebody
    /// did, and its host answers.
    NotProvenClear = 13,
    /// `activate`: a check of this host or of the shared data failed; nothing was changed.
    Checks = 14,
    /// `activate`: a step failed, and everything was undone.
    StepFailed = 15,
    /// A step failed, and not everything is undone, or down.
    PartlyUndone = 16,
    /// No majority of voters answers.
    NoQuorum = 17,
}

impl Exit {
    /// All of them, for the documentation and the tests.
    pub const ALL: [Exit; 18] = [
        Exit::Ok,
        Exit::Usage,
        Exit::Configuration,
        Exit::Unreachable,
        Exit::NotInitialised,
        Exit::Degraded,
        Exit::NoActive,
        Exit::Refused,
        Exit::TimedOut,
        Exit::Unsafe,
        Exit::Internal,
        Exit::AddressInUse,
        Exit::ActiveElsewhere,
        Exit::NotProvenClear,
        Exit::Checks,
        Exit::StepFailed,
        Exit::PartlyUndone,
        Exit::NoQuorum,
    ];

    /// The number the shell sees.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// One line for `regent --help` and the documentation.
    pub fn meaning(self) -> &'static str {
        match self {
            Exit::Ok => "done; for status: an active node, in sync, everybody heard",
            Exit::Usage => "the command line is wrong",
            Exit::Configuration => "the configuration or a certificate is wrong",
            Exit::Unreachable => "the agent does not answer",
            Exit::NotInitialised => "there is no cluster yet",
            Exit::Degraded => {
                "runs, but not all is well: status says what; activate: a step that is not vital failed"
            }
            Exit::NoActive => "status: no node is active",
            Exit::Refused => "a guard refuses; the reason is printed",
            Exit::TimedOut => "begun, and not ended in its time",
            Exit::Unsafe => "an identity exists twice, or the register went back",
            Exit::Internal => "a mistake of regent, or of the machine under it",
            Exit::AddressInUse => "activate: somebody answers for the virtual IP",
            Exit::ActiveElsewhere => "activate: another node is active, or is being activated",
            Exit::NotProvenClear => {
                "activate: another node may use the shared data: nobody said it is off, or its host answers"
            }
            Exit::Checks => "activate: a check of this host or of the shared data failed",
            Exit::StepFailed => "begun, a step failed, and everything is as it was",
            Exit::PartlyUndone => "a step failed, and not everything is undone, or down",
            Exit::NoQuorum => "no majority of voters answers",
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number(), self.meaning())
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self.number())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_number_of_its_own() {
        let numbers: Vec<u8> = Exit::ALL.iter().map(|e| e.number()).collect();
        assert_eq!(numbers, (0..=17).collect::<Vec<u8>>());
    }
}

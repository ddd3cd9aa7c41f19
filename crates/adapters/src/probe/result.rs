//! What a check of any kind found.

use crate::probe::threads::Late;
use std::time::Duration;

/// What one look saw.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum CheckResult {
    /// It is as it should be.
    Passed,
    /// It is not, in an operator's words.
    Failed(String),
    /// It cannot be told, in an operator's words.
    Unknown(String),
}

impl CheckResult {
    /// The words for a look that was not answered in time.
    pub(crate) fn late(late: Late, bound: Duration) -> CheckResult {
        let bound = bound.as_millis();
        match late {
            Late::NoAnswer => CheckResult::Failed(format!("no answer within {bound} ms")),
            Late::Slow => CheckResult::Failed(format!("the answer took longer than {bound} ms")),
            Late::Broken => CheckResult::Unknown("the look itself broke, or had no thread".into()),
        }
    }
}

//! Why a step was not done, and what core is told of it.

use crate::database::sql::SqlError;
use regent_core::command::StepResult;

/// Why a step was not done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// There is no server.
    Down,
    /// A statement was sent and not answered: it may still act (D11).
    NoAnswer,
    /// Refused, and nothing is under way.
    Failed(String),
}

impl Fault {
    /// A refusal of our own.
    pub(crate) fn failed(text: impl Into<String>) -> Fault {
        Fault::Failed(text.into())
    }
}

impl From<SqlError> for Fault {
    fn from(error: SqlError) -> Fault {
        match error {
            SqlError::Server { .. } => Fault::Failed(error.to_string()),
            SqlError::Absent(_) => Fault::Down,
            SqlError::Lost(_) | SqlError::Late(_) => Fault::NoAnswer,
        }
    }
}

/// What a step ends in.
pub(crate) fn unpack(result: Result<StepResult, Fault>) -> StepResult {
    match result {
        Ok(result) => result,
        Err(Fault::Down) => StepResult::Down,
        Err(Fault::NoAnswer) => StepResult::NoAnswer,
        Err(Fault::Failed(reason)) => StepResult::Failed(reason),
    }
}

//! The matrix of key services as a case.

use super::{Case, Run};
use crate::matrix;

pub(super) const CASE: Case = Case {
    name: "services",
    about: "each key service killed, hung, its port blocked, on active and standby: bars and table",
    run: Run::Alone(matrix::case),
};

//! The matrix of key services as a case, with either driver of the virtual address.

use super::{Case, Run};
use crate::matrix;

pub(super) const CASE: Case = Case {
    name: "services",
    about: "each key service killed, hung, its port blocked, on active and standby: bars and table",
    run: Run::Alone(matrix::case),
};

pub(super) const KEEPALIVED: Case = Case {
    name: "services-keepalived",
    about: "the same 18 cases with the virtual address driven through keepalived",
    run: Run::Alone(matrix::case_keepalived),
};

//! The matrix of key services as a case, with either driver of the virtual address.

use super::case::{Case, Run, Tier};
use crate::matrix;

pub(super) const CASE: Case = Case {
    name: "services",
    about: "each key service killed, hung, its port blocked, on active and standby: bars and table",
    tier: Tier::Default,
    run: Run::Alone(matrix::case),
};

pub(super) const KEEPALIVED: Case = Case {
    name: "services-keepalived",
    about: "three of them, each service and each harm once, with keepalived for a driver",
    tier: Tier::Part { of: KEEPALIVED_ALL.name },
    run: Run::Alone(matrix::case_keepalived),
};

pub(super) const KEEPALIVED_ALL: Case = Case {
    name: "services-keepalived-all",
    about: "all 18 of them with keepalived for a driver",
    tier: Tier::All,
    run: Run::Alone(matrix::case_keepalived_all),
};

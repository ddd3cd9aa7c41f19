//! What a status says of the node that a standby waits for: it is on its way, it failed, or nobody activates it.

use regent_cli::api::call::{Refusal, RefusalKind};
use regent_cli::api::status::{NodeStatus, Role, Status};

/// Where the other node is on its way to being active.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Other {
    /// It serves.
    Active,
    /// It comes up or goes down.
    Moves,
    /// Its last activation failed, and nothing moves there.
    Failed { name: String, why: String },
    /// It is down, and nobody activates it.
    Rests,
}

/// Where the node other than `me` is that is furthest.
pub(super) fn other(status: &Status, me: &str) -> Other {
    let others = || status.nodes.iter().filter(|n| n.name != me && n.role != Role::Witness);
    if others().any(|node| node.role == Role::Active) {
        return Other::Active;
    }
    if status.shared.as_ref().is_some_and(|shared| shared.activating.is_some())
        || others().any(moves)
    {
        return Other::Moves;
    }
    let failure = |node: &NodeStatus| {
        let why = node.stack.as_ref()?.failure.clone()?;
        Some(Other::Failed { name: node.name.clone(), why })
    };
    others().find_map(failure).unwrap_or(Other::Rests)
}

fn moves(node: &NodeStatus) -> bool {
    let stuck = node.stack.as_ref().is_some_and(|stack| stack.failure.is_some());
    let way = matches!(node.role, Role::Activating | Role::Deactivating) && !stuck;
    // Not heard, or not heard of its stack: nothing is known to have ended.
    let Some(stack) = node.stack.as_ref().filter(|_| node.reachable) else { return true };
    way || stack.doing.is_some() || (!stack.clear && !stuck)
}

/// Its activation failed: what the standby ends with.
pub(super) fn failed(name: &str, why: &str) -> Refusal {
    Refusal {
        kind: RefusalKind::StepFailed,
        reason: format!("{name} could not be activated, and this host waits for its data: {why}"),
        remedy: format!(
            "mend that on {name}, and regent setup shared-data there; then here again: it goes on from there"
        ),
    }
}

/// Nobody activates it: what the standby ends with.
pub(super) fn rests(names: &str, problems: &[String]) -> Refusal {
    Refusal {
        kind: RefusalKind::Checks,
        reason: format!(
            "{names} is passive, and nobody activates it, which would bring the data: {}",
            problems.join("; ")
        ),
        remedy: format!(
            "regent setup shared-data on {names}; what it says there is to be mended; then here again"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regent_cli::api::stack::{Doing, NodeStack};

    fn node(name: &str, role: Role, failure: Option<&str>, doing: bool) -> NodeStatus {
        let doing = doing.then(|| Doing { step: "xcatd".into(), up: true });
        let stack = NodeStack {
            failure: failure.map(Into::into),
            doing,
            clear: true,
            ..NodeStack::default()
        };
        NodeStatus {
            name: name.into(),
            role,
            reachable: true,
            serving: role == Role::Active,
            reason: String::new(),
            age_ms: Some(10),
            database: None,
            services: vec![],
            ailments: vec![],
            concerns: vec![],
            maintenance_left_ms: None,
            configuration: None,
            stack: Some(stack),
        }
    }

    /// As mn2 sees it: mn1 in this role, with this failure, and with a step under way or not.
    fn seen(role: Role, failure: Option<&str>, doing: bool) -> Status {
        let own = node("mn2", Role::Stopped, Some("its own is no matter here"), false);
        Status {
            version: 1,
            cluster: "c".into(),
            now_node: "mn2".into(),
            initialised: true,
            reason: String::new(),
            epoch: Some(3),
            holder: None,
            phase: None,
            vip: None,
            sync: None,
            switchover: None,
            nodes: vec![node("mn1", role, failure, doing), own],
            blocked: None,
            alarm: None,
            pause_left_ms: None,
            stopped: false,
            stranger: None,
            probes: vec![],
            measured: vec![],
            shared: None,
        }
    }

    #[test]
    fn a_standby_knows_a_failed_first_host_from_one_that_is_on_its_way() {
        let why = "database failed: no server";
        let failed = || Other::Failed { name: "mn1".into(), why: why.into() };
        for (role, failure, doing, expected) in [
            (Role::Active, None, false, Other::Active),
            (Role::Activating, None, false, Other::Moves),
            (Role::Activating, None, true, Other::Moves),
            (Role::Stopped, None, true, Other::Moves),
            (Role::Stopped, None, false, Other::Rests),
            (Role::Standby, None, false, Other::Rests),
            (Role::Stopped, Some(why), false, failed()),
            (Role::Failed, Some(why), false, failed()),
            (Role::Deactivating, Some(why), false, failed()),
            (Role::Deactivating, Some(why), true, Other::Moves),
        ] {
            assert_eq!(other(&seen(role, failure, doing), "mn2"), expected, "{role:?} {failure:?}");
        }
        // What runs there without a grant is about to be taken down.
        let mut runs = seen(Role::Stopped, None, false);
        runs.nodes[0].stack.as_mut().into_iter().for_each(|stack| stack.clear = false);
        assert_eq!(other(&runs, "mn2"), Other::Moves);
        let mut unheard = seen(Role::Stopped, Some(why), false);
        unheard.nodes[0].reachable = false;
        assert_eq!(other(&unheard, "mn2"), Other::Moves);
    }

    #[test]
    fn what_it_ends_with_has_the_failure_and_a_code_of_its_own() {
        let refusal = failed("mn1", "database failed: no server");
        assert_eq!(refusal.kind.exit().number(), 15);
        assert!(refusal.reason.contains("mn1 could not be activated"), "{refusal:?}");
        assert!(refusal.reason.contains("no server"), "{refusal:?}");
        assert_eq!(rests("mn1", &["no data".into()]).kind.exit().number(), 14);
    }
}

//! The stack on shared data as text: a plan, its steps as they end, its result, and where every step is.

use super::text::{
    bold, colour, coloured_word, green, heard, laid_out, or_dash, pad, painted, red, table, why,
    yellow,
};
use anstyle::Style;
use comfy_table::Table;
use regent_api::stack::{
    Moved, NodeStack, Plan, Seconds, Shared, StackShown, StepDone, StepEnd, StepNews, StepState,
};
use regent_api::status::{NodeStatus, Role, Service, Status};

/// What an activation or a deactivation comes to.
pub(crate) fn plan(plan: &Plan, paint: bool) -> String {
    let Plan { node, verb, .. } = plan;
    let mut out = format!("{}\n", painted(&format!("to {} {node}", verb.as_str()), bold(), paint));
    let mut table = table(["STEP", "NOW", "WHAT"]);
    for step in &plan.steps {
        let what = if step.already { "so already".into() } else { step.what.clone() };
        table.add_row([step.name.clone(), step.state.as_str().into(), what]);
    }
    out.push_str(&laid_out(&table, paint, |line, row| {
        let step = &plan.steps[row];
        coloured_word(line, step.state.as_str(), of_state(&step.state), paint)
    }));
    out.push_str(&whys(plan.steps.iter().map(|s| (s.name.as_str(), &s.state)), paint));
    for problem in &plan.problems {
        out.push_str(&(painted(&format!("in the way: {problem}"), red(), paint) + "\n"));
    }
    out.push('\n');
    out
}

/// A step that ended.
pub(crate) fn step(news: &StepNews, end: &StepEnd, paint: bool) -> String {
    let style = match end.state {
        StepDone::Failed => red(),
        StepDone::Up | StepDone::Down | StepDone::Done => green(),
        StepDone::ToDo | StepDone::Already => Style::new(),
    };
    let state = painted(&format!("{:<7}", end.state.as_str()), style, paint);
    let error = end.error.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
    format!("  {state}{:>9}  {}{error}\n", seconds(news.seconds), news.name)
}

/// The step that runs.
pub(crate) fn running(news: &StepNews, paint: bool) -> String {
    let state = painted(&format!("{:<7}", "..."), yellow(), paint);
    format!("  {state}{:>9}  {}", seconds(news.seconds), news.name)
}

/// How it ended.
pub(crate) fn moved(moved: &Moved, paint: bool) -> String {
    let took = seconds(moved.seconds);
    if moved.obstacle.is_none() {
        let text = painted(&moved.text, green(), paint);
        return format!("{text} · {took}\n");
    }
    let mut out = format!("error: {} · {took}\n", moved.text);
    if let Some(remedy) = &moved.remedy {
        out.push_str(&format!("  what to do: {remedy}\n"));
    }
    out
}

/// Where every step of one node is.
pub(crate) fn shown(shown: &StackShown, paint: bool) -> String {
    let form = if shown.active { "active" } else { "passive" };
    let node = painted(&shown.node, bold(), paint);
    let used = match &shown.in_use {
        Some(used) => format!("in use by {} since epoch {}", used.node, used.epoch),
        None => "in nobody's use".into(),
    };
    let claim = shown.claim.as_ref().map_or("none is read".into(), |claim| claim.text());
    let mut out = format!("{node}: {form} · shared data {used} · claim: {claim}\n");
    out.push_str(&of_node(&shown.node, &shown.stack, shown.active, paint));
    let mut table = table(["STEP", "IS", "MEANS"]);
    for step in &shown.steps {
        table.add_row([step.name.clone(), step.state.as_str().into(), step.what.clone()]);
    }
    out.push_str(&laid_out(&table, paint, |line, row| {
        let state = &shown.steps[row].state;
        coloured_word(line, state.as_str(), of_state(state), paint)
    }));
    out.push_str(&whys(shown.steps.iter().map(|s| (s.name.as_str(), &s.state)), paint));
    out
}

/// What is under way, what failed, what drifted, what is in the way of one node.
fn of_node(name: &str, stack: &NodeStack, active: bool, paint: bool) -> String {
    let mut out = String::new();
    let mut say = |text: &str, style: Style| out.push_str(&(painted(text, style, paint) + "\n"));
    if let Some(doing) = &stack.doing {
        say(&format!("{name}: {}", doing.text()), yellow());
    }
    if let Some(failure) = &stack.failure {
        say(&format!("{name}: {failure}"), red());
    }
    for drift in &stack.drift {
        say(&format!("{name}: {drift}: regent stack repair"), red());
    }
    for problem in stack.problems.iter().filter(|_| !active) {
        say(&format!("{name} could not be activated: {problem}"), red());
    }
    out
}

/// Who uses the shared data, for the headline of a status.
pub(crate) fn in_use(shared: &Shared, paint: bool) -> String {
    match &shared.in_use {
        Some(used) => {
            let text = format!("data in use by {} since epoch {}", used.node, used.epoch);
            painted(&text, green(), paint)
        }
        None => painted("data in nobody's use", yellow(), paint),
    }
}

/// The tables of a status.
pub(crate) fn status(status: &Status, shared: &Shared, paint: bool) -> String {
    let mut out = String::new();
    for node in &status.nodes {
        if let Some(doing) = node.stack.as_ref().and_then(|stack| stack.doing.as_ref()) {
            let text = format!("{}: {}", node.name, doing.text());
            out.push_str(&(painted(&text, yellow(), paint) + "\n"));
        }
    }
    if status.nodes.is_empty() {
        return out;
    }
    out.push_str(&nodes(status, shared, paint));
    if !status.initialised || shared.steps.is_empty() {
        return out;
    }
    out.push_str(&steps(status, shared, paint));
    if let Some(claim) = &shared.claim {
        out.push_str(&format!("\nclaim on the data: {}", claim.text()));
    } else {
        out.push_str("\nclaim on the data: none is read");
    }
    out.push_str(&format!(" · failover {}\n", shared.failover));
    out
}

fn nodes(status: &Status, shared: &Shared, paint: bool) -> String {
    let mut table = table(["NODE", "ROLE", "VIP", "STACK", "SERVICES", "HEARD", "WHY"]);
    for node in &status.nodes {
        // Where nothing is to run, nothing is amiss when nothing does.
        let running = node.services.iter().filter(|_| node.role == Role::Active);
        table.add_row([
            node.name.clone(),
            node.role.as_str().into(),
            if node.serving { status.vip.clone().unwrap_or_default() } else { "-".into() },
            node.stack.as_ref().map_or("-".into(), |stack| sum(stack, shared)),
            or_dash(running.map(Service::text).collect::<Vec<_>>().join(", ")),
            heard(node, &status.now_node),
            why(node),
        ]);
    }
    laid_out(&table, paint, |line, row| {
        let node = &status.nodes[row];
        coloured_word(line, node.role.as_str(), colour(node), paint)
    })
}

/// A stack in a word.
fn sum(stack: &NodeStack, shared: &Shared) -> String {
    if let Some(doing) = &stack.doing {
        return doing.text();
    }
    let up = stack.steps.iter().filter(|step| **step == StepState::Up).count();
    let all = shared.steps.len();
    match (stack.clear, up) {
        (true, _) => "down".into(),
        (false, up) if up == all => "up".into(),
        (false, up) => format!("{up} of {all} up"),
    }
}

/// One row for each step, one column for each node that has any.
fn steps(status: &Status, shared: &Shared, paint: bool) -> String {
    let nodes: Vec<&NodeStatus> =
        status.nodes.iter().filter(|node| node.role != Role::Witness).collect();
    let mut head = vec!["STEP".to_string()];
    head.extend(nodes.iter().map(|node| node.name.clone()));
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(head);
    for (at, step) in shared.steps.iter().enumerate() {
        let mut row = vec![step.clone()];
        row.extend(nodes.iter().map(|node| {
            let state = node.stack.as_ref().and_then(|stack| stack.steps.get(at));
            state.map_or("?", StepState::as_str).to_string()
        }));
        table.add_row(row);
    }
    pad(&mut table);
    let states_of = |at: usize| {
        let nodes = nodes.iter();
        nodes.filter_map(move |node| node.stack.as_ref().and_then(|stack| stack.steps.get(at)))
    };
    let mut out = laid_out(&table, paint, |line, row| {
        let amiss = |state: &&StepState| !state.why().is_empty();
        match states_of(row).find(amiss) {
            Some(state) => coloured_word(line, state.as_str(), of_state(state), paint),
            None => coloured_word(line, "up", green(), paint),
        }
    });
    for (at, step) in shared.steps.iter().enumerate() {
        for node in &nodes {
            let state = node.stack.as_ref().and_then(|stack| stack.steps.get(at));
            if let Some(state) = state.filter(|state| !state.why().is_empty()) {
                let text = format!("{}: {step} is {}: {}", node.name, state.as_str(), state.why());
                out.push_str(&(painted(&text, of_state(state), paint) + "\n"));
            }
        }
    }
    out
}

/// A line for each step that is neither up nor down.
fn whys<'a>(steps: impl Iterator<Item = (&'a str, &'a StepState)>, paint: bool) -> String {
    let amiss = steps.filter(|(_, state)| !state.why().is_empty());
    let line = |(name, state): (&str, &StepState)| {
        let text = format!("{name} is {}: {}", state.as_str(), state.why());
        painted(&text, of_state(state), paint) + "\n"
    };
    amiss.map(line).collect()
}

fn of_state(state: &StepState) -> Style {
    match state {
        StepState::Up => green(),
        StepState::Down => Style::new(),
        StepState::Partly(_) => red(),
        StepState::Unknown(_) => yellow(),
    }
}

/// `0.04 s`, `12.3 s`, `2 min 5 s`.
fn seconds(length: Seconds) -> String {
    match length.0 {
        ms @ 0..10_000 => format!("{}.{:02} s", ms / 1000, ms % 1000 / 10),
        ms @ 10_000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        ms => regent_api::length::text(std::time::Duration::from_millis(ms)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Shown;
    use crate::render::tests::{expect_golden, lab};
    use regent_api::call::RefusalKind;
    use regent_api::moment::Moment;
    use regent_api::stack::Verb;
    use regent_api::stack::{Claim, Doing, InUse, MovedStep, PlanStep};
    use regent_api::status::{Health, Up};

    const STEPS: [&str; 6] =
        ["host name", "link /install", "link /etc/xcat", "database", "xcatd", "named"];

    fn plan_of(verb: Verb, states: [StepState; 6]) -> Plan {
        let whats = [
            "call this host mgmt",
            "/install -> /HA-data/install",
            "/etc/xcat -> /HA-data/etc/xcat",
            "start postgresql@15-main.service",
            "start xcatd.service",
            "start named.service; /opt/xcat/sbin/makedns -n",
        ];
        let wanted = if verb == Verb::Activate { StepState::Up } else { StepState::Down };
        let steps = STEPS.iter().zip(whats).zip(states).map(|((name, what), state)| PlanStep {
            name: (*name).into(),
            what: what.into(),
            already: state == wanted,
            state,
        });
        Plan { version: 1, node: "mn1".into(), verb, steps: steps.collect(), problems: vec![] }
    }

    fn partly() -> StepState {
        StepState::Partly("/etc/xcat is a directory, not the link to /HA-data/etc/xcat".into())
    }

    #[test]
    fn a_plan_tells_what_is_done_and_what_is_so_already() {
        use StepState::{Down, Up};
        let mut plan = plan_of(Verb::Activate, [Up, Up, partly(), Down, Down, Down]);
        plan.problems = vec!["/HA-data/etc/xcat/cfgloc says SQLite, not PostgreSQL".into()];
        expect_golden("stack-plan.txt", &super::plan(&plan, false));
    }

    #[test]
    fn a_plan_to_deactivate_names_who_is_in_its_way() {
        let mut plan = plan_of(Verb::Deactivate, std::array::from_fn(|_| StepState::Up));
        let busy = "link /install is in use: bash (pid 7) works in /HA-data/install";
        plan.problems = vec![busy.into()];
        assert!(super::plan(&plan, false).contains(&format!("in the way: {busy}\n")));
    }

    #[test]
    fn each_step_is_told_with_its_time_and_the_result_with_what_to_do() {
        let news =
            |name: &str, ms| StepNews { name: name.into(), seconds: Seconds(ms), ended: None };
        let end = |state, error: Option<&str>| StepEnd { state, error: error.map(Into::into) };
        let mut text = String::new();
        for (name, ms, ended) in [
            ("claim on the shared data", 4, end(StepDone::Done, None)),
            ("host name", 40, end(StepDone::Up, None)),
            ("database", 2_131, end(StepDone::Up, None)),
            ("xcatd", 60_004, end(StepDone::Failed, Some("nobody listens on tcp/3001"))),
            ("database", 812, end(StepDone::Down, None)),
        ] {
            text.push_str(&step(&news(name, ms), &ended, false));
        }
        text.push_str(&(running(&news("host name", 12_345), false) + "\n"));
        let mut result = Moved {
            version: 1,
            result: "done".into(),
            node: "mn1".into(),
            verb: Verb::Activate,
            dry_run: false,
            text: "mn1 is active".into(),
            remedy: None,
            seconds: Seconds(9_420),
            steps: vec![MovedStep {
                name: "host name".into(),
                state: StepDone::Up,
                seconds: Seconds(40),
                error: None,
            }],
            exit: 0,
            obstacle: None,
        };
        text.push_str(&moved(&result, false));
        result.obstacle = Some(RefusalKind::StepFailed);
        result.text = "xcatd: nobody listens on tcp/3001; everything is undone".into();
        result.remedy = Some("mend that, then regent activate again".into());
        result.seconds = Seconds(63_000);
        text.push_str(&moved(&result, false));
        expect_golden("stack-steps.txt", &text);
    }

    /// mn1 is active, mn2 passive.
    fn shared_lab() -> Status {
        let mut lab = lab();
        lab.sync = None;
        lab.shared = Some(Shared {
            failover: "by-hand".into(),
            steps: STEPS.map(Into::into).to_vec(),
            in_use: Some(InUse { node: "mn1".into(), epoch: 3, watchdog_ms: None }),
            claim: Some(Claim {
                node: "mn1".into(),
                epoch: 3,
                since: Moment(0),
                clear: false,
                of_cluster: None,
            }),
            activating: None,
        });
        for (node, (state, clear)) in
            lab.nodes.iter_mut().zip([(StepState::Up, false), (StepState::Down, true)])
        {
            node.database = None;
            let (steps, doing) = (vec![state.clone(); STEPS.len()], None);
            node.stack = Some(NodeStack { steps, doing, clear, ..NodeStack::default() });
            let (up, health) = match clear {
                false => (Up::Up, Health::Passing),
                true => (Up::Down, Health::Unknown),
            };
            node.services =
                ["database", "xcatd", "named"].map(|name| service(name, up, health)).into();
        }
        lab.nodes[0].reason = "own right: until it is released [C1]".into();
        lab
    }

    fn service(name: &str, state: Up, health: Health) -> Service {
        Service { name: name.into(), state, health, cause: String::new(), given_up: false }
    }

    fn text_of(lab: &Status) -> String {
        crate::render::status(lab, Shown::default(), false)
    }

    #[test]
    fn status_of_shared_data_in_use() {
        expect_golden("shared-healthy.txt", &text_of(&shared_lab()));
    }

    #[test]
    fn status_with_a_step_under_way_and_drift_and_problems() {
        let mut lab = shared_lab();
        let one = lab.nodes[0].stack.as_mut().unwrap();
        one.steps[2] = partly();
        one.drift = vec!["/etc/xcat is a directory, not the link to /HA-data/etc/xcat".into()];
        let two = lab.nodes[1].stack.as_mut().unwrap();
        two.problems = vec!["eth0 is down".into()];
        two.drift = vec!["xcatd.service is enabled at boot".into()];
        expect_golden("shared-drift.txt", &text_of(&lab));
        let mut lab = shared_lab();
        lab.nodes[0].role = Role::Activating;
        lab.nodes[0].serving = false;
        let one = lab.nodes[0].stack.as_mut().unwrap();
        for step in &mut one.steps[4..] {
            *step = StepState::Down;
        }
        one.doing = Some(Doing { step: "xcatd".into(), up: true });
        lab.nodes[0].services[1] = service("xcatd", Up::Down, Health::Unknown);
        lab.nodes[0].services[2] = service("named", Up::Down, Health::Unknown);
        expect_golden("shared-activating.txt", &text_of(&lab));
    }

    #[test]
    fn status_of_shared_data_that_nobody_uses() {
        let mut lab = shared_lab();
        lab.stopped = true;
        lab.nodes[0] = NodeStatus { name: "mn1".into(), ..lab.nodes[1].clone() };
        let shared = lab.shared.as_mut().unwrap();
        shared.in_use = None;
        shared.claim.as_mut().unwrap().clear = true;
        expect_golden("shared-passive.txt", &text_of(&lab));
    }

    #[test]
    fn the_steps_of_one_node() {
        use StepState::{Down, Up};
        let plan = plan_of(Verb::Activate, [Up, Up, partly(), Up, Up, Down]);
        let stack = NodeStack {
            drift: vec!["/etc/xcat is a directory, not the link to /HA-data/etc/xcat".into()],
            failure: Some("named: it ended at once, status 1".into()),
            ..NodeStack::default()
        };
        let shown = StackShown {
            version: 1,
            node: "mn1".into(),
            active: true,
            steps: plan.steps,
            stack,
            in_use: Some(InUse { node: "mn1".into(), epoch: 3, watchdog_ms: None }),
            claim: Some(Claim {
                node: "mn1".into(),
                epoch: 3,
                since: Moment(0),
                clear: false,
                of_cluster: None,
            }),
        };
        expect_golden("stack-show.txt", &super::shown(&shown, false));
    }
}

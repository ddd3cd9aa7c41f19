//! `systemctl`: what `Units` goes by while the bus is down, and all that acts on units without a runtime of tasks (the
//! stack, keepalived). It is the only place that starts it.

use super::error::UnitError;
use super::facts::Facts;
use crate::run::{RunError, run};
use std::time::Duration;

/// A look takes milliseconds; past this systemd hangs.
pub(crate) const SHOW_MAX: Duration = Duration::from_secs(5);
/// It reads every unit of the host again.
pub(crate) const RELOAD_MAX: Duration = Duration::from_secs(30);
const PROPERTIES: &str = "ActiveState,MainPID,ExecMainStartTimestampMonotonic,\
                          ActiveEnterTimestampMonotonic,ControlGroup,Result,Job";

/// Runs it with these arguments; what it wrote.
pub(crate) fn systemctl(arguments: &[&str], bound: Duration) -> Result<String, RunError> {
    run("systemctl", arguments, "", bound)
}

/// What systemd has of these properties of these units: a block of lines for each unit.
pub(crate) fn show(properties: &str, units: &[&str], bound: Duration) -> Result<String, RunError> {
    let arguments = [&["show", "--property", properties, "--"], units].concat();
    systemctl(&arguments, bound)
}

pub(super) fn facts(unit: &str) -> Result<Facts, UnitError> {
    Ok(parse(&show(PROPERTIES, &[unit], SHOW_MAX)?))
}

/// What the unit told systemd last of itself.
pub(super) fn words(unit: &str) -> Result<String, UnitError> {
    let shown = ["show", "--property", "StatusText", "--value", "--", unit];
    Ok(systemctl(&shown, SHOW_MAX)?.trim().to_owned())
}

fn parse(shown: &str) -> Facts {
    let value = |name: &str| {
        let line = shown.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        line.unwrap_or_default()
    };
    Facts {
        active: value("ActiveState").to_owned(),
        main_pid: value("MainPID").parse().unwrap_or(0),
        main_started: value("ExecMainStartTimestampMonotonic").parse().unwrap_or(0),
        entered: value("ActiveEnterTimestampMonotonic").parse().unwrap_or(0),
        cgroup: value("ControlGroup").to_owned(),
        result: value("Result").to_owned(),
        job: !matches!(value("Job"), "" | "0"),
    }
}

pub(super) fn job(verb: &'static str, unit: &str, bound: Duration) -> Result<(), UnitError> {
    match systemctl(&[verb, "--", unit], bound) {
        Ok(_) => Ok(()),
        Err(RunError::TooLong { .. }) => Err(UnitError::TooLong {
            doing: verb,
            unit: unit.to_owned(),
            bound: regent_core::time::Span(bound.as_nanos() as u64),
        }),
        Err(error) => Err(error.into()),
    }
}

pub(super) fn reload() -> Result<(), UnitError> {
    systemctl(&["daemon-reload"], RELOAD_MAX)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_systemctl_shows_is_read() {
        let shown = "MainPID=321\nExecMainStartTimestampMonotonic=77\nControlGroup=/system.slice/a.service\n\
                     ActiveState=active\nActiveEnterTimestampMonotonic=78\nResult=success\nJob=1234\n";
        let facts = Facts {
            active: "active".into(),
            main_pid: 321,
            main_started: 77,
            entered: 78,
            cgroup: "/system.slice/a.service".into(),
            result: "success".into(),
            job: true,
        };
        assert_eq!(parse(shown), facts);
        assert_eq!(parse("nonsense"), Facts::default());
    }
}

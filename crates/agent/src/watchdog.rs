//! Arms the watchdog device, on a thread of its own: to open one may load a driver, and to learn whether it proves
//! anything a program is asked.
//!
//! To arm it is to feed it. So the lease thread permits it until an instant up to which it may be fed, and a permission
//! that comes too late to the device is not used: the lease thread is asked again.

use crate::behind::{Behind, Sink};
use crate::events::Events;
use crate::inputs::{Armed, Inputs};
use crate::log;
use regent_adapters::fence::machine::{self, Machine};
use regent_adapters::fence::watchdog::{Facts, Watchdog};
use regent_api::history::Severity;
use regent_config::settings;
use regent_core::time::{Span, Time};

/// The preparation and one permission: the lease thread gives the next when it knows what became of the last.
const QUEUE: usize = 2;

/// The way to the thread.
pub struct Arm {
    queue: Behind<Item>,
}

enum Item {
    /// What takes its time and opens nothing, ahead of the first permission.
    Prepare,
    Arm(Permission),
}

struct Permission {
    given: Time,
    lasts: Span,
}

impl Arm {
    /// Starts the thread, which opens nothing before it may.
    pub fn start(
        wanted: settings::Watchdog,
        inputs: Inputs,
        events: Events,
        clock: fn() -> Time,
    ) -> Arm {
        let opener = Opener { wanted, inputs, events, clock, machine: None };
        let queue = Behind::start("watchdog", QUEUE, opener);
        queue.put(Item::Prepare);
        Arm { queue }
    }

    /// The device may be armed for so long from `given` on; what becomes of it comes to the lease thread's queue.
    pub fn permit(&self, given: Time, lasts: Span) {
        self.queue.put(Item::Arm(Permission { given, lasts }));
    }
}

struct Opener {
    wanted: settings::Watchdog,
    inputs: Inputs,
    events: Events,
    clock: fn() -> Time,
    machine: Option<Machine>,
}

impl Sink<Item> for Opener {
    fn take(&mut self, item: Item) {
        let machine = self.machine.get_or_insert_with(machine::find).clone();
        match item {
            Item::Prepare => {}
            Item::Arm(permission) => {
                let is_over = (self.clock)().elapsed_most(permission.given) >= permission.lasts;
                self.inputs.armed(if is_over { Armed::Late } else { self.arm(&machine) });
            }
        }
    }

    fn dropped(&mut self, count: u64) {
        log::warning(&format!("{count} permissions to arm the watchdog were not taken"));
    }
}

impl Opener {
    fn arm(&self, machine: &Machine) -> Armed {
        let wanted = &self.wanted;
        match Watchdog::arm(&wanted.device, wanted.timeout) {
            Ok(watchdog) => {
                let facts = watchdog.facts();
                let worth = worth(facts, machine, wanted.guest_is_never_frozen);
                let proof = worth.is_ok().then(|| facts.timeout + facts.timeout);
                let text = format!(
                    "{} resets this host unless the lease thread feeds it within {} ms{}",
                    facts.identity,
                    facts.timeout.as_millis(),
                    worth.err().map_or(String::new(), |why| format!(
                        "; to others its time proves nothing: {why}"
                    ))
                );
                self.events.write(Severity::Info, 0, "watchdog.armed", &text);
                Armed::Runs { watchdog, proof }
            }
            Err(error) => {
                let text = format!("this host runs without a watchdog device: failed to {error}");
                self.events.write(Severity::Alarm, 0, "watchdog.unarmed", &text);
                Armed::Absent
            }
        }
    }
}

/// Whether others may take its time for a proof (protocol section 6, clear (c)), or why not: only if nothing but a
/// reset ends it, and only where its clock cannot stand still with the host.
fn worth(facts: &Facts, machine: &Machine, guest_is_never_frozen: bool) -> Result<(), String> {
    if facts.has_no_way_out != Some(true) {
        return Err("it can be stopped (its driver runs without nowayout=1)".into());
    }
    if !facts.outlives_us {
        return Err("it ends with the agent".into());
    }
    let guest = match machine {
        Machine::Real => return Ok(()),
        Machine::Guest(what) => format!("this host is a guest ({what}) that can be frozen"),
        Machine::Unknown(why) => format!("this host may be a guest that can be frozen ({why})"),
    };
    match guest_is_never_frozen {
        true => Ok(()),
        false => Err(guest),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::{self, Event};
    use crate::scratch::Scratch;

    fn facts(has_no_way_out: Option<bool>, outlives_us: bool) -> Facts {
        let timeout = Span::millis(10_000);
        Facts { identity: "test".into(), timeout, has_no_way_out, outlives_us }
    }

    #[test]
    fn a_watchdog_of_a_guest_proves_nothing_unless_the_configuration_vouches_for_it() {
        let sure = facts(Some(true), true);
        assert_eq!(worth(&sure, &Machine::Real, false), Ok(()));
        for guest in [Machine::Guest("kvm".into()), Machine::Unknown("no answer".into())] {
            let why = worth(&sure, &guest, false).unwrap_err();
            assert!(why.contains("frozen"), "{why}");
            assert_eq!(worth(&sure, &guest, true), Ok(()));
        }
    }

    #[test]
    fn a_watchdog_that_can_be_stopped_proves_nothing_whatever_the_configuration_says() {
        for weak in [facts(Some(false), true), facts(None, true), facts(Some(true), false)] {
            assert!(worth(&weak, &Machine::Real, true).is_err(), "{weak:?}");
        }
    }

    #[test]
    fn a_permission_that_is_over_opens_no_device() {
        let dir = Scratch::new("watchdog-late");
        let (inputs, queue) = inputs::queue();
        let events = Events::open(&dir.path().join("events.jsonl"));
        let wanted = settings::Watchdog {
            device: "/dev/no-watchdog".into(),
            timeout: Span::millis(10_000),
            guest_is_never_frozen: false,
        };
        let clock = || Time { boot: 500, raw: 400 };
        let arm = Arm::start(wanted, inputs, events, clock);
        let given = Time { boot: 100, raw: 100 };
        arm.permit(given, Span(400));
        assert!(matches!(queue.recv().unwrap(), Event::Armed(Armed::Late)));
        // In time it is tried; this device is not there.
        arm.permit(given, Span(401));
        assert!(matches!(queue.recv().unwrap(), Event::Armed(Armed::Absent)));
    }
}

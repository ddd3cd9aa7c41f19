//! What an agent looks at all the time beside its host: its clock, the clocks and the registers of the others.

use crate::clocks::{self, Clocks};
use crate::events::Events;
use crate::inputs::Inputs;
use crate::place::Place;
use crate::renew;
use crate::transport::Transport;
use regent_adapters::clock;
use regent_api::history::Severity;
use regent_config::Settings;
use regent_core::health::{Health, Judge};
use regent_core::node::Input;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often clocks are looked at.
const CLOCK: Duration = Duration::from_secs(1);

/// Tells when this node's own wall clock jumps: nothing is decided by it, and the dates of its log are wrong.
pub(super) async fn watch_clock(clocks: Arc<Clocks>, events: Events) {
    let mut every = tokio::time::interval(CLOCK);
    loop {
        every.tick().await;
        let steady = clock::now().boot / 1000;
        if let Some(by) = clocks.jump(clocks::wall_us(), steady as i64) {
            let text = format!(
                "the wall clock of this node jumped by {:+.3} s; nothing is decided by it, but its log is dated by it",
                by as f64 / 1e6
            );
            events.write(Severity::Alarm, 0, "clock.jumped", &text);
        }
    }
}

/// How often it is looked whether a member greets by another register.
const GREETINGS: Duration = Duration::from_millis(100);

/// Tells core of a member that greets by another register than this node's, for as long as it does. One that was
/// replaced on this node is no other one: whoever has it still was told to be off.
pub(super) async fn watch_greetings(
    settings: Settings,
    place: Place,
    transport: Transport,
    inputs: Inputs,
) {
    let mut every = tokio::time::interval(GREETINGS);
    loop {
        every.tick().await;
        for member in settings.members.iter().filter(|member| !member.witness) {
            let Some(cluster) = transport.other_register(member.id) else { continue };
            if !renew::was_replaced(&place, cluster) {
                inputs.offer(Input::ForeignRegister { node: member.id, cluster });
            }
        }
    }
}

/// Judges the probes that compare clocks, and tells core of each change.
pub(super) async fn probe_clocks(settings: Settings, clocks: Arc<Clocks>, inputs: Inputs) {
    let mut probes: Vec<_> = settings
        .clocks()
        .map(|(id, probe, most)| {
            let judge = Judge::new(probe.rise, probe.fall);
            (id, most, Duration::from_nanos(probe.interval.0).max(CLOCK), judge, Instant::now())
        })
        .collect();
    if probes.is_empty() {
        return;
    }
    let mut every = tokio::time::interval(CLOCK);
    loop {
        every.tick().await;
        let second = clock::now().raw / 1_000_000_000;
        let offsets = clocks.offsets(second);
        let worst = offsets.into_iter().max_by_key(|(_, us)| us.unsigned_abs());
        let Some((node, us)) = worst else { continue };
        for (id, most, interval, judge, due) in &mut probes {
            if Instant::now() < *due {
                continue;
            }
            *due = Instant::now() + *interval;
            let passed = us.unsigned_abs() * 1000 <= most.0;
            if let Some(health) = judge.take(passed) {
                let ms = us.unsigned_abs() / 1000;
                let way = if us > 0 { "ahead of" } else { "behind" };
                let why = format!("the clock is {ms} ms {way} that of {}", settings.name(node));
                let why = if health == Health::Failing { why } else { String::new() };
                inputs.put(Input::Health { probe: *id, health, why });
            }
        }
    }
}

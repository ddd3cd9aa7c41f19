//! The deterministic simulator: one seed draws everything, and the same seed gives the same run for ever.
//!
//! It drives the very [`regent_core::node::Node`] and the very voter and proposer of [`regent_store::cell`] that the
//! agent runs. Around them stand models: clocks at their own rates, links, disks, the kernel's gate, systemd, and a
//! database per host that loses what MariaDB loses. After every step [`regent_core::invariant::check`] judges a
//! picture of the whole cluster; at the end of a run, faults over, it must serve and be in sync again.
//!
//! How to read it: [`world`] is the queue of events, [`host`] what a host is, [`agent`] the driver loop around the
//! core, [`worker`] the database worker, [`register`] the threads around voter and proposer, [`database`] the
//! database, [`truth`] and [`clients`] the judges' memory, [`fault`] what goes wrong, [`scenario`] the golden files.
//! [`promise`] compares what nodes tell operators with what is so. [`shared`] is the world of the other topology, in
//! which hosts have no database of their own but a [`stack`] on shared data.

pub mod agent;
pub mod ambush;
pub mod clients;
pub mod clock;
pub mod database;
pub mod edges;
pub mod fault;
pub mod gate;
pub mod health;
pub mod host;
pub mod late;
pub mod log;
pub mod net;
pub mod promise;
pub mod register;
pub mod release;
pub mod replication;
pub mod rng;
pub mod run;
pub mod scenario;
pub mod shared;
pub mod stack;
pub mod stopped;
pub mod truth;
pub mod worker;
pub mod world;

/// The mistakes that can be planted, by name.
#[cfg(feature = "planted")]
pub const PLANTS: &[(&str, regent_core::planted::Planted)] = {
    use regent_core::planted::Planted;
    &[
        ("slot-for-earlier-win", Planted::SlotForEarlierWin),
        ("right-from-read", Planted::RightFromRead),
        ("out-of-sync-succeeds", Planted::OutOfSyncSucceeds),
        ("inherited-sync", Planted::InheritedSync),
        ("another-confirms", Planted::AnotherConfirms),
        ("loose-while-join", Planted::LooseWhileJoin),
        ("drains-unmarked", Planted::DrainsUnmarked),
        ("starts-not-counted", Planted::StartsNotCounted),
        ("renamed-after-restart", Planted::RenamedAfterRestart),
        ("strict-by-off", Planted::StrictByOff),
        ("late-uncounted", Planted::LateUncounted),
        ("unheard-shown", Planted::UnheardShown),
        ("serves-unlooked", Planted::ServesUnlooked),
        ("concern-kept", Planted::ConcernKept),
        ("right-uncounted", Planted::RightUncounted),
        ("eligible-once", Planted::EligibleOnce),
        ("request-untold", Planted::RequestUntold),
        ("writes-unwaited", Planted::WritesUnwaited),
        ("lease-end-as-proof", Planted::LeaseEndAsProof),
        ("watchdog-late", Planted::WatchdogLate),
        ("fed-without-right", Planted::FedWithoutRight),
        ("vacate-before-stopped", Planted::VacateBeforeStopped),
        ("fence-before-succession", Planted::FenceBeforeSuccession),
        ("fence-unknown", Planted::FenceUnknown),
        ("start-before-occupied", Planted::StartBeforeOccupied),
        ("start-before-ruling", Planted::StartBeforeRuling),
        ("permit-kept", Planted::PermitKept),
        ("armed-late", Planted::ArmedLate),
        ("word-unproven", Planted::WordUnproven),
    ]
};

//! What systemd says of a unit, over D-Bus or by `systemctl`.

use regent_core::observe::UnitState;

/// What systemd says of a unit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Facts {
    /// active, reloading, inactive, failed, activating, deactivating, maintenance.
    pub(super) active: String,
    /// 0: none.
    pub(super) main_pid: u32,
    /// When the main process was started, in microseconds of CLOCK_MONOTONIC.
    pub(super) main_started: u64,
    /// When the unit became active, the same.
    pub(super) entered: u64,
    /// Below the root of the cgroups; empty when nothing ran yet.
    pub(super) cgroup: String,
    /// How its last run ended, `success` for one that was stopped; empty for what is no service.
    pub(super) result: String,
    /// A job of it waits or is under way: somebody asked systemd for something.
    pub(super) job: bool,
}

impl Facts {
    /// `dead`: the main process named here is known to be gone.
    pub(super) fn state(&self, dead: bool) -> UnitState {
        match self.active.as_str() {
            _ if self.is_active() && !dead => UnitState::Up { start: self.start() },
            _ if self.is_active() => UnitState::Down,
            "inactive" | "failed" => UnitState::Down,
            // Its main process is gone; what is left of it is being cleared away.
            "deactivating" if dead || self.main_pid == 0 => UnitState::Down,
            _ => UnitState::Unknown,
        }
    }

    pub(super) fn is_active(&self) -> bool {
        matches!(self.active.as_str(), "active" | "reloading" | "refreshing")
    }

    /// It is down, or on its way there, and nothing failed: as after a job that somebody asked systemd for.
    pub(super) fn is_stopped_well(&self) -> bool {
        !self.is_active() && self.result == "success"
    }

    /// Names this start: equal only for the same one.
    pub(super) fn start(&self) -> u64 {
        match self.main_pid {
            0 => self.entered,
            // A process id has 22 bits at most.
            pid => self.main_started.wrapping_mul(1 << 22).wrapping_add(u64::from(pid)),
        }
    }
}

//! Mistakes planted on purpose, behind the feature `planted`, so that the simulator can prove that it sees them.
//! The product is built without it, and every question here is then answered by a constant.

/// A row of the protocol's list of tempting mistakes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Planted {
    /// A slot is enabled for an earlier win than its ticket's.
    SlotForEarlierWin,
    /// A right is counted from a read.
    RightFromRead,
    /// A node that is not in sync succeeds.
    OutOfSyncSucceeds,
    /// A new holder acknowledges under the sync record it inherited.
    InheritedSync,
    /// Shared data: the end of the lease is taken as proof.
    LeaseEndAsProof,
    /// Shared data: the watchdog's time is not waited out.
    WatchdogLate,
    /// Shared data: the watchdog is fed without a right.
    FedWithoutRight,
    /// Shared data: vacated before everything is down.
    VacateBeforeStopped,
    /// Shared data: a fence asked for in an older epoch counts.
    FenceBeforeSuccession,
    /// Shared data: a fence without an answer counts as confirmed.
    FenceUnknown,
    /// Shared data: started before occupy is known won.
    StartBeforeOccupied,
    /// Shared data: an heir starts before it rules.
    StartBeforeRuling,
    /// Shared data: the units keep their permit over a vacate.
    PermitKept,
    /// Shared data: a watchdog is named that is armed only once the stack is up.
    ArmedLate,
    /// Nobody looks whether another replica confirms.
    AnotherConfirms,
    /// Shared data: the operator's word that a node is off is believed although its host answers.
    WordUnproven,
    /// The writer goes loose while a join of its own may still win.
    LooseWhileJoin,
    /// What was received is to be applied although the mark is gone already, and with it who would apply it.
    DrainsUnmarked,
    /// Nobody looks at the counted starts and the kept end of the log: older data under their old name are these.
    StartsNotCounted,
    /// A log that began anew proves the tables after another start of the server, too.
    RenamedAfterRestart,
    /// The database is switched off and on again to be strict, while clients write.
    StrictByOff,
    /// That a standby's applier is late, and a lock that holds it up, are not counted as concerns.
    LateUncounted,
    /// What a peer said last is shown as if it were said now.
    UnheardShown,
    /// A holder whose database takes writes says that it serves, without a look at its gate.
    ServesUnlooked,
    /// That somebody else answered for the VIP is a concern for ever.
    ConcernKept,
    /// `explain` tells how long a right lasts as what is left of it.
    RightUncounted,
    /// `explain` tells what was once read of the data here, whatever became of their server.
    EligibleOnce,
    /// That somebody asked systemd for a stop is not told.
    RequestUntold,
    /// Shared data: what was to be written when the directory hung is not waited for.
    WritesUnwaited,
}

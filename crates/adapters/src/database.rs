//! One file per engine: role, position, promote, demote, rejoin.

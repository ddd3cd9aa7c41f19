//! Nodes that have a copy of the data each: the local database is prepared, followed, compared and copied anew.
//!
//! | file | what |
//! |---|---|
//! | `database` | the local database: one step in flight, facts, restarts (D1, D11) |
//! | `hold` | what a holder makes of its database (D2, D3, D6, D10) |
//! | `follower` | is the recorded follower following; how another one is taken in (D4, D9) |
//! | `follow` | what everybody else does: follow the recorded writer, undo what it does not have (D7, D8) |
//! | `rename` | a writer whose log began anew: its data get a new name |
//! | `recopy` | a standby whose data are copied anew |
//! | `compare` | when both copies are compared, and what a difference means |
//! | `successor` | whom a writer could give the lease to |
//! | `stop` | a cluster that is stopped: services, database, gate, in order |

pub(in crate::node) mod compare;
pub(in crate::node) mod database;
pub(in crate::node) mod follow;
pub(in crate::node) mod follower;
mod hold;
pub(in crate::node) mod recopy;
mod rename;
mod stop;
mod successor;

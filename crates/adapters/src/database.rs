//! The database: MariaDB 10.11 by the rules of protocol section 4 (D1 to D11).
//!
//! Everything runs in [`worker`], a child process of the one binary, which the agent speaks to by
//! [`mod@line`]s; only the bulk copy ([`backup`]) passes through the agents themselves. How to read it:
//! [`worker`], then `steps.rs` (what core can ask, one function each), `facts.rs` (what core is told),
//! `keep.rs` and `end.rs` (what is kept beside the data and outside), then `lineage.rs` and `rejoin.rs` (the way
//! back of a returned node). `verify.rs` stands apart: it compares two copies, and nothing follows from it.

pub(crate) mod account;
mod answer;
pub mod backup;
mod binlog;
mod control;
mod cutoff;
mod end;
mod events;
mod facts;
mod fault;
mod gtid;
mod json;
mod keep;
pub mod line;
mod lineage;
mod link;
mod local;
mod locks;
mod names;
pub(crate) mod needs;
mod own;
pub mod peer;
mod rejoin;
mod settings;
pub mod site;
pub(crate) mod sql;
mod steps;
mod tool;
mod verify;
pub mod worker;

pub use gtid::Gtid;
pub use needs::Amiss;
pub use settings::{DatabaseNode, WorkerSettings};

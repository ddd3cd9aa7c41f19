//! Who holds, since when, and the gate. What a holder has to make ready, and whether a node may take over, it asks of
//! the workload ([`crate::node::workload`]); a move, whose stages are those of a database, still steps it itself.
//!
//! | file | what |
//! |---|---|
//! | `view` | the register's record as seen here, and when (R4, R5, C2, C6) |
//! | `propose` | one swap from the clock's reading to its known end (R6, C1, section 3) |
//! | `unresolved` | swaps without an answer, bounded (R5) |
//! | `holding` | the present tenure, its right and its licence |
//! | `holder` | what a holder proposes, opens and keeps |
//! | `succession` | taking the lease from a holder that fails (section 4) |
//! | `moves` | a release, planned or after a death (section 5) |
//! | `vip` | the address and the gate in front of it: nobody else asks the kernel for either |
//! | `failing` | steps of gate and address that the kernel refuses |
//! | `peers` | what peers tell, and whether a silent one's host lives |
//! | `fencing` | the holder fences, and nobody else (section 6) |
//! | `formats` | which formats of the State are spoken (R7) |

pub(in crate::node) mod failing;
pub(in crate::node) mod fencing;
mod formats;
mod holder;
pub(in crate::node) mod holding;
pub(in crate::node) mod moves;
pub(in crate::node) mod peers;
pub(in crate::node) mod propose;
pub(in crate::node) mod succession;
mod unresolved;
pub(in crate::node) mod view;
pub(in crate::node) mod vip;

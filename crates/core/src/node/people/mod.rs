//! What people and peers are told.
//!
//! | file | what |
//! |---|---|
//! | `report` | what this node tells its peers, and when |
//! | `status` | why it is where it is |
//! | `well` | would `regent status` exit with 0 |
//! | `told` | what was told already |
//! | `serving` | what clients have of the VIP, as seen from here |
//! | `room` | what is left of the disk of the agent's own state |

pub(in crate::node) mod report;
mod room;
pub(in crate::node) mod serving;
pub(in crate::node) mod status;
pub(in crate::node) mod told;
mod well;

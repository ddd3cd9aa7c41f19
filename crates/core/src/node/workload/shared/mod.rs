//! Nodes that share one data directory: only the active one uses it, and runs a stack of steps on it (section 6).
//!
//! | file | what |
//! |---|---|
//! | `data` | who may use the data: occupy, vacate, clear |
//! | `stack` | the local stack, one step at a time |
//! | `lost` | the shared directory hangs or fails (ADR 0040) |
//! | `asked` | activate, deactivate, repair, as operators ask for them |
//! | `word` | the operator's word on a silent node, and what speaks against it |

pub(in crate::node) mod asked;
mod data;
mod lost;
pub(in crate::node) mod stack;
mod word;

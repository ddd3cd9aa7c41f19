//! How long a swap of the register takes, measured for status.

use crate::measure::Measures;
use regent_core::id::CommandId;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// When each swap began that is under way, and whether the one before it was won at once.
pub struct Swaps {
    measures: Arc<Measures>,
    inner: Mutex<Begun>,
}

#[derive(Default)]
struct Begun {
    /// Core has one swap under way; an older one is given up.
    swap: Option<(CommandId, Instant)>,
    refused: bool,
}

impl Swaps {
    /// For these figures.
    pub fn new(measures: Arc<Measures>) -> Swaps {
        Swaps { measures, inner: Mutex::default() }
    }

    pub(crate) fn begin(&self, id: CommandId) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.refused |= inner.swap.is_some();
        inner.swap = Some((id, Instant::now()));
    }

    /// A swap came to its known end, won or not.
    pub fn end(&self, id: CommandId, won: bool) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((_, at)) = inner.swap.take_if(|(begun, _)| *begun == id) else { return };
        let after = std::mem::replace(&mut inner.refused, !won);
        if won {
            let lengths = if after { &self.measures.swap_refused } else { &self.measures.swap };
            lengths.note(at.elapsed());
        }
    }
}

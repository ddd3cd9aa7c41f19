//! Keeps the carried files of the active node on the shared data, so that a crash costs seconds of them and not a day.

use super::carry;
use super::settings::StackSettings;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a crash may cost.
const EVERY: Duration = Duration::from_secs(5);

/// What is kept, if anything is.
#[derive(Debug, Default)]
pub(super) struct Keeper {
    state: Mutex<State>,
    told: Condvar,
}

#[derive(Debug, Default)]
struct State {
    kept: Vec<(Vec<String>, PathBuf)>,
    copying: bool,
    ended: bool,
}

impl Keeper {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From here on these files are kept in this directory.
    pub(super) fn keep(&self, files: &[String], store: &Path) {
        let one = (files.to_vec(), store.to_owned());
        let mut state = self.state();
        if !state.kept.contains(&one) {
            state.kept.push(one);
        }
    }

    /// No copy begins after this.
    pub(super) fn stop(&self) {
        self.state().kept.clear();
    }

    /// No copy is under way after this, or the shared directory does not answer.
    pub(super) fn is_idle_within(&self, bound: Duration) -> bool {
        let state = self.state();
        let waited = self.told.wait_timeout_while(state, bound, |state| state.copying);
        !waited.unwrap_or_else(PoisonError::into_inner).0.copying
    }

    /// The thread ends.
    pub(super) fn end(&self) {
        self.state().ended = true;
        self.told.notify_all();
    }

    /// Copies now and then, on a thread of its own, which may hang with the shared directory.
    pub(super) fn run(self: Arc<Keeper>, root: &Path, settings: &StackSettings) {
        loop {
            let state = self.state();
            let waited = self.told.wait_timeout_while(state, EVERY, |state| !state.ended);
            let mut state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.ended {
                return;
            }
            let kept = state.kept.clone();
            state.copying = !kept.is_empty();
            drop(state);
            for (files, store) in &kept {
                // Said by the survey: the files differ.
                let _ = carry::store_all(root, settings, files, store, || {
                    self.state().kept.iter().any(|one| one.1 == *store)
                });
            }
            self.state().copying = false;
            self.told.notify_all();
        }
    }
}

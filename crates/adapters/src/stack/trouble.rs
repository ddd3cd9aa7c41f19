//! Why something is not as asked.

use std::fmt::Display;
use std::path::Path;

/// In words for people: the place, the cause, and what to do about it. Nobody decides by its kind.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Trouble(String);

impl Trouble {
    pub(super) fn new(words: impl Into<String>) -> Trouble {
        Trouble(words.into())
    }

    /// While this was done to this path.
    pub(super) fn at<E: Display>(doing: &str, path: &Path) -> impl FnOnce(E) -> Trouble {
        let place = format!("{doing} {}", path.display());
        move |error| Trouble(format!("{place}: {error}"))
    }

    pub(super) fn into_words(self) -> String {
        self.0
    }
}

//! What readers have to say about a source that nothing was left out for: said once, however often the source is read.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Sentences by what they are about; a later one takes the place of an earlier one. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notes(Arc<Mutex<BTreeMap<String, String>>>);

impl Notes {
    /// Notes a sentence.
    pub(crate) fn put(&self, about: impl Into<String>, sentence: impl Into<String>) {
        // No panic leaves a map half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(about.into(), sentence.into());
    }

    /// All sentences, in the order of what they are about.
    pub(crate) fn sentences(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// How many, and one of them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Count {
    /// How many.
    pub number: usize,
    /// The first.
    pub example: String,
}

impl Count {
    /// Counts one more.
    pub(crate) fn add(&mut self, example: impl FnOnce() -> String) {
        if self.number == 0 {
            self.example = example();
        }
        self.number += 1;
    }

    /// The number and the word in its number: `2 images`.
    pub(crate) fn of(&self, word: &str) -> String {
        format!("{} {word}{}", self.number, if self.number == 1 { "" } else { "s" })
    }
}

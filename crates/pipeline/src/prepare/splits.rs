//! The splits that sources prescribe, collected and checked before the first image is decoded.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use anyhow::{Result, bail};
use dataset::Split;

use crate::Skipped;
use crate::presets::SourceItem;

/// Contradictions that an error shows.
const MAX_SHOWN: usize = 3;

/// Which patient the sources put where. Holds 16 bytes for each patient that has a given split.
#[derive(Debug, Default)]
pub(super) struct GivenSplits {
    /// Images and bad rows in all sources.
    pub num_items: u64,
    splits: HashMap<u64, Split>,
}

impl GivenSplits {
    /// Goes through all items once, telling `advance` how many more are done.
    ///
    /// # Errors
    /// A patient in more than one split.
    pub(super) fn collect(
        items: impl Iterator<Item = Result<SourceItem, Skipped>>,
        advance: impl Fn(u64),
    ) -> Result<Self> {
        let mut given = Self::default();
        let mut contradictions = Vec::new();
        for item in items {
            given.num_items += 1;
            if given.num_items.is_multiple_of(1000) {
                advance(1000);
            }
            let Ok(SourceItem { name, patient: Some(patient), split: Some(split), .. }) = item else { continue };
            let first = *given.splits.entry(short_hash(&patient)).or_insert(split);
            if first != split {
                // The file is named and not the patient: errors end up in logs.
                contradictions.push(format!("{name} is in {split}, another image of the same patient in {first}"));
            }
        }
        if contradictions.is_empty() {
            return Ok(given);
        }
        let num = contradictions.len();
        contradictions.truncate(MAX_SHOWN);
        bail!(
            "the given splits put patients on both sides, for {num} images (for example: {}); correct them, or leave \
             them out (`csv.split = \"\"`) to have them drawn by patient",
            contradictions.join("; ")
        )
    }

    /// The split of a patient of whom at least one image has a given one.
    pub(super) fn of(&self, patient: &str) -> Option<Split> {
        self.splits.get(&short_hash(patient)).copied()
    }
}

/// Among a million names two are the same with a chance of one in 37 million. The same within one run of the program
/// only.
pub(super) fn short_hash(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

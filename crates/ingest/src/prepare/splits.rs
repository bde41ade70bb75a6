//! The splits that sources prescribe, collected and checked before the first image is decoded.

use anyhow::{Result, bail};
pub(super) use dataset::text_key as short_hash;
use dataset::{KeyMap, Split, SplitPlan};

use crate::presets::SourceItem;
use messages::Skipped;

/// Contradictions that an error shows.
const MAX_SHOWN: usize = 3;

/// Which patient the sources put where. Holds 11 bytes for each patient that has a given split, and 10
/// for each that is known not to be in the test set.
#[derive(Debug, Default)]
pub(super) struct GivenSplits {
    /// Images and bad rows in all sources.
    pub num_items: u64,
    splits: KeyMap<Split>,
    /// Patients with an image that an official test set left to training and validation.
    not_test: KeyMap<()>,
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
            let Ok(SourceItem { name, patient: Some(patient), split, is_not_test, .. }) = item else { continue };
            if is_not_test {
                given.not_test.insert(short_hash(&patient), ());
            }
            let Some(split) = split else { continue };
            let patient = short_hash(&patient);
            let Some(&first) = given.splits.get(patient) else {
                given.splits.insert(patient, split);
                continue;
            };
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
        self.splits.get(short_hash(patient)).copied()
    }

    /// Whether a patient is to be drawn for training or validation only.
    pub(super) fn is_not_test(&self, patient: &str) -> bool {
        self.not_test.get(short_hash(patient)).is_some()
    }
}

/// The plan for patients that an official test set does not have: its other two shares, in their ratio.
pub(super) fn without_test(plan: SplitPlan) -> SplitPlan {
    let rest = plan.train + plan.val;
    let (train, val) = if rest > 0.0 { (plan.train / rest, plan.val / rest) } else { (1.0, 0.0) };
    SplitPlan { train, val, test: 0.0, ..plan }
}

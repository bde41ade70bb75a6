//! Which splits the program was free to draw, and what it says about images that look alike in spite of splits.

use dataset::{JoinedSplits, KeyMap, SplitOrigin};

use super::splits::{GivenSplits, short_hash};
use crate::compare::Shared;
use crate::presets::SourceItem;
use messages::Progress;

/// The origins of splits, 11 bytes for each image whose split the program was not free to draw.
#[derive(Debug, Default)]
pub(super) struct Origins(KeyMap<SplitOrigin>);

impl Origins {
    /// Notes how an image comes to its split. What is known before decoding is enough: a patient is as bound as any of
    /// the patient's images. So an image that an earlier session wrote, which is not decoded again, counts the same.
    pub(super) fn note(&mut self, item: &SourceItem, given: &GivenSplits) {
        let patient = item.patient.as_deref();
        let origin = if item.split.is_some() || patient.is_some_and(|patient| given.of(patient).is_some()) {
            SplitOrigin::Given
        } else if item.is_not_test || patient.is_some_and(|patient| given.is_not_test(patient)) {
            SplitOrigin::DrawnWithoutTest
        } else {
            return;
        };
        self.0.insert(short_hash(&item.name), origin);
    }

    /// Notes an origin that is known.
    pub(super) fn insert(&mut self, name: &str, origin: SplitOrigin) {
        if origin != SplitOrigin::Drawn {
            self.0.insert(short_hash(name), origin);
        }
    }

    /// How the image of a name came to its split.
    pub(super) fn of_name(&self, name: &str) -> SplitOrigin {
        self.0.get(short_hash(name)).copied().unwrap_or(SplitOrigin::Drawn)
    }
}

/// Says who was moved.
pub(super) fn tell_of_moves(joined: &JoinedSplits, progress: &dyn Progress) {
    if joined.num_joined > 0 {
        progress.say(&format!(
            "{} patients have images that look like those of others (at most {} patients in one group): {} of them \
             went to another split than the one drawn for them",
            joined.num_joined,
            joined.largest_group,
            joined.num_moved()
        ));
    }
}

/// What nobody moves for the user is at least said, with what can be done about it.
pub(super) fn warn_of_near_duplicates(near: &Shared, progress: &dyn Progress) {
    if near.count > 0 {
        progress.say(&format!(
            "{} images look like one in another split, so that results on these splits are too good; they stay where \
             they are, because the source prescribes their splits or `join_near_duplicates` is off. To leave one of \
             each pair out, list its id in the column pixel_hash of a table for `--exclude`: {}",
            near.count,
            near.examples.join("; ")
        ));
    }
}

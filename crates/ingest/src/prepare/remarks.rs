//! What is to be known about images that were taken all the same: how many there are of each kind, and one of them.

use std::collections::BTreeMap;

use radiograph::Remark;
use serde::Serialize;

use messages::Progress;

/// The images that a remark is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Remarked {
    /// How many they are.
    pub count: usize,
    /// The name of the first.
    pub example: String,
}

/// The images that each remark is about.
pub type Remarks = BTreeMap<Remark, Remarked>;

/// Notes the remarks on an image that was taken.
pub(super) fn note(remarks: &mut Remarks, name: &str, found: impl IntoIterator<Item = Remark>) {
    for remark in found {
        let images = remarks.entry(remark).or_default();
        images.count += 1;
        if images.count == 1 {
            name.clone_into(&mut images.example);
        }
    }
}

/// Says each of them.
pub(super) fn tell(remarks: &Remarks, progress: &dyn Progress) {
    for (remark, Remarked { count, example }) in remarks {
        let images = if *count == 1 { "image" } else { "images" };
        progress.say(&format!("{count} {images}, {example} for one: {remark}"));
    }
}

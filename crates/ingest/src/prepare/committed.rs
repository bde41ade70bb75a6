//! The images that an earlier session wrote and that were not met yet in the sources.

use std::collections::BTreeMap;

use dataset::{KeyMap, ManifestRow};

use super::splits::short_hash;

/// These images by their names, hashed: 11 bytes for each.
#[derive(Debug, Default)]
pub(super) struct Committed {
    /// Whether the last image of a name lacks a mask; `None` once all of the name were met.
    lacks_mask: KeyMap<Option<bool>>,
    /// How many more of a name there are: a table may name a file twice.
    more: BTreeMap<u64, u32>,
}

impl Committed {
    /// An image that is there.
    pub(super) fn note(&mut self, row: &ManifestRow) {
        let name = short_hash(&row.source_file);
        if self.lacks_mask.insert(name, Some(!row.mask)).is_some() {
            *self.more.entry(name).or_insert(0) += 1;
        }
    }

    /// Takes out an image of a name that the sources have, and says whether it lacks a mask; `None` where there is none
    /// any more.
    pub(super) fn take(&mut self, name: &str) -> Option<bool> {
        let name = short_hash(name);
        let image = self.lacks_mask.get_mut(name)?;
        let lacks_mask = (*image)?;
        match self.more.get_mut(&name).filter(|more| **more > 0) {
            Some(more) => *more -= 1,
            None => *image = None,
        }
        Some(lacks_mask)
    }
}

#[cfg(test)]
mod tests {
    use dataset::Split;

    use super::*;

    #[test]
    fn images_of_one_name_are_met_as_often_as_they_were_written() {
        let mut committed = Committed::default();
        for (name, mask) in [("a", false), ("b", true), ("a", true), ("a", false)] {
            let row = ManifestRow { source_file: name.into(), mask, ..ManifestRow::bare("", Split::Train) };
            committed.note(&row);
        }
        let taken = ["a", "b", "a", "c", "b", "a", "a"].map(|name| committed.take(name));
        assert_eq!(taken, [Some(true), Some(false), Some(true), None, None, Some(true), None]);
    }
}

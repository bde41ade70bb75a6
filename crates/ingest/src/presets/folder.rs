//! Any files and folders. `[train|val|test]/[LABEL/.../]FILE`: a first folder that is named like a split is one, the
//! next folder is the label, deeper folders only hold. An archive counts as if it had been unpacked where it lies.

use std::path::Path;

use anyhow::Result;

use super::{Items, Preset, SourceItem, files};
use crate::archive::Archives;

/// See the module's documentation.
#[derive(Clone, Copy, Debug, Default)]
pub struct Folder;

impl Preset for Folder {
    fn items<'a>(&'a self, source: &'a Path, archives: &'a Archives) -> Result<Items<'a>> {
        files::walk(source, archives, describe)
    }
}

fn describe(parts: &[&str], item: &mut SourceItem) {
    let mut folders = parts[..parts.len() - 1].iter();
    let mut first = folders.next();
    if let Some(split) = first.and_then(|name| name.parse().ok()) {
        item.split = Some(split);
        first = folders.next();
    }
    item.labels.extend(first.map(|&label| label.to_owned()));
}

#[cfg(test)]
mod tests {
    use dataset::Split;

    use super::*;

    #[test]
    fn folders_are_splits_and_labels() {
        let expected: [(&[&str], Option<Split>, &[&str]); 5] = [
            (&["a.png"], None, &[]),
            (&["normal", "a.png"], None, &["normal"]),
            (&["effusion", "study 1", "a.dcm"], None, &["effusion"]),
            (&["Train", "normal", "a.png"], Some(Split::Train), &["normal"]),
            (&["test", "a.png"], Some(Split::Test), &[]),
        ];
        for (parts, split, labels) in expected {
            let mut item = SourceItem::default();
            describe(parts, &mut item);
            assert_eq!(
                (item.split, &item.labels[..]),
                (split, &labels.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>()[..])
            );
        }
    }
}

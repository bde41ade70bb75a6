//! Collections of images: how files, folders and tables tell patient, view, labels, split and mask.
//!
//! A collection is one file in this folder with a type that implements [`Preset`], and one line in [`open`].

mod files;
mod folder;
mod kermany;
mod table;

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use dataset::Split;

use crate::Skipped;

pub use folder::Folder;
pub use kermany::Kermany;
pub use table::{Columns, Table};

/// The names that [`open`] knows, with what they are for.
pub const PRESETS: [(&str, &str); 3] = [
    ("folder", "image files and folders; the names of folders are splits and labels"),
    ("csv", "a table with a row for each image"),
    ("kermany", "paediatric pneumonia (Kermany et al. 2018), folders NORMAL and PNEUMONIA"),
];

/// What a source says about one image before it is decoded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SourceItem {
    /// The image file.
    pub path: PathBuf,
    /// The file relative to its source, with `/` between folders: what manifest and lists of skipped files say.
    pub name: String,
    /// The patient's identifier, hashed before it is stored; `None` takes it from the DICOM header.
    pub patient: Option<String>,
    /// The view; `None` takes it from the DICOM header.
    pub view: Option<String>,
    /// The labels.
    pub labels: Vec<String>,
    /// The split, where the source prescribes one.
    pub split: Option<Split>,
    /// The file of the lung mask.
    pub mask: Option<PathBuf>,
    /// The collection.
    pub collection: Option<String>,
    /// The licence.
    pub licence: Option<String>,
}

/// The images of a source, lazily and always in the same order; what cannot be an image is said and passed over.
pub type Items<'a> = Box<dyn Iterator<Item = Result<SourceItem, Skipped>> + 'a>;

/// A way to read a source.
pub trait Preset: Send + Sync {
    /// Goes through the file or folder `source`.
    ///
    /// # Errors
    /// A source that cannot be read at all, a table that lacks a column.
    fn items<'a>(&'a self, source: &'a Path) -> Result<Items<'a>>;
}

/// The preset of that name. `columns` is for `csv`.
///
/// # Errors
/// A name that is not in [`PRESETS`].
pub fn open(name: &str, columns: &Columns) -> Result<Box<dyn Preset>> {
    Ok(match name {
        "folder" => Box::new(Folder),
        "csv" => Box::new(Table { columns: columns.clone() }),
        "kermany" => Box::new(Kermany),
        _ => {
            let known: Vec<_> = PRESETS.iter().map(|(name, _)| *name).collect();
            bail!("there is no preset {name:?}; the presets are {}", known.join(", "));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_opens_and_no_other() {
        for (name, _) in PRESETS {
            assert!(open(name, &Columns::default()).is_ok(), "{name}");
        }
        let error = open("kermani", &Columns::default()).err().unwrap().to_string();
        assert_eq!(error, "there is no preset \"kermani\"; the presets are folder, csv, kermany");
    }
}

//! Collections of images: how files, folders and tables tell patient, view, labels, split and mask.
//!
//! A public collection is a table of facts in `collections`, which one reader interprets (`Collection` in
//! `collection.rs`); a way to read that is truly different is a type of its own that implements [`Preset`].

mod collection;
mod collections;
mod dicomdir;
mod files;
mod folder;
mod kermany;
mod labels;
mod rows;
mod table;

use std::fmt;
use std::path::Path;

use anyhow::{Result, bail};
use dataset::Split;

use crate::archive::{Archives, FileSource};
use collections::COLLECTIONS;
use messages::Skipped;

pub use folder::Folder;
pub use kermany::Kermany;
pub use labels::{Label, NORMAL, State, VOCABULARY, Words, vocabulary_as_markdown};
pub use table::{Columns, Table};

/// The names of all presets, as [`open`] knows them: those for any source, then the public collections.
pub fn names() -> Vec<&'static str> {
    ["folder", "csv"].into_iter().chain(about_all().map(|about| about.name)).collect()
}

/// What is to be known about a public collection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct About {
    /// The preset's name, and the collection's in manifests.
    pub name: &'static str,
    /// The name that people use.
    pub title: &'static str,
    /// What to download, in words.
    pub download: &'static str,
    /// How much that is, roughly.
    pub size: &'static str,
    /// Who may.
    pub access: Access,
    /// The licence of the images.
    pub licence: &'static str,
    /// What to cite.
    pub citation: &'static str,
    /// What patients' identifiers begin with before they are hashed. Collections that number the same people alike share
    /// it, so that a patient is on one side of a split in all of them.
    pub patients: &'static str,
}

/// What it takes to download a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody may.
    Open,
    /// An account, and consent to terms.
    Registration,
    /// A credentialed account: training, references and a signed agreement.
    Credentialed,
}

impl fmt::Display for Access {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Open => "open",
            Self::Registration => "an account and consent to terms",
            Self::Credentialed => "credentialed (training course and signed agreement)",
        })
    }
}

/// All public collections that have a preset.
pub fn about_all() -> impl Iterator<Item = &'static About> {
    COLLECTIONS.iter().map(|collection| &collection.about).chain([&kermany::ABOUT])
}

/// The public collection of that name.
pub fn about(name: &str) -> Option<&'static About> {
    about_all().find(|about| about.name == name)
}

/// What a source says about one image before it is decoded.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SourceItem {
    /// The image file.
    pub file: FileSource,
    /// The file relative to its source, with `/` between folders: what manifest and lists of skipped files say.
    pub name: String,
    /// The patient's identifier, hashed before it is stored; `None` takes it from the DICOM header.
    pub patient: Option<String>,
    /// The view; `None` takes it from the DICOM header.
    pub view: Option<String>,
    /// The labels that the image has.
    pub labels: Vec<String>,
    /// The labels that the source says are absent.
    pub labels_negative: Vec<String>,
    /// The labels that the source says may be there.
    pub labels_uncertain: Vec<String>,
    /// The split, where the source prescribes one.
    pub split: Option<Split>,
    /// Whether the source has an official test set that this image is not in: then it is drawn for training or
    /// validation only.
    pub is_not_test: bool,
    /// The files that make up the lung mask, united.
    pub mask: Vec<FileSource>,
    /// The collection.
    pub collection: Option<String>,
    /// The licence.
    pub licence: Option<String>,
    /// How the file holds its pixels, where it has no header that says so.
    pub raw: Option<RawPixels>,
}

/// A file that is nothing but pixels: big-endian 16-bit values, row by row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawPixels {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Bits that are used, 1 to 16.
    pub bits: u8,
    /// Whether high values are dark.
    pub is_inverted: bool,
}

/// The images of a source, lazily and always in the same order; what cannot be an image is said and passed over.
pub type Items<'a> = Box<dyn Iterator<Item = Result<SourceItem, Skipped>> + 'a>;

/// A way to read a source.
pub trait Preset: Send + Sync {
    /// Goes through the file, folder or archive `source`; `archives` keeps the lists of those that are met.
    ///
    /// # Errors
    /// A source that cannot be read at all, a table that lacks a column.
    fn items<'a>(&'a self, source: &'a Path, archives: &'a Archives) -> Result<Items<'a>>;
}

/// The collections are static, so a reference is a preset too.
impl<P: Preset + ?Sized> Preset for &P {
    fn items<'a>(&'a self, source: &'a Path, archives: &'a Archives) -> Result<Items<'a>> {
        (**self).items(source, archives)
    }
}

/// The preset of that name. `columns` is for `csv`.
///
/// # Errors
/// A name that is not in [`names`].
pub fn open(name: &str, columns: &Columns) -> Result<Box<dyn Preset>> {
    if let Some(collection) = COLLECTIONS.iter().find(|collection| collection.about.name == name) {
        return Ok(Box::new(*collection));
    }
    Ok(match name {
        "folder" => Box::new(Folder),
        "csv" => Box::new(Table::new(columns.clone())),
        "kermany" => Box::new(Kermany),
        _ => bail!("there is no preset {name:?}; the presets are {}", names().join(", ")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_collection_has_a_row_in_the_documentation() {
        let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/ingest.md")).unwrap();
        for about in about_all() {
            let rows = text.lines().filter(|line| line.starts_with(&format!("| `{}` |", about.name))).count();
            assert_eq!(rows, 1, "{}", about.name);
        }
    }

    #[test]
    fn every_preset_opens_and_no_other() {
        let names = names();
        assert_eq!(names.len(), 18);
        for name in &names {
            assert!(open(name, &Columns::default()).is_ok(), "{name}");
        }
        let error = open("kermani", &Columns::default()).err().unwrap().to_string();
        assert!(
            error.starts_with("there is no preset \"kermani\"; the presets are folder, csv, mimic-cxr-jpg"),
            "{error}"
        );
        assert_eq!(about("siim").unwrap().title, "SIIM-ACR Pneumothorax Segmentation");
        assert_eq!(about("folder"), None);
    }
}

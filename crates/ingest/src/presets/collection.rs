//! A public collection as a table of facts, and the one reader that all of them share.
//!
//! The facts ([`Collection`]) say where the rows are, which tables are joined to them, and how a row tells image,
//! patient, view, labels, split and masks. What tables and disk do not agree on is counted and reported at the end, in
//! one line for each kind: images that a table names and that are not there (many people download a part), image files
//! that no table knows, rows that are left out, label words outside the vocabulary, tables that are missing.

mod reader;

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use anyhow::{Context, Result, bail};
use dataset::Split;
use walkdir::WalkDir;

use super::labels::{State, Words};
use super::rows::{Join, Joined, Row, find};
use super::{About, Items, Preset, RawPixels};
use crate::archive::{Archives, is_named_like_one};
use crate::tables::filled;
use messages::Skipped;
use reader::{Reader, Tally, image_files};

/// How far below the given folder the collection's own is looked for, and among how many files and folders: `wget`
/// puts PhysioNet's into `physionet.org/files/NAME/VERSION`.
const SEARCH_DEPTH: usize = 4;
const SEARCH_ENTRIES: usize = 50_000;

/// What is known about a collection.
pub(super) struct Collection {
    pub about: About,
    pub rows: Rows,
    pub joins: &'static [Join],
    pub image: Image,
    /// The patient's identifier within the collection; none takes it from the DICOM header.
    pub patient: fn(&Row) -> Option<String>,
    pub view: View,
    /// All of them are asked.
    pub labels: &'static [Labels],
    pub split: fn(&Row) -> Official,
    /// Lung masks below the collection's folder: alternatives, each of files that are united.
    pub masks: fn(&Row) -> Vec<Vec<String>>,
    /// The licence of an image, where images of the collection differ.
    pub licence: Option<&'static str>,
    /// Why a row is no chest radiograph.
    pub leave_out: fn(&Row) -> Option<&'static str>,
    /// How files that are no PNG, JPEG or DICOM hold their pixels, by the end of their names.
    pub raw: Option<(&'static str, RawPixels)>,
}

/// Where the rows come from.
pub(super) enum Rows {
    /// Tables with a row for each image.
    Tables(&'static [MainFacts]),
    /// The names of files below a folder of the collection; `describe` gives the cells of `columns`, or none for a file
    /// that is not an image of the collection.
    Files {
        marker: &'static [&'static str],
        columns: &'static [&'static str],
        describe: fn(&str) -> Option<Vec<String>>,
    },
}

/// A table with a row for each image.
pub(super) struct MainFacts {
    /// Its names, of which the first that is there is taken.
    pub files: &'static [&'static str],
    /// Columns that it must have.
    pub columns: &'static [&'static str],
    /// Whether the collection is incomplete without it.
    pub is_needed: bool,
    /// The column in which rows about the same image agree, where an image may have several.
    pub repeated: Option<&'static str>,
}

/// Where an image is.
pub(super) enum Image {
    /// Paths below the collection's folder, of which the first that is there is taken.
    At(fn(&Row) -> Vec<String>),
    /// Names of files that may lie anywhere in the collection's folder.
    Named(fn(&Row) -> Vec<String>),
}

/// What an image's view is.
pub(super) enum View {
    /// All images have the same.
    Always(&'static str),
    /// It is written in a column.
    Column(&'static str),
    /// It is made of several cells.
    Of(fn(&Row) -> String),
    /// The DICOM header says it.
    Header,
}

/// How cells tell labels.
pub(super) enum Labels {
    /// A column for each word: 1 positive, 0 negative, -1 uncertain, empty unknown.
    Columns(Words),
    /// A column for each word and a row for each reader, with 0 or 1: positive where the majority says so, uncertain
    /// where a minority does, negative where nobody does.
    Votes(Words),
    /// A row for each finding that a reader saw, and at least one for each reader: counted like [`Labels::Votes`]. `words`
    /// are all that readers could choose from.
    VotesByRow { column: &'static str, reader: &'static str, whose: Words, words: &'static [&'static str] },
    /// A cell that lists words. With `is_complete`, words that are not listed are negative.
    List { column: &'static str, whose: Words, is_complete: bool },
    /// A cell's text decides; an empty cell says nothing. The text `*` stands for any other.
    Cases { column: &'static str, cases: &'static [(&'static str, &'static [(&'static str, State)])] },
}

/// What a collection says about the split of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Official {
    /// Nothing; it is drawn.
    Free,
    /// It belongs here.
    In(Split),
    /// It is not in the official test set; training or validation is drawn.
    NotTest,
}

/// No mask.
pub(super) fn no_masks(_: &Row) -> Vec<Vec<String>> {
    Vec::new()
}

/// No row is left out.
pub(super) fn keep_all(_: &Row) -> Option<&'static str> {
    None
}

/// No official split.
pub(super) fn free(_: &Row) -> Official {
    Official::Free
}

/// A view as manifests write it: `PA`, `AP`, `AP SUPINE`, `LATERAL` (of unknown side), `LL`, `RL`, or the collection's
/// own word in capitals.
pub(super) fn view_name(text: &str) -> Option<String> {
    let text = filled(text)?.to_uppercase().replace('_', " ");
    Some(match text.as_str() {
        "UNK" | "UNKNOWN" => return None,
        "APS" | "AP HORIZONTAL" | "AP SUPINE" => "AP SUPINE".to_owned(),
        "L" | "LAT" | "LATERAL" => "LATERAL".to_owned(),
        _ => text,
    })
}

impl Preset for Collection {
    fn items<'a>(&'a self, source: &'a Path, archives: &'a Archives) -> Result<Items<'a>> {
        std::fs::metadata(source)
            .with_context(|| format!("the source cannot be read, check the path: {}", source.display()))?;
        let home = self.home(source)?;
        let mut tally = Tally::default();
        let mut joined = Vec::new();
        for join in self.joins {
            match find(&home, join.files) {
                Some(path) => joined.push(Joined::read(join, &path, &archives.notes)?),
                None => tally.tables.push(Skipped {
                    item: join.files[0].to_owned(),
                    reason: format!(
                        "the table is not there, so there are no {}; download it into this folder",
                        join.gives
                    ),
                }),
            }
        }
        let reader = Rc::new(Reader {
            collection: self,
            archives,
            joined,
            files: self.index(&home),
            packed: OnceCell::new(),
            folders: RefCell::default(),
            home,
        });
        let tables = reader.tables(&mut tally)?;
        let tally = Rc::new(RefCell::new(tally));
        let (row_reader, row_tally) = (Rc::clone(&reader), Rc::clone(&tally));
        let items = tables.into_iter().flat_map(move |table| {
            let (reader, tally) = (Rc::clone(&row_reader), Rc::clone(&row_tally));
            table.records.filter_map(move |records| match records {
                Ok(records) => {
                    let row =
                        Row { table: &table.name, header: &table.header, records: &records, joined: &reader.joined };
                    reader.item(&row, &mut tally.borrow_mut()).map(Ok)
                }
                Err(skipped) => Some(Err(skipped)),
            })
        });
        let reports = std::iter::once_with(move || reader.reports(&mut tally.borrow_mut())).flatten().map(Err);
        Ok(Box::new(items.chain(reports)))
    }
}

impl Collection {
    /// The files that show that a folder is the collection's: any of each group.
    fn markers(&self) -> Vec<&'static [&'static str]> {
        match &self.rows {
            Rows::Tables(tables) => tables.iter().filter(|table| table.is_needed).map(|table| table.files).collect(),
            Rows::Files { marker, .. } => vec![marker],
        }
    }

    /// The collection's folder: the given one, or one below it.
    fn home(&self, source: &Path) -> Result<PathBuf> {
        let markers = self.markers();
        let has = |folder: &Path, files: &[&str]| {
            find(folder, files).is_some() || files.iter().any(|file| folder.join(file).is_dir())
        };
        let folders = WalkDir::new(source)
            .max_depth(SEARCH_DEPTH)
            .sort_by_file_name()
            .into_iter()
            .take(SEARCH_ENTRIES)
            .flatten()
            .filter(|entry| entry.file_type().is_dir() || entry.depth() == 0);
        let mut missing: Option<&[&str]> = None;
        for folder in folders {
            match markers.iter().find(|files| !has(folder.path(), files)) {
                None => return Ok(folder.into_path()),
                // What the given folder lacks is what is said, unless another folder has a part of the tables.
                Some(files) if missing.is_none() || markers.iter().any(|files| has(folder.path(), files)) => {
                    missing = Some(files);
                }
                Some(_) => {}
            }
        }
        let expected =
            missing.unwrap_or_default().iter().map(|file| format!("`{file}`")).collect::<Vec<_>>().join(" or ");
        bail!(
            "the folder is not {} as the preset `{}` expects it: there is no {expected} in it; give the folder that \
             holds it ({}){}: {}",
            self.about.title,
            self.about.name,
            self.about.download,
            // Tables are not looked for in archives, images are.
            if is_named_like_one(source) { ", with the collection's tables unpacked from the archive" } else { "" },
            source.display()
        )
    }

    /// Where files of each name are, for collections whose tables give names only.
    fn index(&self, home: &Path) -> HashMap<String, PathBuf> {
        match self.image {
            Image::At(_) => HashMap::new(),
            Image::Named(_) => image_files(home)
                .filter_map(|path| Some((path.file_name()?.to_string_lossy().into_owned(), path)))
                .collect(),
        }
    }
}

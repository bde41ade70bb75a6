//! From rows and files to images, and the account of what tables and disk do not agree on.

use std::cell::OnceCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use csv::StringRecord;
use walkdir::WalkDir;

use super::super::labels::{self, Meaning, State, States, VOCABULARY, Words};
use super::super::rows::{Header, Joined, MainTable, Row, as_text, find};
use super::{Collection, Image, Labels, Official, Rows, View, view_name};
use crate::Skipped;
use crate::archive::{Archives, FileSource, is_hidden, os_text, text_below};
use crate::presets::SourceItem;

/// Names of files that are taken for images when those that no table knows are counted.
const IMAGE_EXTENSIONS: [&str; 7] = ["png", "jpg", "jpeg", "dcm", "dicom", "img", "gif"];

/// A main table that was found, opened.
pub(super) struct OpenTable {
    pub name: String,
    pub header: Header,
    pub records: Box<dyn Iterator<Item = Result<Vec<StringRecord>, Skipped>>>,
}

/// What is counted on the way.
#[derive(Default)]
pub(super) struct Tally {
    /// Files that are images or masks of the collection, hashed.
    known: HashSet<u64>,
    missing: Count,
    left_out: BTreeMap<&'static str, Count>,
    words: BTreeMap<String, usize>,
    pub tables: Vec<Skipped>,
}

/// How many, and one of them.
#[derive(Default)]
struct Count {
    number: usize,
    example: String,
}

impl Count {
    fn add(&mut self, example: &str) {
        if self.number == 0 {
            example.clone_into(&mut self.example);
        }
        self.number += 1;
    }
}

/// The files of a folder in the order of their names, hidden ones left out.
fn files(home: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let is_shown = |entry: &walkdir::DirEntry| entry.depth() == 0 || !is_hidden(&os_text(entry.file_name()));
    let files = WalkDir::new(home).follow_links(true).sort_by_file_name().into_iter().filter_entry(is_shown).flatten();
    files.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path)
}

fn is_image(name: &Path) -> bool {
    let extension = name.extension().map(|extension| extension.to_string_lossy().to_lowercase());
    extension.is_some_and(|extension| IMAGE_EXTENSIONS.contains(&extension.as_str()))
}

/// The image files of a folder, outside of archives, in the order of their names, hidden ones left out.
pub(super) fn image_files(home: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    files(home).filter(|path| is_image(path))
}

/// Where image files of each name are in the archives of a folder.
fn packed_files(home: &Path, archives: &Archives) -> HashMap<String, FileSource> {
    let mut found = HashMap::new();
    for archive in files(home).filter_map(|path| archives.open_named(&path)) {
        for (number, name) in archive.below("").filter(|(_, name)| is_image(Path::new(name))) {
            let name = name.rsplit('/').next().unwrap_or_default().to_owned();
            found.insert(name, FileSource::Member(Arc::clone(&archive), number));
        }
    }
    found
}

/// A collection on disk.
pub(super) struct Reader<'a> {
    pub collection: &'a Collection,
    pub archives: &'a Archives,
    pub home: PathBuf,
    pub joined: Vec<Joined>,
    /// Where files of each name are, for collections whose tables give names only.
    pub files: HashMap<String, PathBuf>,
    /// The same in archives, which are opened when a file is not on the disk.
    pub packed: OnceCell<HashMap<String, FileSource>>,
}

impl Reader<'_> {
    /// The main tables, with their headers checked.
    pub(super) fn tables(&self, tally: &mut Tally) -> Result<Vec<OpenTable>> {
        let facts = match &self.collection.rows {
            Rows::Tables(facts) => facts,
            Rows::Files { columns, describe, .. } => return Ok(vec![self.files_as_table(columns, *describe)]),
        };
        let mut tables = Vec::new();
        for table in *facts {
            let Some(path) = find(&self.home, table.files) else {
                tally.tables.push(Skipped {
                    item: table.files[0].to_owned(),
                    reason: "the table is not there, so its images are left out; download it, or go on without".into(),
                });
                continue;
            };
            let name = path.file_name().unwrap_or_default().to_string_lossy().trim_end_matches(".gz").to_owned();
            let open = MainTable::open(&path, table.columns)?;
            let header = open.header();
            let key = table.repeated.and_then(|column| open.position(column));
            let table_name = name.clone();
            let records = open.reader.into_byte_records().map(move |record| {
                record.map(as_text).map_err(|error| {
                    let line = error.position().map_or_else(String::new, |at| format!(", line {}", at.line()));
                    let reason = format!("the row cannot be read ({error}); download the table again");
                    Skipped { item: format!("{table_name}{line}"), reason }
                })
            });
            let records: Box<dyn Iterator<Item = _>> = match key {
                None => Box::new(records.map(|record| record.map(|record| vec![record]))),
                Some(key) => Box::new(grouped(records, key).into_iter()),
            };
            tables.push(OpenTable { name, header, records });
        }
        Ok(tables)
    }

    /// The collection's files as rows; the first column is the path below the collection's folder.
    fn files_as_table(&self, columns: &[&str], describe: fn(&str) -> Option<Vec<String>>) -> OpenTable {
        let home = self.home.clone();
        let records = image_files(&self.home).filter_map(move |path| {
            let name = below(&home, &path);
            let cells = describe(&name)?;
            Some(Ok(vec![std::iter::once(name).chain(cells).collect::<StringRecord>()]))
        });
        let names: Vec<&str> = std::iter::once("file").chain(columns.iter().copied()).collect();
        OpenTable { name: "files".into(), header: Header::of(&names), records: Box::new(records) }
    }

    /// The image that a row is about; none where it is not there or left out.
    pub(super) fn item(&self, row: &Row, tally: &mut Tally) -> Option<SourceItem> {
        let collection = self.collection;
        let found = match collection.image {
            Image::At(paths) => {
                let candidates = paths(row);
                let found =
                    candidates.iter().find_map(|path| Some((self.archives.find(&self.home, path)?, path.as_str())));
                let found = found.map(|(file, path)| (file, path.trim_start_matches("../").to_owned()));
                found.ok_or_else(|| candidates.into_iter().next().unwrap_or_default())
            }
            Image::Named(names) => {
                let candidates = names(row);
                let on_disk = candidates.iter().find_map(|name| self.files.get(name));
                let found = match on_disk {
                    Some(path) => Some(FileSource::Disk(path.clone())),
                    None => {
                        let packed = self.packed.get_or_init(|| packed_files(&self.home, self.archives));
                        candidates.iter().find_map(|name| packed.get(name)).cloned()
                    }
                };
                let found = found.map(|file| {
                    let name = below(&self.home, &file.path());
                    (file, name)
                });
                found.ok_or_else(|| candidates.into_iter().next().unwrap_or_default())
            }
        };
        let (file, name) = match found {
            Ok(found) => found,
            Err(expected) => {
                tally.missing.add(&expected);
                return None;
            }
        };
        tally.known.insert(hash(&file.path()));
        if let Some(reason) = (collection.leave_out)(row) {
            tally.left_out.entry(reason).or_default().add(&name);
            return None;
        }
        let masks = (collection.masks)(row);
        let find_all = |parts: &Vec<String>| parts.iter().map(|part| self.archives.find(&self.home, part)).collect();
        let mask: Vec<FileSource> = masks.iter().find_map(find_all).unwrap_or_default();
        tally.known.extend(mask.iter().map(|part| hash(&part.path())));
        let states = self.states(row, tally);
        let official = (collection.split)(row);
        let raw = collection.raw.filter(|(end, _)| name.to_lowercase().ends_with(end)).map(|(_, raw)| raw);
        let licence = collection.licence.map(|column| row.get(column)).filter(|licence| !licence.is_empty());
        Some(SourceItem {
            file,
            name,
            patient: (collection.patient)(row).map(|patient| format!("{}-{patient}", collection.about.patients)),
            view: match collection.view {
                View::Always(view) => Some(view.to_owned()),
                View::Column(column) => view_name(row.get(column)),
                View::Of(view) => view_name(&view(row)),
                View::Header => None,
            },
            labels: states.names(State::Positive),
            labels_negative: states.names(State::Negative),
            labels_uncertain: states.names(State::Uncertain),
            split: if let Official::In(split) = official { Some(split) } else { None },
            is_not_test: official == Official::NotTest,
            mask,
            collection: Some(collection.about.name.to_owned()),
            licence: Some(licence.unwrap_or(collection.about.licence).to_owned()),
            raw,
        })
    }

    fn states(&self, row: &Row, tally: &mut Tally) -> States {
        let mut states = States::default();
        for rule in self.collection.labels {
            match rule {
                Labels::Columns(whose) => {
                    for_each_word(*whose, |label, word| match row.get(word) {
                        "" => {}
                        cell => match cell.parse::<f64>() {
                            Ok(1.0) => states.set(label, State::Positive),
                            Ok(0.0) => states.set(label, State::Negative),
                            Ok(-1.0) => states.set(label, State::Uncertain),
                            _ => *tally.words.entry(format!("{word} = {cell}")).or_default() += 1,
                        },
                    });
                    states.conclude(*whose);
                }
                Labels::Votes(whose) => {
                    for_each_word(*whose, |label, word| {
                        let votes: Vec<bool> =
                            row.all(word).filter_map(|cell| cell.parse::<f64>().ok()).map(|vote| vote > 0.5).collect();
                        let yes = votes.iter().filter(|&&vote| vote).count();
                        match votes.len() {
                            0 => {}
                            num if 2 * yes > num => states.set(label, State::Positive),
                            _ if yes > 0 => states.set(label, State::Uncertain),
                            _ => states.set(label, State::Negative),
                        }
                    });
                    states.conclude(*whose);
                }
                Labels::List { column, whose, is_complete } => {
                    let mut says_something = false;
                    let words = row.get(column).split(['|', '/', ',', '[', ']', '\'', '"']).map(str::trim);
                    for word in words.filter(|word| !word.is_empty()) {
                        match labels::meaning(word, *whose) {
                            Meaning::Labels(labels) => labels.iter().for_each(|&at| states.set(at, State::Positive)),
                            Meaning::Nothing => continue,
                            Meaning::NotKnown => *tally.words.entry(word.to_owned()).or_default() += 1,
                        }
                        says_something = true;
                    }
                    if *is_complete && says_something {
                        states.complete(*whose);
                    }
                    states.conclude(*whose);
                }
                Labels::Cases { column, cases } => {
                    let cell = row.get(column);
                    let case = cases.iter().find(|(text, _)| *text == cell);
                    let other = || cases.iter().find(|(text, _)| *text == "*");
                    match case.or_else(other) {
                        _ if cell.is_empty() => {}
                        Some((_, stated)) => stated.iter().for_each(|(name, state)| states.set_named(name, *state)),
                        None => *tally.words.entry(format!("{column} = {cell}")).or_default() += 1,
                    }
                }
            }
        }
        states
    }

    /// One line for each kind of disagreement.
    pub(super) fn reports(&self, tally: &mut Tally) -> Vec<Skipped> {
        let mut reports = std::mem::take(&mut tally.tables);
        reports.extend(self.archives.problems(&self.home));
        let name = self.collection.about.name;
        let Count { number, example } = &tally.missing;
        if *number > 0 {
            reports.push(Skipped {
                item: format!("{name}: images that are not there"),
                reason: format!(
                    "{number} {} of the tables {} not on disk (for example {example}); download what is missing, or go on \
                     without",
                    plural(*number, "image"),
                    if *number == 1 { "is" } else { "are" }
                ),
            });
        }
        let mut unknown = Count::default();
        for path in image_files(&self.home).filter(|path| !tally.known.contains(&hash(path))) {
            unknown.add(&below(&self.home, &path));
        }
        if unknown.number > 0 {
            let Count { number, example } = unknown;
            reports.push(Skipped {
                item: format!("{name}: files that no table knows"),
                reason: format!(
                    "{number} image {} on disk {} in no row and left out (for example {example})",
                    plural(number, "file"),
                    if number == 1 { "is" } else { "are" }
                ),
            });
        }
        for (reason, Count { number, example }) in &tally.left_out {
            reports.push(Skipped {
                item: format!("{name}: rows that are left out"),
                reason: format!("{number} {}: {reason} (for example {example})", plural(*number, "image")),
            });
        }
        if let Some((word, count)) = tally.words.iter().max_by_key(|(_, count)| **count) {
            let number = tally.words.len();
            reports.push(Skipped {
                item: format!("{name}: label words outside the vocabulary"),
                reason: format!(
                    "{number} {} left out (most often {word:?}, {count} times); the images are kept",
                    if number == 1 { "word is" } else { "words are" }
                ),
            });
        }
        reports
    }
}

fn for_each_word(whose: Words, mut act: impl FnMut(usize, &'static str)) {
    for (label, entry) in VOCABULARY.iter().enumerate() {
        entry.words(whose).iter().for_each(|&word| act(label, word));
    }
}

/// Rows with the same key together, in the order in which the keys first appear.
fn grouped(
    records: impl Iterator<Item = Result<StringRecord, Skipped>>,
    key: usize,
) -> Vec<Result<Vec<StringRecord>, Skipped>> {
    let mut groups: Vec<Result<Vec<StringRecord>, Skipped>> = Vec::new();
    let mut places: HashMap<String, usize> = HashMap::new();
    for record in records {
        match record {
            Ok(record) => {
                let place =
                    *places.entry(record.get(key).unwrap_or_default().trim().to_owned()).or_insert(groups.len());
                match groups.get_mut(place) {
                    Some(Ok(group)) => group.push(record),
                    _ => groups.push(Ok(vec![record])),
                }
            }
            Err(skipped) => groups.push(Err(skipped)),
        }
    }
    groups
}

/// The path below a folder with `/` between folders.
fn below(home: &Path, path: &Path) -> String {
    text_below(home, path).unwrap_or_else(|| os_text(path.as_os_str()))
}

fn hash(path: &Path) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    path.hash(&mut hasher);
    hasher.finish()
}

fn plural(number: usize, word: &str) -> String {
    if number == 1 { word.to_owned() } else { format!("{word}s") }
}

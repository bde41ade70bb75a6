//! From rows and files to images, and the account of what tables and disk do not agree on.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Result;
use csv::StringRecord;
use walkdir::WalkDir;

use super::super::labels::{self, Meaning, State, States, VOCABULARY, Words};
use super::super::rows::{Header, Joined, Row, find, open_table};
use super::{Collection, Image, Labels, Official, Rows, View, view_name};
use crate::archive::{Archives, FileSource, is_hidden, os_text, text_below};
use crate::notes::Count;
use crate::presets::SourceItem;
use crate::spelling::{Folders, only, spellings};
use crate::tables::{filled, identifier};
use messages::Skipped;

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
    /// Images that are spelled otherwise on the disk.
    respelled: Count,
    left_out: BTreeMap<&'static str, Count>,
    words: BTreeMap<String, usize>,
    pub tables: Vec<Skipped>,
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
    /// Folders in which an image was not found by its very name.
    pub folders: RefCell<Folders>,
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
            let open = open_table(&path, table.columns, &self.archives.notes)?;
            let (name, header) = (open.name().to_owned(), Header::of(open.header()));
            let key = table.repeated.and_then(|column| open.position(column));
            let table_name = name.clone();
            let records = open.map(move |row| {
                row.map(|row| row.cells).map_err(|row| {
                    let line = row.line.map_or_else(String::new, |line| format!(", line {line}"));
                    let reason = format!("the row cannot be read ({}); download the table again", row.reason);
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
        let candidates = match collection.image {
            Image::At(names) | Image::Named(names) => names(row),
        };
        let found = self.find(&candidates).or_else(|| {
            let found = self.find_alike(&candidates)?;
            tally.respelled.add(|| found.1.clone());
            Some(found)
        });
        let Some((file, name)) = found else {
            tally.missing.add(|| candidates.into_iter().next().unwrap_or_default());
            return None;
        };
        tally.known.insert(hash(&file.path()));
        if let Some(reason) = (collection.leave_out)(row) {
            tally.left_out.entry(reason).or_default().add(|| name.clone());
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
            patient: (collection.patient)(row)
                .and_then(|patient| identifier(&patient, false))
                .map(|patient| format!("{}-{patient}", collection.about.patients)),
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

    /// The first of these files that is there, with its name in manifests.
    fn find(&self, candidates: &[String]) -> Option<(FileSource, String)> {
        match self.collection.image {
            Image::At(_) => candidates.iter().find_map(|path| {
                let file = self.archives.find(&self.home, path)?;
                Some((file, path.trim_start_matches("../").to_owned()))
            }),
            Image::Named(_) => {
                let file = match candidates.iter().find_map(|name| self.files.get(name)) {
                    Some(path) => FileSource::Disk(path.clone()),
                    None => candidates.iter().find_map(|name| self.packed().get(name)).cloned()?,
                };
                let name = below(&self.home, &file.path());
                Some((file, name))
            }
        }
    }

    /// The file that alone is spelled like one of these, see [`crate::spelling`].
    fn find_alike(&self, candidates: &[String]) -> Option<(FileSource, String)> {
        let has = |name: &String| match self.collection.image {
            Image::At(_) => self.folders.borrow_mut().has(&self.home.join(name)),
            Image::Named(_) => self.files.contains_key(name) || self.packed().contains_key(name),
        };
        let named = candidates.iter().filter(|name| !name.is_empty());
        let other = named.into_iter().find_map(|name| only(spellings(name).into_iter().filter(has)))?;
        self.find(&[other])
    }

    fn packed(&self) -> &HashMap<String, FileSource> {
        self.packed.get_or_init(|| packed_files(&self.home, self.archives))
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
                        if !votes.is_empty() {
                            states.set(label, majority(votes.iter().filter(|&&vote| vote).count(), votes.len()));
                        }
                    });
                    states.conclude(*whose);
                }
                Labels::VotesByRow { column, reader, whose, words } => {
                    let said: Vec<(&str, &str)> = row.all(reader).zip(row.all(column)).collect();
                    let readers: BTreeSet<&str> = said.iter().filter_map(|(reader, _)| filled(reader)).collect();
                    if readers.is_empty() {
                        continue;
                    }
                    for &(_, word) in &said {
                        if filled(word).is_some() && !words.iter().any(|known| known.eq_ignore_ascii_case(word)) {
                            *tally.words.entry(word.to_owned()).or_default() += 1;
                        }
                    }
                    for &word in *words {
                        let saw = |(reader, said): &&(&str, &str)| {
                            filled(reader).is_some() && word.eq_ignore_ascii_case(said)
                        };
                        let yes = said.iter().filter(saw).map(|(reader, _)| reader).collect::<BTreeSet<_>>().len();
                        if let Meaning::Labels(labels) = labels::meaning(word, *whose) {
                            labels.iter().for_each(|&label| states.set(label, majority(yes, readers.len())));
                        }
                    }
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
        if tally.respelled.number > 0 {
            let sentence = format!(
                "{name}: {} found under names in another Unicode form, or with another case of the extension (for example {})",
                tally.respelled.of("image"),
                tally.respelled.example
            );
            self.archives.notes.put(format!("{name}, spelling"), sentence);
        }
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
            unknown.add(|| below(&self.home, &path));
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

/// What readers say of a finding that `yes` of them saw.
fn majority(yes: usize, readers: usize) -> State {
    match yes {
        0 => State::Negative,
        _ if 2 * yes > readers => State::Positive,
        _ => State::Uncertain,
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

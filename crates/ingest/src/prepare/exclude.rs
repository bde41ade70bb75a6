//! What is left out, so that an evaluation set never leaks into training.
//!
//! The list is a table with a header and any of the columns `collection`, `patient`, `pixel_hash` and `note`, which is not
//! read; each row leaves out what all of its other filled-in cells say: a whole collection, a patient, an image by the hash of its pixels (64 digits as
//! in a manifest, or the 16 of its id). Or it is a dataset that `prepare` wrote: then its images are left out, and its
//! patients too where both hash patients with the same salt.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::Cursor;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result, anyhow, bail, ensure};
use dataset::{Dataset, KeyMap, PIXEL_HASH_KIND, PatientSalt, pixel_key, text_key};
use sha2::{Digest, Sha256};

use super::PrepareConfig;
use super::salt::own_salt;
use crate::notes::Notes;
use crate::presets::{self, SourceItem};
use crate::tables::{TableReader, as_utf8, filled, whole_number};
use messages::Progress;

const COLUMNS: [&str; 3] = ["collection", "patient", "pixel_hash"];

/// A column for people: why a row is there.
const NOTE: &str = "note";

/// Hexadecimal digits that tell images apart: an id has as many.
const DIGITS: usize = 16;

/// Lines that a sentence shows.
const MAX_SHOWN: usize = 3;

/// The things to leave out.
#[derive(Debug, Default)]
pub struct Exclusions {
    /// Twelve digits that change with the list, for the record of a dataset's settings.
    pub fingerprint: String,
    rows: Vec<Entry>,
    /// Rows by collection alone, by patient without leading zeros, by image.
    collections: HashMap<String, usize>,
    patients: HashMap<String, Vec<usize>>,
    images: HashMap<String, Vec<usize>>,
    /// A dataset's images and hashed patients: 10 bytes for each.
    dataset_images: KeyMap<()>,
    dataset_patients: KeyMap<()>,
    /// The salt of these, by which patients are known whose numbers earlier releases hashed as `12.0`.
    salt: Option<PatientSalt>,
    matched: Mutex<HashSet<usize>>,
}

#[derive(Debug)]
struct Entry {
    line: u64,
    collection: Option<String>,
    patient: Option<String>,
}

impl Exclusions {
    /// What `exclude` says. The patients of a dataset can be compared with the salt that is given or that an unfinished
    /// dataset has; one that is yet to be drawn is like no other.
    ///
    /// # Errors
    /// A list or a salt that cannot be read.
    pub(super) fn of(config: &PrepareConfig, progress: &dyn Progress) -> Result<Self> {
        let Some(path) = &config.exclude else { return Ok(Self::default()) };
        let own = own_salt(config);
        let salt = match &config.salt_file {
            Some(path) => PatientSalt::open(path)?,
            None if own.is_file() => PatientSalt::open(own)?,
            None => PatientSalt::random()?,
        };
        Self::read(path, &salt, |sentence| progress.say(sentence))
    }

    /// Reads a list or a dataset. `say` hears what limits it.
    ///
    /// # Errors
    /// A file that cannot be read, columns or cells that are not what they should be.
    pub fn read(path: &Path, salt: &PatientSalt, say: impl Fn(&str)) -> Result<Self> {
        if path.is_dir() { Self::from_dataset(path, salt, say) } else { Self::from_table(path, say) }
    }

    fn from_dataset(path: &Path, salt: &PatientSalt, say: impl Fn(&str)) -> Result<Self> {
        let dataset = Dataset::open(path).context("`exclude` takes a table or a dataset")?;
        let kind = dataset.info().pixel_hash_kind();
        ensure!(
            kind == PIXEL_HASH_KIND,
            "the dataset to exclude was made by an earlier release, whose hashes of pixels are {kind}, not \
             {PIXEL_HASH_KIND}, so its images would not be known again; prepare it anew with this release: {}",
            path.display()
        );
        let comparable = dataset.info().salt_fingerprint.as_deref() == Some(salt.fingerprint().as_str());
        if !comparable {
            say("the dataset to exclude hashes patients with another salt, so only its images are left out; give the \
                 salt file of both to compare patients too");
        }
        let mut all = Self { fingerprint: dataset.fingerprint().to_owned(), ..Default::default() };
        for row in dataset.columns(&["pixel_hash", "patient"])? {
            let row = row?;
            all.dataset_images.insert(pixel_key(&row.pixel_hash), ());
            if comparable {
                all.dataset_patients.insert(text_key(&row.patient), ());
                all.salt.get_or_insert_with(|| salt.clone());
            }
        }
        Ok(all)
    }

    fn from_table(path: &Path, say: impl Fn(&str)) -> Result<Self> {
        let bytes =
            std::fs::read(path).with_context(|| format!("the exclude list cannot be read: {}", path.display()))?;
        let digest = Sha256::digest(&bytes);
        let fingerprint = digest[..6].iter().map(|byte| format!("{byte:02x}")).collect();
        let mut all = Self { fingerprint, ..Default::default() };
        let unreadable = || format!("the exclude list cannot be read: {}", path.display());
        let notes = Notes::default();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let text = as_utf8(Box::new(Cursor::new(bytes))).with_context(unreadable)?;
        let table = TableReader::new(text, &name, &notes).with_context(unreadable)?;
        for name in table.header() {
            ensure!(
                name != "sha256",
                "the exclude list has a column \"sha256\", the hashes of earlier releases, by which images are not known \
                 again; prepare anew what they were taken from, and list what is in its column pixel_hash: {}",
                path.display()
            );
            ensure!(
                // Spreadsheets leave columns without a name behind.
                COLUMNS.contains(&name.as_str()) || name == NOTE || name.is_empty(),
                "the exclude list has a column {name:?}; its columns are {} and {NOTE}: {}",
                COLUMNS.join(", "),
                path.display()
            );
        }
        let positions = COLUMNS.map(|name| table.position(name));
        let (width, has_decimal_commas) = (table.header().len(), table.has_decimal_commas());
        for row in table {
            let row = row.map_err(|row| anyhow!(row.reason)).with_context(unreadable)?;
            let line = row.line;
            ensure!(
                row.cells.len() == width,
                "line {line} of the exclude list has {} cells, its header {width}; correct it: {}",
                row.cells.len(),
                path.display()
            );
            let [collection, patient, pixel_hash] =
                positions.map(|at| at.and_then(|at| row.cells.get(at)).and_then(filled).map(str::to_owned));
            let patient = patient.map(|patient| whole_number(&patient, has_decimal_commas).to_owned());
            all.add(line, collection, patient, pixel_hash)
                .with_context(|| format!("line {line} of the exclude list: {}", path.display()))?;
        }
        ensure!(
            !all.rows.is_empty(),
            "the exclude list has no rows; fill it, or leave `exclude` out: {}",
            path.display()
        );
        notes.sentences().iter().for_each(|sentence| say(sentence));
        Ok(all)
    }

    fn add(
        &mut self,
        line: u64,
        collection: Option<String>,
        patient: Option<String>,
        pixel_hash: Option<String>,
    ) -> Result<()> {
        let number = self.rows.len();
        match (&collection, &patient, &pixel_hash) {
            (_, _, Some(pixel_hash)) => {
                let pixel_hash = pixel_hash.to_lowercase();
                let is_hash = pixel_hash.len() >= DIGITS && pixel_hash.chars().all(|digit| digit.is_ascii_hexdigit());
                ensure!(
                    is_hash,
                    "pixel_hash = {pixel_hash:?} is no hash; give the 64 digits of a manifest's column pixel_hash, or the 16 of an id"
                );
                self.images.entry(pixel_hash[..DIGITS].to_owned()).or_default().push(number);
            }
            (_, Some(patient), None) => self.patients.entry(without_zeros(patient)).or_default().push(number),
            (Some(collection), None, None) => {
                self.collections.insert(collection.clone(), number);
            }
            (None, None, None) => bail!("the row is empty; fill in collection, patient or pixel_hash, or remove it"),
        }
        self.rows.push(Entry { line, collection, patient });
        Ok(())
    }

    /// The collections that rows name and that neither a preset nor a source is called.
    ///
    /// # Errors
    /// There are some.
    pub fn check_collections(&self, seen: &BTreeSet<String>) -> Result<()> {
        for Entry { line, collection, .. } in &self.rows {
            let Some(name) = collection else { continue };
            if presets::about(name).is_none() && !seen.contains(name) {
                let known: BTreeSet<&str> =
                    presets::about_all().map(|about| about.name).chain(seen.iter().map(String::as_str)).collect();
                bail!(
                    "the exclude list names the collection {name:?} in line {line}, which does not exist; the collections \
                     are {}",
                    known.into_iter().collect::<Vec<_>>().join(", ")
                );
            }
        }
        Ok(())
    }

    /// Whether what is known before decoding leaves an image out.
    pub fn has_item(&self, item: &SourceItem) -> bool {
        let collection = item.collection.as_deref();
        if let Some(&row) = collection.and_then(|name| self.collections.get(name)) {
            return self.note(row);
        }
        item.patient.as_deref().is_some_and(|patient| self.has_patient(collection, patient))
    }

    /// Whether a patient is left out: by the identifier as the source has it, and in every collection that numbers the
    /// same people alike.
    pub(super) fn has_patient(&self, collection: Option<&str>, patient: &str) -> bool {
        let (space, bare) = bare(patient);
        for row in [patient, bare].iter().filter_map(|key| self.patients.get(&without_zeros(key))).flatten() {
            let wanted = self.rows[*row].collection.as_deref();
            let same_people = wanted.and_then(presets::about).map(|about| about.patients);
            if wanted.is_none() || wanted == collection || (space.is_some() && same_people == space) {
                return self.note(*row);
            }
        }
        false
    }

    /// Whether an image is left out by its pixels, or by a dataset's hash of its patient.
    pub fn has_decoded(&self, collection: Option<&str>, patient: &str, hashed: &str, pixel_hash: &str) -> bool {
        let digits = &pixel_hash[..DIGITS.min(pixel_hash.len())];
        let has_image = self.dataset_images.get(pixel_key(pixel_hash)).is_some();
        let has_hash = |hash: &str| self.dataset_patients.get(text_key(hash)).is_some();
        let earlier = || self.salt.as_ref().and_then(|salt| salt.earlier_hash(patient));
        if has_image || has_hash(hashed) || earlier().is_some_and(|hash| has_hash(&hash)) {
            return true;
        }
        let rows = self.images.get(digits).into_iter().flatten();
        let mut rows = rows.filter(|row| {
            let Entry { collection: wanted, patient: person, .. } = &self.rows[**row];
            let same_person = |person: &String| [patient, bare(patient).1].contains(&person.as_str());
            wanted.as_deref().is_none_or(|wanted| Some(wanted) == collection) && person.as_ref().is_none_or(same_person)
        });
        match rows.next() {
            Some(row) => self.note(*row),
            None => self.has_patient(collection, patient),
        }
    }

    fn note(&self, row: usize) -> bool {
        lock(&self.matched).insert(row);
        true
    }

    /// A sentence about rows that left nothing out, which may be typing mistakes. It shows lines and no patients.
    pub fn unmatched(&self) -> Option<String> {
        let matched = lock(&self.matched);
        let lines: Vec<String> = (0..self.rows.len())
            .filter(|row| !matched.contains(row))
            .map(|row| self.rows[row].line.to_string())
            .collect();
        let shown = &lines[..lines.len().min(MAX_SHOWN)];
        (!lines.is_empty()).then(|| {
            format!(
                "{} of the {} rows of the exclude list left nothing out (line {}{}); check them if they should have",
                lines.len(),
                self.rows.len(),
                shown.join(", "),
                if lines.len() > MAX_SHOWN { ", ..." } else { "" }
            )
        })
    }
}

/// What a collection's patients begin with, and the identifier without it.
fn bare(patient: &str) -> (Option<&'static str>, &str) {
    let mut spaces = presets::about_all().map(|about| about.patients);
    let found = spaces.find_map(|space| Some((space, patient.strip_prefix(space)?.strip_prefix('-')?)));
    found.map_or((None, patient), |(space, bare)| (Some(space), bare))
}

/// A number without leading zeros, since file names pad what tables do not; anything else as it is.
fn without_zeros(patient: &str) -> String {
    let is_number = !patient.is_empty() && patient.chars().all(|digit| digit.is_ascii_digit());
    if is_number { format!("{:0>1}", patient.trim_start_matches('0')) } else { patient.to_owned() }
}

/// No panic leaves a set half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Exclusions> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("exclude.csv");
        std::fs::write(&path, text).unwrap();
        Exclusions::read(&path, &PatientSalt::from_bytes(*b"a salt of 16 bytes"), |_| {})
    }

    fn item(collection: &str, patient: &str) -> SourceItem {
        SourceItem { collection: Some(collection.into()), patient: Some(patient.into()), ..Default::default() }
    }

    #[test]
    fn rows_leave_out_collections_patients_and_images() {
        let hash = "ab".repeat(32);
        let list = read(&format!(
            "collection,patient,pixel_hash,note\nbrax,,,as agreed\nnih-chestxray14,00000007,,\n,mrn 3,,\n,,{},\nsiim,,{},\n",
            hash.to_uppercase(),
            "cd".repeat(8)
        ))
        .unwrap();
        assert!(list.has_item(&item("brax", "brax-1")));
        assert!(list.has_item(&item("nih-chestxray14", "nih-chestxray14-7")));
        assert!(!list.has_item(&item("nih-chestxray14", "nih-chestxray14-70")));
        // The same person's images in the challenge that used them.
        assert!(list.has_item(&item("rsna-pneumonia", "nih-chestxray14-7")));
        assert!(!list.has_item(&item("padchest", "padchest-7")), "another collection's patient 7");
        assert!(list.has_item(&item("own", "mrn 3")) && list.has_item(&item("chexpert", "chexpert-mrn 3")));
        assert!(!list.has_item(&item("mimic-cxr", "mimic-cxr-1")));
        assert!(list.has_decoded(None, "x", "y", &hash));
        assert!(!list.has_decoded(Some("jsrt"), "x", "y", &"cd".repeat(32)));
        assert!(list.unmatched().unwrap().contains("1 of the 5 rows of the exclude list left nothing out (line 6)"));
        assert!(list.has_decoded(Some("siim"), "x", "y", &"cd".repeat(32)));
        assert_eq!(list.unmatched(), None);
        assert!(list.has_decoded(None, "mrn 3", "y", &"00".repeat(32)), "a patient known from the header only");
    }

    #[test]
    fn mistakes_are_sentences() {
        let message = |text: &str| format!("{:#}", read(text).unwrap_err());
        assert!(
            message("colection,patient\na,b\n").contains("a column \"colection\"; its columns are collection, patient")
        );
        assert!(message("pixel_hash,note\n,only a note\n").contains("the row is empty"));
        assert!(
            message("pixel_hash\nabc\n").contains("line 2 of the exclude list"),
            "{}",
            message("pixel_hash\nabc\n")
        );
        assert!(message("pixel_hash\nabc\n").contains("\"abc\" is no hash"));
        assert!(message("collection,patient\n,\n").contains("the row is empty"));
        assert!(message("collection\n").contains("has no rows"));
        assert!(message("sha256\nabc\n").contains("hashes of earlier releases"));
        let list = read("collection\nchexprt\n").unwrap();
        let error = list.check_collections(&BTreeSet::new()).unwrap_err().to_string();
        assert!(error.contains("\"chexprt\" in line 2") && error.contains("chexpert-plus"), "{error}");
        assert!(list.check_collections(&BTreeSet::from(["chexprt".to_owned()])).is_ok());
    }

    #[test]
    fn a_dataset_with_hashes_of_another_kind_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dataset");
        let mut writer = dataset::DatasetWriter::create_or_resume(&path, dataset::DatasetSettings::new(1)).unwrap();
        writer.push(dataset::ManifestRow::bare("ann", dataset::Split::Test), &[0], None).unwrap();
        writer.finish().unwrap();
        let read = || Exclusions::read(&path, &PatientSalt::from_bytes(*b"a salt of 16 bytes"), |_| {});
        assert!(read().is_ok());
        let info = path.join("dataset.toml");
        let text = std::fs::read_to_string(&info).unwrap();
        std::fs::write(&info, text.replace("version = 3", "version = 2")).unwrap();
        let error = read().unwrap_err().to_string();
        assert!(error.contains("hashes of pixels are SHA-256, not BLAKE3"), "{error}");
    }

    #[test]
    fn leading_zeros_do_not_matter() {
        assert_eq!(
            [without_zeros("007"), without_zeros("000"), without_zeros("0x7"), without_zeros("")],
            ["7", "0", "0x7", ""]
        );
    }
}

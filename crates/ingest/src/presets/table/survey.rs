//! What has to be known of a whole table before its first row can be used: which images have several rows, what columns
//! of labels hold, which patients are one, where files are.
//!
//! A survey takes 10 bytes for each row and 8 for each file in the folders of the images, and keeps nothing of that: what it
//! keeps are the images whose rows do not follow one another, and what is out of the ordinary.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use anyhow::{Result, bail};
use dataset::{KeyMap, text_key};

use super::columns::Positions;
use super::joining::{Image, Kind, cell, check_width};
use super::paths::{Finder, Paths};
use crate::archive::Archives;
use crate::notes::Count;
use crate::presets::State;
use crate::tables::{TableReader, Value, filled, identifier, is_scientific, value};

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// What the columns of labels hold.
    pub kinds: Vec<Kind>,
    pub paths: Paths,
    /// Images whose rows do not follow one another, by their keys, with all their rows.
    scattered: HashMap<u64, Image>,
    /// The identifier that stands for a patient, where the rows of an image name several.
    patients: HashMap<String, String>,
}

/// What tells images apart.
pub(super) fn key(path: &str) -> u64 {
    text_key(path)
}

impl Survey {
    /// # Errors
    /// A table that cannot be read, a column of labels that holds neither findings nor words.
    pub(super) fn of(
        open: impl Fn() -> Result<TableReader>,
        positions: &Positions,
        root: &Path,
        archives: &Archives,
    ) -> Result<Self> {
        let table = open()?;
        let name = table.name().to_owned();
        let mut finder = Finder::new(root, archives);
        let mut columns: Vec<Held> = positions.labels.iter().map(|_| Held::default()).collect();
        let (mut seen, mut scattered) = (KeyMap::<()>::default(), BTreeSet::new());
        let (mut last, mut num_joined, mut scientific) = (None, Count::default(), Count::default());
        let mut groups = Groups::default();
        for row in table.flatten() {
            let Some(path) = cell(&row, Some(positions.path)) else { continue };
            if check_width(&row, positions.width).is_err() {
                continue;
            }
            finder.admit(path);
            if let Some(mask) = cell(&row, positions.lung_mask) {
                finder.admit(mask);
            }
            for (column, held) in positions.labels.iter().zip(&mut columns) {
                held.note(row.cells.get(column.at).unwrap_or_default(), positions.has_decimal_commas, row.line);
            }
            let patient = cell(&row, positions.patient);
            if patient.is_some_and(is_scientific) {
                scientific.add(|| format!("line {}", row.line));
            }
            let patient = patient.and_then(|patient| identifier(patient, positions.has_decimal_commas));
            let key = key(&finder.paths.resolve(path));
            let is_known = seen.insert(key, ()).is_some();
            if is_known {
                num_joined.add(|| format!("line {}", row.line));
            }
            match &mut last {
                Some((before, patients)) if *before == key => groups.extend(patients, patient),
                _ => {
                    if is_known {
                        scattered.insert(key);
                    }
                    last = Some((key, patient.into_iter().collect()));
                }
            }
        }
        drop(seen);
        let mut survey = Self { paths: finder.finish(&name), ..Self::default() };
        for (column, held) in positions.labels.iter().zip(&columns) {
            survey.kinds.push(if column.holds_words { Kind::Words } else { held.kind(&column.name)? });
        }
        if !scattered.is_empty() {
            survey.gather(open()?, &scattered, positions, &mut groups);
        }
        survey.patients = groups.representatives();
        if num_joined.number > 0 {
            let rows = num_joined.of("row");
            let sentence = format!(
                "{name}: {rows} about the image of an earlier row (for example {}); the labels of an image's rows are joined",
                num_joined.example
            );
            archives.notes.put(format!("{name}, rows"), sentence);
        }
        if scientific.number > 0 {
            let sentence = format!(
                "{name}: {} in a form like 1.23E+11 (for example {}), as spreadsheets show long numbers: digits are lost, and \
                 different patients may count as one; format the column as text, and save the table again",
                scientific.of("patient"),
                scientific.example
            );
            archives.notes.put(format!("{name}, patients"), sentence);
        }
        Ok(survey)
    }

    /// Joins the rows of images whose rows do not follow one another.
    fn gather(&mut self, table: TableReader, keys: &BTreeSet<u64>, positions: &Positions, groups: &mut Groups) {
        for row in table.flatten() {
            let Ok(image) = Image::of_row(&row, positions, &self.kinds, &self.paths) else { continue };
            let key = key(&image.path);
            if !keys.contains(&key) {
                continue;
            }
            match self.scattered.get_mut(&key) {
                Some(known) => known.join(image),
                None => {
                    self.scattered.insert(key, image);
                }
            }
        }
        for image in self.scattered.values() {
            let mut patients = Vec::new();
            for patient in &image.patients {
                groups.extend(&mut patients, Some(patient.clone()));
            }
        }
    }

    /// All rows of an image whose rows do not follow one another.
    pub(super) fn scattered(&self, path: &str) -> Option<&Image> {
        if self.scattered.is_empty() { None } else { self.scattered.get(&key(path)) }
    }

    /// The identifier that stands for a patient.
    pub(super) fn patient(&self, patient: String) -> String {
        self.patients.get(&patient).cloned().unwrap_or(patient)
    }
}

/// What the cells of a column of labels are.
#[derive(Debug, Default)]
struct Held {
    states: usize,
    integers: usize,
    fractions: Count,
    words: usize,
}

impl Held {
    fn note(&mut self, cell: &str, has_decimal_commas: bool, line: u64) {
        match value(cell, has_decimal_commas) {
            Value::Missing => {}
            Value::State(State::Unknown) => {}
            Value::State(_) => self.states += 1,
            Value::Integer => self.integers += 1,
            Value::Fraction => self.fractions.add(|| format!("line {line}: {}", filled(cell).unwrap_or_default())),
            Value::Word => self.words += 1,
        }
    }

    /// A column that holds 0, 1, -1 and at most as many words is about a finding; one with other whole numbers holds the
    /// numbers of classes.
    ///
    /// # Errors
    /// Fractions, and no more words than these: neither findings nor classes.
    fn kind(&self, column: &str) -> Result<Kind> {
        if self.fractions.number > 0 && self.fractions.number + self.states > self.words {
            bail!(
                "the column {column:?} is given as labels and holds fractions ({}); make them 1 (there), 0 (absent), -1 \
                 (uncertain) or empty, or leave the column out of `csv.labels`",
                self.fractions.example
            );
        }
        // One stray number in ten is a slip, which is reported; more of them are classes.
        let is_finding = self.states > 0 && self.integers * 10 <= self.states && self.states >= self.words;
        Ok(if is_finding { Kind::Finding } else { Kind::Words })
    }
}

/// Patients that rows of one image name together.
#[derive(Debug, Default)]
struct Groups(Vec<BTreeSet<String>>);

impl Groups {
    /// Adds a patient to those of an image.
    fn extend(&mut self, patients: &mut Vec<String>, patient: Option<String>) {
        let Some(patient) = patient.filter(|patient| !patients.contains(patient)) else { return };
        patients.push(patient);
        if patients.len() > 1 {
            let (same, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.0)
                .into_iter()
                .partition(|group| patients.iter().any(|one| group.contains(one)));
            self.0 = others;
            self.0.push(same.into_iter().flatten().chain(patients.iter().cloned()).collect());
        }
    }

    /// Of each group the first in alphabetical order, whatever the order of the rows.
    fn representatives(self) -> HashMap<String, String> {
        let mut all = HashMap::new();
        for group in self.0 {
            if let Some(first) = group.first().cloned() {
                all.extend(group.into_iter().map(|patient| (patient, first.clone())));
            }
        }
        all
    }
}

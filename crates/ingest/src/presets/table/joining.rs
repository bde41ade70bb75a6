//! Rows, and the rows of one image as one.

use std::collections::BTreeMap;

use dataset::Split;

use super::columns::Positions;
use super::paths::{Paths, without_root};
use crate::notes::Count;
use crate::presets::{SourceItem, State};
use crate::tables::{TableRow, Value, filled, identifier, value, whole_number};
use messages::Skipped;

/// What a column of labels holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Words, several in a cell.
    Words,
    /// 1, 0, -1 or nothing about the finding that the column is named after.
    Finding,
}

/// All rows about one image so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    /// Where the file is, absolute or below the root.
    pub path: String,
    /// What the manifest calls it.
    pub name: String,
    /// The line of the first row.
    pub first_line: u64,
    /// The line of the last row.
    pub last_line: u64,
    /// All that rows name, each once.
    pub patients: Vec<String>,
    view: Option<String>,
    labels: Vec<(String, State)>,
    split: Option<Split>,
    masks: Vec<String>,
    collection: Option<String>,
    licence: Option<String>,
    /// Labels that rows contradict one another about; splits and views that differ.
    contradicted: Vec<String>,
    splits: Option<[Split; 2]>,
    views: Option<[String; 2]>,
    /// Cells of finding columns that are none of what such a cell may hold.
    odd: Vec<String>,
}

/// The cells of a row by what they mean.
pub(super) fn cell(row: &TableRow, at: Option<usize>) -> Option<&str> {
    at.and_then(|at| row.cells.get(at)).and_then(filled)
}

/// Whether a row has as many cells as the header; else, why it is none.
pub(super) fn check_width(row: &TableRow, width: usize) -> Result<(), String> {
    let found = row.cells.len();
    if found == width {
        return Ok(());
    }
    Err(format!("the row has {found} cells, the header {width}; correct it, or put quotes around separators in cells"))
}

impl Image {
    /// A row as an image, or why it is none.
    pub(super) fn of_row(row: &TableRow, positions: &Positions, kinds: &[Kind], paths: &Paths) -> Result<Self, String> {
        check_width(row, positions.width)?;
        let cell = |at| cell(row, at);
        let name = cell(Some(positions.path)).filter(|name| !without_root(name).is_empty());
        let Some(name) = name else {
            return Err("the row names no image file; fill it in, or remove the row".into());
        };
        let mut image = Self {
            path: paths.resolve(name),
            name: without_root(name),
            first_line: row.line,
            last_line: row.line,
            patients: cell(positions.patient)
                .and_then(|patient| identifier(patient, positions.has_decimal_commas))
                .into_iter()
                .collect(),
            view: cell(positions.view).map(str::to_owned),
            split: cell(positions.split)
                .map(str::parse)
                .transpose()
                .map_err(|error: dataset::Error| error.to_string())?,
            masks: cell(positions.lung_mask).map(|mask| paths.resolve(mask)).into_iter().collect(),
            collection: cell(positions.collection).map(str::to_owned),
            licence: cell(positions.licence).map(str::to_owned),
            ..Self::default()
        };
        for (column, kind) in positions.labels.iter().zip(kinds) {
            let Some(text) = cell(Some(column.at)) else { continue };
            match (kind, value(text, positions.has_decimal_commas)) {
                (Kind::Finding, Value::State(state)) => image.set(&column.name, state),
                (Kind::Finding, _) => image.odd.push(format!("line {}, column {:?}: {text:?}", row.line, column.name)),
                (Kind::Words, _) => {
                    for word in text.split(['|', ';']).filter_map(filled) {
                        image.set(&class_name(word, positions.has_decimal_commas), State::Positive);
                    }
                }
            }
        }
        Ok(image)
    }

    /// Of two statements the stronger counts (positive, uncertain, negative).
    fn set(&mut self, label: &str, state: State) {
        let Some((_, known)) = self.labels.iter_mut().find(|(name, _)| name == label) else {
            self.labels.push((label.to_owned(), state));
            return;
        };
        let is_contradiction =
            matches!((*known, state), (State::Positive, State::Negative) | (State::Negative, State::Positive));
        if state as u8 > *known as u8 {
            *known = state;
        }
        if is_contradiction && !self.contradicted.iter().any(|name| name == label) {
            self.contradicted.push(label.to_owned());
        }
    }

    /// Joins another row of the image to the rows so far: labels and masks are united, of other cells the first that is
    /// filled in counts.
    pub(super) fn join(&mut self, other: Self) {
        self.last_line = other.last_line;
        for patient in other.patients {
            if !self.patients.contains(&patient) {
                self.patients.push(patient);
            }
        }
        for (label, state) in &other.labels {
            self.set(label, *state);
        }
        for mask in other.masks {
            if !self.masks.contains(&mask) {
                self.masks.push(mask);
            }
        }
        if let (Some(first), Some(second)) = (self.split, other.split)
            && first != second
        {
            self.splits.get_or_insert([first, second]);
        }
        if let (Some(first), Some(second)) = (&self.view, &other.view)
            && !first.eq_ignore_ascii_case(second)
        {
            self.views.get_or_insert([first.clone(), second.clone()]);
        }
        self.view = self.view.take().or(other.view);
        self.split = self.split.or(other.split);
        self.collection = self.collection.take().or(other.collection);
        self.licence = self.licence.take().or(other.licence);
        self.odd.extend(other.odd);
    }

    /// The image for the dataset; contradictions go into `tally`. `locate` finds files, `same` the identifier that stands
    /// for a patient.
    ///
    /// # Errors
    /// Rows that put the image into two splits.
    pub(super) fn into_item(
        self,
        tally: &mut Tally,
        locate: impl Fn(&str) -> crate::archive::FileSource,
        same: impl Fn(String) -> String,
    ) -> Result<SourceItem, Skipped> {
        let (first, last) = (self.first_line, self.last_line);
        let place = |what: &str| format!("{}, lines {first} and {last}{what}", self.name);
        if self.patients.len() > 1 {
            tally.patients.add(|| place(""));
        }
        for label in &self.contradicted {
            tally.labels.add(|| place(&format!(": {label}")));
        }
        if let Some([one, other]) = &self.views {
            tally.views.add(|| place(&format!(": {one} and {other}")));
        }
        self.odd.iter().for_each(|odd| tally.odd.add(|| odd.clone()));
        if let Some([one, other]) = self.splits {
            let reason = format!(
                "its rows put it into {one} and into {other} (lines {first} and {last} of the table); correct them, or leave \
                 them out (`csv.split = \"\"`) to have splits drawn by patient"
            );
            return Err(Skipped { item: self.name, reason });
        }
        let in_state = |wanted: State| -> Vec<String> {
            self.labels.iter().filter(|(_, state)| *state == wanted).map(|(label, _)| label.clone()).collect()
        };
        Ok(SourceItem {
            file: locate(&self.path),
            labels: in_state(State::Positive),
            labels_negative: in_state(State::Negative),
            labels_uncertain: in_state(State::Uncertain),
            patient: self.patients.into_iter().next().map(same),
            name: self.name,
            view: self.view,
            split: self.split,
            mask: self.masks.iter().map(|mask| locate(mask)).collect(),
            collection: self.collection,
            licence: self.licence,
            ..Default::default()
        })
    }
}

/// A word as a label; numbers of classes without what pandas puts behind them.
fn class_name(word: &str, has_decimal_commas: bool) -> String {
    match word.strip_prefix('-') {
        Some(number) => format!("-{}", whole_number(number, has_decimal_commas)),
        None => whole_number(word, has_decimal_commas).to_owned(),
    }
}

/// What rows of one image do not agree on.
#[derive(Debug, Default)]
pub(super) struct Tally {
    patients: Count,
    labels: Count,
    views: Count,
    odd: Count,
}

impl Tally {
    /// One line for each kind.
    pub(super) fn reports(&self, table: &str) -> Vec<Skipped> {
        let kinds = BTreeMap::from([
            (
                "rows of one image that name different patients",
                (&self.patients, "image", "these patients count as one, so that all their images are in one split"),
            ),
            (
                "rows of one image that contradict one another",
                (&self.labels, "label", "said to be there and to be absent; it counts as there"),
            ),
            ("rows of one image with different views", (&self.views, "image", "the first view counts")),
            (
                "cells that are neither 1, 0, -1 nor empty",
                (&self.odd, "cell", "in a column that holds these otherwise; the finding counts as unknown there"),
            ),
        ]);
        let kinds = kinds.into_iter().filter(|(_, (count, ..))| count.number > 0);
        let report = |(item, (count, word, what)): (&str, (&Count, &str, &str))| Skipped {
            item: format!("{table}: {item}"),
            reason: format!(
                "{}: {what} (for example {}); correct the table if that is wrong",
                count.of(word),
                count.example
            ),
        };
        kinds.map(report).collect()
    }
}

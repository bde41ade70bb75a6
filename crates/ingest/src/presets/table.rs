//! A table (see `crate::tables` for how it may be written) that has rows for images.
//!
//! An image may have several rows. Their labels are united, of contradicting ones the stronger counts (positive, uncertain,
//! negative); masks are united; of other cells the first that is filled in counts. Patients that the rows of one image
//! name together count as one, so that whoever is right, nobody is on both sides of a split; an image that rows put into
//! two splits is left out. What rows contradict one another about is reported.

mod columns;
mod joining;
mod paths;
mod survey;

use std::cell::RefCell;
use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use super::{Items, Preset, SourceItem};
use crate::archive::Archives;
use crate::tables::{BadRow, TableReader, TableRow};
use columns::Positions;
use joining::{Image, Tally};
use messages::Skipped;
use survey::{Survey, key};

/// Which columns hold what. A column that is not named is looked for under the usual names (upper and lower case,
/// blanks, `_` and `-` make no difference) and may be missing, the path's excepted; one that is named must be there;
/// an empty name means that there is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Columns {
    /// The image file, relative to the table's folder or to `root`. Usual names: `path`, `image`, `file`, `filename`,
    /// `image path`, `image index`, `dicom`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The patient's identifier. Usual names: `patient`, `patient id`, `subject`, `subject id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patient: Option<String>,
    /// The view. Usual names: `view`, `view position`, `projection`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view: Option<String>,
    /// The labels, several in a cell separated by `|` or `;`; the labels of several columns are joined. A column that holds
    /// 1, 0, -1 and empty cells, and that is not named like the following, is about the finding of its name: there, absent,
    /// uncertain, unknown. Usual names: `labels`, `label`, `finding labels`, `findings`, `class`, of which the first that
    /// is there is taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<Vec<String>>,
    /// The split: train, val or test; an empty cell has it drawn. Usual names: `split`, `fold`, `subset`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
    /// The lung mask's file, relative like the image's. Usual names: `lung mask`, `mask`, `mask path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lung_mask: Option<String>,
    /// The collection. Usual names: `collection`, `source`, `dataset`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub collection: Option<String>,
    /// The licence. Usual names: `licence`, `license`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// The folder that paths are relative to, instead of the table's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<PathBuf>,
}

/// Sources are tables, or folders with a `manifest.csv`, or with no other `.csv` than one.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Which columns hold what.
    pub columns: Columns,
    /// The survey of the first table that was read.
    survey: OnceLock<(PathBuf, Arc<Survey>)>,
}

impl Table {
    /// A reader of tables with these columns.
    pub fn new(columns: Columns) -> Self {
        Self { columns, survey: OnceLock::new() }
    }

    /// The survey of a table, kept where it is the one that was read first: it is gone through more than once.
    fn survey(&self, table: &Path, positions: &Positions, root: &Path, archives: &Archives) -> Result<Arc<Survey>> {
        if let Some((_, survey)) = self.survey.get().filter(|(path, _)| path == table) {
            return Ok(Arc::clone(survey));
        }
        let open = || TableReader::open(table, &archives.notes);
        let survey = Survey::of(open, positions, root, archives)
            .with_context(|| format!("the table cannot be used: {}", table.display()))?;
        let survey = Arc::new(survey);
        // Another thread's is the same.
        let _ = self.survey.set((table.to_path_buf(), Arc::clone(&survey)));
        Ok(survey)
    }
}

impl Preset for Table {
    fn items<'a>(&'a self, source: &'a Path, archives: &'a Archives) -> Result<Items<'a>> {
        let path = find_table(source)?;
        let root = match &self.columns.root {
            Some(root) => root.clone(),
            None => path.parent().unwrap_or(Path::new("")).to_path_buf(),
        };
        let table = TableReader::open(&path, &archives.notes)?;
        let positions = Positions::find(&self.columns, table.header(), table.has_decimal_commas(), &path)?;
        let survey = self.survey(&path, &positions, &root, archives)?;
        let name = table.name().to_owned();
        let tally = Rc::new(RefCell::new(Tally::default()));
        let (own_tally, own_root, own_name) = (Rc::clone(&tally), root.clone(), name.clone());
        let mut rows = Rows { table, positions, survey, before: None, given: HashSet::new() };
        let mut ready = VecDeque::new();
        let items = std::iter::from_fn(move || {
            while ready.is_empty() {
                let Some(image) = rows.next(&mut ready)? else { continue };
                let locate = |file: &str| archives.locate(&own_root, file);
                let same = |patient| rows.survey.patient(patient);
                ready.push_back(image.into_item(&mut own_tally.borrow_mut(), locate, same));
            }
            ready.pop_front()
        });
        let ending = std::iter::once_with(move || {
            let mut problems = tally.borrow().reports(&own_name);
            problems.extend(archives.problems(&root));
            problems
        });
        Ok(Box::new(items.chain(ending.flatten().map(Err))))
    }
}

/// The rows of a table, those that follow one another and are about one image as one.
struct Rows {
    table: TableReader,
    positions: Positions,
    survey: Arc<Survey>,
    /// The image of the last row, to which the next may belong.
    before: Option<Image>,
    /// The keys of images with rows in several places that were given back.
    given: HashSet<u64>,
}

impl Rows {
    /// Reads another row; none after the last one. Gives back the image before it, where the row is not about that one; a
    /// row that cannot be used goes into `problems`.
    fn next(&mut self, problems: &mut VecDeque<Result<SourceItem, Skipped>>) -> Option<Option<Image>> {
        let Some(row) = self.table.next() else { return self.before.take().map(Some) };
        let image = match self.image(row) {
            Ok(image) => image,
            Err(skipped) => {
                problems.push_back(Err(skipped));
                return Some(None);
            }
        };
        if let Some(whole) = self.survey.scattered(&image.path) {
            // All of it comes with its first row. Lines do not tell which that is: damaged rows may share one.
            let whole = whole.clone();
            if !self.given.insert(key(&image.path)) {
                return Some(None);
            }
            return Some(self.before.replace(whole));
        }
        if let Some(before) = self.before.as_mut().filter(|before| before.path == image.path) {
            before.join(image);
            return Some(None);
        }
        Some(self.before.replace(image))
    }

    fn image(&self, row: Result<TableRow, BadRow>) -> Result<Image, Skipped> {
        let skipped = |line: Option<u64>, reason: String| {
            let line = line.map_or_else(String::new, |line| format!(", line {line}"));
            Skipped { item: format!("{}{line}", self.table.name()), reason }
        };
        match row {
            Ok(row) => Image::of_row(&row, &self.positions, &self.survey.kinds, &self.survey.paths)
                .map_err(|reason| skipped(Some(row.line), reason)),
            Err(row) => Err(skipped(row.line, format!("the row cannot be read ({}); correct it", row.reason))),
        }
    }
}

fn find_table(source: &Path) -> Result<PathBuf> {
    if !source.is_dir() {
        return Ok(source.to_path_buf());
    }
    let manifest = source.join("manifest.csv");
    if manifest.is_file() {
        return Ok(manifest);
    }
    let unreadable = || format!("the folder cannot be read: {}", source.display());
    let mut tables = Vec::new();
    for entry in std::fs::read_dir(source).with_context(unreadable)? {
        let path = entry.with_context(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("csv")) {
            tables.push(path);
        }
    }
    match (tables.pop(), tables.len()) {
        (Some(table), 0) => Ok(table),
        (Some(_), others) => bail!(
            "the folder has {} tables and none is named manifest.csv; give the right one: {}",
            others + 1,
            source.display()
        ),
        (None, _) => bail!("the folder has no .csv table; give one, or use the preset folder: {}", source.display()),
    }
}

#[cfg(test)]
mod tests;

//! Where the columns of a table are.

use std::path::Path;

use anyhow::{Result, bail};

use super::Columns;

/// Columns of these names hold words, even where the words are numbers. Any other column of labels that holds nothing but
/// 0, 1 and -1 is about the finding that it is named after.
const WORDS: [&str; 14] = [
    "label",
    "labels",
    "finding",
    "findings",
    "finding label",
    "finding labels",
    "class",
    "classes",
    "class name",
    "class id",
    "target",
    "category",
    "diagnosis",
    "diagnoses",
];

/// The positions of the columns in a row.
pub(super) struct Positions {
    pub path: usize,
    pub patient: Option<usize>,
    pub view: Option<usize>,
    pub labels: Vec<LabelColumn>,
    pub split: Option<usize>,
    pub lung_mask: Option<usize>,
    pub collection: Option<usize>,
    pub licence: Option<usize>,
    /// Columns of the table.
    pub width: usize,
    pub has_decimal_commas: bool,
}

/// A column of labels.
pub(super) struct LabelColumn {
    pub at: usize,
    /// The column's name in the table.
    pub name: String,
    /// Whether the name says that the cells hold words.
    pub holds_words: bool,
}

impl Positions {
    /// # Errors
    /// A column that was named and is not there, no column of files.
    pub(super) fn find(columns: &Columns, header: &[String], has_decimal_commas: bool, table: &Path) -> Result<Self> {
        let find = |setting: &str, named: &Option<String>, usual: &[&str]| -> Result<Option<usize>> {
            match named.as_deref() {
                Some("") => Ok(None),
                Some(name) => match position(header, name) {
                    Some(position) => Ok(Some(position)),
                    None => bail!(missing(header, table, &format!("{name:?}"), setting)),
                },
                None => Ok(usual.iter().find_map(|name| position(header, name))),
            }
        };
        let usual_paths = ["path", "image", "file", "filename", "image path", "image index", "dicom"];
        let Some(path) = find("path", &columns.path, &usual_paths)? else {
            bail!(missing(header, table, "of image files", "path"));
        };
        let labels: Vec<usize> = match &columns.labels {
            Some(names) => {
                let found = names.iter().map(|name| find("labels", &Some(name.clone()), &[]));
                found.filter_map(Result::transpose).collect::<Result<_>>()?
            }
            None => {
                let usual = ["labels", "label", "finding labels", "findings", "class"];
                find("labels", &None, &usual)?.into_iter().collect()
            }
        };
        let labels = labels.into_iter().map(|at| LabelColumn {
            at,
            name: header[at].clone(),
            holds_words: WORDS.iter().any(|name| canonical(name) == canonical(&header[at])),
        });
        let patients = ["patient", "patient id", "subject", "subject id"];
        Ok(Self {
            path,
            patient: find("patient", &columns.patient, &patients)?,
            view: find("view", &columns.view, &["view", "view position", "projection"])?,
            labels: labels.collect(),
            split: find("split", &columns.split, &["split", "fold", "subset"])?,
            lung_mask: find("lung_mask", &columns.lung_mask, &["lung mask", "mask", "mask path"])?,
            collection: find("collection", &columns.collection, &["collection", "source", "dataset"])?,
            licence: find("licence", &columns.licence, &["licence", "license"])?,
            width: header.len(),
            has_decimal_commas,
        })
    }
}

fn missing(header: &[String], table: &Path, column: &str, setting: &str) -> String {
    if header.iter().all(String::is_empty) {
        return format!("the table is empty; its first line names the columns: {}", table.display());
    }
    let there: Vec<_> = header.iter().map(|name| format!("{name:?}")).collect();
    format!(
        "the table has no column {column}; name the right one in the setting csv.{setting}, it has {}: {}",
        there.join(", "),
        table.display()
    )
}

fn position(header: &[String], name: &str) -> Option<usize> {
    // An exact name goes before a similar one.
    let similar = |column: &String| canonical(column) == canonical(name);
    header.iter().position(|column| column == name).or_else(|| header.iter().position(similar))
}

/// Lower case, without what spreadsheets put between words or before the first.
fn canonical(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

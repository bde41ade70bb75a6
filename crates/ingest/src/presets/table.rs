//! A table (comma-, semicolon- or tab-separated, with a header) that has a row for each image.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use csv::{ReaderBuilder, StringRecord};
use serde::{Deserialize, Serialize};

use super::{Items, Preset, SourceItem};
use crate::Skipped;
use crate::archive::{Archives, FileSource};

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
    /// The labels, several in a cell separated by `|` or `;`; the labels of several columns are joined. Usual names:
    /// `labels`, `label`, `finding labels`, `findings`, `class`, of which the first that is there is taken.
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
}

impl Preset for Table {
    fn items<'a>(&'a self, source: &'a Path, archives: &'a Archives) -> Result<Items<'a>> {
        let table = find_table(source)?;
        let root = match &self.columns.root {
            Some(root) => root.clone(),
            None => table.parent().unwrap_or(Path::new("")).to_path_buf(),
        };
        let root_of_archives = root.clone();
        let mut reader = ReaderBuilder::new()
            .delimiter(delimiter(&table)?)
            .flexible(true)
            .from_path(&table)
            .with_context(|| format!("the table cannot be read: {}", table.display()))?;
        let header = reader
            .headers()
            .with_context(|| format!("the table's header cannot be read: {}", table.display()))?
            .clone();
        let positions = Positions::find(&self.columns, &header, &table)?;
        let table_name = table.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let width = header.len();
        let items = reader.into_records().map(move |record| {
            let skipped = |line: Option<u64>, reason: String| {
                let line = line.map_or_else(String::new, |line| format!(", line {line}"));
                Skipped { item: format!("{table_name}{line}"), reason }
            };
            match record {
                Ok(record) => {
                    let line = record.position().map(csv::Position::line);
                    item(&record, &positions, width, |name| archives.locate(&root, name))
                        .map_err(|reason| skipped(line, reason))
                }
                Err(error) => {
                    let line = error.position().map(csv::Position::line);
                    Err(skipped(line, format!("the row cannot be read ({error}); correct it")))
                }
            }
        });
        let problems = std::iter::once_with(move || archives.problems(&root_of_archives)).flatten().map(Err);
        Ok(Box::new(items.chain(problems)))
    }
}

/// The positions of the columns in a row.
struct Positions {
    path: usize,
    patient: Option<usize>,
    view: Option<usize>,
    labels: Vec<usize>,
    split: Option<usize>,
    lung_mask: Option<usize>,
    collection: Option<usize>,
    licence: Option<usize>,
}

impl Positions {
    fn find(columns: &Columns, header: &StringRecord, table: &Path) -> Result<Self> {
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
        let labels = match &columns.labels {
            Some(names) => {
                let found = names.iter().map(|name| find("labels", &Some(name.clone()), &[]));
                found.filter_map(Result::transpose).collect::<Result<_>>()?
            }
            None => {
                let usual = ["labels", "label", "finding labels", "findings", "class"];
                find("labels", &None, &usual)?.into_iter().collect()
            }
        };
        let patients = ["patient", "patient id", "subject", "subject id"];
        Ok(Self {
            path,
            patient: find("patient", &columns.patient, &patients)?,
            view: find("view", &columns.view, &["view", "view position", "projection"])?,
            labels,
            split: find("split", &columns.split, &["split", "fold", "subset"])?,
            lung_mask: find("lung_mask", &columns.lung_mask, &["lung mask", "mask", "mask path"])?,
            collection: find("collection", &columns.collection, &["collection", "source", "dataset"])?,
            licence: find("licence", &columns.licence, &["licence", "license"])?,
        })
    }
}

fn missing(header: &StringRecord, table: &Path, column: &str, setting: &str) -> String {
    let there: Vec<_> = header.iter().map(|name| format!("{name:?}")).collect();
    format!(
        "the table has no column {column}; name the right one in the setting csv.{setting}, it has {}: {}",
        there.join(", "),
        table.display()
    )
}

fn position(header: &StringRecord, name: &str) -> Option<usize> {
    // An exact name goes before a similar one.
    let similar = |column: &str| canonical(column) == canonical(name);
    header.iter().position(|column| column == name).or_else(|| header.iter().position(similar))
}

/// Lower case, without what spreadsheets put between words or before the first.
fn canonical(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// A row as an item, or why it is none.
fn item(
    record: &StringRecord,
    positions: &Positions,
    width: usize,
    locate: impl Fn(&str) -> FileSource,
) -> Result<SourceItem, String> {
    if record.len() != width {
        let found = record.len();
        return Err(format!("the row has {found} cells, the header {width}; correct it, or put quotes around commas"));
    }
    let cell = |position: Option<usize>| {
        position.and_then(|position| record.get(position)).map(str::trim).filter(|cell| !cell.is_empty())
    };
    let Some(name) = cell(Some(positions.path)) else {
        return Err("the row names no image file; fill it in, or remove the row".into());
    };
    let labels = positions.labels.iter().filter_map(|&position| cell(Some(position)));
    let labels = labels.flat_map(|cell| cell.split(['|', ';'])).map(str::trim).filter(|label| !label.is_empty());
    Ok(SourceItem {
        file: locate(name),
        name: without_root(name),
        patient: cell(positions.patient).map(str::to_owned),
        view: cell(positions.view).map(str::to_owned),
        labels: labels.map(str::to_owned).collect(),
        split: cell(positions.split).map(str::parse).transpose().map_err(|error: dataset::Error| error.to_string())?,
        mask: cell(positions.lung_mask).map(locate).into_iter().collect(),
        collection: cell(positions.collection).map(str::to_owned),
        licence: cell(positions.licence).map(str::to_owned),
        ..Default::default()
    })
}

/// Manifests hold no absolute paths: of one, the file and its folder remain.
fn without_root(name: &str) -> String {
    let name = name.replace('\\', "/");
    let is_absolute = name.starts_with('/') || name.as_bytes().get(1) == Some(&b':');
    if !is_absolute {
        return name;
    }
    // A file that lies in no folder has none.
    let is_folder = |part: &&str| !part.is_empty() && !part.ends_with(':');
    let parts: Vec<&str> = name.rsplit('/').take(2).filter(is_folder).collect();
    parts.into_iter().rev().collect::<Vec<_>>().join("/")
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

/// The separator that the header has most of.
fn delimiter(table: &Path) -> Result<u8> {
    let unreadable = || format!("the table cannot be read: {}", table.display());
    let file = File::open(table).with_context(unreadable)?;
    let mut header = Vec::new();
    BufReader::new(file).read_until(b'\n', &mut header).with_context(unreadable)?;
    let count = |separator: u8| header.iter().filter(|&&byte| byte == separator).count();
    // Of equals the last is taken: a header of one column has none of any, and then a comma is as good as another.
    Ok([b'\t', b';', b','].into_iter().max_by_key(|&separator| count(separator)).unwrap_or(b','))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use dataset::Split;

    use super::*;

    fn items(text: &str, columns: Columns) -> Result<Vec<Result<SourceItem, Skipped>>> {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("list.csv"), text).unwrap();
        let preset = Table { columns };
        let items = preset.items(dir.path(), &Archives::default())?.collect();
        Ok(items)
    }

    #[test]
    fn usual_columns_are_found_and_cells_understood() {
        let text = "\u{feff}Image Index;Patient ID;View Position;Finding Labels;Split;mask\n\
                    a/1.png; 17 ;PA;Effusion|Mass ;validation;m/1.png\n\"b,2.png\";;;;;\n";
        let found = items(text, Columns { root: Some("/data".into()), ..Default::default() }).unwrap();
        let expected = SourceItem {
            file: "/data/a/1.png".into(),
            name: "a/1.png".into(),
            patient: Some("17".into()),
            view: Some("PA".into()),
            labels: vec!["Effusion".into(), "Mass".into()],
            split: Some(Split::Val),
            mask: vec!["/data/m/1.png".into()],
            ..Default::default()
        };
        assert_eq!(found[0], Ok(expected));
        let bare = SourceItem { file: "/data/b,2.png".into(), name: "b,2.png".into(), ..Default::default() };
        assert_eq!(found[1], Ok(bare));
    }

    #[test]
    fn columns_can_be_named_joined_and_switched_off() {
        let text = "image,where,a,b,view,split\n1.png,x/2.png,one;two,three,PA,train\n";
        let columns = Columns {
            path: Some("where".into()),
            labels: Some(vec!["b".into(), "a".into()]),
            view: Some(String::new()),
            ..Default::default()
        };
        let item = items(text, columns).unwrap().remove(0).unwrap();
        assert_eq!(item.name, "x/2.png");
        assert_eq!(item.labels, ["three", "one", "two"]);
        assert_eq!((item.view, item.split), (None, Some(Split::Train)));
    }

    #[test]
    fn a_missing_column_is_a_sentence_with_those_that_are_there() {
        let error = items("a,b\n1,2\n", Columns::default()).err().unwrap().to_string();
        assert!(
            error.contains("no column of image files; name the right one in the setting csv.path, it has \"a\", \"b\""),
            "{error}"
        );
        let columns = Columns { patient: Some("mrn".into()), ..Default::default() };
        let error = items("path\n1.png\n", columns).err().unwrap().to_string();
        assert!(error.starts_with("the table has no column \"mrn\"") && error.ends_with("list.csv"), "{error}");
    }

    #[test]
    fn bad_rows_are_listed_with_their_line_and_the_rest_is_read() {
        let text = "path,split\n1.png,train\n,train\n2.png,tset\n3.png\n4.png,\n";
        let found = items(text, Columns::default()).unwrap();
        let reasons: Vec<_> = found.iter().filter_map(|item| item.as_ref().err()).collect();
        assert_eq!(
            reasons.iter().map(|skipped| skipped.item.as_str()).collect::<Vec<_>>(),
            ["list.csv, line 3", "list.csv, line 4", "list.csv, line 5"]
        );
        assert!(reasons[0].reason.contains("names no image file"));
        assert!(reasons[1].reason.contains("\"tset\""));
        assert!(reasons[2].reason.contains("1 cells, the header 2"));
        assert_eq!(found.iter().filter(|item| item.is_ok()).count(), 2);
    }

    #[test]
    fn absolute_paths_do_not_reach_the_manifest() {
        assert_eq!(without_root("/home/jane/images/1.png"), "images/1.png");
        assert_eq!(without_root("C:\\jane\\images\\1.png"), "images/1.png");
        assert_eq!(without_root("images\\1.png"), "images/1.png");
        assert_eq!(["/1.png", "C:\\1.png", "//1.png"].map(without_root), ["1.png"; 3]);
    }

    #[test]
    fn the_right_table_of_a_folder_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        assert!(find_table(dir.path()).unwrap_err().to_string().contains("has no .csv table"));
        fs::write(dir.path().join("a.csv"), "").unwrap();
        assert!(find_table(dir.path()).unwrap().ends_with("a.csv"));
        fs::write(dir.path().join("b.csv"), "").unwrap();
        assert!(find_table(dir.path()).unwrap_err().to_string().contains("has 2 tables"));
        fs::write(dir.path().join("manifest.csv"), "").unwrap();
        assert!(find_table(dir.path()).unwrap().ends_with("manifest.csv"));
    }
}

//! The tables of a collection: rows of one image, with what other tables say about it.
//!
//! A cell is looked up by the name of its column: first in the collection's main table, then in the joined ones in
//! their order. A column that is in none is an empty cell, and so is one that stands for nothing (`nan`). Tables may be
//! gzipped, as PhysioNet distributes them, or saved anew by a spreadsheet (see [`crate::tables`]).

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use csv::StringRecord;

use crate::notes::Notes;
use crate::tables::{TableReader, filled, open_text, whole_number};

/// How a joined table is written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Format {
    /// Commas, with a header line.
    Csv,
    /// A JSON object on each line.
    JsonLines,
    /// A JSON array of objects.
    JsonArray,
    /// A key on each line and no header; rows that are listed have this value in this column.
    List(&'static str, &'static str),
}

/// A table that says more about images of the main table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Join {
    /// Its names below the collection's folder, of which the first that is there is taken.
    pub files: &'static [&'static str],
    /// How it is written.
    pub format: Format,
    /// The column that says which rows it is about, in this table.
    pub key: &'static str,
    /// The same in the main table.
    pub by: &'static str,
    /// The columns to take, the key excepted. Those of a [`Format::List`] are its own.
    pub columns: &'static [&'static str],
    /// What images lack without the table, for the report.
    pub gives: &'static str,
}

/// A joined table in memory: of each row, the columns to take. Cells that are written alike are kept once, so that a
/// row takes four bytes for a cell.
#[derive(Debug, Default)]
pub(super) struct Joined {
    rows: HashMap<String, Box<[u32]>>,
    texts: Vec<Box<str>>,
    columns: Vec<String>,
    by: &'static str,
}

impl Joined {
    /// Reads the table at `path`. Of several rows with one key the first counts.
    pub(super) fn read(join: &Join, path: &Path, notes: &Notes) -> Result<Self> {
        let mut joined = Self { by: join.by, ..Default::default() };
        let mut known: HashMap<Box<str>, u32> = HashMap::new();
        let mut add = |key: &str, cells: &mut dyn Iterator<Item = String>| {
            let key = key_of(key);
            if joined.rows.contains_key(key) {
                return;
            }
            let numbers = cells.map(|cell| {
                *known.entry(cell.into_boxed_str()).or_insert_with_key(|text| {
                    joined.texts.push(text.clone());
                    (joined.texts.len() - 1) as u32
                })
            });
            let numbers = numbers.collect();
            joined.rows.insert(key.to_owned(), numbers);
        };
        let unreadable = || format!("the table cannot be read: {}", path.display());
        match join.format {
            Format::Csv => {
                let table = open_table(path, &[join.key], notes)?;
                let key = table.position(join.key).unwrap_or_default();
                let wanted: Vec<_> = join.columns.iter().map(|name| table.position(name)).collect();
                for row in table {
                    let cells = row.map_err(|row| anyhow!(row.reason)).with_context(unreadable)?.cells;
                    let cell = |at: Option<usize>| at.and_then(|at| cells.get(at)).unwrap_or_default().trim();
                    add(cell(Some(key)), &mut wanted.iter().map(|&at| cell(at).to_owned()));
                }
            }
            Format::JsonLines => {
                for line in BufReader::new(open_text(path)?).lines() {
                    let line = line.with_context(unreadable)?;
                    if !line.trim().is_empty() {
                        let object = serde_json::from_str(&line).with_context(unreadable)?;
                        add(
                            &json_cell(&object, join.key),
                            &mut join.columns.iter().map(|name| json_cell(&object, name)),
                        );
                    }
                }
            }
            Format::JsonArray => {
                let objects: Vec<serde_json::Value> =
                    serde_json::from_reader(BufReader::new(open_text(path)?)).with_context(unreadable)?;
                for object in objects {
                    add(&json_cell(&object, join.key), &mut join.columns.iter().map(|name| json_cell(&object, name)));
                }
            }
            Format::List(_, value) => {
                for line in BufReader::new(open_text(path)?).lines() {
                    add(line.with_context(unreadable)?.trim(), &mut std::iter::once(value.to_owned()));
                }
            }
        }
        joined.columns = match join.format {
            Format::List(column, _) => vec![column.to_owned()],
            _ => join.columns.iter().map(|&name| name.to_owned()).collect(),
        };
        Ok(joined)
    }

    fn get(&self, key: &str, column: &str) -> Option<&str> {
        let position = self.columns.iter().position(|name| name == column)?;
        let row = self.rows.get(key_of(key))?;
        Some(&self.texts[row[position] as usize])
    }
}

/// Numbers and words as they are written, nothing for null.
fn json_cell(object: &serde_json::Value, name: &str) -> String {
    match object.get(name) {
        None | Some(serde_json::Value::Null) => String::new(),
        Some(serde_json::Value::String(text)) => text.trim().to_owned(),
        Some(other) => other.to_string(),
    }
}

/// What rows are joined by: pandas writes `1.0` where another table has `1`.
fn key_of(cell: &str) -> &str {
    whole_number(cell, false)
}

/// Opens a table and checks that the columns are there.
pub(super) fn open_table(path: &Path, columns: &[&str], notes: &Notes) -> Result<TableReader> {
    let table = TableReader::open(path, notes)?;
    for column in columns {
        ensure!(
            table.position(column).is_some(),
            "the table has no column {column:?}, it has {}; it is not the one that the collection distributes: {}",
            table.header().iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", "),
            path.display()
        );
    }
    Ok(table)
}

/// Where the columns of a table are.
#[derive(Clone, Debug, Default)]
pub(super) struct Header {
    positions: HashMap<String, usize>,
}

impl Header {
    /// The columns of these names; of several of one name the first counts.
    pub(super) fn of(names: &[impl AsRef<str>]) -> Self {
        Self { positions: names.iter().enumerate().rev().map(|(at, name)| (name.as_ref().to_owned(), at)).collect() }
    }
}

/// All rows about one image, the first one first, with the tables that are joined to it.
pub(super) struct Row<'a> {
    /// The file name of the main table, without `.gz`.
    pub table: &'a str,
    pub header: &'a Header,
    pub records: &'a [StringRecord],
    pub joined: &'a [Joined],
}

impl Row<'_> {
    /// The cell in a column, trimmed; empty where there is none, or one that stands for nothing.
    pub(super) fn get(&self, column: &str) -> &str {
        let own = self.records.first().map_or("", |record| self.cell(record, column));
        if !own.is_empty() {
            return own;
        }
        let joined = self.joined.iter().filter_map(|joined| {
            let key = self.records.first().map_or("", |record| self.cell(record, joined.by));
            joined.get(key, column)
        });
        joined.into_iter().find_map(filled).unwrap_or("")
    }

    /// The cells of all rows in a column of the main table.
    pub(super) fn all(&self, column: &str) -> impl Iterator<Item = &str> {
        let position = self.header.positions.get(column).copied();
        self.records.iter().map(move |record| position.and_then(|at| record.get(at)).unwrap_or("").trim())
    }

    fn cell<'r>(&self, record: &'r StringRecord, column: &str) -> &'r str {
        self.header.positions.get(column).and_then(|&at| record.get(at)).and_then(filled).unwrap_or("")
    }
}

/// The first of the files that is in the folder, as it is named or gzipped.
pub(super) fn find(folder: &Path, files: &[&str]) -> Option<PathBuf> {
    let candidates = files.iter().flat_map(|file| [folder.join(file), folder.join(format!("{file}.gz"))]);
    candidates.into_iter().find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;

    #[test]
    fn cells_come_from_the_main_table_first_and_then_from_joined_ones() {
        let dir = tempfile::tempdir().unwrap();
        let more = dir.path().join("more.csv");
        std::fs::write(&more, "study,view,note\ns1,PA,x\ns1,AP,y\n").unwrap();
        let join = Join {
            files: &["more.csv"],
            format: Format::Csv,
            key: "study",
            by: "id",
            columns: &["view", "note", "not there"],
            gives: "views",
        };
        let joined = [Joined::read(&join, &more, &Notes::default()).unwrap()];
        let header = Header::of(&["id", "view"]);
        let row = |id: &str, view: &str| vec![StringRecord::from(vec![id, view])];
        let get = |records: &[StringRecord], column: &str| {
            Row { table: "t", header: &header, records, joined: &joined }.get(column).to_owned()
        };
        assert_eq!(get(&row("s1", "LL"), "view"), "LL");
        assert_eq!(get(&row("s1", ""), "view"), "PA", "the first row of a key counts");
        assert_eq!(get(&row("s2", ""), "view"), "");
        assert_eq!(get(&row("s1", ""), "not there"), "");
    }

    #[test]
    fn tables_may_be_gzipped_or_json() {
        let dir = tempfile::tempdir().unwrap();
        let packed = dir.path().join("t.csv.gz");
        let mut encoder = flate2::write::GzEncoder::new(File::create(&packed).unwrap(), flate2::Compression::fast());
        encoder.write_all(b"\xef\xbb\xbfid,x\n1,caf\xe9\n").unwrap();
        encoder.finish().unwrap();
        assert_eq!(find(dir.path(), &["t.csv"]), Some(packed.clone()));
        let join = |format| Join { files: &[], format, key: "id", by: "id", columns: &["x"], gives: "" };
        let joined = Joined::read(&join(Format::Csv), &packed, &Notes::default()).unwrap();
        assert_eq!(joined.get("1", "x"), Some("café"));
        let lines = dir.path().join("l.json");
        std::fs::write(&lines, "{\"id\": \"1\", \"x\": -1.0}\n\n{\"id\": \"2\", \"x\": null}\n").unwrap();
        let joined = Joined::read(&join(Format::JsonLines), &lines, &Notes::default()).unwrap();
        assert_eq!((joined.get("1", "x"), joined.get("2", "x")), (Some("-1.0"), Some("")));
        std::fs::write(&lines, "[{\"id\": 7, \"x\": \"a\"}]").unwrap();
        assert_eq!(Joined::read(&join(Format::JsonArray), &lines, &Notes::default()).unwrap().get("7", "x"), Some("a"));
        std::fs::write(&lines, "a.png\nb.png\n").unwrap();
        let joined = Joined::read(&join(Format::List("official", "test")), &lines, &Notes::default()).unwrap();
        assert_eq!((joined.get("b.png", "official"), joined.get("c.png", "official")), (Some("test"), None));
    }
}

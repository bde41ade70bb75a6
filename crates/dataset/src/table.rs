//! Tidy tables of results: one column of text or numbers beside the other, as Parquet and as CSV.

use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;

use crate::parquet_columns::ColumnsWriter;
use crate::{Error, Result};
use files::AtomicFile;

/// The cells of a column, from the first row to the last; each may be missing.
#[derive(Clone, Debug, PartialEq)]
pub enum Cells {
    /// Words.
    Text(Vec<Option<String>>),
    /// Whole numbers from 0.
    Integers(Vec<Option<u64>>),
    /// Any numbers.
    Numbers(Vec<Option<f64>>),
}

impl Cells {
    fn len(&self) -> usize {
        match self {
            Self::Text(cells) => cells.len(),
            Self::Integers(cells) => cells.len(),
            Self::Numbers(cells) => cells.len(),
        }
    }

    fn text(&self, row: usize) -> String {
        match self {
            Self::Text(cells) => cells.get(row).cloned().flatten().map(|text| quoted(&text)),
            Self::Integers(cells) => cells.get(row).copied().flatten().map(|number| number.to_string()),
            Self::Numbers(cells) => cells.get(row).copied().flatten().map(|number| number.to_string()),
        }
        .unwrap_or_default()
    }
}

/// Named columns of one length.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    columns: Vec<(String, Cells)>,
}

impl Table {
    /// With one more column at the right.
    ///
    /// # Errors
    /// [`Error::Size`] for a column that is longer or shorter than the others.
    pub fn with(mut self, name: &str, cells: Cells) -> Result<Self> {
        let found = cells.len();
        let expected = self.columns.first().map_or(found, |(_, first)| first.len());
        if found != expected {
            return Err(Error::Size { what: format!("the column `{name}`"), expected, found });
        }
        self.columns.push((name.to_owned(), cells));
        Ok(self)
    }

    /// Number of rows.
    pub fn num_rows(&self) -> usize {
        self.columns.first().map_or(0, |(_, first)| first.len())
    }

    /// Writes a CSV file (RFC 4180) with a head line; missing cells are empty.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write_csv(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let mut text: String = self.columns.iter().map(|(name, _)| quoted(name)).collect::<Vec<_>>().join(",");
        text.push('\n');
        for row in 0..self.num_rows() {
            text += &self.columns.iter().map(|(_, cells)| cells.text(row)).collect::<Vec<_>>().join(",");
            text.push('\n');
        }
        let mut file = AtomicFile::create(path)?;
        file.write_all(text.as_bytes()).map_err(Error::io("write the file", path))?;
        Ok(file.commit()?)
    }

    /// Writes a Parquet file of optional columns.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn write_parquet(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let file = AtomicFile::create(path)?;
        let wrong = |error: ParquetError| Error::io("write the file", path)(std::io::Error::other(error));
        Ok(self.write_columns(file).map_err(wrong)?.commit()?)
    }

    fn write_columns(&self, file: AtomicFile) -> std::result::Result<AtomicFile, ParquetError> {
        let fields: String = self
            .columns
            .iter()
            .map(|(name, cells)| match cells {
                Cells::Text(_) => format!("  optional binary {name} (STRING);\n"),
                Cells::Integers(_) => format!("  optional int64 {name} (INTEGER(64, false));\n"),
                Cells::Numbers(_) => format!("  optional double {name};\n"),
            })
            .collect();
        let schema = parse_message_type(&format!("message table {{\n{fields}}}"))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by("dino-diffusion".into())
            .build();
        let mut writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))?;
        {
            let mut columns = ColumnsWriter { group: writer.next_row_group()? };
            for (_, cells) in &self.columns {
                match cells {
                    Cells::Text(cells) => columns.optional_strings(cells.iter().map(Option::as_deref).collect())?,
                    Cells::Integers(cells) => columns.optional_integers(cells.iter().copied())?,
                    Cells::Numbers(cells) => columns.optional_doubles(cells.iter().copied())?,
                }
            }
            columns.group.close()?;
        }
        writer.into_inner()
    }
}

/// In quotation marks where a reader of CSV would otherwise misread it.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Table {
        Table::default()
            .with("name", Cells::Text(vec![Some("a, \"b\"".into()), None]))
            .and_then(|table| table.with("count", Cells::Integers(vec![Some(3), Some(4)])))
            .and_then(|table| table.with("value", Cells::Numbers(vec![None, Some(0.25)])))
            .unwrap()
    }

    #[test]
    fn csv_is_what_every_reader_expects() {
        let dir = tempfile::tempdir().unwrap();
        example().write_csv(dir.path().join("t.csv")).unwrap();
        let text = std::fs::read_to_string(dir.path().join("t.csv")).unwrap();
        assert_eq!(text, "name,count,value\n\"a, \"\"b\"\"\",3,\n,4,0.25\n");
    }

    #[test]
    fn parquet_keeps_types_and_gaps() {
        use parquet::file::reader::{FileReader as _, SerializedFileReader};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.parquet");
        example().write_parquet(&path).unwrap();
        let reader = SerializedFileReader::new(std::fs::File::open(path).unwrap()).unwrap();
        let rows: Vec<String> = reader.get_row_iter(None).unwrap().map(|row| row.unwrap().to_string()).collect();
        assert_eq!(rows, ["{name: \"a, \"b\"\", count: 3, value: null}", "{name: null, count: 4, value: 0.25}"]);
    }

    #[test]
    fn columns_of_another_length_are_refused() {
        let error = example().with("more", Cells::Integers(vec![Some(1)])).unwrap_err();
        assert!(error.to_string().contains("more"), "{error}");
    }
}

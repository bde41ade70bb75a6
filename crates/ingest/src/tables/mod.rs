//! Tables as programs and spreadsheets write them.
//!
//! - Encodings: UTF-8 with or without a byte order mark; UTF-16, by its mark or by the zeros of its first characters. A
//!   cell that is not UTF-8 is read as Windows-1252, whose printable characters include Latin-1's, and that is said.
//! - Separators: comma, semicolon, tab or bar; the one that a first line `sep=;` names, or the one that cuts the header
//!   and most of the first rows into equally many cells.
//! - Lines end in a line feed, a carriage return or both. Quoted cells may hold separators, line ends, and doubled quotes.
//! - Cells that stand for nothing, and numbers as spreadsheets write them: see `cells.rs`.
//!
//! A table is read as a stream: its length costs no memory.

mod cells;
mod dialect;
mod quotes;
mod text;

use std::cell::Cell;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;
use std::rc::Rc;

use anyhow::{Context, Result};
use csv::{ByteRecord, StringRecord};
use flate2::read::MultiGzDecoder;

use crate::notes::{Count, Notes};
pub(crate) use cells::{Value, filled, identifier, is_scientific, value, whole_number};
use dialect::Dialect;
use quotes::QuoteWatch;
pub(crate) use text::as_utf8;

/// The bytes of a file as UTF-8 as far as that can be known from its first bytes, unpacked where it is named `.gz`.
///
/// # Errors
/// A file that cannot be opened or read.
pub(crate) fn open_text(path: &Path) -> Result<Box<dyn Read>> {
    let unreadable = || format!("the table cannot be read: {}", path.display());
    let file = File::open(path).with_context(unreadable)?;
    let is_gzipped = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
    let bytes: Box<dyn Read> =
        if is_gzipped { Box::new(MultiGzDecoder::new(BufReader::new(file))) } else { Box::new(file) };
    as_utf8(bytes).with_context(unreadable)
}

/// A table that is open, and its rows one after the other.
pub(crate) struct TableReader {
    records: csv::Reader<Box<dyn Read>>,
    /// At the end of the text: whether that is inside a quoted cell.
    is_unclosed: Rc<Cell<bool>>,
    header: Vec<String>,
    dialect: Dialect,
    name: String,
    notes: Notes,
    /// Rows that were not UTF-8.
    recoded: Count,
}

/// A row, or what its place in the table is.
#[derive(Clone, Debug)]
pub(crate) struct TableRow {
    /// As many as the table has columns, or the number that is there.
    pub cells: StringRecord,
    /// Where it begins; 1 is the first line of the file.
    pub line: u64,
}

/// A row that cannot be read.
#[derive(Debug)]
pub(crate) struct BadRow {
    /// Where it begins, as far as that is known.
    pub line: Option<u64>,
    /// What the reader says.
    pub reason: String,
}

impl TableReader {
    /// Opens a table and reads its header. `notes` hears how the table had to be read.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(crate) fn open(path: &Path, notes: &Notes) -> Result<Self> {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.strip_suffix(".gz").unwrap_or(&name);
        Self::new(open_text(path)?, name, notes)
            .with_context(|| format!("the table's header cannot be read: {}", path.display()))
    }

    /// As [`TableReader::open`], for text that came through [`as_utf8`].
    ///
    /// # Errors
    /// Text that cannot be read.
    pub(crate) fn new(text: Box<dyn Read>, name: &str, notes: &Notes) -> Result<Self> {
        let (dialect, rest) = Dialect::find(text)?;
        let (watched, is_unclosed) = QuoteWatch::new(rest, dialect.separator);
        let text: Box<dyn Read> = Box::new(watched);
        let mut records = csv::ReaderBuilder::new().delimiter(dialect.separator).flexible(true).from_reader(text);
        let (header, _) = text::of_record(records.byte_headers()?.clone());
        let header = header.iter().map(|name| name.trim().to_owned()).collect();
        let (notes, name) = (notes.clone(), name.to_owned());
        Ok(Self { records, is_unclosed, header, dialect, name, notes, recoded: Count::default() })
    }

    /// The columns' names, trimmed.
    pub(crate) fn header(&self) -> &[String] {
        &self.header
    }

    /// The file's name without `.gz`.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The position of the column of that very name.
    pub(crate) fn position(&self, name: &str) -> Option<usize> {
        self.header.iter().position(|column| column == name)
    }

    /// Whether numbers may have a comma where others have a point: not where commas separate cells.
    pub(crate) fn has_decimal_commas(&self) -> bool {
        self.dialect.separator != b','
    }
}

impl Iterator for TableReader {
    type Item = Result<TableRow, BadRow>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut record = ByteRecord::new();
        match self.records.read_byte_record(&mut record) {
            Ok(true) => {
                let line = record.position().map_or(0, |position| self.dialect.line(position));
                // Known once the text has ended, which only its last row asks for.
                if self.is_unclosed.take() {
                    let reason = format!(
                        "a quote in the row that begins in line {line} is never closed, so all that follows is one cell; \
                         close or remove it"
                    );
                    return Some(Err(BadRow { line: Some(line), reason }));
                }
                let (mut cells, is_recoded) = text::of_record(record);
                // Spreadsheets end some rows with more separators than others.
                while cells.len() > self.header.len()
                    && cells.get(cells.len() - 1).is_some_and(|cell| cell.trim().is_empty())
                {
                    cells.truncate(cells.len() - 1);
                }
                if is_recoded {
                    self.recoded.add(|| format!("line {line}"));
                }
                Some(Ok(TableRow { cells, line }))
            }
            Ok(false) => {
                if self.recoded.number > 0 {
                    let sentence = format!(
                        "{} is not in UTF-8: {} read as Windows-1252 (for example {}); save the table as UTF-8 if letters \
                         look wrong",
                        self.name,
                        self.recoded.of("row"),
                        self.recoded.example
                    );
                    self.notes.put(format!("{}, encoding", self.name), sentence);
                }
                None
            }
            Err(error) => {
                let line = error.position().map(|position| self.dialect.line(position));
                Some(Err(BadRow { line, reason: error.to_string() }))
            }
        }
    }
}

#[cfg(test)]
mod tests;

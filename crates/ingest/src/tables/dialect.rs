//! How a table separates cells and counts lines, from its beginning.

use std::io::{Cursor, Read, Result};

/// Bytes that are looked at: a header and some rows.
const BEGINNING: u64 = 1 << 16;

/// Rows that are compared with the header.
const ROWS: usize = 20;

/// What may separate cells; of equally good ones the first is taken.
const SEPARATORS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dialect {
    pub separator: u8,
    /// Lines before the header that are no part of the table.
    lines_before: u64,
    ends: Ends,
}

/// What ends a line. The reader of rows counts line feeds, and takes one after a carriage return for the next row's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    LineFeed,
    CarriageReturn,
    Both,
}

impl Dialect {
    /// Looks at the beginning of a text; gives back the table, a line `sep=` taken off.
    ///
    /// # Errors
    /// The reader's.
    pub(super) fn find(mut text: Box<dyn Read>) -> Result<(Self, Box<dyn Read>)> {
        let mut beginning = Vec::new();
        text.by_ref().take(BEGINNING).read_to_end(&mut beginning)?;
        let (named, length) = named_separator(&beginning);
        let table = &beginning[length..];
        let is_whole = (beginning.len() as u64) < BEGINNING;
        let separator = named.unwrap_or_else(|| likely_separator(table, is_whole));
        let dialect = Self { separator, lines_before: u64::from(length > 0), ends: Ends::find(table) };
        Ok((dialect, Box::new(Cursor::new(beginning.split_off(length)).chain(text))))
    }

    /// The line of the file in which a record begins.
    pub(super) fn line(self, position: &csv::Position) -> u64 {
        let is_header = position.record() == 0;
        let line = match self.ends {
            Ends::CarriageReturn => position.record() + 1,
            Ends::Both if !is_header => position.line() + 1,
            _ => position.line(),
        };
        line + self.lines_before
    }
}

impl Ends {
    /// By the end of the first row.
    fn find(table: &[u8]) -> Self {
        let mut is_quoted = false;
        let is_end = |byte: &u8| {
            is_quoted ^= *byte == b'"';
            !is_quoted && matches!(byte, b'\r' | b'\n')
        };
        let at = table.iter().position(is_end);
        match at.and_then(|at| table.get(at..)) {
            Some([b'\r', b'\n', ..]) => Self::Both,
            Some([b'\r', ..]) => Self::CarriageReturn,
            _ => Self::LineFeed,
        }
    }
}

/// The separator that a first line `sep=;` names, and the length of that line. Quotes around it, and more separators
/// behind it, come from programs that took it for a row.
fn named_separator(text: &[u8]) -> (Option<u8>, usize) {
    let end = text.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(text.len());
    let line: Vec<u8> = text[..end].iter().copied().filter(|&byte| byte != b'"').collect();
    let is_named = line.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"sep="));
    let Some((&separator, more)) = line.get(4..).and_then(<[u8]>::split_first).filter(|_| is_named) else {
        return (None, 0);
    };
    if !separator.is_ascii() || separator.is_ascii_alphanumeric() || more.iter().any(|&byte| byte != separator) {
        return (None, 0);
    }
    let ends = text[end..].iter().take(2);
    let length = match ends.copied().collect::<Vec<_>>()[..] {
        [b'\r', b'\n'] => 2,
        [_, ..] => 1,
        [] => 0,
    };
    (Some(separator), end + length)
}

/// The separator that cuts the header and at least half of the first rows into equally many cells; of several the one
/// that gives the most cells. Where none does, the one that the header has most of.
fn likely_separator(text: &[u8], is_whole: bool) -> u8 {
    let rank = |separator: u8| {
        let reader = csv::ReaderBuilder::new().delimiter(separator).flexible(true).has_headers(false).from_reader(text);
        let mut lengths: Vec<usize> =
            reader.into_byte_records().flatten().take(ROWS + 1).map(|row| row.len()).collect();
        // A row that was cut says nothing.
        if !is_whole && lengths.len() <= ROWS {
            lengths.pop();
        }
        let Some((&width, rows)) = lengths.split_first() else { return (false, 0) };
        let agreeing = rows.iter().filter(|&&length| length == width).count();
        (width > 1 && 2 * agreeing >= rows.len(), width)
    };
    let mut best = (SEPARATORS[0], rank(SEPARATORS[0]));
    for separator in &SEPARATORS[1..] {
        let ranked = rank(*separator);
        if ranked > best.1 {
            best = (*separator, ranked);
        }
    }
    best.0
}

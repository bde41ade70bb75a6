//! Whether a table ends inside a quoted cell: a quote that nobody closed makes one cell of all the rows that follow.

use std::cell::Cell;
use std::io::{self, Read};
use std::rc::Rc;

/// Passes text on and follows its quotes by the rules of the reader of tables: a quote at the beginning of a cell opens
/// it, a quote inside that is not doubled closes it, and any other is a character.
pub(super) struct QuoteWatch<R> {
    inner: R,
    separator: u8,
    state: State,
    is_unclosed: Rc<Cell<bool>>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    CellStart,
    Unquoted,
    Quoted,
    /// Behind a quote in a quoted cell: its end, or the first half of a doubled one.
    Closing,
}

impl<R: Read> QuoteWatch<R> {
    /// The reader, and what will say at the end of the text whether it ended inside a quoted cell.
    pub(super) fn new(inner: R, separator: u8) -> (Self, Rc<Cell<bool>>) {
        let is_unclosed = Rc::new(Cell::new(false));
        (Self { inner, separator, state: State::CellStart, is_unclosed: Rc::clone(&is_unclosed) }, is_unclosed)
    }
}

impl<R: Read> Read for QuoteWatch<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        if count == 0 && !buffer.is_empty() {
            self.is_unclosed.set(self.state == State::Quoted);
        }
        for &byte in &buffer[..count] {
            let is_end = byte == self.separator || byte == b'\n' || byte == b'\r';
            self.state = match (self.state, byte) {
                (State::Quoted, b'"') => State::Closing,
                (State::Quoted, _) => State::Quoted,
                (State::CellStart | State::Closing, b'"') => State::Quoted,
                _ if is_end => State::CellStart,
                _ => State::Unquoted,
            };
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every text of up to six of the characters that matter, beside the reader of tables itself: unclosed is what
    /// another row behind it disappears in.
    #[test]
    fn unclosed_is_what_swallows_the_rows_that_follow() {
        const LETTERS: &[u8] = b"a\",\n";
        for length in 0..=6_u32 {
            for number in 0..(LETTERS.len() as u32).pow(length) {
                let text: Vec<u8> = (0..length).map(|at| LETTERS[(number / 4_u32.pow(at) % 4) as usize]).collect();
                let (watch, is_unclosed) = QuoteWatch::new(&text[..], b',');
                let reader = |text: Box<dyn Read>| {
                    let mut builder = csv::ReaderBuilder::new();
                    builder.has_headers(false).flexible(true).from_reader(text).byte_records().flatten().count()
                };
                io::copy(&mut { watch }, &mut io::sink()).unwrap();
                let longer = [&text[..], b"\nx\nx\nx\n"].concat();
                let shorter = [&text[..], b"\nx\n"].concat();
                let rows = reader(Box::new(io::Cursor::new(longer))) - reader(Box::new(io::Cursor::new(shorter)));
                assert_eq!(is_unclosed.get(), rows == 0, "{:?}", String::from_utf8_lossy(&text));
            }
        }
    }
}

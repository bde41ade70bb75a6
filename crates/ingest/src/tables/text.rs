//! Bytes of a table as UTF-8.

use std::borrow::Cow;
use std::io::{Cursor, Read, Result};

use csv::{ByteRecord, StringRecord};
use encoding_rs::{Decoder, Encoding, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// Bytes of UTF-16 that are turned at a time.
const CHUNK: usize = 1 << 13;

/// Takes the byte order mark off and turns UTF-16 into UTF-8. Other bytes stay as they are, UTF-8 or not.
///
/// # Errors
/// The reader's.
pub(crate) fn as_utf8(mut bytes: Box<dyn Read>) -> Result<Box<dyn Read>> {
    let mut first = Vec::new();
    bytes.by_ref().take(4).read_to_end(&mut first)?;
    let (encoding, mark): (Option<&'static Encoding>, usize) = match first[..] {
        [0xef, 0xbb, 0xbf, ..] => (None, 3),
        [0xff, 0xfe, ..] => (Some(UTF_16LE), 2),
        [0xfe, 0xff, ..] => (Some(UTF_16BE), 2),
        // No text has zeros: the first two characters are ASCII, in two bytes each.
        [1..=255, 0, 1..=255, 0] => (Some(UTF_16LE), 0),
        [0, 1..=255, 0, 1..=255] => (Some(UTF_16BE), 0),
        _ => (None, 0),
    };
    let rest = Cursor::new(first.split_off(mark)).chain(bytes);
    Ok(match encoding {
        None => Box::new(rest),
        Some(encoding) => Box::new(Wide {
            bytes: rest,
            decoder: encoding.new_decoder_without_bom_handling(),
            text: Vec::new(),
            at: 0,
            has_ended: false,
        }),
    })
}

/// UTF-16 as UTF-8; half characters become replacement characters.
struct Wide<R> {
    bytes: R,
    decoder: Decoder,
    /// What was turned, and how much of it was read.
    text: Vec<u8>,
    at: usize,
    has_ended: bool,
}

impl<R: Read> Read for Wide<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        while self.at == self.text.len() && !self.has_ended {
            let mut chunk = [0; CHUNK];
            let count = self.bytes.read(&mut chunk)?;
            self.has_ended = count == 0;
            // Four bytes for each two, and what was left of the chunk before, have room.
            self.text.resize(2 * CHUNK + 64, 0);
            let (_, _, written, _) = self.decoder.decode_to_utf8(&chunk[..count], &mut self.text, self.has_ended);
            self.text.truncate(written);
            self.at = 0;
        }
        let count = (&self.text[self.at..]).read(buffer)?;
        self.at += count;
        Ok(count)
    }
}

/// A record as text, and whether a cell of it had to be read as Windows-1252. It is decided by the cell alone, so that
/// equal bytes are equal text wherever they stand: a patient stays one.
pub(super) fn of_record(record: ByteRecord) -> (StringRecord, bool) {
    match StringRecord::from_byte_record(record) {
        Ok(record) => (record, false),
        Err(error) => {
            let record = error.into_byte_record();
            let text = |cell: &[u8]| match std::str::from_utf8(cell) {
                Ok(text) => text.to_owned(),
                Err(_) => Cow::into_owned(WINDOWS_1252.decode_without_bom_handling(cell).0),
            };
            (record.iter().map(text).collect(), true)
        }
    }
}

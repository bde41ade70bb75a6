//! Segmented palettes (PS3.3, C.7.9.2): tables written as stretches of entries, straight lines and repetitions.

use super::corrupt;
use crate::DecodeError;

/// The entries of a segmented table, from its words or bytes; no more than `count`, whatever the segments say.
///
/// `bytes_per_entry` is 2 for entries of 16 bits and 1 for those of 8, whose operation codes and lengths have 8 bits, too.
pub(super) fn expand(data: &[u16], bytes_per_entry: usize, count: usize) -> Result<Vec<u16>, DecodeError> {
    let mut entries: Vec<u16> = Vec::new();
    let mut at = 0;
    while entries.len() < count {
        at = segment(data, at, bytes_per_entry, count, &mut entries, true)?;
    }
    Ok(entries)
}

/// Appends the entries of the segment at a place, up to `count` in all; returns where the next one begins.
fn segment(
    data: &[u16],
    at: usize,
    bytes_per_entry: usize,
    count: usize,
    entries: &mut Vec<u16>,
    can_refer: bool,
) -> Result<usize, DecodeError> {
    let short = || corrupt(format_args!("a segmented palette of {count} entries ends before them"));
    let &[code, length, ref rest @ ..] = data.get(at..).unwrap_or_default() else { return Err(short()) };
    let length = usize::from(length);
    if length == 0 {
        // Otherwise small files could ask for much time.
        return Err(corrupt("a segmented palette with a segment of no entries"));
    }
    let room = count - entries.len();
    match code {
        0 => {
            let values = rest.get(..length).ok_or_else(short)?;
            entries.extend(values.iter().take(room));
            Ok(at + 2 + length)
        }
        1 => {
            let (&start, &end) = (entries.last().ok_or_else(first)?, rest.first().ok_or_else(short)?);
            let [from, to] = [start, end].map(f64::from);
            let line = (1..=length).map(|step| (from + (to - from) * step as f64 / length as f64).round_ties_even());
            entries.extend(line.take(room).map(|value| value as u16));
            Ok(at + 3)
        }
        2 if can_refer => {
            entries.last().ok_or_else(first)?;
            // The place is in bytes from the beginning of the table, in two words with the lower one first.
            let words = if bytes_per_entry == 2 { 2 } else { 4 };
            let offset = rest.get(..words).ok_or_else(short)?;
            let bits = 8 * bytes_per_entry;
            let offset = offset.iter().rev().fold(0, |offset, &part| offset << bits | usize::from(part));
            let mut source = offset / bytes_per_entry;
            for _ in 0..length {
                if entries.len() == count {
                    break;
                }
                source = segment(data, source, bytes_per_entry, count, entries, false)?;
            }
            Ok(at + 2 + words)
        }
        2 => Err(corrupt("a segmented palette repeats a repetition")),
        _ => Err(corrupt(format_args!("a segmented palette with segments of kind {code}; 0 to 2 are known"))),
    }
}

fn first() -> DecodeError {
    corrupt("a segmented palette begins without an entry")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_stretches_lines_and_repetitions() {
        // Two entries, a line of three to 40, the first two segments again, and one entry more.
        let words = [0, 2, 5, 10, 1, 3, 40, 2, 2, 0, 0, 0, 1, 7];
        let expected = [5, 10, 20, 30, 40, 5, 10, 20, 30, 40, 7];
        assert_eq!(expand(&words, 2, 11).unwrap(), expected);
        assert_eq!(expand(&words, 2, 4).unwrap(), expected[..4]);
        let bytes = [0, 2, 5, 10, 1, 3, 40, 2, 2, 0, 0, 0, 0, 0, 1, 7];
        assert_eq!(expand(&bytes, 1, 11).unwrap(), expected);
        // Lines alone are repeated from the entry before: bytes 8 of the words, byte 4 of the bytes.
        assert_eq!(expand(&[0, 2, 5, 10, 1, 1, 40, 2, 1, 8, 0], 2, 4).unwrap(), [5, 10, 40, 40]);
        assert_eq!(
            expand(&[0, 2, 5, 10, 1, 2, 40, 0, 1, 0, 2, 1, 4, 0, 0, 0], 1, 7).unwrap(),
            [5, 10, 25, 40, 0, 20, 40]
        );
    }

    #[test]
    fn segments_that_lie_are_refused() {
        for (words, count) in [
            (&[][..], 1),
            (&[0, 3, 1, 2], 3),
            (&[1, 3, 40], 3),
            (&[2, 1, 0, 0], 3),
            (&[0, 1, 7, 2, 1, 6, 0], 3),
            (&[0, 1, 7, 2, 1, 0xffff, 0xffff], 3),
            (&[0, 1, 7, 3, 1, 1], 3),
            (&[0, 0, 0, 0], 1),
        ] {
            assert!(expand(words, 2, count).is_err(), "{words:?}");
        }
        // A repetition of nothing makes no entries, and takes none of the time that it asks for.
        let empty: Vec<u16> = [0, 1, 7].into_iter().chain([0, 0].repeat(1000)).chain([2, 65_535, 6, 0]).collect();
        assert!(expand(&empty, 2, 65_536).is_err());
    }
}

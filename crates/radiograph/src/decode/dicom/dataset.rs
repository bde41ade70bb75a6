//! Reads the few attributes that a picture needs from a DICOM data set, token by token.

use std::collections::BTreeMap;
use std::io::{Cursor, Read as _};

use dicom_core::Tag;
use dicom_dictionary_std::tags;
use dicom_encoding::transfer_syntax::{Codec, Endianness, TransferSyntaxIndex as _};
use dicom_parser::StatefulDecode as _;
use dicom_parser::dataset::LazyDataToken;
use dicom_parser::dataset::lazy_read::LazyDataSetReader;
use dicom_transfer_syntax_registry::TransferSyntaxRegistry;

use super::{corrupt, unsupported};
use crate::{DecodeError, DecodeOptions};

/// Attributes kept from the root of the data set. Whatever is not listed is skipped unread.
const WANTED: [Tag; 30] = [
    tags::PATIENT_ID,
    tags::VIEW_POSITION,
    tags::IMAGER_PIXEL_SPACING,
    tags::SAMPLES_PER_PIXEL,
    tags::PHOTOMETRIC_INTERPRETATION,
    tags::PLANAR_CONFIGURATION,
    tags::NUMBER_OF_FRAMES,
    tags::ROWS,
    tags::COLUMNS,
    tags::PIXEL_SPACING,
    tags::BITS_ALLOCATED,
    tags::BITS_STORED,
    tags::HIGH_BIT,
    tags::PIXEL_REPRESENTATION,
    tags::PIXEL_PADDING_VALUE,
    tags::PIXEL_PADDING_RANGE_LIMIT,
    tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
    tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
    tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
    tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    tags::WINDOW_CENTER,
    tags::WINDOW_WIDTH,
    tags::RESCALE_INTERCEPT,
    tags::RESCALE_SLOPE,
    tags::VOILUT_FUNCTION,
    tags::MODALITY_LUT_SEQUENCE,
    tags::VOILUT_SEQUENCE,
    tags::PIXEL_DATA,
];

const EXPLICIT_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2.1";
const IMPLICIT_LITTLE_ENDIAN: &str = "1.2.840.10008.1.2";

const JPEG_LOSSLESS: &str = "1.2.840.10008.1.2.4.57";

/// Whether a transfer syntax is JPEG extended with arithmetic coding to lossless hierarchical (PS3.6 of 1998, table A-1).
fn is_retired_jpeg(uid: &str) -> bool {
    let number = uid.strip_prefix("1.2.840.10008.1.2.4.").and_then(|number| number.parse().ok());
    number.is_some_and(|number: u8| (52..=66).contains(&number))
}

/// Whether bytes without the 128-byte preamble begin like DICOM all the same: `DICM`, a file meta group, or a bare data
/// set that starts with group 0008 as old archives wrote it.
pub(in super::super) fn starts_without_preamble(bytes: &[u8]) -> bool {
    match *bytes {
        [b'D', b'I', b'C', b'M', ..] => true,
        // (0002,0000) FileMetaInformationGroupLength, explicit.
        [0x02, 0x00, 0x00, 0x00, b'U', b'L', ..] => true,
        // (0008,0000..0018) explicit with a known representation, or implicit with a short length.
        [0x08, 0x00, element, 0x00, first, second, third, fourth, ..] if element <= 0x18 => {
            let explicit = matches!(&[first, second], b"UL" | b"CS" | b"UI" | b"DA" | b"SH");
            explicit || (second == 0 && third == 0 && fourth == 0 && (2..=64).contains(&first))
        }
        _ => false,
    }
}

/// A look-up table from `ModalityLUTSequence` or `VOILUTSequence`.
pub(super) struct LookupTable {
    /// `LUTDescriptor` as stored: number of entries, first input value, bits per entry.
    pub(super) descriptor: [u16; 3],
    /// The entries.
    pub(super) entries: Vec<u16>,
}

/// The wanted attributes of a data set.
pub(super) struct Dataset {
    /// UID of the transfer syntax.
    pub(super) transfer_syntax: String,
    /// Name of the transfer syntax, for messages.
    pub(super) transfer_syntax_name: String,
    /// Whether numbers in values are stored with the high byte first.
    pub(super) big_endian: bool,
    /// Raw values at the root.
    values: BTreeMap<Tag, Vec<u8>>,
    /// Raw values of the first item of the look-up table sequences.
    table_values: BTreeMap<(Tag, Tag), Vec<u8>>,
    /// Encapsulated pixel data, without the offset table.
    fragments: Option<Vec<Vec<u8>>>,
}

impl Dataset {
    /// Reads the data set up to and including the pixel data.
    pub(super) fn read(file: &[u8], options: &DecodeOptions) -> Result<Self, DecodeError> {
        Self::read_only(file, &WANTED, options)
    }

    /// [`Dataset::read`] that keeps other attributes of the root.
    pub(super) fn read_only(file: &[u8], wanted: &[Tag], options: &DecodeOptions) -> Result<Self, DecodeError> {
        let (uid, body) = read_file_meta(file)?;
        // Retired JPEG processes lay out the data set as the others do.
        let retired = || if is_retired_jpeg(&uid) { TransferSyntaxRegistry.get(JPEG_LOSSLESS) } else { None };
        let syntax = TransferSyntaxRegistry.get(&uid).or_else(retired).ok_or_else(|| {
            unsupported(format!("transfer syntax {uid} is unknown; convert it to explicit little endian"))
        })?;
        let inflated;
        let body = match syntax.codec() {
            Codec::Dataset(Some(adapter)) => {
                // A deflated file can hold any size: nothing beyond what its pixels may need is unpacked.
                let limit = options.max_bytes();
                let mut unpacked = Vec::new();
                let reader = adapter.adapt_reader(Box::new(body));
                reader.take(limit.saturating_add(1)).read_to_end(&mut unpacked).map_err(corrupt)?;
                if unpacked.len() as u64 > limit {
                    return Err(options.too_many_bytes());
                }
                inflated = unpacked;
                &inflated[..]
            }
            Codec::Dataset(None) => {
                return Err(unsupported(format!(
                    "transfer syntax {} ({uid}); convert it to explicit little endian",
                    syntax.name()
                )));
            }
            _ => body,
        };
        let mut dataset = Self {
            transfer_syntax: uid,
            transfer_syntax_name: syntax.name().to_string(),
            big_endian: syntax.endianness() == Endianness::Big,
            values: BTreeMap::new(),
            table_values: BTreeMap::new(),
            fragments: None,
        };
        let reader = LazyDataSetReader::new_with_ts(Cursor::new(body), syntax).map_err(corrupt)?;
        dataset.walk(reader, wanted, body.len() as u64)?;
        Ok(dataset)
    }

    /// Keeps the wanted values from a stream of tokens; stops after the pixel data.
    fn walk<R>(
        &mut self,
        mut reader: LazyDataSetReader<dicom_parser::DynStatefulDecoder<R>>,
        wanted: &[Tag],
        length: u64,
    ) -> Result<(), DecodeError>
    where
        R: std::io::Read + std::io::Seek,
    {
        // Open sequences with the number of items begun in each.
        let mut open: Vec<(Tag, u32)> = Vec::new();
        let mut fragments: Option<Vec<Vec<u8>>> = None;
        while let Some(token) = reader.advance() {
            let token = token.map_err(corrupt)?;
            match token {
                LazyDataToken::SequenceStart { tag, .. } => {
                    if open.is_empty() && tag > tags::PIXEL_DATA {
                        return Ok(());
                    }
                    if open.is_empty() && tag == tags::DIRECTORY_RECORD_SEQUENCE {
                        return Err(unsupported(
                            "it is the directory of a medium (DICOMDIR), which names images and holds none; give the \
                             folder that it lies in",
                        ));
                    }
                    open.push((tag, 0));
                }
                LazyDataToken::PixelSequenceStart => {
                    if open.is_empty() {
                        fragments = Some(Vec::new());
                    }
                    open.push((tags::PIXEL_DATA, 0));
                }
                LazyDataToken::ItemStart { .. } => {
                    if let Some((_, items)) = open.last_mut() {
                        *items += 1;
                    }
                }
                LazyDataToken::SequenceEnd => {
                    open.pop();
                    if open.is_empty() && fragments.is_some() {
                        self.fragments = fragments;
                        return Ok(());
                    }
                }
                LazyDataToken::LazyValue { header, ref decoder } => {
                    let tag = header.tag;
                    let left = length.saturating_sub(decoder.position());
                    let size =
                        header.len.get().map(u64::from).ok_or_else(|| corrupt(format_args!("{tag} has no length")))?;
                    if size > left {
                        return Err(corrupt(format_args!(
                            "{tag} should have {size} bytes, the file has only {left} left"
                        )));
                    }
                    let place = match open[..] {
                        [] if wanted.contains(&tag) => Some(self.values.entry(tag).or_default()),
                        [(sequence @ (tags::MODALITY_LUT_SEQUENCE | tags::VOILUT_SEQUENCE), 1)]
                            if matches!(tag, tags::LUT_DESCRIPTOR | tags::LUT_DATA) =>
                        {
                            Some(self.table_values.entry((sequence, tag)).or_default())
                        }
                        _ => None,
                    };
                    match place {
                        Some(place) => {
                            place.clear();
                            token.read_value_into(place).map_err(corrupt)?;
                        }
                        None => token.skip().map_err(corrupt)?,
                    }
                    if open.is_empty() && tag == tags::PIXEL_DATA {
                        return Ok(());
                    }
                }
                LazyDataToken::LazyItemValue { len, ref decoder } => {
                    let left = length.saturating_sub(decoder.position());
                    if u64::from(len) > left {
                        return Err(corrupt(format_args!(
                            "a part of the pixel data should have {len} bytes, the file has only {left} left"
                        )));
                    }
                    // The first item is the offset table, which a single frame does not need.
                    match (&mut fragments, &open[..]) {
                        (Some(fragments), [(_, items)]) if *items > 1 => {
                            let mut fragment = Vec::with_capacity(len as usize);
                            token.read_value_into(&mut fragment).map_err(corrupt)?;
                            fragments.push(fragment);
                        }
                        _ => token.skip().map_err(corrupt)?,
                    }
                }
                _ => {}
            }
        }
        if fragments.is_some() {
            return Err(corrupt("the compressed pixel data have no end"));
        }
        if !open.is_empty() {
            return Err(corrupt("the file ends within a sequence"));
        }
        Ok(())
    }

    /// Whether there are pixel data of either kind.
    pub(super) fn has_pixel_data(&self) -> bool {
        self.fragments.is_some() || self.values.contains_key(&tags::PIXEL_DATA)
    }

    /// The native (not encapsulated) pixel data.
    pub(super) fn native_pixels(&self) -> Option<&[u8]> {
        self.values.get(&tags::PIXEL_DATA).map(Vec::as_slice)
    }

    /// The encapsulated pixel data of the only frame in one piece.
    pub(super) fn encapsulated_frame(&self) -> Option<Vec<u8>> {
        self.fragments.as_ref().map(|fragments| fragments.concat())
    }

    /// A value as it is stored.
    pub(super) fn raw(&self, tag: Tag) -> Option<&[u8]> {
        self.values.get(&tag).map(Vec::as_slice)
    }

    /// A text value, trimmed; `None` where missing or empty. Text that is not UTF-8 is read as Latin-1, so that
    /// different bytes stay different.
    pub(super) fn text(&self, tag: Tag) -> Option<String> {
        let bytes = self.values.get(&tag)?;
        let text = match std::str::from_utf8(bytes) {
            Ok(text) => text.to_string(),
            Err(_) => bytes.iter().map(|&byte| char::from(byte)).collect(),
        };
        let trimmed = text.trim_matches(|character: char| character.is_whitespace() || character == '\0');
        (!trimmed.is_empty()).then(|| trimmed.to_string())
    }

    /// The finite numbers of a decimal string with several values. One bad number makes the whole value unusable.
    pub(super) fn decimals(&self, tag: Tag) -> Vec<f64> {
        let parse = |part: &str| part.trim().parse::<f64>().ok().filter(|value| value.is_finite());
        self.text(tag).and_then(|text| text.split('\\').map(parse).collect()).unwrap_or_default()
    }

    /// An unsigned 16-bit value.
    pub(super) fn integer(&self, tag: Tag) -> Option<i64> {
        let pair = self.values.get(&tag)?.first_chunk()?;
        Some(i64::from(self.word(*pair)))
    }

    /// The first table of a sequence, if it is complete.
    pub(super) fn lookup_table(&self, sequence: Tag) -> Result<Option<LookupTable>, DecodeError> {
        let Some(descriptor) = self.table_values.get(&(sequence, tags::LUT_DESCRIPTOR)) else { return Ok(None) };
        let data = self.table_values.get(&(sequence, tags::LUT_DATA)).map_or(&[][..], Vec::as_slice);
        self.table(descriptor, data).map(Some)
    }

    /// The red, green and blue tables of a palette.
    pub(super) fn palette(&self) -> Result<[LookupTable; 3], DecodeError> {
        let color = |descriptor, data| {
            let (Some(descriptor), Some(data)) = (self.raw(descriptor), self.raw(data)) else {
                return Err(unsupported(
                    "a palette image without the tables of its three colours (segmented ones are not read); convert it \
                     to RGB or MONOCHROME2",
                ));
            };
            self.table(descriptor, data)
        };
        Ok([
            color(tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR, tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA)?,
            color(tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR, tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA)?,
            color(tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR, tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA)?,
        ])
    }

    /// A table from its stored descriptor and entries.
    fn table(&self, descriptor: &[u8], data: &[u8]) -> Result<LookupTable, DecodeError> {
        let (words, _) = descriptor.as_chunks();
        let &[count, first, bits] = words else {
            return Err(corrupt(format_args!("a LUTDescriptor of {} bytes instead of 6", descriptor.len())));
        };
        let [count, first, bits] = [count, first, bits].map(|pair| self.word(pair));
        // 0 stands for 65,536, which does not fit.
        let expected = if count == 0 { 1 << 16 } else { usize::from(count) };
        // Entries of 8 bits come either one or two in each word.
        let entries: Vec<u16> = if data.len() >= 2 * expected {
            data.as_chunks().0.iter().take(expected).map(|&pair| self.word(pair)).collect()
        } else if bits <= 8 && data.len() >= expected {
            data.iter().take(expected).map(|&byte| u16::from(byte)).collect()
        } else {
            return Err(corrupt(format_args!("a look-up table of {expected} entries has {} bytes", data.len())));
        };
        if !(1..=16).contains(&bits) {
            return Err(corrupt(format_args!("a look-up table with entries of {bits} bits")));
        }
        Ok(LookupTable { descriptor: [count, first, bits], entries })
    }

    /// A 16-bit number in the byte order of the data set.
    pub(super) fn word(&self, pair: [u8; 2]) -> u16 {
        if self.big_endian { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) }
    }
}

/// The transfer syntax from the file meta group (always explicit little endian), and the data set behind it.
pub(super) fn read_file_meta(file: &[u8]) -> Result<(String, &[u8]), DecodeError> {
    let mut rest = match file {
        _ if file.get(128..132) == Some(b"DICM") => &file[132..],
        [b'D', b'I', b'C', b'M', rest @ ..] => rest,
        _ => file,
    };
    let mut uid = None;
    while let &[0x02, 0x00, element_low, element_high, first, second, ref after @ ..] = rest {
        let cut = || corrupt("the file ends within its file meta group");
        // These representations have a reserved field and a 32-bit length.
        let long = matches!(&[first, second], b"OB" | b"OW" | b"SQ" | b"UN" | b"UT" | b"OF" | b"UC" | b"UR");
        let (length, value) = if long {
            let &[_, _, a, b, c, d, ref value @ ..] = after else { return Err(cut()) };
            (u32::from_le_bytes([a, b, c, d]) as usize, value)
        } else {
            let &[a, b, ref value @ ..] = after else { return Err(cut()) };
            (usize::from(u16::from_le_bytes([a, b])), value)
        };
        let (value, next) = value.split_at_checked(length).ok_or_else(cut)?;
        if (element_low, element_high) == (0x10, 0x00) {
            let text = String::from_utf8_lossy(value);
            uid = Some(text.trim_matches(|c: char| c == '\0' || c.is_whitespace()).to_string());
        }
        rest = next;
    }
    // A bare data set says by its first element whether representations are written out.
    let guessed = || match rest {
        [_, _, _, _, b'A'..=b'Z', b'A'..=b'Z', ..] => EXPLICIT_LITTLE_ENDIAN.to_string(),
        _ => IMPLICIT_LITTLE_ENDIAN.to_string(),
    };
    Ok((uid.unwrap_or_else(guessed), rest))
}

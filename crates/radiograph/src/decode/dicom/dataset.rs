//! Keeps the few attributes that an image needs from a DICOM data set.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::elements::{Element, Event, Fragments, Reader};
use super::file::File;
use super::groups::{Found, Place, ROOT, merged, place};
use super::{corrupt, segmented, syntax, unsupported};
use crate::{DecodeError, DecodeOptions};

/// Attributes kept from the root of the data set. Whatever is not listed is skipped unread.
const WANTED: [Tag; 34] = [
    tags::PRESENTATION_INTENT_TYPE,
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
    tags::PIXEL_ASPECT_RATIO,
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
    tags::SEGMENTED_RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    tags::SEGMENTED_GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    tags::SEGMENTED_BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
    tags::WINDOW_CENTER,
    tags::WINDOW_WIDTH,
    tags::RESCALE_INTERCEPT,
    tags::RESCALE_SLOPE,
    tags::VOILUT_FUNCTION,
    tags::MODALITY_LUT_SEQUENCE,
    tags::VOILUT_SEQUENCE,
];

/// A look-up table from `ModalityLUTSequence` or `VOILUTSequence`.
pub(super) struct LookupTable {
    /// `LUTDescriptor` as stored: number of entries, first input value, bits per entry.
    pub(super) descriptor: [u16; 3],
    /// The entries.
    pub(super) entries: Vec<u16>,
}

/// The wanted attributes of a data set.
pub(super) struct Dataset<'a> {
    /// UID of the transfer syntax.
    pub(super) transfer_syntax: String,
    /// Name of the transfer syntax, for messages.
    pub(super) transfer_syntax_name: &'static str,
    /// Whether native pixel data are stored with the high byte first.
    pub(super) big_endian: bool,
    /// Raw values of the root, or of the functional groups; numbers in little endian, however the file has them.
    values: BTreeMap<Tag, Vec<u8>>,
    /// Raw values of the first item of the look-up table sequences, likewise.
    table_values: BTreeMap<(Tag, Tag), Vec<u8>>,
    /// Whether native pixel data are said to be words (OW), which in big endian are stored the other way round.
    pub(super) pixels_in_words: bool,
    pixels: Option<Pixels>,
    /// What the pixel data are a part of.
    body: Cow<'a, [u8]>,
}

/// Where the pixel data are.
enum Pixels {
    Native(Range<usize>),
    /// Fragments, without the offset table.
    Encapsulated(Vec<Range<usize>>),
}

impl<'a> Dataset<'a> {
    /// Reads the data set up to and including the pixel data.
    pub(super) fn read(file: &'a [u8], options: &DecodeOptions) -> Result<Self, DecodeError> {
        Self::read_only(file, &WANTED, options)
    }

    /// [`Dataset::read`] that keeps other attributes of the root.
    pub(super) fn read_only(file: &'a [u8], wanted: &[Tag], options: &DecodeOptions) -> Result<Self, DecodeError> {
        let File { transfer_syntax, name, encoding, body } = File::open(file, options)?;
        let mut reader = Reader::new(&body, encoding);
        let mut found = Found::default();
        let (mut pixels, mut pixels_in_words, mut big_endian) = (None, false, encoding.big_endian);
        while let Some(event) = reader.next()? {
            let is_root = reader.path().len() == usize::from(matches!(event, Event::Sequence(_)));
            let (Event::Sequence(tag) | Event::Value(Element { tag, .. })) = event;
            if is_root && tag == tags::DIRECTORY_RECORD_SEQUENCE {
                return Err(unsupported(
                    "it is the directory of a medium (DICOMDIR), which names images and holds none; give the \
                     folder that it lies in",
                ));
            }
            if is_root && matches!(tag, tags::MODALITY_LUT_SEQUENCE | tags::VOILUT_SEQUENCE) {
                // A sequence without items is a table without anything, not no table.
                found[ROOT].tables.entry((tag, tags::LUT_DESCRIPTOR)).or_default();
            }
            let Event::Value(element) = event else {
                if is_root && tag > tags::PIXEL_DATA {
                    break;
                }
                continue;
            };
            if is_root && tag == tags::PIXEL_DATA {
                (big_endian, pixels_in_words) = (element.big_endian, element.is_words);
                pixels = Some(Pixels::of(&element, &body, &transfer_syntax)?);
                break;
            }
            match place(reader.path(), tag) {
                Place::Sequence => reader.enter(&element)?,
                Place::Value(values) if !is_root || wanted.contains(&tag) => {
                    found[values].values.insert(tag, little_endian(&element));
                }
                Place::Table(values, table) => {
                    found[values].tables.insert((table, tag), little_endian(&element));
                }
                Place::Value(_) | Place::Nowhere => {}
            }
        }
        let values = merged(found);
        let mut dataset = Self {
            transfer_syntax,
            transfer_syntax_name: name,
            big_endian,
            values: values.values,
            table_values: values.tables,
            pixels_in_words,
            pixels,
            body,
        };
        dataset.believe_pixels();
        Ok(dataset)
    }

    /// Pixel data in fragments under a transfer syntax that does not compress are what they are by their first bytes:
    /// a compressed frame, or native ones in parts (PS3.5, A.4.11).
    fn believe_pixels(&mut self) {
        let Some(Pixels::Encapsulated(fragments)) = &self.pixels else { return };
        if !syntax::is_uncompressed(&self.transfer_syntax) {
            return;
        }
        let first = fragments.first().and_then(|fragment| self.body.get(fragment.clone())).unwrap_or_default();
        if let Some(uid) = syntax::of_frame(first) {
            self.transfer_syntax = uid.to_string();
            self.transfer_syntax_name = syntax::name(uid).unwrap_or_default();
        } else if let [fragment] = &fragments[..] {
            self.pixels = Some(Pixels::Native(fragment.clone()));
        } else {
            let joined = self.encapsulated_frame().unwrap_or_default().into_owned();
            self.pixels = Some(Pixels::Native(0..joined.len()));
            self.body = Cow::Owned(joined);
        }
    }

    /// Whether there are pixel data of either kind.
    pub(super) fn has_pixel_data(&self) -> bool {
        self.pixels.is_some()
    }

    /// The native (not encapsulated) pixel data.
    pub(super) fn native_pixels(&self) -> Option<&[u8]> {
        match &self.pixels {
            Some(Pixels::Native(place)) => self.body.get(place.clone()),
            _ => None,
        }
    }

    /// The encapsulated pixel data of the only frame in one piece.
    pub(super) fn encapsulated_frame(&self) -> Option<Cow<'_, [u8]>> {
        let Some(Pixels::Encapsulated(fragments)) = &self.pixels else { return None };
        let mut parts = fragments.iter().filter_map(|fragment| self.body.get(fragment.clone()));
        Some(match fragments.len() {
            0 | 1 => Cow::Borrowed(parts.next().unwrap_or_default()),
            _ => Cow::Owned(parts.collect::<Vec<_>>().concat()),
        })
    }

    /// A value as it is stored, except that numbers are in little endian.
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

    /// Whether a sequence of tables is there whose first table lacks its descriptor or its entries.
    pub(super) fn has_empty_table(&self, sequence: Tag) -> bool {
        let is_empty = |part| self.table_values.get(&(sequence, part)).is_none_or(Vec::is_empty);
        self.table_values.contains_key(&(sequence, tags::LUT_DESCRIPTOR))
            && (is_empty(tags::LUT_DESCRIPTOR) || is_empty(tags::LUT_DATA))
    }

    /// The first table of a sequence; `None` where there is no such sequence.
    ///
    /// # Errors
    /// A table that is empty or damaged.
    pub(super) fn lookup_table(&self, sequence: Tag) -> Result<Option<LookupTable>, DecodeError> {
        let Some(descriptor) = self.table_values.get(&(sequence, tags::LUT_DESCRIPTOR)) else { return Ok(None) };
        let data = self.table_values.get(&(sequence, tags::LUT_DATA)).map_or(&[][..], Vec::as_slice);
        self.table(descriptor, data).map(Some)
    }

    /// The red, green and blue tables of a palette.
    pub(super) fn palette(&self) -> Result<[LookupTable; 3], DecodeError> {
        let color = |descriptor, data, segmented| match (self.raw(descriptor), self.raw(data), self.raw(segmented)) {
            (Some(descriptor), Some(data), _) => self.table(descriptor, data),
            (Some(descriptor), None, Some(segments)) => self.table(descriptor, &self.expanded(descriptor, segments)?),
            _ => Err(unsupported(
                "a palette image without the tables of its three colours; convert it to RGB or MONOCHROME2",
            )),
        };
        Ok([
            color(
                tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
                tags::RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
                tags::SEGMENTED_RED_PALETTE_COLOR_LOOKUP_TABLE_DATA,
            )?,
            color(
                tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
                tags::GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
                tags::SEGMENTED_GREEN_PALETTE_COLOR_LOOKUP_TABLE_DATA,
            )?,
            color(
                tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DESCRIPTOR,
                tags::BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
                tags::SEGMENTED_BLUE_PALETTE_COLOR_LOOKUP_TABLE_DATA,
            )?,
        ])
    }

    /// The data of a table whose segments are given, with two bytes for each entry.
    fn expanded(&self, descriptor: &[u8], segments: &[u8]) -> Result<Vec<u8>, DecodeError> {
        let (words, _) = descriptor.as_chunks();
        let word = |at: usize| words.get(at).map_or(0, |&pair| self.word(pair));
        let count = if word(0) == 0 { 1 << 16 } else { usize::from(word(0)) };
        let (bytes_per_entry, data) = if word(2) == 8 {
            (1, segments.iter().map(|&byte| u16::from(byte)).collect::<Vec<_>>())
        } else {
            (2, segments.as_chunks().0.iter().map(|&pair| self.word(pair)).collect())
        };
        let entries = segmented::expand(&data, bytes_per_entry, count)?;
        Ok(entries.iter().flat_map(|entry| entry.to_le_bytes()).collect())
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
        // Entries of 8 bits come either one or two in each word. Data of exactly a byte for each entry, padded to an even
        // length, are such whatever the descriptor says.
        let is_bytes = if bits <= 8 { data.len() >= expected } else { data.len() == expected.next_multiple_of(2) };
        let entries: Vec<u16> = if data.len() >= 2 * expected {
            data.as_chunks().0.iter().take(expected).map(|&pair| self.word(pair)).collect()
        } else if is_bytes {
            data.iter().take(expected).map(|&byte| u16::from(byte)).collect()
        } else {
            return Err(corrupt(format_args!("a look-up table of {expected} entries has {} bytes", data.len())));
        };
        if !(1..=16).contains(&bits) {
            return Err(corrupt(format_args!("a look-up table with entries of {bits} bits")));
        }
        Ok(LookupTable { descriptor: [count, first, bits], entries })
    }

    /// A 16-bit number of a kept value.
    pub(super) fn word(&self, pair: [u8; 2]) -> u16 {
        u16::from_le_bytes(pair)
    }
}

impl Pixels {
    /// The places of pixel data within the body.
    fn of(element: &Element<'_>, body: &[u8], transfer_syntax: &str) -> Result<Self, DecodeError> {
        let value = element.at..element.at + element.value.len();
        let is_compressed = !syntax::is_uncompressed(transfer_syntax);
        // Fragments and frames of a compressed image are such with a defined length, too.
        let has_items = element.is_encapsulated || (is_compressed && element.value.starts_with(&[0xfe, 0xff, 0, 0xe0]));
        if !has_items {
            let is_frame = is_compressed && syntax::of_frame(element.value).is_some();
            return Ok(if is_frame { Self::Encapsulated(vec![value]) } else { Self::Native(value) });
        }
        let mut walk = Fragments::new(element.value, element.is_encapsulated);
        let mut fragments = Vec::new();
        while let Some(fragment) = walk.next()? {
            fragments.push(element.at + fragment.start..element.at + fragment.end);
        }
        // The first item is the offset table, which a single frame does not need; some writers leave it out.
        let is_table = match &fragments[..] {
            [] => false,
            [only] => only.is_empty(),
            [first, ..] => body.get(first.clone()).and_then(syntax::of_frame).is_none(),
        };
        fragments.drain(..usize::from(is_table));
        Ok(Self::Encapsulated(fragments))
    }
}

/// A value with its numbers in little endian.
fn little_endian(element: &Element<'_>) -> Vec<u8> {
    let mut value = element.value.to_vec();
    if element.big_endian && is_words(element.tag) {
        value.as_chunks_mut::<2>().0.iter_mut().for_each(|pair| pair.reverse());
    }
    value
}

/// Whether values are numbers of 16 bits. All others that are kept are text.
fn is_words(tag: Tag) -> bool {
    const OF_PALETTES: RangeInclusive<u16> = 0x1101..=0x1223;
    matches!(
        tag,
        tags::SAMPLES_PER_PIXEL
            | tags::PLANAR_CONFIGURATION
            | tags::ROWS
            | tags::COLUMNS
            | tags::BITS_ALLOCATED
            | tags::BITS_STORED
            | tags::HIGH_BIT
            | tags::PIXEL_REPRESENTATION
            | tags::PIXEL_PADDING_VALUE
            | tags::PIXEL_PADDING_RANGE_LIMIT
            | tags::LUT_DESCRIPTOR
            | tags::LUT_DATA
    ) || (tag.group() == 0x0028 && OF_PALETTES.contains(&tag.element()))
}

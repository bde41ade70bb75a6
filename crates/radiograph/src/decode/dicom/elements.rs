//! Walks over the elements of a data set (PS3.5, chapter 7), whatever encoding each is in, without a copy and without
//! recursion.
//!
//! Writers mix encodings: sequences of unknown representation are implicit by the standard, archives put implicit
//! elements under an explicit transfer syntax, and the other way round. So each element is read as what its own bytes
//! say; the transfer syntax is only the first guess. Where the bytes leave a doubt, the reading wins that ends within
//! its container, before another element with a higher tag.

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::{contradictory, corrupt};
use crate::DecodeError;

/// Deeper sequences are refused: real ones are nested less than twenty deep.
const MAX_DEPTH: usize = 1000;

/// Begins an item (PS3.5, 7.5).
const ITEM: Tag = Tag(0xfffe, 0xe000);

/// Ends an item of undefined length.
const ITEM_END: Tag = Tag(0xfffe, 0xe00d);

/// Ends a sequence, or fragments, of undefined length.
const SEQUENCE_END: Tag = Tag(0xfffe, 0xe0dd);

/// Length of an element or item that goes on to its delimiter.
const UNDEFINED: u32 = u32::MAX;

/// How elements are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Encoding {
    /// With a value representation.
    pub(super) explicit: bool,
    /// The high byte first.
    pub(super) big_endian: bool,
}

impl Encoding {
    pub(super) const EXPLICIT: Self = Self { explicit: true, big_endian: false };
    pub(super) const IMPLICIT: Self = Self { explicit: false, big_endian: false };
    pub(super) const BIG_ENDIAN: Self = Self { explicit: true, big_endian: true };

    /// The encoding that the first element of a data set shows, from the one that is claimed.
    pub(super) fn of_first(self, bytes: &[u8]) -> Self {
        let Some(&[low, high, _, _, first, second]) = bytes.first_chunk() else { return self };
        // Data sets begin with a group below 0100.
        let big_endian = match (low, high) {
            (0, 1..) => true,
            (1.., 0) => false,
            _ => self.big_endian,
        };
        let explicit = Form::of([first, second]).is_some() || (self.explicit && is_upper([first, second]));
        Self { explicit, big_endian }
    }

    fn word(self, pair: [u8; 2]) -> u16 {
        if self.big_endian { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) }
    }

    fn long(self, four: [u8; 4]) -> u32 {
        if self.big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
    }
}

/// An element with its value.
pub(super) struct Element<'a> {
    pub(super) tag: Tag,
    /// Where its value begins.
    pub(super) at: usize,
    pub(super) value: &'a [u8],
    /// Whether numbers in the value have the high byte first.
    pub(super) big_endian: bool,
    /// Whether the value is a row of fragments up to and including the delimiter.
    pub(super) is_encapsulated: bool,
    /// Whether it says that its value is a row of words (OW).
    pub(super) is_words: bool,
    /// The encoding of its items, if it is a sequence.
    inner: Encoding,
}

/// What comes next.
pub(super) enum Event<'a> {
    /// A sequence of undefined length began; it is now the last of [`Reader::path`].
    Sequence(Tag),
    /// An element with a value. It may be a sequence of defined length, for [`Reader::enter`].
    Value(Element<'a>),
}

/// A sequence that has begun.
pub(super) struct Open {
    pub(super) tag: Tag,
    /// Items begun.
    pub(super) items: u32,
    encoding: Encoding,
    /// Its end, or that of what it is in.
    limit: usize,
    is_defined: bool,
    item: Item,
}

#[derive(Clone, Copy)]
enum Item {
    Outside,
    EndsAt(usize),
    Undefined,
}

/// How a header is laid out.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    /// A length of 32 bits.
    Implicit,
    /// A representation and a length of 16 bits.
    Short,
    /// A representation, two bytes that are reserved, and a length of 32 bits.
    Long,
}

impl Form {
    /// The form of elements with a representation; `None` for what is no representation (PS3.5, 6.2 and 7.1.2).
    fn of(representation: [u8; 2]) -> Option<Self> {
        match &representation {
            b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" | b"SQ" | b"SV" | b"UC" | b"UN" | b"UR" | b"UT" | b"UV" => {
                Some(Self::Long)
            }
            b"AE" | b"AS" | b"AT" | b"CS" | b"DA" | b"DS" | b"DT" | b"FD" | b"FL" | b"IS" | b"LO" | b"LT" | b"PN"
            | b"SH" | b"SL" | b"SS" | b"ST" | b"TM" | b"UI" | b"UL" | b"US" => Some(Self::Short),
            _ => None,
        }
    }
}

fn is_upper(representation: [u8; 2]) -> bool {
    representation.iter().all(u8::is_ascii_uppercase)
}

/// A header as one form has it.
#[derive(Clone, Copy)]
struct Header {
    form: Form,
    start: usize,
    /// `None` where undefined.
    length: Option<usize>,
}

/// Goes through the elements of a data set.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    encoding: Encoding,
    open: Vec<Open>,
}

impl<'a> Reader<'a> {
    /// Begins at the first element; `encoding` is the first guess.
    pub(super) fn new(bytes: &'a [u8], encoding: Encoding) -> Self {
        Self { bytes, at: 0, encoding, open: Vec::new() }
    }

    /// The sequences that are open, from the outermost on.
    pub(super) fn path(&self) -> &[Open] {
        &self.open
    }

    /// Where the next element begins.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Goes through the items of an element that was just returned, as a sequence of defined length.
    pub(super) fn enter(&mut self, element: &Element<'a>) -> Result<(), DecodeError> {
        self.at = element.at;
        self.push(element.tag, element.inner, element.at + element.value.len(), true)
    }

    /// The next element; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Event<'a>>, DecodeError> {
        loop {
            let Some(sequence) = self.open.last_mut() else {
                if is_blank(&self.bytes[self.at..]) {
                    return Ok(None);
                }
                if self.skip_delimiter(self.bytes.len())? {
                    continue;
                }
                return self.element(self.bytes.len(), self.encoding).map(Some);
            };
            let limit = match sequence.item {
                Item::Outside => {
                    self.next_item()?;
                    continue;
                }
                Item::EndsAt(end) if self.at >= end => {
                    sequence.item = Item::Outside;
                    continue;
                }
                Item::EndsAt(end) => end,
                Item::Undefined => sequence.limit,
            };
            if self.skip_delimiter(limit)? {
                continue;
            }
            let encoding = self.open.last().map_or(self.encoding, |sequence| sequence.encoding);
            return self.element(limit, encoding).map(Some);
        }
    }

    /// Goes over a delimiter, which may be one that no container asks for; `false` before an element.
    fn skip_delimiter(&mut self, limit: usize) -> Result<bool, DecodeError> {
        let Some((tag, _)) = self.delimiter(self.at, limit) else { return Ok(false) };
        match self.open.last_mut() {
            // An item ends with its sequence or with the next item, too.
            Some(sequence) if matches!(sequence.item, Item::Undefined) => {
                sequence.item = Item::Outside;
                self.at += if tag == ITEM_END { 8 } else { 0 };
            }
            _ if tag == ITEM => {
                return Err(contradictory(format_args!("an item without a sequence at byte {}", self.at)));
            }
            _ => self.at += 8,
        }
        Ok(true)
    }

    /// From the end of an item, or the beginning of a sequence, to the beginning of the next item or the sequence's end.
    fn next_item(&mut self) -> Result<(), DecodeError> {
        let at = self.at;
        let Some(&Open { tag, limit, is_defined, .. }) = self.open.last() else { return Ok(()) };
        if is_defined && at >= limit {
            self.open.pop();
            return Ok(());
        }
        let Some((found, encoding)) = self.delimiter(at, limit) else {
            return Err(if limit.saturating_sub(at) < 8 && limit == self.bytes.len() {
                corrupt("the file ends within a sequence")
            } else {
                contradictory(format_args!("byte {at} should begin an item of the sequence {tag}"))
            });
        };
        let length = encoding.long(self.four(at + 4).unwrap_or_default());
        self.at += 8;
        if found == SEQUENCE_END {
            self.open.pop();
        } else if let (true, Some(sequence)) = (found == ITEM, self.open.last_mut()) {
            sequence.items = sequence.items.saturating_add(1);
            sequence.encoding.big_endian = encoding.big_endian;
            sequence.item = match length {
                UNDEFINED => Item::Undefined,
                _ if length as usize > limit - self.at => {
                    return Err(corrupt(format_args!(
                        "an item of {tag} should have {length} bytes, {} are left",
                        limit - self.at
                    )));
                }
                _ => Item::EndsAt(self.at + length as usize),
            };
        }
        Ok(())
    }

    /// The item, or either delimiter, at a place, and the byte order in which it is written.
    fn delimiter(&self, at: usize, limit: usize) -> Option<(Tag, Encoding)> {
        if at + 8 > limit {
            return None;
        }
        let four = self.four(at)?;
        [Encoding::IMPLICIT, Encoding::BIG_ENDIAN].into_iter().find_map(|encoding| {
            let tag = tag(four, encoding);
            let is_delimiter = matches!(tag, ITEM | ITEM_END | SEQUENCE_END);
            is_delimiter.then_some((tag, encoding))
        })
    }

    /// The element that begins here.
    fn element(&mut self, limit: usize, encoding: Encoding) -> Result<Event<'a>, DecodeError> {
        let Some(tag) = self.four(self.at).filter(|_| self.at + 8 <= limit).map(|four| tag(four, encoding)) else {
            return Err(corrupt(match self.open.last() {
                None => "the file ends within an element",
                Some(_) => "the file ends within a sequence",
            }));
        };
        let representation = self.representation(self.at);
        let header = self.header(tag, limit, encoding);
        let explicit = header.form != Form::Implicit;
        let is_unknown = explicit && &representation == b"UN";
        let inner = if is_unknown { Encoding::IMPLICIT } else { Encoding { explicit, ..encoding } };
        let here = self.open.last_mut().map_or(&mut self.encoding, |sequence| &mut sequence.encoding);
        here.explicit = explicit;
        let start = header.start;
        let is_bytes = tag == tags::PIXEL_DATA || (explicit && representation[0] == b'O');
        let length = match header.length {
            Some(length) => length,
            None if is_bytes => self.length_of_fragments(start, limit)?,
            None => {
                self.at = start;
                self.push(tag, inner, limit, false)?;
                return Ok(Event::Sequence(tag));
            }
        };
        let left = limit.saturating_sub(start);
        let Some(value) = self.bytes.get(start..limit).and_then(|rest| rest.get(..length)) else {
            let whole = if limit == self.bytes.len() { "the file" } else { "its item" };
            return Err(corrupt(format_args!("{tag} should have {length} bytes, {whole} has only {left} left")));
        };
        self.at = start + length;
        Ok(Event::Value(Element {
            tag,
            at: start,
            value,
            big_endian: inner.big_endian,
            is_encapsulated: header.length.is_none(),
            is_words: explicit && &representation == b"OW",
            inner,
        }))
    }

    fn push(&mut self, tag: Tag, encoding: Encoding, limit: usize, is_defined: bool) -> Result<(), DecodeError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(contradictory(format_args!("a sequence within {MAX_DEPTH} others, one in the other")));
        }
        self.open.push(Open { tag, items: 0, encoding, limit, is_defined, item: Item::Outside });
        Ok(())
    }

    /// The header that begins here, in the form that its bytes show.
    fn header(&self, tag: Tag, limit: usize, encoding: Encoding) -> Header {
        let representation = self.representation(self.at);
        let known = Form::of(representation);
        let reserved = self.word(self.at + 6).unwrap_or_default();
        let header = |form| self.header_as(form, encoding);
        // A length of many pixels can look like a representation, but not like one of pixels.
        let is_odd = tag == tags::PIXEL_DATA && representation[0] != b'O' && &representation != b"UN";
        let usual = header(known.unwrap_or(Form::Implicit));
        let is_usual = encoding.explicit == known.is_some()
            && !(known == Some(Form::Long) && reserved != [0, 0])
            && !(known.is_some() && is_odd);
        // A short element may be an implicit one whose length looks like a representation.
        let is_sound = match usual.form {
            Form::Short => self.is_followed(tag, &usual, limit, encoding),
            _ => usual.length.is_none_or(|length| length <= limit.saturating_sub(usual.start)),
        };
        if is_usual && is_sound {
            return usual;
        }
        // GDCM calls long representations with a short length VR16; empty ones show by the element that follows.
        let is_short_too = reserved != [0, 0] || Form::of(self.representation(self.at + 8)).is_some();
        let candidates = match known {
            Some(_) if is_odd => &[Form::Implicit, Form::Short][..],
            Some(Form::Long) if is_short_too => &[Form::Long, Form::Short, Form::Implicit],
            Some(Form::Long) => &[Form::Long, Form::Implicit],
            Some(_) => &[Form::Short, Form::Implicit],
            // Representations of the future are long.
            None if is_upper(representation) && reserved == [0, 0] => &[Form::Long, Form::Short, Form::Implicit],
            None if is_upper(representation) => &[Form::Short, Form::Implicit],
            None if reserved == [0, 0] => &[Form::Implicit, Form::Long, Form::Short],
            None => &[Form::Implicit, Form::Short],
        };
        let candidates = candidates.iter().map(|&form| header(form));
        let mut sound = candidates.filter(|header| self.is_followed(tag, header, limit, encoding));
        sound.next().unwrap_or(usual)
    }

    fn header_as(&self, form: Form, encoding: Encoding) -> Header {
        let at = self.at;
        let long = |at| match encoding.long(self.four(at).unwrap_or_default()) {
            UNDEFINED => None,
            length => Some(length as usize),
        };
        match form {
            Form::Implicit => Header { form, start: at + 8, length: long(at + 4) },
            Form::Short => {
                let length = encoding.word(self.word(at + 6).unwrap_or_default());
                Header { form, start: at + 8, length: Some(usize::from(length)) }
            }
            Form::Long => Header { form, start: at + 12, length: long(at + 8) },
        }
    }

    /// Whether something that makes sense follows an element.
    fn is_followed(&self, tag: Tag, header: &Header, limit: usize, encoding: Encoding) -> bool {
        let Some(length) = header.length else { return self.delimiter(header.start, limit).is_some() };
        let end = header.start.saturating_add(length);
        if end >= limit {
            return end == limit;
        }
        if let Some((found, _)) = self.delimiter(end, limit) {
            // An item is what a sequence begins with, not what follows an element.
            return found != ITEM && !self.open.is_empty();
        }
        let Some(next) = self.four(end).map(|four| self::tag(four, encoding)) else { return false };
        let length = encoding.long(self.four(end + 4).unwrap_or_default());
        let is_header = Form::of(self.representation(end)).is_some()
            || length == UNDEFINED
            || (end + 8 <= limit && length as usize <= limit - end - 8);
        (next > tag && is_header) || (self.open.is_empty() && is_blank(&self.bytes[end..]))
    }

    /// From the first of the fragments to behind their delimiter.
    fn length_of_fragments(&self, start: usize, limit: usize) -> Result<usize, DecodeError> {
        let mut fragments = Fragments::new(self.bytes.get(start..limit).unwrap_or_default(), true);
        while fragments.next()?.is_some() {}
        Ok(fragments.at)
    }

    /// What stands where an explicit element at a place would have its representation.
    fn representation(&self, at: usize) -> [u8; 2] {
        self.word(at + 4).unwrap_or_default()
    }

    fn word(&self, at: usize) -> Option<[u8; 2]> {
        self.bytes.get(at..).and_then(<[u8]>::first_chunk).copied()
    }

    fn four(&self, at: usize) -> Option<[u8; 4]> {
        self.bytes.get(at..).and_then(<[u8]>::first_chunk).copied()
    }
}

/// Goes through the fragments of encapsulated pixel data (PS3.5, A.4), the offset table included.
pub(super) struct Fragments<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Whether a delimiter is the end, rather than the last byte.
    is_delimited: bool,
}

impl<'a> Fragments<'a> {
    pub(super) fn new(bytes: &'a [u8], is_delimited: bool) -> Self {
        Self { bytes, at: 0, is_delimited }
    }

    /// Where the next fragment begins and ends; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<std::ops::Range<usize>>, DecodeError> {
        if !self.is_delimited && self.at == self.bytes.len() {
            return Ok(None);
        }
        let reader = Reader::new(self.bytes, Encoding::IMPLICIT);
        let Some((tag, encoding)) = reader.delimiter(self.at, self.bytes.len()) else {
            return Err(if self.at + 8 > self.bytes.len() {
                corrupt("the compressed pixel data have no end")
            } else {
                corrupt("the compressed pixel data are not made of items")
            });
        };
        let length = encoding.long(reader.four(self.at + 4).unwrap_or_default()) as usize;
        self.at += 8;
        if tag != ITEM {
            return Ok(None);
        }
        let left = self.bytes.len() - self.at;
        if length > left {
            return Err(corrupt(format_args!(
                "a part of the pixel data should have {length} bytes, the file has only {left} left"
            )));
        }
        self.at += length;
        Ok(Some(self.at - length..self.at))
    }
}

fn tag([a, b, c, d]: [u8; 4], encoding: Encoding) -> Tag {
    Tag(encoding.word([a, b]), encoding.word([c, d]))
}

/// Whether nothing is left but less than a header of zeros, which some writers put at the end.
fn is_blank(bytes: &[u8]) -> bool {
    bytes.len() < 8 && bytes.iter().all(|&byte| byte == 0)
}

//! From the bytes of a DICOM file to those of its data set (PS3.10, chapter 7): preamble, file meta group, deflation.

use std::borrow::Cow;
use std::io::Read as _;

use dicom_dictionary_std::{tags, uids};

use super::elements::{Encoding, Event, Reader};
use super::{corrupt, syntax, unsupported};
use crate::{DecodeError, DecodeOptions};

/// Whether bytes without the 128-byte preamble begin like DICOM all the same: `DICM`, a file meta group, or a bare data
/// set that starts with group 0008 as old archives wrote it.
pub(in super::super) fn starts_without_preamble(bytes: &[u8]) -> bool {
    match *bytes {
        [b'D', b'I', b'C', b'M', ..] => true,
        // The file meta group begins with its length, version, class or transfer syntax.
        [0x02, 0x00, 0x00 | 0x01 | 0x02 | 0x10, 0x00, first, second, third, fourth, ..] => {
            is_header([first, second, third, fourth])
        }
        // (0008,0000) to (0008,0018), with the low byte first or the high one.
        [0x08, 0x00, element, 0x00, first, second, third, fourth, ..] if element <= 0x18 => {
            is_header([first, second, third, fourth])
        }
        [0x00, 0x08, 0x00, element, first, second, ..] if element <= 0x18 => is_representation([first, second]),
        _ => false,
    }
}

/// A representation that is usual at the beginning, or an implicit length that is.
fn is_header([first, second, third, fourth]: [u8; 4]) -> bool {
    is_representation([first, second]) || (second == 0 && third == 0 && fourth == 0 && (2..=64).contains(&first))
}

fn is_representation(bytes: [u8; 2]) -> bool {
    matches!(&bytes, b"UL" | b"CS" | b"UI" | b"DA" | b"SH" | b"OB" | b"UN")
}

/// A file whose data set can be walked.
pub(super) struct File<'a> {
    /// The transfer syntax of the file meta group, or the one that the first element shows.
    pub(super) transfer_syntax: String,
    /// Its name, for messages.
    pub(super) name: &'static str,
    /// How the first element is written.
    pub(super) encoding: Encoding,
    /// The data set, unpacked.
    pub(super) body: Cow<'a, [u8]>,
}

impl<'a> File<'a> {
    /// Reads the file meta group and unpacks the data set as far as the options allow.
    pub(super) fn open(file: &'a [u8], options: &DecodeOptions) -> Result<Self, DecodeError> {
        let (uid, body) = read_file_meta(file)?;
        let transfer_syntax = uid.unwrap_or_else(|| {
            let guessed = match Encoding::IMPLICIT.of_first(body) {
                Encoding { big_endian: true, .. } => syntax::EXPLICIT_BIG_ENDIAN,
                Encoding { explicit: true, .. } => uids::EXPLICIT_VR_LITTLE_ENDIAN,
                _ => uids::IMPLICIT_VR_LITTLE_ENDIAN,
            };
            guessed.to_string()
        });
        let uid = transfer_syntax.as_str();
        let name = syntax::name(uid).ok_or_else(|| {
            unsupported(format!("transfer syntax {uid} is unknown; convert it to explicit little endian"))
        })?;
        if matches!(uid, uids::JPIP_REFERENCED_DEFLATE | uids::JPIPHTJ2K_REFERENCED_DEFLATE) {
            return Err(unsupported(format!(
                "transfer syntax {name} ({uid}), whose pixels are on a server; fetch them and export the image again"
            )));
        }
        let body = match uid {
            uids::DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN => inflate(body, options)?,
            _ => Cow::Borrowed(body),
        };
        let encoding = syntax::encoding(uid).of_first(&body);
        Ok(Self { name, encoding, body, transfer_syntax })
    }
}

/// The transfer syntax from the file meta group, if it is there, and what is behind the group.
fn read_file_meta(file: &[u8]) -> Result<(Option<String>, &[u8]), DecodeError> {
    let rest = match file {
        _ if file.get(128..132) == Some(b"DICM") => &file[132..],
        [b'D', b'I', b'C', b'M', rest @ ..] => rest,
        _ => file,
    };
    let mut reader = Reader::new(rest, Encoding::EXPLICIT);
    let (mut uid, mut end) = (None, None);
    // The length of the group is often wrong: it only says where a deflated data set begins that looks like the group.
    while rest[reader.position()..].starts_with(&[0x02, 0x00]) && (uid.is_none() || end != Some(reader.position())) {
        let Some(event) = reader.next()? else { break };
        match event {
            Event::Value(element) if element.tag == tags::FILE_META_INFORMATION_GROUP_LENGTH => {
                let length = element.value.first_chunk().map(|&four| u32::from_le_bytes(four) as usize);
                end = length.map(|length| element.at.saturating_add(element.value.len()).saturating_add(length));
            }
            Event::Value(element) if element.tag == tags::TRANSFER_SYNTAX_UID => {
                let text = String::from_utf8_lossy(element.value);
                let text = text.trim_matches(|c: char| c == '\0' || c.is_whitespace());
                uid = (!text.is_empty()).then(|| text.to_string());
            }
            Event::Value(_) => {}
            Event::Sequence(tag) => return Err(corrupt(format_args!("a sequence {tag} in the file meta group"))),
        }
    }
    Ok((uid, &rest[reader.position()..]))
}

/// Unpacks a deflated data set (PS3.5, A.5). Some writers put the header of zlib before it, some do not deflate at all.
/// A deflated file can hold any size: nothing beyond what its pixels may need is unpacked.
fn inflate<'a>(body: &'a [u8], options: &DecodeOptions) -> Result<Cow<'a, [u8]>, DecodeError> {
    if starts_without_preamble(body) {
        return Ok(Cow::Borrowed(body));
    }
    let limit = options.max_bytes();
    let unpack = |reader: &mut dyn std::io::Read| {
        let mut unpacked = Vec::new();
        reader.take(limit.saturating_add(1)).read_to_end(&mut unpacked).map(|_| unpacked)
    };
    let has_header =
        matches!(*body, [first, second, ..] if first & 0x0f == 8 && u16::from_be_bytes([first, second]) % 31 == 0);
    let with_header = has_header.then(|| unpack(&mut flate2::read::ZlibDecoder::new(body)).ok()).flatten();
    let unpacked = match with_header {
        Some(unpacked) => unpacked,
        None => unpack(&mut flate2::read::DeflateDecoder::new(body)).map_err(corrupt)?,
    };
    if unpacked.len() as u64 > limit {
        return Err(options.too_many_bytes());
    }
    Ok(Cow::Owned(unpacked))
}

//! Writes small DICOM files in any encoding: one image, whose control is explicit little endian.

// Each test file that takes this in uses a part of it.
#![allow(dead_code)]

use std::io::Write as _;

use radiograph::{DecodeOptions, Radiograph, decode_bytes};

pub const EXPLICIT: &str = "1.2.840.10008.1.2.1";
pub const IMPLICIT: &str = "1.2.840.10008.1.2";
pub const BIG: &str = "1.2.840.10008.1.2.2";
pub const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
pub const RLE: &str = "1.2.840.10008.1.2.5";
pub const SYNTAXES: [&str; 5] = [EXPLICIT, IMPLICIT, BIG, DEFLATED, RLE];

pub const ROWS: u16 = 9;
pub const COLUMNS: u16 = 14;
pub const END: [u16; 2] = [0xfffe, 0xe0dd];

/// How an element is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Coding {
    Explicit,
    Implicit,
    Big,
}
pub use Coding::{Big, Explicit, Implicit};

pub fn coding_of(syntax: &str) -> Coding {
    match syntax {
        IMPLICIT => Implicit,
        BIG => Big,
        _ => Explicit,
    }
}

#[derive(Clone, Debug)]
pub struct Element {
    pub tag: [u16; 2],
    pub representation: [u8; 2],
    pub value: Value,
}

#[derive(Clone, Debug)]
pub enum Value {
    Bytes(Vec<u8>),
    Words(Vec<u16>),
    /// Items, and whether lengths are defined.
    Items(Vec<Vec<Element>>, bool),
    /// The same as UN of undefined length: implicit little endian inside.
    Unknown(Vec<Vec<Element>>),
    Fragments(Vec<Vec<u8>>),
}
pub use Value::{Bytes, Fragments, Items, Unknown, Words};

pub fn element(tag: [u16; 2], representation: &[u8; 2], value: Value) -> Element {
    Element { tag, representation: *representation, value }
}

pub fn text(tag: [u16; 2], representation: &[u8; 2], value: &str) -> Element {
    element(tag, representation, Bytes(value.as_bytes().to_vec()))
}

pub fn put_word(out: &mut Vec<u8>, coding: Coding, word: u16) {
    out.extend(if coding == Big { word.to_be_bytes() } else { word.to_le_bytes() });
}

pub fn put_long(out: &mut Vec<u8>, coding: Coding, long: u32) {
    out.extend(if coding == Big { long.to_be_bytes() } else { long.to_le_bytes() });
}

pub fn put_header(out: &mut Vec<u8>, coding: Coding, tag: [u16; 2], representation: &[u8; 2], length: u32) {
    tag.iter().for_each(|&word| put_word(out, coding, word));
    if coding == Implicit || tag[0] == 0xfffe {
        return put_long(out, coding, length);
    }
    out.extend(representation);
    if matches!(representation, b"OB" | b"OW" | b"SQ" | b"UN" | b"UT") {
        out.extend([0, 0]);
        put_long(out, coding, length);
    } else {
        put_word(out, coding, length as u16);
    }
}

/// Writes elements; `choose` may change the coding of each, given the depth and its place in the item.
pub fn put(
    out: &mut Vec<u8>,
    elements: &[Element],
    coding: Coding,
    depth: usize,
    choose: &mut dyn FnMut(usize, usize, Coding) -> Coding,
) {
    for (place, Element { tag, representation, value }) in elements.iter().enumerate() {
        let mut coding = choose(depth, place, coding);
        if coding == Implicit && tag[0] != 0x7fe0 && matches!(value, Fragments(_)) {
            // Only a representation says that the items are bytes.
            coding = Explicit;
        }
        match value {
            Bytes(bytes) => {
                put_header(out, coding, *tag, representation, bytes.len() as u32);
                out.extend(bytes);
            }
            Words(words) => {
                put_header(out, coding, *tag, representation, 2 * words.len() as u32);
                words.iter().for_each(|&word| put_word(out, coding, word));
            }
            Items(items, true) => {
                let mut content = Vec::new();
                for item in items {
                    let mut inner = Vec::new();
                    put(&mut inner, item, coding, depth + 1, choose);
                    put_header(&mut content, coding, [0xfffe, 0xe000], b"  ", inner.len() as u32);
                    content.extend(inner);
                }
                put_header(out, coding, *tag, b"SQ", content.len() as u32);
                out.extend(content);
            }
            Items(items, false) | Unknown(items) => {
                let is_unknown = matches!(value, Unknown(_));
                put_header(out, coding, *tag, if is_unknown { b"UN" } else { b"SQ" }, u32::MAX);
                let inner = if is_unknown { Implicit } else { coding };
                for item in items {
                    put_header(out, inner, [0xfffe, 0xe000], b"  ", u32::MAX);
                    let mut same = |_: usize, _: usize, coding: Coding| coding;
                    put(out, item, inner, depth + 1, if is_unknown { &mut same } else { choose });
                    put_header(out, inner, [0xfffe, 0xe00d], b"  ", 0);
                }
                put_header(out, inner, END, b"  ", 0);
            }
            Fragments(fragments) => {
                put_header(out, coding, *tag, representation, u32::MAX);
                for fragment in fragments {
                    put_header(out, coding, [0xfffe, 0xe000], b"  ", fragment.len() as u32);
                    out.extend(fragment);
                }
                put_header(out, coding, END, b"  ", 0);
            }
        }
    }
}

pub fn as_claimed(_: usize, _: usize, coding: Coding) -> Coding {
    coding
}

pub fn pixels() -> Vec<u16> {
    (0..ROWS * COLUMNS).map(|at| at * 137 % 4096).collect()
}

/// Two segments of literal runs, the high bytes first (PS3.5, annex G).
pub fn rle() -> Vec<u8> {
    let segment = |shift: u32| -> Vec<u8> {
        let bytes: Vec<u8> = pixels().iter().map(|&value| (value >> shift) as u8).collect();
        bytes.chunks(100).flat_map(|run| std::iter::once(run.len() as u8 - 1).chain(run.iter().copied())).collect()
    };
    let (high, low) = (segment(8), segment(0));
    let mut out = Vec::new();
    for word in [2, 64, 64 + high.len() as u32] {
        out.extend(word.to_le_bytes());
    }
    out.resize(64, 0);
    out.extend(high);
    out.extend(low);
    out.resize(out.len().next_multiple_of(2), 0);
    out
}

/// The image, without a preamble.
pub fn image(syntax: &str) -> Vec<Element> {
    let number = |element_number: u16, value: u16| element([0x28, element_number], b"US", Words(vec![value]));
    vec![
        text([0x08, 0x16], b"UI", "1.2.840.10008.5.1.4.1.1.1\0"),
        text([0x08, 0x60], b"CS", "DX"),
        text([0x09, 0x10], b"LO", "VENDOR"),
        element([0x09, 0x1001], b"OB", Bytes(vec![7; 300])),
        text([0x10, 0x10], b"PN", ""),
        text([0x10, 0x20], b"LO", "P-17"),
        text([0x18, 0x5101], b"CS", "PA"),
        element([0x28, 0x02], b"US", Words(vec![1])),
        text([0x28, 0x04], b"CS", "MONOCHROME2 "),
        number(0x10, ROWS),
        number(0x11, COLUMNS),
        text([0x28, 0x30], b"DS", "0.2\\0.2 "),
        number(0x100, 16),
        number(0x101, 12),
        number(0x102, 11),
        number(0x103, 0),
        text([0x28, 0x1050], b"DS", "2048"),
        text([0x28, 0x1051], b"DS", "4096"),
        if syntax == RLE {
            element([0x7fe0, 0x10], b"OB", Fragments(vec![Vec::new(), rle()]))
        } else {
            element([0x7fe0, 0x10], b"OW", Words(pixels()))
        },
    ]
}

/// The elements before a place and those from it on.
pub fn halves(at: usize) -> (Vec<Element>, Vec<Element>) {
    let mut before = image(EXPLICIT);
    let after = before.split_off(at);
    (before, after)
}

pub fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn with_meta(syntax: &str, body: &[u8]) -> Vec<u8> {
    let mut uid = syntax.to_string();
    uid.extend((uid.len() % 2 == 1).then_some('\0'));
    let mut meta = Vec::new();
    put(&mut meta, &[text([2, 0x10], b"UI", &uid)], Explicit, 0, &mut as_claimed);
    let mut out = [&[0; 128][..], b"DICM"].concat();
    let length = element([2, 0], b"UL", Bytes((meta.len() as u32).to_le_bytes().to_vec()));
    put(&mut out, &[length], Explicit, 0, &mut as_claimed);
    out.extend(meta);
    out.extend(if syntax == DEFLATED { deflated(body) } else { body.to_vec() });
    out
}

pub fn body(elements: &[Element], coding: Coding) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, elements, coding, 0, &mut as_claimed);
    out
}

pub fn file(syntax: &str, elements: &[Element]) -> Vec<u8> {
    with_meta(syntax, &body(elements, coding_of(syntax)))
}

pub fn decode(bytes: &[u8]) -> Result<Radiograph, String> {
    decode_bytes(bytes, &DecodeOptions::default()).map_err(|error| error.to_string())
}

/// Each value over the greatest: the window is the whole range.
pub fn control() -> Radiograph {
    let control = decode(&file(EXPLICIT, &image(EXPLICIT))).unwrap();
    for (found, value) in control.pixels.iter().zip(pixels()) {
        assert!((found - f32::from(value) / 4095.0).abs() < 1e-6);
    }
    assert_eq!(control.metadata.patient_id.as_deref(), Some("P-17"));
    assert_eq!(control.metadata.view.as_deref(), Some("PA"));
    assert_eq!(control.pixel_spacing_mm, Some([0.2, 0.2]));
    control
}

#[track_caller]
pub fn assert_is_control(control: &Radiograph, bytes: &[u8], what: &dyn std::fmt::Debug) {
    match decode(bytes) {
        Ok(found) => assert_eq!(&found, control, "{what:?}"),
        Err(message) => panic!("{what:?}: {message}"),
    }
}

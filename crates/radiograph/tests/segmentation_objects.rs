//! Segmentation objects of sources of every transfer syntax, with and without what a source may say of itself; checked
//! element by element, and by `dciodvfy` and `dcentvfy` of dicom3tools where they are installed.
//!
//! `DINO_DIFFUSION_KEEP=FOLDER` keeps the pairs of source and object that the tools see, which
//! `golden/dicom/check_segmentations.py` then compares with what highdicom makes of the same sources.

// Says which checks could not be made here.
#![allow(clippy::print_stderr)]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use radiograph::{DecodeOptions, DicomStructure, decode_file, dicom_segmentation};

const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
const BIG_ENDIAN: &str = "1.2.840.10008.1.2.2";
const EXPLICIT: &str = "1.2.840.10008.1.2.1";
const IMPLICIT: &str = "1.2.840.10008.1.2";

/// What a transfer syntax says of loss.
#[derive(Clone, Copy, PartialEq)]
enum Says {
    Lossless,
    /// Lossy, whatever the source says.
    Lossy(&'static str),
    /// Lossy unless the source says "00".
    LossyAsARule(&'static str),
}
use Says::{Lossless, Lossy, LossyAsARule};

/// Each transfer syntax that is read, the fixture with such pixel data (none: native pixels), and what it says.
const SYNTAXES: [(&str, &str, Says); 19] = [
    (IMPLICIT, "", Lossless),
    (EXPLICIT, "", Lossless),
    (BIG_ENDIAN, "", Lossless),
    (DEFLATED, "", Lossless),
    ("1.2.840.10008.1.2.5", "rle_u12", Lossless),
    ("1.2.840.10008.1.2.4.50", "jpeg_baseline_ybr", Lossy("ISO_10918_1")),
    ("1.2.840.10008.1.2.4.51", "jpeg_extended_u12", Lossy("ISO_10918_1")),
    ("1.2.840.10008.1.2.4.57", "jpeg_lossless_predictor4", Lossless),
    ("1.2.840.10008.1.2.4.70", "jpeg_lossless_u12", Lossless),
    ("1.2.840.10008.1.2.4.80", "jls_u12", Lossless),
    ("1.2.840.10008.1.2.4.81", "jls_near", LossyAsARule("ISO_14495_1")),
    ("1.2.840.10008.1.2.4.90", "j2k_u12", Lossless),
    ("1.2.840.10008.1.2.4.91", "j2k_lossy_u12", LossyAsARule("ISO_15444_1")),
    ("1.2.840.10008.1.2.4.201", "htj2k_u12", Lossless),
    ("1.2.840.10008.1.2.4.202", "htj2k_u12", Lossless),
    ("1.2.840.10008.1.2.4.203", "htj2k_lossy_u12", LossyAsARule("ISO_15444_15")),
    ("1.2.840.10008.1.2.4.110", "jxl_u12", Lossless),
    ("1.2.840.10008.1.2.4.111", "jxl_jpeg", Lossy("ISO_10918_1")),
    ("1.2.840.10008.1.2.4.112", "jxl_lossy_u12", LossyAsARule("ISO_18181_1")),
];

/// An element of text: group, element, representation, value.
type Text = (u16, u16, &'static [u8; 2], &'static str);

/// The representation and value of an element.
type Stored = (&'static [u8; 2], Vec<u8>);

/// Computed radiography, digital X-ray, secondary capture, tomography.
const CLASSES: [&str; 4] = [
    "1.2.840.10008.5.1.4.1.1.1",
    "1.2.840.10008.5.1.4.1.1.1.1",
    "1.2.840.10008.5.1.4.1.1.7",
    "1.2.840.10008.5.1.4.1.1.2",
];
const SPACINGS: [&[Text]; 3] = [&[], &[(0x18, 0x1164, b"DS", "0.143\\0.143")], &[(0x28, 0x30, b"DS", "0.2\\0.4")]];
const ORIENTATIONS: [&[Text]; 4] = [
    &[],
    &[(0x20, 0x20, b"CS", "")],
    &[(0x20, 0x20, b"CS", "L\\F")],
    &[(0x20, 0x32, b"DS", "-10\\-20\\5"), (0x20, 0x37, b"DS", "1\\0\\0\\0\\1\\0")],
];
const FRAMES_OF_REFERENCE: [&[Text]; 3] = [
    &[],
    &[(0x20, 0x52, b"UI", "")],
    &[(0x20, 0x52, b"UI", "1.2.826.0.1.3680043.8.498.77"), (0x20, 0x1040, b"LO", "")],
];
const SIDES: [&[Text]; 4] =
    [&[], &[(0x20, 0x60, b"CS", "R")], &[(0x20, 0x62, b"CS", "U")], &[(0x18, 0x15, b"CS", "CHEST")]];
const LOSSES: [&[Text]; 5] = [
    &[],
    &[(0x28, 0x2110, b"CS", "00")],
    &[(0x28, 0x2110, b"CS", "01")],
    &[(0x28, 0x2110, b"CS", "01"), (0x28, 0x2112, b"DS", "9.5"), (0x28, 0x2114, b"CS", "ISO_10918_1")],
    &[(0x28, 0x2110, b"CS", "01"), (0x28, 0x2112, b"DS", "9.5\\3"), (0x28, 0x2114, b"CS", "ISO_10918_1\\ISO_14495_1")],
];

/// One source and what it says.
struct Source {
    syntax: usize,
    orientation: usize,
    frame_of_reference: usize,
    loss: usize,
    height: usize,
    width: usize,
    /// What all values without compression take over what the fragments take.
    ratio: f64,
    bytes: Vec<u8>,
}

/// Pixel data of a fixture, from its tag to the end of the file; the image's rows, columns, samples and bits.
struct Pixels {
    element: Vec<u8>,
    height: usize,
    width: usize,
    samples: u16,
    bits_allocated: u16,
    fragments: usize,
}

fn pixels((syntax, fixture, _): (&str, &str, Says)) -> Pixels {
    if fixture.is_empty() {
        let (height, width) = (6, 5);
        let value = vec![1; height * width * 2];
        let element = element(syntax, (0x7fe0, 0x10), b"OW", &value);
        return Pixels { element, height, width, samples: 1, bits_allocated: 16, fragments: value.len() };
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/dicom").join(format!("{fixture}.dcm"));
    let image = decode_file(&path, &DecodeOptions::default()).unwrap();
    let file = std::fs::read(&path).unwrap();
    let at = file.windows(8).rposition(|window| window == [0xe0, 0x7f, 0x10, 0, b'O', b'B', 0, 0]).unwrap();
    let element = file[at..].to_vec();
    let (mut fragments, mut items, mut rest) = (0, 0, &element[12..]);
    while let [0xfe, 0xff, 0x00, 0xe0, a, b, c, d, after @ ..] = rest {
        let length = u32::from_le_bytes([*a, *b, *c, *d]) as usize;
        fragments += if items > 0 { length } else { 0 };
        items += 1;
        rest = &after[length..];
    }
    Pixels {
        element,
        height: image.height,
        width: image.width,
        samples: if fixture.ends_with("ybr") { 3 } else { 1 },
        bits_allocated: if image.stored_bits > 8 { 16 } else { 8 },
        fragments,
    }
}

fn element(syntax: &str, (group, number): (u16, u16), representation: &[u8; 2], value: &[u8]) -> Vec<u8> {
    let big = syntax == BIG_ENDIAN;
    let two = |value: u16| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let four = |value: u32| if big { value.to_be_bytes() } else { value.to_le_bytes() };
    let mut padded = value.to_vec();
    if padded.len() % 2 == 1 {
        padded.push(if representation == b"UI" { 0 } else { b' ' });
    }
    let mut out = [two(group), two(number)].concat();
    match (syntax, representation) {
        (IMPLICIT, _) => out.extend(four(padded.len() as u32)),
        (_, b"OW" | b"OB") => {
            out.extend(representation);
            out.extend([0, 0]);
            out.extend(four(padded.len() as u32));
        }
        _ => {
            out.extend(representation);
            out.extend(two(padded.len() as u16));
        }
    }
    out.extend(padded);
    out
}

/// The source with this number in the product of all lists above.
fn source(number: usize, syntax: usize, pixels: &Pixels) -> Source {
    encoded_as(SYNTAXES[syntax].0, number, syntax, pixels)
}

/// What the same source says, for tools that cannot read its transfer syntax: without compression, all pixels 0.
fn uncompressed(number: usize, syntax: usize, pixels: &Pixels) -> Source {
    let bytes = pixels.height * pixels.width * usize::from(pixels.samples) * usize::from(pixels.bits_allocated / 8);
    let element = element(EXPLICIT, (0x7fe0, 0x10), b"OW", &vec![0; bytes]);
    encoded_as(EXPLICIT, number, syntax, &Pixels { element, fragments: bytes, ..*pixels })
}

fn encoded_as(uid: &str, number: usize, syntax: usize, pixels: &Pixels) -> Source {
    let mut left = number;
    let mut choose = |length: usize| {
        let chosen = left % length;
        left /= length;
        chosen
    };
    let (loss, orientation) = (choose(LOSSES.len()), choose(ORIENTATIONS.len()));
    let frame_of_reference = choose(FRAMES_OF_REFERENCE.len());
    let lists = [
        LOSSES[loss],
        ORIENTATIONS[orientation],
        FRAMES_OF_REFERENCE[frame_of_reference],
        SPACINGS[choose(SPACINGS.len())],
        SIDES[choose(SIDES.len())],
    ];
    let class = CLASSES[choose(CLASSES.len())];
    let big = uid == BIG_ENDIAN;
    let instance = format!("1.2.826.0.1.3680043.8.498.1.{syntax}.{number}");
    let mut elements: BTreeMap<(u16, u16), Stored> = BTreeMap::new();
    let fixed = [
        (8, 0x5, b"CS", "ISO_IR 192"),
        (8, 0x16, b"UI", class),
        (8, 0x18, b"UI", &instance),
        (8, 0x20, b"DA", "20240229"),
        (8, 0x30, b"TM", "101500"),
        (8, 0x50, b"SH", ""),
        (8, 0x60, b"CS", "OT"),
        (8, 0x90, b"PN", "Ärztin^Erika"),
        (0x10, 0x10, b"PN", "Phantom^Gemalt^Ü"),
        (0x10, 0x20, b"LO", "P-0042"),
        (0x10, 0x30, b"DA", ""),
        (0x10, 0x40, b"CS", "F"),
        (0x20, 0xd, b"UI", "1.2.826.0.1.3680043.8.498.2"),
        (0x20, 0xe, b"UI", "1.2.826.0.1.3680043.8.498.3"),
        (0x20, 0x10, b"SH", "7"),
        (0x20, 0x11, b"IS", "1"),
        (0x20, 0x13, b"IS", "1"),
        (0x28, 0x4, b"CS", "MONOCHROME2"),
    ];
    for (group, number, representation, value) in fixed.into_iter().chain(lists.into_iter().flatten().copied()) {
        elements.insert((group, number), (representation, value.as_bytes().to_vec()));
    }
    let numbers = [
        (0x2, pixels.samples),
        (0x10, pixels.height as u16),
        (0x11, pixels.width as u16),
        (0x100, pixels.bits_allocated),
        (0x101, pixels.bits_allocated),
        (0x102, pixels.bits_allocated - 1),
        (0x103, 0),
    ];
    for (number, value) in numbers {
        elements.insert((0x28, number), (b"US", if big { value.to_be_bytes() } else { value.to_le_bytes() }.into()));
    }
    let mut dataset: Vec<u8> =
        elements.into_iter().flat_map(|(tag, (kind, value))| element(uid, tag, kind, &value)).collect();
    dataset.extend(&pixels.element);
    if uid == DEFLATED {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(&dataset).unwrap();
        dataset = encoder.finish().unwrap();
    }
    let meta: Vec<u8> = [(0x2, class), (0x3, &instance), (0x10, uid), (0x12, "1.2.826.0.1.3680043.8.498.9")]
        .into_iter()
        .flat_map(|(number, value)| element("", (2, number), b"UI", value.as_bytes()))
        .collect();
    let length = element("", (2, 0), b"UL", &(meta.len() as u32).to_le_bytes());
    let values = pixels.height * pixels.width * usize::from(pixels.samples) * usize::from(pixels.bits_allocated / 8);
    Source {
        syntax,
        orientation,
        frame_of_reference,
        loss,
        height: pixels.height,
        width: pixels.width,
        ratio: values as f64 / pixels.fragments as f64,
        bytes: [&[0; 128], b"DICM".as_slice(), &length, &meta, &dataset].concat(),
    }
}

fn object_of(source: &Source, number: u128) -> Vec<u8> {
    let (height, width) = (source.height, source.width);
    let left: Vec<u8> = (0..height * width).map(|at| u8::from(at % width < width / 3)).collect();
    let right: Vec<u8> = (0..height * width).map(|at| u8::from(at % width >= 2 * width / 3)).collect();
    let lung =
        |label, modifier, mask| DicomStructure { label, code: ("39607008", "Lung"), modifier: Some(modifier), mask };
    let structures =
        [lung("Right lung", ("24028007", "Right"), &left[..]), lung("Left lung", ("7771000", "Left"), &right[..])];
    dicom_segmentation(&source.bytes, &structures, "Lungs, without labels", number).unwrap()
}

/// The elements at the root of an object, which must come in ascending order; text without its padding.
fn root(object: &[u8]) -> BTreeMap<(u16, u16), String> {
    let (mut found, mut rest, mut last) = (BTreeMap::new(), &object[132..], (0, 0));
    while let [a, b, c, d, v, r, after @ ..] = rest {
        let tag = (u16::from_le_bytes([*a, *b]), u16::from_le_bytes([*c, *d]));
        assert!(tag > last || last == (0, 0), "{tag:04x?} comes behind {last:04x?}");
        last = tag;
        let (length, head) = match [*v, *r] {
            [b'O', b'B'] | [b'S', b'Q'] => (u32::from_le_bytes(after[2..6].try_into().unwrap()) as usize, 6),
            _ => (usize::from(u16::from_le_bytes([after[0], after[1]])), 2),
        };
        let value = String::from_utf8_lossy(&after[head..head + length]);
        found.insert(tag, value.trim_end_matches(['\0', ' ']).to_owned());
        rest = &after[head + length..];
    }
    found
}

fn value(list: &[Text], tag: (u16, u16)) -> Option<String> {
    list.iter().find(|(group, number, ..)| (*group, *number) == tag).map(|(.., value)| (*value).to_owned())
}

/// Loss, ratio and method that an object of the source must name.
fn expected_loss(source: &Source) -> (&'static str, Option<String>, Option<String>) {
    let (list, says) = (LOSSES[source.loss], SYNTAXES[source.syntax].2);
    let own = value(list, (0x28, 0x2110));
    let method = match says {
        Lossy(method) | LossyAsARule(method) => Some(method.to_owned()),
        Lossless => None,
    };
    let lossy = matches!((says, own.as_deref()), (_, Some("01")) | (Lossy(_), _) | (LossyAsARule(_), None));
    if !lossy {
        return ("00", None, None);
    }
    let ratio = method.as_ref().map(|_| format!("{:.2}", source.ratio));
    ("01", value(list, (0x28, 0x2112)).or(ratio), value(list, (0x28, 0x2114)).or(method))
}

fn number_of_sources() -> usize {
    LOSSES.len() * ORIENTATIONS.len() * FRAMES_OF_REFERENCE.len() * SPACINGS.len() * SIDES.len() * CLASSES.len()
}

#[test]
fn an_object_says_what_its_source_says_of_loss_and_orientation() {
    for (syntax, (uid, ..)) in SYNTAXES.iter().enumerate() {
        let pixels = pixels(SYNTAXES[syntax]);
        for number in 0..number_of_sources() {
            let source = source(number, syntax, &pixels);
            let found = root(&object_of(&source, 7));
            let (loss, ratio, method) = expected_loss(&source);
            let case = format!("{uid}, source {number}");
            assert_eq!(found[&(0x28, 0x2110)], loss, "{case}");
            assert_eq!(found.get(&(0x28, 0x2112)), ratio.as_ref(), "{case}");
            assert_eq!(found.get(&(0x28, 0x2114)), method.as_ref(), "{case}");
            let orientation = value(ORIENTATIONS[source.orientation], (0x20, 0x20)).unwrap_or_default();
            assert_eq!(found[&(0x20, 0x20)], orientation, "{case}");
            let frame =
                value(FRAMES_OF_REFERENCE[source.frame_of_reference], (0x20, 0x52)).filter(|uid| !uid.is_empty());
            assert_eq!(found.get(&(0x20, 0x52)), frame.as_ref(), "{case}");
            assert_eq!(found[&(0x10, 0x10)], "Phantom^Gemalt^Ü", "{case}");
        }
    }
}

/// The lines of a tool that say "Error"; `None` where it is not installed. Its exit status says too little: dciodvfy may
/// print errors and end with 0.
fn errors(tool: &str, files: &[&Path]) -> Option<Vec<String>> {
    let output = match Command::new(tool).args(files).output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            eprintln!("{tool} is not installed (Debian's dicom3tools has it): nothing is checked by it");
            return None;
        }
        Err(error) => panic!("{tool}: {error}"),
    };
    let text = [output.stdout, output.stderr].concat();
    Some(String::from_utf8_lossy(&text).lines().filter(|line| line.starts_with("Error")).map(str::to_owned).collect())
}

#[test]
fn dicom3tools_find_no_error() {
    const TRIED: usize = 24;
    let kept = std::env::var_os("DINO_DIFFUSION_KEEP").map(PathBuf::from);
    let temporary = tempfile::tempdir().unwrap();
    let folder = kept.as_deref().unwrap_or(temporary.path());
    for (syntax, (uid, ..)) in SYNTAXES.iter().enumerate() {
        let pixels = pixels(SYNTAXES[syntax]);
        for turn in 0..TRIED {
            // A stride without a common factor meets every value of every list, in changing company.
            let number = (turn * 1009 + syntax * 61) % number_of_sources();
            let source = source(number, syntax, &pixels);
            let name = |kind: &str| folder.join(format!("{syntax:02}-{turn:02}-{kind}.dcm"));
            let (image, object, plain) = (name("image"), name("seg"), name("plain"));
            std::fs::write(&image, &source.bytes).unwrap();
            std::fs::write(&object, object_of(&source, (syntax * TRIED + turn) as u128)).unwrap();
            let Some(found) = errors("dciodvfy", &[&object]) else { return };
            assert!(found.is_empty(), "{uid}, source {number}: {found:#?}");
            // Debian's dicom3tools reads no deflated data set and knows neither high-throughput JPEG 2000 nor JPEG XL.
            if *uid == DEFLATED || uid.starts_with("1.2.840.10008.1.2.4.2") || uid.starts_with("1.2.840.10008.1.2.4.11")
            {
                std::fs::write(&plain, uncompressed(number, syntax, &pixels).bytes).unwrap();
            }
            let Some(found) = errors("dcentvfy", &[&object, if plain.exists() { &plain } else { &image }]) else {
                return;
            };
            assert!(found.is_empty(), "{uid}, source {number}: {found:#?}");
        }
    }
}

//! Thousands of damaged files through every decoder: a picture or a sentence, never a panic. The same ones each time.

use std::path::Path;

use radiograph::{DecodeOptions, decode_bytes, encode_png_u8, encode_png_u16};

/// Mutations of each file.
const MUTATIONS: usize = 1000;

/// Knuth's MMIX linear congruential generator: enough for damage, and the same everywhere.
struct Draw(u64);

impl Draw {
    /// A number below `end`, which is at least 1.
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % end
    }
}

/// The small files of the golden tests, and plain images.
fn files() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut files = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let is_image = path.extension().is_some_and(|end| ["dcm", "png", "jpg", "jpeg"].iter().any(|&e| end == e));
            if path.is_dir() {
                folders.push(path);
            } else if is_image {
                files.push((path.display().to_string(), std::fs::read(&path).unwrap()));
            }
        }
    }
    let ramp: Vec<u8> = (0..480_u32).map(|at| (at * 7 % 251) as u8).collect();
    files.push(("plain 8-bit PNG".into(), encode_png_u8(&ramp, 20, 24).unwrap()));
    let deep: Vec<u16> = ramp.iter().map(|&value| u16::from(value) * 201).collect();
    files.push(("plain 16-bit PNG".into(), encode_png_u16(&deep, 20, 24).unwrap()));
    // The bare codestream within a DICOM file is a JPEG of its own.
    let wrapped = files.iter().find(|(name, _)| name.ends_with("jpeg_baseline.dcm")).map(|(_, bytes)| bytes.clone());
    let wrapped = wrapped.unwrap();
    let start = wrapped.windows(3).position(|window| window == [0xff, 0xd8, 0xff]).unwrap();
    files.push(("plain JPEG".into(), wrapped[start..].to_vec()));
    files.sort();
    files
}

/// One to four changes: a bit, a byte that decoders find special, a number, a piece cut out, doubled, or taken from
/// another file, an end cut off.
fn mutate(bytes: &[u8], other: &[u8], draw: &mut Draw) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..=draw.below(4) {
        if bytes.len() < 8 {
            return bytes;
        }
        let at = draw.below(bytes.len() - 4);
        let length = 1 + draw.below((bytes.len() - at).min(40));
        match draw.below(7) {
            0 => bytes[at] ^= 1 << draw.below(8),
            1 => bytes[at] = [0, 1, 0x7f, 0x80, 0xfe, 0xff][draw.below(6)],
            2 => bytes[at..at + 4].copy_from_slice(&(draw.below(1 << 31) as u32).to_le_bytes()),
            3 => drop(bytes.drain(at..at + length)),
            4 => {
                let piece = bytes[at..at + length].to_vec();
                bytes.splice(at..at, piece);
            }
            5 => {
                let from = draw.below(other.len());
                let piece = other[from..(from + length).min(other.len())].to_vec();
                bytes.splice(at..(at + piece.len()).min(bytes.len()), piece);
            }
            _ => bytes.truncate(at + length),
        }
    }
    bytes
}

#[test]
fn damaged_files_are_pictures_or_sentences() {
    let files = files();
    // A damaged header may ask for a large picture: the limit that `prepare` sets is larger, and takes longer.
    let options = DecodeOptions { max_pixels: 1 << 20, ..Default::default() };
    let mut draw = Draw(20_240_229);
    let (mut num_read, mut num_refused) = (0, 0);
    for (number, (name, bytes)) in files.iter().enumerate() {
        // Refusals, CMYK among them, are decoders' paths too.
        let is_refused = name.contains("refused") || name.ends_with("cmyk.jpg");
        assert_eq!(decode_bytes(bytes, &options).is_err(), is_refused, "{name}");
        for mutation in 0..MUTATIONS {
            let other = &files[(number + 1 + draw.below(files.len() - 1)) % files.len()].1;
            match decode_bytes(&mutate(bytes, other, &mut draw), &options) {
                Ok(picture) => {
                    num_read += 1;
                    assert_eq!(picture.pixels.len(), picture.height * picture.width, "{name}, mutation {mutation}");
                    assert!(picture.pixels.iter().all(|pixel| (0.0..=1.0).contains(pixel)), "{name}, {mutation}");
                }
                Err(error) => {
                    num_refused += 1;
                    let text = error.to_string();
                    // A decoder that panics is caught, and says that it gave up.
                    assert!(text.len() > 20 && !text.contains("gave up"), "{name}, mutation {mutation}: {text}");
                }
            }
        }
    }
    assert!(num_read > 1000 && num_refused > 1000, "{num_read} pictures and {num_refused} sentences");
}

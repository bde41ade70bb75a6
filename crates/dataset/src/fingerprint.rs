//! Names for content: which network made these encodings, which pixels is this image.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use blake3::Hasher;
use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// The number of hexadecimal digits of a fingerprint: 48 bits, so that ten thousand networks collide with a chance of
/// one in five million.
pub const FINGERPRINT_LEN: usize = 12;

/// The hash of a decoded picture, see [`pixels_hash`], in 64 lower-case hexadecimal digits.
pub type PixelHash = String;

/// The fingerprint of a network: the first [`FINGERPRINT_LEN`] hexadecimal digits of a SHA-256 over the names and
/// bytes of its configuration and weights.
///
/// For a folder these are the files in it (and not deeper) that end in `.json`, `.safetensors`, `.bin`, `.pth` or
/// `.pt`, in the order of their names, so that a README beside them does not matter; for a file, that file's bytes.
///
/// # Errors
/// [`Error::File`], and [`Error::Damaged`] for a folder with no such file.
pub fn fingerprint(path: impl AsRef<Path>) -> Result<String> {
    let path = path.as_ref();
    let mut hasher = Sha256::new();
    if path.is_dir() {
        let files = network_files(path)?;
        if files.is_empty() {
            let detail = "it holds no .safetensors, .bin, .pth, .pt or .json file";
            return Err(Error::damaged("network folder", "give the folder that holds the weights", path, detail));
        }
        for file in files {
            // Lengths are hashed too, so that a byte cannot move from one file into the next unnoticed.
            let name = file.file_name().unwrap_or_default().to_string_lossy();
            hasher.update((name.len() as u64).to_le_bytes());
            hasher.update(name.as_bytes());
            hash_file(&mut hasher, &file)?;
        }
    } else {
        hash_file(&mut hasher, path)?;
    }
    Ok(first_digits(hasher))
}

/// The fingerprint of bytes in memory.
pub fn fingerprint_bytes(bytes: &[u8]) -> String {
    first_digits(Sha256::new_with_prefix(bytes))
}

/// The hash of a decoded picture. Each brightness (`0..=1`, row-major) becomes the whole number `w = round(65535 *
/// brightness)`. The hash is the BLAKE3 of the pixels, one byte `w / 257` each where 257 divides all of them (as in any
/// picture of 8 bits), little-endian `u16` otherwise; then height, width and the number of bytes to a pixel, each as
/// little-endian `u64`. The same picture has the same hash whatever lossless file it came from.
///
/// In Python, for 8 bits: `blake3(pixels.tobytes() + struct.pack("<3Q", height, width, 1))`.
pub fn pixels_hash(pixels: &[f32], height: usize, width: usize) -> PixelHash {
    hash_words(pixels, height, width, to_word)
}

/// [`pixels_hash`] of the picture whose brightness is each sample divided by 255.
pub fn bytes_hash(samples: &[u8], height: usize, width: usize) -> PixelHash {
    finish_pixels(Hasher::new().update(samples), height, width, 1)
}

/// [`pixels_hash`] of the picture whose brightness is the table's entry for each sample.
///
/// # Panics
/// A sample is beyond the end of the table.
pub fn words_hash(samples: &[u16], brightness: &[f32], height: usize, width: usize) -> PixelHash {
    let table: Vec<u16> = brightness.iter().copied().map(to_word).collect();
    hash_words(samples, height, width, |sample| table[usize::from(sample)])
}

/// A brightness of 16 bits.
fn to_word(brightness: f32) -> u16 {
    // Adding a half and truncating is rounding for non-negative numbers, and quicker than `round`.
    (brightness.clamp(0.0, 1.0) * 65535.0 + 0.5) as u16
}

fn hash_words<T: Copy>(pixels: &[T], height: usize, width: usize, word: impl Fn(T) -> u16) -> PixelHash {
    /// What a value of 8 bits is multiplied by to be one of 16.
    const BYTE: u16 = 257;
    if pixels.iter().all(|&pixel| word(pixel).is_multiple_of(BYTE)) {
        hash_as(pixels, height, width, |pixel| [(word(pixel) / BYTE) as u8])
    } else {
        hash_as(pixels, height, width, |pixel| word(pixel).to_le_bytes())
    }
}

/// The hash of pixels of `N` bytes each.
fn hash_as<T: Copy, const N: usize>(
    pixels: &[T],
    height: usize,
    width: usize,
    bytes: impl Fn(T) -> [u8; N],
) -> PixelHash {
    /// Pixels that are hashed at once: with fewer, the hash cannot use the processor's vectors well.
    const CHUNK: usize = 1 << 14;
    let mut hasher = Hasher::new();
    let mut buffer = vec![[0; N]; CHUNK.min(pixels.len())];
    for chunk in pixels.chunks(CHUNK) {
        let buffer = &mut buffer[..chunk.len()];
        for (out, &pixel) in buffer.iter_mut().zip(chunk) {
            *out = bytes(pixel);
        }
        hasher.update(buffer.as_flattened());
    }
    finish_pixels(&mut hasher, height, width, N as u64)
}

fn finish_pixels(hasher: &mut Hasher, height: usize, width: usize, bytes_per_pixel: u64) -> PixelHash {
    for number in [height as u64, width as u64, bytes_per_pixel] {
        hasher.update(&number.to_le_bytes());
    }
    hex(hasher.finalize().as_bytes())
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|&byte| [digit(byte >> 4), digit(byte)]).collect()
}

pub(crate) fn first_digits(hasher: Sha256) -> String {
    let mut digits = hex(&hasher.finalize());
    digits.truncate(FINGERPRINT_LEN);
    digits
}

/// Adds a file's length and bytes.
pub(crate) fn hash_file(hasher: &mut Sha256, path: &Path) -> Result<()> {
    let read_error = || Error::io("read the file", path);
    let mut file = File::open(path).map_err(read_error())?;
    hasher.update(file.metadata().map_err(read_error())?.len().to_le_bytes());
    let mut buffer = vec![0; 1 << 18];
    loop {
        let count = file.read(&mut buffer).map_err(read_error())?;
        if count == 0 {
            return Ok(());
        }
        hasher.update(&buffer[..count]);
    }
}

fn network_files(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io("read the folder", dir))? {
        let path = entry.map_err(Error::io("read the folder", dir))?.path();
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        if matches!(&*extension, "json" | "safetensors" | "bin" | "pth" | "pt") && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The first 64 bits of a [`PixelHash`], as a key: among a million images, two different ones have the same with a chance
/// of one in 37 million. Keys are ordered as the digits are; what is no hexadecimal digit counts as 0.
pub fn pixel_key(hash: &str) -> u64 {
    let digit = |digit: u8| u64::from(char::from(digit).to_digit(16).unwrap_or(0));
    let digits = hash.bytes().map(digit).chain(std::iter::repeat(0));
    digits.take(16).fold(0, |key, digit| key << 4 | digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_relevant_byte_and_name_counts_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| fs::write(dir.path().join(name), content).unwrap();
        assert!(fingerprint(dir.path()).is_err());
        write("config.json", "{}");
        write("model.safetensors", "weights");
        let first = fingerprint(dir.path()).unwrap();
        assert_eq!(first.len(), FINGERPRINT_LEN);
        write("README.md", "hello");
        assert_eq!(fingerprint(dir.path()).unwrap(), first);
        write("model.safetensors", "weightz");
        assert_ne!(fingerprint(dir.path()).unwrap(), first);
        // A byte that moves from one file to the next changes the fingerprint.
        write("config.json", "{}w");
        write("model.safetensors", "eights");
        assert_ne!(fingerprint(dir.path()).unwrap(), first);
    }

    #[test]
    fn sha256_is_the_published_one() {
        // FIPS 180-4 example: "abc".
        assert_eq!(fingerprint_bytes(b"abc"), "ba7816bf8f01");
        assert_eq!(hex(&[0x00, 0xff, 0x1a]), "00ff1a");
    }

    #[test]
    fn pixel_hashes_tell_shapes_and_values_apart() {
        let pixels = [0.0, 0.5, 1.0, 0.25, 0.5, 0.75];
        let hash = pixels_hash(&pixels, 2, 3);
        assert_eq!(hash.len(), 64);
        assert_ne!(hash, pixels_hash(&pixels, 3, 2));
        let mut other = pixels;
        other[1] += 1.0 / 65535.0;
        assert_ne!(hash, pixels_hash(&other, 2, 3));
        other[1] = 0.5 + 1e-7;
        assert_eq!(hash, pixels_hash(&other, 2, 3));
    }

    #[test]
    fn a_picture_has_one_hash_however_it_is_stored() {
        let bytes: Vec<u8> = (0..40_000_u32).map(|at| (at * at / 7) as u8).collect();
        let hash = bytes_hash(&bytes, 200, 200);
        let pixels: Vec<f32> = bytes.iter().map(|&byte| f32::from(byte) / 255.0).collect();
        assert_eq!(hash, pixels_hash(&pixels, 200, 200));
        let words: Vec<u16> = bytes.iter().map(|&byte| u16::from(byte)).collect();
        let table: Vec<f32> = (0..256_u16).map(|value| f32::from(value) / 255.0).collect();
        assert_eq!(hash, words_hash(&words, &table, 200, 200));
        // One pixel between two bytes makes it another picture, of 16 bits.
        let (mut words, mut pixels) = (words, pixels);
        words[39_999] = 256;
        pixels[39_999] = 1000.0 / 65535.0;
        let table = [&table[..], &[1000.0 / 65535.0]].concat();
        let other = words_hash(&words, &table, 200, 200);
        assert_ne!(hash, other);
        assert_eq!(other, pixels_hash(&pixels, 200, 200));
    }

    #[test]
    fn pixel_hashes_are_what_other_programs_compute() {
        // Python: blake3(bytes([0, 51, 255]) + struct.pack("<3Q", 1, 3, 1)).hexdigest() and, of 16 bits,
        // blake3(struct.pack("<3H", 0, 1, 65535) + struct.pack("<3Q", 1, 3, 2)).hexdigest()
        assert_eq!(bytes_hash(&[0, 51, 255], 1, 3), "75a1822ffd3014fc06f895dd7154995955b9e8a53970e03712992d57eade444c");
        assert_eq!(
            pixels_hash(&[0.0, 1.0 / 65535.0, 1.0], 1, 3),
            "43206a1e0b7984ca071465cebdae67d7a6430dbb26821c7e6fdfca25b2932c96"
        );
    }

    #[test]
    fn pixel_keys_are_the_first_digits_of_the_hash() {
        assert_eq!(pixel_key(&format!("00ff10{}", "0".repeat(58))), 0x00ff_1000_0000_0000);
        assert_eq!([pixel_key("1"), pixel_key("")], [0x1000_0000_0000_0000, 0]);
        assert_ne!(pixel_key(&"1".repeat(64)), pixel_key(&"2".repeat(64)));
    }
}

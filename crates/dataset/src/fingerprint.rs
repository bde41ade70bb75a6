//! Names for content: which network made these encodings, which pixels is this image.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// The number of hexadecimal digits of a fingerprint: 48 bits, so that ten thousand networks collide with a chance of
/// one in five million.
pub const FINGERPRINT_LEN: usize = 12;

/// A SHA-256 in 64 lower-case hexadecimal digits.
pub type Sha256Hex = String;

/// The fingerprint of a network: the first [`FINGERPRINT_LEN`] hexadecimal digits of a SHA-256 over the names and
/// bytes of its configuration and weights.
///
/// For a folder these are the files in it (and not deeper) that end in `.json`, `.safetensors`, `.bin`, `.pth` or
/// `.pt`, in the order of their names, so that a README beside them does not matter; for a file, that file's bytes.
///
/// # Errors
/// [`Error::Io`], and [`Error::Damaged`] for a folder with no such file.
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

/// The SHA-256 of a decoded picture: its height and width as little-endian `u64`, then its brightness (`0..=1`,
/// row-major) as `u16` of `round(65535 * brightness)`. The same picture has the same hash whatever lossless file it
/// came from.
pub fn pixels_sha256(pixels: &[f32], height: usize, width: usize) -> Sha256Hex {
    hash_pixels(pixels, height, width, |pixel| {
        // Adding a half and truncating is rounding for non-negative numbers, and quicker than `round`.
        ((pixel.clamp(0.0, 1.0) * 65535.0 + 0.5) as u16).to_le_bytes()
    })
}

/// [`pixels_sha256`] of the picture whose brightness is each sample divided by 255.
pub fn bytes_sha256(samples: &[u8], height: usize, width: usize) -> Sha256Hex {
    hash_pixels(samples, height, width, |sample| [sample; 2]) // 257 times the sample
}

/// [`pixels_sha256`] of the picture whose brightness is the table's entry for each sample.
///
/// # Panics
/// A sample is beyond the end of the table.
pub fn words_sha256(samples: &[u16], brightness: &[f32], height: usize, width: usize) -> Sha256Hex {
    let table: Vec<[u8; 2]> =
        brightness.iter().map(|value| ((value.clamp(0.0, 1.0) * 65535.0 + 0.5) as u16).to_le_bytes()).collect();
    hash_pixels(samples, height, width, |sample| table[usize::from(sample)])
}

fn hash_pixels<T: Copy>(pixels: &[T], height: usize, width: usize, word: impl Fn(T) -> [u8; 2]) -> Sha256Hex {
    const CHUNK: usize = 4096;
    let mut hasher = Sha256::new();
    hasher.update((height as u64).to_le_bytes());
    hasher.update((width as u64).to_le_bytes());
    let mut words = [[0; 2]; CHUNK];
    for chunk in pixels.chunks(CHUNK) {
        let words = &mut words[..chunk.len()];
        for (out, &pixel) in words.iter_mut().zip(chunk) {
            *out = word(pixel);
        }
        hasher.update(words.as_flattened());
    }
    hex(&hasher.finalize())
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

/// The first 64 bits of a [`Sha256Hex`], as a key: among a million images, two different ones have the same with a chance
/// of one in 37 million. Keys are ordered as the digits are; what is no hexadecimal digit counts as 0.
pub fn pixel_key(sha256: &str) -> u64 {
    let digit = |digit: u8| u64::from(char::from(digit).to_digit(16).unwrap_or(0));
    let digits = sha256.bytes().map(digit).chain(std::iter::repeat(0));
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
        let hash = pixels_sha256(&pixels, 2, 3);
        assert_eq!(hash.len(), 64);
        assert_ne!(hash, pixels_sha256(&pixels, 3, 2));
        let mut other = pixels;
        other[1] += 1.0 / 65535.0;
        assert_ne!(hash, pixels_sha256(&other, 2, 3));
        other[1] = 0.5 + 1e-7;
        assert_eq!(hash, pixels_sha256(&other, 2, 3));
    }

    #[test]
    fn pixel_keys_are_the_first_digits_of_the_hash() {
        assert_eq!(pixel_key(&format!("00ff10{}", "0".repeat(58))), 0x00ff_1000_0000_0000);
        assert_eq!([pixel_key("1"), pixel_key("")], [0x1000_0000_0000_0000, 0]);
        assert_ne!(pixel_key(&"1".repeat(64)), pixel_key(&"2".repeat(64)));
    }
}

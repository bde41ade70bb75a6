//! Names for content: the same files have the same name wherever they lie.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::{Error, Result};

/// The number of hexadecimal digits of a fingerprint: 48 bits, so that ten thousand networks collide with a chance of
/// one in five million.
pub const FINGERPRINT_LEN: usize = 12;

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

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    bytes.iter().flat_map(|&byte| [digit(byte >> 4), digit(byte)]).collect()
}

/// A fingerprint by a hash that has been fed.
pub fn first_digits(hasher: Sha256) -> String {
    let mut digits = hex(&hasher.finalize());
    digits.truncate(FINGERPRINT_LEN);
    digits
}

/// Adds a file's length and bytes.
pub fn hash_file(hasher: &mut Sha256, path: &Path) -> Result<()> {
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
}

//! The key that patients are hashed with: the one that was given, or one that stays with the dataset.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use dataset::{Dataset, PatientSalt};

use super::PrepareConfig;
use super::ending::SKIPPED_FILE;
use super::part::PART_FILE;

/// Where a dataset keeps its own salt.
pub(super) fn own_salt(config: &PrepareConfig) -> PathBuf {
    config.out.join("private/patient-salt")
}

/// The salt that was given, or the dataset's own.
pub(super) fn open_salt(config: &PrepareConfig) -> Result<PatientSalt> {
    if let Some(path) = &config.salt_file {
        return Ok(PatientSalt::open(path)?);
    }
    let own = own_salt(config);
    ensure!(
        own.is_file() || !config.out.join("dataset.toml").is_file(),
        "the key that the dataset's patients were hashed with is not there, so new patients cannot be told from those \
         that it has; give the file by `--salt-file`: {}",
        own.display()
    );
    // A folder that holds something else is refused before anything is put into it.
    let out = &config.out;
    let occupied = out.is_dir() && !Dataset::is_dataset(out) && holds_other_files(out)?;
    ensure!(!occupied, "the output folder holds other files; choose an empty or a new folder: {}", out.display());
    Ok(PatientSalt::open_or_create(own)?)
}

fn holds_other_files(dir: &Path) -> Result<bool> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("the folder cannot be read: {}", dir.display()))?;
    let known = |name: &str| matches!(name, "private" | "partial" | SKIPPED_FILE | PART_FILE) || name.starts_with('.');
    Ok(entries.flatten().any(|entry| !known(&entry.file_name().to_string_lossy())))
}

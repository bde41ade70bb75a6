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

/// Refuses a salt that cannot be had and a folder that cannot be written or holds something else, before the sources are
/// looked through. Nothing is written.
pub(super) fn check_places(config: &PrepareConfig) -> Result<()> {
    let out = &config.out;
    files::check_writable(out)?;
    // A folder that holds something else is refused before anything is put into it.
    let occupied = out.is_dir() && !Dataset::is_dataset(out) && holds_other_files(out)?;
    ensure!(!occupied, "the output folder holds other files; choose an empty or a new folder: {}", out.display());
    if let Some(path) = &config.salt_file {
        PatientSalt::open(path)?;
        return Ok(());
    }
    let own = own_salt(config);
    ensure!(
        own.is_file() || !config.out.join("dataset.toml").is_file(),
        "the key that the dataset's patients were hashed with is not there, so new patients cannot be told from those \
         that it has; give the file by `--salt-file`: {}",
        own.display()
    );
    Ok(())
}

/// The salt that was given, or the dataset's own.
pub(super) fn open_salt(config: &PrepareConfig) -> Result<PatientSalt> {
    Ok(match &config.salt_file {
        Some(path) => PatientSalt::open(path)?,
        None => PatientSalt::open_or_create(own_salt(config))?,
    })
}

fn holds_other_files(dir: &Path) -> Result<bool> {
    let entries = std::fs::read_dir(dir).with_context(|| format!("the folder cannot be read: {}", dir.display()))?;
    let known = |name: &str| matches!(name, "private" | "partial" | SKIPPED_FILE | PART_FILE) || name.starts_with('.');
    Ok(entries.flatten().any(|entry| !known(&entry.file_name().to_string_lossy())))
}

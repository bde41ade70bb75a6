//! Masks carried back to the DICOM files that images came from, as segmentation objects.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use dataset::{Dataset, ManifestRow};
use radiograph::{
    DecodeOptions, DicomStructure, content_box, decode_bytes, dicom_dimensions, dicom_segmentation, is_dicom,
};
use sha2::{Digest, Sha256};

use super::Lungs;
use crate::prepare;

/// Where sources lie and how they were fitted into the dataset's squares.
pub(super) struct DicomSources {
    folder: PathBuf,
    fit: radiograph::Fit,
    /// Whether borders were cut off before that, and the limit on pixels with which images were decoded.
    crop_borders: bool,
    options: DecodeOptions,
    /// Of the model: another model makes other objects.
    fingerprint: String,
    out: PathBuf,
}

impl DicomSources {
    /// # Errors
    /// A dataset that does not say how its images were fitted.
    pub(super) fn new(folder: &Path, dataset: &Dataset, fingerprint: &str, out: &Path) -> Result<Self> {
        let fit = dataset.info().preparation.get("fit").cloned().with_context(|| {
            format!("the dataset does not say how images were fitted; prepare it anew: {}", dataset.dir().display())
        })?;
        let fit: prepare::Fit = fit.try_into().context("the dataset's way to fit images is not known")?;
        let setting = |name: &str| dataset.info().preparation.get(name);
        let crop_borders = setting("crop_borders").and_then(toml::Value::as_bool).unwrap_or(false);
        let mut options = DecodeOptions::default();
        if let Some(max_pixels) = setting("max_pixels").and_then(toml::Value::as_integer) {
            options.max_pixels = max_pixels.unsigned_abs();
        }
        let out = out.join("dicom_seg");
        std::fs::create_dir_all(&out).with_context(|| format!("the folder cannot be made: {}", out.display()))?;
        Ok(Self { folder: folder.into(), fit: fit.into(), crop_borders, options, fingerprint: fingerprint.into(), out })
    }

    /// Writes the object of one image; whether there was one to write: sources that are not DICOM have none, nor have
    /// images without lungs.
    ///
    /// # Errors
    /// A source that is missing or lacks what an object needs.
    pub(super) fn write(&self, row: &ManifestRow, lungs: &Lungs, size: usize) -> Result<bool> {
        let path = self.folder.join(&row.source_file);
        let source = std::fs::read(&path).with_context(|| {
            format!("its source cannot be read; give the folder that was prepared: {}", path.display())
        })?;
        if !is_dicom(&source) {
            return Ok(false);
        }
        let context = || format!("no segmentation object can be made for {}", path.display());
        let [height, width] = dicom_dimensions(&source).with_context(context)?;
        let mut content = [0, 0, height, width];
        if self.crop_borders {
            content = content_box(&decode_bytes(&source, &self.options).with_context(context)?);
        }
        let mut geometry = self.fit.geometry(content[2], content[3], size);
        geometry.source[0] += content[0] as f64;
        geometry.source[1] += content[1] as f64;
        let restored = [&lungs.right, &lungs.left].map(|mask| geometry.restore_mask(mask, size, height, width));
        let names = [("Right lung", ("24028007", "Right")), ("Left lung", ("7771000", "Left"))];
        let structures: Vec<DicomStructure<'_>> = names
            .into_iter()
            .zip(&restored)
            .filter(|(_, mask)| mask.contains(&1))
            .map(|((label, side), mask)| DicomStructure {
                label,
                code: ("39607008", "Lung"),
                modifier: Some(side),
                mask,
            })
            .collect();
        if structures.is_empty() {
            return Ok(false);
        }
        let mut hasher = Sha256::new();
        hasher.update(self.fingerprint.as_bytes());
        hasher.update(&source);
        restored.iter().for_each(|mask| hasher.update(mask));
        // 120 bits, so that a few identifiers can be counted up from it.
        let number = hasher.finalize().iter().take(15).fold(0_u128, |number, byte| (number << 8) | u128::from(*byte));
        let object =
            dicom_segmentation(&source, &structures, "Lungs, found without labels", number).with_context(context)?;
        dataset::write_file(self.out.join(format!("{}.dcm", row.id)), &object)?;
        Ok(true)
    }
}

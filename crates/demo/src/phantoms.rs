//! The phantoms as a dataset, with exact lung masks and labels.

use std::path::Path;

use anyhow::Result;
use dataset::{Dataset, DatasetSettings, DatasetWriter, ManifestRow, SplitPlan};
use radiograph::{Phantom, PhantomImage};
use rayon::prelude::*;

use super::DemoConfig;
use messages::Progress;

/// Phantoms in memory at a time; also the shard size, so that a kill loses at most these.
const CHUNK: usize = 128;

/// Draws the phantoms that are not there yet.
pub(super) fn make(config: &DemoConfig, folder: &Path, progress: &dyn Progress) -> Result<()> {
    if folder.join("dataset.toml").is_file() {
        Dataset::open(folder)?;
        return Ok(());
    }
    let size = config.recipe.data.image_size;
    let mut settings = DatasetSettings::new(size);
    settings.shard_size = CHUNK;
    settings.seed = config.seed;
    settings.preparation.insert("source".into(), "built-in phantoms, drawn, not real".into());
    settings.preparation.insert("num_phantoms".into(), (config.num_phantoms as i64).into());
    let mut writer = DatasetWriter::create_or_resume(folder, settings)?;

    let begin = writer.num_committed().min(config.num_phantoms);
    progress.begin("drawing phantoms", (config.num_phantoms - begin) as u64, "phantoms");
    for first in (begin..config.num_phantoms).step_by(CHUNK) {
        let numbers = first..(first + CHUNK).min(config.num_phantoms);
        let drawn: Vec<PhantomImage> = numbers
            .clone()
            .into_par_iter()
            .map(|number| Phantom::from_seed(config.seed, number as u64).render(size))
            .collect();
        for (number, image) in numbers.zip(&drawn) {
            let pixels = radiograph::to_u8(&image.radiograph.pixels);
            writer.push(row(config, number, image, size), &pixels, Some(&image.lungs().pixels))?;
        }
        progress.advance(drawn.len() as u64, "");
    }
    progress.end();
    writer.finish()?;
    Ok(())
}

fn row(config: &DemoConfig, number: usize, image: &PhantomImage, size: usize) -> ManifestRow {
    let name = format!("phantom-{number:05}");
    ManifestRow {
        source_file: format!("seed-{}/{name}", config.seed),
        pixel_hash: dataset::pixels_hash(&image.radiograph.pixels, size, size),
        // Nobody's data: a name is no secret here, and each phantom is a patient of its own.
        split: SplitPlan { seed: config.seed, ..SplitPlan::default() }.assign(&name),
        patient: files::fingerprint_bytes(name.as_bytes()),
        id: name,
        view: Some("PA".into()),
        labels: image.findings.labels().into_iter().map(str::to_owned).collect(),
        labels_negative: Vec::new(),
        labels_uncertain: Vec::new(),
        mask: true,
        collection: Some("phantoms".into()),
        licence: None,
        perceptual_hash: None,
        pixel_spacing_mm: None,
        provenance: None,
    }
}

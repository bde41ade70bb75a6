//! Pre-training on a handful of phantoms with tiny networks: plumbing, not results.

mod autoencoder;
mod encoder;

use dataset::{DatasetSettings, DatasetWriter, ManifestRow, Split};
use std::path::{Path, PathBuf};

const SIZE: usize = 64;

/// A dataset of 16 training and 8 validation images.
fn phantoms(folder: &Path) -> PathBuf {
    let out = folder.join("dataset");
    let mut writer = DatasetWriter::create_or_resume(&out, DatasetSettings::new(SIZE)).unwrap();
    for index in 0..24 {
        let phantom = radiograph::Phantom::from_seed(1, index as u64).render(SIZE);
        let pixels = &phantom.radiograph.pixels;
        let row = ManifestRow {
            id: format!("phantom-{index:02}"),
            source_file: format!("{index}.png"),
            pixel_hash: dataset::pixels_hash(pixels, SIZE, SIZE),
            labels: vec![["even", "odd"][index % 2].into()],
            ..ManifestRow::bare(format!("patient-{index:02}"), if index < 16 { Split::Train } else { Split::Val })
        };
        writer.push(row, &radiograph::to_u8(pixels), None).unwrap();
    }
    writer.finish().unwrap();
    out
}

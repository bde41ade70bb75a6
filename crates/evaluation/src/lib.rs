//! Evaluation: what images are worth that came out of a network, as figures with their number of images and, where
//! there is one, a floor to read them by.

pub mod augmentation;
pub mod autoencoder;
pub mod conditioning;
pub mod encoder;
pub mod features;
pub mod fidelity;
pub mod memorisation;
pub mod segmentation;

use std::path::Path;

use anyhow::{Result, ensure};
use dataset::Dataset;
use serde::Serialize;

use files::outputs;

/// Pixels are averaged down to at most this side before they are features.
const PIXELS_SIDE: usize = 32;

/// The largest side up to [`PIXELS_SIDE`] that divides the images' side.
fn reduced_side(size: usize) -> usize {
    (1..=PIXELS_SIDE).rev().find(|side| size.is_multiple_of(*side)).unwrap_or(1)
}

/// Writes a result as JSON. Its first entry, `kind`, is the name of the evaluation, by which a report knows it.
fn write_result<R: Serialize>(path: &Path, kind: &str, result: &R) -> Result<()> {
    #[derive(Serialize)]
    struct Named<'a, R> {
        kind: &'a str,
        #[serde(flatten)]
        result: &'a R,
    }
    Ok(outputs::write_file(path, serde_json::to_string_pretty(&Named { kind, result })?.as_bytes())?)
}

/// Real and synthetic images can only be compared at one size.
fn check_sizes(real: &Dataset, synthetic: &Dataset) -> Result<()> {
    ensure!(
        real.image_size() == synthetic.image_size(),
        "the real images have {} px, the synthetic ones {} px; prepare the real ones with `--image-size {}`",
        real.image_size(),
        synthetic.image_size(),
        synthetic.image_size()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use metrics::Estimate;

    #[test]
    fn a_result_file_says_first_what_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("result.json");
        write_result(&path, "fidelity", &Estimate { value: 0.1, interval: [0.0, 0.2] }).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert_eq!(words, r#"{ "kind": "fidelity", "value": 0.1, "interval": [ 0.0, 0.2 ] }"#);
    }
}

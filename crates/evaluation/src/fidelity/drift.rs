//! What happens to an image on the way from its source: does it become brighter or flatter, and does it keep left and
//! right apart?

use anyhow::Result;
use dataset::Dataset;
use metrics::{Share, bootstrap_interval_of_mean, intensity};
use serde::Serialize;

use metrics::{CONFIDENCE, Estimate, REPLICATES};

/// Images beside the single real image that each was drawn from.
#[derive(Debug, Clone, Serialize)]
pub struct Drift {
    /// Images that have such a source.
    pub num_images: usize,
    /// Mean of the image's mean pixel less its source's, of full brightness; interval over images.
    pub brightness: Estimate,
    /// The same of the standard deviation of pixels.
    pub contrast: Estimate,
    /// Share of images that correlate more with their source than with its mirror image: 1 where a model keeps left and
    /// right apart, 0.5 where it does not know them. Wilson's interval.
    pub left_right_consistency: Estimate,
}

impl Drift {
    /// Compares; nothing where no image has exactly one source in `real`.
    ///
    /// # Errors
    /// Images that cannot be read.
    pub(super) fn of(real: &Dataset, synthetic: &Dataset, seed: u64) -> Result<Option<Self>> {
        let places = real.numbers_by_id()?;
        let size = real.image_size();
        let (mut brightness, mut contrast, mut consistent) = (Vec::new(), Vec::new(), Vec::new());
        for (image, row) in synthetic.rows()?.enumerate() {
            let Some(provenance) = row?.provenance else { continue };
            let [source] = &provenance.source_ids[..] else { continue };
            let Some(source) = places.get(source) else { continue };
            let [picture, source] = [synthetic.image(image)?, real.image(*source)?]
                .map(|pixels| pixels.into_iter().map(|pixel| f64::from(pixel) / 255.0).collect::<Vec<_>>());
            let (found, original) = (intensity(&picture)?, intensity(&source)?);
            brightness.push(found.brightness - original.brightness);
            contrast.push(found.contrast - original.contrast);
            consistent.push(covariance(&picture, &source, size, false) > covariance(&picture, &source, size, true));
        }
        if brightness.is_empty() {
            return Ok(None);
        }
        let mean = |values: &[f64]| -> Result<Estimate> {
            let interval = bootstrap_interval_of_mean(values, REPLICATES, CONFIDENCE, seed)?;
            Ok(Estimate::new(values.iter().sum::<f64>() / values.len() as f64, interval))
        };
        let share = Share::of(&consistent)?;
        Ok(Some(Self {
            num_images: brightness.len(),
            brightness: mean(&brightness)?,
            contrast: mean(&contrast)?,
            left_right_consistency: Estimate::new(share.value(), share.interval(CONFIDENCE)?),
        }))
    }
}

/// Sum of products of two square pictures, the second perhaps mirrored. Mirroring changes neither mean nor deviation, so
/// that the larger sum is the larger correlation.
fn covariance(picture: &[f64], other: &[f64], size: usize, mirrored: bool) -> f64 {
    let lines = picture.chunks_exact(size).zip(other.chunks_exact(size));
    lines
        .map(|(line, other)| {
            let straight = || line.iter().zip(other).map(|(a, b)| a * b).sum::<f64>();
            let turned = || line.iter().zip(other.iter().rev()).map(|(a, b)| a * b).sum::<f64>();
            if mirrored { turned() } else { straight() }
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mirror_image_correlates_with_the_mirror() {
        let picture: Vec<f64> = (0..16).map(|i| f64::from((i * 7) % 11)).collect();
        let mirror: Vec<f64> = picture.chunks(4).flat_map(|line| line.iter().rev().copied()).collect();
        assert!(covariance(&picture, &picture, 4, false) > covariance(&picture, &picture, 4, true));
        assert!(covariance(&picture, &mirror, 4, false) < covariance(&picture, &mirror, 4, true));
        assert_eq!(covariance(&picture, &mirror, 4, true), picture.iter().map(|value| value * value).sum::<f64>());
    }
}

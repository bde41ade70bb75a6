//! Masks against masks, image by image, and their means with intervals.

use std::collections::BTreeMap;

use anyhow::Result;
use metrics::bootstrap_interval;
use metrics::segmentation::{BinaryMask, Spacing, overlap, surface_agreement};
use serde::Serialize;

use metrics::{CONFIDENCE, Estimate, REPLICATES};
use segmentation::Lungs;

/// Of one image.
#[derive(Debug, Clone, Serialize)]
pub struct ImageScore {
    /// The image.
    pub id: String,
    /// Of both lungs together.
    pub dice: f64,
    /// Intersection over union of both lungs together.
    pub intersection_over_union: f64,
    /// Of the patient's right lung.
    pub dice_right: f64,
    /// Of the patient's left lung.
    pub dice_left: f64,
    /// 95 % Hausdorff distance of the outlines in pixels, as MONAI defines it
    /// ([`metrics::segmentation::SurfaceDistances::hausdorff_95`]); none where nothing was found.
    pub hausdorff_95: Option<f64>,
    /// Mean distance between the outlines, in pixels; none where nothing was found.
    pub surface_distance: Option<f64>,
    /// Share of the true lungs that was found.
    pub recall: f64,
    /// Segments in the image.
    pub num_segments: usize,
}

impl ImageScore {
    /// # Errors
    /// Masks of different sizes.
    pub(super) fn new(id: &str, found: &Lungs, truth: &[u8], num_segments: usize, size: usize) -> Result<Self> {
        let both = found.both();
        let (found_mask, true_mask) = (BinaryMask::new(&both, size, size)?, BinaryMask::new(truth, size, size)?);
        let whole = overlap(found_mask, true_mask)?;
        let surfaces = surface_agreement(found_mask, true_mask, Spacing::default())?;
        let sides = Lungs::split(truth, size);
        let side = |found: &[u8], truth: &[u8]| -> Result<f64> {
            Ok(overlap(BinaryMask::new(found, size, size)?, BinaryMask::new(truth, size, size)?)?.dice)
        };
        let hit = both.iter().zip(truth).filter(|(found, truth)| **found != 0 && **truth != 0).count();
        Ok(Self {
            id: id.to_owned(),
            dice: whole.dice,
            intersection_over_union: whole.intersection_over_union,
            dice_right: side(&found.right, &sides.right)?,
            dice_left: side(&found.left, &sides.left)?,
            hausdorff_95: surfaces.hausdorff_95(),
            surface_distance: surfaces.average(),
            recall: hit as f64 / true_mask.area().max(1) as f64,
            num_segments,
        })
    }
}

/// Means over images; intervals of 95 % by a bootstrap over patients, whose images stay together.
#[derive(Debug, Clone, Serialize)]
pub struct Scores {
    /// Images.
    pub num_images: usize,
    /// Patients they are of.
    pub num_patients: usize,
    /// Dice coefficient of both lungs together.
    pub dice: Estimate,
    /// Intersection over union of both lungs together.
    pub intersection_over_union: Estimate,
    /// Dice coefficient of the patient's right lung.
    pub dice_right: Estimate,
    /// Dice coefficient of the patient's left lung.
    pub dice_left: Estimate,
    /// 95 % Hausdorff distance in pixels as MONAI defines it, over images in which something was found.
    pub hausdorff_95: Option<Estimate>,
    /// Mean distance of the outlines in pixels, over images in which something was found.
    pub surface_distance: Option<Estimate>,
    /// Images in which nothing was found.
    pub num_nothing_found: usize,
}

impl Scores {
    /// # Shapes
    /// - patients: one for each score
    ///
    /// # Errors
    /// No image.
    pub(super) fn of(scores: &[ImageScore], patients: &[String], seed: u64) -> Result<Self> {
        let mut of_patient: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        patients.iter().enumerate().for_each(|(image, patient)| of_patient.entry(patient).or_default().push(image));
        let groups: Vec<Vec<usize>> = of_patient.into_values().collect();
        let estimate = |value: &dyn Fn(&ImageScore) -> Option<f64>| -> Result<Option<Estimate>> {
            let values: Vec<Option<f64>> = scores.iter().map(value).collect();
            let mean = |images: &mut dyn Iterator<Item = usize>| {
                let (sum, count) = images
                    .filter_map(|image| values[image])
                    .fold((0.0, 0), |(sum, count), value| (sum + value, count + 1));
                (count > 0).then(|| sum / f64::from(count))
            };
            let Some(whole) = mean(&mut (0..scores.len())) else { return Ok(None) };
            let interval = bootstrap_interval(groups.len(), REPLICATES, CONFIDENCE, seed, |sample| {
                mean(&mut sample.iter().flat_map(|group| groups[*group].iter().copied()))
            })?;
            Ok(Some(Estimate::new(whole, interval)))
        };
        let always = |value: fn(&ImageScore) -> f64| -> Result<Estimate> {
            use anyhow::Context as _;
            estimate(&|score| Some(value(score)))?.context("there is no image to report on")
        };
        Ok(Self {
            num_images: scores.len(),
            num_patients: groups.len(),
            dice: always(|score| score.dice)?,
            intersection_over_union: always(|score| score.intersection_over_union)?,
            dice_right: always(|score| score.dice_right)?,
            dice_left: always(|score| score.dice_left)?,
            hausdorff_95: estimate(&|score| score.hausdorff_95)?,
            surface_distance: estimate(&|score| score.surface_distance)?,
            num_nothing_found: scores.iter().filter(|score| score.surface_distance.is_none()).count(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn perfect_and_empty_masks() {
        let mut truth = vec![0; 400];
        for row in 5..15 {
            for column in [3, 4, 5, 6, 13, 14, 15, 16] {
                truth[row * 20 + column] = 1;
            }
        }
        let perfect = ImageScore::new("a", &Lungs::split(&truth, 20), &truth, 3, 20).unwrap();
        assert_eq!((perfect.dice, perfect.dice_right, perfect.recall), (1.0, 1.0, 1.0));
        assert_eq!(perfect.hausdorff_95, Some(0.0));
        let nothing = ImageScore::new("b", &Lungs::split(&[0; 400], 20), &truth, 1, 20).unwrap();
        assert_eq!((nothing.dice, nothing.surface_distance), (0.0, None));
        let patients = ["p".to_owned(), "q".to_owned()];
        let scores = Scores::of(&[perfect, nothing], &patients, 0).unwrap();
        assert_eq!((scores.dice.value, scores.num_nothing_found, scores.num_patients), (0.5, 1, 2));
        assert_eq!(scores.surface_distance.unwrap().value, 0.0);
        assert!(scores.dice.interval[0] < 0.5 && scores.dice.interval[1] > 0.5);
    }
}

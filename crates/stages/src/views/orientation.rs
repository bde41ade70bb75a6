//! Which images do not lie as the others of their archive do.
//!
//! No labels are needed: copies of training images, turned, inverted and mirrored on purpose, teach a classifier on the
//! embeddings of a frozen encoder. It learns what is usual here, so it takes for granted that nearly all images lie as
//! they should. Mirror images are a question of their own: where they are told badly, as by the encoder that comes with
//! the program, they would spoil the answer to the other.

use anyhow::Result;
use burn::tensor::Device;
use dataset::Dataset;
use metrics::{Limit, Share, bootstrap_interval_of_mean};
use nets::encoder::Encoder;
use rayon::prelude::*;
use serde::Serialize;

use super::classifier::{CrossFitted, largest};
use super::pose::{Pose, inner_square};
use super::{Case, ViewsConfig};
use messages::Progress;
use metrics::{CONFIDENCE, Estimate, REPLICATES};
use training::tensors::to_host;

/// Of every image that is learned from, one copy each.
const COPIES: [Pose; 6] =
    [Pose::Upright, Pose::Clockwise, Pose::UpsideDown, Pose::CounterClockwise, Pose::Inverted, Pose::Mirrored];

/// Which copies each question tells apart, by their positions among [`COPIES`]; the first is how it should be.
const QUESTIONS: [&[usize]; 2] = [&[0, 1, 2, 3, 4], &[0, 5]];

/// At least this share of each wrong pose's copies is suspected, if need be at the price of more false alarms than were
/// asked for: in an archive with many images that lie wrongly these are taken for false alarms, and a threshold that
/// avoids them would find nothing.
const ENOUGH_FOUND: f64 = 0.95;
/// A list of more false alarms than this share of all images is not worth reading.
const MOST_FALSE_ALARMS: f64 = 0.1;

/// What is known about one question, and what was found.
#[derive(Debug, Clone, Serialize)]
pub struct PoseCheck {
    /// What is told apart; the first is how a picture should lie.
    pub poses: Vec<Pose>,
    /// Patients whose copies were learned from and judged, one image of each.
    pub num_patients: usize,
    /// Share of copies that are told rightly, all poses alike, by classifiers that have not seen the patient; the
    /// interval is a bootstrap over patients.
    pub accuracy: Estimate,
    /// The same for each pose, with the score interval.
    pub recall: Vec<Estimate>,
    /// Copies of each pose (rows) that were told to lie as each pose (columns).
    pub confusion: Vec<Vec<usize>>,
    /// An image whose probability of lying wrongly is above this is suspected.
    pub threshold: f64,
    /// Whether the threshold had to be lowered for the sake of what lies wrongly, so that more false alarms are to be
    /// expected than were asked for.
    pub is_lowered: bool,
    /// Share of images that is suspected although they lie as those do that were learned from. Where the threshold was
    /// chosen by this share, with what that adds to it ([`Limit`]). Whatever truly lies wrongly among the images that were
    /// learned from counts as a false alarm here.
    pub false_alarm_rate: Estimate,
    /// Share of each wrong pose's copies that is suspected, in the order of `poses` without its first.
    pub found: Vec<Estimate>,
    /// Whether few false alarms are enough to find nearly all of each wrong pose; otherwise nothing is listed.
    pub is_reliable: bool,
    /// Images that were judged.
    pub num_images: usize,
    /// False alarms to expect among them: their number times the rate.
    pub expected_false_alarms: Estimate,
    /// The suspected images, the most suspicious first.
    pub suspects: Vec<Suspect>,
}

/// An image that seems not to lie as it should.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Suspect {
    /// Number of the image in its dataset.
    pub index: usize,
    /// In the manifest.
    pub id: String,
    /// In the manifest.
    pub source_file: String,
    /// In the manifest.
    pub pixel_hash: String,
    /// How it seems to lie.
    pub pose: Pose,
    /// That it does not lie as it should.
    pub probability: f64,
}

/// Learns from the images `learned` and judges all `cases`.
///
/// # Errors
/// Images that cannot be read, a device that fails.
pub(super) fn check(
    config: &ViewsConfig,
    dataset: &Dataset,
    cases: &[Case],
    learned: &[usize],
    encoder: &Encoder,
    device: &Device,
    progress: &dyn Progress,
) -> Result<Vec<PoseCheck>> {
    let eye = Eye { dataset, encoder, device, dim: encoder.dim(), batch_size: config.batch_size };
    let folds: Vec<usize> = learned.iter().map(|case| cases[*case].fold).collect();

    progress.begin("looking at turned, inverted and mirrored copies", learned.len() as u64, "images");
    let mut copies = Vec::new();
    for chunk in learned.chunks(config.batch_size) {
        let rows: Vec<usize> = chunk.iter().map(|case| cases[*case].index).collect();
        copies.extend(eye.embeddings(&rows, &COPIES)?);
        progress.advance(chunk.len() as u64, "");
    }
    progress.end();
    let questions: Vec<(CrossFitted, PoseCheck)> =
        QUESTIONS.into_iter().map(|copied| learn(copied, &copies, eye.dim, &folds, config)).collect::<Result<_>>()?;

    progress.begin("looking at the images", cases.len() as u64, "images");
    let mut suspicions: Vec<Vec<(usize, Pose, f64)>> = vec![Vec::new(); questions.len()];
    for chunk in cases.chunks(config.batch_size) {
        let rows: Vec<usize> = chunk.iter().map(|case| case.index).collect();
        let embeddings = eye.embeddings(&rows, &[Pose::Upright])?;
        for (case, embedding) in chunk.iter().zip(embeddings.chunks_exact(eye.dim)) {
            for ((classifier, check), suspicions) in questions.iter().zip(&mut suspicions) {
                let probabilities = classifier.judge(case.fold, embedding)?;
                let suspicion = 1.0 - probabilities[0];
                if check.is_reliable && suspicion > check.threshold {
                    suspicions.push((case.index, check.poses[1 + largest(&probabilities[1..])], suspicion));
                }
            }
        }
        progress.advance(chunk.len() as u64, "");
    }
    progress.end();

    let mut checks = Vec::with_capacity(questions.len());
    for ((_, mut check), mut suspicions) in questions.into_iter().zip(suspicions) {
        suspicions.sort_by(|left, right| right.2.total_cmp(&left.2).then(left.0.cmp(&right.0)));
        let rows = dataset.rows_at(&suspicions.iter().map(|suspicion| suspicion.0).collect::<Vec<_>>())?;
        let suspect = |(row, (index, pose, probability)): (dataset::ManifestRow, _)| Suspect {
            index,
            id: row.id,
            source_file: row.source_file,
            pixel_hash: row.pixel_hash,
            pose,
            probability,
        };
        check.suspects = rows.into_iter().zip(suspicions).map(suspect).collect();
        let (rate, count) = (check.false_alarm_rate, cases.len() as f64);
        check.num_images = cases.len();
        check.expected_false_alarms =
            Estimate { value: rate.value * count, interval: rate.interval.map(|end| end * count) };
        checks.push(check);
    }
    Ok(checks)
}

/// Sees pictures as the frozen encoder does.
struct Eye<'a> {
    dataset: &'a Dataset,
    encoder: &'a Encoder,
    device: &'a Device,
    dim: usize,
    batch_size: usize,
}

impl Eye<'_> {
    /// Class tokens of a copy in each pose of the inner square of each image.
    ///
    /// # Shapes
    /// `[rows, poses, dim]`
    fn embeddings(&self, rows: &[usize], poses: &[Pose]) -> Result<Vec<f64>> {
        let size = self.dataset.image_size();
        let area = size * size;
        let images = self.dataset.images(rows)?;
        let squares: Vec<Vec<u8>> =
            images.par_chunks_exact(area).map(|image| inner_square(image, size)).collect::<Result<_>>()?;
        let copies: Vec<u8> =
            squares.iter().flat_map(|square| poses.iter().flat_map(|pose| pose.of(square, size))).collect();
        let mut embeddings = Vec::with_capacity(rows.len() * poses.len() * self.dim);
        for batch in copies.chunks(self.batch_size * area) {
            let images = self.encoder.preprocessing().apply(batch, size, size, self.device)?;
            let tokens = to_host(self.encoder.forward(images).class_token())?;
            embeddings.extend(tokens.into_iter().map(f64::from));
        }
        Ok(embeddings)
    }
}

/// Learns to tell some of the copies apart and measures how well that goes.
///
/// # Shapes
/// - copies: `[patients, COPIES, dim]`
fn learn(
    copied: &[usize],
    copies: &[f64],
    dim: usize,
    folds: &[usize],
    config: &ViewsConfig,
) -> Result<(CrossFitted, PoseCheck)> {
    let num_poses = copied.len();
    let rows: Vec<f64> = copies
        .chunks_exact(COPIES.len() * dim)
        .flat_map(|copies| copied.iter().flat_map(|copy| copies[copy * dim..][..dim].iter().copied()))
        .collect();
    let row_folds: Vec<usize> = folds.iter().flat_map(|fold| vec![*fold; num_poses]).collect();
    let classes: Vec<usize> = folds.iter().flat_map(|_| 0..num_poses).collect();
    let classifier = CrossFitted::fit(&rows, dim, &row_folds, &classes, num_poses)?;

    let judge = |place: usize| classifier.judge(row_folds[place], &rows[place * dim..][..dim]);
    let judged: Vec<Vec<f64>> = (0..classes.len()).map(judge).collect::<Result<_>>()?;
    let mut confusion = vec![vec![0; num_poses]; num_poses];
    for (pose, probabilities) in classes.iter().zip(&judged) {
        confusion[*pose][largest(probabilities)] += 1;
    }
    let right = |patient: &[Vec<f64>]| {
        let right = patient.iter().enumerate().filter(|(pose, probabilities)| largest(probabilities) == *pose);
        right.count() as f64 / num_poses as f64
    };
    let shares: Vec<f64> = judged.chunks_exact(num_poses).map(right).collect();
    let accuracy = shares.iter().sum::<f64>() / shares.len() as f64;
    let interval = bootstrap_interval_of_mean(&shares, REPLICATES, CONFIDENCE, config.seed)?;

    // One column for each pose: how suspicious its copies are.
    let suspicions = |pose: usize| judged.iter().skip(pose).step_by(num_poses).map(|judged| 1.0 - judged[0]);
    let upright: Vec<f64> = suspicions(0).collect();
    let limit = Limit::of(&upright, config.false_alarms, CONFIDENCE)?;
    let sensitive = (1..num_poses).map(|pose| sensitive(suspicions(pose).collect())).fold(1.0, f64::min);
    let is_lowered = sensitive < limit.value;
    let (threshold, false_alarm_rate) = if is_lowered {
        (sensitive, share(&upright.iter().map(|score| *score > sensitive).collect::<Vec<bool>>())?)
    } else {
        (limit.value, Estimate::new(limit.exceeded, limit.interval))
    };
    let suspected = |pose: usize| share(&suspicions(pose).map(|score| score > threshold).collect::<Vec<bool>>());
    let found: Vec<Estimate> = (1..num_poses).map(suspected).collect::<Result<_>>()?;
    let recall = (0..num_poses).map(|pose| {
        let told = judged.iter().skip(pose).step_by(num_poses).map(|judged| largest(judged) == pose);
        share(&told.collect::<Vec<bool>>())
    });
    let check = PoseCheck {
        poses: copied.iter().map(|copy| COPIES[*copy]).collect(),
        num_patients: folds.len(),
        accuracy: Estimate::new(accuracy, interval),
        recall: recall.collect::<Result<_>>()?,
        confusion,
        threshold,
        is_lowered,
        false_alarm_rate,
        is_reliable: false_alarm_rate.value <= config.false_alarms.max(MOST_FALSE_ALARMS),
        found,
        num_images: 0,
        expected_false_alarms: Estimate { value: 0.0, interval: [0.0; 2] },
        suspects: Vec::new(),
    };
    Ok((classifier, check))
}

fn share(flags: &[bool]) -> Result<Estimate> {
    let share = Share::of(flags)?;
    Ok(Estimate::new(share.value(), share.interval(CONFIDENCE)?))
}

/// The highest threshold above which [`ENOUGH_FOUND`] of these suspicions lie; there must be one.
fn sensitive(mut suspicions: Vec<f64>) -> f64 {
    suspicions.sort_by(f64::total_cmp);
    let missed = ((1.0 - ENOUGH_FOUND) * suspicions.len() as f64) as usize;
    suspicions[missed.min(suspicions.len() - 1)].next_down()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn enough_of_what_lies_wrongly_is_above_the_sensitive_threshold() {
        for count in [1_u32, 19, 20, 100, 1000] {
            let scores: Vec<f64> = (0..count).map(|number| f64::from(number * 7919 % count) / 1000.0).collect();
            let threshold = sensitive(scores.clone());
            let found = |threshold: f64| scores.iter().filter(|score| **score > threshold).count() as f64;
            assert!(found(threshold) >= ENOUGH_FOUND * f64::from(count), "{count}");
            let higher = scores.iter().copied().filter(|score| *score > threshold).fold(f64::INFINITY, f64::min);
            assert!(found(higher) < ENOUGH_FOUND * f64::from(count), "{count}: a higher one would do");
        }
    }
}

//! Settings to try, and what each gives on some images.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use burn::tensor::Device;
use dataset::Dataset;
use metrics::segmentation::{BinaryMask, overlap};
use rayon::prelude::*;

use super::measure::ImageScore;
use super::{MaskedImage, SegmentationConfig};
use crate::model::Model;
use crate::progress::Progress;
use crate::segment::{
    Evidence, EvidenceReader, ExampleRows, Examples, Lungs, Method, PassCondition, PassSettings, Refinement, Segmenter,
    SegmenterSettings, Wanted, number_of_segments, oracle,
};

/// How lungs are chosen among segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    /// By the true mask.
    Oracle,
    /// By what `n` annotated images taught; 0 is the template of the anatomy.
    Learned(usize),
}

impl Rule {
    pub(super) fn name(self) -> String {
        match self {
            Self::Oracle => "oracle".into(),
            Self::Learned(0) => "unsupervised".into(),
            Self::Learned(n) => format!("prototype, n = {n}"),
        }
    }
}

/// A setting to try.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    /// What cuts, on which network: the row of the table.
    pub family: String,
    /// Which of the models.
    pub model: usize,
    pub settings: SegmenterSettings,
}

/// What it gave.
#[derive(Debug, Clone)]
pub(super) struct Tried {
    pub candidate: Candidate,
    /// For each rule the segmenter that was fitted to it.
    pub fitted: BTreeMap<Rule, Segmenter>,
    pub mean_segments: f64,
    /// For each rule one Dice for each image.
    pub dice: BTreeMap<Rule, Vec<f64>>,
}

/// A segmenter that is to be measured.
#[derive(Debug, Clone)]
pub(super) struct Fitted {
    /// The row of the table.
    pub family: String,
    pub model: usize,
    pub rule: Rule,
    pub segmenter: Segmenter,
    /// Mean Dice in the search.
    pub search_dice: f64,
}

const NUM_PARTS: [usize; 3] = [32, 64, 128];
/// Beside the default.
const MORE_ROUNDS: usize = 32;
/// From what a small network with diffuse attention needs to what is published for Stable Diffusion.
const MERGE_DISTANCES: [f32; 10] = [0.001, 0.003, 0.005, 0.007, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0];
const NOISE_DRAWS: usize = 4;
/// A fifth of what is usual for editing (50): the latents are to be looked at and not to be sampled back.
const INVERSION_STEPS: usize = 10;
const CUT_COSTS: [f64; 4] = [0.3, 0.5, 0.7, 0.9];
const CUT_ALPHA: f32 = 10.0;
const WALKS: [usize; 2] = [1, 4];
const PATCH_SIMILARITIES: [f32; 3] = [0.2, 0.4, 0.6];
const OBJECTS: usize = 3;
/// Filters to try on the winner, beside none.
pub(super) const REFINEMENTS: [Refinement; 2] =
    [Refinement { radius: 4, epsilon: 1e-3 }, Refinement { radius: 8, epsilon: 1e-3 }];

/// All settings: of the trained model (0) and of the same network with random weights (1).
pub(super) fn candidates(config: &SegmentationConfig) -> Vec<Candidate> {
    let passes: Vec<PassSettings> = config
        .timesteps
        .iter()
        .map(|timestep| PassSettings { timesteps: vec![*timestep], ..PassSettings::default() })
        .collect();
    let settings = |method, pass: &PassSettings| SegmenterSettings { method, pass: pass.clone(), ..Default::default() };
    let parts = NUM_PARTS.map(|num_parts| Method::Parts { num_parts });
    let merges = MERGE_DISTANCES.map(|threshold| Method::Diffseg { threshold });
    let cuts = CUT_COSTS.map(|threshold| Method::NormalisedCut { alpha: CUT_ALPHA, threshold });
    let walks = WALKS.map(|steps| Method::RandomWalk { steps });
    let objects = PATCH_SIMILARITIES.map(|threshold| Method::TokenCut { threshold, objects: OBJECTS });
    let mut all = Vec::new();
    for pass in &passes {
        let of_model = parts.iter().chain(&merges).chain(&cuts).chain(&walks);
        all.extend(of_model.map(|method| (method.name().to_owned(), 0, settings(*method, pass))));
        // Rounds change the unsupervised choice of parts alone.
        all.extend(parts.iter().map(|method| {
            let more = SegmenterSettings { rounds: MORE_ROUNDS, ..settings(*method, pass) };
            (method.name().to_owned(), 0, more)
        }));
        let of_random = parts.iter().chain(&merges);
        all.extend(
            of_random.map(|method| (format!("{} on random weights", method.name()), 1, settings(*method, pass))),
        );
    }
    for pass in averaged(config) {
        let of_model = parts.iter().chain(&merges);
        all.extend(of_model.map(|method| (method.name().to_owned(), 0, settings(*method, &pass))));
    }
    if let Some(pass) = passes.first() {
        let controls = objects.into_iter().chain([Method::Otsu]);
        all.extend(controls.map(|method| (method.name().to_owned(), 0, settings(method, pass))));
    }
    all.into_iter().map(|(family, model, settings)| Candidate { family, model, settings }).collect()
}

/// Passes that average over timesteps, over draws of noise, that know the image's own embedding, and those to inverted
/// latents: options that are kept where they help.
fn averaged(config: &SegmentationConfig) -> Vec<PassSettings> {
    let middle = config.timesteps.get(config.timesteps.len() / 2).copied();
    let several = PassSettings { timesteps: config.timesteps.clone(), ..PassSettings::default() };
    let noisy = middle.map(|timestep| PassSettings {
        timesteps: vec![timestep],
        noise_draws: NOISE_DRAWS,
        ..PassSettings::default()
    });
    let own = middle.map(|timestep| PassSettings {
        timesteps: vec![timestep],
        condition: PassCondition::Own,
        ..PassSettings::default()
    });
    let inverted = config.timesteps.iter().map(|timestep| PassSettings {
        timesteps: vec![*timestep],
        inversion_steps: INVERSION_STEPS,
        ..PassSettings::default()
    });
    (config.timesteps.len() > 1).then_some(several).into_iter().chain(noisy).chain(own).chain(inverted).collect()
}

/// What all trials share.
pub(super) struct Bench<'a> {
    pub dataset: &'a Dataset,
    pub config: &'a SegmentationConfig,
    pub rules: &'a [Rule],
    pub device: &'a Device,
}

impl Bench<'_> {
    fn most_annotated(&self) -> usize {
        self.rules.iter().map(|rule| if let Rule::Learned(n) = rule { *n } else { 0 }).max().unwrap_or(0)
    }

    /// The masks that prototypes are learned from, in their order.
    pub(super) fn annotated_masks(&self) -> Result<Vec<Vec<u8>>> {
        ExampleRows::choose(self.dataset, 0, self.most_annotated(), self.config.seed)?.masks(self.dataset)
    }

    fn examples(
        &self,
        model: &Model,
        settings: &SegmenterSettings,
        wanted: Wanted,
        progress: &dyn Progress,
    ) -> Result<Examples> {
        let SegmentationConfig { seed, batch_size, .. } = *self.config;
        let reader = EvidenceReader::new(model, &settings.pass, wanted, seed, self.device)?;
        let rows = ExampleRows::choose(self.dataset, settings.num_images, self.most_annotated(), seed)?;
        rows.read(self.dataset, &reader, batch_size, self.device, progress)
    }

    /// Shows some images to a model, a batch at a time, and calls `visit` with each image and what is known of it.
    fn show<T: Send>(
        &self,
        model: &Model,
        pass: &PassSettings,
        wanted: Wanted,
        images: &[MaskedImage],
        progress: &dyn Progress,
        visit: impl Fn(&MaskedImage, &Evidence, &[u8]) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let SegmentationConfig { seed, batch_size, .. } = *self.config;
        let reader = EvidenceReader::new(model, pass, wanted, seed, self.device)?;
        let size = self.dataset.image_size();
        let mut all = Vec::with_capacity(images.len());
        progress.begin("segmenting", images.len() as u64, "images");
        for chunk in images.chunks(batch_size) {
            let indices: Vec<usize> = chunk.iter().map(|image| image.index).collect();
            let (pictures, evidence) = reader.read_rows(self.dataset, &indices, self.device)?;
            let visited: Vec<T> = chunk
                .par_iter()
                .zip(&evidence)
                .zip(pictures.par_chunks_exact(size * size))
                .map(|((image, evidence), picture)| visit(image, evidence, picture))
                .collect::<Result<_>>()?;
            all.extend(visited);
            progress.advance(chunk.len() as u64, "");
        }
        progress.end();
        Ok(all)
    }

    /// Every candidate on every image. Candidates of one model and pass share what the networks say.
    pub(super) fn try_all(
        &self,
        candidates: &[Candidate],
        models: &[&Model],
        images: &[MaskedImage],
        progress: &dyn Progress,
    ) -> Result<Vec<Tried>> {
        let mut tried = Vec::new();
        let groups = grouped(candidates, |a, b| a.model == b.model && a.settings.pass == b.settings.pass);
        for (number, members) in groups.iter().enumerate() {
            let (model, pass) = (model_of(models, members[0].model)?, &members[0].settings.pass);
            let wanted = all_wanted(members.iter().map(|member| &member.settings));
            progress.say(&format!("settings {} of {}: {} of them", number + 1, groups.len(), members.len()));
            let examples = self.examples(model, &members[0].settings, wanted, progress)?;
            let cuts = first_of_each_cut(members);
            let mut fitted: Vec<Vec<Segmenter>> = Vec::with_capacity(members.len());
            for (member, cut) in members.iter().zip(&cuts) {
                let known = fitted.get(*cut).map(|fitted| &fitted[0]);
                let next = self.fitted(&member.settings, known, &examples)?;
                fitted.push(next);
            }
            drop(examples);
            let size = self.dataset.image_size();
            let found = self.show(model, pass, wanted, images, progress, |image, evidence, picture| {
                let mut labels: Vec<Vec<u16>> = Vec::with_capacity(cuts.len());
                for (place, (fitted, cut)) in fitted.iter().zip(&cuts).enumerate() {
                    let is_known = *cut < place;
                    labels.push(if is_known {
                        Vec::new()
                    } else {
                        fitted[0].cut(evidence, picture, size, self.device)?
                    });
                }
                let dice = fitted.iter().zip(&cuts);
                dice.map(|(fitted, cut)| self.dice_of(fitted, &labels[*cut], image, evidence, picture))
                    .collect::<Result<Vec<_>>>()
            })?;
            for (position, (candidate, fitted)) in members.iter().zip(fitted).enumerate() {
                let mut dice: BTreeMap<Rule, Vec<f64>> = BTreeMap::new();
                let mut segments = 0.0;
                for image in &found {
                    let (num_segments, scores) = &image[position];
                    segments += *num_segments as f64 / images.len() as f64;
                    self.rules.iter().zip(scores).for_each(|(rule, score)| dice.entry(*rule).or_default().push(*score));
                }
                let fitted = self.rules.iter().copied().zip(fitted).collect();
                tried.push(Tried { candidate: (*candidate).clone(), fitted, mean_segments: segments, dice });
            }
        }
        Ok(tried)
    }

    /// One segmenter for each rule; the oracle's choice of segments is not used. One that is known and cuts the same way
    /// lends its parts.
    fn fitted(
        &self,
        settings: &SegmenterSettings,
        known: Option<&Segmenter>,
        examples: &Examples,
    ) -> Result<Vec<Segmenter>> {
        let choosing = |num_annotated| SegmenterSettings { num_annotated, ..settings.clone() };
        let first = match known {
            Some(known) => known.relearned(choosing(0), examples)?,
            None => Segmenter::fit(&choosing(0), examples, self.config.seed)?,
        };
        self.rules
            .iter()
            .map(|rule| match rule {
                Rule::Oracle | Rule::Learned(0) => Ok(first.clone()),
                Rule::Learned(n) => first.relearned(choosing(*n), examples),
            })
            .collect()
    }

    /// Number of segments, and Dice by every rule.
    fn dice_of(
        &self,
        fitted: &[Segmenter],
        labels: &[u16],
        image: &MaskedImage,
        evidence: &Evidence,
        picture: &[u8],
    ) -> Result<(usize, Vec<f64>)> {
        let size = self.dataset.image_size();
        let scores = self
            .rules
            .iter()
            .zip(fitted)
            .map(|(rule, segmenter)| {
                let found = found_by(*rule, segmenter, labels, image, evidence, picture, size)?.1.both();
                Ok(overlap(BinaryMask::new(&found, size, size)?, BinaryMask::new(&image.mask, size, size)?)?.dice)
            })
            .collect::<Result<Vec<f64>>>()?;
        Ok((number_of_segments(labels), scores))
    }

    /// Every measure of some fitted segmenters on some images, for each of them one score for each image; and what the
    /// one with the number `shown` made of each image.
    pub(super) fn score(
        &self,
        fitted: &[Fitted],
        models: &[&Model],
        images: &[MaskedImage],
        shown: Option<usize>,
        progress: &dyn Progress,
    ) -> Result<(Vec<Vec<ImageScore>>, Vec<Shown>)> {
        let size = self.dataset.image_size();
        let mut scores = vec![Vec::new(); fitted.len()];
        let mut pictures = Vec::new();
        let numbered: Vec<(usize, &Fitted)> = fitted.iter().enumerate().collect();
        for members in grouped(&numbered, |(_, a), (_, b)| {
            a.model == b.model && a.segmenter.settings.pass == b.segmenter.settings.pass
        }) {
            let first = members[0].1;
            let wanted = all_wanted(members.iter().map(|(_, one)| &one.segmenter.settings));
            let (model, pass) = (model_of(models, first.model)?, &first.segmenter.settings.pass);
            let found = self.show(model, pass, wanted, images, progress, |image, evidence, picture| {
                let score = |(number, one): &(usize, &Fitted)| -> Result<(ImageScore, Option<Shown>)> {
                    let Fitted { segmenter, rule, .. } = one;
                    let labels = segmenter.cut(evidence, picture, size, self.device)?;
                    let (raw, lungs) = found_by(*rule, segmenter, &labels, image, evidence, picture, size)?;
                    let score = ImageScore::new(&image.id, &lungs, &image.mask, number_of_segments(&labels), size)?;
                    let shown =
                        (shown == Some(*number)).then(|| Shown { picture: picture.to_vec(), labels, raw, lungs });
                    Ok((score, shown))
                };
                members.iter().map(|member| score(member)).collect::<Result<Vec<_>>>()
            })?;
            for image in found {
                for ((number, _), (score, shown)) in members.iter().zip(image) {
                    scores[*number].push(score);
                    pictures.extend(shown);
                }
            }
        }
        Ok((scores, pictures))
    }
}

/// One image with everything that a picture of it shows.
pub(super) struct Shown {
    pub picture: Vec<u8>,
    pub labels: Vec<u16>,
    /// Before it was cleaned.
    pub raw: Vec<u8>,
    pub lungs: Lungs,
}

/// What a rule finds, before and after it is cleaned.
fn found_by(
    rule: Rule,
    segmenter: &Segmenter,
    labels: &[u16],
    image: &MaskedImage,
    evidence: &Evidence,
    picture: &[u8],
    size: usize,
) -> Result<(Vec<u8>, Lungs)> {
    match rule {
        Rule::Oracle => {
            let raw = oracle(labels, &image.mask);
            let lungs = Lungs::split(&raw, size);
            Ok((raw, lungs))
        }
        Rule::Learned(_) => {
            let raw = segmenter.choose(labels, evidence, picture, size)?;
            let lungs = Lungs::of_mask(&raw, size)?;
            Ok((raw, lungs))
        }
    }
}

/// For each candidate of one model and pass the first that cuts images the same way: what comes after differs alone.
fn first_of_each_cut(candidates: &[&Candidate]) -> Vec<usize> {
    let alike = |a: &SegmenterSettings, b: &SegmenterSettings| a.method == b.method && a.num_images == b.num_images;
    let first = |(place, candidate): (usize, &&Candidate)| {
        candidates.iter().position(|other| alike(&other.settings, &candidate.settings)).unwrap_or(place)
    };
    candidates.iter().enumerate().map(first).collect()
}

/// For each family and rule the setting with the best mean; the first of equal ones.
pub(super) fn winners(tried: &[Tried], rules: &[Rule]) -> Vec<Fitted> {
    let families = grouped(tried, |a, b| a.candidate.family == b.candidate.family);
    let best = |family: &Vec<&Tried>, rule: &Rule| -> Option<Fitted> {
        let with_means = family.iter().map(|one| (*one, one.dice.get(rule).map_or(0.0, |dice| mean(dice))));
        let (one, search_dice) = with_means.reduce(|best, other| if other.1 > best.1 { other } else { best })?;
        let Candidate { family, model, .. } = one.candidate.clone();
        Some(Fitted { family, model, rule: *rule, segmenter: one.fitted.get(rule)?.clone(), search_dice })
    };
    families.iter().flat_map(|family| rules.iter().filter_map(move |rule| best(family, rule))).collect()
}

/// Items that are alike together, in the order in which they begin.
fn grouped<T>(items: &[T], alike: impl Fn(&T, &T) -> bool) -> Vec<Vec<&T>> {
    let mut groups: Vec<Vec<&T>> = Vec::new();
    for item in items {
        match groups.iter_mut().find(|group| alike(group[0], item)) {
            Some(group) => group.push(item),
            None => groups.push(vec![item]),
        }
    }
    groups
}

fn all_wanted<'s>(settings: impl Iterator<Item = &'s SegmenterSettings>) -> Wanted {
    settings.fold(Wanted::default(), |all, one| all.and(one.method.wanted()))
}

fn model_of<'m>(models: &[&'m Model], number: usize) -> Result<&'m Model> {
    models.get(number).copied().context("a candidate names a model that is not there")
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_differ_in_rounds_share_a_cut() {
        let of = |num_parts: usize, rounds: usize| Candidate {
            family: "parts".into(),
            model: 0,
            settings: SegmenterSettings { method: Method::Parts { num_parts }, rounds, ..SegmenterSettings::default() },
        };
        let all = [of(32, 8), of(64, 8), of(32, 32), of(64, 8), of(16, 8)];
        assert_eq!(first_of_each_cut(&all.iter().collect::<Vec<_>>()), [0, 1, 0, 1, 4]);
    }
}

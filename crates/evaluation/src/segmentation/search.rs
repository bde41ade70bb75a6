//! Settings to try, and what each gives on some images.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use burn::tensor::Device;
use dataset::Dataset;
use metrics::segmentation::{BinaryMask, overlap};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::journal::Journal;
use super::measure::ImageScore;
use super::{MaskedImage, SegmentationConfig};
use messages::Progress;
use segmentation::{
    Examples, FeatureKinds, Lungs, ModelFeatures, PassSettings, Refinement, Segmenter, SegmenterSettings, oracle,
};
use stages::model::Model;
use stages::segment::{ExampleRows, FeatureExtractor, number_of_segments};

/// How lungs are chosen among segments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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

/// A model, and the name that the journal knows it by.
pub(super) struct Network<'m> {
    pub name: String,
    pub model: &'m Model,
}

/// A setting to try.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Candidate {
    /// What cuts, on which network: the row of the table.
    pub family: String,
    /// Which of the networks.
    pub model: usize,
    pub settings: SegmenterSettings,
}

/// What it gave.
#[derive(Debug, Clone)]
pub(super) struct Tried {
    pub candidate: Candidate,
    /// For each rule the segmenter that was fitted to it; none where an earlier run tried it.
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

/// Filters to try on the winner, beside none.
pub(super) const REFINEMENTS: [Refinement; 2] =
    [Refinement { radius: 4, epsilon: 1e-3 }, Refinement { radius: 8, epsilon: 1e-3 }];

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
        wanted: FeatureKinds,
        progress: &dyn Progress,
    ) -> Result<Examples> {
        let SegmentationConfig { seed, batch_size, .. } = *self.config;
        let reader = FeatureExtractor::new(model, &settings.pass, wanted, seed, self.device)?;
        let rows = ExampleRows::choose(self.dataset, settings.num_images, self.most_annotated(), seed)?;
        rows.read(self.dataset, &reader, batch_size, self.device, progress)
    }

    /// Shows some images to a model, a batch at a time, and calls `visit` with each image and what is known of it.
    fn show<T: Send>(
        &self,
        model: &Model,
        pass: &PassSettings,
        wanted: FeatureKinds,
        images: &[MaskedImage],
        progress: &dyn Progress,
        visit: impl Fn(&MaskedImage, &ModelFeatures, &[u8]) -> Result<T> + Sync,
    ) -> Result<Vec<T>> {
        let SegmentationConfig { seed, batch_size, .. } = *self.config;
        let reader = FeatureExtractor::new(model, pass, wanted, seed, self.device)?;
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

    /// Every candidate on every image, but for those that the journal knows. Candidates of one model and pass share what
    /// the networks say.
    pub(super) fn try_all(
        &self,
        candidates: &[Candidate],
        networks: &[Network<'_>],
        images: &[MaskedImage],
        journal: &mut Journal,
        progress: &dyn Progress,
    ) -> Result<Vec<Tried>> {
        let mut tried = Vec::new();
        let groups = grouped(candidates, |a, b| a.model == b.model && a.settings.pass == b.settings.pass);
        for (number, members) in groups.iter().enumerate() {
            let network = network_of(networks, members[0].model)?;
            let (known, open): (Vec<_>, Vec<_>) = members
                .iter()
                .map(|member| (*member, journal.find(&network.name, member)))
                .partition(|(_, known)| known.is_some());
            tried.extend(known.into_iter().filter_map(|(_, known)| known));
            let open: Vec<&Candidate> = open.into_iter().map(|(member, _)| member).collect();
            if open.is_empty() {
                continue;
            }
            progress.say(&format!("settings {} of {}: {} of them", number + 1, groups.len(), open.len()));
            let found = self.try_together(&open, network.model, images, progress)?;
            journal.add(&network.name, &found)?;
            tried.extend(found);
        }
        // Of equal ones the first wins, whatever was known before.
        tried.sort_by_key(|one| candidates.iter().position(|candidate| *candidate == one.candidate));
        Ok(tried)
    }

    /// Candidates of one model and pass.
    fn try_together(
        &self,
        members: &[&Candidate],
        model: &Model,
        images: &[MaskedImage],
        progress: &dyn Progress,
    ) -> Result<Vec<Tried>> {
        let pass = &members[0].settings.pass;
        let wanted = all_wanted(members.iter().map(|member| &member.settings));
        let cuts = first_of_each_cut(members);
        let fitted = self.fit_together(members, model, progress)?;
        let size = self.dataset.image_size();
        let found = self.show(model, pass, wanted, images, progress, |image, evidence, picture| {
            let mut labels: Vec<Vec<u16>> = Vec::with_capacity(cuts.len());
            for (place, (fitted, cut)) in fitted.iter().zip(&cuts).enumerate() {
                let is_known = *cut < place;
                labels.push(if is_known { Vec::new() } else { fitted[0].cut(evidence, picture, size, self.device)? });
            }
            let dice = fitted.iter().zip(&cuts);
            dice.map(|(fitted, cut)| self.dice_of(fitted, &labels[*cut], image, evidence, picture))
                .collect::<Result<Vec<_>>>()
        })?;
        let tried = members.iter().zip(fitted).enumerate().map(|(position, (candidate, fitted))| {
            let mut dice: BTreeMap<Rule, Vec<f64>> = BTreeMap::new();
            let mut mean_segments = 0.0;
            for image in &found {
                let (num_segments, scores) = &image[position];
                mean_segments += *num_segments as f64 / images.len() as f64;
                self.rules.iter().zip(scores).for_each(|(rule, score)| dice.entry(*rule).or_default().push(*score));
            }
            let fitted = self.rules.iter().copied().zip(fitted).collect();
            Tried { candidate: (*candidate).clone(), fitted, mean_segments, dice }
        });
        Ok(tried.collect())
    }

    /// For each of some candidates of one model and pass one segmenter for each rule.
    fn fit_together(
        &self,
        members: &[&Candidate],
        model: &Model,
        progress: &dyn Progress,
    ) -> Result<Vec<Vec<Segmenter>>> {
        let wanted = all_wanted(members.iter().map(|member| &member.settings));
        let examples = self.examples(model, &members[0].settings, wanted, progress)?;
        let mut fitted: Vec<Vec<Segmenter>> = Vec::with_capacity(members.len());
        for (member, cut) in members.iter().zip(first_of_each_cut(members)) {
            let known = fitted.get(cut).map(|fitted| &fitted[0]);
            let next = self.fitted(&member.settings, known, &examples)?;
            fitted.push(next);
        }
        Ok(fitted)
    }

    /// For each family and rule the setting with the best mean, the first of equal ones, fitted: anew where an earlier
    /// run tried it.
    pub(super) fn winners(
        &self,
        tried: &[Tried],
        networks: &[Network<'_>],
        progress: &dyn Progress,
    ) -> Result<Vec<Fitted>> {
        let best = best_of_each(tried, self.rules);
        let missing: Vec<&Candidate> = best
            .iter()
            .filter(|(rule, one, _)| !one.fitted.contains_key(rule))
            .map(|(_, one, _)| &one.candidate)
            .collect();
        let mut anew: Vec<(&Candidate, Vec<Segmenter>)> = Vec::new();
        for members in grouped(&missing, |a, b| a.model == b.model && a.settings.pass == b.settings.pass) {
            let members: Vec<&Candidate> = grouped(&members, |a, b| a == b).iter().map(|alike| **alike[0]).collect();
            let model = network_of(networks, members[0].model)?.model;
            let fitted = self.fit_together(&members, model, progress)?;
            anew.extend(members.into_iter().zip(fitted));
        }
        best.into_iter()
            .map(|(rule, one, search_dice)| {
                let of_rule = |fitted: &[Segmenter]| -> Option<Segmenter> {
                    fitted.get(self.rules.iter().position(|known| *known == rule)?).cloned()
                };
                let again = || anew.iter().find(|(candidate, _)| **candidate == one.candidate);
                let segmenter = one.fitted.get(&rule).cloned().or_else(|| of_rule(&again()?.1));
                let Candidate { family, model, .. } = one.candidate.clone();
                let segmenter = segmenter.context("a setting that won was not fitted")?;
                Ok(Fitted { family, model, rule, segmenter, search_dice })
            })
            .collect()
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
        evidence: &ModelFeatures,
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
        networks: &[Network<'_>],
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
            let (model, pass) = (network_of(networks, first.model)?.model, &first.segmenter.settings.pass);
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
    evidence: &ModelFeatures,
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

/// For each family and rule the setting with the best mean, the first of equal ones.
fn best_of_each<'t>(tried: &'t [Tried], rules: &[Rule]) -> Vec<(Rule, &'t Tried, f64)> {
    let best = |family: &[&'t Tried], rule: Rule| -> Option<(Rule, &'t Tried, f64)> {
        let with_means = family.iter().map(|one| (rule, *one, one.dice.get(&rule).map_or(0.0, |dice| mean(dice))));
        with_means.reduce(|best, other| if other.2 > best.2 { other } else { best })
    };
    grouped(tried, |a, b| a.candidate.family == b.candidate.family)
        .iter()
        .flat_map(|family| rules.iter().filter_map(|rule| best(family, *rule)))
        .collect()
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

fn all_wanted<'s>(settings: impl Iterator<Item = &'s SegmenterSettings>) -> FeatureKinds {
    settings.fold(FeatureKinds::default(), |all, one| all.and(one.method.wanted()))
}

fn network_of<'n, 'm>(networks: &'n [Network<'m>], number: usize) -> Result<&'n Network<'m>> {
    networks.get(number).context("a candidate names a model that is not there")
}

pub(super) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use segmentation::Method;

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

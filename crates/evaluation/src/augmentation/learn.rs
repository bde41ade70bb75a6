//! The classifiers: what they learn from, how, and the scores that they give to test images.

use super::grid::{CaseKind, ClassifierSettings, TrainingSettings};
use crate::encoder::standardised;
use anyhow::{Context as _, Result, ensure};
use burn::module::Module;
use burn::tensor::activation::{log_softmax, softmax};
use burn::tensor::{Device, Tensor, TensorData};
use dataset::Dataset;
use kernels::AdamWStep;
use messages::Progress;
use metrics::{LogisticRegression, Rows};
use nets::classifier::ResidualClassifier;
use nets::features::{DenseNet, DenseNetConfig, DenseNetStatistics, MOMENTUM};
use nets::init::{Initialisation, randomise};
use training::optimiser::{GradientSet, Optimiser};
use training::tensors::{images_from_bytes, to_host};

/// Images scored at once.
const SCORING_BATCH: usize = 64;

/// What a classifier sees of all images of one dataset.
#[derive(Debug)]
pub(super) enum Inputs {
    /// `[images, dim]`
    Features { values: Vec<f64>, dim: usize },
    /// `[images, size, size]`
    Pictures { bytes: Vec<u8>, size: usize },
}

impl Inputs {
    /// Reads them; embeddings that a dataset lacks are made and kept first.
    ///
    /// # Errors
    /// An encoder that cannot be used, images smaller than the network wants.
    pub fn read(
        classifier: &ClassifierSettings,
        dataset: &Dataset,
        device: &Device,
        progress: &dyn Progress,
    ) -> Result<Self> {
        match classifier {
            ClassifierSettings::LinearProbe { features, .. } => {
                let embeddings = features.open(dataset, device)?.of_dataset(dataset, device, progress)?;
                let rows: Vec<usize> = (0..dataset.len()).collect();
                let values: Vec<f64> = embeddings.gather(&rows, 1)?.into_iter().map(f64::from).collect();
                ensure!(
                    values.iter().all(|value| value.is_finite()),
                    "the feature network gave features that are not numbers: {features}"
                );
                Ok(Self::Features { values, dim: embeddings.shape()[1] })
            }
            ClassifierSettings::Residual { image_size: size, .. }
            | ClassifierSettings::DenseNet121 { image_size: size, .. } => {
                let full = dataset.image_size();
                ensure!(
                    full >= *size && full.is_multiple_of(*size),
                    "images of {full} px cannot be reduced to {size} px by whole numbers; set the classifier's \
                     `image_size` to a divisor: {}",
                    dataset.dir().display()
                );
                let mut bytes = Vec::with_capacity(dataset.len() * size * size);
                progress.begin("reading images", dataset.len() as u64, "images");
                for index in 0..dataset.len() {
                    bytes.extend(reduced(&dataset.image(index)?, full, *size));
                    progress.advance(1, "");
                }
                progress.end();
                Ok(Self::Pictures { bytes, size: *size })
            }
        }
    }
}

/// A square picture by means over blocks.
fn reduced(picture: &[u8], full: usize, size: usize) -> Vec<u8> {
    let block = full / size;
    if block == 1 {
        return picture.to_vec();
    }
    let mut sums = vec![0u32; size * size];
    for (line, pixels) in picture.chunks_exact(full).enumerate() {
        for (column, pixel) in pixels.iter().enumerate() {
            sums[line / block * size + column / block] += u32::from(*pixel);
        }
    }
    let count = (block * block) as u32;
    sums.into_iter().map(|sum| ((sum + count / 2) / count) as u8).collect()
}

/// Images to learn from: which input of which dataset, and the target of each.
#[derive(Debug, Default, Clone)]
pub(super) struct Samples<'a> {
    items: Vec<(&'a Inputs, usize)>,
    targets: Vec<f32>,
}

impl<'a> Samples<'a> {
    pub fn push(&mut self, inputs: &'a Inputs, row: usize, target: &[f32]) {
        self.items.push((inputs, row));
        self.targets.extend_from_slice(target);
    }

    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// These and then the others.
    pub fn joined(mut self, other: Self) -> Self {
        self.items.extend(other.items);
        self.targets.extend(other.targets);
        self
    }

    fn num_labels(&self) -> usize {
        self.targets.len() / self.items.len().max(1)
    }

    /// Pictures of some samples, one after the other.
    fn pictures(&self, chosen: impl Iterator<Item = usize>) -> Vec<u8> {
        let mut pictures = Vec::new();
        for sample in chosen {
            let (inputs, row) = self.items[sample];
            if let Inputs::Pictures { bytes, size } = inputs {
                pictures.extend_from_slice(&bytes[row * size * size..][..size * size]);
            }
        }
        pictures
    }

    /// Features of all samples.
    fn features(&self) -> Vec<f64> {
        let mut features = Vec::new();
        for (inputs, row) in &self.items {
            if let Inputs::Features { values, dim } = inputs {
                features.extend_from_slice(&values[row * dim..][..*dim]);
            }
        }
        features
    }
}

/// What a cell learns, in turn: the steps of a network are divided evenly among the phases.
pub(super) type Phases<'a> = Vec<Samples<'a>>;

/// Learns from the phases and scores the test samples.
///
/// # Shapes
/// - result: `[test samples, labels]`; larger where a label is more likely
///
/// # Errors
/// A label that no sample or every sample has; a loss that is no number.
pub(super) fn scores(
    classifier: &ClassifierSettings,
    kind: CaseKind,
    phases: &Phases<'_>,
    test: &Samples<'_>,
    seed: u64,
    device: &Device,
) -> Result<Vec<f64>> {
    match classifier {
        ClassifierSettings::LinearProbe { strength, .. } => {
            let samples = phases.last().context("there is nothing to learn from")?;
            probe(samples, test, *strength)
        }
        ClassifierSettings::Residual { image_size, channels, blocks_per_stage, training } => {
            let autodiff = device.clone().autodiff();
            let network = ResidualClassifier::new(channels, *blocks_per_stage, test.num_labels(), &autodiff);
            Trainer { image_size: *image_size, training, kind, seed, autodiff }.scores(network, phases, test, device)
        }
        ClassifierSettings::DenseNet121 { image_size, training } => {
            let autodiff = device.clone().autodiff();
            let config = DenseNetConfig { num_classes: test.num_labels(), ..DenseNetConfig::default() };
            let network = config.init(&autodiff);
            Trainer { image_size: *image_size, training, kind, seed, autodiff }.scores(network, phases, test, device)
        }
    }
}

/// A network that is trained here.
trait Learner: Module {
    /// What a step in training finds out about its batch besides the gradients.
    type Noted;
    fn logits(&self, images: Tensor<4>) -> Tensor<2>;
    fn training_logits(&self, images: Tensor<4>) -> (Tensor<2>, Self::Noted);
    /// The network after the step.
    fn noting(self, noted: &Self::Noted) -> Self;
}

impl Learner for ResidualClassifier {
    type Noted = ();

    fn logits(&self, images: Tensor<4>) -> Tensor<2> {
        self.forward(images)
    }

    fn training_logits(&self, images: Tensor<4>) -> (Tensor<2>, ()) {
        (self.forward(images), ())
    }

    fn noting(self, (): &()) -> Self {
        self
    }
}

/// One logistic regression for each label, on features standardised by the training samples.
fn probe(samples: &Samples<'_>, test: &Samples<'_>, strength: f64) -> Result<Vec<f64>> {
    let (features, judged) = (samples.features(), test.features());
    let dim = features.len() / samples.len().max(1);
    let (features, judged) = standardised(Rows::new(&features, dim)?, &judged);
    let (learnt, judged) = (Rows::new(&features, dim)?, Rows::new(&judged, dim)?);
    let num_labels = test.num_labels();
    let mut scores = vec![0.0; test.len() * num_labels];
    for label in 0..num_labels {
        let positive: Vec<bool> = samples.targets.chunks_exact(num_labels).map(|target| target[label] > 0.5).collect();
        let fitted = LogisticRegression::fit(learnt, &positive, strength / samples.len() as f64)?;
        for (case, score) in fitted.scores(judged)?.into_iter().enumerate() {
            scores[case * num_labels + label] = score;
        }
    }
    Ok(scores)
}

impl Learner for DenseNet {
    type Noted = DenseNetStatistics;

    fn logits(&self, images: Tensor<4>) -> Tensor<2> {
        self.forward(images)
    }

    fn training_logits(&self, images: Tensor<4>) -> (Tensor<2>, DenseNetStatistics) {
        self.forward_train(images)
    }

    fn noting(self, noted: &DenseNetStatistics) -> Self {
        self.update(noted, MOMENTUM)
    }
}

/// How networks are trained, whichever they are.
struct Trainer<'a> {
    image_size: usize,
    training: &'a TrainingSettings,
    kind: CaseKind,
    seed: u64,
    autodiff: Device,
}

impl Trainer<'_> {
    fn scores<N: Learner>(
        &self,
        network: N,
        phases: &Phases<'_>,
        test: &Samples<'_>,
        device: &Device,
    ) -> Result<Vec<f64>> {
        let trained = self.train(randomise(network, Initialisation::FanInUniform, self.seed), phases)?.valid();
        let mut scores = Vec::new();
        let all: Vec<usize> = (0..test.len()).collect();
        for chunk in all.chunks(SCORING_BATCH) {
            let pictures = test.pictures(chunk.iter().copied());
            let logits = trained.logits(images_from_bytes(&pictures, self.image_size, device));
            let scored = if self.kind == CaseKind::Classes { softmax(logits, 1) } else { logits };
            scores.extend(to_host(scored)?.into_iter().map(f64::from));
        }
        Ok(scores)
    }

    fn train<N: Learner>(&self, mut network: N, phases: &Phases<'_>) -> Result<N> {
        let settings = self.training;
        let num_steps = settings.num_steps / phases.len().max(1);
        for (phase, samples) in phases.iter().enumerate() {
            ensure!(samples.len() > 0, "there is nothing to learn from");
            let mut optimiser = Optimiser::new(&network);
            let seed = self.seed.wrapping_add(phase as u64);
            let mut order = Order { seed, len: samples.len(), epoch: Vec::new(), drawn: 0 };
            let num_labels = samples.num_labels();
            for step in 0..num_steps {
                let batch: Vec<usize> = (0..settings.batch_size).map(|_| order.next()).collect();
                let pictures = samples.pictures(batch.iter().copied());
                let images = images_from_bytes(&pictures, self.image_size, &self.autodiff);
                let targets = batch.iter().flat_map(|sample| &samples.targets[sample * num_labels..][..num_labels]);
                let targets = TensorData::new(targets.copied().collect(), [batch.len(), num_labels]);
                let (logits, noted) = network.training_logits(images);
                let loss = loss(logits, Tensor::from_data(targets, &self.autodiff), self.kind);
                let mut gradients = GradientSet::default();
                gradients.accumulate(&network, loss.backward());
                let update = AdamWStep {
                    learning_rate: settings.learning_rate * rate(step, num_steps),
                    beta_1: 0.9,
                    beta_2: 0.999,
                    epsilon: 1e-8,
                    weight_decay: settings.weight_decay,
                    step: step as u64 + 1,
                    ema_decay: 0.0,
                    gradient_scale: 1.0,
                };
                network = optimiser.step(network, gradients, update).noting(&noted);
            }
        }
        Ok(network)
    }
}

/// Share of the highest rate: warmed up over a tenth of the steps, then a cosine to 0.
fn rate(step: usize, num_steps: usize) -> f64 {
    let (step, warm_up) = (step as f64, (num_steps as f64 / 10.0).max(1.0));
    if step < warm_up {
        return (step + 1.0) / warm_up;
    }
    0.5 * (1.0 + (std::f64::consts::PI * (step - warm_up) / (num_steps as f64 - warm_up).max(1.0)).cos())
}

/// Mean over samples: cross entropy, or the sum over labels of the binary one.
fn loss(logits: Tensor<2>, targets: Tensor<2>, kind: CaseKind) -> Tensor<1> {
    let batch = logits.dims()[0] as f64;
    let losses = match kind {
        CaseKind::Classes => (log_softmax(logits, 1) * targets).neg(),
        // log(1 + exp(x)) - x t, with the exponential of a number that is never above 0.
        CaseKind::Labels => {
            logits.clone().clamp_min(0.0) - logits.clone() * targets + logits.abs().neg().exp().add_scalar(1.0).log()
        }
    };
    losses.sum().div_scalar(batch)
}

/// Goes through all samples in a new random order again and again.
struct Order {
    seed: u64,
    len: usize,
    epoch: Vec<usize>,
    drawn: usize,
}

impl Order {
    fn next(&mut self) -> usize {
        let place = self.drawn % self.len;
        if place == 0 {
            self.epoch = random::permutation(self.seed, (self.drawn / self.len) as u64, self.len);
        }
        self.drawn += 1;
        self.epoch[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pictures() -> Inputs {
        // Bright in the upper half for the first class, in the lower half for the second.
        let size = 16;
        let picture = |image: usize| -> Vec<u8> {
            let noise = random::permutation(3, image as u64, size * size);
            (0..size * size)
                .map(|pixel| {
                    let bright = (pixel < size * size / 2) == image.is_multiple_of(2);
                    (if bright { 140 } else { 80 }) + (noise[pixel] % 40) as u8
                })
                .collect()
        };
        Inputs::Pictures { bytes: (0..40).flat_map(picture).collect(), size }
    }

    fn samples<'a>(inputs: &'a Inputs, rows: std::ops::Range<usize>) -> Samples<'a> {
        let mut samples = Samples::default();
        for row in rows {
            samples.push(inputs, row, if row.is_multiple_of(2) { &[1.0, 0.0] } else { &[0.0, 1.0] });
        }
        samples
    }

    fn settings() -> ClassifierSettings {
        let training = TrainingSettings { num_steps: 30, batch_size: 8, learning_rate: 5e-3, weight_decay: 0.0 };
        ClassifierSettings::Residual { image_size: 16, channels: vec![8, 16], blocks_per_stage: 1, training }
    }

    #[test]
    fn a_network_learns_what_is_plain_to_see_and_the_same_every_time() {
        let inputs = pictures();
        for kind in [CaseKind::Classes, CaseKind::Labels] {
            let judge = |seed| {
                let phases = vec![samples(&inputs, 0..24)];
                scores(&settings(), kind, &phases, &samples(&inputs, 24..40), seed, &Device::flex()).unwrap()
            };
            let scores = judge(1);
            for (image, pair) in (24..40usize).zip(scores.chunks_exact(2)) {
                assert_eq!(pair[0] > pair[1], image.is_multiple_of(2), "{image}: {pair:?}");
            }
            assert_eq!(scores, judge(1));
            assert_ne!(scores, judge(2));
        }
    }

    /// A small relative of DenseNet-121: it learns by the statistics of batches and is scored by the running ones.
    #[test]
    fn a_densenet_learns_what_is_plain_to_see() {
        let (inputs, device) = (pictures(), Device::flex());
        let config = DenseNetConfig {
            growth_rate: 8,
            block_config: vec![2, 2],
            num_init_features: 16,
            bn_size: 2,
            in_channels: 1,
            num_classes: 2,
        };
        let training = TrainingSettings { num_steps: 60, batch_size: 8, learning_rate: 3e-3, weight_decay: 0.0 };
        let autodiff = device.clone().autodiff();
        let network = config.init(&autodiff);
        let trainer = Trainer { image_size: 16, training: &training, kind: CaseKind::Classes, seed: 1, autodiff };
        let (phases, test) = (vec![samples(&inputs, 0..24)], samples(&inputs, 24..40));
        let scores = trainer.scores(network, &phases, &test, &device).unwrap();
        let right = (24..40usize).zip(scores.chunks_exact(2));
        let right = right.filter(|(image, pair)| (pair[0] > pair[1]) == image.is_multiple_of(2)).count();
        assert!(right >= 15, "{right} of 16");
    }

    #[test]
    fn a_second_phase_decides() {
        let inputs = pictures();
        let mut wrong = samples(&inputs, 0..24);
        wrong.targets.chunks_exact_mut(2).for_each(|target| target.swap(0, 1));
        let phases = vec![wrong, samples(&inputs, 0..24)];
        let scores =
            scores(&settings(), CaseKind::Classes, &phases, &samples(&inputs, 24..40), 1, &Device::flex()).unwrap();
        let right = (24..40usize)
            .zip(scores.chunks_exact(2))
            .filter(|(image, pair)| (pair[0] > pair[1]) == image.is_multiple_of(2));
        assert!(right.count() >= 14);
    }

    #[test]
    fn a_probe_needs_both_classes() {
        let inputs = Inputs::Features { values: (0..20).map(f64::from).collect(), dim: 2 };
        let probe = ClassifierSettings::LinearProbe { features: "x".parse().unwrap(), strength: 1.0 };
        let mut one = Samples::default();
        (0..4).for_each(|row| one.push(&inputs, row, &[1.0, 0.0]));
        let test = samples(&inputs, 0..10);
        assert!(scores(&probe, CaseKind::Classes, &vec![one], &test, 0, &Device::flex()).is_err());
        let fine = vec![samples(&inputs, 0..6)];
        assert_eq!(scores(&probe, CaseKind::Classes, &fine, &test, 0, &Device::flex()).unwrap().len(), 20);
    }

    #[test]
    fn pictures_are_reduced_by_means() {
        assert_eq!(reduced(&[0, 2, 4, 6, 2, 4, 6, 8, 0, 0, 9, 9, 0, 0, 9, 9], 4, 2), [2, 6, 0, 9]);
    }

    #[test]
    fn soft_and_hard_losses_agree_where_they_should() {
        let device = Device::flex();
        let logits = || Tensor::<2>::from_data([[0.5, -1.0, 2.0]], &device);
        let one = |target: [f32; 3], kind| {
            loss(logits(), Tensor::<2>::from_data([target], &device), kind).into_scalar::<f32>()
        };
        let sum = [0.5f32, -1.0, 2.0].map(f32::exp).iter().sum::<f32>();
        assert!((one([0.0, 0.0, 1.0], CaseKind::Classes) - (sum.ln() - 2.0)).abs() < 1e-6);
        let mixed = 0.25 * one([1.0, 0.0, 0.0], CaseKind::Classes) + 0.75 * one([0.0, 1.0, 0.0], CaseKind::Classes);
        assert!((one([0.25, 0.75, 0.0], CaseKind::Classes) - mixed).abs() < 1e-6);
        let binary: f32 = [(0.5f32, 1.0f32), (-1.0, 0.0), (2.0, 1.0)]
            .map(|(logit, target)| (1.0 + logit.exp()).ln() - logit * target)
            .iter()
            .sum();
        assert!((one([1.0, 0.0, 1.0], CaseKind::Labels) - binary).abs() < 1e-6);
    }
}

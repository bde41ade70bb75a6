//! Settings of the grid: a TOML file that says which images, which synthetic sets, which classifiers, and how many of
//! each.

use crate::features::FeatureChoice;
use anyhow::{Result, ensure};
use dataset::Split;
use diffusion::{Sampler, interpolate::Interpolation};
use nets::classifier::NUM_GROUPS;
use radiograph::Augmentation;
use serde::{Deserialize, Serialize};
use settings::Settings;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Everything that decides the result besides the images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GridSettings {
    /// What it is for, in a sentence.
    pub description: String,
    /// Decides folds, subsets, noise and initial weights.
    #[serde(default)]
    pub seed: u64,
    /// Which images, and what is to be told apart.
    pub cases: CaseSettings,
    /// How many cells.
    pub grid: GridShape,
    /// The control: real images changed as usual.
    #[serde(default)]
    pub classical: ClassicalSettings,
    /// The synthetic sets: one for each encoder and strategy.
    #[serde(default)]
    pub synthetic: Vec<SyntheticSettings>,
    /// What learns.
    pub classifiers: Vec<ClassifierSettings>,
}

/// See [`GridSettings::cases`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseSettings {
    /// Whether an image has one of the labels or any number of them.
    pub kind: CaseKind,
    /// The labels, in the order of the results. With [`CaseKind::Classes`], images with none or several of them are left
    /// out; with [`CaseKind::Labels`], a label that an image does not have counts as absent, and images with an
    /// uncertain one are left out.
    pub labels: Vec<String>,
    /// The collection to stay inside; all where absent. Between collections a label may stand for the scanner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Folds and their subsets come from this split.
    #[serde(default = "train")]
    pub train_split: Split,
    /// Every cell is scored on this one.
    #[serde(default = "test")]
    pub test_split: Split,
}

fn train() -> Split {
    Split::Train
}

fn test() -> Split {
    Split::Test
}

/// See [`CaseSettings::kind`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaseKind {
    /// Exactly one label each: softmax, each class against the rest.
    Classes,
    /// Any number of labels each: sigmoid.
    Labels,
}

/// See [`GridSettings::grid`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GridShape {
    /// Real images to learn from. Smaller sets are parts of larger ones. A size above what a fold has becomes all of it.
    pub sizes: Vec<usize>,
    /// Synthetic images for each real one.
    pub ratios: Vec<usize>,
    /// What is learned from; see [`Regime`].
    pub regimes: Vec<Regime>,
    /// Folds that the patients are divided into; each cell learns from all folds but one.
    pub num_folds: usize,
    /// Divisions into folds.
    #[serde(default = "one")]
    pub num_repeats: usize,
    /// Cells that would need more synthetic images than this are left out.
    pub max_synthetic: usize,
    /// Whether mixtures of images with different labels count, with labels mixed likewise. Networks alone can learn
    /// these.
    #[serde(default)]
    pub soft_labels: bool,
}

fn one() -> usize {
    1
}

/// What a cell learns from. Real images alone, the comparison of all others, are always there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Regime {
    /// Real images.
    Real,
    /// Real images and, for each, so many synthetic ones.
    RealAndSynthetic,
    /// The same synthetic images without the real ones.
    Synthetic,
    /// Synthetic images for the first half of the steps, real ones for the second.
    SyntheticThenReal,
    /// Real images and, for each, so many of its classical variants.
    RealAndClassical,
}

impl Regime {
    /// As people call it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Real => "real",
            Self::RealAndSynthetic => "real + synthetic",
            Self::Synthetic => "synthetic only",
            Self::SyntheticThenReal => "synthetic, then real",
            Self::RealAndClassical => "real + classical",
        }
    }
}

/// See [`GridSettings::classical`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClassicalSettings {
    /// Smallest and largest share of the image's area that a variant shows.
    pub scale: [f64; 2],
    /// Probability of blur.
    pub blur_probability: f64,
    /// By how much a variant differs.
    pub augmentation: Augmentation,
}

impl Default for ClassicalSettings {
    fn default() -> Self {
        let augmentation = Augmentation {
            aspect_ratio: [0.9, 1.1],
            brightness: 0.15,
            contrast: 0.15,
            gamma: 0.15,
            noise: 0.02,
            ..Augmentation::default()
        };
        Self { scale: [0.8, 1.0], blur_probability: 0.2, augmentation }
    }
}

/// One of [`GridSettings::synthetic`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyntheticSettings {
    /// As it is called in tables and figures.
    pub name: String,
    /// A dataset that is there; nothing is generated then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dataset: Option<PathBuf>,
    /// How to generate the images that the grid needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generate: Option<GeneratorSettings>,
}

/// See [`SyntheticSettings::generate`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeneratorSettings {
    /// A run or a model.
    pub model: PathBuf,
    /// Variants of one image or mixtures of two.
    pub strategy: Drawn,
    /// How far a mixture lies from its first image, at least and at most.
    #[serde(default = "middle")]
    pub fractions: [f64; 2],
    /// How a mixture is made.
    #[serde(default)]
    pub interpolation: Interpolation,
    /// Instead of the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampler: Option<Sampler>,
    /// Instead of the model's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_steps: Option<usize>,
    /// Instead of the model's own; 1 is off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guidance_scale: Option<f64>,
}

fn middle() -> [f64; 2] {
    [0.2, 0.5]
}

/// See [`GeneratorSettings::strategy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Drawn {
    /// From one image's embedding.
    Reconstruct,
    /// From a mixture of two embeddings of the same real subset, and with the same labels unless labels are soft.
    Interpolate,
}

/// One of [`GridSettings::classifiers`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClassifierSettings {
    /// Logistic regression of each label on the features of a network, solved exactly: it has no steps to count.
    LinearProbe {
        /// Folder of an encoder (of a run or model its encoder), `xrv:FILE`, `inception:FILE`, or a random one.
        features: FeatureChoice,
        /// The loss of all images together weighs so much against the penalty on the weights, however many there are.
        /// Default 40.
        #[serde(default = "default_strength")]
        strength: f64,
    },
    /// A small residual network on pixels, from scratch.
    Residual {
        /// Images are reduced to this side in pixels. Default 32.
        #[serde(default = "default_image_size")]
        image_size: usize,
        /// Of each stage; the image's size halves before each. Default 16, 32 and 64.
        #[serde(default = "default_channels")]
        channels: Vec<usize>,
        /// Residual blocks of each stage. Default 1.
        #[serde(default = "one")]
        blocks_per_stage: usize,
        /// How it is trained.
        #[serde(default)]
        training: TrainingSettings,
    },
    /// DenseNet-121 (Huang et al. 2017) on pixels, from scratch: the paper's, for machines with a GPU.
    #[serde(rename = "densenet121")]
    DenseNet121 {
        /// Images are reduced to this side in pixels, at least 32. Default 32.
        #[serde(default = "default_image_size")]
        image_size: usize,
        /// How it is trained.
        #[serde(default)]
        training: TrainingSettings,
    },
}

fn default_strength() -> f64 {
    40.0
}

fn default_image_size() -> usize {
    32
}

fn default_channels() -> Vec<usize> {
    vec![16, 32, 64]
}

/// How a network of the grid is trained: the same in every cell. The defaults are those of the built-in grid.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingSettings {
    /// Updates of the weights, whatever there is to learn from. Default 200.
    pub num_steps: usize,
    /// Images in each. Default 32.
    pub batch_size: usize,
    /// Highest learning rate; warmed up over a tenth of the steps, then a cosine to 0. Default 2e-3.
    pub learning_rate: f64,
    /// Of AdamW. Default 0.01.
    pub weight_decay: f64,
}

impl Default for TrainingSettings {
    fn default() -> Self {
        Self { num_steps: 200, batch_size: 32, learning_rate: 2e-3, weight_decay: 0.01 }
    }
}

impl TrainingSettings {
    fn validate(&self) -> Result<()> {
        let Self { num_steps, batch_size, learning_rate, .. } = self;
        ensure!(
            *num_steps > 1 && *batch_size > 0 && *learning_rate > 0.0,
            "a network is to be trained for {num_steps} steps of {batch_size} images at rate {learning_rate}; it takes \
             two steps at least, one image and a rate above 0"
        );
        Ok(())
    }
}

impl ClassifierSettings {
    /// Whether it is trained in steps.
    pub fn is_network(&self) -> bool {
        !matches!(self, Self::LinearProbe { .. })
    }

    /// Updates of its weights; none where it is solved exactly.
    pub fn num_steps(&self) -> Option<usize> {
        match self {
            Self::LinearProbe { .. } => None,
            Self::Residual { training, .. } | Self::DenseNet121 { training, .. } => Some(training.num_steps),
        }
    }

    /// As tables and file names call it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::LinearProbe { .. } => "linear_probe",
            Self::Residual { .. } => "residual",
            Self::DenseNet121 { .. } => "densenet121",
        }
    }
}

impl Settings for GridSettings {
    const EMBEDDED: &'static [(&'static str, &'static str)] =
        &[("kermany", include_str!("../../../../grids/kermany.toml"))];

    fn description(&self) -> &str {
        &self.description
    }

    fn validate(&self) -> Result<()> {
        let Self { cases, grid, classical, synthetic, classifiers, .. } = self;
        let distinct = |names: &[&str]| names.iter().collect::<BTreeSet<_>>().len() == names.len();
        ensure!(cases.labels.len() >= 2 || cases.kind == CaseKind::Labels, "`cases.labels` needs two classes or more");
        ensure!(!cases.labels.is_empty(), "`cases.labels` is empty; name what is to be told apart");
        ensure!(
            distinct(&cases.labels.iter().map(String::as_str).collect::<Vec<_>>()),
            "`cases.labels` names a label twice: {}",
            cases.labels.join(", ")
        );
        ensure!(
            cases.train_split != cases.test_split,
            "`cases.train_split` and `cases.test_split` are both `{}`; test images must be others",
            cases.test_split
        );
        ensure!(!grid.sizes.is_empty() && !grid.sizes.contains(&0), "`grid.sizes` needs numbers of images above 0");
        ensure!(!grid.ratios.contains(&0), "`grid.ratios` has a 0; real images alone are in every grid anyway");
        ensure!(grid.num_folds >= 2, "`grid.num_folds` is {}; it takes at least 2", grid.num_folds);
        ensure!(grid.num_repeats >= 1, "`grid.num_repeats` is 0; it takes at least 1");
        let view = classical.scale;
        ensure!(
            0.0 < view[0] && view[0] <= view[1] && view[1] <= 1.0,
            "`classical.scale` is {view:?}; it must rise within 0 (excluded) to 1"
        );
        if let Some(problem) = classical.augmentation.problem() {
            anyhow::bail!("`classical.augmentation`: {problem}");
        }
        let names: Vec<&str> = synthetic.iter().map(|set| set.name.as_str()).collect();
        ensure!(distinct(&names), "two of `synthetic` have one name: {}", names.join(", "));
        for set in synthetic {
            let allowed = |letter: char| letter.is_ascii_alphanumeric() || "-_. ".contains(letter);
            ensure!(
                !set.name.is_empty() && set.name.chars().all(allowed),
                "the name `{}` of a synthetic set is no word of letters, digits, spaces, `-`, `_` and `.`",
                set.name
            );
            ensure!(
                set.dataset.is_some() != set.generate.is_some(),
                "the synthetic set `{}` needs either `dataset` or `generate`",
                set.name
            );
            if let Some(generator) = &set.generate {
                let [low, high] = generator.fractions;
                ensure!(
                    (0.0..=1.0).contains(&low) && (low..=1.0).contains(&high),
                    "`fractions` of `{}` are {low} and {high}; they must rise within 0 to 1",
                    set.name
                );
            }
        }
        ensure!(!classifiers.is_empty(), "there is no `classifiers`; name at least one");
        let kinds: Vec<&str> = classifiers.iter().map(ClassifierSettings::name).collect();
        ensure!(distinct(&kinds), "two of `classifiers` are of one kind: {}", kinds.join(", "));
        for classifier in classifiers {
            match classifier {
                ClassifierSettings::LinearProbe { strength, .. } => {
                    ensure!(*strength > 0.0, "`strength` of the linear probe is {strength}; it must be above 0");
                    ensure!(!grid.soft_labels, "a linear probe cannot learn soft labels; leave out one of the two");
                }
                ClassifierSettings::Residual { image_size, channels, blocks_per_stage, training } => {
                    training.validate()?;
                    ensure!(
                        !channels.is_empty() && channels.iter().all(|width| *width > 0 && width % NUM_GROUPS == 0),
                        "`channels` are {channels:?}; give multiples of {NUM_GROUPS}"
                    );
                    ensure!(
                        *image_size >= 1 << channels.len(),
                        "images of {image_size} px cannot be halved {} times",
                        channels.len()
                    );
                    ensure!(*blocks_per_stage > 0, "`blocks_per_stage` is 0; it must be at least 1");
                }
                ClassifierSettings::DenseNet121 { image_size, training } => {
                    training.validate()?;
                    ensure!(*image_size >= 32, "DenseNet-121 halves images five times; {image_size} px are too few");
                }
            }
        }
        Ok(())
    }

    fn resumed_with(self, given: &Self) -> Self {
        Self { description: given.description.clone(), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use settings::{from_toml, list, resolve, to_toml};

    fn changed(path: &str, value: &str) -> Result<GridSettings> {
        resolve("kermany", &[(path.to_owned(), value.to_owned())])
    }

    #[test]
    fn embedded_grids_are_sound_and_survive_toml() {
        for (name, description) in list::<GridSettings>().unwrap() {
            assert!(description.ends_with('.'), "{name}: {description}");
            let settings: GridSettings = resolve(name, &[]).unwrap();
            assert_eq!(from_toml::<GridSettings>(&to_toml(&settings).unwrap()).unwrap(), settings);
        }
    }

    #[test]
    fn impossible_settings_are_named() {
        for (path, value, word) in [
            ("cases.labels", "[]", "labels"),
            ("cases.labels", "[\"normal\", \"normal\"]", "twice"),
            ("cases.test_split", "train", "test_split"),
            ("grid.sizes", "[0]", "sizes"),
            ("grid.ratios", "[0]", "ratios"),
            ("grid.num_folds", "1", "num_folds"),
            ("grid.soft_labels", "true", "soft"),
            ("synthetic", "[{name = \"a\"}]", "either"),
            ("classifiers", "[]", "classifiers"),
            ("classical.scale", "[0.9, 0.5]", "scale"),
        ] {
            let error = format!("{:#}", changed(path, value).unwrap_err());
            assert!(error.contains(word), "{path}={value}: {error}");
        }
        assert_eq!(changed("grid.num_folds", "3").unwrap().grid.num_folds, 3);
    }
}

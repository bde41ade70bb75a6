//! `pretrain encoder`: DINO self-distillation (Caron et al. 2021) on the images of a dataset, without labels.
//!
//! Student and teacher are one network with two sets of weights: the teacher's are the moving average that the optimiser
//! keeps anyway. The teacher sees two large views of an image, the student these and several small ones, and must give
//! the teacher's answer to another view. The teacher's encoder is exported in transformers' layout (`ViTModel`).

mod lesson;
mod loss;
mod monitor;
mod recipe;
mod views;

pub use recipe::{DistillationRecipe, EncoderRecipe, EvaluationRecipe, NetworkRecipe, OptimiserRecipe, ViewsRecipe};

use super::Identity;
use anyhow::{Context, Result, bail, ensure};
use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use dataset::{Dataset, RunDir};
use kernels::AdamWStep;
use lesson::{Lesson, LessonSettings};
use messages::Progress;
use monitor::{Averages, Judge};
use nets::{
    Checkpoint, HostTensor,
    dino::{DinoHead, DinoNetwork},
    encoder::{Encoder, Preprocessing},
    init::{Initialisation, randomise},
    load_weights, weights_of,
};
use radiograph::RgbImage;
use serde::{Deserialize, Serialize};
use settings::Settings as _;
use stages::model::network_of;
use std::path::{Path, PathBuf};
use training::run::{self, Inputs};
use training::tensors::{from_host, to_host};
use training::{Evaluation, State, Trainable, TrainingOrder, TrainingSummary, unusable};
use views::{ViewQueue, Views};

/// What to train on what, and where to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PretrainEncoderConfig {
    /// A prepared dataset.
    pub dataset: PathBuf,
    /// All settings.
    pub recipe: EncoderRecipe,
    /// The run folder; the encoder appears in its `model`.
    pub out: PathBuf,
    /// Start from this encoder's weights instead of random ones; it must be of the recipe's shape, but for the size of
    /// images. The head, thrown away long ago, starts at random. Without effect on a run that is continued.
    pub from: Option<PathBuf>,
    /// Continue the run in `out` from its newest checkpoint.
    pub resume: bool,
    /// Stop, with a checkpoint, after so many minutes; `resume` goes on.
    pub max_minutes: Option<f64>,
}

/// Trains an encoder until the recipe's length or `max_minutes`.
///
/// # Errors
/// Settings, dataset or a checkpoint that do not belong together; a loss that is no number; a disk that is full. The
/// newest checkpoint is complete in every case.
pub fn run(config: &PretrainEncoderConfig, device: &Device, progress: &dyn Progress) -> Result<TrainingSummary> {
    let recipe = &config.recipe;
    recipe.validate()?;
    run::check(&config.out, config.resume, recipe, config.max_minutes)?;
    let dataset = Dataset::open(&config.dataset)?;
    ensure!(
        dataset.image_size() == recipe.image_size,
        "the dataset has images of {} px, the recipe wants {} px; prepare the dataset with `--image-size {}`, \
         or set `image_size` and the sizes of views",
        dataset.image_size(),
        recipe.image_size,
        recipe.image_size
    );
    let order = TrainingOrder::new(&dataset, recipe.seed)?;
    // Before the run has a folder, which would only be in the way if it cannot be used.
    let has_checkpoint = config.resume && RunDir::open(&config.out)?.checkpoints().latest()?.is_some();
    let from = config.from.as_deref().filter(|_| !has_checkpoint);
    let from = from.map(|path| given_encoder(path, recipe, device)).transpose()?;
    let inputs = Inputs::new(&config.dataset, None);
    let (run_dir, _lock) = run::open(&config.out, config.resume, recipe, &Identity::new(&dataset), &inputs)?;
    let newest = run_dir.checkpoints().latest()?;
    if let Some(found) = &newest {
        progress.say(&format!("continuing from {}", found.path.display()));
    }
    let setting = Setting {
        judge: Judge::new(&dataset, recipe)?,
        preprocessing: preprocessing_for(&dataset, order.rows(), recipe)?,
        recipe: recipe.clone(),
        device: device.clone(),
        dataset,
    };
    if let Some(chance) = setting.judge.chance() {
        progress.detail(&format!("the commonest class is {chance:.3} of the validation images with labels"));
    }
    let student = Student::begin(setting, newest.map(|found| found.path).as_deref(), from, order, &config.dataset)?;
    training::train(student, &run_dir, recipe.training.clock(), config.max_minutes, progress)
}

/// An encoder to start from.
fn given_encoder(path: &Path, recipe: &EncoderRecipe, device: &Device) -> Result<Encoder> {
    let encoder = Encoder::load(&network_of(path, "encoder")?, device)?.for_image_size(recipe.image_size);
    let (given, wanted) = (encoder.config(), recipe.encoder());
    ensure!(
        given.has_shape_of(&wanted),
        "the encoder to start from ({}) has not the recipe's shape ({}); change the section `network` of the recipe: {}",
        given.summary(),
        wanted.summary(),
        path.display()
    );
    Ok(encoder)
}

/// Brings training images to mean 0 and deviation 1: one number for all three channels, which hold the same grey.
fn preprocessing_for(dataset: &Dataset, rows: &[usize], recipe: &EncoderRecipe) -> Result<Preprocessing> {
    /// Enough for three digits.
    const NUM_MEASURED: usize = 1_000;
    let order = random::permutation(recipe.seed, u64::MAX, rows.len());
    let (mut sum, mut squares, mut count) = (0.0, 0.0, 0.0);
    for position in order.into_iter().take(NUM_MEASURED) {
        for value in dataset.image(rows[position])? {
            let value = f64::from(value) / 255.0;
            sum += value;
            squares += value * value;
            count += 1.0;
        }
    }
    let mean: f64 = sum / count;
    let deviation = (squares / count - mean * mean).max(0.0).sqrt();
    let rounded = |value: f64| (1000.0 * value).round() as f32 / 1000.0;
    Ok(Preprocessing {
        mean: [rounded(mean); 3],
        deviation: [rounded(deviation.max(0.01)); 3],
        ..Preprocessing::of_size(recipe.image_size)
    })
}

/// What stays the same while a run trains.
#[derive(Debug)]
struct Setting {
    recipe: EncoderRecipe,
    dataset: Dataset,
    preprocessing: Preprocessing,
    judge: Judge,
    device: Device,
}

/// The student in training, and with it the teacher.
#[derive(Debug)]
struct Student {
    /// Its average is the teacher.
    state: State<DinoNetwork>,
    /// `[output_dim]`
    centre: Tensor<1>,
    averages: Averages,
    queue: ViewQueue,
    setting: Box<Setting>,
}

/// The centre in a checkpoint.
const CENTRE_FILE: &str = "centre.safetensors";

impl Student {
    /// Fresh, or from a checkpoint.
    fn begin(
        setting: Setting,
        checkpoint: Option<&Path>,
        from: Option<Encoder>,
        order: TrainingOrder,
        dataset: &Path,
    ) -> Result<Self> {
        let Setting { recipe, device, .. } = &setting;
        let mut network = DinoNetwork::new(&recipe.encoder(), &recipe.head, recipe.seed, &device.clone().autodiff());
        let output_dim = recipe.head.output_dim;
        let (state, centre) = match checkpoint {
            None => {
                let NetworkRecipe { initial_deviation, position_deviation, .. } = recipe.network;
                let start = Initialisation::TruncatedNormal(initial_deviation as f32);
                network.encoder = randomise(network.encoder, start, recipe.seed);
                network.encoder = network.encoder.with_scaled_positions(position_deviation / initial_deviation);
                if let Some(encoder) = from {
                    network.encoder = load_weights(network.encoder, &weights_of(&encoder))?;
                }
                (State::new(network), Tensor::zeros([output_dim], device))
            }
            Some(folder) => {
                let state = State::load(folder, network)?;
                let saved = Checkpoint::open(&folder.join(CENTRE_FILE))
                    .and_then(|saved| saved.read("centre"))
                    .with_context(|| unusable(folder))?;
                ensure!(saved.shape == [output_dim], unusable(folder));
                (state, from_host(saved.values, [output_dim], device))
            }
        };
        let averages = Averages::new(recipe.encoder().dim())?;
        // A handle of its own, since the thread outlives this call.
        let queue = ViewQueue::start(Dataset::open(dataset)?, order, recipe, state.images_seen)?;
        Ok(Self { state, centre, averages, queue, setting: Box::new(setting) })
    }

    fn teacher(&self) -> DinoNetwork {
        self.state.averaged()
    }
}

/// `[views * batch, size, size]` grey values as normalised images.
fn images(setting: &Setting, pixels: Vec<f32>, size: usize) -> Tensor<4> {
    let count = pixels.len() / (size * size);
    setting.preprocessing.normalise(from_host(pixels, [count, size, size, 1], &setting.device))
}

impl Trainable for Student {
    fn num_parameters(&self) -> usize {
        self.state.network.encoder.num_params()
    }

    fn images_seen(&self) -> u64 {
        self.state.images_seen
    }

    fn step(mut self) -> Result<Self> {
        let Views { first, global, local } = self.queue.next()?;
        debug_assert_eq!(first, self.state.images_seen);
        let views = &self.setting.recipe.views;
        let (global_size, local_size, has_local) = (views.global_size, views.local_size, views.num_local > 0);
        let global = images(&self.setting, global, global_size);
        let local = has_local.then(|| images(&self.setting, local, local_size));
        let recipe = &self.setting.recipe;
        let settings = LessonSettings {
            student_temperature: recipe.distillation.student_temperature,
            teacher_temperature: recipe.teacher_temperature(self.state.images_seen),
            centre_momentum: recipe.distillation.centre_momentum,
            koleo_weight: recipe.distillation.koleo_weight,
        };
        let teacher = self.teacher();
        let lesson = lesson::learn(&self.state.network, &teacher, self.centre.clone(), global, local, settings)?;
        // Its weights are about to be updated in place.
        drop(teacher);
        let Lesson { mut gradients, centre, embeddings, distillation, entropy, koleo } = lesson;
        let OptimiserRecipe { learning_rate, beta_1, beta_2, epsilon, max_gradient_norm, batch_size, .. } =
            recipe.optimiser;
        let norm = gradients.clip_each(max_gradient_norm)?;
        if !distillation.is_finite() || !norm.is_finite() {
            bail!(
                "after {} images the loss is {distillation} and the length of its gradient {norm}; start a new run with \
                 a lower `optimiser.learning_rate` (now {learning_rate})",
                self.state.images_seen
            );
        }
        if self.state.images_seen < recipe.optimiser.freeze_last_layer_images {
            gradients.retain(|name| !name.starts_with(DinoHead::LAST_LAYER));
        }
        let settings = AdamWStep {
            learning_rate: recipe.learning_rate(self.state.images_seen),
            beta_1,
            beta_2,
            epsilon,
            weight_decay: recipe.weight_decay(self.state.images_seen),
            step: 0,
            ema_decay: recipe.teacher_momentum(self.state.images_seen),
            gradient_scale: 1.0,
        };
        self.averages.add(distillation, entropy, koleo, norm);
        self.averages.add_embeddings(&embeddings)?;
        self.centre = centre;
        self.state = self.state.updated(gradients, settings, batch_size);
        Ok(self)
    }

    fn note(&self) -> String {
        self.averages.note()
    }

    fn take_metrics(&mut self) -> Result<Vec<(String, f64)>> {
        let recipe = &self.setting.recipe;
        let mut values = self.averages.take()?;
        values.push(("learning_rate".to_owned(), recipe.learning_rate(self.state.images_seen)));
        values.push(("weight_decay".to_owned(), recipe.weight_decay(self.state.images_seen)));
        values.push(("teacher_momentum".to_owned(), recipe.teacher_momentum(self.state.images_seen)));
        values.push(("teacher_temperature".to_owned(), recipe.teacher_temperature(self.state.images_seen)));
        Ok(values)
    }

    fn evaluate(&mut self) -> Result<Evaluation> {
        let Setting { judge, dataset, preprocessing, device, .. } = &*self.setting;
        let values = judge.judge(&self.teacher().encoder, preprocessing, dataset, device)?;
        // No best encoder is kept: what tells one from another here are labels, which must not choose it.
        Ok(Evaluation { values, score: None })
    }

    fn draw(&mut self) -> Result<Option<RgbImage>> {
        Ok(None)
    }

    fn save(&self, folder: &Path) -> Result<()> {
        self.state.save(folder)?;
        let mut centre = Checkpoint::default();
        let shape = self.centre.dims().to_vec();
        centre.insert("centre", HostTensor { shape, values: to_host(self.centre.clone())? });
        Ok(centre.save(&folder.join(CENTRE_FILE), false, None)?)
    }

    fn export(&self, folder: &Path) -> Result<()> {
        let encoder = self.teacher().encoder.with_preprocessing(self.setting.preprocessing.clone());
        Ok(encoder.save(folder, self.setting.recipe.network.half_precision)?)
    }
}

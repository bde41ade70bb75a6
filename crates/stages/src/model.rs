//! A trained model: the network, what it needs to be used, and its folder.
//!
//! `model.json` says how latents and embeddings were scaled and what the network predicts; `unet/` and `scheduler/` are
//! diffusers folders, the latter for its pipelines alone; `null_condition.safetensors` holds the learned null condition; `autoencoder/` and `encoder/` are copies of
//! the frozen networks, so that a model folder is all that anybody needs.

use crate::assets;
use crate::encoded::{ChannelStats, Condition, Latents};
use crate::recipe::{ConditionTokens, SamplingRecipe};
use anyhow::{Context, Result, bail, ensure};
use burn::{
    module::{Module, Param},
    tensor::{Device, Tensor},
};
use diffusion::{Guidance, Preconditioning, Prediction, ScheduleConfig, diffusers::SchedulerConfig, guided};
use nets::{
    Checkpoint, HostTensor,
    autoencoder::Autoencoder,
    backbone::{Backbone, BackboneConfig},
};
use random::Purpose;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use training::tensors::{from_host, to_host};

/// Version of the model folder. Version 1 had other names in `model.json`; it is read.
pub const MODEL_VERSION: u32 = 2;

/// The trained part: a network and the condition that stands for "none".
#[derive(Module, Debug)]
pub struct Denoiser {
    /// Predicts what [`Prediction`] says.
    pub backbone: Backbone,
    /// `[tokens, dim]`
    pub null_condition: Param<Tensor<2>>,
}

impl Denoiser {
    /// A network with PyTorch's default initial weights and a null condition of zeros.
    ///
    /// # Errors
    /// A configuration that no network can have.
    pub fn new(config: &BackboneConfig, num_tokens: usize, seed: u64, device: &Device) -> Result<Self> {
        let backbone = config.init(seed, device)?;
        let dim = config.interface().condition_dim;
        let null_condition = Param::from_tensor(Tensor::zeros([num_tokens, dim], device));
        Ok(Self { backbone, null_condition })
    }

    /// The network's output.
    ///
    /// # Shapes
    /// - noisy, result: `[batch, height, width, channels]`
    /// - timesteps: `[batch]`
    pub fn forward(&self, noisy: Tensor<4>, timesteps: Tensor<1>, condition: Condition) -> Tensor<4> {
        self.backbone.forward(noisy, timesteps, condition.into_tensor())
    }

    /// The null condition once for each image.
    ///
    /// # Shapes
    /// `[batch, tokens, dim]`
    pub fn null_conditions(&self, batch: usize) -> Condition {
        let null_condition = self.null_condition.val();
        let [tokens, dim] = null_condition.dims();
        Condition::learned(null_condition.reshape([1, tokens, dim]).repeat_dim(0, batch))
    }

    /// Replaces the condition of the images whose `keep` is 0 by the null condition (1 keeps it).
    ///
    /// # Shapes
    /// - condition: `[batch, tokens, dim]`, keep: `batch` values
    pub fn drop_conditions(&self, condition: Condition, keep: Vec<f32>) -> Condition {
        let (condition, batch) = (condition.into_tensor(), keep.len());
        let keep = from_host(keep, [batch, 1, 1], &condition.device());
        let drop = keep.clone().mul_scalar(-1.0).add_scalar(1.0);
        Condition::learned(condition * keep + self.null_conditions(batch).into_tensor() * drop)
    }
}

/// What `model.json` holds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelInfo {
    /// Of this format.
    pub version: u32,
    /// Side of the generated images in pixels.
    pub image_size: usize,
    /// `[height, width, channels]`
    pub latent_shape: [usize; 3],
    /// `[tokens, dim]`
    pub condition_shape: [usize; 2],
    /// Which of the encoder's tokens condition the network.
    pub condition_tokens: ConditionTokens,
    /// What the network predicts.
    pub prediction: Prediction,
    /// The noise process.
    pub schedule: ScheduleConfig,
    /// Defaults of generation.
    pub sampling: SamplingRecipe,
    /// Scale of the latents, beyond the autoencoder's own. `latents` in version 1.
    #[serde(alias = "latents")]
    pub latent_scale: ChannelStats,
    /// Scale of the embeddings. `embeddings` in version 1.
    #[serde(alias = "embeddings")]
    pub embedding_scale: ChannelStats,
    /// Of the autoencoder's folder. `autoencoder` in version 1.
    #[serde(alias = "autoencoder")]
    pub autoencoder_fingerprint: String,
    /// Of the encoder's folder. `encoder` in version 1.
    #[serde(alias = "encoder")]
    pub encoder_fingerprint: String,
    /// Images seen in training.
    pub images_seen: u64,
}

impl ModelInfo {
    /// The schedule joined with the prediction type.
    ///
    /// # Errors
    /// Settings that do not go together.
    pub fn preconditioning(&self) -> Result<Preconditioning> {
        Ok(Preconditioning::new(self.schedule.resolve()?, self.prediction)?)
    }

    /// Refuses what the schedule cannot be followed by.
    ///
    /// # Errors
    /// A number of steps or a guidance scale out of range.
    pub fn check_sampling(&self, sampling: &SamplingRecipe) -> Result<()> {
        Guidance::new(sampling.guidance_scale).validate()?;
        self.preconditioning()?.schedule().sigmas(sampling.num_steps, sampling.spacing)?;
        Ok(())
    }
}

/// A model that is ready to generate.
#[derive(Debug)]
pub struct Model {
    /// Settings and scales.
    pub info: ModelInfo,
    /// The network.
    pub denoiser: Denoiser,
    /// Where `autoencoder/` and `encoder/` lie.
    pub folder: PathBuf,
    /// Hash over weights and configuration.
    pub fingerprint: String,
}

impl Model {
    /// Opens a run (its exported `model/`) or a model folder.
    ///
    /// # Errors
    /// A folder that is neither, a newer version, and weights that do not fit.
    pub fn open(path: &Path, device: &Device) -> Result<Self> {
        let folder = folder_of(path)?;
        let info = read_info(&folder)?;
        let network = backbone_folder(&folder);
        let backbone = Backbone::load(&network, device)?;
        let null_path = folder.join("null_condition.safetensors");
        let null_condition = Checkpoint::open(&null_path)?.read("null_condition")?;
        let [tokens, dim] = info.condition_shape;
        ensure!(
            null_condition.shape == [tokens, dim],
            "the null condition has shape {:?}, `model.json` says {:?}: {}",
            null_condition.shape,
            info.condition_shape,
            null_path.display()
        );
        let null_condition = Param::from_tensor(from_host(null_condition.values, [tokens, dim], device));
        let fingerprint = files::fingerprint(network)?;
        Ok(Self { info, denoiser: Denoiser { backbone, null_condition }, folder, fingerprint })
    }

    /// The frozen autoencoder.
    ///
    /// # Errors
    /// Weights that are missing or do not fit.
    pub fn autoencoder(&self, device: &Device) -> Result<Autoencoder> {
        let folder = self.folder.join("autoencoder");
        Autoencoder::load(&folder, device)
            .with_context(|| format!("the model's autoencoder cannot be used: {}", folder.display()))
    }
}

/// The model folder that `path` means: itself, `model/` of a run, or that of a shipped model's name.
///
/// # Errors
/// A folder that is neither.
pub fn folder_of(path: &Path) -> Result<PathBuf> {
    let path = &assets::resolve(path);
    for candidate in [path.to_path_buf(), path.join("model")] {
        if candidate.join("model.json").is_file() {
            return Ok(candidate);
        }
    }
    if path.join("recipe.toml").is_file() {
        bail!(
            "the run has exported nothing yet, which it does with each checkpoint; let it reach one with `--resume`: {}",
            path.display()
        );
    }
    bail!("this is neither a run nor a model folder (it holds no model.json): {}", path.display())
}

/// The folder of a model that holds its denoising network.
pub(crate) fn backbone_folder(model: &Path) -> PathBuf {
    let mut folders = Backbone::folders().map(|name| model.join(name));
    // Where there is none, reading the first one says so.
    folders.clone().find(|folder| folder.is_dir()).or_else(|| folders.next()).unwrap_or_else(|| model.to_path_buf())
}

/// The frozen network that `path` means for a stage that needs one as `encoder` or `autoencoder`: the folder itself, that
/// of a model or of the run that trained it, what a run of pre-training exported, or that of a shipped model's name.
///
/// # Errors
/// A run that has exported nothing yet, and a shipped model that is not found or has no such network.
pub fn network_of(path: &Path, role: &str) -> Result<PathBuf> {
    let (name, path) = (path, assets::resolve(path));
    for candidate in [path.join("model"), path.join(role)] {
        if candidate.join("config.json").is_file() {
            return Ok(candidate);
        }
    }
    if assets::is_name(name) && path == name && !path.exists() {
        bail!(
            "`{0}` is not beside the program; set {1} to the folder that holds `{0}`",
            name.display(),
            assets::FOLDER_VARIABLE
        );
    }
    if assets::is_name(name) && path != name {
        bail!("the shipped `{}` has no {role}; give a folder: {}", name.display(), path.display());
    }
    let path = path.as_path();
    match folder_of(path) {
        Ok(folder) => Ok(folder.join(role)),
        Err(error) if dataset::RunDir::is_run(path) => Err(error),
        Err(_) => Ok(path.to_path_buf()),
    }
}

/// Reads `model.json`.
///
/// # Errors
/// A file that is missing, damaged, or of a newer version.
pub fn read_info(folder: &Path) -> Result<ModelInfo> {
    let path = folder.join("model.json");
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("the model cannot be read: {}", path.display()))?;
    let info: ModelInfo =
        serde_json::from_str(&text).with_context(|| format!("the model's settings are damaged: {}", path.display()))?;
    ensure!(
        (1..=MODEL_VERSION).contains(&info.version),
        "the model has version {}, this program reads versions 1 to {MODEL_VERSION}; use the program that wrote it: {}",
        info.version,
        path.display()
    );
    Ok(info)
}

/// Writes a model into an empty folder; the network in f32, or in f16 where `half` is set.
///
/// # Errors
/// A disk that is full or refuses.
pub fn write(
    folder: &Path,
    info: &ModelInfo,
    denoiser: &Denoiser,
    half: bool,
    autoencoder: &Path,
    encoder: &Path,
) -> Result<()> {
    denoiser.backbone.save(&folder.join(denoiser.backbone.folder_name()), half)?;
    let null_condition = denoiser.null_condition.val();
    let shape = null_condition.dims().to_vec();
    let mut checkpoint = Checkpoint::default();
    checkpoint.insert("null_condition", HostTensor { shape, values: to_host(null_condition)? });
    checkpoint.save(&folder.join("null_condition.safetensors"), false, None)?;
    let info = ModelInfo { version: MODEL_VERSION, ..info.clone() };
    files::write_file(folder.join("model.json"), serde_json::to_string_pretty(&info)?.as_bytes())?;
    let scheduler = folder.join("scheduler");
    std::fs::create_dir(&scheduler).with_context(|| format!("the folder cannot be made: {}", scheduler.display()))?;
    files::write_file(scheduler.join("scheduler_config.json"), scheduler_config(&info)?.as_bytes())?;
    copy_folder(autoencoder, &folder.join("autoencoder"))?;
    copy_folder(encoder, &folder.join("encoder"))
}

/// The text of `scheduler/scheduler_config.json`: the model's noise process and default sampler as diffusers' pipelines
/// understand them. Nothing here reads it, so a folder without it is whole.
///
/// # Errors
/// A schedule that no process can have.
pub fn scheduler_config(info: &ModelInfo) -> Result<String> {
    let SamplingRecipe { sampler, spacing, .. } = info.sampling;
    let config = SchedulerConfig::new(&info.schedule, info.prediction, sampler, spacing)?;
    Ok(serde_json::to_string_pretty(&config)? + "\n")
}

/// Links where the file system allows it, since frozen weights never change; else copies.
pub fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    let context = || format!("the frozen network cannot be copied into the model: {}", from.display());
    std::fs::create_dir_all(to).with_context(context)?;
    for entry in std::fs::read_dir(from).with_context(context)? {
        let entry = entry.with_context(context)?;
        if entry.file_type().with_context(context)?.is_file() && !files::is_temporary(&entry.path()) {
            let target = to.join(entry.file_name());
            if std::fs::hard_link(entry.path(), &target).is_err() {
                std::fs::copy(entry.path(), &target).with_context(context)?;
            }
        }
    }
    Ok(())
}

/// Draws latents for a batch of conditions. Each image depends on its own index alone, not on its neighbours.
///
/// # Shapes
/// - condition: `[batch, tokens, dim]`
/// - indices: `batch` numbers, one for each image, that key its noise
/// - result: `[batch, height, width, channels]`, in the autoencoder's scale
///
/// # Errors
/// Sampling settings that the schedule cannot follow.
pub fn sample(
    denoiser: &Denoiser,
    info: &ModelInfo,
    sampling: &SamplingRecipe,
    condition: Condition,
    indices: &[u64],
    seed: u64,
) -> Result<Tensor<4>> {
    let preconditioning = info.preconditioning()?;
    let schedule = preconditioning.schedule();
    let sigmas = schedule.sigmas(sampling.num_steps, sampling.spacing)?;
    let condition = condition.into_tensor();
    let device = condition.device();
    let noise = diffusion::normal_batch(seed, indices, Purpose::InitialNoise, info.latent_shape, &device);
    let noisy = schedule.initial(noise, sigmas[0]);
    let guidance = Guidance::new(sampling.guidance_scale);
    guidance.validate()?;
    let null_condition = denoiser.null_conditions(indices.len()).into_tensor();
    let mut denoise = guided(guidance, condition, null_condition, |noisy, sigma, condition| {
        let condition = Condition::learned(condition);
        preconditioning.denoise(noisy, sigma, |input, timesteps| denoiser.forward(input, timesteps, condition))
    });
    let mut step_noise = |step: usize| {
        diffusion::normal_batch(seed, indices, Purpose::StepNoise(step as u16), info.latent_shape, &device)
    };
    let latents = sampling.sampler.sample(schedule.path(), &mut denoise, noisy, &sigmas, &mut step_noise, &mut |_| {});
    Ok(info.latent_scale.denormalize(Latents::drawn(latents)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Version 1 called scales and fingerprints after what they belong to.
    #[test]
    fn models_of_version_1_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/cxr-small-128/model.json");
        let now = std::fs::read_to_string(shipped).unwrap();
        let mut then = now.clone();
        for (new, old) in [
            ("\"version\": 2", "\"version\": 1"),
            ("\"latent_scale\"", "\"latents\""),
            ("\"embedding_scale\"", "\"embeddings\""),
            ("\"autoencoder_fingerprint\"", "\"autoencoder\""),
            ("\"encoder_fingerprint\"", "\"encoder\""),
        ] {
            assert!(then.contains(new), "{new}");
            then = then.replace(new, old);
        }
        let read = |text: &str| {
            std::fs::write(folder.path().join("model.json"), text).unwrap();
            read_info(folder.path())
        };
        let (now, then) = (read(&now).unwrap(), read(&then).unwrap());
        assert_eq!(ModelInfo { version: MODEL_VERSION, ..then }, now);
        let error = read("{\"version\": 3}").unwrap_err();
        assert!(format!("{error:#}").contains("damaged"), "{error:#}");
    }

    /// What the training that made it would write today.
    #[test]
    fn the_shipped_model_has_its_scheduler() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/cxr-small-128");
        let path = folder.join("scheduler/scheduler_config.json");
        let expected = scheduler_config(&read_info(&folder).unwrap()).unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), expected);
        assert!(expected.contains("\"DDIMScheduler\"") && expected.contains("\"trailing\""), "{expected}");
        assert!(expected.contains("\"rescale_betas_zero_snr\": true"), "{expected}");
    }
}

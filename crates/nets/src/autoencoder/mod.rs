//! Autoencoders: pictures to latents an eighth as wide and high, and back.
//!
//! Three kinds are read from the folders of their origins: `AutoencoderKL` (Rombach et al. 2022, the autoencoder of
//! Stable Diffusion) and `AutoencoderTiny` in the layout of diffusers, and TAESD as its author publishes it. Whatever
//! the kind, [`Autoencoder`] takes images in -1..=1 and gives latents normalised by [`LatentStatistics`], so that
//! nobody else knows a scale.

mod checks;
mod files;
mod kl;
mod kl_blocks;
mod raw;
mod sequential;
mod statistics;
mod tiny;

pub use kl::AutoencoderKlConfig;
pub use statistics::LatentStatistics;
pub use tiny::AutoencoderTinyConfig;

use crate::error::Error;
use crate::weights::{load_weights, weights_of};
use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use kl::KlNetwork;
use raw::RawShape;
use std::path::Path;
use tiny::TinyNetwork;

/// What an encoder says about pictures: a normal distribution for every latent, or its mean alone.
#[derive(Debug, Clone)]
pub struct LatentDistribution {
    /// Normalised, `[batch, latent_height, latent_width, latent_channels]`
    pub mean: Tensor<4>,
    /// In units of the normalised latents, same shape; `None` where the encoder gives one latent and no spread.
    pub std: Option<Tensor<4>>,
}

impl LatentDistribution {
    /// `mean + std · noise`; the mean where there is no spread. `noise`: standard normal, of the mean's shape.
    pub fn sample(&self, noise: Tensor<4>) -> Tensor<4> {
        match &self.std {
            Some(std) => self.mean.clone() + std.clone() * noise,
            None => self.mean.clone(),
        }
    }
}

/// An encoder and its decoder, with the scale of the latents between them.
#[derive(Module, Debug)]
pub struct Autoencoder {
    network: Network,
    #[module(skip)]
    layout: Layout,
    /// `None`: as the configuration says.
    #[module(skip)]
    statistics: Option<LatentStatistics>,
}

#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one autoencoder, not a list of them")]
enum Network {
    Tiny(TinyNetwork),
    Kl(KlNetwork),
}

/// How the folder looks that this came from and is written to.
#[derive(Debug, Clone, PartialEq)]
enum Layout {
    Raw(RawShape),
    Tiny(AutoencoderTinyConfig),
    Kl(AutoencoderKlConfig),
}

impl AutoencoderTinyConfig {
    /// The autoencoder with all weights zero; [`crate::init::randomise`] fills them.
    ///
    /// # Errors
    /// [`Error::Impossible`] naming an option that is not supported.
    pub fn init(&self, device: &Device) -> Result<Autoencoder, Error> {
        self.check()?;
        let network = Network::Tiny(self.network(device));
        Ok(Autoencoder { network, layout: Layout::Tiny(self.clone()), statistics: None })
    }
}

impl AutoencoderKlConfig {
    /// The autoencoder with all weights zero; [`crate::init::randomise`] fills them.
    ///
    /// # Errors
    /// [`Error::Impossible`] naming an option that is not supported.
    pub fn init(&self, device: &Device) -> Result<Autoencoder, Error> {
        self.check()?;
        let network = Network::Kl(self.network(device));
        Ok(Autoencoder { network, layout: Layout::Kl(self.clone()), statistics: None })
    }
}

impl Autoencoder {
    /// Whether a folder holds the two files of TAESD as its author publishes them.
    pub fn is_raw(folder: &Path) -> bool {
        raw::is_raw(folder)
    }

    /// Reads a folder in one of the three layouts; a `latent_statistics.json` in it, `{"mean": [..], "std": [..]}`,
    /// overrides the scale of the configuration. A folder of a whole Stable Diffusion pipeline is read from its `vae`.
    ///
    /// # Errors
    /// Where the folder holds no autoencoder, an option is not supported, a tensor is missing, unknown or mis-shaped,
    /// or a file cannot be read; the message names option, tensor and path.
    pub fn load(folder: &Path, device: &Device) -> Result<Self, Error> {
        let inner = folder.join("vae");
        let is_pipeline = !folder.join(files::CONFIG).is_file() && inner.join(files::CONFIG).is_file();
        let folder = if is_pipeline { inner.as_path() } else { folder };
        let autoencoder = if folder.join(files::CONFIG).is_file() {
            Self::load_diffusers(folder, device)?
        } else if raw::is_raw(folder) {
            let (network, shape) = raw::load(folder, device)?;
            Self { network: Network::Tiny(network), layout: Layout::Raw(shape), statistics: None }
        } else {
            let reason = "the folder holds no autoencoder: give one with the `config.json` and \
                          `diffusion_pytorch_model.safetensors` (or `.bin`) of diffusers, or with \
                          `encoder.safetensors` and `decoder.safetensors` of TAESD";
            return Err(Error::NotFound { reason: reason.to_owned(), path: folder.into() });
        };
        match files::read_statistics(folder)? {
            Some(statistics) => autoencoder.with_statistics(statistics),
            None => Ok(autoencoder),
        }
    }

    fn load_diffusers(folder: &Path, device: &Device) -> Result<Self, Error> {
        let path = folder.join(files::CONFIG);
        let object = files::read_object(&path)?;
        let class = object.get("_class_name").cloned().unwrap_or_default();
        let located = |error: Error| error.at(&path);
        let mismatch = |error: Error| error.at(folder);
        match class.as_str() {
            Some("AutoencoderKL") => {
                let config: AutoencoderKlConfig = files::parse_config(object, &[], &path)?;
                config.check().map_err(located)?;
                let checkpoint = kl::rename_old_keys(files::open_weights(folder)?);
                let network = load_weights(config.network(device), &checkpoint).map_err(mismatch)?;
                Ok(Self { network: Network::Kl(network), layout: Layout::Kl(config), statistics: None })
            }
            Some("AutoencoderTiny") => {
                // diffusers repeats the decoder's channels under this name.
                let config: AutoencoderTinyConfig = files::parse_config(object, &["block_out_channels"], &path)?;
                config.check().map_err(located)?;
                let checkpoint = files::open_weights(folder)?;
                let network = load_weights(config.network(device), &checkpoint).map_err(mismatch)?;
                Ok(Self { network: Network::Tiny(network), layout: Layout::Tiny(config), statistics: None })
            }
            _ => Err(located(Error::option(
                "_class_name",
                format_args!("{class}"),
                "`AutoencoderKL` or `AutoencoderTiny`",
            ))),
        }
    }

    /// Writes a folder that [`Autoencoder::load`] reads, diffusers too where the network is of its kind. Each file is
    /// replaced as a whole.
    ///
    /// # Errors
    /// Where the folder cannot be made or a file cannot be written.
    pub fn save(&self, folder: &Path) -> Result<(), Error> {
        self.save_as(folder, false)
    }

    /// [`Autoencoder::save`] with weights in half precision (f16): half the size, and pictures that differ by less than
    /// a step of 8 bits.
    ///
    /// # Errors
    /// Where the folder cannot be made or a file cannot be written.
    pub fn save_half(&self, folder: &Path) -> Result<(), Error> {
        self.save_as(folder, true)
    }

    fn save_as(&self, folder: &Path, half: bool) -> Result<(), Error> {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
        let weights = weights_of(&self.network);
        match &self.layout {
            Layout::Raw(_) => raw::save(&weights, half, folder)?,
            Layout::Tiny(config) => files::save_diffusers(&weights, config, "AutoencoderTiny", half, folder)?,
            Layout::Kl(config) => files::save_diffusers(&weights, config, "AutoencoderKL", half, folder)?,
        }
        match &self.statistics {
            Some(statistics) => files::save_statistics(statistics, folder),
            None => files::remove_statistics(folder),
        }
    }

    /// The same network with another scale of its latents; the statistics are those of the latents as the network
    /// gives them, see [`Autoencoder::encode_unnormalised`].
    ///
    /// # Errors
    /// [`Error::Statistics`] where there is not one finite mean and one positive deviation per channel.
    pub fn with_statistics(mut self, statistics: LatentStatistics) -> Result<Self, Error> {
        statistics.check(self.latent_channels())?;
        self.statistics = Some(statistics);
        Ok(self)
    }

    /// The same network with one mean and one standard deviation for all latent channels: of an `AutoencoderTiny` kept
    /// in its configuration, where diffusers finds them too.
    ///
    /// # Errors
    /// [`Error::Statistics`] where the mean is not finite or the deviation not positive.
    pub fn with_uniform_statistics(mut self, mean: f64, std: f64) -> Result<Self, Error> {
        let statistics = LatentStatistics::uniform(mean as f32, std as f32, self.latent_channels());
        let Layout::Tiny(config) = &mut self.layout else { return self.with_statistics(statistics) };
        statistics.check(config.latent_channels)?;
        config.shift_factor = mean;
        config.scaling_factor = 1.0 / std;
        self.statistics = None;
        Ok(self)
    }

    /// The scale in use.
    pub fn statistics(&self) -> LatentStatistics {
        if let Some(statistics) = &self.statistics {
            return statistics.clone();
        }
        let channels = self.latent_channels();
        match &self.layout {
            Layout::Raw(_) => LatentStatistics::uniform(0.0, 1.0, channels),
            Layout::Tiny(config) => {
                LatentStatistics::uniform(config.shift_factor as f32, (1.0 / config.scaling_factor) as f32, channels)
            }
            Layout::Kl(config) => config.statistics(),
        }
    }

    /// Images to normalised latents. Images whose number of channels is not the network's are averaged over theirs
    /// first, so that a grey image becomes grey RGB.
    ///
    /// # Shapes
    /// Images in -1..=1 `[batch, height, width, channels]` to
    /// `[batch, height / factor, width / factor, latent_channels]`; sizes that the factor does not divide are rounded
    /// and do not come back from [`Autoencoder::decode`] as they went in.
    pub fn encode(&self, images: Tensor<4>) -> LatentDistribution {
        let LatentDistribution { mean, std } = self.encode_unnormalised(images);
        let statistics = self.statistics();
        LatentDistribution { mean: statistics.normalise(mean), std: std.map(|std| statistics.normalise_std(std)) }
    }

    /// [`Autoencoder::encode`] without the normalisation: what [`LatentStatistics`] are measured on.
    pub fn encode_unnormalised(&self, images: Tensor<4>) -> LatentDistribution {
        let [_, _, _, channels] = images.dims();
        let expected = self.in_channels();
        let images = if channels == expected { images } else { images.mean_dim(3).repeat_dim(3, expected) };
        match &self.network {
            Network::Tiny(network) => LatentDistribution { mean: network.encode(images), std: None },
            Network::Kl(network) => network.encode(images),
        }
    }

    /// Normalised latents to images in -1..=1.
    ///
    /// # Shapes
    /// `[batch, height, width, latent_channels]` to `[batch, factor * height, factor * width, out_channels]`
    pub fn decode(&self, latents: Tensor<4>) -> Tensor<4> {
        self.decode_unclamped(latents).clamp(-1.0, 1.0)
    }

    /// [`Autoencoder::decode`] to one channel, the mean of the network's.
    ///
    /// # Shapes
    /// `[batch, height, width, latent_channels]` to `[batch, factor * height, factor * width, 1]`
    pub fn decode_grey(&self, latents: Tensor<4>) -> Tensor<4> {
        self.decode_unclamped(latents).mean_dim(3).clamp(-1.0, 1.0)
    }

    /// [`Autoencoder::decode`] as the network gives it, overshooting -1..=1 here and there: for losses, whose gradients
    /// a clamp would cut off.
    pub fn decode_unclamped(&self, latents: Tensor<4>) -> Tensor<4> {
        let latents = self.statistics().restore(latents);
        match &self.network {
            Network::Tiny(network) => network.decode(latents),
            Network::Kl(network) => network.decode(latents),
        }
    }

    /// Channels of the images that the network takes.
    pub fn in_channels(&self) -> usize {
        match &self.layout {
            Layout::Raw(shape) => shape.in_channels,
            Layout::Tiny(config) => config.in_channels,
            Layout::Kl(config) => config.in_channels,
        }
    }

    /// Channels of the latents.
    pub fn latent_channels(&self) -> usize {
        match &self.layout {
            Layout::Raw(shape) => shape.latent_channels,
            Layout::Tiny(config) => config.latent_channels,
            Layout::Kl(config) => config.latent_channels,
        }
    }

    /// Pixels of an image along one axis per latent.
    pub fn downsampling_factor(&self) -> usize {
        match &self.layout {
            Layout::Raw(shape) => shape.downsampling_factor,
            Layout::Tiny(config) => config.downsampling_factor(),
            Layout::Kl(config) => config.downsampling_factor(),
        }
    }
}

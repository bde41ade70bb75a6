//! The networks that are to encode a dataset: all are found, and their weights read, before the first one works for hours.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use burn::tensor::Device;
use dataset::{Dataset, EncodingsReader};
use nets::{autoencoder::Autoencoder, encoder::Encoder};

use super::{EMBEDDINGS, LATENTS, Made, check_divisible, embeddings, encoder_folder, latents, name_of};
use crate::model::network_of;
use messages::Progress;

/// The folders of networks that are to encode, found before the first of them is read.
pub(super) struct Networks {
    autoencoder: Option<Named>,
    encoder: Option<Named>,
}

/// A network's folder, and what it makes is called.
pub(super) struct Named {
    pub folder: PathBuf,
    pub name: String,
}

impl Networks {
    /// # Errors
    /// A network that is not there.
    pub fn find(
        dataset: &Dataset,
        autoencoder: Option<&Path>,
        encoder: Option<&Path>,
        device: &Device,
    ) -> Result<Self> {
        let named = |prefix: &str, path: &Path, folder: PathBuf, role: &str| -> Result<Named> {
            Ok(Named { folder: existing_folder(folder, role)?, name: name_of(prefix, path) })
        };
        let autoencoder = autoencoder
            .map(|path| named(LATENTS, path, network_of(path, "autoencoder")?, "autoencoder"))
            .transpose()?;
        let encoder = encoder
            .map(|path| named(EMBEDDINGS, path, encoder_folder(path, dataset, device)?, "encoder"))
            .transpose()?;
        Ok(Self { autoencoder, encoder })
    }

    /// Reads the weights of what has not encoded the dataset yet: both are sound before the first begins.
    ///
    /// # Errors
    /// A network that cannot be read, or that does not take images of this size.
    pub fn open(self, dataset: &Dataset, device: &Device) -> Result<OpenNetworks> {
        let autoencoder = self.autoencoder.map(|named| {
            named.open(dataset, |folder| {
                let autoencoder = Autoencoder::load(folder, device)?;
                check_divisible(dataset.image_size(), autoencoder.downsampling_factor())?;
                Ok(autoencoder)
            })
        });
        let encoder = self.encoder.map(|named| named.open(dataset, |folder| Ok(Encoder::load(folder, device)?)));
        Ok(OpenNetworks { autoencoder: autoencoder.transpose()?, encoder: encoder.transpose()? })
    }
}

impl Named {
    /// # Errors
    /// Those of `load`.
    pub fn open<N>(self, dataset: &Dataset, load: impl FnOnce(&Path) -> Result<N>) -> Result<Encoding<N>> {
        let Self { folder, name } = self;
        let fingerprint = files::fingerprint(&folder)?;
        if let Ok(reader) = dataset.encodings(&name, &fingerprint) {
            return Ok(Encoding::Kept(reader));
        }
        Ok(Encoding::Missing { network: Box::new(load(&folder)?), folder, name, fingerprint })
    }
}

/// What is there already, or the network that makes it.
pub(super) enum Encoding<N> {
    Kept(EncodingsReader),
    Missing { network: Box<N>, folder: PathBuf, name: String, fingerprint: String },
}

/// Networks that are ready to encode.
pub(super) struct OpenNetworks {
    autoencoder: Option<Encoding<Autoencoder>>,
    encoder: Option<Encoding<Encoder>>,
}

impl OpenNetworks {
    /// Latents, then embeddings.
    ///
    /// # Errors
    /// A network that fails, a disk that is full.
    pub fn run(
        self,
        dataset: &Dataset,
        batch_size: usize,
        device: &Device,
        progress: &dyn Progress,
    ) -> Result<(Option<Made>, Option<Made>)> {
        let latents = self.autoencoder.map(|encoding| latents(dataset, encoding, batch_size, device, progress));
        let latents = latents.transpose()?;
        let embeddings = self.encoder.map(|encoding| embeddings(dataset, encoding, batch_size, device, progress));
        Ok((latents, embeddings.transpose()?))
    }
}

/// Refuses a network's place where nothing is, before another network works for hours.
pub fn existing_folder(place: PathBuf, role: &str) -> Result<PathBuf> {
    ensure!(place.exists(), "there is no {role} here; give the folder of one: {}", place.display());
    Ok(place)
}

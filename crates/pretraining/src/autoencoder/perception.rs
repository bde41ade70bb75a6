//! The perceptual term: what a frozen encoder sees differently in a picture and in its original.
//!
//! Patch tokens rather than the class token, so that every place of the image counts (as in Zhang et al. 2018, with a
//! vision transformer in place of a convolutional network, and its last layer in place of several).

use super::recipe::AutoencoderRecipe;
use anyhow::{Result, bail, ensure};
use burn::{
    module::Module as _,
    tensor::{Device, Tensor},
};
use dataset::Dataset;
use nets::encoder::Encoder;
use stages::encode;
use std::path::Path;
use training::tensors;

/// A frozen encoder.
#[derive(Debug)]
pub(super) struct Perception {
    encoder: Encoder,
    /// Of its folder.
    pub(super) fingerprint: String,
}

impl Perception {
    /// The encoder in `folder`, where there is one.
    ///
    /// # Errors
    /// An encoder that cannot be used, or that the recipe makes no use of.
    pub(super) fn open(
        folder: Option<&Path>,
        recipe: &AutoencoderRecipe,
        dataset: &Dataset,
        autodiff: &Device,
    ) -> Result<Option<Self>> {
        let Some(folder) = folder else { return Ok(None) };
        if recipe.loss.perceptual == 0.0 {
            bail!("loss.perceptual is 0, so that `--encoder` would change nothing; raise it, or leave `--encoder` out");
        }
        let folder = encode::encoder_folder(folder, dataset, autodiff)?;
        let folder = encode::existing_folder(folder, "encoder of the perceptual loss")?;
        let encoder = Encoder::load(&folder, autodiff)?.no_grad();
        let (patch_size, size) = (encoder.config().patch_size(), recipe.training_size());
        ensure!(
            patch_size <= size,
            "the encoder's patches of {patch_size} px are larger than the training images of {size} px; take larger \
             ones, or another encoder"
        );
        Ok(Some(Self { encoder, fingerprint: files::fingerprint(&folder)? }))
    }

    /// Mean squared difference of the patch tokens; gradients go to the pictures alone. Pictures keep their size
    /// whatever the encoder's preprocessing says.
    ///
    /// # Shapes
    /// Two times `[batch, height, width, 1]` with values in 0..=1
    pub(super) fn distance(&self, pictures: Tensor<4>, originals: Tensor<4>) -> Tensor<1> {
        let tokens = |images| self.encoder.forward(self.encoder.preprocessing().normalise(images)).patch_tokens();
        tensors::mean((tokens(pictures) - tokens(originals).detach()).square())
    }
}

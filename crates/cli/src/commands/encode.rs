//! `encode`: what frozen networks make of every image, kept beside the images.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use stages::encode::{self, EncodeConfig};

use crate::context::Context;
use crate::outcome::Outcome;

#[derive(Debug, Args)]
pub struct Arguments {
    /// A dataset that `prepare` wrote
    dataset: PathBuf,
    /// Autoencoder folder (diffusers' AutoencoderKL or AutoencoderTiny, or a TAESD file's folder)
    #[arg(long, value_name = "FOLDER", required_unless_present = "encoder")]
    autoencoder: Option<PathBuf>,
    /// Encoder folder (transformers' ViTModel or Dinov2Model), a run of `pretrain encoder`, or a random control such as
    /// random:vit-small/16
    #[arg(long, value_name = "FOLDER")]
    encoder: Option<PathBuf>,
    /// Images that go through a network together; changes speed and memory, not the result
    #[arg(long, value_name = "N", default_value_t = 8)]
    batch_size: usize,
}

pub fn run(arguments: Arguments, context: &Context<'_>) -> Result<Outcome> {
    let Arguments { dataset, autoencoder, encoder, batch_size } = arguments;
    let config = context.changed(&EncodeConfig { dataset, autoencoder, encoder, batch_size })?;
    context.perform(&config, |terminal| encode::run(&config, &stages::device::parse(&context.device)?, terminal))
}

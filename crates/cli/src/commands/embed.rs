//! `embed`: what an encoder says about each of some pictures.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use stages::embed::{self, EmbedConfig, EmbedFit};

use super::{word, words};
use crate::context::Context;
use crate::outcome::Outcome;

#[derive(Debug, Args)]
pub struct Arguments {
    /// Encoder folder (transformers' ViTModel or Dinov2Model), a run of `pretrain encoder`, or a run or model, whose
    /// encoder is taken
    #[arg(long, value_name = "FOLDER")]
    encoder: PathBuf,
    /// Pictures, and folders of them
    #[arg(required = true)]
    images: Vec<PathBuf>,
    /// The file: the tensor `embeddings` [n, dim], and the paths in the metadata
    #[arg(long, value_name = "FILE.safetensors")]
    out: PathBuf,
    /// Images that go through the network together; changes speed and memory, not the result
    #[arg(long, value_name = "N", default_value_t = 8)]
    batch_size: usize,
    /// Shape images that are not square: as the encoder's `preprocessor_config.json` says (`encoder`, equal to
    /// transformers), or make them square first
    #[arg(long, default_value = "encoder", value_parser = words::<EmbedFit>())]
    fit: String,
}

pub fn run(arguments: Arguments, context: &Context<'_>) -> Result<Outcome> {
    let Arguments { encoder, images, out, batch_size, fit } = arguments;
    let config = context.changed(&EmbedConfig { encoder, images, out, batch_size, fit: word(&fit)? })?;
    context.perform(&config, |terminal| embed::run(&config, &stages::device::parse(&context.device)?, terminal))
}

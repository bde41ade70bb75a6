//! `pretrain`: networks made from the user's own images.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use pipeline::pretrain::autoencoder::{self, AutoencoderRecipe, PretrainAutoencoderConfig};
use pipeline::pretrain::encoder::{self, EncoderRecipe, PretrainEncoderConfig};
use pipeline::settings::{self, Settings};

use super::recipes::{list_recipes, suggest};
use crate::context::Context;
use crate::outcome::Outcome;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    network: Network,
}

/// What to train.
#[derive(Debug, Subcommand)]
enum Network {
    /// Trains the encoder whose embeddings condition a model: DINO, on the dataset's own images and without labels
    Encoder {
        #[command(flatten)]
        run: Run,
        /// Starts from this encoder's weights instead of random ones: official ones, say, to be adapted to radiographs
        #[arg(long, value_name = "FOLDER")]
        from: Option<PathBuf>,
    },
    /// Trains the autoencoder in whose latents a model works: one channel, in the layout of diffusers' AutoencoderTiny
    Autoencoder {
        #[command(flatten)]
        run: Run,
        /// Adds a perceptual loss: the difference of originals and reconstructions in this encoder's patch tokens
        #[arg(long, value_name = "FOLDER")]
        encoder: Option<PathBuf>,
    },
}

/// Measures how far reconstructions are from originals where no encoder is given.
const RANDOM_FEATURES: &str = "random:vit-small/16";

/// What every kind of pre-training is told.
#[derive(Debug, Args)]
struct Run {
    /// A dataset that `prepare` wrote; its training images are used
    #[arg(required_unless_present = "list_recipes")]
    dataset: Option<PathBuf>,
    /// The name of a built-in recipe, or a TOML file [default: the first built-in one]
    #[arg(long, value_name = "NAME|FILE")]
    recipe: Option<String>,
    /// The run: a new folder, or with --resume an old one; other commands take it as a network
    #[arg(long, value_name = "FOLDER", required_unless_present = "list_recipes")]
    out: Option<PathBuf>,
    /// Continues a run from its newest checkpoint, exactly as if it had never stopped
    #[arg(long)]
    resume: bool,
    /// Stops with a checkpoint and a usable network after so many minutes; --resume goes on
    #[arg(long, value_name = "MINUTES")]
    max_minutes: Option<f64>,
    /// Lists the built-in recipes and does nothing else
    #[arg(long)]
    list_recipes: bool,
}

pub fn run(arguments: Arguments, context: &Context<'_>) -> Result<Outcome> {
    match arguments.network {
        Network::Encoder { run, .. } if run.list_recipes => list_recipes::<EncoderRecipe>(context),
        Network::Encoder { run, from } => encoder(run, from, context),
        Network::Autoencoder { run, .. } if run.list_recipes => list_recipes::<AutoencoderRecipe>(context),
        Network::Autoencoder { run, encoder } => autoencoder(run, encoder, context),
    }
}

fn encoder(run: Run, from: Option<PathBuf>, context: &Context<'_>) -> Result<Outcome> {
    let recipe = resolve::<EncoderRecipe>(run.recipe.as_deref(), context)?;
    let Run { resume, max_minutes, .. } = run;
    let (dataset, out) = folders(run.dataset, run.out)?;
    let config = PretrainEncoderConfig { dataset, recipe, out, from, resume, max_minutes };
    context.perform(&config, |terminal| encoder::run(&config, &pipeline::device::parse(&context.device)?, terminal))
}

fn autoencoder(run: Run, encoder: Option<PathBuf>, context: &Context<'_>) -> Result<Outcome> {
    let recipe = resolve::<AutoencoderRecipe>(run.recipe.as_deref(), context)?;
    let Run { resume, max_minutes, .. } = run;
    let (dataset, out) = folders(run.dataset, run.out)?;
    // The random encoder exists for some sizes of images only.
    let random = recipe.image_size.is_multiple_of(16).then(|| PathBuf::from(RANDOM_FEATURES));
    let features = encoder.clone().or(random);
    let config = PretrainAutoencoderConfig { dataset, recipe, out, encoder, features, resume, max_minutes };
    context.perform(&config, |terminal| autoencoder::run(&config, &pipeline::device::parse(&context.device)?, terminal))
}

/// The parser lets neither be missing here.
fn folders(dataset: Option<PathBuf>, out: Option<PathBuf>) -> Result<(PathBuf, PathBuf)> {
    let dataset = dataset.context("the dataset is missing; give its folder")?;
    Ok((dataset, out.context("the run's folder is missing; give `--out FOLDER`")?))
}

fn resolve<S: Settings>(typed: Option<&str>, context: &Context<'_>) -> Result<S> {
    let first = S::EMBEDDED.first().map_or("", |(name, _)| name);
    let typed = typed.unwrap_or(first);
    settings::resolve(typed, &context.recipe_overrides()).map_err(|error| suggest::<S>(typed, error))
}

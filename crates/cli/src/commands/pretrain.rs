//! `pretrain`: networks made from the user's own images.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use pretraining::autoencoder::{self, AutoencoderRecipe, PretrainAutoencoderConfig};
use pretraining::encoder::{self, EncoderRecipe, PretrainEncoderConfig};
use settings::Settings;

use super::recipes::list_recipes;
use super::runs::{Resolved, Typed};
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
    /// A dataset that `prepare` wrote; its training images are used [with --resume: the run's own]
    #[arg(required_unless_present_any = ["list_recipes", "resume"])]
    dataset: Option<PathBuf>,
    /// The name of a built-in recipe, or a TOML file [default: the first built-in one; with --resume: the run's own]
    #[arg(long, value_name = "NAME|FILE")]
    recipe: Option<String>,
    /// The run: a new folder; other commands take it as a network
    #[arg(long, value_name = "FOLDER", required_unless_present_any = ["list_recipes", "resume"])]
    out: Option<PathBuf>,
    /// Continues a run from its newest checkpoint, exactly as if it had never stopped
    #[arg(long, value_name = "RUN")]
    resume: Option<Option<PathBuf>>,
    /// Stops with a checkpoint and a usable network after so many minutes; --resume goes on
    #[arg(long, value_name = "MINUTES", allow_negative_numbers = true)]
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
    let (resolved, max_minutes) = resolve::<EncoderRecipe>(run, context)?;
    let Resolved { dataset, recipe, out, resume, encoder: _ } = resolved;
    let config = PretrainEncoderConfig { dataset, recipe, out, from, resume, max_minutes };
    let config = context.changed_within(&config, "recipe")?;
    config.recipe.validate()?;
    context.perform(&config, |terminal| encoder::run(&config, &stages::device::parse(&context.device)?, terminal))
}

fn autoencoder(run: Run, encoder: Option<PathBuf>, context: &Context<'_>) -> Result<Outcome> {
    let (resolved, max_minutes) = resolve::<AutoencoderRecipe>(run, context)?;
    let Resolved { dataset, recipe, out, resume, encoder: earlier } = resolved;
    let encoder = encoder.or(earlier);
    let config = PretrainAutoencoderConfig { dataset, recipe, out, encoder, features: None, resume, max_minutes };
    let mut config = context.changed_within(&config, "recipe")?;
    config.recipe.validate()?;
    if config.features.is_none() {
        // The random encoder exists for some sizes of images only.
        let random = config.recipe.image_size.is_multiple_of(16).then(|| PathBuf::from(RANDOM_FEATURES));
        config.features = config.encoder.clone().or(random);
    }
    context.perform(&config, |terminal| autoencoder::run(&config, &stages::device::parse(&context.device)?, terminal))
}

fn resolve<S: Settings>(run: Run, context: &Context<'_>) -> Result<(Resolved<S>, Option<f64>)> {
    let Run { dataset, recipe, out, resume, max_minutes, list_recipes: _ } = run;
    let first = S::EMBEDDED.first().map(|(name, _)| *name);
    Ok((Typed { dataset, recipe, out, resume }.resolve(first, context)?, max_minutes))
}

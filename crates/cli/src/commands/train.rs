//! `train`: a recipe and a dataset become a run.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use pipeline::recipe::{self, Recipe};
use pipeline::train::{self, TrainConfig};

use super::recipes::{list_recipes, suggest};
use crate::context::Context;
use crate::outcome::Outcome;

#[derive(Debug, Args)]
pub struct Arguments {
    /// A dataset that `prepare` wrote
    #[arg(required_unless_present = "list_recipes")]
    dataset: Option<PathBuf>,
    /// The name of a built-in recipe, or a TOML file
    #[arg(long, value_name = "NAME|FILE", required_unless_present = "list_recipes")]
    recipe: Option<String>,
    /// The run: a new folder, or with --resume an old one
    #[arg(long, value_name = "RUN", required_unless_present = "list_recipes")]
    out: Option<PathBuf>,
    /// Continues a run from its newest checkpoint, exactly as if it had never stopped
    #[arg(long)]
    resume: bool,
    /// Autoencoder folder, for a dataset that has no latents yet or several
    #[arg(long, value_name = "FOLDER")]
    autoencoder: Option<PathBuf>,
    /// Encoder folder, for a dataset that has no embeddings yet or several
    #[arg(long, value_name = "FOLDER")]
    encoder: Option<PathBuf>,
    /// Stops with a checkpoint after so many minutes; --resume goes on
    #[arg(long, value_name = "MINUTES")]
    max_minutes: Option<f64>,
    /// Lists the built-in recipes and does nothing else
    #[arg(long)]
    list_recipes: bool,
}

pub fn run(arguments: Arguments, context: &Context<'_>) -> Result<Outcome> {
    if arguments.list_recipes {
        return list_recipes::<Recipe>(context);
    }
    let Arguments { dataset, recipe, out, resume, autoencoder, encoder, max_minutes, list_recipes: _ } = arguments;
    // The parser lets none of the three be missing here.
    let (dataset, recipe, out) = (
        dataset.context("the dataset is missing; give its folder")?,
        recipe.context("the recipe is missing; give `--recipe NAME`")?,
        out.context("the run's folder is missing; give `--out RUN`")?,
    );
    let recipe =
        recipe::resolve(&recipe, &context.recipe_overrides()).map_err(|error| suggest::<Recipe>(&recipe, error))?;
    let config = TrainConfig { dataset, recipe, out, resume, autoencoder, encoder, max_minutes };
    context.perform(&config, |terminal| train::run(&config, &pipeline::device::parse(&context.device)?, terminal))
}

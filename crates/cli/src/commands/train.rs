//! `train`: a recipe and a dataset become a run.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use settings::Settings as _;
use stages::recipe::Recipe;
use stages::train::{self, TrainConfig};

use super::recipes::list_recipes;
use super::runs::{Resolved, Typed};
use crate::context::Context;
use crate::outcome::Outcome;

#[derive(Debug, Args)]
pub struct Arguments {
    /// A dataset that `prepare` wrote [with --resume: the run's own]
    #[arg(required_unless_present_any = ["list_recipes", "resume"])]
    dataset: Option<PathBuf>,
    /// The name of a built-in recipe, or a TOML file [with --resume: the run's own]
    #[arg(long, value_name = "NAME|FILE", required_unless_present_any = ["list_recipes", "resume"])]
    recipe: Option<String>,
    /// The run: a new folder
    #[arg(long, value_name = "RUN", required_unless_present_any = ["list_recipes", "resume"])]
    out: Option<PathBuf>,
    /// Continues a run from its newest checkpoint, exactly as if it had never stopped
    #[arg(long, value_name = "RUN")]
    resume: Option<Option<PathBuf>>,
    /// Autoencoder folder, for a dataset that has no latents yet or several
    #[arg(long, value_name = "FOLDER")]
    autoencoder: Option<PathBuf>,
    /// Encoder folder, for a dataset that has no embeddings yet or several
    #[arg(long, value_name = "FOLDER")]
    encoder: Option<PathBuf>,
    /// Stops with a checkpoint after so many minutes; --resume goes on
    #[arg(long, value_name = "MINUTES", allow_negative_numbers = true)]
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
    let Resolved { dataset, recipe, out, resume, encoder: _ } =
        Typed { dataset, recipe, out, resume }.resolve::<Recipe>(None, context)?;
    let config = TrainConfig { dataset, recipe, out, resume, autoencoder, encoder, max_minutes };
    let config = context.changed_within(&config, "recipe")?;
    config.recipe.validate()?;
    context.perform(&config, |terminal| train::run(&config, &stages::device::parse(&context.device)?, terminal))
}

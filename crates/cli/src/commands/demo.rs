//! `demo`: all stages on drawn phantoms, without any data.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use demo::{self, DemoConfig};
use settings::Settings as _;
use stages::recipe::Recipe;

use super::recipes::read_recipe;
use crate::context::Context;
use crate::outcome::Outcome;

#[derive(Debug, Args)]
pub struct Arguments {
    /// The folder for everything; report.html in it is the page to open
    #[arg(long, value_name = "DIR", default_value = "demo")]
    out: PathBuf,
    /// Phantoms to draw
    #[arg(long, value_name = "N", default_value_t = 1200)]
    num_phantoms: usize,
    /// Images, counted with repetition, that the autoencoder is trained on
    #[arg(long, value_name = "N", default_value_t = 4800)]
    autoencoder_images: u64,
}

pub fn run(arguments: Arguments, context: &Context<'_>) -> Result<Outcome> {
    let Arguments { out, num_phantoms, autoencoder_images } = arguments;
    let recipe = read_recipe::<Recipe>("demo-64", context)?;
    let config = DemoConfig { out, num_phantoms, autoencoder_images, seed: context.seed(), recipe };
    let config = context.changed_within(&config, "recipe")?;
    config.recipe.validate()?;
    context.perform(&config, |terminal| demo::run(&config, &stages::device::parse(&context.device)?, terminal))
}

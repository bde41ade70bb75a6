//! `evaluate`: what synthetic images are worth.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};
use pipeline::evaluate::fidelity::{self, FidelityConfig};

use super::{SPLITS, word, words};
use crate::context::Context;
use crate::outcome::Outcome;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Distance of synthetic images to real ones in an encoder's features, beside the floor that held-out real images set
    Fidelity(Fidelity),
}

#[derive(Debug, Args)]
struct Fidelity {
    /// The dataset of real images
    real: PathBuf,
    /// The dataset of synthetic images
    synthetic: PathBuf,
    /// The encoder whose class token is the feature; of a run or model its encoder
    #[arg(long, value_name = "FOLDER")]
    features: PathBuf,
    /// The real images that everything is compared with
    #[arg(long, value_name = "SPLIT", default_value = "train", value_parser = words(SPLITS))]
    reference: String,
    /// The real images that give the floor
    #[arg(long, value_name = "SPLIT", default_value = "val", value_parser = words(SPLITS))]
    held_out: String,
    /// Also writes the result to this JSON file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub fn run(arguments: Arguments, context: &Context<'_>) -> Result<Outcome> {
    context.refuse_overrides("evaluate")?;
    let What::Fidelity(Fidelity { real, synthetic, features, reference, held_out, out }) = arguments.what;
    let config = FidelityConfig {
        real,
        synthetic,
        features,
        reference_split: word(&reference)?,
        held_out_split: word(&held_out)?,
        seed: context.seed.unwrap_or(0),
        out,
    };
    context.perform(&config, |terminal| fidelity::run(&config, &pipeline::device::parse(&context.device)?, terminal))
}

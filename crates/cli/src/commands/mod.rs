//! The commands, one file each: what can be typed, and the stage that it means.

mod demo;
mod embed;
mod encode;
mod evaluate;
mod generate;
mod inspect;
mod prepare;
mod pretrain;
mod recipes;
mod report;
mod runs;
mod segment;
mod train;
mod views;
mod words;

use anyhow::Result;
use clap::Subcommand;

use crate::context::Context;
use crate::outcome::Outcome;
use words::{word, words};

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows all stages on built-in phantoms, in a few minutes and without any data
    Demo(demo::Arguments),
    /// Turns files and folders of images into a dataset: decodes, checks, de-duplicates, splits by patient
    Prepare(prepare::Arguments),
    /// Makes a network from a dataset's own images, where none can be downloaded
    Pretrain(pretrain::Arguments),
    /// Stores what frozen networks make of a dataset's images
    Encode(encode::Arguments),
    /// Trains a generative model on a dataset's encodings
    Train(train::Arguments),
    /// Generates a synthetic dataset
    Generate(generate::Arguments),
    /// Finds the lungs in every image, without labels
    Segment(segment::Arguments),
    /// Says what synthetic images are worth
    Evaluate(evaluate::Arguments),
    /// Writes one self-contained HTML page about runs, datasets and models
    Report(report::Arguments),
    /// Writes the embeddings of image files
    Embed(embed::Arguments),
    /// Finds images that lie wrongly, and tells views that metadata do not
    Views(views::Arguments),
    /// Says what a file or folder is, and whether it is sound
    Inspect(inspect::Arguments),
}

/// Does what was typed.
///
/// # Errors
/// Those of the command.
pub fn run(command: Command, context: &Context<'_>) -> Result<Outcome> {
    match command {
        Command::Demo(arguments) => demo::run(arguments, context),
        Command::Prepare(arguments) => prepare::run(arguments, context),
        Command::Pretrain(arguments) => pretrain::run(arguments, context),
        Command::Encode(arguments) => encode::run(arguments, context),
        Command::Train(arguments) => train::run(arguments, context),
        Command::Generate(arguments) => generate::run(arguments, context),
        Command::Segment(arguments) => segment::run(arguments, context),
        Command::Evaluate(arguments) => evaluate::run(arguments, context),
        Command::Report(arguments) => report::run(arguments, context),
        Command::Embed(arguments) => embed::run(arguments, context),
        Command::Views(arguments) => views::run(arguments, context),
        Command::Inspect(arguments) => inspect::run(arguments, context),
    }
}

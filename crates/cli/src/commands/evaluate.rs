//! `evaluate`: what synthetic images, an autoencoder and an encoder are worth.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::{Args, Subcommand};
use dataset::Split;
use evaluation::augmentation::{self, AugmentationConfig, GridSettings};
use evaluation::autoencoder::{self, AutoencoderConfig};
use evaluation::conditioning::{self, ConditioningConfig};
use evaluation::encoder::{self, EncoderConfig};
use evaluation::features::FeatureChoice;
use evaluation::fidelity::{self, FidelityConfig};
use evaluation::memorisation::{self, MemorisationConfig};
use evaluation::segmentation::{self, SegmentationConfig};
use settings::Settings as _;

use super::recipes::{list_recipes, read_recipe};
use super::{word, words};
use crate::context::Context;
use crate::outcome::Outcome;

#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Distance of synthetic images to real ones in the features of a network, beside the floor that held-out real images set
    Fidelity(Fidelity),
    /// Whether synthetic images are copies of training images, beside what held-out real images do
    Memorisation(Memorisation),
    /// How often an image that was drawn from an embedding is recognised as its source's among all real images
    Conditioning(Conditioning),
    /// What synthetic images are worth to classifiers, beside real images alone and classical augmentation, with
    /// statistics
    Augmentation(Augmentation),
    /// What an autoencoder keeps of a dataset's images: signal-to-noise ratio, structural similarity, pictures
    Autoencoder(Autoencoder),
    /// How well simple classifiers tell two groups of images apart by an encoder's embeddings, beside a random network,
    /// pixels and an autoencoder's latents
    Encoder(Encoder),
    /// How well lungs are found without labels, by every method and rule, beside controls that use no diffusion model
    Segmentation(Segmentation),
}

#[derive(Debug, Args)]
struct Fidelity {
    /// The dataset of real images, or a file of their statistics that --statistics or pytorch-fid (.npz) wrote
    real: PathBuf,
    /// Datasets of synthetic images, each of which is a set of its own: reconstructions, interpolations
    #[arg(required = true)]
    synthetic: Vec<PathBuf>,
    /// The network whose features are compared: the folder of an encoder (its class token; of a run or model its
    /// encoder), xrv:FILE (DenseNet of torchxrayvision), inception:FILE (Inception-v3 of pytorch-fid); to test the
    /// plumbing without weights, random:xrv, random:inception or random:vit-small/16
    #[arg(long, value_name = "NETWORK")]
    features: FeatureChoice,
    /// The real images that everything is compared with
    #[arg(long, value_name = "SPLIT", default_value = "train", value_parser = words::<Split>())]
    reference: String,
    /// The real images that give the floor
    #[arg(long, value_name = "SPLIT", default_value = "val", value_parser = words::<Split>())]
    held_out: String,
    /// Writes mean and covariance of the reference's features to this file, which stands for REAL where the images may
    /// not go; one that is there and of the same images and network is kept. A name that ends in .npz writes the form of
    /// pytorch-fid, without the floor and the names of dataset and network
    #[arg(long, value_name = "FILE")]
    statistics: Option<PathBuf>,
    /// Also writes the result to this JSON file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Memorisation {
    /// The dataset that the generator was trained on
    real: PathBuf,
    /// The dataset of synthetic images
    synthetic: PathBuf,
    /// The network in whose features nearness is measured, as for `evaluate fidelity`
    #[arg(long, value_name = "NETWORK")]
    features: FeatureChoice,
    /// Real images that no network saw
    #[arg(long, value_name = "SPLIT", default_value = "val", value_parser = words::<Split>())]
    held_out: String,
    /// A folder for memorisation.json and closest-pairs.png
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct Augmentation {
    /// A dataset that `prepare` wrote, with labels
    #[arg(required_unless_present = "list_grids")]
    dataset: Option<PathBuf>,
    /// The name of a built-in grid, or a TOML file
    #[arg(long, value_name = "NAME|FILE", default_value = "kermany")]
    grid: String,
    /// A folder for all results; one that was begun is continued
    #[arg(long, value_name = "DIR", required_unless_present = "list_grids")]
    out: Option<PathBuf>,
    /// Lists the built-in grids and does nothing else
    #[arg(long)]
    list_grids: bool,
}

#[derive(Debug, Args)]
struct Autoencoder {
    /// A dataset that `prepare` wrote
    dataset: PathBuf,
    /// Autoencoder folder; of a run or model its autoencoder
    #[arg(long, value_name = "FOLDER")]
    autoencoder: PathBuf,
    /// Also measures the distance between originals and reconstructions in this network's features, as for `evaluate
    /// fidelity`
    #[arg(long, value_name = "NETWORK")]
    features: Option<FeatureChoice>,
    /// The images to send through
    #[arg(long, value_name = "SPLIT", default_value = "val", value_parser = words::<Split>())]
    split: String,
    /// At most so many of them [default: all]
    #[arg(long, value_name = "N")]
    max_images: Option<usize>,
    /// Images that go through a network together
    #[arg(long, value_name = "N", default_value_t = 16)]
    batch_size: usize,
    /// A folder for autoencoder.json and reconstructions.png
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

#[derive(Debug, Args)]
struct Conditioning {
    /// The dataset whose embeddings were the conditions
    real: PathBuf,
    /// The dataset that `generate ... reconstruct` made of it
    synthetic: PathBuf,
    /// The network that recognises, as for `evaluate fidelity`; random:vit-small/16 is a control
    #[arg(long, value_name = "NETWORK")]
    features: FeatureChoice,
    /// Also writes the result to this JSON file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct Encoder {
    /// A dataset that `prepare` wrote, with labels
    dataset: PathBuf,
    /// Encoder folder; of a run or model its encoder
    #[arg(long, value_name = "FOLDER")]
    encoder: PathBuf,
    /// Also judges the latents of this autoencoder
    #[arg(long, value_name = "FOLDER")]
    autoencoder: Option<PathBuf>,
    /// The source to stay inside [default: the largest]
    #[arg(long, value_name = "NAME")]
    source: Option<String>,
    /// Images with this label are told from those with any other
    #[arg(long, value_name = "LABEL", default_value = "normal")]
    negative: String,
    /// Images that go through a network together
    #[arg(long, value_name = "N", default_value_t = 16)]
    batch_size: usize,
    /// Also writes the result to this JSON file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[command(after_help = "\
hausdorff_95 follows MONAI's HausdorffDistanceMetric: the larger of the 95th percentiles of the two directions, in
pixels. medpy and surface-distance define it otherwise: their figures cannot be compared with it.")]
struct Segmentation {
    /// A run, or a model folder
    model: PathBuf,
    /// A dataset whose images have masks of lungs
    dataset: PathBuf,
    /// The images with masks; whatever learns, learns from training images
    #[arg(long, value_name = "SPLIT", default_value = "val", value_parser = words::<Split>())]
    split: String,
    /// Share of the patients on whom settings are chosen; figures come from the others
    #[arg(long, value_name = "SHARE", default_value_t = 0.6, allow_negative_numbers = true)]
    search_share: f64,
    /// Annotated training images that prototypes are learned from
    #[arg(long, value_name = "N,N,...", value_delimiter = ',', default_value = "1,5")]
    annotated: Vec<usize>,
    /// Timesteps to show images at
    #[arg(
        long,
        value_name = "T,T,...",
        value_delimiter = ',',
        default_value = "50,200,400",
        allow_negative_numbers = true
    )]
    timesteps: Vec<f64>,
    /// Also follows the best settings through all checkpoints of a run, the model's own or one like it
    #[arg(long, value_name = "RUN")]
    checkpoints: Option<PathBuf>,
    /// Images that go through a network together
    #[arg(long, value_name = "N", default_value_t = 16)]
    batch_size: usize,
    /// A folder for segmentation.json, gallery.png and segmenter/
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub fn run(arguments: Arguments, context: &Context<'_>) -> Result<Outcome> {
    match arguments.what {
        What::Augmentation(arguments) => augmentation(arguments, context),
        What::Fidelity(arguments) => fidelity(arguments, context),
        What::Memorisation(arguments) => memorisation(arguments, context),
        What::Autoencoder(arguments) => autoencoder(arguments, context),
        What::Conditioning(arguments) => conditioning(arguments, context),
        What::Encoder(arguments) => encoder(arguments, context),
        What::Segmentation(arguments) => segmentation(arguments, context),
    }
}

fn fidelity(arguments: Fidelity, context: &Context<'_>) -> Result<Outcome> {
    let Fidelity { real, synthetic, features, reference, held_out, statistics, out } = arguments;
    let config = FidelityConfig {
        real,
        synthetic,
        features,
        reference_split: word(&reference)?,
        held_out_split: word(&held_out)?,
        seed: context.seed.unwrap_or(0),
        statistics,
        out,
    };
    let config = context.changed(&config)?;
    context.perform(&config, |terminal| fidelity::run(&config, &stages::device::parse(&context.device)?, terminal))
}

fn memorisation(arguments: Memorisation, context: &Context<'_>) -> Result<Outcome> {
    let Memorisation { real, synthetic, features, held_out, out } = arguments;
    let (held_out_split, seed) = (word(&held_out)?, context.seed.unwrap_or(0));
    let config = MemorisationConfig { real, synthetic, features, held_out_split, seed, out };
    let config = context.changed(&config)?;
    context.perform(&config, |terminal| memorisation::run(&config, &stages::device::parse(&context.device)?, terminal))
}

fn augmentation(arguments: Augmentation, context: &Context<'_>) -> Result<Outcome> {
    if arguments.list_grids {
        return list_recipes::<GridSettings>(context);
    }
    let Augmentation { dataset, grid, out, list_grids: _ } = arguments;
    let (dataset, out) = (
        dataset.context("the dataset is missing; give its folder")?,
        out.context("the folder for the results is missing; give `--out DIR`")?,
    );
    let settings = read_recipe::<GridSettings>(&grid, context)?;
    let config = context.changed_within(&AugmentationConfig { dataset, settings, out }, "settings")?;
    config.settings.validate()?;
    context.perform(&config, |terminal| augmentation::run(&config, &stages::device::parse(&context.device)?, terminal))
}

fn autoencoder(arguments: Autoencoder, context: &Context<'_>) -> Result<Outcome> {
    let Autoencoder { dataset, autoencoder, features, split, max_images, batch_size, out } = arguments;
    let split = word(&split)?;
    let config = AutoencoderConfig { dataset, autoencoder, features, split, max_images, batch_size, out };
    let config = context.changed(&config)?;
    context.perform(&config, |terminal| autoencoder::run(&config, &stages::device::parse(&context.device)?, terminal))
}

fn encoder(arguments: Encoder, context: &Context<'_>) -> Result<Outcome> {
    let Encoder { dataset, encoder, autoencoder, source, negative, batch_size, out } = arguments;
    let seed = context.seed.unwrap_or(0);
    let config = EncoderConfig { dataset, encoder, autoencoder, source, negative, seed, batch_size, out };
    let config = context.changed(&config)?;
    context.perform(&config, |terminal| encoder::run(&config, &stages::device::parse(&context.device)?, terminal))
}

fn conditioning(arguments: Conditioning, context: &Context<'_>) -> Result<Outcome> {
    let Conditioning { real, synthetic, features, out } = arguments;
    let config = ConditioningConfig { real, synthetic, features, seed: context.seed.unwrap_or(0), out };
    let config = context.changed(&config)?;
    context.perform(&config, |terminal| conditioning::run(&config, &stages::device::parse(&context.device)?, terminal))
}

fn segmentation(arguments: Segmentation, context: &Context<'_>) -> Result<Outcome> {
    let Segmentation { model, dataset, split, search_share, annotated, timesteps, checkpoints, batch_size, out } =
        arguments;
    let (split, seed, num_annotated) = (word(&split)?, context.seed(), annotated);
    let config = SegmentationConfig {
        model,
        dataset,
        split,
        search_share,
        num_annotated,
        timesteps,
        checkpoints,
        batch_size,
        seed,
        out,
    };
    let config = context.changed(&config)?;
    context.perform(&config, |terminal| segmentation::run(&config, &stages::device::parse(&context.device)?, terminal))
}

//! `generate`: a model and the embeddings of real images become a synthetic dataset.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use dataset::Split;
use diffusion::{Sampler, interpolate::Interpolation};
use stages::generate::{self, GenerateConfig, PairRule};

use super::{word, words};
use crate::context::Context;
use crate::outcome::Outcome;

#[derive(Debug, Args)]
pub struct Arguments {
    /// A run, or a model folder
    model: PathBuf,
    /// The dataset whose images are the sources
    dataset: PathBuf,
    /// Variants of single images, mixtures of two, or images from no condition
    strategy: Strategy,
    /// Images to generate [default for listed: all]
    #[arg(long, value_name = "N", required_unless_present = "table")]
    num_images: Option<usize>,
    /// The synthetic dataset: a new folder, or an unfinished one to continue
    #[arg(long, value_name = "SYNTHETIC")]
    out: PathBuf,
    /// The split that sources come from
    #[arg(long, value_name = "SPLIT", default_value = "val", value_parser = words::<Split>())]
    split: String,
    /// reconstruct: images for each source [default: 1]
    #[arg(long, value_name = "N")]
    variants: Option<usize>,
    /// interpolate: how the two ends are found: label, neighbour, or a file with two ids a line [default: label]
    #[arg(long, value_name = "RULE|FILE")]
    pairs: Option<String>,
    /// interpolate: how far from the first end to the second [default: 0,0.25,0.5,0.75,1]
    #[arg(long, value_name = "F,F,...", value_delimiter = ',', allow_negative_numbers = true)]
    fractions: Vec<f64>,
    /// interpolate: straight, or along the sphere [default: slerp]
    #[arg(long, value_name = "WAY", value_parser = words::<Interpolation>())]
    interpolation: Option<String>,
    /// listed: a CSV file with the columns source, target and fraction; the last two only for mixtures
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,
    /// How strongly the condition counts; 1 is off [default: the model's]
    #[arg(long, value_name = "SCALE", allow_negative_numbers = true)]
    guidance_scale: Option<f64>,
    /// Steps from noise to image [default: the model's]
    #[arg(long, value_name = "N")]
    num_steps: Option<usize>,
    /// How the steps are made [default: the model's]
    #[arg(long, value_name = "SAMPLER", value_parser = words::<Sampler>())]
    sampler: Option<String>,
    /// Images that go through the network together; changes speed and memory, not the result
    #[arg(long, value_name = "N", default_value_t = 8)]
    batch_size: usize,
    /// Also writes PNG files of 8 or 16 bits
    #[arg(long, value_name = "BITS", num_args = 0..=1, default_missing_value = "8", value_parser = clap::value_parser!(u8))]
    png: Option<u8>,
    /// Also draws figure.png: rows of variants beside their source, or of mixtures between their ends
    #[arg(long)]
    figure: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Strategy {
    /// Variants of single images
    Reconstruct,
    /// Mixtures of two images
    Interpolate,
    /// Exactly what a table lists
    Listed,
    /// From noise alone: the control of what the condition does
    Unconditional,
}

pub fn run(arguments: Arguments, context: &Context<'_>) -> Result<Outcome> {
    let config = GenerateConfig {
        strategy: strategy(&arguments)?,
        split: word(&arguments.split)?,
        sampler: arguments.sampler.as_deref().map(word).transpose()?,
        model: arguments.model,
        dataset: arguments.dataset,
        out: arguments.out,
        num_images: arguments.num_images,
        guidance_scale: arguments.guidance_scale,
        num_steps: arguments.num_steps,
        seed: context.seed(),
        batch_size: arguments.batch_size,
        png_bits: arguments.png,
        figure: arguments.figure,
    };
    let config = context.changed(&config)?;
    context.perform(&config, |terminal| generate::run(&config, &stages::device::parse(&context.device)?, terminal))
}

fn strategy(arguments: &Arguments) -> Result<generate::Strategy> {
    let foreign = |given: &[(&str, bool)], strategy: &str| match given.iter().find(|(_, given)| *given) {
        Some((option, _)) => bail!("`{option}` says nothing about {strategy}; leave it out"),
        None => Ok(()),
    };
    let of_variants = [("--variants", arguments.variants.is_some())];
    let of_mixtures = [
        ("--pairs", arguments.pairs.is_some()),
        ("--fractions", !arguments.fractions.is_empty()),
        ("--interpolation", arguments.interpolation.is_some()),
    ];
    let of_tables = [("--table", arguments.table.is_some())];
    if !matches!(arguments.strategy, Strategy::Listed) {
        foreign(&of_tables, "any other strategy than `listed`")?;
    }
    let interpolation = || word(arguments.interpolation.as_deref().unwrap_or("slerp"));
    Ok(match arguments.strategy {
        Strategy::Listed => {
            foreign(&of_variants, "`listed`")?;
            foreign(&of_mixtures[..2], "`listed`")?;
            let Some(table) = arguments.table.clone() else { bail!("`listed` needs a table; give `--table FILE`") };
            generate::Strategy::Listed { table, interpolation: interpolation()? }
        }
        Strategy::Unconditional => {
            foreign(&of_variants, "`unconditional`")?;
            foreign(&of_mixtures, "`unconditional`")?;
            foreign(&[("--guidance-scale", arguments.guidance_scale.is_some())], "`unconditional`")?;
            generate::Strategy::Unconditional
        }
        Strategy::Reconstruct => {
            foreign(&of_mixtures, "`reconstruct`")?;
            generate::Strategy::Reconstruct { variants: arguments.variants.unwrap_or(1) }
        }
        Strategy::Interpolate => {
            foreign(&of_variants, "`interpolate`")?;
            generate::Strategy::Interpolate {
                pairs: match arguments.pairs.as_deref().unwrap_or("label") {
                    "label" => PairRule::Label,
                    "neighbour" | "neighbor" => PairRule::Neighbour,
                    file => PairRule::File(file.into()),
                },
                fractions: match arguments.fractions.as_slice() {
                    [] => generate::quarters(),
                    given => given.to_vec(),
                },
                interpolation: interpolation()?,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Typed {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn typed(more: &[&str]) -> Result<generate::Strategy> {
        let words = ["generate", "model", "dataset"].iter().chain(more).chain(&["--num-images", "4", "--out", "x"]);
        strategy(&Typed::try_parse_from(words)?.arguments)
    }

    #[test]
    fn every_word_that_the_parser_accepts_means_something() {
        for way in ["lerp", "slerp"] {
            assert!(typed(&["interpolate", "--interpolation", way]).is_ok(), "{way}");
        }
        assert!(typed(&["reconstruct", "--sampler", "heun"]).is_ok());
        assert!(typed(&["reconstruct", "--sampler", "plms"]).is_err());
    }

    #[test]
    fn options_of_the_other_strategy_are_refused() {
        assert!(typed(&["reconstruct", "--variants", "3"]).is_ok());
        assert!(typed(&["interpolate", "--variants", "3"]).is_err());
        assert!(typed(&["reconstruct", "--pairs", "label"]).is_err());
        assert!(typed(&["unconditional"]).is_ok());
        assert!(typed(&["listed", "--table", "x.csv"]).is_ok());
        assert!(typed(&["listed"]).is_err());
        assert!(typed(&["reconstruct", "--table", "x.csv"]).is_err());
        for option in [["--variants", "3"], ["--pairs", "label"], ["--guidance-scale", "2"]] {
            assert!(typed(&[&["unconditional"], &option[..]].concat()).is_err(), "{option:?}");
        }
    }

    #[test]
    fn defaults_of_interpolation() {
        let generate::Strategy::Interpolate { pairs, fractions, .. } = typed(&["interpolate"]).unwrap() else {
            panic!("another strategy")
        };
        assert_eq!((pairs, fractions), (PairRule::Label, vec![0.0, 0.25, 0.5, 0.75, 1.0]));
    }
}

//! `prepare`: files and folders become a dataset.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use pipeline::prepare::{self, PrepareConfig};

use super::{word, words};
use crate::context::Context;
use crate::outcome::Outcome;

const PRESETS: [&str; 3] = ["folder", "csv", "kermany"];
const FITS: [&str; 3] = ["pad", "centre-crop", "stretch"];

#[derive(Debug, Args)]
#[command(after_long_help = "\
Presets:
  folder   image files and folders; the names of folders are splits and labels
  csv      a table with a row for each image; usual column names are found, others are given with --column:
           path, patient, view, labels, split, lung_mask, collection, licence
  kermany  paediatric pneumonia (Kermany et al. 2018), folders NORMAL and PNEUMONIA")]
pub struct Arguments {
    /// DICOM, PNG and JPEG files, folders of them, or tables
    #[arg(required = true, value_name = "SOURCE")]
    sources: Vec<PathBuf>,
    /// How the sources say what an image is
    #[arg(long, value_name = "NAME", default_value = "folder", value_parser = words(PRESETS))]
    preset: String,
    /// Height and width of the images to make, in pixels
    #[arg(long, value_name = "N", default_value_t = 256)]
    image_size: usize,
    /// The dataset: a new folder, or an unfinished one to continue
    #[arg(long, value_name = "DATASET")]
    out: PathBuf,
    /// How a rectangle becomes a square
    #[arg(long, value_name = "WAY", default_value = "pad", value_parser = words(FITS))]
    fit: String,
    /// csv: the column that holds something, as in `--column patient="Patient ID"`; several label columns are
    /// separated by commas; may be given several times
    #[arg(long, value_name = "WHAT=COLUMN", value_parser = parse_column)]
    column: Vec<(String, String)>,
    /// csv: the folder that paths are relative to [default: the table's own]
    #[arg(long, value_name = "FOLDER")]
    root: Option<PathBuf>,
    /// Shares of patients for training, validation and testing, where the source does not say
    #[arg(long, value_name = "T,V,T", default_value = "0.8,0.1,0.1", value_delimiter = ',', num_args = 1)]
    split: Vec<f64>,
    /// A file whose content makes patient hashes comparable between datasets [default: drawn anew]
    #[arg(long, value_name = "FILE")]
    salt_file: Option<PathBuf>,
    /// Keeps images whose pixels are there already
    #[arg(long)]
    keep_duplicates: bool,
}

fn parse_column(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((what, column)) if !what.is_empty() => Ok((what.replace('-', "_"), column.to_owned())),
        _ => Err("write it as `what=column`, for example `patient=PatientID`".into()),
    }
}

pub fn run(arguments: Arguments, context: &Context<'_>) -> Result<Outcome> {
    let config: PrepareConfig = context.with_overrides(&resolve(arguments, context.seed())?)?;
    context.perform(&config, |terminal| prepare::run(&config, terminal))
}

fn resolve(arguments: Arguments, seed: u64) -> Result<PrepareConfig> {
    let mut config = PrepareConfig {
        sources: arguments.sources,
        preset: arguments.preset,
        image_size: arguments.image_size,
        fit: word(&arguments.fit)?,
        deduplicate: !arguments.keep_duplicates,
        salt_file: arguments.salt_file,
        out: arguments.out,
        ..PrepareConfig::default()
    };
    let [train, val, test] = arguments.split[..] else {
        anyhow::bail!("`--split` takes three shares, for example 0.8,0.1,0.1, not {}", arguments.split.len());
    };
    (config.split.train, config.split.val, config.split.test, config.split.seed) = (train, val, test, seed);
    config.csv.root = arguments.root;
    for (what, column) in arguments.column {
        let columns = &mut config.csv;
        match what.as_str() {
            "labels" | "label" => columns.labels = Some(column.split(',').map(|name| name.trim().to_owned()).collect()),
            "path" => columns.path = Some(column),
            "patient" => columns.patient = Some(column),
            "view" => columns.view = Some(column),
            "split" => columns.split = Some(column),
            "lung_mask" | "mask" => columns.lung_mask = Some(column),
            "collection" => columns.collection = Some(column),
            "licence" | "license" => columns.licence = Some(column),
            _ => anyhow::bail!(
                "`--column {what}=` is not known; choose path, patient, view, labels, split, lung_mask, collection or \
                 licence"
            ),
        }
    }
    Ok(config)
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

    fn typed(more: &[&str]) -> Result<PrepareConfig> {
        let words = ["prepare", "source", "--out", "x"].iter().chain(more);
        resolve(Typed::try_parse_from(words)?.arguments, 3)
    }

    #[test]
    fn every_preset_and_fit_that_the_parser_accepts_is_known() {
        let known: Vec<&str> = pipeline::presets::PRESETS.iter().map(|(name, _)| *name).collect();
        assert_eq!(known, PRESETS);
        for fit in FITS {
            assert!(typed(&["--fit", fit]).is_ok(), "{fit}");
        }
        assert!(typed(&["--fit", "zoom"]).is_err());
    }

    #[test]
    fn columns_and_shares_reach_the_settings() {
        let config =
            typed(&["--column", "labels=a, b", "--column", "lung-mask=m", "--split", "0.5,0.25,0.25"]).unwrap();
        assert_eq!(config.csv.labels.unwrap(), ["a", "b"]);
        assert_eq!(config.csv.lung_mask.unwrap(), "m");
        assert_eq!((config.split.train, config.split.seed), (0.5, 3));
        assert!(typed(&["--column", "age=a"]).unwrap_err().to_string().contains("age"));
        assert!(typed(&["--split", "0.5,0.5"]).unwrap_err().to_string().contains("three"));
    }

    #[test]
    fn the_defaults_are_the_librarys() {
        let (typed, default) = (typed(&[]).unwrap(), PrepareConfig::default());
        assert_eq!((typed.image_size, typed.fit, typed.preset), (default.image_size, default.fit, default.preset));
        assert_eq!((typed.split.train, typed.deduplicate), (default.split.train, default.deduplicate));
    }
}

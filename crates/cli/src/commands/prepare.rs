//! `prepare`: files and folders become a dataset.

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use clap::builder::PossibleValuesParser;
use ingest::prepare::{self, CollectionSource, Fit, MergeConfig, Part, PrepareConfig};
use ingest::presets;
use settings::nearest;

use super::{word, words};
use crate::context::Context;
use crate::outcome::Outcome;

/// The parser lets it be missing with `--list-presets` only.
const NO_OUT: &str = "the dataset's folder is missing; give `--out DATASET`";

#[derive(Debug, Args)]
#[command(after_long_help = "\
Presets for any source:
  folder   image files, folders and archives; the names of folders are splits and labels
  csv      a table with a row for each image; usual column names are found, others are given with --column:
           path, patient, view, labels, split, lung_mask, collection, licence
and for public collections, which know their files, tables, labels and official splits: --list-presets says which, and
what to download.

Several collections in one dataset:
  prepare --source chexpert=CheXpert-v1.0-small --source nih-chestxray14=NIH --per-collection 50000 --out BOTH

Several machines for one dataset, the same as a single run would make (docs/recipes has scripts for Slurm and Kubernetes):
  prepare IMAGES --part 1/8 --salt-file KEY --out parts/1        ... and so on to 8/8, wherever
  prepare --merge parts --out DATASET")]
pub struct Arguments {
    /// DICOM, PNG and JPEG files, folders and archives (zip, tar, tar.gz) of them, or tables
    #[arg(required_unless_present_any = ["source", "list_presets", "merge"], value_name = "SOURCE")]
    sources: Vec<PathBuf>,
    /// How the sources say what an image is; --list-presets tells more
    #[arg(long, value_name = "NAME", default_value = "folder", hide_possible_values = true,
          value_parser = PossibleValuesParser::new(presets::names()))]
    preset: String,
    /// A source with a preset of its own; may be given several times, for several collections in one dataset
    #[arg(long, value_name = "PRESET=FOLDER", value_parser = parse_source)]
    source: Vec<CollectionSource>,
    /// Takes at most so many images of each collection, so that none outweighs the others [default: all]
    #[arg(long, value_name = "N")]
    per_collection: Option<usize>,
    /// Leaves out what a table (columns collection, patient, pixel_hash) lists, or all images and patients of a dataset
    #[arg(long, value_name = "FILE|DATASET")]
    exclude: Option<PathBuf>,
    /// Height and width of the images to make, in pixels
    #[arg(long, value_name = "N", default_value_t = 256)]
    image_size: usize,
    /// Skips images with more pixels, and files with more bytes than 8 for each of them and 64 MiB
    #[arg(long, value_name = "N", default_value_t = 100_000_000)]
    max_pixels: u64,
    /// The dataset (or the part): a new folder, or an unfinished one to continue
    #[arg(long, value_name = "DATASET", required_unless_present = "list_presets")]
    out: Option<PathBuf>,
    /// How a rectangle becomes a square
    #[arg(long, value_name = "WAY", default_value = "pad", value_parser = words::<Fit>())]
    fit: String,
    /// Stretches grey values between their percentiles where they are taken as they are otherwise: PNG, JPEG, and DICOM of
    /// up to 8 bits without a window or whose window leaves nothing to see. For images that use a part of the range only
    #[arg(long)]
    stretch_plain_images: bool,
    /// Decodes JPEG and JPEG 2000 to no more than needed, which is quicker; pixels differ a little from those of a full
    /// decoding, and equal images are recognised within one format and image size only. Nothing is reduced with
    /// `--crop-borders` or `--mask-corner-text`
    #[arg(long)]
    reduced_decoding: bool,
    /// Cuts off borders that show nothing: collimation margins and frames of scanners
    #[arg(long)]
    crop_borders: bool,
    /// Paints over what looks like text in the corners, markers of the side included; no guarantee: text over anatomy is
    /// not found, so look at the images
    #[arg(long)]
    mask_corner_text: bool,
    /// csv: the column that holds something, as in `--column patient="Patient ID"`; several label columns are
    /// separated by commas; may be given several times
    #[arg(long, value_name = "WHAT=COLUMN", value_parser = parse_column)]
    column: Vec<(String, String)>,
    /// csv: the folder that paths are relative to [default: the table's own]
    #[arg(long, value_name = "FOLDER")]
    root: Option<PathBuf>,
    /// Shares of patients for training, validation and testing, where the source does not say
    #[arg(
        long,
        value_name = "T,V,T",
        default_value = "0.8,0.1,0.1",
        value_delimiter = ',',
        num_args = 1,
        allow_negative_numbers = true
    )]
    split: Vec<f64>,
    /// A file whose content makes patient hashes comparable between datasets [default: drawn anew]
    #[arg(long, value_name = "FILE")]
    salt_file: Option<PathBuf>,
    /// Keeps images whose pixels are there already
    #[arg(long)]
    keep_duplicates: bool,
    /// Prepares one of N shares of the images only, to be joined by --merge; needs --salt-file
    #[arg(long, value_name = "I/N", requires = "salt_file", conflicts_with = "add")]
    part: Option<Part>,
    /// Joins the parts in these folders, or in a folder of them, to one dataset
    #[arg(long, value_name = "PART", num_args = 1.., conflicts_with_all = [
        "sources", "preset", "source", "per_collection", "exclude", "image_size", "fit", "reduced_decoding",
        "stretch_plain_images", "crop_borders", "mask_corner_text", "column", "root", "split",
        "salt_file", "keep_duplicates", "part", "add", "list_presets",
    ])]
    merge: Vec<PathBuf>,
    /// Adds to a finished dataset what is new in its sources; what is there keeps its number and its split
    #[arg(long)]
    add: bool,
    /// Lists the presets, with what to download, licence and citation, and does nothing else
    #[arg(long)]
    list_presets: bool,
}

fn parse_source(text: &str) -> Result<CollectionSource, String> {
    let Some((preset, folder)) = text.split_once('=').filter(|(_, folder)| !folder.is_empty()) else {
        return Err("write it as `preset=folder`, for example `chexpert=CheXpert-v1.0-small`".into());
    };
    let known = presets::names();
    if !known.contains(&preset) {
        let hint = nearest(preset, known.iter().copied()).map(|name| format!("; did you mean `{name}`?"));
        return Err(format!("there is no preset `{preset}`{}", hint.unwrap_or("; --list-presets lists them".into())));
    }
    Ok(CollectionSource { preset: preset.to_owned(), folder: folder.into() })
}

fn parse_column(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((what, column)) if !what.is_empty() => Ok((what.replace('-', "_"), column.to_owned())),
        _ => Err("write it as `what=column`, for example `patient=PatientID`".into()),
    }
}

pub fn run(arguments: Arguments, context: &Context<'_>) -> Result<Outcome> {
    if arguments.list_presets {
        context.terminal.print(&list_presets())?;
        return Ok(Outcome::default());
    }
    if !arguments.merge.is_empty() {
        let out = arguments.out.context(NO_OUT)?;
        let config = context.changed(&MergeConfig { parts: arguments.merge, out })?;
        return context.perform(&config, |terminal| prepare::merge(&config, terminal));
    }
    let config = context.changed(&resolve(arguments, context.seed())?)?;
    context.perform(&config, |terminal| prepare::run(&config, terminal))
}

/// One paragraph for each preset.
fn list_presets() -> String {
    let mut paragraphs = vec![
        "folder\n  image files, folders and archives; the names of folders are splits and labels".to_owned(),
        "csv\n  a table with a row for each image; --column names its columns".to_owned(),
    ];
    paragraphs.extend(presets::about_all().map(|about| {
        format!(
            "{}\n  {}\n  download: {}\n  size:     {}\n  access:   {}\n  licence:  {}\n  cite:     {}",
            about.name, about.title, about.download, about.size, about.access, about.licence, about.citation
        )
    }));
    paragraphs.join("\n\n")
}

fn resolve(arguments: Arguments, seed: u64) -> Result<PrepareConfig> {
    let mut config = PrepareConfig {
        sources: arguments.sources,
        preset: arguments.preset,
        collections: arguments.source,
        max_per_collection: arguments.per_collection,
        exclude: arguments.exclude,
        image_size: arguments.image_size,
        max_pixels: arguments.max_pixels,
        fit: word(&arguments.fit)?,
        stretch_plain_images: arguments.stretch_plain_images,
        reduced_decoding: arguments.reduced_decoding,
        crop_borders: arguments.crop_borders,
        mask_corner_text: arguments.mask_corner_text,
        deduplicate: !arguments.keep_duplicates,
        salt_file: arguments.salt_file,
        out: arguments.out.context(NO_OUT)?,
        part: arguments.part,
        add: arguments.add,
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
    use std::path::Path;

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
        for preset in presets::names() {
            assert!(typed(&["--preset", preset]).is_ok(), "{preset}");
        }
        assert!(typed(&["--preset", "kermani"]).is_err());
        for fit in ["pad", "centre-crop", "stretch"] {
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
    fn sources_of_several_presets_reach_the_settings() {
        let typed = |more: &[&str]| -> Result<PrepareConfig> {
            let words = ["prepare", "--out", "x"].iter().chain(more);
            resolve(Typed::try_parse_from(words)?.arguments, 3)
        };
        let config = typed(&["--source", "chexpert=a/b", "--source", "siim=c=d", "--per-collection", "5"]).unwrap();
        let sources: Vec<_> = config.collections.iter().map(|source| (&*source.preset, &*source.folder)).collect();
        assert_eq!(sources, [("chexpert", Path::new("a/b")), ("siim", Path::new("c=d"))]);
        assert_eq!(config.max_per_collection, Some(5));
        let message = |source| typed(&["--source", source]).unwrap_err().to_string();
        assert!(message("chexprt=a").contains("did you mean `chexpert`?"), "{}", message("chexprt=a"));
        assert!(message("chexpert").contains("preset=folder"));
        assert!(message("chexpert=").contains("preset=folder"));
        assert!(typed(&[]).unwrap_err().to_string().contains("SOURCE"));
    }

    #[test]
    fn parts_need_a_key_and_are_joined_without_other_settings() {
        let config = typed(&["--part", "3/8", "--salt-file", "key"]).unwrap();
        assert_eq!(config.part, "3/8".parse().ok());
        assert!(!config.add && typed(&["--add"]).unwrap().add);
        let message = |more: &[&str]| typed(more).unwrap_err().to_string();
        assert!(message(&["--part", "3/8"]).contains("--salt-file"));
        assert!(message(&["--part", "8", "--salt-file", "key"]).contains("for example 3/8"));
        assert!(message(&["--part", "1/8", "--salt-file", "key", "--add"]).contains("cannot be used with"));
        let merge =
            |more: &[&str]| Typed::try_parse_from(["prepare", "--merge", "a", "b", "--out", "x"].iter().chain(more));
        assert_eq!(merge(&[]).unwrap().arguments.merge, [Path::new("a"), Path::new("b")]);
        for more in
            [&["--image-size", "64"][..], &["--salt-file", "key"], &["--fit", "pad"], &["--crop-borders"], &["--add"]]
        {
            assert!(merge(more).unwrap_err().to_string().contains("cannot be used with"), "{more:?}");
        }
    }

    #[test]
    fn the_list_of_presets_says_what_each_needs() {
        let list = list_presets();
        for about in presets::about_all() {
            let paragraph = list.split("\n\n").find(|text| text.starts_with(&format!("{}\n", about.name))).unwrap();
            for part in [about.download, about.size, about.licence, about.citation, &about.access.to_string()] {
                assert!(!part.is_empty() && paragraph.contains(part), "{}: {part}", about.name);
            }
        }
        let typed = Typed::try_parse_from(["prepare", "--list-presets"]).unwrap();
        assert!(typed.arguments.list_presets, "it needs neither sources nor --out");
    }

    #[test]
    fn the_defaults_are_the_librarys() {
        let (typed, default) = (typed(&[]).unwrap(), PrepareConfig::default());
        assert_eq!((typed.image_size, typed.fit, typed.preset), (default.image_size, default.fit, default.preset));
        assert_eq!((typed.split.train, typed.deduplicate), (default.split.train, default.deduplicate));
        assert_eq!((typed.max_pixels, typed.reduced_decoding), (default.max_pixels, default.reduced_decoding));
        assert_eq!(typed.stretch_plain_images, default.stretch_plain_images);
        assert_eq!((typed.crop_borders, typed.mask_corner_text), (default.crop_borders, default.mask_corner_text));
    }
}

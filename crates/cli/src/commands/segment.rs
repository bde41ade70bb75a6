//! `segment`: masks of lungs from a model that was never shown one.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use dataset::Split;
use segmentation::SegmenterSettings;
use stages::segment::{self, SegmentConfig};

use super::{word, words};
use crate::context::Context;
use crate::outcome::Outcome;

#[derive(Debug, Args)]
#[command(after_help = "\
A model may carry a segmenter; another one is fitted where settings are changed, for example by
`--set num_annotated=5` or `--set method.kind=diffseg --set method.threshold=0.03`; `--dry-run` lists the settings.
Masks are those of the dataset's images, 255 inside; the right lung is the patient's, on the left of the picture.")]
pub struct Arguments {
    /// A run, or a model folder
    model: PathBuf,
    /// The dataset whose images are segmented
    dataset: PathBuf,
    /// A folder for masks, overlays and annotations: a new one, or an unfinished one to continue
    #[arg(long, value_name = "MASKS")]
    out: PathBuf,
    /// Only images of this split [default: all]
    #[arg(long, value_name = "SPLIT", value_parser = words::<Split>())]
    split: Option<String>,
    /// At most so many images [default: all]
    #[arg(long, value_name = "N")]
    max_images: Option<usize>,
    /// A segmenter that `evaluate segmentation` wrote [default: the model's]
    #[arg(long, value_name = "FOLDER")]
    segmenter: Option<PathBuf>,
    /// The folder that was prepared: also writes a DICOM SEG object for each image that came from a DICOM file
    #[arg(long, value_name = "FOLDER")]
    dicom_sources: Option<PathBuf>,
    /// Also writes where every pixel looks, one file of 16-bit numbers for each image
    #[arg(long)]
    attention: bool,
    /// Images that go through the networks together
    #[arg(long, value_name = "N", default_value_t = 8)]
    batch_size: usize,
}

pub fn run(arguments: Arguments, context: &Context<'_>) -> Result<Outcome> {
    let Arguments { model, dataset, out, split, max_images, segmenter, dicom_sources, attention, batch_size } =
        arguments;
    let mut config = SegmentConfig {
        model,
        dataset,
        out,
        split: split.as_deref().map(word).transpose()?,
        max_images,
        segmenter,
        settings: Some(SegmenterSettings::default()),
        dicom_sources,
        attention,
        batch_size,
        seed: context.seed(),
    };
    config = context.changed_within(&config, "settings")?;
    if context.shows_settings(&config)? {
        return Ok(Outcome::default());
    }
    // Nothing is asked for that would need another segmenter than the model's.
    config.settings = config.settings.filter(|settings| *settings != SegmenterSettings::default());
    context.perform(&config, |terminal| segment::run(&config, &stages::device::parse(&context.device)?, terminal))
}

//! What a dataset remembers of how it was made: by this an unfinished one is continued or refused.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use dataset::{DatasetSettings, SplitPlan};
use serde::Serialize;

use super::exclude::Exclusions;
use super::{CollectionSource, Fit, Part, PrepareConfig};
use crate::presets::{self, Columns};

/// The settings that make the images what they are; a dataset continues with the same ones only.
pub(super) fn settings(
    config: &PrepareConfig,
    exclusions: &Exclusions,
    salt_fingerprint: Option<String>,
) -> Result<DatasetSettings> {
    /// What whoever passes the images on must know.
    #[derive(Serialize)]
    struct Terms {
        licence: &'static str,
        citation: &'static str,
    }
    #[derive(Serialize)]
    struct Preparation<'a> {
        preset: &'a str,
        /// Names only: where the sources lie is nobody's business.
        sources: Vec<String>,
        fit: Fit,
        stretch_plain_images: bool,
        /// These three only where they are on, as datasets of earlier releases have them off.
        #[serde(skip_serializing_if = "is_off")]
        reduced_decoding: bool,
        #[serde(skip_serializing_if = "is_off")]
        crop_borders: bool,
        #[serde(skip_serializing_if = "is_off")]
        mask_corner_text: bool,
        /// Only where it is not the usual one.
        #[serde(skip_serializing_if = "Option::is_none")]
        max_pixels: Option<u64>,
        deduplicate: bool,
        /// By what images are known again: nothing in datasets of versions 1 and 2, which therefore neither continue nor grow.
        pixel_hash: &'static str,
        /// Only where it is off: datasets of releases that had no such setting are still the same ones.
        #[serde(skip_serializing_if = "is_on")]
        join_near_duplicates: bool,
        split: SplitPlan,
        csv: Columns,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        collections: Vec<CollectionSource>,
        #[serde(skip_serializing_if = "Option::is_none")]
        max_per_collection: Option<usize>,
        #[serde(skip_serializing_if = "Option::is_none")]
        exclude: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        part: Option<Part>,
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        terms: BTreeMap<&'static str, Terms>,
    }
    let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut csv = config.csv.clone();
    csv.root = csv.root.as_ref().map(|root| PathBuf::from(name(root)));
    let collections: Vec<_> = config
        .collections
        .iter()
        .map(|source| CollectionSource { preset: source.preset.clone(), folder: name(&source.folder).into() })
        .collect();
    let main_preset = (!config.sources.is_empty()).then_some(config.preset.as_str());
    let presets = main_preset.into_iter().chain(config.collections.iter().map(|source| source.preset.as_str()));
    let terms = presets
        .filter_map(presets::about)
        .map(|about| (about.name, Terms { licence: about.licence, citation: about.citation }))
        .collect();
    let preparation = Preparation {
        preset: &config.preset,
        sources: config.sources.iter().map(name).collect(),
        fit: config.fit,
        stretch_plain_images: config.stretch_plain_images,
        reduced_decoding: config.reduced_decoding,
        crop_borders: config.crop_borders,
        mask_corner_text: config.mask_corner_text,
        max_pixels: (config.max_pixels != PrepareConfig::default().max_pixels).then_some(config.max_pixels),
        deduplicate: config.deduplicate,
        pixel_hash: dataset::PIXEL_HASH_KIND,
        join_near_duplicates: config.join_near_duplicates,
        split: config.split,
        csv,
        collections,
        max_per_collection: config.max_per_collection,
        exclude: config.exclude.is_some().then_some(exclusions.fingerprint.as_str()),
        part: config.part,
        terms,
    };
    Ok(DatasetSettings {
        image_size: config.image_size,
        shard_size: config.shard_size,
        seed: config.split.seed,
        salt_fingerprint,
        preparation: toml::Table::try_from(preparation)?,
    })
}

fn is_off(setting: &bool) -> bool {
    !*setting
}

fn is_on(setting: &bool) -> bool {
    *setting
}

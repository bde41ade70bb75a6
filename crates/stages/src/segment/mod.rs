//! Segmentation without labels, from what a trained model's UNet makes of an image: finds both lungs on frontal chest
//! radiographs and writes them as masks, overlays and annotations.
//!
//! | file | what it holds |
//! | --- | --- |
//! | [`SegmenterSettings`] | the choices: how the UNet is asked, how its answer is cut, which segments are lungs |
//! | [`Segmenter`] | these with what was learned for them, saved as a folder that a model can carry |
//! | [`run`] | `segment`: every image of a dataset |
//!
//! A killed run continues: `segments.jsonl` lists the images that are done.

mod coco;
mod dicom;
mod extractor;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use dataset::{Dataset, ManifestRow, Split};
use nets::{Checkpoint, HostTensor};
use radiograph::{outline_mask, overlay_labels, write_png_u8, write_png_u16};
use segmentation::{
    Example, Examples, FeatureKinds, Lungs, ModelFeatures, Segmented, Segmenter, SegmenterSettings, darkness,
};
use serde::{Deserialize, Serialize};

use crate::model::{Model, folder_of, read_info};
pub use coco::RunLengths;
use coco::{Annotations, CodedMask};
use dicom::DicomSources;
pub use extractor::{FeatureExtractor, check_pass};
use files::outputs;
use files::{Damaged, DoneList};
use messages::Progress;
use messages::Skipped;

/// What to segment with what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentConfig {
    /// A run or a model folder.
    pub model: PathBuf,
    /// The images.
    pub dataset: PathBuf,
    /// The folder for what is found.
    pub out: PathBuf,
    /// Only images of this split; all where absent.
    pub split: Option<Split>,
    /// At most so many images, the first ones.
    pub max_images: Option<usize>,
    /// A fitted segmenter; where absent the model's own, or else one that is fitted with [`SegmentConfig::settings`].
    pub segmenter: Option<PathBuf>,
    /// What a new segmenter is fitted with, whatever the model has; none takes the model's own or the defaults.
    pub settings: Option<SegmenterSettings>,
    /// The folder that was prepared: for images that came from DICOM files a segmentation object is written too.
    pub dicom_sources: Option<PathBuf>,
    /// Also writes the joined attention maps of every image.
    pub attention: bool,
    /// Images that go through the networks together.
    pub batch_size: usize,
    /// Of parts and noise.
    pub seed: u64,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct SegmentSummary {
    /// Images in the folder, those of earlier sessions included.
    pub num_images: usize,
    /// Images in which both lungs were found.
    pub num_with_both_lungs: usize,
    /// Mean number of segments.
    pub mean_segments: f64,
    /// Mean share of the image that is lung, where both were found.
    pub mean_lung_share: f64,
    /// Seconds for each image of this session, everything included.
    pub secs_per_image: f64,
    /// The folder of the segmenter that was used.
    pub segmenter: PathBuf,
    /// Annotations in the format of COCO; the images that they name lie in `images/` beside the file.
    pub annotations: PathBuf,
    /// Images without a pair of lungs.
    pub skipped: Vec<Skipped>,
}

/// One line of `segments.jsonl`.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    id: String,
    num_segments: usize,
    /// In the order of [`STRUCTURES`].
    lungs: [Option<CodedMask>; 2],
    /// Why there is no segmentation object although one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

/// Structures, as folders and categories are named.
const STRUCTURES: [&str; 2] = ["right_lung", "left_lung"];
/// The folder of the images that the annotations are of, beside these.
const IMAGES: &str = "images";
/// Lungs that are less or more than this share of an image are doubtful.
const PLAUSIBLE_SHARES: std::ops::RangeInclusive<f64> = 0.03..=0.65;

/// Segments every image.
///
/// # Errors
/// A model, segmenter or dataset that cannot be used or do not belong together; a disk that is full.
pub fn run(config: &SegmentConfig, device: &Device, progress: &dyn Progress) -> Result<SegmentSummary> {
    let dataset = Dataset::open(&config.dataset)?;
    let rows = chosen_rows(&dataset, config)?;
    check(config, &dataset)?;
    let model = Model::open(&config.model, device)?;
    outputs::make_folder(&config.out)?;
    files::sweep(&config.out)?;
    let segmenter_folder = config.out.join("segmenter");
    let segmenter = find_or_fit(config, &model, &dataset, &segmenter_folder, device, progress)?;
    let (mut done, records) = DoneList::open::<Record>(&config.out.join("segments.jsonl"), Damaged::Repeat)?;
    let mut records: BTreeMap<String, Record> = records.into_iter().map(|record| (record.id.clone(), record)).collect();
    let manifest = dataset.rows_at(&rows)?;
    let pending: Vec<(usize, &ManifestRow)> =
        rows.iter().copied().zip(&manifest).filter(|(_, row)| !records.contains_key(&row.id)).collect();
    if pending.len() < rows.len() {
        progress.say(&format!("{} images are there already; continuing", rows.len() - pending.len()));
    }

    let wanted =
        segmenter.settings.method.wanted().and(FeatureKinds { attention: config.attention, ..FeatureKinds::default() });
    let reader = FeatureExtractor::new(&model, &segmenter.settings.pass, wanted, config.seed, device)?;
    let size = dataset.image_size();
    write_missing_images(&config.out, &dataset, &rows, &manifest, &records)?;
    let dicom = config
        .dicom_sources
        .as_ref()
        .map(|folder| DicomSources::new(folder, &dataset, &model.fingerprint, &config.out))
        .transpose()?;
    let begun = std::time::Instant::now();
    progress.begin("segmenting", pending.len() as u64, "images");
    for chunk in pending.chunks(config.batch_size) {
        let indices: Vec<usize> = chunk.iter().map(|(index, _)| *index).collect();
        let (pictures, evidence) = reader.read_rows(&dataset, &indices, device)?;
        for (((_, row), picture), evidence) in chunk.iter().zip(pictures.chunks_exact(size * size)).zip(&evidence) {
            let segmented = segmenter.apply(evidence, picture, size, device)?;
            write_pictures(&config.out, &row.id, picture, &segmented, size)?;
            if config.attention {
                write_attention(&config.out, &row.id, evidence)?;
            }
            let Lungs { right, left } = &segmented.lungs;
            let written = dicom.as_ref().map(|sources| sources.write(row, &segmented.lungs, size));
            let record = Record {
                id: row.id.clone(),
                num_segments: number_of_segments(&segmented.labels),
                lungs: [right, left].map(|mask| CodedMask::of(mask, size)),
                problem: written.and_then(Result::err).map(|error| messages::sentence(&error, None)),
            };
            done.append(&record)?;
            records.insert(row.id.clone(), record);
        }
        progress.advance(chunk.len() as u64, "");
    }
    progress.end();
    let secs_per_image = begun.elapsed().as_secs_f64() / pending.len().max(1) as f64;
    summarise(config, &manifest, &records, size, secs_per_image, segmenter_folder)
}

/// Refuses what cannot work before the model's weights are read.
fn check(config: &SegmentConfig, dataset: &Dataset) -> Result<()> {
    ensure!(config.batch_size > 0, "the batch size is 0; it must be at least 1");
    ensure!(
        config.segmenter.is_none() || config.settings.is_none(),
        "`--segmenter` brings its own settings; leave out `--set`, or it"
    );
    outputs::check_folder(&config.out)?;
    let folder = folder_of(&config.model)?;
    let info = read_info(&folder)?;
    let (of_model, of_out) = (folder.join("segmenter"), config.out.join("segmenter"));
    let settings = match (&config.segmenter, &config.settings) {
        (Some(path), _) => Segmenter::open(path)?.settings,
        (None, None) if of_model.is_dir() => Segmenter::open(&of_model)?.settings,
        (None, settings) => {
            let settings = settings.clone().unwrap_or_default();
            settings.validate()?;
            let masked = dataset.indices_where(|row| row.split == Split::Train && row.mask)?.len();
            ensure!(
                settings.num_annotated <= masked,
                "{} annotated images are asked for, and the split `train` has {masked} images with masks; ask for fewer, \
                 or prepare the dataset with masks: {}",
                settings.num_annotated,
                dataset.dir().display()
            );
            settings
        }
    };
    check_pass(&settings.pass, &info.preconditioning()?)?;
    ensure!(
        !of_out.is_dir() || Segmenter::open(&of_out)?.settings == settings,
        "the folder holds masks by another segmenter; choose another folder: {}",
        config.out.display()
    );
    if let Some(sources) = &config.dicom_sources {
        ensure!(
            sources.exists(),
            "there is nothing where the DICOM files should be; give the folder that was prepared: {}",
            sources.display()
        );
    }
    Ok(())
}

fn chosen_rows(dataset: &Dataset, config: &SegmentConfig) -> Result<Vec<usize>> {
    ensure!(config.max_images != Some(0), "`--max-images` is 0; give at least 1, or leave it out");
    let mut rows = match config.split {
        Some(split) => dataset.indices(split)?,
        None => (0..dataset.len()).collect(),
    };
    rows.truncate(config.max_images.unwrap_or(usize::MAX));
    ensure!(
        !rows.is_empty(),
        "there is no image to segment; choose another `--split` or dataset: {}",
        dataset.dir().display()
    );
    Ok(rows)
}

/// The segmenter, also left in the folder of results, which another one cannot enter afterwards.
fn find_or_fit(
    config: &SegmentConfig,
    model: &Model,
    dataset: &Dataset,
    folder: &Path,
    device: &Device,
    progress: &dyn Progress,
) -> Result<Segmenter> {
    let of_model = model.folder.join("segmenter");
    let segmenter = match (&config.segmenter, &config.settings) {
        (Some(path), _) => Segmenter::open(path)?,
        (None, None) if of_model.is_dir() => Segmenter::open(&of_model)?,
        (None, settings) => {
            let settings = settings.clone().unwrap_or_default();
            if folder.is_dir() && Segmenter::open(folder)?.settings == settings {
                return Segmenter::open(folder);
            }
            let why = match config.settings {
                Some(_) => "settings are given for a new segmenter",
                None => "the model has no segmenter",
            };
            progress.say(&format!("{why}; fitting one to the dataset's training images"));
            let reader = FeatureExtractor::new(model, &settings.pass, settings.method.wanted(), config.seed, device)?;
            let sources = ExampleRows::choose(dataset, settings.num_images, settings.num_annotated, config.seed)?;
            let examples = sources.read(dataset, &reader, config.batch_size, device, progress)?;
            Segmenter::fit(&settings, &examples, config.seed)?
        }
    };
    if folder.is_dir() {
        ensure!(
            Segmenter::open(folder)? == segmenter,
            "the folder holds masks by another segmenter; choose another folder: {}",
            config.out.display()
        );
    } else {
        segmenter.save(folder)?;
    }
    Ok(segmenter)
}

/// Which images a segmenter learns from.
#[derive(Debug)]
pub struct ExampleRows {
    unlabelled: Vec<usize>,
    annotated: Vec<usize>,
}

impl ExampleRows {
    /// Training images by lot, all images where there is no training split; annotated ones are training images with
    /// masks, always.
    ///
    /// # Errors
    /// A manifest that cannot be read.
    pub fn choose(dataset: &Dataset, num_images: usize, num_annotated: usize, seed: u64) -> Result<Self> {
        let draw = |rows: Vec<usize>, epoch: u64, most: usize| -> Vec<usize> {
            let order = random::permutation(seed, epoch, rows.len());
            order.into_iter().take(most).map(|position| rows[position]).collect()
        };
        let mut rows = dataset.indices(Split::Train)?;
        if rows.is_empty() {
            rows = (0..dataset.len()).collect();
        }
        let masked = dataset.indices_where(|row| row.split == Split::Train && row.mask)?;
        Ok(Self { unlabelled: draw(rows, 0, num_images), annotated: draw(masked, 1, num_annotated) })
    }

    /// Asks the UNet about them.
    ///
    /// # Errors
    /// Damaged images, a device that failed.
    pub fn read(
        &self,
        dataset: &Dataset,
        reader: &FeatureExtractor<'_>,
        batch_size: usize,
        device: &Device,
        progress: &dyn Progress,
    ) -> Result<Examples> {
        let size = dataset.image_size();
        let mut examples = Vec::with_capacity(self.unlabelled.len() + self.annotated.len());
        let all: Vec<usize> = self.unlabelled.iter().chain(&self.annotated).copied().collect();
        progress.begin("reading examples", all.len() as u64, "images");
        for chunk in all.chunks(batch_size) {
            let (pictures, evidence) = reader.read_rows(dataset, chunk, device)?;
            for (picture, evidence) in pictures.chunks_exact(size * size).zip(evidence) {
                examples.push(Example { features: evidence.features, darkness: darkness(picture, size) });
            }
            progress.advance(chunk.len() as u64, "");
        }
        progress.end();
        let annotated = examples.split_off(self.unlabelled.len());
        let annotated = annotated.into_iter().zip(self.masks(dataset)?).collect();
        Ok(Examples { unlabelled: examples, annotated })
    }

    /// The masks of the annotated images.
    ///
    /// # Errors
    /// A damaged shard.
    pub fn masks(&self, dataset: &Dataset) -> Result<Vec<Vec<u8>>> {
        let mask = |row: &usize| dataset.mask(*row)?.context("an annotated image has lost its mask");
        self.annotated.iter().map(mask).collect()
    }
}

/// How many different labels there are.
pub fn number_of_segments(labels: &[u16]) -> usize {
    let mut used = labels.to_vec();
    used.sort_unstable();
    used.dedup();
    used.len()
}

/// The name of an image beside the annotations, which name it so.
fn image_name(id: &str) -> String {
    format!("{IMAGES}/{id}.png")
}

/// The images of earlier sessions that lie there without: what is done is not done again, but annotations name them.
fn write_missing_images(
    out: &Path,
    dataset: &Dataset,
    rows: &[usize],
    manifest: &[ManifestRow],
    records: &BTreeMap<String, Record>,
) -> Result<()> {
    let size = dataset.image_size();
    for (index, row) in rows.iter().zip(manifest).filter(|(_, row)| records.contains_key(&row.id)) {
        let path = out.join(image_name(&row.id));
        if !path.is_file() {
            outputs::make_folder(&out.join(IMAGES))?;
            write_png_u8(&path, &dataset.image(*index)?, size, size)?;
        }
    }
    Ok(())
}

fn write_pictures(out: &Path, id: &str, picture: &[u8], segmented: &Segmented, size: usize) -> Result<()> {
    let path_in = |folder: &str| -> Result<PathBuf> {
        let folder = out.join(folder);
        outputs::make_folder(&folder)?;
        Ok(folder.join(format!("{id}.png")))
    };
    let Segmented { labels, lungs } = segmented;
    write_png_u8(&path_in(IMAGES)?, picture, size, size)?;
    let segments = path_in("segments")?;
    if labels.iter().all(|label| *label <= u16::from(u8::MAX)) {
        write_png_u8(&segments, &labels.iter().map(|label| *label as u8).collect::<Vec<_>>(), size, size)?;
    } else {
        write_png_u16(&segments, labels, size, size)?;
    }
    for (structure, mask) in STRUCTURES.iter().zip([&lungs.right, &lungs.left]) {
        write_png_u8(&path_in(structure)?, &mask.iter().map(|inside| inside * 255).collect::<Vec<_>>(), size, size)?;
    }
    overlay(picture, lungs, size)?.write_png(&path_in("overlays")?)?;
    Ok(())
}

/// The picture with both lungs tinted and outlined.
pub fn overlay(picture: &[u8], lungs: &Lungs, size: usize) -> Result<radiograph::RgbImage> {
    let sides: Vec<u8> = lungs.right.iter().zip(&lungs.left).map(|(right, left)| right | (left * 2)).collect();
    let mut image = overlay_labels(picture, &sides, size, size, 0.3)?;
    outline_mask(&mut image, &lungs.right, [63, 144, 218])?;
    outline_mask(&mut image, &lungs.left, [255, 169, 14])?;
    Ok(image)
}

fn write_attention(out: &Path, id: &str, evidence: &ModelFeatures) -> Result<()> {
    let Some(maps) = &evidence.attention else { return Ok(()) };
    let folder = out.join("attention");
    outputs::make_folder(&folder)?;
    let grid = maps.grid();
    let shape = vec![grid.height, grid.width, grid.height, grid.width];
    let mut tensors = Checkpoint::default();
    tensors.insert("attention", HostTensor { shape, values: maps.values().to_vec() });
    tensors.save(&folder.join(format!("{id}.safetensors")), true, None)?;
    Ok(())
}

fn summarise(
    config: &SegmentConfig,
    manifest: &[ManifestRow],
    records: &BTreeMap<String, Record>,
    size: usize,
    secs_per_image: f64,
    segmenter: PathBuf,
) -> Result<SegmentSummary> {
    let mut annotations = Annotations::new(&STRUCTURES);
    let mut skipped = Vec::new();
    let (mut both, mut segments, mut share_sum) = (0, 0, 0.0);
    let records: Vec<&Record> = manifest.iter().filter_map(|row| records.get(&row.id)).collect();
    for Record { id, num_segments, lungs, problem } in &records {
        if let Some(reason) = problem {
            skipped.push(Skipped { item: id.clone(), reason: reason.clone() });
        }
        segments += num_segments;
        annotations.add(image_name(id), size, lungs);
        let share = lungs.iter().flatten().map(|mask| mask.area).sum::<usize>() as f64 / (size * size) as f64;
        let reason = match lungs {
            [Some(_), Some(_)] if PLAUSIBLE_SHARES.contains(&share) => None,
            [Some(_), Some(_)] => Some(format!("what was found covers {:.0} % of the image", share * 100.0)),
            [Some(_), None] => Some("no left lung was found".to_owned()),
            [None, Some(_)] => Some("no right lung was found".to_owned()),
            [None, None] => Some("no lungs were found".to_owned()),
        };
        match reason {
            Some(reason) => {
                let reason = format!("{reason}; is it a frontal chest radiograph?");
                skipped.push(Skipped { item: id.clone(), reason });
            }
            None => {
                both += 1;
                share_sum += share;
            }
        }
    }
    let path = config.out.join("lungs.coco.json");
    files::write_file(&path, serde_json::to_string(&annotations)?.as_bytes())?;
    Ok(SegmentSummary {
        num_images: records.len(),
        num_with_both_lungs: both,
        mean_segments: segments as f64 / records.len().max(1) as f64,
        mean_lung_share: share_sum / both.max(1) as f64,
        secs_per_image,
        segmenter,
        annotations: path,
        skipped,
    })
}

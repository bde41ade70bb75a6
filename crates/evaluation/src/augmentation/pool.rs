//! Where a cell's synthetic images come from: sets that are there already, generated ones, and classical variants.

use super::cases::{Cases, Folds, target_of};
use super::grid::{ClassicalSettings, GridSettings, SyntheticSettings};
use super::plan::{self, Request};
use anyhow::{Context as _, Result, ensure};
use burn::tensor::Device;
use dataset::{Dataset, DatasetSettings, DatasetWriter, Provenance};
use messages::Progress;
use radiograph::{ViewKey, ViewKind};
use rayon::prelude::*;
use stages::generate::{self, GenerateConfig, Strategy};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use training::tensors::bytes_from_pictures;

/// Variants that are rendered at once.
const CHUNK: usize = 256;
/// Images that go through the generator together.
const BATCH_SIZE: usize = 16;

/// Synthetic images with what they were made of.
#[derive(Debug)]
pub(super) struct Pool {
    pub dataset: Dataset,
    images: Vec<PoolImage>,
    /// Of each first source its images.
    of_source: HashMap<usize, Vec<usize>>,
    /// Images that say nothing of sources.
    without_source: Vec<usize>,
    /// Images whose labels or sources do not fit the cases.
    pub num_left_out: usize,
}

#[derive(Debug)]
struct PoolImage {
    row: usize,
    /// Cases; empty where unknown.
    sources: Vec<usize>,
    target: Vec<f32>,
}

impl Pool {
    /// Reads a set. Images of sources that are no training cases are left out: a test image's variant would leak it.
    ///
    /// # Errors
    /// A set without a usable image.
    pub fn read(folder: &Path, cases: &Cases, settings: &GridSettings, name: &str) -> Result<Self> {
        let places: HashMap<&str, usize> = cases.ids.iter().enumerate().map(|(case, id)| (id.as_str(), case)).collect();
        let mut pool = Self {
            images: Vec::new(),
            of_source: HashMap::new(),
            without_source: Vec::new(),
            num_left_out: 0,
            dataset: Dataset::open(folder)?,
        };
        for (row, described) in pool.dataset.rows()?.enumerate() {
            let described = described?;
            let made = described.provenance.clone().unwrap_or_default();
            let sources: Option<Vec<usize>> =
                made.source_ids.iter().map(|id| places.get(id.as_str()).copied()).collect();
            let target = match sources.as_deref() {
                None => None,
                Some([]) => target_of(&described, &settings.cases),
                Some(sources) => mixed(cases, sources, made.fraction.unwrap_or(0.0), settings.grid.soft_labels),
            };
            let (Some(sources), Some(target)) = (sources, target) else {
                pool.num_left_out += 1;
                continue;
            };
            let place = pool.images.len();
            match sources.first() {
                Some(first) => pool.of_source.entry(*first).or_default().push(place),
                None => pool.without_source.push(place),
            }
            pool.images.push(PoolImage { row, sources, target });
        }
        ensure!(
            !pool.images.is_empty(),
            "none of the {} images of the synthetic set `{name}` can be used: each needs sources among the training \
             images, or one of the labels {}: {}",
            pool.dataset.len(),
            settings.cases.labels.join(", "),
            folder.display()
        );
        Ok(pool)
    }

    /// Of each case of a subset its first `ratio` images that are made of the subset alone; of images without sources as
    /// many as are wanted, drawn by the seed. Fewer where there are fewer.
    pub fn choose(&self, subset: &[usize], ratio: usize, cases: &Cases, seed: u64) -> Vec<usize> {
        let inside = cases.inside(subset);
        let usable = |place: &&usize| self.images[**place].sources.iter().all(|source| inside[*source]);
        let mut chosen: Vec<usize> = subset
            .iter()
            .filter_map(|case| self.of_source.get(case))
            .flat_map(|images| images.iter().filter(usable).take(ratio).copied())
            .collect();
        if self.of_source.is_empty() {
            chosen.extend(random::choice(seed, 0, &self.without_source, ratio * subset.len()));
        }
        chosen
    }

    /// Row in the dataset and target of an image.
    pub fn image(&self, place: usize) -> (usize, &[f32]) {
        (self.images[place].row, &self.images[place].target)
    }

    /// Whether its images say what they were made of.
    pub fn knows_sources(&self) -> bool {
        !self.of_source.is_empty()
    }
}

/// The target of a mixture: that of both ends where they agree, else soft or none.
fn mixed(cases: &Cases, sources: &[usize], fraction: f64, soft: bool) -> Option<Vec<f32>> {
    let first = cases.target(sources[0]);
    if sources.iter().all(|source| cases.target(*source) == first) {
        return Some(first.to_vec());
    }
    match sources {
        [_, second] if soft => {
            let fraction = fraction as f32;
            let blend = |(one, other): (&f32, &f32)| (1.0 - fraction) * one + fraction * other;
            Some(first.iter().zip(cases.target(*second)).map(blend).collect())
        }
        _ => None,
    }
}

/// The folder of a synthetic set; generates what the grid needs where it is to be generated and missing.
///
/// # Errors
/// A model that cannot be used, a full disk.
pub(super) fn synthetic_folder(
    set: &SyntheticSettings,
    real: &Dataset,
    (cases, folds): (&Cases, &Folds),
    settings: &GridSettings,
    out: &Path,
    device: &Device,
    progress: &dyn Progress,
) -> Result<PathBuf> {
    let generator = match (&set.dataset, &set.generate) {
        (Some(folder), _) => return Ok(folder.clone()),
        (None, Some(generator)) => generator,
        (None, None) => anyhow::bail!("the synthetic set `{}` has neither `dataset` nor `generate`", set.name),
    };
    let requests = plan::requests(settings, generator, cases, folds);
    ensure!(
        !requests.is_empty(),
        "no cell may have a synthetic image; raise `grid.max_synthetic`, which is {}",
        settings.grid.max_synthetic
    );
    let table = table_of(&requests, cases);
    let folder = out.join("synthetic").join(format!("{}-{}", set.name.replace(' ', "-"), digest(&table, generator)?));
    if is_finished(&folder) {
        return Ok(folder);
    }
    let path = folder.with_extension("csv");
    std::fs::create_dir_all(out.join("synthetic")).context("the folder of synthetic sets cannot be made")?;
    files::write_file(&path, table.as_bytes())?;
    progress.say(&format!("generating {} images for the synthetic set `{}`", requests.len(), set.name));
    let config = GenerateConfig {
        model: generator.model.clone(),
        dataset: real.dir().to_path_buf(),
        out: folder.clone(),
        strategy: Strategy::Listed { table: path, interpolation: generator.interpolation },
        split: settings.cases.train_split,
        num_images: None,
        guidance_scale: generator.guidance_scale,
        num_steps: generator.num_steps,
        sampler: generator.sampler,
        seed: settings.seed,
        batch_size: BATCH_SIZE,
        png_bits: None,
        figure: false,
    };
    generate::run(&config, device, progress)?;
    Ok(folder)
}

/// Whether a set was written to its end; one that was not is continued.
fn is_finished(folder: &Path) -> bool {
    folder.join("dataset.toml").is_file()
}

fn table_of(requests: &[Request], cases: &Cases) -> String {
    let mut table = String::from("source,target,fraction\n");
    for Request { source, target } in requests {
        let _ = match target {
            Some((end, fraction)) => writeln!(table, "{},{},{fraction:.6}", cases.ids[*source], cases.ids[*end]),
            None => writeln!(table, "{},,", cases.ids[*source]),
        };
    }
    table
}

/// A few letters that change with what is to be made.
fn digest(table: &str, settings: &impl serde::Serialize) -> Result<String> {
    Ok(files::fingerprint_bytes((table.to_owned() + &serde_json::to_string(settings)?).as_bytes()))
}

/// The folder of classical variants, made where it is missing; it is a dataset like a synthetic one.
///
/// # Errors
/// Images that cannot be read, a full disk.
pub(super) fn classical_folder(
    real: &Dataset,
    (cases, folds): (&Cases, &Folds),
    settings: &GridSettings,
    out: &Path,
    progress: &dyn Progress,
) -> Result<PathBuf> {
    let ClassicalSettings { scale, blur_probability, augmentation } = &settings.classical;
    let counts = plan::variants(settings, folds, cases.len());
    let wanted: Vec<(usize, usize)> =
        counts.iter().enumerate().flat_map(|(case, count)| (0..*count).map(move |variant| (case, variant))).collect();
    let requests: Vec<Request> = wanted.iter().map(|(source, _)| Request { source: *source, target: None }).collect();
    let digest = digest(&table_of(&requests, cases), &settings.classical)?;
    let folder = out.join("synthetic").join(format!("classical-{digest}"));
    if is_finished(&folder) {
        return Ok(folder);
    }
    let size = real.image_size();
    let mut kept = DatasetSettings::new(size);
    kept.seed = settings.seed;
    kept.preparation = toml::Table::try_from(&settings.classical).context("the settings cannot be written as TOML")?;
    let mut writer = DatasetWriter::create_or_resume(&folder, kept)?;
    let kind = ViewKind { size, scale: *scale, blur_probability: *blur_probability };
    let described = real.rows_at(&cases.rows)?;
    let already = writer.len().min(wanted.len());
    progress.begin("classical variants", (wanted.len() - already) as u64, "images");
    for (chunk, first) in wanted[already..].chunks(CHUNK).zip((already..).step_by(CHUNK)) {
        let rendered: Vec<Result<Vec<f32>>> = chunk
            .par_iter()
            .map(|(case, variant)| {
                let key = ViewKey { seed: settings.seed, image: cases.rows[*case] as u64, view: *variant };
                let mut pixels = vec![0.0; size * size];
                augmentation.draw(&kind, size, key).render(&real.image(cases.rows[*case])?, size, &mut pixels);
                Ok(pixels)
            })
            .collect();
        for ((number, (case, _)), pixels) in (first..).zip(chunk).zip(rendered) {
            let pixels = pixels?;
            let mut row = described[*case].clone();
            row.id = format!("classical-{number:06}");
            row.source_file = String::new();
            row.pixel_hash = dataset::pixels_hash(&pixels, size, size);
            row.provenance = Some(Provenance {
                strategy: "classical".into(),
                source_ids: vec![cases.ids[*case].clone()],
                seed: Some(settings.seed),
                ..Provenance::default()
            });
            writer.push(row, &bytes_from_pictures(&pixels), None)?;
        }
        progress.advance(chunk.len() as u64, "");
    }
    progress.end();
    writer.finish()?;
    Ok(folder)
}

#[cfg(test)]
mod tests {
    use super::super::cases::tests::example;
    use super::*;

    #[test]
    fn mixtures_have_a_label_only_where_their_ends_agree_or_labels_are_soft() {
        let cases = example(8);
        let (same, other) = (mixed(&cases, &[1, 3], 0.25, false), mixed(&cases, &[0, 1], 0.25, false));
        assert_eq!(same, Some(vec![0.0, 1.0]));
        assert_eq!(other, None);
        assert_eq!(mixed(&cases, &[0, 1], 0.25, true), Some(vec![0.75, 0.25]));
    }

    #[test]
    fn the_digest_changes_with_table_and_settings() {
        let settings = ClassicalSettings::default();
        let other = ClassicalSettings { blur_probability: 0.9, ..ClassicalSettings::default() };
        assert_ne!(digest("a", &settings).unwrap(), digest("b", &settings).unwrap());
        assert_ne!(digest("a", &settings).unwrap(), digest("a", &other).unwrap());
    }
}

//! `evaluate augmentation`: what synthetic images are worth to a classifier.
//!
//! The paper's grid (encoders, strategies, numbers of real images, ratios, folds) as one job that continues after a kill,
//! with what the paper lacks: classical augmentation at the same number of samples, synthetic pre-training, intervals,
//! and a test that is named and corrected.
//!
//! A cell learns from the first `N` images of a fold and from synthetic images that were made of those `N` images alone:
//! whoever has 50 images has 50 to make variants of. (The generator itself may have seen the others, without labels.)
//! All cells are scored on one test split. Patients are never on both sides.

mod cases;
mod figures;
mod grid;
mod journal;
mod learn;
mod plan;
mod pool;
mod statistics;
mod tables;

use anyhow::{Context as _, Result, bail, ensure};
use burn::tensor::Device;
use cases::{Cases, Folds};
use dataset::Dataset;
use files::FolderLock;
use files::outputs;
pub use grid::{
    CaseKind, CaseSettings, ClassicalSettings, ClassifierSettings, Drawn, GeneratorSettings, GridSettings, GridShape,
    Regime, SyntheticSettings, TrainingSettings,
};
pub use journal::{Finished, LabelArea};
use learn::{Inputs, Samples};
use messages::Progress;
use messages::Skipped;
use metrics::{Areas, areas_of_labels, bootstrap_interval, mean_area};
pub use plan::Cell;
use pool::Pool;
use serde::{Deserialize, Serialize};
use settings::Settings as _;
use stages::model::{folder_of, read_info};
use stages::recipe::SamplingRecipe;
pub use statistics::{Comparison, Group};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::write_result;
use metrics::CONFIDENCE;

/// Samples behind the interval of a cell's macro area.
const REPLICATES: usize = 500;

/// What to evaluate, and where to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AugmentationConfig {
    /// The real images.
    pub dataset: PathBuf,
    /// All settings.
    pub settings: GridSettings,
    /// The folder of the results; one that was begun is continued.
    pub out: PathBuf,
}

/// What came of it: `augmentation.json`.
#[derive(Debug, Clone, Serialize)]
pub struct AugmentationSummary {
    /// Fingerprint of the real images.
    pub dataset: String,
    /// Of each synthetic set its dataset's fingerprint.
    pub synthetic: BTreeMap<String, String>,
    /// Training cases by label.
    pub num_train: BTreeMap<String, usize>,
    /// Test cases by label.
    pub num_test: BTreeMap<String, usize>,
    /// Images of both splits that were left out for their labels.
    pub num_left_out: usize,
    /// Trainings that are done.
    pub num_finished: usize,
    /// Trainings that would need more synthetic images than the settings allow.
    pub num_left_out_cells: usize,
    /// What the p-values are.
    pub test: String,
    /// Means and comparisons.
    pub groups: Vec<Group>,
    /// Where to look.
    pub files: Vec<PathBuf>,
    /// The settings.
    pub settings: GridSettings,
    /// Cells that failed, with the reason.
    pub skipped: Vec<Skipped>,
}

/// What is printed: the file has the rest.
#[derive(Debug, Clone, Serialize)]
pub struct AugmentationOutcome {
    /// Trainings that are done.
    pub num_finished: usize,
    /// Of these in this session.
    pub num_new: usize,
    /// Trainings that would need more synthetic images than the settings allow.
    pub num_left_out_cells: usize,
    /// All results.
    pub out: PathBuf,
    /// Cells that failed, with the reason.
    pub skipped: Vec<Skipped>,
}

/// Generates what is missing, trains and scores every cell that is not done, and writes tables and figures.
///
/// # Errors
/// Settings and images that do not belong together, another grid in the folder, a full disk. A cell that cannot be
/// trained does not stop the others.
pub fn run(config: &AugmentationConfig, device: &Device, progress: &dyn Progress) -> Result<AugmentationOutcome> {
    let AugmentationConfig { dataset, settings, out } = config;
    settings.validate()?;
    outputs::check_folder(out)?;
    let real = Dataset::open(dataset)?;
    check_inputs(settings)?;
    let train = Cases::read(&real, &settings.cases, settings.cases.train_split)?;
    let test = Cases::read(&real, &settings.cases, settings.cases.test_split)?;
    refuse_shared_patients(&train, &test)?;
    let folds = Folds::divide(&train, &settings.grid, settings.seed)?;
    outputs::make_folder(out)?;
    let _lock = FolderLock::acquire(out)?;
    files::sweep(out)?;
    claim(out, settings, real.fingerprint())?;
    for size in settings.grid.sizes.iter().filter(|size| **size > folds.smallest()) {
        let there = folds.smallest();
        progress.say(&format!("a fold has {there} images to learn from, so the size {size} is all of them"));
    }
    let (left_out, cells): (Vec<Cell>, Vec<Cell>) =
        plan::cells(settings).into_iter().partition(|cell| plan::too_many(cell, settings, &folds));
    let (mut done_list, mut finished) = journal::open(&out.join("cells.jsonl"))?;
    let wanted: HashSet<&Cell> = cells.iter().collect();
    finished.retain(|run| wanted.contains(&run.cell));

    let judge = Judge::new(settings, &test);
    let sources = Sources { real: &real, train: &train, folds: &folds, settings, out };
    let pools = sources.pools(device, progress)?;
    let done: HashSet<Cell> = finished.iter().map(|run| run.cell.clone()).collect();
    let mut skipped = Vec::new();
    let mut num_new = 0;
    for classifier in &settings.classifiers {
        let pending: Vec<&Cell> =
            cells.iter().filter(|cell| cell.classifier == classifier.name() && !done.contains(cell)).collect();
        if pending.is_empty() {
            continue;
        }
        let inputs = Inputs::read(classifier, &real, device, progress)?;
        let mut synthetic = HashMap::new();
        for (name, pool) in &pools {
            synthetic.insert(name.as_str(), Inputs::read(classifier, &pool.dataset, device, progress)?);
        }
        let mut judged = Samples::default();
        for case in 0..test.len() {
            judged.push(&inputs, test.rows[case], test.target(case));
        }
        let trial =
            Trial { settings, classifier, folds: &folds, train: &train, inputs: &inputs, judged, judge: &judge };
        let title = format!("training cells, {}", classifier.name().replace('_', " "));
        progress.begin(&title, pending.len() as u64, "cells");
        for cell in pending {
            let pool = pools.get_key_value(pool_name(cell)).map(|(name, pool)| (pool, &synthetic[name.as_str()]));
            match trial.run(cell, pool, device) {
                Ok(run) => {
                    done_list.append(&run)?;
                    done_list.sync()?;
                    finished.push(run);
                    num_new += 1;
                }
                Err(error) => skipped.push(Skipped { item: describe(cell), reason: messages::sentence(&error, None) }),
            }
            progress.advance(1, &describe(cell));
        }
        progress.end();
    }
    // In the order of the plan, whenever each was trained.
    let places: HashMap<&Cell, usize> = cells.iter().enumerate().map(|(place, cell)| (cell, place)).collect();
    finished.sort_by_key(|run| places.get(&run.cell).copied());
    let groups = statistics::groups(settings, &finished)?;
    let files = write_tables(settings, &finished, &groups, out)?;
    let outcome = AugmentationOutcome {
        num_finished: finished.len(),
        num_new,
        num_left_out_cells: left_out.len(),
        out: out.clone(),
        skipped: skipped.clone(),
    };
    let summary = AugmentationSummary {
        dataset: real.fingerprint().to_owned(),
        synthetic: pools.iter().map(|(name, pool)| (name.clone(), pool.dataset.fingerprint().to_owned())).collect(),
        num_train: train.label_counts(&settings.cases),
        num_test: test.label_counts(&settings.cases),
        num_left_out: train.num_left_out + test.num_left_out,
        num_finished: finished.len(),
        num_left_out_cells: left_out.len(),
        test: statistics::TEST.into(),
        groups,
        files,
        settings: settings.clone(),
        skipped,
    };
    write_result(&out.join("augmentation.json"), "augmentation", &summary)?;
    Ok(outcome)
}

/// Refuses networks, models and synthetic sets that are not there: the last of them is needed hours after the first.
fn check_inputs(settings: &GridSettings) -> Result<()> {
    for classifier in &settings.classifiers {
        if let ClassifierSettings::LinearProbe { features, .. } = classifier {
            features.check()?;
        }
    }
    for set in &settings.synthetic {
        let named = || format!("the synthetic set `{}` cannot be used", set.name);
        if let Some(folder) = &set.dataset {
            Dataset::open(folder).with_context(named)?;
        }
        if let Some(GeneratorSettings { model, sampler, num_steps, guidance_scale, .. }) = &set.generate {
            let info = read_info(&folder_of(model).with_context(named)?).with_context(named)?;
            let own = info.sampling.clone();
            let sampling = SamplingRecipe {
                sampler: sampler.unwrap_or(own.sampler),
                num_steps: num_steps.unwrap_or(own.num_steps),
                guidance_scale: guidance_scale.unwrap_or(own.guidance_scale),
                spacing: own.spacing,
            };
            info.check_sampling(&sampling).with_context(named)?;
        }
    }
    Ok(())
}

/// Name under which classical variants are kept; no synthetic set can be called so.
const CLASSICAL: &str = "(classical)";

fn pool_name(cell: &Cell) -> &str {
    match (&cell.synthetic, cell.regime) {
        (Some(name), _) => name,
        (None, Regime::RealAndClassical) => CLASSICAL,
        (None, _) => "",
    }
}

fn describe(cell: &Cell) -> String {
    let Cell { classifier, regime, synthetic, size, ratio, repeat, fold } = cell;
    let set = synthetic.as_ref().map_or_else(String::new, |name| format!(" ({name})"));
    let ratio = ratio.map_or_else(String::new, |ratio| format!(" 1:{ratio}"));
    format!("{classifier}, {}{set}, {size}{ratio}, fold {fold} of division {repeat}", regime.title())
}

/// A folder belongs to one grid on one dataset: cells of another would be mixed in otherwise.
fn claim(out: &Path, settings: &GridSettings, dataset: &str) -> Result<()> {
    let (grid, identity) = (out.join("grid.toml"), out.join("dataset.txt"));
    if grid.is_file() && identity.is_file() {
        let read = |path: &Path| {
            std::fs::read_to_string(path).with_context(|| format!("the file cannot be read: {}", path.display()))
        };
        let saved = settings::from_toml::<GridSettings>(&read(&grid)?)
            .with_context(|| format!("the grid that was begun here is damaged: {}", grid.display()))?;
        if let Some(difference) = settings::first_difference(&saved, settings)? {
            bail!("the folder holds another grid: {difference}; choose another `--out`: {}", out.display());
        }
        let saved = read(&identity)?;
        ensure!(
            saved.trim() == dataset,
            "the folder holds the grid of another dataset ({} instead of {dataset}); choose another `--out`: {}",
            saved.trim(),
            out.display()
        );
        return Ok(());
    }
    files::write_file(&grid, settings::to_toml(settings)?.as_bytes())?;
    files::write_file(&identity, format!("{dataset}\n").as_bytes())?;
    Ok(())
}

fn refuse_shared_patients(train: &Cases, test: &Cases) -> Result<()> {
    let known: HashSet<&str> = train.patients.iter().map(String::as_str).collect();
    let shared = test.patients.iter().filter(|patient| known.contains(patient.as_str())).count();
    ensure!(shared == 0, "{shared} test images are of patients with training images; split the dataset by patient");
    Ok(())
}

/// What pools are made of.
struct Sources<'a> {
    real: &'a Dataset,
    train: &'a Cases,
    folds: &'a Folds,
    settings: &'a GridSettings,
    out: &'a Path,
}

impl Sources<'_> {
    fn pools(&self, device: &Device, progress: &dyn Progress) -> Result<BTreeMap<String, Pool>> {
        let Self { real, train, folds, settings, out } = *self;
        let mut pools = BTreeMap::new();
        let mut add = |name: &str, folder: &Path| -> Result<()> {
            let pool = Pool::read(folder, train, settings, name)?;
            ensure!(
                pool.dataset.image_size() == real.image_size(),
                "the synthetic set `{name}` has images of {} px, the real ones {} px: {}",
                pool.dataset.image_size(),
                real.image_size(),
                folder.display()
            );
            if !pool.knows_sources() {
                progress.say(&format!(
                    "the images of `{name}` do not say what they were made of, so small sizes may profit from more \
                     real images than they have"
                ));
            }
            if pool.num_left_out > 0 {
                progress
                    .say(&format!("{} images of `{name}` do not fit the cases and are left out", pool.num_left_out));
            }
            pools.insert(name.to_owned(), pool);
            Ok(())
        };
        if settings.grid.regimes.contains(&Regime::RealAndClassical) && !settings.grid.ratios.is_empty() {
            add(CLASSICAL, &pool::classical_folder(real, (train, folds), settings, out, progress)?)?;
        }
        for set in &settings.synthetic {
            let folder = pool::synthetic_folder(set, real, (train, folds), settings, out, device, progress)?;
            add(&set.name, &folder)?;
        }
        Ok(pools)
    }
}

/// One classifier on everything.
struct Trial<'a> {
    settings: &'a GridSettings,
    classifier: &'a ClassifierSettings,
    folds: &'a Folds,
    train: &'a Cases,
    inputs: &'a Inputs,
    /// The test images as this classifier sees them.
    judged: Samples<'a>,
    judge: &'a Judge<'a>,
}

impl Trial<'_> {
    fn run(&self, cell: &Cell, pool: Option<(&Pool, &Inputs)>, device: &Device) -> Result<Finished> {
        let begun = Instant::now();
        let subset = self.folds.subset(cell.repeat, cell.fold, cell.size);
        // The same start and order for all regimes of a fold, so that pairs differ in what they learn from alone.
        let seed = self.settings.seed + 1000 * cell.repeat as u64 + cell.fold as u64;
        let mut real = Samples::default();
        for &case in subset {
            real.push(self.inputs, self.train.rows[case], self.train.target(case));
        }
        let mut synthetic = Samples::default();
        if let (Some((pool, inputs)), Some(ratio)) = (pool, cell.ratio) {
            for place in pool.choose(subset, ratio, self.train, seed) {
                let (row, target) = pool.image(place);
                synthetic.push(inputs, row, target);
            }
            ensure!(synthetic.len() > 0, "the synthetic set has no image that was made of these real ones");
        }
        let (num_real, num_synthetic) = (real.len(), synthetic.len());
        let phases = match cell.regime {
            Regime::Real => vec![real],
            Regime::Synthetic => vec![synthetic],
            Regime::RealAndSynthetic | Regime::RealAndClassical => vec![real.joined(synthetic)],
            Regime::SyntheticThenReal => vec![synthetic, real],
        };
        let scores = learn::scores(self.classifier, self.settings.cases.kind, &phases, &self.judged, seed, device)?;
        let (macro_auc, macro_interval, labels) = self.judge.areas(&scores)?;
        Ok(Finished {
            cell: cell.clone(),
            num_real: if cell.regime == Regime::Synthetic { 0 } else { num_real },
            num_synthetic,
            num_steps: self.classifier.num_steps(),
            macro_auc,
            macro_interval,
            labels,
            secs: begun.elapsed().as_secs_f64(),
        })
    }
}

/// The truth about the test images.
struct Judge<'a> {
    labels: &'a [String],
    /// `[cases, labels]`
    truth: Vec<bool>,
    /// The cases of each patient.
    patients: Vec<Vec<usize>>,
    seed: u64,
}

impl<'a> Judge<'a> {
    fn new(settings: &'a GridSettings, test: &Cases) -> Self {
        let truth = test.targets.iter().map(|value| *value > 0.5).collect();
        Self { labels: &settings.cases.labels, truth, patients: test.by_patient(), seed: settings.seed }
    }

    /// The macro area with its interval, and that of each label.
    fn areas(&self, scores: &[f64]) -> Result<(f64, [f64; 2], Vec<LabelArea>)> {
        let Self { labels: names, truth, patients, seed } = self;
        let num_labels = names.len();
        let macro_auc = mean_area(&areas_of_labels(scores, truth, num_labels)?)?;
        let interval = bootstrap_interval(patients.len(), REPLICATES, CONFIDENCE, *seed, |sample| {
            let (mut drawn, mut real) = (Vec::new(), Vec::new());
            for case in sample.iter().flat_map(|patient| &patients[*patient]) {
                drawn.extend_from_slice(&scores[case * num_labels..][..num_labels]);
                real.extend_from_slice(&truth[case * num_labels..][..num_labels]);
            }
            mean_area(&areas_of_labels(&drawn, &real, num_labels).ok()?).ok()
        })?;
        let mut labels = Vec::new();
        for (position, label) in names.iter().enumerate() {
            let column: Vec<f64> = scores.iter().skip(position).step_by(num_labels).copied().collect();
            let positive: Vec<bool> = truth.iter().skip(position).step_by(num_labels).copied().collect();
            let areas = Areas::of(&[&column], &positive)?;
            let found = areas.interval(0, CONFIDENCE)?;
            labels.push(LabelArea { label: label.clone(), auc: areas.areas[0], interval: [found.low, found.high] });
        }
        Ok((macro_auc, [interval.low, interval.high], labels))
    }
}

fn write_tables(settings: &GridSettings, finished: &[Finished], groups: &[Group], out: &Path) -> Result<Vec<PathBuf>> {
    let runs = tables::runs(finished)?;
    runs.write_csv(out.join("runs.csv"))?;
    runs.write_parquet(out.join("runs.parquet"))?;
    tables::comparisons(groups)?.write_csv(out.join("comparisons.csv"))?;
    files::write_file(out.join("tables.md"), tables::markdown(settings, groups).as_bytes())?;
    let mut files: Vec<PathBuf> =
        ["runs.csv", "runs.parquet", "comparisons.csv", "tables.md"].iter().map(|name| out.join(name)).collect();
    files.extend(figures::draw(settings, groups, out)?);
    Ok(files)
}

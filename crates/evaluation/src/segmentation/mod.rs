//! How well lungs are found without labels: every method, every rule that turns segments into lungs, and controls that
//! use no diffusion model, on the same images.
//!
//! Images with masks are divided by patient: settings are chosen on some patients, figures come from the others. Three
//! rules stand side by side. *Oracle* takes the segments that lie inside the mask by more than a half, which nobody can
//! do who does not know the mask; *prototype* learns the choice from `n` annotated training images; *unsupervised* from
//! none, beginning with a template of the anatomy.

mod candidates;
mod curves;
mod gallery;
mod journal;
mod measure;
mod options;
mod search;
mod training;

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use burn::tensor::Device;
use dataset::{Dataset, RunDir, Split};
use serde::{Deserialize, Serialize};

use candidates::candidates;
use files::outputs;
use journal::Journal;
pub use measure::{ImageScore, Scores};
use messages::Progress;
use messages::Skipped;
pub use options::OptionRow;
use search::{Bench, Fitted, Network, REFINEMENTS, Rule, Tried, mean};
use segmentation::{Lungs, PassSettings, SegmenterSettings, template_mask};
use stages::model::{Model, folder_of, read_info};
use stages::segment::check_pass;

/// What to evaluate on what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentationConfig {
    /// A run or a model folder.
    pub model: PathBuf,
    /// A dataset with masks of lungs.
    pub dataset: PathBuf,
    /// The images with masks; those to learn from are training images always.
    pub split: Split,
    /// Share of the patients on whom settings are chosen, above 0 and below 1.
    pub search_share: f64,
    /// Numbers of annotated training images that prototypes are learned from.
    pub num_annotated: Vec<usize>,
    /// Timesteps to try.
    pub timesteps: Vec<f64>,
    /// Also follows the best settings through the checkpoints of this run, the model's own or one like it.
    pub checkpoints: Option<PathBuf>,
    /// Images that go through the networks together.
    pub batch_size: usize,
    /// Of divisions, draws and intervals.
    pub seed: u64,
    /// A folder for `segmentation.json`, `gallery.png`, curves and `segmenter/`, and for `search.jsonl`, by which a run
    /// that is stopped goes on.
    pub out: PathBuf,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct SegmentationSummary {
    /// Fingerprint of the UNet.
    pub model: String,
    /// Images it was trained on.
    pub images_seen: u64,
    /// Fingerprint of the images' dataset.
    pub dataset: String,
    /// On whom settings were chosen.
    pub search: Counted,
    /// On whom the figures were measured.
    pub report: Counted,
    /// Which of the definitions in use `hausdorff_95` follows.
    pub definition_of_hausdorff_95: &'static str,
    /// One row for each method and rule.
    pub results: Vec<ResultRow>,
    /// What options of the pass gave in the search, and whether they were kept; in the file alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<OptionRow>,
    /// What the search found, by setting; in the file alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tried: Vec<TriedRow>,
    /// The same by checkpoint.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checkpoints: Vec<CheckpointRow>,
    /// Images that could not be used.
    pub skipped: Vec<Skipped>,
}

/// A set of images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Counted {
    /// Images.
    pub images: usize,
    /// Patients they are of.
    pub patients: usize,
}

/// A method with a rule, at the settings that were best in the search.
#[derive(Debug, Clone, Serialize)]
pub struct ResultRow {
    /// What cuts, and on which network.
    pub method: String,
    /// What chooses.
    pub rule: String,
    /// Mean Dice in the search.
    pub search_dice: f64,
    /// On the images of the report.
    pub scores: Scores,
    /// The settings; none where there is nothing to set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<SegmenterSettings>,
}

/// One setting that was tried.
#[derive(Debug, Clone, Serialize)]
pub struct TriedRow {
    /// What cuts, and on which network.
    pub method: String,
    /// Mean number of segments.
    pub mean_segments: f64,
    /// Mean Dice by rule, in the search.
    pub dice: Vec<RuleDice>,
    /// The setting.
    pub settings: SegmenterSettings,
}

/// A rule and what it gave.
#[derive(Debug, Clone, Serialize)]
pub struct RuleDice {
    /// The rule.
    pub rule: String,
    /// Mean Dice.
    pub dice: f64,
}

/// One checkpoint with one method.
#[derive(Debug, Clone, Serialize)]
pub struct CheckpointRow {
    /// Images seen; 0 is the network as training begins.
    pub images_seen: u64,
    /// What cuts.
    pub method: String,
    /// Mean Dice by rule, in the search, each at the settings that were best for the rule on the whole run's model.
    pub dice: Vec<RuleDice>,
}

/// An image with a mask that can be used.
#[derive(Debug, Clone)]
struct MaskedImage {
    index: usize,
    id: String,
    patient: String,
    mask: Vec<u8>,
}

/// Searches, measures, draws. What an earlier run into the same folder tried is not tried again.
///
/// # Errors
/// No image with a mask, or too few patients; a model that cannot be used.
pub fn run(config: &SegmentationConfig, device: &Device, progress: &dyn Progress) -> Result<SegmentationSummary> {
    check(config)?;
    check_places(config)?;
    let dataset = Dataset::open(&config.dataset)?;
    let (images, skipped) = masked_images(&dataset, config.split)?;
    let [search, report] = divide(images, config)?;
    check_annotated(config, &dataset)?;
    let model = Model::open(&config.model, device)?;
    let random = with_random_weights(&config.model, config.seed, device)?;
    let networks =
        [Network { name: "model".into(), model: &model }, Network { name: "random weights".into(), model: &random }];
    outputs::make_folder(&config.out)?;
    files::sweep(&config.out)?;

    let rules = rules(config);
    let bench = Bench { dataset: &dataset, config, rules: &rules, device };
    let mut journal = Journal::open(&config.out, &model.fingerprint, &bench, &search)?;
    let tried = bench.try_all(&candidates(config), &networks, &search, &mut journal, progress)?;
    let mut fitted = bench.winners(&tried, &networks, progress)?;
    refine(&bench, &mut fitted, &networks, &search, progress)?;
    let unsupervised = fitted.iter().enumerate().filter(|(_, one)| one.model == 0 && one.rule == Rule::Learned(0));
    let best = unsupervised.max_by(|(_, a), (_, b)| a.search_dice.total_cmp(&b.search_dice));
    let (best, _) = best.context("no method was tried without labels")?;
    let (scores, shown) = bench.score(&fitted, &networks, &report, Some(best), progress)?;
    let patients: Vec<String> = report.iter().map(|image| image.patient.clone()).collect();
    let mut results = fitted
        .iter()
        .zip(&scores)
        .map(|(fitted, scores)| {
            Ok(ResultRow {
                method: fitted.family.clone(),
                rule: fitted.rule.name(),
                search_dice: fitted.search_dice,
                scores: Scores::of(scores, &patients, config.seed)?,
                settings: Some(fitted.segmenter.settings.clone()),
            })
        })
        .collect::<Result<Vec<_>>>()?;
    results.extend(places_alone(&bench, &search, &report, &patients)?);

    fitted[best].segmenter.save(&config.out.join("segmenter"))?;
    let gallery = gallery::draw(&report, &shown, &scores[best], dataset.image_size())?;
    gallery.write_png(&config.out.join("gallery.png"))?;
    let checkpoints = match &config.checkpoints {
        Some(run) => training::follow(run, &bench, &fitted, &search, &mut journal, progress)?,
        None => Vec::new(),
    };
    let tried: Vec<TriedRow> = tried.into_iter().map(|tried| row_of(tried, &rules)).collect();
    for (name, chart) in curves::by_threshold(&tried).into_iter().chain(curves::by_training(&checkpoints)) {
        files::write_file(config.out.join(name), chart.file().as_bytes())?;
    }
    let summary = SegmentationSummary {
        model: model.fingerprint.clone(),
        images_seen: model.info.images_seen,
        dataset: dataset.fingerprint().to_owned(),
        search: counted(&search),
        report: counted(&report),
        definition_of_hausdorff_95: "MONAI's: the larger of the two directions' 95th percentiles",
        results,
        options: options::rows(&tried),
        tried,
        checkpoints,
        skipped,
    };
    super::write_result(&config.out.join("segmentation.json"), "segmentation", &summary)?;
    Ok(SegmentationSummary { options: Vec::new(), tried: Vec::new(), ..summary })
}

fn check(config: &SegmentationConfig) -> Result<()> {
    ensure!(config.batch_size > 0, "the batch size is 0; it must be at least 1");
    ensure!(
        config.search_share > 0.0 && config.search_share < 1.0,
        "the share of patients to search on is {}; it must be above 0 and below 1",
        config.search_share
    );
    ensure!(!config.timesteps.is_empty(), "there is no timestep to try; give for example 50,200,400");
    Ok(())
}

/// Refuses places that cannot be what they should, and timesteps that the model does not have.
fn check_places(config: &SegmentationConfig) -> Result<()> {
    outputs::check_folder(&config.out)?;
    if let Some(run) = &config.checkpoints {
        ensure!(RunDir::is_run(run), "`--checkpoints` needs a run; a model folder has none: {}", run.display());
        read_info(&folder_of(run)?)?;
    }
    let info = read_info(&folder_of(&config.model)?)?;
    let pass = PassSettings { timesteps: config.timesteps.clone(), ..PassSettings::default() };
    check_pass(&pass, &info.preconditioning()?)
}

/// Prototypes are learned from training images with masks: there must be enough.
fn check_annotated(config: &SegmentationConfig, dataset: &Dataset) -> Result<()> {
    let wanted = config.num_annotated.iter().copied().max().unwrap_or(0);
    let masked = dataset.indices_where(|row| row.split == Split::Train && row.mask)?.len();
    ensure!(
        wanted <= masked,
        "prototypes of {wanted} annotated images are asked for, and the split `train` has {masked} images with masks; \
         give smaller numbers with `--annotated`, or prepare the dataset with masks: {}",
        dataset.dir().display()
    );
    Ok(())
}

fn rules(config: &SegmentationConfig) -> Vec<Rule> {
    let mut numbers: BTreeSet<usize> = config.num_annotated.iter().copied().collect();
    numbers.insert(0);
    [Rule::Oracle].into_iter().chain(numbers.into_iter().map(Rule::Learned)).collect()
}

/// The same network before it was trained: the control of what training did.
fn with_random_weights(path: &std::path::Path, seed: u64, device: &Device) -> Result<Model> {
    let mut model = Model::open(path, device)?;
    model.denoiser.backbone = model.denoiser.backbone.config().init(seed, device)?;
    Ok(model)
}

/// The images of a split that have a mask, and those whose mask says nothing.
fn masked_images(dataset: &Dataset, split: Split) -> Result<(Vec<MaskedImage>, Vec<Skipped>)> {
    let indices = dataset.indices_where(|row| row.mask && row.split == split)?;
    let (mut images, mut skipped) = (Vec::new(), Vec::new());
    for (index, row) in indices.iter().copied().zip(dataset.rows_at(&indices)?) {
        match dataset.mask(index)? {
            Some(mask) if mask.contains(&1) => {
                images.push(MaskedImage { index, id: row.id, patient: row.patient, mask })
            }
            _ => skipped.push(Skipped { item: row.id, reason: "its mask is empty, so nothing can be compared".into() }),
        }
    }
    ensure!(
        !images.is_empty(),
        "the dataset has no image with a mask of lungs in the split `{split}`; prepare it with masks (the presets `csv`, \
         `montgomery`, `shenzhen` and `jsrt` know them), or choose another `--split`: {}",
        dataset.dir().display()
    );
    Ok((images, skipped))
}

/// Patients by lot, to the search and to the report.
fn divide(images: Vec<MaskedImage>, config: &SegmentationConfig) -> Result<[Vec<MaskedImage>; 2]> {
    let patients: BTreeSet<String> = images.iter().map(|image| image.patient.clone()).collect();
    let patients: Vec<String> = patients.into_iter().collect();
    ensure!(
        patients.len() >= 2,
        "the images with masks are of one patient; settings must be chosen on others than those who are reported"
    );
    let for_search = ((patients.len() as f64 * config.search_share).round() as usize).clamp(1, patients.len() - 1);
    let order = random::permutation(config.seed, u64::MAX, patients.len());
    let chosen: BTreeSet<&String> = order.into_iter().take(for_search).map(|position| &patients[position]).collect();
    let (search, report) = images.into_iter().partition(|image| chosen.contains(&image.patient));
    Ok([search, report])
}

fn counted(images: &[MaskedImage]) -> Counted {
    let patients: BTreeSet<&String> = images.iter().map(|image| &image.patient).collect();
    Counted { images: images.len(), patients: patients.len() }
}

fn row_of(tried: Tried, rules: &[Rule]) -> TriedRow {
    TriedRow {
        dice: rule_dice(&tried, rules),
        method: tried.candidate.family,
        mean_segments: tried.mean_segments,
        settings: tried.candidate.settings,
    }
}

fn rule_dice(tried: &Tried, rules: &[Rule]) -> Vec<RuleDice> {
    rules.iter().map(|rule| RuleDice { rule: rule.name(), dice: mean(&tried.dice[rule]) }).collect()
}

/// Gives each segmenter the filter that helps most in the search, if one does. The oracle chooses whole segments.
fn refine(
    bench: &Bench<'_>,
    fitted: &mut [Fitted],
    networks: &[Network<'_>],
    search: &[MaskedImage],
    progress: &dyn Progress,
) -> Result<()> {
    let refined: Vec<(usize, Fitted)> = fitted
        .iter()
        .enumerate()
        .filter(|(_, one)| one.rule != Rule::Oracle)
        .flat_map(|(number, one)| {
            REFINEMENTS.map(|refinement| {
                (number, Fitted { segmenter: one.segmenter.with_refinement(Some(refinement)), ..one.clone() })
            })
        })
        .collect();
    let (numbers, refined): (Vec<usize>, Vec<Fitted>) = refined.into_iter().unzip();
    let (scores, _) = bench.score(&refined, networks, search, None, progress)?;
    for ((number, one), scores) in numbers.into_iter().zip(refined).zip(scores) {
        let search_dice = mean(&scores.iter().map(|score| score.dice).collect::<Vec<_>>());
        if search_dice > fitted[number].search_dice {
            fitted[number] = Fitted { search_dice, ..one };
        }
    }
    Ok(())
}

/// The control that looks at no image: the template, and the mean of the annotated masks.
fn places_alone(
    bench: &Bench<'_>,
    search: &[MaskedImage],
    report: &[MaskedImage],
    patients: &[String],
) -> Result<Vec<ResultRow>> {
    let size = bench.dataset.image_size();
    let annotated = bench.annotated_masks()?;
    let mut rows = Vec::new();
    for rule in bench.rules {
        let mask = match rule {
            Rule::Oracle => continue,
            Rule::Learned(0) => template_mask(size),
            Rule::Learned(n) => majority(&annotated[..(*n).min(annotated.len())]),
        };
        let lungs = Lungs::of_mask(&mask, size)?;
        let score = |images: &[MaskedImage]| -> Result<Vec<ImageScore>> {
            images.iter().map(|image| ImageScore::new(&image.id, &lungs, &image.mask, 1, size)).collect()
        };
        rows.push(ResultRow {
            method: "place alone".into(),
            rule: rule.name(),
            search_dice: mean(&score(search)?.iter().map(|score| score.dice).collect::<Vec<_>>()),
            scores: Scores::of(&score(report)?, patients, bench.config.seed)?,
            settings: None,
        });
    }
    Ok(rows)
}

/// Inside where more than half of the masks are.
fn majority(masks: &[Vec<u8>]) -> Vec<u8> {
    let pixels = masks.first().map_or(0, Vec::len);
    let votes = |pixel: usize| masks.iter().filter(|mask| mask[pixel] != 0).count();
    (0..pixels).map(|pixel| u8::from(2 * votes(pixel) > masks.len())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> SegmentationConfig {
        SegmentationConfig {
            model: PathBuf::new(),
            dataset: PathBuf::new(),
            split: Split::Val,
            search_share: 0.6,
            num_annotated: vec![5, 1],
            timesteps: vec![200.0],
            checkpoints: None,
            batch_size: 4,
            seed: 0,
            out: PathBuf::new(),
        }
    }

    #[test]
    fn patients_are_on_one_side_only() {
        let image = |index: usize| MaskedImage {
            index,
            id: index.to_string(),
            patient: (index / 3).to_string(),
            mask: vec![1],
        };
        let [search, report] = divide((0..30).map(image).collect(), &config()).unwrap();
        assert_eq!((counted(&search).patients, counted(&report).patients), (6, 4));
        assert!(search.iter().all(|a| report.iter().all(|b| a.patient != b.patient)));
        assert!(divide((0..3).map(image).collect(), &config()).is_err(), "one patient cannot be divided");
    }

    #[test]
    fn the_unsupervised_rule_is_always_there() {
        let names: Vec<String> = rules(&config()).into_iter().map(Rule::name).collect();
        assert_eq!(names, ["oracle", "unsupervised", "prototype, n = 1", "prototype, n = 5"]);
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        assert!(check(&SegmentationConfig { search_share: 1.0, ..config() }).is_err());
        assert!(check(&SegmentationConfig { timesteps: vec![], ..config() }).is_err());
        assert!(check(&config()).is_ok());
    }
}

//! What each kind of folder contributes to the page, and which folders and files there are.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use dataset::{Dataset, MetricsLog, RunDir, Split};
use radiograph::{Border, Grid};
use serde_json::{Map, Value};

use super::evaluations::{self, ResultFile};
use super::markdown;
use super::page::{chart_row, facts, folded, paragraph, side_by_side, table};
use super::pictures::{drawing_file, files_in, picture, picture_file, pictures_in};
use charts::{Axes, Series, line_chart, number};

/// Images of a dataset that the page shows.
const SHEET_IMAGES: usize = 32;
/// Sample grids of a run that the page shows: the first, the last, and some between.
const SAMPLE_GRIDS: usize = 4;
/// Pictures beside a synthetic dataset that the page shows.
const FIGURES: usize = 8;
/// The one among them that `generate --figure` draws.
const FIGURE: &str = "figure.png";
/// Drawings and pictures of results that the page shows.
const RESULT_FIGURES: usize = 24;

/// What stages write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Dataset,
    Run,
    Model,
    Network,
    /// Of an evaluation: a JSON file, or a folder with some and with figures.
    Results,
}

impl Kind {
    /// The kind of this very file or folder, a folder's by the files it holds.
    fn of(folder: &Path) -> Option<Self> {
        match () {
            () if folder.is_file() => ResultFile::open(folder).is_ok().then_some(Self::Results),
            () if Dataset::is_dataset(folder) => Some(Self::Dataset),
            () if RunDir::is_run(folder) => Some(Self::Run),
            () if folder.join("model.json").is_file() => Some(Self::Model),
            () if folder.join("config.json").is_file() => Some(Self::Network),
            () if holds_results(folder) => Some(Self::Results),
            () => None,
        }
    }

    /// The name in headings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dataset => "Dataset",
            Self::Run => "Training run",
            Self::Model => "Model",
            Self::Network => "Network",
            Self::Results => "Results",
        }
    }
}

/// A result of an evaluation, or any results with figures beside them. Files of the program's own that hold no results,
/// such as timings, have none.
fn holds_results(folder: &Path) -> bool {
    let Ok(files) = ResultFile::all_in(folder) else { return false };
    let has = |extension| files_in(folder, extension).is_ok_and(|found| !found.is_empty());
    files.iter().any(|file| file.kind != evaluations::Kind::Other) || !files.is_empty() && (has("svg") || has("png"))
}

/// The file or folder itself where it is of a known kind; of a folder that is none, or that holds results beside others,
/// also the folders of known kinds that lie directly in it, by name.
pub(super) fn find(folder: &Path) -> Result<Vec<(PathBuf, Kind)>> {
    if folder.is_file() {
        // The reason why it is none.
        ResultFile::open(folder)?;
    }
    let own = Kind::of(folder);
    let mut found: Vec<_> = own.map(|kind| (folder.to_path_buf(), kind)).into_iter().collect();
    if folder.is_file() || own.is_some_and(|kind| kind != Kind::Results) {
        return Ok(found);
    }
    let entries = fs::read_dir(folder).with_context(|| format!("the folder cannot be read: {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.is_dir());
    paths.sort();
    found.extend(paths.into_iter().filter_map(|path| Kind::of(&path).map(|kind| (path, kind))));
    if found.is_empty() {
        bail!(
            "this is no run, dataset, model, network or result, and holds none; give a folder or file that one of the \
             other commands wrote: {}",
            folder.display()
        );
    }
    Ok(found)
}

/// A part of the page.
pub(super) struct Section {
    pub title: String,
    pub body: String,
}

/// What a folder or file contributes; nothing where all it holds is shown elsewhere, see [`conditioning_in`].
pub(super) fn section(folder: &Path, kind: Kind) -> Result<Option<Section>> {
    let body = match kind {
        Kind::Dataset => dataset_section(folder)?,
        Kind::Run => run_section(folder)?,
        Kind::Model => model_section(folder)?,
        Kind::Network => network_section(folder)?,
        Kind::Results => return results(folder),
    };
    Ok(Some(Section { title: format!("{}: {}", kind.name(), folder.display()), body }))
}

/// The results of conditioning in a file or folder: on the page they stand together, since the controls of one are
/// others.
pub(super) fn conditioning_in(folder: &Path) -> Result<Vec<ResultFile>> {
    let mut files = results_at(folder)?;
    files.retain(|file| file.kind == evaluations::Kind::Conditioning);
    Ok(files)
}

fn results_at(path: &Path) -> Result<Vec<ResultFile>> {
    if path.is_file() { Ok(vec![ResultFile::open(path)?]) } else { ResultFile::all_in(path) }
}

fn results(path: &Path) -> Result<Option<Section>> {
    let mut files = results_at(path)?;
    files.retain(|file| file.kind != evaluations::Kind::Conditioning);
    let others = if path.is_file() { String::new() } else { figures_beside(path, &files)? };
    let body = results_body(&files, &others)?;
    if body.is_empty() {
        return Ok(None);
    }
    let name = match &files[..] {
        [file] => file.title(),
        _ => Kind::Results.name().to_owned(),
    };
    Ok(Some(Section { title: format!("{name}: {}", path.display()), body }))
}

/// Known results first, then figures and tables that stand for themselves, then files of unknown form.
fn results_body(files: &[ResultFile], others: &str) -> Result<String> {
    let (known, unknown): (Vec<_>, Vec<_>) = files.iter().partition(|file| file.kind != evaluations::Kind::Other);
    let mut html = String::new();
    for file in &known {
        if files.len() > 1 {
            let name = file.path.file_name().unwrap_or_default().to_string_lossy();
            html.push_str(&format!("<h3>{}</h3>\n", super::page::escape(&format!("{}, {name}", file.title()))));
        }
        html.push_str(&file.section()?);
    }
    html.push_str(others);
    for file in &unknown {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy();
        let body = file.section()?;
        html.push_str(&if html.is_empty() && files.len() == 1 { body } else { folded(&name, &body) });
    }
    Ok(html)
}

/// Drawings, pictures and Markdown that lie in a folder and belong to none of these files alone.
fn figures_beside(folder: &Path, files: &[ResultFile]) -> Result<String> {
    let mut taken = Vec::new();
    for file in files {
        taken.extend(file.own_pictures()?);
    }
    let rest = |extension: &str| -> Result<Vec<PathBuf>> {
        let mut paths = files_in(folder, extension)?;
        paths.retain(|path| !taken.contains(path));
        Ok(paths)
    };
    let mut drawings = String::new();
    for path in spread(&rest("svg")?, RESULT_FIGURES) {
        drawings.push_str(&drawing_file(path)?);
    }
    let mut html = side_by_side(&drawings);
    for path in spread(&rest("png")?, RESULT_FIGURES) {
        html.push_str(&picture_file(path, None)?);
    }
    for path in rest("md")? {
        let text = fs::read_to_string(&path).with_context(|| format!("the file is no text: {}", path.display()))?;
        html.push_str(&markdown::to_html(&text));
    }
    Ok(html)
}

fn dataset_section(folder: &Path) -> Result<String> {
    let dataset = Dataset::open(folder)?;
    let info = dataset.info();
    let mut rows = vec![
        ("images", info.num_images.to_string()),
        ("image size", format!("{0} x {0} pixels", info.image_size)),
        ("splits", info.counts.to_string()),
        ("lung masks", info.num_masks.to_string()),
        ("fingerprint", info.fingerprint.clone()),
    ];
    let encodings: Vec<String> =
        dataset.list_encodings()?.iter().map(|e| format!("{} ({})", e.name, e.fingerprint)).collect();
    if !encodings.is_empty() {
        rows.push(("encodings", encodings.join(", ")));
    }
    let mut html = String::new();
    // The figures of a synthetic dataset say more than anything else about it, and come first.
    let Tally { labels, strategies } = Tally::of(&dataset)?;
    for path in spread(&pictures_in(folder)?, FIGURES) {
        let is_figure = path.file_name().is_some_and(|name| name == FIGURE);
        html.push_str(&picture_file(path, if is_figure { caption_of(&strategies) } else { None })?);
    }
    html.push_str(&facts(&rows));

    if !strategies.is_empty() {
        let rows: Vec<Vec<String>> = strategies.iter().map(|(name, n)| vec![name.clone(), n.to_string()]).collect();
        html.push_str(&table(&["strategy", "images"], &rows));
    }
    if !labels.is_empty() {
        let rows: Vec<Vec<String>> = labels
            .iter()
            .map(|(label, counts)| {
                let mut row = vec![label.clone(), counts.iter().sum::<usize>().to_string()];
                row.extend(counts.iter().map(usize::to_string));
                row
            })
            .collect();
        html.push_str(&table(&["label", "images", "train", "val", "test"], &rows));
    }
    if let Some(sheet) = contact_sheet(&dataset)? {
        html.push_str(&picture(&sheet, "Images from all over the dataset"));
    }
    if !info.preparation.is_empty() {
        html.push_str(&folded("Settings it was made with", &facts(&flatten_toml(&info.preparation))));
    }
    Ok(html)
}

/// What `generate --figure` drew.
fn caption_of(strategies: &BTreeMap<String, usize>) -> Option<&'static str> {
    let names: Vec<&str> = strategies.keys().map(String::as_str).collect();
    match names[..] {
        ["reconstruction"] => {
            Some("Each source (blue frame) left of images that were generated from its embedding alone")
        }
        ["interpolation"] => {
            Some("Pairs of real images (framed) and what was generated from embeddings between theirs")
        }
        ["unconditional"] => Some("Images that were generated without a condition"),
        _ => None,
    }
}

/// How many images have each label (per split) and each strategy.
struct Tally {
    labels: BTreeMap<String, [usize; 3]>,
    strategies: BTreeMap<String, usize>,
}

impl Tally {
    fn of(dataset: &Dataset) -> Result<Self> {
        let mut tally = Self { labels: BTreeMap::new(), strategies: BTreeMap::new() };
        for row in dataset.rows()? {
            let row = row?;
            let split = Split::ALL.iter().position(|split| *split == row.split).unwrap_or(0);
            for label in row.labels {
                tally.labels.entry(label).or_default()[split] += 1;
            }
            if let Some(provenance) = row.provenance {
                *tally.strategies.entry(provenance.strategy).or_default() += 1;
            }
        }
        Ok(tally)
    }
}

/// Images spread evenly over the dataset, as a PNG file; nothing for an empty dataset.
fn contact_sheet(dataset: &Dataset) -> Result<Option<Vec<u8>>> {
    if dataset.is_empty() {
        return Ok(None);
    }
    let size = dataset.image_size();
    let indices = spread(&(0..dataset.len()).collect::<Vec<_>>(), SHEET_IMAGES).copied().collect::<Vec<_>>();
    let mut grid = Grid::new(size.clamp(64, 160)).columns(8);
    for (row, index) in dataset.rows_at(&indices)?.iter().zip(&indices) {
        grid.push_grey(&dataset.image(*index)?, size, size, row.labels.join(", "), Border::None)?;
    }
    Ok(Some(grid.render().encode_png()?))
}

fn run_section(folder: &Path) -> Result<String> {
    let run = RunDir::open(folder)?;
    let recipe = run.recipe()?;
    let parsed: toml::Table = toml::from_str(&recipe)
        .with_context(|| format!("the run's recipe is no valid TOML: {}", folder.join("recipe.toml").display()))?;
    let mut html = String::new();
    if let Some(toml::Value::String(description)) = parsed.get("description") {
        html.push_str(&paragraph(description));
    }
    let metrics = match run.metrics_path().is_file() {
        true => MetricsLog::read(run.metrics_path())?,
        false => Vec::new(),
    };
    let mut rows = Vec::new();
    if let Some(last) = metrics.last() {
        for name in ["images_seen", "step", "loss", "images_per_sec"] {
            if let Some(value) = last.get(name).and_then(Value::as_f64) {
                rows.push((name.replace('_', " "), number(value)));
            }
        }
    }
    if let Some(latest) = run.checkpoints().latest()? {
        rows.push(("latest checkpoint".into(), latest.path.display().to_string()));
    }
    rows.extend(model_facts(&run.model_dir()));
    html.push_str(&facts(&rows));
    html.push_str(&curves(&metrics));

    let samples = folder.join("samples");
    let samples = if samples.is_dir() { pictures_in(&samples)? } else { Vec::new() };
    for path in spread(&samples, SAMPLE_GRIDS) {
        html.push_str(&picture_file(path, None)?);
    }
    let evaluation = folder.join("evaluation");
    if evaluation.is_dir() {
        let files = ResultFile::all_in(&evaluation)?;
        html.push_str(&results_body(&files, &figures_beside(&evaluation, &files)?)?);
    }
    html.push_str(&folded("Recipe", &facts(&flatten_toml(&parsed))));
    Ok(html)
}

/// Points of some curves, by name.
type Lines<'a> = BTreeMap<&'a str, Vec<(f64, f64)>>;

/// One chart for each number of the log, over the images seen. Names that differ only behind `_time_` share one.
fn curves(metrics: &[Map<String, Value>]) -> String {
    let clock = ["images_seen", "step"].into_iter().find(|name| metrics.iter().any(|row| row.contains_key(*name)));
    let Some(clock) = clock else { return String::new() };
    let mut groups: BTreeMap<&str, Lines<'_>> = BTreeMap::new();
    for row in metrics {
        let Some(x) = row.get(clock).and_then(Value::as_f64) else { continue };
        for (name, value) in row {
            let is_clock = ["images_seen", "step"].contains(&name.as_str()) || name.ends_with("_secs");
            if let (false, Some(y)) = (is_clock, value.as_f64()) {
                let group =
                    name.split_once("_time_").map_or(name.as_str(), |(_, _)| "loss by time, from little noise to much");
                groups.entry(group).or_default().entry(name).or_default().push((x, y));
            }
        }
    }
    // The loss first: it is what people look for.
    let mut ordered: Vec<_> = groups.iter().collect();
    ordered.sort_by_key(|(name, _)| (**name != "loss", !name.contains("loss"), **name));
    let clock = clock.replace('_', " ");
    let axes = Axes { x: &clock, y: "", logarithmic: false };
    let drawn = ordered.into_iter().filter_map(|(name, lines)| {
        let series: Vec<Series<'_>> = lines.iter().map(|(name, points)| Series { name, points }).collect();
        Some((line_chart(axes, &series)?, name.replace('_', " ")))
    });
    chart_row(drawn.collect::<Vec<_>>())
}

fn model_section(folder: &Path) -> Result<String> {
    let path = folder.join("model.json");
    let info = read_json(&path)?;
    let mut html = facts(&model_facts(folder));
    html.push_str(&folded("Settings", &facts(&flatten_json(&info))));
    Ok(html)
}

/// Fingerprint and size of a model's network, or of the network that a run of pre-training exported; empty where there
/// is neither.
fn model_facts(folder: &Path) -> Vec<(String, String)> {
    let network = if is_network(folder) { Some(folder.to_path_buf()) } else { denoiser_of(folder) };
    let mut rows = Vec::new();
    if let Some(network) = network
        && let Ok(fingerprint) = files::fingerprint(&network)
    {
        rows.push(("model fingerprint".to_owned(), fingerprint));
        rows.push(("network on disk".to_owned(), megabytes(weight_bytes(&network))));
    }
    rows
}

fn is_network(folder: &Path) -> bool {
    folder.join("config.json").is_file()
}

/// The network in a model's folder that is not one of the frozen two; each kind has a folder name of its own.
fn denoiser_of(model: &Path) -> Option<PathBuf> {
    let frozen = |path: &Path| path.ends_with("autoencoder") || path.ends_with("encoder");
    let paths = fs::read_dir(model).into_iter().flatten().flatten().map(|entry| entry.path());
    paths.filter(|path| is_network(path) && !frozen(path)).min()
}

fn network_section(folder: &Path) -> Result<String> {
    let config = read_json(&folder.join("config.json"))?;
    let mut rows = vec![
        ("fingerprint".to_owned(), files::fingerprint(folder)?),
        ("weights on disk".to_owned(), megabytes(weight_bytes(folder))),
    ];
    for name in ["_class_name", "model_type"] {
        if let Some(Value::String(value)) = config.get(name) {
            rows.push(("kind".to_owned(), value.clone()));
        }
    }
    Ok(facts(&rows) + &folded("Configuration", &facts(&flatten_json(&config))))
}

fn read_json(path: &Path) -> Result<Map<String, Value>> {
    let text = fs::read_to_string(path).with_context(|| format!("the file cannot be read: {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("the file is no JSON object: {}", path.display()))
}

fn weight_bytes(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let weights = entries.filter(|entry| entry.path().extension().is_some_and(|end| end == "safetensors"));
    weights.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum()
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}

/// At most `count` items, evenly spread, the first and the last among them.
fn spread<T>(items: &[T], count: usize) -> impl Iterator<Item = &T> {
    let count = count.min(items.len());
    (0..count).map(move |i| &items[if count == 1 { items.len() - 1 } else { i * (items.len() - 1) / (count - 1) }])
}

/// `path.to.key` and value of every entry.
fn flatten_toml(table: &toml::Table) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    for (key, value) in table {
        match value {
            toml::Value::Table(inner) => {
                rows.extend(flatten_toml(inner).into_iter().map(|(below, value)| (format!("{key}.{below}"), value)));
            }
            toml::Value::String(text) => rows.push((key.clone(), text.clone())),
            other => rows.push((key.clone(), other.to_string())),
        }
    }
    rows
}

/// `path.to.key` and value of every entry; long lists are cut.
fn flatten_json(object: &Map<String, Value>) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    for (key, value) in object {
        match value {
            Value::Object(inner) => {
                rows.extend(flatten_json(inner).into_iter().map(|(below, value)| (format!("{key}.{below}"), value)));
            }
            Value::String(text) => rows.push((key.clone(), text.clone())),
            Value::Array(values) if values.len() > 8 => {
                let first: Vec<String> = values.iter().take(4).map(Value::to_string).collect();
                rows.push((key.clone(), format!("[{}, ... {} values]", first.join(", "), values.len())));
            }
            other => rows.push((key.clone(), other.to_string())),
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_keeps_both_ends() {
        let items: Vec<usize> = (0..100).collect();
        assert_eq!(spread(&items, 4).copied().collect::<Vec<_>>(), [0, 33, 66, 99]);
        assert_eq!(spread(&items[..2], 4).copied().collect::<Vec<_>>(), [0, 1]);
        assert_eq!(spread(&items, 1).copied().collect::<Vec<_>>(), [99]);
        assert_eq!(spread(&items[..0], 4).count(), 0);
    }

    #[test]
    fn settings_are_listed_by_path() {
        let table: toml::Table = toml::from_str("a = 1\n[b]\nc = \"x\"\nd = [1, 2]").unwrap();
        let rows = flatten_toml(&table);
        assert_eq!(rows, [("a", "1"), ("b.c", "x"), ("b.d", "[1, 2]")].map(|(k, v)| (k.to_owned(), v.to_owned())));
    }
}

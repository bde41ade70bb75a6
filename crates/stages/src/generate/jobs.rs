//! Which sources make which images: decided before anything is drawn, by the seed alone.

use super::{GenerateConfig, Strategy};
use crate::encoded::Embeddings;
use anyhow::{Context, Result, bail, ensure};
use dataset::{Dataset, ManifestRow};
use diffusion::interpolate::Interpolation;
use messages::Skipped;
use random::Purpose;
use serde::{Deserialize, Serialize};
use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
};

/// How the two ends of an interpolation are chosen.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairRule {
    /// Another patient's image with the same labels. The default.
    #[default]
    Label,
    /// The nearest embedding (by cosine) of another patient.
    Neighbour,
    /// A table with two columns of image ids, one pair a line.
    File(PathBuf),
}

/// One image to be made.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Rows of the real dataset: one, the two ends, or none for an unconditional image.
    pub sources: Vec<usize>,
    /// How far from the first end to the second.
    pub fraction: Option<f64>,
}

/// All images to be made, in order.
#[derive(Debug)]
pub struct Sources {
    pub(super) jobs: Vec<Job>,
    pub(super) skipped: Vec<Skipped>,
    pub(super) interpolation: Interpolation,
    /// Manifest rows of the split (and of given pairs).
    pub(super) rows: HashMap<usize, ManifestRow>,
}

impl Sources {
    /// Decides what needs no embeddings: all but pairs of neighbours, for which it sees that there are some.
    ///
    /// # Errors
    /// A split without images, or without pairs; a table that cannot be used.
    pub(super) fn choose_without_embeddings(config: &GenerateConfig, dataset: &Dataset) -> Result<Self> {
        let Strategy::Interpolate { pairs: PairRule::Neighbour, .. } = config.strategy else {
            return Self::choose(config, dataset, None);
        };
        let rows = dataset.indices(config.split)?;
        let patients: HashSet<String> = dataset.rows_at(&rows)?.into_iter().map(|row| row.patient).collect();
        ensure!(
            patients.len() >= 2,
            "neighbours are images of two patients, and the split `{}` has images of {}; choose another with `--split`: \
             {}",
            config.split,
            patients.len(),
            config.dataset.display()
        );
        let (jobs, skipped, rows) = (Vec::new(), Vec::new(), HashMap::new());
        Ok(Self { jobs, skipped, interpolation: Interpolation::default(), rows })
    }

    /// Decides the rest.
    ///
    /// # Errors
    /// A damaged shard.
    pub(super) fn find_neighbours(
        &mut self,
        config: &GenerateConfig,
        dataset: &Dataset,
        embeddings: Option<&Embeddings>,
    ) -> Result<()> {
        if let Strategy::Interpolate { pairs: PairRule::Neighbour, .. } = config.strategy {
            *self = Self::choose(config, dataset, embeddings)?;
        }
        Ok(())
    }

    fn choose(config: &GenerateConfig, dataset: &Dataset, embeddings: Option<&Embeddings>) -> Result<Self> {
        let rows = dataset.indices(config.split)?;
        // Without a number all that are listed are made; other strategies have one.
        let num_images = config.num_images.unwrap_or_default();
        ensure!(
            !rows.is_empty() || matches!(config.strategy, Strategy::Listed { .. }),
            "the dataset has no image in the split `{}`; choose another with `--split`: {}",
            config.split,
            config.dataset.display()
        );
        let mut described: HashMap<usize, ManifestRow> = rows.iter().copied().zip(dataset.rows_at(&rows)?).collect();
        let order = random::permutation(config.seed, 0, rows.len());
        // More images than sources: go round again.
        let mut sources = order.iter().map(|position| rows[*position]).cycle();
        let mut skipped = Vec::new();
        let mut jobs = Vec::new();
        let mut interpolation = Interpolation::default();
        match &config.strategy {
            Strategy::Listed { table, interpolation: chosen } => {
                interpolation = *chosen;
                jobs = listed(table, dataset)?;
                jobs.truncate(config.num_images.unwrap_or(jobs.len()));
                let ends: Vec<usize> = jobs.iter().flat_map(|job| job.sources.iter().copied()).collect();
                described.extend(ends.iter().copied().zip(dataset.rows_at(&ends)?));
            }
            Strategy::Unconditional => jobs = vec![Job { sources: Vec::new(), fraction: None }; num_images],
            Strategy::Reconstruct { variants } => {
                while jobs.len() < num_images {
                    let Some(source) = sources.next() else { break };
                    let job = Job { sources: vec![source], fraction: None };
                    let missing = num_images - jobs.len();
                    jobs.extend(std::iter::repeat_n(job, (*variants).min(missing)));
                }
            }
            Strategy::Interpolate { pairs, fractions, interpolation: chosen } => {
                interpolation = *chosen;
                let num_pairs = num_images.div_ceil(fractions.len());
                let pairs = match pairs {
                    PairRule::File(path) => {
                        let pairs = pairs_from_file(path, dataset)?;
                        let ends: Vec<usize> = pairs.iter().flatten().copied().collect();
                        described.extend(ends.iter().copied().zip(dataset.rows_at(&ends)?));
                        pairs
                    }
                    rule => {
                        let partners = Partners::new(&described, &rows, rule, embeddings, config.seed)?;
                        let mut pairs = Vec::new();
                        for source in sources.take(rows.len().max(num_pairs)) {
                            if pairs.len() == num_pairs {
                                break;
                            }
                            match partners.of(source) {
                                Some(target) => pairs.push([source, target]),
                                None => skipped.push(Skipped {
                                    item: described.get(&source).map(|row| row.id.clone()).unwrap_or_default(),
                                    reason: "no other patient's image in this split has the same labels".into(),
                                }),
                            }
                        }
                        pairs
                    }
                };
                ensure!(!pairs.is_empty(), "there is no pair to interpolate between; choose another rule for pairs");
                for [source, target] in pairs.into_iter().cycle().take(num_pairs) {
                    jobs.extend(
                        fractions
                            .iter()
                            .map(|fraction| Job { sources: vec![source, target], fraction: Some(*fraction) }),
                    );
                }
                jobs.truncate(num_images);
            }
        }
        Ok(Self { jobs, skipped, interpolation, rows: described })
    }
}

/// Answers who the other end of an interpolation is.
struct Partners<'a> {
    rule: PairRule,
    rows: Vec<usize>,
    described: &'a HashMap<usize, ManifestRow>,
    /// Unit length, row by row; only for [`PairRule::Neighbour`].
    unit_embeddings: Vec<Vec<f32>>,
    seed: u64,
}

impl<'a> Partners<'a> {
    fn new(
        described: &'a HashMap<usize, ManifestRow>,
        rows: &[usize],
        rule: &PairRule,
        embeddings: Option<&Embeddings>,
        seed: u64,
    ) -> Result<Self> {
        let mut unit_embeddings = Vec::new();
        if let (PairRule::Neighbour, Some(embeddings)) = (rule, embeddings) {
            for row in rows {
                let mut embedding = embeddings.gather(&[*row], 1)?;
                let norm = embedding.iter().map(|value| value * value).sum::<f32>().sqrt().max(1e-12);
                embedding.iter_mut().for_each(|value| *value /= norm);
                unit_embeddings.push(embedding);
            }
        }
        Ok(Self { rule: rule.clone(), rows: rows.to_vec(), described, unit_embeddings, seed })
    }

    fn of(&self, source: usize) -> Option<usize> {
        let this = self.described.get(&source)?;
        let others = self
            .rows
            .iter()
            .enumerate()
            .filter(|(_, row)| self.described.get(*row).is_some_and(|other| other.patient != this.patient));
        if self.rule == PairRule::Neighbour {
            let position = self.rows.iter().position(|row| *row == source)?;
            let own = &self.unit_embeddings[position];
            let cosine = |other: usize| own.iter().zip(&self.unit_embeddings[other]).map(|(a, b)| a * b).sum::<f32>();
            return others
                .max_by(|(left, _), (right, _)| cosine(*left).total_cmp(&cosine(*right)))
                .map(|(_, row)| *row);
        }
        let candidates: Vec<usize> = others
            .map(|(_, row)| *row)
            .filter(|row| self.described.get(row).is_some_and(|other| other.labels == this.labels))
            .collect();
        let choice = random::uniform(self.seed, source as u64, Purpose::Selection);
        candidates.get((choice * candidates.len() as f64) as usize).copied()
    }
}

/// A table whose cells are ids of images and numbers; what is wrong is told by its line.
struct Table {
    rows: HashMap<String, usize>,
    reader: csv::Reader<std::fs::File>,
    path: PathBuf,
}

impl Table {
    fn open(path: &Path, has_head: bool, dataset: &Dataset) -> Result<Self> {
        let reader = csv::ReaderBuilder::new()
            .has_headers(has_head)
            .flexible(true)
            .trim(csv::Trim::All)
            .from_path(path)
            .with_context(|| format!("the table cannot be read: {}", path.display()))?;
        Ok(Self { rows: dataset.numbers_by_id()?, reader, path: path.into() })
    }

    /// What `read` makes of each line, with what else goes wrong.
    fn lines<T>(&mut self, read: impl Fn(&csv::StringRecord, &HashMap<String, usize>) -> Result<T>) -> Result<Vec<T>> {
        let Self { rows, reader, path } = self;
        let mut found = Vec::new();
        for record in reader.records() {
            let record = record.with_context(|| format!("the table is damaged: {}", path.display()))?;
            let line = record.position().map_or(0, csv::Position::line);
            let read = read(&record, rows);
            found.push(read.with_context(|| format!("line {line} of the table cannot be used: {}", path.display()))?);
        }
        Ok(found)
    }
}

fn row_of(rows: &HashMap<String, usize>, id: &str) -> Result<usize> {
    rows.get(id).copied().with_context(|| format!("the dataset has no image `{id}`"))
}

fn pairs_from_file(path: &Path, dataset: &Dataset) -> Result<Vec<[usize; 2]>> {
    Table::open(path, false, dataset)?.lines(|record, rows| match (record.get(0), record.get(1), record.len()) {
        (Some(source), Some(target), 2) => Ok([row_of(rows, source)?, row_of(rows, target)?]),
        (_, _, columns) => bail!("it has {columns} columns instead of two image ids"),
    })
}

fn listed(path: &Path, dataset: &Dataset) -> Result<Vec<Job>> {
    let mut table = Table::open(path, true, dataset)?;
    let head = table.reader.headers().with_context(|| format!("the table has no head line: {}", path.display()))?;
    let column = |name: &str| head.iter().position(|cell| cell == name);
    let (source, target, fraction) = (column("source"), column("target"), column("fraction"));
    let source = source.with_context(|| format!("the table has no column `source`: {}", path.display()))?;
    let jobs = table.lines(|record, rows| {
        let cell = |column: Option<usize>| column.and_then(|column| record.get(column)).filter(|text| !text.is_empty());
        let first = row_of(rows, cell(Some(source)).context("it names no source")?)?;
        Ok(match (cell(target), cell(fraction)) {
            (None, None) => Job { sources: vec![first], fraction: None },
            (Some(target), Some(text)) => {
                let fraction = text.parse().ok().filter(|fraction| (0.0..=1.0).contains(fraction));
                let fraction = fraction.with_context(|| format!("the fraction `{text}` is no number from 0 to 1"))?;
                Job { sources: vec![first, row_of(rows, target)?], fraction: Some(fraction) }
            }
            _ => bail!("a mixture needs both `target` and `fraction`"),
        })
    })?;
    ensure!(!jobs.is_empty(), "the table lists no image: {}", path.display());
    Ok(jobs)
}

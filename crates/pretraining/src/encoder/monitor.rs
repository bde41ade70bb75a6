//! Whether the encoder learns, or collapses: numbers of the training itself, and what nearest neighbours make of its
//! embeddings. Labels are looked at here and nowhere else; they never enter training.

use super::recipe::{EncoderRecipe, EvaluationRecipe};
use anyhow::Result;
use burn::tensor::{Device, Tensor};
use dataset::{Dataset, ManifestRow, Split};
use metrics::{Moments, Rows, effective_rank, standard_deviation, weighted_votes};
use nets::encoder::{Encoder, Preprocessing};
use std::collections::{BTreeMap, BTreeSet};
use training::Mean;
use training::tensors::to_host;

/// Images that go through the encoder together when it is evaluated.
const BATCH_SIZE: usize = 32;

/// Means since the last line of the journal.
#[derive(Debug)]
pub struct Averages {
    loss: Mean,
    entropy: Mean,
    koleo: Mean,
    gradient_norm: Mean,
    /// Of the teacher's class tokens of first global views, brought to length 1.
    embeddings: Moments,
    /// Loss and entropy of the step before.
    latest: [f64; 2],
    /// Spread of the embeddings in the line before.
    latest_spread: Vec<(String, f64)>,
}

impl Averages {
    /// For embeddings of length `dim`.
    ///
    /// # Errors
    /// A length of 0.
    pub fn new(dim: usize) -> Result<Self> {
        Ok(Self {
            loss: Mean::default(),
            entropy: Mean::default(),
            koleo: Mean::default(),
            gradient_norm: Mean::default(),
            embeddings: Moments::new(dim)?,
            latest: [f64::NAN; 2],
            latest_spread: Vec::new(),
        })
    }

    /// The numbers of one step.
    pub fn add(&mut self, loss: f64, entropy: f64, koleo: Option<f64>, gradient_norm: f64) {
        self.loss.add(loss);
        self.entropy.add(entropy);
        self.gradient_norm.add(gradient_norm);
        if let Some(koleo) = koleo {
            self.koleo.add(koleo);
        }
        self.latest = [loss, entropy];
    }

    /// Class tokens that the teacher gave in one step.
    ///
    /// # Shapes
    /// `[batch, dim]`
    ///
    /// # Errors
    /// Tokens that are not numbers.
    pub fn add_embeddings(&mut self, embeddings: &[f32]) -> Result<()> {
        let dim = self.embeddings.dim();
        for row in unit_rows(embeddings, dim).chunks_exact(dim) {
            self.embeddings.push(row)?;
        }
        Ok(())
    }

    /// The line, after which the averages begin anew. The cross-entropy that is the loss is the teacher's entropy plus
    /// the divergence (Kullback and Leibler) of the student's answers from it: the entropy at 0 or `ln(output_dim)`,
    /// or a divergence at 0, is a collapse (Caron et al. 2021, section 5.3).
    ///
    /// # Errors
    /// Embeddings whose covariance has no eigenvalues.
    pub fn take(&mut self) -> Result<Vec<(String, f64)>> {
        let mut values = Vec::new();
        let mut add = |name: &str, value: Option<f64>| values.extend(value.map(|value| (name.to_owned(), value)));
        let (loss, entropy) = (self.loss.get(), self.entropy.get());
        add("loss", loss);
        add("teacher_entropy", entropy);
        add("divergence", loss.zip(entropy).map(|(loss, entropy)| loss - entropy));
        add("koleo", self.koleo.get());
        add("gradient_norm", self.gradient_norm.get());
        let latest_spread = spread("", &self.embeddings)?;
        values.extend(latest_spread.iter().cloned());
        *self = Self { latest: self.latest, latest_spread, ..Self::new(self.embeddings.dim())? };
        Ok(values)
    }

    /// Where training stands, in a few words.
    pub fn note(&self) -> String {
        let [loss, entropy] = self.latest;
        let mut note = format!("loss {loss:.3}, teacher entropy {entropy:.3}");
        for (name, value) in &self.latest_spread {
            note.push_str(&format!(", {} {value:.2}", name.replace('_', " ")));
        }
        note
    }
}

/// Two measures of how much of their space embeddings of length 1 use: empty with fewer than two of them.
fn spread(prefix: &str, embeddings: &Moments) -> Result<Vec<(String, f64)>> {
    if embeddings.count() < 2 {
        return Ok(Vec::new());
    }
    // 1 where they spread over the sphere.
    let deviation = standard_deviation(embeddings)? * (embeddings.dim() as f64).sqrt();
    Ok(vec![
        (format!("{prefix}embedding_std"), deviation),
        (format!("{prefix}effective_rank"), effective_rank(embeddings)?),
    ])
}

/// Rows divided by their length.
fn unit_rows(values: &[f32], dim: usize) -> Vec<f64> {
    let unit = |row: &[f32]| {
        let length = row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
        let factor = if length > 0.0 { 1.0 / length } else { 0.0 };
        row.iter().map(|value| f64::from(*value) * factor).collect::<Vec<_>>()
    };
    values.chunks_exact(dim).flat_map(unit).collect()
}

/// Images on which an encoder is judged, chosen once for a run.
#[derive(Debug)]
pub struct Judge {
    settings: EvaluationRecipe,
    /// Training images of a known class, and their classes.
    references: Labelled,
    /// Validation images of a known class, and their classes.
    queries: Labelled,
    num_classes: usize,
    /// Where nothing is labelled: validation images to look at the spread of embeddings alone.
    unlabelled: Vec<usize>,
}

#[derive(Debug, Default)]
struct Labelled {
    rows: Vec<usize>,
    classes: Vec<usize>,
}

impl Judge {
    /// Takes images with exactly one label from the largest collection, since elsewhere a label may stand for the
    /// scanner; classes without reference count as wrong.
    ///
    /// # Errors
    /// A manifest that cannot be read.
    pub fn new(dataset: &Dataset, recipe: &EncoderRecipe) -> Result<Self> {
        let settings = recipe.evaluation.clone();
        let collections = &dataset.info().collections;
        let largest = dataset.info().largest_collection();
        let is_candidate = |row: &ManifestRow| {
            row.labels.len() == 1 && (collections.len() < 2 || row.collection.as_deref() == largest)
        };
        let choose = |split: Split, most: usize, wanted: &dyn Fn(&ManifestRow) -> bool| -> Result<Vec<usize>> {
            let rows = dataset.indices_where(|row| row.split == split && wanted(row))?;
            let order = random::permutation(recipe.seed, u64::MAX, rows.len());
            let mut chosen: Vec<usize> = order.into_iter().take(most).map(|position| rows[position]).collect();
            // In order, so that the disk reads forward.
            chosen.sort_unstable();
            Ok(chosen)
        };
        let reference_rows = choose(Split::Train, settings.max_references, &is_candidate)?;
        let query_rows = choose(Split::Val, settings.max_queries, &is_candidate)?;
        let label_of = |rows: &[usize]| -> Result<Vec<String>> {
            Ok(dataset.rows_at(rows)?.into_iter().map(|mut row| row.labels.remove(0)).collect())
        };
        let (reference_labels, query_labels) = (label_of(&reference_rows)?, label_of(&query_rows)?);
        let names: BTreeSet<&String> = reference_labels.iter().chain(&query_labels).collect();
        let numbers: BTreeMap<&String, usize> = names.into_iter().zip(0..).collect();
        let num_classes = numbers.len();
        if num_classes < 2 || reference_rows.is_empty() || query_rows.is_empty() {
            let mut unlabelled = choose(Split::Val, settings.max_queries, &|_| true)?;
            if unlabelled.is_empty() {
                unlabelled = choose(Split::Train, settings.max_queries, &|_| true)?;
            }
            let (references, queries) = (Labelled::default(), Labelled::default());
            return Ok(Self { settings, references, queries, num_classes: 0, unlabelled });
        }
        let classes = |labels: &[String]| labels.iter().map(|label| numbers[label]).collect();
        let references = Labelled { classes: classes(&reference_labels), rows: reference_rows };
        let queries = Labelled { classes: classes(&query_labels), rows: query_rows };
        Ok(Self { settings, references, queries, num_classes, unlabelled: Vec::new() })
    }

    /// What nearest neighbours can be expected to beat: the share of the commonest class among the queries; `None`
    /// where there are no labels.
    pub fn chance(&self) -> Option<f64> {
        let mut counts = vec![0usize; self.num_classes];
        self.queries.classes.iter().for_each(|class| counts[*class] += 1);
        Some(*counts.iter().max()? as f64 / self.queries.classes.len() as f64)
    }

    /// Accuracy of the nearest neighbours' vote, the same averaged over classes, and the spread of the embeddings.
    ///
    /// # Errors
    /// Images that cannot be read, a device that failed, embeddings that are not numbers.
    pub fn judge(
        &self,
        encoder: &Encoder,
        preprocessing: &Preprocessing,
        dataset: &Dataset,
        device: &Device,
    ) -> Result<Vec<(String, f64)>> {
        let dim = encoder.dim();
        let embed = |rows: &[usize]| -> Result<Vec<f64>> {
            let mut values = Vec::with_capacity(rows.len() * dim);
            let size = dataset.image_size();
            for chunk in rows.chunks(BATCH_SIZE) {
                let images: Tensor<4> = preprocessing.apply(&dataset.images(chunk)?, size, size, device)?;
                values.extend(to_host(encoder.forward(images).class_token())?);
            }
            Ok(unit_rows(&values, dim))
        };
        let mut values = Vec::new();
        if self.num_classes == 0 {
            values.extend(spread("validation_", &Moments::of(Rows::new(&embed(&self.unlabelled)?, dim)?)?)?);
            return Ok(values);
        }
        let (references, queries) = (embed(&self.references.rows)?, embed(&self.queries.rows)?);
        let (references, queries) = (Rows::new(&references, dim)?, Rows::new(&queries, dim)?);
        let EvaluationRecipe { num_neighbours, temperature, .. } = self.settings;
        let classes = &self.references.classes;
        let votes = weighted_votes(queries, references, classes, self.num_classes, num_neighbours, temperature)?;
        let mut hits = vec![Mean::default(); self.num_classes];
        let mut all = Mean::default();
        for (vote, class) in votes.iter().zip(&self.queries.classes) {
            let hit = f64::from(u8::from(vote == class));
            hits[*class].add(hit);
            all.add(hit);
        }
        let mut balanced = Mean::default();
        hits.into_iter().filter_map(Mean::get).for_each(|share| balanced.add(share));
        values.extend(all.get().map(|value| ("knn_accuracy".to_owned(), value)));
        values.extend(balanced.get().map(|value| ("knn_balanced_accuracy".to_owned(), value)));
        values.extend(spread("validation_", &Moments::of(queries)?)?);
        Ok(values)
    }
}

//! Whether generated rows look like real ones, and whether they show all that real ones show: precision and recall,
//! density and coverage, by neighbourhoods.

use crate::error::{Error, check_enough, check_size};
use crate::euclidean::{for_each_query, nearest_squared};
use crate::resample::{Interval, bootstrap_interval_of_mean};
use crate::rows::Rows;

/// The `k` of Naeem et al. (2020); the papers' figures are only comparable at one `k`.
pub const DEFAULT_NEIGHBOURS: usize = 5;

/// Who lies in whose neighbourhood. The neighbourhood of a row is the ball around it that reaches, border included, to
/// its `k`-th nearest row of the same set, itself not counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Neighbourhoods {
    k: usize,
    /// In how many real rows' neighbourhoods each generated row lies.
    pub real_around_generated: Vec<usize>,
    /// In how many generated rows' neighbourhoods each real row lies.
    pub generated_around_real: Vec<usize>,
    /// How many generated rows lie in each real row's neighbourhood.
    pub generated_near_real: Vec<usize>,
}

/// Four numbers, or what else there is four of, about one set of generated rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quality<T> {
    /// Share of generated rows in the neighbourhood of any real one (Kynkäänniemi et al. 2019).
    pub precision: T,
    /// Share of real rows in the neighbourhood of any generated one (as before).
    pub recall: T,
    /// In how many real neighbourhoods a generated row lies on average, over `k` (Naeem et al. 2020). Around
    /// 1 for equal distributions, and above where generated rows crowd where real ones are dense.
    pub density: T,
    /// Share of real rows with any generated one in their neighbourhood (Naeem et al. 2020).
    pub coverage: T,
}

impl Neighbourhoods {
    /// Finds them in time of three products of all rows with all rows.
    ///
    /// # Errors
    /// [`Error::SizeMismatch`] for features of different lengths; [`Error::TooFew`] for `k` 0 and for a set with no more
    /// than `k` rows; [`Error::NotFinite`] for rows whose squared length overflows.
    pub fn of(real: Rows<'_>, generated: Rows<'_>, k: usize) -> Result<Self, Error> {
        check_size("dim of the generated rows", generated.dim(), real.dim())?;
        check_enough("number of neighbours", k, 1)?;
        check_enough("number of real rows", real.len(), k + 1)?;
        check_enough("number of generated rows", generated.len(), k + 1)?;
        let (real_radii, generated_radii) = (squared_radii(real, k)?, squared_radii(generated, k)?);
        let mut found = Self {
            k,
            real_around_generated: vec![0; generated.len()],
            generated_around_real: vec![0; real.len()],
            generated_near_real: vec![0; real.len()],
        };
        for_each_query(generated, real, |generated, distances| {
            for (real, real_radius) in real_radii.iter().enumerate() {
                if distances.within(real, *real_radius) {
                    found.real_around_generated[generated] += 1;
                    found.generated_near_real[real] += 1;
                }
                if distances.within(real, generated_radii[generated]) {
                    found.generated_around_real[real] += 1;
                }
            }
        })?;
        Ok(found)
    }

    /// The four measures.
    pub fn quality(&self) -> Quality<f64> {
        let mean = |values: Vec<f64>| values.iter().sum::<f64>() / values.len() as f64;
        let Quality { precision, recall, density, coverage } = self.terms();
        Quality { precision: mean(precision), recall: mean(recall), density: mean(density), coverage: mean(coverage) }
    }

    /// Bootstrap intervals over the rows that each measure is a mean of, the neighbourhoods as they are: to draw rows
    /// twice would shrink neighbourhoods and move the measures themselves. They do not tell how the measures would vary
    /// with the other set.
    ///
    /// # Errors
    /// As [`bootstrap_interval`](crate::bootstrap_interval).
    pub fn intervals(&self, num_replicates: usize, confidence: f64, seed: u64) -> Result<Quality<Interval>, Error> {
        let interval = |values: Vec<f64>| bootstrap_interval_of_mean(&values, num_replicates, confidence, seed);
        let Quality { precision, recall, density, coverage } = self.terms();
        Ok(Quality {
            precision: interval(precision)?,
            recall: interval(recall)?,
            density: interval(density)?,
            coverage: interval(coverage)?,
        })
    }

    /// What each measure is the mean of: over generated rows for precision and density, over real ones for the others.
    fn terms(&self) -> Quality<Vec<f64>> {
        let any = |counts: &[usize]| counts.iter().map(|count| f64::from(u8::from(*count > 0))).collect();
        let per_neighbour = |count: &usize| *count as f64 / self.k as f64;
        Quality {
            precision: any(&self.real_around_generated),
            recall: any(&self.generated_around_real),
            density: self.real_around_generated.iter().map(per_neighbour).collect(),
            coverage: any(&self.generated_near_real),
        }
    }
}

/// Squared distance of each row to its `k`-th nearest other one.
fn squared_radii(rows: Rows<'_>, k: usize) -> Result<Vec<f64>, Error> {
    let nearest = nearest_squared(rows, rows, k, |query, reference| query != reference)?;
    Ok(nearest.into_iter().filter_map(|near| near.last().map(|(square, _)| *square)).collect())
}

//! Which training image comes when.

use anyhow::{Result, ensure};
use dataset::{Dataset, Split};

/// The order of a run: each training image once in every epoch, in an order that seed and epoch decide.
#[derive(Debug)]
pub struct TrainingOrder {
    rows: Vec<usize>,
    seed: u64,
    /// The epoch whose order is at hand, and that order.
    order: Option<(u64, Vec<usize>)>,
}

impl TrainingOrder {
    /// Of a dataset's training split.
    ///
    /// # Errors
    /// A dataset without training images.
    pub fn new(dataset: &Dataset, seed: u64) -> Result<Self> {
        let rows = dataset.indices(Split::Train)?;
        ensure!(
            !rows.is_empty(),
            "the dataset has no image in the split `train`; prepare it with another `--split`: {}",
            dataset.dir().display()
        );
        Ok(Self { rows, seed, order: None })
    }

    /// The training images in the dataset's order.
    pub fn rows(&self) -> &[usize] {
        &self.rows
    }

    /// The place in [`TrainingOrder::rows`] of the image with this number in the run.
    pub fn position(&mut self, number: u64) -> usize {
        let len = self.rows.len() as u64;
        let (epoch, place) = (number / len, (number % len) as usize);
        match &self.order {
            Some((known, order)) if *known == epoch => order[place],
            _ => {
                let order = random::permutation(self.seed, epoch, self.rows.len());
                let position = order[place];
                self.order = Some((epoch, order));
                position
            }
        }
    }

    /// The dataset's row of the image with this number in the run.
    pub fn row(&mut self, number: u64) -> usize {
        let position = self.position(number);
        self.rows[position]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_epoch_visits_each_training_image_once_in_a_fresh_order() {
        let mut order = TrainingOrder { rows: (10..20).collect(), seed: 1, order: None };
        let mut epoch = |first: u64| (first..first + 10).map(|number| order.row(number)).collect::<Vec<_>>();
        let (first, second, again) = (epoch(0), epoch(10), epoch(0));
        assert_eq!(first, again);
        assert_ne!(first, second);
        let mut sorted = second;
        sorted.sort_unstable();
        assert_eq!(sorted, (10..20).collect::<Vec<_>>());
    }
}

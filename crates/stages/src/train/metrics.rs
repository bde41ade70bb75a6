//! The numbers that a run writes about itself, gathered between two lines of its journal.

use training::Mean;

/// Number of equal ranges of time for which the loss is reported apart.
const TIME_RANGES: usize = 4;

/// Sums since the last line.
#[derive(Debug, Default)]
pub struct Averages {
    loss: Mean,
    by_time: [Mean; TIME_RANGES],
    gradient_norm: Mean,
    last_loss: Option<f64>,
}

impl Averages {
    /// Losses of single images and the times at which they were made noisy.
    pub fn add_losses(&mut self, losses: &[f32], times: &[f64]) {
        for (loss, time) in losses.iter().zip(times) {
            self.loss.add(f64::from(*loss));
            let range = ((time * TIME_RANGES as f64) as usize).min(TIME_RANGES - 1);
            self.by_time[range].add(f64::from(*loss));
        }
    }

    /// Length of a gradient before clipping.
    pub fn add_gradient_norm(&mut self, norm: f64) {
        self.gradient_norm.add(norm);
    }

    /// Mean since the last line; not a number before the first image.
    pub fn loss(&self) -> f64 {
        self.loss.get().unwrap_or(f64::NAN)
    }

    /// As [`Averages::loss`], or that of the last line where none came since.
    pub fn recent_loss(&self) -> f64 {
        self.loss.get().or(self.last_loss).unwrap_or(f64::NAN)
    }

    /// The line, after which the averages begin anew.
    pub fn take(&mut self, learning_rate: f64) -> Vec<(String, f64)> {
        let mut values = vec![
            ("loss".to_owned(), self.loss()),
            ("gradient_norm".to_owned(), self.gradient_norm.get().unwrap_or(f64::NAN)),
            ("learning_rate".to_owned(), learning_rate),
        ];
        for (range, mean) in self.by_time.iter().enumerate() {
            if let Some(mean) = mean.get() {
                values.push((format!("loss_time_{range}_of_{TIME_RANGES}"), mean));
            }
        }
        *self = Self { last_loss: self.loss.get(), ..Self::default() };
        values
    }
}

//! What a run writes about itself: `metrics.jsonl`, and the same for TensorBoard.

use super::checkpoint::State;
use anyhow::Result;
use dataset::{EventsWriter, ImageKind, MetricsLog, RunDir};
use radiograph::RgbImage;
use std::time::Instant;

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

#[derive(Debug, Default, Clone, Copy)]
struct Mean {
    sum: f64,
    count: u64,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    fn get(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
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
}

/// The open files.
#[derive(Debug)]
pub struct Journal {
    log: MetricsLog,
    events: EventsWriter,
    begun: Instant,
}

impl Journal {
    /// Opens both; lines beyond `images_seen`, from before a kill, are dropped.
    ///
    /// # Errors
    /// A disk that is full or refuses.
    pub fn open(run_dir: &RunDir, images_seen: u64) -> Result<Self> {
        let log = run_dir.metrics(images_seen)?;
        let events = run_dir.events(images_seen)?;
        Ok(Self { log, events, begun: Instant::now() })
    }

    /// One line, after which the averages begin anew.
    ///
    /// # Errors
    /// A disk that is full or refuses.
    pub fn write(
        &mut self,
        state: &State,
        averages: &mut Averages,
        learning_rate: f64,
        images_per_sec: f64,
    ) -> Result<()> {
        let mut values = vec![
            ("loss".to_owned(), averages.loss()),
            ("gradient_norm".to_owned(), averages.gradient_norm.get().unwrap_or(f64::NAN)),
            ("learning_rate".to_owned(), learning_rate),
            ("images_per_sec".to_owned(), images_per_sec),
        ];
        for (range, mean) in averages.by_time.iter().enumerate() {
            if let Some(mean) = mean.get() {
                values.push((format!("loss_time_{range}_of_{TIME_RANGES}"), mean));
            }
        }
        for (name, value) in &values {
            self.events.scalar(name, state.images_seen, *value)?;
        }
        self.events.flush()?;
        values.push(("session_secs".to_owned(), self.begun.elapsed().as_secs_f64()));
        let row: Vec<(&str, f64)> = values.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        self.log.append(state.images_seen, state.images_seen, &row)?;
        *averages = Averages { last_loss: averages.loss.get(), ..Averages::default() };
        Ok(())
    }

    /// A sample grid for TensorBoard.
    ///
    /// # Errors
    /// A disk that is full or refuses.
    pub fn picture(&mut self, state: &State, picture: &RgbImage) -> Result<()> {
        let (height, width) = (picture.height, picture.width);
        self.events.image("samples", state.images_seen, &picture.encode_png()?, height, width, ImageKind::Rgb)?;
        self.events.flush()?;
        Ok(())
    }
}

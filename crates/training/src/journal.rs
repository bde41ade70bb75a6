//! What a run writes about itself while it trains.

use anyhow::Result;
use dataset::{EventsWriter, ImageKind, MetricsLog, RunDir};
use radiograph::RgbImage;
use std::time::Instant;

/// What a run writes about itself: `metrics.jsonl`, and the same for TensorBoard.
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

    /// One line of named numbers.
    ///
    /// # Errors
    /// A disk that is full or refuses.
    pub fn write(&mut self, images_seen: u64, values: &[(String, f64)]) -> Result<()> {
        for (name, value) in values {
            self.events.scalar(name, images_seen, *value)?;
        }
        self.events.flush()?;
        let mut row: Vec<(&str, f64)> = values.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        row.push(("session_secs", self.begun.elapsed().as_secs_f64()));
        Ok(self.log.append(images_seen, images_seen, &row)?)
    }

    /// A picture for TensorBoard.
    ///
    /// # Errors
    /// A disk that is full or refuses.
    pub fn picture(&mut self, images_seen: u64, name: &str, picture: &RgbImage) -> Result<()> {
        let (height, width) = (picture.height, picture.width);
        self.events.image(name, images_seen, &picture.encode_png()?, height, width, ImageKind::Rgb)?;
        Ok(self.events.flush()?)
    }
}

/// The mean of numbers that come one by one.
#[derive(Debug, Default, Clone, Copy)]
pub struct Mean {
    sum: f64,
    count: u64,
}

impl Mean {
    /// One number more.
    pub fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    /// The mean; nothing before the first number.
    pub fn get(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

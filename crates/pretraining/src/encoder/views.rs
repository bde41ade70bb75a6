//! Batches of random views, made on other threads ahead of the network, so that it never waits for them.
//!
//! A batch is a function of the seed and the numbers of its images in the run: it does not matter how far ahead it was
//! made, by how many threads, or whether the run was resumed in between.

use super::recipe::EncoderRecipe;
use anyhow::{Context, Result};
use dataset::Dataset;
use radiograph::{Augmentation, ViewKey, ViewKind};
use rayon::prelude::*;
use std::{
    sync::mpsc::{Receiver, sync_channel},
    thread,
};
use training::TrainingOrder;

/// Batches that wait for the network: enough that a slow disk read or an evaluation leaves no gap.
const BATCHES_AHEAD: usize = 2;

/// The views of some images, grey in 0..=1, view by view: all images' first view, then all images' second one, ...
#[derive(Debug, Clone, PartialEq)]
pub struct Views {
    /// Number of the first image in the run.
    pub first: u64,
    /// `[2 * batch, global_size, global_size]`
    pub global: Vec<f32>,
    /// `[num_local * batch, local_size, local_size]`
    pub local: Vec<f32>,
}

/// What makes views.
#[derive(Debug)]
struct ViewMaker {
    dataset: Dataset,
    order: TrainingOrder,
    augmentation: Augmentation,
    kinds: Vec<ViewKind>,
    seed: u64,
    batch_size: usize,
}

impl ViewMaker {
    fn views(&mut self, first: u64) -> Result<Views> {
        let numbers: Vec<u64> = (first..first + self.batch_size as u64).collect();
        let rows: Vec<usize> = numbers.iter().map(|number| self.order.row(*number)).collect();
        let pictures = self.dataset.images(&rows)?;
        let size = self.dataset.image_size();
        let render = |views: std::ops::Range<usize>| {
            let area = self.kinds.get(views.start).map_or(0, |kind| kind.size * kind.size);
            let mut pixels = vec![0.0; views.len() * numbers.len() * area];
            pixels.par_chunks_exact_mut(area.max(1)).enumerate().for_each(|(index, pixels)| {
                let (view, image) = (views.start + index / numbers.len(), index % numbers.len());
                let key = ViewKey { seed: self.seed, image: numbers[image], view };
                let picture = &pictures[image * size * size..(image + 1) * size * size];
                self.augmentation.draw(&self.kinds[view], size, key).render(picture, size, pixels);
            });
            pixels
        };
        let num_global = super::loss::NUM_GLOBAL_VIEWS;
        Ok(Views { first, global: render(0..num_global), local: render(num_global..self.kinds.len()) })
    }
}

/// Gives batches in order; the thread that makes them ends when this is dropped.
#[derive(Debug)]
pub struct ViewQueue {
    receiver: Receiver<Result<Views>>,
}

impl ViewQueue {
    /// Begins to make batches from image number `first` of the run on.
    ///
    /// # Errors
    /// A thread that cannot be started.
    pub fn start(dataset: Dataset, order: TrainingOrder, recipe: &EncoderRecipe, first: u64) -> Result<Self> {
        let mut maker = ViewMaker {
            dataset,
            order,
            augmentation: recipe.augmentation,
            kinds: recipe.views.kinds(),
            seed: recipe.seed,
            batch_size: recipe.optimiser.batch_size,
        };
        let (sender, receiver) = sync_channel(BATCHES_AHEAD);
        let make = move || {
            for batch in 0.. {
                let views = maker.views(first + batch * maker.batch_size as u64);
                let failed = views.is_err();
                // Sending fails when nobody wants more.
                if sender.send(views).is_err() || failed {
                    break;
                }
            }
        };
        thread::Builder::new()
            .name("views".into())
            .spawn(make)
            .context("the thread that makes views cannot be started; close other programs")?;
        Ok(Self { receiver })
    }

    /// The next batch.
    ///
    /// # Errors
    /// Images that cannot be read.
    pub fn next(&self) -> Result<Views> {
        self.receiver.recv().context("the thread that makes views has ended; start again with `--resume`")?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use dataset::{DatasetSettings, DatasetWriter, ManifestRow, Split};
    use std::path::Path;

    const SIZE: usize = 32;

    fn make(folder: &Path) -> Dataset {
        let mut writer = DatasetWriter::create_or_resume(folder, DatasetSettings::new(SIZE)).unwrap();
        for index in 0..6_u32 {
            let pixels: Vec<f32> = (0..SIZE * SIZE).map(|i| ((i as u32 * (index + 3)) % 97) as f32 / 97.0).collect();
            let row = ManifestRow {
                id: format!("{index}"),
                source_file: format!("{index}.png"),
                pixel_hash: dataset::pixels_hash(&pixels, SIZE, SIZE),
                ..ManifestRow::bare(format!("{index}"), Split::Train)
            };
            writer.push(row, &radiograph::to_u8(&pixels), None).unwrap();
        }
        writer.finish().unwrap();
        Dataset::open(folder).unwrap()
    }

    #[test]
    fn views_depend_on_their_numbers_alone() {
        let folder = tempfile::tempdir().unwrap();
        make(folder.path());
        let overrides = [("optimiser.batch_size", "4"), ("views.num_local", "3"), ("image_size", "32")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()));
        let recipe: EncoderRecipe = settings::resolve("dino-tiny-128", &overrides).unwrap();
        let queue = |first| {
            let dataset = Dataset::open(folder.path()).unwrap();
            let order = TrainingOrder::new(&dataset, recipe.seed).unwrap();
            ViewQueue::start(dataset, order, &recipe, first).unwrap()
        };
        let straight = queue(0);
        let batches: Vec<Views> = (0..4).map(|_| straight.next().unwrap()).collect();
        let area = recipe.views.local_size * recipe.views.local_size;
        assert_eq!(batches[0].local.len(), 3 * 4 * area);
        assert_ne!(batches[0], batches[1]);
        // Begun later, and on one thread.
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        assert_eq!(one.install(|| queue(8).next().unwrap()), batches[2]);
        let dataset = Dataset::open(folder.path()).unwrap();
        let mut maker = ViewMaker {
            order: TrainingOrder::new(&dataset, recipe.seed).unwrap(),
            dataset,
            augmentation: recipe.augmentation,
            kinds: recipe.views.kinds(),
            seed: recipe.seed,
            batch_size: 2,
        };
        assert_eq!(one.install(|| maker.views(12).unwrap()).global[..100], batches[3].global[..100]);
        // The second view of image 14 in a batch of two, and in one of four.
        let size = recipe.views.global_size * recipe.views.global_size;
        let small = maker.views(14).unwrap();
        assert_eq!(small.global[2 * size..3 * size], batches[3].global[6 * size..7 * size]);
    }
}

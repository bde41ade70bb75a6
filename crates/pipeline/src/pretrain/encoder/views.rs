//! Batches of random views, made on other threads ahead of the network, so that it never waits for them.
//!
//! A batch is a function of the seed and the numbers of its images in the run: it does not matter how far ahead it was
//! made, by how many threads, or whether the run was resumed in between.

use super::recipe::EncoderRecipe;
use crate::pretrain::TrainingOrder;
use anyhow::{Context, Result};
use dataset::Dataset;
use radiograph::{Augmentation, ViewKey, ViewKind};
use rayon::prelude::*;
use std::{
    sync::mpsc::{Receiver, sync_channel},
    thread,
};

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

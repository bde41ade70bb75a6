//! The images of all sources in one order, without what is left out and with as many of each collection as wanted.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::path::{Path, PathBuf};

use anyhow::Result;
use sha2::{Digest, Sha256};

use super::PrepareConfig;
use super::exclude::Exclusions;
use crate::archive::Archives;
use crate::presets::{self, Preset, SourceItem};
use messages::Skipped;

/// The sources with their presets.
pub(super) struct Sources<'a> {
    sources: Vec<(PathBuf, Box<dyn Preset>)>,
    archives: Archives,
    /// Files in here are the dataset's own, should it lie inside a source.
    out: Option<PathBuf>,
    exclusions: &'a Exclusions,
    seed: u64,
    cap: Option<usize>,
    /// Of each collection, the places (see [`place`]) of the images that are taken; all where it is missing.
    chosen: RefCell<BTreeMap<String, u64>>,
    num_excluded: Cell<usize>,
    collections: RefCell<BTreeSet<String>>,
}

impl<'a> Sources<'a> {
    /// # Errors
    /// A preset that does not exist.
    pub(super) fn new(config: &PrepareConfig, exclusions: &'a Exclusions) -> Result<Self> {
        let mut sources = Vec::new();
        for path in &config.sources {
            sources.push((path.clone(), presets::open(&config.preset, &config.csv)?));
        }
        for source in &config.collections {
            sources.push((source.folder.clone(), presets::open(&source.preset, &config.csv)?));
        }
        Ok(Self {
            sources,
            archives: Archives::default(),
            out: std::path::absolute(&config.out).ok(),
            exclusions,
            seed: config.split.seed,
            cap: config.max_per_collection,
            chosen: RefCell::default(),
            num_excluded: Cell::new(0),
            collections: RefCell::default(),
        })
    }

    /// All items of all sources. With several sources, names begin with the number and the name of the source, so that
    /// they stay different.
    pub(super) fn items(&self) -> Result<impl Iterator<Item = Result<SourceItem, Skipped>> + '_> {
        self.num_excluded.set(0);
        let mut all = Vec::new();
        for (number, (path, preset)) in self.sources.iter().enumerate() {
            let source = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let prefix = if self.sources.len() > 1 { format!("{}-{source}/", number + 1) } else { String::new() };
            all.push((prefix, preset.items(path, &self.archives)?));
        }
        let named = all.into_iter().flat_map(|(prefix, items)| {
            items.map(move |item| match item {
                Ok(item) => Ok(SourceItem { name: format!("{prefix}{}", item.name), ..item }),
                Err(skipped) => Err(Skipped { item: format!("{prefix}{}", skipped.item), ..skipped }),
            })
        });
        Ok(named.filter(|item| item.as_ref().map_or(true, |item| self.is_wanted(item))))
    }

    /// Chooses the images of collections that have more than the cap: those whose names hash lowest, so that the choice
    /// depends on nothing but names and seed. To be called with all items once, before they are taken.
    pub(super) fn choosing<I>(&self, items: I) -> impl Iterator<Item = Result<SourceItem, Skipped>>
    where
        I: Iterator<Item = Result<SourceItem, Skipped>>,
    {
        let mut lowest: BTreeMap<String, BinaryHeap<u64>> = BTreeMap::new();
        let mut items = items;
        std::iter::from_fn(move || {
            let item = items.next();
            match &item {
                Some(Ok(item)) => {
                    let name = item.collection.as_deref().unwrap_or_default();
                    if !self.collections.borrow().contains(name) {
                        self.collections.borrow_mut().insert(name.to_owned());
                    }
                    if let Some(cap) = self.cap {
                        let heap = lowest.entry(name.to_owned()).or_default();
                        heap.push(place(self.seed, &item.name));
                        if heap.len() > cap {
                            heap.pop();
                        }
                    }
                }
                Some(Err(_)) => {}
                None => {
                    let highest = lowest.iter().filter_map(|(name, heap)| Some((name.clone(), *heap.peek()?)));
                    self.chosen.borrow_mut().extend(highest);
                }
            }
            item
        })
    }

    /// The collections that the items are from, once all have been seen.
    pub(super) fn collections(&self) -> BTreeSet<String> {
        self.collections.borrow().clone()
    }

    /// What the readers of the sources have to say, once all items have been seen.
    pub(super) fn notes(&self) -> Vec<String> {
        self.archives.notes.sentences()
    }

    /// Images that were left out before they were decoded, since the last call of [`Sources::items`].
    pub(super) fn num_excluded(&self) -> usize {
        self.num_excluded.get()
    }

    fn is_wanted(&self, item: &SourceItem) -> bool {
        if self.is_own(item.file.disk_path()) {
            return false;
        }
        if self.exclusions.has_item(item) {
            self.num_excluded.set(self.num_excluded.get() + 1);
            return false;
        }
        let name = item.collection.as_deref().unwrap_or_default();
        self.chosen.borrow().get(name).is_none_or(|highest| place(self.seed, &item.name) <= *highest)
    }

    fn is_own(&self, path: &Path) -> bool {
        let Some(out) = &self.out else { return false };
        std::path::absolute(path).is_ok_and(|path| path.starts_with(out))
    }
}

/// A place in a random order that is the same on every machine.
fn place(seed: u64, name: &str) -> u64 {
    let digest = Sha256::new_with_prefix(b"dino-diffusion choice\0")
        .chain_update(seed.to_le_bytes())
        .chain_update(name.as_bytes())
        .finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first)
}

//! One run at work: batches of images are decoded, judged in the order of the sources, and written.

use std::mem;
use std::time::Instant;

use anyhow::Result;
use dataset::{DatasetWriter, ManifestRow, PatientSalt};

use super::PrepareConfig;
use super::changes::Changes;
use super::committed::Committed;
use super::decode::{Decoded, decode_all};
use super::ending::{self, PrepareSummary, duplicate};
use super::exclude::Exclusions;
use super::growing::{self, Kept};
use super::joining::Origins;
use super::part::{NumExcluded, Share};
use super::remarks::{self, Remarks};
use super::seen::Seen;
use super::settings::settings;
use super::sources::Sources;
use super::splits::{self, GivenSplits};
use crate::archive::FileSource;
use crate::presets::SourceItem;
use messages::Progress;
use messages::Skipped;

/// Files and rows that are gone through between two signs of progress.
const MAX_ITEMS: u64 = 100_000;

/// Images decoded between two writes: enough to keep all threads busy, few enough to fit anywhere once reduced.
pub(super) const BATCH: usize = 256;

/// One call of [`super::run`] at work.
pub(super) struct Session<'a> {
    config: &'a PrepareConfig,
    pub given: GivenSplits,
    exclusions: &'a Exclusions,
    salt: PatientSalt,
    writer: DatasetWriter,
    num_continued: usize,
    /// The images that are on disk already and were not met yet.
    committed: Committed,
    /// What a finished dataset had before images are added to it.
    kept: Kept,
    /// What is needed to join the parts, where this is one.
    share: Option<Share>,
    seen: Seen,
    origins: Origins,
    /// What was skipped, with its number.
    skipped: Vec<(u64, Skipped)>,
    /// Files and rows so far: the number of the next one.
    num_items: u64,
    num_decoded: usize,
    /// Of the images that were taken, those whose borders were cut off, and those in which text was painted over.
    num_changed: Changes<usize>,
    /// What is to be known about the images that were taken.
    remarks: Remarks,
    /// Images that were left out after they were decoded.
    num_excluded: usize,
    started: Instant,
}

/// What is to be done about an image, in the order of the sources.
struct Task {
    number: u64,
    /// Its name, where an earlier session wrote it.
    there: Option<String>,
    /// Whether it is decoded: of those that are there, only to say again what is wrong with its mask.
    decode: bool,
}

/// What is worked on at once.
#[derive(Default)]
struct Batch {
    tasks: Vec<Task>,
    /// Those that are to be decoded.
    images: Vec<SourceItem>,
    /// Files and rows that were gone through for it; 0 after the last one.
    num_items: u64,
}

impl<'a> Session<'a> {
    pub(super) fn begin(
        config: &'a PrepareConfig,
        given: GivenSplits,
        exclusions: &'a Exclusions,
        salt: PatientSalt,
    ) -> Result<Self> {
        let settings = settings(config, exclusions, Some(salt.fingerprint()))?;
        let writer = growing::open_writer(config, settings)?;
        let (mut committed, mut seen) = (Committed::default(), Seen::new(config.deduplicate));
        let (mut share, mut kept) = (config.part.map(Share::new), Kept::new(config, &writer));
        let rows = writer.committed_columns(&["source_file", "pixel_hash", "patient", "split", "mask"]);
        for (index, row) in rows.enumerate() {
            let row = row?;
            committed.note(&row);
            seen.note(&row.pixel_hash);
            if let Some(share) = &mut share {
                share.expect(&row.source_file);
            }
            if index < writer.num_kept() {
                kept.note(&row);
            }
        }
        let num_continued = writer.num_committed();
        let started = Instant::now();
        Ok(Self {
            config,
            given,
            exclusions,
            salt,
            writer,
            num_continued,
            committed,
            kept,
            share,
            seen,
            origins: Origins::default(),
            skipped: Vec::new(),
            num_items: 0,
            num_decoded: 0,
            num_changed: Changes::default(),
            remarks: Remarks::default(),
            num_excluded: 0,
            started,
        })
    }

    /// Decodes a batch of images while the batch before is judged and written and the one after is looked for. To be
    /// called on a thread of the pool, which then decodes as well.
    pub(super) fn take_all(&mut self, sources: &Sources<'_>, progress: &dyn Progress) -> Result<()> {
        let mut items = sources.items()?;
        let config = self.config;
        let (mut next, mut waiting) = (self.next_batch(&mut items), (Batch::default(), Vec::new()));
        loop {
            let batch = mem::take(&mut next);
            let (batch_before, decoded_before) = waiting;
            let num_waiting = batch_before.num_items;
            let (mut decoded, mut taken) = (Vec::new(), Ok(()));
            rayon::in_place_scope(|scope| {
                scope.spawn(|_| decoded = decode_all(&batch.images, config));
                taken = self.take_batch(batch_before, decoded_before);
                if batch.num_items > 0 {
                    next = self.next_batch(&mut items);
                }
            });
            taken?;
            if num_waiting > 0 {
                let num_skipped = self.skipped.len();
                progress.advance(
                    num_waiting,
                    &if num_skipped == 0 { String::new() } else { format!("{num_skipped} skipped") },
                );
            }
            if batch.num_items == 0 {
                return Ok(());
            }
            waiting = (batch, decoded);
        }
    }

    /// What comes next in the sources, with the images of it that are to be decoded.
    fn next_batch(&mut self, items: &mut impl Iterator<Item = Result<SourceItem, Skipped>>) -> Batch {
        let mut batch = Batch::default();
        let first = self.num_items;
        // Of a part, or of what is continued, few of many items are to be decoded.
        while batch.images.len() < BATCH
            && self.num_items - first < MAX_ITEMS
            && let Some(item) = items.next()
        {
            self.sort_out(item, &mut batch);
        }
        batch.num_items = self.num_items - first;
        batch
    }

    /// What is to be decoded: nothing where an image is not of this part, is there already, or is known to be of no use.
    fn sort_out(&mut self, item: Result<SourceItem, Skipped>, batch: &mut Batch) {
        let number = self.num_items;
        self.num_items += 1;
        if let Some(share) = &mut self.share
            && !share.list(item.as_ref(), &self.salt)
        {
            return;
        }
        let item = match item {
            Ok(item) => item,
            Err(skipped) => return self.skipped.push((number, skipped)),
        };
        self.origins.note(&item, &self.given);
        let Some(has_no_mask) = self.committed.take(&item.name) else {
            match self.kept.duplicate(&item.name) {
                Some(skipped) => self.skipped.push((number, skipped)),
                None => {
                    batch.tasks.push(Task { number, there: None, decode: true });
                    batch.images.push(item);
                }
            }
            return;
        };
        let lacks_mask = has_no_mask && !item.mask.is_empty();
        if lacks_mask || self.share.is_some() {
            batch.tasks.push(Task { number, there: Some(item.name.clone()), decode: lacks_mask });
        }
        if lacks_mask {
            batch.images.push(item);
        }
    }

    /// Takes a batch in the order of the sources.
    fn take_batch(&mut self, batch: Batch, decoded: Vec<Result<Decoded, String>>) -> Result<()> {
        let mut decoded = batch.images.into_iter().zip(decoded);
        for Task { number, there, decode } in batch.tasks {
            if let (Some(share), Some(name)) = (&mut self.share, &there) {
                // What was changed in an earlier session nobody knows.
                share.add(number, name, self.origins.of_name(name), Changes::default(), &[])?;
            }
            let Some((item, decoded)) = decode.then(|| decoded.next()).flatten() else { continue };
            match decoded {
                Err(reason) => self.skipped.push((number, Skipped { item: item.name, reason })),
                Ok(decoded) if there.is_some() => {
                    self.num_decoded += 1;
                    self.note_mask_problem(number, &item.mask, decoded.mask_problem);
                }
                Ok(decoded) => self.take(number, item, decoded)?,
            }
        }
        Ok(())
    }

    /// Adds an image to the dataset, unless its pixels are there.
    fn take(&mut self, number: u64, item: SourceItem, decoded: Decoded) -> Result<()> {
        self.num_decoded += 1;
        // Nobody known to be the same patient: a patient of their own, the same wherever the same picture turns up.
        // Of a blank picture its pixels say nothing.
        let patient = item.patient.or(decoded.patient).unwrap_or_else(|| match decoded.perceptual_hash {
            Some(_) => format!("image {}", decoded.pixel_hash),
            None => format!("image {} {}", decoded.pixel_hash, item.name),
        });
        let hashed = self.kept.hash_of(&patient, &self.salt);
        if self.exclusions.has_decoded(item.collection.as_deref(), &patient, &hashed, &decoded.pixel_hash) {
            self.num_excluded += 1;
            return Ok(());
        }
        let prescribed = item.split.or_else(|| self.given.of(&patient));
        if let Some(skipped) = self.kept.contradiction(&item.name, &hashed, prescribed) {
            self.skipped.push((number, skipped));
            return Ok(());
        }
        let id = match self.seen.id(&decoded.pixel_hash, decoded.perceptual_hash, self.writer.len()) {
            Ok(id) => id,
            Err(twin) => {
                self.skipped.push((number, duplicate(item.name, &twin)));
                return Ok(());
            }
        };
        self.note_mask_problem(number, &item.mask, decoded.mask_problem);
        self.num_changed.count(decoded.is_changed);
        remarks::note(&mut self.remarks, &item.name, decoded.remarks.iter().copied());
        let split = prescribed.or_else(|| self.kept.split_of(&hashed)).unwrap_or_else(|| {
            let is_not_test = item.is_not_test || self.given.is_not_test(&patient);
            let plan = if is_not_test { splits::without_test(self.config.split) } else { self.config.split };
            plan.assign(&patient)
        });
        if let Some(share) = &mut self.share {
            share.add(number, &item.name, self.origins.of_name(&item.name), decoded.is_changed, &decoded.remarks)?;
        }
        let row = ManifestRow {
            id,
            source_file: item.name,
            pixel_hash: decoded.pixel_hash,
            patient: hashed,
            view: item.view.or(decoded.view).map(|view| view.to_uppercase()),
            split,
            labels: item.labels,
            labels_negative: item.labels_negative,
            labels_uncertain: item.labels_uncertain,
            mask: decoded.mask.is_some(),
            collection: item.collection,
            licence: item.licence,
            perceptual_hash: decoded.perceptual_hash,
            pixel_spacing_mm: decoded.pixel_spacing_mm,
            provenance: None,
        };
        Ok(self.writer.push(row, &decoded.image, decoded.mask.as_deref())?)
    }

    fn note_mask_problem(&mut self, number: u64, mask: &[FileSource], problem: Option<String>) {
        if let Some(reason) = problem {
            let item = mask.first().map_or_else(String::new, |mask| mask.path().display().to_string());
            self.skipped.push((number, Skipped { item, reason }));
        }
    }

    pub(super) fn finish(self, sources: &Sources<'_>, progress: &dyn Progress) -> Result<PrepareSummary> {
        let seconds = self.started.elapsed().as_secs_f64();
        let num_excluded = NumExcluded { listed: sources.num_excluded(), decoded: self.num_excluded };
        let Self { config, writer, origins, skipped, share, num_items, num_continued, num_decoded, .. } = self;
        // What is needed from here on takes the place of these.
        drop((self.given, self.committed, self.kept, self.seen));
        memory::release_unused(0);
        let finished = match share {
            Some(share) => {
                let num_parts = share.num_parts();
                share.write(&config.out, num_items, num_excluded, &skipped)?;
                ending::finish_part(&config.out, writer, num_parts, skipped)?
            }
            None => {
                let origins = config.join_near_duplicates.then_some(&origins);
                ending::finish(
                    &config.out,
                    writer,
                    skipped,
                    origins,
                    num_excluded.listed + num_excluded.decoded,
                    progress,
                )?
            }
        };
        remarks::tell(&self.remarks, progress);
        Ok(PrepareSummary {
            num_continued,
            num_excluded: num_excluded.listed + num_excluded.decoded,
            num_cropped: config.crop_borders.then_some(self.num_changed.cropped),
            num_text_masked: config.mask_corner_text.then_some(self.num_changed.text_masked),
            remarks: Some(self.remarks),
            images_per_sec: (num_decoded > 0).then_some(num_decoded as f64 / seconds),
            ..finished
        })
    }
}

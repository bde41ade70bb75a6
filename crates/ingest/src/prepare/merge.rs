//! Parts become the dataset that a single run would have made.
//!
//! The parts' images are taken in the order of all sources, by their numbers; equal pixels, near duplicates and ids are
//! settled as a single run does, and the result is the same to the byte. Pictures are copied, not decoded. In memory are
//! a few hundred rows of each part, one shard of images, and what a single run holds for each image; joining continues
//! after a kill.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet};
use std::iter::Peekable;
use std::mem;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use dataset::{Dataset, DatasetSettings, DatasetWriter, ManifestReader, ManifestRow, SplitOrigin};
use radiograph::Remark;
use serde::{Deserialize, Serialize};

use super::changes::Changes;
use super::ending::{self, PrepareSummary, duplicate};
use super::joining::Origins;
use super::numbers::{Numbers, Walk};
use super::part::{PART_FILE, PartRecord};
use super::remarks::{self, Remarks};
use super::seen::Seen;
use messages::Progress;
use messages::Skipped;

/// Images between two signs of progress.
const STEP: u64 = 100;

/// Which parts to join, and where to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MergeConfig {
    /// The folders of all parts, in any order, or folders that hold them.
    pub parts: Vec<PathBuf>,
    /// The dataset.
    pub out: PathBuf,
}

/// Joins parts; continues what was begun, and does nothing where all is done.
///
/// # Errors
/// Parts that are missing, unfinished, or were made of other sources, with other settings, another salt or another
/// release; an output folder that holds something else; no image in any part; a disk that is full.
pub fn merge(config: &MergeConfig, progress: &dyn Progress) -> Result<PrepareSummary> {
    ensure!(!config.parts.is_empty(), "there are no parts to join; give their folders");
    ensure!(!config.out.as_os_str().is_empty(), "there is no place for the dataset; give `--out`");
    let mut parts =
        folders_of_parts(&config.parts)?.iter().map(|dir| OpenPart::open(dir)).collect::<Result<Vec<_>>>()?;
    check_numbers(&mut parts)?;
    let settings = common_settings(&parts)?;
    if config.out.join("dataset.toml").is_file() {
        let dataset = Dataset::open(&config.out)?;
        if let Some((setting, was, now)) = dataset.info().settings().first_difference(&settings) {
            bail!(
                "the folder holds a dataset that was prepared with other settings ({setting} = {was}, the parts have \
                 {now}); choose another output folder, or delete it: {}",
                config.out.display()
            );
        }
        progress.say("the dataset is finished already; delete it to join the parts anew");
        return ending::unchanged(&dataset, progress);
    }
    let does = |setting: &str, usually: bool| {
        settings.preparation.get(setting).and_then(toml::Value::as_bool).unwrap_or(usually)
    };
    let (deduplicate, join_near_duplicates) = (does("deduplicate", true), does("join_near_duplicates", true));
    // Settings that are off are not listed. What a part does not know, the whole does not.
    let is_known = parts.iter().all(|part| part.changed.is_some());
    let knows_remarks = parts.iter().all(|part| part.remarks.is_some());
    let is_counted = Changes { cropped: "crop_borders", text_masked: "mask_corner_text" }
        .map(|setting| is_known && does(setting, false));
    let writer = DatasetWriter::create_or_resume(&config.out, settings)?;
    let num_continued = writer.num_committed();
    let num_excluded = parts.first().map_or(0, |part| part.record.num_excluded_listed)
        + parts.iter().map(|part| part.record.num_excluded_decoded).sum::<usize>();

    progress.begin("joining parts", parts.iter().map(|part| part.dataset.len() as u64).sum(), "images");
    let joining = Joining {
        writer,
        seen: Seen::new(deduplicate),
        origins: Origins::default(),
        num_changed: Changes::default(),
        remarks: Remarks::default(),
        skipped: Vec::new(),
    };
    let joined = joining.take_all(&mut parts, progress);
    progress.end();
    let Joining { writer, origins, num_changed, remarks, skipped, .. } = joined?;
    // What is needed from here on takes the place of these.
    drop(parts);
    memory::release_unused(0);
    let origins = join_near_duplicates.then_some(&origins);
    let summary = ending::finish(&config.out, writer, skipped, origins, num_excluded, progress)?;
    let num_cropped = is_counted.cropped.then_some(num_changed.cropped);
    let num_text_masked = is_counted.text_masked.then_some(num_changed.text_masked);
    let remarks = knows_remarks.then_some(remarks);
    remarks::tell(remarks.as_ref().unwrap_or(&Remarks::default()), progress);
    Ok(PrepareSummary { num_continued, num_excluded, num_cropped, num_text_masked, remarks, ..summary })
}

/// The folders as they were given, those that hold parts replaced by what they hold.
fn folders_of_parts(given: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for dir in given {
        if Dataset::is_dataset(dir) {
            folders.push(dir.clone());
            continue;
        }
        let entries = std::fs::read_dir(dir)
            .with_context(|| format!("the folder of parts cannot be read; check the path: {}", dir.display()))?;
        let mut inside: Vec<_> =
            entries.flatten().map(|entry| entry.path()).filter(|path| Dataset::is_dataset(path)).collect();
        ensure!(!inside.is_empty(), "the folder neither is a part nor holds any; check the path: {}", dir.display());
        inside.sort();
        folders.extend(inside);
    }
    Ok(folders)
}

/// A finished part, being read from its first image to its last.
struct OpenPart {
    dataset: Dataset,
    /// Without its numbers, which are below.
    record: PartRecord,
    rows: ManifestReader,
    /// The place of the next image.
    next: usize,
    numbers: Ahead,
    given: Ahead,
    without_test: Ahead,
    /// Images whose borders were cut off, and in which text was painted over; none where the part does not know.
    changed: Option<Changes<Ahead>>,
    /// Images that each remark is about; none where the part does not know.
    remarks: Option<BTreeMap<Remark, Ahead>>,
}

/// Numbers that were not met yet.
type Ahead = Peekable<Walk<Vec<u8>>>;

impl OpenPart {
    fn open(dir: &Path) -> Result<Self> {
        let dataset =
            Dataset::open_in_order(dir).context("a part cannot be joined (`prepare` continues unfinished ones)")?;
        ensure!(
            dir.join(PART_FILE).is_file(),
            "the folder holds a whole dataset and no part of one; give folders that were prepared with `--part`: {}",
            dir.display()
        );
        let mut record = PartRecord::read(dir)?;
        ensure!(
            record.rows.len() == dataset.len(),
            "the part's {PART_FILE} does not belong to its images; delete the folder and prepare it again: {}",
            dir.display()
        );
        let rows = dataset.rows()?;
        let ahead = |numbers: &mut Numbers| mem::take(numbers).into_iter().peekable();
        let (numbers, given) = (ahead(&mut record.rows), ahead(&mut record.given));
        let without_test = ahead(&mut record.without_test);
        let changed = record.changed.take().map(|mut changed| changed.as_mut().map(ahead));
        let remarks = record.remarks.take().map(|remarks| {
            remarks.into_iter().map(|(remark, numbers)| (remark, numbers.into_iter().peekable())).collect()
        });
        Ok(Self { dataset, record, rows, next: 0, numbers, given, without_test, changed, remarks })
    }

    /// The number of the next image, `None` at the end.
    fn next_number(&mut self) -> Option<u64> {
        self.numbers.peek().copied()
    }

    /// The row of the next image and its place in the part.
    fn next_row(&mut self) -> Result<Option<(usize, ManifestRow)>> {
        let place = self.next;
        self.next += 1;
        self.numbers.next();
        Ok(self.rows.next().transpose()?.map(|row| (place, row)))
    }

    /// How the image of a number came to its split; numbers ascend from call to call.
    fn origin(&mut self, number: u64) -> SplitOrigin {
        if is_in(&mut self.given, number) {
            SplitOrigin::Given
        } else if is_in(&mut self.without_test, number) {
            SplitOrigin::DrawnWithoutTest
        } else {
            SplitOrigin::Drawn
        }
    }

    /// Whether borders of the image of a number were cut off, and whether text in it was painted over, as far as the part
    /// knows; numbers ascend from call to call.
    fn changes(&mut self, number: u64) -> Changes<bool> {
        match &mut self.changed {
            Some(changed) => changed.as_mut().map(|numbers| is_in(numbers, number)),
            None => Changes::default(),
        }
    }

    /// The remarks on the image of a number, as far as the part knows; numbers ascend from call to call.
    fn remarks(&mut self, number: u64) -> impl Iterator<Item = Remark> {
        let remarks = self.remarks.iter_mut().flatten();
        remarks.filter_map(move |(remark, numbers)| is_in(numbers, number).then_some(*remark))
    }
}

/// Whether a number is among those ahead; numbers below it are left behind.
fn is_in(numbers: &mut Ahead, number: u64) -> bool {
    while numbers.next_if(|other| *other < number).is_some() {}
    numbers.peek() == Some(&number)
}

/// Sorts the parts; each must be there once.
fn check_numbers(parts: &mut [OpenPart]) -> Result<()> {
    parts.sort_by_key(|part| part.record.part.number());
    let Some(first) = parts.first() else { return Ok(()) };
    let of = first.record.part.of();
    for part in &*parts {
        ensure!(
            part.record.part.of() == of,
            "one of the parts is {}, another {}; give the parts of one preparation: {}",
            first.record.part,
            part.record.part,
            part.dataset.dir().display()
        );
    }
    for pair in parts.windows(2) {
        ensure!(
            pair[0].record.part != pair[1].record.part,
            "part {} is there twice; give one of the two folders: {} and {}",
            pair[0].record.part,
            pair[0].dataset.dir().display(),
            pair[1].dataset.dir().display()
        );
    }
    let there: HashSet<usize> = parts.iter().map(|part| part.record.part.number()).collect();
    let missing: Vec<String> =
        (1..=of).filter(|number| !there.contains(number)).map(|number| format!("{number}/{of}")).collect();
    ensure!(
        missing.is_empty(),
        "{} of {of} parts are missing: {}; prepare them with `--part`, or give their folders too",
        missing.len(),
        missing.join(", ")
    );
    Ok(())
}

/// What the parts were prepared with, without the share of each.
fn common_settings(parts: &[OpenPart]) -> Result<DatasetSettings> {
    let settings = |part: &OpenPart| {
        let mut settings = part.dataset.info().settings();
        settings.preparation.remove("part");
        settings
    };
    let Some(first) = parts.first() else { bail!("there are no parts to join; give their folders") };
    let common = settings(first);
    for part in &parts[1..] {
        let (a, b) = (&first.record, &part.record);
        let (name, dir) = (format!("part {} differs from part {}", b.part, a.part), part.dataset.dir().display());
        let remedy = "prepare the one that is wrong again, into an empty folder";
        match common.first_difference(&settings(part)) {
            Some((setting, ..)) if setting == "salt_fingerprint" => bail!(
                "{name} in the key of patient hashes; give the same `--salt-file` to all parts and {remedy}: {dir}"
            ),
            Some((setting, was, now)) => bail!("{name}: {setting} is {now}, not {was}; {remedy}: {dir}"),
            None => {}
        }
        ensure!(
            a.program == b.program,
            "{name}: release {} of the program prepared it, not {}; {remedy}: {dir}",
            b.program,
            a.program
        );
        ensure!(
            (a.num_items, &a.listing) == (b.num_items, &b.listing),
            "{name} in the sources it saw ({} and {} files and rows): they changed in between, or machines see other \
             files or tables; {remedy}: {dir}",
            b.num_items,
            a.num_items
        );
    }
    Ok(common)
}

/// Parts on their way to a dataset.
struct Joining {
    writer: DatasetWriter,
    seen: Seen,
    origins: Origins,
    /// Of the images that were taken, those whose borders were cut off, and those in which text was painted over.
    num_changed: Changes<usize>,
    remarks: Remarks,
    skipped: Vec<(u64, Skipped)>,
}

impl Joining {
    fn take_all(mut self, parts: &mut [OpenPart], progress: &dyn Progress) -> Result<Self> {
        let mut committed = self.writer.committed_rows();
        // What is said of each image: one thing at most.
        let mut skipped: BTreeMap<u64, Skipped> = BTreeMap::new();
        for part in &mut *parts {
            skipped.extend(part.record.skipped.drain(..));
        }
        let next = |(at, part): (usize, &mut OpenPart)| part.next_number().map(|number| Reverse((number, at)));
        let mut queue: BinaryHeap<_> = parts.iter_mut().enumerate().filter_map(next).collect();
        let (mut num_taken, mut num_kept) = (0_u64, 0);
        while let Some(Reverse((number, at))) = queue.pop() {
            let part = &mut parts[at];
            let Some((place, mut row)) = part.next_row()? else { bail!("a part has fewer rows than it says") };
            queue.extend(next((at, &mut *part)));
            num_taken += 1;
            if num_taken.is_multiple_of(STEP) {
                progress.advance(STEP, "");
            }
            row.id = match self.seen.id(&row.pixel_hash, row.perceptual_hash, num_kept) {
                Ok(id) => id,
                Err(twin) => {
                    skipped.insert(number, duplicate(row.source_file, &twin));
                    continue;
                }
            };
            num_kept += 1;
            self.origins.insert(&row.source_file, part.origin(number));
            self.num_changed.count(part.changes(number));
            remarks::note(&mut self.remarks, &row.source_file, part.remarks(number));
            match committed.next().transpose()? {
                Some(was) => ensure!(
                    was.source_file == row.source_file && was.pixel_hash == row.pixel_hash,
                    "the parts are not the ones that joining was begun with; delete the unfinished dataset and join them \
                     again"
                ),
                None => {
                    let (image, mask) = (part.dataset.image(place)?, part.dataset.mask(place)?);
                    self.writer.push(row, &image, mask.as_deref())?;
                }
            }
        }
        self.skipped = skipped.into_iter().collect();
        Ok(self)
    }
}

//! The shard in flight: its images go to their file as they come, so that no shard is held in memory, and it is finished
//! in the background, so that nobody waits for the disk.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use crate::layout::{remove_if_there, rows_path};
use crate::manifest::{ManifestReader, ManifestWriter};
use crate::shards::{MaskShard, images_header, images_path, masks_path, open_shard, write_masks};
use crate::{Error, ManifestRow, Result};
use files::AtomicFile;

/// A shard that takes images. Dropped, it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct PendingShard {
    dir: PathBuf,
    number: usize,
    /// Height and width of the images.
    image_size: usize,
    /// Images in a full shard.
    shard_size: usize,
    rows: Vec<ManifestRow>,
    /// None before the first image.
    images: Option<AtomicFile>,
    masks: Vec<u8>,
    /// The row of each mask.
    mask_rows: Vec<u32>,
}

impl PendingShard {
    pub(crate) fn new(dir: &Path, number: usize, image_size: usize, shard_size: usize) -> Self {
        Self {
            dir: dir.to_path_buf(),
            number,
            image_size,
            shard_size,
            rows: Vec::new(),
            images: None,
            masks: Vec::new(),
            mask_rows: Vec::new(),
        }
    }

    /// An empty shard of the same dataset.
    fn empty(&self, number: usize) -> Self {
        Self::new(&self.dir, number, self.image_size, self.shard_size)
    }

    /// The shard after this one.
    pub(crate) fn next(&self) -> Self {
        self.empty(self.number + 1)
    }

    /// A shard that is on disk, with room for more images. What is on disk stays until this one is finished.
    pub(crate) fn take_back(dir: &Path, number: usize, image_size: usize, shard_size: usize) -> Result<Self> {
        let mut shard = Self::new(dir, number, image_size, shard_size);
        let area = image_size * image_size;
        // The images may be more than the rows, should a kill have come between the two.
        let rows: Vec<ManifestRow> = ManifestReader::open(rows_path(dir, number))?.collect::<Result<_>>()?;
        let images = open_shard("image shard", &images_path(dir, number))?;
        let masks_path = masks_path(dir, number);
        let masks = rows.iter().any(|row| row.mask).then(|| MaskShard::open(&masks_path, image_size)).transpose()?;
        let (mut image, mut mask) = (vec![0; area], vec![0; area]);
        for (position, row) in rows.into_iter().enumerate() {
            images.read_rows("images", position, &mut image)?;
            if !row.mask {
                shard.push(row, &image, None)?;
            } else if masks.as_ref().map_or(Ok(false), |masks| masks.read(position, &mut mask))? {
                shard.push(row, &image, Some(&mask))?;
            } else {
                let remedy = "delete the folder and begin again";
                let detail = format!("no mask of {}", row.source_file);
                return Err(Error::damaged("mask shard", remedy, &masks_path, detail));
            }
        }
        Ok(shard)
    }

    /// The number of shards before it.
    pub(crate) fn number(&self) -> usize {
        self.number
    }

    pub(crate) fn rows(&self) -> &[ManifestRow] {
        &self.rows
    }

    pub(crate) fn is_full(&self) -> bool {
        self.rows.len() >= self.shard_size
    }

    /// Adds an image, and its mask, of the right sizes. After an error the shard is empty again: nobody knows what the
    /// disk has of it.
    pub(crate) fn push(&mut self, row: ManifestRow, image: &[u8], mask: Option<&[u8]>) -> Result<()> {
        if let Err(error) = self.write_image(image) {
            *self = self.empty(self.number);
            return Err(error);
        }
        if let Some(mask) = mask {
            self.masks.extend_from_slice(mask);
            self.mask_rows.push(self.rows.len() as u32);
        }
        self.rows.push(row);
        Ok(())
    }

    fn write_image(&mut self, image: &[u8]) -> Result<()> {
        let path = images_path(&self.dir, self.number);
        let file = match &mut self.images {
            Some(file) => file,
            None => {
                let mut file = AtomicFile::create(&path)?;
                // Right for a full shard.
                images_header(self.shard_size, self.image_size, self.shard_size)
                    .and_then(|header| file.write_all(&header))
                    .map_err(Error::io("write the file", &path))?;
                self.images.insert(file)
            }
        };
        file.write_all(image).map_err(Error::io("write the file", &path))
    }

    /// Gives the files their names: images, masks, rows, in this order.
    fn finish(self) -> Result<()> {
        let Self { dir, number, image_size, shard_size, rows, images, masks, mask_rows } = self;
        let Some(mut images) = images else { return Ok(()) };
        if rows.len() < shard_size {
            images_header(rows.len(), image_size, shard_size)
                .and_then(|header| images.overwrite_start(&header))
                .map_err(Error::io("write the file", &images_path(&dir, number)))?;
        }
        images.commit()?;
        let masks_path = masks_path(&dir, number);
        if mask_rows.is_empty() {
            // A killed process may have left the masks of a shard that is other images now.
            remove_if_there(&masks_path)?;
        } else {
            write_masks(&masks_path, image_size, &masks, &mask_rows)?;
        }
        let mut writer = ManifestWriter::create(rows_path(&dir, number))?;
        rows.into_iter().try_for_each(|row| writer.push(row))?;
        writer.finish()
    }
}

/// A shard that is being finished by a thread of its own. Dropped, it waits for it.
#[derive(Debug, Default)]
pub(crate) struct Finishing(Option<JoinHandle<Result<()>>>);

impl Finishing {
    /// Begins to finish a shard.
    pub(crate) fn begin(shard: PendingShard) -> Result<Self> {
        let dir = shard.dir.clone();
        let thread = thread::Builder::new().name("shard".into()).spawn(move || shard.finish());
        thread.map(|thread| Self(Some(thread))).map_err(Error::io("start a thread that writes to", &dir))
    }

    /// Waits until the shard is on disk.
    pub(crate) fn wait(&mut self) -> Result<()> {
        match self.0.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Finishing {
    fn drop(&mut self) {
        // Whoever wants to know has asked before.
        if let Some(thread) = self.0.take() {
            let _ = thread.join();
        }
    }
}

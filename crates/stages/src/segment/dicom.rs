//! Masks carried back to the DICOM files that images came from, as segmentation objects.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use dataset::{Dataset, ManifestRow};
use radiograph::{
    DecodeOptions, DicomStructure, Fit, content_box, decode_bytes, dicom_dimensions, dicom_segmentation,
    dicom_square_dimensions, is_dicom,
};
use sha2::{Digest, Sha256};

use files::outputs;
use segmentation::Lungs;

/// Where sources lie and how they were fitted into the dataset's squares.
pub(super) struct DicomSources {
    folder: PathBuf,
    fit: Fit,
    /// Whether borders were cut off before that, and how images were decoded.
    crop_borders: bool,
    options: DecodeOptions,
    /// Of the model: another model makes other objects.
    fingerprint: String,
    out: PathBuf,
}

impl DicomSources {
    /// # Errors
    /// A dataset that does not say how its images were fitted.
    pub(super) fn new(folder: &Path, dataset: &Dataset, fingerprint: &str, out: &Path) -> Result<Self> {
        let fit = dataset.info().preparation.get("fit").cloned().with_context(|| {
            format!("the dataset does not say how images were fitted; prepare it anew: {}", dataset.dir().display())
        })?;
        let fit: Fit = fit.try_into().context("the dataset's way to fit images is not known")?;
        let setting = |name: &str| dataset.info().preparation.get(name);
        let crop_borders = setting("crop_borders").and_then(toml::Value::as_bool).unwrap_or(false);
        let stretch_plain_images = setting("stretch_plain_images").and_then(toml::Value::as_bool).unwrap_or(false);
        let mut options = DecodeOptions { stretch_plain_images, ..DecodeOptions::default() };
        if let Some(max_pixels) = setting("max_pixels").and_then(toml::Value::as_integer) {
            options.max_pixels = max_pixels.unsigned_abs();
        }
        let out = out.join("dicom_seg");
        outputs::make_folder(&out)?;
        Ok(Self { folder: folder.into(), fit, crop_borders, options, fingerprint: fingerprint.into(), out })
    }

    /// Writes the object of one image; whether there was one to write: sources that are not DICOM have none, nor have
    /// images without lungs.
    ///
    /// # Errors
    /// A source that is missing or lacks what an object needs.
    pub(super) fn write(&self, row: &ManifestRow, lungs: &Lungs, size: usize) -> Result<bool> {
        let path = self.folder.join(&row.source_file);
        let source = std::fs::read(&path).with_context(|| {
            format!("its source cannot be read; give the folder that was prepared: {}", path.display())
        })?;
        if !is_dicom(&source) {
            return Ok(false);
        }
        let context = || format!("no segmentation object can be made for {}", path.display());
        let [height, width] = dicom_dimensions(&source).with_context(context)?;
        // Where pixels are not square, the picture that was prepared has others.
        let square = dicom_square_dimensions(&source, &self.options).with_context(context)?;
        let mut content = [0, 0, square[0], square[1]];
        if self.crop_borders {
            content = content_box(&decode_bytes(&source, &self.options).with_context(context)?);
        }
        let mut geometry = self.fit.geometry(content[2], content[3], size);
        geometry.source[0] += content[0] as f64;
        geometry.source[1] += content[1] as f64;
        let to_stored = [height as f64 / square[0] as f64, width as f64 / square[1] as f64];
        for (at, length) in geometry.source.iter_mut().enumerate() {
            *length *= to_stored[at % 2];
        }
        let restored = [&lungs.right, &lungs.left].map(|mask| geometry.restore_mask(mask, size, height, width));
        let names = [("Right lung", ("24028007", "Right")), ("Left lung", ("7771000", "Left"))];
        let structures: Vec<DicomStructure<'_>> = names
            .into_iter()
            .zip(&restored)
            .filter(|(_, mask)| mask.contains(&1))
            .map(|((label, side), mask)| DicomStructure {
                label,
                code: ("39607008", "Lung"),
                modifier: Some(side),
                mask,
            })
            .collect();
        if structures.is_empty() {
            return Ok(false);
        }
        let mut hasher = Sha256::new();
        hasher.update(self.fingerprint.as_bytes());
        hasher.update(&source);
        restored.iter().for_each(|mask| hasher.update(mask));
        // 120 bits, so that a few identifiers can be counted up from it.
        let number = hasher.finalize().iter().take(15).fold(0_u128, |number, byte| (number << 8) | u128::from(*byte));
        let object =
            dicom_segmentation(&source, &structures, "Lungs, found without labels", number).with_context(context)?;
        files::write_file(self.out.join(format!("{}.dcm", row.id)), &object)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ingest::prepare::{self, PrepareConfig};
    use messages::Silent;

    const SIZE: usize = 100;
    const HEIGHT: usize = 300;
    const WIDTH: usize = 240;
    /// Black margins at the top and left.
    const TOP: usize = 60;
    const LEFT: usize = 40;

    /// Where something bright lies, which the mask is to show.
    fn is_bright(row: usize, column: usize) -> bool {
        (150..230).contains(&row) && (90..160).contains(&column)
    }

    /// A DICOM file of 300 x 240 pixels, wider than high by a ratio: black margins, a texture, and something bright in it.
    fn framed(aspect: Option<&[u8; 4]>) -> Vec<u8> {
        let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../radiograph/tests/golden/dicom/u12_study.dcm");
        let mut file = std::fs::read(fixture).unwrap();
        let place = |file: &[u8], tag: [u8; 4]| file.windows(4).rposition(|window| window == tag).unwrap();
        for (tag, value) in [([0x28, 0, 0x10, 0], HEIGHT), ([0x28, 0, 0x11, 0], WIDTH)] {
            let at = place(&file, tag) + 8;
            file[at..at + 2].copy_from_slice(&(value as u16).to_le_bytes());
        }
        if let Some(aspect) = aspect {
            // Instead of the distances between pixels, which are nearly equal.
            file = without(file, [0x18, 0, 0x64, 0x11]);
            let at = place(&file, [0x28, 0, 0, 1]);
            file.splice(at..at, [&b"\x28\0\x34\0IS\x04\0"[..], aspect].concat());
        }
        file.truncate(place(&file, [0xe0, 0x7f, 0x10, 0]) + 8);
        file.extend((HEIGHT as u32 * WIDTH as u32 * 2).to_le_bytes());
        // The header's window goes from 600 to 3000.
        let stored = (0..HEIGHT * WIDTH).map(|at| match (at / WIDTH, at % WIDTH) {
            (row, column) if row < TOP || column < LEFT => 0,
            (row, column) if is_bright(row, column) => 3000,
            (row, column) => 1000 + (row * 37 + column * 53) % 1000,
        });
        file.extend(stored.flat_map(|value| (value as u16).to_le_bytes()));
        file
    }

    /// The file without an element of a short length.
    fn without(mut file: Vec<u8>, tag: [u8; 4]) -> Vec<u8> {
        let at = file.windows(4).rposition(|window| window == tag).unwrap();
        let length = usize::from(u16::from_le_bytes([file[at + 6], file[at + 7]]));
        file.drain(at..at + 8 + length);
        file
    }

    /// The only frame of a segmentation object.
    fn frame(object: &[u8]) -> Vec<u8> {
        let pixel_data = [0xe0, 0x7f, 0x10, 0, b'O', b'B'];
        let at = object.windows(6).rposition(|window| window == pixel_data).unwrap() + 12;
        let bytes = &object[at..];
        assert_eq!(bytes.len(), (HEIGHT * WIDTH).div_ceil(8));
        (0..HEIGHT * WIDTH).map(|at| bytes[at / 8] >> (at % 8) & 1).collect()
    }

    #[test]
    fn masks_lie_where_they_belong_on_the_whole_source() {
        for aspect in [None, Some(b"7\\6 "), Some(b"2\\3 ")] {
            check_masks(&framed(aspect), &format!("{aspect:?}"));
        }
    }

    fn check_masks(image: &[u8], aspect: &str) {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        std::fs::create_dir(&source).unwrap();
        std::fs::write(source.join("image.dcm"), image).unwrap();
        let ways = [Fit::Pad, Fit::CentreCrop, Fit::Stretch].map(|fit| [(fit, false), (fit, true)]);
        for (number, (fit, crop_borders)) in ways.into_iter().flatten().enumerate() {
            let out = dir.path().join(number.to_string());
            let config = PrepareConfig {
                sources: vec![source.clone()],
                image_size: SIZE,
                fit,
                crop_borders,
                out: out.join("dataset"),
                ..Default::default()
            };
            let summary = prepare::run(&config, &Silent).unwrap();
            assert_eq!(summary.num_cropped, crop_borders.then_some(1));
            let dataset = Dataset::open(&config.out).unwrap();
            let right = dataset.image(0).unwrap().iter().map(|&level| u8::from(level > 212)).collect();
            let lungs = Lungs { right, left: vec![0; SIZE * SIZE] };
            let row = dataset.rows().unwrap().next().unwrap().unwrap();
            let sources = DicomSources::new(&source, &dataset, "fingerprint", &out).unwrap();
            assert!(sources.write(&row, &lungs, SIZE).unwrap());
            let object = std::fs::read(out.join("dicom_seg").join(format!("{}.dcm", row.id))).unwrap();
            assert_eq!(dicom_dimensions(&object).unwrap(), [HEIGHT, WIDTH]);
            let expected = (0..HEIGHT * WIDTH).map(|at| u8::from(is_bright(at / WIDTH, at % WIDTH)));
            let (mut both, mut either) = (0, 0);
            for (found, expected) in frame(&object).into_iter().zip(expected) {
                both += usize::from(found & expected);
                either += usize::from(found | expected);
            }
            // A pixel of the dataset is three of the source: at half of one all around, 93 % are left. Pixels that are not
            // square are up to six.
            let least = if aspect == "None" { 93 } else { 88 };
            assert!(
                both * 100 >= either * least,
                "{aspect}, {fit:?}, borders cut off: {crop_borders}: {both} of {either}"
            );
        }
    }
}

//! From a file to what the dataset stores, on whichever thread.

use dataset::pixels_sha256;
use radiograph::{DecodeError, DecodeOptions, Mask, Radiograph, decode_file, fit_square, fit_square_mask};

use super::PrepareConfig;
use crate::presets::SourceItem;

/// A decoded image, reduced.
pub(super) struct Decoded {
    /// u8 `[size, size]`.
    pub image: Vec<u8>,
    /// 0 or 1, `[size, size]`.
    pub mask: Option<Vec<u8>>,
    /// Why there is no mask although there should be one.
    pub mask_problem: Option<String>,
    /// The hash of the pixels as decoded, before they are reduced.
    pub sha256: String,
    /// The patient's identifier from a DICOM header.
    pub patient: Option<String>,
    /// The view from a DICOM header.
    pub view: Option<String>,
}

/// How much the shapes of mask and image may differ: half a percent is rounding in whoever reduced one of them.
const SHAPE_TOLERANCE: f64 = 0.005;

/// Decodes an image and its mask, or says why the image is of no use.
pub(super) fn decode(item: &SourceItem, config: &PrepareConfig) -> Result<Decoded, String> {
    let options = DecodeOptions { stretch_plain_images: config.stretch_plain_images, ..Default::default() };
    let sentence = |error: DecodeError| error.reason().to_string();
    let picture = decode_file(&item.path, &options).map_err(sentence)?;
    let (size, fit) = (config.image_size, config.fit.into());
    let mask = item.mask.as_ref().map(|path| {
        let mask = decode_file(path, &DecodeOptions::default()).map_err(sentence)?;
        check_shapes(&mask, &picture)?;
        Ok::<_, String>(fit_square_mask(&Mask::from_radiograph(&mask), size, fit))
    });
    let (mask, mask_problem) = match mask {
        None => (None, None),
        Some(Ok(mask)) => (Some(mask), None),
        Some(Err(reason)) => (None, Some(format!("the mask of {} is left out: {reason}", item.name))),
    };
    Ok(Decoded {
        image: fit_square(&picture, size, fit),
        mask,
        mask_problem,
        sha256: pixels_sha256(&picture.pixels, picture.height, picture.width),
        patient: picture.metadata.patient_id,
        view: picture.metadata.view,
    })
}

/// A mask of another resolution fits its image, one of another shape does not.
fn check_shapes(mask: &Radiograph, image: &Radiograph) -> Result<(), String> {
    let ratio = |picture: &Radiograph| picture.width as f64 / picture.height as f64;
    if (ratio(mask) / ratio(image) - 1.0).abs() <= SHAPE_TOLERANCE {
        return Ok(());
    }
    Err(format!(
        "its shape of {} x {} does not fit the image's {} x {}; give a mask that was drawn on this image",
        mask.width, mask.height, image.width, image.height
    ))
}

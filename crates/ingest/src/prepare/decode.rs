//! From a file to what the dataset stores, on whichever thread.

use dataset::PixelHash;
use radiograph::{
    DecodeOptions, Fit, Mask, Radiograph, Reduced, Remark, Samples, StoredRadiograph, content_box, decode_bytes,
    decode_stored, fit_square, fit_square_mask, mask_corner_text,
};
use rayon::prelude::*;

use super::PrepareConfig;
use super::changes::Changes;
use crate::archive::FileSource;
use crate::presets::{RawPixels, SourceItem};
use crate::tables::{filled, identifier};

/// A decoded image, reduced.
pub(super) struct Decoded {
    /// u8 `[size, size]`.
    pub image: Vec<u8>,
    /// 0 or 1, `[size, size]`.
    pub mask: Option<Vec<u8>>,
    /// Why there is no mask although there should be one.
    pub mask_problem: Option<String>,
    /// The hash of the pixels as decoded, before they are reduced.
    pub pixel_hash: String,
    /// What the pixels look like, before they are reduced.
    pub perceptual_hash: Option<u64>,
    /// Millimetres between the rows and the columns of `image`.
    pub pixel_spacing_mm: Option<[f64; 2]>,
    /// What is to be known about how it was read, and whether it shows next to nothing.
    pub remarks: Vec<Remark>,
    pub is_changed: Changes<bool>,
    /// The patient's identifier from a DICOM header.
    pub patient: Option<String>,
    /// The view from a DICOM header.
    pub view: Option<String>,
}

/// How much the shapes of mask and image may differ: half a percent is rounding in whoever reduced one of them.
const SHAPE_TOLERANCE: f64 = 0.005;

/// Decodes images on all threads and gives them back in their order. Threads take one image after the other, since
/// images differ in size by a factor of a hundred. What lies in a gzipped archive is read on the way, in the order of the
/// archive, which is unpacked once at most for a call of this.
pub(super) fn decode_all(items: &[SourceItem], config: &PrepareConfig) -> Vec<Result<Decoded, String>> {
    let options = options(config);
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_key(|&number| items[number].file.place_in_stream());
    let mut decoded: Vec<(usize, Result<Decoded, String>)> = order
        .into_iter()
        .map(|number| {
            let item = &items[number];
            (number, item, item.file.place_in_stream().map(|_| read(item, &options)))
        })
        .par_bridge()
        .map(|(number, item, bytes)| {
            let bytes = bytes.unwrap_or_else(|| read(item, &options));
            (number, bytes.and_then(|bytes| decode(item, &bytes, &options, config)))
        })
        .collect();
    decoded.sort_unstable_by_key(|(number, _)| *number);
    decoded.into_iter().map(|(_, decoded)| decoded).collect()
}

fn options(config: &PrepareConfig) -> DecodeOptions {
    DecodeOptions {
        max_pixels: config.max_pixels,
        stretch_plain_images: config.stretch_plain_images,
        // Letters are found at full size. So are borders: a smaller picture may show others, `segment` looks for them in
        // the whole one, and what is left inside of them needs all of its pixels.
        reduce_for: (config.reduced_decoding && !config.mask_corner_text && !config.crop_borders)
            .then_some((config.image_size, config.fit)),
        ..Default::default()
    }
}

fn read(item: &SourceItem, options: &DecodeOptions) -> Result<Vec<u8>, String> {
    if item.raw.is_some() { item.file.read_bytes(options.max_bytes()) } else { item.file.read_image(options) }
}

/// Decodes an image and its mask, or says why the image is of no use.
fn decode(item: &SourceItem, bytes: &[u8], options: &DecodeOptions, config: &PrepareConfig) -> Result<Decoded, String> {
    let picture: StoredRadiograph = match &item.raw {
        Some(raw) => decode_raw(bytes, raw)?.into(),
        None => decode_stored(bytes, options).map_err(|error| error.to_string())?,
    };
    // The hashes are those of the picture as decoded: whatever the settings, the same picture is known again.
    let pixel_hash = pixel_hash(&picture);
    let (size, fit) = (config.image_size, config.fit);
    let Reduced { image, perceptual_hash, remark } = picture.reduce(size, fit);
    let dimensions = [picture.height, picture.width];
    let (metadata, spacing) = (picture.metadata.clone(), picture.pixel_spacing_mm);
    let remarks = metadata.remarks.into_iter().chain(remark).collect();
    let edited = edit(picture, image, config);
    let (mask, mask_problem) = match decode_mask(
        &item.mask,
        [dimensions, metadata.stored_size.unwrap_or(dimensions)],
        edited.content,
        options,
        size,
        fit,
    ) {
        Ok(mask) => (mask, None),
        Err(reason) => (None, Some(format!("the mask of {} is left out: {reason}", item.name))),
    };
    let geometry = fit.geometry(edited.content[2], edited.content[3], size);
    let [_, _, source_height, source_width] = geometry.source;
    let [_, _, height, width] = geometry.target.map(|length| length as f64);
    let pixel_spacing_mm = spacing
        .map(|[rows, columns]| [f64::from(rows) * source_height / height, f64::from(columns) * source_width / width]);
    Ok(Decoded {
        image: edited.image,
        mask,
        mask_problem,
        pixel_hash,
        perceptual_hash,
        pixel_spacing_mm,
        remarks,
        is_changed: Changes {
            cropped: edited.content != [0, 0, dimensions[0], dimensions[1]],
            text_masked: edited.has_masked_text,
        },
        patient: metadata.patient_id.and_then(|patient| identifier(&patient, false)),
        view: metadata.view.filter(|view| filled(view).is_some()),
    })
}

/// A picture after what the settings ask for beyond reducing it.
struct Edited {
    /// u8 `[size, size]`.
    image: Vec<u8>,
    /// `[top, left, height, width]` of what is seen of the picture, in its pixels.
    content: [usize; 4],
    has_masked_text: bool,
}

/// Paints over text and cuts borders off where the settings say so; `image` is what the picture is reduced to otherwise.
fn edit(picture: StoredRadiograph, image: Vec<u8>, config: &PrepareConfig) -> Edited {
    let whole = [0, 0, picture.height, picture.width];
    if !config.crop_borders && !config.mask_corner_text {
        return Edited { image, content: whole, has_masked_text: false };
    }
    let mut picture = Radiograph::from(picture);
    let content = if config.crop_borders { content_box(&picture) } else { whole };
    let has_masked_text = config.mask_corner_text && mask_corner_text(&mut picture) > 0;
    if content == whole && !has_masked_text {
        return Edited { image, content, has_masked_text };
    }
    let image = fit_square(&picture.cropped(content), config.image_size, config.fit);
    Edited { image, content, has_masked_text }
}

/// The hash of the pixels as decoded.
fn pixel_hash(picture: &StoredRadiograph) -> PixelHash {
    let (height, width) = (picture.height, picture.width);
    match &picture.samples {
        Samples::Bytes(samples) => dataset::bytes_hash(samples, height, width),
        Samples::Words { values, brightness } => dataset::words_hash(values, brightness, height, width),
        Samples::Brightness(pixels) => dataset::pixels_hash(pixels, height, width),
    }
}

/// The union of the files over the content of a picture of the first of two `dimensions`, rows and columns; none where
/// there are none. The second are those of the picture's file, which a mask may have as well. 0 or 1, `[size, size]`.
fn decode_mask(
    parts: &[FileSource],
    [dimensions, stored]: [[usize; 2]; 2],
    content: [usize; 4],
    options: &DecodeOptions,
    size: usize,
    fit: Fit,
) -> Result<Option<Vec<u8>>, String> {
    // A mask's values are what they are.
    let options = DecodeOptions { stretch_plain_images: false, reduce_for: None, ..options.clone() };
    let mut union: Option<Vec<u8>> = None;
    for part in parts {
        let mask = decode_bytes(&part.read_image(&options)?, &options).map_err(|error| error.to_string())?;
        let mask = with_square_pixels(mask, dimensions, stored);
        check_shapes(&mask, dimensions)?;
        let mask = Mask::from_radiograph(&mask).cropped(content, dimensions);
        let mask = fit_square_mask(&mask, size, fit);
        union = Some(match union {
            None => mask,
            Some(union) => union.iter().zip(&mask).map(|(a, b)| a | b).collect(),
        });
    }
    Ok(union)
}

/// A file that is nothing but pixels.
fn decode_raw(bytes: &[u8], raw: &RawPixels) -> Result<Radiograph, String> {
    let expected = raw.height * raw.width * 2;
    if bytes.len() != expected {
        return Err(format!(
            "it has {} bytes, an image of {} x {} pixels without a header has {expected}; download it again",
            bytes.len(),
            raw.height,
            raw.width
        ));
    }
    let highest = f32::from(u16::MAX >> (16 - raw.bits.clamp(1, 16)));
    let brightness = |value: u16| {
        let value = f32::from(value) / highest;
        if raw.is_inverted { 1.0 - value } else { value }
    };
    let pixels = bytes.as_chunks::<2>().0.iter().map(|&pair| brightness(u16::from_be_bytes(pair))).collect();
    Radiograph::from_pixels(pixels, raw.height, raw.width).ok_or_else(|| "it has no pixels".to_owned())
}

/// A mask that was drawn on the pixels of a file as they are, where they are not square: it becomes what the picture of
/// `dimensions` became.
fn with_square_pixels(mask: Radiograph, dimensions: [usize; 2], stored: [usize; 2]) -> Radiograph {
    if has_shape(&mask, dimensions) || !has_shape(&mask, stored) {
        return mask;
    }
    let [height, width] = dimensions;
    let pixels = radiograph::resize(&mask.pixels, mask.height, mask.width, height, width);
    pixels.and_then(|pixels| Radiograph::from_pixels(pixels, height, width)).unwrap_or(mask)
}

fn has_shape(mask: &Radiograph, [height, width]: [usize; 2]) -> bool {
    let ratio = |height: usize, width: usize| width as f64 / height as f64;
    (ratio(mask.height, mask.width) / ratio(height, width) - 1.0).abs() <= SHAPE_TOLERANCE
}

/// A mask of another resolution fits its image, one of another shape does not.
fn check_shapes(mask: &Radiograph, [height, width]: [usize; 2]) -> Result<(), String> {
    if has_shape(mask, [height, width]) {
        return Ok(());
    }
    Err(format!(
        "its shape of {} x {} does not fit the image's {width} x {height}; give a mask that was drawn on this image",
        mask.width, mask.height
    ))
}

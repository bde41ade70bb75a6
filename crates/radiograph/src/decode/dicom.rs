//! DICOM images: header, pixel data in the usual transfer syntaxes, and the chain from stored values to brightness.
//!
//! The data set is walked element by element with only the needed attributes kept: a damaged length can then ask for no
//! memory that the file does not have, nesting costs no stack, and names and dates never enter the program.

pub(super) mod aspect;
mod dataset;
pub(super) mod directory;
mod elements;
mod file;
mod grey;
mod groups;
mod jpeg;
mod jpeg_2000;
mod jpeg_ls;
mod jpeg_xl;
mod lossy;
mod pixels;
mod rle;
pub(super) mod segmentation;
mod segmented;
mod syntax;
mod tables;

use dicom_dictionary_std::tags;

use super::{DecodeOptions, luma, stretched};
use crate::{DecodeError, Remark, Samples, SourceFormat, SourceMetadata, StoredRadiograph, content_remark};
use aspect::Grid;
use dataset::Dataset;
use pixels::{Layout, Values};

const FORMAT: SourceFormat = SourceFormat::Dicom;

/// The photometric interpretation of images whose stored values are numbers of colours.
const PALETTE: &str = "PALETTE COLOR";

pub(super) use file::starts_without_preamble;

fn corrupt(detail: impl std::fmt::Display) -> DecodeError {
    DecodeError::corrupt(FORMAT, detail)
}

fn contradictory(detail: impl std::fmt::Display) -> DecodeError {
    DecodeError::contradictory(FORMAT, detail)
}

fn unsupported(reason: impl Into<String>) -> DecodeError {
    DecodeError::unsupported(FORMAT, reason)
}

/// Decodes a DICOM file with one frame.
pub(super) fn decode(bytes: &[u8], options: &DecodeOptions) -> Result<StoredRadiograph, DecodeError> {
    let dataset = Dataset::read(bytes, options)?;
    let layout = read_layout(&dataset, options)?;
    let mut remarks = Vec::new();
    let grid = Grid::read(&dataset, &mut remarks);
    let square_size = grid.square_size([layout.height, layout.width], options);
    // Reduced decoding counts on square pixels.
    let reduction = if square_size.is_some() { 1 } else { options.reduction(layout.height, layout.width) };
    let (values, reduction) = pixels::decode(&dataset, &layout, reduction)?;
    let samples = match values {
        Values::Grey(values) => {
            let brightness = if layout.photometric == PALETTE {
                grey::through_palette(&dataset, &layout, &mut remarks)?
            } else {
                grey::brightness(&dataset, &layout, &values, options, &mut remarks)?
            };
            Samples::Words { values, brightness }
        }
        Values::Rgb(colors) => {
            let max = f64::from(layout.max_value());
            Samples::Brightness(colors.iter().map(|&color| luma(color.map(u32::from), max)).collect())
        }
    };
    if dataset.text(tags::PRESENTATION_INTENT_TYPE).as_deref() == Some("FOR PROCESSING") {
        remarks.push(Remark::ForProcessing);
    }
    let [height, width] = [layout.height, layout.width].map(|length| length.div_ceil(reduction));
    // Sides are rounded up where they are reduced, and rounded where pixels become square.
    let [last_height, last_width] = square_size.unwrap_or([height, width]);
    let distance = |spacing: f64, from: usize, to: usize| (spacing * from as f64 / to as f64) as f32;
    let picture = StoredRadiograph {
        samples,
        height,
        width,
        pixel_spacing_mm: grid.spacing.map(|[rows, columns]| {
            [distance(rows, layout.height, last_height), distance(columns, layout.width, last_width)]
        }),
        stored_bits: layout.bits_stored as u8,
        format: FORMAT,
        metadata: SourceMetadata {
            patient_id: dataset.text(tags::PATIENT_ID),
            view: dataset.text(tags::VIEW_POSITION),
            stored_size: None,
            remarks,
        },
    };
    let picture = match square_size {
        Some(size) => aspect::resampled(picture, size),
        None => picture,
    };
    // What windows, tables, palettes or colours leave nearly without contrast is stretched as well, where asked.
    let is_faint = options.stretch_plain_images && content_remark(&picture.clone().into()).is_some();
    Ok(if is_faint { stretched(picture, options) } else { picture })
}

/// Reads and checks the attributes that say how pixels are stored.
fn read_layout(dataset: &Dataset, options: &DecodeOptions) -> Result<Layout, DecodeError> {
    if !dataset.has_pixel_data() {
        return Err(DecodeError::MissingAttribute { attribute: "PixelData (7FE0,0010)" });
    }
    let required = |tag, attribute| dataset.integer(tag).ok_or(DecodeError::MissingAttribute { attribute });
    let rows = required(tags::ROWS, "Rows (0028,0010)")?;
    let columns = required(tags::COLUMNS, "Columns (0028,0011)")?;
    let bits_allocated = required(tags::BITS_ALLOCATED, "BitsAllocated (0028,0100)")?;
    let bits_stored = dataset.integer(tags::BITS_STORED).unwrap_or(bits_allocated);
    let high_bit = dataset.integer(tags::HIGH_BIT).unwrap_or(bits_stored - 1);
    let channels = dataset.integer(tags::SAMPLES_PER_PIXEL).unwrap_or(1);
    let photometric = dataset.text(tags::PHOTOMETRIC_INTERPRETATION).unwrap_or_else(|| "MONOCHROME2".into());
    let positive = |value: i64| u64::try_from(value).unwrap_or(0);
    options.check_size(FORMAT, positive(rows), positive(columns))?;

    let frames = dataset.text(tags::NUMBER_OF_FRAMES).and_then(|text| text.parse::<f64>().ok()).unwrap_or(1.0);
    if frames > 1.0 {
        return Err(unsupported(format!(
            "it has {frames} frames (a film or a volume), and which one is wanted is unknown; export one frame per file"
        )));
    }
    if !matches!(bits_allocated, 8 | 16) || !(1..=bits_allocated).contains(&bits_stored) {
        return Err(unsupported(format!(
            "{bits_stored} bits stored in {bits_allocated} allocated; 1 to 16 bits in 8 or 16 are read"
        )));
    }
    if !(bits_stored - 1..bits_allocated).contains(&high_bit) {
        return Err(contradictory(format_args!("high bit {high_bit} with {bits_stored} bits in {bits_allocated}")));
    }
    let expected = match photometric.as_str() {
        "MONOCHROME1" | "MONOCHROME2" | PALETTE => 1,
        "RGB" | "YBR_FULL" | "YBR_FULL_422" | "YBR_RCT" | "YBR_ICT" => 3,
        _ => {
            return Err(unsupported(format!(
                "photometric interpretation {photometric} with {channels} sample(s) per pixel; convert it to MONOCHROME2"
            )));
        }
    };
    if channels != expected {
        return Err(contradictory(format_args!(
            "photometric interpretation {photometric} has {expected} sample(s) per pixel, the header says {channels}"
        )));
    }
    Ok(Layout {
        height: rows as usize,
        width: columns as usize,
        bits_allocated: bits_allocated as u32,
        bits_stored: bits_stored as u32,
        high_bit: high_bit as u32,
        signed: dataset.integer(tags::PIXEL_REPRESENTATION) == Some(1),
        channels: channels as usize,
        planar: dataset.integer(tags::PLANAR_CONFIGURATION) == Some(1),
        photometric,
    })
}

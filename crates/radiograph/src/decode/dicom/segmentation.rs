//! Masks as a DICOM segmentation object (PS3.3 A.51, binary) that belongs to the study of the image it was made of.
//!
//! The object carries the patient, study and frame of reference of its source, as a viewer needs it; it is therefore as
//! confidential as the source itself.

use std::time::{SystemTime, UNIX_EPOCH};

use dicom_core::Tag;
use dicom_dictionary_std::{tags, uids};

use super::corrupt;
use super::dataset::Dataset;
use super::lossy::{self, Loss};
use crate::{DecodeError, DecodeOptions};

/// A structure and where it is.
#[derive(Debug, Clone)]
pub struct DicomStructure<'a> {
    /// What people read, such as `Right lung`; at most 64 characters.
    pub label: &'a str,
    /// Its code and meaning in SNOMED CT, such as `("39607008", "Lung")`.
    pub code: (&'a str, &'a str),
    /// The side, such as `("24028007", "Right")`.
    pub modifier: Option<(&'a str, &'a str)>,
    /// `[rows * columns]` of the source image, non-zero inside.
    pub mask: &'a [u8],
}

/// Copied from the source as they are.
const COPIED: [Tag; 14] = [
    tags::SPECIFIC_CHARACTER_SET,
    tags::STUDY_DATE,
    tags::STUDY_TIME,
    tags::ACCESSION_NUMBER,
    tags::REFERRING_PHYSICIAN_NAME,
    tags::PATIENT_NAME,
    tags::PATIENT_ID,
    tags::PATIENT_BIRTH_DATE,
    tags::PATIENT_SEX,
    tags::STUDY_INSTANCE_UID,
    tags::STUDY_ID,
    tags::PATIENT_ORIENTATION,
    tags::FRAME_OF_REFERENCE_UID,
    tags::POSITION_REFERENCE_INDICATOR,
];
/// Referred to.
const REFERENCED: [Tag; 5] =
    [tags::SOP_CLASS_UID, tags::SOP_INSTANCE_UID, tags::SERIES_INSTANCE_UID, tags::ROWS, tags::COLUMNS];
/// Begins identifiers that are made of a number of 128 bits (PS3.5 B.2).
const UUID_ROOT: &str = "2.25.";

/// The bytes of a DICOM file with one frame for each structure; `description` names the series, at most 64 characters.
/// Identifiers follow from `number`, which must differ between any two objects: a hash of what was done to what.
///
/// # Errors
/// A source that is no DICOM file, lacks its identifiers, or has another size than a mask.
pub fn dicom_segmentation(
    source: &[u8],
    structures: &[DicomStructure<'_>],
    description: &str,
    number: u128,
) -> Result<Vec<u8>, DecodeError> {
    let wanted: Vec<Tag> = COPIED.into_iter().chain(REFERENCED).chain(lossy::WANTED).collect();
    let source = Dataset::read_only(source, &wanted, &DecodeOptions::default())?;
    // An element in implicit VR can be longer than its explicit form has a length for: such a value cannot be copied.
    let value_of = |tag: Tag| source.raw(tag).filter(|value| value.len() < usize::from(u16::MAX));
    let required = |tag: Tag, attribute: &'static str| {
        value_of(tag).and_then(|_| source.text(tag)).ok_or(DecodeError::MissingAttribute { attribute })
    };
    let class = required(tags::SOP_CLASS_UID, "SOPClassUID (0008,0016)")?;
    let instance = required(tags::SOP_INSTANCE_UID, "SOPInstanceUID (0008,0018)")?;
    let series = required(tags::SERIES_INSTANCE_UID, "SeriesInstanceUID (0020,000E)")?;
    required(tags::STUDY_INSTANCE_UID, "StudyInstanceUID (0020,000D)")?;
    let size = |tag: Tag| source.integer(tag).and_then(|value| usize::try_from(value).ok()).unwrap_or(0);
    let (rows, columns) = (size(tags::ROWS), size(tags::COLUMNS));
    for structure in structures {
        if structure.mask.len() != rows * columns || structure.mask.is_empty() {
            return Err(corrupt(format_args!(
                "a mask of {} pixels for an image of {columns} x {rows}",
                structure.mask.len()
            )));
        }
    }
    let uid = |part: u128| format!("{UUID_ROOT}{}", number.wrapping_mul(4).wrapping_add(part));
    let (own, own_series, dimensions) = (uid(0), uid(1), uid(2));
    let [date, time] = now();
    let copy = |elements: &mut Elements, tag: Tag, representation: &[u8; 2]| {
        elements.put(tag, representation, value_of(tag).unwrap_or_default());
    };
    let copy_present = |elements: &mut Elements, tag: Tag, representation: &[u8; 2]| {
        if let Some(value) = value_of(tag) {
            elements.put(tag, representation, value);
        }
    };

    let mut all = Elements::default();
    copy_present(&mut all, tags::SPECIFIC_CHARACTER_SET, b"CS");
    all.text(tags::IMAGE_TYPE, b"CS", "DERIVED\\PRIMARY");
    all.text(tags::SOP_CLASS_UID, b"UI", uids::SEGMENTATION_STORAGE);
    all.text(tags::SOP_INSTANCE_UID, b"UI", &own);
    copy(&mut all, tags::STUDY_DATE, b"DA");
    all.text(tags::SERIES_DATE, b"DA", &date);
    all.text(tags::CONTENT_DATE, b"DA", &date);
    copy(&mut all, tags::STUDY_TIME, b"TM");
    all.text(tags::SERIES_TIME, b"TM", &time);
    all.text(tags::CONTENT_TIME, b"TM", &time);
    copy(&mut all, tags::ACCESSION_NUMBER, b"SH");
    all.text(tags::MODALITY, b"CS", "SEG");
    all.text(tags::MANUFACTURER, b"LO", "dino-diffusion");
    copy(&mut all, tags::REFERRING_PHYSICIAN_NAME, b"PN");
    all.text(tags::SERIES_DESCRIPTION, b"LO", description);
    all.text(tags::MANUFACTURER_MODEL_NAME, b"LO", "dino-diffusion");
    let mut referenced = Elements::default();
    referenced.text(tags::REFERENCED_SOP_CLASS_UID, b"UI", &class);
    referenced.text(tags::REFERENCED_SOP_INSTANCE_UID, b"UI", &instance);
    let mut of_series = Elements::default();
    of_series.sequence(tags::REFERENCED_INSTANCE_SEQUENCE, &[referenced.clone()]);
    of_series.text(tags::SERIES_INSTANCE_UID, b"UI", &series);
    all.sequence(tags::REFERENCED_SERIES_SEQUENCE, &[of_series]);
    copy(&mut all, tags::PATIENT_NAME, b"PN");
    copy(&mut all, tags::PATIENT_ID, b"LO");
    copy(&mut all, tags::PATIENT_BIRTH_DATE, b"DA");
    copy(&mut all, tags::PATIENT_SEX, b"CS");
    all.text(tags::DEVICE_SERIAL_NUMBER, b"LO", "0");
    all.text(tags::SOFTWARE_VERSIONS, b"LO", env!("CARGO_PKG_VERSION"));
    copy(&mut all, tags::STUDY_INSTANCE_UID, b"UI");
    all.text(tags::SERIES_INSTANCE_UID, b"UI", &own_series);
    copy(&mut all, tags::STUDY_ID, b"SH");
    all.text(tags::SERIES_NUMBER, b"IS", "900");
    all.text(tags::INSTANCE_NUMBER, b"IS", "1");
    // Of type 2C: present, if without a value, in an image without Image Orientation (Patient) (PS3.3 C.7.6.1). Masks lie
    // as the source does.
    copy(&mut all, tags::PATIENT_ORIENTATION, b"CS");
    // A projection image has none, as a rule; then its pixels are the frame of reference.
    if source.text(tags::FRAME_OF_REFERENCE_UID).is_some() {
        copy(&mut all, tags::FRAME_OF_REFERENCE_UID, b"UI");
        copy(&mut all, tags::POSITION_REFERENCE_INDICATOR, b"LO");
    }
    let mut organization = Elements::default();
    organization.text(tags::DIMENSION_ORGANIZATION_UID, b"UI", &dimensions);
    all.sequence(tags::DIMENSION_ORGANIZATION_SEQUENCE, &[organization.clone()]);
    organization.tag(tags::DIMENSION_INDEX_POINTER, tags::REFERENCED_SEGMENT_NUMBER);
    organization.tag(tags::FUNCTIONAL_GROUP_POINTER, tags::SEGMENT_IDENTIFICATION_SEQUENCE);
    organization.text(tags::DIMENSION_DESCRIPTION_LABEL, b"LO", "Segment Number");
    all.sequence(tags::DIMENSION_INDEX_SEQUENCE, &[organization]);
    all.number(tags::SAMPLES_PER_PIXEL, 1);
    all.text(tags::PHOTOMETRIC_INTERPRETATION, b"CS", "MONOCHROME2");
    all.text(tags::NUMBER_OF_FRAMES, b"IS", &structures.len().to_string());
    all.number(tags::ROWS, rows as u16);
    all.number(tags::COLUMNS, columns as u16);
    all.number(tags::BITS_ALLOCATED, 1);
    all.number(tags::BITS_STORED, 1);
    all.number(tags::HIGH_BIT, 0);
    all.number(tags::PIXEL_REPRESENTATION, 0);
    // The loss of a source is one of what was found in it (PS3.3 C.8.20.2.2).
    let loss = Loss::of(&source, rows * columns);
    all.text(tags::LOSSY_IMAGE_COMPRESSION, b"CS", if loss.is_some() { "01" } else { "00" });
    if let Some(Loss { ratio, method }) = loss {
        let parts = [
            (tags::LOSSY_IMAGE_COMPRESSION_RATIO, b"DS", ratio),
            (tags::LOSSY_IMAGE_COMPRESSION_METHOD, b"CS", method),
        ];
        for (tag, representation, value) in parts {
            // As above, of a value that was copied.
            let fitting = value.filter(|value| value.len() < usize::from(u16::MAX));
            fitting.into_iter().for_each(|value| all.text(tag, representation, &value));
        }
    }
    all.text(tags::SEGMENTATION_TYPE, b"CS", "BINARY");
    let segments: Vec<Elements> = (1..).zip(structures).map(|(number, structure)| segment(number, structure)).collect();
    all.sequence(tags::SEGMENT_SEQUENCE, &segments);
    all.text(tags::CONTENT_LABEL, b"CS", "SEGMENTATION");
    all.text(tags::CONTENT_DESCRIPTION, b"LO", description);
    all.text(tags::CONTENT_CREATOR_NAME, b"PN", "");
    all.sequence(tags::SHARED_FUNCTIONAL_GROUPS_SEQUENCE, &[Elements::default()]);
    let source_image = derivation(referenced);
    let frames: Vec<Elements> = (1..=structures.len() as u16).map(|number| frame(number, &source_image)).collect();
    all.sequence(tags::PER_FRAME_FUNCTIONAL_GROUPS_SEQUENCE, &frames);
    all.put(tags::PIXEL_DATA, b"OB", &packed(structures));
    Ok(with_file_meta(&own, &all))
}

/// Rows and columns of a DICOM image, without decoding it.
///
/// # Errors
/// A file that is not DICOM or says no size.
pub fn dicom_dimensions(source: &[u8]) -> Result<[usize; 2], DecodeError> {
    let source = Dataset::read_only(source, &[tags::ROWS, tags::COLUMNS], &DecodeOptions::default())?;
    let size = |tag: Tag, attribute: &'static str| {
        let value = source.integer(tag).and_then(|value| usize::try_from(value).ok()).filter(|value| *value > 0);
        value.ok_or(DecodeError::MissingAttribute { attribute })
    };
    Ok([size(tags::ROWS, "Rows (0028,0010)")?, size(tags::COLUMNS, "Columns (0028,0011)")?])
}

/// A code with its scheme and meaning.
fn code(value: &str, scheme: &str, meaning: &str) -> Elements {
    let mut item = Elements::default();
    item.text(tags::CODE_VALUE, b"SH", value);
    item.text(tags::CODING_SCHEME_DESIGNATOR, b"SH", scheme);
    item.text(tags::CODE_MEANING, b"LO", meaning);
    item
}

fn segment(number: u16, structure: &DicomStructure<'_>) -> Elements {
    let mut item = Elements::default();
    let category = code("123037004", "SCT", "Anatomical Structure");
    item.sequence(tags::SEGMENTED_PROPERTY_CATEGORY_CODE_SEQUENCE, &[category]);
    item.number(tags::SEGMENT_NUMBER, number);
    item.text(tags::SEGMENT_LABEL, b"LO", structure.label);
    item.text(tags::SEGMENT_ALGORITHM_TYPE, b"CS", "AUTOMATIC");
    item.text(tags::SEGMENT_ALGORITHM_NAME, b"LO", "dino-diffusion");
    let mut property = code(structure.code.0, "SCT", structure.code.1);
    if let Some((value, meaning)) = structure.modifier {
        property.sequence(tags::SEGMENTED_PROPERTY_TYPE_MODIFIER_CODE_SEQUENCE, &[code(value, "SCT", meaning)]);
    }
    item.sequence(tags::SEGMENTED_PROPERTY_TYPE_CODE_SEQUENCE, &[property]);
    item
}

/// Of which image a frame was made, pixel by pixel. A projection has no slices, so no measures of them either; a viewer
/// takes the source's.
fn derivation(mut referenced: Elements) -> Elements {
    referenced.text(tags::SPATIAL_LOCATIONS_PRESERVED, b"CS", "YES");
    let purpose = code("121322", "DCM", "Source image for image processing operation");
    referenced.sequence(tags::PURPOSE_OF_REFERENCE_CODE_SEQUENCE, &[purpose]);
    let mut derivation = Elements::default();
    derivation.sequence(tags::SOURCE_IMAGE_SEQUENCE, &[referenced]);
    derivation.sequence(tags::DERIVATION_CODE_SEQUENCE, &[code("113076", "DCM", "Segmentation")]);
    derivation
}

fn frame(number: u16, derivation: &Elements) -> Elements {
    let mut content = Elements::default();
    content.put(tags::DIMENSION_INDEX_VALUES, b"UL", &u32::from(number).to_le_bytes());
    let mut identification = Elements::default();
    identification.number(tags::REFERENCED_SEGMENT_NUMBER, number);
    let mut item = Elements::default();
    item.sequence(tags::DERIVATION_IMAGE_SEQUENCE, std::slice::from_ref(derivation));
    item.sequence(tags::FRAME_CONTENT_SEQUENCE, &[content]);
    item.sequence(tags::SEGMENT_IDENTIFICATION_SEQUENCE, &[identification]);
    item
}

/// One bit a pixel, the lowest bit first, frames one after the other without a gap (PS3.5 8.1.1).
fn packed(structures: &[DicomStructure<'_>]) -> Vec<u8> {
    let bits: usize = structures.iter().map(|structure| structure.mask.len()).sum();
    let mut bytes = vec![0_u8; bits.div_ceil(8)];
    for (at, value) in structures.iter().flat_map(|structure| structure.mask).enumerate() {
        bytes[at / 8] |= u8::from(*value != 0) << (at % 8);
    }
    bytes
}

/// Explicit little endian behind the preamble and the file meta group.
fn with_file_meta(instance: &str, dataset: &Elements) -> Vec<u8> {
    let mut meta = Elements::default();
    meta.put(tags::FILE_META_INFORMATION_VERSION, b"OB", &[0, 1]);
    meta.text(tags::MEDIA_STORAGE_SOP_CLASS_UID, b"UI", uids::SEGMENTATION_STORAGE);
    meta.text(tags::MEDIA_STORAGE_SOP_INSTANCE_UID, b"UI", instance);
    meta.text(tags::TRANSFER_SYNTAX_UID, b"UI", uids::EXPLICIT_VR_LITTLE_ENDIAN);
    meta.text(tags::IMPLEMENTATION_CLASS_UID, b"UI", "2.25.226174914893372161903431105352341176385");
    let mut length = Elements::default();
    length.put(tags::FILE_META_INFORMATION_GROUP_LENGTH, b"UL", &(meta.0.len() as u32).to_le_bytes());
    [&[0; 128], b"DICM".as_slice(), &length.0, &meta.0, &dataset.0].concat()
}

/// Date and time of day in UTC, as DICOM writes them.
fn now() -> [String; 2] {
    let secs = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let [year, month, day] = civil((secs / 86_400) as i64);
    let of_day = secs % 86_400;
    [format!("{year:04}{month:02}{day:02}"), format!("{:02}{:02}{:02}", of_day / 3600, of_day / 60 % 60, of_day % 60)]
}

/// Year, month and day of a day counted from 1970 (years from March on, so that the leap day is the last).
fn civil(days: i64) -> [i64; 3] {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    [year_of_era + era * 400 + i64::from(month <= 2), month, of_year - (153 * shifted + 2) / 5 + 1]
}

/// Elements in explicit little endian, in the order in which they are put.
#[derive(Debug, Clone, Default)]
struct Elements(Vec<u8>);

impl Elements {
    fn put(&mut self, tag: Tag, representation: &[u8; 2], value: &[u8]) {
        let padding: &[u8] = match (value.len() % 2, representation) {
            (0, _) => &[],
            (_, b"UI" | b"OB") => &[0],
            _ => b" ",
        };
        let length = value.len() + padding.len();
        self.0.extend(tag.0.to_le_bytes());
        self.0.extend(tag.1.to_le_bytes());
        self.0.extend(representation);
        if matches!(representation, b"OB" | b"SQ") {
            self.0.extend([0, 0]);
            self.0.extend((length as u32).to_le_bytes());
        } else {
            self.0.extend((length as u16).to_le_bytes());
        }
        self.0.extend(value);
        self.0.extend(padding);
    }

    fn text(&mut self, tag: Tag, representation: &[u8; 2], value: &str) {
        self.put(tag, representation, value.as_bytes());
    }

    fn number(&mut self, tag: Tag, value: u16) {
        self.put(tag, b"US", &value.to_le_bytes());
    }

    fn tag(&mut self, tag: Tag, value: Tag) {
        self.put(tag, b"AT", &[value.0.to_le_bytes(), value.1.to_le_bytes()].concat());
    }

    fn sequence(&mut self, tag: Tag, items: &[Elements]) {
        let mut content = Vec::new();
        for Elements(item) in items {
            content.extend([0xfe, 0xff, 0x00, 0xe0]);
            content.extend((item.len() as u32).to_le_bytes());
            content.extend(item);
        }
        self.put(tag, b"SQ", &content);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_dates() {
        assert_eq!(civil(0), [1970, 1, 1]);
        assert_eq!(civil(11_016), [2000, 2, 29]);
        assert_eq!(civil(20_782), [2026, 11, 25]);
    }

    #[test]
    fn frames_are_packed_without_a_gap() {
        let structure = |mask| DicomStructure { label: "", code: ("", ""), modifier: None, mask };
        let bytes = packed(&[structure(&[1, 0, 1]), structure(&[0, 1, 1]), structure(&[1, 1, 1])]);
        assert_eq!(bytes, [0b1111_0101, 0b1]);
    }
}

//! Radiographs as pictures: from files on disk to plain arrays, and from arrays to pictures that people look at.
//!
//! | part | what it does |
//! | --- | --- |
//! | [`decode_file`], [`decode_bytes`] | DICOM, PNG or JPEG, told apart by content, to a [`Radiograph`] |
//! | [`decode_stored`] | the same, with its samples as the file has them, for reducing at once |
//! | [`Augmentation`] | random views of one picture, for networks that learn without labels |
//! | [`fit_square`], [`fit_square_mask`], [`resize`] | antialiased resizing to the square images that networks take |
//! | [`write_png_u8`], [`write_png_u16`], [`encode_png_u8`], ... | PNG files, written atomically |
//! | [`content_box`], [`mask_corner_text`] | borders found, text in the corners painted over |
//! | [`dicom_segmentation`] | masks as a DICOM SEG object that belongs to its image |
//! | [`guided_filter`] | soft masks moved to the edges of the picture |
//! | [`overlay_labels`], [`Grid`] | figures: labels over images, captioned grids |
//! | [`Phantom`] | drawn chest X-rays with known lungs and findings, for demonstrations and tests |
//!
//! A [`Radiograph`] holds `f32` pixels in `0..=1`, bright where the body absorbs (bone is white), whatever the file
//! said about windows, look-up tables or inverted greys. Nothing here knows about tensors or networks, prints, or uses
//! more than the calling thread, so callers decide how many images are in flight.

mod augment;
mod borders;
mod decode;
mod error;
mod figure;
mod overlay;
mod perceptual;
mod phantom;
mod picture;
mod reduce;
mod refine;
mod remark;
mod resample;
mod stored;
mod text;
mod transform;
mod write;

pub use augment::{Augmentation, Crop, View, ViewKey, ViewKind};
pub use borders::content_box;
pub use decode::{
    DecodeOptions, DicomStructure, decode_bytes, decode_file, decode_stored, dicom_dimensions, dicom_directory,
    dicom_segmentation, dicom_square_dimensions, is_dicom, read_image,
};
pub use error::{DecodeError, WriteError};
pub use figure::{Border, Grid, RgbImage};
pub use overlay::{outline_mask, overlay_labels};
pub use perceptual::{content_remark, perceptual_hash};
pub use phantom::{Anatomy, Findings, Phantom, PhantomImage, Side};
pub use picture::{Mask, Radiograph, SourceFormat, SourceMetadata};
pub use refine::{RefineError, guided_filter};
pub use remark::Remark;
pub use resample::resize;
pub use stored::{Reduced, Samples, StoredRadiograph};
pub use text::mask_corner_text;
pub use transform::{Fit, FitGeometry, fit_square, fit_square_f32, fit_square_mask, to_u8, to_u16};
pub use write::{encode_png_rgb, encode_png_u8, encode_png_u16, write_png_u8, write_png_u16};

//! What a caller should know about an image that was read all the same: choices that a decoder made for it, and images
//! that show next to nothing.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Something to know about an image that was decoded. `Display` is a clause about one or more images, with the remedy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Remark {
    /// 96 % of the area has one brightness, see [`crate::content_remark`].
    Blank,
    /// 96 % of the area lies within an eighth of the range of brightness, see [`crate::content_remark`].
    Faint,
    /// The entries of a VOI or palette table contradict the number of bits in its descriptor.
    TableBits,
    /// A modality or VOI table is empty, or a VOI table is damaged.
    TableUnusable,
    /// Pixels are not square: the image was resampled.
    NotSquare,
    /// Pixel Spacing or Pixel Aspect Ratio is beyond 1:4 and was ignored.
    AspectIgnored,
    /// Presentation Intent Type (0008,0068) is FOR PROCESSING.
    ForProcessing,
    /// The Exif orientation of a JPEG or PNG file was applied.
    Oriented,
}

impl fmt::Display for Remark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Blank => {
                "blank or nearly so: 96 % of the area has one brightness; try `--stretch-plain-images`, or leave them out"
            }
            Self::Faint => {
                "nearly black, nearly white or without contrast: an eighth of the range of brightness is used; try \
                 `--stretch-plain-images`"
            }
            Self::TableBits => {
                "a look-up table contradicts its descriptor's number of bits; white is the smallest power of two above \
                 its entries, less one"
            }
            Self::TableUnusable => {
                "a modality or VOI look-up table is empty or damaged and is passed over; the window counts, or else \
                 percentiles"
            }
            Self::NotSquare => "pixels are not square; they are resampled to square ones",
            Self::AspectIgnored => {
                "the pixel spacing or aspect ratio is beyond 1:4 and is ignored; correct it in the file where it is true"
            }
            Self::ForProcessing => {
                "FOR PROCESSING: grey values are those of the detector; prefer the images FOR PRESENTATION where there \
                 are both"
            }
            Self::Oriented => "the Exif orientation is applied, as viewers do",
        })
    }
}

/// Adds a remark, once.
pub(crate) fn note(remarks: &mut Vec<Remark>, remark: Remark) {
    if !remarks.contains(&remark) {
        remarks.push(remark);
    }
}

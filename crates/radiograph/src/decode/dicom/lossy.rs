//! Whether an image has lost something by compression, for what is derived of it (PS3.3 C.7.6.1.1.5 and C.8.20.2.2).

use dicom_core::Tag;
use dicom_dictionary_std::tags;

use super::dataset::Dataset;

/// What [`Loss::of`] reads beside the transfer syntax and the size of the image.
pub(super) const WANTED: [Tag; 5] = [
    tags::LOSSY_IMAGE_COMPRESSION,
    tags::LOSSY_IMAGE_COMPRESSION_RATIO,
    tags::LOSSY_IMAGE_COMPRESSION_METHOD,
    tags::BITS_ALLOCATED,
    tags::SAMPLES_PER_PIXEL,
];

/// The lossy compression of an image at any time of its life. A part that neither the image says nor its pixel data
/// show is absent: nothing is guessed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Loss {
    /// Lossy Image Compression Ratio (0028,2112); several values where there were several steps.
    pub(super) ratio: Option<String>,
    /// Lossy Image Compression Method (0028,2114), likewise.
    pub(super) method: Option<String>,
}

impl Loss {
    /// `None` for an image without loss. The image's own word counts, but "00" cannot undo a transfer syntax that
    /// always loses something.
    pub(super) fn of(source: &Dataset, pixels: usize) -> Option<Self> {
        let by_syntax = by_transfer_syntax(&source.transfer_syntax);
        match (source.text(tags::LOSSY_IMAGE_COMPRESSION).as_deref(), by_syntax) {
            (Some("01"), _) | (_, Some((Certainty::Always, _))) => {}
            (Some("00"), _) | (_, None) => return None,
            (_, Some((Certainty::AsARule, _))) => {}
        }
        let method = source.text(tags::LOSSY_IMAGE_COMPRESSION_METHOD);
        let ratio = source.text(tags::LOSSY_IMAGE_COMPRESSION_RATIO);
        Some(Self {
            ratio: ratio.or_else(|| by_syntax.and_then(|_| found_ratio(source, pixels))),
            method: method.or_else(|| by_syntax.map(|(_, method)| method.to_owned())),
        })
    }
}

/// Whether a transfer syntax loses something.
#[derive(Debug, Clone, Copy)]
enum Certainty {
    Always,
    /// Its encoders may also keep every bit (PS3.5 A.4.3, A.4.4): an image that says so is believed.
    AsARule,
}

/// The method's defined term (PS3.3 C.7.6.1.1.5.1) for transfer syntaxes that can be lossy.
fn by_transfer_syntax(uid: &str) -> Option<(Certainty, &'static str)> {
    use Certainty::{Always, AsARule};
    Some(match uid {
        // JPEG: baseline, extended, spectral selection, full progression.
        "1.2.840.10008.1.2.4.50" | "1.2.840.10008.1.2.4.51" | "1.2.840.10008.1.2.4.53" | "1.2.840.10008.1.2.4.55" => {
            (Always, "ISO_10918_1")
        }
        "1.2.840.10008.1.2.4.81" => (AsARule, "ISO_14495_1"),
        "1.2.840.10008.1.2.4.91" => (AsARule, "ISO_15444_1"),
        "1.2.840.10008.1.2.4.203" => (AsARule, "ISO_15444_15"),
        // A JPEG that JPEG XL packs further without loss (PS3.5 8.2.15): it was JPEG that lost something.
        "1.2.840.10008.1.2.4.111" => (Always, "ISO_10918_1"),
        "1.2.840.10008.1.2.4.112" => (AsARule, "ISO_18181_1"),
        _ => return None,
    })
}

/// How many bytes without compression stand for one of the pixel data (PS3.3 C.7.6.1.1.5.2).
fn found_ratio(source: &Dataset, pixels: usize) -> Option<String> {
    let compressed = source.encapsulated_frame()?.len();
    let bits = source.integer(tags::BITS_ALLOCATED)? * source.integer(tags::SAMPLES_PER_PIXEL).unwrap_or(1);
    let ratio = pixels as f64 * bits as f64 / 8.0 / compressed as f64;
    // A decimal string has at most 16 characters.
    (ratio.is_finite() && (0.01..1e9).contains(&ratio)).then(|| format!("{ratio:.2}"))
}

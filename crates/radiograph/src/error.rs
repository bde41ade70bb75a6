//! Why a picture could not be read or written, as sentences that a list of skipped files can show.

use std::path::PathBuf;

use crate::SourceFormat;

/// Why a picture could not be decoded. `Display` is a sentence; where a path is known it comes last.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Opening or reading the file failed.
    #[error("the file cannot be read ({0}); check that it exists and that you may read it")]
    Read(#[source] std::io::Error),
    /// The file has no bytes.
    #[error("the file is empty; copy it again from its source")]
    Empty,
    /// The content is neither DICOM, PNG nor JPEG.
    #[error("this is {found}, not a DICOM, PNG or JPEG image; convert it or leave it out")]
    UnknownFormat {
        /// What the first bytes look like, for example `a GIF image` or `text`.
        found: String,
    },
    /// The content starts like an image of this format but does not decode: damaged or cut short.
    #[error(
        "the {format} data are damaged or cut short ({detail}); copy the file again from its source, and leave it out if \
         that changes nothing"
    )]
    Corrupt {
        /// The format that the first bytes announce.
        format: SourceFormat,
        /// What the decoder met.
        detail: String,
    },
    /// Two parts of a file say different things, so that no copy of it helps: its writer made it so.
    #[error("the {format} file contradicts itself ({detail}); export it again from its source, or leave it out")]
    Contradictory {
        /// The format that the first bytes announce.
        format: SourceFormat,
        /// What does not agree, with both values.
        detail: String,
    },
    /// A decoder came to an end by a panic: a fault of the decoder, whatever the file is.
    #[error(
        "the decoder {decoder} gave up on this {format} ({detail}), which is a fault of that decoder; check the image \
         with another program, and convert it to another kind there"
    )]
    DecoderFailed {
        /// The format that the first bytes announce.
        format: SourceFormat,
        /// The crate and its version.
        decoder: String,
        /// The message of the panic.
        detail: String,
    },
    /// A sound file of a kind that is not read, for a stated reason.
    #[error("this {format} is not supported: {reason}")]
    Unsupported {
        /// The format of the file.
        format: SourceFormat,
        /// The property that is not supported, with its value and what to do.
        reason: String,
    },
    /// A DICOM file lacks something that its picture needs.
    #[error("the DICOM file has no {attribute}; it may hold a report or a structure, not an image")]
    MissingAttribute {
        /// The attribute's keyword and tag.
        attribute: &'static str,
    },
    /// More pixels than the limit.
    #[error(
        "the image has {width} x {height} pixels, more than the limit of {max_pixels}; reduce it, or raise `max_pixels`"
    )]
    TooLarge {
        /// Columns.
        width: u64,
        /// Rows.
        height: u64,
        /// The limit from [`crate::DecodeOptions`].
        max_pixels: u64,
    },
    /// More bytes than the limit on pixels allows, in the file or once unpacked.
    #[error(
        "the file has more than {max_bytes} bytes, packed or unpacked, the most for the limit of {max_pixels} pixels; \
         leave it out, or raise `max_pixels`"
    )]
    TooManyBytes {
        /// The limit, [`crate::DecodeOptions::max_bytes`].
        max_bytes: u64,
        /// The limit that it is made of.
        max_pixels: u64,
    },
    /// An error above, with the file in which it happened.
    #[error("{reason}: {}", path.display())]
    InFile {
        /// What happened.
        reason: Box<DecodeError>,
        /// The file.
        path: PathBuf,
    },
}

impl DecodeError {
    /// The error without the path around it: for tables that list the path in a column of its own.
    pub fn reason(&self) -> &DecodeError {
        match self {
            Self::InFile { reason, .. } => reason.reason(),
            other => other,
        }
    }

    pub(crate) fn corrupt(format: SourceFormat, detail: impl std::fmt::Display) -> Self {
        Self::Corrupt { format, detail: printable(&detail.to_string()) }
    }

    pub(crate) fn contradictory(format: SourceFormat, detail: impl std::fmt::Display) -> Self {
        Self::Contradictory { format, detail: printable(&detail.to_string()) }
    }

    pub(crate) fn unsupported(format: SourceFormat, reason: impl Into<String>) -> Self {
        Self::Unsupported { format, reason: printable(&reason.into()) }
    }
}

/// Text of a file without what would steer a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { char::REPLACEMENT_CHARACTER } else { letter }).collect()
}

/// Why a picture could not be encoded or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// The number of values does not fit the dimensions.
    #[error("{values} values do not make a {width} x {height} image of {channels} channel(s)")]
    Dimensions {
        /// Values given.
        values: usize,
        /// Rows.
        height: usize,
        /// Columns.
        width: usize,
        /// Channels per pixel.
        channels: usize,
    },
    /// The PNG encoder refused.
    #[error("the PNG image could not be encoded ({0})")]
    Encode(String),
    /// Writing failed; nothing of the old file is lost.
    #[error(transparent)]
    File(#[from] files::Error),
}

//! The DICOM decoder, with all its transfer syntaxes.
#![no_main]

use fuzz::check;
use libfuzzer_sys::{Corpus, fuzz_target};
use radiograph::{SourceFormat, dicom_dimensions};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    // `segment` reads headers by itself, to write masks that belong to the image.
    let _ = dicom_dimensions(bytes);
    check(bytes, SourceFormat::Dicom)
});

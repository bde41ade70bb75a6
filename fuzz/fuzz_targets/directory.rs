//! DICOMDIR.
#![no_main]

use libfuzzer_sys::{Corpus, fuzz_target};
use radiograph::{dicom_directory, is_dicom};

fuzz_target!(|bytes: &[u8]| -> Corpus {
    if !is_dicom(bytes) {
        return Corpus::Reject;
    }
    match dicom_directory(bytes) {
        Ok(Some(files)) => assert!(files.len() <= bytes.len()),
        Ok(None) => {}
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    Corpus::Keep
});

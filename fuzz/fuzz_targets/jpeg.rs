//! The JPEG decoder.
#![no_main]

use fuzz::check;
use libfuzzer_sys::{Corpus, fuzz_target};
use radiograph::SourceFormat;

fuzz_target!(|bytes: &[u8]| -> Corpus { check(bytes, SourceFormat::Jpeg) });

//! What several targets need: what is demanded of a decoder (a sound picture or a sentence, whatever the bytes), and a
//! folder for readers that take paths.
//!
//! `decode_bytes` catches panics of decoders, so that one bad file does not stop a preparation. Here they are found all
//! the same: libFuzzer's hook ends the process at the panic, before anything can catch it.

use std::path::PathBuf;

use libfuzzer_sys::Corpus;
use radiograph::{DecodeOptions, Fit, SourceFormat, decode_bytes, is_dicom};

/// Large enough for every branch, small enough for thousands of runs in a second: 512 x 512.
const MAX_PIXELS: u64 = 1 << 18;

/// Small enough that the seeds are reduced.
const REDUCED: Option<(usize, Fit)> = Some((2, Fit::Pad));

/// Decodes bytes and checks what comes of it. Without the format's first bytes they are rejected, so that libFuzzer
/// does not spend its time on how formats are told apart.
///
/// # Panics
/// The picture is of another format, has not as many pixels as its dimensions say, more than allowed, or one outside
/// `0..=1`; or the message of an error is empty.
pub fn check(bytes: &[u8], format: SourceFormat) -> Corpus {
    let is_format = match format {
        SourceFormat::Png => bytes.starts_with(b"\x89PNG\r\n\x1a\n"),
        SourceFormat::Jpeg => bytes.starts_with(b"\xff\xd8\xff"),
        SourceFormat::Dicom => is_dicom(bytes),
        SourceFormat::Memory => false,
    };
    if !is_format {
        return Corpus::Reject;
    }
    // DICOM images without a window are stretched anyway; the option is about the others.
    // PNG is never reduced on the way.
    let ways = match format {
        SourceFormat::Dicom => &[(false, None), (false, REDUCED)][..],
        SourceFormat::Png => &[(false, None), (true, None)],
        _ => &[(false, None), (true, None), (false, REDUCED)],
    };
    for &(stretch_plain_images, reduce_for) in ways {
        let options = DecodeOptions { max_pixels: MAX_PIXELS, stretch_plain_images, reduce_for, ..Default::default() };
        match decode_bytes(bytes, &options) {
            Ok(picture) => {
                assert_eq!(picture.format, format);
                assert_eq!(picture.pixels.len(), picture.height * picture.width);
                assert!((1..=MAX_PIXELS).contains(&(picture.pixels.len() as u64)));
                assert!(picture.pixels.iter().all(|pixel| (0.0..=1.0).contains(pixel)));
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    }
    Corpus::Keep
}

/// An empty folder for this process below the folder for temporary files, which had better be in memory.
///
/// # Panics
/// The folder cannot be made.
pub fn new_folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("dino-diffusion-fuzz-{name}-{}", std::process::id()));
    // It may be left from a process of that number.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).expect("TMPDIR is a folder that can be written into");
    folder
}

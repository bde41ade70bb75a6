//! Zip, tar and gzipped tar files, read in place.
#![no_main]

use std::io::Write;
use std::path::PathBuf;
use std::sync::LazyLock;

use flate2::Compression;
use flate2::write::GzEncoder;
use libfuzzer_sys::{Corpus, fuzz_target};
use ingest::archive::{Archives, FileSource};
use ingest::presets::{Folder, Preset};
use radiograph::DecodeOptions;

/// Members that are read, and bytes of each: a member of the largest inputs unpacks to some megabytes.
const MAX_MEMBERS: usize = 16;
const MAX_BYTES: u64 = 1 << 20;

/// A folder with nothing but the archive.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| fuzz::new_folder("archive"));

/// The members of an archive with their names and bytes; those that cannot be read have none.
fn members(bytes: &[u8]) -> Vec<(String, Option<Vec<u8>>)> {
    let path = FOLDER.join("a.tgz");
    std::fs::write(&path, bytes).expect("the temporary folder is writable");
    let archives = Archives::default();
    let items = Folder.items(&FOLDER, &archives).expect("the folder can be read");
    let mut files: Vec<(String, FileSource)> = Vec::new();
    for item in items {
        match item {
            Ok(item) => {
                assert!(!item.name.split('/').any(|part| part == ".."), "{}", item.name);
                assert!(item.file.path().starts_with(&*FOLDER), "{:?}", item.file);
                // What is none after all is a file like any other.
                if matches!(item.file, FileSource::Member(..)) && files.len() < MAX_MEMBERS {
                    files.push((item.name, item.file));
                }
            }
            Err(skipped) => assert!(!skipped.reason.is_empty() && !skipped.item.starts_with('/'), "{skipped:?}"),
        }
    }
    // Backwards first, so that gzipped ones are entered at each member; then in their order, which goes on.
    let backwards: Vec<_> = files.iter().rev().map(|(_, file)| file.read_bytes(MAX_BYTES)).collect();
    let read = files.into_iter().zip(backwards.into_iter().rev()).map(|((name, file), before)| {
        let bytes = file.read_bytes(MAX_BYTES);
        assert_eq!(bytes, before, "{name} is not always the same");
        let options = DecodeOptions { max_pixels: MAX_BYTES, ..Default::default() };
        for error in [bytes.as_ref().err(), file.read_image(&options).as_ref().err()].into_iter().flatten() {
            assert!(!error.is_empty());
        }
        (name, bytes.ok())
    });
    read.collect()
}

fn is_tar(bytes: &[u8]) -> bool {
    bytes.get(257..262) == Some(b"ustar")
}

fuzz_target!(|bytes: &[u8]| -> Corpus {
    // What begins as another kind of archive is read as that one, whatever stands at the place of tar's mark.
    let is_other = bytes.starts_with(b"PK") || bytes.starts_with(&[0x1f, 0x8b]);
    if !is_other && !is_tar(bytes) {
        return Corpus::Reject;
    }
    let found = members(bytes);
    // A changed byte hardly ever leaves gzip's checksum right, so tar files are also read gzipped: with the same result.
    if !is_other {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::none());
        encoder.write_all(bytes).expect("memory is writable");
        let packed = encoder.finish().expect("memory is writable");
        assert_eq!(members(&packed), found, "a tar file is read otherwise when it is gzipped");
    }
    Corpus::Keep
});

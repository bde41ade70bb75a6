//! Tables: the preset `csv`, lists of what is excluded, and the tables of public collections.
//!
//! The first byte of an input says what it is, the rest are the files, with [`SEPARATOR`] between them.
#![no_main]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use dataset::PatientSalt;
use libfuzzer_sys::{Corpus, fuzz_target};
use ingest::archive::Archives;
use ingest::prepare::Exclusions;
use ingest::presets::{self, Columns, SourceItem};

/// The separator of records of ASCII, which no table has.
const SEPARATOR: u8 = 0x1e;

/// Presets with the tables that they read, and an image that is there.
const READERS: [(&str, &[&str], &str); 13] = [
    ("csv", &["manifest.csv"], "a.png"),
    (
        "mimic-cxr-jpg",
        &["mimic-cxr-2.0.0-metadata.csv", "mimic-cxr-2.0.0-split.csv", "mimic-cxr-2.0.0-chexpert.csv"],
        "files/p10/p10/s1/a.jpg",
    ),
    ("mimic-cxr", &["cxr-record-list.csv", "mimic-cxr-2.0.0-split.csv", "mimic-cxr-2.0.0-metadata.csv"], "files/a.dcm"),
    ("chexpert", &["train.csv", "valid.csv"], "train/patient1/a.jpg"),
    ("chexpert-plus", &["df_chexpert_plus_240401.csv", "impression_fixed.json"], "PNG/train/patient1/a.png"),
    ("nih-chestxray14", &["Data_Entry_2017_v2020.csv", "test_list.txt", "train_val_list.txt"], "a.png"),
    ("padchest", &["PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"], "a.png"),
    ("brax", &["master_spreadsheet_update.csv"], "a.png"),
    ("vindr-cxr", &["image_labels_train.csv", "image_labels_test.csv"], "train/a.dicom"),
    ("vindr-cxr-kaggle", &["train.csv", "sample_submission.csv"], "train/a.dicom"),
    (
        "rsna-pneumonia",
        &[
            "stage_2_train_labels.csv",
            "stage_2_sample_submission.csv",
            "stage_2_detailed_class_info.csv",
            "pneumonia-challenge-dataset-mappings_2018.json",
        ],
        "stage_2_train_images/a.dcm",
    ),
    ("siim", &["train-rle.csv"], "a.dcm"),
    ("covid-chestxray", &["metadata.csv"], "images/a.png"),
];

/// A folder for each preset with its image, and one for the list.
static FOLDERS: LazyLock<Vec<PathBuf>> = LazyLock::new(|| {
    let root = fuzz::new_folder("tables");
    let folders = READERS.iter().map(|(preset, _, image)| {
        let image = root.join(preset).join(image);
        fs::create_dir_all(image.parent().expect("it is in a folder")).expect("the temporary folder is writable");
        // Presets look for images and do not open them.
        fs::write(&image, "").expect("the temporary folder is writable");
        root.join(preset)
    });
    let folders: Vec<_> = folders.collect();
    let list = root.join("exclude");
    fs::create_dir_all(&list).expect("the temporary folder is writable");
    folders.into_iter().chain([list]).collect()
});

/// Writes a table under its name, with `.gz` where it is gzipped, and takes away the one of the input before.
fn write(folder: &Path, name: &str, bytes: Option<&[u8]>) {
    let plain = folder.join(name);
    let gzipped = folder.join(format!("{name}.gz"));
    for path in [&plain, &gzipped] {
        // It is usually not there.
        let _ = fs::remove_file(path);
    }
    if let Some(bytes) = bytes {
        let path = if bytes.starts_with(&[0x1f, 0x8b]) { gzipped } else { plain };
        fs::write(path, bytes).expect("the temporary folder is writable");
    }
}

fn check_list(folder: &Path, bytes: &[u8]) {
    let path = folder.join("exclude.csv");
    fs::write(&path, bytes).expect("the temporary folder is writable");
    match Exclusions::read(&path, &PatientSalt::from_bytes(*b"a salt of 16 bytes"), |_| {}) {
        Ok(list) => {
            for (collection, patient) in [("siim", "siim-1"), ("a", "007"), ("nih-chestxray14", "nih-chestxray14-7")] {
                let (collection, patient) = (Some(collection.to_owned()), Some(patient.to_owned()));
                let item = SourceItem { collection, patient, ..Default::default() };
                list.has_item(&item);
            }
            list.has_decoded(Some("siim"), "siim-1", "1", &"ab".repeat(32));
            assert!(list.unmatched().is_none_or(|sentence| !sentence.is_empty()));
            let _ = list.check_collections(&["a".to_owned()].into());
        }
        Err(error) => assert!(!format!("{error:#}").is_empty()),
    }
}

fuzz_target!(|bytes: &[u8]| -> Corpus {
    let Some((&kind, rest)) = bytes.split_first() else { return Corpus::Reject };
    // Letters, so that seeds can be read: `a` for the first preset.
    let number = usize::from(kind.wrapping_sub(b'a'));
    let Some(folder) = FOLDERS.get(number) else { return Corpus::Reject };
    let Some((preset, tables, _)) = READERS.get(number) else {
        check_list(folder, rest);
        return Corpus::Keep;
    };
    let mut files = rest.split(|&byte| byte == SEPARATOR);
    for name in *tables {
        write(folder, name, files.next());
    }
    let archives = Archives::default();
    // A column of findings where the table has one.
    let labels = (*preset == "csv" && rest.windows(4).any(|bytes| bytes == b"Mass")).then(|| vec!["Mass".to_owned()]);
    let columns = Columns { labels, ..Columns::default() };
    let preset = presets::open(preset, &columns).expect("the preset exists");
    match preset.items(folder, &archives) {
        Ok(items) => {
            for item in items {
                match item {
                    Ok(item) => assert!(!item.name.starts_with('/'), "{item:?}"),
                    Err(skipped) => assert!(!skipped.reason.is_empty() && !skipped.item.is_empty(), "{skipped:?}"),
                }
            }
        }
        Err(error) => assert!(!format!("{error:#}").is_empty()),
    }
    Corpus::Keep
});

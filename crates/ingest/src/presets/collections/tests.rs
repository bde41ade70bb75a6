//! Each collection as a miniature: its real names of files and folders and its real header lines, with a few images of
//! 8 x 8 pixels. Nothing here was read from the collections themselves.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use dataset::{Dataset, ManifestRow, Split, SplitPlan};
use radiograph::encode_png_u8;

use super::super::{Columns, open};
use crate::archive::Archives;
use crate::prepare::tests::jpeg_of_blocks;
use crate::prepare::{self, CollectionSource, PrepareConfig, PrepareSummary};
use messages::Silent;
use messages::Skipped;

mod kaggle;
mod mimic_stanford;
mod national;
mod several;
mod small;

const SIZE: usize = 8;

/// A collection being made.
struct Mini {
    dir: tempfile::TempDir,
    num_images: Cell<u8>,
}

/// What `prepare` made of it.
struct Prepared {
    rows: HashMap<String, ManifestRow>,
    skipped: Vec<Skipped>,
    dataset: Dataset,
}

impl Mini {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), num_images: Cell::new(0) }
    }

    fn source(&self) -> PathBuf {
        self.dir.path().join("source")
    }

    /// Writes a file, gzipped where its name says so.
    fn file(&self, name: &str, bytes: &[u8]) {
        let path = self.source().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if name.ends_with(".gz") {
            let mut encoder =
                flate2::write::GzEncoder::new(fs::File::create(path).unwrap(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap();
        } else {
            fs::write(path, bytes).unwrap();
        }
    }

    fn table(&self, name: &str, text: &str) {
        self.file(name, text.as_bytes());
    }

    /// A number that no other image of this collection has, so that none is taken for a duplicate.
    fn next(&self) -> u8 {
        self.num_images.set(self.num_images.get() + 1);
        self.num_images.get()
    }

    fn png(&self, name: &str) {
        let number = self.next();
        // No two look alike, for patients whose images do are drawn to one side.
        let pixels: Vec<u8> = (0..64).map(|pixel| (pixel * (2 * u32::from(number) + 37) % 251) as u8).collect();
        self.file(name, &encode_png_u8(&pixels, SIZE, SIZE).unwrap());
    }

    fn jpeg(&self, name: &str) {
        self.file(name, &jpeg_of_blocks(&[self.next()], 1));
    }

    fn dicom(&self, name: &str, patient: &str, view: &str) {
        self.file(name, &dicom(self.next(), patient, view));
    }

    fn prepare(&self, preset: &str) -> Prepared {
        let config = PrepareConfig {
            sources: vec![self.source()],
            preset: preset.into(),
            image_size: SIZE,
            out: self.dir.path().join(format!("out-{preset}")),
            ..Default::default()
        };
        let summary = prepare::run(&config, &Silent).unwrap();
        assert!(fs::read_to_string(config.out.join("dataset.toml")).unwrap().contains("citation = "));
        Prepared::of(summary)
    }

    fn error(&self, preset: &str) -> String {
        match open(preset, &Columns::default()).unwrap().items(&self.source(), &Archives::default()) {
            Ok(_) => panic!("{preset} reads this folder"),
            Err(error) => format!("{error:#}"),
        }
    }
}

impl Prepared {
    fn of(summary: PrepareSummary) -> Self {
        let dataset = Dataset::open(&summary.dataset).unwrap();
        let rows = dataset.rows().unwrap().map(Result::unwrap);
        let rows = rows.map(|row| (row.source_file.clone(), row)).collect();
        Self { rows, skipped: summary.skipped, dataset }
    }

    fn row(&self, file: &str) -> &ManifestRow {
        self.rows.get(file).unwrap_or_else(|| panic!("no {file} in {:?}, {:?}", self.rows.keys(), self.skipped))
    }

    fn same_patient(&self, a: &str, b: &str) -> bool {
        self.row(a).patient == self.row(b).patient
    }

    fn mask(&self, file: &str) -> Option<Vec<u8>> {
        let at = self.dataset.indices_where(|row| row.source_file == file).unwrap()[0];
        self.dataset.mask(at).unwrap()
    }

    /// The reason of the report about `what`.
    fn report(&self, what: &str) -> &str {
        let found = self.skipped.iter().find(|skipped| skipped.item.contains(what));
        &found.unwrap_or_else(|| panic!("nothing about {what:?} in {:?}", self.skipped)).reason
    }
}

/// The positive, negative and uncertain labels of a row.
fn labels(row: &ManifestRow) -> [String; 3] {
    [&row.labels, &row.labels_negative, &row.labels_uncertain].map(|names| names.join(" "))
}

/// An uncompressed 8-bit DICOM file (explicit, little endian).
fn dicom(number: u8, patient: &str, view: &str) -> Vec<u8> {
    fn element(tag: [u16; 2], kind: &str, value: &[u8]) -> Vec<u8> {
        let mut bytes: Vec<u8> = tag.iter().flat_map(|part| part.to_le_bytes()).collect();
        bytes.extend(kind.bytes());
        let mut value = value.to_vec();
        if value.len() % 2 == 1 {
            value.push(if kind == "UI" || kind == "OW" { 0 } else { b' ' });
        }
        if kind == "OW" || kind == "OB" {
            bytes.extend([0, 0]);
            bytes.extend((value.len() as u32).to_le_bytes());
        } else {
            bytes.extend((value.len() as u16).to_le_bytes());
        }
        bytes.extend(value);
        bytes
    }
    let short = |value: u16| value.to_le_bytes();
    let meta = [
        element([2, 0x1], "OB", &[0, 1]),
        element([2, 0x2], "UI", b"1.2.840.10008.5.1.4.1.1.1"),
        element([2, 0x3], "UI", b"1.2.3"),
        element([2, 0x10], "UI", b"1.2.840.10008.1.2.1"),
    ]
    .concat();
    let pixels: Vec<u8> = (0..64).map(|pixel| pixel * 2 + number).collect();
    let body = [
        element([0x10, 0x20], "LO", patient.as_bytes()),
        element([0x18, 0x5101], "CS", view.as_bytes()),
        element([0x28, 0x2], "US", &short(1)),
        element([0x28, 0x4], "CS", b"MONOCHROME2"),
        element([0x28, 0x10], "US", &short(8)),
        element([0x28, 0x11], "US", &short(8)),
        element([0x28, 0x100], "US", &short(8)),
        element([0x28, 0x101], "US", &short(8)),
        element([0x28, 0x102], "US", &short(7)),
        element([0x28, 0x103], "US", &short(0)),
        // A window, else the decoder stretches whatever grey there is.
        element([0x28, 0x1050], "DS", b"128"),
        element([0x28, 0x1051], "DS", b"256"),
        element([0x7fe0, 0x10], "OW", &pixels),
    ]
    .concat();
    let length = element([2, 0], "UL", &(meta.len() as u32).to_le_bytes());
    [vec![0; 128], b"DICM".to_vec(), length, meta, body].concat()
}

#[test]
fn a_wrong_folder_is_a_sentence_that_names_the_file_it_lacks() {
    let mini = Mini::new();
    mini.png("holiday/beach.png");
    for (preset, expected) in [
        ("mimic-cxr-jpg", "`mimic-cxr-2.0.0-metadata.csv`"),
        ("mimic-cxr", "`cxr-record-list.csv`"),
        ("chexpert", "`train.csv`"),
        ("chexpert-plus", "`df_chexpert_plus_240401.csv`"),
        ("nih-chestxray14", "`Data_Entry_2017_v2020.csv` or `Data_Entry_2017.csv`"),
        ("padchest", "`PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv`"),
        ("brax", "`master_spreadsheet_update.csv` or `master_spreadsheet.csv`"),
        ("vindr-cxr", "`annotations/image_labels_train.csv`"),
        ("vindr-cxr-kaggle", "`train.csv`"),
        ("rsna-pneumonia", "`stage_2_train_labels.csv`"),
        ("siim", "`train-rle.csv` or `stage_2_train.csv`"),
        ("jsrt", "`All247images/JPCLN001.IMG`"),
        ("montgomery", "`CXR_png/MCUCXR_0001_0.png`"),
        ("shenzhen", "`CXR_png/CHNCXR_0001_0.png`"),
        ("covid-chestxray", "`metadata.csv`"),
    ] {
        let error = mini.error(preset);
        assert!(error.contains(&format!("there is no {expected}")), "{preset}: {error}");
        assert!(error.contains(&format!("the preset `{preset}`")) && error.ends_with("source"), "{error}");
    }
    // A table of the right name that is another: its columns are named.
    mini.table("train.csv", "image_id,class_name,class_id,rad_id\n");
    let error = mini.error("chexpert");
    assert!(
        error.contains("no column \"Path\", it has \"image_id\", \"class_name\"") && error.ends_with("train.csv"),
        "{error}"
    );
}

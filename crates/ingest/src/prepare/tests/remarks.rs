//! What is said of images that are taken all the same.

use std::sync::Mutex;

use radiograph::{Remark, encode_png_u16};

use super::*;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../radiograph/tests/golden/dicom");

/// Keeps what is said.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Progress for Heard {
    fn begin(&self, _task: &str, _total: u64, _unit: &str) {}
    fn advance(&self, _amount: u64, _note: &str) {}
    fn end(&self) {}
    fn say(&self, sentence: &str) {
        self.0.lock().unwrap().push(sentence.to_owned());
    }
}

/// The fixture with another value, as long, of its window's centre, and its pixels brightened by a number.
fn with_window_outside(number: u8) -> Vec<u8> {
    let mut file = fs::read(Path::new(FIXTURES).join("u8.dcm")).unwrap();
    let at = file.windows(4).rposition(|window| window == [0x28, 0, 0x50, 0x10]).unwrap() + 8;
    file[at..at + 4].copy_from_slice(b"9999");
    let last = file.len() - 1;
    file[last] = number;
    file
}

/// Four plain images, three blank and alike, five nearly black, two FOR PROCESSING, and copies of two.
fn write_remarkable(source: &Path) {
    for number in 0..4 {
        write_picture(&source.join(format!("a-plain-{number}.png")), number, 30, 40);
    }
    for number in 0..3 {
        fs::write(source.join(format!("blank-{number}.dcm")), with_window_outside(number)).unwrap();
    }
    for number in 0..5_u16 {
        let pixels: Vec<u16> = (0..40 * 30).map(|at| at * 3 + 8 * number).collect();
        fs::write(source.join(format!("faint-{number}.png")), encode_png_u16(&pixels, 40, 30).unwrap()).unwrap();
    }
    for number in 0..2_u8 {
        let mut file = fs::read(Path::new(FIXTURES).join("u8_no_window.dcm")).unwrap();
        let last = file.len() - 1;
        file[last] = 40 * number;
        let at = file.windows(4).position(|window| window == [0x08, 0, 0x60, 0]).unwrap();
        file.splice(at..at, *b"\x08\0\x68\0CS\x0e\0FOR PROCESSING");
        fs::write(source.join(format!("raw-{number}.dcm")), file).unwrap();
    }
    fs::copy(source.join("faint-0.png"), source.join("z-copy.png")).unwrap();
    fs::copy(source.join("raw-0.dcm"), source.join("z-copy.dcm")).unwrap();
}

fn remarked(count: usize, example: &str) -> Remarked {
    Remarked { count, example: example.to_owned() }
}

fn expected() -> Remarks {
    [
        (Remark::Blank, remarked(3, "blank-0.dcm")),
        (Remark::Faint, remarked(5, "faint-0.png")),
        (Remark::ForProcessing, remarked(2, "raw-0.dcm")),
    ]
    .into()
}

#[test]
fn remarks_are_counted_with_an_example_and_blank_images_are_not_copies_of_one_another() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("source"), dir.path().join("out"));
    fs::create_dir_all(&source).unwrap();
    write_remarkable(&source);
    let heard = Heard::default();
    let summary = run(&config(&source, &out), &heard).unwrap();
    assert_eq!(summary.remarks, Some(expected()));
    assert_eq!((summary.num_images, summary.num_duplicates), (14, 2));
    let heard = heard.0.into_inner().unwrap();
    let said = |text: &str| heard.iter().any(|sentence| sentence.contains(text));
    assert!(said("3 images, blank-0.dcm for one: blank"), "{heard:?}");
    assert!(said("5 images, faint-0.png for one: nearly black") && said("--stretch-plain-images"), "{heard:?}");
    let json = serde_json::to_value(&summary).unwrap();
    assert_eq!(json["remarks"]["for-processing"]["count"], 2);
    assert_eq!(json["remarks"]["blank"]["example"], "blank-0.dcm");
    let rows = rows(&out);
    let blank: Vec<_> = rows.iter().filter(|row| row.source_file.starts_with("blank")).collect();
    assert!(blank.iter().all(|row| row.perceptual_hash.is_none() && row.pixel_hash == blank[0].pixel_hash));
    assert_eq!(rows.iter().map(|row| &row.id).collect::<HashSet<_>>().len(), rows.len());

    // What the setting shows is neither blank nor faint.
    let out = dir.path().join("stretched");
    let summary = run(&PrepareConfig { stretch_plain_images: true, ..config(&source, &out) }, &Silent).unwrap();
    assert_eq!(summary.remarks.unwrap().keys().copied().collect::<Vec<_>>(), [Remark::ForProcessing]);
}

#[test]
fn remarks_are_counted_across_parts_and_for_what_is_added() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    fs::create_dir_all(&source).unwrap();
    write_remarkable(&source);
    let salt = dir.path().join("salt");
    fs::write(&salt, "a salt that is long enough").unwrap();
    let with = |name: &str| PrepareConfig { salt_file: Some(salt.clone()), ..config(&source, &dir.path().join(name)) };
    let whole = run(&with("whole"), &Silent).unwrap();
    for part in ["1/3", "2/3", "3/3"] {
        let out = format!("parts/{}", &part[..1]);
        run(&PrepareConfig { part: part.parse().ok(), ..with(&out) }, &Silent).unwrap();
    }
    let merge_config = MergeConfig { parts: vec![dir.path().join("parts")], out: dir.path().join("joined") };
    let joined = merge(&merge_config, &Silent).unwrap();
    assert_eq!((joined.remarks, joined.num_images), (whole.remarks, whole.num_images));
    for name in ["manifest.parquet", "dataset.toml"] {
        let [joined, whole] = ["joined", "whole"].map(|folder| fs::read(dir.path().join(folder).join(name)).unwrap());
        assert!(joined == whole, "{name}");
    }

    fs::write(source.join("zz-blank.dcm"), with_window_outside(77)).unwrap();
    let grown = run(&PrepareConfig { add: true, ..with("whole") }, &Silent).unwrap();
    assert_eq!(grown.remarks, Some([(Remark::Blank, remarked(1, "zz-blank.dcm"))].into()));
    assert_eq!(grown.num_images, whole.num_images + 1);
}

/// A mask drawn on the stored pixels, and one drawn on square ones, become the same.
#[test]
fn masks_follow_pixels_that_become_square() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    fs::create_dir_all(&source).unwrap();
    // Of 13 x 18 pixels, rows twice as far apart as columns: 26 x 18 square ones.
    let mut file = fs::read(Path::new(FIXTURES).join("u12_window.dcm")).unwrap();
    let at = file.windows(10).position(|window| window == b"0.143\\0.15").unwrap();
    file[at..at + 10].copy_from_slice(b"0.40\\0.20 ");
    fs::write(source.join("image.dcm"), file).unwrap();
    let mask = |name: &str, height: usize| {
        let pixels: Vec<u8> = (0..height * 36).map(|at| 255 * u8::from(at / 36 >= height / 2)).collect();
        write_png_u8(&source.join(name), &pixels, height, 36).unwrap();
    };
    mask("stored.png", 26);
    mask("square.png", 52);
    mask("wrong.png", 36);
    let made = |mask: &str| {
        let table = source.join(format!("{mask}.csv"));
        fs::write(&table, format!("path,lung_mask\nimage.dcm,{mask}\n")).unwrap();
        let out = dir.path().join(mask);
        let summary = run(&PrepareConfig { preset: "csv".into(), ..config(&table, &out) }, &Silent).unwrap();
        assert_eq!(summary.remarks, Some([(Remark::NotSquare, remarked(1, "image.dcm"))].into()));
        Dataset::open(&out).unwrap().mask(0).unwrap()
    };
    let (stored, square) = (made("stored.png").unwrap(), made("square.png").unwrap());
    assert_eq!(stored, square);
    assert!(stored[SIZE * SIZE / 4..SIZE * SIZE / 4 + SIZE].iter().all(|&pixel| pixel == 0));
    assert_eq!(made("wrong.png"), None);
}

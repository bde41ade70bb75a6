use std::collections::HashSet;
use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use dataset::{Dataset, ManifestRow, Split};
use radiograph::{Phantom, encode_png_u8, write_png_u8};

use super::ending::SKIPPED_FILE;
use super::*;
use crate::compare::Shared;
use messages::Silent;
use messages::Skipped;

mod corners;
mod growing;
mod parts;
mod remarks;
mod tables;

const SIZE: usize = 24;

/// A picture that differs with its number.
fn write_picture(path: &Path, number: usize, height: usize, width: usize) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let pixels: Vec<u8> = (0..height * width).map(|pixel| (pixel * 3 + number * 17) as u8).collect();
    write_png_u8(path, &pixels, height, width).unwrap();
}

/// Thirty pictures in two folders.
fn write_source(dir: &Path) {
    for number in 0..30 {
        let label = ["normal", "effusion"][number % 2];
        write_picture(&dir.join(format!("{label}/{number:02}.png")), number, 30 + number % 3, 40);
    }
}

/// A baseline JPEG of blocks of 8 x 8 pixels of one grey each, `columns` in a row: only constant coefficients, with a
/// quantisation of 8, so that they are the greys less 128.
pub(crate) fn jpeg_of_blocks(greys: &[u8], columns: usize) -> Vec<u8> {
    let mut bytes = vec![0xff, 0xd8, 0xff, 0xdb, 0, 67, 0];
    bytes.extend([8; 64]);
    let [height, width] = [greys.len() / columns * 8, columns * 8].map(|length| (length as u16).to_be_bytes());
    bytes.extend([0xff, 0xc0, 0, 11, 8, height[0], height[1], width[0], width[1], 1, 1, 0x11, 0]);
    // Constant coefficients: twelve symbols, the numbers of bits, of four bits each.
    bytes.extend([0xff, 0xc4, 0, 31, 0x00, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend(0..12);
    // The others: the end of the block alone, one bit.
    bytes.extend([0xff, 0xc4, 0, 20, 0x10, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    bytes.extend([0xff, 0xda, 0, 8, 1, 1, 0, 0, 63, 0]);
    let mut bits = String::new();
    let mut before = 128;
    for &grey in greys {
        let difference = i32::from(grey) - before;
        before = i32::from(grey);
        let length = 32 - difference.unsigned_abs().leading_zeros();
        let value = if difference < 0 { difference + (1 << length) - 1 } else { difference };
        bits += &format!("{length:04b}");
        if length > 0 {
            bits += &format!("{value:0width$b}", width = length as usize);
        }
        bits += "0";
    }
    bits += &"1".repeat((8 - bits.len() % 8) % 8);
    for at in (0..bits.len()).step_by(8) {
        let byte = u8::from_str_radix(&bits[at..at + 8], 2).unwrap();
        bytes.push(byte);
        if byte == 0xff {
            bytes.push(0);
        }
    }
    bytes.extend([0xff, 0xd9]);
    bytes
}

pub(super) fn config(source: &Path, out: &Path) -> PrepareConfig {
    PrepareConfig {
        sources: vec![source.to_path_buf()],
        image_size: SIZE,
        shard_size: 8,
        out: out.to_path_buf(),
        ..Default::default()
    }
}

pub(super) fn rows(dataset: &Path) -> Vec<ManifestRow> {
    Dataset::open(dataset).unwrap().rows().unwrap().collect::<Result<_, _>>().unwrap()
}

/// The rows without what depends on the salt.
fn unsalted(dataset: &Path) -> Vec<ManifestRow> {
    rows(dataset).into_iter().map(|row| ManifestRow { patient: String::new(), ..row }).collect()
}

fn error(config: &PrepareConfig) -> String {
    format!("{:#}", run(config, &Silent).unwrap_err())
}

#[test]
fn folders_become_a_dataset_and_bad_files_a_list() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("source"), dir.path().join("out"));
    write_source(&source);
    let png = encode_png_u8(&[7; 400], 20, 20).unwrap();
    fs::write(source.join("normal/cut.png"), &png[..png.len() / 2]).unwrap();
    fs::write(source.join("normal/empty.png"), b"").unwrap();
    fs::write(source.join("notes.txt"), "patients seen on Monday").unwrap();
    fs::write(source.join(".hidden"), "").unwrap();
    // Wrongly named, and read all the same; named like an image, and none.
    fs::write(source.join("normal/really-a-png.dcm"), &png).unwrap();
    fs::write(source.join("normal/really-text.jpeg"), "text").unwrap();
    fs::copy(source.join("normal/00.png"), source.join("normal/zz-copy.png")).unwrap();

    let summary = run(&config(&source, &out), &Silent).unwrap();
    let names: Vec<_> = summary.skipped.iter().map(|skipped| skipped.item.as_str()).collect();
    assert_eq!(
        names,
        ["normal/cut.png", "normal/empty.png", "normal/really-text.jpeg", "normal/zz-copy.png", "notes.txt"]
    );
    assert_eq!((summary.num_images, summary.num_duplicates, summary.num_continued), (31, 1, 0));
    assert!(summary.skipped[1].reason.contains("empty"), "{:?}", summary.skipped);
    let listed = fs::read_to_string(summary.skipped_file.unwrap()).unwrap();
    assert_eq!(listed.lines().count(), 5);
    assert_eq!(serde_json::from_str::<Skipped>(listed.lines().last().unwrap()).unwrap(), summary.skipped[4]);

    let dataset = Dataset::open(&out).unwrap();
    assert!(dataset.verify().is_empty());
    assert_eq!(dataset.info().labels, ["effusion", "normal"]);
    let rows = rows(&out);
    assert_eq!(rows[0].source_file, "effusion/01.png");
    assert_eq!(rows[0].labels, ["effusion"]);
    let options = radiograph::DecodeOptions::default();
    let picture = radiograph::decode_file(source.join("effusion/01.png"), &options).unwrap();
    assert_eq!(dataset.image(0).unwrap(), radiograph::fit_square(&picture, SIZE, radiograph::Fit::Pad));
    // Each is the only image of its patient, so their hashes differ.
    assert_eq!(rows.iter().map(|row| &row.patient).collect::<HashSet<_>>().len(), 31);
}

/// Stops the process, as far as a test can, after some batches.
pub(super) struct KillAfter(pub(super) AtomicUsize);

impl Progress for KillAfter {
    fn begin(&self, _task: &str, _total: u64, _unit: &str) {}
    fn advance(&self, _amount: u64, _note: &str) {
        assert!(self.0.fetch_sub(1, Ordering::SeqCst) > 1, "killed");
    }
    fn end(&self) {}
    fn say(&self, _sentence: &str) {}
}

#[test]
fn a_killed_preparation_continues_to_the_same_dataset() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out, undisturbed) =
        (dir.path().join("source"), dir.path().join("out"), dir.path().join("undisturbed"));
    for number in 0..600 {
        // Every seventh picture is the same as the one before.
        write_picture(
            &source.join(format!("{number:03}.png")),
            number - usize::from(number % 7 == 6),
            9,
            8 + number / 200,
        );
    }
    fs::write(source.join("100-bad.png"), "bad").unwrap();
    let salt = dir.path().join("salt");
    fs::write(&salt, "a salt that is long enough").unwrap();
    let with_salt = |out: &Path| PrepareConfig { salt_file: Some(salt.clone()), ..config(&source, out) };
    let expected = run(&with_salt(&undisturbed), &Silent).unwrap();

    for batches in [1, 2] {
        let killed = std::panic::catch_unwind(|| run(&with_salt(&out), &KillAfter(AtomicUsize::new(batches))));
        assert!(killed.is_err());
    }
    assert!(Dataset::open(&out).unwrap_err().to_string().contains("unfinished"));
    let summary = run(&with_salt(&out), &Silent).unwrap();
    assert!(summary.num_continued > 0 && summary.num_continued < summary.num_images, "{}", summary.num_continued);
    assert_eq!(summary.skipped, expected.skipped);
    for file in ["manifest.parquet", "dataset.toml", "images-00003.safetensors", SKIPPED_FILE] {
        assert_eq!(fs::read(out.join(file)).unwrap(), fs::read(undisturbed.join(file)).unwrap(), "{file}");
    }

    // Killed when all was done but for tidying up.
    fs::create_dir(out.join("partial")).unwrap();
    fs::write(out.join("partial/rows-00001.parquet"), "").unwrap();
    let again = run(&with_salt(&out), &Silent).unwrap();
    assert!(!out.join("partial").exists());
    assert_eq!(again.num_continued, again.num_images);
    assert_eq!((again.images_per_sec, again.skipped), (None, expected.skipped));
    let other = PrepareConfig { fit: Fit::CentreCrop, ..with_salt(&out) };
    assert!(error(&other).contains("prepared with other settings"), "{}", error(&other));
}

#[test]
fn tables_give_patients_splits_labels_and_masks() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    let out = dir.path().join("out");
    let phantom = Phantom::from_seed(0, 1).render(32);
    let mask: Vec<u8> = phantom.lungs().pixels.iter().map(|&pixel| pixel * 255).collect();
    for number in 0..6 {
        write_picture(&source.join(format!("images/{number}.png")), number, 32, 32);
    }
    fs::create_dir(source.join("masks")).unwrap();
    write_png_u8(&source.join("masks/0.png"), &mask, 32, 32).unwrap();
    write_png_u8(&source.join("masks/1.png"), &mask[..512], 16, 32).unwrap();
    let table = "image,patient,view,labels,split,lung_mask,source,licence\n\
                 images/0.png,p1,pa,a|b,train,masks/0.png,drawn,CC0\n\
                 images/1.png,p1,PA,a;c,,masks/1.png,drawn,CC0\n\
                 images/2.png,p2,,,val,,drawn,CC0\n\
                 ,p2,,,val,,drawn,CC0\n\
                 images/none.png,p2,,,val,,drawn,CC0\n\
                 images/3.png,p3,,,,,drawn,CC0\n\
                 images/4.png,p3,,,,,drawn,CC0\n\
                 images/5.png,,,,,masks/none.png,drawn,CC0\n";
    fs::write(source.join("manifest.csv"), table).unwrap();
    let config = PrepareConfig { preset: "csv".into(), ..config(&source, &out) };
    let summary = run(&config, &Silent).unwrap();
    let skipped: Vec<_> = summary.skipped.iter().map(|skipped| skipped.reason.as_str()).collect();
    assert_eq!(summary.num_images, 6);
    assert_eq!(skipped.len(), 4, "{skipped:?}");
    assert!(skipped.iter().any(|reason| reason.contains("32 x 16 does not fit the image's 32 x 32")), "{skipped:?}");
    assert!(skipped.iter().any(|reason| reason.contains("the mask of images/5.png is left out")), "{skipped:?}");
    assert!(skipped.iter().any(|reason| reason.contains("the row names no image file")), "{skipped:?}");

    let rows = rows(&out);
    assert_eq!(rows[0].labels, ["a", "b"]);
    assert_eq!(rows[0].view.as_deref(), Some("PA"));
    assert_eq!((rows[0].collection.as_deref(), rows[0].licence.as_deref()), (Some("drawn"), Some("CC0")));
    assert_eq!(rows.iter().map(|row| row.mask).collect::<Vec<_>>(), [true, false, false, false, false, false]);
    // A patient with a given split keeps it for images that have none.
    assert_eq!((rows[0].split, rows[1].split, rows[2].split), (Split::Train, Split::Train, Split::Val));
    assert_eq!(rows[3].split, SplitPlan::default().assign("p3"));
    assert_eq!(rows[3].patient, rows[4].patient);
    assert_ne!(rows[3].patient, rows[0].patient);
    let manifest = fs::read(out.join("manifest.parquet")).unwrap();
    assert!(!manifest.windows(2).any(|window| window == b"p3"), "an identifier is in the manifest");

    let dataset = Dataset::open(&out).unwrap();
    let expected = radiograph::fit_square_mask(&phantom.lungs(), SIZE, radiograph::Fit::Pad);
    assert_eq!(dataset.mask(0).unwrap().unwrap(), expected);
    assert_eq!(dataset.mask(1).unwrap(), None);
}

#[test]
fn given_splits_that_leak_are_an_error_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("list.csv"), dir.path().join("out"));
    fs::write(&source, "path,patient,split\n1.png,Doe,train\n2.png,Doe,val\n").unwrap();
    let config = PrepareConfig { preset: "csv".into(), ..config(&source, &out) };
    let error = error(&config);
    assert!(error.contains("2.png is in val, another image of the same patient in train"), "{error}");
    assert!(!error.contains("Doe"), "{error}");
    assert!(!out.exists());
}

#[test]
fn splits_do_not_depend_on_salt_order_or_company() {
    let dir = tempfile::tempdir().unwrap();
    let (all, few) = (dir.path().join("all"), dir.path().join("few"));
    write_source(&all);
    for number in [4, 8, 21] {
        let label = ["normal", "effusion"][number % 2];
        let from = all.join(format!("{label}/{number:02}.png"));
        fs::create_dir_all(&few).unwrap();
        fs::copy(from, few.join(format!("renamed-{number}.png"))).unwrap();
    }
    let outs = [dir.path().join("a"), dir.path().join("b")];
    run(&config(&all, &outs[0]), &Silent).unwrap();
    run(&config(&few, &outs[1]), &Silent).unwrap();
    let splits: std::collections::HashMap<_, _> =
        rows(&outs[0]).into_iter().map(|row| (row.pixel_hash, (row.split, row.patient))).collect();
    for row in rows(&outs[1]) {
        let (split, patient) = &splits[&row.pixel_hash];
        assert_eq!(row.split, *split);
        assert_ne!(row.patient, *patient, "two datasets with salts of their own cannot be linked");
    }
}

#[test]
fn several_sources_keep_their_names_apart_and_the_output_is_not_a_source() {
    let dir = tempfile::tempdir().unwrap();
    let [a, b] = ["x/images", "y/images"].map(|name| dir.path().join(name));
    write_picture(&a.join("1.png"), 1, 9, 9);
    write_picture(&b.join("1.png"), 2, 9, 9);
    let single = dir.path().join("single.png");
    write_picture(&single, 3, 9, 9);
    let out = a.join("dataset");
    let config = PrepareConfig { sources: vec![a.clone(), b, single], ..config(&a, &out) };
    assert_eq!(run(&config, &Silent).unwrap().skipped, []);
    let names: Vec<_> = rows(&out).into_iter().map(|row| row.source_file).collect();
    assert_eq!(names, ["1-images/1.png", "2-images/1.png", "3-single.png/single.png"]);
}

#[test]
fn duplicates_may_be_kept() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("source"), dir.path().join("out"));
    write_picture(&source.join("1.png"), 1, 9, 9);
    write_picture(&source.join("2.png"), 1, 9, 9);
    let summary = run(&PrepareConfig { deduplicate: false, ..config(&source, &out) }, &Silent).unwrap();
    assert_eq!((summary.num_images, summary.num_duplicates), (2, 0));
    let rows = unsalted(&out);
    assert_ne!(rows[0].id, rows[1].id);
    assert_eq!(rows[0].split, rows[1].split);
}

/// Remembers what was said.
#[derive(Default)]
struct Said(std::sync::Mutex<Vec<String>>);

impl Progress for Said {
    fn begin(&self, _task: &str, _total: u64, _unit: &str) {}
    fn advance(&self, _amount: u64, _note: &str) {}
    fn end(&self) {}
    fn say(&self, sentence: &str) {
        self.0.lock().unwrap().push(sentence.to_owned());
    }
}

/// A drawn chest, and a copy of it that is a little darker.
fn write_pair(paths: [PathBuf; 2], number: u64) {
    let pixels = Phantom::from_seed(5, number).render(64).radiograph.pixels;
    for (path, factor) in paths.iter().zip([1.0, 0.95]) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let pixels: Vec<f32> = pixels.iter().map(|pixel| pixel * factor).collect();
        write_png_u8(path, &radiograph::to_u8(&pixels), 64, 64).unwrap();
    }
}

#[test]
fn images_that_look_alike_are_drawn_to_one_side() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    for number in 0..40 {
        write_pair(["", "-copy"].map(|end| source.join(format!("{number:02}{end}.png"))), number);
    }
    let split = SplitPlan { train: 0.4, val: 0.3, test: 0.3, seed: 0 };
    let with = |name: &str, join_near_duplicates| {
        let out = dir.path().join(name);
        let said = Said::default();
        let config = PrepareConfig { split, join_near_duplicates, ..config(&source, &out) };
        (run(&config, &said).unwrap(), unsalted(&out), said.0.into_inner().unwrap(), config)
    };
    let (summary, joined, said, config) = with("joined", true);
    assert_eq!(summary.near_across_splits, Shared::default());
    let num_moved = summary.num_moved_patients.unwrap();
    assert!(said.iter().any(|sentence| sentence.contains(&format!(": {num_moved} of them went"))), "{said:?}");

    // Without it, each image is drawn on its own, and what was moved is what lay across the split.
    let (apart, drawn, said, _) = with("apart", false);
    assert!(apart.near_across_splits.count >= 5, "{:?}", apart.near_across_splits);
    assert_eq!(apart.num_moved_patients, Some(0));
    assert!(said[0].starts_with(&format!("{} images look like one in", apart.near_across_splits.count)), "{said:?}");
    let moved = joined.iter().zip(&drawn).filter(|(joined, drawn)| joined.split != drawn.split);
    assert_eq!(moved.count(), num_moved);
    let (pairs, rest) = joined.as_chunks::<2>();
    assert_eq!((pairs.len(), rest.len()), (40, 0));
    assert!(pairs.iter().all(|[copy, original]| copy.split == original.split));

    // Another salt moves the same patients.
    assert_eq!(with("another salt", true).1, joined);
    let again = run(&config, &Silent).unwrap();
    assert_eq!((again.num_moved_patients, again.near_across_splits), (None, Shared::default()));
    let other = PrepareConfig { join_near_duplicates: false, ..config };
    assert!(error(&other).contains("prepared with other settings"), "{}", error(&other));
}

#[test]
fn given_splits_stay_near_duplicates_or_not_and_are_reported() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("source"), dir.path().join("out"));
    // A pair across given splits, and twenty of which one has a given split.
    write_pair(["train/a.png", "test/a.png"].map(|name| source.join(name)), 0);
    for number in 1..=20 {
        write_pair(["val/", "drawn/"].map(|folder| source.join(format!("{folder}{number:02}.png"))), number);
    }
    let said = Said::default();
    let summary = run(&config(&source, &out), &said).unwrap();
    let rows = rows(&out);
    let of = |name: &str| rows.iter().find(|row| row.source_file == name).unwrap();
    assert_eq!((of("train/a.png").split, of("test/a.png").split), (Split::Train, Split::Test));
    assert!((1..=20).all(|number| of(&format!("drawn/{number:02}.png")).split == Split::Val));
    assert!(summary.num_moved_patients.unwrap() >= 10, "{:?}", summary.num_moved_patients);

    assert_eq!(summary.near_across_splits.count, 1, "{:?}", summary.near_across_splits);
    let example = &summary.near_across_splits.examples[0];
    assert!(["train/a.png", "test/a.png"].iter().all(|name| example.contains(&of(name).id)), "{example}");
    let said = said.0.into_inner().unwrap();
    assert!(said.last().unwrap().ends_with(example), "{said:?}");
    // The remedy that the sentence names.
    let list = dir.path().join("exclude.csv");
    fs::write(&list, format!("pixel_hash\n{}\n", of("train/a.png").id)).unwrap();
    let without = PrepareConfig { exclude: Some(list), ..config(&source, &dir.path().join("without")) };
    assert_eq!(run(&without, &Silent).unwrap().near_across_splits, Shared::default());
}

#[test]
fn what_cannot_be_done_is_a_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("source"), dir.path().join("out"));
    let base = config(&source, &out);
    assert!(error(&base).starts_with("the source cannot be read, check the path"), "{}", error(&base));
    fs::create_dir(&source).unwrap();
    assert!(error(&base).contains("hold no images"), "{}", error(&base));
    fs::write(source.join("a.png"), "x").unwrap();
    assert!(error(&base).contains("none of the 1 files can be used; the first: a.png: "), "{}", error(&base));
    assert!(error(&PrepareConfig { image_size: 0, ..base.clone() }).contains("between 8 and 4096"));
    assert!(error(&PrepareConfig { preset: "nih".into(), ..base.clone() }).contains("no preset \"nih\""));
    assert!(error(&PrepareConfig { sources: vec![], ..base.clone() }).contains("nothing to prepare"));
    let split = SplitPlan { train: 0.9, val: 0.2, test: 0.1, seed: 0 };
    assert!(error(&PrepareConfig { split, ..base.clone() }).contains("0.9 / 0.2 / 0.1"));

    // A failed try does not stand in the way of a better one with other settings.
    write_picture(&source.join("b.png"), 1, 9, 9);
    let better = PrepareConfig { fit: Fit::Stretch, ..base.clone() };
    assert_eq!(run(&better, &Silent).unwrap().num_images, 1);

    let foreign = dir.path().join("thesis");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("chapter-1.tex"), "").unwrap();
    let occupied = PrepareConfig { out: foreign.clone(), ..base };
    assert!(error(&occupied).contains("holds other files"), "{}", error(&occupied));
    assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1);
}

#[test]
fn settings_with_a_typo_are_refused() {
    let text = "sources = ['a']\nout = 'b'\nimage_sise = 3\n";
    let error = toml::from_str::<PrepareConfig>(text).unwrap_err().to_string();
    assert!(error.contains("image_sise"), "{error}");
    let read: PrepareConfig = toml::from_str("fit = 'centre-crop'\n[csv]\nlabels = ['a']\n").unwrap();
    assert_eq!((read.fit, read.image_size), (Fit::CentreCrop, 256));
}

#[test]
fn spacings_are_those_of_the_stored_image() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("source"), dir.path().join("out"));
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../radiograph/tests/golden/dicom/u12_window.dcm");
    fs::create_dir_all(&source).unwrap();
    fs::copy(fixture, source.join("a.dcm")).unwrap();
    write_picture(&source.join("b.png"), 1, 30, 40);
    // 13 x 18 pixels of 0.143 x 0.15 mm: the longer side fills the 24 pixels, the other one round(13 * 24 / 18) = 17.
    for (fit, expected) in [
        (Fit::Pad, [0.143 * 13.0 / 17.0, 0.15 * 18.0 / 24.0]),
        (Fit::CentreCrop, [0.143 * 13.0 / 24.0, 0.15 * 13.0 / 24.0]),
        (Fit::Stretch, [0.143 * 13.0 / 24.0, 0.15 * 18.0 / 24.0]),
    ] {
        let out = out.join(format!("{fit:?}"));
        run(&PrepareConfig { fit, ..config(&source, &out) }, &Silent).unwrap();
        let rows = rows(&out);
        let found = rows[0].pixel_spacing_mm.unwrap();
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{fit:?}: {found:?}, not {expected:?}");
        assert_eq!(rows[1].pixel_spacing_mm, None);
        assert!(rows.iter().all(|row| row.perceptual_hash.is_some()));
    }
}

//! Parts and what is made of them: the bytes of a single run.

use std::collections::BTreeMap;

use super::corners::{INNER, LEFT, TOP, framed};
use super::*;

const FIXTURES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../radiograph/tests/golden/dicom");

/// All files of a dataset by their names.
fn contents(dataset: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(dataset).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    entries.map(|path| (name(&path), fs::read(&path).unwrap())).collect()
}

fn assert_same(joined: &Path, whole: &Path) {
    let (joined, whole) = (contents(joined), contents(whole));
    assert_eq!(joined.keys().collect::<Vec<_>>(), whole.keys().collect::<Vec<_>>());
    for (name, bytes) in &whole {
        assert!(joined[name] == *bytes, "{name} differs");
    }
}

/// Folders with labels and given splits, near duplicates within and across them, equal pixels, DICOM, and files that are
/// no images.
fn write_mixed_source(source: &Path) {
    write_source(source);
    for number in 0..20 {
        let folders = [["plain", "darker"], ["plain", "test/darker"], ["train/a", "b"]][number % 3];
        write_pair(folders.map(|folder| source.join(format!("{folder}/{number:02}.png"))), number as u64);
    }
    for number in 0..10 {
        let from = source.join(format!("{}/{number:02}.png", ["normal", "effusion"][number % 2]));
        fs::copy(from, source.join(format!("plain/copy-{number}.png"))).unwrap();
    }
    for name in ["u12_window.dcm", "implicit.dcm", "deflated.dcm"] {
        fs::copy(Path::new(FIXTURES).join(name), source.join(name)).unwrap();
    }
    for number in 0..5 {
        fs::write(source.join(format!("normal/bad-{number}.png")), "none").unwrap();
    }
}

/// A source with the salt that all parts share.
struct Base {
    dir: tempfile::TempDir,
    config: PrepareConfig,
}

impl Base {
    fn new(write: impl Fn(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("source");
        write(&source);
        let salt = dir.path().join("salt");
        fs::write(&salt, "a salt that is long enough").unwrap();
        let config = PrepareConfig { salt_file: Some(salt), ..config(&source, Path::new("")) };
        Self { dir, config }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn prepare(&self, name: &str, change: impl Fn(PrepareConfig) -> PrepareConfig) -> PrepareSummary {
        run(&change(PrepareConfig { out: self.path(name), ..self.config.clone() }), &Silent).unwrap()
    }

    /// The folder `name` with all parts.
    fn prepare_parts(&self, name: &str, of: usize, change: impl Fn(PrepareConfig) -> PrepareConfig) {
        for number in 1..=of {
            let part = format!("{number}/{of}").parse().ok();
            self.prepare(&format!("{name}/{number}"), |config| PrepareConfig { part, ..change(config) });
        }
    }

    fn merge(&self, parts: &[&str], out: &str) -> Result<PrepareSummary> {
        let parts = parts.iter().map(|part| self.path(part)).collect();
        merge(&MergeConfig { parts, out: self.path(out) }, &Silent)
    }

    fn merge_error(&self, parts: &[&str]) -> String {
        format!("{:#}", self.merge(parts, "refused").unwrap_err())
    }
}

#[test]
fn parts_join_to_the_bytes_of_a_single_run() {
    let base = Base::new(write_mixed_source);
    let whole = base.prepare("whole", |config| config);
    assert!(whole.num_duplicates >= 10 && whole.skipped.len() >= 15, "{:?}", whole.skipped);
    assert!(whole.num_moved_patients.unwrap() > 0 && whole.num_images > 60);
    // With 40 parts, some have no image at all.
    for of in [1, 3, 40] {
        let (parts, joined) = (format!("parts-{of}"), format!("joined-{of}"));
        base.prepare_parts(&parts, of, |config| config);
        let summary = base.merge(&[&parts], &joined).unwrap();
        assert_same(&base.path(&joined), &base.path("whole"));
        assert_eq!((summary.num_images, summary.num_duplicates), (whole.num_images, whole.num_duplicates));
        assert_eq!(summary.num_moved_patients, whole.num_moved_patients);
        assert_eq!(summary.skipped, whole.skipped);
        assert_eq!(summary.near_across_splits, whole.near_across_splits);
    }
    let again = base.merge(&["parts-3/3", "parts-3/1", "parts-3/2"], "joined-3").unwrap();
    assert_eq!((again.num_continued, again.skipped), (whole.num_images, whole.skipped));

    // The joined dataset grows like any other.
    write_picture(&base.config.sources[0].join("aaa.png"), 77, 33, 35);
    for name in ["whole", "joined-3"] {
        let grown = base.prepare(name, |config| PrepareConfig { add: true, ..config });
        assert_eq!((grown.num_images, grown.num_continued), (whole.num_images + 1, whole.num_images));
    }
    assert_same(&base.path("joined-3"), &base.path("whole"));
}

#[test]
fn settings_that_decide_between_images_hold_across_parts() {
    let base = Base::new(write_mixed_source);
    let changes: [fn(PrepareConfig) -> PrepareConfig; 3] = [
        |config| PrepareConfig { deduplicate: false, ..config },
        |config| PrepareConfig { join_near_duplicates: false, ..config },
        |config| PrepareConfig { max_per_collection: Some(31), ..config },
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let [whole, parts, joined] = ["whole", "parts", "joined"].map(|name| format!("{name}-{number}"));
        base.prepare(&whole, change);
        base.prepare_parts(&parts, 4, change);
        base.merge(&[&parts], &joined).unwrap();
        assert_same(&base.path(&joined), &base.path(&whole));
    }
}

/// A table with patients of several images, masks, given splits, images to leave out, and a file that is named twice.
fn write_table(source: &Path) {
    let mut table = "image,patient,view,labels,split,lung_mask\n".to_owned();
    for number in 0..50 {
        write_picture(&source.join(format!("{number}.png")), number - usize::from(number % 3 == 1), 32, 32);
        let split = ["", "", "train", "val", ""][number / 3 % 5];
        let mask = match number % 5 {
            0 => format!("mask-{number}.png"),
            1 => "missing.png".to_owned(),
            _ => String::new(),
        };
        write_picture(&source.join(format!("mask-{number}.png")), number, 32, 32);
        table += &format!("{number}.png,p{},pa,a,{split},{mask}\n", number / 3);
        if number % 11 == 3 {
            table += &format!("{number}.png,p{},pa,a,{split},{mask}\n", number / 3);
        }
    }
    fs::write(source.join("manifest.csv"), table + "none.png,p1,pa,a,,\n").unwrap();
}

#[test]
fn tables_with_masks_patients_and_exclusions_join_to_the_same_bytes() {
    let base = Base::new(write_table);
    let list = base.path("exclude.csv");
    fs::write(&list, "patient\np4\np9\n").unwrap();
    for deduplicate in [true, false] {
        let change =
            |config| PrepareConfig { preset: "csv".into(), exclude: Some(list.clone()), deduplicate, ..config };
        let [whole, parts, joined] = ["whole", "parts", "joined"].map(|name| format!("{name}-{deduplicate}"));
        let summary = base.prepare(&whole, change);
        // Rows of one image are one image.
        assert!(summary.num_masks > 0 && summary.num_excluded == 6, "{summary:?}");
        assert!(summary.skipped.iter().any(|skipped| skipped.reason.contains("the mask of")), "{:?}", summary.skipped);
        base.prepare_parts(&parts, 3, change);
        assert_eq!(base.merge(&[&parts], &joined).unwrap().num_excluded, summary.num_excluded);
        assert_same(&base.path(&joined), &base.path(&whole));

        // What is wrong with masks, and what is named twice, is said again by a run that continues.
        let continued = base.path("continued");
        let killed = std::panic::catch_unwind(|| {
            let config = change(PrepareConfig { out: continued.clone(), ..base.config.clone() });
            run(&config, &KillAfter(AtomicUsize::new(1)))
        });
        assert!(killed.is_err());
        assert!(base.prepare("continued", change).num_continued > 0);
        assert_same(&continued, &base.path(&whole));
        fs::remove_dir_all(continued).unwrap();
    }
}

#[test]
fn parts_and_their_joining_continue_after_a_kill() {
    let base = Base::new(|source| {
        for number in 0..700 {
            write_picture(
                &source.join(format!("{number:03}.png")),
                number - usize::from(number % 9 == 8),
                9,
                8 + number / 250,
            );
        }
    });
    base.prepare("whole", |config| config);
    let killed = |work: &(dyn Fn(&dyn Progress) -> Result<PrepareSummary> + std::panic::RefUnwindSafe), after| {
        assert!(std::panic::catch_unwind(|| work(&KillAfter(AtomicUsize::new(after)))).is_err());
    };
    let part = PrepareConfig { part: "1/2".parse().ok(), out: base.path("parts/1"), ..base.config.clone() };
    for after in [1, 1] {
        killed(&|progress| run(&part, progress), after);
    }
    let error = base.merge_error(&["parts"]);
    assert!(error.contains("continues unfinished ones") && error.contains("unfinished"), "{error}");
    base.prepare_parts("parts", 2, |config| config);
    let config = MergeConfig { parts: vec![base.path("parts")], out: base.path("joined") };
    for after in [1, 3] {
        killed(&|progress| merge(&config, progress), after);
    }
    let summary = merge(&config, &Silent).unwrap();
    assert!((1..summary.num_images).contains(&summary.num_continued), "{}", summary.num_continued);
    assert_same(&base.path("joined"), &base.path("whole"));
}

/// Forty pictures with a marker, every third with a border too, and copies of ten of them in other parts.
fn write_framed(source: &Path) {
    fs::create_dir_all(source).unwrap();
    let framed = framed();
    for number in 0..40 {
        let mut picture = if number % 3 == 0 { framed.clone() } else { framed.cropped([TOP, LEFT, INNER, INNER]) };
        let last = picture.pixels.len() - 1;
        picture.pixels[last - number] = 0.5 + picture.pixels[last - number] / 4.0;
        let path = source.join(format!("{number:02}.png"));
        write_png_u8(&path, &radiograph::to_u8(&picture.pixels), picture.height, picture.width).unwrap();
        if number < 10 {
            fs::copy(path, source.join(format!("copy-{number}.png"))).unwrap();
        }
    }
}

#[test]
fn what_was_cropped_and_painted_over_is_counted_across_parts() {
    let base = Base::new(write_framed);
    let counts = |summary: &PrepareSummary| (summary.num_cropped, summary.num_text_masked);
    let both = |config| PrepareConfig { crop_borders: true, mask_corner_text: true, ..config };
    let whole = base.prepare("whole", both);
    assert_eq!((counts(&whole), whole.num_duplicates), ((Some(14), Some(40)), 10));
    base.prepare_parts("parts", 3, both);
    // Images that two parts have count once.
    let joined = base.merge(&["parts"], "joined").unwrap();
    assert_eq!(counts(&joined), counts(&whole));
    assert_same(&base.path("joined"), &base.path("whole"));

    let crop = |config| PrepareConfig { crop_borders: true, ..config };
    base.prepare_parts("cropped", 2, crop);
    assert_eq!(counts(&base.merge(&["cropped"], "joined-cropped").unwrap()), (Some(14), None));
    base.prepare_parts("as-they-are", 2, |config| config);
    assert_eq!(counts(&base.merge(&["as-they-are"], "joined-as-they-are").unwrap()), (None, None));

    // A part that was continued does not know about what an earlier session wrote.
    let part = crop(PrepareConfig { part: "1/2".parse().ok(), out: base.path("continued/1"), ..base.config.clone() });
    assert!(std::panic::catch_unwind(|| run(&part, &KillAfter(AtomicUsize::new(1)))).is_err());
    assert!(run(&part, &Silent).unwrap().num_continued > 0);
    base.prepare("continued/2", |config| PrepareConfig { part: "2/2".parse().ok(), ..crop(config) });
    assert_eq!(counts(&base.merge(&["continued"], "joined-continued").unwrap()), (None, None));
    assert_same(&base.path("joined-continued"), &base.path("joined-cropped"));
}

#[test]
fn parts_that_do_not_belong_together_are_refused() {
    let base = Base::new(write_source);
    base.prepare_parts("parts", 3, |config| config);
    base.prepare("whole", |config| config);
    let with = |name: &str, part: &str, change: fn(PrepareConfig) -> PrepareConfig| {
        let part = part.parse().ok();
        base.prepare(name, |config| PrepareConfig { part, ..change(config) });
    };
    let error = base.merge_error(&["parts/1", "parts/3"]);
    assert!(error.starts_with("1 of 3 parts are missing: 2/3; prepare them"), "{error}");
    assert!(base.merge_error(&["parts", "parts/2"]).starts_with("part 2/3 is there twice"));
    assert!(base.merge_error(&["whole"]).contains("a whole dataset and no part"));
    assert!(base.merge_error(&["source"]).contains("neither is a part nor holds any"));
    with("quarter", "2/4", |config| config);
    assert!(
        base.merge_error(&["parts", "quarter"]).contains("is 1/3, another 2/4"),
        "{}",
        base.merge_error(&["parts", "quarter"])
    );

    with("larger", "2/3", |config| PrepareConfig { image_size: 32, ..config });
    let error = base.merge_error(&["parts/1", "larger", "parts/3"]);
    assert!(error.starts_with("part 2/3 differs from part 1/3: image_size is 32, not 24; prepare"), "{error}");
    let path = base.path("larger").display().to_string();
    assert!(error.ends_with(&path), "{error}");
    let salt = base.path("salt");
    fs::write(&salt, "another salt that is long enough").unwrap();
    with("salted", "2/3", |config| config);
    fs::write(&salt, "a salt that is long enough").unwrap();
    let error = base.merge_error(&["parts/1", "salted", "parts/3"]);
    assert!(error.contains("in the key of patient hashes; give the same `--salt-file`"), "{error}");

    let record = base.path("parts/3/part.json");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace(env!("CARGO_PKG_VERSION"), "0.0.0-old")).unwrap();
    let error = base.merge_error(&["parts"]);
    assert!(error.contains("part 3/3 differs") && error.contains("release 0.0.0-old"), "{error}");
    fs::write(&record, &text[..text.len() / 2]).unwrap();
    assert!(base.merge_error(&["parts"]).contains("the file is damaged; prepare this part again"));
    fs::write(&record, text).unwrap();

    write_picture(&base.config.sources[0].join("late.png"), 99, 31, 40);
    with("late", "2/3", |config| config);
    let error = base.merge_error(&["parts/1", "late", "parts/3"]);
    assert!(error.contains("in the sources it saw (31 and 30 files and rows)"), "{error}");
    assert!(!base.path("refused").exists());
    base.merge(&["parts"], "joined").unwrap();
    with("joined-otherwise", "1/1", |config| PrepareConfig { fit: Fit::Stretch, ..config });
    let error = format!("{:#}", base.merge(&["joined-otherwise"], "joined").unwrap_err());
    assert!(error.contains("prepared with other settings (preparation.fit"), "{error}");
}

#[test]
fn parts_without_a_common_key_are_refused_before_anything_is_written() {
    let base = Base::new(write_source);
    let config = PrepareConfig { part: "1/2".parse().ok(), salt_file: None, out: base.path("x"), ..base.config };
    assert!(error(&config).contains("give it to every part by `--salt-file`"), "{}", error(&config));
    assert!(!config.out.exists());
}

#[test]
fn a_part_whose_sources_change_between_sessions_is_refused() {
    let base = Base::new(|source| {
        for number in 0..600 {
            write_picture(&source.join(format!("{number:03}.png")), number, 9, 8 + number / 250);
        }
    });
    let config = PrepareConfig { part: "1/1".parse().ok(), out: base.path("part"), ..base.config.clone() };
    assert!(std::panic::catch_unwind(|| run(&config, &KillAfter(AtomicUsize::new(2)))).is_err());
    write_picture(&base.config.sources[0].join("000-early.png"), 9, 9, 17);
    assert!(error(&config).contains("sources have changed since this part was begun"), "{}", error(&config));
    fs::remove_file(base.config.sources[0].join("000-early.png")).unwrap();
    fs::remove_file(base.config.sources[0].join("001.png")).unwrap();
    assert!(error(&config).contains("sources have changed since this part was begun"), "{}", error(&config));
}

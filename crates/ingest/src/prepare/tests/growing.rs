//! Finished datasets to which images are added.

use super::*;

/// Chests by their numbers, each with a darker copy.
fn write_chests(source: &Path, numbers: std::ops::Range<u64>) {
    for number in numbers {
        write_pair(["", "-copy"].map(|end| source.join(format!("{number:03}{end}.png"))), number);
    }
}

fn shard(dataset: &Path, number: usize) -> Vec<u8> {
    fs::read(dataset.join(format!("images-{number:05}.safetensors"))).unwrap()
}

#[test]
fn new_images_come_after_the_old_ones_which_stay_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("source"), dir.path().join("out"));
    write_chests(&source, 0..30);
    fs::copy(source.join("004.png"), source.join("zz-same.png")).unwrap();
    fs::write(source.join("005-bad.png"), "none").unwrap();
    let split = SplitPlan { train: 0.4, val: 0.3, test: 0.3, seed: 0 };
    let config = PrepareConfig { split, ..config(&source, &out) };
    let add = PrepareConfig { add: true, ..config.clone() };
    // On a folder without a dataset, it prepares.
    let first = run(&add, &Silent).unwrap();
    let (old, old_shard) = (rows(&out), shard(&out, 6));
    let before = fs::read(out.join("dataset.toml")).unwrap();
    let unchanged = run(&add, &Silent).unwrap();
    assert_eq!((unchanged.num_continued, unchanged.images_per_sec, &unchanged.skipped), (60, None, &first.skipped));
    assert_eq!(fs::read(out.join("dataset.toml")).unwrap(), before);

    // New: darker copies of old ones, which must follow them; copies with the same pixels; and others.
    write_chests(&source.join("2026"), 25..40);
    for number in 0..20 {
        let pixels: Vec<f32> =
            Phantom::from_seed(5, number).render(64).radiograph.pixels.iter().map(|p| p * 0.9).collect();
        let path = source.join(format!("2026/darker-{number:03}.png"));
        write_png_u8(&path, &radiograph::to_u8(&pixels), 64, 64).unwrap();
    }
    // An old file that is gone leaves its image behind.
    fs::remove_file(source.join("008.png")).unwrap();
    assert_eq!(run(&config, &Silent).unwrap().num_images, 60, "only when asked");
    let grown = run(&add, &Silent).unwrap();
    let rows = rows(&out);
    assert_eq!((grown.num_images, grown.num_continued, grown.num_duplicates), (100, 60, 11));
    assert_eq!(rows[..60], old);
    assert!(rows[60..].iter().all(|row| row.source_file.starts_with("2026/")));
    assert_eq!(grown.near_across_splits, Shared::default());
    let moved = rows[60..].iter().filter(|row| row.split != split.assign(&format!("image {}", row.pixel_hash)));
    assert_eq!(Some(moved.count()), grown.num_moved_patients);
    assert!(grown.num_moved_patients > Some(3), "{:?}", grown.num_moved_patients);

    let dataset = Dataset::open(&out).unwrap();
    assert!(dataset.verify().is_empty(), "{:?}", dataset.verify());
    assert_eq!(shard(&out, 6), old_shard);
    for (number, row) in rows.iter().enumerate().filter(|(_, row)| row.source_file != "008.png") {
        let picture = radiograph::decode_file(source.join(&row.source_file), &Default::default()).unwrap();
        let expected = radiograph::fit_square(&picture, SIZE, radiograph::Fit::Pad);
        assert_eq!(dataset.image(number).unwrap(), expected, "{}", row.source_file);
    }
}

#[test]
fn growing_continues_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("source");
    let salt = dir.path().join("salt");
    fs::write(&salt, "a salt that is long enough").unwrap();
    let with = |out: &str| PrepareConfig {
        salt_file: Some(salt.clone()),
        add: true,
        ..config(&source, &dir.path().join(out))
    };
    for number in 0..21 {
        write_picture(&source.join(format!("b{number:03}.png")), number, 9, 9);
    }
    for out in ["whole", "killed"] {
        run(&with(out), &Silent).unwrap();
    }
    for number in 0..600 {
        let name = format!("{}{number:03}.png", ["a", "c"][number % 2]);
        write_picture(&source.join(name), number - usize::from(number % 5 == 4), 9, 10 + number / 200);
    }
    let whole = run(&with("whole"), &Silent).unwrap();
    for batches in [1, 1] {
        let killed = std::panic::catch_unwind(|| run(&with("killed"), &KillAfter(AtomicUsize::new(batches))));
        assert!(killed.is_err());
    }
    // Begun, it needs no asking.
    let continued = run(&PrepareConfig { add: false, ..with("killed") }, &Silent).unwrap();
    assert!((22..whole.num_images).contains(&continued.num_continued), "{}", continued.num_continued);
    assert_eq!(continued.skipped, whole.skipped);
    let [whole, killed] = ["whole", "killed"].map(|name| dir.path().join(name));
    for entry in fs::read_dir(&whole).unwrap() {
        let name = entry.unwrap().file_name();
        assert!(fs::read(whole.join(&name)).unwrap() == fs::read(killed.join(&name)).unwrap(), "{name:?}");
    }
    assert_eq!(fs::read_dir(&whole).unwrap().count(), fs::read_dir(&killed).unwrap().count());
}

#[test]
fn new_images_follow_their_patients_or_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("source"), dir.path().join("out"));
    for number in 0..6 {
        write_picture(&source.join(format!("{number}.png")), number, 20, 20);
    }
    let table = |rows: &str| fs::write(source.join("manifest.csv"), format!("image,patient,split\n{rows}")).unwrap();
    table("0.png,ann,val\n1.png,bob,test\n2.png,cid,\n");
    let config = PrepareConfig { preset: "csv".into(), add: true, ..config(&source, &out) };
    run(&config, &Silent).unwrap();
    let cid = rows(&out)[2].split;
    table("0.png,ann,\n1.png,bob,train\n2.png,cid,\n3.png,ann,\n4.png,bob,train\n5.png,cid,\n");
    let grown = run(&config, &Silent).unwrap();
    let found: Vec<_> = rows(&out).into_iter().map(|row| (row.source_file, row.split)).collect();
    let expected =
        [("0.png", Split::Val), ("1.png", Split::Test), ("2.png", cid), ("3.png", Split::Val), ("5.png", cid)];
    assert_eq!(found, expected.map(|(name, split)| (name.to_owned(), split)));
    assert_eq!(grown.skipped[0].item, "4.png");
    assert!(grown.skipped[0].reason.contains("into train, whom the dataset has in test"), "{:?}", grown.skipped);
}

#[test]
fn growing_without_the_key_is_refused_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (source, out) = (dir.path().join("source"), dir.path().join("out"));
    write_source(&source);
    let config = PrepareConfig { add: true, ..config(&source, &out) };
    run(&config, &Silent).unwrap();
    write_picture(&source.join("new.png"), 55, 9, 9);
    fs::remove_dir_all(out.join("private")).unwrap();
    assert!(error(&config).contains("give the file by `--salt-file`"), "{}", error(&config));
    assert!(!out.join("private").exists());
    let other = dir.path().join("salt");
    fs::write(&other, "another salt, long enough").unwrap();
    let other = PrepareConfig { salt_file: Some(other), ..config };
    assert!(error(&other).contains("salt_fingerprint"), "{}", error(&other));
    assert!(Dataset::open(&out).unwrap().verify().is_empty());
}

//! Datasets end to end: written, killed, continued, damaged, read.

use std::fs;
use std::path::{Path, PathBuf};

use dataset::{Dataset, DatasetSettings, DatasetWriter, Error, ManifestRow, Result, Split, TensorSpec, pixels_hash};
use files::TensorFile;

const SIZE: usize = 4;
const SHARD: usize = 5;
const NUM_IMAGES: usize = 23;

fn settings() -> DatasetSettings {
    let mut settings = DatasetSettings::new(SIZE);
    settings.shard_size = SHARD;
    settings.preparation.insert("fit".into(), "pad".into());
    settings
}

fn image(index: usize) -> Vec<u8> {
    (0..SIZE * SIZE).map(|pixel| (index * 31 + pixel * 7) as u8).collect()
}

fn mask(index: usize) -> Option<Vec<u8>> {
    // The whole third shard has none.
    let has = index.is_multiple_of(3) && index / SHARD != 2;
    has.then(|| (0..SIZE * SIZE).map(|pixel| ((pixel + index) % 2) as u8).collect())
}

fn row(index: usize) -> ManifestRow {
    ManifestRow {
        id: format!("image-{index}"),
        source_file: format!("{index}.png"),
        pixel_hash: pixels_hash(&[index as f32 / 100.0], 1, 1),
        labels: vec![["normal", "effusion"][index % 2].into()],
        collection: Some("drawn".into()),
        ..ManifestRow::bare(format!("patient-{}", index / 2), Split::ALL[index / 2 % 3])
    }
}

fn push(writer: &mut DatasetWriter, images: std::ops::Range<usize>) -> Result<()> {
    images.into_iter().try_for_each(|index| writer.push(row(index), &image(index), mask(index).as_deref()))
}

fn write(dir: &Path) -> Dataset {
    let mut writer = DatasetWriter::create_or_resume(dir, settings()).unwrap();
    push(&mut writer, 0..NUM_IMAGES).unwrap();
    writer.finish().unwrap()
}

/// Every file below a folder with its bytes.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    files.sort();
    files.iter().map(|path| (path.strip_prefix(dir).unwrap().into(), fs::read(path).unwrap())).collect()
}

#[test]
fn everything_written_is_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = write(dir.path());
    assert_eq!((dataset.len(), dataset.num_shards(), dataset.image_size()), (NUM_IMAGES, 5, SIZE));
    let indices = [22, 0, 7, 7, 14];
    let expected: Vec<u8> = indices.iter().flat_map(|&index| image(index)).collect();
    assert_eq!(dataset.images(&indices).unwrap(), expected);
    for index in 0..NUM_IMAGES {
        assert_eq!(dataset.mask(index).unwrap(), mask(index), "{index}");
    }
    assert!(!dir.path().join("masks-00002.safetensors").exists());
    for (index, found) in dataset.rows().unwrap().enumerate() {
        assert_eq!(found.unwrap(), ManifestRow { mask: mask(index).is_some(), ..row(index) });
    }
    let info = dataset.info();
    assert_eq!(info.labels, ["effusion", "normal"]);
    assert_eq!(info.collections["drawn"], NUM_IMAGES);
    assert_eq!(info.num_masks, (0..NUM_IMAGES).filter(|&index| mask(index).is_some()).count());
    for split in Split::ALL {
        let expected: Vec<_> = (0..NUM_IMAGES).filter(|&index| row(index).split == split).collect();
        assert_eq!(dataset.indices(split).unwrap(), expected);
        assert_eq!(info.counts.get(split), expected.len());
    }
    assert!(dataset.verify().is_empty(), "{:?}", dataset.verify());
    assert!(matches!(dataset.image(NUM_IMAGES), Err(Error::NoSuchImage { index: NUM_IMAGES, len: NUM_IMAGES, .. })));
}

#[test]
fn killing_between_any_two_images_changes_nothing_in_the_end() {
    let undisturbed = tempfile::tempdir().unwrap();
    write(undisturbed.path());
    for killed_after in [0, 1, 4, 5, 6, 17, 22, 23] {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = DatasetWriter::create_or_resume(dir.path(), settings()).unwrap();
        push(&mut writer, 0..killed_after).unwrap();
        drop(writer);
        // What a kill inside a shard leaves: temporary files, and images whose rows were never written.
        fs::write(dir.path().join(".tmp-images-00009.safetensors-1-1"), "half").unwrap();
        let next = killed_after / SHARD;
        fs::write(dir.path().join(format!("images-{next:05}.safetensors")), "other images").unwrap();
        fs::write(dir.path().join(format!("masks-{next:05}.safetensors")), "other masks").unwrap();
        assert!(
            matches!(Dataset::open(dir.path()), Err(Error::Unfinished { num_images, .. }) if num_images == next * SHARD)
        );

        let mut writer = DatasetWriter::create_or_resume(dir.path(), settings()).unwrap();
        assert_eq!(writer.num_committed(), next * SHARD);
        assert_eq!(writer.committed_rows().count(), next * SHARD);
        let committed = writer.num_committed();
        push(&mut writer, committed..NUM_IMAGES).unwrap();
        let dataset = writer.finish().unwrap();
        assert!(dataset.verify().is_empty());
        assert_eq!(contents(dir.path()), contents(undisturbed.path()), "killed after {killed_after}");
    }
}

/// A finished dataset to which images are added is the one that has them from the beginning.
#[test]
fn a_finished_dataset_can_be_reopened_after_any_image() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    write(&whole);
    for num_first in 1..NUM_IMAGES {
        let grown = dir.path().join(format!("grown-{num_first}"));
        let mut writer = DatasetWriter::create_or_resume(&grown, settings()).unwrap();
        push(&mut writer, 0..num_first).unwrap();
        assert_eq!(writer.num_kept(), 0);
        writer.finish().unwrap();

        let mut writer = DatasetWriter::reopen(&grown, settings()).unwrap();
        let first_rows = || (0..num_first).map(|index| ManifestRow { mask: mask(index).is_some(), ..row(index) });
        assert_eq!((writer.num_committed(), writer.num_kept(), writer.len()), (num_first, num_first, num_first));
        assert!(writer.committed_rows().map(Result::unwrap).eq(first_rows()));
        push(&mut writer, num_first..NUM_IMAGES - 1).unwrap();
        // Killed, as if the last shard's images had been written and its rows had not.
        drop(writer);
        assert!(matches!(Dataset::open(&grown), Err(Error::Unfinished { .. })));
        for (name, bytes) in contents(&whole) {
            if name.to_string_lossy().starts_with(&format!("images-{:05}", num_first / SHARD)) {
                fs::write(grown.join(name), bytes).unwrap();
            }
        }
        let mut writer = DatasetWriter::create_or_resume(&grown, settings()).unwrap();
        let committed = writer.num_committed();
        assert!(committed >= num_first && writer.num_kept() == num_first, "{committed}");
        push(&mut writer, committed..NUM_IMAGES).unwrap();
        writer.finish().unwrap();
        assert_eq!(contents(&grown), contents(&whole), "reopened after {num_first} images");
    }
    let mut other = settings();
    other.seed = 1;
    assert!(DatasetWriter::reopen(&whole, other).unwrap_err().to_string().contains("seed"));
    assert_eq!(Dataset::open(&whole).unwrap().len(), NUM_IMAGES);
}

/// Whoever reads many datasets side by side reads one group of each manifest at a time.
#[test]
fn a_part_holds_the_same_rows_and_is_read_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = DatasetWriter::create_or_resume(dir.path().join("part"), settings()).unwrap();
    push(&mut writer, 0..NUM_IMAGES).unwrap();
    writer.finish_part(4).unwrap();
    let part = Dataset::open_in_order(dir.path().join("part")).unwrap();
    let whole = write(&dir.path().join("whole"));
    assert!(part.rows().unwrap().map(Result::unwrap).eq(whole.rows().unwrap().map(Result::unwrap)));
    for index in 0..NUM_IMAGES {
        assert_eq!((part.image(index).unwrap(), part.mask(index).unwrap()), (image(index), mask(index)));
    }
    let empty =
        DatasetWriter::create_or_resume(dir.path().join("empty"), settings()).unwrap().finish_part(100).unwrap();
    assert!(empty.is_empty() && empty.rows().unwrap().next().is_none());
}

#[test]
fn continuing_with_other_settings_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = DatasetWriter::create_or_resume(dir.path(), settings()).unwrap();
    push(&mut writer, 0..7).unwrap();
    assert!(matches!(
        DatasetWriter::create_or_resume(dir.path(), settings()),
        Err(Error::File(files::Error::Locked { .. }))
    ));
    drop(writer);
    let mut other = settings();
    other.preparation.insert("fit".into(), "crop".into());
    let error = DatasetWriter::create_or_resume(dir.path(), other).unwrap_err().to_string();
    assert!(error.contains("begun with preparation.fit = \"pad\", now it is \"crop\""), "{error}");
    write_rest_and_refuse_again(dir.path());
}

fn write_rest_and_refuse_again(dir: &Path) {
    let writer = DatasetWriter::create_or_resume(dir, settings()).unwrap();
    writer.finish().unwrap();
    assert!(matches!(DatasetWriter::create_or_resume(dir, settings()), Err(Error::AlreadyFinished { .. })));
}

#[test]
fn nobodys_files_are_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("private")).unwrap();
    fs::write(dir.path().join("thesis.docx"), "years").unwrap();
    let error = DatasetWriter::create_or_resume(dir.path(), settings()).unwrap_err().to_string();
    assert!(error.contains("thesis.docx"), "{error}");
    fs::remove_file(dir.path().join("thesis.docx")).unwrap();
    DatasetWriter::create_or_resume(dir.path(), settings()).unwrap();
}

#[test]
fn wrong_sizes_and_leaks_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = DatasetWriter::create_or_resume(dir.path(), settings()).unwrap();
    let error = writer.push(row(0), &[0; 15], None).unwrap_err().to_string();
    assert_eq!(error, "the image of 0.png has 15 values, expected 16");
    assert!(writer.push(row(0), &image(0), Some(&[0; 17])).is_err());
    assert!(writer.is_empty());
    let mut too_large = settings();
    too_large.seed = u64::MAX;
    let error = DatasetWriter::create_or_resume(dir.path().join("other"), too_large).unwrap_err().to_string();
    assert!(error.starts_with("seed = 18446744073709551615 is not possible"), "{error}");
    writer.push(row(0), &image(0), None).unwrap();
    writer.push(ManifestRow { split: Split::Test, ..row(1) }, &image(1), None).unwrap();
    let error = writer.finish().unwrap_err();
    assert!(matches!(&error, Error::Leak { num_patients: 1, num_images: 0, .. }), "{error}");
}

#[test]
fn what_is_no_dataset_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let message = |path: &Path| Dataset::open(path).unwrap_err().to_string();
    assert!(message(&dir.path().join("nowhere")).contains("it does not exist"));
    assert!(message(dir.path()).contains("it has no dataset.toml"));
    assert!(!Dataset::is_dataset(dir.path()));
    fs::write(dir.path().join("dataset.toml"), "version = 4\nsomething = \"new\"").unwrap();
    assert!(message(dir.path()).contains("format version 4, this program reads up to 3; update"));
    fs::write(dir.path().join("dataset.toml"), "version = 1\n").unwrap();
    assert!(message(dir.path()).contains("missing field"));
    fs::write(dir.path().join("dataset.toml"), "vers").unwrap();
    assert!(message(dir.path()).contains("dataset.toml is damaged"));
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(message(&file).contains("it is a file"));
}

#[test]
fn damage_is_found_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = write(dir.path());
    let shard = dir.path().join("images-00001.safetensors");
    let whole = fs::read(&shard).unwrap();

    fs::write(&shard, &whole[..whole.len() - 1]).unwrap();
    let problems = dataset.verify();
    assert_eq!(problems.len(), 1);
    assert!(problems[0].0.to_string().ends_with("images-00001.safetensors"), "{}", problems[0].0);
    assert!(dataset.image(0).is_ok());
    assert!(matches!(dataset.image(5), Err(Error::Damaged { .. })));

    // A shard of another length: sound as a file, wrong as a shard.
    fs::copy(dir.path().join("images-00004.safetensors"), &shard).unwrap();
    let error = dataset.image(5).unwrap_err().to_string();
    assert!(error.contains("expected U8 [5, 4, 4], found U8 [3, 4, 4]"), "{error}");

    fs::remove_file(&shard).unwrap();
    assert!(matches!(Dataset::open(dir.path()), Err(Error::MissingShard { .. })));
    fs::write(&shard, &whole).unwrap();

    let masks = dir.path().join("masks-00003.safetensors");
    fs::rename(&masks, dir.path().join("moved")).unwrap();
    assert!(matches!(&dataset.verify()[..], [problem] if matches!(problem.0, Error::MissingShard { .. })));
    fs::rename(dir.path().join("moved"), &masks).unwrap();

    let manifest = dir.path().join("manifest.parquet");
    let rows = fs::read(&manifest).unwrap();
    fs::write(&manifest, &rows[..rows.len() / 2]).unwrap();
    assert!(Dataset::open(dir.path()).unwrap_err().to_string().ends_with("manifest.parquet"));
}

#[test]
fn the_fingerprint_changes_with_rows_and_preparation_only() {
    let [a, b, c, d] = [0; 4].map(|_| tempfile::tempdir().unwrap());
    let first = write(a.path());
    assert_eq!(first.fingerprint(), write(b.path()).fingerprint());
    let mut writer = DatasetWriter::create_or_resume(c.path(), settings()).unwrap();
    push(&mut writer, 0..NUM_IMAGES - 1).unwrap();
    assert_ne!(writer.finish().unwrap().fingerprint(), first.fingerprint());
    let mut other = settings();
    other.preparation.insert("fit".into(), "crop".into());
    let mut writer = DatasetWriter::create_or_resume(d.path(), other).unwrap();
    push(&mut writer, 0..NUM_IMAGES).unwrap();
    assert_ne!(writer.finish().unwrap().fingerprint(), first.fingerprint());
}

fn specs() -> [TensorSpec; 2] {
    [TensorSpec::new("mean", [2, 2, 3]), TensorSpec::new("embeddings", [1, 5])]
}

/// Values that f16 holds exactly, different for every tensor, image and position.
fn encoding(tensor: usize, index: usize) -> Vec<f32> {
    let row_len = specs()[tensor].row_len();
    (0..row_len).map(|position| (index * 16 + position) as f32 / 8.0 - tensor as f32).collect()
}

fn encode(dataset: &Dataset, shards: &[usize]) -> Result<()> {
    let writer = dataset.write_encodings("net", "abc123", &specs())?;
    for &shard in shards {
        let rows = |tensor| dataset.shard_range(shard).flat_map(|index| encoding(tensor, index)).collect::<Vec<_>>();
        writer.write_shard(shard, &[&rows(0), &rows(1)])?;
    }
    Ok(())
}

#[test]
fn encodings_are_resumed_shard_by_shard_and_gathered_in_any_order() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = write(dir.path());
    assert!(dataset.list_encodings().unwrap().is_empty());
    assert!(matches!(dataset.encodings("net", "abc123"), Err(Error::NoEncodings { .. })));
    encode(&dataset, &[0, 1, 3]).unwrap();
    fs::write(dir.path().join("encodings/net-abc123/.tmp-00004.safetensors-1-1"), "half").unwrap();
    let error = dataset.encodings("net", "abc123").unwrap_err().to_string();
    assert!(error.contains("2 of 5 shards are missing"), "{error}");
    let writer = dataset.write_encodings("net", "abc123", &specs()).unwrap();
    assert_eq!(writer.pending(), [2, 4]);
    assert!(matches!(
        dataset.write_encodings("net", "abc123", &specs()),
        Err(Error::File(files::Error::Locked { .. }))
    ));
    drop(writer);
    encode(&dataset, &[2, 4]).unwrap();

    let reader = dataset.encodings("net", "abc123").unwrap();
    assert_eq!(reader.row_shape("mean"), Some(&[2, 2, 3][..]));
    // Runs within a shard, across shards, single rows, repeats, descents.
    for indices in [&[0, 1, 2, 3, 4, 5, 6, 7][..], &[22, 0, 13, 13, 14, 9, 10, 8], &[], &[22]] {
        for (tensor, spec) in specs().iter().enumerate() {
            let expected: Vec<f32> = indices.iter().flat_map(|&index| encoding(tensor, index)).collect();
            assert_eq!(reader.gather(&spec.name, indices).unwrap(), expected);
        }
    }
    assert!(matches!(reader.gather("mean", &[23]), Err(Error::NoSuchImage { .. })));
    let error = reader.gather("std", &[0]).unwrap_err().to_string();
    assert!(error.contains("no tensor \"std\", only [\"mean\", \"embeddings\"]"), "{error}");
    let file = TensorFile::open(dir.path().join("encodings/net-abc123/00004.safetensors")).unwrap();
    assert_eq!(file.tensor("embeddings").unwrap().1, [3, 1, 5]);
    assert_eq!(dataset.list_encodings().unwrap(), [reader.info().clone()]);
}

#[test]
fn encodings_that_do_not_fit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = write(dir.path());
    let writer = dataset.write_encodings("net", "abc123", &specs()).unwrap();
    assert!(writer.write_shard(0, &[&[0.0; 60]]).is_err());
    let error = writer.write_shard(0, &[&[0.0; 59], &[0.0; 25]]).unwrap_err().to_string();
    assert_eq!(error, "tensor \"mean\" of shard 0 has 59 values, expected 60");
    let mut embeddings = [0.0; 25];
    for bad in [f32::NAN, 70_000.0, f32::NEG_INFINITY] {
        embeddings[17] = bad;
        let error = writer.write_shard(1, &[&[0.0; 60], &embeddings]).unwrap_err();
        assert!(matches!(error, Error::NotFinite { index: 8, image: 3, .. }), "{error}");
    }
    assert_eq!(writer.pending(), [0, 1, 2, 3, 4]);
    drop(writer);
    let error = dataset.write_encodings("net", "abc123", &specs()[..1]).unwrap_err().to_string();
    assert!(error.contains("set of encodings was begun with tensors = "), "{error}");
    assert!(dataset.write_encodings("../net", "abc123", &specs()).is_err());
}

#[test]
fn encodings_of_another_dataset_are_refused() {
    let [a, b] = [0; 2].map(|_| tempfile::tempdir().unwrap());
    encode(&write(a.path()), &[0, 1, 2, 3, 4]).unwrap();
    let mut writer = DatasetWriter::create_or_resume(b.path(), settings()).unwrap();
    push(&mut writer, 0..NUM_IMAGES - 1).unwrap();
    let other = writer.finish().unwrap();
    fs::rename(a.path().join("encodings"), b.path().join("encodings")).unwrap();
    let error = other.encodings("net", "abc123").unwrap_err().to_string();
    assert!(error.contains("those here belong to dataset"), "{error}");
    assert!(matches!(other.write_encodings("net", "abc123", &specs()), Err(Error::OtherSettings { .. })));
}

#[test]
fn a_dataset_of_version_1_reads_with_all_other_labels_unknown() {
    // Written by the release before `labels_negative` came: two drawn images of folders `normal` and `effusion`.
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/version-1");
    let dataset = Dataset::open(&dir).unwrap();
    assert_eq!(dataset.info().version, 1);
    assert!(dataset.verify().is_empty(), "{:?}", dataset.verify());
    let rows: Vec<_> = dataset.rows().unwrap().map(Result::unwrap).collect();
    assert_eq!(rows.iter().map(|row| row.labels.join(",")).collect::<Vec<_>>(), ["effusion", "normal"]);
    assert!(rows.iter().all(|row| row.labels_negative.is_empty() && row.labels_uncertain.is_empty()));
}

#[test]
fn all_states_of_a_label_return() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = DatasetWriter::create_or_resume(dir.path(), settings()).unwrap();
    let labels = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let stated = ManifestRow {
        labels: labels(&["effusion"]),
        labels_negative: labels(&["mass", "nodule"]),
        labels_uncertain: labels(&["edema"]),
        ..row(0)
    };
    writer.push(stated.clone(), &image(0), None).unwrap();
    let dataset = writer.finish().unwrap();
    assert_eq!(dataset.rows().unwrap().next().unwrap().unwrap(), stated);
    // Class numbers are those of labels that occur.
    assert_eq!(dataset.info().labels, ["effusion"]);
    assert_eq!(dataset.info().version, dataset::DATASET_VERSION);
}

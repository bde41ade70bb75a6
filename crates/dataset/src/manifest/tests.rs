use std::fs;

use super::*;

/// Rows that reach every combination of present and absent values.
fn row(index: usize) -> ManifestRow {
    let some = |bit: usize, text: &str| (index >> bit & 1 == 1).then(|| format!("{text} {index} ü"));
    ManifestRow {
        id: format!("{index:016x}"),
        source_file: format!("folder/{index}.png"),
        pixel_hash: format!("{index:064x}"),
        patient: format!("{:016x}", index / 3),
        view: some(0, "PA"),
        split: Split::ALL[index % 3],
        labels: (0..index % 4).map(|label| format!("label {label}")).collect(),
        labels_negative: (0..index % 3).map(|label| format!("absent {label}")).collect(),
        labels_uncertain: (0..index % 2).map(|label| format!("doubtful {label}")).collect(),
        mask: index.is_multiple_of(5),
        collection: some(1, "collection"),
        licence: some(2, "licence"),
        perceptual_hash: (!index.is_multiple_of(3)).then_some(u64::MAX - index as u64),
        pixel_spacing_mm: index.is_multiple_of(2).then_some([0.25, 0.5 + index as f64]),
        provenance: (index % 2 == 1).then(|| Provenance {
            strategy: "interpolation".into(),
            source_ids: (0..index % 3).map(|source| format!("{source}")).collect(),
            fraction: (index.is_multiple_of(3)).then_some(index as f64 / 7.0),
            seed: (!index.is_multiple_of(5)).then_some(u64::MAX - index as u64),
            guidance_scale: (!index.is_multiple_of(7)).then_some(1.5),
            model_fingerprint: some(3, "model"),
        }),
    }
}

fn write(path: &Path, num_rows: usize) {
    let mut writer = ManifestWriter::create(path).unwrap();
    (0..num_rows).for_each(|index| writer.push(row(index)).unwrap());
    writer.finish().unwrap();
}

#[test]
fn rows_return_as_they_were_over_several_row_groups() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("manifest.parquet");
    for num_rows in [0, 1, ROWS_PER_GROUP, 2 * ROWS_PER_GROUP + 17] {
        write(&path, num_rows);
        let reader = ManifestReader::open(&path).unwrap();
        assert_eq!(reader.num_rows(), num_rows);
        assert_eq!(reader.reader.num_row_groups(), num_rows.div_ceil(ROWS_PER_GROUP));
        let mut count = 0;
        for (index, found) in reader.enumerate() {
            assert_eq!(found.unwrap(), row(index));
            count += 1;
        }
        assert_eq!(count, num_rows);
    }
    let reader = ManifestReader::open(&path).unwrap();
    let indices = [20_016, 3, 9_999, 10_000, 3];
    let found = reader.rows_at(&indices).unwrap();
    assert_eq!(found, indices.map(row));
    assert!(matches!(reader.rows_at(&[20_017]), Err(Error::NoSuchImage { index: 20_017, len: 20_017, .. })));
}

#[test]
fn some_columns_alone_are_read_and_all_else_is_empty() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("manifest.parquet");
    write(&path, ROWS_PER_GROUP + 17);
    let read = |columns| ManifestReader::open_columns(&path, columns).unwrap().map(Result::unwrap);
    for (index, found) in read(&["patient", "labels_negative", "perceptual_hash", "view"]).enumerate() {
        let ManifestRow { patient, labels_negative, perceptual_hash, view, split, .. } = row(index);
        let expected = ManifestRow { labels_negative, perceptual_hash, view, ..ManifestRow::bare(patient, split) };
        assert_eq!(found, expected);
    }
    assert_eq!(read(&[]).count(), ROWS_PER_GROUP + 17);
    let last = ManifestReader::open_columns(&path, &["id"]).unwrap().rows_at(&[ROWS_PER_GROUP + 16, 777]).unwrap();
    let ids = [ROWS_PER_GROUP + 16, 777].map(|index| row(index).id);
    assert!(last.iter().map(|row| &row.id).eq(&ids));
}

#[test]
fn the_same_rows_give_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    write(&a, 100);
    write(&b, 100);
    assert_eq!(fs::read(a).unwrap(), fs::read(b).unwrap());
}

#[test]
fn nothing_is_there_before_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("manifest.parquet");
    let mut writer = ManifestWriter::create(&path).unwrap();
    writer.push(row(1)).unwrap();
    assert!(!path.exists());
    drop(writer);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_manifest_that_is_cut_short_or_foreign_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("manifest.parquet");
    write(&path, 50);
    let whole = fs::read(&path).unwrap();
    let read_all = || ManifestReader::open(&path).and_then(Iterator::collect::<Result<Vec<_>>>);
    for len in (0..whole.len()).step_by(7) {
        fs::write(&path, &whole[..len]).unwrap();
        let error = read_all().unwrap_err();
        assert!(matches!(error, Error::Damaged { .. }), "{len}: {error}");
        assert!(error.to_string().ends_with("manifest.parquet"), "{error}");
    }
    // Another Parquet file: the message names the column that is missing.
    let schema = Arc::new(parse_message_type("message x { required int64 id; }").unwrap());
    let mut foreign = SerializedFileWriter::new(File::create(&path).unwrap(), schema, Default::default()).unwrap();
    let mut group = foreign.next_row_group().unwrap();
    let mut column = group.next_column().unwrap().unwrap();
    column.typed::<parquet::data_type::Int64Type>().write_batch(&[1], None, None).unwrap();
    column.close().unwrap();
    group.close().unwrap();
    foreign.close().unwrap();
    let error = read_all().unwrap_err().to_string();
    assert!(error.contains("the column \"id\" is of another type"), "{error}");
}

#[test]
fn splits_have_many_names() {
    for (text, split) in
        [("Train", Split::Train), (" validation ", Split::Val), ("dev", Split::Val), ("TEST", Split::Test)]
    {
        assert_eq!(text.parse::<Split>().unwrap(), split);
    }
    assert!("tset".parse::<Split>().unwrap_err().to_string().contains("\"tset\""));
}

//! Tables through the whole of `prepare`: who is one patient, and what is said.

use super::*;
use crate::compare::compare;
use crate::presets::Columns;

/// A source of as many pictures as the table has rows, named by their numbers.
fn source(dir: &Path, name: &str, table: &[u8], first: usize, count: usize) -> PathBuf {
    let source = dir.join(name);
    for number in 0..count {
        // No two look alike.
        let pixels = Phantom::from_seed(8, (first + number) as u64).render(32).radiograph.pixels;
        fs::create_dir_all(&source).unwrap();
        write_png_u8(&source.join(format!("{number}.png")), &radiograph::to_u8(&pixels), 32, 32).unwrap();
    }
    fs::write(source.join("list.csv"), table).unwrap();
    source
}

fn salt(dir: &Path) -> PathBuf {
    let salt = dir.join("salt");
    fs::write(&salt, "a salt that is long enough").unwrap();
    salt
}

fn of_table(dir: &Path, source: &Path) -> PrepareConfig {
    let out = source.with_extension("out");
    PrepareConfig { preset: "csv".into(), salt_file: Some(salt(dir)), ..config(source, &out) }
}

#[test]
fn a_number_is_one_patient_in_all_tables_under_one_key() {
    let dir = tempfile::tempdir().unwrap();
    let written = ["12", "12.0", " 12", "12.00", "\"12\"", "12."];
    let table = |ids: &[&str]| -> Vec<u8> {
        let rows = ids.iter().enumerate().map(|(number, id)| format!("{number}.png,{id}\n"));
        format!("path,patient\n{}", rows.collect::<String>()).into_bytes()
    };
    let within = source(dir.path(), "within", &table(&written), 0, written.len());
    run(&of_table(dir.path(), &within), &Silent).unwrap();
    let first = rows(&within.with_extension("out"));
    assert_eq!(first.iter().map(|row| (&row.patient, row.split)).collect::<HashSet<_>>().len(), 1);
    let first = Dataset::open(within.with_extension("out")).unwrap();
    for (number, id) in written.iter().enumerate() {
        let other = source(dir.path(), &format!("other{number}"), &table(&[id, "13.0"]), 50, 2);
        let config = of_table(dir.path(), &other);
        run(&config, &Silent).unwrap();
        let second = Dataset::open(&config.out).unwrap();
        let shared = compare(&first, &second).unwrap();
        assert_eq!(shared.patients.as_ref().map(|patients| patients.count), Some(1), "{id:?}");
        assert!(shared.has_leaks());
        // The dataset as a list, and the identifier in any form in a list.
        for list in ["dataset", "12\n", "12.0\n", "0012\n", "\"12\"\n"] {
            let path = dir.path().join("exclude.csv");
            fs::write(&path, format!("patient\n{list}")).unwrap();
            let exclude = if list == "dataset" { first.dir().to_path_buf() } else { path };
            let out = dir.path().join(format!("left-{number}-{}", list.trim().trim_matches('"')));
            let config = PrepareConfig { exclude: Some(exclude), out, ..config.clone() };
            let _ = fs::remove_dir_all(&config.out);
            let summary = run(&config, &Silent).unwrap();
            assert_eq!((summary.num_images, summary.num_excluded), (1, 1), "{id:?} {list:?}");
        }
    }
}

#[test]
fn missing_patients_are_not_one_patient() {
    let dir = tempfile::tempdir().unwrap();
    let source = source(dir.path(), "s", b"path,patient\n0.png,nan\n1.png,NaN\n2.png,None\n", 0, 3);
    run(&of_table(dir.path(), &source), &Silent).unwrap();
    assert_eq!(rows(&source.with_extension("out")).iter().map(|row| &row.patient).collect::<HashSet<_>>().len(), 3);
}

#[test]
fn tables_of_spreadsheets_are_read_and_what_is_out_of_the_ordinary_is_said_once() {
    let dir = tempfile::tempdir().unwrap();
    let table =
        b"sep=;\r\nPath;Patient ID;Labels;Pneumon\xeda\r\n.\\0.PNG;12,0;neumon\xeda;1,0\r\n0.png;12;nodule;\r\n\
                  C:\\x\\1.png;nan;;0,0\r\n";
    let source = source(dir.path(), "s", table, 0, 2);
    let columns = Columns { labels: Some(vec!["labels".into(), "pneumonía".into()]), ..Default::default() };
    let said = Said::default();
    let config = PrepareConfig { csv: columns, ..of_table(dir.path(), &source) };
    let summary = run(&config, &said).unwrap();
    assert_eq!(summary.skipped, []);
    let rows = rows(&config.out);
    assert_eq!(rows[0].labels, ["neumonía", "Pneumonía", "nodule"]);
    assert_eq!((rows[1].labels_negative.as_slice(), rows[1].labels.len()), (&["Pneumonía".to_owned()][..], 0));
    let said = said.0.into_inner().unwrap();
    for what in ["read as Windows-1252", "another Unicode form", "paths of another machine", "image of an earlier row"]
    {
        assert_eq!(said.iter().filter(|sentence| sentence.contains(what)).count(), 1, "{what}: {said:?}");
    }
}

#[test]
fn patients_of_one_image_are_in_one_split() {
    let dir = tempfile::tempdir().unwrap();
    // Ann and bob would be drawn to different splits.
    let split = SplitPlan { train: 0.5, val: 0.0, test: 0.5, seed: 0 };
    let names: Vec<String> = (0..20).map(|number| format!("patient {number}")).collect();
    let other = names.iter().find(|name| split.assign(name) != split.assign(&names[0])).unwrap();
    let table = format!("path,patient\n0.png,{0}\n1.png,{other}\n2.png,{0}\n2.png,{other}\n", names[0]);
    let source = source(dir.path(), "s", table.as_bytes(), 0, 3);
    let summary = run(&PrepareConfig { split, ..of_table(dir.path(), &source) }, &Silent).unwrap();
    let rows = rows(&source.with_extension("out"));
    assert_eq!(rows.iter().map(|row| (&row.patient, row.split)).collect::<HashSet<_>>().len(), 1);
    assert!(summary.skipped[0].reason.contains("(for example 2.png, lines 4 and 5)"), "{:?}", summary.skipped);
}

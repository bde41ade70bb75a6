//! Tables in all the ways that programs write them.

use std::fs;

use dataset::Split;

use super::paths::without_root;
use super::*;

fn items(text: &str, columns: Columns) -> Result<Vec<Result<SourceItem, Skipped>>> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("list.csv"), text).unwrap();
    let preset = Table::new(columns);
    let items = preset.items(dir.path(), &Archives::default())?.collect();
    Ok(items)
}

#[test]
fn usual_columns_are_found_and_cells_understood() {
    let text = "\u{feff}Image Index;Patient ID;View Position;Finding Labels;Split;mask\n\
                a/1.png; 17 ;PA;Effusion|Mass ;validation;m/1.png\n\"b,2.png\";;;;;\n";
    let found = items(text, Columns { root: Some("/data".into()), ..Default::default() }).unwrap();
    let expected = SourceItem {
        file: "/data/a/1.png".into(),
        name: "a/1.png".into(),
        patient: Some("17".into()),
        view: Some("PA".into()),
        labels: vec!["Effusion".into(), "Mass".into()],
        split: Some(Split::Val),
        mask: vec!["/data/m/1.png".into()],
        ..Default::default()
    };
    assert_eq!(found[0], Ok(expected));
    let bare = SourceItem { file: "/data/b,2.png".into(), name: "b,2.png".into(), ..Default::default() };
    assert_eq!(found[1], Ok(bare));
}

#[test]
fn columns_can_be_named_joined_and_switched_off() {
    let text = "image,where,a,b,view,split\n1.png,x/2.png,one;two,three,PA,train\n";
    let columns = Columns {
        path: Some("where".into()),
        labels: Some(vec!["b".into(), "a".into()]),
        view: Some(String::new()),
        ..Default::default()
    };
    let item = items(text, columns).unwrap().remove(0).unwrap();
    assert_eq!(item.name, "x/2.png");
    assert_eq!(item.labels, ["three", "one", "two"]);
    assert_eq!((item.view, item.split), (None, Some(Split::Train)));
}

#[test]
fn a_missing_column_is_a_sentence_with_those_that_are_there() {
    let error = items("a,b\n1,2\n", Columns::default()).err().unwrap().to_string();
    assert!(
        error.contains("no column of image files; name the right one in the setting csv.path, it has \"a\", \"b\""),
        "{error}"
    );
    let columns = Columns { patient: Some("mrn".into()), ..Default::default() };
    let error = items("path\n1.png\n", columns).err().unwrap().to_string();
    assert!(error.starts_with("the table has no column \"mrn\"") && error.ends_with("list.csv"), "{error}");
}

#[test]
fn bad_rows_are_listed_with_their_line_and_the_rest_is_read() {
    let text = "path,split\n1.png,train\n,train\n2.png,tset\n3.png\n4.png,\n";
    let found = items(text, Columns::default()).unwrap();
    let reasons: Vec<_> = found.iter().filter_map(|item| item.as_ref().err()).collect();
    assert_eq!(
        reasons.iter().map(|skipped| skipped.item.as_str()).collect::<Vec<_>>(),
        ["list.csv, line 3", "list.csv, line 4", "list.csv, line 5"]
    );
    assert!(reasons[0].reason.contains("names no image file"));
    assert!(reasons[1].reason.contains("\"tset\""));
    assert!(reasons[2].reason.contains("1 cells, the header 2"));
    assert_eq!(found.iter().filter(|item| item.is_ok()).count(), 2);
}

#[test]
fn absolute_paths_do_not_reach_the_manifest() {
    assert_eq!(without_root("/home/jane/images/1.png"), "images/1.png");
    assert_eq!(without_root("C:\\jane\\images\\1.png"), "images/1.png");
    assert_eq!(without_root("images\\1.png"), "images/1.png");
    assert_eq!(["/1.png", "C:\\1.png", "//1.png"].map(without_root), ["1.png"; 3]);
}

#[test]
fn the_right_table_of_a_folder_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    assert!(find_table(dir.path()).unwrap_err().to_string().contains("has no .csv table"));
    fs::write(dir.path().join("a.csv"), "").unwrap();
    assert!(find_table(dir.path()).unwrap().ends_with("a.csv"));
    fs::write(dir.path().join("b.csv"), "").unwrap();
    assert!(find_table(dir.path()).unwrap_err().to_string().contains("has 2 tables"));
    fs::write(dir.path().join("manifest.csv"), "").unwrap();
    assert!(find_table(dir.path()).unwrap().ends_with("manifest.csv"));
}

/// The items of a table in a folder that has these files, the problems, and what was said.
fn found(
    table: &[u8],
    files: &[&str],
    columns: Columns,
) -> (Vec<SourceItem>, Vec<Skipped>, Vec<String>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    for file in files {
        let path = dir.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    fs::write(dir.path().join("list.csv"), table).unwrap();
    let (preset, archives) = (Table::new(columns), Archives::default());
    let twice = [(); 2].map(|()| preset.items(dir.path(), &archives).unwrap().collect::<Vec<_>>());
    assert_eq!(twice[0], twice[1], "a table gives the same each time");
    let [all, _] = twice;
    let (items, problems): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
    let problems = problems.into_iter().filter_map(Result::err).collect();
    (items.into_iter().flatten().collect(), problems, archives.notes.sentences(), dir)
}

fn labelled(names: &[&str]) -> Columns {
    Columns { labels: Some(names.iter().map(|name| (*name).to_owned()).collect()), ..Default::default() }
}

/// Positive, negative and uncertain labels.
fn states(item: &SourceItem) -> [String; 3] {
    [&item.labels, &item.labels_negative, &item.labels_uncertain].map(|names| names.join(" "))
}

#[test]
fn rows_of_one_image_are_joined() {
    // One after the other, and apart; called the same in other words.
    for second in ["0.png", "./0.png", ".\\0.png", " 0.png "] {
        for table in [
            format!("path,patient,labels\n0.png,1,nodule\n{second},1,effusion|nodule\n1.png,2,normal\n"),
            format!("path,patient,labels\n0.png,1,nodule\n1.png,2,normal\n{second},1,effusion\n"),
            format!("path,patient,labels\n1.png,2,normal\n0.png,,nodule\n{second},1,\n0.png,1,effusion\n"),
            format!("path,patient,labels\n0.png,1,nodule\n1.png,2,normal\n{second},1,effusion\n1.png,2,normal\n"),
        ] {
            let (items, problems, notes, _dir) = found(table.as_bytes(), &["0.png", "1.png"], Columns::default());
            let mut items: Vec<_> = items
                .iter()
                .map(|item| (&*item.name, item.patient.as_deref().unwrap(), item.labels.join(" ")))
                .collect();
            items.sort();
            assert_eq!(items, [("0.png", "1", "nodule effusion".into()), ("1.png", "2", "normal".into())], "{table}");
            assert_eq!(problems, [], "{table}");
            assert!(notes.iter().any(|note| note.contains("about the image of an earlier row")), "{notes:?}");
        }
    }
}

#[test]
fn of_contradicting_rows_the_stronger_counts_and_that_is_said() {
    let table = "path,Mass,Edema,Hernia,Fracture,view,mask,licence\n\
                 0.png,0,1,-1,1,PA,left.png,\n\
                 0.png,1,-1,0,,AP,right.png,CC0\n\
                 0.png,0,,,,,left.png,\n";
    let (items, problems, _, dir) =
        found(table.as_bytes(), &["0.png"], labelled(&["Mass", "Edema", "Hernia", "Fracture"]));
    assert_eq!(states(&items[0]), ["Mass Edema Fracture", "", "Hernia"]);
    assert_eq!((items.len(), items[0].view.as_deref(), items[0].licence.as_deref()), (1, Some("PA"), Some("CC0")));
    assert_eq!(items[0].mask, ["left.png", "right.png"].map(|name| dir.path().join(name).into()));
    let reasons: Vec<_> = problems.iter().map(|problem| format!("{}: {}", problem.item, problem.reason)).collect();
    assert_eq!(
        reasons,
        [
            "list.csv: rows of one image that contradict one another: 1 label: said to be there and to be absent; it counts \
             as there (for example 0.png, lines 2 and 4: Mass); correct the table if that is wrong",
            "list.csv: rows of one image with different views: 1 image: the first view counts (for example 0.png, lines 2 and \
             4: PA and AP); correct the table if that is wrong",
        ]
    );
}

#[test]
fn patients_that_one_image_names_count_as_one() {
    // Over two images, and whatever the order: ann, bob and cid are one, dan is another.
    let lines =
        ["0.png,cid", "0.png,bob", "1.png,bob", "1.png,ann", "2.png,cid", "3.png,ann", "4.png,dan", "4.png,dan"];
    for turn in 0..lines.len() {
        let mut lines = lines;
        lines.rotate_left(turn);
        let table = format!("path,patient\n{}\n", lines.join("\n"));
        let (items, problems, _, _dir) = found(table.as_bytes(), &[], Columns::default());
        let mut patients: Vec<_> = items.iter().map(|item| (&*item.name, item.patient.as_deref().unwrap())).collect();
        patients.sort_unstable();
        let expected = [("0.png", "ann"), ("1.png", "ann"), ("2.png", "ann"), ("3.png", "ann"), ("4.png", "dan")];
        assert_eq!(patients, expected, "{table}");
        assert_eq!(problems.len(), 1);
        assert!(problems[0].item.ends_with("rows of one image that name different patients"));
        let reason = &problems[0].reason;
        assert!(reason.starts_with("2 images: these patients count as one"), "{reason}");
        assert!(reason.contains(".png, lines ") && !["ann", "bob", "cid"].iter().any(|name| reason.contains(name)));
    }
}

#[test]
fn an_image_in_two_splits_is_left_out() {
    for table in ["0.png,train\n0.png,test\n1.png,val\n", "0.png,train\n1.png,val\n0.png,test\n"] {
        let (items, problems, _, _dir) = found(format!("path,split\n{table}").as_bytes(), &[], Columns::default());
        assert_eq!(items.iter().map(|item| &*item.name).collect::<Vec<_>>(), ["1.png"]);
        assert_eq!(problems[0].item, "0.png");
        assert!(problems[0].reason.starts_with("its rows put it into train and into test (lines 2 and "));
    }
}

/// Rows in any order, some of them alike, are the same images.
#[test]
fn the_order_of_rows_does_not_matter() {
    let mut state = 5_u64;
    let mut below = move |limit: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    for _ in 0..200 {
        let mut lines: Vec<String> = (0..below(20))
            .map(|_| format!("{}.png,p{},{}", below(6), below(4), ["a", "b|c", "", "nan"][below(4) as usize]))
            .collect();
        let mut before = None;
        for _ in 0..3 {
            let table = format!("path,patient,labels\n{}\n", lines.join("\n"));
            let (items, _, _, _dir) = found(table.as_bytes(), &[], Columns::default());
            let mut images: Vec<_> = items
                .into_iter()
                .map(|item| {
                    (item.name, item.patient, item.labels.into_iter().collect::<std::collections::BTreeSet<_>>())
                })
                .collect();
            images.sort();
            assert_eq!(*before.get_or_insert_with(|| images.clone()), images, "{table}");
            for at in (1..lines.len()).rev() {
                lines.swap(at, below(at as u64 + 1) as usize);
            }
        }
    }
}

#[test]
fn columns_of_findings_are_states_and_others_words() {
    for (cells, expected) in [
        (["1", "0", "-1", ""], ["Mass", "-Mass", "?Mass", ""]),
        (["1.0", "0.0", "-1.0", "nan"], ["Mass", "-Mass", "?Mass", ""]),
        (["True", "False", "NULL", "yes"], ["Mass", "-Mass", "", "Mass"]),
        // Classes.
        (["0", "1", "2.0", ""], ["0", "1", "2", ""]),
        (["nodule", "1.0", "large mass|hernia", "None"], ["nodule", "1", "large mass hernia", ""]),
        // A slip in a column of findings.
        (["1", "0", "?", "0"], ["Mass", "-Mass", "", "-Mass"]),
    ] {
        let rows: Vec<String> = cells.iter().enumerate().map(|(at, cell)| format!("{at}.png,{cell}\n")).collect();
        let table = format!("path,Mass\n{}", rows.concat());
        let (items, problems, _, _dir) = found(table.as_bytes(), &[], labelled(&["mass"]));
        let shown = |item: &SourceItem| {
            let [yes, no, maybe] = states(item);
            let signed = |sign: &str, name: String| if name.is_empty() { name } else { format!("{sign}{name}") };
            format!("{yes}{}{}", signed("-", no), signed("?", maybe))
        };
        assert_eq!(items.iter().map(shown).collect::<Vec<_>>(), expected, "{cells:?}");
        let is_slip = cells.contains(&"?");
        assert_eq!(problems.len(), usize::from(is_slip), "{problems:?}");
        if is_slip {
            assert!(problems[0].reason.contains("(for example line 4, column \"Mass\": \"?\")"), "{problems:?}");
        }
    }
    // Semicolons between cells, commas in numbers.
    let (items, _, _, _dir) =
        found(b"path;Mass;Edema;patient\n0.png;1,0;-1,0;12,0\n1.png;0,0;;12\n", &[], labelled(&["Mass", "Edema"]));
    assert_eq!(items.iter().map(states).collect::<Vec<_>>(), [["Mass", "", "Edema"], ["", "Mass", ""]]);
    assert_eq!(items[0].patient, items[1].patient);
    // A column that is named like a list of words keeps numbers as names of classes, and pandas' points go.
    for name in ["label", "Labels", "class", "finding_labels"] {
        let (items, ..) =
            found(format!("path,{name}\n0.png,1.0\n1.png,0.0\n2.png,-1.0\n").as_bytes(), &[], Columns::default());
        assert_eq!(items.iter().map(|item| item.labels.join(" ")).collect::<Vec<_>>(), ["1", "0", "-1"], "{name}");
    }
    // Probabilities are neither.
    let columns = labelled(&["Mass"]);
    let error = super::tests::items("path,Mass\n0.png,0.7\n1.png,1\n", columns)
        .err()
        .map(|error| format!("{error:#}"))
        .unwrap();
    assert!(error.contains("holds fractions (line 2: 0.7); make them 1 (there), 0 (absent)"), "{error}");
}

#[test]
fn what_stands_for_nothing_is_missing_in_every_column() {
    for missing in ["", " ", "nan", "NaN", "None", "N/A", "NA", "NULL", "null", "<NA>", "#N/A"] {
        let table = format!(
            "path,patient,view,labels,split,mask,collection,licence\n0.png{}\n1.png{}\n{missing},p,,,,,,\n",
            format!(",{missing}").repeat(7),
            format!(",{missing}").repeat(7)
        );
        let (items, problems, _, dir) = found(table.as_bytes(), &["0.png", "1.png"], Columns::default());
        let bare =
            |name: &str| SourceItem { file: dir.path().join(name).into(), name: name.into(), ..Default::default() };
        assert_eq!(items, [bare("0.png"), bare("1.png")], "{missing:?}");
        assert_eq!(problems.len(), 1, "{missing:?}: {problems:?}");
        assert!(problems[0].reason.starts_with("the row names no image file"), "{missing:?}");
    }
}

#[test]
fn files_are_found_by_paths_of_other_machines() {
    let files = ["img/0.png", "img/e\u{301}.png", "img/2.PNG", "3.JPG", "img/mask.PNG"];
    for root in ["", "C:\\data\\set\\", "/home/jane/set/", "\\\\server\\share\\", "D:/"] {
        let names = ["img\\0.png", "img\\\u{e9}.png", "img\\2.png", "3.jpg"];
        let names = names.map(|name| if root.contains('/') { name.replace('\\', "/") } else { name.to_owned() });
        let rows: Vec<String> = names.iter().map(|name| format!("{root}{name},{root}img/mask.png\n")).collect();
        let table = format!("path,mask\n{}", rows.concat());
        let (items, problems, notes, dir) = found(table.as_bytes(), &files, Columns::default());
        let paths: Vec<_> = items.iter().map(|item| item.file.path()).collect();
        assert_eq!(paths, files[..4].iter().map(|name| dir.path().join(name)).collect::<Vec<_>>(), "{table}");
        assert!(items.iter().all(|item| item.mask == [dir.path().join("img/mask.PNG").into()]), "{table}");
        assert_eq!(problems, []);
        let said = |what: &str| notes.iter().any(|note| note.contains(what));
        assert!(said("list.csv: 4 files found under names in another Unicode form"), "{notes:?}");
        assert_eq!(said("by paths of another machine"), !root.is_empty(), "{notes:?}");
        assert!(items.iter().all(|item| !item.name.contains(['\\', ':']) && !item.name.starts_with('/')));
    }
    // What is there under its very name is taken, and of two that fit neither.
    let files = ["a.png", "a.PNG", "b.Png", "b.PNG"];
    let (items, _, notes, dir) = found(b"path\na.png\na.PNG\nb.png\n", &files, Columns::default());
    let paths: Vec<_> = items.iter().map(|item| item.file.path()).collect();
    assert_eq!(paths, ["a.png", "a.PNG", "b.png"].map(|name| dir.path().join(name)));
    assert_eq!(notes, [""; 0]);
    // Folders that are not the same on both machines are not guessed one by one: two files must not become one.
    let (items, _, _, dir) = found(b"path\nC:\\a\\0.png\nC:\\b\\0.png\n", &["0.png"], Columns::default());
    let paths: Vec<_> = items.iter().map(|item| item.file.path()).collect();
    assert_eq!(paths[0], dir.path().join("0.png"));
    assert_ne!(paths[0], paths[1]);
}

#[cfg(unix)]
#[test]
fn a_file_that_has_a_backslash_in_its_name_is_found() {
    let (items, _, _, dir) = found(b"path\na\\0.png\nb\\0.png\n", &["a\\0.png", "b/0.png"], Columns::default());
    let paths: Vec<_> = items.iter().map(|item| item.file.path()).collect();
    assert_eq!(paths, ["a\\0.png", "b/0.png"].map(|name| dir.path().join(name)));
}

#[test]
fn names_in_archives_may_be_spelled_otherwise_too() {
    let dir = tempfile::tempdir().unwrap();
    let members = [("s/e\u{301}.PNG", &b""[..]), ("s/1.png", b"")];
    fs::write(dir.path().join("s.zip"), crate::archive::tests::zip_bytes(&members, zip::CompressionMethod::Stored))
        .unwrap();
    fs::write(dir.path().join("list.csv"), "path\ns\\\u{e9}.png\nC:\\x\\s\\1.png\n").unwrap();
    let (preset, archives) = (Table::default(), Archives::default());
    let items: Vec<_> = preset.items(dir.path(), &archives).unwrap().map(|item| item.unwrap().file).collect();
    assert_eq!(
        items.iter().map(|file| file.path()).collect::<Vec<_>>(),
        members.map(|(name, _)| dir.path().join("s.zip").join(name))
    );
}

#[test]
fn long_numbers_that_a_spreadsheet_cut_are_said() {
    let (items, _, notes, _dir) =
        found(b"path,patient\n0.png,1.23457E+11\n1.png,1.23457E+11\n", &[], Columns::default());
    assert_eq!(items[0].patient, items[1].patient);
    assert!(notes[0].contains("list.csv: 2 patients in a form like 1.23E+11 (for example line 2)"), "{notes:?}");
}

#[test]
fn a_quote_that_is_never_closed_takes_no_rows_away_in_silence() {
    for table in [
        "path,patient\n0.png,1\n1.png,\"2\n2.png,3\n3.png,4\n",
        "path,patient\n0.png,1\n\"1.png,2\n2.png,3\n",
        "path,patient\r0.png,1\r1.png,\"2\r2.png,3\r",
    ] {
        let (items, problems, _, _dir) = found(table.as_bytes(), &[], Columns::default());
        assert_eq!(items.len(), 1, "{table:?}");
        assert!(problems[0].reason.contains("in line 3 is never closed"), "{problems:?}");
    }
    // Quotes that are closed, doubled, or characters of a cell are none.
    let (items, problems, ..) =
        found(b"path,patient\n\"0.png\",\"a \"\"b\"\"\"\n1.png,5\" tube\n2.png,\"c\nd\"", &[], Columns::default());
    assert_eq!((items.len(), problems.len()), (3, 0));
}

#[test]
fn a_stray_number_does_not_make_classes_of_findings() {
    let rows: String = (0..40).map(|row| format!("{row}.png,{}\n", if row == 7 { 9 } else { row % 2 })).collect();
    let (items, problems, ..) = found(format!("path,Mass\n{rows}").as_bytes(), &[], labelled(&["Mass"]));
    assert_eq!(items[1].labels, ["Mass"]);
    assert_eq!(items[2].labels_negative, ["Mass"]);
    assert!(items[7].labels.is_empty() && problems[0].reason.contains("line 9"), "{problems:?}");
}

/// Bytes that somebody damaged: a sentence or items, never a panic, and the same each time.
#[test]
fn damaged_tables_are_sentences_or_items() {
    let seeds: [&[u8]; 5] = [
        b"sep=;\npath;patient;Mass;split\n0.png;12,0;1;train\nC:\\x\\1.png;nan;-1,0;\n0.png;13;0;test\n",
        b"\xff\xfep\0a\0t\0h\0,\0M\0a\0s\0s\0\n\x000\0.\0p\0n\0g\0,\x001\0\n\0",
        b"path,patient,labels,Mass\r0.png,1,\"a|b\",?\r./0.png,2,\"c\"\"d\",1\r",
        b"path|view|mask|Mass\r\n0.PNG|PA|m\\1.png|0.5\r\n1.png|AP|\xe9.png|0\r\n",
        b"/,//,\"\",path\n..,.,\\,/\n",
    ];
    const BYTES: &[u8] = b",;\t|\"\r\n\\/.:0\0\xff\xfe\xe9-1 ";
    let mut state = 11_u64;
    let mut below = move |limit: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % limit
    };
    let dir = tempfile::tempdir().unwrap();
    for name in ["0.png", "1.PNG"] {
        fs::write(dir.path().join(name), "").unwrap();
    }
    let path = dir.path().join("list.csv");
    for case in 0..3000 {
        let mut bytes = seeds[case % seeds.len()].to_vec();
        for _ in 0..below(6) {
            let at = below(bytes.len());
            let byte = BYTES[below(BYTES.len())];
            match below(4) {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => bytes.extend_from_within(at..),
            }
        }
        fs::write(&path, &bytes).unwrap();
        let columns = if below(2) == 0 { Columns::default() } else { labelled(&["Mass"]) };
        let preset = Table::new(columns);
        let archives = Archives::default();
        let read = || -> Option<Vec<_>> {
            match preset.items(&path, &archives) {
                Ok(items) => Some(items.collect()),
                Err(error) => {
                    assert!(!error.to_string().is_empty());
                    None
                }
            }
        };
        let all = read();
        assert_eq!(all, read(), "{bytes:?}");
        let mut paths = std::collections::HashSet::new();
        for item in all.into_iter().flatten() {
            match item {
                Ok(item) => {
                    assert!(!item.name.is_empty() && !item.name.starts_with('/'), "{item:?}");
                    let path = item.file.path();
                    let is_new = !path.is_file() || paths.insert(path);
                    assert!(is_new, "an image came twice: {item:?} of {bytes:?}");
                }
                Err(skipped) => assert!(!skipped.item.is_empty() && !skipped.reason.is_empty()),
            }
        }
    }
}

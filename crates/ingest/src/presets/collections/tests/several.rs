use super::national::{write_nih, write_rsna};
use super::*;

/// Two collections in one dataset, of which one has images of the other's patients.
fn both(mini: &Mini, more: PrepareConfig, name: &str) -> PrepareSummary {
    let nih = mini.dir.path().join("source");
    let config = PrepareConfig {
        collections: ["nih-chestxray14", "rsna-pneumonia"]
            .map(|preset| CollectionSource { preset: preset.into(), folder: nih.clone() })
            .to_vec(),
        image_size: SIZE,
        out: mini.dir.path().join(name),
        ..more
    };
    prepare::run(&config, &Silent).unwrap()
}

fn nih_and_rsna() -> Mini {
    let mini = Mini::new();
    write_nih(&mini);
    write_rsna(&mini);
    mini
}

#[test]
fn several_collections_share_patients_and_may_be_capped() {
    let mini = nih_and_rsna();
    let summary = both(&mini, PrepareConfig::default(), "all");
    assert_eq!(summary.num_images, 8);
    let made = Prepared::of(summary);
    let nih = "1-source/images_012/images/00000002_000.png";
    assert!(made.same_patient(nih, "2-source/stage_2_train_images/0043.dcm"));
    assert_eq!(made.row(nih).split, made.row("2-source/stage_2_train_images/0004.dcm").split);
    assert_eq!(made.dataset.info().collections.len(), 2);
    let terms = &made.dataset.info().preparation["terms"];
    assert!(terms["rsna-pneumonia"]["citation"].as_str().unwrap().contains("Shih"));
    assert!(terms["nih-chestxray14"]["licence"].as_str().unwrap().contains("no restrictions"));

    let capped = both(&mini, PrepareConfig { max_per_collection: Some(2), ..Default::default() }, "capped");
    assert_eq!(Dataset::open(&capped.dataset).unwrap().info().collections.values().collect::<Vec<_>>(), [&2, &2]);
    let again = both(&mini, PrepareConfig { max_per_collection: Some(2), ..Default::default() }, "again");
    let files = |summary: PrepareSummary| {
        let mut files: Vec<_> = Prepared::of(summary).rows.into_keys().collect();
        files.sort();
        files
    };
    assert_eq!(files(capped), files(again), "the choice depends on names alone");
}

#[test]
fn what_is_excluded_is_left_out_wherever_it_is() {
    let mini = nih_and_rsna();
    let list = mini.dir.path().join("exclude.csv");
    let with = |text: &str| {
        fs::write(&list, text).unwrap();
        PrepareConfig { exclude: Some(list.clone()), ..Default::default() }
    };
    // Patient 2 of the NIH has one image there and two in the challenge.
    let summary = both(&mini, with("collection,patient\nnih-chestxray14,00000002\n"), "patient");
    assert_eq!((summary.num_images, summary.num_excluded), (5, 3));
    let summary = both(&mini, with("collection\nrsna-pneumonia\n"), "collection");
    assert_eq!((summary.num_images, summary.num_excluded), (4, 4));
    let all = Prepared::of(both(&mini, PrepareConfig::default(), "all"));
    let hash = &all.row("1-source/images_012/images/00000003_000.png").pixel_hash;
    let summary = both(&mini, with(&format!("pixel_hash\n{hash}\n")), "image");
    assert_eq!((summary.num_images, summary.num_excluded), (7, 1));

    // A dataset's images; its patients too, where the salt is the same.
    let salt = mini.dir.path().join("salt");
    fs::write(&salt, "a salt that is long enough").unwrap();
    let salted = || PrepareConfig { salt_file: Some(salt.clone()), ..Default::default() };
    let evaluation = prepare::run(
        &PrepareConfig {
            sources: vec![mini.source()],
            preset: "nih-chestxray14".into(),
            image_size: SIZE,
            out: mini.dir.path().join("evaluation"),
            salt_file: Some(salt.clone()),
            ..with("collection,patient\nnih-chestxray14,1\nnih-chestxray14,3\n")
        },
        &Silent,
    )
    .unwrap();
    assert_eq!(evaluation.num_images, 1, "patient 2 of the NIH is the evaluation set");
    let config = PrepareConfig { exclude: Some(evaluation.dataset.clone()), ..salted() };
    assert_eq!(both(&mini, config, "without evaluation").num_images, 5);
    let config = PrepareConfig { exclude: Some(evaluation.dataset), ..Default::default() };
    assert_eq!(both(&mini, config, "images only").num_images, 7);
}

#[test]
fn mistakes_in_the_exclude_list_are_found() {
    let mini = nih_and_rsna();
    let list = mini.dir.path().join("exclude.csv");
    fs::write(&list, "collection\nnih-chestxray\n").unwrap();
    let config = PrepareConfig {
        sources: vec![mini.source()],
        preset: "nih-chestxray14".into(),
        image_size: SIZE,
        out: mini.dir.path().join("out"),
        exclude: Some(list.clone()),
        ..Default::default()
    };
    let error = |config: &PrepareConfig| format!("{:#}", prepare::run(config, &Silent).unwrap_err());
    assert!(
        error(&config).contains("the collection \"nih-chestxray\" in line 2, which does not exist"),
        "{}",
        error(&config)
    );
    assert!(!Path::new(&config.out).exists());
    fs::write(&list, "collection\nnih-chestxray14\n").unwrap();
    assert!(error(&config).contains("nothing is left: the exclude list leaves out 4 images"), "{}", error(&config));
    fs::remove_file(&list).unwrap();
    assert!(error(&config).contains("the exclude list cannot be read"), "{}", error(&config));
}

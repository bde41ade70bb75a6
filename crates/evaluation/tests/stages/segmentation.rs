//! Segmentation of phantoms by networks that have hardly been trained: plumbing, not results.

use std::path::Path;

use ::segmentation::{Method, SegmenterSettings};
use dataset::{Dataset, Split};
use evaluation::segmentation::{self, SegmentationConfig};
use messages::Silent;
use report::{self, ReportConfig};
use stages::device;
use stages::segment::{self, SegmentConfig, SegmentSummary};

use super::{NUM_IMAGES, encoded_phantoms, train_to};

fn segmented(config: &SegmentConfig) -> anyhow::Result<SegmentSummary> {
    segment::run(config, &device::parse("cpu").unwrap(), &Silent)
}

#[test]
fn lungs_are_searched_in_every_image_and_a_killed_run_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = encoded_phantoms(folder.path());
    let run = folder.path().join("run");
    train_to(16, &dataset, &run, false).unwrap();
    let scheduler = run.join("model/scheduler");
    let text = std::fs::read_to_string(scheduler.join("scheduler_config.json")).unwrap();
    let info = stages::model::read_info(&run.join("model")).unwrap();
    assert_eq!(text, stages::model::scheduler_config(&info).unwrap());
    // Nothing but diffusers reads it: folders of earlier versions have none.
    std::fs::remove_dir_all(&scheduler).unwrap();
    let out = folder.path().join("masks");
    let settings = SegmenterSettings { method: Method::Parts { num_parts: 8 }, ..SegmenterSettings::default() };
    let config = SegmentConfig {
        model: run,
        dataset: dataset.clone(),
        out: out.clone(),
        split: None,
        max_images: Some(5),
        segmenter: None,
        settings: Some(settings),
        dicom_sources: None,
        attention: true,
        batch_size: 2,
        seed: 0,
    };
    assert_eq!(segmented(&config).unwrap().num_images, 5);
    let kept = std::fs::read(out.join("segments/phantom-03.png")).unwrap();
    // As an earlier version left it, which wrote no images.
    std::fs::remove_file(out.join("images/phantom-02.png")).unwrap();
    // A line that a kill has cut short.
    let journal = out.join("segments.jsonl");
    let text = std::fs::read_to_string(&journal).unwrap();
    std::fs::write(&journal, &text[..text.len() - 20]).unwrap();
    let whole = SegmentConfig { max_images: None, batch_size: 7, ..config.clone() };
    let summary = segmented(&whole).unwrap();
    assert_eq!(summary.num_images, NUM_IMAGES);
    assert_eq!(summary.num_with_both_lungs + summary.skipped.len(), NUM_IMAGES);
    assert_eq!(std::fs::read_to_string(&journal).unwrap().lines().count(), NUM_IMAGES);
    assert_eq!(std::fs::read(out.join("segments/phantom-03.png")).unwrap(), kept);
    for place in ["images", "segments", "right_lung", "left_lung", "overlays"] {
        assert!(out.join(place).join("phantom-23.png").is_file(), "{place}");
    }
    assert!(out.join("attention/phantom-00.safetensors").is_file());
    let coco: serde_json::Value = serde_json::from_slice(&std::fs::read(&summary.annotations).unwrap()).unwrap();
    assert_eq!(coco["images"].as_array().unwrap().len(), NUM_IMAGES);
    assert_eq!(coco["categories"][0]["name"], "right_lung");
    check_annotations(&coco, &out, &Dataset::open(&dataset).unwrap());
    if let Some(kept) = std::env::var_os("DINO_DIFFUSION_KEEP") {
        // For `golden/coco/check.py`.
        std::fs::rename(&out, Path::new(&kept).join("masks")).unwrap();
        return;
    }

    let other = SegmenterSettings { method: Method::Otsu, ..SegmenterSettings::default() };
    let refused = segmented(&SegmentConfig { settings: Some(other), ..whole.clone() }).unwrap_err().to_string();
    assert!(refused.contains("another segmenter"), "{refused}");
    let refused = segmented(&SegmentConfig { split: Some(Split::Test), ..whole }).unwrap_err().to_string();
    assert!(refused.contains("no image to segment"), "{refused}");
}

/// A PNG of 8 bits.
fn grey(path: &Path) -> Vec<u8> {
    let options = radiograph::DecodeOptions::default();
    let image = radiograph::decode_file(path, &options).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    image.pixels.iter().map(|pixel| (pixel * 255.0).round() as u8).collect()
}

/// The images that annotations name are beside them and are those of the dataset; the annotations are the masks.
fn check_annotations(coco: &serde_json::Value, out: &Path, dataset: &Dataset) {
    let size = dataset.image_size();
    let annotations = coco["annotations"].as_array().unwrap();
    let ids: Vec<String> = dataset.rows().unwrap().map(|row| row.unwrap().id).collect();
    for image in coco["images"].as_array().unwrap() {
        let name = image["file_name"].as_str().unwrap();
        let stem = name.strip_prefix("images/").and_then(|name| name.strip_suffix(".png")).unwrap();
        let index = ids.iter().position(|id| id == stem).unwrap();
        assert_eq!(grey(&out.join(name)), dataset.image(index).unwrap(), "{name}");
        assert_eq!((&image["width"], &image["height"]), (&size.into(), &size.into()));
        for (category, structure) in [(1, "right_lung"), (2, "left_lung")] {
            let mask = grey(&out.join(structure).join(format!("{stem}.png")));
            let found = annotations
                .iter()
                .find(|found| found["image_id"] == image["id"] && found["category_id"] == serde_json::json!(category));
            let Some(found) = found else {
                assert!(mask.iter().all(|value| *value == 0), "{stem}, {structure}");
                continue;
            };
            let inside: Vec<u8> = mask.iter().map(|value| u8::from(*value != 0)).collect();
            let coded = segment::RunLengths::of(&inside, size, size);
            assert_eq!(found["segmentation"], serde_json::to_value(coded).unwrap(), "{stem}, {structure}");
            assert_eq!(found["area"], inside.iter().filter(|value| **value != 0).count());
        }
    }
}

#[test]
fn the_evaluation_says_what_each_rule_gives_beside_its_controls() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = encoded_phantoms(folder.path());
    let run = folder.path().join("run");
    train_to(16, &dataset, &run, false).unwrap();
    let config = SegmentationConfig {
        model: run.clone(),
        dataset: dataset.clone(),
        split: Split::Val,
        search_share: 0.6,
        num_annotated: vec![2],
        timesteps: vec![300.0],
        checkpoints: Some(run.clone()),
        batch_size: 4,
        seed: 0,
        out: folder.path().join("found"),
    };
    let cpu = device::parse("cpu").unwrap();
    let summary = segmentation::run(&config, &cpu, &Silent).unwrap();
    assert_eq!((summary.search.images, summary.report.images), (4, 3));
    assert_eq!(summary.skipped.len(), 1, "one mask is empty: {:?}", summary.skipped);
    let dice = |method: &str, rule: &str| {
        let row = summary.results.iter().find(|row| row.method == method && row.rule == rule);
        row.unwrap_or_else(|| panic!("{method}, {rule}")).scores.dice.value
    };
    for method in ["parts", "diffseg", "normalised_cut", "random_walk", "token_cut", "otsu", "parts on random weights"]
    {
        for rule in ["oracle", "unsupervised", "prototype, n = 2"] {
            assert!((0.0..=1.0).contains(&dice(method, rule)), "{method}, {rule}");
        }
    }
    // Phantoms lie where the template expects them; nobody who knows the mask can do much worse.
    assert!(dice("place alone", "unsupervised") > 0.3);
    assert!(dice("parts", "oracle") > 0.3);
    assert!(!summary.checkpoints.is_empty());
    assert!(config.out.join("gallery.png").is_file());
    let json = std::fs::read_to_string(config.out.join("segmentation.json")).unwrap();
    assert!(json.contains("\"definition_of_hausdorff_95\": \"MONAI's"));
    assert!(json.contains("\"tried\"") && json.contains("\"mean_segments\""));
    assert!(json.contains("\"kind\": \"segmentation\"") && json.contains("\"latents by DDIM inversion\""));
    let curve = std::fs::read_to_string(config.out.join("dice-by-training-parts.svg")).unwrap();
    assert_eq!(curve.matches("<polyline").count(), 3, "a line for each rule: {curve}");
    assert!(config.out.join("dice-by-threshold-diffseg.svg").is_file());
    let page = ReportConfig::new(vec![config.out.clone()], folder.path().join("report.html"));
    assert_eq!(report::run(&page, &Silent).unwrap().num_folders, 1);
    let html = std::fs::read_to_string(&page.out).unwrap();
    assert!(html.contains("data-key=\"results.0.scores.dice.value\"") && html.contains("Dice against the threshold"));

    // One that was stopped early, in the middle of a line, goes on to the same figures.
    let journal = config.out.join("search.jsonl");
    let lines = std::fs::read_to_string(&journal).unwrap();
    std::fs::write(&journal, &lines[..lines.len() / 3]).unwrap();
    segmentation::run(&config, &cpu, &Silent).unwrap();
    assert_eq!(std::fs::read_to_string(config.out.join("segmentation.json")).unwrap(), json);
    assert_eq!(std::fs::read_to_string(&journal).unwrap(), lines);
    // With all of it known, nothing is tried again.
    segmentation::run(&config, &cpu, &Silent).unwrap();
    assert_eq!(std::fs::read_to_string(config.out.join("segmentation.json")).unwrap(), json);
    assert_eq!(std::fs::read_to_string(&journal).unwrap(), lines);

    // What it found serves `segment`.
    let masks = SegmentConfig {
        model: run,
        dataset: dataset.clone(),
        out: folder.path().join("masks"),
        split: Some(Split::Val),
        max_images: None,
        segmenter: Some(config.out.join("segmenter")),
        settings: None,
        dicom_sources: None,
        attention: false,
        batch_size: 3,
        seed: 0,
    };
    assert_eq!(segmented(&masks).unwrap().num_images, Dataset::open(&dataset).unwrap().info().counts.val);

    // The first image's source is a DICOM file; the others are missing, which is said and stops nothing.
    let sources = folder.path().join("sources");
    std::fs::create_dir(&sources).unwrap();
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../radiograph/tests/golden/dicom/u12_study.dcm");
    std::fs::copy(golden, sources.join("0.png")).unwrap();
    let out = folder.path().join("objects");
    let objects =
        SegmentConfig { out: out.clone(), split: None, dicom_sources: Some(sources), max_images: Some(2), ..masks };
    let summary = segmented(&objects).unwrap();
    assert!(out.join("dicom_seg/phantom-00.dcm").is_file() && !out.join("dicom_seg/phantom-01.dcm").exists());
    assert!(summary.skipped.iter().any(|skipped| skipped.reason.contains("its source cannot be read")));

    let none = SegmentationConfig { split: Split::Test, ..config };
    let error = segmentation::run(&none, &cpu, &Silent).unwrap_err().to_string();
    assert!(error.contains("no image with a mask"), "{error}");
}

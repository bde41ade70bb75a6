//! The page as a whole, on folders of every kind.

use std::fs;
use std::path::Path;

use dataset::{DatasetSettings, DatasetWriter, ManifestRow, Provenance, RunDir, Split, pixels_hash};

use super::*;
use messages::Silent;

pub(super) fn write_dataset(folder: &Path, synthetic: bool) {
    let mut writer = DatasetWriter::create_or_resume(folder, DatasetSettings::new(8)).unwrap();
    for index in 0..5u8 {
        let pixels = vec![index * 40; 64];
        let floats: Vec<f32> = pixels.iter().map(|&pixel| f32::from(pixel) / 255.0).collect();
        let row = ManifestRow {
            id: format!("id-{index}"),
            source_file: format!("{index}.png"),
            pixel_hash: pixels_hash(&floats, 8, 8),
            labels: vec!["<effusion>".into()],
            provenance: synthetic.then(|| Provenance { strategy: "reconstruction".into(), ..Provenance::default() }),
            ..ManifestRow::bare(format!("patient-{index}"), Split::ALL[usize::from(index) % 3])
        };
        writer.push(row, &pixels, None).unwrap();
    }
    writer.finish().unwrap();
}

pub(super) fn write_run(folder: &Path) {
    let run = RunDir::create(folder, "description = \"A test.\"\n[optimiser]\nlearning_rate = 0.125\n").unwrap();
    let mut log = run.metrics(0).unwrap();
    for step in 1..=80u64 {
        let loss = 1.0 / step as f64;
        log.append(step, step * 32, &[("loss", loss), ("loss_time_0_of_2", loss), ("loss_time_1_of_2", loss)]).unwrap();
    }
    radiograph::write_png_u8(&run.samples_dir().unwrap().join("00000640.png"), &[7; 64], 8, 8).unwrap();
}

#[test]
fn one_page_shows_every_kind_of_folder_and_lists_what_is_none() {
    let dir = tempfile::tempdir().unwrap();
    write_dataset(&dir.path().join("all/real"), false);
    write_dataset(&dir.path().join("all/synthetic"), true);
    let run_dir = dir.path().join("all/run");
    write_run(&run_dir);
    fs::create_dir(run_dir.join("evaluation")).unwrap();
    fs::write(run_dir.join("evaluation/autoencoder.json"), "{\"psnr\": 31.25}").unwrap();
    radiograph::write_png_u8(&run_dir.join("evaluation/reconstructions.png"), &[9; 64], 8, 8).unwrap();
    fs::create_dir(dir.path().join("other")).unwrap();

    let mut config =
        ReportConfig::new(vec![dir.path().join("all"), dir.path().join("other")], dir.path().join("new/report.html"));
    config.notes.push("These are <phantoms>.".into());
    config.timings = vec![("train".into(), 61.0), ("generate".into(), 4.25)];
    let summary = run_report(&config);
    assert_eq!((summary.num_folders, summary.skipped.len()), (3, 1));
    assert!(summary.skipped[0].reason.contains("holds none"), "{:?}", summary.skipped);

    let html = fs::read_to_string(&config.out).unwrap();
    for part in [
        "Training run: ",
        "learning_rate",
        "0.125",
        "00000640.png",
        "31.25",
        "reconstructions.png",
        "reconstruction",
        "&lt;effusion&gt;",
        "&lt;phantoms&gt;",
        "1 min 1 s",
        "4.2 s",
        "loss by time",
        "train 2, val 2, test 1",
    ] {
        assert!(html.contains(part), "the page lacks {part:?}");
    }
    assert_eq!(html.matches("<img ").count(), 4, "two contact sheets, a sample grid, an evaluation");
    assert_eq!(html.matches("<svg ").count(), 2, "the loss, and the loss by time");
    assert!(!html.contains("<script") && !html.contains("http"), "the page must need nothing from elsewhere");
}

fn run_report(config: &ReportConfig) -> ReportSummary {
    run(config, &Silent).unwrap()
}

#[test]
fn a_damaged_folder_does_not_cost_the_others_their_place() {
    let dir = tempfile::tempdir().unwrap();
    write_dataset(&dir.path().join("real"), false);
    let broken = dir.path().join("broken");
    fs::create_dir(&broken).unwrap();
    fs::write(broken.join("recipe.toml"), "this is = = no TOML").unwrap();
    let config = ReportConfig::new(vec![dir.path().join("real"), broken.clone()], dir.path().join("report.html"));
    let summary = run_report(&config);
    assert_eq!((summary.num_folders, summary.skipped.len()), (1, 1));

    let error = run(&ReportConfig::new(vec![broken], dir.path().join("none.html")), &Silent).unwrap_err();
    assert!(error.to_string().contains("no valid TOML"), "{error:#}");
    assert!(!dir.path().join("none.html").exists());
}

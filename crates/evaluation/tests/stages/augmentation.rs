//! The grid on phantoms and an untrained generator: plumbing, not results.

use super::{NUM_IMAGES, encoded_phantoms, train_to};
use evaluation::augmentation::{
    self, AugmentationConfig, AugmentationOutcome, ClassifierSettings, GridSettings, Regime,
};
use evaluation::features::FeatureChoice;
use messages::Silent;
use report::{self, ReportConfig};
use stages::device;
use std::path::Path;

fn grid(model: &Path) -> GridSettings {
    let mut grid: GridSettings = settings::resolve("kermany", &[]).unwrap();
    grid.cases.source = None;
    grid.cases.labels = vec!["even".into(), "odd".into()];
    grid.grid.sizes = vec![4, 100];
    grid.grid.ratios = vec![1, 3];
    grid.grid.num_folds = 2;
    grid.grid.max_synthetic = 20;
    for set in &mut grid.synthetic {
        let generator = set.generate.as_mut().unwrap();
        generator.model = model.into();
        generator.num_steps = Some(2);
    }
    for classifier in &mut grid.classifiers {
        match classifier {
            ClassifierSettings::LinearProbe { features, .. } => *features = FeatureChoice::Encoder(model.into()),
            ClassifierSettings::Residual { image_size, channels, training, .. } => {
                (*image_size, *channels) = (16, vec![8]);
                (training.num_steps, training.batch_size) = (4, 4);
            }
            other => panic!("the grid has no {}", other.name()),
        }
    }
    grid
}

fn run(dataset: &Path, settings: &GridSettings, out: &Path) -> anyhow::Result<AugmentationOutcome> {
    let config = AugmentationConfig { dataset: dataset.into(), settings: settings.clone(), out: out.into() };
    augmentation::run(&config, &device::parse("cpu").unwrap(), &Silent)
}

/// Lines of finished cells without the time they took.
fn cells(out: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(out.join("cells.jsonl")).unwrap();
    let mut cells: Vec<serde_json::Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for cell in &mut cells {
        cell.as_object_mut().unwrap().remove("secs");
    }
    cells
}

#[test]
fn a_grid_that_was_cut_short_finishes_with_the_same_figures_and_repeats_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = encoded_phantoms(folder.path());
    let model = folder.path().join("run");
    train_to(16, &dataset, &model, false).unwrap();
    let (grid, out) = (grid(&model), folder.path().join("grid"));
    let outcome = run(&dataset, &grid, &out).unwrap();
    // A fold has 8 images: with 3 synthetic for each they would need 24, so those cells are left out. Per fold the probe
    // has of 4 images 1 + 2 ratios * (classical + 2 sets * 2 regimes), of 8 half the ratios; the network 3 regimes.
    let per_fold = |regimes: usize| (1 + 2 * (1 + 2 * regimes)) + (1 + (1 + 2 * regimes));
    assert_eq!(outcome.num_finished, 2 * (per_fold(2) + per_fold(3)), "{:?}", outcome.skipped);
    assert_eq!(outcome.num_left_out_cells, 2 * ((1 + 2 * 2) + (1 + 2 * 3)));
    assert!(outcome.skipped.is_empty(), "{:?}", outcome.skipped);
    let undisturbed = cells(&out);
    let summary = |out: &Path| -> serde_json::Value {
        serde_json::from_str(&std::fs::read_to_string(out.join("augmentation.json")).unwrap()).unwrap()
    };
    let whole = summary(&out);
    assert_eq!(whole["num_train"]["even"], 8);
    for cell in &undisturbed {
        let (ratio, size) = (cell["ratio"].as_u64().unwrap_or(0), cell["size"].as_u64().unwrap().min(8));
        assert_eq!(cell["num_synthetic"].as_u64().unwrap(), ratio * size, "{cell}");
        let auc = cell["macro_auc"].as_f64().unwrap();
        assert!((0.0..=1.0).contains(&auc));
    }
    for name in ["runs.csv", "runs.parquet", "comparisons.csv", "tables.md", "residual-synthetic-then-real.svg"] {
        assert!(out.join(name).is_file(), "{name}");
    }
    let endings = std::fs::read_dir(&out).unwrap().map(|entry| entry.unwrap().path());
    let num_drawings = endings.filter(|path| path.extension().is_some_and(|ending| ending == "svg")).count();
    assert!(num_drawings >= 4, "{num_drawings} drawings");
    let page = folder.path().join("report.html");
    report::run(&ReportConfig::new(vec![out.clone()], page.clone()), &Silent).unwrap();
    let page = std::fs::read_to_string(page).unwrap();
    for (part, count) in [
        ("Every comparison, with its test", 1),
        ("over 2 folds and 1 repeat.", 1),
        ("data:image/svg+xml", num_drawings),
        ("data:image/png", 0), // the same drawings once more
        ("data-key=\"groups.1.against_real.difference\"", 1),
        ("\\*", 0),
    ] {
        assert_eq!(page.matches(part).count(), count, "{part}");
    }

    let text = std::fs::read_to_string(out.join("cells.jsonl")).unwrap();
    let kept = text.lines().count() / 3;
    let cut: String = text.lines().take(kept).flat_map(|line| [line, "\n"]).collect();
    std::fs::write(out.join("cells.jsonl"), cut + "{\"classifier\": \"line").unwrap();
    let resumed = run(&dataset, &grid, &out).unwrap();
    assert_eq!(resumed.num_new, outcome.num_finished - kept);
    assert_eq!(cells(&out), undisturbed);
    let again = summary(&out);
    assert_eq!(again["groups"], whole["groups"]);
    assert_eq!(run(&dataset, &grid, &out).unwrap().num_new, 0);

    let mut other = grid.clone();
    other.grid.num_folds = 3;
    let error = format!("{:#}", run(&dataset, &other, &out).unwrap_err());
    assert!(error.contains("grid.num_folds"), "{error}");
}

#[test]
fn bad_input_gets_a_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = encoded_phantoms(folder.path());
    let attempt = |change: &dyn Fn(&mut GridSettings)| {
        let mut grid = grid(Path::new("random:vit-tiny/16"));
        grid.synthetic.clear();
        grid.grid.regimes = vec![Regime::RealAndClassical];
        change(&mut grid);
        format!("{:#}", run(&dataset, &grid, &folder.path().join("grid")).unwrap_err())
    };
    let error = attempt(&|grid| grid.cases.labels = vec!["even".into(), "cardiomegaly".into()]);
    assert!(
        error.contains("0 of 8 images") && error.contains("cardiomegaly") && error.contains("even, odd"),
        "{error}"
    );
    let error = attempt(&|grid| grid.grid.num_folds = NUM_IMAGES);
    assert!(error.contains("16 patients") && error.contains("24 folds"), "{error}");
    let error = attempt(&|grid| {
        grid.classifiers.remove(0);
        if let ClassifierSettings::Residual { image_size, .. } = &mut grid.classifiers[0] {
            *image_size = 48;
        }
    });
    assert!(error.contains("64 px") && error.contains("48 px"), "{error}");
}

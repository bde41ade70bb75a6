//! Training does not feel which algorithm convolves.

use std::path::Path;

use crate::common::{encoded_phantoms, program, succeed, train};

/// The losses that a run logged, one for each step.
fn losses(run: &Path) -> Vec<f64> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let value = |line: &str| -> Option<f64> { serde_json::from_str::<serde_json::Value>(line).ok()?["loss"].as_f64() };
    text.lines().filter_map(value).collect()
}

fn mean_difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / a.len() as f64
}

#[test]
fn two_hundred_steps_by_winograds_algorithm_and_by_direct_convolution_agree() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    encoded_phantoms(folder, "data", 1);
    let more = ["--set", "training.total_images=800", "--set", "training.log_every_images=4"];
    succeed(folder, &train("data", "winograd", &more));
    let direct = program(folder, &train("data", "direct", &more)).env("DINO_DIFFUSION_CONVOLUTION", "direct").output();
    assert!(direct.unwrap().status.success());
    succeed(folder, &train("data", "seed", &[&more[..], &["--seed", "5"]].concat()));
    let [winograd, direct, seed] = ["winograd", "direct", "seed"].map(|run| losses(&folder.join(run)));
    assert_eq!(winograd.len(), 200);
    let rounding = mean_difference(&winograd, &direct);
    let chance = mean_difference(&winograd, &seed);
    assert!(rounding > 0.0, "the switch must change something");
    assert!(rounding < 0.01 * chance, "algorithms differ by {rounding}, seeds by {chance}");
}

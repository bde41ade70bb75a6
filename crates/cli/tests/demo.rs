//! All stages, from phantoms to the report, in miniature: a few steps of a tiny network.

use std::path::Path;
use std::process::Command;

/// Small enough for a debug build on two cores.
const MINIATURE: [&str; 28] = [
    "demo",
    "--out",
    "demo",
    "--num-phantoms",
    "60",
    "--autoencoder-images",
    "64",
    "--set",
    "training.total_images=64",
    "--set",
    "training.checkpoint_every_images=32",
    "--set",
    "training.sample_every_images=64",
    "--set",
    "training.log_every_images=16",
    "--set",
    "training.num_sample_images=2",
    "--set",
    "optimiser.batch_size=16",
    "--set",
    "unet.block_out_channels=[32, 32]",
    "--set",
    "unet.attention_head_dim=2",
    "--set",
    "sampling.num_steps=2",
    "--threads",
    "2",
    "--seed=1",
];

fn run(folder: &Path, words: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_dino-diffusion"))
        .args(words)
        .current_dir(folder)
        .output()
        .expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program writes UTF-8");
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_miniature_demonstration_runs_restarts_and_can_be_explored_with_the_other_commands() {
    let folder = tempfile::tempdir().unwrap();
    let (code, stdout, stderr) = run(folder.path(), &MINIATURE);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(!stderr.contains('\x1b'), "no escape codes without a terminal: {stderr:?}");
    assert!(stderr.contains("not results"), "it must say what phantoms are: {stderr}");
    let summary: toml::Table = toml::from_str(&stdout).expect("the result is TOML");
    assert_eq!(summary["images_seen"].as_integer(), Some(64));

    let demo = folder.path().join("demo");
    let page = std::fs::read_to_string(demo.join("report.html")).unwrap();
    assert!(page.contains("not results") && page.contains("<svg ") && !page.contains("<script"));
    assert!(page.matches("<img ").count() >= 6, "figures, sample grid and contact sheets");

    // Nothing is done twice: the second time only the page is written anew.
    let model = std::fs::read(demo.join("run/model/unet/diffusion_pytorch_model.safetensors")).unwrap();
    let (code, _, stderr) = run(folder.path(), &MINIATURE);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(!stderr.contains("drawing phantoms"), "{stderr}");
    assert_eq!(std::fs::read(demo.join("run/model/unet/diffusion_pytorch_model.safetensors")).unwrap(), model);
    let (code, _, stderr) = run(folder.path(), &["demo", "--out", "demo"]);
    assert_eq!(code, Some(2), "other settings must be refused");
    assert!(stderr.contains("other settings"), "{stderr}");

    // The folders are what the other commands read.
    let generate = "generate demo/run demo/phantoms interpolate --num-images 3 --fractions 0,0.5,1 --pairs neighbour \
                    --out mixed --png 16 --figure --num-steps 2 --batch-size 2 -q";
    let (code, stdout, stderr) = run(folder.path(), &generate.split_whitespace().collect::<Vec<_>>());
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stderr}");
    assert!(stdout.contains("num_images = 3"), "{stdout}");
    assert!(folder.path().join("mixed/figure.png").is_file());
    assert_eq!(std::fs::read_dir(folder.path().join("mixed/png")).unwrap().count(), 3);

    let (code, _, stderr) =
        run(folder.path(), &["embed", "--encoder", "demo/run", "mixed/png", "--out", "mixed.safetensors"]);
    assert_eq!(code, Some(0), "{stderr}");
    let things =
        ["inspect", "demo/phantoms", "demo/run", "demo/run/model", "demo/autoencoder", "mixed", "mixed.safetensors"];
    let (code, stdout, stderr) = run(folder.path(), &things);
    assert_eq!(code, Some(0), "all of it is sound: {stdout}\n{stderr}");
}

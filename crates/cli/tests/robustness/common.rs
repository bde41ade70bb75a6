//! A handful of encoded phantoms and a tiny recipe for tests that run the program: plumbing, not results.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::SystemTime;

use burn::tensor::Device;
use nets::autoencoder::AutoencoderTinyConfig;
use nets::init::{Initialisation, randomise};

/// Images of each dataset, all splits together.
pub const NUM_IMAGES: u64 = 20;

/// The program with these words, to be run in `folder`.
pub fn program(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dino-diffusion"));
    command.args(words).current_dir(folder).env("RUST_BACKTRACE", "0").stdin(Stdio::null());
    command
}

/// Runs it.
pub fn run(folder: &Path, words: &[&str]) -> Output {
    program(folder, words).output().expect("the program starts")
}

/// Runs it and shows what it said where it did not end with 0.
pub fn succeed(folder: &Path, words: &[&str]) {
    let output = run(folder, words);
    assert_eq!(output.status.code(), Some(0), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Runs it, expects the status 2, and gives the message.
pub fn fail(folder: &Path, words: &[&str]) -> String {
    let output = run(folder, words);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{words:?}: {message}");
    assert!(!message.contains("panicked"), "{words:?}: {message}");
    message
}

/// `folder/autoencoder` with random weights, and `folder/NAME`: phantoms, prepared and encoded.
pub fn encoded_phantoms(folder: &Path, name: &str, seed: u64) {
    let images = folder.join(format!("{name}-images"));
    std::fs::create_dir_all(&images).unwrap();
    for index in 0..NUM_IMAGES {
        let picture = radiograph::Phantom::from_seed(seed, index).render(64).radiograph;
        let path = images.join(format!("{index:02}.png"));
        radiograph::write_png_u8(&path, &radiograph::to_u8(&picture.pixels), 64, 64).unwrap();
    }
    let autoencoder = folder.join("autoencoder");
    if !autoencoder.is_dir() {
        let network = AutoencoderTinyConfig::demo().init(&Device::flex()).unwrap();
        randomise(network, Initialisation::FanInUniform, 1).save(&autoencoder).unwrap();
    }
    let images = images.to_str().unwrap();
    // Some evaluations want several validation images.
    let split = ["--split", "0.5,0.4,0.1"];
    succeed(folder, &[&["prepare", images, "--image-size", "64", "--out", name][..], &split].concat());
    succeed(folder, &["encode", name, "--autoencoder", "autoencoder", "--encoder", "random:vit-tiny/16"]);
}

/// `train` on a network so small that a step takes milliseconds; a checkpoint after every other step.
pub fn train<'a>(dataset: &'a str, out: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut words = vec!["train", dataset, "--recipe", "demo-64", "--out", out];
    for setting in [
        "unet.block_out_channels=[32, 32]",
        "unet.attention_head_dim=[2, 2]",
        "optimiser.batch_size=4",
        "training.total_images=160",
        "training.log_every_images=8",
        "training.checkpoint_every_images=8",
        "training.sample_every_images=0",
        "sampling.num_steps=2",
    ] {
        words.extend(["--set", setting]);
    }
    words.extend(more);
    words
}

/// The files of the newest checkpoint, which hold weights, their average and the optimiser.
pub fn newest_checkpoint(run: &Path) -> Vec<Vec<u8>> {
    let number = |path: &Path| -> Option<u64> { path.file_name()?.to_str()?.strip_prefix("step-")?.parse().ok() };
    let folders = std::fs::read_dir(run.join("checkpoints")).unwrap().map(|entry| entry.unwrap().path());
    let newest = folders.filter_map(|path| Some((number(&path)?, path))).max().expect("there is a checkpoint").1;
    ["weights.safetensors", "optimiser.safetensors", "state.json"]
        .map(|name| std::fs::read(newest.join(name)).unwrap())
        .to_vec()
}

/// All files below a folder, by their paths in it.
pub fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().display().to_string();
                files.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// Random numbers in 0..1 that begin with the clock, or with the seed of a failure to repeat.
pub struct Moments {
    /// What `KILL_SEED` repeats.
    pub seed: u64,
    drawn: u64,
}

impl Moments {
    /// Begins.
    pub fn new() -> Self {
        let clock = || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64;
        let seed = std::env::var("KILL_SEED").map_or_else(|_| clock(), |seed| seed.parse().unwrap());
        Self { seed, drawn: 0 }
    }

    /// The next one.
    pub fn next(&mut self) -> f64 {
        self.drawn += 1;
        random::uniform(self.seed, self.drawn, random::Purpose::Other(0))
    }
}

//! Folders that do not belong together, or are damaged: a sentence with the value and the remedy, and nothing lost.

use std::fs;
use std::path::Path;

use dataset::{Dataset, Split};

use crate::common::{NUM_IMAGES, encoded_phantoms, fail, newest_checkpoint, succeed, train};

#[test]
fn runs_datasets_and_models_that_do_not_belong_together_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    encoded_phantoms(folder, "data", 1);
    encoded_phantoms(folder, "other", 2);
    succeed(folder, &train("data", "run", &["--set", "training.total_images=8"]));
    let before = newest_checkpoint(&folder.join("run"));

    let message = fail(folder, &train("other", "run", &["--resume", "--set", "training.total_images=8"]));
    assert!(message.contains("another dataset") && message.contains("run"), "{message}");
    let message = fail(folder, &train("data", "run", &["--resume", "--set", "optimiser.learning_rate=0.5"]));
    assert!(message.contains("`optimiser.learning_rate` is 0.5"), "{message}");
    let message = fail(folder, &train("data", "run", &[]));
    assert!(message.contains("--resume"), "{message}");
    let message = fail(folder, &train("data", "wide", &["--set", "unet.in_channels=7"]));
    assert!(message.contains("network.in_channels"), "{message}");
    let message = fail(folder, &train("data", "wide", &["--set", "data.image_size=128"]));
    assert!(message.contains("--image-size 128"), "{message}");
    assert!(before == newest_checkpoint(&folder.join("run")), "a refused run stays as it was");

    let generate = |model: &str, more: &[&str]| {
        let words = ["generate", model, "data", "reconstruct", "--num-images", "1", "--out", "synthetic"];
        fail(folder, &[&words[..], more].concat())
    };
    let message = generate("autoencoder", &[]);
    assert!(message.contains("autoencoder"), "{message}");
    let message = generate("run", &["--num-steps", "0"]);
    assert!(message.contains("steps") && message.contains(" 0"), "{message}");
    let message = generate("run", &["--guidance-scale", "-1"]);
    assert!(message.contains("-1"), "{message}");
    assert!(!folder.join("synthetic").join("manifest.parquet").exists());
}

#[test]
fn a_network_that_its_description_does_not_fit_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    encoded_phantoms(folder, "data", 1);
    let (config, weights) =
        (folder.join("autoencoder/config.json"), folder.join("autoencoder/diffusion_pytorch_model.safetensors"));
    let (good_config, good_weights) = (fs::read_to_string(&config).unwrap(), fs::read(&weights).unwrap());
    let encode = || fail(folder, &["encode", "data", "--autoencoder", "autoencoder"]);

    let wider = good_config.replace("\"latent_channels\": 4", "\"latent_channels\": 5");
    assert_ne!(wider, good_config);
    fs::write(&config, wider).unwrap();
    let message = encode();
    assert!(message.contains('4') && message.contains('5'), "expected and found shapes: {message}");
    fs::write(&config, &good_config[..good_config.len() / 2]).unwrap();
    let message = encode();
    assert!(message.contains("config.json"), "{message}");
    fs::write(&config, &good_config).unwrap();
    fs::write(&weights, &good_weights[..good_weights.len() / 2]).unwrap();
    let message = encode();
    assert!(message.contains("safetensors"), "{message}");
    fs::remove_file(&weights).unwrap();
    let message = encode();
    assert!(message.contains("autoencoder"), "{message}");
}

/// Overwrites the first latent of one image with what 16-bit floats call "not a number".
fn poison_latents(dataset: &Path, image: usize) {
    let folders = fs::read_dir(dataset.join("encodings")).unwrap().map(|entry| entry.unwrap().path());
    let latents = folders.into_iter().find(|path| path.to_string_lossy().contains("latents")).unwrap();
    let shard = latents.join("00000.safetensors");
    let mut bytes = fs::read(&shard).unwrap();
    let header_len = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let values = 8 + header_len;
    let row_len = (bytes.len() - values) / NUM_IMAGES as usize;
    bytes[values + image * row_len..][..2].copy_from_slice(&0x7E00_u16.to_le_bytes());
    fs::write(&shard, bytes).unwrap();
}

#[test]
fn a_loss_that_is_no_number_names_its_images_and_keeps_the_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    encoded_phantoms(folder, "data", 1);
    succeed(folder, &train("data", "run", &["--set", "training.total_images=16"]));
    let before = newest_checkpoint(&folder.join("run"));
    let manifest = Dataset::open(folder.join("data")).unwrap();
    let poisoned = manifest.indices(Split::Train).unwrap()[2];
    let rows = manifest.rows_at(&(0..NUM_IMAGES as usize).collect::<Vec<_>>()).unwrap();
    poison_latents(&folder.join("data"), poisoned);
    let names_only_the_poisoned = |message: &str| {
        for (index, row) in rows.iter().enumerate() {
            assert_eq!(message.contains(row.id.as_str()), index == poisoned, "{}: {message}", row.id);
        }
    };

    // Where latents are standardised, before the first step; elsewhere, at the first step that meets the image.
    let message = fail(folder, &train("data", "run", &["--resume"]));
    assert!(message.contains("latents of") && message.contains("encode"), "{message}");
    names_only_the_poisoned(&message);
    assert!(before == newest_checkpoint(&folder.join("run")));
    let message = fail(folder, &train("data", "raw", &["--set", "data.standardise_latents=false"]));
    assert!(message.contains("loss is not a number") && message.contains("learning_rate"), "{message}");
    names_only_the_poisoned(&message);
}

/// Permissions do not hold back the superuser, whom containers like to run tests as: then the program, copied to where
/// everybody may read it, runs as a user without rights.
#[cfg(unix)]
#[test]
fn a_folder_that_may_not_be_read_is_listed_and_the_others_are_prepared() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;

    let allow = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    allow(folder.path(), 0o777);
    for name in ["closed", "open"] {
        let path = folder.path().join("images").join(name);
        fs::create_dir_all(&path).unwrap();
        let pixels: Vec<u8> = (0..=255).map(|i: u8| if name == "open" { i } else { 255 - i }).collect();
        radiograph::write_png_u8(&path.join("a.png"), &pixels, 16, 16).unwrap();
    }
    let closed = folder.path().join("images/closed");
    allow(&closed, 0o000);
    let binary = folder.path().join("program");
    fs::copy(env!("CARGO_BIN_EXE_dino-diffusion"), &binary).unwrap();
    allow(&binary, 0o755);

    let mut command = std::process::Command::new(&binary);
    command.args(["prepare", "images", "--image-size", "16", "--out", "dataset"]).current_dir(folder.path());
    if fs::read_dir(&closed).is_ok() {
        command.uid(65_534); // nobody
    }
    // A process that another test has just started holds the copy open for a moment.
    let output = loop {
        match command.output() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => {
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            output => break output.unwrap(),
        }
    };
    let message = String::from_utf8_lossy(&output.stderr);
    allow(&closed, 0o755);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("closed: it cannot be read") && message.contains("check its permissions"), "{message}");
    assert_eq!(Dataset::open(folder.path().join("dataset")).unwrap().len(), 1);
}

//! Folders that do not belong together, or are damaged: a sentence with the value and the remedy, and nothing lost.

use std::fs;

use crate::common::{encoded_phantoms, fail, newest_checkpoint, succeed, train};

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
    assert!(message.contains("unet.in_channels"), "{message}");
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

//! A run that is continued needs nothing but its folder.

use std::fs;
use std::path::Path;

use crate::common::{encoded_phantoms, fail, newest_checkpoint, run, succeed, train};

/// Trains half of the images, then the rest by the run alone; gives the folder's newest checkpoint.
fn halves(folder: &Path, first: &[&str], run_name: &str, resume: &[&str]) -> Vec<Vec<u8>> {
    succeed(folder, first);
    succeed(folder, resume);
    newest_checkpoint(&folder.join(run_name))
}

#[test]
fn a_training_run_is_continued_by_its_folder_alone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    encoded_phantoms(folder, "data", 1);
    let half = ["--set", "training.total_images=16"];
    let whole = ["--set", "training.total_images=32"];
    succeed(folder, &train("data", "whole", &whole));
    let undisturbed = newest_checkpoint(&folder.join("whole"));

    // The length is the one setting that may change; from then on the run's own recipe has it.
    let longer = ["train", "--resume", "parts", "--set", "training.total_images=32", "--max-minutes", "0"];
    succeed(folder, &train("data", "parts", &half));
    succeed(folder, &longer);
    assert!(newest_checkpoint(&folder.join("parts")) != undisturbed, "it had no time");
    succeed(folder, &["train", "--resume", "parts"]);
    assert!(newest_checkpoint(&folder.join("parts")) == undisturbed);

    // From another folder, and with the dataset and the run given as before.
    fs::create_dir(folder.join("elsewhere")).unwrap();
    succeed(&folder.join("elsewhere"), &["train", "--resume", "../parts"]);
    succeed(folder, &["train", "data", "--resume", "parts"]);
    succeed(folder, &["train", "--resume", "data", "--recipe", "parts/recipe.toml", "--out", "parts"]);
    succeed(folder, &["train", "data", "--recipe", "parts/recipe.toml", "--out", "parts", "--resume"]);
    assert!(newest_checkpoint(&folder.join("parts")) == undisturbed);

    // With several encodings the run knows its own.
    succeed(folder, &["encode", "data", "--encoder", "random:vit-tiny/8"]);
    let message = fail(folder, &train("data", "new", &[]));
    assert!(message.contains("several embeddings") && !folder.join("new").exists(), "{message}");
    succeed(folder, &["train", "--resume", "parts"]);

    // A dataset that has moved is asked for, found, and remembered.
    fs::rename(folder.join("data"), folder.join("moved")).unwrap();
    let message = fail(folder, &["train", "--resume", "parts"]);
    for part in ["no longer at", "data", "DATASET --resume RUN"] {
        assert!(message.contains(part), "should say {part}: {message}");
    }
    encoded_phantoms(folder, "other", 2);
    let message = fail(folder, &["train", "other", "--resume", "parts", "--encoder", "random:vit-tiny/16"]);
    assert!(message.contains("another dataset"), "{message}");
    succeed(folder, &["train", "moved", "--resume", "parts"]);
    succeed(folder, &["train", "--resume", "parts"]);

    // A run of a release that did not write down where its dataset is.
    let path = folder.join("parts/identity.json");
    let mut identity: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    identity.as_object_mut().unwrap().remove("inputs").unwrap();
    fs::write(&path, identity.to_string()).unwrap();
    let message = fail(folder, &["train", "--resume", "parts"]);
    assert!(message.contains("does not say where its dataset is"), "{message}");
    succeed(folder, &["train", "moved", "--resume", "parts"]);
    succeed(folder, &["train", "--resume", "parts"]);
    let message = fail(folder, &["train", "--resume", "parts", "--set", "optimizer.learning_rate=0.5"]);
    assert!(message.contains("`optimiser.learning_rate` is 0.5"), "{message}");
    assert!(newest_checkpoint(&folder.join("parts")) == undisturbed);
}

#[test]
fn runs_of_pre_training_are_continued_by_their_folders_alone() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    encoded_phantoms(folder, "data", 1);
    let autoencoder = |out: &'static str| {
        let settings = "pretrain autoencoder data --recipe autoencoder-demo-64 --encoder random:vit-tiny/16 \
                        --set loss.perceptual=0.01 --set network.encoder_channels=8 --set network.decoder_channels=8 --set optimiser.batch_size=4 \
                        --set training.total_images=16 --set training.checkpoint_every_images=8 --set \
                        evaluation.num_images=2 --set training.evaluate_every_images=0 --out";
        settings.split_whitespace().chain([out]).collect::<Vec<_>>()
    };
    succeed(folder, &autoencoder("whole"));
    succeed(folder, &autoencoder("parts"));
    fs::remove_dir_all(folder.join("parts/checkpoints/step-16")).unwrap();
    succeed(folder, &["pretrain", "autoencoder", "--resume", "parts"]);
    assert!(newest_checkpoint(&folder.join("whole")) == newest_checkpoint(&folder.join("parts")));

    let encoder = |out: &'static str| {
        let settings = "pretrain encoder data --set image_size=64 --set views.global_size=32 --set views.local_size=16 \
                        --set views.num_local=1 --set network.patch_size=16 --set network.num_layers=1 --set \
                        head.hidden_dim=16 --set head.output_dim=32 --set optimiser.batch_size=4 --set \
                        training.total_images=16 --set training.checkpoint_every_images=8 --set \
                        training.evaluate_every_images=0 --out";
        settings.split_whitespace().chain([out]).collect::<Vec<_>>()
    };
    let undisturbed = halves(folder, &encoder("one"), "one", &["pretrain", "encoder", "--resume", "one"]);
    succeed(folder, &encoder("two"));
    fs::remove_dir_all(folder.join("two/checkpoints/step-16")).unwrap();
    succeed(folder, &["pretrain", "encoder", "--resume", "two"]);
    assert!(newest_checkpoint(&folder.join("two")) == undisturbed);

    // Each kind of run says of the other that it is another.
    let message = fail(folder, &["train", "--resume", "one"]);
    assert!(message.contains("of another kind of run"), "{message}");
    let output = run(folder, &["pretrain", "encoder", "--resume", "one", "--dry-run"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("num_local = 1"), "the run's own recipe: {text}");
}

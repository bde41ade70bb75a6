//! Arguments are checked before work starts. Every network here has weights that cannot be read, with a configuration
//! that can: whoever looks at an argument after a network says so.

use std::fs;
use std::path::Path;

use crate::common::{encoded_phantoms, program, run, succeed, train};

/// What weights are replaced by.
const GARBAGE: &str = "no weights at all";

/// `data` and `small` (no test images, and another size), a run with a model, a synthetic set; all weights spoilt.
fn poisoned(folder: &Path) {
    encoded_phantoms(folder, "data", 1);
    succeed(folder, &train("data", "run", &["--set", "training.total_images=8"]));
    let generate = "generate run data reconstruct --num-images 8 --split train --num-steps 1 --out synthetic";
    succeed(folder, &generate.split(' ').collect::<Vec<_>>());
    succeed(folder, &["prepare", "data-images", "--image-size", "32", "--split", "0.5,0.5,0", "--out", "small"]);
    succeed(folder, &["prepare", "data-images", "--image-size", "64", "--split", "1,0,0", "--out", "train-only"]);
    succeed(folder, &["prepare", "data-images", "--image-size", "64", "--split", "0,1,0", "--out", "val-only"]);
    for (source, copy) in [("run/model/encoder", "encoder"), ("run/model", "model")] {
        copy_folder(&folder.join(source), &folder.join(copy));
    }
    let mut folders = ["autoencoder", "encoder", "model", "run"].map(|name| folder.join(name)).to_vec();
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "safetensors") {
                // Removed first: it may be a link to the file of another folder.
                fs::remove_file(&path).unwrap();
                fs::write(&path, GARBAGE).unwrap();
            }
        }
    }
    fs::write(folder.join("file"), "x").unwrap();
    fs::create_dir(folder.join("full")).unwrap();
    fs::write(folder.join("full/precious.txt"), "x").unwrap();
    fs::create_dir(folder.join("empty")).unwrap();
    fs::write(folder.join("no-column.csv"), "image\na\n").unwrap();
    fs::write(folder.join("no-image.csv"), "source\nnobody\n").unwrap();
    fs::write(folder.join("no-pair.csv"), "nobody,nothing\n").unwrap();
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy_folder(&path, &target) } else { _ = fs::copy(&path, &target).unwrap() }
    }
}

/// What is typed, and a part of the answer.
type Cases = &'static [(&'static str, &'static str)];

const ENCODE: Cases = &[
    ("encode data --autoencoder nowhere", "nowhere"),
    ("encode data --autoencoder autoencoder --encoder nowhere", "nowhere"),
    ("encode data --autoencoder autoencoder --encoder random:vit-tiny/7", "choose a divisor"),
    ("encode data --autoencoder autoencoder --encoder random:resnet", "random:vit-small/16"),
    ("encode data --autoencoder autoencoder --batch-size 0", "batch size is 0"),
    ("encode nowhere --autoencoder autoencoder", "nowhere"),
    ("encode data --autoencoder autoencoder --device cuda:0", "built without cuda"),
    ("encode data --autoencoder autoencoder --device gpu", "choose cpu"),
];

const TRAIN: Cases = &[
    ("train data --recipe demo-64 --out file", "a file has the name"),
    ("train data --recipe demo-64 --out file/run", "is a file"),
    ("train data --recipe demo-64 --out full", "precious.txt"),
    ("train data --recipe demo-64 --out run", "--resume"),
    ("train data --recipe demo-64 --out new --resume", "no run to continue"),
    ("train --resume nowhere", "no run to continue"),
    ("train --resume full", "no run to continue"),
    ("train data --resume", "--resume RUN"),
    ("train data --resume run --out other", "two runs"),
    ("train data --recipe demo-64 --out new --max-minutes -1", "--max-minutes"),
    ("train data --recipe demo-64 --out new --max-minutes 0", "before its first step"),
    ("train data --recipe demo-64 --out new --max-minutes NaN", "--max-minutes"),
    ("train data --recipe demo-64 --out new --autoencoder autoencoder --encoder nowhere", "nowhere"),
    ("train data --recipe demo-64 --out new --autoencoder nowhere --encoder encoder", "nowhere"),
    ("train small --recipe demo-64 --out new --autoencoder autoencoder", "--image-size 64"),
    ("train val-only --recipe demo-64 --out new --autoencoder autoencoder --encoder encoder", "split `train`"),
    (
        "train train-only --recipe demo-64 --out new --autoencoder autoencoder --encoder encoder --set \
         training.fidelity_every_images=8",
        "0 validation images",
    ),
    ("train data --recipe demo-64 --out new --set optimiser.batch_size=0", "batch_size"),
    ("train data --recipe demo-64 --out new --set seed=99999999999999999999", "seed"),
    ("train data --resume run --recipe demo-64", "instead of"),
];

const PRETRAIN: Cases = &[
    ("pretrain encoder data --out file", "a file has the name"),
    ("pretrain encoder data --out full", "precious.txt"),
    ("pretrain encoder data --out new", "--image-size 128"),
    ("pretrain encoder data --out new --max-minutes -1", "--max-minutes"),
    ("pretrain encoder --resume nowhere", "no run to continue"),
    ("pretrain encoder --resume run", "of another kind of run"),
    ("pretrain autoencoder data --recipe autoencoder-demo-64 --out full --encoder encoder", "precious.txt"),
    ("pretrain autoencoder data --recipe autoencoder-demo-64 --out new --encoder nowhere", "nowhere"),
    ("pretrain autoencoder small --recipe autoencoder-demo-64 --out new --encoder encoder", "--image-size 64"),
    ("pretrain autoencoder val-only --recipe autoencoder-demo-64 --out new --encoder encoder", "split `train`"),
    (
        "pretrain autoencoder data --recipe autoencoder-demo-64 --out new --encoder encoder --max-minutes 0",
        "first step",
    ),
];

const GENERATE: Cases = &[
    ("generate model small reconstruct --num-images 4 --split test --out new", "no image in the split `test`"),
    ("generate model small interpolate --num-images 4 --split test --out new", "no image in the split `test`"),
    ("generate model small unconditional --num-images 4 --split test --out new", "no image in the split `test`"),
    ("generate model small interpolate --pairs neighbour --num-images 4 --split test --out new", "split `test`"),
    ("generate model data reconstruct --num-images 0 --split train --out new", "number of images is 0"),
    ("generate model data reconstruct --num-images 4 --variants 0 --split train --out new", "variants is 0"),
    ("generate model data reconstruct --num-images 4 --split train --batch-size 0 --out new", "batch size is 0"),
    ("generate model data reconstruct --num-images 4 --split train --num-steps 0 --out new", "steps"),
    ("generate model data reconstruct --num-images 4 --split train --guidance-scale -1 --out new", "guidance"),
    ("generate model data reconstruct --num-images 4 --split train --png 12 --out new", "8 or 16"),
    ("generate model data reconstruct --num-images 4 --split train --out file", "a file has the name"),
    ("generate model data reconstruct --num-images 4 --split train --out full", "precious.txt"),
    ("generate model data reconstruct --num-images 4 --split train --out synthetic", "synthetic"),
    ("generate autoencoder data reconstruct --num-images 4 --split train --out new", "neither a run nor a model"),
    ("generate model nowhere reconstruct --num-images 4 --split train --out new", "nowhere"),
    ("generate model data interpolate --fractions 0,1.5 --num-images 4 --split train --out new", "1.5"),
    ("generate model data interpolate --pairs nowhere.csv --num-images 4 --split train --out new", "nowhere.csv"),
    ("generate model data interpolate --pairs no-pair.csv --num-images 4 --split train --out new", "line 1"),
    ("generate model data listed --table nowhere.csv --out new", "nowhere.csv"),
    ("generate model data listed --table no-column.csv --out new", "no column `source`"),
    ("generate model data listed --table no-image.csv --out new", "no image `nobody`"),
    ("generate model data reconstruct --num-images 4 --split train --out new --set batch_sise=1", "batch_size"),
];

const SEGMENT: Cases = &[
    ("segment model small --split test --out new", "no image to segment"),
    ("segment model data --max-images 0 --out new", "--max-images"),
    ("segment model data --batch-size 0 --out new", "batch size is 0"),
    ("segment model data --out file", "a file has the name"),
    ("segment model data --segmenter nowhere --out new", "no segmenter"),
    ("segment model data --dicom-sources nowhere --out new", "DICOM"),
    ("segment model data --out new --set num_annotated=5", "has 0 images with masks"),
    ("segment model data --out new --set method.kind=diffseg --set method.threshold=0", "method.threshold is 0"),
    ("segment model data --out new --set pass.timesteps=[5000]", "5000"),
    ("segment model data --out new --set num_images=0", "num_images is 0"),
    ("segment data data --out new", "neither a run nor a model"),
    ("segment model nowhere --out new", "nowhere"),
];

const FIDELITY: Cases = &[
    ("evaluate fidelity data synthetic --features nowhere", "nowhere"),
    ("evaluate fidelity data synthetic --features xrv:nowhere", "no file of weights"),
    ("evaluate fidelity data synthetic --features encoder --out empty", "give the name of a file"),
    ("evaluate fidelity data synthetic --features encoder --out file/x.json", "is a file"),
    ("evaluate fidelity data synthetic --features encoder --statistics empty", "give the name of a file"),
    ("evaluate fidelity data synthetic --features encoder --statistics file/x", "is a file"),
    ("evaluate fidelity data synthetic --features encoder --held-out train", "floor"),
    ("evaluate fidelity small synthetic --features encoder", "--image-size 64"),
    ("evaluate fidelity val-only synthetic --features encoder", "split `train`"),
    ("evaluate fidelity data nowhere --features encoder", "nowhere"),
    ("evaluate memorisation data synthetic --features nowhere --out new", "nowhere"),
    ("evaluate memorisation data synthetic --features encoder --out file", "a file has the name"),
    ("evaluate memorisation data synthetic --features encoder --held-out train --out new", "yardstick"),
    ("evaluate memorisation small synthetic --features encoder --out new", "--image-size 64"),
    ("evaluate memorisation train-only synthetic --features encoder --out new", "0 held-out images"),
    ("evaluate conditioning data synthetic --features nowhere", "nowhere"),
    ("evaluate conditioning data synthetic --features encoder --out empty", "give the name of a file"),
    ("evaluate conditioning data data --features encoder", "generate ... reconstruct"),
];

const EVALUATE: Cases = &[
    ("evaluate autoencoder data --autoencoder nowhere --out new", "nowhere"),
    ("evaluate autoencoder small --autoencoder autoencoder --split test --out new", "split `test`"),
    ("evaluate autoencoder data --autoencoder autoencoder --max-images 0 --out new", "--max-images"),
    ("evaluate autoencoder data --autoencoder autoencoder --batch-size 0 --out new", "batch size is 0"),
    ("evaluate autoencoder data --autoencoder autoencoder --split train --features nowhere --out new", "nowhere"),
    ("evaluate autoencoder data --autoencoder autoencoder --split train --out file", "a file has the name"),
    ("evaluate encoder data --encoder nowhere --source x", "`x`"),
    ("evaluate encoder data --encoder encoder --negative normal", "`normal`"),
    ("evaluate encoder data --encoder encoder --out empty", "give the name of a file"),
    ("evaluate encoder data --encoder encoder --batch-size 0", "batch size is 0"),
    ("evaluate segmentation model data --out file", "a file has the name"),
    ("evaluate segmentation model data --out new --search-share 1.5", "1.5"),
    ("evaluate segmentation model data --out new --timesteps 5000", "5000"),
    ("evaluate segmentation model data --out new --checkpoints model", "needs a run"),
    ("evaluate segmentation model data --out new --split train", "no image with a mask"),
    ("evaluate segmentation model data --out new --batch-size 0", "batch size is 0"),
    ("evaluate augmentation data --out file", "a file has the name"),
    ("evaluate augmentation data --out new --grid nowhere", "no recipe `nowhere`"),
    ("evaluate augmentation data --out new --set synthetic.0.generate.model=nowhere", "nowhere"),
    ("evaluate augmentation data --out new --set classifiers.0.features=nowhere", "nowhere"),
    ("evaluate augmentation data --out new --set synthetic.0.generate.num_steps=0", "steps"),
    ("evaluate augmentation data --out new --set grid.num_folds=1", "num_folds"),
    ("evaluate augmentation nowhere --out new", "nowhere"),
];

const OTHERS: Cases = &[
    ("embed data-images --encoder nowhere --out x.safetensors", "nowhere"),
    ("embed data-images --encoder encoder --out empty", "give the name of a file"),
    ("embed data-images --encoder encoder --out file/x.safetensors", "is a file"),
    ("embed data-images --encoder encoder --out x.safetensors --batch-size 0", "batch size is 0"),
    ("embed nowhere --encoder encoder --out x.safetensors", "nowhere"),
    ("embed empty --encoder encoder --out x.safetensors", "no files"),
    ("views data --encoder encoder --out file", "a file has the name"),
    ("views data --encoder encoder --max-patients 0", "patients to learn from is 0"),
    ("views data --encoder encoder --false-alarms 1", "below 1"),
    ("views data --encoder encoder --batch-size 0", "batch size is 0"),
    ("views data --encoder encoder --source x", "`x`"),
    ("views data --encoder nowhere", "nowhere"),
    ("report data --out empty", "give the name of a file"),
    ("report data --out file/x.html", "is a file"),
    ("demo --out file", "a file has the name"),
    ("demo --out full", "other files"),
    ("demo --num-phantoms 3 --out new", "at least 40"),
    ("demo --autoencoder-images 0 --out new", "at least 1"),
    ("demo --out new --set training.total_images=0", "above 0"),
    ("inspect nowhere --json", "two datasets"),
    ("prepare data-images --out file", "file"),
    ("prepare data-images --out full", "other files"),
    ("prepare data-images --out new --image-size 0", "image size is 0"),
    ("prepare data-images --out new --split 0.5,0.6,0.1", "together"),
    ("prepare data-images --out new --exclude nowhere.csv", "nowhere.csv"),
    ("prepare data-images --out new --salt-file nowhere", "nowhere"),
    ("prepare nowhere --out new", "nowhere"),
    ("prepare no-column.csv --preset csv --out new --column patient=nobody", "nobody"),
    ("prepare --merge nowhere --out new", "nowhere"),
];

/// Whether a clause of a message is in it twice.
fn repeats_itself(message: &str) -> bool {
    let clauses: Vec<&str> = message.split([':', ';', '\n']).map(str::trim).filter(|part| part.len() > 12).collect();
    clauses.iter().enumerate().any(|(place, clause)| clauses[..place].contains(clause))
}

#[test]
fn arguments_are_checked_before_any_network_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    poisoned(folder);
    // The weights are spoilt indeed: with nothing wrong but them, they are what is said.
    let output = run(folder, &["encode", "small", "--autoencoder", "autoencoder"]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(2) && message.contains("safetensors"), "{message}");

    let listing = || {
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = listing();
    let mut wrong = Vec::new();
    for (typed, part) in [ENCODE, TRAIN, PRETRAIN, GENERATE, SEGMENT, FIDELITY, EVALUATE, OTHERS].concat() {
        let words: Vec<&str> = typed.split_whitespace().collect();
        let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets");
        let output = program(folder, &words).env("DINO_DIFFUSION_ASSETS", assets).output().unwrap();
        let message = String::from_utf8_lossy(&output.stderr);
        let is_fine = output.status.code() == Some(2)
            && message.starts_with("error: ")
            && message.contains(part)
            && !message.contains("safetensors`")
            && !message.contains("panicked")
            && !repeats_itself(&message);
        if !is_fine {
            wrong.push(format!("{typed}\n  should say {part:?}: {:?} {message}", output.status.code()));
        }
        if listing() != before {
            wrong.push(format!("{typed}\n  left something behind: {:?}", listing()));
            _ = fs::remove_dir_all(folder.join("new"));
        }
    }
    assert!(wrong.is_empty(), "{} of the answers are wrong:\n{}", wrong.len(), wrong.join("\n"));
}

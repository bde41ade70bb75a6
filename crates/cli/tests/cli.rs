//! The program as a user meets it: help, mistakes, exit codes, and what goes to which stream.

use std::path::Path;
use std::process::{Command, Output};

/// Runs the program in `folder` with these words.
fn run(folder: &Path, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_dino-diffusion"));
    command.args(words).current_dir(folder).env("RUST_BACKTRACE", "0");
    command.output().expect("the program starts")
}

fn here(words: &[&str]) -> (Option<i32>, String, String) {
    let folder = tempfile::tempdir().unwrap();
    texts(&run(folder.path(), words))
}

fn texts(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("the program writes UTF-8");
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn help_names_every_command_and_goes_to_stdout() {
    let (code, stdout, stderr) = here(&["--help"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    for verb in [
        "demo", "prepare", "pretrain", "encode", "train", "generate", "segment", "evaluate", "report", "embed",
        "views", "inspect",
    ] {
        assert!(stdout.contains(&format!("\n  {verb} ")), "the help lacks {verb}:\n{stdout}");
        let (code, help, _) = here(&[verb, "--help"]);
        assert_eq!(code, Some(0), "{verb} --help");
        assert!(help.contains("--device") && help.contains("--dry-run"), "{verb}: {help}");
    }
    assert!(here(&["--version"]).1.starts_with("dino-diffusion "));
}

#[test]
fn mistakes_in_what_was_typed_end_with_2_and_a_remedy() {
    let folder = "no-such-folder";
    let generate = ["generate", folder, folder, "reconstruct", "--num-images", "1", "--out", "x"];
    let with = |more: &[&'static str]| [&generate[..], more].concat();
    for (words, part) in [
        (vec!["trian"], "train"),
        (vec!["inspect", folder, "--devcie", "cpu"], "--device"),
        (vec!["--device", "gpu", "inspect", folder], "choose cpu, cuda:N"),
        (vec!["inspect", folder], "there is nothing there"),
        (vec!["inspect", folder, "--threads", "0"], "1 to 1024"),
        (vec!["inspect", folder, "--seed", "-1"], "-1"),
        (vec!["inspect", folder, "--set", "x"], "path.to.key=value"),
        (vec!["inspect", folder, "--set", "x=1"], "has none"),
        (vec!["train", folder, "--recipe", "smal-128", "--out", "x"], "did you mean `--recipe small-128`?"),
        (vec!["train", folder, "--recipe", "demo-64", "--out", "x", "--set", "optimiser.rate=1"], "optimiser.rate"),
        (vec!["train", folder, "--recipe", "demo-64", "--out", "x"], folder),
        (vec!["train", folder, "--out", "x"], "--recipe"),
        (vec!["pretrain", "encoder", folder, "--recipe", "dino-tny-128", "--out", "x"], "--recipe dino-tiny-128`?"),
        (vec!["pretrain", "encoder", folder, "--out", "x", "--set", "views.num=1"], "views.num"),
        (vec!["pretrain", "encoder", folder, "--out", "x"], folder),
        (vec!["pretrain", "encoder", folder], "--out"),
        (vec!["segment", folder, folder, "--out", "x"], folder),
        (vec!["segment", folder, folder, "--out", "x", "--set", "method.kind=sam"], "sam"),
        (vec!["evaluate", "segmentation", folder, folder, "--out", "x", "--search-share", "1"], "below 1"),
        (vec!["prepare", folder, "--out", "x"], folder),
        (vec!["prepare", folder, "--preset", "kermani", "--out", "x"], "kermany"),
        (vec!["prepare", "--source", "chexprt=y", "--out", "x"], "did you mean `chexpert`?"),
        (vec!["prepare", folder, "--out", "x", "--exclude", "nowhere.csv"], "nowhere.csv"),
        (vec!["prepare", folder], "--out"),
        (vec!["prepare", folder, "--out", "x", "--set", "imge_size=64"], "imge_size"),
        (with(&["--pairs", "label"]), "says nothing about `reconstruct`"),
        (with(&["--sampler", "hein"]), "heun"),
        (with(&[]), folder),
        (vec!["pretrain", "autoencoder", folder, "--out", "x"], folder),
        (
            vec!["pretrain", "autoencoder", folder, "--out", "x", "--recipe", "autoencodr-128"],
            "did you mean `--recipe autoencoder-128`?",
        ),
        (vec!["pretrain", "autoencoder", folder, "--out", "x", "--set", "network.latent_channels=3"], "from 4 to 32"),
        (vec!["evaluate", "autoencoder", folder, "--out", "x"], "--autoencoder"),
        (vec!["evaluate", "autoencoder", folder, "--autoencoder", folder, "--out", "x"], folder),
        (vec!["evaluate", "conditioning", folder, folder, "--features", folder], folder),
        (vec!["evaluate", "encoder", folder], "--encoder"),
        (vec!["evaluate", "encoder", folder, "--encoder", "cxr-small-128"], folder),
        (vec!["evaluate", "fidelity", folder, folder], "--features"),
        (vec!["evaluate", "fidelity", folder, folder, "--features", folder, "--held-out", "train"], "floor"),
        (vec!["evaluate", "fidelity", folder, folder, "--features", folder], folder),
        (vec!["evaluate", "fidelity", folder, folder, "--features", "xrv:"], "`xrv:FILE`"),
        (vec!["evaluate", "fidelity", folder, folder, "--features", "random:resnet"], "`random:inception`"),
        (vec!["views", folder], folder),
        (vec!["views", folder, "--tell", "ap"], "ap-pa"),
        (vec!["views", folder, "--false-alarms", "1"], "below 1"),
        (vec!["report", folder], folder),
        (vec!["embed", folder, "--encoder", folder, "--out", "x.safetensors"], folder),
        (vec!["encode", folder], "--autoencoder"),
        (vec!["encode", folder, "--encoder", "random:vit-small/16"], folder),
        (vec!["demo", "--num-phantoms", "3"], "at least 40"),
    ] {
        let (code, stdout, stderr) = here(&words);
        assert_eq!(code, Some(2), "{words:?}: {stderr}");
        assert_eq!(stdout, "", "{words:?} has no result");
        assert!(stderr.contains(part), "{words:?} should say {part:?}:\n{stderr}");
        assert!(stderr.starts_with("error: "), "{words:?}: {stderr}");
        assert!(!stderr.contains("panicked") && !stderr.contains('\x1b'), "{words:?}: {stderr}");
    }
}

#[test]
fn recipes_are_listed() {
    let (code, stdout, _) = here(&["train", "--list-recipes"]);
    assert_eq!(code, Some(0));
    for name in ["demo-64", "small-128", "paper-256", "paper-512"] {
        assert!(stdout.lines().any(|line| line.starts_with(name)), "{stdout}");
    }
    let (code, stdout, _) = here(&["pretrain", "encoder", "--list-recipes"]);
    assert_eq!(code, Some(0));
    assert!(stdout.starts_with("dino-tiny-128 "), "{stdout}");
}

#[test]
fn a_dry_run_prints_the_resolved_settings_and_touches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let train = ["train", "data", "--recipe", "small-128", "--out", "run", "--dry-run", "--seed", "9"];
    let output = run(folder.path(), &[&train[..], &["--set", "optimiser.batch_size=8"]].concat());
    let (code, stdout, stderr) = texts(&output);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    let settings: toml::Table = toml::from_str(&stdout).expect("the settings are TOML");
    assert_eq!(settings["recipe"]["optimiser"]["batch_size"].as_integer(), Some(8));
    assert_eq!(settings["recipe"]["seed"].as_integer(), Some(9));

    let pretrain = ["pretrain", "encoder", "data", "--out", "run", "--dry-run", "--set", "views.num_local=3"];
    let (code, stdout, _) = texts(&run(folder.path(), &pretrain));
    assert_eq!(code, Some(0));
    let settings: toml::Table = toml::from_str(&stdout).expect("the settings are TOML");
    assert_eq!(settings["recipe"]["views"]["num_local"].as_integer(), Some(3));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Values with their paths, lists as a whole.
fn leaves(path: &str, value: &toml::Value, found: &mut Vec<String>) {
    match value {
        toml::Value::Table(table) => {
            for (key, value) in table {
                leaves(&format!("{path}{}{key}", if path.is_empty() { "" } else { "." }), value, found);
            }
        }
        value => found.push(format!("{path}={value}")),
    }
}

/// What a command prints can be given back to it, and what is wrong is said with what was meant.
#[test]
fn every_setting_that_a_dry_run_prints_can_be_set() {
    let folder = tempfile::tempdir().unwrap();
    let dry = |words: &[&str]| {
        let output = run(folder.path(), &[words, &["--dry-run"]].concat());
        let (code, stdout, stderr) = texts(&output);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{words:?}");
        stdout
    };
    for command in [
        "train data --recipe small-128 --out run --seed 5",
        "train data --recipe paper-256 --out run --max-minutes 5",
        "pretrain encoder data --out run",
        "pretrain autoencoder data --out run --encoder random:vit-tiny/16",
        "prepare images --out data --column labels=a,b --max-pixels 1000",
        "prepare --merge parts --out data",
        "encode data --autoencoder a --encoder b",
        "generate model data reconstruct --num-images 4 --out x --png 16",
        "generate model data interpolate --num-images 4 --out x --sampler heun --guidance-scale 2",
        "generate model data listed --table x.csv --out x",
        "generate model data unconditional --num-images 4 --out x",
        "segment model data --out x --split val",
        "evaluate fidelity data x y --features random:xrv --out x.json",
        "evaluate memorisation data x --features random:xrv --out x",
        "evaluate conditioning data x --features random:xrv",
        "evaluate augmentation data --out x",
        "evaluate autoencoder data --autoencoder a --features encoder --out x",
        "evaluate encoder data --encoder e --source 2017",
        "evaluate segmentation model data --out x --checkpoints run",
        "embed images --encoder e --out x.safetensors",
        "views data --tell ap-pa",
        "report data run --title words",
        "demo --out x",
    ] {
        let words: Vec<&str> = command.split(' ').collect();
        let printed = dry(&words);
        let settings: toml::Table = toml::from_str(&printed).unwrap_or_else(|error| panic!("{command}: {error}"));
        let mut found = Vec::new();
        leaves("", &toml::Value::Table(settings), &mut found);
        let again: Vec<&str> = found.iter().flat_map(|setting| ["--set", setting.as_str()]).collect();
        assert_eq!(dry(&[&words[..], &again].concat()), printed, "{command}");
        let top = |key: &&str| printed.lines().any(|line| line.starts_with(&format!("{key} = ")));
        let key = ["out", "dataset", "real"].into_iter().find(top).unwrap();
        let slip = format!("{key}t=x");
        let (code, _, stderr) = texts(&run(folder.path(), &[&words[..], &["--set", &slip, "--dry-run"]].concat()));
        assert_eq!(code, Some(2), "{command}");
        let part = format!("there is no setting `{key}t`; did you mean `{key}`?");
        assert!(stderr.contains(&part), "{command}: {stderr}");
    }
    // What `train` prints is a recipe too.
    let printed = dry(&["train", "data", "--recipe", "small-128", "--out", "run", "--set", "optimizer.batch_size=64"]);
    std::fs::write(folder.path().join("mine.toml"), &printed).unwrap();
    assert_eq!(dry(&["train", "data", "--recipe", "mine.toml", "--out", "run"]), printed);
    std::fs::write(folder.path().join("wrong.toml"), printed.replace("batch_size", "batch_sise")).unwrap();
    let (_, _, stderr) =
        texts(&run(folder.path(), &["train", "data", "--recipe", "wrong.toml", "--out", "run", "--dry-run"]));
    let line = 1 + printed.lines().position(|line| line.starts_with("batch_size")).unwrap();
    for part in ["wrong.toml", &format!("line {line}: "), "did you mean `optimiser.batch_size`?"] {
        assert!(stderr.contains(part), "should say {part}: {stderr}");
    }
}

#[test]
fn skipped_items_are_listed_with_reasons_and_end_with_1() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    std::fs::create_dir(&images).unwrap();
    std::fs::write(images.join("good.png"), png()).unwrap();
    std::fs::write(images.join("empty.png"), b"").unwrap();
    std::fs::write(images.join("cut.png"), &png()[..40]).unwrap();
    let (code, stdout, stderr) = texts(&run(folder.path(), &["prepare", "images", "--image-size", "16", "--out", "d"]));
    assert_eq!(code, Some(1), "{stderr}");
    let result: toml::Table = toml::from_str(&stdout).expect("the result is TOML");
    assert_eq!(result["num_images"].as_integer(), Some(1));
    assert!(result.get("skipped").is_none(), "skipped items are told on stderr: {stdout}");
    assert!(stderr.contains("2 items were skipped"), "{stderr}");
    assert!(stderr.contains("empty.png: ") && stderr.contains("cut.png: "), "{stderr}");

    let (code, stdout, _) = texts(&run(folder.path(), &["inspect", "d", "images/cut.png"]));
    assert_eq!(code, Some(1), "one of them is not sound");
    assert!(stdout.contains("d: dataset"), "{stdout}");

    let (code, stdout, _) = texts(&run(folder.path(), &["-q", "report", "d", "--out", "page.html"]));
    assert_eq!(code, Some(0));
    assert!(stdout.contains("page.html"), "{stdout}");
    assert!(std::fs::read_to_string(folder.path().join("page.html")).unwrap().contains("<img "));
}

fn png() -> Vec<u8> {
    let pixels: Vec<u8> = (0..=255).collect();
    radiograph::encode_png_u8(&pixels, 16, 16).unwrap()
}

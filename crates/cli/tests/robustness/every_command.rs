//! Every command that writes, killed at random moments and run again: no temporary file stays, and the results are those
//! of a run that nobody disturbed.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::common::{Moments, contents, encoded_phantoms, program, run, succeed, train};

/// Commands that write nothing.
const READERS: [&str; 3] = ["help", "inspect", "recipes"];

/// A command, and the folder that it writes to.
struct Case {
    name: &'static str,
    words: Vec<String>,
    /// Commands that come before, in a folder of their own each time. `copy N` makes that the first images are in
    /// `OUT-images`.
    begin: Vec<Vec<String>>,
    /// Files that tell the time, by the end of their names.
    timed: &'static [&'static str],
}

/// Words of a command line; `OUT` is the folder that is written to.
fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(str::to_owned).collect()
}

fn case(name: &'static str, line: &str) -> Case {
    Case { name, words: words(line), begin: Vec::new(), timed: &[] }
}

const ENCODE: &str = "encode OUT --autoencoder autoencoder --encoder random:vit-tiny/16";
const NETWORK: &str = "random:vit-tiny/16";
/// What a run says about its speed.
const JOURNAL: &[&str] = &["metrics.jsonl", "dino-diffusion.000", "dino-diffusion.001", "dino-diffusion.002"];

const DEMO_TIMES: &[&str] = &[JOURNAL[0], JOURNAL[1], JOURNAL[2], JOURNAL[3], "timings.json", "report.html"];

fn cases() -> Vec<Case> {
    let prepare = "prepare table/table.csv --preset csv --image-size 64 --salt-file salt --set shard_size=8";
    let trained: Vec<String> =
        train("data", "OUT", &["--set", "training.sample_every_images=40", "--set", "training.total_images=80"])
            .into_iter()
            .map(str::to_owned)
            .collect();
    let tiny_encoder = "network.num_layers=1 views.global_size=48 views.local_size=32 views.num_local=1 \
                        head.hidden_dim=16 head.bottleneck_dim=8 head.output_dim=32 optimiser.batch_size=4 \
                        training.total_images=24 training.log_every_images=8 training.evaluate_every_images=12 \
                        training.checkpoint_every_images=8 image_size=64";
    let tiny_autoencoder = "network.encoder_channels=8 network.decoder_channels=8 network.encoder_blocks=[0,1,0] \
                            network.decoder_blocks=[1,0,0] augmentation.crop_size=48 optimiser.batch_size=4 \
                            training.total_images=24 training.log_every_images=8 training.evaluate_every_images=12 \
                            training.checkpoint_every_images=8";
    let settings = |text: &str| text.split_whitespace().map(|one| format!(" --set {one}")).collect::<String>();
    let demo = "training.total_images=32 training.checkpoint_every_images=16 training.sample_every_images=32 \
                training.num_sample_images=2 optimiser.batch_size=16 unet.block_out_channels=[32,32] \
                unet.attention_head_dim=2 sampling.num_steps=2";
    vec![
        case("prepare", &format!("{prepare} --out OUT")),
        Case {
            begin: vec![
                words("copy 10"),
                words("prepare OUT-images --image-size 64 --salt-file salt --set shard_size=4 --out OUT"),
                words("copy 20"),
            ],
            ..case(
                "prepare --add",
                "prepare OUT-images --image-size 64 --salt-file salt --set shard_size=4 --add --out OUT",
            )
        },
        Case {
            begin: (1..3).map(|part| words(&format!("{prepare} --part {part}/2 --out OUT-parts/{part}"))).collect(),
            ..case("prepare --merge", "prepare --merge OUT-parts --out OUT")
        },
        Case {
            begin: vec![words("prepare data-images --image-size 64 --salt-file salt --out OUT")],
            ..case("encode", ENCODE)
        },
        Case {
            timed: JOURNAL,
            ..case(
                "pretrain encoder",
                &format!("pretrain encoder data --recipe dino-tiny-128 --out OUT{}", settings(tiny_encoder)),
            )
        },
        Case {
            timed: JOURNAL,
            ..case(
                "pretrain autoencoder",
                &format!(
                    "pretrain autoencoder data --recipe autoencoder-demo-64 --out OUT{}",
                    settings(tiny_autoencoder)
                ),
            )
        },
        Case { words: trained, timed: JOURNAL, ..case("train", "") },
        case(
            "generate",
            "generate run data reconstruct --split train --num-images 12 --png 8 --figure --num-steps 2 --out OUT",
        ),
        case("segment", "segment run data --attention --max-images 8 --out OUT"),
        case(
            "evaluate fidelity",
            &format!(
                "evaluate fidelity data synthetic --features {NETWORK} --statistics OUT/moments.safetensors --out OUT/fidelity.json"
            ),
        ),
        case("evaluate memorisation", &format!("evaluate memorisation data synthetic --features {NETWORK} --out OUT")),
        case("evaluate autoencoder", "evaluate autoencoder data --autoencoder autoencoder --split train --out OUT"),
        case(
            "evaluate conditioning",
            &format!("evaluate conditioning data synthetic --features {NETWORK} --out OUT/conditioning.json"),
        ),
        case(
            "evaluate encoder",
            &format!("evaluate encoder masked --encoder {NETWORK} --negative even --out OUT/encoder.json"),
        ),
        case("evaluate segmentation", "evaluate segmentation run masked --timesteps 300 --annotated 1 --out OUT"),
        Case {
            timed: &["cells.jsonl", "augmentation.json", "runs.csv", "runs.parquet"],
            ..case("evaluate augmentation", "evaluate augmentation masked --grid grid.toml --out OUT")
        },
        case("embed", "embed data-images --encoder run --out OUT/embeddings.safetensors"),
        case("views", &format!("views data --encoder {NETWORK} --out OUT")),
        case("report", "report run data synthetic --out OUT/report.html"),
        Case {
            timed: DEMO_TIMES,
            ..case("demo", &format!("demo --num-phantoms 40 --autoencoder-images 16 --out OUT{}", settings(demo)))
        },
    ]
}

/// Images with masks, patients, splits and labels, as a table lists them.
fn write_table(folder: &Path) {
    let at = |name: &str| folder.join("table").join(name);
    std::fs::create_dir_all(at("masks")).unwrap();
    let mut table = "path,patient,split,labels,lung_mask\n".to_owned();
    for index in 0..40 {
        let drawn = radiograph::Phantom::from_seed(3, index).render(64);
        radiograph::write_png_u8(&at(&format!("{index}.png")), &radiograph::to_u8(&drawn.radiograph.pixels), 64, 64)
            .unwrap();
        let lungs = drawn.right_lung.pixels.iter().zip(&drawn.left_lung.pixels);
        let mask: Vec<u8> = lungs.map(|(right, left)| (right | left) * 255).collect();
        radiograph::write_png_u8(&at(&format!("masks/{index}.png")), &mask, 64, 64).unwrap();
        let split = ["train", "train", "val", "test"][index as usize / 10];
        let label = if index % 2 == 0 { "even" } else { "odd" };
        table += &format!("{index}.png,p{index},{split},{label},masks/{index}.png\n");
    }
    std::fs::write(at("table.csv"), &table).unwrap();
}

const GRID: &str = r#"
description = "Two cells."
seed = 0

[cases]
kind = "classes"
labels = ["even", "odd"]
test_split = "val"

[grid]
sizes = [4]
ratios = [1]
regimes = ["real_and_synthetic", "real_and_classical"]
num_folds = 2
max_synthetic = 20

[[synthetic]]
name = "reconstruction"
[synthetic.generate]
model = "run"
strategy = "reconstruct"
sampler = "ddim"
num_steps = 2
guidance_scale = 1.0

[[classifiers]]
kind = "linear_probe"
features = "run"
strength = 40.0
"#;

/// What all commands read.
fn set_up(folder: &Path) {
    std::fs::write(folder.join("salt"), "0123456789abcdef".repeat(4)).unwrap();
    std::fs::write(folder.join("grid.toml"), GRID).unwrap();
    write_table(folder);
    encoded_phantoms(folder, "data", 1);
    let line = "prepare table/table.csv --preset csv --image-size 64 --salt-file salt --out masked";
    succeed(folder, &line.split(' ').collect::<Vec<_>>());
    succeed(folder, &ENCODE.replace("OUT", "masked").split(' ').collect::<Vec<_>>());
    succeed(folder, &train("data", "run", &["--set", "training.total_images=16"]));
    let line = "generate run data reconstruct --split train --num-images 8 --num-steps 2 --out synthetic";
    succeed(folder, &line.split(' ').collect::<Vec<_>>());
}

/// All files and folders below a folder whose names are temporary.
fn leftovers(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if files::is_temporary(&path) {
            found.push(path);
        } else if path.is_dir() {
            found.extend(leftovers(&path));
        }
    }
    found
}

/// A kill is rarely in time to hit a write, so every folder also gets what it would have left.
fn plant_leftovers(folder: &Path) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !files::is_temporary(&path) {
            plant_leftovers(&path);
        }
    }
    std::fs::write(folder.join(".tmp-image.png-1-1"), "half").unwrap();
    std::fs::create_dir_all(folder.join(".tmp-step-8-1-2/unet")).unwrap();
    std::fs::write(folder.join(".tmp-step-8-1-2/unet/.tmp-config.json-1-3"), "half").unwrap();
}

impl Case {
    /// The command line for a folder; a run that was begun is resumed.
    fn line(&self, folder: &Path, out: &str) -> Vec<String> {
        let mut line: Vec<String> = self.words.iter().map(|word| word.replace("OUT", out)).collect();
        if matches!(&*line[0], "train" | "pretrain") && folder.join(out).join("recipe.toml").is_file() {
            line.push("--resume".into());
        }
        line
    }

    /// What comes before the command, in the folder `out`.
    fn begin(&self, folder: &Path, out: &str) {
        for line in &self.begin {
            if line[0] == "copy" {
                let images = folder.join(format!("{out}-images"));
                std::fs::create_dir_all(&images).unwrap();
                for index in 0..line[1].parse().unwrap() {
                    let name = format!("{index:02}.png");
                    std::fs::copy(folder.join("data-images").join(&name), images.join(name)).unwrap();
                }
                continue;
            }
            let line: Vec<String> = line.iter().map(|word| word.replace("OUT", out)).collect();
            succeed(folder, &line.iter().map(String::as_str).collect::<Vec<_>>());
        }
        // Where a single file is asked for, its folder must be there.
        if self.words.iter().any(|word| word.starts_with("OUT/")) {
            std::fs::create_dir_all(folder.join(out)).unwrap();
        }
    }

    /// What must not depend on kills: all files but those that tell the time.
    fn results(&self, out: &Path) -> BTreeMap<String, Vec<u8>> {
        let is_timed = |name: &String| self.timed.iter().any(|end| name.ends_with(end));
        contents(out).into_iter().filter(|(name, _)| !is_timed(name)).collect()
    }

    /// Undisturbed, then killed `num_kills` times and run to its end.
    fn survive(&self, folder: &Path, moments: &mut Moments, num_kills: u64) {
        let number = cases().iter().position(|case| case.name == self.name).unwrap();
        // The same name for both, as some results tell where they are.
        let out = format!("out{number}");
        let start = || {
            let line = self.line(folder, &out);
            let line: Vec<&str> = line.iter().map(String::as_str).collect();
            program(folder, &line).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        };
        self.begin(folder, &out);
        let begun = Instant::now();
        let output = start().wait_with_output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(matches!(output.status.code(), Some(0 | 1)), "{}: {told}", self.name);
        let secs = begun.elapsed().as_secs_f64();
        let whole = self.results(&folder.join(&out));
        std::fs::remove_dir_all(folder.join(&out)).unwrap();

        self.begin(folder, &out);
        for kill in 0..=num_kills {
            let mut child = start();
            if kill < num_kills {
                std::thread::sleep(Duration::from_secs_f64(moments.next() * secs));
                child.kill().unwrap();
            }
            let ended = child.wait_with_output().unwrap();
            let told = String::from_utf8_lossy(&ended.stderr).into_owned();
            let context = format!("{} after {kill} kills, KILL_SEED={}: {told}", self.name, moments.seed);
            match ended.status.code() {
                // The kill came after the last write; `generate` refuses a dataset that is finished.
                None if self.name == "generate" && folder.join(&out).join("figure.png").is_file() => break,
                None if folder.join(&out).is_dir() => plant_leftovers(&folder.join(&out)),
                None => {}
                code => {
                    assert_eq!(code, output.status.code(), "{context}");
                    break;
                }
            }
        }
        let context = format!("{}, KILL_SEED={}", self.name, moments.seed);
        assert_eq!(leftovers(folder), [] as [PathBuf; 0], "{context}");
        let killed = self.results(&folder.join(&out));
        assert_eq!(whole.keys().collect::<Vec<_>>(), killed.keys().collect::<Vec<_>>(), "{context}");
        let different: Vec<_> =
            whole.iter().filter(|(name, bytes)| &killed[*name] != *bytes).map(|(name, _)| name).collect();
        assert!(different.is_empty(), "{different:?} differ: {context}");
    }
}

/// `KILLS` is their number for each command, `KILL_SEED` repeats a failure, `KILL_ONLY` names one command.
#[test]
fn every_command_that_writes_may_be_killed_and_run_again() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    set_up(folder);
    let num_kills = std::env::var("KILLS").map_or(2, |number| number.parse().unwrap());
    let only = std::env::var("KILL_ONLY").ok();
    let mut moments = Moments::new();
    for case in cases().iter().filter(|case| only.as_ref().is_none_or(|only| only == case.name)) {
        case.survive(folder, &mut moments, num_kills);
    }
}

#[test]
fn the_table_has_every_command() {
    let folder = tempfile::tempdir().unwrap();
    let commands = |words: &[&str]| -> Vec<String> {
        let help = String::from_utf8(run(folder.path(), words).stdout).unwrap();
        let list = help.split("Commands:\n").nth(1).unwrap_or_default();
        let lines = list.lines().take_while(|line| !line.is_empty()).filter(|line| !line.starts_with("   "));
        lines.filter_map(|line| Some(line.split_whitespace().next()?.to_owned())).collect()
    };
    let mut wanted = BTreeSet::new();
    for command in commands(&["--help"]).into_iter().filter(|command| !READERS.contains(&&**command)) {
        let inner = commands(&[&command, "--help"]).into_iter().filter(|inner| inner != "help");
        let inner: Vec<String> = inner.map(|inner| format!("{command} {inner}")).collect();
        wanted.extend(if inner.is_empty() { vec![command] } else { inner });
    }
    let cases = cases();
    let tried: BTreeSet<String> = cases.iter().map(|case| case.name.split(" --").next().unwrap().to_owned()).collect();
    assert_eq!(wanted, tried, "a command that writes is not in the table, or the table has one that does not exist");
}

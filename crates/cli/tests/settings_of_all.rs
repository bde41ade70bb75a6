//! Of the engine, on the settings that the commands have: whatever one of them can print can be set, and whatever is
//! nearly right is recognised.

use std::fmt::Debug;
use std::path::PathBuf;

use serde::{Serialize, de::DeserializeOwned};
use toml::{Table, Value};

use evaluation::augmentation::{AugmentationConfig, GridSettings};
use evaluation::autoencoder::AutoencoderConfig;
use evaluation::conditioning::ConditioningConfig;
use evaluation::encoder::EncoderConfig;
use evaluation::fidelity::FidelityConfig;
use evaluation::memorisation::MemorisationConfig;
use evaluation::segmentation::SegmentationConfig;
use pretraining::autoencoder::{AutoencoderRecipe, PretrainAutoencoderConfig};
use pretraining::encoder::{EncoderRecipe, PretrainEncoderConfig};
use segmentation::{Refinement, SegmenterSettings};
use settings::{Settings, change, change_within, keys_at, kinds_at, read, same_word};
use stages::generate::{GenerateConfig, Strategy, quarters};
use stages::recipe::Recipe;
use stages::segment::SegmentConfig;
use stages::train::TrainConfig;
use stages::views::{ViewQuestion, ViewsConfig};

/// Values with their paths; whole lists and their items.
fn leaves(table: &Table) -> Vec<(String, Value)> {
    fn walk(path: &str, value: &Value, found: &mut Vec<(String, Value)>) {
        match value {
            Value::Table(table) => {
                for (key, value) in table {
                    walk(&format!("{path}{}{key}", if path.is_empty() { "" } else { "." }), value, found);
                }
            }
            Value::Array(items) => {
                found.push((path.to_owned(), value.clone()));
                items.iter().enumerate().for_each(|(number, item)| walk(&format!("{path}.{number}"), item, found));
            }
            value => found.push((path.to_owned(), value.clone())),
        }
    }
    let mut found = Vec::new();
    walk("", &Value::Table(table.clone()), &mut found);
    found
}

/// One letter left out, or swapped with its neighbour.
fn slips(word: &str) -> Vec<String> {
    let letters: Vec<char> = word.chars().collect();
    let without = |place: usize| -> String { letters.iter().take(place).chain(&letters[place + 1..]).collect() };
    let swapped = |place: usize| -> String {
        let mut letters = letters.clone();
        letters.swap(place, place + 1);
        letters.into_iter().collect()
    };
    let places = 0..letters.len();
    let words = places.clone().map(without).chain(places.take(letters.len() - 1).map(swapped));
    words.filter(|slip| slip != word && !slip.is_empty()).collect()
}

/// Every value can be set to itself, every kind can be chosen, every slip is recognised.
fn check<T: Serialize + DeserializeOwned + Clone + PartialEq + Debug>(
    name: &str,
    settings: &T,
    needs: &[(&str, &str)],
) {
    let one = |path: &str, text: &str| change(settings, &[(path.to_owned(), text.to_owned())]);
    let tree = Table::try_from(settings).unwrap();
    for (path, value) in leaves(&tree) {
        let mut texts = vec![value.to_string()];
        texts.extend(value.as_str().map(str::to_owned));
        texts.extend(value.as_float().filter(|number| number.fract() == 0.0).map(|number| format!("{number:.0}")));
        for text in texts {
            let same = one(&path, &text).unwrap_or_else(|error| panic!("{name}: {path}={text}: {error:#}"));
            assert_eq!(same, *settings, "{name}: {path}={text}");
        }
        let (section, key) = path.rsplit_once('.').unwrap_or(("", &path));
        if key.parse::<usize>().is_ok() {
            continue;
        }
        let place: Vec<String> = section.split('.').filter(|key| !key.is_empty()).map(str::to_owned).collect();
        let known = keys_at::<T>(&tree, &place).unwrap_or_else(|| panic!("{name}: {section} has keys")).names;
        assert!(known.contains(&key), "{name}: {path} is known: {known:?}");
        for slip in slips(key).into_iter().filter(|slip| same_word(slip, &known).is_none()) {
            let typed = format!("{section}{}{slip}", if section.is_empty() { "" } else { "." });
            let error = format!("{:#}", one(&typed, "1").expect_err(&typed));
            let said = error.contains("did you mean") && error.contains(&format!("`{path}`"));
            assert!(said, "{name}: {typed} should suggest {path}: {error}");
        }
    }
    for (path, _) in leaves(&tree) {
        let place: Vec<String> = path.split('.').map(str::to_owned).collect();
        for depth in 1..place.len() {
            let (section, rest) = place.split_at(depth);
            let Some(tag) = keys_at::<T>(&tree, section).and_then(|known| known.tag) else { continue };
            if rest != [tag] {
                continue;
            }
            let kinds = kinds_at::<T>(&tree, section, tag);
            // There is one kind of denoising network so far.
            assert!(
                kinds.len() > 1 || section.last().is_some_and(|key| key == "network"),
                "{name}: {path} has {kinds:?}"
            );
            for kind in kinds {
                let mut pairs = vec![(path.clone(), (*kind).to_owned())];
                let wanted = needs.iter().filter(|(of, _)| of == kind);
                pairs.extend(wanted.map(|(_, setting)| {
                    let (key, value) = setting.split_once('=').unwrap();
                    (format!("{}.{key}", section.join(".")), value.to_owned())
                }));
                let changed = change(settings, &pairs).unwrap_or_else(|error| panic!("{name}: {pairs:?}: {error:#}"));
                let changed = Table::try_from(&changed).unwrap();
                let found = leaves(&changed).into_iter().find(|(found, _)| *found == path).unwrap().1;
                assert_eq!(found.as_str(), Some(*kind), "{name}: {path}");
                // And back: what was left is gone, what returns is what the kind begins with.
                let back =
                    (path.clone(), leaves(&tree).into_iter().find(|(found, _)| *found == path).unwrap().1.to_string());
                pairs.push(back);
                pairs.extend(
                    needs
                        .iter()
                        .filter(|(of, _)| pairs.last().unwrap().1.contains(of))
                        .map(|(_, setting)| {
                            let (key, value) = setting.split_once('=').unwrap();
                            (format!("{}.{key}", section.join(".")), value.to_owned())
                        })
                        .collect::<Vec<_>>(),
                );
                change(settings, &pairs).unwrap_or_else(|error| panic!("{name}: {pairs:?}: {error:#}"));
            }
        }
    }
}

fn check_embedded<S: Settings + PartialEq + Debug>(needs: &[(&str, &str)]) {
    for (name, _) in S::EMBEDDED {
        check(name, &read::<S>(name).unwrap(), needs);
    }
}

#[test]
fn recipes_can_be_set_leaf_by_leaf() {
    check_embedded::<Recipe>(&[]);
    check_embedded::<EncoderRecipe>(&[]);
    check_embedded::<AutoencoderRecipe>(&[]);
    check_embedded::<GridSettings>(&[("linear_probe", "features=random:xrv")]);
}

#[test]
fn the_settings_of_every_command_can_be_set_leaf_by_leaf() {
    let path = || PathBuf::from("a/path");
    let some = || Some(path());
    let train = TrainConfig {
        dataset: path(),
        recipe: read("small-128").unwrap(),
        out: path(),
        resume: false,
        autoencoder: some(),
        encoder: some(),
        max_minutes: Some(5.0),
    };
    check("train", &train, &[]);
    let encoder = PretrainEncoderConfig {
        dataset: path(),
        recipe: read("dino-tiny-128").unwrap(),
        out: path(),
        from: some(),
        resume: true,
        max_minutes: None,
    };
    check("pretrain encoder", &encoder, &[]);
    let autoencoder = PretrainAutoencoderConfig {
        dataset: path(),
        recipe: read("autoencoder-128").unwrap(),
        out: path(),
        encoder: some(),
        features: some(),
        resume: false,
        max_minutes: None,
    };
    check("pretrain autoencoder", &autoencoder, &[]);
    let generate = GenerateConfig {
        model: path(),
        dataset: path(),
        out: path(),
        strategy: Strategy::Interpolate {
            pairs: stages::generate::PairRule::File(path()),
            fractions: quarters(),
            interpolation: diffusion::interpolate::Interpolation::Lerp,
        },
        split: dataset::Split::Val,
        num_images: Some(3),
        guidance_scale: Some(2.0),
        num_steps: Some(7),
        sampler: Some(diffusion::Sampler::Dpmpp2m),
        seed: 4,
        batch_size: 8,
        png_bits: Some(16),
        figure: true,
    };
    check("generate", &generate, &[("listed", "table=x.csv")]);
    let segment = SegmentConfig {
        model: path(),
        dataset: path(),
        out: path(),
        split: Some(dataset::Split::Test),
        max_images: Some(5),
        segmenter: some(),
        settings: Some(SegmenterSettings {
            refinement: Some(Refinement { radius: 3, epsilon: 0.5 }),
            ..SegmenterSettings::default()
        }),
        dicom_sources: some(),
        attention: true,
        batch_size: 8,
        seed: 1,
    };
    check("segment", &segment, &[]);
    let features = || "random:xrv".parse().unwrap();
    let fidelity = FidelityConfig {
        real: path(),
        synthetic: vec![path(), path()],
        features: features(),
        reference_split: dataset::Split::Train,
        held_out_split: dataset::Split::Val,
        seed: 1,
        statistics: some(),
        out: some(),
    };
    check("evaluate fidelity", &fidelity, &[]);
    let memorisation = MemorisationConfig {
        real: path(),
        synthetic: path(),
        features: features(),
        held_out_split: dataset::Split::Test,
        seed: 1,
        out: path(),
    };
    check("evaluate memorisation", &memorisation, &[]);
    let conditioning =
        ConditioningConfig { real: path(), synthetic: path(), features: features(), seed: 1, out: some() };
    check("evaluate conditioning", &conditioning, &[]);
    let encoder = EncoderConfig {
        dataset: path(),
        encoder: path(),
        autoencoder: some(),
        source: Some("2017".into()),
        negative: "normal".into(),
        seed: 1,
        batch_size: 2,
        out: some(),
    };
    check("evaluate encoder", &encoder, &[]);
    let autoencoder = AutoencoderConfig {
        dataset: path(),
        autoencoder: path(),
        features: Some(features()),
        split: dataset::Split::Val,
        max_images: Some(3),
        batch_size: 2,
        out: path(),
    };
    check("evaluate autoencoder", &autoencoder, &[]);
    let segmentation = SegmentationConfig {
        model: path(),
        dataset: path(),
        split: dataset::Split::Val,
        search_share: 0.5,
        num_annotated: vec![1, 5],
        timesteps: vec![50.0, 200.5],
        checkpoints: some(),
        batch_size: 2,
        seed: 1,
        out: path(),
    };
    check("evaluate segmentation", &segmentation, &[]);
    let augmentation = AugmentationConfig { dataset: path(), settings: read("kermany").unwrap(), out: path() };
    check("evaluate augmentation", &augmentation, &[("linear_probe", "features=random:xrv")]);
    let views = ViewsConfig {
        dataset: path(),
        encoder: some(),
        source: Some("a source".into()),
        max_patients: 5,
        false_alarms: 0.5,
        question: ViewQuestion::ApPa,
        seed: 1,
        batch_size: 2,
        out: some(),
    };
    check("views", &views, &[]);
    check("prepare", &ingest::prepare::PrepareConfig::default(), &[]);
}

#[test]
fn the_name_of_the_main_section_may_be_left_out() {
    let train = TrainConfig {
        dataset: "data".into(),
        recipe: read("small-128").unwrap(),
        out: "run".into(),
        resume: false,
        autoencoder: None,
        encoder: None,
        max_minutes: None,
    };
    let set = |path: &str, value: &str| change_within(&train, "recipe", &[(path.to_owned(), value.to_owned())]);
    for path in ["optimiser.batch_size", "recipe.optimiser.batch_size", "optimizer.batch_size"] {
        assert_eq!(set(path, "8").unwrap().recipe.optimiser.batch_size, 8, "{path}");
    }
    assert_eq!(set("max_minutes", "8").unwrap().max_minutes, Some(8.0));
    for (path, part) in [
        ("optimiser.batch_sze", "did you mean `optimiser.batch_size`?"),
        ("optimsier.batch_size", "did you mean `optimiser.batch_size`?"),
        ("batch_size", "did you mean `recipe.optimiser.batch_size`?"),
        ("max_minuts", "did you mean `max_minutes`?"),
    ] {
        let error = format!("{:#}", set(path, "8").unwrap_err());
        let part = part.replace("recipe.", "");
        assert!(error.contains(&part), "{path}: {error}");
        assert!(error.starts_with(&format!("`--set {path}=8` is not possible")), "{error}");
    }
}

//! Evaluations in the features of published networks, on phantoms and with untrained weights: plumbing, not results.

use super::{NUM_IMAGES, SIZE, encoded_phantoms};
use burn::tensor::Device;
use dataset::{Dataset, DatasetSettings, DatasetWriter, Provenance, Split};
use evaluation::features::RANDOM_WEIGHTS;
use evaluation::{
    conditioning::{self, ConditioningConfig},
    fidelity::{self, FidelityConfig, FidelitySummary},
    memorisation::{self, MemorisationConfig},
};
use messages::{Progress, Silent};
use nets::{
    features::{DenseNet, DenseNetConfig, xrv_input},
    init::{Initialisation, randomise},
};
use std::{
    path::{Path, PathBuf},
    sync::Mutex,
};

/// A DenseNet that is quick, with random weights.
fn small_network(in_channels: usize) -> DenseNet {
    let config = DenseNetConfig {
        growth_rate: 8,
        block_config: vec![1, 1],
        num_init_features: 8,
        bn_size: 2,
        in_channels,
        num_classes: 18,
    };
    randomise(config.init(&Device::flex()), Initialisation::HeNormal, 3)
}

fn saved(network: &DenseNet, path: PathBuf) -> PathBuf {
    network.state_dict().save(&path, false, None).unwrap();
    path
}

fn fidelity_of(real: &Path, synthetic: &Path, features: &str) -> FidelityConfig {
    FidelityConfig {
        real: real.into(),
        synthetic: vec![synthetic.into()],
        features: features.parse().unwrap(),
        reference_split: Split::Train,
        held_out_split: Split::Val,
        seed: 0,
        statistics: None,
        out: None,
    }
}

/// What a set is from the reference, and what held-out real images are.
fn frechet(found: &FidelitySummary) -> [f64; 2] {
    [found.synthetic[0].distances.frechet_distance, found.held_out.unwrap().frechet_distance]
}

/// Remembers what was said.
#[derive(Default)]
struct Listener(Mutex<Vec<String>>);

impl Progress for Listener {
    fn begin(&self, _task: &str, _total: u64, _unit: &str) {}
    fn advance(&self, _amount: u64, _note: &str) {}
    fn end(&self) {}
    fn say(&self, sentence: &str) {
        self.0.lock().unwrap().push(sentence.to_owned());
    }
}

impl Listener {
    /// How many sentences contain a word; forgets all.
    fn count(&self, word: &str) -> usize {
        self.0.lock().unwrap().drain(..).filter(|sentence| sentence.contains(word)).count()
    }
}

/// Each validation image, said to be drawn from itself.
fn copies(real: &Dataset, out: &Path) -> PathBuf {
    let mut writer = DatasetWriter::create_or_resume(out, DatasetSettings::new(SIZE)).unwrap();
    for index in real.indices(Split::Val).unwrap() {
        let mut row = real.rows_at(&[index]).unwrap().remove(0);
        row.provenance = Some(Provenance { source_ids: vec![row.id.clone()], ..Provenance::default() });
        writer.push(row, &real.image(index).unwrap(), None).unwrap();
    }
    writer.finish().unwrap();
    out.into()
}

#[test]
fn features_are_those_of_the_network_with_its_own_preprocessing_and_are_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = encoded_phantoms(folder.path());
    let real = Dataset::open(&dataset).unwrap();
    let (network, device) = (small_network(1), Device::flex());
    let path = saved(&network, folder.path().join("densenet.safetensors"));
    let synthetic = copies(&real, &folder.path().join("copies"));
    let mut config = fidelity_of(&dataset, &synthetic, &format!("xrv:{}", path.display()));
    config.out = Some(folder.path().join("fidelity.json"));

    let listener = Listener::default();
    let found = fidelity::run(&config, &device, &listener).unwrap();
    assert_eq!(listener.count("used again"), 0);
    assert_eq!((found.dim, found.num_images), (network.dim(), 8));
    assert_eq!((found.network.as_str(), &found.caution), ("DenseNet of torchxrayvision", &None));
    // The very images of the floor are as far as the floor.
    assert_eq!(frechet(&found)[0], frechet(&found)[1]);
    let kept = real.encodings("features.xrv-224-v1", &found.features).unwrap();
    let rows: Vec<usize> = (0..NUM_IMAGES).collect();
    let pictures: Vec<f32> = real.images(&rows).unwrap().iter().map(|byte| f32::from(*byte) / 255.0).collect();
    let direct = network.forward_features(xrv_input(&pictures, [SIZE, SIZE], &device).unwrap());
    let direct = training::tensors::to_host(direct).unwrap();
    let largest = direct.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    for (kept, direct) in kept.gather("embeddings", &rows).unwrap().into_iter().zip(direct) {
        assert!((kept - direct).abs() <= 1e-3 * largest, "{kept} {direct}");
    }

    let again = fidelity::run(&config, &device, &listener).unwrap();
    assert_eq!(listener.count("used again"), 2, "of the real and of the synthetic images");
    assert_eq!(frechet(&again), frechet(&found));
    // Other weights under the same path are another network.
    let other = randomise(small_network(1), Initialisation::HeNormal, 4);
    saved(&other, path);
    let other = fidelity::run(&config, &device, &listener).unwrap();
    assert_eq!(listener.count("used again"), 0);
    assert_ne!(other.features, found.features);
    assert_ne!(frechet(&other), frechet(&found));
}

#[test]
fn what_random_weights_made_says_so_everywhere() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = encoded_phantoms(folder.path());
    let synthetic = copies(&Dataset::open(&dataset).unwrap(), &folder.path().join("copies"));
    for (name, dim) in [("random:xrv", 1024), ("random:inception", 2048)] {
        let out = folder.path().join(format!("{dim}.json"));
        let config = ConditioningConfig {
            real: dataset.clone(),
            synthetic: synthetic.clone(),
            features: name.parse().unwrap(),
            seed: 0,
            out: Some(out.clone()),
        };
        let found = conditioning::run(&config, &Device::flex(), &Silent).unwrap();
        assert_eq!((found.top_1, found.num_images), (1.0, 8), "{name}: an image is nearest to itself");
        assert_eq!(found.caution.as_deref(), Some(RANDOM_WEIGHTS));
        assert!(found.network.ends_with("random weights"), "{}", found.network);
        assert!(std::fs::read_to_string(&out).unwrap().contains(RANDOM_WEIGHTS));
        let found = fidelity::run(&fidelity_of(&dataset, &synthetic, name), &Device::flex(), &Silent).unwrap();
        assert_eq!((found.dim, found.caution.as_deref()), (dim, Some(RANDOM_WEIGHTS)));
        assert_eq!(frechet(&found)[0], frechet(&found)[1]);
        let page = folder.path().join("report.html");
        let report = report::ReportConfig::new(vec![out], page.clone());
        report::run(&report, &Silent).unwrap();
        assert!(std::fs::read_to_string(page).unwrap().contains(RANDOM_WEIGHTS), "{name}");
    }
}

#[test]
fn wrong_feature_networks_are_refused_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = encoded_phantoms(folder.path());
    let synthetic = copies(&Dataset::open(&dataset).unwrap(), &folder.path().join("copies"));
    let at = |name: &str| folder.path().join(name).display().to_string();
    saved(&small_network(3), folder.path().join("colour.safetensors"));
    std::fs::write(folder.path().join("text.safetensors"), "no weights").unwrap();
    for (features, words) in [
        (format!("xrv:{}", at("absent.safetensors")), ["download it", "absent.safetensors"]),
        (format!("inception:{}", at("autoencoder")), ["no file of weights", "`inception:`"]),
        (format!("xrv:{}", at("text.safetensors")), ["safetensors file is damaged", "text.safetensors"]),
        (format!("xrv:{}", at("colour.safetensors")), ["3 channels", "take 1"]),
        (format!("inception:{}", at("colour.safetensors")), ["pt_inception-2015-12-05", "colour.safetensors"]),
        (format!("xrv:{}", at("autoencoder/diffusion_pytorch_model.safetensors")), ["no DenseNet", "torchxrayvision"]),
    ] {
        let config = fidelity_of(&dataset, &synthetic, &features);
        let error = format!("{:#}", fidelity::run(&config, &Device::flex(), &Silent).unwrap_err());
        assert!(words.iter().all(|word| error.contains(word)), "{features}: {error}");
    }
}

/// Statistics stand for images that may not leave their house, and never for other ones.
#[test]
fn statistics_of_the_reference_stand_for_its_images() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = encoded_phantoms(folder.path());
    let real = Dataset::open(&dataset).unwrap();
    let device = Device::flex();
    let synthetic = copies(&real, &folder.path().join("copies"));
    let path = saved(&small_network(1), folder.path().join("densenet.safetensors"));
    let features = format!("xrv:{}", path.display());
    let statistics = folder.path().join("reference.safetensors");
    let config =
        FidelityConfig { statistics: Some(statistics.clone()), ..fidelity_of(&dataset, &synthetic, &features) };
    let here = fidelity::run(&config, &device, &Silent).unwrap();

    let elsewhere = fidelity_of(&statistics, &synthetic, &features);
    let found = fidelity::run(&elsewhere, &device, &Silent).unwrap();
    assert_eq!((found.dim, found.num_reference, found.num_images), (here.dim, Some(16), 8));
    let [there, floor] = frechet(&here);
    let own = found.synthetic[0].distances;
    assert!((own.frechet_distance - there).abs() < 1e-6 * there, "{} {there}", own.frechet_distance);
    assert!((found.floor.unwrap().frechet_distance - floor).abs() < 1e-9 * floor);
    assert!(own.frechet_distance_interval[1] > own.frechet_distance && own.by_images.is_none());
    assert!(found.held_out.is_none() && found.note.unwrap().contains("single images"));
    let page = folder.path().join("report.html");
    let with_file = FidelityConfig { out: Some(folder.path().join("far.json")), ..elsewhere.clone() };
    fidelity::run(&with_file, &device, &Silent).unwrap();
    let report = report::ReportConfig::new(vec![folder.path().join("far.json")], page.clone());
    report::run(&report, &Silent).unwrap();
    assert!(std::fs::read_to_string(page).unwrap().contains("data-key=\"floor.frechet_distance\""));

    // Used again where all is the same, and refused where it is not.
    let listener = Listener::default();
    let written = std::fs::read(&statistics).unwrap();
    fidelity::run(&config, &device, &listener).unwrap();
    assert_eq!((listener.count("are there already"), std::fs::read(&statistics).unwrap()), (1, written));
    let refused = |config: FidelityConfig, words: &[&str]| {
        let error = format!("{:#}", fidelity::run(&config, &device, &Silent).unwrap_err());
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    let other_split = FidelityConfig { reference_split: Split::Val, held_out_split: Split::Train, ..config.clone() };
    refused(other_split, &["the split is `train` there and `val` here", "reference.safetensors"]);
    refused(FidelityConfig { statistics: Some(path.clone()), ..config.clone() }, &["no reference statistics"]);
    refused(FidelityConfig { statistics: Some(statistics.clone()), ..elsewhere.clone() }, &["leave the option out"]);
    refused(fidelity_of(&dataset, &statistics, &features), &["single images", "give the dataset"]);
    saved(&randomise(small_network(1), Initialisation::HeNormal, 4), path);
    refused(config, &["feature network is", "delete the file"]);
    refused(elsewhere, &["another network", "the very weights"]);

    let conditioning = ConditioningConfig {
        real: statistics.clone(),
        synthetic: synthetic.clone(),
        features: features.parse().unwrap(),
        seed: 0,
        out: None,
    };
    let memorisation = MemorisationConfig {
        real: statistics.clone(),
        synthetic: synthetic.clone(),
        features: features.parse().unwrap(),
        held_out_split: Split::Val,
        seed: 0,
        out: folder.path().join("audit"),
    };
    for error in [
        conditioning::run(&conditioning, &device, &Silent).unwrap_err().to_string(),
        memorisation::run(&memorisation, &device, &Silent).unwrap_err().to_string(),
    ] {
        assert!(error.contains("compares single images") && error.contains("give the dataset"), "{error}");
    }

    let bytes = std::fs::read(&statistics).unwrap();
    for length in [bytes.len() / 2, bytes.len() - 8] {
        std::fs::write(&statistics, &bytes[..length]).unwrap();
        assert!(fidelity::run(&fidelity_of(&statistics, &synthetic, &features), &device, &Silent).is_err());
    }
}

/// pytorch-fid's form holds mean and covariance alone; what cannot be checked by them is said.
#[test]
fn statistics_of_pytorch_fid_stand_for_images_as_far_as_they_can() {
    let folder = tempfile::tempdir().unwrap();
    let dataset = encoded_phantoms(folder.path());
    let real = Dataset::open(&dataset).unwrap();
    let device = Device::flex();
    let synthetic = copies(&real, &folder.path().join("copies"));
    let path = saved(&small_network(1), folder.path().join("densenet.safetensors"));
    let features = format!("xrv:{}", path.display());
    let statistics = folder.path().join("reference.NPZ");
    let config =
        FidelityConfig { statistics: Some(statistics.clone()), ..fidelity_of(&dataset, &synthetic, &features) };
    let here = fidelity::run(&config, &device, &Silent).unwrap();
    let [mu, sigma] = dataset::read_npz(&statistics, ["mu", "sigma"]).unwrap();
    assert_eq!((mu.shape, sigma.shape), (vec![here.dim], vec![here.dim, here.dim]));

    let elsewhere =
        FidelityConfig { out: Some(folder.path().join("far.json")), ..fidelity_of(&statistics, &synthetic, &features) };
    let found = fidelity::run(&elsewhere, &device, &Silent).unwrap();
    assert_eq!((found.dim, found.num_reference, found.num_images), (here.dim, None, 8));
    let there = frechet(&here)[0];
    let own = found.synthetic[0].distances;
    assert!((own.frechet_distance - there).abs() < 1e-6 * there, "{} {there}", own.frechet_distance);
    assert!(found.floor.is_none() && found.held_out.is_none());
    let note = found.note.unwrap();
    assert_eq!(note.matches("only the number of features was checked").count(), 1, "{note}");
    let page = folder.path().join("report.html");
    let report = report::ReportConfig::new(vec![folder.path().join("far.json")], page.clone());
    report::run(&report, &Silent).unwrap();
    assert!(std::fs::read_to_string(page).unwrap().contains("only the number of features was checked"));

    let refused = |config: FidelityConfig, words: &[&str]| {
        let error = format!("{:#}", fidelity::run(&config, &device, &Silent).unwrap_err());
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    };
    refused(config.clone(), &["there already", "an .npz does not say", "delete the file", "reference.NPZ"]);
    refused(fidelity_of(&dataset, &statistics, &features), &["single images", "give the dataset"]);
    refused(fidelity_of(&statistics, &synthetic, "random:xrv"), &["features, the network gives 1024", "--features"]);
    let bytes = std::fs::read(&statistics).unwrap();
    std::fs::write(&statistics, &bytes[..bytes.len() / 2]).unwrap();
    refused(elsewhere, &["NumPy archive is damaged", "reference.NPZ"]);
}

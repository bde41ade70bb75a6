//! Embeddings of images that are not square, against transformers for every layout of an encoder's preprocessing;
//! `golden/oblong/generate.py` made the numbers.

use burn::tensor::Device;
use messages::Silent;
use nets::Checkpoint;
use stages::embed::{self, EmbedConfig, EmbedFit};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

const IMAGES: [&str; 4] = ["narrow", "square", "tall", "wide"];

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/oblong").join(name)
}

/// Each case with the golden folder of its network.
fn cases() -> BTreeMap<String, PathBuf> {
    #[derive(serde::Deserialize)]
    struct Cases {
        networks: BTreeMap<String, String>,
    }
    let cases: Cases = serde_json::from_slice(&fs::read(golden("cases.json")).unwrap()).unwrap();
    let networks = Path::new(env!("CARGO_MANIFEST_DIR")).join("../nets/tests/golden/vit");
    cases.networks.into_iter().map(|(case, network)| (case, networks.join(network))).collect()
}

/// The class tokens of all images, in the order of their names.
fn embed_images(folder: &Path, case: Option<&str>, network: &Path, fit: EmbedFit) -> Vec<Vec<f32>> {
    let encoder = folder.join("encoder");
    fs::create_dir_all(&encoder).unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(network.join(name), encoder.join(name)).unwrap();
    }
    let preprocessing = encoder.join("preprocessor_config.json");
    match case {
        Some(case) => drop(fs::copy(golden(&format!("{case}.json")), preprocessing).unwrap()),
        None => drop(fs::remove_file(preprocessing)),
    }
    let out = folder.join("embeddings.safetensors");
    let images = IMAGES.map(|name| golden(&format!("{name}.png"))).to_vec();
    let config = EmbedConfig { encoder, images, out: out.clone(), batch_size: 3, fit };
    assert_eq!(embed::run(&config, &Device::flex(), &Silent).unwrap().num_images, IMAGES.len());
    let embeddings = Checkpoint::open(&out).unwrap().read("embeddings").unwrap();
    embeddings.values.chunks_exact(embeddings.shape[1]).map(<[f32]>::to_vec).collect()
}

fn relative_difference(a: &[f32], b: &[f32]) -> f32 {
    let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|value| value * value).sum::<f32>().sqrt();
    norm(&mut a.iter().zip(b).map(|(a, b)| a - b)) / norm(&mut b.iter().copied())
}

#[test]
fn embeddings_equal_those_of_transformers() {
    let folder = tempfile::tempdir().unwrap();
    let expected = Checkpoint::open(&golden("tokens.safetensors")).unwrap();
    let mut most_by_padding = 0_f32;
    for (case, network) in cases() {
        let ours = embed_images(folder.path(), Some(&case), &network, EmbedFit::Encoder);
        let padded = embed_images(folder.path(), Some(&case), &network, EmbedFit::Pad);
        for ((name, ours), padded) in IMAGES.iter().zip(ours).zip(padded) {
            let expected = expected.read(&format!("{case}.{name}")).unwrap().values;
            let difference = relative_difference(&ours, &expected);
            assert!(difference <= 1e-4, "{case}, {name}: {difference}");
            most_by_padding = most_by_padding.max(relative_difference(&padded, &expected));
        }
    }
    // What this guards against: padding gives embeddings of something else.
    assert!(most_by_padding > 0.1, "{most_by_padding}");
}

/// A folder without `preprocessor_config.json` stretches to the network's size, bicubic, as DINO's own file says.
#[test]
fn a_folder_without_preprocessing_stretches() {
    let folder = tempfile::tempdir().unwrap();
    let network = &cases()["dino"];
    let without = embed_images(folder.path(), None, network, EmbedFit::Encoder);
    assert_eq!(without, embed_images(folder.path(), Some("dino"), network, EmbedFit::Encoder));
}

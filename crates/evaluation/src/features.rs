//! Feature networks: what an evaluation sees of images in place of pixels. A DINO encoder's class token, the means of
//! torchxrayvision's DenseNet, or those of Inception-v3 as the Fréchet inception distance has it.
//!
//! Features of a dataset are kept beside its images like encodings, by the fingerprints of the dataset and of the network
//! and by the name of the preprocessing, and are read where all three agree.

use anyhow::{Result, ensure};
use burn::{
    module::{Module as _, ModuleMapper, Param},
    tensor::{Device, Tensor},
};
use dataset::{Dataset, TensorSpec};
use messages::Progress;
use nets::{
    Checkpoint,
    encoder::Encoder,
    features::{DenseNet, DenseNetConfig, Inception, inception_input, xrv_input},
    init::{Initialisation, randomise},
};
use serde::{Deserialize, Serialize};
use stages::model::network_of;
use stages::{encode, encoded::Embeddings};
use std::{
    fmt,
    path::{Path, PathBuf},
    str::FromStr,
};
use training::tensors::to_host;

/// Stands beside every figure that random weights made.
pub const RANDOM_WEIGHTS: &str = "the feature network has random weights of a fixed seed: this is a test of the \
                                  plumbing or a control, and no figure of image quality";

/// Of random weights.
const SEED: u64 = 0;
/// Images that go through a network together.
const BATCH_SIZE: usize = 8;

/// A network whose layout and preprocessing its users agree upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// DenseNet-121 of torchxrayvision (Cohen et al. 2022), 1,024 features of chest radiographs.
    Xrv,
    /// Inception-v3 of the Fréchet inception distance (Heusel et al. 2017), 2,048 features of photographs.
    Inception,
}

impl Published {
    const ALL: [Self; 2] = [Self::Xrv, Self::Inception];

    /// In front of the colon of a choice.
    fn word(self) -> &'static str {
        match self {
            Self::Xrv => "xrv",
            Self::Inception => "inception",
        }
    }

    /// For people.
    fn description(self) -> &'static str {
        match self {
            Self::Xrv => "DenseNet of torchxrayvision",
            Self::Inception => "Inception-v3 of the Fréchet inception distance",
        }
    }

    /// Names the features with what is done to a picture before the network sees it. Whoever changes how features come
    /// about raises the number at the end, so that features of old are not taken for those of now.
    fn preprocessing(self) -> &'static str {
        match self {
            Self::Xrv => "features.xrv-224-v1",
            Self::Inception => "features.inception-299-v1",
        }
    }

    fn random(self, device: &Device) -> PublishedNetwork {
        match self {
            Self::Xrv => {
                let network = DenseNetConfig::default().init(device);
                let network = randomise(network, Initialisation::HeNormal, SEED);
                // Such weights keep the size of what goes in, here up to 1,024, and features are kept in 16 bits.
                PublishedNetwork::Xrv(Box::new(network.map(&mut FirstWeights(Some(1.0 / 1024.0)))))
            }
            Self::Inception => {
                let network = randomise(Inception::new(device), Initialisation::HeNormal, SEED);
                PublishedNetwork::Inception(Box::new(network))
            }
        }
    }

    fn load(self, path: &Path, device: &Device) -> Result<PublishedNetwork> {
        match self {
            Self::Xrv => {
                let network = DenseNet::load(path, device)?;
                let channels = network.config().in_channels;
                ensure!(
                    channels == 1,
                    "the DenseNet takes images of {channels} channels, torchxrayvision's take 1; give the weights of \
                     one of these: {}",
                    path.display()
                );
                Ok(PublishedNetwork::Xrv(Box::new(network)))
            }
            Self::Inception => Ok(PublishedNetwork::Inception(Box::new(Inception::load(path, device)?))),
        }
    }
}

/// Which network gives the features of an evaluation, as `--features` and settings name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum FeatureChoice {
    /// `FOLDER`: the class token of an encoder; of a run or model its encoder, or `random:vit-small/16`.
    Encoder(PathBuf),
    /// `xrv:FILE` or `inception:FILE`.
    File(Published, PathBuf),
    /// `random:xrv` or `random:inception`.
    Random(Published),
}

impl FromStr for FeatureChoice {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        ensure!(
            !text.is_empty(),
            "no feature network is named; give the folder of an encoder, `xrv:FILE` or `inception:FILE`"
        );
        for published in Published::ALL {
            let word = published.word();
            if let Some(file) = text.strip_prefix(word).and_then(|rest| rest.strip_prefix(':')) {
                ensure!(
                    !file.is_empty(),
                    "`{text}` names no file; write `{word}:FILE` with the weights of the {}",
                    published.description()
                );
                return Ok(Self::File(published, file.into()));
            }
        }
        let Some(name) = text.strip_prefix("random:") else { return Ok(Self::Encoder(text.into())) };
        if let Some(published) = Published::ALL.into_iter().find(|published| published.word() == name) {
            return Ok(Self::Random(published));
        }
        ensure!(
            name.starts_with("vit-"),
            "there is no random feature network `{name}`; there are `random:xrv`, `random:inception` and, for example, \
             `random:vit-small/16`"
        );
        Ok(Self::Encoder(text.into()))
    }
}

impl fmt::Display for FeatureChoice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Encoder(path) => write!(formatter, "{}", path.display()),
            Self::File(published, path) => write!(formatter, "{}:{}", published.word(), path.display()),
            Self::Random(published) => write!(formatter, "random:{}", published.word()),
        }
    }
}

impl TryFrom<String> for FeatureChoice {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<FeatureChoice> for String {
    fn from(choice: FeatureChoice) -> Self {
        choice.to_string()
    }
}

impl FeatureChoice {
    /// What the network is, for people: never a path.
    pub fn description(&self) -> String {
        let what = match self {
            Self::Encoder(_) => "encoder",
            Self::File(published, _) | Self::Random(published) => published.description(),
        };
        if self.is_random() { format!("{what}, random weights") } else { what.to_owned() }
    }

    fn is_random(&self) -> bool {
        match self {
            Self::Encoder(path) => path.to_string_lossy().starts_with("random:"),
            Self::File(..) => false,
            Self::Random(_) => true,
        }
    }

    /// [`RANDOM_WEIGHTS`] where the network has such.
    pub fn caution(&self) -> Option<String> {
        self.is_random().then(|| RANDOM_WEIGHTS.to_owned())
    }

    /// Refuses a network whose file or folder is not there. Nothing is read or made.
    ///
    /// # Errors
    /// A place where nothing is.
    pub fn check(&self) -> Result<()> {
        match self {
            Self::Encoder(path) if !self.is_random() => {
                encode::existing_folder(network_of(path, "encoder")?, "feature network")?;
            }
            Self::File(published, path) => ensure!(
                path.is_file(),
                "there is no file of weights of the {}; download it and give its path behind `{}:`: {}",
                published.description(),
                published.word(),
                path.display()
            ),
            Self::Encoder(_) | Self::Random(_) => {}
        }
        Ok(())
    }

    /// Finds the network's files; `dataset` is where a random encoder is kept, made for its image size.
    ///
    /// # Errors
    /// A file or folder that is missing.
    pub fn open(&self, dataset: &Dataset, device: &Device) -> Result<FeatureNetwork> {
        self.check()?;
        let (source, fingerprint) = match self {
            Self::Encoder(path) => {
                let folder = encode::encoder_folder(path, dataset, device)?;
                let fingerprint = files::fingerprint(&folder)?;
                (Source::Encoder(folder), fingerprint)
            }
            Self::File(published, path) => (Source::File(*published, path.clone()), files::fingerprint(path)?),
            Self::Random(published) => {
                let network = published.random(device);
                let fingerprint = network.fingerprint()?;
                (Source::Made(*published, network), fingerprint)
            }
        };
        Ok(FeatureNetwork { source, fingerprint })
    }
}

/// A feature network whose files were found; its weights are read when they are needed.
#[derive(Debug)]
pub struct FeatureNetwork {
    source: Source,
    fingerprint: String,
}

#[derive(Debug)]
enum Source {
    Encoder(PathBuf),
    File(Published, PathBuf),
    Made(Published, PublishedNetwork),
}

impl FeatureNetwork {
    /// Of its weights.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Names the way from a picture to the network's input: with the fingerprint it tells features that may be compared.
    pub fn preprocessing(&self) -> &'static str {
        match &self.source {
            // Its fingerprint includes `preprocessor_config.json`.
            Source::Encoder(_) => "embeddings",
            Source::File(published, _) | Source::Made(published, _) => published.preprocessing(),
        }
    }

    /// Features of all images of a dataset, the first token of each; what is kept from earlier is read, and what is
    /// missing is made and kept.
    ///
    /// # Errors
    /// A network that cannot be read, a disk that is full.
    pub fn of_dataset(&self, dataset: &Dataset, device: &Device, progress: &dyn Progress) -> Result<Embeddings> {
        if let Source::Encoder(folder) = &self.source {
            return encode::embeddings_for(dataset, folder, device, progress);
        }
        let name = self.preprocessing();
        if let Some(kept) = encode::kept(dataset, name, &self.fingerprint, progress) {
            return Ok(kept);
        }
        let network = self.load(device)?;
        let specs = [TensorSpec::new("embeddings", [1, network.dim()])];
        let of = |pictures: &[u8]| Ok(vec![network.of(pictures, dataset.image_size(), device)?]);
        encode::write_embeddings(dataset, name, &self.fingerprint, &specs, BATCH_SIZE, progress, of)
    }

    /// Reads the weights.
    ///
    /// # Errors
    /// A file that is damaged or of another network.
    pub fn load(&self, device: &Device) -> Result<LoadedFeatures> {
        Ok(LoadedFeatures(match &self.source {
            Source::Encoder(folder) => Loaded::Encoder(Box::new(Encoder::load(folder, device)?)),
            Source::File(published, path) => Loaded::Published(published.load(path, device)?),
            Source::Made(_, network) => Loaded::Published(network.clone()),
        }))
    }
}

/// A feature network that is ready for pictures.
#[derive(Debug)]
pub struct LoadedFeatures(Loaded);

#[derive(Debug)]
enum Loaded {
    Encoder(Box<Encoder>),
    Published(PublishedNetwork),
}

impl LoadedFeatures {
    /// Length of a feature.
    pub fn dim(&self) -> usize {
        match &self.0 {
            Loaded::Encoder(encoder) => encoder.dim(),
            Loaded::Published(network) => match network {
                PublishedNetwork::Xrv(network) => network.dim(),
                PublishedNetwork::Inception(network) => network.dim(),
            },
        }
    }

    /// Features of some pictures.
    ///
    /// # Shapes
    /// - pictures: grey `[batch, size, size]`, row-major
    /// - result: `[batch, dim]`, row-major
    ///
    /// # Errors
    /// Pictures that the network cannot take, a device that failed.
    pub fn of(&self, pictures: &[u8], size: usize, device: &Device) -> Result<Vec<f32>> {
        let features: Tensor<2> = match &self.0 {
            Loaded::Encoder(encoder) => {
                let images = encoder.preprocessing().apply(pictures, size, size, device)?;
                encoder.forward(images).class_token()
            }
            Loaded::Published(network) => {
                let brightness: Vec<f32> = pictures.iter().map(|byte| f32::from(*byte) / 255.0).collect();
                match network {
                    PublishedNetwork::Xrv(network) => {
                        network.forward_features(xrv_input(&brightness, [size, size], device)?)
                    }
                    PublishedNetwork::Inception(network) => {
                        network.forward_features(inception_input(&brightness, [size, size], device)?)
                    }
                }
            }
        };
        to_host(features)
    }
}

#[derive(Debug, Clone)]
enum PublishedNetwork {
    Xrv(Box<DenseNet>),
    Inception(Box<Inception>),
}

impl PublishedNetwork {
    /// Over names and values of all tensors.
    fn fingerprint(&self) -> Result<String> {
        let state: Checkpoint = match self {
            Self::Xrv(network) => network.state_dict(),
            Self::Inception(network) => network.state_dict()?,
        };
        let mut lines = String::new();
        for name in state.keys() {
            let values = state.read(name)?.values;
            let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            lines.push_str(&format!("{name} {}\n", files::fingerprint_bytes(&bytes)));
        }
        Ok(files::fingerprint_bytes(lines.as_bytes()))
    }
}

/// Multiplies the first weights of a network.
struct FirstWeights(Option<f64>);

impl ModuleMapper for FirstWeights {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.0.take() {
            Some(factor) => param.map(|weights| weights * factor),
            None => param,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_read_as_they_are_written() {
        for text in [
            "encoder/folder",
            "cxr-small-128",
            "xrv:weights/densenet.safetensors",
            "inception:C:/w.pth",
            "random:xrv",
            "random:inception",
            "random:vit-small/16",
        ] {
            let choice: FeatureChoice = text.parse().unwrap();
            assert_eq!(choice.to_string(), text);
            assert_eq!(choice.caution().is_some(), text.starts_with("random:"), "{text}");
            let written = serde_json::to_string(&choice).unwrap();
            assert_eq!(serde_json::from_str::<FeatureChoice>(&written).unwrap(), choice);
        }
        let file = FeatureChoice::File(Published::Xrv, "a.pt".into());
        assert_eq!("xrv:a.pt".parse::<FeatureChoice>().unwrap(), file);
        for (text, word) in [("", "no feature network"), ("xrv:", "`xrv:FILE`"), ("random:resnet", "`random:xrv`")] {
            let message = text.parse::<FeatureChoice>().unwrap_err().to_string();
            assert!(message.contains(word), "{text}: {message}");
        }
    }
}

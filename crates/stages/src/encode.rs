//! Encoding: what the frozen autoencoder and encoder make of every image, kept beside the images.
//!
//! The networks themselves are linked into `networks/` of the dataset, so that later stages find exactly those that
//! made the encodings.

use crate::encoded::{Embeddings, EncodedDataset};
use crate::model::network_of;
use anyhow::{Context, Result, bail, ensure};
use burn::tensor::Device;
use dataset::{Dataset, EncodingsInfo, EncodingsReader, TensorSpec};
use files::AtomicFolder;
use messages::Progress;
use nets::{
    autoencoder::Autoencoder,
    encoder::{Encoder, EncoderConfig, Resize, Size},
    init::{Initialisation, randomise},
};
use networks::{Encoding, Named, Networks};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use training::tensors::{images_from_bytes, to_host};

mod networks;

pub use networks::existing_folder;

/// Encodings of latents have names that begin so.
const LATENTS: &str = "latents.";
/// Encodings of embeddings have names that begin so.
const EMBEDDINGS: &str = "embeddings.";

/// What to encode with what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EncodeConfig {
    /// A prepared dataset.
    pub dataset: PathBuf,
    /// Folder of the autoencoder, or of a run or model that has one; none makes no latents.
    pub autoencoder: Option<PathBuf>,
    /// Folder of the encoder, or of a run or model that has one, or a random one: `random:vit-small/16`; none makes no
    /// embeddings.
    pub encoder: Option<PathBuf>,
    /// Images that go through a network together.
    pub batch_size: usize,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct EncodeSummary {
    /// Images in the dataset.
    pub num_images: usize,
    /// Shape of one image's latents, `[height, width, channels]`.
    pub latent_shape: Option<Vec<usize>>,
    /// Shape of one image's embeddings, `[tokens, dim]`.
    pub embedding_shape: Option<Vec<usize>>,
    /// Images the autoencoder encoded in a second, in this session.
    pub latents_per_sec: Option<f64>,
    /// Images the encoder embedded in a second, in this session.
    pub embeddings_per_sec: Option<f64>,
}

/// Encodes all images of a dataset; shards that are there already are kept.
///
/// # Errors
/// A network that cannot be read, a disk that is full.
pub fn run(config: &EncodeConfig, device: &Device, progress: &dyn Progress) -> Result<EncodeSummary> {
    ensure!(config.batch_size > 0, "the batch size is 0; it must be at least 1");
    ensure!(
        config.autoencoder.is_some() || config.encoder.is_some(),
        "there is nothing to encode with; give `--autoencoder` or `--encoder`"
    );
    let dataset = Dataset::open(&config.dataset)?;
    let networks = Networks::find(&dataset, config.autoencoder.as_deref(), config.encoder.as_deref(), device)?;
    let (latents, embeddings) = networks.open(&dataset, device)?.run(&dataset, config.batch_size, device, progress)?;
    let (latents, embeddings) = (latents.as_ref(), embeddings.as_ref());
    Ok(EncodeSummary {
        num_images: dataset.len(),
        latent_shape: latents.and_then(|made| made.reader.row_shape("mean")).map(<[usize]>::to_vec),
        embedding_shape: embeddings.and_then(|made| made.reader.row_shape("embeddings")).map(<[usize]>::to_vec),
        latents_per_sec: latents.and_then(|made| made.rate),
        embeddings_per_sec: embeddings.and_then(|made| made.rate),
    })
}

/// What a network made of a dataset.
struct Made {
    reader: EncodingsReader,
    /// Images in a second, in this session.
    rate: Option<f64>,
}

/// The encodings that a dataset has; those that it lacks are made with the given networks first. Of several, those are
/// taken that `recorded` names, a run's earlier [`EncodedDataset::encodings_name`].
///
/// # Errors
/// Encodings that are missing while no network is given, or ambiguous.
pub fn find_or_make(
    dataset: &Dataset,
    autoencoder: Option<&Path>,
    encoder: Option<&Path>,
    recorded: Option<&str>,
    device: &Device,
    progress: &dyn Progress,
) -> Result<EncodedDataset> {
    const BATCH_SIZE: usize = 8;
    let networks = Networks::find(dataset, autoencoder, encoder, device)?;
    // What is there is found before what is missing is made.
    let latents = autoencoder.is_none().then(|| open_only(dataset, LATENTS, "--autoencoder", recorded)).transpose()?;
    let embeddings = encoder.is_none().then(|| open_only(dataset, EMBEDDINGS, "--encoder", recorded)).transpose()?;
    let made = networks.open(dataset, device)?.run(dataset, BATCH_SIZE, device, progress)?;
    let latents = latents.or(made.0.map(|made| made.reader)).context("the dataset has no latents")?;
    let embeddings = embeddings.or(made.1.map(|made| made.reader)).context("the dataset has no embeddings")?;
    if encoder.is_none() && embeddings.info().name.starts_with("embeddings.random-") {
        progress.say(
            "the dataset's only embeddings are those of an encoder with random weights, a control; give `--encoder` for \
             another",
        );
    }
    let folder = |info: &EncodingsInfo| dataset.dir().join("networks").join(folder_name(info));
    let encodings_name = format!("{} and {}", folder_name(latents.info()), folder_name(embeddings.info()));
    Ok(EncodedDataset {
        autoencoder: folder(latents.info()),
        encoder: folder(embeddings.info()),
        latents,
        embeddings: Embeddings::new(embeddings),
        encodings_name,
    })
}

/// The embeddings that the encoder in `folder` makes of a dataset; made first where they are missing.
///
/// # Errors
/// An encoder that cannot be read, a disk that is full.
pub fn embeddings_for(
    dataset: &Dataset,
    folder: &Path,
    device: &Device,
    progress: &dyn Progress,
) -> Result<Embeddings> {
    let fingerprint = files::fingerprint(folder)?;
    for info in dataset.list_encodings()? {
        if info.name.starts_with(EMBEDDINGS)
            && info.fingerprint == fingerprint
            && let Some(kept) = kept(dataset, &info.name, &info.fingerprint, progress)
        {
            return Ok(kept);
        }
    }
    let named = Named { folder: existing_folder(folder.to_path_buf(), "encoder")?, name: name_of(EMBEDDINGS, folder) };
    let encoding = named.open(dataset, |folder| Ok(Encoder::load(folder, device)?))?;
    progress.say("the dataset lacks embeddings by this encoder; making them first");
    Ok(Embeddings::new(embeddings(dataset, encoding, 8, device, progress)?.reader))
}

/// The folder of an encoder and its embeddings of a dataset: the given one, whose embeddings are made where they are
/// missing, or the only one that the dataset was encoded with.
///
/// # Errors
/// No embeddings while no encoder is given, or those of several; an encoder that cannot be read, a disk that is full.
pub fn encoder_of(
    dataset: &Dataset,
    encoder: Option<&Path>,
    device: &Device,
    progress: &dyn Progress,
) -> Result<(PathBuf, Embeddings)> {
    match encoder {
        Some(path) => {
            let folder = encoder_folder(path, dataset, device)?;
            let embeddings = embeddings_for(dataset, &folder, device, progress)?;
            Ok((folder, embeddings))
        }
        None => {
            let reader = open_only(dataset, EMBEDDINGS, "--encoder", None)?;
            let folder = dataset.dir().join("networks").join(folder_name(reader.info()));
            Ok((folder, Embeddings::new(reader)))
        }
    }
}

/// What a network made of this very dataset earlier, where it is complete.
pub fn kept(dataset: &Dataset, name: &str, fingerprint: &str, progress: &dyn Progress) -> Option<Embeddings> {
    let reader = dataset.encodings(name, fingerprint).ok()?;
    progress.say(&format!(
        "the features `{name}` of {} images are kept from earlier and used again: {}",
        reader.len(),
        dataset.dir().display()
    ));
    Some(Embeddings::new(reader))
}

/// Makes embeddings of all images, or what is missing of them, by a network that `encode` runs, and keeps them.
///
/// # Errors
/// A network that fails, embeddings of this name that are of another dataset, a disk that is full.
pub fn write_embeddings(
    dataset: &Dataset,
    name: &str,
    fingerprint: &str,
    specs: &[TensorSpec],
    batch_size: usize,
    progress: &dyn Progress,
    encode: impl Fn(&[u8]) -> Result<Vec<Vec<f32>>>,
) -> Result<Embeddings> {
    let task = "taking features";
    let kind = Kind { name, fingerprint, specs };
    Ok(Embeddings::new(write(dataset, kind, batch_size, task, progress, encode)?.reader))
}

fn folder_name(info: &EncodingsInfo) -> String {
    format!("{}-{}", info.name, info.fingerprint)
}

fn open_only(dataset: &Dataset, prefix: &str, option: &str, recorded: Option<&str>) -> Result<EncodingsReader> {
    let mut found: Vec<EncodingsInfo> =
        dataset.list_encodings()?.into_iter().filter(|info| info.name.starts_with(prefix)).collect();
    let is_recorded = |info: &EncodingsInfo| recorded.is_some_and(|names| names.contains(&folder_name(info)));
    // Random encoders are controls, which an evaluation made along the way: they give way to any other.
    let is_control = |info: &EncodingsInfo| info.name.starts_with(&format!("{prefix}random-"));
    if found.iter().any(is_recorded) {
        found.retain(is_recorded);
    } else if !found.iter().all(is_control) {
        found.retain(|info| !is_control(info));
    }
    match found.as_slice() {
        [info] => Ok(dataset.encodings(&info.name, &info.fingerprint)?),
        [] => bail!(
            "the dataset has no {}; give `{option} FOLDER`, or run `encode` first: {}",
            prefix.trim_end_matches('.'),
            dataset.dir().display()
        ),
        several => bail!(
            "the dataset has several {} ({}); say which with `{option}`, for example `{option} {}`",
            prefix.trim_end_matches('.'),
            several.iter().map(folder_name).collect::<Vec<_>>().join(", "),
            dataset.dir().join("networks").join(folder_name(&several[0])).display()
        ),
    }
}

/// A name for encodings, from the last part of the network's path.
fn name_of(prefix: &str, folder: &Path) -> String {
    let last = folder.file_name().map_or_else(|| "network".into(), |name| name.to_string_lossy().into_owned());
    // A network that was linked into a dataset carries prefix and fingerprint already.
    let bare =
        last.strip_prefix(prefix).map_or(last.as_str(), |name| name.rsplit_once('-').map_or(name, |parts| parts.0));
    let safe: String = bare
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || "-_.".contains(letter) { letter } else { '-' })
        .collect();
    format!("{prefix}{safe}")
}

fn latents(
    dataset: &Dataset,
    encoding: Encoding<Autoencoder>,
    batch_size: usize,
    device: &Device,
    progress: &dyn Progress,
) -> Result<Made> {
    let (autoencoder, folder, name, fingerprint) = match encoding {
        Encoding::Kept(reader) => return Ok(Made { reader, rate: None }),
        Encoding::Missing { network, folder, name, fingerprint } => (network, folder, name, fingerprint),
    };
    let size = dataset.image_size();
    let factor = autoencoder.downsampling_factor();
    let row_shape = [size / factor, size / factor, autoencoder.latent_channels()];
    let encode = |pictures: &[u8]| -> Result<Vec<Vec<f32>>> {
        let distribution = autoencoder.encode(images_from_bytes(pictures, size, device));
        let mut parts = vec![to_host(distribution.mean)?];
        if let Some(std) = distribution.std {
            parts.push(to_host(std)?);
        }
        Ok(parts)
    };
    // Whether the autoencoder gives a spread shows in what it makes of one image.
    let num_parts = if dataset.is_empty() { 1 } else { encode(&dataset.image(0)?)?.len() };
    let specs: Vec<TensorSpec> =
        ["mean", "std"][..num_parts].iter().map(|name| TensorSpec::new(*name, row_shape)).collect();
    link(&folder, dataset, &name, &fingerprint)?;
    let kind = Kind { name: &name, fingerprint: &fingerprint, specs: &specs };
    write(dataset, kind, batch_size, "encoding latents", progress, encode)
}

fn embeddings(
    dataset: &Dataset,
    encoding: Encoding<Encoder>,
    batch_size: usize,
    device: &Device,
    progress: &dyn Progress,
) -> Result<Made> {
    let (encoder, folder, name, fingerprint) = match encoding {
        Encoding::Kept(reader) => return Ok(Made { reader, rate: None }),
        Encoding::Missing { network, folder, name, fingerprint } => (network, folder, name, fingerprint),
    };
    say_how_images_were_fitted(dataset, &encoder, &folder, progress);
    let size = dataset.image_size();
    let config = encoder.config();
    let specs = [TensorSpec::new("embeddings", [config.num_global_tokens(), config.dim()])];
    let encode = |pictures: &[u8]| -> Result<Vec<Vec<f32>>> {
        let images = encoder.preprocessing().apply(pictures, size, size, device)?;
        Ok(vec![to_host(encoder.forward(images).global_tokens(true))?])
    };
    link(&folder, dataset, &name, &fingerprint)?;
    let kind = Kind { name: &name, fingerprint: &fingerprint, specs: &specs };
    write(dataset, kind, batch_size, "embedding", progress, encode)
}

/// `prepare` made the images square. Says so where a published encoder's own preprocessing does something else with
/// images that are not: transformers would give other embeddings for their files.
fn say_how_images_were_fitted(dataset: &Dataset, encoder: &Encoder, folder: &Path, progress: &dyn Progress) {
    let is_padded = dataset.info().preparation.get("fit").and_then(|fit| fit.as_str()) == Some("pad");
    // Encoders of a model, a run of pre-training, or the dataset itself saw padded images before.
    let is_own = folder.parent().is_some_and(|parent| {
        parent.join("model.json").exists()
            || parent.join("recipe.toml").exists()
            || parent == dataset.dir().join("networks")
    });
    if is_own || !is_padded {
        return;
    }
    let (own, other) = match encoder.preprocessing().resize {
        Some(Resize::Exact(_)) => ("stretches", "stretch"),
        Some(Resize::ShortestEdge(_)) => ("crops", "centre-crop"),
        None => return,
    };
    progress.say(&format!(
        "`prepare --fit pad` gave images that are not square black borders; the encoder's own preprocessing {own} them. \
         `prepare --fit {other}` gives embeddings as transformers would"
    ));
}

/// Refuses images that an autoencoder would not give back in their size.
pub fn check_divisible(size: usize, factor: usize) -> Result<()> {
    ensure!(
        size.is_multiple_of(factor),
        "images of {size} px cannot be encoded by an autoencoder that divides by {factor}; \
         prepare the dataset with a multiple of it"
    );
    Ok(())
}

/// The folder of the network: of a run or model its encoder; a random one such as `random:vit-small/16` is made where it
/// is missing.
pub fn encoder_folder(folder: &Path, dataset: &Dataset, device: &Device) -> Result<PathBuf> {
    match folder.to_str().and_then(|text| text.strip_prefix("random:")) {
        Some(description) => random_encoder(description, dataset, device),
        None => network_of(folder, "encoder"),
    }
}

/// A control: `vit-small/16` (or tiny, base) with random weights, made once for a dataset's image size.
fn random_encoder(description: &str, dataset: &Dataset, device: &Device) -> Result<PathBuf> {
    let wrong = || {
        format!(
            "there is no random encoder `{description}`; write for example `random:vit-small/16` (tiny, small, base)"
        )
    };
    let (size, patch) = description
        .strip_prefix("vit-")
        .and_then(|rest| rest.split_once('/'))
        .and_then(|(size, patch)| Some((size, patch.parse::<usize>().ok().filter(|patch| *patch > 0)?)))
        .with_context(wrong)?;
    let image_size = dataset.image_size();
    ensure!(
        image_size.is_multiple_of(patch),
        "a random encoder with patches of {patch} px does not fit images of {image_size} px; choose a divisor"
    );
    let preset = match size {
        "tiny" => Size::Tiny,
        "small" => Size::Small,
        "base" => Size::Base,
        _ => bail!(wrong()),
    };
    let config = EncoderConfig::of_size(preset, patch, image_size);
    let folder = dataset.dir().join("networks").join(format!("random-vit-{size}-{patch}"));
    // Written last.
    if !folder.join("config.json").is_file() {
        randomise(config.init(device), Initialisation::TruncatedNormal(0.02), 0).save(&folder, false)?;
    }
    Ok(folder)
}

/// Links the network's files into the dataset (copies where the file system cannot link).
fn link(folder: &Path, dataset: &Dataset, name: &str, fingerprint: &str) -> Result<()> {
    let path = dataset.dir().join("networks").join(format!("{name}-{fingerprint}"));
    if path.is_dir() {
        return Ok(());
    }
    let target = AtomicFolder::create(path)?;
    crate::model::copy_folder(folder, target.path())?;
    Ok(target.commit()?)
}

/// What encodings are called, and what they hold.
struct Kind<'a> {
    name: &'a str,
    fingerprint: &'a str,
    specs: &'a [TensorSpec],
}

fn write(
    dataset: &Dataset,
    Kind { name, fingerprint, specs }: Kind<'_>,
    batch_size: usize,
    task: &str,
    progress: &dyn Progress,
    encode: impl Fn(&[u8]) -> Result<Vec<Vec<f32>>>,
) -> Result<Made> {
    let writer = dataset.write_encodings(name, fingerprint, specs)?;
    let pending = writer.pending();
    let total: usize = pending.iter().map(|shard| dataset.shard_range(*shard).len()).sum();
    let begun = std::time::Instant::now();
    progress.begin(task, total as u64, "images");
    for shard in pending {
        let rows: Vec<usize> = dataset.shard_range(shard).collect();
        let mut columns: Vec<Vec<f32>> = vec![Vec::new(); specs.len()];
        for chunk in rows.chunks(batch_size) {
            for (column, part) in columns.iter_mut().zip(encode(&dataset.images(chunk)?)?) {
                column.extend(part);
            }
            progress.advance(chunk.len() as u64, "");
        }
        let columns: Vec<&[f32]> = columns.iter().map(Vec::as_slice).collect();
        writer.write_shard(shard, &columns)?;
    }
    progress.end();
    let rate = (total > 0).then(|| total as f64 / begun.elapsed().as_secs_f64().max(1e-9));
    Ok(Made { reader: writer.finish()?, rate })
}

//! Embedding: what an encoder says about each of some pictures, in one file that any language reads.
//!
//! The file holds the tensor `embeddings` `[n, dim]` (class tokens) and, in its header, the paths in the same order.

use crate::encode;
use crate::model::network_of;
use anyhow::{Result, bail, ensure};
use burn::tensor::{Device, Tensor};
use files::TensorToWrite;
use files::outputs;
use messages::Progress;
use messages::Skipped;
use nets::encoder::Encoder;
use radiograph::{DecodeOptions, Fit, Radiograph};
use rayon::prelude::*;
use safetensors::Dtype;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    path::{Path, PathBuf},
};
use training::tensors::to_host;

/// What becomes of an image that is not square before the encoder's own preprocessing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EmbedFit {
    /// Nothing: the encoder's `preprocessor_config.json` decides, as in transformers. A `size` of height and width
    /// stretches, as does a folder without that file; `shortest_edge` keeps the aspect and a crop cuts off the ends.
    #[default]
    Encoder,
    /// Black borders make it square, as `prepare --fit pad` does.
    Pad,
    /// The central square; the ends of the longer side are cut off.
    CentreCrop,
    /// Stretched to a square.
    Stretch,
}

/// What to embed with what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbedConfig {
    /// Folder of the encoder, a state dict of the original DINO code, or a run or model folder, whose encoder is taken.
    pub encoder: PathBuf,
    /// Pictures, and folders whose files are taken in alphabetical order, subfolders included.
    pub images: Vec<PathBuf>,
    /// The safetensors file to write.
    pub out: PathBuf,
    /// Pictures that go through the encoder together.
    pub batch_size: usize,
    /// For images that are not square.
    pub fit: EmbedFit,
}

/// What came of it.
#[derive(Debug, Clone, Serialize)]
pub struct EmbedSummary {
    /// Rows of `embeddings`.
    pub num_images: usize,
    /// Length of an embedding.
    pub dim: usize,
    /// Files that are no pictures or damaged, with the reason.
    pub skipped: Vec<Skipped>,
}

/// Embeds pictures. Files that cannot be read are skipped and listed.
///
/// Images that are not square enter as [`EmbedConfig::fit`] says; by default embeddings equal those of transformers.
///
/// # Errors
/// An encoder that cannot be used, no readable picture at all, a disk that is full.
pub fn run(config: &EmbedConfig, device: &Device, progress: &dyn Progress) -> Result<EmbedSummary> {
    ensure!(config.batch_size > 0, "the batch size is 0; it must be at least 1");
    ensure!(!config.images.is_empty(), "there is nothing to embed; name pictures or folders");
    outputs::check_file(&config.out)?;
    let encoder_path = encode::existing_folder(network_of(&config.encoder, "encoder")?, "encoder")?;
    let mut skipped = Vec::new();
    let paths = files_of(&config.images, &mut skipped);
    ensure!(!paths.is_empty() || !skipped.is_empty(), "there are no files in {}", config.images[0].display());
    ensure!(
        paths.iter().any(|path| path.exists()) || !skipped.is_empty(),
        "there is nothing to embed where `{}` should be; name pictures or folders",
        config.images[0].display()
    );
    let encoder = Encoder::load(&encoder_path, device)?;

    let mut embedded = Embedded { dim: encoder.dim(), ..Embedded::default() };
    progress.begin("embedding", paths.len() as u64, "images");
    for chunk in paths.chunks(config.batch_size) {
        let decoded: Vec<Result<Prepared, String>> =
            chunk.par_iter().map(|path| prepare(path, &encoder, config.fit)).collect();
        let mut batch: Vec<(&Path, Prepared)> = Vec::with_capacity(chunk.len());
        for (path, prepared) in chunk.iter().zip(decoded) {
            match prepared {
                // Pictures of one size go through the network together.
                Ok(prepared) => {
                    if batch.first().is_some_and(|(_, first)| first.size != prepared.size) {
                        embedded.add(&encoder, std::mem::take(&mut batch), device)?;
                    }
                    batch.push((path, prepared));
                }
                Err(reason) => skipped.push(Skipped { item: path.display().to_string(), reason }),
            }
        }
        embedded.add(&encoder, batch, device)?;
        progress.advance(chunk.len() as u64, "");
    }
    progress.end();

    let num_images = embedded.paths.len();
    if num_images == 0 {
        match skipped.first() {
            Some(Skipped { item, reason }) => {
                bail!("none of {} files can be embedded; the first: {reason}: {item}", skipped.len())
            }
            None => bail!("none of the files can be embedded: {}", config.images[0].display()),
        }
    }
    embedded.write(&config.out, &files::fingerprint(&encoder_path)?)?;
    Ok(EmbedSummary { num_images, dim: embedded.dim, skipped })
}

/// Files stay in the order given; folders are walked.
fn files_of(given: &[PathBuf], skipped: &mut Vec<Skipped>) -> Vec<PathBuf> {
    let mut files = Vec::new();
    // A stack, so that the contents of a folder take its place in the order.
    let mut stack: Vec<PathBuf> = given.iter().rev().cloned().collect();
    while let Some(path) = stack.pop() {
        if !path.is_dir() {
            files.push(path);
            continue;
        }
        let entries = fs::read_dir(&path).and_then(|entries| entries.collect::<Result<Vec<_>, _>>());
        match entries {
            Ok(mut entries) => {
                entries.sort_by_key(fs::DirEntry::file_name);
                // Linked folders are not followed: they could lead in a circle.
                let is_linked_folder = |path: &Path| path.is_symlink() && path.is_dir();
                let is_hidden = |entry: &fs::DirEntry| entry.file_name().as_encoded_bytes().starts_with(b".");
                let visible = entries.iter().rev().filter(|entry| !is_hidden(entry)).map(fs::DirEntry::path);
                stack.extend(visible.filter(|path| !is_linked_folder(path)));
            }
            Err(error) => {
                let reason = format!("the folder cannot be read ({error}); check that you may");
                skipped.push(Skipped { item: path.display().to_string(), reason });
            }
        }
    }
    files
}

/// An 8-bit picture on its way into the encoder.
struct Prepared {
    pixels: Vec<u8>,
    /// `[height, width]`
    size: [usize; 2],
}

fn prepare(path: &Path, encoder: &Encoder, fit: EmbedFit) -> Result<Prepared, String> {
    let picture =
        radiograph::decode_file(path, &DecodeOptions::default()).map_err(|error| error.reason().to_string())?;
    let prepared = to_bytes(&picture, fit);
    let patch_size = encoder.config().patch_size();
    let [height, width] = encoder.preprocessing().output_size(prepared.size);
    if height.min(width) < patch_size {
        return Err(format!(
            "it enters the encoder with {height} x {width} pixels, smaller than one patch of {patch_size}; enlarge it"
        ));
    }
    // A picture as narrow as a thread would become an endless one when its shorter side is enlarged.
    const LARGEST_SIDE: usize = 8192;
    if height.max(width) > LARGEST_SIDE {
        return Err(format!(
            "it would enter the encoder with {height} x {width} pixels, more than {LARGEST_SIDE} on a side; crop it"
        ));
    }
    Ok(prepared)
}

fn to_bytes(picture: &Radiograph, fit: EmbedFit) -> Prepared {
    let (height, width) = (picture.height, picture.width);
    let (side, fit) = match fit {
        EmbedFit::Pad => (height.max(width), Fit::Pad),
        EmbedFit::CentreCrop => (height.min(width), Fit::CentreCrop),
        EmbedFit::Stretch => (height.max(width), Fit::Stretch),
        EmbedFit::Encoder => return Prepared { pixels: radiograph::to_u8(&picture.pixels), size: [height, width] },
    };
    if height == width {
        return to_bytes(picture, EmbedFit::Encoder);
    }
    Prepared { pixels: radiograph::fit_square(picture, side, fit), size: [side, side] }
}

/// Rows of the file to come.
#[derive(Debug, Default)]
struct Embedded {
    dim: usize,
    values: Vec<f32>,
    paths: Vec<String>,
}

impl Embedded {
    fn add(&mut self, encoder: &Encoder, batch: Vec<(&Path, Prepared)>, device: &Device) -> Result<()> {
        if batch.is_empty() {
            return Ok(());
        }
        let images = batch
            .iter()
            .map(|(_, Prepared { pixels, size: [height, width] })| {
                encoder.preprocessing().apply(pixels, *height, *width, device)
            })
            .collect::<Result<Vec<Tensor<4>>, _>>()?;
        let values = to_host(encoder.forward(Tensor::cat(images, 0)).class_token())?;
        ensure!(
            values.iter().all(|value| value.is_finite()),
            "the encoder gives values that are not finite numbers for {}; its weights are damaged",
            batch[0].0.display()
        );
        self.values.extend(values);
        self.paths.extend(batch.iter().map(|(path, _)| path.to_string_lossy().into_owned()));
        Ok(())
    }

    fn write(&self, out: &Path, fingerprint: &str) -> Result<()> {
        outputs::make_folder(outputs::folder_of(out))?;
        let bytes: Vec<u8> = self.values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let embeddings =
            TensorToWrite { dtype: Dtype::F32, shape: vec![self.paths.len(), self.dim], bytes: bytes.into() };
        let paths = serde_json::to_string(&self.paths)?;
        let metadata = [("format", "pt"), ("paths", paths.as_str()), ("encoder", fingerprint)];
        files::write_tensors(out, &[("embeddings", embeddings)], &metadata)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use messages::Silent;
    use nets::{
        encoder::{EncoderConfig, Size},
        init::{Initialisation, randomise},
    };

    fn encoder(folder: &Path) -> Encoder {
        let config = EncoderConfig::of_size(Size::Tiny, 8, 32).with_num_layers(1);
        let encoder = randomise(config.init(&Device::flex()), Initialisation::TruncatedNormal(0.02), 1);
        encoder.save(folder, false).unwrap();
        encoder
    }

    fn picture(path: &Path, height: usize, width: usize, seed: usize) {
        let pixels: Vec<u8> = (0..height * width).map(|i| ((i * (seed + 3)) % 251) as u8).collect();
        radiograph::write_png_u8(path, &pixels, height, width).unwrap();
    }

    #[test]
    fn rows_follow_the_order_of_the_input_and_bad_files_are_listed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let vit = encoder(&at("encoder"));
        fs::create_dir(at("pictures")).unwrap();
        picture(&at("pictures/b.png"), 32, 32, 1);
        picture(&at("pictures/a.png"), 40, 20, 2);
        picture(&at("first.png"), 32, 32, 3);
        fs::write(at("pictures/c.png"), b"not a picture").unwrap();
        fs::write(at("pictures/.hidden"), b"").unwrap();
        let config = EmbedConfig {
            encoder: at("encoder"),
            images: vec![at("first.png"), at("pictures"), at("missing.png")],
            out: at("new/embeddings.safetensors"),
            batch_size: 2,
            fit: EmbedFit::Encoder,
        };
        let summary = run(&config, &Device::flex(), &Silent).unwrap();
        assert_eq!((summary.num_images, summary.dim), (3, 192));
        let skipped: Vec<&str> =
            summary.skipped.iter().map(|skipped| skipped.item.rsplit('/').next().unwrap()).collect();
        assert_eq!(skipped, ["c.png", "missing.png"]);

        let file = files::TensorFile::open(&config.out).unwrap();
        let paths = file.metadata().find(|(key, _)| *key == "paths").unwrap().1.to_owned();
        let paths: Vec<String> = serde_json::from_str(&paths).unwrap();
        let names: Vec<&str> = paths.iter().map(|path| path.rsplit('/').next().unwrap()).collect();
        assert_eq!(names, ["first.png", "a.png", "b.png"]);

        // Alone or in a batch: the same embedding.
        let pixels: Vec<u8> = (0..32 * 32).map(|i| ((i * 4) % 251) as u8).collect();
        let images = vit.preprocessing().apply(&pixels, 32, 32, &Device::flex()).unwrap();
        let alone = to_host(vit.forward(images).class_token()).unwrap();
        let written = nets::Checkpoint::open(&config.out).unwrap().read("embeddings").unwrap();
        assert_eq!(written.shape, [3, 192]);
        let difference =
            alone.iter().zip(&written.values[2 * 192..]).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!(difference < 1e-5, "{difference}");
    }

    #[test]
    fn nothing_to_embed_is_an_error_that_names_the_first_reason() {
        let folder = tempfile::tempdir().unwrap();
        encoder(&folder.path().join("encoder"));
        let bad = folder.path().join("bad.png");
        fs::write(&bad, b"").unwrap();
        let config = EmbedConfig {
            encoder: folder.path().join("encoder"),
            images: vec![bad],
            out: folder.path().join("out.safetensors"),
            batch_size: 8,
            fit: EmbedFit::Encoder,
        };
        let error = run(&config, &Device::flex(), &Silent).unwrap_err().to_string();
        assert!(error.contains("none of 1 files") && error.ends_with("bad.png"), "{error}");
        assert!(!config.out.exists());
    }

    #[test]
    fn images_that_are_not_square_become_so_where_asked() {
        let tall = Radiograph::from_pixels(vec![1.0; 40 * 20], 40, 20).unwrap();
        let padded = to_bytes(&tall, EmbedFit::Pad);
        assert_eq!(padded.size, [40, 40]);
        assert_eq!((padded.pixels[0], padded.pixels[20]), (0, 255));
        let stretched = to_bytes(&tall, EmbedFit::Stretch);
        assert_eq!((stretched.size, stretched.pixels[0]), ([40, 40], 255));
        assert_eq!(to_bytes(&tall, EmbedFit::CentreCrop).size, [20, 20]);
        assert_eq!(to_bytes(&tall, EmbedFit::Encoder).size, [40, 20]);
    }
}

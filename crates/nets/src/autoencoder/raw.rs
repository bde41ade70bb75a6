//! TAESD as its author publishes it: two files with the keys of `nn.Sequential` and no configuration, so that the
//! structure is read off the keys and shapes.
//!
//! Encoder: 3x3 convolutions with bias at both ends, blocks, and 3x3 convolutions without bias wherever the size is
//! halved. Decoder: place 0 is the soft clamp, 1 a convolution, 2 ReLU; every later place without weights enlarges by
//! two. A block whose tensors include `pool.*` has the extra branch.

use super::{
    sequential::{Operation, Sequential, SequentialBuilder},
    tiny::TinyNetwork,
};
use crate::checkpoint::Checkpoint;
use crate::error::Error;
use crate::weights::load_weights;
use burn::tensor::Device;
use std::{collections::BTreeSet, path::Path};

const ENCODER_NAMES: [&str; 4] =
    ["encoder.safetensors", "taesd_encoder.safetensors", "encoder.pth", "taesd_encoder.pth"];
const DECODER_NAMES: [&str; 4] =
    ["decoder.safetensors", "taesd_decoder.safetensors", "decoder.pth", "taesd_decoder.pth"];

/// What the files say about the network.
#[derive(Debug, Clone, PartialEq)]
pub struct RawShape {
    /// Channels of the pictures that go in.
    pub in_channels: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Pixels of a picture along one axis per latent.
    pub downsampling_factor: usize,
}

/// True where `folder` holds a pair of files that [`load`] reads.
pub fn is_raw(folder: &Path) -> bool {
    let any = |names: [&str; 4]| names.iter().any(|name| folder.join(name).is_file());
    any(ENCODER_NAMES) && any(DECODER_NAMES)
}

/// Reads the pair of files in `folder`.
///
/// # Errors
/// Where a tensor has no place in a TAESD network, where one is missing or mis-shaped, or a file cannot be read.
pub fn load(folder: &Path, device: &Device) -> Result<(TinyNetwork, RawShape), Error> {
    let encoder = load_half(Half::Encoder, folder, &ENCODER_NAMES, device)?;
    let decoder = load_half(Half::Decoder, folder, &DECODER_NAMES, device)?;
    let structure = |reason: String| structure(&reason, folder);
    if encoder.channels_out != decoder.channels_in {
        let (made, taken) = (encoder.channels_out, decoder.channels_in);
        return Err(structure(format!("the encoder makes {made} latent channels, the decoder takes {taken}")));
    }
    if encoder.channels_in != decoder.channels_out {
        let (taken, made) = (encoder.channels_in, decoder.channels_out);
        return Err(structure(format!("the encoder takes pictures of {taken} channels, the decoder makes {made}")));
    }
    if encoder.scale != decoder.scale {
        let (smaller, larger) = (encoder.scale, decoder.scale);
        return Err(structure(format!(
            "the encoder makes pictures {smaller} times smaller, the decoder {larger} times larger"
        )));
    }
    let shape = RawShape {
        in_channels: encoder.channels_in,
        latent_channels: encoder.channels_out,
        downsampling_factor: encoder.scale,
    };
    Ok((TinyNetwork { encoder: encoder.layers, decoder: decoder.layers }, shape))
}

/// Writes both files, f32; `weights` are those of a whole [`TinyNetwork`].
///
/// # Errors
/// Where a file cannot be written.
pub fn save(weights: &Checkpoint, half_precision: bool, folder: &Path) -> Result<(), Error> {
    for (prefix, name) in [("encoder.layers.", ENCODER_NAMES[0]), ("decoder.layers.", DECODER_NAMES[0])] {
        let half = weights.clone().rename(|key| key.strip_prefix(prefix).map(str::to_string));
        super::files::save_weights(&half, half_precision, &folder.join(name))?;
    }
    Ok(())
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Encoder,
    Decoder,
}

struct LoadedHalf {
    layers: Sequential,
    channels_in: usize,
    channels_out: usize,
    /// Factor between the sizes of its input and output.
    scale: usize,
}

fn load_half(half: Half, folder: &Path, names: &[&str], device: &Device) -> Result<LoadedHalf, Error> {
    let checkpoint = Checkpoint::open_in(folder, names).map_err(|error| error.at(folder))?;
    let structure = |reason: String| structure(&reason, folder);
    let mut places = BTreeSet::new();
    for key in checkpoint.keys() {
        let place = key.split('.').next().and_then(|first| first.parse::<usize>().ok());
        let place = place.filter(|place| *place < 1000);
        places.insert(place.ok_or_else(|| {
            structure(format!("tensor `{key}` is not named by a place in a list of layers, such as `1.conv.0.weight`"))
        })?);
    }
    let (Some(&first), Some(&last)) = (places.first(), places.last()) else {
        return Err(structure("a file holds no tensors".into()));
    };
    let expected_first = if half == Half::Encoder { 0 } else { 1 };
    if first != expected_first {
        return Err(structure(format!("the first layer with weights is {first}, expected {expected_first}")));
    }
    let ends_in_convolution =
        ["weight", "bias"].iter().all(|name| checkpoint.shape(&format!("{last}.{name}")).is_some());
    if !ends_in_convolution {
        return Err(structure(format!("the last layer, {last}, is no convolution with bias")));
    }
    let kernel = |key: String| match checkpoint.shape(&key) {
        Some(&[channels_out, channels_in, _, _]) => Ok((channels_out, channels_in)),
        Some(shape) => Err(structure(format!("tensor `{key}` has shape {shape:?}, expected four axes"))),
        None => Err(structure(format!("tensor `{key}` is missing"))),
    };
    let (_, channels_in) = kernel(format!("{first}.weight"))?;
    let mut layers = SequentialBuilder::new(channels_in, device);
    let mut scale = 1;
    for place in 0..=last {
        if !places.contains(&place) {
            match (half, place) {
                (Half::Encoder, _) => return Err(structure(format!("the encoder's layer {place} is missing"))),
                // The clamp, which `TinyNetwork::decode` applies.
                (Half::Decoder, 0) => layers.plain(Operation::Nothing),
                (Half::Decoder, 2) => layers.plain(Operation::Relu),
                (Half::Decoder, _) => {
                    layers.plain(Operation::Upsample(2));
                    scale *= 2;
                }
            }
        } else if checkpoint.shape(&format!("{place}.weight")).is_some() {
            let (channels_out, _) = kernel(format!("{place}.weight"))?;
            let has_bias = checkpoint.shape(&format!("{place}.bias")).is_some();
            if half == Half::Encoder && !has_bias {
                layers.downsample(channels_out);
                scale *= 2;
            } else {
                layers.conv(channels_out, has_bias);
            }
        } else {
            let (channels_out, _) = kernel(format!("{place}.conv.0.weight"))?;
            let pool = format!("{place}.pool.0.weight");
            let pool_channels = match checkpoint.shape(&pool) {
                None => None,
                Some(_) => Some(kernel(pool.clone())?.0),
            };
            if let Some(width) = pool_channels.filter(|width| width % 4 != 0) {
                return Err(structure(format!("tensor `{pool}` makes {width} channels, not a multiple of 4")));
            }
            layers.block(channels_out, pool_channels);
        }
    }
    let channels_out = layers.channels();
    let Sequential { layers } = layers.build();
    let layers = load_weights(layers, &checkpoint).map_err(|error| error.at(folder))?;
    Ok(LoadedHalf { layers: Sequential { layers }, channels_in, channels_out, scale })
}

/// A pair of files whose tensors are not TAESD's.
fn structure(reason: &str, folder: &Path) -> Error {
    let reason = format!("the files are not those of a TAESD network: {reason}; download or copy them again");
    Error::NotFound { reason, path: folder.into() }
}

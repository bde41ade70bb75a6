//! From grey 8-bit pictures to what an encoder takes, as its `preprocessor_config.json` says.
//!
//! The steps are those of the image processors of transformers: resize (antialiased, on 8 bit), cut out the centre,
//! scale to 0..=1, repeat the grey channel three times, subtract the mean and divide by the deviation of each channel.

use super::resample::{Filter, resize_u8};
use crate::error::Error;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// To which size pictures are brought before the cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resize {
    /// To `[height, width]`, whatever the aspect.
    Exact([usize; 2]),
    /// The shorter side to this length, keeping the aspect.
    ShortestEdge(usize),
}

/// The steps from a picture to the input of a network, read from and written to `preprocessor_config.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Map<String, Value>", into = "Map<String, Value>")]
pub struct Preprocessing {
    /// Resizing, if any.
    pub resize: Option<Resize>,
    /// Kernel of the resizing.
    pub filter: Filter,
    /// `[height, width]` of the centre to keep, if any; black is added where the picture is smaller.
    pub crop: Option<[usize; 2]>,
    /// Takes stored values to what `mean` and `deviation` refer to; 1/255.
    pub rescale_factor: f64,
    /// Subtracted from each channel.
    pub mean: [f32; 3],
    /// What each channel is divided by then.
    pub deviation: [f32; 3],
}

/// Mean and standard deviation of ImageNet's channels in 0..=1, which DINO and DINOv2 were trained with.
const IMAGENET: ([f32; 3], [f32; 3]) = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]);
/// The defaults of `ViTImageProcessor`.
const HALVES: ([f32; 3], [f32; 3]) = ([0.5; 3], [0.5; 3]);
/// The defaults of `BitImageProcessor`, which DINOv2 uses.
const CLIP: ([f32; 3], [f32; 3]) = ([0.48145466, 0.4578275, 0.40821073], [0.268_629_55, 0.261_302_6, 0.275_777_1]);

/// Largest side accepted, so that a damaged file is refused rather than exhausting the memory.
const LARGEST_SIDE: u64 = 1 << 14;

impl Default for Preprocessing {
    fn default() -> Self {
        Self::of_size(224)
    }
}

impl Preprocessing {
    /// Bicubic to `size` × `size` and ImageNet's statistics; pictures that have this size already are only normalised.
    pub fn of_size(size: usize) -> Self {
        let (mean, deviation) = IMAGENET;
        Self {
            resize: Some(Resize::Exact([size, size])),
            filter: Filter::Bicubic,
            crop: None,
            rescale_factor: 1.0 / 255.0,
            mean,
            deviation,
        }
    }

    /// `[height, width]` that pictures of `[height, width]` come out with.
    pub fn output_size(&self, size: [usize; 2]) -> [usize; 2] {
        self.crop.unwrap_or_else(|| self.resized(size))
    }

    fn resized(&self, [height, width]: [usize; 2]) -> [usize; 2] {
        match self.resize {
            None => [height, width],
            Some(Resize::Exact(size)) => size,
            Some(Resize::ShortestEdge(edge)) => {
                let longer = |length: usize, shorter: usize| edge * length / shorter.max(1);
                if width <= height { [longer(height, width), edge] } else { [edge, longer(width, height)] }
            }
        }
    }

    /// Prepares grey pictures of one size, `pictures` holding `[n, height, width]` values.
    ///
    /// # Shapes
    /// `[n, height_out, width_out, 3]`, sizes from [`Preprocessing::output_size`]
    ///
    /// # Errors
    /// [`Error::Pictures`] where the values are not a whole number (at least one) of pictures.
    pub fn apply(&self, pictures: &[u8], height: usize, width: usize, device: &Device) -> Result<Tensor<4>, Error> {
        let num_pixels = height.saturating_mul(width);
        if num_pixels == 0 || pictures.is_empty() || !pictures.len().is_multiple_of(num_pixels) {
            return Err(Error::Pictures { num_values: pictures.len(), height, width });
        }
        let num_pictures = pictures.len() / num_pixels;
        let [new_height, new_width] = self.output_size([height, width]);
        let table = self.table();
        let mut values = Vec::with_capacity(num_pictures * new_height * new_width * 3);
        for picture in pictures.chunks_exact(num_pixels) {
            let resized_size = self.resized([height, width]);
            let resized = resize_u8(picture, [height, width], resized_size, self.filter);
            let cropped = match self.crop {
                Some(size) => centre_crop(&resized, resized_size, size),
                None => resized,
            };
            values.extend(cropped.iter().flat_map(|&pixel| table[usize::from(pixel)]));
        }
        Ok(Tensor::from_data(TensorData::new(values, [num_pictures, new_height, new_width, 3]), device))
    }

    /// What each stored value becomes in the three channels.
    fn table(&self) -> [[f32; 3]; 256] {
        std::array::from_fn(|value| {
            let scaled = value as f64 * self.rescale_factor;
            std::array::from_fn(|c| ((scaled - f64::from(self.mean[c])) / f64::from(self.deviation[c])) as f32)
        })
    }

    /// The last step alone, for pictures that are on the device already and have their size: repeats the grey channel
    /// and normalises. Carries gradients.
    ///
    /// # Shapes
    /// `[batch, height, width, 1]` with values in 0..=1 to `[batch, height, width, 3]`
    pub fn normalise(&self, grey: Tensor<4>) -> Tensor<4> {
        let device = grey.device();
        let row = |values: [f32; 3]| Tensor::<1>::from_floats(values, &device).reshape([1, 1, 1, 3]);
        let factor = 255.0 * self.rescale_factor;
        (grey * factor - row(self.mean)) / row(self.deviation)
    }
}

/// Cuts out or pads the centre as transformers does with torchvision: the odd row goes to the end in both cases.
fn centre_crop(pixels: &[u8], [height, width]: [usize; 2], [new_height, new_width]: [usize; 2]) -> Vec<u8> {
    let (top, from_row) = (new_height.saturating_sub(height) / 2, height.saturating_sub(new_height) / 2);
    let (left, from_column) = (new_width.saturating_sub(width) / 2, width.saturating_sub(new_width) / 2);
    let num_columns = width.min(new_width);
    let mut cropped = vec![0; new_height * new_width];
    for row in 0..height.min(new_height) {
        let source = (from_row + row) * width + from_column;
        let target = (top + row) * new_width + left;
        cropped[target..target + num_columns].copy_from_slice(&pixels[source..source + num_columns]);
    }
    cropped
}

/// Fields that do not change what grey pictures become.
const WITHOUT_EFFECT: &[&str] = &[
    "_processor_class",
    "crop_pct",
    "data_format",
    "default_to_square",
    "device",
    "disable_grouping",
    "do_convert_rgb",
    "image_seq_length",
    "input_data_format",
    "processor_class",
    "return_tensors",
];

impl TryFrom<Map<String, Value>> for Preprocessing {
    type Error = Error;

    fn try_from(mut fields: Map<String, Value>) -> Result<Self, Error> {
        let class = fields.remove("image_processor_type").or_else(|| fields.remove("feature_extractor_type"));
        fields.remove("feature_extractor_type");
        let class = class.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
        let is_bit = class.starts_with("Bit") || class.starts_with("CLIP");
        let (mean, deviation) = match () {
            () if is_bit => CLIP,
            () if class.starts_with("ViT") => HALVES,
            () if class.is_empty() => IMAGENET,
            () => {
                let problem = "is not supported; `ViTImageProcessor` and `BitImageProcessor` are";
                return Err(Error::field("image_processor_type", class, problem));
            }
        };

        let mut take = |field: &'static str| fields.remove(field).filter(|value| !value.is_null());
        let flag = |field, value: Option<Value>, default| match value {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| Error::field(field, value, "must be true or false")),
        };
        let do_resize = flag("do_resize", take("do_resize"), true)?;
        let do_center_crop = flag("do_center_crop", take("do_center_crop"), is_bit)?;
        let do_rescale = flag("do_rescale", take("do_rescale"), true)?;
        let do_normalize = flag("do_normalize", take("do_normalize"), true)?;
        if flag("do_pad", take("do_pad"), false)? {
            return Err(Error::field("do_pad", true, "is not supported; leave it out"));
        }

        let size = take("size").map_or(Ok(Resize::Exact([224, 224])), |value| size_of(value, is_bit))?;
        let crop_size = match take("crop_size").map_or(Ok(Resize::Exact([224, 224])), crop_size_of)? {
            Resize::Exact(size) => size,
            Resize::ShortestEdge(edge) => [edge, edge],
        };
        let filter = match take("resample") {
            None if is_bit => Filter::Bicubic,
            None => Filter::Bilinear,
            Some(value) => match value.as_u64() {
                Some(2) => Filter::Bilinear,
                Some(3) => Filter::Bicubic,
                _ => {
                    return Err(Error::field("resample", value, "is not supported; 2 (bilinear) and 3 (bicubic) are"));
                }
            },
        };
        let rescale_factor = match take("rescale_factor") {
            None => 1.0 / 255.0,
            Some(value) => value
                .as_f64()
                .filter(|factor| *factor > 0.0)
                .ok_or_else(|| Error::field("rescale_factor", value, "must be a positive number"))?,
        };
        let mean = channels("image_mean", take("image_mean"), mean)?;
        let deviation = channels("image_std", take("image_std"), deviation)?;
        if deviation.iter().any(|&value| value <= 0.0) {
            return Err(Error::field("image_std", format!("{deviation:?}"), "must be positive"));
        }

        fields.retain(|field, value| !value.is_null() && !WITHOUT_EFFECT.contains(&field.as_str()));
        if let Some((field, value)) = fields.into_iter().next() {
            return Err(Error::UnknownField { field, value: value.to_string() });
        }
        Ok(Self {
            resize: do_resize.then_some(size),
            filter,
            crop: do_center_crop.then_some(crop_size),
            rescale_factor: if do_rescale { rescale_factor } else { 1.0 },
            mean: if do_normalize { mean } else { [0.0; 3] },
            deviation: if do_normalize { deviation } else { [1.0; 3] },
        })
    }
}

fn side(value: &Value) -> Option<usize> {
    value.as_u64().filter(|side| (1..=LARGEST_SIDE).contains(side)).map(|side| side as usize)
}

/// A single number is a square for ViT's processor and the shortest edge for BiT's.
fn size_of(value: Value, is_bit: bool) -> Result<Resize, Error> {
    let size = match &value {
        Value::Object(sides) if sides.len() == 2 => match (sides.get("height"), sides.get("width")) {
            (Some(height), Some(width)) => side(height).zip(side(width)).map(|(h, w)| Resize::Exact([h, w])),
            _ => None,
        },
        Value::Object(sides) if sides.len() == 1 => sides.get("shortest_edge").and_then(side).map(Resize::ShortestEdge),
        number => {
            side(number).map(|side| if is_bit { Resize::ShortestEdge(side) } else { Resize::Exact([side, side]) })
        }
    };
    size.ok_or_else(|| {
        let problem = format!(
            "is not supported; `height` and `width`, `shortest_edge`, or one number are, in 1..={LARGEST_SIDE}"
        );
        Error::field("size", value, problem)
    })
}

fn crop_size_of(value: Value) -> Result<Resize, Error> {
    size_of(value, false).map_err(|error| match error {
        Error::Field { value, problem, .. } => Error::Field { field: "crop_size".to_owned(), value, problem },
        other => other,
    })
}

fn channels(field: &'static str, value: Option<Value>, default: [f32; 3]) -> Result<[f32; 3], Error> {
    let Some(value) = value else { return Ok(default) };
    let numbers: Option<Vec<f32>> = match &value {
        Value::Array(values) => values.iter().map(|value| value.as_f64().map(|number| number as f32)).collect(),
        number => number.as_f64().map(|number| vec![number as f32; 3]),
    };
    numbers
        .and_then(|numbers| <[f32; 3]>::try_from(numbers).ok())
        .filter(|numbers| numbers.iter().all(|number| number.is_finite()))
        .ok_or_else(|| Error::field(field, value, "must be three numbers"))
}

impl From<Preprocessing> for Map<String, Value> {
    fn from(preprocessing: Preprocessing) -> Self {
        let Preprocessing { resize, filter, crop, rescale_factor, mean, deviation } = preprocessing;
        // The two classes differ in defaults only; every field is written. f32 through its shortest decimal form.
        let decimal = |value: f32| value.to_string().parse::<f64>().unwrap_or(f64::from(value));
        let is_bit = crop.is_some() || matches!(resize, Some(Resize::ShortestEdge(_)));
        let mut fields = Map::new();
        let mut set = |field: &str, value: Value| fields.insert(field.into(), value);
        set("image_processor_type", json!(if is_bit { "BitImageProcessor" } else { "ViTImageProcessor" }));
        set("do_resize", json!(resize.is_some()));
        match resize {
            None => {}
            Some(Resize::Exact([height, width])) => drop(set("size", json!({"height": height, "width": width}))),
            Some(Resize::ShortestEdge(edge)) => drop(set("size", json!({"shortest_edge": edge}))),
        }
        set("resample", json!(if filter == Filter::Bilinear { 2 } else { 3 }));
        if is_bit {
            set("do_convert_rgb", json!(true));
            set("do_center_crop", json!(crop.is_some()));
        }
        if let Some([height, width]) = crop {
            set("crop_size", json!({"height": height, "width": width}));
        }
        set("do_rescale", json!(true));
        set("rescale_factor", json!(rescale_factor));
        set("do_normalize", json!(true));
        set("image_mean", json!(mean.map(decimal)));
        set("image_std", json!(deviation.map(decimal)));
        fields
    }
}

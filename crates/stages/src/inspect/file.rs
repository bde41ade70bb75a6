//! Single files: pictures, tensors, manifests, and the files that stand for the folder they lie in.

use super::{Inspection, Kind, grouped, network};
use anyhow::{Context, Result};
use dataset::{ManifestReader, Split};
use files::TensorFile;
use nets::Checkpoint;
use radiograph::{DecodeError, DecodeOptions, Remark, content_remark};
use std::{fs::File, io::Read, path::Path};

/// Files that say what their folder is.
const OF_FOLDER: &[&str] =
    &["dataset.toml", "recipe.toml", "model.json", "encodings.toml", "config.json", "model_index.json"];

/// Tensors that are listed by name.
const MAX_LISTED: usize = 8;

pub(super) fn inspect(path: &Path) -> Result<Inspection> {
    let name = path.file_name().unwrap_or_default();
    if OF_FOLDER.iter().any(|of_folder| name == *of_folder) {
        // `parent` of a bare file name is empty, which means the current folder.
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        return super::run(parent);
    }
    let start = first_bytes(path).with_context(|| format!("the file cannot be read: {}", path.display()))?;
    Ok(match start.as_slice() {
        bytes if is_safetensors(bytes) => tensors(path),
        bytes if bytes.starts_with(b"PAR1") => manifest(path),
        bytes if is_pickle(path, bytes) => network::encoder_file(path),
        _ => image(path),
    })
}

/// By the first bytes only.
pub(super) fn looks_like_image(path: &Path) -> bool {
    first_bytes(path).is_ok_and(|bytes| {
        radiograph::is_dicom(&bytes) || bytes.starts_with(b"\x89PNG\r\n\x1a\n") || bytes.starts_with(b"\xff\xd8\xff")
    })
}

fn first_bytes(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(132).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Eight bytes of length, then a JSON object.
fn is_safetensors(bytes: &[u8]) -> bool {
    bytes.get(4..9) == Some(&[0, 0, 0, 0, b'{'])
}

/// A ZIP archive or a bare pickle with a name that PyTorch uses.
fn is_pickle(path: &Path, bytes: &[u8]) -> bool {
    let has_name = ["pth", "pt", "bin"].iter().any(|known| path.extension().is_some_and(|found| found == *known));
    has_name && (bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(&[0x80]))
}

fn image(path: &Path) -> Inspection {
    let mut inspection = Inspection::new(Kind::Image);
    match radiograph::decode_file(path, &DecodeOptions::default()) {
        Ok(picture) => {
            inspection.line("format", picture.format);
            inspection.line("size", format!("{} x {} (height x width)", picture.height, picture.width));
            inspection.line("stored bits", picture.stored_bits);
            if let Some([rows, columns]) = picture.pixel_spacing_mm {
                inspection.line("pixel spacing", format!("{rows} x {columns} mm"));
            }
            if let Some(view) = &picture.metadata.view {
                inspection.line("view", view);
            }
            if picture.metadata.patient_id.is_some() {
                inspection.line("patient", "an identifier is in the file; it is not shown");
            }
            let (least, most) = picture
                .pixels
                .iter()
                .fold((f32::INFINITY, f32::NEG_INFINITY), |(least, most), value| (least.min(*value), most.max(*value)));
            inspection.line("brightness", format!("{least:.3} to {most:.3}, mean {:.3} (of 0 to 1)", picture.mean()));
            for remark in picture.metadata.remarks.iter().copied().chain(content_remark(&picture)) {
                match remark {
                    Remark::Blank => inspection.problem(remark),
                    _ => inspection.line("remark", remark),
                }
            }
        }
        Err(error) => {
            if matches!(error.reason(), DecodeError::UnknownFormat { .. } | DecodeError::Empty) {
                inspection.kind = Kind::Unknown;
            }
            inspection.problem(error.reason());
        }
    }
    inspection
}

fn manifest(path: &Path) -> Inspection {
    let mut inspection = Inspection::new(Kind::Manifest);
    let Some(reader) = inspection.check(ManifestReader::open(path)) else { return inspection };
    inspection.line("rows", grouped(reader.num_rows()));
    let mut splits = [Split::Train, Split::Val, Split::Test].map(|split| (split, 0_usize));
    let mut num_masks = 0;
    for row in reader {
        let Some(row) = inspection.check(row) else { return inspection };
        splits.iter_mut().filter(|(split, _)| *split == row.split).for_each(|(_, count)| *count += 1);
        num_masks += usize::from(row.mask);
    }
    for (split, count) in splits {
        inspection.line(split.name(), grouped(count));
    }
    inspection.line("masks", grouped(num_masks));
    inspection
}

fn tensors(path: &Path) -> Inspection {
    let mut inspection = Inspection::new(Kind::Tensors);
    let Some(file) = inspection.check(TensorFile::open(path)) else { return inspection };
    let Some(checkpoint) = inspection.check(Checkpoint::open(path)) else { return inspection };
    let names: Vec<&str> = checkpoint.keys().collect();
    let num_values: usize =
        names.iter().filter_map(|name| checkpoint.shape(name)).map(|shape| shape.iter().product::<usize>()).sum();
    inspection.line("tensors", names.len());
    inspection.line("values", grouped(num_values));
    for name in names.iter().take(MAX_LISTED) {
        if let Some((dtype, shape)) = file.tensor(name) {
            inspection.line(*name, format!("{dtype} {shape:?}"));
        }
    }
    if names.len() > MAX_LISTED {
        inspection.line("...", format!("and {} more", names.len() - MAX_LISTED));
    }
    let mut metadata: Vec<(&str, &str)> = file.metadata().collect();
    metadata.sort_unstable();
    for (key, value) in metadata {
        inspection.line(format!("metadata {key}"), shortened(value));
    }
    check_finite(&mut inspection, &checkpoint, &file);
    network::describe_original(&mut inspection, path, &checkpoint);
    inspection
}

/// Names tensors of floats that hold values that are no numbers.
fn check_finite(inspection: &mut Inspection, checkpoint: &Checkpoint, file: &TensorFile) {
    for name in checkpoint.keys() {
        let is_float = file
            .tensor(name)
            .is_some_and(|(dtype, _)| matches!(dtype.to_string().as_str(), "F64" | "F32" | "F16" | "BF16"));
        if !is_float {
            continue;
        }
        if let Some(tensor) = inspection.check(checkpoint.read(name)) {
            let num_bad = tensor.values.iter().filter(|value| !value.is_finite()).count();
            if num_bad > 0 {
                inspection.problem(format!("tensor `{name}` has {num_bad} values that are not finite numbers"));
            }
        }
    }
}

fn shortened(text: &str) -> String {
    const LONGEST: usize = 100;
    if text.chars().count() <= LONGEST {
        return text.into();
    }
    format!("{} ... ({} bytes)", text.chars().take(LONGEST).collect::<String>(), text.len())
}

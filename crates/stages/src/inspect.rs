//! What a file or folder is, and whether it is sound.
//!
//! Things are told by content. Nothing that identifies a patient is shown: of a DICOM file only the picture and the
//! view.

mod file;
mod network;
mod stage;

use anyhow::{Result, ensure};
use serde::Serialize;

use std::{fmt::Display, fs, path::Path};

/// What a thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A picture: DICOM, PNG or JPEG.
    Image,
    /// A folder with `dataset.toml`.
    Dataset,
    /// A manifest on its own.
    Manifest,
    /// Encodings of a dataset.
    Encodings,
    /// A folder with `recipe.toml`.
    Run,
    /// A trained model of this program: denoiser and frozen networks.
    Model,
    /// One network, or a diffusers pipeline of several.
    Network,
    /// Tensors in a safetensors file.
    Tensors,
    /// A folder with pictures in it, or other files.
    Folder,
    /// None of these.
    Unknown,
}

impl Kind {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Self::Image => "image",
            Self::Dataset => "dataset",
            Self::Manifest => "manifest of a dataset",
            Self::Encodings => "encodings of a dataset",
            Self::Run => "training run",
            Self::Model => "model",
            Self::Network => "network",
            Self::Tensors => "safetensors file",
            Self::Folder => "folder",
            Self::Unknown => "unknown",
        }
    }
}

/// One fact about the thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// What the fact is about, for example `size`.
    pub label: String,
    /// The fact.
    pub value: String,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// What it is.
    pub kind: Kind,
    /// Facts, in the order to show them.
    pub lines: Vec<Line>,
    /// What is wrong with it, a sentence each; empty where it is sound.
    pub problems: Vec<String>,
}

impl Inspection {
    fn new(kind: Kind) -> Self {
        Self { kind, lines: Vec::new(), problems: Vec::new() }
    }

    /// Whether nothing is wrong with it. An unknown thing is not sound.
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty() && self.kind != Kind::Unknown
    }

    fn line(&mut self, label: impl Into<String>, value: impl Display) {
        self.lines.push(Line { label: label.into(), value: value.to_string() });
    }

    fn problem(&mut self, problem: impl Display) {
        self.problems.push(problem.to_string());
    }

    /// The value, or its error among the problems.
    fn check<T, E: Into<anyhow::Error>>(&mut self, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.problem(messages::sentence(&error.into(), None))).ok()
    }
}

/// Says what `path` is and checks it: datasets and tensors are read through, networks are loaded. The name of a shipped
/// model stands for its folder.
///
/// # Errors
/// A path that does not exist or must not be read. Everything else that is wrong is among the problems.
pub fn run(path: &Path) -> Result<Inspection> {
    let path = &crate::assets::resolve(path);
    ensure!(path.exists(), "there is nothing there; check the spelling: {}", path.display());
    if path.is_dir() { folder(path) } else { file::inspect(path) }
}

fn folder(path: &Path) -> Result<Inspection> {
    let has = |name: &str| path.join(name).is_file();
    Ok(match () {
        () if dataset::Dataset::is_dataset(path) => stage::dataset(path),
        () if has("encodings.toml") => stage::encodings(path),
        () if has("model.json") => stage::model(path),
        () if dataset::RunDir::is_run(path) => stage::run(path),
        () if has("model_index.json") => network::pipeline(path),
        () => match network::network(path) {
            Some(inspection) => inspection,
            None => listing(path)?,
        },
    })
}

/// A folder that is nothing in particular: what lies in it.
fn listing(path: &Path) -> Result<Inspection> {
    let mut inspection = Inspection::new(Kind::Folder);
    let (mut num_folders, mut num_files, mut num_images) = (0_usize, 0_usize, 0_usize);
    for entry in fs::read_dir(path)? {
        let entry = entry?.path();
        if entry.is_dir() {
            num_folders += 1;
        } else {
            num_files += 1;
            num_images += usize::from(file::looks_like_image(&entry));
        }
    }
    inspection.line("folders", num_folders);
    inspection.line("files", num_files);
    inspection.line("images", format!("{num_images} by their first bytes"));
    if num_images == 0 && num_folders == 0 {
        inspection.kind = Kind::Unknown;
        inspection.problem("nothing in this folder is known to this program");
    }
    Ok(inspection)
}

/// A count with separators, since parameters come in millions.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;

//! What each evaluation contributes to the page: every figure beside its control, with its number of images and its
//! interval, as charts first and tables after them; and under a fold whatever else the file says.

mod augmentation;
mod fidelity;
mod kind;
mod segmentation;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use super::page::{Markup, chart_row, escape, figures_table, finished_facts, folded, note, paragraph, side_by_side};
use super::pictures::{drawing_file, files_in, picture_file};
use super::place::{Measure, Place, Style, read};
use charts::{Chart, Mark, interval_chart};
pub(super) use kind::Kind;

/// A result file.
#[derive(Debug)]
pub(super) struct ResultFile {
    pub path: PathBuf,
    pub kind: Kind,
    content: Value,
}

impl ResultFile {
    /// # Errors
    /// A file that cannot be read or is no JSON object.
    pub fn open(path: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("the file cannot be read: {}", path.display()))?;
        let no_object = || format!("the file is no JSON object: {}", path.display());
        let content: Value = read(&text).with_context(no_object)?;
        ensure!(content.is_object(), no_object());
        Ok(Self { path: path.into(), kind: Kind::of(&content), content })
    }

    /// The result files that lie directly in a folder, by name. JSON of another form is passed over.
    ///
    /// # Errors
    /// A folder that cannot be read.
    pub fn all_in(folder: &Path) -> Result<Vec<Self>> {
        Ok(files_in(folder, "json")?.iter().filter_map(|path| Self::open(path).ok()).collect())
    }

    /// For headings.
    pub fn title(&self) -> String {
        let word = self.kind.word();
        word[..1].to_uppercase() + &word[1..]
    }

    /// Its part of the page, with the pictures that it left beside its file.
    ///
    /// # Errors
    /// Pictures that cannot be read.
    pub fn section(&self) -> Result<String> {
        let root = Place::root(&self.content);
        let known = match self.kind {
            Kind::Fidelity => fidelity::section(&root),
            Kind::Memorisation => memorisation(&root),
            Kind::Conditioning => conditioning(&[self]),
            Kind::Encoder => encoder(&root),
            Kind::Autoencoder => autoencoder(&root),
            Kind::Segmentation => segmentation::section(&root),
            Kind::Augmentation => augmentation::section(&root, &self.path)?,
            Kind::Other => root.everything(),
        };
        let cautions = match self.kind {
            Kind::Conditioning => String::new(), // says it itself, file by file
            _ => [root.get("caution"), root.get("round_trip").get("caution")]
                .iter()
                .filter_map(|caution| caution.text().map(note))
                .collect(),
        };
        let mut html = self.sourced("div", &(cautions + &known));
        let mut drawings = String::new();
        for path in self.own_pictures()? {
            let name = path.file_name().unwrap_or_default();
            match self.kind.pictures().iter().find(|(known, _)| *known == name) {
                Some((_, caption)) => html.push_str(&picture_file(&path, Some(caption))?),
                None if path.extension().is_some_and(|ending| ending == "svg") => {
                    drawings.push_str(&drawing_file(&path)?);
                }
                // Shown as SVG, or with the figures.
                None => {}
            }
        }
        html.push_str(&side_by_side(&drawings));
        if self.kind != Kind::Other {
            html.push_str(&self.sourced("div", &folded("Everything in the file", &root.everything())));
        }
        let explanation = self.kind.explanation();
        Ok(if explanation.is_empty() { html } else { paragraph(explanation) + &html })
    }

    /// What belongs to this file and to no other in its folder: pictures, drawings, and tables in Markdown.
    pub fn own_pictures(&self) -> Result<Vec<PathBuf>> {
        let folder = self.path.parent().unwrap_or(Path::new(""));
        let named = self.kind.pictures().iter().map(|(name, _)| folder.join(name));
        let mut all: Vec<PathBuf> = named.filter(|path| path.is_file()).collect();
        let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        if self.kind == Kind::Augmentation {
            all.extend(augmentation::own_files(&Place::root(&self.content), folder)?);
        }
        if self.kind == Kind::Segmentation {
            let of_dice = |path: &PathBuf| path.file_name().is_some_and(|n| n.to_string_lossy().starts_with("dice-"));
            all.extend(files_in(folder, "svg")?.into_iter().filter(of_dice));
        }
        Ok(all)
    }

    /// Markup that says which file its numbers are from.
    fn sourced(&self, tag: &str, html: &str) -> String {
        format!("<{tag} data-source=\"{}\">{html}</{tag}>", escape(&self.path.display().to_string()))
    }
}

/// Fingerprints, settings and numbers of images: those of these entries that are there.
fn settings(root: &Place<'_>, entries: &[(&str, &str)]) -> String {
    let rows: Vec<(String, Markup)> = entries
        .iter()
        .filter_map(|(label, way)| {
            let place = way.split('.').fold(root.clone(), |place, key| place.get(key));
            let written = match (place.text(), place.number(), place.entries()) {
                (Some(_), ..) => place.words(),
                (_, Some(_), _) => place.written(Style::Plain),
                (.., entries) if !entries.is_empty() => {
                    let all: Vec<String> = entries.iter().map(|entry| entry.written(Style::Plain).0).collect();
                    Markup(all.join(" x "))
                }
                _ => return None,
            };
            Some(((*label).to_owned(), written))
        })
        .collect();
    finished_facts(&rows)
}

/// Colours of charts: what is judged, and what it stands beside.
const SUBJECT: usize = 0;
const CONTROL: usize = 1;

fn mark(label: impl Into<String>, measure: &Measure<'_>, style: Style, colour: usize) -> Option<Mark> {
    Some(Mark {
        label: label.into(),
        value: measure.value.number()?,
        interval: measure.interval(),
        written: measure.written_in_chart(style).0,
        colour,
    })
}

type Captioned = (Chart, String);

fn memorisation(root: &Place<'_>) -> String {
    let mut html = settings(
        root,
        &[
            ("feature network", "network"),
            ("its fingerprint", "features"),
            ("synthetic images", "num_synthetic"),
            ("training images", "num_train"),
            ("held-out real images", "num_held_out"),
        ],
    );
    for (key, name) in [
        ("embeddings", "By embeddings: distances of vectors of length 1, from 0 to 2"),
        ("pixels", "By pixels of reduced images: root mean squared difference, of full brightness"),
    ] {
        let space = root.get(key);
        if !space.exists() {
            continue;
        }
        let (synthetic, held_out) = (space.get("synthetic"), space.get("held_out"));
        let pairs = [
            ("mean distance to the nearest training image", "mean", Style::Decimals(4)),
            ("share suspiciously near", "share_near", Style::Percent),
        ];
        let mut measures: Vec<(&str, [Measure<'_>; 2], Style)> = pairs
            .into_iter()
            .map(|(name, key, style)| (name, [&synthetic, &held_out].map(|set| Measure::any(set, key)), style))
            .collect();
        let authentic = ["authentic_percentage", "held_out_authentic_percentage"].map(|key| Measure::any(&space, key));
        measures.push(("authentic, in percent", authentic, Style::Decimals(1)));
        let drawn = measures.iter().filter_map(|(name, [synthetic, held_out], style)| {
            let marks =
                [mark("synthetic", synthetic, *style, SUBJECT), mark("held-out real", held_out, *style, CONTROL)];
            let chart = interval_chart(name, &marks.into_iter().flatten().collect::<Vec<_>>(), None)?;
            Some((chart, (*name).to_owned()))
        });
        let drawn: Vec<Captioned> = drawn.collect();
        let mut rows: Vec<Vec<Markup>> = measures
            .iter()
            .map(|(name, [synthetic, held_out], style)| {
                vec![Markup::text(name), synthetic.written(*style), held_out.written(*style)]
            })
            .collect();
        let style = Style::Decimals(4);
        let (one, other) = (synthetic.get("least").written(style), held_out.get("least").written(style));
        rows.push(vec![Markup::text("smallest distance of all"), one, other]);
        let near = Markup::text("below this is suspiciously near");
        rows.push(vec![near, space.get("near").written(style), Markup::default()]);
        if space.get("to_seed").exists() {
            let to_seed = Measure::any(&space, "to_seed").written(style);
            rows.push(vec![Markup::text("mean distance to its seed"), to_seed, Markup::default()]);
        }
        if space.get("data_copying").exists() {
            let copying = space.get("data_copying").written(Style::Decimals(2));
            rows.push(vec![Markup::text("C_T: far below 0 where copies are"), copying, Markup::default()]);
        }
        html.push_str(&format!("<h4>{}</h4>\n", escape(name)));
        html.push_str(&chart_row(drawn));
        html.push_str(&figures_table(&["", "synthetic", "held-out real: the control"], &rows));
    }
    html
}

/// Several files beside one another: the controls of one are others.
pub(super) fn conditioning(files: &[&ResultFile]) -> String {
    let mut marks = Vec::new();
    let mut rows = Vec::new();
    let mut cautions = String::new();
    let mut chance = None;
    for file in files {
        let root = Place::root(&file.content);
        let top = Measure::any(&root, "top_1");
        let drawn_without = root.get("num_unconditional").number().is_some_and(|count| count > 0.0);
        let name = file.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let colour = if drawn_without { CONTROL } else { SUBJECT };
        if let Some(mut mark) = mark(&name, &top, Style::Percent, colour) {
            mark.written = file.sourced("tspan", &mark.written);
            marks.push(mark);
        }
        chance = chance.or(root.get("chance").number());
        if let Some(caution) = root.get("caution").text() {
            cautions.push_str(&file.sourced("div", &note(&format!("{name}: {caution}"))));
        }
        let cells = [
            root.get("network").words(),
            root.get("features").words(),
            root.get("num_images").written(Style::Plain),
            root.get("num_unconditional").written(Style::Plain),
            root.get("mean_candidates").written(Style::Plain),
            top.written(Style::Percent),
            root.get("top_5").written(Style::Percent),
            root.get("chance").written(Style::Percent),
            root.get("similarity").written(Style::Decimals(3)),
            root.get("similarity_to_another").written(Style::Decimals(3)),
        ];
        let sourced = cells.map(|Markup(cell)| Markup(file.sourced("span", &cell)));
        rows.push([Markup::text(name)].into_iter().chain(sourced).collect::<Vec<_>>());
    }
    let reference = chance.map(|chance| (chance, "chance"));
    let chart = interval_chart("share whose own source is the nearest", &marks, reference);
    let caption = "Own source nearest; orange: drawn without a condition, a source by lot".to_owned();
    let headings = [
        "file",
        "feature network",
        "its fingerprint",
        "images",
        "without condition",
        "candidates",
        "own source nearest",
        "among five nearest",
        "chance",
        "similarity to source",
        "to another",
    ];
    cautions + &chart_row(chart.map(|chart| (chart, caption))) + &figures_table(&headings, &rows)
}

/// The section of all files of this evaluation.
pub(super) fn conditioning_section(files: &[&ResultFile]) -> String {
    let mut html = paragraph(Kind::Conditioning.explanation()) + &conditioning(files);
    for file in files {
        let all = folded(&file.path.display().to_string(), &Place::root(&file.content).everything());
        html.push_str(&file.sourced("div", &all));
    }
    html
}

fn encoder(root: &Place<'_>) -> String {
    let rivals = root.get("features").entries();
    let judges = [("linear_probe", "linear probe"), ("nearest_neighbours", "nearest neighbours")];
    let style = Style::Decimals(3);
    let drawn = judges.iter().filter_map(|(key, name)| {
        let marks: Vec<Mark> = rivals
            .iter()
            .enumerate()
            .filter_map(|(index, rival)| {
                let colour = if index == 0 { SUBJECT } else { CONTROL };
                mark(rival.get("name").text()?, &Measure::of(&rival.get(key), "auc"), style, colour)
            })
            .collect();
        let chart = interval_chart("area under the curve", &marks, None)?;
        Some((chart, format!("{name}; 0.5 is chance")))
    });
    let drawn: Vec<Captioned> = drawn.collect();
    let rows: Vec<Vec<Markup>> = rivals
        .iter()
        .map(|rival| {
            let scores = judges.iter().map(|(key, _)| Measure::of(&rival.get(key), "auc").written(style));
            [rival.get("name").words(), rival.get("dim").written(Style::Plain)].into_iter().chain(scores).collect()
        })
        .collect();
    let headings = ["features", "numbers", "linear probe, AUC", "nearest neighbours, AUC"];
    let groups = |name: &str| {
        Markup({
            let entries = root.get(name).entries();
            entries.iter().map(|count| count.written(Style::Plain).0).collect::<Vec<_>>().join(" and ")
        })
    };
    let negative = root.get("negative").text().unwrap_or("negative");
    let counts = [
        (format!("images to learn from: {negative}, others"), groups("num_train")),
        (format!("images to judge by: {negative}, others"), groups("num_val")),
    ];
    let facts = [("encoder", "encoder"), ("dataset", "dataset"), ("inside the source", "source")];
    chart_row(drawn) + &figures_table(&headings, &rows) + &finished_facts(&counts) + &settings(root, &facts)
}

fn autoencoder(root: &Place<'_>) -> String {
    let (quality, trip) = (root.get("quality"), root.get("round_trip"));
    let row = |place: Place<'_>, name: &str, style: Style, ideal: &str| {
        place.exists().then(|| vec![Markup::text(name), place.written(style), Markup::text(ideal)])
    };
    let rows = [
        row(quality.get("peak_signal_to_noise"), "peak signal-to-noise ratio, dB", Style::Decimals(2), "higher"),
        row(
            quality.get("peak_signal_to_noise_of_worst"),
            "the same of the worst twentieth",
            Style::Decimals(2),
            "higher",
        ),
        row(quality.get("structural_similarity"), "structural similarity", Style::Decimals(4), "1"),
        row(quality.get("absolute_error"), "mean absolute error, of full brightness", Style::Decimals(4), "0"),
        row(trip.get("kernel_distance"), "kernel distance of the round trip", Style::Decimals(4), "0"),
        row(trip.get("frechet_distance"), "Fréchet distance of the round trip", Style::Decimals(3), "0"),
        row(quality.get("latent_mean"), "mean of the latents", Style::Decimals(3), "0, for diffusion"),
        row(quality.get("latent_std"), "standard deviation of the latents", Style::Decimals(3), "1, for diffusion"),
        row(quality.get("latent_largest"), "largest magnitude of a latent", Style::Decimals(2), "a few"),
    ];
    let rows: Vec<Vec<Markup>> = rows.into_iter().flatten().collect();
    figures_table(&["", "measured", "ideal"], &rows)
        + &settings(
            root,
            &[
                ("autoencoder", "autoencoder"),
                ("parameters", "num_parameters"),
                ("values of one image", "latent_shape"),
                ("images", "quality.num_images"),
                ("split", "split"),
                ("dataset", "dataset"),
                ("feature network of the distances", "round_trip.network"),
                ("its fingerprint", "round_trip.features"),
            ],
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_file_with_gaps_is_shown_without_inventing_anything() {
        let folder = tempfile::tempdir().unwrap();
        for kind in Kind::KNOWN {
            let path = folder.path().join(format!("{}.json", kind.word()));
            std::fs::write(&path, json!({"kind": kind.word(), "seed": 7}).to_string()).unwrap();
            let file = ResultFile::open(&path).unwrap();
            assert_eq!(file.kind, kind);
            let html = file.section().unwrap();
            assert!(html.contains("data-key=\"seed\" data-value=\"7\"") && !html.contains("NaN"), "{kind:?}: {html}");
        }
        std::fs::write(folder.path().join("list.json"), "[1]").unwrap();
        assert!(ResultFile::open(&folder.path().join("list.json")).is_err());
        assert_eq!(ResultFile::all_in(folder.path()).unwrap().len(), Kind::KNOWN.len());
    }
}

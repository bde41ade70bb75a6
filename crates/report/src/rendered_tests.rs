//! The page as a browser shows it: are all figures of the result files there, does it need anything from elsewhere, can
//! it be read on a telephone and in the dark? Needs `chromium` on the path; where there is none the tests say so and pass.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use serde::Deserialize;
use serde_json::{Value, json};

use super::*;
use charts::{Axes, Series, line_chart};
use messages::Silent;

const TELEPHONE: f64 = 390.0;
const DESK: f64 = 1280.0;

/// What `measure.js` says.
#[derive(Debug, Deserialize)]
struct Seen {
    width: f64,
    scroll_width: f64,
    dark: bool,
    /// What the page asked for and did not get.
    refused: Vec<String>,
    text: Contrast,
    line: Contrast,
    smallest_chart_text: Option<f64>,
    broken_images: Vec<String>,
    figures_without_caption: usize,
    /// Words of table cells that are too narrow for words.
    torn_cells: Vec<String>,
    /// Pairs of texts of a chart that lie on one another.
    overlapping: Vec<String>,
    /// Source, key, value, words.
    numbers: Vec<[String; 4]>,
}

#[derive(Debug, Deserialize)]
struct Contrast {
    ratio: f64,
    of: String,
}

fn has_chromium() -> bool {
    let found = Command::new("chromium").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        let _ = writeln!(std::io::stderr(), "skipped: there is no `chromium` on the path (Debian: chromium)");
    }
    found
}

/// A copy of the page with the measuring script, shown at both widths. Nothing may be fetched from anywhere.
fn look_at(html: &str, dark: bool, folder: &Path) -> [Seen; 2] {
    let guard = "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src \
                 'unsafe-inline'; script-src 'unsafe-inline'\">";
    let copy = html.replacen("<head>", &format!("<head>{guard}<script>{}</script>", include_str!("measure.js")), 1);
    fs::write(folder.join("copy.html"), copy).unwrap();
    let frame = |width| format!("<iframe src=\"copy.html\" style=\"border:0;width:{width}px;height:800px\"></iframe>");
    let around = format!(
        "<!doctype html><html><head><meta name=\"color-scheme\" content=\"light dark\"></head><body><pre></pre>\
         <script>onmessage = event => {{ document.querySelector('pre').textContent += event.data + '\\n'; }}</script>\
         {}{}</body></html>",
        frame(TELEPHONE),
        frame(DESK)
    );
    let page = folder.join("around.html");
    fs::write(&page, around).unwrap();
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"])
        .arg(format!("--user-data-dir={}", folder.join("profile").display()))
        .arg(format!("--blink-settings=preferredColorScheme={}", if dark { 0 } else { 1 }))
        .args(["--virtual-time-budget=10000", "--timeout=60000", "--dump-dom"])
        .arg(format!("file://{}", page.display()))
        .output()
        .unwrap();
    let dom = String::from_utf8_lossy(&output.stdout).into_owned();
    let inside = dom.split("<pre>").nth(1).and_then(|rest| rest.split("</pre>").next());
    let lines = inside.unwrap_or_else(|| panic!("no page: {dom}\n{}", String::from_utf8_lossy(&output.stderr))).lines();
    let mut seen: Vec<Seen> = lines.map(|line| serde_json::from_str(line).unwrap()).collect();
    seen.sort_by(|a, b| a.width.total_cmp(&b.width));
    let seen: [Seen; 2] = seen.try_into().unwrap_or_else(|seen: Vec<Seen>| panic!("{} pages, not two", seen.len()));
    assert_eq!(seen.each_ref().map(|seen| (seen.width, seen.dark)), [(TELEPHONE, dark), (DESK, dark)]);
    seen
}

/// What is wrong with a page, in words.
fn complaints(seen: &Seen) -> Vec<String> {
    let mut all: Vec<String> = seen.refused.iter().map(|name| format!("asks for {name}")).collect();
    if seen.scroll_width > seen.width {
        all.push(format!("is {} px wide on {} px", seen.scroll_width, seen.width));
    }
    // Level AA of the Web Content Accessibility Guidelines: text, and lines of charts.
    if seen.text.ratio < 4.5 {
        all.push(format!("has text of contrast {:.2}: {}", seen.text.ratio, seen.text.of));
    }
    if seen.line.ratio < 3.0 {
        all.push(format!("has lines of contrast {:.2}: {}", seen.line.ratio, seen.line.of));
    }
    if let Some(size) = seen.smallest_chart_text.filter(|size| *size < 9.0) {
        all.push(format!("has charts with text of {size:.1} px"));
    }
    all.extend(seen.broken_images.iter().map(|name| format!("has a broken picture: {name}")));
    all.extend(seen.torn_cells.iter().map(|words| format!("tears {words}")));
    all.extend(seen.overlapping.iter().map(|words| format!("writes over one another: {words}")));
    if seen.figures_without_caption > 0 {
        all.push(format!("has {} figures without a caption", seen.figures_without_caption));
    }
    all
}

/// Compares what is on the page with the files that it names; gives the keys of each.
fn check_numbers(seen: &Seen) -> Result<BTreeMap<String, BTreeSet<String>>, String> {
    let mut files: BTreeMap<String, (Value, BTreeSet<String>)> = BTreeMap::new();
    for [source, key, value, words] in &seen.numbers {
        if !files.contains_key(source) {
            let text = fs::read(source).map_err(|error| format!("{source}: {error}"))?;
            files.insert(source.clone(), (serde_json::from_slice(&text).unwrap(), BTreeSet::new()));
        }
        let (file, keys) = files.get_mut(source).unwrap();
        let stands = key.split('.').try_fold(&*file, |place, key| match place {
            Value::Array(values) => values.get(key.parse::<usize>().ok()?),
            place => place.get(key),
        });
        let stands = stands.and_then(Value::as_f64).ok_or_else(|| format!("{source} has no number {key}"))?;
        // Reading the file for this comparison may miss the last place.
        let near = |value: f64| (value - stands).abs() <= f64::EPSILON * stands.abs();
        if !value.parse().is_ok_and(near) {
            return Err(format!("{key} is {stands}, and the page holds {value}"));
        }
        if !agrees(words, stands) {
            return Err(format!("{key} is {stands}, and the page says {words}"));
        }
        keys.insert(key.clone());
    }
    Ok(files.into_iter().map(|(source, (_, keys))| (source, keys)).collect())
}

/// Whether a number in words is the value, rounded to as many digits as it has.
fn agrees(words: &str, value: f64) -> bool {
    let (digits, unit) = match words {
        _ if words.ends_with(" %") => (&words[..words.len() - 2], 0.01),
        _ if words.ends_with('k') => (&words[..words.len() - 1], 1e3),
        _ if words.ends_with('M') => (&words[..words.len() - 1], 1e6),
        _ => (words, 1.0),
    };
    let Ok(read) = digits.parse::<f64>() else { return false };
    let (mantissa, exponent) = digits.split_once('e').unwrap_or((digits, "0"));
    let decimals = mantissa.split_once('.').map_or(0, |(_, decimals)| decimals.len() as i32);
    let place = unit * 10f64.powi(exponent.parse::<i32>().unwrap() - decimals);
    (read * unit - value).abs() <= 0.5000001 * place
}

#[test]
fn words_are_compared_to_their_last_digit() {
    for (words, value) in
        [("95.2 %", 0.95238), ("12.5k", 12_451.0), ("1.00e-5", 1.004e-5), ("7", 7.0), ("-0.001", -6e-4)]
    {
        assert!(agrees(words, value), "{words} {value}");
    }
    for (words, value) in [("95.2 %", 0.95138), ("12.5k", 12_399.0), ("7", 8.0), ("–", 0.0), ("0.50", 0.51)] {
        assert!(!agrees(words, value), "{words} {value}");
    }
}

/// The ways to all numbers of a file.
fn numbers_of(value: &Value, way: &str, all: &mut BTreeSet<String>) {
    let below = |key: &str| if way.is_empty() { key.to_owned() } else { format!("{way}.{key}") };
    match value {
        Value::Number(_) => {
            all.insert(way.to_owned());
        }
        Value::Array(values) => {
            values.iter().enumerate().for_each(|(index, value)| numbers_of(value, &below(&index.to_string()), all));
        }
        Value::Object(object) => object.iter().for_each(|(key, value)| numbers_of(value, &below(key), all)),
        _ => {}
    }
}

/// One file of each evaluation, in the form in which each is written, and results of a kind that is not known.
fn write_results(folder: &Path) -> Vec<PathBuf> {
    let estimate = |value: f64| json!({"value": value, "interval": [value - 0.012345678901234567, value + 0.03]});
    let distances = |shift: f64| {
        json!({
            "kernel_distance": 0.0193976459590299 + shift, "kernel_distance_interval": [-0.0115624795546781, 0.0293],
            "frechet_distance": 8.350799516440247, "frechet_distance_interval": [7.56, 9.14071247278182],
            "brightness": 0.488, "contrast": 0.228, "precision": estimate(0.93), "recall": estimate(0.94),
            "density": estimate(0.96), "coverage": estimate(0.4),
        })
    };
    let set = |drawn: &str, shift: f64| {
        let mut set = distances(shift);
        (set["name"], set["drawn"]) = (format!("small-128-{drawn}-of-the-validation-images").into(), drawn.into());
        set["drift"] = json!({"num_images": 609, "brightness": estimate(-5.5e-4), "contrast": estimate(0.003),
            "left_right_consistency": estimate(0.9967159277504105)});
        set
    };
    let nearest = |mean: f64| json!({"mean": estimate(mean), "least": 0.466, "share_near": estimate(0.96)});
    let nearness = json!({
        "near": 0.938, "synthetic": nearest(0.78), "held_out": nearest(0.79), "to_seed": estimate(0.5),
        "authentic_percentage": estimate(66.3), "held_out_authentic_percentage": estimate(67.9), "data_copying": -0.0089,
    });
    let conditioning = |top: f64, free: usize| {
        json!({
            "kind": "conditioning", "features": "926592d354ce", "num_images": 609, "num_unconditional": free,
            "mean_candidates": 467.37766830870277, "top_1": top, "top_1_interval": [top - 0.02, top + 0.02],
            "top_5": 0.995, "chance": 0.004926108374384337, "similarity": 0.77, "similarity_to_another": 0.21,
        })
    };
    let rival = |name: &str, auc: f64| {
        let score = json!({"auc": auc, "interval": [auc - 0.02, auc + 0.01]});
        json!({"name": name, "dim": 192, "linear_probe": score, "nearest_neighbours": score})
    };
    let settings = json!({
        "method": {"kind": "diffseg", "threshold": 0.001}, "num_annotated": 0, "rounds": 8, "num_images": 400,
        "pass": {"timesteps": [400.0], "noise_draws": 0, "condition": "null"},
    });
    let row = |method: &str, rule: &str, dice: f64| {
        json!({
            "method": method, "rule": rule, "search_dice": dice, "settings": settings,
            "scores": {
                "num_images": 58, "num_patients": 43, "dice": estimate(dice), "intersection_over_union": estimate(0.7),
                "dice_right": estimate(0.8), "dice_left": estimate(0.8), "hausdorff_95": estimate(7.3),
                "surface_distance": estimate(2.4), "num_nothing_found": 1,
            },
        })
    };
    let against = |p: f64| {
        json!({
            "num_pairs": 5, "difference": 0.1012345678901234, "differences": [0.1, 0.11, 0.09, 0.1, 0.106],
            "interval": [0.08, 0.12], "p_value": p / 3.0, "p_adjusted": p, "p_signed_rank": 0.0625, "cohens_d": 2.5,
            "rank_biserial": 1.0,
        })
    };
    let group = |regime: &str, more: Value| {
        let mut group = json!({
            "classifier": "linear_probe", "regime": regime, "size": 50, "num_real": 50.0, "num_synthetic": 0.0,
            "num_runs": 5, "auc": 0.8219876543210987, "deviation": 0.0123, "label_aucs": [0.8, 0.81, 0.85],
        });
        let entries = more.as_object().unwrap().clone();
        group.as_object_mut().unwrap().extend(entries);
        group
    };
    let by_rule = |dice: f64| json!([{"rule": "oracle", "dice": dice}, {"rule": "unsupervised", "dice": dice / 2.0}]);
    let files = [
        (
            "fidelity.json",
            json!({
                "kind": "fidelity", "features": "926592d354ce", "network": "encoder",
                "caution": "random weights: no figure of quality", "dim": 192, "num_reference": 5061, "num_images": 609,
                "note": "609 images are few: read the kernel distance", "synthetic": [
                    set("reconstructions", 0.0), set("interpolations", 0.01),
                ],
                "held_out": distances(-0.01), "reference_brightness": 0.4899, "reference_contrast": 0.2214,
            }),
        ),
        ("with.json", conditioning(0.9523809523809523, 0)),
        ("without.json", conditioning(0.002, 609)),
        (
            "encoder.json",
            json!({
                "kind": "encoder", "encoder": "926592d354ce", "dataset": "b2e0e0ccce2a", "source": "kermany",
                "negative": "normal", "num_train": [1128, 3183], "num_val": [155, 375],
                "features": [rival("encoder", 0.9811956989247311), rival("encoder with random weights", 0.85)],
            }),
        ),
        (
            "memorisation/memorisation.json",
            json!({
                "kind": "memorisation", "features": "926592d354ce", "num_synthetic": 609, "num_train": 5061,
                "num_held_out": 609, "embeddings": nearness, "pixels": nearness, "picture": "closest-pairs.png",
            }),
        ),
        (
            "autoencoder/autoencoder.json",
            json!({
                "kind": "autoencoder", "autoencoder": "7366cd873264", "num_parameters": 2012345,
                "latent_shape": [16, 16, 16], "split": "val", "dataset": "b2e0e0ccce2a",
                "quality": {"num_images": 609, "peak_signal_to_noise": 37.6, "peak_signal_to_noise_of_worst": 34.1,
                    "structural_similarity": 0.974, "absolute_error": 0.0089, "latent_mean": -1.2e-4, "latent_std": 0.98,
                    "latent_largest": 5.5},
                "round_trip": {"features": "926592d354ce", "dim": 192, "frechet_distance": 0.2, "kernel_distance": 1e-4},
            }),
        ),
        (
            "segmentation/segmentation.json",
            json!({
                "kind": "segmentation", "model": "4df3a2d226d9", "images_seen": 160000, "dataset": "b2e0e0ccce2a",
                "search": {"images": 98, "patients": 64}, "report": {"images": 58, "patients": 43},
                "results": [row("parts", "oracle", 0.8879), row("parts on random weights", "unsupervised", 0.75)],
                "tried": [{"method": "diffseg", "mean_segments": 31.58163265306124, "dice": by_rule(0.8),
                    "settings": settings}],
                "options": [{"option": "draws of noise", "method": "diffseg", "rule": "oracle", "dice": 0.86712345,
                    "dice_without": 0.8501, "kept": true}],
                "checkpoints": [{"images_seen": 6400, "method": "parts", "dice": by_rule(0.71)}], "skipped": [],
            }),
        ),
        (
            "augmentation/augmentation.json",
            json!({
                "kind": "augmentation", "dataset": "b2e0e0ccce2a", "num_train": {"normal": 1000}, "num_finished": 30,
                "num_test": {"normal": 200}, "num_left_out": 3, "num_left_out_cells": 1, "test": "a t test",
                "groups": [group("real", json!({})), group("real_and_synthetic", json!({
                    "synthetic": "reconstruction", "ratio": 5, "against_real": against(0.031), "against_classical": against(0.2),
                }))],
                "settings": {"grid": {"num_folds": 5, "num_repeats": 1}},
            }),
        ),
        ("elsewhere/elsewhere.json", json!({"kind": "elsewhere", "auc": {"real": 0.9, "both": [0.91, 0.92]}})),
    ];
    let picture = vec![90; 64 * 900];
    for name in [
        "memorisation/closest-pairs",
        "autoencoder/reconstructions",
        "segmentation/gallery",
        "elsewhere/wide",
        "augmentation/linear_probe-real-and-synthetic",
    ] {
        let path = folder.join(name).with_extension("png");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        radiograph::write_png_u8(&path, &picture, 64, 900).unwrap();
    }
    let points = [(0.001, 0.86), (0.01, 0.8), (0.1, 0.2)];
    let axes = Axes { x: "threshold", y: "Dice", logarithmic: true };
    let chart =
        line_chart(axes, &[Series { name: "oracle", points: &points }, Series { name: "rule", points: &points }]);
    let drawing = chart.unwrap().titled("Dice against the threshold").file();
    for name in ["segmentation/dice-by-threshold", "augmentation/linear_probe-real-and-synthetic", "elsewhere/gain"] {
        fs::write(folder.join(name).with_extension("svg"), &drawing).unwrap();
    }
    let long =
        format!("# Runs\n\n| setting | AUC |\n|---|---|\n| {} | 0.9\\* |\n", "a-long-word-without-a-space-".repeat(9));
    fs::write(folder.join("augmentation/tables.md"), &long).unwrap();
    fs::write(folder.join("elsewhere/notes.md"), long).unwrap();
    let write = |(name, content): (&str, Value)| {
        let path = folder.join(name);
        fs::write(&path, serde_json::to_string_pretty(&content).unwrap()).unwrap();
        path
    };
    files.into_iter().map(write).collect()
}

fn page_of(folder: &Path) -> (String, Vec<PathBuf>) {
    let results = folder.join("results-in-a-folder-whose-name-is-longer-than-a-telephone-is-wide");
    fs::create_dir(&results).unwrap();
    let files = write_results(&results);
    super::tests::write_dataset(&folder.join("real"), false);
    super::tests::write_run(&folder.join("run"));
    let folders = vec![results, folder.join("real"), folder.join("run")];
    let mut config = ReportConfig::new(folders, folder.join("report.html"));
    config.notes = vec!["A note.".into()];
    config.timings = vec![("train".into(), 61.0)];
    let summary = run(&config, &Silent).unwrap();
    // The folder itself, five below it, conditioning, a dataset and a run.
    assert_eq!((summary.num_folders, &summary.skipped[..]), (9, &[][..]));
    (fs::read_to_string(&config.out).unwrap(), files)
}

#[test]
fn a_browser_shows_every_figure_and_asks_for_nothing() {
    if !has_chromium() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (html, files) = page_of(folder.path());
    for dark in [false, true] {
        for seen in look_at(&html, dark, folder.path()) {
            assert_eq!(complaints(&seen), [""; 0], "dark: {dark}, {} px", seen.width);
            let shown = check_numbers(&seen).unwrap();
            for path in &files {
                let mut expected = BTreeSet::new();
                numbers_of(&serde_json::from_slice(&fs::read(path).unwrap()).unwrap(), "", &mut expected);
                let found = shown.get(&path.display().to_string()).cloned().unwrap_or_default();
                let missing: Vec<_> = expected.difference(&found).collect();
                assert!(missing.is_empty(), "{} is shown without {missing:?}", path.display());
            }
        }
    }
}

/// That the checks above can fail.
#[test]
fn a_browser_finds_what_is_wrong_with_a_page() {
    if !has_chromium() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (html, _) = page_of(folder.path());
    let spoilt = |what: &str| html.replacen("</header>", &format!("{what}</header>"), 1);
    for (what, words) in [
        ("<img alt=\"x\" src=\"http://example.invalid/x.png\">", "asks for http://example.invalid/x.png"),
        ("<link rel=\"stylesheet\" href=\"beside.css\">", "asks for "),
        ("<div style=\"width:600px\">x</div>", "px wide on 390 px"),
        ("<p style=\"color:#ddd\">grey on white</p>", "grey on white"),
        ("<svg><polyline style=\"stroke:#ddd\" points=\"0,0 1,1\"/></svg>", "has lines"),
        ("<img alt=\"torn\" src=\"data:image/png;base64,AAAA\">", "broken picture: torn"),
        ("<figure>x</figure>", "without a caption"),
        ("<table><tr><td style=\"min-width:0;width:9px\">letter by letter</td><td>x</td></tr></table>", "tears letter"),
        ("<svg><text y=\"9\">one</text><text y=\"9\" x=\"5\">two</text></svg>", "over one another: one / two"),
    ] {
        let [seen, _] = look_at(&spoilt(what), false, folder.path());
        let found = complaints(&seen).join("; ");
        assert!(found.contains(words), "{what}: {found}");
    }
    let key = "data-key=\"top_1\" data-value=\"0.9523809523809523\">95.2 %";
    assert!(html.contains(key));
    for wrong in [key.replace("top_1", "top_2"), key.replace("09523\">", "09529\">"), key.replace("95.2", "95.3")] {
        let [seen, _] = look_at(&html.replace(key, &wrong), false, folder.path());
        assert!(check_numbers(&seen).is_err(), "{wrong}");
    }
}

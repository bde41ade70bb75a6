//! Of the engine, on settings of every shape that serde's derive knows.

use super::change::change;
use super::file::parse;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Everything {
    seed: u64,
    name: String,
    labels: Vec<String>,
    sizes: Vec<usize>,
    pair: [f64; 2],
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<usize>,
    #[serde(default)]
    note: Option<String>,
    optimiser: Optimiser,
    schedule: Schedule,
    method: Method,
    spacing: Spacing,
    many: Vec<Method>,
    nested: Nested,
    #[serde(default)]
    refinement: Option<Refinement>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Optimiser {
    learning_rate: f64,
    is_standardised: bool,
    centre_momentum: f32,
}

impl Default for Optimiser {
    fn default() -> Self {
        Self { learning_rate: 1e-4, is_standardised: true, centre_momentum: 0.5 }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Schedule {
    ScaledLinear(Linear),
    Flow(Flow),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Linear {
    start: f64,
    num_timesteps: usize,
}

impl Default for Linear {
    fn default() -> Self {
        Self { start: 0.5, num_timesteps: 1000 }
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Flow {
    shift: f64,
}

impl Default for Flow {
    fn default() -> Self {
        Self { shift: 1.0 }
    }
}

/// Without defaults: what a kind needs must be set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Method {
    Parts { num_parts: usize },
    Diffseg { threshold: f32 },
    NormalisedCut { alpha: f32, threshold: f64 },
    Otsu,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Spacing {
    Trailing,
    Leading {
        #[serde(default)]
        steps_offset: usize,
    },
    Linspace,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum Nested {
    Network { training: Training, width: usize, spacing: Spacing },
    Linear { strength: f64 },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Training {
    num_steps: usize,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Refinement {
    radius: usize,
    epsilon: f32,
}

fn everything() -> Everything {
    Everything {
        seed: 3,
        name: "a name".into(),
        labels: vec!["x".into(), "y".into()],
        sizes: vec![1, 2],
        pair: [0.5, 1.0],
        limit: None,
        note: None,
        optimiser: Optimiser::default(),
        schedule: Schedule::Flow(Flow { shift: 2.0 }),
        method: Method::Parts { num_parts: 64 },
        spacing: Spacing::Trailing,
        many: vec![Method::Parts { num_parts: 3 }, Method::Otsu],
        nested: Nested::Network { training: Training { num_steps: 5 }, width: 8, spacing: Spacing::Linspace },
        refinement: None,
    }
}

fn set(pairs: &[(&str, &str)]) -> anyhow::Result<Everything> {
    let pairs: Vec<_> = pairs.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    change(&everything(), &pairs)
}

/// What is changed, beginning with [`everything`].
fn with(act: impl FnOnce(&mut Everything)) -> Everything {
    let mut expected = everything();
    act(&mut expected);
    expected
}

#[test]
fn values_are_what_their_type_makes_of_them() {
    let one = |path: &str, text: &str| set(&[(path, text)]).unwrap_or_else(|error| panic!("{path}={text}: {error:#}"));
    assert_eq!(one("optimiser.learning_rate", "1"), with(|all| all.optimiser.learning_rate = 1.0));
    assert_eq!(one("optimiser.learning_rate", "1e-3"), with(|all| all.optimiser.learning_rate = 1e-3));
    assert_eq!(one("optimiser.is_standardised", "false"), with(|all| all.optimiser.is_standardised = false));
    for text in ["plain words", "\"plain words\""] {
        assert_eq!(one("name", text), with(|all| all.name = "plain words".into()));
    }
    for text in ["2017", "true", "none", "1e5", "[1]"] {
        assert_eq!(one("name", text), with(|all| all.name = text.into()), "{text}");
        let note = (text != "none").then(|| text.to_owned());
        assert_eq!(one("note", text), with(|all| all.note = note), "{text}");
    }
    assert_eq!(one("note", "\"none\""), with(|all| all.note = Some("none".into())));
    assert_eq!(one("sizes", "[4,5]"), with(|all| all.sizes = vec![4, 5]));
    assert_eq!(one("sizes.1", "7"), with(|all| all.sizes[1] = 7));
    assert_eq!(one("labels", "[a, b c]"), with(|all| all.labels = vec!["a".into(), "b c".into()]));
    assert_eq!(one("pair", "[0, 1]"), with(|all| all.pair = [0.0, 1.0]));
    assert_eq!(one("limit", "5"), with(|all| all.limit = Some(5)));
    for nothing in ["none", "null"] {
        assert_eq!(set(&[("limit", "5"), ("limit", nothing)]).unwrap(), everything());
    }
    let refinement = Some(Refinement { radius: 3, epsilon: 0.5 });
    let pairs = [("refinement.radius", "3"), ("refinement.epsilon", "0.5")];
    assert_eq!(set(&pairs).unwrap(), with(|all| all.refinement = refinement.clone()));
    assert_eq!(one("refinement", "{radius = 3, epsilon = 0.5}"), with(|all| all.refinement = refinement));
}

#[test]
fn another_kind_begins_with_its_own_defaults_and_the_same_kind_keeps_its_settings() {
    let linear = Schedule::ScaledLinear(Linear::default());
    assert_eq!(set(&[("schedule.kind", "scaled_linear")]).unwrap(), with(|all| all.schedule = linear));
    assert_eq!(set(&[("schedule.kind", "flow")]).unwrap(), everything());
    let pairs = [("schedule.kind", "scaled_linear"), ("schedule.start", "1"), ("schedule.kind", "flow")];
    assert_eq!(set(&pairs).unwrap(), with(|all| all.schedule = Schedule::Flow(Flow::default())));
    let pairs = [("method.kind", "diffseg"), ("method.threshold", "1")];
    assert_eq!(set(&pairs).unwrap(), with(|all| all.method = Method::Diffseg { threshold: 1.0 }));
    let pairs = [("many.1.kind", "normalized_cut"), ("seed", "4"), ("many.1.alpha", "1"), ("many.1.threshold", "2")];
    let cut = Method::NormalisedCut { alpha: 1.0, threshold: 2.0 };
    assert_eq!(set(&pairs).unwrap(), with(|all| (all.many[1], all.seed) = (cut, 4)));
    assert_eq!(set(&[("method.kind", "otsu")]).unwrap(), with(|all| all.method = Method::Otsu));
    assert_eq!(set(&[("nested.training.num_steps", "9")]).unwrap().nested, {
        Nested::Network { training: Training { num_steps: 9 }, width: 8, spacing: Spacing::Linspace }
    });
}

#[test]
fn choices_with_and_without_settings_are_reached() {
    let leading = |steps_offset| with(|all| all.spacing = Spacing::Leading { steps_offset });
    assert_eq!(set(&[("spacing.leading.steps_offset", "1")]).unwrap(), leading(1));
    assert_eq!(set(&[("spacing", "leading")]).unwrap(), leading(0));
    assert_eq!(set(&[("spacing", "{leading = {steps_offset = 2}}")]).unwrap(), leading(2));
    let pairs = [("nested.spacing.leading.steps_offset", "1"), ("nested.spacing.leading.steps_offset", "2")];
    let Nested::Network { spacing, .. } = set(&pairs).unwrap().nested else { panic!("another kind") };
    assert_eq!(spacing, Spacing::Leading { steps_offset: 2 });
    let pairs = [("spacing.leading.steps_offset", "1"), ("spacing", "linspace")];
    assert_eq!(set(&pairs).unwrap(), with(|all| all.spacing = Spacing::Linspace));
}

#[test]
fn both_spellings_are_understood_in_paths_values_and_files() {
    assert_eq!(set(&[("optimizer.learning_rate", "1")]).unwrap().optimiser.learning_rate, 1.0);
    assert!(!set(&[("optimizer.is_standardized", "false")]).unwrap().optimiser.is_standardised);
    assert_eq!(set(&[("optimizer", "{center_momentum = 1}")]).unwrap().optimiser.centre_momentum, 1.0);
    let text = toml::to_string(&everything()).unwrap();
    let american =
        text.replace("optimiser", "optimizer").replace("centre", "center").replace("standardis", "standardiz");
    assert_ne!(text, american);
    assert_eq!(parse::<Everything>(&american).unwrap(), everything());
}

#[test]
fn what_is_wrong_is_said_with_what_was_meant() {
    for (pairs, parts) in [
        (
            &[("optimiser.learning_rte", "1")][..],
            &["no setting `optimiser.learning_rte`", "did you mean `optimiser.learning_rate`?", "is_standardised"][..],
        ),
        (&[("optimsier.learning_rate", "1")], &["did you mean `optimiser.learning_rate`?", "there are seed, name"]),
        (&[("learning_rate", "1")], &["did you mean `optimiser.learning_rate`?"]),
        (&[("optimiser.learning_rate", "fast")], &["`fast` does not fit `optimiser.learning_rate`", "a number"]),
        (&[("seed", "-1")], &["`-1` does not fit `seed`", "whole number, 0 or more"]),
        (&[("seed", "1.5")], &["`1.5` does not fit `seed`"]),
        (&[("seed", "none")], &["does not fit `seed`"]),
        (&[("seed.x", "1")], &["`seed` is a value and no section"]),
        (&[("schedule.kind", "scaled_liner")], &["did you mean `scaled_linear`?", "scaled_linear, flow"]),
        (
            &[("schedule.start", "1")],
            &["`schedule` has kind, shift", "kinds that have it are scaled_linear: set `schedule.kind`"],
        ),
        (&[("method.kind", "diffseg")], &["`method.threshold` has no default", "`method.threshold=...`"]),
        (
            &[("method.kind", "otsu"), ("method.threshold", "1")],
            &["no setting `method.threshold`", "diffseg, normalised_cut"],
        ),
        (&[("spacing.leding.steps_offset", "1")], &["did you mean `spacing.leading.steps_offset`?"]),
        (&[("spacing.leading.offset", "1")], &["`spacing.leading` has steps_offset"]),
        (&[("spacing", "trialing")], &["did you mean `trailing`?"]),
        (&[("many.2.kind", "otsu")], &["a number from 0 to 1"]),
        (&[("pair", "[1]")], &["does not fit `pair`", "a list of 2"]),
        (&[("sizes", "7")], &["does not fit `sizes`", "a list"]),
        (&[("refinement.radius", "3")], &["`refinement.epsilon` has no default"]),
        (&[("optimiser", "{learning_rte = 1}")], &["did you mean `optimiser.learning_rate`?"]),
        (&[("optimiser", "7")], &["`7` does not fit `optimiser`", "a section of settings"]),
    ] {
        let error = format!("{:#}", set(pairs).expect_err(&format!("{pairs:?}")));
        for part in parts {
            assert!(error.contains(part), "{pairs:?} should say {part:?}: {error}");
        }
    }
}

#[test]
fn files_say_the_line() {
    let text = toml::to_string(&everything()).unwrap();
    for (from, to, part) in [
        ("learning_rate = 0.0001", "learning_rte = 1", "did you mean `optimiser.learning_rate`?"),
        ("learning_rate = 0.0001", "learning_rate = \"fast\"", "`fast` does not fit `optimiser.learning_rate`"),
        ("shift = 2.0", "shifd = 2.0", "did you mean `schedule.shift`?"),
        ("num_steps = 5", "num_stepz = 5", "num_steps"),
        ("kind = \"flow\"", "kind = \"flaw\"", "did you mean `flow`?"),
        ("spacing = \"trailing\"", "spacing = \"trialing\"", "did you mean `trailing`?"),
        ("num_parts = 3", "num_pards = 3", "num_parts"),
        ("seed = 3", "seed = ", ""),
    ] {
        assert!(text.contains(from), "{from}: {text}");
        // In either spelling of the sections.
        for spelled in [&text, &text.replace("optimiser", "optimizer")] {
            let changed = spelled.replacen(from, to, 1);
            let line = changed.lines().position(|line| line == to).unwrap() + 1;
            let error = format!("{:#}", parse::<Everything>(&changed).unwrap_err());
            assert!(error.starts_with(&format!("line {line}: ")) && error.contains(part), "{to}, line {line}: {error}");
            assert!(!error.contains('\n'), "{error}");
        }
    }
    let printed = format!("out = \"x\"\n[recipe]\n{}", text.replace("[", "[recipe."));
    let printed = printed.replace("[recipe.[recipe.", "[[recipe.").replace("= [recipe.", "= [");
    assert_eq!(parse::<Everything>(&printed).unwrap(), everything(), "{printed}");
}

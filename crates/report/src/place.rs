//! Values of a result file on their way into the page: each number carries the way to where it stands in the file and
//! all its digits, so that what the page shows can be read back and compared.

use serde_json::{Map, Value};

use super::page::{Markup, escape, finished_facts};
use charts::number;

/// Longer lists of a file are counted instead of shown, where they are shown without knowing what they are.
const MOST_ENTRIES: usize = 12;

/// A place in a JSON file, which may be empty, and the way to it: keys and numbers, joined by dots.
#[derive(Debug, Clone)]
pub(super) struct Place<'a> {
    value: Option<&'a Value>,
    way: String,
}

/// How a number is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// See [`number`].
    Plain,
    /// With so many decimals.
    Decimals(usize),
    /// A share, as a percentage with one decimal.
    Percent,
}

impl Style {
    fn write(self, value: f64) -> String {
        match self {
            Self::Plain => number(value),
            Self::Decimals(decimals) => format!("{value:.decimals$}"),
            Self::Percent => format!("{:.1} %", 100.0 * value),
        }
    }
}

/// A JSON text whose numbers come back as they were written: `serde_json` reads them to the last bit.
///
/// # Errors
/// A text that is no JSON.
pub(super) fn read(text: &str) -> serde_json::Result<Value> {
    serde_json::from_str(text)
}

/// What stands where a file has nothing.
const ABSENT: &str = "–";

impl<'a> Place<'a> {
    /// The whole file, as [`read`] gives it.
    pub fn root(file: &'a Value) -> Self {
        Self { value: Some(file), way: String::new() }
    }

    /// The entry with this key of an object.
    pub fn get(&self, key: &str) -> Self {
        Self { value: self.value.and_then(|value| value.get(key)), way: self.below(key) }
    }

    /// The entries of a list; none where this is no list.
    pub fn entries(&self) -> Vec<Self> {
        let values = self.value.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        values.iter().enumerate().map(|(index, value)| self.entry(index, value)).collect()
    }

    fn entry(&self, index: usize, value: &'a Value) -> Self {
        Self { value: Some(value), way: self.below(&index.to_string()) }
    }

    fn below(&self, key: &str) -> String {
        if self.way.is_empty() { key.to_owned() } else { format!("{}.{key}", self.way) }
    }

    pub fn exists(&self) -> bool {
        self.value.is_some_and(|value| !value.is_null())
    }

    pub fn is_true(&self) -> bool {
        self.value.and_then(Value::as_bool).unwrap_or(false)
    }

    pub fn number(&self) -> Option<f64> {
        self.value.and_then(Value::as_f64)
    }

    /// All of a number's digits.
    fn digits(&self) -> Option<String> {
        match self.value {
            Some(Value::Number(number)) => Some(number.to_string()),
            _ => None,
        }
    }

    pub fn text(&self) -> Option<&'a str> {
        self.value.and_then(Value::as_str)
    }

    /// Text, or a dash.
    pub fn words(&self) -> Markup {
        Markup::text(self.text().unwrap_or(ABSENT))
    }

    /// The number, or a dash.
    pub fn written(&self, style: Style) -> Markup {
        self.tagged("data", style)
    }

    fn tagged(&self, tag: &str, style: Style) -> Markup {
        let Some((exact, value)) = self.digits().zip(self.number()) else {
            return Markup::text(ABSENT);
        };
        // What HTML calls the machine-readable value of `data`; SVG has none.
        let standard = if tag == "data" { format!(" value=\"{exact}\"") } else { String::new() };
        Markup(format!(
            "<{tag}{standard} data-key=\"{}\" data-value=\"{exact}\">{}</{tag}>",
            escape(&self.way),
            style.write(value)
        ))
    }

    /// Whatever is here, without knowing what it is: numbers and text, one row for each.
    pub fn everything(&self) -> String {
        let mut rows = Vec::new();
        self.collect(&mut rows);
        finished_facts(&rows)
    }

    /// The same for a few settings, in one line.
    pub fn in_one_line(&self) -> Markup {
        let mut rows = Vec::new();
        self.collect(&mut rows);
        let below = |way: &str| way.strip_prefix(&self.way).unwrap_or(way).trim_start_matches('.').to_owned();
        let written = rows.into_iter().map(|(way, Markup(value))| format!("{} {value}", escape(&below(&way))));
        Markup(written.collect::<Vec<_>>().join("; "))
    }

    fn collect(&self, rows: &mut Vec<(String, Markup)>) {
        match self.value {
            Some(Value::Object(object)) => self.collect_object(object, rows),
            Some(Value::Array(values)) => self.collect_list(values, rows),
            Some(Value::Number(_)) => rows.push((self.way.clone(), self.written(Style::Plain))),
            Some(Value::String(text)) => rows.push((self.way.clone(), Markup::text(text))),
            Some(Value::Bool(value)) => rows.push((self.way.clone(), Markup::text(value.to_string()))),
            Some(Value::Null) | None => {}
        }
    }

    fn collect_object(&self, object: &'a Map<String, Value>, rows: &mut Vec<(String, Markup)>) {
        for (key, value) in object {
            Self { value: Some(value), way: self.below(key) }.collect(rows);
        }
    }

    fn collect_list(&self, values: &'a [Value], rows: &mut Vec<(String, Markup)>) {
        match () {
            () if values.len() > MOST_ENTRIES => {
                rows.push((self.way.clone(), Markup::text(format!("a list of {} entries", values.len()))));
            }
            () if values.iter().all(|value| value.is_string() || value.is_number()) => {
                let written: Vec<String> = self
                    .entries()
                    .iter()
                    .map(|entry| if entry.text().is_some() { entry.words() } else { entry.written(Style::Plain) }.0)
                    .collect();
                rows.push((self.way.clone(), Markup(written.join(", "))));
            }
            () => self.entries().iter().for_each(|entry| entry.collect(rows)),
        }
    }
}

/// A figure with its interval.
#[derive(Debug, Clone)]
pub(super) struct Measure<'a> {
    pub value: Place<'a>,
    ends: Vec<Place<'a>>,
}

impl<'a> Measure<'a> {
    /// An object with the figure under `name` and its interval beside it.
    pub fn of(place: &Place<'a>, name: &str) -> Self {
        Self { value: place.get(name), ends: place.get("interval").entries() }
    }

    /// The figure `name` whose interval, if it has one, is called after it.
    pub fn beside(place: &Place<'a>, name: &str) -> Self {
        Self { value: place.get(name), ends: place.get(&format!("{name}_interval")).entries() }
    }

    /// Whatever form it has: an object with `value` and `interval`, or a number with an interval beside it, or a number.
    pub fn any(place: &Place<'a>, name: &str) -> Self {
        let here = place.get(name);
        if here.get("value").exists() { Self::of(&here, "value") } else { Self::beside(place, name) }
    }

    pub fn interval(&self) -> Option<[f64; 2]> {
        let [low, high] = &self.ends[..] else { return None };
        Some([low.number()?, high.number()?])
    }

    /// `0.835 (0.825 to 0.845)`
    pub fn written(&self, style: Style) -> Markup {
        self.tagged("data", style)
    }

    /// The same for a chart, where elements have other names.
    pub fn written_in_chart(&self, style: Style) -> Markup {
        self.tagged("tspan", style)
    }

    fn tagged(&self, tag: &str, style: Style) -> Markup {
        let Markup(value) = self.value.tagged(tag, style);
        let ([low, high], Some(_)) = (&self.ends[..], self.interval()) else { return Markup(value) };
        // The unit stands with the figure; ends that are written as percentages need none.
        let [low, high] = [low, high].map(|end| end.tagged(tag, style).0);
        let around = if tag == "data" { "span" } else { "tspan" };
        Markup(format!("{value} <{around} class=\"interval\">({low} to {high})</{around}>"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn file(content: Value) -> Value {
        read(&content.to_string()).unwrap()
    }

    #[test]
    fn numbers_come_back_to_the_last_bit() {
        // Halfway cases and neighbours, which a quick conversion rounds wrongly.
        let values: [f64; 6] =
            [0.9523809523809523, -0.1234567890123457, 1e-7, 5e-324, 1.7976931348623157e308, 9007199254740993.0];
        let text = serde_json::to_string(&values).unwrap();
        let file = read(&text).unwrap();
        let root = Place { value: Some(&file), way: String::new() };
        let entries = root.entries();
        for (entry, value) in entries.iter().zip(values) {
            assert_eq!(entry.number().map(f64::to_bits), Some(value.to_bits()), "{value}");
            assert_eq!(entry.digits().unwrap().parse(), Ok(value));
        }
        assert_eq!(entries[0].written(Style::Decimals(5)).0.matches("0.9523809523809523").count(), 2);
        assert!(read("{\"a\": 1-2}").is_err());
    }

    #[test]
    fn every_number_carries_its_digits_and_the_way_to_it() {
        let file = file(json!({"a": {"b": [1, {"c": 0.123456789012345}]}, "d<": "x"}));
        let root = Place::root(&file);
        let place = root.get("a").get("b").entries()[1].get("c");
        assert_eq!(
            place.written(Style::Percent).0,
            "<data value=\"0.123456789012345\" data-key=\"a.b.1.c\" data-value=\"0.123456789012345\">12.3 %</data>"
        );
        assert!(!place.tagged("tspan", Style::Plain).0.contains(" value="));
        assert_eq!(root.get("a").get("missing").written(Style::Plain).0, ABSENT);
        let all = root.everything();
        assert!(all.contains("data-key=\"a.b.0\"") && all.contains("data-key=\"a.b.1.c\""), "{all}");
        assert!(all.contains("d&lt;"), "{all}");
    }

    #[test]
    fn intervals_are_found_in_each_form_that_results_have() {
        let file = file(json!({
            "a": {"value": 0.5, "interval": [0.25, 0.75]}, "b": 0.5, "b_interval": [0.25, 0.75], "c": 0.5
        }));
        let root = Place::root(&file);
        for (name, interval) in [("a", Some([0.25, 0.75])), ("b", Some([0.25, 0.75])), ("c", None), ("d", None)] {
            assert_eq!(Measure::any(&root, name).interval(), interval, "{name}");
        }
        let written = Measure::any(&root, "a").written(Style::Decimals(2)).0;
        assert!(written.contains("data-key=\"a.value\"") && written.contains("data-key=\"a.interval.1\""), "{written}");
    }

    #[test]
    fn long_lists_are_counted() {
        let file = file(json!({"list": vec![1; 100], "short": [1, 2]}));
        let all = Place::root(&file).everything();
        assert!(all.contains("a list of 100 entries") && all.contains("data-key=\"short.1\""), "{all}");
    }
}

//! What a cell says: nothing, a number as pandas and spreadsheets write it, or a word.

use dataset::canonical_patient;

use crate::presets::State;

/// What stands for a missing value, in any case: of pandas' list all but `NA`, and the errors of spreadsheets.
const MISSING: [&str; 21] = [
    "nan", "-nan", "none", "null", "n/a", "<na>", "#n/a", "#n/a n/a", "#na", "nat", "1.#ind", "-1.#ind", "1.#qnan",
    "-1.#qnan", "#value!", "#ref!", "#name?", "#num!", "#null!", "#div/0!", "<null>",
];

/// The cell without blanks around it; none where it says nothing.
pub(crate) fn filled(cell: &str) -> Option<&str> {
    let cell = cell.trim();
    let is_missing = cell.is_empty()
        // `Na` is a name.
        || matches!(cell, "NA" | "na")
        || MISSING.iter().any(|missing| missing.eq_ignore_ascii_case(cell));
    (!is_missing).then_some(cell)
}

/// A whole number without the point, or with `has_decimal_commas` the comma, and the zeros behind it: `12.0` is `12`.
/// Anything else as it is. Zeros before the number stay: they may tell identifiers apart.
pub(crate) fn whole_number(text: &str, has_decimal_commas: bool) -> &str {
    let text = text.trim();
    if let Some((number, zeros)) = text.split_once(',').filter(|_| has_decimal_commas) {
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        return if is_number && zeros.bytes().all(|byte| byte == b'0') { number } else { text };
    }
    canonical_patient(text)
}

/// A patient's identifier; none where the cell says nothing.
pub(crate) fn identifier(cell: &str, has_decimal_commas: bool) -> Option<String> {
    filled(cell).map(|cell| whole_number(cell, has_decimal_commas).to_owned())
}

/// Whether an identifier is a number as spreadsheets show long ones, `1.23E+11`: its other digits are lost.
pub(crate) fn is_scientific(text: &str) -> bool {
    let Some((number, exponent)) = text.split_once(['e', 'E']) else { return false };
    let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_number = match number.split_once(['.', ',']) {
        Some((whole, fraction)) => is_digits(whole) && is_digits(fraction),
        None => false,
    };
    is_number && is_digits(exponent)
}

/// A cell of a column that is about one finding, or of one that holds words.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value {
    /// The cell says nothing.
    Missing,
    /// 1, 0, -1; true and false; yes and no.
    State(State),
    /// Another whole number.
    Integer,
    /// Another number.
    Fraction,
    /// Anything else.
    Word,
}

/// What a cell holds.
pub(crate) fn value(cell: &str, has_decimal_commas: bool) -> Value {
    let Some(cell) = filled(cell) else { return Value::Missing };
    for (words, state) in [(["true", "yes"], State::Positive), (["false", "no"], State::Negative)] {
        if words.iter().any(|word| word.eq_ignore_ascii_case(cell)) {
            return Value::State(state);
        }
    }
    let is_number = cell
        .bytes()
        .all(|byte| byte.is_ascii_digit() || b"+-.".contains(&byte) || (has_decimal_commas && byte == b','));
    match if is_number { cell.replace(',', ".").parse::<f64>() } else { return Value::Word } {
        Ok(1.0) => Value::State(State::Positive),
        Ok(0.0) => Value::State(State::Negative),
        Ok(-1.0) => Value::State(State::Uncertain),
        Ok(number) if number.fract() == 0.0 => Value::Integer,
        Ok(_) => Value::Fraction,
        Err(_) => Value::Word,
    }
}

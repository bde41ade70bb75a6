//! Changes settings by paths and what was typed for them.
//!
//! Types say what exists: a tree with an unknown key, or an unknown word, is read, and the problem names what is known.
//! So optional settings, the settings of another kind and the choices of an enum are found without a list of them.

use anyhow::{Context as _, Result, anyhow, bail};
use serde::{Serialize, de::DeserializeOwned};
use toml::{Table, Value};

use super::reader::{Problem, Reason, UNKNOWN, read, read_first};
use super::sentence::{did_you_mean, sentence};
use super::tree::{each_table, get, paths, put, remove, value_at};
use super::words::{EARLIER, nearest_all, same_word};

/// Spellings in one tree that are put right before something else must be wrong.
const MOST_SPELLINGS: usize = 1000;

/// Settings changed by `(path.to.key, value)` pairs, from left to right.
///
/// # Errors
/// A key that does not exist, with what does and what was probably meant; a value that a setting cannot have; a setting
/// without a default that is still missing when all is set.
pub fn change<T: Serialize + DeserializeOwned + Clone>(settings: &T, overrides: &[(String, String)]) -> Result<T> {
    if overrides.is_empty() {
        return Ok(settings.clone());
    }
    let tree = Table::try_from(settings).context("the settings cannot be written as TOML")?;
    let mut changing = Changing::<T> { tree, settings: Some(settings.clone()) };
    for (path, text) in overrides {
        changing.set(path, text).with_context(|| format!("`--set {path}={text}` is not possible"))?;
    }
    match changing.settings {
        Some(settings) => Ok(settings),
        None => Ok(read(&changing.tree).map_err(|problem| anyhow!(sentence(&problem, &changing.tree)))?),
    }
}

/// As [`change`]; a path that begins with a key of `section` may leave the section's name out.
///
/// # Errors
/// Those of [`change`].
pub fn change_within<T: Serialize + DeserializeOwned + Clone>(
    settings: &T,
    section: &str,
    overrides: &[(String, String)],
) -> Result<T> {
    if overrides.is_empty() {
        return Ok(settings.clone());
    }
    let tree = Table::try_from(settings).context("the settings cannot be written as TOML")?;
    let known = |place: &[String]| keys_at::<T>(&tree, place).map(|known| known.names).unwrap_or_default();
    let (inside, beside) = (known(&[section.to_owned()]), known(&[]));
    let full = |(path, text): &(String, String)| {
        let key = path.split('.').next().unwrap_or_default().trim();
        let is_beside = same_word(key, &beside).is_some()
            || (nearest_all(key, inside.iter().copied()).is_empty()
                && !nearest_all(key, beside.iter().copied()).is_empty());
        let is_inside = same_word(key, &inside).is_some() || !is_beside;
        (if is_inside { format!("{section}.{path}") } else { path.clone() }, text.clone())
    };
    let overrides: Vec<(String, String)> = overrides.iter().map(full).collect();
    // What was left out is left out of the answer.
    let shorter = |error: anyhow::Error| {
        let text = format!("{error:#}").replace(&format!("--set {section}."), "--set ");
        anyhow!(text.replace(&format!("`{section}."), "`"))
    };
    change(settings, &overrides).map_err(shorter)
}

/// Reads a tree after putting spellings right in it.
pub(super) fn settle<T: DeserializeOwned>(tree: &mut Table, place: &[String]) -> Result<T, Problem> {
    let mut outcome = read_first(tree, place).0;
    for _ in 0..MOST_SPELLINGS {
        let Err(problem) = &outcome else { break };
        if !respell(tree, problem) {
            break;
        }
        outcome = read_first(tree, place).0;
    }
    outcome
}

/// Puts right what a problem complains of, if it is a matter of spelling.
fn respell(tree: &mut Table, problem: &Problem) -> bool {
    let mut changed = false;
    match &problem.reason {
        Reason::Key { key, known } => {
            let Some(right) = same_word(key, known) else { return false };
            // Inside an enum with a tag the place is that of the enum: the key may lie deeper.
            each_table(tree, &problem.path, &mut |table| {
                if !changed
                    && !table.contains_key(right)
                    && let Some(mut value) = table.remove(key)
                {
                    if let Value::Table(section) = &mut value
                        && let Some((_, _, kind)) = EARLIER.iter().find(|(earlier, ..)| earlier == key)
                        && !section.contains_key("kind")
                    {
                        section.insert("kind".to_owned(), (*kind).into());
                    }
                    table.insert(right.to_owned(), value);
                    changed = true;
                }
            });
        }
        Reason::Word { word, known } => {
            let Some(right) = same_word(word, known) else { return false };
            let put_right = |value: &mut Value| match value {
                Value::String(text) if text == word => {
                    right.clone_into(text);
                    true
                }
                _ => false,
            };
            if value_at(tree, &problem.path).is_some_and(put_right) {
                return true;
            }
            each_table(tree, &problem.path, &mut |table| {
                changed |= !changed && table.iter_mut().any(|(_, value)| put_right(value));
                // A choice with settings of its own is the key of a section.
                if !changed && let Some(value) = table.remove(word) {
                    table.insert(right.to_owned(), value);
                    changed = true;
                }
            });
        }
        _ => {}
    }
    changed
}

/// What may follow a place in a path.
#[derive(Debug)]
pub struct Known {
    /// Of keys or choices.
    pub names: Vec<&'static str>,
    /// The names are choices of an enum, of which a section holds one.
    pub are_choices: bool,
    /// The key that says which kind of thing it is, and so which others there are.
    pub tag: Option<&'static str>,
}

/// Asks the types: a section with an unknown key meets its name there. Nothing where a value stands that is no section, or
/// where any key is allowed.
pub fn keys_at<T: DeserializeOwned>(tree: &Table, place: &[String]) -> Option<Known> {
    let unknown = (UNKNOWN.to_owned(), Value::Boolean(true));
    let ask = |section: Table| {
        let mut tree = tree.clone();
        if place.is_empty() {
            tree.extend(section)
        } else {
            put(&mut tree, place, section.into())
        }
        read_first::<T>(&tree, place)
    };
    let mut section = match get(tree, place) {
        Some(Value::Table(section)) => section.clone(),
        _ => Table::new(),
    };
    section.extend([unknown.clone()]);
    let (outcome, decides_late) = ask(section);
    let alone = ask(Table::from_iter([unknown])).0.map(|_| ());
    let tag = match &alone {
        Err(Problem { reason: Reason::Missing(tag), path }) if decides_late && !place.is_empty() && path == place => {
            Some(*tag)
        }
        _ => None,
    };
    let (names, are_choices): (&[_], _) = match (outcome.map(|_| ()), alone) {
        (Err(Problem { reason: Reason::Key { key, known }, .. }), _) if key == UNKNOWN => (known, false),
        // Inside an enum with a tag, a choice may have one entry only.
        (Err(Problem { reason: Reason::Word { word, known }, .. }), _)
        | (_, Err(Problem { reason: Reason::Word { word, known }, .. }))
            if word == UNKNOWN =>
        {
            (known, true)
        }
        // A kind without settings accepts any, and ignores them.
        _ if tag.is_some() => (&[], false),
        _ => return None,
    };
    let names = tag.into_iter().chain(names.iter().copied().filter(|name| Some(*name) != tag)).collect();
    Some(Known { names, are_choices, tag })
}

/// The kinds that an enum with a tag has.
pub fn kinds_at<T: DeserializeOwned>(tree: &Table, place: &[String], tag: &str) -> &'static [&'static str] {
    let mut tree = tree.clone();
    put(&mut tree, place, Table::from_iter([(tag.to_owned(), Value::from(UNKNOWN))]).into());
    match read_first::<T>(&tree, place).0.map(|_| ()) {
        Err(Problem { reason: Reason::Word { known, .. }, .. }) => known,
        _ => &[],
    }
}

/// Settings that are being changed.
struct Changing<T> {
    tree: Table,
    /// What the tree says; nothing while a setting without a default is missing.
    settings: Option<T>,
}

impl<T: Serialize + DeserializeOwned> Changing<T> {
    fn set(&mut self, path: &str, text: &str) -> Result<()> {
        let place = self.resolve(path)?;
        if let Some((key, parents)) = place.split_last()
            && keys_at::<T>(&self.tree, parents).is_some_and(|known| known.tag == Some(key))
        {
            return self.set_kind(parents, key, text);
        }
        let mut first_problem = None;
        for value in candidates(text) {
            let mut tree = self.tree.clone();
            let is_none = value.is_none();
            match value {
                Some(value) => put(&mut tree, &place, value),
                None => remove(&mut tree, &place),
            }
            match self.accept(tree, &place, is_none) {
                Ok(()) => return Ok(()),
                // Not every setting can be none.
                Err(_) if is_none => {}
                Err(problem) => first_problem = first_problem.or(Some(problem)),
            }
        }
        Err(first_problem.unwrap_or_else(|| anyhow!("the setting takes no such value")))
    }

    /// Another kind begins with its own defaults; the same kind keeps its settings.
    fn set_kind(&mut self, section: &[String], tag: &str, text: &str) -> Result<()> {
        let word = text.trim_matches('"');
        let kinds = kinds_at::<T>(&self.tree, section, tag);
        let kind = same_word(word, kinds).unwrap_or(word);
        let place = [section, &[tag.to_owned()]].concat();
        if get(&self.tree, &place).and_then(Value::as_str) == Some(kind) {
            return Ok(());
        }
        let mut tree = self.tree.clone();
        put(&mut tree, section, Table::from_iter([(tag.to_owned(), Value::from(kind))]).into());
        self.accept(tree, &place, false)
    }

    /// Takes a tree over if it can be read, or if nothing is wrong with it but that a setting is missing.
    fn accept(&mut self, mut tree: Table, place: &[String], is_none: bool) -> Result<()> {
        match settle::<T>(&mut tree, place) {
            Ok(settings) => {
                let written = Table::try_from(&settings).context("the settings cannot be written as TOML")?;
                if is_none && get(&written, place).is_some() {
                    bail!("`{}` cannot be none", place.join("."));
                }
                self.refuse_ignored(&tree, &written, place, is_none)?;
                (self.tree, self.settings) = (written, Some(settings));
                Ok(())
            }
            Err(Problem { reason: Reason::Missing(key), path })
                if is_none && place.last().is_some_and(|last| last == key) && place.starts_with(&path) =>
            {
                bail!("`{}` cannot be none", place.join("."))
            }
            Err(Problem { reason: Reason::Missing(_), .. }) => {
                (self.tree, self.settings) = (tree, None);
                Ok(())
            }
            Err(problem) => Err(anyhow!(sentence(&problem, &tree))),
        }
    }

    /// A kind without settings of its own reads any, silently.
    fn refuse_ignored(&self, tree: &Table, written: &Table, place: &[String], is_none: bool) -> Result<()> {
        let Some((key, parents)) = place.split_last() else { return Ok(()) };
        let is_lost = !is_none
            && matches!((get(tree, parents), get(written, parents)),
            (Some(Value::Table(typed)), Some(Value::Table(kept))) if typed.contains_key(key) && !kept.contains_key(key));
        if is_lost {
            bail!("`{}` has no setting `{key}`", parents.join("."));
        }
        Ok(())
    }

    /// The place that a path means, in the right spelling. Choices on the way are made: `spacing.leading.steps_offset`
    /// chooses `leading`.
    fn resolve(&mut self, path: &str) -> Result<Vec<String>> {
        let mut place: Vec<String> = Vec::new();
        for typed in path.split('.').map(str::trim) {
            let shown = if place.is_empty() { "the settings".to_owned() } else { format!("`{}`", place.join(".")) };
            let node = get(&self.tree, &place);
            match node {
                Some(Value::Table(table)) if table.contains_key(typed) => {}
                None if place.is_empty() && self.tree.contains_key(typed) => {}
                Some(Value::Array(items)) => {
                    if typed.parse::<usize>().is_ok_and(|number| number < items.len()) {
                        place.push(typed.to_owned());
                        continue;
                    }
                    match items.len() {
                        0 => bail!("{shown} is an empty list; give all of it, as in `[...]`"),
                        len => {
                            bail!("{shown} is a list; give all of it, as in `[...]`, or a number from 0 to {}", len - 1)
                        }
                    }
                }
                _ => {
                    let Some(known) = keys_at::<T>(&self.tree, &place) else {
                        bail!("{shown} is a value and no section, so it has no `{typed}`");
                    };
                    let Some(name) = same_word(typed, &known.names) else {
                        return Err(self.unknown_key(&place, typed, path, &known));
                    };
                    let chosen = [place.as_slice(), &[name.to_owned()]].concat();
                    if known.are_choices && get(&self.tree, &chosen).is_none() {
                        let choice = Table::from_iter([(name.to_owned(), Table::new().into())]);
                        put(&mut self.tree, &place, choice.into());
                    }
                    place = chosen;
                    continue;
                }
            }
            place.push(typed.to_owned());
        }
        Ok(place)
    }

    /// Says what there is, and what was probably meant.
    fn unknown_key(&self, place: &[String], typed: &str, path: &str, known: &Known) -> anyhow::Error {
        let in_section = |key: &str| [place, &[key.to_owned()]].concat().join(".");
        let rest: String = path.split('.').skip(place.len() + 1).map(|key| format!(".{key}")).collect();
        let near = nearest_all(typed, known.names.iter().copied());
        let mut advice: Vec<String> = near.into_iter().map(|name| in_section(name) + &rest).collect();
        if advice.is_empty() {
            // The right key under another section.
            let last = path.rsplit('.').next();
            advice = paths(&self.tree).into_iter().filter(|path| path.rsplit('.').next() == last).take(3).collect();
        }
        let advice = did_you_mean(&advice);
        let of_others: Vec<&str> = known.tag.map_or_else(Vec::new, |tag| {
            let has = |kind: &&&str| {
                let mut tree = self.tree.clone();
                put(&mut tree, place, Table::from_iter([(tag.to_owned(), Value::from(**kind))]).into());
                keys_at::<T>(&tree, place).is_some_and(|known| same_word(typed, &known.names).is_some())
            };
            kinds_at::<T>(&self.tree, place, tag).iter().filter(has).copied().collect()
        });
        let of_others = match (known.tag, of_others.is_empty()) {
            (Some(tag), false) => {
                format!("; kinds that have it are {}: set `{}` before it", of_others.join(", "), in_section(tag))
            }
            _ => String::new(),
        };
        let whose = if place.is_empty() { "there are".to_owned() } else { format!("`{}` has", place.join(".")) };
        let names = known.names.join(", ");
        anyhow!("there is no setting `{}`; {advice}{whose} {names}{of_others}", in_section(typed))
    }
}

/// What a text may stand for, the likeliest first: nothing, a TOML value, a list of words, a text. The type decides.
fn candidates(text: &str) -> Vec<Option<Value>> {
    let mut all = Vec::new();
    if ["none", "null"].contains(&text) {
        all.push(None);
    }
    all.extend(as_toml(text).map(Some));
    if let Some(words) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let items = words.split(',').map(str::trim).filter(|word| !word.is_empty());
        all.push(Some(items.map(|word| as_toml(word).unwrap_or_else(|| word.into())).collect::<Vec<Value>>().into()));
    }
    all.push(Some(text.into()));
    all
}

fn as_toml(text: &str) -> Option<Value> {
    let mut table = toml::from_str::<Table>(&format!("value = {text}")).ok().filter(|table| table.len() == 1)?;
    table.remove("value")
}

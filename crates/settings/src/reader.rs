//! Reads settings out of a TOML tree, and says where and why that fails in parts that can be looked at.
//!
//! serde's own deserialiser of TOML puts reasons into words. Here they stay what they are: the path, the key or word that
//! is not known, and what would be. That is what suggestions, the other spelling and the default of another kind need.

use std::cell::Cell;
use std::fmt;

use serde::Deserializer;
use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, EnumAccess, Expected, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};
use toml::{Table, Value};

/// A key that nothing is called: what it meets says which keys there are.
pub(super) const UNKNOWN: &str = "\u{1}";

/// Why a tree is not such settings.
#[derive(Debug, Clone)]
pub(super) struct Problem {
    /// The place. Inside an enum with a tag it is the place of the enum: serde reads its content later.
    pub path: Vec<String>,
    pub reason: Reason,
}

#[derive(Debug, Clone)]
pub(super) enum Reason {
    /// A section has no such key.
    Key { key: String, known: &'static [&'static str] },
    /// A choice has no such word.
    Word { word: String, known: &'static [&'static str] },
    /// A key without a default is absent.
    Missing(&'static str),
    /// A value of another type or range.
    Value { found: String, wanted: String },
    /// What a type says about itself.
    Other(String),
}

impl Problem {
    fn new(reason: Reason) -> Self {
        Self { path: Vec::new(), reason }
    }

    fn inside(mut self, key: &str) -> Self {
        self.path.insert(0, key.to_owned());
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{self:?}")
    }
}

impl std::error::Error for Problem {}

impl de::Error for Problem {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(Reason::Other(message.to_string()))
    }

    fn invalid_type(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::new(Reason::Value { found: found.to_string(), wanted: wanted.to_string() })
    }

    fn invalid_value(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::invalid_type(found, wanted)
    }

    fn invalid_length(length: usize, wanted: &dyn Expected) -> Self {
        Self::new(Reason::Value { found: format!("a list of {length}"), wanted: wanted.to_string() })
    }

    fn unknown_field(key: &str, known: &'static [&'static str]) -> Self {
        Self::new(Reason::Key { key: key.to_owned(), known })
    }

    fn unknown_variant(word: &str, known: &'static [&'static str]) -> Self {
        Self::new(Reason::Word { word: word.to_owned(), known })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::new(Reason::Missing(key))
    }
}

/// Reads settings.
///
/// # Errors
/// The first problem.
pub(super) fn read<T: DeserializeOwned>(tree: &Table) -> Result<T, Problem> {
    read_first(tree, &[]).0
}

/// The same, where what stands at `place` is read before everything beside it, so that a problem there is the first one;
/// and whether the type of the place is one that looks at everything before it decides, as an enum with a tag does.
pub(super) fn read_first<T: DeserializeOwned>(tree: &Table, place: &[String]) -> (Result<T, Problem>, bool) {
    let decides_late = Cell::new(false);
    let result = T::deserialize(Reader { value: Node::Table(tree), first: Some((place, &decides_late)) });
    (result, decides_late.get())
}

/// A value, or the whole tree, which is no value of its own.
#[derive(Clone, Copy)]
enum Node<'a> {
    Table(&'a Table),
    Value(&'a Value),
}

/// The way to the place that is looked at, from here, and what [`read_first`] says of it.
type First<'a> = Option<(&'a [String], &'a Cell<bool>)>;

#[derive(Clone, Copy)]
struct Reader<'a> {
    value: Node<'a>,
    first: First<'a>,
}

impl<'a> Reader<'a> {
    fn of(value: &'a Value, key: &str, first: First<'a>) -> Self {
        let first = first.and_then(|(way, late)| Some((way.split_first().filter(|(next, _)| *next == key)?.1, late)));
        let value = if let Value::Table(table) = value { Node::Table(table) } else { Node::Value(value) };
        Self { value, first }
    }

    fn entries(table: &'a Table, first: First<'a>) -> Entries<'a> {
        let mut entries: Vec<(&str, &Value)> = table.iter().map(|(key, value)| (key.as_str(), value)).collect();
        let next = first.and_then(|(way, _)| way.first()).map(String::as_str);
        // Popped from the end; the sort is stable, so the others keep their order.
        entries.reverse();
        entries.sort_by_key(|(key, _)| *key == UNKNOWN || Some(*key) == next);
        Entries { entries, value: None, first }
    }

    fn visit<V: Visitor<'a>>(self, visitor: V) -> Result<V::Value, Problem> {
        match self.value {
            Node::Table(table) => visitor.visit_map(Self::entries(table, self.first)),
            Node::Value(Value::String(text)) => visitor.visit_str(text),
            Node::Value(Value::Integer(number)) => visitor.visit_i64(*number),
            Node::Value(Value::Float(number)) => visitor.visit_f64(*number),
            Node::Value(Value::Boolean(yes)) => visitor.visit_bool(*yes),
            Node::Value(Value::Datetime(time)) => visitor.visit_string(time.to_string()),
            Node::Value(Value::Array(items)) => visitor.visit_seq(Items { items, place: 0, first: self.first }),
            Node::Value(Value::Table(table)) => visitor.visit_map(Self::entries(table, self.first)),
        }
    }
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        if let Some(([], decides_late)) = self.first {
            decides_late.set(true);
        }
        self.visit(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        let entries = match self.value {
            Node::Value(Value::String(word)) => return visitor.visit_enum(Choice { word, content: None }),
            Node::Table(table) => Self::entries(table, self.first).entries,
            Node::Value(_) => return self.visit(visitor),
        };
        let Some((word, value)) = entries.last().copied() else { return self.visit(visitor) };
        let content = Some((Self::of(value, word, self.first), entries.len()));
        visitor.visit_enum(Choice { word, content })
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        visitor.visit_unit()
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.visit(visitor)
    }

    // What asks for a type gets what is there, and says itself what it cannot be.
    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct
        map identifier
    }
}

/// The entries of a section that are still to come, the next one last.
struct Entries<'a> {
    entries: Vec<(&'a str, &'a Value)>,
    value: Option<(&'a str, &'a Value)>,
    first: First<'a>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Problem;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Problem> {
        self.value = self.entries.pop();
        let key = |(key, _): (&'de str, _)| seed.deserialize(into_deserializer(key));
        self.value.map(key).transpose()
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Problem> {
        let Some((key, value)) = self.value.take() else { return Err(de::Error::custom("a value without a key")) };
        seed.deserialize(Reader::of(value, key, self.first)).map_err(|problem| problem.inside(key))
    }
}

fn into_deserializer(text: &str) -> StrDeserializer<'_, Problem> {
    text.into_deserializer()
}

/// The items of a list.
struct Items<'a> {
    items: &'a [Value],
    place: usize,
    first: First<'a>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Problem;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Problem> {
        let Some(value) = self.items.get(self.place) else { return Ok(None) };
        let key = self.place.to_string();
        self.place += 1;
        seed.deserialize(Reader::of(value, &key, self.first)).map(Some).map_err(|problem| problem.inside(&key))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.items.len().saturating_sub(self.place))
    }
}

/// A word, or a section with one entry whose key is the word.
struct Choice<'a> {
    word: &'a str,
    /// The value of the entry, and how many entries there are.
    content: Option<(Reader<'a>, usize)>,
}

impl<'de> EnumAccess<'de> for Choice<'de> {
    type Error = Problem;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Problem> {
        let variant = seed.deserialize(into_deserializer(self.word))?;
        match self.content {
            Some((_, entries)) if entries != 1 => {
                Err(de::Error::invalid_length(entries, &"a section with one entry, which names the choice"))
            }
            _ => Ok((variant, self)),
        }
    }
}

impl<'de> VariantAccess<'de> for Choice<'de> {
    type Error = Problem;

    fn unit_variant(self) -> Result<(), Problem> {
        match self.content.map(|(reader, _)| reader.value) {
            None => Ok(()),
            Some(Node::Table(table)) if table.is_empty() => Ok(()),
            Some(_) => Err(<Problem as de::Error>::custom("it has no settings of its own; give the word alone")),
        }
        .map_err(|problem| problem.inside(self.word))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Problem> {
        let Some((reader, _)) = self.content else {
            let message = format!("it needs a value; write `{{ {} = ... }}`", self.word);
            return Err(de::Error::custom(message));
        };
        seed.deserialize(reader).map_err(|problem| problem.inside(self.word))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Problem> {
        match self.content {
            Some((reader, _)) => reader.visit(visitor).map_err(|problem| problem.inside(self.word)),
            None => Err(de::Error::custom("it needs values")),
        }
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, Problem> {
        match self.content {
            Some((reader, _)) => reader.visit(visitor),
            // The word alone stands for the defaults of its settings.
            None => visitor.visit_map(Entries { entries: Vec::new(), value: None, first: None }),
        }
        .map_err(|problem| problem.inside(self.word))
    }
}

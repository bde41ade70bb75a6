//! The words that an option takes: asked of the type that they become, so that no list beside it is kept.

use clap::builder::PossibleValuesParser;
use serde::de::value::Error;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};

/// Accepts the names of an enum's variants, as settings files write them, and no other words.
pub(super) fn words<T: DeserializeOwned>() -> PossibleValuesParser {
    PossibleValuesParser::new(names::<T>())
}

/// The value that a word stands for in settings files.
///
/// # Errors
/// A word that the type does not know.
pub(super) fn word<T: DeserializeOwned>(text: &str) -> anyhow::Result<T> {
    Ok(toml::Value::String(text.to_owned()).try_into()?)
}

/// The names of an enum's variants; none for another type.
fn names<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut names: &[&str] = &[];
    // Nothing can be read from no value: only the question counts.
    let _no_value: Result<T, Error> = T::deserialize(Question { names: &mut names });
    names
}

/// Reads no value, and keeps the names of variants that it is asked for.
struct Question<'a> {
    names: &'a mut &'static [&'static str],
}

impl<'de> Deserializer<'de> for Question<'_> {
    type Error = Error;

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.names = variants;
        self.deserialize_any(visitor)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        Err(Error::custom("there is no value"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_settings_files() {
        assert_eq!(names::<dataset::Split>(), ["train", "val", "test"]);
        assert!(names::<diffusion::Sampler>().contains(&"dpmpp_2m"));
        for name in names::<diffusion::Sampler>() {
            assert_eq!(word::<diffusion::Sampler>(name).unwrap().name(), *name);
        }
        assert!(names::<String>().is_empty());
    }
}

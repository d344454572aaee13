//! Which keys a type reads, and which of them was meant by one that is not known.

use serde::Deserializer;
use serde::de::value::Error;
use serde::de::{DeserializeOwned, Error as _, Visitor};
use serde::forward_to_deserialize_any;

/// The keys that a type reads, as it tells whoever gives it one; none for a type that takes any.
pub(super) fn of_type<T: DeserializeOwned>() -> &'static [&'static str] {
    let mut found: &[&str] = &[];
    // An error always: there is nothing to read.
    let _ = T::deserialize(FieldNames(&mut found));
    found
}

/// Behind an error, in words: the known key that is most like the first that is not known. Empty where there is none, or none
/// is like it.
pub(super) fn nearest<'a>(given: impl Iterator<Item = &'a str>, known: &[&str]) -> String {
    let unknown = given.into_iter().find(|key| !known.contains(key));
    let meant = unknown.and_then(|unknown| {
        let distance = |known: &str| strsim::damerau_levenshtein(unknown, known);
        let near = known.iter().min_by_key(|known| distance(known))?;
        // A third of the letters may be wrong; beyond that a suggestion is a guess.
        (distance(near) <= (near.len().max(unknown.len()) / 3).max(1)).then_some((unknown, *near))
    });
    meant.map(|(unknown, near)| format!("; did you mean `{near}` by `{unknown}`?")).unwrap_or_default()
}

/// Gives nothing, and keeps the names of the fields that were asked for.
struct FieldNames<'f>(&'f mut &'static [&'static str]);

impl<'de> Deserializer<'de> for FieldNames<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("there is nothing to read"))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = fields;
        self.deserialize_any(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct newtype_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::super::query::{ActQuery, MessagesQuery};
    use super::*;

    #[test]
    fn the_key_that_was_meant_is_named() {
        let known = of_type::<MessagesQuery>();
        assert_eq!(known, ["state", "q", "limit", "cursor"]);
        assert_eq!(of_type::<Option<ActQuery>>(), ["confirm"]);
        assert_eq!(nearest(["q", "limt"].into_iter(), known), "; did you mean `limit` by `limt`?");
        assert_eq!(nearest(["q", "weather"].into_iter(), known), "");
        assert_eq!(nearest(["a"].into_iter(), &[]), "");
        assert!(of_type::<serde_json::Value>().is_empty());
    }
}

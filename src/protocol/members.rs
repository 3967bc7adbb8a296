//! Single members of a JSON object as they were written, without building the others.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Error, Map, Value};

use crate::limits::OUTLINE_BYTES_MAX;

/// Those members of a JSON object that are `known`, in that order. Where one stands twice the last
/// counts. `None`: it is JSON, but no object.
pub fn members_of<'a, const N: usize>(
    json: &'a str,
    known: &[&str; N],
) -> Result<Option<[Option<&'a RawValue>; N]>, Error> {
    if !json.trim_ascii_start().starts_with('{') {
        return serde_json::from_str::<IgnoredAny>(json).map(|_| None);
    }
    let mut found = [None; N];
    collect(json, known, &mut found)?;
    Ok(Some(found))
}

/// The same where the number of members is not known at build time.
pub(super) fn collect<'a>(
    json: &'a str,
    known: &[&str],
    found: &mut [Option<&'a RawValue>],
) -> Result<(), Error> {
    let mut from = serde_json::Deserializer::from_str(json);
    from.deserialize_map(Members { known, found })?;
    from.end()
}

/// A value as far as its type, and its text if that is short, say what is wrong with it: objects and
/// arrays without what is in them, long strings as others that are long.
pub fn outline(raw: &RawValue) -> Result<Value, Error> {
    let json = raw.get();
    match json.as_bytes().first() {
        Some(b'{') => Ok(Value::Object(Map::new())),
        Some(b'[') => Ok(Value::Array(Vec::new())),
        Some(b'"') if json.len() > OUTLINE_BYTES_MAX => Ok("x".repeat(OUTLINE_BYTES_MAX).into()),
        // A number, then.
        _ if json.len() > OUTLINE_BYTES_MAX => Err(Error::custom("a number of that many digits")),
        _ => serde_json::from_str(json),
    }
}

struct Members<'k, 'f, 'a> {
    known: &'k [&'k str],
    found: &'f mut [Option<&'a RawValue>],
}

impl<'a> Visitor<'a> for Members<'_, '_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(place) = map.next_key_seed(Name { known: self.known })? {
            match place.and_then(|place| self.found.get_mut(place)) {
                Some(found) => *found = Some(map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }
}

/// The place of a name among the known ones.
struct Name<'k> {
    known: &'k [&'k str],
}

impl<'a> DeserializeSeed<'a> for Name<'_> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'a>>(self, from: D) -> Result<Option<usize>, D::Error> {
        from.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(self.known.iter().position(|known| *known == name))
    }
}

//! Parts of a JSON text, without building the others. What the members mean is not known here.

use std::cell::Cell;
use std::fmt;

use serde::de::{self, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Error, Map, Value};

use crate::limits::{OUTLINE_BYTES_MAX, PARAMS_DEPTH_MAX, PARAMS_WIDTH_MAX};

/// Those members of a JSON object that are `known`, in that order. Where one stands twice the last
/// counts. `None`: it is JSON, but no object.
pub(crate) fn members_of<'a>(
    json: &'a str,
    known: &[&str],
) -> Result<Option<Vec<Option<&'a RawValue>>>, Error> {
    if !json.trim_ascii_start().starts_with('{') {
        return serde_json::from_str::<IgnoredAny>(json).map(|_| None);
    }
    let mut from = serde_json::Deserializer::from_str(json);
    let found = from.deserialize_map(Members { known })?;
    from.end()?;
    Ok(Some(found))
}

/// An object of the outlines of those members of `known` that were found.
pub(crate) fn outline_members(known: &[&str], found: &[Option<&RawValue>]) -> Result<Value, Error> {
    let mut built = Map::new();
    for (name, member) in known.iter().zip(found) {
        if let Some(member) = member {
            built.insert((*name).to_owned(), outline(member)?);
        }
    }
    Ok(Value::Object(built))
}

/// A value as far as its type, and its text if that is short, say what is wrong with it: objects and
/// arrays without what is in them, long strings as others that are long.
pub(crate) fn outline(raw: &RawValue) -> Result<Value, Error> {
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

struct Members<'k> {
    known: &'k [&'k str],
}

impl<'a> Visitor<'a> for Members<'_> {
    type Value = Vec<Option<&'a RawValue>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = vec![None; self.known.len()];
        while let Some(name) = map.next_key::<String>()? {
            match self.known.iter().position(|known| *known == name) {
                Some(place) => found[place] = Some(map.next_value()?),
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(found)
    }
}

/// Builds no more of a value than the widest and deepest parameters have: a small text can become a
/// hundred times as large. Whether anything was left out comes with it: such a value may be refused for
/// whatever is wrong with it, but not acted on.
pub(super) fn sketch(json: &str) -> Result<(Value, bool), Error> {
    let is_cut = Cell::new(false);
    let value = Sketch { levels: PARAMS_DEPTH_MAX, is_cut: &is_cut }.of(json)?;
    Ok((value, is_cut.get()))
}

#[derive(Clone, Copy)]
struct Sketch<'c> {
    /// Containers that are built, this one and those in it.
    levels: usize,
    is_cut: &'c Cell<bool>,
}

impl Sketch<'_> {
    fn of(self, json: &str) -> Result<Value, Error> {
        if !json.trim_ascii_start().starts_with(['{', '[']) {
            return serde_json::from_str(json);
        }
        let mut from = serde_json::Deserializer::from_str(json);
        let container = from.deserialize_any(self)?;
        from.end()?;
        Ok(container)
    }

    /// What is built of a value in this container.
    fn inside<E: de::Error>(self, value: &RawValue) -> Result<Value, E> {
        Self { levels: self.levels - 1, ..self }.of(value.get()).map_err(E::custom)
    }
}

impl<'a> Visitor<'a> for Sketch<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or array")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while self.levels > 0 && items.len() < PARAMS_WIDTH_MAX {
            let Some(item) = seq.next_element()? else { return Ok(items.into()) };
            items.push(self.inside(item)?);
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {
            self.is_cut.set(true);
        }
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while self.levels > 0 && members.len() < PARAMS_WIDTH_MAX {
            let Some((name, member)) = map.next_entry()? else { return Ok(members.into()) };
            members.insert(name, self.inside(member)?);
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            self.is_cut.set(true);
        }
        Ok(members.into())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::sketch;
    use crate::limits::PARAMS_WIDTH_MAX;

    #[test]
    fn what_parameters_may_be_is_built_whole() {
        for value in [
            json!({}),
            json!({"a": "\u{1}é", "b": [1, -1, 1.5, true, null], "c": [{"d": "e", "f": []}], "g": u64::MAX}),
            json!([0, 1, 2]),
            json!("text"),
        ] {
            assert_eq!(sketch(&value.to_string()).unwrap(), (value, false));
        }
        assert_eq!(sketch(r#" {"a":1,"a":2} "#).unwrap(), (json!({"a": 2}), false));
        for bad in ["", "{", "[1,]", "{} {}", "1e999", r#""\ud800""#, r#"{"\ud800":1}"#, "nul"] {
            assert!(sketch(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_wider_or_deeper_is_left_out() {
        let wide = vec![0; PARAMS_WIDTH_MAX + 1];
        assert_eq!(sketch(&json!(wide).to_string()).unwrap(), (json!(wide[1..]), true));
        let maps = format!(r#"{{"message":[{}]}}"#, vec![r#"{"":0}"#; 6_000].join(","));
        let (value, is_cut) = sketch(&maps).unwrap();
        assert_eq!((value["message"].as_array().map(Vec::len), is_cut), (Some(PARAMS_WIDTH_MAX), true));
        assert_eq!(sketch("[[[[0]]]]").unwrap(), (json!([[[[]]]]), true));
        assert_eq!(sketch("[[[[]]]]").unwrap(), (json!([[[[]]]]), false));
        assert_eq!(sketch(r#"[[[{"a":1}]]]"#).unwrap(), (json!([[[{}]]]), true));
        // What is left out is still read.
        assert!(sketch("[[[[nonsense]]]]").is_err());
    }
}

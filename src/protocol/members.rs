//! Parts of a JSON text, without building the others. What the members mean is not known here.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Error, Map, Number, Value};

use crate::limits::{OUTLINE_BYTES_MAX, PARAMS_DEPTH_MAX, PARAMS_WIDTH_MAX};

/// Those members of a JSON object that are `known`, in that order. Where one stands twice the last
/// counts. `None`: it is JSON, but no object.
pub(crate) fn members_of<'a, const N: usize>(
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

/// Puts those members of a JSON object that are `known` into `found`, where their number is not known at build
/// time. The last of two counts.
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

/// Builds no more of a value than the widest and deepest parameters have: a small text can become a
/// hundred times as large. Whether anything was left out comes with it: such a value may be refused for
/// whatever is wrong with it, but not acted on.
pub(super) fn sketch(json: &str) -> Result<(Value, bool), Error> {
    let is_cut = Cell::new(false);
    let mut from = serde_json::Deserializer::from_str(json);
    let value = Sketch { levels: PARAMS_DEPTH_MAX, is_cut: &is_cut }.deserialize(&mut from)?;
    from.end()?;
    Ok((value, is_cut.get()))
}

#[derive(Clone, Copy)]
struct Sketch<'c> {
    /// Containers that are built, this one and those in it.
    levels: usize,
    is_cut: &'c Cell<bool>,
}

impl Sketch<'_> {
    fn inside(self) -> Self {
        Self { levels: self.levels - 1, ..self }
    }
}

impl<'a> DeserializeSeed<'a> for Sketch<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'a>>(self, from: D) -> Result<Value, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Sketch<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while self.levels > 0 && items.len() < PARAMS_WIDTH_MAX {
            let Some(item) = seq.next_element_seed(self.inside())? else { return Ok(items.into()) };
            items.push(item);
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {
            self.is_cut.set(true);
        }
        Ok(items.into())
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while self.levels > 0 && members.len() < PARAMS_WIDTH_MAX {
            let Some(name) = map.next_key::<String>()? else { return Ok(members.into()) };
            let member = map.next_value_seed(self.inside())?;
            members.insert(name, member);
        }
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {
            self.is_cut.set(true);
        }
        Ok(members.into())
    }
}

#[cfg(test)]
mod tests {
    use super::sketch;
    use crate::limits::PARAMS_WIDTH_MAX;
    use serde_json::json;

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

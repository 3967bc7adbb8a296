//! From a text frame to a validated call, on the client's own thread.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::limits::JSON_DEPTH_MAX;
use crate::protocol::call::{Call, Method};
use crate::protocol::error::WireError;
use crate::protocol::frame::Close;
use crate::protocol::parse::parse_call;
use crate::protocol::{SERVER_VERSION, schema};

/// What a frame turned out to be.
pub(super) enum Parsed {
    /// A request to carry out.
    Call { id: String, call: Call },
    /// A request that is answered with an error.
    Refused { id: String, error: WireError },
    /// JSON, but no request: answered too, within the budget of invalid frames.
    Invalid { id: String, error: WireError },
    /// Not JSON at all: the connection ends.
    Unreadable(Close),
}

/// `id` of the answer to a frame that has none to answer to.
const NO_ID: &str = "invalid";

/// Parses and validates one frame.
pub(super) fn parse(text: &str) -> Parsed {
    if nests_deeper(text.as_bytes(), JSON_DEPTH_MAX) {
        return Parsed::Unreadable(Close::new(1007, "the JSON nests deeper than 64 levels"));
    }
    let value = match serde_json::from_str::<Value>(text) {
        Ok(value) => value,
        Err(_) if is_grammatical(text) => {
            return Parsed::Invalid {
                id: id_of(text),
                error: WireError::invalid(
                    "a number beyond 1e308 or half a surrogate pair cannot be represented",
                ),
            };
        }
        Err(error) => {
            let place = format!("the frame is not JSON (line {}, column {})", error.line(), error.column());
            return Parsed::Unreadable(Close::new(1007, place));
        }
    };
    if let Err(error) = schema::check_req(&value) {
        let id = value.get("id").and_then(Value::as_str).filter(|id| (1..=128).contains(&id.chars().count()));
        return Parsed::Invalid {
            id: id.unwrap_or(NO_ID).to_owned(),
            error: WireError::invalid(format!("not a valid request: {error}")),
        };
    }
    envelope(value)
}

fn envelope(value: Value) -> Parsed {
    let Value::Object(mut members) = value else { return unexpected_envelope() };
    let (Some(Value::String(id)), Some(Value::String(name))) =
        (members.remove("id"), members.remove("method"))
    else {
        return unexpected_envelope();
    };
    let Some(method) = Method::from_name(&name) else {
        let error = WireError::unknown_method(format!(
            "unknown method; clawdis-gateway {SERVER_VERSION} answers the ones in hello-ok.features.methods"
        ));
        return Parsed::Refused { id, error };
    };
    match parse_call(method, members.remove("params")) {
        Ok(call) => Parsed::Call { id, call },
        Err(error) => Parsed::Refused { id, error },
    }
}

/// The schema has made sure of the envelope; this answer exists so that a gap in it cannot panic.
fn unexpected_envelope() -> Parsed {
    Parsed::Invalid { id: NO_ID.to_owned(), error: WireError::invalid("not a valid request") }
}

/// Whether the frame is JSON by its grammar (RFC 8259). A number beyond f64 and half of a surrogate
/// pair are; `serde_json` refuses them only where it has to keep the value.
fn is_grammatical(text: &str) -> bool {
    serde_json::from_str::<IgnoredAny>(text).is_ok()
}

/// The `id` of a frame whose other members cannot be represented.
fn id_of(text: &str) -> String {
    #[derive(Deserialize)]
    struct OnlyId<'a> {
        #[serde(borrow)]
        id: Cow<'a, str>,
    }
    serde_json::from_str::<OnlyId<'_>>(text)
        .ok()
        .filter(|only| (1..=128).contains(&only.id.chars().count()))
        .map_or_else(|| NO_ID.to_owned(), |only| only.id.into_owned())
}

/// Whether brackets nest deeper than `depth_max`. Looks at bytes only, so it costs no stack.
pub(super) fn nests_deeper(json: &[u8], depth_max: usize) -> bool {
    let mut depth = 0_usize;
    let mut in_string = false;
    let mut escaped = false;
    for byte in json {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > depth_max {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::nests_deeper;

    #[test]
    fn depth_counts_brackets_outside_of_strings() {
        assert!(!nests_deeper(br#"{"a":[1,{"b":"[[[[[[\"[["}]}"#, 3));
        assert!(nests_deeper(b"[[[[]]]]", 3));
        assert!(!nests_deeper(b"[[[]],[[]]]", 3));
        assert!(!nests_deeper(b"]]]][", 3));
    }
}

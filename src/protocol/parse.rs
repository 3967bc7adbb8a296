//! From the text of a request's parameters to a `Request`: built, validated, integers folded, read.
//!
//! Here is what is the same for all methods; what differs between them stands with their table (`method`). Knows
//! nothing of the gateway's state: whether a session or channel exists is not its business.

use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

use crate::limits::ERROR_MEMBER_BYTES_MAX;
use crate::nearest::nearest;
use crate::protocol::error::WireError;
use crate::protocol::hello::Hello;
use crate::protocol::members::{members_of, outline_members, sketch};
use crate::protocol::method::{Method, Request};
use crate::protocol::schema::{SchemaError, check_hello};
use crate::protocol::{SERVER_VERSION, cut};

/// Validates and parses the first frame of a connection.
pub fn parse_hello(mut frame: Value) -> Result<Hello, SchemaError> {
    check_hello(&frame)?;
    fold_integers(&mut frame);
    serde_json::from_value(frame).map_err(|_| SchemaError::new("", "value is no `hello`"))
}

/// Builds the parameters of a request as far as some method could want them, and checks them. `Err` of
/// the outer kind: there is something in them that cannot be represented.
pub(crate) fn parse_params(
    method: Method,
    params: Option<&RawValue>,
) -> Result<Result<Request, WireError>, serde_json::Error> {
    let Some(params) = params else { return Ok(parse_request(method, None)) };
    // The envelope has been checked: it is an object.
    let (built, is_cut) = if method.has_side_effects() {
        sketch(params.get())?
    } else {
        // Unknown members are ignored: nothing is kept of them, and of the known ones, which are short texts and
        // numbers, no more than it takes to refuse others.
        let found = members_of(params.get(), method.members())?.unwrap_or_default();
        (outline_members(method.members(), &found)?, false)
    };
    let call = parse_request(method, Some(built));
    if is_cut && call.is_ok() {
        return Ok(Err(WireError::invalid("`/params`: more members or elements than any parameter has")));
    }
    Ok(call)
}

/// Validates and parses the parameters of `method`; absent ones count as `{}`.
///
/// Everything it refuses is `INVALID_REQUEST` with the path and what was expected.
pub(crate) fn parse_request(method: Method, params: Option<Value>) -> Result<Request, WireError> {
    let mut params = params.unwrap_or_else(|| Value::Object(Map::new()));
    if let Err(error) = method.check(&params) {
        return Err(unknown_member(method, &params).unwrap_or_else(|| WireError::invalid(error.to_string())));
    }
    fold_integers(&mut params);
    method.read(params)
}

/// To JSON Schema `30.0` and `3e1` are integers; to serde they are not. Nothing inbound has a
/// number that is not an integer.
pub(crate) fn fold_integers(value: &mut Value) {
    match value {
        Value::Number(number) => {
            if let Some(integer) = integer(number) {
                *value = Value::from(integer);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(fold_integers),
        Value::Object(members) => members.values_mut().for_each(fold_integers),
        _ => {}
    }
}

/// The integer that a number written with a fraction or exponent stands for, where it is exact.
#[expect(clippy::cast_possible_truncation, reason = "checked against the exact range just before")]
fn integer(number: &Number) -> Option<i64> {
    const EXACT_MAX: f64 = 9_007_199_254_740_991.0; // 2^53 - 1
    let float = number.as_f64().filter(|_| number.is_f64())?;
    (float.fract() == 0.0 && float.abs() <= EXACT_MAX).then_some(float as i64)
}

/// The members of an attachment.
const ATTACHMENT_MEMBERS: &[&str] = &["type", "mimeType", "name", "content"];

/// A misspelt member explains a missing one too, so it is looked for first. The server's version
/// is named because a newer client may know members that an older server does not.
fn unknown_member(method: Method, params: &Value) -> Option<WireError> {
    if !method.has_side_effects() {
        return None;
    }
    let unknown = |value: &Value, path: &str, known: &'static [&'static str]| {
        let name = value.as_object()?.keys().find(|name| !known.contains(&name.as_str()))?;
        let shown = cut(name, ERROR_MEMBER_BYTES_MAX);
        let hint = nearest(name, known.iter().copied())
            .map_or(String::new(), |nearest| format!("; did you mean `{nearest}`?"));
        Some(WireError::invalid(format!(
            "`{path}/{shown}`: `{}` of server version {SERVER_VERSION} has no member `{shown}`{hint}",
            method.name()
        )))
    };
    unknown(params, "/params", method.members()).or_else(|| {
        let attachments =
            params.get("attachments").filter(|_| matches!(method, Method::Agent))?.as_array()?;
        attachments.iter().enumerate().find_map(|(i, attachment)| {
            unknown(attachment, &format!("/params/attachments/{i}"), ATTACHMENT_MEMBERS)
        })
    })
}

#[cfg(test)]
mod tests;

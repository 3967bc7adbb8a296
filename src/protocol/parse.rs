//! From the text of a request's parameters to a `Request`: built, validated, integers folded, read.
//!
//! First what is the same for all methods; what differs between them stands in their table, which names the
//! functions further down: each makes what a method is asked with of parameters that satisfy the schema. What a
//! schema cannot say well (base64, members that exclude or need each other) is checked there. Knows nothing of the
//! gateway's state: whether a session or channel exists is not its business.

use std::io::{self, Write};

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};
use sha2::{Digest as _, Sha256};

use crate::limits::ERROR_MEMBER_BYTES_MAX;
use crate::nearest::nearest;
use crate::protocol::call::{
    AgentParams, Attachment, ChannelAllowParams, ChannelLoginParams, Digest, Keyed, LoginKind, SendParams,
};
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
        // Unknown members are ignored: nothing is built of them, and of the known ones, which are short texts and
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

/// For parameters of which the schema says everything. Fails only where type and schema contradict each other.
pub(super) fn plain<T: DeserializeOwned>(method: &str, params: Value) -> Result<T, WireError> {
    serde_json::from_value(params).map_err(|_| {
        WireError::internal(format!("parameters that the schema of `{method}` allows could not be read"))
    })
}

/// For a method with one parameter, which its schema requires: what that is.
pub(super) fn only<T: DeserializeOwned>(method: &str, mut params: Value) -> Result<T, WireError> {
    let member = params.as_object_mut().and_then(|members| members.values_mut().next());
    plain(method, member.map(Value::take).unwrap_or_default())
}

/// Parameters with their digest. It is made of them after `provider`, by which older clients say `channel`,
/// has been folded into that, and without the idempotency key.
fn keyed<T: DeserializeOwned>(method: &str, mut params: Value) -> Result<Box<Keyed<T>>, WireError> {
    let Some(members) = params.as_object_mut() else {
        return Err(WireError::invalid("`/params`: value is not of type \"object\""));
    };
    if let Some(provider) = members.remove("provider") {
        let channel = members.entry("channel").or_insert_with(|| provider.clone());
        if *channel != provider {
            return Err(WireError::invalid(
                "`/params/provider`: another value than that of `/params/channel`, which is the same option: give one of them",
            ));
        }
    }
    let key = plain(method, members.remove("idempotencyKey").unwrap_or_default())?;
    let digest = digest(&mut params);
    Ok(Box::new(Keyed { params: plain(method, params)?, key, digest }))
}

/// SHA-256 over `value` as JSON without blanks, members in the order of their names: two requests under one
/// idempotency key are the same if their parameters are the same JSON value, in whatever order its members
/// stand and however its numbers and strings were written.
fn digest(value: &mut Value) -> Digest {
    struct Sink(Sha256);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.update(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    // They are sorted, unless a crate in the tree has `serde_json` keep the order in which they stood.
    value.sort_all_objects();
    let mut sink = Sink(Sha256::new());
    // Neither hashing nor writing a `Value` can fail.
    let _ = serde_json::to_writer(&mut sink, value);
    sink.0.finalize().into()
}

/// For `send`, which needs something to send.
pub(super) fn send(method: &str, params: Value) -> Result<Box<Keyed<SendParams>>, WireError> {
    let keyed: Box<Keyed<SendParams>> = keyed(method, params)?;
    if keyed.params.message.trim().is_empty() && keyed.params.media_url.is_none() {
        return Err(WireError::invalid(
            "`/params/message`: value is empty, which only a `mediaUrl` makes up for",
        ));
    }
    Ok(keyed)
}

/// For `agent`, which needs something to say, and attachments that are base64.
pub(super) fn agent(method: &str, params: Value) -> Result<Box<Keyed<AgentParams>>, WireError> {
    let keyed: Box<Keyed<AgentParams>> = keyed(method, params)?;
    let AgentParams { message, attachments, .. } = &keyed.params;
    if message.trim().is_empty() && attachments.is_empty() {
        return Err(WireError::invalid(
            "`/params/message`: value is empty, which only `attachments` make up for",
        ));
    }
    let is_bad = |attachment: &Attachment| !is_base64(attachment.content.as_bytes());
    if let Some(i) = attachments.iter().position(is_bad) {
        return Err(WireError::invalid(format!(
            "`/params/attachments/{i}/content`: value is no base64 (RFC 4648, padded, in one line, without a `data:` prefix)"
        )));
    }
    Ok(keyed)
}

/// For `channel-allow`. Whoever is removed is no owner either, so the two contradict each other.
pub(super) fn channel_allow(method: &str, params: Value) -> Result<ChannelAllowParams, WireError> {
    let params: ChannelAllowParams = plain(method, params)?;
    if params.owner && params.remove {
        return Err(WireError::invalid("`/params/owner`: cannot be true together with `remove`"));
    }
    Ok(params)
}

/// For `channel-login`. A number that would be ignored was meant for something, so it is no good with a QR code.
pub(super) fn channel_login(method: &str, params: Value) -> Result<ChannelLoginParams, WireError> {
    let params: ChannelLoginParams = plain(method, params)?;
    let wrong = match (params.method, &params.phone) {
        (LoginKind::Code, None) => {
            "required member is missing: method `code` needs the phone's number, such as +15550001111"
        }
        (LoginKind::Qr, Some(_)) => "only method `code` takes a phone's number",
        (LoginKind::Code, Some(phone)) if !is_e164(phone) => {
            "value is no phone number: `+`, the country code and the number, digits only, such as +15550001111"
        }
        _ => return Ok(params),
    };
    Err(WireError::invalid(format!("`/params/phone`: {wrong}")))
}

/// E.164 allows 15 digits, no country code begins with 0, and no number is shorter than 7.
fn is_e164(phone: &str) -> bool {
    phone.strip_prefix('+').is_some_and(|digits| {
        (7..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Alphabet, padding and length; what it decodes to is the agent's business.
fn is_base64(text: &[u8]) -> bool {
    let padding = text.iter().rev().take(2).take_while(|byte| **byte == b'=').count();
    let data = &text[..text.len() - padding];
    !data.is_empty()
        && text.len() % 4 == 0
        && data.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/'))
}

#[cfg(test)]
mod tests;

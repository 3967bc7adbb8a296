//! From a request's parameters to a [`Call`]: validated, aliases folded, digested, typed.
//!
//! What a schema cannot say well (base64, members that exclude or need each other) is checked
//! here. Knows nothing of the gateway's state: whether a session or channel exists is not its
//! business.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Number, Value};

use crate::limits::ERROR_MEMBER_BYTES_MAX;
use crate::nearest::nearest;
use crate::protocol::call::{
    AgentParams, Call, ChannelAllowParams, ChannelLoginParams, Digest, LoginKind, Method, SendParams,
};
use crate::protocol::digest::digest;
use crate::protocol::error::WireError;
use crate::protocol::hello::Hello;
use crate::protocol::members::{collect, outline, sketch};
use crate::protocol::schema::{SchemaError, check_hello, check_params};
use crate::protocol::{SERVER_VERSION, cut};

/// Validates and parses the first frame of a connection.
pub fn parse_hello(mut frame: Value) -> Result<Hello, SchemaError> {
    check_hello(&frame)?;
    fold_integers(&mut frame);
    serde_json::from_value(frame).map_err(|_| SchemaError::new("", "value is no `hello`"))
}

/// Builds the parameters of a request as far as some method could want them, and checks them. `Err` of
/// the outer kind: there is something in them that cannot be represented.
pub fn parse_params(
    method: Method,
    params: Option<&RawValue>,
) -> Result<Result<Call, WireError>, serde_json::Error> {
    let Some(params) = params else { return Ok(parse_call(method, None)) };
    // The envelope has been checked: it is an object.
    let (built, is_cut) = if method.has_side_effects() {
        sketch(params.get())?
    } else {
        (known_members(method, params)?, false)
    };
    let call = parse_call(method, Some(built));
    if is_cut && call.is_ok() {
        return Ok(Err(WireError::invalid("`/params`: more members or elements than any parameter has")));
    }
    Ok(call)
}

/// Where unknown members are ignored nothing is built of them, and of the known ones, which are short
/// texts and numbers, no more than it takes to refuse others.
fn known_members(method: Method, params: &RawValue) -> Result<Value, serde_json::Error> {
    let known = members(method);
    let mut found = vec![None; known.len()];
    collect(params.get(), known, &mut found)?;
    let mut built = Map::new();
    for (name, member) in known.iter().zip(found) {
        if let Some(member) = member {
            built.insert((*name).to_owned(), outline(member)?);
        }
    }
    Ok(Value::Object(built))
}

/// Validates and parses the parameters of `method`; absent ones count as `{}`.
///
/// Everything it refuses is `INVALID_REQUEST` with the path and what was expected. `provider` is
/// folded into `channel` in `send` and `agent`; their digest is made after that and without the
/// idempotency key.
pub fn parse_call(method: Method, params: Option<Value>) -> Result<Call, WireError> {
    let mut params = params.unwrap_or_else(|| Value::Object(Map::new()));
    if let Err(error) = check_params(method, &params) {
        return Err(unknown_member(method, &params).unwrap_or_else(|| WireError::invalid(error.to_string())));
    }
    fold_integers(&mut params);
    Ok(match method {
        Method::Health => Call::Health(typed(method, params)?),
        Method::Status => Call::Status,
        Method::SystemPresence => Call::SystemPresence,
        Method::SystemEvent => Call::SystemEvent(Box::new(typed(method, params)?)),
        Method::Send => {
            let digest = fold_and_digest(&mut params)?;
            Call::Send(Box::new(checked_send(typed(method, params)?)?), digest)
        }
        Method::Agent => {
            let digest = fold_and_digest(&mut params)?;
            Call::Agent(Box::new(checked_agent(typed(method, params)?)?), digest)
        }
        Method::AgentCancel => Call::AgentCancel(typed(method, params)?),
        Method::SessionsList => Call::SessionsList(typed(method, params)?),
        Method::SessionHistory => Call::SessionHistory(typed(method, params)?),
        Method::SessionReset => Call::SessionReset(typed(method, params)?),
        Method::SessionForget => Call::SessionForget(typed(method, params)?),
        Method::SetHeartbeats => Call::SetHeartbeats(typed(method, params)?),
        Method::SetChannel => Call::SetChannel(typed(method, params)?),
        Method::SetPaused => Call::SetPaused(typed(method, params)?),
        Method::ChannelAllow => Call::ChannelAllow(checked_allow(typed(method, params)?)?),
        Method::ChannelLogin => Call::ChannelLogin(checked_login(typed(method, params)?)?),
        Method::ChannelLogout => Call::ChannelLogout(typed(method, params)?),
    })
}

/// The schema has been satisfied, so this fails only where type and schema contradict each other.
fn typed<T: DeserializeOwned>(method: Method, params: Value) -> Result<T, WireError> {
    serde_json::from_value(params).map_err(|_| {
        WireError::internal(format!(
            "parameters that the schema of `{}` allows could not be read",
            method.name()
        ))
    })
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

/// Older clients say `provider` where the protocol says `channel`.
fn fold_and_digest(params: &mut Value) -> Result<Digest, WireError> {
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
    let key = members.remove("idempotencyKey");
    let digest = digest(params);
    if let (Some(members), Some(key)) = (params.as_object_mut(), key) {
        members.insert("idempotencyKey".to_owned(), key);
    }
    Ok(digest)
}

fn checked_send(params: SendParams) -> Result<SendParams, WireError> {
    if params.message.trim().is_empty() && params.media_url.is_none() {
        return Err(WireError::invalid(
            "`/params/message`: value is empty, which only a `mediaUrl` makes up for",
        ));
    }
    Ok(params)
}

fn checked_agent(params: AgentParams) -> Result<AgentParams, WireError> {
    if params.message.trim().is_empty() && params.attachments.is_empty() {
        return Err(WireError::invalid(
            "`/params/message`: value is empty, which only `attachments` make up for",
        ));
    }
    for (i, attachment) in params.attachments.iter().enumerate() {
        if !is_base64(attachment.content.as_bytes()) {
            return Err(WireError::invalid(format!(
                "`/params/attachments/{i}/content`: value is no base64 (RFC 4648, padded, in one line, without a `data:` prefix)"
            )));
        }
    }
    Ok(params)
}

/// Whoever is removed is no owner either, so the two contradict each other.
fn checked_allow(params: ChannelAllowParams) -> Result<ChannelAllowParams, WireError> {
    if params.owner && params.remove {
        return Err(WireError::invalid("`/params/owner`: cannot be true together with `remove`"));
    }
    Ok(params)
}

/// A number that would be ignored was meant for something, so it is no good with a QR code.
fn checked_login(params: ChannelLoginParams) -> Result<ChannelLoginParams, WireError> {
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

/// The members that a method knows. They repeat its schema (a test compares
/// them), because the schemas themselves are not part of the binary.
const fn members(method: Method) -> &'static [&'static str] {
    match method {
        Method::SystemEvent => &["text", "lastInputSeconds", "mode", "tags", "reason"],
        Method::Send => &["to", "message", "channel", "provider", "mediaUrl", "idempotencyKey"],
        Method::Agent => &[
            "message",
            "to",
            "sessionKey",
            "sessionId",
            "thinking",
            "deliver",
            "channel",
            "provider",
            "timeout",
            "attachments",
            "idempotencyKey",
        ],
        Method::AgentCancel => &["runId"],
        Method::SessionReset | Method::SessionForget => &["sessionKey"],
        Method::SetHeartbeats => &["enabled"],
        Method::SetChannel => &["channel", "enabled"],
        Method::SetPaused => &["paused"],
        Method::ChannelAllow => &["channel", "id", "owner", "remove"],
        Method::ChannelLogin => &["channel", "method", "phone"],
        Method::ChannelLogout => &["channel"],
        Method::Health => &["probe"],
        Method::Status | Method::SystemPresence => &[],
        Method::SessionsList => &["limit", "before"],
        Method::SessionHistory => &["sessionKey", "limit", "before"],
    }
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
    unknown(params, "/params", members(method)).or_else(|| {
        let attachments =
            params.get("attachments").filter(|_| matches!(method, Method::Agent))?.as_array()?;
        attachments.iter().enumerate().find_map(|(i, attachment)| {
            unknown(attachment, &format!("/params/attachments/{i}"), ATTACHMENT_MEMBERS)
        })
    })
}

#[cfg(test)]
mod tests;

//! From parameters that satisfy their schema to what a method is asked with; named in the table of methods.
//!
//! What a schema cannot say well (base64, members that exclude or need each other) is checked here. Knows
//! nothing of the gateway's state: whether a session or channel exists is not its business.

use std::io::{self, Write};

use serde::de::DeserializeOwned;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::protocol::call::{
    AgentParams, Attachment, ChannelAllowParams, ChannelLoginParams, Digest, Keyed, LoginKind, SendParams,
};
use crate::protocol::error::WireError;

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
    let key = members.remove("idempotencyKey");
    let digest = digest(&mut params);
    if let (Some(members), Some(key)) = (params.as_object_mut(), key) {
        members.insert("idempotencyKey".to_owned(), key);
    }
    Ok(Box::new(Keyed { params: plain(method, params)?, digest }))
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
mod tests {
    use serde_json::{Value, json};
    use sha2::{Digest as _, Sha256};

    use super::{digest, is_base64};

    #[test]
    fn base64() {
        for good in ["AAAA", "AAA=", "AA==", "a+/9AAA="] {
            assert!(is_base64(good.as_bytes()), "{good}");
        }
        for bad in [
            "",
            "A",
            "AAA",
            "====",
            "A===",
            "AA=A",
            "=AAA",
            "AA-_",
            "AAAA\nAAA",
            "AAAA AAA",
            "data:image/png;base64,AAAA",
            "AAAñ",
        ] {
            assert!(!is_base64(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn is_the_hash_of_sorted_json() {
        let expected: [u8; 32] = Sha256::digest(br#"{"a":[1,{"x":null,"y":true}],"b":"\"\n"}"#).into();
        let mut value: Value =
            serde_json::from_str("{ \"b\": \"\\u0022\\u000a\",\n\"a\": [1, {\"y\": true, \"x\": null}] }")
                .unwrap();
        assert_eq!(digest(&mut value), expected);
    }

    #[test]
    fn tells_values_apart() {
        let values = [
            json!({}),
            json!({"a": 1}),
            json!({"a": "1"}),
            json!({"a": [1]}),
            json!({"a": [1, 1]}),
            json!({"a": [11]}),
        ];
        for (i, a) in values.iter().enumerate() {
            for b in &values[i + 1..] {
                assert_ne!(digest(&mut a.clone()), digest(&mut b.clone()), "{a} {b}");
            }
        }
    }
}

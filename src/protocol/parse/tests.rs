//! What becomes of good parameters, and what the refusals of bad ones say.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

use super::{ATTACHMENT_MEMBERS, parse_hello, parse_request};
use crate::limits::ERROR_TEXT_BYTES_MAX;
use crate::protocol::SERVER_VERSION;
use crate::protocol::call::{Channel, Digest, Keyed, LoginKind, Thinking};
use crate::protocol::error::ErrorCode;
use crate::protocol::method::{Call, Method, Request};

fn digest_of(method: Method, params: Value) -> Digest {
    match parse_request(method, Some(params)).unwrap() {
        Request::State(Call::Send(send)) => send.digest,
        Request::State(Call::Agent(agent)) => agent.digest,
        other => panic!("{other:?} has no digest"),
    }
}

#[track_caller]
fn assert_refused(method: Method, params: Value, message: &str) {
    let error = parse_request(method, Some(params)).unwrap_err();
    assert_eq!(
        (error.code, error.message.as_str(), error.retryable),
        (ErrorCode::InvalidRequest, message, false)
    );
}

#[test]
fn absent_params_are_empty() {
    for method in Method::ALL {
        let absent = parse_request(method, None).map(drop);
        assert_eq!(absent, parse_request(method, Some(json!({}))).map(drop), "{}", method.name());
    }
    assert!(
        matches!(parse_request(Method::Health, None), Ok(Request::State(Call::Health(params))) if !params.probe)
    );
}

#[test]
fn agent_params_arrive() {
    let picture = json!({"type": "image", "mimeType": "image/png", "name": "a.png", "content": "AAA="});
    let params = json!({
        "message": "m", "to": "t", "sessionKey": "s", "sessionId": "i", "thinking": "low", "deliver": true,
        "provider": "whatsapp", "timeout": 30.0, "attachments": [picture], "idempotencyKey": "k",
    });
    let Ok(Request::State(Call::Agent(agent))) = parse_request(Method::Agent, Some(params)) else {
        panic!("no `agent`")
    };
    let Keyed { params, key, .. } = *agent;
    assert_eq!(params.message, "m");
    assert_eq!(params.to.as_deref(), Some("t"));
    assert_eq!(params.session_key.as_deref(), Some("s"));
    assert_eq!(params.session_id.as_deref(), Some("i"));
    assert_eq!(params.thinking, Some(Thinking::Low));
    assert!(params.deliver);
    assert_eq!(params.channel, Some(Channel::Whatsapp));
    assert_eq!(params.timeout, Some(30));
    assert_eq!(params.attachments[0].content, "AAA=");
    assert_eq!(params.attachments[0].mime_type, "image/png");
    assert_eq!(key, "k");
}

#[test]
fn largest_numbers_arrive() {
    let largest = 9_007_199_254_740_991u64;
    let Ok(Request::State(Call::SystemEvent(params))) =
        parse_request(Method::SystemEvent, Some(json!({"text": "t", "lastInputSeconds": largest})))
    else {
        panic!("no `system-event`")
    };
    assert_eq!(params.last_input_seconds, Some(largest));
    let hello = json!({"type": "hello", "minProtocol": 1.0, "maxProtocol": largest,
                       "client": {"name": "n", "version": "v", "platform": "p", "mode": "m"}});
    let hello = parse_hello(hello).unwrap();
    assert_eq!((hello.min_protocol, hello.max_protocol), (1, largest));
}

#[test]
fn digest_folds_spelling_only() {
    let digest = |params| digest_of(Method::Send, params);
    let plain = digest(json!({"to": "t", "message": "m", "channel": "telegram", "idempotencyKey": "1"}));
    for same in [
        json!({"idempotencyKey": "2", "channel": "telegram", "message": "m", "to": "t"}),
        json!({"to": "t", "message": "m", "provider": "telegram", "idempotencyKey": "3"}),
        json!({"to": "t", "message": "m", "provider": "telegram", "channel": "telegram", "idempotencyKey": "4"}),
    ] {
        assert_eq!(digest(same.clone()), plain, "{same}");
    }
    for other in [
        json!({"to": "t", "message": "m", "idempotencyKey": "1"}),
        json!({"to": "t", "message": "M", "channel": "telegram", "idempotencyKey": "1"}),
        json!({"to": "t", "message": "m", "channel": "whatsapp", "idempotencyKey": "1"}),
        json!({"to": "t", "message": "m", "channel": "telegram", "mediaUrl": "u", "idempotencyKey": "1"}),
    ] {
        assert_ne!(digest(other.clone()), plain, "{other}");
    }
    let agent = |params| digest_of(Method::Agent, params);
    let thirty = agent(json!({"message": "m", "timeout": 30, "idempotencyKey": "1"}));
    assert_eq!(agent(json!({"message": "m", "timeout": 3e1, "idempotencyKey": "1"})), thirty);
    assert_ne!(agent(json!({"message": "m", "timeout": 31, "idempotencyKey": "1"})), thirty);
    // A default that is spelt out is another request: the defaults may change.
    let absent = agent(json!({"message": "m", "idempotencyKey": "1"}));
    assert_ne!(agent(json!({"message": "m", "deliver": false, "idempotencyKey": "1"})), absent);
}

#[test]
fn provider_must_not_contradict_channel() {
    let message = "`/params/provider`: another value than that of `/params/channel`, which is the same option: give one of them";
    let both = |mut params: Value| {
        params["channel"] = json!("telegram");
        params["provider"] = json!("whatsapp");
        params
    };
    assert_refused(Method::Agent, both(json!({"message": "m", "idempotencyKey": "k"})), message);
    assert_refused(Method::Send, both(json!({"to": "t", "message": "m", "idempotencyKey": "k"})), message);
}

#[test]
fn unknown_members_are_named() {
    for (method, params, message) in [
        (
            Method::Agent,
            json!({"mesage": "m", "idempotencyKey": "k"}),
            format!(
                "`/params/mesage`: `agent` of server version {SERVER_VERSION} has no member `mesage`; did you mean `message`?"
            ),
        ),
        (
            Method::SetChannel,
            json!({"provider": "telegram", "enabled": true}),
            format!(
                "`/params/provider`: `set-channel` of server version {SERVER_VERSION} has no member `provider`"
            ),
        ),
        (
            Method::Agent,
            json!({"message": "m", "attachments": [{"type": "image", "mimetype": "image/png", "content": "AAAA"}], "idempotencyKey": "k"}),
            format!(
                "`/params/attachments/0/mimetype`: `agent` of server version {SERVER_VERSION} has no member `mimetype`; did you mean `mimeType`?"
            ),
        ),
    ] {
        assert_refused(method, params, &message);
    }
    let long = json!({"paused": true, "ñ".repeat(200_000): 1});
    assert!(parse_request(Method::SetPaused, Some(long)).unwrap_err().message.len() <= ERROR_TEXT_BYTES_MAX);
}

#[test]
fn emptiness_needs_a_reason() {
    let picture = json!({"type": "image", "mimeType": "image/webp", "content": "AAAA"});
    for message in ["", " \n\t\u{3000}"] {
        assert_refused(
            Method::Agent,
            json!({"message": message, "attachments": [], "idempotencyKey": "k"}),
            "`/params/message`: value is empty, which only `attachments` make up for",
        );
    }
    assert_refused(
        Method::Send,
        json!({"to": "t", "message": "", "idempotencyKey": "k"}),
        "`/params/message`: value is empty, which only a `mediaUrl` makes up for",
    );
    let agent = json!({"message": "", "attachments": [picture], "idempotencyKey": "k"});
    assert!(parse_request(Method::Agent, Some(agent)).is_ok());
    let send = json!({"to": "t", "message": "", "mediaUrl": "u", "idempotencyKey": "k"});
    assert!(parse_request(Method::Send, Some(send)).is_ok());
}

#[test]
fn nobody_becomes_owner_by_being_removed() {
    let allow = |owner: bool, remove: bool| json!({"channel": "telegram", "id": "7", "owner": owner, "remove": remove});
    let message = "`/params/owner`: cannot be true together with `remove`";
    assert_refused(Method::ChannelAllow, allow(true, true), message);
    for (owner, remove) in [(false, true), (true, false), (false, false)] {
        let Ok(Request::State(Call::ChannelAllow(params))) =
            parse_request(Method::ChannelAllow, Some(allow(owner, remove)))
        else {
            panic!("no `channel-allow`")
        };
        assert_eq!((params.channel, params.id.as_str()), (Channel::Telegram, "7"));
        assert_eq!((params.owner, params.remove), (owner, remove));
    }
}

#[test]
fn a_login_by_code_needs_a_phone_number_and_no_other_does() {
    let login = |method: &str, phone: Option<&str>| {
        let mut params = json!({"channel": "whatsapp", "method": method});
        if let Some(phone) = phone {
            params["phone"] = phone.into();
        }
        params
    };
    let wrong =
        "value is no phone number: `+`, the country code and the number, digits only, such as +15550001111";
    for bad in
        ["15550001111", "+1555", "+1 555 000 1111", "+05550001111", "+1555000111122223", "+", "+1555000111x"]
    {
        assert_refused(Method::ChannelLogin, login("code", Some(bad)), &format!("`/params/phone`: {wrong}"));
    }
    assert_refused(
        Method::ChannelLogin,
        login("code", None),
        "`/params/phone`: required member is missing: method `code` needs the phone's number, such as +15550001111",
    );
    let message = "`/params/phone`: only method `code` takes a phone's number";
    assert_refused(Method::ChannelLogin, login("qr", Some("+15550001111")), message);
    assert_refused(Method::ChannelLogin, json!({"channel": "whatsapp", "phone": "+15550001111"}), message);
    for good in ["+15550001111", "+123456789012345", "+4930123"] {
        let call = parse_request(Method::ChannelLogin, Some(login("code", Some(good))));
        assert!(
            matches!(call, Ok(Request::State(Call::ChannelLogin(params))) if params.phone.as_deref() == Some(good))
        );
    }
    let qr = parse_request(Method::ChannelLogin, Some(json!({"channel": "whatsapp"})));
    assert!(matches!(qr, Ok(Request::State(Call::ChannelLogin(params))) if params.method == LoginKind::Qr));
}

#[test]
fn attachments_are_base64() {
    assert_refused(
        Method::Agent,
        json!({"message": "m", "attachments": [{"type": "image", "mimeType": "image/gif", "content": "no base64"}], "idempotencyKey": "k"}),
        "`/params/attachments/0/content`: value is no base64 (RFC 4648, padded, in one line, without a `data:` prefix)",
    );
}

#[test]
fn known_members_are_those_of_the_schemas() {
    let names = |schema: &Value| -> BTreeSet<String> {
        schema["properties"].as_object().unwrap().keys().cloned().collect()
    };
    let schema = |file: &str| -> Value {
        serde_json::from_str(
            &fs::read_to_string(format!("{}/schemas/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap(),
        )
        .unwrap()
    };
    for method in Method::ALL {
        let schema = schema(&format!("params-{}.json", method.name()));
        assert_eq!(
            schema["additionalProperties"] == json!(false),
            method.has_side_effects(),
            "{}",
            method.name()
        );
        let known: BTreeSet<String> = method.members().iter().map(|&name| name.to_owned()).collect();
        let described = schema.get("properties").map(|_| names(&schema)).unwrap_or_default();
        assert_eq!(known, described, "{}", method.name());
    }
    let known: BTreeSet<String> = ATTACHMENT_MEMBERS.iter().map(|&name| name.to_owned()).collect();
    assert_eq!(known, names(&schema("common.json")["$defs"]["attachment"]));
}

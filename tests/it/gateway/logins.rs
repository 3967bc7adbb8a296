//! Logins through the whole daemon, as far as they go without an account: begun, and ended with a
//! sentence.

use serde_json::json;

use crate::harness::Gateway;

#[test]
fn a_login_or_logout_that_cannot_be_done_is_begun_and_ended_with_a_reason_each_time() {
    let gateway = Gateway::builder("logins").token("a-token-for-logins").spawn();
    let mut client = gateway.client();
    for (method, payload) in [("channel-login", "failed"), ("channel-logout", "")].repeat(2) {
        let id = client.send(method, &json!({"channel": "whatsapp"}));
        assert_eq!(client.answer(&id)["payload"], json!({"channel": "whatsapp", "status": "accepted"}));
        let end = client.answer(&id);
        assert_eq!((&end["ok"], &end["error"]["code"]), (&json!(false), &json!("UNAVAILABLE")), "{end}");
        assert_eq!(end["payload"]["status"].as_str().unwrap_or_default(), payload, "{end}");
        assert!(!end["error"]["message"].as_str().unwrap().is_empty(), "{end}");
    }
}

/// Whoever reaches the port of a gateway without a token, its own agent included, could make itself the
/// owner, or link the gateway to an account of its own.
#[test]
fn rights_are_handed_out_only_where_there_is_a_token() {
    let requests = [
        ("channel-allow", json!({"channel": "telegram", "id": "7"})),
        ("channel-allow", json!({"channel": "telegram", "id": "7", "owner": true})),
        ("channel-allow", json!({"channel": "whatsapp", "id": "+15550001111", "remove": true})),
        ("channel-login", json!({"channel": "whatsapp"})),
        ("channel-login", json!({"channel": "whatsapp", "method": "code", "phone": "+15550001111"})),
        ("channel-logout", json!({"channel": "whatsapp"})),
        // Where there would be something else to say, too.
        ("channel-allow", json!({"channel": "telegram", "id": "no id"})),
        ("channel-login", json!({"channel": "telegram"})),
        ("channel-logout", json!({"channel": "telegram"})),
    ];
    let open = Gateway::builder("rights-open").spawn();
    let mut client = open.client();
    assert_eq!(client.ask("status", &json!({}))["auth"], "none");
    for (method, params) in &requests {
        let error = client.refused(method, params);
        assert_eq!((&error["code"], &error["retryable"]), (&json!("UNAVAILABLE"), &json!(false)), "{error}");
        assert!(error["message"].as_str().unwrap().contains("--token-file"), "{error}");
    }
    let state_dir = open.state_dir();
    for args in [&["allow", "telegram", "7"][..], &["login", "whatsapp"], &["logout", "whatsapp"]] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_clawdis"));
        let told = command.args(args).env_clear().env("CLAWDIS_STATE_DIR", &state_dir).output().unwrap();
        let text = String::from_utf8(told.stderr).unwrap();
        assert_eq!(told.status.code(), Some(1), "{args:?}: {text}");
        assert!(text.contains("rights are handed out only") && text.contains("--token-file"), "{text}");
    }
    // Nothing came of them.
    let guarded = open.setup().token("a-token-for-rights");
    drop(open);
    let guarded = guarded.spawn();
    let mut client = guarded.client();
    assert_eq!(client.ask("status", &json!({}))["auth"], "token");
    for (method, params) in &requests[..2] {
        let answer = client.ask(method, params);
        assert_eq!(answer["id"], params["id"], "{answer}");
    }
}

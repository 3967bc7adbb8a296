//! Logins through the whole daemon, as far as they go without an account: begun, and ended with a
//! sentence.

use serde_json::json;

use crate::harness::Gateway;

#[test]
fn a_login_or_logout_that_cannot_be_done_is_begun_and_ended_with_a_reason_each_time() {
    let gateway = Gateway::builder("logins").spawn();
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

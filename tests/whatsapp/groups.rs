//! Groups: when it is spoken to, and what it has heard.

use serde_json::json;

use crate::lab::{CLUB, FRIEND, Lab, OWNER, STRANGER};

#[test]
fn in_groups_it_answers_when_it_is_addressed() {
    let quiet = json!({"whatsapp": {"readReceipts": false}});
    let lab = Lab::with("groups", |setup| setup.config(quiet));
    let says = |from: &str, text: &str, more: serde_json::Value| {
        let mut message = json!({"from": from, "group": CLUB, "text": text, "pushName": "Fred"});
        message.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        lab.says(message)
    };
    says(FRIEND, "the budget is 300", json!({}));
    says(FRIEND, "what do you think?", json!({"mention": ["200015550002222@lid"]}));
    says(STRANGER, "[[say not allowed]]", json!({"mention": ["me"]}));
    says(FRIEND, "@200015550009999 [[say by mention]]", json!({"mention": ["me"]}));
    assert_eq!(lab.mock.answers(CLUB, 1), ["by mention"]);
    let prompt = lab.gateway.prompts().join("\n");
    assert!(prompt.contains("Fred: the budget is 300"), "what was said before is missing: {prompt}");
    assert!(!prompt.contains("@2000"), "the mention is no part of the question: {prompt}");
    let ours = lab.mock.received(CLUB)[0]["id"].clone();
    let quoted = json!({"id": ours, "participant": "200015550009999@lid", "text": "by mention"});
    says(FRIEND, "[[say by quote]]", json!({ "quoted": quoted }));
    assert_eq!(lab.mock.answers(CLUB, 2)[1], "by quote");
    // A group that nobody listed.
    let other = lab.mock.op("create-group", json!({"subject": "Other", "members": [FRIEND]}));
    lab.says(json!({"from": FRIEND, "group": other["id"], "text": "[[say elsewhere]]", "mention": ["me"]}));
    lab.sync();
    assert_eq!(lab.mock.texts(CLUB).len(), 2);
    assert_eq!(lab.gateway.prompts().len(), 3);
    assert!(lab.mock.texts(other["id"].as_str().unwrap()).is_empty());
    let receipts = lab.mock.events("receipt");
    assert!(!receipts.iter().any(|event| event["kind"] == "read"), "it is off: {receipts:?}");
    let mut client = lab.gateway.client();
    let sessions = client.ask("sessions-list", &json!({"limit": 50})).to_string();
    assert!(sessions.contains(&format!("\"group:whatsapp:{CLUB}\"")), "{sessions}");
    let refused = client.ask("status", &json!({}))["refused"].to_string();
    for id in [&format!("+{STRANGER}"), other["id"].as_str().unwrap()] {
        assert!(refused.contains(id), "{id} is not listed: {refused}");
    }
    assert!(!refused.contains(OWNER), "{refused}");
}

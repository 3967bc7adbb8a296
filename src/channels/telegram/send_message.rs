//! Sends one message of text by the Bot API, and tells what an answer means for its message.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::channels::delivery::{Attempt, AttemptOutcome, Entity, not_sent};
use crate::channels::message::Route;
use crate::channels::telegram::api::Api;
use crate::channels::telegram::error::{ApiError, Refusal};
use crate::channels::web::client::Timeouts;

/// The Bot API's answer to a message that it took.
#[derive(Debug, Deserialize)]
pub(super) struct Sent {
    message_id: i64,
    chat: Option<SentChat>,
}

#[derive(Debug, Deserialize)]
struct SentChat {
    id: i64,
}

/// Sends a text. If the server finds its entities, the message that it answers or, at last, its topic wrong,
/// they are left out the next time: the words matter.
pub(super) fn send_text(
    api: &Api,
    attempt: &Attempt,
    text: &str,
    entities: &[Entity],
) -> Result<Sent, ApiError> {
    let mut bare = json!({ "chat_id": chat_id(attempt), "text": text });
    let mut ways = vec![bare.clone()];
    if let Some(topic) = topic(&attempt.route) {
        bare["message_thread_id"] = topic.into();
        ways.push(bare.clone());
    }
    let mut full = bare;
    full["link_preview_options"] = json!({ "is_disabled": true });
    if !entities.is_empty() {
        full["entities"] = json!(entities);
    }
    if let Some(reply) = reply_parameters(attempt) {
        full["reply_parameters"] = reply;
    }
    let mut sent = api.call("sendMessage", &full, Timeouts::REQUEST);
    while sent.as_ref().err().is_some_and(may_work_plainer) {
        if sent.as_ref().err().is_some_and(blames_topic) {
            ways.truncate(1);
        }
        let Some(less) = ways.pop() else { break };
        sent = api.call("sendMessage", &less, Timeouts::REQUEST);
    }
    sent
}

/// Whether the server may take the same message with less around it.
pub(super) fn may_work_plainer(error: &ApiError) -> bool {
    matches!(error, ApiError::Refused(Refusal { code: 400, migrate_to: None, .. }))
}

/// Whether the topic is wrong, by the server's words. They may change: this only saves an attempt.
fn blames_topic(error: &ApiError) -> bool {
    let words = error.refusal().map(|refusal| refusal.description.to_ascii_lowercase());
    words.is_some_and(|words| words.contains("thread") || words.contains("topic"))
}

/// The chat as the Bot API takes it: a number, or `@name`.
fn chat_id(attempt: &Attempt) -> Value {
    let chat = attempt.route.chat.as_str();
    chat.parse::<i64>().map_or_else(|_| Value::from(chat), Value::from)
}

pub(super) fn topic(route: &Route) -> Option<i64> {
    route.topic.as_ref().and_then(|topic| topic.parse().ok())
}

/// The member that makes it an answer. The message that it answers may be gone: it is sent all the same.
pub(super) fn reply_parameters(attempt: &Attempt) -> Option<Value> {
    let id: i64 = attempt.reply_to.as_ref()?.parse().ok()?;
    Some(json!({ "message_id": id, "allow_sending_without_reply": true }))
}

/// What became of an attempt, by the answer of the Bot API.
pub(super) fn outcome(attempt: &Attempt, result: Result<Sent, ApiError>) -> AttemptOutcome {
    let error = match result {
        Ok(sent) => {
            let by_name = attempt.route.chat.starts_with('@');
            let chat = sent.chat.filter(|_| by_name).map(|chat| chat.id.to_string());
            return AttemptOutcome::Sent { message_id: sent.message_id.to_string(), chat };
        }
        Err(error) => error,
    };
    let why = format!("Telegram: {error}");
    match error {
        ApiError::Unreachable(_) => not_sent(why),
        ApiError::Lost(_) | ApiError::Unexpected(_) => AttemptOutcome::Unknown { why },
        ApiError::Refused(Refusal { migrate_to: Some(chat), .. }) => {
            AttemptOutcome::Moved { chat: chat.to_string() }
        }
        ApiError::Refused(Refusal { code, retry_after, .. }) => match code {
            // Not this message's fault: too many, a wrong token, a server in trouble, a redirect.
            401 | 404 | 409 | 429 | 300..=399 | 500..=599 => AttemptOutcome::NotSent { why, retry_after },
            _ => AttemptOutcome::Refused { why },
        },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Sent, SentChat, outcome};
    use crate::channels::delivery::{Attempt, AttemptOutcome, Part};
    use crate::channels::message::Route;
    use crate::channels::telegram::error::{ApiError, Refusal};
    use crate::protocol::call::Channel;

    fn attempt(chat: &str) -> Attempt {
        let route = Route { channel: Channel::Telegram, chat: chat.to_owned(), topic: None };
        let part = Part::Text { text: "x".to_owned(), entities: Vec::new() };
        Attempt { id: 1, route, reply_to: None, message_id: String::new(), part }
    }

    fn refused(code: u16, retry_after: Option<u64>, migrate_to: Option<i64>) -> Result<Sent, ApiError> {
        let retry_after = retry_after.map(Duration::from_secs);
        Err(ApiError::Refused(Refusal { code, description: "no".to_owned(), retry_after, migrate_to }))
    }

    #[test]
    fn every_answer_has_one_meaning() {
        let name = |result: Result<Sent, ApiError>| match outcome(&attempt("5"), result) {
            AttemptOutcome::Sent { .. } => "sent",
            AttemptOutcome::NotSent { .. } => "not sent",
            AttemptOutcome::Refused { .. } | AttemptOutcome::Invalid { .. } => "refused",
            AttemptOutcome::Moved { .. } => "moved",
            AttemptOutcome::Unsure { .. } | AttemptOutcome::Unknown { .. } => "unknown",
        };
        assert_eq!(name(Err(ApiError::Unreachable(String::new()))), "not sent");
        assert_eq!(name(Err(ApiError::Lost(String::new()))), "unknown");
        assert_eq!(name(Err(ApiError::Unexpected(String::new()))), "unknown");
        for code in [302, 401, 404, 429, 500, 502, 504] {
            assert_eq!(name(refused(code, None, None)), "not sent", "{code}");
        }
        for code in [400, 403, 413] {
            assert_eq!(name(refused(code, None, None)), "refused", "{code}");
        }
        assert_eq!(name(refused(400, None, Some(-100))), "moved");
    }

    #[test]
    fn outcomes_say_what_is_needed() {
        let expected = AttemptOutcome::NotSent {
            why: "Telegram: no (429)".to_owned(),
            retry_after: Some(Duration::from_secs(3)),
        };
        assert_eq!(outcome(&attempt("5"), refused(429, Some(3), None)), expected);
        let sent = || Ok(Sent { message_id: 9, chat: Some(SentChat { id: -100 }) });
        let expected = |chat: Option<&str>| AttemptOutcome::Sent {
            message_id: "9".to_owned(),
            chat: chat.map(str::to_owned),
        };
        assert_eq!(outcome(&attempt("@channel"), sent()), expected(Some("-100")));
        assert_eq!(outcome(&attempt("-100"), sent()), expected(None));
    }
}

//! How a delivery ended, in the words that are kept for its key and shown in its session. Pure.

use crate::channels::address;
use crate::clock::Now;
use crate::protocol::call::Channel;
use crate::protocol::event::MessageStatus;
use crate::protocol::payload::{RunStatus, SendResult};
use crate::state::model::keys::Outcome;
use crate::state::model::outbox::Head;
use crate::state::model::to_json;

/// How a delivery ended, as the key of its `send` keeps it.
pub(crate) fn outcome(head: &Head, parts: usize, status: MessageStatus, reason: &str, now: Now) -> Outcome {
    let (status, summary) = match status {
        MessageStatus::Failed => (Some(RunStatus::Error), failure(head, parts, "", reason)),
        MessageStatus::Unknown => (None, format!("it may or may not have been sent: {reason}")),
        _ => (Some(RunStatus::Ok), sent_payload(head)),
    };
    Outcome { ended_ts: now.wall_ms, status, summary, truncated: false, invalid: false }
}

/// The text about a delivery that failed. It says what arrived: who reads "not sent" sends all of it again.
pub(crate) fn failure(head: &Head, parts: usize, place: &str, reason: &str) -> String {
    match head.done {
        0 => format!("not sent{place}: {reason}"),
        done => {
            format!("sent in part{place}: {done} of {parts} messages arrived, the rest did not: {reason}")
        }
    }
}

/// The payload of the answer to a `send` that arrived.
fn sent_payload(head: &Head) -> String {
    let channel = head.route.channel;
    let chat = address::chat_of(channel, head.chat.as_deref().unwrap_or(&head.route.chat));
    let of = |wanted: Channel| (channel == wanted).then_some(chat.as_str());
    to_json(&SendResult {
        run_id: head.run_id.as_deref().unwrap_or_default(),
        channel,
        message_id: head.message_id.as_deref().unwrap_or_default(),
        to_jid: of(Channel::Whatsapp),
        chat_id: of(Channel::Telegram),
    })
}

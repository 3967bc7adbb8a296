//! Errors of the Bot API, told apart by what they mean for a message and for the connection, and the parsing of its
//! answers.
//!
//! No variant holds a URL: the token is part of every one.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use crate::channels::web::client::HttpError;
use crate::limits::TELEGRAM_RETRY_AFTER_SECONDS_MAX;

/// Why a call brought no result.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum ApiError {
    /// The request was never complete at the server: it has surely done nothing.
    Unreachable(String),
    /// The request was written and its answer did not come: the server may have done it.
    Lost(String),
    /// The server refused the request.
    Refused(Refusal),
    /// The server said something, with a good status, that is no answer of the Bot API.
    Unexpected(String),
}

/// A refusal of the server.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Refusal {
    /// `error_code`, or else the HTTP status.
    pub(super) code: u16,
    /// The reason in the server's words, without the token; it may be empty.
    pub(super) description: String,
    /// After what pause the server wants to be asked again.
    pub(super) retry_after: Option<Duration>,
    /// The new id of a chat that has moved.
    pub(super) migrate_to: Option<i64>,
}

impl From<HttpError> for ApiError {
    fn from(error: HttpError) -> Self {
        match error {
            HttpError::Unreachable(why) => Self::Unreachable(why),
            HttpError::Lost(why) => Self::Lost(why),
        }
    }
}

impl ApiError {
    pub(super) fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Refused(refusal) => Some(refusal),
            _ => None,
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(why) | Self::Lost(why) => f.write_str(why),
            Self::Refused(Refusal { code, description, .. }) if description.is_empty() => {
                write!(f, "it answered with HTTP status {code}")
            }
            Self::Refused(Refusal { code, description, .. }) => write!(f, "{description} ({code})"),
            Self::Unexpected(why) => write!(f, "what answers is not the Bot API: {why}"),
        }
    }
}

/// Kinds of trouble: each has its own way out, and its own pauses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Telegram does not know the token.
    Unauthorized,
    /// Another program polls with the token.
    Conflict,
    /// Telegram sends this bot's messages to a URL instead.
    Webhook,
    /// Anything else: the network, the server, what stands between.
    Unreachable,
}

impl Trouble {
    pub(super) fn of(error: &ApiError) -> Self {
        match error.refusal() {
            // A malformed token is 404, a revoked one 401.
            Some(Refusal { code: 401 | 404, .. }) => Self::Unauthorized,
            // The code is the same; only the words tell who holds the updates.
            Some(Refusal { code: 409, description, .. })
                if description.to_ascii_lowercase().contains("webhook") =>
            {
                Self::Webhook
            }
            Some(Refusal { code: 409, .. }) => Self::Conflict,
            _ => Self::Unreachable,
        }
    }

    /// The state of the connection, as `health` names it.
    pub(super) fn state(self) -> &'static str {
        match self {
            Self::Unauthorized => "unauthorized",
            Self::Conflict => "conflict",
            Self::Webhook => "webhook",
            Self::Unreachable => "unreachable",
        }
    }

    /// What is wrong, for people, and what they can do.
    pub(super) fn reason(self, error: &ApiError) -> String {
        match self {
            Self::Unauthorized => format!(
                "Telegram does not know the bot token ({error}): get the right one from @BotFather, put it into \
                 TELEGRAM_BOT_TOKEN, telegram.botToken or telegram.botTokenFile, and restart the gateway; \
                 if `telegram.apiBase` is set, check that, too"
            ),
            Self::Conflict => {
                "another program receives the messages of this bot with the same token: stop it, \
                               or give this gateway a bot of its own; sending still works"
                    .to_owned()
            }
            Self::Webhook => {
                "a webhook is set for this bot, so Telegram sends its messages there: remove it, \
                              or set `telegram.deleteWebhook` to true; sending still works"
                    .to_owned()
            }
            Self::Unreachable => match error.refusal() {
                Some(Refusal { code: 429, .. }) => format!("Telegram asks for a pause: {error}"),
                _ => format!("Telegram cannot be reached: {error}; trying again and again"),
            },
        }
    }
}

/// Why the bot's messages do not come here while another gateway on this host, `who`, polls the bot.
pub(super) fn polled_elsewhere(who: &str) -> String {
    format!(
        "another gateway on this host ({who}) receives the messages of this bot: stop it, or give this \
         gateway a bot of its own; sending still works"
    )
}

/// What is said while nobody can tell whether another gateway on this host polls the bot.
pub(super) fn lease_dispute(why: &str) -> String {
    format!(
        "whether another gateway on this host polls this bot cannot be told: {why}; this one polls it all \
         the same"
    )
}

/// What the Bot API wraps around results and refusals.
#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(default)]
    ok: bool,
    #[serde(borrow)]
    result: Option<&'a serde_json::value::RawValue>,
    error_code: Option<u16>,
    #[serde(default)]
    description: String,
    parameters: Option<Parameters>,
}

#[derive(Deserialize)]
struct Parameters {
    retry_after: Option<f64>,
    migrate_to_chat_id: Option<i64>,
}

/// Parses an answer. One that is no JSON, or lacks half of it, is judged by its status alone.
/// `scrub` takes the token out of the server's words.
pub(super) fn parse_answer<T: serde::de::DeserializeOwned>(
    status: u16,
    retry_after_header: Option<&str>,
    body: &[u8],
    scrub: impl Fn(&str) -> String,
) -> Result<T, ApiError> {
    let envelope = serde_json::from_slice::<Envelope<'_>>(body);
    let good = (200..300).contains(&status);
    match envelope {
        Ok(Envelope { ok: true, result: Some(result), .. }) if good => serde_json::from_str(result.get())
            .map_err(|error| {
                ApiError::Unexpected(format!("its result has another shape ({:?})", error.classify()))
            }),
        Err(_) if good => Err(ApiError::Unexpected("it did not answer in JSON".to_owned())),
        Ok(Envelope { error_code: None, .. }) if good => {
            Err(ApiError::Unexpected("its answer has no result".to_owned()))
        }
        Ok(Envelope { error_code, description, parameters, .. }) => Err(ApiError::Refused(Refusal {
            code: error_code.unwrap_or(status),
            description: scrub(&description),
            retry_after: parameters.as_ref().and_then(|parameters| parameters.retry_after).and_then(seconds),
            migrate_to: parameters.and_then(|parameters| parameters.migrate_to_chat_id),
        })),
        // The answer of a proxy or a load balancer in front of the Bot API.
        Err(_) => Err(ApiError::Refused(Refusal {
            code: status,
            retry_after: retry_after_header.and_then(|text| text.trim().parse().ok()).and_then(seconds),
            ..Refusal::default()
        })),
    }
}

fn seconds(count: f64) -> Option<Duration> {
    // More than a day is a mistake of whoever says so, and more than there is time cannot be waited for.
    (count >= 0.0).then(|| Duration::from_secs_f64(count.min(TELEGRAM_RETRY_AFTER_SECONDS_MAX)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{ApiError, Refusal, Trouble, parse_answer};

    fn outcome(status: u16, body: &str) -> Result<i64, ApiError> {
        parse_answer(status, Some("7"), body.as_bytes(), |text| text.replace("TOKEN", "***"))
    }

    fn refused(code: u16, description: &str, retry_after: Option<u64>, migrate_to: Option<i64>) -> ApiError {
        let retry_after = retry_after.map(Duration::from_secs);
        ApiError::Refused(Refusal { code, description: description.to_owned(), retry_after, migrate_to })
    }

    #[test]
    fn answers_are_told_apart() {
        assert_eq!(outcome(200, r#"{"ok":true,"result":5}"#), Ok(5));
        let cases = [
            (
                401,
                r#"{"ok":false,"error_code":401,"description":"Unauthorized"}"#,
                refused(401, "Unauthorized", None, None),
            ),
            // Seen in an emulator: no `ok`, no `error_code`.
            (500, r#"{"message":"oops"}"#, refused(500, "", None, None)),
            (
                429,
                r#"{"ok":false,"error_code":429,"description":"bot TOKEN","parameters":{"retry_after":3}}"#,
                refused(429, "bot ***", Some(3), None),
            ),
            (
                400,
                r#"{"ok":false,"error_code":400,"description":"moved","parameters":{"migrate_to_chat_id":-1001}}"#,
                refused(400, "moved", None, Some(-1001)),
            ),
            (502, "<html>bad gateway</html>", refused(502, "", Some(7), None)),
            (404, "", refused(404, "", Some(7), None)),
            // An error in a good status is an error.
            (200, r#"{"ok":false,"error_code":409,"description":"c"}"#, refused(409, "c", None, None)),
        ];
        for (status, body, expected) in cases {
            assert_eq!(outcome(status, body), Err(expected), "{body}");
        }
        for body in
            ["<html>log in to this WLAN</html>", r#"{"ok":true,"result":"x"}"#, r#"{"ok":true}"#, "[]"]
        {
            assert!(matches!(outcome(200, body), Err(ApiError::Unexpected(_))), "{body}");
        }
        // Added to the time it must not overflow.
        for count in ["1e19", "99999999999"] {
            let body = format!(r#"{{"ok":false,"error_code":429,"parameters":{{"retry_after":{count}}}}}"#);
            let day = Some(24 * 3_600);
            assert_eq!(outcome(429, &body), Err(refused(429, "", day, None)), "{count}");
        }
    }

    #[test]
    fn troubles_are_told_apart() {
        let other = "Conflict: terminated by other getUpdates request; make sure that only one bot instance is running";
        let webhook =
            "Conflict: can't use getUpdates method while webhook is active; use deleteWebhook first";
        for (error, expected) in [
            (refused(401, "Unauthorized", None, None), Trouble::Unauthorized),
            (refused(404, "", None, None), Trouble::Unauthorized),
            (refused(403, "", None, None), Trouble::Unreachable),
            (refused(409, other, None, None), Trouble::Conflict),
            (refused(409, webhook, None, None), Trouble::Webhook),
            (refused(502, "", None, None), Trouble::Unreachable),
            (refused(429, "Too Many Requests", None, None), Trouble::Unreachable),
            (ApiError::Lost("x".to_owned()), Trouble::Unreachable),
            (ApiError::Unexpected("x".to_owned()), Trouble::Unreachable),
        ] {
            assert_eq!(Trouble::of(&error), expected, "{error}");
        }
    }
}

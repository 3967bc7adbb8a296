//! Errors of the Bot API, told apart by what they mean for a message, and the parsing of its answers.
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

    use super::{ApiError, Refusal, parse_answer};

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
}

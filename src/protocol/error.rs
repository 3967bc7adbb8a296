//! What a refused request is answered with. Which request is refused is decided elsewhere.

use serde::Serialize;
use serde_json::Value;

use crate::limits::ERROR_TEXT_BYTES_MAX;
use crate::protocol::cut;

/// The protocol's error codes. Adding one is additive; renaming one breaks clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(crate) enum ErrorCode {
    /// The request itself is wrong: sending it again changes nothing.
    InvalidRequest,
    /// The channel is set up but not linked to an account.
    NotLinked,
    /// What the request needs is not there now.
    Unavailable,
    /// The run reached its time limit.
    AgentTimeout,
    /// There is no such method.
    UnknownMethod,
    /// The request contradicts the server's state.
    Conflict,
    /// Somebody cancelled the run.
    Cancelled,
    /// Too much was asked at once: wait `retryAfterMs`.
    RateLimited,
    /// The server has a defect.
    Internal,
}

/// The `error` member of a `res`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WireError {
    /// The kind of error, for programs.
    pub(crate) code: ErrorCode,
    /// One sentence for a person, at most `ERROR_TEXT_BYTES_MAX` bytes.
    pub(crate) message: String,
    /// Further facts, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) details: Option<Value>,
    /// Whether the same request may succeed later.
    pub(crate) retryable: bool,
    /// When to try again, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after_ms: Option<u64>,
}

impl WireError {
    /// An error with that code, which says whether it is retryable. A defect in one place need not be there the next
    /// time; after a time limit a new key is needed.
    pub(crate) fn new(code: ErrorCode, message: impl AsRef<str>) -> Self {
        use ErrorCode::{AgentTimeout, Internal, RateLimited, Unavailable};
        let retryable = matches!(code, AgentTimeout | Internal | RateLimited | Unavailable);
        let message = cut(message.as_ref(), ERROR_TEXT_BYTES_MAX).to_owned();
        Self { code, message, details: None, retryable, retry_after_ms: None }
    }

    /// `INVALID_REQUEST`, not retryable.
    pub(crate) fn invalid(message: impl AsRef<str>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message)
    }

    /// An `UNAVAILABLE` error that may be tried again.
    pub(crate) fn unavailable(message: impl AsRef<str>) -> Self {
        Self::new(ErrorCode::Unavailable, message)
    }

    /// `CONFLICT`, not retryable.
    pub(crate) fn conflict(message: impl AsRef<str>) -> Self {
        Self::new(ErrorCode::Conflict, message)
    }

    /// `RATE_LIMITED` with the time to wait.
    pub(crate) fn rate_limited(message: impl AsRef<str>, retry_after_ms: u64) -> Self {
        Self { retry_after_ms: Some(retry_after_ms), ..Self::new(ErrorCode::RateLimited, message) }
    }

    /// An error `INTERNAL`, after which the request may be tried again.
    pub(crate) fn internal(message: impl AsRef<str>) -> Self {
        Self::new(ErrorCode::Internal, message)
    }

    /// The same error with `details`.
    #[must_use]
    pub(crate) fn with_details(self, details: Value) -> Self {
        Self { details: Some(details), ..self }
    }

    /// The same error, which repeating will not cure.
    #[must_use]
    pub(crate) fn not_retryable(self) -> Self {
        Self { retryable: false, ..self }
    }
}

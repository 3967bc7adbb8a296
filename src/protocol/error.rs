//! What a refused request answers.

use serde::Serialize;
use serde_json::Value;

use crate::limits::ERROR_TEXT_BYTES_MAX;
use crate::protocol::cut;

/// The protocol's error codes. Adding one is additive; renaming one breaks clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorCode {
    /// The request itself is wrong: sending it again changes nothing.
    InvalidRequest,
    /// The channel is set up but not linked to an account.
    NotLinked,
    /// What the request needs is not there now.
    Unavailable,
    /// The run reached its time limit.
    AgentTimeout,
    /// No such method.
    UnknownMethod,
    /// The request contradicts the server's state.
    Conflict,
    /// Somebody cancelled it.
    Cancelled,
    /// Too much at once: wait `retryAfterMs`.
    RateLimited,
    /// A defect of the server.
    Internal,
}

/// The `error` member of a `res`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WireError {
    /// Stable, for programs.
    pub code: ErrorCode,
    /// One sentence for a person, at most `ERROR_TEXT_BYTES_MAX` bytes.
    pub message: String,
    /// Facts for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// When to try again, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

impl WireError {
    fn new(code: ErrorCode, message: impl AsRef<str>, retryable: bool) -> Self {
        let message = cut(message.as_ref(), ERROR_TEXT_BYTES_MAX).to_owned();
        Self { code, message, details: None, retryable, retry_after_ms: None }
    }

    /// `INVALID_REQUEST`, not retryable.
    pub fn invalid(message: impl AsRef<str>) -> Self {
        Self::new(ErrorCode::InvalidRequest, message, false)
    }

    /// `UNAVAILABLE`, retryable.
    pub fn unavailable(message: impl AsRef<str>) -> Self {
        Self::new(ErrorCode::Unavailable, message, true)
    }

    /// `NOT_LINKED`, not retryable.
    pub fn not_linked(message: impl AsRef<str>) -> Self {
        Self::new(ErrorCode::NotLinked, message, false)
    }

    /// `UNKNOWN_METHOD`, not retryable.
    pub fn unknown_method(message: impl AsRef<str>) -> Self {
        Self::new(ErrorCode::UnknownMethod, message, false)
    }

    /// `CONFLICT`, not retryable.
    pub fn conflict(message: impl AsRef<str>) -> Self {
        Self::new(ErrorCode::Conflict, message, false)
    }

    /// `CANCELLED`, not retryable.
    pub fn cancelled(message: impl AsRef<str>) -> Self {
        Self::new(ErrorCode::Cancelled, message, false)
    }

    /// `AGENT_TIMEOUT`, retryable (with a new key).
    pub fn agent_timeout(message: impl AsRef<str>) -> Self {
        Self::new(ErrorCode::AgentTimeout, message, true)
    }

    /// `RATE_LIMITED` with the time to wait.
    pub fn rate_limited(message: impl AsRef<str>, retry_after_ms: u64) -> Self {
        let mut error = Self::new(ErrorCode::RateLimited, message, true);
        error.retry_after_ms = Some(retry_after_ms);
        error
    }

    /// `INTERNAL`, retryable: a defect in one place need not be there the next time.
    pub fn internal(message: impl AsRef<str>) -> Self {
        Self::new(ErrorCode::Internal, message, true)
    }

    /// The same error with `details`.
    #[must_use]
    pub fn with_details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    /// The same error, which repeating will not cure.
    #[must_use]
    pub fn not_retryable(mut self) -> Self {
        self.retryable = false;
        self
    }
}

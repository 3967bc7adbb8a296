//! A response to a plain HTTP request, before it is written.

use std::borrow::Cow;

/// A response, all of it.
pub(super) struct Response {
    pub(super) status: u16,
    pub(super) kind: &'static str,
    /// Further header lines, each with its end.
    pub(super) headers: String,
    pub(super) body: Cow<'static, [u8]>,
}

impl Response {
    pub(super) fn new(
        status: u16,
        kind: &'static str,
        headers: String,
        body: impl Into<Cow<'static, [u8]>>,
    ) -> Self {
        Self { status, kind, headers, body: body.into() }
    }

    /// A response that is true now and must not be kept.
    pub(super) fn fresh(status: u16, kind: &'static str, body: String) -> Self {
        Self::new(status, kind, "Cache-Control: no-store\r\n".to_owned(), body.into_bytes())
    }
}

//! The head of an HTTP request, read once before anything else is decided. Knows nothing of what is served.

use std::borrow::Cow;
use std::io;
use std::time::Instant;

use crate::limits::{HTTP_HEAD_BYTES_MAX, HTTP_HEADERS_MAX};
use crate::net::ConnShared;
use crate::net::refusal::HttpRefusal;
use crate::net::stream::read_until;

/// A parsed head, and what came behind it.
pub(super) struct RequestHead {
    pub(super) method: String,
    /// The host and port that are asked, where the target was in absolute form.
    pub(super) authority: Option<String>,
    /// The target's path and query.
    pub(super) target: String,
    pub(super) http11: bool,
    /// All headers, names in lower case.
    pub(super) headers: Vec<(String, Vec<u8>)>,
    /// Bytes behind the blank line: frames that a hurried client sent already.
    pub(super) rest: Vec<u8>,
}

impl RequestHead {
    /// Reads a head, until the blank line or the deadline. `Err` is what to answer; `None`: nobody is there to
    /// hear it, or nothing was asked.
    pub(super) fn read(shared: &ConnShared, deadline: Instant) -> Result<RequestHead, Option<HttpRefusal>> {
        let mut bytes = Vec::with_capacity(1024);
        let mut chunk = [0; 1024];
        loop {
            let count = match read_until(shared, deadline, &mut chunk) {
                Ok(0) => return Err(None),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    return Err((!bytes.is_empty()).then_some(HttpRefusal::TIMEOUT));
                }
                Err(_) => return Err(None),
            };
            bytes.extend_from_slice(&chunk[..count]);
            if let Some(head) = Self::parse(&bytes)? {
                return Ok(head);
            }
            if bytes.len() >= HTTP_HEAD_BYTES_MAX {
                return Err(Some(HttpRefusal::TOO_LARGE));
            }
        }
    }

    /// The head at the beginning of `bytes`, or `None` if it is not there yet.
    pub(super) fn parse(bytes: &[u8]) -> Result<Option<RequestHead>, HttpRefusal> {
        let mut headers = [httparse::EMPTY_HEADER; HTTP_HEADERS_MAX];
        let mut request = httparse::Request::new(&mut headers);
        let head_bytes = match request.parse(bytes) {
            Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err(HttpRefusal::TOO_LARGE),
            Err(_) => return Err(HttpRefusal::new(400, "this is not an HTTP/1.1 request")),
        };
        if head_bytes > HTTP_HEAD_BYTES_MAX {
            return Err(HttpRefusal::TOO_LARGE);
        }
        let (authority, target) = split_target(request.path.unwrap_or_default());
        Ok(Some(RequestHead {
            authority: authority.map(str::to_owned),
            target: target.into_owned(),
            method: request.method.unwrap_or_default().to_owned(),
            http11: request.version == Some(1),
            headers: request
                .headers
                .iter()
                .map(|header| (header.name.to_ascii_lowercase(), header.value.to_vec()))
                .collect(),
            rest: bytes[head_bytes..].to_vec(),
        }))
    }

    /// The value of a header that may stand there once: an error if it stands there twice or is
    /// not text.
    pub(super) fn single(&self, name: &str) -> Result<Option<&str>, ()> {
        let mut values = self.headers.iter().filter(|(header, _)| header == name).map(|(_, value)| value);
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => std::str::from_utf8(value).map(|text| Some(text.trim())).map_err(|_| ()),
            (Some(_), Some(_)) => Err(()),
        }
    }

    /// Whether the request asks for a WebSocket.
    pub(super) fn asks_for_websocket(&self) -> bool {
        self.headers.iter().any(|(name, value)| {
            name == "upgrade"
                && value
                    .split(|byte| *byte == b',')
                    .any(|item| item.trim_ascii().eq_ignore_ascii_case(b"websocket"))
        })
    }

    /// The target's path, without the query.
    pub(super) fn path(&self) -> &str {
        self.target.split(['?', '#']).next().unwrap_or_default()
    }
}

/// Takes the absolute form (`http://HOST/PATH`) apart, as proxies and a few clients send it; any other
/// target is one as a whole. The scheme does not matter: whatever it is, somebody means the host behind it.
fn split_target(target: &str) -> (Option<&str>, Cow<'_, str>) {
    let absolute = target.split_once("://").filter(|(scheme, _)| !scheme.contains(['/', '?', '#']));
    let Some((_, rest)) = absolute else {
        return (None, target.into());
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    // The root may be left out before a query.
    let path = if path.starts_with('/') { path.into() } else { format!("/{path}").into() };
    (Some(authority), path)
}

#[cfg(test)]
mod tests {
    use super::split_target;

    #[test]
    fn absolute_targets_are_taken_apart() {
        for (target, authority, path) in [
            ("/a?b", None, "/a?b"),
            ("*", None, "*"),
            ("//h/a", None, "//h/a"),
            ("http:/a", None, "http:/a"),
            ("/a?b=ws://h/a", None, "/a?b=ws://h/a"),
            ("?ws://h/a", None, "?ws://h/a"),
            ("ws://h/a", Some("h"), "/a"),
            ("WSS://h:1", Some("h:1"), "/"),
            ("ftp://h/a", Some("h"), "/a"),
            ("x-y+z.1://h", Some("h"), "/"),
            ("://h/a", Some("h"), "/a"),
            ("http://h:1/a?b", Some("h:1"), "/a?b"),
            ("hTTps://[::1]", Some("[::1]"), "/"),
            ("http://h?b", Some("h"), "/?b"),
            ("http://h#/a", Some("h"), "/#/a"),
            ("http://a@b/c", Some("a@b"), "/c"),
            ("http://", Some(""), "/"),
            ("http://\u{fc}/a", Some("\u{fc}"), "/a"),
        ] {
            let (found, rest) = split_target(target);
            assert_eq!((found, rest.as_ref()), (authority, path), "{target}");
        }
    }
}

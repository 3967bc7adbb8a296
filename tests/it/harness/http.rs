//! Plain HTTP requests, one per connection.

use std::net::SocketAddr;

use serde_json::Value;

use super::raw::Raw;

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    /// Splits what came until the end of the connection.
    #[track_caller]
    pub(crate) fn parse(bytes: Vec<u8>) -> Self {
        let text = String::from_utf8(bytes).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no HTTP answer: {text:?}"));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status: {head:?}"));
        Self { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// A header, by its name in any case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        lines.filter(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value).next()
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {:?}", self.body))
    }
}

/// Sends a whole head and reads to the end.
#[track_caller]
pub(crate) fn exchange(addr: SocketAddr, head: &str) -> Answer {
    let mut socket = Raw::connect(addr);
    socket.write(head.as_bytes());
    Answer::parse(socket.read_to_end())
}

/// A plain request with a good `Host`, and more header lines (each ended with CR LF).
#[track_caller]
pub(crate) fn request(addr: SocketAddr, method: &str, path: &str, more: &str) -> Answer {
    exchange(addr, &format!("{method} {path} HTTP/1.1\r\nHost: {addr}\r\n{more}\r\n"))
}

/// The value of one line of `/metrics`.
#[track_caller]
pub(crate) fn metric(addr: SocketAddr, more: &str, name: &str) -> u64 {
    let answer = request(addr, "GET", "/metrics", more);
    assert_eq!(answer.status, 200, "{answer:?}");
    let line = answer.body.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no `{name}` in\n{}", answer.body)).parse().unwrap()
}

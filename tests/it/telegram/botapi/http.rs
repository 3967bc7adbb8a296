//! HTTP/1.1 as far as a Bot API server needs it: heads, bodies of three kinds, answers and resets.
//!
//! Knows nothing of bots.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Map, Value};

/// Far beyond what a client of a Bot API has to say.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// One side of a connection that stays open between requests.
pub(super) struct Connection {
    reader: BufReader<TcpStream>,
}

/// A request up to its blank line.
#[derive(Debug, Default)]
pub(super) struct Head {
    pub(super) target: String,
    pub(super) content_type: String,
    length: usize,
    chunked: bool,
    pub(super) keep_alive: bool,
    expects_continue: bool,
}

/// A file in a multipart body.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Upload {
    pub(crate) name: String,
    pub(crate) mime_type: String,
    pub(crate) bytes: Vec<u8>,
}

/// What a body says.
#[derive(Debug, Default)]
pub(super) struct Body {
    pub(super) params: Map<String, Value>,
    pub(super) files: BTreeMap<String, Upload>,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) location: Option<String>,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn json(status: u16, value: &Value) -> Self {
        Self::text(status, "application/json", value.to_string())
    }

    pub(super) fn text(status: u16, content_type: &'static str, text: String) -> Self {
        Self { status, content_type, location: None, body: text.into_bytes() }
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

impl Connection {
    pub(super) fn new(stream: TcpStream) -> Self {
        let _ = stream.set_nodelay(true);
        Self { reader: BufReader::new(stream) }
    }

    /// The next request's head; `None` when the client has hung up between two.
    pub(super) fn head(&mut self) -> io::Result<Option<Head>> {
        let mut bytes = Vec::new();
        loop {
            let before = bytes.len();
            if self.reader.read_until(b'\n', &mut bytes)? == 0 {
                return if bytes.is_empty() { Ok(None) } else { Err(broken("half a head")) };
            }
            if &bytes[before..] == b"\r\n" {
                return parse_head(&bytes).map(Some);
            }
            if bytes.len() > HEAD_BYTES_MAX {
                return Err(broken("a head without an end"));
            }
        }
    }

    /// The body that belongs to `head`.
    pub(super) fn body(&mut self, head: &Head) -> io::Result<Vec<u8>> {
        if head.expects_continue {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let mut body = Vec::new();
        if !head.chunked {
            self.reader.by_ref().take(head.length as u64).read_to_end(&mut body)?;
            return if body.len() == head.length { Ok(body) } else { Err(broken("half a body")) };
        }
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line)?;
            let size = usize::from_str_radix(line.trim(), 16).map_err(|_| broken("no chunk size"))?;
            let start = body.len();
            self.reader.by_ref().take(size as u64 + 2).read_to_end(&mut body)?;
            if body.len() != start + size + 2 {
                return Err(broken("half a chunk"));
            }
            body.truncate(start + size);
            if size == 0 {
                return Ok(body);
            }
        }
    }

    pub(super) fn answer(&mut self, answer: &Answer, keep_alive: bool) -> io::Result<()> {
        let head = answer_head(answer, keep_alive);
        self.write(&[head.as_bytes(), &answer.body].concat())
    }

    /// The same with the body a byte at a time.
    pub(super) fn answer_slowly(&mut self, answer: &Answer, pause: Duration) -> io::Result<()> {
        self.write(answer_head(answer, false).as_bytes())?;
        for byte in &answer.body {
            std::thread::sleep(pause);
            self.write(&[*byte])?;
        }
        Ok(())
    }

    /// The head, half of the body and the end of the connection.
    pub(super) fn answer_half(&mut self, answer: &Answer) -> io::Result<()> {
        let head = answer_head(answer, false);
        self.write(&[head.as_bytes(), &answer.body[..answer.body.len() / 2]].concat())
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    /// Ends with a RST instead of a FIN.
    pub(super) fn reset(self) {
        reset(self.reader.into_inner());
    }

    /// Says nothing until the client gives up.
    pub(super) fn hang(mut self) {
        let mut sink = [0; 1024];
        while matches!(self.reader.read(&mut sink), Ok(1..)) {}
    }
}

/// Closes a connection with a RST.
pub(super) fn reset(stream: TcpStream) {
    let _ = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
}

fn answer_head(answer: &Answer, keep_alive: bool) -> String {
    let reason = match answer.status {
        200 => "OK",
        302 => "Found",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        409 => "Conflict",
        429 => "Too Many Requests",
        502 => "Bad Gateway",
        _ => "Status",
    };
    let location = answer.location.as_ref().map(|to| format!("Location: {to}\r\n")).unwrap_or_default();
    format!(
        "HTTP/1.1 {} {reason}\r\nServer: nginx/1.18.0\r\nContent-Type: {}\r\nContent-Length: {}\r\n{location}Connection: {}\r\n\r\n",
        answer.status,
        answer.content_type,
        answer.body.len(),
        if keep_alive { "keep-alive" } else { "close" },
    )
}

fn parse_head(bytes: &[u8]) -> io::Result<Head> {
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut headers);
    request.parse(bytes).map_err(|error| broken(&error.to_string()))?;
    let mut head =
        Head { target: request.path.unwrap_or_default().to_owned(), keep_alive: true, ..Head::default() };
    for header in request.headers {
        let value = String::from_utf8_lossy(header.value).into_owned();
        match header.name.to_ascii_lowercase().as_str() {
            "content-type" => head.content_type = value,
            "content-length" => head.length = value.parse().map_err(|_| broken("no length"))?,
            "transfer-encoding" => head.chunked = value.eq_ignore_ascii_case("chunked"),
            "connection" => head.keep_alive = !value.eq_ignore_ascii_case("close"),
            "expect" => head.expects_continue = true,
            _ => {}
        }
    }
    Ok(head)
}

/// What the query string and the body say together.
pub(super) fn decode(head: &Head, bytes: &[u8]) -> Result<Body, String> {
    let mut body = Body::default();
    if let Some((_, query)) = head.target.split_once('?') {
        body.params = form(query);
    }
    let (kind, rest) = head.content_type.split_once(';').unwrap_or((&head.content_type, ""));
    match kind.trim() {
        "application/json" if !bytes.is_empty() => {
            let value: Value = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
            let Value::Object(params) = value else { return Err("no JSON object".to_owned()) };
            body.params.extend(params);
        }
        "application/x-www-form-urlencoded" => {
            body.params.extend(form(&String::from_utf8_lossy(bytes)));
        }
        "multipart/form-data" => {
            let boundary = rest.trim().strip_prefix("boundary=").ok_or("no boundary")?;
            multipart(&mut body, bytes, boundary.trim_matches('"'))?;
        }
        _ if bytes.is_empty() => {}
        other => return Err(format!("a body of the type {other:?}")),
    }
    Ok(body)
}

/// Texts stay texts; the rest of what comes without types is JSON where it can be.
fn typed(name: &str, text: String) -> Value {
    match name {
        "text" | "caption" | "action" | "file_id" => Value::String(text),
        _ => serde_json::from_str(&text).unwrap_or(Value::String(text)),
    }
}

fn form(text: &str) -> Map<String, Value> {
    let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (unescape(name), typed(name, unescape(value)))).collect()
}

fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while at < bytes.len() {
        let hex = (bytes[at] == b'%').then(|| text.get(at + 1..at + 3)).flatten();
        if let Some(byte) = hex.and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            out.push(byte);
            at += 3;
        } else {
            out.push(if bytes[at] == b'+' { b' ' } else { bytes[at] });
            at += 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

fn multipart(body: &mut Body, bytes: &[u8], boundary: &str) -> Result<(), String> {
    let delimiter = format!("\r\n--{boundary}");
    // The first delimiter has no line end of its own before it.
    let bytes = [b"\r\n", bytes].concat();
    let mut rest = bytes.as_slice();
    let start = find(rest, delimiter.as_bytes()).ok_or("no first boundary")?;
    rest = &rest[start + delimiter.len()..];
    while !rest.starts_with(b"--") {
        let end = find(rest, delimiter.as_bytes()).ok_or("a part without an end")?;
        part(body, &rest[2..end])?;
        rest = &rest[end + delimiter.len()..];
    }
    Ok(())
}

fn part(body: &mut Body, part: &[u8]) -> Result<(), String> {
    let end = find(part, b"\r\n\r\n").ok_or("a part without a head")?;
    let head = String::from_utf8_lossy(&part[..end]).into_owned();
    let content = &part[end + 4..];
    let member = |name: &str| {
        let (_, value) = head.split_once(&format!(" {name}=\""))?;
        Some(value.split('"').next().unwrap_or_default().to_owned())
    };
    let name = member("name").ok_or("a part without a name")?;
    let Some(file) = member("filename") else {
        let text = String::from_utf8(content.to_vec()).map_err(|error| error.to_string())?;
        body.params.insert(name.clone(), typed(&name, text));
        return Ok(());
    };
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let mime_type = lines
        .filter(|(header, _)| header.eq_ignore_ascii_case("content-type"))
        .map(|(_, value)| value.trim().to_owned())
        .next();
    let upload = Upload { name: file, mime_type: mime_type.unwrap_or_default(), bytes: content.to_vec() };
    body.files.insert(name, upload);
    Ok(())
}

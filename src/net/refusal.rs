//! What HTTP requests and handshakes are refused with. How a refusal is written is for `http`.

/// A response that is not what was asked for: status, sentence, and further header lines, each with its end.
#[derive(Debug)]
pub(super) struct HttpRefusal {
    pub(super) status: u16,
    pub(super) text: &'static str,
    pub(super) headers: &'static str,
}

/// What a client is told that finds no slot.
pub(super) const TOO_MANY_CLIENTS: &str =
    "too many clients are connected: close some, or raise --max-clients and the limit on open files";

impl HttpRefusal {
    pub(super) const TIMEOUT: Self = Self::new(408, "the request took longer than 3 seconds");
    pub(super) const TOO_LARGE: Self =
        Self::new(431, "the request's head is larger than 8 KiB or has more than 64 headers");
    pub(super) const UPGRADE_VERSION: Self =
        Self::new(426, "speak WebSocket version 13").with("Sec-WebSocket-Version: 13\r\n");
    pub(super) const FULL: Self = Self::new(503, TOO_MANY_CLIENTS).with("Retry-After: 5\r\n");
    pub(super) const EVICTED: Self =
        Self::new(503, "too many connections are in their handshake; try again").with("Retry-After: 1\r\n");
    pub(super) const STOPPING: Self = Self::new(503, "the gateway is stopping");
    pub(super) const NOT_FOUND: Self =
        Self::new(404, "there is no such page; try /, /healthz, /readyz or /metrics");
    pub(super) const METHOD: Self =
        Self::new(405, "only GET and HEAD are answered").with("Allow: GET, HEAD\r\n");
    pub(super) const UNAUTHORIZED: Self =
        Self::new(401, "send the gateway's token as `Authorization: Bearer TOKEN`")
            .with("WWW-Authenticate: Bearer\r\n");

    pub(super) const fn new(status: u16, text: &'static str) -> Self {
        Self { status, text, headers: "" }
    }

    const fn with(self, headers: &'static str) -> Self {
        Self { headers, ..self }
    }
}

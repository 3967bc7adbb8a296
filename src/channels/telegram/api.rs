//! Calls of the Bot API: one method, one answer. Knows the token and shows it to nobody.

use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use ureq::http::Uri;
use ureq::{Body, Proxy, SendBody};

use crate::channels::telegram::error::{self, ApiError, Refusal};
use crate::channels::web::client::{HttpClient, ProxyRoute, Timeouts, describe_io, is_loopback, port_of};
use crate::channels::web::download::{Downloader, MediaSources};
use crate::config::file;
use crate::config::secret::Secret;
use crate::limits::{MEDIA_FETCH_TIMEOUT, TELEGRAM_ANSWER_BYTES_MAX, TELEGRAM_ERROR_TEXT_BYTES_MAX};
use crate::logging::redact;
use crate::names;
use crate::protocol::cut;

/// The bot's own account, as `getMe` tells it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct BotAccount {
    /// User id of the bot.
    pub(super) id: i64,
    /// Name of the bot, without `@`.
    #[serde(default)]
    pub(super) username: String,
    /// Whether it sees messages of groups that are not for it, too.
    #[serde(default)]
    pub(super) can_read_all_group_messages: bool,
}

/// Where the Bot API is, and what else the config says of Telegram. No `Debug`: it holds the token.
pub(crate) struct TelegramSetup {
    /// URL of the server, without a slash at its end.
    base: String,
    token: Secret,
    /// Name and port of the server, in the one form in which servers are compared.
    pub(super) server: String,
    /// Whether the server is on this machine, and may hand out its own files by path.
    pub(super) is_local: bool,
    proxy_route: ProxyRoute,
    /// Whether a webhook that is set for the bot is removed.
    pub(super) delete_webhook: bool,
    /// Size of the largest picture or file that is fetched.
    pub(super) media_bytes_max: u64,
    /// Folder for files on their way to the server, made when needed.
    pub(super) tmp: PathBuf,
    pub(super) downloader: Downloader,
}

impl TelegramSetup {
    /// From the settings; `None` without a token. `tmp` is a folder of ours, and `sources` says what may be sent.
    /// Fails with what is wrong with a URL, and where it stands.
    pub(crate) fn new(
        config: &file::Telegram,
        tmp: PathBuf,
        sources: MediaSources,
    ) -> Result<Option<Self>, String> {
        let wrong = || {
            "telegram.apiBase (or CLAWDIS_TELEGRAM_API_BASE): needs a URL such as https://api.telegram.org"
                .to_owned()
        };
        let base = config.api_base.trim_end_matches('/').to_owned();
        let uri: Uri = base.parse().map_err(|_| wrong())?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.query().is_some() {
            return Err(wrong());
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
        let is_local = is_loopback(host);
        let web_route = match &config.proxy {
            Some(proxy) => ProxyRoute::Through(Proxy::new(proxy).map_err(|_| {
                "telegram.proxy: needs a URL such as http://host:3128 or socks5://host:1080".to_owned()
            })?),
            None => ProxyRoute::Environment,
        };
        // The URLs are checked without a token, too: what is wrong should not wait for one.
        let Some(token) = config.bot_token.clone() else { return Ok(None) };
        let is_direct = is_local && config.proxy.is_none();
        Ok(Some(Self {
            server: format!("{}:{}", host.to_ascii_lowercase(), port_of(&uri)),
            base,
            token,
            is_local,
            proxy_route: if is_direct { ProxyRoute::Direct } else { web_route.clone() },
            delete_webhook: config.delete_webhook,
            media_bytes_max: config.media_max_mb.saturating_mul(1024 * 1024),
            tmp,
            downloader: Downloader { proxy_route: web_route, sources },
        }))
    }

    /// Whether the token has the form of one: any other character would change the URL that it is part of.
    pub(super) fn has_sound_token(&self) -> bool {
        let token = self.token.expose();
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_' | b'-');
        token.contains(':') && token.bytes().all(good)
    }

    fn url(&self, method: &str) -> String {
        format!("{}/bot{}/{method}", self.base, self.token.expose())
    }

    /// The server's words without the token, and cut.
    fn scrub(&self, text: &str) -> String {
        let bare = text.replace(self.token.expose(), "<redacted>");
        cut(&redact(&bare), TELEGRAM_ERROR_TEXT_BYTES_MAX).replace(['\n', '\r'], " ")
    }
}

/// An open file that is to be sent.
pub(super) struct Upload {
    pub(super) file: File,
    pub(super) bytes: u64,
    pub(super) name: String,
    pub(super) mime_type: String,
}

/// A client of the Bot API, for one thread.
pub(super) struct Api {
    pub(super) setup: Arc<TelegramSetup>,
    http: HttpClient,
}

impl Api {
    pub(super) fn new(setup: Arc<TelegramSetup>) -> Self {
        // A redirect would carry the token to somebody else.
        let http = HttpClient::new(&setup.proxy_route);
        Self { setup, http }
    }

    /// What ends the call in progress from another thread, and makes every later one fail.
    pub(super) fn stopper(&self) -> impl Fn() + Send + 'static {
        self.http.stopper()
    }

    /// Calls `method` with these parameters.
    pub(super) fn call<T: DeserializeOwned>(
        &self,
        method: &str,
        parameters: &impl Serialize,
        timeouts: Timeouts,
    ) -> Result<T, ApiError> {
        let body = serde_json::to_vec(parameters).unwrap_or_default();
        self.post(method, "application/json", &mut body.as_slice(), body.len() as u64, timeouts)
    }

    /// Calls `method` with parameters and one file, which has its own field, as a form.
    pub(super) fn upload<T: DeserializeOwned>(
        &self,
        method: &str,
        parameters: &[(&str, String)],
        field: &str,
        upload: &Upload,
    ) -> Result<T, ApiError> {
        let mut file = &upload.file;
        file.seek(SeekFrom::Start(0)).map_err(|error| ApiError::Unreachable(describe_io(&error)))?;
        // Without randomness it would be known to whoever wrote the file that is sent, and wrong only for them.
        let boundary = format!("clawdis-{}", names::random(16).unwrap_or_default());
        let mut head = Vec::new();
        for (name, value) in parameters {
            // Writing to a Vec cannot fail.
            let _ = write!(
                head,
                "--{boundary}\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
            );
        }
        let _ = write!(
            head,
            "--{boundary}\r\ncontent-disposition: form-data; name=\"{}\"; filename=\"{}\"\r\ncontent-type: {}\r\n\r\n",
            field,
            upload.name.replace(['"', '\\', '\r', '\n'], "_"),
            upload.mime_type,
        );
        let tail = format!("\r\n--{boundary}--\r\n");
        let bytes = head.len() as u64 + upload.bytes + tail.len() as u64;
        let mut body = head.as_slice().chain(file.take(upload.bytes)).chain(tail.as_bytes());
        let kind = format!("multipart/form-data; boundary={boundary}");
        self.post(method, &kind, &mut body, bytes, Timeouts::TRANSFER)
    }

    fn post<T: DeserializeOwned>(
        &self,
        method: &str,
        kind: &str,
        body: &mut dyn Read,
        bytes: u64,
        timeouts: Timeouts,
    ) -> Result<T, ApiError> {
        let url = self.setup.url(method);
        let (status, retry_after, body) = self.http.run(|agent| {
            let request = agent
                .post(&url)
                .config()
                .timeout_send_body(Some(timeouts.send))
                .timeout_recv_response(Some(timeouts.answer))
                .timeout_recv_body(Some(timeouts.body))
                .build();
            let mut response = request
                .header("content-type", kind)
                .header("content-length", bytes.to_string())
                .send(SendBody::from_reader(body))?;
            let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
            let retry_after = retry_after.map(str::to_owned);
            let status = response.status().as_u16();
            let body = response.body_mut().with_config().limit(TELEGRAM_ANSWER_BYTES_MAX).read_to_vec();
            // A refusal counts, even if its body cannot be read.
            let body = if (200..300).contains(&status) { body? } else { body.unwrap_or_default() };
            Ok((status, retry_after, body))
        })?;
        error::parse_answer(status, retry_after.as_deref(), &body, |text| self.setup.scrub(text))
    }

    /// Opens a file that `getFile` named.
    pub(super) fn download(&self, file_path: &str) -> Result<Body, ApiError> {
        let url = format!("{}/file/bot{}/{}", self.setup.base, self.setup.token.expose(), encode(file_path));
        let response = self.http.get(&url, MEDIA_FETCH_TIMEOUT)?;
        match response.status().as_u16() {
            200 => Ok(response.into_body()),
            code => {
                let description = "the file is not there".to_owned();
                Err(ApiError::Refused(Refusal { code, description, ..Refusal::default() }))
            }
        }
    }
}

/// A path of the server as part of a URL.
fn encode(path: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'_' | b'-' | b'~') {
            encoded.push(char::from(byte));
        } else {
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

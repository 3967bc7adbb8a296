//! The HTTP client of the channels: how a connection is made, and what its failures mean. The only place
//! that sees errors of `ureq`, because some of them hold URLs, and a URL may hold a token.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use std::{fmt, io};

use ureq::config::Config;
use ureq::http::{Response, Uri};
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{ConnectionDetails, Connector, DefaultConnector, NextTimeout, Transport};
use ureq::{Agent, Body, Error, Proxy, Timeout};

use crate::channels::web::media_hosts::{check_address, check_form, check_text, spelled_addresses};
use crate::limits::{
    WEB_ANSWER_TIMEOUT, WEB_CONNECT_TIMEOUT, WEB_IDLE_CONNECTION_AGE_MAX, WEB_TRANSFER_TIMEOUT,
    WEB_WRITE_TIMEOUT,
};
use crate::protocol::SERVER_VERSION;

/// How a client reaches servers: by which proxy, if any.
#[derive(Clone)]
pub(crate) enum ProxyRoute {
    /// By the proxy that the config names.
    Through(Proxy),
    /// As the environment says, which every other program follows.
    Environment,
    /// By no proxy, whatever the environment says: the server is this machine.
    Direct,
}

/// A client for one thread. Several requests at a time would mix up what is known of their connections.
pub(crate) struct HttpClient {
    agent: Agent,
    /// Connections that were begun and not made: while there is one, no byte of a request was sent.
    connecting: Arc<AtomicUsize>,
}

impl HttpClient {
    /// A client for one known server.
    pub(crate) fn new(proxy_route: &ProxyRoute) -> Self {
        Self::with_addresses(config(proxy_route), None)
    }

    /// A client for one URL that may come from anybody, redirects included: it connects to nothing in this
    /// network. The addresses that are judged are the ones that are connected to, so it does not matter what
    /// the host's name leads to a moment later. Where a proxy looks names up, only the text can be judged.
    pub(crate) fn for_public_web(proxy_route: &ProxyRoute, uri: &Uri) -> Result<Self, NotPublic> {
        let host = uri.host().unwrap_or_default();
        check_form(host).map_err(NotPublic::Inside)?;
        let config = config(proxy_route);
        let proxy = config.proxy().filter(|proxy| !proxy.is_no_proxy(uri));
        if proxy.is_some_and(|proxy| !proxy.resolve_target()) {
            check_text(host).map_err(NotPublic::Inside)?;
            return Ok(Self::with_addresses(config, None));
        }
        let found = look_up(uri).map_err(|_| NotPublic::Unresolved)?;
        let (web, inside): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|address| check_address(address.ip()).is_ok());
        if let (true, Some(address)) = (web.is_empty(), inside.first()) {
            check_address(address.ip()).map_err(NotPublic::Inside)?;
        }
        Ok(Self::with_addresses(config, Some(web)))
    }

    /// A client that connects to `judged` only, or to what the host's name leads to.
    fn with_addresses(config: Config, judged: Option<Vec<SocketAddr>>) -> Self {
        let connecting = Arc::default();
        let connector =
            CountingConnector { connecting: Arc::clone(&connecting), connector: DefaultConnector::new() };
        Self { agent: Agent::with_parts(config, connector, AddressResolver { judged }), connecting }
    }

    /// What ends the request in progress from another thread, and every later one at once.
    pub(crate) fn stopper(&self) -> impl Fn() + Send + 'static {
        let agent = self.agent.clone();
        move || agent.clone().shutdown()
    }

    /// Makes one request, which `request` builds and runs.
    pub(crate) fn run<T>(&self, request: impl FnOnce(&Agent) -> Result<T, Error>) -> Result<T, HttpError> {
        self.connecting.store(0, Relaxed);
        request(&self.agent).map_err(|error| classify(&error, self.connecting.load(Relaxed) > 0))
    }

    /// Gets what is behind a URL. From the head of the answer to its end may pass `body_timeout`.
    pub(crate) fn get(&self, url: &str, body_timeout: Duration) -> Result<Response<Body>, HttpError> {
        self.run(|agent| {
            let request = agent.get(url).config().timeout_recv_response(Some(WEB_ANSWER_TIMEOUT));
            request.timeout_recv_body(Some(body_timeout)).build().call()
        })
    }
}

/// A redirect is an answer like any other.
fn config(proxy_route: &ProxyRoute) -> Config {
    let mut config = Config::builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .user_agent(format!("clawdis-gateway/{SERVER_VERSION}"))
        .timeout_connect(Some(WEB_CONNECT_TIMEOUT))
        .timeout_send_request(Some(WEB_WRITE_TIMEOUT))
        // A server that closed an idle connection looks like one that lost a message.
        .max_idle_age(WEB_IDLE_CONNECTION_AGE_MAX)
        .max_idle_connections(1);
    match proxy_route {
        ProxyRoute::Through(proxy) => config = config.proxy(Some(proxy.clone())),
        ProxyRoute::Environment => {}
        ProxyRoute::Direct => config = config.proxy(None),
    }
    config.build()
}

/// Why a host does not count as one of the public web.
#[derive(Debug, PartialEq)]
pub(crate) enum NotPublic {
    /// It is in this network, or may be: what is known against it.
    Inside(String),
    /// Nobody knows: its name cannot be resolved.
    Unresolved,
}

/// Why a request brought no answer. Neither variant holds a URL.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum HttpError {
    /// The request was never complete at the server: it has surely done nothing.
    Unreachable(String),
    /// The request was written and its answer did not come: the server may have done it.
    Lost(String),
}

impl fmt::Display for HttpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Unreachable(why) | Self::Lost(why)) = self;
        f.write_str(why)
    }
}

/// What an error means for a request that was not complete, or whose answer was not.
fn classify(error: &Error, connecting: bool) -> HttpError {
    let words = describe(error);
    match error {
        _ if connecting => HttpError::Unreachable(words),
        Error::HostNotFound
        | Error::ConnectProxyFailed(_)
        | Error::ConnectionFailed
        | Error::BadUri(_)
        | Error::Http(_)
        | Error::TlsRequired
        | Error::Timeout(Timeout::Resolve | Timeout::Connect | Timeout::SendRequest | Timeout::SendBody) => {
            HttpError::Unreachable(words)
        }
        _ => HttpError::Lost(words),
    }
}

/// The error in words that hold no URL.
fn describe(error: &Error) -> String {
    match error {
        Error::HostNotFound => "its name cannot be resolved: is there a network?".to_owned(),
        Error::ConnectProxyFailed(_) => "the proxy does not connect".to_owned(),
        Error::Timeout(Timeout::Connect) => "it cannot be connected to (no answer)".to_owned(),
        Error::Timeout(Timeout::SendRequest | Timeout::SendBody) => "it takes no data".to_owned(),
        Error::Timeout(_) => "it does not answer in time".to_owned(),
        Error::Io(error) => describe_io(error),
        Error::Tls(_) | Error::Rustls(_) => "no secure connection can be made".to_owned(),
        Error::BodyExceedsLimit(_) => "its answer is too large".to_owned(),
        Error::Protocol(_) | Error::LargeResponseHeader(..) => "it does not speak HTTP".to_owned(),
        _ => "the request failed".to_owned(),
    }
}

/// An I/O error in words: the system's own, or what TLS says about a certificate.
pub(crate) fn describe_io(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    if let Some(inner) = inner {
        return describe(inner);
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "the connection was refused".to_owned(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            "the connection broke off".to_owned()
        }
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "it does not answer in time".to_owned(),
        // A Pi without a clock thinks that no certificate is valid yet.
        io::ErrorKind::InvalidData => format!("{error} (is the clock right?)"),
        _ => error.to_string(),
    }
}

/// Connects as `ureq` does, and counts the connections that are not made yet: by way of a proxy one is made
/// within another.
#[derive(Debug)]
struct CountingConnector {
    connecting: Arc<AtomicUsize>,
    connector: DefaultConnector,
}

impl Connector for CountingConnector {
    type Out = Box<dyn Transport>;

    fn connect(&self, to: &ConnectionDetails<'_>, chained: Option<()>) -> Result<Option<Self::Out>, Error> {
        self.connecting.fetch_add(1, Relaxed);
        let transport = self.connector.connect(to, chained)?;
        self.connecting.fetch_sub(1, Relaxed);
        Ok(transport)
    }
}

/// Looks names up on the thread that asks (`ureq`'s own resolver starts one more for each question).
#[derive(Debug)]
struct AddressResolver {
    /// Addresses of the one host that is asked, where they were judged: no others are looked up.
    judged: Option<Vec<SocketAddr>>,
}

impl Resolver for AddressResolver {
    fn resolve(&self, uri: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let found = match &self.judged {
            // The name of a SOCKS proxy is looked up here as well.
            Some(judged) if matches!(uri.scheme_str(), Some("http" | "https")) => judged.clone(),
            _ => look_up(uri)?,
        };
        let mut addresses = self.empty();
        found.into_iter().take(ADDRESSES_MAX).for_each(|address| addresses.push(address));
        if addresses.is_empty() { Err(Error::HostNotFound) } else { Ok(addresses) }
    }
}

/// Room of `ureq`'s list of addresses.
const ADDRESSES_MAX: usize = 16;

/// The addresses of a URL's host.
///
/// IPv4 comes first: where IPv6 leads nowhere, packets vanish and the wait is long; where IPv4 does
/// not work, it fails at once. `ureq` gives each address its share of the time for connecting.
fn look_up(uri: &Uri) -> Result<Vec<SocketAddr>, Error> {
    let host = uri.host().ok_or(Error::HostNotFound)?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let found = (bare, port_of(uri)).to_socket_addrs().map_err(|_| Error::HostNotFound)?;
    let mut known: Vec<SocketAddr> = found.collect();
    known.sort_by_key(SocketAddr::is_ipv6);
    Ok(known)
}

/// The port that a URL names, or that of its scheme.
pub(crate) fn port_of(uri: &Uri) -> u16 {
    uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 })
}

/// Whether this host is the machine itself.
pub(crate) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || spelled_addresses(host).first().is_some_and(|address| address.to_canonical().is_loopback())
}

/// How long the phases of a request may take after connecting and writing its head.
#[derive(Clone, Copy)]
pub(crate) struct Timeouts {
    /// For writing the request's body.
    pub(crate) send: Duration,
    /// From there to the head of the answer.
    pub(crate) answer: Duration,
    /// From there to the end of the answer.
    pub(crate) body: Duration,
}

impl Timeouts {
    /// Timeouts of an ordinary request.
    pub(crate) const REQUEST: Self = Self::each(WEB_ANSWER_TIMEOUT);

    /// Timeouts of an upload or download.
    pub(crate) const TRANSFER: Self = Self::each(WEB_TRANSFER_TIMEOUT);

    /// The same time for each phase.
    pub(crate) const fn each(each: Duration) -> Self {
        Self { send: each, answer: each, body: each }
    }
}

#[cfg(test)]
mod tests;

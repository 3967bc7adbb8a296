//! The HTTP client of the channels: how a connection is made, and what its failures mean. The only place
//! that sees errors of `ureq`, because some of them hold URLs, and a URL may hold a token.

use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{ConnectionDetails, Connector, DefaultConnector, NextTimeout, Transport};
use ureq::{Agent, Error, Proxy, Timeout};

use crate::channels::web::media_hosts::{against_address, against_form, against_text, spelled_addresses};
use crate::limits::{
    TELEGRAM_ANSWER_TIMEOUT, TELEGRAM_CONNECT_TIMEOUT, TELEGRAM_IDLE_CONNECTION_AGE_MAX,
    TELEGRAM_TRANSFER_TIMEOUT, TELEGRAM_WRITE_TIMEOUT,
};
use crate::protocol::SERVER_VERSION;

/// Which proxy a client goes through.
#[derive(Clone)]
pub(crate) enum Way {
    /// The one that is configured.
    Through(Proxy),
    /// The environment's, as every other program takes it.
    Environment,
    /// None, whatever the environment says: the server is this machine.
    Direct,
}

/// A client for one thread. Several requests at a time would mix up their [`Phase`].
pub(crate) struct Http {
    agent: Agent,
    phase: Phase,
}

impl Http {
    /// `redirects` of 0 takes a redirect for an answer.
    pub(crate) fn new(way: &Way, redirects: u32) -> Self {
        Self::with_config(config(way, redirects), Names)
    }

    /// A client for one URL that may come from anybody, redirects included: it connects to nothing in this
    /// network. The addresses that are judged are the ones that are connected to, so it does not matter what
    /// the host's name leads to a moment later. Where a proxy looks names up, only the text can be judged.
    pub(crate) fn to_web(way: &Way, uri: &Uri) -> Result<Self, OffWeb> {
        let host = uri.host().unwrap_or_default();
        if let Some(why) = against_form(host) {
            return Err(OffWeb::Inside(why));
        }
        let config = config(way, 0);
        let proxy = config.proxy().filter(|proxy| !proxy.is_no_proxy(uri));
        if proxy.is_some_and(|proxy| !proxy.resolve_target()) {
            return match against_text(host) {
                Some(why) => Err(OffWeb::Inside(why)),
                None => Ok(Self::with_config(config, Names)),
            };
        }
        let found = look_up(uri).map_err(|_| OffWeb::Unknown)?;
        let (inside, web): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|address| against_address(address.ip()).is_some());
        match inside.first().and_then(|address| against_address(address.ip())) {
            Some(why) if web.is_empty() => Err(OffWeb::Inside(why)),
            _ => Ok(Self::with_config(config, Judged(web))),
        }
    }

    #[cfg(test)]
    fn with_names(way: &Way, redirects: u32, names: impl Resolver) -> Self {
        Self::with_config(config(way, redirects), names)
    }

    fn with_config(config: Config, names: impl Resolver) -> Self {
        let phase = Phase::default();
        let connector = Begun(phase.clone()).chain(DefaultConnector::new()).chain(Made(phase.clone()));
        Self { agent: Agent::with_parts(config, connector, names), phase }
    }

    /// Ends the request in progress, and every later one at once.
    pub(crate) fn stopper(&self) -> impl FnOnce() + Send + 'static {
        let agent = self.agent.clone();
        move || agent.shutdown()
    }

    /// Makes one request. `request` builds and runs it.
    pub(crate) fn run<T>(&self, request: impl FnOnce(&Agent) -> Result<T, Error>) -> Result<T, HttpError> {
        self.phase.0.store(0, Relaxed);
        request(&self.agent).map_err(|error| meaning(&error, self.phase.connecting()))
    }
}

fn config(way: &Way, redirects: u32) -> Config {
    let mut config = Config::builder()
        .http_status_as_error(false)
        .max_redirects(redirects)
        .max_redirects_will_error(redirects > 0)
        .user_agent(format!("clawdis-gateway/{SERVER_VERSION}"))
        .timeout_connect(Some(TELEGRAM_CONNECT_TIMEOUT))
        .timeout_send_request(Some(TELEGRAM_WRITE_TIMEOUT))
        // A server that closed an idle connection looks like one that lost a message.
        .max_idle_age(TELEGRAM_IDLE_CONNECTION_AGE_MAX)
        .max_idle_connections(1);
    match way {
        Way::Through(proxy) => config = config.proxy(Some(proxy.clone())),
        Way::Environment => {}
        Way::Direct => config = config.proxy(None),
    }
    config.build()
}

/// Why a host is not asked as one of the web.
#[derive(Debug, PartialEq)]
pub(crate) enum OffWeb {
    /// It is in this network, or may be: what is known against it.
    Inside(String),
    /// Its name cannot be resolved.
    Unknown,
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
fn meaning(error: &Error, connecting: bool) -> HttpError {
    let words = words(error);
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

/// The error in words that cannot hold a URL.
fn words(error: &Error) -> String {
    match error {
        Error::HostNotFound => "its name cannot be resolved: is there a network?".to_owned(),
        Error::ConnectProxyFailed(_) => "the proxy does not connect".to_owned(),
        Error::Timeout(Timeout::Connect) => "it cannot be connected to (no answer)".to_owned(),
        Error::Timeout(Timeout::SendRequest | Timeout::SendBody) => "it takes no data".to_owned(),
        Error::Timeout(_) => "it does not answer in time".to_owned(),
        Error::Io(error) => io_words(error),
        Error::Tls(_) | Error::Rustls(_) => "no secure connection can be made".to_owned(),
        Error::BodyExceedsLimit(_) => "its answer is too large".to_owned(),
        Error::TooManyRedirects => "it redirects too often".to_owned(),
        Error::Protocol(_) | Error::LargeResponseHeader(..) => "it does not speak HTTP".to_owned(),
        _ => "the request failed".to_owned(),
    }
}

/// Of an I/O error: the system's own words, or what TLS says about a certificate.
pub(crate) fn io_words(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    if let Some(inner) = inner {
        return words(inner);
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

/// Connections that were begun and not made: while there is one, no byte of a request was sent.
#[derive(Clone, Debug, Default)]
struct Phase(Arc<AtomicUsize>);

impl Phase {
    fn connecting(&self) -> bool {
        self.0.load(Relaxed) > 0
    }
}

/// First in the chain of connectors.
#[derive(Debug)]
struct Begun(Phase);

impl Connector<()> for Begun {
    type Out = ();

    fn connect(&self, _: &ConnectionDetails<'_>, chained: Option<()>) -> Result<Option<()>, Error> {
        self.0.0.fetch_add(1, Relaxed);
        Ok(chained)
    }
}

/// Last in it.
#[derive(Debug)]
struct Made(Phase);

impl<In: Transport> Connector<In> for Made {
    type Out = In;

    fn connect(&self, _: &ConnectionDetails<'_>, chained: Option<In>) -> Result<Option<In>, Error> {
        self.0.0.fetch_sub(1, Relaxed);
        Ok(chained)
    }
}

/// The system's resolver, on the thread that asks (`ureq`'s own starts one more for each question).
///
/// IPv4 comes first: where IPv6 leads nowhere, packets vanish and the wait is long; where IPv4 does
/// not work, it fails at once. `ureq` gives each address its share of the time for connecting.
#[derive(Debug)]
struct Names;

impl Resolver for Names {
    fn resolve(&self, uri: &Uri, _: &Config, _: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        let mut addresses = self.empty();
        look_up(uri)?.into_iter().take(ADDRESSES_MAX).for_each(|address| addresses.push(address));
        if addresses.is_empty() { Err(Error::HostNotFound) } else { Ok(addresses) }
    }
}

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

/// Addresses of the one host that is asked: they were judged, and no others are looked up.
#[derive(Debug)]
struct Judged(Vec<SocketAddr>);

impl Resolver for Judged {
    fn resolve(&self, uri: &Uri, config: &Config, time: NextTimeout) -> Result<ResolvedSocketAddrs, Error> {
        // The name of a SOCKS proxy comes here as well.
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Names.resolve(uri, config, time);
        }
        let mut addresses = self.empty();
        self.0.iter().take(ADDRESSES_MAX).for_each(|address| addresses.push(*address));
        if addresses.is_empty() { Err(Error::HostNotFound) } else { Ok(addresses) }
    }
}

/// What `ureq`'s list of addresses holds.
const ADDRESSES_MAX: usize = 16;

/// Whether this host is the machine itself.
pub(crate) fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || spelled_addresses(host).first().is_some_and(|address| address.to_canonical().is_loopback())
}

/// How long the phases of a request may take beyond connecting and writing its head.
#[derive(Clone, Copy)]
pub(crate) struct Patience {
    /// All of the request's body.
    pub(crate) send: Duration,
    /// From there to the head of the answer.
    pub(crate) answer: Duration,
    /// From there to its end.
    pub(crate) body: Duration,
}

impl Patience {
    /// That of an ordinary request.
    pub(crate) const PROMPT: Self = Self::of(TELEGRAM_ANSWER_TIMEOUT);

    /// That of an upload or download.
    pub(crate) const TRANSFER: Self = Self::of(TELEGRAM_TRANSFER_TIMEOUT);

    /// The same for each phase.
    pub(crate) const fn of(each: Duration) -> Self {
        Self { send: each, answer: each, body: each }
    }
}

#[cfg(test)]
mod tests;

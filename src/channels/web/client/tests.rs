//! Connections that fail in every way, and what each means.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread::Scope;
use std::time::{Duration, Instant};

use ureq::Proxy;

use super::{HttpClient, HttpError, NotPublic, ProxyRoute, config, is_loopback};

/// A server that says this to whoever connects, after it has read something.
fn serve<'scope>(scope: &'scope Scope<'scope, '_>, answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    scope.spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // All of the request: what is left unread would reset the connection.
        let mut head = Vec::new();
        let mut bytes = [0; 4_096];
        while !head.ends_with(b"\r\n\r\n") {
            let count = stream.read(&mut bytes).unwrap();
            head.extend_from_slice(&bytes[..count]);
        }
        let _ = stream.write_all(answer.as_bytes());
    });
    address
}

fn get(http: &HttpClient, url: &str, answer: Duration) -> Result<u16, HttpError> {
    http.run(|agent| {
        let request = agent.get(url).config().timeout_recv_response(Some(answer)).build();
        request.call().map(|response| response.status().as_u16())
    })
}

const SOON: Duration = Duration::from_secs(5);
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

#[test]
fn the_next_address_is_tried_when_one_is_a_black_hole() {
    // A listener whose queue is full: further SYNs get no answer.
    let hole = TcpListener::bind("127.0.0.1:0").unwrap();
    rustix::net::listen(&hole, 0).unwrap();
    let black = hole.local_addr().unwrap();
    let mut full = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&black, Duration::from_millis(200)) {
        full.push(stream);
        assert!(full.len() < 100, "the queue does not fill");
    }
    std::thread::scope(|scope| {
        let white = serve(scope, OK);
        let http = HttpClient::with_addresses(config(&ProxyRoute::Direct), Some(vec![black, white]));
        let begin = Instant::now();
        assert_eq!(get(&http, "http://two.addresses/", SOON), Ok(200));
        let took = begin.elapsed();
        assert!(took > Duration::from_secs(1) && took < Duration::from_secs(7), "{took:?}");
    });
}

#[test]
fn before_and_after_the_request_are_told_apart() {
    let refused = {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap();
        gone.local_addr().unwrap()
    };
    let http = HttpClient::new(&ProxyRoute::Direct);
    let url = format!("http://{refused}/bot1:SECRET/getMe");
    for url in [url.as_str(), "http://does.not.exist.invalid/bot1:SECRET/getMe", "::/bot1:SECRET/"] {
        let error = get(&http, url, SOON).unwrap_err();
        assert!(matches!(error, HttpError::Unreachable(_)), "{url}: {error:?}");
        assert!(!format!("{error:?} {error}").contains("SECRET"), "{error:?}");
    }
    for answer in ["", "HTTP/1.1 2", "nonsense\r\n\r\n"] {
        std::thread::scope(|scope| {
            let url = format!("http://{}/bot1:SECRET/getMe", serve(scope, answer));
            let error = get(&HttpClient::new(&ProxyRoute::Direct), &url, SOON).unwrap_err();
            assert!(matches!(error, HttpError::Lost(_)), "{answer:?}: {error:?}");
            assert!(!format!("{error:?} {error}").contains("SECRET"), "{error:?}");
        });
    }
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let error = get(&HttpClient::new(&ProxyRoute::Direct), &url, Duration::from_millis(50)).unwrap_err();
    assert_eq!(error, HttpError::Lost("it does not answer in time".to_owned()));
}

#[test]
fn a_redirect_is_an_answer() {
    std::thread::scope(|scope| {
        let address =
            serve(scope, "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n");
        assert_eq!(get(&HttpClient::new(&ProxyRoute::Direct), &format!("http://{address}/"), SOON), Ok(302));
    });
}

#[test]
fn a_proxy_that_refuses_has_sent_nothing() {
    std::thread::scope(|scope| {
        let proxy = serve(scope, "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
        let proxy_route = ProxyRoute::Through(Proxy::new(&format!("http://{proxy}")).unwrap());
        let error = get(&HttpClient::new(&proxy_route), "http://127.0.0.1:1/", SOON).unwrap_err();
        assert_eq!(error, HttpError::Unreachable("the proxy does not connect".to_owned()));
    });
}

#[test]
fn a_request_can_be_ended_from_outside() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let http = HttpClient::new(&ProxyRoute::Direct);
    let stop = http.stopper();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let (mut stream, _) = silent.accept().unwrap();
            let _ = stream.read(&mut [0; 4_096]);
            stop();
        });
        let begin = Instant::now();
        assert!(get(&http, &url, Duration::from_secs(60)).is_err());
        assert!(begin.elapsed() < Duration::from_secs(30));
    });
    assert!(get(&http, &url, SOON).is_err(), "it stays stopped");
}

#[test]
fn what_is_connected_to_is_what_was_judged() {
    let inside = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = inside.local_addr().unwrap().port();
    let socks = ProxyRoute::Through(Proxy::new("socks5://127.0.0.1:1").unwrap());
    for proxy_route in [&ProxyRoute::Direct, &socks] {
        for host in ["localhost", "127.1", "127.0.0.1", "0", "[::ffff:127.0.0.1]"] {
            let refused =
                HttpClient::for_public_web(proxy_route, &format!("http://{host}:{port}/").parse().unwrap());
            assert!(matches!(refused, Err(NotPublic::Inside(_))), "{host}");
        }
        for host in ["[fe80::1%25lo]", "[1::2::3]", "1.2.3.4.5"] {
            let refused =
                HttpClient::for_public_web(proxy_route, &format!("http://{host}/").parse().unwrap());
            let neither = "it is neither a name nor an address".to_owned();
            assert_eq!(refused.err(), Some(NotPublic::Inside(neither)), "{host}");
        }
        let unknown =
            HttpClient::for_public_web(proxy_route, &"http://does.not.exist.invalid/".parse().unwrap());
        assert!(matches!(unknown, Err(NotPublic::Unresolved)));
    }
    // No name is looked up again.
    std::thread::scope(|scope| {
        let judged = Some(vec![serve(scope, OK)]);
        let http = HttpClient::with_addresses(config(&ProxyRoute::Direct), judged);
        assert_eq!(get(&http, "http://does.not.exist.invalid/", SOON), Ok(200));
    });
    inside.set_nonblocking(true).unwrap();
    assert!(inside.accept().is_err(), "somebody connected");
}

#[test]
fn this_machine_is_known() {
    for host in ["127.0.0.1", "127.9.9.9", "localhost", "[::1]", "::1", "127.1", "0x7f000001"] {
        assert!(is_loopback(host), "{host}");
    }
    for host in ["api.telegram.org", "128.0.0.1", "localhost.example.com", "[fe80::1]"] {
        assert!(!is_loopback(host), "{host}");
    }
}

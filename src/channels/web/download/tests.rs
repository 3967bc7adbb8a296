//! What is reached through a proxy, and by redirects of the web.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

use crossbeam_channel::{Receiver, unbounded};
use ureq::Proxy;

use super::{Downloader, MediaSources};
use crate::channels::delivery::AttemptOutcome;
use crate::channels::web::client::ProxyRoute;
use crate::channels::web::media_hosts::MediaHosts;

fn head(stream: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    String::from_utf8(head).ok()
}

/// A proxy that plays every host itself: `/to?URL` leads to the URL, all else is a file. Tells for
/// which hosts it was asked.
fn proxy() -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (asked, hosts) = unbounded();
    crate::threads::spawn_expendable("proxy", move || {
        for mut stream in listener.incoming().flatten() {
            let Some(connect) = head(&mut stream) else { continue };
            let _ = asked.send(connect.split(' ').nth(1).unwrap_or_default().to_owned());
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
            let Some(request) = head(&mut stream) else { continue };
            let path = request.split(' ').nth(1).unwrap_or_default();
            let answer = match path.strip_prefix("/to?") {
                Some(url) => format!("HTTP/1.1 302 Found\r\nlocation: {url}\r\ncontent-length: 0\r\n\r\n"),
                None => "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfile".to_owned(),
            };
            let _ = stream.write_all(answer.as_bytes());
        }
    })
    .unwrap();
    (address, hosts)
}

fn web(proxy: SocketAddr, hosts: &[&str]) -> Downloader {
    let hosts: Vec<String> = hosts.iter().map(|host| (*host).to_owned()).collect();
    let proxy_route = ProxyRoute::Through(Proxy::new(&format!("http://{proxy}")).unwrap());
    let sources = MediaSources { hosts: MediaHosts::new(&hosts).0, ..MediaSources::default() };
    Downloader { proxy_route, sources }
}

fn fetch(web: &Downloader, url: &str) -> Result<u64, String> {
    web.copy(url, &mut Vec::new(), 100).map_err(|outcome| match outcome {
        AttemptOutcome::Invalid { why } => why,
        other => panic!("{url}: {other:?}"),
    })
}

#[test]
fn through_a_proxy_the_name_is_judged() {
    let (address, asked) = proxy();
    let web = web(address, &[]);
    for host in [
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "[::1]",
        "[::ffff:7f00:1]",
        "10.0.0.1",
        "010.0.0.1",
        "printer",
        "nas.local",
        "metadata.google.internal",
        "router.lan",
        "169.254.169.254",
        "1.2.3.4.5",
    ] {
        for scheme in ["http", "https"] {
            let why = fetch(&web, &format!("{scheme}://{host}/x")).unwrap_err();
            assert!(why.contains(host) && why.contains("gateway.mediaHosts"), "{why}");
        }
        let why = fetch(&web, &format!("http://files.example.com/to?http://{host}/x")).unwrap_err();
        assert!(why.contains(host) && why.contains("leads to"), "{why}");
    }
    assert_eq!(fetch(&web, "http://files.example.com/x"), Ok(4));
    assert_eq!(fetch(&web, "http://files.example.com/to?http://8.8.8.8/x"), Ok(4));
    let asked: Vec<String> = asked.try_iter().collect();
    assert!(
        asked.iter().all(|host| ["files.example.com:80", "8.8.8.8:80"].contains(&host.as_str())),
        "{asked:?}"
    );
}

#[test]
fn what_the_config_names_is_asked_for_by_the_request_and_not_by_the_web() {
    let (address, asked) = proxy();
    let web = web(address, &["nas.lan", "files.lan:8080"]);
    for url in [
        "http://nas.lan/x",
        "http://NAS.lan:81/x",
        "http://files.lan:8080/x",
        "http://nas.lan/to?http://files.lan:8080/x",
        "http://nas.lan/to?http://files.example.com/x",
    ] {
        assert_eq!(fetch(&web, url), Ok(4), "{url}");
    }
    asked.try_iter().count();
    for url in [
        "http://files.lan/x",
        "http://files.example.com/to?http://nas.lan/x",
        "http://nas.lan/to?http://files.example.com/to?http://nas.lan/x",
        "http://nas.lan/to?http://files.lan:8081/x",
    ] {
        let why = fetch(&web, url).unwrap_err();
        assert!(why.contains(".lan` is not on the web") || why.contains(".lan`, which is not"), "{why}");
    }
    let asked: Vec<String> = asked.try_iter().collect();
    assert!(!asked.iter().any(|host| host.starts_with("files.lan")), "{asked:?}");
}

#[test]
fn what_is_no_url_of_the_web_is_refused() {
    let (address, _asked) = proxy();
    let web = web(address, &["127.0.0.1"]);
    for url in ["ftp://files.example.com/x", "file:///etc/passwd", "//files.example.com/x", "http:///x", "x"]
    {
        for url in [url.to_owned(), format!("http://files.example.com/to?{url}")] {
            fetch(&web, &url).unwrap_err();
        }
    }
}

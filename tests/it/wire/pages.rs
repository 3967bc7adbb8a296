//! The web page's files over plain HTTP: what a browser is told about keeping them and about whom to let in.

use clawdis_gateway::limits::HTTP_ANSWER_TIMEOUT;

use crate::harness::{Gateway, eventually, http};

/// A path inside `src` or `href` of the page.
fn first_file(page: &str) -> String {
    let at = page.find("/webchat/").expect("the page loads a file");
    page[at..].split('"').next().unwrap().to_owned()
}

#[test]
fn the_page_is_asked_for_each_time_and_its_files_never_again() {
    let gateway = Gateway::builder("pages").spawn();
    let page = http::request(gateway.addr, "GET", "/", "");
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert_eq!(page.header("cache-control"), Some("no-cache"));
    let path = first_file(&page.body);
    let file = http::request(gateway.addr, "GET", &path, "");
    assert_eq!(file.status, 200, "{path}");
    assert_eq!(file.header("cache-control"), Some("public, max-age=31536000, immutable"));
    let etag = page.header("etag").unwrap();
    assert_eq!(file.header("etag"), Some(etag));
    assert!(path.contains(etag.trim_start_matches("W/").trim_matches('"')), "{path} without {etag}");

    for path in ["/", "/?gatewayUrl=ws://evil.example&token=x", &path] {
        let head = http::request(gateway.addr, "HEAD", path, "");
        assert_eq!((head.status, head.body.as_str()), (200, ""));
        assert!(head.header("content-length").unwrap().parse::<usize>().unwrap() > 100);
        let kept = http::request(gateway.addr, "GET", path, &format!("If-None-Match: \"x\", {etag}\r\n"));
        assert_eq!((kept.status, kept.body.as_str(), kept.header("content-length")), (304, "", None));
        assert_eq!(kept.header("etag"), Some(etag));
        let other = http::request(gateway.addr, "GET", path, "If-None-Match: \"other\"\r\n");
        assert_eq!(other.status, 200);
    }
    for path in ["/index.html", "/webchat/", "/webchat/0/main.js", "/webchat/../Cargo.toml", "/package.json"]
    {
        let answer = http::request(gateway.addr, "GET", path, "");
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.json()["error"].as_str().unwrap().contains("no such page"));
    }
}

#[test]
fn gzip_is_for_those_who_take_it() {
    let gateway = Gateway::builder("pages-gzip").spawn();
    let plain = http::request(gateway.addr, "GET", "/", "Accept-Encoding: identity\r\n");
    let packed = http::request(gateway.addr, "HEAD", "/", "Accept-Encoding: gzip, br\r\n");
    assert_eq!((plain.header("content-encoding"), packed.header("content-encoding")), (None, Some("gzip")));
    let length = |answer: &http::Answer| answer.header("content-length").unwrap().parse::<usize>().unwrap();
    assert!(length(&packed) < length(&plain) / 2);
    assert_eq!(
        (plain.header("vary"), packed.header("vary")),
        (Some("Accept-Encoding"), Some("Accept-Encoding"))
    );
}

#[test]
fn every_answer_keeps_other_sites_out() {
    let gateway = Gateway::builder("pages-headers").spawn();
    for path in ["/", "/healthz", "/nothing"] {
        let answer = http::request(gateway.addr, "GET", path, "");
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path}: {name}");
        }
    }
    let page = http::request(gateway.addr, "GET", "/", "");
    let policy = page.header("content-security-policy").unwrap();
    for rule in [
        "default-src 'none'",
        "script-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ] {
        assert!(policy.split("; ").any(|found| found == rule), "{rule} in {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    let foreign = http::request(gateway.addr, "GET", "/", "Origin: http://evil.example\r\n");
    assert_eq!(foreign.status, 403);
}

#[test]
fn peers_that_never_read_hold_no_thread() {
    let gateway = Gateway::builder("pages-slow").spawn();
    let page = http::request(gateway.addr, "GET", "/", "");
    let version = page.header("etag").unwrap().trim_start_matches("W/").trim_matches('"');
    let before = gateway.threads().len();
    let mut silent: Vec<_> = (0..8).map(|_| gateway.raw()).collect();
    for socket in &mut silent {
        let head =
            format!("GET /webchat/{version}/vendor/marked.js HTTP/1.1\r\nHost: {}\r\n\r\n", gateway.addr);
        socket.write(head.as_bytes());
    }
    eventually("their threads to end", 2 * HTTP_ANSWER_TIMEOUT, || {
        (gateway.threads().len() <= before).then_some(())
    });
    assert_eq!(http::request(gateway.addr, "GET", "/", "").status, 200);
}

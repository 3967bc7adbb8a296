//! The files of the web page, embedded in the binary: which one a path means, and how it may be cached.
//!
//! Everything but the page itself has a hash of the whole in its path and never changes. Knows
//! nothing of what the page does.

use std::io::Read as _;
use std::sync::OnceLock;

use flate2::read::GzDecoder;

use crate::net::request_head::RequestHead;
use crate::net::response::Response;

struct File {
    path: &'static str,
    kind: &'static str,
    gzip: &'static [u8],
}

// `VERSION` and `FILES`, made by src/webchat/embed.rs.
include!(concat!(env!("OUT_DIR"), "/pages.rs"));

/// The page asks for itself whenever it is opened; the rest is kept for a year, the longest that
/// caches go by.
const PAGE_CACHE: &str = "no-cache";
const FILE_CACHE: &str = "public, max-age=31536000, immutable";

/// Only own files, and no script or style that is not one; nothing may frame the page or make it
/// send a form elsewhere. `connect-src 'self'` is the gateway's own WebSocket, too. Scripts may
/// not turn text into HTML except through the sanitiser's policy.
const POLICY: &str = "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
    frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types dompurify\r\n\
    Vary: Accept-Encoding\r\n";

/// The response to a request for one of the page's files, or `None` if the path names none.
pub(super) fn find(head: &RequestHead) -> Option<Response> {
    let (number, file) = FILES.iter().enumerate().find(|(_, file)| file.path == head.path())?;
    let cache = if file.path == "/" { PAGE_CACHE } else { FILE_CACHE };
    // Weak: the two encodings are one file.
    let mut headers = format!("Cache-Control: {cache}\r\nETag: W/\"{VERSION}\"\r\n{POLICY}");
    if head.single("if-none-match").ok().flatten().is_some_and(names_this) {
        return Some(Response::new(304, file.kind, headers, b"".as_slice()));
    }
    if head.single("accept-encoding").ok().flatten().is_some_and(takes_gzip) {
        headers.push_str("Content-Encoding: gzip\r\n");
        return Some(Response::new(200, file.kind, headers, file.gzip));
    }
    let plain = PLAIN.get(number)?.get_or_init(|| file.plain());
    Some(Response::new(200, file.kind, headers, plain.as_slice()))
}

/// The files as they were written, once somebody has asked for them so: hundreds who ask and do not
/// read share them.
static PLAIN: [OnceLock<Vec<u8>>; FILES.len()] = [const { OnceLock::new() }; FILES.len()];

impl File {
    /// The file as it was written; at most as long as the longest one that was embedded.
    fn plain(&self) -> Vec<u8> {
        let mut plain = Vec::new();
        // What the build script compressed cannot be damaged.
        let _ = GzDecoder::new(self.gzip).read_to_end(&mut plain);
        plain
    }
}

/// Whether `If-None-Match` names the version that is served.
fn names_this(tags: &str) -> bool {
    tags.split(',').map(str::trim).any(|tag| {
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        tag == "*" || tag.trim_matches('"') == VERSION
    })
}

/// Whether `Accept-Encoding` allows gzip by its name.
fn takes_gzip(codings: &str) -> bool {
    codings.split(',').any(|coding| {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|weight| weight.parse() == Ok(0.0));
        name.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

#[cfg(test)]
mod tests {
    use super::{FILES, VERSION, names_this, takes_gzip};

    #[test]
    fn gzip_only_for_those_who_take_it() {
        for codings in ["gzip", "gzip, deflate, br", "br;q=1.0, gzip;q=0.8", "GZIP"] {
            assert!(takes_gzip(codings), "{codings}");
        }
        for codings in ["", "br", "identity", "gzip;q=0", "gzip; q=0.0", "xgzip"] {
            assert!(!takes_gzip(codings), "{codings}");
        }
    }

    #[test]
    fn etags_are_compared_weakly() {
        for tags in [format!("W/\"{VERSION}\""), format!("\"other\", \"{VERSION}\""), "*".to_owned()] {
            assert!(names_this(&tags), "{tags}");
        }
        assert!(!names_this("W/\"other\"") && !names_this(""));
    }

    #[test]
    fn the_page_and_what_it_loads_are_small() {
        let wire: usize = FILES.iter().map(|file| file.gzip.len()).sum();
        assert!(wire < 150 * 1024, "{wire} bytes over the wire");
        let page = FILES.iter().find(|file| file.path == "/").unwrap();
        assert!(String::from_utf8(page.plain()).unwrap().contains("</html>"));
    }
}

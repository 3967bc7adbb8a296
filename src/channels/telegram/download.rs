//! Files from the web that are sent on. The other surfaces use it, too.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ureq::http::Uri;

use crate::channels::delivery::{AttemptOutcome, not_sent, refused};
use crate::channels::telegram::api::{PROMPT, TRANSFER};
use crate::channels::telegram::http::{Http, Way, io_words, is_loopback};
use crate::channels::telegram::sniff;
use crate::channels::telegram::split::clip;
use crate::limits::MEDIA_REDIRECTS_MAX;

/// Downloads into a folder of ours, under the name that the URL has. At most `bytes_max`.
pub(in crate::channels) fn to_path(
    proxy: Option<&str>,
    folder: &Path,
    url: &str,
    bytes_max: u64,
) -> Result<PathBuf, AttemptOutcome> {
    let way = match proxy.map(ureq::Proxy::new) {
        Some(Ok(proxy)) => Way::Through(proxy),
        Some(Err(_)) => return Err(not_sent("the proxy of the config is no URL of one")),
        None => Way::Environment,
    };
    let unstorable = |error: io::Error| not_sent(format!("the file cannot be stored: {error}"));
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unstorable)?;
    let mut name = name_in(url);
    name.retain(|character| character.is_ascii_alphanumeric() || "._-".contains(character));
    let name = name.trim_start_matches('.');
    let path = folder.join(if name.is_empty() { "file" } else { clip(name, 100) });
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options.open(&path).map_err(unstorable)?;
    if copy(&way, url, &mut file, bytes_max + 1)? > bytes_max {
        return Err(refused(format!("the file is larger than {} MB", bytes_max >> 20)));
    }
    Ok(path)
}

/// What a file is, by its first bytes.
pub(in crate::channels) fn mime_type(path: &Path) -> &'static str {
    let mut head = Vec::with_capacity(sniff::HEAD_BYTES);
    let read = File::open(path).and_then(|file| file.take(sniff::HEAD_BYTES as u64).read_to_end(&mut head));
    read.ok().and_then(|_| sniff::mime_type(&head)).unwrap_or("application/octet-stream")
}

/// Copies what is behind a URL, at most so many bytes; says how many there were.
pub(super) fn copy(way: &Way, url: &str, to: &mut impl Write, bytes_max: u64) -> Result<u64, AttemptOutcome> {
    let mut url = url.to_owned();
    let mut trusted = true;
    for _ in 0..=MEDIA_REDIRECTS_MAX {
        let response = get(way, &url, trusted)?;
        let status = response.status().as_u16();
        match status {
            200 => {
                let body = response.into_body().into_with_config().limit(u64::MAX).reader();
                return io::copy(&mut body.take(bytes_max), to).map_err(|error| {
                    not_sent(format!("the file cannot be downloaded: {}", io_words(&error)))
                });
            }
            301 | 302 | 303 | 307 | 308 => {
                let place = response.headers().get("location").and_then(|place| place.to_str().ok());
                url = place.map(str::to_owned).unwrap_or_default();
                trusted = false;
            }
            429 | 500.. => {
                return Err(not_sent(format!("the file cannot be downloaded (HTTP {status})")));
            }
            _ => {
                return Err(refused(format!("the file cannot be downloaded (HTTP {status})")));
            }
        }
    }
    Err(refused("the file cannot be downloaded: too many redirects"))
}

/// Asks once. Where the web sends us, and not whoever wants the file sent, this machine and its
/// network are out of bounds.
fn get(way: &Way, url: &str, trusted: bool) -> Result<ureq::http::Response<ureq::Body>, AttemptOutcome> {
    let wrong = || refused("its URL is wrong");
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let host = uri.host().ok_or_else(wrong)?;
    if !trusted && is_inside(host) {
        return Err(refused("the file is not on the web: its URL leads back into this network"));
    }
    let way = if is_loopback(host) { &Way::Direct } else { way };
    let response = Http::new(way, 0).run(|agent| {
        let request = agent
            .get(url)
            .config()
            .timeout_recv_response(Some(PROMPT.answer))
            .timeout_recv_body(Some(TRANSFER.body))
            .build();
        request.call()
    });
    response.map_err(|error| not_sent(format!("the file cannot be downloaded: {error}")))
}

/// Whether that is this machine, or an address that only its own network has.
fn is_inside(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) => {
            ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified()
        }
        Ok(IpAddr::V6(ip)) => {
            ip.is_loopback() || ip.is_unspecified() || ip.is_unique_local() || ip.is_unicast_link_local()
        }
        Err(_) => matches!(bare.rsplit('.').next(), Some("localhost" | "local")),
    }
}

/// The name at the end of a URL.
pub(super) fn name_in(url: &str) -> String {
    let path = url.parse::<Uri>().map(|uri| uri.path().to_owned()).unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

//! Files from the web that are sent on. The other surfaces use it, too.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ureq::http::Uri;

use crate::channels::delivery::AttemptOutcome;
use crate::channels::telegram::api::{PROMPT, TRANSFER};
use crate::channels::telegram::http::{Http, Way, io_words, is_loopback};
use crate::channels::telegram::sniff;
use crate::limits::MEDIA_REDIRECTS_MAX;

/// Downloads into a file with that name in a folder of ours; the one before it is replaced. At most
/// `bytes_max`.
pub(in crate::channels) fn to_path(
    proxy: Option<&str>,
    folder: &Path,
    name: &str,
    url: &str,
    bytes_max: u64,
) -> Result<PathBuf, AttemptOutcome> {
    let way = match proxy.map(ureq::Proxy::new) {
        Some(Ok(proxy)) => Way::Through(proxy),
        Some(Err(_)) => return Err(later("the proxy of the config is no URL of one".to_owned())),
        None => Way::Environment,
    };
    let unstorable = |error: io::Error| later(format!("the file cannot be stored: {error}"));
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unstorable)?;
    let path = folder.join(name);
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
    let uri: Uri = url.parse().map_err(|_| refused("its URL is wrong".to_owned()))?;
    let way = if is_loopback(uri.host().unwrap_or_default()) { &Way::Direct } else { way };
    let http = Http::new(way, MEDIA_REDIRECTS_MAX);
    let response = http.run(|agent| {
        let request = agent
            .get(url)
            .config()
            .timeout_recv_response(Some(PROMPT.answer))
            .timeout_recv_body(Some(TRANSFER.body))
            .build();
        request.call()
    });
    let response = response.map_err(|error| later(format!("the file cannot be downloaded: {error}")))?;
    match response.status().as_u16() {
        200 => {}
        status @ (429 | 500..) => {
            return Err(later(format!("the file cannot be downloaded (HTTP {status})")));
        }
        status => return Err(refused(format!("the file cannot be downloaded (HTTP {status})"))),
    }
    let body = response.into_body().into_with_config().limit(u64::MAX).reader();
    io::copy(&mut body.take(bytes_max), to)
        .map_err(|error| later(format!("the file cannot be downloaded: {}", io_words(&error))))
}

/// The name at the end of a URL.
pub(super) fn name_in(url: &str) -> String {
    let path = url.parse::<Uri>().map(|uri| uri.path().to_owned()).unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

pub(super) fn later(why: String) -> AttemptOutcome {
    AttemptOutcome::NotSent { why, retry_after: None }
}

fn refused(why: String) -> AttemptOutcome {
    AttemptOutcome::Refused { why }
}

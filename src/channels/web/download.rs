//! Files that are to be sent, for all channels: from the web, and from folders of this machine.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ureq::Body;
use ureq::http::{Response, Uri};

use crate::channels::delivery::{AttemptOutcome, invalid, not_sent, refused};
use crate::channels::text::split::clip;
use crate::channels::web::client::{HttpClient, NotPublic, ProxyRoute, describe_io, is_loopback, port_of};
use crate::channels::web::media_hosts::MediaHosts;
use crate::channels::web::sniff;
use crate::limits::{ERROR_MEMBER_BYTES_MAX, WEB_REDIRECTS_MAX, WEB_TRANSFER_TIMEOUT};
use crate::plain_file;
use crate::protocol::cut;

/// Gets files that are to be sent, from wherever the config lets them come.
#[derive(Clone)]
pub(crate) struct Downloader {
    pub(crate) proxy_route: ProxyRoute,
    pub(crate) sources: MediaSources,
}

/// What the config allows to be sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct MediaSources {
    /// Folders whose files may be sent.
    pub(crate) folders: Vec<PathBuf>,
    /// The gateway's own folder, none of whose files may be, whatever folder above it is named.
    pub(crate) state_dir: PathBuf,
    /// Hosts of this network that may be asked.
    pub(crate) hosts: MediaHosts,
}

impl MediaSources {
    /// Opens a file that is to be sent. State has looked at the words of its path only; what counts is where
    /// the file that was opened lies, and what it is.
    pub(crate) fn open(&self, path: &Path) -> Result<File, AttemptOutcome> {
        let unreadable = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => invalid("there is no such file"),
            _ => invalid(format!("the file cannot be read: {error}")),
        };
        let file = plain_file::open_named(path).map_err(unreadable)?;
        let real = path_of(&file, path).map_err(unreadable)?;
        let is_below = |folder: &PathBuf| folder.canonicalize().is_ok_and(|folder| real.starts_with(folder));
        if is_below(&self.state_dir) {
            return Err(invalid("the file is one of the gateway's own"));
        }
        if !self.folders.iter().any(is_below) {
            return Err(invalid("the file is a link out of the folders that gateway.mediaFolders names"));
        }
        Ok(file)
    }
}

/// Where the kernel says that an open file lies: a path may lead elsewhere by now.
#[cfg(target_os = "linux")]
fn path_of(file: &File, _: &Path) -> io::Result<PathBuf> {
    use std::os::fd::AsRawFd as _;
    std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Where the path leads now: other systems do not tell where an open file lies.
#[cfg(not(target_os = "linux"))]
fn path_of(_: &File, path: &Path) -> io::Result<PathBuf> {
    path.canonicalize()
}

/// Whether what is to be sent is on the web, and no file of this machine.
pub(crate) fn is_url(source: &str) -> bool {
    source.starts_with("http://") || source.starts_with("https://")
}

/// The name without characters that mean something in a path.
fn safe_name(name: &str) -> String {
    let safe = |character: &char| character.is_ascii_alphanumeric() || "._-".contains(*character);
    let name: String = name.chars().filter(safe).collect();
    let name = name.trim_start_matches('.');
    if name.is_empty() { "file".to_owned() } else { clip(name, 100).to_owned() }
}

/// The MIME type of a file, by its first bytes.
pub(crate) fn mime_type(path: &Path) -> &'static str {
    let head = plain_file::open_named(path).and_then(|mut file| sniff::read_head(&mut file));
    head.ok().and_then(|head| sniff::mime_type(&head)).unwrap_or(sniff::UNKNOWN)
}

impl Downloader {
    /// Copies a file that is to be sent into a folder of ours, under its own name: from the web, or from a
    /// folder that the config names. It may have `bytes_max`.
    pub(crate) fn copy_into(
        &self,
        folder: &Path,
        source: &str,
        bytes_max: u64,
    ) -> Result<PathBuf, AttemptOutcome> {
        let unstorable = |error: io::Error| not_sent(format!("the file cannot be stored: {error}"));
        let local = if is_url(source) { None } else { Some(self.sources.open(Path::new(source))?) };
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(unstorable)?;
        let name = match local {
            Some(_) => Path::new(source).file_name().unwrap_or_default().to_string_lossy().into_owned(),
            None => safe_name(&file_name_of(source)),
        };
        let path = folder.join(name);
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&path).map_err(unstorable)?;
        let bytes = match local {
            Some(local) => io::copy(&mut local.take(bytes_max + 1), &mut file).map_err(unstorable)?,
            None => self.copy(source, &mut file, bytes_max + 1)?,
        };
        if bytes > bytes_max {
            return Err(refused(format!("the file is larger than {} MB", bytes_max >> 20)));
        }
        Ok(path)
    }

    /// Copies what is behind a URL, at most so many bytes; says how many there were.
    pub(crate) fn copy(&self, url: &str, to: &mut impl Write, bytes_max: u64) -> Result<u64, AttemptOutcome> {
        let mut url = url.to_owned();
        let mut referrer = Referrer::Request;
        for _ in 0..=WEB_REDIRECTS_MAX {
            let (response, next) = self.get(&url, referrer)?;
            referrer = next;
            let status = response.status().as_u16();
            match status {
                200 => {
                    let body = response.into_body().into_with_config().limit(u64::MAX).reader();
                    return io::copy(&mut body.take(bytes_max), to).map_err(|error| {
                        not_sent(format!("the file cannot be downloaded: {}", describe_io(&error)))
                    });
                }
                301 | 302 | 303 | 307 | 308 => {
                    let place = response.headers().get("location").and_then(|place| place.to_str().ok());
                    url = place.map(str::to_owned).unwrap_or_default();
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

    /// Asks for one URL. Returns its answer, and who named the URL to which that may redirect.
    fn get(&self, url: &str, referrer: Referrer) -> Result<(Response<Body>, Referrer), AttemptOutcome> {
        let wrong = || invalid("the URL of the file, or one that it leads to, is wrong");
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) {
            return Err(wrong());
        }
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(wrong)?;
        let named = referrer != Referrer::Web && self.sources.hosts.has(host, port_of(&uri));
        let http = if named {
            HttpClient::new(if is_loopback(host) { &ProxyRoute::Direct } else { &self.proxy_route })
        } else {
            HttpClient::for_public_web(&self.proxy_route, &uri).map_err(|why| refuse(host, referrer, why))?
        };
        let next = if named { Referrer::NamedHost } else { Referrer::Web };
        http.get(url, WEB_TRANSFER_TIMEOUT)
            .map(|response| (response, next))
            .map_err(|error| not_sent(format!("the file cannot be downloaded: {error}")))
    }
}

/// Who named a URL: what may be asked depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Referrer {
    /// Whoever wants the file sent.
    Request,
    /// A host that the config names, by a redirect.
    NamedHost,
    /// The web, by a redirect: it has no business in this network, whichever hosts are named.
    Web,
}

/// What a person is told about a host that is not asked, and can do about it.
fn refuse(host: &str, referrer: Referrer, why: NotPublic) -> AttemptOutcome {
    let host = cut(host, ERROR_MEMBER_BYTES_MAX);
    match (why, referrer) {
        (NotPublic::Unresolved, _) => not_sent(format!(
            "the file cannot be downloaded: the name `{host}` cannot be resolved: is there a network?"
        )),
        (NotPublic::Inside(why), Referrer::Request) => invalid(format!(
            "`{host}` is not on the web: {why}; if files may be fetched there, name it in gateway.mediaHosts"
        )),
        (NotPublic::Inside(why), _) => invalid(format!(
            "its URL leads to `{host}`, which is not on the web: {why}; if files may be fetched there, name it \
             in gateway.mediaHosts and give a URL of that host"
        )),
    }
}

/// The name of the file at the end of a URL.
pub(crate) fn file_name_of(url: &str) -> String {
    let path = url.parse::<Uri>().map(|uri| uri.path().to_owned()).unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;

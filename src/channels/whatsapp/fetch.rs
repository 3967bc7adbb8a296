//! Fetches of pictures and files: the sidecar gets them, and they are moved to where they belong.

use std::io::{self, ErrorKind, Read as _};
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::channels::delivery::FetchedFile;
use crate::channels::event::ChannelEvent;
use crate::channels::message::InboundMedia;
use crate::channels::web::sniff;
use crate::channels::whatsapp::sidecar::Request;
use crate::limits::WHATSAPP_FETCH_TIMEOUT;
use crate::protocol::call::Channel;
use crate::store::folder_handle::FolderHandle;
use crate::store::media;

/// Fetches that wait for a connection.
#[derive(Default)]
pub(super) struct Fetches {
    waiting: Vec<Fetch>,
}

struct Fetch {
    key: String,
    index: usize,
    media: InboundMedia,
    folder: PathBuf,
    until: Instant,
}

impl Fetches {
    pub(super) fn add(
        &mut self,
        key: String,
        index: usize,
        media: InboundMedia,
        folder: PathBuf,
        now: Instant,
    ) {
        self.waiting.push(Fetch { key, index, media, folder, until: now + WHATSAPP_FETCH_TIMEOUT });
    }

    /// The requests for all that waits, each with WhatsApp's own name of the file.
    pub(super) fn start(&mut self) -> Vec<(String, Request)> {
        let fetch = self.waiting.drain(..);
        let request = fetch.map(|Fetch { key, index, media, folder, .. }| {
            (media.handle, Request::Fetch { key, index, folder })
        });
        request.collect()
    }

    /// Gives up fetches that waited for a connection too long.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<ChannelEvent> {
        let (late, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition(|fetch| fetch.until <= now);
        self.waiting = waiting;
        let late: Vec<Fetch> = late;
        late.into_iter().map(|fetch| failed(fetch.key, fetch.index, "WhatsApp is not connected")).collect()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.waiting.iter().map(|fetch| fetch.until).min()
    }
}

/// Tells state that a fetch has failed.
pub(super) fn failed(key: String, index: usize, why: &str) -> ChannelEvent {
    ChannelEvent::Fetched { channel: Channel::Whatsapp, key, index, result: Err(why.to_owned()) }
}

/// Moves a file that the sidecar has put into `fetched` to where it belongs, and tells state.
pub(super) fn settle(
    key: String,
    index: usize,
    fetched: &Path,
    path: &Path,
    mime_type: String,
    folder: &Path,
) -> ChannelEvent {
    let moved = move_into(folder, fetched, path, mime_type);
    let result = moved.map_err(|error| {
        log::warn!("a file from WhatsApp could not be kept: {error}");
        "it cannot be kept here".to_owned()
    });
    ChannelEvent::Fetched { channel: Channel::Whatsapp, key, index, result }
}

/// Only the name of the sidecar's path counts: where it puts files is ours to know.
fn move_into(folder: &Path, fetched: &Path, path: &Path, mime_type: String) -> io::Result<FetchedFile> {
    let name = path.file_name().unwrap_or_default();
    let from = FolderHandle::open(fetched)?;
    let to = media::folder(folder)?;
    match from.read(name).map(drop) {
        // The same picture once more: it is there already.
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        found => {
            found?;
            from.rename(name, &to, name)?;
        }
    }
    let file = to.read(name)?;
    let bytes = file.metadata()?.len();
    let mut head = Vec::with_capacity(sniff::HEAD_BYTES);
    file.take(sniff::HEAD_BYTES as u64).read_to_end(&mut head)?;
    let mime_type = match sniff::mime_type(&head) {
        Some(sniffed) => sniffed.to_owned(),
        // What does not begin like any picture is none, whatever its sender says.
        None if mime_type.starts_with("image/") => "application/octet-stream".to_owned(),
        None => mime_type,
    };
    Ok(FetchedFile { path: folder.join(name), mime_type, bytes })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use rustix::fs::{CWD, Mode, mkfifoat};

    use super::move_into;

    #[test]
    fn only_plain_files_of_the_sidecar_are_moved_and_only_into_the_sessions_folder() {
        let root = std::env::temp_dir().join(format!("clawdis-fetching-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let (fetched, folder, theirs) = (root.join("fetched"), root.join("media/s"), root.join("theirs"));
        for folder in [&fetched, &theirs, &root.join("media")] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(theirs.join("creds.json"), "precious").unwrap();
        let put = |path: &Path| move_into(&folder, &fetched, path, "image/png".to_owned());
        symlink(theirs.join("creds.json"), fetched.join("link")).unwrap();
        symlink(&theirs, fetched.join("creds.json")).unwrap();
        mkfifoat(CWD, fetched.join("pipe"), Mode::RWXU).unwrap();
        fs::create_dir(fetched.join("folder")).unwrap();
        // Paths that lead elsewhere are names in the folder, or none at all.
        let elsewhere = [theirs.join("creds.json"), "../theirs".into(), "..".into(), "/".into(), "".into()];
        for path in ["link", "pipe", "folder", "gone"].map(|name| fetched.join(name)).iter().chain(&elsewhere)
        {
            assert!(put(path).is_err(), "{}", path.display());
        }
        // Nor does a link in the place of the session's folder lead anywhere.
        fs::remove_dir_all(&folder).unwrap();
        symlink(&theirs, &folder).unwrap();
        fs::write(fetched.join("a.png"), "no picture").unwrap();
        let file = put(&fetched.join("a.png")).unwrap();
        assert_eq!((file.path.clone(), file.bytes), (folder.join("a.png"), 10));
        assert_eq!(file.mime_type, "application/octet-stream", "it does not begin like a picture");
        assert_eq!(put(&fetched.join("a.png")).unwrap(), file, "once more it is there already");
        assert!(folder.symlink_metadata().unwrap().is_dir());
        assert_eq!(fs::read_dir(&theirs).unwrap().count(), 1);
        assert_eq!(fs::read_to_string(theirs.join("creds.json")).unwrap(), "precious");
        fs::remove_dir_all(&root).unwrap();
    }
}

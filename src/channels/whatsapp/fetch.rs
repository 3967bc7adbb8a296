//! Fetches of pictures and files: the sidecar gets them, and they are moved to where they belong.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::Instant;

use crate::channels::ChannelEvent;
use crate::channels::delivery::FetchedFile;
use crate::channels::message::Fetch;
use crate::channels::web::sniff;
use crate::limits::WHATSAPP_FETCH_TIMEOUT;
use crate::store::folder_handle::FolderHandle;
use crate::store::media;

/// Fetches that wait for a connection, each with the time until which it may.
#[derive(Default)]
pub(super) struct Fetches(Vec<(Fetch, Instant)>);

impl Fetches {
    pub(super) fn add(&mut self, fetch: Fetch, now: Instant) {
        self.0.push((fetch, now + WHATSAPP_FETCH_TIMEOUT));
    }

    /// Takes out all that waits: there is a connection.
    pub(super) fn take(&mut self) -> Vec<(Fetch, Instant)> {
        std::mem::take(&mut self.0)
    }

    /// Gives up fetches that waited for a connection too long.
    pub(super) fn expire(&mut self, now: Instant) -> Vec<ChannelEvent> {
        let (late, waiting): (Vec<_>, Vec<_>) = self.take().into_iter().partition(|(_, until)| *until <= now);
        self.0 = waiting;
        late.into_iter().map(|(fetch, _)| failed(fetch, "WhatsApp is not connected")).collect()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.iter().map(|(_, until)| *until).min()
    }
}

/// Tells state that a fetch has failed.
pub(super) fn failed(fetch: Fetch, why: &str) -> ChannelEvent {
    ChannelEvent::fetched(fetch, Err(why.to_owned()))
}

/// Moves a file that the sidecar has put into `fetched` to where it belongs, and tells state.
pub(super) fn settle(fetch: Fetch, fetched: &Path, path: &Path, mime_type: &str) -> ChannelEvent {
    let result = move_into(&fetch.folder, fetched, path, mime_type).map_err(|error| {
        log::warn!("a file from WhatsApp could not be kept: {error}");
        "it cannot be kept here".to_owned()
    });
    ChannelEvent::fetched(fetch, result)
}

/// Only the name of the sidecar's path counts: where it puts files is ours to know.
fn move_into(folder: &Path, fetched: &Path, path: &Path, mime_type: &str) -> io::Result<FetchedFile> {
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
    let mut file = to.read(name)?;
    let bytes = file.metadata()?.len();
    let mime_type = sniff::received_type(&sniff::read_head(&mut file)?, mime_type).to_owned();
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
        let put = |path: &Path| move_into(&folder, &fetched, path, "image/png");
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

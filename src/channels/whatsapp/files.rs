//! Pictures and files, both ways: copies of what is to be sent, for the sidecar to read; and what the sidecar has
//! fetched, which is moved to where it belongs.

use std::io::{self, ErrorKind};
use std::path::Path;

use serde_json::{Value, json};
use ureq::Proxy;

use crate::channels::ChannelEvent;
use crate::channels::delivery::{Attempt, AttemptId, AttemptOutcome, FetchedFile, Part, not_sent};
use crate::channels::message::Fetch;
use crate::channels::web::client::ProxyRoute;
use crate::channels::web::download::{self, Downloader};
use crate::channels::web::sniff;
use crate::channels::whatsapp::{EventKind, Whatsapp, WhatsappEvent, WhatsappSetup};
use crate::store::folder_handle::FolderHandle;
use crate::store::media;
use crate::threads;

/// Folder for copies of files that are to be sent.
pub(super) const UPLOAD: &str = "upload";

impl Whatsapp {
    /// Copies what is to be sent into a folder of ours, on a thread of its own: it may take minutes. A file
    /// of this machine as well: what the sidecar reads is what was judged.
    pub(super) fn copy_file(&self, mut attempt: Attempt) {
        let (id, to_loop, setup) = (attempt.id, self.to_loop.clone(), self.setup.clone());
        let started = threads::spawn_expendable("wa-download", move || {
            let result = copy(&mut attempt, setup);
            let _ = to_loop.send(WhatsappEvent(EventKind::Copied(Box::new(attempt), result)));
        });
        if let Err(error) = started {
            self.send_outcomes([(id, not_sent(error.to_string()))]);
        }
    }
}

fn copy(attempt: &mut Attempt, setup: WhatsappSetup) -> Result<(), AttemptOutcome> {
    let Part::Media { source, .. } = &mut attempt.part else { return Ok(()) };
    let proxy_route = match setup.config.proxy.as_deref().map(Proxy::new) {
        Some(Ok(proxy)) => ProxyRoute::Through(proxy),
        Some(Err(_)) => return Err(not_sent("the proxy of the config is no URL of one")),
        None => ProxyRoute::Environment,
    };
    let folder = setup.folder.join(UPLOAD).join(attempt.id.to_string());
    let bytes_max = setup.media_bytes_max();
    let downloader = Downloader { proxy_route, sources: setup.sources };
    let path = downloader.copy_into(&folder, source, bytes_max)?;
    *source = path.to_string_lossy().into_owned();
    Ok(())
}

/// Removes what was copied for an attempt.
pub(super) fn remove_copy(folder: &Path, id: AttemptId) {
    let Ok(upload) = FolderHandle::open(&folder.join(UPLOAD)) else { return };
    let name = id.to_string();
    if let Ok(own) = upload.folder(name.as_ref()) {
        for name in own.names().into_iter().flatten().map_while(Result::ok) {
            let _ = own.unlink(&name);
        }
        let _ = upload.remove_folder(name.as_ref());
    }
}

/// The members of a request to send a file of [`UPLOAD`].
pub(super) fn media_members(path: &Path, caption: &str) -> Value {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let mime = download::mime_type(path);
    json!({ "path": path, "kind": sniff::kind(mime), "mime": mime, "name": name, "caption": caption })
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

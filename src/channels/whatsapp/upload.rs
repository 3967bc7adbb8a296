//! Pictures and files that are to be sent: copies of them, for the sidecar to read.

use std::path::Path;

use serde_json::{Value, json};
use ureq::Proxy;

use crate::channels::delivery::{Attempt, AttemptId, AttemptOutcome, Part, not_sent};
use crate::channels::web::client::ProxyRoute;
use crate::channels::web::download::{self, Downloader};
use crate::channels::web::sniff;
use crate::channels::whatsapp::{EventKind, Whatsapp, WhatsappEvent, WhatsappSetup};
use crate::store::folder_handle::FolderHandle;
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
pub(super) fn remove(folder: &Path, id: AttemptId) {
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

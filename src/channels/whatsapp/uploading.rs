//! Pictures and files that are to be sent: what they are, and how they come here from the web.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};

use crate::channels::delivery::{Attempt, AttemptOutcome, Part};
use crate::channels::telegram::download;
use crate::channels::whatsapp::{News, Told, Whatsapp};
use crate::threads;

/// Folder for what was downloaded.
pub(super) const UPLOAD: &str = "upload";

impl Whatsapp {
    /// Downloads what is to be sent, on a thread of its own: it may take minutes.
    pub(super) fn download(&self, attempt: Attempt, url: String) {
        let (news, proxy) = (self.news.clone(), self.config.proxy.clone());
        let id = attempt.id;
        let folder = self.config.folder.join(UPLOAD).join(id.to_string());
        let bytes_max = self.config.media_bytes_max;
        let started = threads::spawn_expendable("wa-download", move || {
            let result = download::to_path(proxy.as_deref(), &folder, &url, bytes_max);
            let _ = news.send(News(Told::Downloaded(Box::new(attempt), result)));
        });
        if let Err(error) = started {
            let outcome = AttemptOutcome::NotSent { why: error.to_string(), retry_after: None };
            self.outcome(id, outcome);
        }
    }

    /// A file as the sidecar sends it: from a folder that the config allows, or downloaded by us. State
    /// has looked at the words of the path only; a link in it may lead elsewhere.
    pub(super) fn upload(&self, source: &str, caption: &str) -> Result<Value, String> {
        let path = Path::new(source);
        let ours = [self.config.folder.join(UPLOAD)];
        if leads_into(path, &self.config.media_folders) || leads_into(path, &ours) {
            return media(path, caption, self.config.media_bytes_max);
        }
        Err("there is no such file in the folders that gateway.mediaFolders names".to_owned())
    }

    pub(super) fn downloaded(
        &mut self,
        mut attempt: Attempt,
        result: Result<PathBuf, AttemptOutcome>,
        now: Instant,
    ) {
        match (result, &mut attempt.part) {
            (Ok(path), Part::Media { source, .. }) => {
                *source = path.to_string_lossy().into_owned();
                self.outgoing.add(attempt, now);
            }
            (Err(outcome), _) => self.outcome(attempt.id, outcome),
            (Ok(_), Part::Text { .. } | Part::File { .. }) => {}
        }
    }
}

/// Whether a path leads into one of these folders, also through links.
fn leads_into(path: &Path, folders: &[PathBuf]) -> bool {
    let real = path.canonicalize();
    let above = |folder: &PathBuf| {
        folder
            .canonicalize()
            .ok()
            .zip(real.as_ref().ok())
            .is_some_and(|(folder, real)| real.starts_with(folder))
    };
    folders.iter().any(above)
}

/// A file as the sidecar sends it.
fn media(path: &Path, caption: &str, bytes_max: u64) -> Result<Value, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    match path.metadata() {
        Ok(about) if about.is_file() && about.len() <= bytes_max => {}
        Ok(about) if about.is_file() => {
            return Err(format!("the file is larger than {} MB", bytes_max >> 20));
        }
        _ => return Err(format!("there is no file `{name}`")),
    }
    let mime = download::mime_type(path);
    let kind = match mime.split('/').next() {
        Some("image") if mime != "image/svg+xml" => "image",
        Some("video") => "video",
        Some("audio") => "audio",
        _ => "document",
    };
    Ok(json!({ "path": path, "kind": kind, "mime": mime, "name": name, "caption": caption }))
}

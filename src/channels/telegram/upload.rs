//! Sends a picture or file: from a URL, or from a path that state has checked.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::channels::delivery::{Attempt, AttemptOutcome, not_sent, refused};
use crate::channels::telegram::api::{Api, FormFile};
use crate::channels::telegram::error::ApiError;
use crate::channels::telegram::send_message::{
    self, Sent, chat_id, may_work_plainer, reply_parameters, topic,
};
use crate::channels::text::split::{clip, utf16};
use crate::channels::web::client::describe_io;
use crate::channels::web::download::{self, Downloader};
use crate::channels::web::media_sources::MediaSources;
use crate::channels::web::sniff;
use crate::limits::{CAPTION_UNITS_MAX, TELEGRAM_PHOTO_BYTES_MAX, TELEGRAM_UPLOAD_BYTES_MAX};
use crate::store::folder_handle::FolderHandle;

/// An open file that is to be sent.
struct Source {
    file: File,
    bytes: u64,
    name: String,
    mime_type: String,
}

/// Sends `source` with its caption. `tmp` is a folder of ours for what must be downloaded first.
pub(super) fn upload_media(
    api: &Api,
    downloader: &Downloader,
    tmp: &Path,
    sources: &MediaSources,
    attempt: &Attempt,
    source: &str,
    caption: &str,
) -> AttemptOutcome {
    let opened = if download::is_url(source) {
        from_url(downloader, tmp, source)
    } else {
        from_path(Path::new(source), sources)
    };
    match opened {
        Ok(mut source) => send_message::outcome(attempt, send(api, attempt, &mut source, caption)),
        Err(outcome) => outcome,
    }
}

/// Sends a text as a file with a caption.
pub(super) fn upload_text(
    api: &Api,
    tmp: &Path,
    attempt: &Attempt,
    name: &str,
    text: &str,
    caption: &str,
) -> AttemptOutcome {
    let written = nameless(tmp).and_then(|mut file| file.write_all(text.as_bytes()).map(|()| file));
    let file = match written {
        Ok(file) => file,
        Err(error) => return not_sent(format!("the file cannot be stored: {error}")),
    };
    let (bytes, mime_type) = (text.len() as u64, "text/markdown".to_owned());
    let mut source = Source { file, bytes, name: name.to_owned(), mime_type };
    send_message::outcome(attempt, send(api, attempt, &mut source, caption))
}

/// Sends a file: as a picture where it is one, and else, or if Telegram does not take it so, as a file; at
/// last without what ties it to a topic or another message.
fn send(api: &Api, attempt: &Attempt, source: &mut Source, caption: &str) -> Result<Sent, ApiError> {
    let picture = matches!(source.mime_type.as_str(), "image/jpeg" | "image/png" | "image/webp");
    let mut ways = vec![("sendDocument", "document", true), ("sendDocument", "document", false)];
    if picture && source.bytes <= TELEGRAM_PHOTO_BYTES_MAX {
        ways.insert(0, ("sendPhoto", "photo", true));
    }
    let mut result = Err(ApiError::Unreachable("nothing was tried".to_owned()));
    for (method, field, full) in ways {
        let fields = form(attempt, caption, full);
        if let Err(error) = source.file.seek(SeekFrom::Start(0)) {
            return Err(ApiError::Unreachable(describe_io(&error)));
        }
        let (name, mime_type, bytes) = (source.name.as_str(), source.mime_type.as_str(), source.bytes);
        let file = FormFile { field, name, mime_type, content: &mut source.file, bytes };
        result = api.upload(method, &fields, file);
        if !result.as_ref().err().is_some_and(may_work_plainer) {
            break;
        }
    }
    result
}

fn form(attempt: &Attempt, caption: &str, full: bool) -> Vec<(&'static str, String)> {
    let chat = chat_id(attempt);
    let mut fields = vec![("chat_id", chat.as_str().map_or_else(|| chat.to_string(), str::to_owned))];
    if utf16(caption) > CAPTION_UNITS_MAX {
        fields.push(("caption", format!("{}…", clip(caption, CAPTION_UNITS_MAX - 1))));
    } else if !caption.is_empty() {
        fields.push(("caption", caption.to_owned()));
    }
    if full {
        fields.extend(topic(&attempt.route).map(|topic| ("message_thread_id", topic.to_string())));
        fields.extend(reply_parameters(attempt).map(|reply| ("reply_parameters", reply.to_string())));
    }
    fields
}

fn from_path(path: &Path, sources: &MediaSources) -> Result<Source, AttemptOutcome> {
    let file = sources.open(path)?;
    let about = file.metadata().map_err(|error| refused(format!("the file cannot be read: {error}")))?;
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    source(file, about.len(), name)
}

fn source(mut file: File, bytes: u64, name: String) -> Result<Source, AttemptOutcome> {
    if bytes > TELEGRAM_UPLOAD_BYTES_MAX {
        let mb = TELEGRAM_UPLOAD_BYTES_MAX >> 20;
        return Err(refused(format!("the file is larger than the {mb} MB that Telegram takes")));
    }
    if bytes == 0 {
        return Err(refused("the file is empty"));
    }
    let mut head = Vec::with_capacity(sniff::HEAD_BYTES);
    let read = Read::by_ref(&mut file).take(sniff::HEAD_BYTES as u64).read_to_end(&mut head);
    read.map_err(|error| refused(format!("the file cannot be read: {error}")))?;
    let mime_type = sniff::mime_type(&head).unwrap_or("application/octet-stream").to_owned();
    let name = if name.is_empty() {
        format!("file.{}", sniff::extension(&mime_type).unwrap_or("bin"))
    } else {
        name
    };
    Ok(Source { file, bytes, name, mime_type })
}

fn from_url(downloader: &Downloader, tmp: &Path, url: &str) -> Result<Source, AttemptOutcome> {
    let unstorable = |error| not_sent(format!("the file cannot be stored: {error}"));
    let mut file = nameless(tmp).map_err(unstorable)?;
    let bytes = downloader.copy(url, &mut file, TELEGRAM_UPLOAD_BYTES_MAX + 1)?;
    file.flush().and_then(|()| file.seek(SeekFrom::Start(0))).map_err(unstorable)?;
    source(file, bytes, download::file_name_of(url))
}

/// Makes a file that is gone when it is closed, even by a crash.
fn nameless(folder: &Path) -> io::Result<File> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let folder = FolderHandle::make(folder)?;
    loop {
        let name = format!("upload-{}-{}", std::process::id(), NUMBER.fetch_add(1, Relaxed));
        match folder.create_new(name.as_ref()) {
            // An earlier process with this number has left it there.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            file => {
                let file = file?;
                folder.unlink(name.as_ref())?;
                return Ok(file);
            }
        }
    }
}

//! The thread `tg-files`: sends and fetches pictures and files, so that texts do not wait for them.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Instant;

use crossbeam_channel::Receiver;

use crate::channels::delivery::{Attempt, AttemptOutcome, FetchedFile, Part, not_sent, refused};
use crate::channels::message::Fetch;
use crate::channels::telegram::Reporter;
use crate::channels::telegram::api::{Api, Upload};
use crate::channels::telegram::error::ApiError;
use crate::channels::telegram::fetch::{self, FetchError};
use crate::channels::telegram::rate_limit::RateLimit;
use crate::channels::telegram::send_message::{self, Sent, may_work_plainer, reply_parameters, topic};
use crate::channels::text::split::{clip, utf16};
use crate::channels::web::{download, sniff};
use crate::limits::{
    CAPTION_UNITS_MAX, MEDIA_FETCH_PAUSES_MS, MEDIA_FETCH_TIMEOUT, TELEGRAM_PHOTO_BYTES_MAX,
    TELEGRAM_UPLOAD_BYTES_MAX, ms,
};
use crate::names;
use crate::store::folder_handle::FolderHandle;
use crate::threads::lock;

/// A command to the thread.
pub(super) enum FileCommand {
    /// Send a part that is a picture or file.
    Deliver(Box<Attempt>),
    /// Fetch a file that somebody sent.
    Fetch(Fetch),
}

/// The thread, with all that it owns.
pub(super) struct FileLoop {
    pub(super) api: Api,
    pub(super) commands: Receiver<FileCommand>,
    /// Shared with `tg-send`, which waits for it; here what was sent is noted.
    pub(super) rate_limit: Arc<Mutex<RateLimit>>,
    pub(super) reporter: Reporter,
    /// Whether Telegram was switched off: what waits is not sent.
    pub(super) is_off: Arc<AtomicBool>,
}

impl FileLoop {
    /// Runs until nobody can send commands any more.
    pub(super) fn run(self) {
        while let Ok(command) = self.commands.recv() {
            match command {
                FileCommand::Deliver(attempt) => {
                    let outcome = self.deliver(&attempt);
                    let (chat, now) = (&attempt.route.chat, Instant::now());
                    lock(&self.rate_limit).spend(chat, now);
                    lock(&self.rate_limit).hold_if_asked(chat, &outcome, now);
                    self.reporter.outcome(attempt.id, outcome);
                }
                FileCommand::Fetch(fetch) => {
                    let result = self.fetch(&fetch).map_err(FetchError::into_words);
                    self.reporter.fetched(fetch, result);
                }
            }
        }
    }

    /// Fetches a file, in several attempts while there is time: to send a picture again is more work than to
    /// wait for it, but others wait behind it.
    fn fetch(&self, fetch: &Fetch) -> Result<FetchedFile, FetchError> {
        let attempt = || {
            if self.is_off.load(Relaxed) {
                return Err(FetchError::Permanent("Telegram is switched off".to_owned()));
            }
            fetch::fetch(&self.api, fetch, self.api.setup.media_bytes_max)
        };
        let begun = Instant::now();
        for pause_ms in MEDIA_FETCH_PAUSES_MS {
            match attempt() {
                Err(FetchError::Transient) if begun.elapsed() < MEDIA_FETCH_TIMEOUT => {
                    thread::sleep(ms(pause_ms));
                }
                result => return result,
            }
        }
        attempt()
    }

    fn deliver(&self, attempt: &Attempt) -> AttemptOutcome {
        if self.is_off.load(Relaxed) {
            return not_sent("telegram is switched off");
        }
        let (opened, caption) = match &attempt.part {
            Part::Media { source, caption } if download::is_url(source) => (self.open_url(source), caption),
            Part::Media { source, caption } => (self.open_path(Path::new(source)), caption),
            Part::File { name, text, caption } => (self.open_text(name, text), caption),
            Part::Text { .. } => return refused("it is no file"),
        };
        match opened {
            Ok(upload) => send_message::outcome(attempt, self.send(attempt, &upload, caption)),
            Err(outcome) => outcome,
        }
    }

    /// Sends a file: as a picture where it is one, and else, or if Telegram does not take it so, as a file; at
    /// last without what ties it to a topic or another message.
    fn send(&self, attempt: &Attempt, upload: &Upload, caption: &str) -> Result<Sent, ApiError> {
        let picture = matches!(upload.mime_type.as_str(), "image/jpeg" | "image/png" | "image/webp");
        let mut ways = vec![("sendDocument", "document", true), ("sendDocument", "document", false)];
        if picture && upload.bytes <= TELEGRAM_PHOTO_BYTES_MAX {
            ways.insert(0, ("sendPhoto", "photo", true));
        }
        let mut result = Err(ApiError::Unreachable("nothing was tried".to_owned()));
        for (method, field, full) in ways {
            result = self.api.upload(method, &parameters(attempt, caption, full), field, upload);
            if !result.as_ref().err().is_some_and(may_work_plainer) {
                break;
            }
        }
        result
    }

    fn open_text(&self, name: &str, text: &str) -> Result<Upload, AttemptOutcome> {
        let mut file = self.nameless_file().map_err(unstorable)?;
        file.write_all(text.as_bytes()).map_err(unstorable)?;
        let (bytes, mime_type) = (text.len() as u64, "text/markdown".to_owned());
        Ok(Upload { file, bytes, name: name.to_owned(), mime_type })
    }

    fn open_path(&self, path: &Path) -> Result<Upload, AttemptOutcome> {
        let file = self.api.setup.downloader.sources.open(path)?;
        let about = file.metadata().map_err(unreadable)?;
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        upload(file, about.len(), name)
    }

    fn open_url(&self, url: &str) -> Result<Upload, AttemptOutcome> {
        let mut file = self.nameless_file().map_err(unstorable)?;
        let bytes = self.api.setup.downloader.copy(url, &mut file, TELEGRAM_UPLOAD_BYTES_MAX + 1)?;
        file.seek(SeekFrom::Start(0)).map_err(unstorable)?;
        upload(file, bytes, download::file_name_of(url))
    }

    /// Makes a file that is gone when it is closed, even by a crash.
    fn nameless_file(&self) -> io::Result<File> {
        let folder = FolderHandle::make(&self.api.setup.tmp)?;
        let name = format!("upload-{}", names::random(16)?);
        let file = folder.create_new(name.as_ref())?;
        folder.unlink(name.as_ref())?;
        Ok(file)
    }
}

fn unstorable(error: io::Error) -> AttemptOutcome {
    not_sent(format!("the file cannot be stored: {error}"))
}

fn unreadable(error: io::Error) -> AttemptOutcome {
    refused(format!("the file cannot be read: {error}"))
}

fn upload(mut file: File, bytes: u64, name: String) -> Result<Upload, AttemptOutcome> {
    if bytes > TELEGRAM_UPLOAD_BYTES_MAX {
        let mb = TELEGRAM_UPLOAD_BYTES_MAX >> 20;
        return Err(refused(format!("the file is larger than the {mb} MB that Telegram takes")));
    }
    if bytes == 0 {
        return Err(refused("the file is empty"));
    }
    let head = sniff::read_head(&mut file).map_err(unreadable)?;
    let mime_type = sniff::mime_type(&head).unwrap_or(sniff::UNKNOWN).to_owned();
    let name = match name.as_str() {
        "" => format!("file.{}", sniff::extension(&mime_type).unwrap_or("bin")),
        _ => name,
    };
    Ok(Upload { file, bytes, name, mime_type })
}

/// The parameters beside the file; `full` with what ties it to a topic or another message.
fn parameters(attempt: &Attempt, caption: &str, full: bool) -> Vec<(&'static str, String)> {
    let mut parameters = vec![("chat_id", attempt.route.chat.clone())];
    if utf16(caption) > CAPTION_UNITS_MAX {
        parameters.push(("caption", format!("{}…", clip(caption, CAPTION_UNITS_MAX - 1))));
    } else if !caption.is_empty() {
        parameters.push(("caption", caption.to_owned()));
    }
    if full {
        parameters.extend(topic(&attempt.route).map(|topic| ("message_thread_id", topic.to_string())));
        parameters.extend(reply_parameters(attempt).map(|reply| ("reply_parameters", reply.to_string())));
    }
    parameters
}

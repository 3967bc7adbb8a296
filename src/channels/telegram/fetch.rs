//! Fetches a picture or file that somebody sent into a folder, within limits.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use crate::channels::delivery::FetchedFile;
use crate::channels::message::Fetch;
use crate::channels::telegram::api::Api;
use crate::channels::telegram::error::{ApiError, Refusal};
use crate::channels::web::client::Timeouts;
use crate::channels::web::sniff;
use crate::limits::{MEDIA_FETCH_TIMEOUT, MEDIA_NAME_BYTES_MAX};
use crate::plain_file;
use crate::protocol::cut;
use crate::store::media as media_folder;

/// Why a file was not fetched.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum FetchError {
    /// There was trouble on the way: another attempt may bring it.
    Transient,
    /// No attempt will bring it, for this reason.
    Permanent(String),
}

impl FetchError {
    /// The error as the person who sent the file is told it.
    pub(super) fn into_words(self) -> String {
        match self {
            Self::Transient => "it could not be fetched from Telegram; please send it again".to_owned(),
            Self::Permanent(why) => why,
        }
    }

    fn not_there() -> Self {
        Self::Permanent(Self::Transient.into_words())
    }

    fn not_stored() -> Self {
        Self::Permanent("the gateway cannot store it".to_owned())
    }

    fn too_large(bytes_max: u64) -> Self {
        Self::Permanent(format!("it is larger than {} MB", bytes_max / (1024 * 1024)))
    }
}

/// Fetches a file into the folder of the order, as `<index>-<name>`.
pub(super) fn fetch(api: &Api, order: &Fetch, bytes_max: u64) -> Result<FetchedFile, FetchError> {
    let Fetch { index, media, folder, .. } = order;
    let mut content = open(api, &media.handle, bytes_max)?;
    let head = sniff::read_head(&mut content).map_err(|_| FetchError::Transient)?;
    let mime_type = sniff::received_type(&head, &media.mime_type).to_owned();
    let name = name_of(*index, media.name.as_deref(), &mime_type);
    let (mut file, path) = create(folder, &name).map_err(|error| {
        log::warn!("cannot make a file in `{}`: {error}", folder.display());
        FetchError::not_stored()
    })?;
    let copied = file.write_all(&head).map_err(|_| FetchError::not_stored());
    let copied = copied.and_then(|()| copy(&mut content, &mut file, head.len() as u64, bytes_max));
    match copied {
        Ok(bytes) => Ok(FetchedFile { path, mime_type, bytes }),
        Err(why) => {
            let _ = media_folder::remove(&path);
            Err(why)
        }
    }
}

fn open(api: &Api, file_id: &str, bytes_max: u64) -> Result<Box<dyn Read>, FetchError> {
    #[derive(Deserialize)]
    struct Found {
        #[serde(default)]
        file_size: u64,
        file_path: Option<String>,
    }
    let reason = |error: &ApiError| match error.refusal() {
        Some(Refusal { code: 400, description, .. }) if description.contains("too big") => {
            FetchError::Permanent("it is larger than the 20 MB that Telegram gives to bots".to_owned())
        }
        refusal => {
            log::warn!("telegram: cannot fetch a file: {error}");
            match refusal {
                Some(Refusal { code: 400..=428 | 430..=499, .. }) => FetchError::not_there(),
                _ => FetchError::Transient,
            }
        }
    };
    let found: Found = api
        .call("getFile", &json!({ "file_id": file_id }), Timeouts::REQUEST)
        .map_err(|error| reason(&error))?;
    if found.file_size > bytes_max {
        return Err(FetchError::too_large(bytes_max));
    }
    let path = found.file_path.filter(|path| !path.split('/').any(|part| part == ".."));
    let path = path.ok_or_else(FetchError::not_there)?;
    if path.starts_with('/') && api.setup.is_local {
        // A Bot API server with `--local` on this machine says where the file lies.
        let file = plain_file::open_named(Path::new(&path)).map_err(|error| {
            log::warn!("cannot read `{path}` of the Bot API server: {error}");
            FetchError::not_there()
        })?;
        return Ok(Box::new(file));
    }
    let body = api.download(&path).map_err(|error| reason(&error))?;
    Ok(Box::new(body.into_with_config().limit(u64::MAX).reader()))
}

/// Copies the rest of a file, of which `copied` bytes were written before. Returns how many it has.
fn copy(from: &mut dyn Read, to: &mut File, mut copied: u64, bytes_max: u64) -> Result<u64, FetchError> {
    let deadline = Instant::now() + MEDIA_FETCH_TIMEOUT;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        if copied > bytes_max {
            return Err(FetchError::too_large(bytes_max));
        }
        if Instant::now() >= deadline {
            let seconds = Duration::as_secs(&MEDIA_FETCH_TIMEOUT);
            return Err(FetchError::Permanent(format!("it did not arrive within {seconds} seconds")));
        }
        match from.read(&mut buffer) {
            Ok(0) => return Ok(copied),
            Ok(bytes) => {
                to.write_all(&buffer[..bytes]).map_err(|_| FetchError::not_stored())?;
                copied += bytes as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return Err(FetchError::Transient),
        }
    }
}

/// Makes a file that was not there: a link that somebody put in its place is not followed.
fn create(folder: &Path, name: &str) -> io::Result<(File, PathBuf)> {
    let opened = media_folder::folder(folder)?;
    let mut attempt = 0;
    loop {
        let name = if attempt == 0 { name.to_owned() } else { format!("{attempt}-{name}") };
        match opened.create_new(name.as_ref()) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && attempt < SAME_NAMES_MAX => {
                attempt += 1;
            }
            result => return result.map(|file| (file, folder.join(name))),
        }
    }
}

/// Files of one name: a message that is fetched again after a crash finds its own earlier ones.
const SAME_NAMES_MAX: usize = 20;

/// A name without anything that a shell, a path or a terminal would mind.
fn name_of(index: usize, name: Option<&str>, mime_type: &str) -> String {
    let safe: String = name
        .unwrap_or_default()
        .chars()
        .map(|character| {
            if character.is_alphanumeric() || matches!(character, '.' | '-' | '_') { character } else { '_' }
        })
        .collect();
    let safe = safe.trim_start_matches(['.', '-']);
    let (stem, ending) = match safe.rsplit_once('.') {
        Some((stem, ending)) if ending.len() <= 10 && !stem.is_empty() => (stem, ending),
        _ => (safe, sniff::extension(mime_type).unwrap_or_default()),
    };
    let stem = cut(stem, MEDIA_NAME_BYTES_MAX);
    let stem = if stem.is_empty() { "file" } else { stem };
    if ending.is_empty() { format!("{index}-{stem}") } else { format!("{index}-{stem}.{ending}") }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::{FetchError, copy, create, name_of};

    #[test]
    fn names_are_harmless() {
        for (name, mime_type, expected) in [
            (Some("Report 1.pdf"), "application/pdf", "0-Report_1.pdf"),
            (Some("../../etc/passwd"), "text/plain", "0-_.._etc_passwd.txt"),
            (Some(".bashrc"), "x/y", "0-bashrc"),
            (Some("--rm\n\x1b[0m"), "x/y", "0-rm___0m"),
            (Some("Übung.PNG"), "image/png", "0-Übung.PNG"),
            (None, "image/jpeg", "0-file.jpg"),
            (Some("..."), "x/y", "0-file"),
        ] {
            assert_eq!(name_of(0, name, mime_type), expected);
        }
        let long = name_of(3, Some(&format!("{}.png", "ä".repeat(500))), "image/png");
        assert_eq!(long, format!("3-{}.png", "ä".repeat(40)));
    }

    #[test]
    fn files_are_private_and_nothing_is_overwritten() {
        let folder = std::env::temp_dir().join(format!("clawdis-fetch-{}", std::process::id()));
        let inner = folder.join("b");
        fs::create_dir(&folder).unwrap();
        let (_, first) = create(&inner, "0-x").unwrap();
        let (_, second) = create(&inner, "0-x").unwrap();
        assert_ne!(first, second);
        let mode = |path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&first), mode(&inner)), (0o600, 0o700));
        symlink("/dev/null", inner.join("1-link")).unwrap();
        let (mut file, linked) = create(&inner, "1-link").unwrap();
        assert!(linked.ends_with("1-1-link"), "{linked:?}");

        assert_eq!(copy(&mut vec![7; 50_000].as_slice(), &mut file, 16, 60_000), Ok(50_016));
        assert_eq!(
            copy(&mut vec![7; 3 << 20].as_slice(), &mut file, 0, 2 << 20),
            Err(FetchError::Permanent("it is larger than 2 MB".to_owned()))
        );
        // Nor is a link in the place of the folder.
        symlink(&inner, folder.join("c")).unwrap();
        create(&folder.join("c"), "2-x").unwrap();
        assert!(folder.join("c/2-x").exists() && !inner.join("2-x").exists());
        fs::remove_dir_all(folder).unwrap();
    }
}

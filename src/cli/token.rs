//! The gateway's token: where it may come from. It is shown nowhere, not even in errors.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use crate::cli::exit::Failure;
use crate::limits::CLI_SMALL_FILE_BYTES_MAX;

/// A token and where it was found. Deliberately without `Debug`.
pub(crate) struct Token {
    /// The secret.
    pub(crate) secret: String,
    /// For error texts: `--token`, a file's path, ...
    pub(crate) source: String,
}

impl Token {
    /// From `source`; blanks around it are no part of it. `None` if nothing is left.
    pub(crate) fn new(secret: &str, source: impl Into<String>) -> Option<Self> {
        let secret = secret.trim();
        (!secret.is_empty()).then(|| Self { secret: secret.to_owned(), source: source.into() })
    }

    /// From a file that the person named: it must be there.
    pub(crate) fn from_file(path: &Path) -> Result<Self, Failure> {
        let shown = path.display();
        let text = read_small(path)
            .map_err(|error| Failure::Usage(format!("cannot read the token file {shown}: {error}")))?;
        Self::new(&text, shown.to_string())
            .ok_or_else(|| Failure::Usage(format!("the token file {shown} is empty")))
    }

    /// From a file that may be there.
    pub(crate) fn from_file_if_any(path: &Path) -> Result<Option<Self>, Failure> {
        match read_small(path) {
            Ok(text) => Ok(Self::new(&text, path.display().to_string())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => {
                Err(Failure::Usage(format!("cannot read the token file {}: {error}", path.display())))
            }
        }
    }
}

/// A whole file of at most `CLI_SMALL_FILE_BYTES_MAX`.
pub(crate) fn read_small(path: &Path) -> io::Result<String> {
    read_bounded(path, CLI_SMALL_FILE_BYTES_MAX)
}

/// A whole file of at most `bytes_max`.
pub(crate) fn read_bounded(path: &Path, bytes_max: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(bytes_max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > bytes_max {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it is larger than {bytes_max} bytes"),
        ));
    }
    Ok(text)
}

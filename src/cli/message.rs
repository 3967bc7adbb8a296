//! The text that a verb sends: from its arguments, from a pipe, or typed after `-`; and the key that
//! makes sending it again safe.

use std::io::{self, IsTerminal as _, Read as _};

use data_encoding::HEXLOWER;

use crate::cli::failure::{Failure, Result};
use crate::cli::frame::too_large;
use crate::limits::PAYLOAD_BYTES_MAX;

/// The message made of `words`; with none, or a single `-`, what stdin holds.
pub(crate) fn message(words: &[String]) -> Result<String> {
    let text = match words {
        [] if io::stdin().is_terminal() => String::new(),
        [] => stdin()?,
        [word] if word == "-" => stdin()?,
        words => words.join(" "),
    };
    if text.trim().is_empty() {
        return Err(Failure::Usage("there is no message: give it as arguments or pipe it in".to_owned()));
    }
    Ok(text)
}

/// Reads stdin to its end, without the last line's end.
pub(crate) fn stdin() -> Result<String> {
    let mut bytes = Vec::new();
    let stdin = io::stdin().lock();
    stdin
        .take(PAYLOAD_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::Failed(format!("cannot read stdin: {error}")))?;
    if bytes.len() > PAYLOAD_BYTES_MAX {
        return Err(too_large());
    }
    let mut text =
        String::from_utf8(bytes).map_err(|_| Failure::Usage("stdin is not valid UTF-8 text".to_owned()))?;
    if text.ends_with('\n') {
        text.pop();
    }
    Ok(text)
}

pub(crate) fn random_key() -> Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::Failed(format!("no randomness for a key: {error}")))?;
    Ok(HEXLOWER.encode(&bytes))
}

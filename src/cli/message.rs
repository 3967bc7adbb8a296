//! The text that a verb sends: from its arguments, from a pipe, or typed after `-`; and the key that
//! makes sending it again safe.

use std::io::{self, IsTerminal as _, Read as _};

use crate::cli::exit::Failure;
use crate::limits::PAYLOAD_BYTES_MAX;

/// The message made of `words`; with none, or a single `-`, what stdin holds.
pub(crate) fn message(words: &[String], usage: &str) -> Result<String, Failure> {
    let text = match words {
        [] if io::stdin().is_terminal() => String::new(),
        [] => stdin()?,
        [word] if word == "-" => stdin()?,
        words => words.join(" "),
    };
    if text.trim().is_empty() {
        return Err(Failure::Usage(format!("there is no message; usage: clawdis {usage}")));
    }
    Ok(text)
}

/// Stdin to its end, without the last line's end.
pub(crate) fn stdin() -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let bound = PAYLOAD_BYTES_MAX as u64 + 1;
    io::stdin()
        .lock()
        .take(bound)
        .read_to_end(&mut bytes)
        .map_err(|error| Failure::Local(format!("cannot read stdin: {error}")))?;
    if bytes.len() > PAYLOAD_BYTES_MAX {
        let text = format!(
            "stdin holds more than the {PAYLOAD_BYTES_MAX} bytes (512 KiB) that the gateway takes: shorten it"
        );
        return Err(Failure::Usage(text));
    }
    let text =
        String::from_utf8(bytes).map_err(|_| Failure::Usage("stdin is not valid UTF-8 text".to_owned()))?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    Ok(text.strip_suffix('\r').unwrap_or(text).to_owned())
}

/// A random idempotency key.
pub(crate) fn random_key() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::Local(format!("no randomness for a key: {error}")))?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}

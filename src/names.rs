//! Names made of hexadecimal digits: random ones, and digests of what should not be read from the name.

use std::io;

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

/// Digits that nobody else has, two for each of at most 32 `bytes`. Fails where the system has no randomness.
pub(crate) fn random(bytes: usize) -> io::Result<String> {
    let mut random = [0; 32];
    getrandom::fill(&mut random[..bytes]).map_err(|error| io::Error::other(error.to_string()))?;
    Ok(HEXLOWER.encode(&random[..bytes]))
}

/// The first `bytes` of the SHA-256 digest of `of`, two digits for each; at most 32.
pub(crate) fn digest(of: impl AsRef<[u8]>, bytes: usize) -> String {
    HEXLOWER.encode(&Sha256::digest(of)[..bytes])
}

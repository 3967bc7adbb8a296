//! Reads pictures among what people have sent, for the model.

use std::io::Read;
use std::path::Path;

use data_encoding::BASE64;

use crate::limits::IMAGE_BYTES_MAX;
use crate::store::media;

/// MIME type and base64 of a picture. One that is too large or cannot be read is left out: the
/// prompt names its file anyway.
pub(super) fn read(mime_type: &str, path: &Path) -> Option<(String, String)> {
    let read = || {
        let mut bytes = Vec::new();
        media::open(path)?.take(IMAGE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(bytes)
    };
    match read() {
        Ok(bytes) if bytes.len() as u64 <= IMAGE_BYTES_MAX => {
            Some((mime_type.to_owned(), BASE64.encode(&bytes)))
        }
        Ok(_) => None,
        Err(error) => {
            log::warn!("a picture cannot be read for the agent: {error}");
            None
        }
    }
}

//! Bounds of the HTTP client that the channels share.

use std::time::Duration;

/// Connecting to a server, all of its addresses together; `ureq` gives the first of two two thirds of it.
pub const WEB_CONNECT_TIMEOUT: Duration = Duration::from_secs(8);
/// Writing the head of a request.
pub const WEB_WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// From a request to its answer, and for the answer itself; then nobody knows what became of it.
pub const WEB_ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// The same for a file, which may be 50 MB over a slow line.
pub const WEB_TRANSFER_TIMEOUT: Duration = Duration::from_secs(300);
/// An idle connection older than this is not used again: the server may just be closing it.
pub const WEB_IDLE_CONNECTION_AGE_MAX: Duration = Duration::from_secs(10);
/// Redirects that are followed to a file to be sent.
pub const WEB_REDIRECTS_MAX: u32 = 3;

//! What all channels need of the web: an HTTP client, downloads, and where files that are sent may come from.

pub(super) mod client;
pub(crate) mod download;
pub(crate) mod media_hosts;
pub(super) mod sniff;
mod special_ranges;

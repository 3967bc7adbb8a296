//! What all channels need of the web: an HTTP client, downloads, and where files that are sent may come from.

pub(super) mod client;
pub(super) mod download;
pub(crate) mod media_hosts;
pub(crate) mod media_sources;
pub(super) mod sniff;
mod special_ranges;

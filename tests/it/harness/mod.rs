//! What the tests are written with: a daemon, clients of several manners, and waiting.

pub(crate) mod client;
pub(crate) mod folder;
pub(crate) mod gateway;
pub(crate) mod http;
pub(crate) mod output;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod wait;

pub(crate) use client::{Client, hello, params_agent};
pub(crate) use gateway::Gateway;
pub(crate) use wait::{PATIENCE, eventually};

/// What an error of the protocol says: `(code, message)`.
pub(crate) fn code_and_text(error: &serde_json::Value) -> (&str, &str) {
    (error["code"].as_str().unwrap(), error["message"].as_str().unwrap())
}

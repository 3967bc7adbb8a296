//! What the tests are written with: a daemon, clients of several manners, and waiting.

pub(crate) mod client;
pub(crate) mod folder;
pub(crate) mod gateway;
pub(crate) mod http;
pub(crate) mod memory;
pub(crate) mod output;
pub(crate) mod process;
pub(crate) mod random;
pub(crate) mod raw;
pub(crate) mod schemas;
pub(crate) mod wait;

pub(crate) use client::{Client, hello, params_agent};
pub(crate) use gateway::{Builder, Gateway};
pub(crate) use wait::{PATIENCE, eventually};

/// How many JSON values that is, with those in it.
pub(crate) fn values(json: &serde_json::Value) -> usize {
    1 + match json {
        serde_json::Value::Array(items) => items.iter().map(values).sum(),
        serde_json::Value::Object(members) => members.values().map(values).sum(),
        _ => 0,
    }
}

/// What an error of the protocol says: `(code, message)`.
pub(crate) fn code_and_text(error: &serde_json::Value) -> (&str, &str) {
    (error["code"].as_str().unwrap(), error["message"].as_str().unwrap())
}

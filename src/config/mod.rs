//! What the person has set: the config file, the command line and the environment.
//!
//! `file` is the shape of the config file and `load` reads it, `unknown` says which of its keys
//! nothing reads, `flags` reads the daemon's command line, `environment` what is set around it, and
//! `settings` is what comes of all of them. Knows nothing of threads or sockets.
//! `schemas/config.schema.json` describes the file.

mod agent_env;
pub(crate) mod environment;
pub(crate) mod error;
pub mod file;
pub(crate) mod flags;
pub(crate) mod help;
pub(crate) mod load;
pub(crate) mod secret;
pub(crate) mod settings;
mod unknown;

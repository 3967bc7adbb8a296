//! What the person has set: the config file, the command line and the environment.
//!
//! [`mod@file`] is the shape of the config file, [`load`] reads it, [`flags`] takes the command line
//! apart, [`environment`] what is set around it, and [`settings`] is what comes of all of them.
//! Knows nothing of threads or sockets. `schemas/config.schema.json` describes the file.

mod agent_env;
pub mod environment;
pub mod error;
pub mod file;
pub mod flags;
pub mod help;
pub mod load;
pub mod secret;
pub mod settings;
mod unknown;

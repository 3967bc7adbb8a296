//! What others write, mutated: heads, frames, hellos, lines of the agent and of the sidecar, answers
//! of the Bot API, and the state folder that a backup brought back.
//!
//! Each target mutates samples of its own with a fixed seed, for some seconds, and holds what the
//! gateway does against what it promises: it lives, it answers others meanwhile, and it says why it
//! ends a connection, a run or itself. See [`campaign`] for the variables that change how.

mod bot_api;
mod campaign;
mod frames;
mod golden;
mod hello;
mod http_head;
mod json;
mod mutate;
mod pi_lines;
mod relay;
mod sidecar_lines;
mod state_folder;
mod watch;

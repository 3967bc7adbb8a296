//! The agent thread, driven as the state thread drives it, with real child processes.

mod demo;
mod guard;
mod harness;
mod hostile;
mod real_pi;
mod replay;

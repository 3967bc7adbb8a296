//! The daemon as a whole: its life, what it keeps, and what it takes.

mod capacity;
mod idempotency;
mod lifecycle;
mod logins;
mod memory;
mod sessions;
mod toggles;
mod trouble;
mod worst_case;

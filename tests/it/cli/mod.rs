//! Drives the real `clawdis` as a process against a gateway made of a script, so that the gateway can
//! do what a good one never would: go silent, refuse, skip events, vanish in the middle.

mod agent;
mod connect;
mod gateway;
mod locate;
mod login;
mod process;
mod usage;
mod verbs;
mod watch;

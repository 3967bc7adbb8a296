//! Tests that run the real binaries.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail like tests")]

mod agent;

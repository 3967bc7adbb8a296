//! The parsers of what others write, under libFuzzer: which of them is in `GUIDED_TARGET`.

#![no_main]

use std::sync::LazyLock;

use clawdis_gateway::channels::{read_sidecar, read_updates};
use clawdis_gateway::{agent, net};
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<String> = LazyLock::new(|| std::env::var("GUIDED_TARGET").unwrap_or_default());

fuzz_target!(|bytes: &[u8]| {
    match TARGET.as_str() {
        "http_head" => drop(net::is_head(bytes)),
        "frames" => drop(std::str::from_utf8(bytes).map(net::objection)),
        "pi_lines" => drop(agent::read_run(bytes)),
        "sidecar_lines" => drop(read_sidecar(bytes)),
        "bot_api" => drop(read_updates(bytes)),
        other => {
            panic!("GUIDED_TARGET is `{other}`: give http_head, frames, pi_lines, sidecar_lines or bot_api")
        }
    }
});

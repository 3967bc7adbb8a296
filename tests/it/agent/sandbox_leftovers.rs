//! What an agent leaves behind in its sandbox ends as well, whoever of guard and gateway was killed or stopped.

use rustix::process::Signal;

use crate::agent::leftovers::{escape, only_guard, stop};
use crate::agent::walls::for_everybody;
use crate::harness::{Gateway, PATIENCE, process};

/// Brings one of them to an end; the gateway that is there then, or was.
type End = fn(Gateway) -> Gateway;

const ENDS: [(&str, End); 4] = [
    ("killed", |mut gateway| {
        gateway.sigkill();
        gateway
    }),
    ("stopped", |mut gateway| {
        gateway.sigterm();
        assert_eq!(gateway.wait_exit(PATIENCE).code(), Some(0));
        gateway
    }),
    ("guard-killed", |gateway| {
        process::signal(only_guard(&gateway), Signal::KILL);
        gateway
    }),
    ("guard-stopped", |mut gateway| {
        stop(only_guard(&gateway));
        gateway.sigkill();
        gateway.setup().spawn()
    }),
];

#[test]
fn nothing_is_left_in_the_sandbox_either() {
    for (name, end) in ENDS {
        for setup in for_everybody(&format!("left-sandbox-{name}")) {
            let gateway = setup.spawn();
            let left = ["stay", "loop"].map(|kind| escape(&gateway, kind));
            let _gateway = end(gateway);
            for escaped in left {
                escaped.ends();
            }
        }
    }
}

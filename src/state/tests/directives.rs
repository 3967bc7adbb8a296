//! Lines for the gateway in chats: what was said after one is not undone by it.

use super::harness::{Harness, message};

#[test]
fn what_is_said_behind_a_stop_or_a_new_is_asked() {
    // Both come in one batch when the network, or the gateway, was away for a moment.
    for (line, reply) in [
        ("/stop", "Nothing was running here."),
        ("/new", "A new conversation begins."),
        ("/status", "The agent"),
    ] {
        for together in [true, false] {
            let mut harness = Harness::new();
            let said = [message("1", "2", "2", line), message("2", "2", "2", "do this")];
            if together {
                harness.arrive(said.to_vec());
            } else {
                for message in said {
                    harness.arrive(vec![message]);
                }
            }
            harness.keep();
            let deliveries = harness.deliveries();
            assert!(deliveries.len() == 1 && deliveries[0].1.starts_with(reply), "{line}: {deliveries:?}");
            let run = harness.run();
            assert_eq!(run.prompt, "do this");
            harness.answer(&run, "done");
            assert_eq!(harness.deliveries(), [("2".to_owned(), "done".to_owned())], "{line}");
        }
    }
}

#[test]
fn a_line_behind_a_stop_is_answered_too() {
    let mut harness = Harness::new();
    harness.arrive(vec![message("1", "1", "1", "/stop"), message("2", "1", "1", "/think high")]);
    harness.keep();
    let deliveries: Vec<String> = harness.deliveries().into_iter().map(|(_, text)| text).collect();
    assert_eq!(deliveries, ["Nothing was running here.", "Thinking is high for this conversation."]);
}

#[test]
fn a_stop_ends_what_was_said_before_it() {
    let mut harness = Harness::new();
    harness.say(message("1", "2", "2", "first"));
    let run = harness.run();
    harness.arrive(vec![message("2", "2", "2", "second"), message("3", "2", "2", "/stop")]);
    harness.arrive(vec![message("4", "2", "2", "third")]);
    harness.keep();
    harness.bench.end(&run.run_id, crate::protocol::payload::RunStatus::Cancelled, "");
    harness.keep();
    let deliveries = harness.deliveries();
    assert!(deliveries.len() == 1 && deliveries[0].1.starts_with("Stopped"), "{deliveries:?}");
    assert_eq!(harness.run().prompt, "third");
}

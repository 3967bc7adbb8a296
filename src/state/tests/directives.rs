//! Lines for the gateway in chats: what was said after one is not undone by it.

use super::world::{World, message};

#[test]
fn what_is_said_behind_a_stop_or_a_new_is_asked() {
    // Both come in one batch when the network, or the gateway, was away for a moment.
    for (line, reply) in [
        ("/stop", "Nothing was running here."),
        ("/new", "A new conversation begins."),
        ("/status", "The agent"),
    ] {
        for together in [true, false] {
            let mut world = World::new();
            let said = [message("1", "2", "2", line), message("2", "2", "2", "do this")];
            if together {
                world.arrive(said.to_vec());
            } else {
                for message in said {
                    world.arrive(vec![message]);
                }
            }
            world.keep();
            let letters = world.letters();
            assert!(letters.len() == 1 && letters[0].1.starts_with(reply), "{line}: {letters:?}");
            let run = world.run();
            assert_eq!(run.prompt, "do this");
            world.answer(&run, "done");
            assert_eq!(world.letters(), [("2".to_owned(), "done".to_owned())], "{line}");
        }
    }
}

#[test]
fn a_line_behind_a_stop_is_answered_too() {
    let mut world = World::new();
    world.arrive(vec![message("1", "1", "1", "/stop"), message("2", "1", "1", "/think high")]);
    world.keep();
    let letters: Vec<String> = world.letters().into_iter().map(|(_, text)| text).collect();
    assert_eq!(letters, ["Nothing was running here.", "Thinking is high for this conversation."]);
}

#[test]
fn a_stop_ends_what_was_said_before_it() {
    let mut world = World::new();
    world.say(message("1", "2", "2", "first"));
    let run = world.run();
    world.arrive(vec![message("2", "2", "2", "second"), message("3", "2", "2", "/stop")]);
    world.arrive(vec![message("4", "2", "2", "third")]);
    world.keep();
    world.bench.end(&run.run_id, crate::protocol::payload::RunStatus::Cancelled, "");
    world.keep();
    let letters = world.letters();
    assert!(letters.len() == 1 && letters[0].1.starts_with("Stopped"), "{letters:?}");
    assert_eq!(world.run().prompt, "third");
}

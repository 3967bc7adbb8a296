//! The order in which deliveries are tried.

use std::time::{Duration, Instant};

use super::{Head, Outbox, Reply};
use crate::channels::delivery::Part;
use crate::channels::message::Route;
use crate::protocol::call::Channel;
use crate::state::model::slot::DeliveryId;
use crate::state::model::write_buffer::WriteBuffer;

/// Adds a delivery to a chat; it is on record at once, and its first part with the channel if it was marked.
fn add(outbox: &mut Outbox, chat: &str, open: bool) -> DeliveryId {
    let route = Route { channel: Channel::Telegram, chat: chat.to_owned(), topic: None };
    let head = Head::new(&Reply { route, to: None }, "main", 0, String::new());
    let part = Part::Text { text: "hello".to_owned(), entities: Vec::new() };
    let id = outbox.add(head, vec![part], open, Instant::now(), &mut WriteBuffer::default());
    if outbox.by_id[&id].head.trying {
        outbox.attempt(id).unwrap();
    } else {
        outbox.by_id.get_mut(&id).unwrap().hold(None);
    }
    id
}

#[test]
fn one_delivery_at_a_time_goes_to_a_chat_in_their_order() {
    let mut outbox = Outbox::default();
    let first = add(&mut outbox, "1", true);
    let second = add(&mut outbox, "1", true);
    let other = add(&mut outbox, "2", false);
    let third = add(&mut outbox, "1", true);
    assert!(outbox.by_id[&first].is_busy() && !outbox.by_id[&second].is_busy());
    assert_eq!(
        outbox.due(Instant::now(), |_| true),
        [other],
        "the first to the other chat; this one is busy"
    );
    outbox.by_id.remove(&first);
    assert_eq!(outbox.due(Instant::now(), |_| true), [second, other]);
    assert!(outbox.due(Instant::now(), |_| false).is_empty());
    outbox.by_id.get_mut(&second).unwrap().hold(Some(Instant::now() + Duration::from_secs(60)));
    assert_eq!(outbox.due(Instant::now(), |_| true), [other], "what comes behind waits, too");
    outbox.by_id.remove(&second);
    assert_eq!(outbox.due(Instant::now(), |_| true), [other, third]);
}

#[test]
fn a_chat_that_has_moved_is_sent_one_at_a_time_as_well() {
    let mut outbox = Outbox::default();
    let old = add(&mut outbox, "old", false);
    let new = add(&mut outbox, "new", true);
    let mut writes = WriteBuffer::default();
    outbox.reroute(Channel::Telegram, "old", "new", &mut writes);
    assert_eq!((writes.ops.len(), outbox.by_id[&old].head.route.chat.as_str()), (1, "new"));
    assert!(outbox.due(Instant::now(), |_| true).is_empty(), "another one is under way there");
    outbox.by_id.remove(&new);
    assert_eq!(outbox.due(Instant::now(), |_| true), [old]);
}

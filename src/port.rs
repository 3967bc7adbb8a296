//! The way for a thread's events into the queue of whoever handles them.
//!
//! A thread owns the words that it speaks and does not know in whose queue they end up: the daemon ties the two.
//! (The agent thread sends by a plain sender: it must not wait for room, as a port does.)

use std::sync::Arc;

use crossbeam_channel::Sender;

/// Takes the events of one part of the gateway to whoever handles them. Clones lead to the same queue.
pub(crate) struct Port<E>(Arc<dyn Fn(E) -> bool + Send + Sync>);

impl<E: 'static> Port<E> {
    /// Leads into a queue, in which each event is wrapped in what the queue holds.
    pub(crate) fn new<T: Send + 'static>(queue: Sender<T>, wrap: fn(E) -> T) -> Self {
        Self(Arc::new(move |event| queue.send(wrap(event)).is_ok()))
    }

    /// Waits for room in the queue. `false`: nobody handles events any more, the gateway ends.
    pub(crate) fn send(&self, event: E) -> bool {
        (self.0)(event)
    }
}

impl<E> Clone for Port<E> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

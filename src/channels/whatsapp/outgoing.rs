//! Messages on their way to WhatsApp. One that was written counts as sent only when the server has confirmed
//! it, and is written again under its own id until then. Pure: time comes from outside.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::channels::delivery::{Attempt, AttemptId, AttemptOutcome, not_sent, refused};
use crate::limits::{
    WHATSAPP_ACCEPT_TIMEOUT, WHATSAPP_BODIES_MAX, WHATSAPP_CHAT_INTERVAL, WHATSAPP_CHATS_MAX,
    WHATSAPP_HOLD_TIMEOUT, WHATSAPP_INTERVAL, WHATSAPP_WRITE_TIMEOUT, WHATSAPP_WRITES_MAX,
};

/// One message on its way.
pub(super) struct Delivery {
    pub(super) attempt: Attempt,
    step: DeliveryStep,
    /// When its step began.
    since: Instant,
    /// How often the sidecar was asked to send it.
    writes: u32,
}

/// How far a message has got.
#[derive(Clone, Copy, PartialEq, Eq)]
enum DeliveryStep {
    /// It waits to be written.
    Waiting,
    /// The sidecar has it; a file may take its time.
    Writing,
    /// The server was given it and has not confirmed it.
    Left,
}

/// Messages that are not confirmed yet, and the pace at which they are written.
#[derive(Default)]
pub(super) struct Outgoing {
    /// Deliveries in the order in which they go.
    deliveries: VecDeque<Delivery>,
    /// When the next message may be written, to a chat and to any.
    chats: HashMap<String, Instant>,
    any: Option<Instant>,
    /// Bodies of the last messages, for receivers who ask again.
    bodies: VecDeque<Body>,
}

/// The body of a message that was sent, as WhatsApp has it.
pub(super) struct Body {
    /// Id of the message.
    pub(super) id: String,
    /// The chat that it went to.
    pub(super) to: String,
    /// The body in base64.
    pub(super) proto: String,
}

/// Outcomes of attempts, by their ids.
pub(super) type Outcomes = Vec<(AttemptId, AttemptOutcome)>;

impl Outgoing {
    pub(super) fn add(&mut self, attempt: Attempt, now: Instant) {
        self.deliveries.push_back(Delivery { attempt, step: DeliveryStep::Waiting, since: now, writes: 0 });
    }

    /// Takes the next message that may be written now.
    pub(super) fn next(&mut self, now: Instant) -> Option<Attempt> {
        if self.any.is_some_and(|at| at > now) {
            return None;
        }
        let chats = &self.chats;
        let ready = |delivery: &&mut Delivery| {
            delivery.step == DeliveryStep::Waiting
                && chats.get(&delivery.attempt.route.chat).is_none_or(|at| *at <= now)
        };
        let delivery = self.deliveries.iter_mut().find(ready)?;
        delivery.step = DeliveryStep::Writing;
        delivery.writes += 1;
        delivery.since = now;
        let attempt = delivery.attempt.clone();
        self.any = Some(now + WHATSAPP_INTERVAL);
        if self.chats.len() >= WHATSAPP_CHATS_MAX {
            self.chats.retain(|_, at| *at > now);
        }
        self.chats.insert(attempt.route.chat.clone(), now + WHATSAPP_CHAT_INTERVAL);
        Some(attempt)
    }

    /// Notes that the sidecar has given a message to the server: now it is confirmed, or written again.
    pub(super) fn handed_over(&mut self, message_id: &str, now: Instant) {
        let delivery = self.deliveries.iter_mut().find(|delivery| delivery.attempt.message_id == message_id);
        if let Some(delivery) = delivery {
            (delivery.step, delivery.since) = (DeliveryStep::Left, now);
        }
    }

    /// When a message is to be written or given up. `connected` says whether anything can be written.
    pub(super) fn deadline(&self, connected: bool) -> Option<Instant> {
        let waits = self.deliveries.iter().map(|delivery| {
            let chat = self.chats.get(&delivery.attempt.route.chat).copied();
            match (delivery.step, connected, chat.max(self.any)) {
                (DeliveryStep::Waiting, true, Some(at)) => at,
                _ => delivery.since + delivery.time_limit(),
            }
        });
        waits.min()
    }

    /// Gives up messages that waited too long: one that cannot be written may be tried later; one that was
    /// written goes again under the same id, and in the end nobody knows.
    pub(super) fn expire(&mut self, connected: bool, now: Instant) -> Outcomes {
        let mut outcomes = Vec::new();
        for delivery in &mut self.deliveries {
            if delivery.since + delivery.time_limit() > now
                || (delivery.step == DeliveryStep::Waiting && connected)
            {
                continue;
            }
            if delivery.step == DeliveryStep::Waiting {
                outcomes.push((delivery.attempt.id, delivery.not_now("WhatsApp is not connected")));
            } else if delivery.writes >= WHATSAPP_WRITES_MAX {
                let why = "WhatsApp has not confirmed it".to_owned();
                outcomes.push((delivery.attempt.id, AttemptOutcome::Unknown { why }));
            } else {
                (delivery.step, delivery.since) = (DeliveryStep::Waiting, now);
            }
        }
        self.deliveries.retain(|delivery| !outcomes.iter().any(|(id, _)| *id == delivery.attempt.id));
        outcomes
    }

    /// Has messages that the server has not confirmed written again: the connection is gone.
    pub(super) fn connection_lost(&mut self, now: Instant) {
        for delivery in self.deliveries.iter_mut().filter(|delivery| delivery.step != DeliveryStep::Waiting) {
            (delivery.step, delivery.since) = (DeliveryStep::Waiting, now);
        }
    }

    /// Takes out a message whose outcome is known.
    pub(super) fn finish(&mut self, message_id: &str) -> Option<Delivery> {
        let at = self.deliveries.iter().position(|delivery| delivery.attempt.message_id == message_id)?;
        self.deliveries.remove(at)
    }

    /// Takes out a message that was refused, with its outcome; `retry` says whether it may be tried later.
    pub(super) fn refuse(
        &mut self,
        message_id: &str,
        why: &str,
        retry: bool,
    ) -> Option<(AttemptId, AttemptOutcome)> {
        let delivery = self.finish(message_id)?;
        let outcome = if retry { delivery.not_now(why) } else { refused(why) };
        Some((delivery.attempt.id, outcome))
    }

    /// Takes out all messages: nothing can be sent for the time being.
    pub(super) fn give_back(&mut self, why: &str) -> Outcomes {
        self.deliveries.drain(..).map(|delivery| (delivery.attempt.id, delivery.not_now(why))).collect()
    }

    /// Keeps a message's body for receivers who could not read it.
    pub(super) fn keep_body(&mut self, body: Body) {
        self.bodies.push_back(body);
        if self.bodies.len() > WHATSAPP_BODIES_MAX {
            self.bodies.pop_front();
        }
    }

    pub(super) fn body(&self, message_id: &str) -> Option<&Body> {
        self.bodies.iter().find(|body| body.id == message_id)
    }
}

impl Delivery {
    /// How long the message may stay in its step.
    fn time_limit(&self) -> Duration {
        match self.step {
            DeliveryStep::Waiting => WHATSAPP_HOLD_TIMEOUT,
            DeliveryStep::Writing => WHATSAPP_WRITE_TIMEOUT,
            DeliveryStep::Left => WHATSAPP_ACCEPT_TIMEOUT,
        }
    }

    /// The outcome of a message that may be tried later. One that was written before may have arrived
    /// already.
    fn not_now(&self, why: &str) -> AttemptOutcome {
        if self.writes > 0 { AttemptOutcome::Unsure { why: why.to_owned() } } else { not_sent(why) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Outgoing;
    use crate::channels::delivery::{Attempt, AttemptOutcome, Part};
    use crate::channels::message::Route;
    use crate::limits::{WHATSAPP_ACCEPT_TIMEOUT, WHATSAPP_HOLD_TIMEOUT, WHATSAPP_WRITES_MAX};
    use crate::protocol::call::Channel;

    fn attempt(id: u64, chat: &str) -> Attempt {
        Attempt {
            id,
            route: Route { channel: Channel::Whatsapp, chat: chat.into(), topic: None },
            reply_to: None,
            message_id: format!("M{id}"),
            part: Part::Text { text: "hi".into(), entities: Vec::new() },
        }
    }

    #[test]
    fn chats_are_paced_and_keep_their_order() {
        let start = Instant::now();
        let mut outgoing = Outgoing::default();
        for (id, chat) in [(1, "a"), (2, "a"), (3, "b")] {
            outgoing.add(attempt(id, chat), start);
        }
        let mut order = Vec::new();
        for step in 0..40 {
            let now = start + step * Duration::from_millis(100);
            order.extend(outgoing.next(now).map(|attempt| attempt.id));
        }
        assert_eq!(order, [1, 3, 2]);
    }

    #[test]
    fn what_is_not_confirmed_goes_again_under_its_id_and_then_nobody_knows() {
        let mut now = Instant::now();
        let mut outgoing = Outgoing::default();
        outgoing.add(attempt(1, "a"), now);
        for _ in 0..WHATSAPP_WRITES_MAX {
            assert_eq!(outgoing.next(now).unwrap().message_id, "M1");
            outgoing.handed_over("M1", now);
            assert!(outgoing.expire(true, now).is_empty());
            now += WHATSAPP_ACCEPT_TIMEOUT;
            let outcomes = outgoing.expire(true, now);
            if let [(id, outcome)] = &outcomes[..] {
                assert!(*id == 1 && matches!(outcome, AttemptOutcome::Unknown { .. }));
                return;
            }
        }
        panic!("it was never given up");
    }

    #[test]
    fn without_a_connection_messages_wait_a_while_and_come_back() {
        let now = Instant::now();
        let mut outgoing = Outgoing::default();
        outgoing.add(attempt(1, "a"), now);
        assert_eq!(outgoing.deadline(false), Some(now + WHATSAPP_HOLD_TIMEOUT));
        let outcomes = outgoing.expire(false, now + WHATSAPP_HOLD_TIMEOUT);
        assert!(matches!(outcomes[..], [(1, AttemptOutcome::NotSent { .. })]));
        outgoing.add(attempt(2, "a"), now);
        outgoing.next(now).unwrap();
        outgoing.connection_lost(now);
        assert_eq!(outgoing.next(now + Duration::from_secs(9)).unwrap().id, 2);
        assert!(outgoing.expire(true, now + WHATSAPP_ACCEPT_TIMEOUT).is_empty(), "a file may take longer");
        // It was written: nobody may say that it was not sent.
        assert!(matches!(outgoing.give_back("off")[..], [(2, AttemptOutcome::Unsure { .. })]));
        assert!(outgoing.finish("M2").is_none());
    }
}

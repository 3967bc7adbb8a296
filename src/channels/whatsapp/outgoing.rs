//! Messages on their way to WhatsApp. Sent is not accepted: a message counts when the server says so,
//! and is written again under its own id until then. Pure: time comes from outside.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use crate::channels::delivery::{Attempt, AttemptId, AttemptOutcome};
use crate::limits::{
    WHATSAPP_ACCEPT_TIMEOUT, WHATSAPP_BODIES_MAX, WHATSAPP_CHAT_INTERVAL, WHATSAPP_CHATS_MAX,
    WHATSAPP_HOLD_TIMEOUT, WHATSAPP_INTERVAL, WHATSAPP_WRITE_TIMEOUT, WHATSAPP_WRITES_MAX,
};

/// One message.
struct Letter {
    attempt: Attempt,
    step: Step,
    /// Since when.
    since: Instant,
    /// How often it was given to the sidecar.
    writes: u32,
}

/// How far a message is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Step {
    /// To be written.
    Waiting,
    /// In the sidecar's hands; a file may take its time.
    Writing,
    /// It has left; the server has not confirmed it.
    Left,
}

#[derive(Default)]
pub(super) struct Outgoing {
    /// In the order in which they go.
    letters: VecDeque<Letter>,
    /// When the next one may be written to a chat, and to any.
    chats: HashMap<String, Instant>,
    any: Option<Instant>,
    /// Bodies of the last messages, for receivers who ask again.
    bodies: VecDeque<Body>,
}

/// What a message said, as WhatsApp has it.
pub(super) struct Body {
    /// Of the message.
    pub(super) id: String,
    /// The chat that it went to.
    pub(super) to: String,
    /// Base64.
    pub(super) proto: String,
}

/// What became of messages.
pub(super) type Outcomes = Vec<(AttemptId, AttemptOutcome)>;

impl Outgoing {
    pub(super) fn add(&mut self, attempt: Attempt, now: Instant) {
        self.letters.push_back(Letter { attempt, step: Step::Waiting, since: now, writes: 0 });
    }

    /// The next message that may be written now.
    pub(super) fn next(&mut self, now: Instant) -> Option<Attempt> {
        if self.any.is_some_and(|at| at > now) {
            return None;
        }
        let chats = &self.chats;
        let ready = |letter: &&mut Letter| {
            letter.step == Step::Waiting && chats.get(&letter.attempt.route.chat).is_none_or(|at| *at <= now)
        };
        let letter = self.letters.iter_mut().find(ready)?;
        letter.step = Step::Writing;
        letter.writes += 1;
        letter.since = now;
        let attempt = letter.attempt.clone();
        self.any = Some(now + WHATSAPP_INTERVAL);
        if self.chats.len() >= WHATSAPP_CHATS_MAX {
            self.chats.retain(|_, at| *at > now);
        }
        self.chats.insert(attempt.route.chat.clone(), now + WHATSAPP_CHAT_INTERVAL);
        Some(attempt)
    }

    /// The sidecar has given it to the server: now it is confirmed, or written again.
    pub(super) fn left(&mut self, message_id: &str, now: Instant) {
        let letter = self.letters.iter_mut().find(|letter| letter.attempt.message_id == message_id);
        if let Some(letter) = letter {
            (letter.step, letter.since) = (Step::Left, now);
        }
    }

    /// When something is to be written or given up. `connected` says whether anything can be written.
    pub(super) fn deadline(&self, connected: bool) -> Option<Instant> {
        let waits = self.letters.iter().map(|letter| {
            let chat = self.chats.get(&letter.attempt.route.chat).copied();
            match (letter.step, connected, chat.max(self.any)) {
                (Step::Waiting, true, Some(at)) => at,
                _ => letter.since + letter.timeouts(),
            }
        });
        waits.min()
    }

    /// Gives up what has waited too long: what cannot be written may be tried later, what was written
    /// goes again under the same id, and in the end nobody knows.
    pub(super) fn expire(&mut self, connected: bool, now: Instant) -> Outcomes {
        let mut outcomes = Vec::new();
        for letter in &mut self.letters {
            if letter.since + letter.timeouts() > now || (letter.step == Step::Waiting && connected) {
                continue;
            }
            if letter.step == Step::Waiting {
                outcomes.push((letter.attempt.id, letter.not_now("WhatsApp is not connected")));
            } else if letter.writes >= WHATSAPP_WRITES_MAX {
                let why = "WhatsApp has not confirmed it".to_owned();
                outcomes.push((letter.attempt.id, AttemptOutcome::Unknown { why }));
            } else {
                (letter.step, letter.since) = (Step::Waiting, now);
            }
        }
        self.letters.retain(|letter| !outcomes.iter().any(|(id, _)| *id == letter.attempt.id));
        outcomes
    }

    /// The connection is gone: what the server has not confirmed goes again under the same id.
    pub(super) fn connection_lost(&mut self, now: Instant) {
        for letter in self.letters.iter_mut().filter(|letter| letter.step != Step::Waiting) {
            (letter.step, letter.since) = (Step::Waiting, now);
        }
    }

    /// A message is over.
    pub(super) fn over(&mut self, message_id: &str) -> Option<Attempt> {
        let at = self.letters.iter().position(|letter| letter.attempt.message_id == message_id)?;
        self.letters.remove(at).map(|letter| letter.attempt)
    }

    /// A message cannot be written now.
    pub(super) fn put_off(&mut self, message_id: &str, why: &str) -> Option<(AttemptId, AttemptOutcome)> {
        let at = self.letters.iter().position(|letter| letter.attempt.message_id == message_id)?;
        let letter = self.letters.remove(at)?;
        Some((letter.attempt.id, letter.not_now(why)))
    }

    /// Nothing can be sent for the time being: all of it is given back.
    pub(super) fn give_back(&mut self, why: &str) -> Outcomes {
        self.letters.drain(..).map(|letter| (letter.attempt.id, letter.not_now(why))).collect()
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

impl Letter {
    /// How long it may stay in its step.
    fn timeouts(&self) -> Duration {
        match self.step {
            Step::Waiting => WHATSAPP_HOLD_TIMEOUT,
            Step::Writing => WHATSAPP_WRITE_TIMEOUT,
            Step::Left => WHATSAPP_ACCEPT_TIMEOUT,
        }
    }

    /// It is tried later. One that was written before may be there already.
    fn not_now(&self, why: &str) -> AttemptOutcome {
        let why = why.to_owned();
        if self.writes > 0 {
            AttemptOutcome::Unsure { why }
        } else {
            AttemptOutcome::NotSent { why, retry_after: None }
        }
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
            outgoing.left("M1", now);
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
        assert!(outgoing.over("M2").is_none());
    }
}

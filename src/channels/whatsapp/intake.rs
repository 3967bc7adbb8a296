//! Messages of the sidecar on their way to the core: one batch at a time, acknowledged when it is
//! safe there. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::channels::message::{Arrival, Batch};
use crate::limits::WHATSAPP_BATCH_MAX;
use crate::protocol::call::Channel;

#[derive(Default)]
pub(super) struct Intake {
    /// Not handed over yet, with their places.
    waiting: VecDeque<(u64, Arrival)>,
    /// Place of the last message that was seen; what is behind the last offer.
    seen: Option<u64>,
    /// What the core has in its hands, and the place behind it.
    offered: Option<(Vec<Arrival>, u64)>,
    /// When to offer the same again.
    again: Option<Instant>,
}

impl Intake {
    /// A message, or one that is not for the core, at that place.
    pub(super) fn add(&mut self, seq: u64, arrival: Option<Arrival>) {
        self.waiting.extend(arrival.map(|arrival| (seq, arrival)));
        self.seen = Some(seq);
    }

    /// What to hand over now.
    pub(super) fn offer(&mut self, now: Instant) -> Option<Batch> {
        if let Some(again) = self.again {
            if again > now {
                return None;
            }
            self.again = None;
        } else {
            if self.offered.is_some() || self.waiting.is_empty() {
                return None;
            }
            let count = self.waiting.len().min(WHATSAPP_BATCH_MAX);
            let (seqs, arrivals): (Vec<u64>, Vec<Arrival>) = self.waiting.drain(..count).unzip();
            // What is behind the last one of all is seen with it.
            let place = if self.waiting.is_empty() { self.seen.take() } else { seqs.last().copied() };
            self.offered = Some((arrivals, place?));
        }
        let (arrivals, _) = self.offered.as_ref()?;
        Some(Batch { channel: Channel::Whatsapp, arrivals: arrivals.clone(), cursor: None })
    }

    /// The place to acknowledge where nothing is for the core.
    pub(super) fn nothing_to_offer(&mut self) -> Option<u64> {
        if self.offered.is_some() || !self.waiting.is_empty() {
            return None;
        }
        self.seen.take()
    }

    /// The core has answered. Returns the place to acknowledge.
    pub(super) fn acknowledge(&mut self, result: Result<(), Duration>, now: Instant) -> Option<u64> {
        match result {
            Ok(()) => self.offered.take().map(|(_, seq)| seq),
            Err(pause) => {
                self.again = self.offered.is_some().then(|| now + pause);
                None
            }
        }
    }

    /// When to offer the same again.
    pub(super) fn offer_at(&self) -> Option<Instant> {
        self.again
    }

    /// The sidecar is gone; the next one shows again what was not acknowledged.
    pub(super) fn forget_waiting(&mut self) {
        self.waiting.clear();
        self.seen = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Intake;
    use crate::channels::message::Arrival;
    use crate::limits::WHATSAPP_BATCH_MAX;

    fn arrival(key: &str) -> Arrival {
        Arrival::Garbled { key: key.into(), why: String::new(), raw: String::new() }
    }

    #[test]
    fn one_batch_at_a_time_and_the_place_follows_it() {
        let now = Instant::now();
        let mut intake = Intake::default();
        intake.add(1, None);
        assert!(intake.offer(now).is_none());
        assert_eq!(intake.nothing_to_offer(), Some(1));
        intake.add(2, Some(arrival("a")));
        assert_eq!(intake.offer(now).unwrap().arrivals.len(), 1);
        intake.add(3, Some(arrival("b")));
        intake.add(4, None);
        assert!(intake.offer(now).is_none() && intake.nothing_to_offer().is_none());
        let pause = Duration::from_secs(1);
        assert_eq!(intake.acknowledge(Err(pause), now), None);
        assert!(intake.offer(now).is_none());
        assert_eq!(intake.offer(now + pause).unwrap().arrivals, [arrival("a")]);
        assert_eq!(intake.acknowledge(Ok(()), now), Some(2));
        assert_eq!(intake.offer(now).unwrap().arrivals, [arrival("b")]);
        assert_eq!(intake.acknowledge(Ok(()), now), Some(4));
        assert_eq!(intake.nothing_to_offer(), None);
    }

    #[test]
    fn more_than_the_core_takes_at_once_goes_in_several_batches() {
        let now = Instant::now();
        let mut intake = Intake::default();
        for seq in 1..=250 {
            intake.add(seq, Some(arrival(&seq.to_string())));
        }
        intake.add(251, None);
        for (count, place) in [(WHATSAPP_BATCH_MAX, 100), (WHATSAPP_BATCH_MAX, 200), (50, 251)] {
            assert_eq!(intake.offer(now).unwrap().arrivals.len(), count);
            assert_eq!(intake.acknowledge(Ok(()), now), Some(place));
        }
        assert!(intake.offer(now).is_none());
    }
}

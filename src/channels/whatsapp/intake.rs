//! The sidecar's messages on their way to state: one batch at a time, acknowledged in the sidecar's journal
//! when state has it on record. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::channels::message::{Arrival, Batch};
use crate::limits::WHATSAPP_BATCH_MAX;
use crate::protocol::call::Channel;

/// Messages that state does not have on record yet, by their places in the sidecar's journal.
#[derive(Default)]
pub(super) struct Intake {
    /// Messages that were not offered yet, with their places.
    waiting: VecDeque<(u64, Arrival)>,
    /// The place of the last line that was seen, if it is not part of an offer.
    seen: Option<u64>,
    /// The batch that state was offered, and its last place.
    offered: Option<(Vec<Arrival>, u64)>,
    /// When to offer the same batch again.
    pub(super) again: Option<Instant>,
}

impl Intake {
    /// Adds the message at that place, or `None` for one that state does not take.
    pub(super) fn add(&mut self, seq: u64, arrival: Option<Arrival>) {
        self.waiting.extend(arrival.map(|arrival| (seq, arrival)));
        self.seen = Some(seq);
    }

    /// The batch to offer now, if there is one.
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

    /// The place to acknowledge where nothing waits for state.
    pub(super) fn nothing_to_offer(&mut self) -> Option<u64> {
        if self.offered.is_some() || !self.waiting.is_empty() {
            return None;
        }
        self.seen.take()
    }

    /// Handles state's answer to the offer. Returns the place to acknowledge to the sidecar.
    pub(super) fn acknowledge(&mut self, result: Result<(), Duration>, now: Instant) -> Option<u64> {
        match result {
            Ok(()) => self.offered.take().map(|(_, seq)| seq),
            Err(pause) => {
                self.again = self.offered.is_some().then(|| now + pause);
                None
            }
        }
    }

    /// Forgets what was not offered: the next sidecar shows it again.
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
    fn more_than_state_takes_at_once_goes_in_several_batches() {
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

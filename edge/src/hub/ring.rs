//! A channel's newest events on a worker. Pure: it never reads a store and never writes a socket.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use meridian_core::vocabulary::{Event, Position, Verdict, judge};

use crate::frame::EncodedEvents;

/// A ring's bounds, whichever is met first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RingBounds {
    pub(crate) events: usize,
    pub(crate) bytes: usize,
}

/// The newest events of a channel, chained: complete for every reader at or above `floor`.
#[derive(Debug)]
pub(crate) struct Ring {
    bounds: RingBounds,
    events: VecDeque<Entry>,
    bytes: usize,
    floor: Position,
    tip: Position,
}

#[derive(Debug)]
struct Entry {
    position: Position,
    weight: usize,
    encoded: Rc<EncodedEvents>,
}

impl Ring {
    /// An empty ring, complete from `floor` on: nothing of the channel lies between what `floor` names
    /// and what will be pushed.
    pub(crate) fn new(bounds: RingBounds, floor: Position) -> Self {
        Self { bounds, events: VecDeque::new(), bytes: 0, floor, tip: floor }
    }

    /// Readers at or above can be served from here.
    pub(crate) fn floor(&self) -> Position {
        self.floor
    }

    /// The position up to which the ring is complete.
    pub(crate) fn tip(&self) -> Position {
        self.tip
    }

    /// What the events weigh.
    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The newest event.
    pub(crate) fn newest(&self) -> Option<&Rc<EncodedEvents>> {
        self.events.back().map(|entry| &entry.encoded)
    }

    /// Takes the event if it is the next one.
    pub(crate) fn push(&mut self, event: Arc<Event>) -> Verdict {
        let verdict = judge(self.tip, event.prev, event.position());
        if verdict == Verdict::Accept {
            self.append(event);
        }
        verdict
    }

    /// Takes what a store read after some position at or below the tip: what is gone through `gone`,
    /// then `events`, and nothing more up to `position`. The store vouches for the order, also where
    /// an event's `prev` is unknown. Never goes back.
    pub(crate) fn extend<'a>(
        &mut self,
        gone: Option<Position>,
        events: impl Iterator<Item = &'a Arc<Event>>,
        position: Position,
    ) {
        if let Some(through) = gone.filter(|through| *through > self.tip) {
            self.reset(through);
        }
        for event in events {
            if event.position() > self.tip {
                self.append(event.clone());
            }
        }
        self.tip = self.tip.max(position);
    }

    /// Forgets everything; complete from `floor` on.
    pub(crate) fn reset(&mut self, floor: Position) {
        *self = Self::new(self.bounds, floor);
    }

    /// The events after `position`, oldest first. Only complete if `position ≥ floor`.
    pub(crate) fn after(&self, position: Position) -> impl Iterator<Item = &Rc<EncodedEvents>> {
        let start = match self.events.back() {
            // Nearly every call asks for the newest one.
            Some(newest) if newest.position <= position => self.events.len(),
            _ => self.events.partition_point(|entry| entry.position <= position),
        };
        self.events.range(start..).map(|entry| &entry.encoded)
    }

    fn append(&mut self, event: Arc<Event>) {
        let (position, weight) = (event.position(), event.weight());
        let encoded = Rc::new(EncodedEvents::new(vec![event]));
        self.events.push_back(Entry { position, weight, encoded });
        self.bytes += weight;
        self.tip = position;
        self.evict();
    }

    fn evict(&mut self) {
        while self.events.len() > self.bounds.events
            || (self.bytes > self.bounds.bytes && self.events.len() > 1)
        {
            let Some(oldest) = self.events.pop_front() else { return };
            self.bytes -= oldest.weight;
            self.floor = oldest.position;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::testing::{at, event};

    fn ring(events: usize) -> Ring {
        Ring::new(RingBounds { events, bytes: 1 << 20 }, at(1, -1))
    }

    fn offsets(ring: &Ring, after: Position) -> Vec<i64> {
        ring.after(after).map(|encoded| encoded.last().passed).collect()
    }

    #[test]
    fn takes_only_the_chain() {
        let mut ring = ring(8);
        assert_eq!(ring.push(event(3, None)), Verdict::Accept);
        assert_eq!(ring.push(event(3, None)), Verdict::Duplicate);
        assert_eq!(ring.push(event(9, Some(7))), Verdict::Broken);
        assert_eq!(ring.push(event(7, Some(3))), Verdict::Accept);
        assert_eq!(ring.push(event(9, Some(7))), Verdict::Accept);
        assert_eq!(offsets(&ring, at(1, -1)), [3, 7, 9]);
        assert_eq!(offsets(&ring, at(1, 5)), [7, 9]);
        assert_eq!(offsets(&ring, at(1, 9)), [0i64; 0]);
    }

    #[test]
    fn eviction_raises_the_floor() {
        let mut ring = ring(2);
        for (offset, prev) in [(0, None), (4, Some(0)), (6, Some(4))] {
            ring.push(event(offset, prev));
        }
        assert_eq!((ring.floor(), ring.tip()), (at(1, 0), at(1, 6)));
        assert_eq!(offsets(&ring, ring.floor()), [4, 6]);
    }

    #[test]
    fn bytes_bound_it_but_the_newest_stays() {
        let mut ring = Ring::new(RingBounds { events: 100, bytes: 1 }, at(1, -1));
        ring.push(event(0, None));
        ring.push(event(1, Some(0)));
        assert_eq!(offsets(&ring, at(1, -1)), [1]);
    }
}

//! One partition's live state: marker, and each channel's head and hot history. Pure: no lock, no
//! link, no clock. Hot history is always a contiguous suffix of a channel's events.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::HotBounds;
use crate::policy::Retention;
use crate::seams::{Applied, ApplyOutcome, HotHead, HotRead, Stale};
use crate::vocabulary::{ChannelKey, Event, Position, Prev};

#[derive(Default)]
pub(super) struct Partition {
    marker: Option<Position>,
    /// At or below it, events are in the history: only those may be forgotten.
    trim_below: Option<Position>,
    channels: HashMap<ChannelKey, Hot>,
    /// Channels by their last event, oldest first.
    by_use: BTreeMap<u64, ChannelKey>,
    next_use: u64,
    /// Channels beyond their bounds whose oldest events are not in the history yet.
    overfull: HashSet<ChannelKey>,
    bytes: usize,
}

/// A channel's hot history.
struct Hot {
    events: VecDeque<Arc<Event>>,
    bytes: usize,
    head: Position,
    used: u64,
}

impl Partition {
    pub(super) fn marker(&self) -> Option<Position> {
        self.marker
    }

    /// One step of the apply script.
    pub(super) fn apply(&mut self, applied: &Applied, bounds: &HotBounds<'_>) -> ApplyOutcome {
        let position = applied.event.position();
        match self.marker {
            Some(marker) if marker == applied.last_kept_before => {}
            Some(marker) if marker >= position => return ApplyOutcome::Repeat,
            marker => return ApplyOutcome::Mismatch { marker },
        }
        self.append(&applied.event, bounds);
        self.marker = Some(position);
        self.evict(bounds);
        ApplyOutcome::Applied
    }

    /// Drops stale channels and sets the marker, if it is the one found.
    pub(super) fn repair(
        &mut self,
        found: Option<Position>,
        stale: Stale<'_>,
        restored: Position,
    ) -> bool {
        if self.marker != found {
            return false;
        }
        match stale {
            Stale::Channels(keys) => keys.iter().for_each(|key| self.forget(key)),
            Stale::All => *self = Self { trim_below: self.trim_below, ..Self::default() },
        }
        self.marker = Some(restored);
        true
    }

    /// What is at or below `checkpoint` may be forgotten from now on.
    pub(super) fn trim_below(&mut self, checkpoint: Position, bounds: &HotBounds<'_>) {
        if self.trim_below >= Some(checkpoint) {
            return;
        }
        self.trim_below = Some(checkpoint);
        let (channels, bytes) = (&mut self.channels, &mut self.bytes);
        self.overfull.retain(|key| {
            let Some(hot) = channels.get_mut(key) else { return false };
            let keep = bounds.of(key);
            *bytes -= hot.trim(Some(checkpoint), keep);
            hot.exceeds(keep)
        });
        self.evict(bounds);
    }

    pub(super) fn head(&self, key: &ChannelKey) -> HotHead {
        HotHead { head: self.channels.get(key).map(|hot| hot.head), marker: self.marker }
    }

    pub(super) fn read(&self, key: &ChannelKey, after: Position, max_events: usize) -> HotRead {
        let Some(hot) = self.channels.get(key) else {
            return HotRead { marker: self.marker, ..HotRead::default() };
        };
        let start = hot.events.partition_point(|event| event.position() <= after);
        HotRead {
            events: hot.events.range(start..).take(max_events).cloned().collect(),
            oldest_prev: hot.events.front().map(|event| event.prev),
            head: Some(hot.head),
            marker: self.marker,
        }
    }

    /// Bytes of hot history, names and bookkeeping roughly included.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn append(&mut self, event: &Arc<Event>, bounds: &HotBounds<'_>) {
        let (used, position) = (self.next_use, event.position());
        self.next_use += 1;
        let hot = self.channels.entry(event.key.clone()).or_insert_with(|| {
            self.bytes += channel_bytes(&event.key);
            Hot { events: VecDeque::new(), bytes: 0, head: position, used }
        });
        self.by_use.remove(&hot.used);
        self.by_use.insert(used, event.key.clone());
        hot.used = used;
        if hot.events.back().is_some_and(|top| event.prev != Prev::At(top.position())) {
            self.bytes -= hot.bytes;
            hot.bytes = 0;
            hot.events.clear();
        }
        hot.head = position;
        hot.bytes += event.weight();
        self.bytes += event.weight();
        hot.events.push_back(event.clone());
        let keep = bounds.of(&event.key);
        if hot.exceeds(keep) {
            self.bytes -= hot.trim(self.trim_below, keep);
            if hot.exceeds(keep) {
                self.overfull.insert(event.key.clone());
            }
        }
    }

    /// Forgets the channels longest without an event, whole, until the partition is within its
    /// bound. A forgotten channel has no head here: who asks must ask the history.
    fn evict(&mut self, bounds: &HotBounds<'_>) {
        while self.bytes > bounds.partition_bytes {
            let Some((_, key)) = self.by_use.first_key_value() else { return };
            let stored =
                self.channels.get(key).is_some_and(|hot| Some(hot.head) <= self.trim_below);
            if !stored {
                return;
            }
            let key = key.clone();
            self.forget(&key);
        }
    }

    fn forget(&mut self, key: &ChannelKey) {
        if let Some(hot) = self.channels.remove(key) {
            self.by_use.remove(&hot.used);
            self.bytes -= hot.bytes + channel_bytes(key);
        }
    }
}

impl Hot {
    /// Ages are counted from the newest event, by the log's time: no clock is read.
    fn exceeds(&self, keep: Retention) -> bool {
        let newest_ms = self.events.back().map_or(0, |event| event.time_ms);
        let oldest_ms = self.events.front().map_or(0, |event| event.time_ms);
        self.events.len() as u64 > keep.events
            || self.bytes as u64 > keep.bytes
            || oldest_ms.saturating_add(keep.age_ms) < newest_ms
    }

    /// Removes the oldest events beyond the bounds that the history has; answers their bytes.
    fn trim(&mut self, trim_below: Option<Position>, keep: Retention) -> usize {
        let before = self.bytes;
        while self.events.len() > 1 && self.exceeds(keep) {
            match self.events.front() {
                Some(oldest) if Some(oldest.position()) <= trim_below => {
                    self.bytes -= oldest.weight();
                    self.events.pop_front();
                }
                _ => break,
            }
        }
        before - self.bytes
    }
}

/// What a channel takes without its events: its name twice, the entries of two maps.
fn channel_bytes(key: &ChannelKey) -> usize {
    2 * (key.tenant.as_str().len() + key.channel.as_str().len()) + 240
}

#[cfg(test)]
mod tests;

//! The positions that wait: of each key the highest, and when it may go. Pure: time comes in as an
//! argument.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::seams::{Acknowledged, AcknowledgedKey, KeyedAck};

/// How often a key may go, and how many keys are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingOptions {
    /// Between two of one key. A reset does not wait for it.
    pub interval: Duration,
    /// Keys that wait or went within the interval, at most. A further one is dropped, and counted.
    pub keys: usize,
}

/// A map of what waits. When it is full it takes no further key: its next position is offered again.
#[derive(Debug)]
pub struct Waiting {
    options: WaitingOptions,
    entries: HashMap<AcknowledgedKey, Entry>,
    /// Each entry's time.
    queue: BTreeSet<(Instant, AcknowledgedKey)>,
    /// Entries whose position waits.
    waiting: usize,
    dropped: u64,
}

#[derive(Debug)]
struct Entry {
    /// What is to go.
    waits: Option<Acknowledged>,
    /// The last that went.
    went: Option<Acknowledged>,
    /// When what waits may go; where nothing waits, when the entry is forgotten.
    due: Instant,
}

impl Default for WaitingOptions {
    fn default() -> Self {
        // A key with its positions takes some 300 bytes.
        Self { interval: Duration::from_secs(5), keys: 1 << 17 }
    }
}

impl Waiting {
    pub fn new(options: WaitingOptions) -> Self {
        let (entries, queue) = (HashMap::new(), BTreeSet::new());
        Self { options, entries, queue, waiting: 0, dropped: 0 }
    }

    /// Keys whose position waits.
    pub fn len(&self) -> usize {
        self.waiting
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Keys that found no room since this was last asked.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped)
    }

    /// When `take` is to be called next, as things are.
    pub fn next(&self) -> Option<Instant> {
        self.queue.first().map(|(due, _)| *due)
    }

    /// A position that a subscriber acknowledged, as its region's history has merged it: goes at once, or
    /// an interval after the one before, as the highest by then. A reset does not wait.
    pub fn offer(&mut self, key: AcknowledgedKey, acknowledged: Acknowledged, now: Instant) {
        let Some(entry) = self.entries.get(&key) else {
            return self.enter(key, acknowledged, now);
        };
        let known = entry.waits.as_ref().into_iter().chain(&entry.went);
        let highest = known.max_by_key(|known| known.rank());
        let rank = highest.map(Acknowledged::rank);
        if rank >= Some(acknowledged.rank()) {
            return;
        }
        let reset = rank.is_some_and(|(generation, _)| generation < acknowledged.generation);
        let due = if reset { now } else { entry.due };
        self.wait(&key, acknowledged, due);
    }

    /// A position that is to go at `due`, unless one as high was `seen` by then.
    pub fn mend(&mut self, key: AcknowledgedKey, acknowledged: Acknowledged, due: Instant) {
        match self.entries.get(&key) {
            None => self.enter(key, acknowledged, due),
            Some(Entry { waits: Some(waits), .. }) if waits.rank() >= acknowledged.rank() => {}
            Some(Entry { waits: Some(_), due, .. }) => self.wait(&key, acknowledged, *due),
            Some(entry) => self.wait(&key, acknowledged, due.max(entry.due)),
        }
    }

    /// The log holds this one of the key as its last: what is not higher need not go.
    pub fn seen(&mut self, key: &AcknowledgedKey, acknowledged: &Acknowledged) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if entry.waits.take_if(|waits| waits.rank() <= acknowledged.rank()).is_some() {
            self.waiting -= 1;
        }
    }

    /// What waits of a key may go now.
    pub fn hurry(&mut self, key: &AcknowledgedKey, now: Instant) {
        if let Some(Entry { waits: Some(_), due, .. }) = self.entries.get(key) {
            let due = *due.min(&now);
            self.move_to(key, due);
        }
    }

    /// All that waits may go now.
    pub fn hurry_all(&mut self, now: Instant) {
        let waits = self.entries.iter().filter(|(_, entry)| entry.waits.is_some());
        let keys: Vec<AcknowledgedKey> = waits.map(|(key, _)| key.clone()).collect();
        keys.iter().for_each(|key| self.hurry(key, now));
    }

    /// What may go now, up to `most`.
    pub fn take(&mut self, now: Instant, most: usize) -> Vec<KeyedAck> {
        let mut taken = Vec::new();
        while taken.len() < most
            && let Some((due, _)) = self.queue.first()
            && *due <= now
            && let Some((_, key)) = self.queue.pop_first()
            && let Some(entry) = self.entries.get_mut(&key)
        {
            let Some(acknowledged) = entry.waits.take() else {
                self.entries.remove(&key);
                continue;
            };
            self.waiting -= 1;
            entry.went = Some(acknowledged.clone());
            entry.due = now + self.options.interval;
            self.queue.insert((entry.due, key.clone()));
            taken.push((key, acknowledged));
        }
        taken
    }

    /// What was taken may not have arrived: it waits until `due`, or what is higher by now does.
    pub fn put_back(&mut self, taken: Vec<KeyedAck>, due: Instant) {
        for (key, acknowledged) in taken {
            match self.entries.get_mut(&key) {
                None => self.enter(key, acknowledged, due),
                Some(entry) => {
                    entry.went = None;
                    if entry.waits.as_ref().is_none_or(|waits| waits.rank() < acknowledged.rank()) {
                        self.wait(&key, acknowledged, due);
                    }
                }
            }
        }
    }

    fn enter(&mut self, key: AcknowledgedKey, acknowledged: Acknowledged, due: Instant) {
        if self.entries.len() >= self.options.keys {
            self.dropped += 1;
            return;
        }
        self.queue.insert((due, key.clone()));
        self.entries.insert(key, Entry { waits: Some(acknowledged), went: None, due });
        self.waiting += 1;
    }

    fn wait(&mut self, key: &AcknowledgedKey, acknowledged: Acknowledged, due: Instant) {
        if let Some(entry) = self.entries.get_mut(key) {
            let before = entry.waits.replace(acknowledged);
            self.waiting += usize::from(before.is_none());
        }
        self.move_to(key, due);
    }

    fn move_to(&mut self, key: &AcknowledgedKey, due: Instant) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        if entry.due != due
            && let Some((_, key)) = self.queue.take(&(entry.due, key.clone()))
        {
            entry.due = due;
            self.queue.insert((due, key));
        }
    }
}

#[cfg(test)]
mod tests;

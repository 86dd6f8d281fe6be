//! The parts of a region around a backplane, as small as the delivery rules allow: a writer that
//! repairs, a history, and a reader that compares heads. What one of them loses, its test sees.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use meridian_core::seams::conformance::Samples;
use meridian_core::seams::{Applied, ApplyOutcome, Backplane, Delivery, Link, Stale};
use meridian_core::vocabulary::{ChannelKey, Epoch, Event, Position, Prev, Stream};
use meridian_redis::RedisBackplane;
use tokio::time::{Instant, timeout};

use crate::support::LIMIT;

/// The history: what came before the checkpoint, in order.
#[derive(Default)]
pub(crate) struct Shelf(Mutex<Vec<Arc<Event>>>);

impl Shelf {
    fn store(&self, events: &[Applied]) {
        self.lock().extend(events.iter().map(|applied| applied.event.clone()));
    }

    fn after(&self, key: &ChannelKey, after: Position) -> Vec<Arc<Event>> {
        let newer = |event: &&Arc<Event>| event.key == *key && event.position() > after;
        self.lock().iter().filter(newer).cloned().collect()
    }

    fn checkpoint(&self) -> Position {
        self.lock().last().map_or(Position::start_of(Epoch(1)), |event| event.position())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Event>>> {
        self.0.lock().unwrap()
    }
}

/// A router of one partition. The history lags behind what it applies.
pub(crate) struct Writer {
    pub(crate) samples: Samples,
    pub(crate) log: Vec<Applied>,
    /// Of the log.
    applied: usize,
    stored: usize,
    pub(crate) repairs: usize,
    /// How long it took at most until an event was applied.
    pub(crate) longest: Duration,
    shelf: Arc<Shelf>,
}

impl Writer {
    pub(crate) fn new(stream: Stream, shelf: Arc<Shelf>) -> Self {
        let (samples, longest) = (Samples::new(stream), Duration::ZERO);
        Self { samples, log: Vec::new(), applied: 0, stored: 0, repairs: 0, longest, shelf }
    }

    /// Appends events to the log and brings the backplane up to its end; the history up to the
    /// `lag` last ones.
    pub(crate) async fn publish(
        &mut self,
        backplane: &RedisBackplane,
        keys: &[ChannelKey],
        lag: usize,
    ) {
        for key in keys {
            let event = self.samples.event(key, "event");
            self.log.push(event);
        }
        self.catch_up(backplane).await;
        let store_to = self.log.len().saturating_sub(lag).max(self.stored);
        self.shelf.store(&self.log[self.stored..store_to]);
        self.stored = store_to;
    }

    async fn catch_up(&mut self, backplane: &RedisBackplane) {
        let start = Instant::now();
        while self.applied < self.log.len() {
            assert!(start.elapsed() < LIMIT, "the backplane does not come back");
            match backplane.apply(self.samples.stream(), &self.log[self.applied..]).await {
                Ok(outcomes) => self.note(backplane, &outcomes).await,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
        self.longest = self.longest.max(start.elapsed());
    }

    async fn note(&mut self, backplane: &RedisBackplane, outcomes: &[ApplyOutcome]) {
        for outcome in outcomes {
            match outcome {
                ApplyOutcome::Applied | ApplyOutcome::Repeat => self.applied += 1,
                ApplyOutcome::Mismatch { marker } => {
                    let restored = self.shelf.checkpoint();
                    let stream = self.samples.stream();
                    if backplane.repair(stream, *marker, Stale::All, restored).await == Ok(true) {
                        self.repairs += 1;
                        self.applied = self.stored;
                    }
                }
            }
        }
    }
}

/// A subscriber of one channel. Takes an event only if its `prev` says that none is missing.
pub(crate) struct Reader {
    key: ChannelKey,
    stream: Stream,
    at: Position,
    pub(crate) got: Vec<Arc<Event>>,
    pub(crate) lossy: usize,
    shelf: Arc<Shelf>,
}

impl Reader {
    pub(crate) fn new(key: ChannelKey, stream: Stream, shelf: Arc<Shelf>) -> Self {
        let at = Position::start_of(Epoch(1));
        Self { key, stream, at, got: Vec::new(), lossy: 0, shelf }
    }

    /// Reads until it has `count` events.
    pub(crate) async fn read(&mut self, backplane: &RedisBackplane, link: &mut Link, count: usize) {
        while self.got.len() < count {
            self.take_delivery(backplane, link).await;
        }
    }

    /// Reads one delivery, and what it shows to be missing.
    pub(crate) async fn take_delivery(&mut self, backplane: &RedisBackplane, link: &mut Link) {
        let delivery = timeout(LIMIT, link.deliveries.recv()).await;
        let seen = (self.got.len(), self.lossy);
        match delivery.unwrap_or_else(|_| panic!("silence after {seen:?}")).unwrap() {
            Delivery::Event(event) => {
                if !self.take(&event) && event.position() > self.at {
                    self.pull(backplane).await;
                    self.take(&event);
                }
            }
            Delivery::Lossy => {
                self.lossy += 1;
                self.pull(backplane).await;
            }
            Delivery::Ephemeral(event) => panic!("{event:?}"),
        }
    }

    fn take(&mut self, event: &Arc<Event>) -> bool {
        let accepted = event.prev.is_within(self.at) && event.position() > self.at;
        if accepted {
            self.at = event.position();
            self.got.push(event.clone());
        }
        accepted
    }

    /// Compares heads, the backplane's where its marker says that it knows enough, and takes what is
    /// missing, the oldest of it from the history.
    async fn pull(&mut self, backplane: &RedisBackplane) {
        let Ok(read) = backplane.read(&self.key, &self.stream, self.at, 10_000).await else {
            return;
        };
        let knows = read.marker >= Some(self.shelf.checkpoint());
        let whole = read.oldest_prev.is_some_and(|prev| prev.is_within(self.at));
        if !knows || !whole {
            for event in self.shelf.after(&self.key, self.at) {
                assert!(self.take(&event), "the history has a hole at {:?}", self.at);
            }
        }
        assert!(!matches!(read.oldest_prev, Some(Prev::Unknown)));
        for event in &read.events {
            self.take(event);
        }
    }
}

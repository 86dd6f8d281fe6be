//! A backplane whose answers to readers take time: what they say may be old when it arrives.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use meridian_core::embedded::InProcessBackplane;
use meridian_core::embedded::faulty::{Chance, FaultyBackplane};
use meridian_core::seams::{
    Applied, ApplyOutcome, Backplane, BackplaneError, Ephemeral, HotHead, HotRead, Link,
};
use meridian_core::vocabulary::{ChannelKey, Position, Stream};
use tokio::time::sleep;

pub(super) type Faulty = FaultyBackplane<InProcessBackplane>;

/// What edges read from.
pub(super) struct Slow {
    inner: Arc<Faulty>,
    chance: Mutex<Chance>,
    most: Mutex<Duration>,
}

impl Slow {
    pub(super) fn new(inner: Arc<Faulty>, seed: u64) -> Self {
        Self { inner, chance: Mutex::new(Chance::new(seed)), most: Mutex::default() }
    }

    /// How long an answer takes at most.
    pub(super) fn set_most(&self, most: Duration) {
        *self.most.lock().unwrap() = most;
    }

    async fn dawdle(&self) {
        let most_ms = self.most.lock().unwrap().as_millis() as u64;
        let chosen = self.chance.lock().unwrap().below(most_ms + 1);
        if chosen > 0 {
            sleep(Duration::from_millis(chosen)).await;
        }
    }
}

#[async_trait]
impl Backplane for Slow {
    async fn apply(
        &self,
        stream: &Stream,
        events: &[Applied],
    ) -> Result<Vec<ApplyOutcome>, BackplaneError> {
        self.inner.apply(stream, events).await
    }

    async fn marker(&self, stream: &Stream) -> Result<Option<Position>, BackplaneError> {
        self.inner.marker(stream).await
    }

    async fn repair(
        &self,
        stream: &Stream,
        found: Option<Position>,
        stale: &[ChannelKey],
        restored: Position,
    ) -> Result<bool, BackplaneError> {
        self.inner.repair(stream, found, stale, restored).await
    }

    async fn trim_below(
        &self,
        stream: &Stream,
        checkpoint: Position,
    ) -> Result<(), BackplaneError> {
        self.inner.trim_below(stream, checkpoint).await
    }

    async fn head(&self, key: &ChannelKey, stream: &Stream) -> Result<HotHead, BackplaneError> {
        self.dawdle().await;
        let head = self.inner.head(key, stream).await;
        self.dawdle().await;
        head
    }

    async fn read(
        &self,
        key: &ChannelKey,
        stream: &Stream,
        after: Position,
        max_events: usize,
    ) -> Result<HotRead, BackplaneError> {
        self.dawdle().await;
        let read = self.inner.read(key, stream, after, max_events).await;
        self.dawdle().await;
        read
    }

    async fn send(&self, event: Arc<Ephemeral>) -> Result<(), BackplaneError> {
        self.inner.send(event).await
    }

    async fn link(&self) -> Result<Link, BackplaneError> {
        self.inner.link().await
    }
}

//! A backplane whose answers take time or are lost: what they say may be old when it arrives.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use meridian_core::embedded::InProcessBackplane;
use meridian_core::embedded::faulty::{Chance, FaultyBackplane};
use meridian_core::seams::{
    Applied, ApplyOutcome, Backplane, BackplaneError, Ephemeral, HotHead, HotRead, Link,
    LinkControl, Stale,
};
use meridian_core::vocabulary::{ChannelKey, Position, Stream};
use tokio::time::sleep;

pub(super) type Faulty = FaultyBackplane<InProcessBackplane>;

/// What edges read from.
pub(super) struct Slow {
    inner: Arc<Faulty>,
    chance: Mutex<Chance>,
    most: Mutex<Duration>,
    follows: Arc<Mutex<Follows>>,
}

/// What befalls requests to follow.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Follows {
    /// So many are carried out, and answered with an error.
    pub(super) unconfirmed: usize,
    /// How long one takes before it is carried out, and again before it is confirmed. To stop
    /// following takes thrice as long.
    pub(super) takes: Duration,
}

struct Control {
    inner: Arc<dyn LinkControl>,
    follows: Arc<Mutex<Follows>>,
}

#[async_trait]
impl LinkControl for Control {
    async fn follow(&self, channels: &[(ChannelKey, Stream)]) -> Result<(), BackplaneError> {
        let takes = self.follows.lock().unwrap().takes;
        sleep(takes).await;
        self.inner.follow(channels).await?;
        sleep(takes).await;
        let mut follows = self.follows.lock().unwrap();
        match follows.unconfirmed.checked_sub(1) {
            None => Ok(()),
            Some(left) => {
                follows.unconfirmed = left;
                Err(BackplaneError)
            }
        }
    }

    async fn unfollow(&self, channels: &[(ChannelKey, Stream)]) -> Result<(), BackplaneError> {
        let takes = self.follows.lock().unwrap().takes;
        sleep(3 * takes).await;
        self.inner.unfollow(channels).await
    }
}

impl Slow {
    pub(super) fn new(inner: Arc<Faulty>, seed: u64) -> Self {
        let chance = Mutex::new(Chance::new(seed));
        Self { inner, chance, most: Mutex::default(), follows: Arc::default() }
    }

    /// What befalls requests to follow from now on.
    pub(super) fn set_follows(&self, follows: Follows) {
        *self.follows.lock().unwrap() = follows;
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
        stale: Stale<'_>,
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

    async fn heads(
        &self,
        stream: &Stream,
        keys: &[ChannelKey],
    ) -> Result<Vec<HotHead>, BackplaneError> {
        self.dawdle().await;
        let heads = self.inner.heads(stream, keys).await;
        self.dawdle().await;
        heads
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
        let Link { deliveries, control } = self.inner.link().await?;
        let follows = self.follows.clone();
        Ok(Link { deliveries, control: Arc::new(Control { inner: control, follows }) })
    }
}

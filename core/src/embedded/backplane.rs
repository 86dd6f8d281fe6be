//! The backplane inside one process: hot history in memory, deliveries over bounded channels. Owns
//! no task and no file; a restart empties it, and the routers' repair fills the markers again.

mod links;
mod partition;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use async_trait::async_trait;

use self::links::{Links, Outlet};
use self::partition::Partition;
use crate::policy::{Policies, Retention};
use crate::seams::{
    Applied, ApplyOutcome, Backplane, BackplaneError, Delivery, Ephemeral, HotHead, HotRead, Link,
    LinkControl, Stale,
};
use crate::vocabulary::{ChannelKey, Position, Stream};

/// The bounds of an in-process backplane.
#[derive(Debug, Clone)]
pub struct BackplaneOptions {
    /// A channel's hot history is bounded by its policy's retention too.
    pub policies: Arc<Policies>,
    /// Events of hot history a channel, at most.
    pub channel_events: usize,
    /// Bytes of hot history a channel, at most.
    pub channel_bytes: usize,
    /// Bytes of hot history in all, names included. Beyond it, the channels longest without an event
    /// are forgotten as soon as the history has them.
    pub total_bytes: usize,
    /// Deliveries that a link holds.
    pub link_capacity: usize,
}

/// The bounds that one partition keeps.
struct HotBounds<'a> {
    policies: &'a Policies,
    channel_events: usize,
    channel_bytes: usize,
    partition_bytes: usize,
}

/// A backplane in this process.
///
/// Locks: a partition's, and inside it the links' table for reading, so that deliveries keep the
/// order of applies. The links never take a partition's lock.
pub struct InProcessBackplane {
    options: BackplaneOptions,
    partitions: RwLock<HashMap<Stream, Arc<Mutex<Partition>>>>,
    links: Arc<Links>,
}

struct Control {
    links: Arc<Links>,
    outlet: Arc<Outlet>,
}

impl Default for BackplaneOptions {
    fn default() -> Self {
        Self {
            policies: Arc::default(),
            channel_events: 1_000,
            channel_bytes: 1 << 20,
            total_bytes: 256 << 20,
            link_capacity: 8_192,
        }
    }
}

impl HotBounds<'_> {
    /// How much is kept of a channel: what its policy says, within this backplane's own bounds.
    fn of(&self, key: &ChannelKey) -> Retention {
        let (events, bytes) = (self.channel_events as u64, self.channel_bytes as u64);
        match self.policies.of(&key.channel).map(|policy| policy.retention) {
            Some(keep) => Retention {
                events: keep.events.min(events),
                bytes: keep.bytes.min(bytes),
                age_ms: keep.age_ms,
            },
            None => Retention { events, bytes, age_ms: u64::MAX },
        }
    }
}

impl InProcessBackplane {
    /// An empty backplane.
    pub fn new(options: BackplaneOptions) -> Self {
        Self { options, partitions: RwLock::default(), links: Arc::default() }
    }

    fn known(&self, stream: &Stream) -> Option<Arc<Mutex<Partition>>> {
        self.partitions.read().unwrap_or_else(PoisonError::into_inner).get(stream).cloned()
    }

    fn known_or_new(&self, stream: &Stream) -> Arc<Mutex<Partition>> {
        self.known(stream).unwrap_or_else(|| {
            let mut all = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
            all.entry(stream.clone()).or_default().clone()
        })
    }

    fn bounds(&self) -> HotBounds<'_> {
        let partitions = self.partitions.read().unwrap_or_else(PoisonError::into_inner).len();
        HotBounds {
            policies: &self.options.policies,
            channel_events: self.options.channel_events,
            channel_bytes: self.options.channel_bytes,
            partition_bytes: self.options.total_bytes / partitions.max(1),
        }
    }
}

#[async_trait]
impl Backplane for InProcessBackplane {
    async fn apply(
        &self,
        stream: &Stream,
        events: &[Applied],
    ) -> Result<Vec<ApplyOutcome>, BackplaneError> {
        let partition = self.known_or_new(stream);
        let bounds = self.bounds();
        let mut partition = lock(&partition);
        let mut outcomes = Vec::with_capacity(events.len());
        for applied in events {
            let outcome = partition.apply(applied, &bounds);
            outcomes.push(outcome);
            match outcome {
                ApplyOutcome::Applied => {
                    let delivery = Delivery::Event(applied.event.clone());
                    self.links.deliver(&applied.event.key, &delivery);
                }
                ApplyOutcome::Repeat => {}
                ApplyOutcome::Mismatch { .. } => break,
            }
        }
        Ok(outcomes)
    }

    async fn marker(&self, stream: &Stream) -> Result<Option<Position>, BackplaneError> {
        Ok(self.known(stream).and_then(|partition| lock(&partition).marker()))
    }

    async fn repair(
        &self,
        stream: &Stream,
        found: Option<Position>,
        stale: Stale<'_>,
        restored: Position,
    ) -> Result<bool, BackplaneError> {
        Ok(lock(&self.known_or_new(stream)).repair(found, stale, restored))
    }

    async fn trim_below(
        &self,
        stream: &Stream,
        checkpoint: Position,
    ) -> Result<(), BackplaneError> {
        let bounds = self.bounds();
        lock(&self.known_or_new(stream)).trim_below(checkpoint, &bounds);
        Ok(())
    }

    async fn heads(
        &self,
        stream: &Stream,
        keys: &[ChannelKey],
    ) -> Result<Vec<HotHead>, BackplaneError> {
        let Some(partition) = self.known(stream) else {
            return Ok(vec![HotHead { head: None, marker: None }; keys.len()]);
        };
        let partition = lock(&partition);
        Ok(keys.iter().map(|key| partition.head(key)).collect())
    }

    async fn read(
        &self,
        key: &ChannelKey,
        stream: &Stream,
        after: Position,
        max_events: usize,
    ) -> Result<HotRead, BackplaneError> {
        let read = |partition: Arc<Mutex<Partition>>| lock(&partition).read(key, after, max_events);
        Ok(self.known(stream).map(read).unwrap_or_default())
    }

    async fn send(&self, event: Arc<Ephemeral>) -> Result<(), BackplaneError> {
        self.links.deliver(&event.key, &Delivery::Ephemeral(event.clone()));
        Ok(())
    }

    async fn link(&self) -> Result<Link, BackplaneError> {
        let (outlet, deliveries) = self.links.open(self.options.link_capacity);
        let control = Arc::new(Control { links: self.links.clone(), outlet });
        Ok(Link { deliveries, control })
    }
}

#[async_trait]
impl LinkControl for Control {
    async fn follow(&self, channels: &[(ChannelKey, Stream)]) -> Result<(), BackplaneError> {
        self.links.follow(&self.outlet, channels.iter().map(|(key, _)| key));
        Ok(())
    }

    async fn unfollow(&self, channels: &[(ChannelKey, Stream)]) -> Result<(), BackplaneError> {
        self.links.unfollow(&self.outlet, channels.iter().map(|(key, _)| key));
        Ok(())
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if self.outlet.is_closed() {
            self.links.end(&self.outlet);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

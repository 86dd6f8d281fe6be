//! What a bridge is told beside its routes.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use meridian_core::policy::{DeliveryClass, FeedBounds, Policies};
use meridian_core::vocabulary::Channel;

/// Where a partition begins that has no commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    Earliest,
    /// With what comes from now on.
    Latest,
}

/// Bounds and times.
#[derive(Clone)]
pub struct Options {
    /// Of one step: read, appended and committed together.
    pub batch_records: usize,
    pub batch_bytes: usize,
    /// The first wait after a failure, which doubles
    pub retry_first: Duration,
    /// up to this.
    pub retry_most: Duration,
    /// How often the lag is measured.
    pub measure: Duration,
    /// A number for a new generation, higher than any before: one that began after a lost commit would
    /// else be taken for a repeat.
    pub generation: Arc<dyn Fn() -> u32 + Send + Sync>,
    /// What the channels of its events promise: a feed's bound goes into each record.
    pub policies: Arc<Policies>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            // One round trip to the log and one to the source for so many.
            batch_records: 512,
            batch_bytes: 1 << 20,
            retry_first: Duration::from_millis(100),
            retry_most: Duration::from_secs(5),
            measure: Duration::from_secs(5),
            generation: Arc::new(seconds),
            policies: Arc::default(),
        }
    }
}

impl Options {
    /// The bound of a feed; `None`: the channel is none.
    pub(super) fn feed_bounds(&self, channel: &Channel) -> Option<FeedBounds> {
        let policy = self.policies.of(channel).filter(|p| p.class == DeliveryClass::Feed)?;
        Some(policy.feed)
    }
}

/// Seconds since 1970, which last until 2106.
fn seconds() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    u32::try_from(since).unwrap_or(u32::MAX)
}

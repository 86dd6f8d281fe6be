//! Between the hubs and the region's stores: which workers want which channels, what a reader gets
//! after a position, and where a subscription starts. Never writes to a client.

mod distributor;
mod histories;
mod jobs;
mod logs;
mod read;
mod start;
mod sweep;
#[cfg(test)]
mod tests;
mod values;

pub(crate) use distributor::{Distributor, HubInput, Interest};
pub use histories::Histories;
pub(crate) use jobs::{Hands, run_jobs};
pub use logs::Logs;
pub(crate) use read::{ReadError, read_after};
pub(crate) use start::{From, resolve};

use std::sync::Arc;

use meridian_core::policy::{DeliveryClass, Policies};
use meridian_core::seams::{Backplane, History, Log};
use meridian_core::vocabulary::{Channel, ChannelKey, Stream};

/// The region's stores, as the edge sees them.
#[derive(Clone)]
pub struct Stores {
    pub logs: Logs,
    pub backplane: Arc<dyn Backplane>,
    pub history: Arc<dyn History>,
    pub policies: Arc<Policies>,
}

impl Stores {
    /// The log that a channel's records are in; `None`: this region does not consume it.
    pub(crate) fn log(&self, channel: &Channel) -> Option<&Arc<dyn Log>> {
        self.logs.get(&self.policies.of(channel)?.zone)
    }

    /// Whether a channel keeps current values.
    pub(crate) fn is_feed(&self, key: &ChannelKey) -> bool {
        self.policies.of(&key.channel).is_some_and(|policy| policy.class == DeliveryClass::Feed)
    }

    /// The stream that a channel's new events are in; `None` as for `log`.
    pub(crate) fn stream(&self, key: &ChannelKey) -> Option<Stream> {
        let log = self.log(&key.channel)?;
        let incarnation = log.incarnation();
        Some(Stream {
            log: incarnation.log.clone(),
            epoch: incarnation.epoch,
            partition: log.partition(key),
        })
    }

    /// Events older than this count as removed (milliseconds since 1970); 0: none.
    pub(crate) fn oldest_time_ms(&self, key: &ChannelKey, now_ms: u64) -> u64 {
        self.policies
            .of(&key.channel)
            .map_or(0, |policy| now_ms.saturating_sub(policy.retention.age_ms))
    }
}

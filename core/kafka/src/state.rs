//! What a handle knows of its log's incarnation: that it still is the one that was opened, or what ended
//! it. Owns the looking; it never goes on with another topic.

use std::sync::Arc;
use std::time::Duration;

use meridian_core::vocabulary::{Epoch, LogName};
use rdkafka::error::KafkaError;
use tokio::sync::watch;

use crate::cluster::{Cluster, blocking};
use crate::epochs::{self, EpochRecord};
use crate::options::Options;

/// Looks that must agree before a topic is held to be gone: a broker that has just started may not
/// know it yet.
const MISSING_LOOKS: u32 = 2;

/// Whether a handle's incarnation goes on. What has ended stays ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogState {
    Running,
    Ended(Ended),
}

/// What ended it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Ended {
    /// The topic's name now belongs to another topic.
    #[error("the topic was replaced: its id is {found}")]
    Replaced { found: String },
    /// The topic is gone.
    #[error("the topic is gone")]
    Gone,
    /// It has another number of partitions than was recorded.
    #[error("the topic has {found} partitions")]
    Repartitioned { found: u32 },
    /// Another epoch was begun.
    #[error("epoch {} was begun", next.0)]
    Superseded { next: Epoch },
}

impl LogState {
    /// What ended it, if something did.
    pub fn ended(&self) -> Option<&Ended> {
        match self {
            Self::Running => None,
            Self::Ended(ended) => Some(ended),
        }
    }
}

/// Looks after one incarnation.
pub(crate) struct Watcher {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) options: Arc<Options>,
    pub(crate) log: LogName,
    pub(crate) record: EpochRecord,
    pub(crate) state: watch::Sender<LogState>,
}

/// What has been seen so far.
#[derive(Debug, Default)]
struct Seen {
    missing: u32,
    epochs_end: u64,
}

impl Watcher {
    /// Looks at each interval until something has ended the incarnation or the handle is gone.
    pub(crate) async fn run(self) {
        let watcher = Arc::new(self);
        let mut seen = Seen::default();
        let mut ticks = tokio::time::interval(watcher.options.watch.max(Duration::from_millis(10)));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let look = {
                let watcher = watcher.clone();
                blocking(move || watcher.look(seen)).await
            };
            let Some((ended, next)) = look else { return };
            seen = next;
            if let Some(ended) = ended {
                tracing::error!(log = %watcher.log, epoch = watcher.record.epoch, %ended, "log ended");
                watcher.state.send_replace(LogState::Ended(ended));
                return;
            }
        }
    }

    /// One look. A cluster that does not answer says nothing.
    fn look(&self, mut seen: Seen) -> (Option<Ended>, Seen) {
        let ended = match self.topic(&mut seen) {
            Ok(Some(ended)) => Some(ended),
            Ok(None) => self.successor(&mut seen),
            Err(error) => {
                tracing::debug!(%error, log = %self.log, "the log's topic can't be looked at");
                None
            }
        };
        (ended, seen)
    }

    fn topic(&self, seen: &mut Seen) -> Result<Option<Ended>, KafkaError> {
        let Some(described) = self.cluster.describe(&self.record.topic)? else {
            seen.missing += 1;
            return Ok((seen.missing >= MISSING_LOOKS).then_some(Ended::Gone));
        };
        seen.missing = 0;
        if described.id != self.record.topic_id {
            return Ok(Some(Ended::Replaced { found: described.id }));
        }
        let found = described.partitions;
        Ok((found != self.record.partitions).then_some(Ended::Repartitioned { found }))
    }

    /// Reads the epochs again if there is one more record of them.
    fn successor(&self, seen: &mut Seen) -> Option<Ended> {
        let topic = self.options.epochs_topic(&self.log);
        let end = self.cluster.bounds(&topic, 0).ok()?.end;
        if end == seen.epochs_end {
            return None;
        }
        let newest = epochs::load(&self.cluster, &self.options, &topic, None).ok()?.pop()?;
        seen.epochs_end = end;
        let next = Epoch(newest.epoch);
        (newest.epoch > self.record.epoch).then_some(Ended::Superseded { next })
    }
}

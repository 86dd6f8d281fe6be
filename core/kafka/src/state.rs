//! What a handle knows of its log's incarnation: that it still is the one that was opened, or what ended
//! it. Owns the looking; it never goes on with another topic.

use std::sync::Arc;
use std::time::Duration;

use meridian_core::vocabulary::{Epoch, LogName};
use rdkafka::error::KafkaError;
use tokio::sync::watch;

use crate::cluster::{Cluster, blocking};
use crate::epochs::{self, EpochRecord, OpenError};
use crate::options::Options;

/// Looks that must agree before a topic is held to be gone: a broker that has just started may not
/// know it yet.
const MISSING_LOOKS: u32 = 2;

/// Whether a handle's incarnation goes on. What has ended stays ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogState {
    /// Opened from what was known of it; the cluster has not said yet that it still is so.
    Unproven,
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
    /// The topic does not keep what the epoch promises.
    #[error("the topic has {name}={value}")]
    Setting { name: &'static str, value: String },
    /// Another epoch was begun.
    #[error("epoch {} was begun", next.0)]
    Superseded { next: Epoch },
}

impl LogState {
    /// What ended it, if something did.
    pub fn ended(&self) -> Option<&Ended> {
        match self {
            Self::Unproven | Self::Running => None,
            Self::Ended(ended) => Some(ended),
        }
    }

    /// Why it must not be followed any more. What a superseded epoch holds can still be read.
    pub fn halted(&self) -> Option<&Ended> {
        self.ended().filter(|ended| !matches!(ended, Ended::Superseded { .. }))
    }
}

/// Looks after one incarnation.
pub(crate) struct Watcher {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) options: Arc<Options>,
    pub(crate) log: LogName,
    pub(crate) record: EpochRecord,
    pub(crate) state: watch::Sender<LogState>,
    /// The epoch that goes on, once there is one: also of a log that was halted.
    pub(crate) successor: watch::Sender<Option<Epoch>>,
}

/// What has been seen so far.
#[derive(Debug, Default)]
struct Seen {
    missing: u32,
    epochs_end: u64,
}

impl Watcher {
    /// Looks at each interval until another epoch goes on or the handle is gone.
    pub(crate) async fn run(self) {
        let watcher = Arc::new(self);
        let mut seen = Seen::default();
        let mut ticks = tokio::time::interval(watcher.options.watch.max(Duration::from_millis(10)));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while watcher.successor.borrow().is_none() {
            ticks.tick().await;
            let look = {
                let watcher = watcher.clone();
                blocking(move || watcher.look(seen)).await
            };
            let Some(next) = look else { return };
            seen = next;
        }
    }

    /// One look. A cluster that does not answer says nothing.
    fn look(&self, mut seen: Seen) -> Seen {
        if self.state.borrow().ended().is_none()
            && let Err(error) = self.look_at_topic(&mut seen)
        {
            tracing::debug!(%error, log = %self.log, "the log's topic can't be looked at");
            return seen;
        }
        if let Some(next) = self.successor(&mut seen) {
            if self.state.borrow().ended().is_none() {
                self.end(Ended::Superseded { next });
            }
            self.successor.send_replace(Some(next));
        }
        seen
    }

    fn look_at_topic(&self, seen: &mut Seen) -> Result<(), OpenError> {
        if let Some(ended) = self.topic(seen)? {
            self.end(ended);
        } else if *self.state.borrow() == LogState::Unproven && seen.missing == 0 {
            match epochs::verify(&self.cluster, &self.record) {
                Ok(()) => {
                    tracing::info!(log = %self.log, epoch = self.record.epoch, "the log is there");
                    self.state.send_replace(LogState::Running);
                }
                Err(OpenError::Setting { name, value, .. }) => {
                    self.end(Ended::Setting { name, value });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn end(&self, ended: Ended) {
        tracing::error!(log = %self.log, epoch = self.record.epoch, %ended, "log ended");
        self.state.send_replace(LogState::Ended(ended));
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
    fn successor(&self, seen: &mut Seen) -> Option<Epoch> {
        let topic = self.options.epochs_topic(&self.log);
        let end = self.cluster.bounds(&topic, 0).ok()?.end;
        if end == seen.epochs_end {
            return None;
        }
        let newest = epochs::load(&self.cluster, &self.options, &topic, None).ok()?.pop()?;
        seen.epochs_end = end;
        (newest.epoch > self.record.epoch).then_some(Epoch(newest.epoch))
    }
}

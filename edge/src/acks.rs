//! Acknowledged positions on their way to the other regions: a sender for each log that this region
//! consumes. Never keeps a client waiting: what answers it is its own region's history.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use meridian_core::acks::{AckSender, WaitingOptions};
use meridian_core::seams::{AckLog, Acknowledged, AcknowledgedKey};
use meridian_core::vocabulary::LogName;
use tokio::task::JoinSet;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::metrics;

const REPORT_EVERY: Duration = Duration::from_secs(1);

/// The senders, by log. A log without one has no other region.
#[derive(Clone, Default)]
pub(crate) struct Acks(Arc<BTreeMap<LogName, AckSender>>);

impl Acks {
    pub(crate) fn new(logs: impl IntoIterator<Item = Arc<dyn AckLog>>) -> Self {
        let sender = |log: Arc<dyn AckLog>| {
            (log.log().clone(), AckSender::new(log, WaitingOptions::default()))
        };
        Self(Arc::new(logs.into_iter().map(sender).collect()))
    }

    /// Sends on what the region's history has merged.
    pub(crate) fn offer(&self, key: AcknowledgedKey, acknowledged: Acknowledged) {
        if let Some(sender) = self.0.get(&acknowledged.cursor.log) {
            sender.offer(key, acknowledged);
        }
    }

    /// The session that acknowledged is over: its subscriber may be in another region next.
    pub(crate) fn hurry(&self, log: &LogName, key: &AcknowledgedKey) {
        if let Some(sender) = self.0.get(log) {
            sender.hurry(key);
        }
    }

    /// Starts what sends. After `stop` the tasks end by themselves, within a bounded time.
    pub(crate) fn start(&self, tasks: &mut JoinSet<()>, stop: &CancellationToken) {
        for sender in self.0.values() {
            tasks.spawn(sender.clone().run(stop.clone()));
            tasks.spawn(report(sender.clone(), stop.clone()));
        }
    }
}

async fn report(sender: AckSender, stop: CancellationToken) {
    let mut ticks = interval(REPORT_EVERY);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        metrics::acks(sender.log().as_str(), sender.take_counts());
    }
}

//! How far this region is behind its log, as a process sees it that routes nothing: the log's ends against
//! what the stores say is worked off. Owns the looking; `meridian_core::lag` judges.

use std::sync::Arc;
use std::time::Duration;

use meridian_core::lag::{Lag, PartitionLag, Rebuilding, Rules};
use meridian_core::seams::{Backplane, History, HistoryError, Log, LogError};
use meridian_core::vocabulary::{Offset, Partition, Stream};
use meridian_edge::PartState;
use meridian_redis::RedisBackplane;
use metrics::gauge;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::process::{behind, now_ms};
use crate::region::LogHere;

/// Records that are read in one look for their time. Only what waits for long, or since before the first
/// look, needs it.
const READS: usize = 4;

const EVERY: Duration = Duration::from_secs(1);

/// How far the region is behind, kept up to date by a task that ends with the last receiver; `None`
/// until the history has answered once. Not for a router, whose own readings of the log it would
/// disturb, and which knows better.
pub(crate) fn watch(
    here: &LogHere,
    backplane: &Arc<RedisBackplane>,
    rules: Rules,
) -> watch::Receiver<Option<PartState>> {
    let mut watcher = Watcher::new(here, backplane.clone(), rules);
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(async move {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !sender.is_closed() {
            ticks.tick().await;
            // Without the history nothing new can be told.
            if let Ok(told) = watcher.look().await {
                sender.send_replace(Some(told));
            }
        }
    });
    receiver
}

/// Looks after all partitions of one log.
struct Watcher {
    part: String,
    log: Arc<dyn Log>,
    backplane: Arc<dyn Backplane>,
    history: Arc<dyn History>,
    streams: Vec<Stream>,
    partitions: Vec<PartitionLag>,
    rebuilding: Rebuilding,
    after_ms: u64,
}

impl Watcher {
    fn new(here: &LogHere, backplane: Arc<dyn Backplane>, rules: Rules) -> Self {
        let (log, history) = (here.log.clone(), here.history.clone());
        let incarnation = log.incarnation();
        let stream = |partition| Stream {
            log: incarnation.log.clone(),
            epoch: incarnation.epoch,
            partition: Partition(partition),
        };
        let streams: Vec<Stream> = (0..incarnation.partitions).map(stream).collect();
        let partitions = vec![PartitionLag::default(); streams.len()];
        let (rebuilding, after_ms) = (Rebuilding::new(rules), rules.after.as_millis() as u64);
        let part = here.part("lag");
        Self { part, log, backplane, history, streams, partitions, rebuilding, after_ms }
    }

    /// Looks at all partitions.
    async fn look(&mut self) -> Result<PartState, HistoryError> {
        let checkpoints = self.history.checkpoints(&self.streams).await?;
        let mut lags = Vec::with_capacity(self.streams.len());
        for (stream, partition) in self.streams.iter().zip(&mut self.partitions) {
            let stored = checkpoints.get(&stream.partition);
            let next = stored.map_or(Offset(0), |stored| stored.position.next_offset());
            lags.push(partition.look(now_ms(), self.log.known_end(stream.partition), next));
        }
        for at in self.doubtful(&lags) {
            lags[at] = self.look_closely(at).await;
        }
        Ok(self.tell(&lags))
    }

    /// Those that may be late, the worst first.
    fn doubtful(&self, lags: &[Lag]) -> Vec<usize> {
        let age = |at: &usize| lags[*at].ms.unwrap_or(u64::MAX);
        let mut doubtful: Vec<usize> =
            (0..lags.len()).filter(|at| age(at) > self.after_ms / 4).collect();
        doubtful.sort_by_key(|at| std::cmp::Reverse(age(at)));
        doubtful.truncate(READS);
        doubtful
    }

    /// The routers may have sent out what they could not store yet; else the log tells the time of what
    /// waits.
    async fn look_closely(&mut self, at: usize) -> Lag {
        let (stream, partition) = (&self.streams[at], &mut self.partitions[at]);
        let end = self.log.known_end(stream.partition);
        let marker = self.backplane.marker(stream).await.ok().flatten();
        let sent = marker.map_or(Offset(0), |marker| marker.next_offset());
        if partition.look(now_ms(), end, sent).records > 0 {
            let next = partition.next();
            match oldest(&*self.log, stream.partition, next).await {
                Ok(Some(time_ms)) => partition.learn(next, time_ms),
                Ok(None) => partition.skip(end),
                Err(_) => {}
            }
        }
        partition.look(now_ms(), end, sent)
    }

    fn tell(&mut self, lags: &[Lag]) -> PartState {
        let rebuilding = self.rebuilding.judge(lags);
        let records: u64 = lags.iter().map(|lag| lag.records).sum();
        let ms = lags.iter().filter_map(|lag| lag.ms).max().unwrap_or(0);
        let log = [("log", self.log.incarnation().log.to_string())];
        gauge!("meridian_region_lag_records", &log).set(records as f64);
        gauge!("meridian_region_lag_seconds", &log).set(ms as f64 / 1000.0);
        gauge!("meridian_region_rebuilding", &log).set(if rebuilding { 1.0 } else { 0.0 });
        let behind = behind(lags);
        let detail = match rebuilding {
            true => format!(
                "rebuilding: {behind}; older events are served, and the newest are not there yet"
            ),
            false => behind,
        };
        let part = self.part.clone();
        PartState { part, ready: !rebuilding, vital: false, rebuilding, detail }
    }
}

/// The log's time of the first record that there is from `next` on. `None`: there is none.
async fn oldest(
    log: &dyn Log,
    partition: Partition,
    next: Offset,
) -> Result<Option<u64>, LogError> {
    let read = match log.read(partition, next, 1, 1).await {
        Err(LogError::Truncated { earliest }) => log.read(partition, earliest, 1, 1).await?,
        read => read?,
    };
    Ok(read.first().map(|record| record.time_ms))
}

//! Other regions' acknowledged positions: read, merged into the region's history, committed. Owns that what
//! the log of positions keeps is in the end the highest.
//!
//! The log keeps the last position of a key, and two edges may append a lower one last: one that was
//! away, or two regions at once. Whoever reads a last position below what its history holds
//! therefore appends the higher one again: 5 to 10 s later, at random, and only if none as high
//! came meanwhile, so that of many regions mostly one does. What is appended is never lower than what
//! was read, so this ends. Nothing is committed while such a mend waits: whoever takes over
//! reads the low one again.

mod kept;
mod metering;

use std::sync::Arc;
use std::time::Duration;

use meridian_core::acks::{AckSender, WaitingOptions};
use meridian_core::seams::{AckBatch, AckLog, AckReader, History, KeyedAck};
use rand::Rng as _;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use self::kept::{Kept, kept};
use self::metering::Metering;
use crate::partition::Backoff;

const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_MOST: Duration = Duration::from_secs(5);

/// Takes the positions that a reader gives into a region's history.
pub struct AckMerger<R> {
    reader: R,
    history: Arc<dyn History>,
    sender: AckSender,
    pace: Pace,
    metering: Metering,
    backoff: Backoff,
    /// When what was stored may be committed; `None`: all is.
    commit_at: Option<Instant>,
}

/// How long things wait.
#[derive(Clone, Copy)]
struct Pace {
    /// Before a low position is mended: what is on its way may arrive. Up to twice as long, at random.
    mend: Duration,
    /// From a first batch to its commit: one for each would cost more than the batch.
    commit: Duration,
}

enum Woken {
    Read(AckBatch),
    Failed,
    Commit,
    Stop,
}

impl<R: AckReader> AckMerger<R> {
    pub fn new(log: Arc<dyn AckLog>, reader: R, history: Arc<dyn History>) -> Self {
        let waiting = WaitingOptions::default();
        let pace = Pace { mend: waiting.interval, commit: Duration::from_secs(1) };
        Self::paced(log, reader, history, pace)
    }

    fn paced(log: Arc<dyn AckLog>, reader: R, history: Arc<dyn History>, pace: Pace) -> Self {
        let metering = Metering::new(log.log());
        let waiting = WaitingOptions { interval: pace.mend, ..WaitingOptions::default() };
        let sender = AckSender::new(log, waiting);
        let backoff = Backoff::between(RETRY_FIRST, RETRY_MOST);
        Self { reader, history, sender, pace, metering, backoff, commit_at: None }
    }

    /// Merges until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut mending = JoinSet::new();
        mending.spawn(self.sender.clone().run(stop.clone()));
        loop {
            match self.next(&stop).await {
                Woken::Read(batch) => {
                    if stop.run_until_cancelled(self.merge(batch)).await.is_none() {
                        break;
                    }
                    self.commit_at.get_or_insert_with(|| Instant::now() + self.pace.commit);
                }
                Woken::Failed => {
                    self.metering.failures.increment(1);
                    if stop.run_until_cancelled(self.backoff.wait()).await.is_none() {
                        break;
                    }
                }
                Woken::Commit => self.commit().await,
                Woken::Stop => break,
            }
            self.metering.report(self.reader.lag(), self.sender.take_counts());
        }
        // What waits to be mended is sent, so that the next reader need not read it again.
        while mending.join_next().await.is_some() {}
        if self.commit_at.is_some() && self.sender.is_settled() {
            self.commit().await;
        }
    }

    async fn next(&mut self, stop: &CancellationToken) -> Woken {
        let (sender, commit_at) = (&self.sender, self.commit_at);
        let commit = async {
            sleep_until(commit_at.unwrap_or_else(Instant::now)).await;
            sender.settled().await;
        };
        tokio::select! {
            () = stop.cancelled() => Woken::Stop,
            () = commit, if commit_at.is_some() => Woken::Commit,
            read = self.reader.next() => match read {
                Ok(batch) => {
                    self.backoff.reset();
                    Woken::Read(batch)
                }
                Err(_) => Woken::Failed,
            },
        }
    }

    /// Stores a batch, however long that takes.
    async fn merge(&mut self, batch: AckBatch) {
        self.metering.unreadable.increment(batch.unreadable as u64);
        if batch.acks.is_empty() {
            return;
        }
        let held = loop {
            match self.history.acknowledge(batch.acks.clone()).await {
                Ok(held) => break held,
                Err(_) => {
                    self.metering.failures.increment(1);
                    self.metering.report(self.reader.lag(), self.sender.take_counts());
                    self.backoff.wait().await;
                }
            }
        };
        self.backoff.reset();
        self.metering.merged.increment(batch.acks.len() as u64);
        self.mend(batch.acks, held);
    }

    /// Sees to it that each key's last position in the log is its highest.
    fn mend(&self, acks: Vec<KeyedAck>, held: Vec<KeyedAck>) {
        for (key, kept) in kept(acks, held) {
            match kept {
                Kept::Highest(last) => self.sender.seen(&key, &last),
                Kept::Below(highest) => {
                    let delay = self.pace.mend.mul_f64(rand::rng().random_range(1.0..=2.0));
                    self.sender.mend(key, highest, delay);
                }
            }
        }
    }

    async fn commit(&mut self) {
        self.commit_at = match self.reader.commit().await {
            Ok(()) => None,
            Err(_) => {
                self.metering.failures.increment(1);
                Some(Instant::now() + self.pace.commit)
            }
        };
    }
}

#[cfg(test)]
mod tests;

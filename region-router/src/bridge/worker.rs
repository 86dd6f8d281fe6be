//! One source partition: reads, maps, appends, sets aside, commits, a batch at a time and in that order.
//! Whatever fails, it goes back to the last commit: nothing overtakes a record that may be missing.

use std::sync::Arc;
use std::time::Duration;

use meridian_core::bridge::{Mapped, Route};
use meridian_core::seams::{AppendError, DeadLetter, SourceCommit, SourceError, SourceRecord};
use meridian_core::vocabulary::{Epoch, Record, SourceMark, SourcePartition, SourcePlace};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep};

use super::change::changed;
use super::handle::{Ask, Extension};
use super::metering::Metering;
use super::{Bridged, Options, PartitionState, Refusal, Start};
use crate::partition::Backoff;

/// Reads one partition. It may be dropped anywhere.
pub(super) struct Worker {
    bridged: Bridged,
    options: Arc<Options>,
    partition: u32,
    extension: Extension,
    metering: Metering,
    backoff: Backoff,
    measures: Interval,
}

/// What comes next.
enum Next {
    /// Ask the source where this partition is.
    Stand,
    Read(SourceCommit),
    /// Only a change goes on.
    Wait,
    Retry(Duration),
    /// The partition is another reader's.
    End,
}

/// What became of a batch of records.
#[derive(Default)]
struct Batch {
    records: Vec<Record>,
    letters: Vec<DeadLetter>,
    skipped: u64,
}

impl Worker {
    pub(super) fn new(bridged: Bridged, options: Arc<Options>, extension: Extension) -> Self {
        let partition = extension.status.borrow().partition;
        let metering = Metering::new(&bridged.route.name, partition);
        let backoff = Backoff::between(options.retry_first, options.retry_most);
        let mut measures = interval(options.measure);
        measures.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { bridged, options, partition, extension, metering, backoff, measures }
    }

    /// Reads until the partition is another reader's.
    pub(super) async fn run(mut self) {
        let mut next = Next::Stand;
        loop {
            next = match next {
                Next::Stand => self.stand().await,
                Next::Read(commit) => self.read(commit).await,
                Next::Wait => self.wait().await,
                Next::Retry(wait) => self.retry(wait).await,
                Next::End => return,
            };
        }
    }

    /// Finds out where the partition is; the first time, notes where it begins.
    async fn stand(&mut self) -> Next {
        match self.bridged.source.committed(self.partition).await {
            Ok(Some(commit)) => self.stands_at(commit),
            Ok(None) => match self.begin().await {
                Ok(commit) => self.stands_at(commit),
                Err(error) => self.source_failed(error),
            },
            Err(error) => self.source_failed(error),
        }
    }

    async fn begin(&self) -> Result<SourceCommit, SourceError> {
        let bounds = self.bridged.source.bounds(self.partition).await?;
        let next = match self.bridged.start {
            Start::Earliest => bounds.earliest,
            Start::Latest => bounds.end,
        };
        let commit = SourceCommit { generation: (self.options.generation)(), next, paused: false };
        self.bridged.source.commit(self.partition, commit).await?;
        let (route, partition) = (&self.bridged.route.name, self.partition);
        tracing::info!(%route, partition, ?commit, "a source partition without a commit begins");
        Ok(commit)
    }

    fn stands_at(&mut self, commit: SourceCommit) -> Next {
        self.extension.status.send_modify(|status| status.commit = Some(commit));
        if commit.paused {
            self.tell(PartitionState::Paused);
            Next::Wait
        } else {
            self.tell(PartitionState::Running);
            Next::Read(commit)
        }
    }

    async fn read(&mut self, commit: SourceCommit) -> Next {
        let (records, bytes) = (self.options.batch_records, self.options.batch_bytes);
        let source = self.bridged.source.clone();
        let read = source.read(self.partition, commit.next, records, bytes);
        tokio::select! {
            biased;
            Some(ask) = self.extension.asks.recv() => self.asked(ask).await,
            _ = self.measures.tick() => {
                self.measure().await;
                Next::Read(commit)
            }
            read = read => match read {
                Ok(records) => self.work_off(commit, &records).await,
                Err(error) => self.source_failed(error),
            }
        }
    }

    async fn wait(&mut self) -> Next {
        tokio::select! {
            Some(ask) = self.extension.asks.recv() => self.asked(ask).await,
            _ = self.measures.tick() => {
                self.measure().await;
                Next::Wait
            }
        }
    }

    async fn retry(&mut self, wait: Duration) -> Next {
        tokio::select! {
            Some(ask) = self.extension.asks.recv() => self.asked(ask).await,
            () = sleep(wait) => Next::Stand,
        }
    }

    /// Appends, sets aside, commits: each only when all before it is done.
    async fn work_off(&mut self, commit: SourceCommit, records: &[SourceRecord]) -> Next {
        let Some(last) = records.last() else { return Next::Read(commit) };
        let epoch = self.bridged.log.incarnation().epoch;
        let batch = map((&self.bridged.route, &self.options), commit.generation, epoch, records);
        let (events, letters, skipped) = (batch.records.len(), batch.letters.len(), batch.skipped);
        if let Err(error) = self.append(batch.records).await {
            return self.log_failed(&error);
        }
        if letters > 0 {
            for letter in &batch.letters {
                let (route, partition) = (&self.bridged.route.name, self.partition);
                let (offset, reason) = (letter.record.offset, &letter.reason);
                tracing::warn!(%route, partition, offset, reason, "a record can't become an event");
            }
            if let Err(error) = self.bridged.source.dead_letter(batch.letters).await {
                return self.source_failed(error);
            }
        }
        let next = SourceCommit { next: last.offset + 1, ..commit };
        if let Err(error) = self.bridged.source.commit(self.partition, next).await {
            return self.source_failed(error);
        }
        self.backoff.reset();
        self.metering.events.increment(events as u64);
        self.metering.dead_letters.increment(letters as u64);
        self.metering.skipped.increment(skipped);
        self.extension.status.send_modify(|status| {
            status.commit = Some(next);
            status.events += events as u64;
            status.dead_letters += letters as u64;
            status.skipped += skipped;
        });
        Next::Read(next)
    }

    /// One call at a time: what it does not store is, for each log partition, an end of it.
    async fn append(&self, records: Vec<Record>) -> Result<(), AppendError> {
        if records.is_empty() {
            return Ok(());
        }
        let began = Instant::now();
        let answers = self.bridged.log.append(records).await;
        self.metering.append_seconds.record(began.elapsed().as_secs_f64());
        answers.into_iter().find_map(Result::err).map_or(Ok(()), Err)
    }

    async fn asked(&mut self, ask: Ask) -> Next {
        let made = self.change(&ask).await;
        let (route, partition, change) = (&self.bridged.route.name, self.partition, ask.change);
        tracing::info!(%route, partition, ?change, ?made, "an operator's change");
        let next = match &made {
            Ok(commit) => self.stands_at(*commit),
            // The commit may have been made all the same.
            Err(_) => Next::Stand,
        };
        let _ = ask.answer.send(made);
        next
    }

    async fn change(&self, ask: &Ask) -> Result<SourceCommit, Refusal> {
        let source = &self.bridged.source;
        let committed = source.committed(self.partition).await;
        let bounds = source.bounds(self.partition).await?;
        let commit = changed(ask.change, committed, bounds, (self.options.generation)())?;
        source.commit(self.partition, commit).await?;
        Ok(commit)
    }

    async fn measure(&self) {
        let Some(commit) = self.extension.status.borrow().commit else { return };
        if let Ok(bounds) = self.bridged.source.bounds(self.partition).await {
            let lag = bounds.end.saturating_sub(commit.next);
            self.metering.lag_records.set(lag as f64);
            self.extension.status.send_modify(|status| status.lag_records = Some(lag));
        }
    }

    fn log_failed(&mut self, error: &AppendError) -> Next {
        self.metering.log_failures.increment(1);
        self.try_again(format!("the log: {error}"))
    }

    fn source_failed(&mut self, error: SourceError) -> Next {
        match error {
            SourceError::NotOwned => Next::End,
            SourceError::Unavailable => {
                self.metering.source_failures.increment(1);
                self.try_again(error.to_string())
            }
            SourceError::Gone { .. } | SourceError::Replaced { .. } => {
                let (route, partition) = (&self.bridged.route.name, self.partition);
                tracing::error!(%route, partition, %error, "halted until a replay is asked for");
                self.tell(PartitionState::Halted { reason: error });
                Next::Wait
            }
        }
    }

    fn try_again(&mut self, after: String) -> Next {
        let (route, partition) = (&self.bridged.route.name, self.partition);
        tracing::warn!(%route, partition, after, "back to the last commit");
        self.tell(PartitionState::Retrying { after });
        Next::Retry(self.backoff.step())
    }

    fn tell(&self, state: PartitionState) {
        self.metering.state(&state);
        self.extension.status.send_modify(|status| status.state = state);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.metering.ended();
    }
}

/// What becomes of records, in order. Each event carries its mark.
fn map(
    (route, options): (&Route, &Options),
    generation: u32,
    epoch: Epoch,
    records: &[SourceRecord],
) -> Batch {
    let mut batch = Batch::default();
    for record in records {
        match route.map(record) {
            Mapped::Skipped => batch.skipped += 1,
            Mapped::Poison(poison) => batch.letters.push(DeadLetter {
                record: record.clone(),
                generation,
                reason: poison.to_string(),
            }),
            Mapped::Made(mut made) => {
                made.body.bounds = options.feed_bounds(&made.key.channel);
                let source = route.name.clone();
                let mark = SourceMark {
                    of: SourcePartition { source, partition: record.partition },
                    at: SourcePlace { generation, offset: record.offset, index: 0 },
                };
                let (scope, id, body) = (mark.scope(), mark.id(), made.body.encode());
                batch.records.push(Record { key: made.key, scope, id, epoch, body });
            }
        }
    }
    batch
}

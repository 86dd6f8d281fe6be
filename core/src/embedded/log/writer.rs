//! The log's only writer: takes everything that waits into one transaction, and acknowledges after
//! its commit. Owns the writing connection; nobody else touches the tables.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Acquire, Connection};
use tokio::sync::oneshot;

use super::batch::Batch;
use super::store::{self, Bounds};
use super::tail::Tail;
use super::{Keep, Trimmed};
use crate::embedded::Clock;
use crate::embedded::lock::FolderLock;
use crate::embedded::queue::{Queue, Weight};
use crate::seams::{AppendError, LogError};
use crate::vocabulary::{Offset, Partition};

/// One commit's bounds.
const COMMIT: Weight = Weight { count: 2_048, bytes: 8 << 20 };
/// A batch is cut when it has grown to this, so that a reader can bound what it loads.
const BATCH_BYTES: usize = 256 << 10;
/// Batches that one retention step looks at in each partition.
const TRIM_BATCHES: usize = 256;

/// What the writer is asked for.
pub(super) enum Job {
    Append(Append),
    Trim { keep: Keep, floors: Vec<(Partition, Offset)>, reply: oneshot::Sender<TrimAnswer> },
}

pub(super) type TrimAnswer = Result<Trimmed, LogError>;

/// The records of one call.
pub(super) struct Append {
    pub(super) records: Vec<(Partition, Bytes)>,
    pub(super) reply: oneshot::Sender<Vec<Result<Offset, AppendError>>>,
}

/// What the writer shares with the log's handle.
pub(super) struct Shared {
    pub(super) queue: Arc<Queue<Job>>,
    pub(super) tails: Vec<Tail>,
    /// How long the last commit took.
    pub(super) commit_us: AtomicU64,
}

pub(super) struct Writer {
    pub(super) connection: SqliteConnection,
    pub(super) bounds: Vec<Bounds>,
    pub(super) shared: Arc<Shared>,
    pub(super) clock: Clock,
    pub(super) window_ms: u64,
    /// A commit's outcome is unknown: the bounds must be read again before the next one.
    pub(super) stale: bool,
    /// Held as long as this task may write.
    pub(super) _lock: Option<Arc<FolderLock>>,
}

/// One transaction's worth, before it is stored.
#[derive(Default)]
struct Plan {
    batches: Vec<(u32, Batch)>,
    bounds: Vec<(u32, Bounds)>,
}

enum Failure {
    NotStored,
    Unknown,
}

impl Writer {
    /// Works until the queue is closed and empty. What it held is to be closed after the readers: of two
    /// connections that close at once, each leaves the write-ahead log to the other.
    pub(super) async fn run(mut self) -> Self {
        let taker = self.shared.queue.taker();
        while let Some(jobs) = taker.take(COMMIT).await {
            let mut appends = Vec::with_capacity(jobs.len());
            for job in jobs {
                match job {
                    Job::Append(append) => appends.push(append),
                    Job::Trim { keep, floors, reply } => {
                        let answer = self.trim(keep, &floors).await;
                        let _ = reply.send(answer);
                    }
                }
            }
            if !appends.is_empty() {
                self.append(appends).await;
            }
        }
        self
    }

    /// Ends the writing connection, then gives the folder free.
    pub(super) async fn close(self) {
        let _ = self.connection.close().await;
    }

    async fn append(&mut self, appends: Vec<Append>) {
        if self.stale && self.recover().await.is_err() {
            self.fail(appends, &Failure::NotStored);
            return;
        }
        let started = Instant::now();
        let (plan, offsets) = self.plan(&appends);
        let stored = self.store(&plan).await;
        let took = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.shared.commit_us.store(took, Ordering::Relaxed);
        match stored {
            Ok(()) => {
                for (partition, bounds) in plan.bounds {
                    self.bounds[partition as usize] = bounds;
                }
                for (partition, batch) in plan.batches {
                    self.shared.tails[partition as usize].push(batch);
                }
                for (append, offsets) in appends.into_iter().zip(offsets) {
                    let _ = append.reply.send(offsets.into_iter().map(Ok).collect());
                }
            }
            Err(failure) => self.fail(appends, &failure),
        }
    }

    /// Gives every record its offset and packs each partition's records.
    fn plan(&self, appends: &[Append]) -> (Plan, Vec<Vec<Offset>>) {
        let now = (self.clock)();
        let mut by_partition: Vec<Vec<Bytes>> = vec![Vec::new(); self.bounds.len()];
        let mut offsets = Vec::with_capacity(appends.len());
        for append in appends {
            let mut of_call = Vec::with_capacity(append.records.len());
            for (partition, stored) in &append.records {
                let records = &mut by_partition[partition.0 as usize];
                of_call.push(Offset(self.bounds[partition.0 as usize].next + records.len() as u64));
                records.push(stored.clone());
            }
            offsets.push(of_call);
        }
        let mut plan = Plan::default();
        for (partition, records) in by_partition.iter().enumerate() {
            if !records.is_empty() {
                plan.partition(partition as u32, self.bounds[partition], now, records);
            }
        }
        (plan, offsets)
    }

    async fn store(&mut self, plan: &Plan) -> Result<(), Failure> {
        let not_stored = |error: sqlx::Error| {
            tracing::error!(%error, "the log could not store a commit");
            Failure::NotStored
        };
        let mut transaction =
            self.connection.begin_with("BEGIN IMMEDIATE").await.map_err(not_stored)?;
        let connection = transaction.acquire().await.map_err(not_stored)?;
        store::insert(connection, &plan.batches, &plan.bounds).await.map_err(not_stored)?;
        transaction.commit().await.map_err(|error| {
            tracing::error!(%error, "the log could not finish a commit");
            Failure::Unknown
        })
    }

    /// Answers the calls of a failed commit.
    fn fail(&mut self, appends: Vec<Append>, failure: &Failure) {
        let error = match failure {
            Failure::NotStored => AppendError::Unavailable,
            Failure::Unknown => AppendError::OutcomeUnknown,
        };
        self.stale |= matches!(failure, Failure::Unknown);
        for append in appends {
            let answers = vec![Err(error.clone()); append.records.len()];
            let _ = append.reply.send(answers);
        }
    }

    /// Learns anew what the tables hold.
    async fn recover(&mut self) -> Result<(), ()> {
        let partitions = self.bounds.len() as u32;
        let stored = store::bounds(&mut self.connection, partitions).await.map_err(|error| {
            tracing::error!(%error, "the log's bounds could not be read again");
        })?;
        for (stored, tail) in stored.iter().zip(&self.shared.tails) {
            if stored.next != tail.end() {
                tail.restart(stored.next);
            }
        }
        self.bounds = stored;
        self.stale = false;
        Ok(())
    }

    async fn trim(&mut self, keep: Keep, floors: &[(Partition, Offset)]) -> TrimAnswer {
        let mut trimmed = Trimmed::default();
        for (partition, floor) in floors {
            let Some(bounds) = self.bounds.get(partition.0 as usize).copied() else { continue };
            let (begin, more) = self.new_begin(keep, partition.0, bounds, floor.0).await?;
            trimmed.more |= more;
            if begin > bounds.begin {
                self.truncate(partition.0, begin).await?;
                trimmed.records += begin - bounds.begin;
            }
        }
        Ok(trimmed)
    }

    async fn new_begin(
        &mut self,
        keep: Keep,
        partition: u32,
        bounds: Bounds,
        floor: u64,
    ) -> Result<(u64, bool), LogError> {
        let now = (self.clock)().max(bounds.time_ms);
        let oldest = store::oldest(&mut self.connection, partition, TRIM_BATCHES)
            .await
            .map_err(unavailable)?;
        let removable = oldest.iter().take_while(|(last, time_ms)| {
            let age = now - (*time_ms).min(now);
            let newer = bounds.next - last - 1;
            let expired = keep.age_ms.is_some_and(|limit| age > limit)
                || keep.records.is_some_and(|limit| newer >= limit);
            *last < floor && age > self.window_ms && expired
        });
        let count = removable.clone().count();
        let begin = removable.last().map_or(bounds.begin, |(last, _)| last + 1);
        Ok((begin, count == TRIM_BATCHES))
    }

    async fn truncate(&mut self, partition: u32, begin: u64) -> Result<(), LogError> {
        // Readers must learn of it first: what is gone from the table is never taken for a hole.
        self.shared.tails[partition as usize].truncate(begin);
        self.bounds[partition as usize].begin = begin;
        let mut transaction =
            self.connection.begin_with("BEGIN IMMEDIATE").await.map_err(unavailable)?;
        let connection = transaction.acquire().await.map_err(unavailable)?;
        store::truncate(connection, partition, begin).await.map_err(unavailable)?;
        transaction.commit().await.map_err(unavailable)
    }
}

impl Plan {
    fn partition(&mut self, partition: u32, mut bounds: Bounds, now: u64, records: &[Bytes]) {
        bounds.time_ms = bounds.time_ms.max(now);
        let mut rest = records;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fitting = rest
                .iter()
                .take_while(|record| {
                    let fits = bytes < BATCH_BYTES;
                    bytes += record.len();
                    fits
                })
                .count();
            let (now_packed, later) = rest.split_at(fitting.max(1));
            let batch = Batch::pack(bounds.next, bounds.time_ms, now_packed);
            bounds.next = batch.last + 1;
            self.batches.push((partition, batch));
            rest = later;
        }
        self.bounds.push((partition, bounds));
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` hands over")]
fn unavailable(error: sqlx::Error) -> LogError {
    tracing::error!(%error, "the log's retention failed");
    LogError::Unavailable
}

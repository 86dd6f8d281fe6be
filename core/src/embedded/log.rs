//! The log on SQLite: one file, one writer, one commit for everything that waits. Owns offsets,
//! append times and the log's retention; it knows nothing of duplicates.

mod batch;
mod store;
mod tail;
mod writer;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use self::batch::Room;
use self::tail::Tail;
use self::writer::{Append, Job, Shared, Writer};
use super::lock::FolderLock;
use super::queue::{Queue, Refused, Weight};
use super::sqlite::{self, Readers, Writing};
use super::{Clock, OpenError};
use crate::seams::{AppendError, Appended, Incarnation, Log, LogError, LogRecord};
use crate::vocabulary::{Cursor, LogName, Offset, Partition, Position, Record};

/// The log is written at its ends: few pages change.
const WRITING: Writing = Writing { cache_kib: 8 << 10, checkpoint_pages: 4_000 };
/// Batches loaded by one read at most.
const READ_BATCHES: usize = 64;

/// What the log is, fixed at its first open, and how much may wait in front of it.
#[derive(Debug, Clone)]
pub struct LogOptions {
    pub log: LogName,
    pub partitions: u32,
    /// W.
    pub window_records: u32,
    /// D, in milliseconds.
    pub window_ms: u64,
    /// Records that wait for the writer at most; beyond: `Overloaded`.
    pub queue_records: usize,
    /// And bytes.
    pub queue_bytes: usize,
    /// Connections that read.
    pub readers: usize,
}

/// How much of the log is kept. Whatever bound is met first removes the oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keep {
    /// The newest records of each partition; `None`: no bound.
    pub records: Option<u64>,
    /// Their age in milliseconds; `None`: no bound.
    pub age_ms: Option<u64>,
}

/// What a retention step did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trimmed {
    pub records: u64,
    /// There was more than one step does.
    pub more: bool,
}

/// A log in a SQLite file.
pub struct SqliteLog {
    incarnation: Incarnation,
    shared: Arc<Shared>,
    readers: Readers,
    writer: Mutex<Option<JoinHandle<Writer>>>,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            log: LogName::parse("global").expect("invariant: a valid name"),
            partitions: 8,
            window_records: 1 << 17,
            window_ms: 24 * 60 * 60 * 1000,
            queue_records: 32 << 10,
            queue_bytes: 32 << 20,
            readers: 2,
        }
    }
}

impl LogOptions {
    /// What was fixed at the first open must not have changed.
    fn check(&self, stored: &Incarnation) -> Result<(), OpenError> {
        let differs = |what, stored: &dyn ToString, asked: &dyn ToString| {
            let (stored, asked) = (stored.to_string(), asked.to_string());
            if stored == asked { Ok(()) } else { Err(OpenError::Fixed { what, stored, asked }) }
        };
        differs("name", &stored.log, &self.log)?;
        differs("number of partitions", &stored.partitions, &self.partitions)?;
        differs("window of records", &stored.window_records, &self.window_records)?;
        differs("window of time", &stored.window_ms, &self.window_ms)
    }
}

impl SqliteLog {
    /// Opens or creates the file. Needs a tokio runtime, on which the writer runs. The caller sees to
    /// it that no other process has the file open.
    pub async fn open(file: &Path, options: LogOptions, clock: Clock) -> Result<Self, OpenError> {
        Self::open_locked(file, options, clock, None).await
    }

    pub(super) async fn open_locked(
        file: &Path,
        options: LogOptions,
        clock: Clock,
        lock: Option<Arc<FolderLock>>,
    ) -> Result<Self, OpenError> {
        let mut connection = sqlite::writer(file, store::STEPS, WRITING).await?;
        let incarnation = store::incarnation(&mut connection, &options).await?;
        let bounds = store::bounds(&mut connection, incarnation.partitions).await?;
        let readers = Readers::open(file, options.readers).await?;
        let limit = Weight { count: options.queue_records, bytes: options.queue_bytes };
        let shared = Arc::new(Shared {
            queue: Arc::new(Queue::new(limit)),
            tails: bounds.iter().map(|bounds| Tail::new(bounds.begin, bounds.next)).collect(),
            commit_us: AtomicU64::new(0),
        });
        let window_ms = incarnation.window_ms;
        let writer = Writer {
            connection,
            bounds,
            shared: shared.clone(),
            clock,
            window_ms,
            stale: false,
            _lock: lock,
        };
        let writer = Mutex::new(Some(tokio::spawn(writer.run())));
        Ok(Self { incarnation, shared, readers, writer })
    }

    /// The lowest offset still held of a partition.
    pub fn begin(&self, partition: Partition) -> Result<Offset, LogError> {
        Ok(Offset(self.tail(partition)?.begin()))
    }

    /// One step of retention in the partitions named: removes the oldest records beyond `keep`, but
    /// none younger than D and none at or above its partition's floor.
    pub async fn retain(
        &self,
        keep: Keep,
        floors: Vec<(Partition, Offset)>,
    ) -> Result<Trimmed, LogError> {
        let (reply, answer) = oneshot::channel();
        let weight = Weight { count: 1, bytes: 0 };
        self.shared
            .queue
            .push(Job::Trim { keep, floors, reply }, weight)
            .map_err(|_| LogError::Unavailable)?;
        answer.await.map_err(|_| LogError::Unavailable)?
    }

    /// Stores what is queued, then ends the writer. Later calls answer `Unavailable`.
    pub async fn close(&self) {
        self.shared.queue.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let writer = match writer {
            Some(writer) => writer.await.ok(),
            None => None,
        };
        self.readers.close().await;
        if let Some(writer) = writer {
            writer.close().await;
        }
    }

    fn tail(&self, partition: Partition) -> Result<&Tail, LogError> {
        self.shared.tails.get(partition.0 as usize).ok_or(LogError::Unavailable)
    }

    fn overloaded(&self, queued: Weight) -> AppendError {
        let commits = queued.count as u64 / 2_048 + 1;
        let waiting_us = commits * self.shared.commit_us.load(Ordering::Relaxed);
        AppendError::Overloaded { retry_after_ms: (waiting_us / 1000).clamp(20, 2_000) }
    }

    /// Queues encoded records and waits for the writer's answers.
    async fn submit(&self, records: Vec<(Partition, Bytes)>) -> Vec<Result<Offset, AppendError>> {
        let count = records.len();
        let bytes = records.iter().map(|(_, stored)| stored.len()).sum();
        let (reply, answer) = oneshot::channel();
        let job = Job::Append(Append { records, reply });
        if let Err(refused) = self.shared.queue.push(job, Weight { count, bytes }) {
            let error = match refused {
                Refused::Full(queued) => self.overloaded(queued),
                Refused::Closed => AppendError::Unavailable,
            };
            return vec![Err(error); count];
        }
        match answer.await {
            Ok(answers) => answers,
            // The writer ended with the job in its hands.
            Err(_) => vec![Err(AppendError::OutcomeUnknown); count],
        }
    }

    async fn read_file(
        &self,
        partition: Partition,
        from: u64,
        mut room: Room,
    ) -> Result<Vec<LogRecord>, LogError> {
        let mut reader = self.readers.lend().await.ok_or(LogError::Unavailable)?;
        let max_batches = room.records.min(READ_BATCHES);
        let batches = store::read(reader.connection(), partition.0, from, max_batches)
            .await
            .map_err(unavailable)?;
        let mut records = Vec::new();
        for batch in batches {
            batch.unpack(from, &mut room, &mut records).map_err(|damaged| {
                tracing::error!(?damaged, %from, "a batch of the log can't be read");
                LogError::Unavailable
            })?;
        }
        Ok(records)
    }
}

impl Drop for SqliteLog {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            writer.abort();
        }
    }
}

#[async_trait]
impl Log for SqliteLog {
    fn incarnation(&self) -> &Incarnation {
        &self.incarnation
    }

    async fn append(&self, records: Vec<Record>) -> Vec<Result<Appended, AppendError>> {
        let mut answers = Vec::with_capacity(records.len());
        let mut submitted = Vec::with_capacity(records.len());
        for record in &records {
            let partition = self.partition(&record.key);
            if record.epoch == self.incarnation.epoch {
                submitted.push((partition, record.encode()));
                answers.push((partition, Ok(())));
            } else {
                answers.push((partition, Err(AppendError::WrongEpoch)));
            }
        }
        let mut offsets =
            if submitted.is_empty() { Vec::new() } else { self.submit(submitted).await }
                .into_iter();
        let mut place = |(partition, checked): (Partition, Result<(), AppendError>)| {
            checked?;
            let offset = offsets.next().unwrap_or(Err(AppendError::OutcomeUnknown))?;
            let position = Position::at(self.incarnation.epoch, offset);
            let log = self.incarnation.log.clone();
            Ok(Appended { cursor: Cursor { log, partition, position } })
        };
        answers.into_iter().map(&mut place).collect()
    }

    async fn end(&self, partition: Partition) -> Result<Offset, LogError> {
        // Nobody else writes: what was committed last is the end.
        Ok(Offset(self.tail(partition)?.end()))
    }

    fn known_end(&self, partition: Partition) -> Offset {
        Offset(self.tail(partition).map_or(0, Tail::end))
    }

    async fn read(
        &self,
        partition: Partition,
        from: Offset,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<LogRecord>, LogError> {
        let tail = self.tail(partition)?;
        let end = tail.end();
        if from.0 > end {
            return Err(LogError::BeyondEnd { end: Offset(end) });
        }
        let truncated = || {
            let earliest = Offset(tail.begin());
            (from < earliest).then_some(LogError::Truncated { earliest })
        };
        if let Some(truncated) = truncated() {
            return Err(truncated);
        }
        if from.0 == end || max_records == 0 {
            return Ok(Vec::new());
        }
        // One record at least, however large it is.
        let room = Room { records: max_records, bytes: max_bytes.max(1) };
        let mut records = match tail.read(from.0, room) {
            Some(read) => read.map_err(|_| LogError::Unavailable)?,
            None => self.read_file(partition, from.0, room).await?,
        };
        // What is committed but not announced yet comes with the next read: who has read beyond the end
        // takes the log for one that lost its tail.
        records.truncate(records.partition_point(|record| record.offset.0 < end));
        match records.first() {
            Some(first) if first.offset == from => Ok(records),
            // Retention may have passed by since the bounds were looked at.
            _ => Err(truncated().unwrap_or(LogError::Unavailable)),
        }
    }

    async fn wait_for(&self, partition: Partition, offset: Offset) -> Result<(), LogError> {
        let mut ends = self.tail(partition)?.follow_end();
        ends.wait_for(|end| *end > offset.0).await.map(|_| ()).map_err(|_| LogError::Unavailable)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` hands over")]
fn unavailable(error: sqlx::Error) -> LogError {
    tracing::error!(%error, "the log can't be read");
    LogError::Unavailable
}

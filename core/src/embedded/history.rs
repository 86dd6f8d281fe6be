//! The history on SQLite: events, heads, checkpoints, windows and acknowledged positions in a file of
//! its own. Owns what may be said of the past; it never reads the log and never makes an event.

mod feeds;
mod hints;
mod retention;
mod row;
mod store;
mod sweep;
mod write;
mod writer;

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub use self::retention::Swept;

use self::hints::SizeHints;
use self::writer::{Job, Memory, Outcome, Task, Writer};
use super::OpenError;
use super::lock::FolderLock;
use super::queue::{Queue, Weight};
use super::sqlite::{self, Reader, Readers, Step, Writing};
use crate::seams::{
    Acknowledged, AcknowledgedKey, Batch, ChangesFrom, ChangesRead, Checkpoint, Claim, CommitError,
    History, HistoryError, HistoryRead, Incarnation, KeyedAck, ReadBounds, ReadFrom, Snapshot,
    WindowRow, unpack_window,
};
use crate::vocabulary::{ChannelKey, LogName, Offset, Partition, Position, Stream};

const STEPS: &[Step] = &[
    (1, "history", include_str!("../../../migrations/sqlite/history/0001_history.sql")),
    (2, "begins", include_str!("../../../migrations/sqlite/history/0002_begins.sql")),
    (3, "marks", include_str!("../../../migrations/sqlite/history/0003_marks.sql")),
    (4, "feeds", include_str!("../../../migrations/sqlite/history/0004_feeds.sql")),
];

/// Each channel's newest page changes: they should stay in memory, and not be moved with every batch.
const WRITING: Writing = Writing { cache_kib: 32 << 10, checkpoint_pages: 16_000 };
/// Batches of a window that are loaded at once.
const WINDOW_BATCHES: usize = 512;

/// How much may wait in front of the history, and who reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryOptions {
    /// Events, acknowledged positions and cuts that wait for the writer at most.
    pub queue_items: usize,
    /// And bytes of events.
    pub queue_bytes: usize,
    /// Connections that read.
    pub readers: usize,
}

/// A history in a SQLite file.
pub struct SqliteHistory {
    queue: Arc<Queue<Job>>,
    readers: Readers,
    hints: Arc<SizeHints>,
    /// W and D, beyond which a window's batches are of no use.
    window: (u32, u64),
    /// The last channel that the sweep looked at.
    swept: AtomicI64,
    writer: Mutex<Option<JoinHandle<Writer>>>,
}

impl Default for HistoryOptions {
    fn default() -> Self {
        Self { queue_items: 64 << 10, queue_bytes: 64 << 20, readers: 4 }
    }
}

impl SqliteHistory {
    /// Opens or creates the file as a view of this log. Needs a tokio runtime, on which the writer
    /// runs. The caller sees to it that no other process has the file open.
    pub async fn open(
        file: &Path,
        options: HistoryOptions,
        log: &Incarnation,
    ) -> Result<Self, OpenError> {
        Self::open_locked(file, options, log, None).await
    }

    pub(super) async fn open_locked(
        file: &Path,
        options: HistoryOptions,
        log: &Incarnation,
        lock: Option<Arc<FolderLock>>,
    ) -> Result<Self, OpenError> {
        let mut connection = sqlite::writer(file, STEPS, WRITING).await?;
        if !write::adopt(&mut connection, log).await? {
            return Err(OpenError::OtherLog);
        }
        let readers = Readers::open(file, options.readers).await?;
        let limit = Weight { count: options.queue_items, bytes: options.queue_bytes };
        let (queue, hints) = (Arc::new(Queue::new(limit)), Arc::new(SizeHints::new()));
        let memory = Memory::new(hints.clone());
        let writer = Writer { connection, memory, queue: queue.clone(), _lock: lock };
        Ok(Self {
            queue,
            readers,
            hints,
            window: (log.window_records, log.window_ms),
            swept: AtomicI64::new(0),
            writer: Mutex::new(Some(tokio::spawn(writer.run()))),
        })
    }

    /// Stores what is queued, then ends the writer. Later calls answer that it is unavailable.
    pub async fn close(&self) {
        self.queue.close();
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

    async fn reader(&self) -> Result<Reader<'_>, HistoryError> {
        self.readers.lend().await.ok_or(HistoryError)
    }

    async fn ask(&self, task: Task) -> Result<Outcome, HistoryError> {
        let (reply, answer) = oneshot::channel();
        let weight = task.weight();
        self.queue.push(Job { task, reply }, weight).map_err(|_| HistoryError)?;
        answer.await.map_err(|_| HistoryError)?
    }

    /// The newest rows of a stream's window, oldest first.
    async fn window(
        &self,
        stream_id: i64,
        max_rows: usize,
    ) -> Result<Vec<WindowRow>, HistoryError> {
        let mut reader = self.reader().await?;
        let (mut newest_first, mut rows, mut below) = (Vec::new(), 0, i64::MAX);
        while rows < max_rows {
            let batches = store::window(reader.connection(), stream_id, below, WINDOW_BATCHES)
                .await
                .map_err(unavailable)?;
            let Some((last, _)) = batches.last() else { break };
            below = *last;
            for (_, packed) in batches {
                let batch = unpack_window(&packed).map_err(|_| damaged())?;
                rows += batch.len();
                newest_first.push(batch);
            }
        }
        let mut window: Vec<WindowRow> = newest_first.into_iter().rev().flatten().collect();
        window.drain(..rows.saturating_sub(max_rows));
        Ok(window)
    }
}

impl Drop for SqliteHistory {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take() {
            writer.abort();
        }
    }
}

#[async_trait]
impl History for SqliteHistory {
    async fn claim(&self, stream: &Stream, max_window_rows: usize) -> Result<Claim, HistoryError> {
        let Outcome::Claimed(row) = self.ask(Task::Claim(stream.clone())).await? else {
            return Err(HistoryError);
        };
        // Nobody commits between the raised fence and these reads.
        let window = self.window(row.id, max_window_rows).await?;
        let mut reader = self.reader().await?;
        let marks = store::marks(reader.connection(), row.id).await.map_err(unavailable)?;
        let feeds = feeds::current(reader.connection(), stream).await.map_err(unavailable)?;
        Ok(Claim { fence: row.fence, checkpoint: row.checkpoint, window, marks, feeds })
    }

    async fn commit(&self, stream: &Stream, batch: Batch) -> Result<(), CommitError> {
        match self.ask(Task::Commit(stream.clone(), batch)).await {
            Ok(Outcome::Fenced) => Err(CommitError::Fenced),
            Ok(_) => Ok(()),
            Err(HistoryError) => Err(CommitError::Unavailable),
        }
    }

    async fn heads(
        &self,
        _: &LogName,
        keys: &[ChannelKey],
    ) -> Result<HashMap<ChannelKey, Position>, HistoryError> {
        let mut heads = HashMap::with_capacity(keys.len());
        let mut reader = self.reader().await?;
        for keys in keys.chunks(store::LOOKUP_KEYS) {
            heads.extend(store::heads(reader.connection(), keys).await.map_err(unavailable)?);
        }
        Ok(heads)
    }

    async fn changed_above(
        &self,
        stream: &Stream,
        above: Position,
    ) -> Result<Vec<ChannelKey>, HistoryError> {
        let mut reader = self.reader().await?;
        store::changed_above(reader.connection(), stream, above).await.map_err(unavailable)
    }

    async fn checkpoints(
        &self,
        streams: &[Stream],
    ) -> Result<HashMap<Partition, Checkpoint>, HistoryError> {
        let mut checkpoints = HashMap::with_capacity(streams.len());
        let mut reader = self.reader().await?;
        for stream in streams {
            let row = store::stream(reader.connection(), stream).await.map_err(unavailable)?;
            if let Some(checkpoint) = row.and_then(|row| row.checkpoint) {
                checkpoints.insert(stream.partition, checkpoint);
            }
        }
        Ok(checkpoints)
    }

    async fn read(
        &self,
        key: &ChannelKey,
        stream: &Stream,
        from: ReadFrom,
        bounds: ReadBounds,
    ) -> Result<HistoryRead, HistoryError> {
        let wanted = bounds.max_events.saturating_add(1);
        let limit = match from {
            ReadFrom::Last(0) => 0,
            _ => wanted.min(self.hints.events(key, bounds.max_bytes)),
        };
        let mut reader = self.reader().await?;
        let oldest = bounds.oldest_time_ms;
        let range = store::range(reader.connection(), key, stream, from, oldest, limit)
            .await
            .map_err(unavailable)?;
        drop(reader);
        let events = row::decode_all(&range.events, key, stream).map_err(|_| damaged())?;
        if let Some(largest) = range.events.len().checked_div(events.len()) {
            self.hints.note(key, largest);
        }
        let applied = range.passed.map_or(Position::start_of(stream.epoch), |passed| Position {
            epoch: stream.epoch,
            passed,
        });
        let uncovered = range.begins.filter(|begins| *begins > Offset(0));
        let uncovered = uncovered.map(|begins| Position::before(stream.epoch, begins));
        let snapshot =
            Snapshot { epoch: stream.epoch, applied, uncovered, head: range.head, events };
        Ok(snapshot.answer(from, bounds))
    }

    async fn changes(
        &self,
        key: &ChannelKey,
        stream: &Stream,
        from: ChangesFrom,
        bounds: ReadBounds,
    ) -> Result<ChangesRead, HistoryError> {
        let mut reader = self.reader().await?;
        let state = feeds::read(reader.connection(), key, stream, from, bounds.max_events).await;
        Ok(state.map_err(unavailable)?.answer(from, bounds))
    }

    async fn acknowledge(&self, acks: Vec<KeyedAck>) -> Result<Vec<KeyedAck>, HistoryError> {
        match self.ask(Task::Acknowledge(acks)).await? {
            Outcome::Merged(higher) => Ok(higher),
            _ => Err(HistoryError),
        }
    }

    async fn acknowledged(
        &self,
        key: &AcknowledgedKey,
    ) -> Result<Option<Acknowledged>, HistoryError> {
        let mut reader = self.reader().await?;
        store::acknowledged(reader.connection(), key).await.map_err(unavailable)
    }
}

impl Task {
    fn weight(&self) -> Weight {
        match self {
            Self::Commit(_, batch) => Weight {
                count: batch.window.len() + batch.events.len() + 1,
                bytes: batch.events.iter().map(|event| event.weight()).sum(),
            },
            Self::Acknowledge(acks) => Weight { count: acks.len(), bytes: 0 },
            Self::Claim(_) | Self::Remove(_) | Self::PruneWindow(_) => {
                Weight { count: 1, bytes: 0 }
            }
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` hands over")]
fn unavailable(error: sqlx::Error) -> HistoryError {
    tracing::error!(%error, "the history can't be read");
    HistoryError
}

fn damaged() -> HistoryError {
    tracing::error!("the history holds bytes that can't be read");
    HistoryError
}

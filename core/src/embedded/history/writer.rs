//! The history's only writer: takes everything that waits into one transaction. Owns the writing
//! connection, and remembers fences, checkpoints and heads, since nobody else changes them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use sqlx::sqlite::SqliteConnection;
use sqlx::{Acquire, Connection};
use tokio::sync::oneshot;

use super::feeds;
use super::hints::SizeHints;
use super::row;
use super::store::{self, StreamRow};
use super::write::{self, Cut, EventRow, Growth, Known, Pruned};
use crate::embedded::lock::FolderLock;
use crate::embedded::queue::{Queue, Weight};
use crate::feed;
use crate::seams::{Batch, HistoryError, KeyedAck};
use crate::vocabulary::{ChannelKey, Event, Position, Prev, Stream};

/// One transaction's bounds.
const COMMIT: Weight = Weight { count: 10_000, bytes: 16 << 20 };
/// Channels remembered; beyond, all are forgotten and looked up again.
const KNOWN_CHANNELS: usize = 64 << 10;

/// What the writer is asked for.
pub(super) struct Job {
    pub(super) task: Task,
    pub(super) reply: oneshot::Sender<Result<Outcome, HistoryError>>,
}

pub(super) enum Task {
    Commit(Stream, Batch),
    Claim(Stream),
    Acknowledge(Vec<KeyedAck>),
    Remove(Cut),
    PruneWindow(Pruned),
}

#[derive(Debug)]
pub(super) enum Outcome {
    Done,
    Fenced,
    Claimed(StreamRow),
    /// With what was held above what was given.
    Merged(Vec<KeyedAck>),
    Removed(u64),
}

pub(super) struct Writer {
    pub(super) connection: SqliteConnection,
    pub(super) memory: Memory,
    pub(super) queue: Arc<Queue<Job>>,
    /// Held as long as this task may write.
    pub(super) _lock: Option<Arc<FolderLock>>,
}

/// What the tables hold, as far as it is needed again and again.
pub(super) struct Memory {
    streams: HashMap<Stream, StreamRow>,
    channels: HashMap<ChannelKey, Known>,
    hints: Arc<SizeHints>,
}

impl Writer {
    /// Works until the queue is closed and empty. What it held is to be closed after the readers: of two
    /// connections that close at once, each leaves the write-ahead log to the other.
    pub(super) async fn run(mut self) -> Self {
        let taker = self.queue.taker();
        while let Some(jobs) = taker.take(COMMIT).await {
            let (tasks, replies): (Vec<_>, Vec<_>) =
                jobs.into_iter().map(|job| (job.task, job.reply)).unzip();
            match self.transact(tasks).await {
                Ok(outcomes) => {
                    for (reply, outcome) in replies.into_iter().zip(outcomes) {
                        let _ = reply.send(Ok(outcome));
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the history could not store a transaction");
                    self.memory.forget();
                    for reply in replies {
                        let _ = reply.send(Err(HistoryError));
                    }
                }
            }
        }
        self
    }

    /// Ends the writing connection, then gives the folder free.
    pub(super) async fn close(self) {
        let _ = self.connection.close().await;
    }

    async fn transact(&mut self, tasks: Vec<Task>) -> Result<Vec<Outcome>, sqlx::Error> {
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        let connection = transaction.acquire().await?;
        let mut outcomes = Vec::with_capacity(tasks.len());
        for task in tasks {
            outcomes.push(self.memory.work(connection, task).await?);
        }
        transaction.commit().await?;
        Ok(outcomes)
    }
}

impl Memory {
    pub(super) fn new(hints: Arc<SizeHints>) -> Self {
        Self { streams: HashMap::new(), channels: HashMap::new(), hints }
    }

    fn forget(&mut self) {
        self.streams.clear();
        self.channels.clear();
    }

    async fn work(
        &mut self,
        connection: &mut SqliteConnection,
        task: Task,
    ) -> Result<Outcome, sqlx::Error> {
        match task {
            Task::Commit(stream, batch) => self.commit(connection, &stream, batch).await,
            Task::Claim(stream) => {
                write::raise_fence(connection, &stream).await?;
                self.streams.remove(&stream);
                match self.stream(connection, &stream).await? {
                    Some(row) => Ok(Outcome::Claimed(row)),
                    None => Err(sqlx::Error::RowNotFound),
                }
            }
            Task::Acknowledge(acks) => {
                Ok(Outcome::Merged(write::acknowledge(connection, acks).await?))
            }
            Task::Remove(cut) => Ok(Outcome::Removed(write::remove(connection, cut).await?)),
            Task::PruneWindow(pruned) => {
                write::prune_window(connection, pruned).await?;
                Ok(Outcome::Done)
            }
        }
    }

    async fn commit(
        &mut self,
        connection: &mut SqliteConnection,
        stream: &Stream,
        mut batch: Batch,
    ) -> Result<Outcome, sqlx::Error> {
        let Some(row) = self.stream(connection, stream).await? else {
            return Ok(Outcome::Fenced);
        };
        if row.fence != batch.fence {
            return Ok(Outcome::Fenced);
        }
        // What lies at or below the checkpoint is stored: a repeat, whole or in part.
        let stored = row.checkpoint.map(|checkpoint| checkpoint.position);
        if stored >= Some(batch.checkpoint.position) {
            return Ok(Outcome::Done);
        }
        if !write::checkpoint(connection, (row.id, row.fence), &batch.checkpoint).await? {
            return Ok(Outcome::Fenced);
        }
        batch.window.retain(|row| Some(Position::at(stream.epoch, row.offset)) > stored);
        batch.events.retain(|event| Some(event.position()) > stored);
        let window_total = row.window_total + batch.window.len() as u64;
        write::window(connection, row.id, &batch.window, window_total).await?;
        write::marks(connection, row.id, &batch.marks).await?;
        let uncovered = batch.checkpoint.uncovered();
        self.store_events(connection, stream, &batch.events, uncovered).await?;
        if let Some(row) = self.streams.get_mut(stream) {
            row.checkpoint = Some(batch.checkpoint);
            row.window_total = window_total;
        }
        Ok(Outcome::Done)
    }

    async fn store_events(
        &mut self,
        connection: &mut SqliteConnection,
        stream: &Stream,
        events: &[Arc<Event>],
        uncovered: Option<Position>,
    ) -> Result<(), sqlx::Error> {
        self.learn_channels(connection, stream, events).await?;
        let mut rows = Vec::with_capacity(events.len());
        let (mut growths, mut values) = (HashMap::<i64, Growth>::new(), Vec::new());
        for event in events {
            let Some(known) = self.channels.get_mut(&event.key) else {
                return Err(sqlx::Error::RowNotFound);
            };
            // The head is the newest event of everything below this batch, as far as it is covered.
            let prev = match (event.prev, known.head) {
                (Prev::Unknown, Some(head)) if Some(head) > uncovered => Prev::At(head),
                (prev, _) => prev,
            };
            let (head, stored) = (event.position(), row::encode(event, prev));
            known.head = Some(head);
            self.hints.note(&event.key, stored.len());
            let growth = growths.entry(known.id).or_insert(Growth {
                id: known.id,
                head,
                events: 0,
                bytes: 0,
            });
            growth.head = head;
            growth.events += 1;
            growth.bytes += stored.len() as u64;
            values.extend(feed::rows(event).into_iter().map(|row| (known.id, row)));
            rows.push(EventRow {
                channel_id: known.id,
                epoch: event.stream.epoch,
                offset: event.offset.0,
                time_ms: event.time_ms,
                stored,
            });
        }
        rows.sort_by_key(|row| row.channel_id);
        write::events(connection, rows).await?;
        feeds::store(connection, &values).await?;
        let growths: Vec<Growth> = growths.into_values().collect();
        write::grow(connection, &growths).await
    }

    async fn learn_channels(
        &mut self,
        connection: &mut SqliteConnection,
        stream: &Stream,
        events: &[Arc<Event>],
    ) -> Result<(), sqlx::Error> {
        if self.channels.len() > KNOWN_CHANNELS {
            self.channels.clear();
        }
        let missing: HashSet<&ChannelKey> = events
            .iter()
            .map(|event| &event.key)
            .filter(|key| !self.channels.contains_key(key))
            .collect();
        let missing: Vec<&ChannelKey> = missing.into_iter().collect();
        self.channels.extend(write::channels(connection, stream, &missing).await?);
        Ok(())
    }

    async fn stream(
        &mut self,
        connection: &mut SqliteConnection,
        stream: &Stream,
    ) -> Result<Option<StreamRow>, sqlx::Error> {
        if let Some(row) = self.streams.get(stream) {
            return Ok(Some(row.clone()));
        }
        let row = store::stream(connection, stream).await?;
        if let Some(row) = &row {
            self.streams.insert(stream.clone(), row.clone());
        }
        Ok(row)
    }
}

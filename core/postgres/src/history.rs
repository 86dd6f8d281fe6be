//! The `History` seam on the pools: who may wait how long for which connection, what is tried again,
//! and what is said when Postgres does not answer. Holds no statement.

use std::collections::HashMap;

use async_trait::async_trait;
use meridian_core::seams::{
    Acknowledged, AcknowledgedKey, Batch, Checkpoint, Claim, CommitError, History, HistoryError,
    HistoryRead, Incarnation, KeyedAck, ReadBounds, ReadFrom, highest_acks,
};
use meridian_core::vocabulary::{ChannelKey, LogName, Partition, Position, Stream};
use sqlx::postgres::PgConnection;
use tokio::time::timeout_at;

use crate::batch::trim;
use crate::error::{OpenError, is_passing, lacks_partition};
use crate::options::{Options, check_name};
use crate::pool::Pool;
use crate::write::Stored;
use crate::{adopt, migrate, read, upkeep, write};

/// A commit is tried so often: once more after the days of its events were made, and once more
/// without what was stored of it before.
const COMMIT_TRIES: usize = 3;
const READ_TRIES: usize = 2;

/// One region's history of one log, on PostgreSQL.
pub struct PostgresHistory {
    pub(crate) options: Options,
    log: LogName,
    pub(crate) log_id: i16,
    writers: Pool,
    readers: Pool,
}

impl PostgresHistory {
    /// Opens the history of this log: its schema must be migrated, and hold no other incarnation
    /// of the log. Needs a tokio runtime.
    pub async fn open(options: Options, log: &Incarnation) -> Result<Self, OpenError> {
        if let Some(role) = &options.upkeep_role {
            check_name(role)?;
        }
        let (connect, patience) = (options.connect()?, options.patience);
        let writers = Pool::new(connect.clone(), patience, options.writers);
        let readers = Pool::new(connect, patience, options.readers);
        let mut lent = writers.lend().await?;
        adopt::check_server(&mut lent).await?;
        migrate::check(&mut lent, &options.schema).await?;
        let log_id = adopt::adopt(&mut lent, log).await?;
        lent.keep();
        Ok(Self { options, log: log.log.clone(), log_id, writers, readers })
    }

    /// What tells this history from any other: of another server, and of a schema that was made anew.
    pub async fn identity(&self) -> Result<String, HistoryError> {
        let mut lent = self.readers.lend().await.map_err(unavailable)?;
        let identity = timeout_at(lent.until, read::identity(&mut lent)).await;
        lent.back(identity).map_err(unavailable)
    }

    /// Ends all connections, once what runs on them is done.
    pub async fn close(&self) {
        self.writers.close().await;
        self.readers.close().await;
    }

    /// Streams of other logs are not in here.
    fn is_mine(&self, stream: &Stream) -> bool {
        if stream.log != self.log {
            tracing::error!(%stream, log = %self.log, "asked a history of another log");
        }
        stream.log == self.log
    }

    fn check(&self, stream: &Stream) -> Result<(), HistoryError> {
        if self.is_mine(stream) { Ok(()) } else { Err(HistoryError) }
    }

    async fn try_claim(&self, stream: &Stream, max_rows: usize) -> Result<Claim, sqlx::Error> {
        let mut lent = self.writers.lend().await?;
        let claim = async |connection: &mut PgConnection| {
            let claimed = write::claim(connection, self.log_id, stream).await?;
            // Only who claims after this one can have added rows since, and those are not asked for.
            let (id, recorded) = (claimed.stream_id, claimed.recorded);
            let window = read::window(connection, id, recorded, max_rows).await?;
            let marks = read::marks(connection, id).await?;
            Ok(Claim { fence: claimed.fence, checkpoint: claimed.checkpoint, window, marks })
        };
        let claim = timeout_at(lent.until, claim(&mut lent)).await;
        lent.back(claim)
    }

    async fn try_commit(&self, stream: &Stream, batch: &Batch) -> Result<Stored, sqlx::Error> {
        let mut lent = self.writers.lend().await?;
        let commit = timeout_at(lent.until, write::commit(&mut lent, self.log_id, stream, batch));
        let commit = commit.await;
        lent.back(commit)
    }

    async fn try_read(
        &self,
        (key, stream): (&ChannelKey, &Stream),
        from: ReadFrom,
        bounds: ReadBounds,
    ) -> Result<HistoryRead, sqlx::Error> {
        let mut lent = self.readers.lend().await?;
        let (until, asked) = (lent.until, (from, bounds));
        let channel = read::channel(&mut lent, self.log_id, key, stream, asked);
        let snapshot = timeout_at(until, channel).await;
        Ok(lent.back(snapshot)?.answer(from, bounds))
    }
}

#[async_trait]
impl History for PostgresHistory {
    async fn claim(&self, stream: &Stream, max_window_rows: usize) -> Result<Claim, HistoryError> {
        self.check(stream)?;
        self.try_claim(stream, max_window_rows).await.map_err(unavailable)
    }

    async fn commit(&self, stream: &Stream, mut batch: Batch) -> Result<(), CommitError> {
        self.check(stream).map_err(|_| CommitError::Unavailable)?;
        for _ in 0..COMMIT_TRIES {
            match self.try_commit(stream, &batch).await {
                Ok(Stored::Whole) => return Ok(()),
                Ok(Stored::Fenced) => return Err(CommitError::Fenced),
                Ok(Stored::Overlaps { through }) => trim(&mut batch, through),
                Err(error) if lacks_partition(&error) => {
                    let times = batch.events.iter().map(|event| event.time_ms);
                    let made = upkeep::add_days_of(&self.options, times).await;
                    made.map_err(unavailable).map_err(|_| CommitError::Unavailable)?;
                }
                Err(error) => {
                    unavailable(error);
                    return Err(CommitError::Unavailable);
                }
            }
        }
        Err(CommitError::Unavailable)
    }

    async fn heads(
        &self,
        keys: &[ChannelKey],
    ) -> Result<HashMap<ChannelKey, Position>, HistoryError> {
        let mut lent = self.writers.lend().await.map_err(unavailable)?;
        let heads = timeout_at(lent.until, read::heads(&mut lent, self.log_id, keys)).await;
        lent.back(heads).map_err(unavailable)
    }

    async fn changed_above(
        &self,
        stream: &Stream,
        above: Position,
    ) -> Result<Vec<ChannelKey>, HistoryError> {
        self.check(stream)?;
        let mut lent = self.writers.lend().await.map_err(unavailable)?;
        let until = lent.until;
        let changed = read::changed_above(&mut lent, self.log_id, stream, above);
        let changed = timeout_at(until, changed).await;
        lent.back(changed).map_err(unavailable)
    }

    async fn checkpoints(
        &self,
        streams: &[Stream],
    ) -> Result<HashMap<Partition, Checkpoint>, HistoryError> {
        streams.iter().try_for_each(|stream| self.check(stream))?;
        let mut lent = self.writers.lend().await.map_err(unavailable)?;
        let until = lent.until;
        let found = read::checkpoints(&mut lent, self.log_id, streams);
        let found = timeout_at(until, found).await;
        lent.back(found).map_err(unavailable)
    }

    async fn read(
        &self,
        key: &ChannelKey,
        stream: &Stream,
        from: ReadFrom,
        bounds: ReadBounds,
    ) -> Result<HistoryRead, HistoryError> {
        self.check(stream)?;
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_read((key, stream), from, bounds).await {
                Err(error) if is_passing(&error) && tries < READ_TRIES => {}
                read => return read.map_err(unavailable),
            }
        }
    }

    async fn acknowledge(&self, acks: Vec<KeyedAck>) -> Result<Vec<KeyedAck>, HistoryError> {
        let acks = highest_acks(acks);
        let mut lent = self.writers.lend().await.map_err(unavailable)?;
        let done = timeout_at(lent.until, write::acknowledge(&mut lent, &acks)).await;
        lent.back(done).map_err(unavailable)
    }

    async fn acknowledged(
        &self,
        key: &AcknowledgedKey,
    ) -> Result<Option<Acknowledged>, HistoryError> {
        let mut lent = self.readers.lend().await.map_err(unavailable)?;
        let found = timeout_at(lent.until, read::acknowledged(&mut lent, key)).await;
        lent.back(found).map_err(unavailable)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` hands over")]
fn unavailable(error: sqlx::Error) -> HistoryError {
    tracing::error!(%error, "the history did not answer");
    HistoryError
}

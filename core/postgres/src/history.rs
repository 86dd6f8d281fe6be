//! The `History` seam on the pools: who may wait how long for which connection, what is tried again,
//! and what is said when Postgres does not answer. Holds no statement.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use async_trait::async_trait;
use meridian_core::seams::{
    Acknowledged, AcknowledgedKey, Batch, ChangesFrom, ChangesRead, Checkpoint, Claim, CommitError,
    History, HistoryError, HistoryRead, Incarnation, KeyedAck, ReadBounds, ReadFrom, highest_acks,
};
use meridian_core::vocabulary::{ChannelKey, LogName, Partition, Position, Stream};
use sqlx::Connection as _;
use sqlx::postgres::PgConnection;
use tokio::time::{timeout, timeout_at};

use crate::batch::trim;
use crate::error::{OpenError, is_passing, lacks_partition};
use crate::options::{self, Options, check_name};
use crate::pool::{Lent, Pool};
use crate::write::Stored;
use crate::{adopt, feeds, migrate, read, upkeep, write};

/// A commit is tried so often: once more after the days of its events were made, and once more
/// without what was stored of it before.
const COMMIT_TRIES: usize = 3;
const READ_TRIES: usize = 2;

/// One region's history of one log, on PostgreSQL.
pub struct PostgresHistory {
    pub(crate) options: Options,
    pub(crate) log: Incarnation,
    /// Known once the server said that this history is the log's.
    log_id: OnceLock<i16>,
    /// Why this history can't be the log's, as the server said last.
    refused: Mutex<Option<String>>,
    pools: Arc<Pools>,
}

/// The connections to one schema, which the histories of its logs share.
struct Pools {
    writers: Pool,
    readers: Pool,
}

impl PostgresHistory {
    /// Opens the history of this log: its schema must be migrated, and hold no other incarnation
    /// of the log. Needs a tokio runtime.
    pub async fn open(options: Options, log: &Incarnation) -> Result<Self, OpenError> {
        let history = Self::resume(options, log)?;
        history.ask().await?;
        Ok(history)
    }

    /// The same without asking the server, which may be away: each call asks first, until it was told
    /// once that this history is the log's.
    pub fn resume(options: Options, log: &Incarnation) -> Result<Self, OpenError> {
        if let Some(role) = &options.upkeep_role {
            check_name(role)?;
        }
        let (connect, patience) = (options.connect()?, options.patience);
        let writers = Pool::new(connect.clone(), patience, options.writers);
        let readers = Pool::new(connect, patience, options.readers);
        Ok(Self::on(options, log, Arc::new(Pools { writers, readers })))
    }

    /// The history of another log in the same schema, on the same connections; as after `resume`.
    pub fn beside(&self, log: &Incarnation) -> Self {
        Self::on(self.options.clone(), log, self.pools.clone())
    }

    fn on(options: Options, log: &Incarnation, pools: Arc<Pools>) -> Self {
        let (log, log_id, refused) = (log.clone(), OnceLock::new(), Mutex::new(None));
        Self { options, log, log_id, refused, pools }
    }

    /// Asks the server whether this history is the log's.
    pub async fn ask(&self) -> Result<(), OpenError> {
        let mut lent = self.pools.writers.lend().await?;
        self.adopt(&mut lent).await?;
        lent.keep();
        Ok(())
    }

    /// The newest incarnation of a log whose history this is; `None`: no router ever opened it.
    pub async fn newest(
        options: &Options,
        log: &LogName,
    ) -> Result<Option<Incarnation>, OpenError> {
        let asked = async {
            let mut connection = options::open(&options.connect()?).await?;
            adopt::check_server(&mut connection).await?;
            migrate::check(&mut connection, &options.schema).await?;
            let newest = adopt::newest(&mut connection, log).await?;
            connection.close().await?;
            Ok(newest)
        };
        timeout(options.patience, asked).await.unwrap_or(Err(sqlx::Error::PoolTimedOut.into()))
    }

    /// Why this history can't be the log's, if the server said so.
    pub fn refused(&self) -> Option<String> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn adopt(&self, connection: &mut PgConnection) -> Result<i16, OpenError> {
        adopt::check_server(connection).await?;
        migrate::check(connection, &self.options.schema).await?;
        let log_id = adopt::adopt(connection, &self.log).await?;
        Ok(*self.log_id.get_or_init(|| log_id))
    }

    /// A connection that writes, and the log's id.
    pub(crate) async fn lend_writer(&self) -> Result<(Lent<'_>, i16), sqlx::Error> {
        self.lend(&self.pools.writers).await
    }

    async fn lend<'a>(&self, pool: &'a Pool) -> Result<(Lent<'a>, i16), sqlx::Error> {
        let mut lent = pool.lend().await?;
        if let Some(log_id) = self.log_id.get() {
            return Ok((lent, *log_id));
        }
        let until = lent.until;
        let adopted = timeout_at(until, self.adopt(&mut lent)).await;
        let adopted = adopted.unwrap_or(Err(sqlx::Error::PoolTimedOut.into()));
        let refused = match &adopted {
            Ok(_) | Err(OpenError::Unavailable(_)) => None,
            Err(error) => Some(error.to_string()),
        };
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = refused;
        match adopted {
            Ok(log_id) => Ok((lent, log_id)),
            Err(OpenError::Unavailable(error)) => Err(error),
            Err(error) => Err(sqlx::Error::Configuration(error.into())),
        }
    }

    /// What tells this history from any other: of another server, and of a schema that was made anew.
    pub async fn identity(&self) -> Result<String, HistoryError> {
        let mut lent = self.pools.readers.lend().await.map_err(unavailable)?;
        let identity = timeout_at(lent.until, read::identity(&mut lent)).await;
        lent.back(identity).map_err(unavailable)
    }

    /// Ends all connections, once what runs on them is done; also those of the histories `beside` it.
    pub async fn close(&self) {
        self.pools.writers.close().await;
        self.pools.readers.close().await;
    }

    /// Other logs are not in here.
    fn check(&self, log: &LogName) -> Result<(), HistoryError> {
        if *log == self.log.log {
            return Ok(());
        }
        tracing::error!(asked = %log, log = %self.log.log, "asked a history of another log");
        Err(HistoryError)
    }

    async fn try_claim(&self, stream: &Stream, max_rows: usize) -> Result<Claim, sqlx::Error> {
        let (mut lent, log_id) = self.lend_writer().await?;
        let claim = async |connection: &mut PgConnection| {
            let claimed = write::claim(connection, log_id, stream).await?;
            // Only who claims after this one can have added rows since, and those are not asked for.
            let (id, recorded) = (claimed.stream_id, claimed.recorded);
            let window = read::window(connection, id, recorded, max_rows).await?;
            let marks = read::marks(connection, id).await?;
            let feeds = feeds::current(connection, log_id, stream).await?;
            let (fence, checkpoint) = (claimed.fence, claimed.checkpoint);
            Ok(Claim { fence, checkpoint, window, marks, feeds })
        };
        let claim = timeout_at(lent.until, claim(&mut lent)).await;
        lent.back(claim)
    }

    async fn try_commit(&self, stream: &Stream, batch: &Batch) -> Result<Stored, sqlx::Error> {
        let (mut lent, log_id) = self.lend_writer().await?;
        let commit = timeout_at(lent.until, write::commit(&mut lent, log_id, stream, batch));
        let commit = commit.await;
        lent.back(commit)
    }

    async fn try_read(
        &self,
        (key, stream): (&ChannelKey, &Stream),
        from: ReadFrom,
        bounds: ReadBounds,
    ) -> Result<HistoryRead, sqlx::Error> {
        let (mut lent, log_id) = self.lend(&self.pools.readers).await?;
        let (until, asked) = (lent.until, (from, bounds));
        let channel = read::channel(&mut lent, log_id, key, stream, asked);
        let snapshot = timeout_at(until, channel).await;
        Ok(lent.back(snapshot)?.answer(from, bounds))
    }
}

impl PostgresHistory {
    async fn try_changes(
        &self,
        (key, stream): (&ChannelKey, &Stream),
        from: ChangesFrom,
        bounds: ReadBounds,
    ) -> Result<ChangesRead, sqlx::Error> {
        let (mut lent, log_id) = self.lend(&self.pools.readers).await?;
        let (until, most) = (lent.until, bounds.max_events);
        let state = feeds::read(&mut lent, log_id, (key, stream), from, most);
        let state = timeout_at(until, state).await;
        Ok(lent.back(state)?.answer(from, bounds))
    }
}

#[async_trait]
impl History for PostgresHistory {
    async fn claim(&self, stream: &Stream, max_window_rows: usize) -> Result<Claim, HistoryError> {
        self.check(&stream.log)?;
        self.try_claim(stream, max_window_rows).await.map_err(unavailable)
    }

    async fn commit(&self, stream: &Stream, mut batch: Batch) -> Result<(), CommitError> {
        self.check(&stream.log).map_err(|_| CommitError::Unavailable)?;
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
        log: &LogName,
        keys: &[ChannelKey],
    ) -> Result<HashMap<ChannelKey, Position>, HistoryError> {
        self.check(log)?;
        let (mut lent, log_id) = self.lend_writer().await.map_err(unavailable)?;
        let heads = timeout_at(lent.until, read::heads(&mut lent, log_id, keys)).await;
        lent.back(heads).map_err(unavailable)
    }

    async fn changed_above(
        &self,
        stream: &Stream,
        above: Position,
    ) -> Result<Vec<ChannelKey>, HistoryError> {
        self.check(&stream.log)?;
        let (mut lent, log_id) = self.lend_writer().await.map_err(unavailable)?;
        let until = lent.until;
        let changed = read::changed_above(&mut lent, log_id, stream, above);
        let changed = timeout_at(until, changed).await;
        lent.back(changed).map_err(unavailable)
    }

    async fn checkpoints(
        &self,
        streams: &[Stream],
    ) -> Result<HashMap<Partition, Checkpoint>, HistoryError> {
        streams.iter().try_for_each(|stream| self.check(&stream.log))?;
        let (mut lent, log_id) = self.lend_writer().await.map_err(unavailable)?;
        let until = lent.until;
        let found = read::checkpoints(&mut lent, log_id, streams);
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
        self.check(&stream.log)?;
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_read((key, stream), from, bounds).await {
                Err(error) if is_passing(&error) && tries < READ_TRIES => {}
                read => return read.map_err(unavailable),
            }
        }
    }

    async fn changes(
        &self,
        key: &ChannelKey,
        stream: &Stream,
        from: ChangesFrom,
        bounds: ReadBounds,
    ) -> Result<ChangesRead, HistoryError> {
        self.check(&stream.log)?;
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_changes((key, stream), from, bounds).await {
                Err(error) if is_passing(&error) && tries < READ_TRIES => {}
                read => return read.map_err(unavailable),
            }
        }
    }

    async fn acknowledge(&self, acks: Vec<KeyedAck>) -> Result<Vec<KeyedAck>, HistoryError> {
        let acks = highest_acks(acks);
        let (mut lent, _) = self.lend_writer().await.map_err(unavailable)?;
        let done = timeout_at(lent.until, write::acknowledge(&mut lent, &acks)).await;
        lent.back(done).map_err(unavailable)
    }

    async fn acknowledged(
        &self,
        key: &AcknowledgedKey,
    ) -> Result<Option<Acknowledged>, HistoryError> {
        let (mut lent, _) = self.lend(&self.pools.readers).await.map_err(unavailable)?;
        let found = timeout_at(lent.until, read::acknowledged(&mut lent, key)).await;
        lent.back(found).map_err(unavailable)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` hands over")]
pub(crate) fn unavailable(error: sqlx::Error) -> HistoryError {
    tracing::error!(%error, "the history did not answer");
    HistoryError
}

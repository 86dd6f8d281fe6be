//! The log of acknowledged positions on SQLite: a file that all regions of a data folder share. Keeps
//! the last of each key. Readers keep no place: each begins anew, since what is kept is small.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{Acquire as _, Connection as _, Row as _};
use tokio::sync::{Mutex, watch};

use super::OpenError;
use super::lock::FolderLock;
use super::sqlite::{self, Readers, Step, Writing};
use crate::seams::{
    AckBatch, AckLog, AckLogError, AckReader, KeyedAck, ack_key, ack_value, read_ack,
};
use crate::vocabulary::LogName;

const STEPS: &[Step] =
    &[(1, "acks", include_str!("../../../migrations/sqlite/acks/0001_acks.sql"))];
/// Few positions a second.
const WRITING: Writing = Writing { cache_kib: 2 << 10, checkpoint_pages: 1_000 };
const READERS: usize = 1;
const BATCH: u32 = 256;

/// The positions in a SQLite file.
pub struct SqliteAcks {
    log: LogName,
    /// With the place that the next one gets; `None`: closed.
    writer: Mutex<Option<Writer>>,
    readers: Readers,
    /// The last place.
    last: watch::Sender<i64>,
}

struct Writer {
    connection: SqliteConnection,
    last: i64,
    _lock: Option<Arc<FolderLock>>,
}

/// A region's reader.
pub struct SqliteAckReader {
    acks: Arc<SqliteAcks>,
    last: watch::Receiver<i64>,
    /// The last place that was given.
    given: i64,
}

impl SqliteAcks {
    /// Opens or creates the file of this log's positions. The caller sees to it that no other process
    /// has the file open.
    pub async fn open(file: &Path, log: LogName) -> Result<Arc<Self>, OpenError> {
        Self::open_locked(file, log, None).await
    }

    pub(super) async fn open_locked(
        file: &Path,
        log: LogName,
        lock: Option<Arc<FolderLock>>,
    ) -> Result<Arc<Self>, OpenError> {
        let mut connection = sqlite::writer(file, STEPS, WRITING).await?;
        let row = sqlx::query("SELECT coalesce(max(place), 0) FROM acks");
        let last = row.fetch_one(&mut connection).await?.try_get(0)?;
        let readers = Readers::open(file, READERS).await?;
        let writer = Mutex::new(Some(Writer { connection, last, _lock: lock }));
        Ok(Arc::new(Self { log, writer, readers, last: watch::Sender::new(last) }))
    }

    /// A reader from the beginning.
    pub fn reader(self: &Arc<Self>) -> SqliteAckReader {
        SqliteAckReader { acks: self.clone(), last: self.last.subscribe(), given: 0 }
    }

    /// Appends keys and values as they are stored.
    pub async fn append_stored(&self, rows: Vec<(Vec<u8>, Vec<u8>)>) -> Result<(), AckLogError> {
        let mut writer = self.writer.lock().await;
        let writer = writer.as_mut().ok_or(AckLogError)?;
        let last = writer.append(rows).await.map_err(unavailable)?;
        self.last.send_replace(last);
        Ok(())
    }

    /// Ends the connections. Later calls fail.
    pub async fn close(&self) {
        self.readers.close().await;
        let writer = self.writer.lock().await.take();
        if let Some(Writer { connection, .. }) = writer {
            let _ = connection.close().await;
        }
    }

    async fn after(&self, place: i64) -> Result<Vec<SqliteRow>, AckLogError> {
        let mut reader = self.readers.lend().await.ok_or(AckLogError)?;
        sqlx::query("SELECT place, key, value FROM acks WHERE place > ? ORDER BY place LIMIT ?")
            .bind(place)
            .bind(BATCH)
            .fetch_all(reader.connection())
            .await
            .map_err(unavailable)
    }
}

impl Writer {
    async fn append(&mut self, rows: Vec<(Vec<u8>, Vec<u8>)>) -> Result<i64, sqlx::Error> {
        let mut transaction = self.connection.begin_with("BEGIN IMMEDIATE").await?;
        let connection = transaction.acquire().await?;
        let mut last = self.last;
        for (key, value) in rows {
            last += 1;
            sqlx::query(
                "INSERT INTO acks VALUES (?, ?, ?) \
                 ON CONFLICT (key) DO UPDATE SET place = excluded.place, value = excluded.value",
            )
            .bind(last)
            .bind(key)
            .bind(value)
            .execute(&mut *connection)
            .await?;
        }
        // Even if the commit fails: no place is given twice.
        self.last = last;
        transaction.commit().await?;
        Ok(last)
    }
}

#[async_trait]
impl AckLog for SqliteAcks {
    fn log(&self) -> &LogName {
        &self.log
    }

    async fn append(&self, acks: Vec<KeyedAck>) -> Result<(), AckLogError> {
        let stored = acks.iter().map(|(key, ack)| (ack_key(key), ack_value(ack)));
        self.append_stored(stored.collect()).await
    }
}

#[async_trait]
impl AckReader for SqliteAckReader {
    async fn next(&mut self) -> Result<AckBatch, AckLogError> {
        loop {
            let given = self.given;
            self.last.wait_for(|last| *last > given).await.map_err(|_| AckLogError)?;
            let rows = self.acks.after(given).await?;
            let Some(row) = rows.last() else {
                // What was there has moved on; its new place is told soon.
                tokio::task::yield_now().await;
                continue;
            };
            let place = row.try_get(0).map_err(unavailable)?;
            let mut batch = AckBatch::default();
            for row in rows {
                let (key, value): (Vec<u8>, Vec<u8>) =
                    (row.try_get(1).map_err(unavailable)?, row.try_get(2).map_err(unavailable)?);
                match read_ack(&self.acks.log, &key, &value) {
                    Ok(ack) => batch.acks.push(ack),
                    Err(error) => {
                        tracing::warn!(%error, place, "an acknowledged position can't be read");
                        batch.unreadable += 1;
                    }
                }
            }
            self.given = place;
            return Ok(batch);
        }
    }

    async fn commit(&mut self) -> Result<(), AckLogError> {
        Ok(())
    }

    fn lag(&self) -> u64 {
        self.last.borrow().saturating_sub(self.given).unsigned_abs()
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` hands over")]
fn unavailable(error: sqlx::Error) -> AckLogError {
    tracing::error!(%error, "the acknowledged positions' file can't be used");
    AckLogError
}

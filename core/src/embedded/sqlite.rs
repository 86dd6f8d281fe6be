//! How a SQLite file is opened: settings, migrations, one writing connection and a few reading
//! ones. Knows no table.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Connection as _, SqlSafeStr};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::OpenError;

/// A step of a schema: number, name, SQL.
pub(super) type Step = (i64, &'static str, &'static str);

/// A close waits so long for reads that are under way.
const LAST_READS: Duration = Duration::from_secs(5);
/// Rows that a connection's thread may be ahead of its reader.
const ROW_BUFFER: usize = 16;

/// What a writing connection takes of memory and lets the write-ahead log grow to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Writing {
    /// Pages in memory, in KiB.
    pub(super) cache_kib: u32,
    /// Pages in the write-ahead log before they are moved into the file. More: a page that changes
    /// often is moved less often.
    pub(super) checkpoint_pages: u32,
}

/// Connections that only read, handed out to one reader at a time.
pub(super) struct Readers {
    idle: Mutex<Vec<SqliteConnection>>,
    /// As many as there are connections.
    permits: Semaphore,
    count: u32,
}

/// A lent connection; goes back when dropped.
pub(super) struct Reader<'a> {
    readers: &'a Readers,
    connection: Option<SqliteConnection>,
    _permit: SemaphorePermit<'a>,
}

impl Readers {
    /// Opens `count` connections.
    pub(super) async fn open(file: &Path, count: usize) -> Result<Self, OpenError> {
        let mut idle = Vec::with_capacity(count);
        for _ in 0..count.max(1) {
            let options = options(file).create_if_missing(false).pragma("query_only", "1");
            idle.push(options.connect().await?);
        }
        let permits = Semaphore::new(idle.len());
        let count = u32::try_from(idle.len()).unwrap_or(u32::MAX);
        Ok(Self { idle: Mutex::new(idle), permits, count })
    }

    /// Waits for a free connection. `None`: closed.
    pub(super) async fn lend(&self) -> Option<Reader<'_>> {
        let permit = self.permits.acquire().await.ok()?;
        let connection = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Some(Reader { readers: self, connection, _permit: permit })
    }

    /// Lends no more, waits for reads that are under way, and ends all connections: a dropped one ends
    /// in its own thread, at some later time.
    pub(super) async fn close(&self) {
        let all = self.permits.acquire_many(self.count);
        let all = timeout(LAST_READS, all).await;
        self.permits.close();
        drop(all);
        let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for connection in idle {
            if let Err(error) = connection.close().await {
                tracing::debug!(%error, "a reading connection ended badly");
            }
        }
    }
}

impl Reader<'_> {
    /// The connection.
    pub(super) fn connection(&mut self) -> &mut SqliteConnection {
        self.connection.as_mut().expect("invariant: there are as many permits as connections")
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        // A dropped read leaves nothing behind on its connection: every read is a single statement.
        if let Some(connection) = self.connection.take()
            && !self.readers.permits.is_closed()
        {
            self.readers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }
}

/// Opens the writing connection and brings the schema up to date.
pub(super) async fn writer(
    file: &Path,
    steps: &'static [Step],
    writing: Writing,
) -> Result<SqliteConnection, OpenError> {
    let options = options(file)
        .create_if_missing(true)
        .pragma("cache_size", format!("-{}", writing.cache_kib))
        .pragma("wal_autocheckpoint", writing.checkpoint_pages.to_string());
    let mut connection = options.connect().await?;
    let migrations = steps
        .iter()
        .map(|(version, name, sql)| {
            let kind = MigrationType::Simple;
            Migration::new(*version, (*name).into(), kind, sql.into_sql_str(), false)
        })
        .collect();
    // `run` asks for `Acquire`, whose lifetimes keep the future from being `Send`.
    Migrator::with_migrations(migrations).run_direct(None, &mut connection, false).await?;
    Ok(connection)
}

/// `head row,row,… tail` with `rows` rows.
pub(super) fn values(head: &str, row: &str, rows: usize, tail: &str) -> String {
    let mut sql = String::with_capacity(head.len() + rows * (row.len() + 1) + tail.len());
    sql.push_str(head);
    for index in 0..rows {
        if index > 0 {
            sql.push(',');
        }
        sql.push_str(row);
    }
    sql.push_str(tail);
    sql
}

fn options(file: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(file)
        .journal_mode(SqliteJournalMode::Wal)
        // An acknowledged commit must survive the loss of power, not only of the process.
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(10))
        .statement_cache_capacity(256)
        .row_buffer_size(ROW_BUFFER)
        .pragma("cache_size", "-8192")
        .disable_statement_logging()
}

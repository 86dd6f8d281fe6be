//! The log's tables. Every function is one step of a transaction or one query; none decides when.

use bytes::Bytes;
use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row};

use super::LogOptions;
use super::batch::Batch;
use crate::embedded::OpenError;
use crate::embedded::sqlite::{Step, values};
use crate::seams::Incarnation;
use crate::vocabulary::{Epoch, LogName};

pub(super) const STEPS: &[Step] =
    &[(1, "log", include_str!("../../../../migrations/sqlite/log/0001_log.sql"))];

/// Offsets of one partition in `place`.
const PLACES: u64 = 1 << 53;
/// Keeps `place` within SQLite's integers.
pub(super) const MAX_PARTITIONS: u32 = 1 << 10;
/// Rows in one INSERT.
const INSERT_ROWS: usize = 16;

/// A partition's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) begin: u64,
    pub(super) next: u64,
    pub(super) time_ms: u64,
}

fn place(partition: u32, offset: u64) -> i64 {
    (u64::from(partition) * PLACES + offset) as i64
}

/// The log's incarnation; made at the first open.
pub(super) async fn incarnation(
    connection: &mut SqliteConnection,
    options: &LogOptions,
) -> Result<Incarnation, OpenError> {
    if options.partitions == 0 || options.partitions > MAX_PARTITIONS {
        return Err(OpenError::Partitions { most: MAX_PARTITIONS });
    }
    sqlx::query(
        "INSERT OR IGNORE INTO incarnation VALUES (1, ?, 1, lower(hex(randomblob(16))), ?, ?, ?)",
    )
    .bind(options.log.as_str())
    .bind(options.partitions)
    .bind(options.window_records)
    .bind(options.window_ms as i64)
    .execute(&mut *connection)
    .await?;
    let row = sqlx::query("SELECT * FROM incarnation").fetch_one(&mut *connection).await?;
    let stored = Incarnation {
        log: LogName::parse(row.try_get("log")?).map_err(|_| OpenError::Damaged)?,
        epoch: Epoch(row.try_get("epoch")?),
        identity: row.try_get("identity")?,
        partitions: row.try_get("partitions")?,
        window_records: row.try_get("window_records")?,
        window_ms: row.try_get::<i64, _>("window_ms")? as u64,
    };
    options.check(&stored)?;
    Ok(stored)
}

/// Every partition's row; made where it is missing.
pub(super) async fn bounds(
    connection: &mut SqliteConnection,
    partitions: u32,
) -> Result<Vec<Bounds>, sqlx::Error> {
    let mut all = Vec::with_capacity(partitions as usize);
    for partition in 0..partitions {
        sqlx::query("INSERT OR IGNORE INTO partitions VALUES (?, 0, 0, 0)")
            .bind(partition)
            .execute(&mut *connection)
            .await?;
        let row = sqlx::query(
            "SELECT begin_offset, next_offset, time_ms FROM partitions WHERE partition = ?",
        )
        .bind(partition)
        .fetch_one(&mut *connection)
        .await?;
        all.push(Bounds {
            begin: number(&row, 0)?,
            next: number(&row, 1)?,
            time_ms: number(&row, 2)?,
        });
    }
    Ok(all)
}

/// Stores batches with the bounds that they lead to.
pub(super) async fn insert(
    connection: &mut SqliteConnection,
    batches: &[(u32, Batch)],
    bounds: &[(u32, Bounds)],
) -> Result<(), sqlx::Error> {
    for rows in batches.chunks(INSERT_ROWS) {
        let sql = values("INSERT INTO batches VALUES ", "(?,?,?,?)", rows.len(), "");
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for (partition, batch) in rows {
            query = query
                .bind(place(*partition, batch.first))
                .bind(batch.last as i64)
                .bind(batch.time_ms as i64)
                .bind(&batch.records[..]);
        }
        query.execute(&mut *connection).await?;
    }
    for rows in bounds.chunks(INSERT_ROWS) {
        let sql = values("INSERT OR REPLACE INTO partitions VALUES ", "(?,?,?,?)", rows.len(), "");
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for (partition, bounds) in rows {
            query = query
                .bind(*partition)
                .bind(bounds.begin as i64)
                .bind(bounds.next as i64)
                .bind(bounds.time_ms as i64);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// The batches from the one that holds `from` on, at most `max`.
pub(super) async fn read(
    connection: &mut SqliteConnection,
    partition: u32,
    from: u64,
    max: usize,
) -> Result<Vec<Batch>, sqlx::Error> {
    let base = u64::from(partition) * PLACES;
    let rows = sqlx::query(
        "SELECT place, last_offset, time_ms, records FROM batches WHERE place < ?2 AND place >= \
         coalesce((SELECT max(place) FROM batches WHERE place >= ?1 AND place <= ?3), ?1) \
         ORDER BY place LIMIT ?4",
    )
    .bind(place(partition, 0))
    .bind(place(partition, 0).saturating_add_unsigned(PLACES - 1))
    .bind(place(partition, from))
    .bind(max as i64)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Batch {
                first: number(row, 0)? - base,
                last: number(row, 1)?,
                time_ms: number(row, 2)?,
                records: Bytes::from(row.try_get::<Vec<u8>, _>(3)?),
            })
        })
        .collect()
}

/// The oldest batches' last offset and time, oldest first.
pub(super) async fn oldest(
    connection: &mut SqliteConnection,
    partition: u32,
    max: usize,
) -> Result<Vec<(u64, u64)>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT last_offset, time_ms FROM batches WHERE place >= ?1 AND place < ?2 \
         ORDER BY place LIMIT ?3",
    )
    .bind(place(partition, 0))
    .bind(place(partition, 0).saturating_add_unsigned(PLACES - 1))
    .bind(max as i64)
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| Ok((number(row, 0)?, number(row, 1)?))).collect()
}

/// Removes every batch that ends below `begin`, and notes it.
pub(super) async fn truncate(
    connection: &mut SqliteConnection,
    partition: u32,
    begin: u64,
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM batches WHERE place >= ?1 AND place < ?2")
        .bind(place(partition, 0))
        .bind(place(partition, begin))
        .execute(&mut *connection)
        .await?;
    sqlx::query("UPDATE partitions SET begin_offset = ?2 WHERE partition = ?1")
        .bind(partition)
        .bind(begin as i64)
        .execute(connection)
        .await?;
    Ok(())
}

fn number(row: &SqliteRow, column: usize) -> Result<u64, sqlx::Error> {
    Ok(row.try_get::<i64, _>(column)? as u64)
}

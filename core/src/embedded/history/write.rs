//! The history's writing statements: steps of a transaction that the writer holds.

use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, Row};

use super::feeds;
use super::store::{self, channel_key};
use crate::embedded::sqlite::values;
use crate::seams::{
    Checkpoint, Incarnation, KeyedAck, Marks, WindowRow, highest_acks, pack_window,
};
use crate::vocabulary::{ChannelKey, Epoch, Position, Stream};

/// Rows of one statement.
pub(super) const ROWS: usize = 64;

/// A channel as the writer knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) id: i64,
    pub(super) head: Option<Position>,
}

/// What a batch adds to a channel.
#[derive(Debug, Clone, Copy)]
pub(super) struct Growth {
    pub(super) id: i64,
    pub(super) head: Position,
    pub(super) events: u64,
    pub(super) bytes: u64,
}

/// An event to store.
pub(super) struct EventRow {
    pub(super) channel_id: i64,
    pub(super) epoch: Epoch,
    pub(super) offset: u64,
    pub(super) time_ms: u64,
    pub(super) stored: Vec<u8>,
}

/// A channel's oldest events, to be removed through a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) channel_id: i64,
    pub(super) through: Position,
}

/// A window's oldest batches, to be removed through an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pruned {
    pub(super) stream_id: i64,
    pub(super) last_offset: i64,
}

/// Raises a stream's fence; makes its row.
pub(super) async fn raise_fence(
    connection: &mut SqliteConnection,
    stream: &Stream,
) -> Result<(), sqlx::Error> {
    sqlx::query(
        "INSERT INTO streams (log, epoch, partition, fence) VALUES (?, ?, ?, 1) \
         ON CONFLICT (log, epoch, partition) DO UPDATE SET fence = fence + 1",
    )
    .bind(stream.log.as_str())
    .bind(stream.epoch.0)
    .bind(stream.partition.0)
    .execute(connection)
    .await?;
    Ok(())
}

/// Moves a checkpoint, if the fence is still this one. `false`: it is not.
pub(super) async fn checkpoint(
    connection: &mut SqliteConnection,
    (stream_id, fence): (i64, u64),
    checkpoint: &Checkpoint,
) -> Result<bool, sqlx::Error> {
    let done = sqlx::query(
        "UPDATE streams SET passed = ?3, kept_epoch = ?4, kept_passed = ?5, fingerprint = ?6, \
         begins = ?7 \
         WHERE id = ?1 AND fence = ?2",
    )
    .bind(stream_id)
    .bind(fence as i64)
    .bind(checkpoint.position.passed)
    .bind(checkpoint.last_kept.epoch.0)
    .bind(checkpoint.last_kept.passed)
    .bind(&checkpoint.fingerprint[..])
    .bind(checkpoint.begins.0 as i64)
    .execute(connection)
    .await?;
    Ok(done.rows_affected() == 1)
}

/// Stores a batch's window rows, if there are any; `total` counts them in.
pub(super) async fn window(
    connection: &mut SqliteConnection,
    stream_id: i64,
    rows: &[WindowRow],
    total: u64,
) -> Result<(), sqlx::Error> {
    let Some(last) = rows.last() else { return Ok(()) };
    sqlx::query("INSERT INTO windows VALUES (?, ?, ?, ?, ?)")
        .bind(stream_id)
        .bind(last.offset.0 as i64)
        .bind(total as i64)
        .bind(last.time_ms as i64)
        .bind(pack_window(rows))
        .execute(connection)
        .await?;
    Ok(())
}

/// Raises marks; lower ones change nothing.
pub(super) async fn marks(
    connection: &mut SqliteConnection,
    stream_id: i64,
    marks: &Marks,
) -> Result<(), sqlx::Error> {
    for (of, at) in marks {
        sqlx::query(
            "INSERT INTO marks VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET \
             generation = excluded.generation, source_offset = excluded.source_offset, \
             event_index = excluded.event_index \
             WHERE (excluded.generation, excluded.source_offset, excluded.event_index) > \
             (generation, source_offset, event_index)",
        )
        .bind(stream_id)
        .bind(of.source.as_str())
        .bind(of.partition)
        .bind(at.generation)
        .bind(i64::try_from(at.offset).unwrap_or(i64::MAX))
        .bind(at.index)
        .execute(&mut *connection)
        .await?;
    }
    Ok(())
}

/// The rows of channels, made where they are missing. A new one is to be given its head in the same
/// transaction.
pub(super) async fn channels(
    connection: &mut SqliteConnection,
    stream: &Stream,
    keys: &[&ChannelKey],
) -> Result<Vec<(ChannelKey, Known)>, sqlx::Error> {
    let mut all = Vec::with_capacity(keys.len());
    for keys in keys.chunks(ROWS) {
        let sql = values(
            "INSERT INTO channels (tenant, channel, log, partition, head_epoch, head_offset, \
             events, bytes) VALUES ",
            "(?,?,?,?,0,-1,0,0)",
            keys.len(),
            " ON CONFLICT (tenant, channel) DO UPDATE SET log = excluded.log, \
             partition = excluded.partition RETURNING tenant, channel, id, head_epoch, head_offset",
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for key in keys {
            query = query
                .bind(key.tenant.as_str())
                .bind(key.channel.as_str())
                .bind(stream.log.as_str())
                .bind(stream.partition.0);
        }
        for row in query.fetch_all(&mut *connection).await? {
            let head = Position { epoch: Epoch(row.try_get(3)?), passed: row.try_get(4)? };
            let head = (head.epoch.0 > 0).then_some(head);
            all.push((channel_key(&row)?, Known { id: row.try_get(2)?, head }));
        }
    }
    Ok(all)
}

/// Moves heads and counts.
pub(super) async fn grow(
    connection: &mut SqliteConnection,
    growths: &[Growth],
) -> Result<(), sqlx::Error> {
    for growths in growths.chunks(ROWS) {
        let sql = values(
            "UPDATE channels SET head_epoch = v.column2, head_offset = v.column3, \
             events = events + v.column4, bytes = bytes + v.column5 FROM (VALUES ",
            "(?,?,?,?,?)",
            growths.len(),
            ") v WHERE channels.id = v.column1",
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for growth in growths {
            query = query
                .bind(growth.id)
                .bind(growth.head.epoch.0)
                .bind(growth.head.passed)
                .bind(growth.events as i64)
                .bind(growth.bytes as i64);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Stores events.
pub(super) async fn events(
    connection: &mut SqliteConnection,
    rows: Vec<EventRow>,
) -> Result<(), sqlx::Error> {
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let chunk: Vec<EventRow> = rows.by_ref().take(ROWS).collect();
        let sql = values("INSERT INTO events VALUES ", "(?,?,?,?,?)", chunk.len(), "");
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for row in chunk {
            query = query
                .bind(row.channel_id)
                .bind(row.epoch.0)
                .bind(row.offset as i64)
                .bind(row.time_ms as i64)
                .bind(row.stored);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// Merges acknowledged positions; answers the higher ones that were held.
pub(super) async fn acknowledge(
    connection: &mut SqliteConnection,
    acks: Vec<KeyedAck>,
) -> Result<Vec<KeyedAck>, sqlx::Error> {
    let acks = highest_acks(acks);
    let mut held = Vec::new();
    for (key, acknowledged) in &acks {
        let known = store::acknowledged(connection, key).await?;
        if let Some(known) = known.filter(|known| known.rank() > acknowledged.rank()) {
            held.push((key.clone(), known));
        }
    }
    for acks in acks.chunks(ROWS) {
        let sql = values(
            "INSERT INTO acknowledged VALUES ",
            "(?,?,?,?,?,?,?,?,?)",
            acks.len(),
            " ON CONFLICT DO UPDATE SET generation = excluded.generation, log = excluded.log, \
             partition = excluded.partition, epoch = excluded.epoch, passed = excluded.passed \
             WHERE (excluded.generation, excluded.epoch, excluded.passed) > \
             (generation, epoch, passed)",
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for (key, acknowledged) in acks {
            let cursor = &acknowledged.cursor;
            query = query
                .bind(key.tenant.as_str())
                .bind(key.user.as_str())
                .bind(key.subscriber.as_str())
                .bind(key.channel.as_str())
                .bind(i64::try_from(acknowledged.generation).unwrap_or(i64::MAX))
                .bind(cursor.log.as_str())
                .bind(cursor.partition.0)
                .bind(cursor.position.epoch.0)
                .bind(cursor.position.passed);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(held)
}

/// Removes a channel's events through a position; answers how many.
pub(super) async fn remove(
    connection: &mut SqliteConnection,
    cut: Cut,
) -> Result<u64, sqlx::Error> {
    let sql = "SELECT count(*), coalesce(sum(length(stored)), 0) FROM events \
               WHERE channel_id = ?1 AND (epoch, offset) <= (?2, ?3)";
    let (epoch, passed) = (cut.through.epoch.0, cut.through.passed);
    let query = sqlx::query(sql).bind(cut.channel_id).bind(epoch).bind(passed);
    let row = query.fetch_one(&mut *connection).await?;
    let (events, bytes): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let sql = "DELETE FROM events WHERE channel_id = ?1 AND (epoch, offset) <= (?2, ?3)";
    let query = sqlx::query(sql).bind(cut.channel_id).bind(epoch).bind(passed);
    query.execute(&mut *connection).await?;
    sqlx::query("UPDATE channels SET events = events - ?2, bytes = bytes - ?3 WHERE id = ?1")
        .bind(cut.channel_id)
        .bind(events)
        .bind(bytes)
        .execute(&mut *connection)
        .await?;
    feeds::forget_removals(connection, cut).await?;
    Ok(events as u64)
}

/// Removes a window's oldest batches.
pub(super) async fn prune_window(
    connection: &mut SqliteConnection,
    pruned: Pruned,
) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM windows WHERE stream_id = ? AND last_offset <= ?")
        .bind(pruned.stream_id)
        .bind(pruned.last_offset)
        .execute(connection)
        .await?;
    Ok(())
}

/// Notes whose view this history is. `false`: it is another log's, or a later epoch's.
pub(super) async fn adopt(
    connection: &mut SqliteConnection,
    log: &Incarnation,
) -> Result<bool, sqlx::Error> {
    let others: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM incarnations \
         WHERE log <> ?1 OR epoch > ?2 OR (epoch = ?2 AND identity <> ?3)",
    )
    .bind(log.log.as_str())
    .bind(log.epoch.0)
    .bind(log.identity.as_str())
    .fetch_one(&mut *connection)
    .await?;
    if others == 0 {
        sqlx::query("INSERT OR IGNORE INTO incarnations VALUES (?, ?, ?)")
            .bind(log.log.as_str())
            .bind(log.epoch.0)
            .bind(log.identity.as_str())
            .execute(connection)
            .await?;
    }
    Ok(others == 0)
}

//! The rows of feeds: each key's newest event or its removal. Writes what a batch changed, reads it by
//! position; it never decides what is evicted.

use std::sync::Arc;

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row};

use super::row;
use super::store::{channel_key, damaged};
use super::write::{Cut, ROWS};
use crate::embedded::sqlite::values;
use crate::feed::{Change, CurrentKey, change};
use crate::seams::{ChangesFrom, FeedState};
use crate::vocabulary::{ChannelKey, Epoch, Event, Offset, Position, Stream};

/// Rows up to that of the `?8`th offset; without removals at or below (?6, ?7), or the checkpoint.
const CHANGES: &str = "WITH c AS (SELECT id, floor_epoch, floor_offset FROM channels \
     WHERE tenant = ?1 AND channel = ?2), \
     s AS (SELECT epoch, passed, begins FROM streams WHERE log = ?3 AND epoch = ?4 AND partition = ?5), \
     v AS (SELECT epoch, offset, stored FROM feed_values WHERE channel_id = (SELECT id FROM c) \
     AND (epoch, offset) > (?6, ?7) AND (weight IS NOT NULL OR (epoch, offset) > \
     (coalesce(?8, ?4), coalesce(?9, (SELECT passed FROM s), -1)))) \
     SELECT (SELECT passed FROM s), (SELECT begins FROM s), (SELECT floor_epoch FROM c), \
     (SELECT floor_offset FROM c), v.stored, v.epoch, v.offset FROM (SELECT 1) LEFT JOIN \
     (SELECT * FROM v WHERE (epoch, offset) <= (\
     coalesce((SELECT epoch FROM v ORDER BY epoch, offset LIMIT 1 OFFSET ?10), 4294967296), \
     coalesce((SELECT offset FROM v ORDER BY epoch, offset LIMIT 1 OFFSET ?10), 0)) \
     ORDER BY epoch, offset) v";

/// Stores rows, of one channel in the order of their events.
pub(super) async fn store(
    connection: &mut SqliteConnection,
    rows: &[(i64, Arc<Event>)],
) -> Result<(), sqlx::Error> {
    for rows in rows.chunks(ROWS) {
        let sql = values(
            "INSERT INTO feed_values VALUES ",
            "(?,?,?,?,?,?)",
            rows.len(),
            " ON CONFLICT DO UPDATE SET epoch = excluded.epoch, offset = excluded.offset, \
             weight = excluded.weight, stored = excluded.stored \
             WHERE (excluded.epoch, excluded.offset) > (epoch, offset)",
        );
        let mut query = sqlx::query(AssertSqlSafe(sql));
        for (channel_id, row) in rows {
            let weight = match change(&row.body) {
                Some(Change::Set { weight, .. }) => Some(weight as i64),
                _ => None,
            };
            query = query
                .bind(channel_id)
                .bind(row.body.key.as_deref().unwrap_or_default().as_bytes())
                .bind(row.stream.epoch.0)
                .bind(row.offset.0 as i64)
                .bind(weight)
                .bind(row::encode(row, row.prev));
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

/// A feed's rows from a place on: those of at least `max_rows` and one more, if there are so many.
pub(super) async fn read(
    connection: &mut SqliteConnection,
    key: &ChannelKey,
    stream: &Stream,
    from: ChangesFrom,
    max_rows: usize,
) -> Result<FeedState, sqlx::Error> {
    let (after, since) = match from {
        ChangesFrom::Start => (Position { epoch: Epoch(0), passed: -1 }, None),
        ChangesFrom::After { after, since } => (after, Some(since.max(after))),
    };
    let found = sqlx::query(CHANGES)
        .bind(key.tenant.as_str())
        .bind(key.channel.as_str())
        .bind(stream.log.as_str())
        .bind(stream.epoch.0)
        .bind(stream.partition.0)
        .bind(after.epoch.0)
        .bind(after.passed)
        .bind(since.map(|since| since.epoch.0))
        .bind(since.map(|since| since.passed))
        .bind(i64::try_from(max_rows).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await?;
    let first = found.first().ok_or(sqlx::Error::RowNotFound)?;
    let applied =
        Position { epoch: stream.epoch, passed: first.try_get::<Option<i64>, _>(0)?.unwrap_or(-1) };
    let begins = first.try_get::<Option<i64>, _>(1)?.filter(|begins| *begins > 0);
    let uncovered = begins.map(|begins| Position::before(stream.epoch, Offset(begins as u64)));
    let floor = match first.try_get::<Option<u32>, _>(2)? {
        Some(epoch) => Some(Position { epoch: Epoch(epoch), passed: first.try_get(3)? }),
        None => None,
    };
    let mut rows = Vec::with_capacity(found.len());
    for row in &found {
        if let Some(stored) = row.try_get::<Option<&[u8]>, _>(4)? {
            rows.push(row::decode_one(stored, key, stream).map_err(|_| damaged())?);
        }
    }
    // Whether there are more than these is found out by the next read.
    let more = rows.len() > max_rows;
    Ok(FeedState { epoch: stream.epoch, applied, uncovered, floor, rows, more })
}

/// The current keys of a partition's feeds.
pub(super) async fn current(
    connection: &mut SqliteConnection,
    stream: &Stream,
) -> Result<Vec<(ChannelKey, CurrentKey)>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT tenant, channel, v.key, v.epoch, v.offset, v.weight FROM channels c \
         JOIN feed_values v ON v.channel_id = c.id AND v.weight IS NOT NULL \
         WHERE c.log = ? AND c.partition = ?",
    )
    .bind(stream.log.as_str())
    .bind(stream.partition.0)
    .fetch_all(connection)
    .await?;
    rows.iter().map(current_key).collect()
}

fn current_key(row: &SqliteRow) -> Result<(ChannelKey, CurrentKey), sqlx::Error> {
    let key = std::str::from_utf8(row.try_get(2)?).map_err(|_| damaged())?;
    let at = Position { epoch: Epoch(row.try_get(3)?), passed: row.try_get(4)? };
    let weight = row.try_get::<i64, _>(5)? as u64;
    Ok((channel_key(row)?, CurrentKey { key: key.into(), at, weight }))
}

/// Removals go with the events of their age.
pub(super) async fn forget_removals(
    connection: &mut SqliteConnection,
    cut: Cut,
) -> Result<(), sqlx::Error> {
    let (epoch, passed) = (cut.through.epoch.0, cut.through.passed);
    let sql = "DELETE FROM feed_values WHERE channel_id = ?1 AND weight IS NULL \
               AND (epoch, offset) <= (?2, ?3)";
    let query = sqlx::query(sql).bind(cut.channel_id).bind(epoch).bind(passed);
    if query.execute(&mut *connection).await?.rows_affected() > 0 {
        let sql = "UPDATE channels SET floor_epoch = ?2, floor_offset = ?3 WHERE id = ?1";
        let query = sqlx::query(sql).bind(cut.channel_id).bind(epoch).bind(passed);
        query.execute(connection).await?;
    }
    Ok(())
}

//! The queries of a retention sweep: which channels have something to remove, and their oldest
//! events. They read; the writer removes.

use sqlx::Row;
use sqlx::sqlite::SqliteConnection;

use super::retention::{Candidate, Oldest};
use super::store::channel_key;
use crate::vocabulary::{ChannelKey, Epoch, Position};

/// Up to `max` channels with stored events, by id from behind `after_id` on.
pub(super) async fn candidates(
    connection: &mut SqliteConnection,
    after_id: i64,
    max: usize,
) -> Result<Vec<(ChannelKey, Candidate)>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT tenant, channel, id, events, bytes, coalesce((SELECT time_ms FROM events \
         WHERE channel_id = id ORDER BY epoch, offset LIMIT 1), 0) \
         FROM channels WHERE id > ? AND events > 0 ORDER BY id LIMIT ?",
    )
    .bind(after_id)
    .bind(max as i64)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            let candidate = Candidate {
                channel_id: row.try_get(2)?,
                events: row.try_get::<i64, _>(3)? as u64,
                bytes: row.try_get::<i64, _>(4)? as u64,
                oldest_ms: row.try_get::<i64, _>(5)? as u64,
            };
            Ok((channel_key(row)?, candidate))
        })
        .collect()
}

/// A channel's oldest events.
pub(super) async fn oldest(
    connection: &mut SqliteConnection,
    channel_id: i64,
    max: usize,
) -> Result<Vec<Oldest>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT epoch, offset, time_ms, length(stored) FROM events WHERE channel_id = ? \
         ORDER BY epoch, offset LIMIT ?",
    )
    .bind(channel_id)
    .bind(max as i64)
    .fetch_all(connection)
    .await?;
    rows.iter()
        .map(|row| {
            Ok(Oldest {
                position: Position { epoch: Epoch(row.try_get(0)?), passed: row.try_get(1)? },
                time_ms: row.try_get::<i64, _>(2)? as u64,
                bytes: row.try_get::<i64, _>(3)? as u64,
            })
        })
        .collect()
}

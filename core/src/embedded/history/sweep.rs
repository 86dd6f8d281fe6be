//! The retention sweep: reads which channels have something to remove, and has the writer remove it
//! in small steps, so that no commit waits for long and no reader at all.

use std::sync::atomic::Ordering;

use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::retention::{self, Candidate, Oldest, Swept, WindowBatch};
use super::store::channel_key;
use super::write::Pruned;
use super::writer::{Outcome, Task};
use super::{SqliteHistory, unavailable};
use crate::policy::{Policies, Retention};
use crate::seams::HistoryError;
use crate::vocabulary::{ChannelKey, Epoch, Position};

/// Channels that one step looks at.
const CHANNELS: usize = 256;
/// A channel's events that one transaction removes.
const EVENTS: usize = 512;
/// A window's batches that one sweep removes.
const BATCHES: usize = 4_096;

impl SqliteHistory {
    /// One step of a sweep over the channels: removes the oldest events beyond the policies' bounds.
    /// Events of namespaces without a policy stay. Call it from one place, until it is complete.
    pub async fn retain(&self, policies: &Policies, now_ms: u64) -> Result<Swept, HistoryError> {
        let after = self.swept.load(Ordering::Relaxed);
        let mut reader = self.reader().await?;
        let found = candidates(reader.connection(), after, CHANNELS).await.map_err(unavailable)?;
        drop(reader);
        let complete = found.len() < CHANNELS;
        let last = found.last().map_or(0, |(_, candidate)| candidate.channel_id);
        let mut swept = Swept { channels: found.len(), events: 0, complete };
        for (key, candidate) in found {
            if let Some(policy) = policies.of(&key.channel) {
                swept.events += self.trim(candidate, policy.retention, now_ms).await?;
            }
        }
        if complete {
            self.prune_windows().await?;
        }
        self.swept.store(if complete { 0 } else { last }, Ordering::Relaxed);
        Ok(swept)
    }

    /// Removes what a channel has beyond its bounds; answers how many events.
    async fn trim(
        &self,
        mut rest: Candidate,
        keep: Retention,
        now_ms: u64,
    ) -> Result<u64, HistoryError> {
        let mut removed = 0;
        while retention::exceeds(&rest, keep, now_ms) {
            let mut reader = self.reader().await?;
            let oldest = oldest(reader.connection(), rest.channel_id, EVENTS).await;
            drop(reader);
            let oldest = oldest.map_err(unavailable)?;
            let Some(cut) = retention::cut(&mut rest, &oldest, keep, now_ms) else { break };
            if let Outcome::Removed(events) = self.ask(Task::Remove(cut)).await? {
                removed += events;
            }
        }
        Ok(removed)
    }

    async fn prune_windows(&self) -> Result<(), HistoryError> {
        let mut reader = self.reader().await?;
        let mut all = Vec::new();
        for stream_id in streams(reader.connection()).await.map_err(unavailable)? {
            let oldest = batches(reader.connection(), OLDEST_BATCHES, stream_id, BATCHES).await;
            let newest = batches(reader.connection(), NEWEST_BATCHES, stream_id, 1).await;
            let (oldest, newest) = (oldest.map_err(unavailable)?, newest.map_err(unavailable)?);
            let Some(newest) = newest.first() else { continue };
            if let Some(last_offset) = retention::prunable(&oldest, *newest, self.window) {
                all.push(Pruned { stream_id, last_offset });
            }
        }
        drop(reader);
        for pruned in all {
            self.ask(Task::PruneWindow(pruned)).await?;
        }
        Ok(())
    }
}

/// Up to `max` channels with stored events, by id from behind `after_id` on.
async fn candidates(
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
async fn oldest(
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

const OLDEST_BATCHES: &str = "SELECT last_offset, total, time_ms FROM windows \
     WHERE stream_id = ? ORDER BY last_offset LIMIT ?";
const NEWEST_BATCHES: &str = "SELECT last_offset, total, time_ms FROM windows \
     WHERE stream_id = ? ORDER BY last_offset DESC LIMIT ?";

/// Batches of a stream's window.
async fn batches(
    connection: &mut SqliteConnection,
    sql: &'static str,
    stream_id: i64,
    max: usize,
) -> Result<Vec<WindowBatch>, sqlx::Error> {
    let rows = sqlx::query(sql).bind(stream_id).bind(max as i64).fetch_all(connection).await?;
    let read = |row: &SqliteRow| {
        Ok(WindowBatch {
            last_offset: row.try_get(0)?,
            total: row.try_get::<i64, _>(1)? as u64,
            time_ms: row.try_get::<i64, _>(2)? as u64,
        })
    };
    rows.iter().map(read).collect()
}

async fn streams(connection: &mut SqliteConnection) -> Result<Vec<i64>, sqlx::Error> {
    sqlx::query_scalar("SELECT id FROM streams").fetch_all(connection).await
}

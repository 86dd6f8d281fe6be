//! The writing statements: claims, batches, acknowledged positions. Each is one transaction.

use meridian_core::seams::{Acknowledged, Batch, Checkpoint, KeyedAck};
use meridian_core::vocabulary::Stream;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use crate::batch::{Columns, MarkColumns, narrow, signed};
use crate::feeds::{self, FeedColumns};
use crate::read::{acknowledged_row as acknowledged, checkpoint, damaged};

/// A stream's row as a claim finds it.
pub(crate) struct Claimed {
    pub(crate) stream_id: i32,
    pub(crate) fence: u64,
    pub(crate) checkpoint: Option<Checkpoint>,
    /// Records that the window was ever given.
    pub(crate) recorded: i64,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    Whole,
    Fenced,
    /// Nothing: a part of it is stored already, through this offset.
    Overlaps {
        through: i64,
    },
}

/// Raises the fence and reads the row; a commit that is under way ends first.
pub(crate) async fn claim(
    connection: &mut PgConnection,
    log_id: i16,
    stream: &Stream,
) -> Result<Claimed, sqlx::Error> {
    let row = sqlx::query(
        "INSERT INTO streams AS s (log_id, epoch, partition, fence) VALUES ($1, $2, $3, 1) \
         ON CONFLICT (log_id, epoch, partition) DO UPDATE SET fence = s.fence + 1 \
         RETURNING passed, kept_epoch, kept_passed, fingerprint, begins, id, fence, recorded",
    )
    .bind(log_id)
    .bind(narrow(stream.epoch.0))
    .bind(narrow(stream.partition.0))
    .fetch_one(connection)
    .await?;
    Ok(Claimed {
        stream_id: row.try_get(5)?,
        fence: row.try_get::<i64, _>(6)? as u64,
        checkpoint: checkpoint(&row, stream.epoch)?,
        recorded: row.try_get(7)?,
    })
}

/// Stores a batch, if its fence is the current one.
pub(crate) async fn commit(
    connection: &mut PgConnection,
    log_id: i16,
    stream: &Stream,
    batch: &Batch,
) -> Result<Stored, sqlx::Error> {
    let (columns, marks) = (Columns::of(batch), MarkColumns::of(&batch.marks));
    let rows = feeds::rows(batch);
    let values = FeedColumns::of(&rows);
    let checkpoint = &batch.checkpoint;
    let row: PgRow = sqlx::query(
        "SELECT c.outcome, c.through, store_marks(c.outcome, $1, $2, $3, $25, $26, $27, $28, $29)::text, \
         store_feeds(c.outcome, $1, $2, $30, $31, $32, $33, $34, $35, $36, $37)::text \
         FROM commit_batch($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, \
         $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24) c",
    )
    .bind(log_id)
    .bind(narrow(stream.epoch.0))
    .bind(narrow(stream.partition.0))
    .bind(batch.fence as i64)
    .bind(columns.first)
    .bind(checkpoint.position.passed)
    .bind(narrow(checkpoint.last_kept.epoch.0))
    .bind(checkpoint.last_kept.passed)
    .bind(&checkpoint.fingerprint[..])
    .bind(signed(checkpoint.begins))
    .bind(batch.window.last().map(|row| signed(row.offset)))
    .bind(batch.window.len() as i64)
    .bind(batch.window.last().map(|row| i64::try_from(row.time_ms).unwrap_or(i64::MAX)))
    .bind(&columns.window)
    .bind(&columns.tenants)
    .bind(&columns.names)
    .bind(&columns.heads)
    .bind(&columns.channels)
    .bind(&columns.offsets)
    .bind(&columns.times)
    .bind(&columns.prev_epochs)
    .bind(&columns.prev_passed)
    .bind(&columns.ids)
    .bind(&columns.bodies)
    .bind(&marks.sources)
    .bind(&marks.partitions)
    .bind(&marks.generations)
    .bind(&marks.offsets)
    .bind(&marks.indexes)
    .bind(&values.tenants)
    .bind(&values.names)
    .bind(&values.keys)
    .bind(&values.offsets)
    .bind(&values.times)
    .bind(&values.weights)
    .bind(&values.ids)
    .bind(&values.bodies)
    .fetch_one(connection)
    .await?;
    match row.try_get(0)? {
        "stored" => Ok(Stored::Whole),
        "fenced" => Ok(Stored::Fenced),
        _ => Ok(Stored::Overlaps { through: row.try_get(1)? }),
    }
}

/// Merges acknowledged positions, each key given once; answers the higher ones that were held.
pub(crate) async fn acknowledge(
    connection: &mut PgConnection,
    acks: &[KeyedAck],
) -> Result<Vec<KeyedAck>, sqlx::Error> {
    let text = |of: fn(&KeyedAck) -> &str| -> Vec<&str> { acks.iter().map(of).collect() };
    let number = |of: fn(&Acknowledged) -> i64| -> Vec<i64> {
        acks.iter().map(|(_, acknowledged)| of(acknowledged)).collect()
    };
    // All of the statement sees what was held before it.
    let held = sqlx::query(
        "WITH given AS (SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], \
         $5::text[], $6::bigint[], $7::bigint[], $8::bigint[], $9::bigint[]) WITH ORDINALITY \
         AS g (tenant, user_id, subscriber, channel, log, generation, partition, epoch, passed, place)), \
         merged AS (INSERT INTO acknowledged AS a (tenant, user_id, subscriber, channel, log, \
         generation, partition, epoch, passed) \
         SELECT tenant, user_id, subscriber, channel, log, generation, partition, epoch, passed \
         FROM given ORDER BY place \
         ON CONFLICT (tenant, user_id, subscriber, channel) DO UPDATE \
         SET log = excluded.log, generation = excluded.generation, \
         partition = excluded.partition, epoch = excluded.epoch, passed = excluded.passed \
         WHERE (excluded.generation, excluded.epoch, excluded.passed) > \
         (a.generation, a.epoch, a.passed)) \
         SELECT h.generation, h.log, h.partition, h.epoch, h.passed, g.place \
         FROM given g JOIN acknowledged h USING (tenant, user_id, subscriber, channel) \
         WHERE (h.generation, h.epoch, h.passed) > (g.generation, g.epoch, g.passed)",
    )
    .bind(text(|(key, _)| key.tenant.as_str()))
    .bind(text(|(key, _)| key.user.as_str()))
    .bind(text(|(key, _)| key.subscriber.as_str()))
    .bind(text(|(key, _)| key.channel.as_str()))
    .bind(text(|(_, acknowledged)| acknowledged.cursor.log.as_str()))
    .bind(number(|acknowledged| i64::try_from(acknowledged.generation).unwrap_or(i64::MAX)))
    .bind(number(|acknowledged| i64::from(acknowledged.cursor.partition.0)))
    .bind(number(|acknowledged| i64::from(acknowledged.cursor.position.epoch.0)))
    .bind(number(|acknowledged| acknowledged.cursor.position.passed))
    .fetch_all(connection)
    .await?;
    held.iter()
        .map(|row| {
            let place = row.try_get::<i64, _>(5)? as usize;
            let (key, _) = place.checked_sub(1).and_then(|at| acks.get(at)).ok_or_else(damaged)?;
            Ok((key.clone(), acknowledged(row)?))
        })
        .collect()
}

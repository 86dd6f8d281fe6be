//! The reading statements. Each is one statement, and thereby one snapshot.

use std::collections::HashMap;
use std::sync::Arc;

use meridian_core::seams::{
    Acknowledged, AcknowledgedKey, Checkpoint, Marks, ReadBounds, ReadFrom, Snapshot, WindowRow,
    unpack_window,
};
use meridian_core::vocabulary::{
    Body, Channel, ChannelKey, Cursor, Epoch, Event, EventId, LogName, Offset, Partition, Position,
    SourceName, SourcePartition, SourcePlace, Stream, Tenant,
};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use crate::batch::{narrow, prev};

/// A channel's place and its stream's checkpoint; beside them its events, if there are any.
const AFTER: &str = "SELECT s.passed, s.begins, c.head_epoch, c.head_passed, e.* FROM (SELECT 1) one \
     LEFT JOIN streams s ON s.log_id = $1 AND s.epoch = $2 AND s.partition = $3 \
     LEFT JOIN channels c ON c.log_id = $1 AND c.tenant = $4 AND c.name = $5 \
     LEFT JOIN LATERAL read_events($1, c.partition, c.id, c.head_epoch, c.head_passed, \
     $6, $7, $8, $9, $10) e ON true";

/// The same from the `$6`th newest event on.
const NEWEST: &str = "SELECT s.passed, s.begins, c.head_epoch, c.head_passed, e.* FROM (SELECT 1) one \
     LEFT JOIN streams s ON s.log_id = $1 AND s.epoch = $2 AND s.partition = $3 \
     LEFT JOIN channels c ON c.log_id = $1 AND c.tenant = $4 AND c.name = $5 \
     LEFT JOIN LATERAL before_newest($1, c.partition, c.id, c.head_epoch, c.head_passed, \
     $7, $6) n ON true \
     LEFT JOIN LATERAL read_events($1, c.partition, c.id, c.head_epoch, c.head_passed, \
     n.after_epoch, n.after_passed, $7, $8, $9) e ON true";

/// What is stored of a channel from here on.
pub(crate) async fn channel(
    connection: &mut PgConnection,
    log_id: i16,
    key: &ChannelKey,
    stream: &Stream,
    (from, bounds): (ReadFrom, ReadBounds),
) -> Result<Snapshot, sqlx::Error> {
    let query = match from {
        ReadFrom::After(_) => sqlx::query(AFTER),
        ReadFrom::Last(_) => sqlx::query(NEWEST),
    };
    let query = query
        .bind(log_id)
        .bind(narrow(stream.epoch.0))
        .bind(narrow(stream.partition.0))
        .bind(key.tenant.as_str())
        .bind(key.channel.as_str());
    let query = match from {
        ReadFrom::After(position) => query.bind(narrow(position.epoch.0)).bind(position.passed),
        ReadFrom::Last(count) => query.bind(bounded(count)),
    };
    let rows = query
        .bind(i64::try_from(bounds.oldest_time_ms).unwrap_or(i64::MAX))
        // Whether there is any event matters even to who wants none.
        .bind(bounded(bounds.max_events.max(1)))
        .bind(bounded(bounds.max_bytes))
        .fetch_all(connection)
        .await?;
    let first = rows.first().ok_or(sqlx::Error::RowNotFound)?;
    let passed: Option<i64> = first.try_get(0)?;
    let head_epoch: Option<i32> = first.try_get(2)?;
    let head = match head_epoch {
        None => None,
        Some(epoch) => Some(Position { epoch: Epoch(epoch as u32), passed: first.try_get(3)? }),
    };
    let begins = first.try_get::<Option<i64>, _>(1)?.filter(|begins| *begins > 0);
    let mut events = Vec::with_capacity(rows.len());
    for row in &rows {
        events.extend(event(row, key, stream)?);
    }
    Ok(Snapshot {
        epoch: stream.epoch,
        applied: Position { epoch: stream.epoch, passed: passed.unwrap_or(-1) },
        uncovered: begins.map(|begins| Position { epoch: stream.epoch, passed: begins - 1 }),
        head,
        events,
    })
}

/// The event in columns 4 to 10, if there is one.
fn event(row: &PgRow, key: &ChannelKey, of: &Stream) -> Result<Option<Arc<Event>>, sqlx::Error> {
    let Some(epoch) = row.try_get::<Option<i32>, _>(4)? else { return Ok(None) };
    let epoch = Epoch(epoch as u32);
    let event = Event {
        key: key.clone(),
        stream: Stream { log: of.log.clone(), epoch, partition: of.partition },
        offset: Offset(row.try_get::<i64, _>(5)? as u64),
        time_ms: row.try_get::<i64, _>(6)? as u64,
        prev: prev(row.try_get(7)?, row.try_get(8)?),
        id: EventId::parse(row.try_get(9)?).map_err(|_| damaged())?,
        // What could not be read when it was applied can't be read now.
        body: Body::decode(row.try_get(10)?).unwrap_or_else(|_| Body::unreadable()),
    };
    Ok(Some(Arc::new(event)))
}

/// A stream's source marks. Those of a successor, if there is one by now, do no harm: it has the fence.
pub(crate) async fn marks(
    connection: &mut PgConnection,
    stream_id: i32,
) -> Result<Marks, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT source, source_partition, generation, source_offset, event_index FROM marks \
         WHERE stream_id = $1",
    )
    .bind(stream_id)
    .fetch_all(connection)
    .await?;
    let mark = |row: &PgRow| {
        let source = SourceName::parse(row.try_get(0)?).map_err(|_| damaged())?;
        let of = SourcePartition { source, partition: row.try_get::<i64, _>(1)? as u32 };
        let at = SourcePlace {
            generation: row.try_get::<i64, _>(2)? as u32,
            offset: row.try_get::<i64, _>(3)? as u64,
            index: row.try_get::<i64, _>(4)? as u32,
        };
        Ok((of, at))
    };
    rows.iter().map(mark).collect()
}

/// The newest rows of a stream's window, oldest first, as it was when it had been given `recorded`
/// rows in all.
pub(crate) async fn window(
    connection: &mut PgConnection,
    stream_id: i32,
    recorded: i64,
    max_rows: usize,
) -> Result<Vec<WindowRow>, sqlx::Error> {
    let sql = "SELECT packed FROM windows WHERE stream_id = $1 AND total > $2 AND total <= $3 \
               ORDER BY passed";
    let rows = sqlx::query(sql)
        .bind(stream_id)
        .bind(recorded.saturating_sub(bounded(max_rows)))
        .bind(recorded)
        .fetch_all(connection)
        .await?;
    let mut window = Vec::new();
    for row in rows {
        window.extend(unpack_window(row.try_get(0)?).map_err(|_| damaged())?);
    }
    window.drain(..window.len().saturating_sub(max_rows));
    Ok(window)
}

/// The heads of channels.
pub(crate) async fn heads(
    connection: &mut PgConnection,
    log_id: i16,
    keys: &[ChannelKey],
) -> Result<HashMap<ChannelKey, Position>, sqlx::Error> {
    let tenants: Vec<&str> = keys.iter().map(|key| key.tenant.as_str()).collect();
    let names: Vec<&str> = keys.iter().map(|key| key.channel.as_str()).collect();
    let rows = sqlx::query(
        "SELECT k.n, c.head_epoch, c.head_passed \
         FROM unnest($2::text[], $3::text[]) WITH ORDINALITY k (tenant, name, n) \
         JOIN channels c ON c.log_id = $1 AND c.tenant = k.tenant AND c.name = k.name",
    )
    .bind(log_id)
    .bind(tenants)
    .bind(names)
    .fetch_all(connection)
    .await?;
    let read = |row: &PgRow| {
        let key = keys.get(row.try_get::<i64, _>(0)? as usize - 1).ok_or_else(damaged)?;
        let epoch = Epoch(row.try_get::<i32, _>(1)? as u32);
        Ok((key.clone(), Position { epoch, passed: row.try_get(2)? }))
    };
    rows.iter().map(read).collect()
}

/// The channels of a stream's partition whose head lies above a position.
pub(crate) async fn changed_above(
    connection: &mut PgConnection,
    log_id: i16,
    stream: &Stream,
    above: Position,
) -> Result<Vec<ChannelKey>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT tenant, name FROM channels WHERE log_id = $1 AND partition = $2 \
         AND (head_epoch, head_passed) > ($3, $4)",
    )
    .bind(log_id)
    .bind(narrow(stream.partition.0))
    .bind(narrow(above.epoch.0))
    .bind(above.passed)
    .fetch_all(connection)
    .await?;
    let read = |row: &PgRow| {
        Ok(ChannelKey {
            tenant: Tenant::parse(row.try_get(0)?).map_err(|_| damaged())?,
            channel: Channel::parse(row.try_get(1)?).map_err(|_| damaged())?,
        })
    };
    rows.iter().map(read).collect()
}

/// The checkpoints of streams.
pub(crate) async fn checkpoints(
    connection: &mut PgConnection,
    log_id: i16,
    streams: &[Stream],
) -> Result<HashMap<Partition, Checkpoint>, sqlx::Error> {
    let epochs: Vec<i32> = streams.iter().map(|stream| narrow(stream.epoch.0)).collect();
    let partitions: Vec<i32> = streams.iter().map(|stream| narrow(stream.partition.0)).collect();
    let rows = sqlx::query(
        "SELECT s.passed, s.kept_epoch, s.kept_passed, s.fingerprint, s.begins, k.n \
         FROM unnest($2::int[], $3::int[]) WITH ORDINALITY k (epoch, partition, n) \
         JOIN streams s ON s.log_id = $1 AND s.epoch = k.epoch AND s.partition = k.partition",
    )
    .bind(log_id)
    .bind(epochs)
    .bind(partitions)
    .fetch_all(connection)
    .await?;
    let mut found = HashMap::with_capacity(rows.len());
    for row in &rows {
        let stream = streams.get(row.try_get::<i64, _>(5)? as usize - 1).ok_or_else(damaged)?;
        if let Some(checkpoint) = checkpoint(row, stream.epoch)? {
            found.insert(stream.partition, checkpoint);
        }
    }
    Ok(found)
}

/// The checkpoint in columns 0 to 4: `None` before the first batch.
pub(crate) fn checkpoint(row: &PgRow, epoch: Epoch) -> Result<Option<Checkpoint>, sqlx::Error> {
    let Some(passed) = row.try_get(0)? else { return Ok(None) };
    let kept_epoch = Epoch(row.try_get::<i32, _>(1)? as u32);
    let fingerprint: &[u8] = row.try_get(3)?;
    Ok(Some(Checkpoint {
        position: Position { epoch, passed },
        last_kept: Position { epoch: kept_epoch, passed: row.try_get(2)? },
        fingerprint: fingerprint.try_into().map_err(|_| damaged())?,
        begins: Offset(row.try_get::<i64, _>(4)? as u64),
    }))
}

/// The server's number and that of the table of acknowledged positions.
pub(crate) async fn identity(connection: &mut PgConnection) -> Result<String, sqlx::Error> {
    let row = sqlx::query(
        "SELECT system_identifier || '.' || 'acknowledged'::regclass::oid FROM pg_control_system()",
    );
    row.fetch_one(connection).await?.try_get(0)
}

/// A subscriber's acknowledged position.
pub(crate) async fn acknowledged(
    connection: &mut PgConnection,
    key: &AcknowledgedKey,
) -> Result<Option<Acknowledged>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT generation, log, partition, epoch, passed FROM acknowledged \
         WHERE tenant = $1 AND user_id = $2 AND subscriber = $3 AND channel = $4",
    )
    .bind(key.tenant.as_str())
    .bind(key.user.as_str())
    .bind(key.subscriber.as_str())
    .bind(key.channel.as_str())
    .fetch_optional(connection)
    .await?;
    row.as_ref().map(acknowledged_row).transpose()
}

/// Generation, log, partition, epoch and offset in the first five columns.
pub(crate) fn acknowledged_row(row: &PgRow) -> Result<Acknowledged, sqlx::Error> {
    let position =
        Position { epoch: Epoch(row.try_get::<i64, _>(3)? as u32), passed: row.try_get(4)? };
    let cursor = Cursor {
        log: LogName::parse(row.try_get(1)?).map_err(|_| damaged())?,
        partition: Partition(row.try_get::<i64, _>(2)? as u32),
        position,
    };
    Ok(Acknowledged { generation: row.try_get::<i64, _>(0)? as u64, cursor })
}

/// The stored bytes are nothing that this code reads.
pub(crate) fn damaged() -> sqlx::Error {
    sqlx::Error::Decode("the stored bytes can't be read".into())
}

fn bounded(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

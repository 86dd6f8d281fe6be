//! The history's reading queries. Each is one statement, and thereby one snapshot.

use sqlx::sqlite::{SqliteConnection, SqliteRow};
use sqlx::{AssertSqlSafe, Row};

use crate::seams::{Acknowledged, AcknowledgedKey, Checkpoint, Marks, ReadFrom};
use crate::vocabulary::{
    Channel, ChannelKey, Cursor, Epoch, LogName, Offset, Partition, Position, SourceName,
    SourcePartition, SourcePlace, Stream, Tenant,
};

/// Keys looked up in one statement.
pub(super) const LOOKUP_KEYS: usize = 64;

/// A concatenated range of events is one value: handing single rows from SQLite's thread to the
/// reader costs more than reading them. `group_concat` keeps the bytes of a blob as they are.
const RANGE: &str = "SELECT c.head_epoch, c.head_offset, s.passed, s.begins, (\
     SELECT CAST(group_concat(stored, '') AS BLOB) FROM (\
     SELECT stored FROM events WHERE channel_id = c.id AND (epoch, offset) > (?6, ?7) \
     AND time_ms >= ?8 ORDER BY epoch, offset LIMIT ?9)) \
     FROM (SELECT 1) LEFT JOIN channels c ON c.tenant = ?1 AND c.channel = ?2 \
     LEFT JOIN streams s ON s.log = ?3 AND s.epoch = ?4 AND s.partition = ?5";

/// The same from the `?6`th newest event on; `?7` is 0.
const NEWEST: &str = "SELECT c.head_epoch, c.head_offset, s.passed, s.begins, (\
     SELECT CAST(group_concat(stored, '') AS BLOB) FROM (\
     SELECT stored FROM events WHERE channel_id = c.id AND (epoch, offset) >= (coalesce(\
     (SELECT epoch FROM events WHERE channel_id = c.id \
      ORDER BY epoch DESC, offset DESC LIMIT 1 OFFSET ?6 - 1), 0), coalesce(\
     (SELECT offset FROM events WHERE channel_id = c.id \
      ORDER BY epoch DESC, offset DESC LIMIT 1 OFFSET ?6 - 1), 0)) \
     AND time_ms >= ?8 AND ?7 = 0 ORDER BY epoch, offset LIMIT ?9)) \
     FROM (SELECT 1) LEFT JOIN channels c ON c.tenant = ?1 AND c.channel = ?2 \
     LEFT JOIN streams s ON s.log = ?3 AND s.epoch = ?4 AND s.partition = ?5";

/// A channel's range, undecoded.
pub(super) struct Range {
    pub(super) head: Option<Position>,
    pub(super) passed: Option<i64>,
    pub(super) begins: Option<Offset>,
    pub(super) events: Vec<u8>,
}

/// The first `limit` events of a range.
pub(super) async fn range(
    connection: &mut SqliteConnection,
    key: &ChannelKey,
    stream: &Stream,
    from: ReadFrom,
    oldest_time_ms: u64,
    limit: usize,
) -> Result<Range, sqlx::Error> {
    let (sql, first, second) = match from {
        ReadFrom::After(position) => (RANGE, i64::from(position.epoch.0), position.passed),
        ReadFrom::Last(count) => (NEWEST, i64::try_from(count).unwrap_or(i64::MAX), 0),
    };
    let row = sqlx::query(sql)
        .bind(key.tenant.as_str())
        .bind(key.channel.as_str())
        .bind(stream.log.as_str())
        .bind(stream.epoch.0)
        .bind(stream.partition.0)
        .bind(first)
        .bind(second)
        .bind(i64::try_from(oldest_time_ms).unwrap_or(i64::MAX))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_one(connection)
        .await?;
    let head_epoch: Option<u32> = row.try_get(0)?;
    let head = match head_epoch {
        Some(epoch) => Some(Position { epoch: Epoch(epoch), passed: row.try_get(1)? }),
        None => None,
    };
    let events = row.try_get::<Option<Vec<u8>>, _>(4)?.unwrap_or_default();
    let begins = row.try_get::<Option<i64>, _>(3)?.map(|begins| Offset(begins as u64));
    Ok(Range { head, passed: row.try_get(2)?, begins, events })
}

/// The heads of at most `LOOKUP_KEYS` channels.
pub(super) async fn heads(
    connection: &mut SqliteConnection,
    keys: &[ChannelKey],
) -> Result<Vec<(ChannelKey, Position)>, sqlx::Error> {
    let mut sql = String::from(
        "SELECT tenant, channel, head_epoch, head_offset FROM channels \
         WHERE (tenant, channel) IN (VALUES (?,?)",
    );
    sql.extend(std::iter::repeat_n(",(?,?)", keys.len().saturating_sub(1)));
    sql.push(')');
    let mut query = sqlx::query(AssertSqlSafe(sql));
    for key in keys {
        query = query.bind(key.tenant.as_str()).bind(key.channel.as_str());
    }
    let rows = query.fetch_all(connection).await?;
    rows.iter()
        .map(|row| {
            let position = Position { epoch: Epoch(row.try_get(2)?), passed: row.try_get(3)? };
            Ok((channel_key(row)?, position))
        })
        .collect()
}

/// The channels of a stream's partition whose head lies above a position.
pub(super) async fn changed_above(
    connection: &mut SqliteConnection,
    stream: &Stream,
    above: Position,
) -> Result<Vec<ChannelKey>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT tenant, channel FROM channels WHERE log = ?1 AND partition = ?2 \
         AND (head_epoch, head_offset) > (?3, ?4)",
    )
    .bind(stream.log.as_str())
    .bind(stream.partition.0)
    .bind(above.epoch.0)
    .bind(above.passed)
    .fetch_all(connection)
    .await?;
    rows.iter().map(channel_key).collect()
}

/// A stream's row.
#[derive(Debug, Clone)]
pub(super) struct StreamRow {
    pub(super) id: i64,
    pub(super) fence: u64,
    pub(super) checkpoint: Option<Checkpoint>,
    /// Records that the window was ever given.
    pub(super) window_total: u64,
}

pub(super) async fn stream(
    connection: &mut SqliteConnection,
    stream: &Stream,
) -> Result<Option<StreamRow>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT id, fence, passed, kept_epoch, kept_passed, fingerprint, begins, coalesce((\
         SELECT total FROM windows WHERE stream_id = id ORDER BY last_offset DESC LIMIT 1), 0) \
         FROM streams WHERE log = ? AND epoch = ? AND partition = ?",
    )
    .bind(stream.log.as_str())
    .bind(stream.epoch.0)
    .bind(stream.partition.0)
    .fetch_optional(connection)
    .await?;
    row.map(|row| stream_row(&row, stream)).transpose()
}

fn stream_row(row: &SqliteRow, stream: &Stream) -> Result<StreamRow, sqlx::Error> {
    let passed: Option<i64> = row.try_get(2)?;
    let checkpoint = match passed {
        None => None,
        Some(passed) => Some(Checkpoint {
            position: Position { epoch: stream.epoch, passed },
            last_kept: Position { epoch: Epoch(row.try_get(3)?), passed: row.try_get(4)? },
            fingerprint: row.try_get::<Vec<u8>, _>(5)?.try_into().map_err(|_| damaged())?,
            begins: Offset(row.try_get::<i64, _>(6)? as u64),
        }),
    };
    Ok(StreamRow {
        id: row.try_get(0)?,
        fence: row.try_get::<i64, _>(1)? as u64,
        checkpoint,
        window_total: row.try_get::<i64, _>(7)? as u64,
    })
}

/// The newest batches of a stream's window below `below`, newest first, packed.
pub(super) async fn window(
    connection: &mut SqliteConnection,
    stream_id: i64,
    below: i64,
    max_batches: usize,
) -> Result<Vec<(i64, Vec<u8>)>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT last_offset, packed FROM windows WHERE stream_id = ?1 AND last_offset < ?2 \
         ORDER BY last_offset DESC LIMIT ?3",
    )
    .bind(stream_id)
    .bind(below)
    .bind(max_batches as i64)
    .fetch_all(connection)
    .await?;
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

/// A stream's source marks.
pub(super) async fn marks(
    connection: &mut SqliteConnection,
    stream_id: i64,
) -> Result<Marks, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT source, source_partition, generation, source_offset, event_index FROM marks \
         WHERE stream_id = ?",
    )
    .bind(stream_id)
    .fetch_all(connection)
    .await?;
    let mark = |row: &SqliteRow| {
        let source = SourceName::parse(row.try_get(0)?).map_err(|_| damaged())?;
        let offset = row.try_get::<i64, _>(3)? as u64;
        let (generation, index) = (row.try_get(2)?, row.try_get(4)?);
        let of = SourcePartition { source, partition: row.try_get(1)? };
        Ok((of, SourcePlace { generation, offset, index }))
    };
    rows.iter().map(mark).collect()
}

/// A subscriber's acknowledged position.
pub(super) async fn acknowledged(
    connection: &mut SqliteConnection,
    key: &AcknowledgedKey,
) -> Result<Option<Acknowledged>, sqlx::Error> {
    let row = sqlx::query(
        "SELECT generation, log, partition, epoch, passed FROM acknowledged \
         WHERE tenant = ? AND user = ? AND subscriber = ? AND channel = ?",
    )
    .bind(key.tenant.as_str())
    .bind(key.user.as_str())
    .bind(key.subscriber.as_str())
    .bind(key.channel.as_str())
    .fetch_optional(connection)
    .await?;
    let read = |row: SqliteRow| {
        let cursor = Cursor {
            log: LogName::parse(row.try_get(1)?).map_err(|_| damaged())?,
            partition: Partition(row.try_get(2)?),
            position: Position { epoch: Epoch(row.try_get(3)?), passed: row.try_get(4)? },
        };
        Ok(Acknowledged { generation: row.try_get::<i64, _>(0)? as u64, cursor })
    };
    row.map(read).transpose()
}

/// Tenant and channel in the first two columns.
pub(super) fn channel_key(row: &SqliteRow) -> Result<ChannelKey, sqlx::Error> {
    Ok(ChannelKey {
        tenant: Tenant::parse(row.try_get(0)?).map_err(|_| damaged())?,
        channel: Channel::parse(row.try_get(1)?).map_err(|_| damaged())?,
    })
}

/// The stored bytes are nothing that this code reads.
pub(super) fn damaged() -> sqlx::Error {
    sqlx::Error::Decode("the stored bytes can't be read".into())
}

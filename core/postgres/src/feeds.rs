//! The rows of feeds: each key's newest event or its removal. Writes what a batch changed, reads it by
//! position; it never decides what is evicted.

use std::collections::BTreeMap;
use std::sync::Arc;

use meridian_core::feed::{self, Change, CurrentKey};
use meridian_core::seams::{Batch, ChangesFrom, FeedState};
use meridian_core::vocabulary::{
    Body, Channel, ChannelKey, Epoch, Event, EventId, Offset, Position, Prev, Stream, Tenant,
};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use crate::batch::{narrow, signed};
use crate::read::damaged;

/// A feed's rows after a place; without removals at or below another, or the checkpoint. Rows of one
/// offset stay together.
const CHANGES: &str = "SELECT s.passed, s.begins, f.epoch, f.passed, v.* FROM (SELECT 1) one \
     LEFT JOIN streams s ON s.log_id = $1 AND s.epoch = $2 AND s.partition = $3 \
     LEFT JOIN channels c ON c.log_id = $1 AND c.tenant = $4 AND c.name = $5 \
     LEFT JOIN feed_floors f ON f.channel_id = c.id \
     LEFT JOIN LATERAL (SELECT r.epoch, r.passed, r.time_ms, r.id, r.body FROM feed_values r \
     WHERE r.channel_id = c.id AND (r.epoch, r.passed) > ($6, $7) \
     AND (r.weight IS NOT NULL OR (r.epoch, r.passed) > \
     (coalesce($8, $2), coalesce($9, s.passed, -1))) \
     ORDER BY r.epoch, r.passed FETCH FIRST ($10) ROWS WITH TIES) v ON true";

/// A batch's rows, each key's newest.
pub(crate) fn rows(batch: &Batch) -> Vec<Arc<Event>> {
    let mut newest: BTreeMap<(ChannelKey, Option<String>), Arc<Event>> = BTreeMap::new();
    for row in batch.events.iter().flat_map(feed::rows) {
        newest.insert((row.key.clone(), row.body.key.clone()), row);
    }
    newest.into_values().collect()
}

/// Rows, an array a column.
#[derive(Debug, Default)]
pub(crate) struct FeedColumns<'a> {
    pub(crate) tenants: Vec<&'a str>,
    pub(crate) names: Vec<&'a str>,
    pub(crate) keys: Vec<&'a [u8]>,
    pub(crate) offsets: Vec<i64>,
    pub(crate) times: Vec<i64>,
    /// `None`: a removal.
    pub(crate) weights: Vec<Option<i64>>,
    pub(crate) ids: Vec<&'a str>,
    pub(crate) bodies: Vec<Vec<u8>>,
}

impl<'a> FeedColumns<'a> {
    pub(crate) fn of(rows: &'a [Arc<Event>]) -> Self {
        let mut columns = Self::default();
        for row in rows {
            columns.tenants.push(row.key.tenant.as_str());
            columns.names.push(row.key.channel.as_str());
            columns.keys.push(row.body.key.as_deref().unwrap_or_default().as_bytes());
            columns.offsets.push(signed(row.offset));
            columns.times.push(i64::try_from(row.time_ms).unwrap_or(i64::MAX));
            columns.weights.push(match feed::change(&row.body) {
                Some(Change::Set { weight, .. }) => Some(weight as i64),
                _ => None,
            });
            columns.ids.push(row.id.as_str());
            columns.bodies.push(row.body.encode().into());
        }
        columns
    }
}

/// A feed's rows from a place on: those of at least `max_rows` and one more, if there are so many.
pub(crate) async fn read(
    connection: &mut PgConnection,
    log_id: i16,
    (key, stream): (&ChannelKey, &Stream),
    from: ChangesFrom,
    max_rows: usize,
) -> Result<FeedState, sqlx::Error> {
    let (after, since) = match from {
        ChangesFrom::Start => (Position { epoch: Epoch(0), passed: -1 }, None),
        ChangesFrom::After { after, since } => (after, Some(since.max(after))),
    };
    let found = sqlx::query(CHANGES)
        .bind(log_id)
        .bind(narrow(stream.epoch.0))
        .bind(narrow(stream.partition.0))
        .bind(key.tenant.as_str())
        .bind(key.channel.as_str())
        .bind(narrow(after.epoch.0))
        .bind(after.passed)
        .bind(since.map(|since| narrow(since.epoch.0)))
        .bind(since.map(|since| since.passed))
        .bind(i64::try_from(max_rows.saturating_add(1)).unwrap_or(i64::MAX))
        .fetch_all(connection)
        .await?;
    let first = found.first().ok_or(sqlx::Error::RowNotFound)?;
    let passed = first.try_get::<Option<i64>, _>(0)?.unwrap_or(-1);
    let begins = first.try_get::<Option<i64>, _>(1)?.filter(|begins| *begins > 0);
    let floor = match first.try_get::<Option<i32>, _>(2)? {
        Some(epoch) => Some(Position { epoch: Epoch(epoch as u32), passed: first.try_get(3)? }),
        None => None,
    };
    let mut rows = Vec::with_capacity(found.len());
    for row in &found {
        rows.extend(event(row, key, stream)?);
    }
    let more = rows.len() > max_rows;
    Ok(FeedState {
        epoch: stream.epoch,
        applied: Position { epoch: stream.epoch, passed },
        uncovered: begins.map(|begins| Position { epoch: stream.epoch, passed: begins - 1 }),
        floor,
        rows,
        more,
    })
}

/// The row in columns 4 to 8, if there is one.
fn event(row: &PgRow, key: &ChannelKey, of: &Stream) -> Result<Option<Arc<Event>>, sqlx::Error> {
    let Some(epoch) = row.try_get::<Option<i32>, _>(4)? else { return Ok(None) };
    let epoch = Epoch(epoch as u32);
    Ok(Some(Arc::new(Event {
        key: key.clone(),
        stream: Stream { log: of.log.clone(), epoch, partition: of.partition },
        offset: Offset(row.try_get::<i64, _>(5)? as u64),
        time_ms: row.try_get::<i64, _>(6)? as u64,
        prev: Prev::None,
        id: EventId::parse(row.try_get(7)?).map_err(|_| damaged())?,
        body: Body::decode(row.try_get(8)?).unwrap_or_else(|_| Body::unreadable()),
    })))
}

/// The current keys of a partition's feeds.
pub(crate) async fn current(
    connection: &mut PgConnection,
    log_id: i16,
    stream: &Stream,
) -> Result<Vec<(ChannelKey, CurrentKey)>, sqlx::Error> {
    let rows = sqlx::query(
        "SELECT c.tenant, c.name, v.key, v.epoch, v.passed, v.weight FROM channels c \
         JOIN feed_values v ON v.channel_id = c.id AND v.weight IS NOT NULL \
         WHERE c.log_id = $1 AND c.partition = $2",
    )
    .bind(log_id)
    .bind(narrow(stream.partition.0))
    .fetch_all(connection)
    .await?;
    rows.iter().map(current_key).collect()
}

fn current_key(row: &PgRow) -> Result<(ChannelKey, CurrentKey), sqlx::Error> {
    let channel = ChannelKey {
        tenant: Tenant::parse(row.try_get(0)?).map_err(|_| damaged())?,
        channel: Channel::parse(row.try_get(1)?).map_err(|_| damaged())?,
    };
    let key = std::str::from_utf8(row.try_get(2)?).map_err(|_| damaged())?;
    let epoch = Epoch(row.try_get::<i32, _>(3)? as u32);
    let at = Position { epoch, passed: row.try_get(4)? };
    let weight = row.try_get::<i64, _>(5)? as u64;
    Ok((channel, CurrentKey { key: key.into(), at, weight }))
}

//! What the server must be, and whose view the history is: never two logs' under one name. Writes
//! only the incarnation that a router brings first.

use meridian_core::seams::Incarnation;
use meridian_core::vocabulary::{Epoch, LogName};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use crate::error::{OpenError, is_denied};

/// The first that detaches a partition without a lock that readers wait for.
const OLDEST_VERSION: i32 = 14;

/// Checks the server.
pub(crate) async fn check_server(connection: &mut PgConnection) -> Result<(), OpenError> {
    let sql =
        "SELECT current_setting('server_version_num')::int4, current_setting('server_encoding')";
    let row = sqlx::query(sql).fetch_one(connection).await?;
    let (version, encoding): (i32, String) = (row.try_get(0)?, row.try_get(1)?);
    if version / 10_000 < OLDEST_VERSION {
        let (found, needed) = (version / 10_000, OLDEST_VERSION);
        return Err(OpenError::Version { found, needed });
    }
    if encoding != "UTF8" {
        return Err(OpenError::Encoding { found: encoding });
    }
    Ok(())
}

/// Finds the log, or notes it; refuses another incarnation of it. Answers its short id.
pub(crate) async fn adopt(
    connection: &mut PgConnection,
    log: &Incarnation,
) -> Result<i16, OpenError> {
    if let Some(id) = find(connection, log).await? {
        return Ok(id);
    }
    match note(connection, log).await {
        Ok(()) => {}
        Err(error) if is_denied(&error) => return Err(OpenError::UnknownLog),
        Err(error) => return Err(error.into()),
    }
    // Another one may have been first.
    find(connection, log).await?.ok_or(OpenError::UnknownLog)
}

/// The newest incarnation of a log that a router brought.
pub(crate) async fn newest(
    connection: &mut PgConnection,
    log: &LogName,
) -> Result<Option<Incarnation>, sqlx::Error> {
    let sql = "SELECT i.epoch::int8, i.identity, i.partitions, i.window_records, i.window_ms \
               FROM logs l JOIN incarnations i ON i.log_id = l.id WHERE l.name = $1 \
               ORDER BY i.epoch DESC LIMIT 1";
    let row = sqlx::query(sql).bind(log.as_str()).fetch_optional(connection).await?;
    let Some(row) = row else { return Ok(None) };
    let number = |index| -> Result<u32, sqlx::Error> {
        u32::try_from(row.try_get::<i64, _>(index)?)
            .map_err(|error| sqlx::Error::Decode(error.into()))
    };
    Ok(Some(Incarnation {
        log: log.clone(),
        epoch: Epoch(number(0)?),
        identity: row.try_get(1)?,
        partitions: number(2)?,
        window_records: number(3)?,
        window_ms: row.try_get::<i64, _>(4)?.unsigned_abs(),
    }))
}

/// The log's id, if this incarnation is known.
async fn find(connection: &mut PgConnection, log: &Incarnation) -> Result<Option<i16>, OpenError> {
    let known = epochs(connection, &log.log).await?;
    let Some((id, newest)) = known.last().filter(|(_, newest)| newest.epoch >= log.epoch) else {
        return Ok(None);
    };
    if newest.epoch > log.epoch {
        let stored = i64::from(newest.epoch.0);
        return Err(OpenError::LaterEpoch { stored, given: log.epoch.0 });
    }
    if let Some(Difference { what, stored, given }) = difference(newest, log) {
        return Err(OpenError::OtherLog { what, stored, given });
    }
    Ok(Some(*id))
}

/// The epochs of a log that the history knows, in order, each with the log's id.
pub(crate) async fn epochs(
    connection: &mut PgConnection,
    log: &LogName,
) -> Result<Vec<(i16, Incarnation)>, sqlx::Error> {
    let sql = "SELECT l.id, i.epoch::int8, i.identity, i.partitions, i.window_records, i.window_ms \
               FROM logs l JOIN incarnations i ON i.log_id = l.id WHERE l.name = $1 ORDER BY i.epoch";
    let rows = sqlx::query(sql).bind(log.as_str()).fetch_all(connection).await?;
    let read = |row: &PgRow| {
        let number = |index| row.try_get::<i64, _>(index);
        let incarnation = Incarnation {
            log: log.clone(),
            epoch: Epoch(number(1)? as u32),
            identity: row.try_get(2)?,
            partitions: number(3)? as u32,
            window_records: number(4)? as u32,
            window_ms: number(5)? as u64,
        };
        Ok((row.try_get(0)?, incarnation))
    };
    rows.iter().map(read).collect()
}

/// In what two incarnations that should be one are not alike.
pub(crate) struct Difference {
    pub(crate) what: &'static str,
    pub(crate) stored: String,
    pub(crate) given: String,
}

pub(crate) fn difference(stored: &Incarnation, given: &Incarnation) -> Option<Difference> {
    let facts = |of: &Incarnation| {
        [
            ("identity", of.identity.clone()),
            ("number of partitions", of.partitions.to_string()),
            ("window of records", of.window_records.to_string()),
            ("window of milliseconds", of.window_ms.to_string()),
        ]
    };
    let mut both = facts(stored).into_iter().zip(facts(given));
    let ((what, stored), (_, given)) = both.find(|(stored, given)| stored != given)?;
    Some(Difference { what, stored, given })
}

async fn note(connection: &mut PgConnection, log: &Incarnation) -> Result<(), sqlx::Error> {
    sqlx::query("INSERT INTO logs (name) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(log.log.as_str())
        .execute(&mut *connection)
        .await?;
    let sql = "INSERT INTO incarnations SELECT id, $2::int8::int4, $3, $4, $5, $6 FROM logs \
               WHERE name = $1 ON CONFLICT DO NOTHING";
    sqlx::query(sql)
        .bind(log.log.as_str())
        .bind(i64::from(log.epoch.0))
        .bind(&log.identity)
        .bind(i64::from(log.partitions))
        .bind(i64::from(log.window_records))
        .bind(i64::try_from(log.window_ms).unwrap_or(i64::MAX))
        .execute(connection)
        .await?;
    Ok(())
}

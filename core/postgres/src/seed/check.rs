//! What a seed refuses: a history that is not empty, one of another version, one of another log.

use std::collections::BTreeMap;

use meridian_core::seams::Incarnation;
use meridian_core::vocabulary::LogName;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use super::{SeedError, SeedLog, reading, tables};
use crate::adopt::{self, Difference};
use crate::error::{OpenError, is_unmigrated};
use crate::migrate;
use crate::options::Options;

/// A log as the source knows it.
pub(super) struct Found {
    pub(super) id: i16,
    /// The newest.
    pub(super) epoch: u32,
}

/// Both sides must have the same tables.
pub(super) async fn version(source: &mut PgConnection, from: &Options) -> Result<(), SeedError> {
    let needed = migrate::versions();
    let found = match migrate::applied(source).await {
        Ok(found) => found,
        Err(error) if is_unmigrated(&error) => {
            let schema = from.schema.clone();
            let needed = needed.last().copied().unwrap_or(0);
            return Err(SeedError::Source(OpenError::NotMigrated { schema, needed }));
        }
        Err(error) => return Err(reading(error)),
    };
    if found == needed { Ok(()) } else { Err(SeedError::SourceVersion { found, needed }) }
}

/// Nothing may be there that a copy would mix with.
pub(super) async fn is_empty(target: &mut PgConnection, schema: &str) -> Result<(), SeedError> {
    for table in tables::all().map(|table| table.name) {
        let sql = format!("SELECT EXISTS (SELECT FROM {table})");
        let query = sqlx::query_scalar(AssertSqlSafe(sql));
        if query.fetch_one(&mut *target).await.map_err(SeedError::Writing)? {
            return Err(SeedError::NotEmpty { schema: schema.to_owned(), table });
        }
    }
    Ok(())
}

/// Finds the logs, each of them one that the new region reads.
pub(super) async fn logs(
    source: &mut PgConnection,
    wanted: &[SeedLog],
) -> Result<BTreeMap<LogName, Found>, SeedError> {
    let mut found = BTreeMap::new();
    for log in wanted {
        let epochs = adopt::epochs(source, &log.name).await.map_err(reading)?;
        let Some((id, newest)) = epochs.last() else {
            return Err(SeedError::UnknownLog { log: log.name.clone() });
        };
        if let Some(recorded) = &log.epochs {
            epochs.iter().try_for_each(|(_, copied)| compare(copied, recorded))?;
        }
        found.insert(log.name.clone(), Found { id: *id, epoch: newest.epoch.0 });
    }
    Ok(found)
}

/// An epoch of the history against what the log has recorded of it.
fn compare(copied: &Incarnation, recorded: &[Incarnation]) -> Result<(), SeedError> {
    let (log, epoch) = (copied.log.clone(), copied.epoch.0);
    let Some(given) = recorded.iter().find(|given| given.epoch == copied.epoch) else {
        return Err(SeedError::UnknownEpoch { log, epoch });
    };
    match adopt::difference(copied, given) {
        None => Ok(()),
        Some(Difference { what, stored: copied, given }) => {
            Err(SeedError::OtherLog { log, epoch, what, copied, given })
        }
    }
}

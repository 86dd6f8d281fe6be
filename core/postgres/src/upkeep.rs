//! The days' tables: makes the coming ones, takes the ones past every policy away, and prunes
//! windows. Under a lock timeout, so that neither a reader nor a writer waits for it for long; it
//! never touches a single event.

use std::collections::BTreeSet;
use std::time::Duration;

use meridian_core::policy::{DeliveryClass, Policies};
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection, Row};

use crate::PostgresHistory;
use crate::error::{UpkeepError, is_lock_timeout};
use crate::options::{self, Options};

const DAY_MS: u64 = 86_400_000;
/// Days that get their table before they come: upkeep may fail for that long and nothing waits.
const DAYS_AHEAD: u64 = 2;
/// One statement of upkeep, beside its wait for locks: an unlinked table may be large.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(60);

/// What an upkeep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Upkept {
    /// Days that got their table.
    pub created: usize,
    /// Days whose events are gone now.
    pub dropped: usize,
    /// Days that somebody still reads, or has locked: the next upkeep takes them.
    pub postponed: usize,
    /// Batches of windows that no record can be compared with any more.
    pub pruned: u64,
    /// Removals of feeds' keys that are older than any event.
    pub removals: u64,
}

/// A day's table.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Day {
    day: i32,
    name: String,
    attached: bool,
    detaching: bool,
}

impl PostgresHistory {
    /// Makes the coming days' tables, drops those that the longest policy age does not reach, and prunes
    /// this log's windows. To be called now and then by every router: `None`, another one is at
    /// it. `policies` are those of all logs in the schema; without any, nothing is dropped.
    pub async fn upkeep(
        &self,
        policies: &Policies,
        now_ms: u64,
    ) -> Result<Option<Upkept>, UpkeepError> {
        let (lent, log_id) = self.lend_writer().await?;
        lent.keep();
        let mut connection = connect(&self.options).await?;
        let sql = "SELECT pg_try_advisory_lock(hashtextextended('meridian upkeep ' || current_schema(), 0))";
        // Held until the connection ends.
        let mine: bool = sqlx::query_scalar(sql).fetch_one(&mut connection).await?;
        if !mine {
            return Ok(None);
        }
        let today = now_ms / DAY_MS;
        let mut upkept = Upkept::default();
        for day in today..=today + DAYS_AHEAD {
            upkept.created += usize::from(add_day(&mut connection, day).await?);
        }
        if let Some(oldest_ms) = oldest_kept(policies, now_ms) {
            drop_days(&mut connection, oldest_ms, &mut upkept).await?;
            upkept.removals = prune_removals(&mut connection, oldest_ms).await?;
        }
        upkept.pruned = prune_windows(&mut connection, log_id).await?;
        connection.close().await?;
        Ok(Some(upkept))
    }
}

/// Makes the tables that events of these times need.
pub(crate) async fn add_days_of(
    options: &Options,
    times_ms: impl Iterator<Item = u64>,
) -> Result<(), sqlx::Error> {
    let days: BTreeSet<u64> = times_ms.map(|time_ms| time_ms / DAY_MS).collect();
    let mut connection = connect(options).await?;
    for day in days {
        add_day(&mut connection, day).await?;
    }
    connection.close().await
}

/// A connection of its own, so that what it takes on (a lock, a role) ends with it.
async fn connect(options: &Options) -> Result<PgConnection, sqlx::Error> {
    let timeout = STATEMENT_TIMEOUT.as_millis().to_string();
    let connect = options.connect().map_err(|error| sqlx::Error::Configuration(error.into()))?;
    let connect = connect.options([("statement_timeout", timeout)]);
    let mut connection = options::open(&connect).await?;
    if let Some(role) = &options.upkeep_role {
        let sql = format!("SET ROLE {role}");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
    }
    Ok(connection)
}

/// Makes a day's table. `true`: it was missing.
pub(crate) async fn add_day(connection: &mut PgConnection, day: u64) -> Result<bool, sqlx::Error> {
    let day = i32::try_from(day).map_err(|error| sqlx::Error::Encode(error.into()))?;
    sqlx::query_scalar("SELECT add_partition($1)").bind(day).fetch_one(connection).await
}

/// The oldest time that some policy still keeps.
fn oldest_kept(policies: &Policies, now_ms: u64) -> Option<u64> {
    let stored = policies.iter().filter(|(_, policy)| policy.class != DeliveryClass::Ephemeral);
    let longest = stored.map(|(_, policy)| policy.retention.age_ms).max()?;
    Some(now_ms.saturating_sub(longest))
}

/// Whether nothing of the day is kept any more.
fn is_past(day: i32, oldest_ms: u64) -> bool {
    i64::from(day).saturating_add(1).saturating_mul(DAY_MS as i64) as u64 <= oldest_ms
}

async fn drop_days(
    connection: &mut PgConnection,
    oldest_ms: u64,
    upkept: &mut Upkept,
) -> Result<(), sqlx::Error> {
    // Readers left a day that is detaching already; only one may be, so that it comes first.
    let sql = "SELECT day, name, attached, detaching FROM days ORDER BY detaching DESC, day";
    let read = |row: &PgRow| -> Result<Day, sqlx::Error> {
        let (day, name) = (row.try_get(0)?, row.try_get(1)?);
        Ok(Day { day, name, attached: row.try_get(2)?, detaching: row.try_get(3)? })
    };
    let rows = sqlx::query(sql).fetch_all(&mut *connection).await?;
    let days: Vec<Day> = rows.iter().map(read).collect::<Result<_, _>>()?;
    for day in days.iter().filter(|day| day.detaching || is_past(day.day, oldest_ms)) {
        match drop_day(connection, day).await {
            Ok(()) => upkept.dropped += 1,
            Err(error) if is_lock_timeout(&error) => {
                tracing::info!(table = day.name, "a day's table is in use, dropped later");
                upkept.postponed += 1;
                // Another day can't be detached before this one is.
                break;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Detaches and drops. A crash in between leaves a table that the next upkeep drops.
async fn drop_day(connection: &mut PgConnection, day: &Day) -> Result<(), sqlx::Error> {
    let name = &day.name;
    if day.attached {
        let how = if day.detaching { "FINALIZE" } else { "CONCURRENTLY" };
        let sql = format!("ALTER TABLE events DETACH PARTITION {name} {how}");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await?;
    }
    let sql = format!("DROP TABLE {name}");
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await?;
    sqlx::query("DELETE FROM spans WHERE day = $1").bind(day.day).execute(connection).await?;
    Ok(())
}

/// Removes the batches that no later record can be compared with: behind W newer records, or more
/// than D older than the newest.
async fn prune_windows(connection: &mut PgConnection, log_id: i16) -> Result<u64, sqlx::Error> {
    let done = sqlx::query(
        "DELETE FROM windows w USING (\
         SELECT s.id, s.recorded, i.window_records, i.window_ms, (SELECT n.time_ms FROM windows n \
         WHERE n.stream_id = s.id ORDER BY n.passed DESC LIMIT 1) AS newest \
         FROM streams s JOIN incarnations i ON i.log_id = s.log_id AND i.epoch = s.epoch \
         WHERE s.log_id = $1) s WHERE w.stream_id = s.id AND \
         (s.recorded - w.total >= s.window_records OR w.time_ms < s.newest - s.window_ms)",
    )
    .bind(log_id)
    .execute(connection)
    .await?;
    Ok(done.rows_affected())
}

/// Takes removals away that are as old as events that are gone.
async fn prune_removals(connection: &mut PgConnection, oldest_ms: u64) -> Result<u64, sqlx::Error> {
    let oldest_ms = i64::try_from(oldest_ms).unwrap_or(i64::MAX);
    let query = sqlx::query_scalar("SELECT prune_removals($1)").bind(oldest_ms);
    query.fetch_one(connection).await.map(i64::cast_unsigned)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use meridian_core::policy::{Policy, Retention};
    use meridian_core::vocabulary::Namespace;

    use super::*;

    #[test]
    fn the_longest_stored_policy_counts() {
        let policy = |class, age_ms| {
            let retention = Retention { events: 1, bytes: 1, age_ms };
            Policy { class, retention, ..Policy::default() }
        };
        let named = |name: &str, policy| (Namespace::parse(name).unwrap(), policy);
        let policies = Policies::new(BTreeMap::from([
            named("short", policy(DeliveryClass::Strict, 10)),
            named("long", policy(DeliveryClass::Feed, 30)),
            named("never", policy(DeliveryClass::Ephemeral, 90)),
        ]));
        assert_eq!(oldest_kept(&policies, 100), Some(70));
        assert_eq!(oldest_kept(&policies, 20), Some(0));
        assert_eq!(oldest_kept(&Policies::default(), 100), None);
    }

    #[test]
    fn a_day_is_past_with_its_last_millisecond() {
        assert!(!is_past(0, DAY_MS - 1));
        assert!(is_past(0, DAY_MS));
        assert!(!is_past(1, DAY_MS));
        assert!(!is_past(i32::MAX, u64::from(u32::MAX)));
    }
}

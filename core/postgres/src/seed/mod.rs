//! Fills an empty history with a consistent copy of another region's: what its routers stored up to
//! one moment, with the checkpoints that a router goes on from. Owns the order of a copy and what it
//! refuses; it writes to the new history only, in one transaction, and reads no log.

mod check;
mod copy;
mod progress;
mod tables;

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_core::seams::Incarnation;
use meridian_core::vocabulary::LogName;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection, Row};

use self::progress::Progress;
use self::tables::{AFTER_EVENTS, BEFORE_EVENTS, EVENTS, IDENTITIES, Table};
use crate::error::{OpenError, is_denied, is_lock_timeout};
use crate::options::{self, Options};
use crate::{adopt, migrate, upkeep};

const DAY_MS: i64 = 86_400_000;

/// A log that the new region consumes.
#[derive(Debug, Clone)]
pub struct SeedLog {
    pub name: LogName,
    /// Its epochs as the log itself has them recorded. `None`: it can't be asked now, and nothing is
    /// compared; a router compares when it opens the history.
    pub epochs: Option<Vec<Incarnation>>,
}

/// What was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seeded {
    /// Each log's newest epoch in the copy.
    pub epochs: BTreeMap<LogName, u32>,
    pub events: u64,
    /// Of all tables, events included.
    pub rows: u64,
    pub bytes: u64,
    pub took: Duration,
}

/// Why nothing was copied. The new history is as it was.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    #[error("the new region's Postgres can't be used")]
    Target(#[source] OpenError),
    #[error("the other region's Postgres can't be used")]
    Source(#[source] OpenError),
    #[error(
        "the other region's schema has the migrations {found:?}, this version's are {needed:?}: bring \
         both regions to one version first"
    )]
    SourceVersion { found: Vec<i64>, needed: Vec<i64> },
    #[error(
        "the schema {schema} holds a history already (its table {table} has rows), and only an empty \
         one is seeded: to build it anew, end the region's routers and edges, drop the schema, and run \
         `meridian migrate` before this"
    )]
    NotEmpty { schema: String, table: &'static str },
    #[error("the schema {schema} is in use: by another seed, or by a router that must end first")]
    Busy { schema: String },
    #[error("the other region's history knows no log {log}")]
    UnknownLog { log: LogName },
    #[error(
        "the other region's history was made from another log {log}: in epoch {epoch} its {what} is \
         {copied}, and the log's is {given}"
    )]
    OtherLog { log: LogName, epoch: u32, what: &'static str, copied: String, given: String },
    #[error(
        "the other region's history has epoch {epoch} of the log {log}, which the log does not know"
    )]
    UnknownEpoch { log: LogName, epoch: u32 },
    #[error(
        "this user may not read the whole of the other region's history: it needs `meridian_copy`"
    )]
    Denied(#[source] sqlx::Error),
    #[error("the other region's Postgres failed")]
    Reading(#[source] sqlx::Error),
    #[error("the new region's Postgres failed")]
    Writing(#[source] sqlx::Error),
    #[error("{whose} Postgres gave no sign for {seconds} s")]
    Stalled { whose: &'static str, seconds: u64 },
}

/// Copies what the history at `from` holds of these logs into the empty one at `to`. Whole or not at
/// all, also when it is killed: then it is to be begun again.
pub async fn seed(from: &Options, to: &Options, logs: &[SeedLog]) -> Result<Seeded, SeedError> {
    let mut target = open(to).await.map_err(SeedError::Target)?;
    migrate::check(&mut target, &to.schema).await.map_err(SeedError::Target)?;
    let mut source = open(from).await.map_err(SeedError::Source)?;
    check::version(&mut source, from).await?;
    begin(&mut target, &to.schema).await?;
    check::is_empty(&mut target, &to.schema).await?;
    begin_reading(&mut source).await.map_err(reading)?;
    let found = check::logs(&mut source, logs).await?;

    let ids: Vec<i16> = found.values().map(|log| log.id).collect();
    let mut copy = Copy { source, target, ids, progress: Progress::new() };
    copy.tables(&BEFORE_EVENTS).await?;
    let events = copy.events().await?;
    copy.tables(&AFTER_EVENTS).await?;
    let Copy { source, mut target, progress, .. } = copy;
    finish(&mut target).await.map_err(SeedError::Writing)?;
    // Both ended well, or it does not matter.
    let _ = tokio::join!(source.close(), target.close());
    let epochs = found.into_iter().map(|(name, log)| (name, log.epoch)).collect();
    Ok(Seeded { epochs, events, rows: progress.rows, bytes: progress.bytes, took: progress.took() })
}

/// Two connections in their transactions.
struct Copy {
    source: PgConnection,
    target: PgConnection,
    /// The logs' short ids, alike on both sides.
    ids: Vec<i16>,
    progress: Progress,
}

impl Copy {
    async fn tables(&mut self, tables: &[Table]) -> Result<(), SeedError> {
        for table in tables {
            let select = table.select(&self.ids);
            self.copy(table.name, &select, &table.target()).await?;
        }
        Ok(())
    }

    /// A day at a time, so that each goes straight into its table.
    async fn events(&mut self) -> Result<u64, SeedError> {
        let days = self.days().await.map_err(reading)?;
        add_days(&mut self.target, &days).await.map_err(SeedError::Writing)?;
        let mut events = 0;
        for day in days {
            let lowest = i64::from(day) * DAY_MS;
            let select = format!(
                "{} AND time_ms >= {lowest} AND time_ms < {}",
                EVENTS.select(&self.ids),
                lowest + DAY_MS
            );
            events += self.copy(&format!("events of day {day}"), &select, &EVENTS.target()).await?;
        }
        Ok(events)
    }

    async fn days(&mut self) -> Result<Vec<i32>, sqlx::Error> {
        let sql = "SELECT DISTINCT day FROM spans WHERE log_id = ANY($1) ORDER BY day";
        sqlx::query_scalar(sql).bind(&self.ids).fetch_all(&mut self.source).await
    }

    async fn copy(&mut self, what: &str, select: &str, into: &str) -> Result<u64, SeedError> {
        self.progress.begin(what);
        let rows = copy::rows(&mut self.source, &mut self.target, select, into, &mut self.progress)
            .await?;
        self.progress.end(rows);
        Ok(rows)
    }
}

/// A connection for statements that take as long as they need.
async fn open(options: &Options) -> Result<PgConnection, OpenError> {
    let connect = options
        .connect()?
        .options([("statement_timeout", "0"), ("idle_in_transaction_session_timeout", "0")]);
    let mut connection = options::open(&connect).await?;
    adopt::check_server(&mut connection).await?;
    Ok(connection)
}

/// Begins the writing, which keeps routers and other seeds from doing so meanwhile.
async fn begin(target: &mut PgConnection, schema: &str) -> Result<(), SeedError> {
    let tables: Vec<&str> = tables::all().map(|table| table.name).collect();
    let sql = format!("BEGIN; LOCK TABLE {} IN SHARE ROW EXCLUSIVE MODE", tables.join(", "));
    match sqlx::raw_sql(AssertSqlSafe(sql)).execute(target).await {
        Ok(_) => Ok(()),
        Err(error) if is_lock_timeout(&error) => Err(SeedError::Busy { schema: schema.to_owned() }),
        Err(error) => Err(SeedError::Writing(error)),
    }
}

/// Begins the reading. The days' tables are locked before the snapshot is taken with the first query:
/// what it shows stays until the end.
async fn begin_reading(source: &mut PgConnection) -> Result<(), sqlx::Error> {
    let sql =
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; LOCK TABLE events IN ACCESS SHARE MODE";
    sqlx::raw_sql(sql).execute(source).await?;
    Ok(())
}

/// Makes the days' tables as whoever owns `events`: upkeep will have to drop them.
async fn add_days(target: &mut PgConnection, days: &[i32]) -> Result<(), sqlx::Error> {
    let sql = "SELECT quote_ident(pg_get_userbyid(relowner)), relowner <> current_user::regrole \
               FROM pg_class WHERE oid = 'events'::regclass";
    let row: PgRow = sqlx::query(sql).fetch_one(&mut *target).await?;
    let (owner, other): (String, bool) = (row.try_get(0)?, row.try_get(1)?);
    if other {
        let sql = format!("SET LOCAL ROLE {owner}");
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *target).await?;
    }
    for day in days {
        upkeep::add_day(target, i64::from(*day).unsigned_abs()).await?;
    }
    sqlx::raw_sql("RESET ROLE").execute(target).await?;
    Ok(())
}

/// Numbers go on behind the copied ones, and the planner knows the tables, before anybody uses them.
async fn finish(target: &mut PgConnection) -> Result<(), sqlx::Error> {
    for table in IDENTITIES {
        let sql = format!(
            "SELECT setval(pg_get_serial_sequence('{table}', 'id'), max(id)) FROM {table} HAVING max(id) > 0"
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *target).await?;
    }
    let tables: Vec<&str> = tables::all().map(|table| table.name).collect();
    let sql = format!("ANALYZE {}; COMMIT", tables.join(", "));
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(target).await?;
    Ok(())
}

/// A failure of the source.
fn reading(error: sqlx::Error) -> SeedError {
    if is_denied(&error) { SeedError::Denied(error) } else { SeedError::Reading(error) }
}

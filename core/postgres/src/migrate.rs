//! The schema's versions: brings them up to date, and tells whether they are. Knows no table of the
//! history.

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::postgres::PgConnection;
use sqlx::{Connection, SqlSafeStr};

use crate::error::{MigrateError, OpenError, is_unmigrated};
use crate::options::{self, Options};

type Step = (i64, &'static str, &'static str);

/// A step that was released never changes: the next one changes what it made, in a way that the
/// version before can live with, because nodes are replaced one after another.
const STEPS: &[Step] = &[
    (1, "history", include_str!("../../../migrations/postgres/0001_history.sql")),
    (2, "partitions", include_str!("../../../migrations/postgres/0002_partitions.sql")),
    (3, "commit", include_str!("../../../migrations/postgres/0003_commit.sql")),
    (4, "read", include_str!("../../../migrations/postgres/0004_read.sql")),
    (5, "marks", include_str!("../../../migrations/postgres/0005_marks.sql")),
    (6, "halts", include_str!("../../../migrations/postgres/0006_halts.sql")),
    (7, "feeds", include_str!("../../../migrations/postgres/0007_feeds.sql")),
];

/// Creates the schema and brings it up to date; of several at once, one does it and the others wait.
/// The user will own the tables.
pub async fn migrate(options: &Options) -> Result<(), MigrateError> {
    // A migration may take as long as it needs.
    let connect = options.connect()?.options([("statement_timeout", "0")]);
    let mut connection = options::open(&connect).await?;
    let migrations = STEPS
        .iter()
        .map(|(version, name, sql)| {
            let kind = MigrationType::Simple;
            Migration::new(*version, (*name).into(), kind, sql.into_sql_str(), false)
        })
        .collect();
    let mut migrator = Migrator::with_migrations(migrations);
    migrator.create_schema(options.schema.clone());
    // Steps of a newer version stay as they are.
    migrator.set_ignore_missing(true);
    migrator.run_direct(None, &mut connection, false).await?;
    connection.close().await?;
    Ok(())
}

/// Whether all of this version's steps are there.
pub(crate) async fn check(connection: &mut PgConnection, schema: &str) -> Result<(), OpenError> {
    let needed = STEPS.last().map_or(0, |(version, ..)| *version);
    let not_migrated = || OpenError::NotMigrated { schema: schema.to_owned(), needed };
    let applied = match applied(connection).await {
        Ok(applied) => applied,
        Err(error) if is_unmigrated(&error) => return Err(not_migrated()),
        Err(error) => return Err(error.into()),
    };
    let all = STEPS.iter().all(|(version, ..)| applied.contains(version));
    all.then_some(()).ok_or_else(not_migrated)
}

/// The steps that were done in the connection's schema, in order.
pub(crate) async fn applied(connection: &mut PgConnection) -> Result<Vec<i64>, sqlx::Error> {
    let sql = "SELECT version FROM _sqlx_migrations WHERE success ORDER BY version";
    sqlx::query_scalar(sql).fetch_all(connection).await
}

/// This version's steps, in order.
pub(crate) fn versions() -> Vec<i64> {
    STEPS.iter().map(|(version, ..)| *version).collect()
}

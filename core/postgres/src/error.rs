//! Why the history could not be opened, migrated or kept up.

use sqlx::postgres::PgDatabaseError;

/// What the options ask for makes no sense.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    #[error("the address is no postgres:// URL")]
    Address,
    #[error("{name:?} may hold lower-case letters, digits and _ only")]
    Name { name: String },
}

/// Why the history could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error("PostgreSQL {found} is too old: {needed} is needed")]
    Version { found: i32, needed: i32 },
    #[error("the database's encoding is {found}; it must be UTF8")]
    Encoding { found: String },
    #[error("the schema {schema} is not migrated to version {needed}: run `meridian migrate`")]
    NotMigrated { schema: String, needed: i64 },
    #[error(
        "the history was made from another incarnation of the log: its {what} is {stored}, the log's is {given}"
    )]
    OtherLog { what: &'static str, stored: String, given: String },
    #[error("the history has gone on to epoch {stored}; the log is at {given}")]
    LaterEpoch { stored: i64, given: u32 },
    #[error("no router has opened this log yet, and this user may not")]
    UnknownLog,
    #[error("PostgreSQL can't be reached or refuses")]
    Unavailable(#[from] sqlx::Error),
}

impl OpenError {
    /// Whether the server is only away, or about to come: it did not say no.
    pub fn is_away(&self) -> bool {
        match self {
            Self::Unavailable(error @ sqlx::Error::Database(_)) => {
                code(error).is_some_and(|code| AWAY.iter().any(|class| code.starts_with(class)))
            }
            Self::Unavailable(
                sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Protocol(_),
            ) => true,
            _ => false,
        }
    }
}

/// Why the schema could not be migrated.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    #[error(transparent)]
    Options(#[from] OptionsError),
    #[error("PostgreSQL can't be reached or refuses")]
    Unavailable(#[from] sqlx::Error),
    #[error("a migration failed")]
    Migration(#[from] sqlx::migrate::MigrateError),
}

/// Why upkeep stopped; what it did until then is whole, and the next one goes on.
#[derive(Debug, thiserror::Error)]
#[error("the history's tables can't be kept up")]
pub struct UpkeepError(#[from] pub(crate) sqlx::Error);

const UNDEFINED_TABLE: &str = "42P01";
const UNDEFINED_FUNCTION: &str = "42883";
const INVALID_SCHEMA: &str = "3F000";
const INSUFFICIENT_PRIVILEGE: &str = "42501";
const CHECK_VIOLATION: &str = "23514";
const LOCK_NOT_AVAILABLE: &str = "55P03";
const SERIALIZATION: &str = "40001";
const DEADLOCK: &str = "40P01";
const PLAN_CHANGED: &str = "0A000";
const INTERNAL: &str = "XX000";
/// Classes of what a server says that starts, stops, or is too full: an operator's hand, or no room.
const AWAY: [&str; 2] = ["57", "53"];

fn code(error: &sqlx::Error) -> Option<&str> {
    let error = error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?;
    Some(error.code())
}

pub(crate) fn is_unmigrated(error: &sqlx::Error) -> bool {
    matches!(code(error), Some(UNDEFINED_TABLE | UNDEFINED_FUNCTION | INVALID_SCHEMA))
}

pub(crate) fn is_denied(error: &sqlx::Error) -> bool {
    code(error) == Some(INSUFFICIENT_PRIVILEGE)
}

/// No day's table takes a row. The tables have no other checks.
pub(crate) fn lacks_partition(error: &sqlx::Error) -> bool {
    code(error) == Some(CHECK_VIOLATION)
}

pub(crate) fn is_lock_timeout(error: &sqlx::Error) -> bool {
    code(error) == Some(LOCK_NOT_AVAILABLE)
}

/// Whether the same reading may succeed at once: the connection broke, or a table went while it was
/// planned.
pub(crate) fn is_passing(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) => true,
        error => {
            matches!(
                code(error),
                Some(SERIALIZATION | DEADLOCK | PLAN_CHANGED | INTERNAL | UNDEFINED_TABLE)
            )
        }
    }
}

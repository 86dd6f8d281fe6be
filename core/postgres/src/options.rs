//! How the server is reached: address, trust, time limits. Opens connections, knows no table.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};

use crate::error::OptionsError;

/// Longer than any name of Postgres.
const MAX_SCHEMA_BYTES: usize = 63;

/// Whom to believe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tls {
    /// The server's certificate must name the host of the address and come from an authority that the
    /// system trusts, or from one in this PEM file.
    Verified { ca_file: Option<PathBuf> },
    /// No encryption: for a server on this host, or behind a tunnel.
    Off,
}

/// Where the history is, and how long to wait for it.
#[derive(Clone)]
pub struct Options {
    /// `postgres://user:password@host:port/database`.
    pub url: String,
    /// The schema that holds all tables: lower-case letters, digits and `_`.
    pub schema: String,
    pub tls: Tls,
    /// Connections that commit, claim and look up. Reads have their own, so that many who catch up
    /// never keep a router from writing.
    pub writers: u32,
    /// Connections that read.
    pub readers: u32,
    /// How long an operation may take, the wait for a connection included, before the history counts
    /// as unavailable.
    pub patience: Duration,
    /// How long a statement waits for a lock.
    pub lock_timeout: Duration,
    /// The role that owns the days' tables, taken on for upkeep only. `None`: the user's own.
    pub upkeep_role: Option<String>,
}

impl Options {
    /// The defaults for a server at this address.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            schema: "meridian".to_owned(),
            tls: Tls::Verified { ca_file: None },
            // A commit takes milliseconds, so that few serve many partitions.
            writers: 4,
            readers: 8,
            // Above a pause of the server's own (a checkpoint's flush), below what a client waits for.
            patience: Duration::from_secs(5),
            lock_timeout: Duration::from_secs(2),
            upkeep_role: None,
        }
    }

    /// The address with trust, schema and time limits.
    pub(crate) fn connect(&self) -> Result<PgConnectOptions, OptionsError> {
        check_name(&self.schema)?;
        let ms = |limit: Duration| limit.as_millis().to_string();
        let options = PgConnectOptions::from_str(&self.url)
            .map_err(|_| OptionsError::Address)?
            .application_name("meridian")
            .disable_statement_logging()
            .options([
                ("search_path", self.schema.clone()),
                // The server gives up before the caller does, so that nothing goes on unseen.
                ("statement_timeout", ms(self.patience)),
                ("lock_timeout", ms(self.lock_timeout)),
                ("jit", "off".to_owned()),
                // Each statement of a batch must see what a lock made it wait for.
                ("default_transaction_isolation", "read committed".to_owned()),
            ]);
        Ok(match &self.tls {
            Tls::Off => options.ssl_mode(PgSslMode::Disable),
            Tls::Verified { ca_file: None } => options.ssl_mode(PgSslMode::VerifyFull),
            Tls::Verified { ca_file: Some(file) } => {
                options.ssl_mode(PgSslMode::VerifyFull).ssl_root_cert(file)
            }
        })
    }
}

/// Opens a connection that answers a commit only once it is stored, however the server is set up.
pub(crate) async fn open(connect: &PgConnectOptions) -> Result<PgConnection, sqlx::Error> {
    let mut connection = connect.connect().await?;
    let sql = "SELECT set_config('synchronous_commit', 'on', false) \
               WHERE current_setting('synchronous_commit') = 'off'";
    sqlx::query(sql).execute(&mut connection).await?;
    Ok(connection)
}

/// Without the address, which may hold a password.
impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("schema", &self.schema)
            .field("tls", &self.tls)
            .field("writers", &self.writers)
            .field("readers", &self.readers)
            .field("patience", &self.patience)
            .field("lock_timeout", &self.lock_timeout)
            .field("upkeep_role", &self.upkeep_role)
            .finish_non_exhaustive()
    }
}

/// Schemas and roles stand in statements as they are.
pub(crate) fn check_name(name: &str) -> Result<(), OptionsError> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
    let starts = name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
    if starts && name.len() <= MAX_SCHEMA_BYTES && name.bytes().all(allowed) {
        Ok(())
    } else {
        Err(OptionsError::Name { name: name.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_statements_as_they_are() {
        for good in ["meridian", "_m2", "a_b_c"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        for bad in ["", "2a", "A", "a-b", "a\"b", "a b", "ä", &"x".repeat(64)] {
            assert!(check_name(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_password_is_never_shown() {
        let options = Options::new("postgres://ann:secret@db/meridian");
        assert!(!format!("{options:?}").contains("secret"));
        let broken = Options::new("postgres://ann:secret@db:port/meridian").connect().unwrap_err();
        assert!(!format!("{broken} {broken:?}").contains("secret"));
    }

    #[test]
    fn the_server_is_verified_unless_told_otherwise() {
        let options = Options::new("postgres://db/meridian?sslmode=disable");
        assert!(matches!(options.connect().unwrap().get_ssl_mode(), PgSslMode::VerifyFull));
    }
}

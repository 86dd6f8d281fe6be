//! The history on PostgreSQL: events, heads, checkpoints, windows and acknowledged positions in one
//! schema. Owns what may be said of the past; it never reads a log and never makes an event.
//!
//! The statements live in `migrations/postgres/`, as functions: each call is one round trip and one
//! transaction.

mod adopt;
mod batch;
mod error;
mod feeds;
mod halts;
mod history;
mod migrate;
mod options;
mod pool;
mod read;
mod seed;
mod upkeep;
mod write;

pub use self::error::{MigrateError, OpenError, OptionsError, UpkeepError};
pub use self::halts::NotedHalt;
pub use self::history::PostgresHistory;
pub use self::migrate::migrate;
pub use self::options::{Options, Tls};
pub use self::seed::{SeedError, SeedLog, Seeded, seed};
pub use self::upkeep::Upkept;

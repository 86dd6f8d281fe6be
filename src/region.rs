//! A region's servers: the log on Kafka, the backplane on Redis, the history on Postgres, opened as the
//! configuration says. Owns nothing of what is done with them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use meridian_core::config::{self, Config, ConfigError, Fault, RegionStores};
use meridian_core::policy::Policies;
use meridian_core::seams::Log as _;
use meridian_core::vocabulary::LogName;
use meridian_kafka::{Ended, KafkaLog, LogState};
use meridian_postgres::PostgresHistory;
use meridian_redis::{RedisBackplane, RedisOptions};
use tokio::sync::watch;

use crate::configuration;

/// How long a start waits for Redis before it goes on and tries further behind.
const REDIS_PATIENCE: Duration = Duration::from_secs(5);
pub(crate) const LOG: &str = "global";

/// The opened stores of a region.
pub(crate) struct Region {
    pub(crate) log: Arc<KafkaLog>,
    pub(crate) backplane: Arc<RedisBackplane>,
    pub(crate) history: Arc<PostgresHistory>,
}

/// The option of each command that works on a region's servers.
#[derive(Debug, clap::Args)]
pub(crate) struct ConfigFile {
    /// The configuration
    #[arg(long = "config", value_name = "FILE")]
    path: PathBuf,
}

/// Reads a configuration that must name a region's servers.
pub(crate) fn configured(file: &ConfigFile) -> Result<(Config, RegionStores)> {
    configured_by(&file.path)
}

/// The same, of a file that another option names.
pub(crate) fn configured_by(path: &Path) -> Result<(Config, RegionStores)> {
    let config = configuration::load(Some(path))?;
    let Some(stores) = config.stores.clone() else {
        let message = "missing: this command needs `[kafka]`, `[redis]` and `[postgres]`";
        return Err(ConfigError {
            faults: vec![Fault { key: "kafka".into(), message: message.into() }],
        }
        .into());
    };
    if !config.zones.is_empty() {
        bail!("zones beside `global` are not served by this version");
    }
    Ok((config, stores))
}

/// Opens all three. Kafka and Postgres must answer: nothing can be told without them. Redis may be
/// away.
pub(crate) async fn open(stores: &RegionStores, policies: Arc<Policies>) -> Result<Region> {
    let log = KafkaLog::open(kafka(&stores.kafka), log_name()?)
        .await
        .context("cannot open the log on Kafka")?;
    let history = PostgresHistory::open(postgres(&stores.postgres), log.incarnation())
        .await
        .context("cannot open the history on Postgres")?;
    let backplane = RedisBackplane::start(&redis(&stores.redis, policies)?)
        .context("cannot use the backplane on Redis")?;
    if !backplane.wait_connected(REDIS_PATIENCE).await {
        tracing::warn!("Redis does not answer yet; it is tried further");
    }
    Ok(Region { log: Arc::new(log), backplane: Arc::new(backplane), history: Arc::new(history) })
}

pub(crate) fn log_name() -> Result<LogName> {
    LogName::parse(LOG).context("not a log's name")
}

pub(crate) fn kafka(config: &config::Kafka) -> meridian_kafka::Options {
    let mut options = meridian_kafka::Options::new(&config.bootstrap);
    options.prefix.clone_from(&config.topic_prefix);
    let properties = config.properties.iter();
    options.properties =
        properties.map(|(name, value)| (name.clone(), value.expose().to_owned())).collect();
    options.topics.partitions = config.partitions;
    options.topics.replication = Some(config.replication);
    options.topics.min_insync = Some(if config.replication > 1 { 2 } else { 1 });
    options
}

pub(crate) fn postgres(config: &config::Postgres) -> meridian_postgres::Options {
    let mut options = meridian_postgres::Options::new(config.url.expose());
    options.schema.clone_from(&config.schema);
    options.tls = match config.plain {
        true => meridian_postgres::Tls::Off,
        false => meridian_postgres::Tls::Verified { ca_file: config.ca.clone() },
    };
    options.readers = config.connections as u32;
    options
}

fn redis(config: &config::Redis, policies: Arc<Policies>) -> Result<RedisOptions> {
    let read = |path: &std::path::PathBuf| {
        std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let tls_ca_pem = config.ca.as_ref().map(read).transpose()?;
    let url = config.url.expose().to_owned();
    Ok(RedisOptions { url, tls_ca_pem, policies, ..RedisOptions::default() })
}

/// Returns once another epoch of the log was begun.
pub(crate) async fn superseded(state: &mut watch::Receiver<LogState>) {
    let next = |state: &LogState| matches!(state.ended(), Some(Ended::Superseded { .. }));
    if state.wait_for(next).await.is_err() {
        std::future::pending::<()>().await;
    }
}

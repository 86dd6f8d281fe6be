//! A region's servers: the log on Kafka, the backplane on Redis, the history on Postgres, opened as the
//! configuration says. Owns nothing of what is done with them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use meridian_core::config::{self, Config, ConfigError, Fault, RegionStores};
use meridian_core::policy::Policies;
use meridian_core::seams::{History as _, Incarnation, Log as _};
use meridian_core::vocabulary::{LogName, Offset, Partition, Stream};
use meridian_kafka::{EpochRecord, KafkaLog, OpenError};
use meridian_postgres::PostgresHistory;
use meridian_redis::{RedisBackplane, RedisOptions};

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

/// What a try to open a region's servers came to.
pub(crate) enum Opening {
    Opened(Region),
    /// Which incarnation the log has, nobody can tell: why.
    Waiting(String),
}

/// Opens all three. What is away is gone on without, and asked further: Redis always, Postgres where
/// Kafka tells the log's incarnation, and Kafka where Postgres does.
pub(crate) async fn open(stores: &RegionStores, policies: Arc<Policies>) -> Result<Opening> {
    let (log, history) = match KafkaLog::open(kafka(&stores.kafka), log_name()?).await {
        Ok(log) => {
            let history = history(stores, log.incarnation()).await?;
            (log, history)
        }
        // What became of its topic, the log itself says: halted, for a person to see.
        Err(error @ (OpenError::Kafka(_) | OpenError::OtherTopic { .. })) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "Kafka has no log to open");
            match remembered(stores).await? {
                Ok(opened) => opened,
                Err(why) => return Ok(Opening::Waiting(format!("{error}, and {why}"))),
            }
        }
        Err(error) => return Err(error).context("cannot open the log on Kafka"),
    };
    let backplane = RedisBackplane::start(&redis(&stores.redis, policies)?)
        .context("cannot use the backplane on Redis")?;
    if !backplane.wait_connected(REDIS_PATIENCE).await {
        tracing::warn!("Redis does not answer yet; it is tried further");
    }
    let (log, backplane, history) = (Arc::new(log), Arc::new(backplane), Arc::new(history));
    Ok(Opening::Opened(Region { log, backplane, history }))
}

async fn history(stores: &RegionStores, log: &Incarnation) -> Result<PostgresHistory> {
    let options = postgres(&stores.postgres);
    let opened = match PostgresHistory::open(options.clone(), log).await {
        Err(error) if error.is_away() => {
            tracing::warn!("Postgres does not answer yet; it is tried further");
            PostgresHistory::resume(options, log)
        }
        opened => opened,
    };
    opened.context("cannot open the history on Postgres")
}

/// The log as the history knows it; the inner error: why it does not.
async fn remembered(
    stores: &RegionStores,
) -> Result<Result<(KafkaLog, PostgresHistory), &'static str>> {
    let (options, name) = (postgres(&stores.postgres), log_name()?);
    let incarnation = match PostgresHistory::newest(&options, &name).await {
        Ok(Some(incarnation)) => incarnation,
        Ok(None) => return Ok(Err("no router has noted the log in Postgres yet")),
        Err(error) if error.is_away() => return Ok(Err("Postgres does not answer either")),
        Err(error) => return Err(error).context("cannot open the history on Postgres"),
    };
    let history = history(stores, &incarnation).await?;
    let stream = |partition| Stream {
        log: name.clone(),
        epoch: incarnation.epoch,
        partition: Partition(partition),
    };
    let streams: Vec<Stream> = (0..incarnation.partitions).map(stream).collect();
    let Ok(checkpoints) = history.checkpoints(&streams).await else {
        return Ok(Err("Postgres does not answer any more"));
    };
    let ends: Vec<(Partition, Offset)> = checkpoints
        .into_iter()
        .map(|(partition, stored)| (partition, stored.position.next_offset()))
        .collect();
    let options = kafka(&stores.kafka);
    let record = EpochRecord::of(&incarnation, &options).context("the history is not of Kafka")?;
    let log = KafkaLog::resume(options, name, record, ends)
        .await
        .context("cannot open the log on Kafka")?;
    Ok(Ok((log, history)))
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

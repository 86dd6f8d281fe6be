//! A region's servers: the logs on Kafka, the backplane on Redis, the history on Postgres, opened as the
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
/// The log of namespaces that name no zone.
pub(crate) const GLOBAL: &str = "global";

/// The opened stores of a region.
pub(crate) struct Region {
    /// The logs that it consumes: `global`, then its zones.
    pub(crate) logs: Vec<LogHere>,
    pub(crate) backplane: Arc<RedisBackplane>,
}

/// A log, and the region's history of it.
#[derive(Clone)]
pub(crate) struct LogHere {
    pub(crate) log: Arc<KafkaLog>,
    pub(crate) history: Arc<PostgresHistory>,
}

/// Where a log is.
#[derive(Debug, Clone)]
pub(crate) struct LogPlace {
    pub(crate) name: LogName,
    pub(crate) kafka: config::Kafka,
}

impl Region {
    /// Returns once one of the logs went on to another epoch.
    pub(crate) async fn superseded(logs: &[LogHere]) {
        let ends = logs.iter().map(|here| Box::pin(here.log.superseded()));
        futures_util::future::select_all(ends).await;
    }
}

impl LogHere {
    pub(crate) fn name(&self) -> &LogName {
        &self.log.incarnation().log
    }

    /// What a part of the region that is this log's alone is called: a zone's has its name.
    pub(crate) fn part(&self, part: &str) -> String {
        match self.name().as_str() {
            GLOBAL => part.to_owned(),
            zone => format!("{part} {zone}"),
        }
    }
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
    Ok((config, stores))
}

/// The logs that the configuration's region consumes: `global`, then its zones by name.
pub(crate) fn places(config: &Config, stores: &RegionStores) -> Result<Vec<LogPlace>> {
    let global = LogName::parse(GLOBAL).context("not a log's name")?;
    let mut places = vec![LogPlace { name: global, kafka: stores.kafka.clone() }];
    let zones = config.zones.iter().filter(|(_, zone)| zone.is_of(&config.node.region));
    places.extend(
        zones.map(|(name, zone)| LogPlace { name: name.clone(), kafka: zone.kafka(&stores.kafka) }),
    );
    Ok(places)
}

/// One of them by its name.
pub(crate) fn place(config: &Config, stores: &RegionStores, name: &str) -> Result<LogPlace> {
    let mut places = places(config, stores)?;
    let Some(at) = places.iter().position(|place| place.name.as_str() == name) else {
        let known: Vec<&str> = places.iter().map(|place| place.name.as_str()).collect();
        let (region, known) = (&config.node.region, known.join(", "));
        bail!("the region `{region}` has no log `{name}`; it has: {known}");
    };
    Ok(places.swap_remove(at))
}

/// What a try to open a region's servers came to.
pub(crate) enum Opening {
    Opened(Region),
    /// Which incarnation a log has, nobody can tell: why.
    Waiting(String),
}

/// Opens all of them. What is away is gone on without, and asked further: Redis always, Postgres where
/// Kafka tells the log's incarnation, and Kafka where Postgres does.
pub(crate) async fn open(
    stores: &RegionStores,
    places: &[LogPlace],
    policies: Arc<Policies>,
) -> Result<Opening> {
    // All at once: clusters that are away are waited for once.
    let asked = places.iter().map(|place| KafkaLog::open(kafka(&place.kafka), place.name.clone()));
    let mut logs: Vec<LogHere> = Vec::new();
    let answers = futures_util::future::join_all(asked).await;
    for (place, answer) in places.iter().zip(answers) {
        let first = logs.first().map(|here| &*here.history);
        match log_here(stores, place, answer, first).await? {
            Ok(here) => logs.push(here),
            Err(why) => {
                close(&logs).await;
                return Ok(Opening::Waiting(why));
            }
        }
    }
    let backplane = RedisBackplane::start(&redis(&stores.redis, policies)?)
        .context("cannot use the backplane on Redis")?;
    if !backplane.wait_connected(REDIS_PATIENCE).await {
        tracing::warn!("Redis does not answer yet; it is tried further");
    }
    Ok(Opening::Opened(Region { logs, backplane: Arc::new(backplane) }))
}

/// The histories of opened logs, without asking Postgres, which may be away.
pub(crate) fn resume<'a>(
    stores: &RegionStores,
    logs: impl Iterator<Item = &'a Arc<KafkaLog>>,
) -> Result<Vec<LogHere>> {
    let mut resumed: Vec<LogHere> = Vec::new();
    for log in logs {
        let history = match resumed.first() {
            Some(first) => first.history.beside(log.incarnation()),
            None => PostgresHistory::resume(postgres(&stores.postgres), log.incarnation())
                .context("cannot use the history on Postgres")?,
        };
        resumed.push(LogHere { log: log.clone(), history: Arc::new(history) });
    }
    Ok(resumed)
}

/// Ends what was opened of logs and histories.
pub(crate) async fn close(logs: &[LogHere]) {
    for here in logs {
        here.log.close().await;
        here.history.close().await;
    }
}

/// A log as Kafka answered, else as the history knows it; the inner error: why neither tells. `first` is
/// the history of another log, if there is one by now.
async fn log_here(
    stores: &RegionStores,
    place: &LogPlace,
    answer: Result<KafkaLog, OpenError>,
    first: Option<&PostgresHistory>,
) -> Result<Result<LogHere, String>> {
    let (log, history) = match answer {
        Ok(log) => {
            let history = history(stores, log.incarnation(), first).await?;
            (log, history)
        }
        // What became of its topic, the log itself says: halted, for a person to see.
        Err(error @ (OpenError::Kafka(_) | OpenError::OtherTopic { .. })) => {
            let log = &place.name;
            tracing::warn!(%log, error = &error as &dyn std::error::Error, "Kafka has no log to open");
            match remembered(stores, place, first).await? {
                Ok(opened) => opened,
                Err(why) => return Ok(Err(format!("{log}: {error}, and {why}"))),
            }
        }
        Err(error) => {
            return Err(error)
                .with_context(|| format!("cannot open the log `{}` on Kafka", place.name));
        }
    };
    Ok(Ok(LogHere { log: Arc::new(log), history: Arc::new(history) }))
}

async fn history(
    stores: &RegionStores,
    log: &Incarnation,
    first: Option<&PostgresHistory>,
) -> Result<PostgresHistory> {
    let failed = "cannot open the history on Postgres";
    let history = match first {
        Some(first) => first.beside(log),
        None => PostgresHistory::resume(postgres(&stores.postgres), log).context(failed)?,
    };
    match history.ask().await {
        Err(error) if error.is_away() => {
            tracing::warn!("Postgres does not answer yet; it is tried further");
        }
        asked => asked.context(failed)?,
    }
    Ok(history)
}

/// The log as the history knows it; the inner error: why it does not.
async fn remembered(
    stores: &RegionStores,
    place: &LogPlace,
    first: Option<&PostgresHistory>,
) -> Result<Result<(KafkaLog, PostgresHistory), &'static str>> {
    let (options, name) = (postgres(&stores.postgres), &place.name);
    let incarnation = match PostgresHistory::newest(&options, name).await {
        Ok(Some(incarnation)) => incarnation,
        Ok(None) => return Ok(Err("no router has noted the log in Postgres yet")),
        Err(error) if error.is_away() => return Ok(Err("Postgres does not answer either")),
        Err(error) => return Err(error).context("cannot open the history on Postgres"),
    };
    let history = history(stores, &incarnation, first).await?;
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
    let options = kafka(&place.kafka);
    let record = EpochRecord::of(&incarnation, &options).context("the history is not of Kafka")?;
    let log = KafkaLog::resume(options, name.clone(), record, ends)
        .await
        .context("cannot open the log on Kafka")?;
    Ok(Ok((log, history)))
}

pub(crate) fn kafka(config: &config::Kafka) -> meridian_kafka::Options {
    let mut options = meridian_kafka::Options::new(&config.bootstrap);
    options.prefix.clone_from(&config.topic_prefix);
    let properties = config.properties.iter();
    options.properties =
        properties.map(|(name, value)| (name.clone(), value.expose().to_owned())).collect();
    options.queue_bytes = config.queue_bytes;
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

//! `[kafka]`, `[redis]`, `[postgres]`, `[regions.NAME]`, `[zones.NAME]`: the servers of a region and
//! the other regions. Reads the files that hold addresses with passwords; never shows one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use super::network::Origin;
use super::reader::Section;
use crate::vocabulary::LogName;

const MAX_PARTITIONS: u64 = 1024;
const MAX_REPLICATION: u64 = 9;
const MIN_QUEUE_BYTES: usize = 8 << 20;
const MAX_QUEUE_BYTES: usize = 8 << 30;
/// The zone of namespaces that name none.
const GLOBAL: &str = "global";
const MAX_CONNECTIONS: usize = 256;

/// A text that may hold a password. Its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

/// `[kafka]`, and a zone's own cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kafka {
    /// `host:port`, comma-separated.
    pub bootstrap: String,
    /// `meridian`: topics are `{prefix}.{log}.{epoch}`.
    pub topic_prefix: String,
    /// 64 of a new log; fixed for its epoch.
    pub partitions: u32,
    /// 3: one broker may be down and another one fail.
    pub replication: u16,
    /// 64 MiB: what an edge holds of publishes that Kafka does not have yet, no tenant more than half.
    pub queue_bytes: usize,
    /// More of the client library's properties, such as `security.protocol`.
    pub properties: BTreeMap<String, SecretText>,
}

/// `[redis]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redis {
    /// `redis://`, or `rediss://` for TLS; `redis-sentinel://` and `redis-cluster://` likewise; with user
    /// and password.
    pub url: SecretText,
    /// The system's roots, unless a PEM file is named.
    pub ca: Option<PathBuf>,
}

/// `[postgres]`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Postgres {
    /// `postgres://user:password@host:port/database`.
    pub url: SecretText,
    /// The system's roots, unless a PEM file is named.
    pub ca: Option<PathBuf>,
    /// `meridian`
    pub schema: String,
    /// false: the server is verified. True: no encryption, for a server on this host.
    pub plain: bool,
    /// 8: a node's reads are few and shared.
    pub connections: usize,
}

/// The servers that a region's edges and routers share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegionStores {
    pub kafka: Kafka,
    pub redis: Redis,
    pub postgres: Postgres,
}

/// A log of its own, whose records stay in some regions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// Empty: every region.
    pub regions: BTreeSet<String>,
    /// A cluster of its own; `None`: `kafka.bootstrap`, with `kafka.properties`.
    pub cluster: Option<ZoneCluster>,
    /// `None`: `kafka.partitions`.
    pub partitions: Option<u32>,
    /// `None`: `kafka.replication`.
    pub replication: Option<u16>,
}

/// A zone's own Kafka cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZoneCluster {
    pub bootstrap: String,
    pub properties: BTreeMap<String, SecretText>,
}

impl Zone {
    /// Whether a region consumes this log.
    pub fn is_of(&self, region: &str) -> bool {
        self.regions.is_empty() || self.regions.contains(region)
    }

    /// The Kafka that holds it, where `kafka` is the region's.
    pub fn kafka(&self, kafka: &Kafka) -> Kafka {
        let mut own = kafka.clone();
        if let Some(cluster) = &self.cluster {
            own.bootstrap.clone_from(&cluster.bootstrap);
            own.properties.clone_from(&cluster.properties);
        }
        own.partitions = self.partitions.unwrap_or(own.partitions);
        own.replication = self.replication.unwrap_or(own.replication);
        own
    }
}

impl SecretText {
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself: for the client that connects, and nobody else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

/// The three sections; `None`: none of them is there. Some but not all is a fault.
pub(super) fn read(root: &mut Section<'_, '_>) -> Option<RegionStores> {
    let kafka = root.section("kafka", kafka);
    let redis = root.section("redis", redis);
    let postgres = root.section("postgres", postgres);
    let given = [
        ("kafka.bootstrap", kafka.is_some()),
        ("redis.url", redis.is_some()),
        ("postgres.url", postgres.is_some()),
    ];
    let sections = ["kafka", "redis", "postgres"].into_iter().any(|section| root.has(section));
    if sections {
        for (key, _) in given.into_iter().filter(|(_, given)| !given) {
            root.fault(key, "missing or not valid: Kafka, Redis and Postgres go together");
        }
    }
    Some(RegionStores { kafka: kafka?, redis: redis?, postgres: postgres? })
}

/// The regions' public addresses, by name.
pub(super) fn regions(root: &mut Section<'_, '_>) -> BTreeMap<String, Origin> {
    let given = root.named("regions", |name, section| {
        let url = section
            .optional("url", |text| text.strip_suffix('/').unwrap_or(text).parse::<Origin>());
        if url.is_none() && !section.has("url") {
            section.fault("url", "missing: where the region's clients connect");
        }
        (name.to_owned(), url)
    });
    given.into_iter().filter_map(|(name, url)| Some((name, url?))).collect()
}

/// The zones beside `global`, by name.
pub(super) fn zones(root: &mut Section<'_, '_>) -> BTreeMap<LogName, Zone> {
    let given = root.named("zones", |name, section| (name.to_owned(), zone(section)));
    let mut zones = BTreeMap::new();
    for (name, zone) in given {
        let fault = match LogName::parse(&name) {
            Ok(log) if log.as_str() == GLOBAL => "the log `global` is every region's, by `[kafka]`",
            Ok(log) => {
                zones.insert(log, zone);
                continue;
            }
            Err(_) => "not a log's name",
        };
        root.fault(&format!("zones.{}", name.escape_debug()), fault);
    }
    zones
}

fn zone(section: &mut Section<'_, '_>) -> Zone {
    let regions = section.list("regions", super::node::name).into_iter().collect();
    let properties: BTreeMap<_, _> = section.list("properties", property).into_iter().collect();
    let given = !properties.is_empty();
    let cluster = section
        .optional("bootstrap", brokers)
        .map(|bootstrap| ZoneCluster { bootstrap, properties });
    if cluster.is_none() && given {
        section.fault("properties", "belong to a cluster of the zone's own: name its `bootstrap`");
    }
    // 0 stands for the region's.
    let partitions = section.number("partitions", 0, 0..=MAX_PARTITIONS) as u32;
    let replication = section.number("replication", 0, 0..=MAX_REPLICATION) as u16;
    Zone {
        regions,
        cluster,
        partitions: (partitions > 0).then_some(partitions),
        replication: (replication > 0).then_some(replication),
    }
}

fn kafka(section: &mut Section<'_, '_>) -> Option<Kafka> {
    let properties = section.list("properties", property);
    let kafka = Kafka {
        bootstrap: String::new(),
        topic_prefix: section.parsed("topic_prefix", "meridian", super::node::name),
        partitions: section.number("partitions", 64, 1..=MAX_PARTITIONS) as u32,
        replication: section.number("replication", 3, 1..=MAX_REPLICATION) as u16,
        queue_bytes: section.size("queue_bytes", 64 << 20, MIN_QUEUE_BYTES..=MAX_QUEUE_BYTES),
        properties: properties.into_iter().collect(),
    };
    let bootstrap = section.optional("bootstrap", brokers)?;
    Some(Kafka { bootstrap, ..kafka })
}

fn redis(section: &mut Section<'_, '_>) -> Option<Redis> {
    let ca = super::node::file(section, "ca");
    let schemes =
        ["redis", "rediss", "redis-sentinel", "rediss-sentinel", "redis-cluster", "rediss-cluster"];
    let url = secret_url(section, &schemes)?;
    Some(Redis { url, ca })
}

fn postgres(section: &mut Section<'_, '_>) -> Option<Postgres> {
    let ca = super::node::file(section, "ca");
    let schema = section.parsed("schema", "meridian", identifier);
    let plain = section.flag("plain", false);
    let connections = section.size("connections", 8, 2..=MAX_CONNECTIONS);
    let url = secret_url(section, &["postgres", "postgresql"])?;
    Some(Postgres { url, ca, plain, schema, connections })
}

/// `url`, or the first line of `url_file`. Nothing of it is ever in a fault.
fn secret_url(section: &mut Section<'_, '_>, schemes: &[&str]) -> Option<SecretText> {
    let base = section.base();
    let url = section.text("url").map(str::to_owned);
    let file = section.optional("url_file", |text| {
        let path = base.join(text);
        std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
    });
    let (key, url) = match (url, file) {
        (Some(_), Some(_)) => {
            section.fault("url_file", "`url` and `url_file` exclude each other");
            return None;
        }
        (Some(url), None) => ("url", url),
        (None, Some(text)) => ("url_file", text.lines().next().unwrap_or_default().to_owned()),
        (None, None) => return None,
    };
    let scheme = url.split_once("://").map(|(scheme, _)| scheme);
    if scheme.is_none_or(|scheme| !schemes.contains(&scheme)) {
        section.fault(key, format!("must begin with one of: {}", schemes.join("://, ") + "://"));
        return None;
    }
    Some(SecretText(url))
}

pub(super) fn brokers(text: &str) -> Result<String, &'static str> {
    let broker = |text: &str| match text.rsplit_once(':') {
        Some((host, port)) => !host.is_empty() && port.parse::<u16>().is_ok(),
        None => false,
    };
    match text.split(',').map(str::trim).all(broker) {
        true => Ok(text.to_owned()),
        false => Err("must be HOST:PORT, or several divided by commas"),
    }
}

pub(super) fn property(text: &str) -> Result<(String, SecretText), &'static str> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => {
            Ok((name.to_owned(), SecretText(value.to_owned())))
        }
        _ => Err("must be NAME=VALUE"),
    }
}

/// A name that needs no quotes in SQL.
fn identifier(text: &str) -> Result<String, &'static str> {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_lowercase() || b == b'_');
    let rest = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    match first && rest && text.len() <= 63 {
        true => Ok(text.to_owned()),
        false => Err("must be lower-case letters, digits and `_`, at most 63"),
    }
}

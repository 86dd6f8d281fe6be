//! Regions on real servers: where their Kafka, Redis and Postgres are, the processes on them, and what
//! their stores hold. Owns how a region is configured; measures nothing.

mod metrics;
mod node;
mod records;
mod views;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use meridian_core::policy::{Policies, Policy};
use meridian_core::seams::Incarnation;
use meridian_core::vocabulary::{Epoch, LogName, Namespace, Partition, Stream};
use meridian_kafka::KafkaLog;
use meridian_redis::{RedisBackplane, RedisOptions};
use meridian_stack::Stack;
use serde::{Deserialize, Serialize};

pub(crate) use metrics::metric;
pub(crate) use node::{Node, Region, Role};
pub(crate) use records::fill;
pub(crate) use views::Views;

const LOG: &str = "global";
/// The namespace of everything that is measured.
const NAMESPACE: &str = "bench";
const TENANT: &str = "bench";

/// The addresses of one region's servers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Servers {
    pub(crate) kafka: String,
    pub(crate) redis: String,
    pub(crate) postgres: String,
}

/// The process id of one of the stack's servers.
pub(crate) fn server_pid(stack: &Stack, server: &str) -> Result<u32> {
    let path = stack.folder(server).join("pid");
    let text = std::fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))?;
    Ok(text.trim().parse()?)
}

/// An incarnation on its way to another process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogPlan {
    pub(crate) topic: String,
    epoch: u32,
    identity: String,
    partitions: u32,
    window_records: u32,
    window_ms: u64,
}

impl Servers {
    /// The region's Redis and Postgres by number, from 1, and the stack's Kafka.
    pub(crate) fn of(stack: &Stack, number: u32) -> Self {
        Self::beside(stack.kafka(), stack, number)
    }

    /// The same with a Kafka that is elsewhere.
    pub(crate) fn beside(kafka: &str, stack: &Stack, number: u32) -> Self {
        let postgres = stack.postgres(number);
        Self {
            kafka: kafka.to_owned(),
            redis: stack.redis(number).to_owned(),
            postgres: postgres.split('?').next().unwrap_or(postgres).to_owned(),
        }
    }

    /// The options of a log whose topics begin with `prefix`, as the server would make them for one broker.
    pub(crate) fn log_options(&self, prefix: &str, partitions: u32) -> meridian_kafka::Options {
        let mut options = meridian_kafka::Options::new(&self.kafka);
        options.prefix = prefix.to_owned();
        options.topics.partitions = partitions;
        options.topics.replication = Some(1);
        options.topics.min_insync = Some(1);
        options
    }

    pub(crate) fn postgres_options(&self) -> meridian_postgres::Options {
        let mut options = meridian_postgres::Options::new(&self.postgres);
        options.tls = meridian_postgres::Tls::Off;
        options
    }

    /// The same backplane as the region's processes have.
    pub(crate) fn backplane(&self) -> Result<RedisBackplane> {
        let own = (Namespace::parse(NAMESPACE)?, Policy::default());
        let policies = Policies::new(BTreeMap::from([own])).into();
        let url = self.redis.clone();
        Ok(RedisBackplane::start(&RedisOptions { url, policies, ..RedisOptions::default() })?)
    }
}

impl LogPlan {
    pub(crate) fn of(log: &KafkaLog) -> Self {
        use meridian_core::seams::Log as _;
        let incarnation = log.incarnation();
        Self {
            topic: log.record().topic.clone(),
            epoch: incarnation.epoch.0,
            identity: incarnation.identity.clone(),
            partitions: incarnation.partitions,
            window_records: incarnation.window_records,
            window_ms: incarnation.window_ms,
        }
    }

    pub(crate) fn incarnation(&self) -> Result<Incarnation> {
        Ok(Incarnation {
            log: log_name()?,
            epoch: Epoch(self.epoch),
            identity: self.identity.clone(),
            partitions: self.partitions,
            window_records: self.window_records,
            window_ms: self.window_ms,
        })
    }
}

pub(crate) fn log_name() -> Result<LogName> {
    Ok(LogName::parse(LOG)?)
}

/// A log's partitions in order.
pub(crate) fn streams(incarnation: &Incarnation) -> Vec<Stream> {
    let (log, epoch) = (&incarnation.log, incarnation.epoch);
    let stream = |n| Stream { log: log.clone(), epoch, partition: Partition(n) };
    (0..incarnation.partitions).map(stream).collect()
}

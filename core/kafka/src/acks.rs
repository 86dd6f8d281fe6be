//! The seam of acknowledged positions on Kafka: a compacted topic per log, which outlives the log's epochs.
//! Owns that topic and the producer; merges nothing.

mod reader;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use meridian_core::seams::{AckLog, AckLogError, KeyedAck, ack_key, ack_value};
use meridian_core::vocabulary::{LogName, partition_of};
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord};

use crate::cluster::{Cluster, blocking, new_topic};
use crate::context::Context;
use crate::epochs::OpenError;
use crate::identity::Described;
use crate::options::Options;

pub use reader::{AckGroup, KafkaAckReader};

/// Enough for a region's routers to share; the positions of a log with fewer partitions are few.
const MOST_PARTITIONS: u32 = 8;
/// What lies in a segment that is still written is not compacted, and every new region reads it all.
const SEGMENT: Duration = Duration::from_secs(3600);

/// A log's acknowledged positions in a Kafka topic.
#[derive(Clone)]
pub struct KafkaAcks {
    shared: Arc<Shared>,
}

struct Shared {
    options: Options,
    log: LogName,
    topic: String,
    partitions: u32,
    /// Taken out when it is dropped.
    producer: Option<FutureProducer<Context>>,
}

impl KafkaAcks {
    /// Opens a log's positions; makes their topic unless it exists. Needs a tokio runtime.
    pub async fn open(options: Options, log: LogName) -> Result<Self, OpenError> {
        let opened = blocking(move || Shared::open(options, log)).await;
        Ok(Self { shared: Arc::new(opened.ok_or(OpenError::Cancelled)??) })
    }

    /// A reader of a region. It joins the region's group with its first `next`.
    pub fn reader(&self, group: AckGroup) -> KafkaAckReader {
        KafkaAckReader::new(self.shared.clone(), group)
    }
}

impl Shared {
    fn open(options: Options, log: LogName) -> Result<Self, OpenError> {
        let cluster = Cluster::connect(&options)?;
        let topic = options.acks_topic(&log);
        let partitions = find(&cluster, &options, &topic)?.partitions;
        let mut config = options.note_taker();
        // A retry must not let an older position pass a newer one.
        config.set("enable.idempotence", "true");
        config.set("linger.ms", "5");
        config.set("compression.type", "lz4");
        let producer = Some(config.create_with_context(Context)?);
        Ok(Self { options, log, topic, partitions, producer })
    }

    async fn send(&self, (key, acknowledged): &KeyedAck) -> Result<(), KafkaError> {
        let Some(producer) = &self.producer else { return Ok(()) };
        let (key, value) = (ack_key(key), ack_value(acknowledged));
        let partition = partition_of(&key, self.partitions).0 as i32;
        let record = FutureRecord::to(&self.topic).partition(partition).key(&key).payload(&value);
        let sending = producer.send(record, self.options.request);
        sending.await.map(|_| ()).map_err(|(error, _)| error)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let Some(producer) = self.producer.take() else { return };
        // It waits for its thread.
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(producer))),
            Err(_) => drop(producer),
        }
    }
}

/// The topic, made if there is none. One that would forget positions is refused.
fn find(cluster: &Cluster, options: &Options, topic: &str) -> Result<Described, OpenError> {
    let found = match cluster.describe(topic)? {
        Some(found) => found,
        None => create(cluster, options, topic)?,
    };
    let policy = cluster.settings(topic)?.remove("cleanup.policy").unwrap_or_default();
    if policy != "compact" {
        let topic = topic.to_owned();
        return Err(OpenError::Setting { topic, name: "cleanup.policy", value: policy });
    }
    Ok(found)
}

fn create(cluster: &Cluster, options: &Options, topic: &str) -> Result<Described, KafkaError> {
    let made = &options.topics;
    let insync = made.min_insync.map(|copies| copies.to_string());
    let segment = SEGMENT.as_millis().to_string();
    let mut frame = new_topic(topic, made.partitions.min(MOST_PARTITIONS), made.replication)
        .set("message.timestamp.type", "LogAppendTime")
        .set("cleanup.policy", "compact")
        .set("unclean.leader.election.enable", "false")
        .set("segment.ms", &segment);
    if let Some(copies) = &insync {
        frame = frame.set("min.insync.replicas", copies);
    }
    cluster.create(&frame)
}

#[async_trait]
impl AckLog for KafkaAcks {
    fn log(&self) -> &LogName {
        &self.shared.log
    }

    async fn append(&self, acks: Vec<KeyedAck>) -> Result<(), AckLogError> {
        let sent = try_join_all(acks.iter().map(|ack| self.shared.send(ack))).await;
        sent.map(|_| ()).map_err(|error| unavailable(&error))
    }
}

fn unavailable(error: &KafkaError) -> AckLogError {
    tracing::debug!(%error, "the acknowledged positions' topic does not do as asked");
    AckLogError
}

//! The epochs of a log: which topic each is, by identity. Owns the topic that records them; an epoch once
//! recorded is never changed.

use std::time::{Duration, Instant};

use meridian_core::seams::Incarnation;
use meridian_core::vocabulary::{Epoch, LogName};
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};

use crate::cluster::{Cluster, blocking, new_topic};
use crate::context::Context;
use crate::identity::Described;
use crate::options::Options;

/// Settings of a topic without which the log breaks a promise.
const PROMISES: [&str; 5] = [
    "message.timestamp.type",
    "cleanup.policy",
    "retention.bytes",
    "unclean.leader.election.enable",
    "retention.ms",
];

/// What is recorded of an epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochRecord {
    pub epoch: u32,
    pub topic: String,
    pub cluster_id: String,
    pub topic_id: String,
    pub partitions: u32,
    /// W.
    pub window_records: u32,
    /// D.
    pub window_ms: u64,
}

/// Why a log can't be opened or given its next epoch.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("kafka could not be asked")]
    Kafka(#[from] KafkaError),
    /// The topic of this name is not the one that was recorded, or is gone.
    #[error("topic {topic} is not the one recorded for its epoch")]
    OtherTopic { topic: String },
    /// A topic holds records, but no epoch tells of it.
    #[error("topic {topic} holds records and no epoch is recorded for it")]
    Unrecorded { topic: String },
    #[error("topic {topic} has {name}={value}")]
    Setting { topic: String, name: &'static str, value: String },
    #[error("an epoch's record in {topic} can't be read")]
    Damaged { topic: String },
    #[error("the opening was cut short")]
    Cancelled,
}

impl EpochRecord {
    /// As the seam names it.
    pub fn incarnation(&self, log: &LogName) -> Incarnation {
        Incarnation {
            log: log.clone(),
            epoch: Epoch(self.epoch),
            identity: format!("{}/{}", self.cluster_id, self.topic_id),
            partitions: self.partitions,
            window_records: self.window_records,
            window_ms: self.window_ms,
        }
    }

    /// From what another store noted of the incarnation; `None`: it is none of Kafka's.
    pub fn of(incarnation: &Incarnation, options: &Options) -> Option<Self> {
        let (cluster_id, topic_id) = incarnation.identity.split_once('/')?;
        Some(Self {
            epoch: incarnation.epoch.0,
            topic: options.topic(&incarnation.log, incarnation.epoch),
            cluster_id: cluster_id.to_owned(),
            topic_id: topic_id.to_owned(),
            partitions: incarnation.partitions,
            window_records: incarnation.window_records,
            window_ms: incarnation.window_ms,
        })
    }
}

/// A log's newest epoch, made and recorded if there is none. Blocks.
pub(crate) fn current(
    cluster: &Cluster,
    options: &Options,
    log: &LogName,
) -> Result<EpochRecord, OpenError> {
    let topic = options.epochs_topic(log);
    create_epochs_topic(cluster, options, &topic)?;
    let newest = match load(cluster, options, &topic, None)?.pop() {
        Some(newest) => newest,
        None => begin(cluster, options, log, Epoch(1))?,
    };
    verify(cluster, &newest)?;
    Ok(newest)
}

/// A log's epochs as they are recorded, in order; none: nobody has opened the log yet. Makes nothing.
pub async fn recorded(options: Options, log: LogName) -> Result<Vec<EpochRecord>, OpenError> {
    let recorded = blocking(move || {
        let cluster = Cluster::connect(&options)?;
        let topic = options.epochs_topic(&log);
        match cluster.describe(&topic)? {
            Some(_) => load(&cluster, &options, &topic, None),
            None => Ok(Vec::new()),
        }
    });
    recorded.await.ok_or(OpenError::Cancelled)?
}

/// Begins the next epoch of a log, which goes on from there: handles of the one before refuse appends
/// from when they learn of it. The old topic takes no more records, so that none is acknowledged that
/// nobody will read.
pub async fn new_epoch(options: Options, log: LogName) -> Result<EpochRecord, OpenError> {
    let next = blocking(move || {
        let cluster = Cluster::connect(&options)?;
        let topic = options.epochs_topic(&log);
        create_epochs_topic(&cluster, &options, &topic)?;
        let newest = load(&cluster, &options, &topic, None)?.pop();
        if let Some(newest) = &newest
            && cluster.describe(&newest.topic)?.is_some_and(|found| found.id == newest.topic_id)
        {
            cluster.seal(&newest.topic)?;
        }
        let next = newest.map_or(1, |newest| newest.epoch + 1);
        begin(&cluster, &options, &log, Epoch(next))
    });
    next.await.ok_or(OpenError::Cancelled)?
}

/// Makes an epoch's topic and records it; answers what was recorded first.
pub(crate) fn begin(
    cluster: &Cluster,
    options: &Options,
    log: &LogName,
    epoch: Epoch,
) -> Result<EpochRecord, OpenError> {
    let topic = options.topic(log, epoch);
    let described = create_topic(cluster, options, &topic)?;
    for partition in 0..described.partitions {
        // A topic of this name that was left over from another life is not to be taken for this epoch.
        if cluster.patiently(|| cluster.bounds(&topic, partition))?.end > 0 {
            return Err(OpenError::Unrecorded { topic });
        }
    }
    let record = EpochRecord {
        epoch: epoch.0,
        topic,
        cluster_id: cluster.id()?,
        topic_id: described.id,
        partitions: described.partitions,
        window_records: options.topics.window_records,
        window_ms: options.topics.window_ms,
    };
    let epochs = options.epochs_topic(log);
    store(options, &epochs, &record)?;
    let first = load(cluster, options, &epochs, Some(epoch))?.pop().ok_or(OpenError::Cancelled)?;
    if first != record {
        // Another process was first. Compaction keeps the last of a key: let it be the same.
        store(options, &epochs, &first)?;
    }
    Ok(first)
}

/// That the topic is the one recorded, and keeps what the epoch promises.
pub(crate) fn verify(cluster: &Cluster, record: &EpochRecord) -> Result<(), OpenError> {
    let topic = record.topic.clone();
    let described = cluster.describe(&topic)?;
    let same = described.is_some_and(|described| {
        described.id == record.topic_id && described.partitions == record.partitions
    });
    if !same || cluster.id()? != record.cluster_id {
        return Err(OpenError::OtherTopic { topic });
    }
    let settings = cluster.settings(&topic)?;
    let wrong = PROMISES.into_iter().find_map(|name| {
        let value = settings.get(name).cloned().unwrap_or_default();
        (!keeps_promise(record, name, &value)).then_some((name, value))
    });
    if let Some((name, value)) = wrong {
        return Err(OpenError::Setting { topic, name, value });
    }
    Ok(())
}

/// Whether a topic so set has the log's time, and keeps every record at least D.
fn keeps_promise(record: &EpochRecord, name: &str, value: &str) -> bool {
    match name {
        "message.timestamp.type" => value == "LogAppendTime",
        "cleanup.policy" => value == "delete",
        // By size, a burst would push out what is younger than D.
        "retention.bytes" => value == "-1",
        // A replica that lacks the tail would give its offsets out again.
        "unclean.leader.election.enable" => value == "false",
        _ => value
            .parse::<i64>()
            .is_ok_and(|kept_ms| u64::try_from(kept_ms).map_or(true, |ms| ms >= record.window_ms)),
    }
}

fn create_epochs_topic(
    cluster: &Cluster,
    options: &Options,
    topic: &str,
) -> Result<Described, KafkaError> {
    let frame = new_topic(topic, 1, options.topics.replication);
    cluster.create(&frame.set("cleanup.policy", "compact").set("retention.ms", "-1"))
}

fn create_topic(
    cluster: &Cluster,
    options: &Options,
    topic: &str,
) -> Result<Described, KafkaError> {
    let made = &options.topics;
    let retention = made.retention_ms.map_or(-1, |ms| ms.max(made.window_ms) as i64).to_string();
    let insync = made.min_insync.map(|copies| copies.to_string());
    let mut frame = new_topic(topic, made.partitions, made.replication)
        .set("message.timestamp.type", "LogAppendTime")
        .set("cleanup.policy", "delete")
        .set("unclean.leader.election.enable", "false")
        .set("retention.bytes", "-1")
        .set("retention.ms", &retention);
    if let Some(copies) = &insync {
        frame = frame.set("min.insync.replicas", copies);
    }
    cluster.create(&frame)
}

/// The epochs recorded, in order, each as it was recorded first; or only one of them. Blocks.
pub(crate) fn load(
    cluster: &Cluster,
    options: &Options,
    topic: &str,
    only: Option<Epoch>,
) -> Result<Vec<EpochRecord>, OpenError> {
    let consumer: BaseConsumer<Context> = options.consumer().create_with_context(Context)?;
    // Asking first also makes the client know the leader, for which an assignment waits long.
    let request = options.request;
    let (begin, end) = cluster.patiently(|| consumer.fetch_watermarks(topic, 0, request))?;
    let mut records: Vec<EpochRecord> = Vec::new();
    if begin == end {
        return Ok(records);
    }
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(topic, 0, Offset::Offset(begin))?;
    consumer.assign(&assignment)?;
    let started = Instant::now();
    while started.elapsed() < request {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let record = message.payload().map(serde_json::from_slice::<EpochRecord>);
                let Some(record) = record else { continue };
                let record = record.map_err(|_| OpenError::Damaged { topic: topic.to_owned() })?;
                let known = records.iter().any(|known| known.epoch == record.epoch);
                if !known && only.is_none_or(|epoch| epoch.0 == record.epoch) {
                    records.push(record);
                }
            }
            Some(Err(KafkaError::PartitionEOF(_))) => {
                records.sort_by_key(|record| record.epoch);
                return Ok(records);
            }
            Some(Err(error)) => tracing::debug!(%error, topic, "epochs can't be read yet"),
            None => {}
        }
    }
    Err(KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut).into())
}

fn store(options: &Options, topic: &str, record: &EpochRecord) -> Result<(), OpenError> {
    let producer: BaseProducer = options.note_taker().create()?;
    let payload =
        serde_json::to_vec(record).map_err(|_| OpenError::Damaged { topic: topic.to_owned() })?;
    let key = record.epoch.to_string();
    producer
        .send(BaseRecord::to(topic).partition(0).key(key.as_bytes()).payload(&payload))
        .map_err(|(error, _)| error)?;
    producer.flush(options.request)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_keeps_what_the_epoch_promises() {
        let json = r#"{"epoch":1,"topic":"m.global.1","cluster_id":"c","topic_id":"t",
            "partitions":64,"window_records":131072,"window_ms":1000}"#;
        let record: EpochRecord = serde_json::from_str(json).unwrap();
        let cases = [
            ("message.timestamp.type", "LogAppendTime", "CreateTime"),
            ("cleanup.policy", "delete", "compact,delete"),
            ("retention.bytes", "-1", "1073741824"),
            ("unclean.leader.election.enable", "false", "true"),
            ("retention.ms", "1000", "999"),
            ("retention.ms", "-1", ""),
        ];
        for (name, good, bad) in cases {
            assert!(PROMISES.contains(&name));
            assert!(keeps_promise(&record, name, good), "{name}={good}");
            assert!(!keeps_promise(&record, name, bad), "{name}={bad}");
        }
        let incarnation = record.incarnation(&LogName::parse("global").unwrap());
        assert_eq!((incarnation.identity.as_str(), incarnation.epoch), ("c/t", Epoch(1)));
        let mut options = Options::new("kafka:9092");
        options.prefix = "m".to_owned();
        assert_eq!(EpochRecord::of(&incarnation, &options), Some(record));
    }
}

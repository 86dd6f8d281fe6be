//! Requests about topics rather than records: create, describe, settings, ends. Every call blocks, with
//! a bound; async code asks through `blocking`.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, ConfigEntry, ConfigSource, NewTopic, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::context::Context;
use crate::identity::{self, Described};
use crate::options::Options;

/// Between two tries of what a cluster may not know yet.
const RETRY: Duration = Duration::from_millis(50);

/// A connection for requests about topics.
pub(crate) struct Cluster {
    admin: AdminClient<Context>,
    request: Duration,
}

/// Where a partition begins and ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) begin: u64,
    pub(crate) end: u64,
}

impl Cluster {
    pub(crate) fn connect(options: &Options) -> Result<Self, KafkaError> {
        let admin = options.client().create_with_context(Context)?;
        Ok(Self { admin, request: options.request })
    }

    /// The cluster's id.
    pub(crate) fn id(&self) -> Result<String, KafkaError> {
        let id = self.admin.inner().fetch_cluster_id(self.request);
        id.ok_or(KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut))
    }

    /// The topic as it is now; `None`: there is none.
    pub(crate) fn describe(&self, topic: &str) -> Result<Option<Described>, KafkaError> {
        // Without a broker the request for a description burns a core until it times out; this one waits.
        self.admin.inner().fetch_metadata(Some(topic), self.request)?;
        identity::describe(self.admin.inner(), topic, self.request)
    }

    /// Creates a topic unless it exists, and returns once it is described.
    pub(crate) fn create(&self, topic: &NewTopic<'_>) -> Result<Described, KafkaError> {
        let options = AdminOptions::new()
            .request_timeout(Some(self.request))
            .operation_timeout(Some(self.request));
        let created = block_on(self.admin.create_topics([topic], &options))?;
        for result in created {
            match result {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(KafkaError::AdminOp(code)),
            }
        }
        // Not every broker knows it at once.
        self.patiently(|| match self.describe(topic.name) {
            Ok(None) => Err(KafkaError::AdminOp(RDKafkaErrorCode::UnknownTopicOrPartition)),
            Ok(Some(described)) => Ok(described),
            Err(error) => Err(error),
        })
    }

    /// A topic's settings, by name.
    pub(crate) fn settings(&self, topic: &str) -> Result<HashMap<String, String>, KafkaError> {
        let named = self.entries(topic)?.into_iter();
        Ok(named.filter_map(|entry| entry.value.map(|value| (entry.name, value))).collect())
    }

    fn entries(&self, topic: &str) -> Result<Vec<ConfigEntry>, KafkaError> {
        let options = AdminOptions::new().request_timeout(Some(self.request));
        let resources = [ResourceSpecifier::Topic(topic)];
        let mut entries = Vec::new();
        for answer in block_on(self.admin.describe_configs(&resources, &options))? {
            entries.extend(answer.map_err(KafkaError::AdminOp)?.entries);
        }
        Ok(entries)
    }

    /// Makes a topic refuse all records from now on: none is as small as it then wants them.
    pub(crate) fn seal(&self, topic: &str) -> Result<(), KafkaError> {
        let options = AdminOptions::new().request_timeout(Some(self.request));
        let mut altered = AlterConfig::new(ResourceSpecifier::Topic(topic));
        // What is not named again would fall back to its default.
        let mut kept = self.entries(topic)?;
        kept.retain(|entry| entry.source == ConfigSource::DynamicTopic);
        for entry in kept.iter().filter(|entry| entry.name != "max.message.bytes") {
            altered = altered.set(&entry.name, entry.value.as_deref().unwrap_or_default());
        }
        let altered = altered.set("max.message.bytes", "0");
        for answer in block_on(self.admin.alter_configs([&altered], &options))? {
            answer.map_err(|(_, code)| KafkaError::AdminOp(code))?;
        }
        Ok(())
    }

    /// Bounds of one partition, asked of its leader.
    pub(crate) fn bounds(&self, topic: &str, partition: u32) -> Result<Bounds, KafkaError> {
        let partition = partition as i32;
        let (begin, end) = self.admin.inner().fetch_watermarks(topic, partition, self.request)?;
        Ok(Bounds { begin: offset(begin), end: offset(end) })
    }

    /// Tries again for as long as one request may take.
    pub(crate) fn patiently<T>(
        &self,
        mut attempt: impl FnMut() -> Result<T, KafkaError>,
    ) -> Result<T, KafkaError> {
        let started = Instant::now();
        loop {
            match attempt() {
                Ok(value) => return Ok(value),
                Err(error) if started.elapsed() >= self.request => return Err(error),
                Err(_) => std::thread::sleep(RETRY),
            }
        }
    }
}

/// The ends of all partitions in one request per broker. `None`: that partition did not answer.
pub(crate) fn ends(
    consumer: &impl Consumer<Context>,
    topic: &str,
    partitions: u32,
    timeout: Duration,
) -> Result<Vec<Option<u64>>, KafkaError> {
    let mut asked = TopicPartitionList::with_capacity(partitions as usize);
    for partition in 0..partitions {
        // In this request an offset stands for a time, and the end for the newest.
        asked.add_partition_offset(topic, partition as i32, Offset::End)?;
    }
    let answer = consumer.offsets_for_times(asked, timeout)?;
    let mut ends = vec![None; partitions as usize];
    for element in answer.elements() {
        let end = match (element.error(), element.offset()) {
            (Ok(()), Offset::Offset(end)) => Some(offset(end)),
            _ => None,
        };
        if let Some(place) = ends.get_mut(element.partition() as usize) {
            *place = end;
        }
    }
    Ok(ends)
}

/// A new topic's frame.
pub(crate) fn new_topic(name: &str, partitions: u32, replication: Option<u16>) -> NewTopic<'_> {
    let copies = replication.map_or(-1, i32::from);
    NewTopic::new(name, partitions as i32, TopicReplication::Fixed(copies))
}

/// Runs a blocking call beside the runtime.
pub(crate) async fn blocking<T: Send + 'static>(
    call: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    tokio::task::spawn_blocking(call).await.ok()
}

fn offset(raw: i64) -> u64 {
    u64::try_from(raw).unwrap_or(0)
}

/// Waits for an answer of the admin client, which comes from a thread of its own.
fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Handle::current().block_on(future)
}

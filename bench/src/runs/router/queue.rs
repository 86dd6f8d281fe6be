//! Reading a topic with the Kafka client alone: one consumer, a queue for each partition.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use meridian_core::seams::LogRecord;
use meridian_core::vocabulary::Offset;
use rdkafka::Message as _;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer as _, DefaultConsumerContext};
use rdkafka::topic_partition_list::{Offset as At, TopicPartitionList};
use tokio::sync::Notify;

/// Between two looks at the consumer's own events.
const SERVE: Duration = Duration::from_millis(200);

/// A topic and its consumer, with the client's defaults.
pub(super) struct Topic {
    consumer: Arc<BaseConsumer>,
    name: String,
    partitions: u32,
}

/// One partition's records, as they were fetched.
pub(super) struct Queue {
    queue: PartitionQueue<DefaultConsumerContext>,
    filled: Arc<Notify>,
}

impl Topic {
    pub(super) fn open(bootstrap: &str, name: &str, partitions: u32) -> Result<Self> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", bootstrap)
            .set("group.id", "meridian-bench")
            .set("enable.auto.commit", "false")
            .create()?;
        Ok(Self { consumer: Arc::new(consumer), name: name.to_owned(), partitions })
    }

    /// To be taken before the assignment: later, records would be in the common queue.
    pub(super) fn queue(&self, partition: u32) -> Result<Queue> {
        let queue = self.consumer.split_partition_queue(&self.name, partition as i32);
        let mut queue = queue.context("no such partition")?;
        let filled = Arc::new(Notify::new());
        let notify = filled.clone();
        queue.set_nonempty_callback(move || notify.notify_one());
        Ok(Queue { queue, filled })
    }

    /// Begins to read all partitions from their first record.
    pub(super) fn assign(&self) -> Result<()> {
        let mut places = TopicPartitionList::new();
        for partition in 0..self.partitions {
            places.add_partition_offset(&self.name, partition as i32, At::Beginning)?;
        }
        Ok(self.consumer.assign(&places)?)
    }

    /// Serves the consumer's own events, on a thread of its own, until one is an error.
    pub(super) fn serve(&self) -> Result<()> {
        loop {
            if let Some(message) = self.consumer.poll(SERVE) {
                message?;
            }
        }
    }
}

impl Queue {
    /// The next records, one at least, without waiting for more.
    pub(super) async fn take(&mut self, records: usize, bytes: usize) -> Result<Vec<LogRecord>> {
        let (mut taken, mut size) = (Vec::new(), 0);
        loop {
            while taken.len() < records && size < bytes {
                let Some(message) = self.queue.poll(Duration::ZERO) else { break };
                let message = message?;
                let stored = Bytes::copy_from_slice(message.payload().unwrap_or_default());
                size += stored.len();
                let time_ms = message.timestamp().to_millis().unwrap_or(0) as u64;
                taken.push(LogRecord { offset: Offset(message.offset() as u64), time_ms, stored });
            }
            if !taken.is_empty() {
                return Ok(taken);
            }
            self.filled.notified().await;
        }
    }
}

//! The floor: the Kafka client alone at both ends of the link. A producer with the settings that the
//! edge's has, a consumer with the client's own.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use rdkafka::Message as _;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::time::{Instant, sleep_until};

use super::tally::Tally;
use crate::clock::monotonic_ns;
use crate::payload;

pub(super) const TOPIC: &str = "bare";
const POLL: Duration = Duration::from_millis(100);
const FLUSH: Duration = Duration::from_secs(30);

/// Makes the topic.
pub(super) async fn create(bootstrap: &str, partitions: u32) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = config(bootstrap).create()?;
    let topic = NewTopic::new(TOPIC, partitions as i32, TopicReplication::Fixed(1));
    for made in admin.create_topics([&topic], &AdminOptions::new()).await? {
        ensure!(made.is_ok(), "the topic was not made: {made:?}");
    }
    Ok(())
}

/// Publishes at a fixed rate and waits for nobody.
pub(super) struct Publisher {
    producer: ThreadedProducer<DefaultProducerContext>,
    partitions: u32,
    bytes: usize,
    rate: u32,
}

impl Publisher {
    pub(super) fn new(bootstrap: &str, partitions: u32, bytes: usize, rate: u32) -> Result<Self> {
        let producer = config(bootstrap)
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("compression.type", "lz4")
            .set("linger.ms", "1")
            .create()?;
        Ok(Self { producer, partitions, bytes, rate })
    }

    /// For so long; how many.
    pub(super) async fn publish(&self, seconds: u32) -> Result<u64> {
        let begun = Instant::now();
        let period = Duration::from_secs(1) / self.rate;
        let total = u64::from(self.rate) * u64::from(seconds);
        for sent in 0..total {
            sleep_until(begun + period.mul_f64(sent as f64)).await;
            let data = payload::make(self.bytes, monotonic_ns());
            let partition = (sent % u64::from(self.partitions)) as i32;
            let record = BaseRecord::<(), [u8]>::to(TOPIC).partition(partition).payload(&data);
            self.producer.send(record).map_err(|(error, _)| error)?;
        }
        let producer = self.producer.clone();
        tokio::task::spawn_blocking(move || producer.flush(FLUSH)).await??;
        Ok(total)
    }
}

/// Counts what comes, on a thread of its own, until that fails.
pub(super) fn consume(bootstrap: &str, partitions: u32, tally: &Arc<Tally>) -> Result<()> {
    let consumer: BaseConsumer = config(bootstrap)
        .set("group.id", "meridian-bench")
        .set("enable.auto.commit", "false")
        .create()?;
    let mut places = TopicPartitionList::new();
    for partition in 0..partitions {
        // From the beginning of an empty topic: its end would be asked for, and found late.
        places.add_partition_offset(TOPIC, partition as i32, Offset::Beginning)?;
    }
    consumer.assign(&places)?;
    loop {
        match consumer.poll(POLL) {
            None => {}
            Some(Ok(message)) => {
                tally.at_consumer(message.payload().unwrap_or_default(), monotonic_ns());
            }
            Some(Err(KafkaError::MessageConsumption(error))) if is_passing(error) => {}
            Some(Err(error)) => return Err(error.into()),
        }
    }
}

/// The client goes on by itself.
fn is_passing(error: rdkafka::error::RDKafkaErrorCode) -> bool {
    use rdkafka::error::RDKafkaErrorCode as Code;
    matches!(error, Code::BrokerTransportFailure | Code::AllBrokersDown | Code::OperationTimedOut)
}

fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap);
    config
}

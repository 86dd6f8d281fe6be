//! The source's suite on a topic of somebody else.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use meridian_core::seams::conformance::source::{self as suite, PARTITIONS, SourceFixture};
use meridian_core::seams::{DeadLetter, SourceRecord};
use meridian_kafka::{GroupOptions, KafkaSource, Options, SourceOptions};
use meridian_stack::Stack;
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{Header, Headers as _, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use tokio::sync::OnceCell;

use crate::help::{admin, broker, options, recreate};

const PATIENCE: Duration = Duration::from_secs(60);

struct Fixture {
    options: Options,
    topic: String,
    made: OnceCell<()>,
    producer: BaseProducer,
}

impl Fixture {
    fn new(stack: &Stack) -> Self {
        let options = options(stack, PARTITIONS);
        let topic = format!("{}.orders", options.prefix);
        let producer = client(&options).create().unwrap();
        Self { options, topic, made: OnceCell::new(), producer }
    }

    fn dead_letter_topic(&self) -> String {
        format!("{}.dead-letter", self.topic)
    }

    fn partition(&self, partition: u32, at: Offset) -> TopicPartitionList {
        let mut place = TopicPartitionList::new();
        place.add_partition_offset(&self.topic, partition as i32, at).unwrap();
        place
    }

    async fn make_topic(&self) {
        let make = async || {
            let frame = NewTopic::new(&self.topic, PARTITIONS as i32, TopicReplication::Fixed(1));
            admin(&self.options).create_topics([&frame], &AdminOptions::new()).await.unwrap();
        };
        self.made.get_or_init(make).await;
    }
}

fn client(options: &Options) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &options.bootstrap).set("group.id", "suite");
    config
}

#[async_trait(?Send)]
impl SourceFixture for Fixture {
    type Source = KafkaSource;

    async fn reader(&self) -> KafkaSource {
        self.make_topic().await;
        let (topic, dead_letter_topic) = (self.topic.clone(), self.dead_letter_topic());
        let group = GroupOptions {
            id: format!("{topic}.readers"),
            member: None,
            session: Duration::from_secs(6),
        };
        let kafka = self.options.clone();
        KafkaSource::open(SourceOptions { kafka, topic, dead_letter_topic, group }).await.unwrap()
    }

    async fn end(&self, reader: KafkaSource) {
        reader.close().await;
    }

    async fn push(&self, records: Vec<SourceRecord>) {
        self.make_topic().await;
        for record in &records {
            let headers =
                record.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                    headers.insert(Header { key, value: Some(&value[..]) })
                });
            let mut sent: BaseRecord<'_, [u8], [u8]> =
                BaseRecord::to(&self.topic).partition(record.partition as i32).headers(headers);
            sent.key = record.key.as_deref();
            sent.payload = record.payload.as_deref();
            self.producer.send(sent).map_err(|(error, _)| error).unwrap();
        }
        self.producer.flush(PATIENCE).unwrap();
    }

    async fn retain_from(&self, partition: u32, earliest: u64) {
        let place = self.partition(partition, Offset::Offset(earliest as i64));
        admin(&self.options).delete_records(&place, &AdminOptions::new()).await.unwrap();
    }

    async fn replace(&self) {
        recreate(&self.options, &self.topic, PARTITIONS as i32).await;
    }

    async fn letters(&self) -> Vec<DeadLetter> {
        let consumer: BaseConsumer = client(&self.options).create().unwrap();
        let topic = self.dead_letter_topic();
        let (mut place, mut left) = (TopicPartitionList::new(), 0);
        for partition in 0..PARTITIONS as i32 {
            place.add_partition_offset(&topic, partition, Offset::Beginning).unwrap();
            left += consumer.fetch_watermarks(&topic, partition, PATIENCE).unwrap().1;
        }
        consumer.assign(&place).unwrap();
        let mut letters = Vec::new();
        while left > 0 {
            letters.push(letter(&consumer.poll(PATIENCE).unwrap().unwrap()));
            left -= 1;
        }
        letters
    }
}

/// Reads one as it is documented.
fn letter(message: &impl Message) -> DeadLetter {
    let headers = message.headers().unwrap().iter();
    let mut headers: Vec<(String, Bytes)> = headers
        .map(|header| (header.key.to_owned(), Bytes::copy_from_slice(header.value.unwrap())))
        .collect();
    let own = headers.split_off(headers.len() - 5);
    let value = |name: &str| {
        let (_, value) = own.iter().find(|(key, _)| key == name).unwrap();
        String::from_utf8(value.to_vec()).unwrap()
    };
    let record = SourceRecord {
        partition: value("meridian-partition").parse().unwrap(),
        offset: value("meridian-offset").parse().unwrap(),
        key: message.key().map(Bytes::copy_from_slice),
        headers,
        payload: message.payload().map(Bytes::copy_from_slice),
    };
    let generation = value("meridian-generation").parse().unwrap();
    DeadLetter { record, generation, reason: value("meridian-reason") }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conformance() {
    let stack = broker();
    suite::all(|| Fixture::new(&stack)).await;
}

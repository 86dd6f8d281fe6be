//! The suite of the acknowledged positions' log, and what only Kafka's promises.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use meridian_core::seams::conformance::acks::{self as suite, AckFixture};
use meridian_core::seams::conformance::{acknowledged, acknowledged_key as key};
use meridian_core::seams::{AckLog as _, AckReader as _, KeyedAck};
use meridian_core::vocabulary::partition_of;
use meridian_kafka::{AckGroup, KafkaAckReader, KafkaAcks, OpenError, Options};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

use crate::help::{admin, broker, delete, eventually, global, options};

const PATIENCE: Duration = Duration::from_secs(60);

struct Fixture(Options);

fn group(region: &str) -> AckGroup {
    let session = Duration::from_secs(6);
    AckGroup { region: region.to_owned(), history: "h1".to_owned(), session }
}

async fn open(options: &Options) -> KafkaAcks {
    KafkaAcks::open(options.clone(), global()).await.unwrap()
}

#[async_trait]
impl AckFixture for Fixture {
    type Log = KafkaAcks;
    type Reader = KafkaAckReader;

    async fn open(&self) -> KafkaAcks {
        open(&self.0).await
    }

    async fn reader(&self, log: &KafkaAcks, region: &str) -> KafkaAckReader {
        log.reader(group(region))
    }

    async fn shut(&self, log: KafkaAcks) {
        drop(log);
    }

    async fn append_raw(&self, _: &KafkaAcks, key: Vec<u8>, value: Vec<u8>) {
        // Where its key belongs: to this partition's reader it comes in order.
        let partition = partition_of(&key, self.0.topics.partitions).0 as i32;
        let mut config = ClientConfig::new();
        let producer: BaseProducer =
            config.set("bootstrap.servers", &self.0.bootstrap).create().unwrap();
        let topic = self.0.acks_topic(&global());
        let record = BaseRecord::to(&topic).partition(partition).key(&key).payload(&value);
        producer.send(record).unwrap();
        producer.flush(PATIENCE).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conformance() {
    let stack = broker();
    suite::all(|| Fixture(options(&stack, 2))).await;
}

async fn read(reader: &mut KafkaAckReader, expected: &[KeyedAck]) -> BTreeSet<String> {
    let mut given = Vec::new();
    while !expected.iter().all(|ack| given.contains(ack)) {
        let batch = tokio::time::timeout(PATIENCE, reader.next()).await.unwrap().unwrap();
        given.extend(batch.acks);
    }
    given.iter().map(|(key, _)| key.subscriber.to_string()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_topic_and_its_groups() {
    let stack = broker();
    let options = options(&stack, 12);
    let topic = options.acks_topic(&global());
    let log = open(&options).await;
    let described = admin(&options).inner().fetch_metadata(Some(&topic), PATIENCE).unwrap();
    assert_eq!(described.topics()[0].partitions().len(), 8);

    // What was committed does not come again, unless the history is another one.
    let of = |name: &str| (key(name), acknowledged(0, 1, 1));
    log.append(vec![of("a")]).await.unwrap();
    let mut reader = log.reader(group("one"));
    read(&mut reader, &[of("a")]).await;
    reader.commit().await.unwrap();
    drop(reader);
    log.append(vec![of("b")]).await.unwrap();
    let mut reader = log.reader(group("one"));
    assert_eq!(read(&mut reader, &[of("b")]).await, BTreeSet::from(["b".to_owned()]));
    reader.commit().await.unwrap();
    let mut anew = log.reader(AckGroup { history: "h2".to_owned(), ..group("one") });
    read(&mut anew, &[of("a"), of("b")]).await;
    eventually("nothing is left", async || (anew.lag() == 0).then_some(())).await;

    a_topic_made_anew_is_read_from_its_start(&options, &log, reader).await;
    one_that_forgets_is_refused(&options).await;
}

async fn a_topic_made_anew_is_read_from_its_start(
    options: &Options,
    log: &KafkaAcks,
    mut reader: KafkaAckReader,
) {
    delete(options, &options.acks_topic(&global())).await;
    let again = eventually("the topic is made again", async || {
        KafkaAcks::open(options.clone(), global()).await.ok()
    })
    .await;
    let sent: Vec<KeyedAck> =
        (0..20).map(|i| (key(&format!("n{i}")), acknowledged(0, 1, i))).collect();
    eventually("an append", async || again.append(sent.clone()).await.ok()).await;
    let reading = async {
        let mut given: Vec<KeyedAck> = Vec::new();
        while !sent.iter().all(|ack| given.contains(ack)) {
            given.extend(reader.next().await.map(|batch| batch.acks).unwrap_or_default());
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap();
    // A handle from before goes on as well.
    eventually("an append", async || log.append(sent.clone()).await.ok()).await;
}

async fn one_that_forgets_is_refused(options: &Options) {
    let options = Options { prefix: format!("{}-other", options.prefix), ..options.clone() };
    let topic = options.acks_topic(&global());
    let frame =
        NewTopic::new(&topic, 1, TopicReplication::Fixed(1)).set("cleanup.policy", "delete");
    admin(&options).create_topics([&frame], &AdminOptions::new()).await.unwrap();
    let refused = KafkaAcks::open(options, global()).await.err().unwrap();
    assert!(matches!(refused, OpenError::Setting { name: "cleanup.policy", .. }), "{refused:?}");
}

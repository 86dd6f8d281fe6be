//! Options, records and the admin's hand for the tests.

use std::time::Duration;

use bytes::Bytes;
use meridian_core::seams::conformance::channel;
use meridian_core::seams::{AppendError, Appended, Log};
use meridian_core::vocabulary::{Body, ChannelKey, EventId, LogName, Record, Scope, Tenant};
use meridian_kafka::{KafkaLog, Options};
use meridian_stack::{Counts, Stack};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

/// One broker.
pub(crate) fn broker() -> Stack {
    Stack::start(Counts { kafka: 1, ..Counts::default() })
}

/// Options with topics that no other test has.
pub(crate) fn options(stack: &Stack, partitions: u32) -> Options {
    let mut options = Options::new(stack.kafka());
    options.prefix = format!("test-{:08x}", rand::random::<u32>());
    options.topics.partitions = partitions;
    options
}

pub(crate) fn global() -> LogName {
    LogName::parse("global").unwrap()
}

pub(crate) async fn open(options: &Options) -> KafkaLog {
    KafkaLog::open(options.clone(), global()).await.unwrap()
}

/// A record of `bytes` bytes and a little more.
pub(crate) fn record(log: &impl Log, key: &ChannelKey, id: &str, bytes: usize) -> Record {
    let body = Body { data: Bytes::from(vec![7; bytes]), ..Body::default() };
    Record {
        key: key.clone(),
        scope: Scope::of_token("tests", "ann"),
        id: EventId::parse(id).unwrap(),
        epoch: log.incarnation().epoch,
        body: body.encode(),
    }
}

/// A channel of another tenant.
pub(crate) fn channel_of(tenant: &str, name: &str) -> ChannelKey {
    ChannelKey { tenant: Tenant::parse(tenant).unwrap(), ..channel(name) }
}

pub(crate) async fn append_one(
    log: &impl Log,
    key: &ChannelKey,
    id: &str,
) -> Result<Appended, AppendError> {
    log.append(vec![record(log, key, id, 100)]).await.remove(0)
}

/// Asks again until there is an answer.
pub(crate) async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(Duration::from_secs(60), asking).await {
        Ok(answer) => answer,
        Err(_) => panic!("not within a minute: {what}"),
    }
}

pub(crate) fn admin(options: &Options) -> AdminClient<DefaultClientContext> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &options.bootstrap);
    config.create().unwrap()
}

/// The broker that leads each partition.
pub(crate) fn leaders(options: &Options, topic: &str) -> Vec<i32> {
    let admin = admin(options);
    let asked = admin.inner().fetch_metadata(Some(topic), Duration::from_secs(10)).unwrap();
    let mut leaders: Vec<(i32, i32)> =
        asked.topics()[0].partitions().iter().map(|found| (found.id(), found.leader())).collect();
    leaders.sort_unstable();
    leaders.into_iter().map(|(_, leader)| leader).collect()
}

/// A channel in each partition.
pub(crate) fn channel_in_each(log: &impl Log) -> Vec<ChannelKey> {
    let count = log.incarnation().partitions as usize;
    let mut found: Vec<Option<ChannelKey>> = vec![None; count];
    for key in (0..).map(|number| channel(&format!("c{number}"))) {
        found[log.partition(&key).0 as usize].get_or_insert(key);
        if found.iter().all(Option::is_some) {
            break;
        }
    }
    found.into_iter().flatten().collect()
}

/// Deletes a topic and makes another of its name.
pub(crate) async fn recreate(options: &Options, topic: &str, partitions: i32) {
    delete(options, topic).await;
    let admin = admin(options);
    let frame = NewTopic::new(topic, partitions, TopicReplication::Fixed(1))
        .set("message.timestamp.type", "LogAppendTime");
    eventually("the topic is made again", async || {
        let made = admin.create_topics([&frame], &AdminOptions::new()).await.unwrap();
        made[0].is_ok().then_some(())
    })
    .await;
}

pub(crate) async fn delete(options: &Options, topic: &str) {
    let admin = admin(options);
    let deleted = admin.delete_topics(&[topic], &AdminOptions::new()).await.unwrap();
    assert!(deleted[0].is_ok(), "{deleted:?}");
}

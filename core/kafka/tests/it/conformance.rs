//! The log's suite.

use async_trait::async_trait;
use meridian_core::seams::Log as _;
use meridian_core::seams::conformance::log::{self as suite, LogFixture};
use meridian_core::vocabulary::{LogName, Partition};
use meridian_kafka::{KafkaLog, Options};
use meridian_stack::{Counts, Stack};
use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

struct Fixture {
    options: Options,
}

impl Fixture {
    fn new(stack: &Stack) -> Self {
        let mut options = Options::new(stack.kafka());
        options.prefix = format!("suite-{:08x}", rand::random::<u32>());
        options.topics.partitions = 8;
        Self { options }
    }
}

#[async_trait]
impl LogFixture for Fixture {
    type Log = KafkaLog;

    async fn open(&self) -> KafkaLog {
        let log = LogName::parse("global").unwrap();
        KafkaLog::open(self.options.clone(), log).await.unwrap()
    }

    async fn shut(&self, log: KafkaLog) {
        log.close().await;
    }

    async fn empty(&self, log: &KafkaLog, partition: Partition) {
        let end = log.end(partition).await.unwrap().0 as i64;
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.options.bootstrap);
        let admin: AdminClient<DefaultClientContext> = config.create().unwrap();
        let mut offsets = TopicPartitionList::new();
        let (topic, partition) = (&log.record().topic, partition.0 as i32);
        offsets.add_partition_offset(topic, partition, Offset::Offset(end)).unwrap();
        admin.delete_records(&offsets, &AdminOptions::new()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conformance() {
    let stack = Stack::start(Counts { kafka: 1, ..Counts::default() });
    suite::all(|| Fixture::new(&stack)).await;
}

//! What a Kafka log is told from outside, and the client settings made from it. Owns which settings
//! nobody may override; it opens nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use meridian_core::vocabulary::{Epoch, LogName};
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};

/// How a log is reached, what it is made like, and how long anything may take.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bootstrap servers, comma-separated.
    pub bootstrap: String,
    /// Topics are `{prefix}.{log}.{epoch}`.
    pub prefix: String,
    /// More client properties of librdkafka: TLS, SASL. What order and durability rest on stays.
    pub properties: BTreeMap<String, String>,
    /// For topics that are created.
    pub topics: Topics,
    /// Bytes of records that wait or are unacknowledged at most; a tenant gets half.
    pub queue_bytes: usize,
    /// How long a record waits to be handed to the client before it is refused.
    pub queue_wait: Duration,
    /// Without any acknowledgement for so long, publishes are refused at once.
    pub silence: Duration,
    /// How long a record that was handed over may stay unacknowledged before its caller is told.
    pub acknowledge: Duration,
    /// A partition without progress for so long costs the producer: what it holds is given up, so that
    /// no record is stored long after its retry.
    pub abandon: Duration,
    /// How long records of one partition are gathered into a request.
    pub linger: Duration,
    /// One request of any other kind, a read included.
    pub request: Duration,
    /// How often identity, epochs and ends are looked at.
    pub watch: Duration,
    /// Bytes that are fetched ahead per partition.
    pub fetch_ahead: usize,
}

/// How a log's topics are made. The first three are then fixed for the epoch.
#[derive(Debug, Clone)]
pub struct Topics {
    pub partitions: u32,
    /// W.
    pub window_records: u32,
    /// D, in milliseconds.
    pub window_ms: u64,
    /// Copies of each partition; `None`: the broker's default.
    pub replication: Option<u16>,
    /// Copies that must have a record before it is acknowledged; `None`: the broker's default.
    pub min_insync: Option<u16>,
    /// How long records are kept, at least D; `None`: for ever.
    pub retention_ms: Option<u64>,
}

impl Options {
    /// The defaults for a cluster.
    pub fn new(bootstrap: &str) -> Self {
        Self {
            bootstrap: bootstrap.to_owned(),
            prefix: "meridian".to_owned(),
            properties: BTreeMap::new(),
            topics: Topics::default(),
            queue_bytes: 64 << 20,
            queue_wait: Duration::from_secs(2),
            silence: Duration::from_secs(2),
            // Longer than a leader's failover, so that one costs latency, not answers.
            acknowledge: Duration::from_secs(8),
            abandon: Duration::from_secs(30),
            linger: Duration::from_millis(1),
            request: Duration::from_secs(5),
            watch: Duration::from_secs(1),
            fetch_ahead: 1 << 20,
        }
    }

    /// The topic of an epoch.
    pub fn topic(&self, log: &LogName, epoch: Epoch) -> String {
        format!("{}.{log}.{}", self.prefix, epoch.0)
    }

    /// The compacted topic that the epochs are recorded in.
    pub fn epochs_topic(&self, log: &LogName) -> String {
        format!("{}.{log}.epochs", self.prefix)
    }

    /// The compacted topic that acknowledged positions travel through, whatever the epoch.
    pub fn acks_topic(&self, log: &LogName) -> String {
        format!("{}.{log}.acks", self.prefix)
    }

    /// Settings of every client.
    pub(crate) fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        // Without these a client is seconds late after the broker is back.
        config.set("reconnect.backoff.ms", "50").set("reconnect.backoff.max.ms", "500");
        config.set("socket.keepalive.enable", "true");
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config.set("bootstrap.servers", &self.bootstrap);
        config.set("allow.auto.create.topics", "false");
        config.set_log_level(RDKafkaLogLevel::Warning);
        config
    }

    /// Settings of the producer. No message has a timeout: one that timed out would let those behind
    /// it pass, and a batch would no longer be stored as a prefix.
    pub(crate) fn producer(&self) -> ClientConfig {
        let mut config = self.client();
        config.set("linger.ms", self.linger.as_millis().to_string());
        config.set("compression.type", "lz4");
        config.set("enable.idempotence", "true");
        config.set("acks", "all");
        config.set("message.timeout.ms", "0");
        // The queue in front has its own bound.
        config.set("queue.buffering.max.messages", "0");
        config.set("queue.buffering.max.kbytes", "2097151");
        // Tells when the producer has its id: `Deliveries` waits for it before the first record.
        config.set("statistics.interval.ms", "200");
        config
    }

    /// Settings of a producer of few records that are alike when written twice.
    pub(crate) fn note_taker(&self) -> ClientConfig {
        let mut config = self.client();
        config.set("acks", "all");
        config.set("linger.ms", "0");
        config.set("message.timeout.ms", self.request.as_millis().to_string());
        config
    }

    /// Settings of a consumer that reads by assignment; its group is a name, never joined.
    pub(crate) fn consumer(&self) -> ClientConfig {
        let mut config = self.client();
        config.set("group.id", format!("{}.readers", self.prefix));
        config.set("enable.auto.commit", "false");
        config.set("enable.auto.offset.store", "false");
        config.set("auto.offset.reset", "error");
        config.set("enable.partition.eof", "true");
        config.set("isolation.level", "read_uncommitted");
        config.set("check.crcs", "true");
        // A partition that is assigned anew waits for the request under way.
        config.set("fetch.wait.max.ms", "50");
        config.set("fetch.error.backoff.ms", "50");
        config.set("fetch.queue.backoff.ms", "10");
        config.set("queued.min.messages", "10000");
        let kib = (self.fetch_ahead >> 10).clamp(1, 1 << 20);
        config.set("queued.max.messages.kbytes", kib.to_string());
        config
            .set("max.partition.fetch.bytes", self.fetch_ahead.clamp(1 << 10, 1 << 28).to_string());
        config
    }
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            partitions: 64,
            window_records: 1 << 17,
            window_ms: 24 * 60 * 60 * 1000,
            replication: None,
            min_insync: None,
            retention_ms: Some(7 * 24 * 60 * 60 * 1000),
        }
    }
}

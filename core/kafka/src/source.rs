//! The source seam on Kafka: a topic that belongs to somebody else. A consumer group shares its partitions;
//! each commit carries the generation and the topic's id beside the offset. Owns the group's
//! member, the readers and the producer of dead letters.

mod committed;
mod letters;
mod reader;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use meridian_core::seams::{
    DeadLetter, Source, SourceBounds, SourceCommit, SourceError, SourceRecord,
};
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

use crate::cluster::{Cluster, blocking, new_topic};
use crate::context::Context;
use crate::member::{GroupOptions, Member};
use crate::options::Options;
use letters::Letters;
use reader::{PartitionReader, Room};

/// What is read, and as whom.
#[derive(Debug, Clone)]
pub struct SourceOptions {
    /// How the cluster is reached.
    pub kafka: Options,
    pub topic: String,
    pub dead_letter_topic: String,
    /// The readers that share the topic.
    pub group: GroupOptions,
}

/// A topic that can't be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceOpenError {
    #[error("there is no topic {0}")]
    NoTopic(String),
    #[error("kafka did not do as asked")]
    Kafka(#[from] KafkaError),
    #[error("the opening was cancelled")]
    Cancelled,
}

/// A topic as a source.
pub struct KafkaSource {
    shared: Arc<Shared>,
    partitions: BTreeMap<u32, Partition>,
    _tasks: JoinSet<()>,
}

struct Partition {
    reader: Mutex<PartitionReader>,
    /// Held by a commit until it is made, though nobody may wait for it any more.
    committing: Arc<Mutex<()>>,
}

struct Shared {
    options: SourceOptions,
    cluster: Cluster,
    /// The topic's id when it was opened.
    topic_id: String,
    member: Member<u32>,
    letters: Letters,
    consumer: Arc<BaseConsumer<Context>>,
    /// By now the topic is another one.
    replaced: AtomicBool,
}

impl KafkaSource {
    /// Joins the topic's readers; makes the topic of dead letters unless it exists. Needs a tokio runtime.
    pub async fn open(options: SourceOptions) -> Result<Self, SourceOpenError> {
        let opened = blocking(move || Shared::open(options)).await;
        let (shared, partitions) = opened.ok_or(SourceOpenError::Cancelled)??;
        let shared = Arc::new(shared);
        let partition = |number| {
            let topic: Arc<str> = shared.options.topic.as_str().into();
            let reader = PartitionReader::new(shared.consumer.clone(), topic, number);
            Partition { reader: Mutex::new(reader), committing: Arc::default() }
        };
        let partitions = (0..partitions).map(|number| (number, partition(number))).collect();
        let mut tasks = JoinSet::new();
        tasks.spawn(look(shared.clone()));
        Ok(Self { shared, partitions, _tasks: tasks })
    }

    /// Returns once this process reads no more: another one joined under its name.
    pub async fn replaced(&self) {
        self.shared.member.replaced().await;
    }

    /// Leaves the topic's readers, so that the others need not wait for the session to end.
    pub async fn close(&self) {
        let shared = self.shared.clone();
        let _ = blocking(move || shared.member.leave()).await;
    }

    fn partition(&self, number: u32) -> Result<&Partition, SourceError> {
        self.partitions.get(&number).ok_or(SourceError::NotOwned)
    }

    async fn ask<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Shared) -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, SourceError> {
        let shared = self.shared.clone();
        blocking(move || ask(&shared)).await.unwrap_or(Err(SourceError::Unavailable))
    }
}

impl Shared {
    fn open(options: SourceOptions) -> Result<(Self, u32), SourceOpenError> {
        let cluster = Cluster::connect(&options.kafka)?;
        let described = cluster.describe(&options.topic)?;
        let found = described.ok_or_else(|| SourceOpenError::NoTopic(options.topic.clone()))?;
        let copies = options.kafka.topics.replication;
        cluster.create(&new_topic(&options.dead_letter_topic, found.partitions, copies))?;
        let letters = Letters::open(&options)?;
        let mut config = options.kafka.consumer();
        // What a producer took back never was.
        config.set("isolation.level", "read_committed");
        let consumer: BaseConsumer<Context> = config.create_with_context(Context)?;
        let member = Member::join(&options.kafka, &options.topic, &options.group)?;
        let (topic_id, replaced) = (found.id, AtomicBool::new(false));
        let consumer = Arc::new(consumer);
        Ok((
            Self { options, cluster, topic_id, member, letters, consumer, replaced },
            found.partitions,
        ))
    }

    fn committed(&self, partition: u32) -> Result<Option<SourceCommit>, SourceError> {
        let found = self.member.committed(partition).map_err(|error| unavailable(&error))?;
        let Some((next, note)) = found else { return Ok(None) };
        let replaced = |generation| Err(SourceError::Replaced { generation });
        match committed::read(&note) {
            Some(note) if note.topic_id == self.topic_id => {
                Ok(Some(SourceCommit { generation: note.generation, next, paused: note.paused }))
            }
            Some(note) => replaced(note.generation),
            None => replaced(0),
        }
    }

    fn bounds(&self, partition: u32) -> Result<SourceBounds, SourceError> {
        let bounds = self.cluster.bounds(&self.options.topic, partition);
        let bounds = bounds.map_err(|error| unavailable(&error))?;
        Ok(SourceBounds { earliest: bounds.begin, end: bounds.end })
    }

    fn commit(&self, partition: u32, commit: SourceCommit) -> Result<(), SourceError> {
        // A commit for the topic that was would be taken for one of the topic that is.
        self.check()?;
        let note = committed::write(commit, &self.topic_id);
        match self.member.commit(partition, commit.next, &note) {
            Ok(()) => Ok(()),
            Err(KafkaError::ConsumerCommit(
                RDKafkaErrorCode::UnknownMemberId
                | RDKafkaErrorCode::IllegalGeneration
                | RDKafkaErrorCode::AssignmentLost
                | RDKafkaErrorCode::NoOffset,
            )) => Err(SourceError::NotOwned),
            Err(error) => Err(unavailable(&error)),
        }
    }

    fn check(&self) -> Result<(), SourceError> {
        match self.replaced.load(Ordering::Relaxed) {
            // The process must be started anew, and then asks for a redelivery.
            true => Err(SourceError::Replaced { generation: 0 }),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Source for KafkaSource {
    fn owned(&self) -> watch::Receiver<BTreeSet<u32>> {
        self.shared.member.owned()
    }

    async fn committed(&self, partition: u32) -> Result<Option<SourceCommit>, SourceError> {
        self.ask(move |shared| shared.committed(partition)).await
    }

    async fn bounds(&self, partition: u32) -> Result<SourceBounds, SourceError> {
        self.ask(move |shared| shared.bounds(partition)).await
    }

    async fn read(
        &self,
        partition: u32,
        from: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<SourceRecord>, SourceError> {
        let mut reader = self.partition(partition)?.reader.lock().await;
        loop {
            self.shared.check()?;
            let read = reader.read(from, Room { records: max_records, bytes: max_bytes }).await;
            match read {
                Ok(records) if records.is_empty() => {}
                Ok(records) => return Ok(records),
                Err(error) => {
                    tracing::debug!(%error, partition, "a source can't be read");
                    let bounds = self.bounds(partition).await?;
                    if from < bounds.earliest {
                        return Err(SourceError::Gone { earliest: bounds.earliest });
                    }
                    return Err(SourceError::Unavailable);
                }
            }
        }
    }

    async fn commit(&self, partition: u32, commit: SourceCommit) -> Result<(), SourceError> {
        let committing = self.partition(partition)?.committing.clone().lock_owned().await;
        self.ask(move |shared| {
            let _until_made = committing;
            shared.commit(partition, commit)
        })
        .await
    }

    async fn dead_letter(&self, letters: Vec<DeadLetter>) -> Result<(), SourceError> {
        self.shared.letters.send(letters).await.map_err(|error| unavailable(&error))
    }
}

/// Serves the consumer's events and looks whether the topic is still the same, until it is dropped.
async fn look(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(shared.options.kafka.watch);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let looked = shared.clone();
        let _ = blocking(move || {
            // No records come here: each partition has a queue of its own.
            while looked.consumer.poll(Duration::ZERO).is_some() {}
            if let Ok(found) = looked.cluster.describe(&looked.options.topic)
                && found.is_none_or(|found| found.id != looked.topic_id)
            {
                looked.replaced.store(true, Ordering::Relaxed);
            }
        })
        .await;
    }
}

fn unavailable(error: &KafkaError) -> SourceError {
    tracing::debug!(%error, "a source does not do as asked");
    SourceError::Unavailable
}

//! A region's reader of the topic: a member of a consumer group, whose commits say what the region's
//! history has. Owns the member; whose the partitions are matters to no promise, since merging twice
//! changes nothing.
//!
//! The group's name carries the topic's id and the history's: where either was made anew, the region reads
//! all that there is.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use meridian_core::seams::{AckBatch, AckLogError, AckReader, read_ack};
use rdkafka::Message as _;
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Shared, unavailable};
use crate::cluster::{Cluster, blocking, ends};
use crate::context::Context;
use crate::member::{GroupOptions, config};

const BATCH: usize = 512;

/// The region's group.
#[derive(Debug, Clone)]
pub struct AckGroup {
    pub region: String,
    /// What tells the region's history from any other, also from its predecessor.
    pub history: String,
    /// Without a sign of life for so long, a reader's partitions go to the others.
    pub session: Duration,
}

/// A region's reader of a log's positions.
pub struct KafkaAckReader {
    topic: Arc<Shared>,
    group: AckGroup,
    joined: Option<Joined>,
}

struct Joined {
    consumer: Arc<StreamConsumer<Context>>,
    /// The next offset of each partition that was given from since the last commit.
    given: BTreeMap<i32, i64>,
    lag: Arc<AtomicU64>,
    /// The topic is another one by now.
    replaced: watch::Receiver<bool>,
    _looks: JoinSet<()>,
}

impl KafkaAckReader {
    pub(super) fn new(topic: Arc<Shared>, group: AckGroup) -> Self {
        Self { topic, group, joined: None }
    }

    async fn joined(&mut self) -> Result<&mut Joined, KafkaError> {
        if self.joined.as_ref().is_some_and(|joined| *joined.replaced.borrow()) {
            tracing::warn!(
                topic = self.topic.topic,
                "the topic was made anew: it is read from its start"
            );
            self.leave();
        }
        match &mut self.joined {
            Some(joined) => Ok(joined),
            none => {
                let (topic, group) = (self.topic.clone(), self.group.clone());
                let joined = blocking(move || Joined::join(&topic, &group)).await;
                let gone = KafkaError::Canceled;
                Ok(none.insert(joined.ok_or(gone)??))
            }
        }
    }

    /// Leaving waits for the brokers: not on this thread.
    fn leave(&mut self) {
        if let Some(joined) = self.joined.take() {
            match tokio::runtime::Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn_blocking(move || drop(joined))),
                Err(_) => drop(joined),
            }
        }
    }
}

impl Drop for KafkaAckReader {
    fn drop(&mut self) {
        self.leave();
    }
}

impl Joined {
    fn join(topic: &Arc<Shared>, group: &AckGroup) -> Result<Self, KafkaError> {
        let cluster = Cluster::connect(&topic.options)?;
        let unknown = KafkaError::AdminOp(RDKafkaErrorCode::UnknownTopic);
        let found = cluster.describe(&topic.topic)?.ok_or(unknown)?;
        let AckGroup { region, history, session } = group;
        let id = format!("{}.{region}.{}.{history}", topic.topic, found.id);
        let named = GroupOptions { id, member: None, session: *session };
        let mut config = config(&topic.options, &named);
        config.set("auto.offset.reset", "earliest");
        config.set("queued.max.messages.kbytes", "1024");
        let consumer: StreamConsumer<Context> = config.create_with_context(Context)?;
        consumer.subscribe(&[&topic.topic])?;
        let (consumer, lag) = (Arc::new(consumer), Arc::new(AtomicU64::new(0)));
        let (told, replaced) = watch::channel(false);
        let look = Look {
            consumer: Arc::downgrade(&consumer),
            cluster: Arc::new(cluster),
            topic: topic.clone(),
            id: found.id,
            lag: lag.clone(),
        };
        let mut looks = JoinSet::new();
        looks.spawn_on(look.run(told), &tokio::runtime::Handle::current());
        Ok(Self { consumer, given: BTreeMap::new(), lag, replaced, _looks: looks })
    }

    /// One message and what else is there. Waits for the first only.
    async fn next(&mut self, topic: &Shared) -> Result<AckBatch, KafkaError> {
        let mut batch = AckBatch::default();
        let mut replaced = self.replaced.clone();
        let first = tokio::select! {
            first = self.consumer.recv() => first?,
            _ = replaced.wait_for(|replaced| *replaced) => return Ok(batch),
        };
        take(&mut batch, &mut self.given, topic, &first);
        let mut taken = 1;
        // An error that follows comes again, or was of no consequence.
        while taken < BATCH
            && let Some(Ok(message)) = self.consumer.recv().now_or_never()
        {
            take(&mut batch, &mut self.given, topic, &message);
            taken += 1;
        }
        Ok(batch)
    }
}

fn take(
    batch: &mut AckBatch,
    given: &mut BTreeMap<i32, i64>,
    topic: &Shared,
    message: &BorrowedMessage<'_>,
) {
    given.insert(message.partition(), message.offset() + 1);
    // Without a value: an operator removed the key.
    let Some(value) = message.payload() else { return };
    match read_ack(&topic.log, message.key().unwrap_or_default(), value) {
        Ok(ack) => batch.acks.push(ack),
        Err(error) => {
            let (partition, offset) = (message.partition(), message.offset());
            tracing::warn!(%error, partition, offset, "an acknowledged position can't be read");
            batch.unreadable += 1;
        }
    }
}

#[async_trait]
impl AckReader for KafkaAckReader {
    async fn next(&mut self) -> Result<AckBatch, AckLogError> {
        let topic = self.topic.clone();
        let joined = self.joined().await.map_err(|error| unavailable(&error))?;
        joined.next(&topic).await.map_err(|error| unavailable(&error))
    }

    async fn commit(&mut self) -> Result<(), AckLogError> {
        let Some(joined) = &mut self.joined else { return Ok(()) };
        if joined.given.is_empty() {
            return Ok(());
        }
        let mut places = TopicPartitionList::with_capacity(joined.given.len());
        for (partition, next) in &joined.given {
            let place = Offset::Offset(*next);
            places
                .add_partition_offset(&self.topic.topic, *partition, place)
                .map_err(|error| unavailable(&error))?;
        }
        let consumer = joined.consumer.clone();
        let commit = move || consumer.commit(&places, CommitMode::Sync);
        let committed = blocking(commit).await.unwrap_or(Err(KafkaError::Canceled));
        committed.map_err(|error| unavailable(&error))?;
        // Once only: by then another reader may be further.
        joined.given.clear();
        Ok(())
    }

    fn lag(&self) -> u64 {
        self.joined.as_ref().map_or(0, |joined| joined.lag.load(Ordering::Relaxed))
    }
}

/// Looks now and then whether the topic is still the same, and how much of it is left.
struct Look {
    consumer: Weak<StreamConsumer<Context>>,
    cluster: Arc<Cluster>,
    topic: Arc<Shared>,
    id: String,
    lag: Arc<AtomicU64>,
}

impl Look {
    async fn run(self, replaced: watch::Sender<bool>) {
        let look = Arc::new(self);
        let mut ticks = tokio::time::interval(look.topic.options.watch);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let looking = look.clone();
            if blocking(move || looking.look()).await == Some(true) {
                replaced.send_replace(true);
                return;
            }
        }
    }

    /// Whether the topic was made anew.
    fn look(&self) -> bool {
        let name = &self.topic.topic;
        if let Ok(Some(found)) = self.cluster.describe(name)
            && found.id != self.id
        {
            return true;
        }
        match self.consumer.upgrade().map_or(Ok(0), |consumer| self.left(&consumer)) {
            Ok(left) => self.lag.store(left, Ordering::Relaxed),
            Err(error) => tracing::debug!(%error, topic = name, "the lag is not known"),
        }
        false
    }

    /// Records behind what was taken of the partitions that are ours.
    fn left(&self, consumer: &StreamConsumer<Context>) -> Result<u64, KafkaError> {
        let topic = &self.topic;
        let ends = ends(consumer, &topic.topic, topic.partitions, topic.options.request)?;
        let mut left = 0;
        for ours in consumer.position()?.elements() {
            let end = ends.get(ours.partition() as usize).copied().flatten();
            if let (Some(end), Offset::Offset(at)) = (end, ours.offset()) {
                left += end.saturating_sub(at as u64);
            }
        }
        Ok(left)
    }
}

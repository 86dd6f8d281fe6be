//! This process in the group that shares a topic's partitions: what it owns, and the group's commits.
//! A partition that is given up is committed no more before another member may have it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::watch;

use super::SourceOptions;
use crate::context;
use crate::group::{GroupOptions, config, take};

/// How often the member looks whether it is to leave.
const POLL: Duration = Duration::from_millis(100);

/// A member. Dropping it leaves the group, a little later; `leave` waits for that.
pub(super) struct Member {
    consumer: Mutex<Option<Arc<BaseConsumer<Membership>>>>,
    owned: watch::Receiver<BTreeSet<u32>>,
    committing: Arc<RwLock<()>>,
    topic: String,
    request: Duration,
    leaving: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

pub(super) struct Membership {
    owned: watch::Sender<BTreeSet<u32>>,
    /// Held for reading by commits, for writing while partitions are given up.
    committing: Arc<RwLock<()>>,
}

impl Member {
    pub(super) fn join(options: &SourceOptions) -> Result<Self, KafkaError> {
        let (sender, owned) = watch::channel(BTreeSet::new());
        let committing = Arc::new(RwLock::new(()));
        let membership = Membership { owned: sender, committing: committing.clone() };
        let (id, session) = (options.group.clone(), options.session);
        let group = GroupOptions { id, member: None, session };
        let consumer: BaseConsumer<Membership> =
            config(&options.kafka, &group).create_with_context(membership)?;
        consumer.subscribe(&[&options.topic])?;
        let (consumer, leaving) = (Arc::new(consumer), Arc::new(AtomicBool::new(false)));
        let (polled, told) = (consumer.clone(), leaving.clone());
        let thread = std::thread::Builder::new().name("kafka-source".to_owned());
        let thread = thread.spawn(move || serve(&polled, &told)).map_err(|error| {
            KafkaError::ClientCreation(format!("no thread for a source's member: {error}"))
        })?;
        Ok(Self {
            consumer: Mutex::new(Some(consumer)),
            owned,
            committing,
            topic: options.topic.clone(),
            request: options.kafka.request,
            leaving,
            thread: Mutex::new(Some(thread)),
        })
    }

    pub(super) fn owned(&self) -> watch::Receiver<BTreeSet<u32>> {
        self.owned.clone()
    }

    /// The group's offset and note. Blocks.
    pub(super) fn committed(&self, partition: u32) -> Result<Option<(u64, String)>, KafkaError> {
        let mut asked = TopicPartitionList::with_capacity(1);
        asked.add_partition(&self.topic, partition as i32);
        let found = self.consumer()?.committed_offsets(asked, self.request)?;
        let elements = found.elements();
        let Some(element) = elements.first() else { return Ok(None) };
        element.error()?;
        match element.offset() {
            Offset::Offset(next) => Ok(Some((next.max(0) as u64, element.metadata().to_owned()))),
            _ => Ok(None),
        }
    }

    /// Commits, if the partition is owned. Blocks.
    pub(super) fn commit(&self, partition: u32, next: u64, note: &str) -> Result<(), KafkaError> {
        let _held = self.committing.read().unwrap_or_else(PoisonError::into_inner);
        if !self.owned.borrow().contains(&partition) {
            return Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::AssignmentLost));
        }
        let mut place = TopicPartitionList::with_capacity(1);
        let mut element = place.add_partition(&self.topic, partition as i32);
        element.set_offset(Offset::Offset(next as i64))?;
        element.set_metadata(note);
        self.consumer()?.commit(&place, CommitMode::Sync)
    }

    /// Leaves the group. Blocks.
    pub(super) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
        let consumer = self.consumer.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(consumer);
    }

    fn consumer(&self) -> Result<Arc<BaseConsumer<Membership>>, KafkaError> {
        let consumer = self.consumer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        consumer.ok_or(KafkaError::ConsumerCommit(RDKafkaErrorCode::AssignmentLost))
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.leaving.store(true, Ordering::Relaxed);
    }
}

impl ClientContext for Membership {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        context::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        context::report(&error, reason);
    }
}

impl ConsumerContext for Membership {
    fn rebalance(
        &self,
        member: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let named: Vec<u32> =
            partitions.elements().iter().map(|element| element.partition() as u32).collect();
        let done = if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let done = take(member, partitions);
            self.owned.send_modify(|owned| owned.extend(named));
            done
        } else {
            let _held = self.committing.write().unwrap_or_else(PoisonError::into_inner);
            self.owned.send_modify(|owned| owned.retain(|partition| !named.contains(partition)));
            member.incremental_unassign(partitions)
        };
        if let Err(error) = done {
            tracing::warn!(%error, "a group's assignment was not taken over");
        }
    }
}

fn serve(member: &BaseConsumer<Membership>, leaving: &AtomicBool) {
    while !leaving.load(Ordering::Relaxed) {
        if let Some(Err(error)) = member.poll(POLL) {
            tracing::debug!(%error, "a source's member");
        }
    }
}

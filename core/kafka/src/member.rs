//! This process in a consumer group that shares a topic's partitions: what it owns, and the group's commits.
//! Fetches no record. A partition that is given up is committed no more before another member may
//! have it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::watch;

use crate::context;
use crate::options::Options;

/// How often the member looks whether it is to leave.
const POLL: Duration = Duration::from_millis(100);
/// A leave waits for the brokers no longer than this; whoever did not leave is taken for dead later.
const LEAVE: Duration = Duration::from_secs(3);

/// A group that shares a topic's partitions among its members.
#[derive(Debug, Clone)]
pub struct GroupOptions {
    /// The group's id; a region has one per log, a bridge one per route.
    pub id: String,
    /// The member's name, unique in the group and the same after a restart (KIP-345): a member that
    /// is back within the session goes on with what it owned, instead of waiting for its own death.
    /// `None`: another member at each start.
    pub member: Option<String>,
    /// Without a sign of life for so long, a member's partitions go to the others.
    pub session: Duration,
}

/// A member. `P` is what a partition's number is to whoever asks. Dropping it leaves the group, a
/// little later; `leave` waits for that.
pub(crate) struct Member<P: Owned> {
    consumer: Mutex<Option<Arc<BaseConsumer<Membership<P>>>>>,
    owned: watch::Receiver<BTreeSet<P>>,
    replaced: watch::Receiver<bool>,
    committing: Arc<RwLock<()>>,
    topic: String,
    request: Duration,
    leaving: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// A partition as its owner names it.
pub(crate) trait Owned: Copy + Ord + From<u32> + Send + Sync + 'static {}

impl<P: Copy + Ord + From<u32> + Send + Sync + 'static> Owned for P {}

struct Membership<P> {
    owned: watch::Sender<BTreeSet<P>>,
    /// Held for reading by commits, for writing while partitions are given up.
    committing: Arc<RwLock<()>>,
}

impl<P: Owned> Member<P> {
    /// Joins; what is owned comes later, and changes.
    pub(crate) fn join(
        options: &Options,
        topic: &str,
        group: &GroupOptions,
    ) -> Result<Self, KafkaError> {
        let (sender, owned) = watch::channel(BTreeSet::new());
        let committing = Arc::new(RwLock::new(()));
        let membership = Membership { owned: sender, committing: committing.clone() };
        let consumer: BaseConsumer<Membership<P>> =
            config(options, group).create_with_context(membership)?;
        consumer.subscribe(&[topic])?;
        let (consumer, leaving) = (Arc::new(consumer), Arc::new(AtomicBool::new(false)));
        let (polled, told) = (consumer.clone(), leaving.clone());
        let (fenced, replaced) = watch::channel(false);
        let thread = std::thread::Builder::new().name("kafka-group".to_owned());
        let thread = thread.spawn(move || serve(&polled, &told, &fenced)).map_err(|error| {
            KafkaError::ClientCreation(format!("no thread for a group's member: {error}"))
        })?;
        Ok(Self {
            consumer: Mutex::new(Some(consumer)),
            owned,
            replaced,
            committing,
            topic: topic.to_owned(),
            request: options.request,
            leaving,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// What this process owns. A partition is out of it before another member has it, unless this one
    /// was taken for dead.
    pub(crate) fn owned(&self) -> watch::Receiver<BTreeSet<P>> {
        self.owned.clone()
    }

    /// Returns once this process is no member any more: another one joined under its name.
    pub(crate) async fn replaced(&self) {
        let mut replaced = self.replaced.clone();
        if replaced.wait_for(|replaced| *replaced).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// The group's offset and note. Blocks.
    pub(crate) fn committed(&self, partition: u32) -> Result<Option<(u64, String)>, KafkaError> {
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
    pub(crate) fn commit(&self, partition: u32, next: u64, note: &str) -> Result<(), KafkaError> {
        let _held = self.committing.read().unwrap_or_else(PoisonError::into_inner);
        if !self.owned.borrow().contains(&P::from(partition)) {
            return Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::AssignmentLost));
        }
        let mut place = TopicPartitionList::with_capacity(1);
        let mut element = place.add_partition(&self.topic, partition as i32);
        element.set_offset(Offset::Offset(next as i64))?;
        element.set_metadata(note);
        self.consumer()?.commit(&place, CommitMode::Sync)
    }

    /// Leaves the group. Blocks.
    pub(crate) fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = thread.join();
        }
        let consumer = self.consumer.lock().unwrap_or_else(PoisonError::into_inner).take();
        drop(consumer);
    }

    fn consumer(&self) -> Result<Arc<BaseConsumer<Membership<P>>>, KafkaError> {
        let consumer = self.consumer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        consumer.ok_or(KafkaError::ConsumerCommit(RDKafkaErrorCode::AssignmentLost))
    }
}

impl<P: Owned> Drop for Member<P> {
    fn drop(&mut self) {
        self.leaving.store(true, Ordering::Relaxed);
    }
}

impl<P: Owned> ClientContext for Membership<P> {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        context::log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        context::report(&error, reason);
    }
}

impl<P: Owned> ConsumerContext for Membership<P> {
    fn rebalance(
        &self,
        member: &BaseConsumer<Self>,
        what: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let elements = partitions.elements();
        let named: Vec<P> =
            elements.iter().map(|element| P::from(element.partition() as u32)).collect();
        let done = if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let done = take(member, partitions);
            self.owned.send_modify(|owned| owned.extend(named));
            done
        } else {
            // Given up here before the group may give it to another member.
            let _held = self.committing.write().unwrap_or_else(PoisonError::into_inner);
            self.owned.send_modify(|owned| owned.retain(|partition| !named.contains(partition)));
            member.incremental_unassign(partitions)
        };
        if let Err(error) = done {
            tracing::warn!(%error, "a group's assignment was not taken over");
        }
    }
}

/// Agrees to an assignment without fetching any of it.
fn take<C: ConsumerContext>(
    member: &BaseConsumer<C>,
    partitions: &mut TopicPartitionList,
) -> Result<(), KafkaError> {
    // A place that needs no committed offset.
    partitions.set_all_offsets(Offset::End)?;
    member.incremental_assign(partitions)?;
    member.pause(partitions)
}

fn serve<P: Owned>(
    member: &BaseConsumer<Membership<P>>,
    leaving: &AtomicBool,
    fenced: &watch::Sender<bool>,
) {
    while !leaving.load(Ordering::Relaxed) {
        match member.poll(POLL) {
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                tracing::error!(%error, "no member of the group any more");
                member.context().owned.send_modify(BTreeSet::clear);
                fenced.send_replace(true);
                return;
            }
            Some(Err(error)) => tracing::debug!(%error, "a group's member"),
            _ => {}
        }
    }
    leave(member);
}

/// Gives up what is owned and leaves. A named member's closing would tell the group nothing: it might
/// be a restart.
fn leave<C: ConsumerContext>(member: &BaseConsumer<C>) {
    member.unsubscribe();
    let deadline = Instant::now() + LEAVE;
    while Instant::now() < deadline {
        let _ = member.poll(POLL);
        if member.assignment().is_ok_and(|assigned| assigned.count() == 0) {
            break;
        }
    }
    // The word to the broker follows the assignment's end, in the client's own thread.
    let _ = member.poll(POLL);
}

pub(crate) fn config(options: &Options, group: &GroupOptions) -> ClientConfig {
    let mut config = options.client();
    let session_ms = group.session.as_millis();
    config.set("group.id", &group.id);
    if let Some(member) = &group.member {
        config.set("group.instance.id", member);
    }
    config.set("partition.assignment.strategy", "cooperative-sticky");
    config.set("session.timeout.ms", session_ms.to_string());
    // A hand-over waits for two of them: the one that gives up and the one that takes learn of it so.
    config.set("heartbeat.interval.ms", (session_ms / 10).max(100).to_string());
    config.set("max.poll.interval.ms", session_ms.max(60_000).to_string());
    config.set("enable.auto.commit", "false");
    config.set("enable.auto.offset.store", "false");
    config.set("auto.offset.reset", "latest");
    config.set("queued.max.messages.kbytes", "64");
    config
}

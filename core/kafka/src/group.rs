//! Which partitions this process owns, decided by a consumer group. Owns membership and nothing else: it
//! fetches no record and commits no offset.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use meridian_core::vocabulary::Partition;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use tokio::sync::watch;

use crate::cluster::blocking;
use crate::context;
use crate::epochs::{EpochRecord, OpenError};
use crate::log::KafkaLog;
use crate::options::Options;

/// How often the member looks whether it is to leave.
const POLL: Duration = Duration::from_millis(100);
/// A leave waits for the brokers no longer than this; whoever did not leave is taken for dead later.
const LEAVE: Duration = Duration::from_secs(3);

/// A group that shares the partitions of an epoch among its members.
#[derive(Debug, Clone)]
pub struct GroupOptions {
    /// The group's id; a region has one per log.
    pub id: String,
    /// The member's name, unique in the group and the same after a restart (KIP-345): a member that
    /// is back within the session goes on with what it owned, instead of waiting for its own death.
    /// `None`: another member at each start.
    pub member: Option<String>,
    /// Without a sign of life for so long, a member's partitions go to the others.
    pub session: Duration,
}

/// This process as a member. Dropping it leaves the group, a little later; `leave` waits for that.
pub struct KafkaGroup {
    owned: watch::Receiver<BTreeSet<Partition>>,
    leaving: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Membership {
    owned: watch::Sender<BTreeSet<Partition>>,
}

impl KafkaGroup {
    /// Joins the group that shares the log's partitions; what is owned comes later, and changes.
    pub fn join(log: &KafkaLog, group: &GroupOptions) -> Result<Self, OpenError> {
        Ok(Self::subscribe(log.options(), log.record(), group)?)
    }

    fn subscribe(
        options: &Options,
        epoch: &EpochRecord,
        group: &GroupOptions,
    ) -> Result<Self, KafkaError> {
        let (sender, owned) = watch::channel(BTreeSet::new());
        let context = Membership { owned: sender };
        let member: BaseConsumer<Membership> =
            config(options, group).create_with_context(context)?;
        member.subscribe(&[&epoch.topic])?;
        let leaving = Arc::new(AtomicBool::new(false));
        let told = leaving.clone();
        let thread = std::thread::Builder::new().name("kafka-group".to_owned());
        let thread = thread.spawn(move || serve(&member, &told)).map_err(|error| {
            KafkaError::ClientCreation(format!("no thread for a group's member: {error}"))
        })?;
        Ok(Self { owned, leaving, thread: Some(thread) })
    }

    /// What this process owns. A partition is out of it before another member has it, unless this one
    /// was taken for dead.
    pub fn owned(&self) -> watch::Receiver<BTreeSet<Partition>> {
        self.owned.clone()
    }

    /// Returns once this process is no member any more: another one joined under its name.
    pub async fn replaced(&self) {
        let mut owned = self.owned();
        while owned.changed().await.is_ok() {}
    }

    /// Leaves, so that the others need not wait for the session to end.
    pub async fn leave(mut self) {
        self.leaving.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = blocking(move || thread.join()).await;
        }
    }
}

impl Drop for KafkaGroup {
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
        let named: Vec<Partition> = partitions
            .elements()
            .iter()
            .map(|element| Partition(element.partition() as u32))
            .collect();
        let done = if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            let done = take(member, partitions);
            self.owned.send_modify(|owned| owned.extend(named));
            done
        } else {
            // Given up here before the group may give it to another member.
            self.owned.send_modify(|owned| owned.retain(|partition| !named.contains(partition)));
            member.incremental_unassign(partitions)
        };
        if let Err(error) = done {
            tracing::warn!(%error, "a group's assignment was not taken over");
        }
    }
}

/// Agrees to an assignment without fetching any of it.
pub(crate) fn take<C: ConsumerContext>(
    member: &BaseConsumer<C>,
    partitions: &mut TopicPartitionList,
) -> Result<(), KafkaError> {
    // A place that needs no committed offset.
    partitions.set_all_offsets(Offset::End)?;
    member.incremental_assign(partitions)?;
    member.pause(partitions)
}

fn serve(member: &BaseConsumer<Membership>, leaving: &AtomicBool) {
    while !leaving.load(Ordering::Relaxed) {
        match member.poll(POLL) {
            Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => {
                tracing::error!(%error, "no member of the group any more");
                member.context().owned.send_modify(BTreeSet::clear);
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
fn leave(member: &BaseConsumer<Membership>) {
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
    config.set("heartbeat.interval.ms", (session_ms / 4).max(100).to_string());
    config.set("max.poll.interval.ms", session_ms.max(60_000).to_string());
    config.set("enable.auto.commit", "false");
    config.set("enable.auto.offset.store", "false");
    config.set("auto.offset.reset", "latest");
    config.set("queued.max.messages.kbytes", "64");
    config
}

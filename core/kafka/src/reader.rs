//! Reading one log: a consumer that is assigned partitions as they are read, each with a queue of its own.
//! Owns where each partition's reading stands; it joins no group and commits nothing.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use meridian_core::seams::{LogError, LogRecord};
use meridian_core::vocabulary::Offset;
use rdkafka::Message as _;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset as At, TopicPartitionList};
use tokio::sync::Notify;

use crate::context::Context;

/// Records that are taken out of the client's queue at once,
const TAKE: usize = 512;
/// and about so many bytes: the client fetches on while it is emptied.
const TAKE_BYTES: usize = 1 << 20;

/// A read's bounds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    pub(crate) records: usize,
    pub(crate) bytes: usize,
}

/// Reads one partition from where it stands.
pub(crate) struct Reader {
    consumer: Arc<BaseConsumer<Context>>,
    topic: Arc<str>,
    partition: i32,
    standing: Option<Standing>,
}

/// An assigned partition.
struct Standing {
    queue: PartitionQueue<Context>,
    filled: Arc<Notify>,
    /// The offset of the next record to give out, or just behind the last one.
    next: u64,
    taken: VecDeque<LogRecord>,
    /// The end was reached before any record came since the assignment.
    only_end: bool,
    seen_any: bool,
    used: Instant,
}

/// What a partition's queue came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Filled {
    Records,
    /// Nothing lies between the place of assignment and the end as the broker told it.
    OnlyEnd,
    /// Nothing came in time.
    Nothing,
    /// The place does not exist, or the partition can't be read.
    Failed,
}

impl Reader {
    pub(crate) fn new(
        consumer: Arc<BaseConsumer<Context>>,
        topic: Arc<str>,
        partition: u32,
    ) -> Self {
        Self { consumer, topic, partition: partition as i32, standing: None }
    }

    /// Whether the next record to give out is `from`, or the first behind it.
    pub(crate) fn stands_at(&self, from: u64) -> bool {
        self.standing.as_ref().is_some_and(|standing| standing.next == from)
    }

    pub(crate) fn is_standing(&self) -> bool {
        self.standing.is_some()
    }

    /// Begins anew at an offset. Asks the client's main thread, which answers at once.
    pub(crate) fn stand_at(&mut self, from: u64) -> Result<(), LogError> {
        self.leave();
        let mut place = TopicPartitionList::with_capacity(1);
        let offset = At::Offset(from as i64);
        place.add_partition_offset(&self.topic, self.partition, offset).map_err(unavailable)?;
        // Split off before the assignment: later, records would already be in the common queue.
        let queue = self.consumer.split_partition_queue(&self.topic, self.partition);
        let mut queue = queue.ok_or(LogError::Unavailable)?;
        let filled = Arc::new(Notify::new());
        let notify = filled.clone();
        queue.set_nonempty_callback(move || notify.notify_one());
        self.consumer.incremental_assign(&place).map_err(unavailable)?;
        self.standing = Some(Standing {
            queue,
            filled,
            next: from,
            taken: VecDeque::new(),
            only_end: false,
            seen_any: false,
            used: Instant::now(),
        });
        Ok(())
    }

    /// Ends the assignment.
    pub(crate) fn leave(&mut self) {
        if self.standing.take().is_some() {
            let mut place = TopicPartitionList::with_capacity(1);
            place.add_partition(&self.topic, self.partition);
            if let Err(error) = self.consumer.incremental_unassign(&place) {
                tracing::debug!(%error, topic = &*self.topic, "a partition can't be unassigned");
            }
        }
    }

    /// Ends an assignment that was not used for so long.
    pub(crate) fn rest(&mut self, unused: Duration) {
        if self.standing.as_ref().is_some_and(|standing| standing.used.elapsed() >= unused) {
            self.leave();
        }
    }

    /// Waits until there is a record to give out, or something else to say.
    pub(crate) async fn fill(&mut self, patience: Duration) -> Filled {
        let Some(standing) = &mut self.standing else { return Filled::Failed };
        standing.used = Instant::now();
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            if !standing.taken.is_empty() {
                return Filled::Records;
            }
            match standing.take_from_queue() {
                Err(error) => {
                    tracing::debug!(%error, topic = &*self.topic, self.partition, "can't be read");
                    self.leave();
                    return Filled::Failed;
                }
                Ok(true) => continue,
                Ok(false) if standing.only_end && !standing.seen_any => return Filled::OnlyEnd,
                Ok(false) => {}
            }
            let woken = tokio::time::timeout_at(deadline, standing.filled.notified()).await;
            if woken.is_err() {
                return Filled::Nothing;
            }
        }
    }

    /// Gives out records, one at least if there is one.
    pub(crate) fn give(&mut self, room: Room) -> Vec<LogRecord> {
        let mut given = Vec::new();
        let Some(standing) = &mut self.standing else { return given };
        let mut bytes = 0;
        while given.len() < room.records && bytes < room.bytes.max(1) {
            // What the client has already fetched costs no waiting.
            if standing.taken.is_empty() && !matches!(standing.take_from_queue(), Ok(true)) {
                break;
            }
            let Some(record) = standing.taken.pop_front() else { break };
            bytes += record.stored.len();
            standing.next = record.offset.0 + 1;
            given.push(record);
        }
        given
    }

    /// The end behind what has been taken from the client.
    pub(crate) fn known_end(&self) -> u64 {
        let standing = self.standing.as_ref();
        let last = standing.and_then(|standing| standing.taken.back());
        last.map_or(0, |last| last.offset.0 + 1)
    }

    /// What tells that the client has fetched something.
    pub(crate) fn filled(&self) -> Option<Arc<Notify>> {
        self.standing.as_ref().map(|standing| standing.filled.clone())
    }

    /// Takes out what the client has, without waiting.
    pub(crate) fn look(&mut self) {
        if let Some(standing) = &mut self.standing {
            standing.used = Instant::now();
            if standing.taken.is_empty() && standing.take_from_queue().is_err() {
                self.leave();
            }
        }
    }
}

impl Standing {
    /// Whether any record came.
    fn take_from_queue(&mut self) -> Result<bool, KafkaError> {
        let (mut any, mut bytes) = (false, 0);
        while self.taken.len() < TAKE && bytes < TAKE_BYTES {
            match self.queue.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => {
                    let offset = u64::try_from(message.offset()).unwrap_or(0);
                    if offset < self.next {
                        continue;
                    }
                    any = true;
                    let stored = Bytes::copy_from_slice(message.payload().unwrap_or_default());
                    bytes += stored.len();
                    let time_ms = message.timestamp().to_millis().unwrap_or(0);
                    let time_ms = u64::try_from(time_ms).unwrap_or(0);
                    self.taken.push_back(LogRecord { offset: Offset(offset), time_ms, stored });
                }
                Some(Err(KafkaError::PartitionEOF(_))) => self.only_end = true,
                Some(Err(error)) if any => {
                    // It comes again with the next fetch; what was read before it is good.
                    tracing::debug!(%error, "after records");
                    break;
                }
                Some(Err(error)) => return Err(error),
            }
        }
        self.seen_any |= any;
        Ok(any)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` hands over")]
fn unavailable(error: KafkaError) -> LogError {
    tracing::warn!(%error, "a partition can't be read");
    LogError::Unavailable
}

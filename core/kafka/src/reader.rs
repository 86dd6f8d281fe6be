//! Reading one log: a consumer that is assigned partitions as they are read, each with a queue of its own.
//! Owns where each partition's reading stands; it joins no group and commits nothing.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use meridian_core::seams::{LogError, LogRecord};
use meridian_core::vocabulary::Offset;
use rdkafka::Message as _;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
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
    last: Option<Given>,
    /// The log does not hold what was read of it: nothing more is.
    lost: Option<Offset>,
}

/// The last record that was given out, to be known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Given {
    offset: u64,
    digest: u64,
}

/// An assigned partition.
struct Standing {
    queue: PartitionQueue<Context>,
    filled: Arc<Notify>,
    /// The offset of the next record to give out, or just behind the last one.
    next: u64,
    taken: VecDeque<LogRecord>,
    /// What must come first: the record before `next`, as it was.
    proof: Option<Given>,
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
    /// The record before this place is not the one that was read there.
    Lost,
}

/// Why a queue gave nothing.
enum NotTaken {
    Failed(KafkaError),
    /// Another record stands here than was read before.
    Lost(Offset),
}

impl Reader {
    pub(crate) fn new(
        consumer: Arc<BaseConsumer<Context>>,
        topic: Arc<str>,
        partition: u32,
    ) -> Self {
        let (standing, last, lost) = (None, None, None);
        Self { consumer, topic, partition: partition as i32, standing, last, lost }
    }

    /// Nothing is read of a log that lost something.
    pub(crate) fn check(&self) -> Result<(), LogError> {
        match self.lost {
            None => Ok(()),
            Some(at) => {
                let why = format!("the record at {} is not the one that was read there", at.0);
                Err(LogError::Ended { why })
            }
        }
    }

    /// Whether the next record to give out is `from`, or the first behind it.
    pub(crate) fn stands_at(&self, from: u64) -> bool {
        self.standing.as_ref().is_some_and(|standing| standing.next == from)
    }

    pub(crate) fn is_standing(&self) -> bool {
        self.standing.is_some()
    }

    /// Begins anew at an offset. Asks the client's main thread, which answers at once. Who goes on
    /// behind a record that was given out sees first whether it is still there: a log may have lost
    /// its tail and grown again.
    pub(crate) fn stand_at(&mut self, from: u64) -> Result<(), LogError> {
        let proof = self.last.filter(|last| last.offset + 1 == from);
        self.stand(from, proof)
    }

    /// The same, where the record before is gone by retention.
    pub(crate) fn stand_unproven_at(&mut self, from: u64) -> Result<(), LogError> {
        self.stand(from, None)
    }

    fn stand(&mut self, from: u64, proof: Option<Given>) -> Result<(), LogError> {
        self.leave();
        let mut place = TopicPartitionList::with_capacity(1);
        let offset = At::Offset(proof.map_or(from, |proof| proof.offset) as i64);
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
            proof,
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
                Err(why) => return self.failed(why),
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

    fn failed(&mut self, why: NotTaken) -> Filled {
        self.leave();
        match why {
            NotTaken::Failed(error) => {
                tracing::debug!(%error, topic = &*self.topic, self.partition, "can't be read");
                Filled::Failed
            }
            NotTaken::Lost(at) => {
                self.lost = Some(at);
                Filled::Lost
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
        self.last = given.last().map(Given::of).or(self.last);
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

    /// Takes out what the client has, without waiting. Answers whether it can be read.
    pub(crate) fn look(&mut self) -> bool {
        let Some(standing) = &mut self.standing else { return true };
        standing.used = Instant::now();
        if !standing.taken.is_empty() {
            return true;
        }
        match standing.take_from_queue() {
            Ok(_) => true,
            Err(why) => {
                self.failed(why);
                false
            }
        }
    }
}

impl Given {
    fn of(record: &LogRecord) -> Self {
        let mut hasher = DefaultHasher::new();
        (record.time_ms, &record.stored).hash(&mut hasher);
        Self { offset: record.offset.0, digest: hasher.finish() }
    }
}

impl Standing {
    /// Whether any record came.
    fn take_from_queue(&mut self) -> Result<bool, NotTaken> {
        let (mut any, mut bytes) = (false, 0);
        while self.taken.len() < TAKE && bytes < TAKE_BYTES {
            match self.queue.poll(Duration::ZERO) {
                None => break,
                Some(Ok(message)) => {
                    let record = record_of(&message);
                    // Behind it: retention has removed it, and nothing can be compared.
                    if let Some(proof) = self.proof.take_if(|proof| proof.offset <= record.offset.0)
                        && proof.offset == record.offset.0
                        && proof != Given::of(&record)
                    {
                        return Err(NotTaken::Lost(record.offset));
                    }
                    if record.offset.0 < self.next {
                        continue;
                    }
                    any = true;
                    bytes += record.stored.len();
                    self.taken.push_back(record);
                }
                Some(Err(KafkaError::PartitionEOF(_))) => self.only_end = true,
                Some(Err(error)) if any => {
                    // It comes again with the next fetch; what was read before it is good.
                    tracing::debug!(%error, "after records");
                    break;
                }
                Some(Err(error)) => return Err(NotTaken::Failed(error)),
            }
        }
        self.seen_any |= any;
        Ok(any)
    }
}

fn record_of(message: &BorrowedMessage<'_>) -> LogRecord {
    let time_ms = message.timestamp().to_millis().unwrap_or(0);
    LogRecord {
        offset: Offset(u64::try_from(message.offset()).unwrap_or(0)),
        time_ms: u64::try_from(time_ms).unwrap_or(0),
        stored: Bytes::copy_from_slice(message.payload().unwrap_or_default()),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` hands over")]
fn unavailable(error: KafkaError) -> LogError {
    tracing::warn!(%error, "a partition can't be read");
    LogError::Unavailable
}

//! Reading one partition of a source: an assignment with a queue of its own. Owns where it stands;
//! commits nothing.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use meridian_core::seams::SourceRecord;
use rdkafka::Message as _;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _};
use rdkafka::topic_partition_list::{Offset as At, TopicPartitionList};
use tokio::sync::Notify;

use crate::context::Context;

/// How long one wait for records lasts: between two, the topic is looked at.
const PATIENCE: Duration = Duration::from_secs(1);

/// A read's bounds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

/// Reads a partition from where it stands.
pub(super) struct PartitionReader {
    consumer: Arc<BaseConsumer<Context>>,
    topic: Arc<str>,
    partition: u32,
    standing: Option<Standing>,
}

struct Standing {
    queue: PartitionQueue<Context>,
    filled: Arc<Notify>,
    /// The offset of the next record to give out, or just behind the last one.
    next: u64,
    /// An error came behind records that were given out.
    broken: bool,
}

impl PartitionReader {
    pub(super) fn new(
        consumer: Arc<BaseConsumer<Context>>,
        topic: Arc<str>,
        partition: u32,
    ) -> Self {
        Self { consumer, topic, partition, standing: None }
    }

    /// Records from `from` on; none, if none came for a while. After an error it begins anew.
    pub(super) async fn read(
        &mut self,
        from: u64,
        room: Room,
    ) -> Result<Vec<SourceRecord>, KafkaError> {
        if self.standing.as_ref().is_none_or(|s| s.broken || s.next != from) {
            self.stand_at(from)?;
        }
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let Some(standing) = &mut self.standing else {
                return Err(KafkaError::MessageConsumption(RDKafkaErrorCode::BadMessage));
            };
            match standing.take(self.partition, room) {
                Ok(records) if records.is_empty() => {}
                Ok(records) => return Ok(records),
                Err(error) => {
                    self.leave();
                    return Err(error);
                }
            }
            let woken = tokio::time::timeout_at(deadline, standing.filled.notified()).await;
            if woken.is_err() {
                return Ok(Vec::new());
            }
        }
    }

    fn stand_at(&mut self, from: u64) -> Result<(), KafkaError> {
        self.leave();
        let mut place = TopicPartitionList::with_capacity(1);
        place.add_partition_offset(&self.topic, self.partition as i32, At::Offset(from as i64))?;
        // Split off before the assignment: later, records would already be in the common queue.
        let queue = self.consumer.split_partition_queue(&self.topic, self.partition as i32);
        let gone = KafkaError::MessageConsumption(RDKafkaErrorCode::UnknownPartition);
        let mut queue = queue.ok_or(gone)?;
        let filled = Arc::new(Notify::new());
        let notify = filled.clone();
        queue.set_nonempty_callback(move || notify.notify_one());
        self.consumer.incremental_assign(&place)?;
        self.standing = Some(Standing { queue, filled, next: from, broken: false });
        Ok(())
    }

    fn leave(&mut self) {
        if self.standing.take().is_some() {
            let mut place = TopicPartitionList::with_capacity(1);
            place.add_partition(&self.topic, self.partition as i32);
            if let Err(error) = self.consumer.incremental_unassign(&place) {
                tracing::debug!(%error, topic = &*self.topic, "a partition can't be unassigned");
            }
        }
    }
}

impl Standing {
    /// What the client has, without waiting.
    fn take(&mut self, partition: u32, room: Room) -> Result<Vec<SourceRecord>, KafkaError> {
        let (mut taken, mut bytes) = (Vec::new(), 0);
        while taken.len() < room.records && bytes < room.bytes {
            match self.queue.poll(Duration::ZERO) {
                None => break,
                // The end for now.
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(_)) if !taken.is_empty() => {
                    self.broken = true;
                    break;
                }
                Some(Err(error)) => return Err(error),
                Some(Ok(message)) => {
                    let record = record(partition, &message);
                    if record.offset >= self.next {
                        bytes += record.payload.as_ref().map_or(0, Bytes::len);
                        self.next = record.offset + 1;
                        taken.push(record);
                    }
                }
            }
        }
        Ok(taken)
    }
}

fn record(partition: u32, message: &BorrowedMessage<'_>) -> SourceRecord {
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    let header = |header: rdkafka::message::Header<'_, &[u8]>| {
        let value = Bytes::copy_from_slice(header.value.unwrap_or_default());
        (header.key.to_owned(), value)
    };
    SourceRecord {
        partition,
        offset: u64::try_from(message.offset()).unwrap_or(0),
        key: message.key().map(Bytes::copy_from_slice),
        headers: headers.map(header).collect(),
        payload: message.payload().map(Bytes::copy_from_slice),
    }
}

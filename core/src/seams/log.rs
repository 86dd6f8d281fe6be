//! The log seam: the only truth. It accepts duplicates and decides nothing about them.

use async_trait::async_trait;
use bytes::Bytes;

use crate::vocabulary::{
    ChannelKey, Cursor, Epoch, LogName, Offset, Partition, Record, partition_of,
};

/// What is fixed for one epoch of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incarnation {
    pub log: LogName,
    pub epoch: Epoch,
    /// What the store itself calls this incarnation (a topic's id); differs after a recreation.
    pub identity: String,
    pub partitions: u32,
    /// W: a record is compared with this many records before it in its partition.
    pub window_records: u32,
    /// D: and with no record appended more than this much earlier, in milliseconds of the log's time.
    pub window_ms: u64,
}

/// Where an append landed. A position, no proof of a new event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    pub cursor: Cursor,
}

/// A record as the log holds it, undecoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRecord {
    pub offset: Offset,
    /// The log's append time in milliseconds since 1970; never decreases within a partition.
    pub time_ms: u64,
    pub stored: Bytes,
}

/// Why an append was not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Never handed to the log; surely not stored.
    #[error("the log's queue is full")]
    Overloaded { retry_after_ms: u64 },
    /// The log does not answer; surely not stored.
    #[error("the log is unavailable")]
    Unavailable,
    /// This incarnation must not be written to any more; surely not stored.
    #[error("the log is halted")]
    Halted,
    /// Handed to the log, but not acknowledged: it may or may not be stored.
    #[error("the log did not acknowledge in time")]
    OutcomeUnknown,
    /// The record's epoch is not the log's.
    #[error("the log is at another epoch")]
    WrongEpoch,
}

/// Why the log could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// Retention removed what was asked for; `earliest` is the lowest offset still held.
    #[error("the log begins at {}", earliest.0)]
    Truncated { earliest: Offset },
    /// The offset lies behind the log's end: this log lost its tail, or it is another one.
    #[error("the log ends at {}", end.0)]
    BeyondEnd { end: Offset },
    /// This incarnation must not be followed any more: its topic is another one, or it lost its tail.
    #[error("the log has ended: {why}")]
    Ended { why: String },
    #[error("the log is unavailable")]
    Unavailable,
}

/// One log: records in a fixed number of partitions.
///
/// - *Order*: records of one `append` call for the same partition get rising offsets in call order.
///   Between calls: the second call's records come after the first's if the first was acknowledged.
/// - *Durability*: `Ok` means that the record survives `kill -9` of every process involved.
/// - *Duplicates*: the same record appended twice is held twice.
/// - *Offsets* are never reused in an epoch, not after retention emptied a partition and not after
///   a restart; they may have holes.
/// - *Crash in the middle of `append`*: any subset of the batch that is a prefix per partition may
///   be stored. The caller learns nothing and retries with the same ids.
/// - *Cancel safety*: dropping the `append` future leaves the outcome unknown; reads have no effect.
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// The incarnation that this handle writes to and reads from.
    fn incarnation(&self) -> &Incarnation;

    /// Appends, acknowledges each record by itself; answers are in the order of `records`.
    async fn append(&self, records: Vec<Record>) -> Vec<Result<Appended, AppendError>>;

    /// The offset that the partition's next record will get, fetched after this call came.
    async fn end(&self, partition: Partition) -> Result<Offset, LogError>;

    /// The same as it was last known here, without asking the store. Never above the true end.
    fn known_end(&self, partition: Partition) -> Offset;

    /// Up to `max_records` records and about `max_bytes` of stored bytes from `from` on, without
    /// waiting; one at least unless it is the end.
    async fn read(
        &self,
        partition: Partition,
        from: Offset,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<LogRecord>, LogError>;

    /// Returns once the partition's end is above `offset` (at once if it is).
    async fn wait_for(&self, partition: Partition, offset: Offset) -> Result<(), LogError>;

    /// The partition that a channel's records go to.
    fn partition(&self, key: &ChannelKey) -> Partition {
        partition_of(&key.log_key(), self.incarnation().partitions)
    }
}

//! The source seam: what a bridge reads. Knows no broker: Kafka's topics, a queue's sessions and a stream's
//! sequence numbers all are partitions of records with rising offsets.

use std::collections::BTreeSet;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::watch;

/// One record of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRecord {
    pub partition: u32,
    pub offset: u64,
    pub key: Option<Bytes>,
    /// In the source's order; a name may stand several times.
    pub headers: Vec<(String, Bytes)>,
    /// `None`: it says that its key is gone.
    pub payload: Option<Bytes>,
}

/// How far a bridge is with a source partition, as the source keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceCommit {
    pub generation: u32,
    /// Everything below is in the log, or was left out or set aside for good.
    pub next: u64,
    /// An operator wants no record taken until told otherwise.
    pub paused: bool,
}

/// What a source partition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SourceBounds {
    pub earliest: u64,
    /// The offset that its next record will get.
    pub end: u64,
}

/// A record that can't become an event, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    pub record: SourceRecord,
    pub generation: u32,
    pub reason: String,
}

/// Why a source did not do as asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    #[error("the source is unavailable")]
    Unavailable,
    /// Another reader owns the partition, or will.
    #[error("another reader owns the partition")]
    NotOwned,
    /// Retention removed what was asked for.
    #[error("the source begins at {earliest}")]
    Gone { earliest: u64 },
    /// It is not the source that the commit was made for: recreated, or moved by another tool. Its
    /// offsets mean other records.
    #[error("the source was replaced, or its commit was changed by another tool")]
    Replaced { generation: u32 },
}

/// A source of records, shared by the bridges that read it.
///
/// - *Records* of a partition have rising offsets; there may be holes, and they never change. `read` gives
///   them whole and in order, from any place that the source still holds, whoever owns the partition. It
///   ends with the record that reaches a bound, and gives one at least: where there is none yet, it waits.
///   What retention removed is said to be gone; a read never goes on behind it by itself.
/// - *Ownership*: a partition is in at most one reader's `owned`, except that one which was taken for dead may
///   not know yet. All are owned, whoever comes or goes. `commit` of a reader that lost the partition
///   is refused, or was there before the next owner's `committed`.
/// - *Commits* are kept whole, each in the place of the one before, though it lie further back. They outlive
///   readers, and not the source: where that was made anew, `committed` says so or knows of none, until the
///   first new one.
/// - *Dead letters*: `Ok` means that they are stored as they were; after an error, any of them may be.
/// - *Cancel safety*: dropping `read` takes nothing away from the next one; a dropped `commit` was made, or
///   not, or will be before the partition's next one is.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// The partitions that this reader owns, as it changes.
    fn owned(&self) -> watch::Receiver<BTreeSet<u32>>;

    /// The partition's last commit; `None`: there never was one.
    async fn committed(&self, partition: u32) -> Result<Option<SourceCommit>, SourceError>;

    /// What the partition holds now.
    async fn bounds(&self, partition: u32) -> Result<SourceBounds, SourceError>;

    /// Up to `max_records` records and about `max_bytes` of them from `from` on; waits for one at least.
    async fn read(
        &self,
        partition: u32,
        from: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<SourceRecord>, SourceError>;

    /// Notes how far the bridge is.
    async fn commit(&self, partition: u32, commit: SourceCommit) -> Result<(), SourceError>;

    /// Sets records aside, for people to look at.
    async fn dead_letter(&self, letters: Vec<DeadLetter>) -> Result<(), SourceError>;
}

impl SourceRecord {
    /// A header's value; of a name that stands several times, the last one.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().rev().find(|(of, _)| of == name).map(|(_, value)| &value[..])
    }
}

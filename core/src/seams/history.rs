//! The history seam: a region's read model of the log, its checkpoints and acknowledged positions.
//! What it says is gone is gone; nothing else may say so.

mod answer;
mod changes;
mod window;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;

use crate::feed::CurrentKey;
use crate::vocabulary::{
    ChannelKey, Cursor, Event, LogName, Offset, Partition, Position, SourcePartition, SourcePlace,
    Stream, SubscriberName, Tenant, UserId,
};

pub use self::answer::Snapshot;
pub use self::changes::{ChangesFrom, ChangesRead, FeedState, is_removal};
pub use self::window::{DamagedWindow, pack_window, unpack_window};

/// Identifies a record for the purpose of duplicates: SHA-256 of tenant, channel, scope and id, cut
/// to 16 bytes.
pub type RecordKey = [u8; 16];

/// A record in the window of duplicates, kept or dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WindowRow {
    pub offset: Offset,
    pub time_ms: u64,
    pub key: RecordKey,
}

/// The highest place of each source partition whose events a log partition holds.
pub type Marks = BTreeMap<SourcePartition, SourcePlace>;

/// How far a router's work on a partition is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The last record worked off, kept or dropped.
    pub position: Position,
    /// The last event kept.
    pub last_kept: Position,
    /// SHA-256 of the stored bytes of the record at `position`, cut to 16 bytes.
    pub fingerprint: RecordKey,
    /// The first record of the epoch that this view covers; 0, unless it was built from a log whose
    /// beginning was gone. What happened on a channel below it, nobody here can tell.
    pub begins: Offset,
}

impl Checkpoint {
    /// The last position that this view does not cover; `None`: it covers its epoch whole.
    pub fn uncovered(&self) -> Option<Position> {
        (self.begins > Offset(0)).then(|| Position::before(self.position.epoch, self.begins))
    }
}

/// What a claim returns, read after the fence was raised.
#[derive(Debug, Clone)]
pub struct Claim {
    pub fence: u64,
    /// `None`: nothing of this stream was ever stored.
    pub checkpoint: Option<Checkpoint>,
    /// The newest window rows, oldest first: at most as many as asked for.
    pub window: Vec<WindowRow>,
    /// All that were ever committed, whatever their age.
    pub marks: Marks,
    /// The current keys of the partition's feeds at the checkpoint, in no order.
    pub feeds: Vec<(ChannelKey, CurrentKey)>,
}

/// One transaction of a router.
#[derive(Debug, Clone)]
pub struct Batch {
    pub fence: u64,
    pub checkpoint: Checkpoint,
    pub events: Vec<Arc<Event>>,
    pub window: Vec<WindowRow>,
    /// Those that its records raised; lower ones than are stored change nothing.
    pub marks: Marks,
}

/// Why a batch was not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Another router claimed the partition: this one must stop.
    #[error("another router owns this partition")]
    Fenced,
    #[error("the history is unavailable")]
    Unavailable,
}

/// The store that may hold the range did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the history is unavailable")]
pub struct HistoryError;

/// Why events can't be had any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GoneReason {
    /// Removed by count, bytes or age.
    Retention,
    /// The log began anew.
    Epoch,
    /// The store can't tell whether something is missing.
    Unknown,
}

/// A range after the asked position that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone {
    pub reason: GoneReason,
    /// The range's end: what follows it is in `events`, or comes live.
    pub through: Position,
}

/// From where to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    After(Position),
    /// The newest N events.
    Last(usize),
}

/// What a history read answers, from one snapshot.
#[derive(Debug, Clone)]
pub enum HistoryRead {
    /// What is there. `gone` (if any) lies before `events`.
    Events {
        gone: Option<Gone>,
        /// Oldest first, chained. Where nobody knows an event's predecessor, its `prev` names the place
        /// from which on the view vouches that nothing else came, so that who stands there accepts it.
        events: Vec<Arc<Event>>,
        /// Where the reader stands after `gone` and `events`: the last event, or, where nothing more is
        /// stored, what the checkpoint vouches for.
        position: Position,
        /// More is stored after `position`.
        more: bool,
    },
    /// The position is ahead of what this region has applied.
    NotYet { applied: Position },
}

/// Whose acknowledged position.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AcknowledgedKey {
    pub tenant: Tenant,
    pub user: UserId,
    pub subscriber: SubscriberName,
    pub channel: crate::vocabulary::Channel,
}

/// An acknowledged position; merges by (generation, position).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acknowledged {
    pub generation: u64,
    pub cursor: Cursor,
}

/// An acknowledged position with whose it is.
pub type KeyedAck = (AcknowledgedKey, Acknowledged);

impl Acknowledged {
    /// What decides between two of one key: the higher one counts.
    pub fn rank(&self) -> (u64, Position) {
        (self.generation, self.cursor.position)
    }
}

/// Each key once, with its highest position, by key: so that two stores of the same never wait for each
/// other in a circle.
pub fn highest_acks(acks: Vec<KeyedAck>) -> Vec<KeyedAck> {
    let mut highest: BTreeMap<AcknowledgedKey, Acknowledged> = BTreeMap::new();
    for (key, acknowledged) in acks {
        let known = highest.entry(key).or_insert_with(|| acknowledged.clone());
        if known.rank() < acknowledged.rank() {
            *known = acknowledged;
        }
    }
    highest.into_iter().collect()
}

/// One region's history.
///
/// - *Fencing*: `claim` raises the fence and only then reads; `commit` stores nothing unless its
///   fence is the current one.
/// - *Atomicity*: a `commit` is whole or not at all, checkpoint included. A repeat of a committed batch
///   by the same fence is harmless.
/// - *Snapshots*: each read sees one state; `position` never goes beyond what that state's checkpoint vouches for.
/// - *Feeds*: a commit writes a row for each key that its events set, remove or evict (`feed::rows`); rows only
///   move to higher positions. A removal's row is kept at least as long as events of its age are.
/// - *Heads* outlive their events: a channel's newest position is known after retention removed it.
/// - *Crash*: what was answered `Ok` survives `kill -9`.
/// - *Cancel safety*: reads have no effect; a dropped `commit` is stored or not.
#[async_trait]
pub trait History: Send + Sync + 'static {
    /// Takes a partition over.
    async fn claim(&self, stream: &Stream, max_window_rows: usize) -> Result<Claim, HistoryError>;

    /// Stores a batch.
    async fn commit(&self, stream: &Stream, batch: Batch) -> Result<(), CommitError>;

    /// The heads of a log's channels; those without one are absent.
    async fn heads(
        &self,
        log: &LogName,
        keys: &[ChannelKey],
    ) -> Result<HashMap<ChannelKey, Position>, HistoryError>;

    /// The channels of a stream whose head lies above a position: what a repair must drop.
    async fn changed_above(
        &self,
        stream: &Stream,
        above: Position,
    ) -> Result<Vec<ChannelKey>, HistoryError>;

    /// The checkpoints of one log's partitions in an epoch.
    async fn checkpoints(
        &self,
        streams: &[Stream],
    ) -> Result<HashMap<Partition, Checkpoint>, HistoryError>;

    /// Reads a channel, up to `max_events` and about `max_bytes`. Events older than `oldest_time_ms`
    /// count as removed. `stream` is the newest stream of the channel's partition.
    async fn read(
        &self,
        key: &ChannelKey,
        stream: &Stream,
        from: ReadFrom,
        bounds: ReadBounds,
    ) -> Result<HistoryRead, HistoryError>;

    /// Reads a feed's values and removals by their positions, up to `max_events` and about `max_bytes`.
    async fn changes(
        &self,
        key: &ChannelKey,
        stream: &Stream,
        from: ChangesFrom,
        bounds: ReadBounds,
    ) -> Result<ChangesRead, HistoryError>;

    /// Merges acknowledged positions by (generation, position). Answers the keys of which a higher one
    /// than any given was held, each once with that.
    async fn acknowledge(&self, acks: Vec<KeyedAck>) -> Result<Vec<KeyedAck>, HistoryError>;

    /// The acknowledged position, if there is one.
    async fn acknowledged(
        &self,
        key: &AcknowledgedKey,
    ) -> Result<Option<Acknowledged>, HistoryError>;
}

/// How much a read may return.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadBounds {
    pub max_events: usize,
    pub max_bytes: usize,
    /// Events with an older log time count as removed; 0 for no limit.
    pub oldest_time_ms: u64,
}

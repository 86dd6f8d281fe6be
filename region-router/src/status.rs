//! What a router says of itself: for each partition where it stands and why it does not move. Readers
//! only; nothing here decides anything.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use meridian_core::lag::{Lag, PartitionLag};
use meridian_core::seams::{Log, RecordKey};
use meridian_core::vocabulary::{Partition, Position, Stream};
use tokio::sync::watch;

use crate::apply::ForeignEpoch;
use crate::metering::now_ms;

/// What a partition's worker is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartitionState {
    /// Taking the partition over: from the history, then comparing the backplane.
    Claiming,
    /// The log's beginning is gone: its first records only fill the window of duplicates.
    Filling,
    /// Applying records as they come.
    Live,
    /// The backplane is away: events go into the history only.
    HistoryOnly,
    /// Not moving, and trying again.
    Paused(Pause),
    /// Another router took the partition, which this one should own. Tried again later.
    Fenced,
    /// Another router of the region owns it.
    Elsewhere,
    /// The log must not be followed.
    Halted(Halt),
    /// Asked to stop.
    Stopped,
}

/// What a worker waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    LogUnavailable,
    HistoryUnavailable,
    BackplaneUnavailable,
    /// Events that the history has not stored reached their bound.
    UnwrittenFull,
    /// The backplane lost something; what it should hold is being found out.
    Repairing,
    /// The worker failed and is started again.
    Restarting,
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LogUnavailable => "the log does not answer",
            Self::HistoryUnavailable => "the history does not answer",
            Self::BackplaneUnavailable => "the backplane does not answer",
            Self::UnwrittenFull => "events that the history has not stored are at their bound",
            Self::Repairing => "the backplane is being repaired",
            Self::Restarting => "the worker failed and is started again",
        })
    }
}

/// Why a log must not be followed. Going on would guess, and lose events silently.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    #[error(transparent)]
    ForeignEpoch(#[from] ForeignEpoch),
    #[error("the checkpoint {} belongs to epoch {}", checkpoint.passed, checkpoint.epoch.0)]
    CheckpointEpoch { checkpoint: Position },
    #[error("the checkpoint {} lies past the log's end {end}", checkpoint.passed)]
    CheckpointPastEnd { checkpoint: Position, end: u64 },
    #[error("the record at the checkpoint {} is another one", checkpoint.passed)]
    Fingerprint { checkpoint: Position, expected: RecordKey, found: Option<RecordKey> },
    #[error("the backplane's marker {} lies past the log's end {end}", marker.passed)]
    MarkerPastEnd { marker: Position, end: u64 },
    #[error("the backplane's marker {} names no event of this log", marker.passed)]
    MarkerUnknown { marker: Position },
    #[error("the log ends at {end}, before the next record {next}")]
    ReadPastEnd { next: u64, end: u64 },
    #[error("{why}")]
    LogEnded { why: String },
    #[error("another router of the region halted the log: {why}")]
    ByAnother { why: String },
    #[error("the backplane's streams reach back to where the log is gone; it must be emptied")]
    BackplaneOlderThanLog { marker: Position },
}

/// Where a partition stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionStatus {
    pub state: PartitionState,
    /// The last record worked off, kept or dropped; everything kept up to it went out live.
    pub applied: Position,
    /// What the history holds of it.
    pub checkpoint: Option<Position>,
    /// The log's time of the record at `applied`; `None`: not known yet.
    pub applied_time_ms: Option<u64>,
    /// The size of the events that the history does not hold yet.
    pub unwritten_bytes: usize,
    /// How far it is behind the log; as of `RouterStatus::partition`.
    pub lag: Lag,
}

/// A router's status, as a handle that can be kept.
#[derive(Clone)]
pub struct RouterStatus {
    log: Arc<dyn Log>,
    partitions: Arc<[watch::Sender<PartitionStatus>]>,
    lags: Arc<[Mutex<PartitionLag>]>,
    halted: watch::Sender<Option<(Partition, Halt)>>,
}

impl RouterStatus {
    pub(crate) fn new(log: Arc<dyn Log>) -> Self {
        let incarnation = log.incarnation();
        let first = PartitionStatus {
            state: PartitionState::Claiming,
            applied: Position::start_of(incarnation.epoch),
            checkpoint: None,
            applied_time_ms: None,
            unwritten_bytes: 0,
            lag: Lag::NONE,
        };
        let partitions =
            (0..incarnation.partitions).map(|_| watch::Sender::new(first.clone())).collect();
        let lags = (0..incarnation.partitions).map(|_| Mutex::default()).collect();
        Self { log, partitions, lags, halted: watch::Sender::new(None) }
    }

    /// All partitions, in order, with their lag as of now.
    pub fn partitions(&self) -> Vec<PartitionStatus> {
        (0..self.partitions.len() as u32).filter_map(|n| self.partition(Partition(n))).collect()
    }

    /// Those that this router owns.
    pub fn owned(&self) -> Vec<PartitionStatus> {
        let mut owned = self.partitions();
        owned.retain(|partition| partition.state != PartitionState::Elsewhere);
        owned
    }

    /// One partition, with its lag as of now.
    pub fn partition(&self, partition: Partition) -> Option<PartitionStatus> {
        let mut status = self.partitions.get(partition.0 as usize)?.borrow().clone();
        status.lag = self.measure(partition, &status);
        Some(status)
    }

    /// Follows one partition. Its `lag` is not kept up to date here.
    pub fn follow(&self, partition: Partition) -> Option<watch::Receiver<PartitionStatus>> {
        Some(self.partitions.get(partition.0 as usize)?.subscribe())
    }

    /// Why the log was halted, and where. Edges refuse publishes from then on.
    pub fn halted(&self) -> watch::Receiver<Option<(Partition, Halt)>> {
        self.halted.subscribe()
    }

    /// Whether every partition that this router owns is moving, and the log is not halted.
    pub fn is_ready(&self) -> bool {
        let halted = self.halted.borrow().is_some();
        !halted
            && self.partitions.iter().all(|status| {
                matches!(status.borrow().state, PartitionState::Live | PartitionState::Elsewhere)
            })
    }

    /// Looks at how far a partition is behind; one that is another router's affair is not.
    fn measure(&self, partition: Partition, status: &PartitionStatus) -> Lag {
        let Some(lag) = self.lags.get(partition.0 as usize) else { return Lag::NONE };
        let mut lag = lag.lock().unwrap_or_else(PoisonError::into_inner);
        if status.state == PartitionState::Elsewhere {
            *lag = PartitionLag::default();
            return Lag::NONE;
        }
        let next = status.applied.next_offset();
        if let Some(time_ms) = status.applied_time_ms {
            lag.learn(next, time_ms);
        }
        lag.look(now_ms(), self.log.known_end(partition), next)
    }

    pub(crate) fn all_elsewhere(&self) {
        (0..self.partitions.len() as u32).for_each(|n| self.elsewhere(Partition(n)));
    }

    pub(crate) fn elsewhere(&self, partition: Partition) {
        if let Some(status) = self.partitions.get(partition.0 as usize) {
            status.send_modify(|status| status.state = PartitionState::Elsewhere);
        }
    }

    pub(crate) fn reporter(&self, stream: &Stream) -> Option<watch::Sender<PartitionStatus>> {
        self.partitions.get(stream.partition.0 as usize).cloned()
    }

    /// Halts the log, as one's own worker would: for what was found elsewhere.
    pub fn halt(&self, partition: Partition, reason: Halt) {
        self.halted.send_if_modified(|halted| {
            let first = halted.is_none();
            if first {
                *halted = Some((partition, reason));
            }
            first
        });
    }
}

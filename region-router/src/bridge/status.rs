//! How a bridge's partitions are doing, for people and for metrics.

use std::fmt;

use meridian_core::seams::{SourceCommit, SourceError};
use meridian_core::vocabulary::SourceName;

/// What a partition's worker does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartitionState {
    /// Asks the source where it is.
    Starting,
    Running,
    /// An operator wants it so.
    Paused,
    /// Something failed; it goes back to the last commit and tries again.
    Retrying {
        after: String,
    },
    /// Only a replay goes on: anything else would leave records out without a word.
    Halted {
        reason: SourceError,
    },
}

/// A source partition that this process reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionStatus {
    pub partition: u32,
    pub state: PartitionState,
    /// `None`: not known yet.
    pub commit: Option<SourceCommit>,
    /// Records of the source that are not committed, as they were counted last.
    pub lag_records: Option<u64>,
    /// Since this process owns the partition.
    pub events: u64,
    pub skipped: u64,
    pub dead_letters: u64,
}

/// A route's partitions in this process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteStatus {
    pub route: SourceName,
    pub partitions: Vec<PartitionStatus>,
}

impl PartitionStatus {
    pub(super) fn new(partition: u32) -> Self {
        Self {
            partition,
            state: PartitionState::Starting,
            commit: None,
            lag_records: None,
            events: 0,
            skipped: 0,
            dead_letters: 0,
        }
    }
}

impl PartitionState {
    /// Its name in the admin API.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Retrying { .. } => "retrying",
            Self::Halted { .. } => "halted",
        }
    }
}

impl fmt::Display for PartitionState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retrying { after } => write!(f, "retrying: {after}"),
            Self::Halted { reason } => write!(f, "halted: {reason}"),
            state => f.write_str(state.name()),
        }
    }
}

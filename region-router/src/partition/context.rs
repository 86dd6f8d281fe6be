//! What all parts of a worker share: the stores, the settings, and where the worker's state is told.

use std::sync::{Arc, Mutex, PoisonError};

use meridian_core::seams::{Backplane, History, Log, LogError};
use meridian_core::vocabulary::{Offset, Partition, Position, Stream};
use tokio::sync::watch;

use super::{Outcome, Seams};
use crate::metering::Metering;
use crate::{Halt, Options, PartitionState, PartitionStatus, Pause};

/// Shared by reference within one worker.
pub(super) struct Context {
    pub(super) log: Arc<dyn Log>,
    pub(super) history: Arc<dyn History>,
    pub(super) backplane: Arc<dyn Backplane>,
    pub(super) stream: Stream,
    pub(super) options: Arc<Options>,
    pub(super) metering: Metering,
    status: watch::Sender<PartitionStatus>,
    /// What `resume` goes back to after a pause.
    doing: Mutex<PartitionState>,
}

impl Context {
    pub(super) fn new(
        seams: Seams,
        stream: Stream,
        options: Arc<Options>,
        status: watch::Sender<PartitionStatus>,
    ) -> Self {
        let Seams { log, history, backplane } = seams;
        let metering = Metering::new(&stream);
        let doing = Mutex::new(PartitionState::Claiming);
        Self { log, history, backplane, stream, options, metering, status, doing }
    }

    pub(super) fn partition(&self) -> Partition {
        self.stream.partition
    }

    /// Before anything of this stream.
    pub(super) fn start(&self) -> Position {
        Position::start_of(self.stream.epoch)
    }

    /// The worker does this now.
    pub(super) fn doing(&self, state: PartitionState) {
        *self.doing.lock().unwrap_or_else(PoisonError::into_inner) = state.clone();
        self.tell(state);
    }

    /// The worker waits for this.
    pub(super) fn pause(&self, pause: Pause) {
        self.tell(PartitionState::Paused(pause));
    }

    /// The wait is over.
    pub(super) fn resume(&self) {
        let state = self.doing.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.tell(state);
    }

    /// The worker ended.
    pub(super) fn ended(&self, state: PartitionState) {
        self.tell(state);
    }

    /// Records up to here are worked off; `time_ms` is the last one's, if that is known.
    pub(super) fn applied(&self, position: Position, time_ms: Option<u64>) {
        self.status.send_modify(|status| {
            (status.applied, status.applied_time_ms) = (position, time_ms);
        });
    }

    /// The history holds everything up to `checkpoint`; so much is on its way.
    pub(super) fn stored(&self, checkpoint: Option<Position>, unwritten_bytes: usize) {
        self.metering.unwritten_bytes.set(unwritten_bytes as f64);
        self.status.send_modify(|status| {
            status.checkpoint = checkpoint;
            status.unwritten_bytes = unwritten_bytes;
        });
    }

    /// What a failed read of the log means; `None`: try again.
    pub(super) fn log_outcome(&self, error: &LogError, next: Offset) -> Option<Outcome> {
        match error {
            LogError::Unavailable => None,
            LogError::Truncated { earliest } => Some(Outcome::Truncated { earliest: *earliest }),
            LogError::BeyondEnd { end } => {
                Some(Outcome::Halted(Halt::ReadPastEnd { next: next.0, end: end.0 }))
            }
            LogError::Ended { why } => Some(Outcome::Halted(Halt::LogEnded { why: why.clone() })),
        }
    }

    fn tell(&self, state: PartitionState) {
        self.metering.paused(matches!(state, PartitionState::Paused(_)));
        self.status.send_if_modified(|status| {
            let changed = status.state != state;
            status.state = state;
            changed
        });
    }
}

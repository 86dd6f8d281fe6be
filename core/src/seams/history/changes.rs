//! What a feed's table of values says to a reader: whose place is still served, how much of a page it
//! gets. Pure.

use std::sync::Arc;

use super::{GoneReason, ReadBounds};
use crate::vocabulary::{Epoch, Event, EventKind, Position};

/// From where to read a feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangesFrom {
    /// All current values: a snapshot.
    Start,
    /// What changed after a position.
    After {
        after: Position,
        /// The reader knows of every removal up to here: its own position, or where its snapshot began.
        since: Position,
    },
}

/// The answer, from one state of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangesRead {
    Changes {
        /// The newest event of each key that changed, or its removal (of kind `remove`), by offset. Those of
        /// one offset stand in one answer.
        rows: Vec<Arc<Event>>,
        /// Where the reader stands behind them: the last row, or where no more follow, the checkpoint.
        position: Position,
        /// What to say in `ChangesFrom::After` next.
        since: Position,
        more: bool,
    },
    /// Removals that the reader may have missed are not kept any more: it needs a snapshot.
    Gone { reason: GoneReason },
    /// The position is ahead of what this region has applied.
    NotYet { applied: Position },
}

/// One feed in one state of the history.
#[derive(Debug, Clone)]
pub struct FeedState {
    /// The newest epoch of the channel's log.
    pub epoch: Epoch,
    /// What the checkpoint vouches for.
    pub applied: Position,
    /// The last position that the view does not cover.
    pub uncovered: Option<Position>,
    /// Removals at or below may be gone.
    pub floor: Option<Position>,
    /// The first rows after the asked position, by offset, those of the last offset whole; without removals
    /// that the reader has no need of.
    pub rows: Vec<Arc<Event>>,
    /// More rows follow.
    pub more: bool,
}

impl FeedState {
    /// What it says to this reader.
    pub fn answer(mut self, from: ChangesFrom, bounds: ReadBounds) -> ChangesRead {
        let applied = self.applied;
        let since = match from {
            ChangesFrom::Start => applied,
            ChangesFrom::After { after, .. } if after > applied => {
                return ChangesRead::NotYet { applied };
            }
            ChangesFrom::After { after, since } => {
                let since = since.max(after);
                if let Some(reason) = self.gone(since) {
                    return ChangesRead::Gone { reason };
                }
                since
            }
        };
        let fits = self.fitting(bounds);
        self.more |= fits < self.rows.len();
        self.rows.truncate(fits);
        let last = self.rows.last().map(|row| row.position());
        let position = last.filter(|_| self.more).unwrap_or(applied);
        ChangesRead::Changes { rows: self.rows, position, since, more: self.more }
    }

    fn gone(&self, since: Position) -> Option<GoneReason> {
        if since.epoch < self.epoch {
            return Some(GoneReason::Epoch);
        }
        if self.uncovered > Some(since) {
            return Some(GoneReason::Unknown);
        }
        (self.floor > Some(since)).then_some(GoneReason::Retention)
    }

    /// How many rows keep to the bounds, one offset's at least and none of them divided.
    fn fitting(&self, bounds: ReadBounds) -> usize {
        let (mut bytes, mut whole) = (0, 0);
        for (index, row) in self.rows.iter().enumerate() {
            let begins = index == 0 || self.rows[index - 1].position() != row.position();
            if begins {
                whole = index;
            }
            bytes += row.weight();
            if whole > 0 && (bytes > bounds.max_bytes || index >= bounds.max_events) {
                return whole;
            }
        }
        self.rows.len()
    }
}

/// Whether a row is the removal of its key.
pub fn is_removal(row: &Event) -> bool {
    row.body.kind == EventKind::Remove
}

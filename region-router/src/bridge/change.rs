//! What an operator may change of a source partition, as a step from one commit to the next. Pure.

use meridian_core::seams::{SourceBounds, SourceCommit, SourceError};

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    Pause,
    Resume,
    /// Back to an offset; without one, to the earliest record there is.
    Replay {
        mode: ReplayMode,
        from: Option<u64>,
    },
}

/// What a replay does to events that the log has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplayMode {
    /// Fills in what the log lacks: at or below a log partition's mark everything is a repeat, so that
    /// beginning lower than needed costs time only.
    Fill,
    /// Makes each event anew, under a new generation.
    Redeliver,
}

/// Why a change was not made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the partition was never read")]
    NeverRead,
    #[error("the source holds no record below {earliest} any more")]
    Gone { earliest: u64 },
    /// A replay goes back. Ahead of the commit it would leave records out for good.
    #[error("the offset is ahead of {next}, where the bridge is")]
    Ahead { next: u64 },
    /// What the old marks say of the new source's offsets is wrong.
    #[error("the source was replaced: only a redelivery can begin with the new one")]
    Replaced,
    #[error(transparent)]
    Source(#[from] SourceError),
    #[error("the worker ended meanwhile; the partition may have moved to another bridge")]
    Ended,
}

/// The commit that a change makes of what the source said of the last one.
pub(super) fn changed(
    change: Change,
    committed: Result<Option<SourceCommit>, SourceError>,
    bounds: SourceBounds,
    new_generation: u32,
) -> Result<SourceCommit, Refusal> {
    let (last, replaced) = match committed {
        Ok(Some(commit)) => (commit, false),
        Ok(None) => return Err(Refusal::NeverRead),
        Err(SourceError::Replaced { generation }) => {
            (SourceCommit { generation, next: bounds.end, paused: false }, true)
        }
        Err(error) => return Err(error.into()),
    };
    match change {
        Change::Pause | Change::Resume if replaced => Err(Refusal::Replaced),
        Change::Pause => Ok(SourceCommit { paused: true, ..last }),
        Change::Resume => Ok(SourceCommit { paused: false, ..last }),
        Change::Replay { mode: ReplayMode::Fill, .. } if replaced => Err(Refusal::Replaced),
        Change::Replay { mode, from } => {
            let next = place(from.unwrap_or(bounds.earliest), last.next, bounds)?;
            let generation = match mode {
                ReplayMode::Fill => last.generation,
                ReplayMode::Redeliver => new_generation.max(last.generation.saturating_add(1)),
            };
            Ok(SourceCommit { generation, next, ..last })
        }
    }
}

fn place(from: u64, next: u64, bounds: SourceBounds) -> Result<u64, Refusal> {
    // Where retention overtook the bridge, its earliest record is the lowest place left.
    let most = next.max(bounds.earliest);
    if from < bounds.earliest {
        Err(Refusal::Gone { earliest: bounds.earliest })
    } else if from > most {
        Err(Refusal::Ahead { next: most })
    } else {
        Ok(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: SourceCommit = SourceCommit { generation: 5, next: 50, paused: false };
    const BOUNDS: SourceBounds = SourceBounds { earliest: 10, end: 90 };

    fn ask(change: Change) -> Result<SourceCommit, Refusal> {
        changed(change, Ok(Some(AT)), BOUNDS, 9)
    }

    fn replay(mode: ReplayMode, from: impl Into<Option<u64>>) -> Change {
        Change::Replay { mode, from: from.into() }
    }

    #[test]
    fn pausing_moves_nothing() {
        assert_eq!(ask(Change::Pause), Ok(SourceCommit { paused: true, ..AT }));
        let paused = Ok(Some(SourceCommit { paused: true, ..AT }));
        assert_eq!(changed(Change::Resume, paused, BOUNDS, 9), Ok(AT));
        assert_eq!(changed(Change::Resume, Ok(None), BOUNDS, 9), Err(Refusal::NeverRead));
    }

    #[test]
    fn a_replay_goes_back_and_only_redelivery_begins_a_generation() {
        use ReplayMode::{Fill, Redeliver};
        assert_eq!(ask(replay(Fill, 20)), Ok(SourceCommit { next: 20, ..AT }));
        assert_eq!(ask(replay(Fill, None)), Ok(SourceCommit { next: 10, ..AT }));
        let redelivered = SourceCommit { generation: 9, next: 50, ..AT };
        assert_eq!(ask(replay(Redeliver, 50)), Ok(redelivered));
        assert_eq!(ask(replay(Fill, 51)), Err(Refusal::Ahead { next: 50 }));
        assert_eq!(ask(replay(Redeliver, 9)), Err(Refusal::Gone { earliest: 10 }));
        // A clock that went back makes no generation that is not new.
        let late = changed(replay(Redeliver, 20), Ok(Some(AT)), BOUNDS, 3).unwrap();
        assert_eq!(late.generation, 6);
    }

    #[test]
    fn where_retention_overtook_the_bridge_the_earliest_is_allowed() {
        let bounds = SourceBounds { earliest: 70, end: 90 };
        let filled = changed(replay(ReplayMode::Fill, 70), Ok(Some(AT)), bounds, 9);
        assert_eq!(filled, Ok(SourceCommit { next: 70, ..AT }));
    }

    #[test]
    fn a_replaced_source_begins_a_generation() {
        let replaced = Err(SourceError::Replaced { generation: 5 });
        let bounds = SourceBounds { earliest: 0, end: 3 };
        let ask = |change| changed(change, replaced.clone(), bounds, 9);
        assert_eq!(ask(Change::Resume), Err(Refusal::Replaced));
        assert_eq!(ask(replay(ReplayMode::Fill, 0)), Err(Refusal::Replaced));
        let begun = SourceCommit { generation: 9, next: 3, paused: false };
        assert_eq!(ask(replay(ReplayMode::Redeliver, 3)), Ok(begun));
    }
}

//! Compares the backplane's marker with what the history vouches for, and repairs the backplane where
//! it lost something. Never reads the log below the checkpoint, and never lowers a marker.

use meridian_core::seams::{Batch, Checkpoint, CommitError, Marks, Stale};
use meridian_core::vocabulary::{Offset, Position};
use tokio::time::Instant;

use super::context::Context;
use super::{Backoff, Outcome};
use crate::{Halt, Pause};

/// What the history vouches for: all of it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Vouched {
    /// The last record worked off.
    pub(super) position: Position,
    /// The last event kept.
    pub(super) last_kept: Position,
}

/// What a marker means to a router whose work is stored up to `Vouched`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Marked {
    /// The backplane holds just that.
    Equal,
    /// It holds more: applied, but not stored. It is applied again, as repeats.
    Ahead,
    /// It holds less than is stored.
    Behind,
    /// It is not this log's backplane.
    Foreign(Halt),
}

/// How a comparison ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    /// The backplane holds what it should.
    Agreed,
    /// It was away too long to find out.
    BackplaneAway,
}

enum Trouble {
    Ended(Outcome),
    Waiting(Pause),
}

impl Vouched {
    pub(super) fn by(checkpoint: Option<&Checkpoint>, start: Position) -> Self {
        match checkpoint {
            Some(stored) => Self { position: stored.position, last_kept: stored.last_kept },
            None => Self { position: start, last_kept: start },
        }
    }
}

/// Judges a marker. `end` is the log's, fetched after the marker was read.
pub(super) fn judge(marker: Option<Position>, vouched: Vouched, end: Offset) -> Marked {
    let Some(marker) = marker else { return Marked::Behind };
    if marker.epoch != vouched.position.epoch {
        return Marked::Foreign(Halt::MarkerUnknown { marker });
    }
    if marker.next_offset() > end {
        return Marked::Foreign(Halt::MarkerPastEnd { marker, end: end.0 });
    }
    if marker == vouched.last_kept {
        Marked::Equal
    } else if marker < vouched.last_kept {
        Marked::Behind
    } else if marker <= vouched.position {
        Marked::Foreign(Halt::MarkerUnknown { marker })
    } else {
        Marked::Ahead
    }
}

/// Makes sure that this router still owns the partition, by storing its checkpoint once more.
pub(super) async fn check_fence(
    context: &Context,
    fence: u64,
    checkpoint: Option<&Checkpoint>,
) -> Result<(), Outcome> {
    let Some(checkpoint) = checkpoint else { return Ok(()) };
    let mut backoff = Backoff::new(&context.options);
    loop {
        let checkpoint = checkpoint.clone();
        let (events, window, marks) = (Vec::new(), Vec::new(), Marks::new());
        let empty = Batch { fence, checkpoint, events, window, marks };
        match context.history.commit(&context.stream, empty).await {
            Ok(()) => return Ok(()),
            Err(CommitError::Fenced) => return Err(Outcome::Fenced),
            Err(CommitError::Unavailable) => {
                context.metering.history_failures.increment(1);
                context.pause(Pause::HistoryUnavailable);
                backoff.wait().await;
            }
        }
    }
}

/// Compares, and repairs if need be, until it is done or the backplane is away for too long.
pub(super) async fn settle(context: &Context, vouched: Vouched) -> Result<Settled, Outcome> {
    let mut backoff = Backoff::new(&context.options);
    let patience_ends = Instant::now() + context.options.live_outage;
    loop {
        match try_settle(context, vouched).await {
            Ok(()) => return Ok(Settled::Agreed),
            Err(Trouble::Ended(outcome)) => return Err(outcome),
            Err(Trouble::Waiting(Pause::BackplaneUnavailable))
                if Instant::now() >= patience_ends =>
            {
                return Ok(Settled::BackplaneAway);
            }
            Err(Trouble::Waiting(pause)) => {
                context.pause(pause);
                backoff.wait().await;
            }
        }
    }
}

async fn try_settle(context: &Context, vouched: Vouched) -> Result<(), Trouble> {
    let stream = &context.stream;
    let found = context.backplane.marker(stream).await.map_err(|_| backplane_failed(context))?;
    let end = match context.log.end(context.partition()).await {
        Ok(end) => end,
        Err(error) => {
            let outcome = context.log_outcome(&error, vouched.position.next_offset());
            return Err(outcome.map_or(Trouble::Waiting(Pause::LogUnavailable), Trouble::Ended));
        }
    };
    match judge(found, vouched, end) {
        Marked::Equal | Marked::Ahead => return Ok(()),
        Marked::Foreign(halt) => return Err(Trouble::Ended(Outcome::Halted(halt))),
        Marked::Behind => {}
    }
    // Without a marker nothing is known of the streams that may be left: all of them go.
    let changed = match found {
        None => None,
        Some(above) => {
            let changed = context.history.changed_above(stream, above).await;
            Some(changed.map_err(|_| Trouble::Waiting(Pause::HistoryUnavailable))?)
        }
    };
    let stale = changed.as_deref().map_or(Stale::All, Stale::Channels);
    let repaired = context.backplane.repair(stream, found, stale, vouched.last_kept).await;
    if !repaired.map_err(|_| backplane_failed(context))? {
        return Err(Trouble::Waiting(Pause::Repairing));
    }
    context.metering.repairs.increment(1);
    // An empty backplane is every start's; what was found otherwise is worth a line.
    if let Some(changed) = changed {
        tracing::info!(%stream, ?found, restored = ?vouched.last_kept, stale = changed.len(), "backplane repaired");
    }
    Ok(())
}

fn backplane_failed(context: &Context) -> Trouble {
    context.metering.backplane_failures.increment(1);
    Trouble::Waiting(Pause::BackplaneUnavailable)
}

#[cfg(test)]
mod tests {
    use meridian_core::vocabulary::Epoch;

    use super::*;

    fn at(passed: i64) -> Position {
        Position { epoch: Epoch(1), passed }
    }

    #[test]
    fn markers_are_told_apart() {
        let vouched = Vouched { position: at(120), last_kept: at(118) };
        let judge = |marker| judge(marker, vouched, Offset(131));
        assert_eq!(judge(Some(at(118))), Marked::Equal);
        assert_eq!(judge(Some(at(121))), Marked::Ahead);
        assert_eq!(judge(Some(at(130))), Marked::Ahead);
        assert_eq!(judge(Some(at(95))), Marked::Behind);
        assert_eq!(judge(None), Marked::Behind);
        let unknown = |marker| Marked::Foreign(Halt::MarkerUnknown { marker });
        assert_eq!(judge(Some(at(119))), unknown(at(119)), "a dropped record's place");
        let other = Position { epoch: Epoch(2), passed: 118 };
        assert_eq!(judge(Some(other)), unknown(other));
        let past = Marked::Foreign(Halt::MarkerPastEnd { marker: at(131), end: 131 });
        assert_eq!(judge(Some(at(131))), past);
    }
}

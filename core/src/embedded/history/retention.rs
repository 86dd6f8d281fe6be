//! What retention removes of a channel: its oldest events beyond the policy's bounds. Pure.

use super::write::Cut;
use crate::policy::Retention;
use crate::vocabulary::Position;

/// What a sweep did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Channels looked at.
    pub channels: usize,
    /// Events removed.
    pub events: u64,
    /// The last channel was reached: the next step begins from the first again.
    pub complete: bool,
}

/// A channel with stored events.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) channel_id: i64,
    pub(super) events: u64,
    pub(super) bytes: u64,
    pub(super) oldest_ms: u64,
}

/// One of a channel's oldest events.
#[derive(Debug, Clone, Copy)]
pub(super) struct Oldest {
    pub(super) position: Position,
    pub(super) time_ms: u64,
    pub(super) bytes: u64,
}

/// A batch of a window.
#[derive(Debug, Clone, Copy)]
pub(super) struct WindowBatch {
    pub(super) last_offset: i64,
    /// Records of this and all older batches.
    pub(super) total: u64,
    /// The newest record's.
    pub(super) time_ms: u64,
}

/// Whether there is anything to remove.
pub(super) fn exceeds(candidate: &Candidate, keep: Retention, now_ms: u64) -> bool {
    candidate.events > keep.events
        || candidate.bytes > keep.bytes
        || candidate.oldest_ms.saturating_add(keep.age_ms) < now_ms
}

/// Where to cut, given the oldest events, oldest first; `rest` becomes what is left. The cut is
/// always a prefix, so that what is left stays one chain.
pub(super) fn cut(
    rest: &mut Candidate,
    oldest: &[Oldest],
    keep: Retention,
    now_ms: u64,
) -> Option<Cut> {
    let mut through = None;
    for event in oldest {
        rest.oldest_ms = event.time_ms;
        if !exceeds(rest, keep, now_ms) {
            break;
        }
        rest.events = rest.events.saturating_sub(1);
        rest.bytes = rest.bytes.saturating_sub(event.bytes);
        through = Some(event.position);
    }
    through.map(|through| Cut { channel_id: rest.channel_id, through })
}

/// The newest of a window's oldest batches that no later record can be compared with: behind
/// `records` newer records, or more than `age_ms` older than the window's newest record.
pub(super) fn prunable(
    oldest: &[WindowBatch],
    newest: WindowBatch,
    (records, age_ms): (u32, u64),
) -> Option<i64> {
    let useless = |batch: &&WindowBatch| {
        newest.total - batch.total >= u64::from(records)
            || batch.time_ms.saturating_add(age_ms) < newest.time_ms
    };
    oldest.iter().take_while(useless).last().map(|batch| batch.last_offset)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::Epoch;

    fn event(passed: i64, time_ms: u64) -> Oldest {
        Oldest { position: Position { epoch: Epoch(1), passed }, time_ms, bytes: 10 }
    }

    #[test]
    fn the_first_bound_met_removes_the_oldest() {
        let candidate = Candidate { channel_id: 1, events: 4, bytes: 40, oldest_ms: 0 };
        let oldest: Vec<Oldest> = (0..4).map(|i| event(i, i as u64 * 10)).collect();
        let through = |events, bytes, age_ms| {
            let keep = Retention { events, bytes, age_ms };
            cut(&mut candidate.clone(), &oldest, keep, 35).map(|cut| cut.through.passed)
        };
        assert_eq!(through(4, 40, 100), None);
        assert_eq!(through(3, 40, 100), Some(0));
        assert_eq!(through(4, 20, 100), Some(1));
        assert_eq!(through(4, 40, 10), Some(2));
        assert_eq!(through(0, 40, 100), Some(3));
    }
    #[test]
    fn a_window_keeps_w_records_that_are_not_older_than_d() {
        let batch = |last_offset, total, time_ms| WindowBatch { last_offset, total, time_ms };
        let oldest = [batch(3, 4, 100), batch(5, 6, 200), batch(9, 10, 300), batch(10, 11, 400)];
        let pruned = |records, age_ms| prunable(&oldest, oldest[3], (records, age_ms));
        assert_eq!(pruned(8, 1_000), None);
        assert_eq!(pruned(7, 1_000), Some(3));
        assert_eq!(pruned(2, 1_000), Some(5), "exactly two are newer");
        assert_eq!(pruned(100, 200), Some(3));
        assert_eq!(pruned(100, 300), None);
    }
}

//! What a snapshot of the history says to a reader: the chain's rule, epochs, bounds. Pure.

use std::sync::Arc;

use crate::seams::{Gone, GoneReason, HistoryRead, ReadBounds};
use crate::vocabulary::{Epoch, Event, Position, Prev};

/// One channel in one snapshot.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    /// The newest epoch of the channel's log.
    pub(super) epoch: Epoch,
    /// What the checkpoint vouches for.
    pub(super) applied: Position,
    /// Up to here nobody knows what happened on the channel, but for the events that are stored;
    /// `None`: the view covers its epoch whole.
    pub(super) uncovered: Option<Position>,
    /// The channel's newest event, whether it is still stored or not.
    pub(super) head: Option<Position>,
    /// The oldest readable events after the asked position; perhaps not all.
    pub(super) events: Vec<Arc<Event>>,
}

/// The answer to a reader at `after`; `None`: a reader without a position, who misses nothing.
pub(super) fn answer(
    after: Option<Position>,
    snapshot: Snapshot,
    bounds: ReadBounds,
) -> HistoryRead {
    let applied = snapshot.applied;
    if after.is_some_and(|after| after > applied) {
        return HistoryRead::NotYet { applied };
    }
    let Some(first) = snapshot.events.first() else {
        let gone = after.and_then(|after| gone_without_events(after, &snapshot));
        return HistoryRead::Events { gone, events: Vec::new(), position: applied, more: false };
    };
    let gone = after.and_then(|after| gone_before(after, first));
    let before_first = Position::before(first.stream.epoch, first.offset);
    let start = gone.map(|gone| gone.through).or(after).unwrap_or(before_first);
    let mut events = snapshot.events;
    events.truncate(chained(&events, bounds));
    let (position, more) = match events.last().map(|last| last.position()) {
        None => (start, true),
        Some(last)
            if snapshot.head > Some(last)
                || snapshot.uncovered > Some(last)
                || last.epoch < snapshot.epoch =>
        {
            (last, true)
        }
        Some(_) => (applied, false),
    };
    HistoryRead::Events { gone, events, position, more }
}

/// What is gone after `after` where nothing is readable.
fn gone_without_events(after: Position, snapshot: &Snapshot) -> Option<Gone> {
    let head = snapshot.head.filter(|head| *head > after);
    let uncovered = snapshot.uncovered.filter(|uncovered| *uncovered > after);
    if after.epoch < snapshot.epoch {
        let start = Position::start_of(snapshot.epoch);
        let through = head.max(uncovered).map_or(start, |through| through.max(start));
        return Some(Gone { reason: GoneReason::Epoch, through });
    }
    if let Some(through) = uncovered.max(head).filter(|_| uncovered.is_some()) {
        return Some(Gone { reason: GoneReason::Unknown, through });
    }
    head.map(|through| Gone { reason: GoneReason::Retention, through })
}

/// What is gone between `after` and the oldest readable event after it.
fn gone_before(after: Position, first: &Event) -> Option<Gone> {
    let epoch = first.stream.epoch;
    let (from, crossed) =
        if after.epoch < epoch { (Position::start_of(epoch), true) } else { (after, false) };
    let missing = if follows(from, first) {
        None
    } else {
        match first.prev {
            Prev::At(prev) => Some((GoneReason::Retention, prev)),
            Prev::None | Prev::Unknown => {
                Some((GoneReason::Unknown, Position::before(epoch, first.offset)))
            }
        }
    };
    match (crossed, missing) {
        (true, missing) => {
            let through = missing.map_or(from, |(_, through)| through);
            Some(Gone { reason: GoneReason::Epoch, through })
        }
        (false, missing) => missing.map(|(reason, through)| Gone { reason, through }),
    }
}

/// Whether nothing of the channel lies between `position` and the event.
fn follows(position: Position, event: &Event) -> bool {
    event.prev.is_within(position) || position >= Position::before(event.stream.epoch, event.offset)
}

/// How many of the events stand in one chain within one epoch and within the bounds.
fn chained(events: &[Arc<Event>], bounds: ReadBounds) -> usize {
    let mut bytes = 0;
    let fits = |index: &usize| {
        let event = &events[*index];
        bytes += event.weight();
        let Some(last) = index.checked_sub(1).map(|before| &events[before]) else { return true };
        bytes <= bounds.max_bytes
            && last.stream.epoch == event.stream.epoch
            && follows(last.position(), event)
    };
    (0..events.len().min(bounds.max_events)).take_while(fits).count()
}

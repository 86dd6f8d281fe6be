//! What a snapshot of the history says to a reader: the chain's rule, epochs, bounds. Pure.

use std::sync::Arc;

use super::{Gone, GoneReason, HistoryRead, ReadBounds, ReadFrom};
use crate::vocabulary::{Epoch, Event, Position, Prev};

/// One channel in one snapshot.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The newest epoch of the channel's log.
    pub epoch: Epoch,
    /// What the checkpoint vouches for.
    pub applied: Position,
    /// Up to here nobody knows what happened on the channel, but for the events that are stored;
    /// `None`: the view covers its epoch whole.
    pub uncovered: Option<Position>,
    /// The channel's newest event, whether it is still stored or not.
    pub head: Option<Position>,
    /// The oldest readable events after the asked position; perhaps not all.
    pub events: Vec<Arc<Event>>,
}

impl Snapshot {
    /// What it says to this reader.
    pub fn answer(self, from: ReadFrom, bounds: ReadBounds) -> HistoryRead {
        match from {
            ReadFrom::After(position) => answer(Some(position), self, bounds),
            ReadFrom::Last(_) => answer(None, self, bounds),
        }
    }
}

/// The answer to a reader at `after`; `None`: a reader without a position, who misses nothing.
fn answer(after: Option<Position>, snapshot: Snapshot, bounds: ReadBounds) -> HistoryRead {
    let applied = snapshot.applied;
    if after.is_some_and(|after| after > applied) {
        return HistoryRead::NotYet { applied };
    }
    let Some(first) = snapshot.events.first() else {
        let gone = after.and_then(|after| gone_without_events(after, &snapshot));
        return HistoryRead::Events { gone, events: Vec::new(), position: applied, more: false };
    };
    let uncovered = snapshot.uncovered;
    let gone = after.and_then(|after| gone_before(after, first, uncovered));
    let before_first = Position::before(first.stream.epoch, first.offset);
    let start = gone.map(|gone| gone.through).or(after).unwrap_or(before_first);
    let mut events = snapshot.events;
    events.truncate(chained(&events, bounds, uncovered));
    for event in events.iter_mut().filter(|event| event.prev == Prev::Unknown) {
        Arc::make_mut(event).prev = Prev::At(lowest(event, uncovered));
    }
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
fn gone_before(after: Position, first: &Event, uncovered: Option<Position>) -> Option<Gone> {
    let epoch = first.stream.epoch;
    let (from, crossed) =
        if after.epoch < epoch { (Position::start_of(epoch), true) } else { (after, false) };
    let missing = if follows(from, first, uncovered) {
        None
    } else {
        match first.prev {
            Prev::At(prev) => Some((GoneReason::Retention, prev)),
            Prev::None | Prev::Unknown => Some((GoneReason::Unknown, lowest(first, uncovered))),
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
fn follows(position: Position, event: &Event, uncovered: Option<Position>) -> bool {
    event.prev.is_within(position) || position >= lowest(event, uncovered)
}

/// Nothing of the channel lies between here and the event, whatever its predecessor is: where nobody
/// knows that one, the view knows all that followed it from its own beginning on.
fn lowest(event: &Event, uncovered: Option<Position>) -> Position {
    let before = Position::before(event.stream.epoch, event.offset);
    let covered = |at: &Position| at.epoch == before.epoch && *at < before;
    match event.prev {
        Prev::Unknown => uncovered.filter(covered).unwrap_or(before),
        Prev::At(_) | Prev::None => before,
    }
}

/// How many of the events stand in one chain within one epoch and within the bounds.
fn chained(events: &[Arc<Event>], bounds: ReadBounds, uncovered: Option<Position>) -> usize {
    let mut bytes = 0;
    let fits = |index: &usize| {
        let event = &events[*index];
        bytes += event.weight();
        let Some(last) = index.checked_sub(1).map(|before| &events[before]) else { return true };
        bytes <= bounds.max_bytes
            && last.stream.epoch == event.stream.epoch
            && follows(last.position(), event, uncovered)
    };
    (0..events.len().min(bounds.max_events)).take_while(fits).count()
}

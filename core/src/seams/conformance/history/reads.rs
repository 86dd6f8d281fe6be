//! What a read says: chains, gaps, bounds.

use std::sync::Arc;

use super::{ALL, HistoryFixture, Read, claim, commit, plain, read, read_after};
use crate::seams::conformance::{Samples, channel, stream};
use crate::seams::{Gone, GoneReason, History, HistoryRead, ReadBounds, ReadFrom};
use crate::vocabulary::{Epoch, Event, Position, Prev};

/// From any position between and behind events; all fields come back.
pub async fn reads_are_chained(fixture: &impl HistoryFixture) {
    let history = fixture.open().await;
    let (mut samples, a, b) = (Samples::new(stream(1, 3)), channel("a"), channel("b"));
    let start = samples.position();
    let fence = claim(&history, &samples).await.fence;
    let mut of_a = Vec::new();
    for i in 0..40 {
        let events = [samples.event(&a, &format!("\0{i}\u{e9}")), samples.event(&b, "other")];
        commit(&history, &samples, fence, &events).await;
        of_a.push(events[0].clone());
    }
    for passed in -1..80 {
        let after = Position { passed, ..start };
        let read = read_after(&history, &samples, &a, after).await;
        let expected: Vec<_> =
            of_a.iter().filter(|applied| applied.event.position() > after).cloned().collect();
        assert_eq!((read.gone, read.events), (None, plain(&expected)), "after {after}");
        assert_eq!((read.position, read.more), (samples.position(), false));
    }
    fixture.shut(history).await;
}

/// By events and by bytes (one event at least); `more` is exact, and reading on misses nothing.
pub async fn reads_keep_their_bounds(fixture: &impl HistoryFixture) {
    let history = fixture.open().await;
    let (mut samples, a) = (Samples::new(stream(1, 0)), channel("a"));
    let start = samples.position();
    let fence = claim(&history, &samples).await.fence;
    let mut events = samples.events(&a, 30);
    events.push(samples.event(&a, &"x".repeat(100_000)));
    events.extend(samples.events(&a, 9));
    commit(&history, &samples, fence, &events).await;
    for (max_events, max_bytes) in [(1, usize::MAX), (7, usize::MAX), (100, 1), (100, 3_000)] {
        let bounds = ReadBounds { max_events, max_bytes, ..ALL };
        let (mut after, mut held) = (start, Vec::new());
        loop {
            let page = read(&history, &samples, &a, ReadFrom::After(after), bounds).await;
            let bytes: usize = page.events.iter().map(|event| event.weight()).sum();
            assert!(page.events.len() <= max_events, "{}", page.events.len());
            assert!(page.events.len() == 1 || bytes <= max_bytes, "{bytes}");
            held.extend(page.events);
            after = page.position;
            if !page.more {
                break;
            }
            assert!(held.len() < events.len(), "more was promised after the last event");
        }
        assert_eq!(held, plain(&events));
        assert_eq!(after, samples.position());
    }
    let nothing = ReadBounds { max_events: 0, ..ALL };
    let page = read(&history, &samples, &a, ReadFrom::After(start), nothing).await;
    assert_eq!(page, Read { gone: None, events: vec![], position: start, more: true });
    fixture.shut(history).await;
}

/// A reader of a quiet or never used channel moves on to the checkpoint.
pub async fn an_idle_channel_is_no_gap(fixture: &impl HistoryFixture) {
    let history = fixture.open().await;
    let (mut samples, a) = (Samples::new(stream(1, 0)), channel("a"));
    let start = samples.position();
    let idle = |position| Read { gone: None, events: vec![], position, more: false };
    assert_eq!(read_after(&history, &samples, &a, start).await, idle(start));
    let fence = claim(&history, &samples).await.fence;
    let events = samples.events(&a, 1);
    let others = samples.events(&channel("b"), 5);
    samples.skip();
    commit(&history, &samples, fence, &[events.clone(), others].concat()).await;
    let after = events[0].event.position();
    assert_eq!(read_after(&history, &samples, &a, after).await, idle(samples.position()));
    let unused = channel("unused");
    assert_eq!(read_after(&history, &samples, &unused, start).await, idle(samples.position()));
    let now = samples.position();
    assert_eq!(read_after(&history, &samples, &a, now).await, idle(now));
    fixture.shut(history).await;
}

/// Nothing is said of what was not applied yet.
pub async fn ahead_of_the_checkpoint_is_not_yet(fixture: &impl HistoryFixture) {
    let history = fixture.open().await;
    let (mut samples, a) = (Samples::new(stream(1, 0)), channel("a"));
    let start = samples.position();
    let not_yet = async |after, samples: &Samples, applied: Position| {
        let read = history.read(&a, samples.stream(), ReadFrom::After(after), ALL).await.unwrap();
        assert!(matches!(read, HistoryRead::NotYet { applied: at } if at == applied), "{read:?}");
    };
    not_yet(Position { passed: 0, ..start }, &samples, start).await;
    let fence = claim(&history, &samples).await.fence;
    let events = samples.events(&a, 3);
    commit(&history, &samples, fence, &events).await;
    not_yet(Position { passed: 3, ..start }, &samples, samples.position()).await;
    not_yet(Position::start_of(Epoch(2)), &samples, samples.position()).await;
    fixture.shut(history).await;
}

/// The range that is gone, then what is left; nothing is gone for who has passed it.
pub async fn what_retention_removed_is_gone(fixture: &impl HistoryFixture) {
    let history = fixture.open().await;
    let (mut samples, a) = (Samples::new(stream(1, 0)), channel("a"));
    let start = samples.position();
    let fence = claim(&history, &samples).await.fence;
    let mut events = Vec::new();
    for _ in 0..10 {
        events.extend(samples.events(&a, 1));
        samples.events(&channel("b"), 1);
    }
    commit(&history, &samples, fence, &events).await;
    let at = |index: usize| events[index].event.position();
    let gone = |through| Some(Gone { reason: GoneReason::Retention, through });

    fixture.retain(&history, &a, 4).await;
    for after in [start, at(0), at(4)] {
        let read = read_after(&history, &samples, &a, after).await;
        assert_eq!((read.gone, read.events), (gone(at(5)), plain(&events[6..])));
        assert_eq!((read.position, read.more), (samples.position(), false));
    }
    for after in [at(5), Position { passed: at(5).passed + 1, ..start }, at(8)] {
        let read = read_after(&history, &samples, &a, after).await;
        assert_eq!(read.gone, None, "after {after}");
        assert_eq!(read.events.last(), Some(&events[9].event));
    }
    let page = ReadBounds { max_events: 2, ..ALL };
    let first = read(&history, &samples, &a, ReadFrom::After(start), page).await;
    let (position, more) = (at(7), true);
    assert_eq!(first, Read { gone: gone(at(5)), events: plain(&events[6..8]), position, more });

    fixture.retain(&history, &a, 0).await;
    let (position, more) = (samples.position(), false);
    let none = |gone| Read { gone, events: vec![], position, more };
    assert_eq!(read_after(&history, &samples, &a, at(3)).await, none(gone(at(9))));
    assert_eq!(read_after(&history, &samples, &a, at(9)).await, none(None));
    let newest = read(&history, &samples, &a, ReadFrom::Last(3), ALL).await;
    assert_eq!(newest, none(None));
    fixture.shut(history).await;
}

/// Age is applied on reading, whatever the sweep has come to.
pub async fn what_is_too_old_counts_as_removed(fixture: &impl HistoryFixture) {
    let history = fixture.open().await;
    let (mut samples, a) = (Samples::new(stream(1, 0)), channel("a"));
    let start = samples.position();
    let fence = claim(&history, &samples).await.fence;
    let mut events = Vec::new();
    for time_ms in [100, 200, 300, 400] {
        samples.time_ms = time_ms;
        events.extend(samples.events(&a, 1));
    }
    commit(&history, &samples, fence, &events).await;
    let at = |index: usize| events[index].event.position();
    let gone = |through| Some(Gone { reason: GoneReason::Retention, through });
    for (oldest_time_ms, after, expected_gone, left) in [
        (100, start, None, 0),
        (101, start, gone(at(0)), 1),
        (300, at(0), gone(at(1)), 2),
        (300, at(1), None, 2),
        (401, at(1), gone(at(3)), 4),
        (401, at(3), None, 4),
    ] {
        let bounds = ReadBounds { oldest_time_ms, ..ALL };
        let read = read(&history, &samples, &a, ReadFrom::After(after), bounds).await;
        assert_eq!((read.gone, read.events), (expected_gone, plain(&events[left..])));
    }
    let bounds = ReadBounds { oldest_time_ms: 301, ..ALL };
    let newest = read(&history, &samples, &a, ReadFrom::Last(3), bounds).await;
    assert_eq!((newest.gone, newest.events), (None, plain(&events[3..])));
    fixture.shut(history).await;
}

/// What is left of the old epoch, then a gap, then the new one.
pub async fn another_epoch_is_a_gap(fixture: &impl HistoryFixture) {
    let history = fixture.open().await;
    let (mut old, a) = (Samples::new(stream(1, 0)), channel("a"));
    let start = old.position();
    let fence = claim(&history, &old).await.fence;
    let before = old.events(&a, 4);
    commit(&history, &old, fence, &before).await;
    let mut new = old.next_epoch();
    let new_start = new.position();
    let gone = Some(Gone { reason: GoneReason::Epoch, through: new_start });
    let last_old = before[3].event.position();

    let empty = read_after(&history, &new, &a, last_old).await;
    assert_eq!(empty, Read { gone, events: vec![], position: new_start, more: false });
    let fence = claim(&history, &new).await.fence;
    let after = new.events(&a, 3);
    commit(&history, &new, fence, &after).await;
    let first = read_after(&history, &new, &a, start).await;
    let position = last_old;
    assert_eq!(first, Read { gone: None, events: plain(&before), position, more: true });
    let second = read_after(&history, &new, &a, position).await;
    assert_eq!((second.gone, second.events), (gone, plain(&after)));
    assert_eq!((second.position, second.more), (new.position(), false));

    fixture.retain(&history, &a, 1).await;
    let through = after[1].event.position();
    let rest = read_after(&history, &new, &a, start).await;
    assert_eq!(rest.gone, Some(Gone { reason: GoneReason::Epoch, through }));
    assert_eq!(rest.events, plain(&after[2..]));
    fixture.shut(history).await;
}

/// The store knows what it holds of the channel; of a first event it knows nothing.
pub async fn an_unknown_predecessor_is_vouched_for_or_a_gap(fixture: &impl HistoryFixture) {
    let history = fixture.open().await;
    let (mut samples, a, b) = (Samples::new(stream(1, 0)), channel("a"), channel("b"));
    let start = samples.position();
    let fence = claim(&history, &samples).await.fence;
    samples.skip();
    let first_of_b = samples.event_with_prev(&b, "of b", Prev::Unknown);
    let mut of_a = samples.events(&a, 2);
    of_a.push(samples.event_with_prev(&a, "unknown", Prev::Unknown));
    of_a.extend(samples.events(&a, 1));
    commit(&history, &samples, fence, &[vec![first_of_b.clone()], of_a.clone()].concat()).await;

    let read = read_after(&history, &samples, &a, start).await;
    assert_eq!(read.gone, None);
    let vouched: Vec<Event> = read.events.iter().map(|event| (**event).clone()).collect();
    assert_eq!(vouched[2].prev, Prev::At(of_a[1].event.position()));
    assert_eq!(vouched.iter().map(Event::position).collect::<Vec<_>>(), positions(&of_a));

    let read = read_after(&history, &samples, &b, start).await;
    let through = Position::before(Epoch(1), first_of_b.event.offset);
    assert_eq!(read.gone, Some(Gone { reason: GoneReason::Unknown, through }));
    assert_eq!(read.events, [behind(&first_of_b, through)]);
    let read = read_after(&history, &samples, &b, through).await;
    assert_eq!((read.gone, read.events.len()), (None, 1), "nothing lies between");
    fixture.shut(history).await;
}

/// A view built from a log whose beginning was gone: who comes from before it may have missed
/// something on every channel, whatever is stored of it from earlier.
pub async fn what_lies_before_the_view_is_unknown(fixture: &impl HistoryFixture) {
    let history = fixture.open().await;
    let (mut samples, a, b, c) =
        (Samples::new(stream(1, 0)), channel("a"), channel("b"), channel("c"));
    let start = samples.position();
    let fence = claim(&history, &samples).await.fence;
    let old = samples.events(&a, 2);
    commit(&history, &samples, fence, &old).await;
    for _ in 0..5 {
        samples.skip();
    }
    let through = samples.begin_here();
    commit(&history, &samples, fence, &[]).await;
    let unknown = Some(Gone { reason: GoneReason::Unknown, through });

    let position = old[1].event.position();
    let first = read_after(&history, &samples, &a, start).await;
    assert_eq!(first, Read { gone: None, events: plain(&old), position, more: true });
    let nothing = Read { gone: unknown, events: vec![], position: samples.position(), more: false };
    assert_eq!(read_after(&history, &samples, &a, position).await, nothing);
    assert_eq!(read_after(&history, &samples, &c, start).await, nothing);
    let covered = read_after(&history, &samples, &c, through).await;
    assert_eq!((covered.gone, covered.more), (None, false));

    let first_of_b = samples.event_with_prev(&b, "of b", Prev::Unknown);
    let next_of_a = samples.event_with_prev(&a, "of a", Prev::Unknown);
    commit(&history, &samples, fence, &[first_of_b.clone(), next_of_a.clone()]).await;
    for (key, event, after) in [(&b, first_of_b, start), (&a, next_of_a, position)] {
        let read = read_after(&history, &samples, key, after).await;
        assert_eq!(read.gone, unknown, "{key:?}");
        assert_eq!(read.events, [behind(&event, through)]);
        // Whoever comes from within the view has missed nothing, wherever he stands.
        for within in [through, Position::before(Epoch(1), event.event.offset)] {
            let read = read_after(&history, &samples, key, within).await;
            assert_eq!((read.gone, read.events), (None, vec![behind(&event, through)]), "{key:?}");
        }
    }
    fixture.shut(history).await;
}

/// As many as there are, oldest first, without a gap before them; none of none.
pub async fn the_newest_events_are_read(fixture: &impl HistoryFixture) {
    let history = fixture.open().await;
    let (mut samples, a) = (Samples::new(stream(1, 0)), channel("a"));
    let fence = claim(&history, &samples).await.fence;
    let unused = read(&history, &samples, &a, ReadFrom::Last(5), ALL).await;
    let position = samples.position();
    assert_eq!(unused, Read { gone: None, events: vec![], position, more: false });
    let events = samples.events(&a, 10);
    let others = samples.events(&channel("b"), 3);
    commit(&history, &samples, fence, &[events.clone(), others].concat()).await;
    for wanted in [0, 1, 4, 10, 11, usize::MAX] {
        let read = read(&history, &samples, &a, ReadFrom::Last(wanted), ALL).await;
        let expected = plain(&events[10 - wanted.min(10)..]);
        assert_eq!((read.gone, read.events), (None, expected), "last {wanted}");
        assert_eq!((read.position, read.more), (samples.position(), false));
    }
    let bounds = ReadBounds { max_events: 2, ..ALL };
    let page = read(&history, &samples, &a, ReadFrom::Last(5), bounds).await;
    let (position, more) = (events[6].event.position(), true);
    assert_eq!(page, Read { gone: None, events: plain(&events[5..7]), position, more });
    fixture.shut(history).await;
}

/// The event as a reader gets it: with a place at or above its unknown predecessor, below which the
/// reader knows what is gone.
fn behind(event: &crate::seams::Applied, place: Position) -> Arc<Event> {
    Arc::new(Event { prev: Prev::At(place), ..Event::clone(&event.event) })
}

fn positions(events: &[crate::seams::Applied]) -> Vec<Position> {
    events.iter().map(|applied| applied.event.position()).collect()
}

//! The backplane's suite. Every check gets an empty backplane.

mod links;

use std::sync::Arc;

pub use self::links::{
    a_full_link_learns_of_it, ephemeral_events_reach_followers, followers_get_what_is_applied_after,
};
use super::{Samples, channel, stream};
use crate::seams::{Applied, ApplyOutcome, Backplane, HotHead, Stale};
use crate::vocabulary::{ChannelKey, Event, Position, Prev, Stream};

/// Every check of this suite. `make` makes an empty backplane whose hot history holds at most
/// `CHANNEL_EVENTS` events a channel, and whose links hold at most `LINK_CAPACITY` deliveries.
pub async fn all<B: Backplane>(make: impl Fn() -> B) {
    an_unknown_partition_needs_a_repair(&make()).await;
    applies_compare_the_marker(&make()).await;
    a_repair_compares_the_marker(&make()).await;
    reads_say_what_is_missing(&make()).await;
    a_broken_chain_starts_anew(&make()).await;
    only_what_the_history_has_is_trimmed(&make()).await;
    followers_get_what_is_applied_after(&make()).await;
    a_full_link_learns_of_it(&make()).await;
    ephemeral_events_reach_followers(&make()).await;
    partitions_do_not_meet(&make()).await;
}

/// The bound of a channel's hot history that the suite expects.
pub const CHANNEL_EVENTS: usize = 8;
/// The bound of a link's deliveries that the suite expects.
pub const LINK_CAPACITY: usize = 16;

/// Nothing may be applied to a partition of which nothing is known.
pub async fn an_unknown_partition_needs_a_repair(backplane: &impl Backplane) {
    let mut samples = Samples::new(stream(1, 0));
    let (key, start) = (channel("a"), samples.position());
    let event = samples.event(&key, "1");
    assert_eq!(backplane.marker(samples.stream()).await, Ok(None));
    let outcomes = apply(backplane, &samples, std::slice::from_ref(&event)).await;
    assert_eq!(outcomes, [ApplyOutcome::Mismatch { marker: None }]);
    let head = head_of(backplane, samples.stream(), &key).await;
    assert_eq!(head, HotHead { head: None, marker: None });
    assert_eq!(backplane.repair(samples.stream(), None, Stale::All, start).await, Ok(true));
    assert_eq!(apply(backplane, &samples, &[event]).await, [ApplyOutcome::Applied]);
}

/// Equal: applied. At or above: a repeat. Anything else: nothing is written.
pub async fn applies_compare_the_marker(backplane: &impl Backplane) {
    let mut samples = ready(backplane, stream(1, 0)).await;
    let (a, b) = (channel("a"), channel("b"));
    let first = [samples.event(&a, "1"), samples.event(&b, "2"), samples.event(&a, "3")];
    assert_eq!(apply(backplane, &samples, &first).await, [ApplyOutcome::Applied; 3]);
    let again = apply(backplane, &samples, &first[1..]).await;
    assert_eq!(again, [ApplyOutcome::Repeat; 2]);
    let marker = Some(first[2].event.position());
    assert_eq!(backplane.marker(samples.stream()).await, Ok(marker));

    let skipped = samples.event(&a, "4");
    let ahead = [samples.event(&a, "5"), samples.event(&a, "6")];
    let outcomes = apply(backplane, &samples, &ahead).await;
    assert_eq!(outcomes, [ApplyOutcome::Mismatch { marker }], "stops at the first");
    let mixed = [first[2].clone(), skipped, ahead[0].clone()];
    let outcomes = apply(backplane, &samples, &mixed).await;
    assert_eq!(outcomes, [ApplyOutcome::Repeat, ApplyOutcome::Applied, ApplyOutcome::Applied]);
    let head = head_of(backplane, samples.stream(), &a).await;
    let position = Some(ahead[0].event.position());
    assert_eq!(head, HotHead { head: position, marker: position });
}

/// Only who saw the present marker repairs; stale channels are dropped with it, others stay.
pub async fn a_repair_compares_the_marker(backplane: &impl Backplane) {
    let mut samples = ready(backplane, stream(1, 0)).await;
    let (a, b, stream) = (channel("a"), channel("b"), samples.stream().clone());
    let events = [samples.event(&a, "1"), samples.event(&b, "2")];
    apply_all(backplane, &samples, &events).await;
    let (marker, restored) = (Some(events[1].event.position()), events[0].event.position());
    let other = channel("other");
    for found in [None, Some(restored)] {
        let stale = Stale::Channels(std::slice::from_ref(&other));
        let repaired = backplane.repair(&stream, found, stale, restored).await;
        assert_eq!(repaired, Ok(false));
    }
    assert_eq!(head_of(backplane, &stream, &a).await.head, Some(restored));
    let stale = Stale::Channels(std::slice::from_ref(&b));
    assert_eq!(backplane.repair(&stream, marker, stale, restored).await, Ok(true));
    let head = head_of(backplane, &stream, &b).await;
    assert_eq!(head, HotHead { head: None, marker: Some(restored) });
    assert_eq!(head_of(backplane, &stream, &a).await.head, Some(restored));
    assert_eq!(apply(backplane, &samples, &events).await.last(), Some(&ApplyOutcome::Applied));
    assert_eq!(backplane.repair(&stream, marker, Stale::All, restored).await, Ok(true));
    let heads = backplane.heads(&stream, &[a, other, b]).await.unwrap();
    assert_eq!(heads, [HotHead { head: None, marker: Some(restored) }; 3]);
}

/// Events after a position, the oldest's `prev`, head and marker.
pub async fn reads_say_what_is_missing(backplane: &impl Backplane) {
    let mut samples = ready(backplane, stream(1, 0)).await;
    let (a, stream, start) = (channel("a"), samples.stream().clone(), samples.position());
    let events = samples.events(&a, 4);
    let last = samples.event(&channel("b"), "b");
    apply_all(backplane, &samples, &events).await;
    apply_all(backplane, &samples, std::slice::from_ref(&last)).await;
    let marker = Some(last.event.position());
    for (after, max, expected) in [
        (start, 9, &events[..]),
        (start, 2, &events[..2]),
        (events[1].event.position(), 9, &events[2..]),
        (events[3].event.position(), 9, &[]),
        (last.event.position(), 9, &[]),
    ] {
        let read = backplane.read(&a, &stream, after, max).await.unwrap();
        assert_eq!(read.events, plain(expected));
        assert_eq!(read.oldest_prev, Some(Prev::None));
        assert_eq!((read.head, read.marker), (Some(events[3].event.position()), marker));
    }
    let nothing = backplane.read(&channel("c"), &stream, start, 9).await.unwrap();
    assert_eq!((nothing.events.len(), nothing.oldest_prev), (0, None));
    assert_eq!((nothing.head, nothing.marker), (None, marker));
}

/// An event whose `prev` is not the newest one here: what came before is no suffix any more.
pub async fn a_broken_chain_starts_anew(backplane: &impl Backplane) {
    let mut samples = ready(backplane, stream(1, 0)).await;
    let (a, stream, start) = (channel("a"), samples.stream().clone(), samples.position());
    let before = samples.events(&a, 2);
    let unknown = samples.event_with_prev(&a, "unknown", Prev::Unknown);
    let after = samples.event(&a, "after");
    let missed = Position { passed: after.event.position().passed, ..start };
    samples.skip();
    let elsewhere = samples.event_with_prev(&a, "elsewhere", Prev::At(start));
    apply_all(backplane, &samples, &before).await;
    apply_all(backplane, &samples, &[unknown.clone(), after.clone()]).await;
    let read = backplane.read(&a, &stream, start, 9).await.unwrap();
    assert_eq!(read.events, plain(&[unknown, after]));
    assert_eq!(read.oldest_prev, Some(Prev::Unknown));
    apply_all(backplane, &samples, std::slice::from_ref(&elsewhere)).await;
    let read = backplane.read(&a, &stream, missed, 9).await.unwrap();
    assert_eq!(read.events, plain(&[elsewhere]));
    assert_eq!(read.oldest_prev, Some(Prev::At(start)));
}

/// Beyond the bound, and at or below the checkpoint; what is left says from where on it is whole.
pub async fn only_what_the_history_has_is_trimmed(backplane: &impl Backplane) {
    let mut samples = ready(backplane, stream(1, 0)).await;
    let (a, stream, start) = (channel("a"), samples.stream().clone(), samples.position());
    let events = samples.events(&a, CHANNEL_EVENTS * 3);
    apply_all(backplane, &samples, &events).await;
    let read = backplane.read(&a, &stream, start, 99).await.unwrap();
    assert_eq!(read.events, plain(&events), "nothing is in the history yet");

    let checkpoint = events[CHANNEL_EVENTS - 1].event.position();
    backplane.trim_below(&stream, checkpoint).await.unwrap();
    let read = backplane.read(&a, &stream, start, 99).await.unwrap();
    assert!(read.events.ends_with(&plain(&events[CHANNEL_EVENTS..])), "{:?}", read.oldest_prev);
    assert_eq!(read.oldest_prev, read.events.first().map(|event| event.prev));

    backplane.trim_below(&stream, samples.position()).await.unwrap();
    let more = samples.events(&a, CHANNEL_EVENTS);
    apply_all(backplane, &samples, &more).await;
    backplane.trim_below(&stream, samples.position()).await.unwrap();
    let read = backplane.read(&a, &stream, start, 99).await.unwrap();
    let all = plain(&[events, more].concat());
    assert!(read.events.len() < all.len() && all.ends_with(&read.events));
    assert_eq!(read.oldest_prev, read.events.first().map(|event| event.prev));
    assert_eq!(read.head, Some(samples.position()));
}

/// Markers, heads and hot history are each partition's own, and each epoch's.
pub async fn partitions_do_not_meet(backplane: &impl Backplane) {
    let mut samples = ready(backplane, stream(1, 0)).await;
    let a = channel("a");
    let event = samples.event(&a, "1");
    apply_all(backplane, &samples, &[event]).await;
    for other in [stream(1, 1), stream(2, 0)] {
        assert_eq!(backplane.marker(&other).await, Ok(None));
        let head = head_of(backplane, &other, &a).await;
        assert_eq!(head, HotHead { head: None, marker: None });
    }
}

async fn head_of(backplane: &impl Backplane, stream: &Stream, key: &ChannelKey) -> HotHead {
    let heads = backplane.heads(stream, std::slice::from_ref(key)).await.unwrap();
    assert_eq!(heads.len(), 1);
    heads[0]
}

async fn ready(backplane: &impl Backplane, stream: Stream) -> Samples {
    let samples = Samples::new(stream);
    let repaired = backplane.repair(samples.stream(), None, Stale::All, samples.position()).await;
    assert_eq!(repaired, Ok(true));
    samples
}

async fn apply(
    backplane: &impl Backplane,
    samples: &Samples,
    events: &[Applied],
) -> Vec<ApplyOutcome> {
    backplane.apply(samples.stream(), events).await.unwrap()
}

/// Applies what must be new here.
async fn apply_all(backplane: &impl Backplane, samples: &Samples, events: &[Applied]) {
    let outcomes = apply(backplane, samples, events).await;
    assert_eq!(outcomes, vec![ApplyOutcome::Applied; events.len()]);
}

fn plain(events: &[Applied]) -> Vec<Arc<Event>> {
    events.iter().map(|applied| applied.event.clone()).collect()
}

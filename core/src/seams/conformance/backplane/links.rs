//! What links get: events in order, `Lossy` in place of what was dropped, ephemeral events.

use std::sync::Arc;

use bytes::Bytes;

use super::super::{Samples, channel, stream};
use super::{LINK_CAPACITY, apply, apply_all, ready};
use crate::seams::{ApplyOutcome, Backplane, Delivery, Ephemeral, Link};
use crate::vocabulary::{ChannelKey, Event};

/// In order, once, from the confirmation on; nothing of other channels.
pub async fn followers_get_what_is_applied_after(backplane: &impl Backplane) {
    let mut samples = ready(backplane, stream(1, 0)).await;
    let (a, b) = (channel("a"), channel("b"));
    let (mut one, mut two) = (backplane.link().await.unwrap(), backplane.link().await.unwrap());
    follow(&one, &samples, &[&a]).await;
    follow(&two, &samples, &[&a, &b]).await;
    let events = [samples.event(&a, "1"), samples.event(&b, "2"), samples.event(&a, "3")];
    apply_all(backplane, &samples, &events).await;
    assert_eq!(apply(backplane, &samples, &events).await, [ApplyOutcome::Repeat; 3]);
    assert_eq!(next_event(&mut one).await, events[0].event);
    assert_eq!(next_event(&mut one).await, events[2].event);
    for expected in &events {
        assert_eq!(next_event(&mut two).await, expected.event);
    }
    one.control.unfollow(&[(a.clone(), samples.stream().clone())]).await.unwrap();
    let last = [samples.event(&a, "4"), samples.event(&b, "5")];
    follow(&one, &samples, &[&b]).await;
    apply_all(backplane, &samples, &last).await;
    // A delivery of `a` may still have been under way; nothing else may come first.
    let mut seen = next_event(&mut one).await;
    while seen.key == a {
        seen = next_event(&mut one).await;
    }
    assert_eq!(seen, last[1].event);
}

/// Lossy comes after everything that was kept; then the link works as before. A backplane may still
/// have events under way when `apply` returns, so nobody reads until the link is full and more came.
pub async fn a_full_link_learns_of_it(backplane: &impl Backplane) {
    let mut samples = ready(backplane, stream(1, 0)).await;
    let a = channel("a");
    let mut link = backplane.link().await.unwrap();
    follow(&link, &samples, &[&a]).await;
    let (mut last, mut lossy) = (samples.position(), 0);
    while lossy < 3 {
        while link.deliveries.len() < LINK_CAPACITY {
            let events = samples.events(&a, LINK_CAPACITY);
            apply_all(backplane, &samples, &events).await;
            tokio::task::yield_now().await;
        }
        let events = samples.events(&a, LINK_CAPACITY * 10);
        apply_all(backplane, &samples, &events).await;
        assert!(link.deliveries.len() <= LINK_CAPACITY + 1, "no more than a `Lossy` beyond");
        while last < samples.position() {
            match link.deliveries.recv().await.unwrap() {
                Delivery::Event(event) => {
                    assert!(event.position() > last, "{event:?} after {last}");
                    last = event.position();
                }
                Delivery::Lossy => {
                    lossy += 1;
                    break;
                }
                Delivery::Ephemeral(_) => panic!("nobody sent one"),
            }
        }
    }
    // With a reader at hand the way is free in the end. What was still under way at the last `Lossy`
    // may fill the link once more, and the event with it; then another `Lossy` says so.
    loop {
        let event = samples.event(&a, "after");
        apply_all(backplane, &samples, std::slice::from_ref(&event)).await;
        if arrives(&mut link, &event.event).await {
            return;
        }
    }
}

/// Whether an event arrives, behind what was under way; `false`: a `Lossy` came in its place.
async fn arrives(link: &mut Link, event: &Event) -> bool {
    loop {
        match link.deliveries.recv().await.unwrap() {
            Delivery::Event(seen) if seen.position() < event.position() => {}
            Delivery::Event(seen) => {
                assert_eq!(*seen, *event);
                return true;
            }
            Delivery::Lossy => return false,
            Delivery::Ephemeral(_) => panic!("nobody sent one"),
        }
    }
}

/// To the channel's followers only, and nothing is stored.
pub async fn ephemeral_events_reach_followers(backplane: &impl Backplane) {
    let samples = ready(backplane, stream(1, 0)).await;
    let (a, b) = (channel("a"), channel("b"));
    let mut link = backplane.link().await.unwrap();
    follow(&link, &samples, &[&b]).await;
    for key in [&a, &b] {
        let body = Bytes::from_static(b"typing");
        let event = Ephemeral { key: key.clone(), time_ms: 1, body };
        backplane.send(Arc::new(event)).await.unwrap();
    }
    match link.deliveries.recv().await.unwrap() {
        Delivery::Ephemeral(event) => assert_eq!(event.key, b),
        other => panic!("{other:?}"),
    }
    let read = backplane.read(&b, samples.stream(), samples.position(), 9).await.unwrap();
    assert_eq!((read.events.len(), read.head), (0, None));
}

async fn follow(link: &Link, samples: &Samples, keys: &[&ChannelKey]) {
    let channels: Vec<_> =
        keys.iter().map(|key| ((*key).clone(), samples.stream().clone())).collect();
    link.control.follow(&channels).await.unwrap();
}

async fn next_event(link: &mut Link) -> Arc<Event> {
    loop {
        match link.deliveries.recv().await.unwrap() {
            Delivery::Event(event) => return event,
            Delivery::Lossy => {}
            Delivery::Ephemeral(event) => panic!("{event:?}"),
        }
    }
}

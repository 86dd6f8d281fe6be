//! The backplane's test double: what it loses, and that users can tell by the contract's means.

use std::sync::Arc;

use meridian_core::embedded::faulty::{Announce, BackplaneFaults, FaultyBackplane, Rule};
use meridian_core::embedded::{BackplaneOptions, InProcessBackplane};
use meridian_core::seams::conformance::{Samples, channel, stream};
use meridian_core::seams::{
    Applied, ApplyOutcome, Backplane, BackplaneError, Delivery, Link, Stale,
};
use meridian_core::vocabulary::{Event, Position};

const NO_FAULTS: BackplaneFaults =
    BackplaneFaults { dropped: 0, delayed: 0, lost_acknowledgement: 0, lost_request: 0 };

type Double = FaultyBackplane<InProcessBackplane>;

/// A double with a ready partition and a link that follows channel `a`.
async fn ready(seed: u64, faults: BackplaneFaults) -> (Double, Samples, Link) {
    let make = || InProcessBackplane::new(BackplaneOptions::default());
    let (double, samples) = (FaultyBackplane::new(make, seed, faults), Samples::new(stream(1, 0)));
    assert_eq!(
        double.repair(samples.stream(), None, Stale::All, samples.position()).await,
        Ok(true)
    );
    let link = double.link().await.unwrap();
    link.control.follow(&[(channel("a"), stream(1, 0))]).await.unwrap();
    (double, samples, link)
}

async fn apply(double: &Double, events: &[Applied]) {
    let outcomes = double.apply(&stream(1, 0), events).await.unwrap();
    assert!(outcomes.iter().all(|outcome| *outcome == ApplyOutcome::Applied), "{outcomes:?}");
}

async fn next(link: &mut Link) -> Arc<Event> {
    match link.deliveries.recv().await.unwrap() {
        Delivery::Event(event) => event,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_dropped_message_shows_in_the_head() {
    let (double, mut samples, mut link) = ready(1, NO_FAULTS).await;
    let events = samples.events(&channel("a"), 3);
    apply(&double, &events[..1]).await;
    assert_eq!(next(&mut link).await, events[0].event);
    double.set_rules(vec![Rule::DropNext { channel: channel("a"), count: 1 }]);
    apply(&double, &events[1..2]).await;
    let head = double.heads(samples.stream(), &[channel("a")]).await.unwrap()[0];
    assert_eq!(head.head, Some(events[1].event.position()));
    apply(&double, &events[2..]).await;
    assert_eq!(next(&mut link).await, events[2].event, "and nothing says that one is missing");
}

#[tokio::test]
async fn held_messages_come_late_and_out_of_order() {
    let (double, mut samples, mut link) = ready(1, NO_FAULTS).await;
    let events = samples.events(&channel("a"), 2);
    double.set_rules(vec![Rule::HoldNext { channel: channel("a"), count: 1 }]);
    apply(&double, &events).await;
    assert_eq!(next(&mut link).await, events[1].event);
    double.release().await;
    assert_eq!(next(&mut link).await, events[0].event);
}

#[tokio::test]
async fn a_failover_goes_back_to_an_older_state() {
    let (double, mut samples, mut link) = ready(1, NO_FAULTS).await;
    let events = samples.events(&channel("a"), 5);
    apply(&double, &events).await;
    for expected in &events {
        assert_eq!(next(&mut link).await, expected.event);
    }
    double.lose_writes(samples.stream(), 2, Announce::Lossy).await.unwrap();
    assert!(matches!(link.deliveries.recv().await, Some(Delivery::Lossy)));
    let marker = Some(events[2].event.position());
    assert_eq!(double.marker(samples.stream()).await, Ok(marker));
    let head = double.heads(samples.stream(), &[channel("a")]).await.unwrap()[0];
    assert_eq!(head.head, marker);
    // The zombie's and the successor's writes are the same.
    apply(&double, &events[3..]).await;
    assert_eq!(next(&mut link).await, events[3].event);

    double.forget_everything(Announce::Silent).await.unwrap();
    assert_eq!(double.marker(samples.stream()).await, Ok(None));
}

#[tokio::test]
async fn a_lost_acknowledgement_leaves_a_prefix() {
    let faults = BackplaneFaults { lost_acknowledgement: 1_000, ..NO_FAULTS };
    let mut prefixes = Vec::new();
    for seed in 0..20 {
        let (double, mut samples, _link) = ready(seed, faults).await;
        let events = samples.events(&channel("a"), 4);
        assert_eq!(double.apply(samples.stream(), &events).await, Err(BackplaneError));
        let marker = double.marker(samples.stream()).await.unwrap().unwrap();
        double.set_faults(NO_FAULTS);
        let outcomes = double.apply(samples.stream(), &events).await.unwrap();
        let repeats = outcomes.iter().filter(|outcome| **outcome == ApplyOutcome::Repeat).count();
        assert_eq!(marker, events[repeats - 1].event.position());
        assert_eq!(outcomes.len(), 4);
        prefixes.push(repeats);
    }
    assert!(prefixes.contains(&1) && prefixes.contains(&4), "{prefixes:?}");
}

#[tokio::test]
async fn a_seed_determines_what_is_lost() {
    let faults = BackplaneFaults { dropped: 300, delayed: 300, ..NO_FAULTS };
    let mut runs = Vec::new();
    for seed in [7, 7, 8] {
        let (double, mut samples, mut link) = ready(seed, faults).await;
        let events = samples.events(&channel("a"), 200);
        apply(&double, &events).await;
        let mut arrived: Vec<Position> = Vec::new();
        while arrived.last() < Some(&events[100].event.position()) {
            arrived.push(next(&mut link).await.position());
        }
        runs.push(arrived);
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
    assert!(runs[0].len() < 100 && !runs[0].is_sorted(), "{:?}", runs[0]);
}

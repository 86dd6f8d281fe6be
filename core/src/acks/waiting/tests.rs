use std::collections::HashMap;

use super::*;
use crate::embedded::faulty::Chance;
use crate::seams::conformance::{Printed, acknowledged, acknowledged_key as key, seeds};

const INTERVAL: Duration = Duration::from_secs(5);

fn waiting(keys: usize) -> (Waiting, Instant) {
    (Waiting::new(WaitingOptions { interval: INTERVAL, keys }), Instant::now())
}

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn taken(waiting: &mut Waiting, now: Instant) -> Vec<(u64, i64)> {
    let taken = waiting.take(now, 100);
    taken.iter().map(|(_, a)| (a.generation, a.cursor.position.passed)).collect()
}

#[test]
fn the_first_goes_at_once_and_the_newest_an_interval_later() {
    let (mut waiting, start) = waiting(10);
    for passed in [3, 1] {
        waiting.offer(key("a"), acknowledged(0, 1, passed), start);
    }
    assert_eq!(waiting.next(), Some(start));
    assert_eq!(taken(&mut waiting, start), [(0, 3)]);
    for passed in [4, 6, 5] {
        waiting.offer(key("a"), acknowledged(0, 1, passed), start + at(1));
    }
    assert_eq!(taken(&mut waiting, start + at(4)), []);
    assert_eq!(waiting.next(), Some(start + INTERVAL));
    assert_eq!(taken(&mut waiting, start + INTERVAL), [(0, 6)]);
    // What went already does not go again; after an interval nothing is remembered of it.
    waiting.offer(key("a"), acknowledged(0, 1, 6), start + at(6));
    assert!(waiting.is_empty());
    assert_eq!(taken(&mut waiting, start + 2 * INTERVAL), []);
    assert_eq!(waiting.next(), None);
    waiting.offer(key("a"), acknowledged(0, 1, 6), start + at(11));
    assert_eq!(taken(&mut waiting, start + at(11)), [(0, 6)]);
}

#[test]
fn a_reset_does_not_wait_and_replaces_what_does() {
    let (mut waiting, start) = waiting(10);
    waiting.offer(key("a"), acknowledged(0, 1, 3), start);
    assert_eq!(taken(&mut waiting, start), [(0, 3)]);
    waiting.offer(key("a"), acknowledged(0, 1, 9), start + at(1));
    waiting.offer(key("a"), acknowledged(1, 1, 2), start + at(2));
    assert_eq!(taken(&mut waiting, start + at(2)), [(1, 2)]);
    waiting.offer(key("a"), acknowledged(0, 1, 10), start + at(3));
    assert!(waiting.is_empty());
}

#[test]
fn what_did_not_arrive_goes_again_unless_a_higher_one_waits() {
    let (mut waiting, start) = waiting(10);
    waiting.offer(key("a"), acknowledged(0, 1, 3), start);
    let lost = waiting.take(start, 100);
    waiting.put_back(lost, start + at(1));
    // Not ignored, although it went: it may not have arrived.
    waiting.offer(key("a"), acknowledged(0, 1, 3), start + at(1));
    let lost = waiting.take(start + at(1), 100);
    assert_eq!(lost.len(), 1);
    waiting.offer(key("a"), acknowledged(0, 1, 7), start + at(2));
    waiting.put_back(lost, start + at(3));
    assert_eq!(waiting.len(), 1);
    assert_eq!(taken(&mut waiting, start + at(6)), [(0, 7)]);
}

#[test]
fn a_session_that_ends_and_a_process_that_stops_hurry() {
    let (mut waiting, start) = waiting(10);
    for name in ["a", "b", "c"] {
        waiting.offer(key(name), acknowledged(0, 1, 1), start);
    }
    assert_eq!(waiting.take(start, 2).len(), 2);
    assert_eq!(waiting.take(start, 2).len(), 1);
    for name in ["a", "b", "c"] {
        waiting.offer(key(name), acknowledged(0, 1, 2), start + at(1));
    }
    waiting.hurry(&key("b"), start + at(2));
    waiting.hurry(&key("d"), start + at(2));
    assert_eq!(waiting.take(start + at(2), 100), [(key("b"), acknowledged(0, 1, 2))]);
    waiting.hurry_all(start + at(3));
    assert_eq!(taken(&mut waiting, start + at(3)).len(), 2);
}

#[test]
fn a_mend_goes_unless_one_as_high_is_seen() {
    let (mut waiting, start) = waiting(10);
    waiting.mend(key("a"), acknowledged(0, 1, 7), start + at(6));
    waiting.seen(&key("a"), &acknowledged(0, 1, 6));
    assert_eq!(waiting.len(), 1);
    waiting.mend(key("a"), acknowledged(0, 1, 8), start + at(9));
    assert_eq!(waiting.next(), Some(start + at(6)));
    waiting.seen(&key("a"), &acknowledged(0, 1, 8));
    assert!(waiting.is_empty());
    waiting.mend(key("a"), acknowledged(0, 1, 8), start + at(7));
    assert_eq!(taken(&mut waiting, start + at(7)), [(0, 8)]);
    // The one that went may lie below the low one that is read now: again, but not sooner than it may.
    waiting.mend(key("a"), acknowledged(0, 1, 8), start + at(8));
    assert_eq!(waiting.next(), Some(start + at(12)));
}

#[test]
fn a_full_map_takes_no_further_key() {
    let (mut waiting, start) = waiting(2);
    for name in ["a", "b", "c"] {
        waiting.offer(key(name), acknowledged(0, 1, 1), start);
    }
    waiting.offer(key("a"), acknowledged(0, 1, 2), start);
    assert_eq!((waiting.len(), waiting.take_dropped(), waiting.take_dropped()), (2, 1, 0));
    assert_eq!(waiting.take(start, 100).len(), 2);
    // Those that went are remembered for an interval.
    waiting.offer(key("c"), acknowledged(0, 1, 1), start + at(1));
    assert_eq!(waiting.take_dropped(), 1);
    assert_eq!(taken(&mut waiting, start + INTERVAL), []);
    waiting.offer(key("c"), acknowledged(0, 1, 1), start + INTERVAL);
    assert_eq!((waiting.len(), waiting.take_dropped()), (1, 0));
}

/// Whatever is offered and fails: no key goes more often than it may, and the last that arrives is
/// the highest that was offered.
#[test]
fn random_schedules() {
    for seed in seeds(300) {
        let _printed = Printed(seed);
        random_schedule(&mut Chance::new(seed));
    }
}

fn random_schedule(chance: &mut Chance) {
    let (mut waiting, mut now) = waiting(100);
    let mut offered: HashMap<AcknowledgedKey, Acknowledged> = HashMap::new();
    let mut arrived: HashMap<AcknowledgedKey, (Instant, Acknowledged)> = HashMap::new();
    let mut step = |waiting: &mut Waiting, now: Instant, fails: bool| {
        let taken = waiting.take(now, 3);
        if fails {
            return waiting.put_back(taken, now + at(1));
        }
        for (key, acknowledged) in taken {
            if let Some((before, last)) = arrived.get(&key) {
                let soon = now < *before + INTERVAL;
                let reset = acknowledged.generation > last.generation;
                assert!(!soon || reset, "{key:?} {last:?} {acknowledged:?}");
                assert!(acknowledged.rank() >= last.rank(), "{last:?} {acknowledged:?}");
            }
            arrived.insert(key, (now, acknowledged));
        }
    };
    for _ in 0..200 {
        now += Duration::from_millis(chance.below(1_000));
        let key = key(["a", "b", "c", "d"][chance.below(4) as usize]);
        let generation = chance.below(20) / 18;
        let acknowledged = acknowledged(generation, 1, chance.below(50) as i64);
        // Merged, as a region's history would.
        let known = offered.entry(key.clone()).or_insert_with(|| acknowledged.clone());
        if known.rank() < acknowledged.rank() {
            *known = acknowledged;
        }
        waiting.offer(key, known.clone(), now);
        step(&mut waiting, now, chance.happens(300));
    }
    while let Some(due) = waiting.next() {
        step(&mut waiting, due, chance.happens(300));
    }
    let arrived: HashMap<_, _> =
        arrived.into_iter().map(|(key, (_, acknowledged))| (key, acknowledged)).collect();
    assert_eq!(arrived, offered);
}

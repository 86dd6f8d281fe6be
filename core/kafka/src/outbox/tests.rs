//! The queue's rules, with time as an argument.

use super::*;

fn outbox(bytes: usize) -> (Outbox<u32>, Instant) {
    let (wait, silence) = (Duration::from_secs(2), Duration::from_secs(2));
    let abandon = Duration::from_secs(30);
    let (in_flight_bytes, partition_bytes) = (bytes / 2, bytes / 4);
    let limits = Limits { bytes, in_flight_bytes, partition_bytes, wait, silence, abandon };
    let now = Instant::now();
    (Outbox::new(limits, 4, now), now)
}

fn load(tenant: &str, partition: u32, bytes: usize) -> Load {
    Load { partition, tenant: Tenant::parse(tenant).unwrap(), bytes }
}

fn one(tenant: &str, partition: u32, bytes: usize, item: u32) -> Vec<(Load, u32)> {
    vec![(load(tenant, partition, bytes), item)]
}

fn drained(outbox: &mut Outbox<u32>, now: Instant) -> Vec<u32> {
    std::iter::from_fn(|| outbox.next(now)).map(|(_, item)| item).collect()
}

#[test]
fn no_tenant_takes_more_than_half() {
    let (mut outbox, now) = outbox(100);
    assert!(outbox.push(now, one("a", 0, 30, 1)).is_none());
    let (refused, back) = outbox.push(now, one("a", 1, 21, 2)).unwrap();
    assert!(matches!(refused, Refused::Full { .. }) && back == [2]);
    assert!(outbox.push(now, one("b", 1, 50, 3)).is_none());
    assert!(outbox.push(now, one("c", 1, 21, 4)).is_some(), "full");
    assert!(outbox.push(now, one("c", 1, 20, 5)).is_none());
    // What is in flight still counts.
    let (first, _) = outbox.next(now).unwrap();
    assert!(outbox.push(now, one("a", 1, 21, 6)).is_some());
    outbox.acknowledged(now, &first);
    assert!(outbox.push(now, one("a", 1, 21, 7)).is_none());
}

#[test]
fn what_a_call_does_not_get_in_is_a_suffix() {
    let (mut outbox, now) = outbox(100);
    let sizes = [20, 20, 20, 1];
    let call = (0..).zip(sizes).map(|(item, bytes)| (load("a", 0, bytes), item));
    let (_, back) = outbox.push(now, call).unwrap();
    assert_eq!(back, [2, 3]);
    assert_eq!(drained(&mut outbox, now), [0, 1]);
}

#[test]
fn what_is_withdrawn_leaves_the_others_in_order() {
    let (mut outbox, now) = outbox(1_000);
    for item in 0..6 {
        outbox.push(now, one("a", item % 2, 10, item));
    }
    assert_eq!(outbox.withdraw(0, |item| *item >= 2), [2, 4]);
    assert_eq!(outbox.bytes, 40);
    let mut rest = drained(&mut outbox, now);
    rest.sort_unstable();
    assert_eq!(rest, [0, 1, 3, 5]);
}

#[test]
fn a_partition_that_stalls_leaves_room_for_others() {
    let (mut outbox, start) = outbox(1_000);
    for item in 0..10 {
        outbox.push(start, one("a", 0, 10, item));
    }
    let (first, _) = outbox.next(start).unwrap();
    let later = start + STALL;
    outbox.push(later, one("b", 1, 10, 99));
    assert_eq!(drained(&mut outbox, later), [99]);
    outbox.acknowledged(later, &first);
    assert_eq!(drained(&mut outbox, later), (1..10).collect::<Vec<_>>());
}

#[test]
fn what_waits_too_long_comes_back_in_order() {
    let (mut outbox, start) = outbox(1_000);
    // In flight: two of 250 bytes fill the room.
    for item in 0..2 {
        outbox.push(start, one("a", item, 250, item));
    }
    let flying: Vec<Load> = std::iter::from_fn(|| outbox.next(start)).map(|f| f.0).collect();
    let second = Duration::from_secs(1);
    outbox.push(start + second, one("b", 2, 10, 2));
    outbox.push(start + 2 * second, one("b", 2, 10, 3));
    assert_eq!(flying.len(), 2);
    for (at, load) in (1..).zip(&flying) {
        outbox.acknowledged(start + at * second, load);
    }
    assert_eq!(outbox.tick(start + 3 * second), [2]);
    assert_eq!(outbox.tick(start + 4 * second), [3]);
    assert!(outbox.is_empty() && outbox.bytes == 0 && outbox.tenants.is_empty());
}

#[test]
fn silence_drains_and_giving_up_forgets_what_flew() {
    let (mut outbox, start) = outbox(1_000);
    outbox.push(start, one("a", 0, 10, 0));
    outbox.next(start).unwrap();
    let second = Duration::from_secs(1);
    outbox.push(start + second, one("a", 0, 10, 1));
    assert!(!outbox.is_stuck(start + 29 * second) && outbox.is_stuck(start + 30 * second));
    assert_eq!(outbox.tick(start + 2 * second), [1]);
    let (refused, _) = outbox.push(start + 2 * second, one("b", 0, 10, 2)).unwrap();
    assert_eq!(refused, Refused::Closed);
    outbox.abandon();
    assert!(outbox.is_empty() && outbox.bytes == 0 && outbox.tenants.is_empty());
    assert!(outbox.gate.wants_probe());
}

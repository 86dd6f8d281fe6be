//! What a partition of the in-process backplane keeps, drops and refuses.

use std::collections::BTreeSet;

use super::*;
use crate::policy::{DeliveryClass, FeedBounds, Policies, Policy};
use crate::vocabulary::{
    Body, Channel, Epoch, EventId, LogName, Namespace, Offset, Partition as Number, Stream, Tenant,
};

const BOUNDS: HotBounds<'_> = HotBounds {
    policies: &Policies::new(BTreeMap::new()),
    channel_events: 4,
    channel_bytes: 10_000,
    partition_bytes: 20_000,
};

fn key(name: u64) -> ChannelKey {
    ChannelKey {
        tenant: Tenant::parse("t").unwrap(),
        channel: Channel::parse(&format!("n:{name}")).unwrap(),
    }
}

fn at(passed: i64) -> Position {
    Position { epoch: Epoch(1), passed }
}

/// A partition that is ready for offset 0.
fn ready() -> Partition {
    let mut partition = Partition::default();
    assert!(partition.repair(None, Stale::All, at(-1)));
    partition
}

/// Applies the partition's next event.
fn apply(partition: &mut Partition, channel: u64, data_bytes: usize) -> Position {
    apply_within(partition, channel, data_bytes, 1, &BOUNDS)
}

/// The same, appended at a time and within bounds.
fn apply_within(
    partition: &mut Partition,
    channel: u64,
    data_bytes: usize,
    time_ms: u64,
    bounds: &HotBounds<'_>,
) -> Position {
    let last = partition.marker().unwrap();
    let head = partition.head(&key(channel)).head;
    let event = Event {
        key: key(channel),
        stream: Stream {
            log: LogName::parse("global").unwrap(),
            epoch: Epoch(1),
            partition: Number(0),
        },
        offset: Offset((last.passed + 1) as u64),
        prev: head.map_or(Prev::None, Prev::At),
        time_ms,
        id: EventId::parse("i").unwrap(),
        body: Body { data: vec![0; data_bytes].into(), ..Body::default() },
    };
    let applied = Applied { event: Arc::new(event), last_kept_before: last };
    assert_eq!(partition.apply(&applied, bounds), ApplyOutcome::Applied);
    applied.event.position()
}

#[test]
fn memory_stays_within_the_bound_once_the_history_has_it() {
    let mut partition = ready();
    for i in 0..10_000 {
        let position = apply(&mut partition, i % 1_000, 50);
        if i % 20 == 0 {
            partition.trim_below(position, &BOUNDS);
        }
        assert!(partition.bytes() <= BOUNDS.partition_bytes + 20 * 800, "{}", partition.bytes());
    }
    let last = partition.marker().unwrap();
    partition.trim_below(last, &BOUNDS);
    assert!(partition.bytes() <= BOUNDS.partition_bytes);
    assert_eq!(partition.channels.len(), partition.by_use.len());
    let bytes: usize =
        partition.channels.iter().map(|(key, hot)| hot.bytes + channel_bytes(key)).sum();
    assert_eq!(bytes, partition.bytes());
}

/// Above the checkpoint nothing is forgotten, whatever it costs; below, the idle go first.
#[test]
fn idle_channels_go_first_and_only_below_the_checkpoint() {
    let mut partition = ready();
    for i in 0..100 {
        apply(&mut partition, i, 50);
    }
    assert_eq!(partition.channels.len(), 100);
    apply(&mut partition, 0, 50);
    partition.trim_below(at(49), &BOUNDS);
    let left = partition.channels.len();
    assert!((51..100).contains(&left), "{left}");
    assert_eq!(partition.head(&key(1)).head, None, "asks the history");
    assert_eq!(partition.head(&key(0)).head, Some(at(100)), "was used last");
}

/// A forgotten channel begins anew with its next event, and says from where to ask.
#[test]
fn a_forgotten_channel_keeps_the_chain() {
    let mut partition = ready();
    let first = apply(&mut partition, 7, 50);
    for i in 100..300 {
        let position = apply(&mut partition, i, 50);
        partition.trim_below(position, &BOUNDS);
    }
    assert_eq!(partition.head(&key(7)).head, None);
    // The router knows the head from the history.
    let (last, offset) = (partition.marker().unwrap(), partition.marker().unwrap().next_offset());
    let event = Event {
        offset,
        prev: Prev::At(first),
        ..(*partition.read(&key(299), at(-1), 1).events[0]).clone()
    };
    let event = Arc::new(Event { key: key(7), ..event });
    let applied = Applied { event: event.clone(), last_kept_before: last };
    assert_eq!(partition.apply(&applied, &BOUNDS), ApplyOutcome::Applied);
    let read = partition.read(&key(7), at(-1), 9);
    assert_eq!((read.events, read.oldest_prev), (vec![event], Some(Prev::At(first))));
}

#[test]
fn a_channel_is_bounded_by_bytes() {
    let mut partition = ready();
    for _ in 0..4 {
        let position = apply(&mut partition, 1, 4_000);
        partition.trim_below(position, &BOUNDS);
    }
    let read = partition.read(&key(1), at(-1), 9);
    assert_eq!((read.events.len(), read.oldest_prev), (2, Some(Prev::At(at(1)))));
    // One event larger than the bound stays: the newest is always there.
    let position = apply(&mut partition, 1, 15_000);
    partition.trim_below(position, &BOUNDS);
    assert_eq!(partition.read(&key(1), at(-1), 9).events.len(), 1);
}

#[test]
fn a_policys_retention_bounds_what_is_stored_already() {
    let keep = Retention { events: 3, bytes: u64::MAX, age_ms: 100 };
    let policy = Policy {
        class: DeliveryClass::Strict,
        zone: LogName::parse("global").unwrap(),
        retention: keep,
        feed: FeedBounds { keys: 1, bytes: 1 },
        event_bytes: 1,
        polling_ms: 0,
        mode: None,
        subscribe: BTreeSet::new(),
        publish: BTreeSet::new(),
    };
    let policies = Policies::new(BTreeMap::from([(Namespace::parse("n").unwrap(), policy)]));
    let bounds = HotBounds { policies: &policies, channel_events: 1_000, ..BOUNDS };
    let hot = |partition: &Partition| -> Vec<u64> {
        let read = partition.read(&key(0), at(-1), usize::MAX);
        read.events.iter().map(|event| event.offset.0).collect()
    };
    let mut partition = ready();
    for _ in 0..5 {
        apply_within(&mut partition, 0, 1, 1_000, &bounds);
    }
    assert_eq!(hot(&partition), [0, 1, 2, 3, 4], "nothing is in the history yet");
    partition.trim_below(at(4), &bounds);
    assert_eq!(hot(&partition), [2, 3, 4]);
    let last = apply_within(&mut partition, 0, 1, 1_101, &bounds);
    assert_eq!(hot(&partition), [5], "the others were appended over 100 ms before");
    assert_eq!(partition.head(&key(0)).head, Some(last));
}

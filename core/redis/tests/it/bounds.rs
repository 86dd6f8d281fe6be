//! The bounds of hot history: by policy, by the partition's bytes, and what a repair drops.

use std::collections::BTreeMap;
use std::sync::Arc;

use meridian_core::policy::{Policies, Policy, Retention};
use meridian_core::seams::conformance::{Samples, channel, stream};
use meridian_core::seams::{Applied, Backplane, HotHead, HotRead, Stale};
use meridian_core::vocabulary::{Channel, ChannelKey, Namespace};
use meridian_redis::{HotBounds, RedisBackplane, RedisOptions};
use meridian_stack::{Counts, Stack};

use crate::support::{apply_all, backplane, options, ready, redis_cli};

const ALL: Retention = Retention { events: u64::MAX, bytes: u64::MAX, age_ms: u64::MAX };

/// Bounds of namespaces, beside the backplane's own 50 events a channel.
fn bounded(url: &str, bounds: &[(&str, Retention)]) -> RedisOptions {
    let policies: BTreeMap<_, _> = bounds
        .iter()
        .map(|(name, retention)| {
            let policy = Policy { retention: *retention, ..Policy::default() };
            (Namespace::parse(name).unwrap(), policy)
        })
        .collect();
    RedisOptions {
        policies: Arc::new(Policies::new(policies)),
        hot: HotBounds { channel_events: 50, ..HotBounds::default() },
        ..options(url)
    }
}

fn of_namespace(name: &str) -> ChannelKey {
    ChannelKey { channel: Channel::parse(&format!("{name}:x")).unwrap(), ..channel("x") }
}

/// One event of each of `keys` a round, 100 ms apart.
fn rounds(samples: &mut Samples, keys: &[ChannelKey], count: usize) -> Vec<Applied> {
    let mut events = Vec::new();
    for _ in 0..count {
        samples.time_ms += 100;
        events.extend(keys.iter().map(|key| samples.event(key, &"x".repeat(200))));
    }
    events
}

async fn read(backplane: &RedisBackplane, samples: &Samples, key: &ChannelKey) -> HotRead {
    let start = Samples::new(stream(1, 0)).position();
    backplane.read(key, samples.stream(), start, 10_000).await.unwrap()
}

/// Where reads are whole from: the suffix of `all` that is left.
fn assert_suffix(read: &HotRead, all: &[Applied], key: &ChannelKey) {
    let of_key: Vec<_> = all.iter().map(|applied| &applied.event).collect();
    let of_key: Vec<_> = of_key.into_iter().filter(|event| event.key == *key).cloned().collect();
    assert!(!read.events.is_empty() && of_key.ends_with(&read.events), "{key:?}");
    assert_eq!(read.oldest_prev, Some(read.events[0].prev));
    assert_eq!(read.head, of_key.last().map(|event| event.position()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_channel_keeps_what_its_policy_says() {
    let stack = Stack::start(Counts { redis: 1, ..Counts::default() });
    // (namespace, its policy, the fewest and the most events that are left of 200)
    let cases = [
        ("few", Retention { events: 10, ..ALL }, 9, 10),
        ("small", Retention { bytes: 8_000, ..ALL }, 20, 36),
        ("short", Retention { age_ms: 1_000, ..ALL }, 11, 11),
        ("wide", ALL, 46, 50),
        ("one", Retention { events: 1, ..ALL }, 1, 1),
    ];
    let bounds = cases.map(|(name, retention, ..)| (name, retention));
    let backplane = backplane(&bounded(stack.redis(1), &bounds)).await;
    let mut samples = ready(&backplane).await;
    let keys = cases.map(|(name, ..)| of_namespace(name));
    let early = rounds(&mut samples, &keys, 100);
    let checkpoint = samples.position();
    let late = rounds(&mut samples, &keys, 100);
    let all = [early, late].concat();
    apply_all(&backplane, &all).await;
    for key in &keys {
        assert_eq!(read(&backplane, &samples, key).await.events.len(), 200, "{key:?}");
    }
    // Below the checkpoint all bounds allow to go; nothing above it goes.
    backplane.trim_below(samples.stream(), checkpoint).await.unwrap();
    for key in &keys {
        let read = read(&backplane, &samples, key).await;
        assert_suffix(&read, &all, key);
        assert_eq!(read.events.len(), 100, "{key:?}");
    }
    backplane.trim_below(samples.stream(), samples.position()).await.unwrap();
    for (key, (_, _, fewest, most)) in keys.iter().zip(cases) {
        let read = read(&backplane, &samples, key).await;
        assert_suffix(&read, &all, key);
        let left = read.events.len();
        assert!((fewest..=most).contains(&left), "{key:?}: {left} are left");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_partition_forgets_the_longest_silent() {
    let stack = Stack::start(Counts { redis: 1, ..Counts::default() });
    let partition_bytes = 500_000;
    let hot = HotBounds { partition_bytes, ..HotBounds::default() };
    let backplane = backplane(&RedisOptions { hot, ..options(stack.redis(1)) }).await;
    let mut samples = ready(&backplane).await;
    let keys: Vec<_> = (0..600).map(|n| channel(&format!("c{n}"))).collect();
    let old = rounds(&mut samples, &keys[..300], 1);
    let checkpoint = samples.position();
    let new = rounds(&mut samples, &keys[300..], 1);
    apply_all(&backplane, &old).await;
    apply_all(&backplane, &new).await;
    let heads = async || backplane.heads(&stream(1, 0), &keys).await.unwrap();
    assert!(heads().await.iter().all(|hot| hot.head.is_some()), "none is in the history yet");

    backplane.trim_below(samples.stream(), checkpoint).await.unwrap();
    let kept: Vec<_> = heads().await.iter().map(|hot| hot.head.is_some()).collect();
    assert_eq!(kept, [[false; 300], [true; 300]].concat(), "above the checkpoint none goes");

    backplane.trim_below(samples.stream(), samples.position()).await.unwrap();
    let heads = heads().await;
    let gone = heads.iter().take_while(|hot| hot.head.is_none()).count();
    assert!(heads[gone..].iter().all(|hot| hot.head.is_some()), "the longest silent goes first");
    assert!(heads.iter().all(|hot| hot.marker == Some(samples.position())));
    let left = (600 - gone) as u64;
    let each = partition_bytes / left;
    assert!((4_600..6_000).contains(&each), "{left} channels are left, of {each} bytes each");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_drops_more_channels_than_one_step_can() {
    let stack = Stack::start(Counts { redis: 1, ..Counts::default() });
    let backplane = backplane(&options(stack.redis(1))).await;
    let mut samples = ready(&backplane).await;
    let keys: Vec<_> = (0..700).map(|n| channel(&format!("c{n}"))).collect();
    let events = rounds(&mut samples, &keys, 1);
    apply_all(&backplane, &events).await;
    let (marker, restored) = (samples.position(), events[9].event.position());
    let stream = samples.stream().clone();
    let repaired = backplane.repair(&stream, Some(marker), Stale::Channels(&keys[300..]), marker);
    assert_eq!(repaired.await, Ok(true));
    let heads = backplane.heads(&stream, &keys).await.unwrap();
    let kept: Vec<_> = heads.iter().map(|hot| hot.head.is_some()).collect();
    assert_eq!(kept, [vec![true; 300], vec![false; 400]].concat());

    assert_eq!(backplane.repair(&stream, Some(marker), Stale::All, restored).await, Ok(true));
    let heads = backplane.heads(&stream, &keys).await.unwrap();
    assert_eq!(heads, vec![HotHead { head: None, marker: Some(restored) }; 700]);
    assert_eq!(redis_cli(stack.redis(1), &["DBSIZE"]).trim(), "1", "the marker alone is left");
    apply_all(&backplane, &events[10..]).await;
}

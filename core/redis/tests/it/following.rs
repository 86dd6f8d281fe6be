//! Thousands of followed channels, on one connection and on several.

use std::collections::HashSet;

use meridian_core::seams::conformance::channel;
use meridian_core::seams::{Applied, Backplane as _, Delivery};
use meridian_core::vocabulary::ChannelKey;
use meridian_redis::RedisOptions;
use meridian_stack::{Counts, Stack};
use tokio::time::timeout;

use crate::support::{LIMIT, apply_all, backplane, follow, next, options, ready};

const CHANNELS: usize = 5_000;

/// Each of the channels delivers, in order; unfollowed, it does not.
async fn thousands_deliver(options: RedisOptions) {
    let backplane = backplane(&options).await;
    let mut samples = ready(&backplane).await;
    let mut link = backplane.link().await.unwrap();
    let channels: Vec<ChannelKey> = (0..CHANNELS).map(|n| channel(&format!("c{n}"))).collect();
    follow(&link, &samples, &channels).await;
    // Again: what is followed already is no reason to ask.
    follow(&link, &samples, &channels).await;
    let mut round = |keys: &[ChannelKey]| -> Vec<Applied> {
        keys.iter().map(|key| samples.event(key, "1")).collect()
    };
    for keys in channels.chunks(500) {
        let events = round(keys);
        apply_all(&backplane, &events).await;
        for expected in &events {
            assert!(matches!(next(&mut link).await, Delivery::Event(e) if e == expected.event));
        }
    }
    let (left, kept) = channels.split_at(CHANNELS - 200);
    let names: Vec<_> = left.iter().map(|key| (key.clone(), stream())).collect();
    timeout(LIMIT, link.control.unfollow(&names)).await.unwrap().unwrap();
    let events = round(&channels);
    for chunk in events.chunks(500) {
        apply_all(&backplane, chunk).await;
    }
    let mut missing: HashSet<&ChannelKey> = kept.iter().collect();
    while !missing.is_empty() {
        let Delivery::Event(event) = next(&mut link).await else { panic!("a loss") };
        assert!(missing.remove(&event.key), "{:?}", event.key);
    }
}

fn stream() -> meridian_core::vocabulary::Stream {
    meridian_core::seams::conformance::stream(1, 0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_deliver_on_one_connection() {
    let stack = Stack::start(Counts { redis: 1, ..Counts::default() });
    thousands_deliver(RedisOptions { link_capacity: 8_192, ..options(stack.redis(1)) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_deliver_on_several_connections() {
    let stack = Stack::start(Counts { redis: 1, ..Counts::default() });
    let options = RedisOptions { link_connections: 3, ..options(stack.redis(1)) };
    thousands_deliver(RedisOptions { link_capacity: 8_192, ..options }).await;
}
